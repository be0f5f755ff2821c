"""Solvers: how a patient's state moves over one interval without events.

`Linear` is exact for linear compartments of any number; `Driven` moves linear kinetics exactly and what they
drive by an adaptive Runge-Kutta pair; `Tailored` is a model's own step. The engine is compiled once for each.
"""

from dosewright.envs.pharmacology.solvers.driven import Driven
from dosewright.envs.pharmacology.solvers.linear import Linear
from dosewright.envs.pharmacology.solvers.signatures import Solver
from dosewright.envs.pharmacology.solvers.tailored import Tailored

__all__ = ["Driven", "Linear", "Solver", "Tailored"]
