"""JAX: the whole step under jit, or the whole epoch as a scan; buffers donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bench.floors import layer_cost
from bench.workloads import Layer, Weights, Workload

Run = Callable[[], Any]


def load(weights: Weights) -> Any:
    """The weights on the device: matrices as [in, out], kernels as [height, width, in, out]."""

    def one(v: Any) -> Any:
        if isinstance(v, list):
            return [one(part) for part in v]
        return jnp.asarray(v.T if v.ndim == 2 else v.transpose(2, 3, 1, 0) if v.ndim == 4 else v)

    return one(weights)


def rearranged(w: Workload) -> Weights:
    """The weights, but the rows behind a flatten in the order of channels-last images."""
    weights = w.weights()
    shape: Any = w.shape
    for i, (kind, *_) in enumerate(w.layers):
        if kind == "flatten":
            c, height, width = shape
            matrix = weights[i + 1][0]
            by_channel = matrix.reshape(len(matrix), c, height, width)
            weights[i + 1][0] = by_channel.transpose(0, 2, 3, 1).reshape(matrix.shape)
        shape = layer_cost(w.layers[i], shape)[1]
    return weights


def pool(x: Any, k: int, mean: bool) -> Any:
    n, h, w, c = x.shape
    windows = x.reshape(n, h // k, k, w // k, k, c)
    return windows.mean((2, 4)) if mean else windows.max((2, 4))


def normalised(x: Any, p: list[Any], statistics: list[Any]) -> Any:
    """Batch norm in training; the batch's statistics go to the list."""
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    n = x.size // x.shape[-1]
    statistics.append((mean, var * (n / (n - 1))))
    return (x - mean) * lax.rsqrt(var + 1e-5) * p[0] + p[1]


def forward(
    params: list[Any], layers: tuple[Layer, ...], x: Any, key: Any, statistics: list[Any]
) -> Any:
    """The network; images are channels-last."""
    for p, (kind, *args) in zip(params, layers, strict=True):
        if kind == "linear":
            x = x @ p[0] + p[1]
        elif kind == "conv":
            _, _, _, stride, padding, bias = args
            x = lax.conv_general_dilated(
                x, p[0], (stride, stride), [(padding, padding)] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip
            x = x + p[1] if bias else x
        elif kind == "batch_norm":
            x = normalised(x, p, statistics)
        elif kind == "residual":
            short = forward(p[1], args[1], x, key, statistics)
            x = forward(p[0], args[0], x, key, statistics) + short
        elif kind == "dropout":
            key, sub = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(sub, 1 - args[0], x.shape), x / (1 - args[0]), 0)
        elif kind in ("max_pool", "avg_pool"):
            x = pool(x, args[0], kind == "avg_pool")
        elif kind == "global_avg_pool":
            x = x.mean((1, 2), keepdims=True)
        elif kind == "flatten":
            x = x.reshape(x.shape[0], -1)
        else:
            x = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}[kind](x)
    return x


def updated(w: Workload, params: Any, m: Any, v: Any, t: Any, g: Any) -> tuple[Any, Any, Any]:
    """The optimiser: SGD, SGD with momentum, or Adam."""
    if w.optimizer == "sgd":
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, g), m, v
    if w.optimizer == "momentum":
        m = jax.tree.map(lambda m, g: 0.9 * m + g, m, g)
        return jax.tree.map(lambda p, m: p - 0.1 * m, params, m), m, v
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    c1, c2 = 1 - 0.9**t, 1 - 0.999**t
    return (
        jax.tree.map(lambda p, m, v: p - 1e-3 * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), params, m, v),
        m,
        v,
    )


def training(w: Workload) -> tuple[Callable[..., Any], list[Any]]:
    """(step, state): ``step(*state, x, y)`` gives the new state and the loss."""
    params = load(rearranged(w))

    def zeros() -> Any:
        return jax.tree.map(jnp.zeros_like, params)

    def loss_of(params: Any, x: Any, y: Any, key: Any) -> Any:
        statistics: list[Any] = []
        out = forward(params, w.layers, x, key, statistics)
        if w.loss == "mse":
            return jnp.mean((out - y) ** 2), statistics
        return -jnp.mean(jax.nn.log_softmax(out)[jnp.arange(w.batch), y]), statistics

    def step(params: Any, m: Any, v: Any, running: Any, t: Any, key: Any, x: Any, y: Any) -> Any:
        key, sub = jax.random.split(key)
        (loss, seen), g = jax.value_and_grad(loss_of, has_aux=True)(params, x, y, sub)
        t = t + 1
        params, m, v = updated(w, params, m, v, t, g)
        running = jax.tree.map(lambda r, s: 0.9 * r + 0.1 * s, running, seen)
        return [params, m, v, running, t, key], loss

    x, y = arrays(w, 1)
    shapes = jax.eval_shape(loss_of, params, x, y, jax.random.key(0))[1]
    running = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)
    return step, [params, zeros(), zeros(), running, jnp.zeros(()), jax.random.key(0)]


def arrays(w: Workload, batches: int) -> tuple[Any, Any]:
    """Inputs and targets on the device; images have the channels last."""
    x, y = w.data(batches)
    return jnp.asarray(np.moveaxis(x, 1, -1) if x.ndim == 4 else x), jnp.asarray(y)


def step(w: Workload) -> Run:
    """One jitted step on one batch, all state donated."""
    train, state = training(w)
    x, y = arrays(w, 1)
    compiled = jax.jit(train, donate_argnums=range(len(state)))

    def run() -> Any:
        nonlocal state
        state, loss = compiled(*state, x, y)
        return loss

    return run


def epoch(w: Workload, shuffle: bool = True) -> Run:
    """One jitted scan over the batches of a permutation, all state donated."""
    train, state = training(w)
    x, y = arrays(w, w.batches)
    rng = np.random.default_rng(0)

    def whole(x: Any, y: Any, order: Any, *state: Any) -> Any:
        def one(state: Any, rows: Any) -> Any:
            picked = (a.at[rows].get(mode="promise_in_bounds") for a in (x, y))
            return train(*state, *picked)

        state, losses = lax.scan(one, list(state), order)
        return state, losses.mean()

    compiled = jax.jit(whole, donate_argnums=range(3, 3 + len(state)))

    def run() -> Any:
        nonlocal state
        order = rng.permutation(len(x)) if shuffle else np.arange(len(x))
        state, loss = compiled(x, y, order.reshape(-1, w.batch).astype(np.int32), *state)
        return loss

    return run
