"""A factor says what a patient's own events say: to the last bit, whoever else there is."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from dosewright.agents.estimation.population import Evidence, Refit
from dosewright.agents.refinement.events import Event
from dosewright.agents.refinement.factors import FactorMaker, most_visits, packed, unpacked
from dosewright.agents.refinement.simulated import SimulatedClinic
from dosewright.envs import Noise, Scenario, scenario
from dosewright.evaluation.worlds import world

ARRAYS = ("eta", "log_likelihood", "log_reference", "variance", "centres", "log_share")


def streamed(known: Scenario, patients: int, dose: float, realism: str = "clinic") -> list[Event]:
    """Events of a clinic that gives everybody one dose."""
    clinic = SimulatedClinic(
        known, known.preset(realism), world("none", known), Noise("select", 3), patients, together=4
    )
    return clinic.under(dose)


def without(events: Sequence[Event], patient: str, genes: Sequence[str]) -> list[Event]:
    """The same, where nobody asked for some genes of a patient."""
    return [e for e in events if not (e.patient == patient and e.kind == "genotype" and e.code in genes)]


@pytest.fixture(scope="module")
def events(warfarin: Scenario) -> list[Event]:
    """Twelve patients: of the first CYP2C9 is not known, of the second no gene is, of the third VKORC1."""
    found = streamed(warfarin, 12, 5.0)
    found = without(found, "site-1-0", ["CYP2C9"])
    found = without(found, "site-1-1", ["CYP2C9", "VKORC1"])
    return without(found, "site-1-2", ["VKORC1"])


@pytest.fixture(scope="module")
def maker(warfarin: Scenario) -> FactorMaker:
    return FactorMaker(warfarin)


def assert_same(one: Evidence, other: Evidence) -> None:
    for name in ARRAYS:
        assert np.array_equal(getattr(one.factor, name), getattr(other.factor, name)), name
    assert np.array_equal(one.groups, other.groups) and np.array_equal(one.weight, other.weight)
    assert (one.terms, one.factor.names) == (other.terms, other.factor.names)


def test_a_factor_depends_on_the_patients_own_events_alone(maker: FactorMaker, events: list[Event]) -> None:
    names, together = maker.evidence(events)
    assert together is not None and names == sorted({event.patient for event in events})
    assert together.factor.centres.shape == (12, 18, 4)  # six pairs of CYP2C9 times three of VKORC1
    own = [1 + np.flatnonzero(np.isfinite(row))[-1] for row in together.factor.log_share]
    assert dict(zip(names, own, strict=True)) | {"site-1-0": 6, "site-1-1": 18, "site-1-2": 3} == {
        name: {"site-1-0": 6, "site-1-1": 18, "site-1-2": 3}.get(name, 1) for name in names
    }
    for row, name in enumerate(names):
        alone, evidence = maker.evidence([event for event in events if event.patient == name])
        assert alone == [name] and evidence is not None
        assert_same(evidence, together.select([row]))
        assert packed(evidence, 0) == packed(together, row)


def test_the_order_of_events_does_not_matter(maker: FactorMaker, events: list[Event]) -> None:
    names, straight = maker.evidence(events)
    shuffled = [events[i] for i in np.random.default_rng(1).permutation(len(events))]
    again, found = maker.evidence(shuffled)
    assert straight is not None and found is not None and again == names
    assert_same(found, straight)


def test_more_patients_than_are_stepped_at_a_time_have_the_groups_of_their_own_genotype(
    monkeypatch: pytest.MonkeyPatch, maker: FactorMaker, events: list[Event]
) -> None:
    _, straight = maker.evidence(events)
    monkeypatch.setattr("dosewright.agents.refinement.ward.TOGETHER", 2)
    _, found = maker.evidence(events)
    assert straight is not None and found is not None
    assert_same(found, straight)


def test_another_event_makes_another_factor(maker: FactorMaker, events: list[Event]) -> None:
    mine = [event for event in events if event.patient == "site-1-3"]
    last = max((e for e in mine if e.kind == "measurement"), key=lambda e: e.time)
    _, before = maker.evidence(mine)
    _, after = maker.evidence([event for event in mine if event is not last])
    assert before is not None and after is not None
    assert packed(before, 0) != packed(after, 0)


def test_patients_without_a_result_have_no_factor(maker: FactorMaker, events: list[Event]) -> None:
    silent = [e for e in events if e.patient != "site-1-4" or e.kind != "measurement"]
    names, found = maker.evidence(silent)
    assert "site-1-4" not in names and found is not None and len(names) == len(found.factor) == 11
    assert maker.evidence([e for e in silent if e.patient == "site-1-4"]) == ([], None)
    assert maker.evidence([]) == ([], None)


def test_a_factor_is_the_likelihood_and_no_population(
    maker: FactorMaker, events: list[Event], warfarin: Scenario
) -> None:
    """The reference is four times as wide as the published population, and every result counts in full."""
    _, found = maker.evidence(events)
    assert found is not None
    published = Refit(warfarin).published
    weighed = found.factor.reweighted(np.zeros(4), 4 * published.omega)
    # under the population that they were drawn from, particles of a posterior are worth most of their number
    assert np.all(weighed.effective_size > 0.4 * 128)


@pytest.mark.parametrize(("drug", "dose"), [("tacrolimus", 5.0), ("docetaxel", 100.0)])
def test_other_drugs_leave_factors_too(drug: str, dose: float) -> None:
    known = scenario(drug)
    found = streamed(known, 3, dose, "textbook")
    names, together = FactorMaker(known, 32).evidence(found)
    assert len(names) == 3 and together is not None
    assert together.factor.eta.shape == (3, 32, len(Refit(known).published.names))
    # a particle may have parameters under which no course can be computed
    assert np.isfinite(together.factor.log_likelihood).mean() > 0.95
    moments = together.moments(Refit(known).published)
    assert moments.design[0, 0] == pytest.approx(moments.patients, rel=1e-12) == 3
    assert np.linalg.eigvalsh(moments.square)[0] > 0
    _, alone = FactorMaker(known, 32).evidence([e for e in found if e.patient == names[1]])
    assert alone is not None and packed(alone, 0) == packed(together, 1)
    assert most_visits(known) == known.horizon + 1


# ---------------------------------------------------------------------------------------------- as bytes


def test_packed_factors_come_back_to_the_last_bit(maker: FactorMaker, events: list[Event]) -> None:
    names, evidence = maker.evidence(events)
    assert evidence is not None
    blobs = [packed(evidence, row) for row in range(len(names))]
    assert_same(unpacked(blobs), evidence)
    assert_same(unpacked(blobs[3:5]), evidence.select([3, 4]))
    assert unpacked(blobs).weight.tolist() == [1.0] * 12


def test_the_population_without_a_patient_is_that_of_the_others(
    maker: FactorMaker, events: list[Event], warfarin: Scenario
) -> None:
    """Erasure: the one with most alternatives leaves no trace, not in the last bit."""
    names, evidence = maker.evidence(events)
    assert evidence is not None
    refit = Refit(warfarin, worth=5.0)
    for gone in ("site-1-1", "site-1-5"):
        others = [row for row, name in enumerate(names) if name != gone]
        left = refit.fit([evidence.select(others)])
        stored = refit.fit([unpacked([packed(evidence, row) for row in others])])
        _, never = maker.evidence([event for event in events if event.patient != gone])
        assert never is not None
        assert left.record() == stored.record() == refit.fit([never]).record()


def cut(blob: bytes) -> bytes:
    return blob[: len(blob) // 2]


def flipped(blob: bytes) -> bytes:
    return blob[:400] + bytes([blob[400] ^ 1]) + blob[401:]


def one_array(_: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def nothing_known(_: bytes) -> bytes:
    file = io.BytesIO()
    np.savez(file, eta=np.zeros((1, 2, 3)))
    return file.getvalue()


@pytest.mark.parametrize(
    "spoiled", [cut, flipped, one_array, nothing_known, lambda _: b"", lambda _: b"no factor at all"]
)
def test_broken_bytes_are_refused_by_number(
    spoiled: Callable[[bytes], bytes], maker: FactorMaker, events: list[Event]
) -> None:
    _, evidence = maker.evidence([event for event in events if event.patient == "site-1-3"])
    assert evidence is not None
    whole = packed(evidence, 0)
    with pytest.raises(ValueError, match="factor 1 is broken .*make it again from the events"):
        unpacked([whole, spoiled(whole)])
    with pytest.raises(ValueError, match="no factors to join"):
        unpacked([])
