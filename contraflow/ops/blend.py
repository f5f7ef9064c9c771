"""Bounds (clamp, fmax, fmin) and mixtures (lerp, addcmul, addcdiv) of values."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, lesson
from contraflow.ops.arith import add_op, div_op, ge, gt, le, lt, maximum, mul, ne, where_op
from contraflow.ops.record import Sample, op
from contraflow.ops.rules import binary, pointwise, rand

__all__ = [
    "addcdiv", "addcmul", "clamp", "clamp_max", "clamp_min", "clip", "fmax", "fmin", "lerp",
]  # fmt: skip
METHODS = (*__all__,)
INPLACE = tuple(name for name in __all__ if name not in ("fmax", "fmin"))

# Like maximum and minimum, except that a number wins against NaN, and `a` a tie.
fmax = op(
    "fmax", "a b",
    forward=np.fmax, shape=pointwise, promote="arith", samples=binary(),
    grad={
        "a": lambda g, a, b: where_op(_holds(a, b, ge), g, 0.0),
        "b": lambda g, a, b: where_op(_holds(a, b, ge), 0.0, g),
    },
)  # fmt: skip

fmin = op(
    "fmin", "a b",
    forward=np.fmin, shape=pointwise, promote="arith", samples=binary(),
    grad={
        "a": lambda g, a, b: where_op(_holds(a, b, le), g, 0.0),
        "b": lambda g, a, b: where_op(_holds(a, b, le), 0.0, g),
    },
)  # fmt: skip


def _holds(a: Any, b: Any, better: Any) -> Any:
    return maximum(better(a, b), ne(b, b))  # the maximum of two bools is `or`


# Inside its bounds, and on them, a clamp passes the whole gradient; outside it goes to the bound.
clamp_min = op(
    "clamp_min", "x low",
    forward=np.maximum, shape=pointwise, promote="arith", samples=binary(),
    grad={
        "x": lambda g, x, low: where_op(ge(x, low), g, 0.0),
        "low": lambda g, x, low: where_op(lt(x, low), g, 0.0),
    },
)  # fmt: skip

clamp_max = op(
    "clamp_max", "x high",
    forward=np.minimum, shape=pointwise, promote="arith", samples=binary(),
    grad={
        "x": lambda g, x, high: where_op(le(x, high), g, 0.0),
        "high": lambda g, x, high: where_op(gt(x, high), g, 0.0),
    },
)  # fmt: skip

clamp_both = op(
    "clamp", "x low high",
    forward=lambda x, low, high: np.minimum(np.maximum(x, low), high),
    shape=pointwise, promote="arith",
    grad={
        "x": lambda g, x, low, high: where_op(mul(ge(x, low), le(x, high)), g, 0.0),
        "low": lambda g, x, low, high: where_op(mul(lt(x, low), lt(low, high)), g, 0.0),
        "high": lambda g, x, low, high: where_op(maximum(gt(x, high), gt(low, high)), g, 0.0),
    },
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), -1.0, 1.0),
        Sample(rand(rng, 3, 4), rand(rng, 4, low=-1, high=0), rand(rng, 3, 1, low=0.5, high=1)),
        Sample(rand(rng, 3, 4), 0.5, -0.5),
        Sample(np.zeros((0, 3)), 0.0, 1.0),
        Sample(rand(rng, 3), rand(rng, 2), 1.0, error=ValueError),
    ],
)  # fmt: skip


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """x kept between ``min`` and ``max``, numbers or tensors that broadcast; one may be left out.

    Where ``min`` > ``max`` the result is ``max``.

    >>> import contraflow as cf
    >>> cf.clamp(cf.tensor([-2.0, 0.5, 2.0]), -1, 1)
    tensor([-1.0000,  0.5000,  1.0000])

    Raises:
        ArgumentError: if both bounds are missing.
    """
    if min is None and max is None:
        raise ArgumentError(
            lesson("clamp needs a bound: min, max, or both", [("input", input)], "x.clamp(min=0)")
        )
    if max is None:
        return clamp_min(input, min)
    return clamp_max(input, max) if min is None else clamp_both(input, min, max)


clip = clamp


def _lerp(start: Any, end: Any, weight: Any) -> Any:
    # written from the nearer end, so that weights 0 and 1 give the ends exactly
    change = end - start
    if type(weight) is not np.ndarray:
        return start + weight * change if weight < 0.5 else end - change * (1 - weight)
    return np.where(weight < 0.5, start + weight * change, end - change * (1 - weight))


lerp = op(
    "lerp", "start end weight",
    forward=_lerp, definition=lambda start, end, weight: start + weight * (end - start),
    shape=pointwise, promote="float",
    grad={
        "start": lambda g, weight: g * (1.0 - weight),
        "end": lambda g, weight: g * weight,
        "weight": lambda g, start, end: g * (end - start),
    },
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), rand(rng, 3, 4), 0.3),
        Sample(rand(rng, 3, 1), rand(rng, 4), rand(rng, 3, 4, low=0, high=1)),
        Sample(rand(rng, 3), rand(rng, 4), 0.3, error=ValueError),
    ],
)  # fmt: skip


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    """x + value * a * b.

    >>> import contraflow as cf
    >>> cf.addcmul(cf.tensor([1.0]), cf.tensor([2.0]), cf.tensor([3.0]), value=0.5)
    tensor([4.])
    """
    check_value("addcmul", value, input, tensor1, tensor2)
    return add_op(input, mul(tensor1, tensor2) if value == 1 else mul(mul(tensor1, value), tensor2))


def check_value(what: str, value: Any, *operands: Any) -> None:
    """Integers take no floating factor, which would change the dtype of the result."""
    if isinstance(value, float) and not any(
        t.dtype.is_floating_point for t in operands if hasattr(t, "dtype")
    ):
        rule = f"{what}: integer tensors take an integer value, not {value}"
        raise ArgumentError(lesson(rule, fix="x.float()"))


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    """x + value * a / b.

    >>> import contraflow as cf
    >>> cf.addcdiv(cf.tensor([1.0]), cf.tensor([6.0]), cf.tensor([3.0]), value=0.5)
    tensor([2.])
    """
    if not any(t.dtype.is_floating_point for t in (tensor1, tensor2) if hasattr(t, "dtype")):
        rows = [("tensor1", tensor1), ("tensor2", tensor2)]
        rule = "addcdiv: one of the operands of the division must be floating point"
        raise ArgumentError(lesson(rule, rows, "x + value * (a / b), or a.float()"))
    check_value("addcdiv", value, input, tensor1, tensor2)
    return add_op(
        input, div_op(tensor1, tensor2) if value == 1 else mul(div_op(tensor1, tensor2), value)
    )
