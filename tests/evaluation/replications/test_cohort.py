"""Who takes part: stated marginals (trials.md 2 and 4), and people who differ by hidden variants alone."""

import numpy as np
import pytest

from dosewright.envs import Noise, VirtualPopulation
from dosewright.evaluation.replications import coag, eu_pact
from dosewright.evaluation.replications.cohort import HiddenVariants

N = 4000
IDS, NOISE = np.arange(N), Noise("trial", 7)


# stated: age, weight, share of men, smokers (None: not known), thrombosis; frequencies of *2, *3 and VKORC1 A
@pytest.mark.parametrize(
    ("population", "age", "weight", "men", "smokers", "thrombosis", "star2", "star3", "a"),
    [
        (eu_pact.POPULATION, (67.3, 13.7), (82, 17), 0.61, None, 0.279, 0.127, 0.069, 0.39),
        (coag.NON_BLACK, (59, 15), (89, 22), 0.54, 0.10, 0.56, 0.127, 0.069, 0.39),
        (coag.BLACK, (54, 15), (94, 24), 0.43, 0.16, 0.56, 0.022, 0.013, 0.10),
    ],
)
def test_marginals(
    population: VirtualPopulation, age: tuple[float, float], weight: tuple[float, float], men: float,
    smokers: float | None, thrombosis: float, star2: float, star3: float, a: float,
) -> None:  # fmt: skip
    scenario = coag.SCENARIO
    people = population.draw(scenario.model, scenario.base, IDS, NOISE)
    known = people.covariates
    # four standard errors; clipping moves mean and SD by less than 0.5
    for name, (mean, sd) in {"age_y": age, "weight_kg": weight}.items():
        assert known[name].mean() == pytest.approx(mean, abs=0.5 + 4 * sd / np.sqrt(N))
        assert known[name].std() == pytest.approx(sd, rel=0.08)
    assert known["height_cm"][known["male"] == 1].mean() == pytest.approx(176, abs=0.6)
    assert known["height_cm"][known["male"] == 0].mean() == pytest.approx(163, abs=0.7)
    shares = {"male": men, "dvt_or_pe": thrombosis} | ({} if smokers is None else {"smoker": smokers})
    for name, share in shares.items():
        assert known[name].mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / N))
    assert smokers is not None or np.isnan(known["smoker"]).all()
    for gene, allele, frequency in (("CYP2C9", "*2", star2), ("CYP2C9", "*3", star3), ("VKORC1", "A", a)):
        found = np.char.count(people.genotypes[gene], allele).mean() / 2
        assert found == pytest.approx(frequency, abs=4 * np.sqrt(frequency * (1 - frequency) / (2 * N)))
    # Mosteller: 180 cm and 80 kg are 2 m²
    surface = known["bsa_m2"] ** 2 * 3600
    assert surface == pytest.approx(known["height_cm"] * known["weight_kg"])


def test_genotype_is_in_time_for_45_per_cent_of_coag() -> None:
    people = coag.BLACK.draw(coag.SCENARIO.model, coag.SCENARIO.base, IDS, NOISE)
    assert people.covariates["genotype_in_time"].mean() == pytest.approx(0.45, abs=0.03)


def test_hidden_variants_change_clearance_and_nothing_else() -> None:
    model, base = coag.SCENARIO.model, coag.SCENARIO.base
    without = coag.BLACK.draw(model, base, IDS, NOISE)
    carrying = HiddenVariants(coag.BLACK).draw(model, base, IDS, NOISE)
    alleles = {
        name: without.covariates[f"{name}_maternal"] + without.covariates[f"{name}_paternal"]
        for name in ("hidden_cyp2c9", "rs12777823_a")
    }
    # trials.md 4: frequencies 0.093 and 0.24, × 0.7 and × 0.87 per allele
    assert alleles["hidden_cyp2c9"].mean() / 2 == pytest.approx(0.093, abs=0.013)
    assert alleles["rs12777823_a"].mean() / 2 == pytest.approx(0.24, abs=0.02)
    clearance = model.column("CL")
    ratio = carrying.theta[:, clearance] / without.theta[:, clearance]
    assert ratio == pytest.approx(0.7 ** alleles["hidden_cyp2c9"] * 0.87 ** alleles["rs12777823_a"])
    assert len(np.unique(np.round(ratio, 6))) == 9  # 0, 1 or 2 of each
    others = np.delete(np.arange(without.theta.shape[1]), clearance)
    assert np.array_equal(carrying.theta[:, others], without.theta[:, others])
    assert np.array_equal(carrying.genotypes["CYP2C9"], without.genotypes["CYP2C9"])


def test_lives_are_those_of_the_scenario_whenever_a_trial_ends() -> None:
    # models.md 18: the share who meet an interacting drug is that of warfarin's horizon, 90 days
    for trial in (eu_pact, coag):
        assert trial.SCENARIO.horizon == 90
        assert trial.SCENARIO.calendar == tuple(range(90))
