"""A small network as a regressor, for fitted Q evaluation where neither a line nor trees will do."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from torch import nn

Floats = NDArray[np.float64]


class QNetwork(RegressorMixin, BaseEstimator):
    """Multilayer perceptron by scikit-learn's convention, trained by Adam with early stopping.

    Inputs and values are standardised by what `fit` is given, so units do not matter. A part of the rows is
    held out; training stops when their error has not fallen for `patience` epochs, and the best network is
    kept. Meant for `dosewright.evaluation.ope.fitted_q_cross_fitted.fqe_cross_fitted`, whose rows at one step
    are of different patients.

    Parameters
    ----------
    hidden
        Widths of the hidden layers (tanh).
    learning_rate, batch_size
        Of Adam.
    max_epochs
        Passes over the rows at most.
    patience
        Epochs without improvement before training stops.
    held_out
        Share of the rows that decides when to stop; where that is less than one row, the fit itself decides.
    seed
        Of the initial weights, the rows held out and the order of batches. Two runs give the same network.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (64, 64),
        learning_rate: float = 3e-3,
        batch_size: int = 64,
        max_epochs: int = 300,
        patience: int = 20,
        held_out: float = 0.15,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.held_out = held_out
        self.seed = seed

    def fit(self, X: Floats, y: Floats) -> QNetwork:
        """Fit features (r, p) to values (r,), forgetting what was fitted before.

        Raises
        ------
        ValueError
            For shapes that do not match, no row, a value that is not finite, or a share of the rows held out
            that is not in [0, 1).
        """
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out = {self.held_out}; expected at least 0 and less than 1")
        features, values = _checked(X), _checked(y)
        if features.ndim != 2 or values.shape != features.shape[:1] or not len(values):
            raise ValueError(
                f"X has shape {features.shape} and y {values.shape}; expected (r, p) and (r,), r >= 1"
            )
        self.centre_, self.scale_ = features.mean(axis=0), _spread(features)
        self.y_centre_, self.y_scale_ = float(values.mean()), float(_spread(values))
        inputs = self._inputs(features)
        goals = torch.as_tensor((values - self.y_centre_) / self.y_scale_, dtype=torch.float32)
        order = np.random.default_rng(self.seed).permutation(len(values))
        watched = order[: int(self.held_out * len(values))]
        trained = order[len(watched) :]
        if not len(watched):
            watched = trained
        self.network_ = self._train(inputs[trained], goals[trained], inputs[watched], goals[watched])
        return self

    def predict(self, X: Floats) -> Floats:
        """Return values (r,) of features (r, p).

        Raises
        ------
        ValueError
            For a value that is not finite.
        """
        with torch.no_grad():
            scaled = self.network_(self._inputs(_checked(X)))[:, 0]
        return self.y_centre_ + self.y_scale_ * scaled.numpy().astype(np.float64)

    def _inputs(self, features: Floats) -> torch.Tensor:
        return torch.as_tensor((features - self.centre_) / self.scale_, dtype=torch.float32)

    def _train(
        self, inputs: torch.Tensor, goals: torch.Tensor, watched: torch.Tensor, watched_goals: torch.Tensor
    ) -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            torch.manual_seed(self.seed)
            network = _layers((inputs.shape[1], *self.hidden, 1))
            optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
            best, lowest, waited = deepcopy(network), np.inf, 0
            for _ in range(self.max_epochs):
                for rows in torch.randperm(len(goals)).split(self.batch_size):
                    optimiser.zero_grad()
                    nn.functional.mse_loss(network(inputs[rows])[:, 0], goals[rows]).backward()
                    optimiser.step()
                with torch.no_grad():
                    error = nn.functional.mse_loss(network(watched)[:, 0], watched_goals).item()
                waited += 1
                if error < lowest:
                    best, lowest, waited = deepcopy(network), error, 0
                if waited >= self.patience:
                    break
        return best


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        modules += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*modules[:-1])


def _checked(given: Any) -> Floats:
    array = np.asarray(given, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise ValueError(f"value {array[place]} at {place}; expected finite features and values")
    return array


def _spread(array: Floats) -> Any:
    # not where the SD is 0: that of equal numbers is rounded, and need not be
    return np.where(np.ptp(array, axis=0) > 0.0, array.std(axis=0), 1.0)
