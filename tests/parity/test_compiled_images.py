"""Compiled convolutions and pools beside PyTorch's: values and gradients, ties and NaN included."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

CASES = {
    "conv1d": ((2, 4, 40), (6, 2, 5), {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}),
    "conv2d": ((2, 3, 15, 14), (8, 3, 3, 5), {"stride": (2, 1), "padding": (1, 2)}),
    "conv3d": ((1, 4, 5, 6, 7), (8, 4, 3, 2, 3), {"padding": 1, "stride": (1, 2, 1)}),
    "conv_transpose2d": (
        (2, 6, 5, 6), (6, 4, 3, 3), {"stride": 3, "padding": 1, "output_padding": 2}),
    "conv_transpose1d": ((2, 4, 9), (4, 3, 4), {"stride": 2, "groups": 2}),
}  # fmt: skip


def both(lib, function, operands):
    """The result and the gradients of the sum of its squares."""
    y = function(*operands)
    grads = lib.autograd.grad((y * y).sum(), operands)
    return y.detach(), *grads


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_convolutions(name, dtype):
    shape, weight, how = CASES[name]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(size).astype(dtype) for size in (shape, weight)]
    ours = [cf.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    conv = getattr(cf.nn.functional, name)
    step = cf.compile(lambda *t: both(cf, lambda x, w: conv(x, w, **how), list(t)))
    expected = both(torch, lambda x, w: getattr(torch.nn.functional, name)(x, w, **how), theirs)
    for a, b in zip(step(*ours), expected, strict=True):
        scale = (1e-5 if dtype is np.float32 else 1e-13) * (1 + b.abs().max().item())
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=scale)


@pytest.mark.parametrize("how", [(2,), (3, 2), (3, 2, 1), (4, 3, 2, 1, True), (9, 2, 4)], ids=str)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_maxima(n, how):
    rng = np.random.default_rng(n)
    size = (2, 3, *(10, 11, 9)[:n])
    values = rng.integers(0, 4, size).astype(np.float32)
    values[rng.random(size) < 0.02] = np.nan
    kernel, stride, padding, dilation, ceil = (*how, *(in_full(how)[len(how) :]))

    def step(lib, x):
        pool = getattr(lib.nn.functional, f"max_pool{n}d")
        y = pool(x, kernel, stride, padding, dilation, ceil)
        weights = lib.arange(y.numel(), dtype=lib.float32).reshape(y.shape)
        (g,) = lib.autograd.grad((y * weights).sum(), [x])
        return y.detach(), g

    ours = cf.compile(lambda x: step(cf, x))(cf.tensor(values, requires_grad=True))
    theirs = step(torch, torch.tensor(values, requires_grad=True))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def in_full(how):
    """The arguments of a pool in full."""
    return (how[0], how[0], 0, 1, False)
