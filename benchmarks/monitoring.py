"""What Bayesian monitoring gains over what clinics do, for every scenario.

``python -m benchmarks.monitoring [DRUG ...] [--patients N] [--realism clinic]``

Paired returns of the clinical rules, the best fixed dose, Bayesian monitoring and the planner (static and
adaptive), and the oracle, on the same patients of a namespace. Points are hundredths of return. Research
simulation, not for clinical use.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from dosewright.agents.regimens import FixedDose, lacking, regimen
from dosewright.envs import Noise, Regimen, Scenario, names, scenario
from dosewright.envs.realism import Realism
from dosewright.evaluation import TrialResult, run_trial

RULES = ("label", "guideline", "clinical-nomogram", "nomogram", "pid")
BELIEVED = ("bayesian", "bayesian-adaptive", "planner", "planner-adaptive")


def compared(
    known: Scenario, arms: Sequence[str], patients: int, noise: Noise, preset: Realism
) -> tuple[str, TrialResult]:
    """Return a trial of regimens by name and of the dose of the grid that is best for these very patients if
    everybody gets it; and the name of that arm."""
    fixed: dict[str, Regimen] = {f"{dose:g}": FixedDose(known, dose) for dose in known.doses.doses}
    tried = run_trial(known, fixed, known.population, range(patients), noise, preset)
    best = max(fixed, key=lambda dose: tried.arm(dose).returns.mean())
    name = f"fixed {best} {known.doses.unit}"
    chosen = {name: fixed[best]} | {arm: regimen(arm, known) for arm in arms}
    return name, run_trial(known, chosen, known.population, range(patients), noise, preset)


@click.command()
@click.argument("drugs", nargs=-1)
@click.option("--patients", type=click.IntRange(10), default=1000, show_default=True)
@click.option("--realism", default="clinic", show_default=True)
@click.option("--namespace", default="trial", show_default=True)
@click.option("--arms", default=",".join((*RULES, *BELIEVED, "oracle")), show_default=True)
def main(drugs: tuple[str, ...], patients: int, realism: str, namespace: str, arms: str) -> None:
    """Print a block a scenario."""
    for name in drugs or names():
        known, absent = scenario(name), lacking(scenario(name))
        chosen = [arm for arm in arms.split(",") if arm not in absent]
        fixed, result = compared(known, chosen, patients, Noise(namespace, 0), known.preset(realism))
        print(f"\n{name}, {realism}, {namespace}, {patients} patients", flush=True)
        monitored = [arm for arm in ("bayesian", "bayesian-adaptive") if arm in chosen]
        monitoring = max(monitored, key=lambda arm: result.arm(arm).returns.mean(), default=None)
        for arm in (fixed, *chosen):
            line = f"  {arm:28s}{100 * result.arm(arm).returns.mean():8.1f} {result.arm(arm).seconds:7.1f} s"
            if monitoring not in (None, arm):
                gain = result.difference(monitoring, arm, "return")
                mean, low, high = (100 * part for part in (gain.mean, gain.low, gain.high))
                line += f"   {monitoring} − it: {mean:.2f} ({low:.2f} to {high:.2f})"
            print(line, flush=True)


if __name__ == "__main__":
    main()
