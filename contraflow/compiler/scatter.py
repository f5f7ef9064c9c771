"""The LLVM text of scattering: elements of a source written, or added, where an index says.

The source is walked in the order of its memory, so where an index occurs more than once, values
are added one after the other, in the order of eager.
"""

from __future__ import annotations

from typing import Any

from contraflow.compiler.emit import Emitter, Reg, kind_of
from contraflow.compiler.kernels import Text, combine, strips
from contraflow.compiler.loops import Kernel, Place, Serial

__all__ = ["scatter"]


class Scatter:
    """The loop nest over the source: (index, source) -> target."""

    def __init__(self, kernel: Kernel, e: Emitter) -> None:
        anchor = kernel.anchor
        assert isinstance(anchor, Serial)
        self.e, self.dims = e, kernel.dims
        self.index, self.source = anchor.inputs
        (self.target,) = anchor.outputs
        self.how: str | None = anchor.attrs["how"]
        self.dim, self.size = anchor.attrs["dim"], anchor.attrs["size"]
        self.stride: int = anchor.attrs["stride"]
        places = (self.index, self.source, self.target)
        self.buffers = list(dict.fromkeys(p.buffer for p in places))
        # whole slabs, contiguous in source and target: eight elements at once
        self.slabs = (
            self.index.strides[-1] == 0
            and self.dim != len(self.dims) - 1
            and self.source.strides[-1] == self.target.strides[-1] == 1
        )

    def pointer(self, place: Place, indices: list[str], more: str = "0") -> str:
        e = self.e
        at = e.value(f"add nsw i64 {place.offset}, {more}", "i64")[0]
        for index, stride in zip(indices, place.strides, strict=True):
            if stride:
                step = e.value(f"mul nsw i64 {index}, {stride}", "i64")[0]
                at = e.value(f"add nsw i64 {at}, {step}", "i64")[0]
        name = f"%a{self.buffers.index(place.buffer)}"
        return e.gep(name, at, kind_of(place.buffer.dtype))

    def point(self, indices: list[str]) -> None:
        e = self.e
        found = e.scalar_load(self.pointer(self.index, indices), kind_of(self.index.buffer.dtype))
        with e.wide(1):
            wide = e.convert(found, "i64")
            # a wrong index never leaves the array: it was reported, or element 0 stays as it is
            fits = e.value(f"icmp ult i64 {wide[0]}, {self.size}", "i1")
            wide = e.select(fits, wide, e.const(0, "i64"))
            jump = e.value(f"mul nsw i64 {wide[0]}, {self.stride}", "i64")[0]
        kind = kind_of(self.target.buffer.dtype)
        new = e.load(self.pointer(self.source, indices), kind)
        pointer = self.pointer(self.target, indices, jump)
        old = e.load(pointer, kind)
        made = new if self.how is None else self.together(old, new)
        e.store(self.chosen(fits, made, old), pointer)

    def together(self, old: Reg, new: Reg) -> Reg:
        """Added, multiplied ..., and rounded each time."""
        kind, e = new[1], self.e
        wide = "f32" if kind == "f16" else kind
        assert self.how is not None
        made = combine(e, self.how, e.convert(old, wide), e.convert(new, wide))
        return e.convert(made, kind)

    def chosen(self, fits: Reg, new: Reg, old: Reg) -> Reg:
        """One flag for all lanes."""
        t = self.e.type(new[1])
        return self.e.value(f"select i1 {fits[0]}, {t} {new[0]}, {t} {old[0]}", new[1])

    def nest(self, indices: list[str]) -> None:
        e, d = self.e, len(indices)
        if d == len(self.dims):
            self.point(indices)
        elif d == len(self.dims) - 1 and self.slabs:
            for lanes, begin, end in strips(self.dims[d]):
                with e.wide(lanes), e.loop(begin, end, lanes) as i:
                    self.point([*indices, i])
        else:
            whole: tuple[Any, Any] = (0, self.dims[d])
            with e.loop(*(("%begin", "%end") if d == 0 and self.divides else whole)) as i:
                self.nest([*indices, i])

    @property
    def divides(self) -> bool:
        """Whether parts of the first dimension have targets of their own."""
        return self.dim != 0 and len(self.dims) > 1


def scatter(kernel: Kernel) -> Text:
    """The function of a kernel that scatters into its target, in place."""
    e = Emitter()
    written = Scatter(kernel, e)
    empty = 0 in kernel.dims or not written.size
    if not empty:
        written.nest([])
    e.line("ret void")
    split = kernel.dims[0] if written.divides and not empty else 0
    return Text(e, written.buffers, split=split)
