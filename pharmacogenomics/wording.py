"""One or two plain sentences that say what an action says, made from its structure and not from a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dosewright.pharmacogenomics.actions import Action

_REASONS = {
    "weak effect": "it may work too weakly",
    "toxicity": "there is a risk of toxicity",
    "severe skin reactions": "there is a risk of severe skin reactions",
}
_USED_ANYWAY = {
    "avoid": "if it is used all the same",
    "alternative": "if it is used all the same",
    "consider alternative": "if it is used",
}
_OF = {"maintenance": "maintenance dose", "starting and maintenance": "dose, both at the start and later"}
_DIRECTIONS = {
    "lower": "lower than usual",
    "higher": "higher than usual",
    "strongly lower": "far lower than usual",
    "usual": "as usual",
}


def sentences(drug: str, action: Action) -> str:
    """What to do with the drug, and, where there is more to say, how.

    Parameters
    ----------
    drug : its name
    action : what CPIC says; `action.note` is left out
    """
    first = _what(drug, action)
    rest = "; ".join(_details(action))
    if not rest:
        return f"{first}."
    if action.kind in _USED_ANYWAY:
        rest = f"{_USED_ANYWAY[action.kind]}: {rest}"
    return f"{first}. {rest[0].upper()}{rest[1:]}."


def _what(drug: str, action: Action) -> str:
    match action.kind:
        case "avoid":
            reason = f": {_REASONS[action.reason]}" if action.reason else ""
            other = f"; take {action.instead}" if action.instead else ""
            when = f" {action.condition}" if action.condition else ""
            return f"Avoid {drug}{when}{reason}{other}"
        case "alternative":
            return f"Instead of {drug}, take {action.instead}"
        case "consider alternative":
            return f"Instead of {drug}, consider {action.instead}"
        case "usual":
            dose = f" ({action.usual_dose})" if action.usual_dose else ""
            return f"Give {drug} at the usual dose{dose}"
        case "titrate":
            return _titrated(drug, action)
        case "limit":
            return f"Start {drug} with {_limit(action)}"
        case "caution":
            return f"Use {drug} with caution, {action.condition}"
        case "monitor":
            return f"No dose of {drug} follows from these results"
        case "no recommendation":
            return f"CPIC gives no recommendation for {drug} with these results"
        case _:
            return _changed(drug, action)


def _changed(drug: str, action: Action) -> str:
    """Sentence for a reduced or increased dose."""
    start = action.fraction_of.startswith("starting") or action.absolute_of == "starting"
    verb = "Start" if start else "Give"
    where = f", in {action.condition}" if action.condition else ""
    usual = f" ({action.usual_dose})" if action.usual_dose else ""
    doses = []
    if action.absolute_min is not None:
        doses.append(_doses(action))
    if action.fraction is not None:
        doses.append(f"{_percent(action.fraction)} of the usual {_OF.get(action.fraction_of, 'dose')}{usual}")
    if not doses:
        doses.append("a lower dose than usual" if action.kind == "reduce" else "a higher dose than usual")
    return f"{verb} {drug} at {', '.join(doses)}{where}"


def _titrated(drug: str, action: Action) -> str:
    if action.absolute_max is None:
        return f"Start {drug} at {_doses(action)} and stay there at first"
    return f"Titrate {drug} from {_doses(action)}: {action.condition}"


def _details(action: Action) -> Iterator[str]:
    if action.kind in _USED_ANYWAY and action.fraction is not None:
        yield f"give {_percent(action.fraction)} of the usual {action.fraction_of} dose"
    if action.kind == "usual" and action.fraction is not None:
        yield f"consider {_percent(action.fraction)} of it for {action.condition}"
    if action.absolute_of == "maximum" or (action.kind == "increase" and action.absolute_max is not None):
        yield f"give {_limit(action)}"
    if action.starting:
        yield f"start {_DIRECTIONS[action.starting]}"
    if action.maintenance:
        yield f"aim at a maintenance dose {_DIRECTIONS[action.maintenance]}"
    if action.titration not in ("", "usual"):
        yield "titrate more slowly" if action.titration == "slower" else f"titrate {action.titration}"
    if action.instead_when:
        yield (
            f"or take {action.instead} instead"
            if action.instead_when == "or"
            else f"{action.instead_when} consider {action.instead}"
        )
    if action.watch:
        yield f"monitor {_listing(action.watch)}"
    if action.if_not_enough:
        yield f"where that is not enough, turn to {action.if_not_enough}"


def _percent(fraction: tuple[float, float | None]) -> str:
    low, high = fraction
    if high is None:
        return f"{_number(100 * low)} % or more"
    if low == high:
        return f"{_number(100 * low)} %"
    return f"{_number(100 * low)} to {_number(100 * high)} %"


def _limit(action: Action) -> str:
    most = "" if action.absolute_max is None else _number(action.absolute_max)
    return f"{'less than' if action.below else 'no more than'} {most} {action.absolute_unit}"


def _doses(action: Action) -> str:
    found = [dose for dose in (action.absolute_min, action.absolute_max) if dose is not None]
    return f"{' to '.join(dict.fromkeys(map(_number, found)))} {action.absolute_unit}"


def _listing(items: Sequence[str]) -> str:
    return ", ".join(items[:-1]) + (" and " if len(items) > 1 else "") + items[-1]


def _number(value: float) -> str:
    return f"{value:.3g}"
