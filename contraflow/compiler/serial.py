"""The LLVM text of kernels that walk in an order of their own: scans, extrema, sorting, scattering.

A row kernel goes along one dimension, with what it carries in registers. Rows are independent:
where they lie side by side in memory, eight are walked at once, and they may be divided among
threads. Each row is worked on in the same order, whatever is beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from contraflow.base.shapes import Shape
from contraflow.compiler.emit import Emitter, Reg, kind_of
from contraflow.compiler.kernels import Text, strips
from contraflow.compiler.loops import Buffer, Kernel, Place, Serial
from contraflow.compiler.pointwise import logaddexp, nan
from contraflow.compiler.scatter import scatter
from contraflow.compiler.sorting import argsort, topk

__all__ = ["serial"]


class Row:
    """One row, or a few side by side: element i of each place, wherever it lies."""

    def __init__(self, e: Emitter, places: list[Place], names: dict[Buffer, str]) -> None:
        self.e, self.places, self.names = e, places, names
        self.starts = ["0"] * len(places)
        self.scratch = ""

    def enter(self, indices: list[str]) -> None:
        """A new row: its position in all dimensions but the last."""
        self.starts = [offset(self.e, p, indices) for p in self.places]

    def pointer(self, k: int, i: str) -> str:
        place = self.places[k]
        kind = kind_of(place.buffer.dtype)
        step = self.e.value(f"mul nsw i64 {i}, {place.strides[-1]}", "i64")[0]
        at = self.e.value(f"add nsw i64 {self.starts[k]}, {step}", "i64")[0]
        return self.e.gep(self.names[place.buffer], at, kind)

    def load(self, k: int, i: str) -> Reg:
        return self.e.load(self.pointer(k, i), kind_of(self.places[k].buffer.dtype))

    def store(self, k: int, i: str, reg: Reg) -> None:
        kind = kind_of(self.places[k].buffer.dtype)
        self.e.store(self.e.convert(reg, kind), self.pointer(k, i))


def offset(e: Emitter, place: Place, indices: list[str]) -> str:
    """Where a row begins, in elements."""
    total = str(place.offset)
    for index, stride in zip(indices, place.strides, strict=False):
        if stride:
            step = e.value(f"mul nsw i64 {index}, {stride}", "i64")[0]
            total = e.value(f"add nsw i64 {total}, {step}", "i64")[0]
    return total


def unravel(e: Emitter, number: str, dims: Shape) -> list[str]:
    """The position in ``dims`` of the place with this number, last dimension fastest."""
    found: list[str] = []
    for n in reversed(dims):
        found.append(e.value(f"urem i64 {number}, {n}", "i64")[0])
        number = e.value(f"udiv i64 {number}, {n}", "i64")[0]
    return found[::-1]


def rows(kernel: Kernel, write: Callable[[Row, int, dict[str, Any]], None], many: bool) -> Text:
    """A function over rows; ``many``: it can work on a few side by side at once."""
    anchor = kernel.anchor
    assert isinstance(anchor, Serial)
    e = Emitter()
    places = [*anchor.inputs, *anchor.outputs]
    private = () if anchor.scratch is None else (anchor.scratch,)
    buffers = list(dict.fromkeys([*(p.buffer for p in places), *private]))
    names = {b: f"%a{k}" for k, b in enumerate(buffers)}
    *outer, n = kernel.dims
    row = Row(e, places, names)
    if private:
        row.scratch = names[private[0]]
    if not prod(kernel.dims):
        e.line("ret void")
        return Text(e, buffers)
    beside = many and len(outer) > 0 and all(p.strides[-2] == 1 for p in places)
    apart = tuple(outer[:-1] if beside else outer)
    with e.loop("%begin", "%end") as number:
        indices = unravel(e, number, apart)
        for lanes, begin, end in strips(outer[-1]) if beside else [(1, 0, 1)]:
            with e.wide(lanes), e.loop(begin, end, lanes) as j:
                row.enter([*indices, j] if beside else indices)
                write(row, n, anchor.attrs)
    e.line("ret void")
    return Text(e, buffers, split=prod(apart), private=private)


# ---- scans -------------------------------------------------------------------------------------


def scan(row: Row, n: int, attrs: dict[str, Any]) -> None:
    """Running sums, products and logarithms of sums; float32 is carried as float64, as in NumPy."""
    e, how = row.e, attrs["how"]
    combine: dict[str, Callable[[Reg, Reg], Reg]] = {
        "cumsum": lambda a, b: e.binary("add", a, b),
        "cumprod": lambda a, b: e.binary("mul", a, b),
        "logcumsumexp": lambda a, b: logaddexp(e, a, b),
    }
    kind = kind_of(row.places[0].buffer.dtype)
    wide = "f64" if kind[0] == "f" else kind
    turn = turned(e, n, attrs.get("reverse", False))

    def load(i: str) -> Reg:
        return e.convert(row.load(0, i), wide)

    first = load(turn("0"))
    row.store(1, turn("0"), first)
    if n > 1:
        with e.loop(1, n, 1, [(first, e.type(wide))]) as (i, state):
            state.next.append(combine[how](state.now[0], load(turn(i))))
            row.store(1, turn(i), state.next[0])


def turned(e: Emitter, n: int, reverse: bool) -> Callable[[str], str]:
    """The place of step i along a row that is walked from its end, if ``reverse``."""
    return lambda i: e.value(f"sub nsw i64 {n - 1}, {i}", "i64")[0] if reverse else i


def recurrence(row: Row, n: int, attrs: dict[str, Any]) -> None:
    """s_i = a_i s_{i-1} + b_i, one after the other."""
    e, turn = row.e, turned(row.e, n, attrs["reverse"])
    first = row.load(1, turn("0"))
    row.store(2, turn("0"), first)
    if n > 1:
        with e.loop(1, n, 1, [(first, e.type(first[1]))]) as (i, state):
            grown = e.binary("mul", row.load(0, turn(i)), state.now[0])
            state.next.append(e.binary("add", grown, row.load(1, turn(i))))
            row.store(2, turn(i), state.next[0])


# ---- extrema -----------------------------------------------------------------------------------


def best(row: Row, n: int, better: Callable[[Reg, Reg], Reg], each: bool) -> None:
    """Where the best element so far stands; for each place, or at the end."""
    e = row.e
    first, start = row.load(0, "0"), e.const(0, "i64")
    if each:
        row.store(1, "0", start)
    if n > 1:
        carried = [(first, e.type(first[1])), (start, e.type("i64"))]
        with e.loop(1, n, 1, carried) as (i, state):
            x = row.load(0, i)
            wins = better(x, state.now[0])
            state.next.append(e.select(wins, x, state.now[0]))
            state.next.append(e.select(wins, e.splat((i, "i64")), state.now[1]))
            if each:
                row.store(1, i, state.next[1])
        start = state.final[1]
    if not each:
        row.store(1, "0", start)


def extremum(row: Row, n: int, attrs: dict[str, Any]) -> None:
    """The first place of the extremum; the first NaN counts as the extremum."""
    e, test = row.e, "gt" if attrs["largest"] else "lt"

    def better(x: Reg, held: Reg) -> Reg:
        wins = e.compare(test, x, held)
        if x[1][0] != "f":
            return wins
        fresh = e.binary("xor", nan(e, held), e.const(1, "i1"))
        return e.binary("or", wins, e.binary("and", nan(e, x), fresh))

    best(row, n, better, each=False)


def running(row: Row, n: int, attrs: dict[str, Any]) -> None:
    """The last place so far where the extremum was reached; the last NaN, if there is one."""
    e, test = row.e, "ge" if attrs["largest"] else "le"

    def better(x: Reg, held: Reg) -> Reg:
        wins = e.compare(test, x, held)
        return e.binary("or", wins, nan(e, x)) if x[1][0] == "f" else wins

    best(row, n, better, each=True)


# A function that writes one row, and whether it can do a few side by side.
ROWS: dict[str, tuple[Callable[[Any, int, dict[str, Any]], None], bool]] = {
    "scan": (scan, True), "recurrence": (recurrence, True), "extremum": (extremum, True),
    "running": (running, True), "argsort": (argsort, False),
    "topk": (topk, True),
}  # fmt: skip


def serial(kernel: Kernel) -> Text:
    """The function of a kernel with a ``Serial`` anchor."""
    anchor = kernel.anchor
    assert isinstance(anchor, Serial)
    if anchor.form == "scatter":
        return scatter(kernel)
    return rows(kernel, *ROWS[anchor.form])
