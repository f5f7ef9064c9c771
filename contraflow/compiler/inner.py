"""Loops within a convolution, a channel of an image at a time.

What prepares the gradient that a weight's gradient is made of (the way back through pooling, an
activation's slope) often serves nothing else. Then it runs there, channel by channel: what passes
from one to the next stays in the first cache, and is never written to memory as a whole.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from contraflow.compiler.emit import Emitter
from contraflow.compiler.image import plus, times
from contraflow.compiler.kernels import Body
from contraflow.compiler.loops import Buffer, Kernel, Place
from contraflow.compiler.nests import nest
from contraflow.compiler.space import flattened, is_flat

__all__ = ["INNER", "Inner", "Uses", "planes_of", "preparing"]

INNER = "inner"  # the kind of a buffer that lives in the scratch memory of one kernel
ALIGN = 16  # elements
MOST = 4  # kernels within a convolution


# ---- the code ------------------------------------------------------------------------------------


def rooms(kernels: Iterable[Kernel]) -> dict[Buffer, int]:
    """The elements of each plane that passes from one of the kernels to the next."""
    read = {p.buffer: -(-p.buffer.size // ALIGN) * ALIGN for k in kernels for p in k.reads()}
    return {buffer: size for buffer, size in read.items() if buffer.kind == INNER}


def planes_of(kernels: Iterable[Kernel]) -> int:
    """The elements of all of them."""
    return sum(rooms(kernels).values())


def inner_of(
    kernels: tuple[Kernel, ...], e: Emitter, names: dict[Buffer, str], planes: str, kind: str
) -> Inner | None:
    """The kernels as one function; the names of the planes are added to the others."""
    if not kernels:
        return None
    inner = Inner(kernels, e, names, planes, kind)
    names |= inner.names
    return inner


class Inner:
    """Kernels over [image, channel, ...] that run for one channel of an image at a time.

    They are a function of their own: their constants would take registers from the sums.

    Args:
        names: of the buffers; planes: where the planes that they pass on may lie.
    """

    def __init__(
        self, kernels: tuple[Kernel, ...], e: Emitter, names: Mapping[Buffer, str], planes: str,
        kind: str,
    ) -> None:  # fmt: skip
        self.e, self.names = e, dict(names)
        at = 0
        for buffer, size in rooms(kernels).items():
            self.names[buffer] = e.gep(planes, str(at), kind)
            at += size
        touched = (p.buffer for k in kernels for p in (*k.reads(), *k.writes()))
        self.buffers = list(dict.fromkeys(touched))
        self.kernels = [flattened(k) if len(k.dims) > 3 and is_flat(k) else k for k in kernels]
        self.function = self.define()

    def define(self) -> str:
        """Add the function, whose name tells what it does, to what the module must hold."""
        e, given = Emitter(), {b: f"%b{k}" for k, b in enumerate(self.buffers)}
        for kernel in self.kernels:
            body = Body(kernel, e)
            body.names = given
            nest(body, ["%n", "%o"], None)
        parameters = ", ".join(f"ptr noalias {name}" for name in given.values())
        text = "\n".join(["entry:", *e.lines, "  ret void", "}"])
        digest = hashlib.sha256(f"{parameters} {text}".encode()).hexdigest()[:12]
        head = f"define internal void @inner_{digest}({parameters}, i64 %n, i64 %o)"
        self.e.declared |= {*e.declared, f"{head} noinline nounwind {{\n{text}"}
        return f"inner_{digest}"

    def begin(self, o: str) -> None:
        """The sums of a channel begin."""
        e = self.e
        for kernel in self.kernels:
            body = Body(kernel, e)
            body.names = self.names
            for r in kernel.reductions:
                at = plus(e, times(e, o, r.into.strides[1]), r.into.offset)
                if 0 in r.reduced:
                    body.begin(r, at)
                    continue
                with e.loop(0, kernel.dims[0]) as n:
                    body.begin(r, plus(e, at, times(e, n, r.into.strides[0])))

    def run(self, n: str, o: str, results: Mapping[Buffer, str]) -> None:
        """All of them, for a channel of an image, with what they give stored there."""
        names = self.names | dict(results)
        given = ", ".join(f"ptr {names[buffer]}" for buffer in self.buffers)
        self.e.line(f"call void @{self.function}({given}, i64 {n}, i64 {o})")


# ---- which kernels -------------------------------------------------------------------------------


class Uses:
    """Which kernels write and read each buffer."""

    def __init__(self, kernels: list[Kernel]) -> None:
        self.kernels = kernels
        self.writers: defaultdict[Buffer, set[int]] = defaultdict(set)
        self.readers: defaultdict[Buffer, set[int]] = defaultdict(set)
        for number, kernel in enumerate(kernels):
            for place in kernel.writes():
                self.writers[place.buffer].add(number)
            for place in (*kernel.reads(), *kernel.gulps()):
                self.readers[place.buffer].add(number)

    def maker(self, buffer: Buffer, reader: int) -> int | None:
        """The kernel that fills a buffer for one reader alone."""
        if buffer.kind != "arena" or self.readers[buffer] != {reader}:
            return None
        return next(iter(self.writers[buffer])) if len(self.writers[buffer]) == 1 else None

    def moves(self, number: int, to: int, others: list[int]) -> bool:
        """Whether a kernel may run as late as another one, together with others."""
        read, written = self.touched(number)
        for between in sorted(set(range(number + 1, to + 1)).difference(others)):
            reads, writes = self.touched(between)
            if writes & (read | written) or (between < to and reads & written):
                return False
        return True

    def comes(self, number: int, to: int) -> bool:
        """Whether a kernel may run as early as another one, right after it."""
        read, written = self.touched(number)
        for between in range(to, number):
            reads, writes = self.touched(between)
            if written & (reads | writes) or (between > to and read & writes):
                return False
        return True

    def touched(self, number: int) -> tuple[set[Buffer], set[Buffer]]:
        kernel = self.kernels[number]
        read = {p.buffer for p in (*kernel.reads(), *kernel.gulps())}
        return read, {p.buffer for p in kernel.writes()}


def by_channel(kernel: Kernel, images: int, channels: int) -> bool:
    """Whether a kernel can run for a channel of an image alone."""
    if kernel.anchor is not None or len(kernel.dims) < 3 or 0 in kernel.dims:
        return False
    chosen = any(node.op == "take" for node in kernel.nodes())
    if chosen or kernel.dims[:2] != (images, channels):
        return False
    inner = set(range(2, len(kernel.dims)))
    return all(inner <= set(r.reduced) and 1 not in r.reduced for r in kernel.reductions)


def within(place: Place, images: int, channels: int) -> bool:
    """Whether a place shows for each channel of an image a part of that channel's own memory."""
    area = place.buffer.size // (images * channels)
    reach = sum(s * (n - 1) for s, n in zip(place.strides[2:], place.shape[2:], strict=True))
    steps = zip(place.shape[:2], place.strides[:2], (channels * area, area), strict=True)
    fits = min((*place.strides[2:], place.offset)) >= 0 and place.offset + reach < area
    return fits and all(n == 1 or step == whole for n, step, whole in steps)


def preparing(uses: Uses, number: int, buffer: Buffer, images: int, channels: int) -> list[int]:
    """The kernels that prepare a buffer for kernel ``number`` alone, and can do so channel by
    channel, in order."""
    found: list[int] = []
    wanted = [(buffer, number)]
    while wanted and len(found) < MOST:
        result, reader = wanted.pop()
        maker = uses.maker(result, reader)
        if maker is None or result.dtype != buffer.dtype:
            continue
        kernel = uses.kernels[maker]
        shown = [*kernel.writes(), *uses.kernels[reader].reads()]
        shown = [p for p in shown if p.buffer is result]
        alone = all(p.buffer is result for p, _ in kernel.stores)
        if not alone or not by_channel(kernel, images, channels):
            continue
        if not uses.moves(maker, number, found):
            continue
        if not all(within(p, images, channels) for p in shown):
            continue
        found.append(maker)
        wanted += [(b, maker) for b in dict.fromkeys(p.buffer for p in kernel.reads())]
    return sorted(found)


def continuing(uses: Uses, number: int, images: int, channels: int) -> list[int]:
    """The kernels that go on with the results of kernel ``number``, and can do so channel by
    channel, in order."""
    kernel = uses.kernels[number]
    results = {place.buffer for place, _ in kernel.stores}
    sums = {r.into.buffer for r in kernel.reductions}
    found = []
    for other in sorted(set().union(*(uses.readers[b] for b in results)) - {number}):
        follower = uses.kernels[other]
        if follower.reductions or not by_channel(follower, images, channels):
            continue
        if not uses.comes(other, number) or sums & uses.touched(other)[0]:
            continue
        if all(within(p, images, channels) for p in follower.reads() if p.buffer in results):
            found.append(other)
    return found[:MOST]


def passed_on(
    uses: Uses, number: int, followers: list[int], images: int, channels: int
) -> list[Buffer]:
    """The results of a kernel that its followers alone read, of the dtype of its scratch memory."""
    dtype = next(place.buffer.dtype for place in uses.kernels[number].gulps())
    found = []
    for place, _ in uses.kernels[number].stores:
        buffer = place.buffer
        known = uses.readers[buffer] <= set(followers) and uses.writers[buffer] == {number}
        known = known and buffer.kind == "arena" and buffer.dtype == dtype
        if known and within(place, images, channels):
            found.append(buffer)
    return found
