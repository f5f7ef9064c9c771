"""The LLVM text of Philox 4x32-10: the bits of ``base.philox``, eight blocks at once."""

from __future__ import annotations

from contraflow.base.philox import BLOCK, ROUNDS
from contraflow.compiler.distributions import numbers
from contraflow.compiler.emit import LLVM, Emitter, Reg, kind_of
from contraflow.compiler.kernels import Text
from contraflow.compiler.loops import Draw, Kernel, Place

__all__ = ["drawn"]

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LANES = 8
PART = ("%begin", "%end")


def drawn(kernel: Kernel) -> Text:
    """The function of a kernel that fills its buffer with random numbers."""
    draw = kernel.anchor
    assert isinstance(draw, Draw)
    ((target, _),) = kernel.stores
    e = Emitter()
    buffers = list(dict.fromkeys([draw.seed.buffer, draw.position.buffer, target.buffer]))
    names = {b: f"%a{k}" for k, b in enumerate(buffers)}

    def number(place: Place) -> Reg:
        return e.load(e.gep(names[place.buffer], str(place.offset), "i64"), "i64")

    kind = kind_of(target.buffer.dtype)
    each = 2 if target.buffer.dtype.itemsize == 8 else BLOCK  # elements of a block
    blocks = target.buffer.size // each
    keys = round_keys(e, number(draw.seed))
    begin = number(draw.position)
    out = names[target.buffer]

    def fill(lanes: int, first: str, last: str) -> None:
        with e.loop(first, last, lanes) as b:
            at = e.binary("add", begin, (b, "i64"))
            position = e.value(f"mul nsw i64 {b}, {each}", "i64")[0]
            pointer = e.gep(out, position, kind)
            with e.wide(lanes):
                counter = e.splat(at)
                if lanes > 1:
                    steps = ", ".join(f"i64 {k}" for k in range(lanes))
                    counter = e.binary("add", counter, (f"<{steps}>", "i64"))
                words = philox(e, counter, keys)
                store_interleaved(e, numbers(e, draw.how, kind, words), pointer)

    groups, rest = divmod(blocks, LANES)  # eight blocks at a time; the last part has the rest
    whole = str(groups * LANES)
    if groups > 1:
        first, last = (e.value(f"mul nuw nsw i64 {x}, {LANES}", "i64")[0] for x in PART)
        fill(LANES, first, last)
        if rest:
            with e.when(e.value(f"icmp eq i64 %end, {groups}", "i1")[0]):
                fill(1, whole, str(blocks))
    else:
        if groups:
            fill(LANES, "0", whole)
        if rest:
            fill(1, whole, str(blocks))
    e.line("ret void")
    return Text(e, buffers, groups if groups > 1 else 0)


def round_keys(e: Emitter, seed: Reg) -> list[tuple[Reg, Reg]]:
    """The two halves of the seed, moved on by Weyl's constants each round."""
    low = e.convert(seed, "i32")
    high = e.convert(e.binary("lshr", seed, e.const(32, "i64")), "i32")
    found = []
    for r in range(ROUNDS):
        found.append(tuple(
            e.binary("add", half, (str(as_signed(r * step)), "i32"))
            for half, step in zip((low, high), WEYL, strict=True)
        ))  # fmt: skip
    return found  # type: ignore[return-value]


def as_signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - 2**32 if value >= 2**31 else value


def philox(e: Emitter, counter: Reg, keys: list[tuple[Reg, Reg]]) -> list[Reg]:
    """Four words for each counter."""
    mask = e.const(0xFFFFFFFF, "i64")
    shift = e.const(32, "i64")
    c0, c2 = e.binary("and", counter, mask), e.const(0, "i64")  # as the low half of 64 bits
    c1, c3 = e.binary("lshr", counter, shift), e.const(0, "i64")
    for k0, k1 in keys:
        p0 = e.binary("mul", c0, e.const(MULTIPLIERS[0], "i64"))
        p1 = e.binary("mul", c2, e.const(MULTIPLIERS[1], "i64"))
        h0, h1 = e.binary("lshr", p0, shift), e.binary("lshr", p1, shift)
        c0 = e.binary("xor", e.binary("xor", h1, c1), spread(e, k0))
        c2 = e.binary("xor", e.binary("xor", h0, c3), spread(e, k1))
        c1, c3 = e.binary("and", p1, mask), e.binary("and", p0, mask)
    return [c0, c1, c2, c3]


def spread(e: Emitter, key: Reg) -> Reg:
    """A 32-bit key in every lane, as an unsigned 64-bit number."""
    lanes = e.lanes
    with e.wide(1):
        wide = e.value(f"zext i32 {key[0]} to i64", "i64")
    assert e.lanes == lanes
    return e.splat(wide)


def store_interleaved(e: Emitter, found: list[Reg], pointer: str) -> None:
    """Element j of block b goes to element n b + j, of n each."""
    lanes, n, kind = e.lanes, len(found), found[0][1]
    if lanes == 1:
        for j, reg in enumerate(found):
            e.store(reg, e.gep(pointer, str(j), kind))
        return
    parts = [joined(e, a, b) for a, b in zip(found[0::2], found[1::2], strict=True)]
    t = f"<{2 * lanes} x {LLVM[kind]}>"
    mask = ", ".join(f"i32 {j * lanes + b}" for b in range(lanes) for j in range(n))
    text = f"shufflevector {t} {parts[0]}, {t} {parts[-1]}, <{n * lanes} x i32> <{mask}>"
    name = e.fresh()
    e.line(f"{name} = {text}")
    with e.wide(n * lanes):
        e.store((name, kind), pointer)


def joined(e: Emitter, a: Reg, b: Reg) -> str:
    t = e.type(a[1])
    mask = ", ".join(f"i32 {k}" for k in range(2 * e.lanes))
    name = e.fresh()
    e.line(f"{name} = shufflevector {t} {a[0]}, {t} {b[0]}, <{2 * e.lanes} x i32> <{mask}>")
    return name
