"""What was put off between two looks, made to run: first op by op, then as native code."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, is_
from typing import Any

import numpy as np

from contraflow.base.memory import collected_later, owner_of
from contraflow.compiler.guarded import Array, Back, Guarded, Result
from contraflow.compiler.memory import Point, program
from contraflow.graph.interpret import evaluate
from contraflow.graph.ir import Graph, Value
from contraflow.graph.rewrite import drop_dead

__all__ = ["Piece"]

value_of = attrgetter("_value")


class Piece:
    """A program that ends at a point of memory, with what somebody wants to know of it.

    Args:
        point: where it ends.
        outputs: the symbols whose arrays are wanted.
        writes: (position of a tensor, its new symbol).
    """

    def __init__(
        self, point: Point, outputs: tuple[Value, ...], writes: tuple[tuple[int, Value], ...]
    ) -> None:
        self.point, self.outputs, self.writes = point, outputs, writes
        self.graph: Graph | None = None
        self.native: Compiled | None = None

    def __call__(
        self, order: list[Any], scalars: list[Callable[[], float]], native: bool
    ) -> list[Array]:
        """The arrays of the outputs; tensors are written where they lie."""
        if native and self.native is not None:
            return self.native(order, scalars)
        if self.graph is None:
            self.graph = program(self.point, list(self.outputs), list(self.writes))
        if not native:
            return self.by_ops(self.graph, order, scalars)
        with collected_later():
            self.native = Compiled(self.graph, len(scalars), [at for at, _ in self.writes])
        return self.native(order, scalars)

    def by_ops(
        self, graph: Graph, order: list[Any], scalars: list[Callable[[], float]]
    ) -> list[Array]:
        """NumPy, op by op: eager's own bits."""
        arrays = [t._value for t in order]
        numbers = [np.asarray(float(read()), np.float64) for read in scalars]
        outputs, new = evaluate(graph, [*arrays, *numbers])
        outputs = apart(outputs, arrays)
        new = [v.copy() if any(np.may_share_memory(v, a) for a in arrays) else v for v in new]
        for (at, _), array in zip(self.writes, new, strict=True):
            np.copyto(order[at]._value, array)
        return outputs


def apart(outputs: list[Array], arrays: list[Array]) -> list[Array]:
    """Outputs in memory of their own: no two share it, and none an input's."""
    found: list[Array] = []
    for array in outputs:
        shared = array.base is not None or any(array is other for other in (*arrays, *found))
        found.append(array.copy() if shared else np.ascontiguousarray(array).reshape(array.shape))
    return found


class Compiled(Guarded):
    """A program as native code.

    Args:
        graph: its inputs are tensors and then numbers; numbers: how many numbers there are.
        written: the positions of the tensors that it writes.
    """

    def __init__(self, graph: Graph, numbers: int, written: list[int]) -> None:
        super().__init__(drop_dead(graph), "an optimiser's steps made a loop", numbers)
        tensors = len(self.inputs)
        self.shapes = [(v.shape, v.dtype) for v in self.graph.inputs[:tensors]]
        self.writes, self.is_written = written, [k in set(written) for k in range(tensors)]
        self.pointed: list[Any] = [None] * tensors
        self.owners: set[int] = set()  # of the memory that is written
        pairs = zip(self.native.program.outputs, self.graph.outputs, strict=True)
        self.outputs = [Result(self.native, buffer, value) for buffer, value in pairs]

    def __call__(self, order: list[Any], scalars: list[Callable[[], float]]) -> list[Array]:
        back = self.place(order)
        for k, read in enumerate(scalars):
            self.scalars[k] = read()
        if self.watcher is not None:
            self.look()
        for output in self.outputs:
            output.prepare()
        self.native()
        for target, copy in back:
            np.copyto(target, copy)
        return [output.array for output in self.outputs]

    def place(self, order: list[Any]) -> Back:
        """Point the buffers at the tensors' arrays; gives the copies to be written back."""
        arrays = list(map(value_of, order))
        pointed = self.pointed
        back: Back = []
        if all(map(is_, arrays, pointed)):
            return back
        if any(arrays[k] is not pointed[k] for k in self.writes):
            self.owners = {id(owner_of(arrays[k])) for k in self.writes}
        for k, (array, buffer, written) in enumerate(
            zip(arrays, self.inputs, self.is_written, strict=True)
        ):
            if array is pointed[k]:
                continue
            assert (array.shape, array.dtype) == self.shapes[k]
            # what shows memory that is written is read as it is now
            shown = not written and id(owner_of(array)) in self.owners
            there = self.point_at(array.copy() if shown else array, buffer, written, back)
            pointed[k] = array if there and not shown else None  # a copy is made for every call
        return back
