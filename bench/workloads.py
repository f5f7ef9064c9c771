"""The workloads: each network once, as data; the peers build it in their own ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Layer = tuple[Any, ...]
Weights = list[Any]  # a list of arrays for each layer; for a residual block those of both ways


@dataclass(frozen=True)
class Workload:
    """A training step: the layers, the shape of one input, batch, loss and optimiser."""

    name: str
    title: str
    layers: tuple[Layer, ...]
    shape: tuple[int, ...]
    batch: int
    loss: str = "cross_entropy"
    optimizer: str = "adam"
    classes: int = 10
    batches: int = 0  # of its epoch; 0 if it has none

    def data(self, batches: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets for as many batches."""
        rng, rows = np.random.default_rng(0), self.batch * batches
        x = rng.normal(size=(rows, *self.shape)).astype(np.float32)
        if self.loss == "mse":
            return x, rng.uniform(size=(rows, 1)).astype(np.float32)
        return x, rng.integers(0, self.classes, rows)

    def weights(self) -> Weights:
        """The weights that every peer starts from, in PyTorch's layout."""
        return _weights(self.layers, np.random.default_rng(1))

    def without_dropout(self) -> Workload:
        """The same network without what the peers draw at random, to compare their losses."""
        return replace(self, layers=tuple(layer for layer in self.layers if layer[0] != "dropout"))


def _weights(layers: tuple[Layer, ...], rng: np.random.Generator) -> Weights:
    out: Weights = []
    for kind, *args in layers:
        if kind in ("linear", "conv"):
            a, b = args[:2]
            shape = (b, a, args[2], args[2]) if kind == "conv" else (b, a)
            bound = 1 / np.sqrt(np.prod(shape[1:]))
            bias = kind == "linear" or args[5]
            sizes = (shape, (b,)) if bias else (shape,)
            out.append([rng.uniform(-bound, bound, size).astype(np.float32) for size in sizes])
        elif kind == "batch_norm":
            out.append([np.ones(args[0], np.float32), np.zeros(args[0], np.float32)])
        elif kind == "residual":
            out.append([_weights(args[0], rng), _weights(args[1], rng)])
        else:
            out.append([])
    return out


def flat(weights: Weights) -> list[np.ndarray]:
    """All arrays in the order in which a Sequential lists its parameters."""
    return [a for w in weights for a in (flat(w) if isinstance(w, list) else [w])]


def mlp(*sizes: int, act: str, drop: float = 0.0) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers.append(("linear", a, b))
        if i < len(sizes) - 2:
            layers.append((act,))
            if drop:
                layers.append(("dropout", drop))
    return tuple(layers)


def block(a: int, b: int, stride: int) -> tuple[Layer, ...]:
    """A basic residual block; the shortcut is a 1x1 convolution where the shape changes."""
    body = (
        ("conv", a, b, 3, stride, 1, False), ("batch_norm", b), ("relu",),
        ("conv", b, b, 3, 1, 1, False), ("batch_norm", b),
    )  # fmt: skip
    short: tuple[Layer, ...] = ()
    if stride != 1 or a != b:
        short = (("conv", a, b, 1, stride, 0, False), ("batch_norm", b))
    return (("residual", body, short), ("relu",))


def resnet20() -> tuple[Layer, ...]:
    layers: list[Layer] = [("conv", 3, 16, 3, 1, 1, False), ("batch_norm", 16), ("relu",)]
    width = 16
    for stage in (16, 32, 64):
        for i in range(3):
            layers += block(width, stage, 2 if i == 0 and stage != 16 else 1)
            width = stage
    return (*layers, ("global_avg_pool",), ("flatten",), ("linear", 64, 10))


CNN = (
    ("conv", 1, 16, 3, 1, 1, True), ("relu",), ("max_pool", 2),
    ("conv", 16, 32, 3, 1, 1, True), ("relu",), ("max_pool", 2),
    ("flatten",), ("linear", 32 * 7 * 7, 10),
)  # fmt: skip
LENET = (
    ("conv", 1, 6, 5, 1, 2, True), ("tanh",), ("avg_pool", 2),
    ("conv", 6, 16, 5, 1, 0, True), ("tanh",), ("avg_pool", 2),
    ("flatten",), *mlp(400, 120, 84, 10, act="tanh"),
)  # fmt: skip

WORKLOADS = (
    Workload("W1", "2-2-1 sigmoid, batch 1, SGD",
             (*mlp(2, 2, 1, act="sigmoid"), ("sigmoid",)), (2,), 1, "mse", "sgd",
             batches=2048),
    Workload("W2", "8-64-64-2 tanh, batch 32, Adam",
             mlp(8, 64, 64, 2, act="tanh"), (8,), 32, classes=2, batches=512),
    Workload("W3", "20 x (64-64) ReLU, batch 64, Adam",
             mlp(*[64] * 21, act="relu"), (64,), 64, batches=128),
    Workload("W4", "784-256-128-10 + dropout, batch 64, Adam",
             mlp(784, 256, 128, 10, act="relu", drop=0.2), (784,), 64, batches=256),
    Workload("W5", "784-1024-1024-10, batch 256, Adam",
             mlp(784, 1024, 1024, 10, act="relu"), (784,), 256),
    Workload("W6", "conv16-pool-conv32-pool-fc, 28x28, batch 64, Adam", CNN, (1, 28, 28), 64),
    Workload("W7", "LeNet-5, 28x28, batch 64, Adam", LENET, (1, 28, 28), 64),
    Workload("W8", "ResNet-20, 32x32, batch 32, SGD with momentum", resnet20(), (3, 32, 32), 32,
             optimizer="momentum"),
)  # fmt: skip

# Of the ten workloads the last two need layers that are not there yet.
LATER = {
    "W9": "LSTM 64-128, 32 steps, batch 32, Adam: recurrent layers are not there yet",
    "W10": "character GPT, 4 layers, AdamW: attention is not there yet",
}
