"""The search space of a sweep: every key and value is one that the preset takes."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from dosewright.agents.learning import Preset
from dosewright.agents.learning.search_space import Choices, Range, SearchSpace, changed

BUSULFAN = Preset.shipped("busulfan")
DRUGS = [
    item.name.removesuffix(".toml")
    for item in files("dosewright.agents.learning.presets").iterdir()
    if item.name.endswith(".toml")
]


def parsed(text: str, preset: Preset = BUSULFAN) -> SearchSpace:
    return SearchSpace.parse(text, "space x", preset)


def test_every_drugs_preset_takes_the_shipped_space() -> None:
    assert len(DRUGS) == 11
    presets = {drug: Preset.shipped(drug) for drug in DRUGS}
    spaces = {drug: SearchSpace.read(None, preset) for drug, preset in presets.items()}
    whole = spaces["busulfan"].axes
    assert len(whole) == 9
    for drug, space in spaces.items():
        # of propofol, which has no warm start, it varies the rest; a fixed price stays fixed
        there = set(presets[drug].tables) - ({"harm"} if presets[drug].harm.rate == 0 else set())
        assert space.axes == {key: axis for key, axis in whole.items() if key.partition(".")[0] in there}
    assert "harm.rate" not in spaces["voriconazole"].axes
    hidden = whole["policy.hidden"]
    assert isinstance(hidden, Choices) and list(BUSULFAN.policy.hidden) in hidden.values


@pytest.mark.parametrize("drug", DRUGS)
def test_the_shipped_space_is_around_what_every_drug_has(drug: str) -> None:
    preset = Preset.shipped(drug)
    tables = tomllib.loads(preset.text())
    for key, axis in SearchSpace.read(None, preset).axes.items():
        table, name = key.split(".")
        if isinstance(axis, Range):
            assert axis.low <= tables[table][name] <= axis.high, key


def test_values_are_of_the_kind_that_the_preset_has() -> None:
    axes = parsed(
        "[ppo.epochs]\nlow = 2\nhigh = 8\n[ppo.clip_range]\nlow = 0.1\nhigh = 1\n"
        "[belief.fade]\nchoices = [1, 0.9]\n[ppo.learning_rate]\nlow = 1e-5\nhigh = 1e-3\nlog = true"
    ).axes
    assert axes == {
        "belief.fade": Choices((1.0, 0.9)),
        "ppo.clip_range": Range(0.1, 1.0, False),
        "ppo.epochs": Range(2, 8, False),
        "ppo.learning_rate": Range(1e-5, 1e-3, True),
    }
    kinds = {key: {type(value) for value in axis.extremes} for key, axis in axes.items()}
    assert kinds == {
        "belief.fade": {float}, "ppo.clip_range": {float}, "ppo.epochs": {int}, "ppo.learning_rate": {float},
    }  # fmt: skip


def test_the_order_of_a_file_changes_nothing() -> None:
    one, other = "[ppo.epochs]\nlow = 2\nhigh = 8\n", "[harm.rate]\nlow = 0.1\nhigh = 0.2\n"
    assert list(parsed(one + other).axes) == list(parsed(other + one).axes) == ["harm.rate", "ppo.epochs"]
    assert parsed(one).described() == {"ppo.epochs": "2 to 8"}


def test_a_preset_is_changed_at_the_keys_that_are_named() -> None:
    made = changed(BUSULFAN, {"ppo.epochs": 7, "policy.hidden": [8, 8]}, "here")
    assert made.text() == BUSULFAN.text().replace("epochs = 10", "epochs = 7").replace("[64, 64]", "[8, 8]")
    with pytest.raises(ValueError, match=r"^here, \[ppo\]: epochs = 0; expected at least 1"):
        changed(BUSULFAN, {"ppo.epochs": 0}, "here")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[ppo", "no valid TOML"),
        ("", "empty; expected tables such as [ppo.learning_rate]"),
        ("[sac.learning_rate]\nlow = 1\nhigh = 2", "no table [sac]; it has scenario, belief, policy"),
        (
            "[ppo.learning_rat]\nlow = 1\nhigh = 2",
            "[ppo] of the preset has no 'learning_rat'; it has timesteps",
        ),
        ("[scenario.drug]\nchoices = ['a', 'b']", "[scenario] must be the same in all trials"),
        ("[evaluation.patients]\nlow = 10\nhigh = 20", "[evaluation] must be the same in all trials"),
        ("[ppo.timesteps]\nlow = 10\nhigh = 20", "give it as --timesteps"),
        ("ppo = 3", "ppo = 3; expected a table for a key"),
        ("[ppo]\nepochs = 3", "[ppo.epochs]: 3; expected low and high"),
        ("[ppo.epochs]\nlow = 3", "[ppo.epochs]: {'low': 3}; expected low and high"),
        ("[ppo.epochs]\nlow = 3\nhigh = 4\nstep = 1", "expected low and high, and log if wanted, or choices"),
        ("[ppo.epochs]\nlow = 3\nhigh = 4\nchoices = [1, 2]", "expected low and high"),
        ("[ppo.epochs]\nlow = 4\nhigh = 4", "low = 4, high = 4; expected numbers, the smaller first"),
        ("[ppo.epochs]\nlow = false\nhigh = true", "low = False, high = True; expected numbers"),
        ("[ppo.clip_range]\nlow = 0.1\nhigh = inf", "high = inf; expected numbers"),
        ("[ppo.clip_range]\nlow = nan\nhigh = 0.1", "low = nan, high = 0.1; expected numbers"),
        ("[ppo.clip_range]\nlow = 0\nhigh = 1\nlog = true", "low = 0; expected true with a low above 0"),
        ("[ppo.clip_range]\nlow = 0.1\nhigh = 1\nlog = 1", "log = 1, low = 0.1; expected true"),
        ("[ppo.epochs]\nlow = 1.5\nhigh = 4", "ppo.epochs = 1.5, [ppo]: epochs = 1.5; expected int"),
        ("[ppo.epochs]\nlow = 0\nhigh = 4", "epochs = 0; expected at least 1"),
        ("[ppo.epochs]\nchoices = [3]", "choices = [3]; expected a list of at least two"),
        ("[ppo.clip_range]\nchoices = [1, 1.0]", "choices = [1, 1.0]; expected each once"),
        ("[policy.critic]\nchoices = ['seen', 'heard']", "critic = 'heard'; known: seen, truth"),
        ("[policy.hidden]\nlow = 1\nhigh = 2", "hidden = 1; expected whole numbers from 1"),
        (
            "[warm_start.rounds]\nlow = 10\nhigh = 50\n[warm_start.untrained]\nlow = 2\nhigh = 12",
            "warm_start.rounds = 10 with warm_start.untrained = 12, [warm_start]: untrained",
        ),
    ],
)
def test_what_the_preset_does_not_take_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        parsed(text)
    assert str(refused.value).startswith("space x") and words in str(refused.value)


def test_the_shipped_space_is_for_the_drugs_own_preset() -> None:
    with pytest.raises(ValueError, match=r"no table \[ppo\]; it has .*sac.*; name a space .* --space"):
        SearchSpace.read(None, Preset.shipped("busulfan-sac"))


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes('# größer\n["ppo.learning_rate"]\n'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"search space .*latin.toml: no text in UTF-8 .*; save it as that"):
        SearchSpace.read(file, Preset.shipped("busulfan"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="search space .*none.toml: file not found"):
        SearchSpace.read(tmp_path / "none.toml", BUSULFAN)
