"""``dosewright simulate``: the course of a drug under a fixed schedule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dosewright.scripts.person import check_vcf_options, genotype_options, named_numbers, named_texts
from dosewright.scripts.pgx import sample_calls

if TYPE_CHECKING:
    from dosewright.envs import Scenario
    from dosewright.pharmacogenomics import GeneCall, Genotypes


_INTERVALS = {"mg/day": "24h", "mg every 12 h": "12h"}  # unit of a scenario's doses to how often one is taken


@click.command()
@click.argument("drug")
@click.option(
    "--dose",
    type=float,
    help="One dose, in the model's unit of amount (mostly mg). Default: the label's, if it is one for all.",
)
@click.option("--every", help="Interval: a number and d, h, min or s. Default: 24h, or as the label's dose.")
@click.option("--duration", default=None, help="Duration of an infusion, such as 1h; none: enters at once.")
@click.option("--days", type=float, default=14, show_default=True, help="Length of the course.")
@genotype_options
@click.option(
    "--covariate", multiple=True, metavar="NAME=VALUE", help="Of the typical person and all others."
)
@click.option(
    "--people", type=click.IntRange(20), default=500, show_default=True, help="Size of the population."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the population.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write a picture: .png, .svg or .pdf."
)
def simulate(
    drug: str,
    dose: float | None,
    every: str | None,
    duration: str | None,
    days: float,
    genotype: tuple[str, ...],
    vcf: Path | None,
    sample: str | None,
    outside: Path | None,
    missing: Any,
    ancestry: str | None,
    covariate: tuple[str, ...],
    people: int,
    seed: int,
    plot: Path | None,
) -> None:
    """Simulate DRUG under a fixed schedule: typical curve, 90 % band of a population, target."""
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--plot {plot}: expected a name that ends in .png, .svg or .pdf")
    import numpy as np

    from dosewright.envs import scenario
    from dosewright.evaluation.curves import curve, duration_in_days, reference_genotypes

    known = scenario(drug)
    if dose is None:
        dose, every = _label_schedule(known, every)
    every = every or "24h"
    genotypes, covariates = named_texts("--genotype", genotype), named_numbers("--covariate", covariate)
    check_vcf_options(vcf, sample, outside, ancestry, missing=missing)
    if vcf is not None:
        person, calls = sample_calls(vcf, sample, outside, missing, ancestry)
        genotypes = _from_vcf(known, vcf, person, calls, genotypes)
    made = curve(
        known, dose, duration_in_days(every), days,
        duration_days=0.0 if duration is None else duration_in_days(duration), genotypes=genotypes,
        covariates=covariates, people=people, seed=seed,
    )  # fmt: skip
    model = known.model
    pairs = reference_genotypes(known, genotypes)
    person = [f"{gene} {pair}" for gene, pair in pairs.items()]
    person += [f"{item.name} {covariates.get(item.name, item.reference):g}" for item in model.covariates]
    schedule = f"{dose:g} {model.amount_unit} every {every}" + (f" over {duration}" if duration else "")
    click.echo(f"{drug}, {model.title}: {schedule}, {days:g} days")
    click.echo(f"typical person: {', '.join(person) or 'no covariates'}")
    click.echo(
        f"{'day':>8s} {f'{made.output}, {made.unit}':>16s} {'5 %':>10s} {'95 %':>10s}   ({people} people)"
    )
    for day in np.linspace(0, days, 8)[1:]:
        at = int(np.argmin(np.abs(made.days - day)))
        click.echo(
            f"{made.days[at]:8.2f} {made.typical[at]:16.4g} {made.low[at]:10.4g} {made.high[at]:10.4g}"
        )
    if made.amounts is not None:
        response, clock = known.responses[0], known.clock
        values = ", ".join(f"{value:.4g}" for value in made.amounts[:8])
        click.echo(f"{response.name}, {response.unit}, by {clock.unit}, typical: {values}")
    if plot is not None:
        from dosewright.evaluation.report.curves import course_figure

        label = ", ".join(f"{gene} {pair}" for gene, pair in pairs.items()) or "typical person"
        figure = course_figure(known, {label: made}, f"{drug}: {schedule}")
        plot.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(plot, dpi=150)
        click.echo(f"picture: {plot}")
    click.echo("Research simulation, not for clinical use.")


def _label_schedule(known: Scenario, every: str | None) -> tuple[float, str]:
    """Return the label's dose and its interval.

    Raises
    ------
    ValueError : an interval without a dose, or a label that has no single dose for everybody
    """
    if every is not None:
        raise ValueError(f"--every {every} without --dose; give both, or neither for the label's")
    interval = _INTERVALS.get(known.doses.unit)
    if interval is None or known.label.needs:
        raise ValueError(
            f"--dose: the label of {known.name} ({known.label.name}) is not one dose for everybody; give "
            f"one, in {known.model.amount_unit}"
        )
    import numpy as np

    return float(known.label.dose({"nobody": np.zeros(1)})[0]), interval


def _from_vcf(
    known: Scenario, vcf: Path, person: Genotypes, calls: Mapping[str, GeneCall], given: dict[str, str]
) -> dict[str, str]:
    """Return `given`, and for the model's other genes the diplotypes of one sample.

    Raises
    ------
    ValueError : a gene of the model stays open or was not called, or the model has no genotype term
    """
    if not known.model.genotype_terms:
        raise ValueError(f"--vcf: the model of {known.name} has no genotype term; leave it out")
    from dosewright.evaluation.genotype import OpenGenotypeError, doubts, model_dose, modelled_genotype
    from dosewright.pharmacogenomics import TABLES, Diplotype

    for warning in person.warnings:
        click.echo(f"warning: {warning}")
    genotypes = dict(given)
    for term in known.model.genotype_terms:
        gene = term.gene
        try:
            pair = modelled_genotype(calls[gene])
        except OpenGenotypeError as error:
            if gene not in given:
                raise ValueError(
                    f"{vcf}, sample {person.sample}: {error}; give it as --genotype {gene}=A/B, or say with "
                    "--missing what a position without a call is"
                ) from None
            pair = None
        if gene in given or pair is None:
            has = pair or "no single diplotype"
            click.echo(f"{gene} {given[gene]}: --genotype wins; sample {person.sample} has {has}")
        else:
            genotypes[gene] = str(pair)
            click.echo(f"{gene} {pair}: sample {person.sample}, {calls[gene].origin}")
            for text in doubts(calls[gene], TABLES):
                click.echo(f"warning: {text}")
    made = model_dose(known, {gene: Diplotype.parse(genotypes[gene]) for gene in calls if gene in genotypes})
    for text in (*(item.note for item in made.readings), *made.indistinct):
        click.echo(f"warning: {text}")
    return genotypes


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(simulate)
