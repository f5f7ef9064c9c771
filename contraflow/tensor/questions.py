"""Asking about tensors and dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import as_dtype, default_dtype
from contraflow.base.errors import DTypeError, lesson
from contraflow.base.shapes import broadcast, read_shape
from contraflow.tensor.arrays import look
from contraflow.tensor.convert import root
from contraflow.tensor.tensor import Size, Tensor

__all__ = [
    "broadcast_shapes", "can_cast", "finfo", "iinfo", "is_complex", "is_floating_point",
    "is_nonzero", "is_same_size", "is_signed",
]  # fmt: skip


def is_floating_point(input: Any) -> bool:
    """Whether the dtype is a floating one.

    >>> import contraflow as cf
    >>> cf.is_floating_point(cf.ones(2))
    True
    """
    return bool(input.dtype.is_floating_point)


def is_complex(input: Any) -> bool:
    """False: there are no complex tensors here.

    >>> import contraflow as cf
    >>> cf.is_complex(cf.ones(2))
    False
    """
    return False


def is_signed(input: Any) -> bool:
    """Whether the dtype has negative numbers.

    >>> import contraflow as cf
    >>> cf.is_signed(cf.ones(2, dtype=cf.uint8))
    False
    """
    return bool(input.dtype.is_signed)


def is_nonzero(input: Any) -> bool:
    """Whether the single element is not 0.

    >>> import contraflow as cf
    >>> cf.is_nonzero(cf.tensor([0.0]))
    False
    """
    return bool(input)


def is_same_size(input: Any, other: Any) -> bool:
    """Whether two tensors have one shape.

    >>> import contraflow as cf
    >>> cf.is_same_size(cf.ones(2), cf.zeros(2))
    True
    """
    return tuple(input.shape) == tuple(other.shape)


def can_cast(from_: Any, to: Any) -> bool:
    """Whether PyTorch's promotion lets values of one dtype be written into another: floating to
    integer and number to bool do not go.

    >>> import contraflow as cf
    >>> cf.can_cast(cf.float32, cf.int64), cf.can_cast(cf.int64, cf.float16)
    (False, True)
    """
    return as_dtype(from_).category <= as_dtype(to).category


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that all of them stretch to.

    >>> import contraflow as cf
    >>> cf.broadcast_shapes((3, 1), (4,))
    contraflow.Size([3, 4])
    """
    return Size(
        broadcast(*(read_shape((s,) if isinstance(s, int) else (tuple(s),)) for s in shapes))
    )


class finfo:
    """The limits of a floating dtype: ``eps``, ``max``, ``min``, ``tiny``, ``resolution``...

    >>> import contraflow as cf
    >>> cf.finfo(cf.float32).eps
    1.1920928955078125e-07
    """

    def __init__(self, type: Any = None) -> None:
        dtype = default_dtype() if type is None else as_dtype(type)
        if not dtype.is_floating_point:
            raise DTypeError(
                lesson(f"finfo takes a floating dtype, not {dtype.name}", fix="cf.iinfo(dtype)")
            )
        numbers = np.finfo(dtype.np)
        self.bits, self.dtype = numbers.bits, dtype.name
        self.eps, self.max, self.min = (float(n) for n in (numbers.eps, numbers.max, numbers.min))
        self.tiny = self.smallest_normal = float(numbers.tiny)
        self.resolution = 10.0**-numbers.precision

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        numbers = ", ".join(f"{name}={getattr(self, name):g}" for name in names)
        return f"finfo({numbers}, dtype={self.dtype})"


class iinfo:
    """The numbers of an integer dtype: ``min``, ``max``, ``bits``.

    >>> import contraflow as cf
    >>> cf.iinfo(cf.int8).max
    127
    """

    def __init__(self, type: Any) -> None:
        dtype = as_dtype(type)
        if dtype.category != 1:
            raise DTypeError(
                lesson(f"iinfo takes an integer dtype, not {dtype.name}", fix="cf.finfo(dtype)")
            )
        numbers = np.iinfo(dtype.np)
        self.bits, self.dtype = numbers.bits, dtype.name
        self.min, self.max = int(numbers.min), int(numbers.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


def contains(self: Tensor, element: Any) -> bool:
    """``element in x``: whether any element equals it."""
    if not isinstance(element, bool | int | float | Tensor):
        raise DTypeError(
            lesson(
                f"`in` a tensor takes a number or a tensor, not {type(element).__name__}",
                fix="2.0 in x",
            )
        )
    return bool((self == element).any())


def data_ptr(self: Tensor) -> int:
    """The address of the first element in memory."""
    return int(look(self, "data_ptr()").__array_interface__["data"][0])


def storage_offset(self: Tensor) -> int:
    """How many elements lie before the first one in the memory that the view shows."""
    base = root(self)
    return 0 if base is None else (data_ptr(self) - data_ptr(base)) // self.dtype.itemsize


METHODS = {
    "is_complex": is_complex, "is_signed": is_signed, "is_nonzero": is_nonzero,
    "is_same_size": is_same_size, "data_ptr": data_ptr, "storage_offset": storage_offset,
    "__contains__": contains,
}  # fmt: skip
