"""Compiled code is cached, and never older than any of its sources."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dosewright.envs.pharmacology.compilation import source_digest

# A user's model: another observation on Hamberg's states, whose constant comes from a second file.
MODEL_FILE = """
from dataclasses import replace
from user_constants import scaled
from dosewright.envs.pharmacology.compilation import kernel
from dosewright.envs.pharmacology.models.warfarin_hamberg2010 import MODEL as HAMBERG

OFFSET = 1.5

def make():
    inner = scaled  # in the closure, as the models' kernels are in the engine's

    def observe(state, theta, output):
        return inner(theta[7]) + OFFSET

    return replace(HAMBERG, name="user_model", observe=kernel(observe))

MODEL = make()
"""
CONSTANTS_FILE = """
from dosewright.envs.pharmacology.compilation import kernel

FACTOR = 2.0

def _scaled(value):
    return FACTOR * value

scaled = kernel(_scaled)
"""
RUN = """
import sys
import numpy as np
from user_model import MODEL
from dosewright.envs.pharmacology import simulate
theta = np.array([0.3, 14.3, 2.0, 3.0, 1.15, 0.1, 0.03, 1.0])
print(float(simulate(MODEL, theta, [], [0.0], ["INR"])[0, 0, 0]))
"""


def run(folder: Path) -> tuple[float, str]:
    """Value and standard error of one process with the cache of `folder`."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(folder)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    return float(done.stdout), done.stderr


def edit(path: Path, old: str, new: str) -> None:
    """Change a file behind the back of time stamps and sizes."""
    text, stamp = path.read_text(), path.stat()
    assert text.count(old) == 1 and len(old) == len(new)
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


@pytest.fixture
def user(tmp_path: Path) -> Path:
    (tmp_path / "user_model.py").write_text(MODEL_FILE)
    (tmp_path / "user_constants.py").write_text(CONSTANTS_FILE)
    return tmp_path


def test_edited_constant_changes_the_result_and_an_unchanged_one_loads_from_the_cache(user: Path) -> None:
    value, said = run(user)
    assert value == 3.5 and "dosewright: compiling user_model" in said
    value, said = run(user)
    assert value == 3.5 and "compiling" not in said
    edit(user / "user_model.py", "OFFSET = 1.5", "OFFSET = 4.5")
    value, said = run(user)
    assert value == 6.5 and "compiling user_model" in said
    edit(user / "user_constants.py", "FACTOR = 2.0", "FACTOR = 7.0")
    assert run(user)[0] == 11.5


def test_digest_covers_the_kernels_and_the_files_named(tmp_path: Path) -> None:
    file = tmp_path / "kernel.py"
    file.write_text("A = 1")
    before = source_digest([file])
    assert source_digest([file]) == before != source_digest([])
    file.write_text("A = 2")
    assert source_digest([file]) != before
