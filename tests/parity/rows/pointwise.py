"""Functions of each element: one, two and three operands."""

import numpy as np

from tests.parity.compare import DTYPES, D, Row

inf, nan = float("inf"), float("nan")
FLOATS = ("float32", "float64", "float16")
WHOLE = ("int64", "int32", "int8", "uint8", "bool")
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, inf, -inf, nan, 1e-30, 0.5, 2.5, -2.5, 100.0])
WIDE = np.array([[1, 0, -1, 7], [3, -7, 2, -2]])

# name: (range of smooth numbers). All take one operand.
UNARY = {
    "abs": (-3, 3), "absolute": (-3, 3), "acos": (-0.9, 0.9), "acosh": (1.1, 3), "arccos": (-0.9, 0.9),
    "arccosh": (1.1, 3), "arcsin": (-0.9, 0.9), "arcsinh": (-3, 3), "arctan": (-3, 3),
    "arctanh": (-0.9, 0.9), "asin": (-0.9, 0.9), "asinh": (-3, 3), "atan": (-3, 3),
    "atanh": (-0.9, 0.9), "bitwise_not": (-3, 3), "ceil": (-3, 3), "cos": (-3, 3), "cosh": (-3, 3),
    "deg2rad": (-200, 200), "digamma": (0.3, 4), "erf": (-2, 2), "erfc": (-2, 2),
    "erfinv": (-0.9, 0.9), "exp": (-3, 3), "exp2": (-3, 3), "expm1": (-3, 3), "fix": (-3, 3),
    "floor": (-3, 3), "frac": (-3, 3), "isfinite": (-3, 3), "isinf": (-3, 3), "isnan": (-3, 3),
    "isneginf": (-3, 3), "isposinf": (-3, 3), "lgamma": (0.3, 4), "log": (0.2, 4),
    "log10": (0.2, 4), "log1p": (-0.8, 4), "log2": (0.2, 4), "logical_not": (-3, 3),
    "logit": (0.1, 0.9), "nan_to_num": (-3, 3), "neg": (-3, 3), "negative": (-3, 3),
    "positive": (-3, 3), "rad2deg": (-3, 3), "reciprocal": (0.3, 3), "relu": (-3, 3),
    "round": (-3, 3), "rsqrt": (0.3, 4), "selu": (-3, 3), "sgn": (-3, 3), "sigmoid": (-4, 4),
    "sign": (-3, 3), "signbit": (-3, 3), "sin": (-3, 3), "sinc": (-2, 2), "sinh": (-3, 3),
    "sqrt": (0.3, 4), "square": (-3, 3), "tan": (-1, 1), "tanh": (-3, 3), "trunc": (-3, 3),
    "celu": (-3, 3), "hardshrink": (-3, 3), "numel": (-3, 3),
}  # fmt: skip
CONSTANT = {"isfinite", "isinf", "isnan", "isneginf", "isposinf", "logical_not", "signbit",
            "bitwise_not", "numel"}  # fmt: skip
LOOSE = {"digamma": 50, "lgamma": 20, "erfinv": 20, "sinc": 50, "logit": 10, "acosh": 5}

BINARY = {
    "add": (-3, 3), "sub": (-3, 3), "subtract": (-3, 3), "mul": (-3, 3), "multiply": (-3, 3),
    "div": (0.5, 3), "divide": (0.5, 3), "true_divide": (0.5, 3), "atan2": (0.5, 3),
    "arctan2": (0.5, 3), "copysign": (0.5, 3), "eq": (-2, 2), "ne": (-2, 2), "not_equal": (-2, 2),
    "ge": (-2, 2), "greater_equal": (-2, 2), "gt": (-2, 2), "greater": (-2, 2), "le": (-2, 2),
    "less_equal": (-2, 2), "lt": (-2, 2), "less": (-2, 2), "fmax": (-3, 3), "fmin": (-3, 3),
    "fmod": (1.2, 5), "remainder": (1.2, 5), "floor_divide": (1, 5), "heaviside": (-2, 2),
    "hypot": (0.5, 3), "logaddexp": (-3, 3), "logaddexp2": (-3, 3), "logical_and": (-1, 1),
    "logical_or": (-1, 1), "logical_xor": (-1, 1), "maximum": (-3, 3), "minimum": (-3, 3),
    "pow": (0.4, 3), "float_power": (0.4, 3), "rsub": (-3, 3), "xlogy": (0.3, 3),
    "bitwise_and": (0, 7), "bitwise_or": (0, 7), "bitwise_xor": (0, 7),
    "bitwise_left_shift": (0, 4), "bitwise_right_shift": (0, 4),
}  # fmt: skip
NO_SLOPE = {"eq", "ne", "not_equal", "ge", "greater_equal", "gt", "greater", "le", "less_equal", "lt",
            "less", "heaviside", "logical_and", "logical_or", "logical_xor", "bitwise_and",
            "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift",
            "floor_divide"}  # fmt: skip
# A number as the second operand is allowed here (elsewhere PyTorch wants a tensor).
NUMBERS = ("add", "sub", "mul", "div", "eq", "ne", "ge", "gt", "le", "lt", "fmod", "remainder",
           "floor_divide", "pow", "float_power", "rsub", "xlogy", "copysign", "bitwise_and",
           "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift")  # fmt: skip


def unary():
    for name, (low, high) in UNARY.items():
        smooth, loose = name not in CONSTANT, LOOSE.get(name, 1)
        for shape in ((2, 3), (), (0, 3)):
            yield Row(name, D(*shape, low=low, high=high), smooth=smooth, loose=loose)
        yield Row(name, SPECIAL, dtypes=("float64",), smooth=False, loose=loose)
        yield Row(name, SPECIAL.astype(np.float32), dtypes=("float32",), smooth=False, loose=loose)
        yield Row(name, WIDE, dtypes=("int64",), smooth=False, loose=loose)


def binary():
    for name, (low, high) in BINARY.items():
        smooth = name not in NO_SLOPE

        def x(*shape, low=low, high=high, **options):
            return D(*shape, low=low, high=high, **options)

        for a, b in (((2, 3), (2, 3)), ((3, 1), (4,)), ((2, 3), ()), ((), ()), ((0, 3), (1, 3))):
            yield Row(name, x(*a), x(*b), smooth=smooth)
        yield Row(name, x(2, 3), x(2, 4), wrong=True)
        for first, second in (("int8", "uint8"), ("int32", "int64"), ("bool", "int8"), ("float32", "float64"),
                              ("int64", "float32"), ("float16", "float32"), ("bool", "float32"),
                              ("uint8", "float16")):  # fmt: skip
            yield Row(
                name, x(3, dtype=first), x(3, dtype=second), dtypes=("float32",), smooth=False
            )
            yield Row(name, x(3, dtype=first), x(dtype=second), dtypes=("float32",), smooth=False)
            yield Row(name, x(dtype=first), x(3, dtype=second), dtypes=("float32",), smooth=False)
        column = SPECIAL[:, None]
        yield Row(name, column, SPECIAL, dtypes=("float64",), smooth=False, loose=10)
        yield Row(name, D(3, low=-20, high=20), D(3, low=-3, high=-1), dtypes=("int64", "float64"),
                  smooth=False)  # fmt: skip
        if name in NUMBERS:
            for number in (2, 2.5, True):
                some = tuple(d for d in DTYPES if name != "pow" or d != "bool")
                yield Row(name, x(2, 3), number, smooth=smooth, dtypes=some)
            yield Row(name, x(2, 3), -2, smooth=False, dtypes=("float64", "int64"))


def ties():
    tied = np.array([1.0, 2.0, 2.0, -1.0])
    for name in ("maximum", "minimum", "fmax", "fmin", "hypot", "atan2", "logaddexp"):
        yield Row(name, tied, np.array([1.0, 2.0, 1.0, -1.0]), dtypes=("float64",), twice=False)
    for name in ("abs", "sign", "relu", "sqrt", "hardshrink", "celu", "selu"):
        yield Row(name, np.array([0.0, 1.0]), dtypes=("float64",), twice=False)
    yield Row("pow", np.array([0.0, 0.0, 0.0, 2.0, -2.0]), np.array([0.0, 2.0, 0.5, 0.0, 2.0]),
              dtypes=("float64",), twice=False)  # fmt: skip
    for exponent in (0, 1, 2, 3, 0.5, -1, -0.5, -2, 1.7):
        yield Row("pow", D(2, 3, low=0.3, high=3), exponent, dtypes=FLOATS)
        yield Row("pow", np.array([0.0, -1.0, 2.0]), exponent, dtypes=("float64",), twice=False)
    yield Row("pow", 2, D(3), method=False)
    yield Row("pow", 2.5, D(3), method=False)
    yield Row("pow", 0, D(3, low=0, high=3), method=False, twice=False)


def options():
    yield Row("add", D(2, 3), D(2, 3), alpha=2)
    yield Row("add", D(2, 3), D(3), alpha=-0.5)
    yield Row("add", D(2, 3), 3, alpha=2)
    yield Row("sub", D(2, 3), D(3), alpha=2)
    yield Row("sub", D(2, 3), D(3), alpha=0.5)
    yield Row("rsub", D(2, 3), D(3), alpha=2)
    for mode in ("floor", "trunc", None):
        yield Row("div", D(2, 3, low=-9, high=9), D(3, low=1.3, high=3), rounding_mode=mode)
        yield Row("div", D(2, 3, low=-9, high=9), 2.5, rounding_mode=mode, smooth=False)
        yield Row("div", D(2, 3, low=-9, high=9), -2, rounding_mode=mode, smooth=False)
    yield Row("div", D(3), D(3), rounding_mode="ceil", wrong=True)
    for decimals in (0, 1, 2, -1):
        yield Row("round", D(6, low=-33, high=33), decimals=decimals, smooth=False)
    yield Row("round", np.array([0.5, 1.5, 2.5, -0.5, -1.5]), dtypes=("float64",))
    yield Row("nan_to_num", SPECIAL, dtypes=("float64",), twice=False)
    yield Row("nan_to_num", SPECIAL, 1.0, 2.0, -3.0, dtypes=("float64",), twice=False)
    yield Row("nan_to_num", SPECIAL, nan=9.0, dtypes=("float64",), twice=False)
    yield Row("logit", D(2, 3, low=-0.2, high=1.2), eps=0.1)
    yield Row("logit", D(2, 3, low=0.1, high=0.9), 1e-6)
    yield Row("celu", D(2, 3), alpha=0.5)
    yield Row("hardshrink", D(2, 3), 1.0)
    yield Row("threshold", D(2, 3), 0.5, 7.0, method=False)
    yield Row("prelu", D(2, 3, 2), D(3), dtypes=FLOATS)
    yield Row("prelu", D(2, 3), D(1), dtypes=FLOATS)
    yield Row("prelu", D(2, 3), D(2), wrong=True)
    yield Row("rrelu", D(2, 3), 0.1, 0.3, method=False, dtypes=FLOATS)
    for n in (0, 1, 2, 3):
        yield Row("polygamma", n, D(2, 3, low=0.5, high=3), method=False, dtypes=("float64", "float32"),
                  loose=50, twice=n < 2)  # fmt: skip


def several():
    for low, high in ((-1, 1), (None, 1), (-1, None), (1, -1), (-0.5, 0.5), (0, 2), (0.5, 2)):
        yield Row("clamp", D(2, 3), low, high)
        yield Row("clip", D(2, 3), min=low, max=high)
    yield Row("clamp", D(2, 3), D(3, low=-1, high=0), D(2, 1, low=0, high=1))
    yield Row("clamp", D(2, 3), min=D(3, low=-1, high=0))
    yield Row("clamp", D(2, 3), max=D(3))
    yield Row("clamp", D(2, 3), wrong=True)
    yield Row("clamp", np.array([0.0, 1.0, 2.0, nan]), 1.0, 2.0, dtypes=("float64",), twice=False)
    for name in ("clamp_min", "clamp_max"):
        yield Row(name, D(2, 3), 0.5)
        yield Row(name, D(2, 3), 1)
        yield Row(name, D(2, 3), D(3))
    yield Row("lerp", D(2, 3), D(2, 3), 0.3)
    yield Row("lerp", D(2, 3), D(2, 3), D(3, low=0, high=1))
    yield Row("lerp", D(2, 1), D(3), D(2, 3))
    for name in ("addcmul", "addcdiv"):
        yield Row(name, D(2, 3), D(2, 3), D(3, low=1, high=3))
        yield Row(name, D(2, 3), D(2, 1), D(3, low=1, high=3), value=2)
        yield Row(name, D(2, 3), D(2, 1), D(3, low=1, high=3), value=0.5, dtypes=FLOATS)
    for a, b in (
        (D(2, 3), D(3)),
        (D(2, 1), D(2, 3)),
        (D(2, 3), 0.5),
        (2, D(3)),
        (1.5, 2),
        (D(3), 1),
    ):
        yield Row(
            "where", np.array([[True, False, True], [False, False, True]]), a, b, method=False
        )
    yield Row("where", D(2, 3, dtype="int64"), D(3), D(3), wrong=True, method=False)
    yield Row("where", np.array([[0, 2], [3, 0]]), method=False, smooth=False)
    for name in ("isclose", "allclose"):
        yield Row(name, D(2, 3), D(2, 3), smooth=False)
        yield Row(name, D(2, 3), D(2, 3), rtol=0.5, atol=1.0, smooth=False)
        yield Row(name, SPECIAL, SPECIAL, equal_nan=True, dtypes=("float64",), smooth=False)
        yield Row(name, SPECIAL, SPECIAL * 1.000001, dtypes=("float64",), smooth=False)
    yield Row("equal", D(2, 3), D(2, 3), smooth=False)
    yield Row("equal", np.ones(3), np.ones(3), dtypes=("float64",), smooth=False)
    yield Row("equal", np.ones(3), np.ones((1, 3)), dtypes=("float64",), smooth=False)


ROWS = [*unary(), *binary(), *ties(), *options(), *several()]
