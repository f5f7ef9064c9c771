"""Matrices: inverse, systems of equations, determinants and decompositions, one record each.

All work on the last two dimensions; what leads is a batch. Gradients are those of M. Giles, "An
extended collection of matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008), and, for QR, of Walter and Lehmann (2013).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from contraflow.base.errors import LinAlgError, ShapeError, lesson
from contraflow.base.shapes import broadcast
from contraflow.ops.arith import eq, where_op
from contraflow.ops.chains import identity
from contraflow.ops.matmul import matrix_product, swap_last
from contraflow.ops.parts import tril
from contraflow.ops.record import Aval, Sample, op
from contraflow.ops.reduce import reduce_sum
from contraflow.ops.rules import rand
from contraflow.ops.view import reshape_to

__all__: list[str] = []

Array = np.ndarray[Any, Any]


# ---- what the rules share ----------------------------------------------------------------------


def column(x: Any) -> Any:
    """``[..., n]`` as ``[..., n, 1]``."""
    return reshape_to(x, shape=(*x.shape, 1))


def row(x: Any) -> Any:
    """``[..., n]`` as ``[..., 1, n]``."""
    return reshape_to(x, shape=(*x.shape[:-1], 1, x.shape[-1]))


def over_right(x: Any, a: Any) -> Any:
    """x a^-1."""
    return swap_last(solve_op(swap_last(a), swap_last(x)))


def quotient(x: Any, gap: Any) -> Any:
    """x / gap, and 0 where both are 0: equal values matter only where somebody asks for vectors."""
    nothing = eq(x, 0)
    return where_op(nothing, 0.0, x / where_op(nothing, 1.0, gap))


def half(x: Any) -> Any:
    """The lower triangle with half of the diagonal."""
    return (tril(x) + tril(x, -1)) * 0.5


def symmetric_part(x: Any) -> Any:
    """(x + x^T) / 2."""
    return (x + swap_last(x)) * 0.5


def refused(x: Array, works: Callable[[Array], Any], rule: str, fix: str) -> LinAlgError:
    """The error of the first matrix of a batch that LAPACK refuses."""
    rows: list[tuple[str, object]] = [("matrix", f"{x.dtype}{list(x.shape)}")]
    for place in np.ndindex(x.shape[:-2]):
        try:
            works(x[place])
        except np.linalg.LinAlgError:
            if place:
                rows.append(("where", f"[{', '.join(map(str, place))}]"))
            break
    return LinAlgError(lesson(rule, rows, fix))


def _square(x: Aval) -> Aval:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(
            lesson(
                "the last two dimensions must be equal: a square matrix, or a batch of them",
                [("x", x)],
                "x.mT @ x is square",
            )
        )
    return x


def _matrices(rng: np.random.Generator) -> list[Sample]:
    """Well-conditioned matrices, alone and in batches."""
    return [
        Sample(rand(rng, 3, 3) + 3 * np.eye(3)),
        Sample(rand(rng, 2, 1, 2, 2) + 3 * np.eye(2)),
        Sample(rand(rng, 1, 1) + 3),
        Sample(np.zeros((0, 0)), smooth=False),
    ]


def _not_square(rng: np.random.Generator) -> list[Sample]:
    return [Sample(rand(rng, 2, 3), error=ShapeError)]


def _singular(rng: np.random.Generator) -> list[Sample]:
    return [Sample(np.stack([np.eye(2), np.ones((2, 2))]), error=LinAlgError)]


# ---- inverse and solution ----------------------------------------------------------------------

SINGULAR = "the matrix is singular: its rows depend on each other, so it has no inverse"


def _inverse(x: Array) -> Array:
    try:
        return np.linalg.inv(x)
    except np.linalg.LinAlgError:
        if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
            raise
        raise refused(x, np.linalg.inv, SINGULAR, "cf.linalg.pinv(x)") from None


def _grad_inverse(g: Any, y: Any) -> Any:
    turned = swap_last(y)
    return -matrix_product(matrix_product(turned, g), turned)


inverse_op = op(
    "inverse", "x",
    forward=_inverse, shape=_square, grad=_grad_inverse,
    samples=lambda rng: [*_matrices(rng), *_not_square(rng), *_singular(rng)],
)  # fmt: skip


def _solve(a: Array, b: Array) -> Array:
    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
            raise
        fix = "cf.linalg.lstsq(a, b).solution"
        raise refused(a, np.linalg.inv, SINGULAR, fix) from None


def _solve_shape(a: Aval, b: Aval) -> Aval:
    _square(a)
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(
            lesson(
                f"solve: a is {a.shape[-1]} x {a.shape[-1]}, so b needs {a.shape[-1]} rows",
                [("a", a), ("b", b)],
                "b.unsqueeze(-1) for one right-hand side",
            )
        )
    return Aval((*broadcast(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype)


def _grad_solve(g: Any, a: Any, y: Any, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    g_b = solve_op(swap_last(a), g)
    return (-matrix_product(g_b, swap_last(y)) if needs[0] else None), g_b


solve_op = op(
    "solve", "a b",  # both have at least 2 dimensions, what leads broadcasts
    forward=_solve, shape=_solve_shape, promote="arith", grad=_grad_solve,
    samples=lambda rng: [
        Sample(rand(rng, 3, 3) + 3 * np.eye(3), rand(rng, 3, 2)),
        Sample(rand(rng, 2, 1, 2, 2) + 3 * np.eye(2), rand(rng, 3, 2, 1)),
        Sample(rand(rng, 2, 2) + 3 * np.eye(2), rand(rng, 3, 2), error=ShapeError),
        Sample(np.ones((2, 2)), rand(rng, 2, 2), error=LinAlgError),
    ],
)  # fmt: skip


def _pseudoinverse(x: Array, atol: float, rtol: float) -> Array:
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    top = s.max(axis=-1, keepdims=True, initial=0.0)
    kept = s > np.maximum(atol, rtol * top)
    inverted = np.where(kept, 1 / np.where(kept, s, s.dtype.type(1)), s.dtype.type(0))
    inverse: Array = np.matmul(vh.swapaxes(-1, -2), inverted[..., None] * u.swapaxes(-1, -2))
    return inverse


def _grad_pseudoinverse(g: Any, x: Any, y: Any) -> Any:
    # dy = -y dx y + y y^T dx^T (1 - x y) + (1 - y x) dx^T y^T y    (Golub and Pereyra, 1973)
    turned, pulled = swap_last(y), swap_last(g)
    first = matrix_product(matrix_product(turned, g), turned)
    left = matrix_product(pulled, matrix_product(y, turned))
    right = matrix_product(matrix_product(turned, y), pulled)
    outside = left - matrix_product(x, matrix_product(y, left))
    inside = right - matrix_product(matrix_product(right, y), x)
    return outside + inside - first


pseudoinverse_op = op(
    "pseudoinverse", "x",
    forward=_pseudoinverse, grad=_grad_pseudoinverse,
    shape=lambda x, atol, rtol: Aval((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype),
    samples=lambda rng: [
        Sample(rand(rng, 3, 2), atol=0.0, rtol=1e-12),
        Sample(rand(rng, 2, 2, 4), atol=0.0, rtol=1e-12),
        Sample(rand(rng, 3, 3) + 3 * np.eye(3), atol=0.0, rtol=1e-12),
        Sample(np.ones((3, 2)), atol=0.0, rtol=1e-12, smooth=False),
    ],
)  # fmt: skip


# ---- determinants ------------------------------------------------------------------------------


def _scalars(x: Aval) -> Aval:
    return Aval(_square(x).shape[:-2], x.dtype)


def _cofactors(x: Array) -> Array:
    # x = u s v^T: the cofactors are det(u v^T) u s' v^T, s'_i the product of the other values.
    # This holds for singular matrices too, where the inverse does not exist.
    u, s, vh = np.linalg.svd(x)
    n = s.shape[-1]
    others = np.where(np.eye(n, dtype=bool), s.dtype.type(1), s[..., None, :]).prod(axis=-1)
    sign = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    cofactors: Array = np.matmul(u * others[..., None, :], vh) * np.sign(sign)
    return cofactors


def _grad_cofactors(g: Any, x: Any) -> Any:
    # c = det(x) b with b = x^-T, so dc = det(x) (<b, dx> b - b dx^T b)
    b = swap_last(inverse_op(x))
    share = reduce_sum(g * b, dims=(g.ndim - 2, g.ndim - 1), keepdim=True) * b
    return column(column(det_op(x))) * (share - matrix_product(matrix_product(b, swap_last(g)), b))


cofactors_op = op(
    "cofactors", "x", forward=_cofactors, shape=_square, grad=_grad_cofactors, samples=_matrices
)

det_op = op(
    "det", "x",
    forward=np.linalg.det, shape=_scalars,
    grad=lambda g, x: column(column(g)) * cofactors_op(x),
    samples=lambda rng: [*_matrices(rng), *_not_square(rng)],
)  # fmt: skip


def _slogdet(x: Array) -> Any:
    sign, size = np.linalg.slogdet(x)
    return np.asarray(sign), np.asarray(size)


slogdet_op = op(
    "slogdet", "x",  # sign(det x), log|det x|
    forward=_slogdet, shape=lambda x: (_scalars(x), _scalars(x)), outputs=2,
    grad=lambda g, x: column(column(g[1])) * swap_last(inverse_op(x)),
    samples=lambda rng: [*_matrices(rng), *_not_square(rng)],
)  # fmt: skip


# ---- decompositions ----------------------------------------------------------------------------


def _mean_of_halves(x: Array) -> Array:
    mean: Array = (x + x.swapaxes(-1, -2)) * x.dtype.type(0.5)
    return mean


def _cholesky(x: Array) -> Array:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError("not square")
    try:
        return np.linalg.cholesky(_mean_of_halves(x))
    except np.linalg.LinAlgError:
        rule = "cholesky: the matrix is not positive definite"
        fix = "x + 1e-6 * cf.eye(n), or cf.linalg.eigvalsh(x) to see which values are not above 0"
        raise refused(x, np.linalg.cholesky, rule, fix) from None


def _grad_cholesky(g: Any, y: Any) -> Any:
    turned = swap_last(y)
    x = over_right(solve_op(turned, half(matrix_product(turned, g))), y)
    return symmetric_part(x)


def _positive(rng: np.random.Generator) -> list[Sample]:
    def definite(*shape: int) -> Any:
        x = rand(rng, *shape)
        return x @ x.swapaxes(-1, -2) + 2 * np.eye(shape[-1])

    return [Sample(definite(3, 3)), Sample(definite(2, 2, 2)), Sample(definite(1, 1))]


cholesky_op = op(
    "cholesky", "x",  # of the symmetric part of x
    forward=_cholesky, shape=_square, grad=_grad_cholesky,
    samples=lambda rng: [
        *_positive(rng), *_not_square(rng), Sample(np.diag([1.0, -1.0]), error=LinAlgError)
    ],
)  # fmt: skip


def _eigh(x: Array) -> Any:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError("not square")
    try:
        values, vectors = np.linalg.eigh(_mean_of_halves(x))
    except np.linalg.LinAlgError:
        rule = "eigh did not converge: the matrix holds NaN or infinite numbers"
        raise refused(x, np.linalg.eigh, rule, "x.isfinite().all()") from None
    return values, vectors


def _grad_eigh(g: Any, y: Any) -> Any:
    (g_values, g_vectors), (values, vectors) = g, y
    turned = swap_last(vectors)
    unit = identity(values.shape[-1], values.dtype)
    mixed = matrix_product(turned, g_vectors) * (1.0 - unit)
    inner = quotient(mixed, row(values) - column(values)) + unit * row(g_values)
    return symmetric_part(matrix_product(matrix_product(vectors, inner), turned))


eigh_op = op(
    "eigh", "x",  # eigenvalues, least first, and eigenvectors of the symmetric part of x
    forward=_eigh, outputs=2, grad=_grad_eigh,
    shape=lambda x: (Aval(_square(x).shape[:-1], x.dtype), x),
    samples=lambda rng: [*_positive(rng), *_not_square(rng)],
)  # fmt: skip


def _svd(x: Array) -> Any:
    try:
        u, s, vh = np.linalg.svd(x, full_matrices=False)
    except np.linalg.LinAlgError:
        rule = "svd did not converge: the matrix holds NaN or infinite numbers"
        raise refused(x, np.linalg.svd, rule, "x.isfinite().all()") from None
    return u, s, vh


def _skew(x: Any, gaps: Any) -> Any:
    return quotient(x - swap_last(x), gaps)


def _grad_svd(g: Any, y: Any) -> Any:
    (g_u, g_s, g_vh), (u, s, vh) = g, y
    g_v, v, s_row = swap_last(g_vh), swap_last(vh), row(s)
    k, unit = s.shape[-1], identity(s.shape[-1], s.dtype)
    square = s_row * s_row
    gaps = square - swap_last(square)
    inner = _skew(matrix_product(swap_last(u), g_u), gaps) * s_row + unit * row(g_s)
    inner = inner + column(s) * _skew(matrix_product(vh, g_v), gaps)
    grad = matrix_product(matrix_product(u, inner), vh)
    if u.shape[-2] > k:
        outside = g_u - matrix_product(u, matrix_product(swap_last(u), g_u))
        grad = grad + matrix_product(quotient(outside, s_row), vh)
    if v.shape[-2] > k:
        outside = g_v - matrix_product(v, matrix_product(vh, g_v))
        grad = grad + matrix_product(u, swap_last(quotient(outside, s_row)))
    return grad


def _svd_shape(x: Aval) -> tuple[Aval, Aval, Aval]:
    *lead, m, n = x.shape
    k = min(m, n)
    return Aval((*lead, m, k), x.dtype), Aval((*lead, k), x.dtype), Aval((*lead, k, n), x.dtype)


svd_op = op(
    "svd", "x",  # u, s, v^T with min(m, n) singular values, greatest first
    forward=_svd, outputs=3, grad=_grad_svd, shape=_svd_shape,
    samples=lambda rng: [
        Sample(rand(rng, 3, 3)), Sample(rand(rng, 2, 4, 2)), Sample(rand(rng, 2, 3)),
        Sample(rand(rng, 1, 1)),
    ],
)  # fmt: skip


def _svd_full_shape(x: Aval) -> tuple[Aval, Aval]:
    *lead, m, n = x.shape
    return Aval((*lead, m, m), x.dtype), Aval((*lead, n, n), x.dtype)


svd_full_op = op(
    "svd_full", "x",  # all of u and v^T; what stands beside the singular values is arbitrary
    forward=lambda x: np.linalg.svd(x)[::2], outputs=2, shape=_svd_full_shape,
    samples=lambda rng: [Sample(rand(rng, 4, 2)), Sample(rand(rng, 2, 2, 3))],
)  # fmt: skip


def _grad_qr(g: Any, y: Any) -> Any:
    (g_q, g_r), (q, r) = g, y
    mixed = matrix_product(r, swap_last(g_r)) - matrix_product(swap_last(g_q), q)
    lower = tril(mixed, -1)
    whole = tril(mixed) + swap_last(lower)
    return over_right(g_q + matrix_product(q, whole), swap_last(r))


def _qr_shape(x: Aval) -> tuple[Aval, Aval]:
    *lead, m, n = x.shape
    if m < n:
        raise ShapeError(lesson("qr: at least as many rows as columns", [("x", x)], "x.mT"))
    return x, Aval((*lead, n, n), x.dtype)


qr_op = op(
    "qr", "x",  # of a matrix with at least as many rows as columns
    forward=lambda x: tuple(np.linalg.qr(x)), outputs=2, grad=_grad_qr, shape=_qr_shape,
    samples=lambda rng: [
        Sample(rand(rng, 3, 3)), Sample(rand(rng, 4, 2)), Sample(rand(rng, 2, 3, 2))
    ],
)  # fmt: skip


def _qr_full_shape(x: Aval) -> tuple[Aval, Aval]:
    return Aval((*x.shape[:-1], x.shape[-2]), x.dtype), x


qr_full_op = op(
    "qr_full", "x",  # with all of q; its last columns are arbitrary
    forward=lambda x: tuple(np.linalg.qr(x, mode="complete")), outputs=2, shape=_qr_full_shape,
    samples=lambda rng: [Sample(rand(rng, 4, 2)), Sample(rand(rng, 2, 2, 3))],
)  # fmt: skip
