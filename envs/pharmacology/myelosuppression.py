"""The chain of blood cells of Friberg's myelosuppression model, shared by the drugs that suppress it.

Friberg LE, Henningsson A, Maas H, et al. J Clin Oncol 2002;20:4713-4721. Proliferating cells, three transit
compartments and circulating cells, all with one transit rate, and a feedback of the circulating cells::

    dProl = ktr·Prol·(1 − Edrug)·(Circ0/Circ)^γ − ktr·Prol
    dT1 = ktr·(Prol − T1), dT2 = ktr·(T1 − T2), dT3 = ktr·(T2 − T3), dCirc = ktr·T3 − kcirc·Circ

The effect is not clipped: it may exceed 1 at the peak of a short infusion.

The first state is lnProl, the logarithm of Prol::

    dlnProl = ktr·((1 − Edrug)·(Circ0/Circ)^γ − 1)

A large dose divides Prol by many powers of ten within hours. Integrated as such, an error of the solver would
turn it negative, and the feedback would blow that up; as a logarithm it is positive by construction, however
few cells are left. The compartments after it lose cells no faster than ktr and kcirc, and stay positive with
errors relative to themselves.
"""

from __future__ import annotations

import math

from dosewright.envs.pharmacology.compilation import kernel

# `Driven.scale` of lnProl, T1, T2, T3, Circ. An absolute error of the logarithm is a relative one of Prol.
# Errors of the others count relative to themselves, however few they are: Circ sets how fast cells grow back.
SCALE = (1.0, *(1e-200,) * 4)


def _chain(y, first, ktr, kcirc, effect, base, gamma, dy):
    """Write the derivatives of lnProl, T1, T2, T3, Circ, the five states from `first` on, to `dy`.

    A Circ below 0, as a stage of too long a step may have it, gives no number: the solver refuses that step.
    """
    dy[first] = ktr * ((1.0 - effect) * (base / y[first + 4]) ** gamma - 1.0)
    dy[first + 1] = ktr * (math.exp(y[first]) - y[first + 1])
    dy[first + 2] = ktr * (y[first + 1] - y[first + 2])
    dy[first + 3] = ktr * (y[first + 2] - y[first + 3])
    dy[first + 4] = ktr * y[first + 3] - kcirc * y[first + 4]


chain = kernel(_chain)
