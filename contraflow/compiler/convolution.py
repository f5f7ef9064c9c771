"""The LLVM text of convolutions, in the layout that PyTorch users have: [batch, channels, H, W].

Each image is copied into a padded scratch image. There, shifting a whole output image by a tap of
the kernel is one offset, so ``out[o, p] = sum over (channel, tap) of w[o, channel, tap] *
image[channel, p + offset(tap)]`` for all positions p of padded rows: a matrix product whose second
operand needs no packing and is read in order. A few columns at the end of each row are computed
for nothing. With a stride the scratch image is split by phase, so that steps of the stride are
steps of one.

The gradient of the input is the same product with channels exchanged; after a stride, one product
for each phase, over the taps that reach it. The gradient of the weight sums over positions instead:
vectors run along p, and lanes are added last.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from contraflow.base.shapes import Shape
from contraflow.compiler.emit import Emitter, Reg
from contraflow.compiler.kernels import Body, Text, across, rebuilt, strips
from contraflow.compiler.loops import Buffer, Convolution, Kernel, Place

__all__ = ["convolution", "fits", "scratch_of", "weight_gradient", "weight_scratch_of"]

LANES, WIDTH = 8, 16
MOST_TAPS = 49  # written out one after the other


@dataclass(frozen=True)
class Plane:
    """A padded scratch image of one channel: ``phases`` images of ``rows`` by ``row`` elements."""

    rows: int
    row: int
    phases: int

    @property
    def size(self) -> int:
        """Elements, with room to read a vector beyond the end."""
        return -(-(self.phases * self.rows * self.row) // LANES) * LANES


def fits(kernel: Shape, padding: tuple[tuple[int, int], ...]) -> bool:
    """Whether the generator covers a convolution: two dimensions, nothing cropped."""
    return len(kernel) == 2 and prod(kernel) <= MOST_TAPS and min(map(min, padding)) >= 0


def blocks(count: int, most: int = 6) -> list[tuple[int, int, int]]:
    """Rows in nearly equal blocks of at most ``most``: (first row, rows a block, how many)."""
    number = -(-count // most)
    small, larger = divmod(count, number)
    found = []
    if larger:
        found.append((0, small + 1, larger))
    if number > larger:
        found.append((larger * (small + 1), small, number - larger))
    return found


class _Scratch:
    """How one image lies in scratch memory, and the code that copies it there."""

    def __init__(self, size: Shape, padding: tuple[tuple[int, int], ...], stride: Shape) -> None:
        self.size, self.stride = size, stride
        self.before = tuple(lo for lo, _ in padding)
        whole = [n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True)]
        rows, row = (-(-n // s) for n, s in zip(whole, stride, strict=True))
        self.plane = Plane(rows, row, stride[0] * stride[1])

    def offset(self, h: int, w: int) -> int:
        """Where row h and column w of the padded image begin, seen from output position 0."""
        (sh, sw), p = self.stride, self.plane
        return (((h % sh) * sw + w % sw) * p.rows + h // sh) * p.row + w // sw

    def fill(self, e: Emitter, source: str, place: Place, target: str, channels: int,
             plane: int) -> None:  # fmt: skip
        """Copy an image of ``channels`` to the scratch; borders are zero already."""
        sc, s_h, s_w = place.strides[-3:]
        h, w = self.size
        with e.loop(0, channels) as c:
            from_ = e.gep(source, times(e, c, sc), "f32")
            to = e.gep(target, times(e, c, plane), "f32")
            for ph in range(min(self.stride[0], h)):
                count = len(range(ph, h, self.stride[0]))
                with e.loop(0, count) as i:
                    row = e.gep(from_, plus(e, times(e, i, s_h * self.stride[0]), ph * s_h), "f32")
                    start = self.offset(ph + self.before[0], 0)
                    line = e.gep(to, plus(e, times(e, i, self.plane.row), start), "f32")
                    self.fill_row(e, row, s_w, line, w)

    def fill_row(self, e: Emitter, row: str, s_w: int, line: str, w: int) -> None:
        sw, lo = self.stride[1], self.before[1]
        for pw in range(min(sw, w)):
            count = len(range(pw, w, sw))
            start = self.offset(0, pw + lo)
            whole = count // LANES * LANES if sw * s_w == 1 else 0
            if whole:
                with e.loop(0, whole, LANES) as j, e.wide(LANES):
                    reg = e.load(e.gep(row, j, "f32"), "f32")
                    e.store(reg, e.gep(line, plus(e, j, start), "f32"))
            if whole < count:
                with e.loop(whole, count) as j:
                    at = plus(e, times(e, j, sw * s_w), pw * s_w)
                    reg = e.load(e.gep(row, at, "f32"), "f32")
                    e.store(reg, e.gep(line, plus(e, j, start), "f32"))


def times(e: Emitter, index: str, factor: int) -> str:
    if factor == 1:
        return index
    with e.wide(1):
        return e.value(f"mul nsw i64 {index}, {factor}", "i64")[0]


def plus(e: Emitter, index: str, number: int) -> str:
    if number == 0:
        return index
    with e.wide(1):
        return e.value(f"add nsw i64 {index}, {number}", "i64")[0]


def clear(e: Emitter, pointer: str, size: int) -> None:
    """Zeros."""
    whole = size // LANES * LANES
    if whole:
        with e.loop(0, whole, LANES) as i, e.wide(LANES):
            e.store(e.const(0, "f32"), e.gep(pointer, i, "f32"))
    if whole < size:
        with e.loop(whole, size) as i:
            e.store(e.const(0, "f32"), e.gep(pointer, i, "f32"))


# ---- out = conv(image, weight), also for the gradient of the image ------------------------------


@dataclass(frozen=True)
class _Phase:
    """Output rows and columns that see the same taps: all of them, but for the gradient of an
    image that was walked with a stride."""

    taps: tuple[tuple[int, int], ...]  # (offset in the scratch image, offset in the weight)
    size: Shape
    start: Shape  # in the output
    step: Shape

    def positions(self, row: int) -> int:
        """Output positions, with the columns that are computed for nothing."""
        used = (self.size[0] - 1) * row + self.size[1]
        return -(-used // WIDTH) * WIDTH


@dataclass(frozen=True)
class _Plan:
    """A convolution as a product over (channel, tap): everything is a number by now."""

    scratch: _Scratch
    rows: int  # output channels a group
    channels: int  # input channels a group
    row_step: int  # in the weight, from one output channel to the next
    channel_step: int  # in the weight, from one input channel to the next
    group_step: int  # in the weight, from one group to the next
    phases: tuple[_Phase, ...]

    @property
    def positions(self) -> int:
        """Room for a row of results."""
        return max(phase.positions(self.scratch.plane.row) for phase in self.phases)

    @property
    def plane(self) -> int:
        """Elements of scratch for a channel: room for reads beyond the last row."""
        reach = max(
            offset + phase.positions(self.scratch.plane.row)
            for phase in self.phases
            for offset, _ in (*phase.taps, (0, 0))
        )
        return -(-max(self.scratch.plane.size, reach) // LANES) * LANES


def plan_of(c: Convolution) -> _Plan:
    """The plan of a forward convolution, or of one for the gradient of its input."""
    (kh, kw), (dh, dw) = c.kernel, c.dilation
    o, cg = c.weight.shape[:2]
    area, per_group = kh * kw, o // c.groups
    if c.transposed:
        scratch, phases = backward_phases(c)
        return _Plan(scratch, cg, per_group, area, cg * area, per_group * cg * area, phases)
    scratch = _Scratch(c.image.shape[2:], c.padding, c.stride)
    taps = tuple((scratch.offset(i * dh, j * dw), i * kw + j) for i in range(kh) for j in range(kw))
    phase = _Phase(taps, c.out, (0, 0), (1, 1))
    return _Plan(scratch, per_group, cg, cg * area, area, per_group * cg * area, (phase,))


@dataclass(frozen=True)
class _Line:
    """The output rows h of one phase: h = start + step i, which tap k reads at row i + shifts[k]
    of the image (not padded)."""

    start: int
    count: int
    shifts: dict[int, int]


def lines(n: int, kernel: int, stride: int, dilation: int, before: int) -> list[_Line]:
    """Where ``oh stride + k dilation = h + before``, solved for oh, for every phase of h."""
    found = []
    for phase in range(stride):
        first = -(-(before - phase) // stride)
        count = (before + n - 1 - phase) // stride - first + 1
        shifts = {
            k: first + (phase - k * dilation) // stride
            for k in range(kernel)
            if (phase - k * dilation) % stride == 0
        }
        if count > 0:
            found.append(_Line(first * stride + phase - before, count, shifts))
    return found


def backward_phases(c: Convolution) -> tuple[_Scratch, tuple[_Phase, ...]]:
    """The gradient of an image: each phase of the stride is a convolution of its own, over the
    taps that reach it."""
    size = c.image.shape[2:]
    walked = zip(c.out, c.kernel, c.stride, c.dilation, c.padding, strict=True)
    both = [lines(n, k, s, d, lo) for n, k, s, d, (lo, _) in walked]
    padding = []
    for some, n in zip(both, size, strict=True):
        low = min((shift for line in some for shift in line.shifts.values()), default=0)
        high = max(
            (line.count + shift for line in some for shift in line.shifts.values()), default=0
        )
        padding.append((max(-low, 0), max(high - n, 0)))
    scratch = _Scratch(size, tuple(padding), (1, 1))
    (top, _), (left, _) = padding
    phases = []
    for v in both[0]:
        for h in both[1]:
            taps = tuple(
                (scratch.offset(shift + top, move + left), i * c.kernel[1] + j)
                for i, shift in v.shifts.items()
                for j, move in h.shifts.items()
            )
            phases.append(_Phase(taps, (v.count, h.count), (v.start, h.start), c.stride))
    return scratch, tuple(phases)


def scratch_of(kernel: Kernel) -> Buffer:
    """The scratch memory of a convolution: the padded image, then a block of output rows."""
    c = kernel.anchor
    assert isinstance(c, Convolution)
    p = plan_of(c)
    return Buffer("arena", np.dtype(np.float32), p.plane * p.channels + 6 * p.positions, "image")


def convolution(kernel: Kernel, scratch: Buffer) -> Text:
    """The function of a kernel that a convolution anchors."""
    c = kernel.anchor
    assert isinstance(c, Convolution)
    return _Convolve(kernel, c, scratch).text()


class _Convolve:
    def __init__(self, kernel: Kernel, c: Convolution, scratch: Buffer) -> None:
        self.kernel, self.c, self.p = kernel, c, plan_of(c)
        self.e = Emitter()
        self.body = Body(kernel, self.e, (scratch,))
        self.extra = scratch
        self.scratch = self.body.names[scratch]

    def text(self) -> Text:
        e, c, p = self.e, self.c, self.p
        self.body.clear()
        clear(e, self.scratch, p.plane * p.channels)
        self.block = e.gep(self.scratch, str(p.plane * p.channels), "f32")
        image, weight = self.body.names[c.image.buffer], self.body.names[c.weight.buffer]
        sn, sc = c.image.strides[:2]
        with e.loop(0, c.image.shape[0]) as n, e.loop(0, c.groups) as g:
            at = plus(e, times(e, n, sn), c.image.offset)
            begin = e.value(f"add nsw i64 {at}, {times(e, g, sc * p.channels)}", "i64")[0]
            source = e.gep(image, begin, "f32")
            p.scratch.fill(e, source, c.image, self.scratch, p.channels, p.plane)
            w_at = plus(e, times(e, g, p.group_step), c.weight.offset)
            weights = e.gep(weight, w_at, "f32")
            first = times(e, g, p.rows)
            for phase in p.phases:
                body = Body(seen_from(self.kernel, phase), e, (self.extra,))
                for start, size, count in blocks(p.rows):
                    with e.loop(start, start + size * count, size) as o:
                        self.rows(phase, weights, o, size)
                        channel = e.value(f"add nsw i64 {first}, {o}", "i64")[0]
                        self.epilogue(phase, body, n, channel, size)
        e.line("ret void")
        return Text(e, self.body.buffers)

    def rows(self, phase: _Phase, weights: str, o: str, size: int) -> None:
        """A block of output channels at all positions of a phase."""
        e, p = self.e, self.p
        w = e.gep(weights, times(e, o, p.row_step), "f32")
        with e.wide(LANES):
            zero, vector = e.const(0, "f32"), e.type("f32")
        with e.loop(0, phase.positions(p.scratch.plane.row), WIDTH) as at:
            image = e.gep(self.scratch, at, "f32")
            with e.loop(0, p.channels, 1, [(zero, vector)] * (2 * size)) as (ch, state):
                acc = list(state.now)
                here = e.gep(image, times(e, ch, p.plane), "f32")
                w_here = e.gep(w, times(e, ch, p.channel_step), "f32")
                for offset, tap in phase.taps:
                    acc = self.tap(acc, here, offset, w_here, tap, size)
                state.next.extend(acc)
            with e.wide(LANES):
                for r in range(size):
                    for half in range(2):
                        to = plus(e, at, r * p.positions + half * LANES)
                        e.store(state.final[2 * r + half], e.gep(self.block, to, "f32"))

    def tap(self, acc: list[Reg], here: str, offset: int, w: str, tap: int, size: int) -> list[Reg]:
        """One (channel, tap): two vectors of the image, one number of the weight for each row."""
        e, p = self.e, self.p
        with e.wide(LANES):
            halves = [e.load(e.gep(here, str(offset + h * LANES), "f32"), "f32") for h in range(2)]
            found = []
            for r in range(size):
                one = e.scalar_load(e.gep(w, str(r * p.row_step + tap), "f32"), "f32")
                a = e.splat(one)
                found += [e.fma(a, halves[h], acc[2 * r + h]) for h in range(2)]
        return found

    def epilogue(self, phase: _Phase, body: Body, n: str, channel: str, size: int) -> None:
        """The kernel's expressions over the block, row by row of the image."""
        e, p, (oh, ow) = self.e, self.p, phase.size
        with e.loop(0, size) as r, e.loop(0, oh) as h:
            o = e.value(f"add nsw i64 {channel}, {r}", "i64")[0]
            body.enter_row([n, o, h])
            body.prepare()
            start = times(e, r, p.positions)
            start = e.value(f"add nsw i64 {start}, {times(e, h, p.scratch.plane.row)}", "i64")[0]
            line = e.gep(self.block, start, "f32")
            for lanes, begin, end in strips(ow):
                with e.loop(begin, end, lanes) as i, e.wide(lanes):
                    body.point(i, e.load(e.gep(line, i, "f32"), "f32"))


def seen_from(kernel: Kernel, phase: _Phase) -> Kernel:
    """The kernel over the rows and columns of one phase."""
    if phase.step == (1, 1) and phase.start == (0, 0):
        return kernel
    shape = (*kernel.dims[:2], *phase.size)

    def moved(p: Place) -> Place:
        v, h = p.strides[-2:]
        offset = p.offset + phase.start[0] * v + phase.start[1] * h
        steps = (v * phase.step[0], h * phase.step[1])
        return Place(p.buffer, offset, shape, (*p.strides[:-2], *steps))

    def shifted(start: float, strides: tuple[float, ...]) -> tuple[float, tuple[float, ...]]:
        v, h = strides[-2:]
        begin = start + phase.start[0] * v + phase.start[1] * h
        return begin, (*strides[:-2], v * phase.step[0], h * phase.step[1])

    return rebuilt(kernel, shape, moved, shifted)


# ---- the gradient of the weight ------------------------------------------------------------------


class _Gradient:
    """dw[o, channel, tap] = sum over images and positions of dy[o, p] image[channel, p + tap]."""

    def __init__(self, kernel: Kernel, c: Convolution, scratch: Buffer) -> None:
        self.kernel, self.c = kernel, c
        self.sizes = _gradient_sizes(c)
        self.e = Emitter()
        ((self.target, _),) = kernel.stores
        order = [c.image.buffer, c.weight.buffer, self.target.buffer, scratch]
        self.buffers = list(dict.fromkeys(order))
        self.names = {b: f"%a{k}" for k, b in enumerate(self.buffers)}
        self.scratch = self.names[scratch]

    def text(self) -> Text:
        e, c, s = self.e, self.c, self.sizes
        clear(e, self.scratch, s.total)
        self.image = self.scratch
        self.dy = e.gep(self.scratch, str(s.image), "f32")
        self.sums = e.gep(self.scratch, str(s.image + s.dy), "f32")
        x, dy = self.names[c.image.buffer], self.names[c.weight.buffer]
        o = c.weight.shape[1]
        rows, channels = o // c.groups, c.image.shape[1] // c.groups
        with e.loop(0, c.image.shape[0]) as n:
            at = plus(e, times(e, n, c.image.strides[0]), c.image.offset)
            source = e.gep(x, at, "f32")
            s.scratch.fill(e, source, c.image, self.image, c.image.shape[1], s.plane)
            at = plus(e, times(e, n, c.weight.strides[0]), c.weight.offset)
            flat = _Scratch(s.out, ((0, 0), (0, s.row - s.out[1])), (1, 1))
            flat.fill(e, e.gep(dy, at, "f32"), c.weight, self.dy, o, s.positions)
            with e.loop(0, c.groups) as g:
                dy_g = e.gep(self.dy, times(e, g, rows * s.positions), "f32")
                x_g = e.gep(self.image, times(e, g, channels * s.plane), "f32")
                out_g = e.gep(self.sums, times(e, g, rows * channels * len(s.taps) * LANES), "f32")
                self.group(dy_g, x_g, out_g, rows, channels)
        self.finish(o * channels * len(s.taps))
        e.line("ret void")
        return Text(e, self.buffers)

    def group(self, dy: str, x: str, out: str, rows: int, channels: int) -> None:
        e, s = self.e, self.sizes
        taps = len(s.taps)
        for start, size, count in blocks(rows, 4):
            with e.loop(start, start + size * count, size) as o, e.loop(0, channels) as ch:
                dy_o = e.gep(dy, times(e, o, s.positions), "f32")
                x_c = e.gep(x, times(e, ch, s.plane), "f32")
                base = times(e, o, channels * taps * LANES)
                base = e.value(f"add nsw i64 {base}, {times(e, ch, taps * LANES)}", "i64")[0]
                sums = e.gep(out, base, "f32")
                for first in range(0, taps, 3):
                    some = list(range(first, min(first + 3, taps)))
                    self.dot(dy_o, x_c, sums, size, some, channels)

    def dot(self, dy: str, x: str, sums: str, size: int, some: list[int], channels: int) -> None:
        """A tile of rows by taps, added to what the images before gave."""
        e, s = self.e, self.sizes
        step = channels * len(s.taps) * LANES  # from one output channel to the next
        at = {(r, t): str(r * step + t * LANES) for r in range(size) for t in some}
        with e.wide(LANES):
            vector = e.type("f32")
            starts = [(e.load(e.gep(sums, a, "f32"), "f32"), vector) for a in at.values()]
            with e.loop(0, s.positions, LANES, starts) as (p, state):
                left = [e.load(e.gep(dy, plus(e, p, r * s.positions), "f32"), "f32")
                        for r in range(size)]  # fmt: skip
                here = e.gep(x, p, "f32")
                right = [e.load(e.gep(here, str(s.taps[t]), "f32"), "f32") for t in some]
                pairs = [(a, b) for a in left for b in right]
                state.next.extend(
                    e.fma(a, b, now) for (a, b), now in zip(pairs, state.now, strict=True)
                )
            for a, reg in zip(at.values(), state.final, strict=True):
                e.store(reg, e.gep(sums, a, "f32"))

    def finish(self, count: int) -> None:
        """Add the lanes."""
        e, target = self.e, self.names[self.target.buffer]
        with e.loop(0, count) as i:
            with e.wide(LANES):
                reg = e.load(e.gep(self.sums, times(e, i, LANES), "f32"), "f32")
                total = across(e, "add", reg)
            e.store(total, e.gep(target, plus(e, i, self.target.offset), "f32"))


@dataclass(frozen=True)
class _GradientSizes:
    scratch: _Scratch
    taps: tuple[int, ...]
    out: Shape
    row: int
    positions: int  # of a channel of dy, a multiple of the lanes
    plane: int  # of a channel of the image
    image: int
    dy: int
    total: int


def _gradient_sizes(c: Convolution) -> _GradientSizes:
    kh, kw = c.kernel
    scratch = _Scratch(c.image.shape[2:], c.padding, c.stride)
    taps = tuple(
        scratch.offset(i * c.dilation[0], j * c.dilation[1]) for i in range(kh) for j in range(kw)
    )
    out, row = c.weight.shape[2:], scratch.plane.row
    positions = -(-(out[0] * row) // LANES) * LANES
    plane = -(-max(scratch.plane.size, max(taps) + positions) // LANES) * LANES
    image, dy = c.image.shape[1] * plane, c.weight.shape[1] * positions
    channels = c.image.shape[1] // c.groups
    sums = c.weight.shape[1] * channels * len(taps) * LANES
    return _GradientSizes(
        scratch, taps, (out[0], out[1]), row, positions, plane, image, dy, image + dy + sums
    )


def weight_scratch_of(kernel: Kernel) -> Buffer:
    c = kernel.anchor
    assert isinstance(c, Convolution)
    return Buffer("arena", np.dtype(np.float32), _gradient_sizes(c).total, "images")


def weight_gradient(kernel: Kernel, scratch: Buffer) -> Text:
    """The function that gives the gradient of a convolution's weight."""
    c = kernel.anchor
    assert isinstance(c, Convolution)
    return _Gradient(kernel, c, scratch).text()
