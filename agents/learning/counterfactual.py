"""A warm start: what every dose would have done.

The simulator can do what no clinic can: give the same patient, on the same day and with the same life ahead,
one dose after the other. At every visit of an episode each candidate dose is scored by what it does until
the next visit, and for a few days at least, and the network is fitted so that the dose it chooses scores
best on average. It is not shown the best dose of each patient, which nobody could know: patients who look
alike share one input, so the average over them is the expectation under the posterior, drift, missed doses
and interacting drugs included.

This is the policy gradient over all actions at once instead of the one that was drawn. It needs a tenth of
the visits that PPO needs to arrive at the same policy, but sees only a few days ahead; PPO goes on from there
with the whole course.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents.learning.anchored import EXPONENT
from dosewright.agents.learning.belief import BeliefVectorEnv, share_of_harm
from dosewright.agents.learning.preset import WarmStartPart
from dosewright.envs import Scenario

Floats = NDArray[np.float64]

# Candidate doses as multiples of the monitoring dose, and the actions that give them
CANDIDATES = np.array(
    [0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.55, 1.8, 2.2, 2.8, 3.6]
)
_ACTIONS = CANDIDATES ** (1.0 / EXPONENT) - 1.0
_FINAL_RATE = 0.01  # of the learning rate, at the end of the last fit


def scores(env: BeliefVectorEnv, ahead_days: int, first_harm_weight: float) -> Floats:
    """Return what each candidate would do for the patients in `env`: (n, c), in shares of the horizon.

    Parameters
    ----------
    env
        Patients at a visit; they are not touched.
    ahead_days
        Days that are scored at least; those after the next visit are spent on the present monitoring dose.
    first_harm_weight
        Taken off where the response would enter the harm band for the first time.
    """
    scenario, treatment = env.filter.scenario, env.treatment
    foreseen = treatment.foresee(env.anchor[:, None] * CANDIDATES, env.anchor, ahead_days)
    shape = foreseen[scenario.output].shape
    flat = {name: response.reshape(-1, shape[-1])[:, 1:] for name, response in foreseen.items()}
    unit, seen = np.arange(scenario.horizon), ~np.isnan(flat[scenario.output])
    each = scenario.benefit.of(flat, unit) - scenario.weight * scenario.harm.of(flat, unit)
    score = np.where(seen, each, 0.0).sum(axis=-1).reshape(shape[:2]) / scenario.scored
    if first_harm_weight:
        ahead = share_of_harm(scenario, np.nanmax(foreseen[scenario.output], axis=-1))
        before = share_of_harm(scenario, np.nanmax(treatment.truth, axis=-1))
        score -= first_harm_weight * np.maximum(ahead - before[:, None], 0.0)
    return score


def interpolated(score: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Return the score (b,) of actions (b,) between the candidates, from the candidates' scores (b, c)."""
    candidates = torch.from_numpy(_ACTIONS).to(score.dtype)
    inside = action.clamp(candidates[0], candidates[-1])
    right = torch.bucketize(inside.detach(), candidates).clamp(1, len(candidates) - 1)
    share = (inside - candidates[right - 1]) / (candidates[right] - candidates[right - 1])
    low, high = (score.gather(1, index[:, None])[:, 0] for index in (right - 1, right))
    return low + share * (high - low)


def visits_of(part: WarmStartPart, scenario: Scenario, lanes: int) -> int:
    """Return the number of visits that a warm start takes."""
    return part.rounds * lanes * len(scenario.calendar)


def warm_start(
    policy: ActorCriticPolicy,
    env: BeliefVectorEnv,
    part: WarmStartPart,
    seed: int,
    progress: Callable[[int], object],
) -> None:
    """Fit the actor of `policy` to what every dose would have done.

    The patients are treated by the network as it becomes, with exploration, so that it learns from the
    situations it leads to; each round of visits adds to the data it is fitted to.

    Parameters
    ----------
    policy
        Its actor is changed in place.
    env
        Patients to treat; reset with `seed`.
    part
        Size of the fit.
    seed
        Of patients, exploration and batches.
    progress
        Called with the number of visits after each.
    """
    rng, visits = np.random.default_rng(seed), len(env.filter.scenario.calendar)
    actor = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    optimiser = torch.optim.Adam(actor, part.learning_rate)
    rows = visits_of(part, env.filter.scenario, env.num_envs)
    seen = np.empty((rows, len(env.features.names)), dtype=np.float32)
    score = np.empty((rows, len(CANDIDATES)), dtype=np.float32)
    filled = 0

    def act(features: torch.Tensor) -> torch.Tensor:
        return policy.action_net(policy.mlp_extractor.forward_actor(features))[:, 0]

    def fit(steps: int, final_rate: float) -> None:
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = part.learning_rate * (1 - (1 - final_rate) * step / steps)
            batch = rng.integers(0, filled, part.batch_size)
            gain = interpolated(torch.from_numpy(score[batch]), act(torch.from_numpy(seen[batch])))
            optimiser.zero_grad()
            (-gain.mean()).backward()
            optimiser.step()

    features, _ = env.reset(seed=seed)
    for _ in range(part.rounds):
        for _ in range(visits):
            here = slice(filled, filled + env.num_envs)
            seen[here], score[here] = features, scores(env, part.ahead_days, part.first_harm_weight)
            filled += env.num_envs
            with torch.no_grad():
                chosen = act(torch.from_numpy(features)).numpy()
            explored = chosen + rng.normal(0.0, part.exploration_sd, len(chosen))
            features, *_ = env.step(np.clip(explored, -1.0, 1.0).astype(np.float32))
            progress(env.num_envs)
        fit(part.steps_per_round, 1.0)
    if filled:
        fit(part.final_steps, _FINAL_RATE)
