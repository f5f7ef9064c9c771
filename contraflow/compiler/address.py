"""Where an array's memory begins, quickly: asking NumPy costs more than a small kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["address_of"]


def asked(array: Any) -> int:
    """As NumPy tells it."""
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


def quick() -> Callable[[Any], int]:
    """The first field of NumPy's public array structure is this address; it follows the head of
    every Python object. If it does not lie there, NumPy is asked."""
    head = object.__basicsize__
    word = ctypes.c_size_t.from_address

    def peeked(array: Any) -> int:
        return word(id(array) + head).value

    probes = [np.zeros(3), np.zeros(()), np.zeros((4, 4), np.float32)[1:, 2:]]
    return peeked if all(peeked(a) == asked(a) for a in probes) else asked


address_of = quick()
