"""Noise: the published cipher, sound numbers, and nothing but (namespace, seed, patient, stream, event)."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from dosewright.envs import NAMESPACES, Noise, Stream
from dosewright.envs.noise import philox

# Random123 1.09 (Salmon et al., SC'11), kat_vectors, philox4x32 10 rounds: counter, key, result
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[np.uint64]:
    return [np.uint64(int(word, 16)) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_cipher_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    assert list(philox(*words(counter), *words(key))) == words(answer)


def test_uniforms_are_the_cipher_of_patient_stream_and_event() -> None:
    noise, patient = Noise("trial", 7), 5 + (3 << 32)
    a, b, c, d = philox(*words("5 3 6 b"), *noise.key)  # patient low and high, stream, event (hex)
    expected = [((x >> 5) * 2**26 + (y >> 6)) / 2**53 for x, y in ((int(a), int(b)), (int(c), int(d)))]
    assert noise.uniforms(patient, Stream.RESIDUAL, 11)[0, 0].tolist() == expected


N = 20_000


def test_uniforms_are_uniform_and_their_pairs_independent() -> None:
    u = Noise("trial", 1).uniforms(np.arange(N), Stream.DRIFT, 3)[:, 0]
    assert u.min() >= 0 and u.max() < 1
    # fixed seed: a p below 1e-3 would mean a broken generator, not bad luck
    assert kstest(u[:, 0], "uniform").pvalue > 1e-3 and kstest(u[:, 1], "uniform").pvalue > 1e-3
    assert abs(np.asarray(np.corrcoef(u.T))[0, 1]) < 4 / np.sqrt(N)


def test_normals_are_standard_normal_and_their_pairs_independent() -> None:
    z = Noise("trial", 1).normals(np.arange(N), Stream.RESIDUAL, 3)[:, 0]
    assert kstest(z[:, 0], "norm").pvalue > 1e-3 and kstest(z[:, 1], "norm").pvalue > 1e-3
    assert abs(np.asarray(np.corrcoef(z.T))[0, 1]) < 4 / np.sqrt(N)
    assert abs(np.asarray(np.corrcoef((z**2).T))[0, 1]) < 4 / np.sqrt(N)


def test_events_of_one_patient_are_independent() -> None:
    z = Noise("select", 3).normals(12, Stream.DRIFT, np.arange(N))[0, :, 0]
    assert kstest(z, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 4 / np.sqrt(N)


def test_namespaces_seeds_and_streams_are_independent() -> None:
    ids, sources = np.arange(N), {}
    for namespace in NAMESPACES:
        for seed in (0, 1):
            for stream in (Stream.RESIDUAL, Stream.BELIEF):
                sources[namespace, seed, stream] = Noise(namespace, seed).uniforms(ids, stream)[:, 0, 0]
    for one, other in combinations(sources.values(), 2):
        assert not np.any(one == other)
        assert abs(np.corrcoef(one, other)[0, 1]) < 4.5 / np.sqrt(N)  # 66 pairs


def test_streams_have_values_of_their_own() -> None:
    assert len({int(stream) for stream in Stream}) == len(Stream.__members__) == 24


@given(st.integers(0, 2**40), st.integers(0, 2**31), st.sampled_from(list(Stream)), st.integers(0, 2**63))
def test_number_of_a_patient_does_not_depend_on_the_company(
    patient: int, event: int, stream: Stream, seed: int
) -> None:
    noise = Noise("train", seed)
    alone = noise.normals(patient, stream, event)[0, 0]
    among = noise.normals([7, patient, 9, patient + 1], stream, [0, event, 5])
    assert np.array_equal(among[1, 1], alone)
    assert not np.array_equal(among[3, 1], alone)


def test_permutation_of_patients_permutes_the_numbers() -> None:
    order = np.random.default_rng(0).permutation(500)
    noise = Noise("trial", 9)
    assert np.array_equal(
        noise.uniforms(order, Stream.RESULT, np.arange(4)),
        noise.uniforms(np.arange(500), Stream.RESULT, np.arange(4))[order],
    )


def test_large_patient_numbers_do_not_wrap() -> None:
    u = Noise("trial", 0).uniforms([1, 1 + 2**32, 1 + 2**33], Stream.ROWS)[:, 0, 0]
    assert len(np.unique(u)) == 3


def test_unknown_namespace_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown seed namespace 'test'; known: train, select, trial"):
        Noise("test", 0)


@pytest.mark.parametrize("seed", [-1, 1.0, "1", True, None])
def test_seed_that_is_no_non_negative_integer_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match="is not a non-negative integer"):
        Noise("trial", seed)  # pyright: ignore[reportArgumentType]
