"""The gradient of relu on large arrays works on bits; it must be that of the plain choice."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("view", [lambda a: a, lambda a: a.T, lambda a: a[:, ::2]])
def test_large_arrays(dtype, view):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 90)).astype(dtype)
    g = rng.normal(size=(120, 90)).astype(dtype)
    x[0, :6] = [-1, 1, 1, 0, np.nan, -0.0]
    g[0, :6] = [np.nan, np.inf, -0.0, np.inf, 2, 3]
    x, g = view(x), view(g)
    t = cf.from_numpy(x.copy()).requires_grad_()
    cf.relu(t).backward(cf.from_numpy(g))
    expected = np.where(x <= 0, 0, g)
    np.testing.assert_array_equal(t.grad.numpy(), expected)
    np.testing.assert_array_equal(np.signbit(t.grad.numpy()), np.signbit(expected))
