"""The decisions about logs of a known truth: as expected where something is expected, else an answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.ope_decisions import decided, faults
from benchmarks.ope_logs import load

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "ope"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="shared reference data absent")


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("tabular_short", "answered"),
        ("tabular_long", "answered"),
        ("tabular_no_support", "bounds only"),
        ("lingauss_far_target", "refused"),
        ("time_to_adr", "answered"),
        ("bandit_discrete", "answered"),
    ],
)
def test_each_case_is_decided_as_its_truth_says(name: str, verdict: str) -> None:
    case = load(SHARED / name)
    assert case is not None
    assert decided(case).verdict == verdict
    assert faults(SHARED / name) == []


def test_a_log_without_a_decision_is_passed_over() -> None:
    assert faults(SHARED / "paired_virtual_trial") is None


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    shutil.copytree(SHARED / "bandit_discrete", folder)
    truth = json.loads((folder / "truth.json").read_text())
    for wrong, message in (
        ({"expected_decision": "refuse: nothing to see"}, "answered, wis"),
        ({"expected_decision": "trajectory weights: refuse"}, "trajectory answers"),
        ({"value": 0.9}, "standard errors from 0.9"),
    ):
        (folder / "truth.json").chmod(0o644)
        (folder / "truth.json").write_text(json.dumps({**truth, **wrong}))
        found = faults(folder)
        assert found and message in found[0]
