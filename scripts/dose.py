"""``dosewright dose``: one patient by hand, from a table of doses and levels to the next dose."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dosewright.scripts.person import check_vcf_options, genotype_options, named_numbers, named_texts
from dosewright.scripts.pgx import sample_calls

if TYPE_CHECKING:
    from dosewright.agents.bedside import Advice, Interval, Prospect
    from dosewright.envs import Scenario


@click.command()
@click.argument("drug")
@click.argument("table", type=click.Path(path_type=Path, dir_okay=False))
@genotype_options
@click.option(
    "--covariate", multiple=True, metavar="NAME=VALUE", help="For the whole course; wins over a column."
)
@click.option(
    "--target", metavar="NAME=LOW..HIGH", help="As in trough=8..12. Default: the scenario's band of the day."
)
@click.option("--policy", help="Folder of a trained policy. Default: the one that ships, if any.")
@click.option(
    "--at", type=float, help="Time of the decision, in the table's unit. Default: the end of the records."
)
@click.option(
    "--next", "ahead", type=click.IntRange(1), help="Units until the next visit. Default: the calendar's."
)
@click.option("--id", "patient", help="Patient, where the table has several.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of everything.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write a picture: .png, .svg or .pdf."
)
@click.option(
    "--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write every number as JSON."
)
def dose(
    drug: str,
    table: Path,
    genotype: tuple[str, ...],
    vcf: Path | None,
    sample: str | None,
    outside: Path | None,
    missing: Any,
    ancestry: str | None,
    covariate: tuple[str, ...],
    target: str | None,
    policy: str | None,
    at: float | None,
    ahead: int | None,
    patient: str | None,
    seed: int,
    plot: Path | None,
    out: Path | None,
) -> None:
    """Say what one patient's records mean for the next dose of DRUG, and what every regimen would give.

    TABLE has one record a line, as NONMEM reads it: ID, TIME, AMT, DV, and EVID, II, ADDL, SS, RATE, DVID,
    BLQ, LLOQ where needed; other columns are covariates. Units are the model's, or stand in the header:
    TIME[h], AMT[mg], DV[ng/mL]. `dosewright scenarios DRUG` lists a drug's covariates.
    """
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--plot {plot}: expected a name that ends in .png, .svg or .pdf")
    from dosewright.agents.bedside import NOTE, advise, read_case
    from dosewright.envs import scenario

    known = scenario(drug)
    genotypes = named_texts("--genotype", genotype)
    check_vcf_options(vcf, sample, outside, ancestry, missing=missing)
    if vcf is not None:
        genotypes = _with_vcf(known, genotypes, vcf, sample, outside, missing, ancestry)
    case = read_case(
        known, table, genotypes=genotypes, covariates=named_numbers("--covariate", covariate), at=at,
        patient=patient,
    )  # fmt: skip
    advice = advise(case, target=target, policy=policy, ahead=ahead, seed=seed)
    _print(advice)
    for path in filter(None, (plot, out)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if plot is not None:
        from dosewright.agents.bedside.figure import patient_figure

        patient_figure(advice).savefig(plot, dpi=150)
        click.echo(f"picture: {plot}")
    if out is not None:
        import json

        out.write_text(json.dumps(advice.record(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        click.echo(f"data: {out}")
    click.echo(NOTE)


def _with_vcf(
    known: Scenario,
    given: dict[str, str],
    vcf: Path,
    sample: str | None,
    outside: Path | None,
    missing: Any,
    ancestry: str | None,
) -> dict[str, str]:
    """Return `given`, and for the model's other genes the diplotypes of one sample; a gene that stays open
    is left out, and said."""
    from dosewright.evaluation.genotype import OpenGenotypeError, modelled_genotype

    genes = dict.fromkeys(term.gene for term in known.model.genotype_terms)
    if not genes:
        raise ValueError(f"--vcf: the model of {known.name} has no genotype term; leave it out")
    person, calls = sample_calls(vcf, sample, outside, missing, ancestry)
    found = dict(given)
    for gene in genes:
        if gene in given:
            continue
        try:
            found[gene] = str(modelled_genotype(calls[gene]))
            click.echo(f"{gene} {found[gene]}: sample {person.sample}, {calls[gene].origin}")
        except OpenGenotypeError as error:
            click.echo(f"warning: sample {person.sample}: {error}")
    return found


# ---------------------------------------------------------------------------------------------------- printed


def _print(advice: Advice) -> None:
    from rich.console import Console

    console = Console(width=132, highlight=False)
    _print_patient(advice)
    _print_parameters(advice, console)
    _print_levels(advice, console)
    _print_doses(advice, console)
    _print_models(advice)
    _print_regimens(advice, console)


def _print_patient(advice: Advice) -> None:
    case, line = advice.case, advice.timeline
    scenario, clock = case.scenario, case.scenario.clock
    click.echo(f"{scenario.name}, {scenario.model.title}: patient {case.records.id}")
    people = [f"{gene} {pair}" for gene, pair in case.genotypes.items()]
    people += [f"{name} {values[-1]:g}" for name, values in case.records.covariates.items()]
    click.echo(", ".join(people) or "no covariates")
    last = "" if math.isnan(line.last_dose) else f", last dose {line.last_dose:g} {scenario.doses.unit}"
    click.echo(
        f"now: {case.now:g} {scenario.model.time_unit} after the first dose, {clock.unit} {line.unit}{last}; "
        f"next visit in {line.ahead} {clock.unit if line.ahead == 1 else clock.units}"
    )
    for flag in advice.flags:
        click.echo(f"flag: {flag}")
    for note in case.notes:
        click.echo(f"note: {note}")
    for note in line.notes:
        click.echo(f"rules: {note}")


def _print_parameters(advice: Advice, console: Any) -> None:
    table = _table("parameter", "patient, median (90 %)", "population, same covariates", "ratio")
    for row in advice.parameters:
        table.add_row(
            f"{row.name}{'' if row.unit == '1' else f', {row.unit}'}",
            _span(row.median, row.low, row.high, 4),
            _span(row.population_median, row.population_low, row.population_high, 4),
            f"{row.ratio:.2f}",
        )
    console.print(table)
    if len(advice.person.genotypes) > 1:
        weighted = zip(advice.person.genotype_weight, advice.person.genotypes, strict=True)
        best = sorted(weighted, key=lambda item: -item[0])[:4]
        unknown = advice.case.unknown_genes
        words = [f"{', '.join(f'{g} {genes[g]}' for g in unknown)} {p:.0%}" for p, genes in best]
        click.echo(f"genotypes by the records: {'; '.join(words)}")


def _print_levels(advice: Advice, console: Any) -> None:
    if not advice.levels:
        return
    from dosewright.agents.bedside.digits import digits

    unit = advice.case.scenario.model.time_unit
    table = _table(f"time, {unit}", "output", "measured", "population", "individual", "residual, SD")
    for row in advice.levels:
        measured = f"< {digits(row.limit, 4)}" if math.isnan(row.measured) else digits(row.measured, 4)
        residual = "" if math.isnan(row.residual) else f"{row.residual:+.2f}"
        table.add_row(
            f"{row.time:g}", f"{row.output}{'' if row.unit == '1' else f', {row.unit}'}", measured,
            digits(row.population, 4), digits(row.individual, 4), residual,
        )  # fmt: skip
    console.print(table)


def _print_doses(advice: Advice, console: Any) -> None:
    from dosewright.agents.bedside.digits import digits

    scenario, prospects = advice.case.scenario, advice.prospects
    clock, last = scenario.clock, advice.timeline.unit + prospects.reach - 1
    response = advice.target.name.removeprefix("sample of ")
    given = "" if advice.target.own else " (given; the regimens keep their own)"
    click.echo(
        f"target: {advice.target.label}{given}, "
        f"at the end of {clock.unit} {last}; harm: {scenario.harm.label}, in any {clock.unit} until then"
    )
    click.echo(f"monitoring dose: {digits(prospects.monitoring_dose)} {scenario.doses.unit}, not rounded")
    level = prospects.next_level
    heading = "next level" if level is None else f"next {level[0].name} {_in(level[1], clock)}, mean (90 %)"
    given_in = f"given in {clock.unit} {advice.timeline.unit}"
    there = f"{response}, mean (90 %)"
    table = _table(f"dose, {scenario.doses.unit}", given_in, "P(in target)", "P(harm)", there, heading)
    for item in advice.candidates:
        mark = " *" if item.dose == advice.monitoring.dose else ""
        table.add_row(
            f"{item.dose:g}{mark}",
            item.given,
            *_chances(item),
            _interval(item.response),
            _interval(item.level),
        )
    console.print(table)


def _in(units: int, clock: Any) -> str:
    return f"in {units} {clock.unit if units == 1 else clock.units}"


def _print_models(advice: Advice) -> None:
    if len(advice.models) == 1:
        return
    from dosewright.agents.bedside.digits import digits

    words = []
    for row in advice.models:
        if math.isnan(row.weight):
            words.append(f"{row.name} not asked: {row.reason}")
            continue
        said = "" if row.prospect is None else (
            f" ({digits(row.prospect.response.mean)}, P(in target) {row.prospect.in_target:.0%})"
        )  # fmt: skip
        words.append(f"{row.name} {row.weight:.0%}{said}")
    click.echo(
        f"models by the records, and what each expects of {advice.monitoring.dose:g} "
        f"{advice.case.scenario.doses.unit}: {'; '.join(words)}"
    )


def _print_regimens(advice: Advice, console: Any) -> None:
    table = _table("regimen", "dose", "P(in target)", "P(harm)", "why")
    for row in advice.regimens:
        given = row.advised.given
        chances = ("", "") if row.prospect is None else _chances(row.prospect)
        table.add_row(row.advised.name, "–" if given is None else f"{given:g}", *chances, row.why)
    console.print(table)
    for sentence in advice.summary:
        click.echo(sentence)


def _table(*headings: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        words = heading == "why"
        table.add_column(heading, justify="left" if i == 0 or words else "right", overflow="fold")
    return table


def _chances(item: Prospect) -> tuple[str, str]:
    return f"{item.in_target:.0%}", f"{item.harm:.1%}"


def _interval(item: Interval | None) -> str:
    return "" if item is None else _span(item.mean, item.low, item.high, 3)


def _span(middle: float, low: float, high: float, count: int) -> str:
    from dosewright.agents.bedside.digits import digits

    return f"{digits(middle, count)} ({digits(low, count)} to {digits(high, count)})"


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(dose)
