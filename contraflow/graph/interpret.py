"""The reference interpreter: runs a graph op by op with the forward of each record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from contraflow.base.modes import current
from contraflow.graph.ir import Array, Equation, Graph, Operand, Value

__all__ = ["evaluate"]


Watch = Callable[[Equation, list[Any], Sequence[Array]], None]


def evaluate(
    graph: Graph, inputs: Sequence[Array], watch: Watch | None = None
) -> tuple[list[Array], list[Array]]:
    """The outputs and the new values of the written inputs, in the graph's order.

    The arrays given are only read. A value is dropped after its last use.

    Args:
        watch: is called after each equation, with its operands and results.
    """
    if len(inputs) != len(graph.inputs):
        raise ValueError(f"graph {graph.name} takes {len(graph.inputs)} arrays, not {len(inputs)}")
    values: dict[Value, Array] = dict(graph.constants)
    for value, array in zip(graph.inputs, inputs, strict=True):
        if tuple(array.shape) != value.shape or array.dtype != value.dtype:
            raise ValueError(f"{value!r} was given {array.dtype}{list(array.shape)}")
        values[value] = array
    last_use = {v: i for i, e in enumerate(graph.equations) for v in e.values}
    kept = set(graph.results)

    def read(operand: Operand) -> Any:
        return values[operand] if isinstance(operand, Value) else operand

    quiet = current().quiet
    for number, equation in enumerate(graph.equations):
        args = list(map(read, equation.inputs))
        result = quiet(equation.op.forward, *args, **equation.attrs)
        results = result if equation.op.outputs > 1 else (result,)
        for value, array in zip(equation.outputs, results, strict=True):
            values[value] = np.asarray(array)
        if watch is not None:
            watch(equation, args, [values[v] for v in equation.outputs])
        for value in set(equation.values):
            if last_use[value] == number and value not in kept:
                del values[value]
    return [values[v] for v in graph.outputs], [values[new] for _, new in graph.writes]
