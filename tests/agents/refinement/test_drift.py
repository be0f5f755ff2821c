"""Drift: charts by their definitions, thresholds in runs of new patients, alarms for what changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import binom

from dosewright.agents import load
from dosewright.agents.refinement import drift
from dosewright.agents.refinement.drift import (
    STEP,
    Alarm,
    Baseline,
    Plan,
    Pool,
    Signals,
    Stage,
    response,
    watch,
)
from dosewright.agents.refinement.usual import CHANGES, RehearsalClinic
from dosewright.envs import scenario
from dosewright.evaluation.statistics import Interval

Floats = NDArray[np.float64]
VISITS = np.array([0.0, 3.0, 7.0, 14.0, 21.0, 28.0, 42.0, 56.0])
PLAN = Plan(patients=250, span=100.0, runs=1000)
MORE, LESS = "needs more", "needs less"


def clinic(
    seed: int,
    patients: int,
    span: float = 100.0,
    shift: float = 0.0,
    since: float = np.inf,
    share: float = 1.0,
    harm: float = 0.03,
    age: float = 60.0,
    site: str = "",
) -> Signals:
    """Made-up patients: innovations of mean 0 and SD 1, moved by `shift` after a date in a share of them."""
    rng = np.random.default_rng(seed)
    enrolled = rng.uniform(-span, 0.0, patients)
    who, day = (grid.reshape(-1) for grid in np.meshgrid(np.arange(patients), VISITS[1:], indexing="ij"))
    time = enrolled[who] + day
    changed = (time > since) & (rng.random(patients) < share)[who]
    z = rng.standard_normal(len(who)) + shift * changed
    harmed = rng.random(len(who)) < np.where(time > since, harm, 0.03)
    ages = np.where(enrolled > since, age, 60.0) + 10.0 * rng.standard_normal(patients)
    nobody = np.zeros(patients)
    return Signals.joined(
        [
            Signals.of(time, day, who, site, "innovation:inr", z),
            Signals.of(time, day, who, site, "covered:inr", np.abs(z) < 1.6449),
            Signals.of(time, day, who, site, "harm:all", harmed),
            Signals.of(time, day, who, site, "override", rng.random(len(who)) < 0.05),
            Signals.of(enrolled, nobody, np.arange(patients), site, "covariate:age_y", ages),
        ]
    )


@cache
def baseline() -> Baseline:
    """Learned from 80 times as many patients as a run has."""
    changed = {MORE: clinic(2, 4000, shift=-0.5, since=-40.0), LESS: clinic(3, 4000, shift=0.5, since=-40.0)}
    return Baseline.learn(clinic(1, 20_000), changed, -40.0, PLAN, seed=4)


# -------------------------------------------------------------------------------------------------- charts


@given(st.lists(st.integers(-8, 8), min_size=1, max_size=40))
def test_a_cusum_is_pages_recursion_and_dates_a_change_by_its_last_zero(eighths: list[int]) -> None:
    """S = max(0, S + x) (Page 1954), in numbers whose sums are exact."""
    gain, time = np.array(eighths) / 8, np.arange(len(eighths), dtype=np.float64)
    path = drift._cusum("override", "", time, gain)
    level, zero = 0.0, 0.0
    for i, each in enumerate(gain):
        level = max(0.0, level + each)
        zero = time[i] if level == 0.0 else zero
        assert (path.level[i], path.since[i]) == (level, zero)


def test_gains_of_what_happens_are_log_likelihood_ratios_of_the_odds_ratio() -> None:
    """Steiner 2000, equation 1: p = 0.1 becomes 2·0.1 / (0.9 + 2·0.1) = 2/11 under twice the odds."""
    usual = drift.Usual((), (0.1,), (0.3,), (0.01,))
    known = Baseline(PLAN, {"harm:all": usual}, {}, {})
    for value, gain in ((1.0, np.log(2 / 11 / 0.1)), (0.0, np.log((9 / 11) / 0.9))):
        run = drift._Run.ordered(Signals.of([1.0, 1.5], [1.0, 1.0], [0, 1], "", "harm:all", [1.0, value]))
        (path,) = drift._paths(known, run, 2.0)
        assert path.level[1] - path.level[0] == pytest.approx(gain, abs=1e-12)


def enumerated(signals: Signals, template: drift.Template, share: float, date: float) -> float:
    """Log of the summed likelihood ratios at a review, by its definition."""
    enrolled = {p: (signals.time - signals.course)[signals.patient == p].min() for p in signals.patient}
    seen = signals.select(signals.time <= date)
    terms = []
    for since in np.arange(np.floor(min(enrolled.values()) / STEP) * STEP, date - 1e-9, STEP):
        ratio = {"followed": 0.0, "new": 0.0}
        for p, begun in enrolled.items():
            mine = seen.select((seen.patient == p) & (seen.time > since))
            elapsed = np.minimum(mine.time - since, mine.course)
            own = template.evidence(mine.course, elapsed, mine.value).sum()
            ratio["followed" if begun < since else "new"] += np.log(1 - share + share * np.exp(own))
        terms += [*ratio.values(), sum(ratio.values())]
    return float(np.logaddexp.reduce(terms)) if terms else 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.5]))
def test_a_chart_of_changes_sums_likelihood_ratios_over_dates_and_over_who_changed(
    seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    template = drift.Template(MORE, (5.0, 20.0), (2.0, 9.0), tuple(map(tuple, rng.normal(size=(3, 3)))), 0.0)
    patient = rng.integers(6, size=25)
    enrolled, course = rng.uniform(-30.0, 30.0, 6), rng.uniform(0.5, 40.0, 25)
    signals = Signals.of(
        enrolled[patient] + course, course, patient, "", "innovation:inr", rng.normal(size=25)
    )
    run = drift._Run.ordered(signals)
    path = drift._of_change("innovation:inr", template, share, run.of("innovation:inr"), 75.0)
    assert len(path.level) > 8
    for date, level in zip(path.time, path.level, strict=True):
        assert level == pytest.approx(enumerated(signals, template, share, date), abs=1e-9)


def test_a_change_is_dated_and_put_down_to_those_who_changed() -> None:
    """All of 400 patients change by −0.5 SD on day −40; nobody is enrolled later."""
    signals = clinic(11, 400, span=100.0, shift=-0.5, since=-40.0)
    signals = signals.select(signals.time - signals.course < -40.0)
    (alarm,) = (alarm for alarm in watch(signals, baseline()).alarms if alarm.chart == MORE)
    assert (alarm.stream, alarm.direction) == ("innovation:inr", "lower")
    assert abs(alarm.since + 40.0) <= 2 * STEP
    assert -40.0 < alarm.time < 0.0 and alarm.acts is not None
    assert alarm.size.low < -0.5 < alarm.size.high and alarm.size.high < -0.3
    assert "lower than usual (needs more)" in alarm.words


def test_the_direction_of_a_change_is_told() -> None:
    signals = clinic(12, 400, shift=0.5, since=-40.0)
    charts = {alarm.chart: alarm.direction for alarm in watch(signals, baseline()).alarms}
    assert charts[LESS] == "higher" and MORE not in charts


def test_a_fifth_of_the_patients_is_found_where_all_together_move_a_tenth_of_an_sd() -> None:
    """The mixture finds 20 % who change by −1 SD: 10 runs of 250 patients of whom a CUSUM of the mean misses
    some."""
    found = {"mixture": 0, "mean 0.25 SD lower": 0}
    for seed in range(10):
        charts = {alarm.chart for alarm in watch(clinic(20 + seed, 250, shift=-1.0, since=-60.0, share=0.2),
                                                 baseline()).alarms}  # fmt: skip
        found["mixture"] += MORE in charts
        found["mean 0.25 SD lower"] += "mean 0.25 SD lower" in charts
    assert found["mixture"] >= 9 and found["mixture"] > found["mean 0.25 SD lower"]


@pytest.mark.slow
def test_simulated_patients_who_need_half_the_dose_are_found() -> None:
    """Warfarin by the shipped policy: 300 followed patients of whom all change on day 0, and 300 of whom none
    does; its small form is that of made-up patients."""
    rng = np.random.default_rng(0)

    def treated(seed: int, enrolled: Floats, factor: float = 1.0) -> Signals:
        simulated = RehearsalClinic.of(scenario("warfarin"), load("warfarin"), "clinic", seed)
        return simulated.treated(enrolled, simulated.needing(factor, 0.0))[2]

    begun, followed = rng.uniform(-60.0, 20.0, 1200), rng.uniform(-60.0, 0.0, 300)
    changed = {name: treated(2, begun, by) for name, by in CHANGES.items()}
    known = Baseline.learn(treated(1, begun), changed, 0.0, Plan(300, 60.0, runs=300))
    half = watch(treated(3, followed, 0.5), known, 95.0)
    first = next(alarm for alarm in half.alarms if alarm.stream == "innovation:inr")
    assert first.direction == "higher" and 0.0 < first.time <= 28.0 and abs(first.since) <= 2 * STEP
    # twice the dose that is needed does harm as well
    asked = response(half.alarms)
    assert asked.stages == tuple(Stage) and asked.human
    assert watch(treated(3, followed), known, 95.0).alarms == ()


# ---------------------------------------------------------------------------------------------- pure state


def test_the_order_of_arrival_does_not_matter() -> None:
    signals = clinic(31, 250, shift=-0.5, since=-40.0)
    said = watch(signals, baseline())
    assert said.alarms
    for seed in range(3):
        assert (
            watch(signals.select(np.random.default_rng(seed).permutation(len(signals))), baseline()) == said
        )


def test_numbers_of_patients_and_names_of_other_sites_do_not_matter() -> None:
    here = clinic(31, 250, shift=-0.5, since=-40.0, site="b")
    other = clinic(33, 250, site="a")
    other = replace(other, patient=other.patient + 1000)
    alone = watch(here, baseline(), 60.0)
    together = watch(
        Signals.joined([other, replace(here, patient=7 * here.patient + 5000)]), baseline(), 60.0
    )
    assert [alarm for alarm in together.alarms if alarm.site == "b"] == list(alone.alarms)
    assert not [alarm for alarm in together.alarms if alarm.site == "a"]


def test_a_day_that_has_not_come_says_nothing() -> None:
    signals = clinic(31, 250, shift=-0.5, since=-40.0)
    late = watch(signals, baseline()).alarms
    (changed,) = (alarm for alarm in late if alarm.chart == MORE)
    before = watch(signals, baseline(), changed.time - 1.0)
    assert MORE not in {alarm.chart for alarm in before.alarms}
    assert before == watch(signals.select(signals.time <= changed.time - 1.0), baseline(), changed.time - 1.0)
    then = watch(signals, baseline(), changed.time)
    assert [alarm.time for alarm in then.alarms if alarm.chart == MORE] == [changed.time]


def test_a_stream_that_the_baseline_does_not_know_is_named() -> None:
    signals = Signals.joined([clinic(1, 20), Signals.of([1.0], [1.0], [0], "", "harm:male=1", [1.0])])
    assert watch(signals, baseline()).unwatched == ("harm:male=1",)


def test_no_signals_say_nothing() -> None:
    nothing = clinic(1, 20).select(np.zeros(0, dtype=np.int64))
    said = watch(nothing, baseline())
    assert said.alarms == () and {level.value for level in said.levels} == {0.0}


# --------------------------------------------------------------------------------------------- calibration


def false_alarms(runs: int) -> int:
    """Runs of 250 new patients without a change in which any chart says anything."""
    return sum(bool(watch(clinic(1000 + seed, 250), baseline(), 63.0).alarms) for seed in range(runs))


def as_rare_as_allowed(runs: int) -> bool:
    """At most the 99.9 % quantile of a binomial with the 10 % that are allowed; and a tenth of that at least:
    thresholds that are never passed would be no achievement."""
    return runs // 100 <= false_alarms(runs) <= binom.ppf(0.999, runs, 0.10)


def test_false_alarms_are_as_rare_as_planned() -> None:
    assert as_rare_as_allowed(100)


@pytest.mark.slow
def test_false_alarms_of_many_runs() -> None:
    assert as_rare_as_allowed(4000)


def test_action_takes_more_than_a_warning() -> None:
    levels = np.array(list(baseline().thresholds.values()))
    assert (levels[:, 1] > levels[:, 0]).all()


def test_rare_levels_are_extrapolated_by_an_exponential_tail() -> None:
    """The level that a standard exponential passes with chance p is −log p."""
    sample = np.random.default_rng(0).exponential(size=20_000)
    for chance in (0.5, 0.1, 0.01, 0.001):
        assert drift._passed(sample, chance) == pytest.approx(-np.log(chance), rel=0.03)


@pytest.mark.parametrize("information", [(0.03, 0.03), (0.027, 0.033), (0.01, 0.04)])
def test_alarms_are_shared_so_that_every_change_takes_as_many_patients(
    information: tuple[float, ...],
) -> None:
    """n = (z(1 − a) + z(0.8))² / J for a test at level a (normal theory)."""
    part = drift._fair(np.array(information), 0.08)
    patients = (ndtri(1 - 0.08 * part) + ndtri(0.8)) ** 2 / np.array(information)
    assert part.sum() == pytest.approx(1.0)
    assert patients[0] == pytest.approx(patients[1], rel=1e-6)


def test_errors_of_a_mean_go_together_within_patients() -> None:
    """One value a patient: the SD over √n; the same value m times over: no smaller error."""
    z = np.random.default_rng(0).normal(size=200)
    once = drift._mean_by_patient(z, np.arange(200))
    assert once.standard_error == pytest.approx(z.std(ddof=1) / np.sqrt(200))
    often = drift._mean_by_patient(np.repeat(z, 5), np.repeat(np.arange(200), 5))
    assert (often.mean, often.standard_error) == pytest.approx((once.mean, once.standard_error))


def test_patients_are_resampled_whole() -> None:
    signals = clinic(1, 30)
    pool = Pool.of(signals.select(np.random.default_rng(0).permutation(len(signals))))
    drawn = pool.drawn([4, 4, 7], [100.0, 200.0, 300.0])
    for number, (patient, begun) in enumerate(((4, 100.0), (4, 200.0), (7, 300.0))):
        mine, theirs = drawn.select(drawn.patient == number), signals.select(signals.patient == patient)
        assert sorted(mine.value) == sorted(theirs.value)
        assert mine.time == pytest.approx(begun + mine.course)


def test_what_a_change_does_is_learned() -> None:
    """Made with a shift of −0.5 SD at any time after the change, in a world of SD 1."""
    more, less = baseline().templates["innovation:inr"]
    assert np.array(more.shift) == pytest.approx(np.full_like(more.shift, -0.5), abs=0.17)
    assert np.mean(less.shift) == pytest.approx(0.5, abs=0.03)


def test_a_baseline_is_kept_as_json() -> None:
    known = baseline()
    assert Baseline.parse(json.loads(json.dumps(known.record()))) == known


def broken(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Return a record with a change."""
    record = json.loads(json.dumps(baseline().record()))
    change(record)
    return record


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda record: record.update(schema=2), "schema 2; expected 1"),
        (lambda record: record.pop("usual"), "broken"),
        (lambda record: record["thresholds"].pop(), "thresholds"),
        (lambda record: record["thresholds"][0].__setitem__(2, float("nan")), "thresholds"),
        (lambda record: record["usual"]["override"].update(sd=[0.0]), "usual override"),
        (lambda record: record["templates"]["innovation:inr"][0]["shift"].pop(), "template"),
        (lambda record: record["plan"].update(alpha=2.0), "alpha = 2.0"),
        (lambda record: record["usual"].update(weather=record["usual"]["override"]), "'weather'"),
    ],
)
def test_a_broken_baseline_is_refused(change: Callable[[dict[str, Any]], Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"baseline: .*{says}.*learn it anew"):
        Baseline.parse(broken(change))


def test_too_few_patients_teach_no_baseline() -> None:
    with pytest.raises(ValueError, match="a baseline from 999 patients; simulate at least 1000"):
        Baseline.learn(clinic(1, 999), {MORE: clinic(2, 999)}, -40.0, PLAN)


def test_a_change_that_nobody_lived_to_see_is_refused() -> None:
    with pytest.raises(ValueError, match="change 'needs more': 0 signals innovation:inr after 400"):
        Baseline.learn(clinic(1, 1000), {MORE: clinic(2, 1000)}, 400.0, PLAN)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"value": np.array([0.0, np.nan])}, "signal 1: value nan; leave out what is missing"),
        ({"value": np.zeros(3)}, "different lengths"),
        ({"course": np.array([0.0, -1.0])}, "signal 1: course -1 days"),
        ({"streams": ("weather",)}, "stream 'weather'; expected one of innovation"),
    ],
)
def test_signals_that_are_none_are_refused(changed: dict[str, Any], says: str) -> None:
    good = Signals.of([1.0, 2.0], [1.0, 2.0], [0, 0], "", "override", [0.0, 1.0])
    with pytest.raises(ValueError, match=says):
        replace(good, **changed)


# ------------------------------------------------------------------------------------- what alarms ask for


def alarm(stream: str, acts: float | None) -> Alarm:
    """Return an alarm of a stream."""
    size = Interval(-0.2, -0.3, -0.1, 0.05, 40, 0.95)
    return Alarm("s", stream, "chart", 10.0, acts, 3.0, "all", "lower", size, 40, 90)


@pytest.mark.parametrize(
    ("stream", "acts", "stages", "human"),
    [
        ("innovation:inr", 12.0, tuple(Stage), False),
        ("covered:inr", 12.0, tuple(Stage), False),
        ("innovation:inr", None, (Stage.WARN,), False),
        ("covariate:age_y", 12.0, (Stage.WARN,), False),
        ("override", 12.0, (Stage.WARN,), False),
        ("harm:male=1", 12.0, (Stage.WARN, Stage.FALLBACK), True),
        ("adverse:all", None, (Stage.WARN,), True),
    ],
)
def test_what_follows_from_an_alarm(
    stream: str, acts: float | None, stages: tuple[Stage, ...], human: bool
) -> None:
    asked = response([alarm(stream, acts)])
    assert (asked.stages, asked.human) == (stages, human)
    assert asked.reasons == (alarm(stream, acts).words,)


def test_several_alarms_ask_for_all_that_each_asks_for() -> None:
    asked = response([alarm("harm:all", 1.0), alarm("covered:inr", 2.0), alarm("override", None)])
    assert (asked.stages, asked.human) == (tuple(Stage), True)
    assert response([]) == drift.Response((), False, ())


def test_harm_four_times_as_frequent_asks_for_a_human() -> None:
    said = watch(clinic(41, 250, since=-60.0, harm=0.12), baseline())
    assert {alarm.stream for alarm in said.alarms} == {"harm:all"}
    asked = response(said.alarms)
    assert asked.human and asked.stages == (Stage.WARN, Stage.FALLBACK)


def test_other_people_only_warn() -> None:
    """Ages of 70 instead of 60 on average, one SD."""
    said = watch(clinic(43, 250, since=-50.0, age=70.0), baseline())
    assert {(alarm.stream, alarm.chart, alarm.direction) for alarm in said.alarms} == {
        ("covariate:age_y", "mean 0.5 SD higher", "higher")
    }
    assert abs(said.alarms[0].since + 50.0) < 15.0
    assert response(said.alarms).stages == (Stage.WARN,)


# -------------------------------------------------------------------------------------- other libraries


@pytest.mark.oracles
@pytest.mark.skipif(find_spec("river") is None, reason="needs river")
def test_adwin_of_river_finds_what_is_far_out_and_nothing_where_nothing_changed() -> None:
    (found,) = (
        alarm
        for alarm in watch(clinic(51, 250, shift=-1.0, since=-40.0), baseline(), detector="adwin").alarms
        if alarm.stream == "innovation:inr"
    )
    assert (found.chart, found.direction) == ("adwin", "lower")
    assert abs(found.since + 40.0) < 10.0 and found.size.high < -0.7
    assert watch(clinic(52, 250), baseline(), detector="adwin").alarms == ()


@pytest.mark.skipif(find_spec("river") is not None, reason="river is there")
def test_adwin_without_river_says_what_to_install() -> None:
    with pytest.raises(ImportError, match=r"dosewright\[drift\]"):
        watch(clinic(51, 20), baseline(), detector="adwin")
