"""The benchmarks time what they say: the same work, as exact, for every drug. No clock is asserted."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import drugs as bench
from benchmarks.memory import DAYS, memory, parameters, summarise
from benchmarks.speed import speed
from dosewright.envs import Treatment, names, scenario
from dosewright.envs.pharmacology import outputs_now, simulate
from dosewright.envs.pharmacology.models import warfarin_hamberg2010 as warfarin


def lines(command, *arguments: str) -> list[str]:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_every_drug_is_in_the_table_of_models() -> None:
    printed = lines(
        bench.drugs, "--patients", "2", "--repeats", "1", "--units", "2", "--without-diffrax"
    )  # fmt: skip
    assert printed[0].startswith("load ")
    rows = [line for line in printed if line.split()[0] in names()]
    assert [row.split()[0] for row in rows] == list(names())
    for row in rows:
        assert "solve_ivp" in row and "odeint" in row
        # tolerance and error of both stand in brackets after their rate
        errors = [float(part.split(")")[0].split(", ")[-1]) for part in row.split("(")[1:]]
        assert len(errors) == 2 and max(errors) <= bench.WITHIN, row


def test_every_drug_is_in_the_table_of_environments() -> None:
    printed = lines(bench.drugs, "environments", "--lanes", "2", "--repeats", "1", "--steps", "2")
    assert printed[0].startswith("load ")
    rows = [tuple(line.split()[:3:2]) for line in printed[2:]]
    assert rows == [(drug, realism) for drug in names() for realism in ("textbook", "clinic")]


def test_an_unknown_drug_is_refused() -> None:
    done = CliRunner().invoke(bench.drugs, ["--only", "digoxin"])
    assert done.exit_code == 2 and "unknown drug 'digoxin'" in done.output


def test_the_whole_table_of_warfarin_comes_out() -> None:
    printed = lines(speed, "--patients", "2", "--lanes", "2", "--repeats", "1")
    assert sum(line.startswith("  ratio ") for line in printed) == 3


@pytest.mark.parametrize("drug", [drug for drug in names() if scenario(drug).delay is None])
def test_the_work_is_what_the_environment_gives(drug: str) -> None:
    work, (_, intake) = bench.Work.of(drug, 3), bench.draw(scenario(drug), 3)
    doses, treatment = bench.usual_doses(work.scenario), Treatment(work.scenario, intake)
    while treatment.active.any():
        treatment.give(doses[treatment.day[0]])
    now = outputs_now(work.model, treatment.state, treatment.theta, np.arange(len(work.model.outputs)))
    assert doses[-1] > 0
    np.testing.assert_allclose(work.ours()[:, -1], now, rtol=1e-6, atol=1e-9)


def test_the_derivative_of_all_states_is_the_models_own() -> None:
    theta = warfarin.typical({"age_y": 60, "baseline": 1.1}, {"cl_s_l_h": 0.3, "ec50_mg_l": 3.0})[0]
    state = np.array([1.0, 4.0, 0.9, 0.85, 0.8, 0.95, 0.9, 0.87])
    rhs = warfarin.MODEL.rhs
    assert rhs is not None
    got = bench.derivative(warfarin.MODEL)(0.0, state, theta, np.zeros((0, 0)), np.zeros(8))
    np.testing.assert_allclose(got, rhs(0.0, state, theta), rtol=1e-14)


# lag and two doses a day; breaks; infusion and premedication of a chain of cells; load, lag and saturation
@pytest.mark.parametrize("drug", ["tacrolimus", "busulfan", "docetaxel", "voriconazole", "warfarin"])
@pytest.mark.parametrize("way", [bench.by_solve_ivp, bench.by_odeint])
@pytest.mark.parametrize("every_reading", [False, True])
def test_another_solver_on_the_same_work_comes_to_the_same(drug: str, way, every_reading: bool) -> None:
    work = bench.Work.of(drug, 2, 3)
    ours, f = work.ours(), bench.derivative(work.model)
    for i in range(2):
        begin, pieces = work.model.initial(work.theta[[i], 0])[0], work.pieces(i, every_reading)
        size = bench.scale_of(work, f, begin, pieces)
        read, _ = bench.lsoda(f, begin, pieces, work.units, 1e-11, 1e-11 * size.states, way)
        got = work.outputs(read, np.repeat(work.theta[i, :1], work.units, axis=0))
        assert (np.abs(got - ours[i]).max(axis=0) / size.outputs).max() < 1e-6


def test_the_work_is_what_a_person_would_write() -> None:
    work = bench.Work.of("tacrolimus", 2, 2)
    doses = bench.usual_doses(work.scenario)
    schedule = [(12.0 * k, doses[k // 2]) for k in range(4)]
    written = simulate(work.model, work.theta, schedule, [24.0, 48.0])
    np.testing.assert_allclose(work.ours(), written, rtol=1e-12)


@pytest.mark.parametrize("drug", ["tacrolimus", "docetaxel", "warfarin"])
def test_diffrax_on_the_same_work_comes_to_the_same(drug: str) -> None:
    pytest.importorskip("diffrax")
    work = bench.Work.of(drug, 2, 2)
    rival = bench.diffrax(work, work.ours(), 1)
    assert isinstance(rival, bench.Rival) and rival.error <= bench.WITHIN


def test_a_streamed_summary_is_that_of_the_whole() -> None:
    streamed = summarise(50, drawn=16)
    theta = np.concatenate(list(parameters(50)))
    doses, times = [(24.0 * day, 5.0) for day in range(DAYS)], 24.0 * np.arange(1, DAYS + 1)
    whole = simulate(warfarin.MODEL, theta, doses, times)
    assert streamed.count == 50
    np.testing.assert_allclose(streamed.mean, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(streamed.sd, whole.std(axis=0), rtol=1e-6, atol=1e-9)


def test_memory_is_said_beside_what_would_be_needed() -> None:
    printed = lines(memory, "--patients", "40")
    assert printed[0].startswith("load ") and "INR on day 90: mean " in printed[2]
    assert "GiB unstreamed" in printed[3]
