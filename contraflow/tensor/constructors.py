"""PyTorch's older constructors: ``Tensor(2, 3)``, ``Tensor([1.0])``, ``LongTensor([1, 2])``."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import (
    DType,
    bool_,
    default_dtype,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)  # fmt: skip
from contraflow.base.errors import DTypeError, lesson
from contraflow.tensor.create import as_tensor, empty, read_device, tensor
from contraflow.tensor.tensor import Size, Tensor, make

__all__ = [
    "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor",
    "IntTensor", "LongTensor", "ShortTensor", "typename",
]  # fmt: skip


def made(data: tuple[Any, ...], dtype: DType) -> Any:
    """A tensor of sizes (integers, a ``Size``) or of data (a list, an array, a tensor)."""
    if len(data) == 1 and not isinstance(data[0], int | Size):
        (given,) = data
        if isinstance(given, Tensor):
            return as_tensor(given.detach(), dtype)
        if isinstance(given, list | tuple | range | np.ndarray):
            return tensor(given, dtype=dtype)
        rule = f"this constructor takes sizes or a list of numbers, not {type(given).__name__}"
        raise DTypeError(lesson(rule, [("received", repr(given)[:60])], f"cf.tensor({given!r})"))
    return empty(*data, dtype=dtype) if data else empty(0, dtype=dtype)


def construct(cls: type[Tensor], *data: Any, device: Any = None) -> Any:
    """``Tensor.__new__``: sizes or data, in the default dtype.

    >>> import contraflow as cf
    >>> cf.Tensor(2, 3).shape, cf.Tensor([1, 2])
    (contraflow.Size([2, 3]), tensor([1., 2.]))
    """
    read_device(device)
    t = made(data, default_dtype())
    return t if cls is Tensor else make(t._value, cls)


class TensorType:
    """What ``cf.LongTensor`` is: it makes tensors of one dtype, and ``isinstance`` knows them.

    >>> import contraflow as cf
    >>> cf.LongTensor([1, 2])
    tensor([1, 2])
    >>> isinstance(cf.ones(2), cf.FloatTensor)
    True
    """

    __slots__ = ("__name__", "dtype")

    def __init__(self, name: str, dtype: DType) -> None:
        self.__name__ = name
        self.dtype = dtype

    def __call__(self, *data: Any, device: Any = None) -> Any:
        read_device(device)
        return made(data, self.dtype)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.dtype is self.dtype

    def __repr__(self) -> str:
        return f"contraflow.{self.__name__}"


class VariableType:
    """What ``cf.autograd.Variable`` is: programs from before PyTorch 0.4 wrap every tensor in it.

    >>> import contraflow as cf
    >>> cf.autograd.Variable(cf.ones(2), requires_grad=True)
    tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __call__(self, data: Any, requires_grad: bool = False) -> Any:
        return data.detach().requires_grad_(requires_grad)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Tensor)

    def __repr__(self) -> str:
        return "contraflow.autograd.Variable"


Variable = VariableType()
BoolTensor = TensorType("BoolTensor", bool_)
ByteTensor = TensorType("ByteTensor", uint8)
CharTensor = TensorType("CharTensor", int8)
ShortTensor = TensorType("ShortTensor", int16)
IntTensor = TensorType("IntTensor", int32)
LongTensor = TensorType("LongTensor", int64)
HalfTensor = TensorType("HalfTensor", float16)
FloatTensor = TensorType("FloatTensor", float32)
DoubleTensor = TensorType("DoubleTensor", float64)
TYPES = {
    t.dtype: t
    for t in (
        BoolTensor, ByteTensor, CharTensor, ShortTensor, IntTensor, LongTensor, HalfTensor,
        FloatTensor, DoubleTensor,
    )
}  # fmt: skip


def typename(obj: Any) -> str:
    """The name of a tensor's type, or of the type of anything else.

    >>> import contraflow as cf
    >>> cf.typename(cf.ones(2))
    'contraflow.FloatTensor'
    """
    if isinstance(obj, Tensor):
        return repr(TYPES[obj.dtype])
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(kind, "__module__", "builtins")
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


METHODS = {"__new__": construct}
