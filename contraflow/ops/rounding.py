"""Rounding, and division that rounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import DTypeError, lesson
from contraflow.ops.arith import zeros_of
from contraflow.ops.record import Sample, op
from contraflow.ops.rules import binary, pointwise, rand, same, unary

__all__ = [
    "ceil", "fix", "floor", "floor_divide", "fmod", "frac", "remainder", "round", "trunc",
]  # fmt: skip
METHODS = (*__all__,)
INPLACE = (*__all__,)


def _whole(function: Any) -> Any:
    # integers are their own rounding; the result is a copy all the same
    return lambda x: function(x) if x.dtype.kind == "f" else x.copy()


floor = op(
    "floor", "x",
    forward=_whole(np.floor), shape=same, promote="number", samples=unary(), grad=zeros_of,
)  # fmt: skip

ceil = op(
    "ceil", "x",
    forward=_whole(np.ceil), shape=same, promote="number", samples=unary(), grad=zeros_of,
)  # fmt: skip

trunc = op(
    "trunc", "x",
    forward=_whole(np.trunc), shape=same, promote="number", samples=unary(), grad=zeros_of,
)  # fmt: skip
fix = trunc

frac = op(
    "frac", "x",
    forward=lambda x: x - np.trunc(x), shape=same, promote="float", samples=unary(),
    grad=lambda g: g,
)  # fmt: skip


def _round(x: Any, decimals: int) -> Any:
    if x.dtype.kind != "f":
        return x.copy()
    if decimals == 0:
        return np.rint(x)
    scale = 10.0 ** abs(decimals)
    return np.rint(x * scale) / scale if decimals > 0 else np.rint(x / scale) * scale


def _round_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        *unary(decimals=0)(rng),
        Sample(rand(rng, 3, 4), decimals=1),
        Sample(rand(rng, 3, low=-50, high=50), decimals=-1),
        Sample(np.array([0.5, 1.5, -2.5]), decimals=0, smooth=False),
    ]


round_op = op(
    "round", "x",
    forward=_round, shape=same, promote="number", samples=_round_samples, grad=zeros_of,
)  # fmt: skip


def round(input: Any, *, decimals: int = 0) -> Any:
    """The nearest number with ``decimals`` decimal places; halves go to the even neighbour.

    Negative ``decimals`` round to tens, hundreds, ...

    >>> import contraflow as cf
    >>> cf.round(cf.tensor([0.5, 1.5, 2.7]))
    tensor([0., 2., 3.])

    Raises:
        DTypeError: for integers with ``decimals``.
    """
    if decimals != 0 and not input.dtype.is_floating_point:
        raise DTypeError(
            lesson(
                "round: decimals need a floating-point tensor",
                [("input", input)],
                f"x.double().round(decimals={decimals})",
            )
        )
    return round_op(input, decimals=decimals)


# ---- division ------------------------------------------------------------------------------


def _checked(function: Any) -> Any:
    # NumPy gives 0 for an integer divided by 0
    def divide(a: Any, b: Any) -> Any:
        if (a if type(a) is np.ndarray else b).dtype.kind != "f" and not np.all(b):
            raise ValueError("an integer is divided by 0; use x.float(), where that is inf")
        return function(a, b)

    return divide


def _trunc_divide(a: Any, b: Any) -> Any:
    if (a if type(a) is np.ndarray else b).dtype.kind == "f":
        return np.trunc(np.true_divide(a, b))
    return np.floor_divide(a - np.fmod(a, b), b)  # exact, so its floor is its truncation


def _division_samples(rng: np.random.Generator) -> list[Sample]:
    integers = np.array([7, -7, 5]), np.array([2, 2, -3])
    return [
        *binary(-4, 4, 0.5, 2)(rng),
        *binary(-4, 4, -2, -0.5)(rng)[:2],
        Sample(*integers),
        Sample(integers[0], -2),
        Sample(integers[0], 0, error=ValueError),
    ]


floor_divide = op(
    "floor_divide", "a b",
    forward=_checked(np.floor_divide), shape=pointwise, promote="number",
    samples=_division_samples, grad={"a": zeros_of, "b": zeros_of},
)  # fmt: skip

trunc_divide = op(
    "trunc_divide", "a b",
    forward=_checked(_trunc_divide), shape=pointwise, promote="number",
    samples=_division_samples, grad={"a": zeros_of, "b": zeros_of},
)  # fmt: skip

# a - b floor(a / b): the sign of b
remainder = op(
    "remainder", "a b",
    forward=_checked(np.remainder), shape=pointwise, promote="number", samples=_division_samples,
    grad={"a": lambda g: g, "b": lambda g, a, b: -g * floor_divide(a, b)},
)  # fmt: skip

# a - b trunc(a / b): the sign of a
fmod = op(
    "fmod", "a b",
    forward=_checked(np.fmod), shape=pointwise, promote="number", samples=_division_samples,
    grad={"a": lambda g: g, "b": lambda g, a, b: -g * trunc_divide(a, b)},
)  # fmt: skip
