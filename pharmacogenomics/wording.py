"""One or two plain sentences that say what an action says, made from its structure and not from a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dosewright.pharmacogenomics.actions import Action

_REASONS = {
    "weak effect": "it may work too weakly",
    "toxicity": "there is a risk of toxicity",
    "severe skin reactions": "there is a risk of severe skin reactions",
}
# the drug is named again: "it" would be the alternative
_USED_ANYWAY = {
    "avoid": "if {} is used all the same, ",
    "alternative": "if {} is used all the same, ",
    "consider alternative": "if {} is used all the same, ",
    "monitor": "if {} is used, ",
}
_AT = {
    "lower": "at a lower dose than usual",
    "strongly lower": "at a far lower dose than usual",
    "usual": "at the usual dose",
}
_AIMS = {
    "lower": "aim at a lower maintenance dose than usual",
    "higher": "aim at a higher maintenance dose than usual",
}
_SHARES = {0.1: "a tenth", 2.0: "twice"}
_MEASURED = ("drug levels", "response", "efficacy")


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
    rest = _USED_ANYWAY.get(action.kind, "").format(drug) + rest
    return f"{first}. {rest[0].upper()}{rest[1:]}."


def _what(drug: str, action: Action) -> str:
    match action.kind:
        case "avoid":
            when = f" {action.condition}" if action.condition else ""
            reason = f": {_REASONS[action.reason]}" if action.reason else ""
            return f"Avoid {drug}{when}{reason}{_other(action)}"
        case "alternative":
            return f"Use {action.instead} instead of {drug}"
        case "consider alternative":
            return f"Consider {action.instead} instead of {drug}"
        case "usual":
            # a dose that is to change later is only where to start
            verb = "Start" if action.maintenance or action.titration else "Give"
            dose = f" ({action.usual_dose})" if action.usual_dose else ""
            return f"{verb} {drug} at the usual dose{dose}"
        case "titrate":
            return _titrated(drug, action)
        case "limit":
            return f"Start {drug} at {_limit(action)}"
        case "caution":
            return f"Use {drug} with caution, {action.condition}"
        case "monitor":
            return f"CPIC gives no dose of {drug} for these results"
        case "no recommendation":
            return f"CPIC gives no recommendation for {drug} with these results"
        case _:
            return _changed(drug, action)


def _other(action: Action) -> str:
    """What comes in place of a drug to be avoided."""
    if not action.instead:
        return ""
    if action.instead_when:
        return f"; use {action.instead}, {action.instead_when}"
    return f"; consider {action.instead}"


def _changed(drug: str, action: Action) -> str:
    """Sentence for a reduced or increased dose."""
    where = f"In {action.condition}, " if action.condition else ""
    start = f"{where}start {drug}" if where else f"Start {drug}"
    if action.absolute_min is not None:
        usual = f" instead of the usual {action.usual_dose}" if action.usual_dose else ""
        return f"{start} at {_doses(action)}{usual}"
    if action.fraction is None:
        return f"{start} at a {'lower' if action.kind == 'reduce' else 'higher'} dose than usual"
    share = _share(action.fraction, action.days_a_week)
    if action.fraction_of == "maintenance":
        return f"{start} {_AT[action.starting]}, then give {share} of the usual maintenance dose"
    if action.fraction_of == "starting and maintenance":
        return f"Give {drug} at {share} of the usual dose, both at the start and for maintenance"
    if action.usual_dose:
        return f"If the usual starting dose is {action.usual_dose}, start {drug} at {share} of it"
    if action.days_a_week is not None:
        days = f"on {action.days_a_week} days a week instead of daily"
        return f"{start} at {share} of the usual daily dose, {days}"
    limit = f", but {_limit(action)}" if action.kind == "increase" and action.absolute_max is not None else ""
    return f"{start} at {_times(share)} the usual dose{limit}"


def _titrated(drug: str, action: Action) -> str:
    start = f"Start {drug} at {_number(action.absolute_min)} {action.absolute_unit}"
    if action.absolute_max is None:
        return f"{start} and keep this dose {action.condition}"
    return f"{start} and raise it to {_number(action.absolute_max)} {action.absolute_unit} {action.condition}"


def _details(action: Action) -> Iterator[str]:
    anyway = action.kind in _USED_ANYWAY
    part = "" if action.fraction is None else _times(_share(action.fraction, action.days_a_week))
    if anyway and action.starting and action.starting == action.maintenance:
        yield f"give it {_AT[action.starting]}"
    elif anyway and action.starting:
        yield f"start {_AT[action.starting]}"
    elif anyway and part and action.fraction_of == "starting":
        yield f"start at {part} the usual dose"
    if action.kind == "usual" and part:
        yield f"consider {part} the usual dose {action.condition}"
    if action.kind != "titrate" and action.titration:
        yield "titrate more slowly" if action.titration == "slower" else f"adjust the dose {action.titration}"
    if anyway and action.fraction is not None and action.fraction_of == "maintenance":
        yield (
            f"give {part} the usual maintenance dose"
            if action.fraction[1]
            else _open_upwards(action.fraction[0])
        )
    if action.absolute_of == "maximum":
        yield f"give {_limit(action)}"
    if action.maintenance and action.maintenance != action.starting:
        yield _AIMS[action.maintenance]
    yield from _instead(action)
    if action.if_not_enough and anyway:
        yield f"consider {action.if_not_enough} if the usual one is not enough"
    elif action.if_not_enough:
        yield f"if that is not enough, consider {action.if_not_enough}"
    yield from _watched(action)


def _instead(action: Action) -> Iterator[str]:
    if action.kind in ("reduce", "increase") and action.instead_when:
        yield (
            f"or use {action.instead} instead"
            if action.instead_when == "or"
            else f"{action.instead_when} consider {action.instead}"
        )


def _watched(action: Action) -> Iterator[str]:
    """What to measure, and what to look out for; what the dose goes by has been said already."""
    left = [item for item in action.watch if item not in action.titration]
    measured = [item for item in left if item.startswith(_MEASURED)]
    if measured:
        yield f"monitor {_listing(measured)}"
    if len(measured) < len(left):
        yield f"watch for {_listing([item for item in left if item not in measured])}"


def _share(fraction: tuple[float, float | None], days_a_week: int | None) -> str:
    """Part of the usual dose in words: `30 to 80 %`, `1.5 to 2 times`, `a tenth`."""
    low, high = (
        round(part * 7 / (days_a_week or 7), 4) for part in (fraction[0], fraction[1] or fraction[0])
    )
    if low in _SHARES and low == high:
        return _SHARES[low]
    scale, unit = (1, "times") if low > 1 else (100, "%")
    limits = dict.fromkeys(_number(scale * part) for part in (low, high))
    return f"{' to '.join(limits)} {unit}"


def _open_upwards(low: float) -> str:
    return f"the maintenance dose may have to be {_number(low)} times the usual one or more"


def _times(share: str) -> str:
    """The share with the word that joins it to a dose: `50 % of`, `1.5 times`."""
    return share if share.endswith(("times", "twice")) else f"{share} of"


def _limit(action: Action) -> str:
    most = f"{_number(action.absolute_max)} {action.absolute_unit}"
    return f"{'less' if action.below else 'no more'} than {most}"


def _doses(action: Action) -> str:
    found = [dose for dose in (action.absolute_min, action.absolute_max) if dose is not None]
    joined = " or " if action.absolute_of == "starting, one of the two" else " to "
    return f"{joined.join(dict.fromkeys(map(_number, found)))} {action.absolute_unit}"


def _listing(items: Sequence[str]) -> str:
    return ", ".join(items[:-1]) + (" and " if len(items) > 1 else "") + items[-1]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
