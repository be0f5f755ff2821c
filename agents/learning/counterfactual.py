"""A warm start: what every dose would have done.

The simulator can do what no clinic can: give the same patient, on the same day and with the same life ahead,
one dose after the other. At every visit of an episode each candidate dose is scored by what it does until
the next visit, and for a few days at least: benefit, less the price of the event that a trial counts. The
network is fitted so that the dose it chooses scores best on average. It is not shown the best dose of each
patient, which nobody could know: patients who look alike share one input, so the average over them is the
expectation under the posterior, drift, missed doses and interacting drugs included.

This is the policy gradient over all actions at once instead of the one that was drawn. It needs a tenth of
the visits that PPO needs to arrive at the same policy, but sees only a few days ahead; PPO goes on from there
with the whole course.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents.learning.anchored import EXPONENT
from dosewright.agents.learning.environment import LearningVectorEnv
from dosewright.agents.learning.event import event_so_far
from dosewright.agents.learning.foresight import foreseen_courses
from dosewright.agents.learning.multiplier import LEAST, Multiplier
from dosewright.agents.learning.preference import odds
from dosewright.agents.learning.preset import WarmStartPart
from dosewright.envs import Scenario

Floats = NDArray[np.float64]

# Candidate doses as multiples of the monitoring dose, and the actions that give them
CANDIDATES = np.array(
    [0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.55, 1.8, 2.2, 2.8, 3.6]
)
_ACTIONS = CANDIDATES ** (1.0 / EXPONENT) - 1.0
_FINAL_RATE = 0.01  # of the learning rate, at the end of the last fit


def foreseen(env: LearningVectorEnv, ahead: int) -> tuple[Floats, Floats]:
    """Return what each candidate would do for the patients in `env`, (n, c) each: the scenario's benefit, and
    by how much the event that a trial counts would come nearer.

    Parameters
    ----------
    env
        Patients at a visit; they are not touched.
    ahead
        Units of the calendar that are scored at least; those after the next visit are spent on the present
        monitoring dose.
    """
    scenario, treatment = env.inputs.scenario, env.treatment
    doses = env.anchor[:, None] * CANDIDATES
    _, whole, benefit = foreseen_courses(treatment, doses, env.anchor, ahead)
    past = {name: response[:, 1:] for name, response in treatment.responses.items()}
    event = event_so_far(scenario, whole).reshape(doses.shape) - event_so_far(scenario, past)[:, None]
    return benefit / scenario.scored, event


def interpolated(score: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Return the score (b,) of actions (b,) between the candidates, from the candidates' scores (b, c)."""
    candidates = torch.from_numpy(_ACTIONS).to(score.dtype)
    inside = action.clamp(candidates[0], candidates[-1])
    right = torch.bucketize(inside.detach(), candidates).clamp(1, len(candidates) - 1)
    share = (inside - candidates[right - 1]) / (candidates[right] - candidates[right - 1])
    low, high = (score.gather(1, index[:, None])[:, 0] for index in (right - 1, right))
    return low + share * (high - low)


@dataclass
class Visits:
    """Visits with what every candidate would have done, to fit an actor to.

    Attributes
    ----------
    seen : (r, f) standardised features
    benefit, event : (r, c) of every candidate
    odds : (r,) of safety against benefit
    filled : rows in use
    """

    seen: NDArray[np.float32]
    benefit: NDArray[np.float32]
    event: NDArray[np.float32]
    odds: NDArray[np.float32]
    filled: int = 0

    @classmethod
    def room(cls, rows: int, features: int) -> Visits:
        """Return room for so many visits."""
        seen, benefit, event = (
            np.empty((rows, columns), np.float32) for columns in (features, len(CANDIDATES), len(CANDIDATES))
        )
        return cls(seen, benefit, event, np.empty(rows, np.float32))

    def add(self, seen: NDArray[np.float32], benefit: Floats, event: Floats, odds: Floats) -> None:
        """Take in visits of n patients."""
        here = slice(self.filled, self.filled + len(seen))
        self.seen[here], self.benefit[here], self.event[here], self.odds[here] = seen, benefit, event, odds
        self.filled = here.stop

    def score(self, rows: NDArray[np.int64], price: float) -> NDArray[np.float32]:
        """Return the score (b, c) of every candidate at some visits, where an event costs so much at even
        odds."""
        cost: NDArray[np.float32] = np.float32(price) * self.odds[rows, None] * self.event[rows]
        return self.benefit[rows] - cost


def visits_of(part: WarmStartPart, scenario: Scenario) -> int:
    """Return the number of visits that a warm start takes."""
    return part.rounds * part.patients * len(scenario.calendar)


def warm_start(
    policy: ActorCriticPolicy,
    env: LearningVectorEnv,
    part: WarmStartPart,
    price: Multiplier,
    budget: float,
    seed: int,
    progress: Callable[[int], object],
) -> None:
    """Fit the actor of `policy` to what every dose would have done.

    The patients are treated by the network as it becomes, with exploration, so that it learns from the
    situations it leads to; each round of visits adds to the data it is fitted to, and tells the price how
    many events there were, among those who count. In the first rounds they are treated by the anchor, with
    the same exploration: how many events there are then is what the budget is a share of.

    Parameters
    ----------
    policy
        Its actor is changed in place.
    env
        Patients to treat, `part.patients` of them; reset with `seed`.
    part
        Size of the fit.
    price
        Of an event; it learns, and its budget is set.
    budget
        Events that are allowed, as a share of those under the anchor.
    seed
        Of patients, exploration and batches.
    progress
        Called with the number of visits after each.
    """
    rng, calendar = np.random.default_rng(seed), env.inputs.scenario.calendar
    actor = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    optimiser = torch.optim.AdamW(actor, part.learning_rate, weight_decay=part.weight_decay)
    visits = Visits.room(visits_of(part, env.inputs.scenario), env.width)

    def act(features: NDArray[np.float32]) -> torch.Tensor:
        return policy.action_net(policy.mlp_extractor.forward_actor(torch.from_numpy(features)))[:, 0]

    def fit(steps: int, final_rate: float) -> None:
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = part.learning_rate * (1 - (1 - final_rate) * step / steps)
            batch = rng.integers(0, visits.filled, part.batch_size)
            score = torch.from_numpy(visits.score(batch, price.value))
            gain = interpolated(score, act(visits.seen[batch]))
            optimiser.zero_grad()
            (-gain.mean()).backward()
            optimiser.step()

    features, _ = env.reset(seed=seed)
    before: list[float] = []
    for number in range(part.rounds):
        events = 0.0
        for _ in calendar:
            visits.add(features, *foreseen(env, part.ahead), odds(env.preference))
            with torch.no_grad():
                chosen = act(features).numpy()
            explored = chosen + rng.normal(0.0, part.exploration_sd, len(chosen))
            features, *_, info = env.step(np.clip(explored, -1.0, 1.0).astype(np.float32))
            events += float(np.mean(info["event"][info["counts"]]))
            progress(len(chosen))
        if number < part.untrained:
            before.append(events)
            continue
        price.budget = max(budget * float(np.mean(before)), LEAST)
        price.learn(events)
        fit(part.steps_per_round, 1.0)
    fit(part.final_steps, _FINAL_RATE)
