"""What the speed benchmark compares is the same on both sides."""

import pytest

from benchmarks.off_policy import draw, in_plain_numpy, six_estimators, stream
from dosewright.evaluation.ope import ActionValues


def test_plain_numpy_has_the_same_estimates() -> None:
    log, _, target, q = draw(300, 6)
    values = ActionValues.of(log, q, q + 0.1)
    ours, plain = six_estimators(log, target, values)[::3], in_plain_numpy(log, target, values)[::3]
    # is wis pdis pdwis dr wdr; the plain means first there
    assert [ours[k] for k in (0, 2, 4, 1, 3, 5)] == pytest.approx(plain, rel=1e-10)


def test_the_stream_equals_its_batch() -> None:
    *_, error = stream(patients=200, decisions=6, appended=50, looks=10)
    assert error < 1e-10
