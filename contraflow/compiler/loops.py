"""The loop form: what a kernel computes at each point of its index space, and where data lies.

A kernel walks an index space (``dims``). At each point it evaluates expressions over what it
loads, stores some of them, and adds others to reductions. An ``anchor`` (a matrix product) gives
the expressions one more leaf: the element of the product at this point, still in a register.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from contraflow.base.shapes import Shape
from contraflow.ops.record import Op

__all__ = [
    "Buffer",
    "Contraction",
    "Convolution",
    "Draw",
    "Kernel",
    "Node",
    "Opaque",
    "Place",
    "Reduction",
    "Serial",
    "Visits",
]


class Buffer:
    """A piece of memory: an external array, a constant, an output, or a part of the arena; of kind
    ``"inner"`` in the scratch memory of the one kernel that knows it."""

    __slots__ = ("dtype", "kind", "label", "offset", "size")

    def __init__(self, kind: str, dtype: np.dtype[Any], size: int, label: str = "") -> None:
        self.kind, self.dtype, self.size, self.label = kind, dtype, size, label
        self.offset = 0  # in the arena, bytes

    @property
    def nbytes(self) -> int:
        return max(self.size, 1) * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"<{self.kind} {self.dtype}[{self.size}] {self.label}>"


@dataclass(frozen=True)
class Place:
    """How a value lies in memory: one stride (in elements) for each of its dimensions."""

    buffer: Buffer
    offset: int
    shape: Shape
    strides: tuple[int, ...]

    @staticmethod
    def of(buffer: Buffer, shape: Shape) -> Place:
        """Contiguous, last dimension fastest."""
        return Place(buffer, 0, shape, contiguous(shape))

    def stretched(self, shape: Shape) -> Place:
        """Broadcast to ``shape``: what repeats has stride 0."""
        missing = len(shape) - len(self.shape)
        strides = [0] * missing + [
            0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True)
        ]
        return Place(self.buffer, self.offset, shape, tuple(strides))

    def points(self) -> int:
        """How many elements it shows, each counted once."""
        return prod(n for n, s in zip(self.shape, self.strides, strict=True) if s)


def contiguous(shape: Shape) -> tuple[int, ...]:
    """The strides of a contiguous array."""
    return tuple(prod(shape[d + 1 :]) for d in range(len(shape)))


@dataclass(eq=False)
class Node:
    """An expression at a point: ``load``, ``const``, ``index``, ``product``, ``take`` or an op."""

    op: str
    args: tuple[Node, ...]
    dtype: np.dtype[Any]
    place: Place | None = None  # load, take
    value: Any = None  # const: the number; index: (start, strides); take: the stride


@dataclass(eq=False)
class Reduction:
    """``into`` = the node combined over the reduced dimensions, where its strides are 0."""

    kind: str
    node: Node
    into: Place
    reduced: tuple[int, ...]


@dataclass(eq=False)
class Contraction:
    """``product[..., m, n] = sum_k a[..., m, k] b[..., k, n]``."""

    a: Place
    b: Place
    k: int


@dataclass(eq=False)
class Convolution:
    """``conv(image, weight)``; ``transposed``: the gradient of its input, ``image`` being dy;
    ``of_weight``: the gradient of its weight, ``weight`` being dy."""

    image: Place
    weight: Place
    kernel: Shape
    stride: Shape
    padding: tuple[tuple[int, int], ...]
    dilation: Shape
    groups: int
    out: Shape
    transposed: bool = False
    of_weight: bool = False
    # kernels that run a channel of an image at a time
    before: tuple[Kernel, ...] = ()  # they prepare dy
    after: tuple[Kernel, ...] = ()  # they go on with the result

    @property
    def inner(self) -> tuple[Kernel, ...]:
        return self.before + self.after

    def products(self) -> int:
        """Multiplications: those of the forward convolution, also for its gradients."""
        n, channels = self.image.shape[:2]
        if self.of_weight:
            results, depth = self.weight.shape, channels // self.groups
        elif self.transposed:
            results, depth = self.image.shape, self.weight.shape[1]
        else:
            results, depth = (n, self.weight.shape[0], *self.out), self.weight.shape[1]
        return prod(results) * depth * prod(self.kernel)


@dataclass(eq=False)
class Draw:
    """Numbers of a random stream, written in the stream's order: what the op ``how`` draws."""

    seed: Place
    position: Place
    how: str


@dataclass(eq=False)
class Serial:
    """Loops in an order of their own, over places with the dimension that they go along last."""

    form: str  # what is written: a row of ``compiler.serial``
    attrs: dict[str, Any]
    inputs: list[Place]
    outputs: list[Place]
    scratch: Buffer | None = None


@dataclass(eq=False)
class Opaque:
    """An op without a native form: its NumPy ``forward``, called between two native calls."""

    op: Op
    attrs: dict[str, Any]
    inputs: list[Any]  # places and Python numbers
    outputs: list[Place]


@dataclass(eq=False)
class Visits:
    """Loop nests over the same slices, which come one after the other: all ``members`` do their
    work on a slice while it is in the cache. ``along``: the dimension of each that numbers them."""

    members: list[Kernel]
    along: list[int]


@dataclass(eq=False)
class Kernel:
    """One fused loop nest."""

    dims: Shape
    anchor: Contraction | Convolution | Draw | Serial | Opaque | Visits | None = None
    product: Node | None = None
    stores: list[tuple[Place, Node]] = field(default_factory=list)
    reductions: list[Reduction] = field(default_factory=list)
    ops: list[str] = field(default_factory=list)  # for explain

    def nodes(self) -> list[Node]:
        """Every expression that something needs, operands first."""
        order: list[Node] = []
        seen: set[Node] = set()
        roots = [node for _, node in self.stores] + [r.node for r in self.reductions]
        for root in roots:
            stack: list[tuple[Node, bool]] = [(root, False)]
            while stack:
                node, ready = stack.pop()
                if ready:
                    order.append(node)
                elif node not in seen:
                    seen.add(node)
                    stack.append((node, True))
                    stack.extend((a, False) for a in reversed(node.args) if a not in seen)
        return order

    def reads(self) -> Iterator[Place]:
        """The places that it loads from, point by point."""
        for node in self.nodes():
            if node.op in ("load", "take") and node.place is not None:
                yield node.place

    def gulps(self) -> Iterator[Place]:
        """The places that it reads in an order of its own."""
        if isinstance(self.anchor, Contraction):
            yield from (self.anchor.a, self.anchor.b)
        if isinstance(self.anchor, Convolution):
            yield from (self.anchor.image, self.anchor.weight)
            yield from (place for inner in self.anchor.inner for place in inner.reads())
        if isinstance(self.anchor, Draw):
            yield from (self.anchor.seed, self.anchor.position)
        if isinstance(self.anchor, Opaque):
            yield from (p for p in self.anchor.inputs if isinstance(p, Place))
        if isinstance(self.anchor, Serial):
            yield from self.anchor.inputs
        if isinstance(self.anchor, Visits):
            for member in self.anchor.members:
                yield from (*member.reads(), *member.gulps())
        yield from (n.place for n in self.nodes() if n.op == "take" and n.place is not None)

    def writes(self) -> Iterator[Place]:
        yield from (place for place, _ in self.stores)
        yield from (r.into for r in self.reductions)
        if isinstance(self.anchor, Convolution):
            yield from (place for inner in self.anchor.inner for place in inner.writes())
        if isinstance(self.anchor, Opaque | Serial):
            yield from self.anchor.outputs
        if isinstance(self.anchor, Visits):
            for member in self.anchor.members:
                yield from member.writes()
