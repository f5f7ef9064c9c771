"""Switching gradient recording on and off: ``no_grad``, ``enable_grad``, ``inference_mode``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar

from contraflow.base.errors import DTypeError, lesson
from contraflow.base.modes import current

__all__ = ["enable_grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]
F = TypeVar("F", bound=Callable[..., Any])


class _GradMode:
    """A context manager, and a decorator, that sets gradient recording."""

    _mode: bool = True

    def __init__(self, function: Any = None) -> None:
        self._before: list[bool] = []

    def __new__(cls, function: Any = None) -> Any:
        made = super().__new__(cls)
        if callable(function):  # @cf.no_grad without parentheses
            made.__init__()  # type: ignore[misc]
            return made(function)
        return made

    def __call__(self, function: F) -> F:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return run  # type: ignore[return-value]

    def __enter__(self) -> None:
        modes = current()
        self._before.append(modes.grad)
        modes.grad = self._mode

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        current().grad = self._before.pop()


class no_grad(_GradMode):
    """Record nothing inside: ``with cf.no_grad(): ...`` or ``@cf.no_grad()``.

    >>> import contraflow as cf
    >>> w = cf.ones(2, requires_grad=True)
    >>> with cf.no_grad():
    ...     w -= 0.5
    >>> w
    tensor([0.5, 0.5], requires_grad=True)
    """

    _mode = False


class enable_grad(_GradMode):
    """Record inside, also within ``no_grad``."""

    _mode = True


class inference_mode(_GradMode):
    """Record nothing inside, as ``no_grad``; ``inference_mode(False)`` records."""

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        self._mode = not (mode if isinstance(mode, bool) else True)


class set_grad_enabled(_GradMode):
    """Switch recording to ``mode``: at once, and back at the end of a ``with`` block."""

    def __new__(cls, mode: bool) -> Any:
        return object.__new__(cls)

    def __init__(self, mode: bool) -> None:
        super().__init__()
        if not isinstance(mode, bool):
            raise DTypeError(
                lesson(
                    f"set_grad_enabled takes a bool, received {mode!r:.40}",
                    fix="cf.set_grad_enabled(True)",
                )
            )
        self._mode = mode
        self._outer = current().grad
        current().grad = self._mode

    def __enter__(self) -> None:
        self._before.append(self._outer)
        current().grad = self._mode


def is_grad_enabled() -> bool:
    """Whether ops are being recorded in this thread."""
    return current().grad
