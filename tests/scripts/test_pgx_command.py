"""`dosewright pgx` and `simulate --vcf`: files written, several samples, wrong input, tables compared."""

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dosewright.pharmacogenomics import TABLES, recommended_drugs
from dosewright.scripts.cli import cli, run
from dosewright.scripts.pgx import _folder

GENES = ("CYP2C9", "VKORC1", "CYP4F2", "CYP3A5", "CYP3A4")
CALLED = {"rs1057910": "0/1", "rs9923231": "0/1", "rs776746": "0/1"}  # CYP2C9 *1/*3, VKORC1 GA, CYP3A5 *1/*3


def write_vcf(path: Path, samples: dict[str, dict[str, str]], genes: tuple[str, ...] = GENES) -> Path:
    """Write the positions of some genes: reference but for the genotypes that are given by rsid."""
    positions = [item for gene in genes for item in TABLES.positions(gene)]
    lines = ["##fileformat=VCFv4.2", "##contig=<ID=chr1,assembly=GRCh38>"]
    lines.append(
        "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples])
    )
    for item in sorted(positions, key=lambda item: (int(item.chrom.removeprefix("chr")), item.pos)):
        fixed = (item.chrom, str(item.pos), item.rsid or ".", item.ref, ",".join(item.alts), ".", "PASS", ".")
        lines.append("\t".join([*fixed, "GT", *(known.get(item.rsid, "0/0") for known in samples.values())]))
    path.write_text("\n".join(lines) + "\n")
    return path


def dosewright(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(item) for item in arguments])


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str]:
    """Exit code and message of the command as it is run from a shell."""
    monkeypatch.setattr(sys, "argv", ["dosewright", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        run(cli)
    return int(stop.value.code or 0), capsys.readouterr().err


def test_one_sample_is_written_and_printed(tmp_path: Path) -> None:
    vcf = write_vcf(tmp_path / "one.vcf", {"one": CALLED})
    out = tmp_path / "out"
    done = dosewright("pgx", vcf, "--drugs", "warfarin,Tacrolimus", "--ancestry", "European", "--out", out)
    assert done.exit_code == 0, done.output
    assert sorted(item.name for item in out.iterdir()) == ["genotype.html", "genotype.json"]
    record = json.loads((out / "genotype.json").read_text(encoding="utf-8"))
    assert [drug["drug"] for drug in record["drugs"]] == ["warfarin", "tacrolimus"]
    assert record["ancestry"] == {"given": True, "shares": {"European": 1.0}}
    printed = re.sub(r"\s+", " ", done.output)
    for gene in record["genes"]:
        assert f" {gene['gene']} {gene['result']} " in printed
    assert str(out / "genotype.html") in done.output and str(out / "genotype.json") in done.output
    assert all(sentence in printed for drug in record["drugs"] for sentence in drug["said"])


def test_the_word_report_may_be_left_out_and_all_adds_every_drug_of_cpic(tmp_path: Path) -> None:
    vcf = write_vcf(tmp_path / "one.vcf", {"one": CALLED})
    done = dosewright("pgx", "--drugs", "all", "--inhibitors", "fluconazole", vcf, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "genotype.json").read_text(encoding="utf-8"))
    drugs = [drug["drug"] for drug in record["drugs"]]
    assert len(drugs) == len(set(drugs)) and set(drugs) == {*recommended_drugs(), "warfarin"}
    codeine = next(drug for drug in record["drugs"] if drug["drug"] == "codeine")
    assert codeine["cpic"] == [] and "CYP2D6 was not tested" in codeine["open_genes"]["CYP2D6"]


def test_samples_get_folders_and_one_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    people = {"../up": CALLED, "bad": {**CALLED, "rs9923231": "0/7"}, "a b": {}}
    vcf, out = write_vcf(tmp_path / "three.vcf", people), tmp_path / "deep" / "out"
    code, said = refused(monkeypatch, capsys, "pgx", vcf, "--drugs", "warfarin", "--out", out)
    assert code == 1
    assert "three.vcf" in said and "sample bad, field GT" in said and "Traceback" not in said
    assert sorted(item.name for item in out.iterdir()) == ["..%2Fup", "a b"]
    assert sorted(item.name for item in out.parent.iterdir()) == ["out"]
    for folder, sample in (("..%2Fup", "../up"), ("a b", "a b")):
        record = json.loads((out / folder / "genotype.json").read_text(encoding="utf-8"))
        assert record["sample"] == sample and (out / folder / "genotype.html").is_file()
    alone = tmp_path / "alone"
    assert dosewright("pgx", vcf, "--sample", "a b", "--drugs", "warfarin", "--out", alone).exit_code == 0
    assert (alone / "genotype.html").is_file()


def test_folder_of_a_sample_stays_inside_and_is_its_own() -> None:
    names = ["a", "a/b", "a%2Fb", "..", ".", "a\\b", "<b>", "ä"]
    made = [_folder(name) for name in names]
    assert len(set(made)) == len(names)
    assert not any(set(name) & set("/\\<>") or set(name) <= {"."} for name in made)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--drugs", "warfarine"), ("unknown drug 'warfarine'", "did you mean warfarin")),
        (("--inhibitors", "fluconazol"), ("'fluconazol'", "did you mean fluconazole")),
        (("--ancestry", "Martian"), ("'Martian'", "European")),
        (("--ancestry", "European=0.6,Latino=0.3"), ("add up to 0.9", "expected 1")),
        (("--ancestry", "European=much"), ("European=much", "expected a group and its share")),
        (("--sample", "two"), ("no sample 'two'", "it has one")),
        (("--tables", "nowhere"), ("no folder nowhere", "genes.csv")),
        (("--outside", "nowhere.tsv"), ("no file nowhere.tsv",)),
        (("--missing", "maybe"), ("--missing", "force_reference")),
    ],
)  # fmt: skip
def test_wrong_input_writes_nothing_and_says_what_is_wrong(
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    vcf = write_vcf(tmp_path / "one.vcf", {"one": CALLED})
    code, said = refused(monkeypatch, capsys, "pgx", vcf, "--out", tmp_path / "out", *arguments)
    assert code == 2 and "Traceback" not in said
    assert all(word in said for word in words), said
    assert not (tmp_path / "out").exists()


def test_calls_from_outside_are_of_one_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vcf = write_vcf(tmp_path / "two.vcf", {"one": {}, "two": {}})
    (tmp_path / "calls.tsv").write_text("CYP2C9\t*1/*2\n")
    arguments = ("pgx", vcf, "--outside", tmp_path / "calls.tsv", "--drugs", "warfarin")
    code, said = refused(monkeypatch, capsys, *arguments, "--out", tmp_path / "out")
    assert code == 2 and "choose one with --sample" in said
    done = dosewright(*arguments, "--sample", "two", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "genotype.json").read_text(encoding="utf-8"))
    gene = next(item for item in record["genes"] if item["gene"] == "CYP2C9")
    assert (gene["origin"], gene["result"]) == ("outside call", "*1/*2")
    assert gene["vcf"]["diplotypes"] == ["*1/*1"]


def test_difference_of_tables_is_printed_by_gene(tmp_path: Path) -> None:
    same = dosewright("pgx", "tables", "diff", "shipped", "shipped")
    assert same.exit_code == 0 and same.output.splitlines()[-1] == "no difference"
    newer = tmp_path / "newer"
    for part in ("cpic", "clinpgx", "pharmcat"):
        for file in TABLES.folder.joinpath(part).iterdir():
            if file.name.endswith(".csv"):
                (newer / part).mkdir(parents=True, exist_ok=True)
                (newer / part / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    rules = newer / "cpic" / "phenotype_rules.csv"
    text = rules.read_text(encoding="utf-8")
    line = next(row for row in text.splitlines() if row.startswith("TPMT") and "Poor Metabolizer" in row)
    rules.write_text(text.replace(line, line.replace("Poor Metabolizer", "Very Poor Metabolizer")), "utf-8")
    done = dosewright("pgx", "tables", "diff", "shipped", newer)
    assert done.exit_code == 0, done.output
    _, _, count, *changes, total = done.output.splitlines()
    assert count == "TPMT: 1 change" and total == "changes: 1, genes: 1"
    assert "Poor Metabolizer" in changes[0] and "-> Very Poor Metabolizer" in changes[0]


def simulated(*arguments: str | Path) -> list[str]:
    """The printed course of warfarin."""
    done = dosewright("simulate", "warfarin", "--dose", "5", "--days", "7", "--people", "20", *arguments)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("warfarin,")) :]


def test_virtual_patient_of_a_vcf_is_the_one_with_those_genotypes(tmp_path: Path) -> None:
    vcf = write_vcf(tmp_path / "one.vcf", {"one": CALLED})
    by_hand = ("--genotype", "CYP2C9=*1/*3", "--genotype", "VKORC1=GA")
    assert simulated("--vcf", vcf) == simulated(*by_hand)
    assert "typical person: CYP2C9 *1/*3, VKORC1 GA" in simulated("--vcf", vcf)[1]
    (tmp_path / "calls.tsv").write_text("CYP2C9\t*2/*2\n")
    outside = simulated("--vcf", vcf, "--outside", tmp_path / "calls.tsv")
    assert outside == simulated("--genotype", "CYP2C9=*2/*2", "--genotype", "VKORC1=GA")


def test_dose_is_the_labels_unless_one_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vcf = write_vcf(tmp_path / "one.vcf", {"one": CALLED})
    course = ("--days", "7", "--people", "20", "--vcf", vcf)
    by_label = dosewright("simulate", "warfarin", *course)
    assert by_label.exit_code == 0, by_label.output
    assert "5 mg every 24h" in by_label.output  # US label of warfarin: 5 mg a day where no genotype is known
    assert by_label.output == dosewright("simulate", "warfarin", "--dose", "5", *course).output
    for arguments, words in (
        (("simulate", "warfarin", "--every", "12h"), "--every 12h without --dose"),
        (("simulate", "tacrolimus"), "is not one dose for everybody; give one, in mg"),
    ):
        code, said = refused(monkeypatch, capsys, *arguments)
        assert code == 2 and words in said


def test_genotype_option_wins_and_says_so(tmp_path: Path) -> None:
    vcf = write_vcf(tmp_path / "one.vcf", {"one": CALLED})
    arguments = ("--dose", "5", "--days", "7", "--people", "20", "--vcf", vcf, "--genotype", "CYP2C9=*1/*1")
    done = dosewright("simulate", "warfarin", *arguments)
    assert "CYP2C9 *1/*1: --genotype wins; sample one has *1/*3" in done.output
    assert "VKORC1 GA: sample one, VCF" in done.output
    assert "typical person: CYP2C9 *1/*1, VKORC1 GA" in done.output


def test_virtual_patient_says_what_the_model_does_not_tell_apart(tmp_path: Path) -> None:
    # TPMT *3A/*3A: Gebhard 2023 has a term for at least one variant allele
    carried = {"rs1800460": "1/1", "rs1142345": "1/1"}
    vcf = write_vcf(tmp_path / "one.vcf", {"one": carried}, ("TPMT", "NUDT15"))
    course = ("--dose", "50", "--days", "7", "--people", "20", "--vcf", vcf)
    done = dosewright("simulate", "mercaptopurine", *course)
    assert done.exit_code == 0, done.output
    assert "warning: the model does not tell TPMT *3A/*3A from *1/*3A" in done.output


def test_dpyd_is_read_by_the_pair_that_the_phenotype_is_looked_up_by(tmp_path: Path) -> None:
    vcf = write_vcf(tmp_path / "one.vcf", {"one": {"rs67376798": "0/1", "rs1801160": "0/1"}}, ("DPYD",))
    done = dosewright(
        "simulate", "fluorouracil", "--dose", "2000", "--days", "14", "--people", "20", "--vcf", vcf
    )
    assert done.exit_code == 0, done.output
    assert "DPYD c.2194G>A (*6)/c.2846A>T: sample one, VCF" in done.output


@pytest.mark.parametrize(
    ("drug", "genes", "extra", "words"),
    [
        (
            "warfarin",
            ("VKORC1",),
            (),
            ("sample one", "CYP2C9 was not tested", "--genotype CYP2C9=A/B", "--missing"),
        ),
        ("vancomycin", GENES, (), ("vancomycin has no genotype term",)),
        ("warfarin", GENES, ("--sample", "two"), ("no sample 'two'",)),
    ],
)
def test_gene_without_a_call_is_an_error_with_a_remedy(
    drug: str,
    genes: tuple[str, ...],
    extra: tuple[str, ...],
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    vcf = write_vcf(tmp_path / "one.vcf", {"one": CALLED}, genes)
    code, said = refused(monkeypatch, capsys, "simulate", drug, "--dose", "5", "--vcf", vcf, *extra)
    assert code == 2 and all(word in said for word in words), said


def test_several_samples_and_options_without_a_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vcf = write_vcf(tmp_path / "two.vcf", {"one": {}, "two": {}})
    code, said = refused(monkeypatch, capsys, "simulate", "warfarin", "--dose", "5", "--vcf", vcf)
    assert code == 2 and "2 samples; choose one with --sample: one, two" in said
    for option in (("--sample", "one"), ("--missing", "reference"), ("--ancestry", "European")):
        code, said = refused(monkeypatch, capsys, "simulate", "warfarin", "--dose", "5", *option)
        assert code == 2 and "give it with --vcf" in said


def test_missing_position_is_warned_of_and_an_improbable_call_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vcf = write_vcf(tmp_path / "one.vcf", {"one": {}})
    lines = vcf.read_text().splitlines()
    vcf.write_text("\n".join(line for line in lines if "rs28371686" not in line) + "\n")  # CYP2C9 *5
    course = ("--days", "7", "--people", "20", "--vcf", vcf)
    done = dosewright("simulate", "warfarin", "--dose", "5", "--ancestry", "European", *course)
    assert done.exit_code == 0, done.output
    assert "warning: CYP2C9: rs28371686 was not called, so that beside Normal Metabolizer also" in done.output
    # CYP3A5 *3, which most Europeans have twice
    vcf.write_text("\n".join(line for line in lines if "rs776746" not in line) + "\n")
    arguments = ("simulate", "tacrolimus", "--dose", "5", "--ancestry", "European", *course)
    code, said = refused(monkeypatch, capsys, *arguments)
    assert code == 2 and "Normal Metabolizer fits best, but has probability" in said and "--missing" in said
    forced = dosewright(*arguments, "--missing", "force_reference")
    assert forced.exit_code == 0 and "CYP3A5 *1/*1: sample one, VCF" in forced.output
    assert "reference on request only" in forced.output
