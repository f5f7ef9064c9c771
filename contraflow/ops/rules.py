"""Shape rules and sample makers that many records share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from contraflow.base.dtypes import bool_
from contraflow.base.shapes import broadcast
from contraflow.ops.record import Aval, Sample

__all__ = ["binary", "boolean", "pointwise", "rand", "same", "unary"]

# A text, because looking up np.random imports it: a fifth of the whole import of contraflow.
Samples: TypeAlias = "Callable[[np.random.Generator], list[Sample]]"


def same(x: Aval, **_: Any) -> Aval:
    """The result has the shape and dtype of the first operand."""
    return x


def pointwise(*operands: Aval, **_: Any) -> Aval:
    """Shapes broadcast; dtypes already agree, because the engine promoted them."""
    return Aval(broadcast(*(o.shape for o in operands)), operands[-1].dtype)


def boolean(*operands: Aval, **_: Any) -> Aval:
    """Shapes broadcast; the result is bool."""
    return Aval(broadcast(*(o.shape for o in operands)), bool_)


def rand(
    rng: np.random.Generator, *shape: int, low: float = -2.0, high: float = 2.0
) -> np.ndarray[Any, Any]:
    """Distinct float64 values in [low, high], well apart from each other and from the integers'
    kinks: evenly spread, shuffled, so that finite differences never cross a tie."""
    count = int(np.prod(shape))
    values = low + (high - low) * (np.arange(count) + 0.37) / max(count, 1)
    return rng.permutation(values).reshape(shape)


def unary(low: float = -2.0, high: float = 2.0, **attrs: Any) -> Samples:
    """Samples of an op of one operand: a matrix, a 0-d and a zero-size tensor."""

    def make(rng: np.random.Generator) -> list[Sample]:
        return [
            Sample(rand(rng, 3, 4, low=low, high=high), **attrs),
            Sample(rand(rng, low=low, high=high), **attrs),
            Sample(np.zeros((0, 3)), **attrs),
        ]

    return make


def binary(
    low: float = -2.0,
    high: float = 2.0,
    low_b: float | None = None,
    high_b: float | None = None,
    **attrs: Any,
) -> Samples:
    """Samples of an op of two operands: equal shapes, broadcasting both ways, a number, empty."""
    low_b, high_b = low if low_b is None else low_b, high if high_b is None else high_b
    mid = low_b + 0.631 * (high_b - low_b)

    def make(rng: np.random.Generator) -> list[Sample]:
        def a(*shape: int) -> np.ndarray[Any, Any]:
            return rand(rng, *shape, low=low, high=high)

        def b(*shape: int) -> np.ndarray[Any, Any]:
            return rand(rng, *shape, low=low_b, high=high_b) + 0.0137

        return [
            Sample(a(3, 4), b(3, 4), **attrs),
            Sample(a(3, 1), b(4), **attrs),
            Sample(a(2, 3), b(2, 1), **attrs),
            Sample(a(), b(2, 2), **attrs),
            Sample(a(3), mid, **attrs),
            Sample(a(0, 3), b(3), **attrs),
            Sample(a(3, 4), b(3, 5), error=ValueError, **attrs),
        ]

    return make
