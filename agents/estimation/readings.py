"""What a recorded observation says: a value, below the limit, a grade, or whether an event happened.

Which of them DV is, and of which output of the model, is told by DVID, or by the compartment where a record
has none. All become intervals [low, high): a value is both its ends, a grade is the interval of values that
the scale gives it, and an event is an interval of the number of events, 0 or at least 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from dosewright.envs import PatientRecords
from dosewright.envs.pharmacology import PopulationModel
from dosewright.envs.records import scale_to


@dataclass(frozen=True)
class Graded:
    """An output that is recorded as grades of an ordinal scale: DV is 0, 1, … up to the number of limits.

    The measured value, with the residual error of the output, lies between two limits; one that equals a
    limit belongs above it. With ascending limits grade g is [limits[g − 1], limits[g]); with descending ones,
    as of neutrophils in the CTCAE, where grade 4 is below 0.5·10⁹/L, it is [limits[g], limits[g − 1]).

    Attributes
    ----------
    output
        Name of the model's output.
    limits
        What divides the grades, in the output's unit, ascending or descending.
    descending
        Whether a higher grade is a lower value; to be said where there is one limit, which does not tell.

    Raises
    ------
    ValueError
        For limits that are none, not finite, not in order, or at odds with `descending`.

    Examples
    --------
    >>> neutropenia = Graded("ANC", (2.0, 1.5, 1.0, 0.5))
    >>> neutropenia.interval(4), neutropenia.interval(1)
    ((-inf, 0.5), (1.5, 2.0))
    """

    output: str
    limits: Sequence[float]
    descending: bool | None = None

    def __post_init__(self) -> None:
        where, steps = f"grades of {self.output!r}: limits = {tuple(self.limits)}", np.diff(self.limits)
        if not len(self.limits) or not np.isfinite(self.limits).all():
            raise ValueError(f"{where}; expected one number or more, all finite (the outer grades are open)")
        if not ((steps > 0).all() or (steps < 0).all()):
            raise ValueError(f"{where}; expected them to rise or to fall throughout")
        if not len(steps) and self.descending is None:
            raise ValueError(
                f"{where}; with one limit say `descending`: True where grade 1 is below it, False where above"
            )
        if len(steps) and self.descending not in (None, bool(steps[0] < 0)):
            raise ValueError(f"{where}, but descending = {self.descending}; leave one of them out or turn it")

    def interval(self, grade: int) -> tuple[float, float]:
        """Return low and high of the values [low, high) of a grade."""
        falls = self.limits[-1] < self.limits[0] if len(self.limits) > 1 else self.descending
        ends = [-math.inf, *sorted(self.limits), math.inf]
        place = len(self.limits) - grade if falls else grade
        return ends[place], ends[place + 1]


@dataclass(frozen=True)
class Happened:
    """An event of which is recorded whether it has happened since the patient's previous record of it, or the
    start: DV is 1 or 0. When it happened in between is not known.

    Attributes
    ----------
    output
        Name of the model's output that is the cumulative hazard H: the integral of the hazard from the start.
        ``P(event) = 1 − exp(−ΔH)``.
    """

    output: str


@dataclass(frozen=True)
class Reading:
    """What one record says; `output` is the number of the model's output.

    Attributes
    ----------
    low, high
        The measured value, both the same, or the interval [low, high) in which it lies; of an event that of
        the number of events, [0, 1) or [1, ∞).
    observed
        Whether anything was measured; if not, a value is predicted only.
    censored
        Whether it was found below the limit of quantification.
    event
        Number (DVID or compartment) of the event; None where it is a measurement.
    """

    output: int
    low: float = 0.0
    high: float = 0.0
    observed: bool = False
    censored: bool = False
    event: int | None = None


@dataclass(frozen=True)
class Readings:
    """Outputs, grades and events by DVID or compartment; one output where every value is of the same."""

    model: PopulationModel
    outputs: Mapping[int, int] | int
    grades: Mapping[int, Graded]
    events: Mapping[int, Happened]

    @classmethod
    def of(
        cls,
        model: PopulationModel,
        outputs: Mapping[int, str] | None,
        grades: Mapping[int, Graded] | None,
        events: Mapping[int, Happened] | None,
    ) -> Readings:
        """Check names and numbers."""
        given = {"outputs": dict(outputs or {}), "grades": dict(grades or {}), "events": dict(events or {})}
        kinds: dict[int, str] = {}
        for kind, entries in given.items():
            for number, entry in entries.items():
                if number in kinds:
                    raise ValueError(
                        f"DVID or compartment {number} stands in `{kinds[number]}` and in `{kind}`; leave it "
                        "in one of them"
                    )
                kinds[number] = kind
                try:
                    model.output(entry if isinstance(entry, str) else entry.output)
                except ValueError as error:
                    raise ValueError(f"`{kind}`, DVID or compartment {number}: {error}") from None
        by_number = _outputs(model, outputs, alone=not (grades or events))
        return cls(model, by_number, given["grades"], given["events"])

    def read(self, records: PatientRecords, i: int) -> Reading | None:
        """Return what record `i` says; None where nothing is observed nor known to be predicted."""
        observed = bool(records.observation[i] and not records.mdv[i])
        key = int(records.dvid[i] or records.compartment[i])
        if key in self.grades:
            return self._grade(records, i, self.grades[key], observed)
        if key in self.events:
            return self._event(records, i, key, observed)
        output = self._output(records, i, key, observed)
        if output is None or not observed:
            return None if output is None else Reading(output)
        item, unit = self.model.outputs[output], records.dv_unit(i)
        scale = scale_to(item.unit, unit, f"{line_of(records, i)}: {item.name} in {unit!r}")
        if np.isnan(records.limit[i]):
            level = scale * float(records.dv[i])
            return Reading(output, level, level, observed)
        return Reading(output, -math.inf, scale * float(records.limit[i]), observed, censored=True)

    def _output(self, records: PatientRecords, i: int, key: int, observed: bool) -> int | None:
        if isinstance(self.outputs, int):
            return self.outputs
        if key not in self.outputs and observed:
            names = {k: self.model.outputs[v].name for k, v in self.outputs.items()}
            names |= {k: f"{v.output} (grade)" for k, v in self.grades.items()}
            names |= {k: f"{v.output} (event)" for k, v in self.events.items()}
            known = ", ".join(f"{k}: {name}" for k, name in names.items())
            refuse(
                records, i, f"a measurement with {_by(records, i)}, which is no output; outputs are {known}"
            )
        return self.outputs.get(key)

    def _grade(self, records: PatientRecords, i: int, scale: Graded, observed: bool) -> Reading:
        output = self.model.output(scale.output)
        if not observed:
            return Reading(output)
        value, what = float(records.dv[i]), f"{_by(records, i)}, a grade of {scale.output!r}"
        _check_no_limit(records, i, what)
        if value not in range(len(scale.limits) + 1):
            expected = f"expected a whole number from 0 to {len(scale.limits)}"
            refuse(records, i, f"DV = {value:g} with {what}; {expected}, or a scale with more limits")
        return Reading(output, *scale.interval(int(value)), observed)

    def _event(self, records: PatientRecords, i: int, key: int, observed: bool) -> Reading:
        name = self.events[key].output
        output = self.model.output(name)
        if not observed:
            return Reading(output, event=key)
        value, what = float(records.dv[i]), f"{_by(records, i)}, an event of {name!r}"
        _check_no_limit(records, i, what)
        if value not in (0.0, 1.0):
            refuse(records, i, f"DV = {value:g} with {what}; expected 1 where it has happened, else 0")
        return Reading(output, *((1.0, math.inf) if value else (0.0, 1.0)), observed, event=key)


def refuse(records: PatientRecords, i: int, what: str) -> NoReturn:
    """Refuse record `i`, with its line and patient."""
    raise ValueError(f"{line_of(records, i)}: {what}")


def line_of(records: PatientRecords, i: int) -> str:
    """Say where record `i` stands."""
    return f"line {int(records.line[i])}, patient {records.id!r}"


def has_error(model: PopulationModel, output: int) -> bool:
    """Whether an output has a residual error, and may be measured."""
    error = model.outputs[output].error
    return bool(error.log_sd or error.proportional or error.additive)


def _outputs(
    model: PopulationModel, outputs: Mapping[int, str] | None, alone: bool
) -> Mapping[int, int] | int:
    """Which output a value is of, by number; one output where all are of the same.

    Beside grades or events there may be no values, so that a choice may not be needed.
    """
    if outputs is not None:
        return {key: model.output(name) for key, name in outputs.items()}
    measured = [i for i in range(len(model.outputs)) if has_error(model, i)]
    if len(measured) == 1:
        return measured[0]
    if not alone:
        return {}
    names = ", ".join(model.outputs[i].name for i in measured) or "none"
    raise ValueError(
        f"{model.name}: outputs with a residual error: {names}; say in `outputs` which DVID or compartment "
        "is which"
    )


def _by(records: PatientRecords, i: int) -> str:
    """The number that tells what record `i` is of."""
    dvid = int(records.dvid[i])
    return f"DVID = {dvid}" if dvid else f"CMT = {int(records.compartment[i])}"


def _check_no_limit(records: PatientRecords, i: int, what: str) -> None:
    if not np.isnan(records.limit[i]):
        refuse(
            records,
            i,
            f"LLOQ = {records.limit[i]:g} with {what}; only a value can be below it, leave it empty",
        )
