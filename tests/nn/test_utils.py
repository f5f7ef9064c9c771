"""nn.utils: clipping, vectors of parameters, parametrisations and the norms of weights."""

from __future__ import annotations

import copy
from math import inf, nan

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.errors import ArgumentError, DTypeError, GradError, ShapeError
from contraflow.nn.utils import parametrizations, parametrize

rng = np.random.default_rng(8)


def with_gradients(*arrays):
    """Parameters whose gradients are these arrays; None for no gradient."""
    made = []
    for array in arrays:
        p = cf.tensor(np.zeros(3) if array is None else np.zeros_like(array), requires_grad=True)
        p.grad = None if array is None else cf.tensor(array)
        made.append(p)
    return made


GRADIENTS = (rng.normal(size=(3, 4)), rng.normal(size=5), np.array(2.5))


# ---- clipping --------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 2.0, 3, 0.5, inf, -inf, 4.5])
@pytest.mark.parametrize("foreach", [None, True, False])
def test_clip_grad_norm(p, foreach):
    parameters = with_gradients(*GRADIENTS, None)
    flat = np.concatenate([g.ravel() for g in GRADIENTS])
    if abs(p) == inf:
        expected = (np.abs(flat).max if p > 0 else np.abs(flat).min)()
    else:
        expected = (np.abs(flat) ** p).sum() ** (1 / p)
    norm = nn.utils.clip_grad_norm_(iter(parameters), 0.01, p, foreach=foreach)
    np.testing.assert_allclose(norm.item(), expected, rtol=1e-12)
    for parameter, g in zip(parameters, GRADIENTS, strict=False):
        np.testing.assert_allclose(parameter.grad.numpy(), g * 0.01 / (expected + 1e-6), rtol=1e-12)
    assert parameters[-1].grad is None


def test_small_gradients_are_left_bit_for_bit():
    parameters = with_gradients(*GRADIENTS)
    norm = nn.utils.clip_grad_norm_(parameters, 1e3)
    assert 0 < norm.item() < 1e3
    for parameter, g in zip(parameters, GRADIENTS, strict=True):
        np.testing.assert_array_equal(parameter.grad.numpy(), g)


def test_clip_takes_one_tensor_and_writes_in_place():
    (p,) = with_gradients(np.array([3.0, 4.0]))
    held = p.grad
    assert nn.utils.clip_grad_norm_(p, 1.0).item() == 5.0
    assert p.grad is held
    np.testing.assert_allclose(held.numpy(), [0.6, 0.8], rtol=1e-6)


def test_nothing_to_clip():
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0.0
    assert nn.utils.clip_grad_norm_(with_gradients(None), 1.0).item() == 0.0
    nn.utils.clip_grad_value_([], 1.0)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_gradients_that_are_not_finite(bad):
    parameters = with_gradients(np.array([1.0, bad]), np.array([2.0]))
    with pytest.raises(GradError, match="order 2.0 .* is (nan|inf)"):
        nn.utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
    assert parameters[1].grad.tolist() == [2.0], "nothing was scaled"
    assert not np.isfinite(nn.utils.clip_grad_norm_(parameters, 1.0).item())


@pytest.mark.parametrize("foreach", [None, True, False])
def test_clip_grad_value(foreach):
    parameters = with_gradients(*GRADIENTS, None)
    nn.utils.clip_grad_value_(parameters, 0.5, foreach)
    for parameter, g in zip(parameters, GRADIENTS, strict=False):
        np.testing.assert_array_equal(parameter.grad.numpy(), np.clip(g, -0.5, 0.5))


def test_mixed_precisions_have_a_common_norm():
    a = cf.ones(3, requires_grad=True)
    b = cf.ones(4, dtype=cf.float64, requires_grad=True)
    a.grad, b.grad = cf.full((3,), 2.0), cf.full((4,), 1.0, dtype=cf.float64)
    norm = nn.utils.clip_grad_norm_([a, b], 1.0)
    assert norm.item() == 4.0
    assert (a.grad.dtype, b.grad.dtype) == (cf.float32, cf.float64)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda m: nn.utils.clip_grad_norm_(m, 1.0), DTypeError),
        (lambda m: nn.utils.clip_grad_norm_([1.0], 1.0), DTypeError),
        (lambda m: nn.utils.clip_grad_value_(m, 1.0), DTypeError),
        (lambda m: nn.utils.clip_grad_norm_(m.parameters(), -1.0), ArgumentError),
    ],
)
def test_clip_refuses(call, error):
    with pytest.raises(error, match="fix:"):
        call(nn.Linear(1, 1))


# ---- vectors ---------------------------------------------------------------------------------


def test_parameters_as_a_vector_and_back():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1, bias=False))
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.tolist() == [v for p in net.parameters() for v in p.detach().numpy().ravel()]
    (vector**2).sum().backward()
    np.testing.assert_allclose(net[1].weight.grad.numpy(), 2 * net[1].weight.detach().numpy())
    known = list(net.parameters())
    new = cf.arange(12.0)
    nn.utils.vector_to_parameters(new, net.parameters())
    assert all(a is b for a, b in zip(known, net.parameters(), strict=True))
    assert [v for p in known for v in p.detach().numpy().ravel()] == list(range(12))
    assert all(p.requires_grad and p.is_leaf for p in known)


def test_vectors_that_do_not_fit():
    net = nn.Linear(2, 3)
    before = nn.utils.parameters_to_vector(net.parameters()).tolist()
    for bad in (cf.ones(8), cf.ones(10), cf.ones(3, 3)):
        with pytest.raises(ShapeError, match="9 elements"):
            nn.utils.vector_to_parameters(bad, net.parameters())
    with pytest.raises(DTypeError):
        nn.utils.vector_to_parameters([1.0] * 9, net.parameters())
    assert nn.utils.parameters_to_vector(net.parameters()).tolist() == before


# ---- norms of weights --------------------------------------------------------------------------


def gradcheck(layer, x):
    """Finite differences with respect to all parameters and the input."""
    parameters = list(layer.parameters())

    def loss(x, *values):
        for p, value in zip(parameters, values, strict=True):
            assert p is value
        return layer(x)

    cf.autograd.gradcheck(loss, (x, *parameters))


@pytest.mark.parametrize("make", [nn.utils.weight_norm, parametrizations.weight_norm])
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_splits_length_and_direction(make, dim):
    plain = nn.Linear(3, 4, dtype=cf.float64)
    weight = plain.weight.detach().numpy().copy()
    layer = make(plain, dim=dim)
    np.testing.assert_allclose(layer.weight.detach().numpy(), weight, rtol=1e-12)
    g, v = (p for name, p in layer.named_parameters() if "bias" not in name)
    axis = {0: 1, 1: 0, None: None}[dim]
    expected = np.linalg.norm(weight, axis=axis, keepdims=axis is not None)
    np.testing.assert_allclose(g.detach().numpy(), expected, rtol=1e-12)
    v.data = v.data * 3.0  # only the direction counts
    np.testing.assert_allclose(layer.weight.detach().numpy(), weight, rtol=1e-12)
    gradcheck(layer, cf.tensor(rng.normal(size=(2, 3)), requires_grad=True))


@pytest.mark.parametrize("make", [nn.utils.spectral_norm, parametrizations.spectral_norm])
def test_spectral_norm_finds_the_greatest_singular_value(make):
    plain = nn.Conv2d(3, 4, 2, dtype=cf.float64)
    weight = plain.weight.detach().numpy().copy()
    layer = make(plain, n_power_iterations=200)
    layer(cf.ones(1, 3, 4, 4, dtype=cf.float64))
    sigma = np.linalg.svd(weight.reshape(4, -1), compute_uv=False)[0]
    np.testing.assert_allclose(layer.weight.detach().numpy(), weight / sigma, rtol=1e-9)
    gradcheck(layer.eval(), cf.tensor(rng.normal(size=(1, 3, 4, 4)), requires_grad=True))


def test_power_steps_belong_to_training():
    layer = nn.utils.spectral_norm(nn.Linear(5, 5)).eval()
    u = layer.weight_u.tolist()
    layer(cf.ones(1, 5))
    assert layer.weight_u.tolist() == u
    layer.train()(cf.ones(1, 5))
    assert layer.weight_u.tolist() != u


@pytest.mark.parametrize(
    "make",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
    ],
)
def test_reparametrised_layers_are_copied_converted_trained_and_saved(make):
    layer = make(nn.Linear(3, 2))
    other = copy.deepcopy(layer).double()
    assert other.weight.dtype is cf.float64
    assert layer.weight.dtype is cf.float32
    for p in other.parameters():
        p.data = p.data + 1.0
    assert not np.allclose(other.weight.detach().numpy(), layer.weight.detach().numpy())
    again = make(nn.Linear(3, 2)).double()
    again.load_state_dict(other.state_dict())
    x = cf.ones(1, 3, dtype=cf.float64)
    np.testing.assert_array_equal(
        again.eval()(x).detach().numpy(), other.eval()(x).detach().numpy()
    )
    optimizer = cf.optim.SGD(layer.parameters(), lr=0.1)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = ((layer(cf.ones(1, 3)) - 0.3) ** 2).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_reparametrising_refuses(name):
    reparametrise, remove = getattr(nn.utils, name), getattr(nn.utils, f"remove_{name}")
    layer = nn.Linear(3, 2)
    with pytest.raises(ArgumentError, match="name='weight'"):
        reparametrise(layer, "weights")
    with pytest.raises(ArgumentError, match="not found"):
        remove(layer)
    reparametrise(layer)
    with pytest.raises(ArgumentError, match="computed already"):
        reparametrise(layer)
    with pytest.raises(ArgumentError, match="already has an attribute"):
        layer.weight = nn.Parameter(cf.ones(2, 3))
    remove(layer)
    assert type(layer) is nn.Linear
    assert not layer._forward_pre_hooks
    layer.weight = nn.Parameter(cf.ones(2, 3))
    assert layer.weight.tolist() == [[1.0] * 3] * 2


def test_spectral_norm_needs_a_power_step():
    for make in (nn.utils.spectral_norm, parametrizations.spectral_norm):
        layer = nn.Linear(2, 2)
        with pytest.raises(ArgumentError, match="n_power_iterations=1"):
            make(layer, n_power_iterations=0)
        assert list(layer.state_dict()) == ["weight", "bias"]


def test_two_attributes_may_be_computed():
    layer = nn.utils.weight_norm(nn.utils.weight_norm(nn.Linear(3, 2)), "bias")
    assert list(layer.state_dict()) == ["weight_g", "weight_v", "bias_g", "bias_v"]
    nn.utils.remove_weight_norm(layer)
    assert list(layer.state_dict()) == ["bias_g", "bias_v", "weight"]
    parametrizations.weight_norm(layer)
    assert type(layer).__name__ == "ParametrizedLinear"
    assert isinstance(layer, nn.Linear)
    assert layer(cf.ones(1, 3)).shape == (1, 2)


def test_assigning_changes_what_the_weight_is_computed_from():
    value = cf.tensor(rng.normal(size=(2, 3)))
    for layer in (
        nn.utils.weight_norm(nn.Linear(3, 2, dtype=cf.float64)),
        parametrizations.weight_norm(nn.Linear(3, 2, dtype=cf.float64)),
    ):
        layer.weight = value
        np.testing.assert_allclose(layer.weight.detach().numpy(), value.numpy(), rtol=1e-12)
    layer = nn.utils.spectral_norm(nn.Linear(3, 2, dtype=cf.float64))
    layer.weight = value
    np.testing.assert_array_equal(layer.weight_orig.detach().numpy(), value.numpy())


def test_states_of_the_first_spelling_load_into_the_second():
    old, new = nn.utils.weight_norm(nn.Linear(3, 2)), parametrizations.weight_norm(nn.Linear(3, 2))
    assert str(new.load_state_dict(old.state_dict())) == "<All keys matched successfully>"
    np.testing.assert_array_equal(new.weight.detach().numpy(), old.weight.detach().numpy())


# ---- parametrizations ------------------------------------------------------------------------


class Exp(nn.Module):
    calls = 0

    def forward(self, w):
        type(self).calls += 1
        return cf.exp(w)

    def right_inverse(self, value):
        return cf.log(value)


class OneWay(nn.Module):
    def forward(self, w):
        return w * w


def test_parametrization_of_a_buffer_and_training():
    m = nn.Module()
    m.register_buffer("b", cf.full((2,), 4.0))
    parametrize.register_parametrization(m, "b", OneWay())
    assert m.b.tolist() == [16.0, 16.0]
    assert not list(m.parameters())
    assert list(m.state_dict()) == ["parametrizations.b.original"]
    parametrize.remove_parametrizations(m, "b")
    assert m.b.tolist() == [16.0, 16.0]
    assert list(m.state_dict()) == ["b"]


def test_right_inverse_keeps_the_value_and_the_parameter_object():
    layer = nn.Linear(2, 2)
    layer.weight.data.fill_(2.0)
    weight = layer.weight
    parametrize.register_parametrization(layer, "weight", Exp())
    np.testing.assert_allclose(layer.weight.detach().numpy(), 2.0, rtol=1e-6)
    assert layer.parametrizations.weight.original is weight, "an optimiser knows this one"
    np.testing.assert_allclose(weight.detach().numpy(), np.log(2.0), rtol=1e-6)
    assert parametrize.type_before_parametrizations(layer) is nn.Linear


def test_cached_computes_once():
    layer = parametrize.register_parametrization(nn.Linear(2, 2), "weight", OneWay())
    exp = parametrize.register_parametrization(nn.Linear(2, 2), "bias", Exp(), unsafe=True)
    Exp.calls = 0
    with parametrize.cached():
        assert layer.weight is layer.weight
        assert exp.bias is exp.bias
        with parametrize.cached():
            assert exp.bias is not None
        exp.bias = cf.ones(2)
        np.testing.assert_allclose(exp.bias.detach().numpy(), 1.0)
    assert Exp.calls == 2
    assert layer.weight is not layer.weight


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (lambda self, w: w.sum(), ShapeError),
        (lambda self, w: w.double(), ShapeError),
        (lambda self, w: 3, DTypeError),
    ],
)
def test_a_parametrization_that_does_not_fit_changes_nothing(body, error):
    layer = nn.Linear(2, 2)
    before = layer.weight
    bad = type("Bad", (nn.Module,), {"forward": body})()
    with pytest.raises(error):
        parametrize.register_parametrization(layer, "weight", bad)
    assert type(layer) is nn.Linear
    assert layer.weight is before
    assert list(layer.state_dict()) == ["weight", "bias"]
    parametrize.register_parametrization(layer, "weight", OneWay())
    with pytest.raises(error):
        parametrize.register_parametrization(layer, "weight", bad)
    assert len(layer.parametrizations.weight) == 1


def test_parametrize_refuses():
    layer = nn.Linear(2, 2)
    with pytest.raises(ArgumentError, match="parameters +weight bias"):
        parametrize.register_parametrization(layer, "nope", OneWay())
    with pytest.raises(DTypeError, match="nn.Module"):
        parametrize.register_parametrization(layer, "weight", cf.exp)
    with pytest.raises(ArgumentError, match="not parametrised"):
        parametrize.remove_parametrizations(layer, "weight")
    parametrize.register_parametrization(layer, "weight", OneWay())
    with pytest.raises(ArgumentError, match="right_inverse"):
        layer.weight = cf.ones(2, 2)
    normed = parametrizations.weight_norm(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="leave_parametrized=True"):
        parametrize.remove_parametrizations(normed, "weight", leave_parametrized=False)
    assert parametrize.is_parametrized(normed)
    assert not parametrize.is_parametrized(nn.Linear(2, 2))


# ---- orthogonal --------------------------------------------------------------------------------


@pytest.mark.parametrize("orthogonal_map", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_orthogonal_stays_orthogonal_while_it_learns(orthogonal_map, shape):
    layer = nn.Linear(shape[1], shape[0], dtype=cf.float64)
    parametrizations.orthogonal(layer, orthogonal_map=orthogonal_map)
    gradcheck(layer, cf.tensor(rng.normal(size=(2, shape[1])), requires_grad=True))
    optimizer = cf.optim.Adam(layer.parameters(), lr=0.1)
    x, losses = cf.tensor(rng.normal(size=(8, shape[1]))), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (layer(x) - 0.3).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        w = layer.weight.detach().numpy()
        product = w @ w.T if shape[0] <= shape[1] else w.T @ w
        np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-10)
    assert losses[-1] < losses[0]


def test_orthogonal_takes_an_orthogonal_weight_as_it_is():
    q = nn.init.orthogonal_(cf.empty(4, 4, dtype=cf.float64))
    for options in ({}, {"orthogonal_map": "householder", "use_trivialization": False}):
        layer = nn.Linear(4, 4, dtype=cf.float64)
        layer.weight.data.copy_(q)
        parametrizations.orthogonal(layer, **options)
        np.testing.assert_allclose(layer.weight.detach().numpy(), q.numpy(), atol=1e-12)
        turned = cf.flip(q, [0])
        layer.weight = turned
        np.testing.assert_allclose(layer.weight.detach().numpy(), turned.numpy(), atol=1e-12)


def test_orthogonal_refuses():
    layer = nn.Linear(3, 3)
    with pytest.raises(ShapeError, match="weight_norm for a vector"):
        parametrizations.orthogonal(layer, "bias")
    with pytest.raises(ArgumentError, match="known +matrix_exp, cayley, householder"):
        parametrizations.orthogonal(layer, orthogonal_map="qr")
    assert list(layer.state_dict()) == ["weight", "bias"]
    parametrizations.orthogonal(layer, orthogonal_map="cayley", use_trivialization=False)
    with pytest.raises(ArgumentError, match="_Orthogonal has no right_inverse"):
        layer.weight = cf.eye(3)
