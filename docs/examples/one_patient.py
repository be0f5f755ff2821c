"""Write docs/one_patient.md: a tacrolimus and a warfarin patient from the first dose to the fifth visit.

``python docs/examples/one_patient.py docs`` writes the page, its pictures, and every number on it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dosewright.agents.bedside import Advice, Interval, advise, read_case
from dosewright.agents.bedside.figure import patient_figure
from dosewright.envs import scenario

HERE = Path(__file__).parent
_SHOWN = ("label", "guideline", "nomogram", "bayesian-adaptive", "planner-adaptive", "policy")


@dataclass(frozen=True)
class Story:
    """A patient of the page: drug, genotype, hours of the visits, and the visits that are drawn."""

    drug: str
    genotypes: dict[str, str]
    visits: tuple[float, ...]
    drawn: tuple[float, ...]
    about: str


STORIES = (
    Story(
        "tacrolimus", {"CYP3A5": "*1/*3"}, (0, 48, 96, 168, 240), (0, 96, 240),
        "A kidney recipient who carries one functional CYP3A5 allele; CYP3A4 was not tested, so the "
        "posterior is averaged over it.",
    ),
    Story(
        "warfarin", {"CYP2C9": "*1/*3", "VKORC1": "GA"}, (0, 72, 120, 168, 240), (0, 120, 240),
        "A person with a slow CYP2C9 and one sensitive VKORC1 allele, started as if neither were known.",
    ),
)  # fmt: skip


def write(folder: Path) -> None:
    """Write the page and its pictures."""
    parts = [_INTRODUCTION]
    for story in STORIES:
        parts += _story(story, folder)
    (folder / "one_patient.md").write_text("\n".join([*parts, _ENDING]), encoding="utf-8")


def _story(story: Story, folder: Path) -> Iterator[str]:
    known, table = scenario(story.drug), HERE / f"{story.drug}_patient.csv"
    yield f"## {story.drug.capitalize()}\n\n{story.about}\n"
    genes = " ".join(f"--genotype '{gene}={pair}'" for gene, pair in story.genotypes.items())
    yield f"```\ndosewright dose {story.drug} docs/examples/{table.name} {genes} --plot patient.png\n```\n"
    found = {
        hour: advise(read_case(known, table, genotypes=story.genotypes, at=hour)) for hour in story.visits
    }
    yield from _course(found)
    for hour in story.drawn:
        yield from _visit(found[hour], folder)


def _width(advice: Advice, name: str) -> float:
    """Width of a parameter's 90 % interval, as a ratio."""
    row = next(row for row in advice.parameters if row.name == name)
    return math.log(row.high / row.low)


def _course(found: dict[float, Advice]) -> Iterator[str]:
    """The visits in one table."""
    first = next(iter(found.values()))
    unit = first.case.scenario.doses.unit
    # what the levels say most about
    column = min(first.parameters, key=lambda row: _width(_last(found), row.name) / _width(first, row.name))
    yield (
        f"| day | measured | monitoring dose, {unit} | P(in target) | P(harm) | next level, 90 % | "
        f"{column.name}, 90 %, {column.unit} |\n|---|---|---|---|---|---|---|"
    )
    for advice in found.values():
        now = [row for row in advice.levels if row.time == advice.case.now]
        measured = f"{now[0].measured:g}" if now else "–"
        row = advice.parameters[_row(first, column.name)]
        best = advice.monitoring
        yield (
            f"| {advice.timeline.unit} | {measured} | {best.dose:g} | {best.in_target:.0%} | "
            f"{best.harm:.1%} | {_range(best.level)} | {row.median:.3g} ({row.low:.3g} to {row.high:.3g}) |"
        )
    yield ""


def _last(found: dict[float, Advice]) -> Advice:
    return list(found.values())[-1]


def _row(advice: Advice, name: str) -> int:
    return [row.name for row in advice.parameters].index(name)


def _visit(advice: Advice, folder: Path) -> Iterator[str]:
    """One visit: picture, what every regimen would give, and why."""
    drug, day = advice.case.scenario.name, advice.timeline.unit
    picture = folder / "one_patient" / f"{drug}_day_{day}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    patient_figure(advice).savefig(picture, dpi=100)
    yield f"### {drug.capitalize()}, day {day}\n\n![{drug}, day {day}]({picture.relative_to(folder)})\n"
    yield f"Target: {advice.target.label}. Harm: {advice.case.scenario.harm.label}.\n"
    unit = advice.case.scenario.doses.unit
    yield f"| regimen | dose, {unit} | P(in target) | P(harm) | why |\n|---|---|---|---|---|"
    for row in advice.regimens:
        if row.advised.name in _SHOWN and row.prospect is not None:
            chances = f"{row.prospect.in_target:.0%} | {row.prospect.harm:.1%}"
            yield f"| {row.advised.name} | {row.prospect.dose:g} | {chances} | {row.why} |"
    yield "\n" + " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in advice.summary) + "\n"
    weights = [row for row in advice.models if row.weight == row.weight]
    if len(weights) > 1 and advice.levels:
        words = ", ".join(
            f"{row.name} {row.weight:.0%}"
            + (f" (P(in target) {row.prospect.in_target:.0%})" if row.prospect else "")
            for row in weights
        )
        yield f"Models by the records: {words}.\n"


def _range(item: Interval | None) -> str:
    return "–" if item is None else f"{item.low:.3g} to {item.high:.3g}"


_INTRODUCTION = """# One patient by hand

`dosewright dose DRUG TABLE` reads one patient's doses and levels and says what they mean for the next dose.
Both patients here are simulated (`docs/examples/tacrolimus_patient.csv`, `warfarin_patient.csv`) and were
dosed by the clinic's rule; written by `python docs/examples/one_patient.py docs`, every number included.
Simulation, not for clinical use.

What is printed:

- **Posterior**: every parameter's median and 90 % interval, beside those of people with the same covariates
  and genotype. It takes times and doses as they are on record. A gene that is not known is averaged over.
- **Levels** against the prediction for the typical person, for this one, and the residual in SDs of the
  assay.
- **Candidates**: the scenario's grid around the monitoring dose, and what is given of each, rounded to
  tablets or vials; of doses by which the same is given there is one. P(in target) is looked at as far ahead
  as the scenario's monitoring looks, at least until the next visit; P(harm) is that of the scenario's harm in
  any unit until then. The next level has the assay's error in it.
- **Regimens**: what each would give, and why. A rule works on visits, so the table is read as visits; what
  does not fit (a sample at another time than the rule expects, a dose off the grid) is said in a line that
  begins with `rules:`. A rule's dose in force is the one on record. The probabilities
  beside a regimen's dose are by the posterior above, not by the belief that the regimen itself keeps; so the
  monitoring dose above, from times as they are on record, and that of `bayesian`, from visits, may differ by
  a step. With `--target` the probabilities are for that range, while every regimen aims at its own.
- **Models**: where there is a second model of the same levels, the weight of both by the records.

The table is NONMEM's: `ID, TIME, AMT, DV`, and where needed `EVID, II, ADDL, SS, RATE, CMT, DVID, BLQ, LLOQ`;
units in the header (`TIME[h]`, `AMT[mg]`, `DV[ng/mL]`, `DV[1=ng/mL|2=mg/L]` by DVID, covariates too) or the
model's. Covariates are columns, or `--covariate NAME=VALUE`. `--at TIME`, in the table's unit (`--at 96`
hours for day 4 below), decides earlier than at the end of the records, `--target trough=8..12`
for another range, `--next UNITS` for another next visit, `--json FILE` writes every number
(`Advice.record` documents the layout).

Where several outputs are measured, DVID 1 is the one that is dosed by (warfarin 1 INR, 2 plasma level;
docetaxel 1 neutrophils, 2 plasma level; fluorouracil 1 plasma level, 2 leukocytes, 3 metabolite;
mercaptopurine 1 neutrophils, 2 nucleotides; propofol 1 BIS, 2 plasma level).
"""
_ENDING = """## What to keep in mind

- The posterior takes parameters as constant; the adaptive regimens do not, and let earlier levels fade.
- Doses on record count as taken.
- Before the first dose there is no drug level: Bayesian regimens then work from the population, with the
  patient's covariates and genotype.
- P(harm) is that of the scenario's harm, a stand-in for a clinical event.
"""

if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
