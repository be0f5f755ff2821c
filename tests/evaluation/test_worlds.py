"""Hidden worlds: each does what it says to whom it says from when it says, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest

from dosewright.agents.regimens import FixedDose, Noisy
from dosewright.envs import Intake, Noise, Scenario, Treatment, names, scenario
from dosewright.evaluation import run_trial
from dosewright.evaluation.recording import record
from dosewright.evaluation.worlds import WORLDS, HiddenShift, world

Admit = Callable[..., Intake]
NOISE = Noise("select", 1)


def admitted_to(known: Scenario, n: int, realism: str = "textbook", ids: np.ndarray | None = None) -> Intake:
    numbers = np.arange(n) if ids is None else ids
    people = known.population.draw(known.model, known.base, numbers, NOISE)
    return Intake.prepare(known, people, NOISE, known.preset(realism))


def course(known: Scenario, intake: Intake, dose: float) -> Treatment:
    treatment = Treatment(known, intake)
    while treatment.active.any():
        treatment.give(np.full(len(treatment), dose))
    return treatment


def full(path: np.ndarray, units: int) -> np.ndarray:
    """Return parameters (n, u, p), of constant ones too."""
    return np.broadcast_to(path, (path.shape[0], units, path.shape[2]))


def same_but(one: Intake, other: Intake, *names: str) -> None:
    """Assert that two lives differ in what is named, and in nothing else."""
    for field in ("taken", "residual", "late", "missing", "leaves", "start", "sample", "duration", "assay"):
        equal = np.array_equal(getattr(one.life, field), getattr(other.life, field))
        assert equal == (field not in names), field
    assert one.vector.tobytes() == other.vector.tobytes()
    assert one.patients is other.patients and one.grown is other.grown


# ---------------------------------------------------------------------------------------------- half the dose


@pytest.mark.parametrize("drug", names())
def test_half_dose_halves_the_need_and_nothing_else(drug: str) -> None:
    known = scenario(drug)
    intake = admitted_to(known, 20, "clinic")
    life = world("half-dose", known).alter(known, intake, NOISE).life
    units = known.horizon
    before, after = full(intake.life.theta, units), full(life.theta, units)
    column = known.model.column(known.need)
    assert np.array_equal(after[:, :, column], 0.5 * before[:, :, column])
    others = [i for i in range(before.shape[2]) if i != column]
    assert np.array_equal(after[:, :, others], before[:, :, others])
    same_but(intake, world("half-dose", known).alter(known, intake, NOISE))


@pytest.mark.parametrize("drug", ["warfarin", "tacrolimus", "docetaxel"])
def test_patients_of_half_dose_respond_as_others_do_to_twice_the_dose(drug: str) -> None:
    known = scenario(drug)
    intake = admitted_to(known, 30)
    dose = float(known.doses.doses[len(known.doses.doses) // 4])
    mine = course(known, world("half-dose", known).alter(known, intake, NOISE), dose).truth[:, -1]
    twice, once = (course(known, intake, factor * dose).truth[:, -1] for factor in (2.0, 1.0))
    # clearance halved is the dose doubled in steady state, which not everybody has reached
    assert np.all(np.abs(np.log(mine / twice)) <= np.abs(np.log(once / twice)))
    assert np.median(np.abs(np.log(mine / twice))) < 0.35 * np.median(np.abs(np.log(once / twice)))


# ------------------------------------------------------------------------------------------------- faster


def test_faster_changes_a_fifth_of_the_patients(warfarin: Scenario) -> None:
    n = 5000
    shift = world("faster", warfarin)
    changed = shift.changed(np.arange(n), NOISE)
    assert binomtest(int(changed.sum()), n, 0.2).pvalue > 1e-3
    intake = admitted_to(warfarin, 400)
    before = full(intake.life.theta, 90)
    after = full(shift.alter(warfarin, intake, NOISE).life.theta, 90)
    column = warfarin.model.column(warfarin.need)
    ratio = after[:, :, column] / before[:, :, column]
    assert np.allclose(ratio, np.where(changed[:400], 1.3, 1.0)[:, None], rtol=1e-12)
    assert np.array_equal(np.delete(after, column, axis=2), np.delete(before, column, axis=2))


def test_who_changes_depends_on_the_patient_alone(warfarin: Scenario) -> None:
    shift = world("faster", warfarin, since=10.0)
    everybody = shift.changed(np.arange(300), NOISE)
    ids = np.array([250, 3, 77, 12])
    assert np.array_equal(shift.changed(ids, NOISE), everybody[ids])
    assert not np.array_equal(shift.changed(np.arange(300), Noise("select", 2)), everybody)
    enrolled = np.linspace(0.0, 40.0, 300)
    whole = shift.alter(warfarin, admitted_to(warfarin, 300, "clinic"), NOISE, enrolled).life
    part = shift.alter(warfarin, admitted_to(warfarin, 4, "clinic", ids), NOISE, enrolled[ids]).life
    for name in ("theta", "taken", "assay"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[ids]), name


def test_a_change_holds_from_its_date_on_for_every_patient_s_own_units(warfarin: Scenario) -> None:
    intake = admitted_to(warfarin, 400)
    enrolled = np.repeat([0.0, 20.0, 29.5, 30.0, 55.0], 80)
    shift = world("faster", warfarin, since=30.0)
    column = warfarin.model.column(warfarin.need)
    life = shift.alter(warfarin, intake, NOISE, enrolled).life
    ratio = life.theta[:, :, column] / intake.life.theta[:, :, column]
    changed = shift.changed(np.arange(400), NOISE)
    assert np.all(ratio[~changed] == 1.0)
    first = np.repeat([30, 10, 1, 0, 0], 80)
    for row in np.flatnonzero(changed):
        assert np.allclose(ratio[row, : first[row]], 1.0, rtol=1e-12), row
        assert np.allclose(ratio[row, first[row] :], 1.3, rtol=1e-12), row
    assert all(changed[enrolled == day].any() for day in (0.0, 20.0, 29.5, 30.0, 55.0))
    # the truth is the same up to the day of the change, and another one after it
    mine = course(warfarin, shift.alter(warfarin, intake, NOISE, enrolled), 5.0).truth
    plain = course(warfarin, intake, 5.0).truth
    assert np.array_equal(mine[~changed], plain[~changed])
    for row in np.flatnonzero(changed):
        assert np.array_equal(mine[row, : first[row] + 1], plain[row, : first[row] + 1])
    assert np.all(mine[changed, -1] < plain[changed, -1])


# -------------------------------------------------------------------------------------------------- assay


@pytest.mark.parametrize("drug", ["warfarin", "tacrolimus", "vancomycin"])
def test_assay_shows_15_percent_more_and_changes_no_truth(drug: str) -> None:
    known = scenario(drug)
    intake = admitted_to(known, 40, "clinic")
    altered = world("assay", known).alter(known, intake, NOISE)
    same_but(intake, altered, "assay")
    assert np.array_equal(altered.life.theta, intake.life.theta) and np.all(altered.life.assay == 1.15)
    dose = float(known.doses.doses[3])
    shifted, plain = course(known, altered, dose), course(known, intake, dose)
    assert np.array_equal(shifted.truth, plain.truth, equal_nan=True)
    assert np.array_equal(shifted.benefit, plain.benefit, equal_nan=True)
    seen = ~np.isnan(plain.measured)
    assert seen.sum() > 100 and np.array_equal(np.isnan(shifted.measured), ~seen)
    expected = np.minimum(1.15 * plain.measured, known.measurements[0].high)
    assert np.allclose(shifted.measured[seen], expected[seen], rtol=1e-12, atol=0)


def test_assay_changes_from_its_date_on(warfarin: Scenario) -> None:
    intake = admitted_to(warfarin, 20)
    enrolled = np.repeat([0.0, 12.5], 10)
    altered = world("assay", warfarin, since=14.0).alter(warfarin, intake, NOISE, enrolled)
    assert np.array_equal(altered.life.assay[0], np.where(np.arange(91) >= 14, 1.15, 1.0))
    assert np.array_equal(altered.life.assay[10], np.where(np.arange(91) >= 2, 1.15, 1.0))
    shifted, plain = course(warfarin, altered, 5.0), course(warfarin, intake, 5.0)
    days = np.append(warfarin.days, [])[: plain.measured.shape[1]]
    ratio = shifted.measured / plain.measured
    for row, first in ((0, 14), (10, 2)):
        assert np.allclose(ratio[row], np.where(days >= first, 1.15, 1.0), rtol=1e-12), row


def test_the_rule_of_delays_looks_at_what_is_measured() -> None:
    known = scenario("docetaxel")
    assert known.delay is not None
    intake = admitted_to(known, 300)
    altered = HiddenShift("low", "the assay shows half", assay=0.5).alter(known, intake, NOISE)
    treated = [Treatment(known, some) for some in (intake, altered)]
    for treatment in treated:
        treatment.give(np.full(300, 90.0))
    late, later = ((it.clock - known.clock.length) / known.delay.by for it in treated)
    prompt = late == 0
    count = treated[0].measured[:, 1]
    assert np.all(count[prompt] >= known.delay.below)
    # put off where half the count that was seen is too low, and nowhere else
    low = 0.5 * count < known.delay.below
    assert np.array_equal(later[prompt] > 0, low[prompt]) and 10 < low[prompt].sum() < prompt.sum() - 10
    assert np.all(later >= late)


# --------------------------------------------------------------------------------------------- adherence


def test_adherence_falls_linearly(warfarin: Scenario) -> None:
    n = 4000
    intake = admitted_to(warfarin, n)
    altered = world("adherence", warfarin).alter(warfarin, intake, NOISE)
    same_but(intake, altered, "taken")
    assert np.array_equal(altered.life.theta, np.repeat(intake.life.theta, 1, axis=1))
    assert intake.life.taken.all()
    missed = 1.0 - altered.life.taken[:, :, 0].mean(axis=0)
    expected = np.linspace(0.0, 0.3, 90)
    assert missed[0] == 0.0
    z = (missed - expected)[1:] / np.sqrt(expected * (1 - expected) / n)[1:]
    assert np.abs(z).max() < 4.5 and abs(z.mean()) < 0.5
    assert np.corrcoef(altered.life.taken[:, 40, 0], altered.life.taken[:, 80, 0])[0, 1] == pytest.approx(
        0.0, abs=0.07
    )


def test_who_changes_says_nothing_about_which_doses_are_missed(warfarin: Scenario) -> None:
    intake = admitted_to(warfarin, 4000)
    shift = HiddenShift("x", "half of the doses of a fifth", share=0.2, missed=(0.5, 0.5))
    changed = shift.changed(np.arange(4000), NOISE)
    taken = shift.alter(warfarin, intake, NOISE).life.taken[:, :, 0]
    assert taken[~changed].all()
    share = taken[changed].mean(axis=0)
    assert np.abs(share - 0.5).max() < 4.5 * 0.5 / np.sqrt(changed.sum())


def test_adherence_takes_no_dose_that_was_missed_before_and_begins_with_its_date(warfarin: Scenario) -> None:
    intake = admitted_to(warfarin, 500, "clinic")
    enrolled = np.repeat([0.0, 25.0], 250)
    altered = world("adherence", warfarin, since=40.0).alter(warfarin, intake, NOISE, enrolled)
    before, after = intake.life.taken, altered.life.taken
    assert not np.any(after & ~before) and np.any(before & ~after)
    for rows, first in ((slice(0, 250), 40), (slice(250, 500), 15)):
        assert np.array_equal(after[rows, :first], before[rows, :first])
        assert np.any(after[rows, first:] != before[rows, first:])
    # from the date on as many are missed as without it: the course of follow-up goes on
    always = world("adherence", warfarin).alter(warfarin, intake, NOISE).life.taken
    assert np.array_equal(after[:250, 40:], always[:250, 40:])


# --------------------------------------------------------------------------------------------------- none


@pytest.mark.parametrize("drug", ["warfarin", "docetaxel", "efavirenz"])
@pytest.mark.parametrize("name", ["none", "since nobody is left"])
def test_no_shift_leaves_every_number_of_a_trial_and_of_a_log(drug: str, name: str) -> None:
    known = scenario(drug)
    dose = float(known.doses.doses[len(known.doses.doses) // 3])
    shift = world("none", known) if name == "none" else world("half-dose", known, since=10_000.0)
    arms = {"fixed": FixedDose(known, dose)}
    ids, preset = range(40), known.preset("clinic")
    plain = run_trial(known, arms, known.population, ids, NOISE, preset).arm("fixed")
    within = run_trial(known, arms, known.population, ids, NOISE, preset, world=world("none", known))
    for field in ("returns", "benefit", "harm", "ever_harm"):
        assert np.array_equal(getattr(within.arm("fixed"), field), getattr(plain, field)), field
    logs = [
        record(known, Noisy(known, FixedDose(known, dose)), known.population, ids, NOISE, preset, world=it)
        for it in (None, shift)
    ]
    for field in ("observations", "actions", "rewards", "mask", "behaviour_log_prob", "times"):
        one, other = (getattr(log, field) for log in logs)
        assert one.tobytes() == other.tobytes(), field
    assert "world" not in logs[0].provenance and logs[1].provenance["world"] == shift.name


# ----------------------------------------------------------------------------------- in trials and logs


def test_a_trial_and_a_log_live_in_their_world(warfarin: Scenario) -> None:
    preset, ids = warfarin.preset("clinic"), np.arange(200)
    arms = {"fixed": FixedDose(warfarin, 5.0)}
    half = world("half-dose", warfarin)
    plain, shifted = (
        run_trial(warfarin, arms, warfarin.population, ids, NOISE, preset, world=it) for it in (None, half)
    )
    harm = [result.arm("fixed").ever_harm.mean() for result in (plain, shifted)]
    assert harm[1] > harm[0] + 0.2  # half the need on the same dose
    log = record(
        warfarin, Noisy(warfarin, FixedDose(warfarin, 5.0)), warfarin.population, ids, NOISE, preset,
        world=half,
    )  # fmt: skip
    again = record(
        warfarin, Noisy(warfarin, FixedDose(warfarin, 5.0)), warfarin.population, ids, NOISE, preset,
        world=half, block=17,
    )  # fmt: skip
    assert log.observations.tobytes() == again.observations.tobytes()
    assert log.rewards.tobytes() == again.rewards.tobytes()


def test_a_log_is_recorded_on_the_calendar_of_enrolment_whatever_the_block(warfarin: Scenario) -> None:
    shift, preset = world("assay", warfarin, since=30.0), warfarin.preset("textbook")
    enrolled = np.linspace(0.0, 45.0, 60)
    logs = [
        record(
            warfarin, Noisy(warfarin, FixedDose(warfarin, 5.0)), warfarin.population, np.arange(60), NOISE,
            preset, world=it, enrolled=enrolled, block=block,
        )
        for it, block in ((None, 1000), (shift, 1000), (shift, 7))
    ]  # fmt: skip
    plain, whole, parts = (log.observations[:, :, warfarin.observation.names.index("inr")] for log in logs)
    assert np.array_equal(whole, parts)
    first = np.maximum(30.0 - enrolled, 0.0)[:, None]
    here = np.asarray(warfarin.calendar)[None] >= np.ceil(first)
    assert np.allclose(whole, np.where(here, np.float32(1.15), 1.0) * plain, rtol=1e-6)


# ------------------------------------------------------------------------------------------------- errors


def test_a_world_that_cannot_be_is_refused(warfarin: Scenario) -> None:
    with pytest.raises(ValueError, match=f"unknown world 'half'; known: {', '.join(WORLDS)}"):
        world("half", warfarin)
    for factor in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="world x: factor .* on CL; expected a number above 0"):
            HiddenShift("x", "", {"CL": factor})
        with pytest.raises(ValueError, match="world x: factor .* on assay"):
            HiddenShift("x", "", assay=factor)
    for chance in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="world x: share = .*; expected 0 to 1"):
            HiddenShift("x", "", share=chance)
        with pytest.raises(ValueError, match="world x: missed = .*; expected 0 to 1"):
            HiddenShift("x", "", missed=(0.0, chance))
    intake = admitted_to(warfarin, 2)
    with pytest.raises((KeyError, ValueError), match="XYZ"):
        HiddenShift("x", "", {"XYZ": 2.0}).alter(warfarin, intake, NOISE)


def test_every_world_is_named_and_told_in_words(warfarin: Scenario) -> None:
    assert set(WORLDS) == {"half-dose", "faster", "assay", "adherence", "none"}
    for name in WORLDS:
        found = world(name, warfarin, since=3.0)
        assert found.name == name and found.words and found.since == 3.0
        assert world(name, warfarin).since is None
