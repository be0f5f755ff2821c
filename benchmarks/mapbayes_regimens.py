"""The real-drug cases of `regimen_cases.json`: MAP estimates, exposures, and doses, intervals and times."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.mapbayes_cases import Entry, draws_of, model_of
from benchmarks.pgx_cases import Row, check
from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.map import MapFit, estimate
from dosewright.agents.regimens.quantities import Area, Level, Plan, Quantity, Trough
from dosewright.agents.regimens.search import Draws, find_dose, find_interval, first_time
from dosewright.envs import PatientRecords

Floats = NDArray[np.float64]

_AREA = 1e-3  # relative; the cases state no tolerance of exposures, and of doses for them 1e-4
_LEVEL_AT_ANSWER = 1e-3
_LONGEST = 480.0  # h: of an interval, and of the grid on which a time is looked for
_EVENT = ("time", "evid", "amt", "dv", "cmt", "rate", "duration", "ii", "addl", "ss")


@dataclass(frozen=True)
class _Question:
    """One expected number: what it is, what was found, and how far it may be off."""

    label: str
    got: float
    want: float
    tolerance: float


def regimens(folder: Path) -> Iterator[Row]:
    """Everything that the cases expect."""
    content = json.loads((folder / "regimen_cases.json").read_text(encoding="utf-8"))
    models = {entry["id"]: entry for entry in content["models"]}
    found, failures = list[_Question](), list[str]()
    for case in content["cases"]:
        try:
            found += _Patient(case, models[case["model"]]).questions()
        except Exception as error:  # whatever it is, the other cases are still compared
            failures.append(f"{case['id']}: {type(error).__name__}: {error}")
    row = check("regimen_cases", found, _fault, lambda question: question.label)
    total = row.total + len(failures)
    yield Row(row.name, row.passed, total, row.needed, (*row.failures, *failures), row.remarks)


def _fault(question: _Question) -> str | None:
    apart = abs(question.got - question.want)
    return None if apart <= question.tolerance else f"{question.got:.8g}, expected {question.want:.8g}"


@dataclass(frozen=True, eq=False)
class _Patient:
    """A case: a model and its one patient."""

    case: Mapping[str, Any]
    entry: Entry

    @property
    def expected(self) -> Mapping[str, Any]:
        return self.case["expect"]

    @cached_property
    def courses(self) -> Courses:
        """The patient's records."""
        model, events = model_of(self.entry), self.case["events"]

        def column(name: str, missing: float) -> list[float]:
            return [event.get(name, missing) for event in events]

        rate = [
            event["amt"] / event["duration"] if event.get("duration") else event.get("rate", 0.0)
            for event in events
        ]
        fixed = self.case.get("covariates", {})
        records = PatientRecords.of(
            self.case["id"],
            column("time", math.nan),
            evid=column("evid", math.nan),
            amount=column("amt", 0.0),
            rate=rate,
            interval=column("ii", 0.0),
            additional=column("addl", 0),
            steady=column("ss", 0),
            compartment=column("cmt", 1),
            dv=column("dv", math.nan),
            covariates={
                name: [event.get(name, fixed.get(name, math.nan)) for event in events]
                for name in self.entry.get("covariates", ())
            },
        )
        return Courses.of(
            model,
            [records],
            outputs={int(number): number for number in self.entry["outputs"]},
            compartments={int(route.name): route.name for route in model.routes},
        )

    @cached_property
    def fit(self) -> MapFit:
        """The MAP estimate."""
        return estimate(self.courses)

    def questions(self) -> Iterator[_Question]:
        """Everything that the case expects."""
        for number, value in self.expected.get("eta", {}).items():
            got = float(self.fit.eta[0, int(number) - 1])
            yield self._question(f"ETA{number}", got, value, self.expected["eta_atol"])
        for name, value in self.expected.get("individual_parameters", {}).items():
            yield self._relative(name, self._parameter(name), value, self.expected["individual_rtol"])
        for name, values in self.expected.get("individual_parameters_by_occasion", {}).items():
            for occasion, value in values.items():
                got = self._parameter(name, float(occasion))
                yield self._relative(
                    f"{name}, occasion {occasion}", got, value, self.expected["individual_rtol"]
                )
        for item in self.expected.get("predictions", ()):
            yield from self._predictions(item)
        for item in self.expected.get("auc", ()):
            yield self._relative(
                f"AUC over {item['window']}", self._area(item["window"]), item["value"], _AREA
            )
        for number, item in enumerate(self.expected.get("regimens", ()), start=1):
            yield from self._regimen(f"{item['find']}, regimen {number}", item)

    def _question(self, label: str, got: float, want: float, tolerance: float) -> _Question:
        return _Question(f"{self.case['id']}, {label}", got, want, tolerance)

    def _relative(self, label: str, got: float, want: float, tolerance: float) -> _Question:
        return self._question(label, got, want, tolerance * abs(want))

    def _parameter(self, name: str, occasion: float | None = None) -> float:
        """Individual parameter, in an occasion; "V_base" is that of an eta V without variability between
        occasions."""
        model, theta = self.courses.model, self.fit.theta[0]
        if name.endswith("_base"):
            base = name.removesuffix("_base")
            effect = float(self.fit.eta[0, list(self.entry["eta"]).index(base)])
            return self.entry["theta"][f"TV{base}"] * math.exp(effect)
        if occasion is None:
            return float(theta[0, model.column(name)])
        (varies,) = {key for event in self.case["events"] for key in event} - set(_EVENT)
        same = np.flatnonzero(theta[:, model.column(varies)] == occasion)
        return float(theta[same[0], model.column(name)])

    def _predictions(self, item: Mapping[str, Any]) -> Iterator[_Question]:
        copies = np.stack([np.zeros_like(self.fit.eta), self.fit.eta], axis=1)
        output = self.courses.model.outputs[0].name
        read = self.courses.simulate(copies, [[]], [item["time"]], [output])[0, :, 0, 0]
        for got, kind in zip(read.tolist(), ("pred", "ipred"), strict=True):
            yield self._question(
                f"{kind} at {item['time']} h", got, item[kind], self.expected["prediction_atol"]
            )

    def _area(self, window: list[float]) -> float:
        names = [f"AUC_{self.courses.model.outputs[0].name}"]
        read = self.courses.simulate(self.fit.eta[:, None], [[]], window, names)[0, 0, :, 0]
        return float(read[1] - read[0])

    def _draws(self, item: Mapping[str, Any]) -> Draws:
        return draws_of(self.courses, self.fit.eta, history=item["history"] == "patient")

    def _regimen(self, label: str, item: Mapping[str, Any]) -> Iterator[_Question]:
        """What is found for a regimen."""
        draws, route = self._draws(item), str(item.get("dose_cmt", 1))
        plan = Plan(
            item.get("dose_time", 0.0), item.get("interval", math.nan), item.get("n_doses", 1),
            item.get("duration", 0.0), route,
        )  # fmt: skip
        match item["find"]:
            case "dose":
                answer = find_dose(draws, plan, self._quantity(item), item["value"]).value
            case "interval":
                trough, bounds = Trough(item["trough_before_last"]), (item.get("duration", 0.0), _LONGEST)
                answer = find_interval(draws, plan, item["dose"], trough, item["value"], bounds=bounds).value
            case "first_time_below":
                begin = plan.doses(0.0)[-1].time if item.get("count_from_last_dose") else 0.0
                times = begin + np.arange(item["grid_from"], _LONGEST, item["grid_step"])
                amount = item.get("dose", 0.0)
                answer = first_time(draws, plan, amount, item["value"], times).value - begin
                if "value_at_answer" in item:
                    at = np.array([begin + item["answer"]])
                    level = float(draws.levels(plan.doses(amount), at, None, None)[0, 0])
                    yield self._relative(
                        f"{label}, level there", level, item["value_at_answer"], _LEVEL_AT_ANSWER
                    )
            case other:
                raise ValueError(f"unknown search {other!r}")
        want = item["answer"]
        yield self._question(label, answer, want, item.get("rtol", 0.0) * abs(want) + item.get("atol", 0.0))

    def _quantity(self, item: Mapping[str, Any]) -> Quantity:
        if item["target"] == "auc":
            begin, end = item["window"]
            return Area(begin, end, total=f"AUC_{self.courses.model.outputs[0].name}")
        return Level(item["time"])
