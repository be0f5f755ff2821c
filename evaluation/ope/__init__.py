"""Off-policy evaluation: the value of a regimen from a log that another regimen made."""

from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.basis import Monomials, Table
from dosewright.evaluation.ope.bootstrap import bca_interval, resample
from dosewright.evaluation.ope.bounds import Bounds, reward_range_bounds
from dosewright.evaluation.ope.comparison import compare
from dosewright.evaluation.ope.decide import Decision, Grounds, decide
from dosewright.evaluation.ope.diagnostics import Overlap, unsupported_mass, unsupported_share
from dosewright.evaluation.ope.distribution import ReturnDistribution
from dosewright.evaluation.ope.dose_overlap import DoseOverlap, dose_overlap
from dosewright.evaluation.ope.doubly_robust import dm, dr, dr_os, switch_dr, wdr
from dosewright.evaluation.ope.eligibility import refuse_training_patients
from dosewright.evaluation.ope.estimate import Estimate
from dosewright.evaluation.ope.fitted_q import FittedQ, fqe_per_step
from dosewright.evaluation.ope.fitted_q_cross_fitted import fqe_cross_fitted
from dosewright.evaluation.ope.fitted_q_pooled import fqe_pooled
from dosewright.evaluation.ope.folds import fold_numbers
from dosewright.evaluation.ope.importance import importance_sampling, pdis, pdwis, wis
from dosewright.evaluation.ope.kernel import choose_bandwidth, kernel_log_prob
from dosewright.evaluation.ope.magic import magic, magic_blend
from dosewright.evaluation.ope.marginal import drl, marginal_weights, mis, wmis
from dosewright.evaluation.ope.marginal_recursion import (
    counted_weights,
    linear_weights,
    mis_counted,
    mis_linear,
)
from dosewright.evaluation.ope.population import population_effective_sample_size
from dosewright.evaluation.ope.ranking import ranking, top_k
from dosewright.evaluation.ope.sensitivity import confounding_bounds, flipping_odds_ratio
from dosewright.evaluation.ope.sequences import confidence_sequence
from dosewright.evaluation.ope.stream import EstimateStream
from dosewright.evaluation.ope.survival import weighted_kaplan_meier
from dosewright.evaluation.ope.target import Target, ask_target, share_changed, target_log_prob
from dosewright.evaluation.ope.target_doses import TargetDoses
from dosewright.evaluation.ope.weights import Weights, importance_weights

__all__ = [
    "ActionValues",
    "Bounds",
    "Decision",
    "DoseOverlap",
    "Estimate",
    "EstimateStream",
    "FittedQ",
    "Grounds",
    "Monomials",
    "Overlap",
    "ReturnDistribution",
    "Table",
    "Target",
    "TargetDoses",
    "Weights",
    "ask_target",
    "bca_interval",
    "choose_bandwidth",
    "compare",
    "confidence_sequence",
    "confounding_bounds",
    "counted_weights",
    "decide",
    "dm",
    "dose_overlap",
    "dr",
    "dr_os",
    "drl",
    "flipping_odds_ratio",
    "fold_numbers",
    "fqe_cross_fitted",
    "fqe_per_step",
    "fqe_pooled",
    "importance_sampling",
    "importance_weights",
    "kernel_log_prob",
    "linear_weights",
    "magic",
    "magic_blend",
    "marginal_weights",
    "mis",
    "mis_counted",
    "mis_linear",
    "pdis",
    "pdwis",
    "population_effective_sample_size",
    "ranking",
    "refuse_training_patients",
    "resample",
    "reward_range_bounds",
    "share_changed",
    "switch_dr",
    "target_log_prob",
    "top_k",
    "unsupported_mass",
    "unsupported_share",
    "wdr",
    "weighted_kaplan_meier",
    "wis",
    "wmis",
]
