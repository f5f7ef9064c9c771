"""What one core of this machine can do at best, measured once: floors are counted with it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np

from contraflow.compiler.cache import key_of, load, store
from contraflow.compiler.link import compiled, link
from contraflow.compiler.targets import target

__all__ = ["Rates", "rates"]

CHAINS = 10  # sums that wait for nothing but themselves: more than a core has in flight
SPINS = 20_000
FLOATS = 32 * 1024  # 128 KiB that are read and 128 KiB that are written: they stay in a cache
ROUNDS = 60


@dataclass(frozen=True)
class Rates:
    """Attributes:
    flops: multiplications and additions a second in float32; float64 has half of them.
    cache: bytes a second, read and written, from the caches.
    call: seconds that it costs to let Python call native code.
    repeat: ``repeat(function, table, count)`` calls a native function many times.
    """

    flops: float
    cache: float
    call: float
    repeat: Callable[[int, int, int], None]


def spin(lanes: int) -> str:
    """Multiply-adds that stay in registers, in LLVM's text."""
    kind = f"<{lanes} x float>"
    name = f"@llvm.fma.v{lanes}f32"
    # each chain begins with a number of its own: LLVM would make one of those that are alike
    starts = [
        f"  %at{k} = getelementptr {kind}, ptr %place, i64 {k}\n"
        f"  %d{k} = load {kind}, ptr %at{k}, align 4"
        for k in range(CHAINS)
    ]
    before = [f"  %a{k} = phi {kind} [ %d{k}, %entry ], [ %b{k}, %body ]" for k in range(CHAINS)]
    after = [
        f"  %b{k} = call {kind} {name}({kind} %a{k}, {kind} %c, {kind} %c)" for k in range(CHAINS)
    ]
    sums = [f"  %s{k} = fadd {kind} %{f's{k - 1}' if k else 'c'}, %b{k}" for k in range(CHAINS)]
    return "\n".join([
        f"declare {kind} {name}({kind}, {kind}, {kind})",
        "define void @spin(ptr %place, i64 %times) nounwind {", "entry:",
        f"  %c = load {kind}, ptr %place, align 4", *starts, "  br label %body", "body:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %body ]", *before, *after,
        "  %next = add i64 %i, 1", "  %more = icmp ult i64 %next, %times",
        "  br i1 %more, label %body, label %end", "end:", *sums,
        f"  store {kind} %s{CHAINS - 1}, ptr %place, align 4", "  ret void", "}",
    ])  # fmt: skip


def stream(lanes: int) -> str:
    """``y = x + y`` with vectors, in LLVM's text."""
    kind = f"<{lanes} x float>"
    return f"""
define void @stream(ptr %place, i64 %count) nounwind {{
entry:
  %others = getelementptr float, ptr %place, i64 %count
  br label %body
body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %x.at = getelementptr float, ptr %place, i64 %i
  %y.at = getelementptr float, ptr %others, i64 %i
  %x = load {kind}, ptr %x.at, align 4
  %y = load {kind}, ptr %y.at, align 4
  %sum = fadd {kind} %x, %y
  store {kind} %sum, ptr %y.at, align 4
  %next = add i64 %i, {lanes}
  %more = icmp ult i64 %next, %count
  br i1 %more, label %body, label %end
end:
  ret void
}}
"""


# Calls a native function many times, so that the call from Python does not count.
REPEAT = """
define void @repeat(ptr %function, ptr %table, i64 %count) nounwind {
entry:
  br label %body
body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  call void %function(ptr %table)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %body, label %end
end:
  ret void
}
define void @nothing(ptr %table) nounwind {
  ret void
}
"""


def best(run: Callable[..., Any], *args: Any) -> float:
    """The seconds of the fastest of a few runs."""
    found = float("inf")
    for _ in range(ROUNDS):
        start = perf_counter()
        run(*args)
        found = min(found, perf_counter() - start)
    return found


@cache
def rates() -> Rates:
    """All of them; it takes some milliseconds."""
    lanes = target().tile("f32").lanes
    key = key_of("rates", *target().key)
    code = load(key)
    if code is None:
        code = compiled(spin(lanes) + stream(lanes) + REPEAT)
        store(key, code)
    library = link(code, ["spin", "stream", "repeat", "nothing"])
    _linked.append(library)
    at, count = ctypes.c_void_p, ctypes.c_int64
    looping = ctypes.CFUNCTYPE(None, at, count)
    spinning, streaming = looping(library["spin"]), looping(library["stream"])
    repeat = ctypes.CFUNCTYPE(None, at, at, count)(library["repeat"])
    place = np.full(2 * FLOATS, 1e-3, np.float32)
    begin = place.ctypes.data
    flops = 2 * CHAINS * lanes * SPINS / best(spinning, begin, SPINS)
    cached = 12 * FLOATS / best(streaming, begin, FLOATS)
    return Rates(flops, cached, best(repeat, library["nothing"], 0, 1), repeat)


_linked: list[Any] = []  # what must stay in memory
