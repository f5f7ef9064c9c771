"""The LLVM text of a matrix product with a fused epilogue.

A panel of B, 16 columns wide (float32), is packed so that it is read in order; tiles of 6 rows by
16 columns are summed in registers, one broadcast of A against two vectors of B for each k. Each
tile then goes through the kernel's expressions (bias, activation, its gradient, the optimiser)
before anything is written.
"""

from __future__ import annotations

from contraflow.compiler.emit import LLVM, Emitter, Reg, kind_of
from contraflow.compiler.kernels import Body, Text, shuffled
from contraflow.compiler.loops import Buffer, Contraction, Kernel, Place

__all__ = ["panel_of", "product"]

ROWS = 6
FEW_ROWS = 12  # so few rows do not pay for packing a panel that is contiguous already


def lanes_of(kind: str) -> int:
    return 8 if kind == "f32" else 4


def panel_of(kernel: Kernel) -> Buffer:
    """The scratch memory of a packed panel."""
    c = kernel.anchor
    assert isinstance(c, Contraction)
    dtype = c.b.buffer.dtype
    return Buffer("arena", dtype, max(c.k, 1) * 2 * lanes_of(kind_of(dtype)), "panel")


def product(kernel: Kernel, panel: Buffer) -> Text:
    """The function of a kernel that a contraction anchors."""
    return _Product(kernel, panel).text()


class _Product:
    def __init__(self, kernel: Kernel, panel: Buffer) -> None:
        c = kernel.anchor
        assert isinstance(c, Contraction)
        assert kernel.product is not None
        self.kernel, self.c = kernel, c
        self.kind = kind_of(kernel.product.dtype)
        self.lanes = lanes_of(self.kind)
        self.width = 2 * self.lanes
        self.m, self.n = kernel.dims[-2:]
        self.e = Emitter()
        self.body = Body(kernel, self.e, (panel,))
        self.panel = self.body.names[panel]
        self.a, self.b = self.body.names[c.a.buffer], self.body.names[c.b.buffer]
        self.a_m, self.a_k = c.a.strides[-2:]
        self.b_k, self.b_n = c.b.strides[-2:]

    def text(self) -> Text:
        e = self.e
        e.line(f"%tile = alloca [{ROWS * self.width} x {LLVM[self.kind]}], align 32")
        self.body.clear()
        if self.m and self.n:
            self.batch(list(self.kernel.dims[:-2]), [])
        e.line("ret void")
        return Text(e, self.body.buffers)

    def batch(self, dims: list[int], indices: list[str]) -> None:
        """Loop over the leading dimensions."""
        if dims:
            with self.e.loop(0, dims[0]) as i:
                self.batch(dims[1:], [*indices, i])
            return
        self.indices = indices
        self.a_base = self.start(self.c.a)
        self.b_base = self.start(self.c.b)
        full, rest = divmod(self.n, self.width)
        if full:
            with self.e.loop(0, full * self.width, self.width) as j:
                self.columns(j, self.width)
        if rest:
            self.columns(str(full * self.width), rest)

    def start(self, place: Place) -> str:
        """The address of the first element of a matrix of the batch."""
        e, total = self.e, str(place.offset)
        for index, stride in zip(self.indices, place.strides[:-2], strict=True):
            if stride:
                term = e.value(f"mul nsw i64 {index}, {stride}", "i64")[0]
                total = e.value(f"add nsw i64 {total}, {term}", "i64")[0]
        return e.gep(self.body.names[place.buffer], total, self.kind)

    # ---- a panel of columns --------------------------------------------------------------------

    def columns(self, j: str, valid: int) -> None:
        """All rows of the columns that begin at ``j``."""
        e = self.e
        direct = self.b_n == 1 and valid == self.width and self.m <= FEW_ROWS
        offset = e.value(f"mul nsw i64 {j}, {self.b_n}", "i64")[0]
        source = e.gep(self.b_base, offset, self.kind)
        if direct:
            self.panel_at, self.panel_step = source, self.b_k
        else:
            self.pack(source, valid)
            self.panel_at, self.panel_step = self.panel, self.width
        blocks, rest = divmod(self.m, ROWS)
        if blocks:
            with e.loop(0, blocks * ROWS, ROWS) as i:
                self.tile(i, j, ROWS, valid)
        if rest:
            self.tile(str(blocks * ROWS), j, rest, valid)

    def pack(self, source: str, valid: int) -> None:
        """Copy a panel of B, k by k, filled up with zeros."""
        if not self.c.k:
            return
        whole = self.c.k // self.lanes * self.lanes
        if valid < self.width:
            self.pack_slowly(source, valid, 0)
        elif self.b_n == 1:
            self.pack_rows(source)
        elif self.b_k == 1 and self.lanes == 8 and whole:
            self.pack_transposed(source, whole)
            if whole < self.c.k:
                self.pack_slowly(source, valid, whole)
        else:
            self.pack_slowly(source, valid, 0)

    def pack_rows(self, source: str) -> None:
        e = self.e
        with e.loop(0, self.c.k) as k:
            at = e.value(f"mul nsw i64 {k}, {self.b_k}", "i64")[0]
            to = e.value(f"mul nsw i64 {k}, {self.width}", "i64")[0]
            row, target = e.gep(source, at, self.kind), e.gep(self.panel, to, self.kind)
            with e.wide(self.lanes):
                for half in (0, self.lanes):
                    reg = e.load(e.gep(row, str(half), self.kind), self.kind)
                    e.store(reg, e.gep(target, str(half), self.kind))

    def pack_slowly(self, source: str, valid: int, begin: int) -> None:
        """Element by element: ragged panels and odd strides."""
        e = self.e
        with e.loop(begin, self.c.k) as k:
            at = e.value(f"mul nsw i64 {k}, {self.b_k}", "i64")[0]
            to = e.value(f"mul nsw i64 {k}, {self.width}", "i64")[0]
            row, target = e.gep(source, at, self.kind), e.gep(self.panel, to, self.kind)
            for c in range(self.width):
                reg = e.const(0, self.kind)
                if c < valid:
                    reg = e.load(e.gep(row, str(c * self.b_n), self.kind), self.kind)
                e.store(reg, e.gep(target, str(c), self.kind))

    def pack_transposed(self, source: str, whole: int) -> None:
        """8 x 8 blocks, turned by shuffles."""
        e = self.e
        with e.loop(0, whole, 8) as k:
            to = e.value(f"mul nsw i64 {k}, {self.width}", "i64")[0]
            target = e.gep(self.panel, to, self.kind)
            block = e.gep(source, k, self.kind)
            with e.wide(8):
                for half in (0, 8):
                    rows = [
                        e.load(e.gep(block, str((half + r) * self.b_n), self.kind), self.kind)
                        for r in range(8)
                    ]
                    for c, column in enumerate(turned(e, rows)):
                        e.store(column, e.gep(target, str(c * self.width + half), self.kind))

    # ---- a tile --------------------------------------------------------------------------------

    def tile(self, i: str, j: str, rows: int, valid: int) -> None:
        """Sum a tile in registers, then run the kernel's expressions over it."""
        e = self.e
        at = e.value(f"mul nsw i64 {i}, {self.a_m}", "i64")[0]
        first = e.gep(self.a_base, at, self.kind)
        sums = self.sums(first, rows)
        with e.wide(self.lanes):
            for r in range(rows):
                for h in range(2):
                    position = str(r * self.width + h * self.lanes)
                    e.store(sums[2 * r + h], e.gep("%tile", position, self.kind))
        with e.loop(0, rows) as r:
            i_r = e.value(f"add nsw i64 {i}, {r}", "i64")[0]
            self.body.enter_row([*self.indices, i_r])
            start = e.value(f"mul nsw i64 {r}, {self.width}", "i64")[0]
            line = e.gep("%tile", start, self.kind)
            self.body.prepare()
            self.epilogue(line, j, valid)

    def epilogue(self, line: str, j: str, valid: int) -> None:
        e = self.e
        whole = valid // self.lanes * self.lanes
        for c in range(0, whole, self.lanes):
            column = e.value(f"add nsw i64 {j}, {c}", "i64")[0] if c else j
            with e.wide(self.lanes):
                reg = e.load(e.gep(line, str(c), self.kind), self.kind)
                self.body.point(column, reg)
        if whole < valid:
            with e.loop(whole, valid) as c:
                column = e.value(f"add nsw i64 {j}, {c}", "i64")[0]
                reg = e.load(e.gep(line, c, self.kind), self.kind)
                self.body.point(column, reg)

    def sums(self, first: str, rows: int) -> list[Reg]:
        """The sums over k of ``rows`` rows by two vectors of columns."""
        e = self.e
        with e.wide(self.lanes):
            zero, vector = e.const(0, self.kind), e.type(self.kind)
        if not self.c.k:
            return [zero] * (2 * rows)
        unroll = next(u for u in (4, 2, 1) if self.c.k % u == 0)
        with e.loop(0, self.c.k, unroll, [(zero, vector)] * (2 * rows)) as (k, state):
            acc = list(state.now)
            to = e.value(f"mul nsw i64 {k}, {self.panel_step}", "i64")[0]
            b_at = e.gep(self.panel_at, to, self.kind)
            from_ = e.value(f"mul nsw i64 {k}, {self.a_k}", "i64")[0]
            a_at = e.gep(first, from_, self.kind)
            with e.wide(self.lanes):
                for u in range(unroll):
                    acc = self.step(acc, a_at, b_at, u, rows)
            state.next.extend(acc)
        return list(state.final)

    def step(self, acc: list[Reg], a_at: str, b_at: str, u: int, rows: int) -> list[Reg]:
        """One k: two vectors of B, one number of A for each row."""
        e = self.e
        halves = [
            e.load(e.gep(b_at, str(u * self.panel_step + h * self.lanes), self.kind), self.kind)
            for h in range(2)
        ]
        found = []
        for r in range(rows):
            one = e.scalar_load(e.gep(a_at, str(r * self.a_m + u * self.a_k), self.kind), self.kind)
            a = e.splat(one)
            found += [e.fma(a, halves[h], acc[2 * r + h]) for h in range(2)]
        return found


def turned(e: Emitter, rows: list[Reg]) -> list[Reg]:
    """The transpose of 8 vectors of 8."""
    for size in (1, 2, 4):  # exchange blocks of 1, 2 and 4 lanes between partners
        done: list[Reg] = [("", "")] * 8
        for r in range(8):
            if r & size:
                continue
            a, b = rows[r], rows[r + size]
            low = [k if not k & size else 8 + (k ^ size) for k in range(8)]
            high = [(k ^ size) if not k & size else 8 + k for k in range(8)]
            done[r], done[r + size] = shuffled(e, a, b, low), shuffled(e, a, b, high)
        rows = done
    return rows
