"""The belief against brute force, and what it must not depend on: arrival, company, and the order of
results."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.agents.estimation import Belief, BeliefFilter, known_people, prior
from dosewright.agents.regimens import Bayesian
from dosewright.envs import Intake, Regimen, Treatment, genotype_effects, scenario
from dosewright.envs.pharmacology import simulate
from dosewright.envs.pharmacology.models.warfarin_hamberg2010 import maintenance_dose, typical
from dosewright.pharmacogenomics import draw_diplotypes

Floats = NDArray[np.float64]
See = Callable[..., np.ndarray]
WARFARIN = scenario("warfarin")
LOG_SD = 0.19  # of the assay, models.md 1.1
VARIANCES = np.array([0.089, 0.054, 0.34])  # of log CL, V, EC50


def streams(intake: Intake, arm: Regimen, visits: int = 12) -> tuple[list[np.ndarray], Treatment]:
    """What is seen at the first `visits` visits under `arm`, and the patients."""
    treatment, state, seen = Treatment(WARFARIN, intake), None, []
    for _ in range(visits):
        seen.append(treatment.observe())
        dose, state = arm.predict(seen[-1], state)
        if treatment.active.any() and len(seen) < visits:
            treatment.give(dose)
    return seen, treatment


def believe(belief_filter: BeliefFilter, seen: list[np.ndarray]) -> Belief:
    belief = None
    for observation in seen:
        belief = belief_filter.step(belief, observation)
    assert belief is not None
    return belief


# ----------------------------------------------------------------------------------- posterior by brute force


@dataclass
class History:
    """One patient by hand: 65 years, *1/*1, GA; doses mg/day by visit and results of some days."""

    days: tuple[int, ...]
    doses: tuple[float, ...]
    inr: dict[int, float]

    def seen(self, observed: See) -> list[np.ndarray]:
        out = []
        for i, day in enumerate(self.days):
            entries: dict[str, Any] = {"day": float(day), "next_interval": 3.0, "vkorc1_A": 1.0}
            if i:
                entries |= {"last_dose": self.doses[i - 1], "interval": float(day - self.days[i - 1])}
            if day in self.inr:
                entries |= {"inr": self.inr[day], "inr_age": 0.0, "inr_new": 1.0}
            out.append(observed(**entries))
        return out

    def posterior(self, n: int = 200_000) -> tuple[float, float, float]:
        """Mean and SD of the log maintenance dose, and effective sample size, by weighting draws of the
        prior."""
        rng = np.random.default_rng(7)
        base = rng.normal(1.06, 0.08, n)
        theta = typical({"age_y": 65.0, "baseline": base}, {"cl_s_l_h": 0.348, "ec50_mg_l": 3.01})
        theta[:, [0, 1, 3]] *= np.exp(rng.normal(size=(n, 3)) * np.sqrt(VARIANCES))
        daily = [(24.0 * d, self.doses[sum(v <= d for v in self.days) - 1]) for d in range(self.days[-1])]
        times = np.array(sorted(self.inr))
        inr = simulate(WARFARIN.model, theta, daily, times * 24.0, ["INR"], "belief")[..., 0]
        z = (np.log([self.inr[t] for t in times]) - np.log(inr)) / LOG_SD
        log_weight = -0.5 * (z**2).sum(axis=1)
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        value = np.log(maintenance_dose(theta, 2.5))
        mean = float(weight @ value)
        return mean, math.sqrt(float(weight @ (value - mean) ** 2)), 1 / float(weight @ weight)


HISTORIES = {
    "as expected": History(
        (0, 3, 5, 7, 10, 14), (6, 6, 6, 6, 6), {0: 1.05, 3: 1.3, 5: 1.7, 7: 2.0, 10: 2.4, 14: 2.4}
    ),
    "sensitive": History((0, 3, 5, 7, 10), (6, 5, 2, 2), {0: 1.0, 3: 2.4, 5: 4.5, 7: 4.0, 10: 3.0}),
    "resistant": History(
        (0, 3, 5, 7, 10, 14), (6, 6, 8, 10, 12), {0: 1.1, 3: 1.05, 5: 1.2, 7: 1.3, 10: 1.5, 14: 1.8}
    ),
    "two results": History((0, 3, 5, 7), (6, 6, 6), {0: 1.0, 7: 2.6}),
}


# needs six times the usual dose
FAR = History(
    (0, 3, 5, 7, 10, 14, 21, 28, 42), (6, 9, 12, 15, 15, 15, 15, 15),
    {0: 1.1, 3: 1.1, 5: 1.05, 7: 1.1, 10: 1.2, 14: 1.25, 21: 1.35, 28: 1.3, 42: 1.35},
)  # fmt: skip


@pytest.mark.parametrize("particles", [128, 1024])
@pytest.mark.parametrize("name", HISTORIES)
def test_posterior_agrees_with_brute_force(observed: See, name: str, particles: int) -> None:
    mean, sd, effective = HISTORIES[name].posterior()
    assert effective > 2000  # the yardstick's own error is then below 0.03 SD
    belief_filter = BeliefFilter(WARFARIN, particles)
    belief = believe(belief_filter, HISTORIES[name].seen(observed))
    got, got_sd = (value[0] for value in belief_filter.maintenance_dose(belief))
    assert abs(got - mean) < 0.1 * sd and got_sd == pytest.approx(sd, rel=0.1)


@pytest.mark.slow  # a million draws; the histories above are its small form
def test_posterior_far_out_in_the_prior_agrees_with_brute_force(observed: See) -> None:
    # with 512 particles and more; 128 are 0.4 SD low there, and their SD 30 % small
    mean, sd, effective = FAR.posterior(1_000_000)
    assert effective > 1000
    for particles in (512, 1024):
        belief_filter = BeliefFilter(WARFARIN, particles)
        got, got_sd = (
            v[0] for v in belief_filter.maintenance_dose(believe(belief_filter, FAR.seen(observed)))
        )
        assert abs(got - mean) < 0.1 * sd and got_sd == pytest.approx(sd, rel=0.1)


def test_no_particle_is_run_where_nobody_is(observed: See) -> None:
    # a redraw's heavy tails reach where no solver follows; such a particle has no weight
    kept = BeliefFilter(WARFARIN, 1024)
    belief = believe(kept, FAR.seen(observed))
    before, impossible = belief.prior.log_density(belief.x)[0], np.isneginf(belief.log_likelihood[0])
    assert before.max() - before.min() < 32.0  # eight SD
    assert impossible.any() and not belief.weight[0, impossible].any()
    assert np.isfinite(belief.theta).all() and np.isfinite(belief.state).all()


def test_histories_cover_beliefs_with_and_without_particles_drawn_anew(observed: See) -> None:
    many = BeliefFilter(WARFARIN, 1024)
    anew = {
        name: believe(many, history.seen(observed)).log_ratio.any() for name, history in HISTORIES.items()
    }
    assert {name for name, happened in anew.items() if happened} == {"sensitive", "resistant"}


def test_results_narrow_the_belief_and_pull_it_towards_the_truth(observed: See) -> None:
    usual = BeliefFilter(WARFARIN)
    doses = {}
    for name, history in HISTORIES.items():
        seen = history.seen(observed)
        first, last = believe(usual, seen[:1]), believe(usual, seen)
        (_, before), (mean, after) = usual.maintenance_dose(first), usual.maintenance_dose(last)
        assert after[0] < 0.8 * before[0]
        doses[name] = math.exp(mean[0])
    assert doses["sensitive"] < 0.6 * doses["as expected"] < 0.6 * doses["resistant"]


def test_belief_is_calibrated_on_textbook_patients(admitted: Callable[..., Intake]) -> None:
    n = 1000
    intake = admitted(n, "textbook", seed=2)
    usual = Bayesian(WARFARIN, particles=64)
    seen, _ = streams(intake, usual, visits=8)  # to day 28
    mean, sd = usual.filter.maintenance_dose(believe(usual.filter, seen))
    truth = np.log(maintenance_dose(intake.patients.theta, 2.5))
    z = (truth - mean) / sd
    assert 0.9 < z.std() < 1.15
    assert abs(z.mean()) < 4 * z.std() / math.sqrt(n)
    assert np.mean(np.abs(z) < 1.96) == pytest.approx(0.95, abs=0.025)


# ----------------------------------------------------------------------------------------- arrival and fading


def late(history: History, observed: See, day: int) -> list[np.ndarray]:
    """The same history, but the result of `day` comes in at the next visit, as the older of two."""
    at = history.days.index(day)
    seen = History(history.days, history.doses, {d: v for d, v in history.inr.items() if d != day}).seen(
        observed
    )
    gap = float(history.days[at + 1] - day)
    WARFARIN.observation.write(seen[at + 1], "late_inr", [history.inr[day]])
    WARFARIN.observation.write(seen[at + 1], "late_inr_age", [gap])
    return seen


def test_late_result_counts_like_one_on_time(observed: See) -> None:
    history, many = HISTORIES["as expected"], BeliefFilter(WARFARIN, 1024)
    on_time = believe(many, history.seen(observed))
    postponed = believe(many, late(history, observed, 7))
    assert np.array_equal(on_time.x, postponed.x)  # nothing was drawn anew, so the particles are the same
    np.testing.assert_allclose(postponed.log_likelihood, on_time.log_likelihood, rtol=1e-12)
    np.testing.assert_array_equal(postponed.low, on_time.low)
    without = dict(history.inr)
    del without[7]
    less = believe(many, History(history.days, history.doses, without).seen(observed))
    assert many.maintenance_dose(less)[1] > many.maintenance_dose(on_time)[1]


def test_late_result_without_a_newer_one_counts_with_its_sampling_day(observed: See) -> None:
    history, many = HISTORIES["as expected"], BeliefFilter(WARFARIN, 1024)
    only = {d: v for d, v in history.inr.items() if d != 10}
    on_time = History(history.days, history.doses, only).seen(observed)
    postponed = History(history.days, history.doses, {d: v for d, v in only.items() if d != 7}).seen(observed)
    for entry, value in (("inr", history.inr[7]), ("inr_age", 3.0), ("inr_new", 1.0)):
        WARFARIN.observation.write(postponed[4], entry, [value])
    np.testing.assert_allclose(
        believe(many, postponed).log_likelihood, believe(many, on_time).log_likelihood, rtol=1e-12
    )


def test_late_result_counts_like_one_on_time_after_particles_are_drawn_anew(observed: See) -> None:
    history, many = HISTORIES["sensitive"], BeliefFilter(WARFARIN, 1024)
    on_time, postponed = believe(many, history.seen(observed)), believe(many, late(history, observed, 7))
    assert not np.array_equal(on_time.x, postponed.x)
    (mean, sd), (other, other_sd) = many.maintenance_dose(on_time), many.maintenance_dose(postponed)
    assert abs(mean[0] - other[0]) < 0.05 * sd[0] and other_sd[0] == pytest.approx(sd[0], rel=0.05)


def test_fading_gives_each_older_result_a_smaller_credit(observed: See) -> None:
    history = HISTORIES["two results"]
    full = History((0, 3, 5, 7), history.doses, {0: 1.0, 3: 1.3, 5: 1.9, 7: 2.6}).seen(observed)
    assert believe(BeliefFilter(WARFARIN, fade=0.9), full).credit[0, :4, 0] == pytest.approx(
        [0.729, 0.81, 0.9, 1.0]
    )
    assert believe(BeliefFilter(WARFARIN), full).credit[0, :4, 0].tolist() == [1.0] * 4
    # only results fade: a visit without one leaves the belief as it is
    assert believe(BeliefFilter(WARFARIN, fade=0.9), history.seen(observed)).credit[
        0, [0, 3], 0
    ] == pytest.approx([0.9, 1])


def test_faded_belief_is_wider_and_listens_to_the_newest_result(observed: See) -> None:
    calm = HISTORIES["as expected"]
    jump = History(calm.days, calm.doses, calm.inr | {14: 3.6}).seen(observed)
    change, width = {}, {}
    for fade in (1.0, 0.7):
        belief_filter = BeliefFilter(WARFARIN, 1024, fade)
        before, after = believe(belief_filter, jump[:-1]), believe(belief_filter, jump)
        change[fade] = (belief_filter.maintenance_dose(after)[0] - belief_filter.maintenance_dose(before)[0])[
            0
        ]
        width[fade] = belief_filter.maintenance_dose(after)[1]
    assert width[0.7] > width[1.0]
    assert change[0.7] < change[1.0] < 0


# ---------------------------------------------------------------------------------------------------- company


def identical(a: Belief, b: Belief) -> None:
    for field in fields(Belief):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if field.name != "prior":
            assert np.array_equal(one, other, equal_nan=True), field.name


@pytest.mark.parametrize("fade", [1.0, 0.9])
def test_belief_of_a_patient_does_not_depend_on_the_batch(
    admitted: Callable[..., Intake], fade: float
) -> None:
    n, arm = 24, Bayesian(WARFARIN, fade=fade)
    seen, _ = streams(admitted(n, "clinic"), arm)
    together = believe(arm.filter, seen)
    assert (together.log_ratio != 0).any()  # some were drawn anew
    for i in range(n):
        identical(together.select(np.array([i])), believe(arm.filter, [o[i : i + 1] for o in seen]))
    order = np.random.default_rng(0).permutation(n)
    identical(together.select(order), believe(arm.filter, [o[order] for o in seen]))


def test_a_patient_who_begins_in_the_middle_of_a_batch_begins_anew(admitted: Callable[..., Intake]) -> None:
    arm = Bayesian(WARFARIN)
    seen, _ = streams(admitted(8, "clinic"), arm, visits=6)
    first, rest = [o[:4] for o in seen], [o[4:] for o in seen]
    belief = None
    for visit in range(6):
        start = np.zeros(4, dtype=bool)
        late_lanes = np.array([False, True, False, True])
        observation = first[visit].copy()
        if visit >= 3:  # lanes 1 and 3 have a new patient from the fourth visit on
            observation[late_lanes] = rest[visit - 3][late_lanes]
            start = late_lanes & (visit == 3)
        belief = arm.filter.step(belief, observation, start)
    assert belief is not None
    identical(belief.select(np.array([0, 2])), believe(arm.filter, [o[[0, 2]] for o in first]))
    identical(belief.select(np.array([1, 3])), believe(arm.filter, [o[[1, 3]] for o in rest[:3]]))


@pytest.mark.parametrize("name", ["as expected", "sensitive"])  # without and with particles drawn anew
def test_known_and_unknown_genotypes_share_a_batch_without_touching_each_other(
    observed: See, name: str
) -> None:
    history, usual = HISTORIES[name], BeliefFilter(WARFARIN)
    known = history.seen(observed)
    unknown = history.seen(
        lambda **e: observed(**(e | {"vkorc1_A": np.nan, "cyp2c9_*2": np.nan, "cyp2c9_*3": np.nan}))
    )
    mixed = believe(usual, [np.concatenate(pair) for pair in zip(known, unknown, strict=True)])
    identical(mixed.select(np.array([0])), believe(usual, known))
    identical(mixed.select(np.array([1])), believe(usual, unknown))


# ------------------------------------------------------------------------------------------------------ prior


def test_prior_of_a_known_genotype_is_the_population_model(observed: See) -> None:
    before = prior(WARFARIN, known_people(WARFARIN, observed(age_y=71.0, vkorc1_A=1.0)))
    expected = [math.log(0.348), math.log(14.3), math.log(3.01), 1.06]
    np.testing.assert_allclose(before.mean[0, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(before.sd, [*np.sqrt(VARIANCES), 0.08], rtol=1e-12)
    many = BeliefFilter(WARFARIN, 1024)
    start = many.step(None, observed(age_y=71.0, vkorc1_A=1.0))
    np.testing.assert_allclose(start.x[0].mean(axis=0), expected, atol=1e-9)
    np.testing.assert_allclose(start.x[0].std(axis=0), before.sd, rtol=1e-9)


@pytest.mark.parametrize(
    ("race", "group"),
    [("white", "European"), ("black", "African American/Afro-Caribbean"), ("asian", "East Asian")],
)
def test_prior_of_an_unknown_genotype_has_the_moments_of_the_ancestry(
    observed: See, race: str, group: str
) -> None:
    unknown: dict[str, float] = {"cyp2c9_*2": np.nan, "cyp2c9_*3": np.nan, "vkorc1_A": np.nan}
    races = {"race_white": 0.0, "race_black": 0.0, "race_asian": 0.0} | {f"race_{race}": 1.0}
    many = BeliefFilter(WARFARIN, 2048)
    belief = many.step(None, observed(age_y=65.0, **unknown, **races))
    n, effects = 50_000, {}
    for i, term in enumerate(WARFARIN.model.genotype_terms):
        u = np.random.default_rng(i).uniform(size=(n, 2))
        diplotypes = draw_diplotypes(term.gene, np.full(n, group), u)
        effects |= genotype_effects([term], {term.gene: diplotypes})[0]
    theta = typical({"age_y": 65.0, "baseline": np.full(n, 1.06)}, effects)
    rng = np.random.default_rng(9)
    theta[:, [0, 1, 3]] *= np.exp(rng.normal(size=(n, 3)) * np.sqrt(VARIANCES))
    for quantity, sample in (
        (belief.x[..., 0], np.log(theta[:, 0])),
        (belief.x[..., 2], np.log(theta[:, 3])),
    ):
        mean, sd = belief.mean_sd(quantity)
        assert abs(mean[0] - sample.mean()) < 0.03 * sample.std()
        assert sd[0] == pytest.approx(sample.std(), rel=0.03)
    mean, sd = belief.mean_sd(np.log(maintenance_dose(belief.theta, 2.5)))
    dose = np.log(maintenance_dose(theta, 2.5))
    assert abs(mean[0] - dose.mean()) < 0.05 * dose.std() and sd[0] == pytest.approx(dose.std(), rel=0.05)


def test_results_reveal_an_unknown_genotype_as_far_as_they_can(observed: See) -> None:
    unknown: dict[str, float] = {"cyp2c9_*2": np.nan, "cyp2c9_*3": np.nan, "vkorc1_A": np.nan}
    seen = HISTORIES["sensitive"].seen(lambda **e: observed(**(e | unknown)))
    many = BeliefFilter(WARFARIN, 1024)
    mean, sd = many.maintenance_dose(believe(many, seen))
    known_mean, known_sd = many.maintenance_dose(believe(many, HISTORIES["sensitive"].seen(observed)))
    assert sd[0] >= 0.9 * known_sd[0]
    assert mean[0] < known_mean[0]  # a sensitive stranger is likelier to carry A alleles than GA *1/*1


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("particles", [0, 1, 3, 100, -4])
def test_particles_are_a_power_of_two(particles: int) -> None:
    with pytest.raises(ValueError, match=f"particles = {particles}; expected a power of two"):
        BeliefFilter(WARFARIN, particles)


@pytest.mark.parametrize("fade", [0.0, -0.1, 1.1, math.nan])
def test_fade_lies_in_0_to_1(fade: float) -> None:
    with pytest.raises(ValueError, match="expected a number above 0, at most 1"):
        BeliefFilter(WARFARIN, fade=fade)


def test_later_visit_without_a_dose_is_refused(observed: See) -> None:
    usual = BeliefFilter(WARFARIN)
    belief = usual.step(None, observed(inr=1.0, inr_age=0.0, inr_new=1.0))
    with pytest.raises(
        ValueError, match="patient 0: day 3 without last_dose; mark the first visit with episode_start"
    ):
        usual.step(belief, observed(day=3.0, interval=3.0))


def test_result_of_a_day_without_a_visit_is_refused(observed: See) -> None:
    usual = BeliefFilter(WARFARIN)
    belief = usual.step(None, observed(inr=1.0, inr_age=0.0, inr_new=1.0))
    later = observed(day=7.0, interval=7.0, last_dose=5.0, inr=2.0, inr_age=2.0, inr_new=1.0)
    with pytest.raises(
        ValueError, match="patient 0: inr of day 5, at which none of the last 2 visits drew a sample"
    ):
        usual.step(belief, later)


@pytest.mark.parametrize("inr", [0.2, 30.0, 100.0])
def test_an_absurd_result_leaves_a_finite_belief(observed: See, inr: float) -> None:
    history = HISTORIES["as expected"]
    usual = BeliefFilter(WARFARIN)
    belief = believe(usual, History(history.days, history.doses, history.inr | {7: inr}).seen(observed))
    mean, sd = usual.maintenance_dose(belief)
    assert np.isfinite(mean).all() and np.isfinite(sd).all()


def test_a_result_of_zero_leaves_a_finite_belief(observed: See) -> None:
    history, usual = HISTORIES["as expected"], BeliefFilter(WARFARIN)
    with np.errstate(all="ignore"):
        belief = believe(usual, History(history.days, history.doses, history.inr | {7: 0.0}).seen(observed))
    assert np.isfinite(usual.maintenance_dose(belief)[0]).all()
