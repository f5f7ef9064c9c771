"""Reading and writing by integer indices: slabs (``index_select``) and elements (``gather``)."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.base.shapes import Shape, broadcast, read_dim
from contraflow.ops.arith import lt, where, where_op
from contraflow.ops.cast import convert
from contraflow.ops.creation import full
from contraflow.ops.index_records import (
    AT,
    agree,
    gather_op,
    index_add_op,
    index_copy_op,
    ravel_index,
    read_index,
    scatter_add_op,
    scatter_op,
    scatter_reduce_op,
    select_op,
)
from contraflow.ops.record import Aval
from contraflow.ops.view import expand, permute_dims, reshape_to, slice_dims, zeros_of

__all__ = [
    "gather", "index_add", "index_copy", "index_fill", "index_select", "masked_fill", "scatter",
    "scatter_add", "scatter_reduce", "take", "take_along_dim",
]  # fmt: skip
METHODS = (*__all__,)
INPLACE = (
    "index_add", "index_copy", "index_fill", "masked_fill", "scatter", "scatter_add",
    "scatter_reduce",
)  # fmt: skip


def gather(input: Any, dim: int, index: Any) -> Any:
    """One element of ``input`` for each element of ``index``, which says where along ``dim``.

    Shapes: the result has the shape of ``index``; ``out[i, j] = x[i, index[i, j]]`` for dim 1.

    Raises:
        IndexOutOfRange: for an index outside 0..size-1.

    >>> import contraflow as cf
    >>> cf.gather(cf.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, cf.tensor([[1], [0]]))
    tensor([[2.],
            [3.]])
    """
    return gather_op(input, read_index(index, "gather"), dim=read_dim(dim, input.ndim))


def cut(src: Any, index: Any) -> Any:
    """The part of the source that the index speaks of."""
    shape = tuple(index.shape)
    if tuple(src.shape) == shape:
        return src
    if src.ndim != len(shape) or any(n < m for n, m in zip(src.shape, shape, strict=True)):
        raise ShapeError(
            lesson(
                "scatter: the source must be at least as large as the index",
                [("index", index), ("src", src)],
            )
        )
    return slice_dims(src, bounds=tuple((0, n, 1) for n in shape))


def as_source(x: Any, index: Any, src: Any, what: str) -> Any:
    """A number or a source tensor as a tensor of the index's shape and x's dtype."""
    if isinstance(src, int | float):
        return full(shape=tuple(index.shape), value=src, dtype=x.dtype)
    src = cut(src, index)
    agree(what, x, src)
    return src


def scatter(
    input: Any,
    dim: int,
    index: Any,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> Any:
    """``input`` with the elements that ``index`` points to along ``dim`` replaced by ``src``.

    ``src`` is a tensor at least as large as ``index``, or a number (also as ``value=``).
    ``reduce="add"`` or ``"multiply"`` combines instead of replacing. Of several writes to one
    place the last one stays.

    >>> import contraflow as cf
    >>> cf.scatter(cf.zeros(2, 3), 1, cf.tensor([[2], [0]]), 1.0)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    src = value if src is None else src
    if src is None:
        raise ArgumentError(lesson("scatter: nothing to write", fix="x.scatter(dim, index, 1.0)"))
    read_index(index, "scatter")
    dim = read_dim(dim, input.ndim)
    src = as_source(input, index, src, "scatter")
    if reduce is None:
        return scatter_op(input, index, src, dim=dim)
    if reduce == "add":
        return scatter_add_op(input, index, src, dim=dim)
    if reduce == "multiply":
        return scatter_reduce_op(input, index, src, dim=dim, reduce="prod")
    raise ArgumentError(
        lesson(f"scatter: unknown reduce {reduce!r}", fix="reduce='add' or 'multiply'")
    )


def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """``input`` plus ``src``, each element added where ``index`` points along ``dim``.

    >>> import contraflow as cf
    >>> cf.scatter_add(cf.zeros(3), 0, cf.tensor([2, 0, 2]), cf.ones(3))
    tensor([1., 0., 2.])
    """
    read_index(index, "scatter_add")
    src = as_source(input, index, src, "scatter_add")
    return scatter_add_op(input, index, src, dim=read_dim(dim, input.ndim))


def scatter_reduce(
    input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True
) -> Any:
    """``input`` and ``src`` reduced together, ``src`` going where ``index`` points along ``dim``.

    ``reduce``: ``"sum"``, ``"prod"``, ``"mean"``, ``"amax"`` or ``"amin"``. With
    ``include_self=False`` the places that are pointed to forget the value of ``input``.

    >>> import contraflow as cf
    >>> x, index = cf.tensor([1.0, 5.0]), cf.tensor([0, 1, 1])
    >>> cf.scatter_reduce(x, 0, index, cf.tensor([4.0, 2.0, 3.0]), "amax")
    tensor([4., 5.])
    """
    if reduce not in ("sum", "mean", *AT):
        raise ArgumentError(
            lesson(
                f"scatter_reduce: unknown reduce {reduce!r}",
                fix="reduce='sum', 'prod', 'mean', 'amax' or 'amin'",
            )
        )
    read_index(index, "scatter_reduce")
    dim = read_dim(dim, input.ndim)
    src = as_source(input, index, src, "scatter_reduce")
    if not include_self:
        start = full(
            shape=tuple(index.shape), value=_identity(reduce, input.dtype), dtype=input.dtype
        )
        input = scatter_op(input, index, start, dim=dim)
    if reduce in AT:
        return scatter_reduce_op(input, index, src, dim=dim, reduce=reduce)
    total = scatter_add_op(input, index, src, dim=dim)
    if reduce == "sum":
        return total
    one = full(shape=tuple(index.shape), value=1, dtype=input.dtype)
    own = full(shape=tuple(input.shape), value=1, dtype=input.dtype)
    if not include_self:
        own = scatter_op(own, index, zeros_of(Aval(tuple(index.shape), input.dtype)), dim=dim)
    count = scatter_add_op(own, index, one, dim=dim)
    return total / count if input.dtype.is_floating_point else total // count


def _identity(reduce: str, dtype: Any) -> Any:
    """The value that a reduction starts from."""
    if reduce in ("sum", "mean", "prod"):
        return int(reduce == "prod")
    if dtype.is_floating_point:
        return float("-inf") if reduce == "amax" else float("inf")
    if dtype.category == 0:
        return reduce == "amin"
    limits = np.iinfo(dtype.np)
    return int(limits.min if reduce == "amax" else limits.max)


def index_select(input: Any, dim: int, index: Any) -> Any:
    """The slabs of ``input`` along ``dim`` that the 1-d ``index`` names, in its order.

    >>> import contraflow as cf
    >>> cf.index_select(cf.tensor([[1, 2], [3, 4]]), 0, cf.tensor([1, 1]))
    tensor([[3, 4],
            [3, 4]])
    """
    dim = read_dim(dim, input.ndim)
    index = one_dimensional(index, "index_select")
    if input.ndim == 0:
        input = reshape_to(input, shape=(1,))
        return reshape_to(select_op(input, index, dim=0), shape=())
    return select_op(input, index, dim=dim)


def one_dimensional(index: Any, what: str) -> Any:
    """The index as a tensor of one dimension."""
    read_index(index, what)
    if index.ndim > 1:
        raise ShapeError(
            lesson(
                f"{what}: the index must have one dimension",
                [("index", index)],
                "x[index] takes an index of any shape",
            )
        )
    return index if index.ndim else reshape_to(index, shape=(1,))


def _slab_source(x: Any, dim: int, index: Any, src: Any, what: str) -> Any:
    """The source of a write to slabs, expanded to their shape."""
    shape = (*x.shape[:dim], index.shape[0], *x.shape[dim + 1 :])
    if isinstance(src, int | float):
        return full(shape=shape, value=src, dtype=x.dtype)
    agree(what, x, src)
    if src.ndim == 0:
        return expand(src, shape=shape)
    if tuple(src.shape) != shape:
        raise ShapeError(
            lesson(
                f"{what}: the source must have shape {list(shape)}",
                [("x", x), ("index", index), ("source", src)],
            )
        )
    return src


def _write_slabs(record: Any, what: str, x: Any, dim: int, index: Any, src: Any) -> Any:
    shape, dim = tuple(x.shape), read_dim(dim, x.ndim)
    index = one_dimensional(index, what)
    x = x if shape else reshape_to(x, shape=(1,))
    out = record(x, index, _slab_source(x, dim, index, src, what), dim=dim)
    return out if shape else reshape_to(out, shape=())


def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: float = 1) -> Any:
    """``input`` with ``alpha * source`` added to its slabs ``index`` along ``dim``.

    >>> import contraflow as cf
    >>> cf.index_add(cf.zeros(3), 0, cf.tensor([2, 2]), cf.tensor([1.0, 10.0]))
    tensor([ 0.,  0., 11.])
    """
    source = source if alpha == 1 else source * alpha
    return _write_slabs(index_add_op, "index_add", input, dim, index, source)


def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """``input`` with its slabs ``index`` along ``dim`` replaced by those of ``source``.

    >>> import contraflow as cf
    >>> cf.index_copy(cf.zeros(3), 0, cf.tensor([2, 0]), cf.tensor([1.0, 10.0]))
    tensor([10.,  0.,  1.])
    """
    return _write_slabs(index_copy_op, "index_copy", input, dim, index, source)


def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """``input`` with its slabs ``index`` along ``dim`` filled with one value.

    >>> import contraflow as cf
    >>> cf.index_fill(cf.zeros(3), 0, cf.tensor([1]), 7)
    tensor([0., 7., 0.])
    """
    if (
        getattr(index, "dtype", None) is int64 and input.ndim
    ):  # here negative ones count from the end
        index = where_op(lt(index, 0), index + input.shape[read_dim(dim, input.ndim)], index)
    return _write_slabs(index_copy_op, "index_fill", input, dim, index, scalar_like(input, value))


def scalar_like(x: Any, value: Any) -> Any:
    """A number or a 0-d tensor in the dtype of ``x``."""
    if isinstance(value, int | float):
        if isinstance(value, float) and x.dtype.category < 2 and value != int(value):
            raise DTypeError(
                lesson(
                    f"{value} does not fit into a {x.dtype.name} tensor",
                    [("tensor", x)],
                    "x.float() first, or an integer",
                )
            )
        return value
    if value.ndim:
        raise ShapeError(
            lesson("the value must be a number or a tensor of no dimensions", [("value", value)])
        )
    return value if value.dtype is x.dtype else convert(value, dtype=x.dtype)


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """``input`` with ``value`` where ``mask`` is True; mask and x broadcast.

    >>> import contraflow as cf
    >>> x = cf.tensor([1.0, 2.0, 3.0])
    >>> cf.masked_fill(x, x > 1.5, 0)
    tensor([1., 0., 0.])
    """
    if mask.dtype.category != 0:
        raise DTypeError(
            lesson("masked_fill: the mask must be bool", [("mask", mask)], "mask.bool()")
        )
    value = scalar_like(input, value)
    if isinstance(value, int | float):
        value = full(shape=(), value=value, dtype=input.dtype)
    return where(mask, value, input)


def take(input: Any, index: Any) -> Any:
    """The elements of the flattened ``input`` at ``index``, in the shape of the index.

    >>> import contraflow as cf
    >>> cf.take(cf.tensor([[1, 2], [3, 4]]), cf.tensor([0, -1]))
    tensor([1, 4])
    """
    read_index(index, "take")
    count = prod(input.shape)
    flat = ravel_index(index, sizes=(count,))
    return select_op(reshape_to(input, shape=(count,)), flat, dim=0)


def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """The elements of ``input`` along ``dim`` at ``indices``, as argmax or argsort return them.

    ``input`` and ``indices`` broadcast in the other dimensions; without ``dim`` both are flattened.

    >>> import contraflow as cf
    >>> x = cf.tensor([[3, 1, 2]])
    >>> cf.take_along_dim(x, cf.tensor([[1, 2, 0]]), dim=1)
    tensor([[1, 2, 3]])
    """
    read_index(indices, "take_along_dim")
    if dim is None:
        return take(input, reshape_to(indices, shape=(prod(indices.shape),)))
    if input.ndim != indices.ndim:
        raise ShapeError(
            lesson(
                "take_along_dim: x and indices need the same number of dimensions",
                [("input", input), ("indices", indices)],
                "indices.unsqueeze(dim)",
            )
        )
    dim = read_dim(dim, input.ndim)
    size, count = input.shape[dim], indices.shape[dim]
    around = broadcast(
        tuple(1 if d == dim else n for d, n in enumerate(input.shape)),
        tuple(1 if d == dim else n for d, n in enumerate(indices.shape)),
    )
    input = expand(input, shape=(*around[:dim], size, *around[dim + 1 :]))
    indices = expand(indices, shape=(*around[:dim], count, *around[dim + 1 :]))
    return gather_op(input, ravel_index(indices, sizes=(size,)), dim=dim)


def merge_dims(x: Any, dims: Shape) -> tuple[Any, int, Any]:
    """``x`` with the dimensions ``dims`` as a single one: (merged, where it is, way back).

    Neighbours merge in place; others move to the front, as indexing with arrays does.
    """
    shape = tuple(x.shape)
    if dims == tuple(range(dims[0], dims[0] + len(dims))):
        at, order = dims[0], None
    else:
        rest = tuple(d for d in range(len(shape)) if d not in dims)
        at, order = 0, (*dims, *rest)
        x = permute_dims(x, dims=order)
    moved = tuple(x.shape)
    size = prod(shape[d] for d in dims)
    if len(dims) != 1:
        x = reshape_to(x, shape=(*moved[:at], size, *moved[at + len(dims) :]))

    def back(y: Any) -> Any:
        y = y if len(dims) == 1 else reshape_to(y, shape=moved)
        if order is None:
            return y
        return permute_dims(y, dims=tuple(int(i) for i in np.argsort(order)))

    return x, at, back
