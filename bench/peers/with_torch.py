"""PyTorch: eager as most write it, with everything that its manual recommends, or compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.peers.spelled import Step, network
from bench.peers.spelled import training as plain
from bench.workloads import Workload

Run = Callable[[], Any]


def training(w: Workload, fused: bool, compiled: bool) -> Step:
    """The step on a batch.

    Args:
        w: the workload.
        fused: fused optimisers, and images with the channels last.
        compiled: forward with loss (and so their backward) through ``torch.compile``; the fused
            optimiser as it is, because compiling it too was slower.
    """
    model = network(torch, w)
    if fused and len(w.shape) == 3:
        model = model.to(memory_format=torch.channels_last)
    options = {"fused": True} if fused else {}
    return plain(torch, w, model, torch.compile if compiled else None, **options)


def tensors(w: Workload, batches: int, fused: bool) -> tuple[Any, Any]:
    """Inputs and targets."""
    x, y = (torch.from_numpy(a) for a in w.data(batches))
    return (x.to(memory_format=torch.channels_last) if fused and x.ndim == 4 else x), y


def step(w: Workload, fused: bool = False, compiled: bool = False) -> Run:
    """One step on one batch."""
    train, (x, y) = training(w, fused, compiled), tensors(w, 1, fused)
    return lambda: train(x, y)


def epoch(
    w: Workload, fused: bool = False, compiled: bool = False, shuffle: bool = True
) -> Run:  # fmt: skip
    """The loop over a permutation; ``index_select`` is the fastest way to gather a batch."""
    train, (x, y) = training(w, fused, compiled), tensors(w, w.batches, fused)

    def run() -> Any:
        order = torch.randperm(len(x)) if shuffle else torch.arange(len(x))
        losses = [
            train(x.index_select(0, rows), y.index_select(0, rows)) for rows in order.split(w.batch)
        ]
        return torch.stack(losses).mean()

    return run
