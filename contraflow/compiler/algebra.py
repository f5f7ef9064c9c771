"""A pass that moves work to where there is less of it; what is computed stays the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contraflow.base.shapes import Shape
from contraflow.compiler.rewrite import Traced, replace, traced
from contraflow.graph.ir import Equation, Graph, Operand, Value
from contraflow.ops.arith import where_op
from contraflow.ops.pool_records import max_pool_spread
from contraflow.ops.record import OPS
from contraflow.ops.view import reshape_to

__all__ = ["shorten"]

Found = tuple[Callable[..., Any], list[Operand]] | None
COMPARISONS = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))
REDUCTIONS = frozenset(("sum", "amax", "amin", "prod", "any", "all"))


def shorten(graph: Graph) -> Graph:
    """Apply the rules until none does anything."""

    def shorter(e: Equation, inputs: list[Operand]) -> Traced | None:
        found = next((f for rule in RULES if (f := rule(e, inputs))), None)
        return None if found is None else traced(*found)

    return replace(graph, shorter)


def maker(operand: Operand, *names: str) -> Equation | None:
    """The equation that gives an operand, if its op is one of those."""
    e = operand.equation if isinstance(operand, Value) else None
    return e if e is not None and e.op.name in names else None


def masked_maxima(e: Equation, inputs: list[Operand]) -> Found:
    """What was carried back to the maxima of windows, and set to 0 where x compares so: as well
    set to 0 before, by the maxima themselves, of which there are fewer."""
    if e.op.name != "where":
        return None
    test, a, b = inputs
    compared = maker(test, *COMPARISONS)
    carried = maker(b if a == 0 and not isinstance(a, Value) else a, "max_pool_spread")
    zero = a if carried is not None and isinstance(b, Value) and b.equation is carried else b
    if compared is None or carried is None or isinstance(zero, Value) or zero != 0:
        return None
    g, x, y = carried.inputs
    left, right = compared.inputs
    if left is not x or isinstance(right, Value):
        return None
    compare = OPS[compared.op.name]
    first = zero is a

    def rule(g: Any, x: Any, y: Any) -> Any:
        mask = compare(y, right)
        kept = where_op(mask, zero, g) if first else where_op(mask, g, zero)
        return max_pool_spread(kept, x, y, **carried.attrs)

    return rule, [g, x, y]


def sum_of_carried(e: Equation, inputs: list[Operand]) -> Found:
    """A sum over whole images of what was carried to maxima is the sum of what was carried."""
    carried = maker(inputs[0], "max_pool_spread") if e.op.name == "sum" else None
    if carried is None:
        return None
    n, ndim = len(carried.attrs["kernel"]), len(e.inputs[0].shape)  # type: ignore[union-attr]
    if not set(range(ndim - n, ndim)) <= set(e.attrs["dims"]):
        return None
    return lambda g: e.op(g, **e.attrs), [carried.inputs[0]]


def reduced_before_reshape(e: Equation, inputs: list[Operand]) -> Found:
    """A reduction over dimensions that were merged before: over those that they were merged of,
    so that it can be done where they are computed."""
    merged = maker(inputs[0], "reshape") if e.op.name in REDUCTIONS else None
    if merged is None:
        return None
    (x,), (out,) = merged.inputs, e.outputs
    assert isinstance(x, Value)
    groups = merged_dims(x.shape, merged.outputs[0].shape)
    if groups is None:
        return None
    dims = tuple(d for new in e.attrs["dims"] for d in groups[new])
    attrs = {**e.attrs, "dims": dims, "keepdim": False}
    return lambda x: reshape_to(e.op(x, **attrs), shape=out.shape), [x]


def merged_dims(old: Shape, new: Shape) -> list[list[int]] | None:
    """The old dimensions that each new one consists of; None if it is not a mere merging."""
    if 0 in old or len(new) >= len(old):
        return None
    found: list[list[int]] = []
    d = 0
    for size in new:
        group: list[int] = []
        total = 1
        while d < len(old) and (total < size or (old[d] == 1 and size == 1 and not group)):
            total *= old[d]
            group.append(d)
            d += 1
        if total != size or not group:
            return None
        found.append(group)
    while found and d < len(old) and old[d] == 1:
        found[-1].append(d)
        d += 1
    return found if d == len(old) else None


RULES = (masked_maxima, sum_of_carried, reduced_before_reshape)
