"""Interleaved timing: machines are noisy, so only ratios within one run mean something."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

TRIES, GROWTH = 30, 4  # turns at most for an estimate, and how much longer the next one may be


class Timing(NamedTuple):
    """Seconds a call: the median of all rounds between the quartiles."""

    low: float
    median: float
    high: float


def timing(samples: list[float]) -> Timing:
    """The median and the quartiles of samples."""
    if len(samples) < 2:
        return Timing(*samples * 3)
    return Timing(*statistics.quantiles(samples, n=4, method="inclusive"))


def calls_for(turn: Callable[[int], float], seconds: float) -> int:
    """How many calls fill about ``seconds``.

    Ever longer turns are taken until two estimates in a row agree: in those before, something that
    is rarely met may have been compiled.

    Args:
        turn: ``turn(calls)`` makes so many calls and gives the seconds of one.
        seconds: what all of them should take.
    """
    calls, found = 1, 0
    for _ in range(TRIES):
        before, found = found, max(1, round(seconds / max(turn(calls), 1e-9)))
        if found < 2 * calls and 0.8 * found <= before <= 1.25 * found:
            break
        calls = min(found, GROWTH * calls)
    return found


def seconds_a_call(step: Callable[[], object], calls: int) -> float:
    """Make so many calls."""
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def interleaved(
    steps: dict[str, Callable[[], object]], rounds: int = 7, seconds: float = 0.15
) -> dict[str, Timing]:
    """Time each step; every round runs all of them, one after the other."""
    for step in steps.values():  # first calls compile, allocate and touch memory
        step()
        step()
    calls = {
        name: calls_for(partial(seconds_a_call, step), seconds) for name, step in steps.items()
    }
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        gc.collect()
        for name, step in steps.items():
            samples[name].append(seconds_a_call(step, calls[name]))
    return {name: timing(values) for name, values in samples.items()}
