"""Scenarios, one file per drug: the decision problem as data.

Every module of this folder that has a `SCENARIO` is one; so is every such file in the folders of the
environment variable ``DOSEWRIGHT_SCENARIOS``. What others have published as a virtual trial is in
`protocols`: `scenario` knows it by name, `names` does not list it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from functools import cache
from pathlib import Path

from dosewright.envs.scenarios.dosing import Administration, Delay, DoseGrid, Given, Reading, split
from dosewright.envs.scenarios.scenario import (
    Adjustment,
    AdjustmentRow,
    AdjustmentTable,
    Clock,
    DoseEquation,
    DoseRule,
    Hazard,
    Outcome,
    PIDRule,
    ProportionalRule,
    Response,
    Scenario,
    StartRule,
    fixed_start,
)
from dosewright.envs.scenarios.scoring import AllOf, AnyOf, Band, Event, Ramp, Score, Weighted

FOLDERS = "DOSEWRIGHT_SCENARIOS"


@cache
def _known() -> dict[str, Scenario]:
    """Every scenario by name, in alphabetical order of the drugs of this folder, then those of other
    folders."""
    found: dict[str, Scenario] = {}
    for module in pkgutil.iter_modules(__path__):
        made = getattr(importlib.import_module(f"{__name__}.{module.name}"), "SCENARIO", None)
        if made is not None:
            found[made.name] = made
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        if not Path(folder).is_dir():
            raise ValueError(f"{FOLDERS}: {folder} is no folder; name folders with scenario files")
        for path in sorted(Path(folder).glob("*.py")):
            spec = importlib.util.spec_from_file_location(f"dosewright_scenario_{path.stem}", path)
            assert spec is not None and spec.loader is not None
            loaded = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
            made = getattr(loaded, "SCENARIO", None)
            if made is None:
                continue
            if made.name in found:
                raise ValueError(f"{path}: there is a scenario {made.name!r} already; give it another name")
            found[made.name] = made
    return found


@cache
def _protocols() -> dict[str, Scenario]:
    """Published protocols by name, in alphabetical order of their files."""
    from dosewright.envs.scenarios import protocols

    modules = [
        importlib.import_module(f"{protocols.__name__}.{module.name}")
        for module in pkgutil.iter_modules(protocols.__path__)
    ]
    return {made.name: made for module in modules for made in getattr(module, "PROTOCOLS", ())}


def names() -> tuple[str, ...]:
    """Return the drugs there is a scenario for."""
    return tuple(_known())


def protocol_names() -> tuple[str, ...]:
    """Return the published protocols that `scenario` knows besides the drugs."""
    return tuple(_protocols())


def scenario(name: str) -> Scenario:
    """Return the scenario of a drug, or a published protocol; an unknown name is an error that lists the
    known ones."""
    known = {**_protocols(), **_known()}
    if name not in known:
        raise ValueError(
            f"unknown drug {name!r}; known: {', '.join(_known())}; published protocols: "
            f"{', '.join(_protocols())}"
        )
    return known[name]


__all__ = [
    "Adjustment",
    "AdjustmentRow",
    "AdjustmentTable",
    "Administration",
    "AllOf",
    "AnyOf",
    "Band",
    "Clock",
    "Delay",
    "DoseEquation",
    "DoseGrid",
    "DoseRule",
    "Event",
    "Given",
    "Hazard",
    "Outcome",
    "PIDRule",
    "ProportionalRule",
    "Ramp",
    "Reading",
    "Response",
    "Scenario",
    "Score",
    "StartRule",
    "Weighted",
    "fixed_start",
    "names",
    "protocol_names",
    "scenario",
    "split",
]
