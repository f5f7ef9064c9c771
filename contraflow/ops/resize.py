"""Images of another size: interpolate, upsample, and the shuffles of pixels and channels."""

from __future__ import annotations

from math import floor
from typing import Any

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.base.shapes import Shape, read_pair
from contraflow.ops.checks import check_floating, check_tensors
from contraflow.ops.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from contraflow.ops.resample import Axes, resample
from contraflow.ops.view import permute_dims, reshape_to

__all__ = [
    "channel_shuffle", "interpolate", "pixel_shuffle", "pixel_unshuffle", "upsample",
]  # fmt: skip

# the way along each axis, and the number of axes that a mode is for (0: any)
MODES = {
    "nearest": ("nearest", 0), "nearest-exact": ("nearest-exact", 0), "area": ("area", 0),
    "linear": ("linear", 1), "bilinear": ("linear", 2), "trilinear": ("linear", 3),
    "bicubic": ("cubic", 2),
}  # fmt: skip
NAMES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def read_mode(x: Any, mode: str, align_corners: bool | None, antialias: bool) -> str:
    """The kind of weights along each axis, after checking that the options fit together."""
    check_tensors("interpolate", input=x)
    n = x.ndim - 2
    if n not in (1, 2, 3):
        raise ShapeError(
            lesson("interpolate: the input must be [batch, channels, *size] with 1 to 3 sizes",
                   [("input", x)], "x.unsqueeze(0) for one image")
        )  # fmt: skip
    if mode not in MODES:
        raise ArgumentError(
            lesson(f"interpolate: unknown mode {mode!r}", [("known", ", ".join(MODES))],
                   "mode='nearest'")
        )  # fmt: skip
    kind, dims = MODES[mode]
    if dims not in (0, n):
        raise ArgumentError(
            lesson(f"interpolate: mode={mode!r} is for {dims + 2} dimensions, the input has "
                   f"{x.ndim}", [("input", x)], f"mode={NAMES[n]!r}")
        )  # fmt: skip
    if align_corners is not None and kind not in ("linear", "cubic"):
        raise ArgumentError(
            lesson(f"interpolate: align_corners means nothing for mode={mode!r}",
                   fix="align_corners=None")
        )  # fmt: skip
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ArgumentError(
            lesson(f"interpolate: antialias is for bilinear and bicubic, not for mode={mode!r}",
                   fix="mode='bilinear'")
        )  # fmt: skip
    if kind != "nearest" and kind != "nearest-exact":
        check_floating("interpolate", input=x)
    return f"smooth-{kind}" if antialias else kind


def read_sizes(
    x: Any, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[Shape, list[float | None]]:
    """The new sizes, and the distance of new places in old ones where a factor says it."""
    n = x.ndim - 2
    if (size is None) == (scale_factor is None):
        raise ArgumentError(
            lesson("interpolate takes either size or scale_factor",
                   [("size", size), ("scale_factor", scale_factor)], "scale_factor=2")
        )  # fmt: skip
    if size is not None:
        if recompute:
            raise ArgumentError(
                lesson("interpolate: recompute_scale_factor means nothing with a size",
                       fix="recompute_scale_factor=None")
            )  # fmt: skip
        sizes = read_pair(size, n, "interpolate: size")
        steps: list[float | None] = [None] * n
    else:
        several = isinstance(scale_factor, tuple | list)
        factors = tuple(scale_factor) if several else (scale_factor,) * n
        if len(factors) != n or any(not factor > 0 for factor in factors):
            raise ArgumentError(
                lesson(f"interpolate takes one positive scale_factor, or {n} of them",
                       [("input", x), ("scale_factor", scale_factor)], "scale_factor=2")
            )  # fmt: skip
        old = x.shape[2:]
        sizes = tuple(floor(float(k) * f) for k, f in zip(old, factors, strict=True))
        steps = [None if recompute else 1.0 / f for f in factors]
    if min(sizes) < 1 or 0 in x.shape[1:]:
        raise ShapeError(
            lesson(f"interpolate: sizes must be at least 1, the result would be {list(sizes)}",
                   [("input", x)], "a larger size or scale_factor")
        )  # fmt: skip
    return sizes, steps


def fixed(kind: str, ndim: int, old: int, new: int) -> bool:
    """Whether PyTorch places the pixels by the sizes even where a factor is given: linear ones
    where the size stays, and the nearest of images also where it doubles."""
    return (kind == "linear" and new == old) or (
        kind == "nearest" and ndim == 4 and new in (old, 2 * old)
    )


def interpolate(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:  # fmt: skip
    """Images of another size, in between the old pixels.

    Shapes: ``[batch, channels, *size]`` with 1 to 3 sizes. Modes: ``nearest``, ``nearest-exact``,
    ``linear`` (one size), ``bilinear`` and ``bicubic`` (two), ``trilinear`` (three), ``area``.

    Args:
        size: the new size, or one for each dimension; or instead
        scale_factor: what the old size is multiplied by (and rounded down).
        align_corners: the centres of the corner pixels stay where they are, rather than their
            outer corners.
        recompute_scale_factor: place the pixels by the rounded size rather than by the factor.
        antialias: when bilinear or bicubic images shrink, average over all pixels in between.

    >>> import contraflow as cf
    >>> x = cf.tensor([[[0.0, 4.0]]])
    >>> cf.nn.functional.interpolate(x, scale_factor=2)
    tensor([[[0., 0., 4., 4.]]])
    >>> cf.nn.functional.interpolate(x, size=5, mode="linear", align_corners=True)
    tensor([[[0., 1., 2., 3., 4.]]])

    Raises:
        ArgumentError: for a mode that is not for this many dimensions, or both sizes and factors.
    """
    kind = read_mode(input, mode, align_corners, antialias)
    sizes, steps = read_sizes(input, size, scale_factor, recompute_scale_factor)
    if kind == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[input.ndim - 3](
            input, sizes
        )
    axes: Axes = tuple(
        (kind, old, new, bool(align_corners), None if fixed(kind, input.ndim, old, new) else step)
        for old, new, step in zip(input.shape[2:], sizes, steps, strict=True)
    )
    return resample(input, axes=axes, adjoint=False)


def upsample(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Any:  # fmt: skip
    """The older name of ``interpolate``.

    >>> import contraflow as cf
    >>> cf.nn.functional.upsample(cf.ones(1, 1, 2), scale_factor=3).shape
    contraflow.Size([1, 1, 6])
    """
    return interpolate(input, size, scale_factor, mode, align_corners)


# ---- shuffles -----------------------------------------------------------------------------------


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """Channels become pixels: ``[..., C r², H, W]`` to ``[..., C, H r, W r]``.

    Source: Shi et al., "Real-time super-resolution" (2016).

    >>> import contraflow as cf
    >>> cf.nn.functional.pixel_shuffle(cf.arange(4.0).reshape(4, 1, 1), 2)
    tensor([[[0., 1.],
             [2., 3.]]])

    Raises:
        ShapeError: if r² does not divide the channels.
    """
    check_tensors("pixel_shuffle", input=input)
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ShapeError(
            lesson(f"pixel_shuffle: the channels must be a multiple of {r} * {r}",
                   [("input", input)], f"nn.Conv2d(..., out_channels=3 * {r * r}, ...) before it")
        )  # fmt: skip
    *lead, c, h, w = input.shape
    k = len(lead)
    x = reshape_to(input, shape=(*lead, c // (r * r), r, r, h, w))
    x = permute_dims(x, dims=(*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return reshape_to(x, shape=(*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """Pixels become channels: ``[..., C, H r, W r]`` to ``[..., C r², H, W]``; undoes
    pixel_shuffle.

    >>> import contraflow as cf
    >>> cf.nn.functional.pixel_unshuffle(cf.ones(1, 4, 6), 2).shape
    contraflow.Size([4, 2, 3])

    Raises:
        ShapeError: if r does not divide height and width.
    """
    check_tensors("pixel_unshuffle", input=input)
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-1] % r or input.shape[-2] % r:
        raise ShapeError(
            lesson(f"pixel_unshuffle: {r} must divide height and width", [("input", input)],
                   "F.pad(x, ...) to a multiple, or crop")
        )  # fmt: skip
    *lead, c, h, w = input.shape
    k = len(lead)
    x = reshape_to(input, shape=(*lead, c, h // r, r, w // r, r))
    x = permute_dims(x, dims=(*range(k), k, k + 2, k + 4, k + 1, k + 3))
    return reshape_to(x, shape=(*lead, c * r * r, h // r, w // r))


def channel_shuffle(input: Any, groups: int) -> Any:
    """Mixes the channels of groups: channel i of group g comes to place i · groups + g.

    Shapes: ``[N, C, ...]``; ``groups`` divides C. Source: Zhang et al., "ShuffleNet" (2018).

    >>> import contraflow as cf
    >>> cf.nn.functional.channel_shuffle(cf.arange(4.0).reshape(1, 4, 1), 2).flatten()
    tensor([0., 2., 1., 3.])

    Raises:
        ShapeError: if the groups do not divide the channels.
    """
    check_tensors("channel_shuffle", input=input)
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise ShapeError(
            lesson(f"channel_shuffle: {groups} groups must divide the channels of [N, C, ...]",
                   [("input", input)], "groups=2")
        )  # fmt: skip
    n, c, *size = input.shape
    x = reshape_to(input, shape=(n, groups, c // groups, *size))
    x = permute_dims(x, dims=(0, 2, 1, *range(3, x.ndim)))
    return reshape_to(x, shape=tuple(input.shape))
