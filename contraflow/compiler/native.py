"""From kernels to machine code: memory plan, one module of small functions, LLVM, entry point."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from contraflow.base.modes import current
from contraflow.base.threads import available, get_num_threads
from contraflow.compiler.address import address_of
from contraflow.compiler.cache import key_of, load, store
from contraflow.compiler.convolution import (
    convolution,
    scratch_of,
    weight_gradient,
    weight_scratch_of,
)
from contraflow.compiler.cost import seconds
from contraflow.compiler.draw import drawn
from contraflow.compiler.driver import YIELD, Memory, Module, small
from contraflow.compiler.kernels import Text
from contraflow.compiler.link import INLINING, PASSES, compiled, link
from contraflow.compiler.loops import (
    Buffer,
    Contraction,
    Convolution,
    Draw,
    Kernel,
    Opaque,
    Place,
    Serial,
    Visits,
)
from contraflow.compiler.nests import loops, visits
from contraflow.compiler.pace import Pace
from contraflow.compiler.phases import phases, seconds_together
from contraflow.compiler.pool import MOST, pool, settle, yielding
from contraflow.compiler.product import panel_of, product
from contraflow.compiler.schedule import Program
from contraflow.compiler.serial import serial
from contraflow.compiler.targets import target

__all__ = ["Native"]

ALIGN = 64
LEAST = 5e-6  # seconds of a kernel that is worth dividing
ALONE = 40e-6  # of a part that is not worth a second thread
GAIN = 0.9  # of the time on one thread, if a second one is to help


# ---- memory ------------------------------------------------------------------------------------


def plan(program: Program) -> int:
    """Give each arena buffer its place, so that two never overlap while both are alive; bytes."""
    life: dict[Buffer, list[int]] = {}
    for number, kernel in enumerate(program.kernels):
        places = (*kernel.writes(), *kernel.reads(), *kernel.gulps())
        for buffer in (p.buffer for p in places):
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
    """The scratch memory that a kernel needs for itself, once for each thread."""
    found = _scratch_for(kernel)
    if found is not None:
        found.kind = "own"
    return found


def _scratch_for(kernel: Kernel) -> Buffer | None:
    if isinstance(kernel.anchor, Contraction):
        return panel_of(kernel)
    if isinstance(kernel.anchor, Convolution):
        return (weight_scratch_of if kernel.anchor.of_weight else scratch_of)(kernel)
    if isinstance(kernel.anchor, Serial):
        return kernel.anchor.scratch
    return None


def write_kernel(kernel: Kernel, scratch: Buffer | None, divided: bool) -> Text:
    """The function of a kernel; ``divided``: it should be in parts, if it can be."""
    if isinstance(kernel.anchor, Serial):
        return serial(kernel)
    if isinstance(kernel.anchor, Visits):
        return visits(kernel.anchor)
    if scratch is None:
        return drawn(kernel) if isinstance(kernel.anchor, Draw) else loops(kernel, divided)
    if isinstance(kernel.anchor, Contraction):
        return product(kernel, scratch)
    assert isinstance(kernel.anchor, Convolution)
    return (weight_gradient if kernel.anchor.of_weight else convolution)(kernel, scratch)


class Native:
    """A compiled program with its memory: point the buffers at arrays, then call.

    Args:
        program: the kernels in order.
        name: a text that says the same for programs with the same kernels: their graph.
        apart: a call for each kernel, so that each can be timed.

    Attributes:
        library: the addresses of ``step(table, thread, threads)``, which all threads of a team
            call and which returns when they are done (if nothing is left to NumPy), and of
            ``part0(table)`` ..., which one thread calls.
        address: of the table.
        most: threads that there is memory for.
    """

    def __init__(self, program: Program, name: str, apart: bool = False) -> None:
        self.program, self.apart = program, apart
        external = [*program.inputs, *program.constants, *program.outputs]
        self.slots = {buffer: 1 + k for k, buffer in enumerate(external)}
        self.scratch = {n: scratch_for(kernel) for n, kernel in enumerate(program.kernels)}
        own = max((s.nbytes for s in self.scratch.values() if s is not None), default=0)
        self.memory = Memory(plan(program), own)
        self.parts = list(self.divide())
        limits = f"{apart} {LEAST} {ALONE} {GAIN}"
        self.link(self.code(key_of(name, limits, *target().key)))
        self.make_arena()
        self.arrays: dict[Buffer, Any] = {}
        for buffer, array in program.constants.items():
            self.point(buffer, array)

    def make_arena(self) -> None:
        """The memory that the kernels work in, with scratch memory for each thread."""
        together = any(self.teams)
        self.most = min(MOST, max(available(), get_num_threads())) if together else 1
        self.pace = Pace(self.most) if together else None
        self.arena = np.zeros(self.memory.size(self.most) + ALIGN, np.uint8)
        self.start = -self.arena.ctypes.data % ALIGN
        self.table[0] = self.arena.ctypes.data + self.start
        at = self.start + self.memory.meeting + YIELD
        self.arena[at : at + 8].view(np.int64)[0] = yielding()

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

    def module(self) -> Module:
        """The text of all kernels, and of the drivers of each run of them."""
        module = Module(self.slots, self.memory, target().triple)
        for k, part in enumerate(self.parts):
            if isinstance(part, list):
                self.write_part(module, k, part)
        if len(self.parts) == 1 and isinstance(self.parts[0], list):
            module.whole()
        return module

    def write_part(self, module: Module, k: int, part: list[int]) -> None:
        """The drivers of a run of kernels; for a team only if that promises to be faster."""
        kernels = self.program.kernels
        spent = {n: seconds(kernels[n]) for n in part}
        alone = sum(spent.values())
        dividing = alone >= ALONE and not self.apart
        texts = {
            n: write_kernel(kernels[n], self.scratch[n], dividing and spent[n] >= LEAST)
            for n in part
        }
        if dividing:
            divided = {n: spent[n] >= LEAST and texts[n].split > 1 for n in part}
            found = phases(kernels, spent, divided)
            if seconds_together(found) <= GAIN * alone:
                module.team(k, texts, found)
                return
        if len(self.parts) > 1 or not small(texts):
            module.alone(k, texts)
        else:  # what the arena holds is nobody else's
            module.inline(k, texts, {p.buffer for n in part for p in kernels[n].writes()})

    def code(self, key: str) -> bytes:
        """The machine code, from the disk if it was compiled before."""
        self.cached = True
        found = load(key)
        if found is None:
            self.cached = False
            module = self.module()
            found = compiled(module.text(), INLINING if module.inlines else PASSES)
            store(key, found)
        return found

    def link(self, code: bytes) -> None:
        """Put the code into memory; each part becomes a function to call."""
        native = [k for k, part in enumerate(self.parts) if isinstance(part, list)]
        names = [f"{name}{k}" for k in native for name in ("part", "team", "helps")]
        self.library = link(code, names + ["step"] * (len(self.parts) == len(native) == 1))
        self.table = (ctypes.c_void_p * (1 + len(self.slots)))()
        self.address = ctypes.addressof(self.table)
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        self.calls: list[Callable[[], None]] = []
        self.teams: list[int] = []  # what a team calls; 0: one thread is best
        for k, part in enumerate(self.parts):
            if isinstance(part, list):
                self.calls.append(partial(kind(self.library[f"part{k}"]), self.address))
                helps = ctypes.c_int64.from_address(self.library[f"helps{k}"]).value
                self.teams.append(self.library[f"team{k}"] if helps else 0)
            else:
                self.calls.append(partial(self.run_opaque, part))
                self.teams.append(0)

    def point(self, buffer: Buffer, array: Any) -> None:
        """Say which array a buffer is; it must be contiguous."""
        if self.arrays.get(buffer) is array:
            return
        self.table[self.slots[buffer]] = address_of(array)
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

    def __del__(self) -> None:
        if any(getattr(self, "teams", ())):
            settle(self.address)  # code and memory stay until nobody is there

    def __call__(self) -> None:
        """The whole program, on as many threads as are best now."""
        if self.pace is not None:
            self.pace(self.run)
            return
        for call in self.calls:
            call()

    def run(self, threads: int) -> None:
        """The whole program, on up to so many threads, with the same result for any number."""
        for call, team in zip(self.calls, self.teams, strict=True):
            if team and threads > 1:
                pool().run(team, self.address, min(threads, self.most))
            else:
                call()
