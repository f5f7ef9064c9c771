"""When ops are put off: the switch that users have, and how a loop that trains begins it."""

from __future__ import annotations

import threading
from typing import Any

from contraflow.base.errors import ArgumentError, lesson
from contraflow.base.modes import RIPE, capturing, local, policy
from contraflow.compiler.explain import report
from contraflow.compiler.lazy import Lazy
from contraflow.compiler.llvm import available, binding

__all__ = ["explain", "get_default_mode", "set_default_mode", "start"]

MODES = ("auto", "eager", "lazy")


class _Own(threading.local):
    """The lazy interpreters of a thread, by the number of steps that they wait for."""

    def __init__(self) -> None:
        self.known: dict[int, Lazy] = {}

    def get(self, ripe: int) -> Lazy:
        return self.known.setdefault(ripe, Lazy(ripe))


_own = _Own()


def start(optimizer: Any) -> None:
    """Put the lazy interpreter behind the door of this thread: the optimiser's steps make a loop
    that trains."""
    modes = local.modes
    if modes.interpreter is None and policy.mode != "eager" and binding is not None:
        lazy = _own.get(RIPE if policy.mode == "auto" else 0)
        lazy.habit(optimizer)
        lazy.idle = 0
        modes.interpreter = lazy


def set_default_mode(mode: str) -> None:
    """How programs run that are not compiled by ``cf.compile``.

    ``"auto"`` (the default): ops run at once, as in PyTorch; but from the 17th step of an
    optimiser on, a loop's ops are put off until ``optimizer.step()`` or until a value is looked
    at, and run as one native call. ``"eager"``: ops always run at once. ``"lazy"``: ops are
    always put off. The numbers agree to rounding; what can be seen is the same.

    Raises:
        ArgumentError: for another name, or while a step is being captured.

    >>> import contraflow as cf
    >>> cf.set_default_mode("eager")
    >>> cf.get_default_mode()
    'eager'
    >>> cf.set_default_mode("auto")
    """
    if mode not in MODES:
        raise ArgumentError(
            lesson(
                f"there is no mode {mode!r}",
                [("modes", ", ".join(MODES))],
                'cf.set_default_mode("auto")',
            )
        )
    if capturing():
        raise ArgumentError(
            lesson(
                "a step is being captured: the mode cannot change inside of it",
                fix="call set_default_mode outside of the compiled function",
            )
        )
    modes = local.modes
    if modes.interpreter is not None:
        modes.interpreter.settle()
    policy.mode = mode
    modes.interpreter = _own.get(0) if mode == "lazy" and available() else None


def explain(*, times: bool = True) -> str:
    """What became of the loops of this thread: each native piece with its kernels, and how often
    what was put off ran as native code and how often op by op.

    Args:
        times: measure each kernel, on copies; it takes about a second for each piece.

    >>> import contraflow as cf
    >>> w = cf.ones(2, requires_grad=True)
    >>> optimizer = cf.optim.SGD([w], lr=0.1)
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> "native" in cf.explain(times=False).splitlines()[0]
    True
    """
    parts = []
    for lazy in _own.known.values():
        if lazy.native or lazy.computed:
            parts.append(f"{lazy.native} times native, {lazy.computed} times op by op")
            parts += [report(piece.native, times) for piece in lazy.pieces() if piece.native]
    if not parts:
        return (
            f"no loop was put off yet (mode {policy.mode}): it takes {RIPE} steps of an optimizer"
        )
    return "\n\n".join(parts)


def get_default_mode() -> str:
    """The mode that ``set_default_mode`` has set.

    >>> import contraflow as cf
    >>> cf.get_default_mode()
    'auto'
    """
    return policy.mode
