"""``cf.compile``: a step function becomes one native call, with PyTorch's state around it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import update_wrapper
from operator import attrgetter, is_
from sys import getrefcount
from threading import Lock
from typing import Any

import numpy as np

from contraflow.base.dtypes import default_dtype
from contraflow.base.errors import CaptureError, IndexOutOfRange, lesson
from contraflow.base.modes import current
from contraflow.base.tree import map_tree
from contraflow.capture.step import CapturedStep, Hole, capture, check_like, check_own, named
from contraflow.compiler.epoch import Loop, run_epoch
from contraflow.compiler.explain import report
from contraflow.compiler.loops import Buffer
from contraflow.compiler.lower import index_guard, lower
from contraflow.compiler.native import Native
from contraflow.compiler.schedule import schedule
from contraflow.graph.text import to_text
from contraflow.tensor.tape import version_of
from contraflow.tensor.tensor import Tensor, make, set_grad

__all__ = ["Compiled", "compile"]

LIMIT = 16  # versions of one step before a warning says that shapes keep changing
MOST = 64  # versions that are kept
Array = np.ndarray[Any, Any]
value_of = attrgetter("_value")


def compile(function: Any = None, **options: Any) -> Any:
    """Turn a step function into one native call that leaves the same numbers and the same state.

    The function is run once on symbols for each combination of shapes, dtypes and modes: forward,
    backward, clipping and the optimiser's update become one graph, fused and compiled. Learning
    rates and whatever else an optimiser reads as a number may change between calls.

    Args:
        function: a step, ``step(x, y) -> loss``; everything in it happens inside the native call.
        options: PyTorch's ``fullgraph``, ``dynamic``, ``backend`` and ``mode`` are accepted.

    Raises:
        CaptureError: at the first call, if the function looks at a value (``item``, ``if``).

    >>> import contraflow as cf
    >>> from contraflow import nn
    >>> _ = cf.manual_seed(0)
    >>> model = nn.Linear(3, 1)
    >>> optimizer = cf.optim.Adam(model.parameters(), lr=0.1)
    >>> @cf.compile
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = nn.functional.mse_loss(model(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> x, y = cf.randn(8, 3), cf.randn(8, 1)
    >>> first, *_, last = [step(x, y).item() for _ in range(50)]
    >>> last < first
    True
    """
    unknown = set(options) - {"fullgraph", "dynamic", "backend", "mode"}
    if unknown:
        raise CaptureError(
            lesson(f"compile does not take {', '.join(sorted(unknown))}", fix="cf.compile(step)")
        )
    return Compiled if function is None else Compiled(function)


class Compiled:
    """A function that runs natively; each combination of shapes and modes has its own version."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.versions: dict[Any, list[Version]] = {}
        self.last_epoch = ""  # how its batches went through
        if hasattr(function, "__name__"):
            update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current().interpreter is not None:  # inside another captured step: part of it
            return self.function(*args, **kwargs)
        given: list[Tensor] = []
        version, held = self.version_for(args, kwargs, given)
        return version.run(given, held)

    def version_for(self, args: Any, kwargs: Any, given: list[Tensor]) -> tuple[Version, Any]:
        """What serves a call, compiled if need be, with the tensors behind its externals; collects
        the tensors among the arguments."""
        key = signature(args, kwargs, given)
        for version in self.versions.get(key, ()):
            held = version.held(given)
            if version.captured.holds(given, held):
                return version, held
        version = self.new_version(key, args, kwargs)
        return version, version.held(given)

    def epoch(self, batches: Any, *, progress: Callable[[int, Any], None] | None = None) -> Any:
        """``step(*batch)`` for every batch of a loader: the same batches in the same order, the
        same bits, and one row a batch of what the step returned.

        Data in memory (a ``DataLoader`` over a ``TensorDataset``, also shuffled, weighted or split)
        are gathered by native code, many batches in one call; what has to ask Python in between
        (a ``collate_fn``, samples that are made one by one) goes batch by batch, as ``explain``
        says. Ctrl-C and errors leave everything as after the last batch that was finished.

        Args:
            batches: a loader, or any collection of batches, each the arguments of one call.
            progress: ``progress(done, results)`` is called some thirty times a second with the
                number of batches that are done and their results.

        Returns:
            What the step returns, with the tensors of all batches stacked along a new first
            dimension. A tensor with another shape in the last batch becomes a list.

        >>> import contraflow as cf
        >>> w = cf.zeros(2)
        >>> @cf.compile
        ... def step(x):
        ...     w.add_(x.sum(0))
        ...     return x.mean()
        >>> data = cf.data.TensorDataset(cf.arange(6.0).reshape(3, 2))
        >>> step.epoch(cf.data.DataLoader(data))
        tensor([0.5000, 2.5000, 4.5000])
        >>> w
        tensor([6., 9.])
        """
        return run_epoch(self, batches, progress)

    def new_version(self, key: Any, args: Any, kwargs: Any) -> Version:
        """Capture and compile for what these arguments and the present modes ask for."""
        captured = capture(
            lambda args, kwargs: self.function(*args, **kwargs), args, kwargs,
            name=named(self.function),
        )  # fmt: skip
        if captured.unfinished and current().grad:
            raise CaptureError(
                lesson(
                    f"{captured.graph.name}: a result requires a gradient, but backward could not "
                    "reach into the compiled function",
                    [("result", captured.unfinished[0])],
                    "compile the whole step, loss.backward() included; or return y.detach(); "
                    "or call it within cf.no_grad()",
                )
            )
        version = Version(captured)
        self.versions.setdefault(key, []).append(version)
        count = sum(map(len, self.versions.values()))
        if count > MOST:  # the oldest goes
            del self.versions[next(iter(self.versions))]
        if count == LIMIT:
            warnings.warn(
                f"this step was compiled {count} times: its shapes or Python arguments keep "
                "changing; pad the last batch, or drop it (DataLoader(drop_last=True)), and pass "
                "changing numbers as tensors",
                stacklevel=3,
            )
        return version

    def explain(self) -> str:
        """What became of the step: kernels, memory, what is not native and why it was compiled."""
        versions = [v for found in self.versions.values() for v in found]
        if not versions:
            return "not compiled yet: call it once"
        parts = [report(v.captured.graph, v.native) for v in versions]
        return "\n\n".join(parts + [self.last_epoch] * bool(self.last_epoch))


def signature(args: tuple[Any, ...], kwargs: dict[str, Any], given: list[Tensor]) -> Any:
    """What decides which version serves a call; collects the tensors among the arguments."""
    parts: list[Any] = []

    def leaf(value: Any) -> None:
        if isinstance(value, Tensor):
            given.append(value)
            array = value._value
            parts.append((array.shape, array.dtype.char, value._requires_grad))
        elif value is None or isinstance(value, bool | int | float | str):
            parts.append((type(value), value))
        else:
            parts.append(id(value))

    shape = None
    if kwargs or not all(isinstance(a, Tensor) for a in args):
        shape = repr(map_tree(leaf, (args, kwargs)))
    else:
        for a in args:
            leaf(a)
    modes = current()
    return shape, *parts, modes.grad, modes.inference, default_dtype().name


class Version:
    """One compiled graph with the tensors it reads and writes.

    What does not change from call to call (where parameters and moments lie) is looked at and not
    done again: a call should cost little more than the native code.
    """

    def __init__(self, captured: CapturedStep) -> None:
        self.captured, self.lock = captured, Lock()
        self.loop: Loop | None = None  # over batches, once there is an epoch
        graph = lower(captured.graph)
        self.native = Native(schedule(graph), to_text(graph))
        self.guard = index_guard(graph)
        self.watcher = None
        if self.guard is not None:
            self.watcher = Native(schedule(self.guard[0]), to_text(self.guard[0]))
        self.alarm = np.zeros((), bool)
        if self.watcher is not None:
            self.watcher.point(self.watcher.program.outputs[0], self.alarm)
        self.watched: dict[Buffer, Buffer] = {}  # what the guard reads as well
        if self.watcher is not None:
            pairs = zip(
                self.native.program.inputs, self.watcher.program.inputs, graph.inputs, strict=True
            )
            read = {v for e in self.guard[0].equations for v in e.values}  # type: ignore[index]
            self.watched = {ours: theirs for ours, theirs, value in pairs if value in read}
        inputs, first = self.native.program.inputs, len(captured.arguments)
        last = first + len(captured.externals)
        self.arguments, self.buffers = inputs[:first], inputs[first:last]
        self.scalars = np.zeros(len(captured.scalars), np.float64)
        for k, buffer in enumerate(inputs[last:]):
            self.native.point(buffer, self.scalars[k : k + 1])
        targets = {target for target, _ in captured.graph.writes}
        written = [value in targets for value in captured.graph.inputs]
        self.writes_argument, self.writes = written[:first], written[first:last]
        self.fixed: list[Tensor] | None = None  # no external is a gradient: always the same ones
        if all(e.owner is None for e in captured.externals):
            self.fixed = [e.tensor for e in captured.externals]
        self.versions: list[Any] = []
        self.pointed: list[Any] = []
        grads = {position: tensor for tensor, position in captured.grads if position is not None}
        self.outputs = [
            Output(buffer, value.shape, value.dtype, grads.get(position))
            for position, (buffer, value) in enumerate(
                zip(self.native.program.outputs, graph.outputs, strict=True)
            )
        ]
        # whose gradients are left: always the same tensors, unless arguments are among them
        handles = {id(t) for t in captured.arguments}
        owners = [output.owner for output in self.outputs]
        self.owners = None if handles & set(map(id, owners)) else owners
        self.forgotten = [tensor for tensor, position in captured.grads if position is None]

    def held(self, given: list[Tensor]) -> list[Any]:
        """The tensors behind the externals; None for a gradient that is not there."""
        if self.fixed is not None:
            return self.fixed
        return [self.captured.actual(e, given) for e in self.captured.externals]

    # ---- before the call -----------------------------------------------------------------------

    def read_externals(self, held: list[Tensor]) -> list[tuple[Tensor, Array]]:
        """Point at the arrays that the tensors have now; gives the copies to write back."""
        values = list(map(value_of, held))
        if len(values) == len(self.pointed) and all(map(is_, values, self.pointed)):
            return []
        back = []
        self.pointed = values
        self.versions = [version_of(t) for t, w in zip(held, self.writes, strict=True) if w]
        for t, buffer, written, external in zip(
            held, self.buffers, self.writes, self.captured.externals, strict=True
        ):
            check_like(t, external.input, t._requires_grad, t._requires_grad)
            copy = self.point_at(t, buffer, written)
            if copy is not None:
                self.pointed = []  # the next call copies again
                if written:
                    back.append((t, copy))
        return back

    def point_at(self, t: Tensor, buffer: Buffer, written: bool) -> Array | None:
        """Point a buffer at a tensor's array; at a copy, which is given, if kernels cannot use
        the memory as it is."""
        array: Array = t._value
        if array.flags.c_contiguous and (array.flags.writeable or not written):
            self.point(buffer, array)
            return None
        copy = np.array(array, order="C")
        self.point(buffer, copy)
        return copy

    def point(self, buffer: Buffer, array: Array) -> None:
        self.native.point(buffer, array)
        if buffer in self.watched:
            self.watcher.point(self.watched[buffer], array)  # type: ignore[union-attr]

    def read_arguments(self, given: list[Tensor]) -> list[tuple[Tensor, Array]]:
        back = []
        for t, buffer, written in zip(given, self.arguments, self.writes_argument, strict=True):
            if t._node is not None:
                check_own(t)
            # an argument that shows memory which the step writes is read as it is now
            if t._version is not None and t._version in self.versions:
                self.point(buffer, np.array(t._value, order="C"))
                continue
            copy = self.point_at(t, buffer, written)
            if written and copy is not None:
                back.append((t, copy))
        return back

    # ---- the call ------------------------------------------------------------------------------

    def run(self, given: list[Tensor], held: list[Tensor]) -> Any:
        """One call; the native code works in memory of its own, so calls come one by one."""
        with self.lock:
            return self.call(given, held)

    def call(self, given: list[Tensor], held: list[Tensor]) -> Any:
        back = self.read_externals(held) + self.read_arguments(given)
        for k, read in enumerate(self.captured.scalars):
            self.scalars[k] = read()
        if self.watcher is not None:
            self.watcher()
            if self.alarm:
                raise self.out_of_range()
        passed = self.captured.passed
        owners = self.owners or [
            None if o.owner is None else passed(o.owner, given) for o in self.outputs
        ]
        for output, owner in zip(self.outputs, owners, strict=True):
            output.prepare(self.native, owner)
        self.native()
        for t, copy in back:
            np.copyto(t._value, copy)
        self.stamp(given)
        for tensor in self.forgotten:
            set_grad(passed(tensor, given), None)
        for output, owner in zip(self.outputs, owners, strict=True):
            if owner is not None:
                owner._grad = output.tensor
        tree = self.captured.tree
        if isinstance(tree, Hole):
            return self.outputs[tree.position].take()
        return map_tree(
            lambda leaf: self.outputs[leaf.position].take() if isinstance(leaf, Hole) else leaf,
            tree,
        )

    def stamp(self, given: list[Tensor]) -> None:
        """Everything that was written was written now."""
        versions = self.versions
        if True in self.writes_argument:
            mine = zip(given, self.writes_argument, strict=True)
            versions = versions + [version_of(t) for t, written in mine if written]
        if versions:
            versions[0].touch()
            now = versions[0].n
            for version in versions:
                version.n = now

    def out_of_range(self) -> IndexOutOfRange:
        assert self.guard is not None
        sizes = sorted({size for _, size in self.guard[1]})
        return IndexOutOfRange(
            lesson(
                f"{self.captured.graph.name}: a label or an index lies outside 0..size-1; "
                "nothing was changed",
                [("sizes", ", ".join(map(str, sizes)))],
                "check y.min() and y.max() against the number of classes",
            )
        )


class Output:
    """A result of the step: a tensor that is returned, or the gradient that it leaves."""

    def __init__(self, buffer: Buffer, shape: Any, dtype: Any, owner: Any) -> None:
        self.buffer, self.shape, self.dtype, self.owner = buffer, shape, dtype, owner
        self.tensor: Any = None

    def prepare(self, native: Native, owner: Any) -> None:
        """Memory for the result. That of the last call's gradient serves again if nobody else
        holds it: fresh memory for a large gradient costs more than computing it."""
        mine = self.tensor
        held = mine is not None and owner is not None and owner._grad is mine
        # self.tensor, the owner's slot and `mine` hold it; it and `native` hold its array
        if held and getrefcount(mine) == 4 and getrefcount(mine._value) == 3:
            return
        self.tensor = make(np.empty(self.shape, self.dtype))
        native.point(self.buffer, self.tensor._value)

    def take(self) -> Any:
        """The tensor to return: a new handle, because the gradient's is the owner's."""
        return make(self.tensor._value) if self.owner is not None else self.tensor
