"""JAX: the whole step under jit, buffers donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bench.workloads import Layer, Weights, Workload, _cost


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
        shape = _cost(w.layers[i : i + 1], shape)[3]
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


def train_step(w: Workload) -> Callable[[], Any]:
    """A jitted step; the results are waited for."""
    x, y = w.data()
    images = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
    inputs, targets = jnp.asarray(images), jnp.asarray(y)
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

    shapes = jax.eval_shape(loss_of, params, inputs, targets, jax.random.key(0))[1]
    running = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)
    compiled = jax.jit(step, donate_argnums=(0, 1, 2, 3, 4, 5))
    state = [params, zeros(), zeros(), running, jnp.zeros(()), jax.random.key(0)]

    def run() -> Any:
        nonlocal state
        state, loss = jax.block_until_ready(compiled(*state, inputs, targets))
        return loss

    return run
