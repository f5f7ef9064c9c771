"""Why an op failed, in the words of its shape rule."""

from __future__ import annotations

from typing import Any

from contraflow.base.dtypes import default_dtype
from contraflow.base.errors import (
    ArgumentError,
    ContraflowError,
    DTypeError,
    IndexOutOfRange,
    ShapeError,
    lesson,
    show,
)
from contraflow.ops.record import Aval, Op
from contraflow.tensor.tensor import Tensor

__all__ = ["diagnosis"]


class Named(Aval):
    """Shape and dtype of an operand, with the user's name for it: what shape rules print."""

    __slots__ = ("text",)

    def __init__(self, t: Tensor) -> None:
        super().__init__(tuple(t._value.shape), t.dtype)
        self.text = show(t)

    def __repr__(self) -> str:
        return self.text


def diagnosis(op: Op, args: tuple[Any, ...], attrs: dict[str, Any], error: Exception) -> Exception:
    """Explain a failed op: the shape rule's own words if it objects, NumPy's otherwise."""
    if isinstance(error, ContraflowError):
        return error
    names = [f"{op.operands[0]}[{i}]" for i in range(len(args))] if op.variadic else op.operands
    operands = list(zip(names, args, strict=False))
    number = Aval((), default_dtype())
    try:
        op.shape(*(Named(a) if isinstance(a, Tensor) else number for a in args), **attrs)
    except ShapeError as taught:
        if str(taught).startswith("shapes do not broadcast"):
            return ShapeError(
                lesson(
                    f"{op.name}: {str(taught).splitlines()[0]}",
                    operands,
                    str(taught).rsplit("fix: ", 1)[-1],
                )
            )
        return taught
    except ContraflowError as taught:
        return taught
    except Exception:  # the rule met what forward met: all there is to tell is what forward said
        pass
    kind: type[Exception] = ArgumentError
    if isinstance(error, TypeError | IndexError):
        kind = DTypeError if isinstance(error, TypeError) else IndexOutOfRange
    rows = [*operands, *attrs.items(), ("reason", str(error))]
    return kind(lesson(f"{op.name} cannot be computed from these operands", rows))
