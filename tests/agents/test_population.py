"""The population by EM over likelihood factors, against answers that are known without EM and particles."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from dosewright.agents.estimation import LikelihoodFactor, known_people, prior
from dosewright.agents.estimation.population import (
    SPREAD,
    WORTH,
    Evidence,
    GroupTerm,
    Moments,
    Refit,
    RefittedPopulation,
    candidates,
    reference,
)
from dosewright.agents.estimation.prior import alternatives, scales, unknowns
from dosewright.agents.estimation.prior import names as unknown_names
from dosewright.envs import Intake, Noise, Scenario, Treatment, scenario
from dosewright.envs import names as drugs

Floats = NDArray[np.float64]

DRUG = scenario("phenytoin")  # two unknowns: log Vmax and log Km
PUBLISHED = RefittedPopulation.published(DRUG)
OMEGA = PUBLISHED.omega
SD = np.sqrt(np.diag(OMEGA))
TERMS = candidates(DRUG)
MALE = GroupTerm(("male",))
ANY = -1e9  # threshold: a group is taken in however little says for it


# ---------------------------------------------------------------- patients whose likelihood is normal


def log_normal(mean: Floats, covariance: Any, at: Floats) -> Floats:
    return np.asarray(multivariate_normal(mean, covariance).logpdf(at))


@dataclass(frozen=True)
class Normal:
    """n patients of whom y (n, d) = what is expected in their alternative + effects + noise is measured."""

    y: Floats
    noise: Floats  # (n, d, d)
    groups: Floats  # (n, c, t)
    centres: Floats  # (n, c, d)
    share: Floats  # (n, c)

    def evidence(self, nodes: int = 12) -> Evidence:
        """Factors whose particles are nodes of Gauss–Hermite quadrature: their sums are integrals, without
        Monte Carlo error."""
        x, w = hermegauss(nodes)
        grid = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
        log_w = np.log(np.outer(w, w).ravel() / w.sum() ** 2)
        n = len(self.y)
        eta, log_likelihood, log_reference = (np.zeros((n, len(grid), *more)) for more in ((2,), (), ()))
        for i in range(n):
            middle, wide = self._proposal(i)
            eta[i] = middle + grid @ np.linalg.cholesky(wide).T
            log_likelihood[i] = log_normal(self.y[i], self.noise[i], eta[i])
            log_reference[i] = log_normal(middle, wide, eta[i]) - log_w
        with np.errstate(divide="ignore"):
            log_share = np.log(self.share)
        factor = LikelihoodFactor(
            PUBLISHED.names, eta, log_likelihood, log_reference, np.zeros(n), self.centres, log_share
        )
        return Evidence(factor, self.groups, TERMS[: self.groups.shape[2]], np.ones(n))

    def _proposal(self, i: int) -> tuple[Floats, Floats]:
        """Return a normal distribution that covers what populations near the published one believe."""
        spread = 1.5 * np.linalg.inv(np.linalg.inv(self.noise[i]) + np.linalg.inv(1.5 * OMEGA))
        return self.y[i], spread

    def marginal(self, population: RefittedPopulation, i: int, a: int) -> float:
        """Log density of a patient's y in an alternative, times its probability."""
        if self.share[i, a] == 0:
            return -math.inf
        z = self.design(population, i, a)
        middle, spread = self.centres[i, a] + z @ population.coefficients, population.omega + self.noise[i]
        return float(log_normal(middle, spread, self.y[i])) + math.log(self.share[i, a])

    def design(self, population: RefittedPopulation, i: int, a: int) -> Floats:
        return np.array([1.0, *(self.groups[i, a, TERMS.index(term)] for term in population.terms)])

    def log_marginal(self, population: RefittedPopulation) -> float:
        many = self.share.shape[1]
        return math.fsum(
            float(np.asarray(logsumexp([self.marginal(population, i, a) for a in range(many)])))
            for i in range(len(self.y))
        )


def cohort(
    n: int,
    seed: int,
    shift: tuple[float, float] = (-0.5, 0.3),
    contrast: tuple[float, float] = (0.0, 0.0),
    noise: float = 0.3,
    terms: int = 1,
) -> Normal:
    """Patients with a shift, and one of the first group, in published SD; noise in published variances."""
    rng = np.random.default_rng(seed)
    groups = (rng.random((n, 1, terms)) < 0.4).astype(np.float64)
    truth = SD * (np.array(shift) + groups[:, 0, :1] * np.array(contrast))
    spread = np.array([(noise * (0.5 + rng.random())) * OMEGA for _ in range(n)])
    effects = truth + rng.multivariate_normal(np.zeros(2), 0.7 * OMEGA, n)
    y = effects + np.stack([rng.multivariate_normal(np.zeros(2), item) for item in spread])
    return Normal(y, spread, groups, np.zeros((n, 1, 2)), np.ones((n, 1)))


def maximum(
    people: Normal, terms: tuple[GroupTerm, ...], worth: float, spread: float
) -> tuple[Floats, Floats, float]:
    """Return coefficients, Ω and the value at the maximum of the penalised marginal likelihood: as it is
    documented, a g-prior of `worth` patients on the shifts, an inverse Wishart of `spread` on Ω."""
    design = np.stack([people.design(replace(PUBLISHED, terms=terms), i, 0) for i in range(len(people.y))])
    g, n = design.shape[1], len(design)
    pseudo = worth / n * design.T @ design

    def value(coefficients: Floats, omega: Floats) -> float:
        variance = omega + people.noise
        apart = people.y - design @ coefficients
        z = np.linalg.solve(variance, apart[..., None])[..., 0]
        own = -0.5 * (np.linalg.slogdet(variance)[1] + np.einsum("nd,nd->n", apart, z)).sum()
        scatter = spread * OMEGA + coefficients.T @ pseudo @ coefficients
        there = spread * np.linalg.slogdet(omega)[1] + np.trace(np.linalg.solve(omega, scatter))
        return float(own - 0.5 * there)

    def unpacked(x: Floats) -> tuple[Floats, Floats]:
        root = np.array([[math.exp(x[-3]), 0.0], [x[-2], math.exp(x[-1])]])
        scaled = SD[:, None] * (root @ root.T) * SD
        return SD * x[: 2 * g].reshape(g, 2), scaled

    found = minimize(
        lambda x: -value(*unpacked(x)), np.zeros(2 * g + 3), method="BFGS", options={"gtol": 1e-7}
    )
    coefficients, omega = unpacked(found.x)
    return coefficients, omega, value(coefficients, omega)


@pytest.mark.parametrize(
    ("worth", "spread", "terms"),
    [(WORTH, SPREAD, ()), (3.0, 3.0, ()), (WORTH, WORTH, (MALE,)), (5.0, 60.0, (MALE,))],
)
def test_em_ends_at_the_maximum_of_the_penalised_marginal_likelihood(
    worth: float, spread: float, terms: tuple[GroupTerm, ...]
) -> None:
    people = cohort(50, 1, contrast=(0.8, 0.0))
    refit = Refit(DRUG, worth, spread, ANY if terms else math.inf)
    found = refit.fit([people.evidence()], terms)
    assert found.terms == terms and found.patients == 50
    coefficients, omega, _ = maximum(people, terms, worth, spread)
    # EM ends when a round moves a shift by less than 1e-5 SD; it gains half of what is left a round
    assert (found.coefficients / SD) == pytest.approx(coefficients / SD, abs=1e-4)
    assert (found.omega / np.outer(SD, SD)) == pytest.approx(omega / np.outer(SD, SD), abs=3e-4)


def test_the_published_model_counts_for_as_many_patients_as_it_is_worth() -> None:
    """With exact effects the answer is arithmetic: mean n/(n + worth) of the patients', and their scatter."""
    n, worth, rng = 30, 10.0, np.random.default_rng(2)
    effects = rng.multivariate_normal(-SD, OMEGA, n)
    factor = LikelihoodFactor(
        PUBLISHED.names, effects[:, None], np.zeros((n, 1)), np.zeros((n, 1)), np.zeros(n),
        np.zeros((n, 1, 2)), np.zeros((n, 1)),
    )  # fmt: skip
    found = Refit(DRUG, worth, worth, math.inf).fit([Evidence(factor, np.zeros((n, 1, 0)), (), np.ones(n))])
    mean = effects.sum(axis=0) / (n + worth)
    apart, pseudo = effects - mean, worth * (OMEGA + np.outer(mean, mean))
    assert found.shift == pytest.approx(mean, rel=1e-12)
    assert found.omega == pytest.approx((apart.T @ apart + pseudo) / (n + worth), rel=1e-12)


def test_many_patients_outweigh_the_published_model() -> None:
    few, many = (Refit(DRUG, threshold=math.inf).fit([cohort(n, 3).evidence(8)]).shift / SD for n in (8, 800))
    assert few[0] == pytest.approx(-0.5 * 8 / 28, abs=0.25)
    assert many == pytest.approx([-0.5, 0.3], abs=0.1)  # 800 patients: SE 0.035


def test_moments_and_marginal_likelihood_are_those_of_normal_theory() -> None:
    people = cohort(6, 4)
    population = replace(
        PUBLISHED, shift=-0.3 * SD, terms=(MALE,), contrasts=np.array([[0.2, -0.1]]) * SD, omega=0.8 * OMEGA,
        log_bayes_factor=(0.0,),
    )  # fmt: skip
    found = people.evidence(20).moments(population)
    assert found.log_marginal == pytest.approx(people.log_marginal(population), abs=1e-7)
    assert_moments(found, people, population)


def assert_moments(found: Moments, people: Normal, population: RefittedPopulation, rel: float = 1e-6) -> None:
    """Assert that moments are those of all patients and alternatives enumerated, each a normal posterior."""
    g = 1 + len(population.terms)
    design, cross, square = np.zeros((g, g)), np.zeros((g, 2)), np.zeros((2, 2))
    for i in range(len(people.y)):
        logs = np.array([people.marginal(population, i, a) for a in range(people.share.shape[1])])
        for a, chance in enumerate(np.exp(logs - logsumexp(logs))):
            z = people.design(population, i, a)
            precision, inner = np.linalg.inv(population.omega), np.linalg.inv(people.noise[i])
            variance = np.linalg.inv(precision + inner)
            measured = people.y[i] - people.centres[i, a]
            mean = variance @ (precision @ (z @ population.coefficients) + inner @ measured)
            design += chance * np.outer(z, z)
            cross += chance * np.outer(z, mean)
            square += chance * (variance + np.outer(mean, mean))
    assert found.design == pytest.approx(design, rel=rel)
    assert found.cross == pytest.approx(cross, rel=rel, abs=1e-9)
    assert found.square == pytest.approx(square, rel=rel, abs=1e-9)


# ------------------------------------------------------------------------------------------- unknown genotype


def undetermined(n: int, seed: int) -> Normal:
    """Patients with up to three alternatives each, which differ in what is expected and in membership."""
    known, rng = cohort(n, seed, terms=4), np.random.default_rng(seed)
    centres = np.zeros((n, 3, 2))
    centres[:, 1:] = SD * rng.normal(scale=0.5, size=(n, 2, 2))
    share = rng.dirichlet([2, 2, 2], n)
    share[0] = [1.0, 0.0, 0.0]  # who has one
    share[1] /= share[1, :2].sum()
    share[1, 2] = 0.0
    groups = np.repeat(known.groups, 3, axis=1)
    groups[:, 1, 2] = 1 - groups[:, 0, 2]
    return Normal(known.y, known.noise, groups, centres, share)


def test_an_unknown_genotype_is_a_mixture_over_its_alternatives() -> None:
    people = undetermined(5, 5)
    gene = TERMS[2]
    assert gene.effect and not gene.covariates
    population = replace(
        PUBLISHED, shift=-0.3 * SD, terms=(gene,), contrasts=np.array([[0.6, -0.4]]) * SD, omega=0.8 * OMEGA
    )
    found = people.evidence(30).moments(population)
    assert found.log_marginal == pytest.approx(people.log_marginal(population), abs=1e-6)
    assert_moments(found, people, population, rel=1e-5)
    # the memberships are believed and not known
    assert 0 < found.design[0, 1] < found.design[0, 0] == pytest.approx(5, rel=1e-12)


def test_reweighted_factors_of_an_unknown_genotype_integrate_over_its_alternatives() -> None:
    people = undetermined(5, 6)
    mean, omega = 0.2 * SD, 0.9 * OMEGA
    population = replace(PUBLISHED, shift=mean, omega=omega)
    factor = people.evidence(30).factor
    found = factor.reweighted(mean, omega)
    for i in range(5):
        logs = np.array([people.marginal(population, i, a) for a in range(3)])
        # `log_marginal` is a mean over particles, and these have their weights in `log_reference`
        assert found.log_marginal[i] + math.log(30**2) == pytest.approx(logsumexp(logs), abs=1e-6)
        gain = np.linalg.solve(omega + people.noise[i], omega).T
        expected = [c + mean + gain @ (people.y[i] - c - mean) for c in people.centres[i]]
        posterior = np.exp(logs - logsumexp(logs)) @ np.array(expected)
        assert found.mean_sd()[0][i] == pytest.approx(posterior, abs=1e-6)


def test_alternatives_without_probability_change_nothing() -> None:
    evidence = cohort(5, 7).evidence()
    population = replace(PUBLISHED, shift=-0.3 * SD)
    padded = replace(
        evidence, factor=evidence.factor.padded(4), groups=np.pad(evidence.groups, ((0, 0), (0, 3), (0, 0)))
    )
    before, after = evidence.moments(population), padded.moments(population)
    for name in ("patients", "design", "cross", "square", "log_marginal"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-13)
    only = padded.select([2])
    assert only.factor.centres.shape == (1, 1, 2) and only.groups.shape == (1, 1, 1)
    assert np.array_equal(only.factor.eta, evidence.factor.eta[[2]])


# ------------------------------------------------------------------------------------------------- groups


@pytest.fixture(scope="module")
def with_group() -> tuple[Normal, RefittedPopulation, RefittedPopulation]:
    """Patients of whom 40 % need more; the populations with and without that group."""
    people = cohort(150, 11, contrast=(1.2, -0.6), terms=4)
    evidence = people.evidence(8)
    return people, Refit(DRUG).fit([evidence]), Refit(DRUG, threshold=math.inf).fit([evidence])


def test_a_group_that_differs_is_found_with_its_contrast(
    with_group: tuple[Normal, RefittedPopulation, RefittedPopulation],
) -> None:
    _, found, _ = with_group
    assert found.terms == (MALE,)
    # of 150 patients with variance 0.7 and noise 0.3: SE 0.17; the published model takes 20 of 170 of it
    assert found.contrasts[0] / SD == pytest.approx(np.array([1.2, -0.6]) * 150 / 170, abs=0.4)


def test_the_bayes_factor_is_half_the_difference_of_the_bic(
    with_group: tuple[Normal, RefittedPopulation, RefittedPopulation],
) -> None:
    people, found, without = with_group
    gain = people.log_marginal(found) - people.log_marginal(without) - 0.5 * 2 * math.log(150)
    assert found.log_bayes_factor == pytest.approx((gain,), abs=1e-3)
    evidence = people.evidence(8)
    for threshold, taken in ((gain - 0.01, 1), (gain + 0.01, 0)):
        assert len(Refit(DRUG, threshold=threshold).fit([evidence]).terms) == taken


def test_groups_are_taken_where_there_are_some_and_only_there() -> None:
    refit, right, wrong = Refit(DRUG), 0, 0
    for seed in range(20):
        right += refit.fit([cohort(100, seed, contrast=(1.2, 0.0), terms=4).evidence(6)]).terms == (MALE,)
        wrong += refit.fit([cohort(100, 100 + seed, terms=4).evidence(6)]).terms != ()
    # twice the gain in log likelihood is χ² of 2 degrees, noncentral by 100 × 0.4 × 0.6 × 1.2² = 35 where a
    # group differs: above 2 (5 + log 100) = 19.2 in 94 %; where none does, in 7e-5 for each of four groups
    assert right >= 14 and wrong == 0


def test_the_group_with_most_evidence_is_taken_in_first() -> None:
    people = cohort(80, 19, contrast=(1.2, 0.0), terms=4)
    for place in (1, 3):
        # the group that differs stands at another place
        order = [place if i == 0 else 0 if i == place else i for i in range(4)]
        moved = replace(people, groups=people.groups[:, :, order])
        found = Refit(DRUG, threshold=ANY).fit([moved.evidence(6)])
        assert len(found.terms) == 4 and found.terms[0] == TERMS[place]
        assert found.log_bayes_factor[0] == max(found.log_bayes_factor) > 5 > found.log_bayes_factor[1]


def test_a_group_of_few_or_one_that_is_another_one_is_not_asked() -> None:
    people, two = cohort(60, 12, contrast=(3.0, 0.0), terms=2), TERMS[:2]
    few = people.groups.copy()
    few[:, 0, 0] = np.arange(60) < 9
    twice = people.groups.copy()
    twice[:, 0, 1] = twice[:, 0, 0]
    refit = Refit(DRUG, threshold=ANY)
    assert refit.fit([replace(people, groups=few).evidence(6)], two).terms == TERMS[1:2]
    assert refit.fit([replace(people, groups=1 - few).evidence(6)], two).terms == TERMS[1:2]
    assert len(refit.fit([replace(people, groups=twice).evidence(6)], two).terms) == 1
    assert len(refit.fit([people.evidence(6)], two).terms) == 2


# ---------------------------------------------------------------------------------- places, and time


def test_several_sites_are_one_place() -> None:
    evidence = undetermined(60, 13).evidence(8)
    parts = [evidence.select(np.arange(first, first + 12)) for first in range(0, 60, 12)]
    refit = Refit(DRUG, threshold=0.0)
    pooled, apart = refit.fit([evidence]), refit.fit(parts)
    assert apart.terms == pooled.terms
    assert apart.coefficients == pytest.approx(pooled.coefficients, abs=1e-11)
    assert apart.omega == pytest.approx(pooled.omega, abs=1e-11)
    again = Evidence.joined(parts).moments(PUBLISHED)
    assert again.square == pytest.approx(evidence.moments(PUBLISHED).square, rel=1e-13)


def test_a_patient_who_is_left_out_was_never_there() -> None:
    evidence = undetermined(40, 14).evidence(6)
    one_by_one = [evidence.select([i]) for i in range(40)]
    refit = Refit(DRUG, threshold=-1.0)
    for gone in (0, 17):
        others = [i for i in range(40) if i != gone]
        kept = refit.fit([evidence.select(others)])
        never = refit.fit([Evidence.joined([one_by_one[i] for i in others])])
        assert kept.record() == never.record()
        assert kept.record() != refit.fit([evidence]).record()


def test_patients_fade_by_half_in_a_half_life() -> None:
    evidence = cohort(4, 15).evidence()
    faded = evidence.fading([0.0, 30.0, 60.0, 45.0], 30.0)
    assert faded.weight == pytest.approx([1.0, 0.5, 0.25, 2**-1.5], rel=1e-15)
    assert faded.fading([30.0, 0.0, 0.0, 0.0], 30.0).weight[0] == 0.5
    moments = faded.moments(PUBLISHED)
    singly = [evidence.select([i]).moments(PUBLISHED) for i in range(4)]
    for name in ("patients", "design", "cross", "square", "log_marginal"):
        weighted = sum(w * getattr(item, name) for w, item in zip(faded.weight, singly, strict=True))
        assert getattr(moments, name) == pytest.approx(weighted, rel=1e-12)


def test_a_patient_who_counts_for_nothing_is_absent() -> None:
    evidence = cohort(30, 16).evidence(8)
    refit = Refit(DRUG, threshold=math.inf)
    silent = refit.fit([replace(evidence, weight=np.array([0.0] * 5 + [1.0] * 25))])
    absent = refit.fit([evidence.select(np.arange(5, 30))])
    assert silent.patients == absent.patients == 25
    assert silent.shift == pytest.approx(absent.shift, rel=1e-12)
    assert silent.omega == pytest.approx(absent.omega, rel=1e-12)


# ------------------------------------------------------------------------------------- the refitted scenario


def admitted(known: Scenario, n: int) -> tuple[Intake, NDArray[np.float32]]:
    """The first n patients of a scenario, and what is seen of them at the first visit."""
    noise, ids = Noise("select", 5), np.arange(n)
    people = known.population.draw(known.model, known.base, ids, noise)
    intake = Intake.prepare(known, people, noise, known.preset("textbook"))
    return intake, Treatment(known, intake).observe()


def changed(known: Scenario) -> RefittedPopulation:
    """A population with a shift of every unknown, all groups, and a wider covariance."""
    published, terms = RefittedPopulation.published(known), candidates(known)
    sd, d = np.sqrt(np.diag(published.omega)), len(published.names)
    steps = np.linspace(-0.2, 0.3, d)
    return replace(
        published,
        shift=sd * np.linspace(0.5, -0.7, d),
        terms=terms,
        contrasts=sd * np.array([steps * (1 + number) for number in range(len(terms))]).reshape(-1, d),
        omega=1.3 * published.omega,
        log_bayes_factor=(6.0,) * len(terms),
    )


@pytest.mark.parametrize("drug", drugs())
def test_every_scenario_can_be_refitted_to_itself(drug: str) -> None:
    known = scenario(drug)
    _, seen = admitted(known, 40)
    people = known_people(known, seen)
    same = RefittedPopulation.published(known).scenario(known)
    before, after = prior(known, people), prior(same, people)
    for name in ("mean", "covariance", "theta", "log_weight"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-12, abs=1e-12)
    assert same.base == pytest.approx(known.base) and unknown_names(same) == unknown_names(known)
    wide = prior(reference(known), people)
    assert wide.covariance == pytest.approx(4 * before.covariance, rel=1e-12)


@pytest.mark.parametrize("drug", drugs())
def test_the_prior_moves_by_the_shift_and_the_contrasts_of_a_persons_groups(drug: str) -> None:
    known = scenario(drug)
    population = changed(known)
    _, seen = admitted(known, 40)
    people = known_people(known, seen)
    before, after = prior(known, people), prior(population.scenario(known), people)
    ((effects, _),) = alternatives(known, people)
    moved = np.repeat(population.shift[None], 40, axis=0)
    for term, contrast in zip(population.terms, population.contrasts, strict=True):
        moved += term.members(known.model, people, effects)[:, None] * contrast
    assert after.mean[:, 0] - before.mean[:, 0] == pytest.approx(moved, rel=1e-9, abs=1e-9)
    assert after.covariance == pytest.approx(population.omega, rel=1e-12)
    assert "logit" in scales(known) or drug != "voriconazole"


def test_groups_are_those_of_the_covariates_and_the_diplotypes(warfarin: Scenario) -> None:
    intake, seen = admitted(warfarin, 200)
    people, patients = known_people(warfarin, seen), intake.patients
    ((effects, _),) = alternatives(warfarin, people)
    black = patients.covariates["race_black"] == 1
    # *6, *8 and *11 are read by their function, *73 as *1: nobody knows it
    carrier = ~np.isin(patients.genotypes["CYP2C9"], ["*1/*1", "*1/*73"])
    sensitive = patients.genotypes["VKORC1"] != "GG"
    for term, inside in (
        (GroupTerm(("race_black",)), black),
        (GroupTerm((), "cl_s_l_h"), carrier),
        (GroupTerm(("race_black",), "ec50_mg_l"), black & sensitive),
    ):
        assert term in candidates(warfarin)
        assert 5 < inside.sum() < 195
        assert np.array_equal(term.members(warfarin.model, people, effects), inside)
    assert GroupTerm(("race_black",), "cl_s_l_h").name == "race_black × cl_s_l_h"


def test_a_genotype_that_is_not_known_has_its_groups_in_every_alternative(
    warfarin: Scenario, observed: Callable[..., np.ndarray]
) -> None:
    seen = observed(**{"cyp2c9_*2": np.nan, "cyp2c9_*3": np.nan})
    people = known_people(warfarin, seen)
    population = changed(warfarin)
    before, after = prior(warfarin, people), prior(population.scenario(warfarin), people)
    options = alternatives(warfarin, people)
    assert len(options) == before.mean.shape[1] == 6  # pairs of *1, *2 and *3
    usual = options[0][0]["cl_s_l_h"]
    for a, (effects, _) in enumerate(options):
        inside = [
            float(all(people[name][0] == 1 for name in term.covariates))
            * float(not term.effect or (term.effect == "cl_s_l_h" and effects["cl_s_l_h"][0] != usual[0]))
            for term in population.terms
        ]
        moved = population.shift + inside @ population.contrasts
        assert (after.mean - before.mean)[0, a] == pytest.approx(moved, abs=1e-12)
    assert len({tuple(row) for row in np.round(after.mean - before.mean, 9)[0]}) == 2


@pytest.mark.parametrize("drug", ["warfarin", "voriconazole", "mercaptopurine"])
def test_simulated_patients_have_the_refitted_mean_and_covariance(drug: str) -> None:
    known, n = scenario(drug), 4000
    population = changed(known)
    refitted, noise, ids = population.scenario(known), Noise("select", 6), np.arange(n)
    drawn = refitted.population.draw(refitted.model, refitted.base, ids, noise)
    plain = known.population.draw(known.model, known.base, ids, noise)
    before = known_prior_of(known, n, noise)
    ((effects, _),) = alternatives(known, before[0])
    moved = np.repeat(population.shift[None], n, axis=0)
    for term, contrast in zip(population.terms, population.contrasts, strict=True):
        moved += term.members(known.model, before[0], effects)[:, None] * contrast
    apart = unknowns(refitted, drawn.theta) - before[1] - moved
    d = apart.shape[1]
    sd = np.sqrt(np.diag(population.omega))
    assert apart.mean(axis=0) / sd == pytest.approx(np.zeros(d), abs=4 / math.sqrt(n))
    assert np.cov(apart.T) / np.outer(sd, sd) == pytest.approx(
        population.omega / np.outer(sd, sd), abs=5 * math.sqrt(2 / n)
    )
    # the same people, further from what is expected of them
    ratio = apart / (unknowns(known, plain.theta) - before[1])
    assert ratio == pytest.approx(math.sqrt(1.3), rel=1e-6)


def known_prior_of(known: Scenario, n: int, noise: Noise) -> tuple[dict[str, Floats], Floats]:
    """What is known of the first n patients of a noise, and what the published model expects of them."""
    people = known.population.draw(known.model, known.base, np.arange(n), noise)
    seen = Treatment(known, Intake.prepare(known, people, noise, known.preset("textbook"))).observe()
    found = known_people(known, seen)
    # entries of an observation are rounded to single precision
    found |= {name: people.covariates[name] for name in found if name in people.covariates}
    return found, prior(known, found).mean[:, 0]


# ------------------------------------------------------------------------------------- records and refusals


def test_a_record_gives_the_same_population_back_to_the_last_bit() -> None:
    found = Refit(DRUG, threshold=ANY).fit([cohort(40, 17, terms=4).evidence(6)])
    assert len(found.terms) == 4
    again = RefittedPopulation.parse(json.loads(json.dumps(found.record())))
    for name in ("shift", "contrasts", "omega"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    assert (again.terms, again.log_bayes_factor) == (found.terms, found.log_bayes_factor)
    assert (again.drug, again.version, again.names) == ("phenytoin", DRUG.version, PUBLISHED.names)
    assert again.patients == 40 and again.record() == found.record()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema 2; this version reads 1"),
        ({"omega": None}, "broken"),
        ({"omega": [[1.0]]}, "broken"),
        ({"omega": [[1.0, 2.0], [2.0, 1.0]]}, "omega is no covariance"),
        ({"omega": [[1.0, 0.1], [0.2, 1.0]]}, "omega is no covariance"),
        ({"shift": [math.nan, 0.0]}, "coefficients is not finite"),
        ({"patients": math.inf}, "patients is not finite"),
        (
            {"terms": [{"covariates": ["male"], "effect": ""}], "contrasts": [[0.0, 0.0]]},
            "'log_bayes_factor' is missing",
        ),
        ({"terms": [{"covariates": ["male"], "effect": "", "log_bayes_factor": 5.0}]}, "broken"),
    ],
)
def test_broken_records_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RefittedPopulation.parse(PUBLISHED.record() | change)


def test_a_record_that_lacks_a_field_is_refused_by_its_name() -> None:
    for name in ("drug", "scenario_version", "names", "shift", "terms", "contrasts", "omega", "patients"):
        record = {key: value for key, value in PUBLISHED.record().items() if key != name}
        with pytest.raises(ValueError, match=f"population record is broken \\('{name}' is missing\\)"):
            RefittedPopulation.parse(record)


def test_a_population_is_of_one_scenario_version(warfarin: Scenario) -> None:
    with pytest.raises(ValueError, match="population of phenytoin version 0; this is warfarin version 0"):
        PUBLISHED.scenario(warfarin)
    with pytest.raises(ValueError, match="version 7; this is phenytoin version 0"):
        replace(PUBLISHED, version=7).scenario(DRUG)
    with pytest.raises(ValueError, match="log CL.*the model of phenytoin has log Vmax, log Km"):
        replace(PUBLISHED, names=("log CL", "log Km")).scenario(DRUG)
    for term in (GroupTerm(("tall",)), GroupTerm((), "no_gene")):
        strange = replace(PUBLISHED, terms=(term,), contrasts=np.zeros((1, 2)), log_bayes_factor=(6.0,))
        with pytest.raises(ValueError, match=f"group '{term.name}': phenytoin tells apart male"):
            strange.scenario(DRUG)


def test_what_cannot_be_learned_from_is_refused() -> None:
    evidence = cohort(3, 18).evidence(4)
    for worth in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"worth = {worth}; expected a number of patients above 0"):
            Refit(DRUG, worth)
    with pytest.raises(ValueError, match="no site to ask"):
        Refit(DRUG).fit([])
    with pytest.raises(ValueError, match="no patient to learn a population from"):
        Refit(DRUG).fit([evidence.select([])])
    for half_life in (0.0, -2.0, math.nan):
        with pytest.raises(ValueError, match=f"half_life = {half_life}"):
            evidence.fading([1.0, 2.0, 3.0], half_life)
    for age in (-1.0, math.nan):
        with pytest.raises(ValueError, match=f"patient 1: age {age:g}; expected a time of 0 or more"):
            evidence.fading([1.0, age, 3.0], 2.0)
    with pytest.raises(ValueError, match="group 'japanese': this evidence tells apart male"):
        evidence.moments(replace(PUBLISHED, terms=(TERMS[1],), contrasts=np.zeros((1, 2))))
    with pytest.raises(ValueError, match="tells apart male, japanese.*tells apart male; join"):
        Evidence.joined([evidence, cohort(3, 18, terms=2).evidence(4)])
    with pytest.raises(ValueError, match="no factors to join"):
        Evidence.joined([])
    impossible = replace(evidence.factor, log_likelihood=np.full((3, 16), -np.inf))
    with pytest.raises(ValueError, match="patient 0: no particle"):
        replace(evidence, factor=impossible).moments(PUBLISHED)
