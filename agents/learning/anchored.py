"""The anchored action: a policy says how far to depart from Bayesian monitoring.

``dose = anchor · (1 + a)^2.2`` for an action a in [−1, 1]: 0 is exactly the monitoring dose, −1 no drug at
all, 1 a load of 4.6 times. The untrained policy, whose last layer is zero, therefore *is* Bayesian
monitoring, and learning can only be judged by what it adds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXPONENT = 2.2


def anchored_dose(anchor: NDArray[np.float64], action: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the dose (n,), before grid and cap.

    Parameters
    ----------
    anchor : (n,) monitoring dose, in the drug's unit.
    action : (n,) in [−1, 1]; values outside are clipped.
    """
    factor = (1.0 + np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)) ** EXPONENT
    return anchor * factor
