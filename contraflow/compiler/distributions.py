"""From random words to numbers on registers: the very bits that ``ops.random`` gives."""

from __future__ import annotations

from typing import Any

from contraflow.compiler.emit import Emitter, Reg
from contraflow.ops.random import box_muller

__all__ = ["numbers"]


def numbers(e: Emitter, how: str, kind: str, words: list[Reg]) -> list[Reg]:
    """The elements that a block of four words (as i64) gives: four, or two of 8 bytes."""
    if kind in ("i64", "f64"):
        high = [e.binary("shl", w, e.const(32, "i64")) for w in words[0::2]]
        words = [e.binary("or", h, w) for h, w in zip(high, words[1::2], strict=True)]
    if how == "random_bits":
        return [e.binary("lshr", w, e.const(1, "i64")) for w in words]
    if how == "random_uniform":
        return [uniform(e, kind, w) for w in words]
    wide = "f64" if kind == "f64" else "f32"
    u = [Exact(e, uniform(e, wide, w)) for w in words]
    pairs = [
        box_muller(a, b, Registers, wide == "f64") for a, b in zip(u[0::2], u[1::2], strict=True)
    ]
    return [e.convert(x.reg, kind) for pair in pairs for x in pair]


def uniform(e: Emitter, kind: str, word: Reg) -> Reg:
    """The upper bits of a word as a number in [0, 1): 24 for float32, 53 and 11 for the others."""
    drop, left = {"f32": (8, 24), "f64": (11, 53), "f16": (21, 11)}[kind]
    bits = e.binary("lshr", word, e.const(drop, "i64"))
    wide = "f64" if kind == "f64" else "f32"
    whole = e.convert(bits if kind == "f64" else e.convert(bits, "i32"), wide)
    return e.convert(e.binary("mul", whole, e.const(2.0**-left, wide)), kind)


class Exact:
    """A register with Python's arithmetic; a product is rounded before anything is added to it."""

    __slots__ = ("e", "reg")

    def __init__(self, e: Emitter, reg: Reg) -> None:
        self.e, self.reg = e, reg

    def of(self, other: Any) -> Exact:
        return (
            other if isinstance(other, Exact) else Exact(self.e, self.e.const(other, self.reg[1]))
        )

    def by(self, op: str, other: Any) -> Exact:
        kind, text = self.reg[1], f"{op} {self.e.type(self.reg[1])} {self.reg[0]}"
        return Exact(self.e, self.e.value(f"{text}, {self.of(other).reg[0]}", kind))

    def __add__(self, other: Any) -> Exact:
        return self.by("fadd", other)

    def __sub__(self, other: Any) -> Exact:
        return self.by("fsub", other)

    def __rsub__(self, other: Any) -> Exact:
        return self.of(other) - self

    def __mul__(self, other: Any) -> Exact:
        return self.by("fmul", other)

    def __truediv__(self, other: Any) -> Exact:
        return self.by("fdiv", other)

    def __neg__(self) -> Exact:
        return Exact(
            self.e, self.e.value(f"fneg {self.e.type(self.reg[1])} {self.reg[0]}", self.reg[1])
        )

    def __lt__(self, other: Any) -> Exact:
        return Exact(self.e, self.e.compare("lt", self.reg, self.of(other).reg))

    def __eq__(self, other: object) -> Exact:  # type: ignore[override]
        return Exact(self.e, self.e.compare("eq", self.reg, self.of(other).reg))


class Registers:
    """What ``box_muller`` needs besides arithmetic, for registers."""

    @staticmethod
    def sqrt(x: Exact) -> Exact:
        return Exact(x.e, x.e.call("sqrt", x.reg))

    @staticmethod
    def rint(x: Exact) -> Exact:
        return Exact(x.e, x.e.call("rint", x.reg))

    @staticmethod
    def where(condition: Exact, a: Exact, b: Exact) -> Exact:
        return Exact(a.e, a.e.select(condition.reg, a.reg, b.reg))

    @staticmethod
    def either(a: Exact, b: Exact) -> Exact:
        return Exact(a.e, a.e.binary("or", a.reg, b.reg))

    @staticmethod
    def split(x: Exact) -> tuple[Exact, Exact]:
        """x = m 2^n with m in [1/2, 1), by its bits; x is positive and not denormal."""
        e, kind = x.e, x.reg[1]
        whole, digits, half = {"f32": ("i32", 23, 126), "f64": ("i64", 52, 1022)}[kind]
        raw = e.bits(x.reg, whole)
        n = e.binary("sub", e.binary("lshr", raw, e.const(digits, whole)), e.const(half, whole))
        fraction = e.binary("and", raw, e.const((1 << digits) - 1, whole))
        m = e.bits(e.binary("or", fraction, e.const(half << digits, whole)), kind)
        return Exact(e, m), Exact(e, e.convert(n, kind))
