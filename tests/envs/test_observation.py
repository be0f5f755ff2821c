"""What is seen: encoding and decoding lose nothing, and missing stays missing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosewright.envs import Scenario, scenario
from dosewright.envs.observation import Entry, ObservationSpec

SPEC = scenario("warfarin").observation
SMALL = ObservationSpec((Entry("day", "d", 0, 90), Entry("inr", "1", 0, 100, 1.0, "newest result")))


@st.composite
def clinical(draw: st.DrawFn) -> dict[str, list[float]]:
    """Values of three patients within their ranges, exact in single precision, NaN where missing."""

    def value(entry: Entry) -> st.SearchStrategy[float]:
        known = st.floats(entry.low, entry.high, width=32)
        return known if entry.neutral is None else st.one_of(known, st.just(float("nan")))

    return {entry.name: draw(st.lists(value(entry), min_size=3, max_size=3)) for entry in SPEC.entries}


@given(clinical())
def test_decoding_gives_back_what_was_encoded(values: dict[str, list[float]]) -> None:
    vector = SPEC.encode(values)
    assert vector.dtype == np.float32 and np.isfinite(vector).all()
    assert np.all((vector >= SPEC.low) & (vector <= SPEC.high))
    decoded = SPEC.decode(vector)
    assert set(decoded) == set(values)
    for name, value in values.items():
        np.testing.assert_array_equal(decoded[name], value)


@given(clinical())
def test_missing_stands_as_the_neutral_value_with_a_zero_behind_it(values: dict[str, list[float]]) -> None:
    vector = SPEC.encode(values)
    for entry in SPEC.entries:
        if entry.neutral is not None:
            at = SPEC.names.index(entry.name)
            missing = np.isnan(values[entry.name])
            assert SPEC.names[at + 1] == f"{entry.name}_known"
            np.testing.assert_array_equal(vector[:, at + 1], ~missing)
            assert np.all(vector[missing, at] == np.float32(entry.neutral))


def test_a_known_neutral_value_is_not_a_missing_one() -> None:
    decoded = SMALL.decode(SMALL.encode({"day": [3.0, 3.0], "inr": [1.0, np.nan]}))["inr"]
    assert decoded[0] == 1.0 and np.isnan(decoded[1])


def test_every_column_has_a_name_a_unit_and_bounds(warfarin: Scenario) -> None:
    spec = warfarin.observation
    width = sum(1 if entry.neutral is None else 2 for entry in spec.entries)
    assert len(spec.names) == len(set(spec.names)) == len(spec.units) == width
    assert spec.low.shape == spec.high.shape == (width,)
    assert np.all(spec.low < spec.high)
    assert SMALL.names == ("day", "inr", "inr_known") and SMALL.units == ("d", "1", "1")
    assert SMALL.high.tolist() == [90, 100, 1]


def test_one_observation_is_read_like_a_row_of_many() -> None:
    vector = SMALL.encode({"day": [3.0, 5.0], "inr": [2.5, np.nan]})
    assert SMALL.read(vector[0], "inr") == 2.5 and np.isnan(SMALL.read(vector[1], "inr"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"day": [0.0, np.nan], "inr": [1.0, 1.0]}, "patient 1: day is missing; it has no 'unknown' form"),
        ({"day": [0.0, 1.0], "inr": [1.0, 101.0]}, "patient 1: inr = 101 1; allowed 0 to 100"),
        ({"day": [-1.0, 1.0], "inr": [1.0, 1.0]}, "patient 0: day = -1 d; allowed 0 to 90"),
        ({"day": [np.inf], "inr": [1.0]}, "patient 0: day = inf d"),
        ({"day": [0.0]}, "entries that do not match: inr"),
        ({"day": [0.0], "inr": [1.0], "weight": [70.0]}, "entries that do not match: weight"),
    ],
)
def test_what_cannot_be_encoded_is_refused(values: dict[str, list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SMALL.encode(values)


def test_unknown_entry_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown observation entry 'INR'; known: day, inr"):
        SMALL.read(SMALL.encode({"day": [0.0], "inr": [1.0]}), "INR")


def test_refused_value_changes_nothing() -> None:
    vector = SMALL.encode({"day": [1.0], "inr": [2.0]})
    before = vector.copy()
    with pytest.raises(ValueError, match="allowed"):
        SMALL.write(vector, "inr", [200.0])
    assert np.array_equal(vector, before)


def test_entries_of_the_scenario_end_with_the_course_of_treatment(warfarin: Scenario) -> None:
    renamed = replace(warfarin, measurements=(replace(warfarin.measurement, name="cs"),)).observation.names
    assert [name for name in renamed if "cs" in name.split("_")] == [
        "cs", "cs_known", "cs_age", "cs_age_known", "cs_new",
        "late_cs", "late_cs_known", "late_cs_age", "late_cs_age_known",
    ]  # fmt: skip
