"""Normalisation with running statistics: batch_norm and instance_norm.

Source: Ioffe and Szegedy, "Batch normalization" (2015); Ulyanov et al. (2016).
"""

from __future__ import annotations

from math import prod
from typing import Any

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.ops.cast import convert
from contraflow.ops.normalize import (
    as_vectors,
    batch_norm_eval,
    batch_norm_train,
    like,
    weighted,
)
from contraflow.ops.reduce import mean
from contraflow.ops.view import reshape_to
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.writing import write

__all__ = ["batch_norm", "instance_norm"]


def check_channels(what: str, input: Any, **vectors: Any) -> Any:
    """Every statistic and weight has one number for each channel; the input, ready for them."""
    wide = as_vectors(what, input, vectors)
    if input.ndim < 2:
        raise ShapeError(
            lesson(f"{what} takes [N, C, ...]: the input has no channels", [("input", input)],
                   "input.unsqueeze(0) for a batch of one")
        )  # fmt: skip
    for name, vector in vectors.items():
        if vector is not None and tuple(vector.shape) != (input.shape[1],):
            raise ShapeError(
                lesson(f"{what}: the input has {input.shape[1]} channels (dimension 1), "
                       f"{name} has {vector.shape.numel()}",
                       [("input", input), (name, vector)],
                       f"num_features={input.shape[1]}")
            )  # fmt: skip
    return wide


def follow(running: Any, batch: Any, momentum: Any) -> None:
    """running <- (1 - momentum) running + momentum batch."""
    batch = batch.detach()
    if batch.dtype is not running.dtype:
        batch = convert(batch, dtype=running.dtype)
    write(running, running * (1.0 - momentum) + batch * momentum)


def batch_norm(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: Any = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """(x - mean) / √(var + eps) · weight + bias for each channel of ``[N, C, ...]``.

    In training mean and variance are those of the batch, and the running ones move towards them
    (the variance without bias); otherwise they are the running ones.

    >>> import contraflow as cf
    >>> x = cf.tensor([[0.0, 5.0], [2.0, 9.0]])
    >>> mean, var = cf.zeros(2), cf.ones(2)
    >>> cf.nn.functional.batch_norm(x, mean, var, training=True)
    tensor([[-1.0000, -1.0000],
            [ 1.0000,  1.0000]])
    >>> mean
    tensor([0.1000, 0.7000])

    Raises:
        ArgumentError: in training, with one value for each channel: its variance says nothing.
        ShapeError: if the number of channels differs.
    """
    wide = check_channels("batch_norm", input, running_mean=running_mean, running_var=running_var,
                          weight=weight, bias=bias)  # fmt: skip
    if not training:
        if running_mean is None or running_var is None:
            raise ArgumentError(lesson("batch_norm: evaluation needs running_mean and running_var",
                                       fix="training=True"))  # fmt: skip
        y = batch_norm_eval(wide, running_mean, running_var, weight, bias, eps)
        return like(y, input)
    count = prod(input.shape) // max(input.shape[1], 1)
    if count == 1:
        raise ArgumentError(
            lesson("batch_norm: training needs more than one value for each channel",
                   [("input", input)],
                   "a larger batch (drop_last=True in the DataLoader), or model.eval()")
        )  # fmt: skip
    y, batch_mean, batch_var = batch_norm_train(wide, weight, bias, eps)
    with no_grad():
        if running_mean is not None and count:
            follow(running_mean, batch_mean, momentum)
        if running_var is not None and count:
            follow(running_var, batch_var * (count / (count - 1)), momentum)
    return like(y, input)


def instance_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """As batch_norm, with the statistics of each sample by itself: ``[N, C, ...]``.

    >>> import contraflow as cf
    >>> cf.nn.functional.instance_norm(cf.tensor([[[1.0, 3.0], [0.0, 8.0]]]))
    tensor([[[-1.0000,  1.0000],
             [-1.0000,  1.0000]]])
    """
    wide = check_channels("instance_norm", input, running_mean=running_mean,
                          running_var=running_var, weight=weight, bias=bias)  # fmt: skip
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    n, c, *size = input.shape
    count = prod(size)
    if count == 1:
        raise ArgumentError(
            lesson("instance_norm: needs more than one place for each channel", [("input", input)],
                   "nn.LayerNorm, or a larger image at this layer")
        )  # fmt: skip
    rows = reshape_to(wide, shape=(1, n * c, *size))
    y, means, variances = batch_norm_train(rows, None, None, eps)
    y = reshape_to(y, shape=tuple(input.shape))
    with no_grad():
        if running_mean is not None and n:
            follow(running_mean, mean(reshape_to(means, shape=(n, c)), 0), momentum)
        if running_var is not None and n:
            unbiased = reshape_to(variances * (count / max(count - 1, 1)), shape=(n, c))
            follow(running_var, mean(unbiased, 0), momentum)
    return like(weighted(y, weight, bias), input)
