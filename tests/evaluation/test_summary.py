"""What a summary says of a trial: the right arrays, the right way round, nothing where there is nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dosewright.agents.regimens import FixedDose
from dosewright.envs import Noise, Treatment, scenario
from dosewright.evaluation import TrialResult, run_trial, summarise
from dosewright.evaluation.records import as_record, plain
from dosewright.evaluation.statistics import (
    Interval,
    holm,
    interaction,
    p_value,
    win_probability,
    worst_group_gap,
)
from dosewright.evaluation.summary.harms import harms_of

WARFARIN = scenario("warfarin")


class Seeing(FixedDose):
    """Is shown the truth, and does not look."""

    def attach(self, treatment: Treatment) -> None:
        pass


def trial(n: int, realism: str, arms: Mapping[str, Any]) -> TrialResult:
    return run_trial(
        WARFARIN, arms, WARFARIN.population, np.arange(n), Noise("trial", 5), WARFARIN.preset(realism)
    )


@pytest.fixture(scope="module")
def result() -> TrialResult:
    doses = {"three": 3.0, "four": 4.0, "five": 5.0, "seven": 7.0}
    arms = {name: FixedDose(WARFARIN, dose) for name, dose in doses.items()}
    return trial(400, "clinic", {**arms, "seer": Seeing(WARFARIN, 3.0)})


@pytest.fixture(scope="module")
def summary(result: TrialResult) -> dict[str, Any]:
    return summarise(result, "five")


def with_events(result: TrialResult, **first: list[float]) -> TrialResult:
    """The trial with other times of the event; NaN: it does not happen."""
    arms = {}
    for name, times in first.items():
        at = np.array(times)
        arms[name] = replace(result.arms[name], first_harm=at, ever_harm=~np.isnan(at))
    return replace(result, arms=arms)


def test_benefit_is_that_of_the_same_patients(result: TrialResult, summary: dict[str, Any]) -> None:
    assert set(summary["benefit"]) == {"three", "four", "seven", "seer"}
    found = summary["benefit"]["four"]
    won = win_probability(result.arms["four"].benefit, result.arms["five"].benefit)
    assert found["win_probability"] == as_record(won)
    assert found["p"] == p_value(result.difference("four", "five", "benefit"))
    resampled, student = found["bootstrap"], summary["differences"]["four"]["benefit"]
    assert resampled["mean"] == student["mean"]
    # 400 differences are many: the bootstrap and Student agree to a tenth of the width
    width = student["high"] - student["low"]
    for limit in ("low", "high"):
        assert abs(resampled[limit] - student[limit]) < 0.1 * width
    assert summarise(result, "five")["benefit"] == summary["benefit"]


def test_holm_adjusts_over_the_arms_that_compete(result: TrialResult, summary: dict[str, Any]) -> None:
    family = ["three", "four", "seven"]
    for records in (
        summary["benefit"],
        {name: arm["ever_harm"] for name, arm in summary["harms"]["arms"].items()},
        {name: arm["below_1_5"] for name, arm in summary["harms"]["arms"].items()},
        {name: arm["ever_harm"]["noninferiority"] for name, arm in summary["harms"]["arms"].items()},
    ):
        expected = holm([records[name]["p"] for name in family])
        assert [records[name]["p_holm"] for name in family] == expected.tolist()
        assert records["seer"]["p_holm"] is None


def test_fewer_harmed_is_a_number_needed_to_benefit(result: TrialResult, summary: dict[str, Any]) -> None:
    harmed = {name: arm.ever_harm.mean() for name, arm in result.arms.items()}
    for name, kind in (("three", "benefit"), ("seven", "harm")):
        found = summary["harms"]["arms"][name]["ever_harm"]
        assert found["number_needed"]["kind"] == kind
        assert found["number_needed"]["number"] == pytest.approx(1 / (harmed[name] - harmed["five"]))
        assert found["ratio"]["ratio"] == pytest.approx(harmed[name] / harmed["five"])
    assert summary["harms"]["arms"]["three"]["ever_harm"]["noninferiority"]["shows"] == "less"
    assert summary["harms"]["arms"]["seven"]["ever_harm"]["noninferiority"]["verdict"] == "inferior"


def test_each_harm_stands_once_and_only_the_event_has_a_margin() -> None:
    listed = harms_of(WARFARIN)
    # "above_4" is the harm of the return and "ever_above_4" the event, under other names
    assert [harm.name for harm in listed] == [
        "ever_harm", "harm", "ever_above_5", "below_1_5", "bleeding", "stroke",
    ]  # fmt: skip
    assert [harm.margin for harm in listed] == [0.03, None, None, None, None, None]
    assert [harm.counts_patients for harm in listed] == [True, False, True, False, False, False]
    assert {harm.flag for harm in listed if harm.name in ("bleeding", "stroke")} == {"ASSUMPTION"}
    # the harm of voriconazole's return is of the 27 days that score, the outcome of all 28
    assert "above_5_5" in [harm.name for harm in harms_of(scenario("voriconazole"))]
    # propofol's event needs a minute, not a quarter
    assert "ever_below_30" in [harm.name for harm in harms_of(scenario("propofol"))]


def test_rates_are_first_harms_over_the_years_until_them(
    result: TrialResult, summary: dict[str, Any]
) -> None:
    for name, arm in result.arms.items():
        until = np.where(arm.ever_harm, arm.first_harm, result.followed_days)
        rate = summary["first_harm"]["arms"][name]["rate"]
        assert rate["events"] == arm.ever_harm.sum()
        assert rate["patient_years"] == pytest.approx(until.sum() / 365.25)
        assert rate["low"] < rate["rate"] == pytest.approx(rate["events"] / rate["patient_years"])


def test_beside_leaving_the_incidences_are_the_shares_counted(
    result: TrialResult, summary: dict[str, Any]
) -> None:
    # nobody is censored before the horizon but by leaving, which competes: Aalen-Johansen counts
    left = result.followed_days < 90
    assert 10 < left.sum() < 60
    for name, arm in result.arms.items():
        found = summary["first_harm"]["arms"][name]
        assert found["beside_leaving"]["mean"] == pytest.approx(arm.ever_harm.mean(), abs=1e-12)
        assert found["left"]["mean"] == pytest.approx((left & ~arm.ever_harm).mean(), abs=1e-12)
        # as if nobody left, more would have been harmed
        assert found["alone"]["mean"] >= found["beside_leaving"]["mean"]


def test_time_without_harm_is_the_mean_time_where_nobody_leaves() -> None:
    found = trial(60, "textbook", {"five": FixedDose(WARFARIN, 5.0), "seven": FixedDose(WARFARIN, 7.0)})
    first = summarise(found, "five")["first_harm"]
    assert first["until"] == 90 and not first["looking_back"]
    free = {name: np.where(arm.ever_harm, arm.first_harm, 90.0).mean() for name, arm in found.arms.items()}
    for name, mean in free.items():
        assert first["arms"][name]["free"]["mean"] == pytest.approx(mean)
        assert first["arms"][name]["alone"]["mean"] == pytest.approx(found.arms[name].ever_harm.mean())
    gained = first["arms"]["seven"]["difference"]
    assert gained["mean"] == pytest.approx(free["seven"] - free["five"]) and gained["mean"] < 0
    assert "difference" not in first["arms"]["five"]


def test_arms_are_compared_as_long_as_all_of_them_are_known() -> None:
    two = trial(4, "textbook", {"five": FixedDose(WARFARIN, 5.0), "seven": FixedDose(WARFARIN, 7.0)})
    short = replace(two, followed_days=np.array([40, 30, 90, 20]))
    nan = math.nan
    # who is followed longest has the event: of "five" nothing is known after day 40
    known = with_events(short, five=[nan, nan, 12.0, nan], seven=[5.0, nan, nan, 8.0])
    assert summarise(known, "five")["first_harm"]["until"] == 40
    # everybody harmed: nobody is left to follow, and all is known
    ended = with_events(short, five=[3.0, 9.0, 12.0, 2.0], seven=[5.0, 7.0, 90.0, 8.0])
    first = summarise(ended, "five")["first_harm"]
    assert first["until"] == 90 and first["arms"]["five"]["alone"] == {"mean": 1.0, "low": None, "high": None}


def test_without_any_event_nothing_is_made_up() -> None:
    two = trial(30, "textbook", {"one": FixedDose(WARFARIN, 1.0), "two": FixedDose(WARFARIN, 1.5)})
    assert not any(arm.ever_harm.any() for arm in two.arms.values())
    found = summarise(two, "one")
    assert len(found["harms"]["listed"]) == 6
    harm = found["harms"]["arms"]["two"]["ever_harm"]
    assert harm["ratio"] == {"ratio": None, "low": 0.0, "high": "infinity"}
    assert harm["number_needed"]["number"] == "infinity"
    assert harm["number_needed"]["kind"] == "crosses infinity" and harm["p"] == 1.0
    first = found["first_harm"]["arms"]["two"]
    assert (first["rate"]["rate"], first["rate"]["low"]) == (0.0, 0.0) and first["rate"]["high"] > 0
    assert first["free"] == {"mean": 90.0, "low": None, "high": None, "n": 30}
    assert first["difference"]["low"] is None
    json.dumps(found, allow_nan=False)


def test_interactions_and_gaps_are_of_the_patients_of_each_group(
    result: TrialResult, summary: dict[str, Any]
) -> None:
    arm, against = summary["subgroups"]["arm"], summary["subgroups"]["against"]
    a, b = result.arms[arm], result.arms[against]
    sex = np.where(result.covariates["male"] == 1, "men", "women")
    expected = interaction(a.benefit, b.benefit, sex, 20)
    found = summary["subgroups"]["interactions"]["sex"]["benefit"]
    assert (found["p"], found["q"], found["df"]) == (expected.p, expected.q, 1)
    gap = worst_group_gap(a.ever_harm, sex, 20, seed=5, resamples=1000)
    found = summary["subgroups"]["gaps"]["sex"][arm]["ever_harm"]
    assert (found["gap"], found["low"], found["high"]) == (gap.gap, gap.low, gap.high)
    assert (found["highest"], found["lowest"]) == (gap.highest, gap.lowest)
    # CYP2C9 two variants with VKORC1 AA are too few to be compared, and named
    assert summary["subgroups"]["interactions"]["genotype"]["benefit"]["left_out"]
    assert set(summary["subgroups"]["gaps"]) == {"genotype", "age", "sex", "ancestry"}


def test_patients_in_no_group_are_left_out(result: TrialResult) -> None:
    ages = result.covariates["age_y"].copy()
    ages[::2] = math.nan
    some = replace(result, covariates={**result.covariates, "age_y": ages})
    groups = summarise(some, "five")["subgroups"]
    known = np.isfinite(ages)
    kind = np.select([ages < 65, ages < 75], ["under 65 years", "65 to 74 years"], "75 years and over")[known]
    a, b = result.arms[groups["arm"]].benefit[known], result.arms[groups["against"]].benefit[known]
    assert groups["interactions"]["age"]["benefit"]["p"] == interaction(a, b, kind, 20).p


def test_the_gap_of_a_share_is_at_most_everybody_against_nobody(result: TrialResult) -> None:
    rare = np.full(400, math.nan)
    # one patient of each ancestry: some resamples of the smaller group have nobody
    for ancestry in np.unique(result.labels["ancestry"]):
        rare[np.flatnonzero(result.labels["ancestry"] == ancestry)[0]] = 10.0
    found = with_events(result, three=rare.tolist(), five=rare.tolist())
    gap = summarise(found, "five")["subgroups"]["gaps"]["ancestry"]["three"]["ever_harm"]
    assert gap["reason"] == "" and gap["high"] == 1.0


def test_training_seeds_are_summed_up_by_the_middle_half(result: TrialResult) -> None:
    names = ["three", "four", "seven", "seer"]
    found = summarise(result, "five", trained={"mine": names})["training_seeds"]["mine"]
    means = sorted(result.arms[name].benefit.mean() for name in names)
    # of four seeds the best and the worst are cut (Agarwal 2021)
    assert found["benefit"]["mean"] == pytest.approx((means[1] + means[2]) / 2)
    assert found["benefit"]["low"] >= means[0] and found["benefit"]["high"] <= means[3]
    base = result.arms["five"].benefit.mean()
    assert found["differences"]["benefit"]["mean"] == pytest.approx(found["benefit"]["mean"] - base)
    assert found["arms"] == names and found["benefit"]["n"] == 4
    assert summarise(result, "five")["training_seeds"] == {}


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        (["three"], "arms three; expected at least two, each once"),
        (["three", "three"], "expected at least two, each once"),
        ([], "arms none; expected"),
        (["three", "six"], "'six' is no arm of this trial: three, four"),
        (["three", "five"], "'five' is the reference"),
    ],
)
def test_trainings_that_are_none_are_refused(result: TrialResult, arms: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=f"training 'mine': .*{words}"):
        summarise(result, "five", trained={"mine": arms})


def test_numbers_that_json_cannot_hold_are_named_or_null() -> None:
    assert [plain(value) for value in (1.5, math.inf, -math.inf, math.nan)] == [
        1.5, "infinity", "-infinity", None,
    ]  # fmt: skip
    unknown = Interval(90.0, math.nan, math.nan, 0.0, 12, 0.95)
    assert as_record(unknown) == {"mean": 90.0, "low": None, "high": None, "n": 12}
    assert as_record(None) == {"mean": None, "low": None, "high": None, "n": 0}
