"""Operators and methods of Tensor: each spells an op or a function of the floors below.

A module says what it gives: an op family names its functions in ``METHODS`` and ``INPLACE``; a
module of this folder has ``METHODS`` and ``PROPERTIES``, by the name on Tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from contraflow.base.dtypes import float64
from contraflow.base.errors import DTypeError, lesson
from contraflow.ops import arith, families, logic, rounding, special
from contraflow.ops.arith import add_op, div_op, mul, neg, pow, sub_op
from contraflow.ops.matmul import matmul
from contraflow.ops.record import Op, bind, set_eager
from contraflow.ops.spelling import spelled
from contraflow.tensor import (
    constructors,
    convert,
    fills,
    gradients,
    handles,
    histogram,
    hooks,
    indexing,
    printing,
    questions,
    sampling,
    unique,
)
from contraflow.tensor.eager import eager
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.writing import in_place, write

__all__: list[str] = []

NO_ATTRS: dict[str, Any] = {}
OPERANDS = (Tensor, int, float, bool)


# ---- operators -----------------------------------------------------------------------------------


def unary(op: Any) -> Callable[[Any], Any]:
    """``a.__op__()``."""
    return lambda a: bind(op, (a,), NO_ATTRS)


def binary(op: Any) -> Callable[[Any, Any], Any]:
    """``a.__op__(b)``: b is a tensor, a number or an array."""

    def method(a: Any, b: Any) -> Any:
        if isinstance(b, OPERANDS) or hasattr(b, "__array__"):
            return bind(op, (a, b), NO_ATTRS)
        return NotImplemented

    return method


def reflected(op: Any) -> Callable[[Any, Any], Any]:
    """``a.__rop__(b)``, which means b op a."""

    def method(a: Any, b: Any) -> Any:
        if isinstance(b, OPERANDS) or hasattr(b, "__array__"):
            return bind(op, (b, a), NO_ATTRS)
        return NotImplemented

    return method


def reflected_matmul(a: Any, b: Any) -> Any:
    """``array @ tensor``."""
    return matmul(b if isinstance(b, Tensor) else make(b), a)


OPERATORS: dict[str, Any] = {
    "add": add_op, "sub": sub_op, "mul": mul, "truediv": div_op, "pow": pow,
    "floordiv": rounding.floor_divide, "mod": rounding.remainder, "and": logic.bitwise_and,
    "or": logic.bitwise_or, "xor": logic.bitwise_xor, "lshift": logic.bitwise_left_shift,
    "rshift": logic.bitwise_right_shift,
}  # fmt: skip
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def operators() -> dict[str, Any]:
    """``+ - * / // % ** @ & | ^ ~ << >>``, their reflected and in-place forms, the comparisons."""
    found: dict[str, Any] = {
        "__matmul__": matmul,
        "__rmatmul__": reflected_matmul,
        "__neg__": unary(neg),
        "__pos__": lambda x: x,
        "__abs__": unary(arith.abs),
        "__invert__": unary(logic.bitwise_not),
    }
    for name, op in OPERATORS.items():
        found[f"__{name}__"] = binary(op)
        found[f"__r{name}__"] = reflected(op)
        found[f"__i{name}__"] = in_place(op)
    for name in COMPARISONS:
        found[f"__{name}__"] = binary(getattr(arith, name))
    return found


# ---- methods -------------------------------------------------------------------------------------


def float_power_(self: Any, exponent: Any) -> Any:
    """The in-place form of ``float_power``, which computes in float64 and needs such a tensor."""
    if self.dtype is not float64:
        rule = f"float_power_ gives float64, the tensor is {self.dtype.name}"
        raise DTypeError(lesson(rule, [("tensor", self)], "x = x.float_power(exponent)"))
    return write(self, arith.float_power(self, exponent))


def method_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function for an op record, so that it binds as a method."""
    if not isinstance(function, Op):
        return spelled(function)
    op = function

    def method(*args: Any, **named: Any) -> Any:
        return op(*args, **named)

    method.__name__ = op.name
    method.__doc__ = f"The op {op.name}, element by element."
    return method


def of_family(family: ModuleType) -> dict[str, Any]:
    """The methods that an op family names, and their forms in place."""
    found = {name: method_of(getattr(family, name)) for name in getattr(family, "METHODS", ())}
    for name in getattr(family, "INPLACE", ()):
        found[f"{name}_"] = in_place(method_of(getattr(family, name)))
    return found


# what the tables cannot say: the tensor is not the function's first argument, or is checked first
SPELLED_OUT = {
    "where": lambda x, condition, other: arith.where(condition, x, other),
    "polygamma": lambda x, n: special.polygamma(n, x),
    "float_power_": float_power_,
}
OWN = (
    constructors, convert, fills, gradients, handles, hooks, indexing, printing, questions,
)  # fmt: skip
FAMILIES = (*families.ALL, histogram, sampling, unique)


def attach(methods: dict[str, Any]) -> None:
    """Give Tensor methods and properties."""
    for name, method in methods.items():
        setattr(Tensor, name, method)


set_eager(eager)
attach(operators())
attach(SPELLED_OUT)
for _family in FAMILIES:
    attach(of_family(_family))
for _module in OWN:
    attach(_module.METHODS)
    attach(getattr(_module, "PROPERTIES", {}))
