"""What was put off between two looks, made to run: first op by op, then as native code."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, is_
from sys import getrefcount
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np

from contraflow.compiler.loops import Buffer
from contraflow.compiler.lower import broken, index_guard, lower
from contraflow.compiler.memory import Point, program
from contraflow.compiler.native import Native
from contraflow.compiler.schedule import schedule
from contraflow.graph.interpret import evaluate
from contraflow.graph.ir import Graph, Value
from contraflow.graph.rewrite import drop_dead
from contraflow.graph.text import to_text
from contraflow.tensor.tape import version_of

__all__ = ["Piece"]

Array = np.ndarray[Any, Any]
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
        self.native = Compiled(self.graph, len(order), [at for at, _ in self.writes])
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


class Compiled:
    """A program as native code, pointed at the arrays that tensors have now."""

    reason = "an optimiser's steps made a loop"

    def __init__(self, graph: Graph, tensors: int, written: list[int]) -> None:
        start = perf_counter()
        self.source, self.lock = drop_dead(graph), Lock()
        self.graph = lower(self.source)
        self.native = Native(schedule(self.graph), to_text(self.graph))
        inputs = self.native.program.inputs
        self.inputs, self.written = inputs[:tensors], written
        self.is_written = [k in set(written) for k in range(tensors)]
        self.shapes = [(v.shape, v.dtype) for v in self.graph.inputs[:tensors]]
        self.scalars = np.zeros(max(len(inputs) - tensors, 1), np.float64)
        for k, buffer in enumerate(inputs[tensors:]):
            self.native.point(buffer, self.scalars[k : k + 1])
        pairs = zip(self.native.program.outputs, self.graph.outputs, strict=True)
        self.outputs = [Result(buffer, value) for buffer, value in pairs]
        self.pointed: list[Any] = [None] * tensors
        self.versions: list[Any] = []
        self.watch(graph)
        self.seconds = perf_counter() - start

    def watch(self, graph: Graph) -> None:
        """Native code that looks whether an index is out of range, before anything is done."""
        self.guard = index_guard(self.graph)
        self.watcher: Native | None = None
        self.alarm = np.zeros((), bool)
        if self.guard is not None:
            watched = self.guard[0]
            self.watcher = Native(schedule(watched), to_text(watched))
            self.watcher.point(self.watcher.program.outputs[0], self.alarm)

    def __call__(self, order: list[Any], scalars: list[Callable[[], float]]) -> list[Array]:
        back = self.point(order)
        for k, read in enumerate(scalars):
            self.scalars[k] = read()
        if self.watcher is not None:
            self.check()
        for output in self.outputs:
            output.prepare(self.native)
        self.native()
        for target, copy in back:
            np.copyto(target, copy)
        if self.versions:
            self.versions[0].touch()
            now = self.versions[0].n
            for version in self.versions:
                version.n = now
        return [output.array for output in self.outputs]

    def point(self, order: list[Any]) -> list[tuple[Array, Array]]:
        """Point the buffers at the tensors' arrays; gives the copies to be written back."""
        arrays = list(map(value_of, order))
        pointed = self.pointed
        if all(map(is_, arrays, pointed)):
            return []
        if any(arrays[k] is not pointed[k] for k in self.written) or not self.versions:
            self.versions = [version_of(order[k]) for k in self.written]
        back = []
        versions = set(self.versions)
        for k, array in enumerate(arrays):
            if array is pointed[k]:
                continue
            pointed[k] = array
            written = self.is_written[k]
            shown = not written and order[k]._version is not None and order[k]._version in versions
            if shown or not usable(array, written):
                copy = np.array(array, order="C")
                self.aim(k, copy)
                pointed[k] = None  # the next call copies again
                if written:
                    back.append((array, copy))
            else:
                self.aim(k, array)
        return back

    def aim(self, k: int, array: Array) -> None:
        buffer = self.inputs[k]
        assert (array.shape, array.dtype) == self.shapes[k]
        self.native.point(buffer, array)
        if self.watcher is not None:
            self.watcher.point(self.watcher.program.inputs[k], array)

    def check(self) -> None:
        assert self.watcher is not None
        assert self.guard is not None
        self.watcher()
        if self.alarm:
            raise broken(self.source.name, self.guard[1])


def usable(array: Array, written: bool) -> bool:
    """Whether kernels can use the memory as it is."""
    return bool(array.flags.c_contiguous and (array.flags.writeable or not written))


class Result:
    """The memory of an output. It serves again as soon as nobody else holds it: fresh memory for
    a large gradient costs more than computing it."""

    def __init__(self, buffer: Buffer, value: Value) -> None:
        self.buffer, self.shape, self.dtype = buffer, value.shape, value.dtype
        self.array: Any = None

    def prepare(self, native: Native) -> None:
        # held here, by `native` and by the call
        if self.array is None or getrefcount(self.array) > 3:
            self.array = np.empty(self.shape, self.dtype)
            native.point(self.buffer, self.array)
