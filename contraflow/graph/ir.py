"""The intermediate representation: equations over values, each value assigned once.

A graph has state: an input may be *written*, which means that the step leaves a new value in the
place the input came from (a parameter, a momentum, a running mean, the position of a random
stream). ``outputs`` are what the step returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from contraflow.base.shapes import Shape
from contraflow.ops.record import Aval, Op

__all__ = ["Equation", "Graph", "Operand", "Value", "operands"]

Array = np.ndarray[Any, Any]


class Value:
    """A symbol of the graph: shape and dtype, and the equation that gives it (None: an input)."""

    __slots__ = ("aval", "dtype", "equation", "index", "label", "shape")

    def __init__(self, aval: Aval, label: str | None = None) -> None:
        self.aval = aval
        self.shape: Shape = aval.shape
        self.dtype: np.dtype[Any] = aval.dtype.np
        self.label = label
        self.equation: Equation | None = None
        self.index = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<{self.label or 'value'}: {self.aval}>"


Operand = Value | bool | int | float


class Equation:
    """outputs = op(inputs, attrs); an input is a Value or a Python number."""

    __slots__ = ("attrs", "inputs", "op", "outputs")

    def __init__(
        self, op: Op, inputs: Sequence[Operand], attrs: dict[str, Any], avals: Sequence[Aval]
    ) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.attrs = attrs
        self.outputs = tuple(Value(aval) for aval in avals)
        for index, value in enumerate(self.outputs):
            value.equation, value.index = self, index

    @property
    def values(self) -> Iterator[Value]:
        """The inputs that are values, not numbers."""
        return (v for v in self.inputs if isinstance(v, Value))


class Graph:
    """A whole step: inputs, constants, equations in order, outputs, and what is written where."""

    __slots__ = ("constants", "equations", "inputs", "name", "outputs", "writes")

    def __init__(
        self,
        name: str,
        inputs: Sequence[Value],
        equations: Sequence[Equation],
        outputs: Sequence[Value],
        writes: Sequence[tuple[Value, Value]] = (),
        constants: dict[Value, Array] | None = None,
    ) -> None:
        self.name = name
        self.inputs = tuple(inputs)
        self.equations = tuple(equations)
        self.outputs = tuple(outputs)
        self.writes = tuple(writes)
        self.constants = dict(constants or {})

    @property
    def results(self) -> tuple[Value, ...]:
        """Everything that must be computed: the outputs and the new state."""
        return (*self.outputs, *(new for _, new in self.writes))


def operands(e: Equation) -> tuple[Any, ...]:
    """The operands of an op that takes no Python numbers: values, all of them."""
    return e.inputs
