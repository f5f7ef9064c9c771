"""Normalisation as functions: the cores of batch_norm, and layer, group, RMS and local response
normalisation (names of nn.functional). ``nn.running`` adds the running statistics."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from contraflow.base.dtypes import float16, float32
from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.base.shapes import read_shape
from contraflow.ops.arith import mul, pow, rsqrt
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_floating
from contraflow.ops.creation import full
from contraflow.ops.join import pad_op
from contraflow.ops.normalize_records import (
    batch_norm,
    channel_affine,
    column,
    layer_norm_rows,
)
from contraflow.ops.pool_records import avg_pool
from contraflow.ops.view import reshape_to

__all__ = ["group_norm", "layer_norm", "local_response_norm", "rms_norm"]


def as_vectors(what: str, x: Any, vectors: dict[str, Any]) -> Any:
    """x, after checking that statistics and weights have its dtype; half precision may meet single
    ones, and is computed in single then."""
    check_floating(what, input=x)
    given = {name: v for name, v in vectors.items() if v is not None}
    wrong = next((name for name, v in given.items() if v.dtype is not x.dtype), None)
    if wrong is None:
        return x
    if x.dtype is float16 and all(v.dtype is float32 for v in given.values()):
        return convert(x, dtype=float32)
    raise DTypeError(
        lesson(
            f"{what}: the input is {x.dtype.name}, {wrong} is {given[wrong].dtype.name}",
            [("input", x), *given.items()],
            f"x.to(cf.{given[wrong].dtype.name}), or layer.to(cf.{x.dtype.name})",
        )
    )


def like(y: Any, x: Any) -> Any:
    """y in the dtype of x."""
    return y if y.dtype is x.dtype else convert(y, dtype=x.dtype)


def batch_norm_train(
    x: Any, weight: Any, bias: Any, eps: float, centred: bool = True
) -> tuple[Any, Any, Any]:
    """x[n, c, ...] standardised by the mean and variance of each channel, times weight, plus bias;
    and that mean and variance (with 1/n)."""
    vectors = [
        full(shape=(x.shape[1],), value=value, dtype=x.dtype) if v is None else v
        for v, value in ((weight, 1), (bias, 0))
    ]
    return batch_norm(x, *vectors, eps=float(eps), centred=centred)  # type: ignore[no-any-return]


def batch_norm_eval(x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float) -> Any:
    """x[n, c, ...] standardised by a given mean and variance of each channel."""
    scale = rsqrt(var + float(eps))
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return channel_affine(x, scale, shift)


def weighted(x: Any, weight: Any, bias: Any) -> Any:
    """x[n, c, ...] · weight + bias, either of which may be None."""
    if weight is None:
        return x if bias is None else x + column(bias, x)
    if bias is None:
        bias = full(shape=tuple(weight.shape), value=0, dtype=weight.dtype)
    return channel_affine(x, weight, bias)


def over_rows(
    what: str, x: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float, centred: bool
) -> Any:
    """Standardise over the last dimensions, after checking that the shapes fit."""
    wide = as_vectors(what, x, {"weight": weight, "bias": bias})
    several = isinstance(normalized_shape, Iterable)
    size = read_shape((normalized_shape,) if several else ((normalized_shape,),))
    shape, lead = tuple(x.shape), x.ndim - len(size)
    if not size or lead < 0 or shape[lead:] != size:
        raise ShapeError(
            lesson(
                f"{what}: the last dimensions of the input must be {list(size)}",
                [("input", x), ("normalized_shape", list(size))],
                f"normalized_shape={list(shape[max(lead, 0) :])}",
            )
        )
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and tuple(vector.shape) != size:
            raise ShapeError(
                lesson(f"{what}: {name} must have the normalised shape {list(size)}",
                       [("input", x), (name, vector)], f"cf.ones({', '.join(map(str, size))})")
            )  # fmt: skip
    rows, width = prod(shape[:lead]), prod(size)
    if weight is None and bias is None:
        as_channels = reshape_to(wide, shape=(1, rows, width))
        y, _, _ = batch_norm_train(as_channels, None, None, eps, centred)
        return reshape_to(y, shape=shape)
    vectors = [
        full(shape=(width,), value=value, dtype=wide.dtype)
        if v is None
        else reshape_to(v, shape=(width,))
        for v, value in ((weight, 1), (bias, 0))
    ]
    flat = reshape_to(wide, shape=(rows, width))
    y, _, _ = layer_norm_rows(flat, *vectors, eps=float(eps), centred=centred)
    return like(reshape_to(y, shape=shape), x)


def layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """(x - mean) / √(var + eps) · weight + bias, over the last dimensions.

    Shapes: the last dimensions of ``input``, ``weight`` and ``bias`` have ``normalized_shape``; the
    variance is that with 1/n. Source: Ba, Kiros and Hinton (2016).

    >>> import contraflow as cf
    >>> cf.nn.functional.layer_norm(cf.tensor([[1.0, 2.0, 3.0]]), (3,))
    tensor([[-1.2247,  0.0000,  1.2247]])

    Raises:
        ShapeError: if the shapes differ.
    """
    return over_rows("layer_norm", input, normalized_shape, weight, bias, eps, centred=True)


def rms_norm(
    input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None
) -> Any:
    """x / √(mean of x² + eps) · weight, over the last dimensions.

    Shapes: as ``layer_norm``. ``eps`` is the dtype's smallest step at 1 unless given.
    Source: Zhang and Sennrich (2019).

    >>> import contraflow as cf
    >>> cf.nn.functional.rms_norm(cf.tensor([[3.0, 4.0]]), (2,))
    tensor([[0.8485, 1.1314]])

    Raises:
        ShapeError: if the shapes differ.
    """
    check_floating("rms_norm", input=input)
    eps = float(np.finfo(input.dtype.np).eps) if eps is None else eps
    if weight is not None:  # PyTorch's rms_norm, unlike its layer_norm, takes any
        weight = like(weight, input)
    return over_rows("rms_norm", input, normalized_shape, weight, None, eps, centred=False)


def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """(x - mean) / √(var + eps) · weight + bias, over groups of channels of each sample.

    Shapes: ``[N, C, ...]``, ``weight`` and ``bias`` ``[C]``; ``num_groups`` divides C.
    Source: Wu and He (2018).

    >>> import contraflow as cf
    >>> cf.nn.functional.group_norm(cf.tensor([[1.0, 3.0, 5.0, 9.0]]), 2)
    tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])

    Raises:
        ShapeError: if the groups do not divide the channels, or weights do not fit.
        ArgumentError: if a group has one value only: its variance says nothing.
    """
    wide = as_vectors("group_norm", input, {"weight": weight, "bias": bias})
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ShapeError(
            lesson(
                f"group_norm: {num_groups} groups must divide the channels (dimension 1)",
                [("input", input)],
                "num_groups=1 takes all channels together",
            )
        )
    n, c, *size = input.shape
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and tuple(vector.shape) != (c,):
            raise ShapeError(
                lesson(f"group_norm: {name} must be [{c}], one number for each channel",
                       [("input", input), (name, vector)], f"nn.GroupNorm({num_groups}, {c})")
            )  # fmt: skip
    rows = (1, n * num_groups, c // num_groups * prod(size))
    if n * c * prod(size) and rows[2] * n == 1:
        raise ArgumentError(
            lesson("group_norm: a group of one value has no variance", [("input", input)],
                   "fewer groups, or larger images")
        )  # fmt: skip
    y, _, _ = batch_norm_train(reshape_to(wide, shape=rows), None, None, eps)
    return like(weighted(reshape_to(y, shape=tuple(input.shape)), weight, bias), input)


def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """x / (k + alpha · mean of x² over ``size`` neighbouring channels)^beta.

    Shapes: ``[N, C, ...]`` of at least 3 dimensions. Source: Krizhevsky, Sutskever and Hinton
    (2012), section 3.3; as in PyTorch alpha multiplies the mean, not the sum.

    >>> import contraflow as cf
    >>> cf.nn.functional.local_response_norm(cf.tensor([[[3.0], [4.0]]]), 2, alpha=2.0, beta=0.5)
    tensor([[[0.9487],
             [0.7845]]])

    Raises:
        ShapeError: for fewer dimensions.
    """
    check_floating("local_response_norm", input=input)
    if input.ndim < 3:
        raise ShapeError(
            lesson("local_response_norm takes [N, C, ...] of at least 3 dimensions",
                   [("input", input)], "x.unsqueeze(-1)")
        )  # fmt: skip
    if size < 1:
        raise ArgumentError(lesson(f"local_response_norm: size must be at least 1, not {size}",
                                   fix="size=5"))  # fmt: skip
    n, c, *rest = input.shape
    image = reshape_to(mul(input, input), shape=(n, 1, c, prod(rest)))
    widths = ((0, 0), (0, 0), (size // 2, (size - 1) // 2), (0, 0))
    padded = pad_op(image, widths=widths, value=0.0)
    means = avg_pool(padded, kernel=(size, 1), stride=(1, 1), padding=(0, 0), ceil=False,
                     divisor=size) if 0 not in input.shape else image  # fmt: skip
    means = reshape_to(means, shape=tuple(input.shape))
    return input / pow(means * alpha + k, beta)
