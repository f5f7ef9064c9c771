"""Methods that give the tensor itself another shape, and fills that are no function of it alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from contraflow.base.changes import changes
from contraflow.base.dtypes import bool_, int64
from contraflow.base.errors import (
    ArgumentError,
    CaptureError,
    DTypeError,
    GradError,
    ShapeError,
    lesson,
)
from contraflow.base.modes import at_once, capturing, current
from contraflow.base.shapes import broadcast
from contraflow.ops import shape
from contraflow.ops.arith import eq, where_op
from contraflow.ops.blend import clamp
from contraflow.ops.checks import check_tensors, values
from contraflow.ops.creation import iota
from contraflow.ops.index import take
from contraflow.ops.logic import logical_and
from contraflow.ops.rounding import remainder
from contraflow.ops.scan import cumsum
from contraflow.ops.view import alias, expand, reshape_to
from contraflow.tensor.tape import version_of
from contraflow.tensor.tensor import Tensor, array_of, describe, fresh, make, write

__all__ = ["masked_scatter"]


# ---- views in place ------------------------------------------------------------------------------


def reshaping(function: Callable[..., Any]) -> Callable[..., Any]:
    """``f_`` of a view function: the handle itself becomes the view; the memory stays."""
    name = function.__name__

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        check_handle(self, name)
        with at_once():
            before = moved(self)
            become(self, function(before, *args, **kwargs), before)
        return self

    method.__name__ = f"{name}_"
    method.__doc__ = f"The in-place form: the tensor itself becomes {name}(...), same memory."
    return method


def check_handle(self: Tensor, name: str) -> None:
    """A leaf that is being trained keeps its shape, and so does what a graph was captured with."""
    if capturing():
        raise CaptureError(
            lesson(f"{name}_ cannot be captured", [("tensor", self.aval)], f"x = x.{name}(...)")
        )
    base = self
    while base._parent is not None and base._view[0] is not alias:  # type: ignore[index]
        base = base._parent
    if current().grad and self.requires_grad and base.requires_grad and base._node is None:
        raise GradError(
            lesson(
                "a leaf that requires a gradient cannot be changed in place",
                [("tensor", describe(self))],
                f"y = x.{name}(...)",
            )
        )


def moved(self: Tensor) -> Any:
    """Another handle with everything that this one is."""
    fresh(self)
    twin = make(array_of(self), type(self))
    for field in ("_node", "_index", "_requires_grad", "_parent"):
        setattr(twin, field, getattr(self, field))
    twin._version = version_of(self)
    if self._parent is not None:
        twin._view, twin._seen = self._view, self._seen
    return twin


def become(self: Tensor, new: Any, before: Any) -> None:
    """Take over the value and history of ``new``, a view of what the handle was before.

    Views that were taken of the handle have seen an older version: ``fresh`` finds for them what
    their parent was then.
    """
    version = version_of(self)
    version.touch()
    self.__dict__.setdefault("_earlier", []).append((version.n, before))
    before._seen = version.n
    for field in ("_value", "_node", "_index", "_requires_grad"):
        setattr(self, field, getattr(new, field))
    changes.tensors += 1
    if new is before:  # nothing changed, as in squeeze_ of a tensor without sizes of 1
        return
    self._parent, self._view = new._parent, new._view
    self._version, self._seen = version, version.n


# ---- fills ---------------------------------------------------------------------------------------


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
        raise ShapeError(lesson(rule, [("tensor", describe(self))], "x.diagonal().fill_(value)"))
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


METHODS = {
    "fill_diagonal_": fill_diagonal_,
    "masked_scatter": masked_scatter,
    "masked_scatter_": lambda self, mask, source: write(self, masked_scatter(self, mask, source)),
    **{
        f"{name}_": reshaping(getattr(shape, name))
        for name in ("squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze")
    },
}
