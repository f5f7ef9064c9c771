"""Initial values: bounds, deviations and shares from the papers' formulas, on many draws."""

from __future__ import annotations

from math import erf, exp, inf, pi, sqrt

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.errors import ArgumentError, ContraflowError, DTypeError, ShapeError
from contraflow.nn import init

FANS = {  # shape: (fan in, fan out)
    (40, 30): (30, 40),
    (12, 8, 5): (8 * 5, 12 * 5),
    (12, 8, 3, 3): (8 * 9, 12 * 9),
    (6, 4, 3, 2, 2): (4 * 12, 6 * 12),
}
BIG = {"dense": (300, 200), "convolution": (64, 32, 3, 3)}


@pytest.fixture(autouse=True)
def seed():
    cf.manual_seed(1234)


def numbers(t):
    return t.detach().numpy().astype(np.float64).ravel()


def looks_uniform(values, low, high):
    """Within the bounds, near both, with the mean and deviation of a uniform distribution."""
    count = values.size
    width = high - low
    assert values.min() >= low
    assert values.max() <= high
    assert values.min() < low + 20 * width / count
    assert values.max() > high - 20 * width / count
    assert abs(values.mean() - (low + high) / 2) < 5 * width / sqrt(12 * count)
    assert abs(values.std() - width / sqrt(12)) < 5 * width / sqrt(12 * count)


def looks_normal(values, mean, std):
    count = values.size
    assert abs(values.mean() - mean) < 5 * std / sqrt(count)
    assert abs(values.std() - std) < 5 * std / sqrt(2 * count)
    z = (values - mean) / std
    assert abs((np.abs(z) < 1).mean() - erf(1 / sqrt(2))) < 5 * 0.47 / sqrt(count)
    assert abs((z**4).mean() - 3) < 5 * sqrt(96 / count)


def same_tensor(function, shape=(20, 30), *args, **kwargs):
    """An initialiser writes into the tensor and returns it, also into a parameter."""
    w = nn.Parameter(cf.empty(*shape))
    assert function(w, *args, **kwargs) is w
    assert w.requires_grad
    assert w.is_leaf
    return w


# ---- fans and gains --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", FANS)
def test_fans(shape):
    assert init._calculate_fan_in_and_fan_out(cf.empty(*shape)) == FANS[shape]


@pytest.mark.parametrize(
    ("name", "param", "gain"),
    [
        ("linear", None, 1), ("conv2d", None, 1), ("conv_transpose3d", None, 1), ("sigmoid", None, 1),
        ("tanh", None, 5 / 3), ("relu", None, sqrt(2)), ("selu", None, 3 / 4),
        ("leaky_relu", None, sqrt(2 / (1 + 0.01**2))), ("leaky_relu", 0.2, sqrt(2 / 1.04)),
        ("leaky_relu", 1, 1),
    ],
)  # fmt: skip
def test_gain(name, param, gain):
    assert init.calculate_gain(name, param) == pytest.approx(gain, rel=1e-15)


# ---- distributions ---------------------------------------------------------------------------


def test_uniform():
    looks_uniform(numbers(same_tensor(init.uniform_, (300, 200), -2.0, 3.0)), -2, 3)
    looks_uniform(numbers(same_tensor(init.uniform_, (300, 200))), 0, 1)


def test_normal():
    looks_normal(numbers(same_tensor(init.normal_, (300, 200), 0.5, 2.0)), 0.5, 2.0)
    assert set(numbers(init.normal_(cf.empty(5), 3.0, 0.0))) == {3.0}


def truncated(mean, std, a, b):
    """Mean and deviation of a normal distribution cut at a and b."""
    low, high = (a - mean) / std, (b - mean) / std
    density = [exp(-z * z / 2) / sqrt(2 * pi) for z in (low, high)]
    mass = (erf(high / sqrt(2)) - erf(low / sqrt(2))) / 2
    shift = (density[0] - density[1]) / mass
    variance = 1 + (low * density[0] - high * density[1]) / mass - shift**2
    return mean + std * shift, std * sqrt(variance)


@pytest.mark.parametrize(
    "bounds",
    [
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 0.02, -0.04, 0.04),
        (1.0, 1.0, 0.0, 1.5),
        (0.0, 1.0, 1.0, 3.0),
        (0.0, 1.0, -0.1, 0.1),
    ],
)
@pytest.mark.parametrize("dtype", [cf.float32, cf.float64])
def test_truncated_normal(bounds, dtype):
    values = numbers(init.trunc_normal_(cf.empty(60000, dtype=dtype), *bounds))
    mean, std = truncated(*bounds)
    assert values.min() >= bounds[2] - 1e-7
    assert values.max() <= bounds[3] + 1e-7
    assert abs(values.mean() - mean) < 5 * std / sqrt(60000)
    assert abs(values.std() - std) < 5 * std / sqrt(60000)


@pytest.mark.parametrize("shape", BIG.values(), ids=BIG)
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_xavier(shape, gain):
    fan_in, fan_out = shape[1] * int(np.prod(shape[2:])), shape[0] * int(np.prod(shape[2:]))
    std = gain * sqrt(2 / (fan_in + fan_out))
    looks_uniform(
        numbers(same_tensor(init.xavier_uniform_, shape, gain)), -sqrt(3) * std, sqrt(3) * std
    )
    looks_normal(numbers(same_tensor(init.xavier_normal_, shape, gain)), 0, std)


@pytest.mark.parametrize("shape", BIG.values(), ids=BIG)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize(
    ("a", "nonlinearity"), [(0, "leaky_relu"), (0.3, "leaky_relu"), (0, "relu"), (0, "tanh")]
)
def test_kaiming(shape, mode, a, nonlinearity):
    fan = (shape[1] if mode == "fan_in" else shape[0]) * int(np.prod(shape[2:]))
    gain = {"leaky_relu": sqrt(2 / (1 + a * a)), "relu": sqrt(2), "tanh": 5 / 3}[nonlinearity]
    std = gain / sqrt(fan)
    options = {"a": a, "mode": mode, "nonlinearity": nonlinearity}
    looks_uniform(
        numbers(same_tensor(init.kaiming_uniform_, shape, **options)), -sqrt(3) * std, sqrt(3) * std
    )
    looks_normal(numbers(same_tensor(init.kaiming_normal_, shape, **options)), 0, std)


@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (9, 4), (6, 2, 3), (1, 7), (7, 1)])
@pytest.mark.parametrize("gain", [1.0, 2.0])
@pytest.mark.parametrize("dtype", [cf.float32, cf.float64])
def test_orthogonal(shape, gain, dtype):
    w = init.orthogonal_(cf.empty(*shape, dtype=dtype), gain).numpy().reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(
        product, gain**2 * np.eye(len(product)), atol=1e-5 if dtype is cf.float32 else 1e-12
    )
    again = init.orthogonal_(cf.empty(*shape, dtype=dtype), gain).numpy()
    assert not np.array_equal(w, again.reshape(w.shape)) or w.size <= 7


def test_orthogonal_matrices_are_uniform():
    """Over the group both signs of an element, and of the determinant, are equally frequent."""
    drawn = np.array(
        [init.orthogonal_(cf.empty(3, 3, dtype=cf.float64)).numpy() for _ in range(600)]
    )
    assert abs(drawn.mean()) < 5 / sqrt(3 * drawn.size)
    assert abs((np.linalg.det(drawn) > 0).mean() - 0.5) < 0.1
    np.testing.assert_allclose((drawn**2).mean(0), 1 / 3, atol=0.08)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_sparse(sparsity):
    w = same_tensor(init.sparse_, (50, 40), sparsity, std=0.3).detach().numpy()
    np.testing.assert_array_equal((w == 0).sum(0), np.ceil(sparsity * 50))
    if sparsity < 0.9:
        looks_normal(w[w != 0].ravel().astype(np.float64), 0, 0.3)
        assert len({tuple(column) for column in (w == 0).T}) > 1 or not sparsity


def test_constants():
    for function, value in (
        (lambda w: init.constant_(w, 0.3), 0.3),
        (init.ones_, 1.0),
        (init.zeros_, 0.0),
    ):
        assert set(numbers(same_tensor(function, (3, 4)))) == {np.float64(np.float32(value))}
    np.testing.assert_array_equal(init.eye_(cf.empty(3, 5)).numpy(), np.eye(3, 5))
    assert init.constant_(cf.empty(2, dtype=cf.int64), 3).tolist() == [3, 3]


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_copies_channels(n, groups):
    w = init.dirac_(cf.empty(6, 4 // groups, *(3,) * n), groups)
    x = cf.randn(2, 4, *(5,) * n)
    y = getattr(nn.functional, f"conv{n}d")(x, w, padding=1, groups=groups).numpy()
    per_group = 6 // groups
    for channel in range(6):
        group, place = divmod(channel, per_group)
        inside = place < 4 // groups
        expected = x.numpy()[:, group * (4 // groups) + place] if inside else np.zeros_like(y[:, 0])
        np.testing.assert_array_equal(y[:, channel], expected)


# ---- randomness ------------------------------------------------------------------------------

RANDOM = {
    "uniform_": (), "normal_": (), "trunc_normal_": (), "xavier_uniform_": (), "xavier_normal_": (),
    "kaiming_uniform_": (), "kaiming_normal_": (), "orthogonal_": (), "sparse_": (0.5,),
}  # fmt: skip


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_repeats(name):
    function, args = getattr(init, name), RANDOM[name]

    def draw(seed):
        return function(cf.empty(6, 5), *args, generator=cf.Generator().manual_seed(seed)).numpy()

    np.testing.assert_array_equal(draw(3), draw(3))
    assert not np.array_equal(draw(3), draw(4))
    cf.manual_seed(7)
    first = function(cf.empty(6, 5), *args).numpy().copy()
    second = function(cf.empty(6, 5), *args).numpy()
    assert not np.array_equal(first, second)
    cf.manual_seed(7)
    np.testing.assert_array_equal(function(cf.empty(6, 5), *args).numpy(), first)


@pytest.mark.parametrize("name", RANDOM)
def test_empty_tensors(name):
    if name == "sparse_":
        assert init.sparse_(cf.empty(0, 3), 0.5).shape == (0, 3)
    else:
        assert getattr(init, name)(cf.empty(0, 3)).shape == (0, 3)


# ---- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda w: init.uniform_(w, 2.0, 1.0), ArgumentError),
        (lambda w: init.normal_(w, 0.0, -1.0), ArgumentError),
        (lambda w: init.trunc_normal_(w, std=0.0), ArgumentError),
        (lambda w: init.trunc_normal_(w, a=1.0, b=-1.0), ArgumentError),
        (lambda w: init.kaiming_normal_(w, mode="fan"), ArgumentError),
        (lambda w: init.kaiming_normal_(w, nonlinearity="swish"), ArgumentError),
        (lambda w: init.sparse_(w, 1.5), ArgumentError),
        (lambda w: init.eye_(w[0]), ShapeError),
        (lambda w: init.sparse_(w[0], 0.5), ShapeError),
        (lambda w: init.orthogonal_(w[0]), ShapeError),
        (lambda w: init.xavier_uniform_(w[0]), ShapeError),
        (lambda w: init.kaiming_uniform_(w[0]), ShapeError),
        (lambda w: init.dirac_(w), ShapeError),
        (lambda w: init.dirac_(w.reshape(4, 3, 1), groups=3), ArgumentError),
        (lambda w: init.uniform_(w.long()), DTypeError),
        (lambda w: init.zeros_([1.0]), DTypeError),
        (lambda w: init.calculate_gain("leaky_relu", True), ArgumentError),
        (lambda w: init.calculate_gain("softplus"), ArgumentError),
    ],
)
def test_refused_and_nothing_written(call, error):
    w = cf.full((4, 3), 7.0)
    with pytest.raises(error):
        call(w)
    assert set(numbers(w)) == {7.0}


# ---- what layers start with --------------------------------------------------------------------

LAYERS = {
    "Linear": (lambda: nn.Linear(100, 80), 1 / sqrt(100), 1 / sqrt(100)),
    "Bilinear": (lambda: nn.Bilinear(50, 20, 10), 1 / sqrt(50), 1 / sqrt(50)),
    "Conv2d": (lambda: nn.Conv2d(8, 300, 3), 1 / sqrt(72), 1 / sqrt(72)),
    "grouped": (lambda: nn.Conv1d(8, 300, 5, groups=4), 1 / sqrt(10), 1 / sqrt(10)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(100, 16, 3), 1 / sqrt(144), 1 / sqrt(144)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_start_uniform_in_their_bound(name):
    make, weight, bias = LAYERS[name]
    layer = make()
    looks_uniform(numbers(layer.weight), -weight, weight)
    values = numbers(layer.bias)
    assert np.abs(values).max() <= bias
    assert values.std() > 0


def test_embeddings_start_normal_with_a_zero_for_padding():
    table = nn.Embedding(400, 50, padding_idx=3).weight.detach().numpy()
    assert not table[3].any()
    looks_normal(np.delete(table, 3, 0).ravel().astype(np.float64), 0, 1)


def test_reset_parameters_draws_anew():
    layer = nn.Linear(20, 20)
    before = layer.weight.detach().numpy().copy()
    layer.reset_parameters()
    assert not np.array_equal(layer.weight.detach().numpy(), before)


def test_variance_is_kept_through_fifty_layers():
    """What He and Glorot promise: activations neither vanish nor explode."""
    x = cf.randn(256, 100)
    for nonlinearity, initialise in (
        (cf.relu, lambda w: init.kaiming_normal_(w, nonlinearity="relu")),
        (lambda t: t, init.xavier_normal_),
        (lambda t: t, init.orthogonal_),
    ):
        h = x
        for _ in range(50):
            h = nonlinearity(h @ initialise(cf.empty(100, 100)).T)
        assert 0.05 < float((h * h).mean()) < 20


def test_skip_init_leaves_the_random_state_alone():
    cf.manual_seed(5)
    expected = cf.rand(3).tolist()
    cf.manual_seed(5)
    layer = nn.utils.skip_init(nn.Linear, 30, 40, bias=False, dtype=cf.float64)
    assert cf.rand(3).tolist() == expected
    assert layer.weight.shape == (40, 30)
    assert layer.weight.dtype is cf.float64
    assert layer.bias is None
    with pytest.raises(DTypeError, match=r"skip_init\(nn.Linear"):
        nn.utils.skip_init(nn.Linear(1, 1))
    with pytest.raises(ContraflowError):
        nn.utils.skip_init(nn.Linear, -1, 1)
    fresh = nn.Linear(30, 40).weight
    assert numbers(fresh).std() > 0.05, "initialisation is on again after an error"
    assert inf > numbers(fresh).max()
