"""The problem discriminates: DESIGN 4. Each of these could fail, and would then say that the score means
nothing."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.monitoring import compared
from dosewright.agents.regimens import FixedDose, regimen
from dosewright.envs import Intake, Noise, Regimen, Scenario, Treatment, scenario
from dosewright.envs.pharmacology.models.warfarin_hamberg2010 import MODEL, maintenance_dose, typical

N = 400
TEN_POINTS = 0.10
Treat = Callable[[Regimen, Intake], tuple[Treatment, NDArray[np.float64]]]


def at_least(better: NDArray[np.float64], worse: NDArray[np.float64], margin: float) -> None:
    """Paired difference of the same patients is above the margin by two standard errors."""
    difference = better - worse
    assert difference.mean() - 2 * difference.std(ddof=1) / np.sqrt(len(difference)) >= margin


@pytest.fixture(scope="module")
def clinic(admitted: Callable[..., Intake]) -> Intake:
    return admitted(N, "clinic", seed=3)


@pytest.fixture(scope="module")
def best_fixed(warfarin: Scenario, treated: Treat, clinic: Intake) -> NDArray[np.float64]:
    """(n,) returns of the fixed dose with the highest mean return on these very patients."""
    returns = [treated(FixedDose(warfarin, float(dose)), clinic)[1] for dose in np.arange(1, 9.5, 0.5)]
    means = [value.mean() for value in returns]
    best = int(np.argmax(means))
    assert 0 < best < len(means) - 1  # an optimum inside the range searched
    return returns[best]


def test_random_dosing_is_ten_points_below_the_best_fixed_dose(
    warfarin: Scenario, clinic: Intake, best_fixed: NDArray[np.float64]
) -> None:
    treatment, rng, total = Treatment(warfarin, clinic), np.random.default_rng(0), np.zeros(N)
    while treatment.active.any():
        interval = treatment.give(rng.uniform(0, warfarin.doses.maximum, N))
        total += interval.benefit - warfarin.weight * interval.harm
    at_least(best_fixed, total, TEN_POINTS)


def test_best_fixed_dose_is_ten_points_below_bayesian_monitoring(
    warfarin: Scenario, treated: Treat, clinic: Intake, best_fixed: NDArray[np.float64]
) -> None:
    at_least(treated(regimen("bayesian", warfarin), clinic)[1], best_fixed, TEN_POINTS)


def test_response_rises_with_the_dose_from_none_to_three_times_the_typical(
    warfarin: Scenario, admitted: Callable[..., Intake]
) -> None:
    few = admitted(50, "textbook")
    # 65 years, *1/*1, GA: 5.85 mg/day (models.md 1.3)
    doses = np.round(np.linspace(0, 3 * 5.85, 13)[:11] * 2) / 2  # up to the cap of 15 mg
    courses = []
    for dose in doses:
        treatment = Treatment(warfarin, few)
        while treatment.active.any():
            treatment.give(np.full(50, dose))
        courses.append(treatment.truth)
    rise = np.diff(courses, axis=0)
    assert np.all(rise[:, :, 5:] > 0)  # every patient, every day from the fifth on


def test_steady_state_rises_with_the_dose_up_to_three_times_the_typical() -> None:
    person = typical({"age_y": 65, "baseline": 1.0}, {"cl_s_l_h": 0.348, "ec50_mg_l": 3.01})
    dose = np.array([maintenance_dose(person, target) for target in np.linspace(1.01, 10, 200)])
    assert np.all(np.diff(dose[:, 0]) > 0) and dose[-1, 0] > 3 * 5.85


def test_genotype_extremes_differ_in_dose_by_a_factor_of_8_8() -> None:
    # models.md 1.3, 65 years: GG *1/*1 7.97 mg/day, AA *3/*3 0.91 mg/day
    theta = typical({"age_y": 65, "baseline": 1.0}, {"cl_s_l_h": [0.348, 0.0844], "ec50_mg_l": [4.10, 1.92]})
    most, least = maintenance_dose(theta, 2.5)
    assert most / least == pytest.approx(8.8, abs=0.05)
    assert MODEL.genotype_terms[0].per_allele["*3"] < MODEL.genotype_terms[0].per_allele["*1"]


def test_insensitive_genotypes_gain_more_from_a_higher_dose(
    warfarin: Scenario, treated: Treat, clinic: Intake
) -> None:
    alleles = clinic.vector[:, warfarin.observation.names.index("vkorc1_A")]
    returns = {dose: treated(FixedDose(warfarin, dose), clinic)[1] for dose in (2.5, 6.0)}
    gain = returns[6.0] - returns[2.5]
    insensitive, sensitive = gain[alleles == 0], gain[alleles == 2]
    error = np.sqrt(insensitive.var(ddof=1) / len(insensitive) + sensitive.var(ddof=1) / len(sensitive))
    assert insensitive.mean() - sensitive.mean() > max(TEN_POINTS, 2 * error)


def monitored(name: str, patients: int) -> None:
    """Bayesian monitoring beats usual care, and the best fixed dose of these very patients by ten points."""
    known, noise = scenario(name), Noise("select", 7)
    arms = ("clinical-nomogram", "bayesian")
    fixed, result = compared(known, arms, patients, noise, known.preset("clinic"))
    bayesian = result.arm("bayesian").returns
    at_least(bayesian, result.arm("clinical-nomogram").returns, 0.0)
    at_least(bayesian, result.arm(fixed).returns, TEN_POINTS)


@pytest.mark.parametrize("name", ["busulfan", "tacrolimus", "vancomycin"])
def test_monitoring_beats_usual_care_and_the_best_fixed_dose(name: str) -> None:
    monitored(name, 80)


@pytest.mark.slow  # three light drugs above are its small form
@pytest.mark.parametrize("name", ["docetaxel", "efavirenz", "phenytoin", "propofol", "voriconazole"])
def test_monitoring_beats_usual_care_and_the_best_fixed_dose_of_the_other_drugs(name: str) -> None:
    monitored(name, 60 if name == "propofol" else 150)
