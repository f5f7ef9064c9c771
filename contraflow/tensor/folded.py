"""A part of the tape that is not spelled out: the nodes of a call that has been met before.

The walk back through a known call is usually known as well, so nobody looks at its nodes: one node
stands for all of them. Whoever does look has it unfolded first; then it is the call's last node,
with the others behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ref

from contraflow.ops.record import NUMBERS, Plan
from contraflow.tensor.node import Edge, edge_of
from contraflow.tensor.pending import Pending
from contraflow.tensor.tape import OpNode, _new
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.versions import Version, clock, version_of
from contraflow.tensor.walk import reachable

__all__ = ["Folded", "Template", "template"]


@dataclass(frozen=True, slots=True, eq=False)
class Inner:
    """A tensor that was made inside of the call and is kept for backward: its symbol, and the
    node (by number) and output that it came from."""

    symbol: Any
    node: int | None
    index: int


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of the call that is kept for backward."""

    position: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """What one node is made from. An edge is a number of one that leaves the call, or (number of
    a node, index); what is kept is an ``Argument``, an ``Inner``, or the tensor or number itself;
    results are symbols."""

    op: Any
    attrs: dict[str, Any]
    plan: Plan
    edges: list[Any]
    forms: Sequence[Any]
    outputs: Sequence[Any]
    args: list[Any]
    y: list[Any] | None


@dataclass(frozen=True, slots=True)
class Template:
    """The nodes of a call, oldest first, and the edges that leave it: those of leaves, and None
    where ``given`` says which argument's edge it is (number of the edge, position)."""

    patterns: list[Pattern]
    edges: list[Edge | None]
    given: list[tuple[int, int]]


class Folded(OpNode):
    """One node for all of a call; as long as it is folded, ``args`` are those of the call.

    Args:
        template: its nodes, as they were the last time.
        args: its arguments.
        pend: puts a pending value behind a symbol.
        result: the tensor that it gave; its history is set here.
    """

    __slots__ = ("folded", "pend", "result", "template")

    def __init__(
        self, template: Template, args: Sequence[Any], pend: Callable[[Any], Pending], result: Any
    ) -> None:
        last = template.patterns[-1]
        self.seq = next(clock)
        self.hooks = self.line = self.y = None
        self.op, self.attrs, self.plan, self.forms = last.op, last.attrs, last.plan, last.forms
        self.outputs = last.outputs
        self.edges = list(template.edges)
        for k, position in template.given:
            self.edges[k] = edge_of(args[position])
        self.args = args
        self.folded, self.template, self.pend, self.result = True, template, pend, ref(result)
        result._node, result._index, result._requires_grad = self, 0, True

    def opened(self) -> Folded:
        if self.folded:
            self.unfold()
        return self

    def unfold(self) -> None:
        """Become the last node, behind it the others."""
        self.folded = False
        patterns, outer, given = self.template.patterns, self.edges, self.args
        nodes = [_new(OpNode) for _ in patterns[1:]] + [self]
        made = Made(nodes, given, self.pend, self.result(), patterns[-1])
        first = self.seq - 1
        for k, (node, pattern) in enumerate(zip(nodes, patterns, strict=True), 1):
            if node is not self:
                node.hooks = node.line = None
                node.op, node.attrs, node.plan = pattern.op, pattern.attrs, pattern.plan
                node.forms, node.outputs = pattern.forms, pattern.outputs
            node.seq = first + k / len(nodes)
            node.edges = [
                outer[e] if type(e) is int else e and (nodes[e[0]], e[1]) for e in pattern.edges
            ]
            node.args = node.y = None  # as after backward, if it has been
            if given is not None:
                node.args = [made.kept(a) for a in pattern.args]
                if pattern.y is not None:
                    node.y = [s and made.value(s) for s in pattern.y]
                    node.y_versions = [made.version(s) for s in pattern.y if s is not None]


class Made:
    """What exists again when a call is unfolded: one value for each symbol, one tensor for each
    that was kept."""

    def __init__(
        self, nodes: list[OpNode], given: Any, pend: Callable[[Any], Pending], result: Any,
        last: Pattern,
    ) -> None:  # fmt: skip
        self.nodes, self.given, self.pend, self.result = nodes, given, pend, result
        self.values: dict[Any, Pending] = {}
        self.tensors: dict[Inner, Any] = {}
        if result is not None and type(result._value) is Pending:
            self.values[result._value.value] = result._value

    def value(self, symbol: Any) -> Pending:
        """The value behind a symbol."""
        found = self.values.get(symbol)
        if found is None:
            found = self.values[symbol] = self.pend(symbol)
        return found

    def version(self, symbol: Any) -> Version:
        """The version of a result that is kept: only the call's own result can be written."""
        if self.result is not None and self.result._value is self.values.get(symbol):
            return version_of(self.result)
        return Version()

    def kept(self, a: Any) -> Any:
        """The operand that was kept."""
        if type(a) is Argument:
            return self.given[a.position]
        if type(a) is not Inner:
            return a
        found = self.tensors.get(a)
        if found is None:
            found = self.tensors[a] = make(self.value(a.symbol))
            if a.node is not None:
                found._node, found._index = self.nodes[a.node], a.index
                found._requires_grad = True
        return found


def template(
    result: Any, args: Sequence[Any], edges: Mapping[Any, int], since: float,
    outside: Mapping[int, Any], inside: Collection[Any],
) -> Template | None:  # fmt: skip
    """What a call has left on the tape; None if it cannot be left again.

    Args:
        result: its result.
        args: its arguments.
        edges: the edges that they had when it began, with their positions.
        since: what ``seq`` its nodes are above.
        outside: the tensors that it used which existed before, by identity.
        inside: the symbols of what it computed.
    """
    nodes = [node for node in reversed(reachable([result._node])) if node.seq > since]
    if not nodes or nodes[-1] is not result._node or result._index:
        return None
    reader = Reader(nodes, args, edges, outside, inside)
    try:
        patterns = list(map(reader.pattern, nodes))
    except LookupError:
        return None
    return Template(patterns, reader.ways, reader.given)


class Reader:
    """Reads the nodes of a call; whatever cannot be left again is a LookupError."""

    def __init__(
        self, nodes: list[Any], args: Sequence[Any], edges: Mapping[Any, int],
        outside: Mapping[int, Any], inside: Collection[Any],
    ) -> None:  # fmt: skip
        self.numbers = {node: k for k, node in enumerate(nodes)}
        self.positions = {id(a): Argument(k) for k, a in enumerate(args) if isinstance(a, Tensor)}
        self.edges, self.outside, self.inside = edges, outside, inside
        self.inner: dict[int, Inner] = {}
        self.leaving: dict[Any, int] = {}
        self.ways: list[Edge | None] = []
        self.given: list[tuple[int, int]] = []

    def pattern(self, node: Any) -> Pattern:
        """What a node is made from."""
        if type(node) is not OpNode or node.hooks is not None or node.args is None:
            raise LookupError
        if node.y is not None and any(v.n > node.seq for v in node.y_versions):
            raise LookupError
        return Pattern(
            node.op, node.attrs, node.plan, list(map(self.edge, node.edges)), node.forms,
            node.outputs, [self.kept(a, node.seq) for a in node.args],
            None if node.y is None else [None if v is None else self.symbol(v) for v in node.y],
        )  # fmt: skip

    def edge(self, e: Edge | None) -> Any:
        """An edge within the call, or the number of one that leaves it."""
        if e is None or (e[0] in self.numbers and e[1] >= 0):
            return e and (self.numbers[e[0]], e[1])
        key = (id(e[0]), e[1])
        position = self.edges.get(key)
        if position is None and (e[1] >= 0 or id(e[0]) not in self.outside):
            raise LookupError
        if key not in self.leaving:
            self.leaving[key] = len(self.ways)
            if position is not None:
                self.given.append((len(self.ways), position))
            self.ways.append(e if position is None else None)
        return self.leaving[key]

    def kept(self, a: Any, seq: float) -> Any:
        """An operand that is kept for backward."""
        if a is None or type(a) in NUMBERS:
            return a
        if a._version is not None and a._version.n > seq:
            raise LookupError  # backward will complain
        if id(a) in self.positions:
            return self.positions[id(a)]
        if id(a) in self.outside:
            return a
        found = self.inner.get(id(a))
        if found is None:
            node = self.numbers.get(a._node)
            if a._node is not None and node is None:
                raise LookupError
            found = self.inner[id(a)] = Inner(self.symbol(a._value), node, a._index)
        return found

    def symbol(self, value: Any) -> Any:
        """The symbol of a value that the call computed."""
        if type(value) is not Pending or value.array is not None or value.value not in self.inside:
            raise LookupError
        return value.value
