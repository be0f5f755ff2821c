"""The gate: what a candidate must show before it doses anybody.

A candidate and the incumbent treat the same virtual patients in two simulators, that of the refitted
population and that of the population before. There the candidate must be non-inferior in every harm, and in
benefit better in the one and not worse in the other. What the log of served doses says of both is asked
off-policy: where it cannot answer, that is said, and the verdict rests on the trials and on how well the
refitted population predicts patients it has not seen; where it shows harm, it is a veto.

Attempts against one incumbent spend one error budget: the k-th is judged at alpha · 6 / (π² k²), which sums
to alpha over all attempts (Bonferroni over a convergent series).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Noise, Regimen, Scenario
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.offline import evaluate_offline
from dosewright.evaluation.offline.ready import make_ready
from dosewright.evaluation.offline.result import OfflineResult, Regressor
from dosewright.evaluation.offline.support import Support
from dosewright.evaluation.ope import ask_target, importance_weights
from dosewright.evaluation.ope.decide import LARGEST_UNSUPPORTED
from dosewright.evaluation.recording import EVER_IN_HARM
from dosewright.evaluation.statistics import Difference, Interval, paired_difference
from dosewright.evaluation.statistics.proportions import paired_proportion_difference
from dosewright.evaluation.trial import TrialResult, run_trial

Floats = NDArray[np.float64]
Where = Literal["refitted", "previous"]

ALPHA = 0.05
"""One-sided error of all attempts against one incumbent together."""
REFUTED = 5.0
"""Log Bayes factor for the refitted population from which the previous one is refuted: 150 to 1 on patients
whom neither has seen ("very strong", Kass and Raftery 1995)."""
RATE_MARGIN = 0.38
"""Rise of a rate of events, as a share of the incumbent's, that is too much: the margin of a trial of strokes
under another anticoagulant than warfarin, rate ratio 1.38 (ARISTOTLE; Granger CB et al. N Engl J Med
2011;365:981-992). RECALLED."""
_SMALLEST = 50  # patients of a subgroup that is judged


def spent(attempt: int, alpha: float = ALPHA) -> float:
    """Return the one-sided error of an attempt, counted from 1.

    Raises
    ------
    ValueError
        For an attempt before the first.
    """
    if attempt < 1:
        raise ValueError(f"attempt {attempt}; attempts are counted from 1")
    return alpha * 6.0 / (math.pi**2 * attempt**2)


@dataclass(frozen=True)
class Harm:
    """A harm of a trial: how much more of it the candidate does, and how much more would be too much.

    Attributes
    ----------
    name, label
        Of the outcome.
    difference
        Candidate minus incumbent.
    margin
        In the outcome's unit.
    """

    name: str
    label: str
    difference: Difference
    margin: float

    @property
    def tolerable(self) -> bool:
        """Whether it is shown that the candidate does not do more of it than the margin."""
        return self.difference.high < self.margin


@dataclass(frozen=True)
class Group:
    """A subgroup: differences of benefit and of the event, candidate minus incumbent."""

    kind: str
    label: str
    patients: int
    benefit: Difference
    harm: Difference


@dataclass(frozen=True)
class Tried:
    """A paired trial of candidate and incumbent in one simulator.

    Attributes
    ----------
    where
        Whose population the patients are of.
    patients
        Pairs.
    benefit
        Candidate minus incumbent.
    harms, groups
        As `Harm` and `Group`.
    harmed, worse
        A subgroup in which the event is shown to rise, or benefit to fall, by more than the margin, in words;
        empty where there is none.
    """

    where: Where
    patients: int
    benefit: Difference
    harms: tuple[Harm, ...]
    groups: tuple[Group, ...]
    harmed: str
    worse: str


@dataclass(frozen=True)
class OffPolicy:
    """What a log says of candidate and incumbent.

    Attributes
    ----------
    verdict
        "answered", or why there is no answer: "refused", "bounds only", or "no log".
    reason
        In words.
    patients
        In the log.
    benefit, harm
        Candidate minus incumbent: return, and the share ever in harm; None without an answer.
    """

    verdict: str
    reason: str
    patients: int
    benefit: Interval | None = None
    harm: Interval | None = None


@dataclass(frozen=True)
class PredictiveFit:
    """How well two populations predict patients whom neither was learned from.

    Attributes
    ----------
    patients
        How many.
    log_bayes_factor
        Sum of the log marginal likelihoods under the refitted population, less that under the previous one.
    """

    patients: int
    log_bayes_factor: float

    @property
    def refuted(self) -> bool:
        """Whether the previous population is."""
        return self.log_bayes_factor > REFUTED


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate.

    Attributes
    ----------
    promoted, reasons
        Whether it may dose; why not, or on what the promotion rests.
    attempt, alpha
        Number of the attempt against this incumbent, and the one-sided error it was judged at.
    trials, off_policy, fit
        The evidence.
    """

    promoted: bool
    reasons: tuple[str, ...]
    attempt: int
    alpha: float
    trials: tuple[Tried, ...]
    off_policy: OffPolicy
    fit: PredictiveFit

    def record(self) -> dict[str, Any]:
        """Return it as JSON-ready data, as the registry keeps it and its page shows it."""
        log = self.off_policy
        return {
            "verdict": "promoted" if self.promoted else "refused",
            "reason": "; ".join(self.reasons),
            "alpha": self.alpha,
            "attempt": self.attempt,
            "trials": [
                {
                    "world": item.where,
                    "patients": item.patients,
                    "benefit": _limits(item.benefit),
                    "harms": [
                        {
                            "label": harm.label,
                            **_limits(harm.difference),
                            "margin": harm.margin,
                            "shown": "non-inferior" if harm.tolerable else "not shown",
                        }
                        for harm in item.harms
                    ],
                    "subgroups": [
                        {
                            "name": f"{group.kind}: {group.label}",
                            "n": group.patients,
                            "benefit": _limits(group.benefit),
                            "harm": _limits(group.harm),
                        }
                        for group in item.groups
                    ],
                }
                for item in self.trials
            ],
            "off_policy": {
                "verdict": log.verdict,
                "reason": log.reason,
                "patients": log.patients,
                **({} if log.benefit is None else _limits(log.benefit)),
                **({} if log.harm is None else {"harm": _limits(log.harm)}),
            },
            "predictive_fit": {
                "patients": self.fit.patients,
                "log_bayes_factor": self.fit.log_bayes_factor,
                "previous_refuted": self.fit.refuted,
            },
        }


def _limits(found: Interval) -> dict[str, float | None]:
    """Return mean and limits, null where there are none."""
    values = {"mean": found.mean, "low": found.low, "high": found.high}
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}


@dataclass(frozen=True, eq=False)
class Gate:
    """How candidates are judged.

    Attributes
    ----------
    realism
        Preset of the trials.
    patients
        Pairs of each trial.
    alpha
        Error of all attempts against one incumbent.
    tolerated
        Loss of benefit in the previous simulator, as a share, that counts as not worse there.
    regressor
        Of the off-policy values; None: the default of `evaluate_offline`.
    """

    realism: str = "clinic"
    patients: int = 4000
    alpha: float = ALPHA
    tolerated: float = 0.01
    regressor: Regressor | None = field(default=None, repr=False)

    def judge(
        self,
        candidate: Regimen,
        incumbent: Regimen,
        worlds: Mapping[Where, Scenario],
        fit: PredictiveFit,
        log: Trajectories | None,
        published: Scenario,
        *,
        attempt: int,
        seed: int,
    ) -> Verdict:
        """Try a candidate against the incumbent, and say whether it may dose.

        Parameters
        ----------
        candidate, incumbent
            Regimens of other names, each with the belief it has in use.
        worlds
            Simulators: scenarios with the refitted and with the previous population.
        fit
            How well their populations predict.
        log
            Served doses with their propensities, by the incumbent; None: there is none.
        published
            The scenario of the log.
        attempt
            Number of the attempt against this incumbent, from 1.
        seed
            Of the trials' patients, of the `trial` namespace.
        """
        alpha = spent(attempt, self.alpha)
        tried = tuple(
            self._tried(where, candidate, incumbent, scenario, 1.0 - 2.0 * alpha, seed)
            for where, scenario in worlds.items()
        )
        heard = self._heard(candidate, incumbent, published, log, 1.0 - 2.0 * alpha, seed)
        reasons = [reason for item in tried for reason in self._against(item, fit)]
        reasons += _vetoed(heard, published.margin)
        if heard.verdict != "answered" and fit.log_bayes_factor < 0:
            reasons.append(
                f"the log does not answer, and the refitted population predicts {fit.patients} new patients "
                f"worse than the previous one, log Bayes factor {fit.log_bayes_factor:.1f}"
            )
        promoted = not reasons
        if promoted:
            reasons = self._grounds(tried, heard, fit)
        return Verdict(promoted, tuple(reasons), attempt, alpha, tried, heard, fit)

    # ----------------------------------------------------------------------------------------- trials

    def _tried(
        self,
        where: Where,
        candidate: Regimen,
        incumbent: Regimen,
        scenario: Scenario,
        level: float,
        seed: int,
    ) -> Tried:
        result = run_trial(
            scenario,
            {"candidate": candidate, "incumbent": incumbent},
            scenario.population,
            np.arange(self.patients),
            Noise("trial", seed),
            scenario.preset(self.realism),
        )
        return tried(where, result, level)

    def _against(self, item: Tried, fit: PredictiveFit) -> list[str]:
        """Say what a trial holds against the candidate."""
        said = [
            f"{item.where}: {harm.label} may rise by {_words(harm.difference.high)}, {_words(harm.margin)} "
            "allowed"
            for harm in item.harms
            if not harm.tolerable
        ]
        binds = item.where == "refitted" or not fit.refuted
        said += [f"{item.where}: {why}" for why in (item.harmed, item.worse if binds else "") if why]
        if item.where == "refitted" and not item.benefit.low > 0:
            said.append(
                f"refitted: benefit not shown to be better, {_words(item.benefit.mean)} "
                f"({_words(item.benefit.low)} to {_words(item.benefit.high)})"
            )
        if item.where == "previous" and binds and not item.benefit.low > -self.tolerated:
            said.append(
                f"previous: benefit may be {_words(-item.benefit.low)} worse, {_words(self.tolerated)} "
                "tolerated while the previous population is not refuted"
            )
        return said

    # -------------------------------------------------------------------------------------------- log

    def _heard(
        self,
        candidate: Regimen,
        incumbent: Regimen,
        published: Scenario,
        log: Trajectories | None,
        level: float,
        seed: int,
    ) -> OffPolicy:
        if log is None:
            return OffPolicy("no log", "nobody was dosed with known propensities yet", 0)
        try:
            lacking = _lacking(log, candidate, published)
            if lacking:
                return OffPolicy("refused", lacking, log.n_patients)
            found = evaluate_offline(
                log, published, candidate, incumbent, regressor=self.regressor, seed=seed
            )
        except ValueError as error:
            return OffPolicy("refused", str(error), log.n_patients)
        return _told(found, level, log.n_patients)

    def _grounds(self, trials: Sequence[Tried], heard: OffPolicy, fit: PredictiveFit) -> list[str]:
        """Say on what a promotion rests."""
        refitted = next(item for item in trials if item.where == "refitted")
        said = [
            f"benefit {_words(refitted.benefit.mean)} better ({_words(refitted.benefit.low)} to "
            f"{_words(refitted.benefit.high)}) in {refitted.patients} pairs, no harm more than its margin"
        ]
        if heard.verdict == "answered":
            said.append(f"the log of {heard.patients} patients agrees")
        else:
            said.append(
                f"the log does not answer ({heard.verdict}: {heard.reason}): it rests on the trials and on "
                f"predictive fit, log Bayes factor {fit.log_bayes_factor:.1f} on {fit.patients} patients"
            )
        return said


def tried(where: Where, result: TrialResult, level: float) -> Tried:
    """Return what a trial of the arms "candidate" and "incumbent" says, with intervals of a level."""
    scenario = result.scenario
    benefit = _difference(result, "benefit", level)
    harms = [
        Harm("ever_harm", scenario.event.label, _difference(result, "ever_harm", level), scenario.margin)
    ]
    for outcome in scenario.outcomes:
        if outcome.better == "lower" and outcome.kind != "rosendaal":
            margin = scenario.margin
            if outcome.unit != "share":
                margin = RATE_MARGIN * float(np.nanmean(result.arm("incumbent").values(outcome.name)))
            harms.append(Harm(outcome.name, outcome.label, _difference(result, outcome.name, level), margin))
    groups = _groups(result, level)
    return Tried(where, len(result.ids), benefit, tuple(harms), groups, *_worst(groups, scenario.margin))


def _difference(
    result: TrialResult, outcome: str, level: float, mask: NDArray[np.bool_] | None = None
) -> Difference:
    """Return candidate minus incumbent with an interval of a level."""
    a, b = (result.arm(name).values(outcome) for name in ("candidate", "incumbent"))
    keep = np.isfinite(a) & np.isfinite(b) & (True if mask is None else mask)
    paired = paired_proportion_difference if a.dtype == np.bool_ else paired_difference
    return paired(a[keep], b[keep], level)


def _groups(result: TrialResult, level: float) -> tuple[Group, ...]:
    """Return the subgroups, with intervals that hold for all of them together (Bonferroni)."""
    some = [
        (kind, label, mask)
        for kind, masks in result.subgroups().items()
        for label, mask in masks.items()
        if mask.sum() >= _SMALLEST
    ]
    each = 1.0 - (1.0 - level) / max(len(some), 1)
    return tuple(
        Group(
            kind,
            label,
            int(mask.sum()),
            _difference(result, "benefit", each, mask),
            _difference(result, "ever_harm", each, mask),
        )
        for kind, label, mask in some
    )


def _worst(groups: Sequence[Group], margin: float) -> tuple[str, str]:
    """Say which subgroup is shown to have more of the event, and which less benefit."""
    harmed = next((group.label for group in groups if group.harm.low > margin), "")
    worse = next((group.label for group in groups if group.benefit.high < -margin), "")
    return (
        harmed and f"{harmed}: the event is shown to rise by more than {_words(margin)}",
        worse and f"{worse}: benefit is shown to fall by more than {_words(margin)}",
    )


def _lacking(log: Trajectories, candidate: Regimen, scenario: Scenario) -> str:
    """Say that a log has too few of the candidate's doses; empty where it has them. Asked before the
    estimates, which take their time and would be refused."""
    ready = make_ready(log, scenario)
    weights = importance_weights(ready.log, ask_target(ready.log, candidate, scenario).log_prob)
    lacking = Support.of(weights, None).lacking
    if lacking is None or lacking <= LARGEST_UNSUPPORTED:
        return ""
    return f"{100 * lacking:.2g} % of the candidate's doses were never given at such states"


def _told(found: OfflineResult, level: float, patients: int) -> OffPolicy:
    """Return what an off-policy evaluation of candidate and incumbent says."""
    candidate = next(iter(found.evidence.values()))
    decision = candidate.decisions["return"]
    benefit = found.difference("return", level)
    harm = found.difference(EVER_IN_HARM, level) if EVER_IN_HARM in found.outcomes else None
    if benefit is None and harm is None:
        verdict = decision.verdict if decision.answer is None else "refused"
        return OffPolicy(verdict, decision.reason or "no answer for the incumbent", patients)
    return OffPolicy("answered", "", patients, benefit, harm)


def _vetoed(heard: OffPolicy, margin: float) -> list[str]:
    """Say what a log holds against the candidate: harm that it shows, never that it cannot show none."""
    said: list[str] = []
    if heard.benefit is not None and heard.benefit.high < 0:
        said.append(f"log: the return is shown to be worse, at most {_words(heard.benefit.high)}")
    if heard.harm is not None and heard.harm.low > margin:
        said.append(f"log: harm is shown to rise, by {_words(heard.harm.low)} or more")
    return said


def _words(share: float) -> str:
    return f"{100 * share:.1f} points"
