"""The most frequent value."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import IndexOutOfRange, lesson
from contraflow.base.shapes import read_dim
from contraflow.ops.checks import check_tensors
from contraflow.ops.index_records import gather_op
from contraflow.ops.record import Aval, Sample, op
from contraflow.ops.results import named
from contraflow.ops.view import reshape_to

__all__ = ["mode"]
METHODS = ("mode",)

Array = np.ndarray[Any, Any]
_Mode = named("mode")


def _mode(x: Array, dim: int) -> Array:
    # Sorted, equal values lie in runs: the first of the longest ends at the last of its places.
    order = np.argsort(x, axis=dim, kind="stable")
    runs = np.moveaxis(np.take_along_axis(x, order, dim), dim, -1)
    place = np.arange(runs.shape[-1])
    fresh = np.ones(runs.shape, bool)
    fresh[..., 1:] = runs[..., 1:] != runs[..., :-1]
    length = place - np.maximum.accumulate(np.where(fresh, place, 0), axis=-1)
    end = np.moveaxis(length.argmax(axis=-1)[..., None], -1, dim)
    return np.take_along_axis(order, end, dim)


mode_index = op(
    "mode_index", "x",  # where the most frequent value stands last; of several the least value
    forward=_mode, shape=lambda x, dim: Aval((*x.shape[:dim], 1, *x.shape[dim + 1 :]), int64),
    samples=lambda rng: [
        Sample(np.array([[1.0, 2.0, 2.0], [3.0, 1.0, 2.0]]), dim=1),
        Sample(np.array([2, 1, 2, 1, 3]), dim=0),
        Sample(np.zeros((0, 2)), dim=1),
    ],
)  # fmt: skip


def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """``(values, indices)``: the most frequent value along ``dim``, the least of several, and the
    last place where it stands.

    >>> import contraflow as cf
    >>> cf.mode(cf.tensor([2, 1, 2, 1, 3])).values
    tensor(1)
    """
    check_tensors("mode", input=input)
    where = read_dim(dim, input.ndim)
    if input.ndim and not input.shape[where]:
        rule = f"mode: there is no value among none (dim={dim} has size 0)"
        raise IndexOutOfRange(lesson(rule, [("input", input)], "check x.numel() > 0 first"))
    x = input if input.ndim else reshape_to(input, shape=(1,))
    index = mode_index(x, dim=where)
    values = gather_op(x, index, dim=where)
    shape = [n for d, n in enumerate(index.shape) if d != where]
    if not input.ndim or not keepdim:
        shape = [] if not input.ndim else shape
        values, index = (reshape_to(t, shape=tuple(shape)) for t in (values, index))
    return _Mode(values, index)
