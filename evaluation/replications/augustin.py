"""Augustin 2023: nineteen days of warfarin, Bayesian dosing against a learned policy, on another model.

Front Pharmacol 2023;14:1270443. The decision problems are those of
`dosewright.envs.scenarios.protocols.augustin`. The arms are handed in. Research simulation, not for clinical
use.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from dosewright.envs import Noise, Scenario, scenario
from dosewright.envs.scenarios.protocols.augustin import DAYS
from dosewright.envs.scenarios.warfarin import IN_RANGE
from dosewright.evaluation.provenance import provenance
from dosewright.evaluation.replications.acceptance import Fact, Published
from dosewright.evaluation.replications.peer import (
    ALL,
    REALISM,
    Arms,
    Column,
    Group,
    PeerTrial,
    Progress,
    Table,
    daily_share,
    follow_all,
    policy_in_words,
    tabulate,
    usual_values,
)
from dosewright.evaluation.replications.result import in_words
from dosewright.evaluation.sensitivity import other_model
from dosewright.evaluation.trial.design import TrialDesign

NAME = "augustin"
_PAPER = "Augustin 2023, Front Pharmacol 14:1270443, doi:10.3389/fphar.2023.1270443"
_PROGRAM = "github.com/DavAug/mipd-warfarin, read in part"

SCENARIOS = {30: "warfarin-augustin-30", 15: "warfarin-augustin-15"}
"""Largest dose, mg a day -> decision problem."""

ARMS = {
    "AAA": "Aurora throughout: 10 mg, from 65 years on 5 mg, on days 1 and 2; it chooses its visits",
    "PGPGA": "loading doses by genotype, Lenzini on day 4, then Aurora; it chooses its visits",
}
INR_DAYS = {"AAA": (0, 2, 4), "PGPGA": (0, 3, 5)}

COLUMNS = (
    Column("at_end", f"in range after {DAYS} days", "% of patients"),
    Column("in_range", "INR 2 to 3", f"% of days 1 to {DAYS}"),
    Column("ever_above_4", "ever above INR 4", "% of patients"),
)

_OWN, _OTHER = "the model that monitoring and learning know, Hamberg 2010", "another model, Hamberg 2007"
_HANDED_ON = f"{_PAPER}, handed on; not read in the paper itself"
_ON_ANOTHER_MODEL = {
    ("policy", ALL): {
        "at_end": Published(65.8, "B", _HANDED_ON),
        "ever_above_4": Published(8.6, "B", _HANDED_ON),
    },
    ("planner-adaptive", ALL): {
        "at_end": Published(75.1, "B", _HANDED_ON),
        "ever_above_4": Published(1.4, "B", _HANDED_ON),
    },
}

FACTS = (
    Fact("patients", "1000; age log-normal, median 50 years, SD of the logarithm 0.15", "B"),
    Fact("CYP2C9", "*1/*1 62, *1/*2 20, *1/*3 12, *2/*2 3, *2/*3 2, *3/*3 1 %", "B"),
    Fact("VKORC1", "GG 35, GA 45, AA 20 %, independent of CYP2C9", "B"),
    Fact("patients' model", "a systems model of coagulation (Wajima 2009, Hartmann)", "B"),
    Fact("model of monitoring and learning", "Hamberg 2010, fitted to simulated trials of that model", "B"),
    Fact("decisions", f"every day of {DAYS}, after that morning's INR; 0 to 30 mg in tablets", "B"),
    Fact("Bayesian dosing", "next 7 doses and one after them by the squared distance from INR 2.5", "B"),
    Fact("learned policy", "double deep Q learning; sees the INR of the day, genotype and age", "B"),
)

ASSUMPTIONS = (
    f"In range at the end: the latent INR a day after dose {DAYS}. The last INR of the authors is that of "
    f"the morning of dose {DAYS}.",
    "The peer's Bayesian dosing stands beside planner-adaptive, which foresees the course under a dose, as "
    "theirs does. Bayesian dosing to a maintenance dose is shown besides.",
    "Individual variability is this library's; in the authors' program it is narrower before it is fitted.",
    "Tablets are halves of a milligram, 0.5 and 1.5 mg among them.",
)

REMARKS = (
    "The peer's patients are those of a systems model that this library does not have, with baselines of 1 "
    "to 2.4. The peer's figures are no benchmark for these patients: what can be asked here is whether a "
    "learned policy stands above or below Bayesian dosing when the model is not the one that it knows.",
    "A dose of 30 mg is twice the largest of the warfarin scenario; the 15 mg variant shows what a cap does.",
)


def worlds(most: int, arms: Arms, noise: Noise) -> dict[str, Scenario]:
    """Return name -> decision problem in whose world patients live: the own model's, and another's.

    Parameters
    ----------
    most
        Largest dose, mg a day.
    arms, noise
        Regimens, and namespace and seed.

    Raises
    ------
    ValueError
        If the other model cannot stand in for the own one.
    """
    known = scenario(SCENARIOS[most])
    design = TrialDesign(
        known,
        {**arms.own_visits, **arms.calendar},
        known.population,
        noise,
        known.preset(REALISM),
        "diplotype",
    )
    other = other_model(design)
    if other.design is None:
        raise ValueError(f"{known.name}: {other.reason}; expected a model that can stand in for its own")
    return {_OWN: known, _OTHER: other.design.scenario}


def replicate(
    arms: Mapping[int, Arms],
    patients: int,
    seed: int,
    reference: str | None = None,
    progress: Progress | None = None,
) -> PeerTrial:
    """Run the trial.

    Parameters
    ----------
    arms
        Largest dose, mg a day -> regimens, made for the scenario of that name in `SCENARIOS`.
    patients, seed
        Patients, the same in every arm and world, and seed of everything.
    reference
        Arm from which differences in time in range are taken.
    progress
        Called with an arm and how many of its patients were just finished.

    Raises
    ------
    ValueError
        For an unknown reference, or fewer than two patients.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    noise, ids = Noise("trial", seed), np.arange(patients)
    group = Group(ALL, 1.0, patients)
    tables: list[Table] = []
    described: dict[str, str] = {}
    for most, regimens in arms.items():
        regimens.check_reference(reference)
        described |= {name: ARMS.get(name, "") for name in regimens.own_visits}
        described |= {name: regimen.name for name, regimen in regimens.calendar.items()}
        for world, known in worlds(most, regimens, noise).items():
            followed = follow_all(known, regimens, ids, noise, progress)
            values = {
                name: {"at_end": IN_RANGE.contains(truth[:, -1]), **usual_values(truth)}
                for name, truth in followed.truth.items()
            }
            published = _ON_ANOTHER_MODEL if (world, most) == (_OTHER, 30) else {}
            rows = tabulate(values, {group: np.ones(patients, dtype=bool)}, False, reference, published)
            tables.append(Table(f"Up to {most} mg a day; patients of {world}", rows, daily_share(followed)))
    known = scenario(SCENARIOS[30])
    return PeerTrial(
        name=NAME,
        title=f"Augustin 2023, warfarin over {DAYS} days",
        facts=FACTS,
        sources=(_PAPER, _PROGRAM, *known.model.sources),
        assumptions=(*ASSUMPTIONS, *known.assumptions),
        arms=described,
        patients=patients,
        seed=seed,
        groups=(group,),
        stratified=False,
        reference=reference,
        columns=COLUMNS,
        tables=tuple(tables),
        answer=tuple(sentence for table in tables for sentence in _answer(table, reference)),
        remarks=REMARKS,
        provenance=provenance(started, time.perf_counter() - clock),
    )


def _answer(table: Table, reference: str | None) -> tuple[str, ...]:
    best = max(table.rows, key=lambda row: row.figures["at_end"].mean)
    first = (
        f"{table.name}: most patients are in range after {DAYS} days under {best.arm}, "
        f"{in_words(best.figures['at_end'])} %; {in_words(best.figures['ever_above_4'])} % of them were ever "
        "above INR 4."
    )
    policy = next((row for row in table.rows if row.arm == "policy"), None)
    return (first,) if policy is None else (first, policy_in_words(policy, reference))
