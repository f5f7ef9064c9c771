"""Native code as a function of Python's own kind, which takes the arrays that it works on.

``ctypes`` takes a quarter of a microsecond for a call, and to ask an array for its shape, dtype
and memory takes half of one: more than a small step. ``PyCFunction_NewEx`` makes of an address
what an extension module would define. One piece of native code serves all steps: its ``self`` is
an array of words that says which forms its arguments have, what to call, and where in the tables
the arguments' addresses go. Of CPython it uses functions of the stable ABI; of NumPy the public
structure of an array, if it lies where it should.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from contraflow.compiler.address import FIELDS, address_of, has_fields
from contraflow.compiler.link import library

__all__ = ["Code", "entry"]

Code = tuple[int, int]  # the addresses of a ``step`` and of its table
WORDS = ("bool", "leave", "return", "guard", "guard.table", "alarm", "step", "table",
         "forms.count", "slots.count")  # fmt: skip
FORM = ("type", "descr", "dims", "nd")  # then of each argument
SLOT = ("argument", "slot")  # then for each address that is written: of which argument, and where
METH_FASTCALL = 0x80  # function(self, arguments, count)
CONTIGUOUS = 1


def words(names: tuple[str, ...], at: str, numbers: tuple[str, ...] = ()) -> str:
    """The words at an address as registers of their names."""
    lines = []
    for k, name in enumerate(names):
        lines.append(f"  %{name}.at = getelementptr i64, ptr {at}, i64 {k}")
        lines.append(f"  %{name} = load {'i64' if name in numbers else 'ptr'}, ptr %{name}.at")
    return "\n".join(lines)


def text() -> str:
    """The LLVM text of ``enter(self, arguments, count)``.

    It looks whether the arguments are arrays of the right forms, writes the addresses of their
    memory into the tables, and calls the guard, and then the step, if there is one and the guard
    has found nothing. Otherwise it gives False. If ``leave`` is not null, other Python threads may
    run meanwhile.
    """
    head, pointer = object.__basicsize__, ctypes.sizeof(ctypes.c_void_p)
    fields = {name: head + at for name, at in FIELDS.items()} | {"type": head - pointer}
    field = {name: f"getelementptr i8, ptr %array, i64 {at}" for name, at in fields.items()}
    return f"""
define ptr @enter(ptr %self, ptr %arguments, i64 %given) nounwind {{
entry:
  %words.at = getelementptr i8, ptr %self, i64 {head}
  %words = load ptr, ptr %words.at
{words(WORDS, "%words", ("forms.count", "slots.count"))}
  %forms = getelementptr i64, ptr %words, i64 {len(WORDS)}
  %form.words = mul i64 %forms.count, {len(FORM)}
  %slots = getelementptr i64, ptr %forms, i64 %form.words
  %right = icmp eq i64 %given, %forms.count
  br i1 %right, label %form.test, label %wrong
form.test:
  %f = phi i64 [ 0, %entry ], [ %f.next, %form.done ]
  %f.more = icmp ult i64 %f, %forms.count
  br i1 %f.more, label %form, label %slot.test
form:
  %form.word = mul i64 %f, {len(FORM)}
  %known = getelementptr i64, ptr %forms, i64 %form.word
{words(FORM, "%known", ("nd",))}
  %array.at = getelementptr ptr, ptr %arguments, i64 %f
  %array = load ptr, ptr %array.at
  %its.type.at = {field["type"]}
  %its.type = load ptr, ptr %its.type.at
  %is.array = icmp eq ptr %its.type, %type
  br i1 %is.array, label %fields, label %wrong
fields:
  %its.descr.at = {field["descr"]}
  %its.descr = load ptr, ptr %its.descr.at
  %same.descr = icmp eq ptr %its.descr, %descr
  %its.nd.at = {field["nd"]}
  %its.nd.int = load i32, ptr %its.nd.at
  %its.nd = sext i32 %its.nd.int to i64
  %same.nd = icmp eq i64 %its.nd, %nd
  %its.flags.at = {field["flags"]}
  %its.flags = load i32, ptr %its.flags.at
  %flag = and i32 %its.flags, {CONTIGUOUS}
  %contiguous = icmp ne i32 %flag, 0
  %its.dims.at = {field["dims"]}
  %its.dims = load ptr, ptr %its.dims.at
  %same = and i1 %same.descr, %same.nd
  %usable = and i1 %same, %contiguous
  br i1 %usable, label %dim.test, label %wrong
dim.test:
  %d = phi i64 [ 0, %fields ], [ %d.next, %dim ]
  %d.more = icmp ult i64 %d, %nd
  br i1 %d.more, label %dim, label %form.done
dim:
  %its.dim.at = getelementptr i64, ptr %its.dims, i64 %d
  %its.dim = load i64, ptr %its.dim.at
  %dim.at = getelementptr i64, ptr %dims, i64 %d
  %dim.known = load i64, ptr %dim.at
  %same.dim = icmp eq i64 %its.dim, %dim.known
  %d.next = add i64 %d, 1
  br i1 %same.dim, label %dim.test, label %wrong
form.done:
  %f.next = add i64 %f, 1
  br label %form.test
slot.test:
  %s = phi i64 [ 0, %form.test ], [ %s.next, %point ]
  %s.more = icmp ult i64 %s, %slots.count
  br i1 %s.more, label %point, label %pointed
point:
  %slot.word = mul i64 %s, {len(SLOT)}
  %place = getelementptr i64, ptr %slots, i64 %slot.word
{words(SLOT, "%place", ("argument",))}
  %source.at = getelementptr ptr, ptr %arguments, i64 %argument
  %source = load ptr, ptr %source.at
  %memory.at = getelementptr i8, ptr %source, i64 {fields["data"]}
  %memory = load ptr, ptr %memory.at
  store ptr %memory, ptr %slot
  %s.next = add i64 %s, 1
  br label %slot.test
pointed:
  %leaves = icmp ne ptr %leave, null
  br i1 %leaves, label %out, label %guarding
out:
  %state = call ptr %leave()
  br label %guarding
guarding:
  %thread = phi ptr [ null, %pointed ], [ %state, %out ]
  %guarded = icmp ne ptr %guard, null
  br i1 %guarded, label %look, label %stepping
look:
  call void %guard(ptr %guard.table, i64 0, i64 1)
  %alarmed = load i8, ptr %alarm
  %fine = icmp eq i8 %alarmed, 0
  br i1 %fine, label %stepping, label %end
stepping:
  %steps = icmp ne ptr %step, null
  br i1 %steps, label %run, label %end
run:
  call void %step(ptr %table, i64 0, i64 1)
  br label %end
end:
  %well = phi i64 [ 0, %look ], [ 1, %stepping ], [ 1, %run ]
  br i1 %leaves, label %back, label %answer
back:
  call void %return(ptr %thread)
  br label %answer
answer:
  %found = call ptr %bool(i64 %well)
  ret ptr %found
wrong:
  %no = call ptr %bool(i64 0)
  ret ptr %no
}}
"""


class Method(ctypes.Structure):
    """``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )  # fmt: skip


def address(function: Any) -> int:
    """Where one of CPython's functions lies."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@cache
def native() -> tuple[Method, Any]:
    """The method, and the library that keeps its code in memory."""
    functions = library("entry", text, ["enter"])
    return Method(b"enter", functions["enter"], METH_FASTCALL, None), functions


def entry(
    step: Code | None, guard: Code | None, alarm: Any, arrays: Sequence[Any],
    slots: Sequence[tuple[int, int]], alone: bool,
) -> Callable[..., bool] | None:  # fmt: skip
    """A function that takes arrays and calls native code on them, and says whether it could; None
    where Python or NumPy are not those that this was written for.

    Args:
        step: what is called; None: only the guard is.
        guard: what is called before, and sets ``alarm`` if the step may not run.
        arrays: such as will be given: of these shapes and dtypes.
        slots: (argument, address) of each word that says where an argument's memory begins.
        alone: other threads of Python need not run meanwhile.
    """
    api = getattr(ctypes, "pythonapi", None)
    if api is None or not has_fields():
        return None
    leaving = (0, 0)
    if not alone:
        leaving = address(api.PyEval_SaveThread), address(api.PyEval_RestoreThread)
    head = [address(api.PyBool_FromLong), *leaving, *(guard or (0, 0)), address_of(alarm)]
    head += [*(step or (0, 0)), len(arrays), len(slots)]
    sizes = len(head) + len(FORM) * len(arrays) + len(SLOT) * len(slots)  # where they begin
    block = np.empty(sizes + sum(a.ndim for a in arrays), np.int64)
    at = address_of(block) + 8 * sizes
    forms: list[int] = []
    dims: list[int] = []
    for a in arrays:
        forms += [id(np.ndarray), id(np.dtype(a.dtype.type)), at + 8 * len(dims), a.ndim]
        dims += a.shape
    block[:] = [*head, *forms, *(word for pair in slots for word in pair), *dims]
    new = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.POINTER(Method), ctypes.py_object, ctypes.c_void_p
    )(("PyCFunction_NewEx", api))
    return new(native()[0], block, None)  # type: ignore[no-any-return]
