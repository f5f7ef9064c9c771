"""Samples from distributions, and the methods that fill a tensor with them.

All are plain ops on uniform and normal draws of a ``Generator``, so that they can be captured.
No gradient flows through a sample to the parameters of its distribution.
"""

from __future__ import annotations

from math import log1p as log1p_of
from math import pi
from typing import Any

import numpy as np

from contraflow.base.dtypes import (
    DType,
    as_dtype,
    default_dtype,
    float32,
    float64,
    int64,
    promote_types,
)
from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.base.shapes import broadcast, read_shape
from contraflow.ops.arith import div_op, lt, maximum
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_between, check_floating, check_tensors, values
from contraflow.ops.poisson import random_poisson
from contraflow.ops.random import random_normal, random_uniform
from contraflow.ops.rounding import ceil
from contraflow.ops.scan import cumsum_op
from contraflow.ops.sort import search, topk_index
from contraflow.ops.transcendental import exp, log1p, tan
from contraflow.ops.view import alias, reshape_to, slice_dims
from contraflow.tensor.create import finish, read_device
from contraflow.tensor.rng import read_range, stream
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.writing import write

__all__ = ["bernoulli", "multinomial", "normal", "poisson"]
METHODS = (
    "bernoulli", "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_",
    "multinomial", "normal_", "random_", "uniform_",
)  # fmt: skip

TINY = 1e-300  # an exponential number of exactly 0 would divide by 0


def _uniforms(generator: Any, t: Any, shape: Any = None) -> Any:
    """Uniform numbers in [0, 1) for the elements of ``t``: 53 bits for float64, else 24."""
    wide = float64 if t.dtype is float64 else float32
    return stream(generator).draw(random_uniform, tuple(t.shape) if shape is None else shape, wide)


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Normal numbers: ``normal(mean, std)`` of two tensors (they broadcast), of a tensor and a
    number, or ``normal(mean, std, size)`` of two numbers.

    Raises:
        ArgumentError: if std is negative.
        DTypeError: if both are numbers and the size is missing.

    >>> import contraflow as cf
    >>> cf.normal(0.0, 1.0, (2, 3)).shape
    contraflow.Size([2, 3])
    """
    read_device(device)
    given = [t for t in (mean, std) if isinstance(t, Tensor)]
    for name, t in (("mean", mean), ("std", std)):
        if isinstance(t, Tensor):
            check_floating("normal", **{name: t})
    if not given and size is None:
        raise DTypeError(
            lesson("normal: two numbers need a size", fix=f"cf.normal({mean}, {std}, (3,))")
        )
    if given and size is not None:
        raise DTypeError(
            lesson("normal: the size comes from the tensors", fix="cf.normal(mean, std)")
        )
    if isinstance(std, Tensor):
        check_between("normal", std, "std", 0, float("inf"), "std.abs(), or log_std.exp()")
    elif not std >= 0:
        raise ArgumentError(lesson(f"normal: std must be >= 0, received {std}", fix=f"std={-std}"))
    shape = broadcast(*(tuple(t.shape) for t in given)) if given else read_shape((size,))
    chosen = default_dtype() if dtype is None else as_dtype(dtype)
    if given:
        chosen = promote_types(given[0].dtype, given[-1].dtype)
    mean, std = (alias(t) if isinstance(t, Tensor) else t for t in (mean, std))
    drawn = stream(generator).draw(random_normal, shape, chosen)
    return finish(drawn * std + mean, requires_grad)


def bernoulli(input: Any, p: float | None = None, *, generator: Any = None) -> Any:
    """1 with the probability that each element says (or ``p`` for all), else 0.

    Raises:
        ArgumentError: if a probability is not between 0 and 1.
        DTypeError: if the probabilities are integers.

    >>> import contraflow as cf
    >>> cf.bernoulli(cf.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    check_tensors("bernoulli", input=input)
    if p is None:
        check_floating("bernoulli", input=input)
    return convert(
        _coins("bernoulli", input, input if p is None else p, generator), dtype=input.dtype
    )


def _coins(what: str, t: Any, p: Any, generator: Any) -> Any:
    """True with probability p (a number, or a tensor that broadcasts) for each element of t."""
    if isinstance(p, Tensor):
        check_between(what, p, "p", 0, 1, "logits.sigmoid(), if these are logits")
        return lt(_uniforms(generator, p, tuple(t.shape)), alias(p))
    if not 0 <= p <= 1:
        raise ArgumentError(lesson(f"{what}: p must be between 0 and 1, received {p}", fix="p=0.5"))
    return lt(_uniforms(generator, t), float(p))


def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> Any:
    """Indices of categories, drawn with probabilities in proportion to the weights in each row.

    Without replacement no index comes twice: the ``num_samples`` greatest of w / e with e
    exponential (Efraimidis and Spirakis, 2006). With replacement: inversion of the running sum.

    Shapes: [n] gives [num_samples], [m, n] gives [m, num_samples]; int64.

    Raises:
        ShapeError: if the weights are not 1-d or 2-d.
        ArgumentError: for negative, infinite or all-zero weights, or too few categories.

    >>> import contraflow as cf
    >>> cf.multinomial(cf.tensor([0.0, 3.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    check_floating("multinomial", input=input)
    if input.ndim not in (1, 2):
        raise ShapeError(
            lesson(
                "multinomial: the weights must be 1-d or 2-d (a distribution a row)",
                [("input", input.aval)],
                "weights.reshape(-1, weights.shape[-1])",
            )
        )
    n = input.shape[-1]
    if num_samples < 1 or (not replacement and num_samples > n):
        raise ArgumentError(
            lesson(
                f"multinomial: {num_samples} different ones of {n} categories cannot be drawn",
                [("input", input.aval)],
                "1 <= num_samples, and replacement=True beyond n",
            )
        )
    _check_weights(input, 1 if replacement else num_samples)
    rows = input.shape[0] if input.ndim == 2 else 1
    w = reshape_to(convert(alias(input), dtype=float64), shape=(rows, n))
    g = stream(generator)
    if replacement:
        edges = cumsum_op(w, dim=1, reverse=False)
        whole = slice_dims(edges, bounds=((0, rows, 1), (n - 1, n, 1)))
        u = g.draw(random_uniform, (rows, num_samples), float64)
        drawn = search(edges, u * whole, right=True)
    else:
        e = -log1p(-g.draw(random_uniform, (rows, n), float64))
        drawn = topk_index(w / maximum(e, TINY), k=num_samples, dim=1, largest=True)
    return drawn if input.ndim == 2 else reshape_to(drawn, shape=(num_samples,))


def _check_weights(input: Any, needed: int) -> None:
    """Weights are finite and not negative, and enough of them above 0."""
    w = values(input)
    if w is None or not w.size:
        return
    fix = "weights.clamp(min=0), or logits.softmax(-1)"
    if not (w >= 0).all() or not (w < float("inf")).all():
        raise ArgumentError(
            lesson(
                "multinomial: the weights must be finite and not negative",
                [("input", input.aval), ("least", w.min()), ("greatest", w.max())],
                fix,
            )
        )
    positive = int((w > 0).sum(axis=-1).min())
    if positive < needed:
        raise ArgumentError(
            lesson(
                f"multinomial: a row has {positive} weights above 0, {needed} are needed",
                [("input", input.aval)],
                "num_samples within them, or replacement=True",
            )
        )


def poisson(input: Any, generator: Any = None) -> Any:
    """Poisson numbers with the rates in ``input``, in its dtype.

    Raises:
        ArgumentError: for negative rates.

    >>> import contraflow as cf
    >>> cf.poisson(cf.zeros(3))
    tensor([0., 0., 0.])
    """
    check_floating("poisson", input=input)
    check_between("poisson", input, "input", 0, float("inf"), "rates.clamp(min=0)")
    return (
        stream(generator)
        .draw(random_poisson, tuple(input.shape), float64, alias(input))
        .to(input.dtype)
    )


# ---- methods that fill a tensor in place ---------------------------------------------------------


def uniform_(self: Any, a: float = 0.0, b: float = 1.0, *, generator: Any = None) -> Any:
    """Fill the tensor with uniform numbers in [a, b).

    Raises:
        ArgumentError: if a > b.
        DTypeError: for an integer tensor.

    >>> import contraflow as cf
    >>> bool((cf.empty(3).uniform_(-1, 1) < 1).all())
    True
    """
    check_floating("uniform_", tensor=self)
    if not a <= b:
        raise ArgumentError(lesson(f"uniform_: there is nothing from {a} to {b}", fix="a <= b"))
    u = stream(generator).draw(random_uniform, tuple(self.shape), self.dtype)
    return write(self, u * float(b - a) + float(a))


def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
    """Fill the tensor with normal numbers.

    >>> import contraflow as cf
    >>> cf.empty(3).normal_(5, 0)
    tensor([5., 5., 5.])
    """
    check_floating("normal_", tensor=self)
    if not std >= 0:
        raise ArgumentError(lesson(f"normal_: std must be >= 0, received {std}", fix=f"std={-std}"))
    drawn = stream(generator).draw(random_normal, tuple(self.shape), self.dtype)
    return write(self, drawn * float(std) + float(mean))


def log_normal_(self: Any, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Any:
    """Fill the tensor with e to the power of normal numbers.

    >>> import contraflow as cf
    >>> bool((cf.empty(3).log_normal_() > 0).all())
    True
    """
    check_floating("log_normal_", tensor=self)
    if not std > 0:
        raise ArgumentError(lesson(f"log_normal_: std must be > 0, received {std}", fix="std=1.0"))
    drawn = stream(generator).draw(random_normal, tuple(self.shape), self.dtype)
    return write(self, exp(drawn * float(std) + float(mean)))


def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """Fill the tensor with 1 (probability ``p``, a number or a tensor) and 0.

    >>> import contraflow as cf
    >>> cf.empty(3).bernoulli_(1.0)
    tensor([1., 1., 1.])
    """
    if isinstance(p, Tensor):
        check_floating("bernoulli_", p=p)
    return write(self, convert(_coins("bernoulli_", self, p, generator), dtype=self.dtype))


def exponential_(self: Any, lambd: float = 1.0, *, generator: Any = None) -> Any:
    """Fill the tensor with exponential numbers of mean 1 / lambd.

    >>> import contraflow as cf
    >>> bool((cf.empty(3).exponential_() >= 0).all())
    True
    """
    check_floating("exponential_", tensor=self)
    if not lambd > 0:
        raise ArgumentError(
            lesson(f"exponential_: lambd must be > 0, received {lambd}", fix="lambd=1.0")
        )
    return write(self, convert(_exponentials(self, generator), dtype=self.dtype) / float(lambd))


def _exponentials(t: Any, generator: Any) -> Any:
    return -log1p(-_uniforms(generator, t))


def geometric_(self: Any, p: float, *, generator: Any = None) -> Any:
    """Fill the tensor with the number of trials up to the first success of probability ``p``.

    >>> import contraflow as cf
    >>> cf.empty(3).geometric_(0.999999999)
    tensor([1., 1., 1.])
    """
    if not 0 < p < 1:
        raise ArgumentError(
            lesson(f"geometric_: p must be between 0 and 1, received {p}", fix="p=0.5")
        )
    u = stream(generator).draw(random_uniform, tuple(self.shape), float64)
    trials = maximum(ceil(div_op(log1p(-u), log1p_of(-p))), 1.0)
    return write(self, convert(trials, dtype=self.dtype))


def cauchy_(self: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Any:
    """Fill the tensor with Cauchy numbers: median + sigma tan(pi (u - 1/2)).

    >>> import contraflow as cf
    >>> cf.empty(3).cauchy_().shape
    contraflow.Size([3])
    """
    check_floating("cauchy_", tensor=self)
    if not sigma > 0:
        raise ArgumentError(lesson(f"cauchy_: sigma must be > 0, received {sigma}", fix="sigma=1"))
    u = stream(generator).draw(random_uniform, tuple(self.shape), float64)
    drawn = tan((u - 0.5) * pi) * float(sigma) + float(median)
    return write(self, convert(drawn, dtype=self.dtype))


def _top(dtype: DType) -> int:
    """One more than the greatest integer up to which the dtype holds every one."""
    if dtype.is_floating_point:
        return int(2 ** (np.finfo(dtype.np).nmant + 1)) + 1
    return 2 if dtype.category == 0 else min(int(np.iinfo(dtype.np).max) + 1, 2**63 - 1)


def random_(self: Any, low: Any = 0, high: Any = None, *, generator: Any = None) -> Any:
    """Fill the tensor with integers: ``random_(low, high)`` below high, ``random_(high)`` from 0,
    ``random_()`` up to the greatest of the dtype (2^24 for float32, 2^53 for float64).

    Raises:
        ArgumentError: if low >= high, or the range does not fit into the dtype.

    >>> import contraflow as cf
    >>> bool((cf.empty(3).random_(2) < 2).all())
    True
    """
    if high is None:
        low, high = 0, low or _top(self.dtype)
    low, high = read_range("random_", low, high, self.dtype)
    drawn = stream(generator).integers(low, high, tuple(self.shape))
    return write(self, drawn if self.dtype is int64 else convert(drawn, dtype=self.dtype))
