"""Statistics of a paired virtual trial: the same patients under two regimens.

Pairing is what virtual patients offer and real ones do not: both arms share genotype, noise and missed doses,
so the interval of the difference is that of the per-patient differences, often half as wide as that of two
separate groups. What is named paired uses that, as do signed ranks, McNemar's test, the win probability and
the interaction; other comparisons take the arms as separate groups.

Differences are first arm minus second, ratios first over second.
"""

from dosewright.evaluation.statistics.aggregate import interquartile_mean
from dosewright.evaluation.statistics.competing_risks import cumulative_incidence
from dosewright.evaluation.statistics.interval import Difference, Interval, Ratio, student_half_width
from dosewright.evaluation.statistics.means import (
    mean_interval,
    paired_bootstrap_difference,
    paired_difference,
    unpaired_difference,
    wilcoxon_signed_rank,
)
from dosewright.evaluation.statistics.multiplicity import holm
from dosewright.evaluation.statistics.noninferiority import NonInferiority, noninferiority, p_value
from dosewright.evaluation.statistics.number_needed import NumberNeeded, number_needed
from dosewright.evaluation.statistics.precision import additional_pairs
from dosewright.evaluation.statistics.proportions import (
    exact_proportion_interval,
    mcnemar_exact,
    paired_proportion_difference,
    paired_risk_ratio,
    paired_wald_difference,
    proportion_interval,
    risk_ratio,
    unpaired_proportion_difference,
)
from dosewright.evaluation.statistics.rates import Rate, event_rate, rate_difference, rate_ratio
from dosewright.evaluation.statistics.subgroups import GroupGap, Interaction, interaction, worst_group_gap
from dosewright.evaluation.statistics.survival import (
    EventCurve,
    FollowUp,
    kaplan_meier,
    paired_restricted_mean_difference,
    restricted_mean,
)
from dosewright.evaluation.statistics.wins import win_probability

__all__ = [
    "Difference",
    "EventCurve",
    "FollowUp",
    "GroupGap",
    "Interaction",
    "Interval",
    "NonInferiority",
    "NumberNeeded",
    "Rate",
    "Ratio",
    "additional_pairs",
    "cumulative_incidence",
    "event_rate",
    "exact_proportion_interval",
    "holm",
    "interaction",
    "interquartile_mean",
    "kaplan_meier",
    "mcnemar_exact",
    "mean_interval",
    "noninferiority",
    "number_needed",
    "p_value",
    "paired_bootstrap_difference",
    "paired_difference",
    "paired_proportion_difference",
    "paired_restricted_mean_difference",
    "paired_risk_ratio",
    "paired_wald_difference",
    "proportion_interval",
    "rate_difference",
    "rate_ratio",
    "restricted_mean",
    "risk_ratio",
    "student_half_width",
    "unpaired_difference",
    "unpaired_proportion_difference",
    "wilcoxon_signed_rank",
    "win_probability",
    "worst_group_gap",
]
