"""Ctrl-C at a time when it can do no harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["interrupts_wait"]


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """A Ctrl-C that comes inside is handled at the end, as whoever handles it would have; a second
    one at once.

    Only in the main thread: others get no signals. Where no Python function handles Ctrl-C there
    is nothing to hold back.
    """
    usual = signal.getsignal(signal.SIGINT)
    if not callable(usual) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[Any] = []

    def wait(number: int, frame: Any) -> None:
        came.append((number, frame))
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        if not came:
            signal.signal(signal.SIGINT, usual)
        else:
            usual(*came[0])
