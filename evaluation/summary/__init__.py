"""What a trial's report says, in numbers: `summarise` makes the dictionary that is `result.json`.

The page prints the same dictionary and computes nothing, so the two cannot disagree.
"""

from dosewright.evaluation.summary.subgroups import SMALLEST_SUBGROUP
from dosewright.evaluation.summary.training_seeds import check_trained
from dosewright.evaluation.summary.trial import NOTICE, summarise

__all__ = ["NOTICE", "SMALLEST_SUBGROUP", "check_trained", "summarise"]
