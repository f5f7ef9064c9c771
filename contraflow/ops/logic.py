"""Questions with a yes or no answer, logic and bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import DTypeError, lesson
from contraflow.ops.arith import abs, add_op, eq, le, mul, ne, where_op, zeros_of
from contraflow.ops.cast import convert
from contraflow.ops.record import Sample, op
from contraflow.ops.reduce import reduce_sum
from contraflow.ops.rules import binary, boolean, pointwise, rand, same, unary

__all__ = [
    "allclose", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "copysign", "equal", "heaviside", "isclose", "isfinite",
    "isinf", "isnan", "isneginf", "isposinf", "logical_and", "logical_not", "logical_or",
    "logical_xor", "nan_to_num", "signbit",
]  # fmt: skip
METHODS = (*__all__,)
INPLACE = (
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "copysign", "heaviside", "logical_and", "logical_not", "logical_or",
    "logical_xor", "nan_to_num",
)  # fmt: skip

INF, NAN = float("inf"), float("nan")


def _special_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        *unary()(rng),
        Sample(np.array([NAN, INF, -INF, 0.0, -0.0, 1.0]), smooth=False),
        Sample(np.array([1, -2, 0])),
        Sample(np.array([True, False])),
    ]


isnan = op("isnan", "x", forward=np.isnan, shape=boolean, samples=_special_samples)
isinf = op("isinf", "x", forward=np.isinf, shape=boolean, samples=_special_samples)
isfinite = op("isfinite", "x", forward=np.isfinite, shape=boolean, samples=_special_samples)
signbit = op("signbit", "x", forward=np.signbit, shape=boolean, samples=_special_samples)
isposinf = op("isposinf", "x", forward=lambda x: x == INF, shape=boolean, samples=_special_samples)
isneginf = op("isneginf", "x", forward=lambda x: x == -INF, shape=boolean, samples=_special_samples)


def _nan_to_num(x: Any, nan: float, posinf: float | None, neginf: float | None) -> Any:
    if x.dtype.kind != "f":
        return x.copy()
    limits = np.finfo(x.dtype)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    return np.where(x == x, np.where(x == INF, high, np.where(x == -INF, low, x)), nan)


nan_to_num_op = op(
    "nan_to_num", "x",
    forward=_nan_to_num, shape=same, promote="arith",
    grad=lambda g, x: where_op(isfinite(x), g, 0.0),
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), nan=0.0, posinf=None, neginf=None),
        Sample(np.array([NAN, INF, -INF, 1.0]), nan=0.5, posinf=9.0, neginf=-9.0, smooth=False),
        Sample(np.array([NAN, INF, -INF, 1.0]), nan=0.0, posinf=1.0, neginf=None, smooth=False),
        Sample(np.array([1, 2]), nan=0.0, posinf=None, neginf=None),
    ],
)  # fmt: skip


def nan_to_num(
    input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Any:
    """x with NaN and infinities replaced, infinities by the dtype's largest numbers unless given.

    >>> import contraflow as cf
    >>> cf.nan_to_num(cf.tensor([float("nan"), float("inf"), 1.0]), posinf=5.0)
    tensor([0., 5., 1.])
    """
    return nan_to_num_op(input, nan=nan, posinf=posinf, neginf=neginf)


# ---- signs and steps -----------------------------------------------------------------------

copysign = op(
    "copysign", "a b",
    forward=np.copysign, shape=pointwise, promote="float", samples=binary(),
    grad={
        "a": lambda g, a, y: where_op(eq(a, 0), 0.0, g * (y / a)),
        "b": lambda g: zeros_of(g),
    },
)  # fmt: skip


def _heaviside(x: Any, values: Any) -> Any:
    step = np.greater(x, 0)
    dtype = (x if type(x) is np.ndarray else values).dtype
    return np.where(np.equal(x, 0), values, step.astype(dtype))


# 0 below zero, 1 above, `values` at zero
heaviside = op(
    "heaviside", "x values",
    forward=_heaviside, shape=pointwise, promote="arith",
    samples=lambda rng: [
        *binary()(rng),
        Sample(np.array([0.0, 1.0, NAN]), 0.5, smooth=False),
        Sample(np.array([0, 3, -3]), np.array([5, 5, 5])),
    ],
)  # fmt: skip

# ---- logic: anything but 0 is true ---------------------------------------------------------


def _logic_samples(rng: np.random.Generator) -> list[Sample]:
    p, q = rand(rng, 3, 4) > 0, rand(rng, 4) > 0
    return [
        Sample(p, q),
        Sample(p, 1),
        Sample(np.array([0.0, 2.0]), np.array([3, 0])),
        Sample(np.array([0, 2]), 0.5),
        Sample(p, rand(rng, 5) > 0, error=ValueError),
    ]


logical_and = op(
    "logical_and", "a b", forward=np.logical_and, shape=boolean, samples=_logic_samples
)
logical_or = op("logical_or", "a b", forward=np.logical_or, shape=boolean, samples=_logic_samples)
logical_xor = op(
    "logical_xor", "a b", forward=np.logical_xor, shape=boolean, samples=_logic_samples
)
logical_not = op(
    "logical_not", "x", forward=np.logical_not, shape=boolean, samples=_special_samples
)

# ---- bits ----------------------------------------------------------------------------------


def _bit_samples(rng: np.random.Generator) -> list[Sample]:
    n = np.array([[5, -3, 8], [1, 0, 127]])
    return [
        Sample(n, np.array([3, 1, 2])), Sample(n, 6), Sample(n > 1, n > 4), Sample(n > 1, True),
        Sample(n.astype(np.int8), 2), Sample(n, np.zeros(4, np.int64), error=ValueError),
        Sample(rand(rng, 3), 1, error=TypeError),
    ]  # fmt: skip


def _shift_samples(rng: np.random.Generator) -> list[Sample]:
    n = np.array([[5, -3, 8], [1, 0, 127]])
    return [
        Sample(n, np.array([3, 1, 2])), Sample(n, 70), Sample(2, n), Sample(n.astype(np.int8), 3),
        Sample(n > 1, n > 4, error=TypeError), Sample(rand(rng, 3), 1, error=TypeError),
    ]  # fmt: skip


def _shift(function: Any) -> Any:
    def shift(a: Any, b: Any) -> Any:
        if (a if type(a) is np.ndarray else b).dtype.kind == "b":
            raise TypeError("bool has no bits to shift; use x.int()")
        return function(a, b)

    return shift


bitwise_and = op(
    "bitwise_and", "a b",
    forward=np.bitwise_and, shape=pointwise, promote="bits", samples=_bit_samples,
)  # fmt: skip
bitwise_or = op(
    "bitwise_or", "a b",
    forward=np.bitwise_or, shape=pointwise, promote="bits", samples=_bit_samples,
)  # fmt: skip
bitwise_xor = op(
    "bitwise_xor", "a b",
    forward=np.bitwise_xor, shape=pointwise, promote="bits", samples=_bit_samples,
)  # fmt: skip
bitwise_left_shift = op(
    "bitwise_left_shift", "a b",
    forward=_shift(np.left_shift), shape=pointwise, promote="bits", samples=_shift_samples,
)  # fmt: skip
bitwise_right_shift = op(
    "bitwise_right_shift", "a b",
    forward=_shift(np.right_shift), shape=pointwise, promote="bits", samples=_shift_samples,
)  # fmt: skip
bitwise_not = op(
    "bitwise_not", "x",
    forward=np.invert, shape=same, promote="bits",
    samples=lambda rng: [
        Sample(np.array([5, -3, 0])),
        Sample(np.array([True, False])),
        Sample(np.array([5, 200], np.uint8)),
        Sample(rand(rng, 3), error=TypeError),
    ],
)  # fmt: skip

# ---- comparing whole tensors ---------------------------------------------------------------


def isclose(
    input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Any:
    """Where |a - b| <= atol + rtol |b|, element by element; infinities only equal themselves.

    >>> import contraflow as cf
    >>> cf.isclose(cf.tensor([1.0, 2.0]), cf.tensor([1.0 + 1e-7, 2.1]))
    tensor([ True, False])

    Raises:
        DTypeError: if the dtypes differ.
    """
    if input.dtype is not other.dtype:
        raise DTypeError(
            lesson(
                "isclose: both tensors must have one dtype",
                [("input", input), ("other", other)],
                f"b.to(cf.{input.dtype.name})",
            )
        )
    if not input.dtype.is_floating_point:
        input, other = convert(input, dtype=int64), convert(other, dtype=int64)
    apart = abs(input - other)
    near = le(apart, add_op(mul(abs(other), rtol), atol))
    close = logical_or(eq(input, other), logical_and(isfinite(apart), near))
    if equal_nan:
        close = logical_or(close, logical_and(ne(input, input), ne(other, other)))
    return close


def _count(x: Any) -> Any:
    return reduce_sum(convert(x, dtype=int64), dims=tuple(range(x.ndim)), keepdim=False)


def allclose(
    input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether ``isclose`` holds for every element, as a Python bool.

    >>> import contraflow as cf
    >>> cf.allclose(cf.tensor([1.0, 2.0]), cf.tensor([1.0, 2.1]))
    False
    """
    return not bool(_count(logical_not(isclose(input, other, rtol, atol, equal_nan))))


def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have the same shape and elements, as a Python bool.

    >>> import contraflow as cf
    >>> cf.equal(cf.tensor([1, 2]), cf.tensor([1, 2]))
    True
    """
    return tuple(input.shape) == tuple(other.shape) and not bool(_count(ne(input, other)))
