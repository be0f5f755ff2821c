"""A model of one's own: saturable elimination that drives an effect compartment.

The drug does not exist and every number is invented (ASSUMPTION). Structure (time in h, amounts in mg)::

    dA0 = −ka·A0                              depot: linear, so the solver moves it exactly
    dA1 =  ka·A0 − Vmax·C/(Km + C)            C = A1/V in mg/L
    dCe =  ke0·(C − Ce)                       mg/L, follows C with half-life ln(2)/ke0
    E   =  100·Ce/(EC50 + Ce)                 % of the largest effect

``python docs/examples/own_model.py`` runs it; docs/own_model.md explains it.
"""

import numpy as np

from dosewright.envs import pharmacology as pk

# The columns of theta, in this order. Those with a variance have a random effect, log-normal unless said.
PARAMETERS = (
    pk.Parameter("Vmax", "mg/h", pk.variance_of_cv(0.30), "ASSUMPTION"),
    pk.Parameter("Km", "mg/L", pk.variance_of_cv(0.40), "ASSUMPTION"),
    pk.Parameter("V", "L", pk.variance_of_cv(0.20), "ASSUMPTION"),
    pk.Parameter("ka", "1/h", flag="ASSUMPTION"),
    pk.Parameter("ke0", "1/h", flag="ASSUMPTION"),
    pk.Parameter("EC50", "mg/L", pk.variance_of_cv(0.50), "ASSUMPTION"),
)


def typical(covariates, effects):
    """Return (n, 6) parameters of people of ``weight_kg`` (n,), before random effects."""
    (weight,) = pk.columns(covariates, "weight_kg")
    return pk.stack(22.0 * (weight / 70) ** 0.75, 4.5, 45.0 * weight / 70, 0.9, 0.25, 3.0)


# The three kernels, compiled by Numba: plain arithmetic and loops. theta is one patient's row of parameters.


def _rates(t, theta, matrix):
    matrix[0, 0] = -theta[3]


def _rhs(t, y, x, theta, dy):
    # x: the linear states, here A0; y: the others, A1 and Ce
    c = y[0] / theta[2]
    dy[0] = theta[3] * x[0] - theta[0] * c / (theta[1] + c)
    dy[1] = theta[4] * (c - y[1])


def _observe(t, state, theta, output):
    return state[1] / theta[2] if output == 0 else 100.0 * state[2] / (theta[5] + state[2])


MODEL = pk.PopulationModel(
    name="own_model", title="Invented drug, saturable elimination and a delayed effect",
    sources=("invented for docs/own_model.md",), time_unit="h", amount_unit="mg",
    parameters=PARAMETERS, typical=typical, states=("A0", "A1", "Ce"), initial=pk.empty(3),
    routes=(pk.Route("oral", "A0"), pk.Route("bolus", "A1")),
    outputs=(
        pk.Output("C", "mg/L", pk.ResidualError(proportional=0.12, flag="ASSUMPTION")),
        pk.Output("E", "%", pk.ResidualError(additive=4.0, flag="ASSUMPTION")),
    ),
    solver=pk.Driven(_rates, _rhs, linear=1, scale=(100.0, 1.0)), observe=_observe,
    covariates=(pk.Covariate("weight_kg", "kg", 70.0, 45.0, 120.0, "ASSUMPTION", least=0.0),),
)  # fmt: skip

if __name__ == "__main__":
    people, times = MODEL.typical({"weight_kg": [50.0, 70.0, 100.0]}, {}), np.array([2.0, 24.0, 240.0])
    courses = pk.simulate(MODEL, people, [(24.0 * day, 300.0) for day in range(10)], times)
    for weight, course in zip((50, 70, 100), courses, strict=True):
        print(f"{weight:3} kg:", "; ".join(f"{c:.3f} mg/L, {e:.2f} %" for c, e in course))
