"""A log made ready, a policy scored from it, and its page: same numbers everywhere, and honest refusals."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from dosewright.agents import arm
from dosewright.agents.regimens import FixedDose, Noisy, Steps
from dosewright.envs import Noise, scenario
from dosewright.evaluation import run_trial
from dosewright.evaluation.dose_models import MultinomialLogistic
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.offline import (
    OfflineResult,
    evaluate_offline,
    make_ready,
    summarise_offline,
    write_offline,
)
from dosewright.evaluation.offline.result import possible
from dosewright.evaluation.ope import ask_target
from dosewright.evaluation.recording import follow_up_log_prob, record
from dosewright.evaluation.statistics import Interval

WARFARIN = scenario("warfarin")
CLINIC = WARFARIN.preset("clinic")
NOMOGRAM, USUAL = arm("nomogram", WARFARIN), arm("clinical-nomogram", WARFARIN)


@pytest.fixture(scope="module")
def log() -> Trajectories:
    clinician = Noisy(WARFARIN, NOMOGRAM, Steps({-1: 0.05, 0: 0.9, 1: 0.05}))
    return record(WARFARIN, clinician, WARFARIN.population, np.arange(400), Noise("select", 41), CLINIC)


@pytest.fixture(scope="module")
def result(log: Trajectories) -> OfflineResult:
    return evaluate_offline(log, WARFARIN, NOMOGRAM, USUAL, regressor=Ridge(10.0), folds=2)


def test_follow_up_is_the_realisms_where_the_log_says_which(log: Trajectories) -> None:
    ready = make_ready(log, WARFARIN)
    assert ready.follow_up is not None and "realism 'clinic'" in ready.follow_up_source
    np.testing.assert_array_equal(ready.follow_up[0], follow_up_log_prob(WARFARIN, CLINIC))
    assert ready.left_out == log.n_patients - ready.log.n_patients
    assert ready.behaviour is None


def test_follow_up_is_counted_where_the_log_does_not_say(log: Trajectories) -> None:
    ready = make_ready(replace(log, provenance={}), WARFARIN)
    assert ready.follow_up is not None and "estimated" in ready.follow_up_source
    stated = np.exp(follow_up_log_prob(WARFARIN, CLINIC))
    # 2 % a month: about 24 of 400 are lost, a standard error of 1.2 %
    np.testing.assert_allclose(np.exp(ready.follow_up[0]), stated, atol=0.04)


def test_courses_cut_by_a_data_lock_are_stood_in_for() -> None:
    clinician = Noisy(WARFARIN, NOMOGRAM, Steps({-1: 0.05, 0: 0.9, 1: 0.05}))
    noise, stay = Noise("select", 43), WARFARIN.preset("textbook")
    whole = record(WARFARIN, clinician, WARFARIN.population, np.arange(600), noise, stay)
    # half of the patients entered late: their course ends at step 6, whatever happened
    late = np.arange(600) % 2 == 0
    mask = whole.mask & ~(late[:, None] & (np.arange(whole.horizon) >= 6))
    cut = replace(
        whole, mask=mask, terminated=whole.terminated & ~late, truncated=late,
        rewards=np.where(mask, whole.rewards, 0.0),
        outcomes={name: np.where(mask, values, 0.0) for name, values in whole.outcomes.items()},
    )  # fmt: skip
    ready = make_ready(cut, WARFARIN)
    assert ready.follow_up is not None and "estimated" in ready.follow_up_source
    np.testing.assert_allclose(np.exp(ready.follow_up[0]), np.where(np.arange(whole.horizon) < 6, 1.0, 0.5))
    found, full = (
        evaluate_offline(log, WARFARIN, NOMOGRAM, regressor=Ridge(10.0), folds=2) for log in (cut, whole)
    )
    (some,), (everybody,) = (
        [one.decisions["return"] for one in each.evidence.values()] for each in (found, full)
    )
    assert some.verdict == "answered" and some.answer is not None and everybody.answer is not None
    # the same patients, so most of the error is shared; half of them tell of the later steps
    assert abs(some.answer.value - everybody.answer.value) < 2 * some.answer.standard_error
    assert some.answer.standard_error > everybody.answer.standard_error


def test_propensities_are_modelled_only_where_they_are_missing(log: Trajectories) -> None:
    with pytest.raises(ValueError, match="name a behaviour model"):
        make_ready(replace(log, behaviour_log_prob=None), WARFARIN)
    with pytest.raises(ValueError, match="leave the behaviour model out"):
        make_ready(log, WARFARIN, MultinomialLogistic(penalty=1.0))


def test_the_regimen_behind_the_log_is_answered_and_another_is_not(result: OfflineResult) -> None:
    own, other = (one.decisions["return"] for one in result.evidence.values())
    assert own.verdict == "answered", own.reason
    assert own.answer is not None and own.answer.estimator == "wdr"
    assert other.grounds["per-decision"].reasons and other.grounds["trajectory"].reasons
    assert other.answer is None
    assert result.difference("return") is None


def test_doses_that_are_never_given_leave_bounds(log: Trajectories, result: OfflineResult) -> None:
    own, other = result.evidence.values()
    assert own.support.lacking is None and other.decisions["benefit"].verdict == "bounds only"
    # the clinician's own doses at the same visits say it exactly
    clinician = Noisy(WARFARIN, NOMOGRAM, Steps({-1: 0.05, 0: 0.9, 1: 0.05}))
    used = result.ready.log
    given, wanted = ask_target(used, clinician, WARFARIN).doses, other.target.doses
    near = WARFARIN.doses.same(given.doses, wanted.doses[..., :1]) & (given.probability > 0)
    exact = 1.0 - float(np.mean(np.any(near, axis=2)[used.mask]))
    share = other.support.share
    assert 0.1 < exact and abs(share.mean - exact) < 4 * share.standard_error
    # how it really is, with other patients who all stay
    stay = replace(CLINIC, dropout_per_month=0.0)
    trial = run_trial(
        WARFARIN, {"usual": USUAL}, WARFARIN.population, np.arange(400), Noise("select", 42), stay
    )
    for outcome, counted in (
        ("benefit", "benefit"),
        ("harm", "harm"),
        ("return", "return"),
        ("first_harm", "ever_harm"),
    ):
        low, high = other.decisions[outcome].interval().low, other.decisions[outcome].interval().high
        assert low <= trial.estimate("usual", counted).mean <= high
    low, high = other.decisions["benefit"].interval().low, other.decisions["benefit"].interval().high
    assert 0.0 <= low < high <= 1.0 and high - low < 1.0
    # in a unit that the scenario does not know there are no bounds, and so there is nothing to say
    scaled = replace(log, rewards=100.0 * log.rewards)
    again = evaluate_offline(scaled, WARFARIN, USUAL, regressor=Ridge(10.0), folds=2)
    assert again.evidence[USUAL.name].decisions["return"].verdict == "refused"


def test_a_behaviour_model_says_which_doses_are_never_given(log: Trajectories) -> None:
    below_10 = replace(log, behaviour_log_prob=None).select(
        np.flatnonzero(log.actions.max(axis=1) < 10.0)[:120]
    )
    found = evaluate_offline(
        below_10, WARFARIN, FixedDose(WARFARIN, 10.0), behaviour=MultinomialLogistic(penalty=1.0),
        regressor=Ridge(10.0), folds=2, least_patients=10,
    )  # fmt: skip
    assert found.ready.behaviour is not None
    assert re.search(r"of (\d+) doses in (?!\1)\d+ groups", str(found.ready.behaviour))
    (one,) = found.evidence.values()
    assert one.support.share.mean == 1.0 and one.decisions["benefit"].verdict == "bounds only"
    assert "100 % of the target's doses are never given" in one.decisions["benefit"].reason
    summary = summarise_offline(found)
    assert f"the log only confines {one.regimen}" in summary["answer"]["sentences"][0]
    assert summary["regimens"][one.regimen]["outcomes"]["benefit"]["bounds"] == {"low": 0.0, "high": 1.0}


def test_the_log_itself_is_met(log: Trajectories) -> None:
    # asked about the clinician who made it, every weight is 1 and the answer is the mean
    clinician = Noisy(WARFARIN, NOMOGRAM, Steps({-1: 0.05, 0: 0.9, 1: 0.05}))
    same = evaluate_offline(log, WARFARIN, clinician, regressor=Ridge(10.0), folds=2)
    ready = same.ready
    assert ready.follow_up is not None
    evidence = same.evidence[clinician.name]
    np.testing.assert_allclose(evidence.weights.log_ratio, 0.0, atol=1e-12)
    seen = ready.log.mask | ~ready.log.dropped_out[:, None]
    expected = sum(
        float(ready.log.rewards[seen[:, t], t].sum() / seen[:, t].sum()) for t in range(ready.log.horizon)
    )
    plain = next(e for e in evidence.decisions["return"].estimates if e.estimator == "pdwis")
    assert plain.value == pytest.approx(expected, rel=1e-9)


def test_page_and_json_have_the_same_numbers(result: OfflineResult, tmp_path: Path) -> None:
    summary, folder = write_offline(result, tmp_path / "out")
    stored = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(summary))
    page = (folder / "report.html").read_text(encoding="utf-8")
    answer = summary["regimens"]["nomogram"]["outcomes"]["benefit"]["answer"]
    assert f"{100 * answer['mean']:.1f} %" in page
    for sentence in summary["answer"]["sentences"]:
        assert sentence.split(" (")[0].replace(" %", "\u00a0%") in page
    assert page.count("not for clinical use") == 1
    assert not re.findall(r"(?:src|href)=[\"']http", page)
    estimators = {e["estimator"] for e in summary["regimens"]["nomogram"]["outcomes"]["return"]["estimates"]}
    assert estimators == {"wdr", "pdwis", "dr", "pdis", "wis", "is", "fqe_per_step", "dm"}
    carriers = summary["regimens"]["nomogram"]["carriers"]
    assert len(carriers) == 10 and carriers[0]["share"] >= carriers[-1]["share"]
    assert {item["guideline"] for item in summary["checklists"]} >= {"CONSORT-AI 2020", "TRIPOD+AI 2024"}


def test_a_small_subgroup_is_named_and_left_out(result: OfflineResult, tmp_path: Path) -> None:
    summary, _ = write_offline(result, tmp_path / "out")
    rows = summary["subgroups"]["rows"]
    small = [row for row in rows if row["n"] < summary["subgroups"]["smallest"]]
    assert small and all("fewer than" in row["reason"] and row["return"] is None for row in small)
    by_kind = {row["kind"]: 0 for row in rows}
    for row in rows:
        by_kind[row["kind"]] += row["n"]
    assert set(by_kind.values()) == {result.ready.log.n_patients}


def test_what_cannot_be_is_cut_and_an_own_reward_is_called_so(
    log: Trajectories, result: OfflineResult
) -> None:
    wide = Interval(0.2, -0.8, 1.3, 0.5, 400, 0.95)
    assert (possible("first_harm", wide).low, possible("first_harm", wide).high) == (0.0, 1.0)
    assert possible("return", wide) == wide
    label = {item["name"]: item["label"] for item in summarise_offline(result)["outcomes"]}["return"]
    assert label == "return: benefit − 2 × harm"
    own = evaluate_offline(
        replace(log, rewards=90.0 * log.rewards), WARFARIN, NOMOGRAM, regressor=Ridge(10.0), folds=2
    )
    label = {item["name"]: item["label"] for item in summarise_offline(own)["outcomes"]}["return"]
    assert label == "return: sum of the rewards in the log"


def test_the_order_of_the_patients_changes_nothing(log: Trajectories, result: OfflineResult) -> None:
    turned = log.select(np.arange(log.n_patients)[::-1])
    again = evaluate_offline(turned, WARFARIN, NOMOGRAM, USUAL, regressor=Ridge(10.0), folds=2)
    for name, one in result.evidence.items():
        for outcome, decision in one.decisions.items():
            other = again.evidence[name].decisions[outcome]
            np.testing.assert_array_equal(
                [e.value for e in decision.estimates], [e.value for e in other.estimates]
            )


def test_two_regimens_of_one_name_are_refused(log: Trajectories) -> None:
    with pytest.raises(ValueError, match="both called 'nomogram'"):
        evaluate_offline(log, WARFARIN, NOMOGRAM, NOMOGRAM)
