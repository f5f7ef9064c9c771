"""Derivatives of functions, where PyTorch has them: ``autograd.functional.jacobian``, ``hessian``.

A function takes one tensor or several and returns one tensor or several; where there is one, the
result is not wrapped in a tuple.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contraflow.base.errors import GradError, ShapeError, lesson
from contraflow.ops.join import stack
from contraflow.tensor.create import zeros_like
from contraflow.tensor.grad_mode import enable_grad
from contraflow.tensor.gradients import grad
from contraflow.tensor.tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Function = Callable[..., Any]


def tuple_of(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def unwrapped(values: tuple[Any, ...], like: Any) -> Any:
    return values if isinstance(like, tuple | list) else values[0]


def evaluated(func: Function, inputs: Any, create_graph: bool) -> tuple[tuple[Any, ...], Any]:
    """Handles on the inputs to differentiate by, and what the function gives for them."""
    xs = tuple(
        x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_()
        for x in tuple_of(inputs)
    )
    return xs, func(*xs)


def released(values: Any, create_graph: bool) -> Any:
    """The results, without history unless it was asked for."""
    if create_graph:
        return values
    if isinstance(values, tuple):
        return tuple(released(v, create_graph) for v in values)
    return values.detach()


def gradients(ys: Any, xs: Any, vs: Any, create_graph: bool, strict: bool) -> tuple[Any, ...]:
    """v^T J for each input; zeros for one that no output depends on, or with strict an error."""
    tracked = [(y, v) for y, v in zip(ys, vs, strict=True) if y.requires_grad]
    found: tuple[Any, ...] = (None,) * len(xs)
    if tracked:
        found = grad(
            [y for y, _ in tracked], xs, [v for _, v in tracked],
            retain_graph=True, create_graph=create_graph, allow_unused=True,
        )  # fmt: skip
    if strict and any(g is None for g in found):
        rule = "the outputs do not depend on every input, and strict=True asks for that"
        raise GradError(lesson(rule, [("input", x) for x in xs], "strict=False"))
    return tuple(zeros_like(x) if g is None else g for g, x in zip(found, xs, strict=True))


def directions(v: Any, like: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """The vectors v, one for each tensor and of its shape; 1 for a single number."""
    if v is None and len(like) == 1 and like[0].numel() == 1:
        return (zeros_like(like[0]) + 1,)
    vs = () if v is None else tuple_of(v)
    if len(vs) != len(like) or any(a.shape != b.shape for a, b in zip(vs, like, strict=False)):
        rule = f"{name}: v must have a tensor for each of {len(like)}, of the same shapes"
        raise ShapeError(lesson(rule, [("tensor", x) for x in like], "v=cf.ones_like(x)"))
    return vs


def jacobian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """J[i, j] = d func(x)_i / d x_j, of shape [*output, *input], one backward for each output.

    ``vectorize`` and ``strategy`` are accepted: how PyTorch is to compute the same numbers.

    >>> import contraflow as cf
    >>> cf.autograd.functional.jacobian(lambda x: x * x, cf.tensor([1.0, 3.0]))
    tensor([[2., 0.],
            [0., 6.]])

    Raises:
        GradError: with ``strict``, if an output does not depend on an input.
    """
    with enable_grad():
        xs, outputs = evaluated(func, inputs, create_graph)
        blocks = []
        for y in tuple_of(outputs):
            flat, rows = y.reshape(-1), []
            for i in range(y.numel()):
                one = (zeros_like(flat[i]) + 1,)
                rows.append(gradients((flat[i],), xs, one, create_graph, strict))
            blocks.append(
                tuple(
                    stack([row[k] for row in rows]).reshape(*y.shape, *x.shape)
                    if rows
                    else x.new_zeros(*y.shape, *x.shape)
                    for k, x in enumerate(xs)
                )
            )
        tree = tuple(released(unwrapped(block, inputs), create_graph) for block in blocks)
    return unwrapped(tree, outputs)


def hessian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """H[i, j] = d^2 func(x) / d x_i d x_j of a function that gives one number.

    >>> import contraflow as cf
    >>> cf.autograd.functional.hessian(lambda x: (x**3).sum(), cf.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])

    Raises:
        ShapeError: if the function gives more than one number.
    """

    def slope(*xs: Any) -> Any:
        y = single(func(*xs), "hessian")
        return unwrapped(gradients((y,), xs, (zeros_like(y) + 1,), True, strict), inputs)

    return jacobian(slope, inputs, create_graph, strict)


def single(y: Any, name: str) -> Any:
    """The one number that a function must give."""
    if not isinstance(y, Tensor) or y.numel() != 1:
        rule = f"{name}: the function must give a single number"
        given = y.aval if isinstance(y, Tensor) else type(y).__name__
        raise ShapeError(lesson(rule, [("given", given)], "lambda x: f(x).sum()"))
    return y


def vjp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(func(x), v^T J).

    >>> import contraflow as cf
    >>> cf.autograd.functional.vjp(lambda x: x * x, cf.tensor([1.0, 3.0]), cf.ones(2))
    (tensor([1., 9.]), tensor([2., 6.]))
    """
    with enable_grad():
        xs, outputs = evaluated(func, inputs, create_graph)
        ys = tuple_of(outputs)
        found = gradients(ys, xs, directions(v, ys, "vjp"), create_graph, strict)
    return released((outputs, unwrapped(found, inputs)), create_graph)


def jvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(func(x), J v), by two backward passes: u -> u^T J is linear, and its gradient gives J v.

    >>> import contraflow as cf
    >>> cf.autograd.functional.jvp(lambda x: x * x, cf.tensor([1.0, 3.0]), cf.ones(2))
    (tensor([1., 9.]), tensor([2., 6.]))
    """
    with enable_grad():
        xs, outputs = evaluated(func, inputs, create_graph)
        ys = tuple_of(outputs)
        us = tuple(zeros_like(y).requires_grad_() for y in ys)
        passed = gradients(ys, xs, us, True, strict)
        found = gradients(passed, us, directions(v, xs, "jvp"), create_graph, False)
    return released((outputs, unwrapped(found, outputs)), create_graph)


def vhp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(func(x), v^T H) of a function that gives one number, in two backward passes.

    >>> import contraflow as cf
    >>> cf.autograd.functional.vhp(lambda x: (x**3).sum(), cf.tensor([1.0, 2.0]), cf.ones(2))
    (tensor(9.), tensor([ 6., 12.]))
    """
    with enable_grad():
        xs, outputs = evaluated(func, inputs, create_graph)
        y = single(outputs, "vhp")
        slopes = gradients((y,), xs, (zeros_like(y) + 1,), True, strict)
        found = gradients(slopes, xs, directions(v, xs, "vhp"), create_graph, False)
    return released((outputs, unwrapped(found, inputs)), create_graph)


hvp = vhp  # a Hessian is its own transpose
