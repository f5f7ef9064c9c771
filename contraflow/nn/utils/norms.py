"""The mathematics of weight and spectral normalisation, for both of their spellings."""

from __future__ import annotations

from math import prod
from typing import Any

from contraflow.base.errors import ArgumentError, lesson
from contraflow.base.shapes import read_dim
from contraflow.nn.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from contraflow.nn.vectors import normalize
from contraflow.ops.arith import abs
from contraflow.ops.matmul import matmul
from contraflow.ops.reduce import reduce_sum
from contraflow.ops.statistics import norm
from contraflow.ops.view import permute_dims, reshape_to
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.rng import randn
from contraflow.tensor.writing import write

__all__ = [
    "as_matrix", "dim_of", "greatest", "length", "power_steps", "read_power", "scaled", "start",
    "unit",
]  # fmt: skip

ADJOINTS = (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)


def length(v: Any, dim: int | None) -> Any:
    """The Euclidean norm over all dimensions but one (None or -1: over all)."""
    if dim is None or dim == -1:
        return norm(v)
    kept = read_dim(dim, v.ndim)
    others = [d for d in range(v.ndim) if d != kept]
    return norm(v, 2, others, keepdim=True) if others else abs(v)


def scaled(g: Any, v: Any, dim: int | None) -> Any:
    """g v / |v|: a vector of length g along v."""
    return v * (g / length(v, dim))


def dim_of(module: Any, dim: int | None) -> int:
    """The dimension of a layer's weight that counts its outputs."""
    if dim is not None:
        return dim
    return 1 if isinstance(module, ADJOINTS) else 0


def read_power(what: str, weight: Any, n_power_iterations: int, dim: int) -> int:
    """Check what spectral normalisation asks for; the dimension as 0..ndim-1."""
    if n_power_iterations < 1:
        raise ArgumentError(
            lesson(f"{what}: n_power_iterations must be at least 1, received {n_power_iterations}",
                   fix="n_power_iterations=1")
        )  # fmt: skip
    return read_dim(dim, weight.ndim)


def as_matrix(weight: Any, dim: int) -> Any:
    """The weight with one row for each index of ``dim``."""
    order = (dim, *(d for d in range(weight.ndim) if d != dim))
    rest = prod(weight.shape[d] for d in order[1:])
    return reshape_to(permute_dims(weight, dims=order), shape=(weight.shape[dim], rest))


def unit(x: Any, eps: float) -> Any:
    """A vector of length 1 in the direction of x."""
    return normalize(x, 2.0, 0, eps)


def start(matrix: Any, eps: float) -> tuple[Any, Any]:
    """Random unit vectors for the left and the right of a matrix."""
    rows, columns = matrix.shape
    with no_grad():
        u, v = (unit(randn(size, dtype=matrix.dtype), eps) for size in (rows, columns))
    return u, v


def power_steps(matrix: Any, u: Any, v: Any, times: int, eps: float, left_first: bool) -> None:
    """Turn u and v, in place, towards the singular vectors of the greatest singular value."""
    with no_grad():
        for _ in range(times):
            if left_first:
                write(u, unit(matmul(matrix, v), eps))
            write(v, unit(matmul(u, matrix), eps))
            if not left_first:
                write(u, unit(matmul(matrix, v), eps))


def greatest(matrix: Any, u: Any, v: Any) -> Any:
    """u W v: the greatest singular value, once u and v are its singular vectors."""
    # copies, because the next power step will write to u and v, which backward still needs
    return reduce_sum(u.clone() * matmul(matrix, v.clone()), dims=(0,), keepdim=False)
