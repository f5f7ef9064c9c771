"""Ctrl-C in the middle of training: the first one waits for the end of the batch."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupted", "ctrl_c_waits"]

NOTE = b"\nCtrl-C: stopping after this batch; again to stop at once\n"


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C, between two batches; the text says how to go on."""


@contextmanager
def ctrl_c_waits(run: Any) -> Iterator[None]:
    """The first Ctrl-C sets ``run.interrupted``, the second one is the usual KeyboardInterrupt.

    Only in the main thread (others get no signals), and only where nobody else handles Ctrl-C.
    """
    usual = signal.default_int_handler
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not usual:
        yield
        return

    def wait(number: int, frame: Any) -> None:
        run.interrupted = True
        signal.signal(signal.SIGINT, usual)
        os.write(2, NOTE)  # print could be in the middle of a line itself

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
