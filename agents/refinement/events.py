"""What is streamed of patients: one JSON object an event, checked for form, then against a drug's scenario.

`parse` makes an `Event` of a record, or says why it is none; `understood` puts an event into the names and
units of a `Scenario`, or says why it cannot be meant. Neither raises for what a record holds: a refused
record is kept, with the reason. ``event.schema.json`` beside this file is the published form, what
`json_schema` returns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dosewright.agents.bedside.case import ABSURD
from dosewright.envs import Scenario, genotype_effects
from dosewright.envs.genotypes import allele_entry
from dosewright.envs.observation import Entry
from dosewright.envs.pharmacology import Covariate
from dosewright.envs.pharmacology.units import factor
from dosewright.envs.records import instead
from dosewright.pharmacogenomics import Diplotype

SCHEMA = 1
"""Version of the form of an event."""
LONGEST = 65_536
"""Bytes of the longest record that is read."""

Kind = Literal[
    "enrolled", "visit", "dose", "measurement", "covariate", "genotype", "adverse_event", "consent", "left"
]

# no control character, and no blank at an end: "P1 " and "P1" would be two patients
_TEXT = r"^[^\x00-\x20\x7f-\xa0]([^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0])?$"
_UNIT = r"^[^\x00-\x1f\x7f-\x9f]*$"
_OVERDOSE = 3.0  # times the largest dose that can be decided
_SHOWN = 60  # characters of a value in a reason

_Text = Annotated[str, Field(min_length=1, max_length=200, pattern=_TEXT)]
_Unit = Annotated[str, Field(max_length=50, pattern=_UNIT)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class _Value:
    """What a value may be: in words, as JSON Schema, and as a test."""

    words: str
    schema: Mapping[str, Any]
    fits: Callable[[Any], bool]


_NUMBER = _Value("a number", {"type": "number"}, lambda value: isinstance(value, float))
_ABOVE_0 = _Value(
    "a number above 0",
    {"type": "number", "exclusiveMinimum": 0},
    lambda value: isinstance(value, float) and value > 0,
)
_GRADE = _Value(
    "a CTCAE grade from 1 to 5", {"enum": [1, 2, 3, 4, 5]}, lambda value: value in (1, 2, 3, 4, 5)
)
_DIPLOTYPE = _Value("a diplotype such as '*1/*2'", {"type": "string"}, lambda value: isinstance(value, str))
_CONSENT = _Value(
    "'given' or 'withdrawn'",
    {"enum": ["given", "withdrawn"]},
    lambda value: value in ("given", "withdrawn"),
)

_Need = Literal["must", "may", "no"]


@dataclass(frozen=True)
class _Form:
    """Which fields an event of one kind has beside id, patient, time and site."""

    code: _Need = "no"
    value: _Need = "no"
    unit: _Need = "no"
    of: _Value = _NUMBER


_FORMS: Mapping[Kind, _Form] = {
    "enrolled": _Form(code="must"),
    "visit": _Form(value="may", of=_ABOVE_0),
    "dose": _Form(code="must", value="must", unit="must"),
    "measurement": _Form(code="must", value="must", unit="may"),
    "covariate": _Form(code="must", value="must", unit="may"),
    "genotype": _Form(code="must", value="must", of=_DIPLOTYPE),
    "adverse_event": _Form(code="must", value="may", of=_GRADE),
    "consent": _Form(value="must", of=_CONSENT),
    "left": _Form(code="must"),
}
_FIELDS = ("code", "value", "unit")


def _moment(value: Any) -> datetime:
    """Read a time, which has a time zone, in UTC."""
    if not isinstance(value, str | datetime):
        raise ValueError("expected text in ISO 8601, such as '2026-03-01T08:00:00+01:00'")
    try:
        read = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("is no time in ISO 8601; write it as '2026-03-01T08:00:00+01:00'") from None
    if read.tzinfo is None:
        raise ValueError("has no time zone; write it as '2026-03-01T08:00:00+01:00' or with a Z behind it")
    try:
        return read.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999 in UTC") from None


def _by_kind(schema: dict[str, Any]) -> None:
    """Add to the JSON Schema of an event what each kind asks of the fields."""
    null: dict[str, Any] = {"type": "null"}
    rules = []
    for kind, form in _FORMS.items():
        fields: dict[str, Any] = {}
        for name in _FIELDS:
            need, one = getattr(form, name), dict(form.of.schema) if name == "value" else {"type": "string"}
            fields[name] = {"must": one, "may": {"anyOf": [one, null]}, "no": null}[need]
        needed = [name for name in _FIELDS if getattr(form, name) == "must"]
        rules.append(
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"properties": fields, "required": needed},
            }
        )
    schema["allOf"] = rules


class Event(BaseModel):
    """One event in a patient's care, for research: not for clinical use. Which fields an event has depends on
    its kind; a field that it has not is null or left out, and no other field is allowed."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, title="dosewright event", json_schema_extra=_by_kind
    )

    version: Literal[1] = Field(alias="schema", description="Version of this form: 1.")
    id: _Text = Field(description="Names the event; an id that comes again is the same event again.")
    patient: _Text = Field(description="Names the patient, by a pseudonym of the sender's.")
    time: Annotated[datetime, BeforeValidator(_moment)] = Field(
        description="When it happened, in ISO 8601 with a time zone; of a measurement, when the sample was "
        "drawn; of enrolled, the moment of day 0."
    )
    kind: Kind = Field(
        description="enrolled: code is the drug. visit: a decision is asked for now; value is the time until "
        "the next visit in units of the drug's clock (days, cycles, …), null: as the calendar has it. dose: "
        "code is the drug, value with unit what is given a unit of the drug's clock, from time on until the "
        "next dose event. measurement: code names what was measured. covariate: code names it. genotype: "
        "code is the gene, value the diplotype. adverse_event: code is the term, value the CTCAE grade, "
        "null: not graded. consent: value is given or withdrawn. left: code is the reason."
    )
    code: _Text | None = Field(default=None, description="What it is about, by kind.")
    value: _Number | _Text | None = Field(default=None, description="Number or text, by kind; null: none.")
    unit: _Unit | None = Field(
        default=None, description="Unit of the value; empty or 1 where it has no unit."
    )
    site: _Text | None = Field(default=None, description="Hospital or ward that it comes from.")

    @model_validator(mode="after")
    def _has_the_form_of_its_kind(self) -> Self:
        form = _FORMS[self.kind]
        for name in _FIELDS:
            need, value = getattr(form, name), getattr(self, name)
            if need == "must" and value is None:
                wanted = f"; expected {form.of.words}" if name == "value" else ""
                raise ValueError(f"{name} is missing for kind {self.kind!r}{wanted}")
            if need == "no" and value is not None:
                raise ValueError(
                    f"{name} {_brief(value)} for kind {self.kind!r}, which has none; leave it out"
                )
        if self.value is not None and not form.of.fits(self.value):
            raise ValueError(f"value {_brief(self.value)} for kind {self.kind!r}; expected {form.of.words}")
        return self

    def as_json(self) -> str:
        """Return the event as one line of JSON; equal events have equal text."""
        return self.model_dump_json(by_alias=True)

    def digest(self) -> bytes:
        """Return 16 bytes that tell events of different content apart."""
        return blake2b(self.as_json().encode(), digest_size=16).digest()


@dataclass(frozen=True)
class Refused:
    """A record that is not taken as an event.

    Attributes
    ----------
    text
        The record; what is no UTF-8 stands as ``\\xff``, and of one longer than `LONGEST` the start.
    place
        Where it stood: "line 14".
    id
        Of the event, "" where it cannot be read.
    reason
        Why, and what was expected.
    """

    text: str
    place: str
    id: str
    reason: str


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an event, which ``event.schema.json`` publishes."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:dosewright:event:{SCHEMA}",
    }
    return head | Event.model_json_schema()


def parse(record: str | bytes, place: str) -> Event | Refused:
    """Read one record.

    Parameters
    ----------
    record
        A JSON object as `json_schema` describes it. A key that stands twice, NaN and Infinity are refused,
        and so is what is longer than `LONGEST` bytes.
    place
        Where it stands, for the reason: "line 14".

    Returns
    -------
    Event | Refused
        Nothing that a record holds raises an error.
    """
    raw = record.encode("utf-8", "surrogatepass") if isinstance(record, str) else record
    if len(raw) > LONGEST:
        return Refused(
            _storable(raw[:LONGEST]),
            place,
            "",
            f"longer than {LONGEST} bytes, which no event is; only its start is kept here",
        )
    text = _storable(raw)
    try:
        fields = json.loads(raw.decode(), object_pairs_hook=_each_once, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        return Refused(text, place, "", f"byte {error.start + 1} is no UTF-8; send events in UTF-8")
    except json.JSONDecodeError as error:
        return Refused(text, place, "", f"no JSON ({error}); send one JSON object an event")
    except RecursionError:
        return Refused(text, place, "", "JSON nested too deeply; an event is one flat JSON object")
    except ValueError as error:
        return Refused(text, place, "", str(error))
    if not isinstance(fields, dict):
        return Refused(
            text, place, "", f"JSON {_brief(fields)}; expected an object with schema, id, patient, …"
        )
    id = fields.get("id")
    id = _storable(id.encode("utf-8", "surrogatepass"))[:200] if isinstance(id, str) else ""
    version = fields.get("schema", "missing")
    if type(version) is not int or version != SCHEMA:
        return Refused(
            text, place, id, f"schema {_brief(version)}; expected {SCHEMA}, the version that is read"
        )
    try:
        return Event.model_validate(fields)
    except ValidationError as error:
        return Refused(text, place, id, _reason(error))


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dictionary, whose keys stand once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"key {_brief(twice)} stands {keys.count(twice)} times; expected once")
    return found


def _no_constant(name: str) -> float:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(f"{name} is no JSON number; write null where a value is missing")


def _storable(raw: bytes) -> str:
    """Return text that can be stored, whatever the bytes are."""
    return raw.decode("utf-8", "backslashreplace")


def _brief(value: Any) -> str:
    """Return a value as it is shown in a reason."""
    if isinstance(value, list | dict):  # may be nested too deeply for repr
        return "[…]" if isinstance(value, list) else "{…}"
    shown = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _reason(error: ValidationError) -> str:
    """Say what is wrong with which field."""
    found: dict[str, list[str]] = {}
    for item in error.errors(include_url=False):
        said = item["msg"].removeprefix("Value error, ")
        if not item["loc"]:  # of the kind's form, which names the field itself
            return said
        name = str(item["loc"][0])
        if item["type"] == "missing":
            found[f"{name} is missing"] = []
        elif item["type"] == "extra_forbidden":
            found[f"field {_brief(name)} is unknown; {instead(name, _names())}"] = []
        else:
            if item["type"] == "string_pattern_mismatch":
                said = "holds a control character, or has a blank at an end"
            found.setdefault(f"{name} {_brief(item['input'])}", []).append(said)
    return "; ".join(f"{what}: {', or '.join(said)}" if said else what for what, said in found.items())


def _names() -> list[str]:
    return [field.alias or name for name, field in Event.model_fields.items()]


# ------------------------------------------------------------------------------ against a drug's scenario


def understood(event: Event, scenario: Scenario, place: str) -> Event | Refused:
    """Put an event into a scenario's names and units.

    Parameters
    ----------
    event
        As `parse` returned it.
    scenario
        The decision problem: which drug, measurements, covariates and genes it has.
    place
        Where the record stood, for a refusal.

    Returns
    -------
    Event | Refused
        The event with the scenario's spelling of the code, the value in the scenario's unit and that unit;
        or why it cannot be meant: another drug, an unknown measurement, covariate, gene or allele; a unit
        that cannot be converted; a value that nobody has (a covariate out of its entry's range, a negative
        level or one above 10 times the most that the assay shows, a negative dose or one above 3 times the
        largest that can be decided, a next visit after the end of follow-up).
    """
    read = _READ.get(event.kind)
    if read is None:
        return event
    try:
        return event.model_copy(update=read(event, scenario))
    except ValueError as error:
        return Refused(event.as_json(), place, event.id, str(error))


def _visit(event: Event, scenario: Scenario) -> dict[str, Any]:
    if isinstance(event.value, float) and event.value > scenario.horizon:
        raise ValueError(
            f"next visit in {event.value:g} {scenario.clock.units}; follow-up of {scenario.name} is "
            f"{scenario.horizon} {scenario.clock.units}"
        )
    return {}


def _drug(event: Event, scenario: Scenario) -> dict[str, Any]:
    code = str(event.code)
    if code.lower() != scenario.name:
        raise ValueError(f"drug {_brief(code)}; expected {scenario.name!r}, which this stream is of")
    return {"code": scenario.name}


def _dose(event: Event, scenario: Scenario) -> dict[str, Any]:
    grid, code = scenario.doses, _drug(event, scenario)
    value = _converted(event, scenario.name, grid.unit)
    if not 0 <= value <= _OVERDOSE * grid.maximum:
        raise ValueError(
            f"dose {value:g} {grid.unit}; expected 0 to {grid.maximum:g} {grid.unit} (up to "
            f"{_OVERDOSE:g} times as much is kept). Is it another unit?"
        )
    return {**code, "value": value, "unit": grid.unit}


def _measurement(event: Event, scenario: Scenario) -> dict[str, Any]:
    items = {item.name: item for item in scenario.measurements}
    item = items[_named("measurement", event, items, scenario)]
    value = _converted(event, item.name, item.unit)
    if not 0 <= value <= ABSURD * item.high:
        raise ValueError(
            f"{item.name} = {_quantity(value, item.unit)}, where 0 to {item.high:g} is all that is ever "
            "shown; is it another unit?"
        )
    return {"code": item.name, "value": value, "unit": item.unit}


def _covariate(event: Event, scenario: Scenario) -> dict[str, Any]:
    entries, asked = _covariates(scenario)
    name = _named("covariate", event, {**asked, **entries}, scenario)
    entry = entries.get(name)
    unit = asked[name].unit if entry is None else entry.unit
    value = _converted(event, name, unit)
    shown = f"{name} = {_quantity(value, unit)}"
    if entry is None:
        if value <= asked[name].least:
            raise ValueError(f"{shown}; expected more than {asked[name].least:g}")
    elif unit == "1" and (entry.low, entry.high) == (0, 1) and value not in (0, 1):
        raise ValueError(f"{shown}; expected 0 or 1")
    elif not entry.low <= value <= entry.high:
        raise ValueError(f"{shown}; allowed {entry.low:g} to {entry.high:g}")
    return {"code": name, "value": value, "unit": unit}


def _genotype(event: Event, scenario: Scenario) -> dict[str, Any]:
    terms = scenario.model.genotype_terms
    gene = _named("gene", event, dict.fromkeys(term.gene for term in terms), scenario)
    pair = Diplotype.parse(str(event.value))
    genotype_effects([term for term in terms if term.gene == gene], {gene: np.array([str(pair)])})
    return {"code": gene, "value": str(pair)}


_READ: Mapping[Kind, Callable[[Event, Scenario], dict[str, Any]]] = {
    "enrolled": _drug,
    "visit": _visit,
    "dose": _dose,
    "measurement": _measurement,
    "covariate": _covariate,
    "genotype": _genotype,
}


def _quantity(value: float, unit: str) -> str:
    return f"{value:g}" if unit == "1" else f"{value:g} {unit}"


@lru_cache(maxsize=32)
def _covariates(scenario: Scenario) -> tuple[dict[str, Entry], dict[str, Covariate]]:
    """Return the covariates that the scenario observes, alleles aside, and those that its models ask for."""
    alleles = {
        allele_entry(term.gene, allele)
        for term in scenario.model.genotype_terms
        for allele in term.per_allele
    }
    others = () if scenario.alternative is None else scenario.alternative.covariates
    asked = {item.name: item for item in (*others, *scenario.model.covariates)}
    asked.pop("baseline", None)  # is measured
    return {item.name: item for item in scenario.covariates if item.name not in alleles}, asked


def _named(what: str, event: Event, known: Mapping[str, Any], scenario: Scenario) -> str:
    """Return the scenario's spelling of a code, which may be in any case."""
    code = str(event.code)
    by_lower = {name.lower(): name for name in known}
    if code.lower() not in by_lower:
        raise ValueError(f"{what} {_brief(code)} is unknown to {scenario.name}; {instead(code, known)}")
    return by_lower[code.lower()]


def _converted(event: Event, name: str, unit: str) -> float:
    """Return an event's number in the scenario's unit."""
    if not isinstance(event.value, float):
        raise ValueError(f"value {_brief(event.value)} for {name}; expected a number")
    if unit == "1" and (event.unit or "1").lower() in ("1", name.lower()):  # INR is its own unit
        return event.value
    if not event.unit:
        raise ValueError(f"unit is missing for {name}; expected {unit!r}")
    try:
        return event.value * _factor(event.unit, unit)
    except ValueError as error:
        raise ValueError(f"unit {_brief(event.unit)} for {name}; expected {unit!r} ({error})") from None


@lru_cache(maxsize=1024)
def _factor(unit: str, into: str) -> float:
    """Return what a value in `unit` is multiplied by; of "g every 12 h" into "mg every 12 h" the amounts
    differ, and what follows them must be the same."""
    amount, _, rest = into.partition(" " if " " in into else "/")
    tail = into.removeprefix(amount)
    if rest and unit.endswith(tail):
        return factor(unit.removesuffix(tail), amount)
    return factor(unit, into)
