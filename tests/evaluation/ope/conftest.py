"""A small decision process whose every number is known: drawn logs, and a log of every course there is."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.target_doses import TargetDoses
from dosewright.evaluation.ope.weights import Weights, importance_weights

# Two states (low, in range) and two doses; an adverse reaction (reward -2) ends the course, else the reward
# is 1 in range. Who leaves depends on the state. Every probability is a multiple of 1/4, so a log exists in
# which every course of two decisions stands exactly as often as it should.
BEHAVIOUR = np.array([[0.75, 0.25], [0.25, 0.75]])  # (state, dose)
TARGET = np.array([[0.25, 0.75], [0.5, 0.5]])
IN_RANGE_NEXT = np.array([[0.25, 0.75], [0.5, 0.75]])
ADVERSE = np.array([[0.0, 0.25], [0.25, 0.5]])
STAYS = np.array([0.75, 0.5])
START = np.array([0.5, 0.5])


@dataclass(frozen=True)
class Logged:
    """A log of the process: what an evaluator has, and what only the process knows."""

    log: Trajectories
    states: np.ndarray
    target_log_prob: np.ndarray
    chance: np.ndarray
    follow_up: np.ndarray | None
    q: np.ndarray
    v: np.ndarray
    wrong_q: np.ndarray
    wrong_v: np.ndarray
    log_ratio: np.ndarray
    truth: float

    @property
    def weights(self) -> Weights:
        return importance_weights(self.log, self.target_log_prob, self.follow_up)

    @property
    def target(self) -> TargetDoses:
        return TargetDoses.of(self.log, np.broadcast_to([0.0, 1.0], self.chance.shape), self.chance)

    @property
    def exact(self) -> ActionValues:
        return ActionValues.of(self.log, self.q, self.v)

    @property
    def wrong(self) -> ActionValues:
        """A model that is badly off, differently for each state, dose and step."""
        return ActionValues.of(self.log, self.wrong_q, self.wrong_v)

    def select(self, rows: np.ndarray) -> "Logged":
        """These patients, as often as they are named."""
        arrays = {
            name: None if array is None else array[rows]
            for name, array in vars(self).items()
            if name not in ("log", "truth")
        }
        return replace(self, log=self.log.select(rows), **arrays)


class Process:
    """The process over a number of steps, discounted by ``gamma``."""

    def __init__(self, horizon: int, gamma: float = 0.5) -> None:
        self.horizon, self.gamma = horizon, gamma
        mean = -2.0 * ADVERSE + (1 - ADVERSE) * IN_RANGE_NEXT
        reach = (1 - ADVERSE)[..., None] * np.stack([1 - IN_RANGE_NEXT, IN_RANGE_NEXT], axis=-1)
        self.q, value = np.empty((horizon, 2, 2)), np.zeros(2)
        for t in range(horizon - 1, -1, -1):
            self.q[t] = mean + gamma * reach @ value
            value = (TARGET * self.q[t]).sum(axis=1)
        self.truth = float(START @ value)
        self.ratio = np.empty((horizon, 2, 2))
        of_target, of_log = START, START
        for t in range(horizon):
            self.ratio[t] = of_target[:, None] * TARGET / (of_log[:, None] * BEHAVIOUR)
            of_target = np.einsum("s,sa,san->n", of_target, TARGET, reach)
            of_log = np.einsum("s,sa,san->n", of_log, BEHAVIOUR, reach)

    def draw(self, n: int, seed: int, *, drop_out: bool = False) -> Logged:
        """n patients at random."""
        rng = np.random.default_rng(seed)
        states, doses = np.zeros((n, self.horizon), dtype=int), np.zeros((n, self.horizon), dtype=int)
        rewards, mask = np.zeros((n, self.horizon)), np.zeros((n, self.horizon), dtype=bool)
        ended, lost = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        state = (rng.random(n) < START[1]).astype(int)
        for t in range(self.horizon):
            there = ~ended & ~lost
            dose = (rng.random(n) < BEHAVIOUR[state, 1]).astype(int)
            adverse = rng.random(n) < ADVERSE[state, dose]
            following = (rng.random(n) < IN_RANGE_NEXT[state, dose]).astype(int)
            leaves = rng.random(n) >= STAYS[state]
            states[there, t], doses[there, t], mask[:, t] = state[there], dose[there], there
            rewards[there, t] = np.where(adverse, -2.0, following)[there]
            ended |= there & adverse
            lost |= there & ~adverse & leaves & drop_out & (t < self.horizon - 1)
            state = following
        return self._logged(states, doses, rewards, mask, ended, lost, drop_out)

    def every_course(self, *, drop_out: bool = False) -> Logged:
        """Every course of two decisions, as often as it should stand in the log."""
        assert self.horizon == 2
        courses: list[tuple[float, tuple[int, ...], tuple[int, ...], tuple[float, ...], str]] = []

        def follow(p: float, state: int, past: tuple[tuple[int, ...], ...], gains: tuple[float, ...]) -> None:
            for dose in (0, 1):
                seen = (*past[0], state), (*past[1], dose)
                adverse = ADVERSE[state, dose]
                of_dose = p * BEHAVIOUR[state, dose]
                courses.append((of_dose * adverse, *seen, (*gains, -2.0), "ended"))
                for following, reach in enumerate(
                    (1 - IN_RANGE_NEXT[state, dose], IN_RANGE_NEXT[state, dose])
                ):
                    q, gained = of_dose * (1 - adverse) * reach, (*gains, float(following))
                    stays = STAYS[state] if drop_out else 1.0
                    if len(gained) == 2:
                        courses.append((q, *seen, gained, "seen"))
                    else:
                        courses.append((q * (1 - stays), *seen, gained, "lost"))
                        follow(q * stays, following, seen, gained)

        for state in (0, 1):
            follow(START[state], state, ((), ()), ())
        patients = 2**15 if drop_out else 2**13
        counts = np.array([course[0] for course in courses]) * patients
        assert np.array_equal(counts, np.round(counts)) and counts.sum() == patients
        n = len(courses)
        states, doses = np.zeros((n, 2), dtype=int), np.zeros((n, 2), dtype=int)
        rewards, mask = np.zeros((n, 2)), np.zeros((n, 2), dtype=bool)
        for i, (_, s, a, r, _) in enumerate(courses):
            states[i, : len(s)], doses[i, : len(s)], rewards[i, : len(s)], mask[i, : len(s)] = s, a, r, True
        fate = np.array([course[4] for course in courses])
        rows = np.repeat(np.arange(n), counts.astype(int))
        ended, lost = (fate == "ended")[rows], (fate == "lost")[rows]
        return self._logged(states[rows], doses[rows], rewards[rows], mask[rows], ended, lost, drop_out)

    def _logged(
        self,
        states: np.ndarray,
        doses: np.ndarray,
        rewards: np.ndarray,
        mask: np.ndarray,
        ended: np.ndarray,
        lost: np.ndarray,
        drop_out: bool,
    ) -> Logged:
        log = Trajectories(
            observations=states[..., None],
            actions=doses,
            rewards=rewards,
            mask=mask,
            terminated=ended,
            truncated=lost,
            behaviour_log_prob=np.log(BEHAVIOUR[states, doses]),
        )
        follow_up = None
        if drop_out:
            stayed = np.cumsum(np.log(STAYS[states]), axis=1)
            follow_up = np.concatenate([np.zeros((len(states), 1)), stayed[:, :-1]], axis=1)
        step = np.arange(self.horizon)
        wrong = 0.3 * self.q + np.array([[0.7, -0.4], [1.1, 0.2]]) - step[:, None, None]
        v, wrong_v = (np.einsum("sa,tsa->ts", TARGET, table)[step, states] for table in (self.q, wrong))
        return Logged(
            log=log,
            states=states,
            target_log_prob=np.log(TARGET[states, doses]),
            chance=TARGET[states],
            follow_up=follow_up,
            q=self.q[step, states, doses],
            v=v,
            wrong_q=wrong[step, states, doses],
            wrong_v=wrong_v,
            log_ratio=np.log(self.ratio[step, states, doses]),
            truth=self.truth,
        )


@pytest.fixture(scope="session")
def process() -> Callable[..., Process]:
    """``process(horizon, gamma)``: the process; its logs by ``draw`` and ``every_course``."""
    return Process


@pytest.fixture(scope="session")
def derivative() -> Callable[..., float]:
    """``derivative(estimate, logged, patient)``: how the value moves as a patient's share of the log grows.

    The influence by its definition, whatever formula claims it. Everybody stands in the log 60 times, the
    patient once more and once less: a central difference, right to about 1/60^2.
    """

    def differentiate(estimate: Callable[[Logged], float], logged: Logged, patient: int) -> float:
        copies = 60
        rows = np.repeat(np.arange(logged.log.n_patients), copies)
        more = estimate(logged.select(np.append(rows, patient)))
        less = estimate(logged.select(np.delete(rows, patient * copies)))
        return (more - less) / (1.0 / (len(rows) + 1) + 1.0 / (len(rows) - 1))

    return differentiate
