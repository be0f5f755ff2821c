"""Regimens: clinical rules, Bayesian, learned.

`arm` makes any of them from the name used on the command line; `load` returns the policy that ships for a
drug. Importing this package is quick: PyTorch is loaded with the first learned policy.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from dosewright.envs import Regimen, Scenario

if TYPE_CHECKING:
    from dosewright.agents.learning import LearnedPolicy


def shipped() -> list[str]:
    """Return the drugs for which a policy ships, and ``<drug>-preference`` where one that is told the weight
    of safety does."""
    folder = files("dosewright.agents.pretrained")
    return sorted(item.name for item in folder.iterdir() if (item / "card.json").is_file())


def load(name: str) -> LearnedPolicy:
    """Return the policy that ships under a name of `shipped`, such as "tacrolimus"; another name is an error
    that lists those."""
    from dosewright.agents.learning import LearnedPolicy  # PyTorch

    folder, known = files("dosewright.agents.pretrained"), shipped()
    if name not in known:
        raise ValueError(
            f"no policy ships for {name!r}; there is one for: {', '.join(known) or 'none'}. Train one, "
            "`dosewright train DRUG` (told the weight of safety: --config DRUG-preference), and name its "
            "folder: arm policy:PATH, LearnedPolicy.load(PATH)"
        )
    with as_file(folder / name) as path:
        return LearnedPolicy.load(path)


def arm(name: str, scenario: Scenario) -> Regimen:
    """Return the regimen called `name` on the command line.

    Parameters
    ----------
    name
        ``fixed-<dose>mg`` (``fixed-<dose>`` where doses are in another unit), a rule of
        `dosewright.agents.regimens`, ``policy:PATH`` for a trained policy's folder, or ``policy`` for the one
        that ships; either with ``@0.8`` behind it for the weight that safety has, by a policy that is told
        one (of those that ship ``<drug>-preference``).
    scenario
        The decision problem.

    Raises
    ------
    ValueError
        For an unknown name, or a policy that cannot dose this scenario.
    """
    if name == "policy" or name.startswith(("policy:", "policy@")):
        return _policy(name, scenario)
    from dosewright.agents.regimens import regimen

    return regimen(name, scenario)


def _policy(name: str, scenario: Scenario) -> LearnedPolicy:
    from dosewright.agents.learning import LearnedPolicy  # PyTorch

    where, text = told(name)
    try:
        weight = None if text is None else float(text)
    except ValueError:
        raise ValueError(f"arm {name}: expected a number between 0 and 1 after @, the preference") from None
    path = where.removeprefix("policy").removeprefix(":")
    one = scenario.name if weight is None else f"{scenario.name}-preference"
    policy = LearnedPolicy.load(path) if path else load(one)
    if policy.scenario is not scenario:
        other = policy.scenario.name != scenario.name
        why = f"this is {scenario.name}" if other else "the genotype is shown to it in another way here"
        raise ValueError(f"arm {name}: a policy for {policy.scenario.name}; {why}")
    return policy if weight is None else policy.preferring(weight)


def told(name: str) -> tuple[str, str | None]:
    """Return a policy's name without the weight of safety behind its ``@``, and that; None where there is
    none."""
    where, sign, weight = name.rpartition("@")
    # the sign may be part of a path
    return (where, weight) if sign and "/" not in weight else (name, None)


__all__ = ["arm", "load", "shipped", "told"]
