"""From a graph of plain ops to fused kernels.

Equations are met in order. A pointwise op joins the kernel that computes its operands if their
index spaces agree; otherwise it opens a new one. A view moves no data: it is other strides on the
same memory. A product of matrices opens a kernel that pointwise ops join (bias, activation, the
optimiser's update), and a reduction joins the kernel that computes what it reduces.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import Any

import numpy as np

from contraflow.base.shapes import Shape
from contraflow.compiler.convolution import fits
from contraflow.compiler.loops import (
    Buffer,
    Contraction,
    Convolution,
    Draw,
    Kernel,
    Node,
    Opaque,
    Place,
    Reduction,
    contiguous,
)
from contraflow.compiler.pointwise import POINTWISE
from contraflow.compiler.views import VIEWS, moved
from contraflow.compiler.windows import join, pool, spread
from contraflow.graph.ir import Equation, Graph, Operand, Value, operands

__all__ = ["NATIVE", "Program", "schedule"]

REDUCTIONS = {"sum": "add", "amax": "max", "amin": "min", "prod": "mul", "any": "or", "all": "and"}
# What the native forms can do with integers and bool; the others are for floating dtypes.
WHOLE = frozenset((
    "add", "sub", "mul", "neg", "abs", "sign", "square", "maximum", "minimum", "clamp", "clamp_min",
    "clamp_max", "where", "eq", "ne", "lt", "le", "gt", "ge", "convert", "logical_and",
    "logical_or", "logical_xor", "logical_not",
))  # fmt: skip
LEAVES = ("full", "iota")
# Too dear to be computed once more in every kernel that uses them.
DEAR = frozenset((
    "exp", "log", "tanh", "sigmoid", "pow", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "asinh", "acosh", "atanh", "exp2", "expm1", "log1p", "log2", "log10", "erf", "erfc",
    "lgamma", "atan2", "hypot",
))  # fmt: skip
CONVOLUTIONS = ("conv", "conv_input", "conv_weight")
PARTS = {
    "cat": join, "pad": join, "max_pool": pool, "avg_pool": pool, "max_pool_spread": spread,
    "avg_pool_spread": spread,
}  # fmt: skip
NATIVE = frozenset((
    *POINTWISE, *REDUCTIONS, *VIEWS, *LEAVES, *CONVOLUTIONS, *PARTS, "matmul", "random_uniform",
    "gather", "index_select",
))  # fmt: skip


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
        self.tests: dict[Value, Equation] = {}  # comparisons: cheaper to repeat than to keep
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
            if self.repeats(v, dims):
                earliest = max(earliest, *map(self.known, self.tests[v].values))
            elif v in self.floating and v.shape == dims:
                earliest = max(earliest, self.afloat(v))
            elif self.joins(v, dims):
                earliest = max(earliest, self.made[v][0])
                producers.add(self.made[v][0])
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
        if isinstance(operand, Value) and operand in self.floating and operand.shape == dims:
            return self.copied(operand, number)
        if self.repeats(operand, dims) and self.made[operand][0] != number:  # type: ignore[index]
            key = (number, operand)
            if key not in self.copies:
                self.copies[key] = self.apply(self.tests[operand], number)  # type: ignore[index]
            return self.copies[key]  # type: ignore[index]
        if not isinstance(operand, Value):
            return Node("const", (), dtype, value=operand)
        if operand in self.numbers:
            return Node("const", (), operand.dtype, value=self.numbers[operand])
        if operand in self.leaves:
            return self.leaf(operand, dims)
        if self.joins(operand, dims) and self.made[operand][0] == number:
            return self.made[operand][1]
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
        if out.dtype.kind == "b" and out.shape:
            self.tests[out] = e

    def repeats(self, value: Operand, dims: Shape) -> bool:
        """Whether a comparison is made again where it is used: all it compares lies in memory."""
        if not isinstance(value, Value) or value not in self.tests or value.shape != dims:
            return False
        if value in self.places:
            return False
        return all(v in self.places or v in self.numbers for v in self.tests[value].values)

    def known(self, value: Value) -> int:
        return 0 if value in self.numbers else self.ready(value)

    def apply(self, e: Equation, number: int) -> Node:
        """A pointwise equation as an expression of kernel ``number``."""
        (out,) = e.outputs
        dtype = next((v.dtype for v in reversed(e.inputs) if isinstance(v, Value)), out.dtype)
        args = tuple(self.node(v, dtype, out.shape, number) for v in e.inputs)
        self.kernels[number].ops.append(e.op.name)
        return Node(e.op.name, args, out.dtype, value=e.attrs)

    # An op whose operands all come from memory could be computed anywhere after they are ready.
    # It waits until something uses it, and is computed there: once more for each kernel that does.

    def afloat(self, value: Value) -> int:
        """The first kernel that can compute a floating value."""
        e = self.floating[value]
        return max((self.afloat(v) if v in self.floating and v.shape == value.shape
                    else 0 if v in self.leaves or v in self.numbers else self.ready(v)
                    for v in e.values), default=0)  # fmt: skip

    def copied(self, value: Value, number: int) -> Node:
        """A floating value as an expression of kernel ``number``."""
        key = (number, value)
        if key not in self.copies:
            self.copies[key] = self.apply(self.floating[value], number)
        return self.copies[key]

    def land(self, value: Value) -> None:
        """A floating value that is needed in memory gets a kernel of its own."""
        e = self.floating[value]
        number = self.home([value], value.shape)
        self.made[value] = (number, self.copied(value, number))
        del self.floating[value]
        assert e.outputs[0] is value

    def gather(self, e: Equation) -> None:
        x, index = operands(e)
        (out,) = e.outputs
        dim, source = e.attrs["dim"], self.place(x)
        number = max(self.home([index], out.shape), self.ready(x))
        if number == len(self.kernels) or self.kernels[number].dims != out.shape:
            number = self.open(out.shape)
        at = self.node(index, index.dtype, out.shape, number)
        strides = tuple(0 if d == dim else s for d, s in enumerate(source.strides))
        base = Place(source.buffer, source.offset, out.shape, strides)
        node = Node("take", (at,), out.dtype, base, value=(source.strides[dim], x.shape[dim]))
        self.made[out] = (number, node)
        self.kernels[number].ops.append("gather")

    def index_select(self, e: Equation) -> None:
        """Slabs of x chosen by an index, which takes the place of one dimension."""
        x, index = operands(e)
        (out,) = e.outputs
        dim, source, n = e.attrs["dim"], self.place(x), index.ndim
        number = self.open(out.shape)
        at = self.place(index)
        beside = (0,) * (out.ndim - dim - n)
        spread = Place(at.buffer, at.offset, out.shape, ((0,) * dim + at.strides + beside))
        chosen = Node("load", (), index.dtype, spread)
        strides = (*source.strides[:dim], *(0,) * n, *source.strides[dim + 1 :])
        base = Place(source.buffer, source.offset, out.shape, strides)
        node = Node("take", (chosen,), out.dtype, base, value=(source.strides[dim], x.shape[dim]))
        self.made[out] = (number, node)
        self.kernels[number].ops.append("index_select")

    # ---- reductions and products ---------------------------------------------------------------

    def reduce(self, e: Equation) -> None:
        (x,), (out,) = operands(e), e.outputs
        dims = e.attrs["dims"]
        number = self.home([x], x.shape) if x not in self.leaves else self.open(x.shape)
        kernel = self.kernels[number]
        rows_only = dims == tuple(range(len(x.shape) - 1))
        if kernel.anchor is not None and not rows_only:
            self.place(x)
            number = self.open(x.shape)
        node = self.node(x, x.dtype, x.shape, number)
        if out.dtype.kind == "b" and x.dtype.kind != "b":
            node = Node("convert", (node,), out.dtype)
        buffer = Buffer("arena", out.dtype, out.size)
        kept = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
        strides = tuple(0 if d in dims else s for d, s in enumerate(contiguous(kept)))
        into = Place(buffer, 0, x.shape, strides)
        self.kernels[number].reductions.append(Reduction(REDUCTIONS[e.op.name], node, into, dims))
        self.kernels[number].ops.append(e.op.name)
        self.born[buffer] = number
        self.places[out] = Place.of(buffer, out.shape)

    def matmul(self, e: Equation) -> None:
        a, b = operands(e)
        (out,) = e.outputs
        batch = out.shape[:-2]
        pa, pb = self.place(a), self.place(b)
        left = pa.stretched((*batch, *a.shape[-2:]))
        right = pb.stretched((*batch, *b.shape[-2:]))
        number = self.open(out.shape, Contraction(left, right, a.shape[-1]))
        whole = Node("product", (), out.dtype)
        self.kernels[number].product = whole
        self.kernels[number].ops.append("matmul")
        self.made[out] = (number, whole)

    def convolve(self, e: Equation) -> None:
        """A convolution or one of its two gradients; pointwise ops join all but the weight's."""
        (first, second), (out,) = operands(e), e.outputs
        name, a = e.op.name, e.attrs
        kernel = a["kernel"] if name == "conv_weight" else tuple(second.shape[2:])
        places = [self.contiguous(v) for v in (first, second)]
        anchor = Convolution(
            places[0], places[1], kernel, a["stride"], a["padding"], a["dilation"], a["groups"],
            tuple(out.shape[2:]), name == "conv_input", name == "conv_weight",
        )  # fmt: skip
        number = self.open(out.shape, anchor)
        whole = Node("product", (), out.dtype)
        self.kernels[number].ops.append(name)
        if not anchor.of_weight:
            self.kernels[number].product = whole
            self.made[out] = (number, whole)
            return
        buffer = Buffer("arena", out.dtype, out.size)
        self.places[out] = Place.of(buffer, out.shape)
        self.kernels[number].stores.append((self.places[out], whole))
        self.born[buffer] = number

    def contiguous(self, value: Value) -> Place:
        """Where a value lies, contiguous."""
        place = self.place(value)
        return place if place.strides == contiguous(value.shape) else self.copy(value)

    def draw(self, e: Equation) -> None:
        seed, position = operands(e)
        (out,) = e.outputs
        number = self.open(out.shape, Draw(self.place(seed), self.place(position)))
        buffer = Buffer("arena", out.dtype, -(-out.size // 4) * 4)
        self.places[out] = place = Place.of(buffer, out.shape)
        self.kernels[number].stores.append((place, Node("product", (), out.dtype)))
        self.kernels[number].ops.append("random_uniform")
        self.born[buffer] = number

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
        place = moved(self.place(x), e)
        if place is None:
            copied = self.copy(x)
            place = moved(copied, e)
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
        for e in self.graph.equations:
            # float16 is storage: NumPy computes with it
            half = any(v.dtype.char == "e" for v in (*e.values, *e.outputs))
            if half or not self.native(e):
                self.opaque(e)
        self.finish()
        return self.program

    def native(self, e: Equation) -> bool:
        """Schedule an equation as native code; False if there is no native form for it."""
        name, (out, *_) = e.op.name, e.outputs
        if name in LEAVES:
            self.leaves[out] = e
        elif name in VIEWS:
            self.view(e)
        elif name in REDUCTIONS:
            self.reduce(e)
        elif name in POINTWISE and pointwise_fits(e):
            self.pointwise(e)
        elif name == "matmul" and out.dtype.kind == "f":
            self.matmul(e)
        elif name in CONVOLUTIONS and convolves(e):
            self.convolve(e)
        elif name == "gather" and operands(e)[0].ndim:
            self.gather(e)
        elif name == "index_select":
            self.index_select(e)
        elif name == "random_uniform" and out.dtype == np.float32:
            self.draw(e)
        elif name in PARTS:
            return PARTS[name](self, e)
        else:
            return False
        return True

    def store_into(self, value: Value, place: Place) -> None:
        """Store a value at a place, in the kernel that computes it or by a copy at the end."""
        if value in self.floating:
            self.land(value)
        if value in self.made:
            number, node = self.made[value]
        else:
            number = self.open(value.shape)
            node = self.node(value, value.dtype, value.shape, number)
            self.kernels[number].ops.append("copy")
        self.kernels[number].stores.append((place, node))

    def output(self, value: Value) -> Buffer:
        """A buffer of its own for a result; one in the arena that holds just that becomes it."""
        place = self.places.get(value)
        if place is not None and place.buffer.kind == "arena":
            whole = place == Place.of(place.buffer, value.shape)
            if whole and place.buffer.size == value.size:
                place.buffer.kind = "output"
                return place.buffer
        buffer = Buffer("output", value.dtype, value.size)
        self.store_into(value, Place.of(buffer, value.shape))
        return buffer

    def finish(self) -> None:
        """Store the results: outputs in arrays of their own, new state where the old one was."""
        graph, program = self.graph, self.program
        for value in graph.outputs:
            program.outputs.append(self.output(value))
        for _, new in graph.writes:
            if new in self.floating:
                self.land(new)
        sources = {self.places[new].buffer for _, new in graph.writes if new not in self.made}
        late: list[tuple[Value, Place]] = []
        readers = self.readers()
        for target, new in graph.writes:
            place = self.places[target]
            safe = new in self.made and place.buffer not in sources
            if safe and self.in_place(place, self.made[new][0], readers.get(place.buffer, [])):
                self.store_into(new, place)
            else:
                late.append((new, place))
        # old state that becomes other state is taken aside before anything is overwritten
        aside = [
            self.copy(new) if self.place(new).buffer.kind == "input" else self.place(new)
            for new, _ in late
        ]
        for source, (new, target_place) in zip(aside, late, strict=True):
            number = self.open(new.shape)
            node = Node("load", (), new.dtype, source.stretched(new.shape))
            self.kernels[number].stores.append((target_place, node))
            self.kernels[number].ops.append("copy")

    def readers(self) -> dict[Buffer, list[tuple[int, Place | None]]]:
        """Which kernels load from each buffer, and how; None: in an order of their own."""
        found: dict[Buffer, list[tuple[int, Place | None]]] = {}
        for number, kernel in enumerate(self.kernels):
            for place in kernel.gulps():
                found.setdefault(place.buffer, []).append((number, None))
            for place in kernel.reads():
                found.setdefault(place.buffer, []).append((number, place))
        for number, place in self.loads:  # also for values that nothing has asked for yet
            found.setdefault(place.buffer, []).append((number, place))
        return found

    @staticmethod
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


def pointwise_fits(e: Equation) -> bool:
    """Whether the native form covers these dtypes and attributes."""
    if e.op.name == "round" and e.attrs.get("decimals"):
        return False
    return e.op.name in WHOLE or all(v.dtype.kind == "f" for v in e.values)


def convolves(e: Equation) -> bool:
    """Whether the generator of convolutions covers this one."""
    first, second = operands(e)
    kernel = e.attrs["kernel"] if e.op.name == "conv_weight" else second.shape[2:]
    if e.outputs[0].dtype != np.float32 or 0 in (*first.shape, *second.shape):
        return False
    return fits(kernel, e.attrs["padding"])


def schedule(graph: Graph) -> Program:
    """The kernels of a graph; an op that has no native form becomes an ``Opaque`` kernel."""
    return Scheduler(graph).run()
