"""EU-PACT: warfarin started by genotype against a standard start, over 12 weeks.

Pirmohamed et al., N Engl J Med 2013;369:2294. Everything that decides the result is written down here: who
takes part, when blood is drawn, what counts, what must hold. The arms are handed in.

Research simulation, not for clinical use.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Noise, Regimen
from dosewright.evaluation.provenance import provenance
from dosewright.evaluation.replications.acceptance import (
    JUDGED_UNDER,
    Check,
    Confidence,
    Fact,
    Figure,
    Published,
)
from dosewright.evaluation.replications.cohort import people, trial_scenario
from dosewright.evaluation.replications.conduct import Progress, Treated, checked_arms, treat
from dosewright.evaluation.replications.contrast import Contrast, contrast
from dosewright.evaluation.replications.result import ASSUMPTIONS, Replication, in_words

NAME, TITLE = "eu-pact", "EU-PACT: warfarin by genotype over 12 weeks"
_PAPER = "Pirmohamed 2013, N Engl J Med 369:2294, doi:10.1056/NEJMoa1311386"

FACTS = (
    Fact("design", "two arms, single-blind, 227 and 228 patients, United Kingdom and Sweden", "A"),
    Fact("patients", "adults starting warfarin for atrial fibrillation or thromboembolism, INR 2 to 3", "A"),
    Fact("age, sex, weight", "mean about 67 years (SD 13 to 14), 61 % men, about 82 kg", "C"),
    Fact("ancestry", "98.5 % white; simulated: everybody", "B"),
    Fact("indication", "72.1 % atrial fibrillation, 27.9 % venous thromboembolism", "B"),
    Fact("genotype arm", "days 1 to 3 loading by genotype, days 4 and 5 by the INR of day 4", "A"),
    Fact("its formulas", "IWPC with age in years, loading doses, Lenzini's refinement", "B"),
    Fact("standard arm", "10, 5, 5 mg, above 75 years 5, 5, 5 mg; then usual local practice", "A"),
    Fact("INR", "days 1, 4, 6, 8, 15, 22, 57 and 85, and clinic visits in between", "C"),
    Fact("primary outcome", "per cent of time with INR 2 to 3 over the 12 weeks", "A"),
    Fact("its method", "linear interpolation between INRs (Rosendaal)", "C"),
)

POPULATION = people(
    "EU-PACT",
    "EU-PACT's published marginals (trials.md 1, 2 and 4)",
    smokers=None,  # no equation of this trial asks
    thrombosis=0.279,
    genotype_in_time=1.0,  # point-of-care test before the first dose
    hidden=False,
)
SCENARIO = trial_scenario(TITLE, POPULATION)
_WINDOW = (0, 84)  # all 12 weeks, from the INR before the first dose; days counted from 0

# study days on which blood is drawn; day 85 ends follow-up
_CLINIC = (1, 4, 6, 8, 11, 15, 18, 22, 29, 36, 43, 50, 57, 64, 71, 78)
_PROTOCOL = (1, 4, 6, 8, 15, 22, 57)


@dataclass(frozen=True)
class Arm:
    """What an arm does, in words, and the study days on which blood is drawn from it."""

    words: str
    visits: tuple[int, ...]


_LOADED = "loading by genotype, refined by the INR of day 4; then"
_KEPT = "10, 5, 5 mg (5, 5, 5 above 75 years), 5 mg until day 6 whatever the INR of day 4; then"
_ACTED = "10, 5, 5 mg (5, 5, 5 above 75 years), × 1.1, 1.0, 0.8, 0.6 or 0.3 by the INR of day 4; then"
ARMS = {
    "genotype": Arm(f"{_LOADED} Aurora", _CLINIC),
    "standard, acts on day 4": Arm(f"{_ACTED} Aurora", _CLINIC),
    "standard, keeps 5 mg": Arm(f"{_KEPT} Aurora", _CLINIC),
    "genotype, protocol visits": Arm(f"{_LOADED} Aurora, no other visits", _PROTOCOL),
    "standard, protocol visits": Arm(f"{_KEPT} Aurora, no other visits", _PROTOCOL),
    "genotype, Aurora's visits": Arm(f"{_LOADED} Aurora with its own intervals, too", _PROTOCOL),
    "standard, Aurora's visits": Arm(f"{_KEPT} Aurora with its own intervals, too", _PROTOCOL),
    "genotype, Intermountain": Arm(f"{_LOADED} Intermountain from day 8, its own intervals, too", _PROTOCOL),
    "standard, Intermountain": Arm(f"{_KEPT} Intermountain from day 8, its own intervals, too", _PROTOCOL),
}


@dataclass(frozen=True)
class Rule:
    """How the control clinic behaves: the genotype arm is compared with it.

    Attributes
    ----------
    name
        In words; a sensitivity is more than acceptance asks for.
    genotype, standard
        Names of the two arms.
    """

    name: str
    genotype: str
    standard: str


# the three that are fixed beforehand
ACTS = Rule("acts on day 4", "genotype", "standard, acts on day 4")
PRIMARY = Rule("keeps 5 mg until day 6", "genotype", "standard, keeps 5 mg")
PROTOCOL = Rule("protocol visits only", "genotype, protocol visits", "standard, protocol visits")
RULES = (
    ACTS,
    PRIMARY,
    PROTOCOL,
    Rule("sensitivity: Aurora's own visits", "genotype, Aurora's visits", "standard, Aurora's visits"),
    Rule("sensitivity: Intermountain's own visits", "genotype, Intermountain", "standard, Intermountain"),
)

BAND = (3.3, 10.6)
# limits outside which a flag is set, per cent, and how well they are known
LEVELS: dict[str, tuple[tuple[float, float], Confidence]] = {
    "in_range": ((60.0, 67.0), "A"),
    "ever_at_least_4": ((27.0, 37.0), "C"),
}
DIFFERENCE = Published(7.0, "A", _PAPER, *BAND)
TIME_IN_RANGE = {"genotype": Published(67.4, "A", _PAPER), "standard": Published(60.3, "A", _PAPER)}
DAYS_TO_THERAPEUTIC = {"genotype": Published(21, "A", _PAPER), "standard": Published(29, "A", _PAPER)}

REMARKS = (
    "The trial's median times to a therapeutic INR, 21 and 29 days, are much longer than to the first INR in "
    "range here; how the paper defines them could not be read. The second of two INRs in a row in range is "
    "given with the comparisons.",
    "How the trial's clinics reacted to the INR of day 4 could not be read either. The three rules span what "
    "they may have done; only the primary one is judged.",
)

_SMALLEST_CLASS = 20  # below this an interval says nothing


def replicate(
    arms: Mapping[str, Regimen],
    patients: int,
    seed: int,
    presets: Sequence[str],
    progress: Progress | None = None,
) -> Replication:
    """Run EU-PACT on virtual patients.

    Parameters
    ----------
    arms
        A regimen for each name of `ARMS`, made for `SCENARIO`.
    patients, seed
        Number of participants, the same in every arm, and seed of everything.
    presets
        Realism presets; what must hold is judged under "clinic".
    progress
        Called with an arm and how many of its participants were just finished.

    Raises
    ------
    ValueError
        For an arm that is missing or unknown, an unknown preset, or fewer than two patients.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    regimens = checked_arms(arms, ARMS)
    visits = {name: tuple(day - 1 for day in arm.visits) for name, arm in ARMS.items()}
    ids, noise = np.arange(patients), Noise("trial", seed)
    contrasts: dict[str, dict[str, Contrast]] = {}
    classes: list[Contrast] = []
    shares: dict[str, dict[str, NDArray[np.float64]]] = {}
    for preset in presets:
        realism = SCENARIO.preset(preset)
        treated = treat(SCENARIO, regimens, visits, _WINDOW, POPULATION, ids, noise, realism, progress)
        contrasts[preset] = {rule.name: _compared(rule.name, preset, rule, treated) for rule in RULES}
        classes += _by_genotype(preset, treated)
        shares[preset] = {
            name: treated.share_in_range[name]
            for rule in (PRIMARY, ACTS)
            for name in (rule.genotype, rule.standard)
        }
    return Replication(
        name=NAME,
        title=TITLE,
        facts=FACTS,
        sources=(_PAPER, *SCENARIO.model.sources, "Lenzini 2010, Clin Pharmacol Ther 87:572"),
        assumptions=ASSUMPTIONS,
        reference="standard",
        arms={name: arm.words for name, arm in ARMS.items()},
        patients=patients,
        seed=seed,
        presets=tuple(presets),
        answer=_answer(contrasts),
        checks=tuple(check for preset in presets for check in _checks(preset, contrasts[preset])),
        figures=_figures({preset: found[PRIMARY.name] for preset, found in contrasts.items()}),
        remarks=REMARKS,
        primary=PRIMARY.name,
        contrasts=tuple(item for preset in presets for item in contrasts[preset].values()),
        classes=tuple(classes),
        doses=(),
        ratios=(),
        share_in_range=shares,
        provenance=provenance(started, time.perf_counter() - clock),
    )


def _compared(
    name: str, preset: str, rule: Rule, treated: Treated, mask: NDArray[np.bool_] | None = None
) -> Contrast:
    genotype, standard = treated.controls[rule.genotype], treated.controls[rule.standard]
    return contrast(name, preset, genotype, standard, mask)


def _by_genotype(preset: str, treated: Treated) -> list[Contrast]:
    """Return the primary comparison by CYP2C9 and VKORC1; classes with few participants are left out."""
    pairs = treated.genotypes
    found = []
    for cyp2c9 in np.unique(pairs["CYP2C9"]):
        for vkorc1 in np.unique(pairs["VKORC1"])[::-1]:
            mask = (pairs["CYP2C9"] == cyp2c9) & (pairs["VKORC1"] == vkorc1)
            if mask.sum() >= _SMALLEST_CLASS:
                found.append(_compared(f"CYP2C9 {cyp2c9}, VKORC1 {vkorc1}", preset, PRIMARY, treated, mask))
    return found


def _checks(preset: str, contrasts: Mapping[str, Contrast]) -> list[Check]:
    judged = preset == JUDGED_UNDER
    checks = []
    for rule in (ACTS, PRIMARY, PROTOCOL):
        must = rule is PRIMARY and judged
        checks.append(
            Check(
                item=1,
                what=f"time in range, genotype minus standard: {rule.name}",
                realism=preset,
                unit="points",
                estimate=contrasts[rule.name].difference["in_range"],
                rule="must hold" if must else "report",
                band=BAND if must else None,
                flag="A" if must else None,
                published=DIFFERENCE if rule is PRIMARY else None,
            )
        )
    primary = contrasts[PRIMARY.name]
    for key, words in (("in_range", "time in range"), ("ever_at_least_4", "any INR ≥ 4")):
        band, flag = LEVELS[key]
        for arm, figures in (("genotype", primary.first), ("standard", primary.second)):
            checks.append(
                Check(
                    item=2,
                    what=f"{words}, {arm}: {PRIMARY.name}",
                    realism=preset,
                    unit="%",
                    estimate=getattr(figures, key),
                    rule="flag",
                    band=band,
                    flag=flag,
                    published=TIME_IN_RANGE[arm] if key == "in_range" else None,
                )
            )
    return checks


def _figures(primary: Mapping[str, Contrast]) -> tuple[Figure, ...]:
    """Return the trial's own figures beside those of the primary rule, by preset."""
    arms = {
        "genotype": {preset: item.first for preset, item in primary.items()},
        "standard": {preset: item.second for preset, item in primary.items()},
    }
    difference = {preset: item.difference["in_range"] for preset, item in primary.items()}
    return (
        Figure("time in range, difference", "points", DIFFERENCE, difference),
        *(
            Figure(
                f"time in range, {arm}", "%", published,
                {preset: item.in_range for preset, item in arms[arm].items()},
            )
            for arm, published in TIME_IN_RANGE.items()
        ),
        *(
            Figure(
                f"median day of the first INR in range, {arm}", "days", published,
                {preset: item.therapeutic for preset, item in arms[arm].items()},
            )
            for arm, published in DAYS_TO_THERAPEUTIC.items()
        ),
    )  # fmt: skip


def _answer(contrasts: Mapping[str, Mapping[str, Contrast]]) -> tuple[str, ...]:
    """Return the answer in sentences, under the preset that is judged, or the one there is."""
    preset = JUDGED_UNDER if JUDGED_UNDER in contrasts else next(iter(contrasts))
    found = contrasts[preset]
    primary = found[PRIMARY.name]
    difference = primary.difference["in_range"]
    inside = BAND[0] <= difference.mean <= BAND[1]
    low, high = found[ACTS.name].difference["in_range"].mean, found[PROTOCOL.name].difference["in_range"].mean
    genotype, standard = primary.first, primary.second
    return (
        f"Under {preset}, with the control clinic's rule that was written down as primary ({PRIMARY.name}), "
        f"dosing by genotype gives {genotype.in_range.mean:.1f} % of time in range, the standard start "
        f"{standard.in_range.mean:.1f} %: {in_words(difference, 1, True)} points, "
        f"{'inside' if inside else 'outside'} the trial's 3.3 to 10.6.",
        "What the control clinic does with the first INR decides: the difference is "
        f"{low:+.1f} points if it acts on day 4, and {high:+.1f} if INRs are those of the protocol only.",
        f"In the trial time in range was 67.4 and 60.3 %. An INR of 4 or more had here "
        f"{genotype.ever_at_least_4.mean:.1f} and {standard.ever_at_least_4.mean:.1f} % of the participants.",
    )
