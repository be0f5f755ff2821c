"""`dosewright trial`: which arms, in how many processes, stopped and resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars
import pytest
from click.testing import CliRunner

from dosewright.envs import Noise, RealCohort, scenario
from dosewright.evaluation import TrialResult
from dosewright.evaluation.provenance import SIMULATES, sources
from dosewright.evaluation.trial import TrialDesign, TrialStore, run_design
from dosewright.evaluation.trial import run as running
from dosewright.scripts.trial import _patients, trial
from dosewright.scripts.trial_arms import (
    at_preferences,
    design,
    is_policy,
    labelled,
    question,
    told_where,
)

EVERY_KIND = "label,nomogram,bayesian-adaptive,planner-adaptive,policy,oracle"


def recipe(arms: str, seed: int = 1) -> partial[TrialDesign]:
    return partial(design, "warfarin", labelled(arms), seed, "clinic", "diplotype", None)


def assert_same(one: TrialResult, other: TrialResult) -> None:
    assert one.patient_table().equals(other.patient_table(), null_equal=True)
    for name, arm in one.arms.items():
        np.testing.assert_array_equal(arm.truth, other.arms[name].truth)


def test_arms_are_called_by_name_label_or_run() -> None:
    assert labelled("label, nomogram,") == {"label": "label", "nomogram": "nomogram"}
    assert labelled("policy:runs/a/policy") == {"policy": "policy:runs/a/policy"}
    assert labelled("policy:runs/a=b/policy,label") == {"policy": "policy:runs/a=b/policy", "label": "label"}
    assert labelled("policy:runs/a/policy,policy:runs/b/policy/,policy:best,policy") == {
        "a": "policy:runs/a/policy",
        "b": "policy:runs/b/policy/",
        "best": "policy:best",
        "policy": "policy",
    }
    assert labelled("one=policy:x/p,two=policy:y/p,usual=nomogram") == {
        "one": "policy:x/p",
        "two": "policy:y/p",
        "usual": "nomogram",
    }
    for twice in ("label,label", "policy:x/p,policy:y/p", "a=label,a=nomogram"):
        with pytest.raises(ValueError, match="is listed twice.*LABEL=ARM"):
            labelled(twice)
    assert is_policy("policy") and is_policy("policy:x") and not is_policy("planner")
    assert is_policy("policy@0.2")


_LOADED = f"""
import sys
import numpy as np
from dosewright.evaluation.trial.block import treat
from dosewright.scripts.trial_arms import design, labelled
treat(design("warfarin", labelled("{EVERY_KIND}"), 1, "clinic", "diplotype", None), np.arange(2))
for name, module in sys.modules.items():
    if name.startswith(("dosewright.agents.", "dosewright.envs.", "dosewright.pharmacogenomics.")):
        print(module.__file__)
"""


def test_the_digest_covers_what_a_trial_loads_of_regimens_simulator_and_genetics() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    loaded = set(map(Path, done.stdout.split()))
    assert any(file.name == "belief.py" for file in loaded)
    assert loaded - set(sources(SIMULATES)) == set()


def test_every_policy_is_an_arm_for_each_preference() -> None:
    arms, fronts = at_preferences(labelled("label,mine=policy:runs/a@b/policy"), "0.8,0.2")
    assert arms == {
        "label": "label",
        "mine at 0.2": "policy:runs/a@b/policy@0.2",
        "mine at 0.8": "policy:runs/a@b/policy@0.8",
    }
    assert fronts == {"mine": {"mine at 0.2": 0.2, "mine at 0.8": 0.8}}
    for names, text, error in (
        ("policy", "0.2,much", "expected numbers"),
        ("policy", "0.2,0.2", "listed twice"),
        ("label,nomogram", "0.2", "no policy is among the arms"),
        ("policy@0.3", "0.2", "'policy@0.3' has its own"),
    ):
        with pytest.raises(ValueError, match=error):
            at_preferences(labelled(names), text)


def test_two_processes_come_to_the_same_as_one() -> None:
    made = recipe("fixed-5mg,nomogram,oracle")
    alone = run_design(made(), range(30), block=10)
    assert_same(alone, run_design(made(), range(30), recipe=made, processes=2, block=10))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_comes_to_the_same(processes: int) -> None:
    made = recipe(EVERY_KIND)
    alone = run_design(made(), range(150), processes=1, block=150)
    assert_same(alone, run_design(made(), range(150), recipe=made, processes=processes, block=20))


def test_the_split_does_not_change_what_a_policy_does() -> None:
    asked = recipe("policy")()
    whole = run_design(asked, range(20), block=20).arms["policy"]
    split = run_design(asked, range(20), block=7).arms["policy"]
    np.testing.assert_array_equal(whole.doses, split.doses)
    np.testing.assert_array_equal(whole.truth, split.truth)


def test_what_a_trial_depends_on_is_in_its_question(tmp_path: Path) -> None:
    asked, ids = recipe("fixed-5mg")(), np.arange(3)
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "weights.zip").write_bytes(b"one")
    before = question(asked, ids, {"policy": f"policy:{policy}"})
    assert before == question(asked, ids, {"policy": f"policy:{policy}"})
    assert "dosewright" in before["code"] and f"numpy {np.__version__}" in before["libraries"]
    (policy / "weights.zip").write_bytes(b"two")
    after = question(asked, ids, {"policy": f"policy:{policy}"})
    assert [part for part in before if before[part] != after[part]] == ["arm policy"]
    assert question(asked, ids, {"policy": "policy"})["arm policy"].startswith("policy, SHA-256 ")


def test_real_people_are_added_in_random_order() -> None:
    rows = np.arange(1, 201)
    cohort = RealCohort("people.csv", 200, rows, (), {}, {}, {})
    warfarin, noise = scenario("warfarin"), Noise("trial", 1)
    asked = TrialDesign(warfarin, recipe("fixed-5mg")().arms, cohort, noise, warfarin.preset("clinic"))
    order = _patients(asked, None, 0.01, None)
    assert sorted(order.tolist()) == rows.tolist()
    # whoever is there after 50 is who would be drawn if 50 were asked for
    assert sorted(order[:50].tolist()) == cohort.choose(50, noise).tolist() != rows[:50].tolist()
    assert len(_patients(asked, None, 0.01, 60)) == 60
    assert len(_patients(asked, None, 0.01, 6000)) == 200
    np.testing.assert_array_equal(_patients(asked, 50, None, None), cohort.choose(50, noise))


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the page, which takes seconds."""
    monkeypatch.setattr("dosewright.evaluation.report.write_report", lambda *_: None)


def dosewright_trial(*arguments: str) -> Any:
    return CliRunner().invoke(trial, ["warfarin", "--arms", "fixed-5mg,fixed-3mg,label", *arguments])


def test_a_trial_stopped_by_ctrl_c_goes_on(
    tmp_path: Path, no_page: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, treat = tmp_path / "out", running.treat
    arguments = ("--patients", "1100", "--out", str(out))

    def stop(asked: TrialDesign, ids: Any, progress: Any = None) -> Any:
        if ids[0] == 1000:  # the third block
            raise KeyboardInterrupt
        return treat(asked, ids, progress)

    monkeypatch.setattr(running, "treat", stop)
    stopped = dosewright_trial(*arguments)
    assert stopped.exit_code == 1 and "report" not in stopped.output and not out.exists()
    monkeypatch.setattr(running, "treat", treat)
    again = dosewright_trial(*arguments)
    assert "2 blocks of it are finished; go on with --resume" in str(again.exception)
    other = dosewright_trial(*arguments, "--seed", "2", "--resume")
    assert "seed '1 of namespace trial' there, '2 of namespace trial' here" in str(other.exception)
    done = dosewright_trial(*arguments, "--resume")
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    whole = dosewright_trial("--patients", "1100", "--out", str(tmp_path / "whole"))
    assert whole.exit_code == 0, whole.output
    one, other = (polars.read_parquet(tmp_path / name / "patients.parquet") for name in ("out", "whole"))
    assert one.equals(other, null_equal=True)


def test_the_precision_reached_is_said(tmp_path: Path, no_page: None) -> None:
    done = dosewright_trial("--half-width", "0.2", "--most", "90", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "Differences of benefit from label are known to ±" in done.output
    assert "±20.00 was reached with 90 patients (at most 90)." in done.output
    found = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["precision"]
    assert (found["wanted"], found["reference"], found["reached"], found["most"]) == (0.2, "label", True, 90)
    assert set(found["half_widths"]) == {"fixed-5mg", "fixed-3mg"}
    done = dosewright_trial("--half-width", "0.0001", "--most", "90", "--out", str(tmp_path / "second"))
    assert re.search(
        r"±0.01 was not reached with 90 patients \(at most 90; about [\d,]+ more are needed\)\.", done.output
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--most", "90"), "--most 90: how precise"),
        (("--half-width", "0.1", "--patients", "90"), "--patients 90: --half-width adds patients"),
        (("--resume",), "no trial was stopped at"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = dosewright_trial(*arguments, "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, ValueError) and words in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_whoever_stops_a_trial_or_loses_a_process_is_told_where_its_patients_are(tmp_path: Path) -> None:
    with TrialStore.begin(tmp_path / "out", {}) as store:
        where = f"finished patients are kept in {store.path}: go on with --resume"
        with pytest.raises(click.ClickException, match=f"ended from outside .*; {where}"):
            with told_where(store, "--resume"):
                raise BrokenProcessPool
        with pytest.raises(KeyboardInterrupt, match=f"stopped; {where}"), told_where(store, "--resume"):
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_killed_trial_goes_on_to_the_same_result(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "dosewright.scripts.cli", "trial", "warfarin", "--patients", "4000", "--arms",
        "label,bayesian-adaptive,policy", "--processes", "2",
    ]  # fmt: skip
    first = subprocess.Popen([*command, "--out", "out"], cwd=tmp_path)
    while len(list(tmp_path.glob("out.partial/block-*.npz"))) < 3:
        assert first.poll() is None, "ended before it was killed"
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    subprocess.run([*command, "--out", "out", "--resume"], cwd=tmp_path, check=True)
    subprocess.run([*command, "--out", "whole"], cwd=tmp_path, check=True)
    one, other = (polars.read_parquet(tmp_path / name / "patients.parquet") for name in ("out", "whole"))
    assert one.equals(other, null_equal=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]
