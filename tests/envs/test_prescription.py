"""From decisions to events: what is prescribed is what the engine simulates."""

import numpy as np

from dosewright.envs import scenario
from dosewright.envs.patients import individual_parameters
from dosewright.envs.pharmacology import simulate
from dosewright.envs.prescription import prescribed, run

WARFARIN = scenario("warfarin")


def test_daily_doses_are_the_course_that_the_engine_simulates() -> None:
    model, days = WARFARIN.model, np.arange(1, 6) * 24.0
    alleles = {"CYP2C9": ["*1/*1", "*1/*3", "*2/*2"], "VKORC1": ["G/G", "G/A", "A/A"]}
    theta = individual_parameters(model, {"age_y": [40.0, 65.0, 80.0], "baseline": 1.06}, alleles)
    dose = np.array([[5.0, 0.0, 7.5, 2.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    state, count, which = model.initial(theta), np.array([5, 3]), np.array([0, 1, 1])
    unit = np.tile(np.arange(5), (2, 1))
    begins = np.broadcast_to(np.asarray(unit * 24.0, dtype=np.float64), unit.shape)
    events = prescribed(WARFARIN, {}, dose, unit, begins, count)
    reads, _ = run(WARFARIN, state, theta[:, None], events, 5, begin=np.zeros(3), which=which, rule="belief")
    schedules = [[(24.0 * day, float(dose[i, day])) for day in range(5)] for i in which]
    expected = simulate(model, theta, schedules, days, ["INR"], rule="belief")[..., 0]
    expected[1:, 3:] = 0.0  # the second course is followed for three days
    assert np.array_equal(reads["end of day", "INR"], expected)
