"""Interleaved timing: machines are noisy, so only ratios within one run mean something."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable


def _calls_for(step: Callable[[], object], seconds: float) -> int:
    """How many calls fill about ``seconds``."""
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
) -> dict[str, float]:
    """Median seconds a call of each step; each round runs all of them, one after the other."""
    calls = {name: _calls_for(step, seconds) for name, step in steps.items()}
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            gc.collect()
            start = time.perf_counter()
            for _ in range(calls[name]):
                step()
            samples[name].append((time.perf_counter() - start) / calls[name])
    return {name: statistics.median(values) for name, values in samples.items()}


def microseconds(seconds: float) -> str:
    """A time with three digits, in us or ms."""
    us = seconds * 1e6
    if us >= 10_000:
        return f"{us / 1000:.3g} ms"
    return f"{us:.3g} us"
