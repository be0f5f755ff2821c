"""The posterior is Bayes' rule over diplotypes, and means what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosewright.pharmacogenomics import (
    TABLES,
    Diplotype,
    UnknownGroupError,
    draw_diplotypes,
    phenotype,
    posterior,
)
from dosewright.pharmacogenomics.cohort import phenotype_frequencies
from dosewright.pharmacogenomics.haplotypes import haplotypes
from dosewright.pharmacogenomics.posterior import (
    INBREEDING,
    LEAST_ERROR,
    UNLISTED,
    allele_prior,
    expected_alleles,
    log_likelihood,
)
from dosewright.pharmacogenomics.sequencing import DRAWS, Sequencing, sequence
from dosewright.pharmacogenomics.sites import Origin, Site

FIVE = ("European", "East Asian", "Sub-Saharan African", "Latino", "Central/South Asian")


def called(*alleles: str, quality: float | None = 99.0, phase_set: str | None = None) -> Site:
    return Site(alleles, phase_set is not None, phase_set, 30, quality, None, Origin.RECORD, "")


def all_reference(gene: str) -> dict[int, Site]:
    return {position.pos: called(position.ref, position.ref) for position in TABLES.positions(gene)}


@pytest.mark.parametrize("gene", ["CYP2C9", "CYP2C19", "CYP3A5", "TPMT"])
def test_without_data_the_frequencies_speak(gene: str) -> None:
    found = posterior(gene, {}, "European")
    prior = allele_prior(gene, "European")
    assert sum(found.diplotypes.values()) == pytest.approx(1, abs=1e-6)
    f = dict(zip(prior.names, prior.frequencies[0].tolist(), strict=True))
    for allele, frequency in TABLES.allele_frequencies(gene, "European").items():
        # doubt costs at most the unlisted share and one chromosome in 2N; CYP2C19*38 was counted as *1
        both = f[allele] + (f["*38"] if (gene, allele) == ("CYP2C19", "*1") else 0.0)
        assert both == pytest.approx(frequency, abs=UNLISTED + 0.002)
    exact = phenotype_frequencies(gene, "European")
    for name, probability in found.phenotypes.items():
        if gene != "CYP2C9" and name in exact:  # CYP2C9 is keyed by activity score
            assert probability == pytest.approx(exact[name], abs=0.03)
    assert found.positions_read == 0


def test_two_alleles_at_one_position_by_hand() -> None:
    # One heterozygous call of *3 (rs776746 T>C), the rest missing, Q20: both homozygotes are one base away.
    found = posterior("CYP3A5", {99672916: called("T", "C", quality=20)}, "European")
    prior = allele_prior("CYP3A5", "European")
    f = dict(zip(prior.names, prior.frequencies[0].tolist(), strict=True))
    weight = {}
    for i, a in enumerate(prior.names):
        for b in prior.names[i:]:
            number = (a == "*3") + (b == "*3")
            said = (0.99, 0.005)[number != 1] + LEAST_ERROR * 0.99
            pair = f[a] * f[b] * (1 - INBREEDING) * (1 if a == b else 2) + INBREEDING * f[a] * (a == b)
            weight[Diplotype(a, b)] = pair * said
    total = sum(weight.values())
    for pair, value in weight.items():
        assert found.probability(pair) == pytest.approx(value / total, rel=2e-3, abs=1e-9)
    assert found.best == Diplotype("*1", "*3")


@pytest.mark.parametrize("quality", [6.0, 10.0, 20.0, 99.0])
def test_the_order_of_one_phased_call_says_nothing(quality: float) -> None:
    for gene, pos, bases in (("CYP2C9", 94981296, ("A", "C")), ("TPMT", 18130687, ("T", "C"))):
        alone = posterior(gene, all_reference(gene) | {pos: called(*bases, quality=quality)}, "European")
        for phase_set in ("", "7"):
            sites = all_reference(gene) | {pos: called(*bases, quality=quality, phase_set=phase_set)}
            phased = posterior(gene, sites, "European")
            for pair, p in alone.diplotypes.items():
                assert phased.probability(pair) == pytest.approx(p, abs=1e-3)  # of the floor of errors


@pytest.mark.parametrize(
    ("gene", "pos", "base", "diplotype", "group"),
    [  # homozygous for a rare allele: two wrong bases are less likely than two copies of it
        ("DPYD", 97515787, "C", "c.1679T>G (*13)/c.1679T>G (*13)", "European"),
        ("DPYD", 97450058, "T", "c.1905+1G>A (*2A)/c.1905+1G>A (*2A)", "European"),
        ("NUDT15", 48045719, "T", "*3/*3", "European"),
        ("TPMT", 18143724, "G", "*2/*2", "European"),
        ("CYP2C9", 94949281, "G", "*6/*6", "European"),
    ],
)
def test_a_rare_homozygote_that_was_read_well_is_believed(
    gene: str, pos: int, base: str, diplotype: str, group: str
) -> None:
    sites = all_reference(gene) | {pos: called(base, base, quality=60.0)}
    assert posterior(gene, sites, group).probability(diplotype) > 0.95


@pytest.mark.parametrize(
    ("gene", "pos", "bases", "phenotype"),
    [  # the tables have frequency 0 for each in East Asians, of 205,294 people for DPYD
        ("DPYD", 97450058, ("C", "T"), "Intermediate Metabolizer"),
        ("DPYD", 97515787, ("A", "C"), "Intermediate Metabolizer"),
        ("TPMT", 18138997, ("C", "T"), "Intermediate Metabolizer"),
    ],
)
def test_a_good_call_outweighs_a_study_that_did_not_find_the_allele(
    gene: str, pos: int, bases: tuple[str, str], phenotype: str
) -> None:
    sites = all_reference(gene) | {pos: called(*bases, quality=99.0)}
    assert posterior(gene, sites, "East Asian").phenotypes[phenotype] > 0.9


def test_variants_that_must_share_a_chromosome_are_put_there() -> None:
    # HapB3 homozygous, *2A heterozygous: *2A stands beside one HapB3, 0 and 0.5 [CPIC, PMID 29152729]
    hapb3 = {97573863: called("T", "T"), 97579893: called("C", "C")}
    found = posterior("DPYD", all_reference("DPYD") | hapb3 | {97450058: called("C", "T")}, "European")
    assert "[c.1129-5923C>G, c.1236G>A (HapB3) + c.1905+1G>A (*2A)]" in found.best.alleles
    assert found.phenotypes["Poor Metabolizer"] > 0.99
    # where they need not, two rare variants are on two chromosomes ten to one
    sites = all_reference("DPYD") | {97450058: called("C", "T"), 97515787: called("A", "C")}
    apart = posterior("DPYD", sites, "European").phenotypes
    assert apart["Poor Metabolizer"] == pytest.approx(10 / 11, abs=0.01)


def test_an_allele_seen_in_half_a_call_counts() -> None:
    # `./1` at *2A: the other chromosome is not known, this one is
    half = Site(note="half call (./1)", quality=60.0, glimpsed=("T",))
    found = posterior("DPYD", all_reference("DPYD") | {97450058: half}, "European")
    assert found.phenotypes["Intermediate Metabolizer"] > 0.98
    assert found.positions_read == found.positions - 1


def test_the_common_haplotype_of_ugt1a1_is_one_chromosome() -> None:
    # rs887829 and the long repeat, both heterozygous: *80+*28 on one chromosome, as in nearly every European
    sites = all_reference("UGT1A1") | {233759924: called("C", "T"), 233760233: called("CAT", "CATAT")}
    for group in ("European", "East Asian"):  # *80 is listed for the one, not for the other
        found = posterior("UGT1A1", sites, group)
        assert found.probability("*1/*80+*28") > 0.95
        assert found.phenotypes["Intermediate Metabolizer"] > 0.95


def test_a_clean_sample_is_called_with_certainty() -> None:
    sites = all_reference("CYP2C9") | {94942290: called("C", "T"), 94981296: called("A", "C")}
    found = posterior("CYP2C9", sites, "European")
    assert str(found.best) == "*2/*3" and found.probability("*2/*3") > 0.999
    assert found.phenotypes["Poor Metabolizer"] > 0.999  # activity values 0.5 and 0 [CPIC 1.56.0]
    assert found.source == TABLES.source("CYP2C9")


def test_a_missing_position_leaves_what_it_would_have_shown_open() -> None:
    # rs12248560 (*17) was not read in a sample that is *1 otherwise: *17 stays as likely as it is common
    sites = all_reference("CYP2C19") | {94842866: called("G", "G")}
    del sites[94761900]
    found = posterior("CYP2C19", sites, "European")
    frequency = TABLES.allele_frequencies("CYP2C19", "European")
    odds = 2 * frequency["*17"] / (0.95 * frequency["*1"])  # a twentieth of *1 is taken to be *38
    assert found.probability("*1/*17") / found.probability("*1/*1") == pytest.approx(odds, rel=0.02)
    everything = posterior("CYP2C19", sites | {94761900: called("C", "C")}, "European")
    assert everything.probability("*1/*1") > 0.99 > found.probability("*1/*1")


def test_phase_decides_between_cis_and_trans() -> None:
    # TPMT rs1800460 and rs1142345: together *3A, apart *3B and *3C
    def sites(phase_set: str | None, second: tuple[str, str]) -> dict[int, Site]:
        return all_reference("TPMT") | {
            18130687: called("T", "C", phase_set=phase_set),
            18138997: called(*second, phase_set=phase_set),
        }

    cis = posterior("TPMT", sites("1", ("C", "T")), "European")
    trans = posterior("TPMT", sites("1", ("T", "C")), "European")
    unphased = posterior("TPMT", sites(None, ("C", "T")), "European")
    assert cis.probability("*1/*3A") > unphased.probability("*1/*3A") > trans.probability("*1/*3A")
    assert trans.probability("*3B/*3C") > 1e3 * cis.probability("*3B/*3C")
    # *3A is common and *3B rare: unphased, the frequencies say cis
    assert unphased.probability("*1/*3A") > 0.99


def test_a_deletion_that_reads_cannot_show_stays_in_the_answer() -> None:
    # homozygous CYP2D6*4 (rs3892097), everything else reference: *4/*4 and *4/*5 look alike
    sites = all_reference("CYP2D6") | {42128945: called("T", "T")}
    found = posterior("CYP2D6", sites, "European")
    frequency = TABLES.allele_frequencies("CYP2D6", "European")
    ratio = found.probability("*4/*5") / found.probability("*4/*4")
    assert ratio == pytest.approx(2 * frequency["*5"] / frequency["*4"], rel=0.02)
    assert found.copies[1] > 0.1 and found.copies[1] + found.copies[2] + found.copies.get(3, 0) > 0.95
    # the phenotype does not care: neither has any activity
    assert found.phenotypes["Poor Metabolizer"] > 0.95


def test_no_gene_copy_at_all_fits_no_data_and_not_a_good_call() -> None:
    silent = posterior("CYP2D6", {}, "European").probability("*5/*5")
    read = posterior("CYP2D6", all_reference("CYP2D6"), "European").probability("*5/*5")
    frequency = TABLES.allele_frequencies("CYP2D6", "European")["*5"]
    assert silent == pytest.approx(frequency**2, rel=0.05)
    assert read < 1e-9


def test_the_sequence_of_the_reference_genome_is_cyp2c19_38() -> None:
    # rs3758581 A on both chromosomes, with and without a quality: *38/*38, which the frequencies do not list
    for quality in (99.0, None):
        sites = {
            position.pos: called(position.ref, position.ref, quality=quality)
            for position in TABLES.positions("CYP2C19")
        }
        found = posterior("CYP2C19", sites, "European")
        assert str(found.best) == "*38/*38" and found.probability("*38/*38") > 0.85
        assert found.phenotypes["Normal Metabolizer"] > 0.85


def test_ancestry_matters_where_reads_do_not_decide() -> None:
    sites = {99672916: Site()}
    european = posterior("CYP3A5", sites, "European").phenotypes["Poor Metabolizer"]
    african = posterior("CYP3A5", sites, "Sub-Saharan African").phenotypes["Poor Metabolizer"]
    mixed = posterior("CYP3A5", sites, {"European": 0.25, "Sub-Saharan African": 0.75})
    assert mixed.phenotypes["Poor Metabolizer"] == pytest.approx(0.25 * european + 0.75 * african, abs=1e-9)
    assert european > 0.7 > 0.3 > african


def test_a_group_without_frequencies_is_refused_and_shares_must_add_up() -> None:
    with pytest.raises(UnknownGroupError, match="VKORC1 has no frequencies for the group 'Oceanian'"):
        posterior("VKORC1", {}, "Oceanian")
    with pytest.raises(UnknownGroupError, match="none for any group"):
        posterior("CYP3A4", {}, "European")
    with pytest.raises(ValueError, match=r"add up to 0\.7; expected 1"):
        posterior("CYP2C9", {}, {"European": 0.7})
    with pytest.raises(ValueError, match="has share -0.1"):
        posterior("CYP2C9", {}, {"European": 1.1, "Latino": -0.1})


def test_a_base_that_no_allele_has_says_nothing() -> None:
    sites = all_reference("CYP2C9")
    with_odd = posterior("CYP2C9", sites | {94981296: called("A", "T")}, "European")
    without = posterior("CYP2C9", {k: v for k, v in sites.items() if k != 94981296}, "European")
    for pair in ("*1/*1", "*1/*3", "*1/*2"):
        assert with_odd.probability(pair) == pytest.approx(without.probability(pair), rel=1e-6)


def test_dpyd_rests_on_the_variants_that_change_the_function() -> None:
    sites = all_reference("DPYD") | {
        97450058: called("C", "T"),  # c.1905+1G>A (*2A)
        97883329: called("A", "G"),  # c.85T>C (*9A), normal function
    }
    found = posterior("DPYD", sites, "European")
    assert str(found.best) == "c.1905+1G>A (*2A)/Reference" and found.probability(found.best) > 0.99
    assert found.phenotypes["Intermediate Metabolizer"] > 0.99


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["CYP2C19", "CYP2B6", "TPMT", "UGT1A1"]))
def test_probabilities_add_up_and_phenotypes_are_sums_of_diplotypes(seed: int, gene: str) -> None:
    generator = np.random.default_rng(seed)
    people = draw_diplotypes(gene, np.array(["European"]), generator.random((1, 2)))
    shape = (1, len(TABLES.positions(gene)), DRAWS)
    sites = sequence(gene, people, generator.random(shape), Sequencing(6, 0.01, 0.2)).sites(0)
    found = posterior(gene, sites, "European")
    assert sum(found.diplotypes.values()) == pytest.approx(1, abs=1e-5)
    assert sum(found.phenotypes.values()) == pytest.approx(1, abs=1e-5)
    assert sum(found.copies.values()) == pytest.approx(1, abs=1e-5)
    assert list(found.diplotypes.values()) == sorted(found.diplotypes.values(), reverse=True)
    summed: dict[str, float] = {}
    functions = TABLES.function_alleles(gene)
    for pair, p in found.diplotypes.items():
        known = all(allele in functions for allele in pair.alleles)
        name = (phenotype(gene, pair) if known else None) or "not assigned"
        summed[name] = summed.get(name, 0) + p
    for name, p in found.phenotypes.items():
        assert summed.get(name, 0) == pytest.approx(p, abs=1e-5)


def test_one_person_and_many_are_the_same_computation() -> None:
    gene, group = "CYP2B6", "East Asian"
    generator = np.random.default_rng(4)
    people = draw_diplotypes(gene, np.array([group] * 6), generator.random((6, 2)))
    shape = (6, len(TABLES.positions(gene)), DRAWS)
    reads = sequence(gene, people, generator.random(shape), Sequencing(5, 0.01, 0.2))
    names, expected = expected_alleles(reads, np.array([group] * 6))
    assert expected.sum(axis=1) == pytest.approx(np.full(6, 2.0))
    known = haplotypes(gene, names, TABLES)
    seen = log_likelihood(known, reads.evidence)
    for person in range(6):
        alone = log_likelihood(known, {row: v[[person]] for row, v in reads.evidence.items()})[0]
        assert alone == pytest.approx(seen[person], abs=1e-9)
        found = posterior(gene, reads.sites(person), group)
        for column, name in enumerate(names):
            number = sum(p * pair.alleles.count(name) for pair, p in found.diplotypes.items())
            assert number == pytest.approx(expected[person, column], abs=0.05)  # smoothed prior


def test_what_is_predicted_comes_true_as_often_as_predicted() -> None:
    # simulated reads of all genes in five ancestries: within 3 points in every tenth of probability
    predicted, true = calibration(people=100, assay=Sequencing(10, 0.01, 0.15), seed=1)
    for low in np.arange(10) / 10:
        here = (predicted >= low) & ((predicted < low + 0.1) | (low > 0.85))
        error = 3 * np.sqrt(np.mean(predicted[here] * (1 - predicted[here])) / here.sum())
        assert abs(np.mean(true[here]) - np.mean(predicted[here])) < 0.03 + error, low


@pytest.mark.slow
def test_calibration_with_many_people() -> None:
    predicted, true = calibration(people=1500, assay=Sequencing(10, 0.01, 0.15), seed=2)
    for low in np.arange(10) / 10:
        here = (predicted >= low) & ((predicted < low + 0.1) | (low > 0.85))
        assert abs(np.mean(true[here]) - np.mean(predicted[here])) < 0.03, low


def calibration(people: int, assay: Sequencing, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probability of every candidate diplotype of every person, and whether it was the true one."""
    generator = np.random.default_rng(seed)
    predicted, true = [], []
    for gene in TABLES.genes():
        for group in FIVE:
            if group not in TABLES.biogeographic_groups(gene):
                continue
            drawn = draw_diplotypes(gene, np.array([group] * people), generator.random((people, 2)))
            if gene == "VKORC1":
                drawn = np.array(["/".join(f"rs9923231 {NAMES[base]}" for base in text) for text in drawn])
            shape = (people, len(TABLES.positions(gene)), DRAWS)
            reads = sequence(gene, drawn, generator.random(shape), assay)
            prior = allele_prior(gene, group)
            known = haplotypes(gene, prior.names, TABLES)
            total = prior.log_pairs + log_likelihood(known, reads.evidence)
            pairs = np.exp(total - total.max(axis=(1, 2), keepdims=True))
            pairs /= pairs.sum(axis=(1, 2), keepdims=True)
            k = len(prior.names)
            both = pairs + np.where(np.eye(k, dtype=bool), 0.0, pairs.transpose(0, 2, 1))
            first, second = np.triu_indices(k)
            truth = np.zeros((people, k, k), dtype=bool)
            for person, text in enumerate(drawn.tolist()):
                i, j = sorted(prior.names.index(allele) for allele in Diplotype.parse(text).alleles)
                truth[person, i, j] = True
            predicted.append(both[:, first, second].ravel())
            true.append(truth[:, first, second].ravel())
    return np.concatenate(predicted), np.concatenate(true)


NAMES = {"G": "reference (C)", "A": "variant (T)"}
