"""Statistics over dimensions: variance, norms and log-sum-exp."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from contraflow.base.dtypes import DType
from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import Shape, read_dims
from contraflow.ops.arith import abs, eq, ne, pow, sign, sqrt, square, where_op
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_tensors
from contraflow.ops.linalg import svd_op
from contraflow.ops.record import Aval, Sample, op
from contraflow.ops.reduce import (
    count,
    evenly,
    floating,
    reduce_max,
    reduce_mean,
    reduce_min,
    reduce_sum,
    reduced,
    spread,
    total,
)
from contraflow.ops.rules import rand
from contraflow.ops.transcendental import exp, log
from contraflow.ops.view import permute_dims, reshape_to

__all__ = ["logsumexp", "norm", "std", "std_mean", "var", "var_mean"]
METHODS = ("logsumexp", "norm", "std", "var")

Array = np.ndarray[Any, Any]


# ---- variance ----------------------------------------------------------------------------------


def _degrees(shape: Shape, dims: Shape, correction: float) -> float:
    return float(np.maximum(count(shape, dims) - correction, 0))


def _var(x: Array, dims: Shape, keepdim: bool, correction: float) -> Any:
    wide = x.astype(np.float32) if x.dtype.char == "e" else x
    n = wide.dtype.type(count(x.shape, dims))
    centred = wide - total(wide, dims, True) / n
    freedom = wide.dtype.type(_degrees(x.shape, dims, correction))
    y = np.asarray(total(centred * centred, dims, keepdim) / freedom)
    return y.astype(x.dtype, copy=False)


def _var_in_ops(x: Any, dims: Shape, keepdim: bool, correction: float) -> Any:
    centred = x - reduce_mean(x, dims=dims, keepdim=True)
    squares = reduce_sum(square(centred), dims=dims, keepdim=keepdim)
    return squares / _degrees(x.shape, dims, correction)


def _grad_var(g: Any, x: Any, x_aval: Aval, dims: Shape, correction: float) -> Any:
    centred = x - reduce_mean(x, dims=dims, keepdim=True)
    freedom = _degrees(x_aval.shape, dims, correction)
    return spread(g, x_aval, dims) * centred * (2.0 / freedom if freedom else inf)


def _var_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 3, 4), dims=(0, 1), keepdim=False, correction=1),
        Sample(rand(rng, 2, 3, 4), dims=(1,), keepdim=True, correction=0),
        Sample(rand(rng, 2, 3, 4), dims=(0, 2), keepdim=False, correction=1.5),
        Sample(rand(rng, 3, 0), dims=(0,), keepdim=False, correction=1),
    ]


def _statistic(x: Aval, dims: Shape, keepdim: bool, **_: Any) -> Aval:
    return reduced(x, dims, keepdim)


var_op = op(
    "var", "x",
    forward=_var, definition=_var_in_ops, shape=_statistic, samples=_var_samples, grad=_grad_var,
)  # fmt: skip


def _over(a: Any, b: Any) -> Any:
    """a / b, and 0 where b is 0: the subgradient of a root or a norm at 0."""
    zero = eq(b, 0)
    return where_op(zero, 0.0, a / where_op(zero, 1.0, b))


def _grad_std(g: Any, x: Any, y: Any, x_aval: Aval, dims: Shape, correction: float) -> Any:
    # dstd = dvar / (2 std); constant data has the subgradient 0
    return _grad_var(_over(g, y * 2.0), x, x_aval, dims, correction)


std_op = op(
    "std", "x",
    forward=lambda x, dims, keepdim, correction: np.sqrt(_var(x, dims, keepdim, correction)),
    definition=lambda x, dims, keepdim, correction: sqrt(
        _var_in_ops(x, dims, keepdim, correction)
    ),
    shape=_statistic, samples=_var_samples, grad=_grad_std,
)  # fmt: skip


def _spread_of(
    record: Any, x: Any, dim: Any, unbiased: bool | None, keepdim: bool, correction: float | None
) -> Any:
    """Read PyTorch's three ways to say what is divided by: n, n - 1, or n - correction."""
    floating(record.name, x, f"x.float().{record.name}()")
    if isinstance(dim, bool):  # x.var(False)
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    elif unbiased is not None:
        raise ArgumentError(
            lesson(
                f"{record.name}: unbiased and correction say the same thing twice",
                fix="correction=1 (unbiased) or correction=0",
            )
        )
    return record(x, dims=read_dims(dim, x.ndim), keepdim=keepdim, correction=correction)


def var(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    """The variance over ``dim`` (None for all): sum (x - mean)^2 / (n - correction).

    ``correction`` is 1 unless given; ``unbiased=False`` says 0. NaN where n <= correction.

    Raises:
        DTypeError: for integers and bool.

    >>> import contraflow as cf
    >>> cf.var(cf.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    return _spread_of(var_op, input, dim, unbiased, keepdim, correction)


def std(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    """The standard deviation over ``dim``: the root of ``var``, with gradient 0 where it is 0.

    Raises:
        DTypeError: for integers and bool.

    >>> import contraflow as cf
    >>> cf.std(cf.tensor([[1.0, 3.0], [5.0, 5.0]]), dim=1, correction=0)
    tensor([1., 0.])
    """
    return _spread_of(std_op, input, dim, unbiased, keepdim, correction)


def var_mean(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Any, Any]:
    """``(var, mean)`` over ``dim``.

    >>> import contraflow as cf
    >>> v, m = cf.var_mean(cf.tensor([1.0, 2.0, 3.0]))
    """
    v = var(input, dim, unbiased, keepdim, correction=correction)
    return v, _mean_beside(input, dim, keepdim)


def std_mean(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Any, Any]:
    """``(std, mean)`` over ``dim``.

    >>> import contraflow as cf
    >>> s, m = cf.std_mean(cf.tensor([1.0, 2.0, 3.0]))
    """
    s = std(input, dim, unbiased, keepdim, correction=correction)
    return s, _mean_beside(input, dim, keepdim)


def _mean_beside(x: Any, dim: Any, keepdim: bool) -> Any:
    dims = read_dims(None if isinstance(dim, bool) else dim, x.ndim)
    return reduce_mean(x, dims=dims, keepdim=keepdim)


# ---- log-sum-exp and norms -----------------------------------------------------------------------


def _logsumexp(x: Array, dims: Shape, keepdim: bool) -> Any:
    if not count(x.shape, dims):
        return np.log(total(x, dims, keepdim))
    top = np.maximum.reduce(x, axis=dims, keepdims=True)
    top = np.where(np.isinf(top), x.dtype.type(0), top)
    y = np.log(total(np.exp(x - top), dims, True)) + top
    return y if keepdim else y.reshape([n for d, n in enumerate(x.shape) if d not in dims])


def _logsumexp_in_ops(x: Any, dims: Shape, keepdim: bool) -> Any:
    if not count(x.shape, dims):
        return log(reduce_sum(x, dims=dims, keepdim=keepdim))
    top = reduce_max(x, dims=dims, keepdim=True)
    top = where_op(eq(abs(top), inf), 0.0, top)
    y = log(reduce_sum(exp(x - top), dims=dims, keepdim=True)) + top
    return y if keepdim else reshape_to(y, shape=reduced(x, dims, False).shape)


def _grad_logsumexp(g: Any, x: Any, y: Any, x_aval: Aval, dims: Shape) -> Any:
    y = where_op(eq(y, -inf), 0.0, y)  # all -inf: nobody is responsible
    return spread(g, x_aval, dims) * exp(x - spread(y, x_aval, dims))


logsumexp_op = op(
    "logsumexp", "x",
    forward=_logsumexp, definition=_logsumexp_in_ops, shape=_statistic, promote="float",
    grad=_grad_logsumexp,
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), dims=(1,), keepdim=False),
        Sample(rand(rng, 2, 3, 4, low=500, high=900), dims=(0, 2), keepdim=True),
        Sample(np.array([[-inf, -inf], [0.0, -inf]]), dims=(1,), keepdim=False, smooth=False),
        Sample(np.zeros((2, 0)), dims=(1,), keepdim=False, smooth=False),
    ],
)  # fmt: skip


def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """log(sum of e^x) over ``dim`` (an int or several), without overflow.

    >>> import contraflow as cf
    >>> cf.logsumexp(cf.tensor([1000.0, 1000.0]), dim=0)
    tensor(1000.6932)
    """
    check_tensors("logsumexp", input=input)
    return logsumexp_op(input, dims=read_dims(dim, input.ndim), keepdim=keepdim)


def _norm(x: Array, p: float, dims: Shape, keepdim: bool) -> Any:
    wide = x.astype(np.float32) if x.dtype.char == "e" else x
    size = np.abs(wide)
    if p in (inf, -inf):
        extremum: Any = np.maximum if p > 0 else np.minimum
        return extremum.reduce(size, axis=dims, keepdims=keepdim).astype(x.dtype)
    if p == 0:
        y = total((size != 0).astype(wide.dtype), dims, keepdim)
    elif p == 1:
        y = total(size, dims, keepdim)
    elif p == 2:
        y = np.sqrt(total(wide * wide, dims, keepdim))
    else:
        y = total(size**p, dims, keepdim) ** (1 / p)
    return np.asarray(y).astype(x.dtype, copy=False)


def _norm_in_ops(x: Any, p: float, dims: Shape, keepdim: bool) -> Any:
    if p in (inf, -inf):
        return (reduce_max if p > 0 else reduce_min)(abs(x), dims=dims, keepdim=keepdim)
    if p == 0:
        return reduce_sum(convert(ne(x, 0), dtype=x.dtype), dims=dims, keepdim=keepdim)
    return pow(reduce_sum(pow(abs(x), p), dims=dims, keepdim=keepdim), 1 / p)


def _grad_norm(g: Any, x: Any, y: Any, x_aval: Aval, p: float, dims: Shape) -> Any:
    # d|x|_p / dx = sign(x) (|x| / |x|_p)^(p - 1), and the subgradient 0 at 0
    if p in (inf, -inf):
        return sign(x) * evenly(g, abs(x), y, x_aval, dims)
    if p == 0:
        return spread(g, x_aval, dims) * 0.0
    if p == 1:
        return spread(g, x_aval, dims) * sign(x)
    if p == 2:
        return x * spread(_over(g, reshape_to(y, shape=tuple(g.shape))), x_aval, dims)
    zero = eq(x, 0)
    size = where_op(zero, 1.0, abs(x))
    part = _over(size, spread(y, x_aval, dims))
    slope = sign(x) * pow(where_op(eq(part, 0), 1.0, part), p - 1)
    return where_op(zero, 0.0, spread(g, x_aval, dims) * slope)


def _norm_samples(rng: np.random.Generator) -> list[Sample]:
    def x(*shape: int) -> Array:
        return rand(rng, *shape) + 0.0113

    return [
        *(Sample(x(3, 4), p=p, dims=(1,), keepdim=False) for p in (1.0, 1.5, 2.0, 3.0, inf, -inf)),
        Sample(x(2, 3, 4), p=2.0, dims=(0, 2), keepdim=True),
        Sample(np.array([[0.0, 0.0], [0.0, 2.0]]), p=2.0, dims=(1,), keepdim=False, smooth=False),
        Sample(np.array([0.0, 3.0, 1.0]), p=0.0, dims=(0,), keepdim=False, smooth=False),
        Sample(np.zeros((2, 0)), p=2.0, dims=(1,), keepdim=False),
        Sample(np.zeros((2, 0)), p=inf, dims=(1,), keepdim=False, error=ShapeError),
    ]


def _norm_shape(x: Aval, p: float, dims: Shape, keepdim: bool) -> Aval:
    if not count(x.shape, dims) and (p < 0 or p == inf):
        raise ShapeError(
            lesson(
                f"norm: there is no {p} norm over no elements",
                [("input", x)],
                "check x.numel() > 0 first",
            )
        )
    return reduced(x, dims, keepdim)


vector_norm = op(
    "vector_norm", "x",
    forward=_norm, definition=_norm_in_ops, shape=_norm_shape, samples=_norm_samples,
    grad=_grad_norm,
)  # fmt: skip


def norm(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: DType | None = None
) -> Any:
    """The p-norm of the elements over ``dim`` (None for all): (sum |x|^p)^(1/p).

    Args:
        p: a number, ``inf`` (greatest |x|), ``-inf`` (least), 0 (how many are not 0), ``"fro"``
            (the same as 2) or ``"nuc"`` (of a matrix: the sum of its singular values).

    Raises:
        DTypeError: for integers and bool.
        ArgumentError: for another ``p``.

    >>> import contraflow as cf
    >>> cf.norm(cf.tensor([3.0, 4.0]))
    tensor(5.)
    """
    floating("norm", input, "x.float().norm()")
    if p == "nuc":
        return nuclear(input if dtype is None else convert(input, dtype=dtype), dim, keepdim)
    if p is None or p == "fro":
        p = 2.0
    if isinstance(p, str | bool):
        raise ArgumentError(
            lesson(f"norm: unknown p={p!r}", fix="p=2, 1, 0, float('inf'), 'fro' or 'nuc'")
        )
    if dtype is not None:
        input = convert(input, dtype=dtype)
    return vector_norm(input, p=float(p), dims=read_dims(dim, input.ndim), keepdim=keepdim)


def nuclear(x: Any, dim: Any, keepdim: bool) -> Any:
    """The sum of the singular values of the matrices that two dimensions hold."""
    dims = read_dims(dim, x.ndim)
    if len(dims) != 2:
        raise ShapeError(
            lesson("norm: p='nuc' takes two dimensions", [("input", x)], "dim=(-2, -1)")
        )
    rest = tuple(d for d in range(x.ndim) if d not in dims)
    s = svd_op(permute_dims(x, dims=(*rest, *dims)))[1]
    y = reduce_sum(s, dims=(s.ndim - 1,), keepdim=False)
    return reshape_to(y, shape=reduced(x, dims, True).shape) if keepdim else y
