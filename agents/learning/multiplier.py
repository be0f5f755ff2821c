"""The price of harm: a Lagrange multiplier that holds an event below a budget.

Maximise benefit with P(event) at most a budget: the price of an event rises while it happens more often than
that, and falls while it happens less often (Altman, Constrained Markov Decision Processes, 1999; Ray, Achiam
and Amodei, Benchmarking safe exploration, 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST = 0.001  # events a patient: where monitoring harms nobody, one in a thousand may be
MOST = 100.0  # of benefit for one event: beyond it nothing but the event counts


@dataclass
class Multiplier:
    """Price of one event, in units of benefit.

    Attributes
    ----------
    value
        The price now.
    budget
        Events a patient that are allowed, above 0.
    rate
        Of learning: by how much the logarithm of the price changes, at most, at a time; 0: it is fixed.
    """

    value: float
    budget: float
    rate: float

    def learn(self, events: float) -> None:
        """Take in how many events a patient there were under the present policy."""
        excess = max(min(events / self.budget - 1.0, 1.0), -1.0)
        self.value = min(self.value * math.exp(self.rate * excess), MOST)
