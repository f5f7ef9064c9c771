"""Reductions over dimensions. Attributes: ``dims`` (sorted, non-negative) and ``keepdim``."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import DType, bool_, int64, uint8
from contraflow.base.errors import DTypeError, EmptyError, ShapeError, lesson
from contraflow.base.shapes import Shape, read_dims
from contraflow.ops.arith import eq, ne, where_op
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_tensors
from contraflow.ops.record import Aval, Sample, op
from contraflow.ops.rules import rand
from contraflow.ops.scan import cumprod_op, neighbour, widened
from contraflow.ops.view import expand, permute_dims, reshape_to

__all__ = [
    "all", "amax", "amin", "any", "count_nonzero", "mean", "nanmean", "nansum", "prod", "sum",
]  # fmt: skip
METHODS = (*__all__,)

Array = np.ndarray[Any, Any]


def kept(shape: Shape, dims: Shape) -> Shape:
    """The shape with the reduced dimensions kept as 1."""
    return tuple([1 if d in dims else size for d, size in enumerate(shape)])


def reduced(x: Aval, dims: Shape, keepdim: bool, dtype: DType | None = None) -> Aval:
    """The shape rule of reductions."""
    if keepdim:
        return Aval(kept(x.shape, dims), dtype or x.dtype)
    sizes = tuple(size for d, size in enumerate(x.shape) if d not in dims)
    return Aval(sizes, dtype or x.dtype)


def spread(g: Any, x_aval: Aval, dims: Shape) -> Any:
    """A reduced value stretched back over the dimensions it was reduced from."""
    if g.ndim and g.ndim != x_aval.ndim:
        g = reshape_to(g, shape=kept(x_aval.shape, dims))
    return expand(g, shape=x_aval.shape)


def count(shape: Shape, dims: Shape) -> int:
    """How many elements each result is reduced from."""
    n = 1
    for d in dims:
        n *= shape[d]
    return n


def reduction_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 3, 4), dims=(0, 1), keepdim=False),
        Sample(rand(rng, 2, 3, 4), dims=(1,), keepdim=True),
        Sample(rand(rng, 2, 3, 4), dims=(0, 2), keepdim=False),
        Sample(rand(rng), dims=(), keepdim=False),
        Sample(rand(rng, 3, 0), dims=(0,), keepdim=False),
    ]


# ---- sums --------------------------------------------------------------------------------------

SMALL = 8192  # up to here one NumPy call is exact enough, and the fastest
add_up: Any = np.add.reduce  # NumPy's stubs know keepdims only as a literal
FOLD = 64  # so many rows are added one by one; more are added in a tree


def total(x: Array, dims: Shape, keepdim: bool) -> Any:
    """The sum, in x's dtype, with an error like that of adding pairwise."""
    if x.dtype.kind != "f" or (x.size <= SMALL and x.dtype.char != "e"):
        return add_up(x, axis=dims, keepdims=keepdim, dtype=x.dtype)
    wide = x.astype(np.float32) if x.dtype.char == "e" else x
    y = _tree_sum(wide, dims).astype(x.dtype, copy=False)
    return y.reshape(kept(x.shape, dims)) if keepdim else y


def _tree_sum(x: Array, dims: Shape) -> Any:
    """NumPy adds pairwise only along contiguous memory. Elsewhere a float32 sum of n rows loses
    digits in proportion to n, so rows are folded onto each other, and the few left are added."""
    if len(dims) == x.ndim and x.flags.forc:
        return np.add.reduce(x.ravel("K"))
    for d in reversed(dims):
        if x.strides[d] == x.itemsize:  # pairwise
            x = np.add.reduce(x, axis=d)
            continue
        while x.shape[d] > FOLD and x.size:
            x = _folded(x, d)
        x = np.add.reduce(x, axis=d)
    return x


def _folded(x: Array, d: int) -> Array:
    """Add FOLD slabs of the n rows along ``d``: ceil(n / FOLD) rows are left."""
    n, (before, after) = x.shape[d], (x.shape[:d], x.shape[d + 1 :])
    whole, rest = divmod(n, FOLD)
    head, tail = np.split(x, [whole * FOLD], axis=d)
    y: Array = np.add.reduce(head.reshape(*before, FOLD, whole, *after), axis=d)
    if rest:
        tail = np.add.reduce(tail, axis=d, keepdims=True)
        y = np.concatenate([y, tail], axis=d)
    return y


reduce_sum = op(
    "sum", "x",
    forward=total, shape=reduced, samples=reduction_samples,
    grad=lambda g, x_aval, dims: spread(g, x_aval, dims),
)  # fmt: skip


def _mean(x: Array, dims: Shape, keepdim: bool) -> Any:
    n = count(x.shape, dims)
    if x.dtype.char == "e":  # neither the sum nor n need fit into float16
        return np.asarray(_mean(x.astype(np.float32), dims, keepdim)).astype(x.dtype)
    return total(x, dims, keepdim) / x.dtype.type(n) if n else total(x, dims, keepdim) * np.nan


def _mean_in_ops(x: Any, dims: Shape, keepdim: bool) -> Any:
    n = count(x.shape, dims)
    return reduce_sum(x, dims=dims, keepdim=keepdim) * (1.0 / n if n else float("nan"))


reduce_mean = op(
    "mean", "x",
    forward=_mean, definition=_mean_in_ops, shape=reduced, samples=reduction_samples,
    grad=lambda g, x_aval, dims: spread(g / float(count(x_aval.shape, dims)), x_aval, dims),
)  # fmt: skip


# ---- products ----------------------------------------------------------------------------------


def _others(x: Any, dims: Shape) -> Any:
    """For each element, the product of all the others it is reduced with: no division, so zeros
    are fine, and it can be differentiated again."""
    stay = tuple(d for d in range(x.ndim) if d not in dims)
    order = (*stay, *dims)
    sizes = tuple(x.shape[d] for d in order)
    flat = reshape_to(
        permute_dims(x, dims=order), shape=(*sizes[: len(stay)], count(x.shape, dims))
    )
    last = len(stay)
    before = neighbour(cumprod_op(flat, dim=last, reverse=False), last, -1, 1)
    after = neighbour(cumprod_op(flat, dim=last, reverse=True), last, 1, 1)
    inverse = tuple(order.index(d) for d in range(x.ndim))
    return permute_dims(reshape_to(before * after, shape=sizes), dims=inverse)


def _prod_samples(rng: np.random.Generator) -> list[Sample]:
    zeros = rand(rng, 3, 4)
    zeros[0, 1] = zeros[1, 0] = zeros[1, 2] = 0  # a row with one zero, and one with two
    return [*reduction_samples(rng), Sample(zeros, dims=(1,), keepdim=False)]


reduce_prod = op(
    "prod", "x",
    forward=lambda x, dims, keepdim: np.multiply.reduce(
        x, axis=dims, keepdims=keepdim, dtype=x.dtype
    ),
    shape=reduced, samples=_prod_samples,
    grad=lambda g, x, x_aval, dims: spread(g, x_aval, dims) * _others(x, dims),
)  # fmt: skip


# ---- extrema -----------------------------------------------------------------------------------


def nonempty(x: Aval, dims: Shape, keepdim: bool, dtype: DType | None = None) -> Aval:
    """The shape rule of reductions that need at least one element."""
    if 0 in [x.shape[d] for d in dims]:
        raise EmptyError(
            lesson(
                "the maximum or minimum over no elements does not exist",
                [("input", x)],
                "check x.numel() > 0 first, or reduce over a dimension that has elements",
            )
        )
    return reduced(x, dims, keepdim, dtype)


def evenly(g: Any, x: Any, y: Any, x_aval: Aval, dims: Shape) -> Any:
    """The elements that reach the extremum share its gradient, as in PyTorch's amax."""
    reached = convert(eq(x, spread(y, x_aval, dims)), dtype=x_aval.dtype)
    share = reached / reduce_sum(reached, dims=dims, keepdim=True)
    return spread(g, x_aval, dims) * share


def _extremum_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        *reduction_samples(rng),
        Sample(np.array([[1, 3, 3], [2, 2, 0]]), dims=(1,), keepdim=False),
        Sample(np.zeros((0, 3)), dims=(0,), keepdim=False, error=ShapeError),
    ]


reduce_max = op(
    "amax", "x",
    forward=lambda x, dims, keepdim: np.maximum.reduce(x, axis=dims, keepdims=keepdim),
    shape=nonempty, samples=_extremum_samples, grad=evenly,
)  # fmt: skip

reduce_min = op(
    "amin", "x",
    forward=lambda x, dims, keepdim: np.minimum.reduce(x, axis=dims, keepdims=keepdim),
    shape=nonempty, samples=_extremum_samples, grad=evenly,
)  # fmt: skip


# ---- truth -------------------------------------------------------------------------------------


def _truth(x: Aval, dims: Shape, keepdim: bool) -> Aval:
    return reduced(x, dims, keepdim, bool_)


def _truth_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 3, 4) > 0, dims=(1,), keepdim=False),
        Sample(np.array([[0.0, 1.5], [2.0, -1.0]]), dims=(0, 1), keepdim=True),
        Sample(np.zeros((0, 3), bool), dims=(0,), keepdim=False),
    ]


reduce_all = op(
    "all", "x",
    forward=lambda x, dims, keepdim: np.logical_and.reduce(x, axis=dims, keepdims=keepdim),
    shape=_truth, samples=_truth_samples,
)  # fmt: skip

reduce_any = op(
    "any", "x",
    forward=lambda x, dims, keepdim: np.logical_or.reduce(x, axis=dims, keepdims=keepdim),
    shape=_truth, samples=_truth_samples,
)  # fmt: skip


# ---- the public functions (from here on `sum`, `max`, `all`... are these) ------------------------

EVERY = tuple([tuple(range(n)) for n in range(8)])  # the dims of a whole tensor, by ndim


def read_over(what: str, x: Any, dim: Any) -> Shape:
    """The dims to reduce over, once it is known that ``x`` is a tensor."""
    try:
        ndim = len(x._value.shape)
    except AttributeError:
        check_tensors(what, input=x)
        raise
    return EVERY[ndim] if dim is None and ndim < 8 else read_dims(dim, ndim)


def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Any:
    """The sum over ``dim`` (an int, several, or None for all). Integers and bool sum as int64.

    Raises:
        IndexOutOfRange: if a dimension does not exist.

    >>> import contraflow as cf
    >>> cf.sum(cf.ones(2, 3), dim=1)
    tensor([3., 3.])
    """
    dims = read_over("sum", input, dim)
    if dtype is not None or input._value.dtype.kind != "f":
        input = convert(input, dtype=dtype or int64)
    return reduce_sum(input, dims=dims, keepdim=keepdim)


def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Any:
    """The mean over ``dim`` (an int, several, or None for all) of a floating tensor.

    Raises:
        DTypeError: for integers and bool; ``x.float().mean()``.
        IndexOutOfRange: if a dimension does not exist.

    >>> import contraflow as cf
    >>> cf.mean(cf.tensor([[1.0, 2.0], [3.0, 6.0]]), dim=0)
    tensor([2., 4.])
    """
    dims = read_over("mean", input, dim)
    if dtype is not None and input.dtype is not dtype:
        input = convert(input, dtype=dtype)
    if input._value.dtype.kind != "f":
        floating("mean", input, f"x.float().mean({'' if dim is None else f'dim={dim}'})")
    return reduce_mean(input, dims=dims, keepdim=keepdim)


def floating(what: str, x: Any, fix: str = "x.float()") -> None:
    """The statistic exists for floating tensors only: it would not be an integer."""
    check_tensors(what, input=x)
    if not x.dtype.is_floating_point:
        raise DTypeError(
            lesson(
                f"{what} needs a floating-point tensor, not {x.dtype.name}",
                [("input", x.aval)],
                fix,
            )
        )


def prod(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Any:
    """The product over ``dim`` (None for all). Integers and bool multiply as int64.

    >>> import contraflow as cf
    >>> cf.prod(cf.tensor([2.0, 3.0, 4.0]))
    tensor(24.)
    """
    dims = read_over("prod", input, dim)
    return reduce_prod(widened(input, dtype), dims=dims, keepdim=keepdim)


def amax(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The maximum over ``dim`` (an int, several, or None for all); equal ones share its gradient.

    Raises:
        ShapeError: if there are no elements to choose from.

    >>> import contraflow as cf
    >>> cf.amax(cf.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=1)
    tensor([4., 3.])
    """
    return reduce_max(input, dims=read_over("amax", input, dim), keepdim=keepdim)


def amin(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The minimum over ``dim`` (an int, several, or None for all); equal ones share its gradient.

    Raises:
        ShapeError: if there are no elements to choose from.

    >>> import contraflow as cf
    >>> cf.amin(cf.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=1)
    tensor([1., 2.])
    """
    return reduce_min(input, dims=read_over("amin", input, dim), keepdim=keepdim)


def _true(record: Any, x: Any, dim: Any, keepdim: bool) -> Any:
    dims = read_over(record.name, x, dim)
    if isinstance(dim, tuple | list) and not dim:
        dims = ()  # here, other than in sums, no dimension means none
    truth = record(x, dims=dims, keepdim=keepdim)
    return convert(truth, dtype=uint8) if x.dtype is uint8 else truth  # as in PyTorch


def all(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether all elements over ``dim`` (None for all) are true, that is not 0. Bool (uint8 for
    uint8).

    >>> import contraflow as cf
    >>> cf.all(cf.tensor([[True, True], [True, False]]), dim=1)
    tensor([ True, False])
    """
    return _true(reduce_all, input, dim, keepdim)


def any(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether any element over ``dim`` (None for all) is true, that is not 0. Bool (uint8 for
    uint8).

    >>> import contraflow as cf
    >>> cf.any(cf.tensor([[False, True], [False, False]]), dim=1)
    tensor([ True, False])
    """
    return _true(reduce_any, input, dim, keepdim)


def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements over ``dim`` (None for all) are not 0, as int64.

    >>> import contraflow as cf
    >>> cf.count_nonzero(cf.tensor([[1, 0], [2, 3]]), dim=1)
    tensor([1, 2])
    """
    dims = read_over("count_nonzero", input, dim)
    return reduce_sum(convert(ne(input, 0), dtype=int64), dims=dims, keepdim=False)


def nansum(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Any:
    """The sum that takes NaN as 0.

    >>> import contraflow as cf
    >>> cf.nansum(cf.tensor([1.0, float("nan"), 2.0]))
    tensor(3.)
    """
    check_tensors("nansum", input=input)
    if input.dtype.is_floating_point:
        input = where_op(ne(input, input), 0.0, input)
    return sum(input, dim, keepdim, dtype=dtype)


def nanmean(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Any:
    """The mean of the elements that are not NaN; NaN if there are none.

    Raises:
        DTypeError: for integers and bool; ``x.float()``.

    >>> import contraflow as cf
    >>> cf.nanmean(cf.tensor([1.0, float("nan"), 2.0]))
    tensor(1.5000)
    """
    floating("nanmean", input)
    number = convert(eq(input, input), dtype=dtype or input.dtype)
    return nansum(input, dim, keepdim, dtype=dtype) / sum(number, dim, keepdim)
