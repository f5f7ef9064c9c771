"""What a training step costs at least: its arithmetic at this machine's rates.

The terms:

- the products' FLOPs (forward, weight gradient, input gradient but for the first layer) at the peak
  rate of multiply-adds;
- for each transcendental function and each random number of a dropout 60 FLOPs, for each
  parameter under Adam 48 (its square root and division);
- or, where that is longer, the optimiser's bytes (Adam 24 a parameter, momentum 16, SGD 8);
- each layer's output written once and read once (a pointwise layer or a flatten writes none of its
  own), and in an epoch each input gathered;
- bytes move at the cache's rate if all of them fit, and else at the memory's;
- nothing is shorter than its chain of operations that wait for each other.

Several cores work at the rates that were measured with all of them at once, and need a barrier a
kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.workloads import Layer, Workload

Rates = dict[str, float]
TRANSCENDENTAL, DRAW = 60.0, 60.0  # FLOPs: about 0.6 ns where a core does 100 a nanosecond
UPDATE = {"adam": (48.0, 24), "momentum": (4.0, 16), "sgd": (2.0, 8)}  # FLOPs, bytes a parameter
FITS = 30e6  # bytes that stay in the last cache
STAGE, FUNCTION = 8, 20  # latencies: load, short sum and store; an exponential with its division
BARRIER, KERNELS = 0.25e-6, 5  # seconds; kernels that each layer with weights needs
DIVIDED = 30e-6  # shorter steps are not worth a second core
SMOOTH = ("sigmoid", "tanh")
SILENT = ("relu", "sigmoid", "tanh", "dropout", "flatten")  # no output of their own


@dataclass
class Cost:
    """What one row costs in the forward pass."""

    flops: float = 0.0
    functions: int = 0
    draws: int = 0
    outputs: int = 0  # elements
    parameters: int = 0
    layers: int = 0  # with weights
    chain: int = 0  # latencies, one after the other

    def __iadd__(self, other: Cost) -> Cost:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


def cost(layers: tuple[Layer, ...], shape: tuple[int, ...]) -> tuple[Cost, tuple[int, ...]]:
    """The sum over the layers, and the shape of the output."""
    total = Cost()
    for layer in layers:
        own, shape = layer_cost(layer, shape)
        total += own
    return total, shape


def layer_cost(layer: Layer, shape: tuple[int, ...]) -> tuple[Cost, tuple[int, ...]]:
    """One layer alone, and the shape of its output."""
    kind, *args = layer
    own = Cost()
    if kind == "linear":
        a, b = args
        shape = (b,)
        own = Cost(flops=2.0 * a * b, parameters=a * b + b, layers=1, chain=STAGE)
    elif kind == "conv":
        a, b, k, stride, padding, bias = args
        shape = (b, *((n + 2 * padding - k) // stride + 1 for n in shape[1:]))
        weights = a * b * k * k
        own = Cost(flops=2.0 * weights * shape[1] * shape[2], layers=1, chain=STAGE,
                   parameters=weights + (b if bias else 0))  # fmt: skip
    elif kind == "batch_norm":
        own = Cost(parameters=2 * args[0], chain=STAGE)
    elif kind == "residual":
        own, out = cost(args[0], shape)
        short, _ = cost(args[1], shape)
        short.chain = 0  # it does not wait for the other way
        own += short
        return own, out
    elif kind in ("max_pool", "avg_pool"):
        shape = (shape[0], *(n // args[0] for n in shape[1:]))
    elif kind == "global_avg_pool":
        shape = (shape[0], 1, 1)
    elif kind == "flatten":
        shape = (int(np.prod(shape)),)
    elif kind in SMOOTH:
        own = Cost(functions=int(np.prod(shape)), chain=FUNCTION)
    elif kind == "dropout":
        own = Cost(draws=int(np.prod(shape)))
    if kind not in SILENT:
        own.outputs = int(np.prod(shape))
    return own, shape


def floor(
    w: Workload, rates: dict[str, Rates], threads: int = 1, epoch: bool = False
) -> float:  # fmt: skip
    """Seconds that a step needs at least, alone or within an epoch.

    Args:
        rates: of so many cores together, for "1" and for the number of threads.
    """
    alone = needed(w, rates["1"], epoch)
    if threads == 1 or alone < DIVIDED:
        return alone
    layers = cost(w.layers, w.shape)[0].layers
    return needed(w, rates[str(threads)], epoch) + BARRIER * KERNELS * layers


def needed(w: Workload, rates: Rates, epoch: bool) -> float:
    """Seconds of the arithmetic and the traffic at these rates."""
    c, out = cost(w.layers, w.shape)
    first = layer_cost(w.layers[0], w.shape)[0].flops
    functions = c.functions + (0 if w.loss == "mse" else int(np.prod(out)))  # softmax
    work, state = UPDATE[w.optimizer]
    moved = state * c.parameters
    rate = rates["cache"] if moved / 2 + 4 * c.outputs * w.batch < FITS else rates["memory"]
    arithmetic = (3 * c.flops - first + TRANSCENDENTAL * functions + DRAW * c.draws) * w.batch
    seconds = arithmetic / rates["flops"] + 8 * c.outputs * w.batch / rate
    seconds += max(work * c.parameters / rates["flops"], moved / rate)
    if epoch:
        row = 4 * int(np.prod(w.shape))
        whole = row * w.batch * w.batches
        seconds += row * w.batch / rates["cache" if whole < FITS else "memory"]
    # forward with its functions, loss, backward without the first layer, update
    chain = (c.chain + STAGE * (1 + c.layers - 1 + 1)) * rates["latency"]
    return max(seconds, chain)
