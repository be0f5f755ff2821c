"""A population model written as equations: any compartments, rates, random effects and outputs, as text.

The text is that of a control stream's ``$PK``, ``$DES`` and ``$ERROR``: parameters in the order in which they
are computed, a derivative for each state, an expression for each output. The columns of `theta` are the
parameters, the fixed effects, the covariates and the random effects ETA1, ETA2, …; a parameter may be any
function of the others, a covariate may change over a course, and `combine` computes the parameters anew.

Equations become source for Numba, which compiles each model once, whoever the patient. A system that is
linear in its states is moved exactly; of any other, the linear compartments that nothing else flows into are,
and the rest is integrated.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.equation_system import AREA, TIME, EquationSystem, refuse_unknown
from dosewright.envs.pharmacology.events import ROUTE
from dosewright.envs.pharmacology.expressions import FUNCTIONS
from dosewright.envs.pharmacology.model import (
    EXACT,
    Covariate,
    Floats,
    Output,
    Parameter,
    PopulationModel,
    ResidualError,
    Route,
    columns,
    empty,
)

_MOST_ROUTES = 128 // ROUTE  # an event's code is one byte
_SMALL = 1e-6


def equation_model(
    name: str,
    *,
    states: Sequence[str],
    theta: Mapping[str, float],
    omega: ArrayLike,
    parameters: Mapping[str, str],
    ode: Mapping[str, str],
    outputs: Mapping[str, str],
    errors: Mapping[str, ResidualError],
    covariates: Sequence[str | Covariate] = (),
    routes: Sequence[Route] = (),
    initial: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    title: str = "",
    sources: Sequence[str] = (),
    time_unit: str = "h",
    amount_unit: str = "mg",
    scale: float = _SMALL,
) -> PopulationModel:
    """Make a population model from equations.

    Two compartments, an absorption that begins late, and a clearance that differs between two occasions::

        model = equation_model(
            "my_drug",
            states=("DEPOT", "CENTRAL", "PERIPH"),
            theta={"TVCL": 4.0, "TVV": 70.0, "KA": 1.0, "Q": 4.0, "VP": 50.0, "TVLAG": 0.5},
            omega=[0.09, 0.04, 0.04, 0.02, 0.02],
            covariates=("WT", "OCC"),
            parameters={
                "CL": "TVCL*(WT/70)**0.75*exp(ETA1 + ETA4*(OCC==1) + ETA5*(OCC==2))",
                "V": "TVV*WT/70*exp(ETA2)",
                "LAG": "TVLAG*exp(ETA3)",
            },
            ode={
                "DEPOT": "-KA*DEPOT",
                "CENTRAL": "KA*DEPOT - (CL + Q)/V*CENTRAL + Q/VP*PERIPH",
                "PERIPH": "Q/V*CENTRAL - Q/VP*PERIPH",
            },
            outputs={"C": "CENTRAL/V"},
            errors={"C": ResidualError(proportional=0.2)},
            routes=(Route("oral", "DEPOT", lag="LAG"), Route("vein", "CENTRAL")),
            units={"C": "mg/L", "CL": "L/h", "V": "L", "LAG": "h"},
        )
        person = model.typical({"WT": 80.0, "OCC": 1.0}, {})
        simulate(model, person, [(0.0, 100.0)], [2.0, 24.0], ["C", "AUC_C"])

    Parameters
    ----------
    name
        Identifier, said in messages and under which compiled kernels are cached.
    states
        Names of the states, compartment 1 first.
    theta
        Fixed effects and constants -> value.
    omega : (r, r) or (r,)
        Covariance of ETA1 … ETAr, or their variances.
    parameters
        Parameter -> expression in fixed effects, covariates, etas and earlier parameters.
    ode
        State -> its derivative, in all of these, the states and the time ``t``.
    outputs
        Output -> expression in the same names.
    errors
        Output -> residual error; an output without one is read as it is.
    covariates
        What is known of a person, as names, or with unit and range.
    routes
        Ways in, the first the usual one; by default a bolus or infusion into every state, named as the state.
        Lag, bioavailability and duration are the names of parameters or fixed effects.
    initial
        State -> expression, without states and ``t``, of its value before the first dose; 0 by default.
    units
        Output, parameter or fixed effect -> unit, shown in reports.
    title, sources, time_unit, amount_unit
        As in `PopulationModel`.
    scale
        Size of a state, in its unit, of which digits no longer count where the system is integrated.

    Returns
    -------
    PopulationModel
        Columns of `theta`: parameters, fixed effects, covariates, and ETA1 …, typically 0, which carry the
        random effects. Each output C that states move has the area under it from time 0 as an output AUC_C.
        Where the system is not linear, `states` may be in another order than given.

    Raises
    ------
    ValueError
        For an expression that cannot be read or holds a name that is not known, a name that stands for two
        things, an omega that is no covariance; it names model, expression and remedy.

    Notes
    -----
    ``model.typical`` raises ValueError for a covariate that is missing or not finite, and for a parameter
    that is not finite.
    """
    known = tuple(item if isinstance(item, Covariate) else _undescribed(item) for item in covariates)
    spread = _covariance(name, omega)
    etas = tuple(f"ETA{k + 1}" for k in range(len(spread)))
    _check_names(name, states, theta, [item.name for item in known], etas, parameters)
    system = EquationSystem(
        name,
        tuple(states),
        {key: _number(name, key, value) for key, value in theta.items()},
        tuple(item.name for item in known),
        etas,
        parameters,
        ode,
        outputs,
        initial or {},
    )
    kernels, unit = system.kernels, dict(units or {})
    refuse_unknown(f"model {name}, errors", errors, outputs)
    refuse_unknown(f"model {name}, units", unit, (*outputs, *parameters, *theta))
    seen = tuple(Output(key, unit.get(key, ""), errors.get(key, EXACT)) for key in outputs)
    areas = tuple(
        Output(f"{AREA}_{key}", f"{unit[key]}·{time_unit}" if unit.get(key) else "") for key in system.areas
    )
    ways = tuple(routes) or tuple(Route(key, key) for key in states if not key.startswith(AREA))
    _check_routes(name, ways, system.states, system.columns)
    return PopulationModel(
        name=name,
        title=title or name,
        sources=tuple(sources),
        time_unit=time_unit,
        amount_unit=amount_unit,
        parameters=(
            *(Parameter(key, unit.get(key, "")) for key in (*parameters, *theta)),
            *(Parameter(item.name, item.unit) for item in known),
            *(
                Parameter(key, "1", variance, effect="linear")
                for key, variance in zip(etas, np.diag(spread), strict=True)
            ),
        ),
        states=system.order,
        initial=kernels.initial if initial else empty(len(system.order)),
        routes=ways,
        outputs=(*seen, *areas),
        typical=_Typical(system, known),
        solver=system.solver(scale),
        observe=kernels.observe,
        covariates=known,
        covariances={
            (etas[i], etas[j]): float(spread[i, j])
            for i in range(len(etas))
            for j in range(i)
            if spread[i, j] != 0
        },
        combine=kernels.combine,
    )


# ---------------------------------------------------------------------------------------------- what is given


def _undescribed(name: str) -> Covariate:
    """A covariate of which only the name is known."""
    return Covariate(name, "", math.nan, flag="ASSUMPTION")


def _covariance(name: str, omega: ArrayLike) -> Floats:
    """Return omega as (r, r)."""
    spread = np.asarray(omega, dtype=np.float64)
    spread = np.diag(spread) if spread.ndim == 1 else spread
    where = f"model {name}, omega = {np.asarray(omega).tolist()}"
    if spread.ndim != 2 or spread.shape[0] != spread.shape[1]:
        raise ValueError(f"{where}: expected a square matrix, or a row of variances, one for each ETA")
    if not (np.all(np.isfinite(spread)) and np.array_equal(spread, spread.T)):
        raise ValueError(f"{where}: expected finite numbers, the same above and below the diagonal")
    if np.linalg.eigvalsh(spread).min(initial=math.inf) <= 0:
        raise ValueError(
            f"{where}: not positive definite; correct the covariances, leave out an ETA without variance"
        )
    return spread


def _number(name: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"model {name}, theta {key} = {value!r}; expected a finite number")
    return float(value)


def _check_names(
    name: str,
    states: Sequence[str],
    theta: Collection[str],
    covariates: Sequence[str],
    etas: Sequence[str],
    parameters: Collection[str],
) -> None:
    """Refuse what cannot be a name, and a name that is two things."""
    if not name.strip():
        raise ValueError(f"name = {name!r}; give the model a name, such as 'my_drug_2024'")
    found = {TIME: "the time"} | dict.fromkeys(FUNCTIONS, "a function") | dict.fromkeys(etas, "an eta")
    kinds = (
        ("a parameter", parameters), ("a fixed effect", theta), ("a covariate", covariates),
        ("a state", states),
    )  # fmt: skip
    for kind, names in kinds:
        for item in names:
            if not (isinstance(item, str) and item.isidentifier()) or iskeyword(item):
                raise ValueError(
                    f"model {name}: {item!r}, {kind}, is no name; use letters, digits and _, a letter first"
                )
            if item in found:
                raise ValueError(f"model {name}: {item!r} is {kind} and {found[item]}; rename one")
            found[item] = kind
    if not states:
        raise ValueError(f"model {name}: no states; name at least one compartment")


def _check_routes(name: str, routes: Sequence[Route], states: Sequence[str], known: Collection[str]) -> None:
    if len(routes) > _MOST_ROUTES:
        raise ValueError(
            f"model {name}: {len(routes)} routes, at most {_MOST_ROUTES}; name as routes those in use"
        )
    for route in routes:
        where = f"model {name}, route {route.name}"
        refuse_unknown(f"{where}, state", (route.state,), states)
        fraction = route.fraction[1] if isinstance(route.fraction, tuple) else route.fraction
        for kind, item in (("lag", route.lag), ("fraction", fraction), ("duration", route.duration)):
            if isinstance(item, str):
                refuse_unknown(f"{where}, {kind}", (item,), known)


@dataclass(frozen=True, eq=False)
class _Typical:
    """`PopulationModel.typical` of equations."""

    system: EquationSystem
    covariates: tuple[Covariate, ...]

    def __call__(self, covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
        """Return (n, p) parameters of people with `covariates` (n,), etas 0; there are no genotype
        `effects`."""
        system, at = self.system, self.system.columns
        given = dict(zip((item.name for item in self.covariates), self._read(covariates), strict=True))
        n = max((np.size(value) for value in (*covariates.values(), *effects.values())), default=1)
        theta = np.zeros((n, len(at)))
        for key, value in {**system.theta, **given}.items():
            theta[:, at[key]] = value
        made = system.kernels.combine(theta)
        fine = np.isfinite(made)
        if not fine.all():
            i, j = np.argwhere(~fine)[0]
            key = list(at)[j]
            known = ", ".join(f"{item} {theta[i, at[item]]:g}" for item in given) or "no covariates"
            raise ValueError(
                f"model {system.name}, parameter {key} = {system.parameters[key]!r}: {made[i, j]} for "
                f"patient {i} ({known}); look for a covariate that is out of all range"
            )
        return made

    def _read(self, covariates: Mapping[str, ArrayLike]) -> tuple[Floats, ...]:
        values = columns(covariates, *(item.name for item in self.covariates)) if self.covariates else ()
        for item, value in zip(self.covariates, values, strict=True):
            bad = ~(np.isfinite(value) & (value > item.least))
            if bad.any():
                above = f" above {item.least:g}" if math.isfinite(item.least) else ""
                raise ValueError(
                    f"model {self.system.name}: {item.name} of patient {int(np.argmax(bad))} is "
                    f"{value[bad][0]:g}; expected a finite number{above}"
                )
        return values
