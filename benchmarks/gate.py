"""How often the gate promotes, by how good a candidate truly is.

``python -m benchmarks.gate trials [--pools DIR]``: candidates for warfarin in the clinic preset against an
incumbent, whose difference is known from 50,000 pairs. Each meets `RUNS` gates with two trials of 4000 pairs.
Patients are drawn from the 50,000 with replacement: runs are then independent, and the truth of the
population they are drawn from is that of the pool, without error. Both simulators are the true population,
each trial with patients of its own: nothing shifted, and what a refit to 500 patients gets wrong is 2 % of
what patients need.

``python -m benchmarks.gate logs [--pools DIR]``: what logs of 500 patients, dosed by the incumbent with its
dose moved by a tablet in a fifth of the visits, say of candidates: how often they answer, and how often they
veto. A log is drawn without replacement from 20,000 patients, independently of other logs, so two of them
share 12 patients or so. Values are linear (ridge) where the gate's default is trees: a quarter of the
time, and neither harm nor whether weights may answer depends on them.

``python -m benchmarks.gate wrong [--pools DIR]``: a world that both simulators are wrong about, in which a
candidate that passes in them does harm; and what logs show of it, with doses moved as above, or of a regimen
that tries the candidate out: its dose with 1/2 where the two differ.

Intervals of shares are Wilson's. Research simulation, not for clinical use.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import click
import numpy as np
from joblib import Memory
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from benchmarks.drugs import load
from dosewright.agents import arm
from dosewright.agents import load as shipped
from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.refinement.gate import (
    Gate,
    OffPolicy,
    PredictiveFit,
    Tried,
    Verdict,
    Where,
    tried,
    vetoes,
)
from dosewright.agents.regimens.bayesian import Bayesian
from dosewright.agents.regimens.draws import visit_uniforms
from dosewright.agents.regimens.noisy import Noisy
from dosewright.envs import DrawKeys, Noise, Regimen, Scenario, scenario
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.recording import record
from dosewright.evaluation.statistics import Difference, proportion_interval
from dosewright.evaluation.trial import TrialDesign, TrialResult
from dosewright.evaluation.trial.block import PER_PATIENT, Block, treat
from dosewright.evaluation.worlds import HiddenShift

Floats = NDArray[np.float64]

PATIENTS, CHUNK = 50_000, 10_000
"""Pairs behind a true difference, and how many of them are simulated and kept together."""
RUNS, LOGS = 200, 40
LOGGED, LOG = 20_000, 500
"""Patients that logs are drawn from, and of a log."""
PARTICLES, BLOCK = 32, 2000
SILENT = PredictiveFit(0, 0.0)
NO_LOG = OffPolicy("no log", "not asked here", 0)


# ----------------------------------------------------------------------------------------------- regimens


@dataclass(frozen=True)
class Moved:
    """Another regimen's dose times a factor."""

    of: Regimen
    factor: float
    name: str
    needs: frozenset[str] = frozenset()

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Floats, Any]:
        """Return the dose (n,)."""
        dose, state = self.of.predict(observation, state, episode_start)
        return dose * self.factor, state


@dataclass(frozen=True)
class Blended:
    """The weighted geometric mean of two regimens' doses."""

    one: Regimen
    other: Regimen
    weight: float
    name: str
    needs: frozenset[str] = frozenset()

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Floats, Any]:
        """Return the dose (n,)."""
        states = (None, None) if state is None else state
        one, first = self.one.predict(observation, states[0], episode_start)
        other, second = self.other.predict(observation, states[1], episode_start)
        return one ** (1.0 - self.weight) * other**self.weight, (first, second)


@dataclass(frozen=True)
class Nudged:
    """Another regimen's dose, some tablets more or fewer where the last INR lies between two limits after
    day 0: what a log of doses moved by a tablet can speak about."""

    known: Scenario
    of: Regimen
    tablets: int
    above: float
    below: float
    name: str
    needs: frozenset[str] = frozenset()

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Floats, Any]:
        """Return the dose (n,)."""
        dose, state = self.of.predict(observation, state, episode_start)
        inr, day = (self.known.observation.read(observation, name) for name in ("inr", "day"))
        here = (inr > self.above) & (inr < self.below) & (day > 0)
        grid = self.known.doses
        moved = grid.snap(dose) + np.where(here, self.tablets * grid.step, 0.0)
        return np.clip(moved, 0.0, grid.maximum), state


@dataclass(frozen=True)
class Undecided:
    """Who tries a change out: the changed dose with 1/2 where it differs, else the usual one; all else as
    usual. The log that answers best about that change."""

    change: Nudged
    name: str = "undecided"
    needs: frozenset[str] = frozenset()

    def initial_state(self, keys: DrawKeys) -> Any:
        """Return keys, visit, memory, and the two doses of the last visit."""
        none = np.zeros(len(keys.patients))
        return keys, none.astype(np.int64), None, (none, none)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Floats, Any]:
        """Return the dose (n,): a draw, or the usual one."""
        keys, visit, memory, _ = state
        snap = self.change.known.doses.snap
        usual = snap(self.change.of.predict(observation, memory, episode_start)[0])
        changed, memory = self.change.predict(observation, memory, episode_start)
        draw = visit_uniforms(keys, visit) < 0.5
        dose = np.where(draw & (not deterministic), snap(changed), usual)
        return dose, (keys, visit + 1, memory, (usual, snap(changed)))

    def log_prob(self, observation: Any, state: Any, dose: Any) -> Floats:
        """Return (n,) the log probability of a dose at the visit of `state`."""
        same = self.change.known.doses.same
        mass = sum(0.5 * same(each, np.asarray(dose)) for each in state[3])
        with np.errstate(divide="ignore"):
            return np.log(mass)


def regimen(name: str, known: Scenario) -> Regimen:
    """Return a regimen of the study by name: "monitoring", "policy", "nomogram" and "clinical" (usual care),
    ``monitoring x 0.97``, ``nomogram + 20 % monitoring``, ``monitoring, +1 above 3.5``."""
    plain: dict[str, Callable[[], Regimen]] = {
        "monitoring": lambda: Bayesian(known, name, known.monitoring.fade, PARTICLES),
        "policy": lambda: shipped(known.name).standing_on(
            BeliefFilter(known, PARTICLES, known.monitoring.fade)
        ),
        "nomogram": lambda: arm("nomogram", known),
        "clinical": lambda: arm("clinical-nomogram", known),
    }
    if name in plain:
        return plain[name]()
    if found := re.fullmatch(r"(\w+) x ([\d.]+)", name):
        return Moved(regimen(found[1], known), float(found[2]), name)
    if found := re.fullmatch(r"(\w+) \+ (\d+) % (\w+)", name):
        return Blended(regimen(found[1], known), regimen(found[3], known), int(found[2]) / 100, name)
    if found := re.fullmatch(r"(\w+), ([+-]\d+) (above|below) ([\d.]+)", name):
        limits = (float(found[4]), np.inf) if found[3] == "above" else (0.0, float(found[4]))
        return Nudged(known, regimen(found[1], known), int(found[2]), *limits, name)
    raise ValueError(f"unknown regimen {name!r} of this study; known: {', '.join(plain)} and changes of them")


PAIRS = (
    ("monitoring", "monitoring"),
    ("nomogram", "monitoring"),
    ("monitoring x 1.1", "monitoring"),
    ("clinical", "nomogram"),
    ("monitoring, +1 above 3.5", "monitoring"),
    ("monitoring x 1.03", "monitoring"),
    ("monitoring, +1 below 1.8", "monitoring"),
    ("monitoring x 0.9", "monitoring"),
    ("monitoring, -1 above 3.5", "monitoring"),
    ("policy x 1.15", "monitoring"),
    ("monitoring x 0.97", "monitoring"),
    ("nomogram + 10 % monitoring", "nomogram"),
    ("policy x 1.1", "monitoring"),
    ("monitoring + 50 % policy", "monitoring"),
    ("policy", "monitoring"),
    ("nomogram + 20 % monitoring", "nomogram"),
    ("monitoring", "monitoring x 0.8"),
    ("policy x 1.1", "monitoring x 0.8"),
    ("policy x 1.15", "monitoring x 0.8"),
)
"""Candidates and incumbents."""


# -------------------------------------------------------------------------------------------------- pools


def treated(name: str, first: int, patients: int, shift: HiddenShift | None = None) -> Block:
    """Return what a regimen did to patients, without their courses; by name and numbers, so that it can be
    kept."""
    known = scenario("warfarin")
    design = TrialDesign(
        known,
        {name: regimen(name, known)},
        known.population,
        Noise("trial", 1),
        known.preset("clinic"),
        world=shift,
    )
    parts = list[Block]()
    for ids in np.split(np.arange(first, first + patients), range(BLOCK, patients, BLOCK)):
        part, course = treat(design, ids), np.zeros((len(ids), 0))
        short = replace(part.arms[name], doses=course, measured=course, truth=course.astype(np.float32))
        parts.append(replace(part, arms={name: short}))
    return Block.joined(parts)


@dataclass(frozen=True)
class Pools:
    """Simulated patients, kept in a folder."""

    memory: Memory

    def course(self, name: str, shift: HiddenShift | None = None, patients: int = PATIENTS) -> Block:
        """Return what a regimen did to the patients of the pool."""
        kept = cast("Callable[..., Block]", self.memory.cache(treated))
        return Block.joined(
            [kept(name, first, min(CHUNK, patients - first), shift) for first in range(0, patients, CHUNK)]
        )

    def pair(
        self, candidate: str, incumbent: str, shift: HiddenShift | None = None, patients: int = PATIENTS
    ) -> TrialResult:
        """Return a trial of candidate and incumbent."""
        one, other = (self.course(name, shift, patients) for name in (candidate, incumbent))
        return TrialResult(
            scenario=scenario("warfarin"),
            realism="clinic",
            genotype="diplotype",
            namespace="trial",
            seed=1,
            ids=one.ids,
            followed_days=one.arms[candidate].followed,
            covariates=one.covariates,
            genotypes=one.genotypes,
            labels=one.labels,
            substituted=one.substituted,
            source="pool",
            rows=None,
            refused={},
            arms={"candidate": one.arms[candidate], "incumbent": other.arms[incumbent]},
            provenance={},
        )


def drawn(pool: TrialResult, rows: NDArray[np.int64]) -> TrialResult:
    """Return a trial of some patients, rows (k,), of a trial."""

    def of(values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {key: each[rows] for key, each in values.items()}

    return replace(
        pool,
        ids=pool.ids[rows],
        followed_days=pool.followed_days[rows],
        covariates=of(pool.covariates),
        genotypes=of(pool.genotypes),
        labels=of(pool.labels),
        arms={
            name: replace(
                own, outcomes=of(own.outcomes), **of({key: getattr(own, key) for key in PER_PATIENT})
            )
            for name, own in pool.arms.items()
        },
    )


def logged(tried_out: str, shift: HiddenShift | None = None) -> Trajectories:
    """Return a log of monitoring, by name so that it can be kept: its dose is moved by a tablet in a fifth of
    the visits, or, where a change of it is named, that is tried out."""
    known = scenario("warfarin")
    change = regimen(tried_out, known) if tried_out else None
    usual = regimen("monitoring", known)
    return record(
        known,
        Undecided(change) if isinstance(change, Nudged) else Noisy(known, usual),
        known.population,
        np.arange(LOGGED),
        Noise("select", 2),
        known.preset("clinic"),
        world=shift,
        block=BLOCK,
    )


# ------------------------------------------------------------------------------------------------- tables


def _points(found: Difference) -> str:
    return f"{100 * found.mean:+6.2f} ({100 * found.low:+6.2f} to {100 * found.high:+6.2f})"


def _share(happened: Sequence[bool]) -> str:
    found = proportion_interval(np.array(happened))
    return f"{100 * found.mean:5.1f} % ({100 * found.low:4.1f} to {100 * found.high:4.1f})"


def kinds(verdict: Verdict) -> set[str]:
    """Return what a candidate was refused for, without simulator and numbers."""
    if verdict.promoted:
        return set()
    subgroups = {"the event is shown": "a subgroup harmed", "benefit is shown": "a subgroup that loses"}
    found = set[str]()
    for reason in verdict.reasons:
        group = next((kind for words, kind in subgroups.items() if words in reason), None)
        found.add(group or re.sub(r"^(refitted|previous): | may rise.*| not shown.*", "", reason))
    return found


def trials(pair: TrialResult, gate: Gate, rng: np.random.Generator) -> Iterator[tuple[Tried, Tried]]:
    """Yield trials in either simulator, their patients drawn from a pool with replacement."""
    level = gate.level(1)

    def one(where: Where) -> Tried:
        rows = rng.integers(len(pair.ids), size=gate.patients)
        return tried(where, drawn(pair, rows), level, gate.veto_level)

    for _ in range(RUNS):
        yield one("refitted"), one("previous")


@dataclass(frozen=True)
class Hearing:
    """What logs are asked.

    Attributes
    ----------
    candidate
        Against monitoring.
    patients, logs
        Of a log, and how many.
    tried_out
        Whether the log's regimen tries the candidate out, or moves any dose.
    shift
        Of the world that the log is from.
    """

    candidate: str
    patients: int = LOG
    logs: int = LOGS
    tried_out: bool = False
    shift: HiddenShift | None = None

    def heard(self, memory: Memory, gate: Gate) -> Iterator[OffPolicy]:
        """Yield what each log says."""
        pool = cast("Callable[..., Trajectories]", memory.cache(logged))(
            self.candidate if self.tried_out else "", self.shift
        )
        known, rng = scenario("warfarin"), np.random.default_rng(2)
        candidate, incumbent = (regimen(name, known) for name in (self.candidate, "monitoring"))
        for number in range(self.logs):
            log = pool.select(rng.choice(pool.n_patients, self.patients, replace=False))
            yield gate.heard(candidate, incumbent, known, log, number)


HEARINGS = (
    Hearing("monitoring, -1 above 3.5"),
    Hearing("monitoring, +1 above 3.5"),
    *(
        Hearing(name, logs=10)
        for name in (
            "monitoring x 0.97",
            "monitoring x 1.03",
            "monitoring, +1 below 1.8",
            "policy",
            "nomogram",
        )
    ),
)
SHOWS_MORE = HiddenShift("assay", "the assay shows 30 % more than there is", assay=1.3)
"""Patients are dosed too low because of what a laboratory shows; a dose still lower looks right there."""
WRONG = tuple(
    Hearing("monitoring, -1 above 3.5", patients, 20, tried_out, SHOWS_MORE)
    for patients, tried_out in ((LOG, False), (4 * LOG, False), (LOG, True), (4 * LOG, True))
)


def _told(hearing: Hearing, memory: Memory, margin: float) -> None:
    """Print how often logs answer about a candidate, and how often they veto it."""
    gate = Gate(regressor=Ridge(10.0))
    said = list(hearing.heard(memory, gate))
    vetoed = [vetoes(each, margin) for each in said]
    how = "which tried it out" if hearing.tried_out else "moved by a tablet"
    print(f"{hearing.candidate:27s}{hearing.logs} logs of {hearing.patients}, {how}")
    for words, happened in (
        ("say something of the return", [each.benefit is not None for each in said]),
        ("say something of harm", [each.harm is not None for each in said]),
        ("veto", [bool(each) for each in vetoed]),
        ("by the return", [any("return" in why for why in each) for each in vetoed]),
        ("by harm", [any("harm" in why for why in each) for each in vetoed]),
    ):
        print(f"    {words:30s}{_share(happened)}")
    for words, found in (
        ("return", [each.benefit for each in said if each.benefit is not None]),
        ("harm", [each.harm for each in said if each.harm is not None]),
    ):
        if found:
            mean, wide = (
                100 * float(np.median(values))
                for values in ([one.mean for one in found], [one.high - one.low for one in found])
            )
            print(f"    {words}: median {mean:+.2f} points, width {wide:.1f}")
    for kind, count in Counter(_why(each) for each in said if not each.answers).most_common(3):
        print(f"    {count:3d} {kind}")
    print(end="", flush=True)


def _why(heard: OffPolicy) -> str:
    """Return why a log does not answer, without numbers."""
    if "never given at such states" in heard.reason:
        return "doses that were never given"
    return "too few effective patients" if "effective sample size" in heard.reason else heard.reason


@click.group()
def main() -> None:
    """Study the gate."""


_POOLS = click.option(
    "--pools", type=click.Path(file_okay=False), help="Folder in which simulated patients are kept."
)


@main.command("trials")
@_POOLS
def trials_command(pools: str | None) -> None:
    """Promotion by true difference, the log unasked."""
    print(f"{load()}; {PATIENTS} pairs, {RUNS} gates each of 2 x {Gate().patients} pairs, attempt 1")
    kept, gate, rng = Pools(Memory(pools, verbose=0)), Gate(), np.random.default_rng(1)
    print(f"{'candidate':27s}{'incumbent':18s}{'benefit, points':27s}{'harm, points':27s}promoted")
    for candidate, incumbent in PAIRS:
        pair = kept.pair(candidate, incumbent)
        margin = pair.scenario.margin
        verdicts = [
            gate.verdict(each, NO_LOG, SILENT, margin, attempt=1, seed=run)
            for run, each in enumerate(trials(pair, gate, rng))
        ]
        truth = [
            _points(pair.difference("candidate", "incumbent", name)) for name in ("benefit", "ever_harm")
        ]
        promoted = _share([each.promoted for each in verdicts])
        print(f"{candidate:27s}{incumbent:18s}{truth[0]:27s}{truth[1]:27s}{promoted}", flush=True)
        refused = Counter(kind for each in verdicts for kind in kinds(each))
        for kind, count in refused.most_common():
            print(f"    {count:3d} {kind}")


@main.command("logs")
@_POOLS
def logs_command(pools: str | None) -> None:
    """What logs say of candidates in the world that the simulators describe."""
    print(load())
    for hearing in HEARINGS:
        _told(hearing, Memory(pools, verbose=0), scenario("warfarin").margin)


@main.command("wrong")
@_POOLS
def wrong_command(pools: str | None) -> None:
    """A candidate that passes in both simulators and does harm in the world of the log."""
    kept = Pools(Memory(pools, verbose=0))
    name = WRONG[0].candidate
    print(f"{load()}; {SHOWS_MORE.words}")
    for words, shift in (("in the simulators", None), ("in that world", SHOWS_MORE)):
        pair = kept.pair(name, "monitoring", shift)
        told = ", ".join(
            f"{outcome} {_points(pair.difference('candidate', 'incumbent', outcome))}"
            for outcome in ("benefit", "return", "ever_harm")
        )
        print(f"  {name}, {words}: {told}")
    for hearing in WRONG:
        _told(hearing, kept.memory, scenario("warfarin").margin)


if __name__ == "__main__":
    main()
