"""What is known about one patient: prior, and the belief that follows the observations."""

from dosewright.agents.estimation.particles import Belief, BeliefFilter
from dosewright.agents.estimation.prior import Prior, prior

__all__ = ["Belief", "BeliefFilter", "Prior", "prior"]
