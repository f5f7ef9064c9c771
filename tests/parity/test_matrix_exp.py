"""The exponential of matrices against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [0.0, 1e-3, 0.5, 3.0, 20.0])
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (2, 3, 3), (0, 3, 3)])
def test_value_and_gradient(shape, size, dtype):
    a = (np.random.default_rng(0).normal(size=shape) * size).astype(dtype)
    a = a - a.swapaxes(-1, -2) + 0.1 * a  # near to rotations, so that it does not overflow
    x, tx = cf.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    y, ty = cf.linalg.matrix_exp(x), torch.linalg.matrix_exp(tx)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    scale = max(1.0, float(np.abs(ty.detach().numpy()).max(initial=0)))
    exact = 2e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(
        y.detach().numpy(), ty.detach().numpy(), rtol=exact, atol=exact * scale
    )
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=exact, atol=exact * scale**2)


def test_not_finite_and_not_square():
    assert np.isnan(cf.matrix_exp(cf.tensor([[np.inf]])).numpy()).all()
    with pytest.raises(cf.ShapeError):
        cf.matrix_exp(cf.ones(2, 3))
