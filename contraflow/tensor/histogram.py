"""Histograms with their edges, which depend on the values."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, ShapeError, lesson
from contraflow.ops.checks import check_tensors
from contraflow.ops.results import named
from contraflow.tensor.arrays import look
from contraflow.tensor.tensor import Tensor, make

__all__ = ["histogram"]
METHODS = ("histogram",)

_result = named("histogram", "hist bin_edges")


def histogram(
    input: Any,
    bins: Any,
    *,
    range: tuple[float, float] | None = None,
    weight: Any = None,
    density: bool = False,
) -> Any:
    """How many elements lie between neighbouring edges; the last interval includes its end.

    Args:
        bins: the number of intervals of one width, or the edges as a tensor.
        range: where the intervals begin and end; the smallest and the largest element otherwise.
        weight: how much each element counts.
        density: make the area of the whole 1.

    >>> import contraflow as cf
    >>> counts, edges = cf.histogram(cf.tensor([1.0, 2.0, 1.0]), bins=4, range=(0.0, 4.0))
    >>> counts, edges
    (tensor([0., 2., 1., 0.]), tensor([0., 1., 2., 3., 4.]))

    Raises:
        DTypeError: if the input is not floating point.
        ShapeError: if the weights do not have the shape of the input.
        ArgumentError: if there are no intervals.
        CaptureError: while a step is captured: the edges are not known yet.
    """
    check_tensors("histogram", input=input)
    if not input.dtype.is_floating_point:
        rule = "histogram counts floating-point numbers"
        raise DTypeError(lesson(rule, [("input", input)], "x.float(), or cf.bincount(x)"))
    if weight is not None and weight.shape != input.shape:
        rows = [("input", input), ("weight", weight)]
        raise ShapeError(lesson("histogram takes one weight for each element", rows))
    x = look(input, "histogram()").reshape(-1)
    edges = look(bins, "histogram()") if isinstance(bins, Tensor) else int(bins)
    counted = None if weight is None else look(weight, "histogram()").reshape(-1)
    if range is None and not len(x):
        range = (0.0, 1.0)
    try:
        hist, edges = np.histogram(x, edges, range, weights=counted, density=density)
    except ValueError as error:
        rows = [("bins", bins), ("range", range), ("reason", str(error))]
        raise ArgumentError(lesson("histogram: these are no intervals", rows, "bins=10")) from None
    return _result(make(hist.astype(x.dtype)), make(edges.astype(x.dtype)))
