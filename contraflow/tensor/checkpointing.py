"""Trade time for memory: forget what a part of the network kept, compute it again in backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contraflow.base.errors import GradError, lesson
from contraflow.base.modes import capturing, current
from contraflow.base.tree import flatten, map_tree
from contraflow.tensor.custom import node_over
from contraflow.tensor.grad_mode import enable_grad
from contraflow.tensor.node import Node, freed
from contraflow.tensor.rng import get_rng_state, set_rng_state
from contraflow.tensor.tensor import Tensor, make
from contraflow.tensor.versions import last_write, written_at
from contraflow.tensor.walk import Walk

__all__ = ["checkpoint", "checkpoint_sequential"]


class CheckpointNode(Node):
    """Runs the function again, recorded this time, and backward through what that gives."""

    __slots__ = ("args", "function", "inputs", "kwargs", "parameters", "rng", "versions")

    function: Callable[..., Any]
    args: Any
    kwargs: dict[str, Any]
    rng: Any
    versions: list[int]
    inputs: list[Any]
    parameters: list[Any]

    def name(self) -> str:
        return "CheckpointBackward"

    def apply(self, gs: list[Any]) -> Sequence[Any]:
        if self.args is None:
            raise freed("a checkpoint")
        for t, version in zip(self.inputs, self.versions, strict=True):
            if last_write(t) != version:
                raise GradError(
                    lesson(
                        "an input of a checkpoint was overwritten in place after it was used",
                        [("input", t), *written_at(t._version)],
                        "x.clone() before writing",
                    )
                )
        create = current().grad
        twins: list[Any] = []

        def twin(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            if create and leaf.requires_grad:
                twins.append(leaf * 1.0)  # a node of its own, with the history of the original
            else:
                twins.append(make(leaf._value))
                twins[-1]._requires_grad = leaf.requires_grad
            return twins[-1]

        with enable_grad():
            args, kwargs = map_tree(twin, (self.args, self.kwargs))
            again = outputs_of(run_from(self.rng, self.function, args, kwargs))
        roots = [(y, g) for y, g in zip(again, gs, strict=True) if g is not None]
        targets = [*(t for t in twins if t.requires_grad), *self.parameters]
        walk = Walk(create, create, targets)
        walk.run([y for y, _ in roots], [g for _, g in roots])
        found = iter(walk.found)
        return [next(found) if t.requires_grad else None for t in [*twins, *self.parameters]]

    def release(self) -> None:
        self.args = None


def leaves_under(outputs: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """The leaves, besides the inputs, that a recorded computation reached: its parameters."""
    known = {id(x) for x in inputs}
    found: dict[int, Any] = {}
    below = {id(x._node) for x in inputs if x._node is not None}
    stack = [y._node for y in outputs if y._node is not None]
    seen = set(map(id, stack)) | below
    while stack:
        for edge in stack.pop().edges:
            if edge is None:
                continue
            target, index = edge
            if index < 0:
                if id(target) not in known:
                    found.setdefault(id(target), target)
            elif id(target) not in seen:
                seen.add(id(target))
                stack.append(target)
    return list(found.values())


def outputs_of(result: Any) -> list[Any]:
    return [leaf for leaf in flatten(result) if isinstance(leaf, Tensor)]


def run_from(state: Any, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run with the random stream at ``state``; the stream then goes on where it was."""
    before = get_rng_state()
    set_rng_state(state)
    try:
        return function(*args, **kwargs)
    finally:
        set_rng_state(before)


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """``function(*args)`` without keeping what its backward needs: it is computed again there.

    Random numbers (dropout) are the same the second time. Parameters that the function uses get
    their gradients, too.

    >>> import contraflow as cf
    >>> from contraflow.utils.checkpoint import checkpoint
    >>> x = cf.ones(2, requires_grad=True)
    >>> checkpoint(lambda x: (x * x).exp(), x).sum().backward()
    >>> x.grad
    tensor([5.4366, 5.4366])
    """
    if not current().grad:
        return function(*args, **kwargs)
    if capturing():
        return function(*args, **kwargs)  # a captured step plans its own memory
    state = get_rng_state()
    recorded = function(*args, **kwargs)
    inputs = [leaf for leaf in flatten((args, kwargs)) if isinstance(leaf, Tensor)]
    parameters = leaves_under(outputs_of(recorded), inputs)
    # new handles: the recorded graph, and all that it kept, goes when the old ones do
    result = map_tree(lambda y: make(y._value) if isinstance(y, Tensor) else y, recorded)
    node = CheckpointNode.__new__(CheckpointNode)
    node.function, node.args, node.kwargs, node.rng = function, args, kwargs, state
    node.inputs, node.parameters = inputs, parameters
    node.versions = [last_write(x) for x in inputs]
    if any(y.requires_grad for y in outputs_of(recorded)):
        node_over(node, [*inputs, *parameters], outputs_of(result))
    return result


def checkpoint_sequential(functions: Any, segments: int, input: Any, **kwargs: Any) -> Any:
    """A sequence of layers in ``segments`` parts, all but the last of them checkpointed."""
    layers = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = max(len(layers) // segments, 1)
    parts = [layers[i : i + size] for i in range(0, size * segments, size)]
    parts[-1] = layers[size * (len(parts) - 1) :]

    def run(part: list[Any]) -> Callable[[Any], Any]:
        def forward(x: Any) -> Any:
            for layer in part:
                x = layer(x)
            return x

        return forward

    for part in parts[:-1]:
        input = checkpoint(run(part), input, **kwargs)
    return run(parts[-1])(input)
