"""Looking rows up in a table: embedding and embedding_bag."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import (
    ArgumentError,
    DTypeError,
    IndexOutOfRange,
    ShapeError,
    lesson,
)  # fmt: skip
from contraflow.ops.arith import abs, gt, ne, pow, where
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_tensors, values
from contraflow.ops.creation import full
from contraflow.ops.index import index_add, index_select, scatter_reduce
from contraflow.ops.reduce import reduce_sum
from contraflow.ops.scan import cumsum
from contraflow.ops.view import expand, reshape_to
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.writing import write

__all__ = ["embedding", "embedding_bag"]


def check_indices(what: str, input: Any, weight: Any) -> None:
    """The indices are integers, and rows of the table."""
    check_tensors(what, input=input, weight=weight)
    if input.dtype.category != 1:
        raise DTypeError(
            lesson(f"{what}: indices must be integers, not {input.dtype.name}",
                   [("input", input), ("weight", weight)], "input.long()")
        )  # fmt: skip
    if weight.ndim != 2:
        raise ShapeError(
            lesson(f"{what}: the table must be a matrix, one row for each index",
                   [("weight", weight)])
        )  # fmt: skip
    check_rows(what, input, weight)


def check_rows(what: str, input: Any, weight: Any) -> None:
    """Every index must name a row of the table."""
    indices, rows = values(input), weight.shape[0]
    if indices is None or not indices.size:
        return
    low, high = int(indices.min()), int(indices.max())
    if low >= 0 and high < rows:
        return
    wrong = low if low < 0 else high
    fix = f"nn.Embedding({high + 1}, {weight.shape[1]}), or indices below {rows}"
    raise IndexOutOfRange(
        lesson(f"{what}: the table has {rows} rows (0..{rows - 1}), there is no row {wrong}",
               [("input", input), ("weight", weight)],
               fix if low >= 0 else f"indices from 0 to {rows - 1}")
    )  # fmt: skip


def read_padding_idx(what: str, padding_idx: int | None, rows: int) -> int | None:
    """The row that does not learn, as 0..rows-1."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise ArgumentError(
            lesson(f"{what}: padding_idx={padding_idx} is not a row of a table of {rows}",
                   fix="padding_idx=0")
        )  # fmt: skip
    return padding_idx % rows


def counts(flat: Any, rows: int, dtype: Any) -> Any:
    """How often each row is looked up."""
    ones = full(shape=tuple(flat.shape), value=1, dtype=dtype)
    return index_add(full(shape=(rows,), value=0, dtype=dtype), 0, flat, ones)


def renormalize(weight: Any, flat: Any, max_norm: float, norm_type: float) -> None:
    """Scale the rows that are looked up, in place, to a norm of at most ``max_norm``."""
    with no_grad():
        powers = reduce_sum(pow(abs(weight), norm_type), dims=(1,), keepdim=True)
        norms = pow(powers, 1.0 / norm_type)
        used = column(counts(flat, weight.shape[0], weight.dtype))
        long = gt(norms, max_norm) * gt(used, 0)
        write(weight, weight * where(long, max_norm / (norms + 1e-7), 1.0))


def lookup(
    flat: Any, weight: Any, padding_idx: int | None, max_norm: float | None, norm_type: float,
    by_frequency: bool,
) -> Any:  # fmt: skip
    """The rows of the table for a vector of indices."""
    if max_norm is not None:
        renormalize(weight, flat, max_norm, norm_type)
    rows = index_select(weight, 0, flat)
    share: Any = None  # what part of its gradient each row passes on
    if by_frequency:
        share = 1.0 / index_select(counts(flat, weight.shape[0], weight.dtype), 0, flat)
    if padding_idx is not None:
        learns = convert(ne(flat, padding_idx), dtype=weight.dtype)
        share = learns if share is None else share * learns
    if share is None:
        return rows
    fixed = rows.detach()
    return fixed + (rows - fixed) * column(share)


def column(vector: Any) -> Any:
    """One number for each row."""
    return reshape_to(vector, shape=(vector.shape.numel(), 1))


def embedding(
    input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Any:  # fmt: skip
    """The rows of ``weight`` that integers name: ``[...]`` gives ``[..., embedding_dim]``.

    Args:
        padding_idx: a row that gets no gradient.
        max_norm: rows that are looked up and longer are shortened to this norm, in place.
        scale_grad_by_freq: divide a row's gradient by how often it was looked up.
        sparse: accepted; gradients are always dense.

    >>> import contraflow as cf
    >>> table = cf.tensor([[0.0, 0.0], [1.0, 2.0]])
    >>> cf.nn.functional.embedding(cf.tensor([1, 0, 1]), table)
    tensor([[1., 2.],
            [0., 0.],
            [1., 2.]])

    Raises:
        DTypeError: if the indices are not integers. IndexOutOfRange: for a row that is not there.
    """
    check_indices("embedding", input, weight)
    padding = read_padding_idx("embedding", padding_idx, weight.shape[0])
    flat = reshape_to(input, shape=(input.shape.numel(),))
    rows = lookup(flat, weight, padding, max_norm, norm_type, scale_grad_by_freq)
    return reshape_to(rows, shape=(*input.shape, weight.shape[1]))


def embedding_bag(
    input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None,
    norm_type: float = 2, scale_grad_by_freq: bool = False, mode: str = "mean",
    sparse: bool = False, per_sample_weights: Any = None, include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:  # fmt: skip
    """Sums, means or maxima of rows over bags of indices, without the rows in between.

    Shapes: ``input`` ``[B, N]`` (bags of N), or ``[M]`` with ``offsets`` ``[B]``, where each bag
    starts; the result is ``[B, embedding_dim]``.

    >>> import contraflow as cf
    >>> table = cf.tensor([[1.0], [10.0], [100.0]])
    >>> cf.nn.functional.embedding_bag(cf.tensor([[0, 1], [2, 2]]), table, mode="sum")
    tensor([[ 11.],
            [200.]])
    """
    check_indices("embedding_bag", input, weight)
    check_bags(input, offsets, mode, per_sample_weights)
    padding = read_padding_idx("embedding_bag", padding_idx, weight.shape[0])
    flat = reshape_to(input, shape=(input.shape.numel(),))
    rows = lookup(flat, weight, padding, max_norm, norm_type, scale_grad_by_freq)
    bag, bags = bag_of(input, offsets, include_last_offset)
    inside: Any = None  # 1 for rows that count, 0 for padding
    if padding is not None:
        inside = column(convert(ne(flat, padding), dtype=weight.dtype))
    if mode == "max":
        return largest(rows, bag, bags, inside)
    if per_sample_weights is not None:
        rows = rows * column(per_sample_weights)
    if inside is not None:
        rows = rows * inside
    sums = index_add(full(shape=(bags, weight.shape[1]), value=0, dtype=weight.dtype), 0, bag, rows)
    if mode == "sum":
        return sums
    ones = full(shape=(flat.shape[0], 1), value=1, dtype=weight.dtype)
    ones = ones if inside is None else ones * inside
    number = index_add(full(shape=(bags, 1), value=0, dtype=weight.dtype), 0, bag, ones)
    return sums / where(gt(number, 0), number, 1.0)


def check_bags(input: Any, offsets: Any, mode: str, per_sample_weights: Any) -> None:
    """What ``embedding_bag`` asks of its bags, of the mode and of the weights."""
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(lesson(f"embedding_bag: unknown mode {mode!r}",
                                   [("known", "sum mean max")], "mode='mean'"))  # fmt: skip
    if (input.ndim == 2) == (offsets is not None) or input.ndim not in (1, 2):
        raise ShapeError(
            lesson("embedding_bag takes [B, N], or [M] with offsets [B]",
                   [("input", input), ("offsets", offsets)],
                   "offsets=cf.tensor([0]) for one bag, none for [B, N]")
        )  # fmt: skip
    if offsets is not None:
        check_offsets(input, offsets)
    if per_sample_weights is None:
        return
    if mode != "sum":
        raise ArgumentError(lesson("embedding_bag: per_sample_weights need mode='sum'",
                                   [("received", f"mode={mode!r}")], "mode='sum'"))  # fmt: skip
    if tuple(per_sample_weights.shape) != tuple(input.shape):
        raise ShapeError(
            lesson("embedding_bag: per_sample_weights has one weight for each index",
                   [("input", input), ("per_sample_weights", per_sample_weights)],
                   "per_sample_weights=cf.ones(input.shape)")
        )  # fmt: skip


def check_offsets(input: Any, offsets: Any) -> None:
    """Bags start at 0, and at ends of bags before them, within the input."""
    if offsets.ndim != 1 or offsets.dtype.category != 1:
        raise ShapeError(lesson("embedding_bag: offsets is a vector of integers",
                                [("offsets", offsets)], "cf.tensor([0, 3])"))  # fmt: skip
    starts = values(offsets)
    if starts is None or not starts.size:
        return
    if starts[0] != 0 or (starts[1:] < starts[:-1]).any() or starts[-1] > input.shape[0]:
        raise ArgumentError(
            lesson("embedding_bag: offsets start at 0, never go back, and end within the input",
                   [("input", input), ("offsets", starts.tolist())], "cf.tensor([0, 3])")
        )  # fmt: skip


def bag_of(input: Any, offsets: Any, include_last_offset: bool) -> tuple[Any, int]:
    """The number of the bag that each index belongs to, and how many bags there are."""
    if offsets is None:
        bags, size = input.shape
        numbers = full(shape=(bags,), value=1, dtype=input.dtype)
        which = column(cumsum(numbers, 0) - 1)
        return reshape_to(expand(which, shape=(bags, size)), shape=(bags * size,)), bags
    count = input.shape[0]
    bags = offsets.shape[0] - (1 if include_last_offset else 0)
    # a bag starts at each offset: add up the starts (an empty bag at the end starts at `count`)
    starts = full(shape=(count + 1,), value=0, dtype=offsets.dtype)
    starts = index_add(starts, 0, offsets, full(shape=tuple(offsets.shape), value=1,
                                                dtype=offsets.dtype))  # fmt: skip
    return (cumsum(starts, 0) - 1).narrow(0, 0, count), bags


def largest(rows: Any, bag: Any, bags: int, inside: Any) -> Any:
    """The maximum over each bag; 0 for an empty one."""
    if inside is not None:
        rows = where(gt(inside, 0), rows, -float("inf"))
    width = rows.shape[1]
    index = expand(column(bag), shape=(rows.shape[0], width))
    low = full(shape=(bags, width), value=-float("inf"), dtype=rows.dtype)
    best = scatter_reduce(low, 0, index, rows, "amax", include_self=True)
    return where(gt(best, -float("inf")), best, 0.0)
