"""The product of matrices, and the linear layer as one op."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import DTypeError, ShapeError, lesson
from contraflow.base.shapes import broadcast
from contraflow.ops.arith import add_op
from contraflow.ops.checks import check_tensors
from contraflow.ops.record import Aval, Op, Operand, Sample, op
from contraflow.ops.reduce import reduce_sum
from contraflow.ops.rules import rand
from contraflow.ops.view import permute_dims, reshape_to

__all__ = ["matmul"]
METHODS = (*__all__,)


def swap_last(x: Any) -> Any:
    """The transpose of the last two dimensions."""
    n = x.ndim
    return permute_dims(x, dims=(*range(n - 2), n - 1, n - 2))


def inner_sizes(a: Any, b: Any, have: Any, want: Any) -> ShapeError:
    """The error of a product whose inner sizes differ, with the transpose that would help."""
    fix = "transpose one side (x.mT), or check the layer's number of features"
    if a.ndim > 1 and b.ndim > 1:
        if a.shape[-2] == b.shape[-2]:
            fix = "a.mT @ b"
        if a.shape[-1] == b.shape[-1]:
            fix = "a @ b.mT"
    last = "second last size" if b.ndim > 1 else "size"
    return ShapeError(
        lesson(
            f"matmul: the last size of a ({have}) must equal the {last} of b ({want})",
            [("a", a), ("b", b)],
            fix,
        )
    )


def _shape(a: Aval, b: Aval) -> Aval:
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise inner_sizes(
            a, b, a.shape[-1] if a.shape else "none", b.shape[-2] if b.ndim > 1 else list(b.shape)
        )
    batch = broadcast(a.shape[:-2], b.shape[:-2])
    return Aval((*batch, a.shape[-2], b.shape[-1]), a.dtype)


# Both operands have at least 2 dimensions; leading dimensions broadcast.
matrix_product: Op = op(
    "matmul", "a b",
    forward=np.matmul, shape=_shape, promote="arith",
    grad={
        "a": lambda g, b: matrix_product(g, swap_last(b)),
        "b": lambda g, a: matrix_product(swap_last(a), g),
    },
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), rand(rng, 4, 2)),
        Sample(rand(rng, 2, 3, 4), rand(rng, 4, 2)),
        Sample(rand(rng, 2, 1, 3, 4), rand(rng, 3, 4, 2)),
        Sample(rand(rng, 3, 0), rand(rng, 0, 2)),
        Sample(rand(rng, 3, 4), rand(rng, 3, 2), error=ShapeError),
    ],
)  # fmt: skip


def matmul(input: Any, other: Any) -> Any:
    """The matrix product; a 1-d operand is a vector, leading dimensions broadcast.

    Shapes: ``[n] @ [n]`` is a scalar, ``[m, n] @ [n]`` a vector, ``[..., m, k] @ [..., k, n]``
    a batch of ``[m, n]``.

    >>> import contraflow as cf
    >>> cf.matmul(cf.ones(2, 3), cf.ones(3))
    tensor([3., 3.])

    Raises:
        ShapeError: if the inner sizes differ.
    """
    if not (isinstance(input, Operand) and isinstance(other, Operand)):
        check_tensors("matmul", input=input, other=other)
    a, b = input, other
    rank, rank_b = a.ndim, b.ndim
    if rank == 0 or rank_b == 0:
        raise ShapeError(
            lesson(
                "matmul: both operands need at least one dimension",
                [("a", a), ("b", b)],
                "a * b multiplies by a scalar",
            )
        )
    inner = b.shape[-2 if rank_b > 1 else 0]
    if a.shape[-1] != inner:
        raise inner_sizes(a, b, a.shape[-1], inner)
    if rank == 2 and rank_b == 2:
        return matrix_product(a, b)
    if rank_b == 2:
        return rows_times(a, b)
    left = a if rank > 1 else reshape_to(a, shape=(1, *a.shape))
    right = b if rank_b > 1 else reshape_to(b, shape=(*b.shape, 1))
    product = matrix_product(left, right)
    shape = tuple(product.shape)
    if rank == 1:
        shape = (*shape[:-2], shape[-1])
    if rank_b == 1:
        shape = shape[:-1]
    return reshape_to(product, shape=shape) if shape != tuple(product.shape) else product


def rows(x: Any) -> Any:
    """``[..., n]`` as the matrix of its rows."""
    count = 1
    for size in x.shape[:-1]:
        count *= size
    return x if x.ndim == 2 else reshape_to(x, shape=(count, x.shape[-1]))


def rows_times(x: Any, matrix: Any) -> Any:
    """``x[..., k] @ matrix[k, n]`` as one product of matrices, however many dimensions lead."""
    if x.ndim == 2:
        return matrix_product(x, matrix)
    product = matrix_product(rows(x), matrix)
    return reshape_to(product, shape=(*x.shape[:-1], matrix.shape[1]))


# ---- the linear layer ----------------------------------------------------------------------


def _linear(x: Any, weight: Any) -> Any:
    if x.ndim <= 2:
        return np.matmul(x, weight.T)
    count = x.size // x.shape[-1] if x.shape[-1] else int(np.prod(x.shape[:-1]))
    flat = x.reshape(count, x.shape[-1])
    return np.matmul(flat, weight.T).reshape(*x.shape[:-1], len(weight))


def _linear_bias(x: Any, weight: Any, bias: Any) -> Any:
    y = _linear(x, weight)
    y += bias
    return y


def _linear_shape(x: Aval, weight: Aval, bias: Aval | None = None) -> Aval:
    if weight.ndim != 2:
        raise ShapeError(
            lesson(
                f"linear: the weight must be [out_features, in_features], "
                f"it has {weight.ndim} dimensions",
                [("weight", weight)],
            )
        )
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise features(x, weight)
    if bias is not None and bias.shape not in ((weight.shape[0],), (1,), ()):
        raise wrong_bias(weight, bias)
    return Aval((*x.shape[:-1], weight.shape[0]), x.dtype)


def features(x: Any, weight: Any) -> ShapeError:
    """The error of an input with the wrong number of features."""
    have = x.shape[-1] if x.ndim else 0
    out, expected = weight.shape
    count = 1
    for size in x.shape[1:]:
        count *= size
    if x.ndim > 2 and count == expected:
        fix = f"x.flatten(1): every sample then has {count} features"
    elif x.ndim == 2 and x.shape[0] == expected:
        fix = "x.T: the samples are the rows, the features the columns"
    elif x.ndim == 1 and expected == 1:
        fix = "x.unsqueeze(1): one feature for each sample"
    else:
        fix = f"nn.Linear({have}, {out}), or flatten/slice the input to {expected} features"
    return ShapeError(
        lesson(
            f"linear: the input has {have} features, the layer expects {expected}",
            [("input", x), ("weight", weight)],
            fix,
        )
    )


def wrong_bias(weight: Any, bias: Any) -> ShapeError:
    """The error of a bias that does not fit the weight."""
    return ShapeError(
        lesson(
            f"linear: the bias must be [{weight.shape[0]}], one number for each output",
            [("weight", weight), ("bias", bias)],
            f"cf.zeros({weight.shape[0]})",
        )
    )


def _grad_weight(g: Any, x: Any) -> Any:
    # one product over all leading dimensions; a vector is one row
    return matrix_product(swap_last(rows(g)), rows(x))


linear_op = op(
    "linear", "x weight",
    forward=_linear, shape=_linear_shape, promote="arith",
    definition=lambda x, weight: matmul(x, swap_last(weight)),
    grad={"x": lambda g, weight: rows_times(g, weight), "weight": _grad_weight},
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), rand(rng, 2, 4)),
        Sample(rand(rng, 2, 3, 4), rand(rng, 5, 4)),
        Sample(rand(rng, 4), rand(rng, 2, 4)),
        Sample(rand(rng, 0, 4), rand(rng, 2, 4)),
        Sample(rand(rng, 3, 4), rand(rng, 4, 2), error=ShapeError),
    ],
)  # fmt: skip

linear_bias = op(
    "linear_bias", "x weight bias",
    forward=_linear_bias, shape=_linear_shape, promote="arith",
    definition=lambda x, weight, bias: add_op(matmul(x, swap_last(weight)), bias),
    grad={
        "x": lambda g, weight: rows_times(g, weight),
        "weight": _grad_weight,
        "bias": lambda g: reduce_sum(g, dims=tuple(range(g.ndim - 1)), keepdim=False),
    },
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), rand(rng, 2, 4), rand(rng, 2)),
        Sample(rand(rng, 2, 3, 4), rand(rng, 5, 4), rand(rng, 5)),
        Sample(rand(rng, 4), rand(rng, 2, 4), rand(rng, 2)),
        Sample(rand(rng, 3, 4), rand(rng, 2, 4), rand(rng, 3), error=ShapeError),
    ],
)  # fmt: skip


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """``y = x W^T + b`` over the last dimension.

    Shapes: input ``[..., in_features]``, weight ``[out_features, in_features]``, bias
    ``[out_features]``, result ``[..., out_features]``.

    >>> import contraflow as cf
    >>> from contraflow.ops.matmul import linear
    >>> linear(cf.tensor([1.0, 2.0]), cf.tensor([[3.0, 4.0]]), cf.tensor([0.5]))
    tensor([11.5000])

    Raises:
        ShapeError: if the number of features or the bias does not fit the weight.
        DTypeError: if input, weight and bias differ in dtype.
    """
    if not (isinstance(input, Operand) and isinstance(weight, Operand)):
        check_tensors("linear", input=input, weight=weight)
    x, w = input._value, weight._value
    if len(w.shape) == 1:  # a vector of weights gives one number for each sample
        y = matmul(input, weight)
        return y if bias is None else y + bias
    if len(w.shape) != 2 or not x.shape or x.shape[-1] != w.shape[1]:
        _linear_shape(input, weight)
    if x.dtype != w.dtype or (bias is not None and bias._value.dtype != w.dtype):
        raise dtypes(input, weight, bias)
    if bias is None:
        return linear_op(input, weight)
    if bias._value.shape != w.shape[:1]:
        raise wrong_bias(weight, bias)
    return linear_bias(input, weight, bias)


def dtypes(input: Any, weight: Any, bias: Any) -> DTypeError:
    """The error of operands of different dtypes."""
    rows = [("input", input), ("weight", weight)]
    if bias is not None:
        rows.append(("bias", bias))
    name = next(name for name, t in rows if t.dtype is not weight.dtype)
    found = dict(rows)[name].dtype.name
    return DTypeError(
        lesson(
            f"linear: {name} is {found}, the weight is {weight.dtype.name}",
            rows,
            f"{name}.to(cf.{weight.dtype.name})",
        )
    )
