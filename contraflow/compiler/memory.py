"""What the lazy interpreter has met so far: a tree of programs that share their beginnings.

A path from the root is what was put off between two moments at which values were needed: tensors
met, ops called, numbers read. The same program met again walks the same path and makes nothing
new. At a point of the tree hangs what was made of the program that ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import is_
from typing import Any

from contraflow.base.dtypes import from_numpy_dtype
from contraflow.graph.ir import Equation, Graph, Value
from contraflow.ops.record import NUMBERS, Aval, Op
from contraflow.tensor.versions import Writer

__all__ = ["Back", "Point", "Step", "Update", "program"]


class Point:
    """A place in the tree, and how it was reached."""

    __slots__ = (
        "above", "backs", "calls", "event", "likely", "met", "runs", "scalars", "steps", "updates",
    )  # fmt: skip

    def __init__(self, above: Point | None = None, event: Any = None) -> None:
        self.above, self.event = above, event
        self.likely: Step | None = None  # the op that came next the last time
        self.steps: list[Step] = []
        self.met: dict[Any, tuple[Value, Point]] = {}  # tensors that may come next, by their look
        self.scalars: dict[str, tuple[Value, Point]] = {}
        self.backs: dict[Any, Back] = {}
        self.updates: list[Update] = []
        self.calls: dict[Any, list[Any]] = {}  # of modules
        self.runs: dict[Any, Any] = {}

    def meet(self, array: Any, tracked: bool) -> tuple[Value, Point]:
        """The symbol of a tensor that comes next, and where the path goes on."""
        key = (array.shape, array.dtype, tracked)
        found = self.met.get(key)
        if found is None:
            value = Value(Aval(array.shape, from_numpy_dtype(array.dtype)))
            found = self.met[key] = value, Point(self, value)
        return found

    def scalar(self, aval: Aval, label: str) -> tuple[Value, Point]:
        """The symbol of a number that is read next."""
        found = self.scalars.get(label)
        if found is None:
            value = Value(aval, label)
            found = self.scalars[label] = value, Point(self, (value,))
        return found

    def below(self) -> list[Point]:
        """The points that come next."""
        found = [step.point for step in self.steps]
        return found + [p for _, p in (*self.met.values(), *self.scalars.values())]

    def add(self, op: Op, inputs: list[Any], bits: int, equation: Equation) -> Step:
        """The op that comes next, for the first time."""
        step = Step(op, inputs, bits, equation, Point(self, equation))
        self.steps.append(step)
        return step


class Step:
    """An op on a path: what it is called with, and where the path goes on."""

    __slots__ = ("attrs", "bits", "equation", "exact", "inputs", "numbers", "op", "point")

    def __init__(
        self, op: Op, inputs: list[Any], bits: int, equation: Equation, point: Point
    ) -> None:
        self.op, self.inputs, self.bits, self.attrs = op, inputs, bits, equation.attrs
        self.equation, self.point = equation, point
        self.numbers = numbers_of(inputs)
        self.exact = exactly(self.attrs)

    def is_called(self, op: Op, inputs: list[Any], bits: int, attrs: dict[str, Any]) -> bool:
        """Whether a call is this op on the same operands."""
        return (
            self.op is op
            and self.bits == bits
            and self.inputs == inputs
            and self.attrs == attrs
            and (self.numbers is None or self.numbers == numbers_of(inputs))
            and (self.exact is None or self.exact == exactly(attrs))
        )


def numbers_of(inputs: list[Any]) -> list[str] | None:
    """The Python numbers among operands, told apart also where they compare equal (1, 1.0, True,
    0.0 and -0.0)."""
    return [repr(v) for v in inputs if type(v) in NUMBERS] or None


def exactly(attrs: dict[str, Any]) -> str | None:
    """The numbers among attributes, in the same way."""
    numbers = [v for v in attrs.values() if type(v) in NUMBERS]
    return repr(numbers) if numbers else None


class Back:
    """A walk back through the tape: what it left at the leaves the last time.

    Attributes:
        grads: the positions of leaves, each with the symbol of its gradient.
        met: those whose gradients were there before and were read, with the symbols of these.
    """

    __slots__ = ("end", "grads", "met")

    def __init__(
        self, end: Point, grads: list[tuple[int, Value]], met: list[tuple[int, Value]]
    ) -> None:
        self.end, self.grads, self.met = end, grads, met


class Update:
    """An optimiser's update, as it went at a point.

    Args:
        end: where it leaves the path.
        fixed, tensors: what decides it (see ``Optimizer.depends``).
        places: what was known of the tensors.
        grads: the symbols of the gradients.
        written: the positions of what had been written on the path.
    """

    __slots__ = (
        "end", "fixed", "grads", "ids", "known", "met", "pairs", "pieces", "places", "positions",
        "scalars", "tensors", "writer", "written",
    )  # fmt: skip

    def __init__(
        self,
        end: Point,
        fixed: Any,
        tensors: list[Any],
        places: Any,
        grads: Any,
        written: frozenset[int],
    ) -> None:
        self.end, self.fixed, self.tensors, self.grads = end, fixed, tensors, grads
        self.written = written
        self.ids, self.places = list(map(id, tensors)), places
        self.met: list[Any] = []  # tensors that are met on the way
        self.known: dict[int, tuple[int, Value]] = {}  # their positions and symbols
        self.scalars: list[Callable[[], float]] = []
        self.pairs: tuple[tuple[int, Value], ...] = ()  # (position of a tensor, its new symbol)
        self.positions: frozenset[int] = frozenset()  # of these
        self.writer = Writer()  # these are new to backward when it is made again
        self.pieces: dict[Any, Any] = {}  # what ran after it, by what else was wanted

    def fits(self, fixed: Any, tensors: list[Any], lazy: Any, grads: list[Any]) -> bool:
        """Whether an update at the same point does the same."""
        return (
            self.grads == grads
            and self.fixed == fixed
            and (tensors is self.tensors or self.same(tensors))
            and self.places == list(map(lazy.known.get, self.ids))
            and self.written == lazy.overwritten()
        )

    def same(self, tensors: list[Any]) -> bool:
        """Whether they are the same tensors; the list is known from then on."""
        if len(tensors) != len(self.tensors) or not all(map(is_, tensors, self.tensors)):
            return False
        self.tensors = tensors
        return True


def path(point: Point) -> Iterator[Point]:
    """The points from the root, which is left out."""
    found = []
    at: Point | None = point
    while at is not None and at.above is not None:
        found.append(at)
        at = at.above
    return reversed(found)


def program(point: Point, outputs: list[Value], writes: list[tuple[int, Value]]) -> Graph:
    """The graph of a path: its tensors and then its numbers are the inputs, in order."""
    inputs: list[Value] = []
    scalars: list[Value] = []
    equations: list[Equation] = []
    for at in path(point):
        if isinstance(at.event, Value):
            inputs.append(at.event)
        elif isinstance(at.event, Equation):
            equations.append(at.event)
        else:
            scalars.extend(at.event)
    targets = [(inputs[position], value) for position, value in writes]
    return Graph("loop", [*inputs, *scalars], equations, outputs, targets)
