"""The generated code by itself: functions against float64, products and convolutions of odd sizes."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
from contraflow.compiler.loops import Convolution
from contraflow.nn import functional as F

RANGES = {
    "exp": (cf.exp, np.exp, [(-103, 88.7), (-1, 1), (-1e-3, 1e-3)], 2),
    "log": (cf.log, np.log, [(1e-45, 1e-38), (1e-38, 1), (0.5, 2), (1, 3e38)], 2),
    "tanh": (cf.tanh, np.tanh, [(-10, 10), (-0.7, 0.7), (-1e-4, 1e-4)], 3),
    "sigmoid": (cf.sigmoid, lambda x: 1 / (1 + np.exp(-x)), [(-85, 85), (-1, 1)], 4),
}


def ulps(found, exact):
    """The distance in units of the last place of float32."""
    spacing = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    return np.abs(found.astype(np.float64) - exact) / spacing


@pytest.mark.parametrize("name", RANGES)
def test_vector_functions_are_right_to_a_few_ulp(name):
    ours, theirs, ranges, most = RANGES[name]
    compiled = cf.compile(lambda x: ours(x))
    for low, high in ranges:
        x = np.linspace(low, high, 200_003).astype(np.float32)
        x = x[(theirs(x.astype(np.float64)) != 0) & np.isfinite(x)]
        error = ulps(compiled(cf.from_numpy(x)).numpy(), theirs(x.astype(np.float64)))
        assert error.max() <= most, f"{name} on [{low}, {high}]: {error.max():.2f} ulp"


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "sqrt", "relu"])
def test_special_values(name):
    x = cf.tensor([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38, 1.0, -1.0])
    ours = getattr(cf, name)
    np.testing.assert_allclose(
        cf.compile(lambda x: ours(x))(x).numpy(), ours(x).numpy(), rtol=1e-6, atol=1e-38
    )


SIZES = [
    (1, 1, 1), (1, 7, 1), (2, 3, 2), (5, 1, 17), (6, 16, 16), (7, 9, 15), (12, 8, 33), (13, 5, 16),
    (32, 8, 64), (33, 31, 7), (64, 100, 10), (3, 0, 4), (17, 64, 48), (4, 784, 24), (7, 1000, 20),
    (131, 300, 203), (20, 521, 16),
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_every_layout(size, dtype):
    m, k, n = size
    rng = np.random.default_rng(m * 100 + n)
    for left in (False, True):
        for right in (False, True):
            a = rng.standard_normal((k, m) if left else (m, k)).astype(dtype)
            b = rng.standard_normal((n, k) if right else (k, n)).astype(dtype)
            bias = rng.standard_normal(n).astype(dtype)

            def step(a, b, bias, left=left, right=right):
                y = (a.t() if left else a) @ (b.t() if right else b) + bias
                return cf.relu(y), y.sum(0)

            exact = (a.T if left else a) @ (b.T if right else b) + bias
            y, total = cf.compile(step)(*map(cf.from_numpy, (a, b, bias)))
            tolerance = 1e-4 if dtype is np.float32 else 1e-11
            np.testing.assert_allclose(y.numpy(), np.maximum(exact, 0), atol=tolerance)
            np.testing.assert_allclose(total.numpy(), exact.sum(0), atol=tolerance * 10)


def test_products_of_batches_that_broadcast():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 1, 5, 7)).astype(np.float32)
    b = rng.standard_normal((2, 7, 18)).astype(np.float32)
    y = cf.compile(cf.matmul)(cf.from_numpy(a), cf.from_numpy(b))
    np.testing.assert_allclose(y.numpy(), a @ b, atol=1e-5)


CONVOLUTIONS = [
    ((2, 3, 8, 9), 4, (3, 3), {}),
    ((2, 3, 8, 9), 7, (3, 3), {"padding": 1}),
    ((2, 3, 8, 9), 5, (3, 2), {"padding": 1, "stride": 2}),
    ((3, 4, 9, 11), 6, (3, 3), {"padding": (2, 1), "stride": (2, 1), "groups": 2}),
    ((1, 3, 8, 8), 16, (5, 5), {"padding": 2}),
    ((2, 3, 12, 12), 4, (3, 3), {"dilation": 2, "padding": 2}),
    ((2, 6, 7, 7), 6, (3, 3), {"groups": 6, "padding": 1}),
    ((2, 6, 7, 7), 12, (1, 1), {}),
    ((2, 6, 8, 8), 12, (1, 1), {"stride": 2}),
    ((2, 2, 9, 9), 3, (3, 3), {"stride": 3}),
    ((2, 2, 10, 7), 3, (4, 2), {"stride": (3, 2), "padding": (1, 0)}),
    ((2, 2, 5, 5), 3, (5, 5), {"padding": 4}),
    ((1, 1, 3, 40), 2, (1, 7), {"padding": (0, 3)}),
    ((2, 3, 9, 8), 4, (3, 3), {"padding": "same"}),
    ((2, 3, 6, 6), 4, (9, 9), {"padding": 4}),
]  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolutions_and_their_gradients(case):
    shape, out, kernel, how = case
    rng = np.random.default_rng(1)
    groups = how.get("groups", 1)

    def made(*size):
        return cf.tensor(rng.standard_normal(size).astype(np.float32), requires_grad=True)

    x, w, b = made(*shape), made(out, shape[1] // groups, *kernel), made(out)

    def step(x, w, b):
        y = F.conv2d(x, w, b, **how)
        return y.detach(), *cf.autograd.grad((y * y).sum(), [x, w, b])

    for ours, theirs in zip(cf.compile(step)(x, w, b), step(x, w, b), strict=True):
        scale = 1e-5 * (1 + np.abs(theirs.numpy()).max())
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=scale)


def test_a_convolution_and_its_gradients_count_the_same_products():
    x, w = cf.ones(2, 4, 9, 8).requires_grad_(), cf.ones(6, 2, 3, 3).requires_grad_()

    @cf.compile
    def step(x, w):
        y = F.conv2d(x, w, stride=2, padding=1, groups=2)
        return y.detach(), *cf.autograd.grad((y * y).sum(), [x, w])

    step(x, w)
    (version,) = next(iter(step.versions.values()))
    anchors = [
        k.anchor for k in version.native.program.kernels if isinstance(k.anchor, Convolution)
    ]
    assert [a.products() for a in anchors] == [2 * 6 * 5 * 4 * 2 * 9] * 3


POOLS = [
    ("max_pool2d", {"kernel_size": 2}), ("max_pool2d", {"kernel_size": 3, "stride": 2}),
    ("max_pool2d", {"kernel_size": 2, "padding": 1}), ("avg_pool2d", {"kernel_size": 2}),
    ("avg_pool2d", {"kernel_size": (2, 3), "stride": (3, 3)}),
    ("avg_pool2d", {"kernel_size": 3, "stride": 1, "padding": 1}),
    ("adaptive_avg_pool2d", {"output_size": 1}), ("adaptive_max_pool2d", {"output_size": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("pool", "how"), POOLS, ids=str)
@pytest.mark.parametrize("size", [(2, 3, 8, 8), (1, 2, 7, 11), (8, 8, 3, 3), (5, 1, 4, 4)], ids=str)
def test_pooling_and_its_gradient(pool, how, size):
    rng = np.random.default_rng(2)
    values = rng.integers(0, 5, size).astype(np.float32)  # ties: the first maximum wins
    x = cf.tensor(values, requires_grad=True)

    def step(x):
        y = getattr(F, pool)(x, **how)
        weights = cf.arange(y.numel(), dtype=cf.float32).reshape(y.shape)
        return y.detach(), *cf.autograd.grad((y * weights).sum(), [x])

    for ours, theirs in zip(cf.compile(step)(x), step(x), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)


def test_dropout_draws_the_bits_of_eager():
    for shape in [(7,), (3, 5), (64, 33)]:
        step = cf.compile(lambda x: F.dropout(x, 0.4))
        x = cf.ones(*shape)
        cf.manual_seed(42)
        eager = [F.dropout(x, 0.4).numpy() for _ in range(3)]
        cf.manual_seed(42)
        for a in eager:
            np.testing.assert_array_equal(step(x).numpy(), a)
