"""The conformance command: what it prints, and when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Closed form for S-warfarin after one 10 mg dose: C = (D/2)·ka/(V·(ka − ke))·(e^(−ke t) − e^(−ka t)), CL
# 0.348, V 14.3
INPUTS = {"racemic_doses_h_mg": [[0.0, 10.0]], "CYP2C9": "*1/*1", "VKORC1": "GA", "age_y": 71}
ROWS = {0.0: 0.0, 1.0: 0.2975445198, 12.0: 0.2643167381}


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.conformance", "trajectories", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def write(folder: Path, name: str, model_id: str, scale: float = 1.0) -> None:
    header = {
        "model_id": model_id,
        "scenario": name,
        "model": "",
        "time_unit": "h",
        "inputs": json.dumps(INPUTS),
        "derived": json.dumps({"CL_S_L_h": 0.348, "EC50_mg_L": 3.01}),
        "states": "[]",
        "initial": "{}",
        "events": "[]",
        "observe": "{}",
        "note": "",
        "solver": "closed form",
    }
    lines = [f"# {key}: {value}" for key, value in header.items()]
    lines += ["t_h,Cs_mg_L", *(f"{t},{c * scale:.10g}" for t, c in ROWS.items())]
    (folder / f"{name}.csv").write_text("\r\n".join(lines) + "\r\n")


def test_a_closed_form_is_met_and_unbuilt_models_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "one_dose", "warfarin_hamberg2010")
    write(tmp_path, "other", "digoxin_nobody2030")
    done = conformance(str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of models not built yet" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 of 1 within 1e-06, worst ")


def test_a_curve_outside_fails(tmp_path: Path) -> None:
    write(tmp_path, "shifted", "warfarin_hamberg2010", scale=1 + 5e-6)
    done = conformance(str(tmp_path))
    assert done.returncode == 1
    assert "OUTSIDE" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 of 1 within 1e-06, worst 5.0e-06 shifted.csv")


def test_a_folder_without_a_built_model_is_no_success(tmp_path: Path) -> None:
    assert conformance(str(tmp_path)).returncode == 1


@pytest.mark.parametrize("model", ["warfarin_hamberg2010"])
def test_reference_trajectories(model: str, shared: Path) -> None:
    done = conformance(str(shared / "reference" / "trajectories"), "--only", model)
    assert done.returncode == 0, done.stdout + done.stderr
