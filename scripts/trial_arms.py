"""The arms of ``--arms``, and the recipe by which a worker of `dosewright trial` makes its own design."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from dosewright.agents import arm, told
from dosewright.envs import Noise, read_cohort, scenario
from dosewright.envs.scenarios.scenario import GenotypeMode
from dosewright.evaluation.provenance import code_digest, digest
from dosewright.evaluation.trial import BLOCK, TrialDesign, TrialStore

_LIBRARIES = ("numpy", "scipy", "numba", "torch")
# of torch, wherever a block is treated: what a network says does not depend on the process that asks it
_THREADS = 1


def labelled(text: str) -> dict[str, str]:
    """Return label -> name of the arms in a list such as ``label,nomogram,mine=policy:runs/a/policy``.

    An arm is called by its name, the only policy "policy", one of several by the folder of its run.

    Raises
    ------
    ValueError
        For two arms with the same label.
    """
    parts = [_split(part.strip()) for part in text.split(",") if part.strip()]
    policies = [name for _, name in parts if is_policy(name)]
    arms: dict[str, str] = {}
    for given, name in parts:
        label = given or name
        if not given and name.startswith("policy:"):
            label = "policy" if len(policies) == 1 else _run(name)
        if label in arms:
            raise ValueError(f"arm {label!r} is listed twice; name each once, or give labels: LABEL=ARM")
        arms[label] = name
    return arms


def is_policy(name: str) -> bool:
    """Whether an arm's name is that of a learned policy."""
    return name == "policy" or name.startswith(("policy:", "policy@"))


def at_preferences(arms: Mapping[str, str], text: str) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """Return the arms with every policy once for each weight of safety in a list such as ``0.2,0.5,0.8``, and
    policy -> label -> weight of those.

    Raises
    ------
    ValueError
        For a weight that is no number or listed twice, no policy among the arms, or one that has its weight.
    """
    try:
        weights = sorted(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--preference {text}: expected numbers such as 0.2,0.5,0.8") from None
    if len(set(weights)) < len(weights):
        raise ValueError(f"--preference {text}: a weight is listed twice; give each once")
    if not any(is_policy(name) for name in arms.values()):
        raise ValueError(f"--preference {text}: no policy is among the arms; add one, such as policy")
    made, fronts = {}, {}
    for label, name in arms.items():
        if not is_policy(name):
            made[label] = name
            continue
        if told(name)[1] is not None:
            raise ValueError(f"--preference {text}: arm {name!r} has its own; leave out one of the two")
        fronts[label] = {f"{label} at {weight:g}": weight for weight in weights}
        made |= {at: f"{name}@{weight:g}" for at, weight in fronts[label].items()}
    return made, fronts


def _split(part: str) -> tuple[str, str]:
    """Return label, empty where there is none, and name. A path may hold the sign as well."""
    label, sign, name = part.partition("=")
    return (label.strip(), name.strip()) if sign and ":" not in label else ("", part)


def _run(name: str) -> str:
    """Return what tells policies apart: the folder of the run, whose policy is always in ``policy/``."""
    path = Path(name.removeprefix("policy:")).resolve()
    return path.parent.name if path.name == "policy" else path.name


def design(
    drug: str,
    arms: Mapping[str, str],
    seed: int,
    realism: str,
    genotype: GenotypeMode,
    cohort: str | None,
) -> TrialDesign:
    """Return the design of a trial from what was typed.

    Parameters
    ----------
    arms
        Label -> name, as `labelled` returns it.
    cohort
        File of real people; None: virtual ones.

    Raises
    ------
    ValueError
        For an unknown drug, arm, realism preset or genotype mode, or a cohort that cannot be read.
    """
    known = scenario(drug).seen_as(genotype)
    preset = known.preset(realism)
    regimens = {label: arm(name, known) for label, name in arms.items()}
    if any(is_policy(name) for name in arms.values()):
        import torch

        torch.set_num_threads(_THREADS)
    population = known.population
    if cohort is not None:
        if known.cohort is None:
            raise ValueError(f"--cohort: there is no layout of real people for {drug} yet; leave it out")
        needs = frozenset().union(*(regimen.needs for regimen in regimens.values()))
        population = read_cohort(cohort, known.cohort, needs)
    return TrialDesign(known, regimens, population, Noise("trial", seed), preset, genotype)


@contextmanager
def told_where(store: TrialStore, go_on: str) -> Iterator[None]:
    """Whoever stops a trial, or loses one of its processes, is told where finished patients are.

    Parameters
    ----------
    store
        Where.
    go_on
        How to go on, in words.
    """
    kept = f"finished patients are kept in {store.path}: go on with {go_on}"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; {kept}") from None
    except BrokenProcessPool:
        raise click.ClickException(
            f"a process was ended from outside (is there enough memory?); {kept}"
        ) from None


def question(asked: TrialDesign, ids: NDArray[np.int64], arms: Mapping[str, str]) -> dict[str, str]:
    """Return everything that a number of the trial depends on, in words, part by part."""
    return {
        **asked.described(),
        "patients": asked.people(ids),
        "patients a block": str(BLOCK),
        **{f"arm {label}": _content(name, asked.scenario.name) for label, name in arms.items()},
        "code": f"dosewright {version('dosewright')}, SHA-256 {code_digest()}",
        "libraries": ", ".join(
            [f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in _LIBRARIES)]
        ),
    }


def _content(name: str, drug: str) -> str:
    """Return an arm's name or, of a learned policy, what is in its folder."""
    if not is_policy(name):
        return name
    name, weight = told(name)
    preference = "" if weight is None else f" at {weight}"
    if name == "policy":
        shipped = drug if weight is None else f"{drug}-preference"
        with as_file(files("dosewright.agents.pretrained") / shipped) as folder:
            return f"policy{preference}, SHA-256 {digest(folder.iterdir())}"
    return f"policy{preference}, SHA-256 {digest(Path(name.removeprefix('policy:')).iterdir())}"
