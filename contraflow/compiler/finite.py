"""The guard against NaN and infinities: looks at what a step made, and finds the op to blame.

The native code ran on copies of the state, so nothing has changed when it finds something. Then
the reference interpreter runs the captured graph op by op on the same inputs. From the bad result
it goes back, as long as an operand is bad already: the op where that ends is the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from contraflow.base.errors import NonFiniteError, lesson
from contraflow.base.source import line_at
from contraflow.compiler.guards import name_of, path_of
from contraflow.graph.interpret import evaluate
from contraflow.graph.ir import Equation, Graph, Value

if TYPE_CHECKING:
    from contraflow.compiler.version import Version

__all__ = ["inspect"]

Array = np.ndarray[Any, Any]
CURES = {
    "log": "log(x + eps), or log_softmax in place of log(softmax(x))",
    "div": "divide by x + eps, or choose with cf.where before dividing",
    "sqrt": "sqrt(x + eps): at 0 its gradient is infinite",
    "exp": "subtract the maximum first, as softmax and logsumexp do",
}


def bad(array: Any, infinities: bool) -> bool:
    """Whether there is a NaN in it, or an infinity."""
    if getattr(array, "dtype", np.dtype(bool)).kind != "f":
        return False
    return not np.isfinite(array).all() if infinities else bool(np.isnan(array).any())


def inspect(version: Version, given: list[Any], back: Sequence[tuple[Array, Array]]) -> None:
    """Look at the new state, the gradients and what is returned, before any of it is seen.

    Raises:
        NonFiniteError: naming the first op that made a number that is not finite.
    """
    infinities = version.check_finite  # anomaly detection minds NaN only, as in eager
    made = [(output.array, "a result") for output in version.returned]
    for gradient in version.gradients:
        made.append((gradient.tensor._value, f"the gradient of {name_of(gradient.owner)}"))
    made += [(copy, "the new state") for _, copy in back]
    for array, what in made:
        if bad(array, infinities):
            inputs = [t._value for t in (*given, *version.held(given))]
            numbers = [np.asarray(number) for number in version.scalars]
            raise Search(version, infinities).error(what, [*inputs, *numbers])


class Search:
    """The way back from a bad result to the op that made the first bad number."""

    def __init__(self, version: Version, infinities: bool) -> None:
        self.captured, self.infinities = version.captured, infinities
        self.names = dict(zip(version.captured.graph.inputs, version.names, strict=False))
        self.graph: Graph = version.captured.graph
        self.bad: set[Value] = set()

    def error(self, what: str, inputs: list[Array]) -> NonFiniteError:
        """The error to raise."""
        kind = "not finite" if self.infinities else "NaN"
        rule = f"{self.graph.name}: {what} is {kind}; nothing was changed"
        value = self.origin(inputs)
        if value is None:
            row = ("first", "in none of the ops by themselves: a sum or a product overflowed")
            return NonFiniteError(lesson(rule, [row], "scale the data or lower the learning rate"))
        if value.equation is None:
            name = self.names.get(value, value.label or "an input")
            row = ("first", f"{name} was {kind} before the call: {value.aval}")
            return NonFiniteError(lesson(rule, [row], "look at the data: x.isfinite().all()"))
        op, rows = self.rows(value.equation, inputs)
        cure = CURES.get(op.split()[-1], "a lower learning rate, or nn.utils.clip_grad_norm_")
        return NonFiniteError(lesson(rule, [("first", op), *rows], cure))

    def origin(self, inputs: list[Array]) -> Value | None:
        """The first bad value on the way to a bad result."""
        known = [*zip(self.graph.inputs, inputs, strict=True), *self.graph.constants.items()]
        self.bad = {value for value, array in known if bad(array, self.infinities)}
        evaluate(self.graph, inputs, self.note)
        value = next((v for v in self.graph.results if v in self.bad), None)
        while value is not None and value.equation is not None:
            before = next((v for v in value.equation.values if v in self.bad), None)
            if before is None:
                break
            value = before
        return value

    def note(self, equation: Equation, _: list[Any], results: Sequence[Array]) -> None:
        for value, array in zip(equation.outputs, results, strict=True):
            if bad(array, self.infinities):
                self.bad.add(value)

    def rows(self, equation: Equation, inputs: list[Array]) -> tuple[str, list[tuple[str, str]]]:
        """The op in words, its operands and results with their ranges, and where it stands."""
        found: list[tuple[str, str]] = []

        def look(e: Equation, args: list[Any], results: Sequence[Array]) -> None:
            if e is equation:
                names = ["operand"] * len(args) if e.op.variadic else e.op.operands
                found.extend((name, ranged(a)) for name, a in zip(names, args, strict=False))
                found.extend(("gives", ranged(a)) for a in results)

        evaluate(self.graph, inputs, look)
        places, nowhere = self.captured.places or {}, (None, None, None)
        module, place, of = places.get(equation, nowhere)
        name = equation.op.name
        if of is not None:  # a step of backward: where the op stands whose gradient it computes
            name = f"{name}, in the gradient of {of.op.name}"
            module, place, _ = places.get(of, nowhere)
        if module is not None:
            found.append(("in", path_of(module, self.captured.holders)))
        line = line_at(place)
        if line is not None:
            found.append(("computed at", line))
        return name, found


def ranged(array: Any) -> str:
    """``float32[8, 3] from -2.5 to 7, 2 NaN``."""
    if not isinstance(array, np.ndarray):
        return repr(array)
    text = f"{array.dtype}{list(array.shape)}"
    if array.dtype.kind != "f":
        return text
    finite = array[np.isfinite(array)]
    parts = [f"from {finite.min():.4g} to {finite.max():.4g}"] if finite.size else []
    for count, name in (
        (np.isnan(array).sum(), "NaN"), ((array == np.inf).sum(), "inf"),
        ((array == -np.inf).sum(), "-inf"),
    ):  # fmt: skip
        if count:
            parts.append(f"{count} {name}")
    return f"{text} {', '.join(parts)}".rstrip()
