"""Views move no data: each is other strides on the same memory."""

from __future__ import annotations

from math import prod
from typing import Any

from contraflow.base.shapes import Shape
from contraflow.compiler.loops import Place

__all__ = ["VIEWS", "moved", "reshaped"]

VIEWS = ("alias", "reshape", "permute", "expand", "slice", "diagonal", "unfold", "flip")


def moved(place: Place, name: str, a: dict[str, Any], new: Shape) -> Place | None:
    """A view, with the shape ``new``, as other strides on the same memory; None if it cannot be
    one."""
    buffer, offset, shape, strides = place.buffer, place.offset, place.shape, place.strides
    if name == "alias":
        return place
    if name == "permute":
        return Place(buffer, offset, new, tuple(strides[d] for d in a["dims"]))
    if name == "expand":
        return Place(buffer, offset, new, place.stretched(new).strides)
    if name == "slice":
        found: list[int] = []
        dim = 0
        for bound in a["bounds"]:
            if bound is None:
                found.append(0)
                continue
            if isinstance(bound, tuple):
                start, _, step = slice(*bound).indices(shape[dim])
                offset += start * strides[dim]
                found.append(step * strides[dim])
            else:
                offset += bound * strides[dim]
            dim += 1
        return Place(buffer, offset, new, (*found, *strides[dim:]))
    if name == "diagonal":
        d1, d2, k = a["dim1"], a["dim2"], a["offset"]
        offset += k * strides[d2] if k >= 0 else -k * strides[d1]
        rest = tuple(s for d, s in enumerate(strides) if d not in (d1, d2))
        return Place(buffer, offset, new, (*rest, strides[d1] + strides[d2]))
    if name == "flip":
        for d in a["dims"]:
            offset += max(shape[d] - 1, 0) * strides[d]
        turned = tuple(-s if d in a["dims"] else s for d, s in enumerate(strides))
        return Place(buffer, offset, new, turned)
    if name == "unfold":
        d, step = a["dim"], a["step"]
        stepped = [s * step if i == d else s for i, s in enumerate(strides)]
        return Place(buffer, offset, new, (*stepped, strides[d]))
    return reshaped(place, new)


def reshaped(place: Place, new: Shape) -> Place | None:
    """Other sizes on the same memory, if strides can say it (as NumPy decides it)."""
    if prod(new) == 0:
        return Place.of(place.buffer, new)
    old = [(n, s) for n, s in zip(place.shape, place.strides, strict=True) if n != 1]
    strides: list[int] = []
    position, left, stride = len(old), 1, 0
    for n in reversed(new):
        if n == 1:
            strides.append(0)
            continue
        if left == 1:
            position -= 1
            left, stride = old[position]
        while left % n:  # take in the next outer dimension
            if position == 0 or old[position - 1][1] != stride * left:
                return None
            position -= 1
            left *= old[position][0]
        strides.append(stride)
        stride, left = stride * n, left // n
    return Place(place.buffer, place.offset, new, tuple(reversed(strides)))
