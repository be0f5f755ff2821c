"""Every number of the estimators with a model or marginal ratios, against the shared reference."""

from pathlib import Path

import pytest

from benchmarks.ope_models import check

# Least number of comparisons a case must offer, so that none is lost by a name that changed.
CASES = {
    "tabular_short": 63,
    "tabular_long": 117,
    "tabular_no_support": 46,
    "tabular_unknown_behaviour": 46,
    "lingauss_stochastic": 69,
    "lingauss_far_target": 69,
    "lingauss_deterministic": 1,
    "bandit_discrete": 16,
    "bandit_continuous": 2,
    "policy_ranking": 24,
}


@pytest.mark.parametrize("case", list(CASES))
def test_within_the_tolerance_of_the_reference(shared: Path, case: str) -> None:
    rows = check(shared / "reference" / "ope" / case)
    assert len(rows) >= CASES[case]
    for name, ours, reference, allowed in rows:
        assert ours == pytest.approx(reference, rel=0.0, abs=allowed), name


def test_a_case_of_another_kind_has_none_of_these_numbers(shared: Path) -> None:
    for case in ("paired_virtual_trial", "time_to_adr", "confounded_bandit"):
        assert check(shared / "reference" / "ope" / case) == []
