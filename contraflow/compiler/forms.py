"""Scheduling of what is neither pointwise nor a view: reductions, products, gathers, draws.

Each function takes the scheduler and an equation, and says whether it has a native form for it.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from contraflow.base.shapes import Shape
from contraflow.compiler.loops import (
    Buffer,
    Contraction,
    Convolution,
    Draw,
    Node,
    Place,
    Reduction,
    contiguous,
)
from contraflow.compiler.views import moved
from contraflow.compiler.windows import at_least
from contraflow.graph.ir import Equation, operands
from contraflow.ops.creation import full

if TYPE_CHECKING:
    from contraflow.compiler.schedule import Scheduler

__all__ = ["convolve", "draw", "gather", "index_select", "matmul", "reduce", "view_put"]

REDUCTIONS = {"sum": "add", "amax": "max", "amin": "min", "prod": "mul", "any": "or", "all": "and"}


def reduce(s: Scheduler, e: Equation) -> bool:
    """A reduction where its operand is computed, if that kernel can do it."""
    (x,), (out,) = operands(e), e.outputs
    dims, kind = e.attrs["dims"], REDUCTIONS[e.op.name]
    number = s.home([x], x.shape) if x not in s.leaves else s.open(x.shape)
    anchor = s.kernels[number].anchor
    places = tuple(range(2, x.ndim))  # of an image
    by_image = isinstance(anchor, Convolution) and dims == (0, *places)
    fits = dims == (places if isinstance(anchor, Convolution) else tuple(range(x.ndim - 1)))
    if anchor is not None and not by_image and not fits:
        s.place(x)
        number = s.open(x.shape)
    node = s.node(x, x.dtype, x.shape, number)
    if out.dtype.kind == "b" and x.dtype.kind != "b":
        node = Node("convert", (node,), out.dtype)
    buffer = reduced(s, number, kind, node, x.shape, places if by_image else dims)
    s.kernels[number].ops.append(e.op.name)
    if by_image:  # each image by itself while it is there, then all of them
        shape = x.shape[:2]
        each = Node("load", (), out.dtype, Place.of(buffer, shape))
        number = s.open(shape)
        buffer = reduced(s, number, kind, each, shape, (0,))
        s.kernels[number].ops.append(e.op.name)
    s.places[out] = Place.of(buffer, out.shape)
    return True


def reduced(s: Scheduler, number: int, kind: str, node: Node, shape: Shape, dims: Shape) -> Buffer:
    """A node of kernel ``number`` combined over ``dims``, in a buffer of its own."""
    kept = tuple(1 if d in dims else n for d, n in enumerate(shape))
    buffer = Buffer("arena", node.dtype, prod(kept))
    strides = tuple(0 if d in dims else t for d, t in enumerate(contiguous(kept)))
    into = Place(buffer, 0, shape, strides)
    s.kernels[number].reductions.append(Reduction(kind, node, into, dims))
    s.born[buffer] = number
    return buffer


def matmul(s: Scheduler, e: Equation) -> bool:
    a, b = operands(e)
    (out,) = e.outputs
    if out.dtype.kind != "f":
        return False
    batch = out.shape[:-2]
    pa, pb = s.place(a), s.place(b)
    left = pa.stretched((*batch, *a.shape[-2:]))
    right = pb.stretched((*batch, *b.shape[-2:]))
    number = s.open(out.shape, Contraction(left, right, a.shape[-1]))
    whole = Node("product", (), out.dtype)
    s.kernels[number].product = whole
    s.kernels[number].ops.append("matmul")
    s.made[out] = (number, whole)
    return True


def convolve(s: Scheduler, e: Equation) -> bool:
    """A convolution or one of its two gradients; pointwise ops join all but the weight's."""
    (first, second), (out,) = operands(e), e.outputs
    name, a = e.op.name, e.attrs
    kernel = a["kernel"] if name == "conv_weight" else tuple(second.shape[2:])
    if 0 in (*first.shape, *second.shape):  # sums of nothing
        attrs = {"shape": out.shape, "value": 0, "dtype": out.aval.dtype}
        s.leaves[out] = Equation(full, (), attrs, [out.aval])
        return True
    if out.dtype.kind != "f":
        return False
    places = [s.contiguous(v) for v in (first, second)]
    anchor = Convolution(
        places[0], places[1], kernel, a["stride"], a["padding"], a["dilation"], a["groups"],
        tuple(out.shape[2:]), name == "conv_input", name == "conv_weight",
    )  # fmt: skip
    number = s.open(out.shape, anchor)
    whole = Node("product", (), out.dtype)
    s.kernels[number].ops.append(name)
    if not anchor.of_weight:
        s.kernels[number].product = whole
        s.made[out] = (number, whole)
        return True
    buffer = Buffer("arena", out.dtype, out.size)
    s.places[out] = Place.of(buffer, out.shape)
    s.kernels[number].stores.append((s.places[out], whole))
    s.born[buffer] = number
    return True


def draw(s: Scheduler, e: Equation) -> bool:
    seed, position = operands(e)
    (out,) = e.outputs
    number = s.open(out.shape, Draw(s.place(seed), s.place(position), e.op.name))
    block = 2 if out.dtype.itemsize == 8 else 4  # elements; whole blocks are drawn
    buffer = Buffer("arena", out.dtype, -(-out.size // block) * block)
    s.places[out] = place = Place.of(buffer, out.shape)
    s.kernels[number].stores.append((place, Node("product", (), out.dtype)))
    s.kernels[number].ops.append(e.op.name)
    s.born[buffer] = number
    return True


def gather(s: Scheduler, e: Equation) -> bool:
    """Elements of x chosen by an index for each element of the result."""
    x, index = operands(e)
    (out,) = e.outputs
    dim, source = e.attrs["dim"], s.place(x)
    number = at_least(s, max(s.home([index], out.shape), s.ready(x)), out.shape)
    at = s.node(index, index.dtype, out.shape, number)
    strides = tuple(0 if d == dim else t for d, t in enumerate(source.strides))
    base = Place(source.buffer, source.offset, out.shape, strides)
    node = Node("take", (at,), out.dtype, base, value=(source.strides[dim], x.shape[dim]))
    s.made[out] = (number, node)
    s.kernels[number].ops.append("gather")
    return True


def index_select(s: Scheduler, e: Equation) -> bool:
    """Slabs of x chosen by an index, which takes the place of one dimension."""
    x, index = operands(e)
    (out,) = e.outputs
    dim, source, n = e.attrs["dim"], s.place(x), index.ndim
    at = s.place(index)
    number = s.open(out.shape)
    beside = (0,) * (out.ndim - dim - n)
    spread = Place(at.buffer, at.offset, out.shape, ((0,) * dim + at.strides + beside))
    chosen = Node("load", (), index.dtype, spread)
    strides = (*source.strides[:dim], *(0,) * n, *source.strides[dim + 1 :])
    base = Place(source.buffer, source.offset, out.shape, strides)
    node = Node("take", (chosen,), out.dtype, base, value=(source.strides[dim], x.shape[dim]))
    s.made[out] = (number, node)
    s.kernels[number].ops.append("index_select")
    return True


def view_put(s: Scheduler, e: Equation) -> bool:
    """A copy of x, into whose part that a view shows something else is stored."""
    x, new = operands(e)
    whole = s.copy(x)
    part = moved(whole, e.attrs["view"], dict(e.attrs["attrs"]), new.shape)
    if part is None:
        return False
    number = max(s.home([new], new.shape), s.born[whole.buffer] + 1)
    number = at_least(s, number, new.shape)
    s.kernels[number].stores.append((part, s.node(new, new.dtype, new.shape, number)))
    s.kernels[number].ops.append("view_put")
    s.places[e.outputs[0]] = whole
    s.born[whole.buffer] = number
    return True
