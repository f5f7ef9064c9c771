"""Reading and writing by integer indices: slabs (``index_select``) and elements (``gather``).

Every index of an op is an integer tensor with values 0..size-1; anything else is an error that
shows the value. Where an index occurs more than once, values are added (or written) in the order
of the index, always the same.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import ArgumentError, DTypeError, IndexOutOfRange, ShapeError, lesson
from contraflow.base.shapes import Shape, broadcast, read_dim
from contraflow.ops.arith import eq, lt, where, where_op
from contraflow.ops.cast import convert
from contraflow.ops.creation import full
from contraflow.ops.record import Aval, Op, Sample, op
from contraflow.ops.rules import rand
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


# ---- the functions -----------------------------------------------------------------------------


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
