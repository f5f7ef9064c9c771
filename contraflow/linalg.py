"""Linear algebra: norms, equations, determinants, decompositions, all over batches of matrices.

>>> import contraflow as cf
>>> A = cf.tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
>>> x = cf.linalg.solve(A, cf.tensor([3.0, 5.0]))
>>> x.detach()
tensor([0.8000, 1.4000])
>>> cf.linalg.logdet(A).backward()
>>> A.grad
tensor([[ 0.6000, -0.2000],
        [-0.2000,  0.4000]])
"""

from __future__ import annotations

from math import inf
from typing import Any

from contraflow.base.dtypes import as_dtype
from contraflow.base.errors import ArgumentError, LinAlgError, ShapeError, lesson
from contraflow.base.shapes import read_dim
from contraflow.ops.arith import abs, mul
from contraflow.ops.cast import convert
from contraflow.ops.chains import matrix_power as positive_power
from contraflow.ops.chains import multi_dot
from contraflow.ops.checks import check_floating, check_tensors
from contraflow.ops.decompose import (
    check_matrix,
    cholesky,
    det,
    eigh,
    eigvalsh,
    inverse,
    logdet,
    lstsq,
    matrix_rank,
    pinv,
    qr,
    read_square,
    slogdet,
    solve,
    solve_triangular,
    svd,
    svdvals,
)
from contraflow.ops.matmul import matmul
from contraflow.ops.matrix_exp import matrix_exp
from contraflow.ops.parts import diagonal as diagonal_of
from contraflow.ops.products import cross as cross_of
from contraflow.ops.reduce import amax, amin
from contraflow.ops.reduce import sum as sum_of
from contraflow.ops.shape import movedim, unsqueeze
from contraflow.ops.statistics import norm as vector_norm_of

__all__ = [
    "LinAlgError", "cholesky", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv",
    "logdet", "lstsq", "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank",
    "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd", "svdvals",
    "vecdot", "vector_norm",
]  # fmt: skip

inv = inverse


def vector_norm(
    x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """(sum |x|^ord)^(1/ord) over ``dim`` (None for all elements, whatever the shape).

    Args:
        ord: a number; ``inf`` is the greatest |x|, ``-inf`` the least, 0 counts what is not 0.

    >>> import contraflow as cf
    >>> cf.linalg.vector_norm(cf.tensor([[3.0, 4.0]]))
    tensor(5.)
    """
    check_floating("vector_norm", x=x)
    if isinstance(ord, str | bool):
        raise ArgumentError(
            lesson(
                f"vector_norm: ord must be a number, received {ord!r}",
                fix=f"cf.linalg.matrix_norm(x, {ord!r})",
            )
        )
    return vector_norm_of(x, ord, dim, keepdim, None if dtype is None else as_dtype(dtype))


def matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """A norm of the matrices that two dimensions hold.

    Args:
        ord: ``"fro"`` (root of the sum of squares), ``"nuc"`` (sum of the singular values), 2 and
            -2 (greatest and least singular value), 1 and -1 (greatest and least sum of |a| in a
            column), ``inf`` and ``-inf`` (in a row).

    >>> import contraflow as cf
    >>> cf.linalg.matrix_norm(cf.tensor([[3.0, 0.0], [0.0, 4.0]]), "nuc")
    tensor(7.)
    """
    check_matrix("matrix_norm", A=A)
    dims = tuple(dim) if isinstance(dim, tuple | list) else (dim,)
    if len(dims) != 2:
        raise ArgumentError(
            lesson(f"matrix_norm: dim must be two dimensions, received {dim}", fix="dim=(-2, -1)")
        )
    rows, columns = (read_dim(d, A.ndim) for d in dims)
    if rows == columns:
        raise ArgumentError(
            lesson(f"matrix_norm: dim={dims} names a dimension twice", fix="dim=(-2, -1)")
        )
    if dtype is not None:
        A = convert(A, dtype=as_dtype(dtype))
    if ord == "fro":
        return vector_norm_of(A, 2.0, (rows, columns), keepdim)
    y = _norm_of_last(movedim(A, (rows, columns), (-2, -1)), ord)
    return unsqueeze(unsqueeze(y, min(rows, columns)), max(rows, columns)) if keepdim else y


def _norm_of_last(A: Any, ord: Any) -> Any:
    """The norm of the last two dimensions."""
    if ord == "nuc":
        return sum_of(svdvals(A), -1)
    if isinstance(ord, str | bool) or ord not in (1, -1, 2, -2, inf, -inf):
        raise ArgumentError(
            lesson(
                f"matrix_norm: unknown ord={ord!r}",
                fix="ord='fro', 'nuc', 1, -1, 2, -2, float('inf') or -float('inf')",
            )
        )
    extremum = amax if ord > 0 else amin
    if ord in (2, -2):
        return extremum(svdvals(A), -1)
    return extremum(sum_of(abs(A), -2 if ord in (1, -1) else -1), -1)


def norm(
    A: Any,
    ord: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Any:
    """``vector_norm`` or ``matrix_norm``, by what is asked for.

    One dimension (or a vector, or no ``ord``) means vectors; two dimensions (or a matrix) with an
    ``ord`` mean matrices.

    Raises:
        ShapeError: for an ``ord`` without ``dim``, and a tensor that is neither vector nor matrix.

    >>> import contraflow as cf
    >>> cf.linalg.norm(cf.tensor([3.0, 4.0]))
    tensor(5.)
    >>> cf.linalg.norm(cf.tensor([[3.0, 0.0], [0.0, 4.0]]), 2)
    tensor(4.)
    """
    check_floating("norm", A=A)
    several = isinstance(dim, tuple | list)
    if ord is None or (dim is not None and not (several and len(dim) == 2)):
        return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)
    if dim is not None:
        return matrix_norm(A, ord, dim, keepdim, dtype=dtype)
    if A.ndim not in (1, 2):
        raise ShapeError(
            lesson(
                f"norm: with ord={ord!r} and no dim the tensor must be a vector or a matrix",
                [("A", A)],
                f"dim=-1 for vectors, dim=(-2, -1) for matrices: cf.linalg.norm(A, {ord!r}, -1)",
            )
        )
    if A.ndim == 1:
        return vector_norm(A, ord, None, keepdim, dtype=dtype)
    return matrix_norm(A, ord, (-2, -1), keepdim, dtype=dtype)


def cond(A: Any, p: Any = None) -> Any:
    """The condition number |A| |A^-1|: how much a relative error of b can grow in x = A^-1 b.

    Args:
        p: the norm (see ``matrix_norm``); None is 2, the ratio of the singular values, which also
            exists for matrices that are not square.

    >>> import contraflow as cf
    >>> cf.linalg.cond(cf.tensor([[4.0, 0.0], [0.0, 2.0]]))
    tensor(2.)
    """
    check_matrix("cond", A=A)
    if p in (None, 2, -2):
        s = svdvals(A)
        return amin(s, -1) / amax(s, -1) if p == -2 else amax(s, -1) / amin(s, -1)
    return matrix_norm(A, p) * matrix_norm(inverse(A), p)


def cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """The vector product in three dimensions, along ``dim``; the operands broadcast.

    >>> import contraflow as cf
    >>> cf.linalg.cross(cf.tensor([1.0, 0.0, 0.0]), cf.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    return cross_of(input, other, dim)


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """The scalar products along ``dim``; what is left broadcasts.

    >>> import contraflow as cf
    >>> cf.linalg.vecdot(cf.ones(2, 3), cf.ones(3))
    tensor([3., 3.])
    """
    check_tensors("vecdot", x=x, y=y)
    return sum_of(mul(x, y), dim)


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonals of matrices: ``cf.diagonal`` of the last two dimensions.

    >>> import contraflow as cf
    >>> cf.linalg.diagonal(cf.ones(2, 3, 3)).shape
    contraflow.Size([2, 3])
    """
    return diagonal_of(A, offset, dim1, dim2)


def matrix_power(A: Any, n: int) -> Any:
    """The matrix times itself, n times; a negative n takes powers of the inverse.

    >>> import contraflow as cf
    >>> cf.linalg.matrix_power(cf.tensor([[2.0, 0.0], [0.0, 4.0]]), -1)
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    read_square("matrix_power", A)
    return positive_power(inverse(A), -n) if n < 0 else positive_power(A, n)
