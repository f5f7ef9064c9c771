"""One contestant in a process of its own, held to its number of threads; it waits for its turns.

The name ``machine`` stands for no contestant, but for what the cores themselves do.

A turn is a line of JSON on the standard input, and another as the answer:

    {"prepare": "W2", "what": "step", "seconds": 0.1}  ->  {"calls": 210} or {"calls": 0}, if none
    {"turn": 210}                                      ->  {"seconds": 0.00047}
    {"rates": 0.02}                                    ->  {"flops": 9.7e10, ...}
    {"cold": "W4"}                                     ->  {"build": 0.01, "first": 0.4}

Between turns it is blocked in a read and uses no processor.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from bench.machine import pin
from bench.rates import Cores
from bench.timing import calls_for
from bench.workloads import WORKLOADS

MACHINE = "machine"
BY_NAME = {w.name: w for w in WORKLOADS}


class Contestant:
    """What is being measured, and how often it runs in a turn."""

    def __init__(self, name: str) -> None:
        self.peer = import_module("bench.peers").PEERS[name]
        self.run: Callable[[], Any] | None = None

    def prepare(self, workload: str, what: str, seconds: float) -> dict[str, Any]:
        """Build it, run it until all is compiled and warm, count the calls of a turn."""
        self.run = None
        gc.collect()
        self.run = self.peer.make(what, BY_NAME[workload])
        if self.run is None:
            return {"calls": 0}
        warm = 1 if what == "epoch" else self.peer.warm
        self.turn(warm)
        return {"calls": calls_for(lambda calls: self.turn(calls)["seconds"], seconds)}

    def turn(self, calls: int) -> dict[str, Any]:
        """Seconds a call; what is computed behind our back is waited for at the end."""
        run = self.run
        assert run is not None
        gc.collect()
        start = time.perf_counter()
        for _ in range(calls):
            result = run()
        result.item()
        return {"seconds": (time.perf_counter() - start) / calls}

    def cold(self, workload: str) -> dict[str, Any]:
        """Seconds to build a step and to run it for the first time."""
        for module in (self.peer.module, *self.peer.imports):
            import_module(module)
        start = time.perf_counter()
        run = self.peer.make("step", BY_NAME[workload])
        built = time.perf_counter()
        run().item()
        return {"build": built - start, "first": time.perf_counter() - built}


def limit(name: str, package: str, threads: int) -> None:
    """Say it to those that have a call for it; the others go by the environment and the cores."""
    for library in ("contraflow", "torch"):
        if name.startswith(library) or package == library:
            import_module(library).set_num_threads(threads)


def main() -> None:
    """Answer until the input ends."""
    name, threads, cores = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")  # what a library prints goes elsewhere
    os.dup2(2, 1)
    pin(cores)
    machine = Cores(threads) if name == MACHINE else None
    contestant = None if machine else Contestant(name)
    if contestant:
        limit(name, contestant.peer.package, threads)
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            if "rates" in ask:
                answer = machine.rates(ask["rates"])
            elif "prepare" in ask:
                answer = contestant.prepare(ask["prepare"], ask["what"], ask["seconds"])
            elif "turn" in ask:
                answer = contestant.turn(ask["turn"])
            else:
                answer = contestant.cold(ask["cold"])
        except Exception as error:  # told in the report, not fatal to the others
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
