"""How fast individual parameters are estimated, beside SciPy's BFGS on the same predictions in the same run.

``python -m benchmarks.mapbayes DIR`` with a folder of cases as `mapbayes_cases` describes: MAP estimates a
second on one core, compilation left out, of a model's patients together and one by one. SciPy minimises the
same objective from zero with the gradient that it makes of differences, one patient after the other. Run it
on a quiet machine; the load is printed first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import numba
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.drugs import load, median_seconds
from benchmarks.mapbayes_cases import OBJECTIVE, courses_of, entries
from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.likelihood import SampleErrors, deviance
from dosewright.agents.estimation.map import estimate

Floats = NDArray[np.float64]

MODELS = ("001", "101", "301", "401", "405", "501", "901")
"""Models that are timed: one and two compartments, covariates that change, two outputs, two-part error,
wide variability, and a real drug."""


def objective(courses: Courses, eta: Floats) -> float:
    """Return NONMEM's objective of the one patient of `courses` at effects (d,)."""
    errors = SampleErrors.of([item.error for item in courses.model.outputs], courses.sample_output)
    value = deviance(errors, courses.predict(eta[None, None])[:, 0], courses.low, courses.high).value
    total = value[courses.observed].sum() + eta @ np.linalg.solve(courses.omega, eta)
    return float(total) if np.isfinite(total) else 1e30


def by_scipy(singles: Sequence[Courses]) -> Floats:
    """Return the objectives that BFGS reaches from zero, for each of the single patients."""
    return np.array(
        [minimize(partial(objective, one), np.zeros(one.effects), method="BFGS").fun for one in singles]
    )


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--model", "chosen", multiple=True, default=MODELS, help="Models to time; several may be given."
)
@click.option("--repeats", default=5, show_default=True, help="Runs of which the median counts.")
def mapbayes(folder: Path, chosen: tuple[str, ...], repeats: int) -> None:
    """Print estimates a second and their ratio, one row a model."""
    numba.set_num_threads(1)
    known = entries(folder / "models.json")
    print(f"{load()}; one core; medians")
    print(f"{'model':8s}{'patients':>9s}{'together':>12s}{'one by one':>12s}{'SciPy BFGS':>12s}"
          f"{'ratio':>8s}{'ratio':>8s}  within {OBJECTIVE:g} of the lower minimum: ours, SciPy")  # fmt: skip
    for name in chosen:
        if name not in known:
            print(f"{name:8s} not in {folder / 'models.json'}")
            continue
        courses = courses_of(known[name], folder)
        n, singles = len(courses), [courses.select([i]) for i in range(len(courses))]
        ours, theirs = estimate(courses).objective, by_scipy(singles)  # compiles
        lower = np.minimum(ours, theirs) + OBJECTIVE
        together = n / median_seconds(lambda c=courses: estimate(c), repeats)[0]
        alone = n / median_seconds(lambda s=singles: [estimate(one) for one in s], repeats)[0]
        rival = n / median_seconds(lambda s=singles: by_scipy(s), min(repeats, 3))[0]
        reached = f"{np.sum(ours <= lower)}, {np.sum(theirs <= lower)}"
        print(f"{name:8s}{n:9d}{together:10,.0f}/s{alone:10,.0f}/s{rival:10,.1f}/s"
              f"{together / rival:8,.0f}{alone / rival:8,.1f}  {reached}", flush=True)  # fmt: skip


if __name__ == "__main__":
    mapbayes()
