"""The CPU that code is made for, and the blocks of sums that fit its registers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from contraflow.compiler.emit import BITS
from contraflow.compiler.llvm import binding as llvm

__all__ = ["Target", "Tile", "machine", "target"]


@dataclass(frozen=True)
class Tile:
    """Sums that stay in registers: ``rows`` rows of ``vectors`` vectors of ``lanes`` numbers."""

    rows: int
    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        return self.vectors * self.lanes


@dataclass(frozen=True)
class Registers:
    """The vector registers of a CPU: how many, of how many bytes, and the tile that fills them.

    A tile leaves room for a row of the right operand, numbers of the left one in every lane, and
    products on their way where multiplying and adding are two instructions: all of it stays in
    registers, which a test reads in the code.
    """

    count: int
    size: int
    rows: int
    vectors: int


PLAIN = Registers(16, 16, 4, 2)
REGISTERS = {  # by what the CPU must know, the best first
    "avx512f": Registers(32, 64, 12, 2),
    "fma": Registers(16, 32, 6, 2),
    "avx": Registers(16, 32, 4, 2),
    "neon": Registers(32, 16, 8, 3),
}


@dataclass(frozen=True)
class Target:
    """A CPU as LLVM knows it, and its vector registers."""

    triple: str
    cpu: str
    features: str
    version: str  # of LLVM
    registers: Registers

    def tile(self, kind: str) -> Tile:
        """The tile of sums of a kind, ``"f32"`` or ``"f64"``."""
        r = self.registers
        return Tile(r.rows, r.vectors, r.size * 8 // BITS[kind])

    @property
    def key(self) -> tuple[str, ...]:
        """What decides the code, as text."""
        return self.triple, self.cpu, self.features, self.version


def target() -> Target:
    """The CPU that code is made for: this one, unless ``CONTRAFLOW_CPU`` names another.

    ``CONTRAFLOW_CPU=x86-64`` does without everything newer; ``aarch64-linux-gnu:neoverse-n1``
    (an LLVM triple and a CPU) writes code that can be looked at here but not run.
    """
    return _target(os.environ.get("CONTRAFLOW_CPU", ""))


@cache
def _target(name: str) -> Target:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    version = ".".join(map(str, llvm.llvm_version_info))
    triple, _, cpu = name.rpartition(":")
    if triple:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    else:
        triple = llvm.get_default_triple()
    if cpu:
        return Target(triple, cpu, "", version, registers(written(triple, cpu)))
    known, host = llvm.get_host_cpu_features(), llvm.get_host_cpu_name()
    features = {name for name, present in known.items() if present} or written(triple, host)
    return Target(triple, host, known.flatten(), version, registers(features))


def registers(features: set[str]) -> Registers:
    return next((found for name, found in REGISTERS.items() if name in features), PLAIN)


PROBE = """
define <16 x float> @probe(<16 x float> %a, <16 x float> %b) {
  %c = fmul contract <16 x float> %a, %b
  %d = fadd contract <16 x float> %c, %a
  ret <16 x float> %d
}
"""
NAMES = {"zmm": "avx512f", "vfmadd": "fma", "ymm": "avx", ".4s": "neon"}


def written(triple: str, cpu: str) -> set[str]:
    """The features of a CPU that is not this one, by what LLVM writes for it."""
    made = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=2)
    text = made.emit_assembly(llvm.parse_assembly(PROBE))
    return {feature for name, feature in NAMES.items() if name in text}


def machine() -> Any:
    """LLVM's generator of code for the target."""
    return _machine(target())


@cache
def _machine(chosen: Target) -> Any:
    return llvm.Target.from_triple(chosen.triple).create_target_machine(
        cpu=chosen.cpu, features=chosen.features, opt=2, jit=True
    )
