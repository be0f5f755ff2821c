"""PID: the controller's closed form, what stops the integral, a monitor without values, and whether it is as
good as a closed loop should be."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.agents.regimens import PID, lacking, names, regimen
from dosewright.envs import Intake, Noise, Regimen, Treatment, scenario
from dosewright.envs.scenarios import names as drugs
from dosewright.envs.scenarios.propofol import CLOSED_LOOP

Floats = NDArray[np.float64]
PROPOFOL = scenario("propofol")
SPEC = PROPOFOL.observation
GAIN, TI, TD, TF = 0.2, 5.0, 0.5, 1.0  # round numbers, in mg/kg/h for a unit of BIS and min


def controlled(**changes: Any) -> PID:
    rule = replace(CLOSED_LOOP, gain=GAIN, integral_time=TI, derivative_time=TD, filter_time=TF, **changes)
    return PID(replace(PROPOFOL, controller=rule))


def seen(minute: float, bis: list[float]) -> NDArray[np.float32]:
    """What is seen of as many people of 40 as there are values of BIS; NaN for a lost one."""
    value = np.array(bis)
    entries: dict[str, Any] = {e.name: 0.0 if e.neutral is None else np.nan for e in SPEC.entries}
    entries |= {"age_y": 40.0, "height_cm": 170.0, "weight_kg": 70.0, "next_interval": 0.25}
    entries |= {"minute": minute, "interval": 0.25 * (minute > 0), "bis": value}
    entries["bis_new"] = (~np.isnan(value)).astype(float)
    return SPEC.encode(dict(zip(entries, np.broadcast_arrays(*entries.values()), strict=True)))


def followed(arm: PID, *course: float) -> list[float]:
    """Doses for values of BIS from minute 1 on, one a quarter of a minute, after the induction."""
    dose, state = arm.predict(seen(0.0, [93.0]))
    given = []
    for i, bis in enumerate(course):
        dose, state = arm.predict(seen(1.0 + 0.25 * i, [bis]), state)
        given.append(float(dose[0]))
    return given


# -------------------------------------------------------------------------------------------- the controller


def test_a_constant_error_adds_the_proportional_part_at_once_and_the_integral_as_a_ramp() -> None:
    # BIS 55 for ever: 6 + 0.2 · 5 · (1 + 0.25 k / 5) at the k-th value
    given = followed(controlled(), *[55.0] * 20)
    np.testing.assert_allclose(given, 6 + GAIN * 5 * (1 + 0.25 * np.arange(1, 21) / TI), rtol=1e-12)


def test_a_step_is_filtered_and_its_derivative_decays_with_the_filter() -> None:
    # from 50 to 55: after k values the filter has 5 (1 − q^k), q = exp(−0.25), and changed by
    # 5 q^(k−1) (1 − q) in the last quarter of a minute
    k, q = np.arange(1, 13), np.exp(-0.25 / TF)
    error, slope = 5 * (1 - q**k), 5 * q ** (k - 1) * (1 - q) / 0.25
    expected = 6 + GAIN * (error + np.cumsum(error) * 0.25 / TI + TD * slope)
    given = followed(controlled(), 50.0, *[55.0] * 12)
    assert given[0] == 6
    np.testing.assert_allclose(given[1:], expected, rtol=1e-12)


def test_the_induction_comes_first_and_leaves_no_debt() -> None:
    arm, state = regimen("pid", PROPOFOL), None
    given = []
    for i in range(5):  # awake all along: the error of the first minute is not integrated
        dose, state = arm.predict(seen(0.25 * i, [93.0]), state)
        given.append(float(dose[0]))
    assert given == [80, 80, 80, 80, 10]
    assert 4 * 80 / 240 == pytest.approx(1.4, abs=0.07)  # mg/kg: models.md 10.1, closed loop


def test_without_any_value_the_maintenance_rate_is_kept() -> None:
    assert followed(controlled(), *[np.nan] * 8) == [6.0] * 8


def test_a_lost_value_holds_integral_and_rate() -> None:
    full = followed(controlled(), 55.0, 55.0, 55.0)
    gaps = followed(controlled(), 55.0, np.nan, np.nan, 55.0, np.nan, 55.0)
    assert gaps == pytest.approx([full[0]] * 3 + [full[1]] * 2 + [full[2]], rel=1e-12)
    # in the middle of a change too, where the derivative is at work
    held = followed(controlled(), 50.0, 60.0, np.nan, np.nan)
    assert held[1] == held[2] == held[3] != 6.0


@pytest.mark.parametrize(("bis", "limit"), [(95.0, 10.0), (5.0, 0.0)])
def test_the_integral_rests_while_the_rate_is_at_a_limit(bis: float, limit: float) -> None:
    # twenty minutes at a limit; then the error is gone, and so is the rate that it asked for, as the filter
    # forgets it: with the error integrated it would stay at the limit for many minutes
    arm = controlled()
    given = followed(arm, *[bis] * 80, *[50.0] * 40)
    assert given[:80] == [limit] * 80
    integrated = GAIN * (bis - 50) * 0.25 * 80 / TI
    assert abs(integrated) > 30  # mg/kg/h: what windup would have been
    assert abs(given[-1] - 6.0) < 2.5


def test_small_errors_add_up_though_the_grid_swallows_them() -> None:
    given = followed(controlled(), *[50.6] * 80)
    assert PROPOFOL.doses.snap(given[1]) == 6.0 and PROPOFOL.doses.snap(given[-1]) == 6.5
    assert np.all(np.diff(given) > 0)


def test_patients_are_apart_and_a_new_one_begins_anew() -> None:
    arm = controlled()
    both, state = arm.predict(seen(0.0, [93.0, 93.0]))
    for i, bis in enumerate([60.0, 70.0, 40.0]):
        both, state = arm.predict(seen(1.0 + 0.25 * i, [bis, 55.0]), state)
    assert both.tolist() == [followed(arm, 60.0, 70.0, 40.0)[-1], followed(arm, 55.0, 55.0, 55.0)[-1]]
    later = seen(1.75, [52.0, 52.0])
    dose, _ = arm.predict(later, state, np.array([True, False]))
    assert dose.tolist() == [followed(arm, 52.0)[0], followed(arm, 55.0, 55.0, 55.0, 52.0)[-1]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"integral_time": 0.0}, "above 0"), ({"filter_time": -1.0}, "above 0"), ({"bias": 11.0}, "bias 11")],
)
def test_numbers_that_make_no_controller_are_refused(changes: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(CLOSED_LOOP, **changes)  # pyright: ignore[reportArgumentType]


# ---------------------------------------------------------------------------------------- in the environment


def intake(realism: str, n: int = 100, seed: int = 2, **changes: Any) -> Intake:
    noise = Noise("select", seed)
    patients = PROPOFOL.population.draw(PROPOFOL.model, None, np.arange(n), noise)
    return Intake.prepare(PROPOFOL, patients, noise, replace(PROPOFOL.preset(realism), **changes))


def treated(arm: Regimen, patients: Intake) -> tuple[Treatment, Floats]:
    treatment, state = Treatment(PROPOFOL, patients), None
    start, total = np.ones(len(treatment), dtype=bool), np.zeros(len(treatment))
    while treatment.active.any():
        dose, state = arm.predict(treatment.observe(), state, start)
        interval = treatment.give(dose)
        total += interval.benefit - PROPOFOL.weight * interval.harm
        start = np.zeros(len(treatment), dtype=bool)
    return treatment, total


@pytest.mark.parametrize("realism", ["clinic", "textbook"])
def test_it_beats_the_label_and_titration_by_hand(realism: str) -> None:
    # the gains are not tuned on these patients: the filter was chosen on those of seed 1
    patients = intake(realism)
    treatment, pid = treated(regimen("pid", PROPOFOL), patients)
    for other, margin in (("label", 0.40), ("clinical-nomogram", 0.05)):
        gain = pid - treated(regimen(other, PROPOFOL), patients)[1]
        assert gain.mean() - 2 * gain.std(ddof=1) / np.sqrt(len(gain)) > margin
    # models.md 10.1: closed loop 89 ± 9 % of the time in 40 to 60, below 40 8 %
    bis = treatment.truth[:, 13:]
    assert np.mean((bis >= 40) & (bis <= 60)) == pytest.approx(0.89, abs=0.05)
    assert np.mean(bis < 40) < 0.08
    given = treatment.given[:, 4:]
    assert np.all(np.isin(treatment.given, PROPOFOL.doses.doses)) and given.min() == 0 and given.max() == 10


def test_a_pump_that_stops_costs_little_and_brings_no_overshoot() -> None:
    # everybody's pump stops once, for two minutes instead of 30 s in a tenth
    going, stopped = intake("textbook"), intake("textbook", pause=(1.0, 8))
    (before, whole), (after, broken) = (treated(regimen("pid", PROPOFOL), x) for x in (going, stopped))
    assert 0 < (whole - broken).mean() < 0.05
    assert np.mean(after.truth < 40) < np.mean(before.truth < 40) + 0.01


# ------------------------------------------------------------------------------------------ who has which arm

# guideline: CPIC's or an equation's dose by genotype; loop: the practice of closed-loop anaesthesia.
# How usual care adjusts: models.md 1.4 and the sections "Clinic's hold and adjust rules"
COMPARATORS = {
    "busulfan": (False, False, "remaining doses by the AUC of the first"),
    "docetaxel": (False, False, "protocol of a trial"),
    "efavirenz": (True, False, "steps by level"),
    "fluorouracil": (True, False, "proportional to the AUC"),
    "mercaptopurine": (True, False, "steps by neutrophils"),
    "phenytoin": (True, False, "steps by level"),
    "propofol": (False, True, "titration to BIS"),
    "tacrolimus": (True, False, "proportional to the trough"),
    "vancomycin": (False, False, "proportional to the AUC of two levels"),
    "voriconazole": (True, False, "steps by trough"),
    "warfarin": (True, False, "Aurora"),
}


def test_every_drug_is_in_the_table() -> None:
    assert set(drugs()) == set(COMPARATORS)


@pytest.mark.parametrize("drug", COMPARATORS)
def test_every_drug_has_the_comparators_that_it_should(drug: str) -> None:
    known, (guided, loop, rule) = scenario(drug), COMPARATORS[drug]
    absent = lacking(known)
    assert not {"label", "clinical-nomogram"} & set(absent)
    for name, there in (("guideline", guided), ("nomogram", guided), ("pid", loop)):
        assert (name not in absent) == there
    assert known.adjustment.name == rule
    # by genotype wherever the model has a genotype term, and a reason wherever there is none
    assert guided == bool(known.model.genotype_terms) and guided == (not known.no_guideline)
    rules = (known.label, known.guideline, known.clinical_start, known.adjustment, known.controller)
    assert all(item.source and item.flag for item in rules if item is not None)


@pytest.mark.parametrize("drug", COMPARATORS)
def test_what_a_drug_lacks_is_what_it_refuses(drug: str, raised: Callable[..., str]) -> None:
    known = scenario(drug)
    for name in names():
        said = raised(name, known)
        assert bool(said) == (name in lacking(known))
        assert not said or said.startswith(f"{drug}: {lacking(known)[name]}")


@pytest.fixture
def raised() -> Callable[..., str]:
    """``raised(name, scenario)``: the error of asking for an arm, or nothing."""

    def ask(name: str, known: Any) -> str:
        try:
            regimen(name, known)
        except ValueError as error:
            return str(error)
        return ""

    return ask


def test_a_drug_without_a_closed_loop_says_what_it_has() -> None:
    with pytest.raises(ValueError, match="there is no PID controller; it has label, clinical-nomogram, guid"):
        regimen("pid", scenario("warfarin"))
    with pytest.raises(ValueError, match="no PID controller; it has label, clinical-nomogram$"):
        regimen("pid", scenario("vancomycin"))
    with pytest.raises(ValueError, match=r"neither CPIC .* GSTA1.* no genotype-guided dose; use label"):
        regimen("guideline", scenario("busulfan"))
