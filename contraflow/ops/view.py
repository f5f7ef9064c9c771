"""Ops that show the same memory in another shape, and the one that writes through them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import Shape, broadcast
from contraflow.ops.record import OPS, Aval, Op, Sample, op
from contraflow.ops.rules import rand, same, unary

__all__: list[str] = []

Array = np.ndarray[Any, Any]

alias = op("alias", "x", forward=lambda x: x, shape=same, view=True, samples=unary())
# (no gradient: this is `detach`)


def _reshape_shape(x: Aval, shape: Shape) -> Aval:
    if prod(shape) != prod(x.shape):
        raise ShapeError(
            lesson(
                f"reshape: {prod(x.shape)} elements cannot become {list(shape)}, "
                f"which holds {prod(shape)}",
                [("x", x)],
                "use -1 for one size to have it computed",
            )
        )
    return Aval(shape, x.dtype)


reshape_to: Op = op(
    "reshape", "x",
    forward=lambda x, shape: x.reshape(shape),
    shape=_reshape_shape,
    grad=lambda g, x_aval: reshape_to(g, shape=x_aval.shape),
    view=True,
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), shape=(2, 6)),
        Sample(rand(rng, 4), shape=(2, 1, 2)),
        Sample(rand(rng), shape=(1, 1)),
        Sample(np.zeros((0, 3)), shape=(3, 0)),
        Sample(rand(rng, 3, 4), shape=(5, 2), error=ShapeError),
    ],
)  # fmt: skip


def _inverse(dims: Shape) -> Shape:
    return tuple(int(i) for i in np.argsort(dims))


permute_dims: Op = op(
    "permute", "x",
    forward=lambda x, dims: x.transpose(dims),
    shape=lambda x, dims: Aval(tuple(x.shape[d] for d in dims), x.dtype),
    grad=lambda g, dims: permute_dims(g, dims=_inverse(dims)),
    view=True,
    samples=lambda rng: [
        Sample(rand(rng, 2, 3, 4), dims=(2, 0, 1)),
        Sample(rand(rng, 2, 3), dims=(1, 0)),
        Sample(rand(rng), dims=()),
    ],
)  # fmt: skip


def _expand_shape(x: Aval, shape: Shape) -> Aval:
    if broadcast(x.shape, shape) != shape:
        raise ShapeError(
            lesson(
                f"expand: sizes {list(x.shape)} cannot be repeated to {list(shape)}",
                [("x", x)],
                "only sizes of 1 expand; use x.repeat(...) to tile others",
            )
        )
    return Aval(shape, x.dtype)


expand = op(
    "expand", "x",
    forward=lambda x, shape: np.broadcast_to(x, shape),
    shape=_expand_shape,
    grad=lambda g: g,  # the engine sums a gradient back over what broadcasting repeated
    view=True,
    samples=lambda rng: [
        Sample(rand(rng, 3, 1), shape=(2, 3, 4)),
        Sample(rand(rng), shape=(2, 2)),
        Sample(rand(rng, 1, 3), shape=(0, 3)),
        Sample(rand(rng, 3, 2), shape=(3, 4), error=ShapeError),
    ],
)  # fmt: skip

# Basic indexing. One entry for each dimension: (start, stop, step), already resolved against the
# shape, steps positive or negative; an integer selects one index and drops the dimension. An entry
# None adds a dimension of size 1.
Bounds = tuple[tuple[int, int | None, int] | int | None, ...]


def _key(bounds: Bounds) -> tuple[Any, ...]:
    # the Ellipsis makes NumPy return a view, also of a single element
    return (*(slice(*b) if type(b) is tuple else b for b in bounds), ...)


def _slice_shape(x: Aval, bounds: Bounds) -> Aval:
    sizes: list[int] = []
    dims = iter(x.shape)
    for bound in bounds:
        if bound is None:
            sizes.append(1)
            continue
        size = next(dims)
        if type(bound) is tuple:
            sizes.append(len(range(*slice(*bound).indices(size))))
    sizes.extend(dims)  # dimensions that no entry names stay whole
    return Aval(tuple(sizes), x.dtype)


def zeros_of(aval: Aval) -> Any:
    """Zeros of the shape and dtype of ``aval``."""
    return OPS["full"](shape=aval.shape, value=0, dtype=aval.dtype)


def _slice_grad(g: Any, x_aval: Aval, bounds: Bounds) -> Any:
    whole = prod(g.shape) == prod(x_aval.shape)
    if whole and all(type(b) is not tuple or b[2] > 0 for b in bounds):
        return reshape_to(g, shape=x_aval.shape)  # only dimensions of size 1 came or went
    return view_put(zeros_of(x_aval), g, view="slice", attrs=(("bounds", bounds),))


slice_dims = op(
    "slice", "x",
    forward=lambda x, bounds: x[_key(bounds)],
    shape=_slice_shape,
    grad=_slice_grad,
    view=True,
    samples=lambda rng: [
        Sample(rand(rng, 4, 5), bounds=((1, 3, 1), (0, 5, 2))),
        Sample(rand(rng, 5), bounds=((4, None, -2),)),
        Sample(rand(rng, 3, 2), bounds=((2, 2, 1), (0, 2, 1))),
        Sample(rand(rng, 3, 2, 4), bounds=(1, None, (0, 2, 1), 2)),
        Sample(rand(rng, 3), bounds=(2,)),
        Sample(rand(rng, 1, 3), bounds=(0, (0, 3, 1), None)),
        Sample(rand(rng), bounds=(None,)),
    ],
)  # fmt: skip


def _diagonal_shape(x: Aval, offset: int, dim1: int, dim2: int) -> Aval:
    rows, columns = x.shape[dim1], x.shape[dim2]
    size = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
    rest = tuple(n for d, n in enumerate(x.shape) if d not in (dim1, dim2))
    return Aval((*rest, max(size, 0)), x.dtype)


def _diagonal(x: Array, offset: int, dim1: int, dim2: int) -> Array:
    shown = np.diagonal(x, offset, dim1, dim2)
    if x.flags.writeable:
        shown.flags.writeable = True  # NumPy hands out diagonals read-only
    return shown


diagonal_of = op(
    "diagonal", "x",
    forward=_diagonal,
    shape=_diagonal_shape,
    grad=lambda g, x_aval, offset, dim1, dim2: view_put(
        zeros_of(x_aval), g, view="diagonal",
        attrs=(("dim1", dim1), ("dim2", dim2), ("offset", offset)),
    ),
    view=True,
    samples=lambda rng: [
        Sample(rand(rng, 3, 4), offset=0, dim1=0, dim2=1),
        Sample(rand(rng, 3, 2, 3), offset=-1, dim1=2, dim2=0),
        Sample(rand(rng, 2, 5), offset=2, dim1=0, dim2=1),
        Sample(rand(rng, 2, 2), offset=4, dim1=0, dim2=1),
    ],
)  # fmt: skip


def _windows_shape(x: Aval, dim: int, size: int, step: int) -> Aval:
    count = (x.shape[dim] - size) // step + 1
    return Aval((*x.shape[:dim], count, *x.shape[dim + 1 :], size), x.dtype)


def _windows(x: Array, dim: int, size: int, step: int) -> Array:
    shape = _windows_shape(Aval(x.shape, None), dim, size, step).shape  # type: ignore[arg-type]
    strides = list(x.strides)
    strides[dim] *= step
    return np.lib.stride_tricks.as_strided(
        x, shape, (*strides, x.strides[dim]), writeable=step >= size
    )


def _windows_grad(g: Any, x_aval: Aval, dim: int, size: int, step: int) -> Any:
    # Element s of window w is element w * step + s of x; windows overlap, so gradients add up.
    count = g.shape[dim]
    starts = OPS["iota"](size=count, start=0, step=step, dtype=int64)
    within = OPS["iota"](size=size, start=0, step=1, dtype=int64)
    index = reshape_to(starts, shape=(count, 1)) + within
    beside = tuple(d for d in range(g.ndim - 1) if d <= dim)
    after = tuple(range(dim + 1, g.ndim - 1))
    g = permute_dims(g, dims=(*beside, g.ndim - 1, *after))
    return OPS["index_add"](zeros_of(x_aval), index, g, dim=dim)


sliding_windows = op(
    "unfold", "x",  # windows of `size` along `dim`, `step` apart, as a new last dimension
    forward=_windows,
    shape=_windows_shape,
    grad=_windows_grad,
    view=True,
    samples=lambda rng: [
        Sample(rand(rng, 7), dim=0, size=3, step=2),
        Sample(rand(rng, 2, 5, 3), dim=1, size=2, step=1),
        Sample(rand(rng, 4, 4), dim=1, size=2, step=2),
    ],
)  # fmt: skip

flip_dims: Op = op(
    "flip", "x",
    forward=lambda x, dims: np.ascontiguousarray(np.flip(x, dims)),
    shape=same,
    grad=lambda g, dims: flip_dims(g, dims=dims),
    samples=lambda rng: [Sample(rand(rng, 3, 4), dims=(0, 1)), Sample(rand(rng, 3), dims=(0,))],
)  # fmt: skip


def _view_put(x: Array, new: Array, view: str, attrs: tuple[tuple[str, Any], ...]) -> Array:
    whole = x.copy(order="C")
    shown = OPS[view].forward(whole, **dict(attrs))
    if not shown.flags.writeable:
        raise ArgumentError(
            lesson(
                f"an {view}ed tensor cannot be written: its elements share memory",
                fix="x = x.clone(), then write to it",
            )
        )
    shown[...] = new
    return whole


def _view_of(g: Any, view: str, attrs: tuple[tuple[str, Any], ...]) -> Any:
    return OPS[view](g, **dict(attrs))


view_put: Op = op(
    "view_put", "x new",  # x with the part that `view` shows replaced by `new`
    forward=_view_put,
    shape=lambda x, new, view, attrs: x,
    grad={
        "x": lambda g, new_aval, view, attrs: view_put(
            g, zeros_of(new_aval), view=view, attrs=attrs
        ),
        "new": lambda g, view, attrs: _view_of(g, view, attrs),
    },
    samples=lambda rng: [
        Sample(rand(rng, 4, 3), rand(rng, 2, 3), view="slice",
               attrs=(("bounds", ((0, 4, 2), (0, 3, 1))),)),
        Sample(rand(rng, 2, 3), rand(rng, 3, 2), view="permute", attrs=(("dims", (1, 0)),)),
        Sample(rand(rng, 2, 3), rand(rng, 6), view="reshape", attrs=(("shape", (6,)),)),
        Sample(rand(rng, 2, 3), rand(rng), view="slice", attrs=(("bounds", (1, 0)),)),
        Sample(rand(rng, 2, 3), rand(rng, 2, 3), view="expand", attrs=(("shape", (2, 3)),),
               error=ArgumentError),
    ],
)  # fmt: skip

overwrite = op(
    "overwrite", "x new",  # new, as a value that x was written with: x has the gradient 0
    forward=lambda x, new: new.copy(),
    shape=lambda x, new: new,
    grad={"x": lambda g, x_aval: zeros_of(x_aval), "new": lambda g: g},
    samples=lambda rng: [Sample(rand(rng, 2, 3), rand(rng, 2, 3)), Sample(rand(rng), rand(rng))],
)  # fmt: skip
