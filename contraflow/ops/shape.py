"""Another shape for the same elements: other sizes, another order, repeated, flipped."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from operator import index
from typing import Any

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import Shape, broadcast, read_dim, read_dims, read_shape, resolve_size
from contraflow.ops.view import expand as expand_to
from contraflow.ops.view import flip_dims, permute_dims, reshape_to

__all__ = [
    "adjoint", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_tensors", "broadcast_to",
    "flatten", "flip", "fliplr", "flipud", "meshgrid", "moveaxis", "movedim", "permute", "ravel",
    "reshape", "rot90", "squeeze", "swapaxes", "swapdims", "t", "tile", "transpose", "unflatten",
    "unsqueeze",
]  # fmt: skip
METHODS = (
    "adjoint", "broadcast_to", "expand", "expand_as", "flatten", "flip", "fliplr", "flipud",
    "moveaxis", "movedim", "permute", "ravel", "repeat", "reshape", "reshape_as", "rot90",
    "squeeze", "swapaxes", "swapdims", "t", "tile", "transpose", "unflatten", "unsqueeze",
)  # fmt: skip


# ---- sizes -------------------------------------------------------------------------------------


def reshape(input: Any, *shape: Any) -> Any:
    """The elements in another shape; one size may be -1. Shares memory where that is possible.

    >>> import contraflow as cf
    >>> cf.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], Iterable) else shape
    return reshape_to(input, shape=resolve_size(tuple(sizes), prod(input.shape)))


def reshape_as(x: Any, other: Any) -> Any:
    """``x.reshape(other.shape)``."""
    return reshape(x, tuple(other.shape))


def ravel(input: Any) -> Any:
    """All elements in one dimension."""
    return reshape_to(input, shape=(prod(input.shape),))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions ``start_dim`` to ``end_dim``, both included, become one.

    >>> import contraflow as cf
    >>> cf.flatten(cf.zeros(2, 3, 4), 1).shape
    contraflow.Size([2, 12])
    """
    shape = tuple(input.shape)
    first, last = (
        read_dim(start_dim, input.ndim, "start_dim"),
        read_dim(end_dim, input.ndim, "end_dim"),
    )
    if first > last:
        raise ArgumentError(
            lesson(
                f"flatten: start_dim={start_dim} comes after end_dim={end_dim}", [("input", input)]
            )
        )
    merged = prod(shape[first : last + 1])
    return reshape_to(input, shape=(*shape[:first], merged, *shape[last + 1 :]))


def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """Dimension ``dim`` is split into ``sizes``, of which one may be -1.

    >>> import contraflow as cf
    >>> cf.unflatten(cf.zeros(2, 12), 1, (3, -1)).shape
    contraflow.Size([2, 3, 4])
    """
    shape, dim = tuple(input.shape), read_dim(dim, input.ndim)
    inner = resolve_size(sizes, shape[dim], "unflatten")
    return reshape_to(input, shape=(*shape[:dim], *inner, *shape[dim + 1 :]))


def squeeze(input: Any, dim: Any = None) -> Any:
    """Without the dimensions of size 1: all of them, one, or several.

    >>> import contraflow as cf
    >>> cf.zeros(1, 2, 1).squeeze().shape, cf.zeros(1, 2, 1).squeeze(0).shape
    (contraflow.Size([2]), contraflow.Size([2, 1]))
    """
    shape = tuple(input.shape)
    if dim == () or dim == []:
        dims: Shape = ()
    else:
        dims = read_dims(dim, input.ndim)
    return reshape_to(input, shape=tuple(n for d, n in enumerate(shape) if n != 1 or d not in dims))


def unsqueeze(input: Any, dim: int) -> Any:
    """With a new dimension of size 1 at ``dim``.

    >>> import contraflow as cf
    >>> cf.zeros(2, 3).unsqueeze(-1).shape
    contraflow.Size([2, 3, 1])
    """
    shape = tuple(input.shape)
    dim = read_dim(dim, input.ndim + 1)
    return reshape_to(input, shape=(*shape[:dim], 1, *shape[dim:]))


def atleast(x: Any, rank: int) -> Any:
    if not hasattr(x, "shape"):
        return tuple(atleast(item, rank) for item in x)
    shape = tuple(x.shape)
    if len(shape) >= rank:
        return x
    wanted = {0: (1,) * rank, 1: (1, *shape, 1)[:rank] if rank == 3 else (1, *shape)}
    return reshape_to(x, shape=wanted.get(len(shape), (*shape, 1)))


def atleast_1d(*tensors: Any) -> Any:
    """At least one dimension."""
    return atleast(tensors[0] if len(tensors) == 1 else tensors, 1)


def atleast_2d(*tensors: Any) -> Any:
    """At least two dimensions; a vector becomes a row."""
    return atleast(tensors[0] if len(tensors) == 1 else tensors, 2)


def atleast_3d(*tensors: Any) -> Any:
    """At least three dimensions: [n] becomes [1, n, 1], [m, n] becomes [m, n, 1]."""
    return atleast(tensors[0] if len(tensors) == 1 else tensors, 3)


# ---- order of dimensions -----------------------------------------------------------------------


def permute(input: Any, *dims: Any) -> Any:
    """The dimensions in another order, a view.

    >>> import contraflow as cf
    >>> cf.zeros(2, 3, 4).permute(2, 0, 1).shape
    contraflow.Size([4, 2, 3])
    """
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], Iterable) else dims
    order = tuple(read_dim(d, input.ndim) for d in given)
    if len(order) != input.ndim or len(set(order)) != len(order):
        raise ShapeError(
            lesson(
                f"permute: {list(order)} does not name each of the {input.ndim} dimensions once",
                [("input", input)],
                f"x.permute{tuple(reversed(range(input.ndim)))}",
            )
        )
    return permute_dims(input, dims=order)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions exchanged, a view.

    >>> import contraflow as cf
    >>> cf.zeros(2, 3).transpose(0, 1).shape
    contraflow.Size([3, 2])
    """
    order = list(range(input.ndim))
    a, b = read_dim(dim0, input.ndim, "dim0"), read_dim(dim1, input.ndim, "dim1")
    if order:
        order[a], order[b] = b, a
    return permute_dims(input, dims=tuple(order))


def swapaxes(input: Any, axis0: int, axis1: int) -> Any:
    """The same as ``transpose``."""
    return transpose(input, axis0, axis1)


def swapdims(input: Any, dim0: int, dim1: int) -> Any:
    """The same as ``transpose``."""
    return transpose(input, dim0, dim1)


def t(input: Any) -> Any:
    """The transpose of a matrix; vectors and scalars stay as they are."""
    if input.ndim > 2:
        raise ShapeError(
            lesson(
                f"t() transposes at most 2 dimensions, not {input.ndim}",
                [("input", input)],
                "x.mT transposes the last two, x.transpose(a, b) any two",
            )
        )
    return permute_dims(input, dims=tuple(reversed(range(input.ndim))))


def adjoint(input: Any) -> Any:
    """The last two dimensions exchanged (all numbers here are real)."""
    return transpose(input, -2, -1) if input.ndim else reshape_to(input, shape=())


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dimensions moved from ``source`` to ``destination``, the others keep their order.

    >>> import contraflow as cf
    >>> cf.zeros(2, 3, 4).movedim(0, -1).shape
    contraflow.Size([3, 4, 2])
    """
    from_dims = [source] if not isinstance(source, Iterable) else list(source)
    to_dims = [destination] if not isinstance(destination, Iterable) else list(destination)
    froms = [read_dim(d, input.ndim, "source") for d in from_dims]
    tos = [read_dim(d, input.ndim, "destination") for d in to_dims]
    if len(froms) != len(tos) or len(set(froms)) < len(froms) or len(set(tos)) < len(tos):
        raise ArgumentError(
            lesson(
                f"movedim: source {from_dims} and destination {to_dims} must name as many "
                "dimensions, each once",
                [("input", input)],
            )
        )
    rest = iter(d for d in range(input.ndim) if d not in froms)
    back = dict(zip(tos, froms, strict=True))
    order = tuple(back[d] if d in back else next(rest) for d in range(input.ndim))
    return permute_dims(input, dims=order)


def moveaxis(input: Any, source: Any, destination: Any) -> Any:
    """The same as ``movedim``."""
    return movedim(input, source, destination)


# ---- repeating ---------------------------------------------------------------------------------


def expand(x: Any, *sizes: Any) -> Any:
    """Dimensions of size 1 repeated to ``sizes`` without copying; -1 keeps a size.

    >>> import contraflow as cf
    >>> cf.tensor([[1], [2]]).expand(-1, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    given = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], Iterable) else sizes
    wanted, have = [index(n) for n in given], tuple(x.shape)
    extra = len(wanted) - len(have)
    if extra < 0 or any(n < 0 for n in wanted[:extra]):
        raise ShapeError(
            lesson(
                f"expand: sizes {wanted} do not cover the {len(have)} dimensions of the tensor",
                [("x", x)],
                "-1 keeps an existing size; new dimensions come first",
            )
        )
    shape = tuple(have[d - extra] if n == -1 else n for d, n in enumerate(wanted))
    return reshape_to(x, shape=shape) if shape == have else expand_to(x, shape=shape)


def expand_as(x: Any, other: Any) -> Any:
    """``x.expand(other.shape)``."""
    return expand(x, tuple(other.shape))


def broadcast_to(input: Any, size: Any) -> Any:
    """``input`` repeated to a shape it broadcasts to, without copying."""
    return expand(input, size)


def broadcast_tensors(*tensors: Any) -> Any:
    """All tensors expanded to their common shape."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    shape = broadcast(*(tuple(x.shape) for x in given))
    return tuple(expand(x, shape) for x in given)


def repeat(x: Any, *repeats: Any) -> Any:
    """The tensor tiled, ``repeats`` times along each dimension; a copy.

    >>> import contraflow as cf
    >>> cf.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    counts, shape = read_shape(repeats), tuple(x.shape)
    extra = len(counts) - len(shape)
    if extra < 0:
        raise ShapeError(
            lesson(
                f"repeat: {len(counts)} counts for a tensor of {len(shape)} dimensions",
                [("x", x)],
                "give a count for each dimension, 1 to leave it",
            )
        )
    shape = (1,) * extra + shape
    apart = tuple(n for size in shape for n in (1, size))
    whole = tuple(n for pair in zip(counts, shape, strict=True) for n in pair)
    spread = expand_to(reshape_to(x, shape=apart), shape=whole)
    out = reshape_to(spread, shape=tuple(c * n for c, n in zip(counts, shape, strict=True)))
    return out if any(c != 1 for c in counts) else out.clone()


def tile(input: Any, *dims: Any) -> Any:
    """The tensor tiled, as ``repeat``; missing leading counts are 1."""
    counts = read_shape(dims)
    return repeat(input, (1,) * max(input.ndim - len(counts), 0) + counts)


def meshgrid(*tensors: Any, indexing: str = "ij") -> Any:
    """Coordinate grids of vectors; ``indexing="xy"`` exchanges the first two dimensions.

    >>> import contraflow as cf
    >>> rows, columns = cf.meshgrid(cf.arange(2), cf.arange(3), indexing="ij")
    >>> rows
    tensor([[0, 0, 0],
            [1, 1, 1]])
    """
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    if indexing not in ("ij", "xy"):
        raise ArgumentError(
            lesson(f"meshgrid: unknown indexing {indexing!r}", fix="indexing='ij' or 'xy'")
        )
    if any(x.ndim > 1 for x in given):
        raise ShapeError(
            lesson("meshgrid takes vectors", [(f"tensor {i}", x) for i, x in enumerate(given)])
        )
    sizes = tuple(prod(x.shape) for x in given)
    rank = len(sizes)
    grids = tuple(
        expand_to(reshape_to(x, shape=(1,) * d + (sizes[d],) + (1,) * (rank - 1 - d)), shape=sizes)
        for d, x in enumerate(given)
    )
    return tuple(transpose(g, 0, 1) for g in grids) if indexing == "xy" and rank > 1 else grids


# ---- flips -------------------------------------------------------------------------------------


def flip(input: Any, *dims: Any) -> Any:
    """The order of the entries reversed along ``dims``; a copy.

    >>> import contraflow as cf
    >>> cf.tensor([[1, 2], [3, 4]]).flip(0)
    tensor([[3, 4],
            [1, 2]])
    """
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], Iterable) else dims
    read = read_dims(tuple(given), input.ndim, "dims") if len(tuple(given)) else ()
    return flip_dims(input, dims=read)


def fliplr(input: Any) -> Any:
    """The columns in reverse order."""
    return flip(input, 1)


def flipud(input: Any) -> Any:
    """The rows in reverse order."""
    return flip(input, 0)


def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """Rotated ``k`` times by 90 degrees, from the first of the two ``dims`` to the second.

    >>> import contraflow as cf
    >>> cf.rot90(cf.tensor([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]])
    """
    if len(dims) != 2:
        raise ArgumentError(lesson(f"rot90 takes two dims, received {dims}", fix="dims=(0, 1)"))
    a, b = (read_dim(d, input.ndim, "dims") for d in dims)
    if a == b:
        raise ArgumentError(lesson(f"rot90: dims {dims} are the same", [("input", input)]))
    k %= 4
    if k == 0:
        return input.clone()
    if k == 2:
        return flip(input, a, b)
    return transpose(flip(input, b), a, b) if k == 1 else flip(transpose(input, a, b), b)
