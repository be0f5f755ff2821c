"""Published warfarin trials again, on virtual patients: design, outcome and acceptance are data.

One file a trial, `eu_pact` and `coag`, each with its `ARMS`, its `SCENARIO` and `replicate`, to which
regimens are given. Research simulation, not for clinical use.
"""

from dosewright.evaluation.replications import coag, eu_pact
from dosewright.evaluation.replications.acceptance import Check
from dosewright.evaluation.replications.contrast import Contrast
from dosewright.evaluation.replications.course import AsksForVisits
from dosewright.evaluation.replications.result import Replication, write_replication

__all__ = ["AsksForVisits", "Check", "Contrast", "Replication", "coag", "eu_pact", "write_replication"]
