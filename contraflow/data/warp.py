"""Affine maps of image batches with bilinear interpolation, in plain NumPy."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

__all__ = ["affine_matrices", "warp"]

Array = np.ndarray[Any, Any]


def affine_matrices(angle: Array, factor: Array, shear: Array) -> Array:
    """``factor * rotation(angle) @ shear``, [N, 2, 2], acting on (x, y) with y pointing down.

    Angles are radians; positive ones turn the picture counter-clockwise as it is seen.
    """
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], -2)
    slant = np.zeros_like(rotation)
    slant[:, 0, 0] = slant[:, 1, 1] = 1.0
    slant[:, 0, 1] = np.tan(shear)
    return factor[:, None, None] * (rotation @ slant)


def warp(x: Array, matrix: Array, dx: Array, dy: Array, fill: float) -> Array:
    """Map each image about its centre by its matrix, then move it by (dx, dy) pixels.

    Every target pixel looks up where it came from; ``fill`` is all around the picture.
    """
    height, width = x.shape[-2:]
    at_y, at_x = np.mgrid[0:height, 0:width].reshape(2, -1)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    moved = np.stack([at_x - centre[0] - dx[:, None], at_y - centre[1] - dy[:, None]], 1)
    source = np.linalg.inv(matrix) @ moved + centre[:, None]  # [N, 2, H * W]
    return bilinear(x, source[:, 0], source[:, 1], fill)


def bilinear(x: Array, at_x: Array, at_y: Array, fill: float) -> Array:
    """The values of [N, ..., H, W] images at the points [N, P], interpolated between pixels."""
    n, (height, width) = len(x), x.shape[-2:]
    wide = np.float64 if x.dtype == np.float64 else np.float32
    flat = x.reshape(n, prod(x.shape[1:-2]), height * width)
    left, top = np.floor(at_x), np.floor(at_y)
    right_part, lower_part = at_x - left, at_y - top
    out = np.zeros((n, flat.shape[1], at_x.shape[1]), wide)
    for down in (0, 1):
        for right in (0, 1):
            column, row = left + right, top + down
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = np.where(inside, row * width + column, 0).astype(np.intp)
            value = np.take_along_axis(flat, index[:, None], axis=-1)
            value = np.where(inside[:, None], value, fill)
            share = np.abs(1 - right - right_part) * np.abs(1 - down - lower_part)
            out += (share[:, None] * value).astype(wide)
    if x.dtype.kind != "f":
        out = np.rint(out)
    return out.astype(x.dtype).reshape(x.shape)
