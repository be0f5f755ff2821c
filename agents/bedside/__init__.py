"""One patient by hand: what the records say, what doses would do, what every regimen would give and why.

``advise(read_case(scenario("tacrolimus"), "patient.csv", genotypes={"CYP3A5": "*1/*3"}))``. Nothing here is
for clinical use.
"""

from dosewright.agents.bedside.advice import (
    NOTE,
    Advice,
    LevelRow,
    ModelRow,
    ParameterRow,
    RegimenRow,
    advise,
)
from dosewright.agents.bedside.case import Case, outputs_by_number, read_case
from dosewright.agents.bedside.prospects import Interval, Prospect, Target
from dosewright.agents.bedside.replay import Advised

__all__ = [
    "NOTE",
    "Advice",
    "Advised",
    "Case",
    "Interval",
    "LevelRow",
    "ModelRow",
    "ParameterRow",
    "Prospect",
    "RegimenRow",
    "Target",
    "advise",
    "outputs_by_number",
    "read_case",
]
