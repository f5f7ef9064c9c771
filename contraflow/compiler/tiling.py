"""How a matrix product is walked, decided from its sizes, its strides and what is fused into it."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from contraflow.compiler.emit import BITS
from contraflow.compiler.loops import Contraction, Kernel
from contraflow.compiler.targets import Tile, target

__all__ = ["Plan", "plan_of"]

DEEP = 256  # so many k of a panel stay in the first cache; deeper products go in blocks
LARGE = 4_000_000  # multiplications from which it pays to copy an A that lies badly
WRITTEN = 200  # so many expressions of a tile are written out; more go through memory, row by row
FINISH = 1 << 16  # bytes of sums that wait for the kernel's expressions
GROUP = 4  # so many panels are packed together, if rows of B lie far apart
FEW = 48  # so few rows do not pay for packing a B that lies well


@dataclass(frozen=True)
class Plan:
    """How a product is walked.

    Columns go in groups of panels, each panel as wide as a tile; the depth goes in blocks; rows go
    in bands of tiles. A band is summed panel by panel, and then the kernel's expressions run over
    its rows, as long as the group is wide: they may read much memory besides, and memory is fast
    where it is read along.
    """

    tile: Tile
    m: int
    n: int
    k: int
    depth: int  # of a block of k
    band: int  # so many tiles of rows are finished together
    left: str  # A is read where it is, from copied "lines", or "packed" tile by tile
    right: str  # B is read where it is, or from "packed" panels
    group: int  # so many panels
    written: bool  # the kernel's expressions are written out for each tile, from its registers

    @property
    def tiles(self) -> int:
        return -(-self.m // self.tile.rows)

    @property
    def unit(self) -> int:
        """Columns of a group."""
        return self.group * self.tile.width

    @property
    def groups(self) -> int:
        return -(-self.n // self.unit)

    @property
    def deep(self) -> bool:
        """Whether sums lie in memory from one block of k to the next."""
        return self.depth < self.k

    @property
    def line(self) -> int:
        """From one copied line of A to the next: never a multiple of a page."""
        return self.k + -self.k % 16 + 16

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Elements of scratch memory: panels of B, sums, A."""
        rows = self.tiles * self.tile.rows
        b = self.depth * self.unit if self.right else 0
        kept = rows if self.deep else min(rows, self.band * self.tile.rows)
        a = {"": 0, "lines": self.m * self.line, "packed": rows * self.k}[self.left]
        return b, 0 if self.written else kept * self.unit, a

    def divided(self, kernel: Kernel) -> tuple[str, int]:
        """Along which dimension a kernel may be divided, and into how many units. Never along one
        that is reduced: sums would depend on the division. Parts of the rows pack the same B."""
        last = len(kernel.dims) - 1
        reduced = {d for r in kernel.reductions for d in r.reduced}
        ways = {
            "batch": (kernel.dims[0] if last > 1 else 0, 0, 2),
            "columns": (self.groups, last, 2),
            "rows": (self.tiles, last - 1, 1),
        }
        units = {by: count for by, (count, d, _) in ways.items() if count > 1 and d not in reduced}
        if not units:
            return "", 0
        best = max(units, key=lambda by: min(ways[by][2] * units[by], 8))
        return best, units[best]


def fitted(most: Tile, m: int, n: int) -> Tile:
    """A tile for m by n: few columns leave registers for rows, and few rows for columns."""
    sums = most.rows * most.vectors
    wide = max(most.vectors, sums // m)
    panels = -(-n // (wide * most.lanes))
    vectors = -(-n // (panels * most.lanes))
    tallest = min(sums // vectors, m)
    least = max(1, 8 // vectors)  # fewer than eight sums leave the multipliers waiting

    def cost(rows: int) -> int:
        rest = m % rows
        return m // rows * max(rows, least) + (max(rest, least) if rest else 0)

    rows = min(range(tallest, tallest // 2, -1), key=cost)
    return Tile(rows, vectors, most.lanes)


def block_of(k: int) -> int:
    """The depth of a block of k: equal blocks if some have a good size."""
    count = max(1, round(k / DEEP))
    good = [n for n in range(1, 2 * count) if k % n == 0 and 5 * DEEP < 8 * k // n < 13 * DEEP]
    if count == 1 or not good:
        return -(-k // (8 * count)) * 8 if count > 1 else k
    return k // min(good, key=lambda n: abs(n - count))


def crowd(step: int, count: int) -> int:
    """How many of ``count`` lines of memory ``step`` bytes apart share a place in a first cache of
    64 places."""
    return -(-count // (64 // gcd(64, max(step // 64, 1))))


def plan_of(kernel: Kernel, kind: str) -> Plan:
    """The plan of a kernel that a product of the given kind anchors."""
    c, (m, n) = kernel.anchor, kernel.dims[-2:]
    assert isinstance(c, Contraction)
    tile, size = fitted(target().tile(kind), max(m, 1), max(n, 1)), BITS[kind] // 8
    (a_m, a_k), (b_k, b_n) = c.a.strides[-2:], c.b.strides[-2:]
    tiles, panels = -(-m // tile.rows), -(-n // tile.width)
    depth = block_of(c.k) if tiles > 1 else c.k
    large = m * n * c.k >= LARGE

    left = ""
    if large and a_k != 1:
        left = "packed"
    elif large and panels > 3 and a_m * size % 2048 == 0:
        left = "lines"

    crowded = crowd(b_k * size, depth) * -(-tile.width * size // 64) > 4
    well = m <= FEW and not crowded and n % tile.width == 0
    right = "" if b_n == 1 and (tiles <= 2 or well) else "packed"

    rows_free = all(len(kernel.dims) - 2 not in r.reduced for r in kernel.reductions)
    light = len(kernel.nodes()) * tile.rows * tile.vectors <= WRITTEN
    group = 1
    if not light and rows_free and depth == c.k:
        group = min(panels, max(1, FINISH // (2 * tile.rows * tile.width * size)))
    elif large and b_n == 1 and right:
        group = max(1, min(GROUP, panels // 8))
    written = light and group == 1 and depth == c.k
    band = max(2, min(16, FINISH // (tile.rows * tile.width * max(group, 1) * size)))
    return Plan(tile, m, n, c.k, depth, band, left, right, max(group, 1), written)
