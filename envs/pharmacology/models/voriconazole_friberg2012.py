"""Voriconazole, Friberg 2012: saturable and linear elimination, from children to adults, by CYP2C19.

Friberg LE, Ravva P, Karlsson MO, Liu P. Integrated population pharmacokinetic analysis of voriconazole in
children, adolescents, and adults. Antimicrob Agents Chemother 2012;56:3032-3042.

Structure (time in h since the first dose, which is therefore given at time 0; amounts in mg)::

    dA0     = −ka·A0                                        F times an oral dose enters A0 after tlag
    dA1     =  ka·A0 − CL·C − Vmax(t)·C/(Km + C) − Q·(C − A2/V3)          C = A1/V2 in mg/L
    dA2     =  Q·(C − A2/V3)                                dAUC = C
    Vmax(t) =  Vmax1·(1 − Vinh·τ/(τ + T50 − 1)),  τ = max(t − 1, 0)

Vmax falls with time whatever is given, and does not recover when doses are left out: keep to courses without
long pauses. The adults are healthy volunteers; children and adolescents are immunocompromised. Adult
estimates are used from 17 years on; 17 to 22 years were not studied (ASSUMPTION).

Several random effects enter in a way of their own. The effect of Km moves Vmax1 too, by a share that differs
between adolescents and adults; children have an effect of Vmax1 of their own, correlated with that of Km. The
effects of CL and F are wider in children and adolescents, that of ka is absent in adults, and that of F is
skewed (Box-Cox) on the logit scale. `combine` does all this from the columns eta_….
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.model import (
    Constant,
    Covariate,
    Floats,
    Output,
    Parameter,
    PopulationModel,
    ResidualError,
    Route,
    columns,
    empty,
    stack,
)
from dosewright.envs.pharmacology.models import voriconazole_kim2019 as kim2019
from dosewright.envs.pharmacology.solvers import Driven

_PAPER = "Friberg 2012, Antimicrob Agents Chemother 56:3032"

KM = Constant(1.15, "mg/L", "VERIFIED", _PAPER)
VMAX1 = Constant(114.0, "mg/h", "VERIFIED", f"{_PAPER}, at 1 h and 70 kg")
STUDY1_ON_KM_AND_VMAX = Constant(0.618, "1", "VERIFIED", f"{_PAPER}, children of study 1")
T50 = Constant(2.41, "h", "VERIFIED", _PAPER)
VINH = Constant(1.50, "logit", "VERIFIED", f"{_PAPER}, share of Vmax1 that is lost")
CHILD_ON_VINH = Constant(-0.390, "logit", "VERIFIED", f"{_PAPER}, under 12 years")
CL = Constant(6.16, "L/h", "VERIFIED", f"{_PAPER}, at 70 kg")
V2 = Constant(79.0, "L", "VERIFIED", f"{_PAPER}, at 70 kg")
V3 = Constant(103.0, "L", "VERIFIED", f"{_PAPER}, at 70 kg")
Q = Constant(15.5, "L/h", "VERIFIED", f"{_PAPER}, adults, at 70 kg")
YOUNG_ON_Q = Constant(1.637, "1", "VERIFIED", f"{_PAPER}, children and adolescents")
F = Constant(0.585, "logit", "VERIFIED", _PAPER)
KA = (
    Constant(1.19, "1/h", "VERIFIED", f"{_PAPER}, children"),
    Constant(0.458, "1/h", "VERIFIED", f"{_PAPER}, adolescents"),
    Constant(100.0, "1/h", "VERIFIED", f"{_PAPER}, adults, fixed"),
)
TLAG = Constant(0.949, "h", "VERIFIED", f"{_PAPER}, adults")
YOUNG_ON_TLAG = Constant(0.126, "1", "VERIFIED", f"{_PAPER}, children and adolescents")
BOX_COX_OF_F = Constant(0.367, "1", "VERIFIED", _PAPER)

# CYP2C19 acts in adults only: intermediate and poor metabolisers lose all of Vmax
CYP2C19 = replace(kim2019.CYP2C19, source=_PAPER)

CHILD, ADOLESCENT, ADULT = range(3)
# by age group: factor on the effect of Km that moves Vmax1, and factors on the effects of CL and F
_KM_ON_VMAX = np.array([0.0, 0.208, 0.584])
_WIDTH_OF_CL = np.array([2.70, 2.70, 1.0])
_WIDTH_OF_F = np.array([1.67 / 0.686, 1.67 / 0.686, 1.0])

PARAMETERS = (
    Parameter("Km", "mg/L"),
    Parameter("Vmax1", "mg/h"),
    Parameter("T50", "h"),
    Parameter("Vinh", "1"),
    Parameter("CL", "L/h"),
    Parameter("V2", "L", 0.136**2),
    Parameter("Q", "L/h", 0.424**2),
    Parameter("V3", "L", 0.769**2),
    Parameter("ka", "1/h"),
    Parameter("tlag", "h"),
    Parameter("F", "1"),
    Parameter("group", "0 child, 1 adolescent, 2 adult"),
    # standard deviations are published
    Parameter("eta_Km", "1", 1.36**2, effect="linear"),
    Parameter("eta_Vmax1", "1", 0.239**2, effect="linear"),
    Parameter("eta_CL", "1", 0.435**2, effect="linear"),
    Parameter("eta_F", "1", 0.686**2, effect="linear"),
    Parameter("eta_ka", "1", 0.898**2, effect="linear"),
)
_KM, _VMAX1, _T50, _VINH, _CL, _V2, _Q, _V3, _KA, _TLAG, _F, _GROUP = range(12)
_ETAS = slice(12, 17)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 17) typical parameters.

    Parameters
    ----------
    covariates
        ``age_y``, ``weight_kg``; ``study1``, 1 for a child of the paper's first study; (n,) each.
    effects
        ``cyp2c19_phenotype`` (n,) 0 normal (also rapid and ultrarapid), 1 intermediate, 2 poor metaboliser.
    """
    age, weight, study1 = columns(covariates, "age_y", "weight_kg", "study1")
    (phenotype,) = columns(effects, "cyp2c19_phenotype")
    group = np.where(age < 12, CHILD, np.where(age < 17, ADOLESCENT, ADULT))
    young, size = group != ADULT, weight / 70
    study = STUDY1_ON_KM_AND_VMAX.value**study1
    share = _share(VINH.value + CHILD_ON_VINH.value * (group == CHILD))
    return stack(
        KM.value * study,
        VMAX1.value * study * size**0.75,
        T50.value,
        np.where(~young & (phenotype > 0), 1.0, share),
        CL.value * size**0.75,
        V2.value * size,
        Q.value * size**0.75 * np.where(young, YOUNG_ON_Q.value, 1.0),
        V3.value * size,
        np.array([constant.value for constant in KA])[group],
        TLAG.value * np.where(young, YOUNG_ON_TLAG.value, 1.0),
        _share(F.value),
        group,
        *np.zeros(5),
    )


def combine(theta: Floats) -> Floats:
    """Return (n, 17) parameters into which the effects of the columns eta_… have gone.

    These columns become 0, so a second call changes nothing.
    """
    made, group = theta.copy(), theta[:, _GROUP].astype(np.int64)
    km, vmax, cl, f, ka = theta[:, _ETAS].T
    skewed = np.expm1(BOX_COX_OF_F.value * _WIDTH_OF_F[group] * f) / BOX_COX_OF_F.value
    made[:, _KM] *= np.exp(km)
    made[:, _VMAX1] *= np.exp(_KM_ON_VMAX[group] * km + np.where(group == CHILD, vmax, 0.0))
    made[:, _CL] *= np.exp(_WIDTH_OF_CL[group] * cl)
    made[:, _KA] *= np.exp(np.where(group == ADULT, 0.0, ka))
    made[:, _F] = _share(np.log(theta[:, _F] / (1 - theta[:, _F])) + skewed)
    made[:, _ETAS] = 0.0
    return made


def maintenance_dose(theta: Floats, target: float) -> Floats:
    """Return the oral dose (mg) every 12 h that replaces what is eliminated at a constant concentration
    `target`, once Vmax has fallen to its limit.

    Parameters
    ----------
    theta : (..., 17) individual parameters.
    target : mg/L
    """
    saturable = theta[..., _VMAX1] * (1 - theta[..., _VINH]) / (theta[..., _KM] + target)
    return target * (theta[..., _CL] + saturable) * 12 / theta[..., _F]


def _share(logit: ArrayLike) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(logit))))


def _rates(t, theta, matrix):
    matrix[0, 0] = -theta[8]


def _rhs(t, y, x, theta, dy):
    # y: A1, A2, AUC
    c, late = y[0] / theta[5], max(t - 1.0, 0.0)
    vmax = theta[1] * (1.0 - theta[3] * late / (late + theta[2] - 1.0))
    exchange = theta[6] * (c - y[1] / theta[7])
    dy[0] = theta[8] * x[0] - theta[4] * c - vmax * c / (theta[0] + c) - exchange
    dy[1] = exchange
    dy[2] = c


def _observe(t, state, theta, output):
    return state[1] / theta[5] if output == 0 else state[3]


MODEL = PopulationModel(
    name="voriconazole_friberg2012",
    title="Voriconazole, plasma concentration from children to adults (Friberg 2012)",
    sources=(f"{_PAPER}, doi:10.1128/AAC.05761-11",),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A0", "A1", "A2", "AUC"),
    initial=empty(4),
    routes=(Route("oral", "A0", fraction="F", lag="tlag"), Route("infusion", "A1")),
    outputs=(
        # of studies 3 and 4, without its random effect, also for adult patients (ASSUMPTION); healthy adults
        # have 0.160 on oral doses and 0.0912 on infusions
        Output("C", "mg/L", ResidualError(log_sd=0.365, flag="ASSUMPTION", source=_PAPER)),
        Output("AUC", "mg·h/L"),
    ),
    typical=typical,
    solver=Driven(_rates, _rhs, linear=1, scale=(1.0, 1.0, 1.0)),
    observe=_observe,
    covariates=(
        Covariate("age_y", "years", 35.0, 2.0, 55.0),
        Covariate("weight_kg", "kg", 70.0, least=0.0),
        Covariate("study1", "1", 0.0),
    ),
    genotype_terms=(CYP2C19,),
    covariances={("eta_Km", "eta_Vmax1"): 0.81 * 1.36 * 0.239},
    combine=combine,
    breaks=(1.0,),
)
