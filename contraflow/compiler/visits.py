"""Loop nests that look at the same data, one after the other, are put together slice by slice.

Layer normalisation reads each row for its mean, once more for its variance and again to standardise
it. Each pass over all rows finds its data in memory that is far away by then. Done row by row, the
second pass finds what the first one left in the near cache. The same holds for a softmax, and for
the groups of group normalisation.
"""

from __future__ import annotations

from math import prod

from contraflow.compiler.loops import Buffer, Kernel, Place, Visits

__all__ = ["together"]

NEAR = 384 << 10  # bytes that stay near: most of a usual second cache
LEAST = 2 << 10  # bytes of a slice that are worth a visit
UNITS = 8  # slices that can be dealt out evenly
MOST = 16  # members
Ways = list[tuple[int | None, bool]]  # from one slice to the next, if it has any; written?
Touched = dict[Buffer, Ways]


def together(kernels: list[Kernel]) -> list[Kernel]:
    """The kernels in order, where neighbours are one if that saves ways to memory."""
    found: list[Kernel] = []
    k = 0
    while k < len(kernels):
        groups = [Group(kernels[k : k + MOST], n) for n in sorted(set(kernels[k].dims))]
        best = max(groups, key=lambda group: len(group.members), default=None)
        if best and best.members:
            found.append(best.kernel())
            k += len(best.members)
        else:
            found.append(kernels[k])
            k += 1
    return found


class Group:
    """The first of some kernels, as many as are worth being done slice by slice.

    Args:
        kernels: some kernels in order.
        count: how many slices there are.
    """

    def __init__(self, kernels: list[Kernel], count: int) -> None:
        self.count = count
        self.members: list[Kernel] = []
        self.along: list[int] = []
        self.touched: list[Touched] = []
        for kernel in kernels if count >= UNITS else ():
            if not self.takes(kernel):
                break
        while self.members and not self.worth():
            self.members.pop()
            self.along.pop()
            self.touched.pop()

    def takes(self, kernel: Kernel) -> bool:
        """Add a kernel, if some dimension of it can be done slice by slice with the others."""
        for d, n in enumerate(kernel.dims):
            if n == self.count and free(kernel, d) and self.agrees(now := touches(kernel, d)):
                self.members.append(kernel)
                self.along.append(d)
                self.touched.append(now)
                return True
        return False

    def agrees(self, now: Touched) -> bool:
        """Whether slices need nothing of what other slices are yet to do: what one kernel writes
        and another one touches is sliced alike by both."""
        for buffer, how in now.items():
            before = [ways for touched in self.touched for ways in touched.get(buffer, ())]
            steps = {step for step, _ in (*before, *how)}
            written = any(w for _, w in (*before, *how))
            if before and written and (len(steps) > 1 or None in steps):
                return False
        return True

    def worth(self) -> bool:
        """Whether what several members look at is far away afterwards, but a slice of it is not."""
        ways: dict[Buffer, list[Ways]] = {}
        for touched in self.touched:
            for buffer, how in touched.items():
                ways.setdefault(buffer, []).append(how)
        shared = 0
        for buffer, found in ways.items():
            if len(found) > 1 and all(step is not None for how in found for step, _ in how):
                shared += buffer.nbytes
        return shared > NEAR and LEAST <= shared / self.count <= NEAR

    def kernel(self) -> Kernel:
        """All members as one."""
        largest = max(self.members, key=lambda kernel: prod(kernel.dims))
        ops = [name for kernel in self.members for name in kernel.ops]
        return Kernel(largest.dims, Visits(self.members, self.along), ops=ops)


def free(kernel: Kernel, d: int) -> bool:
    """Whether the slices of a dimension of a loop nest do not meet in what it writes."""
    reduced = any(d in r.reduced for r in kernel.reductions)
    return kernel.anchor is None and not reduced and all(p.strides[d] for p in kernel.writes())


def touches(kernel: Kernel, d: int) -> Touched:
    """What a kernel reads and writes: how each place is sliced, and whether it is written."""
    found: Touched = {}
    places = [(p, False) for p in kernel.reads()] + [(p, True) for p in kernel.writes()]
    gulped = {place.buffer for place in kernel.gulps()}
    for place, written in places:
        step = None if place.buffer in gulped else sliced(place, d)
        found.setdefault(place.buffer, []).append((step, written))
    return found


def sliced(place: Place, d: int) -> int | None:
    """The step from one slice to the next, if each slice lies in one piece of memory by itself.

    Slices in pieces would be right as well, but not fast: the pieces of a channel in a batch of
    images lie apart by a power of two, where they push each other out of the cache.
    """
    steps = list(zip(place.shape, place.strides, strict=True))
    others = [(n - 1) * t for n, t in (*steps[:d], *steps[d + 1 :])]
    alone = not place.offset and min(others, default=0) >= 0 and sum(others) < place.strides[d]
    return place.strides[d] if alone else None
