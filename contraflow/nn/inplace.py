"""Activations as functions with PyTorch's ``inplace`` argument, and softmax without ``dim``."""

from __future__ import annotations

import warnings
from typing import Any

from contraflow.ops import activation as ops
from contraflow.ops import softmax as soft
from contraflow.tensor.tensor import write

__all__ = [
    "celu", "elu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log_softmax", "mish",
    "relu", "relu6", "selu", "silu", "softmax", "softmin", "threshold",
]  # fmt: skip


def relu(input: Any, inplace: bool = False) -> Any:
    """max(x, 0), element by element.

    >>> import contraflow as cf
    >>> cf.nn.functional.relu(cf.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    y = ops.relu(input)
    return write(input, y) if inplace else y


def relu6(input: Any, inplace: bool = False) -> Any:
    """min(max(x, 0), 6), element by element."""
    y = ops.relu6(input)
    return write(input, y) if inplace else y


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x, or ``negative_slope`` x below 0."""
    y = ops.leaky_relu(input, negative_slope)
    return write(input, y) if inplace else y


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x, or alpha (e^x - 1) below 0."""
    y = ops.elu(input, alpha)
    return write(input, y) if inplace else y


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x, or alpha (e^(x / alpha) - 1) below 0."""
    y = ops.celu(input, alpha)
    return write(input, y) if inplace else y


def selu(input: Any, inplace: bool = False) -> Any:
    """The ELU that keeps mean 0 and variance 1. Source: Klambauer et al. (2017)."""
    y = ops.selu(input)
    return write(input, y) if inplace else y


def silu(input: Any, inplace: bool = False) -> Any:
    """x sigmoid(x)."""
    y = ops.silu(input)
    return write(input, y) if inplace else y


def mish(input: Any, inplace: bool = False) -> Any:
    """x tanh(softplus(x))."""
    y = ops.mish(input)
    return write(input, y) if inplace else y


def hardswish(input: Any, inplace: bool = False) -> Any:
    """x relu6(x + 3) / 6."""
    y = ops.hardswish(input)
    return write(input, y) if inplace else y


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """relu6(x + 3) / 6."""
    y = ops.hardsigmoid(input)
    return write(input, y) if inplace else y


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x, bounded to [min_val, max_val]."""
    y = ops.hardtanh(input, min_val, max_val)
    return write(input, y) if inplace else y


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where it is above ``threshold``, else ``value``."""
    y = ops.threshold(input, threshold, value)
    return write(input, y) if inplace else y


def implied_dim(what: str, input: Any, dim: int | None) -> int:
    """The dimension that PyTorch takes when none is said: 0 for 0-d, 1-d and 3-d, else 1."""
    if dim is not None:
        return dim
    guess = 0 if input.ndim in (0, 1, 3) else 1
    warnings.warn(f"{what} without dim: dim={guess} was taken; say dim=-1", stacklevel=3)
    return guess


def softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """Exponentials that sum to 1 along ``dim``."""
    return soft.softmax(input, implied_dim("softmax", input, dim), dtype)


def log_softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """The logarithm of softmax, computed without overflow."""
    return soft.log_softmax(input, implied_dim("log_softmax", input, dim), dtype)


def softmin(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """The softmax of -x."""
    return soft.softmin(input, implied_dim("softmin", input, dim), dtype)
