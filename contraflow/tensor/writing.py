"""Writing in place: a handle gets a new value, and the tape a new end.

Everything spelled in place comes here: ``add_``, ``+=``, ``copy_``, ``x[i] = v``. Where the memory
is written depends on who looks: the array at once, the base of a view when its history counts, or
the graph that is being captured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from contraflow.base.changes import changes
from contraflow.base.errors import ArgumentError, DTypeError, GradError, ShapeError, lesson
from contraflow.base.modes import current
from contraflow.base.shapes import broadcast
from contraflow.base.source import user_place
from contraflow.ops.cast import convert
from contraflow.ops.view import alias, expand, overwrite, view_put
from contraflow.tensor.arrays import Array, array_of, as_value
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.versions import version_of
from contraflow.tensor.views import fresh

__all__ = ["in_place", "store", "write"]


def write(t: Tensor, new: Any) -> Tensor:
    """Give ``t`` a new value in place; ``new`` broadcasts to its shape and takes its dtype.

    Raises:
        GradError: if ``t`` is a leaf that requires a gradient (or a view of one) and recording is
            on: its history could not be kept.
    """
    if not isinstance(new, Tensor):
        new = make(as_value(new))
    if new._value.dtype != t._value.dtype or new._value.shape != t._value.shape:
        new = adapted(new, t)
    fresh(t)
    modes = current()
    tracked = modes.grad and (t._requires_grad or new._requires_grad)
    if tracked and t._requires_grad and t._node is None:
        raise GradError(
            lesson(
                "a leaf that requires a gradient cannot be changed in place",
                [("tensor", t)],
                "with cf.no_grad(): ...",
            )
        )
    if tracked and new._node is None:
        # A step of the graph also where the new value has no history, or is a leaf itself.
        new = overwrite(t, new)
    detached = t._parent is not None and t._view[0] is alias  # type: ignore[index]
    if t._parent is not None and (modes.interpreter is not None or (tracked and not detached)):
        write_through(t, new, tracked and not detached)
        if not detached:
            return t
    else:
        if modes.interpreter is not None:
            modes.interpreter.write(t, new)
        else:
            store(t, new._value)
        version = version_of(t)
        version.touch(user_place())
        t._seen = version.n
    if tracked:
        t._node, t._index, t._requires_grad = new._node, new._index, new._requires_grad
        changes.tensors += 1
    return t


def write_through(view: Tensor, new: Tensor, tracked: bool) -> None:
    """Write to the tensor that a view shows a part of; the view sees it when it is used next."""
    parent: Any = view._parent
    op, attrs = view._view  # type: ignore[misc]
    modes = current()
    before, modes.grad = modes.grad, tracked  # what was detached is written unrecorded
    try:
        write(parent, view_put(parent, new, view=op.name, attrs=freeze(attrs)))
    finally:
        modes.grad = before


def freeze(attrs: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Attributes as a hashable tuple."""
    return tuple(sorted(attrs.items()))


def store(t: Tensor, value: Array) -> None:
    """Copy an array into the tensor's own memory."""
    try:
        np.copyto(array_of(t), value)
    except ValueError:
        raise ArgumentError(
            lesson(
                "this tensor's memory cannot be written: it is expanded, or a read-only array",
                [("tensor", t)],
                "x = x.clone(), then write to it",
            )
        ) from None


def adapted(new: Tensor, t: Tensor) -> Tensor:
    """The new value in the dtype and the shape of the tensor that it is written to."""
    if new._value.dtype != t._value.dtype:
        check_cast(new, t)
        new = convert(new, dtype=t.dtype)
    if new._value.shape != t._value.shape:
        check_fits(new, t)
        new = expand(new, shape=tuple(t._value.shape))
    return new


def check_cast(new: Tensor, t: Tensor) -> None:
    """Floats are not cut to integers, nor numbers to bools, in passing."""
    if new.dtype.category > t.dtype.category:
        raise DTypeError(
            lesson(
                f"a {new.dtype.name} result cannot be stored into a {t.dtype.name} tensor",
                [("tensor", t), ("result", new)],
                "x = x.float(), or use the form that is not in place",
            )
        )


def check_fits(new: Tensor, t: Tensor) -> None:
    """The new value must broadcast to the tensor, which keeps its shape."""
    fits = len(new._value.shape) <= t.ndim or new._value.size == 1
    if fits:
        try:
            fits = broadcast(tuple(new._value.shape), tuple(t._value.shape)) == t._value.shape
        except ShapeError:
            fits = False
    if not fits:
        raise ShapeError(
            lesson(
                "the new value does not fit into the tensor that it is written to",
                [("tensor", t), ("value", new)],
                "give it the tensor's shape (or sizes 1 to repeat)",
            )
        )


# ---- the in-place form of a function -----------------------------------------------------------


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


def snapshot(t: Tensor) -> Tensor:
    """Another handle with the value and the history that ``t`` has now, whatever is written."""
    fresh(t)
    value = t._value
    twin = make(value.copy() if type(value) is np.ndarray else value)
    twin._node, twin._index, twin._requires_grad = t._node, t._index, t._requires_grad
    return twin  # type: ignore[no-any-return]
