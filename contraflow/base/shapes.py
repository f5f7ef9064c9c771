"""Shapes and dimensions: broadcasting, reading ``dim`` and sizes, with errors that teach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from operator import index
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, IndexOutOfRange, ShapeError, lesson

__all__ = ["Shape", "broadcast", "read_dim", "read_dims", "read_pair", "read_shape", "resolve_size"]

Shape = tuple[int, ...]


def broadcast(*shapes: Shape) -> Shape:
    """The shape that all of them stretch to (sizes match from the right, 1 stretches)."""
    rank = max(map(len, shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        offset = rank - len(shape)
        for position, size in enumerate(shape, offset):
            if size == 1:
                continue
            if result[position] not in (1, size):
                raise ShapeError(
                    lesson(
                        f"shapes do not broadcast: sizes {result[position]} and {size} meet "
                        f"in dimension {position - rank}",
                        [(f"operand {i}", list(s)) for i, s in enumerate(shapes)],
                        "make the sizes equal, or 1 where one side should be repeated "
                        "(x.unsqueeze(dim), x.reshape(...))",
                    )
                )
            result[position] = size
    return tuple(result)


def read_dim(dim: Any, ndim: int, name: str = "dim") -> int:
    """A dimension as 0..ndim-1; negative ones count from the end (a 0-d tensor has 0 and -1)."""
    try:
        value = index(dim)
    except TypeError:
        raise DTypeError(
            lesson(f"{name} must be an integer, not {type(dim).__name__}", fix=f"{name}=-1")
        ) from None
    span = max(ndim, 1)
    if not -span <= value < span:
        raise IndexOutOfRange(
            lesson(
                f"{name}={value} does not exist in a tensor of {ndim} dimensions",
                [("allowed", f"{-span}..{span - 1}")],
                f"{name}={max(-span, min(span - 1, value))}",
            )
        )
    return value % span


def read_dims(dim: Any, ndim: int, name: str = "dim") -> Shape:
    """``None`` (all), one dimension or several, as a sorted tuple without repeats."""
    if dim is None:
        return tuple(range(ndim))
    dims = [dim] if not isinstance(dim, Iterable) else list(dim)
    if not dims:
        return tuple(range(ndim))
    read = [read_dim(d, ndim, name) for d in dims]
    if len(set(read)) != len(read):
        raise ArgumentError(lesson(f"{name}={tuple(dims)} names a dimension twice"))
    return tuple(sorted(read)) if ndim else ()


def read_shape(sizes: Sequence[Any]) -> Shape:
    """Read ``f(2, 3)``, ``f((2, 3))`` or ``f([2, 3])`` as ``(2, 3)``; sizes must be >= 0."""
    items = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], Iterable) else sizes
    try:
        shape = tuple(index(size) for size in items)
    except TypeError:
        raise DTypeError(
            lesson(f"sizes must be integers, received {list(items)}", fix="cf.zeros(2, 3)")
        ) from None
    if any(size < 0 for size in shape):
        raise ShapeError(lesson(f"sizes must not be negative, received {list(shape)}"))
    return shape


def resolve_size(shape: Sequence[int], numel: int, what: str = "reshape") -> Shape:
    """Fill the single -1 of a target shape from the number of elements, and check it."""
    target = [index(size) for size in shape]
    unknown = [i for i, size in enumerate(target) if size == -1]
    if len(unknown) > 1 or any(size < -1 for size in target):
        raise ShapeError(lesson(f"{what}: only one size may be -1, received {target}"))
    known = prod(size for size in target if size != -1)
    if unknown:
        if known == 0 or numel % known:
            raise ShapeError(
                lesson(
                    f"{what}: {numel} elements cannot be divided into {target}",
                    fix="sizes whose product divides the number of elements",
                )
            )
        target[unknown[0]] = numel // known
    elif known != numel:
        raise ShapeError(
            lesson(
                f"{what}: {numel} elements cannot become {target}, which holds {known}",
                fix="use -1 for one size to have it computed",
            )
        )
    return tuple(target)


def read_pair(value: Any, n: int, name: str) -> Shape:
    """An integer, or ``n`` of them, as a tuple of ``n`` (kernel sizes, strides, ...)."""
    items = (value,) * n if not isinstance(value, Iterable) else tuple(value)
    if len(items) == 1 and n > 1:
        items = items * n
    if len(items) != n:
        raise ArgumentError(
            lesson(
                f"{name} takes one integer or {n} of them, received {value!r}",
                fix=f"{name}=3 or {name}={(3,) * n}",
            )
        )
    try:
        return tuple(index(item) for item in items)
    except TypeError:
        raise DTypeError(lesson(f"{name} takes integers, received {value!r}")) from None
