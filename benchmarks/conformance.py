"""Hold the models against reference trajectories.

``python -m benchmarks.conformance trajectories DIR [--only MODEL_ID]`` reads every trajectory file of a
folder: twelve ``# key: value`` lines, then a table of times and outputs. It starts from `inputs` (regimen,
covariates, genotype, multipliers), compares the parameters that follow with `derived`, and every column
within 1e-6 of its maximum (or 1e-9 absolutely). One row a file, the summary last; exit code 1 when a built
model is outside, or when there is nothing to compare.

``python -m benchmarks.conformance mapbayes DIR`` compares predictions, estimates, posteriors and dose
searches with those of NONMEM, Monolix and others, one row a set, as `mapbayes_cases` describes.

``python -m benchmarks.conformance ope DIR`` compares off-policy estimators, diagnostics, intervals and trial
statistics with logged data whose truth is known, one row a case and kind of number, and the decision whether
each log can answer, as `ope_decisions` describes.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks import (
    mapbayes_cases,
    mapbayes_regimens,
    ope_decisions,
    ope_diagnostics,
    ope_logs,
    ope_models,
    ope_paired,
    pgx_cases,
    pgx_recommendations,
    pgx_tables,
)
from benchmarks.cases import CASES, Case
from benchmarks.pgx_cases import Row
from dosewright.envs.pharmacology import simulate

RELATIVE, ABSOLUTE = 1e-6, 1e-9
KEYS = ("model_id", "scenario", "model", "time_unit", "inputs", "derived", "states", "initial", "events",
        "observe", "note", "solver")  # fmt: skip
Floats = NDArray[np.float64]
_RECOMMENDATIONS, _GETRM = "diplotype_recommendation.json", ("getrm/genotypes.vcf", "getrm/consensus.csv")
PGX_SETS: tuple[tuple[str, tuple[str, ...], Callable[[Path], Sequence[Row]]], ...] = (
    ("diplotype_phenotype", ("diplotype_phenotype.csv",), lambda path: (pgx_tables.phenotypes(path),)),
    ("phenotype_frequencies", ("phenotype_frequencies.csv",), pgx_tables.frequencies),
    ("genotype_calls", ("genotype_calls.json",), lambda path: (pgx_cases.genotype_calls(path),)),
    (
        "look-up key and classification",
        (_RECOMMENDATIONS,),
        lambda path: (pgx_recommendations.lookups(path),),
    ),
    (
        "text of the source row",
        (_RECOMMENDATIONS, "../recommendations_cpic.json"),
        lambda path: (pgx_recommendations.texts(path),),
    ),
    (
        "source rows carried",
        (_RECOMMENDATIONS, "../recommendations_cpic.json"),
        lambda path: (pgx_recommendations.carried(path),),
    ),
    (
        "class and numbers of the action",
        (_RECOMMENDATIONS, "../dose_actions_cpic.csv"),
        lambda path: (pgx_recommendations.actions(path),),
    ),
    (
        "example_sample",
        ("example_sample/sample.vcf", "example_sample/expected.csv"),
        lambda path: (pgx_cases.example_sample(path),),
    ),
    ("getrm", _GETRM, pgx_cases.getrm),
    ("CYP2D6 structure never guessed", _GETRM[:1], lambda path: (pgx_cases.structure_not_guessed(path),)),
    ("getrm posterior", _GETRM, pgx_tables.getrm_posterior),
)
"""Set, its files, and what compares it. The tables above the folder are compared only beside their cases."""
_MODELS, _EVENTS, _MAP = "models.json", "events.csv", "expected_map.csv"
MAPBAYES_SETS: tuple[tuple[str, tuple[str, ...], Callable[[Path], Iterable[Row]]], ...] = (
    (
        "expected_predictions",
        ("expected_predictions.csv", _MODELS, _EVENTS, _MAP),
        mapbayes_cases.predictions,
    ),
    ("expected_map", (_MAP, _MODELS, _EVENTS), mapbayes_cases.estimates),
    (
        "expected_covariance",
        ("expected_covariance.csv", _MODELS, _EVENTS, _MAP),
        mapbayes_cases.covariances,
    ),
    ("posterior_moments", ("posterior_moments.csv", _MODELS, _EVENTS), mapbayes_cases.moments),
    ("posterior_doses", ("posterior_doses.csv", _MODELS, _EVENTS), mapbayes_cases.doses),
    ("regimen_cases", ("regimen_cases.json",), mapbayes_regimens.regimens),
    ("bolus_1cmt_nonmem", ("bolus_1cmt_nonmem.csv",), mapbayes_cases.bolus),
)
"""As `PGX_SETS`."""
OPE_NUMBERS: Mapping[str, Callable[[Path], list[tuple[str, float, float, float]]]] = {
    "importance, kernels, behaviour": ope_logs.check,
    "models, marginal weights": ope_models.check,
    "diagnostics, intervals, sensitivity": ope_diagnostics.check,
    "paired trial": ope_paired.check,
}
"""Kind of number, and what compares those of a folder: (name, ours, reference, allowed difference)."""


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
    try:
        inputs = case.read(trajectory.json("inputs"))
    except ValueError as error:
        raise ValueError(f"{trajectory.path}: {error}") from None
    theta = case.theta(inputs)
    worst, where = 0.0, "derived"
    derived = case.derived(theta, inputs)
    for key, value in trajectory.json("derived").items():
        if key not in derived:
            raise ValueError(
                f"{trajectory.path}: derived parameter {key!r} is not one of {', '.join(derived)}"
            )
        mine, theirs = np.ravel(derived[key]), np.ravel(value)
        if mine.shape != theirs.shape:
            raise ValueError(f"{trajectory.path}: derived {key!r} is {value}; expected {derived[key]}")
        error = float(np.max(np.abs(mine - theirs) / np.maximum(np.abs(theirs), 1e-300)))
        worst, where = max((worst, where), (error, f"derived {key}"))
    names = trajectory.columns[1:]
    unknown = [name for name in names if name not in case.outputs]
    if unknown:
        raise ValueError(f"{trajectory.path}: column {unknown[0]!r} is not one of {', '.join(case.outputs)}")
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


@conformance.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--failures", is_flag=True, help="Print a line for each case that did not pass.")
def pgx(folder: Path, failures: bool) -> None:
    """Compare pharmacogenomics with the case sets of DIR, laid out as docs/pharmacogenomics.md says.

    Sets whose files are not there are named and left out, and the summary counts them. A set that cannot be
    read does not pass.
    """
    rows: list[Row] = []
    left_out = 0
    for name, files, compared in PGX_SETS:
        absent = [file for file in files if not (folder / file).is_file()]
        if absent:
            click.echo(f"{name:36s} left out: no {absent[0]}")
            left_out += 1
            continue
        try:
            found = compared(folder)
        except Exception as error:  # whatever is wrong with a file, the other sets are still compared
            found = (Row(name, 0, 0, 1.0, (f"not read: {type(error).__name__}: {error}",)),)
        for row in found:
            _show(row, failures)
        rows += found
    if not rows:
        click.echo(f"0 sets pass: no set has all of its files in {folder}, or none has a case")
        raise SystemExit(1)
    for row in pgx_tables.calibration():
        _show(row, failures)
        rows.append(row)
    passing = sum(row.ok for row in rows)
    click.echo(f"{passing} of {len(rows)} sets pass, {left_out} left out")
    raise SystemExit(0 if passing == len(rows) else 1)


@conformance.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--failures", is_flag=True, help="Print a line for each case that did not pass.")
def mapbayes(folder: Path, failures: bool) -> None:
    """Compare estimation and dose finding with the case sets of DIR.

    Sets whose files are absent are named and left out. A set that cannot be read does not pass.
    """
    rows: list[Row] = []
    for name, files, compared in MAPBAYES_SETS:
        absent = [file for file in files if not (folder / file).is_file()]
        if absent:
            click.echo(f"{name:36s} absent: no {', '.join(absent)}")
            continue
        try:
            found = tuple(compared(folder))
        except Exception as error:  # whatever is wrong with a file, the other sets are still compared
            found = (Row(name, 0, 0, 1.0, (f"not read: {type(error).__name__}: {error}",)),)
        for row in found:
            asked = f"{row.needed:.0%} asked" if row.needed else "shown only"
            share = f"{row.passed / row.total:.2%}" if row.total else "none"
            verdict = "ok" if row.ok else "FAILED"
            click.echo(f"{row.name:36s} {row.passed:6d} of {row.total:6d} {share:>8s}  {asked:12s} {verdict}")
            for line in row.failures if failures or not row.total else ():
                click.echo(f"    {line}")
        rows += found
    passing = sum(row.ok for row in rows)
    click.echo(f"{passing} of {len(rows)} sets pass" if rows else f"nothing to compare in {folder}")
    raise SystemExit(0 if rows and passing == len(rows) else 1)


@conformance.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--failures", is_flag=True, help="Print a line for each number that is outside.")
def ope(folder: Path, failures: bool) -> None:
    """Compare off-policy evaluation with the cases of DIR, a folder each with data.npz and reference.json.

    A case that cannot be read does not pass.
    """
    rows: list[Row] = []
    for case in sorted(path for path in folder.iterdir() if (path / "reference.json").is_file()):
        found = [_numbers(case, kind, compared) for kind, compared in OPE_NUMBERS.items()]
        found.append(_decision(case))
        for row in (row for row in found if row is not None):
            _show(row, failures or not row.ok)
            rows.append(row)
    passing = sum(row.ok for row in rows)
    total, inside = sum(row.total for row in rows), sum(row.passed for row in rows)
    click.echo(f"{passing} of {len(rows)} sets pass; {inside} of {total} numbers and decisions")
    raise SystemExit(0 if rows and passing == len(rows) else 1)


def _numbers(
    case: Path, kind: str, compared: Callable[[Path], list[tuple[str, float, float, float]]]
) -> Row | None:
    name = f"{case.name}: {kind}"
    try:
        found = compared(case)
    except Exception as error:  # whatever is wrong with a case, the others are still compared
        return Row(name, 0, 0, 1.0, (f"not read: {type(error).__name__}: {error}",))
    outside = tuple(
        f"{what}: {ours!r}, reference {expected!r}, allowed {allowed:.1e}"
        for what, ours, expected, allowed in found
        if not (
            ours == expected or abs(ours - expected) <= allowed or math.isnan(ours) and math.isnan(expected)
        )
    )
    return Row(name, len(found) - len(outside), len(found), 1.0, outside) if found else None


def _agree(ours: float, expected: float, allowed: float) -> bool:
    """Whether two numbers agree; infinity with itself, and missing with missing."""
    both_missing = math.isnan(ours) and math.isnan(expected)
    return ours == expected or both_missing or abs(ours - expected) <= allowed


def _decision(case: Path) -> Row | None:
    name = f"{case.name}: decision"
    try:
        wrong = ope_decisions.faults(case)
    except Exception as error:  # as above
        return Row(name, 0, 0, 1.0, (f"not read: {type(error).__name__}: {error}",))
    return None if wrong is None else Row(name, int(not wrong), 1, 1.0, tuple(wrong))


def _show(row: Row, failures: bool) -> None:
    asked = f"{row.needed:.1%} asked" if row.needed else "shown only"
    verdict = "ok" if row.ok else "BELOW"
    click.echo(f"{row.name:36s} {row.passed:6d} of {row.total:6d}  {asked:14s} {verdict}")
    for line in row.remarks if row.ok and not failures else (*row.remarks, *row.failures):
        click.echo(f"    {line}")


if __name__ == "__main__":
    conformance()
