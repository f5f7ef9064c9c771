"""What became of a step, in words and numbers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from contraflow.compiler.cost import flops, traffic
from contraflow.compiler.loops import Contraction, Convolution, Draw, Kernel, Opaque, Serial, Visits
from contraflow.compiler.rates import rates
from contraflow.compiler.timing import kernel_seconds, total_seconds

if TYPE_CHECKING:
    from contraflow.compiler.guarded import Guarded

__all__ = ["report"]

WIDTH = 72  # characters that the list of fused ops may take


def kind(kernel: Kernel) -> str:
    if isinstance(kernel.anchor, Contraction):
        return "product"
    if isinstance(kernel.anchor, Convolution):
        return "convolution"
    if isinstance(kernel.anchor, Draw):
        return "random"
    if isinstance(kernel.anchor, Serial):
        return kernel.anchor.form  # scan, scatter, argsort ...
    if isinstance(kernel.anchor, Opaque):
        return "NumPy"
    if isinstance(kernel.anchor, Visits):
        return f"{len(kernel.anchor.members)} loops"
    return "reduction" if kernel.reductions else "loop"


def floor(kernel: Kernel) -> float:
    """The seconds that one core needs at best: for the arithmetic, or to move the bytes."""
    double = any(p.buffer.dtype == np.float64 and p.shape for p in kernel.writes())
    peak = rates().flops / (2 if double else 1)
    return max(flops(kernel) / peak, traffic(kernel) / rates().cache)


def fused(kernel: Kernel) -> str:
    """The ops of a kernel, each with how often it is there."""
    counted = Counter(kernel.ops)
    text = " ".join(name if n == 1 else f"{name}*{n}" for name, n in counted.items())
    return f"{text[: WIDTH - 4]} ..." if len(text) > WIDTH else text or "copy"


def scaled(count: float) -> str:
    """A number with three digits and a letter: ``512``, ``8.19k``, ``2.45G``."""
    power = next((p for p in range(3) if count < 999.5 * 1000**p), 3)
    return f"{count / 1000**power:.3g}{('', 'k', 'M', 'G')[power]}"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def report(version: Guarded, times: bool) -> str:
    """Why it was compiled, the kernels in order with their sizes and speed, memory, and what is
    left to NumPy."""
    program = version.native.program
    spent = kernel_seconds(version) if times else []
    lines = [*head(version), columns(times)]
    for number, kernel in enumerate(program.kernels):
        speed = ""
        if times:
            speed = f" {spent[number] * 1e6:>9.3f} {floor(kernel) / spent[number]:>6.0%}"
        lines.append(
            f"{number:>4} {kind(kernel):<11} {list(kernel.dims)!s:<16} {scaled(flops(kernel)):>7} "
            f"{scaled(traffic(kernel)):>7}{speed}  {fused(kernel)}"
        )
    if times:
        lines.append(sums(version, spent))
    lines.append(opaque(program.kernels))
    return "\n".join(lines)


def head(version: Guarded) -> list[str]:
    """What was compiled, why, how long it took, and its memory."""
    graph, native = version.source, version.native
    calls = sum(isinstance(part, list) for part in native.parts)
    guard = " and one that looks at indices" if version.watcher is not None else ""
    written = {p.buffer for kernel in native.program.kernels for p in kernel.writes()}
    alone = sum(buffer.nbytes for buffer in written if buffer.kind == "arena")
    place = "from the disk" if native.cached else "compiled"
    return [
        f"{graph.name}: {plural(len(graph.equations), 'equation')} -> "
        f"{plural(len(native.program.kernels), 'kernel')} in {plural(calls, 'native call')}{guard}",
        f"compiled because: {version.reason}",
        f"took {version.seconds:.2f} s, its code was {place}",
        f"memory: an arena of {scaled(native.memory.meeting)}B ({scaled(alone)}B if nothing shared "
        f"its place), {scaled(native.memory.own)}B of scratch a thread",
    ]


def columns(times: bool) -> str:
    speed = f" {'us':>9} {'floor':>6}" if times else ""
    return f"{'':>4} {'kind':<11} {'points':<16} {'FLOP':>7} {'bytes':>7}{speed}  fused"


def sums(version: Guarded, spent: list[float]) -> str:
    """The whole step against its floor, and what the floor is counted with."""
    least, whole = sum(map(floor, version.native.program.kernels)), total_seconds(version)
    return (
        f"in all {whole * 1e6:.2f} us ({sum(spent) * 1e6:.2f} one by one on one thread); floor "
        f"{least * 1e6:.2f} us ({least / whole:.0%}) of one core with "
        f"{rates().flops / 1e9:.0f} GFLOP/s, {rates().cache / 1e9:.0f} GB/s from the cache"
    )


def opaque(kernels: list[Kernel]) -> str:
    """What is not native."""
    found = Counter(k.anchor.op.name for k in kernels if isinstance(k.anchor, Opaque))
    if not found:
        return "everything is native"
    names = ", ".join(f"{name} ({n})" for name, n in found.items())
    return f"left to NumPy, because they have no native form: {names}"
