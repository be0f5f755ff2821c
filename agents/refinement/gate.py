"""The gate: what a candidate must show before it doses anybody.

A candidate and the incumbent treat the same virtual patients in two simulators, that of the refitted
population and that of the population before. In both the candidate must be non-inferior in every harm. In
benefit, and in the return, it must be better in the refitted one and not worse in the previous one; better
there too, if the previous population predicts patients whom neither has seen the better of the two. Once that
prediction refutes the previous population nothing binds there but the event that a trial counts: it is there
in case the refit learned from something else than a change of the patients. What the log of served doses says
of both is asked off-policy: where it cannot answer, that is said, and the verdict rests on the trials and on
predictive fit; where it shows harm, it is a veto.

Two kinds of error are kept apart:

- *Promotion in error.* All that must be shown has to be shown, each at the same one-sided level, so the
  chance that a candidate which fails in one of them passes is at most that level, however many there are (an
  intersection-union test; Berger 1982, Technometrics 24:295-300): harms, simulators and benefit need no
  correction for each other. Attempts against one incumbent spend one budget: the k-th is judged at
  alpha · 6 / (π² k²), which sums to alpha (Bonferroni over a convergent series). That holds whatever the
  attempts have in common, as long as no candidate was made in view of the patients it then meets: a new seed
  an attempt. A promotion begins a new budget.
- *Harm unseen.* Vetoes, by the log and by subgroups, ask for harm that is shown, at alpha whatever the
  attempt: spent like the budget they would grow weaker with every failure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from dosewright.evaluation.summary.harms import EVENT, harms_of
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
2011;365:981-992). RECALLED. The scenario's margin is that of its event; here it serves for other shares, of
patients and of time, as well (ASSUMPTION): of time it is wide, which is why the return has to be better."""
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
    name, label, unit
        Of the outcome; "share" is one of patients or of time.
    difference
        Candidate minus incumbent.
    margin
        In the outcome's unit.
    excess
        Upper limit of what the candidate does beyond the margin. Of a share, that of the difference less the
        margin. A margin that is part of the incumbent's rate is estimated from the same patients: there the
        limit is of the candidate's rate less (1 + `RATE_MARGIN`) times the incumbent's, patient by patient;
        held against the estimate as if it were known, the error is up to several times the level.
    """

    name: str
    label: str
    unit: str
    difference: Difference
    margin: float
    excess: float

    @property
    def tolerable(self) -> bool:
        """Whether it is shown that the candidate does not do more of it than the margin."""
        return self.excess <= 0

    def __str__(self) -> str:
        most, allowed = self.margin + self.excess, self.margin
        if self.unit == "share":
            return f"{self.label} may rise by {_words(most)}, {_words(allowed)} allowed"
        return f"{self.label} may rise by {most:.3g} {self.unit}, {allowed:.3g} allowed"


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
    benefit, returned
        Candidate minus incumbent: benefit, and the return, which weighs harm against it.
    harms, groups
        As `Harm` and `Group`.
    harmed, worse
        A subgroup in which the event is shown to rise, or benefit to fall, by more than the margin, in words;
        empty where there is none.
    """

    where: Where
    patients: int
    benefit: Difference
    returned: Difference
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
        "answered", "model-based" where only a model answers, "refused", "bounds only", or "no log".
    reason
        Why there is no answer, or none about one of the two.
    patients
        In the log.
    benefit, harm
        Candidate minus incumbent: return, and the share ever in the scenario's band of harm; None without an
        answer.
    """

    verdict: str
    reason: str
    patients: int
    benefit: Interval | None = None
    harm: Interval | None = None

    @property
    def answers(self) -> bool:
        """Whether the log says anything of the difference."""
        return self.benefit is not None or self.harm is not None


@dataclass(frozen=True)
class PredictiveFit:
    """How well two populations predict patients whom neither was learned from.

    Attributes
    ----------
    patients
        How many.
    log_bayes_factor
        Sum of the log marginal likelihoods under the refitted population, less that under the previous one.

    Raises
    ------
    ValueError
        For a log Bayes factor that is no number.
    """

    patients: int
    log_bayes_factor: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.log_bayes_factor):
            raise ValueError(
                f"log Bayes factor {self.log_bayes_factor} of {self.patients} patients; expected a number: "
                "leave out whom one of the populations cannot predict at all, in both"
            )

    @property
    def refuted(self) -> Where | None:
        """The population that is refuted by the other, if one is."""
        if abs(self.log_bayes_factor) <= REFUTED:
            return None
        return "previous" if self.log_bayes_factor > 0 else "refitted"


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate.

    Attributes
    ----------
    promoted, reasons
        Whether it may dose; why not, or on what the promotion rests.
    attempt, alpha
        Number of the attempt against this incumbent, and the one-sided error it was judged at.
    seed
        Of the trials' patients.
    trials, off_policy, fit
        The evidence.
    """

    promoted: bool
    reasons: tuple[str, ...]
    attempt: int
    alpha: float
    seed: int
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
            "seed": self.seed,
            "trials": [
                {
                    "world": item.where,
                    "patients": item.patients,
                    "benefit": _limits(item.benefit),
                    "return": _limits(item.returned),
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
                "refuted": self.fit.refuted,
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
        One-sided error of all attempts against one incumbent, and of every veto.
    tolerated
        Loss of benefit and of return in the previous simulator, as a share, that counts as not worse there.
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
            Of the trials' patients, of the `trial` namespace; another one each attempt.

        Raises
        ------
        ValueError
            For regimens of one name, which the log cannot tell apart; as `verdict`.
        """
        if candidate.name == incumbent.name:
            raise ValueError(f"candidate and incumbent are both called {candidate.name!r}; rename one")
        _check_worlds(worlds)
        level = self.level(attempt)
        trials = [
            self._tried(where, candidate, incumbent, scenario, level, seed)
            for where, scenario in worlds.items()
        ]
        heard = self.heard(candidate, incumbent, published, log, seed)
        return self.verdict(trials, heard, fit, published.margin, attempt=attempt, seed=seed)

    def level(self, attempt: int) -> float:
        """Coverage of the two-sided intervals whose either side has the one-sided error of an attempt."""
        return 1.0 - 2.0 * spent(attempt, self.alpha)

    @property
    def veto_level(self) -> float:
        """Coverage of the intervals that vetoes read."""
        return 1.0 - 2.0 * self.alpha

    def verdict(
        self,
        trials: Sequence[Tried],
        heard: OffPolicy,
        fit: PredictiveFit,
        margin: float,
        *,
        attempt: int,
        seed: int,
    ) -> Verdict:
        """Return the verdict on evidence that was gathered.

        Parameters
        ----------
        trials
            One in each simulator, with intervals of `level` of the attempt, `veto_level` in subgroups.
        heard, fit
            What the log says, with intervals of `veto_level`; how well the populations predict.
        margin
            Rise of harm on the log that is too much.
        attempt, seed
            As in `judge`.

        Raises
        ------
        ValueError
            For an attempt before the first, or anything but one trial in either simulator.
        """
        _check_worlds([item.where for item in trials])
        reasons = [reason for item in trials for reason in self._against(item, fit)]
        reasons += vetoes(heard, margin)
        if fit.refuted == "refitted":
            reasons.append(
                f"the refitted population is refuted by {fit.patients} patients whom it has not seen, log "
                f"Bayes factor {fit.log_bayes_factor:.1f}"
            )
        promoted = not reasons
        if promoted:
            reasons = self._grounds(trials, heard, fit)
        alpha = spent(attempt, self.alpha)
        return Verdict(promoted, tuple(reasons), attempt, alpha, seed, tuple(trials), heard, fit)

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
        return tried(where, result, level, self.veto_level)

    def _against(self, item: Tried, fit: PredictiveFit) -> list[str]:
        """Say what a trial holds against the candidate."""
        least = self._least(item.where, fit)
        # of a simulator that was refuted only the event binds: it is there in case of a wrong refit
        binding = [harm for harm in item.harms if harm.name == EVENT or not math.isinf(least)]
        said = [f"{item.where}: {harm}" for harm in binding if not harm.tolerable]
        said += [f"{item.where}: {item.harmed}"] if item.harmed else []
        if math.isinf(least):
            return said
        said += [f"{item.where}: {item.worse}"] if item.worse else []
        for name, gain in (("benefit", item.benefit), ("return", item.returned)):
            if not gain.low > least:
                wanted = "better" if least == 0 else f"at most {_words(-least)} worse"
                said.append(f"{item.where}: {name} not shown to be {wanted}, {_interval(gain)}")
        return said

    def _least(self, where: Where, fit: PredictiveFit) -> float:
        """Return the gain that the candidate must be shown to exceed in a simulator.

        A gain in a world that the data speak against is no gain: where the previous population predicts the
        better of the two, if by little, there must be one there as well. What was refuted cannot hold a
        candidate back from patients as they are now, except by harm.
        """
        if where == "refitted" or fit.log_bayes_factor < 0:
            return 0.0
        return -math.inf if fit.refuted == "previous" else -self.tolerated

    # -------------------------------------------------------------------------------------------- log

    def heard(
        self,
        candidate: Regimen,
        incumbent: Regimen,
        published: Scenario,
        log: Trajectories | None,
        seed: int,
    ) -> OffPolicy:
        """Return what a log says of candidate and incumbent, parameters as in `judge`.

        The candidate may have been made from the same log. That flatters it there, by little as long as the
        log's patients moved the population only: a veto is then a bit too rare, and nothing else rests on it.
        So does chance: where a candidate differs in rare states, few patients of a log carry what it would do
        there, and most logs have met fewer of them than their share. Intervals of logs of 500 patients miss
        what is worse more often than what is better (`python -m benchmarks.gate logs`): that a log shows
        nothing against a candidate is little in its favour.
        """
        if log is None:
            return OffPolicy("no log", "nobody was dosed with known propensities yet", 0)
        # nothing else is asked for, and each outcome is a fit for every fold and visit
        kept = {name: values for name, values in log.outcomes.items() if name == EVER_IN_HARM}
        try:
            lacking = _lacking(log, candidate, published)
            if lacking:
                return OffPolicy("refused", lacking, log.n_patients)
            found = evaluate_offline(
                replace(log, outcomes=kept),
                published,
                candidate,
                incumbent,
                regressor=self.regressor,
                seed=seed,
            )
        except ValueError as error:  # a log too short for folds, or of doses without propensities
            return OffPolicy("refused", str(error), log.n_patients)
        return _told(found, self.veto_level, log.n_patients)

    def _grounds(self, trials: Sequence[Tried], heard: OffPolicy, fit: PredictiveFit) -> list[str]:
        """Say on what a promotion rests."""
        refitted = next(item for item in trials if item.where == "refitted")
        said = [
            f"benefit {_interval(refitted.benefit)} better in {refitted.patients} pairs, no harm more than "
            "its margin"
        ]
        if heard.answers:
            parts = [
                f"{name} {_interval(found)}"
                for name, found in (("return", heard.benefit), ("harm", heard.harm))
                if found is not None
            ]
            model = " by a model alone" if heard.verdict == "model-based" else ""
            said.append(
                f"the log of {heard.patients} patients shows nothing against it{model}: {', '.join(parts)}"
                + (f"; {heard.reason}" if heard.reason else "")
            )
        else:
            said.append(
                f"the log does not answer ({heard.verdict}: {heard.reason}): it rests on the trials and on "
                f"predictive fit, log Bayes factor {fit.log_bayes_factor:.1f} on {fit.patients} patients"
            )
        return said


def _check_worlds(given: Collection[str]) -> None:
    """Refuse anything but both simulators: without one, nothing would be held against a candidate there."""
    if sorted(given) != ["previous", "refitted"]:
        raise ValueError(
            f"simulators: {', '.join(given) or 'none'}; expected one 'refitted' and one 'previous'"
        )


def tried(where: Where, result: TrialResult, level: float, veto_level: float) -> Tried:
    """Return what a trial of the arms "candidate" and "incumbent" says, with intervals of a level, and in
    subgroups of the level of vetoes."""
    scenario = result.scenario
    groups = _groups(result, veto_level)
    return Tried(
        where,
        len(result.ids),
        _difference(result, "benefit", level),
        _difference(result, "return", level),
        tuple(_harm(result, harm.name, harm.label, harm.unit, level) for harm in harms_of(scenario)),
        groups,
        *_worst(groups, scenario.margin),
    )


def _harm(result: TrialResult, name: str, label: str, unit: str, level: float) -> Harm:
    difference = _difference(result, name, level)
    if unit == "share":
        margin = result.scenario.margin
        return Harm(name, label, unit, difference, margin, difference.high - margin)
    a, b = _both(result, name)
    beyond = paired_difference(a, (1.0 + RATE_MARGIN) * b, level)
    return Harm(name, label, unit, difference, RATE_MARGIN * float(b.mean()), beyond.high)


def _both(
    result: TrialResult, outcome: str, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return an outcome under candidate and incumbent, of the patients who have it under both."""
    a, b = (result.arm(name).values(outcome) for name in ("candidate", "incumbent"))
    keep = np.isfinite(a) & np.isfinite(b) & (True if mask is None else mask)
    return a[keep], b[keep]


def _difference(
    result: TrialResult, outcome: str, level: float, mask: NDArray[np.bool_] | None = None
) -> Difference:
    """Return candidate minus incumbent with an interval of a level."""
    a, b = _both(result, outcome, mask)
    paired = paired_proportion_difference if a.dtype == np.bool_ else paired_difference
    return paired(a, b, level)


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
    """Say that a log has too few of the candidate's doses; empty where it has them.

    Asked before the estimates, which take their time and would all be refused. What is left then are bounds,
    and those of a course of many visits are those of the definition: nothing that could veto.
    """
    ready = make_ready(log, scenario)
    weights = importance_weights(
        ready.log, ask_target(ready.log, candidate, scenario).log_prob, ready.follow_up
    )
    lacking = Support.of(weights, None).lacking
    if lacking is None or lacking <= LARGEST_UNSUPPORTED:
        return ""
    return f"{100 * lacking:.2g} % of the candidate's doses were never given at such states"


def _told(found: OfflineResult, level: float, patients: int) -> OffPolicy:
    """Return what an off-policy evaluation of candidate and incumbent says."""
    decisions = next(iter(found.evidence.values())).decisions
    asked = [name for name in ("return", EVER_IN_HARM) if name in decisions]
    told = {name: found.difference(name, level) for name in asked}
    silent = [
        f"no answer about {'harm' if name == EVER_IN_HARM else name}: "
        f"{decisions[name].reason or 'none for the incumbent'}"
        for name in asked
        if told[name] is None
    ]
    answered = [decisions[name].verdict for name in asked if told[name] is not None]
    unanswered = decisions["return"]
    verdict = unanswered.verdict if unanswered.answer is None else "refused"
    if answered:
        verdict = "model-based" if "model-based" in answered else "answered"
    return OffPolicy(verdict, "; ".join(silent), patients, told["return"], told.get(EVER_IN_HARM))


def vetoes(heard: OffPolicy, margin: float) -> list[str]:
    """Say what a log holds against the candidate: harm that it shows, never that it cannot show none."""
    said: list[str] = []
    if heard.benefit is not None and heard.benefit.high < 0:
        said.append(f"log: the return is shown to be worse, by {_words(-heard.benefit.high)} or more")
    if heard.harm is not None and heard.harm.low > margin:
        said.append(f"log: harm is shown to rise, by {_words(heard.harm.low)} or more")
    return said


def _words(share: float) -> str:
    return f"{100 * share:.1f} points"


def _interval(found: Interval) -> str:
    return f"{_words(found.mean)} ({_words(found.low)} to {_words(found.high)})"
