"""Propofol, Eleveld 2018: plasma and effect-site concentration and BIS, from newborns to old age.

Eleveld DJ, Colin P, Absalom AR, Struys MMRF. Pharmacokinetic-pharmacodynamic model for propofol for broad
application in anaesthesia and sedation. Br J Anaesth 2018;120:942-959.

Structure (time in min, amounts in mg, Ce in µg/mL)::

    dA1 = −(CL + Q2 + Q3)/V1·A1 + Q2/V2·A2 + Q3/V3·A3   Cp = A1/V1 in µg/mL
    dA2 = Q2/V1·A1 − Q2/V2·A2
    dA3 = Q3/V1·A1 − Q3/V3·A3
    dCe = ke0·(Cp − Ce)
    BIS = BIS0·(1 − Ce^γ/(Ce50^γ + Ce^γ))               γ = gamma_low up to Ce50, gamma_high above

`MODEL` is for arterial samples, `VENOUS` for venous ones. BIS has no delay here; a monitor's is
`bis_delay_s`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.body import fat_free_mass
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
from dosewright.envs.pharmacology.solvers import Linear

_PAPER = "Eleveld 2018, Br J Anaesth 120:942"

V1 = Constant(6.28, "L at 70 kg", "VERIFIED", _PAPER)
HALF_V1 = Constant(33.6, "kg", "VERIFIED", f"{_PAPER}, weight at which V1 is half of its largest")
V2 = Constant(25.5, "L at 70 kg", "VERIFIED", _PAPER)
V3 = Constant(273.0, "L at the reference's fat-free mass", "VERIFIED", _PAPER)
CL_MALE = Constant(1.79, "L/min at 70 kg", "VERIFIED", _PAPER)
CL_FEMALE = Constant(2.10, "L/min at 70 kg", "VERIFIED", _PAPER)
# the coefficient; 1.83, which some programs put here, is what the equation gives for the reference individual
Q2 = Constant(1.75, "L/min", "VERIFIED", _PAPER)
Q3 = Constant(1.11, "L/min", "VERIFIED", _PAPER)
KE0 = Constant(0.146, "1/min at 70 kg", "VERIFIED", f"{_PAPER}, arterial samples")
KE0_VENOUS = Constant(1.24, "1/min at 70 kg", "VERIFIED", f"{_PAPER}, venous samples")
VENOUS_ON_V1 = Constant(1.42, "1", "VERIFIED", f"{_PAPER}, rise of V1 at weight 0, venous samples")
VENOUS_ON_Q2 = Constant(0.68, "1", "VERIFIED", f"{_PAPER}, venous samples")
CE50 = Constant(3.08, "µg/mL at 35 years", "VERIFIED", _PAPER)
BIS0 = Constant(93.0, "1", "VERIFIED", _PAPER)
GAMMA_LOW = Constant(1.89, "1", "VERIFIED", f"{_PAPER}, Ce up to Ce50")
GAMMA_HIGH = Constant(1.47, "1", "VERIFIED", f"{_PAPER}, Ce above Ce50")

# Variances on the log scale, as published
PARAMETERS = (
    Parameter("V1", "L", 0.610),
    Parameter("V2", "L", 0.565),
    Parameter("V3", "L", 0.597),
    Parameter("CL", "L/min", 0.265),
    Parameter("Q2", "L/min", 0.346),
    Parameter("Q3", "L/min", 0.209),
    Parameter("ke0", "1/min", 0.702),
    Parameter("Ce50", "µg/mL"),
    Parameter("BIS0", "1"),
    Parameter("gamma_low", "1"),
    Parameter("gamma_high", "1"),
)
_V1, _V2, _V3, _CL, _Q2, _Q3, _KE0, _CE50, _BIS0, _GAMMA_LOW, _GAMMA_HIGH = range(11)
_REFERENCE = (35.0, 70.0, 170.0, 1.0)  # age, weight, height, male


def _sigmoid(x: ArrayLike, half: float, steepness: float) -> Floats:
    power = np.asarray(x, dtype=np.float64) ** steepness
    return power / (half**steepness + power)


def _postmenstrual_weeks(age: ArrayLike) -> Floats:
    return np.asarray(age, dtype=np.float64) * 52.0 + 40.0


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 11) typical parameters for arterial samples.

    Parameters
    ----------
    covariates
        ``age_y``, ``weight_kg``, ``height_cm``, ``male`` (1 or 0), ``opiates`` (1 or 0), (n,) each.
    effects
        None: no gene has a term.
    """
    age, weight, height, male, opiates = columns(
        covariates, "age_y", "weight_kg", "height_cm", "male", "opiates"
    )
    years, heavier = age - _REFERENCE[0], weight / _REFERENCE[1]
    weeks, weeks_reference = _postmenstrual_weeks(age), _postmenstrual_weeks(_REFERENCE[0])
    lean = fat_free_mass(age, weight, height, male) / fat_free_mass(*_REFERENCE)
    opiate_age = age * opiates  # terms of opiates grow with age
    v2 = V2.value * heavier * np.exp(-0.0156 * years)
    v3 = V3.value * lean * np.exp(-0.0138 * opiate_age)
    mature, mature_reference = _sigmoid(weeks, 68.3, 1.0), _sigmoid(weeks_reference, 68.3, 1.0)
    return stack(
        V1.value * _sigmoid(weight, HALF_V1.value, 1.0) / _sigmoid(_REFERENCE[1], HALF_V1.value, 1.0),
        v2,
        v3,
        np.where(male > 0, CL_MALE.value, CL_FEMALE.value)
        * heavier**0.75
        * _sigmoid(weeks, 42.3, 9.06)
        / _sigmoid(weeks_reference, 42.3, 9.06)
        * np.exp(-0.00286 * opiate_age),
        Q2.value * (v2 / V2.value) ** 0.75 * (1.0 + 1.30 * (1.0 - mature)),
        Q3.value * (v3 / V3.value) ** 0.75 * mature / mature_reference,
        KE0.value * heavier**-0.25,
        CE50.value * np.exp(-0.00635 * years),
        BIS0.value,
        GAMMA_LOW.value,
        GAMMA_HIGH.value,
    )


def typical_venous(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 11) typical parameters for venous samples: `typical` with another V1, Q2 and ke0."""
    theta = typical(covariates, effects)
    (weight,) = columns(covariates, "weight_kg")
    theta[:, _V1] *= 1.0 + VENOUS_ON_V1.value * (1.0 - _sigmoid(weight, HALF_V1.value, 1.0))
    theta[:, _Q2] *= VENOUS_ON_Q2.value
    theta[:, _KE0] *= KE0_VENOUS.value / KE0.value
    return theta


def bis_delay_s(age_y: ArrayLike) -> Floats:
    """Return how many seconds a monitor's BIS is late at `age_y` (RECALLED)."""
    return 15.0 + np.exp(0.0517 * np.asarray(age_y, dtype=np.float64))


def concentration_for_bis(theta: Floats, target: ArrayLike) -> Floats:
    """Return the effect-site concentration (µg/mL) at which BIS is `target`; 0 where it is without drug.

    Parameters
    ----------
    theta : (..., 11) individual parameters.
    target : (...) BIS, above 0.
    """
    odds = np.maximum(theta[..., _BIS0] / np.asarray(target, dtype=np.float64) - 1.0, 0.0)
    gamma = np.where(odds <= 1.0, theta[..., _GAMMA_LOW], theta[..., _GAMMA_HIGH])
    return theta[..., _CE50] * odds ** (1.0 / gamma)


def maintenance_rate(theta: Floats, target: ArrayLike) -> Floats:
    """Return the infusion (mg/min) that holds BIS at `target` in the end, when both peripheral compartments
    are full (hours; earlier it takes more)."""
    return theta[..., _CL] * concentration_for_bis(theta, target)


def _rates(t, theta, matrix):
    v1, v2, v3, cl, q2, q3, ke0 = theta[0], theta[1], theta[2], theta[3], theta[4], theta[5], theta[6]
    matrix[0, 0] = -(cl + q2 + q3) / v1
    matrix[0, 1], matrix[0, 2] = q2 / v2, q3 / v3
    matrix[1, 0], matrix[1, 1] = q2 / v1, -q2 / v2
    matrix[2, 0], matrix[2, 2] = q3 / v1, -q3 / v3
    matrix[3, 0], matrix[3, 3] = ke0 / v1, -ke0


def _observe(t, state, theta, output):
    if output == 1:
        return state[0] / theta[0]
    if output == 2:
        return state[3]
    gamma = theta[9] if state[3] <= theta[7] else theta[10]
    return theta[8] / (1.0 + (state[3] / theta[7]) ** gamma)


def _model(
    name: str,
    samples: str,
    typical_of: Callable[[Mapping[str, ArrayLike], Mapping[str, ArrayLike]], Floats],
) -> PopulationModel:
    return PopulationModel(
        name=name,
        title=f"Propofol, plasma, effect site and BIS (Eleveld 2018, {samples} samples)",
        sources=(f"{_PAPER}, doi:10.1016/j.bja.2018.01.018",),
        time_unit="min",
        amount_unit="mg",
        parameters=PARAMETERS,
        states=("A1", "A2", "A3", "Ce"),
        initial=empty(4),
        routes=(Route("infusion", "A1"),),
        outputs=(
            Output("BIS", "1", ResidualError(additive=8.03, source=_PAPER)),
            # stands among the typical values, not among the variances: read as an SD
            Output("Cp", "µg/mL", ResidualError(log_sd=0.191, flag="PARTIAL", source=_PAPER)),
            Output("Ce", "µg/mL"),
        ),
        typical=typical_of,
        solver=Linear(_rates),
        observe=_observe,
        covariates=(
            Covariate("age_y", "years", _REFERENCE[0], least=0.0),
            Covariate("weight_kg", "kg", _REFERENCE[1], least=0.0),
            Covariate("height_cm", "cm", _REFERENCE[2], least=0.0),
            Covariate("male", "1", _REFERENCE[3]),
            Covariate("opiates", "1", 0.0),
        ),
    )


MODEL = _model("propofol_eleveld2018", "arterial", typical)
VENOUS = _model("propofol_eleveld2018_venous", "venous", typical_venous)
