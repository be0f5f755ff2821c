"""A log as a table: one row a patient-step, from any data frame and back to polars.

The columns of a log have these names; ``columns`` maps others onto them.

===========================  ==========================================================================
``patient``                  identifier, whole number or text
``step``                     0, 1, 2, ... within a patient; without it, decisions are in order of ``time``
``time``                     of the decision, since the first dose (optional)
``action``, ``reward``       dose really given; reward of the interval that followed
``behaviour_log_prob``       log propensity of the dose, or ``behaviour_prob``, the propensity (optional)
``terminated``,              True in the last row of a patient whose course ended, was cut by a limit, or
``truncated``, ``censored``  was lost to follow-up; needed where patients have different numbers of steps
``observation.NAME``         what the prescriber knew
``outcome.NAME``             outcomes of the interval that followed
``stratum.NAME``             label of a subgroup, the same in all rows of a patient
===========================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.log_checks import (
    LOG_PROB_ROUNDING,
    BoolArray,
    FloatArray,
    Propensity,
    labels,
)
from dosewright.evaluation.logged import Trajectories

if TYPE_CHECKING:
    import polars

ENDS = ("terminated", "truncated", "censored")
NEEDED, OPTIONAL = ("patient", "action", "reward"), ("step", "time", "behaviour_log_prob", "behaviour_prob")
_KINDS = ("observation", "outcome", "stratum")


@dataclass(frozen=True, eq=False)
class Rows:
    """The N rows of a table, every one a patient-step, checked row by row.

    Attributes
    ----------
    patient : (N,) identifiers, int64 or text
    step : (N,) counted from 0 within a patient
    values : layout name -> (N,) action, reward, time, behaviour_log_prob and ``outcome.NAME``, finite
    ends : name -> (N,) bool
    observations : (N, k) finite
    observation_names : of the k
    strata : name -> (N,) text
    """

    patient: npt.NDArray[Any]
    step: npt.NDArray[np.int64]
    values: Mapping[str, FloatArray]
    ends: Mapping[str, BoolArray]
    observations: npt.NDArray[Any]
    observation_names: tuple[str, ...]
    strata: Mapping[str, npt.NDArray[np.str_]]

    @classmethod
    def of(
        cls, frame: Any, columns: Mapping[str, str | None], propensity: Propensity, *, whole: bool
    ) -> Rows:
        """Read a table; parameters and errors as `from_frame`.

        Only where a table holds whole courses can the time say which step it is.
        """
        found = _columns(frame, columns, whole)
        who = _array(frame, found.pop("patient"))
        if not len(who):
            raise ValueError("the table has no rows; expected one row a patient-step")
        patient = labels("patient", who)
        numbers = {name: _number(frame, column) for name, column in found.items() if _is_number(name)}
        step = _steps(patient, numbers.pop("step", None), numbers.get("time"))
        place = _Place(patient, step)
        for name, values in numbers.items():
            place.refuse(name, values, ~np.isfinite(values), _finite(name))
        if "behaviour_prob" in numbers:
            numbers["behaviour_log_prob"] = _logarithm(numbers, place, propensity)
        elif "behaviour_log_prob" in numbers and propensity == "mass":
            given = numbers["behaviour_log_prob"]
            remedy = "the logarithm of a probability, <= 0; take the log, or call it behaviour_prob"
            place.refuse("behaviour_log_prob", given, given > LOG_PROB_ROUNDING, remedy)
        names = [name for name in numbers if name.startswith("observation.")]
        seen = np.array([numbers[name] for name in names]).reshape(len(names), len(patient)).T
        if names and all(_array(frame, found[name]).dtype == np.float32 for name in names):
            seen = seen.astype(np.float32)  # back to what it was: half the memory
        ends = {name: _flags(frame, found[name], place) for name in ENDS if name in found}
        text = {name: labels(name, _array(frame, found[name])) for name in found if _kind(name) == "stratum"}
        place.refuse_duplicates()
        return cls(
            patient=patient,
            step=step,
            values={name: x for name, x in numbers.items() if name not in names and name != "behaviour_prob"},
            ends=ends,
            observations=seen,
            observation_names=tuple(name.removeprefix("observation.") for name in names),
            strata={name.removeprefix("stratum."): x.astype(np.str_) for name, x in text.items()},
        )


def from_frame(
    frame: Any,
    columns: Mapping[str, str | None] | None = None,
    *,
    propensity: Propensity = "mass",
    horizon: int | None = None,
    step_length: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Trajectories:
    """Return the log in a table with one row a patient-step, in any order of rows.

    Parameters
    ----------
    frame : anything with columns by name: a polars or pandas data frame, a mapping of arrays
    columns : other names for columns, ``{"ID": "patient", "INR": "observation.inr"}``; None leaves one out
    propensity, step_length, provenance : as in `Trajectories`
    horizon : steps T that a whole course has; the longest course in the table when None

    Raises
    ------
    ValueError
        For a column that is missing or is none of a log's; a missing value; a propensity outside (0, 1]; a
        patient-step that is there twice; steps that do not run 0, 1, 2, ...; an end before the last row of a
        patient, a label that changes; a course beyond the horizon; and whatever `Trajectories` refuses.
    """
    rows = Rows.of(frame, columns or {}, propensity, whole=True)
    names, first, row = np.unique(rows.patient, return_index=True, return_inverse=True)
    arrival = np.argsort(np.argsort(first))  # patients in the order in which they appear
    row, names = arrival[row], names[np.argsort(first)]
    lengths = np.bincount(row)
    _refuse_gaps(rows, row, lengths)
    longest = int(lengths.max())
    if horizon is not None and longest > horizon:
        patient = names[int(np.argmax(lengths))].item()
        raise ValueError(
            f"patient {patient!r} has {longest} steps; expected at most the horizon of {horizon}: steps that "
            "were cut from longer ones, or a longer horizon"
        )
    shape = (len(names), horizon or longest)
    last = rows.step == lengths[row] - 1
    ends = {name: np.zeros(len(names), dtype=np.bool_) for name in ENDS}
    for name, flags in rows.ends.items():
        early = flags & ~last
        if early.any():
            i = int(np.argmax(early))
            raise ValueError(
                f"{name} is True at step {rows.step[i]} of patient {rows.patient[i].item()!r}, who has "
                f"{lengths[row[i]]} steps; expected it in the last row only"
            )
        ends[name][row[last]] = flags[last]
    padded = {name: _padded(values, row, rows.step, shape) for name, values in rows.values.items()}
    strata = {name: constant(name, text, rows.patient, row) for name, text in rows.strata.items()}
    return as_log(
        padded | {"observation": _padded(rows.observations, row, rows.step, shape)},
        ends, strata, names, np.arange(shape[1]) < lengths[:, None], rows.observation_names,
        propensity=propensity, step_length=step_length, provenance=provenance or {},
    )  # fmt: skip


def to_frame(log: Trajectories) -> polars.DataFrame:
    """Return a log as a polars data frame with one row a patient-step, which `from_frame` reads back.

    Horizon, step length, kind of propensity and provenance are not in the table: `write_log` keeps them.
    """
    import polars  # slow to import, and only this needs it

    row, step = np.nonzero(log.mask)
    last = step == log.lengths[row] - 1
    table: dict[str, npt.NDArray[Any]] = {"patient": log.identifiers[row], "step": step}
    if log.times is not None:
        table["time"] = log.times[row, step]
    table |= {"action": log.actions[row, step], "reward": log.rewards[row, step]}
    if log.behaviour_log_prob is not None:
        table["behaviour_log_prob"] = log.behaviour_log_prob[row, step]
    table |= {name: getattr(log, name)[row] & last for name in ENDS}
    names = log.observation_names or tuple(map(str, range(log.observations.shape[2])))
    table |= {f"observation.{name}": log.observations[row, step, j] for j, name in enumerate(names)}
    table |= {f"outcome.{name}": values[row, step] for name, values in log.outcomes.items()}
    table |= {f"stratum.{name}": text[row] for name, text in log.strata.items()}
    return polars.DataFrame(table)


def as_log(
    padded: Mapping[str, npt.NDArray[Any]],
    ends: Mapping[str, BoolArray],
    strata: Mapping[str, npt.NDArray[Any]],
    patients: npt.NDArray[Any],
    mask: BoolArray,
    observation_names: tuple[str, ...],
    **meaning: Any,
) -> Trajectories:
    """Return the log of padded arrays by the names of their columns; what stands in the padding becomes 0."""
    unnamed = observation_names == tuple(map(str, range(len(observation_names))))
    return Trajectories(
        observations=padded["observation"],
        actions=padded["action"],
        rewards=np.where(mask, padded["reward"], 0.0),
        mask=mask,
        **ends,
        behaviour_log_prob=padded.get("behaviour_log_prob"),
        outcomes={
            name.removeprefix("outcome."): np.where(mask, values, 0.0)
            for name, values in padded.items()
            if name.startswith("outcome.")
        },
        strata=strata,
        patients=patients,
        times=padded.get("time"),
        observation_names=() if unnamed else observation_names,
        **meaning,
    )


def constant(
    name: str, text: npt.NDArray[np.str_], patient: npt.NDArray[Any], row: npt.NDArray[np.int64]
) -> npt.NDArray[np.str_]:
    """Return the label (n,) of every patient, from those (N,) of the rows (N,) they stand in.

    Raises
    ------
    ValueError
        For a label that changes within a patient.
    """
    whole = np.empty(int(row.max()) + 1, dtype=text.dtype)
    whole[row] = text
    changed = whole[row] != text
    if changed.any():
        i = int(np.argmax(changed))
        raise ValueError(
            f"stratum.{name} of patient {patient[i].item()!r} is {text[i].item()!r} and "
            f"{whole[row[i]].item()!r}; expected one label a patient: what changes is an observation"
        )
    return whole


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a row stands, for messages."""

    patient: npt.NDArray[Any]
    step: npt.NDArray[np.int64]

    def refuse(self, name: str, values: npt.NDArray[Any], bad: BoolArray, expected: str) -> None:
        if bad.any():
            i = int(np.argmax(bad))
            raise ValueError(
                f"{name} = {values[i]} (patient {self.patient[i].item()!r}, step {self.step[i]}); "
                f"expected {expected}"
            )

    def refuse_duplicates(self) -> None:
        order = np.lexsort((self.step, self.patient))
        patient, step = self.patient[order], self.step[order]
        again = (patient[1:] == patient[:-1]) & (step[1:] == step[:-1])
        if again.any():
            i = int(np.argmax(again))
            raise ValueError(
                f"step {step[i]} of patient {patient[i].item()!r} is there twice; expected one row a "
                "patient-step: remove one, or give the patients of different sources different identifiers"
            )


def _columns(frame: Any, columns: Mapping[str, str | None], whole: bool) -> dict[str, Any]:
    """Return layout name -> the frame's column."""
    there = list(frame.columns if hasattr(frame, "columns") else frame)
    for column in columns:
        if column not in there:
            raise ValueError(f"no column {column!r} (columns); there are {', '.join(map(str, there))}")
    found: dict[str, Any] = {}
    unknown: list[Any] = []
    for column in there:
        name = columns.get(column, str(column))
        if name is None:
            continue
        if name in found:
            raise ValueError(f"columns {found[name]!r} and {column!r} are both {name}; leave one out (None)")
        if name not in (*NEEDED, *OPTIONAL, *ENDS) and not _kind(name):
            unknown.append(column)
        found[name] = column
    missing = [name for name in NEEDED if name not in found]
    if not ({"step", "time"} if whole else {"step"}) & set(found):
        missing.append("step")
    if missing:
        raise ValueError(
            f"no column {missing[0]!r}; rename the one it is in, or say columns={{'...': {missing[0]!r}}}; "
            f"{'without a known name' if unknown else 'there'} are {', '.join(map(str, unknown or there))}"
        )
    if unknown:
        raise ValueError(
            f"column {unknown[0]!r} is none of a log's; rename it 'observation.{unknown[0]}' (or 'outcome.', "
            f"'stratum.'), or leave it out; in Python columns={{{unknown[0]!r}: ...}}, a name or None"
        )
    if {"behaviour_prob", "behaviour_log_prob"} <= set(found):
        raise ValueError("columns behaviour_prob and behaviour_log_prob are one thing; leave one out (None)")
    return found


def _kind(name: str) -> str:
    """Return observation, outcome or stratum, "" for a name that is none."""
    kind, _, rest = name.partition(".")
    return kind if rest and kind in _KINDS else ""


def _is_number(name: str) -> bool:
    return name not in ENDS and _kind(name) != "stratum"


def _array(frame: Any, column: Any) -> npt.NDArray[Any]:
    values = frame[column]
    return values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)


def _number(frame: Any, column: Any) -> FloatArray:
    values = _array(frame, column)
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column!r} is not numeric ({error}); expected numbers") from None


def _finite(name: str) -> str:
    if name.startswith("observation."):
        return "a finite number; encode a missing value as (neutral value, known = 0)"
    return "a finite number; give the recorded value or leave the patient out"


def _steps(
    patient: npt.NDArray[Any], step: FloatArray | None, time: FloatArray | None
) -> npt.NDArray[np.int64]:
    """Return the steps (N,) of the rows, those of the column or the rank of the time within a patient."""
    if step is not None:
        odd = ~(np.isfinite(step) & (step == np.rint(step)) & (step >= 0))
        if odd.any():
            i = int(np.argmax(odd))
            raise ValueError(
                f"step = {step[i]:g} (patient {patient[i].item()!r}); expected whole numbers from 0"
            )
        return step.astype(np.int64)
    assert time is not None  # one of the two is there
    order = np.lexsort((time, patient))
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = patient[order][1:] != patient[order][:-1]
    start = np.flatnonzero(new)
    rank = np.arange(len(order)) - np.repeat(start, np.diff(np.append(start, len(order))))
    steps = np.empty(len(order), dtype=np.int64)
    steps[order] = rank
    return steps


def _logarithm(numbers: Mapping[str, FloatArray], place: _Place, propensity: Propensity) -> FloatArray:
    given = numbers["behaviour_prob"]
    most, expected = (1.0, "a probability in (0, 1]") if propensity == "mass" else (np.inf, "a density > 0")
    place.refuse("behaviour_prob", given, ~((given > 0) & (given <= most)), f"{expected} of a dose given")
    return np.log(given)


def _flags(frame: Any, column: Any, place: _Place) -> BoolArray:
    values = _array(frame, column)
    odd = np.array([value not in (0, 1) for value in values.tolist()])
    place.refuse(str(column), values, odd, "True or False")
    return values.astype(np.bool_)


def _refuse_gaps(rows: Rows, row: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> None:
    beyond = rows.step >= lengths[row]  # no step twice, so one beyond the count means one is missing
    if beyond.any():
        i = int(np.argmax(beyond))
        own = np.sort(rows.step[row == row[i]])
        missing = int(np.argmax(own != np.arange(len(own))))
        raise ValueError(
            f"patient {rows.patient[i].item()!r} has step {rows.step[i]} and no step {missing}; expected "
            "steps 0, 1, 2, ... without a gap: a skipped dose is a decision with dose 0"
        )


def _padded(
    values: npt.NDArray[Any], row: npt.NDArray[np.int64], step: npt.NDArray[np.int64], shape: tuple[int, int]
) -> npt.NDArray[Any]:
    whole = np.zeros((*shape, *values.shape[1:]), dtype=values.dtype)
    whole[row, step] = values
    return whole
