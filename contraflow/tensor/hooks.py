"""Hooks: functions of the user that see a gradient on its way, and may replace it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

from contraflow.base.changes import changes
from contraflow.base.errors import DTypeError, GradError, lesson
from contraflow.tensor.tensor import Tensor, set_grad
from contraflow.tensor.views import fresh

__all__ = ["RemovableHandle", "call_hooks", "register_hook", "retain_grad"]

_ids = count()


class RemovableHandle:
    """What registering a hook returns; ``remove()`` takes the hook off again."""

    def __init__(self, hooks: dict[int, Any]) -> None:
        self.id = next(_ids)
        self._hooks = hooks

    def remove(self) -> None:
        """Take the hook off; a second time does nothing."""
        self._hooks.pop(self.id, None)
        changes.tensors += 1
        changes.modules += 1

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register_hook(self: Tensor, hook: Callable[[Any], Any]) -> RemovableHandle:
    """Call ``hook(grad)`` when the gradient of this tensor is known; what it returns replaces it.

    >>> import contraflow as cf
    >>> w = cf.ones(2, requires_grad=True)
    >>> handle = w.register_hook(lambda g: g * 10)
    >>> w.sum().backward()
    >>> w.grad
    tensor([10., 10.])
    """
    if not self.requires_grad:
        raise GradError(
            lesson(
                "a hook needs a tensor that requires a gradient",
                [("tensor", self)],
                "x.requires_grad_()",
            )
        )
    if not callable(hook):
        raise DTypeError(
            lesson(
                f"a hook is a function of the gradient, not {type(hook).__name__}",
                fix="x.register_hook(lambda g: g * 2)",
            )
        )
    hooks = hooks_of(self)
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    changes.tensors += 1
    return handle


def hooks_of(t: Tensor) -> dict[int, Any]:
    """The hooks of a leaf, or those at the node that made the tensor."""
    fresh(t)
    node = t._node
    if node is None:
        if t._hooks is None:
            t._hooks = {}
        return t._hooks
    if node.hooks is None:
        node.hooks = {}
    return node.hooks.setdefault(t._index, {})


def retain_grad(self: Tensor) -> None:
    """Keep the gradient of this computed tensor in its ``.grad`` at the next backward."""
    if not self.requires_grad:
        raise GradError(
            lesson(
                "retain_grad needs a tensor that requires a gradient",
                [("tensor", self)],
                "x.requires_grad_()",
            )
        )
    if self._node is None or self.retains_grad:
        return
    self.retains_grad = True
    reference = weakref.ref(self)

    def keep(g: Any) -> None:
        t = reference()
        if t is not None:
            held = t.grad
            set_grad(t, g.detach().clone() if held is None else held + g)

    register_hook(self, keep)


def call_hooks(hooks: dict[int, Callable[[Any], Any]], g: Any) -> Any:
    """The gradient after all hooks have seen it, each what the one before has made of it."""
    for hook in list(hooks.values()):
        replaced = hook(g)
        if replaced is not None:
            g = replaced
    return g


METHODS = {"register_hook": register_hook, "retain_grad": retain_grad}
