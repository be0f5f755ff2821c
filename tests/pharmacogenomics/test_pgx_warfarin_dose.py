"""Warfarin's dosing equations against published and hand-computed doses, and CPIC's flow chart."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from dosewright.pharmacogenomics.tables import TABLES
from dosewright.pharmacogenomics.warfarin_dose import NotCoveredError, warfarin_dose
from dosewright.pharmacogenomics.warfarin_equations import (
    EU_PACT_MAINTENANCE,
    GAGE_CLINICAL,
    GAGE_PHARMACOGENETIC,
    IWPC_CLINICAL,
    IWPC_PHARMACOGENETIC,
    LENZINI_REFINEMENT,
    WARG,
    MissingCovariateError,
    UncountedAlleleError,
    WarfarinPatient,
    eu_pact_loading,
)

SHARED_PGX = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pgx"

# 65 years, 170 cm, 80 kg: body surface 0.007184 · 170^0.725 · 80^0.425 = 1.9156 m²
PATIENT = WarfarinPatient(
    65,
    height_cm=170,
    weight_kg=80,
    race="White",
    male=True,
    cyp2c9="*1/*3",
    vkorc1="GA",
    enzyme_inducer=False,
    amiodarone=False,
    fluvastatin=False,
    smoker=False,
    dvt_or_pe=True,
    diabetes=False,
    stroke=False,
    target_inr=2.5,
    inr=2.0,
    doses_before=(5, 5, 7.5),
    drugs_increasing_inr=1,
    cyp4f2="*1/*1",
)
SURFACE = 0.007184 * 170**0.725 * 80**0.425

# --------------------------------------------------------------------------------------------- equations


def test_published_example_of_warg() -> None:
    # Blood, WARG cohort: 50 years, man, VKORC1 A/G, CYP2C9 *1/*3: square root of the weekly dose 5.74874
    patient = WarfarinPatient(50, male=True, vkorc1="A/G", cyp2c9="*1/*3", drugs_increasing_inr=0)
    assert WARG.predictor(patient) == pytest.approx(5.74874, abs=1e-9)
    assert WARG.weekly_mg(patient) == pytest.approx(33.048, abs=1e-3)
    woman = replace(patient, male=False, drugs_increasing_inr=2)
    assert WARG.predictor(woman) == pytest.approx(5.74874 - 0.27698 - 2 * 0.06992, abs=1e-9)


def test_iwpc_by_hand() -> None:
    # 5.6044 - 0.2614·6 + 0.0087·170 + 0.0128·80 - 0.8677 - 0.9357 = 4.7356
    assert IWPC_PHARMACOGENETIC.predictor(PATIENT) == pytest.approx(4.7356, abs=1e-9)
    assert IWPC_PHARMACOGENETIC.weekly_mg(PATIENT) == pytest.approx(4.7356**2, abs=1e-9)
    # 4.0376 - 0.2546·6 + 0.0118·170 + 0.0134·80 = 5.588
    assert IWPC_CLINICAL.weekly_mg(PATIENT) == pytest.approx(5.588**2, abs=1e-9)
    black = replace(PATIENT, race="Black", enzyme_inducer=True, amiodarone=True)
    assert IWPC_CLINICAL.predictor(black) == pytest.approx(5.588 + 0.406 + 1.2799 - 0.5695, abs=1e-9)


def test_iwpc_has_terms_for_what_is_unknown_and_nothing_is_read_as_reference() -> None:
    known = IWPC_PHARMACOGENETIC.predictor(replace(PATIENT, vkorc1="GG", cyp2c9="*1/*1"))
    unknown = replace(PATIENT, vkorc1=None, cyp2c9=None, race="mixed or not recorded")
    assert IWPC_PHARMACOGENETIC.predictor(unknown) == pytest.approx(known - 0.4854 - 0.2188 - 0.1032)
    for equation, field in [
        (IWPC_PHARMACOGENETIC, "amiodarone"),
        (IWPC_PHARMACOGENETIC, "race"),
        (GAGE_PHARMACOGENETIC, "vkorc1"),
        (GAGE_CLINICAL, "target_inr"),
        (LENZINI_REFINEMENT, "doses_before"),
        (WARG, "cyp2c9"),
    ]:
        with pytest.raises(MissingCovariateError, match=f"{equation.name} equation needs {field}"):
            equation.weekly_mg(replace(PATIENT, **{field: None}))


def test_last_age_group_of_iwpc_is_90_and_over() -> None:
    assert IWPC_CLINICAL.predictor(replace(PATIENT, age_years=69.9)) == IWPC_CLINICAL.predictor(PATIENT)
    old, older = (IWPC_CLINICAL.predictor(replace(PATIENT, age_years=age)) for age in (90, 101))
    assert old == older == pytest.approx(5.588 - 0.2546 * 3)


def test_gage_and_lenzini_by_hand() -> None:
    gage = 0.9751 - 0.3238 + 0.4317 * SURFACE - 0.4008 - 0.00745 * 65 + 0.2029 * 2.5 + 0.0664
    assert GAGE_PHARMACOGENETIC.weekly_mg(PATIENT) == pytest.approx(7 * math.exp(gage), rel=1e-12)
    clinical = 0.613 + 0.425 * SURFACE - 0.0075 * 65 + 0.216 * 2.5 + 0.0784
    assert GAGE_CLINICAL.weekly_mg(PATIENT) == pytest.approx(7 * math.exp(clinical), rel=1e-12)
    lenzini = (
        3.10894 - 0.00767 * 65 - 0.51611 * math.log(2) - 0.23032 - 0.3077 + 0.24597 * SURFACE + 0.26729 * 2.5
        + 0.0169 * 5 + 0.02018 * 5 + 0.01065 * 7.5
    )  # fmt: skip
    assert LENZINI_REFINEMENT.weekly_mg(PATIENT) == pytest.approx(math.exp(lenzini), rel=1e-12)
    two = replace(PATIENT, cyp2c9="*2/*2", vkorc1="AA")
    change = math.log(GAGE_PHARMACOGENETIC.weekly_mg(two) / GAGE_PHARMACOGENETIC.weekly_mg(PATIENT))
    assert change == pytest.approx(-0.3238 - 2 * 0.2066 + 0.4008)


def test_eu_pact_loading_by_hand() -> None:
    # Pirmohamed 2013: rate of *1/*3 0.0132 per hour
    daily = (5.6044 - 0.02614 * 65 + 0.0087 * 170 + 0.0128 * 80 - 0.8677 - 0.9357) ** 2 / 7
    assert EU_PACT_MAINTENANCE.weekly_mg(PATIENT) / 7 == pytest.approx(daily)
    k = 24 * 0.0132
    load = daily / ((1 - math.exp(-k)) * (1 + math.exp(-k) + math.exp(-2 * k)))
    expected = [daily + share * (load - daily) for share in (1.5, 1.0, 0.5)]
    assert list(eu_pact_loading(PATIENT)) == pytest.approx(expected)
    with pytest.raises(MissingCovariateError, match="cyp2c9"):
        eu_pact_loading(replace(PATIENT, cyp2c9=None))


def test_alleles_without_a_term() -> None:
    normal = IWPC_PHARMACOGENETIC.predictor(replace(PATIENT, cyp2c9="*1/*1"))
    for diplotype in ("*1/*9", "*5/*8"):  # *9 is of normal function; *5 and *8 are the flow chart's
        assert IWPC_PHARMACOGENETIC.predictor(replace(PATIENT, cyp2c9=diplotype)) == normal
    with pytest.raises(UncountedAlleleError, match=r"CYP2C9 \*13 \(No function\).*leave cyp2c9 None"):
        IWPC_PHARMACOGENETIC.predictor(replace(PATIENT, cyp2c9="*1/*13"))


def test_vkorc1_is_on_the_coding_strand() -> None:
    table = replace(PATIENT, vkorc1="rs9923231 reference (C)/rs9923231 variant (T)")
    assert IWPC_PHARMACOGENETIC.predictor(table) == pytest.approx(4.7356)
    with pytest.raises(ValueError, match="'C' is no base.*G for the forward C"):
        IWPC_PHARMACOGENETIC.predictor(replace(PATIENT, vkorc1="CC"))


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match="height in cm is -170"):
        IWPC_CLINICAL.weekly_mg(replace(PATIENT, height_cm=-170))
    with pytest.raises(ValueError, match="inr is 0.2"):
        LENZINI_REFINEMENT.weekly_mg(replace(PATIENT, inr=0.2))


@pytest.mark.skipif(not SHARED_PGX.is_dir(), reason="../shared is absent")
def test_coefficients_are_those_of_the_shared_file() -> None:
    published = json.loads((SHARED_PGX / "warfarin_dosing.json").read_text(encoding="utf-8"))["algorithms"]
    for name, equation in {
        "IWPC_pharmacogenetic": IWPC_PHARMACOGENETIC,
        "IWPC_clinical": IWPC_CLINICAL,
        "Gage_pharmacogenetic": GAGE_PHARMACOGENETIC,
        "Gage_clinical": GAGE_CLINICAL,
        "Lenzini_refinement_day4_5": LENZINI_REFINEMENT,
        "WARG": WARG,
    }.items():
        assert [equation.intercept, *equation.terms.values()] == list(published[name]["terms"].values())


# -------------------------------------------------------------------------------------------- flow chart


def test_equation_with_genotype_outside_african_ancestry() -> None:
    found = warfarin_dose(PATIENT)
    assert (found.equation, found.strength, found.adjustments) == ("IWPC pharmacogenetic", "strong", ())
    assert found.weekly_mg == pytest.approx(4.7356**2)
    assert found.adjusted_daily_mg == pytest.approx((found.daily_mg, found.daily_mg))
    assert found.warnings == ()
    assert "PMID 28198005" in found.source and "NEJMoa0809329" in found.source
    assert TABLES.source("CYP2C9") in found.source
    assert warfarin_dose(PATIENT, "Gage").weekly_mg == GAGE_PHARMACOGENETIC.weekly_mg(PATIENT)


@pytest.mark.parametrize(
    ("cyp2c9", "cyp4f2", "low", "high"),
    [  # CPIC 2017, figure 2: 15 to 30 % less, 20 to 40 % in homozygotes, 5 to 10 % more; all optional
        ("*1/*5", "*1/*1", 0.70, 0.85),
        ("*8/*8", "*1/*1", 0.60, 0.80),
        ("*1/*1", "*1/*3", 1.05, 1.10),
        ("*1/*11", "*3/*3", 0.70 * 1.05, 0.85 * 1.10),
    ],
)
def test_changes_after_the_equation(cyp2c9: str, cyp4f2: str, low: float, high: float) -> None:
    found = warfarin_dose(replace(PATIENT, cyp2c9=cyp2c9, cyp4f2=cyp4f2))
    assert {change.strength for change in found.adjustments} == {"optional"}
    assert found.adjusted_daily_mg == pytest.approx((low * found.daily_mg, high * found.daily_mg))


def test_cyp4f2_alleles_with_rs2108622_t_are_read_from_the_tables() -> None:
    assert warfarin_dose(replace(PATIENT, cyp4f2="*1/*4")).adjustments[0].reason == "CYP4F2 *4 (rs2108622 T)"
    assert warfarin_dose(replace(PATIENT, cyp4f2="*1/*2")).adjustments == ()
    with pytest.raises(ValueError, match=r"CYP4F2 \*99"):
        warfarin_dose(replace(PATIENT, cyp4f2="*1/*99"))
    assert warfarin_dose(replace(PATIENT, cyp4f2=None)).warnings == (
        "CYP4F2 is not known: no change for rs2108622",
    )


def test_african_ancestry() -> None:
    black = replace(PATIENT, race="Black", cyp2c9="*1/*1", cyp4f2="*1/*3", late_alleles_tested=False)
    untested = warfarin_dose(black)
    assert (untested.equation, untested.pharmacogenetic, untested.strength) == ("IWPC clinical", False, None)
    assert "*5, *6, *8, *11 were not tested" in untested.warnings[0]
    tested = warfarin_dose(replace(black, late_alleles_tested=True, rs12777823_a=1))
    assert (tested.equation, tested.strength) == ("IWPC pharmacogenetic", "moderate")
    assert [(c.low, c.high, c.strength) for c in tested.adjustments] == [(0.75, 0.90, "moderate")]
    found = warfarin_dose(replace(black, cyp2c9="*1/*8", late_alleles_tested=None, rs12777823_a=0))
    assert [(c.low, c.high, c.strength) for c in found.adjustments] == [(0.70, 0.85, "moderate")]
    assert "rs12777823 is not known" in warfarin_dose(replace(black, late_alleles_tested=True)).warnings[0]


def test_without_genotype_and_with_one_gene() -> None:
    neither = warfarin_dose(replace(PATIENT, cyp2c9=None, vkorc1=None))
    assert (neither.equation, neither.strength) == ("IWPC clinical", None)
    one = warfarin_dose(replace(PATIENT, vkorc1=None))
    assert one.weekly_mg == pytest.approx((4.7356 + 0.8677 - 0.4854) ** 2)
    assert any("VKORC1 is not known" in warning for warning in one.warnings)
    with pytest.raises(MissingCovariateError, match="vkorc1"):
        warfarin_dose(replace(PATIENT, vkorc1=None), "Gage")


@pytest.mark.parametrize(("diplotype", "poor"), [("*2/*3", True), ("*3/*3", True), ("*2/*2", False)])
def test_poor_metabolisers_should_have_another_drug(diplotype: str, poor: bool) -> None:
    warnings = warfarin_dose(replace(PATIENT, cyp2c9=diplotype)).warnings
    assert any("consider another drug" in warning for warning in warnings) == poor


def test_flow_chart_does_not_guess() -> None:
    with pytest.raises(NotCoveredError, match="age_years is 12"):
        warfarin_dose(replace(PATIENT, age_years=12))
    with pytest.raises(NotCoveredError, match="age_years is nan"):
        warfarin_dose(replace(PATIENT, age_years=math.nan))
    with pytest.raises(MissingCovariateError, match="african_ancestry"):
        warfarin_dose(replace(PATIENT, race="mixed or not recorded"))
    with pytest.raises(MissingCovariateError, match="late_alleles_tested"):
        warfarin_dose(replace(PATIENT, race="Black", cyp2c9="*1/*1"))
    with pytest.raises(ValueError, match="rs12777823_a is 3"):
        warfarin_dose(replace(PATIENT, african_ancestry=True, late_alleles_tested=True, rs12777823_a=3))
