"""Pharmacology: what a population model is, and the one engine that moves patients through any of them."""

from dosewright.envs.pharmacology.engine import (
    SolverError,
    follow,
    outputs_now,
    simulate,
    stream,
)
from dosewright.envs.pharmacology.equations import equation_model
from dosewright.envs.pharmacology.events import Dose, Events, Kind
from dosewright.envs.pharmacology.model import (
    Constant,
    Covariate,
    Flag,
    GenotypeTerm,
    Output,
    Parameter,
    PopulationModel,
    ResidualError,
    Route,
    columns,
    empty,
    stack,
    variance_of_cv,
)
from dosewright.envs.pharmacology.solvers import Driven, Linear, Tailored
from dosewright.envs.pharmacology.steady_state import steady_state

__all__ = [
    "Constant",
    "Covariate",
    "Dose",
    "Driven",
    "Events",
    "Flag",
    "GenotypeTerm",
    "Kind",
    "Linear",
    "Output",
    "Parameter",
    "PopulationModel",
    "ResidualError",
    "Route",
    "SolverError",
    "Tailored",
    "columns",
    "empty",
    "equation_model",
    "follow",
    "outputs_now",
    "simulate",
    "stack",
    "steady_state",
    "stream",
    "variance_of_cv",
]
