"""The chain of Friberg 2002 against its printed equations (models.md, section 0)."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.envs.pharmacology.myelosuppression import chain

Floats = NDArray[np.float64]


def derivative(
    cells: list[float], effect: float, ktr: float = 0.04, kcirc: float = 0.04, base: float = 5.0,
    gamma: float = 0.17, first: int = 0,
) -> Floats:  # fmt: skip
    """Derivatives (5,) of Prol, T1, T2, T3, Circ at `cells`; the chain has lnProl, dProl = Prol·dlnProl."""
    y = np.concatenate([np.full(first, np.nan), [np.log(cells[0])], cells[1:]])
    dy = np.full(len(y), np.nan)
    chain(y, first, ktr, kcirc, effect, base, gamma, dy)
    dy[first] *= cells[0]
    return dy[first:]


def test_derivatives_are_the_printed_ones() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        prol, t1, t2, t3, circ = cells = rng.uniform(0.1, 10, 5).tolist()
        ktr, kcirc, effect, base, gamma = rng.uniform([0.01, 0.01, 0, 2, 0.1], [0.1, 0.1, 3, 8, 0.8]).tolist()
        printed = [
            ktr * prol * (1 - effect) * (base / circ) ** gamma - ktr * prol,
            ktr * (prol - t1),
            ktr * (t1 - t2),
            ktr * (t2 - t3),
            ktr * t3 - kcirc * circ,
        ]
        got = derivative(cells, effect, ktr, kcirc, base, gamma, first=2)
        np.testing.assert_allclose(got, printed, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("ktr", "kcirc"), [(0.04, 0.04), (0.15, 2.3)])
def test_without_drug_the_chain_rests_at_its_baseline(ktr: float, kcirc: float) -> None:
    # circulating cells at the baseline; the others where their flow ktr·T3 replaces kcirc·Circ
    cells = [5.0 * kcirc / ktr] * 4 + [5.0]
    np.testing.assert_allclose(derivative(cells, 0.0, ktr, kcirc), 0.0, atol=1e-14)


@pytest.mark.parametrize(("circulating", "sign"), [(1.0, 1), (5.0, 0), (9.0, -1)])
def test_few_circulating_cells_speed_up_proliferation_and_many_slow_it_down(
    circulating: float, sign: int
) -> None:
    assert np.sign(derivative([5.0, 5.0, 5.0, 5.0, circulating], 0.0)[0]) == sign


def test_feedback_grows_with_its_exponent_and_is_off_at_zero() -> None:
    rises = [derivative([5.0, 5.0, 5.0, 5.0, 1.0], 0.0, gamma=gamma)[0] for gamma in (0.0, 0.1, 0.2)]
    assert rises[0] == 0.0
    assert rises[0] < rises[1] < rises[2]


@pytest.mark.parametrize("circulating", [-1e-9, -3.0])
def test_a_negative_count_gives_no_number_that_a_solver_could_take_for_one(circulating: float) -> None:
    assert np.isnan(derivative([5.0, 5.0, 5.0, 5.0, circulating], 0.5)[0])


def test_proliferating_cells_fall_at_the_same_rate_however_few_they_are() -> None:
    # the logarithm's derivative does not depend on it: 1e-100 cells neither vanish nor turn negative
    falls = [derivative([cells, 5.0, 5.0, 5.0, 5.0], 30.0)[0] / cells for cells in (5.0, 1e-20, 1e-100)]
    np.testing.assert_allclose(falls, -0.04 * 30.0, rtol=1e-14)


def test_an_effect_above_1_is_not_clipped() -> None:
    # models.md 0: (1 − Edrug) may be negative at the peak of docetaxel; with Circ at the baseline dProl is
    # −ktr·Prol·Edrug
    assert derivative([5.0] * 5, 30.0)[0] == pytest.approx(-0.04 * 5.0 * 30.0, rel=1e-14)
