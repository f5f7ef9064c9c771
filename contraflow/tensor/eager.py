"""The eager interpreter: an op is computed with NumPy when it is called, and recorded."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.modes import Modes
from contraflow.ops.record import NUMBERS, Op, bind
from contraflow.tensor.arrays import array_of
from contraflow.tensor.diagnosis import diagnosis
from contraflow.tensor.operands import coerce, promote
from contraflow.tensor.tape import record
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.views import fresh, mark_view

__all__ = ["eager"]

_new = object.__new__
ndarray = np.ndarray
# what NumPy raises for operands that do not fit
REFUSALS = (ValueError, TypeError, IndexError, OverflowError, np.linalg.LinAlgError)


def eager(op: Op, args: tuple[Any, ...], attrs: dict[str, Any], modes: Modes) -> Any:
    """Compute an op with NumPy, and record it on the tape when a gradient will be wanted.

    Every small op pays for each line here, so what it calls for each operand is spelled out.
    """
    values: list[Any] = []
    tracked = numbers = mixed = False
    dtype: Any = None
    for a in args:
        if isinstance(a, Tensor):
            if a._parent is not None:
                fresh(a)
            value = a._value
            if type(value) is not ndarray:
                value = array_of(a)
            if a._requires_grad:
                tracked = True
            if dtype is None:
                dtype = value.dtype
            elif value.dtype is not dtype:
                mixed = True
            values.append(value)
        elif type(a) in NUMBERS:
            numbers = True
            values.append(a)
        else:
            return bind(op, coerce(op, args), attrs)
    if op.promote is not None and (
        dtype is None or mixed or dtype.kind not in op.kinds or (numbers and dtype.kind != "f")
    ):
        promoted = promote(op, args)
        if promoted is not None:
            return bind(op, promoted, attrs)
    try:
        if attrs:
            out = modes.quiet(op.forward, *values, **attrs)
        else:
            out = modes.quiet(op.forward, *values)
    except REFUSALS as error:
        raise diagnosis(op, args, attrs, error) from None
    tracked = tracked and modes.grad and op.differentiable
    if op.outputs > 1:
        outs = tuple([make(o if type(o) is ndarray else np.asarray(o)) for o in out])
        if tracked:
            record(op, args, attrs, values, outs)
        return outs
    t = _new(Tensor)  # `make`, without the call
    t._value = out if type(out) is ndarray else np.asarray(out)
    t._requires_grad = False
    t._grad = t._node = t._parent = t._version = t._hooks = None
    t._index = 0
    if op.view and isinstance(args[0], Tensor):
        mark_view(t, op, attrs, args[0])
    if tracked:
        record(op, args, attrs, values, (t,))
    return t
