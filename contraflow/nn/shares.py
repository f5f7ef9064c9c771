"""The softmaxes as functions: numbers as shares that sum to 1."""

from __future__ import annotations

import warnings
from typing import Any

from contraflow.ops import softmax as ops
from contraflow.ops.arith import ge, log, maximum
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_floating
from contraflow.ops.random import random_uniform
from contraflow.tensor.rng import default_generator

__all__ = ["gumbel_softmax", "log_softmax", "softmax", "softmin"]


def read_share_dim(what: str, input: Any, dim: int | None, dtype: Any) -> int:
    """The dimension to sum over; if none is said, PyTorch's: 0 for 0-d, 1-d and 3-d, else 1."""
    if dtype is None:
        check_floating(what, input=input)
    if dim is not None:
        return dim
    guess = 0 if input.ndim in (0, 1, 3) else 1
    warnings.warn(f"{what} without dim: dim={guess} was taken; say dim=-1", stacklevel=3)
    return guess


def softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """e^x over its sum along ``dim``.

    >>> import contraflow as cf
    >>> cf.nn.functional.softmax(cf.tensor([1000.0, 1000.0]), dim=0)
    tensor([0.5000, 0.5000])

    Raises:
        DTypeError: if the input is not floating point and ``dtype`` is not given.
        IndexOutOfRange: if the dimension does not exist.
    """
    return ops.softmax(input, read_share_dim("softmax", input, dim, dtype), dtype)


def log_softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """The logarithm of softmax, exact also where softmax rounds to 0.

    >>> import contraflow as cf
    >>> cf.nn.functional.log_softmax(cf.tensor([0.0, 1000.0]), dim=0)
    tensor([-1000.,     0.])

    Raises:
        DTypeError: if the input is not floating point and ``dtype`` is not given.
        IndexOutOfRange: if the dimension does not exist.
    """
    return ops.log_softmax(input, read_share_dim("log_softmax", input, dim, dtype), dtype)


def softmin(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """The softmax of -x: the smallest number gets the largest share.

    >>> import contraflow as cf
    >>> cf.nn.functional.softmin(cf.tensor([0.0, 1.0]), dim=0)
    tensor([0.7311, 0.2689])

    Raises:
        DTypeError: if the input is not floating point and ``dtype`` is not given.
        IndexOutOfRange: if the dimension does not exist.
    """
    return ops.softmin(input, read_share_dim("softmin", input, dim, dtype), dtype)


def gumbel_softmax(
    logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Any:
    """A random sample from the Gumbel-softmax distribution, softmax((logits + G) / tau).

    ``hard`` gives one-hot vectors, with the gradient of the soft ones.
    Source: Jang, Gu, Poole, "Categorical reparameterization with Gumbel-softmax" (2017).

    >>> import contraflow as cf
    >>> y = cf.nn.functional.gumbel_softmax(cf.zeros(2, 5), hard=True)
    >>> y.sum(-1)
    tensor([1., 1.])
    """
    check_floating("gumbel_softmax", logits=logits)
    u = default_generator.draw(random_uniform, tuple(logits.shape), logits.dtype)
    gumbels = -log(maximum(-log(1.0 - u), eps))  # u may be 0
    y = ops.softmax((logits + gumbels) / tau, dim)
    if not hard:
        return y
    one = convert(ge(y, y.detach().amax(dim, keepdim=True)), dtype=y.dtype)
    return one - y.detach() + y
