"""Passes from graph to graph: fused ops opened into plain ones, equal equations merged.

Each pass is a pure function; the graph it gives is verified by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from contraflow.base.modes import current
from contraflow.capture.recorder import Recorder
from contraflow.graph.ir import Equation, Graph, Operand, Value
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.tensor import Tensor, make

__all__ = ["Copy", "Traced", "expand", "fold", "merge", "replace", "traced"]

Traced = tuple[list[Equation], dict[Value, Any], list[Any]]  # equations, constants, results


class Copy:
    """A graph being written anew: what each old operand has become."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.equations: list[Equation] = []
        self.constants = dict(graph.constants)
        self.became: dict[Value, Operand] = {}

    def read(self, operand: Operand) -> Operand:
        while isinstance(operand, Value) and operand in self.became:
            operand = self.became[operand]
        return operand

    def add(self, old: Equation, inputs: list[Operand]) -> Equation:
        new = Equation(old.op, inputs, old.attrs, [v.aval for v in old.outputs])
        self.equations.append(new)
        self.became.update(zip(old.outputs, new.outputs, strict=True))
        return new

    def done(self) -> Graph:
        g = self.graph
        outputs: list[Any] = [self.read(v) for v in g.outputs]
        writes: list[Any] = [(target, self.read(v)) for target, v in g.writes]
        return Graph(g.name, g.inputs, self.equations, outputs, writes, self.constants)


def traced(
    function: Callable[..., Any], inputs: Sequence[Operand], attrs: dict[str, Any] | None = None
) -> Traced:
    """What a function of tensors does, as equations over the given operands; also its constants
    and its results."""
    recorder = Recorder()
    modes = current()
    before, modes.interpreter = modes.interpreter, recorder
    try:
        with no_grad():
            args = [make(v) if isinstance(v, Value) else v for v in inputs]
            result = function(*args, **(attrs or {}))
    finally:
        modes.interpreter = before
    results = result if isinstance(result, tuple) else (result,)
    values = [r._value if isinstance(r, Tensor) else r for r in results]
    # numbers that met only numbers became tensors on the way: they are constants
    met = {e.input: e.array for e in recorder.externals.values()}
    return recorder.equations, {**recorder.constants, **met}, values


def expand(graph: Graph, rule_for: Callable[[Equation], Callable[..., Any] | None]) -> Graph:
    """Replace each equation that has a rule by what the rule does, all the way down."""

    def expanded(e: Equation, inputs: list[Operand]) -> Traced | None:
        rule = rule_for(e)
        found = None if rule is None else traced(rule, inputs, e.attrs)
        return None if found is None or found[2][0] is NotImplemented else found

    return replace(graph, expanded)


def replace(graph: Graph, replacement: Callable[[Equation, list[Operand]], Traced | None]) -> Graph:
    """Put what a function gives for an equation in its place, until it gives nothing more.

    Args:
        replacement: takes an equation and its inputs in the new graph; None leaves it as it is.
    """
    while True:
        copy, changed = Copy(graph), False
        for e in graph.equations:
            inputs = [copy.read(v) for v in e.inputs]
            found = replacement(e, inputs)
            if found is None:
                copy.add(e, inputs)
                continue
            equations, constants, results = found
            copy.equations.extend(equations)
            copy.constants.update(constants)
            copy.became.update(zip(e.outputs, results, strict=True))
            changed = True
        graph = copy.done()
        if not changed:
            return graph


def merge(graph: Graph) -> Graph:
    """One equation for all that have the same op, operands and attributes (none that draws)."""
    copy = Copy(graph)
    seen: dict[Any, Equation] = {}
    for e in graph.equations:
        inputs = [copy.read(v) for v in e.inputs]
        key = (e.op.name, tuple(map(identity, inputs)), tuple(sorted(e.attrs.items())),
               tuple(v.aval for v in e.outputs))  # fmt: skip
        found = seen.get(key)
        if found is None:
            seen[key] = copy.add(e, inputs)
        else:
            copy.became.update(zip(e.outputs, found.outputs, strict=True))
    return copy.done()


def identity(operand: Operand) -> Any:
    """What makes two operands the same: the value itself, or the number with its type."""
    return id(operand) if isinstance(operand, Value) else (type(operand), repr(operand))


def fold(graph: Graph) -> Graph:
    """Compute single numbers that depend on numbers alone: they become constants."""
    copy = Copy(graph)
    for e in graph.equations:
        inputs = [copy.read(v) for v in e.inputs]
        known = [copy.constants.get(v) if isinstance(v, Value) else v for v in inputs]
        small = len(e.outputs) == 1 and e.outputs[0].size == 1 and not e.op.random
        if not small or any(v is None for v in known):
            copy.add(e, inputs)
            continue
        out = e.outputs[0]
        array = np.asarray(current().quiet(e.op.forward, *known, **e.attrs), out.dtype)
        constant = Value(out.aval)
        copy.constants[constant] = array.reshape(out.shape)
        copy.became[out] = constant
    return copy.done()
