"""Logs from and to NONMEM-style tables, as `dosewright.envs.nonmem` reads and writes them.

A table has one record a line; a log has one decision a step. A decision is the record that prescribes:

================  =====================================================================================
``EVID``          1 (or 4): a dose was decided, ``AMT`` is it. 2: nothing was to be given, the dose is 0
                  (NONMEM has no dose of 0). A record a decision, not one an administration: a dose that
                  is repeated until the next decision is one record with ``ADDL`` and ``II``, or without
``TIME``          of the decision; the log's times are counted from the patient's first decision
``EVID`` 0        a measurement: the newest one at or before a decision is what was known of it then,
                  observed as ``DV``, ``DV_known`` and ``DV_age``
``REWARD``        reward of the interval that followed; in the decision's record, as all below
``LOGP``          log propensity of the dose (optional)
``END``           0 the course goes on, 1 terminated, 2 truncated, 3 censored; read in the last decision
others            by name: outcomes, observations and strata, numbers all of them, and known (such as 0)
                  in the patient's first record, even if that is one of a measurement
================  =====================================================================================

Measurements at the time of a decision count as known when they stand before it in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dosewright.envs.records import PatientRecords
from dosewright.evaluation.log_checks import FloatArray, Propensity
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.logs.frame import from_frame

_LEVEL = ("DV", "DV_known", "DV_age")
_ENDS = {1: "terminated", 2: "truncated", 3: "censored"}


def from_nonmem(
    patients: Sequence[PatientRecords],
    *,
    observations: Sequence[str] = (),
    outcomes: Sequence[str] = (),
    strata: Sequence[str] = (),
    reward: str = "REWARD",
    log_prob: str | None = "LOGP",
    end: str | None = "END",
    propensity: Propensity = "mass",
    horizon: int | None = None,
    step_length: float | None = None,
) -> Trajectories:
    """Return the log in NONMEM-style records, laid out as this file says.

    Parameters
    ----------
    patients : from `read_nonmem`, with the columns below as covariates
    observations, outcomes, strata : columns that become those; the measurement is observed besides, where
        there are any
    reward, log_prob, end : names of these columns; None where there is no such column
    propensity, horizon, step_length : as in `from_frame`

    Raises
    ------
    ValueError
        For a patient without a decision, a column that is not there or has no value at a decision,
        measurements of several kinds (DVID) or below the limit of quantification, and whatever `from_frame`
        refuses.
    """
    if not patients:
        raise ValueError("no patients; give those that read_nonmem returned")
    given = {name: f"observation.{name}" for name in observations}
    given |= {name: f"outcome.{name}" for name in outcomes} | {reward: "reward"}
    given |= {} if log_prob is None else {log_prob: "behaviour_log_prob"}
    level = any(records.observation.any() for records in patients)
    rows: dict[str, list[npt.NDArray[Any]]] = {}
    for records in patients:
        for name, values in _decisions(records, given, strata, end, level).items():
            rows.setdefault(name, []).append(values)
    table = {name: np.concatenate(parts) for name, parts in rows.items()}
    return from_frame(
        table, propensity=propensity, horizon=horizon, step_length=step_length,
        provenance={"format": "NONMEM"},
    )  # fmt: skip


def to_nonmem(log: Trajectories, time_unit: str, dose_unit: str) -> tuple[PatientRecords, ...]:
    """Return the records of a log, for `write_nonmem`: one a decision, laid out as this file says.

    Observations keep their names (``OBS0``, ... where they have none), measurements among them: the log does
    not know which of them a model would be fitted to, so no record is one of a measurement.

    Parameters
    ----------
    time_unit, dose_unit : of TIME and AMT, for the header

    Raises
    ------
    ValueError
        For a log without times, a negative dose, a stratum whose labels are no numbers, or two columns of one
        name.
    """
    if log.times is None:
        raise ValueError("the log has no times, and a NONMEM table needs TIME; give times=(n, T)")
    columns = _numbers(log)
    units = {"TIME": time_unit, "AMT": dose_unit}
    found: list[PatientRecords] = []
    for i, length in enumerate(log.lengths.tolist()):
        dose = np.asarray(log.actions[i, :length], dtype=np.float64)
        end = np.zeros(length)
        end[-1] = next((code for code, name in _ENDS.items() if getattr(log, name)[i]), 0)
        found.append(
            PatientRecords.of(
                str(log.identifiers[i]),
                log.times[i, :length],
                evid=np.where(dose == 0, 2, 1),
                amount=dose,
                covariates={name: values[i, :length] for name, values in columns.items()} | {"END": end},
                units=units,
            )
        )
    return tuple(found)


def _decisions(
    records: PatientRecords, given: Mapping[str, str], strata: Sequence[str], end: str | None, level: bool
) -> dict[str, npt.NDArray[Any]]:
    """Return a patient's decisions as columns of `from_frame`."""
    at = np.flatnonzero(records.dose | (records.evid == 2))
    if not len(at):
        raise ValueError(
            f"patient {records.id!r}: no decision; expected a record with EVID 1, or 2 for a dose of 0"
        )
    wanted = [*given, *strata, *([] if end is None else [end])]
    missing = [name for name in wanted if name not in records.covariates]
    if missing:
        raise ValueError(
            f"patient {records.id!r}: no column {missing[0]!r}; there are "
            f"{', '.join(records.covariates) or 'none'} (read_nonmem(..., covariates=...))"
        )
    time, dose = records.time[at], np.where(records.dose[at], records.amount[at], 0.0)
    rows: dict[str, npt.NDArray[Any]] = {
        "patient": np.full(len(at), records.id),
        "step": np.arange(len(at)),
        "time": time - time[0],
        "action": dose,
    }
    rows |= {column: records.covariates[name][at] for name, column in given.items()}
    rows |= {f"stratum.{name}": _labels(records, name, at) for name in strata}
    if level:
        newest = _newest(records, at)
        rows |= {f"observation.{name}": values for name, values in zip(_LEVEL, newest, strict=True)}
    if end is not None:
        code = records.covariates[end][at]
        last = np.arange(len(at)) == len(at) - 1
        rows |= {name: last & (code == number) for number, name in _ENDS.items()}
    return rows


def _labels(records: PatientRecords, name: str, at: npt.NDArray[np.int64]) -> npt.NDArray[np.str_]:
    return np.array([f"{value:g}" for value in records.covariate(name)[at]])


def _newest(records: PatientRecords, at: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the newest level before each of the records `at`, whether there is one, and how old it is."""
    below = ~np.isnan(records.limit)
    if below.any():
        raise ValueError(
            f"line {records.line[np.argmax(below)]}, patient {records.id!r}: a level below the limit of "
            "quantification has no value; make what was known of it an observation column"
        )
    levels = np.flatnonzero(records.observation & ~np.isnan(records.dv))
    if len(np.unique(records.dvid[levels])) > 1:
        raise ValueError(
            f"patient {records.id!r}: measurements of several kinds (DVID); make each an observation column"
        )
    before = np.searchsorted(levels, at) - 1
    known = before >= 0
    if not len(levels):
        return np.zeros(len(at)), np.zeros(len(at)), np.zeros(len(at))
    found = levels[np.maximum(before, 0)]
    age = records.time[at] - records.time[found]
    return np.where(known, records.dv[found], 0.0), known.astype(np.float64), np.where(known, age, 0.0)


def _numbers(log: Trajectories) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a log's table besides ID, TIME and AMT: name -> (n, T)."""
    columns: dict[str, npt.NDArray[Any]] = {"REWARD": log.rewards}
    if log.behaviour_log_prob is not None:
        columns["LOGP"] = log.behaviour_log_prob
    k = log.observations.shape[2]
    seen = log.observation_names or tuple(f"OBS{j}" for j in range(k))
    parts: list[tuple[str, npt.NDArray[Any]]] = list(log.outcomes.items())
    parts += [(name, log.observations[..., j].astype(np.float64)) for j, name in enumerate(seen)]
    for name, text in log.strata.items():
        try:
            code = text.astype(np.float64)
        except ValueError:
            raise ValueError(
                f"stratum {name!r} has the label {text[0].item()!r}; a NONMEM table holds numbers: recode it"
            ) from None
        parts.append((name, np.broadcast_to(code[:, None], log.mask.shape)))
    for name, values in parts:
        if name in columns or name == "END":
            raise ValueError(f"two columns would be called {name!r}; rename one of the log's")
        columns[name] = values
    return columns
