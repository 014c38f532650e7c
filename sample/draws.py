"""Repeatable random numbers: every draw of the sample company follows from the seed, a stream's name and an index.

Two kinds. A `generator` per (seed, stream, day) draws a day's behaviour, so that any day can be lived alone. `uniforms`
gives one number per index instead (a counter-based generator): a customer keeps theirs however many others exist.
"""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # odd, so multiplying by it permutes the 64-bit numbers


def stream_key(seed: int, *stream) -> int:
    """A 64-bit key for a stream of the seed; unrelated for any two streams."""
    return int.from_bytes(hashlib.blake2b(repr((seed, *stream)).encode(), digest_size=8).digest(), "little")


def generator(seed: int, *stream) -> np.random.Generator:
    """numpy's generator for one stream, e.g. one kind of behaviour on one day."""
    return np.random.default_rng(stream_key(seed, *stream))


def _mix(seed: int, stream: str, index: np.ndarray) -> np.ndarray:
    """splitmix64 (Steele, Lea, Flood 2014): a keyed permutation of 64-bit numbers."""
    x = np.uint64(stream_key(seed, stream)) + np.asarray(index).astype(np.uint64) * _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(seed: int, stream: str, index: np.ndarray) -> np.ndarray:
    """One number in (0, 1) per index."""
    return ((_mix(seed, stream, index) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def integers(seed: int, stream: str, index: np.ndarray, n: int) -> np.ndarray:
    """One integer in [0, n) per index."""
    return (uniforms(seed, stream, index) * n).astype(np.int64)


def pick(u: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Index of a level per uniform number, drawn by the levels' shares (which need not sum to one)."""
    edges = np.cumsum(shares)
    return np.minimum(np.searchsorted(edges / edges[-1], u, side="right"), len(edges) - 1)


def make_ids(prefix: str, seed: int, kind: str, index: np.ndarray) -> np.ndarray:
    """Ids of 17 characters: one letter and a keyed permutation of the index in hex.

    Unique without a check, and neither their order nor their digits say when or for whom they were made.
    """
    numbers = _mix(seed, f"id/{kind}", index).astype(">u8")
    digits = np.frombuffer(numbers.tobytes().hex().encode(), dtype=np.uint8).reshape(len(numbers), 16)
    letters = np.full((len(numbers), 1), ord(prefix), dtype=np.uint8)
    return np.ascontiguousarray(np.hstack([letters, digits])).view("S17").ravel().astype("U17")
