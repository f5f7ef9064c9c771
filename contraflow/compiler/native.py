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
from contraflow.compiler.convolution import (
    convolution,
    scratch_of,
    weight_gradient,
    weight_scratch_of,
)
from contraflow.compiler.draw import uniform
from contraflow.compiler.kernels import Text, loops
from contraflow.compiler.loops import (
    Buffer,
    Contraction,
    Convolution,
    Draw,
    Kernel,
    Opaque,
    Place,
)
from contraflow.compiler.product import panel_of, product
from contraflow.compiler.schedule import Program

__all__ = ["Native"]

ALIGN = 64


# ---- memory ------------------------------------------------------------------------------------


def plan(program: Program, scratch: dict[int, Buffer]) -> int:
    """Give each arena buffer its place, so that two never overlap while both are alive; bytes."""
    life: dict[Buffer, list[int]] = {}
    for number, kernel in enumerate(program.kernels):
        places = (*kernel.writes(), *kernel.reads(), *kernel.gulps())
        buffers = [p.buffer for p in places]
        if number in scratch:
            buffers.append(scratch[number])
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


def write_kernel(kernel: Kernel) -> tuple[Text, Buffer | None]:
    """The function of a kernel, and the scratch memory that it needs."""
    if isinstance(kernel.anchor, Contraction):
        panel = panel_of(kernel)
        return product(kernel, panel), panel
    if isinstance(kernel.anchor, Convolution):
        if kernel.anchor.of_weight:
            scratch = weight_scratch_of(kernel)
            return weight_gradient(kernel, scratch), scratch
        scratch = scratch_of(kernel)
        return convolution(kernel, scratch), scratch
    return (uniform(kernel) if isinstance(kernel.anchor, Draw) else loops(kernel)), None


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
        parameters = ", ".join(f"ptr noalias %a{k}" for k in range(len(text.buffers)))
        body = f"({parameters}) nounwind {{\nentry:\n" + "\n".join(text.lines) + "\n}\n"
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
            given = ", ".join(f"ptr {loaded[b]}" for b in text.buffers)
            calls.append(f"  call void @{self.kernel(text)}({given})")
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
def machine() -> Any:
    """The target: this very CPU."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=2,
        jit=True,
    )


@cache
def jit() -> Any:
    return llvm.create_lljit_compiler(machine())


def compiled(text: str) -> bytes:
    """The object code of a module."""
    parsed = llvm.parse_assembly(text)
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine(), options)
    builder.getModulePassManager().run(parsed, builder)
    return machine().emit_object(parsed)  # type: ignore[no-any-return]


_libraries = count()


class Native:
    """A compiled program with its memory: point the buffers at arrays, then call."""

    def __init__(self, program: Program, apart: bool = False) -> None:
        self.program, self.apart = program, apart
        external = [*program.inputs, *program.constants, *program.outputs]
        self.slots = {buffer: 1 + k for k, buffer in enumerate(external)}
        written = {
            number: write_kernel(kernel)
            for number, kernel in enumerate(program.kernels)
            if not isinstance(kernel.anchor, Opaque)
        }
        scratch = {n: panel for n, (_, panel) in written.items() if panel is not None}
        self.arena = np.zeros(plan(program, scratch) + ALIGN, np.uint8)
        self.table = (ctypes.c_void_p * (1 + len(self.slots)))()
        self.start = -self.arena.ctypes.data % ALIGN
        self.table[0] = self.arena.ctypes.data + self.start
        self.arrays: dict[Buffer, Any] = {}
        for buffer, array in program.constants.items():
            self.point(buffer, array)
        module = Module(self.slots)
        self.parts = list(self.segments(module, {n: text for n, (text, _) in written.items()}))
        self.text = module.text()
        self.link([name for name in self.parts if isinstance(name, str)])

    def segments(self, module: Module, texts: dict[int, Text]) -> Iterator[str | Opaque]:
        """The names of native drivers, and the opaque ops between them, in order."""
        run: list[Text] = []
        number = 0
        for k, kernel in enumerate([*self.program.kernels, None]):
            anchor = None if kernel is None else kernel.anchor
            native = kernel is not None and not isinstance(anchor, Opaque)
            if native:
                run.append(texts[k])
                if not self.apart:
                    continue
            if run:
                name = f"part{number}"
                module.driver(name, run)
                yield name
                run, number = [], number + 1
            if isinstance(anchor, Opaque):
                yield anchor

    def link(self, names: list[str]) -> None:
        """Machine code for the module; each driver becomes a function to call."""
        calls: list[Callable[[], None]] = []
        if names:
            builder = llvm.JITLibraryBuilder().add_object_img(compiled(self.text))
            builder.add_current_process()
            for name in names:
                builder.export_symbol(name)
            self.library = builder.link(jit(), f"step{next(_libraries)}")
            kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
            address = ctypes.addressof(self.table)
        for part in self.parts:
            if isinstance(part, str):
                calls.append(partial(kind(self.library[part]), address))
            else:
                calls.append(partial(self.run_opaque, part))
        self.calls = calls

    def point(self, buffer: Buffer, array: Any) -> None:
        """Say which array a buffer is; it must be contiguous."""
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
