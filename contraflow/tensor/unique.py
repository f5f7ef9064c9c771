"""Results whose size depends on the values: they must look at them, so they cannot be captured."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.base.shapes import read_dim
from contraflow.ops.checks import check_same_shape, check_tensors
from contraflow.tensor.arrays import look
from contraflow.tensor.tensor import make

__all__ = ["bincount", "unique", "unique_consecutive"]
METHODS = ("bincount", "unique", "unique_consecutive")

Array = np.ndarray[Any, Any]


def _results(
    found: Array, inverse: Array, counts: Array, return_inverse: bool, return_counts: bool
) -> Any:
    """The tensor alone, or a tuple with what was asked for."""
    asked = [make(np.ascontiguousarray(found))]
    if return_inverse:
        asked.append(make(inverse.astype(np.int64)))
    if return_counts:
        asked.append(make(counts.astype(np.int64)))
    return asked[0] if len(asked) == 1 else tuple(asked)


def unique(
    input: Any,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements, in order (with ``dim``: the distinct slices).

    Args:
        return_inverse: also where each element of ``input`` went: ``result[inverse]`` is ``input``.
        return_counts: also how often each occurs.

    Raises:
        CaptureError: while a step is captured, because the size of the result is not known yet.

    >>> import contraflow as cf
    >>> values, counts = cf.unique(cf.tensor([3, 1, 3]), return_counts=True)
    >>> values, counts
    (tensor([1, 3]), tensor([1, 2]))
    """
    check_tensors("unique", input=input)
    array = look(input, "unique()")
    if dim is not None:
        array = np.moveaxis(array, read_dim(dim, input.ndim), 0) if input.ndim else array.reshape(1)
        found, inverse, counts = np.unique(
            array, axis=0, return_inverse=True, return_counts=True, equal_nan=False
        )
        found = np.moveaxis(found, 0, read_dim(dim, input.ndim)) if input.ndim else found
        return _results(found, inverse.reshape(-1), counts, return_inverse, return_counts)
    found, inverse, counts = np.unique(
        array, return_inverse=True, return_counts=True, equal_nan=False
    )
    return _results(found, inverse.reshape(array.shape), counts, return_inverse, return_counts)


def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The first of each run of equal elements (with ``dim``: of equal slices).

    Raises:
        CaptureError: while a step is captured, because the size of the result is not known yet.

    >>> import contraflow as cf
    >>> cf.unique_consecutive(cf.tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    check_tensors("unique_consecutive", input=input)
    array = look(input, "unique_consecutive()")
    shape = array.shape if dim is None else (array.shape[read_dim(dim, input.ndim)],)
    rows = array.reshape(-1) if dim is None else np.moveaxis(array, read_dim(dim, input.ndim), 0)
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]).any(axis=tuple(range(1, rows.ndim)))
    starts = np.flatnonzero(first)
    found = rows[starts] if dim is None else np.moveaxis(rows[starts], 0, read_dim(dim, input.ndim))
    inverse = (np.cumsum(first) - 1).reshape(shape)
    counts = np.diff(np.append(starts, len(rows)))
    return _results(found, inverse, counts, return_inverse, return_counts)


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each of 0, 1, 2, ... occurs in a 1-d tensor of integers (or the sum of its weights).

    Shapes: [n] gives [max(x.max() + 1, minlength)]; int64, or float64 with integer weights.

    Raises:
        ShapeError: if the tensor is not 1-d.
        DTypeError: if it is not of integers.
        ArgumentError: for negative values.

    >>> import contraflow as cf
    >>> cf.bincount(cf.tensor([0, 2, 2]))
    tensor([1, 0, 2])
    """
    check_tensors("bincount", input=input)
    if input.ndim != 1:
        raise ShapeError(
            lesson("bincount counts in a 1-d tensor", [("input", input.aval)], "x.flatten()")
        )
    if input.dtype.category != 1:
        raise DTypeError(lesson("bincount counts integers", [("input", input.aval)], "x.long()"))
    if minlength < 0:
        raise ArgumentError(lesson(f"bincount: minlength must be >= 0, received {minlength}"))
    array = look(input, "bincount()").astype(np.int64)
    if array.size and array.min() < 0:
        raise ArgumentError(
            lesson(
                f"bincount: the values must not be negative, received {array.min()}",
                [("input", input.aval)],
                "x - x.min()",
            )
        )
    if weights is None:
        return make(np.bincount(array, minlength=minlength).astype(np.int64))
    check_same_shape("bincount", input=input, weights=weights)
    summed = np.bincount(array, look(weights, "bincount()"), minlength)
    keeps = weights.dtype.name == "float32"
    return make(summed.astype(np.float32 if keeps else np.float64))
