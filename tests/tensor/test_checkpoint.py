"""Recomputation: the same values, gradients and random numbers, with less kept."""

import weakref

import numpy as np
import pytest

import contraflow as cf
from contraflow.utils.checkpoint import checkpoint


def data(*shape, seed=0):
    return cf.tensor(np.random.default_rng(seed).uniform(-1, 1, shape), requires_grad=True)


def layer(x, w):
    return cf.tanh(x @ w) * cf.rand(3, 3, dtype=cf.float64)


def test_same_gradients_and_random_numbers():
    x, w = data(3, 3), data(3, 3, seed=1)
    cf.manual_seed(5)
    layer(layer(x, w), w).sum().backward()
    plain = x.grad, w.grad
    x.grad = w.grad = None
    cf.manual_seed(5)
    y = checkpoint(lambda x: layer(x, w), checkpoint(layer, x, w))
    after = cf.rand(1).item()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), plain[0].numpy())
    np.testing.assert_allclose(w.grad.numpy(), plain[1].numpy(), rtol=1e-14)
    assert cf.rand(1).item() != after


def test_gradients_of_higher_order():
    x, w = data(2), data(2, seed=1)

    def f(x, w):
        return checkpoint(lambda x: cf.tanh(x * x * w), x) * x

    assert cf.autograd.gradcheck(f, (x, w))
    assert cf.autograd.gradgradcheck(f, (x, w))


def test_what_the_part_computed_is_not_kept():
    refs = []

    def part(x):
        h = cf.exp(x)
        refs.append(weakref.ref(h))
        return cf.exp(h)

    y = checkpoint(part, data(4))
    assert refs[0]() is None
    y.sum().backward()
    assert len(refs) == 2


def test_backward_twice_is_an_error():
    y = checkpoint(cf.exp, data(2)).sum()
    y.backward()
    with pytest.raises(cf.GradError, match="second time"):
        y.backward()


def test_autograd_grad_does_not_touch_dot_grad():
    x, w = data(2), data(2, seed=1)
    cf.autograd.grad(checkpoint(lambda x: x * w, x).sum(), x)
    assert w.grad is None
