"""How each model answers a reference trajectory: from the keys of its header to parameters and doses."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from benchmarks.cases.case import Case

# every file of this folder is a drug's: a new one is found by itself
CASES: dict[str, Case] = {
    model_id: case
    for module in iter_modules(__path__)
    if module.name != "case"
    for model_id, case in import_module(f"{__name__}.{module.name}").CASES.items()
}

__all__ = ["CASES", "Case"]
