"""``x[...]`` and ``x[...] = v``: ints, slices, None, Ellipsis, integer arrays and masks."""

from __future__ import annotations

from math import prod
from operator import index as as_int
from typing import Any

import numpy as np

from contraflow.base.errors import (
    ArgumentError,
    DTypeError,
    IndexOutOfRange,
    IndexShapeError,
    IndexTypeError,
    ShapeError,
    lesson,
)
from contraflow.base.shapes import broadcast
from contraflow.ops.arith import where
from contraflow.ops.checks import values
from contraflow.ops.index import merge_dims
from contraflow.ops.index_records import index_add_op, index_copy_op, ravel_index, select_op
from contraflow.ops.join import stack, unbind
from contraflow.ops.view import expand, reshape_to, slice_dims
from contraflow.tensor.arrays import as_value, look
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.writing import in_place, write

__all__ = ["argwhere", "index_put", "masked_select", "nonzero"]


def getitem(self: Tensor, key: Any) -> Any:
    """``x[key]``: a view for ints, slices, None and Ellipsis; a copy for arrays and masks."""
    if type(key) is int:
        size = self._value.shape[0] if self._value.shape else 0
        if not -size <= key < size:
            raise out_of_range(self, key, 0)
        return slice_dims(self, bounds=(key % size,))
    x, picks = basic(self, key)
    return x if not picks else advanced(x, picks)


def basic(x: Tensor, key: Any) -> tuple[Any, dict[int, Any]]:
    """Apply the basic part of a key; what is left are the index tensors, by dimension."""
    items = expand_masks(x, key if isinstance(key, tuple) else (key,))
    used = sum(
        item is not None and item is not Ellipsis and type(item) is not Alone for item in items
    )
    if used > x.ndim:
        raise IndexOutOfRange(
            lesson(
                f"{used} indices for a tensor of {x.ndim} dimensions",
                [("tensor", x)],
                f"at most {x.ndim}: x[{', '.join('ijkl'[: x.ndim]) or '()'}]",
            )
        )
    if Ellipsis not in [i for i in items if not isinstance(i, Tensor)]:
        items = [*items, Ellipsis]
    bounds: list[Any] = []
    picks: dict[int, Any] = {}
    dim = place = 0
    for item in items:
        if item is Ellipsis:
            rest = x.ndim - used
            bounds += [(0, n, 1) for n in x.shape[dim : dim + rest]]
            dim, place = dim + rest, place + rest
        elif item is None:
            bounds.append(None)
            place += 1
        elif type(item) is Alone:
            picks[place] = item.pick
            bounds.append(None)
            place += 1
        elif isinstance(item, Tensor):
            picks[place] = item
            bounds.append((0, x.shape[dim], 1))
            dim, place = dim + 1, place + 1
        elif isinstance(item, slice):
            bounds.append(read_slice(item, x.shape[dim]))
            dim, place = dim + 1, place + 1
        else:
            size = x.shape[dim]
            if not -size <= item < size:
                raise out_of_range(x, item, dim)
            bounds.append(item % size)
            dim += 1
    whole = len(bounds) == x.ndim and all(
        type(b) is tuple and b == (0, n, 1) for b, n in zip(bounds, x.shape, strict=False)
    )
    if picks and whole:
        return x, picks
    return slice_dims(x, bounds=tuple(bounds)), picks


def out_of_range(x: Tensor, index: int, dim: int) -> IndexOutOfRange:
    size = x.shape[dim] if x.ndim else 0
    if not x.ndim:
        return IndexOutOfRange(lesson("a 0-d tensor has no index", [("tensor", x)], "x.item()"))
    return IndexOutOfRange(
        lesson(
            f"index {index} is out of range for dimension {dim} of size {size}",
            [("tensor", x), ("allowed", f"{-size}..{size - 1}" if size else "none")],
            f"x[{size - 1}] is the last" if size else "check x.numel() > 0 first",
        )
    )


def read_slice(item: slice, size: int) -> tuple[int, int, int]:
    """Start, stop and step against a size; PyTorch has positive steps only."""
    step = 1 if item.step is None else as_int(item.step)
    if step < 1:
        raise ArgumentError(
            lesson(f"the step of a slice must be positive, received {step}", fix="x.flip(dim)")
        )
    first = None if item.start is None else as_int(item.start)
    last = None if item.stop is None else as_int(item.stop)
    start, stop, step = slice(first, last, step).indices(size)
    return start, max(stop, start), step


class Alone:
    """True or False as an entry of a key: a new dimension with one element, or with none."""

    def __init__(self, mask: Tensor) -> None:
        self.pick = make(np.zeros(int(bool(look(mask, "a mask that is read"))), np.int64))


def expand_masks(x: Tensor, items: tuple[Any, ...]) -> list[Any]:
    """Read each entry; a mask becomes the indices of its True elements, one for each dimension."""
    read: list[Any] = []
    dim = 0
    for item in items:
        if item is None or item is Ellipsis or isinstance(item, slice):
            read.append(item)
            dim += isinstance(item, slice)
            if item is Ellipsis:
                later = items[len(read) :]
                dim = x.ndim - sum(dims_of(i) for i in later)
            continue
        entry = read_entry(item)
        if isinstance(entry, Tensor) and entry._value.dtype == np.bool_ and not entry.ndim:
            read.append(Alone(entry))
            continue
        if isinstance(entry, Tensor) and entry._value.dtype == np.bool_:
            check_mask(x, entry, dim)
            read += nonzero(entry, as_tuple=True)
            dim += entry.ndim
        else:
            read.append(entry)
            dim += 1
    return read


def dims_of(item: Any) -> int:
    """How many dimensions of the tensor an entry of a key uses."""
    if item is None or item is Ellipsis:
        return 0
    if isinstance(item, Tensor | np.ndarray) and str(item.dtype).endswith("bool"):
        return item.ndim
    if isinstance(item, bool | np.bool_):
        return 0
    return 1


def read_entry(item: Any) -> Any:
    """An int, or an integer or bool tensor."""
    if isinstance(item, bool | np.bool_):
        return make(np.asarray(item))
    if isinstance(item, Tensor):
        if item._value.dtype.kind == "f":
            raise IndexTypeError(
                lesson(
                    "an index must be integer or bool",
                    [("index", item)],
                    "index.bool() for a mask, index.long() for positions",
                )
            )
        if item._value.dtype == np.uint8:
            rule = "a uint8 index may mean a mask or positions"
            fix = "index.bool() for a mask, index.long() for positions"
            raise IndexTypeError(lesson(rule, [("index", item)], fix))
        if not item.ndim and item._value.dtype.kind == "i" and values(item) is not None:
            return int(item)  # one position, and so a view
        return item
    if isinstance(item, list | tuple | range | np.ndarray):
        array = as_value(list(item) if isinstance(item, range) else item)
        if array.size == 0 and array.dtype.kind == "f":
            array = array.astype(np.int64)
        return read_entry(make(array))
    try:
        return as_int(item)
    except TypeError:
        raise IndexTypeError(
            lesson(
                f"a tensor cannot be indexed by {type(item).__name__} {item!r:.40}",
                fix="x[0], x[1:3], x[index_tensor], x[mask]",
            )
        ) from None


def check_mask(x: Tensor, mask: Tensor, dim: int) -> None:
    shape = tuple(x.shape)[dim : dim + mask.ndim]
    if tuple(mask.shape) != shape:
        raise IndexShapeError(
            lesson(
                f"the mask has shape {list(mask.shape)}, the tensor {list(x.shape)}",
                [("tensor", x), ("mask", mask)],
                "a mask of the tensor's (leading) shape",
            )
        )


def placed(x: Any, picks: dict[int, Any]) -> tuple[Any, int, Any, Any]:
    """The indexed dimensions merged into one: (merged, where, flat index, way back)."""
    dims = tuple(picks)
    sizes = tuple(int(x.shape[d]) for d in dims)
    shapes = [tuple(index.shape) for index in picks.values()]
    try:
        broadcast(*shapes)
    except ShapeError:
        rule = "the index tensors do not broadcast to one shape"
        rows = [(f"index {d}", index) for d, index in picks.items()]
        fix = "as many indices for each dimension, or index.unsqueeze(-1) for rows by columns"
        raise IndexShapeError(lesson(rule, rows, fix)) from None
    index = ravel_index(*picks.values(), sizes=sizes)
    merged, at, back = merge_dims(x, dims)
    return merged, at, index, back


def advanced(x: Any, picks: dict[int, Any]) -> Any:
    merged, at, index, _ = placed(x, picks)
    return select_op(merged, index, dim=at)


def setitem(self: Tensor, key: Any, value: Any) -> None:
    """``x[key] = value``; the value broadcasts to what is indexed and takes the tensor's dtype."""
    value = stored(self, value)
    if isinstance(key, Tensor) and key._value.dtype == np.bool_ and scalar(value):
        check_mask(self, key, 0)
        shape = (*key.shape, *(1,) * (self.ndim - key.ndim))
        mask = reshape_to(key, shape=shape)
        write(self, where(mask, value, self))
        return
    x, picks = basic(self, key)
    if not picks:
        write(x, value)
        return
    write(x, put(x, picks, value, accumulate=False))


def stored(self: Tensor, value: Any) -> Any:
    """The value in the tensor's dtype; a number that would lose its fraction is refused."""
    if isinstance(value, bool | int | float):
        whole = self.dtype.category == 1 and isinstance(value, float)
        if whole and value != value // 1:
            rule = f"{value} does not fit into a {self.dtype.name} tensor"
            raise IndexTypeError(lesson(rule, [("tensor", self)], "x.float() first, or an integer"))
        if whole or self.dtype.category == 0:
            return (int if whole else bool)(value)
    return value.to(self.dtype) if isinstance(value, Tensor) else value


def scalar(value: Any) -> bool:
    """Whether a value is a single number."""
    return isinstance(value, bool | int | float) or (isinstance(value, Tensor) and value.ndim == 0)


def put(x: Any, picks: dict[int, Any], value: Any, accumulate: bool) -> Any:
    """``x`` with the indexed elements replaced, or added to."""
    merged, at, index, back = placed(x, picks)
    source = value if isinstance(value, Tensor) else make(as_value(value, x.dtype))
    wanted = (*merged.shape[:at], *index.shape, *merged.shape[at + 1 :])
    if broadcast(tuple(source.shape), wanted) != wanted:
        raise ShapeError(
            lesson(
                f"a value of shape {list(source.shape)} does not fit into {list(wanted)}",
                [("tensor", x), ("value", source)],
            )
        )
    source = expand(source.to(x.dtype), shape=wanted)
    record = index_add_op if accumulate else index_copy_op
    return back(record(merged, index, source, dim=at))


def index_put(input: Tensor, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """The tensor with the elements at ``indices`` (a tuple of tensors) replaced or added to."""
    x, picks = basic(input, tuple(indices))
    return put(x, picks, values, accumulate)


def nonzero(input: Tensor, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not 0: ``[n, ndim]``, or one vector a dimension."""
    found = np.nonzero(np.atleast_1d(look(input, "nonzero() or a mask that is read")))
    columns = tuple(make(column) for column in found)
    if as_tuple:
        return columns
    if not input.ndim:
        return make(np.zeros((len(found[0]), 0), np.int64))
    return stack(columns, 1)


def argwhere(input: Tensor) -> Any:
    """The indices of the elements that are not 0, a row each."""
    return nonzero(input)


def masked_select(input: Tensor, mask: Tensor) -> Any:
    """The elements where ``mask`` (which broadcasts) is True, as a vector."""
    shape = broadcast(tuple(input.shape), tuple(mask.shape))
    flat = reshape_to(expand(input, shape=shape), shape=(prod(shape),))
    chosen = look(expand(mask, shape=shape), "masked_select()").reshape(-1)
    return select_op(flat, make(np.flatnonzero(chosen)), dim=0)


def rows_of(self: Tensor) -> Any:
    """``for row in x``: views along the first dimension."""
    if not self.ndim:
        raise DTypeError(lesson("a 0-d tensor has no rows", [("tensor", self)], "x.item()"))
    return iter(unbind(self, 0))


METHODS = {
    "__getitem__": getitem, "__setitem__": setitem, "__iter__": rows_of, "nonzero": nonzero,
    "argwhere": argwhere, "masked_select": masked_select, "index_put": index_put,
    "index_put_": in_place(index_put),
}  # fmt: skip
