"""JAX: the whole step under jit, buffers donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bench.workloads import Layer, Workload


def init(rng: np.random.Generator, layers: tuple[Layer, ...]) -> list[Any]:
    """Parameters, a list a layer."""
    out: list[Any] = []
    for kind, *args in layers:
        if kind == "linear":
            a, b = args
            out.append([rng.normal(size=(a, b)) / np.sqrt(a), np.zeros(b)])
        elif kind == "conv":
            a, b, k, _, _, bias = args
            out.append([rng.normal(size=(k, k, a, b)) / np.sqrt(a * k * k)]
                       + ([np.zeros(b)] if bias else []))  # fmt: skip
        elif kind == "batch_norm":
            out.append([np.ones(args[0]), np.zeros(args[0])])
        elif kind == "residual":
            out.append([init(rng, args[0]), init(rng, args[1])])
        else:
            out.append([])
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), out)


def pool(x: Any, k: int, mean: bool) -> Any:
    n, h, w, c = x.shape
    windows = x.reshape(n, h // k, k, w // k, k, c)
    return windows.mean((2, 4)) if mean else windows.max((2, 4))


def forward(params: list[Any], layers: tuple[Layer, ...], x: Any, key: Any) -> Any:
    """The network; images are channels-last, batch statistics only (no running averages)."""
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
            mean = x.mean((0, 1, 2))
            var = x.var((0, 1, 2))
            x = (x - mean) * lax.rsqrt(var + 1e-5) * p[0] + p[1]
        elif kind == "residual":
            x = forward(p[0], args[0], x, key) + forward(p[1], args[1], x, key)
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


def train_step(w: Workload) -> Callable[[], Any]:
    """A jitted step; the result is waited for."""
    x, y = w.data()
    images = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
    inputs, targets = jnp.asarray(images), jnp.asarray(y)
    params = init(np.random.default_rng(0), w.layers)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = [params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.zeros(()), jax.random.key(0)]

    def loss_of(params: Any, x: Any, y: Any, key: Any) -> Any:
        out = forward(params, w.layers, x, key)
        if w.loss == "mse":
            return jnp.mean((out - y) ** 2)
        return -jnp.mean(jax.nn.log_softmax(out)[jnp.arange(w.batch), y])

    def step(params: Any, m: Any, v: Any, t: Any, key: Any, x: Any, y: Any) -> Any:
        key, sub = jax.random.split(key)
        loss, g = jax.value_and_grad(loss_of)(params, x, y, sub)
        t = t + 1
        if w.optimizer == "sgd":
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, g)
        elif w.optimizer == "momentum":
            m = jax.tree.map(lambda m, g: 0.9 * m + g, m, g)
            params = jax.tree.map(lambda p, m: p - 0.1 * m, params, m)
        else:
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
            c1, c2 = 1 - 0.9**t, 1 - 0.999**t
            params = jax.tree.map(
                lambda p, m, v: p - 1e-3 * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), params, m, v
            )
        return [params, m, v, t, key], loss

    compiled = jax.jit(step, donate_argnums=(0, 1, 2, 3))

    def run() -> Any:
        nonlocal state
        state, loss = compiled(*state, inputs, targets)
        return loss.block_until_ready()

    run()
    return run
