"""Anzabi Zadeh 2023: five clinical protocols and learned policies over 90 days, by sensitivity to warfarin.

J Biomed Inform 2023;137:104267. The decision problem is `dosewright.envs.scenarios.protocols.anzabi_zadeh`.
The arms are handed in. Research simulation, not for clinical use.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Noise, Regimen, Scenario, scenario
from dosewright.envs.scenarios.protocols.anzabi_zadeh import DIPLOTYPES
from dosewright.evaluation.provenance import provenance
from dosewright.evaluation.replications.acceptance import Fact, Published
from dosewright.evaluation.replications.conduct import checked_arms
from dosewright.evaluation.replications.peer import (
    ALL,
    Arms,
    Column,
    Group,
    PeerTrial,
    Progress,
    Table,
    Values,
    check_groups,
    daily_share,
    follow_all,
    policy_in_words,
    tabulate,
    usual_values,
)
from dosewright.evaluation.replications.result import in_words

Variability = Literal["full", "cut"]

NAME = "anzabi-zadeh"
_PAPER = "Anzabi Zadeh 2023, J Biomed Inform 137:104267, doi:10.1016/j.jbi.2022.104267"
_RAVVAZ = "Ravvaz 2017, Circ Cardiovasc Genet, doi:10.1161/circgenetics.117.001804"
_PROGRAM = "github.com/anzabizadeh/ReiL, read in part"

SCENARIOS: Mapping[Variability, str] = {
    "full": "warfarin-anzabi-zadeh",
    "cut": "warfarin-anzabi-zadeh-cut",
}

ARMS = {
    "AAA": "Aurora throughout: 10 mg, from 65 years on 5 mg, on days 1 and 2",
    "CAA": "IWPC's clinical dose on days 1 and 2, then Aurora",
    "PGAA": "IWPC's pharmacogenetic dose on days 1 and 2, then Aurora",
    "PGPGA": "loading doses from IWPC's on days 1 to 3, Lenzini on days 4 and 5, then Aurora",
    "PGPGI": "loading doses from IWPC's on days 1 to 3, Lenzini on days 4 and 5, then Intermountain",
}
"""Arms that choose their visits, as the authors' program has them."""

_INR_DAYS = {"AAA": (0, 2, 4), "CAA": (0, 2, 4), "PGAA": (0, 2, 4), "PGPGA": (0, 3, 5), "PGPGI": (0, 3, 5)}

NORMAL, SENSITIVE, HIGHLY = "normal", "sensitive", "highly sensitive"
_NORMAL = {("*1/*1", "GG"), ("*1/*2", "GG"), ("*1/*1", "GA")}
_HIGHLY = {("*2/*3", "AA"), ("*2/*2", "AA"), ("*1/*3", "AA"), ("*2/*3", "GA")}

COLUMNS = (
    Column("in_range", "INR 2 to 3", "% of days 1 to 90"),
    Column("counted", "the same, INR with its error", "% of days 1 to 90"),
    Column("ever_above_4", "ever above INR 4", "% of patients"),
    Column("ever_counted", "the same, INR with its error", "% of patients"),
)

_RERUN = "a rerun of the protocol on 1000 patients, handed on; the paper's own table could not be read"
PUBLISHED: Mapping[Variability, Mapping[tuple[str, str], Mapping[str, Published]]] = {
    "cut": {("PGAA", ALL): {"counted": Published(75.8, "B", _RERUN)}},
    "full": {("PGAA", ALL): {"counted": Published(51.3, "B", _RERUN)}},
}

FACTS = (
    Fact("patients", "age 67.3 (SD 13.43) years, 199.24 (54.71) lb, 66.78 (4.31) in, 53.14 % women", "B"),
    Fact("race", "White 95.22, Black 4.19, Asian 0.40, American Indian 0.18 %", "B"),
    Fact("tobacco, amiodarone, fluvastatin", "9.33, 11.51, 0.02 %", "B"),
    Fact("CYP2C9", "*1/*1 67.39, *1/*2 14.86, *1/*3 9.25, *2/*2 6.51, *2/*3 1.97, *3/*3 0.02 %", "B"),
    Fact("VKORC1", "GG 38.37, GA 44.18, AA 17.45 %", "B"),
    Fact("model", "Hamberg 2007, bioavailability 0.9, baseline INR 1, MTT1 through six compartments", "B"),
    Fact("random effects", "each from the middle half of its distribution", "B"),
    Fact("decisions of a learned policy", "days 0, 2 and 5, then weekly; 0 to 15 mg by 0.5 mg", "B"),
    Fact("measure", "share of the days 1 to 90 with INR 2 to 3, the INR of a day with its error", "B"),
)

REMARKS = (
    "The percentages that the paper prints could not be read, so they are not here. The only outside figures "
    "are those of PGAA in a rerun of the protocol.",
    "Cutting the random effects to the middle half of their distributions decides the level: 17 to 31 points "
    "of time in range for a clinical arm.",
    "The authors' program counts the INR of a day with its error, and lets an error act on every hour's "
    "concentration. That takes up to 3 points from the time in range of a clinical arm, and raises the share "
    "ever above INR 4; the arms' doses hardly change. Both are shown: the latent INR, and the INR with an "
    "error of log SD 0.042 on every day.",
    "The authors' program goes by hourly steps of Euler's method, which overshoot in the 4 % of uncut "
    "patients with the shortest transit times; nothing of the kind is here.",
    "Bayesian monitoring knows the model, the variances and the error from which the patients are drawn.",
)

ASSUMPTIONS = (
    "The five arms choose their visits, as in the authors' program: an INR on days 1, 3 and 5 (PGPGA and "
    "PGPGI: 1, 4 and 6), then as Aurora or Intermountain asks. On the fixed days of a learned policy, "
    "nomogram stands for PGAA and clinical-nomogram for CAA.",
    "An INR of 2 or more on day 3 sets Aurora's dose to 5 mg whatever it was, in the five arms; on the fixed "
    "days it lowers the dose to 5 mg.",
    "IWPC's dose of days 1 to 3 in PGPGA and PGPGI is EU-PACT's loading dose, the program's “modified” IWPC. "
    "Lenzini's dose is that of day 4 and holds on day 5.",
    "A skip at INR 4 to 5 leaves out two doses, and the next INR is 7 days after the one before; in the "
    "program it is 7 days after the skip.",
    "American Indians and Pacific Islanders have IWPC's term for mixed or missing race; in the program they "
    "have none.",
    "Doses of the five arms are rounded to 0.5 mg when given; the dose in force is kept unrounded.",
    "Nobody had a stroke, has diabetes or takes an enzyme inducer.",
)


def group_of(cyp2c9: NDArray[np.str_], vkorc1: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return (n,) how sensitive people with these diplotypes (n,) are to warfarin."""
    pairs = list(zip(cyp2c9.tolist(), vkorc1.tolist(), strict=True))
    return np.array([
        NORMAL if pair in _NORMAL else HIGHLY if pair[0] == "*3/*3" or pair in _HIGHLY else SENSITIVE
        for pair in pairs
    ])  # fmt: skip


def shares() -> dict[str, float]:
    """Return each group's share of the population; CYP2C9 and VKORC1 are independent."""
    found = {NORMAL: 0.0, SENSITIVE: 0.0, HIGHLY: 0.0}
    total = [sum(DIPLOTYPES[gene].values()) for gene in ("CYP2C9", "VKORC1")]
    for cyp2c9, first in DIPLOTYPES["CYP2C9"].items():
        for vkorc1, second in DIPLOTYPES["VKORC1"].items():
            group = str(group_of(np.array([cyp2c9]), np.array([vkorc1]))[0])
            found[group] += first / total[0] * second / total[1]
    return found


def enrolled(known: Scenario, patients: int, highly_sensitive: int, noise: Noise) -> NDArray[np.int64]:
    """Return the identifiers of the first `patients` people of the population and, where fewer of them are
    highly sensitive than asked for, of the next who are."""
    first = np.arange(patients)
    missing = highly_sensitive - int(np.sum(_groups(known, first, noise) == HIGHLY))
    extra: list[NDArray[np.int64]] = []
    start, step = patients, 5000
    while missing > 0:
        ids = np.arange(start, start + step)
        more = ids[_groups(known, ids, noise) == HIGHLY][:missing]
        extra.append(more)
        missing, start = missing - len(more), start + step
    return np.concatenate([first, *extra])


def _groups(known: Scenario, ids: NDArray[np.int64], noise: Noise) -> NDArray[np.str_]:
    genotypes = known.population.draw(known.model, known.base, ids, noise).genotypes
    return group_of(genotypes["CYP2C9"], genotypes["VKORC1"])


def replicate(
    own_visits: Mapping[str, Regimen],
    calendar: Mapping[str, Regimen],
    patients: int,
    seed: int,
    variability: Variability,
    highly_sensitive: int = 0,
    reference: str | None = None,
    progress: Progress | None = None,
) -> PeerTrial:
    """Run the trial.

    Parameters
    ----------
    own_visits
        A regimen for each name of `ARMS`, made for `day_by_day` of the scenario.
    calendar
        Further regimens by name, made for the scenario ``SCENARIOS[variability]``.
    patients, seed
        Patients drawn from the population, and seed of everything.
    variability
        Random effects whole, or cut to the middle half of their distributions.
    highly_sensitive
        So many highly sensitive patients at least: more are drawn until the group is full, and all patients
        are then weighted by the groups' shares.
    reference
        Arm from which differences in time in range are taken.
    progress
        Called with an arm and how many of its patients were just finished.

    Raises
    ------
    ValueError
        For an arm that is missing or unknown, an unknown reference, or a group with fewer than two patients.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    known, noise = scenario(SCENARIOS[variability]), Noise("trial", seed)
    arms = Arms(checked_arms(own_visits, ARMS), _INR_DAYS, calendar)
    arms.check_reference(reference)
    ids = enrolled(known, patients, highly_sensitive, noise)
    kinds = _groups(known, ids, noise)
    groups = {Group(name, share, int(np.sum(kinds == name))): kinds == name
              for name, share in shares().items()}  # fmt: skip
    check_groups(groups)
    followed = follow_all(known, arms, ids, noise, progress)
    values: dict[str, Values] = {}
    for name, truth in followed.truth.items():
        counted = usual_values(followed.measured[name])
        values[name] = {
            **usual_values(truth), "counted": counted["in_range"], "ever_counted": counted["ever_above_4"],
        }  # fmt: skip
    rows = tabulate(values, groups, len(ids) > patients, reference, PUBLISHED[variability])
    how = "cut to the middle half of their distributions" if variability == "cut" else "whole"
    table = Table(f"random effects {how}", rows, daily_share(followed))
    return PeerTrial(
        name=NAME,
        title=f"Anzabi Zadeh 2023, warfarin over 90 days, random effects {how}",
        facts=FACTS,
        sources=(_PAPER, _RAVVAZ, _PROGRAM, *known.model.sources),
        assumptions=(*ASSUMPTIONS, *known.assumptions),
        arms={**ARMS, **{name: regimen.name for name, regimen in calendar.items()}},
        patients=patients,
        seed=seed,
        groups=tuple(groups),
        stratified=len(ids) > patients,
        reference=reference,
        columns=COLUMNS,
        tables=(table,),
        answer=_answer(table, variability, reference),
        remarks=REMARKS,
        provenance=provenance(started, time.perf_counter() - clock),
    )


def _answer(table: Table, variability: Variability, reference: str | None) -> tuple[str, ...]:
    pgaa = table.row("PGAA")
    rerun = PUBLISHED[variability]["PGAA", ALL]["counted"].value
    first = (
        f"PGAA holds {in_words(pgaa.figures['in_range'])} % of the days in range, and "
        f"{in_words(pgaa.figures['counted'])} % as the authors' program counts, whose rerun gave {rerun:g} %."
    )
    policy = next((row for row in table.rows if row.arm == "policy" and row.group == ALL), None)
    return (first,) if policy is None else (first, policy_in_words(policy, reference))
