"""Live dosing at a terminal: open what is needed, watch once a week of the stream, and show how it stands."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Group
from rich.live import Live as Screen
from rich.panel import Panel
from rich.table import Table

from dosewright.agents.estimation.population import Refit
from dosewright.agents.refinement.dosing import Answer
from dosewright.agents.refinement.refiner import Refiner, begin, in_use
from dosewright.agents.refinement.registry import Registry
from dosewright.agents.refinement.serve import Service, Taken
from dosewright.agents.refinement.store import Store
from dosewright.agents.refinement.usual import Rehearsal
from dosewright.envs import scenario

_LAST = 12  # answers that are shown


@contextmanager
def opened(
    drug: str, store: Path, registry: Path, seed: int, say: Callable[[str], None], rehearsal: Rehearsal
) -> Iterator[Refiner]:
    """Give a service, with the refiner that watches it, over a store and a registry; close the store at the
    end.

    Parameters
    ----------
    drug
        Scenario.
    store, registry
        Files; either is begun where it is not there: the registry with the policy that ships for the drug, or
        with Bayesian monitoring.
    seed
        Of the served doses, and of what is learned.
    say
        Told what takes time.
    rehearsal
        That a first version goes through.
    """
    known, versions = scenario(drug), Registry(registry)
    with Store.open(store, drug, known.version) as events:
        if not versions.versions():
            say(f"{registry}: a first version is made, and what is usual of it learned in simulation")
            begin(versions, known, rehearsal)
        use = in_use(versions.current(), known)
        service = Service(events, known, use.dosing(seed), use.usual.spread)
        yield Refiner(service, versions, Refit(known), rehearsal=rehearsal, seed=seed)


@dataclass(eq=False)
class Live:
    """What is shown of a service while it runs.

    Attributes
    ----------
    refiner
        Of the service.
    """

    refiner: Refiner
    counts: Counter[str] = field(default_factory=Counter[str])
    answers: deque[Answer] = field(default_factory=lambda: deque[Answer](maxlen=_LAST))
    alarms: list[str] = field(default_factory=list[str])
    _screen: Screen | None = None

    def took(self, taken: Taken) -> None:
        """Take note of a batch; watch for drift once a week of the stream."""
        self.counts.update(
            events=taken.stored,
            duplicates=taken.duplicates,
            refused=taken.refused,
            answers=len(taken.answers),
        )
        self.counts.update(note.kind for note in taken.notes)
        self.counts["fallbacks"] += sum(bool(answer.fallback) for answer in taken.answers)
        self.counts["shielded"] += sum(bool(answer.shield) for answer in taken.answers)
        self.answers.extend(taken.answers)
        looked = self.refiner.look_weekly(max(n.time for n in taken.notes)) if taken.notes else None
        if looked is not None:
            self.alarms = [alarm.words for alarm in looked[0].alarms]
        if self._screen is not None:
            self._screen.update(self.view())

    @contextmanager
    def shown(self, view: bool) -> Iterator[None]:
        """Show it in the terminal while the service runs, where that is asked for."""
        if not view:
            yield
            return
        with Screen(self.view(), refresh_per_second=4) as self._screen:
            yield
            self._screen.update(self.view())
        self._screen = None

    def view(self) -> Group:
        """Return patients, alarms and the state of refinement."""
        service, current = self.refiner.service, self.refiner.registry.current()
        unit = service.published.doses.unit
        patients = Table(title=f"{service.published.drug}: last answers", expand=True)
        for heading in ("patient", service.published.clock.unit, f"dose, {unit}", "with p", "on target",
                        "P(harm)", "by", "why"):  # fmt: skip
            patients.add_column(heading, overflow="fold")
        for answer in reversed(self.answers):
            patients.add_row(
                answer.patient,
                str(answer.unit),
                f"{answer.dose:g}",
                f"{answer.propensity:.2f}",
                f"{100 * answer.benefit:.0f} %",
                f"{100 * answer.harm:.1f} %",
                answer.regimen,
                "; ".join((*answer.fallback, *answer.shield)),
            )
        ward = service.ward.patients
        state = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
        left = sum(patient.chart.left for patient in ward.values())
        return Group(
            patients,
            Panel("\n".join(self.alarms[-5:]) or "none", title="alarms"),
            Panel(
                f"{len(ward)} patients, {left} of them finished or lost. {state}.\nversion {current.name} "
                f"({current.regimen}), {self.refiner.attempts()} candidates refused since.",
                title="refinement",
            ),
        )
