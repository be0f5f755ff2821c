"""Presets: one a drug, the same variants for each, and nothing that is not understood is read."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dosewright.agents.learning import Preset, read_preset
from dosewright.agents.learning.preset import (
    BeliefPart,
    HistoryPart,
    MaskablePPOPart,
    PPOPart,
    RecurrentPPOPart,
    SACPart,
    TQCPart,
)
from dosewright.envs import names, scenario
from dosewright.envs.scenarios import protocol_names

VARIANTS = ("history", "preference", "recurrent", "refine", "sac", "tablets", "textbook", "tqc", "truth")
each_drug = pytest.mark.parametrize("drug", names())


def parsed(text: str) -> Preset:
    return Preset.parse(text, "somewhere")


# ------------------------------------------------------------------------------------------------- what ships


@each_drug
def test_every_drug_has_a_preset_of_its_own(drug: str) -> None:
    preset = read_preset(drug)
    assert preset.scenario.drug == drug and preset.algorithm_name == "ppo"
    assert isinstance(preset.input, BeliefPart)
    # what one dose of 240 does cannot be told from the rest of them
    assert (preset.warm_start is None) == (drug == "propofol")
    assert preset.warm_start is None or preset.warm_start.ahead <= scenario(drug).horizon
    scenario(drug).preset(preset.scenario.realism)  # it has that
    # the policy and monitoring forget alike
    assert preset.input.fade == scenario(drug).monitoring.fade < 1.0
    assert preset.algorithm.discount == 1.0  # a course counts as the trial counts it


@each_drug
@pytest.mark.parametrize("variant", [None, *VARIANTS])
def test_every_variant_is_read_and_written_back(drug: str, variant: str | None) -> None:
    if (drug, variant) == ("propofol", "refine"):
        pytest.skip("what ships for propofol is monitoring, whose preset has no warm start to shorten")
    preset = read_preset(drug if variant is None else f"{drug}-{variant}")
    assert preset.scenario.drug == drug
    assert Preset.parse(preset.text(), "again") == preset
    written = tomllib.loads(preset.text())
    assert set(written) == set(preset.tables)
    for name, part in preset.tables.items():
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(part).items()}
        assert written[name] == values
    # an update is made of whole batches of at least two steps
    part, visits = preset.algorithm, len(scenario(drug).calendar)
    if not isinstance(part, SACPart):
        steps = part.courses_per_update * visits * part.environments
        assert steps // part.batches >= 2 and part.timesteps >= steps


@pytest.mark.parametrize(
    ("variant", "algorithm", "part", "seen", "action"),
    [
        ("history", "ppo", PPOPart, HistoryPart, "anchored"),
        ("recurrent", "recurrent_ppo", RecurrentPPOPart, HistoryPart, "anchored"),
        ("sac", "sac", SACPart, BeliefPart, "anchored"),
        ("tablets", "maskable_ppo", MaskablePPOPart, BeliefPart, "tablet"),
        ("textbook", "ppo", PPOPart, BeliefPart, "anchored"),
        ("tqc", "tqc", TQCPart, BeliefPart, "anchored"),
        ("truth", "ppo", PPOPart, BeliefPart, "anchored"),
    ],
)
def test_a_variant_changes_what_it_says(
    variant: str, algorithm: str, part: type, seen: type, action: str
) -> None:
    usual, preset = read_preset("busulfan"), read_preset(f"busulfan-{variant}")
    assert preset.algorithm_name == algorithm and type(preset.algorithm) is part
    assert type(preset.input) is seen and preset.policy.action == action
    # a price is learned only where it is known how much exploring harms by itself
    learned = variant in ("textbook", "truth")
    assert preset.harm == replace(usual.harm, rate=usual.harm.rate if learned else 0.0)
    assert preset.machine == usual.machine
    assert (preset.policy.critic == "truth") == (variant == "truth")
    assert (preset.warm_start is None) == (variant not in ("textbook", "truth"))
    assert (preset.randomisation is None) == (variant == "textbook")


def test_what_a_preset_has_of_its_own_is_told() -> None:
    drug = read_preset("warfarin")
    assert drug.differences(drug) == []
    assert read_preset("warfarin-sac").differences(drug) == [
        "no warm_start",
        "no ppo",
        "sac",
        "harm rate 0.0",
    ]
    mine = replace(drug, harm=replace(drug.harm, budget=0.9), machine=replace(drug.machine, threads=2))
    assert mine.differences(drug) == ["harm budget 0.9", "machine threads 2"]


def test_in_textbook_nothing_drifts_so_nothing_is_forgotten() -> None:
    preset = read_preset("warfarin-textbook")
    assert preset.scenario.realism == "textbook"
    assert isinstance(preset.input, BeliefPart) and preset.input.fade == 1.0


def test_a_published_protocol_has_the_textbook_preset_of_its_drug() -> None:
    protocol, usual = read_preset("warfarin-augustin-15"), read_preset("warfarin-textbook")
    scenario = replace(usual.scenario, drug="warfarin-augustin-15")
    assert isinstance(usual.algorithm, PPOPart)
    falls = replace(usual.algorithm, initial_log_sd=-2.3)
    priced = replace(usual.harm, budget=0.8, multiplier=0.6, rate=0.0)
    assert protocol == replace(usual, scenario=scenario, harm=priced, algorithm=falls)
    told = read_preset("warfarin-augustin-30-preference")
    assert told.scenario.drug == "warfarin-augustin-30" and told.preference is not None


@pytest.mark.parametrize("variability", ["", "-cut"])
def test_a_protocol_with_a_slow_model_learns_from_fewer_visits(variability: str) -> None:
    protocol, usual = read_preset(f"warfarin-anzabi-zadeh{variability}"), read_preset("warfarin-textbook")
    assert protocol.warm_start is not None and usual.warm_start is not None
    few, many = ((part.rounds, part.patients) for part in (protocol.warm_start, usual.warm_start))
    assert few == (40, 96) and many == (300, 256)
    assert protocol.randomisation is None and protocol.policy == usual.policy


@pytest.mark.parametrize("drug", names())
def test_a_price_that_goes_on_learning_meets_the_exploration_that_its_budget_was_set_under(drug: str) -> None:
    preset = read_preset(drug)
    part = preset.algorithm
    assert isinstance(part, PPOPart)
    # so many updates follow those of the critic alone
    update = part.courses_per_update * len(scenario(drug).calendar) * part.environments
    learning = math.ceil(part.timesteps / update) - math.ceil(part.critic_first * part.timesteps / update)
    assert part.initial_log_sd == part.final_log_sd or preset.harm.rate == 0 or learning <= 1


@pytest.mark.parametrize("name", ["history", "recurrent", "sac", "tablets", "tqc"])
def test_no_price_is_learned_where_nobody_knows_how_exploring_harms(name: str) -> None:
    text = edited("rate", "rate = 0.1", f"busulfan-{name}")
    with pytest.raises(ValueError, match=r"\[harm\]: rate = 0.1; a price is learned by \[ppo\] that departs"):
        parsed(text)


@pytest.mark.parametrize("name", ["aspirin", "warfarin-magic", "history", "warfarin-sac-tqc", "-demo", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    known = ", ".join([*names(), *protocol_names()])
    also = f"each also with -{', -'.join(VARIANTS)}, or a path to a .toml file"
    with pytest.raises(ValueError, match=f"unknown preset '{name}'; known: {known}, {also}"):
        read_preset(name)


def test_a_file_is_read_and_a_missing_one_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(read_preset("warfarin-sac").text())
    assert read_preset(str(path)) == read_preset("warfarin-sac")
    with pytest.raises(ValueError, match="none.toml: file not found"):
        read_preset(str(tmp_path / "none.toml"))
    path.write_text("[scenario]")
    with pytest.raises(ValueError, match=f"{path}: policy is missing"):
        read_preset(str(path))


def test_the_command_line_changes_steps_and_realism() -> None:
    preset = read_preset("warfarin-tqc")
    changed = preset.changed(timesteps=7, realism="textbook")
    assert changed.algorithm == replace(preset.algorithm, timesteps=7)
    assert changed.scenario == replace(preset.scenario, realism="textbook")
    assert preset.changed() == preset


# --------------------------------------------------------------------------------------------- read strictly


def edited(key: str, new: str, name: str = "warfarin") -> str:
    """A preset's text with another line in place of that of a key, or of a table's head."""
    line = re.escape(key) if key.startswith("[") else rf"{key} = .*"
    text, found = re.subn(rf"^{line}$", new, read_preset(name).text(), flags=re.MULTILINE)
    assert found == 1
    return text


@pytest.mark.parametrize(
    ("key", "new", "message"),
    [
        ("[belief]", "[belief", ": no valid TOML"),
        ("epochs", "epochs = 4\nepoch = 5", r", \[ppo\]: unknown key 'epoch'; known: timesteps, "),
        ("epochs", "", r", \[ppo\]: epochs is missing"),
        ("[evaluation]", "[evaluations]", ": unknown key 'evaluations'; known: scenario, "),
        ("epochs", "epochs = 4.5", r", \[ppo\]: epochs = 4.5; expected int"),
        ("epochs", "epochs = true", r", \[ppo\]: epochs = True; expected int"),
        ("epochs", 'epochs = "6"', r", \[ppo\]: epochs = '6'; expected int"),
        ("epochs", "epochs = 0", r", \[ppo\]: epochs = 0; expected at least 1"),
        ("fade", 'fade = "0.9"', r", \[belief\]: fade = '0.9'; expected float"),
        ("fade", "fade = -0.1", r", \[belief\]: fade = -0.1; expected at least 0"),
        ("fade", "fade = nan", r", \[belief\]: fade = nan; expected at least 0"),
        ("fade", "fade = 2.0", r", \[belief\]: fade = 2.0; expected at least 0 and at most 1"),
        ("budget", "budget = inf", r", \[harm\]: budget = inf; expected at least 0, finite"),
        ("multiplier", "multiplier = 101", r", \[harm\]: multiplier = 101.0; expected .* at most 100"),
        ("multiplier", "multiplier = 0", r", \[harm\]: multiplier = 0 with rate = 0.1; a price of 0 cannot"),
        ("discount", "discount = 1.5", r", \[ppo\]: discount = 1.5; expected .* at most 1"),
        ("gae_lambda", "gae_lambda = 7", r", \[ppo\]: gae_lambda = 7.0; expected .* at most 1"),
        ("clip_range", "clip_range = 0", r", \[ppo\]: clip_range = 0.0; expected at least 1e-06"),
        ("critic_first", "critic_first = 5", r", \[ppo\]: critic_first = 5.0; expected .* at most 1"),
        ("initial_log_sd", "initial_log_sd = inf", r"initial_log_sd = inf; expected a finite number"),
        ("hidden", "hidden = 128", r", \[policy\]: hidden = 128; expected whole numbers from 1"),
        ("hidden", "hidden = [0, -3]", r", \[policy\]: hidden = \[0, -3\]; expected whole numbers from 1"),
        ("hidden", 'hidden = ["a"]', r", \[policy\]: hidden = \['a'\]; expected whole numbers from 1"),
        ("drug", "drug = 1", r", \[scenario\]: drug = 1; expected str"),
        ("drug", 'drug = "aspirin"', r", \[scenario\]: unknown drug 'aspirin'; known: "),
        ("realism", 'realism = "clinik"', r", \[scenario\]: unknown realism 'clinik' for warfarin; known: "),
        ("genotype", 'genotype = "phased"', "genotype = 'phased'; known: diplotype, phenotype"),
        ("action", 'action = "spoon"', r"\[policy\]: action = 'spoon'; known: anchored, tablet"),
        ("critic", 'critic = "all"', r"\[policy\]: critic = 'all'; known: seen, truth"),
        ("drift", "drift = 2.0", r"drift = 2.0; expected two numbers, \[smallest, largest\]"),
        ("drift", "drift = [0.0]", r"drift = \[0.0\]; expected two numbers"),
        ("drift", "drift = [0.0, true]", r"drift = \[0.0, True\]; expected two numbers"),
        (
            "drift",
            "drift = [2.0, 0.0]",
            r"\[randomisation\]: randomisation: drift = \[2.0, 0.0\]",
        ),
        ("share", "share = 1.25", r"\[randomisation\]: randomisation: share = 1.25; expected 0 to 1"),
        ("[harm]", "[harms]", ": unknown key 'harms'"),
    ],
)
def test_a_preset_is_read_strictly(key: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^somewhere{message}" if message[0] in ":," else message) as error:
        parsed(edited(key, new))
    assert str(error.value).startswith("somewhere")


def test_whole_numbers_are_read_as_decimals_where_those_are_meant() -> None:
    preset = parsed(edited("fade", "fade = 1"))
    assert isinstance(preset.input, BeliefPart) and preset.input.fade == 1.0
    assert parsed(edited("drift", "drift = [0, 2]")) == read_preset("warfarin")


def test_a_part_that_is_no_table_is_refused() -> None:
    text = "".join(f"{name} = 1\n" for name in ("scenario", "policy", "harm", "evaluation", "machine"))
    with pytest.raises(ValueError, match=r"x, \[scenario\]: expected a table"):
        Preset.parse(text, "x")


@pytest.mark.parametrize("name", ["scenario", "policy", "harm", "evaluation", "machine"])
def test_a_missing_table_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"somewhere: {name} is missing"):
        parsed(without(name, read_preset("warfarin").text()))


@pytest.mark.parametrize("name", ["randomisation", "warm_start"])
def test_two_tables_may_be_left_out(name: str) -> None:
    preset = parsed(without(name, read_preset("warfarin").text()))
    assert preset == replace(read_preset("warfarin"), **{name: None})


def table_of(name: str, preset: str) -> str:
    """Text of one table of a shipped preset."""
    return next(part for part in read_preset(preset).text().split("\n\n") if part.startswith(f"[{name}]"))


def without(name: str, text: str) -> str:
    kept = [part for part in text.split("\n\n") if not part.startswith(f"[{name}]")]
    assert len(kept) == len(text.split("\n\n")) - 1
    return "\n\n".join(kept)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            read_preset("warfarin").text() + "\n" + table_of("sac", "warfarin-sac"),
            r"somewhere: ppo and sac of \[ppo\], \[recurrent_ppo\], \[maskable_ppo\], \[sac\], \[tqc\] "
            "given; expected exactly one",
        ),
        (
            without("ppo", read_preset("warfarin").text()),
            r"somewhere: none of \[ppo\], .* given; expected exactly one",
        ),
        (
            read_preset("warfarin-sac").text() + "\n" + table_of("history", "warfarin-history"),
            r"somewhere: belief and history of \[belief\], \[history\] given; expected exactly one",
        ),
        (
            without("belief", read_preset("warfarin-sac").text()),
            r"somewhere: none of \[belief\], \[history\] given; expected exactly one",
        ),
    ],
)
def test_exactly_one_input_and_one_algorithm(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsed(text)


ANCHORED, TABLET, TRUTH = 'action = "anchored"', 'action = "tablet"', 'critic = "truth"'
WARM = "[warm_start] needs [belief] and [ppo]; leave it out"
WORDS = "maskable_ppo takes 'tablet', every other algorithm 'anchored'"


@pytest.mark.parametrize(
    ("name", "key", "new", "message"),
    [
        ("warfarin", "action", TABLET, f"action 'tablet' with [ppo]; {WORDS}"),
        ("warfarin-sac", "action", TABLET, f"action 'tablet' with [sac]; {WORDS}"),
        ("warfarin-tablets", "action", ANCHORED, f"action 'anchored' with [maskable_ppo]; {WORDS}"),
        ("warfarin-sac", "critic", TRUTH, "critic 'truth' with [sac]; only ppo has that"),
        ("warfarin-tqc", "critic", TRUTH, "critic 'truth' with [tqc]; only ppo has that"),
        ("warfarin-tablets", "critic", TRUTH, "critic 'truth' with [maskable_ppo]; only ppo has that"),
        ("warfarin-recurrent", "critic", TRUTH, "critic 'truth' with [recurrent_ppo]; only ppo has that"),
        ("warfarin-history", "[harm]", table_of("warm_start", "warfarin") + "\n[harm]", WARM),
        ("warfarin-recurrent", "[harm]", table_of("warm_start", "warfarin") + "\n[harm]", WARM),
        ("warfarin-sac", "[harm]", table_of("warm_start", "warfarin") + "\n[harm]", WARM),
        ("warfarin-tablets", "[harm]", table_of("warm_start", "warfarin") + "\n[harm]", WARM),
    ],
)
def test_parts_that_do_not_go_together_are_refused(name: str, key: str, new: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parsed(edited(key, new, name))
    assert str(error.value) == f"somewhere: {message}"


@pytest.mark.parametrize("untrained", [5, 6])
def test_a_warm_start_must_train_in_some_round(untrained: int) -> None:
    usual = read_preset("warfarin")
    assert usual.warm_start is not None
    part = replace(usual.warm_start, rounds=5, untrained=untrained)
    expected = rf"somewhere, \[warm_start\]: untrained = {untrained}; expected fewer than the rounds, 5"
    with pytest.raises(ValueError, match=expected):
        parsed(replace(usual, warm_start=part).text())
    assert parsed(replace(usual, warm_start=replace(part, rounds=untrained + 1)).text()).warm_start


def test_a_critic_of_tqc_keeps_one_of_its_quantiles() -> None:
    assert parsed(edited("quantiles_dropped", "quantiles_dropped = 24", "warfarin-tqc"))
    with pytest.raises(ValueError, match=r"quantiles_dropped = 25; expected at least 0 and at most 24"):
        parsed(edited("quantiles_dropped", "quantiles_dropped = 25", "warfarin-tqc"))


def test_a_price_is_not_learned_where_nobody_lives_in_the_presets_own_world() -> None:
    usual = read_preset("warfarin")
    assert usual.randomisation is not None and usual.harm.rate > 0
    all_elsewhere = replace(usual, randomisation=replace(usual.randomisation, share=1.0))
    with pytest.raises(
        ValueError, match=r"^somewhere, \[randomisation\]: share = 1 with \[harm\] rate = 0.1;"
    ):
        parsed(all_elsewhere.text())
    assert parsed(replace(all_elsewhere, harm=replace(usual.harm, rate=0.0)).text())


def test_history_with_a_critic_that_sees_the_truth_is_allowed() -> None:
    preset: Any = parsed(edited("critic", TRUTH, "warfarin-history"))
    assert preset.policy.critic == "truth" and isinstance(preset.input, HistoryPart)
