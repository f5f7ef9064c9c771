"""How a tensor prints: as in PyTorch, so that one eye for both is enough."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from math import inf
from typing import Any

import numpy as np

from contraflow.base.dtypes import bool_, default_dtype, int64
from contraflow.base.errors import ArgumentError, lesson
from contraflow.base.modes import capturing
from contraflow.tensor.arrays import look
from contraflow.tensor.pending import Pending
from contraflow.tensor.tensor import Tensor

__all__ = ["set_printoptions"]

INDENT = len("tensor(")
HTML_ROWS = 20  # a table shows at most so many rows and columns


class Options:
    """How tensors are printed, for the whole process."""

    precision = 4  # digits after the point
    threshold: float = 1000  # elements that are shown whole
    edgeitems = 3  # what is shown of each end of longer ones
    linewidth = 80
    sci_mode: bool | None = None  # None: where the numbers differ too much


PROFILES: dict[str, tuple[int, float, int, int]] = {
    "default": (4, 1000, 3, 80),
    "short": (2, 1000, 2, 80),
    "full": (4, inf, 3, 80),
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors are printed from now on; what is None stays (``sci_mode``: is decided anew).

    Args:
        precision: digits after the point (4).
        threshold: elements that are shown whole (1000); longer tensors are cut.
        edgeitems: elements at each end of a dimension that is cut (3).
        linewidth: characters of a line (80).
        profile: "default", "short" or "full" sets all four.
        sci_mode: True: always as 1.0000e+00, False: never.

    >>> import contraflow as cf
    >>> cf.set_printoptions(precision=2)
    >>> cf.tensor([1.0 / 3.0])
    tensor([0.33])
    >>> cf.set_printoptions(profile="default")
    """
    if profile is not None and profile not in PROFILES:
        fix = "profile='default', 'short' or 'full'"
        raise ArgumentError(lesson(f"set_printoptions: unknown profile {profile!r}", fix=fix))
    named = {
        "precision": precision, "threshold": threshold, "edgeitems": edgeitems,
        "linewidth": linewidth,
    }  # fmt: skip
    for name, value in named.items():
        if value is not None and not value >= 0:
            raise ArgumentError(
                lesson(f"set_printoptions: {name} must not be negative, received {value}",
                       fix=f"{name}={getattr(Options, name)}")
            )  # fmt: skip
    if profile is not None:
        for name, value in zip(named, PROFILES[profile], strict=True):
            setattr(Options, name, value)
    for name, value in named.items():
        if value is not None:
            setattr(Options, name, value)
    Options.sci_mode = sci_mode


def numbers(array: Any) -> str:
    """The values, four digits, the edges only of more than 1000."""
    if array.size == 0:
        return "[]"
    cut = array.size > Options.threshold
    write = written(shown(array) if cut else array.reshape(-1))
    return write(array.item()) if array.ndim == 0 else layout(array, write, INDENT, cut)


def shown(array: Any) -> Any:
    """The values at the edges, flat."""
    edge = Options.edgeitems
    for axis, size in enumerate(array.shape):
        if size > 2 * edge:
            array = array.take([*range(edge), *range(size - edge, size)], axis)
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
    far = far if Options.sci_mode is None else Options.sci_mode
    style = f".{Options.precision}e" if far else "#.0f" if whole else f".{Options.precision}f"
    width = max((len(format(v, style)) for v in ordinary.tolist()), default=1)
    return lambda value: format(value, style).rjust(width)


def layout(array: Any, write: Callable[[Any], str], indent: int, cut: bool) -> str:
    """Nested brackets, the last dimension in lines of one width."""
    edge = Options.edgeitems
    some = cut and len(array) > 2 * edge
    rows = [*array[:edge], *array[len(array) - edge :]] if some else array
    if array.ndim == 1:
        cells = [write(value.item()) for value in rows]
        each = max(1, (Options.linewidth - indent) // (max(map(len, cells), default=0) + 2))
        dots = " ..."
    else:
        cells = [layout(row, write, indent + 1, cut) for row in rows]
        each = 1
        dots = "..."
    if some:
        cells.insert(edge, dots)
    lines = [", ".join(cells[i : i + each]) for i in range(0, len(cells), each)]
    between = "," + "\n" * max(1, array.ndim - 1) + " " * (indent + 1)
    return f"[{between.join(lines)}]"


def value_of(t: Any) -> Any:
    """The array to show; a symbol where there is none."""
    value = t._value
    return value.settled() if type(value) is Pending else value


def tensor_repr(t: Any) -> str:
    """``tensor([1., 2.], requires_grad=True)``; a captured value shows its shape only."""
    value = value_of(t)
    if not isinstance(value, np.ndarray):
        return f"<captured {t.aval}>"
    parts = [numbers(value)]
    if value.size == 0 and value.ndim != 1:
        parts.append(f"size={tuple(value.shape)}")
    told = (default_dtype(), int64, bool_) if value.size else (default_dtype(),)
    if t.dtype not in told:  # what the numbers do not show
        parts.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        parts.append(f"grad_fn={t.grad_fn!r}")
    elif t.requires_grad:
        parts.append("requires_grad=True")
    return f"tensor({', '.join(parts)})"


def tensor_str(t: Any) -> str:
    """As ``repr``; refused while a step is captured, where it would show no number, and once."""
    if capturing() and not isinstance(value_of(t), np.ndarray):
        look(t, "print() or str()")
    return tensor_repr(t)


def tensor_html(t: Any) -> str:
    """A table for notebooks: shape and dtype above, the numbers of a vector or a matrix below; of
    long ones the first rows and columns. Everything else is its ``repr``."""
    value = value_of(t)
    head = f"tensor {list(t.shape)} {t.dtype.name}"
    if t.requires_grad:
        head += " requires_grad" if t.grad_fn is None else f" {t.grad_fn!r}"
    title = f"<div><code>{escape(head)}</code></div>"
    if not isinstance(value, np.ndarray) or value.ndim not in (1, 2) or not value.size:
        return f"{title}<pre>{escape(repr(t))}</pre>"
    rows = value.reshape(1, -1) if value.ndim == 1 else value
    part = rows[:HTML_ROWS, :HTML_ROWS]
    write = written(part.reshape(-1))
    more = rows.shape[1] > HTML_ROWS
    lines = [[write(number.item()) for number in row] + ["..."] * more for row in part]
    if len(rows) > HTML_ROWS:
        lines.append(["..."] * len(lines[0]))
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell.strip())}</td>' for cell in line)}</tr>" for line in lines
    )
    return f'{title}<table style="text-align: right">{body}</table>'


def tensor_format(t: Any, spec: str) -> str:
    """``f"{loss:.4f}"`` works for a tensor of one element; a 0-d tensor shows its number."""
    number = spec or (type(t) is Tensor and not t.ndim)
    return format(t.item(), spec) if number else str(t)


METHODS = {
    "__repr__": tensor_repr,
    "__str__": tensor_str,
    "_repr_html_": tensor_html,
    "__format__": tensor_format,
}
