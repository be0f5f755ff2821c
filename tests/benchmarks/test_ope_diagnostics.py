"""Every number of diagnostics, intervals, sensitivity, distributions and ranking, against the reference."""

from pathlib import Path

import pytest

from benchmarks.ope_diagnostics import check

# Least number of comparisons a case must offer, so that none is lost by a name that changed.
CASES = {
    "bandit_continuous": 13,
    "bandit_discrete": 37,
    "confounded_bandit": 16,
    "lingauss_deterministic": 4,
    "lingauss_far_target": 39,
    "lingauss_stochastic": 41,
    "policy_ranking": 192,
    "tabular_long": 510,
    "tabular_no_support": 46,
    "tabular_short": 204,
    "tabular_unknown_behaviour": 33,
    "time_to_adr": 181,
}


@pytest.mark.parametrize("case", list(CASES))
def test_within_the_tolerance_of_the_reference(shared: Path, case: str) -> None:
    rows = check(shared / "reference" / "ope" / case)
    assert len(rows) >= CASES[case]
    for name, ours, reference, allowed in rows:
        assert ours == pytest.approx(reference, rel=0.0, abs=allowed), name
