"""Tensors that a module owns: parameters, which are learned, and buffers, which are not."""

from __future__ import annotations

from typing import Any

from contraflow.base.changes import changes
from contraflow.base.errors import DTypeError, StateError, lesson
from contraflow.base.modes import capturing
from contraflow.tensor.create import empty
from contraflow.tensor.arrays import array_of
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.versions import version_of
from contraflow.tensor.views import fresh

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


def sharing(data: Any, cls: type[Any]) -> Any:
    """A new handle of class ``cls`` on the memory of ``data``, without its history."""
    if data is None:
        data = empty(0)
    if not isinstance(data, Tensor):
        raise DTypeError(
            lesson(f"nn.{cls.__name__} takes a tensor, not {type(data).__name__}",
                   fix=f"nn.{cls.__name__}(cf.tensor(data))")
        )  # fmt: skip
    fresh(data)
    t = make(data._value if capturing() else array_of(data), cls)
    t._version = version_of(data)  # a write through either handle is seen by backward of both
    return t


class Parameter(Tensor):
    """A tensor that a module learns: assigned to an attribute, it joins ``parameters()``.

    Shares the memory of ``data``.

    >>> import contraflow as cf
    >>> cf.nn.Parameter(cf.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)

    Raises:
        DTypeError: if ``data`` is not a tensor, or cannot carry a gradient.
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        t = sharing(data, cls)
        return t.requires_grad_() if requires_grad else t

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    __str__ = __repr__

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A parameter of its own, without a gradient."""
        copy = super().__deepcopy__(memo)  # type: ignore[misc]
        copy._grad = None
        return copy


class Buffer(Tensor):
    """A tensor that a module keeps but does not learn, such as a running mean.

    ``persistent=False`` leaves it out of ``state_dict``.

    >>> import contraflow as cf
    >>> m = cf.nn.Module()
    >>> m.count = cf.nn.Buffer(cf.zeros(1))
    >>> list(m.state_dict()), list(m.parameters())
    (['count'], [])
    """

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        t = sharing(data, cls)
        t.persistent = persistent
        return t

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        pass


class _Unmade:
    """What both kinds of tensors without a shape yet share."""

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Take a shape (and a dtype) at last; the values are zeros."""
        made = empty(tuple(shape), dtype=dtype or self.dtype, device=device)  # type: ignore[attr-defined]
        self._value = made._value
        self.__class__ = self._kind  # type: ignore[attr-defined]
        changes.tensors += 1

    @property
    def shape(self) -> Any:
        raise StateError(
            lesson("this layer is lazy: its sizes are not known before the first call",
                   fix="call the model on one batch first")
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Unmade, Parameter):
    """A parameter of a lazy layer, before the first call tells its shape.

    >>> import contraflow as cf
    >>> cf.nn.LazyLinear(2).weight
    <UninitializedParameter>
    """

    _kind = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        t = sharing(empty(0, dtype=dtype, device=device), cls)
        return t.requires_grad_() if requires_grad else t

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


class UninitializedBuffer(_Unmade, Buffer):
    """A buffer of a lazy layer, before the first call tells its shape.

    >>> import contraflow as cf
    >>> cf.nn.LazyBatchNorm1d().running_mean
    <UninitializedBuffer>
    """

    _kind = Buffer

    def __new__(cls, device: Any = None, dtype: Any = None, persistent: bool = True) -> Any:
        t = sharing(empty(0, dtype=dtype, device=device), cls)
        t.persistent = persistent
        return t

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


def is_lazy(t: Any) -> bool:
    """Whether a parameter or buffer still waits for its shape."""
    return isinstance(t, _Unmade)
