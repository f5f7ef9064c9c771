"""The functions that update rules are written with.

A rule is one formula, met in two ways: on tensors while a step is captured (then each function is
an op of the graph), and on bare arrays in an eager step, where the formula runs without the cost
of a tensor per operation. What a function does to an array is its op's own ``forward``; what it
does to the numbers of a rule (learning rates, bias corrections) is plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from contraflow.base.dtypes import float64
from contraflow.ops import arith
from contraflow.ops.cast import convert
from contraflow.ops.record import Op, Operand
from contraflow.ops.reduce import reduce_sum
from contraflow.ops.view import permute_dims

__all__ = [
    "clip", "eps_of", "is_zero", "lerp", "maximum", "mean", "minimum", "norm", "number", "rms",
    "rsqrt", "sign", "sqrt", "transposed", "where",
]  # fmt: skip


def lifted(op: Op, on_numbers: Callable[..., Any]) -> Callable[..., Any]:
    """An op that also takes arrays and Python numbers."""

    def function(*args: Any) -> Any:
        plain = True
        for a in args:
            if isinstance(a, Operand):
                return op(*args)
            plain = plain and type(a) in (float, int, bool)
        return on_numbers(*args) if plain else op.forward(*args)

    function.__name__ = op.name
    function.__doc__ = f"The op {op.name}, of tensors, arrays or numbers."
    return function


sqrt = lifted(arith.sqrt, math.sqrt)
rsqrt = lifted(arith.rsqrt, lambda x: 1 / math.sqrt(x))
sign = lifted(arith.sign, lambda x: math.copysign(1, x) if x else x)
maximum = lifted(arith.maximum, max)
minimum = lifted(arith.minimum, min)
_select = lifted(arith.where_op, lambda condition, a, b: a if condition else b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition holds, else ``b``; a choice by a number takes one side whole."""
    if isinstance(condition, bool):
        return a if condition else b
    return _select(condition, a, b)


def clip(x: Any, low: Any, high: Any) -> Any:
    """x, moved to the nearest value in [low, high]."""
    return minimum(maximum(x, low), high)


def lerp(a: Any, b: Any, weight: Any) -> Any:
    """The point between a and b: a + weight (b - a)."""
    return a + weight * (b - a)


def is_zero(x: Any) -> bool:
    """Whether x is the number 0, so that its term can be left out; a symbol may change: never."""
    return type(x) in (float, int) and x == 0


def number(x: Any) -> Any:
    """A single value as a number of a rule: a float, or a 0-d float64 symbol under capture."""
    return convert(x, dtype=float64) if isinstance(x, Operand) else float(x)


def total(x: Any, dims: tuple[int, ...], keepdim: bool = False) -> Any:
    """The sum over ``dims``."""
    reduce = reduce_sum if isinstance(x, Operand) else reduce_sum.forward
    return reduce(x, dims=dims, keepdim=keepdim)


def mean(x: Any, dim: int) -> Any:
    """The mean over one dimension, which is kept."""
    return total(x, (dim % len(x.shape),), keepdim=True) / max(x.shape[dim], 1)


def norm(x: Any) -> Any:
    """The Euclidean norm of all elements, as a number."""
    return sqrt(number(total(x * x, tuple(range(len(x.shape))))))


def rms(x: Any) -> Any:
    """The root of the mean square of all elements, as a number."""
    return norm(x) / math.sqrt(max(math.prod(x.shape), 1))


def transposed(x: Any) -> Any:
    """The transpose of a matrix."""
    return permute_dims(x, dims=(1, 0)) if isinstance(x, Operand) else x.T


def eps_of(x: Any) -> float:
    """The distance from 1 to the next number of x's dtype."""
    return float(np.finfo(getattr(x.dtype, "np", x.dtype)).eps)
