"""How each pointwise op is computed on registers: one row an op, on one lane or on eight alike.

float32 exp, log, tanh and what follows from them are polynomials written here, without calls in
loops; the error of each is stated, and tested against float64. Other dtypes and rare functions
call the C library for each lane.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log as ln
from math import pi
from typing import Any

from contraflow.compiler.emit import BITS, Emitter, Reg, kind_of
from contraflow.compiler.loops import Node
from contraflow.compiler.whole import divided, inverted, shifted, whole_power

__all__ = ["DEAR", "POINTWISE", "exp", "log", "logaddexp", "maximum", "minimum", "nan"]

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


ROUNDING = 1.5 * 2.0**23  # added to a small number, its last bits are the nearest whole number
FLAT = 10.0  # from here on tanh is 1


def tanh(e: Emitter, x: Reg) -> Reg:
    """y / (y + 1) with y = (e^2|x| - 1) / 2, which keeps its digits near 0. Within 3 ulp."""
    if x[1] != "f32":
        return e.call("tanh", x)
    size = e.call("fabs", x)
    size = e.select(e.compare("gt", size, e.const(FLAT, "f32")), e.const(FLAT, "f32"), size)
    # 2|x| = n ln 2 + 2r; y = 2^n (e^2r - 1) / 2 + (2^n - 1) / 2
    moved = e.fma(size, e.const(2 / ln(2), "f32"), e.const(ROUNDING, "f32"))
    n = e.binary("sub", moved, e.const(ROUNDING, "f32"))
    r = e.fma(n, e.const(-LN2_HIGH / 2, "f32"), size)
    r = e.fma(n, e.const(-LN2_LOW / 2, "f32"), r)
    doubled = tuple(c * 2.0 ** (len(EXP) - k) for k, c in enumerate(EXP))
    grown = e.fma(polynomial(e, r, doubled), e.binary("mul", r, r), r)
    power = power_of_two(e, e.bits(moved, "i32"))
    rest = e.fma(power, e.const(0.5, "f32"), e.const(-0.5, "f32"))
    y = e.fma(power, grown, rest)
    y = e.binary("div", y, e.binary("add", y, e.const(1, "f32")))
    return e.call("copysign", y, x)


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


def distance(e: Emitter, a: Reg, b: Reg) -> Reg:
    """|a - b|; equal infinities have none."""
    gap = e.call("fabs", e.binary("sub", a, b))
    return e.select(e.compare("eq", a, b), e.const(0, a[1]), gap)


def logaddexp(e: Emitter, a: Reg, b: Reg) -> Reg:
    """max + ln(1 + e^-|a - b|)."""
    more = e.libm("log1p", exp(e, negative(e, distance(e, a, b))))
    return e.binary("add", maximum(e, a, b), more)


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
    if exponent in short:
        return short[exponent]()
    return whole_power(e, a, b) if a[1][0] != "f" else e.libm("pow", a, b)


def binary(op: str) -> Row:
    return lambda e, a, node: e.binary(op, a[0], a[1])


def two(function: Callable[[Emitter, Reg, Reg], Reg]) -> Row:
    return lambda e, a, node: function(e, a[0], a[1])


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


# ---- division that rounds ----------------------------------------------------------------------


def remainder(e: Emitter, a: Reg, b: Reg) -> Reg:
    """The rest of a division rounded down: it has the sign of b, also where it is 0."""
    if a[1][0] != "f":
        return divided(e, a, b, floor=True)[1]
    zero = e.const(0, a[1])
    rest = e.libm("fmod", a, b)
    apart = e.binary("xor", e.compare("lt", rest, zero), e.compare("lt", b, zero))
    moved = e.select(apart, e.binary("add", rest, b), rest)
    exact = e.select(e.compare("eq", b, zero), rest, e.call("copysign", zero, b))
    return e.select(e.compare("eq", rest, zero), exact, moved)


def floor_divide(e: Emitter, a: Reg, b: Reg) -> Reg:
    """floor(a / b) before a / b is rounded: (a - remainder) / b is whole, but for a last digit."""
    if a[1][0] != "f":
        return divided(e, a, b, floor=True)[0]
    zero, one = e.const(0, a[1]), e.const(1, a[1])
    rest, ratio = e.libm("fmod", a, b), e.binary("div", a, b)
    quotient = e.binary("div", e.binary("sub", a, rest), b)
    apart = e.binary("xor", e.compare("lt", rest, zero), e.compare("lt", b, zero))
    apart = e.binary("and", apart, e.compare("ne", rest, zero))
    quotient = e.select(apart, e.binary("sub", quotient, one), quotient)
    down = e.call("floor", quotient)
    high = e.compare("gt", e.binary("sub", quotient, down), e.const(0.5, a[1]))
    down = e.select(high, e.binary("add", down, one), down)
    down = e.select(e.compare("eq", quotient, zero), e.call("copysign", zero, ratio), down)
    return e.select(e.compare("eq", b, zero), ratio, down)


def trunc_divide(e: Emitter, a: Reg, b: Reg) -> Reg:
    if a[1][0] != "f":
        return divided(e, a, b, floor=False)[0]
    return e.call("trunc", e.binary("div", a, b))


def fmod(e: Emitter, a: Reg, b: Reg) -> Reg:
    if a[1][0] != "f":
        return divided(e, a, b, floor=False)[1]
    return e.libm("fmod", a, b)


# ---- logarithms of sums and products -----------------------------------------------------------


def logaddexp2(e: Emitter, a: Reg, b: Reg) -> Reg:
    """max + log2(1 + 2^-|a - b|)."""
    more = e.libm("log1p", e.libm("exp2", negative(e, distance(e, a, b))))
    return e.binary("add", maximum(e, a, b), e.binary("mul", more, e.const(1 / ln(2), a[1])))


def xlogy(e: Emitter, a: Reg, b: Reg) -> Reg:
    """a ln b; 0 ln b is 0 for every b that is a number."""
    nothing = e.binary("and", e.compare("eq", a, e.const(0, a[1])), e.compare("eq", b, b))
    return e.select(nothing, e.const(0, a[1]), e.binary("mul", a, log(e, b)))


def logit(e: Emitter, x: Reg) -> Reg:
    return log(e, e.binary("div", x, e.binary("sub", e.const(1, x[1]), x)))


def sinc(e: Emitter, x: Reg) -> Reg:
    turn = e.binary("mul", x, e.const(pi, x[1]))
    wave = e.binary("div", e.call("sin", turn), turn)
    return e.select(e.compare("eq", x, e.const(0, x[1])), e.const(1, x[1]), wave)


# ---- signs and special values ------------------------------------------------------------------


def number_wins(test: str) -> Row:
    """The larger or smaller of two; a number wins against NaN, and the first a tie."""

    def row(e: Emitter, args: list[Reg], node: Node) -> Reg:
        a, b = args
        wins = e.compare(test, a, b)
        return e.select(e.binary("or", wins, nan(e, b)) if a[1][0] == "f" else wins, a, b)

    return row


def of_floats(function: Callable[[Emitter, Reg], Reg]) -> Row:
    """A question that is never true of integers."""
    return lambda e, a, node: function(e, a[0]) if a[0][1][0] == "f" else e.const(0, "i1")


def infinite(e: Emitter, x: Reg) -> Reg:
    return e.compare("eq", e.call("fabs", x), e.const(float("inf"), x[1]))


def finite(e: Emitter, a: list[Reg], node: Node) -> Reg:
    x = a[0]
    if x[1][0] != "f":
        return e.const(1, "i1")
    return e.compare("lt", e.call("fabs", x), e.const(float("inf"), x[1]))


def signbit(e: Emitter, x: Reg) -> Reg:
    if x[1] in ("i1", "u8"):
        return e.const(0, "i1")
    raw = e.bits(x, f"i{BITS[x[1]]}") if x[1][0] == "f" else x
    return e.compare("lt", raw, e.const(0, raw[1]))


def heaviside(e: Emitter, x: Reg, values: Reg) -> Reg:
    zero = e.const(0, x[1])
    step = e.convert(e.compare("gt", x, zero), x[1])
    return e.select(e.compare("eq", x, zero), values, step)


def nan_to_num(e: Emitter, a: list[Reg], node: Node) -> Reg:
    """NaN and the infinities as the numbers of the attributes."""
    x, inf = a[0], float("inf")
    nan_, high, low = (e.const(node.value[name], x[1]) for name in ("nan", "posinf", "neginf"))
    y = e.select(e.compare("eq", x, e.const(-inf, x[1])), low, x)
    y = e.select(e.compare("eq", x, e.const(inf, x[1])), high, y)
    return e.select(nan(e, x), nan_, y)


# Too dear to be computed once more in every kernel that uses them.
DEAR = frozenset((
    "exp", "log", "tanh", "sigmoid", "pow", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "asinh", "acosh", "atanh", "exp2", "expm1", "log1p", "log2", "log10", "erf", "erfc",
    "lgamma", "atan2", "hypot", "logaddexp", "logaddexp2", "logit", "xlogy", "sinc", "fmod",
    "remainder", "floor_divide",
))  # fmt: skip

POINTWISE: dict[str, Row] = {
    "add": add, "sub": binary("sub"), "mul": multiply, "div": binary("div"),
    "neg": one(negative), "abs": one(absolute), "sign": one(sign),
    "square": lambda e, a, node: e.binary("mul", a[0], a[0]),
    "sqrt": intrinsic("sqrt"),
    "rsqrt": lambda e, a, node: e.binary("div", e.const(1, a[0][1]), e.call("sqrt", a[0])),
    "reciprocal": lambda e, a, node: e.binary("div", e.const(1, a[0][1]), a[0]),
    "pow": lambda e, a, node: power(e, a[0], a[1], node),
    "exp": one(exp), "log": one(log), "tanh": one(tanh), "sigmoid": one(sigmoid),
    "maximum": two(maximum), "minimum": two(minimum),
    "clamp": clamp,
    "clamp_min": two(maximum), "clamp_max": two(minimum),
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
    "isnan": of_floats(nan), "isinf": of_floats(infinite), "isfinite": finite,
    "isposinf": of_floats(lambda e, x: e.compare("eq", x, e.const(float("inf"), x[1]))),
    "isneginf": of_floats(lambda e, x: e.compare("eq", x, e.const(float("-inf"), x[1]))),
    "signbit": one(signbit), "nan_to_num": nan_to_num, "heaviside": two(heaviside),
    "copysign": lambda e, a, node: e.call("copysign", *a),
    "fmax": number_wins("ge"), "fmin": number_wins("le"),
    "floor_divide": two(floor_divide), "trunc_divide": two(trunc_divide),
    "remainder": two(remainder), "fmod": two(fmod),
    "bitwise_and": binary("and"), "bitwise_or": binary("or"), "bitwise_xor": binary("xor"),
    "bitwise_not": one(inverted),
    "bitwise_left_shift": lambda e, a, node: shifted(e, a[0], a[1], left=True),
    "bitwise_right_shift": lambda e, a, node: shifted(e, a[0], a[1], left=False),
    "logaddexp": two(logaddexp), "logaddexp2": two(logaddexp2), "xlogy": two(xlogy),
    "logit": one(logit), "sinc": one(sinc),
}  # fmt: skip
