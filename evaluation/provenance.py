"""Where a result comes from: what was typed, and which versions of what answered."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
import numpy

import dosewright
from dosewright.envs.scenarios import FOLDERS

# what patients go through; how their numbers are summed up and shown is in no digest of the code
SIMULATES = {
    "pharmacogenomics": ("**/*.py", "**/*.csv", "**/*.toml"),
    "envs": ("**/*.py",),
    "evaluation": ("trial/block.py", "outcomes.py"),
    "agents": ("*.py", "estimation/*.py", "learning/*.py", "pretrained/*.py", "regimens/*.py"),
}


def provenance(started: datetime, seconds: float) -> dict[str, Any]:
    """Return command line, versions, git commit (None outside a checkout), start and duration of a run.

    Parameters
    ----------
    started
        When it began, with a time zone.
    seconds
        How long it took.
    """
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
        "versions": {
            "dosewright": dosewright.__version__,
            "python": platform.python_version(),
            "numpy": numpy.__version__,
            "numba": numba.__version__,
            "scipy": version("scipy"),
        },
        "platform": platform.platform(),
        "git": git_commit(Path(__file__).resolve().parent),
    }


def git_commit(folder: Path) -> str | None:
    """Return the commit of a checkout, with "-dirty" behind it if files differ; None if there is none.

    A folder that lies in somebody else's repository without being tracked there (an installed package) has
    none.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if not git("ls-files", "--", "."):
        return None
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def code_digest() -> str:
    """Return a digest of the code that patients of a trial or of a training go through, scenarios from other
    folders included."""
    folders = filter(None, os.environ.get(FOLDERS, "").split(os.pathsep))
    return digest([*sources(SIMULATES), *(file for folder in folders for file in Path(folder).glob("*.py"))])


def sources(rooms: Mapping[str, Iterable[str]]) -> list[Path]:
    """Return files of this package: room, such as "envs", -> patterns of names in it."""
    found: list[Path] = []
    for room, patterns in rooms.items():
        spec = find_spec(f"dosewright.{room}")
        assert spec is not None and spec.origin is not None
        found += [file for pattern in patterns for file in Path(spec.origin).parent.glob(pattern)]
    return found


def digest(files: Iterable[Path]) -> str:
    """Return a digest of the names and contents of some files, in whatever order; folders are left out."""
    found = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        found.update(file.name.encode())
        found.update(file.read_bytes())
    return found.hexdigest()[:16]
