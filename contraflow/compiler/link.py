"""From LLVM's text to functions in memory."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import count
from typing import Any

from contraflow.compiler.llvm import binding as llvm
from contraflow.compiler.targets import machine

__all__ = ["compiled", "jit", "link", "optimised"]


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


@cache
def jit() -> Any:
    return llvm.create_lljit_compiler(machine())


_libraries = count()


def link(code: bytes, symbols: Iterable[str]) -> Any:
    """Object code in memory: a mapping from its symbols to addresses, which keeps it there."""
    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for symbol in symbols:
        builder.export_symbol(symbol)
    return builder.link(jit(), f"step{next(_libraries)}")
