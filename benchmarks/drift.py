"""How often surveillance says that something changed, where nothing did and where something did.

``python -m benchmarks.drift [DRUG] [--patients N] [--learned N] [--pools DIR]``

Patients are treated by the shipped policy in the clinic preset, each once, and resampled whole; DIR keeps
them for the next time. What is usual is learned from one pool, of which a version's rehearsal has 2000
patients (``--learned 2000``), and tried on others. Three tables:

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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import click
import numpy as np
from joblib import Memory
from numpy.typing import NDArray

from benchmarks.drugs import load
from dosewright.agents import load as shipped
from dosewright.agents.estimation import Belief, BeliefFilter, log_likelihood
from dosewright.agents.refinement.drift import STEP, Baseline, Plan, Pool, Signals, watch
from dosewright.agents.refinement.usual import AFTER, BEFORE, CHANGES, PATIENTS, RehearsalClinic
from dosewright.envs import scenario
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.statistics import Interval, proportion_interval

Floats = NDArray[np.float64]

SHARE = 0.2
"""Of the patients who change."""
RATE, EARLIER, NEW = 5.0, 300, 3000
"""Patients a day; patients who come before those who are different, and since."""
BLOCK = 1000
QUIET = 200
"""Runs without a shift."""
ALPHA = 0.09
"""False alarms that the thresholds are set for where power is asked for: 10 % is what may come of it."""


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


def treated(
    drug: str,
    seed: int,
    enrolled: Floats,
    change: str = "",
    since: float | None = 0.0,
    oracles: tuple[str, ...] = (),
) -> Cohort:
    """Treat patients by the policy that ships, all of whom change at a moment, or nobody; `oracles` are
    changes whose likelihood ratios are asked for."""
    known = scenario(drug)
    clinic = RehearsalClinic.of(known, shipped(drug), "clinic", seed)
    world = clinic.needing(CHANGES[change], since) if change else None
    log, _, signals = clinic.treated(enrolled, world)
    # an oracle forgets nothing, whatever fades live
    kept = BeliefFilter(known, clinic.dosing.particles, 1.0, visits=clinic.dosing.filter.visits)
    as_is = _in_blocks(kept, log, enrolled, 1.0) if oracles else np.zeros(0)
    ratio = {name: _in_blocks(kept, log, enrolled, CHANGES[name]) - as_is for name in oracles}
    return Cohort(Pool.of(signals), enrolled, ratio)


def _in_blocks(kept: BeliefFilter, log: Trajectories, enrolled: Floats, change: float) -> Floats:
    """Return `_log_likelihood` of all patients (n,), some at a time."""
    places = np.arange(len(enrolled))
    blocks = [places[first : first + BLOCK] for first in range(0, len(places), BLOCK)]
    return np.concatenate(
        [_log_likelihood(kept, log.select(some), enrolled[some], change) for some in blocks]
    )


def _log_likelihood(kept: BeliefFilter, log: Trajectories, enrolled: Floats, change: float) -> Floats:
    """Return the log likelihood (n,) of the results after day 0, if the need changes by a factor on it."""
    clock, seen = kept.scenario.clock, log.observations.astype(np.float32)
    belief: Belief | None = None
    assert log.times is not None
    days = log.times * clock.days / clock.shown
    total = np.zeros(len(seen))
    for visit in range(seen.shape[1]):
        rows = np.flatnonzero(log.mask[:, visit])
        if not len(rows):
            break
        moved, arrived = kept.expect(None if belief is None else belief.select(rows), seen[rows, visit])
        if belief is None and change != 1.0:
            moved = _supposed(kept, moved, np.ceil(np.maximum(-enrolled, 0.0) / clock.days), change)
        for i, item in enumerate(kept.scenario.measurements):
            for offset in range(arrived.shape[1]):
                got = np.flatnonzero(~np.isnan(arrived[:, offset, i]))
                some, result = moved.select(got), arrived[got, offset, i][:, None]
                each = log_likelihood(item.error, some.predicted[:, offset, :, i], result, result)
                most = each.max(axis=1, keepdims=True, initial=-np.inf)
                density = most[:, 0] + np.log(some.mean(np.exp(each - most)))
                after = enrolled[rows[got]] + days[rows[got], visit] > 0
                total[rows[got]] += np.where(after, density, 0.0)
        new = kept.weigh(moved, seen[rows, visit])
        belief = new if belief is None else belief.replace_rows(rows, new)
    return total


def _supposed(kept: BeliefFilter, belief: Belief, unit: Floats, change: float) -> Belief:
    """Return beliefs at the start by which the need changes by a factor at a unit (n,)."""
    known = kept.scenario
    stretches = max(belief.trend.shape[1], 1)
    trend = belief.trend if belief.trend.shape[1] else np.ones((len(unit), 1, belief.theta.shape[2]))
    later = trend.copy()
    later[:, :, known.model.column(known.need)] *= change
    units = np.arange(known.horizon)
    stretch = belief.stretch if belief.stretch.shape[1] else np.zeros((len(unit), len(units)), dtype=np.int64)
    moved = np.where(units >= unit[:, None], stretch + stretches, stretch)
    return replace(belief, trend=np.concatenate([trend, later], axis=1), stretch=moved)


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


def followed(
    learn: Callable[[int], Baseline],
    world: Followed,
    sizes: Sequence[int],
    runs: int,
    rng: np.random.Generator,
) -> None:
    """Print the power against the number of followed patients."""
    print(f"\n{SHARE:.0%} of N followed patients change on one date; {runs} runs of each number")
    print(
        f"  {'N':>5s}  {'':14s}{'says anything':26s}{'asks for action':26s}{'names the change':26s}"
        f"{'oracle, not told whether':26s}oracle"
    )
    power = {name: (list[float](), list[float](), list[float]()) for name in world.changed}
    for n in sizes:
        baseline = learn(n)
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
        needed, blind, best = (_needed(sizes, curve) for curve in curves)
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


def _needed(sizes: Sequence[int], power: Sequence[float]) -> float:
    """Return where the power passes 80 %, on the line between its neighbours; NaN where it never does."""
    rising = np.maximum.accumulate(power)
    if not rising[0] < 0.8 <= rising[-1]:
        return float("nan")
    return float(np.interp(0.8, rising, sizes))


def admitted(
    baseline: Baseline, usual: Cohort, different: Cohort, runs: int, rng: np.random.Generator
) -> None:
    """Print how many patients it takes where a part of those who come new is different."""
    when = list[float]()
    for _ in range(runs):
        n = EARLIER + NEW
        begun = np.sort(rng.uniform(0.0, n / RATE, n))
        changed = (np.arange(n) >= EARLIER) & (rng.random(n) < SHARE)
        parts = [
            cohort.pool.drawn(rng.integers(len(cohort.enrolled), size=which.sum()), begun[which])
            for cohort, which in ((usual, ~changed), (different, changed))
        ]
        parts[1] = replace(parts[1], patient=parts[1].patient + n)
        alarms = watch(Signals.joined(parts), baseline, float(begun[-1])).alarms
        late = [alarm.time for alarm in alarms if alarm.time >= begun[EARLIER]]
        when.append(
            float((begun <= late[0]).sum() - EARLIER) if late and late[0] == alarms[0].time else np.inf
        )
    print(f"\nneeds more in {SHARE:.0%} of new patients, after {EARLIER} others, {RATE:g} a day; {runs} runs")
    for n in range(500, NEW + 1, 500):
        print(f"  {n:5d} new patients   {share(np.array(when) <= n)}")


def _first(signals: Signals, patients: int) -> Signals:
    return signals.select(signals.patient < patients)


@click.command()
@click.argument("drug", default="warfarin")
@click.option("--patients", type=click.IntRange(4000), default=40000, show_default=True, help="Of each pool.")
@click.option(
    "--learned",
    type=click.IntRange(1000),
    help="Of them, those that what is usual is learned from; else all.",
)
@click.option("--runs", type=click.IntRange(20), default=400, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(20),
    multiple=True,
    show_default=True,
    default=(100, 150, 200, 250, 300, 350, 400, 500),
    help="Followed patients; as often as wanted.",
)
@click.option(
    "--pools", type=click.Path(file_okay=False), help="Folder in which simulated patients are kept."
)
def main(
    drug: str,
    patients: int,
    learned: int | None,
    runs: int,
    seed: int,
    sizes: tuple[int, ...],
    pools: str | None,
) -> None:
    """Print the tables."""
    cohort = cast("Callable[..., Cohort]", Memory(pools, verbose=0).cache(treated))
    rng, some, known = np.random.default_rng(seed), patients // 4, scenario(drug)
    most = patients if learned is None else min(learned, patients)
    print(f"{load()}; {drug}, {most} patients to learn from, {patients} to test with, seed {seed}")
    back, ahead = (part * known.horizon * known.clock.days for part in (BEFORE, AFTER))
    before, begun_around, now, begun = (
        rng.uniform(-back, last, n)
        for last, n in ((ahead, patients), (ahead, some), (0.0, patients), (0.0, some))
    )
    usual, fresh = cohort(drug, seed, before), cohort(drug, seed + 2, now)
    changed = {name: cohort(drug, seed + 1, begun_around, name).pool.signals for name in CHANGES}

    seen = _first(usual.pool.signals, most)
    after = {name: _first(signals, max(most // 4, PATIENTS)) for name, signals in changed.items()}

    def learn(plan: Plan) -> Baseline:
        return Baseline.learn(seen, after, 0.0, plan, seed)

    baseline = learn(Plan())
    for stream, templates in baseline.templates.items():
        for each in templates:
            print(f"  {stream}, {each.name}: {each.information:.4f} of information a patient")
    quiet(baseline, fresh, QUIET, rng)
    different = cohort(drug, seed + 4, begun, "needs more", None)
    admitted(learn(Plan(EARLIER + NEW, (EARLIER + NEW) / RATE)), fresh, different, runs // 4, rng)
    same = cohort(drug, seed + 3, begun, oracles=tuple(CHANGES))
    others = {name: cohort(drug, seed + 4, begun, name, oracles=tuple(CHANGES)) for name in CHANGES}
    followed(lambda n: learn(Plan(n, back, ALPHA)), Followed(same, others), sizes, runs, rng)


if __name__ == "__main__":
    main()
