"""The expressions of a kernel over the positions of a convolution: three dimensions, slice by
slice, and a slice as one row where that is possible."""

from __future__ import annotations

from contraflow.compiler.kernels import rebuilt
from contraflow.compiler.loops import Kernel, Place
from contraflow.compiler.positions import Axis, in_space

__all__ = ["flattened", "is_flat", "seen_from", "spread_out"]


def spread_out(kernel: Kernel) -> Kernel:
    """The kernel over [batch, channels] and three dimensions, whatever it has."""

    def strides(s: tuple[float, ...]) -> tuple[float, ...]:
        return (*s[:2], *in_space(s[2:], 0))

    shape = (*kernel.dims[:2], *in_space(kernel.dims[2:], 1))
    return rebuilt(
        kernel, shape,
        lambda p: Place(p.buffer, p.offset, shape, strides(p.strides)),  # type: ignore[arg-type]
        lambda start, s: (start, strides(s)),
    )  # fmt: skip


def seen_from(kernel: Kernel, deep: Axis) -> Kernel:
    """The kernel over some of the slices."""
    shape = (*kernel.dims[:2], deep.count, *kernel.dims[3:])

    def moved(start: float, s: tuple[float, ...]) -> tuple[float, tuple[float, ...]]:
        return start + deep.start * s[2], (*s[:2], s[2] * deep.stride, *s[3:])

    def place(p: Place) -> Place:
        offset, strides = moved(p.offset, p.strides)
        return Place(p.buffer, offset, shape, strides)  # type: ignore[arg-type]

    return rebuilt(kernel, shape, place, moved)


def is_flat(kernel: Kernel) -> bool:
    """Whether all positions of a slice can be walked as one row."""
    found = [p.strides for p in (*kernel.reads(), *kernel.writes())]
    found += [n.value[1] for n in kernel.nodes() if n.op == "index"]
    down, along = kernel.dims[-2:]
    return down == 1 or along == 1 or all(s[-2] == s[-1] * along for s in found)


def flattened(kernel: Kernel) -> Kernel:
    """All positions of a slice as one row."""
    *lead, down, along = kernel.dims
    shape, kept = (*lead, down * along), len(lead) + (along > 1)

    def strides(s: tuple[float, ...]) -> tuple[float, ...]:
        return (*s[:-2], s[kept])

    def reduced(dims: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(min(d, len(lead)) for d in dims if d < len(lead) or d == kept)

    return rebuilt(
        kernel, shape,
        lambda p: Place(p.buffer, p.offset, shape, strides(p.strides)),  # type: ignore[arg-type]
        lambda start, s: (start, strides(s)), reduced,
    )  # fmt: skip
