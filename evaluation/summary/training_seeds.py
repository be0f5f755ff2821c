"""Policies that differ in their training seed only: what training comes to, whatever the seed.

Which arms are the same training is said by whoever trained them; a name is no proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dosewright.evaluation.records import as_record
from dosewright.evaluation.statistics import interquartile_mean
from dosewright.evaluation.trial import TrialResult

_SCORES = ("benefit", "ever_harm", "return")


def training_seed_records(
    result: TrialResult, reference: str, trained: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return the interquartile mean over the seeds of every training, with a stratified bootstrap interval.

    The trial is one task, so the interval says how much training varies, on these very patients.

    Parameters
    ----------
    result
        The trial.
    reference
        Arm that the differences are from.
    trained
        Name of a training -> its arms, one a seed.

    Returns
    -------
    Training -> "arms", outcome -> interquartile mean of the arms' means, and "differences": outcome -> the
    same of their differences from the reference.

    Raises
    ------
    ValueError
        As `check_trained`.
    """
    check_trained(trained, list(result.arms), reference)
    found: dict[str, Any] = {}
    for name, arms in trained.items():
        found[name] = {
            "arms": list(arms),
            **{
                key: _over_seeds([result.estimate(arm, key).mean for arm in arms], result.seed)
                for key in _SCORES
            },
            "differences": {
                key: _over_seeds([result.difference(arm, reference, key).mean for arm in arms], result.seed)
                for key in _SCORES
            },
        }
    return found


def check_trained(trained: Mapping[str, Sequence[str]], arms: Sequence[str], reference: str) -> None:
    """Refuse trainings that cannot be summed up.

    Parameters
    ----------
    trained, reference
        As in `training_seed_records`.
    arms
        Names of all arms of the trial.

    Raises
    ------
    ValueError
        For fewer than two arms, one listed twice, one that is unknown, or the reference.
    """
    for name, members in trained.items():
        if len(set(members)) < len(members) or len(members) < 2:
            raise ValueError(
                f"training {name!r}: arms {', '.join(members) or 'none'}; expected at least two, each once"
            )
        for member in members:
            if member not in arms:
                raise ValueError(f"training {name!r}: {member!r} is no arm of this trial: {', '.join(arms)}")
        if reference in members:
            raise ValueError(f"training {name!r}: {reference!r} is the reference; name another reference")


def _over_seeds(means: Sequence[float], seed: int) -> dict[str, Any]:
    return as_record(interquartile_mean(np.array(means)[:, None], seed))
