"""Softmax, its logarithm, and their backward passes as one op each (see ``activation``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import DType
from contraflow.base.shapes import read_dim
from contraflow.ops.arith import log
from contraflow.ops.cast import convert
from contraflow.ops.record import Op, Sample, op
from contraflow.ops.reduce import reduce_max, reduce_sum
from contraflow.ops.rules import pointwise, rand, same
from contraflow.ops.transcendental import exp
from contraflow.ops.view import alias

__all__ = ["log_softmax", "softmax"]
METHODS = (*__all__,)


def _total(x: Any, dim: int) -> Any:
    return reduce_sum(x, dims=(dim,) if x.ndim else (), keepdim=True)


def _exp_shifted(x: Any, dim: int) -> tuple[Any, Any, Any]:
    # x - max, its exp and the sum of that, which cannot overflow
    axis = (dim,) if x.ndim else ()
    z = x - np.maximum.reduce(x, axis=axis, keepdims=True)
    e = np.exp(z)
    return z, e, np.add.reduce(e, axis=axis, keepdims=True)


def _softmax(x: Any, dim: int) -> Any:
    if not x.size:
        return np.empty_like(x)
    _, e, total = _exp_shifted(x, dim)
    e /= total
    return e


def _log_softmax(x: Any, dim: int) -> Any:
    if not x.size:
        return np.empty_like(x)
    z, _, total = _exp_shifted(x, dim)
    z -= np.log(total)
    return z


def _shifted(x: Any, dim: int) -> Any:
    if 0 in x.shape:
        return x
    return x - alias(reduce_max(x, dims=(dim,) if x.ndim else (), keepdim=True))


def _dim_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 3, 4), dim=1),
        Sample(rand(rng, 2, 3, 4), dim=1),
        Sample(rand(rng, 4), dim=0),
        Sample(rand(rng), dim=0),
        Sample(np.zeros((0, 3)), dim=1),
        Sample(np.zeros((0, 3)), dim=0),
        Sample(np.array([[1000.0, 0.0], [-1000.0, -999.0]]), dim=1, smooth=False),
    ]


def _dim_pair_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, *s.args[0].shape), rand(rng, *s.args[0].shape, low=-1, high=0), **s.attrs)
        for s in _dim_samples(rng)[:5]
    ]


softmax_op = op(
    "softmax", "x",
    forward=_softmax, shape=same, promote="float", samples=_dim_samples,
    definition=lambda x, dim: exp(_shifted(x, dim)) / _total(exp(_shifted(x, dim)), dim),
    grad=lambda g, y, dim: softmax_grad(g, y, dim=dim),
)  # fmt: skip


def _np_total(x: Any, dim: int) -> Any:
    return np.add.reduce(x, axis=(dim,) if x.ndim else (), keepdims=True)


softmax_grad: Op = op(
    "softmax_grad", "up out",
    forward=lambda up, out, dim: out * (up - _np_total(up * out, dim)),
    definition=lambda up, out, dim: out * (up - _total(up * out, dim)),
    shape=pointwise, promote="float", samples=_dim_pair_samples,
    grad={
        "up": lambda g, out, dim: softmax_grad(g, out, dim=dim),
        "out": lambda g, up, out, dim: (
            g * (up - _total(up * out, dim)) - up * _total(g * out, dim)
        ),
    },
)  # fmt: skip

log_softmax_op = op(
    "log_softmax", "x",
    forward=_log_softmax, shape=same, promote="float", samples=_dim_samples,
    definition=lambda x, dim: _shifted(x, dim) - log(_total(exp(_shifted(x, dim)), dim)),
    grad=lambda g, y, dim: log_softmax_grad(g, y, dim=dim),
)  # fmt: skip

log_softmax_grad: Op = op(
    "log_softmax_grad", "up out",
    forward=lambda up, out, dim: up - np.exp(out) * _np_total(up, dim),
    definition=lambda up, out, dim: up - exp(out) * _total(up, dim),
    shape=pointwise, promote="float", samples=_dim_pair_samples,
    grad={
        "up": lambda g, out, dim: g - _total(g * exp(out), dim),
        "out": lambda g, up, out, dim: -g * exp(out) * _total(up, dim),
    },
)  # fmt: skip


def softmax(input: Any, dim: int, dtype: DType | None = None) -> Any:
    """exp(x) over its sum along ``dim``; the numbers are positive and sum to 1.

    >>> import contraflow as cf
    >>> cf.softmax(cf.tensor([1000.0, 1000.0]), dim=0)
    tensor([0.5000, 0.5000])

    Raises:
        IndexOutOfRange: if the dimension does not exist.
    """
    input = input if dtype is None else convert(input, dtype=dtype)
    return softmax_op(input, dim=read_dim(dim, input.ndim))


def log_softmax(input: Any, dim: int, dtype: DType | None = None) -> Any:
    """log(softmax(x)), exact also where softmax rounds to 0.

    >>> import contraflow as cf
    >>> cf.log_softmax(cf.tensor([0.0, 1000.0]), dim=0)
    tensor([-1000.,     0.])

    Raises:
        IndexOutOfRange: if the dimension does not exist.
    """
    input = input if dtype is None else convert(input, dtype=dtype)
    return log_softmax_op(input, dim=read_dim(dim, input.ndim))


def softmin(x: Any, dim: int, dtype: DType | None = None) -> Any:
    """softmax(-x): the smallest element gets the largest share.

    >>> import contraflow as cf
    >>> cf.nn.functional.softmin(cf.tensor([5.0, 5.0]), dim=0)
    tensor([0.5000, 0.5000])
    """
    return softmax(-x, dim, dtype)
