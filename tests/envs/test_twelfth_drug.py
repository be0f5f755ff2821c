"""A drug is added by new files alone: the whole common suite runs on one that lies in another folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SUITE = Path(__file__).with_name("test_every_environment.py")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, check=False,
        env={**os.environ, "DOSEWRIGHT_SCENARIOS": str(folder)},
    )  # fmt: skip


def test_the_common_suite_passes_for_a_drug_of_two_new_files(tmp_path: Path) -> None:
    for name in ("twelfth_drug.py", "two_compartment.toml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    done = run(tmp_path, "-m", "pytest", str(SUITE), "-vv", "-k", "twelfth", "-p", "no:cacheprovider",
               "--rootdir", str(ROOT))  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    passed = len(re.findall("PASSED", done.stdout))
    # every test of the suite that is parametrised by drug: conventions, scalar and vector, scoring,
    # rules, target
    assert passed >= 18


def test_commands_know_it_too(tmp_path: Path) -> None:
    for name in ("twelfth_drug.py", "two_compartment.toml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    listed = run(tmp_path, "-m", "dosewright.scripts.cli", "scenarios")
    assert listed.returncode == 0 and "dosewright/Twelfth-v0" in listed.stdout
    curve = run(tmp_path, "-m", "dosewright.scripts.cli", "simulate", "twelfth", "--dose", "100",
                "--every", "12h", "--days", "7", "--people", "40")  # fmt: skip
    assert curve.returncode == 0 and "CYP2C19 *1/*1" in curve.stdout
    trial = run(tmp_path, "-m", "dosewright.scripts.cli", "trial", "twelfth", "--arms", "label,nomogram",
                "--patients", "60", "--out", str(tmp_path / "report"))  # fmt: skip
    assert trial.returncode == 0, trial.stderr
    assert (tmp_path / "report" / "report.html").is_file()


def test_a_second_scenario_of_one_name_is_refused(tmp_path: Path) -> None:
    for name in ("twelfth_drug.py", "two_compartment.toml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    shutil.copy(EXAMPLES / "twelfth_drug.py", tmp_path / "again.py")
    done = run(tmp_path, "-m", "dosewright.scripts.cli", "scenarios")
    assert done.returncode != 0 and "there is a scenario 'twelfth' already" in done.stderr
