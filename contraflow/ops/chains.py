"""Products of several matrices: chains in the cheapest order, and powers."""

from __future__ import annotations

from operator import index
from typing import Any

from contraflow.base.dtypes import int64
from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.ops.arith import eq
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_tensors
from contraflow.ops.creation import iota
from contraflow.ops.matmul import matmul
from contraflow.ops.products import check_rank
from contraflow.ops.view import expand, reshape_to

__all__ = ["chain_matmul", "matrix_power"]
METHODS = ("matrix_power",)


def multi_dot(tensors: Any) -> Any:
    """The product of several matrices in the order of multiplications that is cheapest.

    The first and the last may be vectors. Source: Cormen et al., "Introduction to Algorithms",
    matrix-chain multiplication.

    >>> import contraflow as cf
    >>> from contraflow.ops.chains import multi_dot
    >>> multi_dot([cf.ones(2, 3), cf.ones(3, 4), cf.ones(4, 1)]).flatten().tolist()
    [12.0, 12.0]
    """
    chain = list(tensors)
    if len(chain) < 2:
        raise ArgumentError(lesson(f"multi_dot: takes at least two tensors, received {len(chain)}"))
    check_tensors("multi_dot", **{f"tensors[{i}]": t for i, t in enumerate(chain)})
    first, last = chain[0].ndim == 1, chain[-1].ndim == 1
    if first:
        chain[0] = reshape_to(chain[0], shape=(1, *chain[0].shape))
    if last:
        chain[-1] = reshape_to(chain[-1], shape=(*chain[-1].shape, 1))
    check_rank(
        "multi_dot",
        "matrices; only the ends may be vectors",
        **{f"tensors[{i}]": (t, 2) for i, t in enumerate(chain)},
    )
    product = chained(chain, cheapest(chain), 0, len(chain) - 1)
    shape = tuple(product.shape)
    shape = shape[1:] if first else shape
    return reshape_to(product, shape=shape[:-1] if last else shape)


def cheapest(chain: list[Any]) -> dict[tuple[int, int], int]:
    """Where to split each run i..j of the chain, by dynamic programming."""
    sizes = [chain[0].shape[0], *(t.shape[1] for t in chain)]
    n = len(chain)
    cost = {(i, i): 0 for i in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], split[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return split


def chained(chain: list[Any], split: dict[tuple[int, int], int], i: int, j: int) -> Any:
    """The product of the matrices i..j."""
    if i == j:
        return chain[i]
    k = split[i, j]
    return matmul(chained(chain, split, i, k), chained(chain, split, k + 1, j))


def chain_matmul(*matrices: Any) -> Any:
    """The product of several matrices, cheapest order first; see ``linalg.multi_dot``.

    >>> import contraflow as cf
    >>> cf.chain_matmul(cf.ones(2, 3), cf.ones(3, 4), cf.ones(4, 2)).tolist()
    [[12.0, 12.0], [12.0, 12.0]]
    """
    chain = (
        list(matrices[0])
        if len(matrices) == 1 and isinstance(matrices[0], list | tuple)
        else list(matrices)
    )
    return chain[0] if len(chain) == 1 else multi_dot(chain)


def check_square(what: str, x: Any, dtype: bool = True) -> None:
    """The last two dimensions must be square (and the dtype floating)."""
    check_tensors(what, input=x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(
            lesson(
                f"{what}: the last two dimensions must be equal: a square matrix, or a batch "
                "of them",
                [("input", x)],
                "x.mT @ x is square",
            )
        )
    if dtype and not x.dtype.is_floating_point:
        raise DTypeError(
            lesson(
                f"{what}: the matrix must be floating point, not {x.dtype.name}",
                [("input", x)],
                "x.float()",
            )
        )


def matrix_power(input: Any, n: int) -> Any:
    """The matrix times itself, n times (n = 0 gives the identity); batches in front.

    >>> import contraflow as cf
    >>> cf.matrix_power(cf.tensor([[1.0, 1.0], [0.0, 1.0]]), 5)
    tensor([[1., 5.],
            [0., 1.]])
    """
    check_square("matrix_power", input, dtype=False)
    power = index(n)
    if power < 0:
        raise ArgumentError(
            lesson(
                f"matrix_power: n must not be negative here, received {n}",
                fix=f"cf.linalg.matrix_power(x, {n})",
            )
        )
    if power == 0:
        return identity_like(input)
    result, square = None, input
    while True:
        if power & 1:
            result = square if result is None else matmul(result, square)
        power >>= 1
        if not power:
            return result
        square = matmul(square, square)


def identity_like(x: Any) -> Any:
    """The identity matrix of the size and dtype of x, repeated over the leading dimensions."""
    n = x.shape[-1]
    return expand(identity(n, x.dtype), shape=(*x.shape[:-2], n, n))


def identity(n: int, dtype: Any) -> Any:
    """The identity matrix."""
    row = iota(size=n, start=0, step=1, dtype=int64)
    return convert(eq(reshape_to(row, shape=(n, 1)), row), dtype=dtype)
