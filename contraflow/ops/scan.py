"""Scans: each result depends on the elements up to its own. Attributes: ``dim``, ``reverse``.

``recurrence`` is the linear scan s_i = a_i s_{i-1} + b_i. Its gradient is the same scan in the
other direction, so the gradients of running products are exact at zeros and at any order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import DType, bool_, int64
from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import read_dim
from contraflow.ops.arith import eq, ne, sub_op, where_op
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_tensors
from contraflow.ops.index_records import gather_op
from contraflow.ops.record import OPS, Aval, Op, Sample, op
from contraflow.ops.results import named
from contraflow.ops.rules import rand, same
from contraflow.ops.transcendental import exp
from contraflow.ops.view import reshape_to, slice_dims, view_put

__all__ = ["cummax", "cummin", "cumprod", "cumsum", "diff", "logcumsumexp"]
METHODS = (*__all__,)
INPLACE = ("cumprod", "cumsum")

Array = np.ndarray[Any, Any]


def neighbour(x: Any, dim: int, step: int, fill: float) -> Any:
    """x_{i + step} at each place i along ``dim`` (step is 1 or -1), and ``fill`` beyond the end."""
    size = x.shape[dim]
    if size == 0:
        return x
    first, rest = [(0, n, 1) for n in x.shape], [(0, n, 1) for n in x.shape]
    first[dim], rest[dim] = (0, size - 1, 1), (1, size, 1)
    source, target = (rest, first) if step == 1 else (first, rest)
    whole = OPS["full"](shape=tuple(x.shape), value=fill, dtype=x.dtype)
    part = slice_dims(x, bounds=tuple(source))
    return view_put(whole, part, view="slice", attrs=(("bounds", tuple(target)),))


def _accumulate(ufunc: Any, x: Array, dim: int, reverse: bool) -> Array:
    # float32 and float16 add up in the next wider dtype: a long sum keeps its digits
    wide = x.dtype if x.dtype.kind != "f" or x.itemsize == 8 else np.float64
    if reverse:
        x = np.flip(x, dim)
    y = ufunc.accumulate(x, axis=dim, dtype=wide).astype(x.dtype, copy=False)
    return np.ascontiguousarray(np.flip(y, dim)) if reverse else y


def _samples(rng: np.random.Generator) -> list[Sample]:
    zeros = rand(rng, 3, 5)
    zeros[:, 1] = zeros[1, 3] = 0  # products: one zero, and two in a row
    return [
        Sample(rand(rng, 3, 4), dim=1, reverse=False),
        Sample(rand(rng, 2, 5, 3), dim=1, reverse=True),
        Sample(zeros, dim=1, reverse=False),
        Sample(zeros, dim=0, reverse=True),
        Sample(np.zeros((2, 0)), dim=1, reverse=False),
    ]


cumsum_op: Op = op(
    "cumsum", "x",
    forward=lambda x, dim, reverse: _accumulate(np.add, x, dim, reverse),
    shape=same, samples=_samples,
    grad=lambda g, dim, reverse: cumsum_op(g, dim=dim, reverse=not reverse),
)  # fmt: skip


def _recurrence(a: Array, b: Array, dim: int, reverse: bool) -> Array:
    # log2(n) passes over the whole array: after each, s_i holds twice as many terms
    if reverse:
        a, b = np.flip(a, dim), np.flip(b, dim)
    s = b.copy(order="C")
    factors, sums = np.moveaxis(a.copy(), dim, 0), np.moveaxis(s, dim, 0)
    step = 1
    while step < len(sums):
        sums[step:] += factors[step:] * sums[:-step]
        factors[step:] = factors[step:] * factors[:-step]
        step *= 2
    return np.ascontiguousarray(np.flip(s, dim)) if reverse else s


def _recurrence_shape(a: Aval, b: Aval, dim: int, reverse: bool) -> Aval:
    if a.shape != b.shape:
        raise ShapeError(
            lesson(
                "recurrence: a and b must have one shape", [("a", a), ("b", b)], "a.expand_as(b)"
            )
        )
    return b


def _grad_recurrence(g: Any, a: Any, y: Any, dim: int, reverse: bool) -> tuple[Any, Any]:
    # lambda_i = g_i + a_{i+1} lambda_{i+1}; dL/db = lambda, dL/da_i = lambda_i s_{i-1}
    after = -1 if reverse else 1
    grad_b = recurrence(neighbour(a, dim, after, 0), g, dim=dim, reverse=not reverse)
    return grad_b * neighbour(y, dim, -after, 0), grad_b


recurrence = op(
    "recurrence", "a b",
    forward=_recurrence, shape=_recurrence_shape, promote="float", grad=_grad_recurrence,
    samples=lambda rng: [
        Sample(rand(rng, 7), rand(rng, 7), dim=0, reverse=False),
        Sample(rand(rng, 2, 5), rand(rng, 2, 5), dim=1, reverse=True),
        Sample(rand(rng, 4, 2), rand(rng, 4, 2), dim=0, reverse=False),
        Sample(rand(rng, 3), rand(rng, 4), dim=0, reverse=False, error=ShapeError),
    ],
)  # fmt: skip


def _grad_cumprod(g: Any, x: Any, y: Any, dim: int, reverse: bool) -> Any:
    # dL/dx_i = (x_0 ... x_{i-1}) sum_{k >= i} g_k x_{i+1} ... x_k: no division, so zeros are fine
    after = -1 if reverse else 1
    rest = recurrence(neighbour(x, dim, after, 0), g, dim=dim, reverse=not reverse)
    return neighbour(y, dim, -after, 1) * rest


cumprod_op = op(
    "cumprod", "x",
    forward=lambda x, dim, reverse: _accumulate(np.multiply, x, dim, reverse),
    shape=same, samples=_samples, grad=_grad_cumprod,
)  # fmt: skip


def _grad_logcumsumexp(g: Any, x: Any, y: Any, dim: int) -> Any:
    # dL/dx_i = e^(x_i - y_i) R_i with R_i = g_i + e^(y_i - y_{i+1}) R_{i+1}: exponents are <= 0
    def gap(a: Any, b: Any) -> Any:
        return exp(where_op(eq(a, b), 0.0, a - b))  # -inf minus -inf is no gap

    later = gap(y, neighbour(y, dim, 1, float("inf")))
    return gap(x, y) * recurrence(later, g, dim=dim, reverse=True)


logcumsumexp_op = op(
    "logcumsumexp", "x",
    forward=lambda x, dim: _accumulate(np.logaddexp, x, dim, False),
    shape=same, promote="float", grad=_grad_logcumsumexp,
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), dim=1),
        Sample(rand(rng, 5, 2, low=-30, high=30), dim=0),
        Sample(np.zeros((0, 2)), dim=0),
    ],
)  # fmt: skip


def _extremum_index(x: Array, dim: int, largest: bool) -> Array:
    """Where the running extremum was last reached; NaN counts as the extremum."""
    running = (np.maximum if largest else np.minimum).accumulate(x, axis=dim)
    places = np.arange(x.shape[dim]).reshape([-1 if d == dim else 1 for d in range(x.ndim)])
    reached = np.where((x == running) | (x != x), places, 0)
    return np.maximum.accumulate(reached, axis=dim)


cummax_index = op(
    "cummax_index", "x",
    forward=_extremum_index,
    shape=lambda x, dim, largest: Aval(x.shape, int64),
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), dim=1, largest=True),
        Sample(np.array([1, 3, 3, 2, 5]), dim=0, largest=False),
        Sample(np.array([1.0, np.nan, 3.0]), dim=0, largest=True),
    ],
)  # fmt: skip


# ---- the public functions --------------------------------------------------------------------


def along(what: str, x: Any, dim: Any) -> tuple[Any, int]:
    """The tensor with at least one dimension, and the dimension to work along."""
    check_tensors(what, input=x)
    dim = read_dim(dim, x.ndim)
    return (x if x.ndim else reshape_to(x, shape=(1,))), dim


def back(y: Any, x: Any) -> Any:
    """A result in the shape of the 0-d tensor that ``along`` gave a dimension."""
    return y if x.ndim else reshape_to(y, shape=())


def widened(x: Any, dtype: DType | None) -> Any:
    """Integers and bool accumulate as int64, unless a dtype is asked for."""
    wanted = dtype or (x.dtype if x.dtype.is_floating_point else int64)
    return x if x.dtype is wanted else convert(x, dtype=wanted)


def cumsum(input: Any, dim: int, *, dtype: DType | None = None) -> Any:
    """The running sum along ``dim``: y_i = x_0 + ... + x_i. Integers and bool give int64.

    Raises:
        IndexOutOfRange: if the dimension does not exist.

    >>> import contraflow as cf
    >>> cf.cumsum(cf.tensor([1.0, 2.0, 3.0]), dim=0)
    tensor([1., 3., 6.])
    """
    flat, dim = along("cumsum", input, dim)
    return back(cumsum_op(widened(flat, dtype), dim=dim, reverse=False), input)


def cumprod(input: Any, dim: int, *, dtype: DType | None = None) -> Any:
    """The running product along ``dim``: y_i = x_0 ... x_i. Integers and bool give int64.

    >>> import contraflow as cf
    >>> cf.cumprod(cf.tensor([1.0, 2.0, 3.0]), dim=0)
    tensor([1., 2., 6.])
    """
    flat, dim = along("cumprod", input, dim)
    return back(cumprod_op(widened(flat, dtype), dim=dim, reverse=False), input)


def logcumsumexp(input: Any, dim: int) -> Any:
    """log(e^(x_0) + ... + e^(x_i)) along ``dim``, without overflow.

    >>> import contraflow as cf
    >>> cf.logcumsumexp(cf.tensor([1000.0, 1000.0]), dim=0)
    tensor([1000.0000, 1000.6932])
    """
    flat, dim = along("logcumsumexp", input, dim)
    return back(logcumsumexp_op(flat, dim=dim), input)


def _running(name: str, largest: bool, x: Any, dim: int) -> tuple[Any, Any]:
    flat, dim = along(name, x, dim)
    index = cummax_index(flat, dim=dim, largest=largest)
    return back(gather_op(flat, index, dim=dim), x), back(index, x)


_CumMax, _CumMin = named("cummax"), named("cummin")


def cummax(input: Any, dim: int) -> Any:
    """The running maximum along ``dim`` and where it was (last) reached: ``(values, indices)``.

    >>> import contraflow as cf
    >>> cf.cummax(cf.tensor([1.0, 3.0, 2.0]), dim=0).values
    tensor([1., 3., 3.])
    """
    return _CumMax(*_running("cummax", True, input, dim))


def cummin(input: Any, dim: int) -> Any:
    """The running minimum along ``dim`` and where it was (last) reached: ``(values, indices)``.

    >>> import contraflow as cf
    >>> cf.cummin(cf.tensor([1.0, 3.0, 2.0]), dim=0).indices
    tensor([0, 0, 0])
    """
    return _CumMin(*_running("cummin", False, input, dim))


def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The n-th difference along ``dim``: x_{i+1} - x_i, n times. Bool gives xor.

    Raises:
        ShapeError: for a 0-d tensor.
        ArgumentError: if n is negative.

    >>> import contraflow as cf
    >>> cf.diff(cf.tensor([1, 4, 9, 16]))
    tensor([3, 5, 7])
    """
    check_tensors("diff", input=input)
    if not input.ndim:
        raise ShapeError(
            lesson("diff needs at least one dimension", [("input", input.aval)], "x.reshape(1)")
        )
    if n < 0:
        raise ArgumentError(lesson(f"diff: n must be >= 0, received {n}", fix="n=1"))
    dim = read_dim(dim, input.ndim)
    parts = [t for t in (prepend, input, append) if t is not None]
    if len(parts) > 1:
        input = OPS["cat"](*parts, dim=dim)
    for _ in range(min(n, input.shape[dim])):
        low, high = [(0, m, 1) for m in input.shape], [(0, m, 1) for m in input.shape]
        low[dim], high[dim] = (0, input.shape[dim] - 1, 1), (1, input.shape[dim], 1)
        subtract = ne if input.dtype is bool_ else sub_op
        input = subtract(
            slice_dims(input, bounds=tuple(high)), slice_dims(input, bounds=tuple(low))
        )
    return input
