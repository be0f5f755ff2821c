"""Blocks of a trial on disk while it runs, so that one that was stopped goes on where it was.

``<folder>.partial`` holds ``question.json``, what the trial asks part by part, and ``block-00000.npz`` and so
on. Every file is written beside its place and moved there: a file of the right name is whole. One process at
a time works there; the lock is the operating system's and ends with its process, also where that is killed.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from dosewright.evaluation.result_folder import ExistingResultError, write_json, write_whole
from dosewright.evaluation.trial.block import PER_PATIENT, Block
from dosewright.evaluation.trial.result import ArmResult

_QUESTION, _NOTES, _LOCK = "question.json", "notes.json", "lock"
_NAMES = ("covariates", "genotypes", "labels")


class TrialStore:
    """The finished blocks of one trial, to be closed. Made by `begin` or `resume`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / _LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ExistingResultError(
                f"{path}: another process is at work there; wait until it has ended, or name another folder"
            ) from None

    @classmethod
    def begin(cls, folder: str | Path, question: Mapping[str, str], overwrite: bool = False) -> TrialStore:
        """Make an empty store beside the folder of a result.

        Parameters
        ----------
        folder
            Where the result will be.
        question
            Everything that a number of the trial depends on, in words, part by part: the design, the
            patients, what is in the arms, the software.
        overwrite
            Throw away what an earlier trial left.

        Raises
        ------
        ExistingResultError
            If an earlier trial left finished blocks, and `overwrite` is not set; if another process is at
            work there; or if what is there is no trial.
        """
        path = _beside(folder)
        if path.exists() and not (path.is_dir() and (stopped(folder) or _unused(path))):
            raise ExistingResultError(f"{path}: is no trial that was stopped; move it away")
        path.mkdir(parents=True, exist_ok=True)
        store = cls(path)
        finished = len(list(path.glob("block-*.npz")))
        if finished and not overwrite:
            store.close()
            raise ExistingResultError(
                f"{path}: a trial was stopped there, {finished} blocks of it are finished; go on with "
                "--resume, or throw them away with --overwrite"
            )
        # blocks first: none may be left under another question
        for file in (*path.glob("block-*.npz"), *path.glob("*.new"), *path.glob(_NOTES)):
            file.unlink()
        write_json(question, path / _QUESTION)
        return store

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        question: Mapping[str, str],
        otherwise: str = "begin anew with --overwrite",
    ) -> TrialStore:
        """Open the store that a trial left when it was stopped.

        Parameters
        ----------
        folder, question
            As in `begin`.
        otherwise
            What to do where the trial is another one, in words.

        Raises
        ------
        ValueError
            If there is none, or it is of another question; the message names what differs.
        ExistingResultError
            If another process is at work there.
        """
        path = _beside(folder)
        absent = f"--resume: no trial was stopped at {path}; leave --resume out"
        if not stopped(folder):
            raise ValueError(absent)
        store = cls(path)  # before the question is read: another process could begin anew in between
        try:
            asked = question_of(folder)
        except (OSError, json.JSONDecodeError):
            store.close()
            raise ValueError(absent) from None
        different = differences(asked, question)
        if different:
            store.close()
            raise ValueError(f"the trial at {path} is another one: {different}; ask the same, or {otherwise}")
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave it to others; nothing is deleted."""
        self._lock.release()

    def ask(self, question: Mapping[str, str], note: Mapping[str, Any]) -> None:
        """Take the blocks as the answer to another question; the note, which stays, says why they are."""
        write_json({"notes": [*_notes(self.path), dict(note)]}, self.path / _NOTES)
        write_json(question, self.path / _QUESTION)

    def keep(self, number: int, block: Block) -> None:
        """Store a finished block."""
        arrays: dict[str, NDArray[Any]] = {"ids": block.ids}
        for kind in _NAMES:
            arrays |= {f"{kind}/{name}": values for name, values in getattr(block, kind).items()}
        arms = []
        for i, arm in enumerate(block.arms.values()):
            arrays |= {f"arm {i}/{key}": getattr(arm, key) for key in PER_PATIENT}
            arrays |= {f"arm {i} outcomes/{name}": values for name, values in arm.outcomes.items()}
            arms.append(
                {
                    "name": arm.name,
                    "upper_bound": arm.upper_bound,
                    "seconds": arm.seconds,
                    "decisions": arm.decisions,
                }
            )
        head = {"arms": arms, "substituted": dict(block.substituted)}
        arrays["head"] = np.array(json.dumps(head))
        write_whole(self._file(number), lambda new: np.savez(new, allow_pickle=False, **arrays))

    def blocks(self, parts: Sequence[NDArray[np.int64]]) -> dict[int, Block]:
        """Return the finished blocks by number.

        Parameters
        ----------
        parts
            Patients of every block of the trial.

        Raises
        ------
        ValueError
            For a file that is broken, or that holds other patients.
        """
        found = {}
        for number, ids in enumerate(parts):
            if self._file(number).is_file():
                found[number] = _read(self._file(number))
                if not np.array_equal(found[number].ids, ids):
                    raise ValueError(
                        f"{self._file(number)}: holds other patients than block {number} of this trial; "
                        "delete the file, its patients are treated again"
                    )
        return found

    def remove(self) -> None:
        """Delete everything: the result is written."""
        shutil.rmtree(self.path)
        self.close()

    def _file(self, number: int) -> Path:
        return self.path / f"block-{number:05d}.npz"


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Return in words how two questions differ, part by part; empty where they are the same."""
    return "; ".join(
        f"{part} {there.get(part)!r} there, {here.get(part)!r} here"
        for part in dict.fromkeys((*there, *here))
        if there.get(part) != here.get(part)
    )


def question_of(folder: str | Path) -> dict[str, str]:
    """Return what a trial asks that was stopped beside the folder of a result."""
    return json.loads((_beside(folder) / _QUESTION).read_text(encoding="utf-8"))


def notes_of(folder: str | Path) -> list[dict[str, Any]]:
    """Return the notes of `TrialStore.ask` on a trial that was stopped beside the folder of a result."""
    return _notes(_beside(folder))


def _notes(path: Path) -> list[dict[str, Any]]:
    file = path / _NOTES
    return json.loads(file.read_text(encoding="utf-8"))["notes"] if file.is_file() else []


def stopped(folder: str | Path) -> bool:
    """Whether a trial was stopped beside the folder of a result."""
    return (_beside(folder) / _QUESTION).is_file()


def _unused(path: Path) -> bool:
    """Whether nothing was written into a store: it was stopped before its question was."""
    return all(file.name in (_LOCK, f"{_QUESTION}.new") for file in path.iterdir())


def _beside(folder: str | Path) -> Path:
    path = Path(folder)
    return path.with_name(path.name + ".partial")


def _read(path: Path) -> Block:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        head = json.loads(str(arrays["head"]))
        return Block(
            ids=arrays["ids"],
            **{kind: _under(f"{kind}/", arrays) for kind in _NAMES},
            substituted=head["substituted"],
            arms={
                arm["name"]: ArmResult(
                    outcomes=_under(f"arm {i} outcomes/", arrays), **_under(f"arm {i}/", arrays), **arm
                )
                for i, arm in enumerate(head["arms"])
            },
        )
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: is broken ({error}); delete the file, its patients are treated again"
        ) from error


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)}
