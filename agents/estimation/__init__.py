"""What is known about one patient.

On records with their times: `Courses`, the most probable parameters (`estimate`), their posterior (`sample`)
and averages over models. On the stream of a scenario's observations: the belief (`BeliefFilter`), and what
comes (`Outlook`).
"""

from dosewright.agents.estimation.averaging import Average, average, predictive_p_value
from dosewright.agents.estimation.belief import Belief, BeliefFilter, UnderOneDose
from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.factor import LikelihoodFactor
from dosewright.agents.estimation.likelihood import event_log_likelihood, log_likelihood
from dosewright.agents.estimation.map import MapFit, conditional_covariance, estimate
from dosewright.agents.estimation.outlook import Outlook
from dosewright.agents.estimation.particles import Posterior, WeightedEffects, sample
from dosewright.agents.estimation.prior import Prior, known_people, prior
from dosewright.agents.estimation.readings import Graded, Happened
from dosewright.agents.estimation.surface import Surface, learn

__all__ = [
    "Average",
    "Belief",
    "BeliefFilter",
    "Courses",
    "Graded",
    "Happened",
    "LikelihoodFactor",
    "MapFit",
    "Outlook",
    "Posterior",
    "Prior",
    "Surface",
    "UnderOneDose",
    "WeightedEffects",
    "average",
    "conditional_covariance",
    "estimate",
    "event_log_likelihood",
    "known_people",
    "learn",
    "log_likelihood",
    "predictive_p_value",
    "prior",
    "sample",
]
