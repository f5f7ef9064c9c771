"""Scheduling of what walks in an order of its own: scans, extrema, sorting, scattering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from contraflow.compiler.loops import Buffer, Place, Serial
from contraflow.compiler.sorting import scratch_bytes
from contraflow.graph.ir import Equation, operands

if TYPE_CHECKING:
    from contraflow.compiler.schedule import Scheduler

__all__ = ["argsort", "extremum", "running", "scan", "scatter", "topk"]


def along(place: Place, dim: int) -> Place:
    """The same elements with dimension ``dim`` as the last."""
    order = (*(d for d in range(len(place.shape)) if d != dim), dim)
    shape, strides = (tuple(s[d] for d in order) for s in (place.shape, place.strides))
    return Place(place.buffer, place.offset, shape, strides)


def rows(
    s: Scheduler, e: Equation, form: str, attrs: dict[str, Any], scratch: Buffer | None = None
) -> bool:
    """A kernel that goes along one dimension of its operands."""
    (out,), dim = e.outputs, e.attrs["dim"]
    first = operands(e)[0]
    inputs = [along(s.place(v), dim) for v in e.values]
    whole = Place.of(Buffer("arena", out.dtype, out.size), out.shape)
    if out.ndim == first.ndim:
        target = along(whole, dim)
    else:  # one result for each row, and no dimension left
        target = Place(whole.buffer, 0, (*out.shape, 1), (*whole.strides, 0))
    anchor = Serial(form, attrs, inputs, [target], scratch)
    return opened(s, e, anchor, inputs[0].shape, whole)


def opened(s: Scheduler, e: Equation, anchor: Serial, dims: Any, whole: Place) -> bool:
    number = s.open(dims, anchor)
    s.kernels[number].ops.append(e.op.name)
    s.places[e.outputs[0]] = whole
    s.born[whole.buffer] = number
    return True


def scan(s: Scheduler, e: Equation) -> bool:
    if e.op.name == "recurrence":
        return rows(s, e, "recurrence", e.attrs)
    if e.outputs[0].dtype.kind == "b":
        return False
    return rows(s, e, "scan", {**e.attrs, "how": e.op.name})


def extremum(s: Scheduler, e: Equation) -> bool:
    return rows(s, e, "extremum", {"largest": e.op.name == "argmax"})


def running(s: Scheduler, e: Equation) -> bool:
    return rows(s, e, "running", {"largest": e.attrs["largest"]})


def argsort(s: Scheduler, e: Equation) -> bool:
    n = operands(e)[0].shape[e.attrs["dim"]]
    scratch = Buffer("arena", np.dtype(np.uint8), max(scratch_bytes(n), 1))
    return rows(s, e, "argsort", {"descending": e.attrs["descending"]}, scratch)


def topk(s: Scheduler, e: Equation) -> bool:
    return rows(s, e, "topk", e.attrs)


HOW = {"scatter_add": "add", "index_add": "add", "prod": "mul", "amax": "max", "amin": "min"}


def scatter(s: Scheduler, e: Equation) -> bool:
    """A copy of x, into which the source is written or added where the index says."""
    x, index, source = operands(e)
    dim, name = e.attrs["dim"], e.op.name
    slabs = name.startswith("index")  # an index of any shape takes the place of one dimension
    given, where = s.place(source), s.place(index)
    whole = s.copy(x)
    steps = list(whole.strides)
    stride, steps[dim] = steps[dim], 0
    if slabs:
        steps[dim : dim + 1] = [0] * index.ndim
        beside = (0,) * (source.ndim - dim - index.ndim)
        where = Place(where.buffer, where.offset, source.shape, (0,) * dim + where.strides + beside)
    target = Place(whole.buffer, whole.offset, source.shape, tuple(steps))
    # parts of the dimensions before the index have targets of their own
    attrs = {
        "how": HOW.get(e.attrs.get("reduce", name)), "dim": dim, "size": x.shape[dim],
        "stride": stride,
    }  # fmt: skip
    dims = source.shape
    if not dims:
        where, given, target = (
            Place(p.buffer, p.offset, (1,), (0,)) for p in (where, given, target)
        )
        dims = (1,)
    return opened(s, e, Serial("scatter", attrs, [where, given], [target]), dims, whole)
