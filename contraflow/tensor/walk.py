"""The walk back through the tape, from the youngest node to the oldest.

Whatever used a result is younger than what made it, so when a node's turn comes, all the gradient
that will ever reach it has arrived. There is no recursion, and the order is always the same, so the
bits are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from contraflow.base.dtypes import from_numpy_dtype
from contraflow.base.errors import DTypeError, GradError, ShapeError, lesson
from contraflow.base.modes import current
from contraflow.ops.accumulate import add_grads, sum_to
from contraflow.ops.cast import convert
from contraflow.ops.creation import full
from contraflow.ops.record import Operand
from contraflow.tensor.anomaly import anomaly, check_nan
from contraflow.tensor.hooks import call_hooks
from contraflow.tensor.node import Edge, Node, aval_of, edge_of
from contraflow.tensor.tape import OpNode

__all__ = ["Walk", "reachable"]


class Walk:
    """One backward pass: gradients that wait at nodes, and those that have reached the leaves.

    Args:
        retain: keep what the nodes need, so that another pass can follow.
        create: record the pass itself, for derivatives of higher order.
        targets: the tensors whose gradients are wanted; then what leads to none of them is left
            out. None: all leaves.

    Attributes:
        found: the gradients of the targets; None where there is none.
        shown: whether gradients were in the user's hands, who may keep them.
    """

    def __init__(self, retain: bool, create: bool, targets: Sequence[Any] | None = None) -> None:
        self.retain, self.create = retain, create
        self.shown = False
        self.pending: dict[Node, list[Any]] = {}
        self.leaves: dict[int, tuple[Any, Any]] = {}
        self.wanted: set[Node] = set()  # the nodes that lead to a target
        self.targets: dict[Any, list[int]] = {}  # their positions, by edge
        self.found: list[Any] = []
        if targets is not None:
            self.found = [None] * len(targets)
            for i, t in enumerate(targets):
                target, index = edge_of(t)
                self.targets.setdefault((id(target), index), []).append(i)

    def run(self, roots: Sequence[Any], gradients: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Walk back from the roots, each with its gradient (None: 1).

        Returns (leaf, gradient), in the order of arrival.
        """
        modes = current()
        before, modes.grad = modes.grad, self.create
        try:
            nodes = []
            for root, given in zip(roots, gradients, strict=True):
                self.send(edge_of(root), gradient_at(root, given))
                if root._node is not None:
                    nodes.append(root._node)
            self.visit(reachable(nodes))
            return self.arrivals()
        finally:
            modes.grad = before

    def send(self, edge: Edge, g: Any) -> None:
        """Add a gradient to what flows along an edge."""
        target, index = edge
        if index < 0:
            held = self.leaves.get(id(target))
            self.leaves[id(target)] = (target, g if held is None else add_grads(held[1], g))
            return
        gs = self.pending.get(target)
        if gs is None:
            gs = self.pending[target] = [None] * len(target.outputs)
        gs[index] = g if gs[index] is None else add_grads(gs[index], g)

    def visit(self, order: list[Node]) -> None:
        """Ask each node for the gradients of its operands, and send them on."""
        watched = bool(self.targets)
        if watched:
            self.wanted = leading_to(order, self.targets)
        pending, send, retain = self.pending, self.send, self.retain
        walking = getattr(current().interpreter, "walking", None)  # wants to know where we are
        for node in order:
            gs = pending.pop(node, None)
            if gs is None or ((watched or node.hooks is not None) and not self.passes(node, gs)):
                continue
            if type(node) is not OpNode:
                self.shown = True
            if walking is not None:
                walking(node)
            grads = node.apply(gs)
            if anomaly.on:
                check_nan(node, grads)
            for edge, g, form in zip(node.edges, grads, node.forms, strict=True):
                if edge is None or g is None:
                    continue
                value = g._value
                if value.shape != form[0] or value.dtype is not form[1]:
                    g = fitted(g, form, node)
                send(edge, g)
            if not retain:
                node.release()
        if walking is not None:
            walking(None)

    def passes(self, node: Node, gs: list[Any]) -> bool:
        """Call a node's hooks and keep what was asked for; whether the walk goes on behind it."""
        for index, hooks in (node.hooks or {}).items():
            self.shown = True
            gs[index] = call_hooks(hooks, gs[index])
        if not self.targets:
            return True
        for index, g in enumerate(gs):
            self.keep((id(node), index), g)
        return node in self.wanted

    def arrivals(self) -> list[tuple[Any, Any]]:
        """The leaves with their gradients, which their hooks have seen."""
        done = []
        for leaf, g in self.leaves.values():
            if leaf._hooks:
                self.shown = True
                g = call_hooks(leaf._hooks, g)
            if self.targets:
                self.keep((id(leaf), -1), g)
            done.append((leaf, g))
        return done

    def keep(self, target: tuple[int, int], g: Any) -> None:
        """A gradient that may be one of those asked for."""
        for i in self.targets.get(target, ()):
            self.found[i] = g


def reachable(roots: Iterable[Node]) -> list[Node]:
    """Every node under the roots, youngest first."""
    stack = list(roots)
    seen: set[Node] = set(stack)
    stack = list(seen)
    order: list[Node] = []
    while stack:
        node = stack.pop()
        if node.folded:
            node.opened()
        order.append(node)
        for edge in node.edges:
            if edge is not None and edge[1] >= 0 and edge[0] not in seen:
                seen.add(edge[0])
                stack.append(edge[0])
    order.sort(key=lambda node: node.seq, reverse=True)
    return order


def leading_to(order: list[Node], targets: dict[Any, Any]) -> set[Node]:
    """The nodes from which one of the targets can be reached."""
    wanted: set[Node] = set()
    for node in reversed(order):
        for edge in node.edges:
            if edge is not None and (edge[0] in wanted or (id(edge[0]), edge[1]) in targets):
                wanted.add(node)
                break
    return wanted


def gradient_at(root: Any, given: Any) -> Any:
    """The gradient that a walk starts with.

    Raises:
        GradError: if nothing that requires a gradient leads to the root, or it has several elements
            and no gradient is given.
        ShapeError: if the gradient has another shape than the root.
        DTypeError: if it is no tensor.
    """
    if not root.requires_grad:
        raise GradError(
            lesson(
                "backward: nothing that requires a gradient leads to this tensor",
                [("tensor", root)],
                "set requires_grad=True on the inputs, and compute outside cf.no_grad()",
            )
        )
    if given is None:
        if root._value.size == 1:
            return full(shape=tuple(root._value.shape), value=1, dtype=root.dtype)
        raise GradError(
            lesson(
                "backward needs a scalar: its gradient can only be left out for a single element",
                [("tensor", root)],
                "loss.mean().backward(), or loss.backward(gradient)",
            )
        )
    if not isinstance(given, Operand):
        raise DTypeError(lesson(f"a gradient must be a tensor, not {type(given).__name__}"))
    g: Any = given
    if g._value.shape != root._value.shape:
        raise ShapeError(
            lesson(
                "backward: the gradient must have the tensor's shape",
                [("tensor", root), ("gradient", g)],
                "y.backward(cf.ones_like(y)), or y.sum().backward()",
            )
        )
    return g if g._value.dtype == root._value.dtype else g.to(root.dtype)


def fitted(g: Any, form: Any, node: Node) -> Any:
    """Undo broadcasting and promotion: a gradient has its operand's shape and dtype."""
    shape, dtype = form
    value = g._value
    if value.shape != shape:
        try:
            g = sum_to(g, shape)
        except ShapeError:
            raise ShapeError(
                lesson(
                    f"{node.name()} returned a gradient of another shape",
                    [("operand", aval_of(form)), ("gradient", g.aval)],
                )
            ) from None
    if value.dtype is not dtype and value.dtype != dtype:
        g = convert(g, dtype=from_numpy_dtype(dtype))
    return g
