"""The regimen that made a log, when it did not say with what probability it gave its doses.

Importance weights divide by the probability of the dose that was given. Where that was not logged it is
modelled from the log: which doses were given in which situations. A wrong model biases every estimate that
weighs, and no interval knows; so the fit is judged before it is used, by log loss and calibration, and by the
self-check of `dosewright.evaluation.ope.decide`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.dose_models import DoseModel
from dosewright.evaluation.log_checks import BoolArray, FloatArray, first_place
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope.diagnostics import UnsupportedMass
from dosewright.evaluation.ope.dose_overlap import distinct_doses, same_dose
from dosewright.evaluation.ope.folds import fold_numbers
from dosewright.evaluation.ope.target_doses import TargetDoses


@dataclass(frozen=True, eq=False)
class Behaviour:
    """What a model says about the regimen that made a log, for patients that it was not fitted to.

    ``replace(log, behaviour_log_prob=behaviour.log_prob)`` is the log with its propensities.

    Attributes
    ----------
    model : the model
    doses : (A,) doses of the log, ascending
    pools : number of groups of neighbouring doses that the model tells apart; A where each is its own
    log_prob : (n, T) of the dose given, finite; 0 in the padding
    log_prob_of_doses : (n, T, A) of every dose, -inf for one that no patient of the fit was given; 0 in the
        padding
    fold : (n,) fold in which a patient was held out; None for a fit to all
    log_loss : mean of ``-log p`` of the doses given, over decisions; ``log(A)`` is that of knowing nothing
    brier : mean of ``sum_a (p_a - 1[a given])^2`` over decisions, 0 to 2
    calibration_error : see `calibration_error`
    """

    model: DoseModel
    doses: FloatArray
    pools: int
    log_prob: FloatArray
    log_prob_of_doses: FloatArray
    fold: npt.NDArray[np.int64] | None
    log_loss: float
    brier: float
    calibration_error: float

    def unsupported(self, target: TargetDoses, mask: BoolArray) -> UnsupportedMass:
        """Return how much of a target's dosing lies on doses that have probability 0 under the model.

        Doses that the log does not have at all are among them.

        Parameters
        ----------
        target : doses of the target at the decisions of the same log
        mask : (n, T) where decisions were made
        """
        steps = mask.shape[1]
        wanted = target.doses[:, :steps]
        place = np.searchsorted((self.doses[1:] + self.doses[:-1]) / 2, wanted)
        known = same_dose(self.doses[place], wanted)
        given = known & np.isfinite(np.take_along_axis(self.log_prob_of_doses, place, axis=2))
        return UnsupportedMass.of(np.where(given, 0.0, target.probability[:, :steps]).sum(axis=2), mask)

    def __str__(self) -> str:
        fitted = "in sample" if self.fold is None else f"cross-fitted by patient, {self.fold.max() + 1} folds"
        pooled = f" in {self.pools} groups" if self.pools < len(self.doses) else ""
        return (
            f"{self.model} of {len(self.doses)} doses{pooled} ({fitted}): log loss {self.log_loss:.4g}, "
            f"Brier score {self.brier:.4g}, calibration error {self.calibration_error:.2g}"
        )


def fit_behaviour(
    trajectories: Trajectories,
    model: DoseModel,
    features: npt.ArrayLike | None = None,
    *,
    folds: int | None = 5,
    seed: int = 0,
    least_patients: int = 1,
) -> Behaviour:
    """Model which dose is given when, and say how likely each dose was for patients who were held out.

    Cross-fitting keeps a flexible model from explaining a patient's doses by the patient: fitted in sample it
    would find them likelier than they were, and the weights too small (Chernozhukov et al. 2018). Whole
    patients are held out, as the steps of one course are alike.

    A dose that nobody outside a patient's fold was given would have probability 0, and a weight without
    bound: that is refused, never smoothed over unsaid. ``least_patients`` pools rare doses with their
    neighbours on the grid until each pool was given to so many patients; the model then speaks of pools, and
    within a pool a dose has its share in the whole log.

    Parameters
    ----------
    trajectories : a log of doses on a grid
    model : `MultinomialLogistic`, `OrdinalLogistic`, `GradientBoosting` or `Counts`
    features : (n, T, k) what the doses may depend on; the observations when None. k = 0: nothing.
    folds : parts of the patients, each held out once; None fits to all and asks about the same, which is only
        for comparison with software that does so
    seed : of the folds, and of a model that draws
    least_patients : patients that a dose must have been given to, or is pooled

    Raises
    ------
    ValueError
        For a log with a continuous dose, features of another shape or missing, impossible folds, or a dose
        given with probability 0 under the model; the message names dose, patient, step and remedy.
    """
    if trajectories.propensity != "mass":
        raise ValueError("the log has propensity='density', a continuous dose; expected doses on a grid")
    mask = trajectories.mask
    seen = trajectories.observations if features is None else np.asarray(features)
    if seen.ndim != 3 or seen.shape[:2] != mask.shape:
        raise ValueError(f"features has shape {seen.shape}; expected {mask.shape} and k, as in mask")
    missing = ~np.isfinite(seen).all(axis=2) & mask
    if missing.any():
        patient, step = first_place(missing)
        raise ValueError(
            f"features[{patient}, {step}] = {seen[patient, step]} (patient {patient}, step {step}); expected "
            "finite numbers; encode a missing value as (neutral value, known = 0)"
        )
    if least_patients < 1:
        raise ValueError(f"least_patients = {least_patients}; expected 1, no pooling, or more")
    doses, given = distinct_doses(trajectories.actions[mask])
    row = np.nonzero(mask)[0]
    pool, share = _pools(row, given, len(doses), least_patients)
    fold = None if folds is None else fold_numbers(trajectories.n_patients, folds, seed)
    by_pool = _cross_fitted(
        model, seen[mask].astype(np.float64), pool[given], int(pool.max()) + 1,
        None if fold is None else fold[row], seed,
    )  # fmt: skip
    probability = by_pool[:, pool] * share
    own = probability[np.arange(len(given)), given]
    _refuse_impossible(trajectories, own, model, fold)
    log_prob, of_doses = np.zeros(mask.shape), np.zeros((*mask.shape, len(doses)))
    with np.errstate(divide="ignore"):
        log_prob[mask], of_doses[mask] = np.minimum(np.log(own), 0.0), np.log(probability)
    was = np.arange(len(doses)) == given[:, None]
    return Behaviour(
        model=model,
        doses=doses,
        pools=int(pool.max()) + 1,
        log_prob=log_prob,
        log_prob_of_doses=of_doses,
        fold=fold,
        log_loss=float(-np.log(own).mean()),
        brier=float(((probability - was) ** 2).sum(axis=1).mean()),
        calibration_error=calibration_error(probability, was),
    )


def calibration_error(probability: FloatArray, happened: BoolArray, bins: int = 10) -> float:
    """Expected calibration error: how far predicted shares are from what happened, averaged over doses.

    For each dose, predictions are put into bins of equal width; the error is the mean over decisions of
    ``|mean prediction - share|`` of their bin (Naeini, Cooper & Hauskrecht 2015). 0 is perfect; a model that
    knows nothing but the shares is perfectly calibrated too, so read it beside the log loss.

    Parameters
    ----------
    probability : (m, A) predicted for each decision and dose
    happened : (m, A) whether it was given
    """
    bin_of = np.minimum((probability * bins).astype(np.int64), bins - 1)
    doses = probability.shape[1]
    place = (bin_of + bins * np.arange(doses)).ravel()
    off = np.bincount(place, (probability - happened).ravel(), bins * doses)
    return float(np.abs(off).sum() / len(probability) / doses)


def _pools(
    row: npt.NDArray[np.int64], given: npt.NDArray[np.int64], doses: int, least: int
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the pool (A,) of each dose, and its share (A,) of the pool's decisions.

    From the lowest dose upwards, a pool is closed when so many patients were given one of its doses; what is
    left at the top joins the last one.
    """
    patients = [set(row[given == dose].tolist()) for dose in range(doses)]
    pool, inside, number = np.zeros(doses, dtype=np.int64), set[int](), 0
    for dose, own in enumerate(patients):
        pool[dose] = number
        inside |= own
        if len(inside) >= least:
            inside, number = set[int](), number + 1
    pool = np.minimum(pool, max(number - 1, 0))
    count = np.bincount(given, minlength=doses)
    return pool, count / np.bincount(pool, count)[pool]


def _cross_fitted(
    model: DoseModel,
    features: FloatArray,
    given: npt.NDArray[np.int64],
    classes: int,
    fold: npt.NDArray[np.int64] | None,
    seed: int,
) -> FloatArray:
    """Return probabilities (m, classes) of each decision from a fit to the other folds' decisions."""
    if fold is None:
        return model.fit(features, given, classes, seed)(features)
    probability = np.empty((len(given), classes))
    for number in range(int(fold.max()) + 1):
        held_out = fold == number
        fitted = model.fit(features[~held_out], given[~held_out], classes, seed)
        probability[held_out] = fitted(features[held_out])
    return probability


def _refuse_impossible(
    trajectories: Trajectories, own: FloatArray, model: DoseModel, fold: npt.NDArray[np.int64] | None
) -> None:
    if (own > 0).all():
        return
    patient, step = (int(place[np.argmin(own > 0)]) for place in np.nonzero(trajectories.mask))
    others = "" if fold is None else f": nobody outside fold {fold[patient]} was given it in such a situation"
    raise ValueError(
        f"dose {trajectories.actions[patient, step]:g} (patient {patient}, step {step}) has probability 0 "
        f"under {model}{others}; pool rare doses (least_patients=...), give features that occur more than "
        "once, or add to all counts (Counts(pseudo_count=1))"
    )
