"""Losses of regression and of probabilities; those of classes and margins stand beside.

Every loss takes ``reduction``: ``"mean"`` over all elements, ``"sum"``, or ``"none"``. Shapes never
broadcast silently: a prediction [n, 1] against a target [n] is an error that shows the fix.
"""

from __future__ import annotations

from math import log as log_of
from math import pi
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.ops.arith import abs, le, log, lt, maximum, square, where
from contraflow.ops.checks import (
    REDUCTIONS,
    check_between,
    check_broadcasts,
    check_floating,
    check_reduction,
    check_same_shape,
    check_tensors,
)
from contraflow.ops.fused_loss import bce, bce_logits, mse, reduce_loss
from contraflow.ops.reduce import sum
from contraflow.ops.transcendental import exp
from contraflow.ops.view import alias, reshape_to

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "gaussian_nll_loss", "huber_loss",
    "kl_div", "l1_loss", "mse_loss", "poisson_nll_loss", "smooth_l1_loss",
]  # fmt: skip


# ---- what all losses share -------------------------------------------------------------------


def check_pair(what: str, input: Any, target: Any, reduction: str) -> None:
    """A floating prediction and a target of the same shape, and a reduction that exists."""
    check_reduction(what, reduction)
    check_tensors(what, input=input, target=target)
    check_same_shape(what, input=input, target=target)
    check_floating(what, input=input)


def weighted(what: str, losses: Any, weight: Any, input: Any) -> Any:
    """Losses times weights that broadcast to them; None leaves them alone."""
    if weight is None:
        return losses
    check_tensors(what, weight=weight)
    check_broadcasts(what, input=input, weight=weight)
    return losses * weight


def softplus(x: Any) -> Any:
    """log(1 + e^x): the cross entropy of the logit x against the answer 0."""
    return bce_logits(x, x * 0.0, reduction="none")


# ---- regression ------------------------------------------------------------------------------


def mse_loss(input: Any, target: Any, *, reduction: str = "mean", weight: Any = None) -> Any:
    """Mean squared error: (input - target)^2, times ``weight`` if given.

    With ``weight``, the mean is sum(weight * error) / sum(weight), as in PyTorch.

    Shapes: input and target the same.

    Raises:
        ShapeError: if the shapes differ, also where they would broadcast.
        DTypeError: if the input is not floating point.
        ArgumentError: for an unknown reduction.

    >>> import contraflow as cf
    >>> from contraflow.ops.loss import mse_loss
    >>> mse_loss(cf.tensor([0.5, 2.0]), cf.tensor([1.0, 2.0]))
    tensor(0.1250)
    """
    check_pair("mse_loss", input, target, reduction)
    if weight is None:
        return mse(input, target, reduction=reduction)
    return weighted_mean("mse_loss", square(input - target), weight, reduction, input)


def weighted_mean(what: str, losses: Any, weight: Any, reduction: str, input: Any) -> Any:
    """Reduce weighted losses; the mean divides by the sum of the weights."""
    check_tensors(what, weight=weight)
    check_same_shape(what, input=input, weight=weight)
    total = reduce_loss(losses * weight, "none" if reduction == "none" else "sum")
    return total / sum(weight) if reduction == "mean" else total


def l1_loss(input: Any, target: Any, *, reduction: str = "mean", weight: Any = None) -> Any:
    """Mean absolute error: |input - target|, times ``weight`` if given.

    Shapes and errors as ``mse_loss``.

    >>> import contraflow as cf
    >>> from contraflow.ops.loss import l1_loss
    >>> l1_loss(cf.tensor([0.5, 2.0]), cf.tensor([1.0, 2.0]))
    tensor(0.2500)
    """
    check_pair("l1_loss", input, target, reduction)
    losses = abs(input - target)
    if weight is None:
        return reduce_loss(losses, reduction)
    return weighted_mean("l1_loss", losses, weight, reduction, input)


def smooth_l1_loss(input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0) -> Any:
    """d^2 / (2 beta) where d = |input - target| is below ``beta``, d - beta / 2 above.

    Shapes and errors as ``mse_loss``; ``beta`` must not be negative (0 is ``l1_loss``).
    Source: Girshick, "Fast R-CNN" (2015).

    >>> import contraflow as cf
    >>> from contraflow.ops.loss import smooth_l1_loss
    >>> smooth_l1_loss(cf.tensor([0.5, 4.0]), cf.tensor([0.0, 0.0]), reduction="none")
    tensor([0.1250, 3.5000])
    """
    check_pair("smooth_l1_loss", input, target, reduction)
    if not beta >= 0:
        raise ArgumentError(
            lesson(f"smooth_l1_loss: beta must not be negative, received {beta}", fix="beta=1.0")
        )
    d = abs(input - target)
    if beta > 0:
        d = where(lt(d, beta), square(d) * (0.5 / beta), d - 0.5 * beta)
    return reduce_loss(d, reduction)


def huber_loss(
    input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Any:
    """d^2 / 2 where d = |input - target| is at most ``delta``, delta (d - delta / 2) above.

    Shapes and errors as ``mse_loss``; ``delta`` must be positive. With ``weight``, the mean is
    over all elements (here PyTorch does not divide by the sum of the weights).
    Source: Huber, "Robust estimation of a location parameter" (1964).

    >>> import contraflow as cf
    >>> from contraflow.ops.loss import huber_loss
    >>> huber_loss(cf.tensor([0.5, 4.0]), cf.tensor([0.0, 0.0]), delta=2.0, reduction="none")
    tensor([0.1250, 6.0000])
    """
    check_pair("huber_loss", input, target, reduction)
    if not delta > 0:
        raise ArgumentError(
            lesson(f"huber_loss: delta must be positive, received {delta}", fix="delta=1.0")
        )
    d = abs(input - target)
    losses = where(le(d, delta), square(d) * 0.5, (d - 0.5 * delta) * delta)
    if weight is not None:
        check_tensors("huber_loss", weight=weight)
        check_same_shape("huber_loss", input=input, weight=weight)
        losses = losses * weight
    return reduce_loss(losses, reduction)


# ---- probabilities ---------------------------------------------------------------------------


def check_binary_target(what: str, target: Any) -> None:
    """Targets of a binary cross entropy are floating point and between 0 and 1."""
    if not target.dtype.is_floating_point:
        raise DTypeError(
            lesson(
                f"{what}: the target must be floating point (probabilities), "
                f"not {target.dtype.name}",
                [("target", target)],
                "target.float()",
            )
        )
    fix = "targets are probabilities: scale or compare them, e.g. (target > 0).float()"
    check_between(what, target, "target", 0, 1, fix)


def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Any:
    """-(t log p + (1 - t) log(1 - p)) for probabilities p (input) and t (target).

    Logarithms below -100 count as -100, so that the loss is finite at p = 0 and p = 1. For a
    network without a sigmoid at its end, ``binary_cross_entropy_with_logits`` is more accurate.

    Shapes: input and target the same; ``weight`` broadcasts to them.

    Raises:
        ShapeError: if the shapes differ.
        DTypeError: for a target that is not floating point.
        ArgumentError: if a value of input or target lies outside [0, 1].

    >>> import contraflow as cf
    >>> from contraflow.ops.loss import binary_cross_entropy
    >>> binary_cross_entropy(cf.tensor([0.5, 1.0]), cf.tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    what = "binary_cross_entropy"
    check_pair(what, input, target, reduction)
    check_binary_target(what, target)
    fix = "cf.sigmoid(input), or binary_cross_entropy_with_logits(input, target)"
    check_between(what, input, "input", 0, 1, fix)
    if weight is None:
        return bce(input, target, reduction=reduction)
    losses = weighted(what, bce(input, target, reduction="none"), weight, input)
    return reduce_loss(losses, reduction)


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """The binary cross entropy of sigmoid(input), computed so that no logit overflows.

    log(1 + e^x) - t x; ``pos_weight`` multiplies the part of the positive answers, so
    negatives / positives balances rare positives.

    Shapes: input and target the same; ``weight`` and ``pos_weight`` broadcast to them.

    Raises:
        ShapeError, DTypeError, ArgumentError: as ``binary_cross_entropy``; the input is free.

    >>> import contraflow as cf
    >>> from contraflow.ops.loss import binary_cross_entropy_with_logits
    >>> binary_cross_entropy_with_logits(cf.tensor([0.0, 100.0]), cf.tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    what = "binary_cross_entropy_with_logits"
    check_pair(what, input, target, reduction)
    check_binary_target(what, target)
    if weight is None and pos_weight is None:
        return bce_logits(input, target, reduction=reduction)
    if pos_weight is None:
        losses = bce_logits(input, target, reduction="none")
    else:
        check_tensors(what, pos_weight=pos_weight)
        check_broadcasts(what, input=input, pos_weight=pos_weight)
        positive = (pos_weight - 1.0) * target + 1.0
        losses = (1.0 - target) * input + positive * softplus(-input)
    return reduce_loss(weighted(what, losses, weight, input), reduction)


def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Any:
    """Kullback-Leibler divergence t (log t - input), where ``input`` holds log-probabilities.

    ``reduction="batchmean"`` (the sum over the batch size) is the divergence of mathematics;
    ``"mean"`` divides by all elements. With ``log_target`` the target is log t too.

    Shapes: input and target the same.

    >>> import contraflow as cf
    >>> from contraflow.ops.loss import kl_div
    >>> p = cf.tensor([[0.5, 0.5]])
    >>> kl_div(cf.log(p), cf.tensor([[1.0, 0.0]]), reduction="batchmean")
    tensor(0.6931)
    """
    check_reduction("kl_div", reduction, (*REDUCTIONS, "batchmean"))
    check_pair("kl_div", input, target, "none")
    check_floating("kl_div", target=target)
    if log_target:
        losses = exp(target) * (target - input)
    else:
        safe = where(target == 0, 1.0, target)  # t log t is 0 at t = 0
        losses = target * log(safe) - target * input
    if reduction != "batchmean":
        return reduce_loss(losses, reduction)
    if not input.ndim:
        raise ShapeError(
            lesson(
                "kl_div: a 0-d input has no batch to average over",
                [("input", input)],
                "reduction='sum'",
            )
        )
    return sum(losses) / input.shape[0]


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Any:
    """-log likelihood of counts under a Poisson distribution: e^x - t x.

    ``log_input=False``: the input is the rate itself, x - t log(x + eps). ``full`` adds
    Stirling's t log t - t + log(2 pi t) / 2 for t > 1.

    Shapes: input and target the same.

    >>> import contraflow as cf
    >>> from contraflow.ops.loss import poisson_nll_loss
    >>> poisson_nll_loss(cf.tensor([0.0, 1.0]), cf.tensor([1.0, 2.0]))
    tensor(0.8591)
    """
    check_pair("poisson_nll_loss", input, target, reduction)
    losses = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        many = target > 1
        safe = where(many, target, 1.0)
        stirling = safe * log(safe) - safe + 0.5 * log(safe * (2 * pi))
        losses = losses + where(many, stirling, 0.0)
    return reduce_loss(losses, reduction)


def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Any:
    """-log likelihood under a Gaussian: (log var + (input - target)^2 / var) / 2.

    ``var`` below ``eps`` counts as ``eps`` (its gradient passes unchanged); ``full`` adds
    log(2 pi) / 2.

    Shapes: input and target the same; ``var`` the same, or without (or with size 1 in) the last
    dimension, or a number.

    Raises:
        ArgumentError: if a variance is negative.

    >>> import contraflow as cf
    >>> from contraflow.ops.loss import gaussian_nll_loss
    >>> gaussian_nll_loss(cf.tensor([1.0]), cf.tensor([3.0]), cf.tensor([4.0]))
    tensor(1.1931)
    """
    what = "gaussian_nll_loss"
    check_pair(what, input, target, reduction)
    if not eps > 0:
        raise ArgumentError(lesson(f"{what}: eps must be positive, received {eps}", fix="eps=1e-6"))
    if isinstance(var, int | float):
        var = input * 0.0 + var
    check_floating(what, var=var)
    if tuple(var.shape) == tuple(input.shape)[:-1] and input.ndim:
        var = reshape_to(var, shape=(*var.shape, 1))
    elif tuple(var.shape) != (*tuple(input.shape)[:-1], 1):
        check_same_shape(what, input=input, var=var)
    check_between(
        what, var, "var", 0, float("inf"), "cf.exp(log_var) or softplus keeps it positive"
    )
    var = var + alias(maximum(var, eps) - var)  # alias: the gradient does not see the clamp
    losses = 0.5 * (log(var) + square(input - target) / var)
    if full:
        losses = losses + 0.5 * log_of(2 * pi)
    return reduce_loss(losses, reduction)
