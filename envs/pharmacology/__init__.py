"""Pharmacology: what a population model is, and the one engine that moves patients through any of them."""

from dosewright.envs.pharmacology.engine import (
    daily_response,
    follow,
    initial_state,
    outputs_now,
    simulate,
)
from dosewright.envs.pharmacology.model import (
    Constant,
    Flag,
    GenotypeTerm,
    Output,
    Parameter,
    PopulationModel,
)

__all__ = [
    "Constant",
    "Flag",
    "GenotypeTerm",
    "Output",
    "Parameter",
    "PopulationModel",
    "daily_response",
    "follow",
    "initial_state",
    "outputs_now",
    "simulate",
]
