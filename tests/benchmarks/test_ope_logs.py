"""The comparison of logs with a reference: that it agrees, is complete, and notices a wrong number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ope_logs import check, load

# numbers of each case that importance sampling, kernels and behaviour models are about
COUNTS = {
    "bandit_continuous": 64, "bandit_discrete": 7, "confounded_bandit": 3, "lingauss_deterministic": 16,
    "lingauss_far_target": 41, "lingauss_stochastic": 41, "policy_ranking": 60, "tabular_long": 309,
    "tabular_no_support": 33, "tabular_short": 58, "tabular_unknown_behaviour": 205, "time_to_adr": 3,
    "paired_virtual_trial": 0,
}  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two patients, one decision each: weights 2 and 1/2, rewards 1 and 3."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    np.savez(
        folder / "data.npz", state=[[0], [1]], action=[[0], [1]], reward=[[1.0], [3.0]],
        behaviour_prob=[[0.25], [0.5]], target_prob=[[0.5], [0.25]],
    )  # fmt: skip
    (folder / "spec.json").write_text(json.dumps({"kind": "tabular", "gamma": 1.0}))
    estimates = {"is": 1.75, "wis": 1.4, "behaviour_mean": 2.0, "wis_truncated_at_1": 5 / 3}
    diagnostics = {"ess_by_step": [6.25 / 4.25], "mean_weight_by_step": [1.25]}
    reference = {"estimates": estimates, "diagnostics": diagnostics}
    (folder / "reference.json").write_text(json.dumps(reference))
    return folder


def test_a_case_by_hand(tiny: Path) -> None:
    rows = {name: (own, expected) for name, own, expected, _ in check(tiny)}
    assert set(rows) == {"is", "wis", "behaviour_mean", "wis_truncated_at_1", "ess[0]", "mean_weight[0]"}
    for name, (own, expected) in rows.items():
        assert own == pytest.approx(expected, rel=1e-12), name


def test_a_wrong_number_is_noticed(tiny: Path) -> None:
    path = tiny / "reference.json"
    path.write_text(path.read_text().replace("1.75", "1.7500001"))
    outside = [name for name, own, expected, allowed in check(tiny) if abs(own - expected) > allowed]
    assert outside == ["is"]


@pytest.mark.parametrize("case", COUNTS)
def test_shared_case(shared: Path, case: str) -> None:
    rows = check(shared / "reference" / "ope" / case)
    assert len(rows) == COUNTS[case]
    outside = [row for row in rows if not abs(row[1] - row[2]) <= row[3]]
    assert not outside


def test_a_log_that_is_loaded_has_what_the_case_has(shared: Path, tmp_path: Path) -> None:
    case = load(shared / "reference" / "ope" / "time_to_adr")
    assert case is not None and case.target_log_prob is not None
    data = case.data
    np.testing.assert_array_equal(case.log.lengths, data["time"])
    np.testing.assert_array_equal(case.log.censored, (data["event"] == 0) & (data["time"] < 24))
    assert case.log.outcomes["adr"].sum() == data["event"].sum()
    assert case.target_log_prob[case.log.mask] == pytest.approx(np.log(data["target_prob"]))
    assert load(shared / "reference" / "ope" / "paired_virtual_trial") is None
    # a folder of another name is read by what is in it
    held_back = shutil.copytree(shared / "reference" / "ope" / "bandit_discrete", tmp_path / "x")
    assert len(check(held_back)) == COUNTS["bandit_discrete"]
