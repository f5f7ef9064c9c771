"""The cross entropy of class indices and its gradient, one fused record each.

Logits are [N, C], [N, C, d1, ...] or [C]: the classes are dimension ``dim``, 1 or 0.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import ShapeError, lesson
from contraflow.base.shapes import Shape
from contraflow.ops.arith import eq, log, maximum, ne, where
from contraflow.ops.cast import convert
from contraflow.ops.checks import REDUCTIONS
from contraflow.ops.creation import iota
from contraflow.ops.record import OPS, Aval, Op, Sample, op
from contraflow.ops.reduce import reduce_max, reduce_sum, sum
from contraflow.ops.rules import rand
from contraflow.ops.transcendental import exp
from contraflow.ops.view import reshape_to

__all__: list[str] = []

Array = np.ndarray[Any, Any]


def without(shape: Shape, dim: int) -> Shape:
    """The shape of the labels that belong to logits of this shape."""
    return (*shape[:dim], *shape[dim + 1 :])


def along(x: Any, dim: int) -> Any:
    """Labels (or anything of their shape) with the dimension of the classes as size 1."""
    shape = tuple(x.shape)
    return reshape_to(x, shape=(*shape[:dim], 1, *shape[dim:]))


def column(weight: Any, x: Any, dim: int) -> Any:
    """One number for each class, shaped to meet logits."""
    sizes = (x.shape[dim] if d == dim else 1 for d in range(x.ndim))
    return reshape_to(weight, shape=tuple(sizes))


def wrong_labels(what: str, input: Any, target: Any, dim: int) -> ShapeError:
    """The error for labels whose shape does not belong to the logits, with the likely reason."""
    a, b = tuple(input.shape), tuple(target.shape)
    expected = without(a, dim)
    rule = f"{what}: logits {list(a)} take labels {list(expected)}, received {list(b)}"
    if b == (*a[:dim], 1, *a[dim + 1 :]):
        fix = f"target.squeeze({dim})"
    elif b == a:
        fix = f"target.argmax({dim}) for one-hot labels, or target.float() for probabilities"
    elif len(a) > 2 and b == a[:-1]:
        rule += f"; the {a[-1]} classes seem to stand last"
        fix = "input.movedim(-1, 1): the classes are dimension 1"
    elif a and b and a[0] != b[0] and a[2:] == b[1:]:
        rule += f": {a[0]} examples, {b[0]} labels"
        fix = "take both from the same batch; check a reshape or flatten before the last layer"
    else:
        fix = f"give the target the shape {list(expected)}: one label for each row of classes"
    return ShapeError(lesson(rule, [("input", input), ("target", target)], fix))


def nll_parts(log_p: Any, labels: Any, weight: Any, dim: int, ignore_index: int) -> tuple[Any, Any]:
    """Each example's weighted loss, and its weight (0 if ignored)."""
    valid = ne(labels, ignore_index)
    safe = where(valid, labels, 0)
    picked = reshape_to(OPS["gather"](log_p, along(safe, dim), dim=dim), shape=tuple(labels.shape))
    share = convert(valid, dtype=log_p.dtype)
    if weight is not None:
        flat = OPS["gather"](weight, reshape_to(safe, shape=(prod(labels.shape),)), dim=0)
        share = share * reshape_to(flat, shape=tuple(labels.shape))
    return where(valid, -picked * share, 0.0), share


# ---- the fused record: softmax, logarithm and the choice of one class as one op ---------------
#
# q = (1 - s) one_hot(target) + s / C        what the network should say (s: label smoothing)
# loss = -sum_c q_c log p_c,  p = softmax(x) d loss / d x = p - q
# An example whose label is `ignore_index` counts neither in the sum nor in the mean.


def _rows(x: Array, dim: int) -> Array:
    """The logits with the classes last, as [M, C]: a row for each label."""
    if x.ndim > 2:
        x = np.moveaxis(x, dim, -1)
    return x.reshape(-1, x.shape[-1]) if x.size else x.reshape(prod(x.shape[:-1]), x.shape[-1])


def _log_p(rows: Array) -> Array:
    # in C order, whatever that of the rows is: what is chosen is found in the flat array
    z = np.subtract(rows, np.maximum.reduce(rows, axis=1, keepdims=True), order="C")
    z -= np.log(np.add.reduce(np.exp(z), axis=1, keepdims=True))
    return z


def _choose(
    target: Array, ignore_index: int, rows: int, classes: int
) -> tuple[Array, Array | None, int]:
    """Where in flat rows each example's class stands, which examples count (None: all do), and
    how many."""
    labels = target.reshape(rows)
    valid = labels != ignore_index
    count = int(np.count_nonzero(valid))
    starts = np.arange(0, rows * classes, classes)
    if count == rows:
        return starts + labels, None, count
    return starts + np.where(valid, labels, 0), valid, count


def _forward(
    x: Array, target: Array, dim: int, ignore_index: int, smoothing: float, reduction: str
) -> Any:
    log_p = _log_p(_rows(x, dim))
    chosen, valid, count = _choose(target, ignore_index, *log_p.shape)
    losses = -log_p.reshape(-1)[chosen]
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * log_p.mean(axis=1)
    if valid is not None:
        losses = np.where(valid, losses, x.dtype.type(0))
    if reduction == "none":
        return losses.reshape(target.shape)
    total = np.add.reduce(losses)
    return total / count if reduction == "mean" else total


def _check(x: Aval, target: Aval, dim: int) -> None:
    if not x.shape[dim]:
        raise ShapeError(
            lesson("cross_entropy: there are no classes", [("input", x)], "logits [N, C], C >= 1")
        )
    if target.shape != without(x.shape, dim):
        raise wrong_labels("cross_entropy", x, target, dim)


def _loss_shape(x: Aval, target: Aval, dim: int, reduction: str, **_: Any) -> Aval:
    _check(x, target, dim)
    return Aval(target.shape if reduction == "none" else (), x.dtype)


def _softmax(x: Any, dim: int) -> Any:
    e = exp(x - reduce_max(x, dims=(dim,), keepdim=True))
    return e / reduce_sum(e, dims=(dim,), keepdim=True)


def _wanted(x: Any, target: Any, dim: int, smoothing: float) -> Any:
    """q: the smoothed one-hot rows."""
    classes = x.shape[dim]
    index = iota(size=classes, start=0, step=1, dtype=int64)
    one_hot = convert(eq(along(target, dim), column(index, x, dim)), dtype=x.dtype)
    return one_hot * (1.0 - smoothing) + smoothing / classes if smoothing else one_hot


def _share(x: Any, target: Any, ignore_index: int, reduction: str) -> Any:
    """What each example's loss contributes to the result: 1, 1 / count, or 0 if ignored."""
    counts = convert(ne(target, ignore_index), dtype=x.dtype)
    return counts / maximum(sum(counts), 1.0) if reduction == "mean" else counts


def _definition(
    x: Any, target: Any, dim: int, ignore_index: int, smoothing: float, reduction: str
) -> Any:
    shifted = x - reduce_max(x, dims=(dim,), keepdim=True)
    log_p = shifted - log(reduce_sum(exp(shifted), dims=(dim,), keepdim=True))
    losses, counts = nll_parts(log_p, target, None, dim, ignore_index)
    if smoothing:
        spread = reduce_sum(log_p, dims=(dim,), keepdim=False) * (smoothing / x.shape[dim])
        losses = losses * (1.0 - smoothing) - where(ne(target, ignore_index), spread, 0.0)
    if reduction == "none":
        return losses
    return sum(losses) / sum(counts) if reduction == "mean" else sum(losses)


def _samples(rng: np.random.Generator) -> list[Sample]:
    """Every reduction, ignored labels, smoothing, extra dimensions, no batch, wrong labels."""

    def case(shape: Shape, dim: int = 1, hole: bool = False, **attrs: Any) -> Sample:
        target = rng.integers(0, shape[dim], without(shape, dim))
        if hole:
            target.reshape(-1)[0] = -100
        whole: dict[str, Any] = {"ignore_index": -100, "smoothing": 0.0, "reduction": "mean"}
        return Sample(rand(rng, *shape), target, dim=dim, **whole | attrs)

    return [
        *(case((3, 4), reduction=r) for r in REDUCTIONS),
        *(case((3, 4), hole=True, smoothing=0.2, reduction=r) for r in REDUCTIONS),
        case((2, 3, 2, 2), reduction="none", hole=True),
        case((2, 3, 2), smoothing=0.1),
        case((4,), dim=0),
        case((0, 3), reduction="sum"),
        Sample(
            rand(rng, 3, 4),
            np.zeros(2, np.int64),
            dim=1,
            ignore_index=-100,
            smoothing=0.0,
            reduction="mean",
            error=ShapeError,
        ),
    ]


cross_entropy_op = op(
    "cross_entropy", "x target",
    forward=_forward, shape=_loss_shape, definition=_definition, samples=_samples,
    grad={
        "x": lambda g, x, target, dim, ignore_index, smoothing, reduction: cross_entropy_grad(
            g, x, target,
            dim=dim, ignore_index=ignore_index, smoothing=smoothing, reduction=reduction,
        ),
    },
)  # fmt: skip


# ---- its gradient, (p - q) g, as one op -------------------------------------------------------


def _grad_forward(
    g: Array, x: Array, target: Array, dim: int, ignore_index: int, smoothing: float,
    reduction: str,
) -> Any:  # fmt: skip
    p = _log_p(_rows(x, dim))
    np.exp(p, out=p)
    rows, classes = p.shape
    chosen, valid, count = _choose(target, ignore_index, rows, classes)
    p.reshape(-1)[chosen] -= 1 - smoothing
    if smoothing:
        p -= smoothing / classes
    share = g.reshape(-1, 1) if reduction == "none" else g
    if reduction == "mean":
        share = share / max(count, 1)
    p *= share if valid is None else np.where(valid[:, None], share, x.dtype.type(0))
    if x.ndim <= 2:
        return p.reshape(x.shape)
    last = (*x.shape[:dim], *x.shape[dim + 1 :], classes)
    return np.ascontiguousarray(np.moveaxis(p.reshape(last), -1, dim))


def _grad_definition(
    g: Any, x: Any, target: Any, dim: int, ignore_index: int, smoothing: float, reduction: str
) -> Any:
    share = _share(x, target, ignore_index, reduction) * g
    return (_softmax(x, dim) - _wanted(x, target, dim, smoothing)) * along(share, dim)


def _grad_g(
    g: Any, x: Any, target: Any, dim: int, ignore_index: int, smoothing: float, reduction: str
) -> Any:
    # the product of the incoming v (called g here) with (p - q), summed back to g's shape
    slope = _softmax(x, dim) - _wanted(x, target, dim, smoothing)
    each = reduce_sum(g * slope, dims=(dim,), keepdim=False)
    each = each * _share(x, target, ignore_index, reduction)
    return each if reduction == "none" else sum(each)


def _grad_samples(rng: np.random.Generator) -> list[Sample]:
    found = []
    for sample in _samples(rng):
        if sample.error is None:
            shape = sample.args[1].shape if sample.attrs["reduction"] == "none" else ()
            found.append(Sample(rand(rng, *shape), *sample.args, **sample.attrs))
    return found


def _grad_x(g: Any, grad: Any, x: Any, target: Any, dim: int, ignore_index: int,
            reduction: str) -> Any:  # fmt: skip
    # The Jacobian of softmax: p (v - sum(p v)), times what came from the loss.
    p = _softmax(x, dim)
    centred = p * (g - reduce_sum(p * g, dims=(dim,), keepdim=True))
    return centred * along(_share(x, target, ignore_index, reduction) * grad, dim)


cross_entropy_grad: Op = op(
    "cross_entropy_grad", "grad x target",
    forward=_grad_forward, shape=lambda grad, x, target, **_: x,
    definition=_grad_definition, samples=_grad_samples,
    grad={"grad": _grad_g, "x": _grad_x},
)  # fmt: skip
