"""A call that differs from the one before in nothing but numbers: what must be compared, no more.

A step of a small network takes a microsecond, and Python as long for every few lines. All that a
call of ``Compiled`` asks for is written out here once more, for the case that answers have not
changed since the last one: counters instead of tensors and modules, forms instead of a key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from contraflow.base.changes import changes
from contraflow.base.dtypes import default_dtype
from contraflow.base.modes import Modes
from contraflow.compiler.cost import seconds
from contraflow.compiler.entry import entry
from contraflow.compiler.loops import Opaque
from contraflow.compiler.native import Native
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.views import fresh

if TYPE_CHECKING:
    from contraflow.compiler.version import Version

__all__ = ["MISSED", "Again", "steady"]

MISSED: Any = object()  # this call is not such a one
SHORT = 20e-6  # seconds of native code for which other Python threads can wait
Again = Callable[[tuple[Any, ...], Modes], Any]


def whole(native: Native | None) -> bool:
    """Whether a program is one piece of native code."""
    return native is not None and len(native.parts) == 1 and not isinstance(native.parts[0], Opaque)


def can_enter(version: Version, args: tuple[Any, ...]) -> bool:
    """Whether calls with such arguments need nothing but what ``steady`` does."""
    return (
        version.steady
        and all(isinstance(a, Tensor) for a in args)
        and len(args) == len(version.arguments)
        and True not in version.writes_argument
        and whole(version.native)
        and (version.watcher is None or whole(version.watcher))
    )


def enter_of(version: Version, args: tuple[Any, ...]) -> Callable[..., bool] | None:
    """The native code of a version as a function of its arguments' arrays, if one thread is to run
    it; if it may be several, what comes before it."""
    native, watcher = version.native, version.watcher
    guard = None if watcher is None else (watcher.library["step"], watcher.address)
    step = (native.library["step"], native.address) if native.pace is None else None
    slots = [
        (k, reader.address + 8 * reader.slots[buffer])
        for k, readers in enumerate(version.readers)
        for reader, buffer in readers
    ]
    short = sum(map(seconds, native.program.kernels)) < SHORT
    return entry(step, guard, version.alarm, [t._value for t in args], slots, short)


def steady(version: Version, args: tuple[Any, ...], modes: Modes) -> Again | None:
    """A function that serves calls like this one, and gives ``MISSED`` for others; None where there
    can be none."""
    enter = enter_of(version, args) if can_enter(version, args) else None
    if enter is None:
        return None
    grad, inference, dtype, count = modes.grad, modes.inference, default_dtype(), len(args)
    tracked = [t._requires_grad for t in args]
    guards, lock, large, show = version.guards, version.lock, version.large, version.show
    writer = version.writer
    several = version.native if version.native.pace is not None else None

    def again(args: tuple[Any, ...], modes: Modes) -> Any:
        if (
            changes.tensors != version.seen
            or changes.modules != guards.modules
            or modes.grad is not grad
            or modes.inference is not inference
            or default_dtype() is not dtype
            or len(args) != count
            or (guards.names and not guards.same_names())
            or not lock.acquire(False)
        ):
            return MISSED
        try:
            if (
                changes.options != guards.options or not guards.counting
            ) and not guards.same_options():
                return MISSED
            arrays = []
            for k, t in enumerate(args):
                if not isinstance(t, Tensor):
                    return MISSED
                if t._parent is not None:
                    fresh(t)
                if (
                    t._requires_grad is not tracked[k]
                    or t._node is not None
                    or t._version in version.written  # it shows what the step writes
                ):
                    return MISSED
                arrays.append(t._value)
            if guards.moves != version.moves:
                version.read_numbers()
            for output in large:
                output.prepare()
            if not enter(*arrays):
                return MISSED  # another form, or a label out of range: the long way says which
            version.latest = arrays
            if several is not None:
                several()
            writer.touch()
            return show()
        finally:
            lock.release()

    return again
