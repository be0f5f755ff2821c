"""Who is treated: virtual people from published marginals, or rows of a table of real ones.

Both give `Patients`: covariates, genotypes, and individual parameters. The random effects of real people are
not known, so they are drawn like those of virtual ones.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from dosewright.envs.noise import Noise, Stream
from dosewright.envs.pharmacology import Flag, GenotypeTerm, PopulationModel
from dosewright.pharmacogenomics import (
    AlleleReading,
    Diplotype,
    UnknownAlleleError,
    UnknownGeneError,
    allele_distribution,
    allele_sum,
    draw_diplotypes,
    phenotype,
    represent,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Patients:
    """n people and their individual parameters.

    Attributes
    ----------
    ids : (n,) identifiers; the noise of a person depends on it alone
    covariates : name -> (n,), clinical units, NaN where not recorded
    genotypes : gene -> (n,) canonical diplotypes as text
    labels : name -> (n,) words for subgroups
    theta : (n, p) individual parameters
    substituted : reading -> number of alleles, for alleles the model has no value for
    """

    ids: NDArray[np.int64]
    covariates: Mapping[str, Floats]
    genotypes: Mapping[str, NDArray[np.str_]]
    labels: Mapping[str, NDArray[np.str_]]
    theta: Floats
    substituted: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.ids)


class Population(Protocol):
    """A source of people."""

    def draw(
        self, model: PopulationModel, base: tuple[float, float] | None, ids: NDArray[np.int64], noise: Noise
    ) -> Patients:
        """Return the patients with these identifiers."""
        ...


@dataclass(frozen=True)
class Spread:
    """A normal distribution, clipped to a stated range where the publication is.

    With `log` it is log-normal: `mean` is the geometric mean, `sd` that of the logarithm.
    """

    mean: float
    sd: float
    low: float = -math.inf
    high: float = math.inf
    log: bool = False

    def at(self, z: Floats) -> Floats:
        """Return the values at standard normal deviates `z`."""
        value = self.mean * np.exp(self.sd * z) if self.log else self.mean + self.sd * z
        return np.clip(value, self.low, self.high)


@dataclass(frozen=True)
class Share:
    """A flag that a share of the people have."""

    share: float

    def at(self, z: Floats) -> Floats:
        """Return 1 or 0 at standard normal deviates `z`."""
        return (ndtr(z) < self.share).astype(np.float64)


@dataclass(frozen=True)
class Stratum:
    """One part of a virtual population.

    Attributes
    ----------
    name, share
        Name and share of the population.
    group
        CPIC biogeographic group whose allele frequencies apply.
    race
        The race that dosing equations ask for.
    age, height_male, height_female, weight
        Distributions in years, cm and kg, independent of each other apart from sex and height.
    male
        Share of men.
    """

    name: str
    share: float
    group: str
    race: str
    age: Spread
    male: float
    height_male: Spread
    height_female: Spread
    weight: Spread


# (biogeographic group, share, race): who is treated where a model's source names no ancestry (ASSUMPTION)
DEFAULT_ANCESTRIES = (
    ("European", 0.60, "White"),
    ("African American/Afro-Caribbean", 0.15, "Black"),
    ("East Asian", 0.10, "Asian"),
    ("Latino", 0.10, "Latino"),
    ("Central/South Asian", 0.05, "South Asian"),
)
# the groups of people of whom only the race is known
RACE_GROUPS = {"White": "European", "Black": "African American/Afro-Caribbean", "Asian": "East Asian"}


@dataclass(frozen=True)
class VirtualPopulation:
    """A mixture of strata with published marginals.

    Attributes
    ----------
    strata
        Parts; their shares add up to 1.
    races
        Every race an observation tells apart, as ``race_<name>`` entries.
    groups
        Race -> biogeographic group, for people of whom only the race is known; another race: the strata's
        mixture.
    absent
        Covariates that nobody in this population has (0 for all), such as interacting drugs on enrolment.
    flag, source
        Where the marginals come from.
    extra
        Further covariates with their distributions, alike in all strata.
    derive
        ``derive(covariates) -> covariates``: those that follow from others, such as body surface area;
        None where none do.
    """

    strata: tuple[Stratum, ...]
    races: tuple[str, ...]
    groups: Mapping[str, str]
    absent: tuple[str, ...]
    flag: Flag
    source: str
    extra: tuple[tuple[str, Spread | Share], ...] = ()
    derive: Callable[[dict[str, Floats]], dict[str, Floats]] | None = None

    def draw(
        self, model: PopulationModel, base: tuple[float, float] | None, ids: NDArray[np.int64], noise: Noise
    ) -> Patients:
        """Return the virtual patients with these identifiers: a pure function of `ids` and `noise`."""
        ids = np.asarray(ids, dtype=np.int64)
        shares = np.cumsum([stratum.share for stratum in self.strata])
        mixing = noise.uniforms(ids, Stream.STRATUM)[:, 0]
        which = np.minimum(np.searchsorted(shares, mixing[:, 0], side="right"), len(self.strata) - 1)
        z = noise.normals(ids, Stream.COVARIATES, np.arange(2)).reshape(len(ids), 4)
        male = mixing[:, 1] < np.array([stratum.male for stratum in self.strata])[which]
        covariates = {name: np.zeros(len(ids)) for name in ("age_y", "height_cm", "weight_kg")}
        for i, stratum in enumerate(self.strata):
            rows = which == i
            covariates["age_y"][rows] = stratum.age.at(z[rows, 0])
            height = np.where(male, stratum.height_male.at(z[:, 1]), stratum.height_female.at(z[:, 1]))
            covariates["height_cm"][rows] = height[rows]
            covariates["weight_kg"][rows] = stratum.weight.at(z[rows, 2])
        race = np.array([stratum.race for stratum in self.strata])[which]
        covariates |= {"male": male.astype(float), **_race_columns(race, self.races)}
        covariates |= {name: np.zeros(len(ids)) for name in self.absent}
        if self.extra:
            count = (len(self.extra) + 1) // 2
            more = noise.normals(ids, Stream.COVARIATES, 2 + np.arange(count)).reshape(len(ids), -1)
            covariates |= {name: law.at(more[:, i]) for i, (name, law) in enumerate(self.extra)}
        if self.derive is not None:
            covariates |= self.derive(covariates)
        groups = np.array([stratum.group for stratum in self.strata])[which]
        alleles = noise.uniforms(ids, Stream.GENOTYPE, np.arange(len(model.genotype_terms)))
        genotypes = {
            term.gene: draw_diplotypes(term.gene, groups, alleles[:, i], term.frequencies)
            for i, term in enumerate(model.genotype_terms)
        }
        labels = {"stratum": np.array([stratum.name for stratum in self.strata])[which], "ancestry": groups}
        return enrol(model, base, ids, covariates, genotypes, labels, noise)


def enrol(
    model: PopulationModel,
    base: tuple[float, float] | None,
    ids: NDArray[np.int64],
    covariates: Mapping[str, Floats],
    genotypes: Mapping[str, NDArray[np.str_]],
    labels: Mapping[str, NDArray[np.str_]],
    noise: Noise,
) -> Patients:
    """Draw baseline and random effects of people with known covariates and genotypes."""
    if base is not None:
        baseline = base[0] + base[1] * noise.normals(ids, Stream.BASELINE)[:, 0, 0]
        covariates = {**covariates, "baseline": baseline}
    effects, substituted = genotype_effects(model.genotype_terms, genotypes)
    typical = model.typical(covariates, effects)
    if len(typical) < len(ids):  # a model without covariates
        typical = np.repeat(typical, len(ids), axis=0)
    n_effects = len(model.random_effects)
    z = noise.normals(ids, Stream.RANDOM_EFFECTS, np.arange((n_effects + 1) // 2)).reshape(len(ids), -1)
    # not a matrix product: its last bit would depend on how many people are drawn together
    factor = np.linalg.cholesky(model.omega)
    eta = sum((z[:, [j]] * factor[:, j] for j in range(n_effects)), np.zeros((len(ids), n_effects)))
    known = {name: values for name, values in covariates.items() if name != "baseline"}
    return Patients(ids, known, genotypes, labels, model.individual(typical, eta), substituted)


class CovariateRangeWarning(UserWarning):
    """A covariate lies outside the range of the people that a model was made from."""


def individual_parameters(
    model: PopulationModel,
    covariates: Mapping[str, ArrayLike],
    genotypes: Mapping[str, Sequence[str]] | None = None,
    eta: Floats | None = None,
) -> Floats:
    """Return the parameters (n, p) of people, for `dosewright.envs.pharmacology.simulate`.

    Parameters
    ----------
    model
        The population model.
    covariates
        Name -> scalar or (n,), everything in ``model.covariates``, in its unit.
    genotypes
        Gene -> (n,) diplotypes ("*1/*2"), for every gene of ``model.genotype_terms``.
    eta : (n, r), optional
        Random effects; typical people by default.

    Raises
    ------
    ValueError
        For a covariate that is missing, unknown, not finite, or at a value that breaks the equations, or a
        genotype that is missing or that the model has no value for.

    Warns
    -----
    CovariateRangeWarning
        For a covariate outside the published range.
    """
    known = {item.name: item for item in model.covariates}
    unknown = sorted(set(covariates) - set(known))
    if unknown:
        near = get_close_matches(unknown[0], list(known), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{model.name} does not use covariate {unknown[0]!r}{hint}; it uses: {', '.join(known) or 'none'}"
        )
    for name, item in known.items():
        if name not in covariates:
            raise ValueError(
                f"{model.name} needs covariate {name!r} ({item.unit}); the reference is {item.reference:g}"
            )
        values = np.atleast_1d(np.asarray(covariates[name], dtype=np.float64))
        broken = ~np.isfinite(values) | (values <= item.least)
        if broken.any():
            where = int(np.argmax(broken))
            limit = "" if item.least == -math.inf else f" above {item.least:g}"
            raise ValueError(
                f"person {where}: {name} is {values[where]:g} {item.unit}; {model.name} needs a number{limit}"
            )
        outside = (values < item.low) | (values > item.high)
        if outside.any():
            where = int(np.argmax(outside))
            warnings.warn(
                f"person {where}: {name} = {values[where]:g} {item.unit} lies outside the published range "
                f"{item.low:g} to {item.high:g} of {model.name}: an extrapolation",
                CovariateRangeWarning,
                stacklevel=2,
            )
    given = {} if genotypes is None else dict(genotypes)
    for term in model.genotype_terms:
        if term.gene not in given:
            first = next(iter(term.per_allele))
            raise ValueError(
                f"{model.name} needs the {term.gene} genotype; give a diplotype such as '{first}/{first}'"
            )
    effects, _ = genotype_effects(
        model.genotype_terms, {gene: np.atleast_1d(np.asarray(value)) for gene, value in given.items()}
    )
    typical = model.typical(covariates, effects)
    if eta is None:
        return model.individual(typical, np.zeros((len(typical), len(model.random_effects))))
    return model.individual(np.repeat(typical, len(eta) // len(typical), axis=0), eta)


def genotype_effects(
    terms: Sequence[GenotypeTerm], genotypes: Mapping[str, NDArray[np.str_]]
) -> tuple[dict[str, Floats], dict[str, int]]:
    """Return the effects that `PopulationModel.typical` needs, and how many alleles were read as another.

    Raises
    ------
    ValueError
        For a pair of alleles that the model has no value for.
    """
    effects, substituted = {}, Counter[str]()
    for term in terms:
        modelled = _modelled(term)
        values, counts = allele_sum(genotypes[term.gene], term.gene, modelled, term.by_function)
        effects[term.effect] = _pair_values(term, genotypes[term.gene]) if term.pairs else values
        for reading, number in counts.items():
            if reading is not AlleleReading.MODELLED and number:
                substituted[f"{term.gene}: {reading.value}"] += number
    return effects, dict(substituted)


def genotype_ratio(model: PopulationModel, patients: Patients, gene: str, parameter: str) -> Floats:
    """Return (n,) the typical parameter of each person over that of the reference genotype of one gene, all
    else equal.

    The reference genotype is the first allele of the model's term, twice.

    Raises
    ------
    ValueError
        If the model has no term of the gene.
    """
    terms = {item.gene: item for item in model.genotype_terms}
    if gene not in terms:
        known = ", ".join(terms) or "none"
        raise ValueError(
            f"{model.name} has no term of {gene}, through which a drug interacts; it has: {known}"
        )
    covariates = dict(patients.covariates)
    if model.baseline is not None:
        covariates["baseline"] = patients.theta[:, model.column(model.baseline)]
    first = next(iter(terms[gene].per_allele))
    reference = np.full(len(patients), str(Diplotype(first, first)))
    people = (patients.genotypes, {**patients.genotypes, gene: reference})
    column = model.column(parameter)
    own, other = (
        model.typical(covariates, genotype_effects(model.genotype_terms, genotypes)[0])[:, column]
        for genotypes in people
    )
    return own / other


def _modelled(term: GenotypeTerm) -> dict[str, float]:
    """Return the contribution of every allele the model has a value for."""
    return {**term.per_allele, **{alias: term.per_allele[name] for alias, name in term.same_as.items()}}


def _carried(term: GenotypeTerm, allele: str, diplotypes: NDArray[np.str_]) -> Floats:
    """Return how many alleles (n,), 0 to 2, count as `allele` in the model."""
    indicator = {name: float(name == allele or term.same_as.get(name) == allele) for name in _modelled(term)}
    return allele_sum(diplotypes, term.gene, indicator, term.by_function)[0]


def _pair_values(term: GenotypeTerm, diplotypes: NDArray[np.str_]) -> Floats:
    """Return the value (n,) of each pair of alleles."""
    carried = {allele: _carried(term, allele, diplotypes) for allele in term.per_allele}
    values = np.full(len(diplotypes), np.nan)
    for (a, b), value in term.pairs.items():
        here = (carried[a] == 2) if a == b else (carried[a] == 1) & (carried[b] == 1)
        values[here] = value
    if np.isnan(values).any():
        where = int(np.argmax(np.isnan(values)))
        known = ", ".join(f"{a}/{b}" for a, b in term.pairs)
        raise ValueError(
            f"person {where}: {term.gene} {diplotypes[where]} has no value in the model; it has: {known}"
        )
    return values


def allele_counts(
    terms: Sequence[GenotypeTerm], genotypes: Mapping[str, NDArray[np.str_]]
) -> dict[str, Floats]:
    """Return, by observation entry, how many alleles of each modelled kind but the first a person carries (0
    to 2).

    An allele the model has no value for counts as the one that stands in for it.
    """
    return {
        allele_entry(term.gene, allele): _carried(term, allele, genotypes[term.gene])
        for term in terms
        for allele in list(term.per_allele)[1:]
    }


def expected_counts(terms: Sequence[GenotypeTerm], groups: NDArray[np.str_]) -> dict[str, Floats]:
    """Return, by observation entry, the expected number of alleles in each person's biogeographic group:
    what is known of a genotype that was not tested."""
    counts = {}
    for term in terms:
        table = {str(group): group_frequencies(term, str(group)) for group in np.unique(groups)}
        for i, allele in enumerate(term.per_allele):
            if i:
                counts[allele_entry(term.gene, allele)] = np.array([2 * table[str(g)][i] for g in groups])
    return counts


def group_frequencies(term: GenotypeTerm, group: str) -> Floats:
    """Return the frequencies (a,) of the modelled alleles in a biogeographic group, other alleles read
    by their function."""
    return np.array(_read_group(_Hashable(term), group))


@dataclass(frozen=True)
class _Hashable:
    """A genotype term as a key: terms hold mappings."""

    term: GenotypeTerm

    def __hash__(self) -> int:
        return id(self.term)


@lru_cache
def _read_group(key: _Hashable, group: str) -> tuple[float, ...]:
    term = key.term
    modelled = _modelled(term)
    total = dict.fromkeys(term.per_allele, 0.0)
    for allele, frequency in allele_distribution(term.gene, group, term.frequencies).items():
        if frequency > 0:
            stands_for = represent(term.gene, allele, modelled, term.by_function).stands_for
            total[term.same_as.get(stands_for, stands_for)] += frequency
    return tuple(total.values())


# CPIC's phenotypes on an ordinal scale, as an observation shows them
PHENOTYPE_CODES = (
    (0, "poor"),
    (1, "intermediate"),
    (2, "normal"),
    (3, "rapid"),
    (4, "ultrarapid metabolizer"),
)


def phenotyped(terms: Sequence[GenotypeTerm]) -> tuple[str, ...]:
    """Return the genes of `terms` for which CPIC has phenotypes; of the others the alleles themselves
    are seen."""
    known = []
    for term in terms:
        first = next(iter(term.per_allele))
        try:
            if phenotype(term.gene, f"{first}/{first}") is not None:
                known.append(term.gene)
        except (UnknownGeneError, UnknownAlleleError):
            continue
    return tuple(dict.fromkeys(known))


def phenotype_entry(gene: str) -> str:
    """Name of the observation entry that holds the phenotype of `gene`."""
    return f"{gene.lower()}_phenotype"


def phenotype_codes(gene: str, diplotypes: NDArray[np.str_]) -> Floats:
    """Return (n,) the codes of `PHENOTYPE_CODES`; NaN where CPIC's phenotype is indeterminate."""
    codes = {}
    for text in np.unique(diplotypes).tolist():
        words = (phenotype(gene, text) or "").lower()
        order = ((4, "ultrarapid"), (3, "rapid"), (1, "intermediate"), (0, "poor"), (2, "normal"))
        codes[text] = next((float(code) for code, word in order if word in words), math.nan)
    return np.array([codes[text] for text in diplotypes.tolist()])


def allele_entry(gene: str, allele: str) -> str:
    """Name of the observation entry that counts `allele`."""
    return f"{gene.lower()}_{allele}"


def _race_columns(race: NDArray[np.str_], races: Sequence[str]) -> dict[str, Floats]:
    return {f"race_{name.lower()}": (race == name).astype(float) for name in races}


# ---------------------------------------------------------------------------------------------- real people


@dataclass(frozen=True, eq=False)
class Column:
    """How one column of a table of people is read.

    Attributes
    ----------
    name
        Column of the file.
    becomes
        Covariate, gene or label that it becomes.
    kind
        "number"; "category" (looked up in `values`); "flag" (0 or 1; blank means not taken, as in the dosing
        equations; flags of several columns may become one covariate); "diplotype"; "at_most" (refused above
        `high`, otherwise not used; blank counts as within).
    low, high
        Plausible range of a number; a value outside is refused, not clipped.
    values
        Category -> number, or word for a label.
    required
        A row in which it is blank is refused.
    """

    name: str
    becomes: str
    kind: Literal["number", "category", "flag", "diplotype", "at_most"]
    low: float = -math.inf
    high: float = math.inf
    values: Mapping[str, Any] | None = None
    required: bool = False


@dataclass(frozen=True)
class CohortTable:
    """How a table of real people is read.

    Attributes
    ----------
    columns
        Columns that are used.
    ignored
        Columns that may be there and are not used; any other column is an error.
    race, races
        Column of the race with its categories, and those that an observation tells apart.
    source
        Where the layout is documented.
    """

    columns: tuple[Column, ...]
    ignored: frozenset[str]
    race: Column
    races: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Refusal:
    """A row that cannot be used, its number in the file (1 is the first after the header), and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class RealCohort:
    """Usable rows of a table of real people; `draw` gives them by row number.

    Attributes
    ----------
    path, rows
        File, and number of rows in it.
    usable : (m,) row numbers
    refused
        The others, with the reason.
    """

    path: str
    rows: int
    usable: NDArray[np.int64]
    refused: tuple[Refusal, ...]
    covariates: Mapping[str, Floats]
    genotypes: Mapping[str, NDArray[np.str_]]
    labels: Mapping[str, NDArray[np.str_]]

    @property
    def reasons(self) -> dict[str, int]:
        """Number of refused rows by reason."""
        return dict(Counter(item.reason for item in self.refused).most_common())

    def choose(self, n: int | None, noise: Noise) -> NDArray[np.int64]:
        """Return the row numbers of `n` usable people drawn without replacement by the seed, or of all of
        them.

        Raises
        ------
        ValueError
            If fewer than `n` rows are usable.
        """
        if n is None:
            return self.usable
        if n > len(self.usable):
            most = next(iter(self.reasons.items()), None)
            why = "" if most is None else f"; most often refused: {most[0]} ({most[1]} rows)"
            raise ValueError(
                f"{self.path}: {n} patients wanted, {len(self.usable)} of {self.rows} rows are usable; "
                f"ask for at most {len(self.usable)}{why}"
            )
        order = np.argsort(noise.uniforms(self.usable, Stream.ROWS)[:, 0, 0], kind="stable")
        return np.sort(self.usable[order[:n]])

    def draw(
        self, model: PopulationModel, base: tuple[float, float] | None, ids: NDArray[np.int64], noise: Noise
    ) -> Patients:
        """Return the people of rows `ids`."""
        where = np.searchsorted(self.usable, ids)
        if len(ids) and (where.max() >= len(self.usable) or np.any(self.usable[where] != ids)):
            raise ValueError(
                f"{self.path}: row {sorted(set(ids.tolist()) - set(self.usable.tolist()))[0]} is not usable"
            )
        return enrol(
            model,
            base,
            np.asarray(ids, dtype=np.int64),
            {name: value[where] for name, value in self.covariates.items()},
            {gene: value[where] for gene, value in self.genotypes.items()},
            {name: value[where] for name, value in self.labels.items()},
            noise,
        )


def read_cohort(path: str | Path, table: CohortTable, needs: frozenset[str] = frozenset()) -> RealCohort:
    """Read a CSV of real people.

    Parameters
    ----------
    path
        UTF-8 CSV with a header row; an empty cell is not recorded.
    table
        The layout.
    needs
        Covariates that some arm needs besides what the table requires; a row that lacks one is refused for
        all arms.

    Raises
    ------
    ValueError
        For a file that is empty, an unknown column, or a column that is not there.
    """
    file = Path(path)
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "not found"
        raise ValueError(f"cohort file {file}: {found}; give a CSV file, docs/cohorts.md has its columns")
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            header = reader.fieldnames or []
            _check_header(file, header, table)
            records = list(reader)
    except UnicodeDecodeError as error:
        raise ValueError(f"cohort file {file}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    if not records:
        raise ValueError(f"cohort file {file}: has a header and no rows")
    columns = (*table.columns, table.race)
    parsed, usable, refused = [], [], []
    for number, record in enumerate(records, start=1):
        try:
            if None in record or None in record.values():
                raise _RefusedRow("wrong number of cells")
            parsed.append({column: _cell(column, record[column.name].strip(), needs) for column in columns})
            usable.append(number)
        except _RefusedRow as error:
            refused.append(Refusal(number, str(error)))
    genotypes = {c.becomes: _strings(parsed, c) for c in columns if c.kind == "diplotype"}
    covariates: dict[str, Floats] = {}
    for column in table.columns:
        if column.kind in ("number", "category", "flag"):
            value = np.array([row[column] for row in parsed], dtype=np.float64)
            # flags of several drugs may make one covariate
            covariates[column.becomes] = np.maximum(covariates.get(column.becomes, value), value)
    race = _strings(parsed, table.race)
    return RealCohort(
        path=str(path),
        rows=len(records),
        usable=np.array(usable, dtype=np.int64),
        refused=tuple(refused),
        covariates={**covariates, **_race_columns(race, table.races)},
        genotypes=genotypes,
        labels={"ancestry": race},
    )


class _RefusedRow(Exception):
    """A row that cannot be used; the message is the reason."""


def _strings(parsed: Sequence[Mapping[Column, Any]], column: Column) -> NDArray[np.str_]:
    return np.array([row[column] for row in parsed], dtype=np.str_)


def _check_header(file: Path, header: Sequence[str], table: CohortTable) -> None:
    used = {column.name for column in (*table.columns, table.race)}
    known = used | table.ignored
    for name in header:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"cohort file {file}: unknown column {name!r}{hint} ({table.source})")
    absent = [name for name in sorted(used) if name not in header]
    if absent:
        raise ValueError(f"cohort file {file}: column {absent[0]!r} is missing ({table.source})")


def _cell(column: Column, text: str, needs: frozenset[str]) -> Any:
    """Return one value of a row, or refuse the row."""
    if not text:
        if column.required or column.becomes in needs:
            raise _RefusedRow(f"{column.name} not recorded")
        return {"number": math.nan, "category": math.nan, "flag": 0.0, "at_most": None}[column.kind]
    if column.kind == "diplotype":
        try:
            return str(Diplotype.parse(text))
        except ValueError:
            raise _RefusedRow(f"{column.name} {text!r} cannot be read") from None
    if column.values is not None:
        if text not in column.values:
            raise _RefusedRow(f"{column.name} {text!r} is none of {', '.join(column.values)}")
        return column.values[text]
    try:
        value = float(text)
    except ValueError:
        raise _RefusedRow(f"{column.name} {text!r} is no number") from None
    if column.kind == "at_most" and value > column.high:
        raise _RefusedRow(f"{column.name} above {column.high:g}")
    if column.kind != "at_most" and not column.low <= value <= column.high:
        raise _RefusedRow(f"{column.name} outside {column.low:g} to {column.high:g}")
    return value
