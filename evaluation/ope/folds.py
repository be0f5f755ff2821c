"""Cross-fitting by patient: who is held out when a model is fitted."""

import numpy as np
import numpy.typing as npt


def fold_numbers(n_patients: int, folds: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return a fold number (n,) for each patient, 0 to ``folds - 1``, of sizes that differ by at most 1.

    A model that is asked about the patients of fold k is fitted to all others. Whole patients are held out:
    the steps of one course are alike, and a model that saw some of them has in part seen the rest.

    Raises
    ------
    ValueError
        For fewer than two patients or folds, or more folds than patients.
    """
    if n_patients < 2:
        raise ValueError(
            f"the log has {n_patients} patient; expected two or more: a model is asked about patients whom "
            "it was not fitted to"
        )
    if not 2 <= folds <= n_patients:
        raise ValueError(f"folds = {folds}; expected 2 to {n_patients}, the number of patients")
    return np.random.default_rng(seed).permutation(np.arange(n_patients) % folds)
