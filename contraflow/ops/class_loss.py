"""Losses of classification: one right class (or a distribution over the classes) an example.

Logits are [N, C], [N, C, d1, ...] or [C]: the classes are dimension 1, or 0 without a batch.
"""

from __future__ import annotations

from typing import Any

from contraflow.base.dtypes import int64
from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.ops.arith import ne, where
from contraflow.ops.cast import convert
from contraflow.ops.checks import (
    check_floating,
    check_labels,
    check_reduction,
    check_tensors,
)
from contraflow.ops.cross_entropy import (
    column,
    cross_entropy_op,
    nll_parts,
    without,
    wrong_labels,
)
from contraflow.ops.fused_loss import reduce_loss
from contraflow.ops.record import OPS
from contraflow.ops.reduce import reduce_sum, sum

__all__ = ["cross_entropy", "nll_loss"]


def class_dim(what: str, input: Any) -> int:
    """The dimension of the classes: 1, or 0 in an unbatched [C]."""
    check_floating(what, input=input)
    if not input.ndim:
        raise ShapeError(
            lesson(
                f"{what}: the input has no dimension of classes",
                [("input", input)],
                "logits [N, C] with labels [N], or [C] with one label",
            )
        )
    return 1 if input.ndim > 1 else 0


def read_labels(what: str, input: Any, target: Any, dim: int, ignore_index: int | None) -> Any:
    """Check class indices against the logits; they come back as int64."""
    check_tensors(what, target=target)
    if target.dtype.category != 1:
        raise DTypeError(
            lesson(f"{what}: class indices must be integers, not {target.dtype.name}",
                   [("input", input), ("target", target)],
                   "target.long() for class indices"
                   + (f"; probabilities have the shape of the input, {list(input.shape)}"
                      if what == "cross_entropy" else ""))
        )  # fmt: skip
    if tuple(target.shape) != without(tuple(input.shape), dim):
        raise wrong_labels(what, input, target, dim)
    check_labels(what, target, input.shape[dim], ignore_index)
    return target if target.dtype is int64 else convert(target, dtype=int64)


def check_weight(what: str, weight: Any, classes: int) -> None:
    """Class weights are a floating vector with one number for each class."""
    check_floating(what, weight=weight)
    if tuple(weight.shape) != (classes,):
        raise ShapeError(
            lesson(
                f"{what}: there are {classes} classes, the weight has shape {list(weight.shape)}",
                [("weight", weight)],
                f"one weight for each class: a tensor of shape [{classes}]",
            )
        )


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    """-log p of the right class, from log-probabilities: -input[n, target[n]].

    ``weight`` scales each class; the mean divides by the sum of the weights that took part.
    Labels equal to ``ignore_index`` do not count.

    Shapes: input [N, C, ...] or [C]; target [N, ...] or []; weight [C].

    Raises:
        ShapeError: if labels or weight do not fit the input.
        DTypeError: for labels that are not integers.
        IndexOutOfRange: for a label outside 0..C-1.

    >>> import contraflow as cf
    >>> from contraflow.ops.class_loss import nll_loss
    >>> nll_loss(cf.log(cf.tensor([[0.25, 0.75]])), cf.tensor([1]))
    tensor(0.2877)
    """
    check_reduction("nll_loss", reduction)
    dim = class_dim("nll_loss", input)
    labels = read_labels("nll_loss", input, target, dim, ignore_index)
    if weight is not None:
        check_weight("nll_loss", weight, input.shape[dim])
    return _nll(input, labels, weight, dim, ignore_index, reduction)


def _nll(log_p: Any, labels: Any, weight: Any, dim: int, ignore_index: int, reduction: str) -> Any:
    losses, share = nll_parts(log_p, labels, weight, dim, ignore_index)
    total = reduce_loss(losses, "none" if reduction == "none" else "sum")
    return total / sum(share) if reduction == "mean" else total


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """The cross entropy of softmax(input) against class indices or class probabilities.

    loss = -sum_c w_c q_c log softmax(x)_c, where q is one at the right class and zero elsewhere
    (or the given probabilities), smoothed to (1 - s) q + s / C by ``label_smoothing`` s. The
    input are logits: no softmax before it. Labels equal to ``ignore_index`` do not count.

    Shapes: input [N, C, ...] or [C]; target [N, ...] or [] (integers), or the input's shape
    (probabilities); weight [C].

    Raises:
        ShapeError: if target or weight do not fit the input.
        DTypeError: for labels that are not integers.
        IndexOutOfRange: for a label outside 0..C-1.

    >>> import contraflow as cf
    >>> from contraflow.ops.class_loss import cross_entropy
    >>> cross_entropy(cf.tensor([[2.0, 0.0], [0.0, 2.0]]), cf.tensor([0, 1]))
    tensor(0.1269)
    """
    what = "cross_entropy"
    check_reduction(what, reduction)
    dim = class_dim(what, input)
    check_tensors(what, target=target)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(
            lesson(
                f"{what}: label_smoothing must lie in [0, 1], received {label_smoothing}",
                fix="label_smoothing=0.1",
            )
        )
    if weight is not None:
        check_weight(what, weight, input.shape[dim])
    if target.dtype.is_floating_point and tuple(target.shape) == tuple(input.shape):
        return _against_probabilities(input, target, weight, dim, reduction, label_smoothing)
    labels = read_labels(what, input, target, dim, ignore_index)
    if weight is None:
        return cross_entropy_op(
            input, labels,
            dim=dim, ignore_index=ignore_index, smoothing=float(label_smoothing),
            reduction=reduction,
        )  # fmt: skip
    return _weighted(input, labels, weight, dim, ignore_index, reduction, label_smoothing)


def _weighted(
    x: Any, labels: Any, weight: Any, dim: int, ignore_index: int, reduction: str, s: float
) -> Any:
    log_p = OPS["log_softmax"](x, dim=dim)
    losses, share = nll_parts(log_p, labels, weight, dim, ignore_index)
    if s:
        spread = -reduce_sum(log_p * column(weight, x, dim), dims=(dim,), keepdim=False)
        uniform = where(ne(labels, ignore_index), spread, 0.0)
        losses = losses * (1.0 - s) + uniform * (s / x.shape[dim])
    total = reduce_loss(losses, "none" if reduction == "none" else "sum")
    return total / sum(share) if reduction == "mean" else total


def _against_probabilities(x: Any, q: Any, weight: Any, dim: int, reduction: str, s: float) -> Any:
    classes = x.shape[dim]
    if s:
        q = q * (1.0 - s) + s / classes
    if weight is not None:
        q = q * column(weight, x, dim)
    losses = -reduce_sum(q * OPS["log_softmax"](x, dim=dim), dims=(dim,), keepdim=False)
    return reduce_loss(losses, reduction)
