"""Likelihood factors of streamed patients: what each one's events say, and nothing else.

A factor is made under the published model, so it is a pure function of the patient's own events: neither the
population that was refitted from others nor the version that doses changes a bit of it. That is what lets a
patient be taken out again as if they had never been there.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from zipfile import BadZipFile

import numpy as np

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.agents.estimation.factor import ARRAYS, LikelihoodFactor
from dosewright.agents.estimation.population import Evidence, GroupTerm, reference
from dosewright.agents.estimation.prior import known_people
from dosewright.agents.refinement.events import Event
from dosewright.agents.refinement.store import Store, StoredFactor
from dosewright.agents.refinement.ward import Ward
from dosewright.envs import Scenario

PARTICLES = 128
"""Particles of a factor."""
_KEPT = 128  # particles of the belief that a factor's mixture is fitted to


class FactorMaker:
    """Makes factors from events.

    Parameters
    ----------
    scenario
        The published decision problem.
    particles
        Of each factor, a power of two.
    """

    def __init__(self, scenario: Scenario, particles: int = PARTICLES) -> None:
        self.scenario = scenario
        self.particles = particles
        self._filter = BeliefFilter(reference(scenario), _KEPT, 1.0, visits=most_visits(scenario))

    def evidence(self, events: Iterable[Event]) -> tuple[list[str], Evidence | None]:
        """Return what the patients of some events say of their population: those with at least one result,
        by name, and their evidence in that order; None where there is nobody.

        Parameters
        ----------
        events
            `understood` ones, all of each patient's.
        """
        of: dict[str, list[Event]] = {}
        for event in events:
            of.setdefault(event.patient, []).append(event)
        # a genotype that is not known is held open for all who are looked at together; who has the same genes
        # known is, so that nobody's alternatives depend on who else there is
        alike: dict[frozenset[str | None], list[Event]] = {}
        for mine in of.values():
            genes = frozenset(event.code for event in mine if event.kind == "genotype")
            alike.setdefault(genes, []).extend(mine)
        found = [self._alike(some) for some in alike.values()]
        names = [name for some, _ in found for name in some]
        if not names:
            return [], None
        order = sorted(range(len(names)), key=names.__getitem__)
        joined = Evidence.joined([evidence for _, evidence in found if evidence is not None])
        return [names[i] for i in order], joined.select(order)

    def _alike(self, events: Iterable[Event]) -> tuple[list[str], Evidence | None]:
        """Return the evidence of patients of whom the same genes are known."""
        ward = Ward(self._filter)
        ward.take(events)
        names = [name for name, patient in ward.patients.items() if patient.innovations]
        if not names:
            return [], None
        patients = [ward.patients[name] for name in names]
        parts = [patient.belief for patient in patients if patient.belief is not None]
        factor = LikelihoodFactor.of_beliefs(self._filter, Belief.joined(parts), names, self.particles)
        first = ward.observation([patient.chart.course.visits[0].values for patient in patients])
        return names, Evidence.of(self.scenario, known_people(self.scenario, first), factor)


def factors_of(store: Store, maker: FactorMaker) -> tuple[list[StoredFactor], list[StoredFactor]]:
    """Return the factors of a store's patients: those in it that hold all events of their patient and are of
    this scenario version, and the others, made anew. Who has withdrawn consent, and who has no result yet,
    has none."""
    gone = {item.patient for item in store.patients() if item.consent == "withdrawn"}
    last: dict[str, int] = {}
    for seq, event in store.events():
        if event.patient not in gone:
            last[event.patient] = seq
    version = str(maker.scenario.version)
    held = [
        item for item in store.factors() if item.version == version and item.through == last.get(item.patient)
    ]
    known = {item.patient for item in held}
    names, evidence = maker.evidence(
        event for patient in last if patient not in known for _, event in store.events(patient)
    )
    if evidence is None:
        return held, []
    return held, [
        StoredFactor(name, last[name], version, packed(evidence, row)) for row, name in enumerate(names)
    ]


def most_visits(scenario: Scenario) -> int:
    """Return how many visits a belief of a streamed patient has to hold: one a unit of follow-up, and the
    end."""
    return scenario.horizon + 1


def packed(evidence: Evidence, patient: int) -> bytes:
    """Return the evidence of one patient, by number, as bytes that `unpacked` reads."""
    one, file = evidence.select([patient]), io.BytesIO()
    terms = np.array([["|".join(term.covariates), term.effect] for term in one.terms]).reshape(-1, 2)
    arrays = {name: getattr(one.factor, name) for name in ARRAYS}
    np.savez(file, names=np.array(one.factor.names), terms=terms, groups=one.groups, **arrays)
    return file.getvalue()


def unpacked(blobs: Sequence[bytes]) -> Evidence:
    """Return the evidence of all patients of some `packed` bytes, in order, each counting in full.

    Raises
    ------
    ValueError
        For no patient, or bytes that are none of a factor.
    """
    parts: list[Evidence] = []
    for number, blob in enumerate(blobs):
        try:
            with np.load(io.BytesIO(blob)) as file:
                terms = tuple(
                    GroupTerm(tuple(name for name in covariates.split("|") if name), effect)
                    for covariates, effect in file["terms"].tolist()
                )
                factor = LikelihoodFactor(
                    tuple(file["names"].tolist()), **{name: file[name] for name in ARRAYS}
                )
                parts.append(Evidence(factor, file["groups"], terms, np.ones(1)))
        except (ValueError, KeyError, TypeError, OSError, EOFError, BadZipFile) as error:
            raise ValueError(f"factor {number} is broken ({error}); make it again from the events") from None
    return Evidence.joined(parts)
