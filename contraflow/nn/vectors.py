"""Functions of vectors along a dimension: their unit length, their distances, their products."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import read_dims
from contraflow.ops.arith import maximum
from contraflow.ops.checks import check_floating
from contraflow.ops.index import index_select
from contraflow.ops.matmul import matmul
from contraflow.ops.reduce import reduce_sum
from contraflow.ops.statistics import norm
from contraflow.ops.view import permute_dims, reshape_to
from contraflow.tensor.create import constant

__all__ = ["bilinear", "normalize", "pdist"]


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Any:
    """x / max(|x|_p, eps): vectors of length 1 along ``dim`` (one dimension, or several).

    >>> import contraflow as cf
    >>> cf.nn.functional.normalize(cf.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])

    Raises:
        DTypeError: if the input is not floating point.
        IndexOutOfRange: if the dimension does not exist.
    """
    check_floating("normalize", input=input)
    return input / maximum(norm(input, p, read_dims(dim, input.ndim), keepdim=True), eps)


def pdist(input: Any, p: float = 2.0) -> Any:
    """The p-norm of the difference of every two rows, each pair once: 0-1, 0-2, ..., 1-2, ...

    Shapes: [N, D] gives [N (N - 1) / 2].

    >>> import contraflow as cf
    >>> cf.nn.functional.pdist(cf.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 4.0]]))
    tensor([5., 4., 3.])

    Raises:
        ShapeError: if the input is not a matrix.
        ArgumentError: if p is negative.
    """
    check_floating("pdist", input=input)
    if input.ndim != 2:
        raise ShapeError(
            lesson("pdist takes a matrix, one vector a row", [("input", input)], "input.flatten(1)")
        )
    if not p >= 0:
        raise ArgumentError(lesson(f"pdist: p must not be negative, received {p}", fix="p=2.0"))
    first, second = (constant(rows) for rows in np.triu_indices(input.shape[0], 1))
    return norm(index_select(input, 0, first) - index_select(input, 0, second), p, 1)


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """y_k = x1 W_k x2 + b_k.

    Shapes: input1 [..., I], input2 [..., J], weight [K, I, J], bias [K], result [..., K].

    >>> import contraflow as cf
    >>> w = cf.tensor([[[0.0, 1.0], [-1.0, 0.0]]])
    >>> cf.nn.functional.bilinear(cf.tensor([[1.0, 2.0]]), cf.tensor([[3.0, 4.0]]), w)
    tensor([[-2.]])

    Raises:
        ShapeError: if the leading sizes of the inputs differ, or a size does not fit the weight.
    """
    check_bilinear(input1, input2, weight, bias)
    k, i, j = weight.shape
    lead = tuple(input1.shape[:-1])
    rows = prod(lead)
    columns = reshape_to(permute_dims(weight, dims=(1, 0, 2)), shape=(i, k * j))
    left = reshape_to(matmul(reshape_to(input1, shape=(rows, i)), columns), shape=(rows, k, j))
    y = reduce_sum(left * reshape_to(input2, shape=(rows, 1, j)), dims=(2,), keepdim=False)
    y = reshape_to(y, shape=(*lead, k))
    return y if bias is None else y + bias


def check_bilinear(input1: Any, input2: Any, weight: Any, bias: Any) -> None:
    """Everything that ``bilinear`` asks of its shapes."""
    given = {"input1": input1, "input2": input2, "weight": weight}
    if bias is not None:
        given["bias"] = bias
    check_floating("bilinear", **given)
    rule = None
    if weight.ndim != 3:
        rule = "bilinear: weight is [out_features, in1_features, in2_features]"
    elif not input1.ndim or tuple(input1.shape[:-1]) != tuple(input2.shape[:-1]):
        rule = "bilinear: the inputs may differ in their last size only"
    elif (input1.shape[-1], input2.shape[-1]) != tuple(weight.shape[1:]):
        rule = (
            f"bilinear: the weight expects {weight.shape[1]} and {weight.shape[2]} features, the "
            f"inputs have {input1.shape[-1]} and {input2.shape[-1]}"
        )
    elif bias is not None and tuple(bias.shape) != (weight.shape[0],):
        rule = f"bilinear: bias needs {weight.shape[0]} numbers, one for each output"
    if rule is not None:
        raise ShapeError(
            lesson(rule, list(given.items()),
                   f"nn.Bilinear({sizes(input1)}, {sizes(input2)}, out_features)")
        )  # fmt: skip


def sizes(x: Any) -> str:
    """The number of features of an input, for a message."""
    return str(x.shape[-1]) if x.ndim else "1"
