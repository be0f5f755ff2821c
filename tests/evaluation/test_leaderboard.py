"""The leaderboard: its numbers are those of the trials it is made of, and its answers follow from them."""

from __future__ import annotations

import copy
import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from markupsafe import escape
from numpy.testing import assert_allclose

from dosewright.agents.regimens import FixedDose, regimen
from dosewright.envs import Noise, scenario
from dosewright.evaluation import TrialResult, run_trial
from dosewright.evaluation.leaderboard import Cell, board, cell_record
from dosewright.evaluation.leaderboard.board import answers
from dosewright.evaluation.provenance import provenance
from dosewright.evaluation.report.leaderboard import leaderboard_page
from dosewright.evaluation.statistics import paired_difference

WARFARIN = scenario("warfarin")
CELL = Cell("warfarin", "clinic", "own")
# rules stand for the arms: what is tested is the arithmetic
ARMS = {
    "guideline": regimen("guideline", WARFARIN),
    "bayesian": FixedDose(WARFARIN, 4.0),
    "bayesian-adaptive": FixedDose(WARFARIN, 3.0),
    "policy s1": regimen("nomogram", WARFARIN),
    "policy s2": regimen("clinical-nomogram", WARFARIN),
    "oracle": regimen("oracle", WARFARIN),
}
PLANNERS = {"planner": FixedDose(WARFARIN, 5.0), "planner-adaptive": FixedDose(WARFARIN, 2.5)}
POLICIES = ("policy s1", "policy s2")


def trial(arms: dict[str, Any], patients: int) -> TrialResult:
    noise, clinic = Noise("select", 1), WARFARIN.preset("clinic")
    return run_trial(WARFARIN, arms, WARFARIN.population, range(patients), noise, clinic)


@pytest.fixture(scope="module")
def result() -> TrialResult:
    return trial(ARMS, 300)


@pytest.fixture(scope="module")
def record(result: TrialResult) -> dict[str, Any]:
    return cell_record(CELL, result, trial(PLANNERS, 100), POLICIES, "the own world")


def test_monitoring_is_the_better_of_the_two(result: TrialResult, record: dict[str, Any]) -> None:
    means = {name: result.arm(name).benefit.mean() for name in ("bayesian", "bayesian-adaptive")}
    assert record["monitoring"] == max(means, key=means.__getitem__)
    assert means["bayesian"] != means["bayesian-adaptive"]


def test_differences_are_those_of_each_patients_mean_over_the_seeds(
    result: TrialResult, record: dict[str, Any]
) -> None:
    policy = np.mean([result.arm(name).benefit for name in POLICIES], axis=0)
    expected = paired_difference(policy, result.arm(record["monitoring"]).benefit)
    found = record["against"]["monitoring"]["benefit"]
    assert (found["mean"], found["low"], found["high"]) == (expected.mean, expected.low, expected.high)
    for name in POLICIES:
        one = result.difference(name, record["monitoring"], "benefit")
        seed = record["against"]["monitoring"]["benefit_by_seed"][name]
        assert (seed["mean"], seed["low"]) == (one.mean, one.low)
    event = np.mean([result.arm(name).ever_harm for name in POLICIES])
    assert record["policy"]["event"]["mean"] == pytest.approx(event)


def test_planners_are_compared_on_their_own_patients(result: TrialResult, record: dict[str, Any]) -> None:
    found = record["against"]["planner"]
    planned = trial(PLANNERS, 100)
    better = max(PLANNERS, key=lambda name: planned.arm(name).benefit.mean())
    assert (found["arm"], found["patients"]) == (better, 100)
    policy = np.mean([result.arm(name).benefit[:100] for name in POLICIES], axis=0)
    assert found["benefit"]["mean"] == pytest.approx((policy - planned.arm(better).benefit).mean())
    with pytest.raises(ValueError, match="other patients"):
        world = WARFARIN.preset("clinic")
        other = run_trial(
            WARFARIN, PLANNERS, WARFARIN.population, range(5, 50), Noise("select", 1), world
        )  # fmt: skip
        cell_record(CELL, result, other, POLICIES, "")


def test_gap_closed_has_the_interval_of_a_ratio(result: TrialResult, record: dict[str, Any]) -> None:
    gained = np.mean([result.arm(name).benefit for name in POLICIES], axis=0)
    base = result.arm(record["monitoring"]).benefit
    gained, gap = gained - base, result.arm("oracle").benefit - base
    closed = record["gap_closed"]["closed"]
    assert closed["mean"] == pytest.approx(gained.mean() / gap.mean())
    # the bootstrap of the ratio, 4000 resamples of the patients
    rows = np.random.default_rng(0).integers(0, len(gap), (4000, len(gap)))
    ratios = gained[rows].mean(axis=1) / gap[rows].mean(axis=1)
    width = np.subtract(*np.quantile(ratios, [0.975, 0.025]))
    assert_allclose(closed["high"] - closed["low"], width, rtol=0.1)


def test_no_gap_is_no_number(result: TrialResult) -> None:
    same = copy.copy(result)
    object.__setattr__(same, "arms", {**result.arms, "bayesian": result.arm("oracle")})
    record = cell_record(CELL, same, None, POLICIES, "")
    assert record["gap_closed"]["closed"] is None and record["gap_closed"]["gap"]["mean"] == 0.0
    assert "planner" not in record["against"]


def test_no_event_is_no_proof_of_none(result: TrialResult) -> None:
    def never(*names: str) -> TrialResult:
        arms = {name: copy.copy(result.arm(name)) for name in names}
        for arm in arms.values():
            object.__setattr__(arm, "ever_harm", np.zeros(len(result.ids), dtype=bool))
        changed = copy.copy(result)
        object.__setattr__(changed, "arms", {**result.arms, **arms})
        return changed

    record = cell_record(CELL, never("policy s1"), None, ("policy s1",), "")
    assert record["ratio_of_events"] == {"mean": 0.0, "low": None, "high": None}
    # Wilson's upper limit: z^2 / (n + z^2); a single policy is yes or no, as any other arm
    event = record["policy"]["event"]
    assert (event["mean"], event["high"]) == (0.0, pytest.approx(1.96**2 / (300 + 1.96**2), rel=1e-3))
    base = cell_record(CELL, result, None, ("policy s1",), "")["monitoring"]
    assert cell_record(CELL, never(base), None, ("policy s1",), "")["ratio_of_events"] is None
    # Newcombe's limits where both have none; of two seeds as well
    nobody = cell_record(CELL, never(base, *POLICIES), None, POLICIES, "")
    limit = pytest.approx(1.96**2 / (300 + 1.96**2), rel=1e-3)
    assert nobody["policy"]["event"]["high"] == limit
    against = nobody["against"]["monitoring"]
    for found in (against["event"], *against["event_by_seed"].values()):
        assert (found["mean"], found["high"], -found["low"]) == (0.0, limit, limit)


def test_a_policy_that_doses_as_monitoring_closes_nothing(result: TrialResult) -> None:
    same = copy.copy(result)
    object.__setattr__(same, "arms", {**result.arms, "policy s1": result.arm("bayesian")})
    object.__setattr__(same, "arms", {**same.arms, "bayesian-adaptive": result.arm("bayesian")})
    closed = cell_record(CELL, same, None, ("policy s1",), "")["gap_closed"]["closed"]
    assert closed == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_without_a_policy_a_cell_shows_the_others(result: TrialResult) -> None:
    record = cell_record(CELL, result, None, (), "")
    assert record["against"] == {} and set(record["arms"]) == set(ARMS)


# ---------------------------------------------------------------------------------------------- the answers


def finding(drug: str, **changes: Any) -> dict[str, Any]:
    """A cell whose policy gains 2 ± 1 points with 5 % of events against 10 %."""
    benefit, event = {"mean": 0.02, "low": 0.01, "high": 0.03}, {"mean": -0.05, "low": -0.07, "high": -0.03}
    made: dict[str, Any] = {
        "drug": drug,
        "realism": "clinic",
        "world": "own",
        "second_model": True,
        "policies": ["policy"],
        "margin": 0.03,
        "ratio_of_events": {"mean": 0.5, "low": 0.4, "high": 0.6},
        "worst_genotype": {
            "policy": {"gap": 0.1, "reason": ""},
            "monitoring": {"gap": 0.1, "reason": ""},
        },
        "gap_closed": {"closed": {"mean": 0.3, "low": 0.2, "high": 0.4}},
        "against": {
            role: {"benefit": dict(benefit), "event": dict(event)}
            for role in ("monitoring", "planner", "guideline")
        },
    }
    return made | changes


def met(cells: list[dict[str, Any]], words: str) -> list[str]:
    (found,) = (item for item in answers(cells) if words in item["question"])
    return found["met"]


def test_a_gain_counts_only_where_harm_is_not_higher() -> None:
    good, bad = finding("good"), finding("bad")
    bad["against"]["monitoring"]["event"]["high"] = 0.031
    assert met([good, bad], "of a point or more") == ["good"]
    small = finding("small")
    small["against"]["monitoring"]["benefit"]["mean"] = 0.009
    unsure = finding("unsure")
    unsure["against"]["monitoring"]["benefit"]["low"] = -0.001  # an interval that covers 0 is no win
    assert met([small, unsure], "of a point or more") == []


def test_a_gap_between_genotypes_that_nobody_knows_is_not_asked() -> None:
    unknown = {"gap": 0.0, "reason": "1 subgroup of at least 50 patients; two are needed"}
    cells = [
        finding("larger", worst_genotype={
            "policy": {"gap": 0.11, "reason": ""}, "monitoring": {"gap": 0.1, "reason": ""}}),
        finding("unknown", worst_genotype={"policy": unknown, "monitoring": unknown}),
        finding("none", worst_genotype=None),
        finding("same"),
    ]  # fmt: skip
    (found,) = (item for item in answers(cells) if "genotypes" in item["question"])
    assert (found["asked"], found["met"]) == (["larger", "same"], ["same"])


def test_events_are_compared_as_a_ratio() -> None:
    cells = [finding("a"), finding("b", ratio_of_events={"mean": 0.81}), finding("c", ratio_of_events=None)]
    assert met(cells, "0.8 times") == ["a"]


def test_intervals_decide_against_monitoring_and_planner() -> None:
    cell = finding("a")
    cell["against"]["monitoring"]["benefit"]["low"] = -0.0101
    assert met([cell], "against Bayesian monitoring") == []
    cell["against"]["planner"]["benefit"]["low"] = 0.0
    assert met([cell], "better than the planner") == []


def test_the_median_is_over_drugs_with_a_gap() -> None:
    cells = [finding("a"), finding("b", gap_closed={"closed": None})]
    cells.append(finding("c", gap_closed={"closed": {"mean": 0.1}}))
    (found,) = (item for item in answers(cells) if "median" in item)
    assert found["median"] == pytest.approx(0.2) and found["asked"] == ["a", "c"] and found["met"] == ["a"]


def test_another_model_must_keep_half_of_the_gain() -> None:
    own, other = finding("a"), finding("a", world="other")
    assert met([own, other], "another model") == ["a"]
    other["against"]["guideline"]["benefit"]["mean"] = 0.0099
    assert met([own, other], "another model") == []
    other["against"]["guideline"]["benefit"]["mean"] = 0.02
    other["against"]["monitoring"]["benefit"]["mean"] = -0.021
    assert met([own, other], "another model") == []


def test_the_answer_says_which_drugs_have_no_second_model() -> None:
    worlds = ("own", "other")
    cells = [finding(drug, world=world, second_model=drug == "a") for drug in "ab" for world in worlds]
    assert met(cells, "another model (of b the same, but wider), `clinic`") == ["a", "b"]


ENTRY = {
    "seed": 1, "preset": "ppo", "minutes": 90.0, "weights": "abc", "environment": 0.02, "belief": 0.6,
    "networks": 0.3,
    "curve": [{"steps": 0, "benefit": 0.8, "ever_harm": 0.03},
              {"steps": 100, "benefit": 0.81, "ever_harm": 0.02},
              {"steps": 200, "benefit": 0.805, "ever_harm": 0.021}],
    "monitoring": {"benefit": 0.79, "ever_harm": 0.04}, "policy": {"benefit": 0.81, "ever_harm": 0.02},
    "trained": True, "patients": 1000, "differs": [],
}  # fmt: skip


def made(
    record: dict[str, Any], training: dict[str, Any], tried: dict[str, Any] | None = None
) -> dict[str, Any]:
    return board([record], training, tried or {}) | {
        "comparators": "0123456789abcdef",
        "code": "the code",
        "hours": 0.1,
        "provenance": provenance(datetime(2026, 11, 29, tzinfo=UTC), 1.0),
    }


def test_every_harm_of_the_scenario_is_in_the_record(result: TrialResult, record: dict[str, Any]) -> None:
    harms = record["arms"]["guideline"]["harms"]
    # besides the event and the harm of the return
    wanted = [item for item in WARFARIN.outcomes if item.better == "lower" and item.label in harms]
    assert len(wanted) == len(harms) >= 3
    for item in wanted:
        assert harms[item.label]["mean"] == result.estimate("guideline", item.name).mean
        assert f"<th>{escape(item.label)}" in leaderboard_page(made(record, {}))


def test_trainings_are_drawn_and_their_time_is_summed_up(record: dict[str, Any]) -> None:
    entries = [ENTRY, {**ENTRY, "seed": 2, "minutes": 36.0}]
    text = leaderboard_page(made(record, {"warfarin": entries, "propofol": []}))
    assert "2.1 hours in all, 90.0 minutes the longest of a drug’s own preset" in text
    other = {**ENTRY, "minutes": 150.0, "differs": ["no ppo", "sac"]}
    text = leaderboard_page(made(record, {"warfarin": entries}, {"warfarin": [other]}))
    assert "4.6 hours in all, 90.0 minutes the longest" in text
    assert "not as the drug’s: no ppo, sac" in text
    assert "Benefit and patients with the event on select patients" in text
    assert "hours in all" not in leaderboard_page(made(record, {"warfarin": []}))


@pytest.mark.parametrize(
    ("benefit", "event", "shown"),
    [(-0.001, 0.001, False), (0.001, 0.001, True), (-0.001, -0.001, True)],
)
def test_monitoring_stays_where_it_is_nowhere_surpassed(benefit: float, event: float, shown: bool) -> None:
    there, elsewhere = finding("a", realism="textbook"), finding("a", world="other")  # which is not asked
    for cell in (there, here := finding("a")):
        cell["against"]["monitoring"]["benefit"]["low"] = -0.001
        cell["against"]["monitoring"]["event"]["high"] = 0.001
    there["against"]["monitoring"]["benefit"]["low"] = benefit
    there["against"]["monitoring"]["event"]["high"] = event
    found = board([here, there, elsewhere, finding("b")], {}, {})
    assert found["not_surpassed"] == ([] if shown else ["a"])


def test_a_training_that_gave_nothing_is_shown_as_monitoring(record: dict[str, Any]) -> None:
    lost = {**ENTRY, "trained": False, "policy": ENTRY["monitoring"]}
    found = made(record, {"warfarin": [ENTRY, lost], "propofol": [lost, lost]}, {"propofol": [ENTRY]})
    text = leaderboard_page({**found, "not_surpassed": ["propofol"]})
    assert "Bayesian monitoring of propofol, in benefit or in events: there monitoring stays" in text
    assert "monitoring stays" not in leaderboard_page({**found, "not_surpassed": []})
    assert "<td>80.5</td><td>monitoring</td>" in text and "<td>80.5</td><td>81.0</td>" in text
    assert "not as the drug’s" not in text
    tried = text[text.index("Other presets that were tried") :]
    assert "<td>propofol<small>" in tried and "<td>warfarin<small>" not in tried
    assert "were tried" not in leaderboard_page(made(record, {"warfarin": [ENTRY]}))


def points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def test_the_page_shows_what_the_record_holds(record: dict[str, Any]) -> None:
    text = leaderboard_page(made(record, {"warfarin": []}))
    difference = record["against"]["monitoring"]["benefit"]
    assert f"{points(difference['mean'])}<small>{points(difference['low'])} to" in text
    seeds = record["against"]["monitoring"]["benefit_by_seed"].values()
    assert "seeds " + ", ".join(points(item["mean"]) for item in seeds) in text
    gap = record["worst_genotype"]["policy"]
    served = (
        f"{100 * gap['gap']:.1f} ({100 * gap['low']:.1f} to {100 * gap['high']:.1f}; {gap['highest']} against"
    )
    assert f"policy {served}" in text or gap["reason"] in text
    assert text.count("not for clinical use") == 1 and "0123456789abcdef" in text
    for name in (*ARMS, *PLANNERS):
        assert f"<td>{name}</td>" in text


def test_the_page_begins_with_a_picture_of_the_policies_own_worlds(
    result: TrialResult, record: dict[str, Any]
) -> None:
    there = [
        {**record, "drug": drug, "realism": realism, "world": world}
        for drug, realism, world in (
            ("warfarin", "textbook", "own"),
            ("propofol", "clinic", "own"),
            ("warfarin", "clinic", "own"),
            ("busulfan", "clinic", "other"),
        )
    ]
    text = leaderboard_page({**made(record, {}), "cells": there})
    picture = text[text.index("<svg") : text.index("What was asked")]
    # from top to bottom, one realism after the other
    assert re.findall(r">(\w+, (?:clinic|textbook))<", picture) == [
        "warfarin, textbook", "propofol, clinic", "warfarin, clinic"
    ]  # fmt: skip
    nobody = cell_record(CELL, result, None, (), "the own world")
    assert "<svg" not in leaderboard_page(made(nobody, {}))


def test_names_between_backticks_are_code(record: dict[str, Any]) -> None:
    there = {**record, "world": "other", "words": "Model `a_b` of <adults>"}
    text = leaderboard_page(made(record, {}) | {"cells": [record, there]})
    assert "<dd>Model <code>a_b</code> of &lt;adults&gt;</dd>" in text
    assert "monitoring in <code>clinic</code>: interval" in text and "`" not in text
