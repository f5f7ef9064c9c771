"""What the steps of an epoch returned: tensors stacked along a new first dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.tree import flatten, map_tree
from contraflow.tensor.tensor import Tensor, make

__all__ = ["Results"]

Array = np.ndarray[Any, Any]


class Results:
    """Rows, one a batch, written where they stay.

    Steps that return the same structure with the same shapes share a segment; a shorter last
    batch whose result has another shape begins a new one.

    Args:
        batches: how many rows to make room for at once; more room is made when it is needed.
    """

    def __init__(self, batches: int) -> None:
        self.room = max(batches, 1)
        self.segments: list[Segment] = []

    def segment(self, tree: Any, avals: list[tuple[Any, Any]], batches: int) -> Segment:
        """Where the results of so many more batches go.

        Args:
            tree: what a step returns, with None for each tensor; avals: their shapes and dtypes.
        """
        if not self.segments or not self.segments[-1].takes(tree, avals):
            room = batches if self.segments else max(self.room, batches)
            self.segments.append(Segment(tree, avals, room))
        last = self.segments[-1]
        last.make_room(batches)
        return last

    def add(self, result: Any) -> None:
        """What one step returned."""
        leaves = [leaf for leaf in flatten(result) if isinstance(leaf, Tensor)]
        arrays = [leaf._value for leaf in leaves]
        tree = map_tree(lambda leaf: HOLE if isinstance(leaf, Tensor) else leaf, result)
        place = self.segment(tree, [(a.shape, a.dtype) for a in arrays], 1)
        for row, array in zip(place.next_rows(), arrays, strict=True):
            row[0] = array
        place.count += 1

    def drop(self, batches: int) -> None:
        """Forget the last rows; they are of one segment."""
        self.segments[-1].count -= batches

    def clear(self) -> None:
        """Forget all rows; their memory serves again."""
        for segment in self.segments:
            segment.count = 0

    def stacked(self) -> Any:
        """All rows so far; None if there are none.

        What is no tensor stays as it is if it never changed. Whatever cannot be stacked becomes a
        list with one item a batch.
        """
        filled = [segment for segment in self.segments if segment.count]
        if not filled:
            return None
        if len(filled) == 1:
            return filled[0].tensors()
        parts = [segment.tensors() for segment in filled]
        if len(set(map(structure, parts))) > 1:
            return [item for segment in filled for item in segment.items()]
        columns = zip(*map(flatten, parts), strict=True)
        counts = [segment.count for segment in filled]
        joined = iter([join(column, counts) for column in columns])
        return map_tree(lambda leaf: next(joined), parts[0])


class _Hole:
    """Stands for a tensor in a structure."""


HOLE = _Hole()


class Segment:
    """Rows of one structure with the same shapes."""

    def __init__(self, tree: Any, avals: list[tuple[Any, Any]], room: int) -> None:
        self.tree, self.avals, self.count = tree, avals, 0
        self.arrays = [np.empty((room, *shape), dtype) for shape, dtype in avals]
        self.room = room

    def takes(self, tree: Any, avals: list[tuple[Any, Any]]) -> bool:
        """Whether results of this structure and these shapes belong here."""
        return self.avals == avals and same(self.tree, tree)

    def make_room(self, batches: int) -> None:
        """Room for so many more rows."""
        if self.count + batches > self.room:
            self.room = 2 * self.room + batches
            for k, old in enumerate(self.arrays):
                self.arrays[k] = np.empty((self.room, *old.shape[1:]), old.dtype)
                self.arrays[k][: self.count] = old[: self.count]

    def next_rows(self) -> list[Array]:
        """The arrays from the first row on that is free."""
        return [array[self.count :] for array in self.arrays]

    def tensors(self) -> Any:
        """The structure with all rows so far."""
        arrays = iter(self.arrays)
        return map_tree(
            lambda leaf: make(next(arrays)[: self.count]) if leaf is HOLE else leaf, self.tree
        )

    def items(self) -> list[Any]:
        """The structure of each batch."""
        whole = self.tensors()

        def item(k: int) -> Any:
            return map_tree(lambda leaf: leaf[k] if isinstance(leaf, Tensor) else leaf, whole)

        return [item(k) for k in range(self.count)]


def structure(tree: Any) -> str:
    """The containers of a result, without what is in them."""
    return repr(map_tree(lambda leaf: None, tree))


def same(a: Any, b: Any) -> bool:
    """Whether two results are the same, but for their tensors."""
    if structure(a) != structure(b):
        return False
    return all(
        x is y or (type(x) is type(y) and not isinstance(x, np.ndarray) and bool(x == y))
        for x, y in zip(flatten(a), flatten(b), strict=True)
    )


def join(column: tuple[Any, ...], counts: list[int]) -> Any:
    """The rows of several segments: joined if they are alike, otherwise a list of them."""
    if not any(isinstance(part, Tensor) for part in column):
        if all(same(part, column[0]) for part in column):
            return column[0]
        return [part for part, n in zip(column, counts, strict=True) for _ in range(n)]
    arrays = [part._value for part in column if isinstance(part, Tensor)]
    alike = len({(a.shape[1:], a.dtype) for a in arrays}) == 1
    if len(arrays) == len(column) and alike:
        return make(np.concatenate(arrays))
    return [
        part[k] if isinstance(part, Tensor) else part
        for part, n in zip(column, counts, strict=True) for k in range(n)
    ]  # fmt: skip
