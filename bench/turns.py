"""Contestants in processes of their own that take turns: each round every one of them once."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from bench.machine import ROOT
from bench.timing import Timing, timing
from bench.worker import MACHINE

REST = 0.04  # seconds after a turn on several threads: the longest that a library's pool spins
SECONDS = 0.1  # of a turn

# Freed memory is kept by the process, so that nobody pays for fresh pages in every step.
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
        "MALLOC_TOP_PAD_": str(64 << 20)}  # fmt: skip
RATES = 0.02  # for each rate of the cores
COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Worker:
    """The process of one contestant with one number of threads."""

    def __init__(
        self, name: str, threads: int, cores: list[int], environment: dict[str, str]
    ) -> None:
        self.name, self.threads = name, threads
        blas = "1" if name == MACHINE else str(threads)  # its cores multiply side by side
        own = {**KEEP, **dict.fromkeys(COUNTS, blas), **environment}
        if threads == 1:
            flags = "--xla_cpu_multi_thread_eigen=false", own.get("XLA_FLAGS", "")
            own["XLA_FLAGS"] = " ".join(filter(None, flags))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", name, str(threads),
             json.dumps(cores[:threads])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **own}, start_new_session=True,  # Ctrl-C is for the one who asks
        )  # fmt: skip

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a line and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": "its process ended"}

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()  # waits, and closes both pipes


class Turns:
    """All workers of a run, started when they are first needed.

    Args:
        threads: the numbers of threads, such as (1, 2).
        cores: the cores that may be used; a worker is held to the first of them.
    """

    def __init__(self, threads: tuple[int, ...], cores: list[int]) -> None:
        self.threads, self.cores = threads, cores
        self.workers: dict[tuple[str, int], Worker] = {}

    def worker(self, name: str, threads: int, environment: dict[str, str]) -> Worker:
        """The process of a contestant."""
        key = name, threads
        if key not in self.workers:
            self.workers[key] = Worker(name, threads, self.cores, environment)
        return self.workers[key]

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def row(
        self, workload: str, what: str, peers: dict[str, dict[str, str]], rounds: int,
        into: dict[str, Any],
    ) -> None:  # fmt: skip
        """Measure one workload, and what the cores do in the same rounds; also when interrupted,
        what was measured is put into ``into``.

        Args:
            workload: its name.
            what: "step" or "epoch".
            peers: the environment of each contestant.
            rounds: turns of each.
            into: has ``batches``, the steps in a call; takes ``peers`` (name -> threads -> Timing),
                ``rates`` (threads -> rates) and ``failed`` (name -> why).
        """
        into["failed"] = {}
        ready: dict[tuple[str, int], int] = {}
        samples: dict[tuple[str, int], list[float]] = {}
        rates: dict[int, list[dict[str, float]]] = {}
        try:
            for name, environment in peers.items():
                for threads in self.threads:
                    say(f"{workload} {what}: {name}, {threads} thread{'s' * (threads > 1)}")
                    worker = self.worker(name, threads, environment)
                    answer = worker.ask(prepare=workload, what=what, seconds=SECONDS)
                    if "error" in answer:
                        into["failed"][name] = answer["error"]
                        del self.workers[name, threads]
                        worker.close()
                    elif answer["calls"]:
                        ready[name, threads] = answer["calls"]
            for number in range(rounds):
                say(f"{workload} {what}: round {number + 1} of {rounds}")
                for threads in self.threads:
                    rates.setdefault(threads, []).append(self.rates(threads))
                self.round(ready, samples, number)
        finally:
            found: dict[str, dict[str, Timing]] = {}
            for (name, threads), values in samples.items():
                steps = [seconds / into["batches"] for seconds in values]
                found.setdefault(name, {})[str(threads)] = timing(steps)
            into["peers"] = found
            into["rates"] = {str(threads): medians(of) for threads, of in rates.items()}

    def rates(self, threads: int) -> dict[str, float]:
        """What so many cores do together just now."""
        found = self.worker(MACHINE, threads, {}).ask(rates=RATES)
        if "error" in found:
            raise RuntimeError(f"the rates of {threads} cores: {found['error']}")
        return found

    def round(
        self, ready: dict[tuple[str, int], int], samples: dict[tuple[str, int], list[float]],
        number: int,
    ) -> None:  # fmt: skip
        """A turn for each, every round from another one on."""
        order = list(ready)
        first = number * 3 % max(1, len(order))
        for key in order[first:] + order[:first]:
            answer = self.workers[key].ask(turn=ready[key])
            samples.setdefault(key, []).append(answer["seconds"])
            if key[1] > 1:
                time.sleep(REST)


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """Of each of the numbers."""
    return {name: statistics.median(of[name] for of in found) for name in found[0]}


def say(text: str) -> None:
    """Progress, on one line of a terminal or one line each."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
