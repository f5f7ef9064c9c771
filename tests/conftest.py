"""For all tests."""

from __future__ import annotations

import os
import signal

import pytest

os.environ["CONTRAFLOW_VERIFY"] = "1"  # graphs are looked at after every pass


@pytest.fixture(scope="session", autouse=True)
def ctrl_c():
    """Ctrl-C interrupts. A shell without job control starts what it puts into the background with
    that signal ignored, and then Python, and every process it starts, would not hear of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
