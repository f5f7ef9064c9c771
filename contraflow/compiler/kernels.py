"""The LLVM text that all kernels share: expressions at a point, and reductions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from contraflow.base.shapes import Shape
from contraflow.compiler.emit import LLVM, Emitter, Reg, kind_of
from contraflow.compiler.loops import Buffer, Kernel, Node, Place, Reduction
from contraflow.compiler.pointwise import POINTWISE, maximum, minimum

__all__ = [
    "Body",
    "Text",
    "across",
    "combine",
    "identity",
    "rebuilt",
    "shuffled",
    "strips",
]

LANES = 8


class Text:
    """The function of one kernel: its text, and the buffers that its parameters are.

    A kernel that consists of ``split`` like units (rows, panels, images) may be divided: its
    function has two more parameters ``i64 %begin, i64 %end`` and does the units from ``begin``
    up to ``end``, at least one. Any division gives the same bits, and parts may run at the same
    time, each with a copy of the ``private`` buffers of its own. ``split`` 0: not to be divided.
    """

    def __init__(
        self, e: Emitter, buffers: list[Buffer], split: int = 0, private: tuple[Buffer, ...] = ()
    ) -> None:
        self.lines, self.declared, self.buffers = e.lines, e.declared, buffers
        self.split, self.private = split, private

    @property
    def parameters(self) -> str:
        names = [f"ptr noalias %a{k}" for k in range(len(self.buffers))]
        return ", ".join(names + ["i64 %begin", "i64 %end"] * bool(self.split))


# ---- reductions --------------------------------------------------------------------------------

IDENTITY: dict[str, Callable[[np.dtype[Any]], Any]] = {
    "add": lambda d: 0,
    "mul": lambda d: 1,
    "or": lambda d: 0,
    "and": lambda d: 1,
    "max": lambda d: float("-inf") if d.kind == "f" else (0 if d.kind == "b" else np.iinfo(d).min),
    "min": lambda d: float("inf") if d.kind == "f" else (1 if d.kind == "b" else np.iinfo(d).max),
}


def identity(kind: str, dtype: np.dtype[Any]) -> Any:
    """What leaves a reduction unchanged."""
    return IDENTITY[kind](dtype)


def combine(e: Emitter, kind: str, a: Reg, b: Reg) -> Reg:
    """One step of a reduction."""
    if kind in ("max", "min"):
        if a[1] == "i1":
            return e.binary("or" if kind == "max" else "and", a, b)
        return maximum(e, a, b) if kind == "max" else minimum(e, a, b)
    if a[1] == "i1":
        kind = {"add": "or", "mul": "and"}.get(kind, kind)
    return e.binary(kind, a, b)


def across(e: Emitter, kind: str, reg: Reg) -> Reg:
    """The lanes of a vector combined in a tree: 4 with 4, 2 with 2, 1 with 1."""
    lanes, text = e.lanes, reg[0]
    while lanes > 1:
        half = lanes // 2
        with e.wide(lanes):
            whole = e.type(reg[1])
        low = ", ".join(f"i32 {k}" for k in range(half))
        high = ", ".join(f"i32 {k + half}" for k in range(half))
        parts = []
        for mask in (low, high):
            name = e.fresh()
            e.line(
                f"{name} = shufflevector {whole} {text}, {whole} poison, <{half} x i32> <{mask}>"
            )
            parts.append((name, reg[1]))
        if half == 1:
            parts = [_first(e, p) for p in parts]
        with e.wide(half):
            text = combine(e, kind, parts[0], parts[1])[0]
        lanes = half
    return text, reg[1]


def _first(e: Emitter, reg: Reg) -> Reg:
    name = e.fresh()
    e.line(f"{name} = extractelement <1 x {LLVM[reg[1]]}> {reg[0]}, i64 0")
    return name, reg[1]


def shuffled(e: Emitter, a: Reg, b: Reg, lanes: list[int]) -> Reg:
    """Lanes of two vectors, those of the second counted on from the first."""
    mask = ", ".join(f"i32 {k}" for k in lanes)
    t = e.type(a[1])
    text = f"shufflevector {t} {a[0]}, {t} {b[0]}, <{len(lanes)} x i32> <{mask}>"
    return e.value(text, a[1])


def strips(n: int) -> list[tuple[int, int, int]]:
    """A row of n elements as (lanes, begin, end): vectors of 8, then of 4, then one by one."""
    found, begin = [], 0
    for lanes in (LANES, LANES // 2, 1):
        end = begin + (n - begin) // lanes * lanes
        if end > begin:
            found.append((lanes, begin, end))
        begin = end
    return found


# ---- expressions at a point --------------------------------------------------------------------


class Body:
    """Evaluates a kernel's expressions; knows where each buffer's parameter is."""

    def __init__(self, kernel: Kernel, e: Emitter, extra: tuple[Buffer, ...] = ()) -> None:
        self.kernel, self.e = kernel, e
        self.order = kernel.nodes()
        places = [*kernel.gulps(), *kernel.reads(), *kernel.writes()]
        shared = (p.buffer for p in places if p.buffer.kind != "inner")
        self.buffers = list(dict.fromkeys([*shared, *extra]))
        self.names = {b: f"%a{k}" for k, b in enumerate(self.buffers)}
        self.rows: dict[Any, str] = {}  # offsets of the current row
        self.stores = self.joined_stores()
        self.sides = self.neighbours()

    def enter_row(self, indices: list[str]) -> None:
        """A new position in all dimensions but the last."""
        self.indices = indices
        self.rows = {}

    def row(self, place: Place) -> str:
        """The offset of the current row of a place, in elements."""
        key = (place.offset, place.strides[:-1])
        if key not in self.rows:
            with self.e.wide(1):
                total: str | None = None
                for index, stride in zip(self.indices, place.strides[:-1], strict=True):
                    if stride:
                        term = self.e.value(f"mul nsw i64 {index}, {stride}", "i64")[0]
                        total = term if total is None else self.e.value(
                            f"add nsw i64 {total}, {term}", "i64")[0]  # fmt: skip
                if total is None:
                    total = str(place.offset)
                elif place.offset:
                    total = self.e.value(f"add nsw i64 {total}, {place.offset}", "i64")[0]
            self.rows[key] = total
        return self.rows[key]

    def prepare(self) -> None:
        """Compute the row offsets of every place, before an inner loop that needs them."""
        for node in self.order:
            if node.place is not None:
                self.row(node.place)
        for place in self.kernel.writes():
            self.row(place)

    def pointer(self, place: Place, index: str) -> str:
        """The address of the element at ``index`` of the last dimension."""
        e, offset, stride = self.e, self.row(place), place.strides[-1] if place.strides else 0
        with e.wide(1):
            if stride == 1:
                offset = e.value(f"add nsw i64 {offset}, {index}", "i64")[0]
            elif stride:
                step = e.value(f"mul nsw i64 {index}, {stride}", "i64")[0]
                offset = e.value(f"add nsw i64 {offset}, {step}", "i64")[0]
            return e.gep(self.names[place.buffer], offset, kind_of(place.buffer.dtype))

    def load(self, place: Place, index: str) -> Reg:
        e, kind = self.e, kind_of(place.buffer.dtype)
        stride = place.strides[-1] if place.strides else 0
        pointer = self.pointer(place, index)
        if e.lanes == 1 or stride == 1:
            return e.load(pointer, kind)
        if stride == 0:
            return e.splat(e.scalar_load(pointer, kind))
        if stride == 2 and kind != "i1":
            return self.every_second(place, pointer, kind)
        parts = []
        for k in range(e.lanes):
            parts.append(e.scalar_load(e.gep(pointer, str(k * stride), kind), kind))
        return e.packed(parts)

    def every_second(self, place: Place, pointer: str, kind: str) -> Reg:
        """Elements 0, 2, 4 ... from two vectors that touch nothing beyond: side by side if what
        lies between is loaded as well, and else overlapping."""
        e, n = self.e, self.e.lanes
        first = self.sides.get(place, -1)
        if first < 0:
            lanes = [2 * k if k < n // 2 else n + 2 * k - n + 1 for k in range(n)]
            high = e.load(e.gep(pointer, str(n - 1), kind), kind)
            return shuffled(e, e.load(pointer, kind), high, lanes)
        pointer = e.gep(pointer, str(-first), kind)
        low, high = e.load(pointer, kind), e.load(e.gep(pointer, str(n), kind), kind)
        return shuffled(e, low, high, [2 * k + first for k in range(n)])

    def neighbours(self) -> dict[Place, int]:
        """Places of every second element that fill each other's gaps: which of the two it is."""
        found: dict[Place, int] = {}
        places = {p for p in self.kernel.reads() if p.strides and p.strides[-1] == 2}
        for place in sorted(places, key=lambda p: p.offset):
            other = replace(place, offset=place.offset + 1)
            if place not in found and other in places:
                found |= {place: 0, other: 1}
        return found

    def joined_stores(self) -> list[tuple[list[Place], list[Node]]]:
        """Stores that together fill every element of a stretch of memory, as one."""
        groups: dict[Any, list[tuple[Place, Node]]] = {}
        for place, node in self.kernel.stores:
            step = place.strides[-1] if place.strides else 0
            start = place.offset // step * step if step == 2 else place.offset
            key = (place.buffer, start, place.strides) if step == 2 else id(node)
            groups.setdefault((key, place if step != 2 else None), []).append((place, node))
        found = []
        for stores in groups.values():
            stores.sort(key=lambda s: s[0].offset)
            if len(stores) == 2 and stores[1][0].offset == stores[0][0].offset + 1:
                found.append(([p for p, _ in stores], [n for _, n in stores]))
            else:
                found += [([p], [n]) for p, n in stores]
        return found

    def interleave(self, place: Place, regs: list[Reg], index: str) -> None:
        """Store two vectors lane by lane in turn."""
        e, n, kind = self.e, self.e.lanes, regs[0][1]
        pointer = self.pointer(place, index)
        t = e.type(kind)
        mask = ", ".join(f"i32 {k // 2 + n * (k % 2)}" for k in range(2 * n))
        name = e.fresh()
        e.line(
            f"{name} = shufflevector {t} {regs[0][0]}, {t} {regs[1][0]}, <{2 * n} x i32> <{mask}>"
        )
        with e.wide(2 * n):
            e.store((name, kind), pointer)

    def store(self, place: Place, reg: Reg, index: str) -> None:
        e = self.e
        stride = place.strides[-1] if place.strides else 1
        pointer = self.pointer(place, index)
        if e.lanes == 1 or stride == 1:
            e.store(reg, pointer)
            return
        for k in range(e.lanes):
            part = e.lane(reg, k)
            at = e.gep(pointer, str(k * stride), kind_of(place.buffer.dtype))
            with e.wide(1):
                e.store(part, at)

    def index(self, node: Node, index: str) -> Reg:
        """start + sum of stride times index."""
        e, kind = self.e, kind_of(node.dtype)
        start, strides = node.value
        with e.wide(1):
            total = e.const(start, kind)
            for at, step in zip([*self.indices, index], strides, strict=True):
                if step:
                    term = e.binary("mul", e.convert((at, "i64"), kind), e.const(step, kind))
                    total = e.binary("add", total, term)
        if e.lanes == 1 or not strides or strides[-1] == 0:
            return e.splat(total)
        lanes = ", ".join(f"{LLVM[kind]} {_text(k * strides[-1], kind)}" for k in range(e.lanes))
        return e.binary("add", e.splat(total), (f"<{lanes}>", kind))

    def take(self, node: Node, at: Reg, index: str) -> Reg:
        """An element chosen by an index that was computed."""
        e, place = self.e, node.place
        assert place is not None
        stride, size = node.value
        kind = kind_of(place.buffer.dtype)
        found = []
        for k in range(e.lanes):
            one = e.lane(at, k)
            with e.wide(1):
                # a wrong index never leaves the array: it was reported before, or reads element 0
                wide = e.convert(one, "i64")
                fits = e.value(f"icmp ult i64 {wide[0]}, {size}", "i1")
                wide = e.select(fits, wide, e.const(0, "i64"))
                here = index if k == 0 else e.value(f"add nsw i64 {index}, {k}", "i64")[0]
                jump = e.value(f"mul nsw i64 {wide[0]}, {stride}", "i64")[0]
                pointer = e.gep(self.pointer(place, here), jump, kind)
                found.append(e.load(pointer, kind))
        return found[0] if e.lanes == 1 else e.packed(found)

    def evaluate(self, index: str, product: Reg | None = None) -> dict[Node, Reg]:
        """Every expression, at ``index`` of the last dimension and the lanes that follow."""
        e = self.e
        env: dict[Node, Reg] = {}
        for node in self.order:
            if node.op == "load":
                assert node.place is not None
                env[node] = self.load(node.place, index)
            elif node.op == "const":
                env[node] = e.const(node.value, kind_of(node.dtype))
            elif node.op == "index":
                env[node] = self.index(node, index)
            elif node.op == "product":
                assert product is not None
                env[node] = product
            elif node.op == "take":
                env[node] = self.take(node, env[node.args[0]], index)
            else:
                env[node] = POINTWISE[node.op](e, [env[a] for a in node.args], node)
        return env

    def point(self, index: str, product: Reg | None = None) -> None:
        """Evaluate, store, and add to the reductions that lie in memory."""
        env = self.evaluate(index, product)
        for places, nodes in self.stores:
            if len(nodes) == 2 and self.e.lanes > 1:
                self.interleave(places[0], [env[n] for n in nodes], index)
                continue
            for place, node in zip(places, nodes, strict=True):
                self.store(place, env[node], index)
        for r in self.kernel.reductions:
            self.accumulate(r, env[r.node], index)

    def accumulate(self, r: Reduction, reg: Reg, index: str) -> None:
        """Add lanes to what a reduction has in memory so far."""
        self.store(r.into, combine(self.e, r.kind, self.load(r.into, index), reg), index)

    def clear(self) -> None:
        """Fill the memory of the reductions with their identities."""
        e = self.e
        for r in self.kernel.reductions:
            with e.wide(1), e.loop(0, max(r.into.buffer.size, 1)) as i:
                self.begin(r, i)

    def begin(self, r: Reduction, offset: str) -> None:
        """An element of a reduction's memory is its identity."""
        e, kind = self.e, kind_of(r.into.buffer.dtype)
        start = e.const(identity(r.kind, r.into.buffer.dtype), kind)
        e.store(start, e.gep(self.names[r.into.buffer], offset, kind))


def _text(value: Any, kind: str) -> str:
    with (e := Emitter()).wide(1):
        return e.const(value, kind)[0]


def rebuilt(
    kernel: Kernel, dims: Shape, place: Callable[[Place], Place],
    index: Callable[[Any, tuple[Any, ...]], Any],
    reduced: Callable[[Shape], Shape] = lambda dims: dims,
) -> Kernel:  # fmt: skip
    """The same expressions over another index space: every place, index and reduction moved."""
    new: dict[Node, Node] = {}
    for n in kernel.nodes():
        value = index(*n.value) if n.op == "index" else n.value
        at = None if n.place is None else place(n.place)
        new[n] = Node(n.op, tuple(new[a] for a in n.args), n.dtype, at, value)
    return replace(
        kernel,
        dims=dims,
        stores=[(place(p), new[n]) for p, n in kernel.stores],
        reductions=[
            Reduction(r.kind, new[r.node], place(r.into), reduced(r.reduced))
            for r in kernel.reductions
        ],
    )
