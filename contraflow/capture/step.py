"""Capturing a step function as a graph with state, and running it with the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from contraflow.base.errors import CaptureError, lesson
from contraflow.base.modes import current
from contraflow.base.tree import flatten, map_tree
from contraflow.capture.recorder import External, Recorder
from contraflow.graph import Graph, Value, drop_dead, evaluate, to_text, verify
from contraflow.tensor.tape import version_of
from contraflow.tensor.tensor import Tensor, make, set_grad

__all__ = ["CapturedStep", "capture"]


class CapturedStep:
    """A step as a graph with state: what it reads, returns, writes, and the gradients it leaves.

    Calling it with tensors of the captured shapes runs the graph with the reference interpreter
    and leaves parameters, optimiser state, random position and gradients as eager would.
    """

    def __init__(
        self, graph: Graph, externals: list[External], scalars: list[Callable[[], float]],
        written: list[External], grads: list[tuple[Any, int | None]], tree: Any, arguments: int,
    ) -> None:  # fmt: skip
        self.graph = graph
        self._externals, self._scalars = externals, scalars
        self._written, self._grads = written, grads
        self._tree, self._arguments = tree, arguments

    def __str__(self) -> str:
        return to_text(self.graph)

    def _read(self, args: tuple[Any, ...]) -> list[Any]:
        arrays = [leaf._value for leaf in flatten(args) if isinstance(leaf, Tensor)]
        if len(arrays) != self._arguments:
            raise CaptureError(
                lesson(
                    f"the step was captured with {self._arguments} tensors, "
                    f"called with {len(arrays)}"
                )
            )
        for array, value in zip(arrays, self.graph.inputs, strict=False):
            if tuple(array.shape) != value.shape or array.dtype != value.dtype:
                raise CaptureError(
                    lesson(
                        "the step was captured for another shape or dtype",
                        [("captured", value.aval), ("called", f"{array.dtype}{list(array.shape)}")],
                        "capture it again for this shape",
                    )
                )
        for external in self._externals:
            t = external.tensor if external.owner is None else external.owner._grad
            if t is None:
                raise CaptureError(
                    lesson(
                        "the captured step adds to a .grad that is None now",
                        fix="call zero_grad() inside the step",
                    )
                )
            arrays.append(t._value)
        return arrays + [np.asarray(float(read()), np.float64) for read in self._scalars]

    def __call__(self, *args: Any) -> Any:
        outputs, new = evaluate(self.graph, self._read(args))
        for external, array in zip(self._written, new, strict=True):
            t = external.tensor if external.owner is None else external.owner._grad
            np.copyto(t._value, array)
            version_of(t).touch()
        for tensor, position in self._grads:
            set_grad(tensor, None if position is None else make(np.array(outputs[position])))
        return map_tree(
            lambda leaf: (
                make(np.array(outputs[leaf.position])) if isinstance(leaf, _Hole) else leaf
            ),
            self._tree,
        )


class _Hole:
    """Where an output goes in the returned tree."""

    def __init__(self, position: int) -> None:
        self.position = position


def capture(function: Callable[..., Any], *args: Any, name: str | None = None) -> CapturedStep:
    """Run ``function`` once on symbols and return what it does as a graph with state.

    Tensors among ``args`` (also in lists, tuples, dicts) become inputs, with their shapes fixed;
    tensors that the function reaches otherwise (parameters, optimiser state, buffers, the random
    generator) become inputs too, and those it writes become in-place outputs. Nothing is
    computed, and no tensor changes.

    Raises:
        CaptureError: if the function looks at a value (``item``, ``if``, ``print``...).

    >>> import contraflow as cf
    >>> from contraflow.capture import capture
    >>> w = cf.ones(2, requires_grad=True)
    >>> step = capture(lambda x: (w * x).sum(), cf.ones(2))
    >>> print(step)
    graph lambda
      input %0: float32[2]  "argument 0"
      input %1: float32[2]
      %2: float32[2] = mul(%1, %0)
      %3: float32[] = sum(%2) {dims=(0,), keepdim=False}
      return %3
    <BLANKLINE>
    """
    modes = current()
    if modes.interpreter is not None:
        raise CaptureError(lesson("a step is being captured already"))
    recorder = Recorder()
    arguments: list[Value] = []

    def symbolic(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        value = Value(leaf.aval, f"argument {len(arguments)}")
        arguments.append(value)
        t = make(value)
        t._requires_grad = leaf._requires_grad
        return t

    symbols = map_tree(symbolic, args)
    modes.interpreter = recorder
    try:
        result = function(*symbols)
        outputs: list[Value] = []

        def hole(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            outputs.append(recorder.symbol(leaf))
            return _Hole(len(outputs) - 1)

        tree = map_tree(hole, result)
        grads: list[tuple[Any, int | None]] = []
        for tensor, value in recorder.replaced_grads():
            grads.append((tensor, None if value is None else len(outputs)))
            if value is not None:
                outputs.append(value)
        written = recorder.written()
    finally:
        modes.interpreter = None
        recorder.close()
    return _assemble(
        name or function.__name__.strip("<>"), recorder, arguments, outputs, written, grads, tree
    )


def _assemble(
    name: str, recorder: Recorder, arguments: list[Value], outputs: list[Value],
    written: list[tuple[External, Value]], grads: list[tuple[Any, int | None]], tree: Any,
) -> CapturedStep:  # fmt: skip
    externals = list(recorder.externals.values())
    inputs = [*arguments, *(e.input for e in externals), *(v for v, _ in recorder.scalars)]
    writes = [(external.input, new) for external, new in written]
    graph = Graph(name, inputs, recorder.equations, outputs, writes, recorder.constants)
    return CapturedStep(
        verify(drop_dead(graph)), externals, [read for _, read in recorder.scalars],
        [external for external, _ in written], grads, tree, len(arguments),
    )  # fmt: skip
