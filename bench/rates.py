"""What one core of this machine can do at best: the rates that the floors are counted with."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np

CHAINS = 10  # multiply-adds that wait for nothing but themselves: more than any core has in flight
CACHED, MEMORY = 1 << 19, 1 << 25  # bytes of an array: three lie in the cache, or in memory


def _best(work: float, run: Callable[[], object], seconds: float = 0.3) -> float:
    best, end = 0.0, time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        run()
        best = max(best, work / (time.perf_counter() - start))
    return best


def loop_text(chains: int, lanes: int) -> str:
    """A loop of vector multiply-adds that stays in registers, in LLVM's text."""
    kind = f"<{lanes} x float>"
    lines = [
        f"declare {kind} @llvm.fmuladd.v{lanes}f32({kind}, {kind}, {kind})",
        "define void @spin(i64 %times, ptr %out) {",
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


def spinner(chains: int, lanes: int) -> Callable[[int], None]:
    """The loop as a function of how often it runs."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), jit=True
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(loop_text(chains, lanes)), machine)
    engine.finalize_object()
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(
        engine.get_function_address("spin")
    )
    out = np.full(chains * lanes, 0.5, np.float32)

    def run(times: int) -> None:
        out[:] = 0.5
        call(times, out.ctypes.data)

    run.engine = engine  # type: ignore[attr-defined]  # lives as long as the function
    return run


def streaming(nbytes: int, repeats: int) -> float:
    """Bytes/s of ``x += y``: two reads and a write of arrays that are warm."""
    x = np.ones(nbytes // 4, np.float32)
    y = np.ones_like(x)
    return _best(3 * x.nbytes * repeats, lambda: [np.add(x, y, out=x) for _ in range(repeats)])


def rates() -> dict[str, Any]:
    """All of them, in FLOP/s, bytes/s and seconds; the best of many short rounds."""
    lanes = 16 if llvm.get_host_cpu_features().get("avx512f") else 8
    times = 100_000
    wide, chain = spinner(CHAINS, lanes), spinner(1, lanes)
    a = np.ones((768, 768), np.float32)
    return {
        "flops": _best(2.0 * CHAINS * lanes * times, lambda: wide(times)),
        "latency": 1 / _best(times, lambda: chain(times)),
        "product": _best(2 * 768**3, lambda: a @ a),
        "cache": streaming(CACHED, 20),
        "memory": streaming(MEMORY, 1),
    }
