"""Orthogonal weights, as maps from matrices without any restriction."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import ShapeError, lesson
from contraflow.nn.checks import check_choice
from contraflow.nn.module import Module
from contraflow.nn.utils.computed import held, rule_of
from contraflow.nn.utils.parametrize import register_parametrization
from contraflow.ops.decompose import check_matrix, qr, solve, solve_triangular
from contraflow.ops.join import cat
from contraflow.ops.matmul import matmul, swap_last
from contraflow.ops.matrix_exp import matrix_exp
from contraflow.ops.parts import diag_embed, diagonal, tril, triu
from contraflow.ops.view import expand
from contraflow.tensor.create import constant, eye, zeros
from contraflow.tensor.rng import randn

__all__ = ["orthogonal"]


def skew(x: Any) -> Any:
    """The skew-symmetric matrix [..., n, n] with the lower triangle of x [..., n, k]."""
    n, k = x.shape[-2:]
    lower = tril(x)
    if n != k:
        lower = cat([lower, zeros(*x.shape[:-1], n - k, dtype=x.dtype)], -1)
    return lower - swap_last(lower)


def exponential(x: Any) -> Any:
    """e^A of a skew-symmetric A is orthogonal, with determinant 1."""
    return matrix_exp(skew(x))[..., : x.shape[-1]]


def cayley(x: Any) -> Any:
    """(I - A/2)^-1 (I + A/2) of a skew-symmetric A is orthogonal, without the eigenvalue -1."""
    a = skew(x) / 2
    one = eye(a.shape[-1], dtype=x.dtype)
    return solve(one - a, one + a)[..., : x.shape[-1]]


def householder(x: Any) -> Any:
    """The first columns of H1 ... Hk, reflections at the columns v of the lower triangle of x.

    In the compact form I - V T V^T with T^-1 = the upper triangle of V^T V, its diagonal halved
    (Puglisi, 1992). The signs on the diagonal of x are those of the columns.
    """
    n, k = x.shape[-2:]
    one = eye(n, k, dtype=x.dtype)
    v = tril(x, -1) + one
    squares = matmul(swap_last(v), v)
    inverse = triu(squares, 1) + diag_embed(diagonal(squares, 0, -2, -1)) / 2
    q = one - matmul(v, solve_triangular(inverse, swap_last(v[..., :k, :]), upper=True))
    return q * diagonal(x, 0, -2, -1).sign().unsqueeze(-2)


MAPS = {"matrix_exp": exponential, "cayley": cayley, "householder": householder}


def orthonormal(q: Any) -> Any:
    """The Q of a QR decomposition, with the signs that leave orthonormal columns as they are."""
    found, r = qr(q)
    return found * diagonal(r, 0, -2, -1).sign().unsqueeze(-2)


def completed(q: Any) -> Any:
    """An orthogonal matrix [..., n, n] that begins with the columns of q, made orthonormal."""
    n, k = q.shape[-2:]
    return orthonormal(q if n == k else cat([q, randn(*q.shape[:-1], n - k, dtype=q.dtype)], -1))


def reflections(q: Any) -> Any:
    """An x with householder(x) = q: LAPACK's reflections below the diagonal, signs on it."""
    raw, scale = np.linalg.qr(q.detach().numpy(), mode="raw")
    x = raw.swapaxes(-1, -2).copy()
    place = np.arange(x.shape[-1])
    # a column that needed no reflection (scale 0) is reflected here, so its sign turns
    x[..., place, place] = np.sign(x[..., place, place]) * np.where(scale == 0, -1, 1)
    return constant(x)


class _Orthogonal(Module):
    """An orthogonal matrix from any matrix; wide ones are the transposes of tall ones."""

    base: Any

    def __init__(self, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        self.orthogonal_map, self.use_trivialization = orthogonal_map, use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)  # what x = -I stands for: Q = base f(x)

    def forward(self, x: Any) -> Any:
        wide = x.shape[-2] < x.shape[-1]
        q = MAPS[self.orthogonal_map](swap_last(x) if wide else x)
        if self.use_trivialization:
            q = matmul(self.base, q)
        return swap_last(q) if wide else q

    def right_inverse(self, value: Any) -> Any:
        """An x for a matrix: with a base, this takes the matrix and x is -I, where f(x) = I."""
        wide = value.shape[-2] < value.shape[-1]
        q = swap_last(value) if wide else value
        if self.use_trivialization:
            self.base = completed(q)
            x = expand(-eye(*q.shape[-2:], dtype=q.dtype), shape=tuple(q.shape))
        elif self.orthogonal_map == "householder":
            x = reflections(q)
        else:
            raise NotImplementedError(f"{self.orthogonal_map} without a base is not inverted")
        return swap_last(x) if wide else x


def orthogonal(
    module: Any, name: str = "weight", orthogonal_map: str | None = None, *,
    use_trivialization: bool = True,
) -> Any:  # fmt: skip
    """Keep a weight orthogonal while it is learned: its rows (or columns, if fewer) orthonormal.

    Source: Lezcano-Casado and Martinez-Rubio, "Cheap orthogonal constraints" (2019).

    Args:
        orthogonal_map: ``"matrix_exp"``, ``"cayley"`` or ``"householder"``; None takes the first
            for square weights and the last for others.
        use_trivialization: start from the present weight, made orthogonal, at x = -I.

    >>> import contraflow as cf
    >>> layer = cf.nn.utils.parametrizations.orthogonal(cf.nn.Linear(5, 3))
    >>> cf.allclose(layer.weight @ layer.weight.T, cf.eye(3), atol=1e-5)
    True

    Raises:
        ArgumentError: for another map, or if the module has no such parameter.
        ShapeError: if the parameter is no matrix.
    """
    weight = getattr(module, name) if rule_of(module, name) else held("orthogonal", module, name)
    if weight.ndim < 2:
        raise ShapeError(
            lesson("orthogonal takes matrices, or batches of them", [(name, weight.aval)],
                   "parametrizations.weight_norm for a vector")
        )  # fmt: skip
    check_matrix("orthogonal", **{name: weight})
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square else "householder"
    check_choice("orthogonal", "orthogonal_map", orthogonal_map, tuple(MAPS))
    made = _Orthogonal(orthogonal_map, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)
