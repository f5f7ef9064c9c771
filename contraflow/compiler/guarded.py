"""Native code with its guard, pointed at the arrays that tensors have now."""

from __future__ import annotations

from sys import getrefcount
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, lesson
from contraflow.compiler.loops import Buffer
from contraflow.compiler.lower import Check, broken, index_guard, lower
from contraflow.compiler.native import Native
from contraflow.compiler.schedule import schedule
from contraflow.graph.ir import Graph, Value
from contraflow.graph.text import to_text
from contraflow.tensor.versions import Writer, version_of

__all__ = ["Array", "Back", "Guarded", "Result"]

Array = np.ndarray[Any, Any]
Back = list[tuple[Array, Array]]  # arrays, each with the copy that is written back to it
SPARE = 3  # pieces of memory that a result takes in turn


class Guarded:
    """A graph as native code that reads and writes tensors where they lie.

    Args:
        graph: its inputs are tensors and then numbers; reason: why it is compiled.
        numbers: how many numbers there are.

    Attributes:
        source, graph: what was given, and what was made of it.
        native, watcher: the code, and what looks for indices out of range before it runs.
        alarm: whether the watcher found one.
        inputs, scalars: the buffers of the tensors, and the memory of the numbers.
        seconds: that compiling took.
        careful: state is not written before everything is done.
    """

    careful = False

    def __init__(self, graph: Graph, reason: str, numbers: int) -> None:
        start = perf_counter()
        self.source, self.reason, self.lock = graph, reason, Lock()
        self.graph = lower(graph)
        self.native = Native(schedule(self.graph), to_text(self.graph))
        self.watcher: Native | None = None
        self.watched: dict[Buffer, Buffer] = {}  # what the guard reads as well
        self.checks: list[Check] = []
        self.alarm = np.zeros((), bool)
        guard = index_guard(self.graph)
        if guard is not None:
            self.watch(*guard)
        inputs = self.native.program.inputs
        tensors = len(inputs) - numbers
        self.inputs, self.scalars = inputs[:tensors], np.zeros(numbers, np.float64)
        for k, buffer in enumerate(inputs[tensors:]):
            self.point(buffer, self.scalars[k : k + 1])
        self.writer = Writer()
        self.written: set[Any] = set()  # the versions of the memory that is written
        self.seconds = perf_counter() - start

    def watch(self, graph: Graph, checks: list[Check]) -> None:
        """Compile the guard."""
        self.watcher, self.checks = Native(schedule(graph), to_text(graph)), checks
        self.watcher.point(self.watcher.program.outputs[0], self.alarm)
        pairs = zip(
            self.native.program.inputs, self.watcher.program.inputs, self.graph.inputs, strict=True
        )
        read = {v for e in graph.equations for v in e.values}
        self.watched = {ours: theirs for ours, theirs, value in pairs if value in read}

    def look(self) -> None:
        """Run the guard.

        Raises:
            IndexOutOfRange: for a label or an index that the code could not use.
        """
        self.watcher()  # type: ignore[misc]
        if self.alarm:
            raise broken(self.source.name, self.checks)

    def claim(self, tensors: list[Any]) -> None:
        """From now on these are the tensors that are written."""
        versions = list(map(version_of, tensors))
        self.writer.claim(versions)
        self.written = set(versions)

    def point(self, buffer: Buffer, array: Array) -> None:
        """Say which array a buffer is."""
        self.native.point(buffer, array)
        theirs = self.watched.get(buffer)
        if theirs is not None:
            self.watcher.point(theirs, array)  # type: ignore[union-attr]

    def point_at(self, array: Array, buffer: Buffer, written: bool, back: Back) -> bool:
        """Point a buffer at an array; at a copy if kernels cannot use the memory as it is, or must
        not write to it before all was looked at."""
        flags = array.flags
        if written and not flags.writeable:
            raise ArgumentError(
                lesson(
                    f"{self.source.name} writes to memory that cannot be written: it is expanded, "
                    "or a read-only array",
                    [("tensor", f"{array.dtype}{list(array.shape)}")],
                    "x = x.clone(), and pass or keep that",
                )
            )
        if flags.c_contiguous and not (written and self.careful):
            self.point(buffer, array)
            return True
        copy = np.array(array, order="C")
        self.point(buffer, copy)
        if written:
            back.append((array, copy))
        return False


class Result:
    """The memory of a result. Fresh memory for a large one would cost more than computing it: a few
    arrays serve in turn, as soon as nobody else holds them."""

    def __init__(self, native: Native, buffer: Buffer, value: Value) -> None:
        self.native, self.buffer, self.shape, self.dtype = native, buffer, value.shape, value.dtype
        self.array: Any = np.empty(self.shape, self.dtype)
        self.spare: list[Array] = [self.array]
        native.point(buffer, self.array)

    def prepare(self) -> None:
        """Memory for the next result."""
        if getrefcount(self.array) == 4:  # here, among the spare ones, by `native`; the question
            return
        spare = self.spare
        self.array = self.native.arrays[self.buffer] = None
        for k in range(len(spare)):
            if getrefcount(spare[k]) == 2:  # the list and the question
                self.array = spare[k]
                break
        else:
            self.array = np.empty(self.shape, self.dtype)
            spare[:] = [*spare[1 - SPARE :], self.array]
        self.point()

    def point(self) -> None:
        """Let the native code write here."""
        self.native.arrays.pop(self.buffer, None)
        self.native.point(self.buffer, self.array)
