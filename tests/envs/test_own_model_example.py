"""The examples of docs/own_model.md: they print what the page prints, and agree with other arithmetic."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from dosewright.envs import genotype_effects
from dosewright.envs.pharmacology import (
    Dose,
    PopulationModel,
    outputs_now,
    simulate,
    steady_state,
)
from dosewright.envs.pharmacology import from_toml as reader
from dosewright.envs.pharmacology.from_toml import read_model
from dosewright.pharmacogenomics import TABLES

Floats = NDArray[np.float64]
ROOT = Path(__file__).resolve().parents[2]
SCRIPT, FILE = ROOT / "docs/examples/own_model.py", ROOT / "docs/examples/two_compartment.toml"
PAGE = (ROOT / "docs/own_model.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def model() -> PopulationModel:
    """The model of the script, imported by its name as a user would: cached kernels remember that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        return import_module("own_model").MODEL


@pytest.fixture(scope="module")
def invented() -> PopulationModel:
    """The model of the TOML file."""
    return read_model(FILE)


def integrated(weight: float, doses: list[float], amount: float, times: Floats) -> Floats:
    """(m, 2) concentration and effect of a typical patient: the equations by SciPy, anew at each dose."""
    vmax, km, v, ka, ke0, ec50 = 22 * (weight / 70) ** 0.75, 4.5, 45 * weight / 70, 0.9, 0.25, 3.0

    def slope(t: float, state: Floats) -> list[float]:
        a0, a1, ce = state
        return [-ka * a0, ka * a0 - vmax * (a1 / v) / (km + a1 / v), ke0 * (a1 / v - ce)]

    state, begin, read = np.zeros(3), 0.0, np.empty((len(times), 3))
    for stop in sorted({*doses, *times.tolist()}):
        if stop > begin:
            state = solve_ivp(slope, (begin, stop), state, "LSODA", rtol=1e-11, atol=1e-12).y[:, -1]
            begin = stop
        read[times == stop] = state
        state = state + np.array([amount * doses.count(stop), 0.0, 0.0])
    return np.column_stack([read[:, 1] / v, 100 * read[:, 2] / (ec50 + read[:, 2])])


# ----------------------------------------------------------------------------------------------- own_model.py


def test_the_script_prints_what_an_independent_integrator_finds() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert [line.split(" kg:")[0].strip() for line in lines] == ["50", "70", "100"]
    for weight, line in zip((50.0, 70.0, 100.0), lines, strict=True):
        printed = np.array(re.findall(r"([\d.]+) mg/L, ([\d.]+) %", line), dtype=np.float64)
        found = integrated(weight, [24.0 * day for day in range(10)], 300.0, np.array([2.0, 24.0, 240.0]))
        np.testing.assert_allclose(printed[:, 0], found[:, 0], atol=5.1e-4)
        np.testing.assert_allclose(printed[:, 1], found[:, 1], atol=5.1e-3)


def test_the_model_of_the_script_agrees_to_the_solver_s_tolerance(model: PopulationModel) -> None:
    doses, times = [0.0, 12.0, 12.0, 30.0], np.array([0.5, 6.0, 12.0, 24.0, 31.0, 90.0])
    theta = model.typical({"weight_kg": [58.0]}, {})
    values = simulate(model, theta, [(time, 250.0) for time in doses], times)[0]
    np.testing.assert_allclose(values, integrated(58.0, doses, 250.0, times), rtol=1e-6)


def test_an_infusion_at_steady_state_is_eliminated_as_fast_as_it_comes(model: PopulationModel) -> None:
    # rate = Vmax·C/(Km + C), and the effect compartment has caught up
    theta = model.typical({"weight_kg": 70.0}, {})
    state = steady_state(model, theta, [Dose(0.0, 120.0, 12.0, "bolus")], 12.0)
    c = 4.5 * 10.0 / (22.0 - 10.0)
    found = outputs_now(model, state, theta, np.arange(2))
    np.testing.assert_allclose(found, [[c, 100 * c / (3.0 + c)]], rtol=2e-6)


def test_the_script_has_at_most_40_lines_of_code() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    words: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            words |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    blank = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*blank, tokenize.ENDMARKER):
            code |= set(range(token.start[0], token.end[0] + 1))
    lines = len(code - words)
    assert lines <= 40
    assert f"a whole model in {lines} lines of code" in PAGE


# --------------------------------------------------------------------------------------- two_compartment.toml


def test_the_file_says_that_its_numbers_are_invented(invented: PopulationModel) -> None:
    flags = [item.flag for item in (*invented.parameters, *invented.covariates, *invented.genotype_terms)]
    assert {*flags, invented.outputs[0].error.flag} == {"ASSUMPTION"}
    assert "ASSUMPTION" in FILE.read_text(encoding="utf-8").splitlines()[1]


def test_typical_people_of_the_file(invented: PopulationModel) -> None:
    known = {"weight_kg": np.array([70.0, 90.0, 70.0]), "crcl_ml_min": np.array([90.0, 90.0, 40.0])}
    genotypes = {
        "CYP2C19": np.array(["*1/*1", "*17/*1", "*2/*3"])
    }  # *3 has no function, and so is read as *2
    effects, read = genotype_effects(invented.genotype_terms, genotypes)
    assert effects["cyp2c19_on_cl"].tolist() == [1.0, 1.2, 0.35]
    assert list(read.values()) == [1]
    theta = invented.typical(known, effects)
    np.testing.assert_allclose(
        theta[:, 0], [18.0, 18 * (90 / 70) ** 0.75 * 1.2, 18 * (1 - 0.004 * 50) * 0.35], rtol=1e-12
    )
    np.testing.assert_allclose(theta[:, 1], [60.0, 60 * 90 / 70, 60.0], rtol=1e-12)
    assert (theta[:, 2:] == [9.0, 140.0, 1.1, 0.3, 0.75]).all()


def test_every_diplotype_of_the_tables_has_a_factor(invented: PopulationModel) -> None:
    alleles = {
        a
        for group in TABLES.biogeographic_groups("CYP2C19")
        for a in TABLES.allele_frequencies("CYP2C19", group)
    }
    pairs = np.array([f"{a}/{b}" for a in sorted(alleles) for b in sorted(alleles)])
    factors = genotype_effects(invented.genotype_terms, {"CYP2C19": pairs})[0]["cyp2c19_on_cl"]
    assert set(factors.tolist()) == {1.0, 0.70, 0.35, 1.20, 0.80, 1.40}


def test_mass_is_kept_by_the_file_s_model(invented: PopulationModel) -> None:
    theta = invented.typical({"weight_kg": 60.0, "crcl_ml_min": 70.0}, {"cyp2c19_on_cl": 0.7})
    # steady state from nothing: what enters in a cycle, 100 mg · F in µg, leaves by CL · AUC
    state = steady_state(invented, theta, [(0.0, 100.0)], 12.0)
    auc = simulate(invented, theta, [(0.0, 100.0)], [12.0], ["AUC"], initial=state)[0, 0, 0]
    assert theta[0, 0] * auc == pytest.approx(0.75 * 100 * 1000, rel=1e-9)
    assert state[0, invented.states.index("AUC")] == 0.0


# ----------------------------------------------------------------------------------------------- own_model.md


def blocks() -> Iterator[tuple[str, str]]:
    """The page's blocks of code: language, text."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_s_code_runs_and_prints_what_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    script, scope = SCRIPT.read_text(encoding="utf-8"), dict[str, Any]()
    quoted, compared, printed = 0, 0, ""
    for language, text in blocks():
        if language == "python" and text in script:
            quoted += 1
        elif language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(text, scope)
            printed = out.getvalue()
        elif printed:
            assert printed == text
            compared, printed = compared + 1, ""
    assert (quoted, compared) == (3, 4)


def test_the_page_s_messages_are_those_of_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = FILE.read_text(encoding="utf-8")
    found = []
    for old, new in (
        ("[parameters.Q2]", "[parameters.Q]"),
        ("cv = 0.35", "cv = 30"),
        ("scale = 1000.0", "scale = 1"),
    ):
        Path("my_drug.toml").write_text(good.replace(old, new), encoding="utf-8")
        with pytest.raises(ValueError) as error:
            read_model("my_drug.toml")
        found.append(f"{error.value}\n")
    assert ("text", "".join(found)) in list(blocks())


def test_the_page_explains_every_key(invented: PopulationModel) -> None:
    kinds = (reader._TOP, reader._CONCENTRATION, reader._PARAMETER, reader._COVARIATE, reader._EFFECT,
             reader._GENOTYPE, reader._RESIDUAL)  # fmt: skip
    table = PAGE[PAGE.index("### Keys") : PAGE.index("## The Python way")]
    for key in {key for known in kinds for key in known}:
        assert re.search(rf"`\[*{key}[\]`.]", table), key
    fields = PAGE[PAGE.index("The model ties them together") : PAGE.index("Three solvers")]
    for field in PopulationModel.__dataclass_fields__:
        assert f"`{field}`" in fields, field
