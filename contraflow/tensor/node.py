"""A node of the tape: where gradients come from, and where they go.

The tape is no list: each tensor that was computed holds the node that made it, and each node the
edges to those before it. What nobody holds is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contraflow.base.dtypes import from_numpy_dtype
from contraflow.base.errors import GradError, lesson
from contraflow.ops.creation import full
from contraflow.ops.record import Aval
from contraflow.tensor.versions import clock

__all__ = ["Edge", "Node", "aval_of", "edge_of", "freed", "zeros"]

# Where a gradient flows to: (node, index of its output), or (leaf, -1).
Edge = tuple[Any, int]


class Node:
    """A step of the tape: where gradients come from (outputs) and where they go (edges)."""

    __slots__ = ("__weakref__", "edges", "forms", "hooks", "line", "outputs", "seq")

    folded = False  # stands for several (see ``tensor.folded``)
    seq: float  # those that came later have larger ones
    edges: Sequence[Edge | None]  # one for each operand
    forms: Sequence[Any]  # (shape, NumPy dtype) of each operand, or the number it is
    outputs: Sequence[Any]  # (shape, NumPy dtype) of each result

    def __init__(self) -> None:
        self.seq = next(clock)
        self.hooks: dict[int, dict[int, Callable[[Any], Any]]] | None = None
        self.line: str | None = None

    def apply(self, gs: list[Any]) -> Sequence[Any]:
        """The gradients for the edges, from those of the outputs (None where none came)."""
        raise GradError("an abstract node")

    def release(self) -> None:
        """Forget what was kept for backward."""

    def opened(self) -> Node:
        """The node as that of one op, with the others behind it if it stood for several."""
        return self

    def name(self) -> str:
        """PyTorch's kind of name: ``MulBackward0``."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes that gradients flow to next, with the index of their output."""
        return tuple(
            (None, 0) if e is None else (e[0] if e[1] < 0 else e[0].opened(), max(e[1], 0))
            for e in self.edges
        )

    def __repr__(self) -> str:
        return f"<{self.name()}>"


def edge_of(t: Any) -> Edge:
    """Where the gradient of a tensor flows to."""
    return (t, -1) if t._node is None else (t._node, t._index)


def aval_of(form: Any) -> Any:
    """Shape and dtype from a pair of both; Python numbers stand for themselves."""
    return Aval(form[0], from_numpy_dtype(form[1])) if type(form) is tuple else form


def zeros(aval: Aval) -> Any:
    """The gradient where none came."""
    return full(shape=aval.shape, value=0, dtype=aval.dtype)


def freed(what: str) -> GradError:
    """Backward came a second time."""
    return GradError(
        lesson(
            f"backward runs through {what} a second time, but what it needs was freed by the first",
            fix="loss.backward(retain_graph=True) for the first call, or compute the loss again",
        )
    )
