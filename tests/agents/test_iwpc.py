"""The IWPC equations (N Engl J Med 2009;360:753, appendix S1e and S1f) by hand, and a daily dose from a
weekly one."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from dosewright.agents.regimens import FixedDose, Guideline, lacking, names, regimen
from dosewright.envs import Intake, Regimen, Scenario, Treatment, scenario

See = Callable[..., np.ndarray]
Treat = Callable[[Regimen, Intake], tuple[Treatment, np.ndarray]]

# models.md 1.3: alleles *2, *3 of each column; mg/day for 65 years, 170 cm, 75 kg, White
COLUMNS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
TABLE = {
    0: (5.99, 5.06, 4.38, 4.19, 2.96, 2.45),
    1: (4.49, 3.70, 3.12, 2.95, 1.94, 1.53),
    2: (3.26, 2.59, 2.11, 1.97, 1.17, 0.85),
}


@pytest.mark.parametrize("a_alleles", TABLE)
def test_doses_are_those_of_the_reference_table(warfarin: Scenario, observed: See, a_alleles: int) -> None:
    star2, star3 = np.array(COLUMNS, dtype=float).T
    seen = observed(vkorc1_A=float(a_alleles), **{"cyp2c9_*2": star2, "cyp2c9_*3": star3})
    dose, _ = Guideline(warfarin).predict(seen)
    assert tuple(np.round(dose, 2).tolist()) == TABLE[a_alleles]


# by hand: intercept, decades, height, weight, then the terms that apply
PEOPLE = [
    # 42 years, 160 cm, 60 kg, Asian, AA, *1/*1
    (dict(age_y=42, height_cm=160, weight_kg=60, race_white=0, race_asian=1, vkorc1_A=2),
     5.6044 - 0.2614 * 4 + 0.0087 * 160 + 0.0128 * 60 - 1.6974 - 0.1092,
     4.0376 - 0.2546 * 4 + 0.0118 * 160 + 0.0134 * 60 - 0.6752),
    # 79.9 years is still the eighth decade; Black, 190 cm, 110 kg, GA, *1/*3, amiodarone
    ({"age_y": 79.9, "height_cm": 190, "weight_kg": 110, "race_white": 0, "race_black": 1, "vkorc1_A": 1,
      "cyp2c9_*3": 1, "amiodarone": 1},
     5.6044 - 0.2614 * 7 + 0.0087 * 190 + 0.0128 * 110 - 0.8677 - 0.9357 - 0.2760 - 0.5503,
     4.0376 - 0.2546 * 7 + 0.0118 * 190 + 0.0134 * 110 + 0.4060 - 0.5695),
    # 92 years, mixed race, enzyme inducer, GG, *2/*2
    ({"age_y": 92, "height_cm": 150, "weight_kg": 50, "race_white": 0, "inducer": 1, "cyp2c9_*2": 2},
     5.6044 - 0.2614 * 9 + 0.0087 * 150 + 0.0128 * 50 - 1.0616 - 0.1032 + 1.1816,
     4.0376 - 0.2546 * 9 + 0.0118 * 150 + 0.0134 * 50 + 0.0443 + 1.2799),
    # 18 years, the first decade; *2/*3
    ({"age_y": 18, "cyp2c9_*2": 1, "cyp2c9_*3": 1},
     5.6044 - 0.2614 * 1 + 0.0087 * 170 + 0.0128 * 75 - 1.9206,
     4.0376 - 0.2546 * 1 + 0.0118 * 170 + 0.0134 * 75),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "genetic", "clinical"), PEOPLE)
def test_equations_by_hand(
    warfarin: Scenario, observed: See, entries: dict[str, float], genetic: float, clinical: float
) -> None:
    seen = observed(**entries)
    decoded = warfarin.observation.decode(seen)
    # the equation gives the square root of the weekly dose; a regimen gives a daily one
    assert Guideline(warfarin).predict(seen)[0][0] == pytest.approx(genetic**2 / 7, rel=1e-6)
    assert warfarin.clinical_start.dose(decoded)[0] == pytest.approx(clinical**2 / 7, rel=1e-6)
    assert regimen("nomogram", warfarin).predict(seen)[0][0] == pytest.approx(genetic**2 / 7, rel=1e-6)
    assert regimen("clinical-nomogram", warfarin).predict(seen)[0][0] == pytest.approx(
        clinical**2 / 7, rel=1e-6
    )


def test_the_dose_is_daily_not_weekly(warfarin: Scenario, observed: See) -> None:
    dose = float(Guideline(warfarin).predict(observed())[0][0])
    assert 4 < dose < 8  # 42 mg a week would be far above the cap
    assert math.sqrt(7 * dose) == pytest.approx(5.6044 - 0.2614 * 6 + 0.0087 * 170 + 0.0128 * 75, rel=1e-6)


def test_equation_does_not_fall_below_zero_where_the_root_does(warfarin: Scenario, observed: See) -> None:
    # 92 years, 100 cm, 25 kg, AA, *3/*3, amiodarone: the root is −0.11
    seen = observed(age_y=92, height_cm=100, weight_kg=25, vkorc1_A=2, amiodarone=1, **{"cyp2c9_*3": 2})
    assert 5.6044 - 0.2614 * 9 + 0.87 + 0.32 - 1.6974 - 2.3312 - 0.5503 < 0
    assert Guideline(warfarin).predict(seen)[0][0] == 0.0


def test_a_hundred_years_count_as_the_ninth_decade(warfarin: Scenario, observed: See) -> None:
    dose, _ = Guideline(warfarin).predict(observed(age_y=np.array([90.0, 104.0])))
    assert dose[0] == dose[1]


@pytest.mark.parametrize("name", ["height_cm", "weight_kg", "cyp2c9_*2", "cyp2c9_*3", "vkorc1_A"])
def test_a_missing_input_gives_no_dose_rather_than_a_guess(
    warfarin: Scenario, observed: See, name: str
) -> None:
    assert np.isnan(Guideline(warfarin).predict(observed(**{name: np.nan}))[0][0])
    assert name in Guideline(warfarin).needs


def test_clinical_equation_does_not_need_the_genotype(warfarin: Scenario, observed: See) -> None:
    unknown = {"cyp2c9_*2": np.nan, "cyp2c9_*3": np.nan, "vkorc1_A": np.nan}
    arm = regimen("clinical-nomogram", warfarin)
    assert arm.predict(observed(**unknown))[0] == arm.predict(observed())[0]
    assert arm.needs == {"height_cm", "weight_kg"}


def test_nothing_measured_changes_the_guideline_dose(warfarin: Scenario, observed: See) -> None:
    later = observed(day=14.0, inr=6.0, inr_age=0.0, inr_new=1.0, last_dose=5.0, next_interval=7.0)
    assert Guideline(warfarin).predict(later)[0] == Guideline(warfarin).predict(observed())[0]


# ----------------------------------------------------------------------------------------------- fixed, names


def test_fixed_dose_is_given_at_every_visit(
    warfarin: Scenario, admitted: Callable[..., Intake], treated: Treat
) -> None:
    treatment, _ = treated(regimen("fixed-5mg", warfarin), admitted(10, "textbook"))
    assert np.all(treatment.given == 5.0)


@pytest.mark.parametrize("dose", [-1.0, 15.5, 5.25, np.nan])
def test_fixed_dose_off_the_grid_is_refused(warfarin: Scenario, dose: float) -> None:
    with pytest.raises(ValueError, match="allowed 0 to 15 in steps of 0.5"):
        FixedDose(warfarin, dose)


def test_every_name_makes_a_regimen_of_that_name(warfarin: Scenario) -> None:
    assert set(lacking(warfarin)) == {"pid"}
    for name in (*(set(names()) - {"pid"}), "fixed-5mg", "fixed-7.5mg"):
        arm = regimen(name, warfarin)
        assert arm.name == name and isinstance(arm, Regimen)


@pytest.mark.parametrize("name", ["labell", "fixed", "policy:x", ""])
def test_unknown_name_is_refused_with_the_known_ones(warfarin: Scenario, name: str) -> None:
    with pytest.raises(ValueError, match="unknown arm .*known: fixed-<dose>mg, label, guideline"):
        regimen(name, warfarin)


@pytest.mark.parametrize(
    ("drug", "name", "right"),
    [("warfarin", "fixed-5", "fixed-5mg"), ("busulfan", "fixed-85mg", "fixed-85")],
)
def test_a_fixed_dose_is_named_in_the_unit_of_its_drug(drug: str, name: str, right: str) -> None:
    known = scenario(drug)
    with pytest.raises(ValueError, match=f"arm {name}: doses of {drug} are in .*; write {right}$"):
        regimen(name, known)
    assert regimen(right, known).name == right
