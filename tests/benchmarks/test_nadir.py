"""The nadir that is foreseen after docetaxel, for a few patients of the benchmark."""

import numpy as np
from click.testing import CliRunner

from benchmarks.nadir import DOSE, GRADE_4, course, covered, foresee, main, records, reference
from dosewright.agents.estimation import estimate


def test_three_patients_are_as_many_particles_say() -> None:
    people, nadirs = records(3, seed=1)
    fit = estimate(course(people))
    surface = foresee(fit, particles=64)
    exact, size = reference(fit, 3, 4096, 0.5)
    assert surface.fits.all() and size.min() > 500
    assert np.ptp(exact) > 0.1  # patients who differ
    # 0.02, and twice the Monte Carlo error that the reference of this size has
    error = np.sqrt(exact * (1 - exact) / size)
    assert (np.abs(surface.probability_below(np.log(GRADE_4)) - exact) < 0.02 + 2 * error).all()
    assert covered(surface, np.exp(surface.quantile(0.5))) == 1.0
    assert covered(surface, 100.0 * nadirs) == 0.0


def test_the_records_are_those_of_one_cycle() -> None:
    people, nadirs = records(2, seed=3)
    again, same = records(2, seed=3)
    assert (nadirs == same).all() and (nadirs > 0).all()
    courses = course(people)
    assert (courses.sample_time == [0.0, 72.0, 144.0]).all()
    assert (courses.low == course(again).low).all()
    amount = courses.segments[0].doses.amount
    assert (amount[:, 0] / DOSE > 1.0).all() and (amount[:, 0] / DOSE < 3.0).all()  # m² of body surface


def test_the_command_prints_what_was_asked() -> None:
    arguments = ["--patients", "4", "--compared", "1", "--plain", "1", "--draws", "500"]
    printed = CliRunner().invoke(main, arguments).output.splitlines()
    assert printed[1] == "4 patients, 64 particles; a surface fits 4"
    assert printed[2].startswith("90 % intervals cover")
    assert printed[3].startswith("P(grade 4) of 1 patients against 500 particles")
    assert [line.split()[0] for line in printed[4:]] == ["MAP", "surface", "both", "plain"]
