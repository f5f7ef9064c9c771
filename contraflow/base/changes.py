"""Counters that move whenever something is set that a compiled step takes for granted.

A compiled step would have to look at every tensor and module that it uses before each call. It
compares two integers instead, and looks only when they have moved. Whoever sets such a thing
counts *after* it, so that nobody who sees the new count can miss it.
"""

from __future__ import annotations

__all__ = ["Changes", "changes"]


class Changes:
    """How often something was set.

    Attributes:
        tensors: a tensor's memory was replaced, its ``requires_grad``, hooks or ``.grad`` set, or
            its ``.grad`` handed out (who holds it may keep it).
        modules: an attribute, a parameter, a submodule or a hook of a module was set, or a hook
            of an optimiser.
    """

    __slots__ = ("modules", "tensors")

    def __init__(self) -> None:
        self.tensors = self.modules = 0


changes = Changes()
