"""The LLVM text of convolutions, in the layout that PyTorch users have: [batch, channels, H, W].

Each image is copied into scratch memory (``image.py``), where for all positions p
``out[o, p] = sum over (channel, tap) of w[o, channel, tap] * image[channel, p + offset(tap)]``:
a matrix product whose second operand is read in order. A few rows of the result and some vectors
of positions are summed in registers; a block of rows then goes through the kernel's expressions
(bias, activation, its gradient, sums for each channel) while it is in the first cache.

The gradient of the input is the same product with channels exchanged; after a stride, one product
for each phase, over the taps that reach it.
"""

from __future__ import annotations

from dataclasses import dataclass

from contraflow.compiler.batched import Batched
from contraflow.compiler.emit import Emitter, Reg
from contraflow.compiler.following import Following, alone, start_sums
from contraflow.compiler.image import Scratch, blocks, clear, pieces, plus, times, walk_taps
from contraflow.compiler.inner import inner_of, planes_of
from contraflow.compiler.kernels import Body, Text, shuffled
from contraflow.compiler.loops import Buffer, Convolution, Kernel
from contraflow.compiler.plans import plan_of
from contraflow.compiler.targets import target
from contraflow.compiler.weight_gradient import weight_gradient, weight_scratch_of

__all__ = ["convolution", "gives_channels", "scratch_of", "weight_gradient", "weight_scratch_of"]


def scratch_of(kernel: Kernel) -> Buffer:
    """The scratch memory of a convolution: the images, then a block of results."""
    c = kernel.anchor
    assert isinstance(c, Convolution)
    p = plan_of(c)
    batched = Batched(kernel, c, p)
    size = batched.size if batched.helps else p.images + p.results
    return Buffer("arena", c.image.buffer.dtype, size + planes_of(c.after), "image")


def gives_channels(kernel: Kernel) -> bool:
    """Whether results come by whole channels of an image: then something can be done with them."""
    c = kernel.anchor
    if not isinstance(c, Convolution) or c.of_weight:
        return False
    p = plan_of(c)
    batched = Batched(kernel, c, p)
    if batched.helps:
        return batched.whole
    return len(p.parts) == 1 and p.parts[0].whole and p.parts[0].part.deep.count == 1


def convolution(kernel: Kernel, scratch: Buffer) -> Text:
    """The function of a kernel that a convolution anchors."""
    c = kernel.anchor
    assert isinstance(c, Convolution)
    batched = Batched(kernel, c, plan_of(c))
    return batched.text(scratch) if batched.helps else _Convolve(kernel, c, scratch).text()


def tile_of(lines: int, vectors: int, most: int) -> tuple[int, int]:
    """The tile of at most ``most`` vectors, (lines, vectors), of which the fewest are needed."""
    shapes = [(most // wide, wide) for wide in range(1, most + 1)]
    return min(shapes, key=lambda s: (-(-lines // s[0]) * -(-vectors // s[1]), s[0]))


class _Convolve:
    def __init__(self, kernel: Kernel, c: Convolution, scratch: Buffer) -> None:
        self.kernel, self.c, self.p = alone(kernel), c, plan_of(c)
        self.e = e = Emitter()
        self.body = Body(kernel, e, (scratch,))
        self.extra = scratch
        self.scratch = self.body.names[scratch]
        self.block = e.gep(self.scratch, str(self.p.images), self.p.kind)
        planes = e.gep(self.block, str(self.p.results), self.p.kind)
        self.inner = inner_of(c.after, e, self.body.names, planes, self.p.kind)

    def text(self) -> Text:
        """A unit of work is an image of the batch."""
        e, c, p = self.e, self.c, self.p
        clear(e, self.scratch, p.images, p.kind, p.lanes)
        image, weight = self.body.names[c.image.buffer], self.body.names[c.weight.buffer]
        sn, sc = c.image.strides[:2]
        with e.loop("%begin", "%end") as n:
            start_sums(self.kernel, self.body, n)
            with e.loop(0, c.groups) as g:
                at = plus(e, times(e, n, sn), c.image.offset)
                source = e.gep(image, plus(e, at, times(e, g, sc * p.channels)), p.kind)
                w_at = plus(e, times(e, g, p.group_step), c.weight.offset)
                weights = e.gep(weight, w_at, p.kind)
                for parts in self.by_depth():
                    _Positions(self, parts).sum(n, times(e, g, p.rows), source, weights)
        e.line("ret void")
        return Text(e, self.body.buffers, split=c.image.shape[0], private=(self.extra,))

    def by_depth(self) -> list[list[_Part]]:
        """The parts that lie in the same slices of the result."""
        found: dict[int, list[_Part]] = {}
        before = 0
        for k, s in enumerate(self.p.parts):
            memory = self.e.gep(self.scratch, str(before), self.p.kind)
            results = k * self.p.block * self.p.positions
            block = self.e.gep(self.block, str(results), self.p.kind)
            found.setdefault(s.part.deep.start, []).append(
                _Part(s, memory, block, *walk_taps(self.c, s, self.p.channel_step))
            )
            before += s.size
        return list(found.values())


@dataclass(frozen=True)
class _Part:
    """Positions with the same taps: the image in scratch memory, where results go, and the taps."""

    s: Scratch
    memory: str
    block: str
    levels: list[tuple[int, int, int]]
    first: int
    taps: list[tuple[int, int]]

    def grid(self, rows: int) -> tuple[int, int, int, int]:
        """Vectors of positions: lines, vectors in each, and from one line to the next in the
        image and in the results."""
        s, along = self.s, self.s.part.along.count
        if s.window:
            return rows, along // s.lanes, s.part.down.step * s.row, along
        return 1, -(-rows * along // s.lanes), 0, 0


class _Positions:
    """The positions of one slice, for one image and one group of its channels."""

    def __init__(self, whole: _Convolve, parts: list[_Part]) -> None:
        self.e, self.p, self.parts = whole.e, whole.p, parts
        self.woven = self.e.gep(
            whole.block, str(len(self.p.parts) * self.p.block * self.p.positions), self.p.kind
        )
        slices = parts[0].s.part.deep
        self.down = len({part.s.part.down.start for part in parts})  # parts below each other
        self.along = len(parts) // self.down  # and side by side
        self.following = Following(
            whole.kernel, self.e, self.p.kind, whole.body.names, slices, self.down, whole.inner
        )
        self.width = self.following.width

    def sum(self, n: str, first: str, source: str, weights: str) -> None:
        e, p, s = self.e, self.p, self.parts[0].s
        with e.loop(0, s.part.deep.count) as d:
            for begin, rows, count in s.strips:
                with e.loop(begin, begin + rows * count, rows) as h:
                    for part in filter(lambda part: part.s.part.taps, self.parts):
                        part.s.fill(e, source, part.memory, d, h)
                    for start, size, some in blocks(p.rows, p.block):
                        with e.loop(start, start + size * some, size) as o:
                            w = e.gep(weights, times(e, o, p.row_step), p.kind)
                            for part in self.parts:
                                self.tiles(part, w, size, rows)
                            self.epilogue([n, plus(e, first, o), d, h], size, rows)

    # ---- the product ---------------------------------------------------------------------------

    def tiles(self, part: _Part, w: str, size: int, rows: int) -> None:
        """A block of output channels at all positions of a strip."""
        e, lanes = self.e, self.p.lanes
        lines, vectors, step, result_step = part.grid(rows)
        # as many vectors as registers hold, beside a row of the image and a number of the weight
        most = max((target().registers.count - 1) // (size + 1), 1)
        high, wide = tile_of(lines, vectors, most)
        for first, tall, count in blocks(lines, high):
            with e.loop(first, first + tall * count, tall) as y:
                image = e.gep(part.memory, times(e, y, step), self.p.kind)
                block = e.gep(part.block, times(e, y, result_step), self.p.kind)
                for begin, broad, some in blocks(vectors, wide):
                    places = [(k * step + v * lanes, k * result_step + v * lanes)
                              for k in range(tall) for v in range(broad)]  # fmt: skip
                    ends = (begin * lanes, (begin + broad * some) * lanes, broad * lanes)
                    with e.loop(*ends) as x:
                        self.tile(part, e.gep(image, x, self.p.kind), w,
                                  e.gep(block, x, self.p.kind), size, places)  # fmt: skip

    def tile(
        self, part: _Part, image: str, w: str, block: str, size: int,
        places: list[tuple[int, int]],
    ) -> None:  # fmt: skip
        """Some output channels at some vectors of positions: ``places`` in image and block."""
        e, p = self.e, self.p
        with e.wide(p.lanes):
            found = [e.const(0, p.kind)] * (size * len(places))
        if part.s.part.taps:
            w = e.gep(w, str(part.first), p.kind)
            found = self.nest(part.levels, part.taps, image, w, found, [at for at, _ in places])
        with e.wide(p.lanes):
            for k, reg in enumerate(found):
                r, v = divmod(k, len(places))
                e.store(reg, e.gep(block, str(r * p.positions + places[v][1]), p.kind))

    def nest(
        self, levels: list[tuple[int, int, int]], taps: list[tuple[int, int]], image: str, w: str,
        acc: list[Reg], places: list[int],
    ) -> list[Reg]:  # fmt: skip
        """Loop over channels, and whatever else is not written out; then the taps one by one."""
        e, p = self.e, self.p
        if not levels:
            for offset, tap in taps:
                acc = self.tap(acc, image, [offset + at for at in places], w, tap)
            return acc
        (count, image_step, w_step), *rest = levels
        with e.wide(p.lanes):
            vector = e.type(p.kind)
        with e.loop(0, count, 1, [(reg, vector) for reg in acc]) as (i, state):
            here = e.gep(image, times(e, i, image_step), p.kind)
            w_here = e.gep(w, times(e, i, w_step), p.kind)
            state.next.extend(self.nest(rest, taps, here, w_here, list(state.now), places))
        return list(state.final)

    def tap(self, acc: list[Reg], image: str, places: list[int], w: str, tap: int) -> list[Reg]:
        """One (channel, tap): vectors of the image, one number of the weight for each row."""
        e, p, n = self.e, self.p, len(places)
        found = []
        with e.wide(p.lanes):
            line = [e.load(e.gep(image, str(at), p.kind), p.kind) for at in places]
            for r in range(len(acc) // n):
                one = e.scalar_load(e.gep(w, str(r * p.row_step + tap), p.kind), p.kind)
                a = e.splat(one)
                found += [e.fma(a, line[v], acc[r * n + v]) for v in range(n)]
        return found

    # ---- the kernel's expressions --------------------------------------------------------------

    def epilogue(self, at: list[str], size: int, rows: int) -> None:
        """Run the expressions over the block, row by row."""
        e, p, (n, first, d, h) = self.e, self.p, at
        with e.loop(0, size) as r:
            block = self.together(times(e, r, p.positions), rows)
            top = times(e, h, self.down)
            self.following.rows([n, plus(e, first, r), d], block, top, rows * self.down)

    def together(self, row: str, rows: int) -> str:
        """A row of results; those of several parts are put together first, line by line."""
        e, kind, count = self.e, self.p.kind, self.parts[0].s.part.along.count
        blocks = [e.gep(part.block, row, kind) for part in self.parts]
        if len(blocks) == 1:
            return blocks[0]
        with e.loop(0, rows) as i:
            for k in range(self.down):
                lines = [e.gep(block, times(e, i, count), kind)
                         for block in blocks[k * self.along : (k + 1) * self.along]]  # fmt: skip
                y = plus(e, times(e, i, self.down), k)
                to = e.gep(self.woven, times(e, y, self.width), kind)
                for lanes, begin, end in pieces(count, self.p.lanes if self.along <= 2 else 1):
                    with e.wide(lanes), e.loop(begin, end, lanes) as x:
                        self.interleave(lines, x, e.gep(to, times(e, x, self.along), kind))
        return self.woven

    def interleave(self, lines: list[str], x: str, to: str) -> None:
        """The elements at x of each line in turn; beyond the width the next line overwrites."""
        e, kind, n = self.e, self.p.kind, self.e.lanes
        regs = [e.load(e.gep(line, x, kind), kind) for line in lines]
        if len(regs) == 2 and n > 1:
            order = [k // 2 + n * (k % 2) for k in range(2 * n)]
            regs = [shuffled(e, regs[0], regs[1], order)]
            n = 2 * n
        for k, reg in enumerate(regs):
            with e.wide(n):
                e.store(reg, e.gep(to, str(k), kind))
