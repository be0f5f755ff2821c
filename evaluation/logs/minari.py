"""Logs from and to Minari, Farama's format of offline data: one episode a patient.

Minari knows rewards, terminations and truncations. What else a log holds goes where Minari lets datasets put
things of their own: per-decision numbers into the episode's ``infos``, identifier, labels and the way the
course ended into the episode's ``options``, and what the whole log says about itself into the dataset's
metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np
import numpy.typing as npt

from dosewright.evaluation.log_checks import Propensity
from dosewright.evaluation.logged import Trajectories

if TYPE_CHECKING:
    import minari

_KEY = "dosewright_log"  # of the dataset's metadata and of an episode's options
_ENDS = ("terminated", "truncated", "censored")


def to_minari(log: Trajectories, dataset_id: str, **description: str) -> minari.MinariDataset:
    """Write a log as a Minari dataset into Minari's folder, and return it.

    Minari wants an observation after the last action, which a log does not have: the last one is repeated,
    and `from_minari` drops it.

    Parameters
    ----------
    dataset_id : ``name-v0`` or ``namespace/name-v0``
    description : further fields of the dataset, such as ``author`` and ``description``

    Raises
    ------
    ImportError
        Without Minari; install ``dosewright[minari]``.
    ValueError
        For a dataset that is there already.
    """
    minari = _minari()
    if dataset_id in minari.list_local_datasets():
        raise ValueError(f"Minari dataset {dataset_id!r} is there already; choose another name or version")
    kind, k = log.observations.dtype, log.observations.shape[2]
    dataset = minari.create_dataset_from_buffers(
        dataset_id,
        list(_episodes(log, minari.data_collector.EpisodeBuffer)),
        observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (k,), _float(kind)),
        action_space=gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64),
        **{"algorithm_name": str(log.provenance.get("regimen", "not known")), **description},
    )
    card = {
        "propensity": log.propensity,
        "horizon": log.horizon,
        "step_length": None if log.step_length is None else float(log.step_length),
        "observation_names": list(log.observation_names),
        "outcomes": list(log.outcomes),
        "strata": list(log.strata),
        "identified": log.patients is not None,
        "content_hash": log.content_hash,
        "provenance": dict(log.provenance),
    }
    dataset.storage.update_metadata({_KEY: json.dumps(card)})
    return dataset


def from_minari(
    dataset: minari.MinariDataset,
    *,
    truncated_means: Literal["truncated", "censored"] = "truncated",
    propensity: Propensity = "mass",
) -> Trajectories:
    """Return the log in a Minari dataset: one of `to_minari`, or any with vector observations and one dose.

    Parameters
    ----------
    dataset : from ``minari.load_dataset``
    truncated_means : what a truncation is in a dataset of another origin: Gymnasium's time limit, or drop-out
        as in this package's environments
    propensity : of an ``infos["behaviour_log_prob"]`` in such a dataset

    Raises
    ------
    ImportError
        Without Minari; install ``dosewright[minari]``.
    ValueError
        For observations that are no vectors, an action of several numbers, an episode without steps, or a
        dataset of `to_minari` that was changed; and whatever `Trajectories` refuses.
    """
    _minari()
    card = dataset.storage.metadata.get(_KEY)
    own: dict[str, Any] = {"propensity": propensity} if card is None else json.loads(card)
    episodes = list(dataset.iterate_episodes())
    lengths = np.array([len(episode) for episode in episodes])
    if not lengths.size or not lengths.all():
        raise ValueError("Minari dataset: no episode, or one without a step; expected a decision a patient")
    shape = (len(episodes), int(own.get("horizon", lengths.max())))
    about = dataset.storage.get_episode_metadata([episode.id for episode in episodes])
    people = [json.loads(meta.get("options", {}).get(_KEY, "{}")) for meta in about]
    ends = np.array([_end(*both, truncated_means) for both in zip(episodes, people, strict=True)])
    infos = [{} if episode.infos is None else episode.infos for episode in episodes]
    log = Trajectories(
        observations=_padded([_vectors(episode) for episode in episodes], shape),
        actions=_padded([_doses(episode) for episode in episodes], shape),
        rewards=_padded([episode.rewards for episode in episodes], shape),
        mask=np.arange(shape[1]) < lengths[:, None],
        **{name: ends[:, i] for i, name in enumerate(_ENDS)},
        behaviour_log_prob=_info(infos, "behaviour_log_prob", lengths, shape),
        times=_info(infos, "times", lengths, shape),
        outcomes={
            name: values
            for i, name in enumerate(own.get("outcomes", ()))
            if (values := _info(infos, f"outcome_{i}", lengths, shape)) is not None
        },
        strata={name: np.array([who["strata"][name] for who in people]) for name in own.get("strata", ())},
        patients=np.array([who["patient"] for who in people]) if own.get("identified") else None,
        step_length=own.get("step_length"),
        observation_names=tuple(own.get("observation_names", ())),
        propensity=own["propensity"],
        provenance=own.get("provenance", {"minari": str(dataset.storage.metadata.get("dataset_id"))}),
    )
    if log.content_hash != own.get("content_hash", log.content_hash):
        raise ValueError("Minari dataset: its content was changed after to_minari wrote it; write it again")
    return log


def _minari() -> Any:
    try:
        import minari
        import minari.data_collector
    except ImportError as error:
        raise ImportError(f"Minari is not there ({error}); pip install 'dosewright[minari]'") from None
    return minari


def _float(kind: np.dtype[Any]) -> Any:
    return np.float32 if kind == np.float32 else np.float64


def _episodes(log: Trajectories, buffer: Any) -> Iterator[Any]:
    fields = {f"outcome_{i}": values for i, values in enumerate(log.outcomes.values())}
    optional = {"behaviour_log_prob": log.behaviour_log_prob, "times": log.times}
    fields |= {name: values for name, values in optional.items() if values is not None}
    for i, length in enumerate(log.lengths.tolist()):
        own, last = slice(length), np.arange(length) == length - 1
        seen = log.observations[i, own].astype(_float(log.observations.dtype))
        who = {
            "patient": None if log.patients is None else log.patients[i].item(),
            "strata": {name: str(text[i]) for name, text in log.strata.items()},
            "end": [bool(getattr(log, name)[i]) for name in _ENDS],
        }
        yield buffer(
            id=i,
            options={_KEY: json.dumps(who)},
            observations=np.concatenate([seen, seen[-1:]]),
            actions=log.actions[i, own, None].astype(np.float64),
            rewards=log.rewards[i, own],
            terminations=last & log.terminated[i],
            truncations=last & (log.truncated[i] | log.censored[i]),
            # as long as the observations: Minari's other storages ask for that
            infos={name: np.append(values[i, own], 0.0) for name, values in fields.items()},
        )


def _end(episode: Any, who: Mapping[str, Any], truncated_means: str) -> list[bool]:
    """Return whether an episode was terminated, truncated, censored."""
    if "end" in who:
        return who["end"]
    ended, cut = bool(episode.terminations[-1]), bool(episode.truncations[-1])
    lost = cut and not ended and truncated_means == "censored"
    return [ended, cut and not lost, lost]


def _vectors(episode: Any) -> npt.NDArray[Any]:
    seen = np.asarray(episode.observations)
    seen = seen[:, None] if seen.ndim == 1 else seen
    if seen.ndim != 2 or seen.dtype.kind not in "fiub":
        raise ValueError(
            f"Minari episode {episode.id}: observations have shape {seen.shape} and type {seen.dtype}; "
            "expected one vector of numbers a step, flatten them first"
        )
    return seen[:-1]


def _doses(episode: Any) -> npt.NDArray[np.float64]:
    doses = np.asarray(episode.actions)
    if doses.size != len(doses) or doses.dtype.kind not in "fiub":
        raise ValueError(
            f"Minari episode {episode.id}: actions have shape {doses.shape} and type {doses.dtype}; expected "
            "one dose a step"
        )
    return doses.reshape(-1).astype(np.float64)


def _info(
    infos: list[Any], key: str, lengths: npt.NDArray[np.int64], shape: tuple[int, int]
) -> npt.NDArray[np.float64] | None:
    """Return what the infos say under a key (n, T), None where they do not; the rest of it is padding."""
    there = [key in info for info in infos]
    if not any(there):
        return None
    if not all(there):
        raise ValueError(f"Minari episode {there.index(False)}: no infos[{key!r}], which others have")
    return _padded([np.asarray(info[key])[:k] for info, k in zip(infos, lengths, strict=True)], shape)


def _padded(rows: list[npt.NDArray[Any]], shape: tuple[int, int]) -> npt.NDArray[Any]:
    whole = np.zeros((*shape, *rows[0].shape[1:]), dtype=rows[0].dtype)
    for i, row in enumerate(rows):
        whole[i, : len(row)] = row
    return whole
