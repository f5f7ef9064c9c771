"""Convolutions with one image of the batch in each lane.

Where lanes are positions, taps that meet nothing but padding are multiplied like all others. Where
lanes are images, all of them are at the same position, and only taps that meet the image are
walked: for the gradient of the input of a 5x5 kernel on 10x10 positions that is half the work.

The images of a group are turned on their way into scratch memory, ``[position, channel, image]``,
where the taps of a row with all their channels lie side by side; results are turned back before
the kernel's expressions see them. It is chosen where that costs less than what it saves.
"""

from __future__ import annotations

from math import prod

from contraflow.compiler.emit import BITS, Emitter, Reg
from contraflow.compiler.following import Following, alone, start_sums
from contraflow.compiler.image import blocks, plus, times
from contraflow.compiler.inner import inner_of
from contraflow.compiler.kernels import Body, Text
from contraflow.compiler.loops import Buffer, Convolution, Kernel
from contraflow.compiler.packing import turned
from contraflow.compiler.plans import Plan
from contraflow.compiler.positions import Axis, Part
from contraflow.compiler.targets import target

__all__ = ["Batched"]

ROOM = 448 << 10  # bytes of the images of a group
RESULTS = 128 << 10  # bytes of results that wait to be turned
IN, OUT = 8, 10  # multiplications that take as long as turning an element in, and out
EDGES = 1.1  # of the time: vectors across lines of the cache, tiles that do not fill registers
CLOSE = 4  # channels that are written out one after the other
LEAST = 8  # sums at a time, so that none waits for another


def meets(axis: Axis) -> list[int]:
    """How many taps meet the image, for each position."""
    return [
        sum(0 <= i * axis.step + shift < axis.size for _, shift in axis.taps)
        for i in range(axis.count)
    ]


class Batched:
    """The function of a convolution whose units of work are groups of images."""

    def __init__(self, kernel: Kernel, c: Convolution, p: Plan) -> None:
        self.kernel, self.c, self.p = kernel, c, p
        self.part: Part = p.parts[0].part
        tile = target().tile(p.kind)
        self.lanes, batch = tile.lanes, c.image.shape[0]
        fitting = [v for v in range(1, tile.vectors + 1) if batch % (v * self.lanes) == 0]
        self.vectors = max(fitting, default=0)
        self.group = self.vectors * self.lanes
        _, down, along = self.part.axes
        self.area = down.size * along.size
        self.taps = len(down.taps) * len(along.taps)
        self.close = max(k for k in range(1, CLOSE + 1) if p.channels % k == 0)
        # ---- scratch memory
        self.weights = c.groups * p.rows * p.channels * self.taps
        self.weights = -(-self.weights // 64) * 64
        self.images = self.area * p.channels * self.group
        room = RESULTS // (BITS[p.kind] // 8) // max(p.block * along.count * self.group, 1)
        self.strips = blocks(down.count, max(min(down.count, room), 1))
        self.most = max(rows for _, rows, _ in self.strips)
        self.row = -(-self.most * along.count // self.lanes) * self.lanes  # of results
        self.results = p.block * self.row * self.group
        self.size = self.weights + self.images + self.results + self.lanes * self.row

    @property
    def helps(self) -> bool:
        """Whether it can be done so, and is less work than with positions in lanes."""
        p, (deep, down, along) = self.p, self.part.axes
        plane = len(p.parts) == 1 and (deep.size, deep.count, len(deep.taps)) == (1, 1, 1)
        if not plane or not self.vectors or p.block * self.vectors < LEAST:
            return False
        if self.area < self.lanes or self.images * BITS[p.kind] // 8 > ROOM:
            return False
        met = [meets(axis) for axis in (down, along)]
        if not all(map(min, met)):
            return False
        positions = down.count * along.count
        whole = -(-positions // self.lanes) * self.lanes * self.taps * p.channels * p.rows
        ours = prod(map(sum, met)) * p.channels * p.rows
        return ours + IN * self.area * p.channels + OUT * positions * p.rows < EDGES * whole

    @property
    def whole(self) -> bool:
        """Whether all rows of a channel are there at a time."""
        return len(self.strips) == 1 and self.most == self.part.down.count

    def text(self, scratch: Buffer) -> Text:
        c, p = self.c, self.p
        self.e = e = Emitter()
        body = Body(self.kernel, e, (scratch,))
        self.memory = body.names[scratch]
        planes = e.gep(self.memory, str(self.size), p.kind)
        inner = inner_of(c.after, e, body.names, planes, p.kind)
        self.following = Following(
            alone(self.kernel), e, p.kind, body.names, self.part.deep, inner=inner
        )
        self.image_at = e.gep(self.memory, str(self.weights), p.kind)
        self.results_at = e.gep(self.image_at, str(self.images), p.kind)
        self.row_at = e.gep(self.results_at, str(self.results), p.kind)
        self.pack(body.names[c.weight.buffer])
        sn, sc = c.image.strides[:2]
        with e.loop("%begin", "%end") as unit:
            n = times(e, unit, self.group)
            with e.loop(0, self.group) as b:
                start_sums(alone(self.kernel), body, plus(e, n, b))
            with e.loop(0, c.groups) as g:
                at = plus(e, times(e, n, sn), times(e, g, sc * p.channels))
                source = e.gep(body.names[c.image.buffer], plus(e, at, c.image.offset), p.kind)
                self.turn_in(source, sn, sc)
                for start, size, some in blocks(p.rows, p.block):
                    with e.loop(start, start + size * some, size) as o:
                        for begin, rows, count in self.strips:
                            with e.loop(begin, begin + rows * count, rows) as h:
                                self.strip(g, o, h, size, rows)
                                first = plus(e, times(e, g, p.rows), o)
                                self.turn_out(n, first, h, size, rows)
        e.line("ret void")
        units = c.image.shape[0] // self.group
        return Text(e, body.buffers, split=units, private=(scratch,))

    # ---- into scratch memory, and back ---------------------------------------------------------

    def ordered(self, axis: Axis) -> list[tuple[int, int]]:
        """The taps of an axis in the order of what they meet."""
        return sorted(axis.taps, key=lambda tap: tap[1])

    def pack(self, weight: str) -> None:
        """The weights as they are read: [group, block of rows, tap, channel, row]."""
        e, c, p = self.e, self.c, self.p
        axes = [(self.part.down, len(self.part.along.taps)), (self.part.along, 1)]
        source = e.gep(weight, str(c.weight.offset), p.kind)
        for start, size, some in blocks(p.rows, p.block):
            with e.loop(0, c.groups) as g, e.loop(0, some) as k:
                o = plus(e, times(e, k, size), start)
                at = plus(e, times(e, g, p.group_step), times(e, o, p.row_step))
                line, to = e.gep(source, at, p.kind), e.gep(self.memory, self.packed(g, o), p.kind)
                self.pack_taps(axes, line, to, p.channels * size, size)

    def pack_taps(
        self, axes: list[tuple[Axis, int]], source: str, to: str, room: int, size: int
    ) -> None:
        """Taps in the order of what they meet, each with ``room`` for its channels."""
        e, p = self.e, self.p
        if not axes:
            with e.loop(0, p.channels) as channel:
                line = e.gep(source, times(e, channel, p.channel_step), p.kind)
                column = e.gep(to, times(e, channel, size), p.kind)
                for r in range(size):
                    reg = e.load(e.gep(line, str(r * p.row_step), p.kind), p.kind)
                    e.store(reg, e.gep(column, str(r), p.kind))
            return
        (axis, step), *rest = axes
        numbers = [tap for tap, _ in self.ordered(axis)]
        grow = numbers[1] - numbers[0] if len(numbers) > 1 else 0
        with e.loop(0, len(numbers)) as t:
            line = e.gep(source, plus(e, times(e, t, grow * step), numbers[0] * step), p.kind)
            self.pack_taps(rest, line, e.gep(to, times(e, t, step * room), p.kind), room, size)

    def packed(self, g: str, o: str) -> str:
        """Where the weights of a block of rows begin."""
        e, depth = self.e, self.p.channels * self.taps
        return plus(e, times(e, g, self.p.rows * depth), times(e, o, depth))

    def turn_in(self, source: str, sn: int, sc: int) -> None:
        """The images of a group, so that one position of one channel is a vector of them."""
        e, kind, n = self.e, self.p.kind, self.lanes
        step = self.p.channels * self.group
        with e.loop(0, self.p.channels) as c:
            plane = e.gep(source, times(e, c, sc), kind)
            to = e.gep(self.image_at, times(e, c, self.group), kind)
            whole = self.area // n * n
            # the last positions overlap those before
            for begin, end in [(0, whole), (self.area - n, self.area)][: 1 + (whole < self.area)]:
                with e.loop(begin, end, n) as at, e.wide(n):
                    target = e.gep(to, times(e, at, step), kind)
                    here = e.gep(plane, at, kind)
                    for v in range(0, self.group, n):
                        lines = [e.load(e.gep(here, str((v + b) * sn), kind), kind)
                                 for b in range(n)]  # fmt: skip
                        for k, reg in enumerate(turned(e, lines)):
                            e.store(reg, e.gep(target, str(k * step + v), kind))

    def turn_out(self, n: str, first: str, h: str, size: int, rows: int) -> None:
        """Rows of results, image by image, and what follows."""
        e, kind, lanes = self.e, self.p.kind, self.lanes
        positions = rows * self.part.along.count
        with e.loop(0, size) as r, e.loop(0, self.group, lanes) as v:
            at = plus(e, times(e, r, self.row * self.group), v)
            block = e.gep(self.results_at, at, kind)
            with e.loop(0, positions, lanes) as i, e.wide(lanes):
                here = e.gep(block, times(e, i, self.group), kind)
                lines = [e.load(e.gep(here, str(k * self.group), kind), kind)
                         for k in range(lanes)]  # fmt: skip
                to = e.gep(self.row_at, i, kind)
                for b, reg in enumerate(turned(e, lines)):
                    e.store(reg, e.gep(to, str(b * self.row), kind))
            with e.loop(0, lanes) as b:
                image = plus(e, plus(e, n, v), b)
                line = e.gep(self.row_at, times(e, b, self.row), kind)
                self.following.rows([image, plus(e, first, r), "0"], line, h, rows)

    # ---- the product ---------------------------------------------------------------------------

    def strip(self, g: str, o: str, h: str, size: int, rows: int) -> None:
        """A block of rows of the result at some rows of positions."""
        e, kind, along = self.e, self.p.kind, self.part.along
        weights = e.gep(self.memory, self.packed(g, o), kind)
        with e.loop(0, rows) as i:
            down = self.reach(self.part.down, plus(e, h, i))
            with e.loop(0, along.count) as j:
                position = plus(e, times(e, i, along.count), j)
                to = e.gep(self.results_at, times(e, position, self.group), kind)
                found = self.point(down, self.reach(along, j), weights, size)
                with e.wide(self.lanes):
                    for k, reg in enumerate(found):
                        r, v = divmod(k, self.vectors)
                        at = str(r * self.row * self.group + v * self.lanes)
                        e.store(reg, e.gep(to, at, kind))

    def reach(self, axis: Axis, i: str) -> tuple[str, str, str]:
        """The taps that meet the image at position i: the first, how many, and what it meets."""
        e, taps = self.e, self.ordered(axis)
        shift, grow = taps[0][1], taps[1][1] - taps[0][1] if len(taps) > 1 else 1
        at = e.plus(e.times(i, axis.step), shift)
        if axis.inside:
            return "0", str(len(taps)), at
        first = self.parts_of(self.above(e.minus("0", at)), grow)
        last = e.least(self.parts_of(e.minus(str(axis.size), at), grow), str(len(taps)))
        return first, e.minus(last, first), plus(e, at, times(e, first, grow))

    def above(self, count: str) -> str:
        """0 for a negative number."""
        e = self.e
        less = e.value(f"icmp slt i64 {count}, 0", "i1")[0]
        return e.value(f"select i1 {less}, i64 0, i64 {count}", "i64")[0]

    def parts_of(self, count: str, size: int) -> str:
        """Steps of a size that reach so far."""
        if size == 1:
            return count
        return self.e.value(f"udiv i64 {self.e.plus(count, size - 1)}, {size}", "i64")[0]

    def point(
        self, down: tuple[str, str, str], along: tuple[str, str, str], weights: str, size: int
    ) -> list[Reg]:
        """The results of a block of rows at one position of all images."""
        e, kind, channels = self.e, self.p.kind, self.p.channels
        width = self.part.along.size
        here = plus(e, times(e, down[2], width), along[2])
        image = e.gep(self.image_at, times(e, here, channels * self.group), kind)
        tap = plus(e, times(e, down[0], len(self.part.along.taps)), along[0])
        w = e.gep(weights, times(e, tap, channels * size), kind)
        grow = [max(abs(axis.grows[1]), 1) for axis in (self.part.down, self.part.along)]
        depth = channels * self.group
        levels = [(down[1], grow[0] * width * depth, len(self.part.along.taps) * channels * size)]
        if grow[1] == 1:  # the taps of a row with their channels are one long row
            levels.append((times(e, along[1], channels // self.close), self.group, size))
        else:
            levels.append((along[1], grow[1] * depth, channels * size))
            levels.append((str(channels // self.close), self.group, size))
        with e.wide(self.lanes):
            start = [e.const(0, kind)] * (size * self.vectors)
        return self.nest(levels, image, w, start)

    def nest(self, levels: list[tuple[str, int, int]], x: str, w: str, acc: list[Reg]) -> list[Reg]:
        """Loops over taps and channels."""
        e, kind = self.e, self.p.kind
        if not levels:
            for k in range(self.close):
                acc = self.tap(e.gep(x, str(k * self.group), kind), w, k, acc)
            return acc
        (count, step, w_step), *rest = levels
        if not rest:
            step, w_step = step * self.close, w_step * self.close
        with e.wide(self.lanes):
            vector = e.type(kind)
        with e.loop(0, count, 1, [(reg, vector) for reg in acc]) as (i, state):
            here = e.gep(x, times(e, i, step), kind)
            w_here = e.gep(w, times(e, i, w_step), kind)
            state.next.extend(self.nest(rest, here, w_here, list(state.now)))
        return list(state.final)

    def tap(self, x: str, w: str, k: int, acc: list[Reg]) -> list[Reg]:
        """One (tap, channel): vectors of images, one number of the weight for each row."""
        e, kind = self.e, self.p.kind
        size = len(acc) // self.vectors
        found = []
        with e.wide(self.lanes):
            line = [e.load(e.gep(x, str(v * self.lanes), kind), kind) for v in range(self.vectors)]
            for r in range(size):
                a = e.splat(e.scalar_load(e.gep(w, str(k * size + r), kind), kind))
                found += [e.fma(a, b, acc[r * len(line) + v]) for v, b in enumerate(line)]
        return found
