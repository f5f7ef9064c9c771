"""One compiled version of a step: a graph as native code, with the tensors it reads and writes.

A call is ``prepare`` (point at the arrays that tensors have now, look at the labels), ``run`` (the
native code) and ``results`` (what eager would have left). What does not move from call to call is
looked at once and not again: a call should cost little more than the native code.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, is_
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np

from contraflow.base.changes import changes
from contraflow.base.errors import StateError, lesson
from contraflow.base.memory import overlap
from contraflow.base.modes import Modes
from contraflow.base.tree import map_tree
from contraflow.capture.step import CapturedStep, Hole, check_apart, check_own
from contraflow.compiler.address import address_of
from contraflow.compiler.finite import inspect
from contraflow.compiler.guarded import Back, Guarded, Result
from contraflow.compiler.guards import Guards
from contraflow.compiler.loops import Buffer, Opaque
from contraflow.compiler.native import Native
from contraflow.compiler.steady import Again, steady
from contraflow.graph.ir import Value
from contraflow.tensor.anomaly import anomaly
from contraflow.tensor.arrays import array_of
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.versions import version_of

if TYPE_CHECKING:
    from contraflow.compiler.epoch import Loop

__all__ = ["Gradient", "Returned", "Version"]

value_of, grad_of = attrgetter("_value"), attrgetter("_grad")
ARRAYS = {np.ndarray}
SMALL = 1024  # bytes; results up to this size are copied out of memory that never moves
# Who holds a gradient: its owner, a `Gradient`, the list of them and the question; its array is
# held by it, by `native` and the question.
HOLDERS, ARRAY_HOLDERS = 4, 3


class Version(Guarded):
    """A captured step, compiled, for arguments of one form.

    Args:
        captured: the step as a graph with state.
        form: what was passed, in words; names: of the tensors among it.
        reason: why it was compiled.
        check_finite: look for NaN and infinities after each run, before anything changes.

    Attributes:
        returned, gradients: what the step returns, and the gradients that it leaves.
        steady: nothing but the arguments moves from call to call.
    """

    def __init__(
        self, captured: CapturedStep, form: list[tuple[str, str]], names: list[str], reason: str,
        check_finite: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(captured.graph, reason, len(captured.scalars))
        self.captured, self.form, self.names = captured, form, names
        self.check_finite = check_finite
        self.number = 0  # the later, the higher
        self.guards = Guards(captured)
        self.loop: Loop | None = None  # over batches, once there is an epoch
        self.again: Again | None = None  # serves calls like the last one (see ``steady``)
        self.divide_inputs()
        self.divide_outputs()
        self.pointed: list[Any] | None = None  # the arrays of the state, None if they are copies
        self.latest: list[Any] = [None] * len(captured.arguments)
        self.moves = -1  # of optimisers' numbers, when they were read last
        self.seen = -1  # the count of changes at which externals and gradients were in place
        self.now = 0  # the count when this call began
        self.checking = check_finite
        # An op of NumPy's may raise in the middle: then, too, the state is written at the end.
        self.fallible = any(isinstance(part, Opaque) for part in self.native.parts)
        self.careful = True

    def divide_inputs(self) -> None:
        """Which buffers are arguments, state and numbers, and which of them are written."""
        captured, first = self.captured, len(self.captured.arguments)
        self.arguments, self.buffers = self.inputs[:first], self.inputs[first:]
        targets = {target for target, _ in captured.graph.writes}
        written = [value in targets for value in captured.graph.inputs]
        self.writes_argument, self.writes = written[:first], written[first : len(self.inputs)]
        self.readers: list[list[tuple[Native, Buffer]]] = []  # of each argument
        for buffer in self.arguments:
            self.readers.append([(self.native, buffer)])
            if self.watcher is not None and buffer in self.watched:
                self.readers[-1].append((self.watcher, self.watched[buffer]))
        self.tracked = any(t._requires_grad for t in captured.arguments)
        self.fixed: list[Any] | None = None  # no external is a gradient: always the same ones
        if all(e.owner is None for e in captured.externals):
            self.fixed = [e.tensor for e in captured.externals]

    def divide_outputs(self) -> None:
        """Which outputs are returned, and which are left as gradients."""
        captured = self.captured
        owners = {position: t for t, position in captured.grads if position is not None}
        self.outputs: list[Returned | Gradient] = []
        pairs = zip(self.native.program.outputs, self.graph.outputs, strict=True)
        for position, (buffer, value) in enumerate(pairs):
            if position in owners:
                self.outputs.append(Gradient(self.native, buffer, value, owners[position]))
            else:
                self.outputs.append(Returned(self.native, buffer, value))
        self.gradients = [o for o in self.outputs if isinstance(o, Gradient)]
        self.returned = [o for o in self.outputs if isinstance(o, Returned)]
        self.owners = [gradient.owner for gradient in self.gradients]
        self.tensors: list[Tensor] = []  # the gradients, if they are where they were left
        self.large = [o for o in self.returned if not o.small]
        self.forgotten = [t for t, position in captured.grads if position is None]
        handles = set(map(id, captured.arguments))
        self.show = self.showing()
        self.owned = not handles & {id(t) for t, _ in captured.grads}  # by no argument
        shown: list[Any] = []
        map_tree(lambda leaf: shown.append(leaf.position) if isinstance(leaf, Hole) else 0,
                 captured.tree)  # fmt: skip
        self.steady = self.guards.steady and self.owned and not owners.keys() & set(shown)

    # ---- a call --------------------------------------------------------------------------------

    def holds(self, given: list[Tensor]) -> bool:
        """Whether this version serves a call with these tensors."""
        return self.guards.hold(given)

    def __call__(self, given: list[Tensor]) -> Any:
        """One call; the native code works in memory of its own, so calls come one by one."""
        with self.lock:
            back = self.prepare(given)
            self.native()
            if self.checking:
                inspect(self, given, back)
            return self.results(given, back)

    def serves_again(self, args: tuple[Any, ...], modes: Modes) -> Again | None:
        """What serves calls like the last one, which had these arguments, if all is in place."""
        if self.again is None and self.seen == changes.tensors:
            self.again = steady(self, args, modes)
        return self.again

    def prepare(self, given: list[Tensor]) -> Back:
        """Everything that comes before the native code; nothing that others see changes.

        Raises:
            IndexOutOfRange: for a label or an index that the step could not use.
        """
        back = self.place(given)
        if self.watcher is not None:
            self.look()
        return back

    def place(self, given: list[Tensor]) -> Back:
        """Say where everything lies; gives the copies that are to be written back."""
        back: Back = []
        self.now = changes.tensors
        if self.now != self.seen:
            if self.checking is not (self.check_finite or anomaly.on):
                self.checking, self.pointed = not self.checking, None
            self.careful = self.checking or self.fallible
            self.point_externals(given, back)
            self.point_gradients(given)
        latest = self.latest
        for k, t in enumerate(given):
            if t._value is not latest[k]:
                self.point_argument(k, t, back)
        if self.tracked:
            for t in given:
                check_own(t)
        if not self.owned or True in self.writes_argument:
            check_apart(given, self.writes_argument, self.held(given))
        if self.guards.moves != self.moves:
            self.read_numbers()
        for output in self.large:
            output.prepare()
        return back

    def read_numbers(self) -> None:
        """Learning rates and the like, as they are now."""
        moves = self.guards.moves
        self.scalars[:] = [read() for read in self.captured.scalars]
        self.moves = moves

    def results(self, given: list[Tensor], back: Back) -> Any:
        """State, gradients and returned tensors as eager would have left them."""
        for target, copy in back:
            np.copyto(target, copy)
        self.leave(given)
        return self.show()

    def showing(self) -> Callable[[], Any]:
        """What makes a new result of the memory that the native code has written."""
        tree, outputs = self.captured.tree, self.outputs
        if isinstance(tree, Hole):
            return outputs[tree.position].take
        if type(tree) is tuple and all(isinstance(leaf, Hole) for leaf in tree):
            takes = [outputs[leaf.position].take for leaf in tree]
            return lambda: tuple([take() for take in takes])
        return lambda: map_tree(
            lambda leaf: outputs[leaf.position].take() if isinstance(leaf, Hole) else leaf, tree
        )

    def leave(self, given: list[Tensor]) -> None:
        """Say that what was written was written now, and leave the gradients."""
        self.writer.touch()
        if True in self.writes_argument:
            for t, written in zip(given, self.writes_argument, strict=True):
                if written:
                    version_of(t).touch()
        if self.now != self.seen:
            self.leave_gradients(given)

    # ---- where things lie ----------------------------------------------------------------------

    def held(self, given: list[Tensor]) -> list[Any]:
        """The tensors behind the externals."""
        if self.fixed is not None:
            return self.fixed
        return [self.captured.actual(e, given) for e in self.captured.externals]

    def point_externals(self, given: list[Tensor], back: Back) -> None:
        """Point at the arrays that the state has now."""
        held = self.held(given)
        arrays = list(map(value_of, held))
        if set(map(type, arrays)) != ARRAYS:  # another thread captures a step that uses them
            arrays = list(map(array_of, held))
        if self.pointed is not None and all(map(is_, arrays, self.pointed)):
            return
        self.check_memory(arrays)
        self.pointed = arrays
        self.claim([t for t, written in zip(held, self.writes, strict=True) if written])
        self.latest = [None] * len(given)  # an argument may show the memory of state
        for array, buffer, written in zip(arrays, self.buffers, self.writes, strict=True):
            if not self.point_at(array, buffer, written, back):
                self.pointed = None  # the next call copies again

    def check_memory(self, arrays: list[Any]) -> None:
        """No memory is written by way of one tensor and used by way of another."""
        found: dict[bool, list[Any]] = {False: [], True: []}
        for array, written in zip(arrays, self.writes, strict=True):
            found[written].append(array)
        if overlap(found[True], found[False]):
            raise StateError(
                lesson("two tensors of this step share memory, and the step writes it",
                       fix="share the tensor itself: b.weight = a.weight, not b.weight.data = ...")
            )  # fmt: skip

    def point_argument(self, k: int, t: Tensor, back: Back) -> None:
        """Point at a tensor that was passed."""
        array, buffer, written = array_of(t), self.arguments[k], self.writes_argument[k]
        # an argument that shows memory which the step writes is read as it is now
        shown = t._version is not None and t._version in self.written
        if written or shown or not array.flags.c_contiguous:
            self.latest[k] = None
            if shown:
                array = np.array(array, order="C")
            self.point_at(array, buffer, written, back)
            return
        self.latest[k] = array
        address = address_of(array)
        for native, own in self.readers[k]:
            native.table[native.slots[own]] = address
            native.arrays[own] = array

    def point_gradients(self, given: list[Tensor]) -> None:
        """Memory for the gradients: that of the last call, unless somebody holds it."""
        if self.tensors and not self.careful and self.untouched():
            return
        self.tensors = []
        for gradient in self.gradients:
            gradient.prepare(self.captured.passed(gradient.owner, given), self.careful)

    def untouched(self) -> bool:
        """Whether all gradients are where the last call left them, and nobody else holds one."""
        tensors = self.tensors
        return (
            all(map(is_, map(grad_of, self.owners), tensors))
            and set(map(getrefcount, tensors)) == {HOLDERS}
            and set(map(getrefcount, map(value_of, tensors))) == {ARRAY_HOLDERS}
        )

    # ---- what is left --------------------------------------------------------------------------

    def leave_gradients(self, given: list[Tensor]) -> None:
        """Gradients where eager leaves them; then notice that all is in its place."""
        if self.tensors and not self.forgotten:
            if self.steady and self.pointed is not None:
                self.seen = self.now
            return
        passed, moved = self.captured.passed, False
        for gradient in self.gradients:
            owner = passed(gradient.owner, given)
            if owner._grad is not gradient.tensor:
                owner._grad, moved = gradient.tensor, True
        for tensor in self.forgotten:
            owner = passed(tensor, given)
            if owner._grad is not None:
                owner._grad, moved = None, True
        if self.owned:
            self.tensors = [gradient.tensor for gradient in self.gradients]
        if moved:
            changes.tensors += 1
        elif self.steady and self.pointed is not None and not self.careful:
            self.seen = self.now


class Returned(Result):
    """A result that the step returns; a small one is copied out of memory that never moves."""

    owner = None

    def __init__(self, native: Native, buffer: Buffer, value: Value) -> None:
        super().__init__(native, buffer, value)
        self.small = self.array.nbytes <= SMALL

    def take(self) -> Tensor:
        """The tensor to return."""
        return make(self.array.copy() if self.small else self.array)  # type: ignore[no-any-return]


class Gradient:
    """A gradient that the step leaves at its owner. Its memory serves again if nobody holds it."""

    small = False

    def __init__(self, native: Native, buffer: Buffer, value: Any, owner: Any) -> None:
        self.native, self.buffer, self.shape, self.dtype = native, buffer, value.shape, value.dtype
        self.owner = owner  # as it was captured: an argument stands for what is passed
        self.tensor: Any = None

    def prepare(self, owner: Any, fresh: bool) -> None:
        """Memory for the next gradient of ``owner``."""
        mine = self.tensor
        if mine is not None and not fresh:
            # held here (self, mine, the question), and by its owner; its array by itself and native
            known = 3 + (owner._grad is mine)
            if getrefcount(mine) == known and getrefcount(mine._value) == 3:
                return
        self.tensor = make(np.empty(self.shape, self.dtype))
        self.native.point(self.buffer, self.tensor._value)

    def take(self) -> Tensor:
        """The tensor to return: a new handle, because this one is the owner's."""
        return make(self.tensor._value)  # type: ignore[no-any-return]
