"""Fat-free mass against models.md 10, and against the adult equation of models.md 9.1."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.envs.pharmacology.body import fat_free_mass
from dosewright.envs.pharmacology.models import busulfan_mccune2014 as mccune2014

Floats = NDArray[np.float64]


def written_out(age: float, weight: float, height: float, male: float) -> float:
    """As models.md 10 prints it, with negative exponents."""
    bmi = weight / (height / 100) ** 2
    if male:
        return (0.88 + 0.12 / (1 + (age / 13.4) ** -12.7)) * 9270 * weight / (6680 + 216 * bmi)
    return (1.11 - 0.11 / (1 + (age / 7.1) ** -1.1)) * 9270 * weight / (8780 + 244 * bmi)


def test_fat_free_mass_is_the_printed_equation() -> None:
    rng = np.random.default_rng(1)
    age, weight = rng.uniform(0.05, 90, 200), rng.uniform(3, 130, 200)
    height, male = rng.uniform(50, 200, 200), rng.integers(0, 2, 200)
    expected = [written_out(*row) for row in zip(age, weight, height, male, strict=True)]
    np.testing.assert_allclose(fat_free_mass(age, weight, height, male), expected, rtol=1e-13)


def test_reference_individual_of_the_propofol_model() -> None:
    # 9270·70/(6680 + 216·24.2215) = 54.4755, matured to 0.9999994
    assert fat_free_mass(35, 70, 170, 1) == pytest.approx(54.4752, abs=1e-4)


def test_birth_has_a_value_and_its_factors() -> None:
    bmi = 3.5 / 0.5**2
    with np.errstate(all="raise"):
        boy, girl = fat_free_mass(0.0, 3.5, 50.0, np.array([1.0, 0.0]))
    assert boy == pytest.approx(0.88 * 9270 * 3.5 / (6680 + 216 * bmi), rel=1e-14)
    assert girl == pytest.approx(1.11 * 9270 * 3.5 / (8780 + 244 * bmi), rel=1e-14)


@pytest.mark.parametrize(("male", "age"), [(1.0, 60.0), (0.0, 1e6)])
def test_grown_people_have_the_adult_equation_with_height(male: float, age: float) -> None:
    # models.md 9.1 prints the same equation divided by 216 or 244: its four digits are the tolerance
    weight, height = np.array([45.0, 70.0, 120.0]), np.array([150.0, 172.0, 190.0])
    adult = mccune2014.fat_free_mass(weight, height, np.full(3, male))
    np.testing.assert_allclose(fat_free_mass(age, weight, height, male), adult, rtol=3e-4)


def test_boys_gain_and_girls_lose_share_with_age() -> None:
    age = np.linspace(0, 30, 61)
    assert np.all(np.diff(fat_free_mass(age, 40, 150, 1)) >= 0)
    assert np.all(np.diff(fat_free_mass(age, 40, 150, 0)) < 0)
