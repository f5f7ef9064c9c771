"""The tape: what each op keeps for backward.

``record`` makes one node for each op whose operands require a gradient. The op's gradient rules say
by the names of their parameters which values they will need; nothing else is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contraflow.base.errors import GradError, lesson
from contraflow.base.source import user_line
from contraflow.ops.record import NUMBERS, Op, Plan
from contraflow.tensor.anomaly import anomaly
from contraflow.tensor.node import Edge, Node, aval_of, freed, zeros
from contraflow.tensor.tensor import make
from contraflow.tensor.versions import Version, clock, version_of, written_at

__all__ = ["OpNode", "record"]

_new = object.__new__


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
        t = make(value)
        t._node, t._index, t._requires_grad = self, index, True
        return t

    def apply(self, gs: list[Any]) -> Sequence[Any]:
        args, y = self.saved()
        plan = self.plan
        g: Any = gs[0]
        if self.op.outputs > 1:
            g = tuple(
                zeros(aval_of(form)) if g is None else g
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
        return aval_of(self.forms[i])

    def avals(self) -> tuple[Any, ...]:
        return tuple(map(aval_of, self.forms))

    def y_aval(self) -> Any:
        avals = tuple(map(aval_of, self.outputs))
        return avals[0] if self.op.outputs == 1 else avals


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
    if anomaly.on:
        node.line = user_line()
