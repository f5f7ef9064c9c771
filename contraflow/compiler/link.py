"""From LLVM's text to functions in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from itertools import count
from threading import RLock
from typing import Any

from contraflow.compiler.cache import key_of, load, store
from contraflow.compiler.llvm import binding as llvm
from contraflow.compiler.targets import machine, target

__all__ = ["INLINING", "PASSES", "compiled", "jit", "library", "link", "optimised"]

# The kernels are written as they should be: what is left to do is to fold constants, to compute
# once what is written twice, and to drop what nobody uses. LLVM's own O1 takes three times as
# long, for steps that are no faster.
PASSES = ("ipsccp", "instruction_combine", "new_gvn", "aggressive_dce", "simplify_cfg")
# Kernels that are written out in one function, with their short loops; what they pass on through
# the stack becomes registers.
INLINING = ("always_inliner", "instruction_combine", "loop_unroll", "sroa", *PASSES)
# llvmlite has a lock of its own, which a process copied in the middle of another thread's work
# would never see released: so nobody forks meanwhile.
_working = RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_working.acquire, after_in_parent=_working.release, after_in_child=_working.release
    )


def optimised(text: str, passes: tuple[str, ...] = PASSES) -> Any:
    """A module as LLVM knows it, simplified."""
    parsed = llvm.parse_assembly(text)
    parsed.verify()
    manager = llvm.create_new_module_pass_manager()
    for name in passes:
        getattr(manager, f"add_{name}_pass")()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    manager.run(parsed, llvm.create_pass_builder(machine(), options))
    return parsed


def compiled(text: str, passes: tuple[str, ...] = PASSES) -> bytes:
    """The object code of a module."""
    with _working:
        return machine().emit_object(optimised(text, passes))  # type: ignore[no-any-return]


@cache
def jit() -> Any:
    return llvm.create_lljit_compiler(machine())


_libraries = count()


def link(code: bytes, symbols: Iterable[str]) -> Any:
    """Object code in memory: a mapping from its symbols to addresses, which keeps it there."""
    with _working:
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
        for symbol in symbols:
            builder.export_symbol(symbol)
        return builder.link(jit(), f"step{next(_libraries)}")


def library(name: str, text: Callable[[], str], symbols: Iterable[str]) -> Any:
    """The functions of a module that is the same for all steps, from the disk if any process has
    compiled it before: what ``link`` gives."""
    key = key_of(name, *target().key)
    code = load(key)
    if code is None:
        code = compiled(text())
        store(key, code)
    return link(code, symbols)
