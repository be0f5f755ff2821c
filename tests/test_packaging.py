"""What a wheel holds, and what a checkout must not lose."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


def packages_on_disk() -> set[str]:
    found = set()
    for package, folder in SETUPTOOLS["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((package, *parts)))
    return found


def test_every_sub_package_is_listed_for_the_wheel() -> None:
    # a package missing from the list works in editable mode and is silently absent from the wheel
    assert packages_on_disk() == set(SETUPTOOLS["packages"])


def test_type_checkers_see_every_room() -> None:
    rooms = {name.removeprefix("dosewright.") for name in SETUPTOOLS["package-dir"] if "." in name}
    farm = ROOT / "typings" / "dosewright"
    assert {path.name for path in farm.iterdir() if path.is_symlink() and path.name != "__init__.py"} == rooms
    assert all((farm / room / "__init__.py").is_file() for room in rooms)


def test_ci_calls_the_command_of_the_readme() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.slow
def test_wheel_holds_data_presets_and_the_pretrained_policy(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for wanted in (
        "dosewright/py.typed",
        "dosewright/pharmacogenomics/data/cpic/allele_frequencies.csv",
        "dosewright/agents/learning/presets/warfarin.toml",
        "dosewright/agents/pretrained/warfarin/card.json",
        "dosewright/agents/pretrained/warfarin/weights.zip",
        "dosewright/evaluation/report/trial.html",
        "dosewright/evaluation/report/checklists.csv",
        "dosewright/evaluation/report/report.css",
    ):
        assert wanted in names
    assert not any(name.startswith(("tests/", "benchmarks/", "envs/")) for name in names)
