"""Sorting and searching. An index op finds the places; ``gather`` takes the values there, so the
gradient goes where the values came from. NaN sorts as the greatest, and equal elements keep their
order, as in PyTorch."""

from __future__ import annotations

from operator import index as index_of
from typing import Any

import numpy as np

from contraflow.base.dtypes import bool_, int32, int64
from contraflow.base.errors import ArgumentError, DTypeError, IndexOutOfRange, ShapeError, lesson
from contraflow.ops.arith import eq
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_tensors
from contraflow.ops.extrema import pick
from contraflow.ops.index_records import gather_op
from contraflow.ops.record import OPS, Aval, Operand, Sample, op
from contraflow.ops.results import named
from contraflow.ops.rules import rand
from contraflow.ops.scan import along, back

__all__ = [
    "argsort", "bucketize", "isin", "kthvalue", "msort", "searchsorted", "sort", "topk",
]  # fmt: skip
METHODS = ("argsort", "isin", "kthvalue", "msort", "sort", "topk")

Array = np.ndarray[Any, Any]


def _argsort(x: Array, dim: int, descending: bool) -> Array:
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    # From the back, sorted upwards, read backwards: equal elements keep their order.
    order = np.argsort(np.flip(x, dim), axis=dim, kind="stable")
    return np.ascontiguousarray(x.shape[dim] - 1 - np.flip(order, dim))


def _samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 3, 4), dim=1, descending=False),
        Sample(np.array([2, 1, 2, 1, 3]), dim=0, descending=True),
        Sample(np.array([[1.0, np.nan], [0.5, -np.inf]]), dim=0, descending=True),
        Sample(np.zeros((2, 0)), dim=1, descending=False),
    ]


argsort_op = op(
    "argsort", "x",
    forward=_argsort, shape=lambda x, dim, descending: Aval(x.shape, int64), samples=_samples,
)  # fmt: skip


def _topk(x: Array, k: int, dim: int, largest: bool) -> Array:
    n = x.shape[dim]
    if n < 256 or 4 * k > n or not k or (x.dtype.kind == "f" and np.isnan(x).any()):
        return np.take(_argsort(x, dim, largest), np.arange(k), dim)
    rows = np.moveaxis(x, dim, -1)
    place = n - k if largest else k - 1
    edge = np.partition(rows, place, axis=-1)[..., place : place + 1]
    better, equal = rows > edge if largest else rows < edge, rows == edge
    free = k - better.sum(-1, keepdims=True)  # of those at the edge, the first come in
    chosen = better | (equal & (np.cumsum(equal, -1) <= free))
    found = np.nonzero(chosen)[-1].reshape(*rows.shape[:-1], k)
    found = np.moveaxis(found, -1, dim)  # in their order, for a stable sort of the few
    order = _argsort(np.take_along_axis(x, found, dim), dim, largest)
    return np.take_along_axis(found, order, dim)


def _topk_shape(x: Aval, k: int, dim: int, largest: bool) -> Aval:
    if not 0 <= k <= x.shape[dim]:
        raise IndexOutOfRange(
            lesson(
                f"topk: k={k} of the {x.shape[dim]} elements along dim={dim} cannot be taken",
                [("input", x)],
                f"k={min(max(k, 0), x.shape[dim])}",
            )
        )
    return Aval((*x.shape[:dim], k, *x.shape[dim + 1 :]), int64)


topk_index = op(
    "topk_index", "x",
    forward=_topk, shape=_topk_shape,
    samples=lambda rng: [
        Sample(rand(rng, 3, 5), k=2, dim=1, largest=True),
        Sample(rand(rng, 400, 2), k=3, dim=0, largest=False),
        Sample(rand(rng, 2, 3), k=4, dim=1, largest=True, error=IndexError),
    ],
)  # fmt: skip


def _kth(x: Array, k: int, dim: int, keepdim: bool) -> Array:
    index = np.take(np.argsort(x, axis=dim, kind="stable"), [k], dim)
    return index if keepdim else index.squeeze(dim)


def _kth_shape(x: Aval, k: int, dim: int, keepdim: bool) -> Aval:
    n = x.shape[dim]
    if not 0 <= k < n:
        raise IndexOutOfRange(
            lesson(
                f"kthvalue: k={k + 1} must be between 1 and {n}, the elements along dim={dim}",
                [("input", x)],
                f"k={max(1, min(k + 1, n))}",
            )
        )
    left = (1,) if keepdim else ()
    return Aval((*x.shape[:dim], *left, *x.shape[dim + 1 :]), int64)


kth_index = op(
    "kthvalue", "x",
    forward=_kth, shape=_kth_shape,
    samples=lambda rng: [
        Sample(rand(rng, 3, 5), k=2, dim=1, keepdim=False),
        Sample(np.array([3, 1, 2, 1]), k=1, dim=0, keepdim=True),
        Sample(rand(rng, 2, 3), k=3, dim=1, keepdim=False, error=IndexError),
    ],
)  # fmt: skip


def _search(sequence: Array, values: Array, right: bool) -> Array:
    side: Any = "right" if right else "left"
    if sequence.ndim == 1:
        return np.asarray(np.searchsorted(sequence, values, side))
    if sequence.shape[:-1] != values.shape[:-1]:
        raise ValueError("rows")  # the shape rule explains
    found = np.empty(values.shape, np.int64)
    for row in np.ndindex(sequence.shape[:-1]):
        found[row] = np.searchsorted(sequence[row], values[row], side)
    return found


def _search_shape(sequence: Aval, values: Aval, right: bool) -> Aval:
    if sequence.ndim == 0 or (sequence.ndim > 1 and sequence.shape[:-1] != values.shape[:-1]):
        raise ShapeError(
            lesson(
                "searchsorted: the sequences are one row for all values, or as many rows as "
                "the values have",
                [("sorted_sequence", sequence), ("values", values)],
                "sorted_sequence of shape [n], or [..., n] for values of shape [..., m]",
            )
        )
    return Aval(values.shape, int64)


search = op(
    "searchsorted", "sequence values",
    forward=_search, shape=_search_shape, promote="arith",
    samples=lambda rng: [
        Sample(np.array([1.0, 2.0, 2.0, 3.0]), np.array([[0.0, 2.0], [2.5, 9.0]]), right=False),
        Sample(np.array([[1, 3], [2, 2]]), np.array([[1, 2, 3], [2, 1, 3]]), right=True),
        Sample(rand(rng, 2, 3), rand(rng, 3, 3), right=False, error=ShapeError),
    ],
)  # fmt: skip

isin_op = op(
    "isin", "elements tests",
    forward=np.isin, shape=lambda elements, tests: Aval(elements.shape, bool_), promote="arith",
    samples=lambda rng: [
        Sample(np.array([[1, 2], [3, 4]]), np.array([2, 4, 9])),
        Sample(np.array([0.5, 1.5]), np.zeros(0)),
    ],
)  # fmt: skip


# ---- the public functions --------------------------------------------------------------------

_Sort, _TopK, _KthValue = named("sort"), named("topk"), named("kthvalue")


def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The elements in order along ``dim`` and where they came from: ``(values, indices)``.

    Equal elements always keep their order (``stable`` changes nothing); NaN is the greatest.

    Raises:
        IndexOutOfRange: if the dimension does not exist.

    >>> import contraflow as cf
    >>> values, indices = cf.sort(cf.tensor([3.0, 1.0, 2.0]))
    >>> values
    tensor([1., 2., 3.])
    """
    lifted, dim = along("sort", input, dim)
    order = argsort_op(lifted, dim=dim, descending=bool(descending))
    return _Sort(back(gather_op(lifted, order, dim=dim), input), back(order, input))


def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The indices that put the elements in order along ``dim``; see ``sort``.

    >>> import contraflow as cf
    >>> cf.argsort(cf.tensor([3.0, 1.0, 2.0]))
    tensor([1, 2, 0])
    """
    lifted, dim = along("argsort", input, dim)
    return back(argsort_op(lifted, dim=dim, descending=bool(descending)), input)


def msort(input: Any) -> Any:
    """The elements in order along the first dimension.

    >>> import contraflow as cf
    >>> cf.msort(cf.tensor([3.0, 1.0, 2.0]))
    tensor([1., 2., 3.])
    """
    return sort(input, 0).values


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The ``k`` largest (or smallest) elements along ``dim``, in order: ``(values, indices)``.

    Raises:
        IndexOutOfRange: if there are fewer than ``k`` elements.

    >>> import contraflow as cf
    >>> cf.topk(cf.tensor([3.0, 1.0, 2.0]), 2).indices
    tensor([0, 2])
    """
    lifted, dim, k = *along("topk", input, dim), index_of(k)
    _topk_shape(lifted.aval, k, dim, largest)
    index = topk_index(lifted, k=k, dim=dim, largest=bool(largest))
    values = gather_op(lifted, index, dim=dim)
    return _TopK(back(values, input), back(index, input)) if k else _TopK(values, index)


def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest element along ``dim``, counted from 1: ``(values, indices)``.

    Raises:
        IndexOutOfRange: if k is not between 1 and the number of elements.

    >>> import contraflow as cf
    >>> cf.kthvalue(cf.tensor([3.0, 1.0, 2.0]), 2).values
    tensor(2.)
    """
    k = index_of(k)
    lifted, read = along("kthvalue", input, dim)
    _kth_shape(lifted.aval, k - 1, read, True)
    return _KthValue(*pick(kth_index, input, dim, keepdim, k=k - 1))


def searchsorted(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """Where ``input`` would be inserted into a sorted sequence: the first place with an element
    >= the value (``right=True``: > the value).

    Args:
        sorted_sequence: [n], or [..., n] with a row for each row of the values.
        values: a tensor [..., m], or a number.
        sorter: the order that sorts the sequence (from ``argsort``), if it is not sorted.

    Raises:
        ShapeError: if the rows of both do not agree.

    >>> import contraflow as cf
    >>> cf.searchsorted(cf.tensor([1, 3, 5]), cf.tensor([3, 4]))
    tensor([1, 2])
    """
    check_tensors("searchsorted", sorted_sequence=sorted_sequence)
    if side not in (None, "left", "right"):
        raise ArgumentError(
            lesson(f"searchsorted: unknown side {side!r}", fix="side='left' or side='right'")
        )
    if side == "left" and right:
        raise ArgumentError(
            lesson("searchsorted: side='left' contradicts right=True", fix="side='right'")
        )
    if sorter is not None:
        sorted_sequence = gather_op(sorted_sequence, sorter, dim=sorted_sequence.ndim - 1)
    if not isinstance(input, Operand):
        input = OPS["full"](shape=(), value=input, dtype=sorted_sequence.dtype)
    _search_shape(sorted_sequence.aval, input.aval, right)
    found = search(sorted_sequence, input, right=bool(right or side == "right"))
    return convert(found, dtype=int32) if out_int32 else found


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """The bucket of each element: i where boundaries[i-1] < x <= boundaries[i] (``right=True``:
    boundaries[i-1] <= x < boundaries[i]).

    Raises:
        ShapeError: if the boundaries are not 1-d.

    >>> import contraflow as cf
    >>> cf.bucketize(cf.tensor([3, 6, 9]), cf.tensor([1, 3, 5, 7]))
    tensor([1, 3, 4])
    """
    check_tensors("bucketize", boundaries=boundaries)
    if boundaries.ndim != 1:
        raise ShapeError(
            lesson(
                "bucketize: the boundaries must be 1-d",
                [("boundaries", boundaries.aval)],
                "boundaries.flatten(); cf.searchsorted has a row for each row of values",
            )
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Any:
    """Which elements occur among ``test_elements`` (tensors or numbers, not both numbers).

    >>> import contraflow as cf
    >>> cf.isin(cf.tensor([1, 2, 3]), cf.tensor([2, 4]))
    tensor([False,  True, False])
    """
    if not isinstance(elements, Operand) and not isinstance(test_elements, Operand):
        raise DTypeError(
            lesson(
                "isin: one of elements and test_elements must be a tensor",
                [("elements", elements), ("test_elements", test_elements)],
                f"cf.isin(cf.tensor({elements!r}), ...)",
            )
        )
    found = isin_op(elements, test_elements)
    return eq(found, False) if invert else found
