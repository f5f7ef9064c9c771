"""What is switched on in this thread: gradient recording, the interpreter, the module stack."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

__all__ = ["Interpreter", "Modes", "current", "local"]


class Interpreter(Protocol):
    """What may stand behind the door instead of eager NumPy (see ``ops.record.bind``)."""

    def bind(self, op: Any, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Perform one operation."""

    def write(self, tensor: Any, new: Any) -> None:
        """Give a tensor a new value in place."""

    def rebind(self, tensor: Any, value: Any) -> None:
        """Refresh the value of a view whose base was written."""

    def constant(self, array: Any) -> Any:
        """The value of a tensor made from data inside the interpreted function."""

    def look(self, tensor: Any, what: str) -> Any:
        """A value is read (``item``, ``bool``, ``numpy``): give the array, or explain."""

    def read_grad(self, tensor: Any) -> None:
        """``tensor.grad`` is being read."""

    def write_grad(self, tensor: Any) -> None:
        """``tensor.grad`` is about to be replaced."""

    def scalar(self, read: Callable[[], float], label: str) -> Any:
        """A Python number that may change between runs, such as a learning rate."""


class Modes:
    """The switches of one thread. ``quiet`` runs a NumPy function without its warnings."""

    __slots__ = ("grad", "inference", "interpreter", "modules", "quiet")

    def __init__(self) -> None:
        self.grad = True
        self.inference = False
        self.interpreter: Interpreter | None = None
        self.modules: list[Any] = []
        # Entering np.errstate costs 0.9 us an op; a context made once costs nothing.
        context = contextvars.copy_context()
        context.run(np.seterr, all="ignore")
        self.quiet: Callable[..., Any] = context.run


class _Local(threading.local):
    def __init__(self) -> None:
        self.modes = Modes()


# hot paths read `local.modes` themselves
local = _Local()


def current() -> Modes:
    """The switches of the running thread."""
    return local.modes
