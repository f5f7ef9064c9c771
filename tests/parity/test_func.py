"""``cf.func`` beside ``torch.func``: the same program, the same numbers, also nested."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import torch.func as tf  # noqa: E402

import contraflow as cf  # noqa: E402

# torch's forward mode compiles helpers with torch.jit.script, which warns of its own age
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

BOTH = [(cf, cf.func), (torch, tf)]


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.3, 1.2, shape)


def plain(result):
    """Tensors as arrays, through tuples, lists and dicts."""
    if isinstance(result, dict):
        return {key: plain(value) for key, value in result.items()}
    if isinstance(result, tuple | list):
        return tuple(map(plain, result))
    return result.detach().numpy() if hasattr(result, "detach") else result


def same(ours, theirs):
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            same(ours[key], theirs[key])
    elif isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    elif isinstance(ours, np.ndarray):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
        assert ours.shape == theirs.shape
    else:
        assert ours == theirs


def agree(program):
    """Run ``program(library, func, tensor)`` with both libraries."""
    ours, theirs = (
        plain(program(lib, func, lambda *shape, lib=lib, **k: lib.tensor(numbers(*shape, **k))))
        for lib, func in BOTH
    )
    same(ours, theirs)


def network(lib):
    def run(p, x):
        return lib.tanh(x @ p["w1"] + p["b1"]) @ p["w2"]

    return run


def params(t):
    return {"w1": t(3, 4), "b1": t(4, seed=1), "w2": t(4, 2, seed=2)}


PROGRAMS = {
    "grad": lambda lib, func, t: func.grad(lambda x: (x.sin() * x).sum())(t(3)),
    "grad of several": lambda lib, func, t: func.grad(
        lambda a, b: (a * b.exp()).sum(), argnums=(0, 1))(t(3), t(3, seed=1)),
    "grad by the last": lambda lib, func, t: func.grad(
        lambda a, b: (a * b.exp()).sum(), argnums=-1)(t(3), t(3, seed=1)),
    "grad with aux": lambda lib, func, t: func.grad(
        lambda x: ((x**3).sum(), x * 2), has_aux=True)(t(3)),
    "grad and value": lambda lib, func, t: func.grad_and_value(lambda x: (x**3).sum())(t(3)),
    "grad and value with aux": lambda lib, func, t: func.grad_and_value(
        lambda x: ((x**3).sum(), {"doubled": x * 2}), has_aux=True)(t(3)),
    "grad of a tree": lambda lib, func, t: func.grad(
        lambda p, x: (network(lib)(p, x) ** 2).sum())(params(t), t(5, 3)),
    "grad with keywords": lambda lib, func, t: func.grad(
        lambda x, power: (x**power).sum())(t(3), power=4),
    "third derivative": lambda lib, func, t: func.grad(
        func.grad(func.grad(lambda x: x.tanh() * x)))(t(1)[0]),
    "grad of what does not depend": lambda lib, func, t: func.grad(
        lambda x, y: (y * 2).sum())(t(3), t(2)),
    "grad of a norm of a grad": lambda lib, func, t: func.grad(
        lambda x: func.grad(lambda y: (y**4).sum())(x).square().sum())(t(3)),
    "vjp": lambda lib, func, t: (lambda y, pull: (y, pull(t(3, seed=4))))(
        *func.vjp(lambda a, b: a.sin() * b, t(3), t(3, seed=1))),
    "vjp of two results": lambda lib, func, t: (lambda y, pull: (y, pull((t(3, seed=4), t(1)[0]))))(
        *func.vjp(lambda a: (a.sin(), (a * a).sum()), t(3))),
    "vjp with aux": lambda lib, func, t: (lambda y, pull, aux: (y, pull(t(3)), aux))(
        *func.vjp(lambda a: (a.sin(), a.cos()), t(3), has_aux=True)),
    "jvp": lambda lib, func, t: func.jvp(
        lambda a, b: a.sin() * b, (t(3), t(3, seed=1)), (t(3, seed=2), t(3, seed=3))),
    "jvp of two results": lambda lib, func, t: func.jvp(
        lambda a: (a.sin(), (a * a).sum()), (t(3),), (t(3, seed=2),)),
    "jvp of a matrix product": lambda lib, func, t: func.jvp(
        lambda a, b: a @ b, (t(2, 3), t(3, 2)), (t(2, 3, seed=2), t(3, 2, seed=3))),
    "jvp of a constant": lambda lib, func, t: func.jvp(
        lambda a: lib.ones(2, dtype=lib.float64), (t(3),), (t(3),)),
    "jvp of a grad": lambda lib, func, t: func.jvp(
        func.grad(lambda a: (a**3).sum()), (t(3),), (t(3, seed=2),)),
    "jacrev": lambda lib, func, t: func.jacrev(lambda x: x.outer(x).sin())(t(3)),
    "jacrev of several": lambda lib, func, t: func.jacrev(
        lambda a, b: a[:, None] * b, argnums=(0, 1))(t(2), t(3)),
    "jacrev of two results": lambda lib, func, t: func.jacrev(
        lambda a: (a.exp(), (a * a).sum()))(t(3)),
    "jacfwd": lambda lib, func, t: func.jacfwd(lambda x: (x @ x.T).tanh())(t(2, 3)),
    "hessian": lambda lib, func, t: func.hessian(
        lambda x: (x.prod() + x.sin().sum()))(t(4)),
    "hessian of two arguments": lambda lib, func, t: func.hessian(
        lambda a, b: (a * b).sum() ** 2, argnums=(0, 1))(t(2), t(2, seed=1)),
    "jacobian of a jacobian": lambda lib, func, t: func.jacrev(func.jacrev(
        lambda x: x[:2] * x[1:]))(t(3)),
    "vmap": lambda lib, func, t: func.vmap(lambda a, b: (a * b).sum())(t(4, 3), t(4, 3, seed=1)),
    "vmap of other dimensions": lambda lib, func, t: func.vmap(
        lambda a, b: a @ b, in_dims=(2, None), out_dims=1)(t(2, 3, 5), t(3)),
    "vmap of a negative dimension": lambda lib, func, t: func.vmap(
        lambda a: a * 2, in_dims=-1, out_dims=-1)(t(2, 3)),
    "vmap of two results": lambda lib, func, t: func.vmap(
        lambda a: (a * 2, a.sum()))(t(4, 3)),
    "vmap in vmap": lambda lib, func, t: func.vmap(
        func.vmap(lambda a, b: a * b, in_dims=(None, 0)), in_dims=(0, None))(t(3), t(4)),
    "gradients of each example": lambda lib, func, t: func.vmap(
        func.grad(lambda p, x: (network(lib)(p, x) ** 2).sum()),
        in_dims=(None, 0))(params(t), t(5, 3)),
    "jacobian by vmap of vjp": lambda lib, func, t: func.vmap(
        lambda v: func.vjp(lambda x: (x**3), t(3))[1](v)[0])(
            lib.eye(3, dtype=lib.float64)),
    "hessian times vector": lambda lib, func, t: func.grad(
        lambda x: (func.grad(lambda y: (y.exp() * y).sum())(x) * t(3, seed=5)).sum())(t(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_func(name):
    agree(PROGRAMS[name])


@pytest.mark.parametrize("transform", ["grad", "jacrev", "hessian"])
def test_nothing_is_recorded_or_written_outside(transform):
    for lib, func in BOTH:
        x = lib.tensor(numbers(3), requires_grad=False)
        result = getattr(func, transform)(lambda x: (x**3).sum())(x)
        assert not result.requires_grad
        assert x.grad is None
        assert not x.requires_grad


def test_gradients_flow_through_what_is_closed_over():
    found = []
    for lib, func in BOTH:
        w = lib.tensor(numbers(3, seed=1), requires_grad=True)
        x = lib.tensor(numbers(3))
        func.grad(lambda x, w=w: (w * x**2).sum())(x).sum().backward()
        found.append(w.grad.numpy())
    np.testing.assert_allclose(*found)


BAD = {
    "not a scalar": lambda lib, func, t: func.grad(lambda x: x * 2)(t(3)),
    "not a tensor": lambda lib, func, t: func.grad(lambda x: 3.0)(t(3)),
    "argnums that are not there": lambda lib, func, t: func.grad(
        lambda x: x.sum(), argnums=1)(t(3)),
    "another number of cotangents": lambda lib, func, t: func.vjp(
        lambda x: x * 2, t(3))[1](t(3), t(3)),
    "a cotangent of another shape": lambda lib, func, t: func.vjp(lambda x: x * 2, t(3))[1](t(2)),
    "a tangent of another shape": lambda lib, func, t: func.jvp(
        lambda x: x * 2, (t(3),), (t(2),)),
    "another number of tangents": lambda lib, func, t: func.jvp(
        lambda x: x * 2, (t(3),), (t(3), t(3))),
    "batches of different sizes": lambda lib, func, t: func.vmap(
        lambda a, b: a + b)(t(3), t(4)),
    "no batch": lambda lib, func, t: func.vmap(lambda a: a, in_dims=None)(t(3)),
    "another number of in_dims": lambda lib, func, t: func.vmap(
        lambda a: a, in_dims=(0, 0))(t(3)),
    "a batch of a number": lambda lib, func, t: func.vmap(lambda a: a)(t(1)[0]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_torch_refuses_is_a_lesson(name):
    for lib, func in BOTH:
        with pytest.raises(Exception) as caught:
            BAD[name](lib, func, lambda *shape, lib=lib: lib.tensor(numbers(*shape)))
        if lib is cf:
            assert isinstance(caught.value, cf.ContraflowError), repr(caught.value)
