"""Distances between vectors, covariances, and areas under curves: compositions of other ops."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import read_dim
from contraflow.ops.blend import clamp
from contraflow.ops.checks import check_floating, check_tensors
from contraflow.ops.matmul import matmul
from contraflow.ops.parts import diagonal, narrow
from contraflow.ops.reduce import mean, sum
from contraflow.ops.scan import cumsum
from contraflow.ops.shape import reshape, transpose, unsqueeze
from contraflow.ops.statistics import norm

__all__ = ["cdist", "corrcoef", "cov", "cumulative_trapezoid", "dist", "trapezoid", "trapz"]
METHODS = ("corrcoef", "cov", "dist")


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str | None = None) -> Any:
    """The p-norm of the difference of every row of x1 and every row of x2.

    Shapes: [..., P, D] and [..., R, D] give [..., P, R].

    >>> import contraflow as cf
    >>> cf.cdist(cf.tensor([[0.0, 0.0]]), cf.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])

    Raises:
        ShapeError: if the rows have different lengths.
        ArgumentError: if p is negative.
    """
    check_floating("cdist", x1=x1, x2=x2)
    rows = [("x1", x1), ("x2", x2)]
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        rule = "cdist takes two matrices (or batches of them) whose rows have the same length"
        raise ShapeError(lesson(rule, rows, "x1 is [P, D], x2 is [R, D]"))
    if not p >= 0:
        raise ArgumentError(lesson(f"cdist: p must not be negative, received {p}", fix="p=2.0"))
    return norm(unsqueeze(x1, -2) - unsqueeze(x2, -3), p, -1)


def dist(input: Any, other: Any, p: float = 2.0) -> Any:
    """The p-norm of input - other, as if they were vectors.

    >>> import contraflow as cf
    >>> cf.dist(cf.tensor([0.0, 3.0]), cf.tensor([4.0, 0.0]))
    tensor(5.)
    """
    check_floating("dist", input=input, other=other)
    return norm(reshape(input - other, -1), p, 0)


def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariance of variables: rows are variables, columns observations, [D, N] gives [D, D].

    cov(x, y) = sum w (x - mean x) (y - mean y) / freedom, with w = fweights * aweights,
    sum w = W and freedom = W - correction * (sum w aweights) / W.

    Args:
        correction: 1 for the unbiased estimate, 0 for the mean.
        fweights: how often each observation occurs.
        aweights: how much each observation counts.

    Raises:
        ShapeError: for more than two dimensions, or weights of another length.

    >>> import contraflow as cf
    >>> cf.cov(cf.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    check_tensors("cov", input=input)
    if input.ndim > 2:
        rule = "cov takes a matrix: rows are variables, columns observations"
        raise ShapeError(lesson(rule, [("input", input)], "x.flatten(1)"))
    x = input if input.dtype.is_floating_point else input * 1.0
    x = x if x.ndim == 2 else reshape(x, 1, -1)
    given = [w for w in (fweights, aweights) if w is not None]
    for w in given:
        if tuple(w.shape) != (x.shape[1],):
            rule = "cov takes one weight for each observation"
            raise ShapeError(lesson(rule, [("input", input), ("weights", w)]))
    if given:
        w = given[0] if len(given) == 1 else given[0] * given[1]
        total = sum(w)
        freedom = total - correction * (1 if aweights is None else sum(w * aweights) / total)
        centred = x - sum(x * w, 1, True) / total
        found = matmul(centred * w, transpose(centred, 0, 1)) / clamp(freedom, min=0)
    else:
        centred = x - mean(x, 1, True)
        found = matmul(centred, transpose(centred, 0, 1)) / float(max(x.shape[1] - correction, 0))
    return found if input.ndim == 2 else reshape(found, ())


def corrcoef(input: Any) -> Any:
    """Pearson's correlation of variables: rows are variables, columns observations.

    >>> import contraflow as cf
    >>> cf.corrcoef(cf.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])

    Raises:
        ShapeError: for more than two dimensions.
    """
    found = cov(input)
    if found.ndim == 0:
        return found / found
    spread = diagonal(found) ** 0.5
    return clamp(found / unsqueeze(spread, 1) / spread, -1, 1)


def _areas(name: str, y: Any, x: Any, dx: float, dim: int) -> tuple[Any, int]:
    """The areas between neighbours along ``dim``."""
    check_tensors(name, y=y)
    axis = read_dim(dim, y.ndim)
    n = max(y.shape[axis] - 1, 0)
    heights = (narrow(y, axis, 1, n) + narrow(y, axis, 0, n)) * 0.5 if y.shape[axis] else y
    if x is None:
        return heights * dx, axis
    if x.ndim == 1:
        if x.shape[0] != y.shape[axis]:
            rule = f"{name} takes one place x for each value of y along dimension {axis}"
            raise ShapeError(lesson(rule, [("y", y), ("x", x)]))
        x = reshape(x, -1, *(1,) * (y.ndim - axis - 1))
    along = axis - y.ndim
    steps = narrow(x, along, 1, x.shape[along] - 1) - narrow(x, along, 0, x.shape[along] - 1)
    return heights * steps, axis


def trapezoid(y: Any, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Any:
    """The area under y by the trapezoidal rule, at the places x, or ``dx`` apart.

    >>> import contraflow as cf
    >>> cf.trapezoid(cf.tensor([0.0, 1.0, 4.0]))
    tensor(3.)

    Raises:
        ShapeError: if x and y do not fit.
    """
    areas, axis = _areas("trapezoid", y, x, dx, dim)
    return sum(areas, axis)


def cumulative_trapezoid(y: Any, x: Any = None, *, dx: float = 1.0, dim: int = -1) -> Any:
    """The areas under y up to each place but the first, by the trapezoidal rule.

    >>> import contraflow as cf
    >>> cf.cumulative_trapezoid(cf.tensor([0.0, 1.0, 4.0]))
    tensor([0.5000, 3.0000])

    Raises:
        ShapeError: if x and y do not fit.
    """
    areas, axis = _areas("cumulative_trapezoid", y, x, dx, dim)
    return cumsum(areas, axis)


trapz = trapezoid
