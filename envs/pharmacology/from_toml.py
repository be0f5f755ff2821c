"""A linear compartment model read from a TOML file: bring a model without writing Python.

One to three compartments with first-order elimination, with or without a depot, by clearances and volumes: in
NONMEM's terms ADVAN1 and 2 with TRANS2, ADVAN3, 4, 11 and 12 with TRANS4. Compartment 1 is always the central
one, whether or not there is a depot::

    dA0 = −ka·A0                                                depot
    dA1 =  ka·A0 − (CL + Q2 + Q3)/V1·A1 + Q2/V2·A2 + Q3/V3·A3   C = A1/V1
    dA2 =  Q2/V1·A1 − Q2/V2·A2                                  A3 likewise
    dAUC = C

What enters is the dose times F times the scale of the concentration (ng/mL from mg and L: 1000), so amounts
are in the unit of concentration times that of volume. The kernels hold no number of any file, so all files
share them. `docs/own_model.md` explains the file key by key.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal, NoReturn, get_args

import numpy as np
from numpy.typing import ArrayLike

from dosewright.envs.pharmacology import models
from dosewright.envs.pharmacology.model import (
    Covariate,
    Flag,
    Floats,
    GenotypeTerm,
    Output,
    Parameter,
    PopulationModel,
    ResidualError,
    Route,
    columns,
    empty,
    variance_of_cv,
)
from dosewright.envs.pharmacology.solvers import Linear
from dosewright.envs.pharmacology.units import factor
from dosewright.pharmacogenomics import (
    TABLES,
    coding_strand_allele,
)

_Kind = Literal["power", "exponential", "linear", "factor"]

_TIMES = ("min", "h", "day")
_KINETICS = ("CL", "V1", "Q2", "V2", "Q3", "V3")  # the first two of each compartment
_MOST_CV = 5.0  # above it a coefficient of variation is surely a percentage
_SUM_TOLERANCE = 1e-3  # of allele frequencies
_ALIKE = 0.55  # from here on two names look alike


def read_model(path: str | Path) -> PopulationModel:
    """Read a model of one to three linear compartments from a TOML file.

    Parameters
    ----------
    path
        UTF-8 file with the keys of `docs/own_model.md`.

    Returns
    -------
    PopulationModel
        Parameters in the order CL, V1, Q2, V2, Q3, V3, ka, tlag, F, as far as the file has them, in its
        units. Outputs ``C`` and, from time 0, ``AUC``. Routes: with a depot ``depot`` (the usual one, with F
        and lag) and ``central`` (without); else ``central`` (with F and lag).

    Raises
    ------
    ValueError
        For anything that is wrong or missing, named by file, table, key and value, with the remedy. Nothing
        is guessed; which keys may be left out, and what that means, stands in `docs/own_model.md`.

    Notes
    -----
    ``model.typical`` raises ValueError for a covariate that is missing, not finite, or outside what its
    effects allow, and for a parameter that would not be above 0.
    """
    file = Path(path)
    top = _Table(str(file), _load(file), _TOP)
    name = _name(top)
    compartments = top.whole("compartments", 1, 3)
    depot = top.truth("depot")
    parameters, values = _parameters(top, compartments, depot)
    names = [item.name for item in parameters]
    covariates, effects = _covariates(top, names)
    terms = tuple(_genotypes(top, names))
    concentration, error = _output(top, parameters)
    time = top.text("time_unit")
    central = Route("central", "A1", _scale(top), None)
    first = Route(
        "depot" if depot else "central",
        "A0" if depot else "A1",
        (_scale(top), "F") if "F" in names else _scale(top),
        "tlag" if "tlag" in names else None,
    )
    states = (*(("A0",) if depot else ()), *(f"A{i + 1}" for i in range(compartments)), "AUC")
    above, slash, below = concentration.partition("/")
    model = PopulationModel(
        name=name,
        title=top.text("title"),
        sources=(top.text("source"),),
        time_unit=time,
        amount_unit=top.text("amount_unit"),
        parameters=parameters,
        states=states,
        initial=empty(len(states)),
        routes=(first, central) if depot else (first,),
        outputs=(Output("C", concentration, error), Output("AUC", f"{above}·{time}{slash}{below}")),
        typical=_typical(name, parameters, values, covariates, effects, terms),
        solver=Linear(_rates_depot if depot else _rates),
        observe=_observe_depot if depot else _observe,
        covariates=covariates,
        genotype_terms=tuple(term for term, _ in terms),
        covariances=_covariances(top, parameters),
    )
    if len(model.omega) and np.linalg.eigvalsh(model.omega)[0] <= 0:
        top.child("covariances").fail(
            f"omega = {model.omega.tolist()} is not positive definite; correct the covariances"
        )
    return model


# --------------------------------------------------------------------------------------------------- kernels


def _rates(t, theta, matrix):
    n = matrix.shape[0] - 1
    out = theta[0]
    for k in range(1, n):
        q, v = theta[2 * k], theta[2 * k + 1]
        out += q
        matrix[k, 0], matrix[0, k], matrix[k, k] = q / theta[1], q / v, -q / v
    matrix[0, 0] = -out / theta[1]
    matrix[n, 0] = 1.0 / theta[1]


def _rates_depot(t, theta, matrix):
    n = matrix.shape[0] - 2
    ka, out = theta[2 * n], theta[0]
    for k in range(1, n):
        q, v = theta[2 * k], theta[2 * k + 1]
        out += q
        matrix[k + 1, 1], matrix[1, k + 1], matrix[k + 1, k + 1] = q / theta[1], q / v, -q / v
    matrix[0, 0], matrix[1, 0] = -ka, ka
    matrix[1, 1] = -out / theta[1]
    matrix[n + 1, 1] = 1.0 / theta[1]


def _observe(t, state, theta, output):
    return state[0] / theta[1] if output == 0 else state[state.shape[0] - 1]


def _observe_depot(t, state, theta, output):
    return state[1] / theta[1] if output == 0 else state[state.shape[0] - 1]


# ------------------------------------------------------------------------------------------ a table of a file

_TOP = (
    "name", "title", "source", "flag", "time_unit", "amount_unit", "compartments", "depot", "concentration",
    "parameters", "covariates", "effects", "genotypes", "covariances", "residual",
)  # fmt: skip
_CONCENTRATION = ("unit", "scale")
_PARAMETER = ("typical", "unit", "cv", "omega2", "effect", "occasion_cv", "flag")
_COVARIATE = ("name", "unit", "reference", "low", "high", "flag")
_EFFECT = ("parameter", "covariate", "kind", "reference", "coefficient")
_GENOTYPE = ("gene", "parameter", "pairs", "alleles", "by_function", "frequencies", "flag", "source")
_RESIDUAL = ("proportional", "additive", "log_sd", "flag", "source")


class _Table:
    """A table of the file: reads its keys, and knows where it stands when one is wrong.

    `known` are the keys it may have; None where the keys are names that the file chooses.
    """

    def __init__(self, file: str, content: Any, known: Sequence[str] | None = None, name: str = "") -> None:
        self.file, self.name = file, name
        if not isinstance(content, dict):
            self.fail(f"is {content!r}; expected a table with {', '.join(known or ('names',))}")
        self.content: Mapping[str, Any] = content
        for key in self.content:
            if known is not None and key not in known:
                self.fail(f"unknown key {key!r}; {_instead(key, known)}")

    def fail(self, message: str) -> NoReturn:
        """Raise an error that begins with file and table."""
        raise ValueError(f"{self.file}{', ' if self.name else ''}{self.name}: {message}")

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def get(self, key: str, hint: str = "add it") -> Any:
        """Return a value that must be there."""
        if key not in self.content:
            self.fail(f"{key} is missing; {hint}")
        return self.content[key]

    def text(self, key: str, allowed: Sequence[str] = ()) -> str:
        """Return words, one of `allowed` if any are named."""
        value = self.get(
            key, f"expected one of {', '.join(allowed)}" if allowed else "expected words in quotes"
        )
        if not isinstance(value, str) or not value.strip():
            self.fail(f"{key} = {value!r}; expected words in quotes")
        if allowed and value not in allowed:
            self.fail(f"{key} = {value!r}; {_instead(value, allowed)}")
        return value

    def number(self, key: str, above: float = -math.inf, hint: str = "") -> float:
        """Return a finite number greater than `above`."""
        value = self.get(key, "expected a number")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.fail(f"{key} = {value!r}; expected a number")
        if not value > above:
            self.fail(f"{key} = {value!r}; expected above {above:g}{hint}")
        return float(value)

    def whole(self, key: str, least: int, most: int) -> int:
        """Return a whole number in a range."""
        value = self.get(key, f"expected {least} to {most}")
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.fail(f"{key} = {value!r}; expected {least} to {most}")
        return value

    def truth(self, key: str) -> bool:
        """Return true or false."""
        value = self.get(key, "expected true or false")
        if not isinstance(value, bool):
            self.fail(f"{key} = {value!r}; expected true or false")
        return value

    def child(self, key: str, known: Sequence[str] | None = None) -> _Table:
        """Return a table inside this one; an absent one is empty."""
        name = f"{self.name[:-1]}.{key}]" if self.name.endswith("]") else f"{self.name}, {key}"
        return _Table(self.file, self.content.get(key, {}), known, name if self.name else f"[{key}]")

    def tables(self, key: str, known: Sequence[str]) -> list[_Table]:
        """Return the tables of a list; an absent one is empty."""
        value = self.content.get(key, [])
        if not isinstance(value, list):
            self.fail(f"{key} is {value!r}; expected a list of tables, each under [[{key}]]")
        return [_Table(self.file, item, known, f"[[{key}]] {i}") for i, item in enumerate(value, start=1)]


def _instead(got: str, known: Sequence[str]) -> str:
    """Say what could have been meant."""
    alike = {name: SequenceMatcher(None, got.lower(), name.lower()).ratio() for name in known}
    near = max(known, key=lambda name: alike[name], default="")  # the first of equals: V is V1
    meant = f"did you mean {near!r}? " if alike.get(near, 0.0) >= _ALIKE else ""
    return f"{meant}known: {', '.join(known) or 'none'}"


def _load(file: Path) -> dict[str, Any]:
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "not found"
        raise ValueError(f"model file {file}: {found}; give a TOML file, docs/own_model.md has its keys")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"model file {file}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(
            f"{file}: no valid TOML: {error}; text stands in quotes, tables in brackets"
        ) from None


def _name(top: _Table) -> str:
    name = top.text("name")
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        top.fail(
            f"name = {name!r}; expected small letters, digits and _, a letter first, such as 'my_drug_2024'"
        )
    if name in {module.name for module in iter_modules(models.__path__)}:
        top.fail(f"name = {name!r} is a published model of this package; choose another, such as 'my_{name}'")
    return name


def _flag(top: _Table, table: _Table) -> Flag:
    """Return a table's flag; one without has the file's."""
    allowed = get_args(Flag)
    whole: Any = top.text("flag", allowed)
    own: Any = table.text("flag", allowed) if "flag" in table else whole
    return own


# ------------------------------------------------------------------------------------------------ parameters


def _parameters(top: _Table, compartments: int, depot: bool) -> tuple[tuple[Parameter, ...], Floats]:
    """Return the columns of theta and their typical values (p,)."""
    tables, needed = top.child("parameters"), _KINETICS[: 2 * compartments]
    needed = (*needed, "ka") if depot else needed
    structure = f"compartments = {compartments} and depot = {str(depot).lower()}"
    for name in tables:
        if name in _KINETICS and name not in needed:
            tables.fail(f"{name}: {structure} have none; remove it, or set compartments = {name[1]}")
        if name == "ka" and not depot:
            tables.fail("ka: depot = false has none; remove it, or set depot = true")
        if name not in (*needed, "tlag", "F"):
            tables.fail(f"unknown parameter {name!r}; {_instead(name, (*needed, 'tlag', 'F'))}")
    for name in needed:
        tables.get(name, f"{structure} need {', '.join(needed)}; add [parameters.{name}]")
    found, values = [], []
    for name in (*needed, *(extra for extra in ("tlag", "F") if extra in tables)):
        table = tables.child(name, _PARAMETER)
        values.append(_typical_value(name, table))
        effect: Any = table.text("effect", ("log", "logit")) if "effect" in table else "log"
        if effect == "logit" and not values[-1] < 1:
            table.fail(f"effect = 'logit' with typical = {values[-1]:g}; a logit needs a share below 1")
        occasion = _cv(table, "occasion_cv") if "occasion_cv" in table else 0.0
        variance = _variance(table, effect)
        found.append(Parameter(name, table.text("unit"), variance, _flag(top, table), effect, occasion))
    _check_units(tables, found, top.text("time_unit", _TIMES))
    return tuple(found), np.array(values)


def _typical_value(name: str, table: _Table) -> float:
    value = table.number("typical", 0.0, "; a lag of 0 is no lag: remove it" if name == "tlag" else "")
    if name == "F" and value > 1:
        table.fail(f"typical = {value:g}; expected a share of at most 1, 0.8 for 80 %")
    return value


def _variance(table: _Table, effect: str) -> float:
    """Return the variance of a random effect, 0 for none."""
    if "cv" in table and "omega2" in table:
        table.fail(
            f"cv = {table.get('cv')!r} and omega2 = {table.get('omega2')!r}; "
            "give one, omega2 is the variance on the log scale and cv = sqrt(exp(omega2) − 1)"
        )
    if "cv" in table and effect != "log":
        table.fail(
            f"cv = {table.get('cv')!r} with effect = {effect!r}; give omega2, the variance on that scale"
        )
    if "cv" in table:
        return _cv(table, "cv")
    return table.number("omega2", 0.0, "; remove it for none") if "omega2" in table else 0.0


def _cv(table: _Table, key: str) -> float:
    """Return the log-scale variance of a coefficient of variation."""
    cv = table.number(key, 0.0, "; remove it for none")
    if cv >= _MOST_CV:
        table.fail(f"{key} = {cv:g}; expected a fraction below {_MOST_CV:g}, such as 0.3 for 30 %")
    return variance_of_cv(cv)


def _check_units(tables: _Table, parameters: Sequence[Parameter], time: str) -> None:
    """Refuse units that do not fit together: a clearance in L/d beside a time in h."""
    volume = parameters[1].unit
    units = {
        "C": f"{volume}/{time}",
        "Q": f"{volume}/{time}",
        "V": volume,
        "k": f"1/{time}",
        "t": time,
        "F": "1",
    }
    for item in parameters:
        expected = units[item.name[0]]
        if item.unit != expected:
            tables.child(item.name).fail(
                f"unit = {item.unit!r}; expected {expected!r} (V1 is in {volume}, time_unit is {time}); "
                "convert the number, or change the unit"
            )


def _covariances(top: _Table, parameters: Sequence[Parameter]) -> dict[tuple[str, str], float]:
    table, found = top.child("covariances"), dict[tuple[str, str], float]()
    varying = [item.name for item in parameters if item.variance > 0]
    for key in table:
        pair = tuple(name.strip() for name in key.split(","))
        if len(pair) != 2 or pair[0] == pair[1]:
            table.fail(f'key {key!r}; expected two parameters, such as "CL,V1"')
        for name in pair:
            if name not in varying:
                table.fail(
                    f"{key!r}: {name!r} has no random effect; give it cv or omega2. "
                    f"With one: {', '.join(varying) or 'none'}"
                )
        if pair in found or pair[::-1] in found:
            table.fail(f"{key!r}: the pair stands there twice; remove one")
        found[pair] = table.number(key)
    return found


# ------------------------------------------------------------------------------------------------ covariates


@dataclass(frozen=True)
class _Effect:
    """A covariate's effect on the parameter of a column."""

    column: int
    covariate: str
    kind: _Kind
    reference: float
    coefficient: float

    def factor(self, x: Floats) -> Floats:
        """Return what the parameter of people with covariate `x` (n,) is multiplied by."""
        if self.kind == "power":
            return np.asarray((x / self.reference) ** self.coefficient)
        if self.kind == "exponential":
            return np.exp(self.coefficient * (x - self.reference))
        if self.kind == "linear":
            return np.asarray(1.0 + self.coefficient * (x - self.reference))
        return np.where(x == 1.0, self.coefficient, 1.0)


def _covariates(top: _Table, names: Sequence[str]) -> tuple[tuple[Covariate, ...], tuple[_Effect, ...]]:
    """Return what the model asks for, and what it does with it."""
    tables = top.tables("covariates", _COVARIATE)
    references = dict[str, float]()
    for table in tables:
        name = table.text("name")
        if name in references or name == "baseline":
            table.fail(
                f"name = {name!r} {'is reserved' if name == 'baseline' else 'stands there twice'}; rename it"
            )
        references[name] = table.number("reference")
    rows = top.tables("effects", _EFFECT)
    effects = tuple(_effect(row, names, references) for row in rows)
    for i, (effect, row) in enumerate(zip(effects, rows, strict=True)):
        if any((e.column, e.covariate) == (effect.column, effect.covariate) for e in effects[:i]):
            row.fail(f"a second effect of {effect.covariate} on {names[effect.column]}; remove one")
    made = tuple(
        _covariate(top, table, [effect for effect in effects if effect.covariate == name])
        for table, name in zip(tables, references, strict=True)
    )
    return made, effects


def _effect(table: _Table, names: Sequence[str], references: Mapping[str, float]) -> _Effect:
    parameter, covariate = table.text("parameter", names), table.text("covariate")
    if covariate not in references:
        known = _instead(covariate, tuple(references))
        table.fail(f"covariate = {covariate!r} is not described; {known}; or add it under [[covariates]]")
    kind: Any = table.text("kind", get_args(_Kind))
    if kind == "factor":
        if "reference" in table:
            table.fail(
                f"reference = {table.get('reference')!r} with kind = 'factor', which has none; remove it"
            )
        coefficient = table.number(
            "coefficient", 0.0, ", what the parameter is multiplied by where the flag is 1"
        )
        return _Effect(names.index(parameter), covariate, kind, 0.0, coefficient)
    reference = table.number("reference") if "reference" in table else references[covariate]
    if kind == "power" and not reference > 0:
        table.fail(f"reference = {reference:g} with kind = 'power'; expected above 0")
    return _Effect(names.index(parameter), covariate, kind, reference, table.number("coefficient"))


def _covariate(top: _Table, table: _Table, effects: Sequence[_Effect]) -> Covariate:
    name, reference = table.text("name"), table.number("reference")
    if not effects:
        table.fail(f"{name!r} is used by no effect; remove it, or add one under [[effects]]")
    low = table.number("low") if "low" in table else -math.inf
    high = table.number("high", low, ", its low") if "high" in table else math.inf
    kinds = {effect.kind for effect in effects}
    if "factor" in kinds:
        if reference != 0:
            table.fail(f"reference = {reference:g} of {name!r}, a factor; expected 0, code the others as 1")
        if "low" in table or "high" in table:
            table.fail(f"low and high of {name!r}, a factor, which is 0 or 1; remove them")
        low, high = 0.0, 1.0
    if "power" in kinds and "low" in table and not low > 0:
        table.fail(f"low = {low:g} of {name!r}, which has a power effect; expected above 0")
    for effect in effects:
        for key, end in (("low", low), ("high", high)):
            if effect.kind == "linear" and math.isfinite(end):
                factor = float(effect.factor(np.array([end]))[0])
                if not factor > 0:
                    table.fail(
                        f"{key} = {end:g} of {name!r}: its linear effect there is a factor of {factor:g}; "
                        f"expected above 0, narrow the range or use kind = 'exponential'"
                    )
    least = 0.0 if "power" in kinds else -math.inf
    return Covariate(name, table.text("unit"), reference, low, high, _flag(top, table), least)


def _typical(
    name: str,
    parameters: Sequence[Parameter],
    values: Floats,
    covariates: Sequence[Covariate],
    effects: Sequence[_Effect],
    terms: Sequence[tuple[GenotypeTerm, int]],
) -> Callable[[Mapping[str, ArrayLike], Mapping[str, ArrayLike]], Floats]:
    """Return the model's `typical`."""
    flags = {effect.covariate for effect in effects if effect.kind == "factor"}
    below = np.array([1.0 if item.effect == "logit" else math.inf for item in parameters])

    def typical(source: Mapping[str, ArrayLike], genotype: Mapping[str, ArrayLike]) -> Floats:
        everything = {**source, **genotype}
        n = max((np.size(value) for value in everything.values()), default=1)
        theta = np.tile(values, (n, 1))
        for item in covariates:
            (x,) = columns(source, item.name)
            bad = ~((x == 0) | (x == 1)) if item.name in flags else ~(np.isfinite(x) & (x > item.least))
            if bad.any():
                expected = "0 or 1" if item.name in flags else f"a number above {item.least:g}"
                who = f"{item.name} of patient {int(np.argmax(bad))}"
                raise ValueError(f"{name}: {who} is {x[bad][0]:g}; expected {expected}")
        for effect in effects:
            theta[:, effect.column] *= effect.factor(columns(source, effect.covariate)[0])
        for term, column in terms:
            theta[:, column] *= columns(genotype, term.effect)[0]
        fine = (theta > 0) & (theta < below)
        if not fine.all():
            i, j = np.argwhere(~fine)[0]
            known = ", ".join(f"{key} {np.broadcast_to(x, n)[i]:g}" for key, x in everything.items())
            raise ValueError(
                f"{name}: {parameters[j].name} of patient {i} is {theta[i, j]:g} {parameters[j].unit}; "
                f"expected above 0{' and below 1' if below[j] == 1 else ''} (given {known})"
            )
        return theta

    return typical


# ------------------------------------------------------------------------------------------------- genotypes


def _genotypes(top: _Table, names: Sequence[str]) -> Iterator[tuple[GenotypeTerm, int]]:
    """Yield the number that each gene gives, and the column of the parameter that it multiplies."""
    seen: set[str] = set()
    for table in top.tables("genotypes", _GENOTYPE):
        gene, parameter = table.text("gene"), table.text("parameter", names)
        if gene in seen:
            table.fail(
                f"gene = {gene!r} has a table already; one that acts on two parameters needs a Python model"
            )
        seen.add(gene)
        if ("pairs" in table) == ("alleles" in table):
            table.fail(
                "give either pairs (a factor for each pair of alleles) or alleles (factors that add up)"
            )
        pairs = _pairs(table.child("pairs")) if "pairs" in table else {}
        if pairs:
            alleles = {a: pairs[a, a] / 2.0 for a, b in pairs if a == b}
        else:
            inner = table.child("alleles")
            alleles = {allele: inner.number(allele, 0.0) for allele in inner}
        if not alleles:
            table.fail("names no allele; give each a number")
        frequencies = _frequencies(table, gene, alleles)
        term = GenotypeTerm(
            gene=gene,
            effect=f"{gene.lower()}_on_{parameter.lower()}",
            per_allele=alleles,
            by_function=_by_function(table, gene, alleles),
            unit=f"factor on {parameter}",
            flag=_flag(top, table),
            source=table.text("source") if "source" in table else top.text("source"),
            pairs=pairs,
            frequencies=frequencies,
        )
        yield term, names.index(parameter)


def _pairs(table: _Table) -> dict[tuple[str, str], float]:
    """Return every pair of alleles, in the order in which alleles first appear, with its factor."""
    given = dict[tuple[str, str], float]()
    for key in table:
        pair = tuple(allele.strip() for allele in key.split("/"))
        if len(pair) != 2 or not all(pair):
            table.fail(f'key {key!r}; expected two alleles, such as "*1/*2"')
        if pair in given or pair[::-1] in given:
            table.fail(f"{key!r}: the pair stands there twice; remove one")
        given[pair] = table.number(key, 0.0)
    alleles = list(dict.fromkeys(allele for pair in given for allele in pair))
    found = dict[tuple[str, str], float]()
    for i, one in enumerate(alleles):
        for other in alleles[i:]:
            if (one, other) not in given and (other, one) not in given:
                table.fail(
                    f"the pair {f'{one}/{other}'!r} is missing; {', '.join(alleles)} make every pair possible"
                )
            found[one, other] = given.get((one, other), given.get((other, one), math.nan))
    return found


def _by_function(table: _Table, gene: str, alleles: Mapping[str, float]) -> dict[str, str]:
    """Return the alleles that stand in for others by CPIC's clinical function."""
    inner = table.child("by_function")
    known = TABLES.function_alleles(gene) if gene in TABLES.genes() else ()
    functions = tuple(dict.fromkeys(TABLES.clinical_function(gene, allele) for allele in known))
    for function in inner:
        if function not in functions:
            inner.fail(f"unknown function {function!r} of {gene}; {_instead(function, functions)}")
    return {function: inner.text(function, tuple(alleles)) for function in inner}


def _frequencies(table: _Table, gene: str, alleles: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return the file's own frequencies; without them the gene and its alleles must be in CPIC's tables."""
    if "frequencies" not in table:
        known = tuple(name for name in TABLES.genes() if TABLES.biogeographic_groups(name))
        if gene not in known:
            table.fail(
                f"gene = {gene!r} has no frequencies in the tables; {_instead(gene, known)}; "
                "or give its frequencies"
            )
        drawn = {
            coding_strand_allele(gene, allele): None
            for group in TABLES.biogeographic_groups(gene)
            for allele in TABLES.allele_frequencies(gene, group)
        }
        for allele in alleles:
            if allele not in drawn:
                table.fail(
                    f"allele {allele!r} of {gene} is not in CPIC's tables; {_instead(allele, tuple(drawn))}"
                )
        return {}
    groups = table.child("frequencies")
    every = tuple(sorted({group for known in TABLES.genes() for group in TABLES.biogeographic_groups(known)}))
    found = dict[str, dict[str, float]]()
    for group in groups:
        if group not in every:
            groups.fail(f"unknown group {group!r}; {_instead(group, every)}")
        inner = groups.child(group, tuple(alleles))
        found[group] = {allele: inner.number(allele) for allele in inner}
        total = sum(found[group].values())
        if min(found[group].values(), default=0.0) < 0 or abs(total - 1.0) > _SUM_TOLERANCE:
            inner.fail(f"frequencies {found[group]}; expected none below 0 and a sum of 1, not {total:g}")
    return found


# ---------------------------------------------------------------------------------------------------- output


def _output(top: _Table, parameters: Sequence[Parameter]) -> tuple[str, ResidualError]:
    """Return the unit of the concentration and its residual error."""
    table = top.child("concentration", _CONCENTRATION)
    unit, scale, amount, volume = table.text("unit"), _scale(top), top.text("amount_unit"), parameters[1].unit
    right = _expected_scale(unit, amount, volume)
    if right is not None and not math.isclose(scale, right, rel_tol=1e-9):
        table.fail(f"scale = {scale:g}; expected {right:g}, since 1 {amount}/{volume} is {right:g} {unit}")
    residual = top.child("residual", _RESIDUAL)
    kinds = [key for key in ("proportional", "additive", "log_sd") if key in residual]
    if not kinds:
        residual.fail("proportional, additive or log_sd is missing; give 0 for a measurement without error")
    if "log_sd" in kinds and len(kinds) > 1:
        residual.fail(f"{' and '.join(kinds)} are given; log_sd stands alone, remove it or the others")
    values = {key: residual.number(key) for key in kinds}
    for key, value in values.items():
        if value < 0:
            residual.fail(f"{key} = {value:g}; expected an SD, 0 or more")
    source = residual.text("source") if "source" in residual else top.text("source")
    log_sd, proportional, additive = (values.get(key, 0.0) for key in ("log_sd", "proportional", "additive"))
    return unit, ResidualError(log_sd, proportional, additive, flag=_flag(top, residual), source=source)


def _scale(top: _Table) -> float:
    return top.child("concentration", _CONCENTRATION).number("scale", 0.0)


def _expected_scale(unit: str, amount: str, volume: str) -> float | None:
    """Return what one amount unit/volume unit is in `unit`; None where that is not known (IU, grams to
    moles)."""
    try:
        return factor(f"{amount}/{volume}", unit)
    except ValueError:
        return None
