"""Capturing a step function as a graph with state, and running it with the interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from contraflow.base.errors import CaptureError, lesson
from contraflow.base.modes import at_once, capturing, current, symbols
from contraflow.base.tree import flatten, map_tree
from contraflow.capture.names import Name
from contraflow.capture.recorder import External, Recorder
from contraflow.graph import Graph, Value, drop_dead, evaluate, to_text, verify
from contraflow.tensor.tensor import Tensor, make, set_grad
from contraflow.tensor.versions import version_of
from contraflow.tensor.walk import reachable

__all__ = ["CapturedStep", "Hole", "capture", "check_apart", "check_like", "check_own", "named"]

# a process copied while another thread captures would find its tensors full of symbols
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=symbols.acquire, after_in_parent=symbols.release, after_in_child=symbols.release
    )


def unspent(node: Any) -> bool:
    """Whether backward could still go from here: no part of the history was used up by another."""
    if node is None or getattr(node, "args", None) is None:
        return False
    return all(getattr(below, "args", below) is not None for below in reachable([node]))


class CapturedStep:
    """A step as a graph with state: what it reads, returns, writes, and the gradients it leaves.

    Calling it with tensors of the captured shapes runs the graph with the reference interpreter
    and leaves parameters, optimiser state, random position and gradients as eager would.
    """

    def __init__(self, graph: Graph, recorder: Recorder, written: list[External],
                 grads: list[tuple[Any, int | None]], tree: Any,
                 unfinished: list[Any]) -> None:  # fmt: skip
        self.graph, self.unfinished = graph, unfinished
        self.arguments = [external.tensor for external in recorder.arguments]
        self._places = {id(t): i for i, t in enumerate(self.arguments)}
        self.externals = list(recorder.externals.values())
        self.scalars = [read for _, read in recorder.scalars]
        self.written, self.grads = written, grads
        self.without_grad = list(recorder.without_grad.values())
        self.holders = list(recorder.holders.values())
        self.tracked = [external.history[2] for external in self.externals]
        self.places = recorder.places  # where each equation comes from, if it was asked for
        self.tree = tree
        self.names: list[Name] = []  # of numbers and tensors that were taken as they were

    def __str__(self) -> str:
        return to_text(self.graph)

    def __call__(self, *args: Any) -> Any:
        with at_once():
            return self.run(args)

    def run(self, args: tuple[Any, ...]) -> Any:
        """One run of the graph with the reference interpreter."""
        given = [leaf for leaf in flatten(args) if isinstance(leaf, Tensor)]
        arrays = self._read(given)
        outputs, new = evaluate(self.graph, arrays)
        # a result may be what a tensor held before: keep it from the writes below
        outputs, new = _settled(outputs, arrays), _settled(new, arrays)
        for external, array in zip(self.written, new, strict=True):
            t = self.actual(external, given)
            np.copyto(t._value, array)
            version_of(t).touch()
        for tensor, position in self.grads:
            value = None if position is None else make(outputs[position].copy())
            set_grad(self.passed(tensor, given), value)
        return map_tree(
            lambda leaf: make(outputs[leaf.position].copy()) if isinstance(leaf, Hole) else leaf,
            self.tree,
        )

    def passed(self, tensor: Any, given: list[Any]) -> Any:
        """The tensor of this call that one of the capture stands for."""
        place = self._places.get(id(tensor))
        return tensor if place is None else given[place]

    def actual(self, external: External, given: list[Any]) -> Any:
        owner = external.owner
        if owner is not None:
            return self.passed(owner, given)._grad
        return self.passed(external.tensor, given)

    def _read(self, given: list[Any]) -> list[Any]:
        """The arrays of this call, in the order of the graph's inputs.

        Raises:
            CaptureError: if something is not as it was when the step was captured.
        """
        if len(given) != len(self.arguments):
            raise CaptureError(
                lesson(
                    f"the step was captured with {len(self.arguments)} tensors, "
                    f"called with {len(given)}"
                )
            )
        for t, symbol in zip(given, self.arguments, strict=True):
            check_like(t, symbol, t._requires_grad, symbol._requires_grad)
            check_own(t)
        for tensor in self.without_grad:
            if self.passed(tensor, given)._grad is not None:
                raise CaptureError(
                    lesson(
                        "the captured step found no .grad here, and now there is one: "
                        "eager would add to it",
                        [("tensor", self.passed(tensor, given))],
                        "optimizer.zero_grad() in the step, or capture it once .grad exists",
                    )
                )
        held = [self.actual(external, given) for external in self.externals]
        for t, external in zip(held, self.externals, strict=True):
            if t is None:
                raise CaptureError(
                    lesson(
                        "the captured step adds to a .grad that is None now",
                        fix="call zero_grad() inside the step",
                    )
                )
            check_like(t, external.input, t._requires_grad, external.history[2])
        scalars = [np.asarray(float(read()), np.float64) for read in self.scalars]
        return [t._value for t in (*given, *held)] + scalars


def check_like(t: Any, known: Any, requires_grad: bool, required: bool) -> None:
    """Refuse a tensor that is not as the one that the step was captured with."""
    if t.aval != known.aval:
        raise CaptureError(
            lesson(
                "the step was captured for another shape or dtype",
                [("captured", known.aval), ("called", t)],
                "capture it again for this shape",
            )
        )
    if requires_grad != required:
        raise CaptureError(
            lesson(
                f"the step was captured when requires_grad was {required}, now it is "
                f"{requires_grad}",
                [("tensor", t)],
                "capture the step again",
            )
        )


def check_own(t: Any) -> None:
    """Refuse an argument whose gradient would leave the step."""
    if t._node is not None:
        raise CaptureError(
            lesson(
                "an argument of a captured step was computed and requires a gradient: "
                "backward would have to leave the step",
                [("argument", t)],
                "x.detach(), or compute it inside the step",
            )
        )
    if t._hooks:
        raise CaptureError(
            lesson(
                "an argument of a captured step has hooks: no Python runs when its gradient "
                "is made",
                [("argument", t)],
                "x.detach().requires_grad_(), or change x.grad after the step",
            )
        )


def check_apart(given: list[Any], written: list[bool], held: list[Any]) -> None:
    """Refuse arguments that are one and the same where the step leaves something: captured apart,
    each would get its own.

    Args:
        given: the arguments; written: which of them the step writes; held: what else it uses.
    """
    for k, t in enumerate(given):
        others = [*given[:k], *given[k + 1 :], *held]
        if any(other is t for other in others) and t._requires_grad:
            raise CaptureError(
                lesson(
                    "a tensor that requires a gradient reaches the captured step twice",
                    [("argument", t)],
                    "pass it once, and use it as often as you like inside the step",
                )
            )
        if written[k] and any(np.shares_memory(t._value, other._value) for other in others):
            raise CaptureError(
                lesson(
                    "an argument that the captured step writes shows the same memory as another "
                    "tensor that it uses",
                    [("argument", t)],
                    "pass x.clone(), or take the part of it inside the step: x[:2]",
                )
            )


def _settled(results: list[Any], given: list[Any]) -> list[Any]:
    """The results, copied where they are one of the given arrays or show another's memory."""
    held = set(map(id, given))
    return [a.copy() if id(a) in held or a.base is not None else a for a in results]


def named(function: Any) -> str:
    """The name of a function, or of the class of a module, as the graph's text can hold it."""
    name = getattr(function, "__name__", None) or type(function).__name__
    return str(name).strip("<>")


def refuse_strangers(graph: Graph) -> None:
    """Refuse symbols of another capture: tensors that were kept outside of a step."""
    known = {*graph.inputs, *graph.constants}
    for equation in graph.equations:
        known.update(equation.outputs)
    used = [v for equation in graph.equations for v in equation.values]
    for value in (*used, *graph.outputs, *(new for _, new in graph.writes)):
        if value not in known:
            raise CaptureError(
                lesson(
                    f"{graph.name} uses a tensor that has no value: it was made while a compiled "
                    "step was captured, and kept outside of it",
                    [("tensor", value.aval)],
                    "return it from the step, and pass what the call returns",
                )
            )


def returnable(leaf: Any) -> Any:
    """A returned object, which every call will give; not one that holds tensors of the capture."""
    held = () if isinstance(leaf, type) else getattr(leaf, "__dict__", {}).values()
    hides = any(isinstance(part, Tensor) and isinstance(part._value, Value) for part in held)
    if isinstance(leaf, Iterator) or (hides and not callable(leaf)):
        raise CaptureError(
            lesson(
                f"the step returns a {type(leaf).__name__}, and what is in it would be without "
                "values",
                fix="return tensors, or tuples, lists, dicts or dataclasses of them",
            )
        )
    return leaf


class Hole:
    """Where an output goes in the returned tree."""

    def __init__(self, position: int) -> None:
        self.position = position


def capture(
    function: Callable[..., Any], *args: Any, name: str | None = None, locate: bool = False
) -> CapturedStep:
    """Run ``function`` once on symbols and return what it does as a graph with state.

    Tensors among ``args`` (also in lists, tuples, dicts) become inputs, with their shapes fixed;
    tensors that the function reaches otherwise (parameters, optimiser state, buffers, the random
    generator) become inputs too, and those it writes become in-place outputs. Nothing is
    computed, and no tensor changes. With ``locate`` each equation remembers the user's line.

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
    if capturing():
        raise CaptureError(lesson("a step is being captured already"))
    with at_once(), symbols:
        return _capture(function, args, name, locate)


def _capture(
    function: Callable[..., Any], args: tuple[Any, ...], name: str | None, locate: bool
) -> CapturedStep:
    modes = current()
    recorder = Recorder(locate)
    for leaf in flatten(args):
        if isinstance(leaf, Tensor):
            check_own(leaf)
        elif hasattr(type(leaf), "_facts"):  # a module or an optimiser
            recorder.given(leaf)
    symbols = map_tree(lambda x: recorder.argument(x) if isinstance(x, Tensor) else x, args)
    modes.interpreter = recorder
    try:
        result = function(*symbols)
        if recorder.refused is not None:  # and the function went on without the value
            raise recorder.refused
        outputs: list[Value] = []
        unfinished: list[Any] = []  # results that backward has not passed yet

        def hole(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return returnable(leaf)
            if unspent(leaf._node):
                unfinished.append(leaf.aval)
            outputs.append(recorder.symbol(leaf))
            return Hole(len(outputs) - 1)

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
    inputs = [e.input for e in (*recorder.arguments, *recorder.externals.values())]
    graph = Graph(
        name or named(function),
        [*inputs, *(value for value, _ in recorder.scalars)],
        recorder.equations,
        outputs,
        [(external.input, new) for external, new in written],
        recorder.constants,
    )
    refuse_strangers(graph)
    written_to = [external for external, _ in written]
    return CapturedStep(verify(drop_dead(graph)), recorder, written_to, grads, tree, unfinished)
