"""Hold the models against reference trajectories.

``python -m benchmarks.conformance trajectories DIR [--only MODEL_ID]`` reads every trajectory file of a
folder: twelve ``# key: value`` lines, then a table of times and outputs. It starts from `inputs` (regimen,
covariates, genotype, multipliers), compares the parameters that follow with `derived`, and every column
within 1e-6 of its maximum (or 1e-9 absolutely). One row a file, the summary last; exit code 1 when a built
model is outside, or when there is nothing to compare.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from dosewright.envs import genotype_effects
from dosewright.envs.pharmacology import PopulationModel, simulate
from dosewright.envs.pharmacology.models import warfarin_hamberg2010

RELATIVE, ABSOLUTE = 1e-6, 1e-9
KEYS = ("model_id", "scenario", "model", "time_unit", "inputs", "derived", "states", "initial", "events",
        "observe", "note", "solver")  # fmt: skip
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trajectory:
    """One file: its header, column names, and table (times in the first column)."""

    path: Path
    header: Mapping[str, str]
    columns: tuple[str, ...]
    table: Floats

    def json(self, key: str) -> Any:
        """Return a header entry that holds JSON."""
        return json.loads(self.header[key])


@dataclass(frozen=True)
class Case:
    """How a model answers a trajectory file.

    Attributes
    ----------
    model
        The model.
    theta
        ``theta(inputs) -> (p,)`` individual parameters.
    doses
        ``doses(inputs) -> [(time, amount), …]`` as prescribed.
    derived
        Key of `derived` -> value, from theta.
    outputs
        Column of the table -> output of the model.
    """

    model: PopulationModel
    theta: Callable[[Mapping[str, Any]], Floats]
    doses: Callable[[Mapping[str, Any]], list[tuple[float, float]]]
    derived: Callable[[Floats], Mapping[str, float]]
    outputs: Mapping[str, str]


def _hamberg_theta(inputs: Mapping[str, Any]) -> Floats:
    model = warfarin_hamberg2010.MODEL
    genotypes = {gene: np.array([inputs[gene]]) for gene in ("CYP2C9", "VKORC1")}
    effects, _ = genotype_effects(model.genotype_terms, genotypes)
    known = {"age_y": [inputs["age_y"]], "baseline": [inputs.get("INR_base", 1.0)]}
    theta = model.typical(known, effects)[0]
    for parameter, key in (("CL", "cl_mult"), ("V", "v_mult"), ("EC50", "ec_mult")):
        theta[model.column(parameter)] *= inputs.get(key, 1.0)
    return theta


def _hamberg_derived(theta: Floats) -> Mapping[str, float]:
    names = ("CL_S_L_h", "V_L", "ka_1_h", "EC50_mg_L", "gamma", "ktr1_1_h", "ktr2_1_h", "INR_base")
    constants = {
        "Emax": 1.0,
        "INR_max_increment": warfarin_hamberg2010.INR_MAX.value,
        "S_fraction": warfarin_hamberg2010.S_FRACTION.value,
    }
    return dict(zip(names, theta.tolist(), strict=True)) | constants


CASES: dict[str, Case] = {
    "warfarin_hamberg2010": Case(
        model=warfarin_hamberg2010.MODEL,
        theta=_hamberg_theta,
        doses=lambda inputs: [tuple(dose) for dose in inputs.get("racemic_doses_h_mg", [])],
        derived=_hamberg_derived,
        outputs={"Cs_mg_L": "Cs", "A3": "X3", "B3": "Y3", "INR": "INR"},
    ),
}


def read(path: Path) -> Trajectory:
    """Read a trajectory file; a broken one is an error that names the place."""
    header, rows = {}, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("#"):
            key, separator, value = line.lstrip("# ").partition(":")
            if not separator:
                raise ValueError(f"{path}, line {number}: expected '# key: value', got {line[:40]!r}")
            header[key.strip()] = value.strip()
        elif line.strip():
            rows.append(line)
    missing = [key for key in KEYS if key not in header]
    if missing or len(rows) < 2:
        raise ValueError(f"{path}: {'header line ' + missing[0] if missing else 'table'} is missing")
    cells = list(csv.reader(rows))
    try:
        table = np.array([[float(cell) for cell in row] for row in cells[1:]])
    except ValueError as error:
        raise ValueError(f"{path}: table is not numeric or ragged ({error})") from None
    return Trajectory(path, header, tuple(cells[0]), table)


def compare(trajectory: Trajectory, case: Case) -> tuple[float, str]:
    """Return the largest discrepancy, as a share of what is allowed times 1e-6, and where it is."""
    inputs = trajectory.json("inputs")
    theta = case.theta(inputs)
    worst, where = 0.0, "derived"
    derived = case.derived(theta)
    for key, value in trajectory.json("derived").items():
        if key not in derived:
            raise ValueError(
                f"{trajectory.path}: derived parameter {key!r} is not one of {', '.join(derived)}"
            )
        error = abs(derived[key] - value) / max(abs(value), 1e-300)
        worst, where = max((worst, where), (error, f"derived {key}"))
    names = trajectory.columns[1:]
    outputs = [case.outputs[name] for name in names]
    got = simulate(case.model, theta, case.doses(inputs), trajectory.table[:, 0], outputs)[0]
    for column, name in enumerate(names):
        expected = trajectory.table[:, column + 1]
        scale = max(np.abs(expected).max(), ABSOLUTE / RELATIVE)
        error = float(np.abs(got[:, column] - expected).max()) / scale
        worst, where = max((worst, where), (error, name))
    return worst, where


@click.group()
def conformance() -> None:
    """Hold the models against references."""


@conformance.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--only", metavar="MODEL_ID", help="Files of one model.")
def trajectories(folder: Path, only: str | None) -> None:
    """Compare every trajectory file of DIR."""
    files = sorted(folder.glob("*.csv"))
    done: list[tuple[float, str]] = []
    skipped = 0
    for path in files:
        try:
            trajectory = read(path)
            model_id = trajectory.header["model_id"]
            if only is not None and model_id != only:
                continue
            if model_id not in CASES:
                skipped += 1
                click.echo(f"{path.name:48s} {model_id:28s} not built yet")
                continue
            worst, where = compare(trajectory, CASES[model_id])
        except ValueError as error:
            click.echo(f"error: {error}", err=True)
            raise SystemExit(2) from None
        done.append((worst, path.name))
        verdict = "ok" if worst <= RELATIVE else "OUTSIDE"
        click.echo(f"{path.name:48s} {model_id:28s} {worst:.1e} at {where:16s} {verdict}")
    if skipped:
        click.echo(f"{skipped} of models not built yet")
    inside = sum(worst <= RELATIVE for worst, _ in done)
    if not done:
        click.echo(f"0 of 0 within {RELATIVE:g}: no trajectory of a built model in {folder}")
        raise SystemExit(1)
    worst, name = max(done)
    click.echo(f"{inside} of {len(done)} within {RELATIVE:g}, worst {worst:.1e} {name}")
    raise SystemExit(0 if inside == len(done) else 1)


if __name__ == "__main__":
    conformance()
