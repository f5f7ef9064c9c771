"""What layers check about their arguments when they are made."""

from __future__ import annotations

from operator import index
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.base.shapes import Shape, read_pair

__all__ = ["check_choice", "check_divides", "check_probability", "check_size", "check_window"]


def check_size(layer: str, name: str, value: Any, least: int = 1) -> int:
    """A number of features, channels or groups: an integer of at least ``least``."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise DTypeError(
            lesson(f"{layer}: {name} must be an integer, received {value!r:.60}",
                   fix=f"{name}={int(value) if isinstance(value, float) and value == value else 8}")
        ) from None  # fmt: skip
    if number < least:
        raise ArgumentError(
            lesson(f"{layer}: {name} must be at least {least}, received {number}",
                   fix=f"{name}={least}")
        )  # fmt: skip
    return number


def check_probability(layer: str, p: Any) -> float:
    """A probability between 0 and 1."""
    if not isinstance(p, int | float) or isinstance(p, bool):
        raise DTypeError(
            lesson(f"{layer}: p must be a number, received {p!r:.60}", fix=f"nn.{layer}(p=0.5)")
        )
    if not 0 <= p <= 1:
        raise ArgumentError(
            lesson(f"{layer}: p is a probability between 0 and 1, received {p}",
                   fix=f"p={p / 100:g}" if 1 < p <= 100 else "p=0.5")
        )  # fmt: skip
    return p


def check_choice(layer: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    """One of a few words."""
    if value not in choices:
        raise ArgumentError(
            lesson(f"{layer}: unknown {name} {value!r}", [("known", ", ".join(choices))],
                   f"{name}={choices[0]!r}")
        )  # fmt: skip


def check_divides(layer: str, name: str, divisor: int, what: str, value: int) -> None:
    """Groups must divide channels."""
    if value % divisor:
        fits = [d for d in range(1, value + 1) if value % d == 0]
        best = min(fits, key=lambda d: abs(d - divisor))
        raise ArgumentError(
            lesson(f"{layer}: {name}={divisor} must divide {what}={value}",
                   fix=f"{name}={best}, or {what}={-(-value // divisor) * divisor}")
        )  # fmt: skip


def check_window(layer: str, name: str, value: Any, n: int, least: int = 1) -> Shape:
    """A kernel size, stride, padding or dilation: ``n`` integers of at least ``least``."""
    sizes = read_pair(value, n, f"{layer}: {name}")
    if any(size < least for size in sizes):
        raise ArgumentError(
            lesson(f"{layer}: {name} must be at least {least}, received {value!r}",
                   fix=f"{name}={least}")
        )  # fmt: skip
    return sizes
