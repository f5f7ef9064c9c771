"""How an image lies in scratch memory while it is convolved, and the code that copies it there.

For each element j along a row of the kernel there is a copy of the image, moved by j, in rows just
as long as those of the result. There the element of the image that tap (i, j) meets at position p
of the result, counted through all rows, is number ``p + i * row`` of copy j: one offset for all
positions. So a convolution is a product of matrices whose second operand is read in order, whatever
the width of the image, the padding, the stride along rows and the dilation. With a stride between
rows, rows are kept apart by phase, so that steps of the stride are steps of one row.

A third dimension is walked position by position: the slices that a position meets count as so many
more channels. So do the rows of a kernel with too many taps to be written out one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from contraflow.compiler.emit import BITS, Emitter
from contraflow.compiler.kernels import shuffled
from contraflow.compiler.loops import Convolution
from contraflow.compiler.positions import MOST_TAPS, Part, in_space

__all__ = ["Scratch", "blocks", "clear", "pieces", "plus", "times", "walk_taps"]

ROOM = 256 << 10  # bytes of scratch that stay near: half of a usual second cache
LINE_ROOM = 2 << 20  # the same for sequences, whose pieces are dear to cut


# ---- small arithmetic on indices -----------------------------------------------------------------


def times(e: Emitter, index: str, factor: int) -> str:
    if factor == 1 or index == "0":
        return index
    with e.wide(1):
        return e.value(f"mul nsw i64 {index}, {factor}", "i64")[0]


def plus(e: Emitter, index: str, more: int | str) -> str:
    if more in (0, "0"):
        return index
    if index == "0":
        return str(more)
    with e.wide(1):
        return e.value(f"add nsw i64 {index}, {more}", "i64")[0]


def blocks(count: int, most: int) -> list[tuple[int, int, int]]:
    """Nearly equal blocks of at most ``most``: (first, size of a block, how many blocks)."""
    number = -(-count // most)
    small, larger = divmod(count, number)
    found = []
    if larger:
        found.append((0, small + 1, larger))
    if number > larger:
        found.append((larger * (small + 1), small, number - larger))
    return found


def each(e: Emitter, count: int) -> Iterator[str]:
    """A loop over ``count``; none for a single round."""
    if count == 1:
        yield "0"
    elif count:
        with e.loop(0, count) as i:
            yield i


def clear(e: Emitter, pointer: str, size: int, kind: str, lanes: int) -> None:
    """Zeros."""
    for width, begin, end in pieces(size, lanes):
        with e.loop(begin, end, width) as i, e.wide(width):
            e.store(e.const(0, kind), e.gep(pointer, i, kind))


def pieces(n: int, lanes: int) -> Iterator[tuple[int, int, int]]:
    """A stretch of n elements as (lanes, begin, end): whole vectors, then ever narrower ones."""
    begin = 0
    while lanes:
        end = begin + (n - begin) // lanes * lanes
        if end > begin:
            yield lanes, begin, end
        begin, lanes = end, lanes // 2


# ---- the scratch image ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Rows in scratch memory: row t is row ``first + t * step`` of the image, which moves by
    ``advance`` rows for each position."""

    first: int
    step: int
    advance: int
    count: int


@dataclass(frozen=True)
class Copy:
    """Element x of a row in scratch is element ``shift + x * step`` of the image's row."""

    shift: int
    step: int


class Scratch:
    """Images of ``channels`` in scratch memory, for some rows of positions at a time.

    Args:
        part: the positions.
        channels: how many there are.
        kind: of the elements.
        lanes: of the vectors that read it.
        window: rows and columns as in the image, borders included, instead of copies by tap.
        most: rows of positions at a time; None: as many as the cache has room for.
    """

    def __init__(
        self, part: Part, channels: int, kind: str, lanes: int, window: bool = False,
        most: int | None = None,
    ) -> None:  # fmt: skip
        self.part, self.channels, self.kind, self.lanes = part, channels, kind, lanes
        self.window = window
        down, along = part.down, part.along
        # rows of the kernel as channels of their own
        self.apart = not window and len(down.taps) * len(along.taps) > MOST_TAPS
        self.slices = max(len(part.deep.taps), 1)
        self.copies = [Copy(shift, along.step) for _, shift in along.taps] or [Copy(0, 1)]
        self.row = along.count
        if window:
            low, high = (f(shift for _, shift in along.taps) for f in (min, max))
            self.row = (along.count - 1) * along.step + high - low + 1
            self.copies = [Copy(low, 1)]
        self.lines = len(down.taps) if self.apart else 1
        self.most = down.count if most is None else most
        if most is None:
            room = (LINE_ROOM if self.row == 1 else ROOM) // (BITS[kind] // 8)
            while self.most > 1 and self.plane * channels * self.slices * self.lines > room:
                self.most = -(-self.most // 2)
        self.strips = blocks(down.count, self.most)
        self.whole = self.most == down.count

    # ---- sizes ---------------------------------------------------------------------------------

    def rows(self) -> list[Rows]:
        """The rows of a plane, one block after the other."""
        down = self.part.down
        shifts = [shift for _, shift in down.taps] or [0]
        if self.window:
            low, reach = min(shifts), max(shifts) - min(shifts)
            return [Rows(low, 1, down.step, (self.most - 1) * down.step + reach + 1)]
        if self.apart:
            return [Rows(shifts[0], down.step, down.step, self.most)]
        found = []
        for rest in sorted({shift % down.step for shift in shifts}):
            steps = [shift // down.step for shift in shifts if shift % down.step == rest]
            first, extra = min(steps), max(steps) - min(steps)
            found.append(Rows(first * down.step + rest, down.step, down.step, self.most + extra))
        return found

    @property
    def copy(self) -> int:
        """Elements of one copy of a plane."""
        return sum(rows.count for rows in self.rows()) * self.row

    @property
    def plane(self) -> int:
        """Elements of all copies of a plane."""
        return self.copy * len(self.copies)

    @property
    def size(self) -> int:
        """Elements of everything, with room to read a tile of vectors beyond the end."""
        return -(-(self.plane * self.channels * self.slices * self.lines) // 64) * 64 + 256

    def offset(self, i: int, j: int) -> int:
        """Where the taps i of ``down`` and j of ``along`` begin in a plane."""
        down, along = self.part.down, self.part.along
        shift = down.taps[i][1]
        if self.window:
            low_down, low_along = (min(s for _, s in a.taps) for a in (down, along))
            return (shift - low_down) * self.row + along.taps[j][1] - low_along
        before = 0
        for rows in self.rows():
            if (shift - rows.first) % rows.step == 0:
                return j * self.copy + (before + (shift - rows.first) // rows.step) * self.row
            before += rows.count
        raise AssertionError("every tap has its rows")

    # ---- filling -------------------------------------------------------------------------------

    def fill(self, e: Emitter, source: str, target: str, deep: str, down: str, begin: str = "0",
             end: str | None = None) -> None:  # fmt: skip
        """Copy channels ``begin`` to ``end`` of an image, for the positions from (deep, down) on.

        The scratch is clear when it is filled for the first time: borders stay zero.
        """
        area = self.part.down.size * self.part.along.size
        with e.loop(begin, end or self.channels) as c:
            image = e.gep(source, times(e, c, self.part.deep.size * area), self.kind)
            planes = times(e, c, self.slices * self.lines * self.plane)
            to = e.gep(target, planes, self.kind)
            for m in each(e, self.slices):
                plane = e.gep(to, times(e, m, self.lines * self.plane), self.kind)
                self.fill_slice(e, image, plane, deep, m, down)

    def fill_slice(self, e: Emitter, image: str, plane: str, deep: str, m: str, down: str) -> None:
        """The slice that position ``deep`` meets with tap m: zeros if it lies outside."""
        axis, area = self.part.deep, self.part.down.size * self.part.along.size
        first = axis.taps[0][1] if axis.taps else 0
        index = plus(e, plus(e, times(e, deep, axis.step), times(e, m, axis.grows[1])), first)
        if axis.inside:
            self.fill_plane(e, e.gep(image, times(e, index, area), self.kind), plane, down)
            return
        inside = e.value(f"icmp ult i64 {index}, {axis.size}", "i1")[0]
        with e.when(inside):
            self.fill_plane(e, e.gep(image, times(e, index, area), self.kind), plane, down)
        with e.when(e.value(f"xor i1 {inside}, true", "i1")[0]):
            clear(e, plane, self.plane * self.lines, self.kind, self.lanes)

    def fill_plane(self, e: Emitter, image: str, plane: str, down: str) -> None:
        for line in each(e, self.lines):
            moved = times(e, line, self.part.down.grows[1]) if self.apart else "0"
            target = e.gep(plane, times(e, line, self.plane), self.kind)
            before = 0
            for rows in self.rows():
                block = e.gep(target, str(before * self.row), self.kind)
                if self.whole and not self.apart:
                    self.fill_rows(e, image, block, rows)
                else:
                    self.fill_some(
                        e, image, block, rows, plus(e, moved, times(e, down, rows.advance))
                    )
                before += rows.count

    def fill_rows(self, e: Emitter, image: str, target: str, rows: Rows) -> None:
        """Rows whose numbers are known: those inside the image."""
        height, width = self.part.down.size, self.part.along.size
        begin = max(0, -(rows.first // rows.step))
        end = min(rows.count, (height - 1 - rows.first) // rows.step + 1)
        if begin >= end:
            return
        source = e.gep(image, str((begin * rows.step + rows.first) * width), self.kind)
        to = e.gep(target, str(begin * self.row), self.kind)
        if rows.step == 1 and self.copies == [Copy(0, 1)] and self.row == width:
            self.stretch(e, source, to, (end - begin) * width, 1)  # one long row
            return
        with e.loop(0, end - begin) as t:
            line = e.gep(source, times(e, t, rows.step * width), self.kind)
            self.fill_row(e, line, e.gep(to, times(e, t, self.row), self.kind))

    def fill_some(self, e: Emitter, image: str, target: str, rows: Rows, moved: str) -> None:
        """Rows that may lie outside: those are cleared."""
        height, width = self.part.down.size, self.part.along.size
        start = plus(e, moved, rows.first)
        with e.loop(0, rows.count) as t:
            number = plus(e, times(e, t, rows.step), start)
            inside = e.value(f"icmp ult i64 {number}, {height}", "i1")[0]
            to = e.gep(target, times(e, t, self.row), self.kind)
            with e.when(inside):
                self.fill_row(e, e.gep(image, times(e, number, width), self.kind), to)
            with e.when(e.value(f"xor i1 {inside}, true", "i1")[0]):
                for k in range(len(self.copies)):
                    clear(e, e.gep(to, str(k * self.copy), self.kind), self.row, self.kind,
                          self.lanes)  # fmt: skip

    def fill_row(self, e: Emitter, line: str, to: str) -> None:
        """A row, once for each copy."""
        width = self.part.along.size
        for k, copy in enumerate(self.copies):
            begin = max(0, -(copy.shift // copy.step))
            end = min(self.row, (width - 1 - copy.shift) // copy.step + 1)
            if begin < end:
                source = e.gep(line, str(begin * copy.step + copy.shift), self.kind)
                target = e.gep(to, str(k * self.copy + begin), self.kind)
                self.stretch(e, source, target, end - begin, copy.step)

    def stretch(self, e: Emitter, source: str, target: str, n: int, step: int) -> None:
        """``n`` elements, ``step`` apart: whole vectors, the last one overlapping those before."""
        if step > 2:
            with e.loop(0, n) as i:
                reg = e.load(e.gep(source, times(e, i, step), self.kind), self.kind)
                e.store(reg, e.gep(target, i, self.kind))
            return
        width = 1 << min(self.lanes, n).bit_length() - 1
        whole = n // width * width
        if whole > 8 * width:
            with e.loop(0, whole, width) as i:
                self.vector(e, source, target, i, step, width)
        else:
            for start in range(0, whole, width):
                self.vector(e, source, target, str(start), step, width)
        if whole < n:
            self.vector(e, source, target, str(n - width), step, width)

    def vector(self, e: Emitter, source: str, target: str, i: str, step: int, width: int) -> None:
        from_ = e.gep(source, times(e, i, step), self.kind)
        with e.wide(width):
            reg = e.load(from_, self.kind)
            if step == 2 and width > 1:  # elements 0, 2, 4 ...: nothing beyond them is touched
                high = e.load(e.gep(from_, str(width - 1), self.kind), self.kind)
                half = width // 2
                lanes = [2 * k if k < half else 2 * k + 1 for k in range(width)]
                reg = shuffled(e, reg, high, lanes)
            e.store(reg, e.gep(target, i, self.kind))


def walk_taps(
    c: Convolution, s: Scratch, channel_step: int
) -> tuple[list[tuple[int, int, int]], int, list[tuple[int, int]]]:
    """What is summed over: loops as (count, step in the scratch image, step in the weight); where
    the first tap lies in the weight; and the taps written out, as (offset in the image, in the
    weight)."""
    deep, down, along = s.part.axes
    if not s.part.taps:
        return [], 0, []
    _, kh, kw = in_space(c.kernel, 1)
    levels = [(s.channels, s.slices * s.lines * s.plane, channel_step)]
    if s.slices > 1:
        levels.append((s.slices, s.lines * s.plane, deep.grows[0] * kh * kw))
    first = deep.taps[0][0] * kh * kw
    if s.apart:
        levels.append((s.lines, s.plane, down.grows[0] * kw))
        levels.append((len(s.copies), s.copy, along.grows[0]))
        return levels, first + down.taps[0][0] * kw + along.taps[0][0], [(0, 0)]
    taps = [
        (s.offset(i, j), k * kw + m)
        for i, (k, _) in enumerate(down.taps)
        for j, (m, _) in enumerate(along.taps)
    ]
    return levels, first, taps
