"""Sums along a row, kept in registers: several at a time, so that none waits for another."""

from __future__ import annotations

from collections.abc import Callable

from contraflow.compiler.emit import Emitter, Reg, kind_of
from contraflow.compiler.kernels import LANES, Body, across, combine, identity, strips
from contraflow.compiler.loops import Reduction
from contraflow.compiler.pointwise import DEAR

__all__ = ["sum_row"]

MANY = 4  # an addition takes about as many cycles as it takes to begin so many
LONG = 40  # expressions at a point that are not written out several times


def sum_row(
    body: Body, n: int, inner: list[Reduction], start: str = "0",
    product: Callable[[str], Reg] | None = None,
) -> None:  # fmt: skip
    """The expressions at ``n`` points of a row, from ``start`` on; what the ``inner`` reductions
    are given is combined in an order that depends on n alone.

    ``product`` loads the element of the product that a point of the row has, counted from 0.
    """
    e = body.e
    found: list[list[Reg]] = [[] for _ in inner]
    for lanes, many, begin, end in bundles(n, at_a_time(body, inner)):
        with e.wide(lanes):
            starts = []
            for r in inner:
                kind = kind_of(r.node.dtype)
                starts += [(e.const(identity(r.kind, r.node.dtype), kind), e.type(kind))] * many
            with e.loop(begin, end, lanes * many, starts) as (i, state):
                state.next.extend(state.now)
                for k in range(many):
                    at = moved(e, i, k * lanes)
                    given = point(body, at, start, product, inner)
                    for j, (r, reg) in enumerate(zip(inner, given, strict=True)):
                        place = j * many + k
                        state.next[place] = combine(e, r.kind, state.now[place], reg)
            for j, (r, totals) in enumerate(zip(inner, found, strict=True)):
                parts = list(state.final[j * many : (j + 1) * many])
                while len(parts) > 1:
                    pairs = zip(parts[::2], parts[1::2], strict=True)
                    parts = [combine(e, r.kind, a, b) for a, b in pairs]
                totals.append(across(e, r.kind, parts[0]))
    for r, (total, *more) in zip(inner, found, strict=True):
        for other in more:
            total = combine(e, r.kind, total, other)
        body.accumulate(r, total, "0")


def at_a_time(body: Body, inner: list[Reduction]) -> int:
    """Vectors that are worth being summed beside each other: where nothing is summed, or where a
    point takes longer than an addition, more of them would only fill the registers."""
    dear = any(node.op in DEAR for node in body.order)
    return MANY if inner and not dear and len(body.order) <= LONG else 1


def point(
    body: Body, i: str, start: str, product: Callable[[str], Reg] | None, inner: list[Reduction]
) -> list[Reg]:
    """Evaluate and store; what goes to memory is added there, what the others are given comes
    back."""
    index = moved(body.e, i, start)
    env = body.evaluate(index, product(i) if product else None)
    for place, node in body.kernel.stores:
        body.store(place, env[node], index)
    for r in body.kernel.reductions:
        if r not in inner:
            body.accumulate(r, env[r.node], index)
    return [env[r.node] for r in inner]


def moved(e: Emitter, index: str, by: int | str) -> str:
    if by in (0, "0"):
        return index
    with e.wide(1):
        return e.value(f"add nsw i64 {index}, {by}", "i64")[0]


def bundles(n: int, many: int) -> list[tuple[int, int, int, int]]:
    """A row of n elements as (lanes, vectors at a time, begin, end)."""
    whole = n // (LANES * many) * LANES * many if many > 1 else 0
    rest = [(lanes, 1, whole + begin, whole + end) for lanes, begin, end in strips(n - whole)]
    return [(LANES, many, 0, whole)] * bool(whole) + rest
