"""How each pointwise op is computed on registers: one row an op, on one lane or on eight alike.

float32 exp, log, tanh and what follows from them are polynomials written here, without calls in
loops; the error of each is stated, and tested against float64. Other dtypes and rare functions
call the C library for each lane.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log as ln
from typing import Any

from contraflow.compiler.emit import Emitter, Reg, kind_of
from contraflow.compiler.loops import Node

__all__ = ["POINTWISE", "exp", "log", "logaddexp", "maximum", "minimum", "nan"]

Row = Callable[[Emitter, list[Reg], Node], Reg]


def polynomial(e: Emitter, x: Reg, coefficients: tuple[float, ...]) -> Reg:
    """Horner's rule, highest power first."""
    y = e.const(coefficients[0], x[1])
    for c in coefficients[1:]:
        y = e.fma(y, x, e.const(c, x[1]))
    return y


# e^r on |r| <= ln(2) / 2: Taylor's terms, their last adjusted to the interval.
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4


def exp(e: Emitter, x: Reg) -> Reg:
    """e^x: 2^n e^r with n = round(x / ln 2). Within 2 ulp; 0 below -104, inf above 88.8."""
    if x[1] != "f32":
        return e.call("exp", x)
    bounded = e.select(e.compare("gt", x, e.const(88.8, "f32")), e.const(88.8, "f32"), x)
    low = e.const(-104.0, "f32")
    bounded = e.select(e.compare("lt", bounded, low), low, bounded)
    n = e.call("rint", e.binary("mul", bounded, e.const(1 / ln(2), "f32")))
    r = e.fma(n, e.const(-LN2_HIGH, "f32"), bounded)
    r = e.fma(n, e.const(-LN2_LOW, "f32"), r)
    p = polynomial(e, r, EXP)
    y = e.binary("add", e.fma(p, e.binary("mul", r, r), r), e.const(1, "f32"))
    # 2^n in two factors, so that denormal results and n = 128 come out right
    whole = e.convert(n, "i32")
    half = e.value(f"ashr {e.type('i32')} {whole[0]}, {e.const(1, 'i32')[0]}", "i32")
    rest = e.binary("sub", whole, half)
    y = e.binary("mul", e.binary("mul", y, power_of_two(e, half)), power_of_two(e, rest))
    return e.select(nan(e, x), x, y)


def power_of_two(e: Emitter, n: Reg) -> Reg:
    """2^n for a small integer, by its bits."""
    biased = e.binary("add", n, e.const(127, "i32"))
    return e.bits(e.binary("shl", biased, e.const(23, "i32")), "f32")


LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip


def log(e: Emitter, x: Reg) -> Reg:
    """ln x = n ln 2 + ln m with m in [√½, √2). Within 2 ulp; -inf at 0, NaN below."""
    if x[1] != "f32":
        return e.call("log", x)
    tiny = e.compare("lt", x, e.const(1.17549435e-38, "f32"))
    scaled = e.select(tiny, e.binary("mul", x, e.const(2.0**23, "f32")), x)
    raw = e.bits(scaled, "i32")
    # subtracting the bits of √½ makes the exponent field count from there
    moved = e.binary("sub", raw, e.const(0x3F3504F3, "i32"))
    n = e.value(f"ashr {e.type('i32')} {moved[0]}, {e.const(23, 'i32')[0]}", "i32")
    m = e.bits(e.binary("sub", raw, e.binary("shl", n, e.const(23, "i32"))), "f32")
    exponent = e.convert(n, "f32")
    exponent = e.binary("sub", exponent, e.select(tiny, e.const(23, "f32"), e.const(0, "f32")))
    r = e.binary("sub", m, e.const(1, "f32"))
    square = e.binary("mul", r, r)
    y = e.binary("mul", e.binary("mul", polynomial(e, r, LOG), r), square)
    y = e.fma(exponent, e.const(LN2_LOW, "f32"), y)
    y = e.fma(square, e.const(-0.5, "f32"), y)
    y = e.fma(exponent, e.const(LN2_HIGH, "f32"), e.binary("add", r, y))
    infinite = e.compare("eq", x, e.const(float("inf"), "f32"))
    y = e.select(infinite, x, y)
    y = e.select(e.compare("eq", x, e.const(0, "f32")), e.const(float("-inf"), "f32"), y)
    negative = e.value(f"fcmp ult {e.type('f32')} {x[0]}, {e.const(0, 'f32')[0]}", "i1")
    return e.select(negative, e.const(float("nan"), "f32"), y)


TANH = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)


def tanh(e: Emitter, x: Reg) -> Reg:
    """An odd polynomial below 0.625, 1 - 2 / (e^2|x| + 1) above. Within 2 ulp."""
    if x[1] != "f32":
        return e.call("tanh", x)
    size = e.call("fabs", x)
    square = e.binary("mul", x, x)
    near = e.fma(e.binary("mul", polynomial(e, square, TANH), square), x, x)
    grown = e.binary("add", exp(e, e.binary("add", size, size)), e.const(1, "f32"))
    far = e.binary("sub", e.const(1, "f32"), e.binary("div", e.const(2, "f32"), grown))
    return e.select(e.compare("lt", size, e.const(0.625, "f32")), near, e.call("copysign", far, x))


def sigmoid(e: Emitter, x: Reg) -> Reg:
    one = e.const(1, x[1])
    return e.binary("div", one, e.binary("add", one, exp(e, negative(e, x))))


def negative(e: Emitter, x: Reg) -> Reg:
    if x[1][0] == "f":
        return e.value(f"fneg {e.type(x[1])} {x[0]}", x[1])
    return e.binary("sub", e.const(0, x[1]), x)


def absolute(e: Emitter, x: Reg) -> Reg:
    if x[1][0] == "f":
        return e.call("fabs", x)
    return x if x[1] in ("u8", "i1") else e.select(e.compare("lt", x, e.const(0, x[1])),
                                                   negative(e, x), x)  # fmt: skip


def extreme(name: str) -> Callable[[Emitter, Reg, Reg], Reg]:
    """The larger or smaller of two; NaN wins, as in NumPy."""

    def function(e: Emitter, a: Reg, b: Reg) -> Reg:
        if a[1][0] == "f":
            test = "ogt" if name == "max" else "olt"
            wins = e.value(f"fcmp {test} {e.type(a[1])} {a[0]}, {b[0]}", "i1")
            return e.select(e.binary("or", wins, nan(e, a)), a, b)
        return e.select(e.compare("gt" if name == "max" else "lt", a, b), a, b)

    return function


maximum, minimum = extreme("max"), extreme("min")


def nan(e: Emitter, x: Reg) -> Reg:
    return e.value(f"fcmp uno {e.type(x[1])} {x[0]}, {x[0]}", "i1")


def logaddexp(e: Emitter, a: Reg, b: Reg) -> Reg:
    """max + ln(1 + e^-|a - b|); equal infinities have no difference."""
    gap = e.call("fabs", e.binary("sub", a, b))
    gap = e.select(e.compare("eq", a, b), e.const(0, a[1]), gap)
    return e.binary("add", maximum(e, a, b), e.libm("log1p", exp(e, negative(e, gap))))


def sign(e: Emitter, x: Reg) -> Reg:
    zero = e.const(0, x[1])
    up, down = e.compare("gt", x, zero), e.compare("lt", x, zero)
    one = e.const(1, x[1])
    return e.select(up, one, e.select(down, negative(e, one), zero))


def power(e: Emitter, a: Reg, b: Reg, node: Node) -> Reg:
    """Small whole powers by multiplication, the rest by the C library."""
    exponent = node.args[1].value if node.args[1].op == "const" else None
    short: dict[Any, Callable[[], Reg]] = {
        1: lambda: a,
        2: lambda: e.binary("mul", a, a),
        3: lambda: e.binary("mul", e.binary("mul", a, a), a),
        0.5: lambda: e.call("sqrt", a),
        -0.5: lambda: e.binary("div", e.const(1, a[1]), e.call("sqrt", a)),
        -1: lambda: e.binary("div", e.const(1, a[1]), a),
        -2: lambda: e.binary("div", e.const(1, a[1]), e.binary("mul", a, a)),
    }
    return short[exponent]() if exponent in short else e.libm("pow", a, b)


def binary(op: str) -> Row:
    return lambda e, a, node: e.binary(op, a[0], a[1])


def compare(test: str) -> Row:
    return lambda e, a, node: e.compare(test, a[0], a[1])


def one(function: Callable[[Emitter, Reg], Reg]) -> Row:
    return lambda e, a, node: function(e, a[0])


def intrinsic(name: str) -> Row:
    return lambda e, a, node: e.call(name, a[0])


def libm(name: str) -> Row:
    return lambda e, a, node: e.libm(name, *a)


def boolean(e: Emitter, x: Reg) -> Reg:
    return e.convert(x, "i1")


def logic(op: str) -> Row:
    return lambda e, a, node: e.binary(op, boolean(e, a[0]), boolean(e, a[1]))


def fraction(e: Emitter, x: Reg) -> Reg:
    return e.binary("sub", x, e.call("trunc", x))


def add(e: Emitter, a: list[Reg], node: Node) -> Reg:
    return e.binary("or" if a[0][1] == "i1" else "add", a[0], a[1])


def multiply(e: Emitter, a: list[Reg], node: Node) -> Reg:
    return e.binary("and" if a[0][1] == "i1" else "mul", a[0], a[1])


def clamp(e: Emitter, a: list[Reg], node: Node) -> Reg:
    return minimum(e, maximum(e, a[0], a[1]), a[2])


POINTWISE: dict[str, Row] = {
    "add": add, "sub": binary("sub"), "mul": multiply, "div": binary("div"),
    "neg": one(negative), "abs": one(absolute), "sign": one(sign),
    "square": lambda e, a, node: e.binary("mul", a[0], a[0]),
    "sqrt": intrinsic("sqrt"),
    "rsqrt": lambda e, a, node: e.binary("div", e.const(1, a[0][1]), e.call("sqrt", a[0])),
    "reciprocal": lambda e, a, node: e.binary("div", e.const(1, a[0][1]), a[0]),
    "pow": lambda e, a, node: power(e, a[0], a[1], node),
    "exp": one(exp), "log": one(log), "tanh": one(tanh), "sigmoid": one(sigmoid),
    "maximum": lambda e, a, node: maximum(e, a[0], a[1]),
    "minimum": lambda e, a, node: minimum(e, a[0], a[1]),
    "clamp": clamp,
    "clamp_min": lambda e, a, node: maximum(e, a[0], a[1]),
    "clamp_max": lambda e, a, node: minimum(e, a[0], a[1]),
    "where": lambda e, a, node: e.select(boolean(e, a[0]), a[1], a[2]),
    **{test: compare(test) for test in ("eq", "ne", "lt", "le", "gt", "ge")},
    "convert": lambda e, a, node: e.convert(a[0], kind_of(node.dtype)),
    "floor": intrinsic("floor"), "ceil": intrinsic("ceil"), "trunc": intrinsic("trunc"),
    "round": intrinsic("rint"), "frac": one(fraction),
    "sin": intrinsic("sin"), "cos": intrinsic("cos"), "tan": libm("tan"), "asin": libm("asin"),
    "acos": libm("acos"), "atan": libm("atan"), "sinh": libm("sinh"), "cosh": libm("cosh"),
    "asinh": libm("asinh"), "acosh": libm("acosh"), "atanh": libm("atanh"),
    "exp2": libm("exp2"), "expm1": libm("expm1"), "log1p": libm("log1p"), "log2": libm("log2"),
    "log10": libm("log10"), "erf": libm("erf"), "erfc": libm("erfc"), "lgamma": libm("lgamma"),
    "atan2": libm("atan2"), "hypot": libm("hypot"),
    "logical_and": logic("and"), "logical_or": logic("or"), "logical_xor": logic("xor"),
    "logical_not": lambda e, a, node: e.binary("xor", boolean(e, a[0]), e.const(1, "i1")),
    "isinf": lambda e, a, node: e.compare(
        "eq", e.call("fabs", a[0]), e.const(float("inf"), a[0][1])),
    "isfinite": lambda e, a, node: e.compare(
        "lt", e.call("fabs", a[0]), e.const(float("inf"), a[0][1])),
    "isnan": one(nan),
}  # fmt: skip
