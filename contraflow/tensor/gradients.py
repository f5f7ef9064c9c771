"""``backward`` and ``grad``: from outputs to the gradients of what they were computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, GradError, lesson
from contraflow.base.modes import current
from contraflow.ops.accumulate import add_grads
from contraflow.tensor.anomaly import anomaly
from contraflow.tensor.node import zeros
from contraflow.tensor.tensor import Tensor, make, set_grad
from contraflow.tensor.walk import Walk
from contraflow.tensor.writing import write

__all__ = ["backward", "grad"]


# ---- grad: the gradients are returned ------------------------------------------------------------


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
    roots, targets = several(outputs, "outputs"), several(inputs, "inputs")
    check_targets("autograd.grad", targets, "input {}", "x.requires_grad_()")
    retain = create_graph if retain_graph is None else retain_graph
    walk = Walk(retain, create_graph, targets)
    walk.run(roots, gradients_of(grad_outputs, len(roots)))
    unused = materialize_grads if allow_unused is None else allow_unused
    for i, (t, g) in enumerate(zip(targets, walk.found, strict=True)):
        if g is None and not unused:
            raise GradError(
                lesson(
                    f"autograd.grad: input {i} was not used to compute the outputs",
                    [(f"input {i}", t)],
                    "allow_unused=True returns None for it",
                )
            )
    if not materialize_grads:
        return tuple(walk.found)
    return tuple(
        zeros(t.aval) if g is None else g for t, g in zip(targets, walk.found, strict=True)
    )


# ---- backward: the gradients are left at the leaves ----------------------------------------------


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
    roots = several(tensors, "tensors")
    gradients = gradients_of(grad_tensors, len(roots))
    accumulate(roots, gradients, retain_graph, create_graph, inputs)


def tensor_backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Compute the gradient of this tensor with respect to every leaf, and add it to ``.grad``.

    Args:
        gradient: the gradient of some scalar with respect to this tensor, same shape; may be
            left out for a single element (then it is 1).
        retain_graph: keep what backward needs, so that it can run again.
        create_graph: record backward itself, for derivatives of higher order.
        inputs: accumulate only into these tensors.

    Raises:
        GradError: if nothing recorded leads here, the graph was freed by an earlier backward,
            or a value that backward needs was overwritten in place.
    """
    accumulate((self,), (gradient,), retain_graph, create_graph, inputs)


def accumulate(
    roots: Sequence[Any],
    gradients: Sequence[Any],
    retain_graph: bool | None,
    create_graph: bool,
    inputs: Any,
) -> None:
    """Walk back from the roots, and add what arrives to the ``.grad`` of the leaves.

    One plain loss goes by way of the interpreter, which may know the walk already.
    """
    retain = create_graph if retain_graph is None else retain_graph
    targets = None
    if inputs is not None:
        targets = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if not targets:
            fix = "loss.backward(inputs=[w])"
            raise GradError(lesson("backward(inputs=...) names no tensor", fix=fix))
        check_targets("backward", targets, "inputs[{}]", "w.requires_grad_()")

    def run() -> None:
        leave(Walk(retain, create_graph, targets), roots, gradients, targets)

    interpreter = current().interpreter
    if interpreter is None or anomaly.on or create_graph or targets is not None or (
        len(roots) > 1 or gradients[0] is not None
    ):  # fmt: skip
        run()
    else:
        interpreter.backward(roots[0], retain, run)


def leave(
    walk: Walk, roots: Sequence[Any], gradients: Sequence[Any], targets: list[Any] | None
) -> None:
    """Walk the tape and leave the gradients at the leaves, or at the targets.

    That comes last: if anything went wrong on the way, nothing has changed.
    """
    done = walk.run(roots, gradients)
    if targets is not None:
        done = [(t, g) for t, g in zip(targets, walk.found, strict=True) if g is not None]
    given = {id(g._value) for g in gradients if g is not None}
    modes = current()
    before, modes.grad = modes.grad, walk.create
    try:
        for leaf, g in done:
            if leaf._requires_grad:  # it may have been frozen since it was used
                add_to(leaf, g, given, walk)
    finally:
        modes.grad = before


def add_to(leaf: Any, g: Any, given: set[int], walk: Walk) -> None:
    """Add a gradient to ``leaf.grad``, in memory that nobody else holds.

    ``given`` are the arrays that somebody holds, by identity; the leaf's joins them.
    """
    held = leaf.grad
    if held is not None:
        if walk.create:
            set_grad(leaf, add_grads(held, g))
        else:
            write(held, add_grads(held, g))
        return
    value = g._value
    copied = type(value) is np.ndarray and (
        walk.shown or value.base is not None or id(value) in given or not value.flags.c_contiguous
    )
    if copied:
        value = value.copy()
    if not walk.create or g._node is None:
        g = make(value)
    given.add(id(value))
    set_grad(leaf, g)


# ---- arguments -----------------------------------------------------------------------------------


def several(value: Any, name: str) -> list[Any]:
    """One tensor or several, as a list."""
    items = [value] if isinstance(value, Tensor) else list(value)
    for item in items:
        if not isinstance(item, Tensor):
            raise DTypeError(
                lesson(f"autograd: {name} must be tensors, received {type(item).__name__}")
            )
    return items


def gradients_of(given: Any, count: int) -> list[Any]:
    """One gradient, or None, for each output."""
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


def check_targets(what: str, targets: list[Any], label: str, fix: str) -> None:
    """Whose gradient is wanted must be a tensor that requires one."""
    for i, t in enumerate(targets):
        name = label.format(i)
        if not isinstance(t, Tensor):
            rule = f"{what}: {name} must be a tensor, not {type(t).__name__}"
            raise DTypeError(lesson(rule, fix="loss.backward(inputs=[w])"))
        if not t.requires_grad:
            rule = f"{what}: {name} does not require a gradient"
            raise GradError(lesson(rule, [(name, t)], fix))


METHODS = {"backward": tensor_backward}
