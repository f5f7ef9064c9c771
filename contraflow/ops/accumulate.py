"""What the engine does to gradients: add them up, and sum them back over broadcasting."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ShapeError, lesson
from contraflow.base.shapes import Shape
from contraflow.ops.arith import add_op
from contraflow.ops.reduce import reduce_sum
from contraflow.ops.view import reshape_to

__all__: list[str] = []


def add_grads(a: Any, b: Any) -> Any:
    """a + b, gradients of one shape and dtype."""
    return add_op(a, b)


def sum_to(g: Any, shape: Shape) -> Any:
    """Sum ``g`` over the dimensions that broadcasting added to ``shape`` or repeated."""
    have = tuple(g._value.shape)
    extra = len(have) - len(shape)
    if extra < 0 or any(n not in (1, m) for n, m in zip(shape, have[extra:], strict=True)):
        raise ShapeError(lesson(f"a gradient of shape {list(have)} for a value of {list(shape)}"))
    dims = tuple(
        d for d, size in enumerate(have) if d < extra or (shape[d - extra] == 1 and size != 1)
    )
    if dims:
        g = reduce_sum(g, dims=dims, keepdim=False)
    return g if tuple(g._value.shape) == shape else reshape_to(g, shape=shape)
