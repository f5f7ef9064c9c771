"""Distances, covariances, areas and histograms: values and gradients as PyTorch's."""

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 6)), RNG.normal(size=(3, 6))
W, COUNTS = RNG.random(6), np.arange(1, 7)
BATCH = RNG.normal(size=(2, 1, 4, 6)), RNG.normal(size=(5, 3, 6))

CASES = {
    **{
        f"cdist {p}": (lambda lib, t, p=p: lib.cdist(t(A), t(B), p=p))
        for p in (1.0, 2.0, 3.0, float("inf"))
    },
    "cdist batch": lambda lib, t: lib.cdist(t(BATCH[0]), t(BATCH[1])),
    "cdist itself": lambda lib, t: lib.cdist(t(A), t(A)),
    "dist": lambda lib, t: lib.dist(t(A), t(B[:1])),
    "dist 1": lambda lib, t: t(A).dist(t(A * 2), 1),
    "cov": lambda lib, t: lib.cov(t(A)),
    "cov weights": lambda lib, t: lib.cov(
        t(A), correction=0, fweights=lib.tensor(COUNTS), aweights=lib.tensor(W)
    ),
    "cov aweights": lambda lib, t: lib.cov(t(A), aweights=lib.tensor(W)),
    "cov fweights": lambda lib, t: lib.cov(t(A), fweights=lib.tensor(COUNTS)),
    "cov vector": lambda lib, t: t(A[0]).cov(),
    "corrcoef": lambda lib, t: t(A).corrcoef(),
    "corrcoef vector": lambda lib, t: lib.corrcoef(t(A[0])),
    "trapezoid": lambda lib, t: lib.trapezoid(t(A), t(W)),
    "trapezoid dx": lambda lib, t: lib.trapezoid(t(A), dx=0.5, dim=0),
    "trapezoid x": lambda lib, t: lib.trapz(t(A), t(A * 2), dim=0),
    "trapezoid column": lambda lib, t: lib.trapezoid(t(A), t(W[:4]), dim=0),
    "trapezoid one": lambda lib, t: lib.trapezoid(t(A[:, :1])),
    "cumulative": lambda lib, t: lib.cumulative_trapezoid(t(A), t(W)),
}


def run(lib, function):
    leaves = []

    def leaf(array):
        leaves.append(lib.tensor(array, requires_grad=True))
        return leaves[-1]

    y = function(lib, leaf)
    (y * lib.arange(1.0, y.numel() + 1, dtype=lib.float64).reshape(y.shape)).sum().backward()
    return [y.detach().numpy(), *(leaf.grad.numpy() for leaf in leaves)]


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_pytorch(name):
    for found, expected in zip(run(cf, CASES[name]), run(torch, CASES[name]), strict=True):
        assert found.shape == expected.shape and found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, 1e-9, 1e-11)


@pytest.mark.parametrize(
    "options",
    [
        {"bins": 5},
        {"bins": 4, "range": (0.0, 1.0)},
        {"bins": 3, "density": True},
        {"bins": "edges"},
        {"bins": 4, "weight": "w"},
    ],
)
def test_histograms_are_those_of_pytorch(options):
    def of(lib):
        named = {k: v for k, v in options.items() if isinstance(v, int | tuple)}
        if "weight" in options:
            named["weight"] = lib.tensor(np.abs(A))
        if options["bins"] == "edges":
            named["bins"] = lib.tensor([-2.0, 0.0, 0.5, 2.0], dtype=lib.float64)
        return lib.histogram(lib.tensor(A), **named)

    for found, expected in zip(of(cf), of(torch), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), 1e-12)


@pytest.mark.parametrize(
    "bad",
    [
        lambda lib: lib.cdist(lib.ones(2, 3), lib.ones(2, 4)),
        lambda lib: lib.cdist(lib.ones(3), lib.ones(2, 3)),
        lambda lib: lib.cdist(lib.ones(2, 3), lib.ones(2, 3), p=-1.0),
        lambda lib: lib.cov(lib.ones(2, 3, 4)),
        lambda lib: lib.cov(lib.ones(2, 3), aweights=lib.ones(2)),
        lambda lib: lib.trapezoid(lib.ones(2, 3), lib.ones(4)),
        lambda lib: lib.histogram(lib.ones(3), bins=0),
        lambda lib: lib.histogram(lib.ones(3, dtype=lib.int64), bins=2),
        lambda lib: lib.histogram(lib.ones(3), bins=2, weight=lib.ones(2)),
    ],
)
def test_what_pytorch_refuses_is_refused(bad):
    with pytest.raises(Exception):  # noqa: B017
        bad(torch)
    with pytest.raises(cf.ContraflowError):
        bad(cf)


V = RNG.normal(size=3)


def cubes(x):
    return (x**3).sum()


def mixed(x, y):
    return x * y.sum(), (x * x).sum()


FUNCTIONAL = {
    "jacobian": lambda f, t: f.jacobian(lambda x: x.outer(x), t(V)),
    "jacobian several": lambda f, t: f.jacobian(mixed, (t(V), t(V * 2))),
    "jacobian constant": lambda f, t: f.jacobian(lambda x: t(V), t(V)),
    "hessian": lambda f, t: f.hessian(cubes, t(V)),
    "hessian several": lambda f, t: f.hessian(lambda x, y: (x * y * y).sum(), (t(V), t(V * 2))),
    "vjp": lambda f, t: f.vjp(lambda x: x * x, t(V), t(V)),
    "vjp one": lambda f, t: f.vjp(cubes, t(V)),
    "jvp": lambda f, t: f.jvp(lambda x: x * x[0], t(V), t(V + 1)),
    "jvp several": lambda f, t: f.jvp(mixed, (t(V), t(V * 2)), (t(V), t(V))),
    "vhp": lambda f, t: f.vhp(cubes, t(V), t(V + 1)),
    "hvp": lambda f, t: f.hvp(lambda x, y: (x * y * y).sum(), (t(V), t(V)), (t(V), t(V * 2))),
}


def leaves(value):
    if isinstance(value, tuple):
        return [leaf for entry in value for leaf in leaves(entry)]
    return [value.numpy()]


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_derivatives_of_functions_are_those_of_pytorch(name):
    found = leaves(FUNCTIONAL[name](cf.autograd.functional, cf.tensor))
    expected = leaves(FUNCTIONAL[name](torch.autograd.functional, torch.tensor))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, 1e-12, 1e-12)


def test_derivatives_can_be_differentiated_again():
    for lib in (cf, torch):
        x = lib.tensor([1.0, 2.0], requires_grad=True)
        lib.autograd.functional.hessian(
            lambda x: (x**3).sum(), x, create_graph=True
        ).sum().backward()
        assert x.grad.tolist() == [6.0, 6.0]
