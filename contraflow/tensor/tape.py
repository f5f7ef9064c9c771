"""The tape: what each op keeps for backward, and the walk back through it.

``record`` makes one Node for each op whose operands require a gradient. ``run`` walks the nodes
from the youngest to the oldest, without recursion: the order is always the same, so the bits are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from contraflow.base.dtypes import from_numpy_dtype
from contraflow.base.errors import DTypeError, GradError, ShapeError, lesson
from contraflow.base.modes import current
from contraflow.base.source import user_line
from contraflow.ops.accumulate import add_grads, sum_to
from contraflow.ops.cast import convert
from contraflow.ops.creation import full
from contraflow.ops.record import NUMBERS, Aval, Op, Operand, Plan
from contraflow.tensor.versions import Version, clock, version_of, written_at

__all__ = ["Edge", "Node", "OpNode", "backward", "grad", "record", "unused_error"]

# Where a gradient flows to: (node, index of its output), or (leaf, -1).
Edge = tuple[Any, int]
_new = object.__new__
# Installed by tensor.tensor: tape and Tensor know each other, the file order is tape first.
_make: Callable[[Any], Any]
_set_grad: Callable[[Any, Any], None]
_write: Callable[[Any, Any], Any]
anomaly = False


def install(make: Any, set_grad: Any, write: Any) -> None:
    """Give the tape the three things it does to tensors."""
    global _make, _set_grad, _write
    _make, _set_grad, _write = make, set_grad, write


class Node:
    """A step of the tape: where gradients come from (outputs) and where they go (edges)."""

    __slots__ = ("__weakref__", "edges", "forms", "hooks", "line", "outputs", "seq")

    folded = False  # stands for several (see ``tensor.folded``)
    seq: float  # those that came later have larger ones
    edges: Sequence[Edge | None]  # one for each operand
    forms: Sequence[Any]  # (shape, NumPy dtype) of each operand, or the number it is
    outputs: Sequence[Any]  # (shape, NumPy dtype) of each result

    def __init__(self) -> None:
        self.seq = next(clock)
        self.hooks: dict[int, dict[int, Callable[[Any], Any]]] | None = None
        self.line: str | None = None

    def apply(self, gs: list[Any]) -> Sequence[Any]:
        """The gradients for the edges, from those of the outputs (None where none came)."""
        raise GradError("an abstract node")

    def release(self) -> None:
        """Forget what was kept for backward."""

    def name(self) -> str:
        """PyTorch's kind of name: ``MulBackward0``."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes that gradients flow to next, with the index of their output."""
        return tuple(
            (None, 0) if e is None else (e[0] if e[1] < 0 else opened(e[0]), max(e[1], 0))
            for e in self.edges
        )

    def __repr__(self) -> str:
        return f"<{self.name()}>"


class OpNode(Node):
    """The tape's record of one op."""

    __slots__ = ("args", "attrs", "op", "plan", "y", "y_versions")

    op: Op
    attrs: dict[str, Any]
    plan: Plan
    args: Sequence[Any] | None
    y: Sequence[Any] | None  # None for a result that is not kept
    y_versions: Sequence[Version]

    def name(self) -> str:
        camel = "".join(part.capitalize() for part in self.op.name.split("_"))
        return f"{camel}Backward0"

    def release(self) -> None:
        self.args = self.y = None

    def saved(self) -> tuple[Sequence[Any], Any]:
        """The operands and results kept for backward, after checking nobody wrote to them."""
        args = self.args
        if args is None:
            raise freed(self.op.name)
        seq = self.seq
        for i in self.plan.keep:
            version = getattr(args[i], "_version", None)  # a Python number has none
            if version is not None and version.n > seq:
                raise self.overwritten(f"operand {self.operand(i)}", args[i], version)
        y = self.y
        if y is not None:
            for version in self.y_versions:
                if version.n > seq:
                    raise self.overwritten("its result", None, version)
            y = tuple(None if v is None else self.output(v, i) for i, v in enumerate(y))
            y = y if self.op.outputs > 1 else y[0]
        return args, y

    def operand(self, i: int) -> str:
        return f"{self.op.operands[0]}[{i}]" if self.op.variadic else self.op.operands[i]

    def overwritten(self, what: str, t: Any, version: Version) -> GradError:
        rows = [] if t is None else [(what, t)]
        rows += written_at(version)
        if self.line is not None:
            rows.append(("computed at", self.line))
        return GradError(
            lesson(
                f"backward of {self.op.name} needs {what}, "
                "which was overwritten in place after it was used",
                rows,
                "use the form that is not in place (x = x + 1), or x.clone() before writing",
            )
        )

    def output(self, value: Any, index: int) -> Any:
        """A handle on a kept result, with its history, for derivatives of higher order."""
        t = _make(value)
        t._node, t._index, t._requires_grad = self, index, True
        return t

    def apply(self, gs: list[Any]) -> Sequence[Any]:
        args, y = self.saved()
        plan = self.plan
        g: Any = gs[0]
        if self.op.outputs > 1:
            g = tuple(
                zeros(_aval(form)) if g is None else g
                for g, form in zip(gs, self.outputs, strict=True)
            )
        if plan.joint is not None:
            return plan.joint.call(self, g, args, y, 0)  # type: ignore[no-any-return]
        grads: list[Any] = []
        for rule in plan.rules:
            grads.append(None if rule is None else rule.call(self, g, args, y, len(grads)))
        return grads

    def aval(self, i: int) -> Any:
        """Shape and dtype of an operand; a Python number stands for itself."""
        return _aval(self.forms[i])

    def avals(self) -> tuple[Any, ...]:
        return tuple(map(_aval, self.forms))

    def y_aval(self) -> Any:
        avals = tuple(map(_aval, self.outputs))
        return avals[0] if self.op.outputs == 1 else avals


def opened(node: Node) -> Node:
    """The node of one op, as it is shown."""
    if node.folded:
        node.unfold()  # type: ignore[attr-defined]
    return node


def _aval(form: Any) -> Any:
    """Shape and dtype from a pair of both; Python numbers stand for themselves."""
    return Aval(form[0], from_numpy_dtype(form[1])) if type(form) is tuple else form


def freed(what: str) -> GradError:
    """Backward came a second time."""
    return GradError(
        lesson(
            f"backward runs through {what} a second time, but what it needs was freed by the first",
            fix="loss.backward(retain_graph=True) for the first call, or compute the loss again",
        )
    )


def zeros(aval: Aval) -> Any:
    return full(shape=aval.shape, value=0, dtype=aval.dtype)


def edge_of(t: Any) -> Edge:
    return (t, -1) if t._node is None else (t._node, t._index)


def record(
    op: Op, args: tuple[Any, ...], attrs: dict[str, Any], values: Sequence[Any], outs: Any
) -> None:
    """Put one op on the tape, with just what its gradient rules will need.

    Every recorded op pays for each line here: one pass over the operands, no checks.
    """
    bits, bit = 0, 1  # which operands require a gradient
    edges: list[Edge | None] = []
    forms: list[Any] = []
    for a, v in zip(args, values):  # noqa: B905
        if type(v) in NUMBERS:
            edges.append(None)
            forms.append(v)
        else:
            forms.append((v.shape, v.dtype))
            if a._requires_grad:
                bits |= bit
                edges.append((a, -1) if a._node is None else (a._node, a._index))
            else:
                edges.append(None)
        bit += bit
    key = (bits, len(args))
    plan = op._plans.get(key) or op.plan(key)
    node = _new(OpNode)
    node.seq = next(clock)
    node.op, node.attrs, node.plan = op, attrs, plan
    node.edges, node.forms = edges, forms
    node.hooks = None
    node.line = None
    node.y = None
    node.args = plan.pick(args)
    if op.outputs == 1:
        (out,) = outs
        value = out._value
        node.outputs = ((value.shape, value.dtype),)
        if value.dtype.kind == "f":
            out._node, out._index, out._requires_grad = node, 0, True
    else:
        node.outputs = tuple([(o._value.shape, o._value.dtype) for o in outs])
        for index, out in enumerate(outs):
            if out._value.dtype.kind == "f":
                out._node, out._index, out._requires_grad = node, index, True
    if plan.keep_y:
        kept = plan.keep_y
        node.y = [o._value if i in kept else None for i, o in enumerate(outs)]
        node.y_versions = [version_of(outs[i]) for i in kept]
    if anomaly:
        node.line = user_line()


# ---- the walk back -------------------------------------------------------------------------


class Walk:
    """One backward pass: pending gradients by node, collected gradients by leaf."""

    def __init__(self, retain: bool, create: bool, targets: Sequence[Any] | None) -> None:
        self.retain, self.create = retain, create
        self.shown = False  # gradients were in the user's hands, who may keep them
        self.pending: dict[Node, list[Any]] = {}
        self.leaves: dict[int, tuple[Any, Any]] = {}
        self.wanted: set[Any] | None = None
        self.targets: dict[Any, list[int]] = {}
        self.found: list[Any] = []
        if targets is not None:
            self.found = [None] * len(targets)
            for i, t in enumerate(targets):
                target, index = edge_of(t)
                key = (id(target), index)
                self.targets.setdefault(key, []).append(i)

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

    def run(self, roots: Iterable[Node]) -> None:
        """Visit every node that the roots reach, youngest first."""
        order = reachable(roots)
        if self.targets:
            self.wanted = leading_to(order, self.targets)
        pending, send, retain, watched = self.pending, self.send, self.retain, bool(self.targets)
        walking = getattr(current().interpreter, "walking", None)  # wants to know where we are
        for node in order:
            gs = pending.pop(node, None)
            if gs is None:
                continue
            if node.hooks is not None:
                self.shown = True
                for index, hooks in node.hooks.items():
                    gs[index] = call_hooks(hooks, gs[index])
            if watched and not self.watch(node, gs):
                continue
            if type(node) is not OpNode:
                self.shown = True
            if walking is not None:
                walking(node)
            grads = node.apply(gs)
            if anomaly:
                check_nan(node, grads)
            for edge, g, form in zip(node.edges, grads, node.forms, strict=True):
                if edge is not None and g is not None:
                    value = g._value
                    if value.shape != form[0] or value.dtype is not form[1]:
                        g = fitted(g, form, node)
                    send(edge, g)
            if not retain:
                node.release()
        if walking is not None:
            walking(None)

    def watch(self, node: Node, gs: list[Any]) -> bool:
        """Keep what was asked for; whether another target lies further back."""
        for index, g in enumerate(gs):
            for i in self.targets.get((id(node), index), ()):
                self.found[i] = g
        return node in self.wanted  # type: ignore[operator]

    def finish(self) -> list[tuple[Any, Any]]:
        """Call the leaves' hooks; what is left is (leaf, gradient), in the order of arrival."""
        done = []
        for leaf, g in self.leaves.values():
            if leaf._hooks:
                self.shown = True
                g = call_hooks(leaf._hooks, g)
            for i in self.targets.get((id(leaf), -1), ()):
                self.found[i] = g
            done.append((leaf, g))
        return done


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
                    [("operand", _aval(form)), ("gradient", g.aval)],
                )
            ) from None
    if value.dtype is not dtype and value.dtype != dtype:
        g = convert(g, dtype=from_numpy_dtype(dtype))
    return g


def check_nan(node: Node, grads: Sequence[Any]) -> None:
    """Anomaly detection: the first gradient that is NaN names its op and the line of forward."""
    for g in grads:
        value = None if g is None else g._value
        if type(value) is np.ndarray and value.dtype.kind == "f" and np.isnan(value).any():
            rows = [("gradient", str(g.aval))]
            if node.line is not None:
                rows.append(("computed at", node.line))
            raise GradError(
                lesson(
                    f"anomaly: {node.name()} returned a gradient with NaN",
                    rows,
                    "look at the operands of this line: 0/0, log(0), sqrt(0), inf - inf ...",
                )
            )


def call_hooks(hooks: dict[int, Callable[[Any], Any]], g: Any) -> Any:
    for hook in list(hooks.values()):
        replaced = hook(g)
        if replaced is not None:
            g = replaced
    return g


def reachable(roots: Iterable[Node]) -> list[Node]:
    """Every node under the roots, youngest first."""
    stack = list(roots)
    seen: set[Node] = set(stack)
    stack = list(seen)
    order: list[Node] = []
    while stack:
        node = stack.pop()
        if node.folded:
            node.unfold()  # type: ignore[attr-defined]
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


def start(roots: Sequence[Any], gradients: Sequence[Any], walk: Walk) -> list[Node]:
    """Check the roots and put their gradients on the tape."""
    nodes = []
    for root, given in zip(roots, gradients, strict=True):
        if not root.requires_grad:
            raise GradError(
                lesson(
                    "backward: nothing that requires a gradient leads to this tensor",
                    [("tensor", root)],
                    "set requires_grad=True on the inputs, and compute outside cf.no_grad()",
                )
            )
        if given is None:
            if root._value.size != 1:
                raise GradError(
                    lesson(
                        "backward needs a scalar: its gradient can only be left out "
                        "for a single element",
                        [("tensor", root)],
                        "loss.mean().backward(), or loss.backward(gradient)",
                    )
                )
            g = full(shape=tuple(root._value.shape), value=1, dtype=root.dtype)
        else:
            if not isinstance(given, Operand):
                raise DTypeError(lesson(f"a gradient must be a tensor, not {type(given).__name__}"))
            g = given
            if g._value.shape != root._value.shape:  # type: ignore[attr-defined]
                raise ShapeError(
                    lesson(
                        "backward: the gradient must have the tensor's shape",
                        [("tensor", root), ("gradient", g)],
                        "y.backward(cf.ones_like(y)), or y.sum().backward()",
                    )
                )
            if g._value.dtype != root._value.dtype:  # type: ignore[attr-defined]
                g = g.to(root.dtype)  # type: ignore[attr-defined]
        walk.send(edge_of(root), g)
        if root._node is not None:
            nodes.append(root._node)
    return nodes


def _run(walk: Walk, roots: Sequence[Any], gradients: Sequence[Any]) -> list[tuple[Any, Any]]:
    modes = current()
    before, modes.grad = modes.grad, walk.create
    try:
        walk.run(start(roots, gradients, walk))
        return walk.finish()
    finally:
        modes.grad = before


def backward(
    roots: Sequence[Any],
    gradients: Sequence[Any],
    retain_graph: bool | None,
    create_graph: bool,
    inputs: Any = None,
) -> None:
    """Accumulate the gradient of the roots into the ``.grad`` of the leaves."""
    retain = create_graph if retain_graph is None else retain_graph
    targets = None
    if inputs is not None:
        targets = [inputs] if isinstance(inputs, Operand) else list(inputs)
        check_inputs(targets)

    def run() -> None:
        leave(Walk(retain, create_graph, targets), roots, gradients, targets)

    interpreter = current().interpreter
    if interpreter is None or anomaly or len(roots) > 1 or gradients[0] is not None or (
        create_graph or targets is not None
    ):  # fmt: skip
        run()
    else:
        interpreter.backward(roots[0], retain, run)


def leave(
    walk: Walk, roots: Sequence[Any], gradients: Sequence[Any], targets: list[Any] | None
) -> None:
    """Walk the tape and leave the gradients at the leaves, or at the targets."""
    done = _run(walk, roots, gradients)
    if targets is not None:
        done = [(t, g) for t, g in zip(targets, walk.found, strict=True) if g is not None]
    given = {id(g._value) for g in gradients if g is not None}
    modes = current()
    before, modes.grad = modes.grad, walk.create
    try:
        for leaf, g in done:
            accumulate(leaf, g, given, walk.create, walk.shown)
    finally:
        modes.grad = before


def check_inputs(targets: list[Any]) -> None:
    """The ``inputs`` of backward: tensors that require a gradient, at least one."""
    fix = "loss.backward(inputs=[w])"
    if not targets:
        raise GradError(lesson("backward(inputs=...) names no tensor", fix=fix))
    for i, t in enumerate(targets):
        if not isinstance(t, Operand):
            raise DTypeError(
                lesson(f"backward: inputs[{i}] must be a tensor, not {type(t).__name__}", fix=fix)
            )
        if not t.requires_grad:  # type: ignore[attr-defined]  # an operand is a tensor here
            raise GradError(
                lesson(f"backward: inputs[{i}] does not require a gradient",
                       [(f"inputs[{i}]", t)], "w.requires_grad_()")
            )  # fmt: skip


def accumulate(leaf: Any, g: Any, given: set[int], create_graph: bool, shown: bool) -> None:
    """Add a gradient to ``leaf.grad``, in memory that nobody else holds."""
    held = leaf.grad
    if held is not None:
        if create_graph:
            _set_grad(leaf, add_grads(held, g))
        else:
            _write(held, add_grads(held, g))
        return
    value = g._value
    if type(value) is np.ndarray and (
        shown or value.base is not None or id(value) in given or not value.flags.c_contiguous
    ):
        value = value.copy()
        if not create_graph or g._node is None:
            g = _make(value)
    elif not create_graph or g._node is None:
        g = _make(value)
    given.add(id(value))
    _set_grad(leaf, g)


def unused_error(i: int, t: Any) -> GradError:
    return GradError(
        lesson(
            f"autograd.grad: input {i} was not used to compute the outputs",
            [(f"input {i}", t)],
            "allow_unused=True returns None for it",
        )
    )


def grad(
    outputs: Sequence[Any],
    inputs: Sequence[Any],
    grad_outputs: Sequence[Any],
    retain_graph: bool | None,
    create_graph: bool,
    allow_unused: bool,
) -> tuple[Any, ...]:
    """The gradients of the outputs with respect to the inputs; no ``.grad`` is touched."""
    for i, t in enumerate(inputs):
        if not t.requires_grad:
            raise GradError(
                lesson(
                    f"autograd.grad: input {i} does not require a gradient",
                    [(f"input {i}", t)],
                    "x.requires_grad_()",
                )
            )
    retain = create_graph if retain_graph is None else retain_graph
    walk = Walk(retain, create_graph, inputs)
    _run(walk, outputs, grad_outputs)
    for i, (t, g) in enumerate(zip(inputs, walk.found, strict=True)):
        if g is None and not allow_unused:
            raise unused_error(i, t)
    return tuple(walk.found)
