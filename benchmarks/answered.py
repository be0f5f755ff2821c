"""Off-policy answers on logs of every scenario, against the simulator's truth.

``python -m benchmarks.answered simulate DIR [DRUG ...]`` makes, for each drug and two targets, 25 logs of
500 patients whose clinician wants what the target wants and moves the dose at random, 25 whose clinician
follows the guideline (the label where there is none) and moves it, and the truth from patients treated by the
target itself. ``python -m benchmarks.answered judge DIR`` asks each log for the target's return, benefit and
risk of harm, and prints who was answered, and how often the 95 % interval holds the truth. What is there is
not simulated again.

Targets: Bayesian monitoring (adaptive; of 16 particles, 8 where a decision is dear, so that 30,000 courses of
eleven drugs can be paid for), and a learned policy: the one that ships (warfarin), or one that learned by
imitation to dose as the planner does. Realism ``clinic``; drop-out is corrected for. Noise of the clinician
who wants what the target wants: the dose goes one step of the grid up or down, one time in five and at most
twice a course on average; of the other: a log-normal factor of log-SD 0.3, a tablet or two. There the target
is asked about the first three visits, and about the others only if somebody could still be answered. Research
simulation, not for clinical use.
"""

from __future__ import annotations

import csv
import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from dosewright.agents import load, shipped
from dosewright.agents.regimens import lacking, regimen
from dosewright.agents.regimens.bayesian import Bayesian
from dosewright.agents.regimens.noisy import Noisy, Relative, Steps
from dosewright.agents.regimens.planner import Planner
from dosewright.envs import Noise, Regimen, Scenario, names, scenario
from dosewright.envs.realism import Realism
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import importance_weights, pdwis, target_log_prob, wis
from dosewright.evaluation.ope.decide import MINIMUM_EFFECTIVE_PATIENTS, decide
from dosewright.evaluation.ope.estimate import shares_of_steps
from dosewright.evaluation.recording import follow_up_log_prob, left_out, record, whole_intervals

Floats = NDArray[np.float64]

LOGS, PATIENTS, TRUTH, LESSONS = 25, 500, 3000, 300
PARTICLES, FEW = 16, 8
DEAR = ("efavirenz", "mercaptopurine", "phenytoin", "propofol", "voriconazole")
"""Drugs of `FEW` particles: a course of 16 takes a tenth of a second and more."""
FIRST_LOOK = 3
"""Visits after which a target that is rarely followed is known to be refused."""
CLINICIANS = ("target", "guideline")
OUTCOMES = {"return": None, "benefit": "benefit", "ever in harm": "first_harm"}


@dataclass
class Overheard:
    """A regimen whose snapped doses are remembered, block by block and visit by visit."""

    regimen: Regimen
    scenario: Scenario
    heard: list[list[Floats]]

    @property
    def name(self) -> str:
        """The regimen's."""
        return self.regimen.name

    @property
    def needs(self) -> frozenset[str]:
        """The regimen's."""
        return self.regimen.needs

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Floats, Any]:
        """As the regimen's."""
        dose, memory = self.regimen.predict(observation, state, episode_start)
        if state is None:
            self.heard.append([])
        self.heard[-1].append(self.scenario.doses.snap(dose))
        return dose, memory


@dataclass(frozen=True)
class Imitation:
    """A learned policy without memory: the dose that a planner would most likely give at such a visit."""

    scenario: Scenario
    regressor: HistGradientBoostingRegressor
    name: str = "imitation"
    needs: frozenset[str] = frozenset()
    seed_namespace: str = "train"

    @classmethod
    def learn(cls, problem: Scenario, preset: Realism) -> Imitation:
        """Learn from the planner's courses of patients of the namespace ``train``."""
        teacher = Noisy(problem, Planner(problem, "planner", problem.monitoring.fade, PARTICLES), Steps())
        seen = record(problem, teacher, problem.population, np.arange(LESSONS), Noise("train", 0), preset)
        # the dose wanted, not the dose moved: the most frequent of the log's draws, on average
        x, y = seen.observations[seen.mask], seen.actions[seen.mask]
        model = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.05, random_state=0)
        return cls(problem, model.fit(x, y))

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Floats, Any]:
        """Return the dose (n,); there is no memory, only the mark that the course has begun."""
        return np.maximum(self.regressor.predict(observation), 0.0), True


def targets(problem: Scenario, preset: Realism) -> dict[str, Regimen]:
    """Return Bayesian monitoring and a learned policy."""
    particles = FEW if problem.name in DEAR else PARTICLES
    monitoring = Bayesian(problem, "bayesian-adaptive", problem.monitoring.fade, particles)
    learned = load(problem.name) if problem.name in shipped() else Imitation.learn(problem, preset)
    return {"monitoring": monitoring, "learned": learned}


def moved(problem: Scenario) -> Steps:
    """Return the noise of the clinician who wants what the target wants."""
    chance = min(0.2, 2.0 / len(problem.calendar))
    return Steps({-1: chance / 2, 0: 1.0 - chance, 1: chance / 2})


def overheard_log_prob(log: Trajectories, heard: list[list[Floats]], problem: Scenario) -> Floats:
    """Return (n, T) the target's log-probability of the logged doses, from the doses it was heard to want."""
    wanted = np.zeros(log.mask.shape)
    first = 0
    for block in heard:
        for visit, doses in enumerate(block):
            wanted[first : first + len(doses), visit] = doses
        first += len(block[0])
    same = problem.doses.same(wanted, log.actions)
    for visit in range(log.horizon):
        same[:, visit] |= left_out(log.observations[:, visit], problem)
    return np.where(same | ~log.mask, 0.0, -np.inf)


def simulate_one(
    problem: Scenario, target: Regimen, clinician: str, preset: Realism, block: int
) -> dict[str, Any]:
    """Return the logs of one drug, target and clinician as arrays."""
    ids, noise = np.arange(LOGS * PATIENTS), Noise("select", 11 if clinician == "target" else 12)
    if clinician == "target":
        ear = Overheard(target, problem, [])
        log = record(
            problem, Noisy(problem, ear, moved(problem)), problem.population, ids, noise, preset, block=block
        )
        log_prob = overheard_log_prob(log, ear.heard, problem)
    else:
        rule = regimen("label" if "guideline" in lacking(problem) else "guideline", problem)
        other = Noisy(problem, rule, Relative(0.3))
        log = record(problem, other, problem.population, ids, noise, preset, block=block)
        log_prob = _asked(log, target, problem)
    assert log.behaviour_log_prob is not None
    return {
        "mask": log.mask, "terminated": log.terminated, "censored": log.censored, "rewards": log.rewards,
        "actions": log.actions, "behaviour": log.behaviour_log_prob, "target": log_prob, **log.outcomes,
    }  # fmt: skip


def _asked(log: Trajectories, target: Regimen, problem: Scenario) -> Floats:
    """Return (n, T) the target's log-probability of the logged doses.

    Where so few are effective after the first visits that no log of these patients can be answered, -inf at
    the visits that nobody need be asked about. Kish's number does not rise again as a product of ratios goes
    on, but by chance, so its value at the last visit asked about stands for the later ones.
    """
    mask = log.mask & (np.arange(log.horizon) < FIRST_LOOK)
    begun = replace(
        log, mask=mask, rewards=np.where(mask, log.rewards, 0.0),
        outcomes={name: np.where(mask, values, 0.0) for name, values in log.outcomes.items()},
        terminated=np.zeros(len(mask), dtype=bool), truncated=~log.censored,
    )  # fmt: skip
    first = target_log_prob(begun, target, problem)
    effective = importance_weights(begun, first).effective_sample_size
    share = shares_of_steps(log.rewards)
    most = effective[:FIRST_LOOK] @ share[:FIRST_LOOK] + effective[FIRST_LOOK - 1] * share[FIRST_LOOK:].sum()
    if most / LOGS >= MINIMUM_EFFECTIVE_PATIENTS / 2:
        return target_log_prob(log, target, problem)
    return np.where(log.mask & ~begun.mask, -np.inf, first)


def truth_of(
    problem: Scenario, target: Regimen, preset: Realism, block: int
) -> dict[str, tuple[float, float]]:
    """Return outcome -> mean and standard error over other patients, treated by the target to the end."""
    everyone = replace(preset, dropout_per_month=0.0)
    always = Noisy(problem, target, Steps({0: 1.0}))
    log = record(
        problem, always, problem.population, np.arange(TRUTH), Noise("select", 13), everyone, block=block
    )
    found = {}
    for label, outcome in OUTCOMES.items():
        sums = (log.rewards if outcome is None else log.outcomes[outcome]).sum(axis=1)
        found[label] = (float(sums.mean()), float(sums.std(ddof=1)) / math.sqrt(len(sums)))
    return found


@click.group()
def answered() -> None:
    """Off-policy answers on logs of every scenario."""


@answered.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("drugs", nargs=-1)
@click.option(
    "--target", "chosen_targets", multiple=True, default=("monitoring", "learned"), help="One of two."
)
@click.option("--block", default=500, show_default=True, help="Patients simulated together.")
def simulate(folder: Path, drugs: tuple[str, ...], chosen_targets: tuple[str, ...], block: int) -> None:
    """Simulate logs and truths into DIR, one file each; what is there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for drug in drugs or names():
        problem = scenario(drug)
        preset = problem.preset("clinic")
        missing = [
            (target, part) for target in chosen_targets for part in (*CLINICIANS, "truth")
            if not (folder / f"{drug}-{target}-{part}.npz").exists()
        ]  # fmt: skip
        chosen = targets(problem, preset) if missing else {}
        for target, part in missing:
            begun = time.perf_counter()
            path = folder / f"{drug}-{target}-{part}.npz"
            if part == "truth":
                made: dict[str, Any] = truth_of(problem, chosen[target], preset, block)
            else:
                made = simulate_one(problem, chosen[target], part, preset, block)
            partial = path.with_name(f".{path.name}")
            with partial.open("wb") as file:
                np.savez_compressed(file, **made)
            os.replace(partial, path)
            click.echo(f"{path.name} {time.perf_counter() - begun:.0f} s")


@answered.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--csv", "out", type=click.Path(path_type=Path), help="A table of the lines; others that it has are kept."
)
def judge(folder: Path, out: Path | None) -> None:
    """Print what the logs of DIR answer, and how often the intervals hold the truth."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*-truth.npz")):
        drug, target, _ = path.stem.split("-")
        truth = {key: value for key, value in np.load(path).items()}
        for clinician in CLINICIANS:
            file = folder / f"{drug}-{target}-{clinician}.npz"
            if file.exists():
                rows += list(judged(drug, target, clinician, dict(np.load(file)), truth))
    lines = summarised(rows)
    show(rows, lines)
    if out is not None:
        _write(lines, out)


def _write(lines: list[dict[str, Any]], out: Path) -> None:
    """Write lines as a table, beside those of earlier studies that it has."""
    key = ("drug", "target", "clinician", "outcome")
    table = {tuple(line[name] for name in key): line for line in _read(out)}
    table |= {tuple(line[name] for name in key): line for line in lines}
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table[name] for name in sorted(table))


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def judged(drug: str, target: str, clinician: str, saved: dict[str, Any], truth: dict[str, Any]) -> Any:
    """Yield a row for each log and outcome."""
    problem = scenario(drug)
    followed = follow_up_log_prob(problem, problem.preset("clinic"))
    for number in range(LOGS):
        rows = slice(number * PATIENTS, (number + 1) * PATIENTS)
        log = whole_intervals(
            Trajectories(
                observations=np.zeros((PATIENTS, saved["mask"].shape[1], 1)),
                # the target's log-probability rides along as an outcome: patients may be left out
                actions=saved["actions"][rows], rewards=saved["rewards"][rows], mask=saved["mask"][rows],
                terminated=saved["terminated"][rows], censored=saved["censored"][rows],
                truncated=np.zeros(PATIENTS, dtype=bool), behaviour_log_prob=saved["behaviour"][rows],
                outcomes={name: saved[name][rows] for name in ("benefit", "harm", "first_harm")},
                patients=np.arange(PATIENTS),
            )
        )  # fmt: skip
        assert log.patients is not None
        log_prob = saved["target"][rows][log.patients]
        weights = importance_weights(log, log_prob, np.broadcast_to(followed, log.mask.shape))
        for label, outcome in OUTCOMES.items():
            estimates = [pdwis(log, weights, 1.0, outcome), wis(log, weights, 1.0, outcome)]
            decision = decide(log, estimates, 1.0, weights=weights)
            value, error = truth[label]
            # the truth is an estimate too: its error widens the interval, or it would be blamed for it
            found = decision.interval()
            half = (found.high - found.low) / 2
            allowed = (
                half * math.hypot(1.0, error / found.standard_error) if found.standard_error > 0 else half
            )
            yield {
                "drug": drug, "target": target, "clinician": clinician, "log": number, "outcome": label,
                "verdict": decision.verdict, "estimate": found.mean if decision.answer else None,
                "half_width": half if decision.answer else None, "truth": value,
                "covered": bool(abs(found.mean - value) <= allowed) if decision.answer else None,
                "reason": decision.reason,
            }  # fmt: skip


def summarised(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a line for each drug, target, clinician and outcome."""
    lines = []
    for key in dict.fromkeys((r["drug"], r["target"], r["clinician"], r["outcome"]) for r in rows):
        own = [r for r in rows if (r["drug"], r["target"], r["clinician"], r["outcome"]) == key]
        said = [r for r in own if r["covered"] is not None]
        lines.append(
            {
                **dict(zip(("drug", "target", "clinician", "outcome"), key, strict=True)),
                "logs": len(own),
                "answered": len(said),
                "covered": sum(r["covered"] for r in said),
                "half_width": round(float(np.mean([r["half_width"] for r in said])), 4) if said else "",
                "truth": round(own[0]["truth"], 4),
            }
        )
    return lines


def show(rows: list[dict[str, Any]], lines: list[dict[str, Any]]) -> None:
    """Print a line for each drug, target and clinician, and the pooled coverage."""
    print(f"{'drug':16s}{'target':12s}{'clinician':11s}{'answered':>9s}  coverage (mean half-width; truth)")
    for key in dict.fromkeys((line["drug"], line["target"], line["clinician"]) for line in lines):
        own = [line for line in lines if (line["drug"], line["target"], line["clinician"]) == key]
        cells = [
            f"{line['outcome']} {line['covered'] / line['answered']:.2f} ({line['half_width']:.3f}; "
            f"{line['truth']:.3f})"
            for line in own
            if line["answered"]
        ]
        answers = f"{own[0]['answered']:4d} of {own[0]['logs']:2d}"
        print(f"{key[0]:16s}{key[1]:12s}{key[2]:11s}{answers}  {', '.join(cells) or 'refused'}")
    for label in (*OUTCOMES, None):
        said = [r["covered"] for r in rows if r["covered"] is not None and label in (None, r["outcome"])]
        if said:
            print(f"pooled coverage, {label or 'all'}: {np.mean(said):.3f} of {len(said)} answers")
    first = [line for line in lines if line["clinician"] == "target"]
    drugs = dict.fromkeys(line["drug"] for line in first)
    most = [
        drug
        for drug in drugs
        if all(line["answered"] >= 0.9 * line["logs"] for line in first if line["drug"] == drug)
    ]
    print("the clinician wants what the target wants: nine logs in ten answered, of every target and "
          f"outcome, on {len(most)} of {len(drugs)} drugs")  # fmt: skip


if __name__ == "__main__":
    answered()
