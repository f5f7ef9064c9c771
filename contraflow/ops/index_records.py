"""The records behind indexing by integers: slabs and elements, read, written and added.

Every index of an op is an integer tensor with values 0..size-1; anything else is an error that
shows the value. Where an index occurs more than once, values are added (or written) in the order
of the index, always the same.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import DTypeError, IndexOutOfRange, ShapeError, lesson
from contraflow.base.shapes import Shape, broadcast
from contraflow.ops.arith import eq, where
from contraflow.ops.cast import convert
from contraflow.ops.record import Aval, Op, Sample, op
from contraflow.ops.rules import rand
from contraflow.ops.view import zeros_of

__all__: list[str] = []

Array = np.ndarray[Any, Any]


def in_range(index: Array, size: int, what: str, dim: int) -> Array:
    """The index as int64, after checking that it lies in 0..size-1."""
    if index.dtype != np.int64:
        index = index.astype(np.int64)
    # seen as unsigned, negative values are huge: one comparison finds both kinds of errors
    if index.size and index.view(np.uint64).max() >= size:
        bad = int(index[(index < 0) | (index >= size)][0])
        raise out_of_range(what, bad, size, dim)
    return index


def out_of_range(what: str, value: int, size: int, dim: int) -> IndexOutOfRange:
    """The error for an index that does not exist."""
    fix = f"indices from 0 to {size - 1}" if size else "there is nothing to index: the size is 0"
    return IndexOutOfRange(
        lesson(
            f"{what}: index {value} does not exist in dimension {dim} of size {size}",
            [("index", value), ("size", size)],
            fix,
        )
    )


def read_index(index: Any, what: str) -> Any:
    """The index tensor, if it is one of integers."""
    dtype = getattr(index, "dtype", None)
    if dtype is None or getattr(dtype, "category", 1) != 1:
        raise DTypeError(
            lesson(
                f"{what}: the index must be an integer tensor",
                [("index", index if dtype is not None else repr(index)[:60])],
                "cf.tensor([0, 2, 1]), or index.long()",
            )
        )
    return index


def agree(what: str, x: Aval, src: Aval) -> None:
    """Source and target have one dtype."""
    if x.dtype is not src.dtype:
        raise DTypeError(
            lesson(
                f"{what}: the source must have the tensor's dtype",
                [("x", x), ("src", src)],
                "src.to(x.dtype)",
            )
        )


# ---- slabs: an index of any shape takes the place of one dimension -----------------------------


def _select_shape(x: Aval, index: Aval, dim: int) -> Aval:
    return Aval((*x.shape[:dim], *index.shape, *x.shape[dim + 1 :]), x.dtype)


def _select(x: Array, index: Array, dim: int) -> Array:
    index = in_range(index, x.shape[dim], "index_select", dim)
    return x.take(index, axis=dim, mode="clip")  # clip: checked above, NumPy need not


def _put_shape(x: Aval, index: Aval, src: Aval, dim: int) -> Aval:
    wanted = _select_shape(x, index, dim).shape
    if src.shape != wanted:
        raise ShapeError(
            lesson(
                f"index_add: the source must have shape {list(wanted)}",
                [("x", x), ("index", index), ("src", src)],
            )
        )
    agree("index_add", x, src)
    return x


def _slabs(x: Array, index: Array, src: Array, dim: int) -> tuple[Array, Array, Array]:
    """A copy of x, its slabs along dim as rows [size, inner], and the sources as rows."""
    whole = x.copy(order="C")
    if src.shape != (*x.shape[:dim], *index.shape, *x.shape[dim + 1 :]):
        raise ValueError("the shapes do not fit")
    rows = np.moveaxis(whole, dim, 0)
    k = index.ndim
    src = np.moveaxis(src, range(dim, dim + k), range(k))
    return whole, rows, src.reshape(index.size, *rows.shape[1:])


def _index_add(x: Array, index: Array, src: Array, dim: int) -> Array:
    index = in_range(index, x.shape[dim], "index_add", dim)
    whole, rows, src = _slabs(x, index, src, dim)
    index = index.reshape(-1)
    if dim == 0 and rows.size:
        # NumPy adds at single positions four times faster than at rows
        inner = prod(rows.shape[1:])
        flat = index if inner == 1 else (index[:, None] * inner + np.arange(inner)).reshape(-1)
        np.add.at(whole.reshape(-1), flat, src.reshape(-1))
    else:
        np.add.at(rows, index, src)
    return whole


def _index_copy(x: Array, index: Array, src: Array, dim: int) -> Array:
    index = in_range(index, x.shape[dim], "index_copy", dim)
    whole, rows, src = _slabs(x, index, src, dim)
    rows[index.reshape(-1)] = src
    return whole


def _select_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 4, 3), np.array([2, 0, 2]), dim=0),
        Sample(rand(rng, 2, 4, 3), np.array([[3, 0], [1, 1]]), dim=1),
        Sample(rand(rng, 4), np.array(3), dim=0),
        Sample(rand(rng, 4, 2), np.array([], np.int64), dim=0),
        Sample(rand(rng, 4), np.array([4]), dim=0, error=IndexOutOfRange),
        Sample(rand(rng, 4), np.array([-1]), dim=0, error=IndexOutOfRange),
    ]


def _put_samples(repeats: bool) -> Any:
    def make(rng: np.random.Generator) -> list[Sample]:
        again = 0 if repeats else 2
        return [
            Sample(rand(rng, 4, 3), np.array([3, 0, 0 if repeats else 1]), rand(rng, 3, 3), dim=0),
            Sample(
                rand(rng, 2, 4, 3), np.array([[3, 0], [1, again]]), rand(rng, 2, 2, 2, 3), dim=1
            ),
            Sample(rand(rng, 4), np.array(3), rand(rng), dim=0),
            Sample(rand(rng, 4), np.array([4]), rand(rng, 1), dim=0, error=IndexOutOfRange),
            Sample(rand(rng, 4), np.array([1]), rand(rng, 2), dim=0, error=ShapeError),
        ]

    return make


# x[:, index, :], the index standing at dimension `dim`; what an embedding does
select_op = op(
    "index_select", "x index",
    forward=_select, shape=_select_shape, samples=_select_samples,
    grad={"x": lambda g, x_aval, index, dim: index_add_op(zeros_of(x_aval), index, g, dim=dim)},
)  # fmt: skip

index_add_op: Op = op(
    "index_add", "x index src",
    forward=_index_add, shape=_put_shape, samples=_put_samples(repeats=True),
    grad={"x": lambda g: g, "src": lambda g, index, dim: select_op(g, index, dim=dim)},
)  # fmt: skip

index_copy_op: Op = op(
    "index_copy", "x index src",
    forward=_index_copy, shape=_put_shape, samples=_put_samples(repeats=False),
    grad={
        "x": lambda g, index, src_aval, dim: index_copy_op(g, index, zeros_of(src_aval), dim=dim),
        "src": lambda g, index, dim: select_op(g, index, dim=dim),
    },
)  # fmt: skip


def _ravel(*indices: Array, sizes: Shape) -> Array:
    flat: Any = 0
    for d, (index, size) in enumerate(zip(indices, sizes, strict=True)):
        index = index.astype(np.int64)
        low = (index < 0) & (index >= -size)
        flat = flat * size + in_range(np.where(low, index + size, index), size, "index", d)
    return np.asarray(flat)


# Several indices that broadcast, one for each of the dimensions `sizes`, negative ones counting
# from the end, as one index into the flattened dimensions. No gradient: these are integers.
ravel_index = op(
    "ravel_index", "*indices",
    forward=_ravel,
    shape=lambda *indices, sizes: Aval(broadcast(*(i.shape for i in indices)), int64),
    samples=lambda rng: [
        Sample(np.array([0, -1, 2]), sizes=(3,)),
        Sample(np.array([[0], [-1]]), np.array([1, 0, -4]), sizes=(3, 4)),
        Sample(np.array([0, 3]), sizes=(3,), error=IndexOutOfRange),
        Sample(np.array([0, -4]), sizes=(3,), error=IndexOutOfRange),
    ],
)  # fmt: skip


# ---- elements: an index for every element of the result ----------------------------------------


def _check_gather(what: str, x: Aval, index: Aval, dim: int) -> None:
    fits = len(index.shape) == len(x.shape) and all(
        n <= m for d, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)) if d != dim
    )
    if not fits:
        raise ShapeError(
            lesson(
                f"{what}: the index needs as many dimensions as x, and no size larger than x's "
                f"except in dimension {dim}",
                [("x", x), ("index", index)],
                "index.unsqueeze(dim) adds the missing dimension",
            )
        )


def _gather_shape(x: Aval, index: Aval, dim: int) -> Aval:
    _check_gather("gather", x, index, dim)
    return Aval(index.shape, x.dtype)


def _grid(x: Array, index: Array, what: str, dim: int) -> tuple[Array, ...]:
    """Where each element of the index points: one array for each dimension of x."""
    _check_gather(what, x, index, dim)  # type: ignore[arg-type]
    rank = x.ndim
    if rank == 0:
        in_range(index, 1, what, dim)
        return ()
    grid = [np.arange(n).reshape((n,) + (1,) * (rank - 1 - d)) for d, n in enumerate(index.shape)]
    grid[dim] = in_range(index, x.shape[dim], what, dim)
    return tuple(grid)


def _flat(grid: tuple[Array, ...], shape: Shape) -> Array:
    flat: Any = 0
    for index, size in zip(grid, shape, strict=True):
        flat = flat * size + index
    return np.asarray(flat).reshape(-1)


def _gather(x: Array, index: Array, dim: int) -> Array:
    grid = _grid(x, index, "gather", dim)
    return x[grid] if grid else x.copy()


def _scatter_shape(x: Aval, index: Aval, src: Aval, dim: int, **_: Any) -> Aval:
    _check_gather("scatter", x, index, dim)
    if src.shape != index.shape:
        raise ShapeError(
            lesson(
                "scatter: the source must have the shape of the index",
                [("x", x), ("index", index), ("src", src)],
            )
        )
    agree("scatter", x, src)
    return x


def _scatter_at(ufunc: np.ufunc | None, x: Array, index: Array, src: Array, dim: int) -> Array:
    if src.shape != index.shape:
        raise ValueError("the source must have the shape of the index")
    where_to = _flat(_grid(x, index, "scatter", dim), x.shape)
    whole = x.copy(order="C")
    if ufunc is None:
        whole.reshape(-1)[where_to] = src.reshape(-1)
    else:
        ufunc.at(whole.reshape(-1), where_to, src.reshape(-1))
    return whole


def _gather_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 3, 4), np.array([[0], [3], [3]]), dim=1),
        Sample(rand(rng, 3, 4), np.array([[0, 2, 2], [1, 1, 0]]), dim=0),
        Sample(rand(rng, 2, 3, 4), np.array([[[1, 0], [2, 2]]]), dim=1),
        Sample(rand(rng, 4), np.array([], np.int64), dim=0),
        Sample(rand(rng), np.array(0), dim=0),
        Sample(rand(rng, 3, 4), np.array([[4]]), dim=1, error=IndexOutOfRange),
        Sample(rand(rng, 3, 4), np.array([[-1]]), dim=1, error=IndexOutOfRange),
        Sample(rand(rng, 3, 4), np.array([0, 1]), dim=1, error=ShapeError),
    ]


def _scatter_samples(repeats: bool, **attrs: Any) -> Any:
    def make(rng: np.random.Generator) -> list[Sample]:
        again = 2 if repeats else 1
        table = np.array([[0, 2, again], [1, again - 1, 0]])
        return [
            Sample(rand(rng, 3, 4), np.array([[0], [3], [3]]), rand(rng, 3, 1), dim=1, **attrs),
            Sample(rand(rng, 3, 4), table, rand(rng, 2, 3), dim=0, **attrs),
            Sample(rand(rng, 4), np.array([], np.int64), rand(rng, 0), dim=0, **attrs),
            Sample(
                rand(rng, 3, 4),
                np.array([[4]]),
                rand(rng, 1, 1),
                dim=1,
                error=IndexOutOfRange,
                **attrs,
            ),
            Sample(
                rand(rng, 3, 4), np.array([[1]]), rand(rng, 2, 1), dim=1, error=ShapeError, **attrs
            ),
        ]

    return make


gather_op = op(
    "gather", "x index",
    forward=_gather, shape=_gather_shape, samples=_gather_samples,
    grad={"x": lambda g, x_aval, index, dim: scatter_add_op(zeros_of(x_aval), index, g, dim=dim)},
)  # fmt: skip

scatter_add_op: Op = op(
    "scatter_add", "x index src",
    forward=lambda x, index, src, dim: _scatter_at(np.add, x, index, src, dim),
    shape=_scatter_shape, samples=_scatter_samples(repeats=True),
    grad={"x": lambda g: g, "src": lambda g, index, dim: gather_op(g, index, dim=dim)},
)  # fmt: skip

scatter_op: Op = op(
    "scatter", "x index src",
    forward=lambda x, index, src, dim: _scatter_at(None, x, index, src, dim),
    shape=_scatter_shape, samples=_scatter_samples(repeats=False),
    grad={
        "x": lambda g, index, src_aval, dim: scatter_op(g, index, zeros_of(src_aval), dim=dim),
        "src": lambda g, index, dim: gather_op(g, index, dim=dim),
    },
)  # fmt: skip

AT = {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


def _reduce_grad(
    g: Any, x: Any, index: Any, src: Any, y: Any, dim: int, reduce: str
) -> tuple[Any, None, Any]:
    if reduce == "prod":
        return _prod_grad(g, x, index, src, dim)
    # all elements that reach the extremum share its gradient evenly
    in_x = convert(eq(x, y), dtype=x.dtype)
    in_src = convert(eq(src, gather_op(y, index, dim=dim)), dtype=x.dtype)
    share = g / scatter_add_op(in_x, index, in_src, dim=dim)
    return share * in_x, None, gather_op(share, index, dim=dim) * in_src


def _prod_grad(g: Any, x: Any, index: Any, src: Any, dim: int) -> tuple[Any, None, Any]:
    """Each factor's gradient is the product of the others: of all, or of those that are not 0."""
    x0, src0 = eq(x, 0), eq(src, 0)
    zeros = scatter_add_op(convert(x0, dtype=x.dtype), index, convert(src0, dtype=x.dtype), dim=dim)
    rest = scatter_reduce_op(
        where(x0, 1.0, x), index, where(src0, 1.0, src), dim=dim, reduce="prod"
    )
    at_zero = where(eq(zeros, 1), rest, 0.0) * g
    elsewhere = where(eq(zeros, 0), rest, 0.0) * g

    def factor(a: Any, a0: Any, zero: Any, other: Any) -> Any:
        return where(a0, zero, other / where(a0, 1.0, a))

    of_src = factor(
        src, src0, gather_op(at_zero, index, dim=dim), gather_op(elsewhere, index, dim=dim)
    )
    return factor(x, x0, at_zero, elsewhere), None, of_src


scatter_reduce_op = op(
    "scatter_reduce", "x index src",
    forward=lambda x, index, src, dim, reduce: _scatter_at(AT[reduce], x, index, src, dim),
    shape=_scatter_shape,
    grad=_reduce_grad,
    samples=lambda rng: [
        sample for name in AT for sample in _scatter_samples(repeats=True, reduce=name)(rng)
    ],
)  # fmt: skip
