"""Integers and bits on registers: division that rounds, shifts, powers, as NumPy does them."""

from __future__ import annotations

from contraflow.compiler.emit import BITS, Emitter, Reg

__all__ = ["divided", "inverted", "shifted", "whole_power"]


def negative(e: Emitter, x: Reg) -> Reg:
    return e.binary("sub", e.const(0, x[1]), x)


def either(e: Emitter, a: Reg, b: Reg) -> Reg:
    return e.binary("or", a, b)


def divided(e: Emitter, a: Reg, b: Reg, floor: bool) -> tuple[Reg, Reg]:
    """Quotient and remainder, rounded down or towards 0; a divisor 0 (reported before) does no
    harm, and neither does the smallest number divided by -1."""
    kind = a[1]
    zero, one = e.const(0, kind), e.const(1, kind)
    unsigned = kind == "u8"
    odd = e.compare("eq", b, zero)
    minus = odd if unsigned else e.compare("eq", b, e.const(-1, kind))
    safe = e.select(either(e, odd, minus), one, b)
    names = ("udiv", "urem") if unsigned else ("sdiv", "srem")
    quotient, rest = (e.binary(name, a, safe) for name in names)
    if not unsigned:
        quotient = e.select(minus, negative(e, a), quotient)
        if floor:
            apart = e.compare("lt", e.binary("xor", rest, b), zero)
            wrong = e.binary("and", e.compare("ne", rest, zero), apart)
            quotient = e.select(wrong, e.binary("sub", quotient, one), quotient)
            rest = e.select(wrong, e.binary("add", rest, b), rest)
    return e.select(odd, zero, quotient), e.select(odd, zero, rest)


def shifted(e: Emitter, a: Reg, b: Reg, left: bool) -> Reg:
    """a moved by b bits; all bits are lost where b is negative or too large."""
    kind = a[1]
    width = e.const(BITS[kind], kind)
    inside = e.value(f"icmp ult {e.type(kind)} {b[0]}, {width[0]}", "i1")
    safe = e.select(inside, b, e.const(0, kind))
    if left:
        return e.select(inside, e.binary("shl", a, safe), e.const(0, kind))
    if kind == "u8":
        return e.select(inside, e.binary("lshr", a, safe), e.const(0, kind))
    last = e.binary("ashr", a, e.const(BITS[kind] - 1, kind))
    return e.select(inside, e.binary("ashr", a, safe), last)


def inverted(e: Emitter, x: Reg) -> Reg:
    return e.binary("xor", x, e.const(1 if x[1] == "i1" else -1, x[1]))


def whole_power(e: Emitter, a: Reg, b: Reg) -> Reg:
    """a^b by squaring; 1 / a^|b| rounded towards 0 for a negative exponent."""
    kind = a[1]
    zero, one = e.const(0, kind), e.const(1, kind)
    t = e.type(kind)
    with e.loop(0, BITS[kind] - (kind != "u8"), 1, [(one, t), (a, t), (b, t)]) as (_, state):
        result, base, left = state.now
        bit = e.compare("ne", e.binary("and", left, one), zero)
        state.next.append(e.select(bit, e.binary("mul", result, base), result))
        state.next.append(e.binary("mul", base, base))
        state.next.append(e.binary("lshr", left, one))
    found: Reg = state.final[0]
    if kind == "u8":
        return found
    odd = e.compare("ne", e.binary("and", b, one), zero)
    sign = e.select(odd, e.const(-1, kind), one)
    unit = e.select(e.compare("eq", a, e.const(-1, kind)), sign, zero)
    unit = e.select(e.compare("eq", a, one), one, unit)
    return e.select(e.compare("lt", b, zero), unit, found)
