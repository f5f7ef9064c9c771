"""The borders of a module on the tape: identity nodes at its inputs and outputs, which hand the
gradients that pass them to the module's backward hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contraflow.base.errors import GradError, ShapeError, lesson
from contraflow.base.modes import current
from contraflow.tensor.custom import node_over
from contraflow.tensor.node import Node, zeros
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.versions import version_of
from contraflow.tensor.views import fresh

__all__ = ["Border"]


class BorderNode(Node):
    """An identity whose gradients pass a function on their way."""

    __slots__ = ("pass_on", "title")

    pass_on: Callable[[list[Any]], Sequence[Any]]
    title: str

    def name(self) -> str:
        return self.title

    def apply(self, gs: list[Any]) -> Sequence[Any]:
        return self.pass_on(gs)


class Border:
    """One call of a module with backward hooks: remembers where its tensors stand."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.grad_output: tuple[Any, ...] | None = None
        self.inputs_at: list[int] | None = None
        self.fixed: dict[int, Any] = {}  # arguments that need no gradient: their shapes and dtypes
        self.count = 0

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments behind the input border."""
        self.count = len(args)
        self.fixed = {
            i: x.aval
            for i, x in enumerate(args)
            if isinstance(x, Tensor) and x.dtype.is_floating_point and not x.requires_grad
        }
        items, self.inputs_at = self._cross(list(args), self._at_inputs, "Input")
        return tuple(items)

    def leave(self, result: Any) -> Any:
        """The result behind the output border."""
        if isinstance(result, tuple | list):
            items, self.outputs_at = self._cross(list(result), self._at_outputs, "Output")
            self.width = len(items)
            if hasattr(result, "_fields"):
                return type(result)(*items)
            return type(result)(items)
        items, self.outputs_at = self._cross([result], self._at_outputs, "Output")
        self.width = 1
        return items[0]

    def _cross(
        self, items: list[Any], pass_on: Callable[[list[Any]], Sequence[Any]], side: str
    ) -> tuple[list[Any], list[int] | None]:
        if not current().grad:
            return items, None
        at = [i for i, x in enumerate(items) if isinstance(x, Tensor) and x.requires_grad]
        if not at:
            return items, None
        node = BorderNode.__new__(BorderNode)
        node.pass_on, node.title = pass_on, f"{type(self.module).__name__}{side}Border"
        inside = [same_memory(items[i]) for i in at]
        node_over(node, [items[i] for i in at], inside)
        for i, x in zip(at, inside, strict=True):
            items[i] = x
        return items, at

    # ---- on the way back: first the outputs, then the inputs -------------------------------

    def _at_outputs(self, gs: list[Any]) -> Sequence[Any]:
        grads: list[Any] = [None] * self.width
        for i, g in zip(self.outputs_at or (), gs, strict=True):
            grads[i] = g
        grad_output = tuple(grads)
        for hook in list(self.module._backward_pre_hooks.values()):
            replaced = hook(self.module, grad_output)
            if replaced is not None:
                grad_output = self._checked(replaced, self.width, "outputs")
        self.grad_output = grad_output
        if self.inputs_at is None:  # nothing will arrive at the inputs
            self._call_hooks((None,) * self.count)
        return [grad_output[i] for i in self.outputs_at or ()]

    def _at_inputs(self, gs: list[Any]) -> Sequence[Any]:
        # as in PyTorch: zeros for a tensor that needs no gradient, None for what is no tensor
        grads = [zeros(self.fixed[i]) if i in self.fixed else None for i in range(self.count)]
        for i, g in zip(self.inputs_at or (), gs, strict=True):
            grads[i] = g
        grad_input = self._call_hooks(tuple(grads))
        return [grad_input[i] for i in self.inputs_at or ()]

    def _call_hooks(self, grad_input: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in list(self.module._backward_hooks.values()):
            replaced = hook(self.module, grad_input, self.grad_output)
            if replaced is not None:
                if self.inputs_at is None:
                    raise GradError(
                        lesson("a backward hook returned gradients for inputs that need none",
                               [("module", self.module._get_name())], "return None")
                    )  # fmt: skip
                grad_input = self._checked(replaced, self.count, "inputs")
        return grad_input

    def _checked(self, replaced: Any, count: int, what: str) -> tuple[Any, ...]:
        grads = tuple(replaced) if isinstance(replaced, tuple | list) else (replaced,)
        if len(grads) != count:
            raise ShapeError(
                lesson(f"a backward hook returned {len(grads)} gradients for {count} {what}",
                       [("module", self.module._get_name())],
                       f"return a tuple of {count}, or None to change nothing")
            )  # fmt: skip
        return grads


def same_memory(x: Tensor) -> Any:
    """Another handle on a value, which shares its memory and its version."""
    fresh(x)
    t = make(x._value)
    t._version = version_of(x)
    return t
