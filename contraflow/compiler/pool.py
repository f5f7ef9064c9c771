"""The threads that share the work of compiled steps, in this process.

Worker threads are Python threads that enter native code and stay there, without the interpreter's
lock. Each has a box of its own, in which it finds a function, a table, and which thread of how many
it is. A worker looks into its box for a while, then offers its core to others between two looks,
then sleeps until it is called. Whoever has work takes the workers that are free; if there are none,
because another Python thread uses them, it works alone. Nobody ever waits for a worker to be free.

Threads that wait by offering their core look busy to the system, which leaves two of them on one
core for many milliseconds while another is idle. So, where the system can say it (Linux), a worker
may run on all cores that its caller may run on, but for the one on which the caller is.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import threading
from functools import cache
from time import monotonic, sleep
from typing import Any

from contraflow.compiler.driver import pause
from contraflow.compiler.link import library
from contraflow.compiler.targets import target

__all__ = ["MOST", "pool", "settle", "yielding"]

MOST = 64  # threads of a step
BOX = 256  # bytes, so that boxes share no cache line
LOOKS = 2_000  # some 30 microseconds
OFFERS = 600  # some 300 microseconds, if nobody takes the core

IDLE, TAKEN, WORK, ASLEEP, STOP = range(5)  # what the first word of a box says
RUN, TABLE, RANK, THREADS, CALLED, MODE, LOCK, ACQUIRE, RELEASE, GIVE, NUMBER, APART = (
    8 * k for k in range(1, 13)
)
CORES = 1024  # that a set of them has room for


def modes(triple: str) -> tuple[str, str, str]:
    """Declarations, and how the mode of floating-point arithmetic (are tiny numbers zero?) is
    written to an address and read from it: workers take over that of the caller."""
    if triple.startswith(("x86_64", "i386", "i686")):
        names = [f"llvm.x86.sse.{verb}mxcsr" for verb in ("st", "ld")]
        declared = "\n".join(f"declare void @{name}(ptr)" for name in names)
        return declared, *(f"call void @{name}(ptr {{}})" for name in names)  # type: ignore[return-value]
    return "", "", ""


def text() -> str:
    """The LLVM text of ``worker(box)``, ``launch(boxes, count, run, table, places)`` and
    ``stop(box)``.

    ``launch`` calls ``run(table, 0, threads)`` itself, and lets the free ones of ``count`` workers
    call it with 1, 2 ...; it returns ``threads`` when its own call has returned. ``places`` holds
    three functions of the system: on which core one is, and how to read and set where a thread may
    run; or is null.
    """
    triple = target().triple
    pausing, wait = pause(triple)
    mode, keep, use = modes(triple)
    return f"""
{pausing}
{mode}

define void @worker(ptr %box) nounwind {{
entry:
{fields("mode", MODE)}
{values("lock", LOCK)}
{values("acquire", ACQUIRE)}
{values("give", GIVE)}
  store atomic i64 {IDLE}, ptr %box release, align 8
  br label %awake
awake:
  br label %look
look:
  %looks = phi i64 [ 0, %awake ], [ %looks.next, %wait ], [ %looks.next, %offer ]
  %state = load atomic i64, ptr %box acquire, align 8
  switch i64 %state, label %again [ i64 {WORK}, label %work  i64 {STOP}, label %end ]
again:
  %looks.next = add i64 %looks, 1
  %soon = icmp ult i64 %looks, {LOOKS}
  br i1 %soon, label %wait, label %tired
wait:
  {wait}
  br label %look
tired:
  %patient = icmp ult i64 %looks, {LOOKS + OFFERS}
  br i1 %patient, label %offer, label %sleep
offer:
  %ignored = call i32 %give()
  br label %look
sleep:
  %slept = cmpxchg ptr %box, i64 {IDLE}, i64 {ASLEEP} acq_rel acquire, align 8
  %free = extractvalue {{ i64, i1 }} %slept, 1
  br i1 %free, label %rest, label %awake
rest:
  %woken = call i32 %acquire(ptr %lock, i32 1)
  br label %awake
work:
{fields("run", RUN)}
{fields("table", TABLE)}
{fields("rank", RANK)}
{fields("threads", THREADS)}
  %run = load ptr, ptr %run.at, align 8
  %table = load ptr, ptr %table.at, align 8
  %rank = load i64, ptr %rank.at, align 8
  %threads = load i64, ptr %threads.at, align 8
  {use.format("%mode.at")}
  call void %run(ptr %table, i64 %rank, i64 %threads)
  store atomic i64 {IDLE}, ptr %box release, align 8
  br label %awake
end:
  ret void
}}

define i64 @launch(ptr %boxes, i64 %count, ptr %run, ptr %table, ptr %places) nounwind {{
entry:
  %known = icmp ne ptr %places, null
  br i1 %known, label %where, label %ready
where:
  %core.of = load ptr, ptr %places, align 8
  %core.is = call i32 %core.of()
  %core.at = sext i32 %core.is to i64
  br label %ready
ready:
  %core = phi i64 [ -1, %entry ], [ %core.at, %where ]
  br label %ask
ask:
  %i = phi i64 [ 0, %ready ], [ %i.next, %asked ]
  %threads = phi i64 [ 1, %ready ], [ %threads.next, %asked ]
  %mine = phi i64 [ 0, %ready ], [ %mine.next, %asked ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %next, label %share
next:
  %offset = mul i64 %i, {BOX}
  %box = getelementptr i8, ptr %boxes, i64 %offset
  %idle = cmpxchg ptr %box, i64 {IDLE}, i64 {TAKEN} acq_rel acquire, align 8
  %was.idle = extractvalue {{ i64, i1 }} %idle, 1
  br i1 %was.idle, label %take, label %call
call:
  %asleep = cmpxchg ptr %box, i64 {ASLEEP}, i64 {TAKEN} acq_rel acquire, align 8
  %was.asleep = extractvalue {{ i64, i1 }} %asleep, 1
  br i1 %was.asleep, label %take, label %asked
take:
  %sleeps = phi i64 [ 0, %next ], [ 1, %call ]
{fields("rank", RANK)}
{fields("called", CALLED)}
  store i64 %threads, ptr %rank.at, align 8
  store i64 %sleeps, ptr %called.at, align 8
  %bit = shl i64 1, %i
  %mine.more = or i64 %mine, %bit
  %threads.more = add i64 %threads, 1
{fields("apart", APART)}
  %apart = load i64, ptr %apart.at, align 8
  %moved = icmp ne i64 %apart, %core
  br i1 %moved, label %place, label %asked
place:
  call void @keep_apart(ptr %box, i64 %core, ptr %places)
  br label %asked
asked:
  %threads.next = phi i64 [ %threads.more, %take ], [ %threads.more, %place ], [ %threads, %call ]
  %mine.next = phi i64 [ %mine.more, %take ], [ %mine.more, %place ], [ %mine, %call ]
  %i.next = add i64 %i, 1
  br label %ask

share:
  %k = phi i64 [ 0, %ask ], [ %k.next, %shared ]
  %rest = icmp ult i64 %k, %count
  br i1 %rest, label %look, label %start
look:
  %k.bit = shl i64 1, %k
  %k.mine = and i64 %mine, %k.bit
  %is.mine = icmp ne i64 %k.mine, 0
  br i1 %is.mine, label %give, label %shared
give:
  %k.offset = mul i64 %k, {BOX}
  %one = getelementptr i8, ptr %boxes, i64 %k.offset
{fields("run", RUN, "%one")}
{fields("table", TABLE, "%one")}
{fields("threads", THREADS, "%one")}
{fields("sleeps", CALLED, "%one")}
{fields("mode", MODE, "%one")}
  store ptr %run, ptr %run.at, align 8
  store ptr %table, ptr %table.at, align 8
  store i64 %threads, ptr %threads.at, align 8
  {keep.format("%mode.at")}
  %sleeping = load i64, ptr %sleeps.at, align 8
  store atomic i64 {WORK}, ptr %one release, align 8
  %wake = icmp ne i64 %sleeping, 0
  br i1 %wake, label %shout, label %shared
shout:
{values("lock", LOCK, "%one")}
{values("release", RELEASE, "%one")}
  call void %release(ptr %lock)
  br label %shared
shared:
  %k.next = add i64 %k, 1
  br label %share

start:
  call void %run(ptr %table, i64 0, i64 %threads)
  ret i64 %threads
}}

{apart_text()}
define void @stop(ptr %box) nounwind {{
entry:
  %idle = cmpxchg ptr %box, i64 {IDLE}, i64 {STOP} acq_rel acquire, align 8
  %was.idle = extractvalue {{ i64, i1 }} %idle, 1
  br i1 %was.idle, label %end, label %call
call:
  %asleep = cmpxchg ptr %box, i64 {ASLEEP}, i64 {STOP} acq_rel acquire, align 8
  %was.asleep = extractvalue {{ i64, i1 }} %asleep, 1
  br i1 %was.asleep, label %shout, label %end
shout:
{values("lock", LOCK)}
{values("release", RELEASE)}
  call void %release(ptr %lock)
  br label %end
end:
  ret void
}}
"""


def apart_text() -> str:
    """The LLVM text of ``keep_apart(box, core, places)``: the worker of a box may run on all cores
    that the caller may run on, but for this one; if there is another."""
    return f"""
define internal void @keep_apart(ptr %box, i64 %core, ptr %places) noinline nounwind {{
entry:
  %set = alloca [{CORES // 64} x i64], align 8
{fields("apart", APART)}
{fields("number", NUMBER)}
  %number = load atomic i64, ptr %number.at acquire, align 8
  %started = icmp ne i64 %number, 0
  %here = icmp ult i64 %core, {CORES}
  %can = and i1 %started, %here
  br i1 %can, label %ask, label %end
ask:
  %read.at = getelementptr ptr, ptr %places, i64 1
  %read = load ptr, ptr %read.at, align 8
  %write.at = getelementptr ptr, ptr %places, i64 2
  %write = load ptr, ptr %write.at, align 8
  store i64 %core, ptr %apart.at, align 8
  %got = call i32 %read(i32 0, i64 {CORES // 8}, ptr %set)
  %fine = icmp sge i32 %got, 0
  br i1 %fine, label %take, label %end
take:
  %which = lshr i64 %core, 6
  %bit.number = and i64 %core, 63
  %bit = shl i64 1, %bit.number
  %others = xor i64 %bit, -1
  %word.at = getelementptr i64, ptr %set, i64 %which
  %word = load i64, ptr %word.at, align 8
  %less = and i64 %word, %others
  store i64 %less, ptr %word.at, align 8
  br label %count
count:
  %k = phi i64 [ 0, %take ], [ %k.next, %more ]
  %left = phi i64 [ 0, %take ], [ %left.next, %more ]
  %within = icmp ult i64 %k, {CORES // 64}
  br i1 %within, label %more, label %test
more:
  %one.at = getelementptr i64, ptr %set, i64 %k
  %one = load i64, ptr %one.at, align 8
  %left.next = or i64 %left, %one
  %k.next = add i64 %k, 1
  br label %count
test:
  %any = icmp ne i64 %left, 0
  br i1 %any, label %move, label %end
move:
  %thread = trunc i64 %number to i32
  %ignored = call i32 %write(i32 %thread, i64 {CORES // 8}, ptr %set)
  br label %end
end:
  ret void
}}
"""


def fields(name: str, offset: int, box: str = "%box") -> str:
    """The address of a word of a box."""
    return f"  %{name}.at = getelementptr i8, ptr {box}, i64 {offset}"


def values(name: str, offset: int, box: str = "%box") -> str:
    """A pointer that a box holds."""
    return f"{fields(name, offset, box)}\n  %{name} = load ptr, ptr %{name}.at, align 8"


@cache
def native() -> dict[str, Any]:
    """The three functions, to be called."""
    functions = library("pool", text, ["worker", "launch", "stop"])
    number, at = ctypes.c_int64, ctypes.c_void_p
    return {
        "library": functions,  # the code lives as long as this does
        "worker": ctypes.CFUNCTYPE(None, at)(functions["worker"]),
        "launch": ctypes.CFUNCTYPE(number, at, number, at, at, at)(functions["launch"]),
        "stop": ctypes.CFUNCTYPE(None, at)(functions["stop"]),
    }


def address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@cache
def yielding() -> int:
    """The address of the function that lets others have the core."""
    if os.name == "nt":
        return address(ctypes.windll.kernel32.SwitchToThread)  # type: ignore[attr-defined]
    return address(ctypes.CDLL(None).sched_yield)


@cache
def placing() -> Any:
    """An array of the addresses of ``sched_getcpu``, ``sched_getaffinity`` and
    ``sched_setaffinity``; None where the system has no such functions."""
    if not sys.platform.startswith("linux"):
        return None
    names = ("sched_getcpu", "sched_getaffinity", "sched_setaffinity")
    found = [address(getattr(ctypes.CDLL(None), name, None)) for name in names]
    return (ctypes.c_void_p * len(found))(*found) if all(found) else None


word = ctypes.c_int64.from_address


class Pool:
    """Workers of this process; they are started when they are wanted for the first time."""

    def __init__(self) -> None:
        self.memory = ctypes.create_string_buffer(BOX * MOST)
        self.boxes = -(-ctypes.addressof(self.memory) // BOX) * BOX
        self.workers: list[threading.Thread] = []
        self.starting = threading.Lock()
        self.functions = native()
        self.launch = self.functions["launch"]
        self.places = placing()

    def run(self, function: int, table: int, threads: int) -> int:
        """Call ``function(table, thread, threads)`` in up to so many threads, this one included;
        gives how many there were."""
        if len(self.workers) < threads - 1:
            self.grow(threads - 1)
        workers = min(threads - 1, len(self.workers))
        return self.launch(  # type: ignore[no-any-return]
            self.boxes, workers, function, table, self.places
        )

    def grow(self, count: int) -> None:
        """Start workers, as many as the system allows."""
        with self.starting, contextlib.suppress(RuntimeError):  # can't start new thread
            while len(self.workers) < min(count, MOST - 1):
                box = self.boxes + BOX * len(self.workers)
                self.furnish(box)
                thread = threading.Thread(
                    target=self.functions["worker"], args=(box,), daemon=True,
                    name=f"contraflow {len(self.workers) + 1}",
                )  # fmt: skip
                thread.start()
                word(box + NUMBER).value = thread.native_id or 0
                self.workers.append(thread)

    def furnish(self, box: int) -> None:
        """Put into a box what its worker needs. Python's own locks need no interpreter, on any
        system; this one is held, so that who acquires it sleeps until it is released."""
        api = ctypes.pythonapi
        allocate = api.PyThread_allocate_lock
        allocate.restype = ctypes.c_void_p
        lock = ctypes.c_void_p(allocate())
        api.PyThread_acquire_lock(lock, 1)
        words = {
            0: TAKEN, LOCK: lock.value or 0, ACQUIRE: address(api.PyThread_acquire_lock),
            RELEASE: address(api.PyThread_release_lock), GIVE: yielding(), APART: -1,
        }  # fmt: skip
        for offset, value in words.items():
            word(box + offset).value = value

    def wait(self, table: int) -> None:
        """Until no worker is in code that was called with this table. The call may have returned
        before: whoever meets the last one there still has to look that all have come."""
        for k in range(len(self.workers)):
            box = self.boxes + BOX * k
            while word(box).value == WORK and word(box + TABLE).value == table:
                sleep(0)

    def stop(self) -> bool:
        """Let the workers end, as soon as they are free; whether all have within a second."""
        until = monotonic() + 1.0
        for k, thread in enumerate(self.workers):
            while thread.is_alive() and monotonic() < until:
                self.functions["stop"](self.boxes + BOX * k)
                thread.join(0.001)
        return not any(thread.is_alive() for thread in self.workers)


_pool: Pool | None = None
_left: list[Pool] = []
_making = threading.Lock()


def pool() -> Pool:
    """The workers of this process."""
    global _pool
    if _pool is None:
        with _making:
            if _pool is None:
                _pool = Pool()
    return _pool


def settle(table: int) -> None:
    """Wait until nobody works on a table any more."""
    if _pool is not None:
        _pool.wait(table)


@atexit.register
def leave() -> None:
    """End the workers before the interpreter goes, or before the process is copied: a child has
    none of its parent's threads."""
    global _pool
    left, _pool = _pool, None
    if left is not None and not left.stop():
        _left.append(left)  # busy for another Python thread: their boxes must stay


def renew() -> None:
    """In a child process: nobody else is here."""
    global _pool, _making
    _pool, _making = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=leave, after_in_child=renew)
