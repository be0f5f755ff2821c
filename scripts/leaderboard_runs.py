"""The cells of a leaderboard: run, or read where they were finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dosewright.envs import scenario
from dosewright.evaluation.leaderboard import Cell, cell_record
from dosewright.evaluation.leaderboard.cell import ADAPTIVE, STATIC
from dosewright.evaluation.provenance import digest, sources
from dosewright.evaluation.result_folder import write_json
from dosewright.evaluation.trial import TrialDesign, TrialResult, TrialStore, run_design
from dosewright.evaluation.trial.run import Backend
from dosewright.evaluation.trial.store import differences, notes_of, question_of, stopped
from dosewright.scripts.leaderboard_cells import REFERENCE, cell_design, cell_world, groups, without_truth
from dosewright.scripts.leaderboard_recheck import (
    FIRST,
    check_first,
    fingerprints,
    note,
    only_made_otherwise,
    recheck,
)
from dosewright.scripts.trial_arms import question, told_where

_HALF_WIDTH = 0.005  # half a point of benefit
# what sums up the patients of a cell
_SUMMED_BY = {
    "evaluation": (
        "leaderboard/cell.py",
        "records.py",
        *(f"statistics/{name}.py" for name in ("interval", "means", "proportions", "rates", "subgroups")),
        "summary/harms.py",
        "summary/subgroups.py",
        "trial/precision.py",
        "trial/result.py",
    )
}
# what makes the world of another model
_WORLD_BY = {"evaluation": ("sensitivity.py",)}


class CellRuns:
    """Runs cells, or reads what was finished.

    Parameters
    ----------
    out
        Folder of the board; cells are kept in ``cells/``.
    seed
        Of the patients, namespace `trial`.
    patients
        Cell -> patients at most.
    planned
        Share of those that the planner treats.
    processes, backend
        As in `run_design`.
    recheck
        Patients that are treated again where other code treated them; None: other code is refused.
    """

    def __init__(
        self,
        out: Path,
        seed: int,
        patients: Callable[[Cell], int],
        planned: float,
        processes: int | None,
        backend: Backend,
        recheck: int | None,
    ) -> None:
        self.out, self.seed, self.patients, self.planned = out, seed, patients, planned
        self.processes, self.recheck = processes, recheck
        self.backend: Backend = backend

    def cell(self, cell: Cell, policies: Mapping[str, str]) -> dict[str, Any]:
        """Return the record of a cell; `policies` are labels and arms, one a training seed.

        The record is kept with what was asked, so that it can be read without its patients; they stay as
        well, since other code may sum them up.
        """
        arms = groups(scenario(cell.drug), policies)
        if cell.world == "other":
            arms["rules"] = without_truth(arms["rules"])
        file = self.out / "cells" / f"{cell.name}.json"
        if file.is_file() and (kept := self._kept(file, cell, arms)) is not None:
            return kept
        group = partial(self._group, cell)
        main = group("belief", arms["belief"], self.patients(cell), compared=len(policies))
        treated = self._treated(cell, len(main.ids))
        rules = group("rules", arms["rules"], treated["rules"])
        planned = treated.get("planner")
        planners = None if planned is None else group("planner", arms["planner"], planned)
        whole = replace(main, arms={**rules.arms, **main.arms})
        words = cell_world(cell, {REFERENCE: REFERENCE}, self.seed).words
        record = cell_record(cell, whole, planners, list(policies), words)
        record["rechecked"] = [
            {"group": name, **told} for name in treated for told in notes_of(self._folder(cell, name))
        ]
        everyone = whole.arms if planners is None else {**whole.arms, **planners.arms}
        kept = {
            "asked": self._asked(cell, arms, treated),
            "summed": _summed(),
            "first": fingerprints(everyone, FIRST),
            "record": record,
        }
        write_json(kept, file)
        return record

    def _treated(self, cell: Cell, needed: int) -> dict[str, int]:
        """Return how many patients each group of arms was asked to treat, where the arms on belief needed so
        many."""
        most = self.patients(cell)
        planned = min(round(self.planned * most), needed)
        return {"belief": most, "rules": needed} | ({"planner": planned} if planned >= 2 else {})

    def _asked(
        self, cell: Cell, arms: Mapping[str, Mapping[str, str]], treated: Mapping[str, int]
    ) -> dict[str, dict[str, str]]:
        """Return what was asked of each group of arms."""
        return {group: self._design(cell, arms[group], n)[-1] for group, n in treated.items()}

    def _kept(self, file: Path, cell: Cell, arms: Mapping[str, Mapping[str, str]]) -> dict[str, Any] | None:
        """Return the record of a cell that was finished, if the same is asked of it now, or by other code
        that treats its first patients just so; None where its patients are there to be summed up anew, or
        rechecked before."""
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            record, then, summed, first = (kept[key] for key in ("record", "asked", "summed", "first"))
            needed = int(record["patients"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{file}: is no record of a cell ({error!r}); delete it, the cell is made again"
            ) from None
        now = self._asked(cell, arms, self._treated(cell, needed))
        anew, made = differences(summed, _summed()), dict[str, tuple[dict[str, str], dict[str, str], int]]()
        for group in dict.fromkeys((*then, *now)):
            before, here = then.get(group, {}), now.get(group, {})
            different = differences(before, here)
            if not different:
                continue
            if self.recheck is None or not only_made_otherwise(before, here):
                raise ValueError(
                    f"{file}: the cell's {group} arms are of another board: {different}; ask the same, name "
                    "another --out, or delete the file; cells of other code that should make no difference "
                    "are kept by --recheck 20"
                )
            made[group] = before, here, self.recheck
        if not (anew or made):
            return record
        if all(stopped(self._folder(cell, group)) for group in now):
            return None
        if anew:
            raise ValueError(
                f"{file}: the cell was summed up otherwise: {anew}; its patients are not here to be summed "
                "up anew: name another --out, or delete the file"
            )
        for group, (before, here, patients) in made.items():
            _, design, _ = self._design(cell, arms[group], needed)
            treated = check_first(first, design, patients, file, "delete it")
            record["rechecked"].append({"group": group, **note(treated, before, here)})
        write_json({**kept, "asked": now, "record": record}, file)
        return record

    def _design(
        self, cell: Cell, arms: Mapping[str, str], patients: int
    ) -> tuple[Callable[[], TrialDesign], TrialDesign, dict[str, str]]:
        """Return recipe and design of some arms of a cell, and what is asked."""
        recipe = partial(cell_design, cell, dict(arms), self.seed)
        asked = recipe()
        asking = question(asked, np.arange(patients), arms)
        if cell.world == "other":
            asking["world"] = f"another model, SHA-256 {digest(sources(_WORLD_BY))}"
        return recipe, asked, asking

    def _folder(self, cell: Cell, group: str) -> Path:
        return self.out / "cells" / cell.name / group

    def _group(
        self,
        cell: Cell,
        group: str,
        arms: Mapping[str, str],
        patients: int,
        compared: int | None = None,
    ) -> TrialResult:
        """Run some arms of a cell; what was finished before is read, and rechecked if that is asked for.

        With `compared` policies among them, fewer patients are enough where their differences from Bayesian
        monitoring, static and adaptive, are known to half a point; with none, that between the two.
        """
        recipe, asked, asking = self._design(cell, arms, patients)
        folder = self._folder(cell, group)
        if self.recheck is not None and stopped(folder):
            then = question_of(folder)
            if then != asking and only_made_otherwise(then, asking):
                recheck(folder, then, asking, asked, self.recheck)
        other = f"name another --out, or delete {folder.parent}"
        with (
            (
                TrialStore.resume(folder, asking, other)
                if stopped(folder)
                else TrialStore.begin(folder, asking)
            ) as store,
            told_where(store, "the same command"),
        ):
            return run_design(
                asked,
                np.arange(patients),
                recipe=recipe,
                processes=self.processes,
                backend=self.backend,
                half_width=None if compared is None else _HALF_WIDTH,
                references=() if compared is None else (STATIC, ADAPTIVE) if compared else (ADAPTIVE,),
                store=store,
            )


def _summed() -> dict[str, str]:
    """Return what sums up the patients of a cell, in words."""

    return {"half-width": f"{_HALF_WIDTH:g}", "code": f"SHA-256 {digest(sources(_SUMMED_BY))}"}
