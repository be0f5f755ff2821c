"""How often surveillance says that something changed, where nothing did and where something did.

``python -m benchmarks.drift [DRUG] [--patients N] [--pools DIR]``

Patients are treated by the shipped policy in the clinic preset, each once, and resampled whole; DIR keeps
them for the next time. Three tables:

- without a shift: how often any chart says anything in a run of 1000 patients;
- clearance +30 % (the parameter that the drug's need goes with) in 20 % of N patients who are followed when
  it happens, or as much less: the power of all charts together, at 10 % false alarms in the same time,
  beside the likelihood ratio of who knows the date, the parameter, its size and how many, but not who, and
  of who does not know whether it is more or less;
- clearance +30 % in 20 % of the patients who are enrolled from a date on, by how many have come since.

Intervals are Wilson's, of the runs. Overrides are made up (5 % of the visits, beta-distributed over
patients): the simulation has nobody who overrides. Research simulation, not for clinical use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import click
import numpy as np
from joblib import Memory
from numpy.typing import NDArray

from benchmarks.drugs import load
from dosewright.agents import load as shipped
from dosewright.agents.estimation import Belief, BeliefFilter, log_likelihood
from dosewright.agents.estimation.likelihood import residual_variance
from dosewright.agents.refinement.drift import STEP, Baseline, Plan, Pool, Signals, watch
from dosewright.agents.regimens.noisy import Noisy
from dosewright.envs import Noise, Scenario, scenario
from dosewright.envs.measurement import Measurement
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.recording import EVER_IN_HARM, record
from dosewright.evaluation.statistics import Interval, proportion_interval
from dosewright.evaluation.worlds import HiddenShift

Floats = NDArray[np.float64]

FACTOR, SHARE = 1.3, 0.2
"""Of the change, and of the patients who change."""
BACK, AHEAD = 60.0, 20.0
"""Days before and after the date in which patients are enrolled from whom changes are learned."""
PARTICLES, OVERRIDDEN, CONCENTRATION = 64, 0.05, 5.0
RATE, BEFORE, NEW = 5.0, 300, 3000
"""Patients a day; patients who come before those who are different, and since."""
FEWEST = 0.05
"""Share of the patients that makes a group."""
BOUND = 1.6448536269514722  # SD of an interval of 90 %
BLOCK = 1000
QUIET = 200
"""Runs without a shift."""
SIZES = (100, 150, 200, 250, 300, 350, 400, 500)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Simulated patients.

    Attributes
    ----------
    pool
        Their signals.
    enrolled : (n,) day of enrolment, on the calendar of the change
    ratio : name of a change -> (n,) log likelihood ratio of the results after day 0
    """

    pool: Pool
    enrolled: Floats
    ratio: Mapping[str, Floats]


@dataclass(frozen=True)
class Clinic:
    """Who is treated, and how: makes cohorts."""

    known: Scenario
    kept: BeliefFilter
    treats: Noisy

    @classmethod
    def of(cls, name: str) -> Clinic:
        """Return the clinic of a drug."""
        known = scenario(name)
        return cls(known, BeliefFilter(known, PARTICLES, 1.0), Noisy(known, shipped(name)))

    def cohort(
        self,
        seed: int,
        enrolled: Floats,
        change: float = 1.0,
        since: float | None = 0.0,
        oracles: Sequence[str] = (),
    ) -> Cohort:
        """Treat patients, all of whom change by a factor at a moment, 1: nobody does; `oracles` are changes
        whose likelihood ratios are asked for."""
        known, ids = self.known, np.arange(len(enrolled))
        world = None if change == 1.0 else HiddenShift("changed", "", {known.need: change}, since=since)
        noise, realism = Noise("select", seed), known.preset("clinic")
        log = record(
            known, self.treats, known.population, ids, noise, realism, world=world, enrolled=enrolled
        )
        parts, ratios = list[Signals](), {name: list[Floats]() for name in oracles}
        for first in range(0, len(ids), BLOCK):
            some = log.select(ids[first : first + BLOCK])
            begun = enrolled[first : first + BLOCK]
            signals, as_is = self._believed(some, begun, first)
            parts.append(signals)
            for name, found in ratios.items():
                _, otherwise = self._believed(some, begun, first, CHANGES[name])
                found.append(otherwise - as_is)
        parts += self._around(log, enrolled, np.random.default_rng(seed))
        together = {name: np.concatenate(found) for name, found in ratios.items()}
        return Cohort(Pool.of(Signals.joined(parts)), enrolled, together)

    def _believed(
        self, log: Trajectories, enrolled: Floats, first: int, change: float = 1.0
    ) -> tuple[Signals, Floats]:
        """Return the innovations of a log and whether each result was covered; and the log likelihood (n,) of
        the results after day 0, under a change by a factor on that day."""
        seen, columns = log.observations.astype(np.float32), list[tuple[Any, ...]]()
        belief: Belief | None = None
        assert log.times is not None
        total = np.zeros(len(seen))
        for visit in range(seen.shape[1]):
            rows = np.flatnonzero(log.mask[:, visit])
            if not len(rows):
                break
            before = None if belief is None else belief.select(rows)
            moved, arrived = self.kept.expect(before, seen[rows, visit])
            if belief is None and change != 1.0:
                moved = self._supposed(moved, np.ceil(np.maximum(-enrolled, 0.0)), change)
            days = log.times[rows, visit]
            for i, item in enumerate(self.known.measurements):
                for offset in range(arrived.shape[1]):
                    got = np.flatnonzero(~np.isnan(arrived[:, offset, i]))
                    some, result = moved.select(got), arrived[got, offset, i]
                    z, log_density = _judged(some, item, some.predicted[:, offset, :, i], result)
                    after = enrolled[rows[got]] + days[got] > 0
                    total[rows[got]] += np.where(after, log_density, 0.0)
                    columns.append((item.name, first + rows[got], enrolled[rows[got]], days[got], z))
            new = self.kept.weigh(moved, seen[rows, visit])
            belief = new if belief is None else belief.replace_rows(rows, new)
        parts = [
            Signals.of(begun + course, course, who, "", f"{kind}:{name}", value)
            for name, who, begun, course, z in columns
            for kind, value in (("innovation", z), ("covered", np.abs(z) <= BOUND))
        ]
        return Signals.joined(parts), total

    def _supposed(self, belief: Belief, unit: Floats, change: float) -> Belief:
        """Return beliefs at the start by which the need changes by a factor at a unit (n,)."""
        stretches = max(belief.trend.shape[1], 1)
        trend = belief.trend if belief.trend.shape[1] else np.ones((len(unit), 1, belief.theta.shape[2]))
        later = trend.copy()
        later[:, :, self.known.model.column(self.known.need)] *= change
        units = np.arange(self.known.horizon)
        stretch = (
            belief.stretch if belief.stretch.shape[1] else np.zeros((len(unit), len(units)), dtype=np.int64)
        )
        moved = np.where(units >= unit[:, None], stretch + stretches, stretch)
        return replace(belief, trend=np.concatenate([trend, later], axis=1), stretch=moved)

    def _around(self, log: Trajectories, enrolled: Floats, rng: np.random.Generator) -> Iterator[Signals]:
        """Yield covariates, overrides, and harm of all and by group."""
        spec, n = self.known.observation, len(enrolled)
        assert log.times is not None
        first, who = log.observations[:, 0].astype(np.float32), np.arange(n)
        people = {entry.name: spec.read(first, entry.name) for entry in self.known.covariates}
        for name, value in people.items():
            there = ~np.isnan(value)
            if there.any() and np.ptp(value[there]) > 0:
                yield Signals.of(
                    enrolled[there], np.zeros(there.sum()), who[there], "", f"covariate:{name}", value[there]
                )
        row, visit = np.nonzero(log.mask)
        course = np.asarray(log.times[row, visit], dtype=np.float64)
        habit = rng.beta(OVERRIDDEN * CONCENTRATION, (1 - OVERRIDDEN) * CONCENTRATION, n)
        yield Signals.of(
            enrolled[row] + course, course, row, "", "override", rng.random(len(row)) < habit[row]
        )
        # harm of an interval is known at its end; whoever was in harm is not asked again
        ends = np.append(log.times[:, 1:], np.zeros((n, 1)), axis=1)
        ends = np.where(
            np.append(log.mask[:, 1:], np.zeros((n, 1), dtype=bool), axis=1), ends, self.known.days[1:]
        )
        harmed = log.outcomes[EVER_IN_HARM]
        at_risk = log.mask & (np.cumsum(harmed, axis=1) - harmed == 0.0)
        for name, member in _groups(log, people):
            row, visit = np.nonzero(member[:, None] & at_risk)
            course = np.asarray(ends[row, visit], dtype=np.float64)
            yield Signals.of(enrolled[row] + course, course, row, "", f"harm:{name}", harmed[row, visit])


CHANGES = {"needs more": FACTOR, "needs less": 1.0 / FACTOR}


def _judged(belief: Belief, item: Measurement, predicted: Floats, result: Floats) -> tuple[Floats, Floats]:
    """Return the standardised innovation (n,) of results (n,), at most six, and their log density."""
    truth, value = (np.log(predicted), np.log(result)) if item.error.log_sd else (predicted, result)
    mean, spread = belief.mean_sd(truth)
    expected = np.sqrt(spread**2 + belief.mean(residual_variance(item.error, predicted)))
    each = log_likelihood(item.error, predicted, result[:, None], result[:, None])
    most = each.max(axis=1, keepdims=True, initial=-np.inf)
    density = belief.mean(np.exp(each - most))
    return np.clip((value - mean) / expected, -6.0, 6.0), most[:, 0] + np.log(density)


def _groups(log: Trajectories, people: Mapping[str, Floats]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield who is watched apart, (n,): all, and groups that are not rare, by sex, age and label."""
    n = len(log.mask)
    yield "all", np.ones(n, dtype=bool)
    found = {}
    if "male" in people:
        found |= {f"male={value}": people["male"] == value for value in (0, 1)}
    if "age_y" in people:
        found |= {"age>=65": people["age_y"] >= 65, "age<65": people["age_y"] < 65}
    for name, labels in log.strata.items():
        if name != "stratum":
            found |= {f"{name}={label}": labels == label for label in np.unique(labels)}
    yield from ((name, member) for name, member in found.items() if FEWEST <= member.mean() <= 1 - FEWEST)


def share(happened: NDArray[np.bool_]) -> str:
    """Return a share with its interval, in per cent."""
    found: Interval = proportion_interval(happened)
    return f"{100 * found.mean:5.1f} % ({100 * found.low:4.1f} to {100 * found.high:4.1f})"


# ------------------------------------------------------------------------------------------------- tables


def quiet(baseline: Baseline, fresh: Cohort, runs: int, rng: np.random.Generator) -> None:
    """Print how often charts say something without a shift."""
    plan, said = baseline.plan, list[dict[str, bool]]()
    for _ in range(runs):
        rows = rng.integers(len(fresh.enrolled), size=plan.patients)
        signals = fresh.pool.drawn(rows, rng.uniform(0.0, plan.span, plan.patients))
        alarms = watch(signals, baseline, float(signals.time.max()) + STEP).alarms
        kinds = {alarm.stream.partition(":")[0] for alarm in alarms}
        acts = any(alarm.acts is not None for alarm in alarms)
        said.append({"anything": bool(alarms), "asks for action": acts} | dict.fromkeys(kinds, True))
    charts = len(baseline.thresholds)
    print(f"\nno shift: {runs} runs of {plan.patients} patients over {plan.span:g} days, {charts} charts")
    for name in sorted({name for each in said for name in each}, key=lambda name: (name != "anything", name)):
        print(f"  {name:20s}{share(np.array([each.get(name, False) for each in said]))}")


@dataclass(frozen=True, eq=False)
class Followed:
    """Patients who are followed when some of them change: as they are, and others who changed, by change."""

    usual: Cohort
    changed: Mapping[str, Cohort]

    def run(self, n: int, name: str | None, rng: np.random.Generator) -> tuple[Signals, dict[str, float]]:
        """Return signals of n patients, of whom a share changed or nobody, and what the oracle adds up."""
        count = 0 if name is None else int(rng.binomial(n, SHARE))
        drawn = [(self.usual, n - count)] + ([] if name is None else [(self.changed[name], count)])
        # the days on which changes are looked for are not that of the change
        later, parts = rng.uniform(0.0, 28.0), list[Signals]()
        oracle = dict.fromkeys(self.changed, 0.0)
        for cohort, size in drawn:
            rows = rng.integers(len(cohort.enrolled), size=size)
            signals = cohort.pool.drawn(rows, cohort.enrolled[rows] + later)
            parts.append(replace(signals, patient=signals.patient + n * len(parts)))
            for change in oracle:
                oracle[change] += float(np.log1p(SHARE * np.expm1(cohort.ratio[change][rows])).sum())
        return Signals.joined(parts), oracle


@dataclass(frozen=True)
class Looked:
    """What was said of a run: charts with an alarm, whether one asks for action, the oracle's statistics."""

    charts: frozenset[str]
    acts: bool
    oracle: Mapping[str, float]


def _looked(run: tuple[Signals, dict[str, float]], baseline: Baseline) -> Looked:
    signals, oracle = run
    alarms = watch(signals, baseline, float(signals.time.max()) + STEP).alarms
    acts = any(alarm.acts is not None for alarm in alarms)
    return Looked(frozenset(alarm.chart for alarm in alarms), acts, oracle)


def followed(learn: Callable[[Plan], Baseline], world: Followed, runs: int, rng: np.random.Generator) -> None:
    """Print the power against the number of followed patients."""
    print(f"\n{SHARE:.0%} of N followed patients change on one date; {runs} runs of each number")
    print(
        f"  {'N':>5s}  {'':14s}{'says anything':26s}{'asks for action':26s}{'names the change':26s}"
        f"{'oracle, not told whether':26s}oracle"
    )
    power = {name: (list[float](), list[float](), list[float]()) for name in world.changed}
    for n in SIZES:
        baseline = learn(Plan(n, BACK, 0.09))
        nobody = [_looked(world.run(n, None, rng), baseline) for _ in range(runs)]
        _row(n, "nobody", nobody, [])
        for name, curves in power.items():
            found = [_looked(world.run(n, name, rng), baseline) for _ in range(runs)]
            named = np.array([name in each.charts for each in found])
            best, blind = (_beyond(nobody, found, some) for some in ((name,), tuple(world.changed)))
            _row(n, name, found, [named, blind, best])
            said = np.array([bool(each.charts) for each in found])
            for curve, passed in zip(curves, (said, blind, best), strict=True):
                curve.append(float(np.mean(passed)))
    for name, curves in power.items():
        needed, blind, best = (_needed(curve) for curve in curves)
        print(
            f"  {name}, 80 % power: {needed:.0f} patients; oracle {best:.0f}, {needed / best:.2f} times; "
            f"oracle not told whether more or less {blind:.0f}, {needed / blind:.2f} times"
        )


def _beyond(nobody: Sequence[Looked], found: Sequence[Looked], changes: Sequence[str]) -> NDArray[np.bool_]:
    """Return in which runs the likelihood ratio of one of some changes is beyond what it is without a change,
    each in an equal part of 10 % of the runs."""
    usual, here = (
        np.array([[each.oracle[change] for change in changes] for each in runs]) for runs in (nobody, found)
    )
    return np.any(here > np.quantile(usual, 1.0 - 0.1 / len(changes), axis=0), axis=1)


def _row(n: int, name: str, found: Sequence[Looked], more: Sequence[NDArray[np.bool_]]) -> None:
    said, acts = (np.array(column) for column in zip(*((bool(e.charts), e.acts) for e in found), strict=True))
    print(
        f"  {n:5d}  {name:14s}" + "".join(f"{share(column):26s}" for column in (said, acts, *more)),
        flush=True,
    )


def _needed(power: Sequence[float]) -> float:
    """Return where the power passes 80 %, on the line between its neighbours; NaN where it never does."""
    rising = np.maximum.accumulate(power)
    if not rising[0] < 0.8 <= rising[-1]:
        return float("nan")
    return float(np.interp(0.8, rising, SIZES))


def admitted(
    baseline: Baseline, usual: Cohort, different: Cohort, runs: int, rng: np.random.Generator
) -> None:
    """Print how many patients it takes where a part of those who come new is different."""
    when = list[float]()
    for _ in range(runs):
        n = BEFORE + NEW
        begun = np.sort(rng.uniform(0.0, n / RATE, n))
        changed = (np.arange(n) >= BEFORE) & (rng.random(n) < SHARE)
        parts = [
            cohort.pool.drawn(rng.integers(len(cohort.enrolled), size=which.sum()), begun[which])
            for cohort, which in ((usual, ~changed), (different, changed))
        ]
        parts[1] = replace(parts[1], patient=parts[1].patient + n)
        alarms = watch(Signals.joined(parts), baseline, float(begun[-1])).alarms
        late = [alarm.time for alarm in alarms if alarm.time >= begun[BEFORE]]
        when.append(
            float((begun <= late[0]).sum() - BEFORE) if late and late[0] == alarms[0].time else np.inf
        )
    print(
        f"\nneeds more in {SHARE:.0%} of the new patients, after {BEFORE} others, {RATE:g} a day; {runs} runs"
    )
    for n in range(500, NEW + 1, 500):
        print(f"  {n:5d} new patients   {share(np.array(when) <= n)}")


def treated(
    drug: str,
    seed: int,
    enrolled: Floats,
    change: float = 1.0,
    since: float | None = 0.0,
    oracles: tuple[str, ...] = (),
) -> Cohort:
    """Return a cohort of `Clinic.cohort`; by names and numbers, so that it can be kept."""
    return Clinic.of(drug).cohort(seed, enrolled, change, since, oracles)


@click.command()
@click.argument("drug", default="warfarin")
@click.option("--patients", type=click.IntRange(4000), default=40000, show_default=True)
@click.option("--runs", type=click.IntRange(20), default=400, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--pools", type=click.Path(file_okay=False), help="Folder in which simulated patients are kept."
)
def main(drug: str, patients: int, runs: int, seed: int, pools: str | None) -> None:
    """Print the tables."""
    cohort = cast("Callable[..., Cohort]", Memory(pools, verbose=0).cache(treated))
    rng, some = np.random.default_rng(seed), patients // 4
    print(f"{load()}; {drug}, {patients} patients to learn from, {patients} to test with, seed {seed}")
    before, learned, now, begun = (
        rng.uniform(-BACK, ahead, n)
        for ahead, n in ((AHEAD, patients), (AHEAD, some), (0.0, patients), (0.0, some))
    )
    usual, fresh = cohort(drug, seed, before), cohort(drug, seed + 2, now)
    changed = {name: cohort(drug, seed + 1, learned, by).pool.signals for name, by in CHANGES.items()}

    def learn(plan: Plan) -> Baseline:
        return Baseline.learn(usual.pool.signals, changed, 0.0, plan, seed)

    baseline = learn(Plan())
    for stream, templates in baseline.templates.items():
        for each in templates:
            print(f"  {stream}, {each.name}: {each.information:.4f} of information a patient")
    quiet(baseline, fresh, QUIET, rng)
    different = cohort(drug, seed + 4, begun, FACTOR, None)
    admitted(learn(Plan(BEFORE + NEW, (BEFORE + NEW) / RATE)), fresh, different, runs // 4, rng)
    same = cohort(drug, seed + 3, begun, oracles=tuple(CHANGES))
    others = {name: cohort(drug, seed + 4, begun, by, oracles=tuple(CHANGES)) for name, by in CHANGES.items()}
    followed(learn, Followed(same, others), runs, rng)


if __name__ == "__main__":
    main()
