"""Whole epochs: the loop over the batches of data in memory, in native code as well.

One driver serves every step. For each batch it copies the rows into the step's arguments, asks the
step's guard whether the labels are in range, says where the results go, and calls the step. It is
called for as many batches as take about ``PIECE`` seconds; in between Python looks for Ctrl-C.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import cache
from operator import length_hint
from time import perf_counter
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
import numpy as np

from contraflow.base.errors import CaptureError, IndexOutOfRange, lesson
from contraflow.base.interrupts import interrupts_wait
from contraflow.base.modes import current
from contraflow.base.tree import map_tree
from contraflow.capture.step import Hole
from contraflow.compiler.cache import key_of, load, store
from contraflow.compiler.link import compiled, jit
from contraflow.compiler.loops import Opaque
from contraflow.compiler.native import Native
from contraflow.compiler.results import HOLE, Results
from contraflow.compiler.targets import target
from contraflow.tensor.tensor import Tensor, make, set_grad

if TYPE_CHECKING:
    from contraflow.compiler.step import Compiled, Version

__all__ = ["run_epoch"]

Array = np.ndarray[Any, Any]
Progress = Callable[[int, Any], None]
PIECE = 0.03  # seconds between two looks at what Python has to do


def run_epoch(step: Compiled, batches: Any, progress: Progress | None) -> Any:
    """``step(*batch)`` for every batch; see ``Compiled.epoch``."""
    if current().interpreter is not None:
        raise CaptureError(
            lesson(
                "an epoch is many calls of a step: it cannot be a part of another compiled step",
                fix="call step.epoch(loader) from plain Python",
            )
        )
    begin = getattr(type(batches), "gathering", None)
    plan: Any = f"{type(batches).__name__} hands out batches one by one"
    if begin is not None:
        plan = begin(batches)
    if isinstance(plan, str):
        results = Results(length_hint(batches, 0))
    else:
        results = Results(len(plan.sizes))
    epoch = Epoch(step, results)
    pieces = epoch.one_by_one(batches, plan) if isinstance(plan, str) else epoch.gathered(plan)
    done, reported, since = 0, 0, perf_counter()
    for count in pieces:
        done += count
        if progress is not None and perf_counter() - since >= PIECE / 2:
            progress(done, results.stacked())
            reported, since = done, perf_counter()
    if progress is not None and reported < done:
        progress(done, results.stacked())
    step.last_epoch = epoch.report()
    return results.stacked()


class Epoch:
    """One pass over the data; what happened is counted for ``explain``."""

    def __init__(self, step: Compiled, results: Results) -> None:
        self.step, self.results = step, results
        self.batches = self.calls = 0
        self.reasons: dict[str, int] = {}

    def report(self) -> str:
        """How the batches went through."""
        text = f"the last epoch: {self.batches} batches"
        if self.calls:
            text += f" in {self.calls} native loops"
        for why, count in self.reasons.items():
            text += f", {count} as calls of their own because {why}"
        return text

    # ---- one by one ------------------------------------------------------------------------------

    def one_by_one(self, batches: Any, why: str) -> Iterator[int]:
        """The loop as one writes it."""
        left = iter(batches)
        while True:
            with interrupts_wait():
                try:
                    batch = next(left)
                except StopIteration:
                    return
                self.single(list(batch) if isinstance(batch, list | tuple) else [batch], why)
            yield 1

    def single(self, batch: list[Any], why: str) -> None:
        """One call of the step."""
        self.results.add(self.step(*batch))
        self.batches += 1
        self.reasons[why] = self.reasons.get(why, 0) + 1

    # ---- from memory -----------------------------------------------------------------------------

    def gathered(self, plan: Any) -> Iterator[int]:
        """Batches that are rows of arrays; runs of equally large ones go through the same code."""
        source = Source(plan.arrays, plan.rows)
        changes = np.flatnonzero(np.diff(plan.sizes)) + 1
        ends = [*changes.tolist(), len(plan.sizes)] if len(plan.sizes) else []
        first = 0
        for end in ends:
            size = int(plan.sizes[first])
            while first < end:
                with interrupts_wait():
                    count = self.piece(source, size, end - first, plan)
                first += count
                yield count
        plan.finish()

    def piece(self, source: Source, size: int, batches: int, plan: Any) -> int:
        """As many of the next batches as fit into a piece, at least one."""
        given = source.first(size)
        version, held = self.step.version_for(tuple(given), {}, [])
        if version.loop is None:
            version.loop = Loop(version)
        loop, done = version.loop, 0
        why = loop.why or strided(version, held)
        if why is None:
            batches = min(batches, loop.pace)
            segment = self.results.segment(loop.tree, loop.avals, batches)
            try:
                loop.run(given, held, source, segment.next_rows(), batches)
            finally:
                done = loop.done
                plan.hand_out(done)
                segment.count += done
                self.batches += done
                self.calls += done > 0
            why = "a label or an index in them is out of range"
        if not done:  # a call of its own, which also says what is wrong
            plan.hand_out(1)
            self.single(given, why)
            done = 1
        source.at += done * size
        return done


class Source:
    """Arrays in memory, and the rows of them that are left."""

    def __init__(self, arrays: list[Array], rows: Array) -> None:
        self.arrays = [a if _has_whole_rows(a) else np.ascontiguousarray(a) for a in arrays]
        size = min(map(len, arrays), default=0)
        self.rows = np.ascontiguousarray(np.where(rows < 0, rows + size, rows))
        self.at = 0
        if len(rows) and not (self.rows.min() >= 0 and self.rows.max() < size):
            raise IndexOutOfRange(
                lesson(
                    f"the batches consist of rows {rows.min()}..{rows.max()}, "
                    f"the data have {size} rows",
                    fix="leave the data as they are while an epoch runs",
                )
            )

    def first(self, size: int) -> list[Tensor]:
        """The next batch, in memory of its own."""
        rows = self.rows[self.at : self.at + size]
        return [make(a.take(rows, axis=0)) for a in self.arrays]


def _has_whole_rows(a: Array) -> bool:
    """Whether each row is one piece of memory."""
    return bool(a[:1].flags.c_contiguous)


# ---- the loop around a version -------------------------------------------------------------------


class Loop:
    """The native loop over batches around one version of a step.

    Attributes:
        why: the reason why there can be none, or None.
        pace: batches that take about ``PIECE`` seconds; done: those of the last call.
        tree, avals: what the step returns.
    """

    def __init__(self, version: Version) -> None:
        self.version, self.pace, self.done = version, 1, 0
        self.why = obstacle(version)
        self.returned = [output for output in version.outputs if output.owner is None]
        self.tree = map_tree(
            lambda leaf: HOLE if isinstance(leaf, Hole) else leaf, version.captured.tree
        )
        self.avals = [(o.shape, np.dtype(o.dtype)) for o in self.returned]

    def set_pace(self, seconds: float) -> None:
        """Do as many batches at a time as the last ones suggest, growing step by step."""
        fitting = int(self.done * PIECE / max(seconds, 1e-9))
        self.pace = max(1, min(fitting, 16 * self.done))

    def run(self, given: list[Tensor], held: list[Any], source: Source, rows: list[Array],
            batches: int) -> None:  # fmt: skip
        """Go through batches; ``done`` counts them, however it ends. It stays behind ``batches`` if
        a label is out of range in the next one.

        Args:
            given: the arguments, with the first batch in them; held: what the step reads besides.
            rows: where the results go, one row a batch.
        """
        version, self.done = self.version, 0
        with version.lock:
            version.read_externals(held)
            version.read_arguments(given)
            for k, read in enumerate(version.captured.scalars):
                version.scalars[k] = read()
            for output in version.outputs:
                if output.owner is not None:
                    output.prepare(version.native, output.owner)
            control, start = self.control(given, source, rows), perf_counter()
            try:
                driver()(control.ctypes.data, batches)
            finally:
                self.done = int(control[DONE])
                if self.done:
                    self.set_pace(perf_counter() - start)
                    self.settle()

    def settle(self) -> None:
        """Leave the gradients of the last batch, as a call does."""
        self.version.stamp([])
        for tensor in self.version.forgotten:
            set_grad(tensor, None)
        for output in self.version.outputs:
            if output.owner is not None:
                output.owner._grad = output.tensor

    def control(self, given: list[Tensor], source: Source, rows: list[Array]) -> Array:
        """What the driver is told: see ``DRIVER``."""
        version = self.version
        native, watcher = version.native, version.watcher
        words = [0, *entry(native), *((0, 0, 0) if watcher is None else
                 (*entry(watcher), version.alarm.ctypes.data))]  # fmt: skip
        size = len(given[0]._value) if given else 0
        words += [source.rows[source.at :].ctypes.data, size, len(given), len(rows)]
        for t, array in zip(given, source.arrays, strict=True):
            width = t._value[:1].nbytes
            words += [array.ctypes.data, array.strides[0], width, t._value.ctypes.data]
        for output, array in zip(self.returned, rows, strict=True):
            native.arrays.pop(output.buffer, None)  # the driver points it elsewhere
            slot = ctypes.addressof(native.table) + 8 * native.slots[output.buffer]
            words += [slot, array.ctypes.data, array[:1].nbytes]
        return np.array(words, np.int64)


def entry(native: Native) -> tuple[int, int]:
    """The address of a program's code and of its table."""
    return native.library["part0"], ctypes.addressof(native.table)


def obstacle(version: Version) -> str | None:
    """Why a version cannot run many batches in one native call; None if it can."""
    for native in (version.native, version.watcher):
        opaque = [] if native is None else [p for p in native.parts if isinstance(p, Opaque)]
        if opaque:
            return f"{opaque[0].op.name} is left to NumPy"
        if native is not None and len(native.parts) != 1:
            return "it computes nothing"
    captured = version.captured
    left = {id(tensor) for tensor, position in captured.grads if position is not None}
    if version.fixed is None or left & set(map(id, captured.without_grad)):
        return "it adds to the gradients of the call before"
    arguments = set(map(id, captured.arguments))
    if version.owners is None or arguments & set(map(id, version.forgotten)):
        return "it leaves gradients of its arguments"
    return None


def strided(version: Version, held: list[Any]) -> str | None:
    """Why state must be copied in and out for every call; None if it is used where it lies."""
    for t, written in zip(held, version.writes, strict=True):
        flags = t._value.flags
        if not flags.c_contiguous or (written and not flags.writeable):
            return "a tensor that it writes or reads is not contiguous"
    return None


# ---- native --------------------------------------------------------------------------------------

DONE = 0  # the word of the control block that counts


def copying(name: str, word: str) -> str:
    """Copies one element of each row."""
    return f"""
{name}:
  %{name}.i = phi i64 [ 0, %entry ], [ %{name}.next, %{name} ]
  %{name}.at = getelementptr i64, ptr %rows, i64 %{name}.i
  %{name}.row = load i64, ptr %{name}.at
  %{name}.offset = mul i64 %{name}.row, %stride
  %{name}.from = getelementptr i8, ptr %source, i64 %{name}.offset
  %{name}.to = getelementptr {word}, ptr %target, i64 %{name}.i
  %{name}.value = load {word}, ptr %{name}.from, align 1
  store {word} %{name}.value, ptr %{name}.to, align 1
  %{name}.next = add i64 %{name}.i, 1
  %{name}.more = icmp ult i64 %{name}.next, %size
  br i1 %{name}.more, label %{name}, label %done
"""


# gather copies rows of one array into an argument: its words say source, bytes from row to row,
# bytes of a row, target. epoch gets the words that Loop.control writes: done; code and table of the
# step; code, table and alarm of the guard, or 0; rows, rows of a batch; numbers of arguments and of
# results; the arguments; for each result its slot in the table, where it goes next, and its bytes.
DRIVER = f"""
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal void @gather(ptr %words, ptr %rows, i64 %size) nounwind {{
entry:
  %source = load ptr, ptr %words
  %stride.at = getelementptr i64, ptr %words, i64 1
  %stride = load i64, ptr %stride.at
  %width.at = getelementptr i64, ptr %words, i64 2
  %width = load i64, ptr %width.at
  %target.at = getelementptr i64, ptr %words, i64 3
  %target = load ptr, ptr %target.at
  switch i64 %width, label %wide [ i64 4, label %four  i64 8, label %eight ]
{copying("four", "i32")}{copying("eight", "i64")}
wide:
  %i = phi i64 [ 0, %entry ], [ %next, %wide ]
  %at = getelementptr i64, ptr %rows, i64 %i
  %row = load i64, ptr %at
  %offset = mul i64 %row, %stride
  %from = getelementptr i8, ptr %source, i64 %offset
  %place = mul i64 %i, %width
  %to = getelementptr i8, ptr %target, i64 %place
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %width, i1 false)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %size
  br i1 %more, label %wide, label %done
done:
  ret void
}}

define void @epoch(ptr %words, i64 %batches) nounwind {{
entry:
{{loads}}
  %arguments = getelementptr i64, ptr %words, i64 10
  %argument.words = mul i64 %argument.count, 4
  %results = getelementptr i64, ptr %arguments, i64 %argument.words
  %guarded = icmp ne ptr %guard, null
  br label %batch
batch:
  %done = phi i64 [ 0, %entry ], [ %done.next, %stepped ]
  %rows = phi ptr [ %rows.first, %entry ], [ %rows.next, %stepped ]
  br label %arguments.test
arguments.test:
  %a = phi i64 [ 0, %batch ], [ %a.next, %argument ]
  %a.more = icmp ult i64 %a, %argument.count
  br i1 %a.more, label %argument, label %gathered
argument:
  %a.word = mul i64 %a, 4
  %a.words = getelementptr i64, ptr %arguments, i64 %a.word
  call void @gather(ptr %a.words, ptr %rows, i64 %size)
  %a.next = add i64 %a, 1
  br label %arguments.test
gathered:
  br i1 %guarded, label %watch, label %results.test
watch:
  call void %guard(ptr %guard.table)
  %alarmed = load i8, ptr %alarm
  %wrong = icmp ne i8 %alarmed, 0
  br i1 %wrong, label %end, label %results.test
results.test:
  %r = phi i64 [ 0, %gathered ], [ 0, %watch ], [ %r.next, %result ]
  %r.more = icmp ult i64 %r, %result.count
  br i1 %r.more, label %result, label %ready
result:
  %r.word = mul i64 %r, 3
  %slot.at = getelementptr i64, ptr %results, i64 %r.word
  %place.at = getelementptr i64, ptr %slot.at, i64 1
  %bytes.at = getelementptr i64, ptr %slot.at, i64 2
  %slot = load ptr, ptr %slot.at
  %place = load ptr, ptr %place.at
  %bytes = load i64, ptr %bytes.at
  store ptr %place, ptr %slot
  %place.next = getelementptr i8, ptr %place, i64 %bytes
  store ptr %place.next, ptr %place.at
  %r.next = add i64 %r, 1
  br label %results.test
ready:
  call void %step(ptr %table)
  br label %stepped
stepped:
  %done.next = add i64 %done, 1
  store i64 %done.next, ptr %words
  %rows.next = getelementptr i64, ptr %rows, i64 %size
  %more = icmp ult i64 %done.next, %batches
  br i1 %more, label %batch, label %end
end:
  ret void
}}
"""

WORDS = ("step", "table", "guard", "guard.table", "alarm", "rows.first", "size", "argument.count",
         "result.count")  # fmt: skip


def driver_text() -> str:
    """The LLVM text of the driver."""
    loads = []
    for k, name in enumerate(WORDS):
        kind = "i64" if name == "size" or name.endswith("count") else "ptr"
        loads.append(f"  %{name}.at = getelementptr i64, ptr %words, i64 {k + 1}")
        loads.append(f"  %{name} = load {kind}, ptr %{name}.at")
    return DRIVER.replace("{loads}", "\n".join(loads))


@cache
def driver() -> Callable[[int, int], None]:
    """The driver as a function to call: from the disk, if any process has compiled it before."""
    key = key_of("epoch", *target().key)
    code = load(key)
    if code is None:
        code = compiled(driver_text())
        store(key, code)
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    library = builder.export_symbol("epoch").link(jit(), "epoch")
    _linked.append(library)
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library["epoch"])


_linked: list[Any] = []  # what must stay in memory
