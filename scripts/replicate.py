"""``dosewright replicate``: a published warfarin trial again, on virtual patients.

A randomised trial, or the virtual trial of others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dosewright.agents.learning import LearnedPolicy
    from dosewright.envs import Regimen, Scenario
    from dosewright.evaluation.replications import Arms, PeerTrial, Replication
    from dosewright.evaluation.replications.anzabi_zadeh import Variability

_REAL_PATIENTS, _VIRTUAL_PATIENTS = 4000, 1000
_PRESETS = {"both": ("clinic", "textbook"), "clinic": ("clinic",), "textbook": ("textbook",)}


def eu_pact_arms() -> dict[str, Regimen]:
    """Return a regimen for each arm of the replication of EU-PACT."""
    from dosewright.agents.regimens.initiation import EU_PACT_ACTS, EU_PACT_GENOTYPE, EU_PACT_KEEPS
    from dosewright.agents.regimens.titration import AURORA, INTERMOUNTAIN, Titration
    from dosewright.agents.regimens.trial_arm import TrialArm
    from dosewright.evaluation.replications import eu_pact

    clinic = Titration(AURORA, "and while stopped")
    protocol = Titration(AURORA, "of the calendar")
    aurora, intermountain = Titration(AURORA, "of the rule"), Titration(INTERMOUNTAIN, "of the rule")
    parts = {
        "genotype": (EU_PACT_GENOTYPE, clinic),
        "standard, acts on day 4": (EU_PACT_ACTS, clinic),
        "standard, keeps 5 mg": (EU_PACT_KEEPS, clinic),
        "genotype, protocol visits": (EU_PACT_GENOTYPE, protocol),
        "standard, protocol visits": (EU_PACT_KEEPS, protocol),
        "genotype, Aurora's visits": (EU_PACT_GENOTYPE, aurora),
        "standard, Aurora's visits": (EU_PACT_KEEPS, aurora),
        "genotype, Intermountain": (EU_PACT_GENOTYPE, intermountain),
        "standard, Intermountain": (EU_PACT_KEEPS, intermountain),
    }
    return {name: TrialArm(eu_pact.SCENARIO, name, *pair) for name, pair in parts.items()}


def coag_arms() -> dict[str, Regimen]:
    """Return a regimen for each arm of the replication of COAG."""
    from dosewright.agents.regimens.initiation import (
        COAG_CLINICAL,
        COAG_GENOTYPE,
        EU_PACT_GENOTYPE,
        EU_PACT_KEEPS,
    )
    from dosewright.agents.regimens.titration import AURORA, Titration
    from dosewright.agents.regimens.trial_arm import TrialArm
    from dosewright.evaluation.replications import coag

    titration = Titration(AURORA, "and while stopped")
    starts = {
        "genotype": COAG_GENOTYPE,
        "clinical": COAG_CLINICAL,
        "EU-PACT genotype": EU_PACT_GENOTYPE,
        "EU-PACT control": EU_PACT_KEEPS,
    }
    return {name: TrialArm(coag.SCENARIO, name, start, titration) for name, start in starts.items()}


_REFERENCE = "bayesian-adaptive"
# On the fixed days of a learned policy: the clinic's rule with and without genotype, and monitoring
_ANZABI_ZADEH = ("clinical-nomogram", "nomogram", _REFERENCE)
_AUGUSTIN = ("bayesian", _REFERENCE, "planner-adaptive")


def protocol_arms(
    known: Scenario, names: Sequence[str], policies: Mapping[str, LearnedPolicy]
) -> dict[str, Regimen]:
    """Return the arms on a protocol's own days: rules by their names, and the policy where one is for this
    protocol."""
    from dosewright.agents.regimens import regimen

    arms = {name: regimen(name, known) for name in names}
    return arms if known.name not in policies else {**arms, "policy": policies[known.name]}


def given_policies(paths: Sequence[Path], protocols: Sequence[str]) -> dict[str, LearnedPolicy]:
    """Return protocol -> policy of ``--policy``.

    Raises
    ------
    ValueError
        For a policy that was trained for something else, or a second one for the same protocol.
    """
    found: dict[str, LearnedPolicy] = {}
    for path in paths:
        from dosewright.agents.learning import LearnedPolicy  # PyTorch

        policy = LearnedPolicy.load(path)
        name = policy.scenario.name
        if name not in protocols:
            raise ValueError(
                f"--policy {path}: a policy for {name}, expected one for {' or '.join(protocols)}"
            )
        if name in found:
            raise ValueError(f"--policy {path}: a second policy for {name}; name one for each protocol")
        found[name] = policy
    return found


def anzabi_zadeh(
    patients: int, seed: int, variability: Variability, highly_sensitive: int, policies: Sequence[Path]
) -> PeerTrial:
    """Run Anzabi Zadeh 2023 again."""
    from dosewright.agents.regimens.ravvaz import ravvaz_arms
    from dosewright.envs import scenario
    from dosewright.evaluation.replications import anzabi_zadeh as trial
    from dosewright.evaluation.replications import day_by_day

    name = trial.SCENARIOS[variability]
    known = scenario(name)
    calendar = protocol_arms(known, _ANZABI_ZADEH, given_policies(policies, (name,)))
    with _progress(trial.NAME) as progress:
        return trial.replicate(
            ravvaz_arms(day_by_day(known)), calendar, patients, seed, variability, highly_sensitive,
            _REFERENCE, progress,
        )  # fmt: skip


def augustin(patients: int, seed: int, policies: Sequence[Path]) -> PeerTrial:
    """Run Augustin 2023 again, with either largest dose."""
    from dosewright.agents.regimens.ravvaz import ravvaz_arms
    from dosewright.envs import scenario
    from dosewright.evaluation.replications import Arms, day_by_day
    from dosewright.evaluation.replications import augustin as trial

    learned = given_policies(policies, tuple(trial.SCENARIOS.values()))
    arms: dict[int, Arms] = {}
    for most, name in trial.SCENARIOS.items():
        known = scenario(name)
        own = {arm: item for arm, item in ravvaz_arms(day_by_day(known)).items() if arm in trial.ARMS}
        arms[most] = Arms(own, trial.INR_DAYS, protocol_arms(known, _AUGUSTIN, learned))
    with _progress(trial.NAME) as progress:
        return trial.replicate(arms, patients, seed, _REFERENCE, progress)


def _told(peer: PeerTrial, policies: Sequence[Path]) -> PeerTrial:
    """Return the result with the code, and the weights of the policies, that it depends on."""
    from dosewright.evaluation.provenance import code_digest

    arms = {}
    for path in policies:
        card = json.loads((path / "card.json").read_text(encoding="utf-8"))
        arms[f"policy for {card['scenario']}"] = f"weights {card['weights']}"
    made = {"code": f"dosewright, SHA-256 {code_digest()}", **({"arms": arms} if arms else {})}
    return replace(peer, provenance={**peer.provenance, **made})


@contextmanager
def _progress(name: str) -> Iterator[Callable[[str, int], None]]:
    """Show how far a trial is."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda arm, n: bar.update(task, description=f"{name}: {arm}", advance=n)


def conduct(trial: str, patients: int, seed: int, presets: Sequence[str]) -> Replication:
    """Run the replication of a randomised trial."""
    from dosewright.evaluation.replications import coag, eu_pact

    module, arms = (eu_pact, eu_pact_arms()) if trial == "eu-pact" else (coag, coag_arms())
    with _progress(trial) as progress:
        return module.replicate(arms, patients, seed, presets, progress)


def _print(result: Replication) -> None:
    """Print every check, one line each, and the answer."""
    from rich.console import Console
    from rich.table import Table

    from dosewright.evaluation.replications.acceptance import CONFIDENCE
    from dosewright.evaluation.replications.result import in_words

    table = Table(title=f"{result.title}: {result.patients} participants a cohort, seed {result.seed}")
    for heading in ("item", "what", "under"):
        table.add_column(heading)
    for heading in ("here, 95 % Monte Carlo", "trial", "must lie in"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for check in result.checks:
        digits = 2 if check.unit in ("points", "mg") else 1
        here = f"{in_words(check.estimate, digits)} {check.unit}"
        trial = "" if check.published is None else f"{check.published.value:g} ({check.published.flag})"
        band = "" if check.band is None else f"{check.band[0]:g} to {check.band[1]:g} ({check.flag})"
        table.add_row(str(check.item), check.what, check.realism, here, trial, band, check.verdict)
    Console(width=176).print(table)
    for letter, words in CONFIDENCE.items():
        click.echo(f"{letter}: {words}")
    click.echo("FLAG: a level outside what was expected; it fails nothing")
    for sentence in result.answer:
        click.echo(sentence)


def _print_peer(result: PeerTrial) -> None:
    """Print a table for each world, a line an arm and group, and the answer."""
    from rich.console import Console
    from rich.table import Table

    from dosewright.evaluation.replications.result import in_words

    for table in result.tables:
        shown = Table(title=f"{table.name}: {result.patients} patients, seed {result.seed}")
        shown.add_column("arm")
        shown.add_column("patients")
        for column in result.columns:
            shown.add_column(f"{column.label}, {column.unit}", justify="right")
        shown.add_column("time in range, points from " + str(result.reference), justify="right")
        for row in table.rows:
            cells = [
                in_words(row.figures[column.key])
                + (f"; theirs {row.published[column.key].value:g}" if column.key in row.published else "")
                for column in result.columns
            ]
            apart = "" if row.difference is None else in_words(row.difference, 1, True)
            shown.add_row(row.arm, row.group, *cells, apart)
        Console(width=176).print(shown)
    for group in result.groups if len(result.groups) > 1 else ():
        click.echo(f"{group.name}: {100 * group.share:.2f} % of the population, {group.n} treated")
    for sentence in result.answer:
        click.echo(sentence)


_REAL, _VIRTUAL = ("eu-pact", "coag"), ("anzabi-zadeh", "augustin")


@click.command()
@click.argument("trial", type=click.Choice([*_REAL, *_VIRTUAL]))
@click.option(
    "--patients",
    type=click.IntRange(2),
    help="Virtual participants; of COAG, of each race.  [default: 4000; of anzabi-zadeh and augustin 1000]",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of everything.")
@click.option(
    "--realism",
    type=click.Choice(list(_PRESETS)),
    help="Of eu-pact and coag; what must hold is judged under clinic.  [default: both]",
)
@click.option(
    "--variability",
    type=click.Choice(["full", "cut"]),
    help="Of anzabi-zadeh: random effects whole, or cut to their middle half.  [default: full]",
)
@click.option(
    "--highly-sensitive",
    type=click.IntRange(1),
    help="Of anzabi-zadeh: fill this group up to so many patients, and weight.",
)
@click.option(
    "--policy",
    "policies",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Of anzabi-zadeh and augustin: folder of a policy trained for that protocol; of augustin one for "
    "each largest dose.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the result.")
@click.option("--overwrite", is_flag=True, help="Replace an existing result.")
def replicate(
    trial: str,
    patients: int | None,
    seed: int,
    realism: str | None,
    variability: Variability | None,
    highly_sensitive: int | None,
    policies: tuple[Path, ...],
    out: Path,
    overwrite: bool,
) -> None:
    """Run a published TRIAL on virtual patients and write result.json and report.html. Of a randomised trial,
    print what must hold and whether it does; of a virtual trial of others, their table beside one's own."""
    from dosewright.evaluation import check_folder
    from dosewright.evaluation.replications import write_replication

    _refuse(trial, realism, variability, highly_sensitive, policies)
    check_folder(out, overwrite)  # before any work
    if trial in _REAL:
        found = conduct(
            trial, _REAL_PATIENTS if patients is None else patients, seed, _PRESETS[realism or "both"]
        )
        folder = write_replication(found, out, overwrite)
        _print(found)
    else:
        number = _VIRTUAL_PATIENTS if patients is None else patients
        peer = (
            augustin(number, seed, policies)
            if trial == "augustin"
            else anzabi_zadeh(number, seed, variability or "full", highly_sensitive or 0, policies)
        )
        folder = write_replication(_told(peer, policies), out, overwrite)
        _print_peer(peer)
    click.echo(f"report: {folder / 'report.html'}")
    click.echo("Research simulation, not for clinical use.")


def _refuse(
    trial: str,
    realism: str | None,
    variability: str | None,
    highly_sensitive: int | None,
    policies: Sequence[Path],
) -> None:
    """Refuse options that the trial does not have."""
    options = {
        "--realism": (realism, _REAL),
        "--variability": (variability, ("anzabi-zadeh",)),
        "--highly-sensitive": (highly_sensitive, ("anzabi-zadeh",)),
        "--policy": (policies[0] if policies else None, _VIRTUAL),
    }
    for name, (value, trials) in options.items():
        if value is not None and trial not in trials:
            raise ValueError(f"{name} {value}: {trial} has no such option; it is for {' and '.join(trials)}")


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(replicate)
