"""What happens besides the prescription: the frequencies of models.md 18 and 19, whatever is prescribed."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosewright.envs import Intake, Noise, Scenario, Treatment, names, scenario
from dosewright.envs.page import page
from dosewright.envs.patients import Patients, genotype_ratio
from dosewright.envs.realism import Enzyme, Interaction, Life

WARFARIN = scenario("warfarin")
N, DAYS = 6000, 90


@cache
def life(realism: str, ratio: float = 1.0, n: int = N) -> Life:
    """Lives of n people who all have the same parameters, and clearance `ratio` times that of the reference
    genotype."""
    theta = np.ones((n, len(WARFARIN.model.parameters)))
    return Life.realise(
        WARFARIN.preset(realism),
        WARFARIN.model,
        np.arange(n),
        theta,
        Noise("trial", 5),
        WARFARIN.span,
        ratios={("CYP2C9", "CL"): np.full(n, ratio)},
    )


def share(events: np.ndarray, probability: float) -> None:
    """Independent events of this probability: within four standard errors."""
    error = math.sqrt(probability * (1 - probability) / events.size)
    assert abs(events.mean() - probability) < 4 * error


def test_in_textbook_nothing_goes_wrong() -> None:
    book = life("textbook")
    assert book.taken.all() and not book.late.any() and not book.missing.any()
    assert np.all(book.leaves > WARFARIN.horizon)
    assert book.theta.shape[1] == 1  # constant parameters


def test_both_presets_have_the_same_assay_errors() -> None:
    assert np.array_equal(life("textbook").residual, life("clinic").residual)
    assert WARFARIN.measurement.log_sd == 0.19  # models.md 1.1, PARTIAL
    z = life("clinic").residual[:, WARFARIN.days]
    assert abs(z.mean()) < 4 / math.sqrt(z.size) and abs(z.std() - 1) < 4 / math.sqrt(2 * z.size)


def test_five_percent_of_doses_are_missed() -> None:
    missed = ~life("clinic").taken
    share(missed, 0.05)
    # independently: two days in a row as often as chance has it
    share(missed[:, 1::2] & missed[:, :-1:2], 0.05**2)


def test_ten_percent_of_results_are_late_and_five_percent_never_come() -> None:
    clinic = life("clinic")
    share(clinic.late[:, WARFARIN.days[1:]], 0.10)
    share(clinic.missing[:, WARFARIN.days[1:]], 0.05)
    assert not np.any(clinic.late & clinic.missing)


def test_the_result_of_day_0_is_always_in_hand() -> None:
    assert not life("clinic").late[:, 0].any() and not life("clinic").missing[:, 0].any()


def test_two_percent_drop_out_a_month() -> None:
    leaves = life("clinic").leaves
    assert leaves.min() >= 1
    for day in (30, 60, 89):
        share(leaves <= day, 1 - 0.98 ** (day / (365.25 / 12)))


def test_ec50_drifts_by_0_06_per_square_root_of_a_week_and_clearance_does_not_drift() -> None:
    ec50 = np.log(life("clinic").theta[:, :, WARFARIN.model.column("EC50")])
    for day in (6, 27, 83):  # 1, 4 and 12 weeks
        expected = 0.06 * math.sqrt((day + 1) / 7)
        assert ec50[:, day].std() == pytest.approx(expected, rel=4 / math.sqrt(2 * N))
        assert abs(ec50[:, day].mean()) < 4 * expected / math.sqrt(N)
    weeks = ec50[:, 7::7] - ec50[:, :-7:7]
    assert abs(np.corrcoef(weeks[:, 0], weeks[:, 1])[0, 1]) < 4 / math.sqrt(N)
    others = [i for i, p in enumerate(WARFARIN.model.parameters) if p.name not in ("EC50", "CL")]
    assert np.all(life("clinic").theta[:, :, others] == 1)


def test_a_quarter_meet_an_interacting_drug_for_ten_days() -> None:
    clearance = life("clinic").theta[:, :, WARFARIN.model.column("CL")]
    met = (clearance != 1).any(axis=1)
    factor = np.where(clearance != 1, clearance, 0).max(axis=1)[met]
    share(met, 0.25)
    assert set(factor) == {0.6, 1.5}
    share(factor == 1.5, 0.3)
    days = (clearance[met] != 1).sum(axis=1)
    start = (clearance[met] != 1).argmax(axis=1)
    assert np.array_equal(
        days, np.minimum(10, DAYS - start)
    )  # in one piece, cut only by the end of follow-up
    assert np.all(np.abs(np.diff((clearance[met] != 1).astype(int), axis=1)).sum(axis=1) <= 2)
    # the start is uniform over the horizon
    assert abs(start.mean() - (DAYS - 1) / 2) < 4 * DAYS / math.sqrt(12 * met.sum())


def test_a_life_is_the_same_in_any_company() -> None:
    ids = np.array([17, 3, 4000])
    theta = np.ones((3, len(WARFARIN.model.parameters)))
    clinic = WARFARIN.preset("clinic")
    few = Life.realise(
        clinic,
        WARFARIN.model,
        ids,
        theta,
        Noise("trial", 5),
        WARFARIN.span,
        ratios={("CYP2C9", "CL"): np.ones(3)},
    )
    for name in ("theta", "taken", "residual", "late", "missing", "leaves"):
        assert np.array_equal(getattr(few, name), getattr(life("clinic"), name)[ids])


# ------------------------------------------------------------------ interacting drugs, by enzyme and genotype


def of_warfarin(genotypes: list[str]) -> Patients:
    """Virtual people with these CYP2C9 diplotypes."""
    noise, ids = Noise("select", 1), np.arange(len(genotypes))
    drawn = WARFARIN.population.draw(WARFARIN.model, WARFARIN.base, ids, noise)
    return replace(drawn, genotypes={**drawn.genotypes, "CYP2C9": np.array(genotypes)})


def clearance_factors(ratio: float) -> set[float]:
    """Factors that interacting drugs put on the clearance of people with this ratio; 1 for nobody."""
    return set(np.unique(life("clinic", ratio, 300).theta[:, :, WARFARIN.model.column("CL")])) - {1.0}


def test_the_ratio_of_a_genotype_is_that_of_the_model_whoever_has_it() -> None:
    # Hamberg 2010: per allele *1 0.174, *2 0.0879, *3 0.0422 L/h; age and VKORC1 do not enter
    people = of_warfarin(["*1/*1", "*1/*2", "*2/*2", "*1/*3", "*2/*3", "*3/*3"])
    found = genotype_ratio(WARFARIN.model, people, "CYP2C9", "CL")
    expected = np.array([0.348, 0.2619, 0.1758, 0.2162, 0.1301, 0.0844]) / 0.348
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[0] == 1.0
    np.testing.assert_array_equal(genotype_ratio(WARFARIN.model, people, "CYP2C9", "EC50"), 1.0)


def test_the_reference_genotype_sees_exactly_the_stated_factors() -> None:
    assert clearance_factors(1.0) == {0.6, 1.5}


def test_a_poor_metaboliser_of_warfarin_is_not_affected() -> None:
    # *3/*3 keeps 0.0844/0.348; Hamberg 2007 has 0.148, below what the share of the enzyme allows
    assert all(abs(factor - 1) < 1e-12 for factor in clearance_factors(0.0844 / 0.348))
    assert clearance_factors(0.148) == set()


def test_less_activity_less_effect() -> None:
    # *1/*3: r = 0.6213, fm = 0.7575: a = 0.5, so factors 1 - 0.4 · 0.5/0.6213 and 1 + 0.5 · 0.5/0.6213
    inhibited, induced = sorted(clearance_factors(0.2162 / 0.348))
    assert inhibited == pytest.approx(1 - 0.4 * 0.5 / (0.2162 / 0.348), rel=1e-12)
    assert induced == pytest.approx(1 + 0.5 * 0.5 / (0.2162 / 0.348), rel=1e-12)


@given(st.lists(st.floats(0.05, 3.0), min_size=2, max_size=6))
def test_effects_grow_with_activity_and_never_reverse(ratios: list[float]) -> None:
    seen = [(1.0, 1.0), *(tuple(sorted(clearance_factors(ratio))) or (1.0, 1.0) for ratio in sorted(ratios))]
    inhibited, induced = np.array(seen).T
    assert np.all(np.diff(inhibited) <= 1e-12) and np.all(np.diff(induced) >= -1e-12)
    assert np.all(inhibited > 0)


def test_the_genotype_changes_how_much_and_nothing_else() -> None:
    reference, poorer = life("clinic", 1.0, 300), life("clinic", 0.7, 300)
    for name in ("taken", "residual", "late", "missing", "leaves", "start", "sample", "duration"):
        assert np.array_equal(getattr(reference, name), getattr(poorer, name))
    where, other = (item.theta[:, :, WARFARIN.model.column("CL")] != 1 for item in (reference, poorer))
    assert where.any() and np.array_equal(where, other)
    drifting = WARFARIN.model.column("EC50")
    assert np.array_equal(reference.theta[:, :, drifting], poorer.theta[:, :, drifting])


def test_an_interaction_without_enzyme_needs_no_genotype_and_is_the_same_for_all() -> None:
    clinic = WARFARIN.preset("clinic")
    (item,) = clinic.interactions
    plain = replace(clinic, interactions=(replace(item, enzyme=None),))
    theta = np.ones((300, len(WARFARIN.model.parameters)))
    found = Life.realise(plain, WARFARIN.model, np.arange(300), theta, Noise("trial", 5), WARFARIN.span)
    assert np.array_equal(found.theta, life("clinic", 1.0, 300).theta)
    with pytest.raises(ValueError, match=r"ratios\[\('CYP2C9', 'CL'\)\]"):
        Life.realise(clinic, WARFARIN.model, np.arange(300), theta, Noise("trial", 5), WARFARIN.span)


def test_intake_hands_over_each_persons_genotype() -> None:
    people = of_warfarin(["*3/*3"] * 150 + ["*1/*1"] * 150)
    clinic = replace(WARFARIN.preset("clinic"), drifts=())
    path = Intake.prepare(WARFARIN, people, Noise("select", 1), clinic).life.theta
    factors = path[:, :, WARFARIN.model.column("CL")] / people.theta[:, [WARFARIN.model.column("CL")]]
    np.testing.assert_allclose(factors[:150], 1.0, rtol=1e-12)
    assert {round(x, 12) for x in np.unique(factors[150:]).tolist()} == {0.6, 1.0, 1.5}


@pytest.mark.parametrize("name", names())
def test_every_enzyme_has_a_term_in_the_model_and_room_for_its_factors(name: str) -> None:
    problem = scenario(name)
    noise, ids = Noise("select", 1), np.arange(200)
    patients = problem.population.draw(problem.model, problem.base, ids, noise)
    for item in problem.preset("clinic").interactions:
        if item.enzyme is None:
            continue
        ratio = genotype_ratio(problem.model, patients, item.enzyme.gene, item.parameter)
        # the share of the enzyme leaves no genotype of the model below it
        assert ratio.min() >= 1 - item.enzyme.fm - 1e-12 and (ratio == 1).any()
        assert item.enzyme.source and item.enzyme.flag == "ASSUMPTION"


def test_shares_of_enzymes_are_those_of_the_models() -> None:
    found = {
        (name, item.enzyme.gene): item.enzyme.fm
        for name in names()
        for item in scenario(name).preset("clinic").interactions
        if item.enzyme is not None
    }
    assert found == pytest.approx(
        {  # 1 - lowest clearance over that of *1/*1: Hamberg 2010, Bienczak 2016, Kim 2019
            ("warfarin", "CYP2C9"): 1 - 0.0844 / 0.348,
            ("efavirenz", "CYP2B6"): 1 - 0.74 / 6.94,
            ("voriconazole", "CYP2C19"): 1 - math.exp(-0.746),
        }
    )


def test_the_page_says_through_which_enzyme() -> None:
    said = " ".join(page(WARFARIN).split())
    assert "× 0.6 or × 1.5 for 10 days (through CYP2C9: less with less of its activity, as 0.76 of CL" in said
    assert "through CYP" not in page(scenario("tacrolimus"))


def test_a_share_that_leaves_no_room_for_the_factor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"factor 0\.3 is below 1 - fm = 0\.4"):
        Interaction("CL", 0.1, ((0.3, 1.0),), 10, enzyme=Enzyme("CYP2C9", 0.6, "ASSUMPTION", ""))
    with pytest.raises(ValueError, match=r"fm = 1\.2"):
        Interaction("CL", 0.1, ((0.8, 1.0),), 10, enzyme=Enzyme("CYP2C9", 1.2, "ASSUMPTION", ""))


def test_a_gene_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="no term of CYP2D6.*CYP2C9, VKORC1"):
        genotype_ratio(WARFARIN.model, of_warfarin(["*1/*1"]), "CYP2D6", "CL")


def test_what_is_prescribed_does_not_change_what_happens(
    warfarin: Scenario, admitted: Callable[..., Intake]
) -> None:
    intake = admitted(200)
    arms: dict[float, Any] = {}
    for dose in (0.0, 12.0):
        treatment = Treatment(warfarin, intake)
        seen = []
        while treatment.active.any():
            seen.append(treatment.observe())
            treatment.give(np.full(200, dose))
        arms[dose] = treatment, [warfarin.observation.decode(vector) for vector in seen]
    (none, seen_none), (much, seen_much) = arms.values()
    assert np.array_equal(none.day, much.day) and np.array_equal(
        np.isnan(none.measured), np.isnan(much.measured)
    )
    # the same assay error on the same sample, so the ratio of measured to true is the same
    at = np.clip(warfarin.days, 0, None)
    ratio = [t.measured / t.truth[:, at] for t in (none, much)]
    np.testing.assert_allclose(ratio[0], ratio[1], rtol=1e-12)
    for a, b in zip(seen_none, seen_much, strict=True):
        for name in ("day", "interval", "next_interval", "inr_age", "inr_new", "late_inr_age"):
            assert np.array_equal(a[name], b[name], equal_nan=True)
    assert np.nanmean(much.truth) > np.nanmean(none.truth) + 1


def test_a_missed_dose_is_missed_completely_and_the_next_one_is_not_larger(
    warfarin: Scenario, admitted: Callable[..., Intake]
) -> None:
    intake = admitted(50)
    treatment = Treatment(warfarin, intake)
    state = treatment.state
    treatment.give(np.full(50, 6.0))
    total = np.where(intake.life.taken[:, :3, 0], 3.0, 0.0)  # S-warfarin is half of the racemic dose
    np.testing.assert_array_equal(state[:, 0], 0.0)
    nothing = ~total.any(axis=1)
    body = treatment.state[:, 0] + treatment.state[:, 1]
    assert np.all(body[~nothing] > 0) and np.all(body[nothing] == 0)
    theta, expected = intake.life.theta, np.zeros(50)
    rows = np.flatnonzero(intake.life.leaves > 3)
    for day in range(3):  # one compartment, depot emptied within the day
        ke = theta[:, day, 0] / theta[:, day, 1]
        taken = total[:, day] * 2 / (2 - ke) * (np.exp(-24 * ke) - np.exp(-48))
        expected = expected * np.exp(-24 * ke) + taken
    np.testing.assert_allclose(treatment.state[rows, 1], expected[rows], rtol=1e-12, atol=1e-18)
