"""What the cores of this machine do at best: the rates that the floors are counted with.

Several cores are measured while all of them work: they share the memory, and often the clock.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from bench.machine import pin, usable

CHAINS = 10  # multiply-adds that wait for nothing but themselves: more than any core has in flight
CACHED, MEMORY = 1 << 19, 1 << 25  # bytes of an array: those of a core lie in the cache, or do not
SIDE = 512  # of NumPy's product

Run = Callable[[], object]
Loop = tuple[float, list[Run]]  # what a call does, and the call for each thread


def spin_text(chains: int, lanes: int) -> str:
    """A loop of vector multiply-adds that stays in registers, in LLVM's text."""
    kind = f"<{lanes} x float>"
    lines = [
        f"declare {kind} @llvm.fmuladd.v{lanes}f32({kind}, {kind}, {kind})",
        "define void @run(i64 %times, ptr %out, ptr %unused) {",
        "entry:",
        f"  %c = load {kind}, ptr %out, align 4",
        "  br label %body",
        "body:",
        "  %i = phi i64 [0, %entry], [%next, %body]",
        *(f"  %a{k} = phi {kind} [%c, %entry], [%b{k}, %body]" for k in range(chains)),
        *(f"  %b{k} = call {kind} @llvm.fmuladd.v{lanes}f32({kind} %a{k}, {kind} %c, {kind} %c)"
          for k in range(chains)),
        "  %next = add i64 %i, 1",
        "  %more = icmp ult i64 %next, %times",
        "  br i1 %more, label %body, label %end",
        "end:",
        *(f"  %p{k} = getelementptr {kind}, ptr %out, i64 {k}\n"
          f"  store {kind} %b{k}, ptr %p{k}, align 4" for k in range(chains)),
        "  ret void",
        "}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def stream_text(lanes: int, unroll: int = 4) -> str:
    """``x += y`` over so many groups of vectors, in LLVM's text."""
    kind = f"<{lanes} x float>"
    lines = [
        "define void @run(i64 %times, ptr %x, ptr %y) {",
        "entry:",
        "  br label %body",
        "body:",
        "  %i = phi i64 [0, %entry], [%next, %body]",
        f"  %at = mul i64 %i, {unroll}",
    ]
    for k in range(unroll):
        lines += [
            f"  %k{k} = add i64 %at, {k}",
            f"  %p{k} = getelementptr {kind}, ptr %x, i64 %k{k}",
            f"  %q{k} = getelementptr {kind}, ptr %y, i64 %k{k}",
            f"  %a{k} = load {kind}, ptr %p{k}, align 4",
            f"  %b{k} = load {kind}, ptr %q{k}, align 4",
            f"  %s{k} = fadd {kind} %a{k}, %b{k}",
            f"  store {kind} %s{k}, ptr %p{k}, align 4",
        ]
    lines += [
        "  %next = add i64 %i, 1",
        "  %more = icmp ult i64 %next, %times",
        "  br i1 %more, label %body, label %end",
        "end:",
        "  ret void",
        "}",
    ]
    return "\n".join(lines) + "\n"


# Waits for its number, writes the next one, and so on in turn with another thread.
HANDOFF = """
define void @run(i64 %last, ptr %place, ptr %first) {
entry:
  %begin = ptrtoint ptr %first to i64
  br label %turn
turn:
  %mine = phi i64 [ %begin, %entry ], [ %again, %pass ]
  br label %look
look:
  %now = load atomic i64, ptr %place acquire, align 8
  %here = icmp eq i64 %now, %mine
  br i1 %here, label %pass, label %look
pass:
  %next = add i64 %mine, 1
  store atomic i64 %next, ptr %place release, align 8
  %again = add i64 %mine, 2
  %more = icmp ult i64 %again, %last
  br i1 %more, label %turn, label %end
end:
  ret void
}
"""
TURNS = 20_000


def native(text: str) -> Callable[[int, int, int], None]:
    """The function ``run`` of a module, which lets other threads of Python run meanwhile; it takes
    a count and two addresses."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), jit=True
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    call: Any = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(
        engine.get_function_address("run")
    )
    call.engine = engine  # lives as long as the function
    return call


class Cores:
    """So many cores that are measured together.

    Args:
        threads: how many; the process has to be allowed on as many.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        lanes = 16 if llvm.get_host_cpu_features().get("avx512f") else 8
        wide, chain = (native(spin_text(chains, lanes)) for chains in (CHAINS, 1))
        stream = native(stream_text(lanes))
        times = 50_000
        self.loops: dict[str, Loop] = {
            "flops": self._spinning(wide, times, CHAINS * lanes, 2.0 * CHAINS * lanes * times),
            "latency": self._spinning(chain, times, lanes, times),
            "product": self._products(),
            "cache": self._streaming(stream, CACHED, 4 * lanes, 10),
            "memory": self._streaming(stream, MEMORY, 4 * lanes, 1),
        }
        self.handoff: Any = native(HANDOFF) if threads > 1 else None

    def _spinning(self, spin: Any, times: int, room: int, work: float) -> Loop:
        outs = [np.full(room, 0.5, np.float32) for _ in range(self.threads)]

        def run(out: np.ndarray, at: int) -> None:
            out[:] = 0.5
            spin(times, at, at)

        return work, [partial(run, out, out.ctypes.data) for out in outs]

    def _streaming(self, stream: Any, nbytes: int, group: int, repeats: int) -> Loop:
        pairs = [arrays(nbytes) for _ in range(self.threads)]

        def run(pair: tuple[np.ndarray, np.ndarray], x: int, y: int) -> None:
            for _ in range(repeats):
                stream(pair[0].size // group, x, y)

        runs = [partial(run, pair, *(a.ctypes.data for a in pair)) for pair in pairs]
        return 3.0 * nbytes * repeats, runs

    def _products(self) -> Loop:
        pairs = [np.ones((2, SIDE, SIDE), np.float32) for _ in range(self.threads)]
        return 2.0 * SIDE**3, [partial(np.matmul, a, a, out=out) for a, out in pairs]

    def rates(self, seconds: float = 0.02) -> dict[str, float]:
        """All of them, for all cores together, each measured for so long: FLOP/s in registers
        (``flops``) and in NumPy's product, bytes/s of ``x += y`` in the ``cache`` and in
        ``memory``, and the seconds of the ``latency`` of a multiply-add and, of two cores or more,
        of the ``handoff`` of a number from one core to another."""
        found = {name: together(runs, work, seconds) for name, (work, runs) in self.loops.items()}
        found["latency"] = self.threads / found["latency"]
        if self.handoff is not None:
            found["handoff"] = self._handoff()
        return found

    def _handoff(self) -> float:
        """Seconds until another core sees what one has written: far more where they share no
        cache, and virtual cores may come to lie so at any time."""
        place, cores = np.zeros(32, np.int64), usable()[:2]
        middle = place[16:].ctypes.data  # nobody else's line

        def run(k: int) -> None:
            pin([cores[k % len(cores)]])
            self.handoff(TURNS, middle, k)

        threads = [threading.Thread(target=run, args=(k,)) for k in range(2)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (time.perf_counter() - start) / TURNS


def arrays(nbytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Two that begin with a line of the cache, and not at the same place of a page: a core takes a
    read for one of what it has just written, if only their places in the pages agree."""
    room = np.ones(2 * nbytes + 8192, np.uint8)
    begin = -room.ctypes.data % 4096
    first, second = (room[k : k + nbytes] for k in (begin, begin + nbytes + 2048))
    x, y = first.view(np.float32), second.view(np.float32)
    x[:], y[:] = 1.0, 1.0
    return x, y


def together(runs: list[Run], work: float, seconds: float) -> float:
    """What all threads do a second, of which each does ``work`` in a call of its own function."""
    start, speeds = threading.Barrier(len(runs)), [0.0] * len(runs)

    def measure(k: int) -> None:
        start.wait()
        began, calls = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < seconds or not calls:
            runs[k]()
            calls += 1
        speeds[k] = calls * work / spent

    threads = [threading.Thread(target=measure, args=(k,)) for k in range(1, len(runs))]
    for thread in threads:
        thread.start()
    measure(0)
    for thread in threads:
        thread.join()
    return sum(speeds)
