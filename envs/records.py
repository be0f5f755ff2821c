"""What was given to one patient and what was measured: event records, checked, in stated units."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.pharmacology.units import factor

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Mask = NDArray[np.bool_]

# columns with a meaning, in the order in which they are written
COLUMNS = (
    "ID", "TIME", "EVID", "AMT", "CMT", "II", "ADDL", "SS", "RATE", "DV", "MDV", "DVID", "BLQ", "LLOQ",
)  # fmt: skip
MISSING = ("", ".", "NA")
_NAMES = {
    "time": "TIME", "evid": "EVID", "amount": "AMT", "interval": "II", "rate": "RATE", "compartment": "CMT",
    "additional": "ADDL", "steady": "SS", "dv": "DV", "mdv": "MDV", "dvid": "DVID", "limit": "LLOQ",
}  # fmt: skip
_NOT_IN_NAMES = r'[][",;#=|\t\r\n]'  # of a covariate or a unit: they stand in a header
_DV_UNIT = r"DV(:\d+)?"

_log = logging.getLogger(__name__)

# records at fault, column, values, remedy
_Fault = tuple[Mask, str, NDArray[Any], str]


@dataclass(frozen=True, eq=False)
class PatientRecords:
    """The records of one patient in time order, r of them, with the data items of NONMEM and PREDPP [1].

    Every instance is checked: what is refused, and why, stands under Raises. `PatientRecords.of` makes one
    from a few columns, `read_nonmem` from a file.

    Attributes
    ----------
    id
        The patient, as text.
    line : (r,)
        Line of the file (the header is 1), for messages; counted from 1 without a file.
    time : (r,)
        Time, in ``units["TIME"]``. After a reset (`evid` 3 or 4) it may begin anew.
    evid : (r,)
        0 observation, 1 dose, 2 other, 3 reset, 4 reset and dose.
    amount, interval, rate : (r,)
        AMT in ``units["AMT"]``; II in the unit of time; RATE in amount per time, where 0 is a bolus and −1
        and −2 say that the model has the rate or the duration. 0 on a record that is no dose.
    compartment : (r,)
        CMT, counted from 1; 0 where none is given.
    additional, steady : (r,)
        ADDL further doses, one every `interval`; SS 1 the system is at steady state under doses every
        `interval` (without amount and interval: under a constant infusion), 2 the same added to what is
        there.
    dv : (r,)
        The measurement, in ``units["DV"]``, or ``units["DV:2"]`` for those with DVID 2. NaN where missing.
    mdv : (r,)
        The record is not to be fitted: no observation, no value, or an observation set aside (whose `dv`
        stands).
    dvid : (r,)
        Which measurement it is; 0 where none is given.
    limit : (r,)
        Lower limit of quantification where the level was found to be below it (`dv` is then NaN), else NaN.
    covariates : name -> (r,)
        Cells as they stand, NaN where missing; `covariate` carries the last one forward.
    units : column -> unit
        Of TIME, AMT, DV and covariates, where given.

    Raises
    ------
    ValueError
        With line, patient, column, value and remedy, for: times that run backwards other than at a reset; a
        dose whose amount is missing, negative or 0 (other than a constant infusion at steady state); dosing
        items on a record that is no dose; ADDL or SS without II; unknown EVID, SS or negative RATE; a
        measurement on a record that is no observation; a level below 0 (levels are on their own scale, never
        logarithms); MDV 0 without a level; a limit not above 0 or beside a level; a covariate that is missing
        at the first record; a patient without dose and without an observation to fit.

    References
    ----------
    [1] Beal SL, Sheiner LB, Boeckmann AJ, Bauer RJ. NONMEM Users Guides, part V chapter 6 and part VI
        chapter V (data items of PREDPP).
    """

    id: str
    line: Whole
    time: Floats
    evid: Whole
    amount: Floats
    interval: Floats
    rate: Floats
    compartment: Whole
    additional: Whole
    steady: Whole
    dv: Floats
    mdv: Mask
    dvid: Whole
    limit: Floats
    covariates: Mapping[str, Floats] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_names()
        for name in ("line", *_NAMES):
            self._check_shape(name, getattr(self, name))
        for name, values in self.covariates.items():
            self._check_shape(name, values)
        for bad, column, values, remedy in chain(
            self._event_faults(),
            self._dose_faults(),
            self._observation_faults(),
            self._covariate_faults(),
        ):
            if bad.any():
                i = int(np.argmax(bad))
                raise ValueError(f"{_place(self.line, i, self.id)}: {column} = {_text(values[i])}; {remedy}")
        if not (self.dose | (self.observation & ~self.mdv)).any():
            raise ValueError(
                f"{_place(self.line, 0, self.id)}: no dose and no observation to fit in {len(self)} records; "
                f"give one (EVID 1, or EVID 0 with DV and MDV 0), or leave the patient out"
            )

    @classmethod
    def of(
        cls,
        id: str,
        time: ArrayLike,
        *,
        evid: ArrayLike | None = None,
        amount: ArrayLike = math.nan,
        interval: ArrayLike = 0.0,
        rate: ArrayLike = 0.0,
        compartment: ArrayLike = 0,
        additional: ArrayLike = 0,
        steady: ArrayLike = 0,
        dv: ArrayLike = math.nan,
        mdv: ArrayLike | None = None,
        dvid: ArrayLike = 0,
        limit: ArrayLike = math.nan,
        covariates: Mapping[str, ArrayLike] | None = None,
        units: Mapping[str, str] | None = None,
        line: ArrayLike | None = None,
    ) -> PatientRecords:
        """Return a patient's records from the columns that matter.

        Parameters
        ----------
        id, time, evid, amount, interval, rate, compartment, additional, steady, dv, mdv, dvid, limit
            As the attributes: (r,), or one value for all records. NaN is missing: EVID and MDV are then
            derived, anything but `amount` of a dose, `dv` and `limit` becomes 0.
        covariates, units
            As the attributes; a covariate may be one number.

        Notes
        -----
        As in NM-TRAN, EVID that is not given is 1 where one of AMT, RATE and SS is not 0, else 2 where MDV is
        1, else 0. MDV that is not given is 1 where there is no observation, and, other than in NM-TRAN, where
        there is neither a level nor a limit (NM-TRAN would read a level of 0). On a record that is no
        observation, a `dv` of 0 and one under MDV 1 are placeholders and become NaN.

        Examples
        --------
        >>> records = PatientRecords.of("7", [0, 1, 8], amount=[100, 0, 0], dv=[0, 4.1, 1.3])
        >>> records.evid.tolist(), records.dv.tolist()
        ([1, 0, 0], [nan, 4.1, 1.3])
        """
        times = np.atleast_1d(np.asarray(time, dtype=np.float64))
        r = len(times)
        lines = np.arange(1, r + 1) if line is None else np.asarray(line, dtype=np.int64)

        def column(name: str, values: ArrayLike | None, missing: float = math.nan) -> Floats:
            found = np.asarray(math.nan if values is None else values, dtype=np.float64)
            if found.shape not in ((), (1,), (r,)):
                raise ValueError(
                    f"patient {id!r}: {name} has shape {found.shape}; expected ({r},) as time, or one value"
                )
            found = np.broadcast_to(found, (r,))
            return np.where(np.isnan(found), missing, found)

        def whole(name: str, values: ArrayLike | None, missing: float = 0.0) -> Whole:
            found = column(name, values, missing)
            odd = (found != np.rint(found)) | ~(np.abs(found) < 2.0**53)  # beyond, floats skip whole numbers
            if odd.any():
                i = int(np.argmax(odd))
                raise ValueError(
                    f"{_place(lines, i, id)}: {_NAMES[name]} = {_text(found[i])}; expected a whole number"
                )
            return found.astype(np.int64)

        amounts, rates = column("amount", amount), column("rate", rate, 0.0)
        states, given = whole("steady", steady), column("mdv", mdv)
        odd = ~np.isnan(given) & ~np.isin(given, (0, 1))
        if odd.any():
            i = int(np.argmax(odd))
            raise ValueError(f"{_place(lines, i, id)}: MDV = {_text(given[i])}; expected 0 or 1")
        events = derived_evid(column("evid", evid), amounts, rates, states, given)
        events = whole("evid", events)
        levels, limits = column("dv", dv), column("limit", limit)
        intervals = column("interval", interval, 0.0)
        constant = (states == 1) & (rates > 0) & (intervals == 0)
        observation = events == 0
        levels = np.where(~observation & ((levels == 0) | (given == 1)), math.nan, levels)
        unseen = ~observation | (np.isnan(levels) & np.isnan(limits))
        return cls(
            id=id,
            line=np.broadcast_to(lines, (r,)),
            time=times,
            evid=events,
            # a dose without an amount stays so, and is refused; a constant infusion has none
            amount=np.where(np.isnan(amounts) & (~np.isin(events, (1, 4)) | constant), 0.0, amounts),
            interval=intervals,
            rate=rates,
            compartment=whole("compartment", compartment),
            additional=whole("additional", additional),
            steady=states,
            dv=levels,
            mdv=np.where(np.isnan(given), unseen, given == 1),
            dvid=whole("dvid", dvid),
            limit=limits,
            covariates={name: column(name, values) for name, values in (covariates or {}).items()},
            units=dict(units or {}),
        )

    def __len__(self) -> int:
        """Number of records r."""
        return len(self.time)

    @property
    def dose(self) -> Mask:
        """Records that give a dose (EVID 1 or 4): (r,)."""
        return np.isin(self.evid, (1, 4))

    @property
    def observation(self) -> Mask:
        """Records of an observation (EVID 0), fitted or set aside: (r,)."""
        return self.evid == 0

    def covariate(self, name: str, unit: str | None = None) -> Floats:
        """Return a covariate (r,) in which the last value is carried forward over missing cells, in `unit`
        where the table gives it another.

        Raises
        ------
        ValueError
            If the patient has no covariate of that name, or its unit does not become the wanted one.
        """
        if name not in self.covariates:
            raise ValueError(f"patient {self.id!r}: no covariate {name!r}; {instead(name, self.covariates)}")
        scale = scale_to(unit, self.units.get(name), f"patient {self.id!r}, {name}")
        values = self.covariates[name] * scale
        last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
        return values[last]

    def dv_unit(self, i: int) -> str | None:
        """Return the unit of DV in record `i`; None where the table says none.

        Raises
        ------
        ValueError
            If units are given by DVID, and the record has none.
        """
        kind = int(self.dvid[i])
        if kind == 0 and "DV" not in self.units and "DV:0" not in self.units:
            by_kind = [f"{name[3:]}={unit}" for name, unit in self.units.items() if name.startswith("DV:")]
            if by_kind:
                raise ValueError(
                    f"{_place(self.line, i, self.id)}: DV = {_text(self.dv[i])} has no DVID, and units are "
                    f"given by DVID ({', '.join(by_kind)}); give the record its DVID"
                )
        return self.units.get(f"DV:{kind}", self.units.get("DV"))

    def _check_names(self) -> None:
        # what could not be read again from a file
        if self.id != self.id.strip() or self.id in (*MISSING, "C") or re.search(r'^#|["\r\n]', self.id):
            raise ValueError(
                f"patient {self.id!r}: no usable ID; expected text without quotes, not missing, not 'C' and "
                f"not beginning with '#', which mark a comment"
            )
        seen = {name: name for name in (*COLUMNS, "CENS", "YTYPE", "DATE")}
        for name in self.covariates:
            if not name or name != name.strip() or re.search(_NOT_IN_NAMES, name):
                raise ValueError(f"patient {self.id!r}: covariate {name!r}; expected a name such as 'WT'")
            if name.upper() in seen:
                raise ValueError(
                    f"patient {self.id!r}: covariate {name!r} is already {seen[name.upper()]!r}; rename it"
                )
            seen[name.upper()] = name
        for name, unit in self.units.items():
            if name not in ("TIME", "AMT", *self.covariates) and not re.fullmatch(_DV_UNIT, name):
                known = ("TIME", "AMT", "DV", "DV:1", *self.covariates)
                raise ValueError(f"patient {self.id!r}: unit of no column {name!r}; {instead(name, known)}")
            if not unit or unit != unit.strip() or re.search(_NOT_IN_NAMES, unit):
                raise ValueError(f"patient {self.id!r}: unit {unit!r} of {name}; expected one such as 'mg/L'")

    def _check_shape(self, name: str, values: NDArray[Any]) -> None:
        if values.shape != (len(self),) or not len(self):
            raise ValueError(
                f"patient {self.id!r}: {name} has shape {values.shape}; expected one value for each of "
                f"{len(self)} records, and at least one record"
            )

    def _event_faults(self) -> Iterator[_Fault]:
        yield ~np.isfinite(self.time), "TIME", self.time, "expected a number; give it or leave the record out"
        before = np.diff(self.time, prepend=self.time[:1]) < 0
        yield (
            before & ~np.isin(self.evid, (3, 4)),
            "TIME",
            self.time,
            "less than at the record before; order the records by time (only EVID 3 or 4 resets the clock; "
            "clock times that pass midnight need DATE)",
        )
        yield (self.evid < 0) | (self.evid > 4), "EVID", self.evid, "expected 0, 1, 2, 3 or 4"
        yield self.compartment < 0, "CMT", self.compartment, "expected a compartment from 1, or 0 for none"

    def _dose_faults(self) -> Iterator[_Fault]:
        dose, constant = self.dose, (self.steady == 1) & (self.rate > 0) & (self.amount == 0)
        for name in ("amount", "rate", "interval", "additional", "steady"):
            value = getattr(self, name)
            yield ~dose & (value != 0), _NAMES[name], value, "expected 0 where there is no dose, or EVID 1"
        yield np.isnan(self.amount), "AMT", self.amount, "expected the amount of the dose; give it, in full"
        for name in ("amount", "interval"):
            value = getattr(self, name)
            yield (value < 0) | ~np.isfinite(value), _NAMES[name], value, "expected a number, 0 or more"
        yield (
            ~np.isfinite(self.rate) | ((self.rate < 0) & ~np.isin(self.rate, (-1, -2))),
            "RATE",
            self.rate,
            "expected above 0, 0 (bolus), -1 (the model has the rate) or -2 (the model has the duration)",
        )
        yield (self.steady < 0) | (self.steady > 2), "SS", self.steady, "expected 0, 1 or 2"
        empty = dose & (self.amount == 0) & ~constant
        yield (
            empty & (self.rate != 0),
            "RATE",
            self.rate,
            "an infusion of amount 0; give AMT, or SS 1 without II for a constant infusion at steady state",
        )
        yield empty, "AMT", self.amount, "a dose of 0 is none; leave the record out or set EVID 2"
        yield (
            constant & (self.interval > 0),
            "II",
            self.interval,
            "expected 0 for a constant infusion at steady state; give AMT if doses are repeated",
        )
        yield self.additional < 0, "ADDL", self.additional, "expected 0 or more"
        once = ~(self.interval > 0)
        yield (self.additional > 0) & once, "ADDL", self.additional, "further doses need II, the time between"
        yield (self.steady > 0) & once & ~constant, "SS", self.steady, "steady state needs II, the interval"

    def _observation_faults(self) -> Iterator[_Fault]:
        other, value = ~self.observation, ~np.isnan(self.dv)
        below = ~np.isnan(self.limit)
        yield (
            other & value,
            "DV",
            self.dv,
            "on a record that is no observation; give the measurement a record of its own with EVID 0",
        )
        yield other & below, "LLOQ", self.limit, "below the limit is only an observation, EVID 0"
        yield other & ~self.mdv, "MDV", self.mdv, "expected 1 on a record that is no observation"
        yield (
            value & ((self.dv < 0) | ~np.isfinite(self.dv)),
            "DV",
            self.dv,
            "expected 0 or more; a missing level is '.', a logarithm is to be transformed back",
        )
        yield (
            below & ~(np.isfinite(self.limit) & (self.limit > 0)),
            "LLOQ",
            self.limit,
            "expected a limit of quantification above 0",
        )
        yield below & value, "DV", self.dv, "beside a limit it is below; leave one of them empty"
        yield (
            ~other & ~self.mdv & ~value & ~below,
            "DV",
            self.dv,
            "with MDV 0; give the level, or MDV 1 where there is none",
        )
        yield self.dvid < 0, "DVID", self.dvid, "expected 1 or more, or 0 for none"

    def _covariate_faults(self) -> Iterator[_Fault]:
        first = np.arange(len(self)) == 0
        for name, values in self.covariates.items():
            yield (
                first & np.isnan(values),
                name,
                values,
                "a covariate has to be known at the patient's first record (later it is carried forward); "
                "give it, or leave this covariate out",
            )
            yield np.isinf(values), name, values, "expected a number"


def derived_evid(evid: Floats, amount: Floats, rate: Floats, steady: ArrayLike, mdv: Floats) -> Floats:
    """Return EVID (r,) with what is missing (NaN) derived, as under Notes of `PatientRecords.of`."""
    dosed = (np.nan_to_num(amount) != 0) | (rate != 0) | (np.asarray(steady) != 0)
    return np.where(np.isnan(evid), np.where(dosed, 1.0, np.where(mdv == 1, 2.0, 0.0)), evid)


def converted(
    patients: Iterable[PatientRecords],
    *,
    time: str | None = None,
    amount: str | None = None,
    dv: str | Mapping[int, str] | None = None,
) -> tuple[PatientRecords, ...]:
    """Return patients in the units of a model; each factor is logged (level INFO).

    Parameters
    ----------
    patients
        Their `units` say what they are in; a column without a unit is taken as it is.
    time, amount
        Wanted unit of TIME and II, and of AMT; RATE follows. None leaves them.
    dv
        Wanted unit of DV and of the limit of quantification; where there are several measurements, by DVID,
        and those not named are left.

    Raises
    ------
    ValueError
        With patient, column and units, where one cannot become the other (mass into moles), and where `dv`
        is one unit and there are several DVID.

    Examples
    --------
    >>> data = PatientRecords.of("7", [0, 1], amount=[100, 0], dv=[0, 4100], units={"DV": "ng/mL"})
    >>> converted([data], dv="mg/L")[0].dv.tolist()
    [nan, 4.1]
    """
    found = tuple(patients)
    kinds = {int(k) for patient in found for k in patient.dvid[patient.observation]}
    if isinstance(dv, str) and len(kinds) > 1:
        example = ", ".join(f"{k}: {dv!r}" for k in sorted(kinds)[:1])
        raise ValueError(
            f"dv = {dv!r}, and there are measurements with DVID {', '.join(map(str, sorted(kinds)))}; "
            f"name the unit of each to be converted: dv={{{example}}}"
        )
    done = set[str]()
    patients = tuple(_converted(patient, time, amount, dv, kinds, done) for patient in found)
    for message in sorted(done):
        _log.info(message)
    return patients


def _converted(
    patient: PatientRecords,
    time: str | None,
    amount: str | None,
    dv: str | Mapping[int, str] | None,
    kinds: set[int],
    done: set[str],
) -> PatientRecords:
    """Return one patient; what was done is added to `done`."""
    units = dict(patient.units)

    def into(wanted: str | None, key: str, own: str | None = None) -> float:
        unit = units.get(key, units.get(own or key))
        if wanted is None or unit is None:
            return 1.0
        scale = scale_to(wanted, unit, f"patient {patient.id!r}, {key}")
        if unit != wanted:
            done.add(f"{key}: 1 {unit} = {scale:.12g} {wanted}")
        units[key] = wanted
        return scale

    hours, dose = into(time, "TIME"), into(amount, "AMT")
    level = np.ones(len(patient))
    if isinstance(dv, str):
        level *= into(dv, next((f"DV:{k}" for k in kinds if f"DV:{k}" in units), "DV"))
    elif dv is not None:
        for kind, wanted in dv.items():
            here = patient.observation & (patient.dvid == kind)
            if here.any():
                patient.dv_unit(int(np.argmax(here)))
            level[patient.dvid == kind] = into(wanted, f"DV:{kind}", "DV")
        units = _together(units, kinds)
    return replace(
        patient,
        time=patient.time * hours,
        interval=patient.interval * hours,
        amount=patient.amount * dose,
        rate=np.where(patient.rate > 0, patient.rate * (dose / hours), patient.rate),
        dv=patient.dv * level,
        limit=patient.limit * level,
        units=units,
    )


def _together(units: Mapping[str, str], kinds: set[int]) -> dict[str, str]:
    """Return units with one of DV where all DVID have the same, and else one for each: a table has one or the
    other."""
    rest = {name: unit for name, unit in units.items() if name != "DV" and not name.startswith("DV:")}
    each = {f"DV:{k}": units.get(f"DV:{k}", units.get("DV")) for k in sorted(kinds)}
    each |= {name: unit for name, unit in units.items() if name.startswith("DV:")}
    known = {name: unit for name, unit in each.items() if unit is not None}
    if len(known) == len(each) and len(set(known.values())) == 1:
        return rest | {"DV": next(iter(known.values()))}
    return rest | known


def scale_to(wanted: str | None, unit: str | None, place: str) -> float:
    """Return what values in a unit are multiplied by to be in the wanted one, 1 where either is not said; an
    error begins with the place."""
    if wanted is None or unit is None:
        return 1.0
    try:
        return factor(unit, wanted)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def instead(got: str, known: Iterable[str]) -> str:
    """Say what could have been meant."""
    names = {name.upper(): name for name in known}
    near = get_close_matches(got.upper(), names, n=1)
    meant = f"did you mean {names[near[0]]!r}? " if near else ""
    return f"{meant}known: {', '.join(names.values()) or 'none'}"


def _place(line: NDArray[Any], i: int, id: str) -> str:
    return f"line {line[i]}, patient {id!r}, record {i + 1}"


def _text(value: Any) -> str:
    return "missing" if math.isnan(value) else f"{float(value):.12g}"
