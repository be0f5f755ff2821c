"""Where a result comes from: what was typed, and which versions of what answered."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
import numpy

import dosewright


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
