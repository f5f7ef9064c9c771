"""The passes of a graph, in order, up to what the scheduler takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from contraflow.base.errors import ArgumentError, IndexOutOfRange, lesson
from contraflow.compiler.algebra import shorten
from contraflow.compiler.opened import OPENED
from contraflow.compiler.precision import as_a_whole, halves, one_by_one
from contraflow.compiler.ranges import ranges
from contraflow.compiler.rewrite import expand, fold, merge, traced
from contraflow.compiler.schedule import NATIVE
from contraflow.graph.ir import Equation, Graph, Value, operands
from contraflow.graph.rewrite import drop_dead
from contraflow.graph.verify import verify
from contraflow.ops.arith import eq, ge, lt
from contraflow.ops.logic import logical_or
from contraflow.ops.reduce import any as any_of

__all__ = ["broken", "index_guard", "lower"]

VERIFYING = bool(os.environ.get("CONTRAFLOW_VERIFY"))


def opened(e: Equation) -> Callable[..., Any] | None:
    """What an op is composed of, if it has no native form by itself."""
    return OPENED.get(e.op.name, None if e.op.name in NATIVE else e.op.definition)


def passed(graph: Graph) -> Graph:
    """A graph between two passes: looked at where ``CONTRAFLOW_VERIFY`` asks for it, as in tests;
    each look takes as long as a pass."""
    return verify(graph) if VERIFYING else graph


def lower(graph: Graph) -> Graph:
    """Open fused ops, compute constants, merge equal equations, drop what nobody needs."""
    narrow = any(map(halves, graph.equations))
    for rule_for in (as_a_whole, opened, one_by_one) if narrow else (opened,):
        graph = passed(expand(graph, rule_for))
    graph = passed(fold(graph))
    return verify(drop_dead(passed(shorten(merge(graph)))))


INDEXED = frozenset((
    "gather", "index_select", "scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy",
))  # fmt: skip
DIVIDED = frozenset(("floor_divide", "trunc_divide", "remainder", "fmod"))
Check = tuple[Value, int]  # an index and the size that it must stay below; 0: a divisor


def index_guard(graph: Graph) -> tuple[Graph, list[Check]] | None:
    """A graph of one bool: whether an index that the step will use is out of range, or an integer
    is divided by 0. It runs before the step, so that a wrong label changes nothing.

    Only what can be wrong is looked at: not constants, and nothing that is known to be in range.
    Whatever an index follows from is computed for the guard as well. Where that needs an op that
    is left to NumPy, there is no check; a wrong index then counts as 0, or writes nothing.
    """
    known = ranges(graph)
    opaque: set[Value] = set()
    found: dict[Check, None] = {}
    for e in graph.equations:
        if e.op.name not in NATIVE or any(v in opaque for v in e.values):
            opaque.update(e.outputs)
        check = checked(e)
        if check and not sure(check, known) and check[0] not in opaque:
            found[check] = None
    if not found:
        return None

    def wrong(*values: Any) -> Any:
        result: Any = None
        for value, (_, size) in zip(values, found, strict=True):
            bad = any_of(logical_or(lt(value, 0), ge(value, size)) if size else eq(value, 0))
            result = bad if result is None else logical_or(result, bad)
        return result

    equations, constants, (alarm,) = traced(wrong, [value for value, _ in found])
    watch = Graph(
        f"{graph.name} guard", graph.inputs, [*graph.equations, *equations], [alarm], (),
        {**graph.constants, **constants},
    )  # fmt: skip
    return lower(drop_dead(watch)), list(found)


def checked(e: Equation) -> Check | None:
    """What must be in range for an equation: an index, or a divisor."""
    if e.op.name in INDEXED:
        x, index, *_ = operands(e)
        return index, x.shape[e.attrs["dim"]]
    if e.op.name in DIVIDED and e.outputs[0].dtype.kind in "iu":
        divisor = e.inputs[1]
        return (divisor, 0) if isinstance(divisor, Value) else None
    return None


def sure(check: Check, known: dict[Value, tuple[int, int]]) -> bool:
    """Whether a check needs not be made."""
    value, size = check
    if not value.size:
        return True
    low, high = known.get(value, (-1, 0))
    return low >= 0 and high < size if size else low > 0 or high < 0


def broken(name: str, checks: list[Check]) -> IndexOutOfRange | ArgumentError:
    """The error that the guard stands for."""
    sizes = sorted({size for _, size in checks if size})
    if not sizes:
        rule = f"{name}: an integer is divided by 0; nothing was changed"
        return ArgumentError(lesson(rule, fix="x.float(), where that is inf"))
    more = ", or an integer is divided by 0" if any(not size for _, size in checks) else ""
    return IndexOutOfRange(
        lesson(
            f"{name}: a label or an index lies outside 0..size-1{more}; nothing was changed",
            [("sizes", ", ".join(map(str, sizes)))],
            "check y.min() and y.max() against the number of classes",
        )
    )
