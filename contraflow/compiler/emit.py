"""Writing LLVM's text: names, blocks, loops, and typed operations on one lane or on eight.

A register is a pair (text, kind). Kinds are ``f16 f32 f64 i1 i8 u8 i16 i32 i64 ptr``; whether it
is one number or a vector of them is the emitter's ``lanes``. Vectors are written out, so that no
vectoriser is needed: compiling stays fast and the code is what was written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from contraflow.compiler.half import narrowed, widened

__all__ = ["KINDS", "Emitter", "Reg", "kind_of"]

Reg = tuple[str, str]
KINDS = {
    "bool": "i1", "uint8": "u8", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "float16": "f16", "float32": "f32", "float64": "f64",
}  # fmt: skip
LLVM = {
    "i1": "i1", "u8": "i8", "i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64",
    "f16": "i16", "f32": "float", "f64": "double", "ptr": "ptr",
}  # fmt: skip
BITS = {"i1": 1, "u8": 8, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "f16": 16, "f32": 32, "f64": 64}


def kind_of(dtype: np.dtype[Any]) -> str:
    """The kind of register that holds a NumPy dtype."""
    return KINDS[dtype.name]


def literal(value: Any, kind: str) -> str:
    """A number in LLVM's text; floats by their bits, so that nothing is rounded on the way."""
    if kind == "i1":
        return "true" if value else "false"
    if kind[0] in "iu":
        return str(int(value))
    if kind == "f16":
        return str(np.float16(value).view(np.int16))
    wide = float(np.float32(value)) if kind == "f32" else float(value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', wide))[0]:016X}"


class Emitter:
    """The text of one function, line by line."""

    def __init__(self, lanes: int = 1) -> None:
        self.lines: list[str] = []
        self.lanes = lanes
        self.count = 0
        self.block = "entry"
        self.declared: set[str] = set()

    # ---- text ----------------------------------------------------------------------------------

    def fresh(self, stem: str = "v") -> str:
        self.count += 1
        return f"%{stem}{self.count}"

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def value(self, text: str, kind: str) -> Reg:
        """A new register with the value of an instruction."""
        name = self.fresh()
        self.line(f"{name} = {text}")
        return name, kind

    @contextmanager
    def wide(self, lanes: int) -> Iterator[None]:
        """Work on so many lanes inside."""
        before, self.lanes = self.lanes, lanes
        try:
            yield
        finally:
            self.lanes = before

    def type(self, kind: str) -> str:
        base = LLVM[kind]
        return base if self.lanes == 1 or kind == "ptr" else f"<{self.lanes} x {base}>"

    def const(self, value: Any, kind: str) -> Reg:
        text = literal(value, kind)
        if self.lanes > 1:
            text = "<" + ", ".join([f"{LLVM[kind]} {text}"] * self.lanes) + ">"
        return text, kind

    # ---- loops ---------------------------------------------------------------------------------

    @contextmanager
    def loop(self, begin: Any, end: Any, step: int = 1,
             carried: list[tuple[Reg, str]] | None = None) -> Iterator[Any]:  # fmt: skip
        """Count from ``begin`` to ``end``; gives the index, or (index, carried registers).

        With ``carried`` the body appends each next value to ``loop.next``; after the loop the
        final values are in ``loop.final``. ``end`` must be above ``begin``: the test stands at
        the bottom. The last step may reach beyond ``end``.
        """
        self.count += 1
        head, tail = f"loop{self.count}", f"done{self.count}"
        index = f"%i{self.count}"
        before = self.block
        self.line(f"br label %{head}")
        state = _Loop()
        self.label(head)
        position = len(self.lines)
        self.lines.append("")  # the index's phi, once the last block of the body is known
        names = []
        for reg, llvm_type in carried or []:
            name = self.fresh("c")
            names.append((name, reg, llvm_type))
            state.now.append((name, reg[1]))
            self.lines.append("")
        yield (index, state) if carried is not None else index
        following = self.fresh("n")
        self.line(f"{following} = add nuw nsw i64 {index}, {step}")
        last = self.block
        self.lines[position] = (
            f"  {index} = phi i64 [ {begin}, %{before} ], [ {following}, %{last} ]"
        )
        for k, (name, reg, llvm_type) in enumerate(names):
            self.lines[position + 1 + k] = (
                f"  {name} = phi {llvm_type} [ {reg[0]}, %{before} ], "
                f"[ {state.next[k][0]}, %{last} ]"
            )
        state.final = list(state.next)
        test = self.fresh("t")
        self.line(f"{test} = icmp ult i64 {following}, {end}")
        self.line(f"br i1 {test}, label %{head}, label %{tail}")
        self.label(tail)

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """What is inside runs only if ``condition``, an i1, holds; nothing of it is used after."""
        self.count += 1
        inside, after = f"then{self.count}", f"after{self.count}"
        self.line(f"br i1 {condition}, label %{inside}, label %{after}")
        self.label(inside)
        yield
        self.line(f"br label %{after}")
        self.label(after)

    # ---- whole numbers -------------------------------------------------------------------------

    def times(self, index: str, factor: int) -> str:
        return index if factor == 1 else self.value(f"mul nsw i64 {index}, {factor}", "i64")[0]

    def plus(self, index: str, more: str | int) -> str:
        return index if more in (0, "0") else self.value(f"add nsw i64 {index}, {more}", "i64")[0]

    def minus(self, index: str, less: str) -> str:
        return index if less == "0" else self.value(f"sub nsw i64 {index}, {less}", "i64")[0]

    def least(self, a: str, b: str) -> str:
        """The smaller of two counts."""
        test = self.value(f"icmp ult i64 {a}, {b}", "i1")[0]
        return self.value(f"select i1 {test}, i64 {a}, i64 {b}", "i64")[0]

    def compares(self, test: str, a: str, b: str) -> str:
        """An i1 for ``when``: ``compares("ult", a, b)``, in LLVM's spelling."""
        return self.value(f"icmp {test} i64 {a}, {b}", "i1")[0]

    # ---- memory --------------------------------------------------------------------------------

    def gep(self, base: str, offset: str, kind: str) -> str:
        memory = "i8" if kind == "i1" else LLVM[kind]
        name = self.fresh("p")
        self.line(f"{name} = getelementptr inbounds {memory}, ptr {base}, i64 {offset}")
        return name

    def load(self, pointer: str, kind: str) -> Reg:
        """``lanes`` consecutive elements."""
        if kind == "i1":
            byte = self.value(f"load {self.type('i8')}, ptr {pointer}, align 1", "i8")
            zero = self.const(0, "i8")[0]
            return self.value(f"icmp ne {self.type('i8')} {byte[0]}, {zero}", "i1")
        size = max(BITS[kind] // 8, 1)
        return self.value(f"load {self.type(kind)}, ptr {pointer}, align {size}", kind)

    def store(self, reg: Reg, pointer: str) -> None:
        text, kind = reg
        if kind == "i1":
            text, kind = self.value(f"zext {self.type('i1')} {text} to {self.type('i8')}", "i8")
        size = max(BITS[kind] // 8, 1)
        self.line(f"store {self.type(kind)} {text}, ptr {pointer}, align {size}")

    def splat(self, reg: Reg) -> Reg:
        """One number in every lane."""
        if self.lanes == 1:
            return reg
        text, kind = reg
        vector = self.type(kind)
        one = self.value(f"insertelement {vector} poison, {LLVM[kind]} {text}, i64 0", kind)[0]
        zeros = f"<{self.lanes} x i32> zeroinitializer"
        return self.value(f"shufflevector {vector} {one}, {vector} poison, {zeros}", kind)

    def scalar_load(self, pointer: str, kind: str) -> Reg:
        with self.wide(1):
            return self.load(pointer, kind)

    def lane(self, reg: Reg, k: int) -> Reg:
        """Lane k as a single number."""
        if self.lanes == 1:
            return reg
        return self.value(f"extractelement {self.type(reg[1])} {reg[0]}, i64 {k}", reg[1])

    def packed(self, regs: list[Reg]) -> Reg:
        """Single numbers as the lanes of a vector."""
        kind, text = regs[0][1], "poison"
        for k, reg in enumerate(regs):
            text = self.value(
                f"insertelement {self.type(kind)} {text}, {LLVM[kind]} {reg[0]}, i64 {k}", kind
            )[0]
        return text, kind

    def by_lane(self, function: Callable[..., Reg], *regs: Reg) -> Reg:
        """Apply a function of single numbers to each lane."""
        if self.lanes == 1:
            return function(*regs)
        found = []
        for k in range(self.lanes):
            parts = [self.lane(r, k) for r in regs]
            with self.wide(1):
                found.append(function(*parts))
        return self.packed(found)

    # ---- arithmetic ----------------------------------------------------------------------------

    def binary(self, op: str, a: Reg, b: Reg) -> Reg:
        """``add sub mul div`` of floats or integers, ``and or xor`` ...: LLVM's own names."""
        kind = a[1]
        if kind[0] == "f" and op in ("add", "sub", "mul", "div"):
            op = f"f{op} contract"
        elif op == "div":
            op = "sdiv"
        return self.value(f"{op} {self.type(kind)} {a[0]}, {b[0]}", kind)

    def compare(self, test: str, a: Reg, b: Reg) -> Reg:
        """``eq ne lt le gt ge``; NaN compares false, but for ``ne``."""
        kind = a[1]
        if kind[0] == "f":
            name = "fcmp " + {"eq": "oeq", "ne": "une"}.get(test, f"o{test}")
        else:
            signed = "u" if kind in ("u8", "i1") else "s"
            name = "icmp " + (test if test in ("eq", "ne") else signed + test)
        return self.value(f"{name} {self.type(kind)} {a[0]}, {b[0]}", "i1")

    def select(self, condition: Reg, a: Reg, b: Reg) -> Reg:
        t = self.type(a[1])
        return self.value(f"select {self.type('i1')} {condition[0]}, {t} {a[0]}, {t} {b[0]}", a[1])

    def call(self, name: str, *args: Reg, kind: str | None = None) -> Reg:
        """An LLVM intrinsic, overloaded by its first operand: ``call("sqrt", x)``."""
        kind = kind or args[0][1]
        t = self.type(args[0][1])
        suffix = (f"v{self.lanes}" if self.lanes > 1 else "") + args[0][1]
        types = ", ".join(self.type(a[1]) for a in args)
        self.declared.add(f"declare {t} @llvm.{name}.{suffix}({types})")
        given = ", ".join(f"{self.type(a[1])} {a[0]}" for a in args)
        return self.value(f"call contract {t} @llvm.{name}.{suffix}({given})", kind)

    def libm(self, name: str, *args: Reg) -> Reg:
        """A function of the C library, lane by lane."""
        kind = args[0][1]
        full = name + ("f" if kind == "f32" else "")
        t = LLVM[kind]
        self.declared.add(
            f"declare {t} @{full}({', '.join([t] * len(args))}) nounwind memory(none)"
        )

        def one(*parts: Reg) -> Reg:
            given = ", ".join(f"{t} {p[0]}" for p in parts)
            return self.value(f"call {t} @{full}({given})", kind)

        return self.by_lane(one, *args)

    def fma(self, a: Reg, b: Reg, c: Reg) -> Reg:
        return self.call("fma", a, b, c)

    def bits(self, reg: Reg, kind: str) -> Reg:
        """The same bits as another kind of the same width."""
        return self.value(f"bitcast {self.type(reg[1])} {reg[0]} to {self.type(kind)}", kind)

    def convert(self, reg: Reg, kind: str) -> Reg:
        """Change of dtype with NumPy's meaning."""
        text, old = reg
        if old == kind:
            return reg
        if old == "f16":
            return self.convert(widened(self, reg), kind)
        if kind == "f16":
            return narrowed(self, reg if old[0] == "f" else self.convert(reg, "f32"))
        if kind == "i1":
            return self.compare("ne", reg, self.const(0, old))
        if old[0] == "f" and kind[0] == "f":
            name = "fpext" if BITS[kind] > BITS[old] else "fptrunc"
        elif old[0] == "f":
            if BITS[kind] < 32:  # as C does: through int, and keep the low bits
                return self.convert(self.convert(reg, "i32"), kind)
            name = "fptosi"
        elif kind[0] == "f":
            name = "uitofp" if old in ("i1", "u8") else "sitofp"
        elif BITS[kind] == BITS[old]:
            return text, kind
        elif BITS[kind] < BITS[old]:
            name = "trunc"
        else:
            name = "zext" if old in ("i1", "u8") else "sext"
        return self.value(f"{name} {self.type(old)} {text} to {self.type(kind)}", kind)


class _Loop:
    """The registers that a loop carries: now, next and at the end."""

    def __init__(self) -> None:
        self.now: list[Reg] = []
        self.next: list[Reg] = []
        self.final: list[Reg] = []
