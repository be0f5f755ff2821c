"""Docetaxel: the decision problem of models.md 19, delays, and the neutrophils behind them."""

import numpy as np
import pytest

from dosewright.agents.regimens import regimen
from dosewright.envs import Intake, Noise, Treatment, scenario
from dosewright.envs.pharmacology import Dose, simulate
from dosewright.envs.pharmacology.models.docetaxel_ozawa2007 import MODEL

DOCETAXEL = scenario("docetaxel")
SPEC = DOCETAXEL.observation


def drawn(n: int, realism: str, seed: int = 3, slow: float = 1.0) -> Intake:
    """Virtual patients; `slow` multiplies the transit time of their cells, so that counts are back late."""
    noise = Noise("select", seed)
    people = DOCETAXEL.population.draw(DOCETAXEL.model, DOCETAXEL.base, np.arange(n), noise)
    people.theta[:, MODEL.column("MTT")] *= slow
    return Intake.prepare(DOCETAXEL, people, noise, DOCETAXEL.preset(realism))


def test_numbers_are_those_of_models_md_19() -> None:
    assert DOCETAXEL.calendar == (0, 1, 2, 3) and DOCETAXEL.clock.length == 21 * 24
    assert (DOCETAXEL.doses.step, DOCETAXEL.doses.maximum, DOCETAXEL.weight) == (5.0, 120.0, 0.5)
    assert DOCETAXEL.delay is not None
    assert (DOCETAXEL.delay.below, DOCETAXEL.delay.by, DOCETAXEL.delay.at_most) == (1.5, 168.0, 2)


def test_a_cycle_is_an_infusion_by_body_surface_with_premedication() -> None:
    intake = drawn(5, "textbook")
    treatment = Treatment(DOCETAXEL, intake)
    treatment.give(75.0)
    area, days = intake.patients.covariates["bsa_m2"], np.arange(1, 22) * 24.0
    for i in range(5):
        doses = [Dose(0.0, 1.0, route="premedication"), Dose(0.0, 75.0 * area[i], 1.0, "infusion")]
        anc = simulate(MODEL, intake.patients.theta[i], doses, days, ["ANC"])[0, :, 0]
        assert treatment.truth[i, 1] == pytest.approx(anc.min(), rel=1e-6)
        assert treatment.responses["days below 0.5"][i, 1] == (anc < 0.5).sum()


def test_a_cycle_without_drug_has_no_premedication() -> None:
    treatment = Treatment(DOCETAXEL, drawn(20, "textbook"))
    before = treatment.truth[:, 0].copy()
    treatment.give(0.0)
    np.testing.assert_allclose(treatment.truth[:, 1], before, rtol=1e-6)


def test_low_counts_put_the_next_cycle_off_and_then_leave_it_out() -> None:
    treatment = Treatment(DOCETAXEL, drawn(400, "textbook", slow=3.0))
    treatment.give(120.0)
    seen = SPEC.decode(treatment.observe())
    delays, omitted = seen["delays"], seen["omitted"]
    np.testing.assert_allclose(seen["day"], 21 + 7 * delays)
    assert set(np.unique(delays)) == {0.0, 1.0, 2.0} and omitted.any()
    # treated when the count of the day is 1.5 or more; left out when it is not after two weeks
    assert np.all(seen["anc"][omitted == 0] >= 1.5) and np.all(seen["anc"][omitted == 1] < 1.5)
    assert np.all(delays[omitted == 1] == 2)
    interval = treatment.give(75.0)
    assert np.all(interval.dose[omitted == 1] == 0) and np.all(interval.dose[omitted == 0] == 75)


def test_masks_leave_only_no_drug_where_a_cycle_is_left_out() -> None:
    treatment = Treatment(DOCETAXEL, drawn(400, "textbook", slow=3.0))
    treatment.give(120.0)
    masks, omitted = treatment.action_masks(), SPEC.decode(treatment.observe())["omitted"] == 1
    assert omitted.any() and masks[:, 0].all()
    assert not masks[omitted, 1:].any() and masks[~omitted].all()


def test_counts_of_days_8_and_15_carry_their_age() -> None:
    treatment = Treatment(DOCETAXEL, drawn(50, "textbook"))
    first = SPEC.decode(treatment.observe())
    assert np.isnan(first["anc_day_8"]).all() and not np.isnan(first["anc"]).any()
    treatment.give(60.0)
    seen = SPEC.decode(treatment.observe())
    np.testing.assert_allclose(seen["anc_day_8_age"], 13 + 7 * seen["delays"])
    np.testing.assert_allclose(seen["anc_day_15_age"], 6 + 7 * seen["delays"])
    np.testing.assert_array_equal(seen["anc_age"], 0)


def test_more_drug_means_a_lower_nadir_in_everybody() -> None:
    intake, nadirs = drawn(60, "textbook"), []
    for dose in (0.0, 30.0, 60.0, 90.0, 120.0):
        treatment = Treatment(DOCETAXEL, intake)
        treatment.give(dose)
        nadirs.append(treatment.truth[:, 1].copy())
    assert np.all(np.diff(nadirs, axis=0) < 0)


def test_the_label_reduces_after_a_count_below_one_half_and_never_raises_again() -> None:
    treatment, arm, state = Treatment(DOCETAXEL, drawn(300, "textbook")), regimen("label", DOCETAXEL), None
    start, given, lows = np.ones(300, dtype=bool), [], []
    while treatment.active.any():
        observation = treatment.observe()
        dose, state = arm.predict(observation, state, start)
        seen = SPEC.decode(observation)
        low = (seen["anc_day_8"] < 0.5) | (seen["anc_day_15"] < 0.5)
        given.append(dose)
        lows.append(low)
        treatment.give(dose)
        start = np.zeros(300, dtype=bool)
    assert set(np.unique(given)) == {0.0, 60.0, 75.0}  # 75, then 60 mg/m², then none
    assert np.all(np.diff(given, axis=0) <= 0)
    np.testing.assert_array_equal(given[1] == 60, lows[1])


def test_the_trial_protocol_gives_75_and_then_50_percent() -> None:
    # PMC4671866, table 1, by models.md 4.4: a count below 0.5, or a cycle that was put off; 45 and 30 of 60
    rule = regimen("clinical-nomogram", DOCETAXEL)

    def followed(*cycles: dict[str, float]) -> list[float]:
        given, state = [], None
        for cycle, seen in enumerate(({}, *cycles)):
            values = {e.name: 0.0 if e.neutral is None else np.nan for e in SPEC.entries}
            values |= {
                "age_y": 57.0,
                "bsa_m2": 1.5,
                "neutrophils_1e9_l": 4.0,
                "aag_g_l": 0.94,
                "day": 21.0 * cycle,
            } | seen
            dose, state = rule.predict(
                SPEC.encode({name: np.atleast_1d(value) for name, value in values.items()}), state
            )
            given.append(float(dose[0]))
        return given

    low, fine = {"anc_day_8": 0.4, "anc_day_8_new": 1.0}, {"anc_day_15": 0.5, "anc_day_15_new": 1.0}
    assert followed(fine, {}, low) == [60, 60, 60, 45]
    assert followed(low, fine, {"delays": 1.0}) == [60, 45, 45, 30]
    assert followed(low, low | {"delays": 1.0}, low) == [
        60,
        45,
        30,
        30,
    ]  # one step a cycle, and 50 % at least


def test_the_printed_check_of_the_model() -> None:
    # models.md 4.3: 96 mg, ANC0 4.0, AAG 0.94: nadir 0.97 at 234 h, peak concentration 1.88 mg/L
    theta = MODEL.typical({"neutrophils_1e9_l": 4.0, "aag_g_l": 0.94}, {})
    doses = [Dose(0.0, 1.0, route="premedication"), Dose(0.0, 96.0, 1.0, "infusion")]
    hours = np.arange(0, 505.0, 6.0)  # the reference looks every 6 hours
    anc = simulate(MODEL, theta, doses, hours, ["ANC"])[0, :, 0]
    assert simulate(MODEL, theta, doses, [1.0], ["C"]).item() == pytest.approx(1.88, abs=0.005)
    assert anc.min() == pytest.approx(0.97, abs=0.005) and hours[anc.argmin()] == 234
