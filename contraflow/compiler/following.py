"""What follows a convolution in its kernel: expressions over rows of results, and sums of them."""

from __future__ import annotations

from contraflow.compiler.emit import Emitter, kind_of
from contraflow.compiler.image import plus, times
from contraflow.compiler.kernels import Body, identity
from contraflow.compiler.loops import Buffer, Kernel
from contraflow.compiler.positions import Axis
from contraflow.compiler.space import flattened, is_flat, seen_from
from contraflow.compiler.sums import sum_row

__all__ = ["Following", "start_sums"]


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
        slices: which of them.
        down: how many rows of results come at a time at least.
    """

    def __init__(
        self, kernel: Kernel, e: Emitter, kind: str, extra: Buffer, slices: Axis, down: int = 1
    ) -> None:
        seen = seen_from(kernel, slices)
        self.e, self.kind, self.down = e, kind, down
        self.height, self.width = seen.dims[-2:]
        self.flat = is_flat(seen) and self.height % down == 0
        self.body = Body(flattened(seen) if self.flat else seen, e, (extra,))

    def rows(self, at: list[str], block: str, top: str, high: int) -> None:
        """Rows ``top`` and so on of [image, channel, slice], which lie in the block: one by one,
        or all as one."""
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
