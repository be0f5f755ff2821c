"""Train a policy: PPO from Stable-Baselines3 on belief and anchored action, over the native vector
environment, after a warm start from what every dose would have done.

A run is a folder ``runs/<scenario>__ppo__s<seed>__<time>/``: ``preset.toml``, TensorBoard events,
``checkpoint.zip`` with ``progress.json`` (resumable, written at every evaluation and on Ctrl-C), and
``policy/``, the best policy so far, chosen on patients of the `select` namespace.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from tqdm import tqdm

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning.belief import BeliefVectorEnv, Scaling
from dosewright.agents.learning.counterfactual import visits_of, warm_start
from dosewright.agents.learning.policy import LearnedPolicy
from dosewright.agents.learning.preset import Preset
from dosewright.agents.regimens import Bayesian
from dosewright.envs import AutoresetMode, DosingVectorEnv, Noise, Regimen, scenario
from dosewright.envs.sb3 import SB3VecEnv
from dosewright.evaluation import run_trial

# of torch in training: part of what a run depends on; the networks are small, the simulator has the cores
THREADS = 1
_SELECT_SEED = 0
_OTHER_PATIENTS = 1_000_000_007  # added to the seed where other patients are wanted than PPO meets


@dataclass(frozen=True)
class Score:
    """Result on `select` patients: mean return, benefit and harm, and the share ever in the harm band."""

    returns: float
    benefit: float
    harm: float
    ever_harm: float


class _Selection:
    """Tries policies on the same `select` patients and remembers how Bayesian monitoring does on them."""

    def __init__(self, preset: Preset) -> None:
        self.preset, self.scenario = preset, scenario(preset.scenario.drug)
        fade = preset.belief.fade
        self.baseline = self.score(Bayesian(self.scenario, fade=fade))

    def score(self, arm: Regimen) -> Score:
        preset, known = self.preset, self.scenario
        result = run_trial(
            known,
            {"arm": arm},
            known.population,
            np.arange(preset.evaluation.patients),
            Noise("select", _SELECT_SEED),
            known.preset(preset.scenario.realism),
            preset.scenario.genotype,
        ).arms["arm"]
        values = (result.returns, result.benefit, result.harm, result.ever_harm)
        return Score(*(float(np.mean(value)) for value in values))

    def rank(self, score: Score) -> float:
        """Order of preference: return, less the share of patients in harm beyond Bayesian monitoring's."""
        return score.returns - max(0.0, score.ever_harm - self.baseline.ever_harm)


class _Progress(BaseCallback):
    """Evaluate, keep the best policy, write checkpoints, and show all that in the progress bar."""

    def __init__(self, run: _Run, bar: Any) -> None:
        super().__init__()
        self.run, self.bar, self.updates = run, bar, 0

    def _on_step(self) -> bool:
        self.bar.update(self.training_env.num_envs)
        return True

    def _on_rollout_start(self) -> None:
        self.run.explore(self.model._current_progress_remaining)
        self.run.actor().requires_grad_(self.num_timesteps >= self.run.critic_first())
        # the network is the updated one here: after an update, before the next rollout
        if self.updates and self.updates % self.run.preset.evaluation.every_updates == 0:
            self.run.evaluate(self.num_timesteps)
            self.bar.set_postfix_str(self.run.summary())
        self.updates += 1


class _Run:
    """One training run and its folder."""

    def __init__(self, preset: Preset, seed: int, folder: Path) -> None:
        self.preset, self.seed, self.folder = preset, seed, folder
        self.scenario = scenario(preset.scenario.drug)
        self.filter = BeliefFilter(self.scenario, preset.belief.particles, preset.belief.fade)
        self.selection = _Selection(preset)
        self.curve: list[dict[str, float]] = []
        self.best: float | None = None
        self.seconds = 0.0
        self.begun = time.monotonic()
        self.model: Any = None
        self.scaling: Any = None
        self.warm = False

    def environment(self, fit: bool) -> SB3VecEnv:
        """Return the training environment; with `fit`, standardise by an episode of the untrained policy
        first. PPO seeds it."""
        preset = self.preset
        lanes = DosingVectorEnv(
            preset.scenario.drug,
            preset.ppo.environments,
            realism=preset.scenario.realism,
            genotype=preset.scenario.genotype,
            namespace="train",
            autoreset_mode=AutoresetMode.SAME_STEP,
        )
        env = BeliefVectorEnv(lanes, self.filter, first_harm_weight=preset.ppo.first_harm_weight)
        if fit:
            seen = [env.reset(seed=self.seed)[0]]
            nothing = np.zeros((lanes.num_envs, 1), dtype=np.float32)
            seen += [env.step(nothing)[0] for _ in self.scenario.calendar[1:]]
            self.scaling = Scaling.fit(np.concatenate(seen))
        env.scaling = self.scaling
        return SB3VecEnv(env)

    def begin(self) -> int:
        """Make a new model; return the steps taken, 0."""
        ppo = self.preset.ppo
        self.model = PPO(
            "MlpPolicy",
            self.environment(fit=True),
            n_steps=ppo.steps_per_update,
            batch_size=ppo.batch_size,
            n_epochs=ppo.epochs,
            gamma=ppo.discount,
            gae_lambda=ppo.gae_lambda,
            learning_rate=lambda left: (
                ppo.learning_rate_end + left * (ppo.learning_rate - ppo.learning_rate_end)
            ),
            clip_range=ppo.clip_range,
            ent_coef=ppo.entropy,
            policy_kwargs={
                "net_arch": {"pi": ppo.hidden, "vf": ppo.hidden},
                "log_std_init": ppo.initial_log_sd,
            },
            seed=self.seed,
            device="cpu",
        )
        # the untrained policy is exactly Bayesian monitoring
        with torch.no_grad():
            self.model.policy.action_net.weight.zero_()
            self.model.policy.action_net.bias.zero_()
        return 0

    def resume(self) -> int:
        """Read the checkpoint; return the steps taken so far."""
        progress = json.loads((self.folder / "progress.json").read_text())
        self.curve, self.seconds = progress["curve"], progress["seconds"]
        self.best, self.warm = progress["best"], progress["warm"]
        self.scaling = Scaling(*(np.array(progress["scaling"][key], np.float32) for key in ("mean", "sd")))
        self.model = PPO.load(
            self.folder / "checkpoint.zip",
            env=self.environment(fit=False),
            device="cpu",
            # other patients than those already seen
            custom_objects={"seed": self.seed + progress["steps"]},
        )
        return progress["steps"]

    def warm_up(self, bar: Any) -> None:
        """Fit the actor to what every dose would have done, on patients that PPO will not meet."""
        warm_start(
            self.model.policy,
            self.model.get_env().venv,
            self.preset.warm_start,
            self.seed + _OTHER_PATIENTS,
            bar.update,
        )
        # what an interruption left of an earlier warm start is no rival of the finished one
        self.warm, self.best, self.curve = True, None, []

    def actor(self) -> torch.nn.Module:
        """Return the part of the network that chooses the dose."""
        policy = self.model.policy
        return torch.nn.ModuleList([policy.mlp_extractor.policy_net, policy.action_net])

    def critic_first(self) -> int:
        """Return the number of steps before the actor learns."""
        return round(self.preset.ppo.critic_first * self.preset.ppo.timesteps)

    def explore(self, left: float) -> None:
        """Set the SD of exploration for the share `left` of the training that is to come."""
        ppo, log_sd = self.preset.ppo, self.model.policy.log_std
        log_sd.requires_grad_(False).fill_(ppo.final_log_sd + left * (ppo.initial_log_sd - ppo.final_log_sd))

    def evaluate(self, steps: int) -> None:
        """Try the present policy, keep it if it is the best, and write a checkpoint."""
        policy = self.policy()
        score = self.selection.score(policy)
        self.curve.append({"steps": steps, **asdict(score)})
        for name, value in asdict(score).items():
            self.model.logger.record(f"select/{name}", value)
        rank = self.selection.rank(score)
        if self.best is None or rank > self.best:
            policy.card = self.card(score, steps)
            policy.save(self.folder / "policy", self.preset.text())
            self.best = rank
        self.checkpoint(steps)

    def checkpoint(self, steps: int) -> None:
        """Write what `resume` needs; a reader never sees half of it."""
        self.model.save(self.folder / "checkpoint.new.zip")
        (self.folder / "checkpoint.new.zip").replace(self.folder / "checkpoint.zip")
        progress = {
            "steps": steps,
            "seed": self.seed,
            "warm": self.warm,
            "seconds": self.seconds + time.monotonic() - self.begun,
            "best": self.best,
            "curve": self.curve,
            "scaling": {"mean": self.scaling.mean.tolist(), "sd": self.scaling.sd.tolist()},
        }
        (self.folder / "progress.new.json").write_text(json.dumps(progress, indent=1))
        (self.folder / "progress.new.json").replace(self.folder / "progress.json")

    def policy(self) -> LearnedPolicy:
        """Return the present policy as a regimen."""
        return LearnedPolicy(
            self.scenario, self.filter, self.model.policy, self.scaling, {"seed_namespace": "train"}
        )

    def card(self, score: Score, steps: int) -> dict[str, Any]:
        """Return what must be known about a policy."""
        baseline = self.selection.baseline
        return {
            "notice": "Research simulation, not for clinical use.",
            "scenario": self.scenario.name,
            "scenario_version": self.scenario.version,
            "realism": self.preset.scenario.realism,
            "genotype": self.preset.scenario.genotype,
            "population": self.scenario.population.source,
            "seed_namespace": "train",
            "seed": self.seed,
            "algorithm": "warm start, then PPO (Stable-Baselines3), on belief and anchored action",
            "belief": asdict(self.preset.belief),
            "steps": steps,  # of PPO; 0 where the warm start was not surpassed
            "minutes": round((self.seconds + time.monotonic() - self.begun) / 60, 1),
            "select": {
                "seed": _SELECT_SEED,
                "patients": self.preset.evaluation.patients,
                "policy": asdict(score),
                "bayesian, same fading": asdict(baseline),
            },
            "curve": self.curve,
            "versions": {
                "python": platform.python_version(),
                **{
                    name: version(name)
                    for name in ("dosewright", "stable-baselines3", "torch", "numpy", "numba")
                },
            },
        }

    def summary(self) -> str:
        """The last evaluation in a few words."""
        if not self.curve:
            return ""
        last, base = self.curve[-1], self.selection.baseline
        return (
            f"select: return {last['returns']:.3f} (Bayesian {base.returns:.3f}), "
            f"ever in harm {100 * last['ever_harm']:.1f} % ({100 * base.ever_harm:.1f} %)"
        )


def train(preset: Preset, seed: int, folder: str | Path, resume: bool = False, progress: bool = True) -> Path:
    """Train a policy and return the folder of the best one.

    Parameters
    ----------
    preset
        Hyperparameters.
    seed
        Seed of patients, network and exploration.
    folder
        Run folder; it must not hold a run yet, or with `resume` it must hold one.
    resume
        Go on from the run's checkpoint.
    progress
        Show a progress bar.

    Raises
    ------
    ValueError
        For a folder that holds another run, or none to resume.

    Notes
    -----
    Ctrl-C writes a checkpoint, leaves the best policy so far in ``policy/``, and raises KeyboardInterrupt.
    """
    path = Path(folder)
    if not resume and path.exists() and any(path.iterdir()):
        raise ValueError(f"run folder {path} is not empty; name another, or go on with --resume {path}")
    if resume and not all((path / file).is_file() for file in ("progress.json", "checkpoint.zip")):
        raise ValueError(f"run {path}: no checkpoint to resume; it was stopped before the first evaluation")
    run = _Run(preset, seed, path)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(THREADS)
        done = run.resume() if resume else run.begin()
        run.model.set_logger(configure(str(path / "tensorboard"), ["tensorboard"]))
        (path / "preset.toml").write_text(preset.text())
        before = visits_of(preset.warm_start, run.scenario, preset.ppo.environments)
        with tqdm(
            total=before + preset.ppo.timesteps,
            initial=before * run.warm + done,
            unit=" visits",
            disable=not progress,
            mininterval=1.0,
        ) as bar:
            if not run.warm:
                run.warm_up(bar)
                run.evaluate(0)
                bar.set_postfix_str(run.summary())
            run.model.learn(
                preset.ppo.timesteps - done, callback=_Progress(run, bar), reset_num_timesteps=not done
            )
            run.evaluate(run.model.num_timesteps)
            bar.set_postfix_str(run.summary())
    except KeyboardInterrupt:
        if run.model is not None:
            run.evaluate(run.model.num_timesteps)
        raise
    finally:
        torch.set_num_threads(threads)
    return path / "policy"
