"""``dosewright trial``: a virtual trial of several regimens on the same patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dosewright.scripts.choices import GENOTYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dosewright.envs import Scenario
    from dosewright.envs.scenarios.scenario import GenotypeMode
    from dosewright.evaluation import TrialResult
    from dosewright.evaluation.sensitivity import Sensitivity
    from dosewright.evaluation.trial import TrialDesign
    from dosewright.evaluation.trial.run import Backend

DEFAULT_ARMS = (
    "label,guideline,clinical-nomogram,nomogram,pid,bayesian-adaptive,planner-adaptive,policy,oracle"
)
_PATIENTS, _MOST = 4000, 40_000  # virtual ones; with --half-width at most
_IN_OTHER_WORLDS = 500
_EXPLAINED = 200  # patients of whom the page tells how the policy doses
# Arms against which the others are compared, the first that is there
_REFERENCES = ("bayesian-adaptive", "bayesian", "clinical-nomogram", "label")


def conduct(
    drug: str,
    arms: str | None,
    out: Path,
    *,
    patients: int | None = None,
    seed: int = 1,
    realism: str = "clinic",
    genotype: GenotypeMode = "diplotype",
    cohort: str | None = None,
    reference: str | None = None,
    half_width: float | None = None,
    most: int | None = None,
    processes: int | None = None,
    backend: Backend = "processes",
    resume: bool = False,
    overwrite: bool = False,
    sensitivity: int = 0,
    same_training: Sequence[str] = (),
    preference: str | None = None,
    explain: int = _EXPLAINED,
) -> TrialResult:
    """Run a trial, write its folder, and print one table; the options are those of the command."""
    from dataclasses import replace
    from functools import partial

    from rich.console import Console
    from rich.progress import Progress

    from dosewright.envs import scenario
    from dosewright.evaluation import check_folder, write_trial
    from dosewright.evaluation.trial import run_design
    from dosewright.evaluation.trial.store import TrialStore
    from dosewright.scripts.trial_arms import (
        at_preferences,
        design,
        is_policy,
        labelled,
        question,
        told_where,
    )

    known = scenario(drug).seen_as(genotype)
    check_folder(out, overwrite)  # before any work
    wanted = labelled(_default_arms(known) if arms is None else arms)
    wanted, fronts = (wanted, {}) if preference is None else at_preferences(wanted, preference)
    recipe = partial(design, drug, wanted, seed, realism, genotype, cohort)
    asked = recipe()
    if reference is not None and reference not in wanted:
        raise ValueError(f"--reference {reference!r} is no arm of this trial: {', '.join(wanted)}")
    against = reference or next((name for name in _REFERENCES if name in wanted), next(iter(wanted)))
    trained = _trained(same_training, wanted, against)
    learned = [label for label, name in wanted.items() if is_policy(name) and label != against]
    # of one policy at several weights of safety, the trial is about the one in between
    even = {label: abs(weight - 0.5) for front in fronts.values() for label, weight in front.items()}
    policy = min(learned, key=lambda label: even.get(label, 0.0)) if learned else None
    if sensitivity == 1:
        raise ValueError("--sensitivity 1: an interval needs two patients; give more, or 0 to leave it out")
    ids = _patients(asked, patients, half_width, most)
    asking = question(asked, ids, wanted)
    store = TrialStore.resume(out, asking) if resume else TrialStore.begin(out, asking, overwrite)
    with told_where(store, "--resume"):
        explained = _explained(asked, policy, explain)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            tasks = {name: bar.add_task(name, total=len(ids)) for name in wanted}
            result = run_design(
                asked, ids, recipe=recipe, processes=processes, backend=backend, half_width=half_width,
                references=(against,), store=store, progress=lambda name, n: bar.advance(tasks[name], n),
            )  # fmt: skip
        content = {label: words for label in wanted if "SHA-256" in (words := asking[f"arm {label}"])}
        result = replace(result, provenance={**result.provenance, "arms": content, "code": asking["code"]})
        worlds = _in_other_worlds(asked, result, policy, against, sensitivity) if sensitivity else None
        folder = write_trial(
            result, out, against, policy, overwrite, sensitivity=worlds, trained=trained, fronts=fronts,
            explained=explained,
        )  # fmt: skip
    store.remove()
    _print(result, policy)
    click.echo(f"report: {folder / 'report.html'}")
    click.echo("Research simulation, not for clinical use.")
    return result


def _trained(same_training: Sequence[str], arms: Mapping[str, str], reference: str) -> dict[str, list[str]]:
    """Return name of a training -> its arms, from ``NAME=ARM,ARM`` each."""
    from dosewright.evaluation.summary import check_trained

    trained: dict[str, list[str]] = {}
    for text in same_training:
        name, sign, listed = (part.strip() for part in text.partition("="))
        if not sign or not name or name in trained:
            raise ValueError(f"--same-training {text!r}: expected NAME=ARM,ARM, every name once")
        trained[name] = [part.strip() for part in listed.split(",") if part.strip()]
    check_trained(trained, list(arms), reference)
    return trained


def _explained(asked: TrialDesign, policy: str | None, patients: int) -> dict[str, Any] | None:
    """Explain the policy that the trial is about; None where there is none that can be."""
    if policy is None or not patients:
        return None
    from dosewright.agents.explanation import explain
    from dosewright.agents.learning import LearnedPolicy

    arm = asked.arms[policy]
    assert isinstance(arm, LearnedPolicy)
    return None if arm.recurrent else explain(arm, patients, asked.noise.seed)


def _in_other_worlds(
    asked: TrialDesign, result: TrialResult, policy: str | None, reference: str, patients: int
) -> Sensitivity | None:
    """Repeat the main comparison in other worlds; None where the trial compares nothing."""
    from rich.console import Console
    from rich.progress import Progress

    from dosewright.evaluation.answer import answer, main_comparison
    from dosewright.evaluation.sensitivity import analyse_sensitivity

    arm, against = main_comparison(answer(result, policy), reference)
    if against is None:
        return None
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("other worlds", total=None)
        return analyse_sensitivity(
            asked, result, arm, against, patients, lambda world, _: bar.update(task, description=world)
        )


def _patients(
    asked: TrialDesign, patients: int | None, half_width: float | None, most: int | None
) -> NDArray[np.int64]:
    """Return who is treated; where patients are added until a precision is reached, in random order."""
    import numpy as np

    from dosewright.envs import RealCohort
    from dosewright.envs.noise import Stream

    if half_width is None and most is not None:
        raise ValueError(f"--most {most}: how precise? give --half-width, or say --patients")
    if half_width is not None and patients is not None:
        raise ValueError(f"--patients {patients}: --half-width adds patients as needed; limit them by --most")
    if not isinstance(asked.population, RealCohort):
        number = patients or _PATIENTS
        return np.arange(number if half_width is None else most or _MOST)
    if half_width is None:
        return asked.population.choose(patients, asked.noise)
    usable = len(asked.population.usable)
    ids = asked.population.choose(min(most or usable, usable), asked.noise)
    # in the file people may be sorted by hospital; choose() draws by the same numbers
    return ids[np.argsort(asked.noise.uniforms(ids, Stream.ROWS)[:, 0, 0], kind="stable")]


# heading, outcome, factor and digits of the terminal's table: those of warfarin, and of every other drug
_COLUMNS = (
    ("time in range, %", "time_in_range", 100, 1),
    ("Rosendaal, %", "rosendaal", 100, 1),
    ("INR > 4, % of time", "above_4", 100, 2),
    ("ever INR > 4, %", "ever_above_4", 100, 1),
    ("return", "return", 1, 3),
)


_ANY_DRUG = (
    ("benefit, %", "benefit", 100, 1),
    ("harm, %", "harm", 100, 2),
    ("patients with the event, %", "ever_harm", 100, 1),
    ("return", "return", 1, 3),
)


def _default_arms(scenario: Scenario) -> str:
    """Return the arms that a drug can be dosed by and that are quick; the planner takes minutes where no
    formula gives the maintenance dose."""
    from dosewright.agents import shipped
    from dosewright.agents.regimens import lacking

    absent = set(lacking(scenario))
    absent |= set() if scenario.name in shipped() else {"policy"}
    absent |= set() if scenario.maintenance_dose is not None else {"planner-adaptive"}
    return ",".join(name for name in DEFAULT_ARMS.split(",") if name not in absent)


def _print(result: TrialResult, policy: str | None) -> None:
    """Print the figures that decide, one line an arm, and the answer."""
    from rich.console import Console
    from rich.table import Table

    from dosewright.evaluation.answer import answer

    who = f"{len(result.ids)} patients, {result.realism}"
    if result.rows is not None:
        refused = sum(result.refused.values())
        who += f"; {result.rows} rows read, {result.rows - refused} usable, {refused} refused"
    known = {outcome.name for outcome in result.scenario.outcomes} | {"return"}
    columns = [column for column in _COLUMNS if column[1] in known]
    columns = columns if len(columns) == len(_COLUMNS) else list(_ANY_DRUG)
    table = Table(title=f"{result.scenario.title}: {who}")
    table.add_column("regimen")
    for heading, *_ in columns:
        table.add_column(heading, justify="right")
    for name in result.arms:
        cells = []
        for _, outcome, factor, digits in columns:
            estimate = result.estimate(name, outcome)
            low, high = (factor * bound for bound in (estimate.low, estimate.high))
            cells.append(f"{factor * estimate.mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        table.add_row(name, *cells)
    Console(width=144).print(table)
    for sentence in answer(result, policy)["sentences"]:
        click.echo(sentence)
    if (precision := result.precision) is not None:
        widest = max(precision.half_widths.values())
        click.echo(
            f"Differences of benefit from {precision.reference} are known to ±{100 * widest:.2f} points; "
            f"±{100 * precision.wanted:.2f} was {'' if precision.reached else 'not '}reached with "
            f"{len(result.ids)} patients (at most {precision.most}"
            + ("" if precision.reached else f"; about {precision.additional:,} more are needed")
            + ")."
        )
    for reason, number in result.refused.items():
        click.echo(f"refused: {number} rows, {reason}")


@click.command()
@click.argument("drug")
@click.option(
    "--arms",
    help="Regimens, separated by commas; policy:PATH for a trained policy, policy for the shipped one, "
    "LABEL=ARM to call an arm something else. Default: all that the drug has.",
)
@click.option(
    "--patients",
    type=click.IntRange(2),
    help=f"Virtual patients (default {_PATIENTS}), or rows of --cohort drawn without replacement (default: "
    "all usable).",
)
@click.option(
    "--half-width",
    type=click.FloatRange(0, min_open=True),
    metavar="SHARE",
    help="Add patients until the 95 % interval of every difference of benefit from the reference is at most "
    "this wide to either side: 0.005 is half a point.",
)
@click.option(
    "--most",
    type=click.IntRange(2),
    help=f"With --half-width: patients at most (default {_MOST}, or all usable rows of --cohort).",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of everything.")
@click.option("--realism", default="clinic", show_default=True, help="clinic or textbook.")
@click.option(
    "--genotype",
    type=GENOTYPE,
    default="diplotype",
    show_default=True,
    help="What the regimens see of the genotype.",
)
@click.option("--cohort", metavar="CSV", help="Treat real people: covariates and genotypes from a table.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the result.")
@click.option(
    "--reference",
    help="Arm that the others are compared with. Default: the first there "
    "is of bayesian-adaptive, bayesian, clinical-nomogram, label.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="Processes; the numbers do not depend on it. Default: the cores where the trial takes longer than "
    "a minute, else one.",
)
@click.option(
    "--backend",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="Where patients are treated: on this machine, or on Ray (extra `ray`), where --processes says how "
    "many workers. The numbers are the same.",
)
@click.option(
    "--sensitivity",
    type=click.IntRange(0),
    default=_IN_OTHER_WORLDS,
    show_default=True,
    help="Repeat the main comparison in other worlds (another model, another's genotype, none, worse "
    "adherence, the other realism) on so many of the patients; 0: leave it out.",
)
@click.option(
    "--explain",
    type=click.IntRange(0),
    default=_EXPLAINED,
    show_default=True,
    help="Explain the policy on so many patients: where it departs from its anchor, which features decide, "
    "simple rules that come close; 0: leave it out.",
)
@click.option(
    "--same-training",
    multiple=True,
    metavar="NAME=ARM,ARM",
    help="Arms that are one training with several seeds: their interquartile mean is reported as well. May "
    "be given several times.",
)
@click.option(
    "--preference",
    metavar="W,W",
    help="Every policy once for each of these weights of safety against benefit, such as 0.2,0.5,0.8: 0.5 is "
    "how it doses by default. Only policies that were trained to be told one.",
)
@click.option("--resume", is_flag=True, help="Go on with the same trial where it was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace an existing result, or one that was stopped.")
def trial(drug: str, arms: str | None, out: Path, **options: Any) -> None:
    """Treat the same patients of DRUG by every arm, and write result.json, patients.parquet and
    report.html."""
    conduct(drug, arms, out, **options)


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(trial)
