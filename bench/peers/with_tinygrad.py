"""tinygrad: the whole step under its TinyJit. With clang installed it compiles better code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad import Tensor, TinyJit, nn
from tinygrad.helpers import Context

from bench.workloads import Layer, Weights, Workload


def load(weights: Weights) -> Any:
    """The weights as tensors."""
    return [load(w) if isinstance(w, list) else Tensor(w).realize() for w in weights]


def tensors(weights: Any) -> list[Any]:
    """All of them in a list."""
    return [t for w in weights for t in (tensors(w) if isinstance(w, list) else [w])]


class Norm:
    """Batch norm with given weights."""

    def __init__(self, features: int, weight: Any, bias: Any) -> None:
        self.norm = nn.BatchNorm(features)
        self.norm.weight, self.norm.bias = weight, bias

    def __call__(self, x: Any) -> Any:
        return self.norm(x)


def layer(kind: str, args: list[Any], p: Any) -> Callable[[Any], Any]:
    """A layer as a function."""
    if kind == "linear":
        return lambda x: x.linear(p[0].T, p[1])
    if kind == "conv":
        _, _, _, stride, padding, bias = args
        return lambda x: x.conv2d(p[0], p[1] if bias else None, stride=stride, padding=padding)
    if kind == "batch_norm":
        return Norm(args[0], *p)
    if kind == "residual":
        body, short = build(args[0], p[0]), build(args[1], p[1])
        return lambda x: body(x) + short(x)
    return {
        "relu": lambda x: x.relu(),
        "tanh": lambda x: x.tanh(),
        "sigmoid": lambda x: x.sigmoid(),
        "dropout": lambda x: x.dropout(args[0]),
        "max_pool": lambda x: x.max_pool2d((args[0], args[0])),
        "avg_pool": lambda x: x.avg_pool2d((args[0], args[0])),
        "global_avg_pool": lambda x: x.mean((2, 3), keepdim=True),
        "flatten": lambda x: x.flatten(1),
    }[kind]


def build(layers: tuple[Layer, ...], params: Any) -> Callable[[Any], Any]:
    """The layers one after the other."""
    functions = [layer(kind, args, p) for (kind, *args), p in zip(layers, params, strict=True)]

    def forward(x: Any) -> Any:
        for function in functions:
            x = function(x)
        return x

    return forward


def step(w: Workload) -> Callable[[], Any]:
    """A jitted step on one batch."""
    x, y = w.data()
    inputs, targets = Tensor(x).realize(), Tensor(y).realize()
    params = load(w.weights())
    model = build(w.layers, params)
    optimizer = {
        "adam": lambda: nn.optim.Adam(tensors(params), lr=1e-3),
        "sgd": lambda: nn.optim.SGD(tensors(params), lr=0.1),
        "momentum": lambda: nn.optim.SGD(tensors(params), lr=0.1, momentum=0.9),
    }[w.optimizer]()

    @TinyJit
    def train() -> Any:
        optimizer.zero_grad()
        out = model(inputs)
        if w.loss == "mse":
            loss = ((out - targets) ** 2).mean()
        else:
            loss = out.sparse_categorical_crossentropy(targets)
        loss.backward()
        return loss.realize(*optimizer.schedule_step())

    def run() -> Any:
        with Context(TRAINING=1):
            return train()

    return run
