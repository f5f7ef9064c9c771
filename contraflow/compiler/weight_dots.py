"""The gradient of a convolution's weight where lanes are positions: scalar products of rows."""

from __future__ import annotations

from contraflow.compiler.emit import Reg
from contraflow.compiler.image import Scratch, blocks, clear, pieces, plus, times, walk_taps
from contraflow.compiler.inner import Inner, planes_of
from contraflow.compiler.kernels import Text, across
from contraflow.compiler.loops import Buffer, Convolution, Kernel
from contraflow.compiler.packing import widened
from contraflow.compiler.targets import target
from contraflow.compiler.weight_form import Form

__all__ = ["ByPosition"]


class ByPosition(Form):
    """A tile is some output channels by some taps. Units are blocks of output channels.

    Kernels that prepare dy (``inner.py``) run for the channels of a block, an image at a time.
    """

    def __init__(self, kernel: Kernel, c: Convolution) -> None:
        super().__init__(kernel, c)
        self.s = Scratch(self.part, self.channels, self.kind, self.lanes)
        self.levels, first, self.taps = walk_taps(self.c, self.s, self.rows // self.channels)
        assert first == 0
        self.block = next(n for n in (4, 3, 2, 1) if self.outputs % n == 0)
        self.units = c.groups * self.outputs // self.block
        self.sums = self.units * self.block * self.rows * self.lanes
        self.planes = -(-planes_of(c.before) // 16) * 16
        self.dys = self.block * self.area * bool(c.before)
        self.size = self.s.size + self.sums + self.planes + self.dys

    @property
    def whole(self) -> bool:
        """Whether dy is read a whole channel at a time."""
        return self.part.deep.count == 1 and self.s.whole

    def text(self, scratch: Buffer) -> Text:
        e, c, part, units = self.e, self.c, self.part, self.outputs // self.block
        self.name(scratch)
        self.totals = e.gep(self.memory, str(self.s.size), self.kind)
        self.prepare()
        clear(e, self.memory, self.s.size, self.kind, self.lanes)
        clear(e, self.totals, self.sums, self.kind, self.lanes)
        with e.loop(0, c.groups) as g:  # its units, as far as they are to be done
            first = self.larger("%begin", times(e, g, units))
            last = e.least("%end", times(e, plus(e, g, 1), units))
            some = e.compares("ult", first, last)
            with e.when(some), e.loop(0, c.image.shape[0]) as n, e.loop(0, part.deep.count) as d:
                for start, rows, count in self.s.strips:
                    with e.loop(start, start + rows * count, rows) as h:
                        self.s.fill(e, self.image(n, g), self.memory, d, h)
                        with e.loop(first, last) as unit:
                            self.unit(n, unit, self.position(d, h), rows * self.s.row)
        with e.loop("%begin", "%end") as unit:
            self.finish(unit)
        e.line("ret void")
        return Text(e, self.buffers, split=self.units, private=(scratch,))

    def larger(self, a: str, b: str) -> str:
        test = self.e.compares("ugt", a, b)
        return self.e.value(f"select i1 {test}, i64 {a}, i64 {b}", "i64")[0]

    def unit(self, n: str, unit: str, position: str, positions: int) -> None:
        """Some positions of an image, for a block of output channels."""
        e, first = self.e, times(self.e, unit, self.block)
        if self.c.before:
            with e.loop(0, self.block) as r:
                plane = e.gep(self.dy, times(e, r, self.area), self.kind)
                self.inner.run(n, plus(e, first, r), {self.c.weight.buffer: plane})
        dy = e.gep(self.gradient(n, first), position, self.kind)
        sums = e.gep(self.totals, times(e, unit, self.block * self.rows * self.lanes), self.kind)
        self.nest(self.levels, dy, self.memory, sums, positions)

    def prepare(self) -> None:
        """Where dy and what leads to it lie, if they live only here; their sums begin."""
        e, before = self.e, self.c.before
        if not before:
            return
        planes = e.gep(self.totals, str(self.sums), self.kind)
        self.dy = e.gep(planes, str(self.planes), self.kind)
        self.inner = Inner(before, e, self.names, planes, self.kind)
        with e.loop("%begin", "%end") as unit, e.loop(0, self.block) as r:
            self.inner.begin(plus(e, times(e, unit, self.block), r))

    def nest(
        self, levels: list[tuple[int, int, int]], dy: str, x: str, sums: str, positions: int
    ) -> None:
        """Loop over channels, and whatever else is not written out; then the taps."""
        e = self.e
        if not levels:
            most = max((target().registers.count - 1) // (self.block + 1), 1)
            for start, size, count in blocks(len(self.taps), most):
                for first in range(start, start + size * count, size):
                    self.dot(dy, x, sums, self.taps[first : first + size], positions)
            return
        (count, step, sum_step), *rest = levels
        with e.loop(0, count) as i:
            here = e.gep(x, times(e, i, step), self.kind)
            total = e.gep(sums, times(e, i, sum_step * self.lanes), self.kind)
            self.nest(rest, dy, here, total, positions)

    def dot(self, dy: str, x: str, sums: str, taps: list[tuple[int, int]], positions: int) -> None:
        """A tile, added to what the images before gave."""
        e, n = self.e, self.lanes
        places = [
            e.gep(sums, str((r * self.rows + tap) * n), self.kind)
            for r in range(self.block)
            for _, tap in taps
        ]
        lines = [e.gep(dy, str(r * self.area), self.kind) for r in range(self.block)]
        images = [e.gep(x, str(offset), self.kind) for offset, _ in taps]
        with e.wide(n):
            vector = e.type(self.kind)
            found = [e.load(place, self.kind) for place in places]
        for width, begin, end in pieces(positions, n):
            with e.loop(begin, end, width, [(reg, vector) for reg in found]) as (p, state):
                left = [self.part_of(e.gep(line, p, self.kind), width) for line in lines]
                right = [self.part_of(e.gep(image, p, self.kind), width) for image in images]
                pairs = [(a, b) for a in left for b in right]
                with e.wide(n):
                    state.next.extend(
                        e.fma(a, b, now) for (a, b), now in zip(pairs, state.now, strict=True)
                    )
            found = list(state.final)
        with e.wide(n):
            for place, reg in zip(places, found, strict=True):
                e.store(reg, place)

    def part_of(self, pointer: str, width: int) -> Reg:
        """A vector that begins with ``width`` elements, then zeros."""
        with self.e.wide(width):
            return widened(self.e, self.e.load(pointer, self.kind), self.lanes)

    def finish(self, unit: str) -> None:
        """Add the lanes."""
        e, size = self.e, self.block * self.rows
        first = times(e, unit, size)
        with e.loop(0, size) as i:
            with e.wide(self.lanes):
                at = times(e, plus(e, first, i), self.lanes)
                total = across(e, "add", e.load(e.gep(self.totals, at, self.kind), self.kind))
            at = plus(e, plus(e, first, self.into.offset), i)
            e.store(total, e.gep(self.dw, at, self.kind))
