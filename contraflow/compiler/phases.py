"""Which kernels may run at the same time, and how the work of a step is dealt out to threads.

Every thread walks the same list of phases. Within a phase no kernel writes what another one reads
or writes, so nobody waits; between two phases all threads meet. A kernel that is worth it is
divided among all threads. Small ones are run whole: those that depend on each other form a chain,
which one thread runs in order, and the chains of a phase are dealt out.

The order of conflicting kernels is that of the program, for any number of threads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from contraflow.compiler.loops import Buffer, Kernel, Place

__all__ = ["MEETING", "Task", "footprint", "phases", "seconds_together"]

MEETING = 0.3e-6  # seconds that a meeting of all threads costs
Touch = tuple[Any, int, int, bool]  # a memory, from where to where in it, whether it is written


@dataclass
class Task:
    """A kernel in a phase: ``divided`` among all threads, or whole on that of its ``chain``."""

    number: int
    seconds: float
    divided: bool
    chain: int = -1


def extent(place: Place) -> tuple[int, int]:
    """The first element of a place, and the one behind the last."""
    steps = [s * (n - 1) for n, s in zip(place.shape, place.strides, strict=True)]
    low = place.offset + sum(min(step, 0) for step in steps)
    return low, place.offset + sum(max(step, 0) for step in steps) + 1


def footprint(kernel: Kernel) -> Iterator[Touch]:
    """What a kernel touches: stretches of the arena in bytes, of other arrays in elements."""

    def touch(buffer: Buffer, low: int, high: int, written: bool) -> Touch:
        if buffer.kind != "arena":
            return buffer, low, high, written
        size = buffer.dtype.itemsize
        return None, buffer.offset + low * size, buffer.offset + high * size, written

    for place in kernel.reads():
        if 0 not in place.shape:
            yield touch(place.buffer, *extent(place), False)
    for place in kernel.gulps():
        yield touch(place.buffer, 0, place.buffer.size, False)
    for place in kernel.writes():
        if kernel.anchor is None and 0 not in place.shape:
            yield touch(place.buffer, *extent(place), True)
    whole = [r.into for r in kernel.reductions] if kernel.anchor is None else kernel.writes()
    for place in whole:  # cleared, or written in an order of its own
        yield touch(place.buffer, 0, max(place.buffer.size, 1), True)


class Phase:
    """Tasks without conflicts but for those within a chain."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.touched: defaultdict[Any, list[tuple[int, int, bool, Task]]] = defaultdict(list)

    def rivals(self, touches: list[Touch]) -> list[Task]:
        """The tasks that a kernel must come after."""
        found = {}
        for memory, low, high, written in touches:
            for begin, end, before, task in self.touched[memory]:
                if low < end and begin < high and (written or before):
                    found[task.number] = task
        return list(found.values())

    def takes(self, task: Task, touches: list[Touch]) -> bool:
        """Add a task, if the threads need not meet before it."""
        rivals = self.rivals(touches)
        if rivals and (task.divided or any(rival.divided for rival in rivals)):
            return False
        chains = self.seconds(rival.chain for rival in rivals)
        if sum(chains.values()) - max(chains.values(), default=0.0) > MEETING:
            return False  # these chains had better run side by side
        if not task.divided:
            task.chain = min(chains, default=len(self.tasks))
            for other in self.tasks:
                if other.chain in chains:
                    other.chain = task.chain
        self.tasks.append(task)
        for memory, low, high, written in touches:
            self.touched[memory].append((low, high, written, task))
        return True

    def seconds(self, chains: Iterator[int]) -> dict[int, float]:
        """What each of these chains takes."""
        found = dict.fromkeys(chains, 0.0)
        for task in self.tasks:
            if task.chain in found:
                found[task.chain] += task.seconds
        return found

    def closed(self) -> list[Task]:
        """The tasks, with the chains numbered by what they take: thread by thread in turn."""
        whole = self.seconds(task.chain for task in self.tasks if not task.divided)
        ranks = {c: k for k, c in enumerate(sorted(whole, key=lambda c: -whole[c]))}
        for task in self.tasks:
            task.chain = ranks.get(task.chain, -1)
        return self.tasks


def phases(
    kernels: list[Kernel], seconds: dict[int, float], divided: dict[int, bool]
) -> list[list[Task]]:
    """The kernels with these numbers, phase by phase, in the order of the program.

    Args:
        seconds: what each of them takes on one thread, in order; divided: whether it is shared.
    """
    phase, found = Phase(), []
    for number, spent in seconds.items():
        task = Task(number, spent, divided[number])
        touches = list(footprint(kernels[number]))
        if not phase.takes(task, touches):
            found.append(phase.closed())
            phase = Phase()
            phase.takes(task, touches)
    found.append(phase.closed())
    return found


def seconds_together(plan: list[list[Task]], threads: int = 2) -> float:
    """What the phases take on so many threads."""
    total = 0.0
    for tasks in plan:
        spent = [0.0] * threads
        for task in tasks:
            if not task.divided:
                spent[task.chain % threads] += task.seconds
        total += MEETING + max(spent) + sum(t.seconds for t in tasks if t.divided) / threads
    return total
