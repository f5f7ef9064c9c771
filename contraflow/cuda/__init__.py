"""Whether there is a GPU: there is none, and programs that ask choose the CPU.

>>> import contraflow as cf
>>> cf.device("cuda" if cf.cuda.is_available() else "cpu")
device(type='cpu')
"""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ArgumentError, lesson
from contraflow.cuda import amp

__all__ = [
    "amp", "current_device", "device_count", "empty_cache", "get_device_name", "is_available",
    "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated",
    "memory_allocated", "memory_reserved", "reset_peak_memory_stats", "set_device", "synchronize",
]  # fmt: skip


def is_available() -> bool:
    """False: contraflow computes on the CPU."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def is_bf16_supported() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Seed a GPU's random numbers: there are none; ``cf.manual_seed`` seeds those of the CPU."""


def manual_seed_all(seed: int) -> None:
    """As ``manual_seed``."""


def empty_cache() -> None:
    """There is no memory of a GPU to release."""


def reset_peak_memory_stats(device: Any = None) -> None:
    """There is nothing to reset."""


def memory_allocated(device: Any = None) -> int:
    """0."""
    return 0


max_memory_allocated = memory_reserved = memory_allocated


def missing(name: str) -> ArgumentError:
    """The lesson for what only a GPU can do."""
    fix = f"if cf.cuda.is_available(): cf.cuda.{name}()"
    return ArgumentError(lesson(f"cuda.{name}: there is no GPU here", fix=fix))


def current_device() -> int:
    """Raises ArgumentError: there is no GPU."""
    raise missing("current_device")


def get_device_name(device: Any = None) -> str:
    """Raises ArgumentError: there is no GPU."""
    raise missing("get_device_name")


def set_device(device: Any) -> None:
    """Raises ArgumentError: there is no GPU."""
    raise missing("set_device")


def synchronize(device: Any = None) -> None:
    """Raises ArgumentError: there is no GPU."""
    raise missing("synchronize")
