"""The passes of a graph, in order, up to what the scheduler takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contraflow.compiler.opened import OPENED
from contraflow.compiler.pointwise import POINTWISE
from contraflow.compiler.precision import as_a_whole, halves, one_by_one
from contraflow.compiler.rewrite import expand, fold, merge, traced
from contraflow.compiler.schedule import LEAVES, NATIVE
from contraflow.compiler.views import VIEWS
from contraflow.graph.ir import Equation, Graph, Value, operands
from contraflow.graph.rewrite import drop_dead
from contraflow.graph.verify import verify
from contraflow.ops.arith import ge, lt
from contraflow.ops.logic import logical_or
from contraflow.ops.reduce import any as any_of

__all__ = ["index_guard", "lower"]


def opened(e: Equation) -> Callable[..., Any] | None:
    """What an op is composed of, if it has no native form by itself."""
    return OPENED.get(e.op.name, None if e.op.name in NATIVE else e.op.definition)


def lower(graph: Graph) -> Graph:
    """Open fused ops, compute constants, merge equal equations, drop what nobody needs."""
    narrow = any(map(halves, graph.equations))
    for rule_for in (as_a_whole, opened, one_by_one) if narrow else (opened,):
        graph = verify(expand(graph, rule_for))
    graph = verify(fold(graph))
    return verify(drop_dead(merge(graph)))


def index_guard(graph: Graph) -> tuple[Graph, list[tuple[Value, int]]] | None:
    """A graph of one bool: whether an index that the step will use is out of range.

    It covers the indices that follow from the inputs without heavy work: labels, above all. It
    runs before the step, so that a wrong label changes nothing.
    """
    cheap = {*POINTWISE, *VIEWS, *LEAVES}
    easy: set[Value] = {*graph.inputs, *graph.constants}
    found: list[tuple[Value, int]] = []
    for e in graph.equations:
        if e.op.name in cheap and all(v in easy for v in e.values):
            easy.update(e.outputs)
        if e.op.name in ("gather", "index_select") and operands(e)[0].ndim:
            x, index = operands(e)
            size = x.shape[e.attrs["dim"]]
            if index in easy and (index, size) not in found and index not in graph.constants:
                found.append((index, size))
    if not found:
        return None

    def wrong(*indices: Any) -> Any:
        result: Any = None
        for index, (_, size) in zip(indices, found, strict=True):
            bad = any_of(logical_or(lt(index, 0), ge(index, size)))
            result = bad if result is None else logical_or(result, bad)
        return result

    indices = [index for index, _ in found]
    equations, constants, (alarm,) = traced(wrong, indices)
    watch = Graph(
        f"{graph.name} guard", graph.inputs, [*graph.equations, *equations], [alarm], (),
        {**graph.constants, **constants},
    )  # fmt: skip
    return lower(drop_dead(watch)), found
