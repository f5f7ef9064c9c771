"""Losses of margins and distances: embeddings, rankings, one or several labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contraflow.base.dtypes import int64
from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.base.shapes import broadcast, read_dim
from contraflow.ops.arith import abs, eq, ge, lt, maximum, minimum, ne, pow, sqrt, square, where
from contraflow.ops.cast import convert
from contraflow.ops.checks import (
    check_floating,
    check_labels,
    check_reduction,
    check_same_shape,
    check_signs,
    check_tensors,
)
from contraflow.ops.class_loss import check_weight, class_dim, read_labels
from contraflow.ops.creation import iota
from contraflow.ops.cross_entropy import along
from contraflow.ops.fused_loss import bce_logits, reduce_loss
from contraflow.ops.loss import check_pair, softplus, weighted
from contraflow.ops.record import OPS
from contraflow.ops.reduce import mean, reduce_max, reduce_sum
from contraflow.ops.statistics import vector_norm
from contraflow.ops.view import alias, expand, reshape_to

__all__ = [
    "cosine_embedding_loss", "cosine_similarity", "hinge_embedding_loss", "margin_ranking_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
    "pairwise_distance", "soft_margin_loss", "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]  # fmt: skip

EPS = 1e-12  # keeps the length of a zero vector from dividing by zero


def hinge(x: Any) -> Any:
    """max(0, x); the gradient at 0 is 1, as that of PyTorch's clamp."""
    return where(lt(x, 0), 0.0, x)


# ---- distances -------------------------------------------------------------------------------


def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Any:
    """The p-norm of x1 - x2 + eps over the last dimension.

    Shapes: [..., D] and [..., D], which may broadcast; the result [...].

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import pairwise_distance
    >>> pairwise_distance(cf.tensor([[0.0, 0.0]]), cf.tensor([[3.0, 4.0]]))
    tensor([5.])
    """
    check_tensors("pairwise_distance", x1=x1, x2=x2)
    d = abs(x1 - x2 + eps)
    if not d.ndim:
        raise ShapeError(
            lesson(
                "pairwise_distance: the vectors lie along the last dimension, a 0-d tensor "
                "has none",
                [("x1", x1), ("x2", x2)],
                "x1.reshape(1)",
            )
        )
    dims = (d.ndim - 1,)
    if p == 2:
        return sqrt(reduce_sum(square(d), dims=dims, keepdim=keepdim))
    if p == 1:
        return reduce_sum(d, dims=dims, keepdim=keepdim)
    if p == float("inf"):
        return reduce_max(d, dims=dims, keepdim=keepdim)
    if not p > 0:
        raise ArgumentError(
            lesson(f"pairwise_distance: p must be positive, received {p}", fix="p=2.0")
        )
    return pow(reduce_sum(pow(d, float(p)), dims=dims, keepdim=keepdim), 1.0 / p)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along ``dim``; the shapes may broadcast.

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import cosine_similarity
    >>> cosine_similarity(cf.tensor([[1.0, 0.0]]), cf.tensor([[1.0, 1.0]]))
    tensor([0.7071])
    """
    check_floating("cosine_similarity", x1=x1, x2=x2)
    shape = broadcast(tuple(x1.shape), tuple(x2.shape))
    dims = (read_dim(dim, len(shape)),)

    def direction(x: Any) -> Any:
        x = expand(x, shape=shape)
        length = vector_norm(x, p=2.0, dims=dims, keepdim=True)
        # as in PyTorch, eps bounds the value of the length, not its gradient
        return x / (length + alias(maximum(length, eps) - length))

    return reduce_sum(direction(x1) * direction(x2), dims=dims, keepdim=False)


# ---- pairs and triplets ----------------------------------------------------------------------


def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, *, reduction: str = "mean"
) -> Any:
    """The input (a distance) where the target is 1, max(0, margin - input) where it is -1.

    Shapes: input and target the same.

    Raises:
        ShapeError: if the shapes differ.
        ArgumentError: for a target that is neither 1 nor -1.

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import hinge_embedding_loss
    >>> hinge_embedding_loss(cf.tensor([0.2, 0.7]), cf.tensor([1, -1]))
    tensor(0.2500)
    """
    check_pair("hinge_embedding_loss", input, target, reduction)
    check_signs("hinge_embedding_loss", target)
    return reduce_loss(where(eq(target, 1), input, hinge(margin - input)), reduction)


def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean"
) -> Any:
    """max(0, margin - t (input1 - input2)): t = 1 if input1 should rank higher, -1 otherwise.

    Shapes: all three the same.

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import margin_ranking_loss
    >>> margin_ranking_loss(cf.tensor([1.0]), cf.tensor([3.0]), cf.tensor([1]))
    tensor(2.)
    """
    what = "margin_ranking_loss"
    check_reduction(what, reduction)
    check_tensors(what, input1=input1, input2=input2, target=target)
    check_same_shape(what, input1=input1, input2=input2, target=target)
    check_floating(what, input1=input1, input2=input2)
    check_signs(what, target)
    return reduce_loss(hinge(margin - target * (input1 - input2)), reduction)


def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean"
) -> Any:
    """1 - cos(input1, input2) where the target is 1, max(0, cos - margin) where it is -1.

    Shapes: inputs [N, D] with target [N], or [D] with a 0-d target.

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import cosine_embedding_loss
    >>> a, b = cf.tensor([[1.0, 0.0]]), cf.tensor([[0.0, 1.0]])
    >>> cosine_embedding_loss(a, b, cf.tensor([1]))
    tensor(1.)
    """
    what = "cosine_embedding_loss"
    check_reduction(what, reduction)
    check_tensors(what, input1=input1, input2=input2, target=target)
    check_same_shape(what, input1=input1, input2=input2)
    check_floating(what, input1=input1, input2=input2)
    if input1.ndim not in (1, 2) or tuple(target.shape) != tuple(input1.shape)[:-1]:
        raise ShapeError(
            lesson(
                f"{what}: vectors [N, D] take a target [N], vectors [D] a 0-d target",
                [("input1", input1), ("input2", input2), ("target", target)],
                "one target for each pair: target.reshape(input1.shape[0])",
            )
        )
    check_signs(what, target)

    def total(x: Any) -> Any:
        return reduce_sum(x, dims=(x.ndim - 1,), keepdim=False)

    lengths = sqrt((total(square(input1)) + EPS) * (total(square(input2)) + EPS))
    cos = total(input1 * input2) / lengths
    return reduce_loss(where(eq(target, 1), 1.0 - cos, hinge(cos - margin)), reduction)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Any:
    """max(0, margin + |anchor - positive|_p - |anchor - negative|_p) over the last dimension.

    ``swap`` takes the smaller of |anchor - negative| and |positive - negative|.

    Shapes: all three [N, D] or [D]. Source: Balntas et al., "Learning local feature descriptors
    with triplets and shallow convolutional neural networks" (BMVC 2016).

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import triplet_margin_loss
    >>> a, far = cf.tensor([[0.0, 0.0]]), cf.tensor([[3.0, 4.0]])
    >>> triplet_margin_loss(a, far, a)
    tensor(6.0000)
    """
    return _triplet(
        "triplet_margin_loss", anchor, positive, negative,
        lambda a, b: pairwise_distance(a, b, p, eps), margin, swap, reduction,
    )  # fmt: skip


def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    """``triplet_margin_loss`` with any distance, such as ``lambda a, b: 1 - cosine(a, b)``.

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import triplet_margin_with_distance_loss
    >>> a, b = cf.tensor([[0.0]]), cf.tensor([[2.0]])
    >>> city = lambda x, y: (x - y).abs().sum(-1)
    >>> triplet_margin_with_distance_loss(a, b, a, distance_function=city)
    tensor(3.)
    """
    return _triplet(
        "triplet_margin_with_distance_loss", anchor, positive, negative,
        distance_function or pairwise_distance, margin, swap, reduction,
    )  # fmt: skip


def _triplet(
    what: str,
    anchor: Any,
    positive: Any,
    negative: Any,
    distance: Callable[[Any, Any], Any],
    margin: float,
    swap: bool,
    reduction: str,
) -> Any:
    check_reduction(what, reduction)
    check_floating(what, anchor=anchor, positive=positive, negative=negative)
    check_same_shape(what, anchor=anchor, positive=positive, negative=negative)
    if not margin > 0:
        raise ArgumentError(
            lesson(f"{what}: margin must be positive, received {margin}", fix="margin=1.0")
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduce_loss(hinge(near - far + margin), reduction)


# ---- one or several labels -------------------------------------------------------------------


def soft_margin_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """log(1 + exp(-t x)) with targets t of 1 and -1, computed so that nothing overflows.

    Shapes: input and target the same.

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import soft_margin_loss
    >>> soft_margin_loss(cf.tensor([0.0, 100.0]), cf.tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    check_pair("soft_margin_loss", input, target, reduction)
    check_signs("soft_margin_loss", target)
    return reduce_loss(softplus(-target * input), reduction)


def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    *,
    reduction: str = "mean",
) -> Any:
    """sum over the wrong classes i of max(0, w_y (margin - x_y + x_i))^p / C, y the right class.

    Shapes: input [N, C] or [C]; target [N] or []; weight [C].

    Raises:
        ShapeError, DTypeError, IndexOutOfRange: as ``nll_loss``.

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import multi_margin_loss
    >>> multi_margin_loss(cf.tensor([[0.1, 0.2, 0.4, 0.8]]), cf.tensor([3]))
    tensor(0.3250)
    """
    what = "multi_margin_loss"
    check_reduction(what, reduction)
    dim = class_dim(what, input)
    if input.ndim > 2:
        raise ShapeError(
            lesson(f"{what}: the input is [N, C] or [C]", [("input", input)], "input.flatten(1)")
        )
    if p not in (1, 2):
        raise ArgumentError(lesson(f"{what}: p is 1 or 2, received {p}", fix="p=1"))
    labels = along(read_labels(what, input, target, dim, None), dim)
    classes = input.shape[dim]
    if weight is not None:
        check_weight(what, weight, classes)
    gaps = hinge(input - OPS["gather"](input, labels, dim=dim) + margin)
    gaps = square(gaps) if p == 2 else gaps
    if weight is not None:
        flat = reshape_to(labels, shape=(labels.shape[0],))
        gaps = gaps * reshape_to(OPS["gather"](weight, flat, dim=0), shape=tuple(labels.shape))
    index = iota(size=classes, start=0, step=1, dtype=int64)
    wrong = where(ne(labels, index), gaps, 0.0)
    losses = reduce_sum(wrong, dims=(dim,), keepdim=False) / classes
    return reduce_loss(losses, reduction)


def multilabel_margin_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """sum over right classes j and wrong classes i of max(0, 1 - (x_j - x_i)) / C.

    A row of the target lists the right classes, ended by -1; what follows does not count.

    Shapes: input and target [N, C] or [C].

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import multilabel_margin_loss
    >>> x = cf.tensor([[0.1, 0.2, 0.4, 0.8]])
    >>> multilabel_margin_loss(x, cf.tensor([[3, 0, -1, 1]]))
    tensor(0.8500)
    """
    what = "multilabel_margin_loss"
    check_pair(what, input, target, reduction)
    if target.dtype.category != 1:
        raise DTypeError(
            lesson(
                f"{what}: the target lists class indices, not {target.dtype.name}",
                [("target", target)],
                "target.long()",
            )
        )
    if input.ndim not in (1, 2):
        raise ShapeError(
            lesson(f"{what}: the input is [N, C] or [C]", [("input", input)], "input.flatten(1)")
        )
    classes = input.shape[-1]
    check_labels(what, target, classes, -1)
    batch = (1, classes) if input.ndim == 1 else tuple(input.shape)
    x, labels = (
        reshape_to(input, shape=batch),
        reshape_to(convert(target, dtype=int64), shape=batch),
    )
    # A label counts as long as no -1 stands before it.
    index = iota(size=classes, start=0, step=1, dtype=int64)
    upper = convert(ge(index, reshape_to(index, shape=(classes, 1))), dtype=x.dtype)
    counts = eq(OPS["matmul"](convert(lt(labels, 0), dtype=x.dtype), upper), 0)
    safe = where(counts, labels, 0)
    right = reshape_to(OPS["gather"](x, safe, dim=1), shape=(*batch, 1))  # [N, j, 1]
    listed = reshape_to(convert(counts, dtype=x.dtype), shape=(*batch, 1))
    same = convert(eq(reshape_to(safe, shape=(*batch, 1)), index), dtype=x.dtype) * listed
    wrong = 1.0 - reduce_max(same, dims=(1,), keepdim=True)  # [N, 1, i]
    gaps = hinge(1.0 - right + reshape_to(x, shape=(batch[0], 1, classes)))
    losses = reduce_sum(gaps * listed * wrong, dims=(1, 2), keepdim=False) / classes
    if input.ndim == 1:
        losses = reshape_to(losses, shape=())
    return reduce_loss(losses, reduction)


def multilabel_soft_margin_loss(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Any:
    """The mean over the classes of the binary cross entropy of each logit.

    Shapes: input and target [..., C]; weight [C]; without reduction the result is [...].

    >>> import contraflow as cf
    >>> from contraflow.ops.margin_loss import multilabel_soft_margin_loss
    >>> multilabel_soft_margin_loss(cf.tensor([[0.0, 100.0]]), cf.tensor([[1.0, 1.0]]))
    tensor(0.3466)
    """
    what = "multilabel_soft_margin_loss"
    check_pair(what, input, target, reduction)
    if not input.ndim:
        raise ShapeError(
            lesson(
                f"{what}: the input has no dimension of classes",
                [("input", input)],
                "input.reshape(1, 1)",
            )
        )
    losses = weighted(what, bce_logits(input, target, reduction="none"), weight, input)
    return reduce_loss(mean(losses, -1), reduction)
