"""Medians, quantiles and histograms."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import ArgumentError, DTypeError, EmptyError, ShapeError, lesson
from contraflow.base.shapes import read_dim
from contraflow.ops.arith import eq, maximum, ne, where_op
from contraflow.ops.blend import lerp
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_between, check_tensors
from contraflow.ops.extrema import pick
from contraflow.ops.index_records import gather_op
from contraflow.ops.record import OPS, Aval, Sample, op
from contraflow.ops.reduce import count, evenly, floating, reduce_any, reduce_sum, reduced
from contraflow.ops.results import named
from contraflow.ops.rounding import ceil, floor, round
from contraflow.ops.rules import rand
from contraflow.ops.sort import argsort_op
from contraflow.ops.view import expand, permute_dims, reshape_to

__all__ = ["histc", "median", "nanmedian", "nanquantile", "quantile"]
METHODS = (*__all__,)

Array = np.ndarray[Any, Any]


def _median_place(x: Array, dim: int, keepdim: bool, skip: bool) -> Array:
    """Where the lower median is; the first NaN if there is one (``skip``: leave NaN out)."""
    order = np.argsort(x, axis=dim, kind="stable")  # NaN last
    n, numbers = x.shape[dim], np.sum(x == x, axis=dim, keepdims=True)
    middle = np.maximum(numbers - 1, 0) // 2
    if not skip:
        middle = np.where(numbers < n, numbers, middle)
    place = np.take_along_axis(order, middle, dim)
    return place if keepdim else place.squeeze(dim)


def _median_shape(x: Aval, dim: int, keepdim: bool, skip: bool) -> Aval:
    if not x.shape[dim]:
        raise EmptyError(
            lesson(
                "the median of no elements does not exist",
                [("input", x)],
                "check x.numel() > 0 first",
            )
        )
    return reduced(x, (dim,), keepdim, int64)


median_index = op(
    "median_index", "x",
    forward=_median_place, shape=_median_shape,
    samples=lambda rng: [
        Sample(rand(rng, 3, 5), dim=1, keepdim=False, skip=False),
        Sample(np.array([[1.0, np.nan, 0.0], [4.0, 5.0, 6.0]]), dim=1, keepdim=True, skip=False),
        Sample(np.array([[1.0, np.nan, 0.0], [4.0, 5.0, 6.0]]), dim=1, keepdim=True, skip=True),
        Sample(np.zeros((2, 0)), dim=1, keepdim=False, skip=False, error=ShapeError),
    ],
)  # fmt: skip


def _median(x: Array, skip: bool) -> Any:
    flat = x.reshape(-1)
    if not flat.size:
        if x.dtype.kind == "b":
            return np.asarray(True)
        return np.asarray(np.nan if x.dtype.kind == "f" else np.iinfo(x.dtype).min, x.dtype)
    return flat[_median_place(flat, 0, False, skip)]


median_all = op(
    "median", "x",
    forward=_median, shape=lambda x, skip: Aval((), x.dtype),
    grad=lambda g, x, y, x_aval: evenly(g, x, y, x_aval, tuple(range(x_aval.ndim))),
    samples=lambda rng: [
        Sample(rand(rng, 3, 5), skip=False),
        Sample(rand(rng, 2, 3), skip=True),
        Sample(np.array([2, 5, 1, 4]), skip=False),
    ],
)  # fmt: skip

_Median, _NanMedian = named("median"), named("nanmedian")


def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median; of two in the middle the lower one. With ``dim``: ``(values, indices)``.

    NaN if there is one. Elements equal to the median of all share its gradient.

    Raises:
        ShapeError: over a dimension without elements.

    >>> import contraflow as cf
    >>> cf.median(cf.tensor([4.0, 1.0, 3.0, 2.0]))
    tensor(2.)
    """
    check_tensors("median", input=input)
    if dim is None:
        return median_all(input, skip=False)
    return _Median(*pick(median_index, input, dim, keepdim, skip=False))


def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of the elements that are not NaN; see ``median``.

    >>> import contraflow as cf
    >>> cf.nanmedian(cf.tensor([1.0, float("nan"), 3.0]))
    tensor(1.)
    """
    check_tensors("nanmedian", input=input)
    if dim is None:
        return median_all(input, skip=True)
    return _NanMedian(*pick(median_index, input, dim, keepdim, skip=True))


INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(
    what: str, x: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, skip: bool
) -> Any:
    floating(what, x, f"cf.{what}(x.float(), q)")
    q = _read_q(what, x, q)
    if interpolation not in INTERPOLATIONS:
        raise ArgumentError(
            lesson(
                f"{what}: unknown interpolation {interpolation!r}",
                fix=f"one of {', '.join(INTERPOLATIONS)}",
            )
        )
    shape = tuple(x.shape)
    if dim is None or not shape:
        left = (1,) * len(shape)
        x, dim = reshape_to(x, shape=(count(shape, tuple(range(len(shape)))),)), 0
    else:
        dim = read_dim(dim, len(shape))
        left = (*shape[:dim], 1, *shape[dim + 1 :])
    if not x.shape[dim]:
        raise ShapeError(
            lesson(
                f"{what}: there are no elements",
                [("input", list(shape))],
                "check x.numel() > 0 first",
            )
        )
    # rows: [..., n], each to be sorted; ranks: [..., Q], places between their elements
    rows = permute_dims(x, dims=(*(d for d in range(x.ndim) if d != dim), dim))
    last = rows.ndim - 1
    ranks = _ranks(rows, q if q.ndim else reshape_to(q, shape=(1,)), skip)
    found = _between(rows, ranks, last, interpolation)
    found = permute_dims(found, dims=(last, *range(last)))
    sizes = left if keepdim else tuple(rows.shape[:-1])
    return reshape_to(found, shape=(*q.shape, *sizes))


def _read_q(what: str, x: Any, q: Any) -> Any:
    """q as a 0-d or 1-d tensor of the dtype of x, between 0 and 1."""
    if isinstance(q, int | float):
        if not 0 <= q <= 1:
            raise ArgumentError(
                lesson(
                    f"{what}: q must be between 0 and 1, received {q}",
                    fix=f"q={q / 100:g}" if 1 < q <= 100 else "q=0.5",
                )
            )
        return OPS["full"](shape=(), value=float(q), dtype=x.dtype)
    check_tensors(what, q=q)
    if q.ndim > 1:
        raise ShapeError(
            lesson(f"{what}: q must be a number or 1-d", [("q", q.aval)], "q.flatten()")
        )
    if q.dtype is not x.dtype:
        raise DTypeError(
            lesson(
                f"{what}: q must have the dtype of the input",
                [("input", x.aval), ("q", q.aval)],
                f"q.to(cf.{x.dtype.name})",
            )
        )
    check_between(what, q, "q", 0, 1, "q=0.5 for the median")
    return q


def _ranks(rows: Any, q: Any, skip: bool) -> Any:
    """q (n - 1) for each row; a row with NaN takes its last element, which is NaN."""
    n, last = rows.shape[-1], rows.ndim - 1
    shape = (*rows.shape[:-1], q.shape[0])
    if skip:
        numbers = reduce_sum(convert(eq(rows, rows), dtype=q.dtype), dims=(last,), keepdim=True)
        return expand(maximum(q * (numbers - 1.0), 0.0), shape=shape)
    ill = reduce_any(ne(rows, rows), dims=(last,), keepdim=True)
    return expand(where_op(ill, float(n - 1), q * float(n - 1)), shape=shape)


def _between(rows: Any, ranks: Any, last: int, interpolation: str) -> Any:
    """The values of the rows, sorted, at ranks that may lie between two elements."""
    order = argsort_op(rows, dim=last, descending=False)

    def at(rank: Any) -> Any:
        place = gather_op(order, convert(rank, dtype=int64), dim=last)
        return gather_op(rows, place, dim=last)

    if interpolation == "nearest":
        return at(round(ranks))
    below, above = floor(ranks), ceil(ranks)
    if interpolation in ("lower", "higher"):
        return at(below if interpolation == "lower" else above)
    weight = ranks - below if interpolation == "linear" else 0.5
    return lerp(at(below), at(above), weight)


def quantile(
    input: Any,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Any:
    """The q-quantiles along ``dim`` (None: of all elements), 0 <= q <= 1; NaN if there is one.

    Args:
        q: a number, or a 1-d tensor of them (they become the first dimension of the result).
        interpolation: between two elements: linear, lower, higher, midpoint or nearest.

    Raises:
        DTypeError: for integers, or if q is a tensor of another dtype.
        ArgumentError: if q is not between 0 and 1.

    >>> import contraflow as cf
    >>> cf.quantile(cf.tensor([0.0, 1.0, 2.0, 3.0]), 0.4)
    tensor(1.2000)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


def nanquantile(
    input: Any,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Any:
    """The quantiles of the elements that are not NaN; see ``quantile``.

    >>> import contraflow as cf
    >>> cf.nanquantile(cf.tensor([1.0, float("nan"), 2.0]), 0.5)
    tensor(1.5000)
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


# ---- histograms ----------------------------------------------------------------------------------


def _histc(x: Array, bins: int, min: float, max: float) -> Array:
    flat = x.reshape(-1)
    low, high = float(min), float(max)
    if low == high and flat.size:
        low, high = float(flat.min()), float(flat.max())
    if low == high:
        low, high = low - 1, high + 1
    if not np.isfinite([low, high]).all():
        raise ValueError(f"the range of the data is [{low}, {high}]: give min and max")
    inside = flat[(flat >= low) & (flat <= high)].astype(np.float64)
    place = np.minimum(((inside - low) * bins / (high - low)).astype(np.int64), bins - 1)
    return np.bincount(place, minlength=bins).astype(x.dtype)


histc_op = op(
    "histc", "x",
    forward=_histc, shape=lambda x, bins, min, max: Aval((bins,), x.dtype),
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), bins=5, min=-1.0, max=1.0),
        Sample(np.array([1.0, 2.0, 2.0, 5.0]), bins=4, min=0.0, max=0.0),
        Sample(np.zeros(0), bins=3, min=0.0, max=0.0),
    ],
)  # fmt: skip


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements fall into each of ``bins`` equal intervals from ``min`` to ``max``.

    Elements outside are not counted; ``min == max`` takes the range of the data.

    Raises:
        ArgumentError: if bins < 1, or max < min.
        DTypeError: for integers and bool.

    >>> import contraflow as cf
    >>> cf.histc(cf.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """
    floating("histc", input)
    if bins < 1 or max < min:
        raise ArgumentError(
            lesson(
                f"histc: bins={bins} from {min} to {max} are no intervals",
                fix="bins >= 1 and min <= max",
            )
        )
    return histc_op(input, bins=int(bins), min=float(min), max=float(max))
