"""Making a layer without drawing its initial weights."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import DTypeError, lesson
from contraflow.nn.init import skipping
from contraflow.nn.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """Make a module whose parameters hold whatever was in memory, to be loaded or filled next.

    >>> import contraflow as cf
    >>> layer = cf.nn.utils.skip_init(cf.nn.Linear, 3, 2)
    >>> layer.weight.shape
    contraflow.Size([2, 3])

    Raises:
        DTypeError: if it is not the class of a module.
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise DTypeError(
            lesson(f"skip_init takes the class of a module, not {module_cls!r:.60}",
                   fix="nn.utils.skip_init(nn.Linear, 3, 2)")
        )  # fmt: skip
    before = skipping.set(True)
    try:
        return module_cls(*args, **kwargs)
    finally:
        skipping.reset(before)
