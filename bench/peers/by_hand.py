"""NumPy by hand: the chain rule written out for dense networks, as in the article."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workloads import Workload

Run = Callable[[], Any]

ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(a.dtype)),
    "tanh": (np.tanh, lambda a: 1 - a * a),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
}


def dense(w: Workload) -> bool:
    """Whether the network is made of dense layers only."""
    return all(kind in (*ACTIVATIONS, "linear", "dropout") for kind, *_ in w.layers)


def step(w: Workload) -> Run | None:
    """One step on one batch."""
    if not dense(w):
        return None
    train, (x, y) = training(w), w.data()
    return lambda: train(x, y)


def epoch(w: Workload, shuffle: bool = True) -> Run | None:
    """The loop over a permutation."""
    if not dense(w):
        return None
    train, (x, y) = training(w), w.data(w.batches)
    rng = np.random.default_rng(0)

    def run() -> Any:
        order = rng.permutation(len(x)) if shuffle else np.arange(len(x))
        batches = order.reshape(-1, w.batch)
        return np.mean([train(x.take(rows, 0), y.take(rows, 0)) for rows in batches])

    return run


def training(w: Workload) -> Callable[[Any, Any], Any]:
    """The step of a dense network (SGD or Adam) on a batch, with every gradient by hand."""
    rng = np.random.default_rng(0)
    weights = {  # as [in, out]
        i: [np.ascontiguousarray(layer[0].T), layer[1].copy()]
        for i, layer in enumerate(w.weights())
        if layer
    }
    state = {i: [np.zeros_like(p) for p in (*ps, *ps)] for i, ps in weights.items()}
    rows = np.arange(w.batch)
    count = 0

    def loss_gradient(out: Any, y: Any) -> tuple[Any, Any]:
        if w.loss == "mse":
            return np.mean((out - y) ** 2), 2 * (out - y) / out.size
        shifted = np.exp(out - out.max(1, keepdims=True))
        p = shifted / shifted.sum(1, keepdims=True)
        loss = -np.mean(np.log(p[rows, y]))
        p[rows, y] -= 1
        return loss, p / w.batch

    def update(i: int, k: int, g: Any) -> None:
        p = weights[i][k]
        if w.optimizer == "sgd":
            p -= np.float32(0.1) * g
            return
        m, v = state[i][k], state[i][k + 2]
        m += np.float32(0.1) * (g - m)
        v += np.float32(0.001) * (g * g - v)
        γ = np.float32(1e-3 / (1 - 0.9**count))
        p -= γ * m / (np.sqrt(v) / np.float32((1 - 0.999**count) ** 0.5) + np.float32(1e-8))

    def step(x: Any, y: Any) -> Any:
        nonlocal count
        count += 1
        kept: list[Any] = []
        a = x
        for i, (kind, *args) in enumerate(w.layers):
            kept.append(a)
            if kind == "linear":
                a = a @ weights[i][0] + weights[i][1]
            elif kind == "dropout":
                mask = (rng.random(a.shape, np.float32) >= args[0]) * np.float32(1 / (1 - args[0]))
                kept[-1] = mask
                a = a * mask
            else:
                a = ACTIVATIONS[kind][0](a)
                kept[-1] = a
        loss, g = loss_gradient(a, y)
        for i in reversed(range(len(w.layers))):
            kind = w.layers[i][0]
            if kind == "linear":
                gw, gb = kept[i].T @ g, g.sum(0)
                if i:
                    g = g @ weights[i][0].T
                update(i, 0, gw)
                update(i, 1, gb)
            elif kind == "dropout":
                g = g * kept[i]
            else:
                g = g * ACTIVATIONS[kind][1](kept[i])
        return loss

    return step
