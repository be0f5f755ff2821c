"""What happens besides the prescription: the frequencies of models.md 18 and 19, whatever is prescribed."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from dosewright.envs import Intake, Noise, Scenario, Treatment, scenario
from dosewright.envs.realism import Life

WARFARIN = scenario("warfarin")
N, DAYS = 6000, 90


@cache
def life(realism: str) -> Life:
    """Lives of N people who all have the same parameters."""
    theta = np.ones((N, len(WARFARIN.model.parameters)))
    return Life.realise(
        WARFARIN.preset(realism), WARFARIN.model, np.arange(N), theta, Noise("trial", 5), WARFARIN.span
    )


def share(events: np.ndarray, probability: float) -> None:
    """Independent events of this probability: within four standard errors."""
    error = math.sqrt(probability * (1 - probability) / events.size)
    assert abs(events.mean() - probability) < 4 * error


def test_in_textbook_nothing_goes_wrong() -> None:
    book = life("textbook")
    assert book.taken.all() and not book.late.any() and not book.missing.any()
    assert np.all(book.leaves > WARFARIN.horizon)
    assert book.theta.shape[1] == 1  # constant parameters


def test_both_presets_have_the_same_assay_errors() -> None:
    assert np.array_equal(life("textbook").residual, life("clinic").residual)
    assert WARFARIN.measurement.log_sd == 0.19  # models.md 1.1, PARTIAL
    z = life("clinic").residual[:, WARFARIN.days]
    assert abs(z.mean()) < 4 / math.sqrt(z.size) and abs(z.std() - 1) < 4 / math.sqrt(2 * z.size)


def test_five_percent_of_doses_are_missed() -> None:
    missed = ~life("clinic").taken
    share(missed, 0.05)
    # independently: two days in a row as often as chance has it
    share(missed[:, 1::2] & missed[:, :-1:2], 0.05**2)


def test_ten_percent_of_results_are_late_and_five_percent_never_come() -> None:
    clinic = life("clinic")
    share(clinic.late[:, WARFARIN.days[1:]], 0.10)
    share(clinic.missing[:, WARFARIN.days[1:]], 0.05)
    assert not np.any(clinic.late & clinic.missing)


def test_the_result_of_day_0_is_always_in_hand() -> None:
    assert not life("clinic").late[:, 0].any() and not life("clinic").missing[:, 0].any()


def test_two_percent_drop_out_a_month() -> None:
    leaves = life("clinic").leaves
    assert leaves.min() >= 1
    for day in (30, 60, 89):
        share(leaves <= day, 1 - 0.98 ** (day / (365.25 / 12)))


def test_ec50_drifts_by_0_06_per_square_root_of_a_week_and_clearance_does_not_drift() -> None:
    ec50 = np.log(life("clinic").theta[:, :, WARFARIN.model.column("EC50")])
    for day in (6, 27, 83):  # 1, 4 and 12 weeks
        expected = 0.06 * math.sqrt((day + 1) / 7)
        assert ec50[:, day].std() == pytest.approx(expected, rel=4 / math.sqrt(2 * N))
        assert abs(ec50[:, day].mean()) < 4 * expected / math.sqrt(N)
    weeks = ec50[:, 7::7] - ec50[:, :-7:7]
    assert abs(np.corrcoef(weeks[:, 0], weeks[:, 1])[0, 1]) < 4 / math.sqrt(N)
    others = [i for i, p in enumerate(WARFARIN.model.parameters) if p.name not in ("EC50", "CL")]
    assert np.all(life("clinic").theta[:, :, others] == 1)


def test_a_quarter_meet_an_interacting_drug_for_ten_days() -> None:
    clearance = life("clinic").theta[:, :, WARFARIN.model.column("CL")]
    met = (clearance != 1).any(axis=1)
    factor = np.where(clearance != 1, clearance, 0).max(axis=1)[met]
    share(met, 0.25)
    assert set(factor) == {0.6, 1.5}
    share(factor == 1.5, 0.3)
    days = (clearance[met] != 1).sum(axis=1)
    start = (clearance[met] != 1).argmax(axis=1)
    assert np.array_equal(
        days, np.minimum(10, DAYS - start)
    )  # in one piece, cut only by the end of follow-up
    assert np.all(np.abs(np.diff((clearance[met] != 1).astype(int), axis=1)).sum(axis=1) <= 2)
    # the start is uniform over the horizon
    assert abs(start.mean() - (DAYS - 1) / 2) < 4 * DAYS / math.sqrt(12 * met.sum())


def test_a_life_is_the_same_in_any_company() -> None:
    ids = np.array([17, 3, 4000])
    theta = np.ones((3, len(WARFARIN.model.parameters)))
    clinic = WARFARIN.preset("clinic")
    few = Life.realise(clinic, WARFARIN.model, ids, theta, Noise("trial", 5), WARFARIN.span)
    for name in ("theta", "taken", "residual", "late", "missing", "leaves"):
        assert np.array_equal(getattr(few, name), getattr(life("clinic"), name)[ids])


def test_what_is_prescribed_does_not_change_what_happens(
    warfarin: Scenario, admitted: Callable[..., Intake]
) -> None:
    intake = admitted(200)
    arms: dict[float, Any] = {}
    for dose in (0.0, 12.0):
        treatment = Treatment(warfarin, intake)
        seen = []
        while treatment.active.any():
            seen.append(treatment.observe())
            treatment.give(np.full(200, dose))
        arms[dose] = treatment, [warfarin.observation.decode(vector) for vector in seen]
    (none, seen_none), (much, seen_much) = arms.values()
    assert np.array_equal(none.day, much.day) and np.array_equal(
        np.isnan(none.measured), np.isnan(much.measured)
    )
    # the same assay error on the same sample, so the ratio of measured to true is the same
    at = np.clip(warfarin.days, 0, None)
    ratio = [t.measured / t.truth[:, at] for t in (none, much)]
    np.testing.assert_allclose(ratio[0], ratio[1], rtol=1e-12)
    for a, b in zip(seen_none, seen_much, strict=True):
        for name in ("day", "interval", "next_interval", "inr_age", "inr_new", "late_inr_age"):
            assert np.array_equal(a[name], b[name], equal_nan=True)
    assert np.nanmean(much.truth) > np.nanmean(none.truth) + 1


def test_a_missed_dose_is_missed_completely_and_the_next_one_is_not_larger(
    warfarin: Scenario, admitted: Callable[..., Intake]
) -> None:
    intake = admitted(50)
    treatment = Treatment(warfarin, intake)
    state = treatment.state
    treatment.give(np.full(50, 6.0))
    total = np.where(intake.life.taken[:, :3, 0], 3.0, 0.0)  # S-warfarin is half of the racemic dose
    np.testing.assert_array_equal(state[:, 0], 0.0)
    nothing = ~total.any(axis=1)
    body = treatment.state[:, 0] + treatment.state[:, 1]
    assert np.all(body[~nothing] > 0) and np.all(body[nothing] == 0)
    theta, expected = intake.life.theta, np.zeros(50)
    rows = np.flatnonzero(intake.life.leaves > 3)
    for day in range(3):  # one compartment, depot emptied within the day
        ke = theta[:, day, 0] / theta[:, day, 1]
        taken = total[:, day] * 2 / (2 - ke) * (np.exp(-24 * ke) - np.exp(-48))
        expected = expected * np.exp(-24 * ke) + taken
    np.testing.assert_allclose(treatment.state[rows, 1], expected[rows], rtol=1e-12, atol=1e-18)
