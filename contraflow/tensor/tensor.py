"""The Tensor: a mutable handle on an immutable value.

The value is a NumPy array, a value that is still pending, or a symbol of the graph being captured;
everything above sees the same handle. Writing in place gives the handle a new value (see
``tensor.writing``). Views share memory, as in PyTorch: a write to one is seen by all, and a version
that they share tells backward that a value it kept was overwritten.

Here stands what a tensor is, how it takes part in gradients, and how its value is looked at. What
spells an op or a function of another module is attached by ``tensor.methods``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from weakref import ref

import numpy as np

from contraflow.base.changes import changes
from contraflow.base.dtypes import DType, from_numpy_dtype
from contraflow.base.errors import ArgumentError, DTypeError, GradError, ShapeError, lesson
from contraflow.base.modes import current
from contraflow.ops.record import Aval, Op
from contraflow.tensor.arrays import Array, given_away, look
from contraflow.tensor.declared import Declared
from contraflow.tensor.node import Node
from contraflow.tensor.pending import Pending
from contraflow.tensor.versions import Version
from contraflow.tensor.views import fresh

__all__ = ["Size", "Tensor", "forget_grads", "make", "set_grad"]

T = TypeVar("T", bound="Tensor")
_new = object.__new__


class Tensor(Declared):
    """An n-dimensional array that remembers how it was computed.

    Made by ``cf.tensor``, ``cf.zeros``, ``cf.randn``, ...

    >>> import contraflow as cf
    >>> w = cf.tensor([2.0, -1.0], requires_grad=True)
    >>> loss = (w * w).sum()
    >>> loss.backward()
    >>> w.grad
    tensor([ 4., -2.])
    """

    __slots__ = (
        "__dict__", "__weakref__", "_grad", "_hooks", "_index", "_node", "_parent",
        "_requires_grad", "_seen", "_value", "_version", "_view",
    )  # fmt: skip
    __array_priority__ = 1000
    __array_ufunc__ = None  # NumPy arrays leave `array * tensor` to us
    __hash__ = object.__hash__

    _value: Any
    _requires_grad: bool
    _grad: Tensor | None
    _node: Node | None
    _index: int
    _parent: Tensor | None
    _view: tuple[Op, dict[str, Any]] | None
    _seen: int
    _version: Version | None
    _hooks: dict[int, Callable[[Any], Any]] | None
    retains_grad: bool = False

    # ---- what it is ------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The sizes of its dimensions."""
        return Size(self._value.shape)

    @property
    def dtype(self) -> DType:
        """The type of its elements."""
        return from_numpy_dtype(self._value.dtype)

    @property
    def ndim(self) -> int:
        """The number of its dimensions."""
        return len(self._value.shape)

    @property
    def aval(self) -> Aval:
        """Shape and dtype."""
        return Aval(tuple(self._value.shape), self.dtype)

    def __len__(self) -> int:
        if not self._value.shape:
            raise DTypeError(lesson("len() of a 0-d tensor", fix="x.numel()"))
        return int(self._value.shape[0])

    # ---- autograd --------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether backward reaches this tensor."""
        fresh(self)
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self: T, requires_grad: bool = True) -> T:
        """Switch gradient recording for this leaf on or off, in place.

        Raises:
            GradError: for a tensor that was computed (use ``detach``), or an integer dtype.
        """
        if self._node is not None:
            if requires_grad:
                return self
            raise GradError(
                lesson(
                    "only leaves can stop requiring a gradient; this tensor was computed",
                    [("tensor", self)],
                    "x.detach()",
                )
            )
        if requires_grad and self._value.dtype.kind != "f":
            raise GradError(
                lesson(
                    "only floating-point tensors can require a gradient",
                    [("tensor", self)],
                    "x.float().requires_grad_()",
                )
            )
        self._requires_grad = bool(requires_grad)
        changes.tensors += 1
        return self

    @property
    def is_leaf(self) -> bool:
        """True for tensors that no recorded op computed."""
        fresh(self)
        return self._node is None

    @property
    def grad_fn(self) -> Node | None:
        """The tape's record of the op that computed this tensor."""
        fresh(self)
        return None if self._node is None else self._node.opened()

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward`` accumulated here, or None."""
        interpreter = current().interpreter
        if interpreter is not None:
            interpreter.read_grad(self)
        if self._grad is not None:
            changes.tensors += 1  # it is in somebody's hands now
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise DTypeError(
                    lesson(f"grad must be a tensor or None, not {type(value).__name__}")
                )
            if value._value.shape != self._value.shape or value._value.dtype != self._value.dtype:
                raise ShapeError(
                    lesson(
                        "grad must have the tensor's shape and dtype",
                        [("tensor", self.aval), ("grad", value.aval)],
                    )
                )
        set_grad(self, value)

    # ---- looking at the value --------------------------------------------------------------

    def numpy(self) -> Array:
        """The NumPy array that holds the value (shared memory).

        Raises:
            GradError: if the tensor requires a gradient; use ``x.detach().numpy()``.
        """
        if self.requires_grad:
            raise GradError(
                lesson(
                    "numpy() of a tensor that requires a gradient would lose its history",
                    [("tensor", self)],
                    "x.detach().numpy()",
                )
            )
        return given_away(self, "numpy()")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ArgumentError(
                    lesson(
                        f"a {self.dtype.name} tensor is no {np.dtype(dtype)} array without a copy",
                        [("tensor", self)],
                        "numpy.asarray(x, dtype)",
                    )
                )
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> bool | int | float:
        """The single element as a Python number."""
        array = look(self, "item()")
        if array.size != 1:
            raise ShapeError(
                lesson(
                    f"item() needs one element, the tensor has {array.size}",
                    [("tensor", self)],
                    "x.tolist(), or x.mean().item()",
                )
            )
        return array.item()  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """The values as (nested lists of) Python numbers."""
        return look(self, "tolist()").tolist()

    def __bool__(self) -> bool:
        array = look(self, "bool() (an `if`, `while`, `and`, `assert`...)")
        if array.size != 1:
            raise ArgumentError(
                lesson(
                    f"the truth of a tensor with {array.size} elements is ambiguous",
                    [("tensor", self)],
                    "x.any() or x.all()",
                )
            )
        return bool(array.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        value = self.item()
        if not isinstance(value, int):
            raise DTypeError(lesson("only an integer tensor can be an index", fix="int(x)"))
        return value


class Size(tuple[int, ...]):
    """A shape: a tuple that also knows ``numel``."""

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        count = 1
        for size in self:
            count *= size
        return count

    def __repr__(self) -> str:
        return f"contraflow.Size({list(self)})"


def make(value: Any, cls: type[Any] = Tensor) -> Any:
    """A new handle on a value, with no history."""
    t = _new(cls)
    t._value = value
    if type(value) is Pending:
        value.owner.holders.append(ref(t))
    t._requires_grad = False
    t._grad = t._node = t._parent = t._version = t._hooks = None
    t._index = 0
    return t


def set_grad(t: Tensor, value: Tensor | None) -> None:
    """Replace ``t.grad``."""
    interpreter = current().interpreter
    if interpreter is not None:
        interpreter.write_grad(t)
    t._grad = value
    changes.tensors += 1


def forget_grads(tensors: Iterable[Tensor]) -> None:
    """``grad = None`` for all of them."""
    interpreter = current().interpreter
    for t in tensors:
        if interpreter is not None:
            interpreter.write_grad(t)
        t._grad = None
    changes.tensors += 1
