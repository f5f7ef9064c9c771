"""How a tensor prints: PyTorch's layout, NumPy's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import bool_, default_dtype, int64

__all__ = ["tensor_repr"]


def numbers(array: Any) -> str:
    """The values, four digits, the edges only of more than 1000."""
    with np.printoptions(
        precision=4, threshold=1000, edgeitems=3, linewidth=80, floatmode="maxprec"
    ):
        if array.ndim == 0:
            return number(array.item())
        return np.array2string(array, separator=", ", prefix="tensor(", max_line_width=80)


def number(value: Any) -> str:
    """One number: ``2.``, ``0.5000``, ``1.0000e-09``, ``7``, ``True``."""
    if not isinstance(value, float) or not np.isfinite(value):
        return str(value)
    if value == 0 or 1e-4 <= abs(value) < 1e8:
        return f"{value:.0f}." if value == int(value) else f"{value:.4f}"
    return f"{value:.4e}"


def tensor_repr(t: Any) -> str:
    """``tensor([1., 2.], requires_grad=True)``; a captured value shows its shape only."""
    value = t._value
    label = "Parameter containing:\n" if type(t).__name__ == "Parameter" else ""
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
    return f"{label}tensor({', '.join(parts)})"
