"""Published warfarin trials again, on virtual patients: design, outcome and acceptance are data.

One file a trial, `eu_pact` and `coag`, each with its `ARMS`, its `SCENARIO` and `replicate`, to which
regimens are given; and one a virtual trial of others, `anzabi_zadeh` and `augustin`, whose decision problems
are published protocols (`dosewright.envs.scenarios.protocols`). Research simulation, not for clinical use.
"""

from dosewright.evaluation.replications import anzabi_zadeh, augustin, coag, eu_pact
from dosewright.evaluation.replications.acceptance import Check
from dosewright.evaluation.replications.cohort import day_by_day
from dosewright.evaluation.replications.contrast import Contrast
from dosewright.evaluation.replications.course import AsksForVisits
from dosewright.evaluation.replications.peer import Arms, PeerTrial
from dosewright.evaluation.replications.result import Replication, write_replication

__all__ = [
    "Arms",
    "AsksForVisits",
    "Check",
    "Contrast",
    "PeerTrial",
    "Replication",
    "anzabi_zadeh",
    "augustin",
    "coag",
    "day_by_day",
    "eu_pact",
    "write_replication",
]
