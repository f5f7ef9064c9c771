"""Named results: ``values, indices = x.max(1)`` and ``x.max(1).values`` both work."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

__all__ = ["named"]


def _show(self: Any) -> str:
    """PyTorch's layout: the name, then a field on each line."""
    fields = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
    return f"contraflow.return_types.{type(self).__name__}(\n{fields})"


def named(name: str, fields: str = "values indices") -> Any:
    """The class of an op's results: a tuple with names.

    >>> named("max")(1.5, 0)
    contraflow.return_types.max(
    values=1.5,
    indices=0)
    """
    cls = namedtuple(name, fields)  # type: ignore[misc]  # the name is data here
    cls.__repr__ = _show  # type: ignore[method-assign]
    return cls
