"""A shuffled epoch of the loader over 1e6 x 10 float32, against one ``np.take`` of the whole array.

Run: ``python bench/loader.py``. The epoch draws its permutation, gathers every batch and makes
its tensors. Best of several runs each, interleaved, in one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import contraflow as cf
from contraflow.data import DataLoader, TensorDataset

ROWS, COLUMNS, RUNS = 1_000_000, 10, 9


def seconds(run: Callable[[], object]) -> float:
    """One run's wall time."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main() -> None:
    """Print a table: batch size, the epoch's time, and its ratio to one take."""
    x = np.random.default_rng(0).random((ROWS, COLUMNS), dtype=np.float32)
    order = np.random.default_rng(1).permutation(ROWS)
    data = TensorDataset(cf.from_numpy(x))
    sizes = (32, 128, 512, 4096, ROWS)
    take, epochs = [], {size: [] for size in sizes}
    for _ in range(RUNS):
        take.append(seconds(lambda: np.take(x, order, axis=0)))
        for size in sizes:
            loader = DataLoader(data, batch_size=size, shuffle=True)
            epochs[size].append(seconds(lambda loader=loader: [None for _ in loader]))
    floor = min(take)
    print(f"np.take of {ROWS:,} x {COLUMNS} float32: {floor * 1e3:.1f} ms")
    for size in sizes:
        best = min(epochs[size])
        print(f"  batch {size:>9,}: {best * 1e3:6.1f} ms an epoch = {best / floor:.2f} x take")


if __name__ == "__main__":
    main()
