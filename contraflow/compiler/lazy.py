"""The unmodified loop: ops are put off until somebody looks, and then run as one native call.

``Lazy`` stands behind the door. An op gives a tensor whose value is *pending*: shape and dtype are
known, the number is not. What is pending is computed when a value is read, and at the end of an
optimiser's step: forward, backward and update together. The same sequence of ops met again walks
the path that it took before (``memory``), and what was compiled for that path runs.

Nothing can be seen of it: every way to look at a value goes through ``settle``, state lies where
eager would leave it, and errors are eager's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from sys import getrefcount
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np

from contraflow.base.dtypes import default_dtype, float64
from contraflow.base.errors import ContraflowError
from contraflow.base.modes import Modes, current, local
from contraflow.capture.recorder import shows
from contraflow.compiler.calls import Watch, in_range, symbol_of
from contraflow.compiler.habit import Habit
from contraflow.compiler.memory import Point, Step, Update
from contraflow.compiler.piece import Piece
from contraflow.compiler.shortcuts import Shortcuts
from contraflow.graph.ir import Equation, Value
from contraflow.ops.record import NUMBERS, Aval, Op
from contraflow.tensor.anomaly import anomaly
from contraflow.tensor.arrays import array_of
from contraflow.tensor.eager import eager
from contraflow.tensor.folded import Folded
from contraflow.tensor.operands import coerce, promote
from contraflow.tensor.pending import Pending
from contraflow.tensor.tape import record
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.versions import clock, is_shared
from contraflow.tensor.views import fresh, mark_view
from contraflow.tensor.writing import store

__all__ = ["Lazy"]

LONGEST = 4096  # ops that are put off at most
IDLE = 256  # looks in a row that ran op by op: the loop is over
MOST = 100_000  # points that are remembered; then memory begins anew
# What looks at the numbers of an operand, and must complain about them at once.
INDEXED = frozenset(("gather", "index_select"))
DIVIDING = frozenset((
    "floor_divide", "trunc_divide", "remainder", "fmod", "bitwise_left_shift",
    "bitwise_right_shift",
))  # fmt: skip
LOOKING = INDEXED | DIVIDING | frozenset((
    "scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy", "ravel_index",
    "inverse", "solve", "pseudoinverse", "cofactors", "det", "slogdet", "cholesky", "eigh", "svd",
    "svd_full", "qr", "qr_full",
))  # fmt: skip


class Lazy(Shortcuts):
    """The interpreter that puts ops off."""

    deferred = True

    def __init__(self, ripe: int = 0) -> None:
        self.ripe = ripe
        self.lock = RLock()
        self.roots: dict[Any, Point] = {}
        self.points = 0
        self.native, self.computed = 0, 0  # how often what was pending ran in either way
        self.idle = 0  # how often in a row it was not native
        self.habits: WeakKeyDictionary[Any, Habit] = WeakKeyDictionary()
        self.trained: dict[int, tuple[ref[Any], Habit]] = {}  # parameters of the optimisers
        self.quiet = Modes().quiet
        self.watch: Watch | None = None  # a call is walked for the first time
        self.updating = False  # an optimiser's update runs: nobody looks before it is over
        self.begin()

    def begin(self) -> None:
        """Nothing is pending."""
        if self.points > MOST:
            self.roots, self.points = {}, 0
        self.root = self.point = self.roots.setdefault(default_dtype().name, Point())
        self.order: list[Any] = []  # tensors met, in order
        self.known: dict[int, tuple[int, Value]] = {}  # their positions and symbols
        self.pending: list[Pending] = []
        self.holders: list[ref[Any]] = []  # tensors whose value is pending
        self.scalars: list[Callable[[], float]] = []
        self.writes: dict[int, tuple[Any, Any]] = {}  # tensors with what they held, to be written
        self.hidden: list[tuple[Any, Any]] = []  # views of them, with what they held
        self.updated: Update | None = None  # an update that was met before: it writes, too
        self.folded: list[ref[Folded]] = []  # calls that are one node of the tape
        self.copies: dict[int, tuple[Any, Any]] = {}  # what others may write, as it was met
        self.since = next(clock)

    # ---- an op ---------------------------------------------------------------------------------

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        with self.lock:
            return self._bind(op, args, attrs)

    def _bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        watch = self.watch
        if anomaly.on or (op.view and watch is None and self.can_show(op, args[0])):
            return self.now(op, args, attrs)
        if op.name in LOOKING and not self.looks_well(op, args, attrs):
            return self.now(op, args, attrs)
        values: list[Any] = []
        bits, bit = 0, 1
        for a in args:
            if isinstance(a, Tensor):
                values.append(self.symbol(a))
                if a._requires_grad:
                    bits |= bit
            elif type(a) in NUMBERS:
                values.append(a)
            else:
                return self._bind(op, coerce(op, args), attrs)
            bit += bit
        if watch is not None:
            watch.use(args, values)
        modes = local.modes
        if bits and not modes.grad:
            bits = 0
        step = self.point.likely
        if step is None or not step.is_called(op, values, bits, attrs):
            found = self.find(op, args, values, bits, attrs)
            if type(found) is not Step:
                return found
            step = found
        self.point = step.point
        outs = [self.handle(value) for value in step.equation.outputs]
        if op.view and isinstance(args[0], Tensor) and shows(op, attrs, args[0]):
            mark_view(outs[0], op, attrs, args[0])
        if bits and op.differentiable:
            record(op, args, attrs, step.inputs, outs)
        return tuple(outs) if op.outputs > 1 else outs[0]

    def find(
        self, op: Op, args: tuple[Any, ...], values: list[Any], bits: int, attrs: dict[str, Any]
    ) -> Any:
        """The step of a call that is not the likely one; or its result, if it is no step."""
        for step in self.point.steps:
            if step.is_called(op, values, bits, attrs):
                self.point.likely = step
                return step
        if len(self.pending) > LONGEST:
            return self.now(op, args, attrs)
        if op.promote is not None:
            promoted = promote(op, args)
            if promoted is not None:
                return self._bind(op, promoted, attrs)
        try:
            avals = shapes(op, values, attrs)
        except ContraflowError:
            return self.now(op, args, attrs)  # it complains in eager's words
        equation = Equation(op, values, attrs, avals)
        self.points += 1
        self.point.likely = self.point.add(op, values, bits, equation)
        return self.point.likely

    def now(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """An op that is not put off."""
        if self.watch is not None:
            self.watch.spoiled = True
        if not all(self.is_there(a) for a in args):
            self.settle()
        modes = local.modes
        modes.interpreter = None
        try:
            return eager(op, args, attrs, modes)
        finally:
            modes.interpreter = self

    def looks_well(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> bool:
        """Whether it is known that an op has no reason to complain about the numbers it gets."""
        if op.name in DIVIDING:
            return any(isinstance(a, Tensor) and a._value.dtype.kind == "f" for a in args)
        if op.name not in INDEXED or not args[0]._value.ndim:
            return False
        size = args[0]._value.shape[attrs["dim"]]
        if self.watch is not None:
            self.watch.indices.append((args[1], size))
        return in_range(args[1], size)

    def is_there(self, a: Any) -> bool:
        """Whether an operand can be used at once, and stays outside of what is put off."""
        if not isinstance(a, Tensor):
            return True
        if a._parent is not None:
            fresh(a)
        if a._requires_grad and local.modes.grad:
            return False
        return symbol_of(a) is None

    def can_show(self, op: Op, source: Any) -> bool:
        """Whether a view is best made at once: nothing is computed for it."""
        if self.is_there(source):
            return True
        return not op.differentiable and source._node is not None and symbol_of(source) is None

    def handle(self, value: Value) -> Any:
        """A tensor whose value is pending."""
        return make(self.pend(value))

    def pend(self, value: Value) -> Pending:
        """A value that is pending."""
        pending = Pending(value, self)
        self.pending.append(pending)
        return pending

    def symbol(self, t: Any) -> Value:
        """The symbol of a tensor; one that is met for the first time is the next input."""
        if t._parent is not None:
            fresh(t)
        value = t._value
        if type(value) is Pending:
            if value.array is None:
                return value.value  # type: ignore[no-any-return]
            value = t._value = value.array
        elif type(value) is not np.ndarray:
            value = array_of(t)
        known = self.known.get(id(t))
        if known is not None and (not self.copies or self.stays(t, value)):
            return known[1]
        symbol, self.point = self.point.meet(value, t._requires_grad)
        self.known[id(t)] = len(self.order), symbol
        shared = t._version is not None and t._version.sharers and self.copied(t)
        self.order.append(self.copy(t, value) if shared else t)
        return symbol

    def copied(self, t: Any) -> bool:
        """Whether what is put off must not read a tensor's own memory later: NumPy may write to it
        meanwhile. Not so parameters that are being trained."""
        reference, _ = self.trained.get(id(t), (None, None))
        return (reference is None or reference() is not t) and is_shared(t)

    def copy(self, t: Any, value: Any) -> Any:
        """Another tensor with the numbers that this one has now."""
        if self.watch is not None:
            self.watch.spoiled = True
        twin = make(value.copy())
        self.copies[id(t)] = t, twin
        return twin

    def stays(self, t: Any, value: Any) -> bool:
        """Whether a tensor still has the numbers with which it was met, if it was copied then."""
        _, twin = self.copies.get(id(t), (None, None))
        return twin is None or bool(twin._value.tobytes() == value.tobytes())

    # ---- writing and looking -------------------------------------------------------------------

    def write(self, tensor: Any, new: Any) -> None:
        with self.lock:
            if is_shared(tensor) and not self.updating:
                self.write_now(tensor, new)
                return
            node = tensor._node
            if node is not None and node.folded:
                node.unfold()
            symbol, value = self.symbol(tensor), self.symbol(new)
            if self.watch is not None:
                self.watch.use((tensor,), (symbol,))
            if type(tensor._value) is not Pending:
                self.writes[id(tensor)] = tensor, tensor._value
            pending = tensor._value = new._value
            if type(pending) is not Pending:
                tensor._value = self.pend(value)

    def write_now(self, tensor: Any, new: Any) -> None:
        """Write where somebody may look who does not ask."""
        if self.watch is not None:
            self.watch.spoiled = True
        self.settle()
        store(tensor, array_of(new))

    def rebind(self, tensor: Any, value: Any) -> None:
        if type(tensor._value) is np.ndarray:
            self.hidden.append((tensor, tensor._value))
        tensor._value = value

    def constant(self, array: Any) -> Any:
        if self.watch is not None:
            self.watch.arrays[id(array)] = array
        return array

    def look(self, tensor: Any, what: str) -> Any:
        if self.watch is not None:
            self.watch.spoiled = True
        self.settle()
        return array_of(tensor, what)

    def checked(self, tensor: Any) -> None:
        if self.watch is not None:
            self.watch.checked.append(tensor)

    def given(self, holder: Any) -> None:
        """Python runs each time and decides anew."""

    def read_grad(self, tensor: Any) -> None:
        """A gradient is a tensor like another: looking at its value is what counts."""

    def write_grad(self, tensor: Any) -> None:
        """The handle is replaced at once."""

    def scalar(self, read: Callable[[], float], label: str) -> Any:
        symbol, self.point = self.point.scalar(Aval((), float64), label)
        self.scalars.append(read)
        return self.handle(symbol)

    def stepped(self, optimizer: Any) -> None:
        """What a step of another kind has left pending is computed with it."""
        ripe = optimizer._steps >= self.ripe and not optimizer._plain
        self.settle(self.habit(optimizer) if ripe else None)

    def habit(self, optimizer: Any) -> Habit:
        """How an optimiser's steps have gone so far."""
        found = self.habits.get(optimizer)
        if found is None:
            found = self.habits[optimizer] = Habit(ref(optimizer))
            for group in optimizer.param_groups:
                self.trained.update((id(p), (ref(p), found)) for p in group["params"])
        return found

    def usual(self, order: list[Any]) -> Habit | None:
        """The habit behind something that was looked at in the middle of a step: that of the
        optimiser whose parameters it reads, if it is one's."""
        habits = set()
        for t in order:
            if t._requires_grad:
                reference, habit = self.trained.get(id(t), (None, None))
                if reference is None or reference() is not t:
                    return None
                habits.add(habit)
        return habits.pop() if len(habits) == 1 else None

    # ---- computing -----------------------------------------------------------------------------

    def settle(self, habit: Habit | None = None) -> None:
        """Compute everything that is pending; ``habit``: at the end of a step."""
        with self.lock:
            if self.pending or self.writes or self.updated:
                modes = current()
                before, quiet = modes.interpreter, modes.quiet
                # a look may come from within an op that runs quietly already
                modes.interpreter, modes.quiet = None, self.quiet
                try:
                    self.compute(habit)
                finally:
                    over = self.ripe and (self.idle > IDLE or not self.habits)
                    modes.interpreter, modes.quiet = None if over else before, quiet

    def compute(self, habit: Habit | None) -> None:
        for reference in self.folded:  # what backward will need is computed as well
            node = reference()
            if node is not None and node.folded and node.args is not None:
                node.unfold()
        written = {id(t._value) for t, _ in self.writes.values()}
        # the list here, the name in the loop and the call hold each of them once
        held = [p for p in self.pending if getrefcount(p) > (4 if id(p) in written else 3)]
        piece = self.piece(tuple([p.value for p in held]), self.written())
        order, scalars, holders, hidden = self.order, self.scalars, self.holders, self.hidden
        update = self.updated
        for t, array in hidden:
            t._value = array
        self.begin()
        looked, habit = habit is None, habit or self.usual(order)
        try:
            results = piece(order, scalars, habit is not None and habit.allows(piece, looked))
        except BaseException:
            for p in held:
                p.owner = failed
            raise
        if update is not None:
            update.writer.touch()
        for p, array in zip(held, results, strict=True):
            p.array = array
        self.give(holders)
        if habit is None or not habit.native:
            self.computed += 1
            self.idle += 1
        else:
            self.native += 1
            self.idle = 0

    def written(self) -> tuple[tuple[int, Value], ...]:
        """Position and new symbol of every tensor to be written, which has its memory again."""
        later = set() if self.updated is None else self.updated.positions
        found = []
        for t, array in self.writes.values():
            position, value = self.known[id(t)][0], t._value.value
            t._value = array
            if position not in later:
                found.append((position, value))
        return tuple(found)

    def piece(self, held: tuple[Value, ...], writes: tuple[tuple[int, Value], ...]) -> Piece:
        """What runs here, for these results and writes, and those of the update."""
        update, runs = self.updated, self.point.runs
        found = None if update is None else update.pieces.get((held, writes))
        if found is None:
            key = held, writes if update is None else writes + update.pairs
            found = runs.get(key)
            if found is None:
                found = runs[key] = Piece(self.point, *key)
            if update is not None:
                update.pieces[held, writes] = found
        return found

    def give(self, holders: list[ref[Any]]) -> None:
        """Every tensor that is still held gets its array; views show the memory of their base."""
        for reference in holders:
            t = reference()
            if t is None or type(t._value) is not Pending:
                continue
            if t._parent is not None:
                op, attrs = t._view
                t._value = op.forward(array_of(t._parent), **attrs)
            else:
                t._value = t._value.array

    def pieces(self) -> Iterator[Piece]:
        """Everything that was made to run."""
        stack = list(self.roots.values())
        while stack:
            point = stack.pop()
            yield from point.runs.values()
            stack += point.below()


class Failed:
    """The owner of values that could not be computed: the error was raised where they were."""

    def __init__(self) -> None:
        self.holders: list[Any] = []

    def settle(self) -> None:
        raise ContraflowError(
            "this value was never computed: an error came before\n"
            "  fix: look at the first error; cf.set_default_mode('eager') shows it at its line"
        )


failed = Failed()


def shapes(op: Op, values: list[Any], attrs: dict[str, Any]) -> tuple[Aval, ...]:
    """The shapes and dtypes of the results."""
    dtype = next((v.aval.dtype for v in reversed(values) if isinstance(v, Value)), default_dtype())
    avals = [v.aval if isinstance(v, Value) else Aval((), dtype) for v in values]
    found = op.shape(*avals, **attrs)
    return found if isinstance(found, tuple) else (found,)
