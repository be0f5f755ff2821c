"""A continuous dose and a target that always gives one exact dose: kernel weights.

A continuous dose equals the target's with probability 0, so no logged decision is one of the target's. A
kernel of bandwidth h counts doses near the target's dose instead: the target is replaced by one that gives a
random dose within about h of it (Kallus & Zhou 2018, "Policy evaluation and optimization with continuous
treatments"). A wide kernel uses many decisions and answers for that blurred target, a narrow one answers for
the target and uses few; with the dose-response curve smooth, the difference falls with h^2.

The logs of a kernel stand where those of a stochastic target would::

    log_prob = kernel_log_prob(log, target_dose, bandwidth)
    weights = importance_weights(log, log_prob)            # a log with propensity="density"
    pdwis(log, weights)
    dr(log, weights, ActionValues.of(log, q=at_logged, v=at_target))

The doubly robust form has a choice of its own: the residual may be taken from the model at the logged dose
(``q=at_logged``), which also takes out what the kernel's width brings in, or at the target's
(``q=at_target``), which answers for the blurred target.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import FloatArray, Trajectories, refuse
from dosewright.evaluation.ope.estimate import Estimate
from dosewright.evaluation.ope.weights import Weights, importance_weights

Kernel = Literal["gaussian", "epanechnikov"]

# With fewer effective patients an estimate is that of a few of them, and its standard error is near 0 because
# they agree with themselves; `decide` refuses an answer below the same number.
_LEAST_EFFECTIVE = 30.0


def kernel_log_prob(
    trajectories: Trajectories,
    target_dose: npt.ArrayLike,
    bandwidth: float,
    kernel: Kernel = "gaussian",
) -> FloatArray:
    """Return (n, T) the log of the kernel around the target's dose, at the logged dose.

    ``K((a - pi(s)) / h) / h`` with ``K`` the standard normal density, or Epanechnikov's ``3/4 (1 - u^2)`` on
    [-1, 1], which gives no weight at all beyond one bandwidth.

    Parameters
    ----------
    trajectories : a log with ``propensity="density"``
    target_dose : (n, T) dose of the target at each decision, in the unit of ``trajectories.actions``
    bandwidth : h > 0, in the same unit
    kernel : shape

    Raises
    ------
    ValueError
        For a log of doses on a grid, whose probability of a dose is not 0; a bandwidth that is not positive;
        an unknown kernel; a target dose of another shape, or missing.
    """
    if trajectories.propensity != "density":
        raise ValueError(
            "the log has propensity='mass', doses on a grid; a target on the same grid needs no kernel: give "
            "importance_weights its log-probabilities"
        )
    if not 0.0 < bandwidth < np.inf:
        raise ValueError(f"bandwidth = {bandwidth}; expected a width above 0, in the unit of the dose")
    if kernel not in ("gaussian", "epanechnikov"):
        raise ValueError(f"kernel = {kernel!r}; expected 'gaussian' or 'epanechnikov'")
    distance = _distance(trajectories, target_dose) / bandwidth
    if kernel == "gaussian":
        density = -0.5 * distance**2 - 0.5 * np.log(2.0 * np.pi)
    else:
        with np.errstate(divide="ignore"):
            density = np.log(np.maximum(0.75 * (1.0 - distance**2), 0.0))
    return np.where(trajectories.mask, density - np.log(bandwidth), 0.0)


def _distance(trajectories: Trajectories, target_dose: npt.ArrayLike) -> FloatArray:
    """Return (n, T) logged dose minus the target's, 0 in the padding."""
    target = np.asarray(target_dose, dtype=np.float64)
    mask = trajectories.mask
    if target.shape != mask.shape:
        raise ValueError(f"target_dose has shape {target.shape}; expected {mask.shape} as in mask")
    refuse("target_dose", target, ~np.isfinite(target) & mask, "a finite dose where mask is True")
    return np.where(mask, trajectories.actions - target, 0.0)


@dataclass(frozen=True, eq=False)
class BandwidthChoice:
    """Estimates at several bandwidths, from narrow to wide, and the one chosen.

    Attributes
    ----------
    bandwidths : (m,) ascending, unit of the dose
    estimates : of each
    effective_sample_size : (m,) Kish's number at the last step, patients
    chosen : place of the chosen bandwidth
    """

    bandwidths: FloatArray
    estimates: tuple[Estimate, ...]
    effective_sample_size: FloatArray
    chosen: int

    @property
    def bandwidth(self) -> float:
        """The chosen bandwidth."""
        return float(self.bandwidths[self.chosen])

    @property
    def estimate(self) -> Estimate:
        """The estimate at the chosen bandwidth. Its interval does not know that the bandwidth was chosen."""
        return self.estimates[self.chosen]


def choose_bandwidth(
    trajectories: Trajectories,
    target_dose: npt.ArrayLike,
    estimator: Callable[[Weights], Estimate],
    bandwidths: Sequence[float] | None = None,
    kernel: Kernel = "gaussian",
    level: float = 0.95,
) -> BandwidthChoice:
    """Choose the widest kernel whose estimate does not contradict the narrower ones (Su et al. 2020, SLOPE).

    With width, bias rises and variance falls. From narrow to wide, an interval of twice the half-width is put
    around each estimate; the bandwidth is the last one up to which all these intervals have a point in common
    (Lepski's principle: Su, Srinath & Krishnamurthy, "Adaptive estimator selection for off-policy
    evaluation", ICML 2020). Its error is within a constant factor of the best of the bandwidths, without
    knowing the bias. Bandwidths with fewer than 30 effective patients are passed over: the standard error of
    so few says nothing.

    Parameters
    ----------
    estimator : from the weights of one bandwidth to its estimate, e.g. ``lambda w: pdwis(log, w)``
    bandwidths : to choose from; by default the standard deviation of logged minus target dose, and halves of
        it down to 1/64
    level : of the intervals that are compared

    Other parameters as `kernel_log_prob`.

    Raises
    ------
    ValueError
        As `kernel_log_prob`, and when no bandwidth has 30 effective patients.
    """
    if bandwidths is None:
        spread = float(_distance(trajectories, target_dose)[trajectories.mask].std())
        bandwidths = [spread / 2**i for i in range(7)]
    widths = np.sort(np.asarray(bandwidths, dtype=np.float64))
    weights = [
        importance_weights(trajectories, kernel_log_prob(trajectories, target_dose, float(width), kernel))
        for width in widths
    ]
    estimates = tuple(estimator(own) for own in weights)
    effective = np.array([own.effective_sample_size[-1] for own in weights])
    low, high, chosen = -np.inf, np.inf, -1
    for place, estimate in enumerate(estimates):
        if effective[place] < _LEAST_EFFECTIVE:
            continue
        half = 2.0 * (estimate.interval(level).high - estimate.value)
        low, high = max(low, estimate.value - half), min(high, estimate.value + half)
        if low > high:
            break
        chosen = place
    if chosen < 0:
        raise ValueError(
            f"bandwidths {', '.join(f'{width:g}' for width in widths)} leave at most {effective.max():.1f} "
            f"effective patients; expected {_LEAST_EFFECTIVE:g}: the target's doses are rare in the log, or "
            "the bandwidths too narrow"
        )
    return BandwidthChoice(widths, estimates, effective, chosen)
