"""``dosewright federate``: one population from several hospitals that never share a patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dosewright.agents.estimation.population import Evidence, RefittedPopulation
    from dosewright.agents.refinement.federated import Federation, Privacy
    from dosewright.envs import Scenario

_NOTICE = "Research simulation, not for clinical use."
_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_NOISY_ROUNDS = 8  # more rounds share one budget: at 5 sites × 60 patients they add more noise than they mend


def _hiding(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options by which sites hide their patients."""
    for option in (
        click.option("--noise", type=float, help="SD of a site's noise, in units of --clip."),
        click.option("--clip", type=float, help="Most that one patient may add. Default: nobody is hidden."),
    ):
        command = option(command)
    return command


_worth = click.option(
    "--worth", type=float, help="Patients that the published model counts for. Default: 20."
)
_start = click.option(
    "--from",
    "start",
    type=_FILE,
    help="Population to begin with; its groups are kept. Default: the published.",
)
_delta = click.option(
    "--delta", type=float, default=1e-5, show_default=True, help="Of the privacy budget, with noise."
)


@click.group()
def federate() -> None:
    """Learn one population from several hospitals that never share a patient.

    Sites answer a population with sums over their patients, and the coordinator's step makes the next one:
    the same, without noise, that all patients in one place would give. Files travel by any means.
    """


@federate.command("run")
@click.argument("drug")
@click.argument("stores", metavar="STORE...", nargs=-1, required=True, type=_FILE)
@click.option("--out", type=_FOLDER, required=True, help="New folder for the rounds and population.json.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    help=f"Most rounds. Default: until nothing moves; with noise {_NOISY_ROUNDS}, and all are done.",
)
@_worth
@_start
@_hiding
@_delta
def run_all(
    drug: str,
    stores: tuple[Path, ...],
    out: Path,
    rounds: int | None,
    worth: float | None,
    start: Path | None,
    clip: float | None,
    noise: float | None,
    delta: float,
) -> None:
    """Run all rounds for DRUG over stores on this machine, each a site with the name of its file."""
    from dosewright.agents.estimation.population import ROUNDS, STILL
    from dosewright.agents.refinement.federated import Answer
    from dosewright.envs import scenario
    from dosewright.evaluation.result_folder import write_json

    known, privacy = scenario(drug), _privacy(clip, noise)
    if privacy is not None:
        privacy.budget(1, delta)  # a delta that is none is refused before the work
    evidence = _evidence(known, stores)
    made = _begun(out, known, list(evidence), worth, start, privacy)
    refit, population = made.refit, made.population(0)
    moved = float("inf")
    for _ in range(rounds or (ROUNDS if privacy is None else _NOISY_ROUNDS)):
        for site, mine in evidence.items():
            made.put(Answer.of(site, mine, population, refit.published, privacy))
        before, population = population, made.step()
        moved = refit.moved(before, population)
        if privacy is None and moved < STILL:
            break
    write_json(population.record(), out / "population.json")
    _say(made, population, moved, delta)
    if privacy is None and moved >= STILL:
        click.echo(f"not at rest yet: below {STILL:g} it would be; give more --rounds")
    click.echo(f"population: {out / 'population.json'}")
    click.echo(_NOTICE)


@federate.command()
@click.argument("drug")
@click.argument("folder", type=_FOLDER)
@click.option("--site", "sites", multiple=True, required=True, help="A site that takes part; once for each.")
@_worth
@_start
@_hiding
def begin(
    drug: str,
    folder: Path,
    sites: tuple[str, ...],
    worth: float | None,
    start: Path | None,
    clip: float | None,
    noise: float | None,
) -> None:
    """Begin the rounds for DRUG in a new FOLDER, for sites that answer elsewhere."""
    from dosewright.envs import scenario

    made = _begun(folder, scenario(drug), sites, worth, start, _privacy(clip, noise))
    click.echo(f"send {made.place(0) / 'population.json'} to {', '.join(sites)}")


@federate.command()
@click.argument("store", type=_FILE)
@click.option("--population", "asked", type=_FILE, required=True, help="Population file of the round.")
@click.option("--out", type=_FILE, required=True, help="Moments file to write.")
@click.option("--site", help="Name of this site. Default: that of the store's file.")
@_hiding
@_delta
def answer(
    store: Path,
    asked: Path,
    out: Path,
    site: str | None,
    clip: float | None,
    noise: float | None,
    delta: float,
) -> None:
    """Answer a round's population with sums over the patients of STORE; the store is only read."""
    from dosewright.agents.refinement.federated import Answer, read_population
    from dosewright.envs import scenario
    from dosewright.evaluation.result_folder import write_json

    privacy = _privacy(clip, noise)
    cost = None if privacy is None else privacy.budget(1, delta)
    population = read_population(asked)
    known = scenario(population.drug)
    population.scenario(known)  # refuses another version before the work
    ((_, evidence),) = _evidence(known, [store]).items()
    published = type(population).published(known)
    found = Answer.of(store.stem if site is None else site, evidence, population, published, privacy)
    write_json(found.record(), out)
    click.echo(f"{found.site}: {len(evidence.factor)} patients, sums in {out}")
    if cost is not None:
        click.echo(
            f"this answer costs rho {cost.rho:.4g} (epsilon {cost.epsilon:.3g} at delta {cost.delta:g}); "
            "rho adds up over the rounds that are answered"
        )


@federate.command()
@click.argument("folder", type=_FOLDER)
@_delta
def step(folder: Path, delta: float) -> None:
    """End the round of FOLDER once all sites have answered, and write the population of the next."""
    from dosewright.agents.refinement.federated import Federation, plan_of
    from dosewright.envs import scenario

    made = Federation.open(folder, scenario(plan_of(folder)["drug"]))
    before = made.population(made.round)
    population = made.step()
    _say(made, population, made.refit.moved(before, population), delta)
    click.echo(f"population: {made.place(made.round) / 'population.json'}")
    click.echo(_NOTICE)


def _begun(
    folder: Path,
    known: Scenario,
    sites: Sequence[str],
    worth: float | None,
    start: Path | None,
    privacy: Privacy | None,
) -> Federation:
    from dosewright.agents.estimation.population import WORTH
    from dosewright.agents.refinement.federated import Federation, read_population

    return Federation.begin(
        folder,
        known,
        sites,
        worth=WORTH if worth is None else worth,
        privacy=privacy,
        start=None if start is None else read_population(start),
    )


def _privacy(clip: float | None, noise: float | None) -> Privacy | None:
    """Return how patients are hidden; None: not."""
    if clip is None and noise is None:
        return None
    if clip is None or noise is None:
        raise ValueError("--clip and --noise hide patients together; give both, or neither")
    from dosewright.agents.refinement.federated import Privacy

    return Privacy(clip, noise)


def _evidence(known: Scenario, stores: Sequence[Path]) -> dict[str, Evidence]:
    """Return site -> what its patients say."""
    from dosewright.agents.refinement.factors import FactorMaker
    from dosewright.agents.refinement.federated import stored_evidence
    from dosewright.agents.refinement.store import Store

    maker, found = FactorMaker(known), dict[str, Any]()
    for path in stores:
        if path.stem in found:
            raise ValueError(
                f"{path}: site {path.stem!r} is there already; give every store a name of its own"
            )
        with Store.open(path, known.name, known.version, write=False) as store:
            found[path.stem] = stored_evidence(store, maker)
        if found[path.stem] is None:
            raise ValueError(f"{path}: no patient with a result and consent; leave this site out")
    return found


def _say(made: Federation, population: RefittedPopulation, moved: float, delta: float) -> None:
    """Print what the sites have learned, from how many, and what it cost."""
    answers = made.answers(made.round - 1)
    about = "" if made.privacy is None else "about "
    people = f"{about}{population.patients:.4g} patients"
    click.echo(f"{_counted(made.round, 'round')}, {_counted(len(answers), 'site')}, {people}")
    for item in answers:
        click.echo(f"  {item.site}: {about}{item.moments.patients:.4g}")
    for line in in_words(population, made.scenario):
        click.echo(line)
    click.echo(f"last round moved a shift by {moved:.2g} published SD at most")
    if made.privacy is not None:
        cost = made.budget(delta)
        click.echo(
            f"privacy of each patient: epsilon {cost.epsilon:.3g} at delta {cost.delta:g} "
            f"(rho {cost.rho:.4g}, {_counted(cost.rounds, 'round')})"
        )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def in_words(population: RefittedPopulation, known: Scenario) -> list[str]:
    """Return what a population differs by from the published one, a line for everybody and each group: "CL ×
    0.57, V × 1.02"."""
    from dosewright.agents.estimation.prior import columns, scales

    model = known.model
    items = [model.parameters[i] for i in columns(known)]
    groups = ["everybody", *(f"besides, {term.name}" for term in population.terms)]
    return [
        f"{group}: "
        + ", ".join(
            _change(item.name, item.unit, scale, float(by))
            for item, scale, by in zip(items, scales(known), row, strict=True)
        )
        for group, row in zip(groups, population.coefficients, strict=True)
    ]


def _change(name: str, unit: str, scale: str, by: float) -> str:
    """Say by what a parameter, the odds of one, or one that adds, is changed."""
    import math

    if scale == "linear":
        return f"{name} {by:+.2g}" + ("" if unit in ("", "1") else f" {unit}")
    return f"{'odds of ' if scale == 'logit' else ''}{name} × {math.exp(by):.2f}"


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(federate)
