"""Compiled kernels, cached on disk until any kernel source changes.

Numba caches a compiled function under the time stamp of the one file that holds it. A kernel compiled from
several files would therefore keep an old constant after an edit elsewhere. `kernel` replaces that stamp by a
hash of every source that can be compiled in: the file of the function, those of the kernels it closes over or
names, and what these import from this folder.

A model's kernels are compiled for one fixed signature and handed to the engine as function pointers, so the
engine is compiled once for all models, not once for each.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile


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
_PACKAGE = __package__ or ""
_said: set[str] = set()  # labels whose compilation was announced; a model has several kernels


def source_digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 (hex) of `files` and of every file of this folder that they import, in a fixed
    order."""
    found: set[Path] = set()
    waiting = [Path(file).resolve() for file in files]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _imported(path: Path) -> list[Path]:
    """Files of this folder that a source imports, by module or by name from a package."""
    text = path.read_text(encoding="utf-8")
    modules = set(re.findall(rf"^\s*(?:from|import) {re.escape(_PACKAGE)}\.([\w.]+)", text, re.MULTILINE))
    for package, names in re.findall(
        rf"^\s*from {re.escape(_PACKAGE)}((?:\.\w+)*) import \(?([\w\s,]+)", text, re.MULTILINE
    ):
        modules |= {f"{package}.{name}".strip(".") for name in re.findall(r"\w+", names)}
    places = [_FOLDER.joinpath(*module.split(".")) for module in sorted(modules)]
    return [
        file
        for place in places
        for file in (place.with_suffix(".py"), place / "__init__.py")
        if file.is_file()
    ]


def _sources(function: Callable[..., Any]) -> set[Path]:
    """Files of `function` and of the kernels that it closes over or names."""
    found = {Path(inspect.getsourcefile(function) or _FOLDER)}
    closed_over = [cell.cell_contents for cell in function.__closure__ or ()]
    named = [function.__globals__.get(name) for name in function.__code__.co_names]
    for item in (*closed_over, *named):
        inner = getattr(item, "py_func", None)
        if inner is not None:
            found |= _sources(inner)
    return found


def _constants(function: Callable[..., Any]) -> str:
    """Return the numbers that are compiled in from closures and from names of the module, as text.

    They may come from a file that is not among the sources.
    """
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    named = {name: cell.cell_contents for name, cell in cells}
    named |= {n: function.__globals__[n] for n in function.__code__.co_names if n in function.__globals__}
    found = []
    for name, value in sorted(named.items()):
        inner = getattr(value, "py_func", None)
        if inner is not None:
            found.append(_constants(inner))
        elif isinstance(value, int | float | complex | str | tuple):
            found.append(f"{name}={value!r}")
        elif isinstance(value, np.ndarray):
            found.append(f"{name}={hashlib.sha256(value.tobytes()).hexdigest()}")
    return ";".join(found)


class _KernelCache(FunctionCache):
    """Numba's on-disk cache with a key that covers all kernel sources and names the model compiled in."""

    def __init__(self, function: Callable[..., Any], label: str) -> None:
        super().__init__(function)
        self._label = label
        self._digest = source_digest(_sources(function)) + _constants(function)
        # one index a label: processes that compile different kernels of one function do not meet in a file
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=f"{self._impl.filename_base}-{hashlib.sha256(label.encode()).hexdigest()[:12]}",
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        # numba pickles the closure into its key; a compiled function pickles differently in every process
        return (sig, codegen.magic_tuple(), self._digest, self._label)

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            data = super()._load_overload(sig, target_context)
        except ImportError:  # compiled in a module that can no longer be imported: compile anew
            data = None
        if data is None and self._label not in _said:
            _said.add(self._label)
            print(f"dosewright: compiling {self._label} (once, then cached)", file=sys.stderr, flush=True)
        return data


def kernel(
    function: Callable[..., Any], *, label: str = "", parallel: bool = False, inline: bool = False
) -> Any:
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
    inline
        Whether its code stands in its callers' place. A call costs some 50 ns where arrays are handed over:
        for what runs millions of times a second.
    """
    compiled: Any = njit(
        function,
        error_model="numpy",
        parallel=parallel,
        nogil=True,
        inline="always" if inline else "never",
    )
    if label:
        compiled._cache = _KernelCache(function, label)
    return compiled


def compiled(function: Callable[..., Any], signature: Any, *, label: str, parallel: bool = False) -> Any:
    """Compile `function` for one Numba `signature` and no other: what a function pointer needs."""
    made = kernel(getattr(function, "py_func", function), label=label, parallel=parallel)
    made.compile(signature)
    made.disable_compile()
    return made


class Pointer(types.WrapperAddressProtocol):
    """A kernel as a function pointer whose address is looked up once; numba would do so at every call.

    Parameters
    ----------
    function, signature, label
        As `compiled`.
    """

    def __init__(self, function: Callable[..., Any], signature: Any, label: str) -> None:
        self._signature = signature
        self._kernel = compiled(function, signature, label=label)  # keeps the code alive
        result = self._kernel.get_compile_result(signature)
        self._address = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)

    def __wrapper_address__(self) -> int:
        """Return the address of the compiled code."""
        return self._address

    def signature(self) -> Any:
        """Return the type of the function."""
        return self._signature
