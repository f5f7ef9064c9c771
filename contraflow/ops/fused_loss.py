"""The hot losses as one op each: fused records, with their meaning in plain ops beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import ShapeError, lesson
from contraflow.ops.arith import abs, gt, log, maximum, square, where
from contraflow.ops.checks import REDUCTIONS
from contraflow.ops.record import Aval, Sample, op
from contraflow.ops.reduce import mean, sum
from contraflow.ops.rules import Samples, rand
from contraflow.ops.transcendental import exp, sigmoid

__all__: list[str] = []

LOG_FLOOR = -100.0  # log(0) in a binary cross entropy counts as this, as in PyTorch
TINY = 1e-12


def reduce_loss(losses: Any, reduction: str) -> Any:
    """The mean, the sum, or the losses themselves."""
    if reduction == "none":
        return losses
    return mean(losses) if reduction == "mean" else sum(losses)


def _loss_shape(x: Aval, target: Aval, reduction: str) -> Aval:
    if x.shape != target.shape:
        raise ShapeError(
            lesson(
                "a loss needs a prediction and a target of the same shape",
                [("x", x), ("target", target)],
                "target.reshape(x.shape)",
            )
        )
    return Aval(x.shape if reduction == "none" else (), x.dtype)


def _reduced(losses: Any, reduction: str) -> Any:
    if reduction == "none":
        return losses
    total = np.add.reduce(losses, axis=None)
    return total / losses.size if reduction == "mean" else total


def _each(g: Any, x_aval: Aval, reduction: str, factor: float = 1.0) -> Any:
    """``factor`` times the gradient of one element's loss, from that of the reduced one."""
    count = 1
    for size in x_aval.shape:
        count *= size
    scale = factor / max(count, 1) if reduction == "mean" else factor
    return g if scale == 1.0 else g * scale


def _pairs(low: float, high: float, target_low: float, target_high: float) -> Samples:
    """Samples of a loss: every reduction, a vector, a 0-d pair, and shapes that differ."""

    def make(rng: np.random.Generator) -> list[Sample]:
        def x(*shape: int) -> Any:
            return rand(rng, *shape, low=low, high=high)

        def t(*shape: int) -> Any:
            return rand(rng, *shape, low=target_low, high=target_high) + 0.0031

        return [
            *(Sample(x(3, 4), t(3, 4), reduction=r) for r in REDUCTIONS),
            Sample(x(5), t(5), reduction="mean"),
            Sample(x(), t(), reduction="sum"),
            Sample(x(0, 3), t(0, 3), reduction="sum"),
            Sample(x(3, 1), t(4, 3), reduction="mean", error=ShapeError),
        ]

    return make


def _mse(x: Any, target: Any, reduction: str) -> Any:
    d = x - target
    return _reduced(d * d, reduction)


# (x - t)^2
mse = op(
    "mse_loss", "x target",
    forward=_mse, shape=_loss_shape, promote="float", samples=_pairs(-2, 2, -1.5, 1.5),
    definition=lambda x, target, reduction: reduce_loss(square(x - target), reduction),
    grad={
        "x": lambda g, x, target, x_aval, reduction: (
            (x - target) * _each(g, x_aval, reduction, 2.0)
        ),
        "target": lambda g, x, target, x_aval, reduction: (
            (x - target) * _each(g, x_aval, reduction, -2.0)
        ),
    },
)  # fmt: skip


def _bce(x: Any, target: Any, reduction: str) -> Any:
    log_x, log_rest = np.log(x), np.log1p(-x)
    losses = -(
        target * np.maximum(log_x, LOG_FLOOR) + (1 - target) * np.maximum(log_rest, LOG_FLOOR)
    )
    return _reduced(losses, reduction)


def _clamped_log(x: Any) -> Any:
    return maximum(log(x), LOG_FLOOR)


# -(t log p + (1 - t) log(1 - p)); at p = 0 and 1 the gradient is finite, as PyTorch's is
bce = op(
    "binary_cross_entropy", "x target",
    forward=_bce, shape=_loss_shape, promote="float", samples=_pairs(0.05, 0.95, 0.02, 0.95),
    definition=lambda x, target, reduction: reduce_loss(
        -(target * _clamped_log(x) + (1.0 - target) * _clamped_log(1.0 - x)), reduction
    ),
    grad={
        "x": lambda g, x, target, x_aval, reduction: (
            (x - target) / maximum(x * (1.0 - x), TINY) * _each(g, x_aval, reduction)
        ),
        "target": lambda g, x, x_aval, reduction: (
            (_clamped_log(1.0 - x) - _clamped_log(x)) * _each(g, x_aval, reduction)
        ),
    },
)  # fmt: skip


def _bce_logits(x: Any, target: Any, reduction: str) -> Any:
    # log(1 + e^x) - t x, written so that no exponential can overflow
    losses = np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))
    return _reduced(losses, reduction)


bce_logits = op(
    "binary_cross_entropy_with_logits", "x target",
    forward=_bce_logits, shape=_loss_shape, promote="float", samples=_pairs(-3, 3, 0.02, 0.95),
    definition=lambda x, target, reduction: reduce_loss(
        where(gt(x, 0), x, 0.0) - x * target + log(1.0 + exp(-abs(x))), reduction
    ),
    grad={
        "x": lambda g, x, target, x_aval, reduction: (
            (sigmoid(x) - target) * _each(g, x_aval, reduction)
        ),
        "target": lambda g, x, x_aval, reduction: x * _each(g, x_aval, reduction, -1.0),
    },
)  # fmt: skip
