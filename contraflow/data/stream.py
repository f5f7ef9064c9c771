"""Random streams for data: NumPy's, seeded by 63 bits that a ``cf.Generator`` (Philox) draws.

Shuffles and augmentations need permutations and distributions over millions of rows, so they draw
from a C implementation (SFC64, the fastest one there). Each use takes one block of the generator,
however much it draws: a run is reproducible from ``cf.manual_seed``, and the order of an epoch
follows from two integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import DTypeError, lesson
from contraflow.tensor import rng

__all__ = ["generator_or_default", "permutation", "stream"]


def generator_or_default(generator: Any) -> rng.Generator:
    """The generator itself, or the one that ``cf.manual_seed`` seeds.

    Raises:
        DTypeError: for anything else, such as a seed.
    """
    if generator is None:
        return rng.default_generator
    if not isinstance(generator, rng.Generator):
        raise DTypeError(
            lesson(
                f"generator must be a cf.Generator, not {type(generator).__name__}",
                fix="generator=cf.Generator().manual_seed(0)",
            )
        )
    return generator


def stream(generator: Any = None) -> np.random.Generator:
    """A NumPy generator that follows from the state of ``generator``, which moves on by a block."""
    return np.random.Generator(np.random.SFC64(generator_or_default(generator).word()))


def permutation(random: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
    """0..n-1 in random order, int64: each gets random upper bits, and all are sorted.

    Sorting goes through memory in order, so it does not slow down as swapping does when the caches
    are small or shared. It needs only the raw words of the bit generator, which NumPy promises to
    keep. Equal upper bits (for a million numbers one pair in 35 orders) stay in ascending order.
    """
    if n < 2:
        return np.arange(n)
    width = np.uint64((n - 1).bit_length())
    keys = random.bit_generator.random_raw(n)
    keys <<= width
    keys |= np.arange(n, dtype=np.uint64)
    keys.sort()
    keys &= (np.uint64(1) << width) - np.uint64(1)
    return keys.view(np.int64)
