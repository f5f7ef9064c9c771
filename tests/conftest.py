"""For all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ["CONTRAFLOW_VERIFY"] = "1"  # graphs are looked at after every pass
# Thousands of small steps would push the user's own out of the cache.
os.environ.setdefault("CONTRAFLOW_CACHE", str(ROOT / ".pytest_cache" / "code"))


@pytest.fixture(scope="session", autouse=True)
def ctrl_c():
    """Ctrl-C interrupts. A shell without job control starts what it puts into the background with
    that signal ignored, and then Python, and every process it starts, would not hear of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
