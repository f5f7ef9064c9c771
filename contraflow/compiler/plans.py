"""A convolution, or the gradient of its input, as a product of matrices: all sizes as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from contraflow.compiler.emit import kind_of
from contraflow.compiler.image import Scratch
from contraflow.compiler.loops import Convolution
from contraflow.compiler.positions import Part, backward_parts, forward_part
from contraflow.compiler.targets import target

__all__ = ["Plan", "plan_of"]


@dataclass(frozen=True)
class Plan:
    """A convolution as a product over (channel, tap): everything is a number by now."""

    kind: str
    lanes: int
    rows: int  # output channels a group
    channels: int  # input channels a group
    row_step: int  # in the weight, from one output channel to the next
    channel_step: int  # in the weight, from one input channel to the next
    group_step: int  # in the weight, from one group to the next
    parts: tuple[Scratch, ...]

    @property
    def block(self) -> int:
        """Rows of results at a time."""
        return min(self.rows, target().tile(self.kind).rows)

    @property
    def positions(self) -> int:
        """Room for a row of results of a part, in whole tiles."""
        most = max(s.most * s.part.along.count for s in self.parts)
        return -(-most // self.lanes) * self.lanes

    @property
    def images(self) -> int:
        """Elements of all scratch images."""
        return sum(s.size for s in self.parts)

    @property
    def results(self) -> int:
        """Elements of a block of results, and of a row of it whose parts are put together."""
        woven = self.positions * len(self.parts) + self.lanes
        return len(self.parts) * self.block * self.positions + woven * (len(self.parts) > 1)


def plan_of(c: Convolution) -> Plan:
    """The plan of a forward convolution, or of one for the gradient of its input."""
    kind = kind_of(c.image.buffer.dtype)
    lanes = target().tile(kind).lanes
    o, cg = c.weight.shape[:2]
    area, per_group = prod(c.kernel), o // c.groups
    rows, channels, row_step, channel_step = per_group, cg, cg * area, area
    found = [forward_part(c)]
    if c.transposed:
        rows, channels, row_step, channel_step = cg, per_group, area, cg * area
        found = backward_parts(c)
    parts = tuple(images(found, channels, kind, lanes))
    group_step = per_group * cg * area
    return Plan(kind, lanes, rows, channels, row_step, channel_step, group_step, parts)


def images(parts: list[Part], channels: int, kind: str, lanes: int) -> Iterator[Scratch]:
    """The scratch images of all parts, for as many rows of positions in each."""
    window = [part.in_vectors(lanes) for part in parts]
    pairs = list(zip(parts, window, strict=True))
    most = min(Scratch(part, channels, kind, lanes, w).most for part, w in pairs)
    for part, w in pairs:
        yield Scratch(part, channels, kind, lanes, w, most)
