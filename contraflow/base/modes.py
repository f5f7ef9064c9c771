"""What is switched on in this thread: gradient recording, the interpreter, the module stack."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

__all__ = [
    "RIPE", "Interpreter", "Modes", "Policy", "at_once", "capturing", "current", "local", "policy",
    "symbols",
]  # fmt: skip


class Interpreter(Protocol):
    """What may stand behind the door instead of eager NumPy (see ``ops.record.bind``)."""

    deferred: bool  # values are computed when somebody looks; False: there will be none to look at

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

    def checked(self, tensor: Any) -> None:
        """The numbers of a tensor are looked at only to see whether they may be used."""

    def read_grad(self, tensor: Any) -> None:
        """``tensor.grad`` is being read."""

    def write_grad(self, tensor: Any) -> None:
        """``tensor.grad`` is about to be replaced."""

    def scalar(self, read: Callable[[], float], label: str) -> Any:
        """A Python number that may change between runs, such as a learning rate."""

    def given(self, holder: Any) -> None:
        """What an optimiser or a module holds besides the values of tensors (flags, numbers, lists
        of parameters) is taken for granted from now on: ``holder._facts()`` names it all, and as
        long as ``holder._glance()`` lists the same objects, nothing has changed."""

    def call(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]
    ) -> Any:
        """``run(*args, **kwargs)`` calls a module. If it does nothing but compute,
        ``module._pure_code()`` says what its code depends on: (namespace, name, value) for each
        name; otherwise it is None."""

    def settle(self) -> None:
        """Compute everything that was put off."""

    def backward(self, root: Any, retain: bool, run: Callable[[], None]) -> None:
        """``run`` walks the tape from ``root`` and leaves gradients at the leaves."""

    def update(self, optimizer: Any, run: Callable[[], None]) -> None:
        """``run`` updates an optimiser's parameters (see ``Optimizer.depends``)."""

    def stepped(self, optimizer: Any) -> None:
        """An optimiser has made its step."""


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


RIPE = 16  # so many steps of an optimiser make a loop that trains


class Policy:
    """When ops are put off: ``eager`` never, ``lazy`` always, ``auto`` in loops that train.

    Attributes:
        start: puts the lazy interpreter behind the door of this thread, given the optimiser that
            has made enough steps; None until the package that can do it is there.
    """

    def __init__(self) -> None:
        self.mode = "auto"
        self.start: Callable[[Any], None] | None = None


policy = Policy()

# Held while tensors that others may use as well hold symbols, because a step is being captured:
# another thread that meets one waits here until they have their arrays back.
symbols = threading.RLock()


def capturing() -> bool:
    """Whether a step is being captured, so that there are no values to look at."""
    interpreter = local.modes.interpreter
    return interpreter is not None and not interpreter.deferred


@contextmanager
def at_once() -> Iterator[None]:
    """Compute what was put off; inside, every op is computed when it is called."""
    modes = local.modes
    before = modes.interpreter
    if before is not None:
        before.settle()
    modes.interpreter = None
    try:
        yield
    finally:
        modes.interpreter = before
