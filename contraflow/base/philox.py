"""Philox 4x32-10: random bits as a pure function of (seed, stream, position).

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
A block is four 32-bit words; block ``p`` of a stream never depends on the blocks before it, so
eager and compiled steps draw the same bits and a run resumes exactly where it stopped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["BLOCK", "block", "philox_words"]

BLOCK = 4  # words a block
ROUNDS = 10
FEW = 8  # blocks; so few are made faster one by one, in Python's own numbers
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_LITTLE = int(np.little_endian)


def philox_words(seed: int, position: int, blocks: int, stream: int = 0) -> Any:
    """``4 * blocks`` random words (uint32, in stream order) starting at block ``position``."""
    if blocks <= FEW:
        found = [block(seed, position + k, stream) for k in range(blocks)]
        return np.array(found, np.uint32).reshape(-1)
    counter = np.arange(blocks, dtype=np.uint64) + np.uint64(position)
    even = np.empty((2, blocks), np.uint64)  # words 0 and 2 of each counter
    odd = np.empty((2, blocks), np.uint32)  # words 1 and 3
    even[0] = counter & np.uint64(_MASK)
    odd[0] = counter >> np.uint64(32)
    even[1] = stream & _MASK
    odd[1] = (stream >> 32) & _MASK
    key = [seed & _MASK, (seed >> 32) & _MASK]
    product = np.empty((2, blocks), np.uint64)
    halves = product.view(np.uint32).reshape(2, blocks, 2)
    low, high = halves[:, :, 1 - _LITTLE], halves[:, :, _LITTLE]
    keys = np.empty((2, 1), np.uint32)
    for _ in range(ROUNDS):
        np.multiply(even, _MULTIPLIERS, out=product)
        keys[:, 0] = key
        # (c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0))
        np.bitwise_xor(odd, keys, out=odd)
        even[...] = np.bitwise_xor(high[::-1], odd)
        odd[...] = low[::-1]
        key = [(k + w) & _MASK for k, w in zip(key, _WEYL, strict=True)]
    words = np.empty((blocks, BLOCK), np.uint32)
    words[:, 0::2] = even.T
    words[:, 1::2] = odd.T
    return words.reshape(-1)


def block(seed: int, position: int, stream: int = 0) -> tuple[int, int, int, int]:
    """The four words of one block."""
    (a,), (b,) = _MULTIPLIERS.tolist()
    c0, c1, c2, c3 = (n >> s & _MASK for n in (position, stream) for s in (0, 32))
    k0, k1 = seed & _MASK, seed >> 32 & _MASK
    for _ in range(ROUNDS):
        p, q = a * c0, b * c2
        c0, c1, c2, c3 = q >> 32 ^ c1 ^ k0, q & _MASK, p >> 32 ^ c3 ^ k1, p & _MASK
        k0, k1 = k0 + _WEYL[0] & _MASK, k1 + _WEYL[1] & _MASK
    return c0, c1, c2, c3
