"""The end of a schedule: results into arrays of their own, new state where the old one was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contraflow.compiler.loops import Buffer, Node, Place
from contraflow.graph.ir import Value

if TYPE_CHECKING:
    from contraflow.compiler.schedule import Scheduler

__all__ = ["finish"]

Readers = dict[Buffer, list[tuple[int, Place | None]]]


def finish(s: Scheduler) -> None:
    """Store the results: outputs in arrays of their own, new state where the old one was."""
    graph, program = s.graph, s.program
    for value in graph.outputs:
        program.outputs.append(output(s, value))
    for _, new in graph.writes:
        if new in s.floating:
            s.land(new)
        elif new not in s.made and (new in s.leaves or new in s.numbers):
            number = s.open(new.shape)  # a constant is stored at the end
            s.made[new] = number, s.node(new, new.dtype, new.shape, number)
    sources = {s.places[new].buffer for _, new in graph.writes if new not in s.made}
    late: list[tuple[Value, Place]] = []
    found = readers(s)
    for target, new in graph.writes:
        place = s.places[target]
        safe = new in s.made and place.buffer not in sources
        if safe and in_place(place, s.made[new][0], found.get(place.buffer, [])):
            store_into(s, new, place)
        else:
            late.append((new, place))
    # old state that becomes other state is taken aside before anything is overwritten
    aside = [
        s.copy(new) if s.place(new).buffer.kind == "input" else s.place(new) for new, _ in late
    ]
    for source, (new, target_place) in zip(aside, late, strict=True):
        number = s.open(new.shape)
        node = Node("load", (), new.dtype, source.stretched(new.shape))
        s.kernels[number].stores.append((target_place, node))
        s.kernels[number].ops.append("copy")


def store_into(s: Scheduler, value: Value, place: Place) -> None:
    """Store a value at a place, in the kernel that computes it or by a copy at the end."""
    if value in s.floating:
        s.land(value)
    if value in s.made:
        number, node = s.made[value]
    else:
        number = s.open(value.shape)
        node = s.node(value, value.dtype, value.shape, number)
        s.kernels[number].ops.append("copy")
    s.kernels[number].stores.append((place, node))


def output(s: Scheduler, value: Value) -> Buffer:
    """A buffer of its own for a result; one in the arena that holds just that becomes it."""
    place = s.places.get(value)
    if place is not None and place.buffer.kind == "arena":
        whole = place == Place.of(place.buffer, value.shape)
        if whole and place.buffer.size == value.size:
            place.buffer.kind = "output"
            return place.buffer
    buffer = Buffer("output", value.dtype, value.size)
    store_into(s, value, Place.of(buffer, value.shape))
    return buffer


def readers(s: Scheduler) -> Readers:
    """Which kernels load from each buffer, and how; None: in an order of their own."""
    found: Readers = {}
    for number, kernel in enumerate(s.kernels):
        for place in kernel.gulps():
            found.setdefault(place.buffer, []).append((number, None))
        for place in kernel.reads():
            found.setdefault(place.buffer, []).append((number, place))
    for number, place in s.loads:  # also for values that nothing has asked for yet
        found.setdefault(place.buffer, []).append((number, place))
    return found


def in_place(place: Place, number: int, readers: list[tuple[int, Place | None]]) -> bool:
    """Whether kernel ``number`` may write a place: nobody reads the old value later, and it
    reads each element only where it writes it."""
    for reader, read in readers:
        if reader > number or (reader == number and not (read and alike(read, place))):
            return False
    return True


def alike(a: Place, b: Place) -> bool:
    """Whether two places of one shape show the same elements at the same points."""
    steps = zip(a.shape, a.strides, b.strides, strict=True)
    return a.offset == b.offset and all(n == 1 or s == t for n, s, t in steps)
