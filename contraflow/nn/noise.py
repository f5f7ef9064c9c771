"""Functions that draw random numbers: the dropouts and rrelu.

Source: Srivastava et al., "Dropout" (2014); Klambauer et al. for alpha dropout (2017).
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.nn.checks import check_probability
from contraflow.ops.arith import add_op, ge, mul, where
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_floating
from contraflow.ops.random import random_uniform
from contraflow.tensor.rng import default_generator
from contraflow.tensor.writing import write

__all__ = [
    "alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout",
    "rrelu", "rrelu_",
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
    """Set whole channels of ``[N, C, L]`` or ``[C, L]`` to 0 with probability p.

    The others are scaled by 1 / (1 - p). Source: Tompson et al. (2015).

    >>> import contraflow as cf
    >>> y = cf.nn.functional.dropout1d(cf.ones(2, 3, 50), 0.5)
    >>> bool((y == y[:, :, :1]).all())
    True

    Raises:
        ShapeError: if the input has neither 2 nor 3 dimensions.
    """
    shape = _channels("dropout1d", input, 3, 2)
    return input if idle("dropout1d", input, p, training) else _drop(input, p, shape, inplace)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Set whole channels of ``[N, C, H, W]`` to 0 with probability p.

    As in PyTorch, an input of 3 dimensions is ``[N, C, L]``.

    >>> import contraflow as cf
    >>> y = cf.nn.functional.dropout2d(cf.ones(2, 3, 4, 4), 0.5)
    >>> bool((y == y[:, :, :1, :1]).all())
    True

    Raises:
        ShapeError: if the input has no dimension of channels.
    """
    shape = _channels("dropout2d", input, 4, None)
    return input if idle("dropout2d", input, p, training) else _drop(input, p, shape, inplace)


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Set whole channels of ``[N, C, D, H, W]`` or ``[C, D, H, W]`` to 0 with probability p.

    >>> import contraflow as cf
    >>> y = cf.nn.functional.dropout3d(cf.ones(2, 3, 2, 2, 2), 0.5)
    >>> bool((y == y[:, :, :1, :1, :1]).all())
    True

    Raises:
        ShapeError: if the input has neither 4 nor 5 dimensions.
    """
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
    """Dropout for SELU networks: dropped elements saturate, mean 0 and variance 1 stay.

    Source: Klambauer et al. (2017).

    >>> import contraflow as cf
    >>> y = cf.nn.functional.alpha_dropout(cf.zeros(1000), 0.5, training=True)
    >>> y.unique()
    tensor([-0.7792,  0.7792])
    """
    if idle("alpha_dropout", input, p, training):
        return input
    return _alpha_drop(input, p, tuple(input.shape), inplace)


def feature_alpha_dropout(
    input: Any, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Any:
    """Alpha dropout of whole channels of ``[N, C, ...]``.

    >>> import contraflow as cf
    >>> y = cf.nn.functional.feature_alpha_dropout(cf.zeros(2, 3, 4), 0.5, training=True)
    >>> bool((y == y[:, :, :1]).all())
    True
    """
    shape = _channels("feature_alpha_dropout", input, input.ndim, None)
    if idle("feature_alpha_dropout", input, p, training):
        return input
    return _alpha_drop(input, p, shape, inplace)


def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
    inplace: bool = False,
) -> Any:  # fmt: skip
    """x above 0, a x below, with a random in [lower, upper] (their mean when not training).

    Source: Xu, Wang, Chen, Li, "Empirical evaluation of rectified activations" (2015).

    >>> import contraflow as cf
    >>> cf.nn.functional.rrelu(cf.tensor([-1.0, 3.0]), 0.25, 0.75)
    tensor([-0.5000,  3.0000])

    Raises:
        ArgumentError: if lower > upper.
    """
    check_floating("rrelu", input=input)
    if lower > upper:
        raise ArgumentError(
            lesson(f"rrelu: lower={lower} is above upper={upper}",
                   fix=f"rrelu(x, {upper}, {lower})")
        )  # fmt: skip
    if training:
        u = default_generator.draw(random_uniform, tuple(input.shape), input.dtype)
        slope: Any = lower + (upper - lower) * u
    else:
        slope = (lower + upper) / 2
    y = where(ge(input, 0), input, input * slope)
    return write(input, y) if inplace else y


def rrelu_(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False
) -> Any:
    """``rrelu``, written into the input.

    >>> import contraflow as cf
    >>> x = cf.tensor([-1.0, 3.0])
    >>> _ = cf.nn.functional.rrelu_(x, 0.25, 0.75)
    >>> x
    tensor([-0.5000,  3.0000])
    """
    return rrelu(input, lower, upper, training, inplace=True)
