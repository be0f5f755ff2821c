"""What commands about one person ask for: genotype and covariates, by hand or from a VCF file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dosewright.scripts.pgx import ANCESTRY, MISSING

_OPTIONS = (
    click.option(
        "--genotype", multiple=True, metavar="GENE=A/B", help="Diplotype, as in CYP3A5=*1/*3; once a gene."
    ),
    click.option(
        "--vcf",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Genotypes of the model's genes from a VCF file; --genotype wins for its gene.",
    ),
    click.option("--sample", help="Sample of --vcf, where it has several."),
    click.option(
        "--outside",
        type=click.Path(path_type=Path, dir_okay=False),
        help="With --vcf: calls made elsewhere, which win over it.",
    ),
    click.option("--missing", **MISSING),
    click.option("--ancestry", help=ANCESTRY),
)


def genotype_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a genotype."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_vcf_options(vcf: Path | None, *of_vcf: Any, missing: Any) -> None:
    """Refuse options of a VCF file (`of_vcf`, None where not given) without one."""
    if vcf is None and (any(option is not None for option in of_vcf) or missing != MISSING["default"]):
        raise ValueError(
            "--sample, --outside, --missing and --ancestry are of a VCF file; give it with --vcf"
        )


def named_texts(option: str, items: tuple[str, ...]) -> dict[str, str]:
    """Return ``name=value`` options as a mapping."""
    made: dict[str, str] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name or not value:
            raise ValueError(f"{option} {item!r}; expected name=value")
        if name in made:
            raise ValueError(f"{option} {name} is given twice")
        made[name] = value
    return made


def named_numbers(option: str, items: tuple[str, ...]) -> dict[str, float]:
    """Return ``name=number`` options as a mapping."""
    made = {}
    for name, value in named_texts(option, items).items():
        try:
            made[name] = float(value)
        except ValueError:
            made[name] = math.nan
        if not math.isfinite(made[name]):
            raise ValueError(f"{option} {name}={value}; expected a number")
    return made
