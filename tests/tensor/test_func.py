"""Functions of functions, against formulas."""

import numpy as np
import pytest

import contraflow as cf
from contraflow import func


def vector(*values):
    return cf.tensor(values, dtype=cf.float64)


def test_grad_nests():
    f = func.grad(func.grad(func.grad(lambda x: x**4)))
    assert f(vector(1.5).sum()).item() == pytest.approx(24 * 1.5)


def test_grad_of_several_arguments_and_trees():
    def f(p, x):
        return (p["w"] * x + p["b"]).sum()

    p = {"w": vector(1.0, 2.0), "b": vector(0.0, 0.0)}
    g, gx = func.grad(f, argnums=(0, 1))(p, vector(3.0, 4.0))
    assert g["w"].tolist() == [3.0, 4.0]
    assert g["b"].tolist() == [1.0, 1.0]
    assert gx.tolist() == [1.0, 2.0]
    assert p["w"].grad is None
    assert not g["w"].requires_grad


def test_grad_and_value_with_aux():
    g, (value, aux) = func.grad_and_value(lambda x: ((x * x).sum(), "aux"), has_aux=True)(
        vector(3.0)
    )
    assert (g.item(), value.item(), aux) == (6.0, 9.0, "aux")


def test_grad_needs_a_number():
    with pytest.raises(cf.GradError, match="single number"):
        func.grad(lambda x: x * 2)(vector(1.0, 2.0))


def test_gradients_flow_through_grad():
    x = cf.tensor(2.0, dtype=cf.float64, requires_grad=True)
    (func.grad(lambda t: t**3)(x) * 5).backward()
    assert x.grad.item() == pytest.approx(5 * 6 * 2.0)


def test_vjp_and_jvp_agree_with_the_jacobian():
    rng = np.random.default_rng(0)
    a = cf.tensor(rng.normal(size=(3, 4)))
    x, v, u = (cf.tensor(rng.normal(size=n)) for n in (4, 4, 3))

    def f(x):
        return cf.tanh(a @ x)

    jacobian = func.jacrev(f)(x).numpy()
    np.testing.assert_allclose(
        jacobian, (1 - np.tanh(a.numpy() @ x.numpy()) ** 2)[:, None] * a.numpy()
    )
    y, pull = func.vjp(f, x)
    np.testing.assert_allclose(y.numpy(), f(x).numpy())
    np.testing.assert_allclose(pull(u)[0].numpy(), u.numpy() @ jacobian)
    np.testing.assert_allclose(pull(u)[0].numpy(), u.numpy() @ jacobian)
    y, slope = func.jvp(f, (x,), (v,))
    np.testing.assert_allclose(slope.numpy(), jacobian @ v.numpy())
    np.testing.assert_array_equal(func.jacobian(f, x).numpy(), jacobian)


def test_jvp_of_a_linear_and_of_a_constant_function():
    x, v = vector(1.0, 2.0), vector(1.0, 1.0)
    assert func.jvp(lambda x: x * 3, (x,), (v,))[1].tolist() == [3.0, 3.0]
    assert func.jvp(lambda x: cf.ones(2), (x,), (v,))[1].tolist() == [0.0, 0.0]


def test_jvp_checks_shapes():
    with pytest.raises(cf.ShapeError, match="tangent 0"):
        func.jvp(cf.sin, (vector(1.0, 2.0),), (vector(1.0),))


def test_hessian():
    rng = np.random.default_rng(0)
    m = rng.normal(size=(3, 3))
    a = cf.tensor(m)
    x = cf.tensor(rng.normal(size=3))
    np.testing.assert_allclose(func.hessian(lambda x: x @ a @ x)(x).numpy(), m + m.T, rtol=1e-12)


def test_jacobian_of_several_arguments_and_outputs():
    def f(x, y):
        return x * y, x.sum()

    (xx, xy), (sx, sy) = func.jacrev(f, argnums=(0, 1))(vector(1.0, 2.0), vector(3.0, 4.0))
    assert xx.tolist() == [[3.0, 0.0], [0.0, 4.0]]
    assert xy.tolist() == [[1.0, 0.0], [0.0, 2.0]]
    assert sx.tolist() == [1.0, 1.0]
    assert sy.tolist() == [0.0, 0.0]


def test_vmap():
    xs, w = cf.tensor(np.arange(6.0).reshape(3, 2)), vector(1.0, 10.0)
    assert func.vmap(cf.dot, in_dims=(0, None))(xs, w).tolist() == [10.0, 32.0, 54.0]
    assert func.vmap(lambda x: x * 2, in_dims=1, out_dims=1)(xs).tolist() == (xs * 2).tolist()
    with pytest.raises(cf.ShapeError, match="in_dims"):
        func.vmap(cf.dot)(xs, w)


def test_vmap_of_an_empty_batch_is_a_lesson():
    with pytest.raises(cf.ShapeError, match="the batch is empty"):
        func.vmap(lambda x: x * 2)(cf.zeros(0, 3))


def test_vmap_over_trees():
    params = {"w": cf.ones(4, 2), "b": cf.arange(4.0)}

    def line(p, xs):
        return {"y": p["w"] @ xs[0] + p["b"], "x": xs[1]}

    xs = (cf.ones(2), cf.zeros(4, 3))
    out = func.vmap(line, in_dims=({"w": 0, "b": 0}, (None, 0)), out_dims={"y": 0, "x": 1})(
        params, xs
    )
    assert out["y"].tolist() == [2.0, 3.0, 4.0, 5.0]
    assert out["x"].shape == (3, 4)


def test_per_example_gradients():
    xs, w = cf.tensor(np.arange(6.0).reshape(3, 2)), vector(0.5, -0.5)
    per_example = func.vmap(func.grad(lambda w, x: (w @ x) ** 2), in_dims=(None, 0))(w, xs)
    x = xs.numpy()
    np.testing.assert_allclose(per_example.numpy(), 2 * (x @ w.numpy())[:, None] * x)
