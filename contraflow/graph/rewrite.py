"""Rewriting graphs: pure functions from a graph to a graph."""

from __future__ import annotations

from contraflow.graph.ir import Equation, Graph, Operand, Value

__all__ = ["drop_dead", "substitute"]


def drop_dead(graph: Graph) -> Graph:
    """Without the equations and constants that no result needs; inputs stay."""
    needed = set(graph.results)
    kept: list[Equation] = []
    for equation in reversed(graph.equations):
        if any(value in needed for value in equation.outputs):
            kept.append(equation)
            needed.update(equation.values)
    constants = {v: array for v, array in graph.constants.items() if v in needed}
    return Graph(graph.name, graph.inputs, kept[::-1], graph.outputs, graph.writes, constants)


def substitute(graph: Graph, replaced: dict[Value, Value]) -> Graph:
    """The graph with each use of a value replaced by another that is defined before it."""

    def new(operand: Operand) -> Operand:
        while isinstance(operand, Value) and operand in replaced:
            operand = replaced[operand]
        return operand

    mapped: dict[Value, Value] = {}

    def copied(operand: Operand) -> Operand:
        operand = new(operand)
        return mapped.get(operand, operand) if isinstance(operand, Value) else operand

    equations = []
    for old in graph.equations:
        avals = [v.aval for v in old.outputs]
        equation = Equation(old.op, [copied(v) for v in old.inputs], old.attrs, avals)
        mapped.update(zip(old.outputs, equation.outputs, strict=True))
        equations.append(equation)

    def result(value: Value) -> Value:
        found = copied(value)
        assert isinstance(found, Value)
        return found

    return Graph(
        graph.name,
        graph.inputs,
        equations,
        [result(v) for v in graph.outputs],
        [(target, result(v)) for target, v in graph.writes],
        graph.constants,
    )
