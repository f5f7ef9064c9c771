"""Interleaved timing: machines are noisy, so only ratios within one run mean something."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


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


def calls_for(step: Callable[[], object], seconds: float) -> int:
    """How many calls of a warm step fill about ``seconds``."""
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            step()
        spent = time.perf_counter() - start
        if spent > seconds / 4 or calls >= 1_000_000:
            return max(1, round(calls * seconds / max(spent, 1e-9)))
        calls *= 4


def interleaved(
    steps: dict[str, Callable[[], object]], rounds: int = 7, seconds: float = 0.15
) -> dict[str, Timing]:
    """Time each step; every round runs all of them, one after the other."""
    for step in steps.values():  # first calls compile, allocate and touch memory
        step()
        step()
    calls = {name: calls_for(step, seconds) for name, step in steps.items()}
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        gc.collect()
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                step()
            samples[name].append((time.perf_counter() - start) / calls[name])
    return {name: timing(values) for name, values in samples.items()}
