"""Joining tensors, taking them apart, rolling and padding them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import prod
from operator import index
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import Shape, broadcast, read_dim
from contraflow.ops.parts import full_bounds
from contraflow.ops.record import Aval, Sample, op
from contraflow.ops.rules import rand, unary
from contraflow.ops.shape import atleast_1d, atleast_2d, atleast_3d, flip, meshgrid
from contraflow.ops.view import expand, reshape_to, slice_dims

__all__ = [
    "block_diag", "cartesian_prod", "cat", "chunk", "column_stack", "concat", "concatenate",
    "dsplit", "dstack", "hsplit", "hstack", "roll", "row_stack", "split", "stack", "tensor_split",
    "unbind", "vsplit", "vstack",
]  # fmt: skip
METHODS = ("chunk", "dsplit", "hsplit", "roll", "split", "tensor_split", "unbind", "vsplit")

Array = np.ndarray[Any, Any]


# ---- joining -----------------------------------------------------------------------------------


def _cat_shape(*xs: Aval, dim: int) -> Aval:
    first = xs[0].shape
    for i, x in enumerate(xs):
        if len(x.shape) != len(first) or any(
            n != m for d, (n, m) in enumerate(zip(x.shape, first, strict=True)) if d != dim
        ):
            raise ShapeError(
                lesson(
                    f"cat: tensor {i} has shape {list(x.shape)}, which must equal tensor 0's "
                    f"{list(first)} but for dimension {dim}",
                    [(f"tensor {j}", a) for j, a in enumerate(xs)],
                    "reshape it, or cat along another dim",
                )
            )
    total = sum(x.shape[dim] for x in xs)
    return Aval((*first[:dim], total, *first[dim + 1 :]), xs[0].dtype)


def _cat_grad(g: Any, xs_avals: Any, dim: int, needs: tuple[bool, ...]) -> list[Any]:
    grads: list[Any] = []
    start = 0
    for aval, wanted in zip(xs_avals, needs, strict=True):
        end = start + aval.shape[dim]
        part = full_bounds(g, dim, (start, end, 1))
        grads.append(slice_dims(g, bounds=part) if wanted else None)
        start = end
    return grads


cat_op = op(
    "cat", "*xs",
    forward=lambda *xs, dim: np.concatenate(xs, axis=dim),
    shape=_cat_shape, promote="arith", grad=_cat_grad,
    samples=lambda rng: [
        Sample(rand(rng, 2, 3), rand(rng, 1, 3), rand(rng, 2, 3), dim=0),
        Sample(rand(rng, 2, 3), rand(rng, 2, 0), dim=1),
        Sample(rand(rng, 3), dim=0),
        Sample(rand(rng, 2, 3), rand(rng, 2, 2), dim=0, error=ShapeError),
    ],
)  # fmt: skip


def several(tensors: Any, what: str) -> list[Any]:
    """The tensors of a list or tuple, at least one."""
    given = list(tensors)
    if not given:
        raise ArgumentError(lesson(f"{what} needs at least one tensor", fix=f"cf.{what}([a, b])"))
    return given


def cat(tensors: Any, dim: int = 0) -> Any:
    """Tensors joined along an existing dimension; the other sizes must be equal.

    >>> import contraflow as cf
    >>> cf.cat([cf.zeros(1, 2), cf.ones(1, 2)])
    tensor([[0., 0.],
            [1., 1.]])
    """
    given = several(tensors, "cat")
    if any(x.ndim == 0 for x in given):
        raise ShapeError(
            lesson("cat: a tensor without dimensions cannot be joined", fix="cf.stack([a, b])")
        )
    # an empty vector joins anything, as in PyTorch
    full = [x for x in given if tuple(x.shape) != (0,)] or given[:1]
    return cat_op(*full, dim=read_dim(dim, full[0].ndim))


def concat(tensors: Any, dim: int = 0) -> Any:
    """The same as ``cat``."""
    return cat(tensors, dim)


def concatenate(tensors: Any, dim: int = 0) -> Any:
    """The same as ``cat``."""
    return cat(tensors, dim)


def stack(tensors: Any, dim: int = 0) -> Any:
    """Tensors of one shape joined along a new dimension.

    >>> import contraflow as cf
    >>> cf.stack([cf.tensor([1, 2]), cf.tensor([3, 4])], dim=1)
    tensor([[1, 3],
            [2, 4]])
    """
    given = several(tensors, "stack")
    shape = tuple(given[0].shape)
    for i, x in enumerate(given):
        if tuple(x.shape) != shape:
            raise ShapeError(
                lesson(
                    f"stack: tensor {i} has shape {list(x.shape)}, tensor 0 {list(shape)}",
                    [(f"tensor {j}", a) for j, a in enumerate(given)],
                    "cf.cat joins tensors of unequal sizes along one dimension",
                )
            )
    dim = read_dim(dim, len(shape) + 1)
    if dim == len(shape):
        return cat_op(*(reshape_to(x, shape=(*shape, 1)) for x in given), dim=dim)
    joined = cat_op(*given, dim=dim)  # [.., n * size, ..] holds the same elements in their order
    return reshape_to(joined, shape=(*shape[:dim], len(given), *shape[dim:]))


def hstack(tensors: Any) -> Any:
    """Joined side by side: vectors end to end, others along dimension 1."""
    given = [atleast_1d(x) for x in several(tensors, "hstack")]
    return cat(given, 0 if given[0].ndim == 1 else 1)


def vstack(tensors: Any) -> Any:
    """Joined on top of each other; vectors are rows."""
    return cat([atleast_2d(x) for x in several(tensors, "vstack")], 0)


def row_stack(tensors: Any) -> Any:
    """The same as ``vstack``."""
    return vstack(tensors)


def dstack(tensors: Any) -> Any:
    """Joined along the third dimension."""
    return cat([atleast_3d(x) for x in several(tensors, "dstack")], 2)


def column_stack(tensors: Any) -> Any:
    """Joined side by side; vectors are columns."""
    given = several(tensors, "column_stack")
    return cat([x if x.ndim > 1 else reshape_to(x, shape=(prod(x.shape), 1)) for x in given], 1)


def cartesian_prod(*tensors: Any) -> Any:
    """Every combination of the elements of vectors, a row each.

    >>> import contraflow as cf
    >>> cf.cartesian_prod(cf.tensor([1, 2]), cf.tensor([3, 4]))
    tensor([[1, 3],
            [1, 4],
            [2, 3],
            [2, 4]])
    """
    if len(tensors) == 1:
        return tensors[0]
    grids = meshgrid(*tensors)
    return stack([reshape_to(g, shape=(prod(g.shape),)) for g in grids], 1)


def block_diag(*tensors: Any) -> Any:
    """A matrix with the given matrices on its diagonal and zeros elsewhere."""
    blocks = [atleast_2d(x) for x in several(tensors, "block_diag")]
    rows, columns = (sum(b.shape[d] for b in blocks) for d in (0, 1))
    placed = []
    top = left = 0
    for b in blocks:
        (m, n) = b.shape
        widths = ((top, rows - top - m), (left, columns - left - n))
        placed.append(pad_op(b, widths=widths, value=0))
        top, left = top + m, left + n
    total = placed[0]
    for block in placed[1:]:
        total = total + block
    return total


# ---- taking apart ------------------------------------------------------------------------------


def _pieces(x: Any, dim: int, cuts: Iterable[int]) -> tuple[Any, ...]:
    """The parts between consecutive cuts."""
    edges = list(cuts)
    return tuple(
        slice_dims(x, bounds=full_bounds(x, dim, (a, max(a, b), 1))) for a, b in pairwise(edges)
    )


def read_cut_dim(x: Any, dim: int, what: str) -> int:
    if x.ndim == 0:
        raise ShapeError(lesson(f"{what}: a 0-d tensor cannot be divided", [("x", x)]))
    return read_dim(dim, x.ndim)


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Views along ``dim``: of one size (the last may be smaller), or of a list of sizes.

    >>> import contraflow as cf
    >>> cf.split(cf.arange(5), 2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    dim = read_cut_dim(tensor, dim, "split")
    total = tensor.shape[dim]
    if isinstance(split_size_or_sections, Iterable):
        sizes = [index(n) for n in split_size_or_sections]
        if sum(sizes) != total or any(n < 0 for n in sizes):
            raise ShapeError(
                lesson(
                    f"split: the sizes {sizes} must add up to {total}, the size of "
                    f"dimension {dim}; they add up to {sum(sizes)}",
                    [("tensor", tensor)],
                )
            )
        return _pieces(tensor, dim, np.cumsum([0, *sizes]).tolist())
    size = index(split_size_or_sections)
    if size <= 0 and (size < 0 or total):
        raise ArgumentError(lesson(f"split: the size of a part must be > 0, received {size}"))
    cuts = [*range(0, total, size), total] if total else [0, 0]
    return _pieces(tensor, dim, cuts)


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most ``chunks`` views of equal size along ``dim``; the last may be smaller.

    >>> import contraflow as cf
    >>> cf.chunk(cf.arange(5), 2)
    (tensor([0, 1, 2]), tensor([3, 4]))
    """
    dim = read_cut_dim(input, dim, "chunk")
    if chunks <= 0:
        raise ArgumentError(lesson(f"chunk: chunks must be > 0, received {chunks}"))
    total = input.shape[dim]
    if total == 0:
        return _pieces(input, dim, [0] * (chunks + 1))
    return split(input, -(-total // chunks), dim)


def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Views of ``input`` along ``dim``: this many of nearly equal size, or cut at these indices."""
    dim = read_cut_dim(input, dim, "tensor_split")
    total = input.shape[dim]
    if hasattr(indices_or_sections, "tolist"):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, Iterable):
        inner = [slice(0, index(i)).indices(total)[1] for i in indices_or_sections]
        return _pieces(input, dim, [0, *inner, total])
    n = index(indices_or_sections)
    if n <= 0:
        raise ArgumentError(lesson(f"tensor_split: sections must be > 0, received {n}"))
    whole, rest = divmod(total, n)
    return _pieces(input, dim, [i * whole + min(i, rest) for i in range(n + 1)])


def hsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """Cut along dimension 1 (a vector: along 0), into equal parts or at indices."""
    return split_evenly("hsplit", input, indices_or_sections, 0 if input.ndim == 1 else 1, 1)


def vsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """Cut along dimension 0, into equal parts or at indices."""
    return split_evenly("vsplit", input, indices_or_sections, 0, 2)


def dsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """Cut along dimension 2, into equal parts or at indices."""
    return split_evenly("dsplit", input, indices_or_sections, 2, 3)


def split_evenly(what: str, input: Any, parts: Any, dim: int, least: int) -> tuple[Any, ...]:
    """``tensor_split`` where a number of parts must divide the size."""
    if input.ndim < least:
        rule = f"{what} needs at least {least} dimensions, the tensor has {input.ndim}"
        raise ShapeError(lesson(rule, [("input", input)], "cf.tensor_split(x, parts, dim)"))
    if isinstance(parts, int) and (parts <= 0 or input.shape[dim] % parts):
        rule = f"{what}: dimension {dim} of size {input.shape[dim]} has no {parts} equal parts"
        raise ShapeError(lesson(rule, [("input", input)], "cf.tensor_split(x, parts, dim)"))
    return tensor_split(input, parts, dim)


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """The parts at each index of ``dim``, which goes away; views.

    >>> import contraflow as cf
    >>> cf.unbind(cf.tensor([[1, 2], [3, 4]]))
    (tensor([1, 2]), tensor([3, 4]))
    """
    dim = read_cut_dim(input, dim, "unbind")
    return tuple(
        slice_dims(input, bounds=full_bounds(input, dim, i)) for i in range(input.shape[dim])
    )


# ---- rolling and padding -----------------------------------------------------------------------


def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Entries moved by ``shifts`` along ``dims``, what leaves at one end enters at the other.

    Without ``dims`` the flattened tensor is rolled.

    >>> import contraflow as cf
    >>> cf.roll(cf.tensor([1, 2, 3]), 1)
    tensor([3, 1, 2])
    """
    by = [shifts] if not isinstance(shifts, Iterable) else list(shifts)
    if dims is None or dims == ():
        if len(by) != 1:
            raise ArgumentError(
                lesson("roll: several shifts need as many dims", [("input", input)])
            )
        flat = roll(reshape_to(input, shape=(prod(input.shape),)), by[0], 0)
        return reshape_to(flat, shape=tuple(input.shape))
    along = [dims] if not isinstance(dims, Iterable) else list(dims)
    if len(along) != len(by):
        raise ArgumentError(
            lesson(f"roll: {len(by)} shifts for {len(along)} dims", [("input", input)])
        )
    for shift, d in zip(by, along, strict=True):
        dim = read_cut_dim(input, d, "roll")
        size = input.shape[dim]
        cut = -index(shift) % size if size else 0
        input = cat_op(*reversed(_pieces(input, dim, (0, cut, size))), dim=dim)
    return input if by else input.clone()


def _pad_shape(x: Aval, widths: tuple[Shape, ...], value: float) -> Aval:
    return Aval(
        tuple(n + low + high for n, (low, high) in zip(x.shape, widths, strict=True)), x.dtype
    )


def _pad(x: Array, widths: tuple[Shape, ...], value: float) -> Array:
    shape = tuple(n + low + high for n, (low, high) in zip(x.shape, widths, strict=True))
    out = np.zeros(shape, x.dtype) if value == 0 else np.full(shape, value, x.dtype)
    out[tuple(slice(low, low + n) for n, (low, _) in zip(x.shape, widths, strict=True))] = x
    return out


pad_op = op(
    "pad", "x",  # (before, after) for each dimension, not negative
    forward=_pad,
    shape=_pad_shape,
    grad=lambda g, x_aval, widths: slice_dims(g, bounds=tuple(
        (low, low + n, 1) for n, (low, _) in zip(x_aval.shape, widths, strict=True)
    )),
    samples=lambda rng: [
        *unary(widths=((1, 2), (0, 3)), value=0)(rng)[::2],
        Sample(rand(rng, 2, 3), widths=((0, 0), (2, 0)), value=1.5),
        Sample(rand(rng), widths=(), value=0),
    ],
)  # fmt: skip

MODES = ("constant", "reflect", "replicate", "circular")


def pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    """``nn.functional.pad``: widths for the last dimension first, (before, after) pairs.

    ``mode``: ``"constant"`` (``value``, 0 unless given), ``"reflect"`` (mirrored without the
    edge), ``"replicate"`` (the edge again) or ``"circular"``. Negative widths crop.

    Raises:
        ShapeError: for widths that the sizes do not allow.

    >>> import contraflow as cf
    >>> cf.nn.functional.pad(cf.tensor([[1.0, 2.0]]), (1, 0), value=9)
    tensor([[9., 1., 2.]])
    """
    widths = _read_widths(input, pad, mode)
    if mode == "constant":
        if any(n < 0 for pair in widths for n in pair):
            input = _crop(input, widths)
            widths = tuple((max(low, 0), max(high, 0)) for low, high in widths)
        return pad_op(input, widths=widths, value=0 if value is None else value)
    if value:
        raise ArgumentError(lesson(f"pad: mode={mode!r} takes no value", fix="mode='constant'"))
    if all(pair == (0, 0) for pair in widths):
        return input.clone()
    if mode == "circular":  # what is cropped does not come back at the other end
        input = _crop(input, widths)
        widths = tuple((max(low, 0), max(high, 0)) for low, high in widths)
    for dim, (low, high) in enumerate(widths):
        if (low, high) != (0, 0):
            input = _crop_dim(_extend(input, dim, max(low, 0), max(high, 0), mode), dim, low, high)
    return input


def _read_widths(x: Any, pad: Any, mode: str) -> tuple[tuple[int, int], ...]:
    """Pairs in the order of the dimensions, from PyTorch's order (last dimension first)."""
    if mode not in MODES:
        raise ArgumentError(lesson(f"pad: unknown mode {mode!r}", fix=f"one of {MODES}"))
    flat = [index(n) for n in pad]
    if len(flat) % 2 or len(flat) > 2 * x.ndim:
        raise ShapeError(
            lesson(
                f"pad: {len(flat)} widths for a tensor of {x.ndim} dimensions",
                [("x", x), ("pad", tuple(flat))],
                "two widths a dimension, those of the last dimension first",
            )
        )
    pairs = list(zip(flat[::2], flat[1::2], strict=True))[::-1]
    widths: tuple[tuple[int, int], ...] = ((0, 0),) * (x.ndim - len(pairs)) + tuple(pairs)
    for d, (low, high) in enumerate(widths):
        size = x.shape[d]
        left = size + min(low, 0) + min(high, 0)
        most = {"reflect": size - 1, "circular": left}.get(mode, max(low, high))
        if (
            size + low + high < 0
            or max(low, high) > most
            or (mode != "constant" and size == 0 and (low, high) != (0, 0))
        ):
            raise ShapeError(
                lesson(
                    f"pad: widths {(low, high)} are not possible in dimension {d} of size "
                    f"{size} with mode {mode!r}",
                    [("x", x)],
                    f"widths up to {most}" if mode != "constant" else "crop less",
                )
            )
    return widths


def _crop(x: Any, widths: tuple[tuple[int, int], ...]) -> Any:
    return slice_dims(
        x,
        bounds=tuple(
            (max(-low, 0), n - max(-high, 0), 1)
            for n, (low, high) in zip(x.shape, widths, strict=True)
        ),
    )


def _crop_dim(x: Any, dim: int, low: int, high: int) -> Any:
    if low >= 0 and high >= 0:
        return x
    return _crop(x, tuple((low, high) if d == dim else (0, 0) for d in range(x.ndim)))


def _extend(x: Any, dim: int, low: int, high: int, mode: str) -> Any:
    """``x`` with ``low`` entries before and ``high`` after it along one dimension."""
    size = x.shape[dim]

    def part(start: int, end: int) -> Any:
        return slice_dims(x, bounds=full_bounds(x, dim, (start, end, 1)))

    if mode == "circular":
        before, after = part(size - low, size), part(0, high)
    elif mode == "reflect":
        before, after = flip(part(1, low + 1), dim), flip(part(size - 1 - high, size - 1), dim)
    else:
        before = expand(part(0, 1), shape=(*x.shape[:dim], low, *x.shape[dim + 1 :]))
        after = expand(part(size - 1, size), shape=(*x.shape[:dim], high, *x.shape[dim + 1 :]))
    beside = [b for b, n in ((before, low), (x, 1), (after, high)) if n]
    return cat_op(*beside, dim=dim) if len(beside) > 1 else x


def common_shape(*xs: Any) -> Shape:
    """The shape that tensors broadcast to."""
    return broadcast(*(tuple(x.shape) for x in xs))
