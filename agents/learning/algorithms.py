"""The algorithms of Stable-Baselines3 and sb3-contrib, from a preset's part."""

from __future__ import annotations

from typing import Any

from sb3_contrib import TQC, MaskablePPO, RecurrentPPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.sac.policies import SACPolicy

from dosewright.agents.learning.networks import RecurrentPolicy, TruthCriticPolicy
from dosewright.agents.learning.preset import (
    OnPolicyPart,
    PPOPart,
    Preset,
    RecurrentPPOPart,
    SACPart,
    TQCPart,
)
from dosewright.envs.sb3 import SB3VecEnv

_CLASSES: dict[str, Any] = {
    "ppo": PPO,
    "recurrent_ppo": RecurrentPPO,
    "maskable_ppo": MaskablePPO,
    "sac": SAC,
    "tqc": TQC,
}
_POLICIES: dict[str, type[BasePolicy]] = {
    "ppo": ActorCriticPolicy,
    "recurrent_ppo": RecurrentPolicy,
    "maskable_ppo": MaskableActorCriticPolicy,
    "sac": SACPolicy,
    "tqc": TQCPolicy,
}


def algorithm_class(preset: Preset) -> type[BaseAlgorithm]:
    """Return the class of a preset's algorithm."""
    return _CLASSES[preset.algorithm_name]


def policy_class(preset: Preset) -> type[BasePolicy]:
    """Return the class of a preset's policy network."""
    return TruthCriticPolicy if preset.policy.critic == "truth" else _POLICIES[preset.algorithm_name]


def make(preset: Preset, env: SB3VecEnv, seen: int, visits: int, seed: int) -> BaseAlgorithm:
    """Return a new model.

    Parameters
    ----------
    preset
        What to make.
    env
        Where it learns.
    seen
        Columns of the observation that the actor sees.
    visits
        Of a course.
    seed
        Of the network, exploration and batches.

    Raises
    ------
    ValueError
        For more batches than an update has pairs of decisions, or so many that one decision is left over.
    """
    part, hidden = preset.algorithm, preset.policy.hidden
    shared: dict[str, Any] = {"seed": seed, "device": "cpu"}
    if isinstance(part, SACPart):
        options: dict[str, Any] = {
            "buffer_size": part.buffer,
            "learning_starts": part.learning_starts,
            "train_freq": part.steps_per_update,
            "gradient_steps": part.gradient_steps,
            "batch_size": part.batch_size,
            "gamma": part.discount,
            "learning_rate": part.learning_rate,
            "ent_coef": part.entropy,
            "policy_kwargs": {"net_arch": hidden},
        }
        if isinstance(part, TQCPart):
            options["top_quantiles_to_drop_per_net"] = part.quantiles_dropped
        return _CLASSES[preset.algorithm_name](policy_class(preset), env, **options, **shared)
    network: dict[str, Any] = {"net_arch": {"pi": hidden, "vf": hidden}}
    if isinstance(part, PPOPart):
        network["log_std_init"] = part.initial_log_sd
    if isinstance(part, RecurrentPPOPart):
        network["lstm_hidden_size"] = part.lstm
    if preset.policy.critic == "truth":
        network["seen"] = seen
    steps = part.courses_per_update * visits
    decisions = steps * env.num_envs
    if part.batches > decisions // 2:
        raise ValueError(
            f"preset, [{preset.algorithm_name}]: batches = {part.batches}; an update has {decisions} "
            "decisions, of which a batch needs two"
        )
    batch = decisions // part.batches
    if decisions % batch == 1:
        raise ValueError(
            f"preset, [{preset.algorithm_name}]: batches = {part.batches}; of {decisions} decisions "
            f"an update, in batches of {batch}, one is left over, whose advantage cannot be standardised; "
            "choose another number"
        )
    return _CLASSES[preset.algorithm_name](
        policy_class(preset),
        env,
        n_steps=steps,
        batch_size=batch,
        n_epochs=part.epochs,
        gamma=part.discount,
        gae_lambda=part.gae_lambda,
        learning_rate=_falling(part),
        clip_range=part.clip_range,
        ent_coef=part.entropy,
        policy_kwargs=network,
        **shared,
    )


def _falling(part: OnPolicyPart) -> Any:
    """A learning rate that falls linearly."""
    first, last = part.learning_rate, part.learning_rate_end
    # an update takes whole courses, so the last one may end beyond the timesteps
    return lambda left: last + max(left, 0.0) * (first - last)
