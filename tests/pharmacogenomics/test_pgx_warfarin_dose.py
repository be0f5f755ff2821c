"""Warfarin's dosing equations against published and hand-computed doses, and CPIC's flow chart."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from dosewright.pharmacogenomics.literature import UnknownDrugError
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
    steady_state_days,
    warfarin_interactions,
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


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("height_cm", 1.75, "height_cm is 1.75: metres or inches[?] Give centimetres, 40 to 250"),
        ("height_cm", -170, "height_cm is -170"),
        ("weight_kg", 80_000, "weight_kg is 80000: pounds or grams[?] Give kilograms, 2 to 350"),
        ("age_years", 1955, "age_years is 1955: a year of birth[?] Give years, 0 to 110"),
        ("age_years", math.nan, "age_years is nan"),
        ("inr", 28, "inr is 28: a prothrombin time in seconds or per cent[?] Give an INR, 0.5 to 20"),
        ("target_inr", 25, "target_inr is 25: give an INR, 1 to 6"),
        ("drugs_increasing_inr", -1, "drugs_increasing_inr is -1"),
        ("doses_before", (5, 500, 5), "doses_before has 500; expected 0 to 100 mg a day"),
    ],
)
def test_numbers_that_no_person_has(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PATIENT, **{field: value})


def test_an_inr_below_1_is_refused_by_the_refinement_only() -> None:
    low = replace(PATIENT, inr=0.8)
    assert IWPC_CLINICAL.weekly_mg(low) == IWPC_CLINICAL.weekly_mg(PATIENT)
    with pytest.raises(ValueError, match="inr is 0.8; expected 1 or more"):
        LENZINI_REFINEMENT.weekly_mg(low)


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


@pytest.mark.parametrize("absent", [("cyp2c9",), ("vkorc1",), ("cyp2c9", "vkorc1")])
@pytest.mark.parametrize("race", ["White", "Black"])
def test_without_both_genes_the_dose_is_clinical_and_that_is_said(absent: tuple[str, ...], race: str) -> None:
    # figure 2 begins with it: VKORC1 and CYP2C9 *2, *3 not available: dose clinically
    person = replace(PATIENT, race=race, cyp4f2="*1/*3", **dict.fromkeys(absent))
    found = warfarin_dose(person)
    assert (found.equation, found.pharmacogenetic, found.strength) == ("IWPC clinical", False, None)
    assert found.weekly_mg == IWPC_CLINICAL.weekly_mg(person)
    assert found.adjustments == ()
    (warning,) = found.warnings
    assert warning.endswith("CPIC says to dose clinically, without genotype")
    assert all(gene.upper() in warning for gene in absent)
    assert ("*2 and *3 were tested" in warning) == ("cyp2c9" in absent)
    assert warfarin_dose(person, "Gage").equation == "Gage clinical"


@pytest.mark.parametrize(
    ("diplotype", "vkorc1", "sensitive"),
    [("*2/*3", "GG", False), ("*3/*3", "GA", True), ("*3/*3", "AA", True), ("*3/*3", None, None)],
)
def test_poor_metabolisers_should_have_another_drug(
    diplotype: str, vkorc1: str | None, sensitive: bool | None
) -> None:
    # figure 2: *2/*3 and *3/*3, with or without VKORC1 A/G or A/A
    found = warfarin_dose(replace(PATIENT, cyp2c9=diplotype, vkorc1=vkorc1))
    assert found.caution is not None
    assert (found.caution.cyp2c9, found.caution.vkorc1_sensitive) == (diplotype, sensitive)
    assert found.warnings[0] == str(found.caution)
    assert "consider another drug" in found.warnings[0]
    assert ("VKORC1 makes more sensitive" in found.warnings[0]) == bool(sensitive)


@pytest.mark.parametrize("diplotype", ["*1/*1", "*1/*3", "*2/*2", None])
def test_nobody_else_is_cautioned(diplotype: str | None) -> None:
    found = warfarin_dose(replace(PATIENT, cyp2c9=diplotype))
    assert found.caution is None and not any("another drug" in warning for warning in found.warnings)


def test_poor_metabolisers_reach_steady_state_latest() -> None:
    # Pirmohamed 2013: 0.0189, 0.009 and 0.0075 per hour; 95 % after ln 20 over the rate: 6.6, 13.9, 16.6 days
    days = [steady_state_days(pair) for pair in ("*1/*1", "*3/*2", "*3/*3")]
    assert days == pytest.approx([6.604, 13.869, 16.643], abs=1e-3)
    caution = warfarin_dose(replace(PATIENT, cyp2c9="*3/*3")).caution
    assert caution is not None and caution.steady_state_days == days[2]
    assert "about 17 days instead of 7" in str(caution)
    assert steady_state_days("*3/*6") is None  # *6 has no published rate
    sixth = warfarin_dose(replace(PATIENT, cyp2c9="*3/*6")).caution
    assert sixth is not None and sixth.steady_state_days is None and "days" not in str(sixth)


def test_other_drugs_that_the_equations_have_a_term_for() -> None:
    # IWPC 2009: amiodarone; inducers are carbamazepine, phenytoin and rifampicin (rifampin)
    assert warfarin_interactions([]) == (False, False, ())
    assert warfarin_interactions("Amiodarone") == (True, False, ())
    found = warfarin_interactions(["Rifampin", "fluconazole", "warfarin", " AMIODARONE", "fluconazole"])
    assert found == (True, True, ("fluconazole",))
    # other drugs with similar names stay others; a name that is nearly one of these is asked back
    assert warfarin_interactions(["fosphenytoin", "oxcarbazepine", "dronedarone"]).others == (
        "fosphenytoin", "oxcarbazepine", "dronedarone",
    )  # fmt: skip
    with pytest.raises(UnknownDrugError, match="'amiodaron' is not known; did you mean amiodarone"):
        warfarin_interactions(["fluconazole", "amiodaron"])


@pytest.mark.parametrize("drug", ["carbamazepine", "phenytoin", "rifampicin"])
def test_interactions_go_into_the_equation(drug: str) -> None:
    amiodarone, inducer, _ = warfarin_interactions([drug, "amiodarone"])
    person = replace(PATIENT, amiodarone=amiodarone, enzyme_inducer=inducer)
    assert IWPC_PHARMACOGENETIC.predictor(person) == pytest.approx(4.7356 + 1.1816 - 0.5503, abs=1e-9)


def test_flow_chart_does_not_guess() -> None:
    with pytest.raises(NotCoveredError, match="age_years is 12"):
        warfarin_dose(replace(PATIENT, age_years=12))
    with pytest.raises(NotCoveredError, match=r"age_years is 17\.9"):
        warfarin_dose(replace(PATIENT, age_years=17.9))
    with pytest.raises(MissingCovariateError, match="african_ancestry"):
        warfarin_dose(replace(PATIENT, race="mixed or not recorded"))
    with pytest.raises(MissingCovariateError, match="late_alleles_tested"):
        warfarin_dose(replace(PATIENT, race="Black", cyp2c9="*1/*1"))
    with pytest.raises(ValueError, match="rs12777823_a is 3"):
        warfarin_dose(replace(PATIENT, african_ancestry=True, late_alleles_tested=True, rs12777823_a=3))
