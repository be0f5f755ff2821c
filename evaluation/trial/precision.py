"""How precise a trial should be: patients are added until the differences are known well enough.

The rule looks at the width of the intervals, never at their sign, and stops at the first look at which all
are narrow enough. Stopping by the width leaves the interval of a mean valid as the wanted width shrinks: the
number of patients at which it stops is then nearly fixed by the variance (Anscombe 1952, Proc Camb Phil Soc
48:600; Chow and Robbins 1965, Ann Math Stat 36:457; for simulations Glynn and Whitt 1992, Ann Appl Probab
2:180). What is left is a small loss of coverage where few patients are enough, since a variance that came out
small by chance stops early. With looks every 1000 patients and half a point it cannot be told from none:
0.949 for normal and 0.954 for skewed differences, 6000 runs each; skewed ones with looks every 50 patients,
450 at the end, had 0.934. Looking at the sign, and stopping when it is significant, would not be valid at
all: that takes a confidence sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.statistics import additional_pairs, paired_difference

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """What was wanted of a trial's precision, and what came of it.

    Attributes
    ----------
    wanted
        Largest half-width of the 95 % intervals, a share: 0.005 is half a point.
    reference
        Arm that the differences of benefit are from; of several the one from which the widest is.
    half_widths
        Arm -> half-width at the end; of several references the widest.
    reached
        Whether all are as wanted; if not, the most patients allowed were treated.
    most
        Patients allowed.
    additional
        Forecast of the further patients that the differences need, see `additional_pairs`; 0 when reached.
    """

    wanted: float
    reference: str
    half_widths: Mapping[str, float]
    reached: bool
    most: int
    additional: int


def check_wanted(wanted: float, arms: Sequence[str], references: Sequence[str]) -> None:
    """Refuse a precision that means nothing.

    Parameters
    ----------
    wanted
        As in `Precision`.
    arms
        Names of all arms.
    references
        Those of them that the others' differences are from.

    Raises
    ------
    ValueError
        For a width that is not positive, no reference, one that is no arm, or no arm to compare with them.
    """
    if not 0 < wanted < np.inf:
        raise ValueError(f"half-width {wanted}; expected a positive share, such as 0.005 for half a point")
    if not references:
        raise ValueError(f"half-width: differences from which arm? name one of {', '.join(arms)}")
    for reference in references:
        if reference not in arms:
            raise ValueError(
                f"half-width: reference {reference!r} is no arm of this trial: {', '.join(arms)}"
            )
    if set(arms) <= set(references):
        raise ValueError(
            f"half-width: there is no arm but {', '.join(map(repr, references))} to compare; give another one"
        )


def look(wanted: float, references: Sequence[str], benefit: Mapping[str, Floats], most: int) -> Precision:
    """Return how precise the trial is with the patients treated so far.

    Parameters
    ----------
    wanted, most
        As in `Precision`.
    references
        Arms that every other arm's difference is from. Differences between them are not asked for.
    benefit : arm -> (n,) benefit of each patient; one without in an arm is left out of its difference
    """
    widths = dict[str, float]()
    widest, additional = (0.0, references[0]), 0
    for name, values in benefit.items():
        if name in references:
            continue
        for reference in references:
            known = np.isfinite(values) & np.isfinite(benefit[reference])
            difference = paired_difference(values[known], benefit[reference][known])
            width = difference.high - difference.mean
            widths[name] = max(width, widths.get(name, 0.0))
            widest = max(widest, (width, reference))
            additional = max(additional, additional_pairs(difference.n, width, wanted))
    return Precision(wanted, widest[1], widths, widest[0] <= wanted, most, additional)
