"""Products of vectors and matrices, composed of ``matmul`` and elementwise ops."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from operator import index
from typing import Any

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import Shape, read_dim
from contraflow.ops.arith import mul
from contraflow.ops.checks import check_tensors
from contraflow.ops.matmul import matmul, matrix_product
from contraflow.ops.reduce import reduce_sum, sum
from contraflow.ops.view import expand, permute_dims, reshape_to, slice_dims

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "cross", "dot", "ger",
    "inner", "kron", "mm", "mv", "outer", "tensordot", "trace", "vdot",
]  # fmt: skip
METHODS = (
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "cross", "dot", "ger", "inner", "kron",
    "mm", "mv", "outer", "trace", "vdot",
)  # fmt: skip
INPLACE = ("addbmm", "addmm", "addmv", "addr", "baddbmm")


def check_rank(what: str, fix: str, **expected: tuple[Any, int]) -> None:
    """Every operand must be a tensor with the number of dimensions that stands beside it."""
    check_tensors(what, **{name: t for name, (t, _) in expected.items()})
    for name, (t, ndim) in expected.items():
        if t.ndim != ndim:
            raise ShapeError(
                lesson(
                    f"{what}: {name} must have {ndim} dimension{'s' * (ndim != 1)}, "
                    f"it has {t.ndim}",
                    [(name, t) for name, (t, _) in expected.items()],
                    fix,
                )
            )


def mm(input: Any, mat2: Any) -> Any:
    """The product of two matrices, ``[m, k] @ [k, n]``; nothing broadcasts.

    >>> import contraflow as cf
    >>> cf.mm(cf.tensor([[1.0, 2.0]]), cf.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    check_rank("mm", "cf.matmul takes vectors and batches", input=(input, 2), mat2=(mat2, 2))
    return matmul(input, mat2)


def bmm(input: Any, mat2: Any) -> Any:
    """The products of two batches of matrices, ``[b, m, k] @ [b, k, n]``.

    >>> import contraflow as cf
    >>> cf.bmm(cf.ones(2, 1, 3), cf.ones(2, 3, 1)).tolist()
    [[[3.0]], [[3.0]]]
    """
    check_rank("bmm", "cf.matmul broadcasts batches", input=(input, 3), mat2=(mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(
            lesson(
                "bmm: the batches must have the same size",
                [("input", input), ("mat2", mat2)],
                "cf.matmul broadcasts a batch of 1",
            )
        )
    return matmul(input, mat2)


def mv(input: Any, vec: Any) -> Any:
    """The product of a matrix and a vector, ``[m, n] @ [n]``.

    >>> import contraflow as cf
    >>> cf.mv(cf.tensor([[1.0, 2.0], [0.0, 1.0]]), cf.tensor([1.0, 1.0]))
    tensor([3., 1.])
    """
    check_rank("mv", "cf.matmul takes any of both", input=(input, 2), vec=(vec, 1))
    return matmul(input, vec)


def dot(input: Any, tensor: Any) -> Any:
    """The scalar product of two vectors.

    >>> import contraflow as cf
    >>> cf.dot(cf.tensor([1.0, 2.0]), cf.tensor([3.0, 4.0]))
    tensor(11.)
    """
    check_rank("dot", "(a * b).sum(), or cf.matmul", input=(input, 1), tensor=(tensor, 1))
    return matmul(input, tensor)


def vdot(input: Any, other: Any) -> Any:
    """The scalar product of two vectors (``dot``: there are no complex numbers here).

    >>> import contraflow as cf
    >>> cf.vdot(cf.tensor([1.0, 2.0]), cf.tensor([3.0, 4.0]))
    tensor(11.)
    """
    return dot(input, other)


def inner(input: Any, other: Any) -> Any:
    """The scalar products of the last dimensions: ``[i, n]`` and ``[j, n]`` give ``[i, j]``.

    >>> import contraflow as cf
    >>> cf.inner(cf.ones(2, 3), cf.ones(4, 3)).shape
    contraflow.Size([2, 4])
    """
    check_tensors("inner", input=input, other=other)
    if input.ndim == 0 or other.ndim == 0:
        return mul(input, other)
    if input.shape[-1] != other.shape[-1]:
        raise ShapeError(
            lesson(
                f"inner: the last sizes must agree, {input.shape[-1]} is not {other.shape[-1]}",
                [("input", input), ("other", other)],
                "cf.matmul(a, b)",
            )
        )
    return tensordot(input, other, dims=([-1], [-1]))


def outer(input: Any, vec2: Any) -> Any:
    """All products of the elements of two vectors: ``y[i, j] = input[i] vec2[j]``.

    >>> import contraflow as cf
    >>> cf.outer(cf.tensor([1, 2]), cf.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    check_rank("outer", "x.flatten()", input=(input, 1), vec2=(vec2, 1))
    return mul(reshape_to(input, shape=(input.shape[0], 1)), vec2)


def ger(input: Any, vec2: Any) -> Any:
    """The same as ``outer``, under the name that BLAS gave it.

    >>> import contraflow as cf
    >>> cf.ger(cf.ones(2), cf.ones(3)).shape
    contraflow.Size([2, 3])
    """
    return outer(input, vec2)


# ---- beta * input + alpha * product --------------------------------------------------------


def plus(input: Any, product: Any, beta: float, alpha: float) -> Any:
    """``beta * input + alpha * product``; with beta 0 the input is not read, NaN or not."""
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return product
    shape = tuple(product.shape)
    if tuple(input.shape) != shape:
        input = expand(input, shape=shape)
    return (input if beta == 1 else input * beta) + product


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """``beta * input + alpha * (mat1 @ mat2)``, for matrices; ``input`` broadcasts.

    >>> import contraflow as cf
    >>> cf.addmm(cf.tensor([1.0, 2.0]), cf.eye(2), cf.ones(2, 2), alpha=10)
    tensor([[11., 12.],
            [11., 12.]])
    """
    return plus(input, mm(mat1, mat2), beta, alpha)


def addmv(input: Any, mat: Any, vec: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """``beta * input + alpha * (mat @ vec)``.

    >>> import contraflow as cf
    >>> cf.addmv(cf.ones(2), cf.eye(2), cf.tensor([1.0, 2.0]))
    tensor([2., 3.])
    """
    return plus(input, mv(mat, vec), beta, alpha)


def addr(input: Any, vec1: Any, vec2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """``beta * input + alpha * outer(vec1, vec2)``.

    >>> import contraflow as cf
    >>> cf.addr(cf.zeros(2, 2), cf.tensor([1.0, 2.0]), cf.tensor([1.0, 3.0]))
    tensor([[1., 3.],
            [2., 6.]])
    """
    return plus(input, outer(vec1, vec2), beta, alpha)


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """``beta * input + alpha * bmm(batch1, batch2)``; ``input`` broadcasts.

    >>> import contraflow as cf
    >>> cf.baddbmm(cf.ones(1), cf.ones(2, 1, 3), cf.ones(2, 3, 1)).flatten().tolist()
    [4.0, 4.0]
    """
    return plus(input, bmm(batch1, batch2), beta, alpha)


def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """``beta * input + alpha * bmm(batch1, batch2).sum(0)``.

    >>> import contraflow as cf
    >>> cf.addbmm(cf.ones(1, 1), cf.ones(2, 1, 3), cf.ones(2, 3, 1))
    tensor([[7.]])
    """
    total = reduce_sum(bmm(batch1, batch2), dims=(0,), keepdim=False)
    return plus(input, total, beta, alpha)


# ---- products over chosen dimensions -------------------------------------------------------


def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Sum the products over pairs of dimensions: the last ``dims`` of a with the first of b, or
    ``dims=(dims_of_a, dims_of_b)``.

    >>> import contraflow as cf
    >>> cf.tensordot(cf.ones(2, 3, 4), cf.ones(4, 3, 5), dims=([1, 2], [1, 0])).shape
    contraflow.Size([2, 5])
    """
    check_tensors("tensordot", a=a, b=b)
    of_a, of_b = read_tensordot(a, b, dims)
    sizes = [a.shape[d] for d in of_a]
    if sizes != [b.shape[d] for d in of_b]:
        raise ShapeError(
            lesson(
                f"tensordot: dimensions {list(of_a)} of a have the sizes {sizes}, dimensions "
                f"{list(of_b)} of b {[b.shape[d] for d in of_b]}",
                [("a", a), ("b", b)],
                "dims=([dims of a], [dims of b]) in matching order",
            )
        )
    rest_a = [d for d in range(a.ndim) if d not in of_a]
    rest_b = [d for d in range(b.ndim) if d not in of_b]
    shape = [a.shape[d] for d in rest_a] + [b.shape[d] for d in rest_b]
    k = prod(sizes)
    left = reshape_to(
        permute_dims(a, dims=(*rest_a, *of_a)), shape=(prod(a.shape[d] for d in rest_a), k)
    )
    right = reshape_to(
        permute_dims(b, dims=(*of_b, *rest_b)), shape=(k, prod(b.shape[d] for d in rest_b))
    )
    return reshape_to(matrix_product(left, right), shape=tuple(shape))


def read_tensordot(a: Any, b: Any, dims: Any) -> tuple[Shape, Shape]:
    """The dimensions that tensordot sums over, of a and of b."""
    if not isinstance(dims, Iterable):
        n = index(dims)
        if not 0 <= n <= min(a.ndim, b.ndim):
            raise ArgumentError(
                lesson(
                    f"tensordot: dims={n} must lie between 0 and the number of dimensions",
                    [("a", a), ("b", b)],
                    f"dims={min(a.ndim, b.ndim)}",
                )
            )
        return tuple(range(a.ndim - n, a.ndim)), tuple(range(n))
    pair = [list(d) if isinstance(d, Iterable) else [d] for d in dims]
    if len(pair) != 2 or len(pair[0]) != len(pair[1]):
        raise ArgumentError(
            lesson(
                f"tensordot: dims must be a number or two lists of one length, received {dims}",
                fix="dims=([1, 2], [0, 1])",
            )
        )
    of_a = tuple(read_dim(d, a.ndim) for d in pair[0])
    of_b = tuple(read_dim(d, b.ndim) for d in pair[1])
    if len(set(of_a)) != len(of_a) or len(set(of_b)) != len(of_b):
        raise ArgumentError(lesson(f"tensordot: dims={dims} names a dimension twice"))
    return of_a, of_b


def kron(input: Any, other: Any) -> Any:
    """The Kronecker product: every element of ``input`` times the whole of ``other``.

    >>> import contraflow as cf
    >>> cf.kron(cf.tensor([1, 10]), cf.tensor([1, 2]))
    tensor([ 1,  2, 10, 20])
    """
    check_tensors("kron", input=input, other=other)
    n = max(input.ndim, other.ndim)
    a = (1,) * (n - input.ndim) + tuple(input.shape)
    b = (1,) * (n - other.ndim) + tuple(other.shape)
    left = reshape_to(input, shape=tuple(s for size in a for s in (size, 1)))
    right = reshape_to(other, shape=tuple(s for size in b for s in (1, size)))
    return reshape_to(mul(left, right), shape=tuple(m * k for m, k in zip(a, b, strict=True)))


def diagonal_of(x: Any, first: int, second: int) -> Any:
    """The diagonal of two dimensions of one size, as the last dimension."""
    n = x.shape[first]
    rest = [d for d in range(x.ndim) if d not in (first, second)]
    lead = [x.shape[d] for d in rest]
    flat = reshape_to(permute_dims(x, dims=(*rest, first, second)), shape=(*lead, n * n))
    bounds = (*((0, size, 1) for size in lead), (0, n * n, n + 1))
    return slice_dims(flat, bounds=bounds)


def trace(input: Any) -> Any:
    """The sum of the diagonal of a matrix.

    >>> import contraflow as cf
    >>> cf.trace(cf.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5.)
    """
    check_rank("trace", "cf.diagonal(x, dim1=-2, dim2=-1).sum(-1) for batches", input=(input, 2))
    rows, columns = input.shape
    if rows != columns:
        n = min(rows, columns)
        input = slice_dims(input, bounds=((0, n, 1), (0, n, 1)))
    return sum(diagonal_of(input, 0, 1))


def cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """The vector product in three dimensions, along ``dim`` (by default the first of size 3).

    >>> import contraflow as cf
    >>> cf.cross(cf.tensor([1.0, 0.0, 0.0]), cf.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    check_tensors("cross", input=input, other=other)
    if dim is None:
        found = [d for d, size in enumerate(input.shape) if size == 3]
        if not found:
            raise ShapeError(
                lesson(
                    "cross: no dimension has the size 3",
                    [("input", input)],
                    "vectors of three numbers",
                )
            )
        dim = found[0] - input.ndim
    where = read_dim(dim, input.ndim) - input.ndim
    for name, t in (("input", input), ("other", other)):
        if t.ndim < -where or t.shape[where] != 3:
            raise ShapeError(
                lesson(
                    f"cross: dimension {dim} of {name} must have the size 3",
                    [("input", input), ("other", other)],
                    "dim=-1",
                )
            )
    a1, a2 = turned(input, where, 1), turned(input, where, 2)
    b1, b2 = turned(other, where, 1), turned(other, where, 2)
    return a1 * b2 - a2 * b1


def turned(x: Any, dim: int, by: int) -> Any:
    """The three elements of a dimension, moved on by ``by`` places around the circle."""
    d = dim % x.ndim
    lead, tail = tuple(x.shape[:d]), tuple(x.shape[d + 1 :])
    twice = expand(reshape_to(x, shape=(*lead, 1, 3, *tail)), shape=(*lead, 2, 3, *tail))
    ring = reshape_to(twice, shape=(*lead, 6, *tail))
    bounds = [(0, size, 1) for size in ring.shape]
    bounds[d] = (by, by + 3, 1)
    return slice_dims(ring, bounds=tuple(bounds))
