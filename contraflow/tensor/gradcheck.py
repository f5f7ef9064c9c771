"""Checks gradients against finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from contraflow.base.errors import DTypeError, GradError, lesson
from contraflow.base.modes import at_once
from contraflow.tensor.gradients import grad
from contraflow.tensor.tensor import Tensor, make

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(GradError):
    """A gradient that does not agree with finite differences."""


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _floating(outputs: Any) -> list[Any]:
    return [o for o in _tuple(outputs) if isinstance(o, Tensor) and o.dtype.is_floating_point]


def _numerical(
    function: Callable[..., Any], inputs: Sequence[Any], x: Any, weights: list[Any], eps: float
) -> Any:
    """d(sum of weights * outputs)/dx by central differences, one element at a time."""
    values = x._value.reshape(-1) if x._value.flags.c_contiguous else None
    if values is None:
        raise GradError(lesson("gradcheck needs contiguous inputs", fix="x.clone()"))
    gradient = np.zeros(values.size)

    def weighted() -> float:
        outputs = _floating(function(*inputs))
        return float(sum(np.sum(w * o._value) for w, o in zip(weights, outputs, strict=True)))

    for i in range(values.size):
        kept = values[i]
        values[i] = kept + eps
        above = weighted()
        values[i] = kept - eps
        below = weighted()
        values[i] = kept
        gradient[i] = (above - below) / (2 * eps)
    return gradient.reshape(x._value.shape)


def checked(inputs: tuple[Any, ...]) -> list[tuple[int, Any]]:
    """The inputs that require a gradient, with their positions; they must be float64."""
    tracked = [(i, x) for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not tracked:
        raise GradError(
            lesson(
                "gradcheck: no input requires a gradient",
                fix="cf.randn(3, dtype=cf.float64, requires_grad=True)",
            )
        )
    for i, x in tracked:
        if x._value.dtype != np.float64:
            raise DTypeError(
                lesson(
                    f"gradcheck needs float64, input {i} is {x.dtype.name}",
                    fix="x.double().detach().requires_grad_()",
                )
            )
    return tracked


@at_once()
def gradcheck(
    function: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compare backward with central differences for every input that requires a gradient.

    The outputs are weighted with fixed random numbers, so one backward checks all of them.

    Args:
        function: takes the inputs, returns one tensor or several.
        inputs: a tensor or several; those that require a gradient must be float64.
        eps: the step of the differences.

    Raises:
        GradcheckError: names the input and shows both gradients, unless ``raise_exception=False``.

    >>> import contraflow as cf
    >>> x = cf.randn(3, dtype=cf.float64, requires_grad=True)
    >>> cf.autograd.gradcheck(cf.tanh, (x,))
    True
    """
    inputs = _tuple(inputs)
    tracked = checked(inputs)
    outputs = _floating(function(*inputs))
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 1.5, o._value.shape) for o in outputs]
    roots = [(o, make(w)) for o, w in zip(outputs, weights, strict=True) if o.requires_grad]
    found: tuple[Any, ...] = (None,) * len(tracked)
    if roots:
        found = grad(
            [o for o, _ in roots], [x for _, x in tracked], [w for _, w in roots],
            retain_graph=True, allow_unused=True,
        )  # fmt: skip
    for (i, x), g in zip(tracked, found, strict=True):
        analytic = np.zeros(x._value.shape) if g is None else g._value
        numeric = _numerical(function, inputs, x, weights, eps)
        if not np.allclose(analytic, numeric, atol=atol, rtol=rtol, equal_nan=True):
            if not raise_exception:
                return False
            raise GradcheckError(
                lesson(
                    f"gradcheck: the gradient of input {i} differs from finite differences",
                    [("backward", analytic.tolist()), ("differences", numeric.tolist())],
                )
            )
    return True


@at_once()
def gradgradcheck(
    function: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """``gradcheck`` of the gradient: compares double backward with finite differences."""
    inputs = _tuple(inputs)
    tracked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    outputs = _floating(function(*inputs))
    if grad_outputs is None:
        rng = np.random.default_rng(1)
        gs = [make(rng.uniform(0.5, 1.5, o._value.shape)) for o in outputs]
        for g in gs:
            g.requires_grad_()
    else:
        gs = list(_tuple(grad_outputs))

    def gradient(*values: Any) -> tuple[Any, ...]:
        xs, weights = values[: len(inputs)], values[len(inputs) :]
        outs = _floating(function(*xs))
        roots = [(o, w) for o, w in zip(outs, weights, strict=True) if o.requires_grad]
        if not roots:
            return ()
        found = grad(
            [o for o, _ in roots], [xs[i] for i in tracked], [w for _, w in roots],
            create_graph=True, allow_unused=True,
        )  # fmt: skip
        return tuple(g for g in found if g is not None)

    return gradcheck(
        gradient, (*inputs, *gs), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception
    )
