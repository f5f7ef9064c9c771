"""From a graph of plain ops to fused kernels.

Equations are met in order. A pointwise op joins the kernel that computes its operands if their
index spaces agree; otherwise it opens a new one. A view moves no data: it is other strides on the
same memory. A product of matrices opens a kernel that pointwise ops join (bias, activation, the
optimiser's update), and a reduction joins the kernel that computes what it reduces.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from contraflow.base.shapes import Shape
from contraflow.compiler.absorb import absorb
from contraflow.compiler.again import again
from contraflow.compiler.finish import finish
from contraflow.compiler.forms import (
    convolve,
    draw,
    gather,
    index_select,
    matmul,
    reduce,
    view_put,
)
from contraflow.compiler.loops import Buffer, Kernel, Node, Opaque, Place, contiguous
from contraflow.compiler.ordered import argsort, extremum, running, scan, scatter, topk
from contraflow.compiler.pointwise import DEAR, POINTWISE
from contraflow.compiler.views import VIEWS, moved
from contraflow.compiler.visits import together
from contraflow.compiler.windows import join, pool, spread
from contraflow.graph.ir import Equation, Graph, Operand, Value, operands

__all__ = ["NATIVE", "Program", "schedule"]

# What the native forms can do with integers and bool; the others are for floating dtypes.
WHOLE = frozenset((
    "add", "sub", "mul", "neg", "abs", "sign", "square", "maximum", "minimum", "clamp", "clamp_min",
    "clamp_max", "where", "eq", "ne", "lt", "le", "gt", "ge", "convert", "logical_and",
    "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor",
    "bitwise_not", "bitwise_left_shift", "bitwise_right_shift", "floor_divide", "trunc_divide",
    "remainder", "fmod", "pow", "fmax", "fmin", "heaviside", "isnan", "isinf", "isfinite",
    "isposinf", "isneginf", "signbit",
))  # fmt: skip
LEAVES = ("full", "iota")
# What is neither pointwise nor a view: how it is scheduled, or False if that does not cover it.
FORMS: dict[str, Callable[[Any, Equation], bool]] = {
    **dict.fromkeys(("sum", "amax", "amin", "prod", "any", "all"), reduce), "matmul": matmul,
    **dict.fromkeys(("conv", "conv_input", "conv_weight"), convolve),
    **dict.fromkeys(("random_uniform", "random_normal", "random_bits"), draw),
    "gather": gather, "index_select": index_select, "view_put": view_put, "cat": join,
    "pad": join, "max_pool": pool, "avg_pool": pool, "max_pool_spread": spread,
    "avg_pool_spread": spread,
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp", "recurrence"), scan),
    "argmax": extremum, "argmin": extremum, "cummax_index": running, "argsort": argsort,
    "topk_index": topk,
    "scatter": scatter, "scatter_add": scatter, "scatter_reduce": scatter, "index_add": scatter,
    "index_copy": scatter,
}  # fmt: skip
NATIVE = frozenset((*POINTWISE, *VIEWS, *LEAVES, *FORMS))


class Program:
    """The kernels of a step in order, with every buffer they use."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kernels: list[Kernel] = []
        self.inputs = [Buffer("input", v.dtype, v.size, v.label or "") for v in graph.inputs]
        self.outputs: list[Buffer] = []
        self.constants: dict[Buffer, Any] = {}

    def arena(self) -> list[Buffer]:
        """The buffers that live only within the step."""
        found: dict[Buffer, None] = {}
        for kernel in self.kernels:
            for place in (*kernel.writes(), *kernel.reads(), *kernel.gulps()):
                if place.buffer.kind == "arena":
                    found[place.buffer] = None
        return list(found)


class Scheduler:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.program = Program(graph)
        self.kernels = self.program.kernels
        self.alike: defaultdict[Shape, list[int]] = defaultdict(list)  # kernels by index space
        self.places: dict[Value, Place] = {}  # where a value lies
        self.made: dict[Value, tuple[int, Node]] = {}  # the kernel that computes it, and how
        self.born: dict[Buffer, int] = {}  # the kernel after which a buffer holds its data
        self.leaves: dict[Value, Equation] = {}  # full and iota: computed where they are used
        self.numbers: dict[Value, Any] = {}  # constants of one element
        self.loads: dict[tuple[int, Place], Node] = {}
        self.floating: dict[Value, Equation] = {}  # of loads alone: computed where it is used
        self.copies: dict[tuple[int, Value], Node] = {}
        self.listed: dict[tuple[int, int], Node] = {}  # the nodes of a kernel's ops
        self.cheap: dict[Value, Equation] = {}  # made in a kernel, but cheap enough to be repeated
        for value, buffer in zip(graph.inputs, self.program.inputs, strict=True):
            self.places[value] = Place.of(buffer, value.shape)
        for value, array in graph.constants.items():
            if array.size == 1:
                self.numbers[value] = array.reshape(-1)[0].item()
            buffer = Buffer("constant", value.dtype, value.size)
            self.program.constants[buffer] = array
            self.places[value] = Place.of(buffer, value.shape)

    # ---- values in memory ----------------------------------------------------------------------

    def place(self, value: Value) -> Place:
        """Where a value lies; one that was only computed on the fly is stored from now on."""
        found = self.places.get(value)
        if found is None:
            if value in self.leaves:
                self.made[value] = (self.open(value.shape), self.leaf(value, value.shape))
            if value in self.floating:
                self.land(value)
            number, node = self.made[value]
            buffer = Buffer("arena", value.dtype, value.size)
            found = self.places[value] = Place.of(buffer, value.shape)
            self.kernels[number].stores.append((found, node))
            self.born[buffer] = number
        return found

    def ready(self, value: Value) -> int:
        """The first kernel that can load a value from memory."""
        return self.born.get(self.place(value).buffer, -1) + 1

    def open(self, dims: Shape, anchor: Any = None) -> int:
        """A new kernel at the end."""
        self.kernels.append(Kernel(dims, anchor))
        self.alike[dims].append(len(self.kernels) - 1)
        return len(self.kernels) - 1

    # ---- pointwise -----------------------------------------------------------------------------

    def joins(self, value: Operand, dims: Shape) -> bool:
        return isinstance(value, Value) and value in self.made and value.shape == dims

    def home(self, values: list[Value], dims: Shape) -> int:
        """The kernel that an op over ``dims`` with these operands becomes part of."""
        earliest, producers = 0, set()
        for v in values:
            if v in self.leaves or v in self.numbers:
                continue
            if v in self.floating and v.shape == dims:
                earliest = max(earliest, self.afloat(v))
            elif self.joins(v, dims):
                first, repeated = self.made[v][0], again(self, v, dims)
                producers.add(first)
                earliest = max(earliest, min(first, repeated[1]) if repeated else first)
            else:
                earliest = max(earliest, self.ready(v))
        alike = self.alike[dims]
        for number in alike[bisect_left(alike, earliest) :]:
            kernel = self.kernels[number]
            joined = kernel.product is not None and number in producers
            if kernel.anchor is None or joined:
                return number
        return self.open(dims)

    def node(self, operand: Operand, dtype: np.dtype[Any], dims: Shape, number: int) -> Node:
        """An operand at a point of kernel ``number``."""
        if not isinstance(operand, Value):
            if isinstance(operand, float) and dtype.kind != "f":
                dtype = np.dtype(np.float64)  # a half is not 0 where it meets whole numbers
            return Node("const", (), dtype, value=operand)
        if operand in self.floating and operand.shape == dims:
            return self.copied(operand, self.floating[operand], number)
        if operand in self.numbers:
            return Node("const", (), operand.dtype, value=self.numbers[operand])
        if operand in self.leaves:
            return self.leaf(operand, dims)
        if self.joins(operand, dims) and self.made[operand][0] == number:
            return self.made[operand][1]
        repeated = again(self, operand, dims)
        if repeated:
            return self.copied(operand, repeated[0], number)
        place = self.place(operand).stretched(dims)
        found = self.loads.get((number, place))
        if found is None:
            found = self.loads[number, place] = Node("load", (), operand.dtype, place)
        return found

    def leaf(self, value: Value, dims: Shape) -> Node:
        """A fill or a range as an expression of the index."""
        attrs = self.leaves[value].attrs
        if self.leaves[value].op.name == "full":
            return Node("const", (), value.dtype, value=attrs["value"])
        step = attrs["step"] if value.shape[0] != 1 else 0
        strides = (0,) * (len(dims) - 1) + (step,)
        return Node("index", (), value.dtype, value=(attrs["start"], strides))

    def pointwise(self, e: Equation) -> None:
        (out,) = e.outputs
        apart = not any(self.joins(v, out.shape) for v in e.values)
        if out.shape and apart and e.op.name not in DEAR:
            self.floating[out] = e
            return
        number = self.home(list(e.values), out.shape)
        self.made[out] = (number, self.apply(e, number))
        if out.shape and e.op.name not in DEAR:
            self.cheap[out] = e

    def apply(self, e: Equation, number: int) -> Node:
        """A pointwise equation as an expression of kernel ``number``."""
        (out,) = e.outputs
        dtype = next((v.dtype for v in reversed(e.inputs) if isinstance(v, Value)), out.dtype)
        args = tuple(self.node(v, dtype, out.shape, number) for v in e.inputs)
        node = Node(e.op.name, args, out.dtype, value=e.attrs)
        self.listed[number, len(self.kernels[number].ops)] = node
        self.kernels[number].ops.append(e.op.name)
        return node

    # An op whose operands all come from memory could be computed anywhere after they are ready.
    # It waits until something uses it, and is computed there: once more for each kernel that does.

    def afloat(self, value: Value) -> int:
        """The first kernel that can compute a floating value."""
        earliest, stack, seen = 0, [value], {value}
        while stack:
            v = stack.pop()
            if v not in self.floating:  # it landed meanwhile
                earliest = max(earliest, self.ready(v))
                continue
            for u in self.floating[v].values:
                if u in self.floating and u.shape == v.shape:
                    stack += [u] * (u not in seen)
                    seen.add(u)
                elif u not in self.leaves and u not in self.numbers:
                    earliest = max(earliest, self.ready(u))
        return earliest

    def copied(self, value: Value, e: Equation, number: int) -> Node:
        """A value as an expression of kernel ``number``, computed there by an equation."""
        key = (number, value)
        if key not in self.copies:
            self.copies[key] = self.apply(e, number)
        return self.copies[key]

    def land(self, value: Value) -> None:
        """A floating value that is needed in memory gets a kernel of its own."""
        e = self.floating[value]
        number = self.home([value], value.shape)
        self.made[value] = (number, self.copied(value, e, number))
        del self.floating[value]
        assert e.outputs[0] is value

    # ---- the rest ------------------------------------------------------------------------------

    def contiguous(self, value: Value) -> Place:
        """Where a value lies, contiguous."""
        place = self.place(value)
        return place if place.strides == contiguous(value.shape) else self.copy(value)

    def opaque(self, e: Equation) -> None:
        """NumPy's forward, between two native calls."""
        inputs = [self.place(v) if isinstance(v, Value) else v for v in e.inputs]
        outputs = []
        number = len(self.kernels)
        for out in e.outputs:
            buffer = Buffer("arena", out.dtype, out.size)
            self.places[out] = Place.of(buffer, out.shape)
            self.born[buffer] = number
            outputs.append(self.places[out])
        anchor = Opaque(e.op, e.attrs, inputs, outputs)
        self.kernels[self.open(e.outputs[0].shape, anchor)].ops.append(e.op.name)

    # ---- views ---------------------------------------------------------------------------------

    def view(self, e: Equation) -> None:
        (x,), (out,) = operands(e), e.outputs
        if x in self.leaves and self.leaves[x].op.name == "full":
            self.leaves[out] = self.leaves[x]
            return
        if x in self.numbers:
            self.numbers[out] = self.numbers[x]
        place = moved(self.place(x), e.op.name, e.attrs, out.shape)
        if place is None:
            place = moved(self.copy(x), e.op.name, e.attrs, out.shape)
            assert place is not None
        self.places[out] = place

    def copy(self, x: Value) -> Place:
        """The value once more, contiguous."""
        number = self.home([x], x.shape)
        node = self.node(x, x.dtype, x.shape, number)
        buffer = Buffer("arena", x.dtype, x.size)
        place = Place.of(buffer, x.shape)
        self.kernels[number].stores.append((place, node))
        self.kernels[number].ops.append("copy")
        self.born[buffer] = number
        return place

    # ---- the whole -----------------------------------------------------------------------------

    def run(self) -> Program:
        # what the optimiser derives from its step count comes first, so that updates can join the
        # products that give the gradients
        self.open(())
        for e in self.graph.equations:
            if not self.native(e):
                self.opaque(e)
        finish(self)
        self.list_what_is_needed()
        used = [k for k in self.kernels if k.anchor or k.stores or k.reductions]
        self.kernels[:] = together(absorb(used))
        return self.program

    def list_what_is_needed(self) -> None:
        """The ops of a kernel are those that it computes: some were wanted, but nothing asked."""
        for number, kernel in enumerate(self.kernels):
            needed = set(kernel.nodes())
            nodes = (self.listed.get((number, k)) for k in range(len(kernel.ops)))
            pairs = zip(kernel.ops, nodes, strict=True)
            kernel.ops = [name for name, node in pairs if node is None or node in needed]

    def native(self, e: Equation) -> bool:
        """Schedule an equation as native code; False if there is no native form for it."""
        name = e.op.name
        if name in LEAVES:
            self.leaves[e.outputs[0]] = e
        elif name in VIEWS:
            self.view(e)
        elif name in POINTWISE and pointwise_fits(e):
            self.pointwise(e)
        else:
            return name in FORMS and FORMS[name](self, e)
        return True


def pointwise_fits(e: Equation) -> bool:
    """Whether the native form covers these dtypes and attributes."""
    if all(v.dtype.kind == "f" for v in e.values):
        return True
    exponent = e.inputs[1] if e.op.name == "pow" else 0
    error = isinstance(exponent, int | float) and exponent < 0  # of integers: eager says so
    return e.op.name in WHOLE and not error


def schedule(graph: Graph) -> Program:
    """The kernels of a graph; an op that has no native form becomes an ``Opaque`` kernel."""
    return Scheduler(graph).run()
