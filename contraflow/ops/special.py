"""The error function, the gamma function's logarithm, and their relatives.

NumPy has none of them. The values are computed in float64 by the formulas named at each function
and rounded to the operand's dtype; only ``erf`` has a form of its own for float32, because GELU
calls it on every element of a layer.
"""

from __future__ import annotations

from functools import cache
from math import factorial, pi, sqrt
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, lesson
from contraflow.ops.record import Op, Sample, op
from contraflow.ops.rules import rand, same, unary
from contraflow.ops.transcendental import exp

__all__ = ["digamma", "erf", "erfc", "erfinv", "lgamma", "polygamma"]
METHODS = ("digamma", "erf", "erfc", "erfinv", "lgamma")
INPLACE = METHODS

Array = np.ndarray[Any, Any]


def horner(x: Any, coefficients: tuple[float, ...]) -> Any:
    """The polynomial with these coefficients, the highest power first."""
    value = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        value = value * x + c
    return value


def in_float64(function: Any) -> Any:
    """Compute in float64, whatever the operand's dtype, and round once at the end."""

    def forward(x: Any, **attrs: Any) -> Any:
        wide = np.asarray(x, np.float64)
        return function(wide.reshape(-1), **attrs).reshape(wide.shape).astype(x.dtype)

    return forward


# ---- erf -----------------------------------------------------------------------------------

# W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969):
# numerators and denominators for |x| <= 0.46875, up to 4, and above.
SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
     3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2,
     1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
     6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
     1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
     3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip
SPLIT, FAR = 0.46875, 4.0


def _ratio(x: Any, pair: tuple[tuple[float, ...], tuple[float, ...]]) -> Any:
    return horner(x, pair[0]) / horner(x, pair[1])


def _near_zero(x: Array) -> Any:
    return x * _ratio(x * x, SMALL)


def _tail(y: Array) -> Any:
    """erfc(y) for y > 0.46875, to full relative accuracy."""
    y = np.minimum(y, 30.0)  # from 27 on it is 0; keeps inf - inf away
    coarse = np.trunc(y * 16.0) / 16.0  # its square is exact, so exp(-y^2) loses no digits
    bell = np.exp(-coarse * coarse) * np.exp(-(y - coarse) * (y + coarse))
    z = 1.0 / (y * y)
    far = (1.0 / sqrt(pi) - z * _ratio(z, LARGE)) / y
    return bell * np.where(y > FAR, far, _ratio(y, MIDDLE))


def erf64(x: Array) -> Array:
    """erf of a flat float64 array (Cody)."""
    size = np.abs(x)
    value = np.copysign(1.0, x)
    near, bent = size <= SPLIT, ~((size <= SPLIT) | (size >= 6.0))  # beyond 6 it is 1; NaN is bent
    value[near] = _near_zero(x[near])
    value[bent] *= 1.0 - _tail(size[bent])
    return value


def erfc64(x: Array) -> Array:
    """erfc = 1 - erf of a flat float64 array, accurate where it is tiny (Cody)."""
    size = np.abs(x)
    near = size <= SPLIT
    value = np.empty_like(x)
    value[near] = 1.0 - _near_zero(x[near])
    tail = _tail(size[~near])
    value[~near] = np.where(x[~near] < 0, 2.0 - tail, tail)
    return value


# An odd rational minimax approximation on [-4, 4], where float32's erf reaches 1
# (the coefficients that Eigen and XLA use), within 5e-7 of the true value.
ERF32 = (
    (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
     -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
    (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
     -1.42647390514189e-02),
)  # fmt: skip


def erf_values(x: Any) -> Any:
    """erf of an array, in its dtype."""
    if x.dtype.itemsize == 8:
        return erf64(x.reshape(-1)).reshape(x.shape)
    t = np.minimum(np.maximum(x, -4.0), 4.0, dtype=np.float32)
    y = t * _ratio(t * t, ERF32)
    return np.minimum(np.maximum(y, -1.0), 1.0).astype(x.dtype, copy=False)


# Giles's polynomials for erfinv(y) / y in w = -log(1 - y^2): up to 5, and in its root above
CENTRAL = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
           -0.00125372503, -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
OUTER = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
         -0.0076224613, 0.00943887047, 1.00167406, 2.83297682)  # fmt: skip


def erfinv64(y: Array) -> Array:
    """The inverse of erf on a flat float64 array.

    M. Giles, Approximating the erfinv function, GPU Computing Gems (2012), gives six digits; two
    steps of Halley's method, on erfc where |y| > 1/2 so that no digits cancel, give the rest.
    """
    size = np.abs(y)
    w = -np.log((1.0 - size) * (1.0 + size))
    x = size * np.where(w < 5.0, horner(w - 2.5, CENTRAL), horner(np.sqrt(w) - 3.0, OUTER))
    depth = -np.log(1.0 - size)  # past Giles's range: erfc(x) = exp(-x^2) / (x sqrt(pi)) at first
    far = np.sqrt(depth - np.log(np.sqrt(pi * depth)))
    x = np.where(w > 16.0, np.sqrt(depth - np.log(far * sqrt(pi))), x)
    for _ in range(2):
        error = np.where(size > 0.5, (1.0 - size) - erfc64(x), erf64(x) - size)
        step = error * (sqrt(pi) / 2) * np.exp(x * x)
        x = x - step / (1.0 + x * step)
    return np.copysign(np.where(size == 1.0, np.inf, x), y)


def _wide(low: float, high: float) -> Any:
    def make(rng: np.random.Generator) -> list[Sample]:
        return [*unary(-2, 2)(rng), Sample(rand(rng, 40, low=low, high=high))]

    return make


erf = op(
    "erf", "x",
    forward=erf_values, shape=same, promote="float", samples=_wide(-5, 5),
    grad=lambda g, x: g * (exp(-(x * x)) * (2 / sqrt(pi))),
)  # fmt: skip

erfc = op(
    "erfc", "x",
    forward=in_float64(erfc64), shape=same, promote="float", samples=_wide(-5, 5),
    grad=lambda g, x: g * (exp(-(x * x)) * (-2 / sqrt(pi))),
)  # fmt: skip

erfinv = op(
    "erfinv", "x",
    forward=in_float64(erfinv64), shape=same, promote="float", samples=unary(-0.95, 0.95),
    grad=lambda g, y: g * (exp(y * y) * (sqrt(pi) / 2)),
)  # fmt: skip

# ---- gamma ---------------------------------------------------------------------------------

# Bernoulli numbers B2, B4, ..., B20
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510,
             43867 / 798, -174611 / 330)  # fmt: skip


def hurwitz(s: int, q: Any) -> Any:
    """zeta(s, q), the sum of (q + k)^-s over k >= 0, for q > 0 (Euler-Maclaurin after 10 terms)."""
    total = 0.0
    for k in range(10):
        total = total + (q + k) ** -float(s)
    w = q + 10.0
    power = w ** -float(s)
    total = total + power * (w / (s - 1.0) + 0.5)
    rising = float(s)  # s (s+1) ... (s + 2j - 2)
    for j, b in enumerate(BERNOULLI, 1):
        power = power / (w if j == 1 else w * w)
        total = total + power * (b * rising / factorial(2 * j))
        rising *= (s + 2.0 * j - 1) * (s + 2.0 * j)
    return total


@cache
def _log_gamma_series() -> tuple[float, ...]:
    # log gamma(2 + w) = w (1 - Euler's constant) + sum over k >= 2 of (zeta(k) - 1) (-w)^k / k
    terms = [(-1) ** k * float(hurwitz(k, 2.0)) / k for k in range(27, 1, -1)]
    return (*terms, 1.0 - 0.57721566490153286061, 0.0)


def _shifted(z: Array) -> tuple[Array, Array]:
    """z + n >= 8 and the product z (z+1) ... (z+n-1)."""
    product = np.ones_like(z)
    for _ in range(8):
        below = z < 8.0
        product = np.where(below, product * z, product)
        z = np.where(below, z + 1.0, z)
    return z, product


def _sin_pi(x: Array) -> Array:
    return np.sin(pi * (x - np.rint(x)))  # its absolute value is that of sin(pi x)


def lgamma64(x: Array) -> Array:
    """log |gamma(x)| of a flat float64 array.

    Stirling's series after shifting to at least 8, the Taylor series about 2 (and about 1, by the
    recurrence) where the result passes 0, and Euler's reflection below 1/2.
    """
    z = np.where(x < 0.5, 1.0 - x, x)
    w, product = _shifted(z)
    value = (w - 0.5) * np.log(w) - w + 0.5 * np.log(2 * pi) - np.log(product)
    inverse = 1.0 / (w * w)
    series = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, 1))
    value += horner(inverse, series[::-1]) / w
    about = np.clip(np.where(z < 1.5, z - 1.0, z - 2.0), -0.5, 0.5)
    taylor = horner(about, _log_gamma_series())
    value = np.where(z <= 2.5, np.where(z < 1.5, taylor - np.log1p(about), taylor), value)
    value = np.where(x < 0.5, np.log(pi / np.abs(_sin_pi(x))) - value, value)
    return np.where(np.isinf(x), np.inf, value)


def digamma64(x: Array) -> Array:
    """The derivative of log gamma on a flat float64 array.

    Its asymptotic series after shifting to at least 8; reflection for x <= 0.
    """
    z = np.where(x <= 0, 1.0 - x, x)
    value = np.zeros_like(z)
    for _ in range(8):
        below = z < 8.0
        value = np.where(below, value - 1.0 / z, value)
        z = np.where(below, z + 1.0, z)
    inverse = 1.0 / (z * z)
    series = tuple(b / (2 * k) for k, b in enumerate(BERNOULLI, 1))
    value += np.log(z) - 0.5 / z - inverse * horner(inverse, series[::-1])
    turned = np.where(x <= 0, value - pi / np.tan(pi * (x - np.rint(x))), value)
    pole = (x <= 0) & (x == np.floor(x))
    return np.where(pole, np.where(x == 0, np.copysign(np.inf, -x), np.nan), turned)


@cache
def cot_derivative(n: int) -> tuple[float, ...]:
    # d^n/dx^n cot(pi x) as a polynomial in cot(pi x): each derivative of c is -pi (1 + c^2)
    p = np.polynomial.Polynomial([0.0, 1.0])
    for _ in range(n):
        p = p.deriv() * np.polynomial.Polynomial([-pi, 0.0, -pi])
    return tuple(float(c) for c in p.coef[::-1])


def polygamma64(x: Array, n: int) -> Any:
    """The n-th derivative of digamma on a flat float64 array, n >= 1.

    (-1)^(n+1) n! zeta(n+1, x) for x > 0; the n-th derivative of digamma's reflection otherwise.
    """
    sign = (-1) ** (n + 1)
    z = np.where(x <= 0, 1.0 - x, x)
    value = sign * factorial(n) * hurwitz(n + 1, z)
    cot = 1.0 / np.tan(pi * (x - np.rint(x)))
    turned = -sign * value - pi * horner(cot, cot_derivative(n))
    pole = (x <= 0) & (x == np.floor(x))
    return np.where(pole, sign * np.inf, np.where(x <= 0, turned, value))


lgamma = op(
    "lgamma", "x",
    forward=in_float64(lgamma64), shape=same, promote="float",
    samples=lambda rng: [*unary(0.2, 4)(rng), Sample(rand(rng, 40, low=-3.9, high=12.3))],
    grad=lambda g, x: g * digamma(x),
)  # fmt: skip

digamma: Op = op(
    "digamma", "x",
    forward=in_float64(digamma64), shape=same, promote="float",
    samples=lambda rng: [
        *unary(0.4, 4)(rng),
        Sample(rand(rng, 12, low=-2.9, high=12.3)),
        Sample(np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, -1.0]), smooth=False),
    ],
    grad=lambda g, x: g * polygamma_op(x, n=1),
)  # fmt: skip


def _polygamma_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        *unary(0.7, 4, n=1)(rng),
        Sample(rand(rng, 7, low=0.7, high=12), n=2),
        Sample(rand(rng, 5, low=-2.9, high=-0.1), n=3),
    ]


polygamma_op: Op = op(
    "polygamma", "x",
    forward=in_float64(polygamma64), shape=same, promote="float", samples=_polygamma_samples,
    grad=lambda g, x, n: g * polygamma_op(x, n=n + 1),
)  # fmt: skip


def polygamma(n: int, input: Any) -> Any:
    """The n-th derivative of digamma; n = 0 is digamma itself.

    >>> import contraflow as cf
    >>> cf.polygamma(1, cf.tensor([1.0]))
    tensor([1.6449])

    Raises:
        ArgumentError: if n is negative.
    """
    if n < 0:
        raise ArgumentError(lesson(f"polygamma: n must be >= 0, received {n}", [("input", input)]))
    return digamma(input) if n == 0 else polygamma_op(input, n=n)
