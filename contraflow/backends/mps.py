"""Apple's GPU, which is not used: programs that ask choose the CPU."""

from __future__ import annotations

__all__ = ["is_available", "is_built"]


def is_available() -> bool:
    """False: contraflow computes on the CPU."""
    return False


def is_built() -> bool:
    """False."""
    return False
