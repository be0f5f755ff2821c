"""How often off-policy intervals hold the truth, on a process whose truth is known.

``python -m benchmarks.coverage DIR`` with the folder that holds `tabular_short` and `time_to_adr`, the cases
whose generating models are simulated anew. A coverage from 2000 replicates has a standard error of 0.005.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.drugs import load
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import ActionValues, importance_weights, pdwis
from dosewright.evaluation.ope.distribution import ReturnDistribution
from dosewright.evaluation.ope.doubly_robust import wdr
from dosewright.evaluation.ope.sequences import sequence_quantile
from dosewright.evaluation.ope.survival import weighted_kaplan_meier
from dosewright.evaluation.statistics import Interval

Floats = NDArray[np.float64]
SIZES = (50, 200, 1000)
DROP_OUT = 0.02
"""A step, as in `time_to_adr`."""
LOOKS = 10_000
_NORMAL = 1.959963984540054


@dataclass(frozen=True)
class Process:
    """A finite decision process with a behaviour and a target regimen, as a case's spec.json has it.

    Attributes
    ----------
    spec, truth : of the case
    """

    spec: Mapping[str, Any]
    truth: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Process:
        """Read a case; its log is not looked at."""
        spec, truth = (json.loads((folder / f"{name}.json").read_text()) for name in ("spec", "truth"))
        return cls(spec, truth)

    @property
    def horizon(self) -> int:
        """Number of decisions."""
        return self.spec["horizon"]

    @property
    def discount(self) -> Floats:
        """Discount of each step (T,)."""
        return self.spec["gamma"] ** np.arange(self.horizon)

    @cached_property
    def _tables(self) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
        names = ("initial_distribution", "behaviour_policy", "target_policy", "transition",
                 "adr_prob_given_next_state")  # fmt: skip
        start, behaviour, target, moves, adverse = (np.array(self.spec[name]) for name in names)
        in_range = np.arange(len(start)) % self.spec["n_exposure_bins"] == self.spec["target_exposure_bin"]
        return start, behaviour, target, moves, adverse, in_range.astype(np.float64)

    def log(
        self, n: int, rng: np.random.Generator, *, drop_out: float = 0.0, until_adverse: bool = False
    ) -> tuple[Trajectories, Floats]:
        """Draw n courses under the behaviour; return their log and the target's log-probabilities.

        Parameters
        ----------
        drop_out : probability of being lost after each step
        until_adverse : whether a course ends at the first adverse reaction
        """
        start, behaviour, target, moves, adverse, in_range = self._tables
        state, shape = _pick(np.broadcast_to(start, (n, len(start))), rng), (n, self.horizon)
        states, doses = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        harm, benefit, mask = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
        followed, ended = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
        for t in range(self.horizon):
            states[:, t], doses[:, t] = state, _pick(behaviour[state], rng)
            state = _pick(moves[state, doses[:, t]], rng)
            mask[:, t] = followed
            harm[:, t] = followed & (rng.random(n) < adverse[state])
            benefit[:, t] = followed * in_range[state]
            if until_adverse:
                ended |= harm[:, t] == 1.0
            followed = followed & ~ended & (rng.random(n) >= drop_out)
        log = Trajectories(
            observations=states[..., None],
            actions=doses,
            rewards=benefit - 3.0 * harm,
            mask=mask,
            terminated=ended | mask[:, -1],
            truncated=np.zeros(n, dtype=bool),
            censored=~(ended | mask[:, -1]),
            behaviour_log_prob=np.log(behaviour[states, doses]),
            outcomes={"adr": harm},
        )
        return log, np.log(target[states, doses])

    def values(self, log: Trajectories, q: Floats) -> ActionValues:
        """Return a table's values (T, S, A) along a log."""
        state, step = log.observations[..., 0], np.arange(self.horizon)
        of_state = np.einsum("sa,tsa->ts", self._tables[2], q)
        return ActionValues.of(log, q[step, state, log.actions], of_state[step, state])


def _pick(probability: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one index from each row of probabilities (n, k)."""
    edges = np.cumsum(probability, axis=1)
    return np.minimum((rng.random((len(edges), 1)) > edges).sum(axis=1), probability.shape[1] - 1)


@dataclass
class Tally:
    """Estimates and intervals of many replicates of one question."""

    truth: float
    found: list[tuple[float, float, float]]

    def add(self, interval: Interval) -> None:
        """Take in one replicate."""
        self.found.append((interval.mean, interval.low, interval.high))

    def __str__(self) -> str:
        value, low, high = np.array(self.found).T
        covered = float(((low <= self.truth) & (self.truth <= high)).mean())
        spread, bias = float(value.std()), float(value.mean()) - self.truth
        bounded = np.isfinite(high - low)
        width = float((high - low)[bounded].mean()) / (2.0 * _NORMAL * spread)
        text = (
            f"coverage {covered:.3f}   width {width:.2f} of the oracle's   "
            f"bias {bias / spread:+.3f} standard errors, {100.0 * bias / abs(self.truth):+.2f} % of the truth"
        )
        return text if bounded.all() else f"{text}   {(~bounded).sum()} without a limit"


def tally(
    truths: Mapping[str, float], replicates: int, once: Callable[[], Mapping[str, Interval]]
) -> dict[str, Tally]:
    """Repeat ``once``, which draws a log and returns intervals by name."""
    tallies = {name: Tally(truth, []) for name, truth in truths.items()}
    for _ in range(replicates):
        for name, interval in once().items():
            tallies[name].add(interval)
    return tallies


def default_intervals(
    process: Process, tables: Mapping[str, Floats], n: int, replicates: int, seed: int, drop_out: float = 0.0
) -> dict[str, Tally]:
    """PDWIS, and WDR with each table of values, with their default intervals; drop-out is corrected for."""
    rng, gamma = np.random.default_rng([seed, n, int(1e6 * drop_out)]), process.spec["gamma"]
    truth = process.truth["target"]["discounted_return"]
    stay = np.log1p(-drop_out) * np.arange(process.horizon)

    def once() -> dict[str, Interval]:
        log, target = process.log(n, rng, drop_out=drop_out)
        followed = np.broadcast_to(stay, log.mask.shape) if drop_out else None
        weights = importance_weights(log, target, followed)
        found = {"pdwis": pdwis(log, weights, gamma).interval()}
        for name, table in tables.items():
            found[f"wdr[{name}]"] = wdr(log, weights, process.values(log, table), gamma).interval()
        return found

    return tally({"pdwis": truth, **{f"wdr[{name}]": truth for name in tables}}, replicates, once)


def of_returns(process: Process, n: int, replicates: int, seed: int) -> dict[str, Tally]:
    """Functionals of the distribution of undiscounted returns."""
    rng, truth = np.random.default_rng([seed, n]), process.truth["target"]["undiscounted_return"]
    mass = process.truth["target"]["undiscounted_return_pmf"]
    support, probability = (np.array(mass[name]) for name in ("support", "prob"))
    truths = {
        "variance": truth["variance"],
        "cvar_lower_25": truth["cvar_lower_25"],
        "cdf at 0": float(probability[support <= 0].sum()),
        "cdf at 0, delta limits": float(probability[support <= 0].sum()),
        "median": truth["median"],
    }

    def once() -> dict[str, Interval]:
        log, target = process.log(n, rng)
        found = ReturnDistribution.of(log, importance_weights(log, target))
        return {
            "variance": found.variance().interval(),
            "cvar_lower_25": found.cvar_lower(0.25).interval(),
            "cdf at 0": found.cdf_interval(0.0),
            "cdf at 0, delta limits": found.cdf(0.0).interval(),
            "median": found.quantile(0.5),
        }

    return tally(truths, replicates, once)


def time_to_event(process: Process, n: int, replicates: int, seed: int) -> dict[str, Tally]:
    """Weighted Kaplan-Meier with drop-out at random."""
    rng, truth = np.random.default_rng([seed, n]), process.truth["target"]
    rate = 365.2425 / process.spec["step_length_days"]
    truths = {
        "probability": truth["prob_adr_by_end"],
        "probability, plain limits": truth["prob_adr_by_end"],
        "restricted mean": truth["restricted_mean_adr_free_steps"],
        "rate": truth["adr_rate_per_patient_year"],
    }

    def once() -> dict[str, Interval]:
        log, target = process.log(n, rng, drop_out=process.spec["dropout_per_step"], until_adverse=True)
        found = weighted_kaplan_meier(log, importance_weights(log, target), "adr")
        return {
            "probability": found.probability_interval(),
            "probability, plain limits": found.probability().interval(),
            "restricted mean": found.restricted_mean().interval(),
            "rate": found.rate(rate).interval(),
        }

    return tally(truths, replicates, once)


def sequence_held(
    process: Process, first_look: int, replicates: int, seed: int, looks: int = LOOKS
) -> dict[str, float]:
    """Share of replicates in which the confidence sequence holds at every look, one after each patient."""
    rng, truth = np.random.default_rng([seed, first_look]), process.truth["target"]["discounted_return"]
    n = np.arange(first_look, first_look + looks)
    held = {"pdwis": 0, "wis": 0}
    for _ in range(replicates):
        log, target = process.log(first_look + looks - 1, rng)
        weight = np.exp(importance_weights(log, target).log_weight)
        rewards = log.rewards * process.discount
        last = weight[:, -1]
        effective = (np.cumsum(last) ** 2 / np.cumsum(last**2))[first_look - 1 :]
        quantile = sequence_quantile(n, np.maximum(effective - 1.0, 1.0), first_look)
        for name, share, gain in (
            ("pdwis", weight, rewards),
            ("wis", last[:, None], rewards.sum(axis=1, keepdims=True)),
        ):
            value, standard_error = _running(share, gain)
            away = np.abs(value - truth)[first_look - 1 :]
            held[name] += bool((away <= quantile * standard_error[first_look - 1 :]).all())
    return {name: number / replicates for name, number in held.items()}


def _running(weight: Floats, rewards: Floats) -> tuple[Floats, Floats]:
    """Sum over columns of weighted means of the first 1, 2, ... patients, and its standard error, (n,) each.

    The log weights of this process are moderate: no scaling.
    """
    k = weight.shape[1]
    both = np.hstack([weight * rewards, weight])
    sums = np.cumsum(both, axis=0)
    mean = sums[:, :k] / sums[:, k:]
    products = np.cumsum(both[:, :, None] * both[:, None, :], axis=0)
    slope = np.hstack([1.0 / sums[:, k:], -mean / sums[:, k:]])
    squared = np.einsum("na,nab,nb->n", slope, products, slope)
    return mean.sum(axis=1), np.sqrt(np.maximum(squared, 0.0))


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--replicates", default=2000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(folder: Path, replicates: int, seed: int) -> None:
    """Print coverage, width and bias of the intervals, and how often confidence sequences hold."""
    print(f"{load()}; {replicates} replicates, seed {seed}")
    process = Process.read(folder / "tabular_short")
    with np.load(folder / "tabular_short" / "data.npz") as data:
        tables = {name: data[f"q_{name}"] for name in ("exact", "wrong")}
    for n in SIZES:
        show(f"n = {n}", default_intervals(process, tables, n, replicates, seed))
    for n in SIZES:
        title = f"n = {n}, drop-out {DROP_OUT:.0%} a step, corrected"
        show(title, default_intervals(process, tables, n, replicates, seed, DROP_OUT))
    for n in SIZES[1:]:
        show(f"n = {n}, distribution of returns", of_returns(process, n, replicates, seed))
    adverse = Process.read(folder / "time_to_adr")
    for n in SIZES[1:]:
        show(f"n = {n}, time to the adverse reaction", time_to_event(adverse, n, replicates, seed))
    print(f"\nconfidence sequence: share of replicates held over {LOOKS:,} looks")
    for first_look in (200, 500, 1000):
        held = sequence_held(process, first_look, replicates, seed)
        print(f"  first look at {first_look:5d}: " + "   ".join(f"{k} {v:.3f}" for k, v in held.items()))


def show(title: str, tallies: Mapping[str, Tally]) -> None:
    """Print a table."""
    print(f"\n{title}")
    for name, each in tallies.items():
        print(f"  {name:26s} {each}", flush=True)


if __name__ == "__main__":
    main()
