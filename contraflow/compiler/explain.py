"""What became of a step, in words and numbers."""

from __future__ import annotations

from collections import Counter
from math import prod

from contraflow.compiler.loops import Contraction, Convolution, Draw, Kernel, Opaque
from contraflow.compiler.native import Native
from contraflow.graph.ir import Graph

__all__ = ["report"]


def flops(kernel: Kernel) -> int:
    """Floating-point operations, a multiplication with its addition counted as two."""
    points = prod(kernel.dims)
    product = 0
    if isinstance(kernel.anchor, Contraction):
        product = 2 * points * kernel.anchor.k
    elif isinstance(kernel.anchor, Convolution):
        product = 2 * kernel.anchor.products()
    return product + points * sum(n.op not in ("load", "const", "product") for n in kernel.nodes())


def traffic(kernel: Kernel) -> int:
    """Bytes read and written, each buffer counted once."""
    places = [*kernel.reads(), *kernel.gulps(), *kernel.writes()]
    return sum(b.nbytes for b in {p.buffer for p in places})


def kind(kernel: Kernel) -> str:
    if isinstance(kernel.anchor, Contraction):
        return "product"
    if isinstance(kernel.anchor, Convolution):
        return "convolution"
    if isinstance(kernel.anchor, Draw):
        return "random"
    if isinstance(kernel.anchor, Opaque):
        return "NumPy"
    return "reduction" if kernel.reductions else "loop"


def report(graph: Graph, native: Native) -> str:
    """The kernels in order, with sizes, what was fused, and what is left to NumPy."""
    program = native.program
    lines = [
        f"{graph.name}: {len(graph.equations)} equations -> {len(program.kernels)} kernels, "
        f"arena {len(native.arena) / 1024:.0f} KiB",
        f"{'':>4} {'kind':<9} {'points':<16} {'MFLOP':>8} {'KiB':>8}  fused",
    ]
    for number, kernel in enumerate(program.kernels):
        counted = Counter(kernel.ops)
        fused = " ".join(name if n == 1 else f"{name}*{n}" for name, n in counted.items())
        lines.append(
            f"{number:>4} {kind(kernel):<9} {list(kernel.dims)!s:<16} "
            f"{flops(kernel) / 1e6:>8.3f} {traffic(kernel) / 1024:>8.1f}  {fused[:100]}"
        )
    opaque = Counter(k.anchor.op.name for k in program.kernels if isinstance(k.anchor, Opaque))
    if opaque:
        names = ", ".join(f"{name} ({n})" for name, n in opaque.items())
        lines.append(f"left to NumPy, because they have no native form: {names}")
    else:
        lines.append("everything is native")
    return "\n".join(lines)
