"""A sweep: trainings with different hyperparameters, chosen by Optuna's TPE and cut short by its median rule.

A trial is a preset changed at the keys of a search space, trained in a run folder of its own,
``<folder>/trial-<number>/``. All trials are judged by one yardstick, the base preset's: on its patients of
the `select` namespace, with its budget of harm, so that a looser budget in training is no better rank.

What is drawn for a trial, and the seed of its training, are functions of the sweep's seed and of the number
of trials before it that count. So a sweep that was stopped and resumed comes to what it would have come to.

Bergstra, Bardenet, Bengio and Kégl, Algorithms for hyper-parameter optimization, NeurIPS 2011 (TPE); Akiba,
Sano, Yanase, Ohta and Koyama, Optuna, KDD 2019.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dosewright.agents.learning.preset import Preset
from dosewright.agents.learning.search_space import Choices, SearchSpace, changed
from dosewright.agents.learning.selection import Score, Selection
from dosewright.agents.learning.study import begin, question
from dosewright.agents.learning.study import resume as resumed
from dosewright.agents.learning.train import train
from dosewright.evaluation.result_folder import write_whole

if TYPE_CHECKING:
    import optuna

_BROKEN = "broken"  # a trial's attribute: why its training failed


@dataclass(frozen=True)
class SweepTrial:
    """One training of a sweep.

    Attributes
    ----------
    number
        Optuna's number of the trial.
    outcome
        "finished", "pruned" (cut short: it was behind the others), or "failed": the training broke.
    values
        Key of the preset -> value.
    seed
        Of the training.
    folder
        Its run folder.
    rank, score
        Of the policy in the folder, by the yardstick of the sweep; None where the training failed.
    reason
        Why it failed; otherwise empty.
    """

    number: int
    outcome: Literal["finished", "pruned", "failed"]
    values: Mapping[str, Any]
    seed: int
    folder: Path
    rank: float | None
    score: Score | None
    reason: str


@dataclass(frozen=True)
class SweepResult:
    """The trials of a sweep, the best first, then those that were cut short or failed; Bayesian monitoring's
    score and rank; and the file of the best trial's preset."""

    trials: tuple[SweepTrial, ...]
    baseline: Score
    baseline_rank: float
    best_preset: Path


def tune(
    preset: Preset,
    space: SearchSpace,
    trials: int,
    storage: str,
    study_name: str,
    seed: int,
    folder: str | Path,
    resume: bool = False,
    progress: bool = True,
    told: Callable[[SweepTrial], None] | None = None,
) -> SweepResult:
    """Search for hyperparameters, and keep the best in ``best.toml`` of the folder.

    One process at a time may work on a study.

    Parameters
    ----------
    preset
        Base preset: what the space does not name, and how trials are judged.
    space
        Keys that are varied.
    trials
        Trials in all, those of an earlier part of the sweep included. What was interrupted does not count.
    storage
        Optuna's address of a database, such as ``sqlite:///runs/tune-warfarin.db``.
    study_name
        Name of the sweep in the storage.
    seed
        Seed of the draws and of all trainings.
    folder
        Where the run folders and ``best.toml`` are made.
    resume
        Go on with the study of that name, which must have asked the same.
    progress
        Show the progress bar of every training.
    told
        Called after every trial.

    Raises
    ------
    ValueError
        Without Optuna; for a storage that cannot be opened, a study that is there already or, with `resume`,
        is not there or asked something else, a folder that is in use, or if no training finished.

    Notes
    -----
    A training that breaks, as one with too high a learning rate may, is kept with its reason and counts.
    Ctrl-C raises KeyboardInterrupt and leaves the study resumable; the trial that was running is marked
    failed and does not count.
    """
    if find_spec("optuna") is None:
        raise ValueError('Optuna is not there; pip install "dosewright[tune]"')
    import optuna

    if trials < 1:
        raise ValueError(f"{trials} trials; expected at least one")
    path, asked, level = Path(folder), question(preset, space, seed), optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # `told` says it
    try:
        study = resumed(storage, study_name, asked) if resume else begin(storage, study_name, asked, path)
        sweep = _Sweep(study, preset, space, seed, path, progress)
        while (done := len(sweep.trials())) < trials:
            trial = sweep.run(done)
            sweep.keep_best()
            if told is not None:
                told(trial)
    finally:
        optuna.logging.set_verbosity(level)
    found, selection = sweep.trials(), sweep.selection
    if found[0].outcome != "finished":
        raise ValueError(
            f"study {study_name!r}: no training of {len(found)} finished; trial {found[0].number} "
            f"({_words(found[0].values)}): {found[0].reason}"
        )
    return SweepResult(found, selection.baseline, selection.rank(selection.baseline), sweep.keep_best())


class _Sweep:
    """A study and what its trials are made of."""

    def __init__(
        self, study: optuna.Study, preset: Preset, space: SearchSpace, seed: int, folder: Path, progress: bool
    ) -> None:
        self.study, self.preset, self.space = study, preset, space
        self.seed, self.folder, self.progress = seed, folder, progress
        self.selection = Selection(preset)
        # a choice may be a list, which a database does not hold: it knows the words
        self.choices = {
            key: {str(value): value for value in axis.values}
            for key, axis in space.axes.items()
            if isinstance(axis, Choices)
        }

    def run(self, done: int) -> SweepTrial:
        """Run one trial, the first after `done` others that count."""
        import optuna

        draws, seed = (
            int(value) for value in np.random.default_rng([self.seed, done]).integers(2**31, size=2)
        )
        self.study.sampler = optuna.samplers.TPESampler(seed=draws)
        trial = self.study.ask(self._distributions())
        folder = self.folder / f"trial-{trial.number}"
        failed = optuna.trial.TrialState.FAIL
        try:
            trial.set_user_attr("seed", seed)
            trial.set_user_attr("folder", str(folder))
            rank = self._train(trial, seed, folder)
        except optuna.TrialPruned:
            trial.set_user_attr("score", asdict(_kept(folder)))
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except (ValueError, ArithmeticError, RuntimeError) as error:  # as a network that diverged raises them
            trial.set_user_attr(_BROKEN, " ".join(str(error).split()) or type(error).__name__)
            self.study.tell(trial, state=failed)
        except BaseException:
            self.study.tell(trial, state=failed)
            raise
        else:
            trial.set_user_attr("score", asdict(_kept(folder)))
            self.study.tell(trial, rank)
        return next(other for other in self.trials() if other.number == trial.number)

    def _train(self, trial: optuna.Trial, seed: int, folder: Path) -> float:
        """Train, and return the rank of the policy that is kept."""
        import optuna

        values = self._values(trial.params)
        preset = changed(self.preset, values, f"trial {trial.number} ({_words(values)})")
        folder.mkdir(parents=True)  # what is there already is another sweep's

        def report(steps: int, score: Score) -> None:
            if steps < preset.algorithm.timesteps:  # there is nothing to save at the end
                # the evaluation's number, not the steps: an update is not as long in every trial
                trial.report(self.selection.rank(score), steps // preset.evaluation.every)
                if trial.should_prune():
                    raise optuna.TrialPruned

        train(preset, seed, folder, progress=self.progress, report=report)
        rank = self.selection.rank(_kept(folder))
        if not math.isfinite(rank):
            raise ArithmeticError(f"the policy's rank on select is {rank}")
        return rank

    def _distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        made: dict[str, optuna.distributions.BaseDistribution] = {}
        for key, axis in self.space.axes.items():
            if isinstance(axis, Choices):
                made[key] = CategoricalDistribution(list(self.choices[key]))
            elif isinstance(axis.low, int) and isinstance(axis.high, int):
                made[key] = IntDistribution(axis.low, axis.high, log=axis.log)
            else:
                made[key] = FloatDistribution(axis.low, axis.high, log=axis.log)
        return made

    def _values(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was drawn as a preset has it."""
        return {
            key: self.choices[key][value] if key in self.choices else value for key, value in drawn.items()
        }

    def trials(self) -> tuple[SweepTrial, ...]:
        """Return the trials that count, the best first, then those that did not finish by number."""
        import optuna

        state = optuna.trial.TrialState
        outcomes: dict[Any, Literal["finished", "pruned", "failed"]] = {
            state.COMPLETE: "finished",
            state.PRUNED: "pruned",
            state.FAIL: "failed",
        }
        found = []
        for trial in self.study.get_trials(deepcopy=False, states=tuple(outcomes)):
            attributes = trial.user_attrs
            if trial.state is state.FAIL and _BROKEN not in attributes:
                continue  # interrupted
            score = None if trial.state is state.FAIL else Score(**attributes["score"])
            found.append(
                SweepTrial(
                    trial.number, outcomes[trial.state], self._values(trial.params), attributes["seed"],
                    Path(attributes["folder"]), None if score is None else self.selection.rank(score), score,
                    attributes.get(_BROKEN, ""),
                )
            )  # fmt: skip
        return tuple(sorted(found, key=_order))

    def keep_best(self) -> Path:
        """Write the preset of the best trial so far, and return its file."""
        path, found = self.folder / "best.toml", self.trials()
        if (best := found[0]).outcome == "finished":
            head = (
                f"# Trial {best.number} of study {self.study.study_name}, the best of {len(found)} on the "
                f"`select` namespace, with seed {best.seed}.\n\n"
            )
            preset = changed(self.preset, best.values, f"trial {best.number}")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda new: new.write((head + preset.text()).encode()))
        return path


def _order(trial: SweepTrial) -> tuple[bool, float, int]:
    finished = trial.outcome == "finished"
    return not finished, -(trial.rank or 0.0) if finished else 0.0, trial.number


def _kept(run: Path) -> Score:
    """Return the score of the policy that a run's folder holds."""
    card = json.loads((run / "policy" / "card.json").read_text())
    return Score(**card["select"]["policy"])


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in values.items())
