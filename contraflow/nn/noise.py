"""Functions that draw random numbers: the dropouts, rrelu and gumbel_softmax.

Source: Srivastava et al., "Dropout" (2014); Klambauer et al. for alpha dropout (2017).
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from contraflow.base.errors import ShapeError, lesson
from contraflow.nn.checks import check_probability
from contraflow.ops.arith import add_op, ge, mul, where
from contraflow.ops.arith import log as ln
from contraflow.ops.cast import convert
from contraflow.ops.random import random_uniform
from contraflow.ops.softmax import softmax
from contraflow.tensor.rng import default_generator
from contraflow.tensor.tensor import write

__all__ = [
    "alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout",
    "gumbel_softmax", "rrelu",
]  # fmt: skip

ALPHA = -1.7580993408473766  # where a SELU saturates: -scale * alpha


def kept(shape: tuple[int, ...], p: float, dtype: Any) -> Any:
    """1 with probability 1 - p, else 0."""
    u = default_generator.draw(random_uniform, shape, dtype)
    return convert(ge(u, p), dtype=dtype)


def _drop(input: Any, p: float, shape: tuple[int, ...], inplace: bool) -> Any:
    if p == 1:
        y = mul(input, 0.0)
    else:
        y = mul(input, kept(shape, p, input.dtype) * (1.0 / (1.0 - p)))
    return write(input, y) if inplace else y


def idle(what: str, input: Any, p: float, training: bool) -> bool:
    """Whether there is nothing to drop."""
    check_probability(what, p)
    return not training or p == 0 or 0 in input.shape


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Set elements to 0 with probability p, and scale the others by 1 / (1 - p).

    >>> import contraflow as cf
    >>> y = cf.nn.functional.dropout(cf.ones(1000), 0.5)
    >>> sorted(set(y.tolist()))
    [0.0, 2.0]
    """
    if idle("dropout", input, p, training):
        return input
    return _drop(input, p, tuple(input.shape), inplace)


def _channels(what: str, input: Any, batched: int, unbatched: int | None) -> tuple[int, ...]:
    """The shape of a mask over whole channels."""
    n = input.ndim
    if n == unbatched:
        return (input.shape[0], *(1,) * (n - 1))
    if n < 2 or (unbatched is not None and n != batched):
        wanted = " or ".join(str(k) for k in (unbatched, batched) if k is not None)
        raise ShapeError(
            lesson(f"{what} takes an input of {wanted} dimensions", [("input", input.aval)],
                   "dropout for other shapes")
        )  # fmt: skip
    return (input.shape[0], input.shape[1], *(1,) * (n - 2))


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Set whole channels of ``[N, C, L]`` or ``[C, L]`` to 0 with probability p."""
    shape = _channels("dropout1d", input, 3, 2)
    return input if idle("dropout1d", input, p, training) else _drop(input, p, shape, inplace)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Set whole channels of ``[N, C, H, W]`` to 0 with probability p.

    As in PyTorch, an input of 3 dimensions is ``[N, C, L]``.
    """
    shape = _channels("dropout2d", input, 4, None)
    return input if idle("dropout2d", input, p, training) else _drop(input, p, shape, inplace)


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Set whole channels of ``[N, C, D, H, W]`` or ``[C, D, H, W]`` to 0 with probability p."""
    shape = _channels("dropout3d", input, 5, 4)
    return input if idle("dropout3d", input, p, training) else _drop(input, p, shape, inplace)


def _alpha_drop(input: Any, p: float, shape: tuple[int, ...], inplace: bool) -> Any:
    # dropped elements take the SELU's lower bound; a and b bring back mean 0 and variance 1
    if p == 1:
        y = mul(input, 0.0)
    else:
        a = 1.0 / sqrt((ALPHA**2 * p + 1) * (1 - p))
        keep = kept(shape, p, input.dtype)
        y = add_op(mul(input, keep * a), (1.0 - keep) * (ALPHA * a) - ALPHA * a * p)
    return write(input, y) if inplace else y


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout for SELU networks: keeps the mean 0 and the variance 1."""
    if idle("alpha_dropout", input, p, training):
        return input
    return _alpha_drop(input, p, tuple(input.shape), inplace)


def feature_alpha_dropout(
    input: Any, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Any:
    """Alpha dropout of whole channels of ``[N, C, ...]``."""
    shape = _channels("feature_alpha_dropout", input, input.ndim, None)
    if idle("feature_alpha_dropout", input, p, training):
        return input
    return _alpha_drop(input, p, shape, inplace)


def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
    inplace: bool = False,
) -> Any:  # fmt: skip
    """x, or a x below 0 with a random in [lower, upper] (their mean when not training)."""
    if training:
        u = default_generator.draw(random_uniform, tuple(input.shape), input.dtype)
        slope: Any = lower + (upper - lower) * u
    else:
        slope = (lower + upper) / 2
    y = where(ge(input, 0), input, input * slope)
    return write(input, y) if inplace else y


def gumbel_softmax(
    logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Any:
    """A sample from the Gumbel-softmax distribution; ``hard`` gives one-hot, with soft gradients.

    Source: Jang, Gu, Poole (2017).
    """
    u = default_generator.draw(random_uniform, tuple(logits.shape), logits.dtype)
    gumbels = -ln(-ln(u + eps) + eps)
    y = softmax((logits + gumbels) / tau, dim)
    if not hard:
        return y
    one = convert(ge(y, y.detach().amax(dim, keepdim=True)), dtype=y.dtype)
    return one - y.detach() + y
