"""From people to parameters: what is refused, what is warned of, and what genotypes come to."""

import warnings
from typing import Any

import numpy as np
import pytest

from dosewright.envs import individual_parameters
from dosewright.envs.genotypes import phenotype_codes, phenotyped
from dosewright.envs.patients import CovariateRangeWarning
from dosewright.envs.pharmacology.models import efavirenz_bienczak2016 as efavirenz
from dosewright.envs.pharmacology.models import tacrolimus_andrews2019 as tacrolimus
from dosewright.envs.pharmacology.models import vancomycin_goti2018 as vancomycin
from dosewright.envs.pharmacology.models import warfarin_hamberg2010 as warfarin

PERSON: dict[str, Any] = {"weight_kg": 70.0, "crcl_ml_min": 90.0, "dialysis": 0.0}
BODY: dict[str, Any] = {
    "age_y": 55.72, "bsa_m2": 1.93, "albumin_g_l": 42.0, "creatinine_umol_l": 134.98, "haematocrit": 0.34,
    "lean_mass_kg": 58.94,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_kg": None}, r"vancomycin_goti2018 needs covariate 'weight_kg' \(kg\); the reference is 70"),
        ({"wieght_kg": 70.0}, "does not use covariate 'wieght_kg'; did you mean 'weight_kg'"),
        (
            {"weight_kg": [70.0, np.nan]},
            "person 1: weight_kg is nan kg; vancomycin_goti2018 needs a number above 0",
        ),
        ({"weight_kg": 0.0}, "person 0: weight_kg is 0 kg; vancomycin_goti2018 needs a number above 0"),
        ({"crcl_ml_min": np.inf}, "person 0: crcl_ml_min is inf mL/min"),
    ],
)
def test_a_covariate_that_breaks_the_equations_is_refused(changes: dict[str, Any], message: str) -> None:
    known = {name: value for name, value in {**PERSON, **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        individual_parameters(vancomycin.MODEL, known)


def test_a_covariate_outside_the_published_range_is_warned_of_with_the_range() -> None:
    # models.md 2.1: age 15 to 79 years
    genotypes = {"CYP3A5": ["*3/*3"], "CYP3A4": ["*1/*1"]}
    said = r"person 0: age_y = 90 years lies outside the published range 15 to 79 of tacrolimus_andrews2019"
    with pytest.warns(CovariateRangeWarning, match=said):
        theta = individual_parameters(tacrolimus.MODEL, {**BODY, "age_y": 90.0}, genotypes)
    assert theta[0, 0] == pytest.approx(23.0 * (90 / 55.72) ** -0.43, rel=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        individual_parameters(tacrolimus.MODEL, BODY, genotypes)


def test_a_genotype_that_the_model_needs_must_be_given_and_known() -> None:
    with pytest.raises(ValueError, match=r"needs the CYP3A4 genotype; give a diplotype such as '\*1/\*1'"):
        individual_parameters(tacrolimus.MODEL, BODY, {"CYP3A5": ["*3/*3"]})
    with pytest.raises(ValueError) as refused:
        # no such allele
        individual_parameters(efavirenz.MODEL, {"weight_kg": 15.4}, {"CYP2B6": ["*6/*18x"]})
    assert "CYP2B6" in str(refused.value) + "".join(getattr(refused.value, "__notes__", ()))


@pytest.mark.parametrize(
    ("diplotype", "clearance"),
    # models.md 7: CL/F by 516|983 at 15.4 kg; *9 carries 516T as *6 does
    [("*1/*1", 6.94), ("*1/*6", 4.90), ("*9/*1", 4.90), ("*1/*18", 3.93), ("*6/*6", 1.92), ("*6/*18", 1.36),
     ("*18/*18", 0.74)],
)  # fmt: skip
def test_pairs_of_haplotypes_have_the_published_clearance(diplotype: str, clearance: float) -> None:
    theta = individual_parameters(efavirenz.MODEL, {"weight_kg": 15.4}, {"CYP2B6": [diplotype]})
    assert theta[0, efavirenz.MODEL.column("CL")] == pytest.approx(clearance, rel=1e-12)


def test_random_effects_multiply_the_typical_person() -> None:
    eta = np.array([[0.1, -0.2, 0.3], [0.0, 0.0, 0.0]])
    typical = individual_parameters(vancomycin.MODEL, PERSON)
    theta = individual_parameters(vancomycin.MODEL, PERSON, eta=eta)
    varying = list(vancomycin.MODEL.random_effects)
    np.testing.assert_allclose(theta[0, varying], typical[0, varying] * np.exp(eta[0]), rtol=1e-15)
    np.testing.assert_array_equal(theta[1], typical[0])


def test_phenotypes_stand_on_an_ordinal_scale_where_cpic_has_them() -> None:
    assert phenotyped(warfarin.MODEL.genotype_terms) == ("CYP2C9",)  # VKORC1 has none
    codes = phenotype_codes("CYP2C19", np.array(["*2/*2", "*1/*2", "*1/*1", "*1/*17", "*17/*17"]))
    assert codes.tolist() == [0, 1, 2, 3, 4]
