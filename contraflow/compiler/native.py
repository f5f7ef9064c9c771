"""From kernels to machine code: memory plan, one module of small functions, LLVM, entry point."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import count
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from contraflow.base.modes import current
from contraflow.compiler.cache import key_of, load, store
from contraflow.compiler.convolution import (
    convolution,
    scratch_of,
    weight_gradient,
    weight_scratch_of,
)
from contraflow.compiler.draw import uniform
from contraflow.compiler.kernels import Text
from contraflow.compiler.loops import (
    Buffer,
    Contraction,
    Convolution,
    Draw,
    Kernel,
    Opaque,
    Place,
    Serial,
)
from contraflow.compiler.nests import loops
from contraflow.compiler.product import panel_of, product
from contraflow.compiler.schedule import Program
from contraflow.compiler.serial import serial
from contraflow.compiler.targets import machine, target

__all__ = ["Native"]

ALIGN = 64


# ---- memory ------------------------------------------------------------------------------------


def plan(program: Program, scratch: dict[int, Buffer | None]) -> int:
    """Give each arena buffer its place, so that two never overlap while both are alive; bytes."""
    life: dict[Buffer, list[int]] = {}
    for number, kernel in enumerate(program.kernels):
        places = (*kernel.writes(), *kernel.reads(), *kernel.gulps())
        buffers = [p.buffer for p in places]
        own = scratch[number]
        if own is not None:
            buffers.append(own)
        for buffer in buffers:
            if buffer.kind == "arena":
                life.setdefault(buffer, [number, number])[1] = number
    total = 0
    placed: list[Buffer] = []
    for buffer in sorted(life, key=lambda b: -b.nbytes):
        begin, end = life[buffer]
        rivals = sorted(
            (o.offset, o.offset + o.nbytes)
            for o in placed
            if life[o][0] <= end and begin <= life[o][1]
        )
        offset = 0
        for low, high in rivals:
            if offset + buffer.nbytes <= low:
                break
            offset = max(offset, -(-high // ALIGN) * ALIGN)
        buffer.offset = offset
        placed.append(buffer)
        total = max(total, offset + buffer.nbytes)
    return -(-max(total, 1) // ALIGN) * ALIGN


# ---- text --------------------------------------------------------------------------------------


def scratch_for(kernel: Kernel) -> Buffer | None:
    """The scratch memory that a kernel needs for itself."""
    if isinstance(kernel.anchor, Contraction):
        return panel_of(kernel)
    if isinstance(kernel.anchor, Convolution):
        return (weight_scratch_of if kernel.anchor.of_weight else scratch_of)(kernel)
    if isinstance(kernel.anchor, Serial):
        return kernel.anchor.scratch
    return None


def write_kernel(kernel: Kernel, scratch: Buffer | None) -> Text:
    """The function of a kernel."""
    if isinstance(kernel.anchor, Serial):
        return serial(kernel)
    if scratch is None:
        return uniform(kernel) if isinstance(kernel.anchor, Draw) else loops(kernel)
    if isinstance(kernel.anchor, Contraction):
        return product(kernel, scratch)
    assert isinstance(kernel.anchor, Convolution)
    return (weight_gradient if kernel.anchor.of_weight else convolution)(kernel, scratch)


class Module:
    """One function for each distinct kernel, and a driver for each run of native kernels.

    A driver takes a table of addresses; slot 0 is the arena.
    """

    def __init__(self, slots: dict[Buffer, int]) -> None:
        self.slots = slots
        self.declared: dict[str, None] = {}
        self.bodies: dict[str, str] = {}
        self.drivers: list[str] = []

    def kernel(self, text: Text) -> str:
        """The name of the function with this text."""
        self.declared.update(dict.fromkeys(sorted(text.declared)))
        body = f"({text.parameters}) nounwind {{\nentry:\n" + "\n".join(text.lines) + "\n}\n"
        digest = hashlib.sha256(body.encode()).hexdigest()[:12]
        return self.bodies.setdefault(body, f"kernel_{digest}")

    def driver(self, name: str, texts: list[Text]) -> None:
        """A function that calls kernels in order."""
        lines = ["  %arena = load ptr, ptr %table, align 8"]
        loaded: dict[Buffer, str] = {}
        calls = []
        for text in texts:
            for buffer in text.buffers:
                if buffer not in loaded:
                    loaded[buffer] = f"%b{len(loaded)}"
                    lines += self.address(buffer, len(loaded) - 1)
            given = [f"ptr {loaded[b]}" for b in text.buffers]
            if text.split:
                given += ["i64 0", f"i64 {text.split}"]
            calls.append(f"  call void @{self.kernel(text)}({', '.join(given)})")
        head = f"define void @{name}(ptr %table) nounwind {{"
        self.drivers.append("\n".join([head, "entry:", *lines, *calls, "  ret void", "}"]))

    def address(self, buffer: Buffer, k: int) -> list[str]:
        if buffer.kind == "arena":
            return [f"  %b{k} = getelementptr i8, ptr %arena, i64 {buffer.offset}"]
        return [
            f"  %s{k} = getelementptr ptr, ptr %table, i64 {self.slots[buffer]}",
            f"  %b{k} = load ptr, ptr %s{k}, align 8",
        ]

    def text(self) -> str:
        kernels = [f"define internal void @{name}{body}" for body, name in self.bodies.items()]
        return "\n".join([*self.declared, *kernels, *self.drivers]) + "\n"


# ---- LLVM --------------------------------------------------------------------------------------


@cache
def jit() -> Any:
    return llvm.create_lljit_compiler(machine())


def optimised(text: str) -> Any:
    """A module as LLVM knows it, simplified."""
    parsed = llvm.parse_assembly(text)
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine(), options)
    builder.getModulePassManager().run(parsed, builder)
    return parsed


def compiled(text: str) -> bytes:
    """The object code of a module."""
    return machine().emit_object(optimised(text))  # type: ignore[no-any-return]


_libraries = count()


class Native:
    """A compiled program with its memory: point the buffers at arrays, then call.

    Args:
        program: the kernels in order.
        name: a text that says the same for programs with the same kernels: their graph.
        apart: a call for each kernel, so that each can be timed.
    """

    def __init__(self, program: Program, name: str, apart: bool = False) -> None:
        self.program, self.apart = program, apart
        external = [*program.inputs, *program.constants, *program.outputs]
        self.slots = {buffer: 1 + k for k, buffer in enumerate(external)}
        self.scratch = {n: scratch_for(kernel) for n, kernel in enumerate(program.kernels)}
        self.arena = np.zeros(plan(program, self.scratch) + ALIGN, np.uint8)
        self.table = (ctypes.c_void_p * (1 + len(self.slots)))()
        self.start = -self.arena.ctypes.data % ALIGN
        self.table[0] = self.arena.ctypes.data + self.start
        self.arrays: dict[Buffer, Any] = {}
        for buffer, array in program.constants.items():
            self.point(buffer, array)
        self.parts = list(self.divide())
        self.calls = self.link(self.code(key_of(name, str(apart), *target().key)))

    def divide(self) -> Iterator[list[int] | Opaque]:
        """Runs of native kernels, and the opaque ops between them."""
        run: list[int] = []
        for number, kernel in enumerate(self.program.kernels):
            if isinstance(kernel.anchor, Opaque):
                if run:
                    yield run
                yield kernel.anchor
                run = []
            elif self.apart:
                yield [number]
            else:
                run.append(number)
        if run:
            yield run

    def text(self) -> str:
        """The LLVM text of all kernels, and a driver ``part0``, ``part1`` ... for each run."""
        module = Module(self.slots)
        for k, part in enumerate(self.parts):
            if isinstance(part, list):
                kernels = self.program.kernels
                texts = [write_kernel(kernels[n], self.scratch[n]) for n in part]
                module.driver(f"part{k}", texts)
        return module.text()

    def code(self, key: str) -> bytes:
        """The machine code, from the disk if it was compiled before."""
        self.cached = True
        found = load(key)
        if found is None:
            self.cached = False
            found = compiled(self.text())
            store(key, found)
        return found

    def link(self, code: bytes) -> list[Callable[[], None]]:
        """Put the code into memory; each part becomes a function to call."""
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
        for k, part in enumerate(self.parts):
            if isinstance(part, list):
                builder.export_symbol(f"part{k}")
        self.library = builder.link(jit(), f"step{next(_libraries)}")
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        address = ctypes.addressof(self.table)
        return [
            partial(kind(self.library[f"part{k}"]), address)
            if isinstance(part, list)
            else partial(self.run_opaque, part)
            for k, part in enumerate(self.parts)
        ]

    def point(self, buffer: Buffer, array: Any) -> None:
        """Say which array a buffer is; it must be contiguous."""
        if self.arrays.get(buffer) is array:
            return
        self.table[self.slots[buffer]] = array.__array_interface__["data"][0]
        self.arrays[buffer] = array

    def view(self, place: Place) -> Any:
        """The array that a place shows."""
        buffer = place.buffer
        if buffer.kind == "arena":
            begin = self.start + buffer.offset
            flat = self.arena[begin : begin + buffer.nbytes].view(buffer.dtype)
        else:
            flat = self.arrays[buffer].reshape(-1)
        strides = [s * buffer.dtype.itemsize for s in place.strides]
        return np.lib.stride_tricks.as_strided(flat[place.offset :], place.shape, strides)

    def run_opaque(self, part: Opaque) -> None:
        """One op by NumPy."""
        args = [self.view(v) if isinstance(v, Place) else v for v in part.inputs]
        result = current().quiet(part.op.forward, *args, **part.attrs)
        results = result if part.op.outputs > 1 else (result,)
        for place, array in zip(part.outputs, results, strict=True):
            np.copyto(self.view(place), array)

    def __call__(self) -> None:
        for call in self.calls:
            call()
