"""Changing dtype, copying, filling, and asking a tensor about its memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import (
    DType,
    as_dtype,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)  # fmt: skip
from contraflow.base.errors import ArgumentError, GradError, ShapeError, lesson
from contraflow.base.shapes import read_dim, resolve_size
from contraflow.ops.cast import convert
from contraflow.ops.shape import reshape, transpose
from contraflow.ops.view import permute_dims
from contraflow.tensor.arrays import given_away, look
from contraflow.tensor.constructors import TYPES, TensorType
from contraflow.tensor.create import from_numpy, ones, read_device, tensor, zeros
from contraflow.tensor.create import full as make_full
from contraflow.tensor.pending import Pending
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.writing import write

__all__ = [
    "clone", "device", "from_dlpack", "get_default_device", "is_tensor", "numel",
    "set_default_device",
]  # fmt: skip


class device:
    """Where a tensor lives: the CPU, always.

    >>> import contraflow as cf
    >>> cf.device("cpu")
    device(type='cpu')
    """

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        read_device(type)
        self.type, self.index = "cpu", index

    def __enter__(self) -> device:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __repr__(self) -> str:
        return "device(type='cpu')"

    def __str__(self) -> str:
        return "cpu"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) or other == "cpu"

    def __hash__(self) -> int:
        return hash("cpu")


CPU = device()


def get_default_device() -> device:
    """The CPU.

    >>> import contraflow as cf
    >>> cf.get_default_device()
    device(type='cpu')
    """
    return CPU


def set_default_device(device: Any) -> None:
    """Accept the CPU.

    >>> import contraflow as cf
    >>> cf.set_default_device("cpu")

    Raises:
        ArgumentError: for any other device.
    """
    read_device(device)


def clone(input: Tensor, *, memory_format: Any = None) -> Any:
    """A copy with memory of its own; gradients pass."""
    return copy_of(input)


def copy_of(x: Tensor) -> Any:
    return convert(x, dtype=x.dtype)


def to(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Another dtype (``x.to(cf.float64)``, ``x.to(other)``); the device is always the CPU.

    Returns the tensor itself when nothing changes, unless ``copy=True``.
    """
    wanted = kwargs.pop("dtype", None)
    copy = kwargs.pop("copy", False)
    kwargs.pop("non_blocking", None)
    kwargs.pop("memory_format", None)
    read_device(kwargs.pop("device", None))
    if kwargs:
        raise ArgumentError(lesson(f"to() does not know {', '.join(kwargs)}", fix="x.to(dtype)"))
    for arg in args:
        if isinstance(arg, Tensor):
            wanted = arg.dtype
        elif isinstance(arg, device) or (isinstance(arg, str) and arg.startswith(("cpu", "cuda"))):
            read_device(arg)
        elif isinstance(arg, bool):
            continue  # non_blocking
        elif arg is not None:
            wanted = as_dtype(arg)
    target = self.dtype if wanted is None else as_dtype(wanted)
    if target is self.dtype and not copy:
        return self
    return convert(self, dtype=target)


def _caster(target: DType) -> Any:
    def cast(self: Tensor) -> Any:
        return self if self.dtype is target else convert(self, dtype=target)

    cast.__doc__ = f"The tensor as {target.name}; itself if it already is."
    return cast


def type_(self: Tensor, dtype: Any = None) -> Any:
    """The name of the tensor's type, or the tensor converted to ``dtype``.

    >>> import contraflow as cf
    >>> cf.ones(2).type(), cf.ones(2).type(cf.LongTensor)
    ('contraflow.FloatTensor', tensor([1, 1]))
    """
    if dtype is None:
        return repr(TYPES[self.dtype])
    return to(self, dtype.dtype if isinstance(dtype, TensorType) else as_dtype(dtype))


def size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or one size of it."""
    return self.shape if dim is None else self.shape[read_dim(dim, self.ndim)]


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.shape.numel()


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor."""
    return isinstance(value, Tensor)


def contiguous(self: Tensor, memory_format: Any = None) -> Any:
    """The tensor with its elements in memory one after the other; itself if they are.

    ``memory_format`` is ignored: the last dimension is always the fastest.
    """
    if is_contiguous(self):
        return self
    copy = copy_of(self)  # NumPy keeps the order of the axes in memory, where it computes at once
    if isinstance(copy._value, np.ndarray):
        copy._value = np.ascontiguousarray(copy._value)
    return copy


def is_contiguous(self: Tensor) -> bool:
    """Whether the elements lie in memory one after the other, last dimension fastest."""
    value = self._value
    if type(value) is Pending and self._parent is not None:  # a view of what will be there
        return contiguous_view(self)
    return bool(value.flags.c_contiguous) if isinstance(value, np.ndarray) else True


def contiguous_view(t: Tensor) -> bool:
    """Whether a view will show all its elements in order: as a view of anything that does."""
    op, attrs = t._view  # type: ignore[misc]
    parent: Any = t._parent
    if not is_contiguous(parent):
        return False
    shown = op.forward(np.broadcast_to(np.zeros((), bool), parent.shape).copy(), **attrs)
    return bool(shown.flags.c_contiguous)


def stride(self: Tensor, dim: int | None = None) -> Any:
    """Elements to skip for the next index of each dimension."""
    value = look(self, "stride()")
    steps = tuple(s // value.itemsize for s in value.strides)
    return steps if dim is None else steps[dim]


def view(self: Tensor, *shape: Any) -> Any:
    """The same memory in another shape (or, given a dtype, converted by ``to``).

    Raises:
        ShapeError: if the memory cannot be seen that way; ``reshape`` copies then.
    """
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    value = self._value
    if isinstance(value, np.ndarray) and not value.flags.c_contiguous:
        target = resolve_size(tuple(sizes), value.size, "view")
        try:
            np.reshape(value, target, copy=False)
        except ValueError:
            raise ShapeError(
                lesson(
                    f"view: the memory of this tensor cannot be seen as {list(target)}",
                    [("tensor", self)],
                    "x.reshape(...), which copies where it must",
                )
            ) from None
    return reshape(self, *shape)


def view_as(self: Tensor, other: Tensor) -> Any:
    """``view`` in the shape of another tensor."""
    return view(self, tuple(other.shape))


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Any:
    """Take the values of ``src``, which broadcasts, converted to this dtype."""
    if isinstance(src, Tensor) and src._value.dtype != self._value.dtype:
        src = convert(src, dtype=self.dtype)
    return write(self, src)


def share(self: Tensor) -> Any:
    return self


def cuda(self: Tensor, *_: Any, **__: Any) -> Any:
    """There is no GPU here; a lesson says so."""
    return read_device("cuda")


def export(self: Tensor, **kwargs: Any) -> Any:
    """The DLPack capsule of the value, for another library that shares its memory."""
    if self.requires_grad:
        rule = "DLPack of a tensor that requires a gradient would lose its history"
        raise DLPackError(lesson(rule, [("tensor", self)], "x.detach()"))
    return given_away(self, "DLPack").__dlpack__(**kwargs)


class DLPackError(GradError, BufferError):
    """What DLPack's protocol wants raised when a tensor cannot be handed out."""


def from_dlpack(source: Any) -> Any:
    """A tensor that shares memory with another library's (DLPack)."""
    return from_numpy(np.from_dlpack(source))


def new_full(self: Tensor, size: Any, fill_value: Any, **kwargs: Any) -> Any:
    """A filled tensor of this dtype."""
    return make_full(size, fill_value, dtype=kwargs.pop("dtype", None) or self.dtype, **kwargs)


def new_zeros(self: Tensor, *size: Any, **kwargs: Any) -> Any:
    """Zeros of this dtype."""
    return zeros(*size, dtype=kwargs.pop("dtype", None) or self.dtype, **kwargs)


def new_ones(self: Tensor, *size: Any, **kwargs: Any) -> Any:
    """Ones of this dtype."""
    return ones(*size, dtype=kwargs.pop("dtype", None) or self.dtype, **kwargs)


def new_tensor(self: Tensor, data: Any, **kwargs: Any) -> Any:
    """A tensor of data, of this dtype."""
    return tensor(data, dtype=kwargs.pop("dtype", None) or self.dtype, **kwargs)


def alias_with_history(self: Tensor) -> Any:
    """A view of the same value that gradients pass."""
    return permute_dims(self, dims=tuple(range(self.ndim)))


def transposed(self: Tensor) -> Any:
    """All dimensions reversed."""
    return permute_dims(self, dims=tuple(reversed(range(self.ndim))))


def adjoint_of(self: Tensor) -> Any:
    """The transpose of a matrix (there are no complex numbers here)."""
    if self.ndim not in (0, 2):
        raise ShapeError(lesson("H needs a matrix", [("tensor", self)], "x.mH for batches"))
    return transposed(self)


def matrix_transposed(self: Tensor) -> Any:
    """The last two dimensions exchanged."""
    if not self.ndim:
        return alias_with_history(self)
    if self.ndim < 2:
        raise ShapeError(lesson("mT needs at least 2 dimensions", [("tensor", self)]))
    return transpose(self, -2, -1)


METHODS = {
    "to": to, "type": type_, "clone": clone, "contiguous": contiguous, "size": size,
    "is_contiguous": is_contiguous, "stride": stride, "numel": numel, "nelement": numel,
    "dim": lambda self: self.ndim, "element_size": lambda self: self.dtype.itemsize,
    "ndimension": lambda self: self.ndim, "cpu": share, "cuda": cuda, "view": view,
    "view_as": view_as, "copy_": copy_,
    "new_full": new_full, "new_zeros": new_zeros, "new_ones": new_ones, "new_tensor": new_tensor,
    "new_empty": new_zeros, "share_memory_": share, "pin_memory": share, "get_device": lambda self: -1, "type_as": lambda self, other: to(self, other),
    "is_floating_point": lambda self: self.dtype.is_floating_point,
    "float": _caster(float32), "double": _caster(float64), "half": _caster(float16),
    "long": _caster(int64), "int": _caster(int32), "short": _caster(int16), "char": _caster(int8),
    "byte": _caster(uint8), "bool": _caster(bool_),
    "__dlpack__": export,
    "__dlpack_device__": lambda self: look(self, "DLPack").__dlpack_device__(),
}  # fmt: skip


def root(self: Tensor) -> Any:
    """The tensor whose memory this view shows; None for a tensor with memory of its own."""
    if self._parent is None:
        return None
    parent = self._parent
    return parent if parent._parent is None else root(parent)


GETTERS = {
    "T": transposed, "mT": matrix_transposed, "H": adjoint_of, "mH": matrix_transposed,
    "device": lambda self: CPU, "itemsize": lambda self: self.dtype.itemsize,
    "nbytes": lambda self: numel(self) * self.itemsize, "is_cuda": lambda self: False,
    "is_cpu": lambda self: True, "is_sparse": lambda self: False, "_base": root,
}  # fmt: skip
PROPERTIES = {name: property(getter) for name, getter in GETTERS.items()}
