"""The board: all cells together, and what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

POINT = 0.01  # of benefit
_KEPT = 0.5  # of the gain over the guideline, in a world that was not trained on
_FLOOR = -2 * POINT  # of the difference from monitoring there
_LESS_HARM = 0.8  # of monitoring's events
_CLOSED = 0.25  # of the gap between monitoring and the oracle

Record = Mapping[str, Any]


def board(
    cells: Sequence[Record],
    training: Mapping[str, Sequence[Record]],
    tried: Mapping[str, Sequence[Record]],
) -> dict[str, Any]:
    """Return the board, ready for JSON.

    Parameters
    ----------
    cells
        Records of `cell_record`.
    training
        Drug -> one entry a training seed, with "seed", "minutes", "weights", "preset", how that
        "differs" from the drug's, the shares "environment", "belief" and "networks" of the time; of so many
        `select` "patients" the "curve" ("steps", "benefit", "ever_harm"), and what "policy" and "monitoring"
        have there; and whether it was "trained": else nothing surpassed monitoring there, and the policy is
        monitoring itself.
    tried
        The same of trainings with other presets, whose policies are not compared.
    """
    return {
        "notice": "Research simulation, not for clinical use",
        "cells": list(cells),
        "training": {drug: list(entries) for drug, entries in training.items()},
        "tried": {drug: list(entries) for drug, entries in tried.items()},
        "not_surpassed": _not_surpassed(cells),
        "answers": answers(cells),
    }


def answers(cells: Sequence[Record]) -> list[dict[str, Any]]:
    """Return what was asked of the policies, each with the drugs that meet it.

    *Better*: the interval of the difference is above 0. *Events higher by no more than the margin*: the upper
    95 % limit of the difference in patients with the event is at most that. *Guideline*: that arm, or the
    label where the drug has none. Where a question speaks of an estimate, or of nothing else, the interval is
    not asked; the page shows it.
    """
    own = _own(cells)
    clinic = [cell for cell in own if cell["realism"] == "clinic"]
    found = [
        _answer(
            "against Bayesian monitoring in `clinic`: interval above −1 point",
            clinic,
            lambda cell: _benefit(cell, "monitoring")["low"] > -POINT,
        ),
        _answer(
            "better than Bayesian monitoring in `clinic`, by an estimate of a point or more, and events "
            "higher by no more than the scenario's margin",
            clinic,
            lambda cell: _better_by_a_point(cell) and _within_margin(cell),
        ),
        _answer(
            "estimate of events in `clinic` at most 0.8 times those of Bayesian monitoring",
            clinic,
            lambda cell: _ratio(cell) is not None and _ratio(cell) <= _LESS_HARM,
        ),
        _answer(
            "against the planner in `clinic`: interval above −1 point",
            [cell for cell in clinic if "planner" in cell["against"]],
            lambda cell: _benefit(cell, "planner")["low"] > -POINT,
        ),
        _answer(
            "better than the planner in `clinic`: interval above 0",
            [cell for cell in clinic if "planner" in cell["against"]],
            lambda cell: _benefit(cell, "planner")["low"] > 0,
        ),
        _answer(
            "estimate of the gap between the genotypes in `clinic` no larger than under Bayesian monitoring",
            [cell for cell in clinic if _gaps_known(cell)],
            lambda cell: (
                cell["worst_genotype"]["policy"]["gap"] <= cell["worst_genotype"]["monitoring"]["gap"]
            ),
        ),
    ]
    for realism in dict.fromkeys(cell["realism"] for cell in own):
        here = [cell for cell in own if cell["realism"] == realism]
        closed = [share for cell in here if (share := _closed(cell)) is not None]
        found.append(
            {
                "question": f"gap closed in `{realism}`: estimate a quarter or more; median over the drugs",
                "median": None if not closed else float(np.median(closed)),
                "asked": [cell["drug"] for cell in here if _closed(cell) is not None],
                "met": [cell["drug"] for cell in here if (_closed(cell) or 0.0) >= _CLOSED],
            }
        )
    others = {
        (cell["drug"], cell["realism"]): cell
        for cell in cells
        if cell["world"] == "other" and cell["policies"]
    }
    for realism in dict.fromkeys(realism for _, realism in others):
        pairs = [cell for cell in own if cell["realism"] == realism and (cell["drug"], realism) in others]
        wider = _but_wider(others[cell["drug"], realism] for cell in pairs)
        found.append(
            _answer(
                f"another model{wider}, `{realism}`: half of the gain over the guideline (over the label, "
                "where the drug has none) is kept, and monitoring is at most 2 points better (estimates)",
                pairs,
                lambda cell, realism=realism: _survives(cell, others[cell["drug"], realism]),
            )
        )
    return found


def _not_surpassed(cells: Sequence[Record]) -> list[str]:
    """Return the drugs whose policies are in no realism of their own model shown to have more benefit than
    monitoring, or fewer events."""
    own = _own(cells)
    surpassed = {
        cell["drug"]
        for cell in own
        if _benefit(cell, "monitoring")["low"] > 0 or cell["against"]["monitoring"]["event"]["high"] < 0
    }
    return [drug for drug in dict.fromkeys(cell["drug"] for cell in own) if drug not in surpassed]


def _own(cells: Sequence[Record]) -> list[Record]:
    """Return the cells of policies in the model that they were trained on."""
    return [cell for cell in cells if cell["world"] == "own" and cell["policies"]]


def _but_wider(cells: Iterable[Record]) -> str:
    """Return which of the drugs have no second model, in words."""
    drugs = [cell["drug"] for cell in cells if not cell["second_model"]]
    return f" (of {', '.join(drugs)} the same, but wider)" if drugs else ""


def _answer(question: str, cells: Sequence[Record], meets: Any) -> dict[str, Any]:
    return {
        "question": question,
        "asked": [cell["drug"] for cell in cells],
        "met": [cell["drug"] for cell in cells if meets(cell)],
    }


def _benefit(cell: Record, role: str) -> Mapping[str, float]:
    return cell["against"][role]["benefit"]


def _better_by_a_point(cell: Record) -> bool:
    difference = _benefit(cell, "monitoring")
    return difference["low"] > 0 and difference["mean"] >= POINT


def _gaps_known(cell: Record) -> bool:
    """Whether the genotypes can be compared under policy and monitoring: two are large enough."""
    gaps = cell["worst_genotype"]
    return gaps is not None and not any(gap["reason"] for gap in gaps.values())


def _within_margin(cell: Record) -> bool:
    return cell["against"]["monitoring"]["event"]["high"] <= cell["margin"]


def _ratio(cell: Record) -> Any:
    return None if cell["ratio_of_events"] is None else cell["ratio_of_events"]["mean"]


def _closed(cell: Record) -> float | None:
    gap = cell["gap_closed"]
    return None if gap is None or gap["closed"] is None else gap["closed"]["mean"]


def _survives(own: Record, other: Record) -> bool:
    kept = _benefit(other, "guideline")["mean"] >= _KEPT * _benefit(own, "guideline")["mean"]
    return kept and _benefit(other, "monitoring")["mean"] >= _FLOOR
