"""Determinants, inverses and decompositions for users: checks, then the records of ``linalg``."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import float32, float64
from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.ops.arith import eq, gt, maximum, where_op
from contraflow.ops.chains import check_square, identity
from contraflow.ops.checks import check_tensors, values
from contraflow.ops.join import cat
from contraflow.ops.linalg import (
    cholesky_op,
    column,
    det_op,
    eigh_op,
    inverse_op,
    pseudoinverse_op,
    qr_full_op,
    qr_op,
    slogdet_op,
    solve_op,
    svd_full_op,
    svd_op,
)
from contraflow.ops.matmul import matmul, swap_last
from contraflow.ops.parts import tril, triu
from contraflow.ops.reduce import sum as sum_of
from contraflow.ops.results import named
from contraflow.ops.view import alias, reshape_to, slice_dims

__all__ = ["cholesky", "cholesky_solve", "det", "inverse", "logdet", "pinverse", "slogdet"]
METHODS = (*__all__,)

_SLogDet = named("linalg_slogdet", "sign logabsdet")
_QR, _SVD = named("linalg_qr", "Q R"), named("linalg_svd", "U S Vh")
_Eigh = named("linalg_eigh", "eigenvalues eigenvectors")
_LstSq = named("linalg_lstsq", "solution residuals rank singular_values")


# ---- checks ------------------------------------------------------------------------------------


def check_matrix(what: str, **operands: Any) -> None:
    """Every operand must be float32 or float64 (of one dtype) with at least 2 dimensions."""
    check_tensors(what, **operands)
    rows = list(operands.items())
    for name, t in rows:
        if t.dtype not in (float32, float64):
            raise DTypeError(
                lesson(f"{what}: {name} must be float32 or float64", rows, f"{name}.float()")
            )
        if t.dtype is not rows[0][1].dtype:
            fix = f"{name}.to({rows[0][0]}.dtype)"
            raise DTypeError(lesson(f"{what}: the operands must have one dtype", rows, fix))
        if t.ndim < 2:
            raise ShapeError(
                lesson(
                    f"{what}: {name} must be a matrix, or a batch of matrices, it has {t.ndim} "
                    f"dimension{'s' * (t.ndim != 1)}",
                    rows,
                    f"{name}.unsqueeze(-1), if it is a column",
                )
            )


def read_square(what: str, x: Any) -> None:
    """The operand must be a square floating matrix, or a batch of them."""
    check_square(what, x)
    check_matrix(what, A=x)


def check_symmetric(what: str, x: Any) -> None:
    """The matrix must equal its transpose, to within the rounding of the work that made it."""
    numbers = values(x)
    if numbers is None or not numbers.size:
        return
    gap = np.abs(numbers - numbers.swapaxes(-1, -2)).max()
    if gap > 1e-3 * np.abs(numbers).max():
        raise ArgumentError(
            lesson(
                f"{what}: the matrix must be symmetric",
                [("A", x), ("greatest |A - A.mT|", f"{gap:g}")],
                f"{what} of (A + A.mT) / 2, or of A.mT @ A",
            )
        )


# ---- determinants and inverse ------------------------------------------------------------------


def det(input: Any) -> Any:
    """The determinant of a square matrix, or of each of a batch; its gradient exists everywhere.

    Raises:
        ShapeError: if the last two dimensions differ.

    >>> import contraflow as cf
    >>> cf.det(cf.tensor([[3.0, 1.0], [2.0, 4.0]]))
    tensor(10.)
    """
    read_square("det", input)
    return det_op(input)


def slogdet(input: Any) -> Any:
    """``(sign, logabsdet)``: the determinant is sign * e^logabsdet, also where it overflows.

    A singular matrix has sign 0 and logabsdet -inf, and no gradient.

    >>> import contraflow as cf
    >>> cf.slogdet(-cf.eye(3)).sign
    tensor(-1.)
    """
    read_square("slogdet", input)
    return _SLogDet(*slogdet_op(input))


def logdet(input: Any) -> Any:
    """log det: NaN for a negative determinant, -inf for a singular matrix.

    >>> import contraflow as cf
    >>> cf.logdet(cf.eye(3))
    tensor(0.)
    """
    sign, size = slogdet(input)
    return where_op(eq(sign, -1), float("nan"), size)


def inverse(input: Any) -> Any:
    """The inverse of a square matrix, or of each of a batch.

    To solve equations, ``cf.linalg.solve(A, B)`` is faster and more exact than ``inverse(A) @ B``.

    Raises:
        LinAlgError: if a matrix is singular.
        ShapeError: if the last two dimensions differ.

    >>> import contraflow as cf
    >>> cf.inverse(cf.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    read_square("inv", input)
    return inverse_op(input)


def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """The pseudoinverse; singular values below ``rcond`` times the greatest count as 0.

    >>> import contraflow as cf
    >>> cf.pinverse(cf.tensor([[2.0], [0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    return pinv(input, rtol=rcond)


def pinv(
    A: Any, *, atol: float | None = None, rtol: float | None = None, hermitian: bool = False
) -> Any:
    """The pseudoinverse (Moore and Penrose) of a matrix ``[..., m, n]``: ``[..., n, m]``.

    Singular values up to max(atol, rtol * greatest) count as 0; rtol is max(m, n) times the
    precision of the dtype unless one of the two is given. The gradient holds where the rank does
    not change.

    >>> import contraflow as cf
    >>> cf.linalg.pinv(cf.tensor([[2.0], [0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    check_matrix("pinv", A=A)
    if hermitian:
        read_square("pinv", A)
        check_symmetric("pinv", A)
    atol, rtol = tolerances(A, atol, rtol)
    return pseudoinverse_op(A, atol=float(atol), rtol=float(rtol))


def tolerances(x: Any, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """Absolute and relative bound, from those that were given."""
    if rtol is None:
        rtol = 0.0 if atol is not None else max(x.shape[-2:]) * float(np.finfo(x.dtype.np).eps)
    return (0.0 if atol is None else atol), rtol


def matrix_rank(
    A: Any, tol: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False
) -> Any:
    """How many singular values exceed max(atol, rtol * greatest); see ``pinv`` for the defaults.

    >>> import contraflow as cf
    >>> cf.linalg.matrix_rank(cf.ones(3, 2))
    tensor(1)
    """
    check_matrix("matrix_rank", A=A)
    if hermitian:
        read_square("matrix_rank", A)
    atol, rtol = tolerances(A, tol if atol is None else atol, rtol)
    s = svdvals(alias(A))
    if not s.shape[-1]:
        return sum_of(gt(s, 0), -1)
    greatest = slice_dims(s, bounds=(*((0, n, 1) for n in s.shape[:-1]), (0, 1, 1)))
    bound = maximum(greatest * _beside(rtol), _beside(atol))
    return sum_of(gt(s, bound), -1)


def _beside(bound: Any) -> Any:
    """A bound, ready to stand beside singular values: a tensor gets a last dimension."""
    return column(bound) if hasattr(bound, "dtype") else float(bound)


# ---- equations ---------------------------------------------------------------------------------


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """X with A X = B (``left=False``: X A = B), for square A; batches broadcast.

    Shapes: A ``[..., n, n]``; B ``[..., n, k]``, or ``[..., n]`` for one right-hand side.

    Raises:
        LinAlgError: if a matrix is singular.
        ShapeError: if A is not square, or B has another number of rows.

    >>> import contraflow as cf
    >>> cf.linalg.solve(cf.tensor([[2.0, 0.0], [0.0, 4.0]]), cf.tensor([1.0, 1.0]))
    tensor([0.5000, 0.2500])
    """
    read_square("solve", A)
    check_tensors("solve", B=B)
    vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))
    if vector:
        x = solve(A, column(B))
        return reshape_to(x, shape=tuple(x.shape[:-1]))
    check_matrix("solve", A=A, B=B)
    if not left:
        return swap_last(solve_op(swap_last(A), swap_last(B)))
    return solve_op(A, B)


def solve_triangular(
    A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    """X with A X = B (``left=False``: X A = B), reading only the triangle of A that ``upper`` says.

    Args:
        unitriangular: take the diagonal of A as ones.

    Raises:
        LinAlgError: if a diagonal holds a 0.

    >>> import contraflow as cf
    >>> a = cf.tensor([[2.0, 9.0], [1.0, 1.0]])
    >>> cf.linalg.solve_triangular(a, cf.tensor([[2.0], [3.0]]), upper=False)
    tensor([[1.],
            [2.]])
    """
    read_square("solve_triangular", A)
    check_matrix("solve_triangular", A=A, B=B)
    inside = int(unitriangular)
    kept = triu(A, inside) if upper else tril(A, -inside)
    if unitriangular:
        kept = kept + identity(A.shape[-1], A.dtype)
    return solve(kept, B, left=left)


def cholesky_solve(input: Any, L: Any, upper: bool = False) -> Any:
    """X with A X = ``input`` where A = L L^T (``upper``: A = L^T L).

    >>> import contraflow as cf
    >>> cf.cholesky_solve(cf.tensor([[8.0]]), cf.tensor([[2.0]]))
    tensor([[2.]])
    """
    check_matrix("cholesky_solve", L=L, input=input)
    lower = swap_last(triu(L)) if upper else tril(L)
    return solve_op(swap_last(lower), solve_op(lower, input))


def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """The X that makes |A X - B| smallest; of several, the one with the smallest norm.

    Returns ``(solution, residuals, rank, singular_values)``. The solution does not depend on
    ``driver``; as in PyTorch it says what else is filled in: the residuals (sums of squares for
    each column of B, if m > n) for all but "gelsy", the default; the singular values for "gelsd"
    and "gelss".

    Shapes: A ``[..., m, n]``, B ``[..., m, k]``, solution ``[..., n, k]``.

    >>> import contraflow as cf
    >>> a, b = cf.tensor([[1.0], [1.0]]), cf.tensor([[1.0], [3.0]])
    >>> cf.linalg.lstsq(a, b).solution
    tensor([[2.]])
    """
    if driver not in (None, "gels", "gelsd", "gelss", "gelsy"):
        raise ArgumentError(lesson(f"lstsq: unknown driver {driver!r}", fix="driver='gelsd'"))
    check_matrix("lstsq", A=A, B=B)
    m, n = A.shape[-2:]
    if B.shape[-2] != m:
        raise ShapeError(
            lesson(
                f"lstsq: A has {m} rows, B has {B.shape[-2]}",
                [("A", A), ("B", B)],
                "B.unsqueeze(-1) for one right-hand side",
            )
        )
    solution = matmul(pinv(A, rtol=rcond), B)
    gaps = matmul(A, solution) - B
    none = slice_dims(reshape_to(alias(A), shape=(A.numel(),)), bounds=((0, 0, 1),))
    residuals = sum_of(gaps * gaps, -2) if m > n and driver not in (None, "gelsy") else none
    singular = svdvals(A) if driver in ("gelsd", "gelss") else none
    rank = matrix_rank(A, rtol=rcond)
    return _LstSq(solution, residuals, rank, singular)


# ---- decompositions ----------------------------------------------------------------------------


def cholesky(input: Any, upper: bool = False) -> Any:
    """The triangular L with L L^T = A, for a symmetric positive definite A (``upper``: L^T).

    Raises:
        LinAlgError: if a matrix is not positive definite.
        ArgumentError: if it is not symmetric.

    >>> import contraflow as cf
    >>> cf.cholesky(cf.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    read_square("cholesky", input)
    check_symmetric("cholesky", input)
    lower = cholesky_op(input)
    return swap_last(lower) if upper else lower


def eigh(A: Any, UPLO: str = "L") -> Any:
    """Eigenvalues, least first, and eigenvectors (columns) of a symmetric matrix.

    The sign of each vector is arbitrary: gradients make sense for results that do not depend on it.

    Raises:
        ArgumentError: if the matrix is not symmetric; ``UPLO`` then has nothing to choose.

    >>> import contraflow as cf
    >>> cf.linalg.eigh(cf.tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    tensor([1., 2.])
    """
    if UPLO not in ("L", "U"):
        raise ArgumentError(lesson(f"eigh: unknown UPLO={UPLO!r}", fix="UPLO='L' or 'U'"))
    read_square("eigh", A)
    check_symmetric("eigh", A)
    return _Eigh(*eigh_op(A))


def eigvalsh(A: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of a symmetric matrix, least first; differentiable also where some are equal.

    >>> import contraflow as cf
    >>> cf.linalg.eigvalsh(cf.eye(2))
    tensor([1., 1.])
    """
    return eigh(A, UPLO).eigenvalues


def qr(A: Any, mode: str = "reduced") -> Any:
    """A = Q R with orthonormal columns in Q and an upper triangular R.

    Args:
        mode: ``"reduced"`` (Q ``[..., m, k]`` with k = min(m, n)), ``"complete"`` (Q square; no
            gradient if m > n) or ``"r"`` (R alone; Q is empty, no gradient).

    >>> import contraflow as cf
    >>> q, r = cf.linalg.qr(cf.tensor([[3.0], [4.0]]))
    >>> abs(r).round(decimals=4)
    tensor([[5.]])
    """
    if mode not in ("reduced", "complete", "r"):
        raise ArgumentError(
            lesson(f"qr: unknown mode {mode!r}", fix="mode='reduced', 'complete' or 'r'")
        )
    check_matrix("qr", A=A)
    m, n = A.shape[-2:]
    if mode == "r":
        r = qr(alias(A)).R
        return _QR(slice_dims(reshape_to(alias(A), shape=(A.numel(),)), bounds=((0, 0, 1),)), r)
    if m > n:
        return _QR(*(qr_full_op(alias(A)) if mode == "complete" else qr_op(A)))
    if m == n:
        return _QR(*qr_op(A))
    rows = tuple((0, size, 1) for size in A.shape[:-1])
    q, r = qr_op(slice_dims(A, bounds=(*rows, (0, m, 1))))
    rest = slice_dims(A, bounds=(*rows, (m, n, 1)))
    return _QR(q, cat([r, matmul(swap_last(q), rest)], -1))


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """A = U diag(S) Vh with the singular values S, greatest first.

    With ``full_matrices`` U and Vh are square; for a matrix that is not, only S then has a
    gradient, because the added columns are arbitrary. Signs of vectors are arbitrary too.

    Shapes: A ``[..., m, n]``; reduced U ``[..., m, k]``, S ``[..., k]``, Vh ``[..., k, n]``.

    >>> import contraflow as cf
    >>> cf.linalg.svd(cf.tensor([[3.0, 0.0], [0.0, -4.0]])).S
    tensor([4., 3.])
    """
    check_matrix("svd", A=A)
    u, s, vh = svd_op(A)
    if full_matrices and A.shape[-1] != A.shape[-2]:
        u, vh = svd_full_op(alias(A))
    return _SVD(u, s, vh)


def svdvals(A: Any, *, driver: str | None = None) -> Any:
    """The singular values, greatest first; differentiable also where some are equal.

    >>> import contraflow as cf
    >>> cf.linalg.svdvals(cf.tensor([[3.0, 0.0], [0.0, -4.0]]))
    tensor([4., 3.])
    """
    check_matrix("svdvals", A=A)
    return svd_op(A)[1]
