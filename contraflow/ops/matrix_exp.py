"""The exponential of a matrix, whose gradient is an exponential again.

Source: Golub and Van Loan, "Matrix computations", scaling and squaring (algorithm 11.3.1); Mathias,
"A chain rule for matrix functions" (1996), for the gradient as a block of a larger exponential.
"""

from __future__ import annotations

from math import frexp
from typing import Any

import numpy as np

from contraflow.ops.creation import full
from contraflow.ops.decompose import read_square
from contraflow.ops.join import cat
from contraflow.ops.linalg import _matrices, _not_square, _square
from contraflow.ops.matmul import swap_last
from contraflow.ops.record import Op, op

__all__ = ["matrix_exp"]
METHODS = (*__all__,)

Array = np.ndarray[Any, Any]
DEGREE = 8  # of numerator and denominator: exact in float64 for matrices of norm 1/2


def _matrix_exp(x: Array) -> Array:
    if not x.size:
        return x.copy()
    a = x.astype(np.float64)
    norm = np.abs(a).sum(-1).max()
    if not np.isfinite(norm):
        return np.full_like(x, np.nan)
    squarings = max(0, frexp(norm)[1] + 1)  # now the norm is below 1/2
    a = np.ldexp(a, -squarings)
    power = np.broadcast_to(np.eye(a.shape[-1]), a.shape)
    above, below, weight = power, power, 1.0
    for k in range(1, DEGREE + 1):  # the Padé approximant of e^a
        weight *= (DEGREE - k + 1) / (k * (2 * DEGREE - k + 1))
        power = a @ power
        above = above + weight * power
        below = below + (-1) ** k * weight * power
    y = np.linalg.solve(below, above)
    for _ in range(squarings):
        y = y @ y
    return y.astype(x.dtype)


def _grad(g: Any, x: Any) -> Any:
    # exp of [[x^T, g], [0, x^T]] holds the derivative of exp at x^T in direction g, top right
    n, transposed = x.shape[-1], swap_last(x)
    nothing = full(shape=tuple(x.shape), value=0, dtype=x.dtype)
    rows = cat([transposed, g], -1), cat([nothing, transposed], -1)
    block = matrix_exp_op(cat(rows, -2))
    return block.narrow(-2, 0, n).narrow(-1, n, n)


matrix_exp_op: Op = op(
    "matrix_exp", "x",
    forward=_matrix_exp, shape=_square, grad=_grad,
    samples=lambda rng: [*_matrices(rng), *_not_square(rng)],
)  # fmt: skip


def matrix_exp(A: Any) -> Any:
    """e^A = I + A + A^2 / 2 + A^3 / 6 + ..., of a square matrix or of each of a batch.

    Raises:
        ShapeError: if a matrix is not square. DTypeError: if it is not float32 or float64.

    >>> import contraflow as cf
    >>> cf.matrix_exp(cf.tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor([[1., 1.],
            [0., 1.]])
    """
    read_square("matrix_exp", A)
    return matrix_exp_op(A)
