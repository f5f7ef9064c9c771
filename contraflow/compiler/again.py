"""What is computed once more where it is used, instead of being kept in memory.

A cheap value that follows from one array that lies in memory anyway: that array is read instead of
the result, which need not be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contraflow.base.shapes import Shape
from contraflow.graph.ir import Equation, Value

if TYPE_CHECKING:
    from contraflow.compiler.schedule import Scheduler

__all__ = ["again"]

STEPS = 12  # values that one may follow from


def again(s: Scheduler, value: Value, dims: Shape) -> tuple[Equation, int] | None:
    """How a value that another kernel makes is computed once more, and the first kernel that can do
    it; None if it had better be kept."""
    if value not in s.cheap or value in s.places or value.shape != dims:
        return None
    e = s.cheap[value]
    same = same_test(s, e)
    found = [(sources(s, way), way) for way in (same, e) if way is not None]
    able = [(known, way) for known, way in found if known is not None]
    if not able:
        return None
    known, way = min(able, key=lambda pair: wide(s, pair[0], value))
    return way, max(map(s.ready, known), default=0)


def sources(s: Scheduler, e: Equation) -> set[Value] | None:
    """What lies in memory and an equation follows from in a few cheap steps; None if that is more
    to read than the result itself, or for a comparison, than what it compares."""
    (out,) = e.outputs
    found: set[Value] = set()
    for v in e.values:
        part = behind(s, v, out.shape)
        if part is None:
            return None
        found |= part
    return found if out.dtype.kind == "b" or wide(s, found, out) <= 1 else None


def behind(s: Scheduler, value: Value, dims: Shape) -> set[Value] | None:
    """What lies in memory and an operand over ``dims`` follows from, if that is one array at most
    of that size."""
    found: set[Value] = set()
    steps = [value]
    for v in steps:
        if v in s.places:
            found.add(v)
        elif v.shape == dims and (v in s.cheap or v in s.floating):
            steps += (s.cheap.get(v) or s.floating[v]).values
        elif v not in s.numbers and v not in s.leaves:
            return None
        if len(steps) > STEPS:
            return None
    return found if wide(s, found, value) <= 1 else None


def wide(s: Scheduler, values: set[Value], like: Value) -> int:
    """How many of these arrays have as many elements in memory as another value."""
    return len({p for v in values if (p := s.places[v]).points() == like.size})


def same_test(s: Scheduler, e: Equation) -> Equation | None:
    """For a test whether relu(y) is 0, that of y in forward: what is behind y may be at hand."""
    rectified = s.cheap.get(e.inputs[0]) if zero_test(e) else None  # type: ignore[arg-type]
    if (
        rectified is None
        or rectified.op.name != "where"
        or isinstance(zero := rectified.inputs[1], Value)
        or zero != 0
    ):
        return None
    test, _, y = rectified.inputs
    found = s.cheap.get(test)  # type: ignore[arg-type]
    return found if found is not None and zero_test(found) and found.inputs[0] is y else None


def zero_test(e: Equation) -> bool:
    """Whether it is ``x <= 0``."""
    x, bound = e.inputs if e.op.name == "le" else (None, None)
    return isinstance(x, Value) and not isinstance(bound, Value) and bound == 0
