"""Published dosing equations for warfarin: coefficients, what they are multiplied by, and the dose.

VKORC1 is rs9923231 on the coding strand (A is the T of a VCF file). The equations know CYP2C9 *2 and *3 only:
alleles of normal function are counted as *1, and so are *5, *6, *8 and *11, which CPIC's flow chart accounts
for after the equation (`warfarin_dose`). Not for clinical use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.pharmacogenomics.alleles import Diplotype, coding_strand_allele
from dosewright.pharmacogenomics.literature import UnknownDrugError, drug_names
from dosewright.pharmacogenomics.tables import TABLES, Tables

LATER_ALLELES = ("*5", "*6", "*8", "*11")
"""CYP2C9 alleles that the equations leave to the flow chart."""

AMIODARONE = "amiodarone"
ENZYME_INDUCERS = ("carbamazepine", "phenytoin", "rifampicin", "rifampin")
"""Drugs that the equations count as inducers (IWPC 2009); rifampin is the US name of rifampicin."""

# What a person can have, and what a number outside it may be instead: most often another unit
_RANGES = {
    "age_years": (0.0, 110.0, "a year of birth? Give years"),
    "height_cm": (40.0, 250.0, "metres or inches? Give centimetres"),
    "weight_kg": (2.0, 350.0, "pounds or grams? Give kilograms"),
    "target_inr": (1.0, 6.0, "give an INR"),
    "inr": (0.5, 20.0, "a prothrombin time in seconds or per cent? Give an INR"),
    "drugs_increasing_inr": (0.0, 30.0, "give their number"),
}
_MOST_DAILY_MG = 100.0

Race = Literal["White", "Asian", "Black", "mixed or not recorded"]


class MissingCovariateError(ValueError):
    """An equation needs a covariate that was not given, and has no term for its absence."""


class UncountedAlleleError(ValueError):
    """No equation has a term for an allele, and its function is not normal."""


@dataclass(frozen=True)
class WarfarinPatient:
    """What the equations and the flow chart ask for; None: not known, which is never read as absent.

    Attributes
    ----------
    age_years, height_cm, weight_kg : 0 to 110, 40 to 250, 2 to 350; body surface is computed after Du Bois
        (1916)
    race : as the equations group it; `mixed or not recorded` is a group of its own
    male : sex
    cyp2c9, vkorc1 : diplotypes (`"*1/*3"`, `"GA"`). A test that could not have found CYP2C9 *2 and *3 gives
        none: its `*1/*1` says nothing of them
    enzyme_inducer : takes carbamazepine, phenytoin or rifampicin
    amiodarone, fluvastatin : takes it
    smoker, dvt_or_pe, diabetes, stroke : smokes; warfarin for a thrombosis or embolism; has it or had it
    target_inr, inr : dimensionless, 1 to 6 and 0.5 to 20; `inr` is measured on day 4 or 5
    doses_before : mg/day, 2, 3 and 4 days before `inr`, each 0 to 100
    drugs_increasing_inr : their number, 0 to 30
    african_ancestry : for the flow chart; None: as `race` says
    late_alleles_tested : whether the test could have found CYP2C9 *5, *6, *8 and *11
    cyp4f2 : diplotype
    rs12777823_a : number of A alleles of rs12777823, 0 to 2

    Raises
    ------
    ValueError : a number is not one that a person can have; the message says which unit is expected
    """

    age_years: float
    height_cm: float | None = None
    weight_kg: float | None = None
    race: Race | None = None
    male: bool | None = None
    cyp2c9: Diplotype | str | None = None
    vkorc1: Diplotype | str | None = None
    enzyme_inducer: bool | None = None
    amiodarone: bool | None = None
    fluvastatin: bool | None = None
    smoker: bool | None = None
    dvt_or_pe: bool | None = None
    diabetes: bool | None = None
    stroke: bool | None = None
    target_inr: float | None = None
    inr: float | None = None
    doses_before: tuple[float, float, float] | None = None
    drugs_increasing_inr: int | None = None
    african_ancestry: bool | None = None
    late_alleles_tested: bool | None = None
    cyp4f2: Diplotype | str | None = None
    rs12777823_a: int | None = None

    def __post_init__(self) -> None:
        for field, (low, high, hint) in _RANGES.items():
            value = getattr(self, field)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{field} is {value}: {hint}, {low:g} to {high:g}")
        for value in self.doses_before or ():
            if not 0 <= value <= _MOST_DAILY_MG:
                raise ValueError(f"doses_before has {value}; expected 0 to {_MOST_DAILY_MG:g} mg a day")


@dataclass(frozen=True)
class WarfarinEquation:
    """A linear predictor of a transformed dose.

    Attributes
    ----------
    name : how it is called here
    output : what the sum is: `sqrt weekly`, `ln daily` or `ln weekly`, of a dose in mg
    intercept, terms : coefficients as published, term to number
    source : publication
    """

    name: str
    output: Literal["sqrt weekly", "ln daily", "ln weekly"]
    intercept: float
    terms: Mapping[str, float]
    source: str

    def predictor(self, patient: WarfarinPatient, tables: Tables = TABLES) -> float:
        """Value of the sum, on the scale of `output`.

        Raises
        ------
        MissingCovariateError : a term's covariate is None, and the equation has no term for that
        UncountedAlleleError : a CYP2C9 allele that is not of normal function has no term
        ValueError : VKORC1 is not written in G and A, or an INR below 1 has no logarithm to count
        """
        values = {name: self._value(name, patient, tables) for name in self.terms}
        return self.intercept + sum(weight * values[name] for name, weight in self.terms.items())

    def weekly_mg(self, patient: WarfarinPatient, tables: Tables = TABLES) -> float:
        """Dose in mg a week; errors as `predictor`. A sum below 0 of a square root is a dose of 0."""
        predictor = self.predictor(patient, tables)
        if self.output == "sqrt weekly":
            return max(predictor, 0.0) ** 2
        return math.exp(predictor) * (7 if self.output == "ln daily" else 1)

    def _value(self, term: str, patient: WarfarinPatient, tables: Tables) -> float:
        gene = term.split()[0]
        if gene in ("CYP2C9", "VKORC1"):
            given = patient.cyp2c9 if gene == "CYP2C9" else patient.vkorc1
            if given is None:
                if f"{gene} unknown" in self.terms:
                    return float(term.endswith("unknown"))
                raise self._missing(gene.lower())
            return _genotype_value(term, given, tables)
        try:
            return float(_READERS[term](patient))
        except _NotGiven as absent:
            raise self._missing(str(absent)) from None

    def _missing(self, field: str) -> MissingCovariateError:
        return MissingCovariateError(
            f"the {self.name} equation needs {field}, which is None; give it, or take an equation without it"
        )


class _NotGiven(Exception):
    """Carries the name of a field that is None."""


def _given(patient: WarfarinPatient, field: str) -> float:
    value = getattr(patient, field)
    if value is None:
        raise _NotGiven(field)
    return value


def _surface(patient: WarfarinPatient) -> float:
    """Body surface, m²: Du Bois & Du Bois 1916, Arch Intern Med 17:863."""
    return 0.007184 * _given(patient, "height_cm") ** 0.725 * _given(patient, "weight_kg") ** 0.425


def _race(patient: WarfarinPatient, race: Race) -> float:
    if patient.race is None:
        raise _NotGiven("race")
    return float(patient.race == race)


def _dose_before(patient: WarfarinPatient, days: int) -> float:
    if patient.doses_before is None:
        raise _NotGiven("doses_before")
    return patient.doses_before[days - 2]


def _log_inr(patient: WarfarinPatient) -> float:
    inr = _given(patient, "inr")
    if inr < 1:
        raise ValueError(f"inr is {inr}; expected 1 or more")
    return math.log(inr)


_READERS: Mapping[str, Callable[[WarfarinPatient], float]] = MappingProxyType(
    {
        # the last group of the IWPC equations is 90 years and over
        "age in decades": lambda p: min(p.age_years // 10, 9),
        "age in years": lambda p: p.age_years,
        "height in cm": lambda p: _given(p, "height_cm"),
        "weight in kg": lambda p: _given(p, "weight_kg"),
        "body surface in m2": _surface,
        "race Asian": lambda p: _race(p, "Asian"),
        "race Black": lambda p: _race(p, "Black"),
        "race mixed or not recorded": lambda p: _race(p, "mixed or not recorded"),
        "female": lambda p: not _given(p, "male"),
        "enzyme inducer": lambda p: _given(p, "enzyme_inducer"),
        "amiodarone": lambda p: _given(p, "amiodarone"),
        "fluvastatin": lambda p: _given(p, "fluvastatin"),
        "smoker": lambda p: _given(p, "smoker"),
        "thrombosis or embolism": lambda p: _given(p, "dvt_or_pe"),
        "diabetes": lambda p: _given(p, "diabetes"),
        "stroke": lambda p: _given(p, "stroke"),
        "target INR": lambda p: _given(p, "target_inr"),
        "log of INR": _log_inr,
        "drugs increasing INR": lambda p: _given(p, "drugs_increasing_inr"),
        "dose 2 days before": lambda p: _dose_before(p, 2),
        "dose 3 days before": lambda p: _dose_before(p, 3),
        "dose 4 days before": lambda p: _dose_before(p, 4),
    }
)


def counted_cyp2c9(diplotype: Diplotype | str, tables: Tables = TABLES) -> tuple[str, str]:
    """The two alleles as the equations count them: `*1`, `*2` or `*3`, in this order.

    Raises
    ------
    UncountedAlleleError : an allele other than *2, *3, *5, *6, *8 and *11 is not of normal function
    """
    first, second = sorted(_counted(allele, tables) for allele in _pair(diplotype).alleles)
    return first, second


def _counted(allele: str, tables: Tables) -> str:
    if allele in ("*1", "*2", "*3"):
        return allele
    function = tables.clinical_function("CYP2C9", allele)
    if allele in LATER_ALLELES or function == "Normal function":
        return "*1"
    raise UncountedAlleleError(
        f"CYP2C9 {allele} ({function}) has no term in a dosing equation and none in the flow chart; "
        "leave cyp2c9 None to dose without it"
    )


def _genotype_value(term: str, diplotype: Diplotype | str, tables: Tables) -> float:
    """Value of a term such as `CYP2C9 *1/*3`, `CYP2C9 *3 alleles` or `VKORC1 A/G`."""
    gene, what = term.split(maxsplit=1)
    if what == "unknown":
        return 0.0
    alleles = counted_cyp2c9(diplotype, tables) if gene == "CYP2C9" else counted_vkorc1(diplotype)
    if what.endswith(" alleles"):
        return float(alleles.count(what.removesuffix(" alleles")))
    return float("/".join(alleles) == what)


def counted_vkorc1(diplotype: Diplotype | str) -> tuple[str, ...]:
    """The two bases of rs9923231 on the coding strand, `A` before `G`.

    Raises
    ------
    ValueError : an allele is neither G nor A
    """
    alleles = [coding_strand_allele("VKORC1", allele) for allele in _pair(diplotype).alleles]
    for allele in alleles:
        if allele not in ("G", "A"):
            raise ValueError(
                f"VKORC1 {diplotype}: {allele!r} is no base of rs9923231 on the coding strand; "
                "write G for the forward C and A for the forward T"
            )
    return tuple(sorted(alleles))


def _pair(diplotype: Diplotype | str) -> Diplotype:
    return diplotype if isinstance(diplotype, Diplotype) else Diplotype.parse(diplotype)


_IWPC = "IWPC 2009, N Engl J Med 360:753, doi:10.1056/NEJMoa0809329"
_GAGE = "Gage 2008, Clin Pharmacol Ther 84:326, doi:10.1038/clpt.2008.10"

IWPC_PHARMACOGENETIC = WarfarinEquation(
    "IWPC pharmacogenetic",
    "sqrt weekly",
    5.6044,
    MappingProxyType({
        "age in decades": -0.2614, "height in cm": 0.0087, "weight in kg": 0.0128,
        "VKORC1 A/G": -0.8677, "VKORC1 A/A": -1.6974, "VKORC1 unknown": -0.4854,
        "CYP2C9 *1/*2": -0.5211, "CYP2C9 *1/*3": -0.9357, "CYP2C9 *2/*2": -1.0616,
        "CYP2C9 *2/*3": -1.9206, "CYP2C9 *3/*3": -2.3312, "CYP2C9 unknown": -0.2188,
        "race Asian": -0.1092, "race Black": -0.2760, "race mixed or not recorded": -0.1032,
        "enzyme inducer": 1.1816, "amiodarone": -0.5503,
    }),
    _IWPC,
)  # fmt: skip

IWPC_CLINICAL = WarfarinEquation(
    "IWPC clinical",
    "sqrt weekly",
    4.0376,
    MappingProxyType({
        "age in decades": -0.2546, "height in cm": 0.0118, "weight in kg": 0.0134,
        "race Asian": -0.6752, "race Black": 0.4060, "race mixed or not recorded": 0.0443,
        "enzyme inducer": 1.2799, "amiodarone": -0.5695,
    }),
    _IWPC,
)  # fmt: skip

GAGE_PHARMACOGENETIC = WarfarinEquation(
    "Gage pharmacogenetic",
    "ln daily",
    0.9751,
    MappingProxyType({
        "VKORC1 A alleles": -0.3238, "body surface in m2": 0.4317, "CYP2C9 *3 alleles": -0.4008,
        "age in years": -0.00745, "CYP2C9 *2 alleles": -0.2066, "target INR": 0.2029,
        "amiodarone": -0.2538, "smoker": 0.0922, "race Black": -0.0901, "thrombosis or embolism": 0.0664,
    }),
    _GAGE,
)  # fmt: skip

GAGE_CLINICAL = WarfarinEquation(
    "Gage clinical",
    "ln daily",
    0.613,
    MappingProxyType({
        "body surface in m2": 0.425, "age in years": -0.0075, "race Black": 0.156, "target INR": 0.216,
        "amiodarone": -0.257, "smoker": 0.108, "thrombosis or embolism": 0.0784,
    }),
    _GAGE,
)  # fmt: skip

LENZINI_REFINEMENT = WarfarinEquation(
    "Lenzini refinement on day 4 or 5",
    "ln weekly",
    3.10894,
    MappingProxyType({
        "age in years": -0.00767, "log of INR": -0.51611, "VKORC1 A alleles": -0.23032,
        "CYP2C9 *2 alleles": -0.14745, "CYP2C9 *3 alleles": -0.3077, "body surface in m2": 0.24597,
        "target INR": 0.26729, "race Black": -0.09644, "stroke": -0.2059, "diabetes": -0.11216,
        "amiodarone": -0.1035, "fluvastatin": -0.19275, "dose 2 days before": 0.0169,
        "dose 3 days before": 0.02018, "dose 4 days before": 0.01065,
    }),
    "Lenzini 2010, Clin Pharmacol Ther 87:572, doi:10.1038/clpt.2010.13",
)  # fmt: skip

LENZINI_CLINICAL_REFINEMENT = WarfarinEquation(
    "Lenzini clinical refinement on day 4 or 5",
    "ln weekly",
    2.81602,
    MappingProxyType({
        "age in years": -0.0059, "log of INR": -0.76679, "body surface in m2": 0.17675,
        "target INR": 0.27815, "race Black": 0.07123, "stroke": -0.22844, "diabetes": -0.16759,
        "amiodarone": -0.11137, "fluvastatin": -0.25487, "dose 2 days before": 0.03471,
        "dose 3 days before": 0.03047, "dose 4 days before": 0.01929,
    }),
    "Lenzini 2010, Clin Pharmacol Ther 87:572, doi:10.1038/clpt.2010.13; read in a secondary source: PARTIAL",
)  # fmt: skip

WARG = WarfarinEquation(
    "WARG",
    "sqrt weekly",
    9.46832,
    MappingProxyType({
        "VKORC1 A/G": -0.90112, "VKORC1 A/A": -2.01863,
        "CYP2C9 *1/*2": -0.50836, "CYP2C9 *1/*3": -0.97546, "CYP2C9 *2/*2": -1.10204,
        "CYP2C9 *2/*3": -1.74761, "CYP2C9 *3/*3": -3.40061,
        "age in years": -0.03686, "female": -0.27698, "drugs increasing INR": -0.06992,
    }),
    "WARG cohort, Blood (ashpublications view-large 7003162)",
)  # fmt: skip

_EU_PACT = "Pirmohamed 2013, N Engl J Med 369:2294, doi:10.1056/NEJMoa1311386"

EU_PACT_MAINTENANCE = WarfarinEquation(
    "EU-PACT maintenance",
    "sqrt weekly",
    IWPC_PHARMACOGENETIC.intercept,
    MappingProxyType(
        {"age in years": -0.02614}
        | {
            name: weight
            for name, weight in IWPC_PHARMACOGENETIC.terms.items()
            if name != "age in decades" and name != "enzyme inducer"
            and not name.startswith("race") and not name.endswith("unknown")
        }
    ),
    f"{_EU_PACT}: the IWPC equation with age in years, without race and inducers",
)  # fmt: skip

EU_PACT_RATES: Mapping[str, float] = MappingProxyType({
    "*1/*1": 0.0189, "*1/*2": 0.0158, "*1/*3": 0.0132, "*2/*2": 0.013, "*2/*3": 0.009, "*3/*3": 0.0075,
})  # fmt: skip
"""CYP2C9 diplotype to rate of S-warfarin elimination, 1/h (Pirmohamed 2013)."""


class WarfarinInteractions(NamedTuple):
    """Other drugs of a person, as the equations see them.

    Attributes
    ----------
    amiodarone, enzyme_inducer : whether one of them is that, for the fields of `WarfarinPatient`
    others : those that no term of the dosing equations adjusts for, in lower case
    """

    amiodarone: bool
    enzyme_inducer: bool
    others: tuple[str, ...]


def warfarin_interactions(drugs: Sequence[str] | str) -> WarfarinInteractions:
    """Sort a person's other drugs into what the equations adjust for and what they do not.

    Parameters
    ----------
    drugs : generic names, any case; a text is one name. Warfarin itself is left out

    Raises
    ------
    UnknownDrugError : a name is nearly that of amiodarone or an inducer, so that it may be misspelt

    Source
    ------
    IWPC 2009, N Engl J Med 360:753: amiodarone; carbamazepine, phenytoin and rifampicin.
    """
    counted = (AMIODARONE, *ENZYME_INDUCERS)
    names = drug_names(drugs)
    others = tuple(name for name in names if name not in (*counted, "warfarin"))
    for name in others:
        # fosphenytoin and oxcarbazepine, which are other drugs, are less alike than 0.9
        near = get_close_matches(name, counted, n=1, cutoff=0.9)
        if near:
            raise UnknownDrugError(f"drug {name!r} is not known; did you mean {near[0]}?")
    return WarfarinInteractions(AMIODARONE in names, any(name in ENZYME_INDUCERS for name in names), others)


def steady_state_days(diplotype: Diplotype | str) -> float | None:
    """Days until S-warfarin has reached 95 % of its steady state, ln 20 over the rate of elimination.

    None for a diplotype with another allele than *1, *2 and *3, of which no rate is published.

    Source
    ------
    Rates: Pirmohamed 2013, N Engl J Med 369:2294 (EU-PACT).
    """
    rate = EU_PACT_RATES.get("/".join(sorted(_pair(diplotype).alleles)))
    return None if rate is None else math.log(20) / (24 * rate)


def eu_pact_loading(patient: WarfarinPatient, tables: Tables = TABLES) -> tuple[float, float, float]:
    """Loading doses of days 1, 2 and 3, mg, by `loading_doses` from the daily dose of `EU_PACT_MAINTENANCE`;
    for people without African ancestry CPIC calls them optional.

    Raises
    ------
    MissingCovariateError, UncountedAlleleError, ValueError : as `WarfarinEquation.predictor`

    Source
    ------
    Pirmohamed 2013, N Engl J Med 369:2294.
    """
    daily = EU_PACT_MAINTENANCE.weekly_mg(patient, tables) / 7
    if patient.cyp2c9 is None:
        raise MissingCovariateError("the EU-PACT loading dose needs cyp2c9, which is None; give it")
    rate = EU_PACT_RATES["/".join(counted_cyp2c9(patient.cyp2c9, tables))]
    first, second, third = loading_doses(daily, rate)
    return float(first), float(second), float(third)


def loading_doses(
    daily_mg: ArrayLike, rate_per_h: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Doses of days 1, 2 and 3, mg, that bring a slow drug to the level of its daily dose in three days.

    With D the daily dose, k the elimination rate over 24 h and L = D/(1 - exp(-3k)), of which three bring the
    trough of steady state: D + 1.5 (L - D), D + (L - D), D + 0.5 (L - D).

    Parameters
    ----------
    daily_mg : (n,) maintenance dose, mg a day
    rate_per_h : (n,) elimination rate, 1/h, above 0; `EU_PACT_RATES` has those of S-warfarin

    Source
    ------
    Pirmohamed 2013, N Engl J Med 369:2294.
    """
    daily = np.asarray(daily_mg, dtype=np.float64)
    extra = daily / -np.expm1(-3 * 24 * np.asarray(rate_per_h, dtype=np.float64)) - daily
    return daily + 1.5 * extra, daily + extra, daily + 0.5 * extra
