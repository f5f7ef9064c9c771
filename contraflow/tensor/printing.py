"""How a tensor prints: as in PyTorch, so that one eye for both is enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from contraflow.base.dtypes import bool_, default_dtype, int64

__all__ = ["tensor_repr"]


WIDTH, THRESHOLD, EDGE = 80, 1000, 3  # of a line; what is shown whole; what of each end is if not
INDENT = len("tensor(")


def numbers(array: Any) -> str:
    """The values, four digits, the edges only of more than 1000."""
    if array.size == 0:
        return "[]"
    cut = array.size > THRESHOLD
    write = written(shown(array) if cut else array.reshape(-1))
    return write(array.item()) if array.ndim == 0 else layout(array, write, INDENT, cut)


def shown(array: Any) -> Any:
    """The values at the edges, flat."""
    for axis, size in enumerate(array.shape):
        if size > 2 * EDGE:
            array = array.take([*range(EDGE), *range(size - EDGE, size)], axis)
    return array.reshape(-1)


def written(values: Any) -> Callable[[Any], str]:
    """How each of the values is written: all with the same digits, as wide as the widest."""
    if values.dtype.kind != "f":
        width = max((len(str(v)) for v in values.tolist()), default=0)
        return lambda value: str(value).rjust(width)
    ordinary = values[np.isfinite(values) & (values != 0)].astype(np.float64)
    sizes = np.abs(ordinary)
    whole = bool((sizes == np.ceil(sizes)).all())
    far = sizes.size and (
        sizes.max() > 1e8 or sizes.max() / sizes.min() > 1000 or (sizes.min() < 1e-4 and not whole)
    )
    style = ".4e" if far else "#.0f" if whole else ".4f"
    width = max((len(format(v, style)) for v in ordinary.tolist()), default=1)
    return lambda value: format(value, style).rjust(width)


def layout(array: Any, write: Callable[[Any], str], indent: int, cut: bool) -> str:
    """Nested brackets, the last dimension in lines of 80."""
    some = cut and len(array) > 2 * EDGE
    rows = [*array[:EDGE], *array[-EDGE:]] if some else array
    if array.ndim == 1:
        cells = [write(value.item()) for value in rows]
        each = max(1, (WIDTH - indent) // (len(cells[0]) + 2))
        dots = " ..."
    else:
        cells = [layout(row, write, indent + 1, cut) for row in rows]
        each = 1
        dots = "..."
    if some:
        cells.insert(EDGE, dots)
    lines = [", ".join(cells[i : i + each]) for i in range(0, len(cells), each)]
    between = "," + "\n" * max(1, array.ndim - 1) + " " * (indent + 1)
    return f"[{between.join(lines)}]"


def tensor_repr(t: Any) -> str:
    """``tensor([1., 2.], requires_grad=True)``; a captured value shows its shape only."""
    value = t._value
    if not isinstance(value, np.ndarray):
        return f"<captured {t.aval}>"
    parts = [numbers(value)]
    if value.size == 0 and value.ndim != 1:
        parts.append(f"size={tuple(value.shape)}")
    if t.dtype not in (default_dtype(), int64, bool_):
        parts.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        parts.append(f"grad_fn={t.grad_fn!r}")
    elif t.requires_grad:
        parts.append("requires_grad=True")
    return f"tensor({', '.join(parts)})"
