"""Views: handles that show (part of) another tensor's memory.

A view shares the version of its parent. One that was taken before the parent's value was replaced
under capture, or its history changed, is brought up to date by ``fresh`` when it is used next.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.modes import current
from contraflow.ops.record import Op
from contraflow.ops.view import alias
from contraflow.tensor.versions import version_of

__all__ = ["fresh", "mark_view"]


def mark_view(t: Any, op: Op, attrs: dict[str, Any], parent: Any) -> None:
    """Remember that ``t`` shows (part of) the memory of ``parent``."""
    value, source = t._value, parent._value
    if type(value) is np.ndarray and type(source) is np.ndarray and op.name == "reshape":
        base = value.base  # NumPy may have had to copy, and then shows the copy
        if value is not source and base is not source and (base is None or base is not source.base):
            return
    t._parent = parent
    t._view = (op, attrs)
    t._version = version_of(parent)
    t._seen = t._version.n


def fresh(t: Any) -> None:
    """Bring a view whose memory was written through another handle up to date."""
    parent = t._parent
    if parent is None or t._seen == t._version.n:
        return
    for version, before in parent.__dict__.get("_earlier", ()):
        if t._seen < version:  # the parent has become another view since: show what it was
            parent = t._parent = before
            break
    t._seen = t._version.n
    op, attrs = t._view
    again = op(parent, **attrs)
    if type(again._value) is not np.ndarray:
        current().interpreter.rebind(t, again._value)  # type: ignore[union-attr]
    if op is not alias and (again._node is not None or t._node is not None):
        t._node, t._index = again._node, again._index
        t._requires_grad = again._requires_grad
