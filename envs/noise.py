"""Counter-based noise: every random number is a pure function of who, what and when.

``(namespace, seed, patient, stream, event)`` is encrypted by Philox4x32-10 (Salmon et al., Parallel random
numbers: as easy as 1, 2, 3, SC'11). Two regimens therefore meet the same patient with the same assay errors
and missed doses, whatever they prescribe, and nothing depends on batch size, order, threads or the number of
machines.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.pharmacology.compilation import kernel

NAMESPACES = ("train", "select", "trial")

_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


class Stream(IntEnum):
    """What a random number is for. Values are part of every published result: append, never renumber."""

    STRATUM = 1
    COVARIATES = 2
    GENOTYPE = 3
    RANDOM_EFFECTS = 4
    BASELINE = 5
    RESIDUAL = 6
    MISSED_DOSE = 7
    DRIFT = 8
    INTERACTION = 9
    RESULT = 10
    DROPOUT = 11
    ROWS = 12
    CLINICIAN = 13
    BELIEF = 14
    OCCASION = 15
    EPISODE = 16
    START = 17
    SAMPLE = 18
    DURATION = 19
    PAUSE = 20
    READS = 21
    WORLD = 22
    SHIFT = 23
    OVERRIDE = 24


def _philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: four 32-bit counters and two 32-bit keys, all as uint64, to four 32-bit words."""
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _MASK, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


philox = kernel(_philox)


def _fill_uniforms(patient, stream, event, k0, k1, out):
    """Two uniforms in [0, 1) of 53 bits each, for every (patient, event)."""
    for i in prange(patient.shape[0]):
        for j in range(event.shape[0]):
            a, b, c, d = philox(patient[i] & _MASK, patient[i] >> _SHIFT, stream, event[j], k0, k1)
            # 27 bits of one word and 26 of the next
            out[i, j, 0] = ((a >> np.uint64(5)) * 67108864.0 + (b >> np.uint64(6))) / 9007199254740992.0
            out[i, j, 1] = ((c >> np.uint64(5)) * 67108864.0 + (d >> np.uint64(6))) / 9007199254740992.0


def _uniforms_to_normals(out):
    """Box–Muller in place: the two uniforms of every pair become two independent standard normals."""
    for i in prange(out.shape[0]):
        for j in range(out.shape[1]):
            radius = math.sqrt(-2.0 * math.log(1.0 - out[i, j, 0]))
            angle = 2.0 * math.pi * out[i, j, 1]
            out[i, j, 0], out[i, j, 1] = radius * math.cos(angle), radius * math.sin(angle)


_uniforms: Any = kernel(_fill_uniforms, label="noise (uniform)", parallel=True)
_normals: Any = kernel(_uniforms_to_normals, label="noise (normal)", parallel=True)


@dataclass(frozen=True)
class Noise:
    """All randomness of one experiment.

    Attributes
    ----------
    namespace
        "train", "select" or "trial": numbers of different namespaces never overlap.
    seed
        Any non-negative integer.
    """

    namespace: str
    seed: int

    def __post_init__(self) -> None:
        if self.namespace not in NAMESPACES:
            raise ValueError(f"unknown seed namespace {self.namespace!r}; known: {', '.join(NAMESPACES)}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer) or self.seed < 0:
            raise ValueError(f"seed {self.seed!r} is not a non-negative integer")

    @cached_property
    def key(self) -> tuple[np.uint64, np.uint64]:
        """The two 32-bit words of the cipher's key."""
        digest = hashlib.sha256(f"{self.namespace}:{int(self.seed)}".encode()).digest()
        return np.uint64(int.from_bytes(digest[:4], "little")), np.uint64(
            int.from_bytes(digest[4:8], "little")
        )

    def uniforms(self, patient: ArrayLike, stream: Stream, event: ArrayLike = 0) -> NDArray[np.float64]:
        """Return (n, m, 2) independent uniforms in [0, 1), two for every patient (n,) and event (m,)."""
        patients = np.atleast_1d(np.asarray(patient, dtype=np.uint64))
        events = np.atleast_1d(np.asarray(event, dtype=np.uint64))
        out = np.empty((len(patients), len(events), 2))
        _uniforms(patients, np.uint64(stream), events, *self.key, out)
        return out

    def normals(self, patient: ArrayLike, stream: Stream, event: ArrayLike = 0) -> NDArray[np.float64]:
        """Return (n, m, 2) independent standard normals, two for every patient (n,) and event (m,)."""
        out = self.uniforms(patient, stream, event)
        _normals(out)
        return out
