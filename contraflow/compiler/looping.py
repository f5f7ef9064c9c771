"""The LLVM text of the loop over batches: gather the rows, look at the labels, call the step.

One loop serves every step: what it has to know stands in a block of words. Each thread of a team
runs it, copies its share of the rows, and takes its part in the step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

from contraflow.compiler.driver import LINE, MEET, SPINS, YIELD, pause
from contraflow.compiler.link import library
from contraflow.compiler.targets import target

__all__ = ["ARGUMENT", "DONE", "RESULT", "WORDS", "looping"]

# The words at the beginning of the block. ``meeting`` is where threads meet (see ``driver``); the
# guard is null if there is nothing to look at.
WORDS = ("done", "batches", "size", "rows.first", "step", "table", "guard", "guard.table", "alarm",
         "meeting", "argument.count", "result.count")  # fmt: skip
COUNTS = ("done", "batches", "size", "argument.count", "result.count")
DONE = WORDS.index("done")
ARGUMENT = ("source", "stride", "width", "target")  # then for each argument; bytes
RESULT = ("slot", "place", "bytes")  # for each result: where the table says its place, and that


def copying(name: str, word: str) -> str:
    """The loop that copies rows of one word."""
    return f"""
{name}:
  %{name}.i = phi i64 [ %first, %some ], [ %{name}.next, %{name} ]
  %{name}.at = getelementptr i64, ptr %rows, i64 %{name}.i
  %{name}.row = load i64, ptr %{name}.at
  %{name}.offset = mul i64 %{name}.row, %stride
  %{name}.from = getelementptr i8, ptr %source, i64 %{name}.offset
  %{name}.to = getelementptr {word}, ptr %target, i64 %{name}.i
  %{name}.value = load {word}, ptr %{name}.from, align 1
  store {word} %{name}.value, ptr %{name}.to, align 1
  %{name}.next = add i64 %{name}.i, 1
  %{name}.more = icmp ult i64 %{name}.next, %last
  br i1 %{name}.more, label %{name}, label %done
"""


def loaded(names: tuple[str, ...], counts: tuple[str, ...], block: str) -> str:
    """The words of a block as registers of their names."""
    lines = []
    for k, name in enumerate(names):
        lines.append(f"  %{name}.at = getelementptr i64, ptr {block}, i64 {k}")
        lines.append(f"  %{name} = load {'i64' if name in counts else 'ptr'}, ptr %{name}.at")
    return "\n".join(lines)


NARROW = {4: "i32", 8: "i64"}  # bytes of a row: the word

GATHER = f"""
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal void @gather(ptr %words, ptr %rows, i64 %first, i64 %last) nounwind {{
entry:
{loaded(ARGUMENT, ("stride", "width"), "%words")}
  %any = icmp ult i64 %first, %last
  br i1 %any, label %some, label %done
some:
  switch i64 %width, label %wide [ {" ".join(f"i64 {n}, label %n{n}" for n in NARROW)} ]
{"".join(copying(f"n{n}", word) for n, word in NARROW.items())}
wide:
  %i = phi i64 [ %first, %some ], [ %next, %wide ]
  %at = getelementptr i64, ptr %rows, i64 %i
  %row = load i64, ptr %at
  %offset = mul i64 %row, %stride
  %from = getelementptr i8, ptr %source, i64 %offset
  %place = mul i64 %i, %width
  %to = getelementptr i8, ptr %target, i64 %place
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %width, i1 false)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %last
  br i1 %more, label %wide, label %done
done:
  ret void
}}
"""

# Thread 0 counts, looks at the labels and says where the results go; before and after that all
# threads meet, and at the end, so that nobody still reads what the caller writes next.
LOOP = f"""
define void @epoch(ptr %words, i64 %thread, i64 %threads) nounwind {{
entry:
{loaded(WORDS, COUNTS, "%words")}
  %arguments = getelementptr i64, ptr %words, i64 {len(WORDS)}
  %argument.words = mul i64 %argument.count, {len(ARGUMENT)}
  %results = getelementptr i64, ptr %arguments, i64 %argument.words
  %guarded = icmp ne ptr %guard, null
  %leads = icmp eq i64 %thread, 0
  %first.many = mul i64 %thread, %size
  %first = udiv i64 %first.many, %threads
  %last.many = add i64 %first.many, %size
  %last = udiv i64 %last.many, %threads
  br label %batch
batch:
  %k = phi i64 [ 0, %entry ], [ %k.next, %stepped ]
  %rows = phi ptr [ %rows.first, %entry ], [ %rows.next, %stepped ]
  br label %arguments.test
arguments.test:
  %a = phi i64 [ 0, %batch ], [ %a.next, %argument ]
  %a.more = icmp ult i64 %a, %argument.count
  br i1 %a.more, label %argument, label %gathered
argument:
  %a.word = mul i64 %a, {len(ARGUMENT)}
  %a.words = getelementptr i64, ptr %arguments, i64 %a.word
  call void @gather(ptr %a.words, ptr %rows, i64 %first, i64 %last)
  %a.next = add i64 %a, 1
  br label %arguments.test
gathered:
  call void @meet(ptr %meeting, i64 %threads)
  br i1 %leads, label %lead, label %together
lead:
  br i1 %guarded, label %watch, label %results.test
watch:
  call void %guard(ptr %guard.table, i64 0, i64 1)
  br label %results.test
results.test:
  %r = phi i64 [ 0, %lead ], [ 0, %watch ], [ %r.next, %result ]
  %r.more = icmp ult i64 %r, %result.count
  br i1 %r.more, label %result, label %together
result:
  %r.word = mul i64 %r, {len(RESULT)}
  %r.words = getelementptr i64, ptr %results, i64 %r.word
{loaded(RESULT, ("bytes",), "%r.words")}
  store ptr %place, ptr %slot
  %place.next = getelementptr i8, ptr %place, i64 %bytes
  store ptr %place.next, ptr %place.at
  %r.next = add i64 %r, 1
  br label %results.test
together:
  call void @meet(ptr %meeting, i64 %threads)
  br i1 %guarded, label %look, label %ready
look:
  %alarmed = load i8, ptr %alarm
  %wrong = icmp ne i8 %alarmed, 0
  br i1 %wrong, label %end, label %ready
ready:
  call void %step(ptr %table, i64 %thread, i64 %threads)
  %k.next = add i64 %k, 1
  br i1 %leads, label %count, label %stepped
count:
  store i64 %k.next, ptr %words
  br label %stepped
stepped:
  %rows.next = getelementptr i64, ptr %rows, i64 %size
  %more = icmp ult i64 %k.next, %batches
  br i1 %more, label %batch, label %end
end:
  call void @meet(ptr %meeting, i64 %threads)
  ret void
}}
"""


def text() -> str:
    """The module: ``epoch(words, thread, threads)``."""
    declared, wait = pause(target().triple)
    meet = MEET.format(line=LINE, give=YIELD, spins=SPINS, pause=wait)
    return "\n".join((declared, meet, GATHER, LOOP))


@cache
def looping() -> tuple[int, Callable[[int, int, int], None], Any]:
    """The loop's address, and as a function to call, from the disk if any process has compiled it
    before; with the library, which keeps it in memory."""
    functions = library("epoch", text, ["epoch"])
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    return functions["epoch"], kind(functions["epoch"]), functions
