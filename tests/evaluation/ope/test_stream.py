"""A log that grows: at every moment the same numbers as from the whole log, whatever its weights."""

from dataclasses import dataclass

import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import importance_weights, pdwis, wis
from dosewright.evaluation.ope.sequences import sequence_quantile
from dosewright.evaluation.ope.stream import EstimateStream, StreamEstimate


@dataclass
class Cohort:
    """Patients of unequal length; ``done`` of each one's decisions have been appended."""

    log_ratio: np.ndarray
    reward: np.ndarray
    length: np.ndarray
    ends: np.ndarray
    done: np.ndarray

    @classmethod
    def draw(cls, n: int, horizon: int, seed: int, spread: float) -> "Cohort":
        rng = np.random.default_rng(seed)
        shape = (n, horizon)
        length = rng.integers(1, horizon + 1, n)
        log_ratio = spread * rng.normal(size=shape)
        log_ratio[rng.random(shape) < 0.03] = -np.inf
        reward = 5.0 + rng.normal(size=shape)
        return cls(log_ratio, reward, length, rng.random(n) < 0.7, np.zeros(n, dtype=int))

    def grow(self, stream: EstimateStream, rng: np.random.Generator, new: int) -> None:
        """Append some decisions of patients under treatment, and the first ones of new patients, shuffled."""
        known = int((self.done > 0).sum())
        open_ = np.flatnonzero((self.done[:known] < self.length[:known]) & (rng.random(known) < 0.6))
        who = np.concatenate([open_, np.arange(known, min(known + new, len(self.done)))])
        count = np.minimum(rng.integers(1, 4, len(who)), self.length[who] - self.done[who])
        patient = np.repeat(who, count)
        step = np.concatenate([self.done[i] + np.arange(c) for i, c in zip(who, count, strict=True)] or [[]])
        order = rng.permutation(len(patient))
        patient, step = patient[order], step[order].astype(int)
        ended = self.ends[patient] & (step == self.length[patient] - 1)
        stream.append(patient, step, self.log_ratio[patient, step], self.reward[patient, step], ended)
        self.done[who] += count

    def batch(self, gamma: float) -> dict[str, StreamEstimate]:
        n = int((self.done > 0).sum())
        mask = np.arange(self.done.max()) < self.done[:n, None]
        log = Trajectories(
            observations=np.zeros((*mask.shape, 1)),
            actions=np.zeros(mask.shape),
            rewards=np.where(mask, self.reward[:n, : mask.shape[1]], 0.0),
            mask=mask,
            terminated=np.zeros(n, dtype=bool),
            truncated=np.ones(n, dtype=bool),
            behaviour_log_prob=np.zeros(mask.shape),
            propensity="density",
        )
        weights = importance_weights(log, self.log_ratio[:n, : mask.shape[1]])
        n_open = int((~self.ends[:n] | (self.done[:n] < self.length[:n])).sum())
        return {
            form.__name__: StreamEstimate(
                found.estimator, found.value, found.standard_error, found.effective_sample_size,
                found.degrees_of_freedom, n, n_open,
            )
            for form in (pdwis, wis)
            for found in (form(log, weights, gamma),)
        }  # fmt: skip


def numbers(estimate: StreamEstimate) -> dict[str, float]:
    return {name: value for name, value in vars(estimate).items() if name != "estimator"}


# 0.3: an effective half of the patients. 3 and 30: one patient is the estimate, weights of exp(+-100).
@pytest.mark.parametrize("spread", [0.3, 3.0, 30.0])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_every_moment_equals_the_batch(spread: float, gamma: float) -> None:
    cohort = Cohort.draw(900, 12, int(10 * spread), spread)
    stream, rng = EstimateStream(gamma), np.random.default_rng(1)
    while (cohort.done < cohort.length).any():
        cohort.grow(stream, rng, new=60)
        for name, expected in cohort.batch(gamma).items():
            found: StreamEstimate = getattr(stream, name)()
            # absolute where one patient is the estimate and its standard error is rounding
            assert numbers(found) == pytest.approx(numbers(expected), rel=1e-10, abs=1e-12, nan_ok=True)


def test_all_at_once_equals_one_by_one() -> None:
    cohort = Cohort.draw(80, 5, 3, 0.3)
    patient, step = np.nonzero(np.arange(5) < cohort.length[:, None])
    rows = (patient, step, cohort.log_ratio[patient, step], cohort.reward[patient, step],
            step == cohort.length[patient] - 1)  # fmt: skip
    whole, single = EstimateStream(), EstimateStream()
    whole.append(*rows)
    for row in zip(*rows, strict=True):
        single.append(*([value] for value in row))
    assert numbers(single.pdwis()) == pytest.approx(numbers(whole.pdwis()), rel=1e-12)
    assert whole.pdwis().n_open == 0 and whole.pdwis().estimator == "pdwis"


def test_intervals_of_one_look_and_of_all() -> None:
    cohort, stream = Cohort.draw(200, 3, 4, 0.2), EstimateStream()
    cohort.grow(stream, np.random.default_rng(1), new=200)
    found = stream.pdwis()
    once, always = found.interval(), found.sequence(first_look=100)
    quantile = float(sequence_quantile(200, found.degrees_of_freedom, 100))
    assert always.high == pytest.approx(found.value + quantile * found.standard_error)
    assert always.low < once.low < found.value < once.high < always.high


def test_refusals_leave_the_stream_as_it_was() -> None:
    stream = EstimateStream(0.9)
    with pytest.raises(ValueError, match="stream is empty"):
        stream.wis()
    stream.append([0, 0, 1], [0, 1, 0], [0.1, 0.2, 0.3], [1.0, 2.0, 3.0], [False, True, False])
    before = stream.pdwis()
    one = ([0.0], [1.0], [False])
    for rows, message in (
        (([1], [2], *one), r"patient 1, step 2; expected step 1: each step once, without a gap"),
        (([1], [0], *one), r"patient 1, step 0; expected step 1"),
        (([0], [2], *one), r"patient 0, step 2: the course ended at step 1"),
        (([3], [0], *one), r"patient 3 is out of turn.*expected the next new patient to be 2"),
        (([-1], [0], *one), r"patient -1 is out of turn"),
        (([2], [1], *one), r"patient 2, step 1; expected step 0"),
        (([1, 1], [1, 1], [0.0] * 2, [1.0] * 2, [False] * 2), r"patient 1, step 1; expected step 2"),
        (([1, 1], [1, 2], [0.0] * 2, [1.0] * 2, [True, False]), r"ended is True for patient 1 at step 1 but"),
        (([1], [1], [np.nan], [1.0], [False]), r"log_ratio = nan \(patient 1, step 1\)"),
        (([1], [1], [0.0], [np.inf], [False]), r"reward = inf \(patient 1, step 1\)"),
        (([1], [1, 2], *one), r"step has shape \(2,\), patient \(1,\)"),
        (([1.5], [1], *one), r"patient has type float64; expected whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            stream.append(*rows)
    assert stream.pdwis() == before
    with pytest.raises(ValueError, match="gamma = 1.5"):
        EstimateStream(1.5)


def test_nothing_appended_changes_nothing() -> None:
    stream = EstimateStream()
    stream.append([0], [0], [0.0], [1.0], [True])
    before = stream.pdwis()
    stream.append([], [], [], [], [])
    assert stream.pdwis() == before and before.value == 1.0
