"""A module's call that need not be walked again: what it read, and what it left.

``forward`` is Python, and Python costs more than a small layer. A module whose class says that it
does nothing but compute (``module._pure_code()``) leaves the same ops on the path whenever it is
called at the same point with the same symbols, as long as its attributes, and the tensors that it
reads, are what they were. So the whole call is one step of the path, and one node of the tape.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, is_
from typing import Any
from weakref import proxy, ref

import numpy as np

from contraflow.base.changes import changes
from contraflow.compiler.guards import Holder, alike
from contraflow.compiler.memory import Point
from contraflow.graph.ir import Equation, Value
from contraflow.tensor.folded import Template, template
from contraflow.tensor.node import edge_of
from contraflow.tensor.pending import Pending
from contraflow.tensor.rng import default_generator
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.versions import clock, is_shared

__all__ = ["Call", "Watch", "in_range", "symbol_of"]

value_of, tracked_of = attrgetter("_value"), attrgetter("_requires_grad")


class Watch:
    """What happens while a call is walked for the first time.

    Attributes:
        used: the tensors that ops took, with their symbols.
        arrays: those that were made of Python's data, by identity.
        indices: tensors of indices that were looked at, with the size that they must be below.
        checked: tensors whose numbers were checked.
        spoiled: something was computed or looked at.
    """

    def __init__(self, lazy: Any, args: Sequence[Any]) -> None:
        self.start, self.since, self.met = lazy.point, lazy.since, len(lazy.order)
        self.other = len(lazy.scalars), len(lazy.hidden)
        self.modules = changes.modules
        self.clock = next(clock)
        self.args = args
        self.edges: dict[Any, int] = {}
        for k, a in enumerate(args):
            if isinstance(a, Tensor) and a._requires_grad:
                node, index = edge_of(a)
                self.edges.setdefault((id(node), index), k)
        self.values = [a._value if isinstance(a, Tensor) else None for a in args]
        self.used: list[tuple[Any, Any]] = []
        self.arrays: dict[int, Any] = {}
        self.indices: list[tuple[Any, int]] = []
        self.checked: list[Any] = []
        self.spoiled = False

    def use(self, tensors: Sequence[Any], symbols: Sequence[Any]) -> None:
        """Ops take these."""
        self.used += zip(tensors, symbols, strict=True)

    def calm(self, lazy: Any) -> bool:
        """Whether nothing happened but ops that were put off."""
        values = [a._value if isinstance(a, Tensor) else None for a in self.args]
        return (
            not self.spoiled
            and self.since == lazy.since
            and self.modules == changes.modules
            and self.other == (len(lazy.scalars), len(lazy.hidden))
            and {id(t) for t in self.checked} <= {id(t) for t, _ in self.indices}
            and all(map(is_, values, self.values))
        )

    def inside(self, end: Point) -> set[Value]:
        """The symbols of what was computed on the way to a point."""
        found: set[Value] = set()
        at: Point | None = end
        while at is not None and at is not self.start:
            if isinstance(at.event, Equation):
                found.update(at.event.outputs)
            at = at.above
        return found

    def outside(self, inside: set[Value]) -> dict[int, tuple[Any, Value]]:
        """The tensors that were used, and neither given nor computed, with their symbols."""
        given = {id(a) for a in self.args}
        found: dict[int, tuple[Any, Value]] = {}
        for t, symbol in self.used:
            if isinstance(t, Tensor) and id(t) not in given and symbol not in inside:
                found.setdefault(id(t), (t, symbol))
        return found


class Call:
    """A call as it went, and what must be so for it to go that way again.

    Attributes:
        end: where it leaves the path.
        symbol: that of its result.
        new: the tensors that it is the first to read, with what is ``known`` of them.
        old: those that had a symbol before.
        writes: those that it writes, with their new symbols.
        indices: where to find the indices that it looks at: an argument's position or a tensor.
        template: what it leaves on the tape.
    """

    def __init__(self, module: Any, code: Any, lazy: Any) -> None:
        self.module, self.code = ref(module), code
        self.modules = changes.modules
        self.holders = [Holder(proxy(m)) for m in module.modules()]  # they do not keep it
        self.end: Point = lazy.point
        self.template: Template | None = None
        self.writes: list[tuple[Any, Value]] = []
        self.indices: list[tuple[Any, int]] = []

    @staticmethod
    def of(module: Any, code: Any, lazy: Any, watch: Watch, result: Any) -> Call | None:
        """What a call has done; None if it cannot be known to do the same again."""
        if not watch.calm(lazy) or not isinstance(result, Tensor):
            return None
        call, inside = Call(module, code, lazy), watch.inside(lazy.point)
        outside = watch.outside(inside)
        tensors = {i: t for i, (t, _) in outside.items()}
        if not call.leaves(result, watch, inside, tensors) or not call.knows(watch, tensors):
            return None
        call.reads(lazy, watch, outside)
        call.writes = [(t, t._value.value) for t in tensors.values() if symbol_of(t) in inside]
        positions = {id(a): k for k, a in enumerate(watch.args)}
        call.indices = [(positions.get(id(t), t), size) for t, size in watch.indices]
        return call

    def leaves(
        self, result: Any, watch: Watch, inside: set[Value], tensors: dict[int, Any]
    ) -> bool:
        """Whether its result, with its history, can be left again."""
        self.symbol = symbol_of(result)
        base = result
        while base._parent is not None:
            base = base._parent
        if self.symbol not in inside or symbol_of(base) not in inside:
            return False
        if result._requires_grad:
            self.template = template(result, watch.args, watch.edges, watch.clock, tensors, inside)
        return not result._requires_grad or self.template is not None

    def knows(self, watch: Watch, tensors: dict[int, Any]) -> bool:
        """Whether all that it read belongs to the module, is the random stream's, or was made of
        Python's data."""
        own = {id(v) for holder in self.holders for v in holder.facts.values()}
        own |= {id(default_generator.seed_value), id(default_generator.offset)}
        return all(
            t._parent is None and (i in own or id(t._value) in watch.arrays)
            for i, t in tensors.items()
        )

    def reads(self, lazy: Any, watch: Watch, outside: dict[int, tuple[Any, Value]]) -> None:
        """Tensors from outside, by what was known of them when the call began."""
        self.new = lazy.order[watch.met :]
        self.known = {id(t): lazy.known[id(t)] for t in self.new}
        self.symbols = [lazy.known[id(t)][1] for t in self.new]
        self.tracked = list(map(tracked_of, self.new))
        self.arrays: list[Any] = [None] * len(self.new)
        self.old = [
            (t, symbol, t._requires_grad)
            for i, (t, symbol) in outside.items() if i not in self.known
        ]  # fmt: skip

    # ---- again -----------------------------------------------------------------------------

    def holds(self, lazy: Any, module: Any, args: Sequence[Any]) -> bool:
        """Whether a call at the same point, with the same symbols, does the same."""
        return (
            self.module() is module
            and (self.modules == changes.modules or self.same_modules())
            and all(
                space.get(name) is value or alike(space.get(name), value)
                for space, name, value in self.code
            )
            and self.same_tensors(lazy)
            and all(in_range(args[t] if type(t) is int else t, size) for t, size in self.indices)
            and not any(is_shared(t) for t, _ in self.writes)
        )

    def same_modules(self) -> bool:
        """Whether all attributes are what they were."""
        modules = changes.modules
        if all(holder.stays() for holder in self.holders):
            self.modules = modules
            return True
        return False

    def same_tensors(self, lazy: Any) -> bool:
        """Whether what it reads has the same forms, and is as new to the path, as then."""
        return (
            (all(map(is_, map(value_of, self.new), self.arrays)) or self.same_forms())
            and list(map(tracked_of, self.new)) == self.tracked
            and lazy.known.keys().isdisjoint(self.known)
            and all(
                t._requires_grad is tracked and lazy.current(t) is symbol
                for t, symbol, tracked in self.old
            )
        )

    def same_forms(self) -> bool:
        """Look at them one by one."""
        for t, symbol in zip(self.new, self.symbols, strict=True):
            value = t._value
            if type(value) is Pending and value.array is not None:
                value = t._value = value.array
            if (
                type(value) is not np.ndarray
                or value.shape != symbol.shape
                or value.dtype != symbol.dtype
                or t._parent is not None
            ):
                return False
        self.arrays = list(map(value_of, self.new))
        return True


def symbol_of(t: Any) -> Any:
    """The symbol of a tensor whose value is pending."""
    value = t._value
    return value.value if type(value) is Pending and value.array is None else None


def in_range(index: Any, size: int) -> bool:
    """Whether it is known that indices are from 0 to below a size: as unsigned numbers, negative
    ones are large."""
    labels = index._value
    return (
        type(labels) is np.ndarray
        and labels.dtype.kind in "iu"
        and (not labels.size or bool(labels.view(UNSIGNED[labels.itemsize]).max() < size))
    )


UNSIGNED = {n: np.dtype(f"u{n}") for n in (1, 2, 4, 8)}
