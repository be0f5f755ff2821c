"""What is said of a policy is true of one that is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from dosewright.agents.explanation import explain
from dosewright.agents.explanation.dependence import dependence_records
from dosewright.agents.explanation.differences import (
    KINDS,
    difference_records,
    kinds_of,
    mean_over_visits,
)
from dosewright.agents.explanation.explanation import _event, _gain
from dosewright.agents.explanation.importance import deletion_check, permutation_importance
from dosewright.agents.explanation.surrogate import surrogate_records
from dosewright.agents.explanation.visits import Visits
from dosewright.agents.learning import LearnedPolicy, anchored_dose
from dosewright.agents.learning.meanings import meanings
from dosewright.envs import Scenario, scenario
from dosewright.evaluation.statistics import mean_interval

Linear = Callable[[Mapping[str, float]], LearnedPolicy]
Visited = Callable[[LearnedPolicy, int], Visits]

RESPONSE, INNOVATION, DAY = "mean log response over target", "last innovation", "day over horizon"
WEIGHTS = {RESPONSE: -0.5, INNOVATION: 0.05}


def made_up(given: list[float], anchor: list[float]) -> Visits:
    n = len(given)
    return Visits(
        patient=np.arange(n), visit=np.zeros(n, np.int64), features=np.zeros((n, 1), np.float32),
        unit=np.array(anchor), multiple=np.ones(n), given=np.array(given), anchor_given=np.array(anchor),
        benefit=np.zeros(n), event=np.zeros(n),
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------- differences


def test_a_visit_is_of_one_kind() -> None:
    visits = made_up([2.0, 3.0, 4.0, 4.5, 4.5, 5.0, 6.75, 7.0, 0.0, 1.0, 0.0], [4.5] * 8 + [0.0, 0.0, 3.0])
    found = [KINDS[i] for i in kinds_of(visits)]
    assert found == [
        "much lower", "lower", "lower", "same", "same", "higher", "higher", "much higher", "same",
        "much higher", "much lower",
    ]  # fmt: skip


def test_shares_and_gains_of_the_kinds_add_up(linear: Linear, visited: Visited, warfarin: Scenario) -> None:
    visits = visited(linear(WEIGHTS), 60)
    found = difference_records(visits, warfarin)
    assert sum(item["visits"] for item in found["kinds"]) == len(visits) == found["all"]["visits"]
    for key in ("kinds", "by_visit"):
        known = [item for item in found[key] if item["visits"]]
        for outcome in ("benefit", "event"):
            total = sum(item["share"] * item[outcome]["mean"] for item in known)
            assert total == pytest.approx(found["all"][outcome]["mean"], abs=1e-12)
    assert found["by_visit"][0]["name"] == "day 0" and len(found["by_visit"]) == len(warfarin.calendar)
    assert found["all"]["lower"] == pytest.approx(sum(item["share"] for item in found["kinds"][:2]))
    assert found["all"]["benefit"]["low"] < found["all"]["benefit"]["mean"] < found["all"]["benefit"]["high"]


def test_no_interval_is_claimed_where_nothing_differs(warfarin: Scenario) -> None:
    found = difference_records(made_up([4.0] * 5, [4.0] * 5), warfarin)
    assert found["all"]["event"] == {"mean": 0.0, "low": None, "high": None, "n": 5}
    assert found["kinds"][0]["event"]["mean"] is None


def test_the_interval_of_visits_is_that_of_patients() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(1.0, 2.0, 40)
    alone = mean_over_visits(values, np.arange(40))
    thrice = mean_over_visits(np.repeat(values, 3), np.repeat(np.arange(40), 3))
    expected = mean_interval(values)
    assert alone is not None and thrice is not None
    for found in (alone, thrice):  # three equal visits of a patient tell no more than one
        np.testing.assert_allclose(
            [found.mean, found.low, found.high], [expected.mean, expected.low, expected.high]
        )
    assert mean_over_visits(values[:3], np.zeros(3, np.int64)) is None


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(400):
        count = rng.integers(1, 8, 60)
        patient = np.repeat(np.arange(60), count)
        # patients differ, and those with many visits gain less: the mean over visits is 1 − 0.1 · 5
        level = rng.normal(1.0, 1.0, 60) - 0.1 * count
        found = mean_over_visits(np.repeat(level, count) + rng.normal(0, 0.5, len(patient)), patient)
        assert found is not None
        # E[count²] / E[count] = 20 / 4
        covered += found.low <= 0.5 <= found.high
    assert 0.91 <= covered / 400 <= 0.98


# ------------------------------------------------------------------------------------------------- features


def test_permutation_finds_the_features_that_decide(linear: Linear, visited: Visited) -> None:
    policy = linear({**WEIGHTS, DAY: 0.1})
    found = permutation_importance(policy, visited(policy, 60), seed=1)
    assert {item["feature"] for item in found[:2]} == {RESPONSE, INNOVATION}
    assert found[1]["multiple"] > 0 and found[1]["dose"] > 0 and 0 < found[1]["tablet"] < 1
    # the day is the same for all at a visit, the others have no weight
    assert all(item["multiple"] == item["dose"] == item["tablet"] == 0 for item in found[2:])
    again = permutation_importance(policy, visited(policy, 60), seed=1)
    assert found == again


def test_deletion_leaves_the_policy_at_the_mean_visit(linear: Linear, visited: Visited) -> None:
    policy = linear(WEIGHTS)
    visits = visited(policy, 60)
    names = policy.inputs.names
    ranked = [names.index(RESPONSE), names.index(INNOVATION), *range(20)]
    found = {item["features"]: item for item in deletion_check(policy, visits, ranked, seed=1)}
    width = len(names)
    assert list(found) == [1, 2, 5, 10, width]
    # both gone: everybody gets what the mean of the visit would be given
    action = np.zeros(len(visits))
    for name, weight in WEIGHTS.items():
        column = visits.features[:, names.index(name)].astype(float)
        for visit in np.unique(visits.visit):
            action[visits.visit == visit] += weight * column[visits.visit == visit].mean()
    mean = anchored_dose(np.ones(len(visits)), action)
    expected = 1 - np.abs(mean - visits.multiple).mean() / np.abs(visits.multiple - 1).mean()
    assert found[2]["left"] == pytest.approx(expected, abs=1e-5)
    # without weight the others may go too; taken one by one, what is left need not fall
    assert found[width]["left"] == pytest.approx(expected, abs=1e-5)
    assert found[1]["left"] < 1
    assert found[1]["random"]["high"] == 1.0  # most features do not matter
    assert found[2]["random"]["mean"] > found[2]["left"]


def test_a_policy_that_never_departs_has_nothing_to_delete(linear: Linear, visited: Visited) -> None:
    policy = linear({})
    found = deletion_check(policy, visited(policy, 10), list(range(20)), seed=1)
    assert all(item["left"] is None and item["random"]["mean"] is None for item in found)


def test_dependence_on_one_feature_is_its_function(linear: Linear, visited: Visited) -> None:
    policy = linear({RESPONSE: -0.5})
    visits, known = visited(policy, 60), {item.name: item for item in meanings(policy.inputs)}
    found = dependence_records(policy, visits, (known[RESPONSE], known[INNOVATION]), seed=1)
    response, other = found["curves"]
    # the feature is a logarithm; people see the INR over its target
    expected = anchored_dose(np.ones(len(response["values"])), -0.5 * np.log(response["values"]))
    for key in ("mean", "low", "high"):  # nothing else decides: no spread
        np.testing.assert_allclose(response["multiple"][key], expected, atol=1e-5)
    assert np.ptp(other["multiple"]["mean"]) == 0.0
    assert response["dose"]["low"][0] < response["dose"]["high"][0]  # anchors differ
    cells = found["map"]
    met = np.array(cells["visits"])
    assert met.sum() == len(visits)
    empty = [[value is None for value in row] for row in cells["multiple"]]
    np.testing.assert_array_equal(np.array(empty), met == 0)


def test_a_flag_is_asked_at_its_values(linear: Linear, visited: Visited) -> None:
    policy = linear({INNOVATION: 1.0})
    visits, known = visited(policy, 20), {item.name: item for item in meanings(policy.inputs)}
    features, column = visits.features.copy(), policy.inputs.names.index(INNOVATION)
    features[:, column] = np.arange(len(visits)) % 20 == 0  # one visit in twenty
    flagged = replace(visits, features=features)
    found = dependence_records(policy, flagged, (known[INNOVATION], known[RESPONSE]), seed=1)
    assert found["curves"][0]["values"] == [known[INNOVATION].natural(value) for value in (0.0, 1.0)]
    cells = found["map"]
    assert cells["edges"][0] == [known[INNOVATION].natural(value) for value in (-0.5, 0.5, 1.5)]
    asked = anchored_dose(np.ones(2), np.array([0.0, 1.0]))
    for row in cells["multiple"]:
        for value, expected in zip(row, asked, strict=True):
            assert value is None or value == pytest.approx(expected, abs=1e-5)


def test_a_part_of_the_way_to_an_event_is_not_called_a_patient() -> None:
    # efavirenz: more than 25 % of 336 days, so 85; busulfan: a score that falls from 1 to 0
    assert _event(scenario("efavirenz")) == "full ways to a patient above 4 mg/L on more than 25 % of days"
    assert _event(scenario("warfarin")) == "patients ever above INR 4"
    assert _gain(scenario("warfarin")) == "days with INR 2 to 3"
    assert _gain(scenario("busulfan")).startswith("days of the score for AUC of the four days")


# ---------------------------------------------------------------------------------------------------- rules


def test_rules_of_a_policy_that_is_a_rule_are_the_rule(
    linear: Linear, visited: Visited, warfarin: Scenario
) -> None:
    policy = linear({})
    visits, described = visited(policy, 40), meanings(policy.inputs)
    column = policy.inputs.names.index(RESPONSE)
    low = visits.features[:, column] <= np.log(0.8)
    multiples = np.where(low, 1.5, 0.8)
    found = surrogate_records(replace(visits, multiple=multiples), described, warfarin.doses, seed=1)
    assert [round(rule["multiple"], 6) for rule in found["rules"]] == [1.5, 0.8]
    assert found["rules"][0]["when"].startswith("present INR at most 0.")
    assert found["rules"][1]["when"].startswith("present INR above 0.")
    assert "× target" in found["rules"][0]["when"]
    assert found["fidelity"]["r_squared"] > 0.95 and found["fidelity"]["same_tablet"] > 0.98
    assert found["anchor"]["r_squared"] < 0.1 and found["anchor"]["same_tablet"] < 0.2
    assert sum(rule["share"] for rule in found["rules"]) == pytest.approx(1)
    assert found["fitted"] + found["held_out"] == len(visits)
    cap = warfarin.doses.maximum
    expected = np.abs(np.minimum(visits.unit, cap) - np.minimum(multiples * visits.unit, cap)).mean()
    assert found["anchor"]["dose_error"] == pytest.approx(expected, rel=0.3)  # of half of the patients


def test_rules_do_not_name_states_of_the_model(linear: Linear, visited: Visited, warfarin: Scenario) -> None:
    policy = linear({})
    visits = visited(policy, 40)
    column = policy.inputs.names.index("mean Y1")
    multiples = np.where(visits.features[:, column] > np.median(visits.features[:, column]), 1.5, 0.8)
    found = surrogate_records(
        replace(visits, multiple=multiples), meanings(policy.inputs), warfarin.doses, seed=1
    )
    assert len(found["rules"]) > 2  # others must stand in for it
    assert not any("state " in rule["when"].replace("steady state", "") for rule in found["rules"])
    assert all(0 < rule["dose"] <= warfarin.doses.maximum for rule in found["rules"] if rule["dose"])


def test_one_patient_cannot_be_held_out(linear: Linear, visited: Visited, warfarin: Scenario) -> None:
    policy = linear({})
    with pytest.raises(ValueError, match="1 patients.*at least 2"):
        surrogate_records(visited(policy, 1), meanings(policy.inputs), warfarin.doses, seed=1)


# ---------------------------------------------------------------------------------------------------- whole


def test_the_whole_is_plain_json_and_the_same_again(linear: Linear) -> None:
    one, other = (explain(linear(WEIGHTS), 12, seed=3) for _ in range(2))
    for found in (one, other):
        found.pop("provenance")
    assert json.loads(json.dumps(one, allow_nan=False)) == json.loads(json.dumps(other)) == one
    assert one["ahead"] == 5 and one["namespace"] == "select"  # of the drug's warm start
    shown = {curve["feature"] for curve in one["dependence"]["curves"]}
    assert shown == {RESPONSE, INNOVATION}
    assert any("present INR" in sentence for sentence in one["answer"])
    assert explain(linear(WEIGHTS), 12, seed=4)["differences"] != one["differences"]


def test_a_card_must_say_for_whom(linear: Linear) -> None:
    policy = linear({})
    policy.card = {"seed_namespace": "train", "realism": "clinic"}
    with pytest.raises(ValueError, match="genotype is missing"):
        explain(policy, 10, seed=1)
    with pytest.raises(ValueError, match="1 patients"):
        explain(linear({}), 1, seed=1)
