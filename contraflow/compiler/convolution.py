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
from math import prod

from contraflow.compiler.emit import Emitter, Reg, kind_of
from contraflow.compiler.image import Scratch, blocks, clear, plus, times, walk_taps
from contraflow.compiler.kernels import (
    Body,
    Text,
    across,
    combine,
    identity,
    rebuilt,
    strips,
)
from contraflow.compiler.loops import Buffer, Convolution, Kernel, Place
from contraflow.compiler.positions import Part, backward_parts, forward_part, in_space
from contraflow.compiler.targets import target
from contraflow.compiler.weight_gradient import weight_gradient, weight_scratch_of

__all__ = ["convolution", "scratch_of", "weight_gradient", "weight_scratch_of"]


@dataclass(frozen=True)
class _Plan:
    """A convolution as a product over (channel, tap): everything is a number by now."""

    kind: str
    lanes: int
    rows: int  # output channels a group
    channels: int  # input channels a group
    row_step: int  # in the weight, from one output channel to the next
    channel_step: int  # in the weight, from one input channel to the next
    group_step: int  # in the weight, from one group to the next
    parts: tuple[Scratch, ...]

    @property
    def block(self) -> int:
        """Rows of results at a time."""
        return min(self.rows, target().tile(self.kind).rows)

    @property
    def positions(self) -> int:
        """Room for a row of results, in whole tiles."""
        most = max(s.most * s.part.along.count for s in self.parts)
        return -(-most // self.lanes) * self.lanes

    @property
    def images(self) -> int:
        """Elements of all scratch images."""
        return sum(s.size for s in self.parts)


def plan_of(c: Convolution) -> _Plan:
    """The plan of a forward convolution, or of one for the gradient of its input."""
    kind = kind_of(c.image.buffer.dtype)
    lanes = target().tile(kind).lanes
    o, cg = c.weight.shape[:2]
    area, per_group = prod(c.kernel), o // c.groups
    rows, channels, row_step, channel_step = per_group, cg, cg * area, area
    found = [forward_part(c)]
    if c.transposed:
        rows, channels, row_step, channel_step = cg, per_group, area, cg * area
        found = backward_parts(c)
    parts = tuple(Scratch(part, channels, kind, lanes) for part in found)
    group_step = per_group * cg * area
    return _Plan(kind, lanes, rows, channels, row_step, channel_step, group_step, parts)


def scratch_of(kernel: Kernel) -> Buffer:
    """The scratch memory of a convolution: the images, then a block of results."""
    c = kernel.anchor
    assert isinstance(c, Convolution)
    p = plan_of(c)
    return Buffer("arena", c.image.buffer.dtype, p.images + p.block * p.positions, "image")


def convolution(kernel: Kernel, scratch: Buffer) -> Text:
    """The function of a kernel that a convolution anchors."""
    c = kernel.anchor
    assert isinstance(c, Convolution)
    return _Convolve(kernel, c, scratch).text()


class _Convolve:
    def __init__(self, kernel: Kernel, c: Convolution, scratch: Buffer) -> None:
        self.kernel, self.c, self.p = spread_out(kernel), c, plan_of(c)
        self.e = Emitter()
        self.body = Body(self.kernel, self.e, (scratch,))
        self.extra = scratch
        self.scratch = self.body.names[scratch]

    def text(self) -> Text:
        """A unit of work is an image of the batch."""
        e, c, p = self.e, self.c, self.p
        clear(e, self.scratch, p.images, p.kind, p.lanes)
        self.block = e.gep(self.scratch, str(p.images), p.kind)
        image, weight = self.body.names[c.image.buffer], self.body.names[c.weight.buffer]
        sn, sc = c.image.strides[:2]
        with e.loop("%begin", "%end") as n:
            self.start_sums(n)
            with e.loop(0, c.groups) as g:
                at = plus(e, times(e, n, sn), c.image.offset)
                source = e.gep(image, plus(e, at, times(e, g, sc * p.channels)), p.kind)
                w_at = plus(e, times(e, g, p.group_step), c.weight.offset)
                weights = e.gep(weight, w_at, p.kind)
                before = 0
                for s in p.parts:
                    memory = e.gep(self.scratch, str(before), p.kind)
                    _Positions(self, s, memory).sum(n, times(e, g, p.rows), source, weights)
                    before += s.size
        e.line("ret void")
        return Text(e, self.body.buffers, split=c.image.shape[0], private=(self.extra,))

    def start_sums(self, n: str) -> None:
        """Sums for each channel of an image begin with nothing."""
        e = self.e
        for r in self.kernel.reductions:
            kind = kind_of(r.into.buffer.dtype)
            start = e.const(identity(r.kind, r.into.buffer.dtype), kind)
            n_step, c_step = r.into.strides[:2]
            with e.loop(0, self.kernel.dims[1]) as o:
                at = plus(e, plus(e, times(e, n, n_step), times(e, o, c_step)), r.into.offset)
                e.store(start, e.gep(self.body.names[r.into.buffer], at, kind))


class _Positions:
    """The positions of one part, for one image and one group of its channels."""

    def __init__(self, whole: _Convolve, s: Scratch, memory: str) -> None:
        self.e, self.p, self.s, self.memory = whole.e, whole.p, s, memory
        self.block = whole.block
        kernel = seen_from(whole.kernel, s.part)
        self.flat = is_flat(kernel)
        self.body = Body(flattened(kernel) if self.flat else kernel, self.e, (whole.extra,))
        self.levels, self.first, self.taps = walk_taps(whole.c, s, self.p.channel_step)

    def sum(self, n: str, first: str, source: str, weights: str) -> None:
        e, p, s = self.e, self.p, self.s
        with e.loop(0, s.part.deep.count) as d:
            for begin, rows, count in s.strips:
                with e.loop(begin, begin + rows * count, rows) as h:
                    s.fill(e, source, self.memory, d, h)
                    for start, size, some in blocks(p.rows, p.block):
                        with e.loop(start, start + size * some, size) as o:
                            w = e.gep(weights, plus(e, times(e, o, p.row_step), self.first), p.kind)
                            self.tiles(w, size, rows * s.row)
                            self.epilogue([n, plus(e, first, o), d, h], size, rows)

    # ---- the product ---------------------------------------------------------------------------

    def tiles(self, w: str, size: int, positions: int) -> None:
        """A block of output channels at all positions of a strip."""
        e, lanes = self.e, self.p.lanes
        vectors = -(-positions // lanes)
        # as many vectors as registers hold, beside a row of the image and a number of the weight
        most = min(max((target().registers.count - 1) // (size + 1), 1), vectors)
        whole, rest = divmod(vectors, most)
        with e.loop(0, whole * most * lanes, most * lanes) as at:
            self.tile(w, at, size, most)
        if rest:
            self.tile(w, str(whole * most * lanes), size, rest)

    def tile(self, w: str, at: str, size: int, vectors: int) -> None:
        e, p = self.e, self.p
        with e.wide(p.lanes):
            zeros = [e.const(0, p.kind)] * (size * vectors)
        found = zeros
        if self.s.part.taps:
            found = self.nest(self.levels, e.gep(self.memory, at, p.kind), w, zeros, vectors)
        with e.wide(p.lanes):
            for k, reg in enumerate(found):
                r, v = divmod(k, vectors)
                to = plus(e, at, r * p.positions + v * p.lanes)
                e.store(reg, e.gep(self.block, to, p.kind))

    def nest(
        self, levels: list[tuple[int, int, int]], image: str, w: str, acc: list[Reg], vectors: int
    ) -> list[Reg]:
        """Loop over channels, and whatever else is not written out; then the taps one by one."""
        e, p = self.e, self.p
        if not levels:
            for offset, tap in self.taps:
                acc = self.tap(acc, image, offset, w, tap, vectors)
            return acc
        (count, image_step, w_step), *rest = levels
        with e.wide(p.lanes):
            vector = e.type(p.kind)
        with e.loop(0, count, 1, [(reg, vector) for reg in acc]) as (i, state):
            here = e.gep(image, times(e, i, image_step), p.kind)
            w_here = e.gep(w, times(e, i, w_step), p.kind)
            state.next.extend(self.nest(rest, here, w_here, list(state.now), vectors))
        return list(state.final)

    def tap(
        self, acc: list[Reg], image: str, offset: int, w: str, tap: int, vectors: int
    ) -> list[Reg]:
        """One (channel, tap): vectors of the image, one number of the weight for each row."""
        e, p = self.e, self.p
        found = []
        with e.wide(p.lanes):
            line = [
                e.load(e.gep(image, str(offset + v * p.lanes), p.kind), p.kind)
                for v in range(vectors)
            ]
            for r in range(len(acc) // vectors):
                one = e.scalar_load(e.gep(w, str(r * p.row_step + tap), p.kind), p.kind)
                a = e.splat(one)
                found += [e.fma(a, line[v], acc[r * vectors + v]) for v in range(vectors)]
        return found

    # ---- the kernel's expressions --------------------------------------------------------------

    def epilogue(self, at: list[str], size: int, rows: int) -> None:
        """Run the expressions over the block: row by row, or all rows of a strip as one."""
        e, p, s, (n, first, d, h) = self.e, self.p, self.s, at
        with e.loop(0, size) as r:
            o = plus(e, first, r)
            block = e.gep(self.block, times(e, r, p.positions), p.kind)
            if self.flat:
                self.enter([n, o, d])
                self.line(block, times(e, h, s.row), rows * s.row)
                return
            with e.loop(0, rows) as i:
                self.enter([n, o, d, plus(e, h, i)])
                self.line(e.gep(block, times(e, i, s.row), p.kind), "0", s.row)

    def enter(self, indices: list[str]) -> None:
        self.body.enter_row(indices)
        self.body.prepare()

    def line(self, block: str, start: str, width: int) -> None:
        """The expressions at ``width`` positions from ``start`` on; sums stay in registers."""
        e, body, kind = self.e, self.body, self.p.kind
        for lanes, begin, end in strips(width):
            with e.wide(lanes):
                starts = []
                for r in body.kernel.reductions:
                    of = kind_of(r.node.dtype)
                    starts.append((e.const(identity(r.kind, r.node.dtype), of), e.type(of)))
                with e.loop(begin, end, lanes, starts) as (i, state):
                    index = plus(e, i, start)
                    env = body.evaluate(index, e.load(e.gep(block, i, kind), kind))
                    for place, node in body.kernel.stores:
                        body.store(place, env[node], index)
                    for r, now in zip(body.kernel.reductions, state.now, strict=True):
                        state.next.append(combine(e, r.kind, now, env[r.node]))
                totals = [
                    across(e, r.kind, reg)
                    for r, reg in zip(body.kernel.reductions, state.final, strict=True)
                ]
            for r, total in zip(body.kernel.reductions, totals, strict=True):
                body.accumulate(r, total, "0")


# ---- the kernel over other positions -------------------------------------------------------------


def spread_out(kernel: Kernel) -> Kernel:
    """The kernel over [batch, channels] and three dimensions, whatever it has."""

    def strides(s: tuple[float, ...]) -> tuple[float, ...]:
        return (*s[:2], *in_space(s[2:], 0))

    shape = (*kernel.dims[:2], *in_space(kernel.dims[2:], 1))
    return rebuilt(
        kernel, shape,
        lambda p: Place(p.buffer, p.offset, shape, strides(p.strides)),  # type: ignore[arg-type]
        lambda start, s: (start, strides(s)),
    )  # fmt: skip


def seen_from(kernel: Kernel, part: Part) -> Kernel:
    """The kernel over the positions of one part."""
    shape = (*kernel.dims[:2], *(axis.count for axis in part.axes))

    def moved(start: float, s: tuple[float, ...]) -> tuple[float, tuple[float, ...]]:
        pairs = list(zip(part.axes, s[2:], strict=True))
        begin = start + sum(axis.start * step for axis, step in pairs)
        return begin, (*s[:2], *(axis.stride * step for axis, step in pairs))

    def place(p: Place) -> Place:
        offset, strides = moved(p.offset, p.strides)
        return Place(p.buffer, offset, shape, strides)  # type: ignore[arg-type]

    return rebuilt(kernel, shape, place, moved)


def is_flat(kernel: Kernel) -> bool:
    """Whether all positions of a slice can be walked as one row."""
    found = [p.strides for p in (*kernel.reads(), *kernel.writes())]
    found += [n.value[1] for n in kernel.nodes() if n.op == "index"]
    down, along = kernel.dims[-2:]
    return down == 1 or along == 1 or all(s[-2] == s[-1] * along for s in found)


def flattened(kernel: Kernel) -> Kernel:
    """All positions of a slice as one row."""
    *lead, down, along = kernel.dims
    shape = (*lead, down * along)

    def strides(s: tuple[float, ...]) -> tuple[float, ...]:
        return (*s[:-2], s[-2] if along == 1 else s[-1])

    return rebuilt(
        kernel, shape,
        lambda p: Place(p.buffer, p.offset, shape, strides(p.strides)),  # type: ignore[arg-type]
        lambda start, s: (start, strides(s)),
    )  # fmt: skip
