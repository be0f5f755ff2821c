"""Body composition that several models share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.model import Floats


def fat_free_mass(age_y: ArrayLike, weight_kg: ArrayLike, height_cm: ArrayLike, male: ArrayLike) -> Floats:
    """Return the fat-free mass (kg) after Al-Sallami 2015, for children and adults.

    Al-Sallami HS, Goulding A, Grant A, et al. Prediction of fat-free mass in children. Clin Pharmacokinet
    2015;54:1169-1178: the adult equation of Janmahasatian 2005 times a maturation that is 0.88 at birth and 1
    in grown males, 1.11 at birth and 1 in grown females. The numbers are those of the propofol model of
    Eleveld 2018 (VERIFIED there)::

        BMI = weight/height²                                               kg/m²
        male    (0.88 + 0.12·age^12.7/(13.4^12.7 + age^12.7)) · 9270·weight/(6680 + 216·BMI)
        female  (1.11 − 0.11·age^1.1 /( 7.1^1.1  + age^1.1 )) · 9270·weight/(8780 + 244·BMI)

    Parameters
    ----------
    age_y, weight_kg, height_cm
        Age in years, weight in kg, height in cm; scalars or (n,).
    male
        1 for males, 0 for females.
    """
    age, weight = np.asarray(age_y, dtype=np.float64), np.asarray(weight_kg, dtype=np.float64)
    bmi = weight / (np.asarray(height_cm, dtype=np.float64) / 100.0) ** 2
    of_male = (0.88 + 0.12 * _share(age, 13.4, 12.7)) * 9270.0 * weight / (6680.0 + 216.0 * bmi)
    of_female = (1.11 - 0.11 * _share(age, 7.1, 1.1)) * 9270.0 * weight / (8780.0 + 244.0 * bmi)
    return np.where(np.asarray(male) > 0, of_male, of_female)


def _share(age: Floats, half: float, steepness: float) -> Floats:
    """Part of the maturation that is done: 0 at birth, one half at `half` years, 1 in the end."""
    # written with positive exponents, so that age 0 is a value
    return age**steepness / (half**steepness + age**steepness)


# Median height (cm) and weight (kg) by age (years), straight lines between. 2 to 18 years: CDC 2000
# (VERIFIED); younger: WHO (RECALLED); weight of adults: ASSUMPTION.
_AGES = (0, 0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 30)
_HEIGHT_MALE = (49.9, 61.4, 67.6, 75.7, 82.3, 86.5, 95.0, 102.2, 108.9, 115.4, 121.8, 127.9, 133.5, 138.6,
                143.5, 149.1, 156.1, 163.8, 170.0, 173.5, 175.3, 176.1, 176.5)  # fmt: skip
_HEIGHT_FEMALE = (49.1, 59.8, 65.7, 74.0, 80.7, 85.0, 93.9, 100.8, 107.7, 114.7, 121.5, 127.6, 132.5, 138.0,
                  144.5, 151.2, 157.2, 160.4, 161.9, 162.5, 162.9, 163.1, 163.3)  # fmt: skip
_WEIGHT_MALE = (3.3, 6.4, 7.9, 9.6, 10.9, 12.7, 14.3, 16.2, 18.4, 20.7, 23.1, 25.6, 28.5, 31.9, 35.9,
                40.5, 45.6, 51.0, 56.3, 60.9, 64.6, 67.2, 82.0)  # fmt: skip
_WEIGHT_FEMALE = (3.2, 5.8, 7.3, 8.9, 10.2, 12.1, 13.9, 16.0, 17.9, 20.2, 22.8, 25.6, 29.0, 32.9, 37.0,
                  41.5, 45.8, 49.4, 52.0, 53.9, 55.1, 56.1, 70.0)  # fmt: skip


def median_body(age_y: Floats, male: Floats) -> tuple[Floats, Floats]:
    """Return the median height (cm) and weight (kg) at an age (years), (n,) each; male is 1 or 0.

    Straight lines between the medians of CDC 2000, from 2 to 18 years (VERIFIED), and of WHO below
    (RECALLED); the weight of adults is an ASSUMPTION.
    """
    of_males = np.interp(age_y, _AGES, _HEIGHT_MALE), np.interp(age_y, _AGES, _WEIGHT_MALE)
    of_females = np.interp(age_y, _AGES, _HEIGHT_FEMALE), np.interp(age_y, _AGES, _WEIGHT_FEMALE)
    height, weight = (np.where(male == 1, m, f) for m, f in zip(of_males, of_females, strict=True))
    return height, weight


def surface_m2(weight_kg: Floats, height_cm: Floats) -> Floats:
    """Return the body surface area (m²) after Du Bois 1916."""
    return np.asarray(0.007184 * weight_kg**0.425 * height_cm**0.725)
