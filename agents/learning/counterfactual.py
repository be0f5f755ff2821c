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

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents.learning.anchored import EXPONENT
from dosewright.agents.learning.environment import LearningVectorEnv
from dosewright.agents.learning.event import event_so_far
from dosewright.agents.learning.foresight import foreseen_courses
from dosewright.agents.learning.multiplier import LEAST, Multiplier
from dosewright.agents.learning.preference import balanced, odds
from dosewright.agents.learning.preset import WarmStartPart
from dosewright.envs import Scenario

Floats = NDArray[np.float64]

# Candidate doses as multiples of the monitoring dose, and the actions that give them
CANDIDATES = np.array(
    [0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.55, 1.8, 2.2, 2.8, 3.6]
)
_ACTIONS = CANDIDATES ** (1.0 / EXPONENT) - 1.0
_COUNTED = 500_000_003  # added to the seed for patients in whom events are only counted
# Last fits at most; by what the price changes between two at most; ratio of events to the budget that will do
_FITS, _MOST_CHANGE, _CLOSE = 3, 3.0, 1.1
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
    learned: Mapping[str, Any] | None = None,
) -> float:
    """Fit the actor of `policy` to what every dose would have done; return its events as a share of those
    under the anchor.

    The patients are treated by the network as it becomes, with exploration, so that it learns from the
    situations it leads to; each round of visits adds to the data it is fitted to, and tells the price how
    many events there were among those who count, against the first rounds, which the anchor treats. Exploring
    harms by itself, so at the end the price is corrected by what happens without: the same patients are
    treated by the anchor and by the network, and it is fitted again until the shares agree.

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
        Called with the number of visits learned from after each.
    learned
        Weights that the network has from the end of the first rounds on, which the anchor treats: those of a
        policy that is learned further. None: it goes on from the anchor.
    """
    run = _WarmStart(policy, env, part, price, seed, progress)
    of_anchor, share = run.events_without_exploration(), 1.0
    wanted = max(budget, LEAST / of_anchor)
    features, _ = env.reset(seed=seed)
    before: list[float] = []
    for number in range(part.rounds):
        features, events = run.course(features, part.exploration_sd, keep=True)
        if number < part.untrained:
            before.append(events)
            if learned is not None and number == part.untrained - 1:
                policy.load_state_dict(learned)
            continue
        price.budget = max(budget * float(np.mean(before)), LEAST)
        price.learn(events)
        run.fit(part.steps_per_round, 1.0)
    for attempt in range(_FITS if price.rate > 0 else 1):
        if attempt:
            # as dear as it would have to be if events fell as the price rises
            price.value *= float(np.clip(share / wanted, 1 / _MOST_CHANGE, _MOST_CHANGE))
        run.fit(part.final_steps, _FINAL_RATE)
        share = run.events_without_exploration() / of_anchor
        if abs(math.log(share / wanted)) < math.log(_CLOSE):
            break
    return share


class _WarmStart:
    """The parts of a warm start: treating, fitting, and counting events. Arguments as of `warm_start`."""

    def __init__(
        self,
        policy: ActorCriticPolicy,
        env: LearningVectorEnv,
        part: WarmStartPart,
        price: Multiplier,
        seed: int,
        progress: Callable[[int], object],
    ) -> None:
        self.policy, self.env, self.part, self.price = policy, env, part, price
        self.seed, self.progress, self.rng = seed, progress, np.random.default_rng(seed)
        actor = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
        self.optimiser = torch.optim.AdamW(actor, part.learning_rate, weight_decay=part.weight_decay)
        self.visits = Visits.room(visits_of(part, env.inputs.scenario), env.width)

    def act(self, features: NDArray[np.float32]) -> torch.Tensor:
        """Return the actions (n,) of the network."""
        policy = self.policy
        return policy.action_net(policy.mlp_extractor.forward_actor(torch.from_numpy(features)))[:, 0]

    def fit(self, steps: int, final_rate: float) -> None:
        """Fit the network to the visits so far; the learning rate falls to a share of itself."""
        part, visits = self.part, self.visits
        for step in range(steps):
            rate = part.learning_rate * (1 - (1 - final_rate) * step / steps)
            self.optimiser.param_groups[0]["lr"] = rate
            batch = self.rng.integers(0, visits.filled, part.batch_size)
            score = torch.from_numpy(visits.score(batch, self.price.value))
            gain = interpolated(score, self.act(visits.seen[batch]))
            self.optimiser.zero_grad()
            (-gain.mean()).backward()
            self.optimiser.step()

    def course(
        self, features: NDArray[np.float32], exploration_sd: float, keep: bool
    ) -> tuple[NDArray[np.float32], float]:
        """Treat everybody from visit to visit through a calendar, keeping what every dose would have done or
        not; return the features then, and the events a patient among those who count."""
        env, events = self.env, 0.0
        for _ in env.inputs.scenario.calendar:
            if keep:
                self.visits.add(features, *foreseen(env, self.part.ahead), odds(env.preference))
                self.progress(env.num_envs)
            with torch.no_grad():
                chosen = self.act(features).numpy()
            explored = chosen + self.rng.normal(0.0, exploration_sd, len(chosen))
            features, *_, info = env.step(np.clip(explored, -1.0, 1.0).astype(np.float32))
            # of few patients it may be that none counts
            events += float(info["happened"][info["counts"]].sum()) / max(int(info["counts"].sum()), 1)
        return features, events

    def events_without_exploration(self) -> float:
        """Return events a patient; every time of the same patients."""
        found = []
        with balanced(self.env.inputs):
            features, _ = self.env.reset(seed=self.seed + _COUNTED)
            for _ in range(self.part.untrained):
                features, events = self.course(features, 0.0, keep=False)
                found.append(events)
        return max(float(np.mean(found)), LEAST)
