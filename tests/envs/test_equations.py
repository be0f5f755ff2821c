"""Models written as equations, against closed forms, models from files, and published ones."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dosewright.envs import pharmacology
from dosewright.envs.pharmacology import (
    Covariate,
    Dose,
    Driven,
    Linear,
    PopulationModel,
    ResidualError,
    Route,
    equation_model,
    simulate,
    steady_state,
)
from dosewright.envs.pharmacology.from_toml import read_model
from dosewright.envs.pharmacology.models import phenytoin_grasela1983, voriconazole_friberg2012

ROOT = Path(__file__).resolve().parents[2]

ORAL: dict[str, Any] = {
    "states": ("DEPOT", "CENTRAL"),
    "theta": {"TVCL": 4.0, "TVV": 70.0, "TVKA": 1.0},
    "omega": [0.2, 0.2, 0.2],
    "parameters": {"CL": "TVCL*exp(ETA1)", "V": "TVV*exp(ETA2)", "KA": "TVKA*exp(ETA3)"},
    "ode": {"DEPOT": "-KA*DEPOT", "CENTRAL": "KA*DEPOT-CL/V*CENTRAL"},
    "outputs": {"C": "CENTRAL/V"},
    "errors": {"C": ResidualError(proportional=0.2)},
}
KINETICS = {
    "oral": {},
    "saturable": {"ode": {"DEPOT": "-KA*DEPOT", "CENTRAL": "KA*DEPOT-CL*CENTRAL/(1+CENTRAL/V)"}},
    "timed": {"ode": {"DEPOT": "-KA*DEPOT", "CENTRAL": "KA*DEPOT-CL/V*exp(-0.01*t)*CENTRAL"}},
    "squared": {"outputs": {"C": "CENTRAL/V", "E": "(CENTRAL/V)**2"}},
    "fed": {"ode": {"DEPOT": "-KA*DEPOT", "CENTRAL": "5+KA*DEPOT-CL/V*CENTRAL"}},
    "bracketed": {"ode": {"DEPOT": "-(KA*(DEPOT))", "CENTRAL": "+CL*((KA*DEPOT/CL-CENTRAL/V))"}},
}


def oral(name: str = "equations_oral", **changes: Any) -> PopulationModel:
    return equation_model(name, **(ORAL | changes))


def bateman(t: np.ndarray, dose: float, cl: float, v: float, ka: float) -> np.ndarray:
    """Concentration of one compartment with first-order absorption (Rowland and Tozer, appendix)."""
    k, after = cl / v, np.maximum(t, 0.0)
    return dose * ka / (v * (ka - k)) * (np.exp(-k * after) - np.exp(-ka * after))


def test_closed_form_with_random_effects_lag_bioavailability_and_area() -> None:
    model = oral(
        "equations_lag",
        theta=ORAL["theta"] | {"TVLAG": 0.7, "F": 0.6},
        parameters=ORAL["parameters"] | {"LAG": "TVLAG*exp(ETA1/2)"},
        routes=(Route("oral", "DEPOT", fraction="F", lag="LAG"),),
    )
    eta, times = np.array([[0.3, -0.2, 0.5]]), np.array([0.5, 0.9, 2.0, 9.0, 400.0])
    theta = model.individual(model.typical({}, {}), eta)
    cl, v, ka = np.array([4.0, 70.0, 1.0]) * np.exp(eta[0])
    got = simulate(model, theta, [(0.0, 100.0)], times)[0]
    expected = bateman(times - 0.7 * np.exp(0.15), 60.0, cl, v, ka)
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-12, atol=1e-15)
    assert [item.name for item in model.outputs] == ["C", "AUC_C"]
    assert got[-1, 1] == pytest.approx((60.0 - v * got[-1, 0]) / cl, rel=1e-9)  # mass that has left, over CL


def test_same_numbers_as_the_same_model_from_a_file() -> None:
    file = read_model(ROOT / "docs" / "examples" / "two_compartment.toml")
    person = file.typical({"weight_kg": 82.0, "crcl_ml_min": 55.0}, {"cyp2c19_on_cl": 0.6})
    values = dict(zip((item.name for item in file.parameters), person[0].tolist(), strict=True))
    model = equation_model(
        "equations_two",
        states=("A0", "A1", "A2"),
        theta=values,
        omega=(),
        parameters={"S": "1000*F"},
        ode={
            "A0": "-ka*A0",
            "A1": "ka*A0-(CL+Q2)/V1*A1+Q2/V2*A2",
            "A2": "Q2/V1*A1-Q2/V2*A2",
        },
        outputs={"C": "A1/V1"},
        errors={},
        routes=(Route("depot", "A0", "S", "tlag" if "tlag" in values else None),),
    )
    doses = [Dose(0.0, 100.0), Dose(12.0, 50.0, 2.0)]
    times = [0.5, 3.0, 12.0, 13.0, 40.0]
    np.testing.assert_allclose(
        simulate(model, model.typical({}, {}), doses, times, ["C", "AUC_C"]),
        simulate(file, person, doses, times, ["C", "AUC"]),
        rtol=1e-12,
    )


def test_saturable_elimination_as_the_published_model() -> None:
    published = phenytoin_grasela1983.MODEL
    model = equation_model(
        "equations_phenytoin",
        states=("A0", "A1"),
        theta={"TVVMAX": 415 / 24, "TVKM": 5.7, "ka": 1.5},
        omega=[0.02, 0.2],
        covariates=(Covariate("weight_kg", "kg", 70.0, least=0.0), "age_y", "japanese"),
        parameters={
            "Vmax": "TVVMAX*(weight_kg/70)**0.6*exp(ETA1)",
            "Km": "TVKM*0.57**(age_y<15)*0.77**japanese*exp(ETA2)",
            "V": "0.65*weight_kg",
        },
        ode={"A0": "-ka*A0", "A1": "ka*A0-Vmax*(A1/V)/(Km+A1/V)"},
        outputs={"C": "A1/V"},
        errors={},
    )
    people: Any = {"weight_kg": [70.0, 30.0], "age_y": [40.0, 9.0], "japanese": [1.0, 0.0]}
    doses, times = [(12.0 * i, 100.0) for i in range(10)], [1.0, 12.0, 100.0, 120.0]
    got = simulate(model, model.typical(people, {}), doses, times, ["C"])
    theirs = published.typical(people, {"cyp2c9_log_vmax": [0.0] * 2, "cyp2c19_phenotype": [0.0] * 2})
    np.testing.assert_allclose(got, simulate(published, theirs, doses, times, ["C"]), rtol=1e-6)
    assert isinstance(model.solver, Driven) and model.solver.linear == 1


def test_rates_that_change_with_time_as_the_published_model() -> None:
    published = voriconazole_friberg2012.MODEL
    theirs = published.typical({"age_y": 40.0, "weight_kg": 80.0, "study1": 0.0}, {"cyp2c19_phenotype": 0.0})
    names = [item.name for item in published.parameters if not item.name.startswith("eta")]
    model = equation_model(
        "equations_voriconazole",
        states=("A0", "A1", "A2"),
        theta=dict(zip(names, theirs[0].tolist(), strict=False)),
        omega=(),
        parameters={},
        ode={
            "A0": "-ka*A0",
            "A1": "ka*A0-CL*(A1/V2)-Vmax1*(1-Vinh*max(t-1,0)/(max(t-1,0)+T50-1))*(A1/V2)/(Km+A1/V2)"
            "-Q*(A1/V2-A2/V3)",
            "A2": "Q*(A1/V2-A2/V3)",
        },
        outputs={"C": "A1/V2"},
        errors={},
        routes=(Route("oral", "A0", "F", "tlag"),),
    )
    doses, times = [(12.0 * i, 200.0) for i in range(4)], [1.0, 2.0, 12.0, 30.0, 48.0]
    np.testing.assert_allclose(
        simulate(model, model.typical({}, {}), doses, times, ["C", "AUC_C"]),
        simulate(published, theirs, doses, times, ["C", "AUC"]),
        rtol=1e-6,
    )


def test_covariates_and_occasions_that_change_over_a_course() -> None:
    model = oral(
        "equations_occasion",
        omega=[[0.2, 0.05, 0.0], [0.05, 0.2, 0.0], [0.0, 0.0, 0.1]],
        covariates=("OCC",),
        parameters={"CL": "TVCL*exp(ETA1+ETA3*(OCC==2))", "V": "TVV*exp(ETA2)", "KA": "TVKA"},
    )
    assert model.omega.tolist() == [[0.2, 0.05, 0.0], [0.05, 0.2, 0.0], [0.0, 0.0, 0.1]]
    typical = model.typical({"OCC": [1.0, 2.0]}, {})
    theta = model.individual(typical, np.array([[0.1, 0.0, 0.4]] * 2))
    np.testing.assert_allclose(theta[:, model.column("CL")], 4.0 * np.exp([0.1, 0.5]))
    got = simulate(model, theta[None], [Dose(0.0, 70.0, route="CENTRAL")], [10.0, 20.0], ["C"],
                   changes=[0.0, 10.0])[0, :, 0]  # fmt: skip
    first, second = 4.0 * np.exp([0.1, 0.5]) / 70.0
    np.testing.assert_allclose(got, np.exp([-10 * first, -10 * first - 10 * second]), rtol=1e-12)


@pytest.mark.parametrize(
    ("kinetics", "linear"),
    [
        ("oral", None),
        ("bracketed", None),
        ("saturable", ("DEPOT",)),
        ("timed", ("DEPOT",)),
        ("squared", ("DEPOT", "CENTRAL")),
        ("fed", ("DEPOT",)),
    ],
)
def test_what_is_linear_is_found_and_moved_as_scipy_moves_it(
    kinetics: str, linear: tuple[str, ...] | None
) -> None:
    model = oral(f"equations_{kinetics}", **KINETICS[kinetics])
    if linear is None:
        assert isinstance(model.solver, Linear)
    else:
        assert isinstance(model.solver, Driven)
        assert model.states[: model.solver.linear] == linear

    def slope(t: float, y: np.ndarray) -> list[float]:
        c, e = y[1] / 70.0, np.exp(-0.01 * t)
        out = {"saturable": 4.0 * y[1] / (1 + c), "timed": 4.0 * c * e, "fed": 4.0 * c - 5}
        return [-y[0], y[0] - out.get(kinetics, 4.0 * c), c, c * c]

    got = simulate(model, model.typical({}, {}), [(0.0, 100.0)], [5.0, 30.0])[0]
    want = solve_ivp(
        slope, (0.0, 30.0), [100.0, 0.0, 0.0, 0.0], method="LSODA", rtol=1e-11, atol=1e-13, t_eval=[5, 30]
    ).y
    names = [item.name for item in model.outputs]
    np.testing.assert_allclose(got[:, 0], want[1] / 70.0, rtol=1e-7, atol=1e-14)
    np.testing.assert_allclose(got[:, names.index("AUC_C")], want[2], rtol=1e-7)
    if kinetics == "squared":
        np.testing.assert_allclose(got[:, names.index("AUC_E")], want[3], rtol=1e-7)


def test_equal_rates_in_a_row_are_integrated() -> None:
    # three equal rates have no modes of their own, and would be refused when a patient is run
    chain = {f"T{i}": f"KTR*T{i - 1}-KTR*T{i}" if i else "-KTR*T0" for i in range(4)}
    model = equation_model(
        "equations_transit",
        states=(*chain, "C"),
        theta={"KTR": 2.0},
        omega=(),
        parameters={},
        ode=chain | {"C": "KTR*T3-5*C/(1+C)"},
        outputs={"T": "T3", "C": "C"},
        errors={},
        routes=(Route("oral", "T0"),),
    )
    assert isinstance(model.solver, Driven) and model.solver.linear == 0
    times = np.array([0.5, 2.0])
    got = simulate(model, model.typical({}, {}), [(0.0, 1.0)], times, ["T"])[0, :, 0]
    np.testing.assert_allclose(got, (2 * times) ** 3 / 6 * np.exp(-2 * times), rtol=1e-8)  # Erlang


def test_turnover_begins_at_its_baseline() -> None:
    model = equation_model(
        "equations_turnover",
        states=("R",),
        theta={"KIN": 6.0, "KOUT": 0.2},
        omega=[0.1],
        parameters={"BASE": "KIN/KOUT*exp(ETA1)"},
        ode={"R": "KIN-KOUT*R"},
        outputs={"R": "R", "KIN": "KIN"},
        errors={},
        initial={"R": "BASE"},
    )
    assert [item.name for item in model.outputs] == ["R", "KIN", "AUC_R"]
    times = np.array([0.0, 3.0, 20.0])
    typical = np.repeat(model.typical({}, {}), 2, axis=0)
    theta = model.individual(typical, np.array([[0.0], [np.log(2.0)]]))
    got = simulate(model, theta, [], times, ["R"])[..., 0]
    np.testing.assert_allclose(got, [np.full(3, 30.0), 30.0 + 30.0 * np.exp(-0.2 * times)], rtol=1e-8)


def test_areas_leave_a_steady_state_alone_and_an_area_of_ones_own_is_the_area() -> None:
    ode = ORAL["ode"] | {"AUC": "CENTRAL / V"}
    model = oral("equations_area", states=("DEPOT", "CENTRAL", "AUC"), ode=ode,
                 outputs={"C": "CENTRAL/V", "total": "AUC"})  # fmt: skip
    assert model.states == ("DEPOT", "CENTRAL", "AUC")
    assert [item.name for item in model.outputs] == ["C", "total", "AUC_C"]
    assert [route.name for route in model.routes] == ["DEPOT", "CENTRAL"]
    theta = model.typical({}, {})
    state = steady_state(model, theta, [(0.0, 100.0)], every=12.0)
    got = simulate(model, theta, [(0.0, 100.0)], [12.0], initial=state)[0, 0]
    assert got[1:].tolist() == pytest.approx([25.0, 25.0], rel=1e-9)  # dose / CL


def test_the_example_of_the_docstring_runs() -> None:
    text = inspect.getdoc(equation_model) or ""
    begin = text.index("    model = ")
    code = textwrap.dedent(text[begin : text.index("\nParameters\n")])
    scope: dict[str, Any] = {name: getattr(pharmacology, name) for name in pharmacology.__all__}
    exec(code, scope)
    model = scope["model"]
    assert [item.unit for item in model.outputs] == ["mg/L", "mg/L·h"]
    # without etas the second occasion is like the first
    np.testing.assert_array_equal(model.typical({"WT": 80.0, "OCC": 2.0}, {})[0, :3], scope["person"][0, :3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": {"CL": "TVCl/2", "V": "TVV", "KA": "TVKA"}},
         "parameter CL = 'TVCl/2': unknown name 'TVCl'; did you mean 'TVCL'"),
        ({"parameters": {"CL": "V", "V": "TVV", "KA": "TVKA"}}, "'V' is computed later; move it up"),
        ({"parameters": {"CL": "CENTRAL", "V": "TVV", "KA": "TVKA"}}, "'CENTRAL' changes with time; move"),
        ({"parameters": {"CL": "ETA4", "V": "TVV", "KA": "TVKA"}}, "unknown name 'ETA4'; did you mean 'ETA"),
        ({"ode": {"DEPOT": "-KA*DEPOT", "CENTRAL": "2^CL"}}, r"of CENTRAL = '2\^CL': \^ is no power"),
        ({"ode": {"DEPOT": "-KA*DEPOT"}}, "state 'CENTRAL' has no derivative"),
        ({"ode": ORAL["ode"] | {"CENTRL": "0"}}, "ode: unknown name 'CENTRL'; did you mean 'CENTRAL'"),
        ({"outputs": {"C": "CENTRAL/"}}, "output C = 'CENTRAL/': no expression"),
        ({"outputs": {"C": "__import__('os').getpid()"}}, "is not allowed; use numbers"),
        ({"outputs": {"C": "ln(CENTRAL)"}}, "unknown function 'ln'"),
        ({"outputs": {"C": "max(CENTRAL)"}}, "max of 1 values; expected 2 or more"),
        ({"outputs": {"C": "CENTRAL if V else 0"}}, "is not allowed"),
        ({"outputs": {"C": "(" * 3000 + "V" + ")" * 3000}}, "no expression|nested too deeply"),
        ({"outputs": {"C": "1e999*CENTRAL"}}, "inf is no finite number"),
        ({"outputs": {}}, "no outputs"),
        ({"outputs": {"C": "CENTRAL/V", "AUC_C": "CENTRAL"}}, "output 'AUC_C' is the area under 'C'"),
        ({"errors": {"D": ResidualError()}}, "errors: unknown name 'D'"),
        ({"omega": [0.2, 0.2, 0.0]}, "not positive definite"),
        ({"omega": [[0.2, 0.1], [0.0, 0.2]]}, "the same above and below the diagonal"),
        ({"theta": ORAL["theta"] | {"CENTRAL": 1.0}}, "'CENTRAL' is a state and a fixed effect; rename one"),
        ({"theta": ORAL["theta"] | {"exp": 1.0}}, "'exp' is a fixed effect and a function"),
        ({"theta": ORAL["theta"] | {"lambda": 1.0}}, "'lambda', a fixed effect, is no name"),
        ({"theta": ORAL["theta"] | {"TVCL": float("nan")}}, "theta TVCL = nan"),
        ({"routes": (Route("oral", "DEPO"),)}, "oral, state: unknown name 'DEPO'; did you mean 'DEPOT'"),
        ({"routes": (Route("oral", "DEPOT", duration="D1"),)}, "route oral, duration: unknown name 'D1'"),
        ({"initial": {"CENTRAL": "DEPOT"}}, "initial CENTRAL = 'DEPOT': 'DEPOT' changes with time"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"model wrong.*(?:{message})"):
        oral("wrong", **change)


def test_covariates_are_asked_for() -> None:
    model = oral("equations_covariate", covariates=(Covariate("WT", "kg", 70.0, least=0.0),),
                 parameters=ORAL["parameters"] | {"V": "TVV/(WT-50)"})  # fmt: skip
    with pytest.raises(ValueError, match="'WT' is missing"):
        model.typical({}, {})
    with pytest.raises(ValueError, match="WT of patient 1 is 0; expected a finite number above 0"):
        model.typical({"WT": [60.0, 0.0]}, {})
    with pytest.raises(ValueError, match=r"parameter V = 'TVV/\(WT-50\)': inf for patient 1 \(WT 50\)"):
        model.typical({"WT": [60.0, 50.0]}, {})


RUN = """
import sys
from dosewright.envs.pharmacology import equation_model
model = equation_model("cached", states=("A",), theta={"K": float(sys.argv[2])}, omega=[0.1],
    parameters={"KE": sys.argv[1]}, ode={"A": "-KE*A"}, outputs={"A": "A"}, errors={})
print(model.typical({}, {})[0, 0])
"""


def test_compiled_once_and_never_older_than_its_equations(tmp_path: Path) -> None:
    def run(expression: str, value: float) -> tuple[float, bool]:
        done = subprocess.run(
            [sys.executable, "-c", RUN, expression, str(value)],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return float(done.stdout), "compiling cached" in done.stderr

    assert run("2*K*exp(ETA1)", 3.0) == (6.0, True)
    assert run("2*K*exp(ETA1)", 5.0) == (10.0, False)  # fixed effects are no part of the code
    assert run("7*K*exp(ETA1)", 3.0) == (21.0, True)


def test_models_of_one_name_in_one_process_do_not_meet() -> None:
    values = [
        oral("equations_twin", parameters=ORAL["parameters"] | {"CL": f"{factor}*TVCL*exp(ETA1)"})
        for factor in (2, 3, 2)
    ]
    assert [model.typical({}, {})[0, 0] for model in values] == [8.0, 12.0, 8.0]


def test_the_message_that_the_page_shows() -> None:
    parameters = {"VMAX": "TVVMAX*(WT/70)**0.75*exp(ETA1)", "KM": "TVKm*exp(ETA2)"}
    with pytest.raises(ValueError) as error:
        oral("my_drug_mm", theta={"TVVMAX": 22.0, "TVKM": 4.5, "V": 45.0, "KA": 0.9, "TVF": 0.8},
             covariates=("WT", "FED"), parameters=parameters)  # fmt: skip
    assert f"```text\n{error.value}\n```" in (ROOT / "docs" / "own_model.md").read_text(encoding="utf-8")
