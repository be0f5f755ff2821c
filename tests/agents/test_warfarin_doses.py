"""Published warfarin equations over observations: equal to the scalar ones, and to hand-made sums."""

import math
from typing import Any

import numpy as np
import pytest

from dosewright.agents.regimens import warfarin_doses as doses
from dosewright.envs.pharmacology.body import surface_m2
from dosewright.pharmacogenomics import (
    EU_PACT_MAINTENANCE,
    GAGE_CLINICAL,
    GAGE_PHARMACOGENETIC,
    LENZINI_CLINICAL_REFINEMENT,
    LENZINI_REFINEMENT,
    WarfarinPatient,
    eu_pact_loading,
)

# age, height, weight, CYP2C9, VKORC1, race, smoker, thrombosis, stroke, diabetes, fluvastatin, amiodarone
PEOPLE = [
    (58.0, 176.0, 90.0, "*1/*1", "GG", "White", 0, 1, 0, 0, 0, 0),
    (81.0, 160.0, 55.0, "*1/*2", "GA", "White", 1, 0, 1, 0, 0, 1),
    (44.0, 168.0, 120.0, "*1/*3", "AA", "Black", 1, 1, 0, 1, 0, 0),
    (67.0, 171.0, 70.0, "*2/*3", "GA", "Black", 0, 0, 0, 0, 1, 0),
    (90.0, 150.0, 45.0, "*2/*2", "AA", "White", 0, 1, 1, 1, 1, 1),
    (30.0, 190.0, 100.0, "*3/*3", "GG", "Black", 0, 0, 0, 0, 0, 0),
]
INR, BEFORE = np.array([1.0, 1.3, 1.8, 2.5, 3.2, 1.1]), np.array([[5.0, 7.5, 10.0]] * 6)


def seen() -> dict[str, np.ndarray]:
    """What a clinician sees of `PEOPLE`; body surface after Du Bois, as the scalar equations compute it."""
    columns: list[Any] = [np.array(column) for column in zip(*PEOPLE, strict=True)]
    age, height, weight, cyp2c9, vkorc1, race, *flags = columns
    names = ("smoker", "dvt_or_pe", "stroke", "diabetes", "fluvastatin", "amiodarone")
    return {
        "age_y": age, "height_cm": height, "weight_kg": weight, "bsa_m2": surface_m2(weight, height),
        doses.STAR2: np.char.count(cyp2c9, "*2").astype(float),
        doses.STAR3: np.char.count(cyp2c9, "*3").astype(float),
        doses.VKORC1_A: np.char.count(vkorc1, "A").astype(float),
        "race_white": (race == "White").astype(float), "race_black": (race == "Black").astype(float),
        "race_asian": np.zeros(6), "inducer": np.zeros(6),
        **{name: flag.astype(float) for name, flag in zip(names, flags, strict=True)},
    }  # fmt: skip


def patients() -> list[WarfarinPatient]:
    flags = ("smoker", "dvt_or_pe", "stroke", "diabetes", "fluvastatin", "amiodarone")
    found = []
    for (age, height, weight, cyp2c9, vkorc1, race, *had), inr, before in zip(
        PEOPLE, INR, BEFORE, strict=True
    ):
        known: dict[str, Any] = {name: bool(flag) for name, flag in zip(flags, had, strict=True)}
        known |= {"height_cm": height, "weight_kg": weight, "cyp2c9": cyp2c9, "vkorc1": vkorc1, "race": race}
        known |= {"enzyme_inducer": False, "target_inr": 2.5, "inr": inr, "doses_before": tuple(before)}
        found.append(WarfarinPatient(age, **known))
    return found


@pytest.mark.parametrize(
    ("equation", "published"),
    [
        (doses.GAGE_BY_GENOTYPE, GAGE_PHARMACOGENETIC),
        (doses.GAGE_WITHOUT, GAGE_CLINICAL),
        (doses.EU_PACT_DAILY, EU_PACT_MAINTENANCE),
    ],
)
def test_doses_of_many_are_those_of_the_published_equation_one_by_one(equation: Any, published: Any) -> None:
    expected = [published.weekly_mg(patient) / 7 for patient in patients()]
    assert equation.dose(seen()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("equation", "published"),
    [
        (doses.LENZINI_BY_GENOTYPE, LENZINI_REFINEMENT),
        (doses.LENZINI_WITHOUT, LENZINI_CLINICAL_REFINEMENT),
    ],
)
def test_refined_doses_are_those_of_the_published_equation_one_by_one(equation: Any, published: Any) -> None:
    expected = [published.weekly_mg(patient) / 7 for patient in patients()]
    assert doses.refined(equation, seen(), INR, BEFORE) == pytest.approx(expected, rel=1e-12)


def test_lenzini_clinical_by_hand() -> None:
    # models.md 1.3, second person: 81 years, stroke and amiodarone, INR 1.3, doses 5, 7.5 and 10 mg
    surface = 0.007184 * 160**0.725 * 55**0.425
    expected = (
        2.81602 - 0.00590 * 81 - 0.76679 * math.log(1.3) + 0.17675 * surface + 0.27815 * 2.5 - 0.22844
        - 0.11137 + 0.03471 * 5 + 0.03047 * 7.5 + 0.01929 * 10
    )  # fmt: skip
    found = doses.refined(doses.LENZINI_WITHOUT, seen(), INR, BEFORE)[1]
    assert found == pytest.approx(math.exp(expected) / 7, rel=1e-12)


def test_an_inr_below_1_counts_as_1_in_a_refinement() -> None:
    low = doses.refined(doses.LENZINI_BY_GENOTYPE, seen(), np.full(6, 0.8), BEFORE)
    one = doses.refined(doses.LENZINI_BY_GENOTYPE, seen(), np.full(6, 1.0), BEFORE)
    assert np.array_equal(low, one)


def test_loading_doses_are_those_of_eu_pact() -> None:
    found = np.stack(doses.eu_pact_loading_doses(seen())[:3], axis=1)
    expected = np.array([eu_pact_loading(patient) for patient in patients()])
    assert found == pytest.approx(expected, rel=1e-12)
    # *1/*1: k = 24 · 0.0189 = 0.4536 a day, 1 − e^(−3k) = 0.743545, so L = 1.344909 D
    daily = doses.EU_PACT_DAILY.dose(seen())[0]
    assert found[0] / daily == pytest.approx([1.517364, 1.344909, 1.172455], abs=1e-6)


def test_without_a_genotype_there_is_no_dose_by_genotype() -> None:
    unknown = {**seen(), doses.VKORC1_A: np.full(6, np.nan)}
    assert np.isnan(doses.GAGE_BY_GENOTYPE.dose(unknown)).all()
    assert np.isfinite(doses.GAGE_WITHOUT.dose(unknown)).all()
    assert np.isnan(doses.eu_pact_loading_doses({**seen(), doses.STAR2: np.full(6, np.nan)})[0]).all()


def test_cyp2c9_left_out_is_read_as_the_wild_type() -> None:
    ratio = doses.GAGE_BY_GENOTYPE.dose(doses.without_cyp2c9(seen())) / doses.GAGE_BY_GENOTYPE.dose(seen())
    # exp(0.2066 · n*2 + 0.4008 · n*3)
    counts = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2)]
    assert ratio == pytest.approx([math.exp(0.2066 * two + 0.4008 * three) for two, three in counts])
