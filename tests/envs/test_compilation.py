"""Compiled code is cached, and never older than any of its sources."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosewright.envs.pharmacology.compilation import compiled, source_digest
from dosewright.envs.pharmacology.models import warfarin_hamberg2010
from dosewright.envs.pharmacology.solvers.signatures import OBSERVE

# A user's model: a copy of Hamberg's file whose observation also uses a kernel from a second file.
CHANGES = {
    'name="warfarin_hamberg2010"': 'name="user_model"',
    "import math\n": "import math\nfrom user_constants import scaled\n",
    "return theta[7] +": "return scaled(theta[7]) +",
}
CONSTANTS_FILE = """
from dosewright.envs.pharmacology.compilation import kernel

FACTOR = 2.0

def _scaled(value):
    return FACTOR * value

scaled = kernel(_scaled)
"""
# without clotting factors the INR is its baseline, 1, and the whole increment, 20
RUN = """
import numpy as np
from user_model import MODEL
from dosewright.envs.pharmacology import simulate
theta = np.array([0.3, 14.3, 2.0, 3.0, 1.15, 0.1, 0.03, 1.0])
print(float(simulate(MODEL, theta, [], [0.0], ["INR"], initial=np.zeros(8))[0, 0, 0]))
"""


def run(folder: Path) -> tuple[float, str]:
    """Value and standard error of one process with the cache of `folder`."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout), done.stderr


def edit(path: Path, old: str, new: str) -> None:
    """Change a file behind the back of time stamps and sizes."""
    text, stamp = path.read_text(encoding="utf-8"), path.stat()
    assert text.count(old) == 1 and len(old) == len(new)
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


@pytest.fixture
def user(tmp_path: Path) -> Path:
    text = inspect.getsource(warfarin_hamberg2010)
    for old, new in CHANGES.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "user_model.py").write_text(text, encoding="utf-8")
    (tmp_path / "user_constants.py").write_text(CONSTANTS_FILE)
    return tmp_path


def test_edited_constant_changes_the_result_and_an_unchanged_one_loads_from_the_cache(user: Path) -> None:
    value, said = run(user)
    assert value == 22.0
    # a model has three kernels; their compilation is said once
    assert said.splitlines().count("dosewright: compiling user_model (once, then cached)") == 1
    assert (
        said.splitlines().count("dosewright: compiling the engine for tailored models (once, then cached)")
        == 1
    )
    value, said = run(user)
    assert value == 22.0 and "compiling" not in said
    edit(user / "user_model.py", "INR_MAX = Constant(20.0", "INR_MAX = Constant(50.0")
    value, said = run(user)
    assert value == 52.0
    # the engine does not hold the model's kernels, only pointers to them
    assert "compiling user_model" in said and "compiling the engine" not in said
    edit(user / "user_constants.py", "FACTOR = 2.0", "FACTOR = 7.0")
    assert run(user)[0] == 57.0


def test_digest_covers_the_kernels_and_the_files_named(tmp_path: Path) -> None:
    file = tmp_path / "kernel.py"
    file.write_text("A = 1")
    before = source_digest([file])
    assert source_digest([file]) == before != source_digest([])
    file.write_text("A = 2")
    assert source_digest([file]) != before


_SHARE = 1.0


def _times_share(t, state, theta, output):
    return _SHARE * theta[0]


def value_of(function: Any) -> float:
    """Value of a compiled observation of one name, with 1 as the parameter."""
    made = compiled(function, OBSERVE, label="test_constants")
    return made(0.0, np.zeros(1), np.ones(1), 0)


def test_a_constant_that_another_file_holds_is_part_of_what_is_cached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # `from constants import SHARE`: an edit of that file changes a global number, and no source of the kernel
    assert value_of(_times_share) == 1.0
    monkeypatch.setitem(globals(), "_SHARE", 2.0)
    assert value_of(_times_share) == 2.0


def test_a_constant_in_the_closure_is_part_of_what_is_cached() -> None:
    def make(share: float) -> Any:
        def observe(t, state, theta, output):
            return share * theta[0]

        return observe

    assert [value_of(make(share)) for share in (3.0, 4.0)] == [3.0, 4.0]
