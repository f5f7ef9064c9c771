"""The LLVM text of a stable sort: merges from the bottom up, of runs of 1, 2, 4 ... elements.

Keys and their places move together between two halves of the scratch memory. A merge chooses
between the heads of two runs without a branch. NaN counts as the greatest, as in NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contraflow.compiler.emit import BITS, Emitter, Reg, kind_of
from contraflow.compiler.pointwise import nan

if TYPE_CHECKING:
    from contraflow.compiler.serial import Row

__all__ = ["FEW", "argsort", "scratch_bytes", "topk"]

KEY = 8  # bytes of scratch for a key: the widest
FEW = 16  # so many first elements are held in registers


def scratch_bytes(n: int) -> int:
    """Two arrays of keys and two of places."""
    return n * 2 * (KEY + 8)


def before(e: Emitter, a: Reg, b: Reg, descending: bool) -> Reg:
    """Whether a comes strictly before b."""
    first = e.compare("gt" if descending else "lt", a, b)
    if a[1][0] != "f":
        return first
    greater, less = (a, b) if descending else (b, a)
    number = e.binary("xor", nan(e, less), e.const(1, "i1"))
    return e.binary("or", first, e.binary("and", nan(e, greater), number))


class Sorter:
    """One array of keys and places to read, another to write; they change roles each pass."""

    def __init__(self, e: Emitter, scratch: str, n: int, kind: str, descending: bool) -> None:
        self.e, self.n, self.kind, self.descending = e, n, kind, descending
        size = n * KEY
        parts = [e.gep(scratch, str(k * size), "i8") for k in range(4)]
        self.read, self.write = (parts[0], parts[1]), (parts[2], parts[3])

    def get(self, i: str) -> tuple[Reg, Reg]:
        keys, places = self.read
        e = self.e
        return e.load(e.gep(keys, i, self.kind), self.kind), e.load(e.gep(places, i, "i64"), "i64")

    def put(self, i: str, key: Reg, place: Reg) -> None:
        keys, places = self.write
        self.e.store(key, self.e.gep(keys, i, self.kind))
        self.e.store(place, self.e.gep(places, i, "i64"))

    def turn(self) -> None:
        self.read, self.write = self.write, self.read

    def merge(self, width: int) -> None:
        """One pass: runs of ``width`` become runs of twice that."""
        e, n = self.e, self.n
        zero, last = e.const(0, "i64"), e.const(n - 1, "i64")
        types = e.type("i64")
        with e.loop(0, n, 1, [(zero, types), (zero, types)]) as (k, state):
            low = e.value(f"and i64 {k}, {-2 * width}", "i64")
            middle = self.least(e.binary("add", low, e.const(width, "i64")))
            high = self.least(e.binary("add", low, e.const(2 * width, "i64")))
            begins = e.compare("eq", low, (k, "i64"))
            i = e.select(begins, low, state.now[0])
            j = e.select(begins, middle, state.now[1])
            left = self.get(e.select(e.compare("lt", i, last), i, last)[0])
            right = self.get(e.select(e.compare("lt", j, last), j, last)[0])
            spent = e.compare("ge", j, high)
            stays = e.binary("xor", before(e, right[0], left[0], self.descending), e.const(1, "i1"))
            takes = e.binary("and", e.compare("lt", i, middle), e.binary("or", spent, stays))
            key, place = (e.select(takes, a, b) for a, b in zip(left, right, strict=True))
            self.put(k, key, place)
            step = e.convert(takes, "i64")
            state.next.append(e.binary("add", i, step))
            rest = e.binary("sub", e.const(1, "i64"), step)
            state.next.append(e.binary("add", j, rest))
        self.turn()

    def least(self, reg: Reg) -> Reg:
        """Not beyond the end."""
        end = self.e.const(self.n, "i64")
        return self.e.select(self.e.compare("lt", reg, end), reg, end)


def argsort(row: Row, n: int, attrs: dict[str, Any]) -> None:
    """The places of a row's elements in their order; equal elements keep theirs."""
    e = row.e
    kind = kind_of(row.places[0].buffer.dtype)
    assert BITS[kind] <= 8 * KEY
    sorter = Sorter(e, row.scratch, n, kind, attrs["descending"])
    with e.loop(0, n) as i:
        sorter.put(i, row.load(0, i), (i, "i64"))
    sorter.turn()
    width = 1
    while width < n:
        sorter.merge(width)
        width *= 2
    with e.loop(0, n) as i:
        row.store(1, i, sorter.get(i)[1])


def topk(row: Row, n: int, attrs: dict[str, Any]) -> None:
    """The places of the first few: each element moves up past those that it comes before."""
    e, k = row.e, attrs["k"]
    kind = kind_of(row.places[0].buffer.dtype)
    empty = (e.const(0, kind), e.const(-1, "i64"))
    carried = [(reg, e.type(reg[1])) for _ in range(k) for reg in empty]
    with e.loop(0, n, 1, carried) as (i, state):
        x, place = row.load(0, i), e.splat((i, "i64"))
        keys, places = state.now[0::2], state.now[1::2]
        free = [e.compare("lt", p, e.const(0, "i64")) for p in places]
        wins = [
            e.binary("or", unused, before(e, x, key, attrs["largest"]))
            for unused, key in zip(free, keys, strict=True)
        ]
        for j in range(k):
            key, at = x, place
            if j:  # where it passes the one above as well, that one comes down
                key = e.select(wins[j - 1], keys[j - 1], x)
                at = e.select(wins[j - 1], places[j - 1], place)
            state.next.append(e.select(wins[j], key, keys[j]))
            state.next.append(e.select(wins[j], at, places[j]))
    for j, found in enumerate(state.final[1::2]):
        row.store(1, str(j), found)
