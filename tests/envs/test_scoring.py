"""Scores, grids and events: edges, windows, and what is missing."""

import numpy as np
import pytest

from dosewright.envs.scenarios import AllOf, AnyOf, Band, DoseGrid, Event, Ramp, Weighted

UNITS = np.arange(4)


def row(*values: float) -> dict[str, np.ndarray]:
    return {"level": np.array([values])}


def test_a_band_counts_in_its_window_and_never_where_the_response_is_missing() -> None:
    band = Band("2 to 3", at_least=2.0, at_most=3.0, since=1, until=3)
    assert band.of(row(2.5, 2.0, 3.0, 2.5), UNITS).tolist() == [[0, 1, 1, 0]]
    assert band.of(row(2.5, np.nan, 3.0001, 2.5), UNITS).tolist() == [[0, 0, 0, 0]]
    assert band.band(0) is None and band.band(1) is band and band.band(3) is None


def test_a_target_that_changes_is_any_of_its_windows() -> None:
    early, late = Band("high", at_least=10.0, until=2), Band("low", at_most=5.0, since=2)
    target = AnyOf("high, then low", (early, late))
    assert target.of(row(11, 4, 11, 4), UNITS).tolist() == [[1, 0, 0, 1]]
    assert target.band(1) is early and target.band(2) is late


def test_all_of_needs_every_response() -> None:
    both = AllOf("both", (Band("level", above=1.0), Band("other", below=3.0, response="other")))
    responses = {**row(2, 2, 0, 2), "other": np.array([[1.0, 5.0, 1.0, np.nan]])}
    assert both.of(responses, UNITS).tolist() == [[1, 0, 0, 0]]


def test_grades_of_harm_are_a_weighted_mean() -> None:
    # models.md 19, busulfan: 1 if above 101 (0.5), 1 if above 126 (1)
    harm = Weighted("grades", ((0.5, Band("> 101", above=101.0)), (1.0, Band("> 126", above=126.0))))
    np.testing.assert_allclose(1.5 * harm.of(row(101, 102, 126, 127), UNITS), [[0, 0.5, 0.5, 1.5]])


def test_a_ramp_falls_to_nothing_at_a_share_of_its_limits() -> None:
    ramp = Ramp(Band("78 to 101", at_least=78.0, at_most=101.0), 0.25)
    values = ramp.of(row(78 * 0.75, 78 * 0.875, 90, 101 * 1.125), UNITS)
    np.testing.assert_allclose(values, [[0, 0.5, 1, 0.5]], atol=1e-12)
    assert ramp.of(row(np.nan, 101 * 1.25, 0, 1000), UNITS).tolist() == [[0, 0, 0, 0]]


def test_an_event_counts_units_or_a_share_of_those_followed() -> None:
    above = Band("> 4", above=4.0)
    responses, followed = row(5, 5, 1, 1), np.array([[True, True, True, True]])
    assert Event("ever", above).happened(responses, followed).tolist() == [True]
    assert Event("three", above, more_than=2).happened(responses, followed).tolist() == [False]
    assert Event("half", above, more_than=0.5, as_share=True).happened(responses, followed).tolist() == [
        False
    ]
    followed[0, 3] = False  # two of three
    assert Event("half", above, more_than=0.5, as_share=True).happened(responses, followed).tolist() == [True]


def test_an_event_happens_in_the_unit_that_makes_more_count_than_may() -> None:
    above = Band("> 4", above=4.0, since=1)
    responses, followed = row(5, 5, 1, 5), np.array([[True, True, True, True]])
    # unit 1, the first, does not count
    assert Event("ever", above).first(responses, followed).tolist() == [2.0]
    assert Event("two", above, more_than=1).first(responses, followed).tolist() == [4.0]
    assert np.isnan(Event("three", above, more_than=2).first(responses, followed)).all()
    # a share of four units: more than one; of three: more than 0.75, so the first that counts is enough
    quarter = Event("a quarter", above, more_than=0.25, as_share=True)
    assert quarter.first(responses, followed).tolist() == [4.0]
    followed[0, 3] = False
    assert quarter.first(responses, followed).tolist() == [2.0]
    assert np.isnan(quarter.first(responses, np.zeros((1, 4), dtype=bool))).all()


def test_an_uneven_grid_is_rounded_to_the_nearest_dose_halves_upwards() -> None:
    # models.md 19, propofol
    grid = DoseGrid("mg/kg/h", 0.5, 120.0, even_to=10.0, beyond=(20.0, 40.0, 60.0, 80.0, 100.0, 120.0))
    assert len(grid.doses) == 27
    assert grid.snap([0.24, 0.25, 9.9, 14.9, 15.0, 31.0, 110.0, 500.0]).tolist() == [
        0.0, 0.5, 10.0, 10.0, 20.0, 40.0, 120.0, 120.0,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="expected a number from 0 to 120 mg/kg/h"):
        grid.snap(-1.0)
