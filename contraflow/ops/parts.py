"""Parts of a tensor: slices, windows, diagonals and triangles, to read and to write."""

from __future__ import annotations

from math import prod
from operator import index
from typing import Any

from contraflow.base.dtypes import int64
from contraflow.base.errors import ArgumentError, IndexOutOfRange, ShapeError, lesson
from contraflow.base.shapes import read_dim
from contraflow.ops.arith import ge, where
from contraflow.ops.creation import iota
from contraflow.ops.record import Aval
from contraflow.ops.view import (
    Bounds,
    diagonal_of,
    reshape_to,
    slice_dims,
    sliding_windows,
    view_put,
    zeros_of,
)

__all__ = [
    "diag", "diag_embed", "diagflat", "diagonal", "diagonal_scatter", "narrow", "select",
    "select_scatter", "slice_scatter", "tril", "triu",
]  # fmt: skip
METHODS = (*__all__, "unfold")
INPLACE = ("tril", "triu")


def full_bounds(x: Any, dim: int, bound: Any) -> Bounds:
    """Everything of ``x``, but ``bound`` in dimension ``dim``."""
    return tuple(bound if d == dim else (0, n, 1) for d, n in enumerate(x.shape))


def narrow(input: Any, dim: int, start: int, length: int) -> Any:
    """``length`` entries of dimension ``dim`` from ``start`` on, a view.

    >>> import contraflow as cf
    >>> cf.arange(5).narrow(0, 1, 3)
    tensor([1, 2, 3])
    """
    dim = read_dim(dim, input.ndim)
    first, length = index(start), index(length)
    size = input.shape[dim] if input.ndim else 0
    if (
        input.ndim == 0
        or not -size <= first <= size
        or length < 0
        or first % max(size, 1) + (size if first == size and size else 0) + length > size
    ):
        raise IndexOutOfRange(
            lesson(
                f"narrow: {length} entries from {start} on do not exist in dimension {dim} "
                f"of size {size}",
                [("input", input)],
                f"start + length <= {size}",
            )
        )
    first = first + size if first < 0 else first
    return slice_dims(input, bounds=full_bounds(input, dim, (first, first + length, 1)))


def checked_index(x: Any, dim: int, i: Any) -> int:
    """An integer index into dimension ``dim``, counted from the start."""
    at, size = index(i), x.shape[dim]
    if not -size <= at < size:
        fix = f"an index from {-size} to {size - 1}" if size else "there is nothing to index"
        raise IndexOutOfRange(
            lesson(f"index {at} does not exist in dimension {dim} of size {size}", [("x", x)], fix)
        )
    return at + size if at < 0 else at


def select(input: Any, dim: int, index: int) -> Any:
    """The part of ``input`` at one index of dimension ``dim``, which goes away; a view.

    >>> import contraflow as cf
    >>> cf.tensor([[1, 2], [3, 4]]).select(1, 0)
    tensor([1, 3])
    """
    if input.ndim == 0:
        raise IndexOutOfRange(lesson("select: a 0-d tensor has no dimension", [("input", input)]))
    dim = read_dim(dim, input.ndim)
    return slice_dims(input, bounds=full_bounds(input, dim, checked_index(input, dim, index)))


def read_slice(start: Any, end: Any, step: Any, size: int) -> tuple[int, int, int]:
    """A slice resolved against a size; steps are positive."""
    if step is not None and index(step) <= 0:
        raise ArgumentError(
            lesson(f"slices need a step > 0, received {step}", fix="x.flip(dim) reverses")
        )
    first, last, by = slice(start, end, step).indices(size)
    return first, max(first, last), by


def _put(x: Any, src: Any, view: str, what: str, **attrs: Any) -> Any:
    from_view = {"slice": slice_dims, "diagonal": diagonal_of}[view]
    shape = from_view.shape(Aval(tuple(x.shape), x.dtype), **attrs).shape
    if tuple(src.shape) != shape:
        raise ShapeError(
            lesson(f"{what}: src must have shape {list(shape)}", [("x", x), ("src", src)])
        )
    return view_put(x, src, view=view, attrs=tuple(sorted(attrs.items())))


def select_scatter(input: Any, src: Any, dim: int, index: int) -> Any:
    """``input`` with ``src`` in the place of ``x.select(dim, index)``."""
    dim = read_dim(dim, input.ndim)
    at = full_bounds(input, dim, checked_index(input, dim, index))
    return _put(input, src, "slice", "select_scatter", bounds=at)


def slice_scatter(
    input: Any,
    src: Any,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Any:
    """``input`` with ``src`` in the place of the slice ``start:end:step`` of dimension ``dim``."""
    dim = read_dim(dim, input.ndim)
    at = full_bounds(input, dim, read_slice(start, end, step, input.shape[dim]))
    return _put(input, src, "slice", "slice_scatter", bounds=at)


def unfold(x: Any, dimension: int, size: int, step: int) -> Any:
    """Windows of ``size`` along a dimension, ``step`` apart, as a new last dimension; a view.

    >>> import contraflow as cf
    >>> cf.arange(5).unfold(0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """
    dim = read_dim(dimension, x.ndim, "dimension")
    if x.ndim == 0:
        x = reshape_to(x, shape=(1,))
    if step <= 0 or not 0 <= size <= x.shape[dim]:
        raise ArgumentError(
            lesson(
                f"unfold: windows of {size}, {step} apart, do not fit into dimension {dim} "
                f"of size {x.shape[dim]}",
                [("x", x)],
                "0 <= size <= the dimension, step > 0",
            )
        )
    return sliding_windows(x, dim=dim, size=index(size), step=index(step))


# ---- diagonals and triangles -------------------------------------------------------------------


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal over two dimensions as a new last dimension, a view.

    >>> import contraflow as cf
    >>> cf.tensor([[1, 2], [3, 4]]).diagonal()
    tensor([1, 4])
    """
    a, b = read_dim(dim1, input.ndim, "dim1"), read_dim(dim2, input.ndim, "dim2")
    if a == b:
        raise ShapeError(
            lesson(f"diagonal needs two dimensions, received {dim1} and {dim2}", [("input", input)])
        )
    return diagonal_of(input, offset=index(offset), dim1=a, dim2=b)


def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """``input`` with ``src`` on its diagonal."""
    a, b = read_dim(dim1, input.ndim, "dim1"), read_dim(dim2, input.ndim, "dim2")
    return _put(input, src, "diagonal", "diagonal_scatter", offset=offset, dim1=a, dim2=b)


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Matrices, zero but for the last dimension of ``input`` on their diagonal.

    >>> import contraflow as cf
    >>> cf.diag_embed(cf.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    shape = list(input.shape)
    rank = input.ndim + 1
    a, b = read_dim(dim1, rank, "dim1"), read_dim(dim2, rank, "dim2")
    if a == b or not shape:
        raise ShapeError(
            lesson(
                f"diag_embed needs a vector and two dimensions, not {dim1} and {dim2}",
                [("input", input)],
            )
        )
    size = shape.pop() + abs(offset)
    for d in sorted((a, b)):
        shape.insert(d, size)
    attrs = (("dim1", a), ("dim2", b), ("offset", index(offset)))
    if a > b:  # the offset counts along dim2
        attrs = (("dim1", b), ("dim2", a), ("offset", -index(offset)))
    return view_put(zeros_of(Aval(tuple(shape), input.dtype)), input, view="diagonal", attrs=attrs)


def diag(input: Any, diagonal: int = 0) -> Any:
    """The matrix with a vector on its diagonal, or the diagonal of a matrix.

    >>> import contraflow as cf
    >>> cf.diag(cf.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim != 2:
        raise ShapeError(
            lesson(
                f"diag takes a vector or a matrix, not {input.ndim} dimensions",
                [("input", input)],
                "x.diagonal(offset, dim1, dim2) or cf.diag_embed(x)",
            )
        )
    return diagonal_of(input, offset=index(diagonal), dim1=0, dim2=1).clone()


def diagflat(input: Any, offset: int = 0) -> Any:
    """The matrix with all elements of ``input`` on its diagonal."""
    return diag_embed(reshape_to(input, shape=(prod(input.shape),)), offset)


def _below(x: Any, diagonal: int) -> Any:
    """True on and below a diagonal of the last two dimensions."""
    if x.ndim < 2:
        raise ShapeError(lesson("tril and triu need at least 2 dimensions", [("x", x)]))
    rows, columns = x.shape[-2:]
    row = iota(size=rows, start=diagonal, step=1, dtype=int64)
    return ge(reshape_to(row, shape=(rows, 1)), iota(size=columns, start=0, step=1, dtype=int64))


def zero_of(x: Any) -> Any:
    """A 0-d zero of the dtype of ``x``."""
    return zeros_of(Aval((), x.dtype))


def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle: zero above ``diagonal``.

    >>> import contraflow as cf
    >>> cf.tril(cf.tensor([[1, 2], [3, 4]]))
    tensor([[1, 0],
            [3, 4]])
    """
    return where(_below(input, diagonal), input, zero_of(input))


def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle: zero below ``diagonal``.

    >>> import contraflow as cf
    >>> cf.triu(cf.tensor([[1, 2], [3, 4]]))
    tensor([[1, 2],
            [0, 4]])
    """
    return where(_below(input, diagonal - 1), zero_of(input), input)
