"""Two threads beside one while another program keeps one of the two cores busy."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from bench.timing import Timing, timing
from bench.turns import SECONDS, Worker, say

WORKLOADS = ("W3", "W4", "W7")
SPIN = "import os, sys\nos.sched_setaffinity(0, [int(sys.argv[1])])\nwhile True: pass"


def run(rounds: int, cores: list[int]) -> dict[str, dict[str, Timing]]:
    """Seconds of a step on one and on two threads, in turn; nothing where there is one core."""
    if len(cores) < 2 or not sys.platform.startswith("linux"):
        return {}
    other = subprocess.Popen([sys.executable, "-c", SPIN, str(cores[1])])
    workers = {str(n): Worker("contraflow", n, cores, {}) for n in (1, 2)}
    try:
        return {name: _turns(name, workers, rounds) for name in WORKLOADS}
    finally:
        other.kill()
        other.wait()
        for worker in workers.values():
            worker.close()


def _turns(name: str, workers: dict[str, Worker], rounds: int) -> dict[str, Timing]:
    """The times of one workload."""
    calls, samples = {}, {}
    for threads, worker in workers.items():
        say(f"{name} beside a busy core: {threads}")
        calls[threads] = worker.ask(prepare=name, what="step", seconds=SECONDS)["calls"]
        samples[threads] = list[float]()
    for number in range(rounds):
        for threads in sorted(workers, reverse=bool(number % 2)):
            answer: dict[str, Any] = workers[threads].ask(turn=calls[threads])
            samples[threads].append(answer["seconds"])
    return {threads: timing(values) for threads, values in samples.items()}
