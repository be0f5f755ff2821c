"""``dosewright pgx``: a VCF file to what its genotypes mean for a drug, and what changed in the tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dosewright.pharmacogenomics import GeneCall, Genotypes, MissingPolicy, Tables

_REPORT = "report"
MISSING: dict[str, Any] = {
    "type": click.Choice(["missing", "reference", "force_reference"]),
    "default": "missing",
    "show_default": True,
    "help": "What a position without a call is; reference: inside gVCF blocks; force_reference: everywhere.",
}
"""The option `--missing` of every command that reads a VCF file."""
ANCESTRY = "Biogeographic group, or groups with shares: European=0.6,Latino=0.4. Default: not known."
"""What the option `--ancestry` of these commands is."""


class _ReportByDefault(click.Group):
    """``pgx sample.vcf`` is ``pgx report sample.vcf``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [_REPORT, *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ReportByDefault, no_args_is_help=False)
def pgx() -> None:
    """From a VCF file to diplotype, phenotype, and what they mean for a drug.

    `dosewright pgx sample.vcf --out DIR` is the report; see `dosewright pgx report --help` for its options.
    """


@pgx.command(_REPORT)
@click.argument("vcf", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--sample", help="Sample of the file. Default: all, each in a folder of its own.")
@click.option(
    "--outside",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Calls made elsewhere (CYP2D6 structure, HLA), in PharmCAT's columns; they win over the VCF.",
)
@click.option(
    "--drugs",
    help="Generic names, separated by commas; `all` adds every CPIC drug. Default: the scenarios' drugs "
    "that a pharmacogene matters to.",
)
@click.option("--inhibitors", default="", help="Drugs that are taken too, separated by commas.")
@click.option("--ancestry", help=ANCESTRY)
@click.option("--missing", **MISSING)
@click.option(
    "--tables",
    "tables_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of newer tables. Default: those that ship.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the result."
)
def report(
    vcf: Path,
    sample: str | None,
    outside: Path | None,
    drugs: str | None,
    inhibitors: str,
    ancestry: str | None,
    missing: Any,
    tables_folder: Path | None,
    out: Path,
) -> None:
    """Write genotype.json and genotype.html of VCF's samples into a folder."""
    import time
    from datetime import UTC, datetime

    from dosewright.evaluation.genotype import (
        default_drugs,
        drug_meaning,
        genotype_record,
        named_drug,
        write_genotype,
    )
    from dosewright.evaluation.provenance import provenance
    from dosewright.pharmacogenomics import call_genes, cyp2d6_score, read_outside_calls, read_vcf

    started, begun = datetime.now(UTC).astimezone(), time.monotonic()
    tables = _tables(tables_folder)
    also, groups = _names(inhibitors), _ancestry(ancestry)
    wanted = default_drugs() if drugs is None else tuple(dict.fromkeys(map(named_drug, _expanded(drugs))))
    cyp2d6_score(None, also)  # refuses an unknown name before any work
    elsewhere = () if outside is None else read_outside_calls(outside, tables)
    read = read_vcf(vcf, None if sample is None else [sample], missing, tables)
    several = len(read.genotypes) + len(read.errors) > 1
    if several and elsewhere:
        raise ValueError(f"--outside is of one person, {vcf} has several; choose one with --sample")
    rows = []
    for name, genotypes in read.genotypes.items():
        calls = call_genes(genotypes, elsewhere, groups, tables)
        meanings = [drug_meaning(drug, calls, also, groups, tables) for drug in wanted]
        record = genotype_record(
            genotypes, calls, meanings, ancestry=groups, inhibitors=also,
            outside_file=None if outside is None else str(outside), tables=tables,
            provenance=provenance(started, time.monotonic() - begun),
        )  # fmt: skip
        _, page = write_genotype(record, out / _folder(name) if several else out)
        rows.append((name, record, page))
    _print(rows)
    for message in read.errors.values():
        print(f"dosewright: {message}", file=sys.stderr)
    click.echo("Research simulation, not for clinical use.")
    if read.errors:
        sys.exit(1)


@pgx.group()
def tables() -> None:
    """The genetic tables."""


@tables.command()
@click.argument("old")
@click.argument("new")
def diff(old: str, new: str) -> None:
    """Print what changed from OLD to NEW: folders of tables, or the word `shipped`.

    Compared are definitions, functions, phenotype rules and frequencies; recommendations, published effects
    and interacting drugs are no part of such a folder.
    """
    from dosewright.pharmacogenomics import differences

    before, after = (_tables(None if item == "shipped" else Path(item)) for item in (old, new))
    found: dict[str, list[str]] = {}
    for change in differences(before, after):
        found.setdefault(change.gene, []).append(str(change))
    click.echo(f"old: {before.version}\nnew: {after.version}")
    for gene, changes in found.items():
        click.echo(f"{gene}: {len(changes)} change{'s' if len(changes) > 1 else ''}")
        for change in changes:
            click.echo(f"  {change}")
    total = sum(map(len, found.values()))
    click.echo(f"changes: {total}, genes: {len(found)}" if total else "no difference")


def _tables(folder: Path | None) -> Tables:
    from dosewright.pharmacogenomics import TABLES, Tables

    return TABLES if folder is None else Tables.read(folder)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _expanded(drugs: str) -> list[str]:
    """Names of drugs, with every CPIC drug in place of `all`."""
    from dosewright.evaluation.genotype import default_drugs
    from dosewright.pharmacogenomics import recommended_drugs

    every = [*default_drugs(), *recommended_drugs()]
    return [name for item in _names(drugs) for name in (every if item == "all" else [item])]


def _ancestry(text: str | None) -> str | dict[str, float] | None:
    """Return a group, or groups with shares.

    Raises
    ------
    ValueError : a share is no number, or they do not add up to 1
    """
    if text is None or "=" not in text:
        return text
    shares: dict[str, float] = {}
    for item in _names(text):
        group, _, share = item.rpartition("=")
        try:
            shares[group.strip()] = float(share)
        except ValueError:
            raise ValueError(
                f"--ancestry {item}: expected a group and its share, as in European=0.6"
            ) from None
    if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0:
        raise ValueError(f"--ancestry {text}: the shares add up to {sum(shares.values()):g}; expected 1")
    return shares


def _folder(sample: str) -> str:
    """Return a folder's name for a sample: whatever it is called it stays inside, and no two are alike."""
    from urllib.parse import quote

    safe = quote(sample, safe=" ")
    return safe.replace(".", "%2E") if set(safe) <= {"."} else safe


def _print(rows: Sequence[tuple[str, Mapping[str, Any], Path]]) -> None:
    """Print one sample's results, or one line for each of several."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dosewright.evaluation.report.genotype import probability

    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold")
    if len(rows) == 1:
        name, record, page = rows[0]
        for heading in ("gene", f"result of {name}", "from", "phenotype", "P"):
            table.add_column(escape(heading), overflow="fold")
        for gene in record["genes"]:
            p = gene["probability"]
            cells = (gene["gene"], gene["result"], gene["origin"], gene["phenotype"] or "")
            table.add_row(*map(escape, cells), "" if p is None else probability(p))
    else:
        for heading in ("sample", "genes called", "warnings", "page"):
            table.add_column(heading, overflow="fold")
        for name, record, page in rows:
            called = sum(gene["origin"] != "not called" for gene in record["genes"])
            cells = (name, f"{called} of {len(record['genes'])}", str(len(record["warnings"])), str(page))
            table.add_row(*map(escape, cells))
    console = Console()
    # a pipe has no width: keep one line a row there
    (console if console.is_terminal else Console(width=240)).print(table)
    if len(rows) == 1:
        _, record, page = rows[0]
        for warning in record["warnings"]:
            click.echo(f"warning: {warning}")
        said = {drug["drug"]: drug["said"] for drug in record["drugs"]}
        for row in record["summary"]:
            click.echo(f"{row['drug']}:")
            for sentence in said[row["drug"]] or ["nothing is known of it by genotype"]:
                click.echo(f"  {sentence}")
        click.echo(f"data: {page.with_suffix('.json')}\npage: {page}")


def sample_calls(
    vcf: Path, sample: str | None, outside: Path | None, missing: MissingPolicy, ancestry: str | None
) -> tuple[Genotypes, Mapping[str, GeneCall]]:
    """Return the one sample that is meant, and its calls by gene.

    Raises
    ------
    ValueError : the file has several samples and none is named, or the sample cannot be read; a share of the
        ancestry is no number, or they do not add up to 1
    """
    from dosewright.pharmacogenomics import call_genes, read_outside_calls, read_vcf

    groups = _ancestry(ancestry)
    elsewhere = () if outside is None else read_outside_calls(outside)
    read = read_vcf(vcf, None if sample is None else [sample], missing)
    known = [*read.genotypes, *read.errors]
    if len(known) != 1:
        some = ", ".join(known[:5]) + ("" if len(known) <= 5 else f" and {len(known) - 5} more")
        raise ValueError(f"{vcf} has {len(known)} samples; choose one with --sample: {some or 'none'}")
    if read.errors:
        raise ValueError(read.errors[known[0]])
    genotypes = read.genotypes[known[0]]
    return genotypes, {call.gene: call for call in call_genes(genotypes, elsewhere, groups)}


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(pgx)
