"""Exponentials, logarithms, trigonometric and hyperbolic functions."""

from __future__ import annotations

from math import log as number_log
from math import pi
from typing import Any

import numpy as np

from contraflow.ops.arith import eq, gt, le, log, lt, maximum, mul, reciprocal, rsqrt, where_op
from contraflow.ops.blend import clamp
from contraflow.ops.record import Op, Sample, op
from contraflow.ops.rules import binary, pointwise, rand, same, unary

__all__ = [
    "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh",
    "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "deg2rad", "exp", "exp2", "expm1",
    "hypot", "log", "log10", "log1p", "log2", "logaddexp", "logaddexp2", "logit", "rad2deg",
    "sigmoid", "sin", "sinc", "sinh", "tan", "tanh", "xlogy",
]  # fmt: skip
METHODS = (*__all__,)
INPLACE = tuple(name for name in __all__ if not name.startswith("logaddexp"))

LN2, LN10 = number_log(2), number_log(10)

exp = op(
    "exp", "x",
    forward=np.exp, shape=same, promote="float", samples=unary(-3, 3),
    grad=lambda g, y: g * y,
)  # fmt: skip

exp2 = op(
    "exp2", "x",
    forward=np.exp2, shape=same, promote="float", samples=unary(-3, 3),
    grad=lambda g, y: g * y * LN2,
)  # fmt: skip

expm1 = op(
    "expm1", "x",
    forward=np.expm1, shape=same, promote="float", samples=unary(-3, 3),
    grad=lambda g, y: g * (y + 1.0),
)  # fmt: skip

log2 = op(
    "log2", "x",
    forward=np.log2, shape=same, promote="float", samples=unary(0.3, 3),
    grad=lambda g, x: g / (x * LN2),
)  # fmt: skip

log10 = op(
    "log10", "x",
    forward=np.log10, shape=same, promote="float", samples=unary(0.3, 3),
    grad=lambda g, x: g / (x * LN10),
)  # fmt: skip

log1p = op(
    "log1p", "x",
    forward=np.log1p, shape=same, promote="float", samples=unary(-0.7, 3),
    grad=lambda g, x: g / (x + 1.0),
)  # fmt: skip

# ---- circles -------------------------------------------------------------------------------

sin = op(
    "sin", "x",
    forward=np.sin, shape=same, promote="float", samples=unary(-3, 3),
    grad=lambda g, x: g * cos(x),
)  # fmt: skip

cos: Op = op(
    "cos", "x",
    forward=np.cos, shape=same, promote="float", samples=unary(-3, 3),
    grad=lambda g, x: -g * sin(x),
)  # fmt: skip

tan = op(
    "tan", "x",
    forward=np.tan, shape=same, promote="float", samples=unary(-1.2, 1.2),
    grad=lambda g, y: g * (1.0 + y * y),
)  # fmt: skip

asin = op(
    "asin", "x",
    forward=np.arcsin, shape=same, promote="float", samples=unary(-0.9, 0.9),
    grad=lambda g, x: g * rsqrt(1.0 - x * x),
)  # fmt: skip

acos = op(
    "acos", "x",
    forward=np.arccos, shape=same, promote="float", samples=unary(-0.9, 0.9),
    grad=lambda g, x: -g * rsqrt(1.0 - x * x),
)  # fmt: skip

atan = op(
    "atan", "x",
    forward=np.arctan, shape=same, promote="float", samples=unary(-3, 3),
    grad=lambda g, x: g / (1.0 + x * x),
)  # fmt: skip


def _inverse_square(a: Any, b: Any) -> Any:
    # 1 / (a^2 + b^2), and 0 at the origin, where the angle has no gradient
    square = a * a + b * b
    return where_op(eq(square, 0), 0.0, reciprocal(square))


# the angle of the point (x = b, y = a)
atan2 = op(
    "atan2", "a b",
    forward=np.arctan2, shape=pointwise, promote="float", samples=binary(-2, 2, 0.4, 2),
    grad={
        "a": lambda g, a, b: g * (b * _inverse_square(a, b)),
        "b": lambda g, a, b: -g * (a * _inverse_square(a, b)),
    },
)  # fmt: skip

hypot = op(
    "hypot", "a b",
    forward=np.hypot, shape=pointwise, promote="float", samples=binary(),
    grad={"a": lambda g, a, y: g * (a / y), "b": lambda g, b, y: g * (b / y)},
)  # fmt: skip


def _sinc(x: Any) -> Any:
    turn = x * pi if x.dtype.itemsize > 2 else x.astype(np.float32) * pi
    return np.where(x == 0, 1.0, np.sin(turn) / turn).astype(x.dtype, copy=False)


def _grad_sinc(g: Any, x: Any) -> Any:
    # d/dx sin(u)/u with u = pi x; 0 at x = 0
    safe = where_op(eq(x, 0), 1.0, x)
    u = safe * pi
    return where_op(eq(x, 0), 0.0, g * ((cos(u) - sin(u) / u) / safe))


sinc = op(
    "sinc", "x",
    forward=_sinc, shape=same, promote="float", samples=unary(), grad=_grad_sinc,
)  # fmt: skip


def deg2rad(input: Any) -> Any:
    """Degrees as radians: x * pi / 180.

    >>> import contraflow as cf
    >>> cf.deg2rad(cf.tensor([180.0]))
    tensor([3.1416])
    """
    return input * (pi / 180.0)


def rad2deg(input: Any) -> Any:
    """Radians as degrees: x * 180 / pi.

    >>> import contraflow as cf
    >>> cf.rad2deg(cf.tensor([0.5]))
    tensor([28.6479])
    """
    return input * (180.0 / pi)


# ---- hyperbolas ----------------------------------------------------------------------------

sinh = op(
    "sinh", "x",
    forward=np.sinh, shape=same, promote="float", samples=unary(-2, 2),
    grad=lambda g, x: g * cosh(x),
)  # fmt: skip

cosh: Op = op(
    "cosh", "x",
    forward=np.cosh, shape=same, promote="float", samples=unary(-2, 2),
    grad=lambda g, x: g * sinh(x),
)  # fmt: skip

tanh = op(
    "tanh", "x",
    forward=np.tanh, shape=same, promote="float", samples=unary(-3, 3),
    grad=lambda g, y: tanh_grad(g, y),
)  # fmt: skip

# The backward of tanh in one pass: up is the gradient that arrives, out the value of tanh.
tanh_grad: Op = op(
    "tanh_grad", "up out",
    forward=lambda up, out: up * (1 - out * out),
    definition=lambda up, out: up * (1.0 - out * out),
    shape=pointwise, promote="float", samples=binary(-2, 2, -0.9, 0.9),
    grad={"up": lambda g, out: tanh_grad(g, out), "out": lambda g, up, out: g * up * out * -2.0},
)  # fmt: skip

asinh = op(
    "asinh", "x",
    forward=np.arcsinh, shape=same, promote="float", samples=unary(-3, 3),
    grad=lambda g, x: g * rsqrt(x * x + 1.0),
)  # fmt: skip

acosh = op(
    "acosh", "x",
    forward=np.arccosh, shape=same, promote="float", samples=unary(1.2, 3),
    grad=lambda g, x: g * rsqrt(x * x - 1.0),
)  # fmt: skip

atanh = op(
    "atanh", "x",
    forward=np.arctanh, shape=same, promote="float", samples=unary(-0.8, 0.8),
    grad=lambda g, x: g / (1.0 - x * x),
)  # fmt: skip

arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
arcsinh, arccosh, arctanh = asinh, acosh, atanh

# ---- logistic ------------------------------------------------------------------------------

sigmoid = op(
    "sigmoid", "x",
    forward=lambda x: 1 / (1 + np.exp(-x)),
    definition=lambda x: 1.0 / (1.0 + exp(-x)),
    shape=same, promote="float", samples=unary(-4, 4),
    grad=lambda g, y: sigmoid_grad(g, y),
)  # fmt: skip

sigmoid_grad: Op = op(
    "sigmoid_grad", "up out",
    forward=lambda up, out: up * (out * (1 - out)),
    definition=lambda up, out: up * (out * (1.0 - out)),
    shape=pointwise, promote="float", samples=binary(-2, 2, 0.1, 0.9),
    grad={
        "up": lambda g, out: sigmoid_grad(g, out),
        "out": lambda g, up, out: g * up * (1.0 - 2.0 * out),
    },
)  # fmt: skip


def _grad_logit(g: Any, x: Any) -> Any:
    # 1 / (x (1 - x)), and NaN outside [0, 1], where there is no value either
    outside = maximum(lt(x, 0), gt(x, 1))
    return where_op(outside, float("nan"), g / (x * (1.0 - x)))


logit_op = op(
    "logit", "x",
    forward=lambda x: np.log(x / (1 - x)), shape=same, promote="float", samples=unary(0.1, 0.9),
    grad=_grad_logit,
)  # fmt: skip


def logit(input: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)), the inverse of sigmoid; ``eps`` first clamps x to [eps, 1 - eps].

    >>> import contraflow as cf
    >>> cf.logit(cf.tensor([0.5, 0.0]), eps=0.1)
    tensor([ 0.0000, -2.1972])
    """
    return logit_op(input if eps is None else clamp(input, eps, 1.0 - eps))


# log(e^a + e^b) without overflow; the gradient is how much of the sum each side is
logaddexp = op(
    "logaddexp", "a b",
    forward=np.logaddexp, shape=pointwise, promote="float", samples=binary(),
    grad={"a": lambda g, a, b: g * sigmoid(a - b), "b": lambda g, a, b: g * sigmoid(b - a)},
)  # fmt: skip

logaddexp2 = op(
    "logaddexp2", "a b",
    forward=np.logaddexp2, shape=pointwise, promote="float", samples=binary(),
    grad={
        "a": lambda g, a, b: g * sigmoid((a - b) * LN2),
        "b": lambda g, a, b: g * sigmoid((b - a) * LN2),
    },
)  # fmt: skip


def _xlogy(a: Any, b: Any) -> Any:
    # 0 log(b) is 0, also at b = 0 where log(b) is infinite; NaN stays
    b = b if type(b) is np.ndarray else np.asarray(b, a.dtype)
    return np.where(np.logical_and(np.equal(a, 0), np.equal(b, b)), 0.0, a * np.log(b))


def _grad_xlogy(g: Any, a: Any, b: Any) -> Any:
    # log(b), and 0 where a = 0 meets a b without a logarithm
    if isinstance(b, int | float):
        return g * number_log(b) if b > 0 else where_op(eq(a, 0), 0.0, g * log(b))
    return where_op(mul(eq(a, 0), le(b, 0)), 0.0, g * log(b))


xlogy = op(
    "xlogy", "a b",
    forward=_xlogy, shape=pointwise, promote="float",
    grad={"a": _grad_xlogy, "b": lambda g, a, b: g * (a / b)},
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), rand(rng, 4, low=0.3)),
        Sample(rand(rng, 3), 1.7),
        Sample(2.0, rand(rng, 3, low=0.3)),
        Sample(np.array([0.0, 0.0]), np.array([0.0, 2.0]), smooth=False),
        Sample(rand(rng, 3), rand(rng, 4), error=ValueError),
    ],
)  # fmt: skip
