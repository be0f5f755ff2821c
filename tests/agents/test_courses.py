"""Courses against the engine, against long simulation, and against NONMEM's predictions."""

import csv
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.mapbayes_cases import courses_of, entries
from dosewright.agents.estimation import Courses, Graded, Happened
from dosewright.envs import PatientRecords
from dosewright.envs.pharmacology import Dose, PopulationModel, ResidualError, Route, equation_model, simulate
from dosewright.envs.pharmacology.models.theophylline_oral import MODEL as THEOPHYLLINE

# absorption by a late and a lasting way; clearance by weight
ORAL = equation_model(
    "courses_oral",
    states=("DEPOT", "CENTRAL"),
    theta={"TVCL": 4.0, "TVV": 70.0, "KA": 1.0, "TVF": 0.8, "TVLAG": 0.7, "TVD": 3.0},
    omega=[0.1, 0.1, 0.2, 0.1, 0.1],
    parameters={
        "CL": "TVCL*exp(ETA1)*(WT/70)**0.75", "V": "TVV*exp(ETA2)", "F": "TVF*(WT/70)*exp(ETA3)",
        "LAG": "TVLAG*exp(ETA4)", "D": "TVD*exp(ETA5)",
    },
    ode={"DEPOT": "-KA*DEPOT", "CENTRAL": "KA*DEPOT - CL/V*CENTRAL"},
    outputs={"C": "CENTRAL/V"},
    errors={"C": ResidualError(proportional=0.2)},
    covariates=("WT",),
    routes=(
        Route("oral", "DEPOT", fraction="F", lag="LAG"),
        Route("slow", "CENTRAL", duration="D", fraction="F"),
    ),
)  # fmt: skip
SATURABLE = equation_model(
    "courses_saturable",
    states=("CENTRAL",),
    theta={"VMAX": 12.0, "KM": 5.0, "V": 50.0},
    omega=[0.1],
    parameters={"VM": "VMAX*exp(ETA1)"},
    ode={"CENTRAL": "-VM*(CENTRAL/V)/(KM+CENTRAL/V)"},
    outputs={"C": "CENTRAL/V"},
    errors={"C": ResidualError(proportional=0.1)},
    routes=(Route("vein", "CENTRAL"),),
)
# a hazard that grows with the concentration: H = LAM · (t + AUC)
HAZARD = equation_model(
    "courses_hazard",
    states=("CENTRAL", "AUC"),
    theta={"TVCL": 4.0, "V": 20.0, "TVLAM": 0.02},
    omega=[0.1, 0.2],
    parameters={"CL": "TVCL*exp(ETA1)", "LAM": "TVLAM*exp(ETA2)"},
    ode={"CENTRAL": "-CL/V*CENTRAL", "AUC": "1 + CENTRAL/V"},
    outputs={"C": "CENTRAL/V", "H": "LAM*AUC"},
    errors={"C": ResidualError(proportional=0.2)},
    routes=(Route("vein", "CENTRAL"),),
)
EVENT = {3: Happened("H")}
ETA = np.array([0.2, -0.1, 0.3, 0.4, -0.2])


def person(time: Any, **columns: Any) -> PatientRecords:
    covariates = columns.pop("covariates", {"WT": 70.0})
    return PatientRecords.of("7", time, covariates=covariates, **columns)


def predicted(model: PopulationModel, patient: PatientRecords, eta: Any = ETA, **how: Any) -> np.ndarray:
    """Predictions (m,) of one patient with effects `eta`."""
    courses = Courses.of(model, [patient], **how)
    return courses.predict(np.asarray(eta, dtype=float)[None, None])[0, 0]


def parameters(weight: float, eta: np.ndarray = ETA) -> np.ndarray:
    return ORAL.individual(ORAL.typical({"WT": weight}, {}), eta[None])


# -------------------------------------------------------------------------------- against the engine


def test_doses_lag_and_bioavailability_are_those_of_the_engine() -> None:
    times = [0.0, 1.0, 4.0, 12.0, 20.0]
    patient = person(times, amount=[100, 0, 0, 50, 0], compartment=1, dv=[0, 1, 1, 0, 1],
                     interval=[2, 0, 0, 0, 0], additional=[2, 0, 0, 0, 0])  # fmt: skip
    doses = [(0.0, 100.0), (2.0, 100.0), (4.0, 100.0), (12.0, 50.0)]
    expected = simulate(ORAL, parameters(70.0), doses, [1.0, 4.0, 20.0], ["C"])[0, :, 0]
    assert predicted(ORAL, patient) == pytest.approx(expected, rel=1e-12)


def test_a_duration_left_to_the_model_is_its_parameter_and_a_rate_lasts_for_what_is_available() -> None:
    theta = parameters(70.0)
    duration, share = (theta[0, ORAL.column(name)] for name in ("D", "F"))
    for rate, lasts in ((-2.0, duration), (25.0, 100.0 * share / 25.0)):
        patient = person([0.0, 1.0, 6.0], amount=[100, 0, 0], rate=[rate, 0, 0], compartment=2, dv=[0, 1, 1])
        expected = simulate(ORAL, theta, [Dose(0.0, 100.0, lasts, "slow")], [1.0, 6.0], ["C"])[0, :, 0]
        assert predicted(ORAL, patient) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("carried", ["backward", "forward"])
def test_covariates_hold_for_the_interval_that_ends_at_the_record_or_that_begins_there(carried: Any) -> None:
    # two doses into CENTRAL at once: F of the record of the dose, whatever holds around it
    patient = person([0.0, 5.0, 10.0, 15.0], amount=[100, 0, 80, 0], compartment=2, dv=[0, 1, 0, 1],
                     covariates={"WT": [60.0, 70.0, 80.0, 90.0]})  # fmt: skip
    sets = np.concatenate([parameters(weight) for weight in (60.0, 70.0, 80.0, 90.0)])
    share = sets[:, ORAL.column("F")]
    weights = [1, 1, 2, 3] if carried == "backward" else [0, 0, 1, 2]
    theta, amounts = sets[weights][None], share[[0, 2]] * [100.0, 80.0]
    plain = equation_model(
        "courses_plain", states=("CENTRAL",), theta={"CL": 1.0, "V": 1.0}, omega=[0.1],
        parameters={"E": "ETA1"}, ode={"CENTRAL": "-CL/V*CENTRAL"}, outputs={"C": "CENTRAL/V"},
        errors={"C": ResidualError(additive=1.0)},
    )  # fmt: skip
    bare = np.zeros((1, 4, len(plain.parameters)))
    for name in ("CL", "V"):
        bare[..., plain.column(name)] = theta[..., ORAL.column(name)]
    expected = simulate(
        plain, bare, [(0.0, amounts[0]), (10.0, amounts[1])], [5.0, 15.0], ["C"],
        changes=[0.0, 2.5, 5.0, 10.0],
    )[0, :, 0]  # fmt: skip
    assert predicted(ORAL, patient, carried=carried) == pytest.approx(expected, rel=1e-12)


def test_a_dose_with_a_lag_takes_the_bioavailability_in_force_when_it_enters() -> None:
    late = parameters(70.0)[0, ORAL.column("LAG")]
    assert 0.5 < late < 1.5
    weights = {"WT": [50.0, 60.0, 90.0, 90.0]}
    patient = person([0.0, 0.5, 1.5, 6.0], evid=[1, 2, 2, 0], amount=[100, 0, 0, 0], compartment=1,
                     dv=[0, 0, 0, 1], covariates=weights)  # fmt: skip
    theta = parameters(90.0)
    theta[0, ORAL.column("LAG")] = late
    expected = simulate(ORAL, theta, [(0.0, 100.0)], [6.0], ["C"])[0, 0, 0]
    assert predicted(ORAL, patient)[-1] == pytest.approx(expected, rel=1e-12)


def test_occasions_move_the_parameter_by_the_records_own_occasion() -> None:
    ka, cl, v = THEOPHYLLINE.parameters
    varying = (replace(ka, occasion_variance=0.05), cl, replace(v, variance=0.0, occasion_variance=0.02))
    model = replace(THEOPHYLLINE, parameters=varying)
    patient = person([0.0, 6.0, 24.0, 30.0], amount=[100, 0, 100, 0], dv=[0, 1, 0, 1],
                     covariates={"OCC": [3, 3, 8, 8]})  # fmt: skip
    courses = Courses.of(model, [patient], occasion="OCC")
    assert courses.names == (
        "ka", "CL", "ka, occasion 1", "ka, occasion 2", "V, occasion 1", "V, occasion 2",
    )  # fmt: skip
    assert np.diag(courses.omega).tolist() == [ka.variance, cl.variance, 0.05, 0.05, 0.02, 0.02]
    theta = courses.theta([[[0.1, 0.2, 0.3, -0.4, 0.05, 0.15]]])[0, 0]
    effects = [[0.1 + 0.3, 0.2, 0.05], [0.1 - 0.4, 0.2, 0.15]]
    assert theta == pytest.approx(THEOPHYLLINE.typical({}, {}) * np.exp(effects), rel=1e-13)
    assert courses.segments[0].since.tolist() == [
        [-np.inf, 6.0]
    ]  # from the last record of the first occasion
    # without the column there is nothing to tell occasions by
    assert Courses.of(model, [patient]).names == ("ka", "CL")


# -------------------------------------------------------------------------------- resets and steady states


def test_a_reset_empties_the_system_and_cancels_what_has_yet_to_enter() -> None:
    patient = person([0.0, 10.0, 10.2, 1.0, 3.0], evid=[1, 1, 3, 4, 0], amount=[100, 500, 0, 70, 0],
                     compartment=1, dv=[0, 0, 0, 0, 1])  # fmt: skip
    expected = simulate(ORAL, parameters(70.0), [(1.0, 70.0)], [3.0], ["C"])[0, 0, 0]
    assert predicted(ORAL, patient)[-1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("columns", "eta"),
    [
        ({"compartment": 1}, ETA),  # a lag of about 1 h
        ({"compartment": 1}, ETA + [0, 0, 0, 3.0, 0]),  # of 20 h, longer than the interval
        ({"compartment": 2}, ETA),
        ({"compartment": 2, "rate": -2}, ETA),
        ({"compartment": 2, "rate": 5.0}, ETA),  # lasts 21.6 h, three at a time
    ],
)
def test_steady_state_is_where_many_doses_lead(columns: Mapping[str, Any], eta: np.ndarray) -> None:
    times = [0.0, 0.5, 3.0, 7.9, 11.0]
    rate = columns.get("rate", 0)
    steady = person(times, amount=[100, 0, 0, 0, 0], interval=[8, 0, 0, 0, 0], steady=[1, 0, 0, 0, 0],
                    additional=[1, 0, 0, 0, 0], compartment=columns["compartment"], rate=[rate, 0, 0, 0, 0],
                    dv=[0, 1, 1, 1, 1])  # fmt: skip
    # so many that what is left of the first is below rounding
    long = person([-8.0 * 100, *times[1:]], amount=[100, 0, 0, 0, 0], interval=[8, 0, 0, 0, 0],
                  additional=[101, 0, 0, 0, 0], compartment=columns["compartment"], rate=[rate, 0, 0, 0, 0],
                  dv=[0, 1, 1, 1, 1])  # fmt: skip
    assert predicted(ORAL, steady, eta) == pytest.approx(predicted(ORAL, long, eta), rel=1e-10)


def test_a_constant_infusion_at_steady_state_ends_at_its_record() -> None:
    patient = person([0.0, 0.0, 2.0], evid=[1, 0, 0], amount=0, rate=[10.0, 0, 0], steady=[1, 0, 0],
                     compartment=2, dv=[0, 1, 1])  # fmt: skip
    theta = parameters(70.0)[0]
    clearance, volume = theta[ORAL.column("CL")], theta[ORAL.column("V")]
    expected = 10.0 / clearance * np.exp([0.0, -clearance / volume * 2.0])
    assert predicted(ORAL, patient) == pytest.approx(expected, rel=1e-12)


def test_steady_states_of_two_ways_in_add_up() -> None:
    def doses(steady: list[int], ways: list[int]) -> PatientRecords:
        r = len(ways)
        return person([0.0] * r + [5.0], evid=[1] * r + [0], amount=[100.0] * r + [0],
                      interval=[12.0] * r + [0], steady=[*steady, 0], compartment=[*ways, 0],
                      dv=[math.nan] * r + [1.0])  # fmt: skip

    both = predicted(ORAL, doses([1, 2], [1, 2]))
    assert both == pytest.approx(
        predicted(ORAL, doses([1], [1])) + predicted(ORAL, doses([1], [2])), rel=1e-12
    )
    # what was there before a second one stays
    assert predicted(ORAL, doses([2], [2])) == pytest.approx(predicted(ORAL, doses([1], [2])), rel=1e-12)


def test_a_steady_state_on_top_leaves_what_is_running_and_what_is_late() -> None:
    running = {"amount": [90.0], "rate": [6.0], "compartment": [2]}  # 90·F over some 16 h
    late = {"amount": [40.0], "compartment": [1]}  # enters 1 h later
    steady = {"amount": [100.0], "interval": [12.0], "steady": [2], "compartment": [2], "rate": [5.0]}

    def course(doses: list[tuple[float, dict[str, Any]]]) -> np.ndarray:
        columns: dict[str, Any] = {
            name: [float(dose.get(name, [0])[0]) for _, dose in doses] + [0.0, 0.0]
            for name in ("amount", "interval", "rate", "steady", "compartment")
        }
        time = [start for start, _ in doses] + [5.2, 17.5]
        evid = [1] * len(doses) + [0, 0]
        return predicted(ORAL, person(time, evid=evid, dv=[math.nan] * len(doses) + [1.0, 1.0], **columns))

    apart = [course([(start, dose)]) for start, dose in ((0.0, running), (4.5, late), (5.0, steady))]
    assert course([(0.0, running), (4.5, late), (5.0, steady)]) == pytest.approx(sum(apart), rel=1e-12)


def test_saturable_elimination_has_the_steady_state_that_many_doses_lead_to() -> None:
    steady = person([0.0, 1.0, 20.0], amount=[100, 0, 0], interval=[24, 0, 0], steady=[1, 0, 0],
                    rate=[50, 0, 0], dv=[0, 1, 1])  # fmt: skip
    long = person([-24.0 * 200, 1.0, 20.0], amount=[100, 0, 0], interval=[24, 0, 0], additional=[200, 0, 0],
                  rate=[50, 0, 0], dv=[0, 1, 1])  # fmt: skip
    assert predicted(SATURABLE, steady, [0.1]) == pytest.approx(predicted(SATURABLE, long, [0.1]), rel=1e-7)
    superposed = person([0.0, 1.0], amount=[100, 0], interval=[24, 0], steady=[2, 0], dv=[0, 1])
    with pytest.raises(ValueError, match="ss 2.*linear"):
        predicted(SATURABLE, superposed, [0.1])


# -------------------------------------------------------------------------------- from there on


def test_simulating_on_is_predicting_a_longer_history() -> None:
    history: dict[str, Any] = {"amount": [100, 0, 100, 0], "dv": [0, 1, 0, 1], "compartment": 1}
    time, weight = [0.0, 3.0, 12.0, 12.5], [60.0, 62.0, 64.0, 66.0]
    short = Courses.of(ORAL, [person(time, covariates={"WT": weight}, **history)])
    # at 12.5 h the second dose has yet to enter
    on = short.simulate(ETA[None, None], [Dose(14.0, 60.0, 2.0, "slow")], [14.0, 15.0, 30.0], ["C"])[
        0, 0, :, 0
    ]
    longer = person(
        [*time, 14.0, 14.0, 15.0, 30.0], covariates={"WT": [*weight, 66.0, 66.0, 66.0, 66.0]},
        evid=[1, 0, 1, 0, 0, 1, 0, 0], amount=[100, 0, 100, 0, 0, 60, 0, 0], dv=[0, 1, 0, 1, 1, 0, 1, 1],
        compartment=[1, 1, 1, 1, 1, 2, 1, 1],
        rate=[0, 0, 0, 0, 0, 30.0 * parameters(66.0)[0, ORAL.column("F")], 0, 0],
    )  # fmt: skip
    assert on == pytest.approx(predicted(ORAL, longer)[2:], rel=1e-12)


def test_without_history_the_system_is_empty_and_the_last_covariates_hold() -> None:
    patients = [
        person([0.0, 3.0], amount=[100, 0], dv=[0, 1], covariates={"WT": [60.0, weight]})
        for weight in (80.0, 95.0)
    ]
    courses = Courses.of(ORAL, patients)
    eta = np.stack([ETA, 0.5 * ETA])[None].repeat(2, axis=0)
    found = courses.simulate(eta, [(0.0, 50.0)], [2.0, 9.0], ["C", "AUC_C"], history=False)
    for i, weight in enumerate((80.0, 95.0)):
        for k, factor in enumerate((1.0, 0.5)):
            theta = parameters(weight, factor * ETA)
            expected = simulate(ORAL, theta, [(0.0, 50.0)], [2.0, 9.0], ["C", "AUC_C"])[0]
            assert found[i, k] == pytest.approx(expected, rel=1e-12)


def test_a_patient_is_the_same_alone_and_in_company() -> None:
    patients = [
        person([0.0, 3.0], amount=[100, 0], dv=[0, 1], covariates={"WT": [60.0, 61.0]}),
        person(
            [0.0, 1.0, 2.0, 30.0, 31.0], evid=[1, 0, 0, 4, 0], amount=[100, 0, 0, 80, 0], dv=[0, 1, 1, 0, 1]
        ),
        person([0.0, 5.0], amount=[100, 0], interval=[12, 0], steady=[1, 0], compartment=2, dv=[0, 1]),
    ]
    courses = Courses.of(ORAL, patients)
    eta = np.random.default_rng(3).normal(0, 0.3, (3, 4, 5))
    together = courses.predict(eta)
    assert courses.sampled.sum(axis=1).tolist() == [1, 3, 1]
    for i in range(3):
        alone = Courses.of(ORAL, [patients[i]]).predict(eta[[i]])
        assert (alone[0] == together[i, :, : alone.shape[2]]).all()
    assert (courses.select([2, 0]).predict(eta[[2, 0]]) == together[[2, 0]]).all()


def test_an_impossible_course_is_missing_and_leaves_the_others() -> None:
    courses = Courses.of(ORAL, [person([0.0, 3.0], amount=[100, 0], dv=[0, 1])])
    eta = np.zeros((1, 3, 5))
    eta[0, 1, 0] = 800.0  # a clearance beyond any number
    found = courses.predict(eta)[0, :, 0]
    assert np.isnan(found[1])
    assert found[[0, 2]] == pytest.approx(
        simulate(ORAL, parameters(70.0, np.zeros(5)), [(0.0, 100.0)], [3.0], ["C"])[0, 0, 0]
    )


# -------------------------------------------------------------------------------- what is not accepted


def test_measurements_below_the_limit_are_intervals() -> None:
    patient = person([0.0, 1.0, 2.0, 3.0], amount=[100, 0, 0, 0], dv=[0, 1.5, math.nan, 7.0],
                     limit=[math.nan, math.nan, 0.2, math.nan], mdv=[1, 0, 0, 1])  # fmt: skip
    courses = Courses.of(ORAL, [patient])
    assert courses.low[0, :2].tolist() == [1.5, -math.inf]
    assert courses.high[0, :2].tolist() == [1.5, 0.2]
    assert courses.observed[0].tolist() == [True, True, False]
    assert not courses.below_limit[0]


def test_grades_are_the_intervals_of_their_scale() -> None:
    """CTCAE v5.0, neutrophil count decreased: < LLN-1500, < 1500-1000, < 1000-500, < 500 /mm3."""
    scale = Graded("ANC", (2.0, 1.5, 1.0, 0.5))
    expected = [(2.0, math.inf), (1.5, 2.0), (1.0, 1.5), (0.5, 1.0), (-math.inf, 0.5)]
    assert [scale.interval(grade) for grade in range(5)] == expected
    rising = Graded("CREA", [1.5, 3.0])
    assert [rising.interval(grade) for grade in range(3)] == [
        (-math.inf, 1.5), (1.5, 3.0), (3.0, math.inf),
    ]  # fmt: skip
    assert Graded("ANC", [0.5], descending=True).interval(1) == (-math.inf, 0.5)
    assert Graded("CREA", [1.5], descending=False).interval(1) == (1.5, math.inf)
    for limits, descending, what in (
        ((), None, "limits = ().*one number or more"),
        ((1.0, math.inf), None, "all finite"),
        ((1.0, 2.0, 2.0), None, "rise or to fall"),
        ((1.0, 3.0, 2.0), None, "rise or to fall"),
        ((0.5,), None, "with one limit say `descending`"),
        ((1.0, 2.0), True, "descending = True"),
    ):
        with pytest.raises(ValueError, match=f"'ANC'.*{what}"):
            Graded("ANC", limits, descending)


def test_a_dvid_tells_values_grades_and_events_apart() -> None:
    patient = PatientRecords.of(
        "7", [0.0, 2.0, 2.0, 4.0, 6.0, 8.0], amount=[100, 0, 0, 0, 0, 0], dvid=[0, 1, 2, 3, 1, 3],
        dv=[0, 1.5, 2, 0, math.nan, 1], limit=[math.nan] * 4 + [0.2, math.nan],
    )  # fmt: skip
    courses = Courses.of(
        HAZARD, [patient], outputs={1: "C"}, grades={2: Graded("C", (2.0, 1.0))}, events=EVENT
    )
    # the hazard at the start comes before the first event
    assert courses.sample_time[0].tolist() == [2.0, 2.0, 0.0, 4.0, 6.0, 8.0]
    assert courses.sample_output[0].tolist() == [0, 0, 1, 1, 0, 1]
    assert courses.observed[0].tolist() == [True, True, False, True, True, True]
    assert courses.since[0].tolist() == [-1, -1, -1, 2, -1, 3]
    assert courses.event[0].tolist() == [False, False, False, True, False, True]
    assert courses.low[0].tolist() == [1.5, -math.inf, 0.0, 0.0, -math.inf, 1.0]
    assert courses.high[0].tolist() == [1.5, 1.0, 0.0, 1.0, 0.2, math.inf]
    assert courses.censored[0].tolist() == [False, False, False, False, True, False]
    # a compartment tells as much where there is no DVID, and one output with an error needs no name
    bare = PatientRecords.of("7", [0.0, 4.0, 5.0], amount=[100, 0, 0], compartment=[1, 3, 1], dv=[0, 1, 2.5])
    courses = Courses.of(HAZARD, [bare], events=EVENT)
    assert courses.event[0].tolist() == [False, True, False]
    assert courses.low[0].tolist() == courses.high[0].tolist()[:1] + [1.0, 2.5]


def test_a_patient_with_nothing_but_a_grade_or_an_event_is_not_below_the_limit() -> None:
    def of(dvid: int, dv: float, **columns: Any) -> PatientRecords:
        return PatientRecords.of("7", [0.0, 9.0], amount=[100, 0], dvid=[0, dvid], dv=[0, dv], **columns)

    patients = [of(2, 2), of(3, 0), of(1, math.nan, limit=[math.nan, 0.5])]
    grades = {2: Graded("C", (2.0, 0.5))}
    courses = Courses.of(HAZARD, patients, outputs={1: "C"}, grades=grades, events=EVENT)
    assert courses.low[0, 0] == courses.low[2, 0] == -math.inf
    assert courses.below_limit.tolist() == [False, False, True]
    assert courses.select([2, 0]).below_limit.tolist() == [True, False]


def hazard(start: float, end: float, dose: float = 100.0, eta: Any = (0.3, -0.2)) -> float:
    """∫ of LAM · (1 + C) from start to end, a dose at 0."""
    clearance, volume, rate = 4.0 * math.exp(eta[0]), 20.0, 0.02 * math.exp(eta[1])
    k = clearance / volume
    area = dose / clearance * (math.exp(-k * start) - math.exp(-k * end))
    return rate * (end - start + area)


def test_an_event_is_predicted_by_the_hazard_since_its_last_record() -> None:
    def predict(time: list[float], **columns: Any) -> np.ndarray:
        patient = PatientRecords.of("7", time, **columns)
        courses = Courses.of(HAZARD, [patient], events={3: Happened("H"), 4: Happened("H")})
        eta = np.array([[[0.0, 0.0], [0.3, -0.2]]])
        return courses.predict(eta)[0, 1][courses.event[0]]

    # an observation set aside asks again, a record that is none (EVID 2) does not, and numbers are apart
    found = predict([0.0, 3.0, 5.0, 6.0, 9.0, 14.0], amount=[100, 0, 0, 0, 0, 0], evid=[1, 0, 0, 2, 0, 0],
                    dvid=[0, 3, 4, 3, 3, 3], dv=[0, 0, 1, math.nan, math.nan, 1])  # fmt: skip
    expected = [hazard(0, 3), hazard(0, 5), hazard(3, 6), hazard(3, 9), hazard(9, 14)]
    assert found == pytest.approx(expected, rel=1e-11)
    # a clock that begins anew, and before it a reset at the time of the last record
    found = predict([0.0, 4.0, 4.0, 7.0, 0.0, 2.0], amount=[100, 0, 50, 0, 80, 0], evid=[1, 0, 4, 0, 4, 0],
                    dvid=[0, 3, 0, 3, 0, 3], dv=[0, 0, 0, 1, 0, 0])  # fmt: skip
    expected = [hazard(0, 4), hazard(0, 3, 50.0), hazard(0, 2, 80.0)]
    assert found == pytest.approx(expected, rel=1e-11)


def test_at_steady_state_hazards_add_up_from_its_record_on() -> None:
    """Over an interval the area is dose·F/CL, of further doses on top (SS 2) as well, which reset nothing."""
    steady: dict[str, Any] = {"interval": [8, 0, 8, 0], "steady": [1, 0, 2, 0], "evid": [1, 2, 1, 0]}
    patient = person(
        [5.0, 5.0, 5.0, 13.0], amount=[100, 0, 40, 0], dvid=[0, 0, 0, 3], dv=[0, 0, 0, 1], **steady
    )
    courses = Courses.of(ORAL, [patient], outputs={1: "C"}, events={3: Happened("AUC_C")})
    theta = parameters(70.0)[0]
    area = 140.0 * theta[ORAL.column("F")] / theta[ORAL.column("CL")]
    assert courses.predict(ETA[None, None])[0, 0][courses.event[0]] == pytest.approx([area], rel=1e-11)


def test_grades_and_events_that_cannot_be_are_refused() -> None:
    grades = {2: Graded("C", (2.0, 1.0))}

    def build(
        time: Any = (0.0, 4.0),
        model: PopulationModel = HAZARD,
        how: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> Courses:
        more = len(time) - len(columns.get("amount", [100, 0]))
        given: dict[str, Any] = {"amount": [100, 0] + [0] * more, "line": range(11, 11 + len(time))}
        patient = PatientRecords.of("7", time, **given | columns)
        chosen: dict[str, Any] = {"outputs": {1: "C"}, "grades": grades, "events": EVENT}
        return Courses.of(model, [patient], **chosen | dict(how or {}))

    at = "line 12, patient '7': "
    for value in (3.0, 1.5):
        with pytest.raises(
            ValueError, match=f"{at}DV = {value:g} with DVID = 2, a grade of 'C'.*from 0 to 2"
        ):
            build(dvid=[0, 2], dv=[0, value])
    with pytest.raises(ValueError, match=f"{at}DV = 2 with CMT = 3, an event of 'H'; expected 1.*else 0"):
        build(compartment=[1, 3], dv=[0, 2.0])
    for number in (2, 3):
        with pytest.raises(ValueError, match=f"{at}LLOQ = 0.4 with DVID = {number}.*leave it empty"):
            build(dvid=[0, number], dv=math.nan, limit=[math.nan, 0.4])
    with pytest.raises(ValueError, match=f"{at}.*DVID = 9.*1: C, 2: C .grade., 3: H .event."):
        build(dvid=[0, 9], dv=[0, 1.0])
    with pytest.raises(ValueError, match="`events`, DVID or compartment 3: unknown output.*'HAZ'.*C, H"):
        build(how={"events": {3: Happened("HAZ")}})
    with pytest.raises(ValueError, match="`grades`, DVID or compartment 2: unknown output.*'ANC'"):
        build(how={"grades": {2: Graded("ANC", (2.0, 1.0))}})
    with pytest.raises(ValueError, match="2 stands in `grades` and in `events`"):
        build(how={"events": {2: Happened("H")}})
    # before any time has passed: since the start, the last record of it, a reset
    with pytest.raises(ValueError, match=f"{at}.*event 3 happened since 0, before any time has passed"):
        build([0.0, 0.0], dvid=[0, 3], dv=[0, 0])
    with pytest.raises(ValueError, match="line 13.*event 3 happened since 4, before any time has passed"):
        build([0.0, 4.0, 4.0], dvid=[0, 3, 3], dv=[0, 0, 1])
    assert build([0.0, 4.0, 4.0], dvid=[0, 3, 3], dv=[0, 0, 1], mdv=[1, 0, 1]).event.sum() == 2
    # the first hours of the hazard would be left out
    reset: dict[str, Any] = {"amount": [100, 50, 0], "evid": [1, 4, 0], "dvid": [0, 0, 3], "dv": [0, 0, 1]}
    with pytest.raises(ValueError, match="line 13.*since 0, but a reset.*at 3 cuts off.*before the reset"):
        build([0.0, 3.0, 5.0], **reset)
    # what is no cumulative hazard
    with pytest.raises(ValueError, match="line 13.*'C', said to be a cumulative hazard, falls to .* at 1;"):
        build([0.0, 1.0, 4.0], how={"events": {3: Happened("C")}}, dvid=[0, 3, 3], dv=[0, 0, 0])


def test_records_that_the_model_has_no_place_for_are_refused() -> None:
    def build(model: PopulationModel = ORAL, columns: Mapping[str, Any] | None = None, **how: Any) -> Courses:
        given: dict[str, Any] = {"amount": [100, 0], "dv": [0, 1], "line": [11, 12]}
        return Courses.of(model, [person([0.0, 1.0], **given | dict(columns or {}))], **how)

    with pytest.raises(ValueError, match="line 11, patient '7'.*compartment 3.*1: oral, 2: slow"):
        build(columns={"compartment": [3, 1]})
    with pytest.raises(ValueError, match="line 11.*RATE = -2.*'oral'.*no duration"):
        build(columns={"rate": [-2, 0], "compartment": 1})
    with pytest.raises(ValueError, match="line 12.*CMT = 4.*2: C"):
        build(columns={"compartment": [1, 4]}, outputs={2: "C"})
    with pytest.raises(ValueError, match="asks for 'WT'.*columns: BW"):
        build(columns={"covariates": {"BW": 70.0}})
    assert build(columns={"covariates": {"BW": 70.0}}, covariates={"WT": "BW"}).typical.shape[1] == 1
    with pytest.raises(ValueError, match="no covariate 'WEIGHT'; it has: WT"):
        build(covariates={"WEIGHT": "WT"})
    with pytest.raises(ValueError, match="unknown output.*'D'"):
        build(outputs={2: "D"})
    with pytest.raises(ValueError, match="unknown route 'vein'"):
        build(compartments={2: "vein"})
    with pytest.raises(ValueError, match="carried = 'sideways'"):
        build(carried="sideways")
    with pytest.raises(ValueError, match="no patient"):
        Courses.of(ORAL, [])


def test_effects_doses_and_times_that_do_not_fit_are_refused() -> None:
    courses = Courses.of(ORAL, [person([2.0, 3.0], amount=[100, 0], dv=[0, 1])])
    with pytest.raises(ValueError, match=r"shape \(1, 5\).*ETA1"):
        courses.predict(np.zeros((1, 5)))
    with pytest.raises(ValueError, match="patient '7'.*before the start at 2"):
        courses.simulate(np.zeros((1, 1, 5)), [(1.0, 50.0)], [5.0])
    with pytest.raises(ValueError, match="time to read of 1"):
        courses.simulate(np.zeros((1, 1, 5)), [(3.0, 50.0)], [1.0])
    with pytest.raises(ValueError, match="unknown route 'vein'; known: oral, slow"):
        courses.simulate(np.zeros((1, 1, 5)), [Dose(3.0, 50.0, 0.0, "vein")], [5.0])
    with pytest.raises(ValueError, match="2 schedules for 1 patients"):
        courses.simulate(np.zeros((1, 1, 5)), [[Dose(3.0, 50.0)], [Dose(3.0, 50.0)]], [5.0])


# -------------------------------------------------------------------------------- against NONMEM


@pytest.mark.parametrize("model_id", ["003", "006", "301", "921", "951"])
def test_predictions_are_nonmems(shared: Path, model_id: str) -> None:
    """Lag; parallel zero-order input; covariates; lagged doses with changing bioavailability; resets."""
    folder = shared / "reference" / "mapbayes"
    courses = courses_of(entries(folder / "models.json")[model_id], folder)
    eta = np.zeros((len(courses), 2, len(courses.names)))
    place = {name: i for i, name in enumerate(courses.ids)}
    for row in csv.DictReader((folder / "expected_map.csv").open()):
        if row["model"] == model_id:
            eta[place[row["id"]], 1] = [float(row[f"eta{j + 1}"]) for j in range(eta.shape[2])]
    found, compared = courses.predict(eta), 0
    for row in csv.DictReader((folder / "expected_predictions.csv").open()):
        if row["model"] != model_id:
            continue
        i = place[row["id"]]
        j = int(np.flatnonzero(courses.observed[i] & (courses.sample_time[i] == float(row["time"])))[0])
        assert found[i, :, j] == pytest.approx([float(row["pred"]), float(row["ipred"])], rel=1e-6)
        compared += 1
    assert compared == courses.observed.sum()


def test_models_written_by_hand_take_the_compartments_of_their_states() -> None:
    patient = PatientRecords.of(
        "1", [0.0, 1.0, 9.0], amount=[320, 0, 0], compartment=[1, 2, 2], dv=[0, 6.0, 4.0]
    )
    eta = np.array([0.3, -0.1, 0.05])
    ka, cl, v = THEOPHYLLINE.typical({}, {})[0] * np.exp(eta)
    k, t = cl / v, np.array([1.0, 9.0])
    closed = 320 * ka / (v * (ka - k)) * (np.exp(-k * t) - np.exp(-ka * t))  # Bateman
    assert predicted(THEOPHYLLINE, patient, eta) == pytest.approx(closed, rel=1e-12)
