"""COAG: warfarin started and refined by genotype against by clinical data, over 4 weeks.

Kimmel et al., N Engl J Med 2013;369:2283. Everything that decides the result is written down here: who takes
part, by race, when blood is drawn, what counts, what must hold. The arms are handed in.

Research simulation, not for clinical use.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Noise, Regimen
from dosewright.evaluation.provenance import provenance
from dosewright.evaluation.replications.acceptance import JUDGED_UNDER, Check, Fact, Figure, Published
from dosewright.evaluation.replications.cohort import HiddenVariants, people, trial_scenario
from dosewright.evaluation.replications.conduct import Progress, Treated, checked_arms, treat
from dosewright.evaluation.replications.contrast import Contrast, contrast, stratified, weighted
from dosewright.evaluation.replications.dose_table import (
    PUBLISHED_RATIO,
    SOURCE,
    DoseRow,
    FirstDoses,
    analysed,
    dose_rows,
    first_doses,
)
from dosewright.evaluation.replications.result import ASSUMPTIONS, Replication, in_words
from dosewright.evaluation.statistics import Difference, Interval, paired_difference

NAME, TITLE = "coag", "COAG: warfarin by genotype or by clinical data, over 4 weeks"
_PAPER = "Kimmel 2013, N Engl J Med 369:2283, doi:10.1056/NEJMoa1310669"
_REVIEW = "Nat Rev Cardiol 2021;18:649, table 3"
_VARIANTS = "Limdi 2015, Blood 126:539"

FACTS = (
    Fact("design", "two arms, double-blind for dose during 4 weeks, 18 centres in the United States", "A"),
    Fact("patients", "adults, target INR 2 to 3, normal INR before, no known stable dose; 1015", "A"),
    Fact("race", "27 % Black, 73 % not", "B"),
    Fact(
        "age, sex, weight", "median about 58 years, 51 % men, about 90 kg; the split by race is chosen", "C"
    ),
    Fact("younger, heavier, more women among Black participants", "after Limdi 2015, table 1", "A"),
    Fact("indication", "56 % venous thromboembolism", "B"),
    Fact("smokers", "10 and 16 % of participants not Black and Black", "A"),
    Fact("genotype known before the first dose", "45 %", "B"),
    Fact("while it is not", "the clinical equation that day", "C"),
    Fact("genotype arm", "days 1 to 3 Gage's predicted dose, days 4 and 5 refined", "A"),
    Fact("CYP2C9 left out of the first dose", "yes", "B"),
    Fact("clinical arm", "the same calendar by the clinical equations", "A"),
    Fact("after day 5", "the same titration in both arms; its percentages could not be read: Aurora", "A"),
    Fact("INR", "days 4, 5, 8, 11, 15, 22 and 29", "C"),
    Fact("primary outcome", "per cent of time with INR 2 to 3 from the end of the algorithm to day 28", "A"),
)

# age, sex, height and weight by race: the warfarin scenario's strata
NON_BLACK = people(
    "COAG, not Black", "COAG's published marginals (trials.md 2)", smokers=0.10, thrombosis=0.56,
    genotype_in_time=0.45, hidden=False,
)  # fmt: skip
BLACK = people(
    "COAG, Black", "COAG's published marginals (trials.md 2)", smokers=0.16, thrombosis=0.56,
    genotype_in_time=0.45, hidden=True,
)  # fmt: skip
SHARE_BLACK = 0.27
FEWEST = 100
SCENARIO = trial_scenario(TITLE, NON_BLACK)

# study days; the INR of day 29 closes day 28
_VISITS = (1, 4, 5, 8, 11, 15, 22)
_WINDOW = (4, 28)  # from the morning of day 5, on which the algorithm ends; days counted from 0
_DIFFERING_MG = 1.0  # predicted daily doses that count as different

ARMS = {
    "genotype": "Gage's dose by genotype, refined by the INRs of days 4 and 5; then Aurora",
    "clinical": "Gage's clinical dose, refined by the INRs of days 4 and 5; then Aurora",
    "EU-PACT genotype": "EU-PACT's loading doses, for the three-day dose table",
    "EU-PACT control": "EU-PACT's standard start, for the three-day dose table",
}
_SIMULATED: tuple[str, ...] = ("genotype", "clinical")

ALL, OTHERS = "all participants", "not Black"
WITH, WITHOUT = "Black, hidden variants", "Black, no hidden variants"
DIFFERING = "predicted doses differ by 1 mg or more, all"

BAND = (-3.4, 3.1)
_DIFFERENCES = {
    ALL: Published(-0.2, "A", _PAPER, -3.4, 3.1),
    WITH: Published(-8.3, "B", _REVIEW),
}
_LEVELS = {
    ALL: (Published(45.2, "A", _PAPER), Published(45.4, "A", _PAPER)),
    WITH: (Published(35.2, "B", _REVIEW), Published(43.5, "B", _REVIEW)),
}

REMARKS = (
    "In Black participants dosing by genotype does slightly worse even without hidden variants, because of "
    "the race terms of the equations (trials.md 4): a negative difference proves nothing about hidden "
    "variants. The trial's difference, of 273 participants, is not explained by this model, whose data have "
    "no such alleles.",
)

_MORE_ASSUMPTIONS = (
    "Hidden variants: CYP2C9 *5, *6, *8 and *11 together have frequency 0.093 and clearance × 0.7 an allele, "
    f"rs12777823 A 0.24 and × 0.87, in Black participants only (frequencies after {_VARIANTS}). The people "
    "without them are the same people in whom the alleles do nothing.",
    "A genotype that is not known before the first dose is known before the second.",
    "Black and other participants are simulated apart, as many of each, and weighted 27 to 73.",
)


def replicate(
    arms: Mapping[str, Regimen],
    patients: int,
    seed: int,
    presets: Sequence[str],
    progress: Progress | None = None,
) -> Replication:
    """Run COAG on virtual patients.

    Parameters
    ----------
    arms
        A regimen for each name of `ARMS`, made for `SCENARIO`.
    patients, seed
        Number of participants of each race, the same in every arm, and seed of everything.
    presets
        Realism presets; what must hold is judged under "clinic".
    progress
        Called with an arm and how many of its participants were just finished.

    Raises
    ------
    ValueError
        For an arm that is missing or unknown, an unknown preset, or fewer than 100 patients.
    """
    if patients < FEWEST:
        raise ValueError(
            f"patients = {patients}; expected at least {FEWEST} of each race: a subgroup would be empty"
        )
    started, clock = datetime.now(UTC), time.perf_counter()
    regimens = checked_arms(arms, ARMS)
    noise = Noise("trial", seed)
    # no id twice: the two races must be independent of each other
    ids = {OTHERS: np.arange(patients), WITH: patients + np.arange(patients)}
    ids[WITHOUT] = ids[WITH]
    doses = {
        "non-Black": first_doses(SCENARIO, regimens, NON_BLACK, ids[OTHERS], noise),
        "Black": first_doses(SCENARIO, regimens, HiddenVariants(BLACK), ids[WITH], noise),
    }
    rows = [
        *dose_rows("genotype", doses, "EU-PACT genotype", "genotype"),
        *dose_rows("control", doses, "EU-PACT control", "clinical"),
    ]
    simulated = {name: regimens[name] for name in _SIMULATED}
    visits = dict.fromkeys(_SIMULATED, tuple(day - 1 for day in _VISITS))
    contrasts: dict[str, dict[str, Contrast]] = {}
    shares: dict[str, dict[str, NDArray[np.float64]]] = {}
    checks: list[Check] = []
    for preset in presets:
        treated = {}
        for group, population in ((OTHERS, NON_BLACK), (WITH, HiddenVariants(BLACK)), (WITHOUT, BLACK)):
            treated[group] = treat(
                SCENARIO, simulated, visits, _WINDOW, population, ids[group], noise,
                SCENARIO.preset(preset), progress,
            )  # fmt: skip
        contrasts[preset] = _contrasts(preset, treated)
        shares[preset] = {
            f"{group}: {name}": treated[group].share_in_range[name]
            for group in (OTHERS, WITH)
            for name in _SIMULATED
        }
        checks += _checks(preset, contrasts[preset], hidden_difference(treated[WITH], treated[WITHOUT]))
    checks += [row.check for row in rows]
    return Replication(
        name=NAME,
        title=TITLE,
        facts=FACTS,
        sources=(
            _PAPER, _REVIEW, SOURCE, _VARIANTS, *SCENARIO.model.sources,
            "Gage 2008, Clin Pharmacol Ther 84:326", "Lenzini 2010, Clin Pharmacol Ther 87:572",
        ),
        assumptions=(*ASSUMPTIONS, *_MORE_ASSUMPTIONS),
        reference="clinical",
        arms=ARMS,
        patients=patients,
        seed=seed,
        presets=tuple(presets),
        answer=_answer(contrasts, checks, rows),
        checks=tuple(checks),
        figures=tuple(_figures(contrasts)),
        remarks=REMARKS,
        primary=ALL,
        contrasts=tuple(item for preset in presets for item in contrasts[preset].values()),
        classes=(),
        doses=tuple(rows),
        ratios=tuple(_ratios(doses)),
        share_in_range=shares,
        provenance=provenance(started, time.perf_counter() - clock),
    )  # fmt: skip


def hidden_difference(present: Treated, absent: Treated) -> Difference:
    """Return how much the difference between the arms changes when hidden variants do something, points: the
    same participants, paired, those with a value in all four."""
    first, second = (
        world.controls["genotype"].in_range - world.controls["clinical"].in_range
        for world in (present, absent)
    )
    keep = np.isfinite(first) & np.isfinite(second)
    return paired_difference(first[keep], second[keep])


def _contrasts(preset: str, treated: Mapping[str, Treated]) -> dict[str, Contrast]:
    def compared(group: str, mask: NDArray[np.bool_] | None = None) -> Contrast:
        controls = treated[group].controls
        return contrast(group, preset, controls["genotype"], controls["clinical"], mask)

    found = {group: compared(group) for group in (OTHERS, WITH, WITHOUT)}
    parts = ((1 - SHARE_BLACK, OTHERS), (SHARE_BLACK, WITH))
    differ = {group: _differing(treated[group]) for _, group in parts}
    sizes = [(share * float(differ[group].mean()), group) for share, group in parts]
    total = sum(size for size, _ in sizes)
    return {
        ALL: stratified(ALL, [(share, found[group]) for share, group in parts]),
        **found,
        DIFFERING: stratified(
            DIFFERING,
            [(size / total, compared(group, differ[group])) for size, group in sizes],
        ),
    }


def _differing(treated: Treated) -> NDArray[np.bool_]:
    """Return (n,) whose predicted doses of the two arms differ: those of day 3, with all genotypes known."""
    first, second = (treated.third_dose[name] for name in ("genotype", "clinical"))
    return np.abs(first - second) >= _DIFFERING_MG


def _checks(preset: str, contrasts: Mapping[str, Contrast], hidden: Difference) -> list[Check]:
    judged = preset == JUDGED_UNDER
    everybody = Check(
        item=3,
        what="time in range, genotype minus clinical: all participants",
        realism=preset,
        unit="points",
        estimate=contrasts[ALL].difference["in_range"],
        rule="must hold" if judged else "report",
        band=BAND if judged else None,
        flag="A" if judged else None,
        published=_DIFFERENCES[ALL],
    )
    black = [
        (
            f"time in range, genotype minus clinical: {group}",
            contrasts[group].difference["in_range"],
            published,
        )
        for group, published in ((WITH, _DIFFERENCES[WITH]), (WITHOUT, None))
    ]
    black.append(("the first of these two minus the second, paired", hidden, None))
    return [everybody] + [
        Check(
            item=4,
            what=what,
            realism=preset,
            unit="points",
            estimate=estimate,
            rule="report",
            published=published,
        )
        for what, estimate, published in black
    ]


def _figures(contrasts: Mapping[str, Mapping[str, Contrast]]) -> list[Figure]:
    figures = []
    for group, published in _DIFFERENCES.items():
        ours = {preset: found[group].difference["in_range"] for preset, found in contrasts.items()}
        figures.append(Figure(f"time in range, difference: {group}", "points", published, ours))
        for arm, level, which in zip(
            ("genotype", "clinical"), _LEVELS[group], ("first", "second"), strict=True
        ):
            ours = {preset: getattr(found[group], which).in_range for preset, found in contrasts.items()}
            figures.append(Figure(f"time in range, {arm}: {group}", "%", level, ours))
    return figures


def _ratios(doses: Mapping[str, FirstDoses]) -> list[Figure]:
    """Return the average initial dose over the model's maintenance dose beside the table's."""
    names = {
        ("EU-PACT", "genotype"): "EU-PACT genotype",
        ("EU-PACT", "control"): "EU-PACT control",
        ("COAG", "genotype"): "genotype",
        ("COAG", "control"): "clinical",
    }
    figures = []
    for (trial, arm), strategy in names.items():
        ratios: dict[str, Interval] = {
            race: found.over_maintenance(strategy) for race, found in doses.items()
        }
        ratios["all"] = weighted([(share, ratios[race]) for race, share in analysed(arm).items()])
        for group, value in PUBLISHED_RATIO[trial, arm].items():
            published = Published(value, "A", SOURCE)
            figures.append(Figure(f"{trial} {arm}, {group}", "ratio", published, {"any": ratios[group]}))
    return figures


def _answer(
    contrasts: Mapping[str, Mapping[str, Contrast]], checks: Sequence[Check], rows: Sequence[DoseRow]
) -> tuple[str, ...]:
    """Return the answer in sentences, under the preset that is judged, or the one there is."""
    preset = JUDGED_UNDER if JUDGED_UNDER in contrasts else next(iter(contrasts))
    found = contrasts[preset]
    everybody = found[ALL]
    difference = everybody.difference["in_range"]
    inside = BAND[0] <= difference.mean <= BAND[1]
    hidden = next(c.estimate for c in checks if c.item == 4 and c.realism == preset and "paired" in c.what)
    black, bare = (found[group].difference["in_range"] for group in (WITH, WITHOUT))
    met = sum(row.check.verdict == "pass" for row in rows)
    differing = found[DIFFERING].difference["in_range"]
    genotype, clinical = everybody.first.in_range.mean, everybody.second.in_range.mean
    return (
        f"Under {preset}, dosing by genotype gives {genotype:.1f} % of time in range, by clinical data "
        f"{clinical:.1f} %: {in_words(difference, 1, True)} points, "
        f"{'inside' if inside else 'outside'} the trial's -3.4 to 3.1.",
        f"In Black participants it is {in_words(black, 1, True)} points with hidden variants and "
        f"{in_words(bare, 1, True)} without; the variants make {in_words(hidden, 2, True)} points of it, in "
        "the same participants. The trial reported about -8.3.",
        f"Where the predicted doses differ by 1 mg or more it is {in_words(differing, 1, True)} points; the "
        "trial found no difference there.",
        f"Of the six published means of the three-day dose table {met} are met within 0.5 mg.",
    )
