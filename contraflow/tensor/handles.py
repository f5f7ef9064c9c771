"""Handles: another one on the same memory, and other memory behind the same one.

Forgetting a history (``detach``, ``data``), copying, and the views in place (``t_``, ``squeeze_``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np

from contraflow.base.changes import changes
from contraflow.base.errors import CaptureError, DTypeError, GradError, lesson
from contraflow.base.modes import at_once, capturing, current
from contraflow.base.source import user_place
from contraflow.ops import shape
from contraflow.ops.view import alias
from contraflow.tensor.arrays import array_of, look
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.versions import version_of
from contraflow.tensor.views import fresh
from contraflow.tensor.writing import write

__all__: list[str] = []


# ---- without the history -------------------------------------------------------------------------


def detach(self: Tensor) -> Any:
    """A view of the same value that backward does not pass."""
    return alias(self)


def detach_(self: Tensor) -> Tensor:
    """Forget the history, in place."""
    self._node, self._requires_grad = None, False
    changes.tensors += 1
    return self


def get_data(self: Tensor) -> Any:
    """The value without its history; writes to it are seen by this tensor."""
    return alias(self)


def set_data(self: Tensor, new: Any) -> None:
    """Put the memory of ``new`` behind this handle."""
    if not isinstance(new, Tensor):
        raise DTypeError(lesson(f".data takes a tensor, not {type(new).__name__}"))
    if capturing():
        write(detach(self), detach(new))
        return
    with at_once():
        self._value = array_of(new)
        version_of(self).touch(user_place())
    owner = new
    while owner._parent is not None:
        owner = owner._parent
    version_of(self).share(ref(owner))
    version_of(new).share(ref(self))
    changes.tensors += 1
    changes.memory += 1


# ---- copies --------------------------------------------------------------------------------------


def deepcopy(self: Tensor, memo: dict[int, Any]) -> Any:
    """A leaf on memory of its own, with a copy of ``.grad``.

    Raises:
        GradError: for a tensor that was computed.
    """
    if self._node is not None:
        raise GradError(
            lesson(
                "only leaves can be deep-copied; this tensor was computed",
                [("tensor", self)],
                "x.detach().clone()",
            )
        )
    copy = make(np.array(look(self, "copy.deepcopy")), type(self))
    copy._requires_grad = self._requires_grad
    if self._grad is not None:
        copy._grad = deepcopy(self._grad, memo)
    copy.__dict__.update(self.__dict__)
    copy.__dict__.pop("_earlier", None)
    memo[id(self)] = copy
    return copy


def shallow_copy(self: Tensor) -> Any:
    """Another handle on the same memory, a leaf."""
    copy = make(look(self, "copy.copy"), type(self))
    copy._requires_grad, copy._version = self.requires_grad, version_of(self)
    copy.__dict__.update(self.__dict__)
    return copy


def refuse_pickle(self: Tensor, protocol: Any) -> Any:
    """Tensors are saved without code."""
    raise DTypeError(
        lesson(
            "tensors are not pickled: a pickle can run code when it is opened",
            fix="cf.save({'x': x}, 'x.safetensors'); cf.load('x.safetensors')",
        )
    )


# ---- views in place ------------------------------------------------------------------------------


def reshaping(function: Callable[..., Any]) -> Callable[..., Any]:
    """``f_`` of a view function: the handle itself becomes the view; the memory stays."""
    name = function.__name__

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        check_handle(self, name)
        with at_once():
            before = moved(self)
            become(self, function(before, *args, **kwargs), before)
        return self

    method.__name__ = f"{name}_"
    method.__doc__ = f"The in-place form: the tensor itself becomes {name}(...), same memory."
    return method


def check_handle(self: Tensor, name: str) -> None:
    """A leaf that is being trained keeps its shape, and so does what a graph was captured with."""
    if capturing():
        raise CaptureError(
            lesson(f"{name}_ cannot be captured", [("tensor", self.aval)], f"x = x.{name}(...)")
        )
    base = self
    while base._parent is not None and base._view[0] is not alias:  # type: ignore[index]
        base = base._parent
    if current().grad and self.requires_grad and base.requires_grad and base._node is None:
        raise GradError(
            lesson(
                "a leaf that requires a gradient cannot be changed in place",
                [("tensor", self)],
                f"y = x.{name}(...)",
            )
        )


def moved(self: Tensor) -> Any:
    """Another handle with everything that this one is."""
    fresh(self)
    twin = make(array_of(self), type(self))
    for field in ("_node", "_index", "_requires_grad", "_parent"):
        setattr(twin, field, getattr(self, field))
    twin._version = version_of(self)
    if self._parent is not None:
        twin._view, twin._seen = self._view, self._seen
    return twin


def become(self: Tensor, new: Any, before: Any) -> None:
    """Take over the value and history of ``new``, a view of what the handle was before.

    Views that were taken of the handle have seen an older version: ``fresh`` finds for them what
    their parent was then.
    """
    version = version_of(self)
    version.touch()
    self.__dict__.setdefault("_earlier", []).append((version.n, before))
    before._seen = version.n
    for field in ("_value", "_node", "_index", "_requires_grad"):
        setattr(self, field, getattr(new, field))
    changes.tensors += 1
    if new is before:  # nothing changed, as in squeeze_ of a tensor without sizes of 1
        return
    self._parent, self._view = new._parent, new._view
    self._version, self._seen = version, version.n


METHODS = {
    "detach": detach, "detach_": detach_, "__deepcopy__": deepcopy, "__copy__": shallow_copy,
    "__reduce_ex__": refuse_pickle,
    **{
        f"{name}_": reshaping(getattr(shape, name))
        for name in ("squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze")
    },
}  # fmt: skip
PROPERTIES = {"data": property(get_data, set_data, doc=get_data.__doc__)}
