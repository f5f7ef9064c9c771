"""Kernels that move into the convolution that they work for, before it or after it."""

from __future__ import annotations

from contraflow.compiler.convolution import gives_channels
from contraflow.compiler.inner import INNER, Uses, continuing, passed_on, preparing
from contraflow.compiler.kernels import rebuilt
from contraflow.compiler.loops import Buffer, Convolution, Kernel, Place
from contraflow.compiler.weight_gradient import takes_channels

__all__ = ["absorb"]


def absorb(kernels: list[Kernel]) -> list[Kernel]:
    """The same program, with fewer passes over memory: what works on a convolution's result a
    channel of an image at a time does so there, while that is in the first cache; what prepares the
    gradient that a weight's gradient is made of, and nothing else, is computed there."""
    return continued(prepared(kernels))


def continued(kernels: list[Kernel]) -> list[Kernel]:
    uses, gone = Uses(kernels), set[int]()
    for number, kernel in enumerate(kernels):
        if not gives_channels(kernel):
            continue
        images, channels = kernel.dims[:2]
        found = [n for n in continuing(uses, number, images, channels) if n not in gone]
        if found:
            private = passed_on(uses, number, found, images, channels)
            planes = {b: plane(b, images, channels) for b in private}
            anchor(kernel).after = tuple(moved(kernels[n], planes) for n in found)
            kernel.stores = [(shown(place, planes), node) for place, node in kernel.stores]
            kernel.ops += [op for n in found for op in kernels[n].ops]
            gone.update(found)
    return [kernel for number, kernel in enumerate(kernels) if number not in gone]


def prepared(kernels: list[Kernel]) -> list[Kernel]:
    uses, gone = Uses(kernels), set[int]()
    for number, kernel in enumerate(kernels):
        if not takes_channels(kernel):
            continue
        c = anchor(kernel)
        images, channels = c.weight.shape[:2]
        found = preparing(uses, number, c.weight.buffer, images, channels)
        if found:
            stored = [place.buffer for n in found for place, _ in kernels[n].stores]
            planes = {b: plane(b, images, channels) for b in stored}
            c.before = tuple(moved(kernels[n], planes) for n in found)
            c.weight = shown(c.weight, planes)
            kernel.ops[:0] = [op for n in found for op in kernels[n].ops]
            gone.update(found)
    return [kernel for number, kernel in enumerate(kernels) if number not in gone]


def anchor(kernel: Kernel) -> Convolution:
    assert isinstance(kernel.anchor, Convolution)
    return kernel.anchor


def plane(buffer: Buffer, images: int, channels: int) -> Buffer:
    """A channel of an image of a buffer, in scratch memory."""
    return Buffer(INNER, buffer.dtype, buffer.size // (images * channels), buffer.label)


def shown(place: Place, planes: dict[Buffer, Buffer]) -> Place:
    """A place, in the plane if its buffer has become one."""
    if place.buffer not in planes:
        return place
    return Place(planes[place.buffer], place.offset, place.shape, (0, 0, *place.strides[2:]))


def moved(kernel: Kernel, planes: dict[Buffer, Buffer]) -> Kernel:
    return rebuilt(
        kernel, kernel.dims, lambda place: shown(place, planes), lambda start, s: (start, s)
    )
