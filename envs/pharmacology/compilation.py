"""Compiled kernels, cached on disk until any kernel source changes.

Numba caches a compiled function under the time stamp of the one file that holds it. A kernel compiled from
several files would therefore keep an old constant after an edit elsewhere. `kernel` replaces that stamp by a
hash of every source that can be compiled in: this folder, the file of the function, and the files of the
kernels it closes over.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache


def _load_tbb() -> None:
    """Load the TBB of this environment, so that numba finds it and prefers it over OpenMP.

    OpenMP's threads spin at the end of every parallel loop; beside PyTorch's, or another process, that made
    the vector environment five times slower. The wheel puts the library where the loader does not look.
    """
    with suppress(PackageNotFoundError, OSError):
        for file in files("tbb") or ():
            if file.name == "libtbb.so.12":
                ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)


_load_tbb()

_FOLDER = Path(__file__).resolve().parent


def source_digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 (hex) of this folder's Python sources and `files`, in a fixed order."""
    digest = hashlib.sha256()
    for path in sorted({*_FOLDER.rglob("*.py"), *(Path(file).resolve() for file in files)}):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources(function: Callable[..., Any]) -> set[Path]:
    """Files of `function` and of the kernels in its closure."""
    found = {Path(inspect.getsourcefile(function) or _FOLDER)}
    for cell in function.__closure__ or ():
        inner = getattr(cell.cell_contents, "py_func", None)
        if inner is not None:
            found |= _sources(inner)
    return found


class _KernelCache(FunctionCache):
    """Numba's on-disk cache with a key that covers all kernel sources and names the model compiled in."""

    def __init__(self, function: Callable[..., Any], label: str) -> None:
        super().__init__(function)
        self._label = label
        self._digest = source_digest(_sources(function))

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        # numba pickles the closure into its key; a compiled function pickles differently in every process
        return (sig, codegen.magic_tuple(), self._digest, self._label)

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        data = super()._load_overload(sig, target_context)
        if data is None:
            print(f"dosewright: compiling {self._label} (once, then cached)", file=sys.stderr, flush=True)
        return data


def kernel(function: Callable[..., Any], *, label: str = "", parallel: bool = False) -> Any:
    """Compile `function` with Numba, strictly (no `fastmath`), cached across processes.

    Parameters
    ----------
    function
        Python function in Numba's nopython subset.
    label
        Name said at the first compilation. A kernel with a label has a cache of its own; one without is
        compiled into its callers.
    parallel
        Whether `prange` loops use all cores.
    """
    compiled: Any = njit(function, error_model="numpy", parallel=parallel, nogil=True)
    if label:
        compiled._cache = _KernelCache(function, label)
    return compiled
