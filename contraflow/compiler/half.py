"""float16 is storage: how its bits become a wider number, and how that is rounded back.

A float16 register holds the 16 bits as an integer, so that no CPU needs instructions for it; the
passes of ``lower`` see to it that nothing is computed with one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contraflow.compiler.emit import Emitter, Reg

__all__ = ["narrowed", "widened"]

INF, LEAST_NORMAL, UNIT = 0x7C00, 0x0400, 2.0**-24
# of the wider kind: an integer of its size, digits of the fraction, and its bias less that of half
WIDE = {"f32": ("i32", 23, 112), "f64": ("i64", 52, 1008)}


def widened(e: Emitter, half: Reg) -> Reg:
    """The float32 number that 16 bits say, exactly."""
    raw = e.value(f"zext {e.type('i16')} {half[0]} to {e.type('i32')}", "i32")
    sign = e.binary("shl", e.binary("and", raw, e.const(0x8000, "i32")), e.const(16, "i32"))
    size = e.binary("and", raw, e.const(0x7FFF, "i32"))
    shifted = e.binary("shl", size, e.const(13, "i32"))
    normal = e.binary("add", shifted, e.const(112 << 23, "i32"))
    special = e.binary("add", shifted, e.const(224 << 23, "i32"))  # infinity and NaN
    normal = e.select(e.compare("ge", size, e.const(INF, "i32")), special, normal)
    small = e.bits(e.binary("mul", e.convert(size, "f32"), e.const(UNIT, "f32")), "i32")
    found = e.select(e.compare("lt", size, e.const(LEAST_NORMAL, "i32")), small, normal)
    return e.bits(e.binary("or", found, sign), "f32")


def narrowed(e: Emitter, x: Reg) -> Reg:
    """The 16 bits of the nearest float16 number; halves go to the even neighbour."""
    kind = x[1]
    whole, digits, bias = WIDE[kind]
    drop = digits - 10
    raw, size = e.bits(x, whole), e.call("fabs", x)
    sign = e.binary("lshr", raw, e.const(16 if kind == "f32" else 48, whole))
    sign = e.binary("and", sign, e.const(0x8000, whole))
    bits = e.bits(size, whole)
    last = e.binary("and", e.binary("lshr", bits, e.const(drop, whole)), e.const(1, whole))
    bits = e.binary("add", bits, e.const((1 << (drop - 1)) - 1, whole))
    bits = e.binary("lshr", e.binary("add", bits, last), e.const(drop, whole))
    normal = e.binary("sub", bits, e.const(bias << 10, whole))
    tiny = e.compare("lt", size, e.const(2.0**-14, kind))
    steps = e.call("rint", e.binary("mul", size, e.const(1 / UNIT, kind)))
    steps = e.select(tiny, steps, e.const(0, kind))  # the others would not fit
    found = e.select(
        tiny, e.value(f"fptosi {e.type(kind)} {steps[0]} to {e.type(whole)}", whole), normal
    )
    found = e.select(e.compare("ge", size, e.const(65520.0, kind)), e.const(INF, whole), found)
    ill = e.value(f"fcmp uno {e.type(kind)} {x[0]}, {x[0]}", "i1")
    found = e.binary("or", e.select(ill, e.const(0x7E00, whole), found), sign)
    return e.value(f"trunc {e.type(whole)} {found[0]} to {e.type('i16')}", "f16")
