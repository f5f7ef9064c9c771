"""A shuffled epoch of the loader over 1e6 x 10 float32, against one ``np.take`` of the whole array.

The epoch draws its permutation, gathers every batch and makes its tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import contraflow as cf
from bench.timing import interleaved

ROWS, COLUMNS = 1_000_000, 10
SIZES = (32, 128, 512, 4096, ROWS)


def run(rounds: int) -> dict[str, Any]:
    """The time of one take, and of an epoch for each batch size."""
    x = np.random.default_rng(0).random((ROWS, COLUMNS), dtype=np.float32)
    order = np.random.default_rng(1).permutation(ROWS)
    data = cf.data.TensorDataset(cf.from_numpy(x))

    def epoch(size: int) -> None:
        for _ in cf.data.DataLoader(data, batch_size=size, shuffle=True):
            pass

    steps: dict[str, Any] = {"take": lambda: np.take(x, order, axis=0)}
    steps |= {str(size): lambda size=size: epoch(size) for size in SIZES}
    return interleaved(steps, rounds, seconds=0.0)
