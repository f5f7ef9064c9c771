"""The gamma function's relatives and erf's inverse in plain ops, in float64 as in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, pi, sqrt
from typing import Any

from contraflow.base.dtypes import float64
from contraflow.ops.arith import abs as size_of
from contraflow.ops.arith import eq, gt, le, log, lt, where_op
from contraflow.ops.arith import sqrt as root
from contraflow.ops.cast import convert
from contraflow.ops.logic import copysign, logical_and
from contraflow.ops.rounding import floor, round_op
from contraflow.ops.special import (
    BERNOULLI,
    CENTRAL,
    OUTER,
    cot_derivative,
    erf,
    erfc,
    horner,
    hurwitz,
)
from contraflow.ops.transcendental import exp, tan

__all__ = ["GAMMA"]

INF, NAN = float("inf"), float("nan")


def in_float64(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute in float64, whatever the operand's dtype, and round once at the end."""

    def wide(x: Any, **attrs: Any) -> Any:
        return convert(function(convert(x, dtype=float64), **attrs), dtype=x.dtype)

    return wide


def turn(x: Any) -> Any:
    """pi times the distance to the nearest whole number."""
    return pi * (x - round_op(x, decimals=0))


def pole(x: Any) -> Any:
    return logical_and(le(x, 0), eq(x, floor(x)))


def digamma(x: Any) -> Any:
    """Its asymptotic series after shifting to at least 8; reflection for x <= 0."""
    z = where_op(le(x, 0), 1.0 - x, x)
    value: Any = 0.0
    for _ in range(8):
        below = lt(z, 8.0)
        value = where_op(below, value - 1.0 / z, value)
        z = where_op(below, z + 1.0, z)
    inverse = 1.0 / (z * z)
    series = tuple(b / (2 * k) for k, b in enumerate(BERNOULLI, 1))
    value = value + (log(z) - 0.5 / z - inverse * horner(inverse, series[::-1]))
    value = where_op(le(x, 0), value - pi / tan(turn(x)), value)
    at_pole = where_op(eq(x, 0), copysign(INF + x * 0.0, -x), NAN)
    return where_op(pole(x), at_pole, value)


def polygamma(x: Any, n: int) -> Any:
    """(-1)^(n+1) n! zeta(n+1, x) for x > 0; the derivative of digamma's reflection otherwise."""
    sign = (-1) ** (n + 1)
    z = where_op(le(x, 0), 1.0 - x, x)
    value = hurwitz(n + 1, z) * float(sign * factorial(n))
    turned = value * float(-sign) - pi * horner(1.0 / tan(turn(x)), cot_derivative(n))
    return where_op(pole(x), sign * INF, where_op(le(x, 0), turned, value))


def erfinv(y: Any) -> Any:
    """Giles's approximation, then two steps of Halley's method."""
    size = size_of(y)
    w = -log((1.0 - size) * (1.0 + size))
    x = size * where_op(lt(w, 5.0), horner(w - 2.5, CENTRAL), horner(root(w) - 3.0, OUTER))
    depth = -log(1.0 - size)
    far = root(depth - log(root(pi * depth)))
    x = where_op(gt(w, 16.0), root(depth - log(far * sqrt(pi))), x)
    for _ in range(2):
        error = where_op(gt(size, 0.5), (1.0 - size) - erfc(x), erf(x) - size)
        step = error * (sqrt(pi) / 2) * exp(x * x)
        x = x - step / (1.0 + x * step)
    return copysign(where_op(eq(size, 1.0), INF, x), y)


GAMMA = {
    "digamma": in_float64(digamma), "polygamma": in_float64(polygamma),
    "erfinv": in_float64(erfinv),
}  # fmt: skip
