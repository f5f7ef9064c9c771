"""What is known about integers without running anything: the least and the greatest they can be.

An index that ``argmax`` or ``argsort`` found needs no check, and neither does one that was clamped
or drawn.
"""

from __future__ import annotations

from math import inf
from typing import Any

from contraflow.compiler.views import VIEWS
from contraflow.graph.ir import Equation, Graph, Operand, Value

__all__ = ["ranges"]

Range = tuple[Any, Any]
PLACES = ("argmax", "argmin", "argsort", "cummax_index", "topk_index")
SAME = (*VIEWS, "gather", "index_select", "convert", "amax", "amin")
BOUNDS = ("minimum", "maximum", "clamp_min", "clamp_max")
WRAPS = ("add", "sub", "mul", "convert")  # beyond the dtype, numbers start from the other end
SURE, NEVER, ANY = (1, 1), (0, 0), (-inf, inf)


def ranges(graph: Graph) -> dict[Value, Range]:
    """The (least, greatest) of each integer and bool value of which something is known."""
    known: dict[Value, Range] = {}
    for value, array in graph.constants.items():
        if array.dtype.kind in "iub" and array.size:
            known[value] = (int(array.min()), int(array.max()))

    def of(operand: Operand) -> Range | None:
        if isinstance(operand, Value):
            return known.get(operand, (0, 1) if operand.dtype.kind == "b" else None)
        return operand, operand

    for e in graph.equations:
        if len(e.outputs) == 1 and (e.outputs[0].dtype.kind in "iub" or drawn(e)):
            found = derived(e, [of(v) for v in e.inputs])
            if found is not None and (e.op.name not in WRAPS or fits(found, e.outputs[0])):
                known[e.outputs[0]] = found
    return known


def drawn(e: Equation) -> bool:
    """Whether it may be a step of drawing integers: a float64 number, scaled."""
    return e.op.name in ("random_uniform", "mul") and e.outputs[0].dtype.char == "d"


def fits(found: Range, value: Value) -> bool:
    """Whether the dtype holds all of it."""
    if value.dtype.kind in "bf":
        return True
    bits: int = value.dtype.itemsize * 8 - (value.dtype.kind == "i")
    least = 0 if value.dtype.kind == "u" else -(2**bits)
    return bool(found[0] >= least and found[1] < 2**bits)


def derived(e: Equation, given: list[Range | None]) -> Range | None:
    """The range of a result from those of the operands."""
    name, a = e.op.name, e.attrs
    if name in PLACES:
        return 0, next(e.values).shape[a["dim"]] - 1
    if name == "full":
        return int(a["value"]), int(a["value"])
    if name == "iota":
        ends = (a["start"], a["start"] + a["step"] * max(a["size"] - 1, 0))
        return int(min(ends)), int(max(ends))
    if name == "random_bits":
        return 0, 2**63 - 1
    if name == "random_uniform":
        return 0.0, 1 - 2.0**-53
    if name in SAME:
        return moved(e, given[0])
    if name == "where":
        return chosen(given)
    if name == "remainder":
        return rest(given[1])
    if name == "clamp" and None not in given[1:]:
        low, high = given[1:]
        return min(low[0], high[0]), high[1]  # type: ignore[index]
    if name in BOUNDS:
        given = [r or ANY for r in given]
    if name in TWO and None not in given:
        return TWO[name](*given)  # type: ignore[no-any-return]
    return None


def moved(e: Equation, source: Range | None) -> Range | None:
    """Of some of the elements, perhaps as another dtype."""
    if source is None or not next(e.values).size:
        return None
    if e.outputs[0].dtype.kind == "b" and e.op.name == "convert":
        return None
    if e.op.name == "convert" and ANY[0] not in source and ANY[1] not in source:
        return int(source[0]), int(source[1])
    return source


def chosen(given: list[Range | None]) -> Range | None:
    condition, a, b = given
    if condition == SURE:
        return a
    if condition == NEVER:
        return b
    return None if a is None or b is None else (min(a[0], b[0]), max(a[1], b[1]))


def less(a: Range, b: Range) -> Range:
    return SURE if a[1] < b[0] else NEVER if a[0] >= b[1] else (0, 1)


def negated(a: Range) -> Range:
    return 1 - a[1], 1 - a[0]


def times(a: Range, b: Range) -> Range:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def rest(divisor: Range | None) -> Range | None:
    """Of a division by a positive number."""
    return None if divisor is None or divisor[0] < 1 else (0, divisor[1] - 1)


TWO: dict[str, Any] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": times,
    "minimum": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "clamp_max": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "maximum": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "clamp_min": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "lt": less,
    "ge": lambda a, b: negated(less(a, b)),
    "gt": lambda a, b: less(b, a),
    "le": lambda a, b: negated(less(b, a)),
    "logical_and": lambda a, b: (a[0] and b[0], a[1] and b[1]),
    "logical_or": lambda a, b: (a[0] or b[0], a[1] or b[1]),
}
