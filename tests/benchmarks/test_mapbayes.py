"""The comparison with reference cases of estimation: what it counts, and when it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks.conformance import conformance
from benchmarks.mapbayes_cases import (
    bolus,
    covariances,
    entries,
    estimates,
    has_kinks,
    model_of,
    predictions,
    residual_error,
)
from benchmarks.mapbayes_regimens import regimens
from dosewright.envs.pharmacology import simulate

# one compartment, two boluses of one patient, both etas at the reference 0.1 and -0.2
ENTRY: dict[str, Any] = {
    "id": "B1",
    "states": ["CENTRAL"],
    "theta": {"TVCL": 5.0, "TVV": 50.0},
    "eta": ["CL", "V"],
    "omega": [[0.1, 0.0], [0.0, 0.1]],
    "params": {"CL": "TVCL*exp(ETA1)", "V": "TVV*exp(ETA2)"},
    "ode": {"CENTRAL": "-CL/V*CENTRAL"},
    "outputs": {"1": "CENTRAL/V"},
    "error": {"1": {"type": "additive", "add_var": 1.0}},
}
ETA, TIMES = (0.1, -0.2), (1.0, 6.0, 14.0)


def concentration(t: float, eta: tuple[float, float]) -> float:
    """Closed form: D/V·exp(−CL/V·t), doses of 100 at 0 and 12 h."""
    cl, v = 5.0 * np.exp(eta[0]), 50.0 * np.exp(eta[1])
    return sum(100.0 / v * np.exp(-cl / v * (t - at)) for at in (0.0, 12.0) if t > at)


def write(folder: Path, scale: float = 1.0) -> None:
    """A folder of one model, one patient, and predictions `scale` times the closed form."""
    (folder / "models.json").write_text(json.dumps([ENTRY]))
    dose = "B1,1,{},1,100,1,0,0,0,0,1,\n"
    seen = "B1,1,{},0,0,1,0,0,0,0,0,{}\n"
    (folder / "events.csv").write_text(
        "model,id,time,evid,amt,cmt,ii,addl,ss,rate,mdv,dv\n"
        + dose.format(0)
        + "".join(seen.format(t, 1.0) for t in TIMES[:2])
        + dose.format(12)
        + seen.format(TIMES[2], 2.0)
    )
    (folder / "expected_map.csv").write_text(
        f"model,id,n_obs,zero_prediction,ofv,eta1,eta2\nB1,1,3,0,0,{ETA[0]},{ETA[1]}\n"
    )
    rows = [
        f"B1,1,{t},1,1,{scale * concentration(t, (0.0, 0.0)):.12g},{scale * concentration(t, ETA):.12g}\n"
        for t in TIMES
    ]
    (folder / "expected_predictions.csv").write_text("model,id,time,cmt,dv,pred,ipred\n" + "".join(rows))


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(conformance, ["mapbayes", str(folder), *options])


def test_a_closed_form_is_met_and_what_is_absent_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "events.csv").replace(tmp_path / "kept.csv")
    nothing = run(tmp_path)
    assert nothing.exit_code == 1 and "nothing to compare" in nothing.output
    (tmp_path / "kept.csv").replace(tmp_path / "events.csv")
    lines = [line.split() for line in run(tmp_path).output.splitlines()]
    assert ["expected_predictions,", "PRED", "3", "of", "3", "100.00%", "100%", "asked", "ok"] in lines
    assert ["expected_covariance", "absent:", "no", "expected_covariance.csv"] in lines


def test_what_is_asked_and_missed_fails(tmp_path: Path) -> None:
    write(tmp_path, scale=1 + 3e-6)
    found = run(tmp_path, "--failures")
    assert found.exit_code == 1
    assert "0 of      3    0.00%  100% asked   FAILED" in found.output
    assert f"B1, patient 1, 1.0 h, output 1: {concentration(1.0, ETA):.9g}, expected" in found.output
    # the reference estimate is an invention, its objective of 0 is under any
    assert (
        "expected_map, objective                   0 of      1    0.00%  100% asked   FAILED" in found.output
    )


def test_a_set_that_cannot_be_read_does_not_pass(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "models.json").write_text("[]")
    found = run(tmp_path)
    assert found.exit_code == 1 and "not read: KeyError" in found.output


def test_errors_as_the_cases_define_them() -> None:
    truth, z = np.array([4.0]), np.array([1.0])
    kinds = {
        "proportional": ({"prop_var": 0.04}, 4.8),
        "additive": ({"add_var": 9.0}, 7.0),
        "combined": ({"prop_var": 0.04, "add_var": 0.36}, 5.0),
        "combined1": ({"prop_sd": 0.2, "add_sd": 0.6}, 5.4),
        "log_additive": ({"log_var": 0.04}, 4.0 * np.exp(0.2)),
    }
    for kind, (values, expected) in kinds.items():
        assert residual_error({"type": kind, **values}).apply(truth, z)[0] == pytest.approx(expected), kind
    with pytest.raises(ValueError, match="type 'poisson'; known"):
        residual_error({"type": "poisson"})


def test_routes_take_names_and_expressions_and_kinks_are_found() -> None:
    fixed = ENTRY | {"lag": {"1": "0.5"}, "bioavailability": {"1": "exp(ETA1)/2"}}
    moved = ENTRY | {"params": ENTRY["params"] | {"L": "0.5*exp(ETA2)"}, "lag": {"1": "L"}}
    model = model_of(fixed)
    got = simulate(model, model.typical({}, {}), [(0.0, 100.0)], [0.4, 0.6], ["1"])[0, :, 0]
    np.testing.assert_allclose(got, [0.0, np.exp(-0.01)], rtol=1e-12)
    assert [has_kinks(entry) for entry in (ENTRY, fixed, moved)] == [False, False, True]


@pytest.mark.parametrize("compared", [predictions, covariances, regimens, bolus])
def test_reference_cases(compared: Any, shared: Path) -> None:
    rows = list(compared(shared / "reference" / "mapbayes"))
    assert rows and all(row.ok for row in rows), [row.failures[:3] for row in rows]


@pytest.mark.slow
def test_reference_estimates(shared: Path) -> None:
    rows = list(estimates(shared / "reference" / "mapbayes"))
    assert all(row.ok for row in rows), [row.failures[:3] for row in rows]


def test_every_reference_model_is_linear_where_the_file_says_so(shared: Path) -> None:
    for name, entry in entries(shared / "reference" / "mapbayes" / "models.json").items():
        assert (type(model_of(entry).solver).__name__ == "Linear") == entry["linear"], name
