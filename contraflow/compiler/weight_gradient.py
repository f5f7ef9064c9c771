"""The LLVM text of the gradient of a convolution's weight.

``dw[o, r] = sum over images and positions of dy[o, p] image[p + offset(r)]``, a row r being a
channel with a tap. There are two forms:

* With many channels, lanes are output channels: dy is turned, so that a vector holds the channels
  at one position, and each row of a tile broadcasts one number of the image.
* With few, lanes are positions: both are read in order, and lanes are added last.

Sums go from image to image through memory, in a fixed order.
"""

from __future__ import annotations

from math import prod

from contraflow.compiler.emit import Reg, kind_of
from contraflow.compiler.image import Scratch, clear, pieces, plus, times
from contraflow.compiler.kernels import Text
from contraflow.compiler.loops import Buffer, Convolution, Kernel
from contraflow.compiler.packing import turned
from contraflow.compiler.targets import target
from contraflow.compiler.weight_dots import ByPosition
from contraflow.compiler.weight_form import Form

__all__ = ["takes_channels", "weight_gradient", "weight_scratch_of"]

NEAR = 256  # positions at a time: a panel of dy stays in the first cache


def weight_scratch_of(kernel: Kernel) -> Buffer:
    """The scratch memory of the gradient of a weight: images, dy turned, and sums."""
    form = form_of(kernel)
    return Buffer("arena", form.c.image.buffer.dtype, form.size, "images")


def weight_gradient(kernel: Kernel, scratch: Buffer) -> Text:
    """The function that gives the gradient of a convolution's weight."""
    return form_of(kernel).text(scratch)


def form_of(kernel: Kernel) -> Form:
    """The form that does less for each position."""
    c = kernel.anchor
    assert isinstance(c, Convolution)
    rows = c.image.shape[1] // c.groups * prod(c.kernel)
    lanes = target().tile(kind_of(c.image.buffer.dtype)).lanes
    many = c.weight.shape[1] // c.groups >= lanes // 2 and rows >= 32
    return (ByChannel if many else ByPosition)(kernel, c)


def takes_channels(kernel: Kernel) -> bool:
    """Whether dy is read by whole channels of an image, once: then it can be computed there."""
    c = kernel.anchor
    if not isinstance(c, Convolution) or not c.of_weight:
        return False
    form = form_of(kernel)
    return isinstance(form, ByPosition) and form.whole


class ByChannel(Form):
    """A tile is some rows by one or two vectors of output channels. Units are tiles of rows."""

    def __init__(self, kernel: Kernel, c: Convolution) -> None:
        super().__init__(kernel, c)
        self.vectors = min(self.tile.vectors, 2, -(-self.outputs // self.lanes))
        self.width = self.vectors * self.lanes
        self.panels = -(-self.outputs // self.width)
        self.high = min(self.tile.rows, 8) if self.vectors > 1 else 8
        down, along = self.part.down, self.part.along
        most = min(down.count, max(1, NEAR // along.count))
        self.s = Scratch(self.part, self.channels, self.kind, self.lanes, True, most)
        # small images go several at a time
        small = self.part.deep.count == 1 and self.s.whole
        room = max(1, NEAR // (down.count * along.count)) if small else 1
        batch = c.image.shape[0]
        self.together = max(n for n in range(1, room + 1) if batch % n == 0)
        self.panel = self.together * self.s.most * along.count * self.width
        self.images = self.together * self.s.size
        self.dys = self.panels * self.panel
        self.sums = c.groups * self.panels * self.rows * self.width
        self.size = self.images + self.dys + self.sums
        self.per_channel = self.rows // self.channels
        self.units = -(-self.rows // self.high)

    def text(self, scratch: Buffer) -> Text:
        e, c, part = self.e, self.c, self.part
        self.name(scratch)
        self.dy_turned = e.gep(self.memory, str(self.images), self.kind)
        self.totals = e.gep(self.memory, str(self.images + self.dys), self.kind)
        clear(e, self.memory, self.images, self.kind, self.lanes)
        clear(e, self.totals, self.sums, self.kind, self.lanes)
        self.first = times(e, "%begin", self.high)
        self.last = self.smaller(times(e, "%end", self.high), self.rows)
        begin = self.channel(self.first)
        end = self.channel(plus(e, self.last, self.per_channel - 1))
        images, deep = (c.image.shape[0], self.together), part.deep.count
        with e.loop(0, *images) as n, e.loop(0, c.groups) as g, e.loop(0, deep) as d:
            for start, rows, count in self.s.strips:
                with e.loop(start, start + rows * count, rows) as h:
                    self.strip(n, g, d, h, rows, begin, end)
        with e.loop(0, c.groups) as g:
            self.finish(g)
        e.line("ret void")
        return Text(e, self.buffers, split=self.units, private=(scratch,))

    def smaller(self, a: str, b: int) -> str:
        fits = self.e.value(f"icmp ult i64 {a}, {b}", "i1")[0]
        return self.e.value(f"select i1 {fits}, i64 {a}, i64 {b}", "i64")[0]

    def channel(self, row: str) -> str:
        """The input channel of a row."""
        return self.e.value(f"udiv i64 {row}, {self.per_channel}", "i64")[0]

    def strip(self, n: str, g: str, d: str, h: str, rows: int, begin: str, end: str) -> None:
        """Some rows of positions of the images that go together, in some of their channels."""
        e, along = self.e, self.part.along.count
        first = times(e, g, self.outputs)
        with e.loop(0, self.together) as b:
            image = plus(e, n, b)
            to = e.gep(self.memory, times(e, b, self.s.size), self.kind)
            self.s.fill(e, self.image(image, g), to, d, h, begin, end)
            source = e.gep(self.gradient(image, first), self.position(d, h), self.kind)
            at = times(e, b, rows * along * self.width)
            self.turn(source, e.gep(self.dy_turned, at, self.kind), rows * along)
        levels = self.walk(rows)
        with e.loop(0, self.panels) as j:
            dy = e.gep(self.dy_turned, times(e, j, self.panel), self.kind)
            at = times(e, plus(e, times(e, g, self.panels), j), self.rows * self.width)
            self.tiles(dy, e.gep(self.totals, at, self.kind), levels)

    def walk(self, rows: int) -> list[tuple[int, int, int]]:
        """Loops over positions: (count, step in the scratch image, step in dy)."""
        along, down, width = self.part.along, self.part.down, self.width
        found: list[tuple[int, int, int]] = []
        for count, step, dy_step in (
            (self.together, self.s.size, rows * along.count * width),
            (rows, down.step * self.s.row, along.count * width),
            (along.count, along.step, width),
        ):
            if count == 1:
                continue
            if found and found[-1][1:] == (count * step, count * dy_step):
                count *= found.pop()[0]
            found.append((count, step, dy_step))
        return found or [(1, 0, 0)]

    # ---- dy, turned ----------------------------------------------------------------------------

    def turn(self, source: str, target: str, positions: int) -> None:
        """Copy a strip of dy so that the output channels at a position lie side by side."""
        e = self.e
        whole, rest = divmod(self.outputs, self.width)
        if whole:
            with e.loop(0, whole) as j:
                self.turn_panel(source, target, j, self.width, positions)
        if rest:
            self.turn_panel(source, target, str(whole), rest, positions)

    def turn_panel(self, source: str, target: str, j: str, valid: int, positions: int) -> None:
        e, n = self.e, self.lanes
        source = e.gep(source, times(e, j, self.width * self.area), self.kind)
        target = e.gep(target, times(e, j, self.panel), self.kind)
        for start in range(0, self.width, n):
            there = min(max(valid - start, 0), n)
            lines = [e.gep(source, str((start + k) * self.area), self.kind) for k in range(there)]
            for width, begin, end in pieces(positions, n):
                if width not in (1, n):
                    width = 1
                with e.loop(begin, end, width) as p:
                    to = e.gep(target, plus(e, times(e, p, self.width), start), self.kind)
                    self.turn_block([e.gep(line, p, self.kind) for line in lines], to, width)

    def turn_block(self, lines: list[str], to: str, positions: int) -> None:
        """So many positions of a vector of channels; channels that are missing give zeros."""
        e, n = self.e, self.lanes
        with e.wide(n):
            zero = e.const(0, self.kind)
        if positions == 1:
            found = [e.load(line, self.kind) for line in lines]
            with e.wide(1):
                found += [e.const(0, self.kind)] * (n - len(found))
            with e.wide(n):
                e.store(e.packed(found), to)
            return
        with e.wide(n):
            block = [e.load(line, self.kind) for line in lines]
            block += [zero] * (n - len(block))
            for k, reg in enumerate(turned(e, block)):
                e.store(reg, e.gep(to, str(k * self.width), self.kind))

    # ---- tiles ---------------------------------------------------------------------------------

    def tiles(self, dy: str, sums: str, levels: list[tuple[int, int, int]]) -> None:
        """All rows of the units: whole tiles, then what is left behind the last one."""
        e, high = self.e, self.high
        whole, rest = divmod(self.rows, high)
        if whole:
            end = self.smaller("%end", whole)
            some = e.value(f"icmp ult i64 %begin, {end}", "i1")[0]
            with e.when(some), e.loop("%begin", end) as t:
                self.sum_tile(times(e, t, high), high, dy, sums, levels)
        if rest:
            with e.when(e.value(f"icmp eq i64 %end, {self.units}", "i1")[0]):
                self.sum_tile(str(whole * high), rest, dy, sums, levels)

    def sum_tile(
        self, first: str, high: int, dy: str, sums: str, levels: list[tuple[int, int, int]]
    ) -> None:
        e = self.e
        rows = [e.gep(self.memory, self.offset(plus(e, first, k)), self.kind) for k in range(high)]
        at = e.gep(sums, times(e, first, self.width), self.kind)
        with e.wide(self.lanes):
            places = [e.gep(at, str(k * self.lanes), self.kind) for k in range(high * self.vectors)]
            starts = [e.load(place, self.kind) for place in places]
        found = self.nest(levels, rows, "0", dy, starts)
        with e.wide(self.lanes):
            for place, reg in zip(places, found, strict=True):
                e.store(reg, place)

    def offset(self, row: str) -> str:
        """Where a row (channel, deep, down, along) begins in the scratch image."""
        e, s = self.e, self.s
        total, sizes = "0", [len(axis.taps) for axis in self.part.axes]
        steps = [s.plane, self.part.down.grows[1] * s.row, self.part.along.grows[1]]
        for size, step in reversed(list(zip(sizes, steps, strict=True))):
            if size > 1:
                tap = e.value(f"urem i64 {row}, {size}", "i64")[0]
                total = plus(e, times(e, tap, step), total)
                row = e.value(f"udiv i64 {row}, {size}", "i64")[0]
        return plus(e, times(e, row, s.slices * s.plane), total)

    def nest(
        self, levels: list[tuple[int, int, int]], rows: list[str], x: str, dy: str, acc: list[Reg]
    ) -> list[Reg]:
        """Loop over positions: a vector of dy or two, a number of the image for each row."""
        e = self.e
        if not levels:
            with e.wide(self.lanes):
                right = [
                    e.load(e.gep(dy, str(v * self.lanes), self.kind), self.kind)
                    for v in range(self.vectors)
                ]
                found = []
                for k, row in enumerate(rows):
                    a = e.splat(e.scalar_load(e.gep(row, x, self.kind), self.kind))
                    now = acc[k * self.vectors : (k + 1) * self.vectors]
                    found += [e.fma(a, b, c) for b, c in zip(right, now, strict=True)]
            return found
        (count, step, dy_step), *rest = levels
        with e.wide(self.lanes):
            vector = e.type(self.kind)
        with e.loop(0, count, 1, [(reg, vector) for reg in acc]) as (i, state):
            here = plus(e, times(e, i, step), x)
            line = e.gep(dy, times(e, i, dy_step), self.kind)
            state.next.extend(self.nest(rest, rows, here, line, list(state.now)))
        return list(state.final)

    def finish(self, g: str) -> None:
        """The sums of the units' rows, turned back into the weight's order."""
        e = self.e
        whole, rest = divmod(self.outputs, self.width)
        at = times(e, g, self.panels * self.rows * self.width)
        sums = e.gep(self.totals, at, self.kind)
        out = plus(e, times(e, g, self.outputs * self.rows), self.into.offset)
        out = e.gep(self.dw, out, self.kind)
        for start, panels, valid in ((0, whole, self.width), (whole, min(rest, 1), rest)):
            if not panels:
                continue
            with e.loop(start, start + panels) as j, e.loop(self.first, self.last) as r:
                at = plus(e, times(e, j, self.rows), r)
                line = e.gep(sums, times(e, at, self.width), self.kind)
                at = plus(e, times(e, j, self.width * self.rows), r)
                to = e.gep(out, at, self.kind)
                for k in range(valid):
                    reg = e.load(e.gep(line, str(k), self.kind), self.kind)
                    e.store(reg, e.gep(to, str(k * self.rows), self.kind))
