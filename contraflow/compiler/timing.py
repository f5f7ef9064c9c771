"""How long the kernels of a version take, measured on copies: no state changes."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from contraflow.compiler.native import Native
from contraflow.compiler.rates import rates
from contraflow.compiler.schedule import schedule
from contraflow.graph.text import to_text

if TYPE_CHECKING:
    from contraflow.compiler.guarded import Guarded

__all__ = ["kernel_seconds", "total_seconds"]

BUDGET = 0.25  # seconds for either kind of measurement
LEAST, MOST = 5, 400  # rounds
ENOUGH = 1e-5  # seconds: a kernel that takes less runs several times in a row
OFTEN = 1000


class Copies:
    """Arrays that a program may read and write as it likes."""

    def __init__(self, version: Guarded) -> None:
        held = version.native.arrays
        self.originals = []
        for buffer, value in zip(version.native.program.inputs, version.graph.inputs, strict=True):
            array = held.get(buffer)
            self.originals.append(np.zeros(value.shape, value.dtype) if array is None else array)
        self.inputs = [np.array(array, order="C") for array in self.originals]
        self.outputs = [np.empty(v.shape, v.dtype) for v in version.graph.outputs]

    def point(self, native: Native) -> None:
        """Let a program work on the copies."""
        program = native.program
        for buffer, array in zip(program.inputs, self.inputs, strict=True):
            native.point(buffer, array)
        for buffer, array in zip(program.outputs, self.outputs, strict=True):
            native.point(buffer, array)

    def restore(self) -> None:
        """What the step begins with."""
        for copy, original in zip(self.inputs, self.originals, strict=True):
            np.copyto(copy, original)


def rounds() -> Any:
    """As many rounds as fit into the budget."""
    end = perf_counter() + BUDGET
    for k in range(MOST):
        yield
        if k >= LEAST and perf_counter() > end:
            return


def kernel_seconds(version: Guarded) -> list[float]:
    """The median time of each kernel on one thread, in the order of the step."""
    with version.lock:
        copies = Copies(version)
    apart = Native(schedule(version.graph), to_text(version.graph), apart=True)
    copies.point(apart)
    return measured(apart, copies)


def measured(native: Native, copies: Copies) -> list[float]:
    """The median time of each part of a program."""
    counts = [1] * len(native.parts)
    spent: list[list[float]] = [[] for _ in native.parts]
    for _ in rounds():
        copies.restore()
        for k, times in enumerate(spent):
            times.append(once(native, k, counts[k]))
            if len(times) <= 2:  # the first is cold
                counts[k] = min(OFTEN, 1 + int(ENOUGH / times[-1]))
    return [float(np.median(times[2:])) for times in spent]


def once(native: Native, k: int, count: int) -> float:
    """The time of a kernel that runs ``count`` times."""
    start = perf_counter()
    if isinstance(native.parts[k], list):
        rates().repeat(native.library[f"part{k}"], native.address, count)
    else:
        count = 1
        native.calls[k]()
    return max(perf_counter() - start - rates().call, 1e-9) / count


def total_seconds(version: Guarded) -> float:
    """The median time of the native code of a whole step, as it runs."""
    native = version.native
    with version.lock:
        table, arrays = list(native.table), dict(native.arrays)
        copies = Copies(version)
        try:
            copies.point(native)
            if native.pace is None:
                return sum(measured(native, copies))
            times = []
            for _ in rounds():
                copies.restore()
                start = perf_counter()
                native()
                times.append(perf_counter() - start)
        finally:
            native.table[:] = table
            native.arrays.clear()
            native.arrays.update(arrays)
    return float(np.median(times))
