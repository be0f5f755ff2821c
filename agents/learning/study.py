"""The study of a sweep in its storage: begun once, and gone on with only where it asked the same."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dosewright.agents.learning.preset import Preset
from dosewright.agents.learning.search_space import SearchSpace
from dosewright.envs import scenario

if TYPE_CHECKING:
    import optuna

_ASKED = "asked"  # the study's attribute with its question
_Read = TypeVar("_Read")
_SHOWN = 5  # differences that a refusal names


def question(preset: Preset, space: SearchSpace, seed: int) -> dict[str, str]:
    """Return everything that a sweep's numbers depend on, except its code and machine, part by part."""
    version = scenario(preset.scenario.drug).version
    asked = {"scenario version": str(version), "seed": str(seed)}
    for table, keys in tomllib.loads(preset.text()).items():
        asked |= {f"preset {table}.{key}": str(value) for key, value in keys.items()}
    return asked | {f"space {key}": words for key, words in space.described().items()}


def begin(storage: str, name: str, asked: Mapping[str, str], folder: Path) -> optuna.Study:
    """Make a study in a storage.

    Parameters
    ----------
    storage, name
        Optuna's address of the storage, and the study's name in it.
    asked
        `question` of the sweep.
    folder
        Of the sweep's runs; it must hold nothing yet.

    Raises
    ------
    ValueError
        For a storage that cannot be opened, a study of that name, or a folder that is in use.
    """
    import optuna

    if name in _names(storage):
        raise ValueError(
            f"study {name!r} is in {storage} already; go on with it by --resume, or name another --study"
        )
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(
            f"folder {folder} is not empty, but study {name!r} is not in {storage}; give the --storage of "
            "the sweep that it holds with --resume, or name another --study or --log-folder"
        )
    study = _opened(
        storage,
        lambda: optuna.create_study(
            storage=storage, study_name=name, direction="maximize", pruner=optuna.pruners.MedianPruner()
        ),
    )
    study.set_user_attr(_ASKED, dict(asked))
    return study


def resume(storage: str, name: str, asked: Mapping[str, str]) -> optuna.Study:
    """Return the study of a name; trials that a killed process left running are marked failed.

    Raises
    ------
    ValueError
        For a storage that cannot be opened or has no such study, or a study that asked something else; the
        message names what differs.
    """
    import optuna

    if name not in _names(storage):
        raise ValueError(f"--resume: no study {name!r} in {storage}; leave --resume out")
    study = _opened(
        storage,
        lambda: optuna.load_study(storage=storage, study_name=name, pruner=optuna.pruners.MedianPruner()),
    )
    there = study.user_attrs.get(_ASKED)
    if there is None:
        raise ValueError(f"study {name!r} in {storage} is no sweep of dosewright; name another --study")
    different = [
        f"{part} {there.get(part, 'absent')!r} there, {asked.get(part, 'absent')!r} here"
        for part in dict.fromkeys((*there, *asked))
        if there.get(part) != asked.get(part)
    ]
    if different:
        more = f"; and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        raise ValueError(
            f"study {name!r} in {storage} is another sweep: {'; '.join(different[:_SHOWN])}{more}; ask the "
            "same, or name another --study"
        )
    running = (optuna.trial.TrialState.RUNNING,)  # of a process that was killed
    for trial in study.get_trials(deepcopy=False, states=running):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _names(storage: str) -> list[str]:
    """Return the names of the studies in a storage.

    Optuna would make a file of SQLite that is not there, and its own tables in one of something else.
    """
    import optuna
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.engine import make_url

    def read() -> list[str]:
        url = make_url(storage)
        if url.get_backend_name() == "sqlite":
            if not url.database or not Path(url.database).exists():
                return []
            engine = create_engine(url)
            tables = inspect(engine).get_table_names()
            engine.dispose()
            if "studies" not in tables:
                if tables:
                    raise ValueError(
                        f"storage {storage}: is a database of something else, with table {tables[0]!r}; name "
                        "another --storage"
                    )
                return []
        return optuna.get_all_study_names(storage)

    return _opened(storage, read)


def _opened(storage: str, read: Callable[[], _Read]) -> _Read:
    """Read from a storage; one that cannot be opened is named."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return read()
    except (SQLAlchemyError, StorageInternalError, RuntimeError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"storage {storage}: cannot be opened ({reason}); expected an address such as "
            "sqlite:///runs/tune.db, in a folder that is there"
        ) from None
