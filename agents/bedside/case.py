"""One patient as a scenario understands the records: units, covariates and genotype settled, time from the
first dose, nothing after the moment of the decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.estimation.courses import routes_by_compartment
from dosewright.agents.estimation.readings import line_of, refuse
from dosewright.envs import PatientRecords, Scenario, converted, read_nonmem
from dosewright.envs.genotypes import allele_counts, allele_entry, genotype_effects
from dosewright.envs.pharmacology import PopulationModel
from dosewright.envs.pharmacology.units import factor
from dosewright.envs.records import instead

Floats = NDArray[np.float64]

LATE = 0.25
"""Share of a unit by which a decision may come late and still be the one at the unit's start."""
_MOMENT = 1e-6  # share of a unit
ABSURD = 10.0
"""Times the most that an assay shows: above it no result is believed to be in the unit it says."""


@dataclass(frozen=True, eq=False)
class Case:
    """One patient at the moment of a decision.

    Attributes
    ----------
    scenario
        The decision problem.
    records
        All that was given before `now` and measured up to it, in the model's units; time 0 is the first dose.
        Where there is neither, the first dose to come stands here, at `now` or later.
    genotypes : gene -> diplotype, of the model's genes that are known
    now
        Model time of the decision.
    first
        Time of the first dose in the table's own clock, in the model's unit.
    notes
        What was read otherwise than it stands, in sentences.
    """

    scenario: Scenario
    records: PatientRecords
    genotypes: Mapping[str, str]
    now: float
    first: float
    notes: tuple[str, ...] = ()

    @property
    def unknown_genes(self) -> tuple[str, ...]:
        """Genes of the model whose diplotype is not known."""
        return tuple(
            dict.fromkeys(t.gene for t in self.scenario.model.genotype_terms if t.gene not in self.genotypes)
        )

    @cached_property
    def given(self) -> list[tuple[float, float, float, str]]:
        """Doses before now: time, amount, duration and route, in order of time."""
        found: list[tuple[float, float, float, str]] = []
        records, model = self.records, self.scenario.model
        for i in np.flatnonzero(records.dose & (records.time < self.now)):
            amount, rate = float(records.amount[i]), float(records.rate[i])
            route = _route(model, int(records.compartment[i]))
            for number in range(int(records.additional[i]) + 1):
                time = float(records.time[i]) + number * float(records.interval[i])
                found.append((time, amount, amount / rate if rate > 0 else 0.0, route))
        return sorted(found)

    def people(self, time: float) -> dict[str, Floats]:
        """Return what is known of the patient at a time, covariate -> (1,): covariates, what is the same for
        everybody, and allele counts; NaN where not known."""
        scenario = self.scenario
        row = max(int(np.sum(self.records.time <= time)) - 1, 0)
        same = {**dict.fromkeys(scenario.population.absent, 0.0), **scenario.constants}
        found = {name: np.full(1, value) for name, value in same.items()}
        found |= {entry.name: np.full(1, np.nan) for entry in scenario.covariates}
        found |= {name: values[[row]] for name, values in self.records.covariates.items()}
        terms = [term for term in scenario.model.genotype_terms if term.gene in self.genotypes]
        return found | allele_counts(terms, {g: np.array([pair]) for g, pair in self.genotypes.items()})

    @property
    def no_replay(self) -> str:
        """Why visits cannot be rebuilt from the records; empty where they can."""
        records = self.records
        if np.any(records.steady > 0):
            return "the records begin a dose at steady state (SS), so its first visits are not known"
        if np.any(np.isin(records.evid[1:], (3, 4))):
            return "the records are reset on the way (EVID 3 or 4)"
        return ""


def outputs_by_number(scenario: Scenario) -> dict[int, str]:
    """Return DVID -> output: what the scenario measures first, from 1; 0 is a record without DVID."""
    model = scenario.model
    names = dict.fromkeys(item.output for item in scenario.measurements)
    names |= dict.fromkeys(
        item.name
        for item in model.outputs
        if item.error.log_sd or item.error.proportional or item.error.additive
    )
    return {0: next(iter(names)), **dict(enumerate(names, start=1))}


def read_case(
    scenario: Scenario,
    path: str | Path,
    *,
    genotypes: Mapping[str, str] | None = None,
    covariates: Mapping[str, float] | None = None,
    at: float | None = None,
    patient: str | None = None,
) -> Case:
    """Read a patient's table.

    Parameters
    ----------
    scenario
        The decision problem.
    path
        As `read_nonmem` reads it. Times, amounts and levels without a unit in the header are in the model's;
        DVID as in `outputs_by_number`; a measurement's compartment is not looked at.
    genotypes
        Gene -> diplotype.
    covariates
        Covariate -> value, which wins over a column; both by the names that the scenario shows, in any case.
    at
        Time of the decision, in the table's unit and clock: doses at that time are not yet given. By default
        the last record, where a dose is one that was given.
    patient
        ID, where the table has several patients.

    Raises
    ------
    ValueError
        For a patient that is not there; an unknown gene, allele or covariate; a covariate that is missing or
        out of range; a unit that cannot be converted; a clock that begins anew; a dose into a compartment
        without a route; a level far beyond what the assay shows; a decision before the first record.
    """
    if at is not None and not math.isfinite(at):
        raise ValueError(f"--at {at:g}: expected a time in the table's unit and clock")
    found = _one(read_nonmem(path), path, patient)
    genes = _known_genes(scenario, genotypes or {})
    model, clock = scenario.model, scenario.clock
    outputs, kinds = outputs_by_number(scenario), {int(k) for k in found.dvid[found.observation]}
    bare = [f"TIME in {model.time_unit}"] if "TIME" not in found.units else []
    if "AMT" not in found.units and found.dose.any():
        bare.append(f"AMT in {model.amount_unit}")
    if kinds and not any(name.startswith("DV") for name in found.units):
        bare.append("DV in the model's unit")
    notes = [f"no unit in the header, read as the model's: {', '.join(bare)}"] if bare else []
    if 0 in kinds and len(outputs) > 2:
        notes.append(f"measurements without DVID are read as {outputs[0]}")
    scale = factor(found.units.get("TIME", model.time_unit), model.time_unit)
    (records,) = converted(
        [found],
        time=model.time_unit,
        amount=model.amount_unit,
        dv={k: model.outputs[model.output(outputs[k])].unit for k in kinds if k in outputs},
    )
    _check_times_and_doses(scenario, records)
    notes += _beyond(scenario, records, outputs)
    records, more = _with_covariates(scenario, records, covariates or {})
    notes += more
    first = float(records.time[records.dose].min(initial=math.inf))
    wanted = None if at is None else at * scale
    if wanted is not None and wanted < records.time[0]:
        raise ValueError(
            f"--at {at:g}: no records before it; the first of patient {records.id!r} is at "
            f"{records.time[0] / scale:g} {found.units.get('TIME', model.time_unit)}"
        )
    if not math.isfinite(first):
        first = float(records.time[-1]) if wanted is None else wanted
    if first != 0:
        notes.append(
            f"{clock.entry} 0 is the first dose, TIME = {first / scale:g} in the table"
            if records.dose.any()
            else f"{clock.entry} 0 is TIME = {first / scale:g} in the table: no dose was given yet"
        )
    measured = np.where(records.observation, 0, records.compartment)
    records = replace(records, time=records.time - first, compartment=measured)
    now = _end(scenario, records) if wanted is None else wanted - first
    return Case(scenario, _until(records, now), genes, now, first, tuple(notes))


def _one(patients: Sequence[PatientRecords], path: str | Path, wanted: str | None) -> PatientRecords:
    """Return the one patient that is meant."""
    ids = [item.id for item in patients]
    if wanted is None and len(ids) == 1:
        return patients[0]
    some = ", ".join(ids[:5]) + ("" if len(ids) <= 5 else f" and {len(ids) - 5} more")
    if wanted is None:
        raise ValueError(f"{path} has {len(ids)} patients; choose one with --id: {some}")
    if wanted not in ids:
        raise ValueError(f"{path} has no patient {wanted!r} (--id); it has {some}")
    return patients[ids.index(wanted)]


def _check_times_and_doses(scenario: Scenario, records: PatientRecords) -> None:
    """Refuse a clock that begins anew, and doses where the model takes none."""
    back = np.diff(records.time) < 0
    if back.any():
        i = int(np.argmax(back)) + 1
        refuse(
            records,
            i,
            f"TIME = {records.time[i]:g} after {records.time[i - 1]:g}; a course is dosed on one clock, so "
            "let times run on across a reset",
        )
    model, routes = scenario.model, routes_by_compartment(scenario.model)
    for i in np.flatnonzero(records.dose).tolist():
        number = int(records.compartment[i])
        if number and not routes.get(number):
            known = ", ".join(
                f"{model.states.index(route.state) + 1} ({route.name})" for route in model.routes
            )
            refuse(
                records,
                i,
                f"CMT = {number} of a dose, into which no route of {model.name} leads; give {known}, or "
                "leave CMT out for the first",
            )


def _beyond(scenario: Scenario, records: PatientRecords, outputs: Mapping[int, str]) -> list[str]:
    """Refuse levels far beyond what an assay shows, as a wrong unit makes them; return those beyond it."""
    shown = {item.output: item for item in scenario.measurements}
    notes = []
    for i in np.flatnonzero(records.observation & ~records.mdv & np.isnan(records.limit)).tolist():
        item, level = shown.get(outputs.get(int(records.dvid[i]), "")), float(records.dv[i])
        if item is None or level <= item.high:
            continue
        measured = f"DV = {level:g} {item.unit}"
        if level > ABSURD * item.high:
            refuse(
                records,
                i,
                f"{measured} of {item.output}, where {item.high:g} is the most that is ever shown; is it "
                "another unit? Give it in the header, as in DV[ng/mL]",
            )
        most = f"{item.high:g}, the most that the scenario's assay shows"
        notes.append(f"{line_of(records, i)}: {measured} is above {most}")
    return notes


def _known_genes(scenario: Scenario, genotypes: Mapping[str, str]) -> dict[str, str]:
    """Return the genotypes, checked against the model's terms."""
    terms = scenario.model.genotype_terms
    genes = list(dict.fromkeys(term.gene for term in terms))
    for gene in genotypes:
        if gene not in genes:
            raise ValueError(
                f"the model of {scenario.name} has no term for {gene}; it has: {', '.join(genes) or 'none'}"
            )
    for term in terms:
        if term.gene in genotypes:
            genotype_effects([term], {term.gene: np.array([genotypes[term.gene]])})
    return {gene: genotypes[gene] for gene in genes if gene in genotypes}


def _with_covariates(
    scenario: Scenario, records: PatientRecords, given: Mapping[str, float]
) -> tuple[PatientRecords, list[str]]:
    """Return the records with covariates by the scenario's names and nothing else, and what to say of it."""
    entries = _entries(scenario)
    others = () if scenario.alternative is None else scenario.alternative.covariates
    # covariate -> unit
    names = {item.name: item.unit for item in (*others, *scenario.model.covariates)} | entries
    names.pop("baseline", None)
    by_lower = {name.lower(): name for name in names}
    for name in given:
        if name.lower() not in by_lower:
            raise ValueError(f"--covariate {name}: unknown to {scenario.name}; {instead(name, names)}")
    options = {by_lower[name.lower()]: value for name, value in given.items()}
    columns = {
        by_lower.get(name.lower(), name): records.covariate(name, names.get(by_lower.get(name.lower(), "")))
        for name in records.covariates
    }
    same = {**dict.fromkeys(scenario.population.absent, 0.0), **scenario.constants}
    found: dict[str, Floats] = {}
    for name in names:
        if name in options:
            found[name] = np.full(len(records), options[name])
        elif name in columns:
            found[name] = columns[name]
        elif name in same:
            found[name] = np.full(len(records), same[name])
        elif name.startswith("race_"):  # none of the flags set: race is mixed or not recorded
            found[name] = np.zeros(len(records))
    notes = _checked(scenario, found, records, options)
    unused = [name for name in columns if name not in names]
    if unused:
        notes.append(f"columns that {scenario.name} does not use: {', '.join(unused)}")
    units = {k: unit for k, unit in records.units.items() if k not in records.covariates}
    return replace(records, covariates=found, units=units), notes


def _entries(scenario: Scenario) -> dict[str, str]:
    """Observation entries that are covariates, not alleles -> unit."""
    alleles = {
        allele_entry(term.gene, allele)
        for term in scenario.model.genotype_terms
        for allele in term.per_allele
    }
    return {entry.name: entry.unit for entry in scenario.covariates if entry.name not in alleles}


def _checked(
    scenario: Scenario, found: Mapping[str, Floats], records: PatientRecords, options: Mapping[str, float]
) -> list[str]:
    """Refuse covariates that are missing or impossible, whether in a column or among the options; return
    which ones are an extrapolation."""
    entries = _entries(scenario)
    needed = {c.name: c.unit for c in scenario.model.covariates if c.name != "baseline"}
    needed |= {e.name: e.unit for e in scenario.covariates if e.neutral is None and e.name in entries}
    missing = [
        name if unit == "1" else f"{name} ({unit})" for name, unit in needed.items() if name not in found
    ]
    if missing:
        raise ValueError(
            f"patient {records.id!r}: no covariate {', '.join(missing)}; give a column of that name or "
            "--covariate NAME=VALUE"
        )
    for entry in scenario.covariates:
        values = found.get(entry.name, np.zeros(0))
        flag = entry.unit == "1" and (entry.low, entry.high) == (0, 1)
        bad = (values < entry.low) | (values > entry.high)
        if flag:
            bad |= (values != 0) & (values != 1)
        empty = np.isnan(values) & (entry.neutral is None)
        if bad.any() or empty.any():
            i = int(np.argmax(bad | empty))
            unit = "" if entry.unit == "1" else f" {entry.unit}"
            allowed = "0 or 1" if flag else f"{entry.low:g} to {entry.high:g}{unit}"
            place = f"patient {records.id!r}, line {records.line[i]}"
            where = f"--covariate {entry.name}" if entry.name in options else f"{place}: {entry.name}"
            raise ValueError(f"{where} = {'missing' if empty[i] else f'{values[i]:g}'}; allowed {allowed}")
    notes = []
    for item in scenario.model.covariates:
        values = found.get(item.name, np.zeros(0))
        outside = (values < item.low) | (values > item.high)
        if outside.any():
            notes.append(
                f"{item.name} = {values[outside][0]:g} is outside the people that the model was made from "
                f"({item.low:g} to {item.high:g}): an extrapolation"
            )
    return notes


def _end(scenario: Scenario, records: PatientRecords) -> float:
    """Return the last record's time, or a moment after the last dose: one on record is given."""
    last = (records.time + records.additional * records.interval)[records.dose].max(initial=-math.inf)
    return max(float(records.time[-1]), float(last) + _MOMENT * scenario.clock.length)


def _until(records: PatientRecords, now: float) -> PatientRecords:
    """Return the records of doses before a time, and all others up to it; the first dose where nothing else
    is left."""
    close = 1e-9 * max(abs(now), 1.0)
    before = records.time < now - close
    repeats = records.additional > 0
    fits = np.ceil((now - close - records.time) / np.where(repeats, records.interval, 1.0)) - 1
    additional = np.where(repeats, np.minimum(records.additional, np.maximum(fits, 0)), 0).astype(np.int64)
    keep = np.where(records.dose, before, records.time <= now + close)
    fitted = records.observation & ~records.mdv
    if not (keep & (records.dose | fitted)).any():
        keep = keep | (np.arange(len(records)) == np.argmax(records.dose))
        additional = np.zeros_like(additional)
    per_record = (
        "line", "time", "evid", "amount", "rate", "compartment", "steady", "dv", "mdv", "dvid", "limit",
    )  # fmt: skip
    still = (additional > 0) | (records.steady > 0)
    return replace(
        records,
        additional=additional[keep],
        interval=np.where(still, records.interval, 0.0)[keep],
        covariates={name: values[keep] for name, values in records.covariates.items()},
        **{name: getattr(records, name)[keep] for name in per_record},
    )


def _route(model: PopulationModel, compartment: int) -> str:
    """Return the route of a dose's compartment, as `Courses` reads it: the first where none is given."""
    return model.routes[routes_by_compartment(model)[compartment][0] if compartment else 0].name
