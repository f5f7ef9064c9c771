"""What the two forms of the gradient of a convolution's weight share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from math import prod

from contraflow.compiler.emit import Emitter, kind_of
from contraflow.compiler.image import plus, times
from contraflow.compiler.inner import INNER
from contraflow.compiler.kernels import Text
from contraflow.compiler.loops import Buffer, Convolution, Kernel
from contraflow.compiler.positions import forward_part
from contraflow.compiler.targets import target

__all__ = ["Form"]


class Form(ABC):
    """What both forms share: sizes, names of buffers, and the walk over images."""

    size: int  # of the scratch memory

    def __init__(self, kernel: Kernel, c: Convolution) -> None:
        self.c = c = replace(c, out=c.weight.shape[2:])  # positions are those of dy
        ((self.into, _),) = kernel.stores
        self.kind = kind_of(c.image.buffer.dtype)
        self.tile = target().tile(self.kind)
        self.lanes = self.tile.lanes
        self.part = forward_part(c)
        self.channels = c.image.shape[1] // c.groups
        self.outputs = c.weight.shape[1] // c.groups
        self.rows = self.channels * prod(c.kernel)
        self.area = prod(c.out)  # positions of one channel of dy
        self.e = Emitter()

    def name(self, scratch: Buffer) -> None:
        order = [self.c.image.buffer, self.c.weight.buffer, self.into.buffer, scratch]
        inner = [p.buffer for k in self.c.before for p in (*k.reads(), *k.writes())]
        given = [b for b in (*order, *inner) if b.kind != INNER]
        self.buffers = list(dict.fromkeys(given))
        self.names = {b: f"%a{k}" for k, b in enumerate(self.buffers)}
        self.x, self.dy, self.dw, self.memory = (self.names.get(b, "") for b in order)

    @abstractmethod
    def text(self, scratch: Buffer) -> Text:
        """The function that computes the gradient this way."""

    def image(self, n: str, g: str) -> str:
        """The address of a group's channels of an image."""
        n_step, c_step = self.c.image.strides[:2]
        at = plus(self.e, times(self.e, n, n_step), times(self.e, g, c_step * self.channels))
        return self.e.gep(self.x, plus(self.e, at, self.c.image.offset), self.kind)

    def gradient(self, n: str, o: str) -> str:
        """The address of dy for an image, from output channel o on."""
        n_step, o_step = self.c.weight.strides[:2]
        at = plus(self.e, times(self.e, n, n_step), times(self.e, o, o_step))
        return self.e.gep(self.dy, plus(self.e, at, self.c.weight.offset), self.kind)

    def position(self, d: str, h: str) -> str:
        """The number of the position (d, h, 0)."""
        along = self.part.along.count
        return plus(self.e, times(self.e, d, self.part.down.count * along), times(self.e, h, along))
