"""Logs from the simulator: a stochastic regimen treats a cohort, and every dose is kept with its probability.

What was lost when a patient dropped out is known here as well: how likely it was to be still there.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dosewright.envs import DrawKeys, Intake, Noise, Population, Scenario, StochasticRegimen, Treatment
from dosewright.envs.realism import Realism
from dosewright.envs.scenarios.scenario import GenotypeMode
from dosewright.evaluation.log_checks import BoolArray, FloatArray
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.worlds import HiddenShift

EVER_IN_HARM = "first_harm"
"""Outcome of a recorded log: 1 in the interval of the first harm."""


def record(
    scenario: Scenario,
    regimen: StochasticRegimen,
    population: Population,
    ids: npt.ArrayLike,
    noise: Noise,
    realism: Realism,
    genotype: GenotypeMode = "diplotype",
    *,
    arm: int | str | None = None,
    world: HiddenShift | None = None,
    enrolled: npt.ArrayLike = 0.0,
    block: int = 1000,
) -> Trajectories:
    """Treat a cohort by a stochastic regimen: log the doses, their probabilities, and what came of them.

    Parameters
    ----------
    scenario, realism : the decision problem, and how messy the world is
    regimen : who doses; its draws are functions of noise, patient, arm and visit
    population : who is treated
    ids : (n,) patients of ``population``
    noise : namespace and seed, of the patients and of the regimen's draws
    genotype : whether the regimen sees the genotype
    arm : whose draws they are; the regimen's name when None
    world : what differs for the patients without the regimen being told; None: nothing
    enrolled : (n,) when each patient was enrolled, on the calendar of the world's ``since``
    block : patients simulated together; bounds the memory, does not change a number

    Returns
    -------
    Trajectories
        T visits of the scenario's calendar; doses after grid and cap, in the drug's unit; times as the
        observation shows them. The reward is the environment's, benefit - weight * harm. Outcomes:
        ``benefit`` and ``harm``, days in the scenario's bands as shares of the horizon, and ``first_harm``, 1
        in the interval in which the daily latent response is in the harm band for the first time, so that its
        sum over a course is "ever in harm". Strata: genotype by gene, and the labels of the population.
        Patients who drop out, whom an environment calls truncated, are *censored*; their last interval counts
        the days up to then, see `whole_intervals`. Provenance: scenario, realism, regimen, namespace, seed.

    Raises
    ------
    ValueError
        For a regimen that cannot say with what probability it gives a dose, a patient listed twice, or a dose
        that is missing or negative.
    """
    if not isinstance(regimen, StochasticRegimen):
        raise ValueError(
            f"regimen {regimen.name!r} has no log_prob, and a log is worth little without the probabilities "
            "of its doses; wrap it in Clinician or Noisy of dosewright.agents.regimens"
        )
    patients = np.asarray(ids, dtype=np.int64)
    begun = np.broadcast_to(np.asarray(enrolled, dtype=np.float64), patients.shape)
    name = regimen.name if arm is None else arm
    parts: list[dict[str, npt.NDArray[Any]]] = []
    for first in range(0, len(patients), block):
        people = population.draw(scenario.model, scenario.base, patients[first : first + block], noise)
        intake = Intake.prepare(scenario, people, noise, realism, genotype)
        if world is not None:
            intake = world.alter(scenario, intake, noise, begun[first : first + block])
        part = _record_block(scenario, regimen, intake, DrawKeys(noise, people.ids, name))
        strata = {f"stratum {key}": labels for key, labels in {**people.genotypes, **people.labels}.items()}
        parts.append(part | strata)
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    outcomes = {key: whole[key] for key in ("benefit", "harm", EVER_IN_HARM)}
    strata = {key.removeprefix("stratum "): whole[key] for key in whole if key.startswith("stratum ")}
    return Trajectories(
        observations=whole["observations"],
        actions=whole["actions"],
        rewards=outcomes["benefit"] - scenario.weight * outcomes["harm"],
        mask=whole["mask"],
        terminated=whole["terminated"],
        truncated=np.zeros(len(patients), dtype=np.bool_),
        censored=whole["censored"],
        behaviour_log_prob=whole["behaviour_log_prob"],
        outcomes=outcomes,
        strata=strata,
        patients=patients,
        times=whole["times"],
        observation_names=scenario.seen_as(genotype).observation.names,
        provenance={
            "scenario": scenario.name,
            "scenario_version": scenario.version,
            "realism": realism.name,
            "genotype": genotype,
            "regimen": regimen.name,
            "namespace": noise.namespace,
            "seed": int(noise.seed),
            **({} if world is None else {"world": world.name}),
        },
    )


def _record_block(
    scenario: Scenario, regimen: StochasticRegimen, intake: Intake, keys: DrawKeys
) -> dict[str, npt.NDArray[Any]]:
    treatment, state = Treatment(scenario, intake), regimen.initial_state(keys)
    clock, shape = scenario.clock, (len(treatment), len(scenario.calendar))
    log: dict[str, npt.NDArray[Any]] = {
        "observations": np.zeros((*shape, len(treatment.spec.names)), dtype=np.float32),
        "mask": np.zeros(shape, dtype=np.bool_),
        "terminated": np.zeros(shape[0], dtype=np.bool_),
        "censored": np.zeros(shape[0], dtype=np.bool_),
    }
    log |= {key: np.zeros(shape) for key in ("actions", "behaviour_log_prob", "benefit", "harm", "times")}
    visit = 0
    while treatment.active.any():
        active, observation = treatment.active.copy(), treatment.observe()
        times = treatment.clock / clock.length * clock.shown
        start = np.full(shape[0], visit == 0)
        dose, state = regimen.predict(observation, state, start, deterministic=False)
        interval = treatment.give(dose)
        log_prob = regimen.log_prob(observation, state, interval.dose)
        log_prob = np.where(left_out(observation, scenario), 0.0, log_prob)
        log["observations"][active, visit] = observation[active]
        log["mask"][:, visit] = active
        for key, values in (
            ("actions", interval.dose),
            ("behaviour_log_prob", log_prob),
            ("benefit", interval.benefit),
            ("harm", interval.harm),
            ("times", times),
        ):
            log[key][active, visit] = values[active]
        log["terminated"] |= interval.finished
        log["censored"] |= interval.left
        visit += 1
    log[EVER_IN_HARM] = _first_harm(treatment.harm, scenario.days)
    return log


def left_out(observation: npt.NDArray[Any], scenario: Scenario) -> BoolArray:
    """Whether a treatment is left out at a visit, (n,) for observations (n, k), by the scenario's own rule.

    The rule is the same for every regimen: the dose is 0 with probability 1, whatever was wanted.
    """
    if scenario.delay is None:
        return np.zeros(len(observation), dtype=np.bool_)
    spec = scenario.observation
    if observation.shape[1] != len(spec.names):
        spec = scenario.seen_as("phenotype").observation
    return spec.read(observation, "omitted") > 0.5


def _first_harm(harm: FloatArray, days: npt.NDArray[np.int64]) -> FloatArray:
    """1 in the interval (n, T) with the first unit that was scored as harm (n, u), NaN where not followed."""
    inside = np.nan_to_num(harm) > 0
    ever = np.flatnonzero(inside.any(axis=1))
    first = np.zeros((len(harm), len(days) - 1))
    # the response at the start of a visit's day is what the doses before that visit led to
    first[ever, np.searchsorted(days, inside[ever].argmax(axis=1) + 1) - 1] = 1.0
    return first


def whole_intervals(trajectories: Trajectories) -> Trajectories:
    """The same log without intervals that drop-out cut short: what correction for drop-out needs.

    The rewards of half an interval are no sample of the rewards of a whole one. So the last decision of each
    censored patient is taken out, and a patient left without any decision is left out. Step t is then seen
    exactly where the patient was still there at visit t + 1, see `follow_up_log_prob`.

    Raises
    ------
    ValueError
        When nobody is left.
    """
    stays = ~trajectories.censored | (trajectories.lengths > 1)
    if not stays.any():
        raise ValueError(
            f"all {trajectories.n_patients} patients dropped out in their first interval; log more of them"
        )
    kept = trajectories.select(stays)
    last = np.arange(kept.horizon) == kept.lengths[:, None] - 1
    mask = kept.mask & ~(last & kept.censored[:, None])
    return replace(
        kept,
        mask=mask,
        rewards=np.where(mask, kept.rewards, 0.0),
        outcomes={name: np.where(mask, values, 0.0) for name, values in kept.outcomes.items()},
    )


def follow_up_log_prob(scenario: Scenario, realism: Realism) -> FloatArray:
    """Log probability (T,) of still being there at visit t + 1: that step t of `whole_intervals` is seen.

    Given that the first interval was seen: those who left in it are not in the log. Drop-out is at random, as
    `realism` states it; broadcast it to the (n, T) of a log for `importance_weights`.
    """
    return realism.log_staying(scenario.days[1:] - scenario.days[1])
