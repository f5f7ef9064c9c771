"""One tree of errors. Each class also derives the builtin a caller would expect to catch.

A message says which rule broke, shows the operands, and ends with the fix as code::

    ShapeError: linear: the input has 784 features, the layer expects 512
      input   float32[32, 784]   x
      weight  float32[10, 512]   model.weight
      at      train.py:41: logits = model(x)
      fix: nn.Linear(784, 10), or flatten/slice the input to 512 features
"""

from __future__ import annotations

from collections.abc import Iterable

from contraflow.base.source import name_in_caller, user_line

__all__ = [
    "ArgumentError",
    "AttributeMissing",
    "CaptureError",
    "ContraflowError",
    "DTypeError",
    "EmptyError",
    "FileError",
    "GradError",
    "IndexOutOfRange",
    "IndexShapeError",
    "IndexTypeError",
    "LinAlgError",
    "NonFiniteError",
    "ShapeError",
    "StateError",
    "lesson",
    "show",
]


class ContraflowError(RuntimeError):
    """The root of everything contraflow raises; a ``RuntimeError`` so PyTorch code catches it."""


class ShapeError(ContraflowError, ValueError):
    """Shapes that do not fit together, or a dimension that does not exist."""


class ArgumentError(ContraflowError, ValueError):
    """An argument outside its domain (a negative rate, an unknown mode...)."""


class AttributeMissing(ContraflowError, AttributeError):
    """An attribute that a module does not have, or cannot take yet."""


class DTypeError(ContraflowError, TypeError):
    """A dtype, or a Python type, that the operation does not take."""


class IndexOutOfRange(ContraflowError, IndexError):
    """An index, a label or a dimension outside its range."""


class GradError(ContraflowError):
    """Backward asked for something the tape cannot give."""


class NonFiniteError(ContraflowError, ArithmeticError):
    """A loss that became NaN or infinite while training."""


class IndexTypeError(DTypeError, IndexOutOfRange):
    """What stands in the brackets is no index."""


class IndexShapeError(ShapeError, IndexOutOfRange):
    """A mask or index tensors whose shapes do not fit."""


class EmptyError(ShapeError, IndexOutOfRange):
    """A maximum or a median of no elements; PyTorch's users catch an ``IndexError`` here."""


class LinAlgError(ContraflowError, ArithmeticError, ValueError):
    """A matrix that has no inverse or decomposition of the wanted kind."""


class CaptureError(ContraflowError):
    """A value was looked at while a step was being captured."""


class StateError(ContraflowError, KeyError):
    """A state dict or a checkpoint does not fit the object it is loaded into."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class FileError(ContraflowError, OSError):
    """A file that is missing, damaged, hostile or not what it claims to be."""


def show(value: object) -> str:
    """A value as messages print it: a tensor as ``float32[32, 784]   x``, its shape and dtype and
    the name that the user's code has for it; anything else as text."""
    aval = getattr(value, "aval", None)
    if aval is None or callable(aval) or isinstance(value, type):
        return str(value)
    name = getattr(value, "_label", None) or name_in_caller(value)
    return f"{aval}   {name}" if name else str(aval)


def lesson(rule: str, operands: Iterable[tuple[str, object]] = (), fix: str | None = None) -> str:
    """Lay out an error message: the rule, the operands in columns, the user's line, the fix.

    Tensors among the operands are shown by ``show``.
    """
    rows = [(name, show(value)) for name, value in operands]
    line = user_line()
    if line is not None:
        rows.append(("at", line))
    width = max((len(name) for name, _ in rows), default=0)
    text = [rule, *(f"  {name.ljust(width)}  {value}" for name, value in rows)]
    if fix is not None:
        text.append(f"  fix: {fix}")
    return "\n".join(text)
