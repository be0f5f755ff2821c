"""What a cell of the leaderboard is made of: designs that a worker can make by itself, frozen comparators."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from dosewright.agents.regimens import lacking
from dosewright.envs import Scenario
from dosewright.evaluation.leaderboard import Cell
from dosewright.evaluation.leaderboard.cell import ADAPTIVE, PLANNERS, RULES, STATIC
from dosewright.evaluation.provenance import digest, sources
from dosewright.evaluation.result_folder import write_json
from dosewright.evaluation.sensitivity import World, other_model
from dosewright.evaluation.trial import TrialDesign
from dosewright.scripts.trial_arms import design

REFERENCE = ADAPTIVE
# what Bayesian monitoring and the planner are made of
_COMPARATORS = {"agents": ("estimation/*.py", "regimens/bayesian.py", "regimens/planner.py")}


def groups(known: Scenario, policies: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the groups of arms that are run together: name -> label -> arm.

    Parameters
    ----------
    known
        The scenario.
    policies
        Label -> ``policy:PATH``, one a training seed.
    """
    absent = lacking(known)
    rules = [name for name in (*RULES, "oracle") if name not in absent]
    return {
        "belief": {name: name for name in (STATIC, ADAPTIVE)} | dict(policies),
        "rules": {name: name for name in rules},
        "planner": {name: name for name in PLANNERS},
    }


def cell_world(cell: Cell, arms: Mapping[str, str], seed: int) -> World:
    """Return the world of a cell and the design of some of its arms there."""
    asked = design(cell.drug, arms, seed, cell.realism, "diplotype", None)
    if cell.world == "own":
        return World("own", asked.scenario.model.title, asked)
    return other_model(asked, misspecified=True)


def cell_design(cell: Cell, arms: Mapping[str, str], seed: int) -> TrialDesign:
    """Return the design of some arms of a cell, for workers too.

    Raises
    ------
    ValueError
        If there is no such world.
    """
    world = cell_world(cell, arms, seed)
    if world.design is None:
        raise ValueError(f"{cell.name}: {world.reason}")
    return world.design


def without_truth(arms: Mapping[str, str]) -> dict[str, str]:
    """Return the arms that can be run in another model's world: all but the oracle, which reads the truth as
    that of its own model."""
    return {label: name for label, name in arms.items() if name != "oracle"}


def comparators(known: Scenario) -> dict[str, Any]:
    """Return what the Bayesian and planner arms of a drug depend on: their settings and a digest of their
    code."""
    monitoring = known.monitoring
    target = None if monitoring.target is None else monitoring.target(np.arange(known.horizon, dtype=float))
    return {
        "fade": monitoring.fade,
        "after": monitoring.after,
        "target": None if target is None else hashlib.sha256(target.tobytes()).hexdigest()[:16],
        "version": known.version,
        "code": digest(sources(_COMPARATORS)),
    }


def shipped_comparators() -> Path:
    """Return the file of the comparators that this version froze."""
    return Path(str(files("dosewright.evaluation.leaderboard") / "comparators.json"))


def freeze_comparators(path: Path, asked: Mapping[str, Mapping[str, Any]]) -> None:
    """Write down the comparators of some drugs; what was frozen there stays.

    Parameters
    ----------
    path, asked
        As in `check_frozen`.

    Raises
    ------
    ValueError
        If the file is there, and is none of this kind, or has other comparators of one of the drugs: policies
        may have been compared with those.
    """
    there = _frozen(path) if path.exists() else {}
    for drug, now in asked.items():
        if drug in there and (different := _apart(there[drug], now)):
            raise ValueError(
                f"{path}: the comparators of {drug} are frozen, and others: {different}; name another "
                "--comparators, and compare every policy again"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json({**there, **asked}, path)


def check_frozen(path: Path, asked: Mapping[str, Mapping[str, Any]]) -> str:
    """Compare the comparators with those that were frozen, and return the digest of the file.

    Parameters
    ----------
    path
        JSON file of ``dosewright leaderboard --freeze``: drug -> what `comparators` returned.
    asked
        The same, now.

    Raises
    ------
    ValueError
        If nothing was frozen, or a drug's comparators are others now; what differs is named.
    """
    if not path.is_file():
        raise ValueError(
            f"{path}: no frozen comparators; write them with --freeze before any policy is compared"
        )
    frozen = _frozen(path)
    for drug, now in asked.items():
        if drug not in frozen:
            raise ValueError(
                f"{path}: has no comparators of {drug}; add them, `dosewright leaderboard {drug} --freeze "
                f"--comparators {path}`"
            )
        if different := _apart(frozen[drug], now):
            raise ValueError(
                f"{path}: the comparators of {drug} are not those that were frozen: {different}; freeze them "
                "in another file, --comparators, and compare every policy again"
            )
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _apart(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return how frozen comparators differ from those of now, in words; empty where they are the same."""
    return ", ".join(
        f"{key} {then.get(key)!r} then, {value!r} now" for key, value in now.items() if then.get(key) != value
    )


def _frozen(path: Path) -> dict[str, Any]:
    try:
        frozen = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: are no frozen comparators ({error}); name another file") from None
    if not isinstance(frozen, dict):
        raise ValueError(f"{path}: are no frozen comparators; name another file")
    return frozen
