"""What follows a convolution in its kernel: expressions over rows of results, and sums of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from contraflow.compiler.emit import Emitter, kind_of
from contraflow.compiler.image import plus, times
from contraflow.compiler.inner import Inner
from contraflow.compiler.kernels import Body, identity
from contraflow.compiler.loops import Buffer, Convolution, Kernel
from contraflow.compiler.positions import Axis
from contraflow.compiler.space import flattened, is_flat, seen_from, spread_out
from contraflow.compiler.sums import sum_row

__all__ = ["Following", "alone", "start_sums"]


def alone(kernel: Kernel) -> Kernel:
    """A convolution's kernel over three dimensions, without the kernels that run after it."""
    assert isinstance(kernel.anchor, Convolution)
    return spread_out(replace(kernel, anchor=replace(kernel.anchor, after=())))


def start_sums(kernel: Kernel, body: Body, n: str) -> None:
    """Sums for each channel of an image begin with nothing."""
    e = body.e
    for r in kernel.reductions:
        kind = kind_of(r.into.buffer.dtype)
        start = e.const(identity(r.kind, r.into.buffer.dtype), kind)
        n_step, c_step = r.into.strides[:2]
        with e.loop(0, kernel.dims[1]) as o:
            at = plus(e, plus(e, times(e, n, n_step), times(e, o, c_step)), r.into.offset)
            e.store(start, e.gep(body.names[r.into.buffer], at, kind))


class Following:
    """The expressions of a kernel over the positions of some slices.

    Args:
        kernel: over [batch, channels] and three dimensions.
        names: of the buffers.
        slices: which of them.
        down: how many rows of results come at a time at least.
        inner: what runs after each channel of an image; then all rows come at a time.
    """

    def __init__(
        self, kernel: Kernel, e: Emitter, kind: str, names: Mapping[Buffer, str], slices: Axis,
        down: int = 1, inner: Inner | None = None,
    ) -> None:  # fmt: skip
        seen = seen_from(kernel, slices)
        self.e, self.kind, self.down = e, kind, down
        self.height, self.width = seen.dims[-2:]
        self.flat = is_flat(seen) and self.height % down == 0
        self.body = Body(flattened(seen) if self.flat else seen, e)
        self.body.names, self.inner = dict(names), inner

    def rows(self, at: list[str], block: str, top: str, high: int) -> None:
        """Rows ``top`` and so on of [image, channel, slice], which lie in the block."""
        self.expressions(at, block, top, high)
        if self.inner:
            self.inner.run(at[0], at[1], {})

    def expressions(self, at: list[str], block: str, top: str, high: int) -> None:
        """Row by row, or all as one."""
        e, width = self.e, self.width
        if self.flat:
            self.enter(at)
            self.line(block, times(e, top, width), high * width)
            return
        with e.loop(0, high) as i:
            y = plus(e, top, i)
            line = e.gep(block, times(e, i, width), self.kind)
            if self.height % self.down:
                with e.when(e.compares("ult", y, str(self.height))):
                    self.enter([*at, y])
                    self.line(line, "0", width)
            else:
                self.enter([*at, y])
                self.line(line, "0", width)

    def enter(self, indices: list[str]) -> None:
        self.body.enter_row(indices)
        self.body.prepare()

    def line(self, block: str, start: str, width: int) -> None:
        """The expressions at ``width`` positions from ``start`` on; sums stay in registers."""
        e, kind = self.e, self.kind
        sum_row(self.body, width, self.body.kernel.reductions, start,
                lambda i: e.load(e.gep(block, i, kind), kind))  # fmt: skip
