"""Where a convolution looks: the positions of its result, and what each meets in the image.

The gradient of an image is a convolution as well: one for each phase of the stride.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from contraflow.compiler.loops import Convolution

MOST_TAPS = 49  # written out one after the other

__all__ = ["MOST_TAPS", "Axis", "Part", "backward_parts", "forward_part", "in_space"]


@dataclass(frozen=True)
class Axis:
    """Positions along one dimension: position i meets element ``i * step + shift`` of an image of
    ``size`` with element k of the kernel, for each tap (k, shift). Both grow evenly.

    Position i lies at ``start + i * stride`` of the result.
    """

    size: int
    count: int
    step: int
    taps: tuple[tuple[int, int], ...]
    start: int = 0
    stride: int = 1

    @property
    def grows(self) -> tuple[int, int]:
        """From one tap to the next: (in the kernel, in the image)."""
        if len(self.taps) < 2:
            return 0, 0
        (k, shift), (next_k, next_shift) = self.taps[:2]
        return next_k - k, next_shift - shift

    @property
    def inside(self) -> bool:
        """Whether no position leaves the image."""
        reach = (self.count - 1) * self.step
        return all(shift >= 0 and shift + reach < self.size for _, shift in self.taps)


@dataclass(frozen=True)
class Part:
    """Positions that meet the same taps: all of them, but for the gradient of an image that was
    walked with a stride."""

    deep: Axis
    down: Axis
    along: Axis

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        return self.deep, self.down, self.along

    @property
    def taps(self) -> int:
        return prod(len(axis.taps) for axis in self.axes)

    def in_vectors(self, lanes: int) -> bool:
        """Whether rows consist of whole vectors, read as they lie in the image."""
        whole = self.along.count % lanes == 0 and self.along.step == 1
        return whole and 0 < self.taps <= MOST_TAPS


def in_space(values: Sequence[Any], missing: Any) -> tuple[Any, Any, Any]:
    """Three numbers for one to three dimensions. A sequence runs down: rows of one element."""
    if len(values) == 1:
        return missing, values[0], missing
    first = missing if len(values) == 2 else values[0]
    return first, values[-2], values[-1]


def spatial(c: Convolution) -> Iterator[tuple[int, ...]]:
    """For each dimension: sizes of the image and of the result, kernel, stride, dilation and
    padding before."""
    numbers = (c.image.shape[2:], c.out, c.kernel, c.stride, c.dilation)
    before = in_space([lo for lo, _ in c.padding], 0)
    return zip(*(in_space(n, 1) for n in numbers), before, strict=True)


def forward_part(c: Convolution) -> Part:
    """The positions of a forward convolution."""
    return Part(*(
        Axis(n, out, s, tuple((i, i * d - lo) for i in range(k)))
        for n, out, k, s, d, lo in spatial(c)
    ))  # fmt: skip


def backward_parts(c: Convolution) -> list[Part]:
    """The positions of the gradient of an image, ``c.image`` being the gradient of the result:
    each phase of the stride is a convolution of its own, over the taps that reach it. Those that
    share slices have as many rows and columns each: the last ones may lie beyond."""
    deep, *plane = (list(phases(n, size, k, s, d, lo)) for n, size, k, s, d, lo in spatial(c))
    size = in_space(c.out, 1)[0]
    deep = [replace(a, count=len(range(a.start, size, a.stride))) for a in deep]
    return [Part(*axes) for axes in product(deep, *plane)]


def phases(n: int, size: int, kernel: int, stride: int, dilation: int, lo: int) -> Iterator[Axis]:
    """Where ``i stride + k dilation = h + lo``, solved for i in an image of n, for every phase of
    h below ``size``."""
    for start in range(min(stride, size)):
        first, phase = divmod(start + lo, stride)
        taps = tuple(
            (k, first + (phase - k * dilation) // stride)
            for k in range(kernel)
            if (phase - k * dilation) % stride == 0
        )
        yield Axis(n, -(-size // stride), 1, taps, start, stride)
