"""Rounds of a federation over Flower (https://flower.ai) instead of files: the extra ``flower``.

The same answers and the same step as in `federated` travel in Flower's configuration and metrics, as the JSON
texts that would stand in the files. Flower's arrays and numbers of examples stay empty: the latter would tell
how many patients a hidden site has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from dosewright.agents.estimation.population import Evidence, Refit, RefittedPopulation
from dosewright.agents.refinement.federated import Answer, Privacy, stepped

try:
    from flwr.client import NumPyClient  # pyright: ignore[reportMissingImports]
except ImportError:
    raise ImportError("Flower is not installed; pip install 'dosewright[flower]'") from None

_NOTHING = [np.zeros(1)]


class FlowerSite(NumPyClient):
    """A site as a Flower client.

    Parameters
    ----------
    name
        Of the site.
    evidence
        Of its patients.
    published
        The population as published.
    privacy
        How patients are hidden; None: not.
    """

    def __init__(
        self,
        name: str,
        evidence: Evidence,
        published: RefittedPopulation,
        privacy: Privacy | None = None,
    ) -> None:
        self.name, self.evidence, self.published, self.privacy = name, evidence, published, privacy

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """Answer the population in ``config["population"]`` with moments in the metrics' "moments"."""
        population = RefittedPopulation.parse(json.loads(config["population"]))
        answer = Answer.of(self.name, self.evidence, population, self.published, self.privacy)
        return parameters or _NOTHING, 1, {"moments": json.dumps(answer.record(), allow_nan=False)}


class FlowerCoordinator:
    """What a Flower strategy needs to run rounds.

    `config` is for its ``on_fit_config_fn``, `aggregate` for its ``fit_metrics_aggregation_fn``; it has
    to wait for all sites in every round.

    Parameters
    ----------
    refit
        The EM whose steps are taken.
    start
        The population to begin with.
    sites
        How many take part.

    Attributes
    ----------
    population
        The newest one.
    """

    def __init__(self, refit: Refit, start: RefittedPopulation, sites: int) -> None:
        self.refit, self.population, self.sites = refit, start, sites

    def config(self, server_round: int) -> dict[str, Any]:
        """Return what the sites are asked in a round."""
        return {"population": json.dumps(self.population.record(), allow_nan=False)}

    def aggregate(self, metrics: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
        """Take a step with the answers of a round.

        Raises
        ------
        ValueError
            If a site has not answered; and as `stepped`.
        """
        if len(metrics) != self.sites:
            raise ValueError(f"{len(metrics)} sites answered; a round needs all {self.sites}")
        answers = [Answer.parse(json.loads(item["moments"]), "Flower") for _, item in metrics]
        answers.sort(key=lambda answer: answer.site)
        self.population = stepped(self.refit, self.population, answers)
        return {"patients": self.population.patients}
