"""Units of time, amount and concentration, and the factors between them."""

from __future__ import annotations

import re
from fractions import Fraction

_PREFIXES = {"k": 3, "": 0, "m": -3, "µ": -6, "n": -9, "p": -12}  # powers of ten


def _prefixed(unit: str, dimension: str) -> dict[str, tuple[str, Fraction]]:
    return {prefix + unit: (dimension, Fraction(10) ** power) for prefix, power in _PREFIXES.items()}


_HOURS = {
    ("s",): Fraction(1, 3600),
    ("min",): Fraction(1, 60),
    ("h", "hr", "hour", "hours"): Fraction(1),
    ("d", "day", "days"): Fraction(24),
    ("week", "weeks"): Fraction(168),
}
_LITRES = {("L", "l"): 0, ("dL", "dl"): -1, ("mL", "ml"): -3, ("µL", "µl"): -6}
# unit -> what it measures, and its size in g, mol, L or h; fractions, so that factors are exact
_UNITS: dict[str, tuple[str, Fraction]] = {
    **{name: ("time", size) for names, size in _HOURS.items() for name in names},
    **{name: ("volume", Fraction(10) ** power) for names, power in _LITRES.items() for name in names},
    **_prefixed("g", "mass"),
    **_prefixed("mol", "moles"),
    **_prefixed("M", "moles/volume"),
}


def factor(unit: str, into: str) -> float:
    """Return what a value in `unit` is multiplied by to be in `into`: 0.001 for ng/mL into mg/L.

    Known are grams, moles and litres with their prefixes (µ and u alike), molar (µM), s, min, h, day and
    week, and quotients of two of them. Any other unit is only known to equal itself.

    Raises
    ------
    ValueError
        For a unit that is not known, and for two that measure different things, such as mass and moles.
    """
    if unit == into:
        return 1.0
    (kind, size), (wanted, scale) = _measure(unit), _measure(into)
    if kind != wanted:
        molar = kind.replace("mass", "moles") == wanted.replace("mass", "moles")
        remedy = "convert with the molar mass beforehand" if molar else "give a unit of its kind"
        raise ValueError(f"unit {unit!r} ({kind}) cannot become {into!r} ({wanted}); {remedy}")
    return float(size / scale)


def _measure(unit: str) -> tuple[str, Fraction]:
    """Return what a unit measures and its size."""
    above, slash, below = (_micro(part) for part in unit.partition("/"))
    if above in _UNITS and not slash:
        return _UNITS[above]
    if above in _UNITS and below in _UNITS:
        return f"{_UNITS[above][0]}/{_UNITS[below][0]}", _UNITS[above][1] / _UNITS[below][1]
    raise ValueError(
        f"unit {unit!r} is not known and cannot be converted; known: g, mol, L and M with k, m, µ, n or p, "
        f"s, min, h, day, week, and quotients such as 'ng/mL'"
    )


def _micro(unit: str) -> str:
    """Read the two micro signs and the letter u as one."""
    return re.sub("^[uμ](?=g|mol|L|l|M)", "µ", unit.strip())
