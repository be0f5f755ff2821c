"""Cells that other code treated: whether their first patients come out the same now.

A change of code that should change no number need not cost a night. What is compared is bit for bit, arm by
arm, by a fingerprint of everything that is known of a patient: a finished cell keeps those of its first
patients, so that the patients themselves need not be there. The cell's record says how many were treated
again, and by which code the others were treated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dosewright.evaluation.trial import BLOCK, ArmResult, TrialDesign, TrialStore
from dosewright.evaluation.trial.block import PER_PATIENT, treat
from dosewright.evaluation.trial.store import differences

Question = Mapping[str, str]
Fingerprints = Mapping[str, Sequence[str]]

FIRST = 20  # patients of whom a finished cell keeps fingerprints


def only_made_otherwise(then: Question, now: Question) -> bool:
    """Whether two questions ask the same of the same patients, by other code, libraries or files."""

    def asks(question: Question) -> dict[str, str]:
        made = ("code", "libraries", "world")
        return {part: words for part, words in question.items() if part not in made and part[:4] != "arm "}

    return not differences(asks(then), asks(now))


def fingerprints(arms: Mapping[str, ArmResult], patients: int) -> dict[str, list[str]]:
    """Return arm -> a digest of what is known of each of the first patients: doses, responses, outcomes."""
    return {
        name: [_fingerprint(arm, place) for place in range(min(patients, len(arm.benefit)))]
        for name, arm in arms.items()
    }


def _fingerprint(arm: ArmResult, place: int) -> str:
    found = hashlib.sha256()
    values = {key: getattr(arm, key) for key in PER_PATIENT}
    values |= {f"outcome {name}": each for name, each in arm.outcomes.items()}
    for key, each in values.items():
        one = np.ascontiguousarray(each[place])
        if one.dtype.kind == "f":  # missing is missing, and zero is zero, in whichever bits
            one = np.where(np.isnan(one), np.nan, one) + 0.0
        found.update(f"{key} {one.dtype.str} {one.shape} ".encode() + one.tobytes())
    return found.hexdigest()[:16]


def check_first(there: Fingerprints, design: TrialDesign, patients: int, where: Path, otherwise: str) -> int:
    """Treat the first patients of a group of arms again; return how many.

    Parameters
    ----------
    there
        Of the arms of the design, and perhaps others.
    design
        The design of now.
    patients
        How many are treated again, at most those that are there.
    where, otherwise
        What holds them, and what to do where they are others, in words.

    Raises
    ------
    ValueError
        If one comes out otherwise, or none is there; the message names arm and patient.
    """
    if absent := [name for name in design.arms if name not in there]:
        raise ValueError(f"{where}: holds no patients of {absent[0]!r} to compare with; {otherwise}")
    first = np.arange(min(patients, *(len(there[name]) for name in design.arms)))
    here = fingerprints(treat(design, first).arms, len(first))
    for name, found in here.items():
        for patient, (one, was) in enumerate(zip(found, there[name], strict=False)):
            if one != was:
                raise ValueError(
                    f"{where}: patient {patient} under {name!r} is another by this code: the cell is of "
                    f"another; name another --out, or {otherwise}"
                )
    return len(first)


def recheck(folder: Path, then: Question, now: Question, design: TrialDesign, patients: int) -> None:
    """Treat the first patients of a group of arms again, and let its store answer the question of now.

    Parameters
    ----------
    folder
        Of the group; its patients are beside it.
    then, now
        What was asked of it, and what is asked now.
    design, patients
        As in `check_first`; the store keeps a note of how many, and of what differed.

    Raises
    ------
    ValueError
        If the first patients are not there, or one comes out otherwise.
    """
    with TrialStore.resume(folder, then, "delete the cell's file") as store:
        block = np.arange(min(BLOCK, int(then["patients"].partition(",")[0])))
        there = store.blocks([block]).get(0)
        if there is None:
            raise ValueError(
                f"{store.path}: its first patients were not finished; delete it, they are treated"
            )
        found = fingerprints(there.arms, patients)
        treated = check_first(found, design, patients, store.path, f"delete {folder.parent} and its .json")
        store.ask(now, note(treated, then, now))


def note(patients: int, then: Question, now: Question) -> dict[str, object]:
    """Return what is remembered of patients that were treated again: how many, and what differed."""
    return {"patients": patients, "differed": differences(then, now)}
