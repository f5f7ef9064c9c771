"""Arithmetic, powers, comparisons and choices between two values."""

from __future__ import annotations

from math import log as number_log
from typing import Any

import numpy as np

from contraflow.base.dtypes import bool_, float64
from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.ops.record import OPS, Op, Sample, op
from contraflow.ops.rules import binary, boolean, pointwise, rand, same, unary

__all__ = [
    "abs", "absolute", "add", "div", "divide", "eq", "float_power", "ge", "greater",
    "greater_equal", "gt", "le", "less", "less_equal", "lt", "maximum", "minimum", "mul",
    "multiply", "ne", "neg", "negative", "not_equal", "positive", "pow", "reciprocal", "rsqrt",
    "rsub", "sgn", "sign", "sqrt", "square", "sub", "subtract", "true_divide", "where",
]  # fmt: skip
METHODS = tuple(name for name in __all__ if name not in ("rsub", "where"))
INPLACE = tuple(name for name in METHODS if name not in ("float_power", "maximum", "minimum"))


def zeros_of(g: Any) -> Any:
    """The gradient of a function that is constant between its steps: zeros, also where g is inf."""
    return OPS["full"](shape=tuple(g.shape), value=0, dtype=g.dtype)


add_op = op(
    "add", "a b",
    forward=np.add, shape=pointwise, promote="arith", samples=binary(),
    grad={"a": lambda g: g, "b": lambda g: g},
)  # fmt: skip

sub_op = op(
    "sub", "a b",
    forward=np.subtract, shape=pointwise, promote="number", samples=binary(),
    grad={"a": lambda g: g, "b": lambda g: -g},
)  # fmt: skip

mul = op(
    "mul", "a b",
    forward=np.multiply, shape=pointwise, promote="arith", samples=binary(),
    grad={"a": lambda g, b: g * b, "b": lambda g, a: g * a},
)  # fmt: skip

div_op = op(
    "div", "a b",
    forward=np.true_divide, shape=pointwise, promote="float", samples=binary(-2, 2, 0.5, 2),
    grad={"a": lambda g, b: g / b, "b": lambda g, b, y: -g * y / b},
)  # fmt: skip


def add(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """a + alpha * b, element by element, broadcasting.

    >>> import contraflow as cf
    >>> cf.add(cf.tensor([1.0, 2.0]), 10)
    tensor([11., 12.])

    Raises:
        ArgumentError: if ``alpha`` has a fraction and both operands are integers.
    """
    return add_op(input, other if alpha == 1 else scaled("add", input, other, alpha))


def sub(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """a - alpha * b, element by element, broadcasting.

    >>> import contraflow as cf
    >>> cf.sub(cf.tensor([1.0, 2.0]), cf.tensor([1.0, 1.0]), alpha=2)
    tensor([-1.,  0.])

    Raises:
        ArgumentError: if ``alpha`` has a fraction and both operands are integers.
        DTypeError: for bool operands; a mask is inverted by ``~``.
    """
    return sub_op(input, other if alpha == 1 else scaled("sub", input, other, alpha))


def scaled(name: str, a: Any, b: Any, alpha: float) -> Any:
    """alpha * b; integers take no floating alpha, which would change the dtype of the result."""
    dtypes = [x.dtype for x in (a, b) if hasattr(x, "dtype")]
    if isinstance(alpha, float) and not any(d.is_floating_point for d in dtypes):
        raise ArgumentError(
            lesson(
                f"{name}: integer tensors take an integer alpha, not {alpha}",
                fix=f"cf.{name}(a, b * {alpha})",
            )
        )
    return b * (bool(alpha) if len(dtypes) == 2 and all(d is bool_ for d in dtypes) else alpha)


def rsub(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """b - alpha * a: subtraction with its operands swapped.

    >>> import contraflow as cf
    >>> cf.rsub(cf.tensor([1.0, 2.0]), 10)
    tensor([9., 8.])
    """
    return sub(other, input, alpha=alpha)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """a / b; ``rounding_mode`` ``"floor"`` or ``"trunc"`` rounds the quotient.

    Without rounding integers divide to a floating result; with it they stay integers.

    >>> import contraflow as cf
    >>> cf.div(cf.tensor([-7, 7]), 2)
    tensor([-3.5000,  3.5000])
    >>> cf.div(cf.tensor([-7, 7]), 2, rounding_mode="trunc")
    tensor([-3,  3])

    Raises:
        ArgumentError: for another rounding mode, or integers divided by 0 with rounding.
    """
    if rounding_mode is None:
        return div_op(input, other)
    if rounding_mode not in ("floor", "trunc"):
        raise ArgumentError(
            lesson(
                f"div: unknown rounding_mode {rounding_mode!r}",
                fix="rounding_mode=None, 'floor' or 'trunc'",
            )
        )
    return OPS["floor_divide" if rounding_mode == "floor" else "trunc_divide"](input, other)


neg = op(
    "neg", "x",
    forward=np.negative, shape=same, promote="number", samples=unary(),
    grad=lambda g: -g,
)  # fmt: skip

abs = op(
    "abs", "x",
    forward=np.abs, shape=same, promote="number", samples=unary(),
    grad=lambda g, x: g * sign(x),
)  # fmt: skip


def _sign(x: Any) -> Any:
    if x.dtype.kind == "f":  # NaN has no sign: 0, as in PyTorch
        return np.subtract(x > 0, x < 0, dtype=x.dtype)
    return x.copy() if x.dtype.kind == "b" else np.sign(x)


sign: Op = op(
    "sign", "x",
    forward=_sign, shape=same, promote="arith", samples=unary(), grad=lambda g: zeros_of(g),
)  # fmt: skip
sgn = sign

square_op = op(
    "square", "x",
    forward=np.square, shape=same, promote="number", samples=unary(),
    grad=lambda g, x: g * (x * 2.0),
)  # fmt: skip


def square(input: Any) -> Any:
    """x * x, element by element; bool counts as 0 and 1.

    >>> import contraflow as cf
    >>> cf.square(cf.tensor([3.0, -2.0]))
    tensor([9., 4.])
    """
    return pow(input, 2) if input.dtype.category == 0 else square_op(input)


sqrt = op(
    "sqrt", "x",
    forward=np.sqrt, shape=same, promote="float", samples=unary(0.3, 3),
    grad=lambda g, y: g / (y * 2.0),
)  # fmt: skip

rsqrt = op(
    "rsqrt", "x",
    forward=lambda x: 1 / np.sqrt(x), shape=same, promote="float", samples=unary(0.3, 3),
    grad=lambda g, y: g * y * y * y * -0.5,
)  # fmt: skip

reciprocal = op(
    "reciprocal", "x",
    forward=lambda x: 1 / x, shape=same, promote="float", samples=unary(0.3, 3),
    grad=lambda g, y: -g * y * y,
)  # fmt: skip


def _grad_base(g: Any, a: Any, b: Any) -> Any:
    # b * a^(b-1), and 0 where b is 0 (also at a = 0, where a^(b-1) is infinite)
    if isinstance(b, int | float):
        if b == 0:
            return zeros_of(g)
        return g * (a * 2.0) if b == 2 else g * (pow(a, b - 1) * b)
    return where_op(eq(b, 0), 0.0, g * (b * pow(a, sub_op(b, 1))))


def _grad_exponent(g: Any, a: Any, b: Any, y: Any) -> Any:
    # y log(a); at a = 0, where log(a) is infinite, 0 for b >= 0 and -inf for b < 0
    if isinstance(a, int | float) and a != 0:
        return g * (y * (number_log(a) if a > 0 else float("nan")))
    safe = where_op(eq(a, 0), 1.0, a)
    at_zero = where_op(ge(b, 0), b * 0.0, -float("inf"))
    return g * where_op(eq(a, 0), at_zero, y * log(safe))


def _pow_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        *binary(0.3, 2, -1.5, 2.5)(rng),
        *(Sample(rand(rng, 3), n) for n in (3, 2, 1, 0)),
        *(Sample(rand(rng, 3, low=0.3), n) for n in (0.5, -0.5, -1, -2, 1.7)),
        Sample(2.0, rand(rng, 3)),
        Sample(np.array([3, -2, 0]), np.array([2, 3, 0])),
    ]


# The powers that have a faster way than np.power, and on which PyTorch rounds the same way.
SHORT_POWERS: dict[float, Any] = {
    2: np.square,
    3: lambda a: a * a * a,
    0.5: np.sqrt,
    -0.5: lambda a: 1 / np.sqrt(a),
    -1: lambda a: 1 / a,
    -2: lambda a: 1 / np.square(a),
}


def _pow(a: Any, b: Any) -> Any:
    if type(b) is np.ndarray:
        if b.dtype.kind == "i" and (b < 0).any():  # 1 / a^|b| rounded towards 0
            unit = np.where(a == 1, 1, np.where(a == -1, 1 - 2 * (b & 1), 0)).astype(b.dtype)
            return np.where(b < 0, unit, np.power(a, np.maximum(b, 0)))
        return np.power(a, b)
    if a.dtype.kind != "f" and b < 0:
        raise ValueError("integers to negative integer powers are not allowed; use x.float()")
    short = SHORT_POWERS.get(b)
    return np.power(a, b) if short is None else short(a)


pow = op(
    "pow", "a b",
    forward=_pow, shape=pointwise, promote="number", samples=_pow_samples,
    grad={"a": _grad_base, "b": _grad_exponent},
)  # fmt: skip


def float_power(input: Any, exponent: Any) -> Any:
    """a to the power b, computed in float64 whatever the operands are.

    >>> import contraflow as cf
    >>> cf.float_power(cf.tensor([2, 3]), -1).dtype
    contraflow.float64
    """
    wide = [
        OPS["convert"](x, dtype=float64) if hasattr(x, "dtype") else x for x in (input, exponent)
    ]
    return pow(*wide)


log = op(
    "log", "x",
    forward=np.log, shape=same, promote="float", samples=unary(0.3, 3),
    grad=lambda g, x: g / x,
)  # fmt: skip

# A tie shares the gradient in halves, NaN passes it to both, as in PyTorch.
maximum = op(
    "maximum", "a b",
    forward=np.maximum, shape=pointwise, promote="arith", samples=binary(),
    grad={"a": lambda g, a, b: _won(g, a, b, lt), "b": lambda g, a, b: _won(g, a, b, gt)},
)  # fmt: skip

minimum = op(
    "minimum", "a b",
    forward=np.minimum, shape=pointwise, promote="arith", samples=binary(),
    grad={"a": lambda g, a, b: _won(g, a, b, gt), "b": lambda g, a, b: _won(g, a, b, lt)},
)  # fmt: skip


def _won(g: Any, a: Any, b: Any, lost: Any) -> Any:
    return where_op(lost(a, b), 0.0, where_op(eq(a, b), g * 0.5, g))


def _where_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 3, 4) > 0, rand(rng, 3, 4), rand(rng, 4)),
        Sample(rand(rng, 3, 4) > 0, rand(rng, 1, 4), 0.5),
        Sample(rand(rng, 3) > 0, rand(rng), rand(rng, 2, 3)),
        Sample(rand(rng, 3) > 0, rand(rng, 4), rand(rng, 3), error=ValueError),
    ]


where_op: Op = op(
    "where", "condition a b",
    forward=np.where, shape=pointwise, promote="arith", promote_from=1, samples=_where_samples,
    grad={
        "a": lambda g, condition: where_op(condition, g, 0.0),
        "b": lambda g, condition: where_op(condition, 0.0, g),
    },
)  # fmt: skip


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """a where the bool tensor ``condition`` holds, b elsewhere; the three broadcast.

    With ``condition`` alone: the positions where it holds, one index tensor for each dimension.

    >>> import contraflow as cf
    >>> x = cf.tensor([-1.0, 2.0])
    >>> cf.where(x > 0, x, 0.0)
    tensor([0., 2.])

    Raises:
        DTypeError: if ``condition`` is not bool.
        ArgumentError: if only one of ``input`` and ``other`` is given.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if input is None or other is None:
        raise ArgumentError(
            lesson(
                "where takes a condition alone, or a condition and two values",
                [("condition", condition)],
                "cf.where(condition, a, b)",
            )
        )
    if getattr(condition, "dtype", None) not in (bool_, np.bool_):
        raise DTypeError(
            lesson(
                "where: the condition must be a bool tensor",
                [("condition", condition)],
                "cf.where(condition != 0, a, b)",
            )
        )
    return where_op(condition, input, other)


eq: Op = op("eq", "a b", forward=np.equal, shape=boolean, promote="arith", samples=binary())
ne = op("ne", "a b", forward=np.not_equal, shape=boolean, promote="arith", samples=binary())
lt: Op = op("lt", "a b", forward=np.less, shape=boolean, promote="arith", samples=binary())
le = op("le", "a b", forward=np.less_equal, shape=boolean, promote="arith", samples=binary())
gt: Op = op("gt", "a b", forward=np.greater, shape=boolean, promote="arith", samples=binary())
ge: Op = op("ge", "a b", forward=np.greater_equal, shape=boolean, promote="arith", samples=binary())

greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne
absolute, negative, multiply, subtract, divide, true_divide = abs, neg, mul, sub, div, div


def positive(input: Any) -> Any:
    """x itself, as ``+x``.

    >>> import contraflow as cf
    >>> cf.positive(cf.tensor([1, -1]))
    tensor([ 1, -1])

    Raises:
        DTypeError: for bool, which has no sign.
    """
    if input.dtype.category == 0:
        raise DTypeError(lesson("positive takes numbers, not bool", [("input", input)], "x.int()"))
    return input
