"""Fills: places of a tensor, chosen by a mask or by their indices, take other values."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import bool_, int64
from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.base.shapes import broadcast
from contraflow.ops.arith import eq, where_op
from contraflow.ops.blend import clamp
from contraflow.ops.checks import check_tensors, values
from contraflow.ops.creation import full, iota
from contraflow.ops.index import take
from contraflow.ops.logic import logical_and
from contraflow.ops.rounding import remainder
from contraflow.ops.scan import cumsum
from contraflow.ops.view import expand, reshape_to
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.writing import in_place, write

__all__ = ["masked_scatter"]


def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """The tensor with the places where ``mask`` is True filled by the elements of ``source``, in
    their order; the mask broadcasts.

    Raises:
        ShapeError: if ``source`` has fewer elements than the mask has places.
        DTypeError: if the mask is not bool, or the dtypes differ.

    >>> import contraflow as cf
    >>> mask = cf.tensor([True, False, True])
    >>> cf.masked_scatter(cf.zeros(3), mask, cf.tensor([5.0, 7.0]))
    tensor([5., 0., 7.])
    """
    check_tensors("masked_scatter", input=input, mask=mask, source=source)
    rows: list[tuple[str, object]] = [("input", input), ("mask", mask), ("source", source)]
    if mask.dtype is not bool_:
        raise DTypeError(lesson("masked_scatter: the mask must be bool", rows, "mask.bool()"))
    if source.dtype is not input.dtype:
        rule = "masked_scatter: input and source must have one dtype"
        raise DTypeError(lesson(rule, rows, "source.to(input.dtype)"))
    size = broadcast(tuple(input.shape), tuple(mask.shape))
    mask = expand(mask, shape=size)
    places = values(mask)
    if places is not None and int(np.count_nonzero(places)) > source.numel():
        rule = f"masked_scatter: {np.count_nonzero(places)} places, {source.numel()} elements"
        raise ShapeError(lesson(rule, rows, "mask.sum() elements in source"))
    if not source.numel():
        return input.clone()
    flat = cumsum(reshape_to(mask, shape=(mask.numel(),)), 0) - 1
    index = clamp(flat, min=0, max=source.numel() - 1)
    return where_op(mask, reshape_to(take(source, index), shape=size), input)


def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Any:
    """Fill the diagonal (all indices equal) with a number.

    Args:
        wrap: a matrix with more rows than columns starts a new diagonal below the first.

    >>> import contraflow as cf
    >>> cf.zeros(2, 2).fill_diagonal_(3)
    tensor([[3., 0.],
            [0., 3.]])
    """
    if self.ndim < 2 or (self.ndim > 2 and len(set(self.shape)) > 1):
        rule = "fill_diagonal_ takes a matrix, or a tensor whose sizes are all equal"
        raise ShapeError(lesson(rule, [("tensor", self)], "x.diagonal().fill_(value)"))
    if not isinstance(fill_value, bool | int | float):
        raise ArgumentError(
            lesson(f"fill_diagonal_ takes a number, not {type(fill_value).__name__}", fix="0.0")
        )
    last = self.ndim - 1
    counted = [
        reshape_to(iota(size=n, start=0, step=1, dtype=int64), shape=(n, *(1,) * (last - d)))
        for d, n in enumerate(self.shape)
    ]
    if wrap and self.ndim == 2:
        counted[0] = remainder(counted[0], self.shape[1] + 1)
    mask = eq(counted[0], counted[1])
    for index in counted[2:]:
        mask = logical_and(mask, eq(index, counted[0]))
    number = make(np.asarray(fill_value)).to(self.dtype)
    return write(self, where_op(mask, number, self))


def fill_(self: Tensor, value: Any) -> Any:
    """Every element becomes ``value``."""
    number = value.item() if isinstance(value, Tensor) and value.ndim == 0 else value
    if isinstance(number, Tensor):
        raise ShapeError(lesson("fill_ takes a number", [("value", number)], "x.copy_(value)"))
    return write(self, full(shape=tuple(self.shape), value=number, dtype=self.dtype))


def zero_(self: Tensor) -> Any:
    """Every element becomes 0."""
    return fill_(self, 0)


METHODS = {
    "fill_": fill_, "zero_": zero_, "fill_diagonal_": fill_diagonal_,
    "masked_scatter": masked_scatter, "masked_scatter_": in_place(masked_scatter),
}  # fmt: skip
