"""A log that grows: patient-steps arrive in any order, and a frozen log can be taken at any time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.log_checks import TIME_ROUNDING, BoolArray, Propensity
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.logs.frame import ENDS, Rows, as_log, constant

_NOT_YET = -1  # place of a patient who has not arrived, and last step of one whose end has not


class LogStream:
    """Patient-steps as they arrive, and the log so far.

    Rows are written into arrays that double when they are full, so that N rows cost of the order of N however
    they are cut into pieces; a log of them is one copy, made when it is asked for. What arrives twice, or
    after a patient's end, is refused; nothing is stored of a piece that is.

    A log taken while patients are under way says that they are *truncated*: the day the data were locked cut
    their courses. A step that arrived before an earlier one of its patient waits (`waiting`) and is in the
    log once the gap is filled. So the order of arrival does not change the content hash of the same data.

    Parameters
    ----------
    horizon : steps T that a whole course has
    columns : other names for the columns of what arrives, as in `from_frame`
    propensity, step_length, provenance : as in `Trajectories`

    Raises
    ------
    ValueError
        For a horizon below 1.
    """

    def __init__(
        self,
        horizon: int,
        columns: Mapping[str, str | None] | None = None,
        *,
        propensity: Propensity = "mass",
        step_length: float | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        if horizon < 1:
            raise ValueError(f"horizon = {horizon}; expected the number of steps of a whole course, >= 1")
        self.horizon, self.columns = horizon, dict(columns or {})
        self.propensity: Propensity = propensity
        self.step_length, self.provenance = step_length, dict(provenance or {})
        self._row: dict[Any, int] = {}  # of each patient, in the order in which they arrived
        self._names: tuple[str, ...] | None = None  # of the observations, from the first piece
        self._arrays: dict[str, npt.NDArray[Any]] = {}  # by column, (capacity, T, ...)
        self._strata: dict[str, npt.NDArray[Any]] = {}  # by name, (capacity,)
        self._seen = np.zeros((0, horizon), dtype=np.bool_)
        self._last = np.zeros(0, dtype=np.int64)  # step of the end of each patient
        self._end = np.zeros((0, len(ENDS)), dtype=np.bool_)

    @property
    def n_patients(self) -> int:
        """Patients of whom something has arrived."""
        return len(self._row)

    @property
    def waiting(self) -> list[tuple[Any, int]]:
        """Patient and step of what has arrived and is not in the log yet: an earlier step is missing."""
        n = self.n_patients
        ahead = self._seen[:n] & ~self._contiguous()
        names = list(self._row)
        return [(names[row], int(step)) for row, step in np.argwhere(ahead)]

    def append(self, frame: Any) -> None:
        """Take in a table with one row a patient-step, of new patients or of known ones, in any order.

        Raises
        ------
        ValueError
            For what `from_frame` refuses of a row, a table without steps, columns other than those of the
            first piece, a patient-step that was there already, one beyond the horizon or after the patient's
            end, a time that does not fit those of the patient's other steps, and a label other than before.
        """
        rows = Rows.of(frame, self.columns, self.propensity, whole=False)
        self._check_columns(rows)
        names, who = np.unique(rows.patient, return_inverse=True)
        place = np.array([self._row.get(name, _NOT_YET) for name in names.tolist()])
        strata = {name: constant(name, text, rows.patient, who) for name, text in rows.strata.items()}
        self._check_rows(rows, who, place)
        self._check_strata(strata, names, place)
        fresh = place == _NOT_YET
        place[fresh] = self.n_patients + np.arange(fresh.sum())
        self._row |= dict(zip(names[fresh].tolist(), place[fresh].tolist(), strict=True))
        self._grow(rows)
        row = place[who]
        self._seen[row, rows.step] = True
        for i, name in enumerate(ENDS):
            if name in rows.ends:
                at = rows.ends[name]
                self._end[row[at], i], self._last[row[at]] = True, rows.step[at]
        for name, values in {**rows.values, "observation": rows.observations}.items():
            self._arrays[name][row, rows.step] = values
        for name, text in strata.items():
            self._strata[name][place] = text

    def log(self) -> Trajectories:
        """Return the log of what has arrived so far: a frozen copy that later rows do not change.

        Raises
        ------
        ValueError
            When no patient's first step has arrived, and for what `Trajectories` refuses.
        """
        mask = self._contiguous()
        there = np.flatnonzero(mask[:, 0]) if len(mask) else np.zeros(0, dtype=np.int64)
        if not len(there):
            raise ValueError("no patient's step 0 has arrived; append rows first")
        mask = mask[there]
        length = mask.sum(axis=1)
        ended = (self._last[there] == length - 1)[:, None] & self._end[there]
        ends = {name: ended[:, i] for i, name in enumerate(ENDS)}
        ends["truncated"] = ends["truncated"] | (~ended.any(axis=1) & (length < self.horizon))
        return as_log(
            {name: array[there] for name, array in self._arrays.items()},
            ends,
            {name: text[there] for name, text in self._strata.items()},
            np.array(list(self._row))[there],
            mask,
            self._names or (),
            propensity=self.propensity,
            step_length=self.step_length,
            provenance=self.provenance,
        )

    def _contiguous(self) -> BoolArray:
        """Return (n, T) the steps that have arrived together with all before them."""
        return np.logical_and.accumulate(self._seen[: self.n_patients], axis=1)

    def _check_columns(self, rows: Rows) -> None:
        if self._names is None:
            return
        known = {*self._arrays, *(f"stratum.{name}" for name in self._strata)} - {"observation"}
        given = {*rows.values, *(f"stratum.{name}" for name in rows.strata)}
        odd = sorted(known ^ given)
        if odd or rows.observation_names != self._names:
            what = odd[0] if odd else "the observations"
            raise ValueError(
                f"{what}: in one piece of the stream and not in another, or in another order; expected the "
                f"columns of the first piece: {', '.join(sorted(known))} and observations "
                f"{', '.join(self._names)}"
            )

    def _check_rows(self, rows: Rows, who: npt.NDArray[np.int64], place: npt.NDArray[np.int64]) -> None:
        """Refuse steps that cannot be; `who` (N,) numbers the u patients of the rows, `place` (u,) is where
        they are stored."""

        def refuse(bad: BoolArray, why: str) -> None:
            if bad.any():
                i = int(np.argmax(bad))
                raise ValueError(f"step {rows.step[i]} of patient {rows.patient[i].item()!r} {why}")

        refuse(rows.step >= self.horizon, f"is beyond the horizon of {self.horizon} steps; expected fewer")
        seen = np.zeros((len(place), self.horizon), dtype=np.bool_)
        last = np.full(len(place), _NOT_YET)
        known = place != _NOT_YET
        seen[known], last[known] = self._seen[place[known]], self._last[place[known]]
        refuse(seen[who, rows.step], "arrived before; expected each patient-step once")
        seen[who, rows.step] = True
        for flags in rows.ends.values():
            again = flags & (last[who] != _NOT_YET) & (last[who] != rows.step)
            refuse(again, "ends a course that ends elsewhere too; expected one end a patient")
            first = np.full(len(place), self.horizon)
            np.minimum.at(first, who[flags], rows.step[flags])
            last = np.where(first < self.horizon, first, last)
        furthest = self.horizon - 1 - np.argmax(seen[:, ::-1], axis=1)
        after = (last != _NOT_YET) & (furthest > last)
        refuse(after[who], "belongs to a course with steps after its end; expected the end in the last row")
        if "time" in rows.values:
            refuse(self._misplaced(rows, who, place, seen), "has a time that does not fit the other steps")

    def _misplaced(
        self, rows: Rows, who: npt.NDArray[np.int64], place: npt.NDArray[np.int64], seen: BoolArray
    ) -> BoolArray:
        """Return (N,) whether a time lies before that of an earlier step `seen` (u, T), or after that of a
        later one; with a step length, whether it is anywhere but where that says."""
        times = np.full(seen.shape, np.nan)
        known = place != _NOT_YET
        if known.any():
            times[known] = self._arrays["time"][place[known]]
        times[who, rows.step] = rows.values["time"]
        if self.step_length is not None:
            start = np.where(seen, times - self.step_length * np.arange(self.horizon), np.inf)
            off = np.abs(start - start.min(axis=1, keepdims=True)) > TIME_ROUNDING * np.maximum(
                1.0, np.abs(times)
            )
            return (off & seen).any(axis=1)[who]
        early, late = np.where(seen, times, -np.inf), np.where(seen, times, np.inf)
        before = np.maximum.accumulate(early, axis=1)[who, np.maximum(rows.step - 1, 0)]
        behind = np.minimum.accumulate(late[:, ::-1], axis=1)[:, ::-1]
        behind = behind[who, np.minimum(rows.step + 1, self.horizon - 1)]
        first, last = rows.step == 0, rows.step == self.horizon - 1
        own = rows.values["time"]
        return (~first & (own <= before)) | (~last & (own >= behind))

    def _check_strata(
        self,
        strata: Mapping[str, npt.NDArray[Any]],
        names: npt.NDArray[Any],
        place: npt.NDArray[np.int64],
    ) -> None:
        known = place != _NOT_YET
        for name, text in strata.items():
            if not known.any():
                return
            before = self._strata[name][place[known]]
            changed = before != text[known]
            if changed.any():
                i = int(np.argmax(changed))
                raise ValueError(
                    f"stratum.{name} of patient {names[known][i].item()!r} is {text[known][i].item()!r} and "
                    f"was {before[i]!r}; expected one label a patient: what changes is an observation"
                )

    def _grow(self, rows: Rows) -> None:
        """Make room for all patients that have arrived."""
        given = {**rows.values, "observation": rows.observations}
        if self._names is None:
            self._names = rows.observation_names
            self._arrays = {
                name: np.zeros((0, self.horizon, *values.shape[1:]), dtype=values.dtype)
                for name, values in given.items()
            }
            self._strata = {name: np.zeros(0, dtype=object) for name in rows.strata}
        capacity = len(self._seen)
        if self.n_patients <= capacity:
            return
        wanted = max(self.n_patients, 2 * capacity)
        self._seen, self._end = _longer(self._seen, wanted), _longer(self._end, wanted)
        self._last = np.append(self._last, np.full(wanted - capacity, _NOT_YET))
        self._arrays = {name: _longer(array, wanted) for name, array in self._arrays.items()}
        self._strata = {name: _longer(array, wanted) for name, array in self._strata.items()}


def _longer(array: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    grown = np.zeros((length, *array.shape[1:]), dtype=array.dtype)
    grown[: len(array)] = array
    return grown
