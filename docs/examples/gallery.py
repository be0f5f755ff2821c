"""Draw docs/drugs.md: one picture for every drug, the typical curve by genotype against its target.

``python docs/examples/gallery.py docs`` writes the page and its pictures.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from dosewright.envs import environment_id, names, scenario
from dosewright.envs.page import RETURNS
from dosewright.evaluation.curves import curve
from dosewright.evaluation.report.curves import course_figure


@dataclass(frozen=True)
class Course:
    """What is drawn for a drug: dose in the model's unit, interval, infusion and length in days,
    genotypes."""

    dose: float
    every: float
    days: float
    duration: float = 0.0
    genotypes: dict[str, dict[str, str]] = field(default_factory=dict)
    words: str = ""


_CYP2C19 = {
    name: {"CYP2C19": pair}
    for name, pair in
    # fmt: skip
    (("normal, *1/*1", "*1/*1"), ("intermediate, *1/*2", "*1/*2"), ("poor, *2/*2", "*2/*2"))
}
COURSES = {
    "busulfan": Course(224.0, 1.0, 4.0, 3 / 24, words="224 mg (3.2 mg/kg) over 3 h once daily"),
    "docetaxel": Course(130.0, 21.0, 84.0, 1 / 24, words="130 mg (75 mg/m²) over 1 h every three weeks"),
    "efavirenz": Course(
        250.0, 1.0, 28.0, words="250 mg once daily, a child of 15.4 kg",
        genotypes={"*1/*1": {"CYP2B6": "*1/*1"}, "*1/*6": {"CYP2B6": "*1/*6"}, "*6/*6": {"CYP2B6": "*6/*6"},
                   "*18/*18": {"CYP2B6": "*18/*18"}},
    ),
    "fluorouracil": Course(
        4680.0, 14.0, 28.0, 46 / 24, words="4680 mg (2400 mg/m²) over 46 h every two weeks",
        genotypes={"score 2": {"DPYD": "Reference/Reference"}, "score 1.5": {"DPYD": "Reference/c.2846A>T"},
                   "score 1": {"DPYD": "Reference/c.1905+1G>A (*2A)"}},
    ),
    "mercaptopurine": Course(
        50.0, 1.0, 182.0, words="50 mg/m² once daily",
        genotypes={"normal": {}, "TPMT *1/*3A": {"TPMT": "*1/*3A"}, "NUDT15 *1/*3": {"NUDT15": "*1/*3"}},
    ),
    "phenytoin": Course(
        100.0, 0.5, 84.0, words="100 mg every 12 h",
        genotypes={"normal": {}, "CYP2C9 *1/*3": {"CYP2C9": "*1/*3"}, "CYP2C19 *2/*2": {"CYP2C19": "*2/*2"}},
    ),
    "propofol": Course(420.0, 60 / 1440, 60 / 1440, 60 / 1440, words="6 mg/kg/h for an hour"),
    "tacrolimus": Course(
        5.0, 0.5, 28.0, words="5 mg every 12 h",
        genotypes={"CYP3A5 *3/*3": {"CYP3A5": "*3/*3"}, "CYP3A5 *1/*3": {"CYP3A5": "*1/*3"},
                   "*3/*3, CYP3A4 *1/*22": {"CYP3A5": "*3/*3", "CYP3A4": "*1/*22"}},
    ),
    "vancomycin": Course(1000.0, 0.5, 7.0, 1 / 24, words="1000 mg over 1 h every 12 h"),
    "voriconazole": Course(200.0, 0.5, 28.0, words="200 mg every 12 h", genotypes=_CYP2C19),
    "warfarin": Course(
        5.0, 1.0, 60.0, words="5 mg once daily",
        genotypes={
            f"{diplotype}, {vkorc1}": {"CYP2C9": diplotype, "VKORC1": vkorc1}
            for diplotype, vkorc1 in (("*1/*1", "GG"), ("*1/*1", "GA"), ("*1/*1", "AA"), ("*1/*3", "GA"),
                                      ("*3/*3", "AA"))
        },
    ),
}  # fmt: skip


def draw(drug: str, folder: Path) -> str:
    """Write a drug's picture, and return its part of the page."""
    known, course = scenario(drug), COURSES[drug]
    curves = {
        label: curve(
            known, course.dose, course.every, course.days, duration_days=course.duration, genotypes=chosen,
            covariates={c.name: c.reference for c in known.model.covariates if c.name != "baseline"},
            people=300,
        )
        for label, chosen in (course.genotypes or {"typical person": {}}).items()
    }  # fmt: skip
    figure = course_figure(known, curves, f"{drug}: {course.words}")
    picture = folder / "drugs" / f"{drug}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    genes = ", ".join(term.gene for term in known.model.genotype_terms) or "none"
    alternative = known.no_alternative if known.alternative is None else known.alternative.title
    return "\n".join(
        [
            f"## {known.drug}",
            "",
            f"`{environment_id(drug)}`. {known.description}",
            "",
            f"![{drug}](drugs/{drug}.png)",
            "",
            f"Model: {known.model.title}. Genes: {genes}. Second model of the same response: "
            f"{alternative.removesuffix('.')}.",
            "",
            f"Benefit: {known.benefit.label}. Harm: {known.harm.label} (weight {known.weight:g}). Event, "
            f"which a trial counts once a patient: {known.event.label}; margin of non-inferiority "
            f"{100 * known.margin:g} points.",
            "",
            f"Does the score tell good doses from bad ones? {known.discriminates}",
        ]
    )


def main() -> None:
    """Write the page."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    parts = [draw(drug, folder) for drug in names() if drug in COURSES]
    head = (
        "# The drugs\n\nTypical curves by genotype under one fixed schedule, 90 % of 300 people of the "
        "first genotype "
        "(all with the covariates of the typical person), and what the drug is dosed to. Written by "
        "`python docs/examples/gallery.py docs`; `dosewright scenarios DRUG` prints a drug's "
        f"whole page. {RETURNS} Simulation, not for clinical use.\n\n"
    )
    (folder / "drugs.md").write_text(head + "\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"{folder / 'drugs.md'}: {len(parts)} drugs")


if __name__ == "__main__":
    main()
