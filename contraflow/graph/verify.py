"""The verifier: every value defined before it is used, every shape what the op's rule says."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ContraflowError
from contraflow.graph.ir import Equation, Graph, Operand, Value
from contraflow.ops.record import OPS, Aval

__all__ = ["GraphError", "infer", "verify"]


class GraphError(ContraflowError):
    """A graph that breaks a rule of the representation."""


def infer(equation: Equation) -> tuple[Aval, ...]:
    """The avals that the op's shape rule gives for this equation's inputs."""
    first = next((v.aval.dtype for v in reversed(equation.inputs) if isinstance(v, Value)), None)
    avals = [number_aval(v, first) if not isinstance(v, Value) else v.aval for v in equation.inputs]
    found = equation.op.shape(*avals, **equation.attrs)
    return found if isinstance(found, tuple) else (found,)


def number_aval(_: Operand, dtype: Any) -> Aval:
    """A Python number takes the dtype of the tensors beside it."""
    return Aval((), dtype)


def verify(graph: Graph) -> Graph:
    """Check the graph and return it.

    Raises:
        GraphError: naming the equation and what is wrong with it.
    """
    known: set[Value] = set()
    for value in (*graph.inputs, *graph.constants):
        if value in known or value.equation is not None:
            raise GraphError(f"graph {graph.name}: input {value!r} is not a fresh value")
        known.add(value)
    for value, array in graph.constants.items():
        if tuple(array.shape) != value.shape or array.dtype != value.dtype:
            raise GraphError(
                f"graph {graph.name}: constant {value!r} holds {array.dtype}{list(array.shape)}"
            )
    for number, equation in enumerate(graph.equations):
        where = f"graph {graph.name}, equation {number} ({equation.op.name})"
        if OPS.get(equation.op.name) is not equation.op:
            raise GraphError(f"{where}: the op is not registered")
        for value in equation.values:
            if value not in known:
                raise GraphError(f"{where}: uses {value!r} before it is defined")
        if infer(equation) != tuple(v.aval for v in equation.outputs):
            raise GraphError(
                f"{where}: the shape rule gives {infer(equation)}, "
                f"the graph says {[v.aval for v in equation.outputs]}"
            )
        for index, value in enumerate(equation.outputs):
            if value in known or value.equation is not equation or value.index != index:
                raise GraphError(f"{where}: output {index} is defined elsewhere")
            known.add(value)
    for value in graph.results:
        if value not in known:
            raise GraphError(f"graph {graph.name}: the result {value!r} is never computed")
    targets = [target for target, _ in graph.writes]
    if len(set(targets)) != len(targets):
        raise GraphError(f"graph {graph.name}: an input is written twice")
    for target, new in graph.writes:
        if target not in graph.inputs or target.aval != new.aval:
            raise GraphError(f"graph {graph.name}: {new!r} cannot be written to {target!r}")
    return graph
