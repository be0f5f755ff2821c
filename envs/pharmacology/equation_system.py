"""A system of equations: what each name is, which states are linear, and the kernels that move them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology.expressions import Expression, instead, read_expression
from dosewright.envs.pharmacology.generated import HEAD, Kernels, define, function, load
from dosewright.envs.pharmacology.solvers import Driven, Linear, Solver

TIME = "t"
AREA = "AUC"
"""Beginning of the name of a state that only adds up; a steady state leaves it out."""
_DRAWS = 8  # sets of parameters at which the rates of a linear part are looked at
_DISTINCT = 1e-4  # relative distance below which two of them count as one; three of one rate spread by 1e-5


def refuse_unknown(where: str, given: Collection[str], known: Collection[str]) -> None:
    """Raise ValueError for a name of `given` that is not in `known`."""
    for item in given:
        if item not in known:
            raise ValueError(f"{where}: unknown name {item!r}; {instead(item, known)}")


@dataclass(frozen=True, eq=False)
class EquationSystem:
    """The equations of a model, and the kernels they become."""

    name: str
    states: tuple[str, ...]
    theta: Mapping[str, float]
    covariates: tuple[str, ...]
    etas: tuple[str, ...]
    parameters: Mapping[str, str]
    ode: Mapping[str, str]
    outputs: Mapping[str, str]
    initial: Mapping[str, str]

    @cached_property
    def columns(self) -> dict[str, int]:
        """Column of `theta` of each name."""
        names = (*self.parameters, *self.theta, *self.covariates, *self.etas)
        return {key: i for i, key in enumerate(names)}

    @cached_property
    def computed(self) -> dict[str, Expression]:
        """Parameter -> its expression."""
        found = dict[str, Expression]()
        given = (*self.theta, *self.covariates, *self.etas)
        for key, text in self.parameters.items():
            elsewhere = self._not_of_a_parameter | {
                later: "is computed later; move it up" for later in self.parameters if later not in found
            }
            place = f"model {self.name}, parameter {key}"
            found[key] = read_expression(place, text, (*given, *found), elsewhere)
        return found

    @cached_property
    def before(self) -> dict[str, Expression]:
        """State -> its value before the first dose."""
        refuse_unknown(f"model {self.name}, initial", self.initial, self.states)
        return {
            key: read_expression(
                f"model {self.name}, initial {key}", text, self.columns, self._not_of_a_parameter
            )
            for key, text in self.initial.items()
        }

    @property
    def _not_of_a_parameter(self) -> dict[str, str]:
        """Names of the states and the time, with what to do about them in a parameter."""
        changing = (*self.states, TIME)
        return dict.fromkeys(changing, "changes with time; move what depends on it to the derivatives")

    @cached_property
    def seen(self) -> dict[str, Expression]:
        """Output -> its expression."""
        if not self.outputs:
            raise ValueError(f"model {self.name}: no outputs; give one, such as outputs={{'C': 'CENTRAL/V'}}")
        known = (*self.columns, *self.states, TIME)
        return {
            key: read_expression(f"model {self.name}, output {key}", text, known)
            for key, text in self.outputs.items()
        }

    @cached_property
    def derivatives(self) -> dict[str, Expression]:
        """State -> its derivative, areas under outputs last."""
        refuse_unknown(f"model {self.name}, ode", self.ode, self.states)
        known = (*self.columns, *self.states, TIME)
        found = dict[str, Expression]()
        for key in self.states:
            if key not in self.ode:
                raise ValueError(f"model {self.name}: state {key!r} has no derivative; add it to ode")
            found[key] = read_expression(f"model {self.name}, derivative of {key}", self.ode[key], known)
        added = {state: self.seen[key] for key, state in self._areas(found).items() if state not in found}
        return found | added

    @cached_property
    def areas(self) -> dict[str, str]:
        """Output -> state that adds it up."""
        return self._areas({key: self.derivatives[key] for key in self.states})

    def _areas(self, given: Mapping[str, Expression]) -> dict[str, str]:
        """Output -> state that adds it up: one that is given for that, or one more."""
        own = {key: derivative for key, derivative in given.items() if key.startswith(AREA)}
        moving = {*given, TIME} - own.keys()
        found = dict[str, str]()
        for key, expression in self.seen.items():
            area, text = f"{AREA}_{key}", self.outputs[key]
            if not expression.names & moving:  # constant, or an area itself
                continue
            if area in self.outputs:
                raise ValueError(
                    f"model {self.name}: output {area!r} is the area under {key!r}, which the model adds; "
                    "remove or rename it"
                )
            state = next((item for item, derivative in own.items() if derivative.same(expression)), area)
            if state in given and state not in own or state in own and not own[state].same(expression):
                raise ValueError(
                    f"model {self.name}: state {area!r} would be the area under output {key!r}; rename it, "
                    f"or give it the derivative {text!r}"
                )
            found[key] = state
        return found

    # ------------------------------------------------------------------------------------- what moves how

    @cached_property
    def _terms(self) -> dict[str, dict[str, str] | None]:
        """State -> its derivative as terms linear in the states; None where it is not."""
        moving = (*self.derivatives, TIME)
        found = dict[str, dict[str, str] | None]()
        for key, derivative in self.derivatives.items():
            terms = derivative.terms(moving, self._written)
            if terms is not None and terms.get("") == "0.0":
                del terms[""]
            found[key] = terms
        return found

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """States that are moved as linear compartments: all, or some that the others do not flow into."""
        every = tuple(self.derivatives)
        block = self._closed(every)
        if block == every:
            return block
        # an input into what nothing leaves has no rest, and equal rates no modes of their own
        leaving = self._closed([key for key in block if key in (self._terms[key] or {})])
        return leaving if leaving and self._has_modes(leaving) else ()

    def _closed(self, states: Sequence[str]) -> tuple[str, ...]:
        """Return those of `states` that are linear in one another with rates that do not change."""
        block = list(states)
        while True:
            terms = {key: self._terms[key] for key in block}
            left = [key for key in block if terms[key] is not None and set(terms[key] or {}) <= set(block)]
            if left == block:
                return tuple(block)
            block = left

    def _has_modes(self, block: tuple[str, ...]) -> bool:
        """Whether linear states have rates that are real, differ, and are not 0, around typical parameters.

        Covariates without a reference are looked at around 1.
        """
        made = define("\n".join((HEAD, *self._combine_lines, *self._rates_lines(block))), "<rates>")
        rng, fine = np.random.default_rng(1), False
        row = np.zeros((1, len(self.columns)))
        row[0, [self.columns[key] for key in self.covariates]] = 1.0
        row[0, [self.columns[key] for key in self.theta]] = list(self.theta.values())
        for _ in range(_DRAWS):
            theta, matrix = row * np.exp(rng.standard_normal(row.shape)), np.zeros((len(block), len(block)))
            try:
                made["combine"](theta)
                made["rates"](0.0, theta[0], matrix)
            except (ArithmeticError, ValueError, TypeError):  # no number at these parameters
                continue
            if np.all(np.isfinite(matrix)):
                fine = _differ(np.linalg.eigvals(matrix))
                if not fine:
                    return False
        return fine

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The states as the solver has them: linear ones first."""
        return (*self.linear, *(key for key in self.derivatives if key not in self.linear))

    def solver(self, scale: float) -> Solver:
        """Return what moves the states; `scale` as in `equation_model`."""
        rest = len(self.order) - len(self.linear)
        if not rest:
            return Linear(self.kernels.rates)
        return Driven(self.kernels.rates, self.kernels.rhs, len(self.linear), (scale,) * rest)

    # -------------------------------------------------------------------------------------- generated source

    @cached_property
    def _written(self) -> dict[str, str]:
        """Name -> local variable of a kernel."""
        return (
            {key: f"p{i}" for key, i in self.columns.items()}
            | {key: f"s{i}" for i, key in enumerate(self.states)}
            | {TIME: TIME}
        )

    def _loads(self, used: Sequence[Expression], places: Mapping[str, str]) -> list[str]:
        """Lines that load into local variables what expressions use; `places` says from where."""
        names = set[str]().union(*(expression.names for expression in used))
        return [f"{self._written[key]} = {place}" for key, place in places.items() if key in names]

    @property
    def _columns_of_one(self) -> dict[str, str]:
        return {key: f"theta[{i}]" for key, i in self.columns.items()}

    @property
    def _columns_of_many(self) -> dict[str, str]:
        return {key: f"theta[i, {i}]" for key, i in self.columns.items()}

    @property
    def _combine_lines(self) -> list[str]:
        places = {key: place for key, place in self._columns_of_many.items() if key not in self.parameters}
        body = self._loads(list(self.computed.values()), places)
        for key, expression in self.computed.items():
            local = self._written[key]
            body += [
                f"{local} = {expression.code(self._written)}", f"theta[i, {self.columns[key]}] = {local}",
            ]  # fmt: skip
        return function("combine", "theta", _for_each(body))

    @property
    def _initial_lines(self) -> list[str]:
        body = self._loads(list(self.before.values()), self._columns_of_many)
        for key, expression in self.before.items():
            body.append(f"out[i, {self.order.index(key)}] = {expression.code(self._written)}")
        return function("initial", "theta, out", _for_each(body))

    def _rates_lines(self, block: Sequence[str]) -> list[str]:
        body = self._loads([self.derivatives[key] for key in block], self._columns_of_one)
        for i, key in enumerate(block):
            for other, rate in (self._terms[key] or {}).items():
                body.append(f"matrix[{i}, {block.index(other)}] = {rate}")
        return function("rates", "t, theta, matrix", body)

    @property
    def _rhs_lines(self) -> list[str]:
        first = len(self.linear)
        places = self._columns_of_one | {
            key: f"x[{i}]" if i < first else f"y[{i - first}]" for i, key in enumerate(self.order)
        }
        derivatives = [self.derivatives[key] for key in self.order[first:]]
        body = self._loads(derivatives, places)
        # all are computed before one is written, so that the compiler computes what they share once
        body += [f"d{i} = {item.code(self._written)}" for i, item in enumerate(derivatives)]
        body += [f"dy[{i}] = d{i}" for i in range(len(derivatives))]
        return function("rhs", "t, y, x, theta, dy", body)

    @property
    def _observe_lines(self) -> list[str]:
        places = self._columns_of_one | {key: f"state[{i}]" for i, key in enumerate(self.order)}
        body = list[str]()
        for number, expression in enumerate(self.seen.values()):
            lines = [*self._loads([expression], places), f"return {expression.code(self._written)}"]
            body += [f"if output == {number}:", *(f"    {line}" for line in lines)]
        for number, state in enumerate(self.areas.values(), start=len(self.seen)):
            body += [f"if output == {number}:", f"    return state[{self.order.index(state)}]"]
        return function("observe", "t, state, theta, output", [*body, "return math.nan"])

    @cached_property
    def kernels(self) -> Kernels:
        """The generated functions."""
        parts = (
            self._combine_lines, self._initial_lines, self._rates_lines(self.linear), self._rhs_lines,
            self._observe_lines,
        )  # fmt: skip
        source = "\n".join((HEAD, *(line for part in parts for line in part)))
        return Kernels(self.name, load(source), len(self.order))


def _for_each(body: Sequence[str]) -> list[str]:
    """The same for each row of theta."""
    return ["for i in range(theta.shape[0]):", *(f"    {line}" for line in body)] if body else []


def _differ(rates: NDArray[Any]) -> bool:
    """Whether rates are real and not 0, and no three of them are one: a pair is moved apart by the solver."""
    size = np.abs(rates)
    if np.any(np.abs(np.imag(rates)) > _DISTINCT * size) or size.min() <= _DISTINCT * size.max():
        return False
    near = np.abs(rates[:, None] - rates) <= _DISTINCT * np.maximum(size[:, None], size)
    return bool(near.sum(axis=1).max() <= 2)
