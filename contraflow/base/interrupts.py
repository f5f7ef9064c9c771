"""Ctrl-C at a time when it can do no harm."""

from __future__ import annotations

import threading

# the functions below those of `signal`, which spend microseconds on enumerations
from _signal import SIGINT, getsignal, signal  # type: ignore[import-not-found]
from types import TracebackType
from typing import Any

__all__ = ["interrupts_wait"]


class interrupts_wait:
    """A Ctrl-C that comes inside is handled at the end, as whoever handles it would have; a second
    one at once.

    Only in the main thread: others get no signals. Where no Python function handles Ctrl-C there
    is nothing to hold back.
    """

    def __enter__(self) -> None:
        self.came: list[Any] = []
        self.usual: Any = getsignal(SIGINT)
        self.holds = callable(self.usual) and threading.current_thread() is threading.main_thread()
        if self.holds:
            signal(SIGINT, self.wait)

    def wait(self, number: int, frame: Any) -> None:
        """Handles the first one."""
        self.came.append((number, frame))
        signal(SIGINT, self.usual)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self.came:
            self.usual(*self.came[0])
        elif self.holds:
            signal(SIGINT, self.usual)
