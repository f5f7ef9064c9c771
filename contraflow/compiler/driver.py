"""The LLVM text of a module: one function for each distinct kernel, and drivers that call them."""

from __future__ import annotations

import hashlib
from typing import Any

from contraflow.compiler.kernels import Text
from contraflow.compiler.loops import Buffer
from contraflow.compiler.phases import Task

__all__ = ["MEETING_BYTES", "YIELD", "Memory", "Module", "pause", "small"]

LINE = 128  # bytes that no other thread's writing disturbs
MEETING_BYTES = 3 * LINE  # threads that have arrived; meetings so far; the function that yields
YIELD = 2 * LINE
SPINS = 300  # looks at what another thread will write, before the core is offered to others
SHORT = 2_000  # lines of all kernels together that are written out in one function,
FEW = 2_048  # if all that they touch has so few bytes
COPY = "llvm.memcpy.p0.p0.i64"


class Memory:
    """How the arena is laid out: what the kernels share, where threads meet, and scratch memory of
    each thread's own."""

    def __init__(self, shared: int, own: int) -> None:
        self.meeting = -(-shared // LINE) * LINE
        self.first, self.own = self.meeting + MEETING_BYTES, -(-own // LINE) * LINE

    def size(self, threads: int) -> int:
        """Bytes for so many threads."""
        return self.first + threads * self.own


def pause(triple: str) -> tuple[str, str]:
    """A declaration, and the call that tells the CPU that a loop waits."""
    if triple.startswith(("x86_64", "i386", "i686")):
        return "declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"
    if triple.startswith(("aarch64", "arm64")):
        return "declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"
    return "", ""


# The last to arrive opens a new meeting; the others look for that, and let other programs have
# the core if it takes long, because the thread that is late may need it.
MEET = """
define internal void @meet(ptr %place, i64 %threads) noinline nounwind {{
entry:
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %number = getelementptr i8, ptr %place, i64 {line}
  %before = load atomic i64, ptr %number monotonic, align 8
  %others = atomicrmw add ptr %place, i64 1 acq_rel, align 8
  %here = add i64 %others, 1
  %last = icmp eq i64 %here, %threads
  br i1 %last, label %open, label %look
open:
  store atomic i64 0, ptr %place monotonic, align 8
  %next = add i64 %before, 1
  store atomic i64 %next, ptr %number release, align 8
  br label %done
look:
  %looks = phi i64 [ 0, %arrive ], [ %looks.next, %wait ], [ %looks.next, %offer ]
  %now = load atomic i64, ptr %number acquire, align 8
  %opened = icmp ne i64 %now, %before
  br i1 %opened, label %done, label %again
again:
  %looks.next = add i64 %looks, 1
  %soon = icmp ult i64 %looks.next, {spins}
  br i1 %soon, label %wait, label %offer
wait:
  {pause}
  br label %look
offer:
  %yield.at = getelementptr i8, ptr %place, i64 {give}
  %yield = load ptr, ptr %yield.at, align 8
  %ignored = call i32 %yield()
  br label %look
done:
  ret void
}}
"""


def small(texts: dict[int, Text]) -> bool:
    """Whether kernels are so small that passing numbers through memory costs more than computing
    them: then they become one function."""
    buffers = {buffer for text in texts.values() for buffer in text.buffers}
    lines = sum(len(text.lines) for text in texts.values())
    return lines <= SHORT and sum(buffer.nbytes for buffer in buffers) <= FEW


class Module:
    """Functions of kernels, and of each run of kernels two drivers.

    ``part0(table)`` runs it on one thread. ``team0(table, thread, threads)`` is called by each of
    the threads and comes back when all are done; ``helps0`` is 1 if that is faster. ``step`` is the
    only team, if there is one part.
    The table holds addresses; slot 0 is the arena. ``inlines``: there are kernels that are to be
    written out in their driver.
    """

    def __init__(self, slots: dict[Buffer, int], memory: Memory, triple: str) -> None:
        self.slots, self.memory, self.inlines = slots, memory, False
        declared, wait = pause(triple)
        self.declared: dict[str, None] = {declared: None}
        self.bodies: dict[str, str] = {}
        self.drivers = [MEET.format(line=LINE, give=YIELD, spins=SPINS, pause=wait)]

    def kernel(self, text: Text, how: str = "nounwind") -> str:
        """The name of the function with this text."""
        self.declared.update(dict.fromkeys(sorted(text.declared)))
        body = f"({text.parameters}) {how} {{\nentry:\n" + "\n".join(text.lines) + "\n}\n"
        digest = hashlib.sha256(body.encode()).hexdigest()[:12]
        return self.bodies.setdefault(body, f"kernel_{digest}")

    def alone(self, k: int, texts: dict[int, Text]) -> None:
        """The drivers of a part that is one thread's work."""
        self.one_thread(k, Driver(self, "0"), texts)

    def inline(self, k: int, texts: dict[int, Text], written: set[Buffer]) -> None:
        """The same as one function; ``written``: what the kernels write."""
        self.inlines = True
        self.one_thread(k, Inlining(self, written), texts)

    def one_thread(self, k: int, driver: Driver, texts: dict[int, Text]) -> None:
        """The drivers of a part in which the others of a team look on."""
        self.helps(k, 0)
        for text in texts.values():
            driver.lines.append(driver.call(text, ("0", str(text.split))))
        driver.leave()
        self.define(f"part{k}(ptr %table)", driver)
        team = Driver(self, "%thread")
        first = team.once("first", "icmp eq i64 %thread, 0")
        team.when(first, [f"  call void @part{k}(ptr %table)"])
        team.meet()
        self.define(f"team{k}(ptr %table, i64 %thread, i64 %threads)", team)

    def team(self, k: int, texts: dict[int, Text], phases: list[list[Task]]) -> None:
        """The drivers of a part whose work is dealt out."""
        self.helps(k, 1)
        driver = Driver(self, "%thread")
        for tasks in phases:
            driver.phase(tasks, texts)
        self.define(f"team{k}(ptr %table, i64 %thread, i64 %threads)", driver)
        driver = Driver(self, "0")
        driver.lines = [f"  call void @team{k}(ptr %table, i64 0, i64 1)"]
        self.define(f"part{k}(ptr %table)", driver)

    def helps(self, k: int, answer: int) -> None:
        """Whether a team helps: a number that is kept with the code."""
        self.drivers.append(f"@helps{k} = constant i64 {answer}")

    def whole(self) -> None:
        """The name of the only part."""
        driver = Driver(self, "%thread")
        driver.lines = ["  call void @team0(ptr %table, i64 %thread, i64 %threads)"]
        self.define("step(ptr %table, i64 %thread, i64 %threads)", driver)

    def define(self, head: str, driver: Driver) -> None:
        lines = [*driver.start, *driver.lines, "  ret void", "}"]
        self.drivers.append("\n".join([f"define void @{head} nounwind {{", "entry:", *lines]))

    def text(self) -> str:
        kernels = [f"define internal void @{name}{body}" for body, name in self.bodies.items()]
        return "\n".join([*self.declared, *kernels, *self.drivers]) + "\n"


class Driver:
    """The body of a driver."""

    how = "nounwind"  # the attributes of its kernels

    def __init__(self, module: Module, thread: str) -> None:
        self.module, self.thread = module, thread
        self.start = ["  %arena = load ptr, ptr %table, align 8"]
        self.lines: list[str] = []
        self.known: dict[Any, str] = {}  # what was computed at the start
        self.blocks = 0

    # ---- values computed once --------------------------------------------------------------------

    def once(self, key: Any, text: str) -> str:
        """A register with the value of an instruction, computed at the start."""
        if key not in self.known:
            self.known[key] = f"%v{len(self.known)}"
            self.start.append(f"  {self.known[key]} = {text}")
        return self.known[key]

    def address(self, buffer: Buffer) -> str:
        if buffer.kind == "own":
            return self.own()
        if buffer.kind == "arena":
            return self.once(buffer, f"getelementptr i8, ptr %arena, i64 {buffer.offset}")
        slot = self.module.slots[buffer]
        at = self.once(("slot", slot), f"getelementptr ptr, ptr %table, i64 {slot}")
        return self.once(buffer, f"load ptr, ptr {at}, align 8")

    def own(self) -> str:
        """This thread's scratch memory."""
        memory = self.module.memory
        first = f"getelementptr i8, ptr %arena, i64 {memory.first}"
        if self.thread == "0":
            return self.once("own", first)
        step = self.once("step", f"mul i64 {self.thread}, {memory.own}")
        return self.once("own", f"getelementptr i8, ptr {self.once('owned', first)}, i64 {step}")

    def share(self, units: int) -> tuple[str, str]:
        """The units that this thread does: from where to where."""
        next_one = self.once("next", f"add i64 {self.thread}, 1")
        ends = []
        for name in (self.thread, next_one):
            many = self.once((units, name, "many"), f"mul i64 {name}, {units}")
            ends.append(self.once((units, name), f"udiv i64 {many}, %threads"))
        return ends[0], ends[1]

    # ---- what it does ----------------------------------------------------------------------------

    def call(self, text: Text, units: tuple[str, str]) -> str:
        given = [f"ptr {self.address(b)}" for b in text.buffers]
        if text.split:
            given += [f"i64 {units[0]}", f"i64 {units[1]}"]
        return f"  call void @{self.module.kernel(text, self.how)}({', '.join(given)})"

    def phase(self, tasks: list[Task], texts: dict[int, Text]) -> None:
        """This thread's part of a phase, and the meeting after it."""
        owner = ""
        lines: list[str] = []
        for task in tasks:
            text = texts[task.number]
            if task.divided:
                begin, end = self.share(text.split)
                mine = self.once(("some", begin, end), f"icmp ult i64 {begin}, {end}")
                line = self.call(text, (begin, end))
            else:
                rank = self.once(("rank", task.chain), f"urem i64 {task.chain}, %threads")
                mine = self.once(("mine", task.chain), f"icmp eq i64 {rank}, {self.thread}")
                line = self.call(text, ("0", str(text.split)))
            if mine != owner:
                self.when(owner, lines)
                owner, lines = mine, []
            lines.append(line)
        self.when(owner, lines)
        self.meet()

    def when(self, condition: str, lines: list[str]) -> None:
        if not lines:
            return
        self.blocks += 1
        mine, after = f"mine{self.blocks}", f"after{self.blocks}"
        self.lines += [f"  br i1 {condition}, label %{mine}, label %{after}", f"{mine}:", *lines]
        self.lines += [f"  br label %{after}", f"{after}:"]

    def leave(self) -> None:
        """What the kernels have written is where others look for it."""

    def meet(self) -> None:
        place = f"getelementptr i8, ptr %arena, i64 {self.module.memory.meeting}"
        self.lines.append(f"  call void @meet(ptr {self.once('meeting', place)}, i64 %threads)")


class Inlining(Driver):
    """A driver with a copy of each buffer on the stack, which nobody else can read or write: once
    the kernels are written out between the copies, LLVM keeps what they pass on in registers."""

    how = "nounwind alwaysinline"

    def __init__(self, module: Module, written: set[Buffer]) -> None:
        super().__init__(module, "0")
        self.written = written
        self.copies: dict[Buffer, str] = {}

    def address(self, buffer: Buffer) -> str:
        if buffer not in self.copies:
            copy = f"alloca [{buffer.nbytes} x i8], align {LINE}"
            self.copies[buffer] = self.once(("copy", buffer), copy)
            if buffer.kind not in ("arena", "own"):
                place = super().address(buffer)
                self.start.append(self.moved(buffer, place, self.copies[buffer]))
        return self.copies[buffer]

    def moved(self, buffer: Buffer, source: str, to: str) -> str:
        self.module.declared[f"declare void @{COPY}(ptr, ptr, i64, i1)"] = None
        return f"  call void @{COPY}(ptr {to}, ptr {source}, i64 {buffer.nbytes}, i1 false)"

    def leave(self) -> None:
        for buffer, copy in self.copies.items():
            if buffer in self.written and buffer.kind not in ("arena", "own"):
                self.lines.append(self.moved(buffer, copy, super().address(buffer)))
