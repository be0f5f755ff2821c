"""Train a policy: an algorithm of Stable-Baselines3 over the native vector environment, by default PPO on
belief and anchored action after a warm start from what every dose would have done.

A run is a folder, of `dosewright train` ``runs/<environment>__<preset>__s<seed>__<time>/``: ``preset.toml``,
TensorBoard events, ``checkpoint.zip`` with ``progress.json`` (resumable, written at every evaluation and on
Ctrl-C), and ``policy/``, the best policy so far, chosen on patients of the `select` namespace.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from tqdm import tqdm

from dosewright.agents.learning.algorithms import algorithm_class, make
from dosewright.agents.learning.counterfactual import visits_of, warm_start
from dosewright.agents.learning.environment import LearningVectorEnv
from dosewright.agents.learning.multiplier import LEAST, Multiplier
from dosewright.agents.learning.policy import LearnedPolicy, inputs_of, weights_hash
from dosewright.agents.learning.preset import BeliefPart, PPOPart, Preset, SACPart
from dosewright.agents.learning.scaling import Scaling
from dosewright.agents.learning.selection import SEED, Score, Selection
from dosewright.envs import AutoresetMode, DosingVectorEnv, Scenario, scenario
from dosewright.envs.sb3 import SHOWN, SB3VecEnv
from dosewright.evaluation.provenance import code_digest
from dosewright.evaluation.result_folder import write_whole

_OTHER_PATIENTS = 1_000_000_007  # added to the seed where other patients are wanted than PPO meets
_SHOWN = (*SHOWN, "counts", "happened")
_PARTS = ("environment", "input", "trials on select")  # whose time is taken; the networks have the rest
_LIBRARIES = ("dosewright", "stable-baselines3", "sb3-contrib", "torch", "numpy", "numba")
_CHANGES = "seed, preset, code, versions, threads and machine; budgets are in steps, so time does not"


class _Progress(BaseCallback):
    """Learn the price of harm, evaluate, keep the best policy, write checkpoints, and show all that in the
    progress bar."""

    def __init__(self, run: _Run, bar: Any) -> None:
        super().__init__()
        self.run, self.bar = run, bar
        self.tried = -1  # evaluations before this rollout
        self.events, self.courses = 0.0, 0

    def _on_step(self) -> bool:
        self.bar.update(self.training_env.num_envs)
        infos, counts = self.locals["infos"], np.array([info["counts"] for info in self.locals["infos"]])
        self.events += sum(info["happened"] for info in infos if info["counts"])
        self.courses += int(np.sum(self.locals["dones"][counts]))
        return True

    def _on_rollout_start(self) -> None:
        run = self.run
        learns = True
        if isinstance(run.preset.algorithm, PPOPart):
            learns = self.num_timesteps >= run.critic_first()
            run.explore(self.model._current_progress_remaining)
            run.actor().requires_grad_(learns)
        if learns and 2 * self.courses >= self.training_env.num_envs:
            run.take_in_events(self.events / self.courses)
            self.training_env.set_attr("multiplier", run.price.value)
            self.model.logger.record("harm/price", run.price.value)
            self.model.logger.record("harm/events", self.events / self.courses)
            self.events, self.courses = 0.0, 0
        # the network is the updated one here: after an update, before the next rollout
        due = self.num_timesteps // run.preset.evaluation.every
        if self.tried >= 0 and due > self.tried:
            run.evaluate(self.num_timesteps)
            self.bar.set_postfix_str(run.summary())
        self.tried = due


class _Run:
    """One training run and its folder."""

    def __init__(self, preset: Preset, seed: int, folder: Path, start: LearnedPolicy | None = None) -> None:
        self.preset, self.seed, self.folder, self.start = preset, seed, folder, start
        known = scenario(preset.scenario.drug).seen_as(preset.scenario.genotype)
        self.scenario = known if start is None else _where(start, known)
        self.inputs = inputs_of(preset, self.scenario, training=seed)
        self.begun = time.monotonic()
        self.selection = Selection(preset, self.scenario)
        self.price = Multiplier(preset.harm.multiplier, self.selection.budget, preset.harm.rate)
        self.curve: list[dict[str, float]] = []
        self.best: float | None = None
        self.seconds = {**dict.fromkeys(_PARTS, 0.0), "all": 0.0}
        self.seconds["trials on select"] = self.elapsed()
        self.lanes: list[LearningVectorEnv] = []
        self.model: Any = None
        self.scaling: Any = None
        self.warm = preset.warm_start is None
        # the policy's events over the anchor's, until it is known how many they are with exploration: after a
        # warm start as it says, without one the policy is the anchor
        self.share: float | None = 1.0 if self.from_monitoring and self.warm else None
        self.report: Callable[[int, Score], None] | None = None

    def elapsed(self) -> float:
        """Return the seconds since this part of the run began."""
        return time.monotonic() - self.begun

    def environment(self, patients: int) -> LearningVectorEnv:
        """Return a training environment; whoever uses it seeds it."""
        preset = self.preset
        env = DosingVectorEnv(
            self.scenario,
            patients,
            realism=preset.scenario.realism,
            genotype=preset.scenario.genotype,
            action="tablet" if preset.policy.action == "tablet" else "dose",
            namespace="train",
            randomisation=preset.randomisation,
            autoreset_mode=AutoresetMode.SAME_STEP,
        )
        lanes = LearningVectorEnv(
            env, self.inputs, self.scaling, preset.policy.action, preset.policy.critic == "truth"
        )
        lanes.multiplier = self.price.value
        self.lanes.append(lanes)
        return lanes

    def fit_scaling(self) -> None:
        """Standardise what is seen by a course of the untrained policy."""
        part, rng = self.preset.algorithm, np.random.default_rng(self.seed)
        env = self.environment(part.environments)
        seen = [env.reset(seed=self.seed)[0]]
        for _ in self.scenario.calendar[1:]:
            if self.preset.policy.action == "tablet":
                action = rng.integers(0, len(self.scenario.doses.doses), env.num_envs)
            else:
                action = np.zeros((env.num_envs, 1), dtype=np.float32)
            seen.append(env.step(action)[0])
        self.scaling = Scaling.fit(np.concatenate(seen))
        if self.start is not None:  # its network knows what it sees on its own scale
            self.scaling = self.scaling.beginning_with(self.start.scaling)

    def begin(self) -> int:
        """Make a new model; return the steps taken, 0."""
        self.fit_scaling()
        env = self.environment(self.preset.algorithm.environments)
        self.model = make(
            self.preset, SB3VecEnv(env, _SHOWN), env.seen, len(self.scenario.calendar), self.seed
        )
        if self.start is not None:
            _check_network(self.start, self.model.policy)
        self.follow_anchor()
        return 0

    def follow_anchor(self) -> None:
        """Make the policy exactly Bayesian monitoring, or whatever the input's anchor is: untrained."""
        last = self._last_layer()
        if last is not None:
            with torch.no_grad():
                last.weight.zero_()
                last.bias.zero_()

    def go_on_from(self, start: LearnedPolicy) -> None:
        """Take over a policy, and keep it where it is better than monitoring."""
        self.model.policy.load_state_dict(start.network.state_dict())
        score = self.selection.score(self.policy())
        if self.best is None or self.selection.rank(score) > self.best:
            self.keep(score, 0)
        if self.from_monitoring and self.warm:
            self.share = max(score.ever_harm, LEAST) / max(self.selection.baseline.ever_harm, LEAST)

    @property
    def from_monitoring(self) -> bool:
        """Whether the untrained policy is Bayesian monitoring, which a trained one has to surpass."""
        return self.preset.policy.action == "anchored" and isinstance(self.preset.input, BeliefPart)

    def _last_layer(self) -> Any:
        """The layer whose output is a departure from the anchor; None where tablets are chosen."""
        if self.preset.policy.action == "tablet":
            return None
        policy = self.model.policy
        return policy.actor.mu if isinstance(self.preset.algorithm, SACPart) else policy.action_net

    def resume(self) -> int:
        """Read the checkpoint; return the steps taken so far.

        Of a warm start that was not finished nothing is taken over but its time.
        """
        progress = json.loads((self.folder / "progress.json").read_text())
        for name, seconds in progress["seconds"].items():
            self.seconds[name] += seconds
        if not progress["warm"]:
            return self.begin()
        self.curve, self.best, self.warm = progress["curve"], progress["best"], True
        self.price.value, self.price.budget = progress["price"], progress["budget"]
        self.share = progress["share"]
        self.scaling = Scaling(*(np.array(progress["scaling"][key], np.float32) for key in ("mean", "sd")))
        env = self.environment(self.preset.algorithm.environments)
        self.model = algorithm_class(self.preset).load(
            self.folder / "checkpoint.zip",
            env=SB3VecEnv(env, _SHOWN),
            device="cpu",
            # other patients than those already seen; a seed of NumPy is below 2^32
            custom_objects={"seed": (self.seed + progress["steps"]) % 2**32},
        )
        if isinstance(self.model, OffPolicyAlgorithm):
            self.model.load_replay_buffer(self.folder / "replay_buffer.pkl")
        # not those of progress.json, which a kill may have left behind the model
        return self.model.num_timesteps

    def warm_up(self, bar: Any) -> None:
        """Fit the actor to what every dose would have done, on patients that PPO will not meet."""
        part = self.preset.warm_start
        assert part is not None
        env = self.environment(part.patients)
        seed = self.seed + _OTHER_PATIENTS
        learned = None if self.start is None else self.start.network.state_dict()
        self.follow_anchor()
        self.share = warm_start(
            self.model.policy, env, part, self.price, self.preset.harm.budget, seed, bar.update, learned
        )
        self.model.get_env().set_attr("multiplier", self.price.value)
        self.warm = True

    def actor(self) -> torch.nn.Module:
        """Return the part of the network that chooses the dose."""
        policy = self.model.policy
        return torch.nn.ModuleList([policy.mlp_extractor.policy_net, policy.action_net])

    def critic_first(self) -> int:
        """Return the number of steps before the actor learns."""
        part = self.preset.algorithm
        assert isinstance(part, PPOPart)
        return round(part.critic_first * part.timesteps)

    def take_in_events(self, events: float) -> None:
        """Learn the price from the events a patient since the last time.

        Exploring harms by itself. So the first events, while only the critic learns, set the budget: what
        those of the anchor would be under the same exploration, times the preset's.
        """
        if self.share is None:
            self.price.learn(events)
        else:
            self.price.budget = max(self.preset.harm.budget * events / self.share, LEAST)
            self.share = None

    def explore(self, left: float) -> None:
        """Set the SD of exploration for the share `left` of the training that is to come."""
        part, log_sd = self.preset.algorithm, self.model.policy.log_std
        assert isinstance(part, PPOPart)
        log_sd.requires_grad_(False).fill_(
            part.final_log_sd + left * (part.initial_log_sd - part.final_log_sd)
        )

    def evaluate(self, steps: int) -> None:
        """Try the present policy, keep it if it is the best, and write a checkpoint."""
        clock = time.monotonic()
        score = self.selection.score(self.policy())
        self.seconds["trials on select"] += time.monotonic() - clock
        if self.curve and self.curve[-1]["steps"] == steps:  # a finished run that was resumed
            self.curve.pop()
        self.curve.append({"steps": steps, **asdict(score), "price": self.price.value})
        for name, value in asdict(score).items():
            self.model.logger.record(f"select/{name}", value)
        self.model.logger.dump(steps)
        if self.best is None or self.selection.rank(score) > self.best:
            self.keep(score, steps)
        self.checkpoint(steps)
        if self.report is not None:
            self.report(steps, score)

    def keep(self, score: Score, steps: int, trained: bool = True) -> None:
        """Write the present policy as the best one."""
        policy = self.policy()
        policy.card = self.card(score, steps, trained)
        policy.save(self.folder / "policy", self.preset)
        self.best = self.selection.rank(score)

    def finish(self) -> None:
        """Write into the best policy's card what only the end of the training tells: curve, time, and the
        digest by which two runs are compared."""
        path, spent = self.folder / "policy" / "card.json", self.spent()
        whole = {
            "minutes": round(spent["all"] / 60, 1),
            "seconds": spent,
            "curve": self.curve,
            "weights_at_the_end": weights_hash(self.model.policy),
        }
        new = path.with_name("card.new.json")
        new.write_text(json.dumps({**json.loads(path.read_text()), **whole}, indent=1))
        new.replace(path)

    def spent(self) -> dict[str, float]:
        """Return the seconds spent on each part so far."""
        now = dict(self.seconds)
        for lanes in self.lanes:
            for name, seconds in lanes.seconds.items():
                now[name] += seconds
        now["all"] += self.elapsed()
        return {name: round(seconds, 1) for name, seconds in now.items()}

    def checkpoint(self, steps: int) -> None:
        """Write what `resume` needs; a reader never sees half of it."""
        if isinstance(self.model, OffPolicyAlgorithm):
            self.model.save_replay_buffer(self.folder / "replay_buffer.new.pkl")
            (self.folder / "replay_buffer.new.pkl").replace(self.folder / "replay_buffer.pkl")
        self.model.save(self.folder / "checkpoint.new.zip")
        (self.folder / "checkpoint.new.zip").replace(self.folder / "checkpoint.zip")
        progress = {
            "steps": steps,
            "seed": self.seed,
            "warm": self.warm,
            "seconds": self.spent(),
            "best": self.best,
            "price": self.price.value,
            "budget": self.price.budget,
            "share": self.share,
            "curve": self.curve,
            "scaling": {"mean": self.scaling.mean.tolist(), "sd": self.scaling.sd.tolist()},
        }
        (self.folder / "progress.new.json").write_text(json.dumps(progress, indent=1))
        (self.folder / "progress.new.json").replace(self.folder / "progress.json")

    def policy(self) -> LearnedPolicy:
        """Return the present policy as a regimen."""
        return LearnedPolicy(
            self.scenario,
            inputs_of(self.preset, self.scenario),
            self.model.policy,
            self.scaling.of(len(self.inputs.names)),
            {"seed_namespace": "train"},
            self.preset.policy.action,
        )

    def card(self, score: Score, steps: int, trained: bool) -> dict[str, Any]:
        """Return what must be known about a policy, beside what its folder repeats of the preset."""
        preset, spent = self.preset, self.spent()
        return {
            "notice": "Research simulation, not for clinical use.",
            "scenario_version": self.scenario.version,
            "population": self.scenario.population.source,
            "seed_namespace": "train",
            "seed": self.seed,
            "trained": trained,  # False: nothing surpassed the untrained policy, which is Bayesian monitoring
            "steps": steps,  # of the algorithm; 0 where the warm start was not surpassed
            "minutes": round(spent["all"] / 60, 1),
            "seconds": spent,
            "select": {
                "seed": SEED,
                "patients": preset.evaluation.patients,
                "policy": asdict(score),
                "bayesian, same fading": asdict(self.selection.baseline),
                "harm_budget": self.selection.budget,
            },
            "curve": self.curve,
            "changes_with": _CHANGES,
            "threads": preset.machine.threads,
            "machine": platform.machine(),
            "code": code_digest(),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in _LIBRARIES},
            },
        }

    def summary(self) -> str:
        """The last evaluation in a few words."""
        if not self.curve:
            return ""
        last, base = self.curve[-1], self.selection.baseline
        return (
            f"select: benefit {100 * last['benefit']:.1f} (Bayesian {100 * base.benefit:.1f}), "
            f"event {100 * last['ever_harm']:.1f} % ({100 * base.ever_harm:.1f} %)"
        )


def train(
    preset: Preset,
    seed: int,
    folder: str | Path,
    resume: bool = False,
    progress: bool = True,
    report: Callable[[int, Score], None] | None = None,
    start: LearnedPolicy | None = None,
) -> Path:
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
    report
        Called with the steps taken and the score after every evaluation, once the checkpoint is written: what
        it raises ends the training and leaves the folder usable.
    start
        A policy to learn further, in the simulator of the population that its belief stands on
        (`LearnedPolicy.standing_on`); it stays the best one until another is better. None: a new one.

    Raises
    ------
    ValueError
        For a folder that holds another run, or none to resume; for a policy to begin with that is of another
        scenario or another network than the preset's.

    Notes
    -----
    Ctrl-C writes a checkpoint, leaves the best policy so far in ``policy/``, and raises KeyboardInterrupt.
    """
    path = Path(folder)
    if not resume and path.exists() and any(path.iterdir()):
        raise ValueError(f"run folder {path} is not empty; name another, or go on with --resume {path}")
    if resume and not all((path / file).is_file() for file in ("progress.json", "checkpoint.zip")):
        raise ValueError(f"run {path}: no checkpoint to resume; it was stopped before the first evaluation")
    threads = torch.get_num_threads()
    run: _Run | None = None
    try:
        torch.set_num_threads(preset.machine.threads)
        run = _Run(preset, seed, path, start)
        run.report = report
        done = run.resume() if resume else run.begin()
        run.model.set_logger(configure(str(path / "tensorboard"), ["tensorboard"]))
        write_whole(path / "preset.toml", lambda new: new.write(preset.text().encode()))
        before = 0 if preset.warm_start is None else visits_of(preset.warm_start, run.scenario)
        with tqdm(
            total=before + preset.algorithm.timesteps,
            initial=before * run.warm + done,
            unit=" visits",
            disable=not progress,
            mininterval=1.0,
        ) as bar:
            if run.from_monitoring and not (resume and run.warm):
                run.keep(run.selection.baseline, 0, trained=False)
            if start is not None and not resume:
                run.go_on_from(start)
            if not run.warm:
                run.warm_up(bar)
                run.evaluate(0)
                bar.set_postfix_str(run.summary())
            run.model.learn(
                preset.algorithm.timesteps - done, callback=_Progress(run, bar), reset_num_timesteps=not done
            )
            run.evaluate(run.model.num_timesteps)
            bar.set_postfix_str(run.summary())
            run.finish()
    except KeyboardInterrupt:
        if run is not None and run.model is not None:
            run.report = None  # what it raises would hide the interruption
            run.evaluate(run.model.num_timesteps)
        raise
    finally:
        torch.set_num_threads(threads)
    return path / "policy"


def _where(start: LearnedPolicy, known: Scenario) -> Scenario:
    """Return the scenario that a policy is learned further in."""
    here = start.scenario
    if (here.name, here.version) != (known.name, known.version):
        raise ValueError(
            f"policy of {here.name} version {here.version} to begin with; the preset is for {known.name} "
            f"version {known.version}"
        )
    return here


def _check_network(start: LearnedPolicy, network: torch.nn.Module) -> None:
    """Refuse a policy to begin with whose weights do not fit the network that is trained."""
    there, here = (
        {name: tuple(values.shape) for name, values in it.state_dict().items()}
        for it in (start.network, network)
    )
    apart = [name for name in [*there, *here] if there.get(name) != here.get(name)]
    if apart:
        theirs, ours = (sizes.get(apart[0], "not there") for sizes in (there, here))
        raise ValueError(
            f"policy of {start.scenario.name} to begin with: {apart[0]} is {theirs}, of the preset's network "
            f"{ours}; name the preset that the policy was trained by, or change its [policy] hidden"
        )


def time_shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return how the time of a training was spent, as shares: "environment", "input" (the belief), "trials on
    select", and "networks", which is what is left.

    Parameters
    ----------
    seconds
        As a policy's card has them.
    """
    shares = {name: seconds[name] / seconds["all"] for name in _PARTS}
    return shares | {"networks": 1.0 - sum(shares.values())}
