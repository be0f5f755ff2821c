"""Hold estimation of one patient's parameters, and the search for doses, against reference cases.

A folder of cases holds models as equations (`models.json`), recorded patients (`events.csv`), what NONMEM and
Monolix make of them (`expected_*.csv`, `posterior_*.csv`), and questions about regimens
(`regimen_cases.json`). No model is known here by name. Every function takes the folder and returns rows for
``python -m benchmarks.conformance mapbayes DIR``.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pgx_cases import Row, check
from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.map import MapFit, conditional_covariance, estimate
from dosewright.agents.estimation.particles import Posterior, sample
from dosewright.agents.estimation.resample_move import systematic
from dosewright.agents.regimens.quantities import Area, Level, Plan
from dosewright.agents.regimens.search import Draws, find_dose, first_time
from dosewright.envs import PatientRecords, read_nonmem
from dosewright.envs.pharmacology import Dose, PopulationModel, ResidualError, Route, equation_model

Floats = NDArray[np.float64]
Entry = Mapping[str, Any]

RELATIVE, ABSOLUTE = 1e-6, 1e-9  # of predictions
ESTIMATE, ACCEPTABLE, ESTIMATES_NEEDED = 1e-3, 0.10, 0.99  # largest |exp(eta − reference) − 1|
OBJECTIVE = 1e-3  # above the reference's
COVARIANCE = 1e-4  # of the product of two SDs
_HAIR = 2e-5  # more than the step of the differences that derivatives are
MOMENTS = (0.15, 0.10)  # difference of means in SDs, and relative difference of SDs
TIGHT = {"001": (0.05, 0.04)}
"""Tolerances of `MOMENTS` that the cases state for one of their models, checked there by another sampler."""
WIDE, WIDE_NEEDED = 1.0, 0.9  # variance of a random effect from which one row in ten may fail
CHAIN = 6.0
"""SDs of the reference's posterior, from its mean, to which posteriors of `WIDE` models are restricted. Where
absorption may be the slower rate they have a second mode far away (quadrature finds it too: tests of
particles), which the reference's chains did not visit; the mode that they were in is compared."""
DOSES = 0.05  # of the mean of the three samplers
BOLUS = 0.005
_POSTERIOR_ERROR = {"type": "combined1", "add_sd": 0.0, "prop_sd": 0.05}
PARTICLES = 16_384  # so that their own error is a fraction of what is asked
DRAWS = 4096  # that times are found with: on a fine grid, all particles would take long
_CHANCE = 0.89  # of posterior draws that reach a target
_GRID, _GRID_BEGIN, _GRID_END = 0.1, 3.0, 240.0  # h: times at which a level is looked for under a value


# ---------------------------------------------------------------------------------------------- what is given


def residual_error(error: Entry) -> ResidualError:
    """Return the residual error of an output of `models.json`."""

    def sd(name: str) -> float:
        return math.sqrt(error[name])

    match error["type"]:
        case "proportional":
            return ResidualError(proportional=sd("prop_var"))
        case "additive":
            return ResidualError(additive=sd("add_var"))
        case "combined":
            return ResidualError(proportional=sd("prop_var"), additive=sd("add_var"))
        case "combined1":
            return ResidualError(proportional=error["prop_sd"], additive=error["add_sd"], adds_sd=True)
        case "log_additive":
            return ResidualError(log_sd=sd("log_var"))
        case other:
            raise ValueError(f"residual error of type {other!r}; known: proportional, additive, combined, "
                             "combined1, log_additive")  # fmt: skip


def model_of(entry: Entry) -> PopulationModel:
    """Return a model of `models.json`; its routes are the numbers of its compartments."""
    parameters, known = dict(entry["params"]), {*entry["theta"], *entry["params"]}
    named: dict[str, dict[str, str]] = defaultdict(dict)
    for kind in ("lag", "duration", "bioavailability"):
        for compartment, text in entry.get(kind, {}).items():
            name = str(text)
            if name not in known:  # an expression of its own
                name = f"{kind}_{compartment}"
                parameters[name] = str(text)
            named[compartment][kind] = name
    routes = [
        Route(
            str(number), state, named[str(number)].get("bioavailability", 1.0),
            named[str(number)].get("lag"), named[str(number)].get("duration"),
        )
        for number, state in enumerate(entry["states"], start=1)
        if not state.startswith("AUC")
    ]  # fmt: skip
    return equation_model(
        f"mapbayes_{entry['id']}",
        states=entry["states"],
        theta=entry["theta"],
        omega=entry["omega"],
        parameters=parameters,
        ode=entry["ode"],
        outputs=entry["outputs"],
        errors={name: residual_error(error) for name, error in entry["error"].items()},
        covariates=entry.get("covariates", ()),
        routes=routes,
        title=entry.get("title", ""),
    )


def has_kinks(entry: Entry) -> bool:
    """Whether a random effect moves the time at which an input begins or ends, so that the objective has
    kinks."""
    waiting = [str(text) for kind in ("lag", "duration") for text in entry.get(kind, {}).values()]
    seen = set[str]()
    while waiting:
        names = set(re.findall(r"[A-Za-z_]\w*", waiting.pop())) - seen
        seen |= names
        waiting += [entry["params"][name] for name in names if name in entry["params"]]
    return any(re.fullmatch(r"ETA\d+", name) for name in seen)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the lines of a table."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def by_model(path: Path) -> dict[str, list[dict[str, str]]]:
    """Return the lines of a table by their model."""
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows_of(path):
        found[row["model"]].append(row)
    return found


def entries(path: Path) -> dict[str, Entry]:
    """Return the models of a file of equations."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return {entry["id"]: entry for entry in (found["models"] if isinstance(found, dict) else found)}


def courses_of(entry: Entry, folder: Path) -> Courses:
    """Return the recorded courses of a model's patients."""
    model = model_of(entry)
    records = read_nonmem(
        folder / "events.csv", where={"model": entry["id"]}, covariates=list(entry.get("covariates", ()))
    )
    return Courses.of(
        model,
        records,
        outputs={int(number): number for number in entry["outputs"]},
        compartments={int(route.name): route.name for route in model.routes},
    )


@dataclass(frozen=True, eq=False)
class Study:
    """A model, its patients, and what is estimated of them, once for all sets."""

    entry: Entry
    courses: Courses

    @cached_property
    def fit(self) -> MapFit:
        """The MAP estimates."""
        return estimate(self.courses)

    def row(self, patient: str) -> int:
        """Number of a patient."""
        return self.courses.ids.index(patient)

    def sample(self, row: int, time: float, output: int, after: int) -> int:
        """Number of a patient's sample of an output at a time, behind sample `after`."""
        courses = self.courses
        same = (
            courses.sampled[row]
            & np.isclose(courses.sample_time[row], time, rtol=1e-9, atol=1e-9)
            & (courses.sample_output[row] == output)
        )
        found = np.flatnonzero(same)
        found = found[found > after]
        if not len(found):
            raise ValueError(f"no record of output {output} at {time:g} in events.csv")
        return int(found[0])


@cache
def studies(folder: Path) -> dict[str, Study]:
    """Return the models of a folder with their patients."""
    return {
        name: Study(entry, courses_of(entry, folder))
        for name, entry in entries(folder / "models.json").items()
    }


def _effects(row: Mapping[str, str], count: int) -> list[float]:
    return [float(row[f"eta{k + 1}"]) for k in range(count)]


def _reference_effects(study: Study, rows: Sequence[Mapping[str, str]]) -> Floats:
    """Reference estimates (n, d) of a study's patients, NaN where there is none."""
    eta = np.full((len(study.courses), study.courses.effects), np.nan)
    for row in rows:
        eta[study.row(row["id"])] = _effects(row, eta.shape[1])
    return eta


# -------------------------------------------------------------------------------- expected_predictions.csv


def predictions(folder: Path) -> Iterator[Row]:
    """NONMEM's PRED, and IPRED at the reference estimate."""
    reference = by_model(folder / "expected_map.csv")
    cases: dict[str, list[tuple[str, float, float]]] = {"pred": [], "ipred": []}
    for name, rows in by_model(folder / "expected_predictions.csv").items():
        study = studies(folder)[name]
        eta = np.nan_to_num(_reference_effects(study, reference[name]))
        got = study.courses.predict(np.stack([np.zeros_like(eta), eta], axis=1))
        last: dict[tuple[str, str, str], int] = {}
        for row in rows:
            patient, key = study.row(row["id"]), (row["id"], row["time"], row["cmt"])
            output = study.courses.model.output(row["cmt"])
            last[key] = study.sample(patient, float(row["time"]), output, last.get(key, -1))
            place = f"{name}, patient {row['id']}, {row['time']} h, output {row['cmt']}"
            for copy, column in enumerate(cases):
                cases[column].append((place, float(got[patient, copy, last[key]]), float(row[column])))
    for column, found in cases.items():
        yield check(
            f"expected_predictions, {column.upper()}",
            found,
            lambda case: _unlike(case[1], case[2]),
            lambda case: case[0],
        )


def _unlike(got: float, want: float, relative: float = RELATIVE, absolute: float = 0.0) -> str | None:
    allowed = max(relative * abs(want), absolute, ABSOLUTE if want == 0 else 0.0)
    return None if abs(got - want) <= allowed else f"{got:.9g}, expected {want:.9g}"


# ----------------------------------------------------------------------------------------- expected_map.csv


def estimates(folder: Path) -> Iterator[Row]:
    """NONMEM's MAP estimates and objectives; one without an objective predicts exactly 0 somewhere."""
    cases: list[tuple[str, float, float | None, bool]] = []
    for name, rows in by_model(folder / "expected_map.csv").items():
        study = studies(folder)[name]
        kinks = has_kinks(study.entry)
        for row in rows:
            i = study.row(row["id"])
            want = np.array(_effects(row, study.courses.effects))
            apart = float(np.abs(np.exp(study.fit.eta[i] - want) - 1.0).max())
            above = float(study.fit.objective[i]) - float(row["ofv"]) if row["ofv"] else None
            cases.append((f"{name}, patient {row['id']}", apart, above, kinks))

    def estimate_fault(case: tuple[str, float, float | None, bool]) -> str | None:
        _, apart, above, kinks = case
        fine = apart < ESTIMATE or (kinks and above is not None and above <= OBJECTIVE)
        return None if fine else f"largest |exp(eta - reference) - 1| is {apart:.2g}"

    yield check("expected_map, estimate", cases, estimate_fault, lambda case: case[0], ESTIMATES_NEEDED)
    yield check(
        f"expected_map, within {ACCEPTABLE:.0%}",
        cases,
        lambda case: None if case[1] < ACCEPTABLE else f"{case[1]:.2g}",
        lambda case: case[0],
        0.0,
    )
    yield check(
        "expected_map, objective",
        [(place, above) for place, _, above, _ in cases if above is not None],
        lambda case: None if case[1] <= OBJECTIVE else f"{case[1]:.2g} above the reference",
        lambda case: case[0],
    )


# --------------------------------------------------------------------------------- expected_covariance.csv


def covariances(folder: Path) -> Iterator[Row]:
    """NONMEM's conditional covariance at its estimate."""
    reference = by_model(folder / "expected_map.csv")
    cases: list[tuple[str, float, float, float]] = []
    for name, rows in by_model(folder / "expected_covariance.csv").items():
        study = studies(folder)[name]
        eta = np.nan_to_num(_reference_effects(study, reference[name]))
        want = np.full((*eta.shape, eta.shape[1]), np.nan)
        for row in rows:
            i, j = int(row["i"]) - 1, int(row["j"]) - 1
            want[study.row(row["id"]), [i, j], [j, i]] = float(row["cov"])
        sd = np.sqrt(np.diagonal(want, axis1=1, axis2=2))
        scale = sd[:, :, None] * sd[:, None]
        got = _nearest_side(study, eta, want, scale)
        for row in rows:
            at = study.row(row["id"]), int(row["i"]) - 1, int(row["j"]) - 1
            place = f"{name}, patient {row['id']}, ({row['i']}, {row['j']})"
            cases.append((place, float(got[at]), float(want[at]), COVARIANCE * float(scale[at])))
    yield check(
        "expected_covariance",
        cases,
        lambda case: _unlike(case[1], case[2], 0.0, case[3]),
        lambda case: case[0],
    )


def _nearest_side(study: Study, eta: Floats, want: Floats, scale: Floats) -> Floats:
    """Return covariances (n, d, d) at effects (n, d).

    At a kink there is no derivative, and the reference has that of one side. Where a model has kinks, the
    estimate is moved to all sides of it by a hair, and the nearest answer is taken.
    """
    sides = [np.zeros_like(eta)]
    if has_kinks(study.entry):
        sides += [np.broadcast_to(sign * _HAIR * unit, eta.shape)
                  for unit in np.eye(eta.shape[1]) for sign in (1.0, -1.0)]  # fmt: skip
    found = np.stack([conditional_covariance(study.courses, eta + side) for side in sides])
    apart = np.nanmax(np.abs(found - want) / scale, axis=(2, 3))
    return found[np.argmin(apart, axis=0), np.arange(len(eta))]


# ---------------------------------------------------------------- posterior_moments.csv, posterior_doses.csv


@cache
def posterior(folder: Path, name: str) -> Posterior:
    """Return the posterior of a model's patients under the residual error of these cases."""
    entry = entries(folder / "models.json")[name]
    error = dict.fromkeys(entry["error"], _POSTERIOR_ERROR)
    return sample(courses_of({**entry, "error": error}, folder), particles=PARTICLES)


def moments(folder: Path) -> Iterator[Row]:
    """Monolix's posterior mean and SD of each eta."""
    cases: dict[str, list[_Moments]] = defaultdict(list)
    whole: list[_Moments] = []
    for name, rows in by_model(folder / "posterior_moments.csv").items():
        study, found = studies(folder)[name], posterior(folder, name)
        wide = np.diag(study.courses.omega).max() >= WIDE
        kind = f"omega >= {WIDE:g}, near" if wide else "tight" if name in TIGHT else "others"
        limits = TIGHT.get(name, MOMENTS)
        for patient in dict.fromkeys(row["id"] for row in rows):
            own = [row for row in rows if row["id"] == patient]
            i, column = study.row(patient), [list(study.entry["eta"]).index(row["param"]) for row in own]
            eta, weight = found.eta[i][:, column], found.weight[i]
            want = np.array([[float(row[f"posterior_{part}"]) for part in ("mean", "sd")] for row in own])
            places = [f"{name}, patient {patient}, {row['param']}" for row in own]
            if wide:
                whole += _apart(places, eta, weight, want, limits)
                weight = weight * (np.abs(eta - want[:, 0]) <= CHAIN * want[:, 1]).all(axis=1)
            cases[kind] += _apart(places, eta, weight, want, limits)
    for kind, found in cases.items():
        needed = WIDE_NEEDED if kind.startswith("omega") else 1.0
        yield check(f"posterior_moments, {kind}", found, _moments_fault, _place, needed)
    if whole:  # with the modes that the chains missed
        yield check(f"posterior_moments, omega >= {WIDE:g}, whole", whole, _moments_fault, _place, 0.0)


_Moments = tuple[str, float, float, tuple[float, float]]


def _apart(
    places: Sequence[str], eta: Floats, weight: Floats, want: Floats, limits: tuple[float, float]
) -> list[_Moments]:
    """Return how far moments of draws eta (k, e) are from those that are wanted (e, 2)."""
    share = weight / weight.sum()
    mean = share @ eta
    sd = np.sqrt(share @ (eta - mean) ** 2)
    means, sds = np.abs(mean - want[:, 0]) / want[:, 1], np.abs(sd / want[:, 1] - 1.0)
    return [(place, float(a), float(b), limits) for place, a, b in zip(places, means, sds, strict=True)]


def _place(case: _Moments) -> str:
    return case[0]


def _moments_fault(case: _Moments) -> str | None:
    _, mean, sd, (most_mean, most_sd) = case
    if mean <= most_mean and sd <= most_sd:
        return None
    return f"mean {mean:.3f} SD away (at most {most_mean:g}), SD {sd:.1%} away (at most {most_sd:.0%})"


def doses(folder: Path) -> Iterator[Row]:
    """The doses, or times, at which 89 % of the posterior reaches a target."""
    cases: list[tuple[str, float, float]] = []
    for name, rows in by_model(folder / "posterior_doses.csv").items():
        found = posterior(folder, name)
        for row in rows:
            want = float(np.mean([float(row[column]) for column in ("monolix", "mcmc", "sir")]))
            i = found.courses.ids.index(row["id"])
            eta, weight = found.eta[i], found.weight[i]
            if row["target"].startswith("time"):
                eta, weight = eta[systematic(weight[None], 0.5, DRAWS)[0]], None
            draws = draws_of(found.courses.select([i]), eta, weight, history=False)
            place = f"{name}, patient {row['id']}, {row['target']}"
            cases.append((place, _target(found.courses.model, draws, row["target"]), want))
    yield check(
        "posterior_doses",
        cases,
        lambda case: _unlike(case[1], case[2], DOSES),
        lambda case: case[0],
    )


def draws_of(
    courses: Courses, eta: Floats, weight: Floats | None = None, *, history: bool, output: str | None = None
) -> Draws:
    """Return draws eta (k, d) of one patient, on top of what is recorded or from an empty system."""
    usual = output or courses.model.outputs[0].name
    share = np.full(len(eta), 1.0 / len(eta)) if weight is None else weight

    def levels(doses: Sequence[Dose], times: Floats, output: str | None, every: float | None) -> Floats:
        if every is not None:
            raise ValueError("no case asks for a plan that goes on for ever")
        read = courses.simulate(eta[None], [list(doses)], times, [output or usual], history=history)
        return read[0, :, :, 0]

    return Draws(levels, share)


def _target(model: PopulationModel, draws: Draws, target: str) -> float:
    """Return the dose or time of a target such as dose_c3h_30, dose_auc12_500, time_below_0.5_after_100."""
    route = model.routes[0].name
    if found := re.fullmatch(r"dose_c([\d.]+)h_([\d.]+)", target):
        time, value = map(float, found.groups())
        return find_dose(draws, Plan(route=route), Level(time), value, probability=_CHANCE).value
    if found := re.fullmatch(r"dose_auc([\d.]+)_([\d.]+)", target):
        end, value = map(float, found.groups())
        area = Area(0.0, end, total=f"AUC_{model.outputs[0].name}")
        return find_dose(draws, Plan(route=route), area, value, probability=_CHANCE).value
    if found := re.fullmatch(r"time_below_([\d.]+)_after_([\d.]+)", target):
        value, amount = map(float, found.groups())
        times = np.arange(_GRID_BEGIN, _GRID_END, _GRID)
        return first_time(draws, Plan(route=route), amount, value, times, probability=_CHANCE).value
    raise ValueError(f"unknown target {target!r}")


# ----------------------------------------------------------------------------------- bolus_1cmt_nonmem.csv

_BOLUS: Entry = {
    "id": "bolus_1cmt",
    "states": ["CENTRAL"],
    "theta": {"TVCL": 7.67, "TVV": 97.7},
    "omega": [[0.0406, 0.0623], [0.0623, 0.117]],
    "params": {"cl": "TVCL*exp(ETA1)", "v": "TVV*exp(ETA2)"},
    "ode": {"CENTRAL": "-cl/v*CENTRAL"},
    "outputs": {"1": "CENTRAL/v*1000"},
    "error": {"1": {"type": "additive", "add_var": 17300.0}},
}
_BOLUS_DOSES = ((0.0, 100.0), (24.0, 100.0))


def bolus(folder: Path) -> Iterator[Row]:
    """NONMEM's POSTHOC parameters and predictions of patients with two boluses."""
    patients: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows_of(folder / "bolus_1cmt_nonmem.csv"):
        patients[row["id"]].append(row)
    model = model_of(_BOLUS)
    courses = Courses.of(model, [_bolus_records(name, rows) for name, rows in patients.items()])
    fit = estimate(courses)
    cases: list[tuple[str, float, float]] = []
    for i, (name, rows) in enumerate(patients.items()):
        for parameter in ("cl", "v"):
            mine = float(fit.theta[i, 0, model.column(parameter)])
            cases.append((f"patient {name}, {parameter}", mine, float(rows[0][parameter])))
        at = dict(zip(courses.sample_time[i].tolist(), fit.individual_prediction[i].tolist(), strict=True))
        cases += [
            (f"patient {name}, IPRED at {row['time']} h", at[float(row["time"])], float(row["ipred"]))
            for row in rows
        ]
    yield check(
        "bolus_1cmt_nonmem", cases, lambda case: _unlike(case[1], case[2], BOLUS), lambda case: case[0]
    )


def _bolus_records(name: str, rows: Sequence[Mapping[str, str]]) -> PatientRecords:
    """Records of one patient; a level at the time of a dose is the one before it."""
    records = sorted(
        [(float(row["time"]), 0.0, float(row["dv"])) for row in rows]
        + [(time, amount, math.nan) for time, amount in _BOLUS_DOSES],
        key=lambda record: record[:2],
    )
    time, amount, dv = map(list, zip(*records, strict=True))
    return PatientRecords.of(name, time, amount=amount, dv=dv, compartment=1)
