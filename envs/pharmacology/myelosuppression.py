"""The chain of blood cells of Friberg's myelosuppression model, shared by the drugs that suppress it.

Friberg LE, Henningsson A, Maas H, et al. J Clin Oncol 2002;20:4713-4721. Proliferating cells, three transit
compartments and circulating cells, all with one transit rate, and a feedback of the circulating cells::

    dProl = ktr·Prol·(1 − Edrug)·(Circ0/Circ)^γ − ktr·Prol
    dT1 = ktr·(Prol − T1), dT2 = ktr·(T1 − T2), dT3 = ktr·(T2 − T3), dCirc = ktr·T3 − kcirc·Circ

The effect is not clipped: it may exceed 1 at the peak of a short infusion.
"""

from __future__ import annotations

from dosewright.envs.pharmacology.compilation import kernel


def _chain(y, first, ktr, kcirc, effect, base, gamma, dy):
    """Write the derivatives of Prol, T1, T2, T3, Circ, the five states from `first` on, to `dy`."""
    circulating = y[first + 4]
    growth = ktr * y[first] * (1.0 - effect) * (base / circulating) ** gamma
    dy[first] = growth - ktr * y[first]
    for i in range(1, 4):
        dy[first + i] = ktr * (y[first + i - 1] - y[first + i])
    dy[first + 4] = ktr * y[first + 3] - kcirc * circulating


chain = kernel(_chain)
