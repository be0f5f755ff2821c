"""The main comparison in other worlds: the same people, another world, the same regimens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.agents import arm
from dosewright.agents.regimens import FixedDose
from dosewright.envs import Noise, Scenario, Treatment, scenario
from dosewright.evaluation import TrialResult
from dosewright.evaluation.sensitivity import (
    Misinformed,
    Sensitivity,
    World,
    analyse_sensitivity,
    sensitivity_record,
    worlds,
)
from dosewright.evaluation.trial import TrialDesign, run_design

WARFARIN = scenario("warfarin")
DRUGS = (
    "busulfan", "docetaxel", "efavirenz", "fluorouracil", "mercaptopurine", "phenytoin", "propofol",
    "tacrolimus", "vancomycin", "voriconazole", "warfarin",
)  # fmt: skip


class Seeing(FixedDose):
    """Is shown the truth, and does not look."""

    def attach(self, treatment: Treatment) -> None:
        pass


class Listening(FixedDose):
    """Remembers what it was shown at the first visit."""

    seen: NDArray[np.float32]

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], Any]:
        if state is None:
            self.seen = observation.copy()
        return super().predict(observation, True, episode_start, deterministic)[0], True


def design(drug: Scenario = WARFARIN, realism: str = "clinic", **arms: Any) -> TrialDesign:
    # of warfarin 5 and 3 mg a day
    fixed = {"five": 10 * drug.doses.step, "three": 6 * drug.doses.step}
    chosen = arms or {name: FixedDose(drug, dose) for name, dose in fixed.items()}
    return TrialDesign(drug, chosen, drug.population, Noise("trial", 7), drug.preset(realism))


def world(asked: TrialDesign, name: str) -> World:
    return next(item for item in worlds(asked) if item.name == name)


@pytest.fixture(scope="module")
def result() -> TrialResult:
    return run_design(design(), range(120))


@pytest.fixture(scope="module")
def found(result: TrialResult) -> Sensitivity:
    return analyse_sensitivity(design(), result, "five", "three", 40)


def test_the_first_row_is_the_trial_on_the_same_patients(result: TrialResult, found: Sensitivity) -> None:
    own = found.findings[0]
    assert (own.name, found.patients) == ("as in the trial", 40)
    gain = result.arms["five"].benefit - result.arms["three"].benefit
    # some 40 of the 120, at random: not the first ones
    assert own.differences["benefit"].n == 40
    assert own.differences["benefit"].mean != pytest.approx(gain[:40].mean())
    assert own.differences["benefit"].mean == pytest.approx(np.subtract(*own.levels["benefit"]))


def test_a_dose_that_does_not_look_fares_alike_whatever_is_shown(found: Sensitivity) -> None:
    # the world is the trial's: what is shown of the genotype changes nothing but the doses of who looks
    rows = {item.name: item for item in found.findings}
    for name in ("another's genotype", "genotype unknown"):
        assert rows[name].levels == rows["as in the trial"].levels
        assert rows[name].differences == rows["as in the trial"].differences
    for name in ("other model", "worse adherence", "realism textbook"):
        assert rows[name].levels["benefit"] != rows["as in the trial"].levels["benefit"]


def test_regimens_see_the_genotype_of_another_patient_or_none() -> None:
    asked = design(five=Listening(WARFARIN, 5.0), three=FixedDose(WARFARIN, 3.0))
    spec, ids = WARFARIN.observation, np.arange(25)

    def shown(of: TrialDesign) -> NDArray[np.float32]:
        run_design(of, ids, block=len(ids))
        listening = asked.arms["five"]
        assert isinstance(listening, Listening)
        return listening.seen

    own = shown(asked)
    for name in ("another's genotype", "genotype unknown"):
        other = world(asked, name).design
        assert other is not None
        seen = shown(other)
        for entry in WARFARIN.covariates:
            was, now = spec.read(own, entry.name), spec.read(seen, entry.name)
            if not entry.name.startswith(("cyp2c9", "vkorc1")):
                np.testing.assert_array_equal(was, now, err_msg=entry.name)
            elif name == "genotype unknown":
                assert np.isnan(now).all()
            else:
                # of the next patient, together: no genotype that nobody has
                np.testing.assert_array_equal(np.append(was[1:], was[0]), now, err_msg=entry.name)
        assert not np.array_equal(own, seen)


def test_the_other_model_treats_the_same_people() -> None:
    tacrolimus = scenario("tacrolimus")
    asked = design(tacrolimus)
    other = world(asked, "other model").design
    assert other is not None and other.scenario.model.name == "tacrolimus_woillard2011"
    ids = np.arange(300)
    mine, theirs = (
        item.population.draw(item.scenario.model, item.scenario.base, ids, item.noise)
        for item in (asked, other)
    )
    # Woillard has no term of CYP3A4: it is drawn and shown all the same
    assert (mine.genotypes["CYP3A4"] != "*1/*1").any()
    for gene, pairs in mine.genotypes.items():
        np.testing.assert_array_equal(pairs, theirs.genotypes[gene], err_msg=gene)
    for name, values in mine.covariates.items():
        np.testing.assert_array_equal(values, theirs.covariates[name], err_msg=name)
    assert set(theirs.covariates) - set(mine.covariates) == {"prograf"}
    # the regimens are the trial's own objects, with their own prior
    assert dict(other.arms) == dict(asked.arms)


def test_what_another_model_lacks_is_said() -> None:
    docetaxel = scenario("docetaxel")
    assert "knows of no premedication" in world(design(docetaxel), "other model").words
    drifting = replace(
        WARFARIN.preset("clinic"), drifts=(replace(WARFARIN.preset("clinic").drifts[0], parameter="ktr1"),)
    )
    refused = world(replace(design(), realism=drifting), "other model")
    assert refused.design is None
    assert refused.reason.endswith("has no ktr1, which realism 'clinic' varies")


def test_without_another_model_patients_differ_more() -> None:
    phenytoin = scenario("phenytoin")
    wider = world(design(phenytoin), "patients differ more")
    assert wider.design is not None and phenytoin.no_alternative in wider.words
    np.testing.assert_allclose(wider.design.scenario.model.omega, 1.69 * phenytoin.model.omega)
    assert scenario("phenytoin").model is phenytoin.model


@pytest.mark.parametrize(
    ("drug", "share"), [("warfarin", 0.20), ("tacrolimus", 0.12), ("efavirenz", 0.20), ("docetaxel", None)]
)
def test_adherence_is_four_times_worse_and_misses_a_fifth_at_most(drug: str, share: float | None) -> None:
    # models.md 18: 5, 3, 8 and 0 % of doses missed under clinic
    for realism in ("clinic", "textbook"):
        worse = world(design(scenario(drug), realism), "worse adherence")
        if share is None:
            assert worse.design is None and "given by staff" in worse.reason
        else:
            assert worse.design is not None and worse.design.realism.missed_dose == pytest.approx(share)
            assert f"{100 * share:g} % of doses missed" in worse.words
            kept = replace(worse.design.realism, missed_dose=scenario(drug).preset(realism).missed_dose)
            assert kept == scenario(drug).preset(realism)


def test_worlds_that_do_not_exist_say_why() -> None:
    busulfan = {item.name: item.reason for item in worlds(design(scenario("busulfan")))}
    assert busulfan["another's genotype"] == busulfan["genotype unknown"] == "no gene enters the model"
    hidden = {item.name: item.reason for item in worlds(replace(design(), genotype="unknown"))}
    assert hidden["genotype unknown"] == "the regimens of this trial do not see the genotype"
    rule = world(design(rule=arm("guideline", WARFARIN), five=FixedDose(WARFARIN, 5.0)), "genotype unknown")
    assert rule.design is None and rule.reason == "rule cannot dose without it"
    truth = design(seer=Seeing(WARFARIN, 3.0), five=FixedDose(WARFARIN, 5.0))
    assert world(truth, "other model").reason.startswith("seer is shown the truth")
    swapped = world(truth, "another's genotype").design
    assert swapped is not None and swapped.arms["seer"] is truth.arms["seer"]


def test_a_policy_stays_barred_from_its_training_patients() -> None:
    class Trained(FixedDose):
        seed_namespace = "train"

    seen = Misinformed(Trained(WARFARIN, 5.0), lambda observation: observation)
    assert seen.seed_namespace == "train"
    assert Misinformed(FixedDose(WARFARIN, 5.0), lambda observation: observation).seed_namespace is None
    with pytest.raises(ValueError, match="trained on seed namespace 'train'"):
        replace(design(), arms={"policy": seen}, noise=Noise("train", 7))


def test_the_record_says_what_each_world_shows(found: Sensitivity) -> None:
    record = sensitivity_record(found, 0.03)
    assert (record["arm"], record["against"], record["patients"]) == ("five", "three", 40)
    for row, item in zip(record["rows"], found.findings, strict=True):
        assert row["benefit"]["mean"] == item.differences["benefit"].mean
        assert row["ever_harm"]["levels"] == list(item.levels["ever_harm"])
        assert row["benefit"]["shows"] in ("better", "worse", "no difference shown")
    missing = replace(found, findings=(replace(found.findings[0], reason="none", differences={}, levels={}),))
    assert sensitivity_record(missing, 0.03)["rows"][0]["benefit"] is None


@pytest.mark.parametrize(
    ("arms", "patients", "words"),
    [
        (("five", "five"), 40, "'five' is to be compared with itself"),
        (("five", "six"), 40, "unknown arm 'six'"),
        (("five", "three"), 1, "patients = 1; expected at least 2"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    result: TrialResult, arms: tuple[str, str], patients: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        analyse_sensitivity(design(), result, *arms, patients)


@pytest.mark.slow
@pytest.mark.parametrize("drug", DRUGS)
def test_every_drug_runs_in_every_world_that_it_has(drug: str) -> None:
    known = scenario(drug)
    rule = "pid" if drug == "propofol" else "clinical-nomogram"
    asked = design(known, label=arm("label", known), rule=arm(rule, known))
    analysed = analyse_sensitivity(asked, run_design(asked, range(20)), "rule", "label", 10)
    for item in analysed.findings:
        assert bool(item.reason) == (not item.differences)
    run = {item.name for item in analysed.findings if not item.reason}
    assert run & {"other model", "patients differ more"} and "realism textbook" in run
