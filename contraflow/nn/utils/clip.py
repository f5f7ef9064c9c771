"""Gradient clipping by norm and by value, against exploding gradients."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite
from typing import Any

from contraflow.base.dtypes import promote_types
from contraflow.base.errors import ArgumentError, DTypeError, GradError, lesson
from contraflow.ops.arith import abs, maximum, minimum, ne, pow, sqrt
from contraflow.ops.blend import clamp
from contraflow.ops.cast import convert
from contraflow.ops.reduce import reduce_max, reduce_min, reduce_sum
from contraflow.tensor.create import zeros
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.writing import write

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def tensors_of(what: str, tensors: Any) -> list[Any]:
    """One tensor or several, as a list."""
    items = [tensors] if isinstance(tensors, Tensor) else tensors
    if not isinstance(items, Iterable) or hasattr(items, "named_parameters"):
        raise DTypeError(
            lesson(f"{what} takes tensors, not {type(tensors).__name__}",
                   fix=f"{what}(model.parameters(), ...)")
        )  # fmt: skip
    found = list(items)
    for t in found:
        if not isinstance(t, Tensor):
            raise DTypeError(lesson(f"{what} takes tensors, not {type(t).__name__}",
                                    fix=f"{what}(model.parameters(), ...)"))  # fmt: skip
    return found


def gradients(what: str, parameters: Any) -> list[Any]:
    """The gradients that exist."""
    return [p.grad for p in tensors_of(what, parameters) if p.grad is not None]


def whole(reduction: Any, x: Any) -> Any:
    """A reduction over all dimensions."""
    return reduction(x, dims=tuple(range(x.ndim)), keepdim=False)


def total(parts: list[Any], join: Any) -> Any:
    result = parts[0]
    for part in parts[1:]:
        result = join(result, part)
    return result


def norm_of(tensors: list[Any], p: float) -> Any:
    """The p-norm of all elements together."""
    tensors = [t for t in tensors if t.shape.numel() or isfinite(p)]
    if not tensors:
        return zeros(())
    if p == inf:
        return total([whole(reduce_max, abs(t)) for t in tensors], maximum)
    if p == -inf:
        return total([whole(reduce_min, abs(t)) for t in tensors], minimum)
    if p == 0:  # as PyTorch: the number of tensors that are not all zero
        some = [whole(reduce_max, convert(ne(t, 0), dtype=t.dtype)) for t in tensors]
        return total(some, lambda a, b: a + b)
    if p == 2:
        return sqrt(total([whole(reduce_sum, t * t) for t in tensors], lambda a, b: a + b))
    sums = [whole(reduce_sum, pow(abs(t), p) if p != 1 else abs(t)) for t in tensors]
    return pow(total(sums, lambda a, b: a + b), 1.0 / p)


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:  # fmt: skip
    """The norm of all tensors, as if they were one vector.

    >>> import contraflow as cf
    >>> cf.nn.utils.get_total_norm([cf.tensor([3.0]), cf.tensor([4.0])])
    tensor(5.)

    Raises:
        GradError: if the norm is not finite and ``error_if_nonfinite`` is set.
    """
    items = tensors_of("get_total_norm", tensors)
    if not items:
        return zeros(())
    dtype = items[0].dtype
    for t in items[1:]:
        dtype = promote_types(dtype, t.dtype)
    with no_grad():
        norm = norm_of([t if t.dtype is dtype else convert(t, dtype=dtype) for t in items],
                       float(norm_type))  # fmt: skip
    if error_if_nonfinite:
        value = norm.item()
        if not isfinite(value):
            raise GradError(
                lesson(f"the norm of order {float(norm_type)} of the gradients is {value}",
                       fix="look for a too high learning rate or log(0); "
                       "error_if_nonfinite=False clips nevertheless")
            )  # fmt: skip
    return norm


def clip_grads_with_norm_(
    parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None
) -> None:
    """Scale the gradients in place by ``max_norm / total_norm``, if that is below 1.

    >>> import contraflow as cf
    >>> w = cf.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> norm = cf.nn.utils.get_total_norm([w.grad])
    >>> cf.nn.utils.clip_grads_with_norm_([w], 1.0, norm)
    >>> w.grad
    tensor([0.6000, 0.8000])
    """
    with no_grad():
        coefficient = clamp(float(max_norm) / (total_norm + 1e-6), max=1.0)
        for g in gradients("clip_grads_with_norm_", parameters):
            write(g, g * coefficient)


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:  # fmt: skip
    """Scale all gradients in place so that their common norm is at most ``max_norm``.

    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training RNNs" (2013).

    Args:
        norm_type: order of the norm, such as 2 or ``float("inf")``.
        error_if_nonfinite: raise if the norm is NaN or infinite.

    Returns:
        The norm before clipping.

    >>> import contraflow as cf
    >>> w = cf.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> cf.nn.utils.clip_grad_norm_([w], max_norm=1.0)
    tensor(5.)
    >>> w.grad
    tensor([0.6000, 0.8000])

    Raises:
        GradError: if the norm is not finite and ``error_if_nonfinite`` is set.
    """
    found = tensors_of("clip_grad_norm_", parameters)
    if max_norm < 0:
        raise ArgumentError(lesson(f"clip_grad_norm_: max_norm must not be negative: {max_norm}",
                                   fix="max_norm=1.0"))  # fmt: skip
    grads = [p.grad for p in found if p.grad is not None]
    norm = get_total_norm(grads, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(found, max_norm, norm)
    return norm


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Clip every element of the gradients in place to [-clip_value, clip_value].

    >>> import contraflow as cf
    >>> w = cf.tensor([3.0, -0.5], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> cf.nn.utils.clip_grad_value_([w], 1.0)
    >>> w.grad
    tensor([ 1.0000, -0.5000])
    """
    limit = float(clip_value)
    with no_grad():
        for g in gradients("clip_grad_value_", parameters):
            write(g, clamp(g, -limit, limit))
