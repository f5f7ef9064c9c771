"""Extrema and where they are: ``max``, ``min``, ``argmax``, ``argmin`` in all their forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import ShapeError
from contraflow.base.shapes import read_dims
from contraflow.ops.arith import maximum, minimum
from contraflow.ops.checks import check_tensors
from contraflow.ops.index_records import gather_op
from contraflow.ops.record import Aval, Operand, Sample, op
from contraflow.ops.reduce import amax, amin, count, nonempty
from contraflow.ops.results import named
from contraflow.ops.rules import rand
from contraflow.ops.scan import along
from contraflow.ops.view import reshape_to

__all__ = ["aminmax", "argmax", "argmin", "max", "min"]
METHODS = (*__all__,)


def _argument(x: Aval, dim: int, keepdim: bool) -> Aval:
    return nonempty(x, (dim,), keepdim, int64)


def _argument_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 3, 4), dim=1, keepdim=False),
        Sample(np.array([[1, 3, 3], [2, 2, 0]]), dim=0, keepdim=True),
        Sample(np.zeros((0, 3)), dim=0, keepdim=False, error=ShapeError),
    ]


# The first place on ties; NaN counts as the extremum.
argmax_op = op(
    "argmax", "x",
    forward=lambda x, dim, keepdim: np.argmax(x, axis=dim, keepdims=keepdim),
    shape=_argument, samples=_argument_samples,
)  # fmt: skip

argmin_op = op(
    "argmin", "x",
    forward=lambda x, dim, keepdim: np.argmin(x, axis=dim, keepdims=keepdim),
    shape=_argument, samples=_argument_samples,
)  # fmt: skip


_MinMax = named("aminmax", "min max")


def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    """Minimum and maximum over ``dim`` as a tuple ``(min, max)``.

    >>> import contraflow as cf
    >>> low, high = cf.aminmax(cf.tensor([3, 1, 2]))
    """
    return _MinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


def _where_extreme(record: Any, x: Any, dim: Any, keepdim: bool) -> Any:
    """The index along ``dim``, or in the flattened tensor."""
    check_tensors(record.name, input=x)
    shape = tuple(x.shape)
    if dim is None or not shape:
        if dim is not None:
            read_dims(dim, 0)
        flat = reshape_to(x, shape=(count(shape, tuple(range(len(shape)))),))
        index = record(flat, dim=0, keepdim=False)
        return reshape_to(index, shape=(1,) * len(shape)) if keepdim else index
    return record(x, dim=read_dims(dim, len(shape))[0], keepdim=keepdim)


def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Where the maximum is along ``dim``, or in the flattened tensor; the first of equal ones.

    Raises:
        ShapeError: if there are no elements to choose from.

    >>> import contraflow as cf
    >>> cf.argmax(cf.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=1)
    tensor([1, 0])
    """
    return _where_extreme(argmax_op, input, dim, keepdim)


def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Where the minimum is along ``dim``, or in the flattened tensor; the first of equal ones.

    Raises:
        ShapeError: if there are no elements to choose from.

    >>> import contraflow as cf
    >>> cf.argmin(cf.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=1)
    tensor([0, 1])
    """
    return _where_extreme(argmin_op, input, dim, keepdim)


def pick(record: Any, x: Any, dim: Any, keepdim: bool, **attrs: Any) -> tuple[Any, Any]:
    """Values and indices along ``dim`` that an index op chooses; the gradient goes to these."""
    lifted, dim = along(record.name, x, dim)
    index = record(lifted, dim=dim, keepdim=True, **attrs)
    values = gather_op(lifted, index, dim=dim)
    if keepdim and x.ndim:
        return values, index
    shape = tuple([n for d, n in enumerate(lifted.shape) if d != dim])
    return reshape_to(values, shape=shape), reshape_to(index, shape=shape)


_Max, _Min = named("max"), named("min")


def max(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The maximum: ``max(x)`` of all, ``max(x, dim)`` along a dimension as ``(values, indices)``,
    ``max(x, other)`` element by element.

    Equal elements share the gradient of ``max(x)``; that of ``max(x, dim)`` goes to the first.

    Raises:
        ShapeError: if there are no elements to choose from.

    >>> import contraflow as cf
    >>> values, indices = cf.max(cf.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=1)
    >>> indices
    tensor([1, 0])
    """
    if other is not None or isinstance(dim, Operand):
        return maximum(input, dim if other is None else other)
    if dim is None:
        return amax(input, None, keepdim)
    return _Max(*pick(argmax_op, input, dim, keepdim))


def min(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The minimum: ``min(x)`` of all, ``min(x, dim)`` along a dimension as ``(values, indices)``,
    ``min(x, other)`` element by element.

    Equal elements share the gradient of ``min(x)``; that of ``min(x, dim)`` goes to the first.

    Raises:
        ShapeError: if there are no elements to choose from.

    >>> import contraflow as cf
    >>> cf.min(cf.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=1).values
    tensor([1., 2.])
    """
    if other is not None or isinstance(dim, Operand):
        return minimum(input, dim if other is None else other)
    if dim is None:
        return amin(input, None, keepdim)
    return _Min(*pick(argmin_op, input, dim, keepdim))
