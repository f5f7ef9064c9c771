"""What a kernel costs: operations, bytes, and roughly how long it takes one thread."""

from __future__ import annotations

from math import prod

from contraflow.compiler.loops import Contraction, Convolution, Draw, Kernel, Opaque, Serial, Visits
from contraflow.compiler.pointwise import DEAR

__all__ = ["flops", "seconds", "traffic"]

# Seconds of a core of today: only to tell what is worth a second thread.
FLOP = 1 / 60e9  # of a product or a convolution
BYTE = 1 / 40e9
POINT = 0.05e-9  # an operation on one number, eight at a time
DEAR_POINT = 0.6e-9  # exp, tanh ... and Philox
ALONE_POINT = 1e-9  # whatever goes one by one


def flops(kernel: Kernel) -> int:
    """Floating-point operations, a multiplication with its addition counted as two."""
    if isinstance(kernel.anchor, Visits):
        return sum(map(flops, kernel.anchor.members))
    points = prod(kernel.dims)
    product = 0
    if isinstance(kernel.anchor, Contraction):
        product = 2 * points * kernel.anchor.k
    elif isinstance(kernel.anchor, Convolution):
        product = 2 * kernel.anchor.products()
    own = points * sum(n.op not in ("load", "const", "product") for n in kernel.nodes())
    return product + own + sum(map(flops, within(kernel)))


def within(kernel: Kernel) -> tuple[Kernel, ...]:
    """The kernels that run inside another one."""
    return kernel.anchor.inner if isinstance(kernel.anchor, Convolution) else ()


def traffic(kernel: Kernel) -> int:
    """Bytes read and written, each buffer counted once."""
    places = [*kernel.reads(), *kernel.gulps(), *kernel.writes()]
    return sum(b.nbytes for b in {p.buffer for p in places})


def seconds(kernel: Kernel) -> float:
    """About how long one thread works on it."""
    points, anchor = prod(kernel.dims), kernel.anchor
    if isinstance(anchor, Visits):
        return sum(map(seconds, anchor.members))
    if isinstance(anchor, Serial | Opaque):
        return points * ALONE_POINT + traffic(kernel) * BYTE
    total = traffic(kernel) * BYTE
    if isinstance(anchor, Contraction):
        total += 2 * points * anchor.k * FLOP
    elif isinstance(anchor, Convolution):
        total += 2 * anchor.products() * FLOP
    elif isinstance(anchor, Draw):
        total += points * DEAR_POINT
    return total + sum(prod(k.dims) * pointwise(k) for k in (kernel, *within(kernel)))


def pointwise(kernel: Kernel) -> float:
    """What its expressions take at each point."""
    total = 0.0
    for node in kernel.nodes():
        scattered = node.place is not None and node.place.strides and node.place.strides[-1] > 1
        if node.op == "take" or scattered:
            total += ALONE_POINT
        elif node.op in DEAR:
            total += DEAR_POINT
        else:
            total += POINT
    return total
