"""Operators and methods of Tensor: each spells an op or a function of the floors below."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from contraflow.base.dtypes import float64
from contraflow.base.errors import DTypeError, lesson
from contraflow.base.modes import current
from contraflow.ops import arith, families, logic, rounding, special
from contraflow.ops.arith import add_op, div_op, mul, neg, pow, sub_op
from contraflow.ops.join import unbind
from contraflow.ops.matmul import matmul
from contraflow.ops.record import bind
from contraflow.ops.spelling import spelled
from contraflow.tensor import (
    convert,
    handles,
    histogram,
    indexing,
    questions,
    sampling,
    tape,
    unique,
)
from contraflow.tensor.constructors import construct
from contraflow.tensor.gradients import register_hook, retain_grad
from contraflow.tensor.printing import tensor_html, tensor_repr
from contraflow.tensor.tensor import Tensor, make, set_grad, snapshot, write

__all__: list[str] = []

NO_ATTRS: dict[str, Any] = {}
OPERANDS = (Tensor, int, float, bool)


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


def in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """``f_``: compute ``f``, write the result into the tensor."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        # What backward keeps of the tensor must be what it was before the write.
        before = snapshot(self) if recorded(self, args, kwargs) else self
        return write(self, function(before, *args, **kwargs))

    method.__name__ = f"{getattr(function, '__name__', getattr(function, 'name', ''))}_"
    method.__doc__ = f"The in-place form: the tensor takes the value of {method.__name__[:-1]}."
    return method


def recorded(self: Any, args: Any, kwargs: Any) -> bool:
    """Whether the tape takes down an op over these operands."""
    return current().grad and any(
        isinstance(a, Tensor) and a.requires_grad for a in (self, *args, *kwargs.values())
    )


def method_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function for an op record, so that it binds as a method."""
    if isinstance(function, type(neg)):
        op = function

        def method(*args: Any, **named: Any) -> Any:
            return op(*args, **named)

        method.__name__ = op.name
        method.__doc__ = f"The op {op.name}, element by element."
        return method
    return spelled(function)


OPERATORS: dict[str, Any] = {
    "add": add_op, "sub": sub_op, "mul": mul, "truediv": div_op, "pow": pow, "matmul": matmul,
    "floordiv": rounding.floor_divide, "mod": rounding.remainder, "and": logic.bitwise_and,
    "or": logic.bitwise_or, "xor": logic.bitwise_xor, "lshift": logic.bitwise_left_shift,
    "rshift": logic.bitwise_right_shift,
}  # fmt: skip
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def attach_operators() -> None:
    """``+ - * / // % ** @ & | ^ ~ << >>``, their reflected and in-place forms, the comparisons."""
    for name, op in OPERATORS.items():
        if op is matmul:
            continue
        setattr(Tensor, f"__{name}__", binary(op))
        setattr(Tensor, f"__r{name}__", reflected(op))
        setattr(Tensor, f"__i{name}__", in_place(op))
    for name in COMPARISONS:
        setattr(Tensor, f"__{name}__", binary(getattr(arith, name)))
    extra: dict[str, Any] = {
        "__matmul__": matmul,
        "__rmatmul__": lambda a, b: matmul(make_operand(b), a),
        "__neg__": lambda x: neg(x),
        "__pos__": lambda x: x,
        "__abs__": lambda x: arith.abs(x),
        "__invert__": lambda x: logic.bitwise_not(x),
        "where": lambda x, condition, other: arith.where(condition, x, other),
        "polygamma": lambda x, n: special.polygamma(n, x),
        "__new__": construct,
        "__repr__": tensor_repr,
        "_repr_html_": tensor_html,
        "__iter__": rows_of,
        "float_power_": float_power_,
        "__format__": tensor_format,
        "register_hook": register_hook,
        "retain_grad": retain_grad,
        "__getitem__": indexing.getitem,
        "__setitem__": indexing.setitem,
        "nonzero": indexing.nonzero,
        "argwhere": indexing.argwhere,
        "masked_select": indexing.masked_select,
        "index_put": indexing.index_put,
        "index_put_": in_place(indexing.index_put),
    }
    for name, function in extra.items():
        setattr(Tensor, name, function)


def make_operand(b: Any) -> Any:
    """A tensor for an array that stands left of ``@``."""
    return b if isinstance(b, Tensor) else make(b)


def float_power_(self: Any, exponent: Any) -> Any:
    """The in-place form of ``float_power``, which computes in float64 and needs such a tensor."""
    if self.dtype is not float64:
        rule = f"float_power_ gives float64, the tensor is {self.dtype.name}"
        raise DTypeError(lesson(rule, [("tensor", self)], "x = x.float_power(exponent)"))
    return write(self, arith.float_power(self, exponent))


def rows_of(self: Any) -> Any:
    """``for row in x``: views along the first dimension."""
    if not self.ndim:
        raise DTypeError(lesson("a 0-d tensor has no rows", [("tensor", self)], "x.item()"))
    return iter(unbind(self, 0))


def tensor_format(self: Any, spec: str) -> str:
    """``f"{loss:.4f}"`` works for a tensor of one element; a 0-d tensor shows its number."""
    number = spec or (type(self) is Tensor and not self.ndim)
    return format(self.item(), spec) if number else repr(self)


def attach_family(family: ModuleType) -> None:
    """Attach the METHODS and INPLACE forms that an op family names."""
    for name in getattr(family, "METHODS", ()):
        setattr(Tensor, name, method_of(getattr(family, name)))
    for name in getattr(family, "INPLACE", ()):
        setattr(Tensor, f"{name}_", in_place(method_of(getattr(family, name))))


attach_operators()
for _family in (*families.ALL, histogram, sampling, unique):
    attach_family(_family)
for _name, _method in (convert.METHODS | handles.METHODS | questions.METHODS).items():
    setattr(Tensor, _name, _method)
for _name, _getter in convert.PROPERTIES.items():
    setattr(Tensor, _name, property(_getter))
tape.install(make, set_grad, write)
