"""``autograd.grad`` and ``autograd.backward`` over one or several tensors, and tensor hooks."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

from contraflow.base.changes import changes
from contraflow.base.errors import ArgumentError, DTypeError, GradError, lesson
from contraflow.tensor import tape
from contraflow.tensor.tensor import Tensor, set_grad
from contraflow.tensor.views import fresh

__all__ = ["RemovableHandle", "backward", "grad", "register_hook", "retain_grad"]


def _several(value: Any, name: str) -> list[Any]:
    items = [value] if isinstance(value, Tensor) else list(value)
    for item in items:
        if not isinstance(item, Tensor):
            raise DTypeError(
                lesson(f"autograd: {name} must be tensors, received {type(item).__name__}")
            )
    return items


def _gradients(given: Any, count: int) -> list[Any]:
    if given is None:
        return [None] * count
    items = [given] if isinstance(given, Tensor) else list(given)
    if len(items) != count:
        raise ArgumentError(
            lesson(
                f"autograd: {count} outputs, but {len(items)} gradients for them",
                fix="one gradient (or None) for each output",
            )
        )
    return items


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of the outputs with respect to the inputs; touches no ``.grad``.

    Args:
        outputs: a tensor or several; their gradients flow together.
        inputs: the tensors to differentiate by.
        grad_outputs: the gradient of each output (None: 1, for a single element).
        create_graph: record it, for derivatives of higher order.
        only_inputs: PyTorch's name for what is always so.
        allow_unused: give None (or zeros with ``materialize_grads``) for an input that was not
            used, instead of an error.

    >>> import contraflow as cf
    >>> x = cf.tensor(3.0, requires_grad=True)
    >>> (dy,) = cf.autograd.grad(x**3, x, create_graph=True)
    >>> cf.autograd.grad(dy, x)
    (tensor(18.),)

    Raises:
        GradError: for an input that was not used, or a graph that was freed.
    """
    if is_grads_batched:
        raise ArgumentError(
            lesson("autograd.grad: is_grads_batched is not offered", fix="cf.func.vmap, or a loop")
        )
    outs, ins = _several(outputs, "outputs"), _several(inputs, "inputs")
    unused = materialize_grads if allow_unused is None else allow_unused
    found = tape.grad(
        outs, ins, _gradients(grad_outputs, len(outs)), retain_graph, create_graph, unused
    )
    if materialize_grads:
        found = tuple(
            tape.zeros(x.aval) if g is None else g for g, x in zip(found, ins, strict=True)
        )
    return found


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate into the leaves the gradient of several tensors at once.

    >>> import contraflow as cf
    >>> w = cf.ones(2, requires_grad=True)
    >>> cf.autograd.backward([w.sum(), (w * w).sum()])
    >>> w.grad
    tensor([3., 3.])
    """
    roots = _several(tensors, "tensors")
    tape.backward(roots, _gradients(grad_tensors, len(roots)), retain_graph, create_graph, inputs)


# ---- hooks ---------------------------------------------------------------------------------

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
    hooks = _hooks_of(self)
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    changes.tensors += 1
    return handle


def _hooks_of(t: Tensor) -> dict[int, Any]:
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


METHODS = {"register_hook": register_hook, "retain_grad": retain_grad}
