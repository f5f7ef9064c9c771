"""Data and first weights for the programs of `programs/`: from NumPy, the same for both libraries."""

import numpy as np


def floats(seed, *shape, scale=1.0):
    """Normal float32 numbers."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype("float32")


def integers(seed, high, *shape):
    """int64 numbers from 0 up to, not including, ``high``."""
    return np.random.default_rng(seed).integers(0, high, shape)


def fill(model, seed=0, scale=0.3):
    """Give the parameters of a model (or the tensors of a list) the same numbers in both libraries."""
    rng = np.random.default_rng(seed)
    for p in model.parameters() if hasattr(model, "parameters") else model:
        p.detach().copy_(p.new_tensor(rng.normal(0, scale, tuple(p.shape)).astype("float32")))
    return model


def images(seed, count, size=8, classes=4):
    """Small grey images whose class is the quarter that is bright, and their labels."""
    labels = integers(seed, classes, count)
    x = floats(seed + 1, count, 1, size, size, scale=0.3)
    half = size // 2
    for image, label in zip(x, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, row * half : (row + 1) * half, column * half : (column + 1) * half] += 1
    return x, labels
