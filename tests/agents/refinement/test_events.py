"""Events: what is read, what is refused and why, and what a scenario makes of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosewright.agents.refinement.events import LONGEST, Event, Refused, json_schema, parse, understood
from dosewright.envs import Scenario, names, scenario

DOSE: dict[str, Any] = {
    "schema": 1, "id": "e1", "patient": "P1", "time": "2026-03-01T08:00:00+01:00", "kind": "dose",
    "code": "warfarin", "value": 5, "unit": "mg/day",
}  # fmt: skip
OF_KIND: dict[str, dict[str, Any]] = {
    "enrolled": {"code": "warfarin"},
    "visit": {"value": 4},
    "dose": {"code": "warfarin", "value": 5, "unit": "mg/day"},
    "measurement": {"code": "inr", "value": 2.5, "unit": "INR"},
    "covariate": {"code": "age_y", "value": 70, "unit": "years"},
    "genotype": {"code": "CYP2C9", "value": "*1/*2"},
    "adverse_event": {"code": "epistaxis", "value": 2},
    "consent": {"value": "given"},
    "left": {"code": "moved away"},
}


def changed(**fields: Any) -> str:
    """Return the dose of `DOSE` with other fields, as JSON; None takes a field out."""
    return json.dumps({key: value for key, value in (DOSE | fields).items() if value is not None})


def of_kind(kind: str, **fields: Any) -> Event:
    """Return an event of a kind, with other fields than `OF_KIND` has."""
    head = {key: DOSE[key] for key in ("schema", "id", "patient", "time")}
    found = parse(json.dumps(head | {"kind": kind} | OF_KIND[kind] | fields), "line 1")
    assert isinstance(found, Event), found
    return found


def reason(record: str | bytes) -> str:
    """Return why a record is refused."""
    found = parse(record, "line 14")
    assert isinstance(found, Refused) and found.place == "line 14"
    return found.reason


def no_meaning(event: Event, drug: str = "warfarin") -> str:
    """Return why an event means nothing for a drug."""
    found = understood(event, scenario(drug), "line 14")
    assert isinstance(found, Refused) and (found.place, found.id) == ("line 14", event.id)
    assert parse(found.text, "") == event
    return found.reason


def meaning(event: Event, drug: str = "warfarin") -> tuple[Any, Any, Any]:
    """Return code, value and unit of an event as a drug's scenario has them."""
    found = understood(event, scenario(drug), "line 14")
    assert isinstance(found, Event), found.reason
    assert found.model_copy(update={k: getattr(event, k) for k in ("code", "value", "unit")}) == event
    return found.code, found.value, found.unit


# ----------------------------------------------------------------------------------------------------- form


def test_a_record_is_read_with_its_time_in_utc() -> None:
    event = parse(changed(site="ward 3"), "line 1")
    assert isinstance(event, Event)
    assert event.time == datetime(2026, 3, 1, 7, tzinfo=UTC) and event.time.tzinfo is UTC
    assert (event.id, event.patient, event.kind, event.code) == ("e1", "P1", "dose", "warfarin")
    assert (event.value, event.unit, event.site) == (5.0, "mg/day", "ward 3")


@pytest.mark.parametrize("kind", OF_KIND)
def test_every_kind_has_its_fields_and_no_other(kind: str) -> None:
    whole = of_kind(kind)
    assert parse(whole.as_json(), "line 1") == whole
    head = {key: DOSE[key] for key in ("schema", "id", "patient", "time")} | {"kind": kind}
    for field in ("code", "value", "unit"):
        fields = dict(OF_KIND[kind])
        if field not in fields:
            extra = head | fields | {field: {"code": "x", "value": 1, "unit": "mg"}[field]}
            assert f"for kind '{kind}', which has none; leave it out" in reason(json.dumps(extra))
            continue
        del fields[field]
        without = parse(json.dumps(head | fields), "line 1")
        if (kind, field) in {("visit", "value"), ("adverse_event", "value")} or (
            field == "unit" and kind in ("measurement", "covariate")
        ):
            assert isinstance(without, Event)
        else:
            assert isinstance(without, Refused)
            assert without.reason.startswith(f"{field} is missing for kind '{kind}'")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (changed(time="2026-03-01T08:00:00"), "has no time zone; write it as '2026-03-01T08:00:00+01:00'"),
        (changed(time="2026-03-01"), "has no time zone"),
        (changed(time="1 March"), "time '1 March': is no time in ISO 8601"),
        (changed(time=1772348400), "expected text in ISO 8601"),
        (changed(time="0001-01-01T00:00:00+10:00"), "is outside the years 1 to 9999 in UTC"),
        (changed(id=None), "id is missing"),
        (changed(id=""), "id ''"),
        (changed(id="x" * 201), "at most 200 characters"),
        (changed(id=7), "id 7"),
        (changed(patient="P\n1"), "holds a control character, or has a blank at an end"),
        (changed(patient="P1 "), "patient 'P1 ': holds a control character, or has a blank at an end"),
        (changed(patient="P\u00a0"), "has a blank at an end"),
        (changed(patient="\ud800"), "patient '\\ud800'"),
        (changed(kind="dosage"), "kind 'dosage': Input should be 'enrolled', 'visit', 'dose'"),
        (changed(ptient="P2"), "field 'ptient' is unknown; did you mean 'patient'? known: schema, id"),
        (changed(version=1), "field 'version' is unknown"),
        (changed(schema=2), "schema 2; expected 1, the version that is read"),
        (changed(schema=True), "schema True; expected 1"),
        (changed(schema=None), "schema 'missing'; expected 1"),
        (changed(value="5"), "value '5' for kind 'dose'; expected a number"),
        (changed(value=True), "value True"),
        (changed(value=[5]), "value […]"),
        (changed(kind="adverse_event", value=6, unit=None), "expected a CTCAE grade from 1 to 5"),
        (changed(kind="adverse_event", value=2.5, unit=None), "expected a CTCAE grade from 1 to 5"),
        (changed(kind="consent", code=None, value="yes", unit=None), "expected 'given' or 'withdrawn'"),
        (changed(kind="visit", code=None, value=0, unit=None), "expected a number above 0"),
        (changed().replace("5,", "NaN,"), "NaN is no JSON number; write null where a value is missing"),
        (changed().replace("5,", "-Infinity,"), "-Infinity is no JSON number"),
        (changed().replace("5,", "1e400,"), "value inf: Input should be a finite number"),
        (changed().replace("5,", f"{'9' * 400},"), "value 9999"),
        (changed().replace("5,", f"{'9' * 5000},"), "Exceeds the limit"),
        (changed()[:-1] + ', "value": 6}', "key 'value' stands 2 times; expected once"),
        (changed()[:-1], "no JSON (Expecting"),
        ("", "no JSON (Expecting value: line 1 column 1 (char 0)); send one JSON object an event"),
        ("[1, 2]", "JSON […]; expected an object"),
        ("[" * 60_000, "JSON nested too deeply"),
        (b'{"id": "J\xfcrg"}', "byte 10 is no UTF-8; send events in UTF-8"),
        (b"\xef\xbb\xbf{}", "no JSON (Unexpected UTF-8 BOM"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(record: str | bytes, said: str) -> None:
    assert said in reason(record)


def test_a_refused_record_is_kept_with_the_id_that_can_be_read() -> None:
    text = changed(time="today", value=None)
    found = parse(text, "line 3")
    assert found == Refused(text, "line 3", "e1", found.reason if isinstance(found, Refused) else "")
    broken = parse(b"J\xfcrg", "line 4")
    assert isinstance(broken, Refused) and (broken.text, broken.id) == ("J\\xfcrg", "")
    surrogate = parse(changed(id="\ud800"), "line 5")
    assert isinstance(surrogate, Refused)
    assert surrogate.id.encode() == b"\\xed\\xa0\\x80"  # can be stored


def test_a_record_of_64_kib_is_read_and_a_longer_one_is_cut() -> None:
    blanks = " " * (LONGEST - len(changed()))
    assert isinstance(parse(changed() + blanks, "line 1"), Event)
    cut = parse(changed() + blanks + " ", "line 1")
    assert isinstance(cut, Refused) and len(cut.text) == LONGEST
    assert cut.reason == "longer than 65536 bytes, which no event is; only its start is kept here"


def test_equal_events_have_one_text_and_digest_whatever_the_time_zone() -> None:
    here, there = parse(changed(), ""), parse(changed(time="2026-03-01T07:00:00Z", value=5.0), "")
    assert isinstance(here, Event) and isinstance(there, Event)
    assert here.as_json() == there.as_json() and here.digest() == there.digest()
    digests = {here.digest()}
    other = {"patient": "P2", "time": "2026-03-01T07:00:00.000001Z", "value": 5.5, "unit": "g/day"}
    for field, value in (other | {"site": "S"}).items():
        event = parse(changed(**{field: value}), "")
        assert isinstance(event, Event)
        digests.add(event.digest())
    assert len(digests) == 6 and len(here.digest()) == 16


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.text(st.characters()) | st.binary())
def test_any_text_and_any_bytes_are_an_answer(record: str | bytes) -> None:
    found = parse(record, "line 1")
    assert isinstance(found, Refused)
    assert found.reason and found.text.encode().decode() == found.text


@given(st.sampled_from([*DOSE, "site", "other"]), JSON, st.sampled_from(sorted(OF_KIND)))
def test_any_value_of_any_field_is_an_answer(field: str, value: Any, kind: str) -> None:
    fields = {k: DOSE[k] for k in ("schema", "id", "patient", "time")} | {"kind": kind} | OF_KIND[kind]
    found = parse(json.dumps(fields | {field: value}), "line 1")
    if isinstance(found, Event):  # what is read can be written, and is the same again
        assert parse(found.as_json(), "line 1") == found
        assert found.time.tzinfo is UTC
        assert isinstance(understood(found, scenario("warfarin"), "line 1"), Event | Refused)
    else:
        assert found.reason and found.id.encode() is not None


def test_the_published_schema_is_what_the_code_reads() -> None:
    file = files("dosewright.agents.refinement") / "event.schema.json"
    published = file.read_text(encoding="utf-8")
    assert published == json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"
    schema = json.loads(published)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:dosewright:event:1" and schema["additionalProperties"] is False
    assert set(schema["properties"]) == {*DOSE, "site"}
    assert all(field["description"] for field in schema["properties"].values())
    assert schema["required"] == ["schema", "id", "patient", "time", "kind"]
    rules = {rule["if"]["properties"]["kind"]["const"]: rule["then"] for rule in schema["allOf"]}
    assert set(rules) == set(OF_KIND) == set(schema["properties"]["kind"]["enum"])
    for kind, fields in OF_KIND.items():
        # required and forbidden fields, as the model has them
        assert set(rules[kind]["required"]) <= set(fields)
        forbidden = {k for k, rule in rules[kind]["properties"].items() if rule == {"type": "null"}}
        assert forbidden == {"code", "value", "unit"} - set(fields)


# -------------------------------------------------------------------------------------------------- meaning


@pytest.mark.parametrize(
    ("drug", "kind", "fields", "expected"),
    [
        ("warfarin", "enrolled", {"code": "Warfarin"}, ("warfarin", None, None)),
        ("warfarin", "dose", {"code": "WARFARIN", "value": 0.005, "unit": "g/day"},
            ("warfarin", 5, "mg/day")),
        ("warfarin", "dose", {"value": 45}, ("warfarin", 45, "mg/day")),
        ("warfarin", "dose", {"value": 70, "unit": "mg/week"}, ("warfarin", 10, "mg/day")),
        ("warfarin", "measurement", {"code": "INR", "value": 2.5}, ("inr", 2.5, "1")),
        ("warfarin", "measurement", {"code": "INR", "value": 1000, "unit": "1"}, ("inr", 1000, "1")),
        ("warfarin", "measurement", {"code": "inr", "value": 0, "unit": None}, ("inr", 0, "1")),
        ("warfarin", "covariate", {"code": "WEIGHT_KG", "value": 81000, "unit": "g"},
            ("weight_kg", 81, "kg")),
        ("warfarin", "covariate", {"code": "male", "value": 1, "unit": ""}, ("male", 1, "1")),
        ("warfarin", "covariate", {"code": "male", "value": 0, "unit": None}, ("male", 0, "1")),
        ("warfarin", "covariate", {"code": "male", "value": 1, "unit": "1"}, ("male", 1, "1")),
        ("warfarin", "genotype", {"code": "cyp2c9", "value": "*3/*1"}, ("CYP2C9", "*1/*3", None)),
        ("warfarin", "genotype", {"code": "VKORC1", "value": "A/G"}, ("VKORC1", "GA", None)),
        ("warfarin", "visit", {"value": 90}, (None, 90, None)),
        ("warfarin", "consent", {}, (None, "given", None)),
        ("warfarin", "adverse_event", {}, ("epistaxis", 2, None)),
        ("warfarin", "left", {}, ("moved away", None, None)),
        ("tacrolimus", "dose", {"code": "tacrolimus", "value": 0.004, "unit": "g every 12 h"},
            ("tacrolimus", 4, "mg every 12 h")),
        ("tacrolimus", "measurement", {"code": "trough", "value": 0.008, "unit": "mg/L"},
            ("trough", 8, "ng/mL")),
        ("tacrolimus", "covariate", {"code": "creatinine_umol_l", "value": 0.1, "unit": "mmol/L"},
            ("creatinine_umol_l", 100, "µmol/L")),
        ("docetaxel", "dose", {"code": "docetaxel", "value": 0.075, "unit": "g/m²"},
            ("docetaxel", 75, "mg/m²")),
        ("docetaxel", "measurement", {"code": "anc_day_8", "value": 0.6, "unit": "10⁹/L"},
            ("anc_day_8", 0.6, "10⁹/L")),
        ("phenytoin", "measurement", {"code": "level", "value": 15000, "unit": "ng/mL"},
            ("level", 15, "mg/L")),
        ("busulfan", "dose", {"code": "busulfan", "value": 100, "unit": "% of label"},
            ("busulfan", 100, "% of label")),
        ("vancomycin", "covariate", {"code": "dialysis", "value": 1, "unit": ""}, ("dialysis", 1, "1")),
    ],
)  # fmt: skip
def test_an_event_gets_the_names_and_units_of_the_scenario(
    drug: str, kind: str, fields: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    code, value, unit = meaning(of_kind(kind, **fields), drug)
    assert (code, unit) == (expected[0], expected[2])
    assert value == (pytest.approx(expected[1], rel=1e-15) if isinstance(expected[1], int) else expected[1])


@pytest.mark.parametrize(
    ("drug", "kind", "fields", "said"),
    [
        ("warfarin", "enrolled", {"code": "heparin"}, "drug 'heparin'; expected 'warfarin'"),
        ("tacrolimus", "dose", {}, "drug 'warfarin'; expected 'tacrolimus'"),
        ("warfarin", "dose", {"value": -5}, "dose -5 mg/day; expected 0 to 15 mg/day"),
        ("warfarin", "dose", {"value": 45.5}, "dose 45.5 mg/day; expected 0 to 15 mg/day (up to 3 times"),
        ("warfarin", "dose", {"value": 5, "unit": "g/day"}, "dose 5000 mg/day"),
        ("warfarin", "dose", {"unit": "mg"},
            "unit 'mg' for warfarin; expected 'mg/day' (unit 'mg' (mass) cannot"),
        ("warfarin", "dose", {"unit": ""}, "unit is missing for warfarin; expected 'mg/day'"),
        ("tacrolimus", "dose", {"code": "tacrolimus", "unit": "mg/day"}, "expected 'mg every 12 h'"),
        ("tacrolimus", "dose", {"code": "tacrolimus", "unit": "mg every 24 h"}, "expected 'mg every 12 h'"),
        ("warfarin", "measurement", {"code": "int"},
            "measurement 'int' is unknown to warfarin; did you mean 'inr'?"),
        ("tacrolimus", "measurement", {"code": "trough", "unit": None},
            "unit is missing for trough; expected 'ng/mL'"),
        ("warfarin", "measurement", {"unit": "s"}, "unit 's' for inr; expected '1'"),
        ("warfarin", "measurement", {"value": -1}, "inr = -1, where 0 to 100 is all"),
        ("warfarin", "measurement", {"value": 1001}, "inr = 1001, where 0 to 100 is all that is ever shown"),
        ("tacrolimus", "measurement", {"code": "trough", "value": 8, "unit": "mg/L"}, "trough = 8000 ng/mL"),
        ("tacrolimus", "measurement", {"code": "trough", "unit": "nmol/L"}, "convert with the molar mass"),
        ("warfarin", "covariate", {"code": "weight_kg", "value": 8, "unit": "kg"},
            "weight_kg = 8 kg; allowed 25 to 300"),
        ("warfarin", "covariate", {"code": "weight_kg", "value": 80, "unit": "lb"},
            "unit 'lb' for weight_kg; expected 'kg'"),
        ("warfarin", "covariate", {"code": "male", "value": 0.5, "unit": ""}, "male = 0.5; expected 0 or 1"),
        ("warfarin", "covariate", {"code": "male", "value": 1, "unit": "kg"},
            "unit 'kg' for male; expected '1'"),
        ("warfarin", "covariate", {"code": "cyp2c9_*2", "value": 1, "unit": ""},
            "covariate 'cyp2c9_*2' is unknown"),
        ("warfarin", "covariate", {"code": "baseline", "value": 1, "unit": ""},
            "covariate 'baseline' is unknown"),
        ("warfarin", "genotype", {"code": "CYP2D6"}, "gene 'CYP2D6' is unknown to warfarin; did"),
        ("warfarin", "genotype", {"value": "*1/*999"}, "*999"),
        ("warfarin", "genotype", {"value": "*2"}, "names one allele, and two are needed"),
        ("propofol", "genotype", {}, "gene 'CYP2C9' is unknown to propofol; known: none"),
        ("warfarin", "visit", {"value": 91}, "next visit in 91 days; follow-up of warfarin is 90 days"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(drug: str, kind: str, fields: dict[str, Any], said: str) -> None:
    assert said in no_meaning(of_kind(kind, **fields), drug)


@pytest.mark.parametrize("drug", names())
def test_every_drug_reads_its_own_measurements_covariates_genes_and_doses(drug: str) -> None:
    one: Scenario = scenario(drug)
    for item in one.measurements:
        event = of_kind("measurement", code=item.name.upper(), value=item.high, unit=item.unit)
        assert meaning(event, drug) == (item.name, item.high, item.unit)
    alleles = [
        f"{term.gene.lower()}_{allele}" for term in one.model.genotype_terms for allele in term.per_allele
    ]
    for entry in one.covariates:
        if entry.name not in alleles:
            event = of_kind("covariate", code=entry.name, value=entry.high, unit=entry.unit)
            assert meaning(event, drug) == (entry.name, entry.high, entry.unit)
            assert entry.name in no_meaning(
                of_kind("covariate", code=entry.name, value=2 * entry.high + 1, unit=entry.unit), drug
            )
    for item in one.model.covariates:
        if item.name != "baseline":
            event = of_kind("covariate", code=item.name, value=item.reference, unit=item.unit)
            assert meaning(event, drug) == (item.name, item.reference, item.unit)
    for term in one.model.genotype_terms:
        first = next(iter(term.per_allele))
        code, value, _ = meaning(of_kind("genotype", code=term.gene.lower(), value=f"{first}/{first}"), drug)
        assert code == term.gene and first in value
    dose = of_kind("dose", code=drug.upper(), value=one.doses.maximum, unit=one.doses.unit)
    assert meaning(dose, drug) == (drug, one.doses.maximum, one.doses.unit)
