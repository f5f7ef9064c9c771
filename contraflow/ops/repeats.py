"""Forms that repeat elements or spread labels: ``repeat_interleave`` and ``one_hot``."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import ArgumentError, CaptureError, DTypeError, ShapeError, lesson
from contraflow.base.shapes import read_dim
from contraflow.ops.arith import eq
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_labels, values
from contraflow.ops.creation import iota
from contraflow.ops.index import index_select
from contraflow.ops.view import expand, reshape_to

__all__ = ["repeat_interleave"]
METHODS = ("repeat_interleave",)


def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Each entry along ``dim`` several times in a row; without ``dim``, of the flat tensor.

    Args:
        repeats: how often each entry comes: one integer, or a 1-d integer tensor with a count for
            each entry. Left out: ``input`` holds the counts, and each index is repeated.
        output_size: the size of the result, if it is known; it is not needed here.

    >>> import contraflow as cf
    >>> cf.repeat_interleave(cf.tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    >>> cf.repeat_interleave(cf.tensor([[1, 2], [3, 4]]), cf.tensor([1, 2]), dim=0)
    tensor([[1, 2],
            [3, 4],
            [3, 4]])

    Raises:
        ArgumentError: for a negative count.
        ShapeError: if there is not one count for each entry.
    """
    if repeats is None:
        repeats, input = input, iota(size=input.numel(), start=0, step=1, dtype=int64)
    if dim is None:
        input, dim = reshape_to(input, shape=(int(np.prod(input.shape, dtype=int)),)), 0
    dim = read_dim(dim, input.ndim)
    if input.ndim == 0:
        input = reshape_to(input, shape=(1,))
    if not hasattr(repeats, "dtype"):
        return _evenly(input, index(repeats), dim)
    counts = values(repeats)
    if counts is None:
        raise CaptureError(
            lesson(
                "repeat_interleave: counts in a tensor decide the shape of the result, which a "
                "captured step must know beforehand",
                [("repeats", repeats)],
                "one integer for all entries, or do it outside the step",
            )
        )
    if repeats.dtype.category != 1:
        raise DTypeError(
            lesson("repeat_interleave: counts are integers", [("repeats", repeats)],
                   "repeats.long()")
        )  # fmt: skip
    if counts.size == 1:
        return _evenly(input, int(counts.reshape(-1)[0]), dim)
    if counts.shape != (input.shape[dim],):
        raise ShapeError(
            lesson(
                f"repeat_interleave: one count for each of {input.shape[dim]} entries is needed",
                [("input", input), ("repeats", repeats)],
                "an integer, or a 1-d tensor of that size",
            )
        )
    _not_negative(int(counts.min(initial=0)))
    return index_select(input, dim, np.repeat(np.arange(input.shape[dim]), counts))


def _evenly(x: Any, count: int, dim: int) -> Any:
    """Every entry ``count`` times: a new dimension after ``dim``, stretched and merged."""
    _not_negative(count)
    before, size, after = x.shape[:dim], x.shape[dim], x.shape[dim + 1 :]
    apart = reshape_to(x, shape=(*before, size, 1, *after))
    apart = expand(apart, shape=(*before, size, count, *after))
    return reshape_to(apart, shape=(*before, size * count, *after))


def _not_negative(count: int) -> None:
    if count < 0:
        raise ArgumentError(
            lesson(f"repeat_interleave: counts must not be negative, received {count}",
                   fix="repeats=2")
        )  # fmt: skip


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """Labels as rows with a 1 at the label: integers ``[...]`` become ``[..., num_classes]``.

    ``num_classes=-1`` takes the largest label plus 1 (not while a step is captured).

    >>> import contraflow as cf
    >>> cf.nn.functional.one_hot(cf.tensor([0, 2]), 3)
    tensor([[1, 0, 0],
            [0, 0, 1]])

    Raises:
        DTypeError: if the labels are not integers.
        IndexOutOfRange: for a label outside 0..num_classes-1.
    """
    if getattr(tensor, "dtype", None) is None or tensor.dtype.category != 1:
        raise DTypeError(
            lesson("one_hot takes integer labels", [("received", tensor)], "labels.long()")
        )
    if num_classes == -1:
        labels = values(tensor)
        if labels is None or not labels.size:
            raise ArgumentError(
                lesson("one_hot: the number of classes cannot be read from these labels",
                       [("labels", tensor)], "one_hot(labels, num_classes=10)")
            )  # fmt: skip
        num_classes = int(labels.max()) + 1
    check_labels("one_hot", tensor, num_classes, name="labels")
    classes = iota(size=num_classes, start=0, step=1, dtype=int64)
    column = reshape_to(convert(tensor, dtype=int64), shape=(*tensor.shape, 1))
    return convert(eq(column, classes), dtype=int64)
