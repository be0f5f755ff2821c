"""One number for what a log says: the same data give the same hash, any other value another one."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_BLOCK = 4096  # patients whose values are put side by side; bounds the memory, changes no number


def content_hash(
    mask: npt.NDArray[np.bool_],
    decisions: Mapping[str, npt.NDArray[Any]],
    observations: npt.NDArray[Any],
    patients: Mapping[str, npt.NDArray[Any]],
    meaning: Mapping[str, Any],
) -> str:
    """Return the SHA-256, in hexadecimal, of n patients with at most T decisions each.

    Every patient has a digest: the words about the patient, and the values of the decisions made, as
    little-endian 64-bit floats (into which narrower floats and whole numbers up to 2^53 go unchanged). The
    hash is that of the sorted digests under a header with all names. So padding, number format, and the order
    of patients and of names do not matter.

    Parameters
    ----------
    mask : (n, T) bool, where decisions were made, from the first step on
    decisions : name -> (n, T) values of a decision
    observations : (n, T, k) further values, in an order that matters
    patients : name -> (n,) words about a patient
    meaning : what the numbers mean, as JSON would have it
    """
    head = {"meaning": dict(meaning), "decisions": sorted(decisions), "patients": sorted(patients)}
    whole = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    digests: list[bytes] = []
    for first in range(0, len(mask), _BLOCK):
        some = slice(first, first + _BLOCK)
        seen = mask[some]
        columns = [decisions[name][some][seen] for name in sorted(decisions)]
        columns += list(observations[some][seen].T)
        # adding 0 makes one zero of the two
        values = np.stack(columns, axis=1).astype("<f8") + 0.0
        words = [list(map(str, patients[name][some].tolist())) for name in sorted(patients)]
        ends = np.cumsum(seen.sum(axis=1)).tolist()
        for start, end, who in zip([0, *ends], ends, zip(*words, strict=True), strict=False):
            digests.append(hashlib.sha256(json.dumps(who).encode() + values[start:end].tobytes()).digest())
    whole.update(b"".join(sorted(digests)))
    return whole.hexdigest()
