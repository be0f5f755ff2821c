"""One patient at the bedside: what the rules see, the exact posterior, probabilities, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosewright.agents.bedside import Case, advise, outputs_by_number, read_case
from dosewright.agents.bedside.digits import digits
from dosewright.agents.bedside.posterior import person
from dosewright.agents.bedside.prospects import target_of
from dosewright.agents.bedside.timeline import timeline
from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.regimens import regimen
from dosewright.envs import Intake, Noise, Scenario, Treatment, names, scenario
from dosewright.envs.genotypes import allele_entry
from dosewright.envs.pharmacology import Dose, outputs_now

ONE = "48,1,75,1.9,40,130,0.33,58"
HEAD = (
    "ID,TIME[h],AMT[mg],II,ADDL,DV[ng/mL],EVID,"
    "age_y,male,weight_kg,bsa_m2,albumin_g_l,creatinine_umol_l,haematocrit,lean_mass_kg"
)
ROWS = ("P1,0,5,12,3,.,1", "P1,48,.,.,.,6.2,0", "P1,48,7,12,3,.,1", "P1,96,.,.,.,9.1,0")
GENES = {"CYP3A5": "*1/*3", "CYP3A4": "*1/*1"}


def table(folder: Path, rows: tuple[str, ...] = ROWS, head: str = HEAD, tail: str = ONE) -> Path:
    path = folder / "patient.csv"
    path.write_text("\n".join([head, *(f"{row},{tail}" for row in rows)]) + "\n")
    return path


def recorded(
    drug: str, visits: int, folder: Path, patient: int = 3
) -> tuple[Path, dict[str, str], list[np.ndarray], Treatment]:
    """A simulated patient's table, dosed by usual care; genotype, observations at the visits, treatment."""
    known, noise = scenario(drug), Noise("select", 5)
    people = known.population.draw(known.model, known.base, np.array([patient]), noise)
    treatment = Treatment(known, Intake.prepare(known, people, noise, known.preset("textbook")))
    rule, state, rows = regimen("clinical-nomogram", known), None, []
    length, seen_at = known.clock.length, []
    for unit in range(int(known.days[0])):
        rows += given(known, people.covariates, unit, unit * length, 0.0)
    for number in range(visits + 1):
        observation = treatment.observe()
        seen_at.append(observation)
        rows += results(known, observation, float(treatment.clock[0]))
        if number == visits:
            break
        dose, state = rule.predict(observation, state, np.array([number == 0]))
        unit, clock = int(treatment.day[0]), float(treatment.clock[0])
        treatment.give(dose)
        for i in range(int(treatment.day[0]) - unit):
            amount = float(known.doses.snap(dose)[0])
            rows += given(known, people.covariates, unit + i, clock + i * length, amount)
    alleles = {allele_entry(t.gene, a) for t in known.model.genotype_terms for a in t.per_allele}
    seen = known.observation.decode(seen_at[-1])
    body = {e.name: seen[e.name][0] for e in known.covariates if e.name not in alleles}
    lines = ["ID,TIME,EVID,AMT,RATE,CMT,DV,DVID," + ",".join(body)]
    lines += [
        ",".join(["7", *("." if math.isnan(v) else repr(v) for v in row), *(str(v) for v in body.values())])
        for row in sorted(set(rows), key=lambda row: row[:2])
    ]
    path = folder / f"{drug}.csv"
    path.write_text("\n".join(lines) + "\n")
    genes = {term.gene: str(people.genotypes[term.gene][0]) for term in known.model.genotype_terms}
    return path, genes, seen_at, treatment


def given(known: Scenario, people: Any, unit: int, begin: float, dose: float) -> list[tuple[float, ...]]:
    rows: list[tuple[float, ...]] = []
    for item in known.administrations:
        made = item.give(np.array([[dose]]), people, np.array([[unit]]))
        offset, amount, duration = (
            np.broadcast_to(part, (1, 1, item.count))[0, 0].tolist()
            for part in (made.offset, made.amount, made.duration)
        )
        route = next(route for route in known.model.routes if route.name == item.route)
        into = float(known.model.states.index(route.state) + 1)
        rows += [
            (begin + o, 1.0, a, a / d if d > 0 else 0.0, into, math.nan, math.nan)
            for o, a, d in zip(offset, amount, duration, strict=True)
            if a > 0
        ]
    return rows


def results(known: Scenario, observation: np.ndarray, clock: float) -> list[tuple[float, ...]]:
    numbers = {name: number for number, name in reversed(outputs_by_number(known).items()) if number}
    seen, rows = known.observation.decode(observation), []
    for item in known.measurements:
        if seen[f"{item.name}_new"][0] > 0.5:
            age = float(seen[f"{item.name}_age"][0]) / known.clock.shown * known.clock.length
            time = round(clock - age, 4)
            value = float(seen[item.name][0])
            rows.append((time, 0.0, math.nan, math.nan, math.nan, value, float(numbers[item.output])))
    return rows


@pytest.mark.parametrize("drug", [name for name in names() if name != "propofol"])
def test_rules_see_a_recorded_treatment_as_it_was(drug: str, tmp_path: Path) -> None:
    """A table made from a simulated course leads back to its observations: the scenario's own visits."""
    path, genes, seen, treatment = recorded(drug, 3, tmp_path)
    known = scenario(drug)
    case = read_case(known, path, genotypes=genes, at=float(treatment.clock[0]))
    line = timeline(case)
    assert (line.unit, line.begin) == (treatment.day[0], pytest.approx(treatment.clock[0]))
    rebuilt = dict(zip((visit.clock for visit in line.visits), line.observations(), strict=True))
    for observation in seen:
        was = known.observation.decode(observation)
        clock = float(was[known.clock.entry][0]) / known.clock.shown * known.clock.length
        nearest = min(rebuilt, key=lambda at: abs(at - clock))
        if abs(nearest - clock) > 1e-3:  # nothing was measured or changed at this visit: the table has none
            assert not any(was[f"{item.name}_new"][0] > 0.5 for item in known.measurements)
            continue
        now = known.observation.decode(rebuilt[nearest])
        for entry in known.observation.entries:
            # a dose in force is only known by the amounts given: several may be the same
            if entry.name == "last_dose" and drug == "vancomycin":
                continue
            # between changes of the dose without a sample the table shows no visit
            if entry.name in ("interval", "next_interval"):
                continue
            if entry.name == "weight_kg" and known.trend is not None:
                continue  # a child grows, the table has one weight
            np.testing.assert_allclose(
                now[entry.name], was[entry.name], rtol=2e-4, atol=2e-3, err_msg=entry.name
            )


def test_a_monitor_with_a_delay_is_seen_as_it_was(tmp_path: Path) -> None:
    """Propofol: BIS is shown several quarter minutes late, and every quarter minute is a visit."""
    path, _, seen, treatment = recorded("propofol", 24, tmp_path)
    known = scenario("propofol")
    line = timeline(read_case(known, path, at=float(treatment.clock[0])))
    assert [visit.unit for visit in line.visits] == list(range(25))
    shown = [float(known.observation.read(o, "bis")[0]) for o in line.observations()]
    was = [float(known.observation.read(o, "bis")[0]) for o in seen]
    np.testing.assert_allclose(shown[10:], was[10:], rtol=1e-6)


def test_exact_posterior_agrees_with_the_belief(tmp_path: Path) -> None:
    """At the scenario's own times particle filter and recorded posterior are two ways to one posterior."""
    path, genes, seen, treatment = recorded("tacrolimus", 5, tmp_path, patient=5)
    known = scenario("tacrolimus")
    filter_, belief = BeliefFilter(known, 1024), None
    for number, observation in enumerate(seen):
        belief = filter_.step(belief, observation, np.array([number == 0]))
    assert belief is not None
    case = read_case(known, path, genotypes=genes, at=float(treatment.clock[0]))
    draws = person(case).posterior
    mean, sd = belief.mean_sd(belief.x)
    theirs = np.log(draws.parameters()[:, :, 0][..., list(known.model.random_effects)])
    exact, spread = draws.mean_sd(theirs)
    assert np.all(np.abs(exact - mean) < 0.15 * sd), (exact, mean, sd)
    np.testing.assert_allclose(spread, sd, rtol=0.15)


def test_states_are_those_of_the_simulated_course(tmp_path: Path) -> None:
    """The particles' states at the decision give the level that the whole course predicts then."""
    case = read_case(scenario("tacrolimus"), table(tmp_path), genotypes=GENES, at=90)
    line = timeline(case)
    draws = person(case).draw(32)
    out = outputs_now(draws.courses.model, draws.state(line.begin), draws.theta, np.array([0]))[:, 0]
    course = draws.courses.simulate(draws.eta, [], np.array([line.begin]), ["C"])[:, 0, 0, 0]
    np.testing.assert_allclose(out, course, rtol=1e-9)


def test_equal_draws_stand_for_the_weighted_particles(tmp_path: Path) -> None:
    """Taken in their order, points of a Sobol sequence would come from one part of it."""
    known = person(read_case(scenario("tacrolimus"), table(tmp_path), at=0))
    assert len(known.genotypes) == 9
    mean = np.einsum("gk,gkd->d", known.weight, known.posterior.eta)
    sd = np.sqrt(np.diag(known.courses.omega))
    for count in (64, 128, 512):
        drawn = known.draw(count).eta[:, 0]
        assert np.all(np.abs(drawn.mean(axis=0) - mean) < 4 * sd / np.sqrt(count)), count
        np.testing.assert_allclose(drawn.std(axis=0), sd, rtol=4 / np.sqrt(2 * count))


def test_unknown_genotype_is_averaged_by_bayes(tmp_path: Path) -> None:
    """Weights of the genotypes: frequency times marginal likelihood of each, found with it as known."""
    known, path = scenario("tacrolimus"), table(tmp_path)
    mixed = person(read_case(known, path, genotypes={"CYP3A5": "*1/*3"}))
    assert [g["CYP3A4"] for g in mixed.genotypes] == ["*1/*1", "*1/*22", "*22/*22"]
    alone = [
        person(read_case(known, path, genotypes=dict(g))).posterior.log_marginal[0] for g in mixed.genotypes
    ]
    weight = np.exp(mixed.log_prior + alone)
    np.testing.assert_allclose(mixed.genotype_weight, weight / weight.sum(), rtol=0.05)
    # CYP3A4*22 at the frequency of the population's groups, Hardy-Weinberg
    assert mixed.log_prior[1] > mixed.log_prior[2]
    assert np.exp(mixed.log_prior).sum() == pytest.approx(1)


def test_more_drug_is_more_level_and_more_harm(tmp_path: Path) -> None:
    advice = advise(read_case(scenario("tacrolimus"), table(tmp_path), genotypes=GENES))
    means = [item.response.mean for item in advice.candidates]
    harms = [item.harm for item in advice.candidates]
    assert means == sorted(means) and harms == sorted(harms)
    assert advice.monitoring.response.mean == pytest.approx(advice.target.aim, rel=0.05)
    for item in advice.candidates:
        assert item.level is not None and item.response.low < item.response.mean < item.response.high
        assert item.level.high - item.level.low > item.response.high - item.response.low  # assay error
    best = max(advice.candidates, key=lambda item: item.in_target)
    assert abs(best.dose - advice.monitoring.dose) <= 1.0


def test_probabilities_are_those_of_the_whole_course(tmp_path: Path) -> None:
    """Particles from their state now, and the records with the coming doses added: the same troughs."""
    advice = advise(read_case(scenario("tacrolimus"), table(tmp_path), genotypes=GENES))
    draws, item = advice.prospects.draws, advice.candidates[2]
    doses = [Dose(96.0 + 12.0 * i, item.dose, 0.0, "oral") for i in range(6)]
    trough = draws.courses.simulate(draws.eta, doses, np.array([168.0]), ["C"])[:, 0, 0, 0]
    assert advice.prospects.reach == 3
    assert item.in_target == pytest.approx(np.mean((trough >= 10) & (trough <= 15)), abs=1e-9)
    assert item.response.mean == pytest.approx(trough.mean(), rel=1e-6)


def test_nomogram_changes_the_dose_on_record(tmp_path: Path) -> None:
    """The clinic's rule: dose × target / trough, on the dose that was really given: 7 × 12.5 / 9.1."""
    advice = advise(read_case(scenario("tacrolimus"), table(tmp_path), genotypes=GENES))
    rows = {row.advised.name: row for row in advice.regimens}
    assert rows["nomogram"].advised.dose == pytest.approx(7 * 12.5 / 9.1, rel=1e-5)
    assert "dose × 1.37, 7 → 9.62" in rows["nomogram"].why
    assert rows["label"].advised.dose == pytest.approx(0.1 * 75)
    assert rows["pid"].advised.given is None and "closed loop" in rows["pid"].why
    assert rows["planner"].prospect is not None and "expected loss" in rows["planner"].why


def test_target_in_another_name_or_range(tmp_path: Path) -> None:
    known = scenario("tacrolimus")
    case = read_case(known, table(tmp_path), genotypes=GENES)
    usual, lower = advise(case), advise(case, target="trough=8..10")
    assert usual.target.low == 10 and usual.target.own
    assert lower.target.aim == 9 and not lower.target.own
    # troughs are linear in the dose but for what is still in the body
    assert lower.prospects.monitoring_dose < 0.85 * usual.prospects.monitoring_dose
    vancomycin = target_of(scenario("vancomycin"), "trough=10..15", 0)
    assert (vancomycin.name, vancomycin.aim) == ("sample of trough", 12.5)
    assert target_of(scenario("vancomycin"), "auc24=400..", 0).high == math.inf
    for text, word in (("peak=1..2", "AUC24"), ("trough=12..8", "smaller"), ("trough", "NAME=LOW..HIGH")):
        with pytest.raises(ValueError, match=word):
            target_of(scenario("vancomycin"), text, 0)


def test_what_rules_see_otherwise_is_said(tmp_path: Path) -> None:
    """A dose off the grid, a level at another time, one below the limit."""
    rows = ("P1,0,5.2,12,3,.,1,.,.", "P1,40,.,.,.,6.2,0,.,.", "P1,48,7,12,3,.,1,.,.", "P1,96,.,.,.,.,0,1,3")
    path = table(tmp_path, rows, HEAD.replace("EVID,", "EVID,BLQ,LLOQ,"))
    line = timeline(read_case(scenario("tacrolimus"), path, genotypes=GENES))
    assert line.dose.tolist() == [5, 5, 7, 7]
    notes = "\n".join(line.notes)
    assert "days 0 to 1: 10.4 mg a day, seen by the rules as 5 mg every 12 h, which is 10" in notes
    assert "C of 40 h: seen by the rules as drawn at 48 h" in notes
    assert "below 3, seen by the rules as 1.5" in notes


def test_rest_of_the_day_is_still_given(tmp_path: Path) -> None:
    """Decided at 56 h, with the morning dose taken: the evening dose is to come, day 3 is decided."""
    rows = (*ROWS[:2], "P1,48,7,.,.,.,1", "P1,56,.,.,.,12,0")
    line = timeline(read_case(scenario("tacrolimus"), table(tmp_path, rows), genotypes=GENES))
    assert (line.unit, line.begin) == (3, 72)
    assert line.remaining == ((60.0, 7.0, 0.0, "oral"),)


def test_a_table_that_ends_with_a_dose_decides_the_unit_after_it(tmp_path: Path) -> None:
    path = table(tmp_path, (*ROWS[:2], "P1,48,7,.,.,.,1"))
    line = timeline(read_case(scenario("tacrolimus"), path, genotypes=GENES))
    assert (line.unit, line.last_dose) == (3, 7) and not line.notes
    assert line.remaining == ((60.0, 7.0, 0.0, "oral"),)
    # decided at the dose's own time it is what is to be decided
    line = timeline(read_case(scenario("tacrolimus"), path, genotypes=GENES, at=48))
    assert (line.unit, line.last_dose, line.remaining) == (2, 5, ())


def test_first_dose_is_decided_on_the_population(tmp_path: Path) -> None:
    advice = advise(read_case(scenario("tacrolimus"), table(tmp_path), genotypes=GENES, at=0))
    assert advice.timeline.unit == 0 and not advice.levels
    assert any("nothing was measured" in flag for flag in advice.flags)
    for row in advice.parameters:
        assert row.ratio == pytest.approx(1, abs=0.1)


def test_steady_state_has_a_posterior_and_no_replay(tmp_path: Path) -> None:
    rows = ("P1,0,5,12,7,.,1,1", "P1,96,.,.,.,9.1,0,0")
    path = table(tmp_path, rows, HEAD.replace("EVID,", "EVID,SS,"))
    advice = advise(read_case(scenario("tacrolimus"), path, genotypes=GENES))
    assert all(row.prospect is None and "steady state" in row.why for row in advice.regimens)
    assert advice.candidates and len(advice.levels) == 1


def test_all_levels_below_the_limit_are_flagged(tmp_path: Path) -> None:
    rows = ("P1,0,5,12,3,.,1,.,.", "P1,48,.,.,.,.,0,1,2")
    path = table(tmp_path, rows, HEAD.replace("EVID,", "EVID,BLQ,LLOQ,"))
    advice = advise(read_case(scenario("tacrolimus"), path, genotypes=GENES))
    assert any("below the limit" in flag for flag in advice.flags)
    assert advice.parameters[0].ratio > 1  # so low a level speaks for a high clearance
    assert advice.record()["levels"][0]["measured"] is None


def test_a_visit_as_far_off_as_none_in_training_is_flagged(tmp_path: Path) -> None:
    path, genes, _, _ = recorded("vancomycin", 2, tmp_path)
    case = read_case(scenario("vancomycin"), path, genotypes=genes)
    flags = [flag for flag in advise(case).flags if "learned" in flag]
    assert not flags  # a day, as the calendar has it
    (flag,) = (flag for flag in advise(case, ahead=2).flags if "learned" in flag)
    assert flag == "the policy learned with visits 1 day apart: its dose for 2 is an extrapolation"


@pytest.mark.parametrize(("ahead", "flagged"), [(1, True), (2, False), (13, False), (20, False), (21, True)])
def test_between_the_visits_of_training_nothing_is_extrapolated(
    tmp_path: Path, ahead: int, flagged: bool
) -> None:
    case = read_case(scenario("tacrolimus"), table(tmp_path), genotypes=GENES)
    flags = [flag for flag in advise(case, ahead=ahead).flags if "learned" in flag]
    words = f"the policy learned with visits 2 to 20 days apart: its dose for {ahead} is an extrapolation"
    assert flags == [words] * flagged


def test_a_policy_that_is_monitoring_learned_no_calendar(tmp_path: Path) -> None:
    path, genes, _, _ = recorded("fluorouracil", 2, tmp_path)
    advice = advise(read_case(scenario("fluorouracil"), path, genotypes=genes), ahead=2)
    doses = {row.advised.name: row.advised.dose for row in advice.regimens}
    assert doses["policy"] == doses["bayesian-adaptive"]
    assert not any("learned" in flag for flag in advice.flags)


def test_record_is_json_and_holds_what_is_said(tmp_path: Path) -> None:
    advice = advise(read_case(scenario("tacrolimus"), table(tmp_path), genotypes=GENES))
    record = json.loads(json.dumps(advice.record(), allow_nan=False))
    assert record["schema"] == 1 and record["target"]["aim"] == 12.5
    assert record["monitoring_dose"]["dose"] == advice.monitoring.dose
    assert [row["name"] for row in record["regimens"]] == [row.advised.name for row in advice.regimens]
    assert sum(row["weight"] for row in record["models"]) == pytest.approx(1)
    assert sum(row["probability"] for row in record["genotype_probabilities"]) == pytest.approx(1)


def test_units_are_converted(tmp_path: Path) -> None:
    """The same patient in days, µg and µg/L."""
    usual = read_case(scenario("tacrolimus"), table(tmp_path), genotypes=GENES)
    rows = (
        "P1,0,5000,0.5,3,.,1", "P1,2,.,.,.,6.2,0", "P1,2,7000,0.5,3,.,1", "P1,4,.,.,.,9.1,0",
    )  # fmt: skip
    head = HEAD.replace("TIME[h]", "TIME[day]").replace("AMT[mg]", "AMT[µg]").replace("ng/mL", "µg/L")
    other = read_case(scenario("tacrolimus"), table(tmp_path, rows, head), genotypes=GENES)
    assert other.now == usual.now
    np.testing.assert_allclose([g[:3] for g in other.given], [g[:3] for g in usual.given])
    np.testing.assert_allclose(other.records.dv, usual.records.dv)


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({}, {"at": -5.0}, ("--at -5", "no records before it")),
        ({}, {"genotypes": {"CYP2D6": "*1/*1"}}, ("no term for CYP2D6", "CYP3A5")),
        ({}, {"genotypes": {"CYP3A5": "*1/*99"}}, ("*99", "CYP3A5")),
        ({}, {"covariates": {"wieght_kg": 70.0}}, ("wieght_kg", "did you mean 'weight_kg'")),
        ({}, {"covariates": {"age_y": 300.0}}, ("age_y = 300", "10 to 110")),
        ({}, {"patient": "P2"}, ("no patient 'P2'", "P1")),
        ({"head": HEAD.replace("albumin_g_l", "alb")}, {}, ("no covariate albumin_g_l (g/L)", "--covariate")),
        ({"head": HEAD.replace("ng/mL", "nmol/L")}, {}, ("nmol/L", "ng/mL")),
        ({"head": HEAD.replace("weight_kg", "weight_kg[lb]")}, {}, ("weight_kg", "lb")),
        ({"head": HEAD.replace("DV[ng/mL]", "DV[1=ng/mL]")}, {}, ("6.2 has no DVID", "1=ng/mL")),
        ({"head": HEAD + ",CMT", "tail": ONE + ",9"}, {}, ("CMT = 9", "line 2", "1 (oral)")),
        ({"rows": (*ROWS, "P1,97,.,.,.,61000,0")}, {}, ("DV = 61000 ng/mL", "line 6", "another unit")),
        ({"tail": ONE.replace("48,1,", "48,0.5,")}, {}, ("line 2", "male = 0.5", "0 or 1")),
        ({}, {"covariates": {"male": 7.0}}, ("--covariate male = 7", "0 or 1")),
        ({}, {"at": math.nan}, ("--at nan", "time")),
        ({"rows": (*ROWS, "P1,0,5,12,3,.,4")}, {}, ("TIME = 0 after 96", "line 6", "run on across a reset")),
        ({"rows": (*ROWS, "P2,0,5,12,3,.,1")}, {}, ("2 patients", "--id")),
    ],
)
def test_bad_input_is_one_error_with_a_remedy(
    change: dict[str, Any], arguments: dict[str, Any], words: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as caught:
        read_case(scenario("tacrolimus"), table(tmp_path, **change), **arguments)
    assert all(word in str(caught.value) for word in words), caught.value


def test_covariates_are_converted_from_the_unit_in_their_header(tmp_path: Path) -> None:
    head = HEAD.replace("albumin_g_l", "albumin_g_l[g/dL]")
    case = read_case(scenario("tacrolimus"), table(tmp_path, head=head, tail=ONE.replace(",40,", ",4,")))
    assert case.records.covariates["albumin_g_l"].tolist() == [40.0] * 4


def test_of_doses_by_which_the_same_is_given_one_is_asked(tmp_path: Path) -> None:
    # 65 mL/min: every 12 h, each infusion by 250 mg, so that 750 and 1000 mg a day are both 2 × 500 mg
    path = tmp_path / "v.csv"
    head = "ID,TIME,AMT,RATE,DV,EVID,age_y,male,weight_kg,crcl_ml_min,creatinine_mg_dl"
    rows = [f"1,{12 * i},750,750,.,1,60,1,70,65,1.1" for i in range(4)]
    path.write_text("\n".join([head, *rows, "1,47.5,.,.,16.5,0,60,1,70,65,1.1"]) + "\n")
    advice = advise(read_case(scenario("vancomycin"), path, at=48.0))
    given = [item.given for item in advice.candidates]
    assert {"2 × 500 mg", "2 × 750 mg"} < set(given) and len(set(given)) == len(given)
    prospects = advice.prospects
    assert prospects.given(750.0) == prospects.given(1000.0) == "2 × 500 mg"
    # regimens are told apart by what is given
    named = {row.prospect.given for row in advice.regimens if row.prospect is not None}
    assert advice.summary[0].startswith(f"{len(named)} different doses: ")


def test_few_particles_are_flagged_after_they_were_moved(tmp_path: Path) -> None:
    # troughs ten times what the doses explain: the particles that were moved there have few ancestors
    path = tmp_path / "v.csv"
    head = "ID,TIME,AMT,RATE,DV,EVID,age_y,male,weight_kg,crcl_ml_min,creatinine_mg_dl"
    rows = [f"1,{12 * i},750,750,.,1,60,1,70,65,1.1" for i in range(4)]
    rows += ["1,23.5,.,.,150,0,60,1,70,65,1.1", "1,47.5,.,.,290,0,60,1,70,65,1.1"]
    rows.sort(key=lambda row: float(row.split(",")[1]))
    path.write_text("\n".join([head, *rows]) + "\n")
    found = person(read_case(scenario("vancomycin"), path, at=48.0), seed=0)
    assert found.posterior.moved.all()
    assert found.effective_size == pytest.approx(found.posterior.effective_size[0])
    assert found.effective_size < 100


def test_nothing_is_decided_for_the_day_of_a_fixed_load(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text(
        "ID,TIME,AMT,EVID,age_y,male,weight_kg,liver_toxicity\n1,0,400,1,50,1,70,0\n1,12,400,1,50,1,70,0\n"
    )
    case: Case = read_case(scenario("voriconazole"), path, genotypes={"CYP2C19": "*1/*1"}, at=0)
    with pytest.raises(ValueError, match="before day 1 is fixed"):
        timeline(case)


def test_an_allele_pair_without_a_course_is_asked_for(tmp_path: Path) -> None:
    """Without DPYD there may be no clearance at all: that is nothing to average over."""
    path = tmp_path / "f.csv"
    path.write_text("ID,TIME,AMT,RATE,DV,age_y,male,bsa_m2\n1,0,4600,100,.,50,1,1.9\n1,40,.,.,0.5,50,1,1.9\n")
    with pytest.raises(ValueError, match="give --genotype DPYD"):
        person(read_case(scenario("fluorouracil"), path))


@pytest.mark.parametrize(
    ("value", "count", "shown"),
    [
        (3560.4, 3, "3560"),
        (12_749.0, 4, "12750"),
        (0.0345678, 3, "0.0346"),
        (18.0, 3, "18"),
        (-0.5, 3, "-0.5"),
    ],
)
def test_numbers_show_their_digits_and_no_power_of_ten(value: float, count: int, shown: str) -> None:
    assert digits(value, count) == shown
