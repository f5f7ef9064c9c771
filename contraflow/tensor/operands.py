"""Operands: what an op accepts, and the one dtype that they are brought to."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import DType, default_dtype, result_type
from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.ops.cast import convert
from contraflow.ops.record import NUMBERS, Op
from contraflow.tensor.arrays import as_value
from contraflow.tensor.tensor import Tensor, make

__all__ = ["coerce", "promote"]


def coerce(op: Op, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Turn arrays into tensors and NumPy scalars into numbers; refuse the rest."""
    read: list[Any] = []
    for i, a in enumerate(args):
        if isinstance(a, Tensor) or type(a) in NUMBERS:
            read.append(a)
        elif isinstance(a, np.generic):
            read.append(a.item())
        elif isinstance(a, np.ndarray):
            read.append(make(as_value(a)))
        else:
            name = op.operands[0] if op.variadic else op.operands[i]
            raise DTypeError(
                lesson(
                    f"{op.name}: operand {name} must be a tensor or a number",
                    [("received", f"{type(a).__name__} {a!r:.60}")],
                    "cf.tensor(...)",
                )
            )
    return tuple(read)


def promote(op: Op, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Bring the operands to one dtype; None when they already are there."""
    first = op.promote_from
    if not any(isinstance(a, Tensor) for a in args[first:]):
        args = (*args[:first], *(make_number(a) for a in args[first:]))
    operands = args[first:]
    target = result_type(*operands)
    kind = target.np.kind
    if kind not in op.kinds:
        if op.promote != "float":
            allowed = "integers and bool" if op.promote == "bits" else "numbers, not bool"
            raise DTypeError(
                lesson(
                    f"{op.name} takes {allowed}",
                    list(zip(op.operands, args, strict=False)),
                    "cf.logical_not(x) or x.float()",
                )
            )
        target = default_dtype()
    converted = tuple(
        convert(a, dtype=target)
        if isinstance(a, Tensor) and a._value.dtype != target.np
        else fitting(op, a, target)
        if not isinstance(a, Tensor)
        else a
        for a in operands
    )
    if all(new is old for new, old in zip(converted, operands, strict=True)):
        return None if len(args) == len(operands) + first and converted == operands else args
    return (*args[:first], *converted)


def fitting(op: Op, number: Any, target: DType) -> Any:
    """A Python number as NumPy wants it beside arrays of the target dtype."""
    if target.category == 1 and isinstance(number, bool):
        return int(number)
    if target.category == 1 and not target.np.type(0) <= number <= np.iinfo(target.np).max:
        low = int(np.iinfo(target.np).min)
        if number < low or number > int(np.iinfo(target.np).max):
            raise ArgumentError(
                lesson(
                    f"{op.name}: {number} does not fit into {target.name}",
                    fix="convert the tensor first, e.g. x.long()",
                )
            )
    return number


def make_number(a: Any) -> Any:
    return a if isinstance(a, Tensor) else make(as_value(a))
