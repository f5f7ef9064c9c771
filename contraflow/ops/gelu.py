"""The Gaussian error linear unit, fused: its value, and its derivative ``gelu_slope``."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, lesson
from contraflow.ops.record import Op, Sample, op
from contraflow.ops.rules import same, unary
from contraflow.ops.special import erf, erf_values
from contraflow.ops.transcendental import exp, tanh

__all__: list[str] = []

GELU_CUBE = 0.044715
ROOT_HALF, ROOT_2_PI, ROOT_2_OVER_PI = sqrt(0.5), sqrt(2 * pi), sqrt(2 / pi)


def _gelu(x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        t = np.tanh(ROOT_2_OVER_PI * (x + GELU_CUBE * x * x * x))
    else:
        t = erf_values(x * ROOT_HALF)
    return x * 0.5 * (t + 1)


def _gelu_definition(x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        return 0.5 * x * (1.0 + tanh(ROOT_2_OVER_PI * (x + GELU_CUBE * x * x * x)))
    return 0.5 * x * (1.0 + erf(x * ROOT_HALF))


def _gelu_slope(x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        t = np.tanh(ROOT_2_OVER_PI * (x + GELU_CUBE * x * x * x))
        inner = ROOT_2_OVER_PI * (1 + 3 * GELU_CUBE * x * x)
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner
    density = np.exp(-0.5 * x * x) / ROOT_2_PI
    return 0.5 * (1 + erf_values(x * ROOT_HALF)) + x * density


def _grad_gelu_slope(g: Any, x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        t = tanh(ROOT_2_OVER_PI * (x + GELU_CUBE * x * x * x))
        inner = ROOT_2_OVER_PI * (1.0 + 3 * GELU_CUBE * x * x)
        bend = ROOT_2_OVER_PI * 3 * GELU_CUBE * x * x - x * t * inner * inner
        return g * ((1.0 - t * t) * (inner + bend))
    return g * (exp(-0.5 * x * x) * (2.0 - x * x) / ROOT_2_PI)


def _gelu_slope_definition(x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        t = tanh(ROOT_2_OVER_PI * (x + GELU_CUBE * x * x * x))
        inner = ROOT_2_OVER_PI * (1.0 + 3 * GELU_CUBE * x * x)
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner
    return 0.5 * (1.0 + erf(x * ROOT_HALF)) + x * exp(-0.5 * x * x) / ROOT_2_PI


def _gelu_samples(rng: np.random.Generator) -> list[Sample]:
    return [*unary(-4, 4, approximate="none")(rng), *unary(-4, 4, approximate="tanh")(rng)]


gelu_op = op(
    "gelu", "x",
    forward=_gelu, definition=_gelu_definition,
    shape=same, promote="float", samples=_gelu_samples,
    grad=lambda g, x, approximate: g * gelu_slope(x, approximate=approximate),
)  # fmt: skip

gelu_slope: Op = op(
    "gelu_slope", "x",
    forward=_gelu_slope, definition=_gelu_slope_definition,
    shape=same, promote="float", samples=_gelu_samples, grad=_grad_gelu_slope,
)  # fmt: skip


def gelu(x: Any, approximate: str = "none") -> Any:
    """x * P(Z <= x) for a standard normal Z; ``approximate="tanh"`` uses its tanh form.

    Source: Hendrycks and Gimpel 2016.

    >>> import contraflow as cf
    >>> cf.nn.functional.gelu(cf.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])

    Raises:
        ArgumentError: for another ``approximate``.
    """
    if approximate not in ("none", "tanh"):
        raise ArgumentError(
            lesson(
                f"gelu: unknown approximate={approximate!r}",
                fix="approximate='none' or approximate='tanh'",
            )
        )
    return gelu_op(x, approximate=approximate)
