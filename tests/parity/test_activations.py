"""Every activation against PyTorch: value, gradient, second gradient, in place, dtypes refused."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.errors import ArgumentError, DTypeError, ShapeError
from contraflow.nn import activation, functional, softmax

torch = pytest.importorskip("torch")

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": {"rtol": 2e-6, "atol": 5e-7}, "float64": {"rtol": 1e-12, "atol": 1e-14}}
rng = np.random.default_rng(11)
# both sides of every bend, far out, and points well away from the bends (0, ±0.5, ±1, ±3, 6)
POINTS = np.array([
    [-40.0, -7.3, -3.6, -2.2, -1.4, -0.81, -0.3, -0.02, 0.013, 0.27, 0.66, 1.7],
    [2.45, 3.8, 5.2, 6.9, 19.5, 21.0, 45.0, -0.45, 0.45, 0.9, -12.0, 30.0],
])  # fmt: skip

# (function, arguments after the input)
CASES = [
    ("celu", ()), ("celu", (0.7,)), ("celu", (2.5,)), ("celu", (-1.5,)), ("elu", ()), ("elu", (2.5,)), ("elu", (0.3,)),
    ("gelu", ()), ("gelu", ("tanh",)), ("glu", ()), ("glu", (0,)), ("glu", (-1,)),
    ("hardshrink", ()), ("hardshrink", (1.1,)), ("hardsigmoid", ()), ("hardswish", ()),
    ("hardtanh", ()), ("hardtanh", (-2.0, 0.4)), ("leaky_relu", ()), ("leaky_relu", (0.3,)), ("leaky_relu", (-0.3,)),
    ("log_softmax", (0,)), ("log_softmax", (-1,)), ("logsigmoid", ()), ("mish", ()), ("relu", ()),
    ("relu6", ()), ("rrelu", ()), ("rrelu", (0.2, 0.6)), ("selu", ()), ("sigmoid", ()), ("silu", ()),
    ("softmax", (0,)), ("softmax", (1,)), ("softmin", (0,)), ("softmin", (-1,)), ("softplus", ()),
    ("softplus", (2.5, 3.0)), ("softplus", (0.3,)), ("softshrink", ()), ("softshrink", (1.1,)), ("softsign", ()),
    ("tanh", ()), ("tanhshrink", ()), ("threshold", (0.5, 7.0)), ("threshold", (-1.0, -7.5)),
]  # fmt: skip
INPLACE = [
    "celu", "elu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu", "relu6",
    "rrelu", "selu", "silu", "threshold",
]  # fmt: skip
UNDERSCORE = ["celu_", "elu_", "hardtanh_", "leaky_relu_", "relu_", "rrelu_", "selu_", "threshold_"]
ROUNDED = ("celu", "hardsigmoid")  # PyTorch has 1 / alpha and 1 / 6 in float32 here
NEEDED = {"threshold": (0.5, 7.0), "threshold_": (0.5, 7.0), "softmax": (0,), "log_softmax": (0,),
          "softmin": (0,)}  # fmt: skip


def pair(value, dtype="float64", requires_grad=True):
    """The same tensor twice: ours and PyTorch's."""
    value = np.asarray(value, dtype)
    return (
        cf.tensor(value, requires_grad=requires_grad),
        torch.tensor(value, requires_grad=requires_grad),
    )


def close(ours, theirs, **tolerance):
    ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, **tolerance)


def exactness(name):
    return 5e-7 if name in ROUNDED else 1e-12


def weights_like(value):
    return np.cos(np.arange(value.size)).reshape(value.shape) + 1.3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "args"), CASES)
def test_value_and_gradients(name, args, dtype):
    x, tx = pair(POINTS, dtype)
    options = {"approximate": args[0]} if name == "gelu" and args else {}
    args = () if options else args
    y = getattr(functional, name)(x, *args, **options)
    ty = getattr(torch.nn.functional, name)(tx, *args, **options)
    tolerance = TOLERANCE[dtype]
    if dtype == "float64":
        tolerance = {"rtol": exactness(name), "atol": 1e-14}
    close(y, ty, **tolerance)
    g, tg = pair(weights_like(y.detach().numpy()), dtype, requires_grad=False)
    (first,) = cf.autograd.grad(y, x, g, create_graph=True)
    (tfirst,) = torch.autograd.grad(ty, tx, tg, create_graph=True)
    close(first, tfirst, **tolerance)
    if name == "hardsigmoid":  # PyTorch has no second derivative
        return
    (tsecond,) = torch.autograd.grad(tfirst.sum(), tx)
    if not first.requires_grad:  # straight lines: the slope does not depend on x
        assert not tsecond.any()
        return
    (second,) = cf.autograd.grad(first.sum(), x, allow_unused=True, materialize_grads=True)
    single = dtype == "float32"
    close(
        second,
        tsecond,
        rtol=5e-5 if single else tolerance["rtol"] * 10,
        atol=2e-5 if single else 1e-13,
    )


@pytest.mark.parametrize(
    "name",
    ["relu", "elu", "sigmoid", "silu", "gelu", "softplus", "mish", "selu", "logsigmoid", "tanh"],
)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4)])
def test_shapes(name, shape):
    x, tx = pair(rng.normal(size=shape))
    y, ty = getattr(functional, name)(x), getattr(torch.nn.functional, name)(tx)
    close(y, ty, rtol=1e-12)
    y.sum().backward()
    ty.sum().backward()
    close(x.grad, tx.grad, rtol=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "relu",
        "relu6",
        "hardtanh",
        "elu",
        "leaky_relu",
        "hardsigmoid",
        "hardswish",
        "hardshrink",
        "softshrink",
        "celu",
        "selu",
        "threshold",
        "softplus",
        "gelu",
        "silu",
        "mish",
    ],
)
def test_at_bends_and_beyond_numbers(name):
    points = [-6.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, np.inf, -np.inf, np.nan]
    x, tx = pair(points)
    args = NEEDED.get(name, ())
    y, ty = getattr(functional, name)(x, *args), getattr(torch.nn.functional, name)(tx, *args)
    close(y, ty, rtol=1e-12, equal_nan=True)
    y.sum().backward()
    ty.sum().backward()
    finite = np.isfinite(points)
    np.testing.assert_allclose(
        x.grad.numpy()[finite], tx.grad.numpy()[finite], rtol=exactness(name), atol=1e-15
    )


def written(module, library, function, args):
    """What an in-place call leaves in its input, what it returns, and the gradient behind it."""
    x = module.tensor(POINTS, requires_grad=True)
    inner = x * 1.0
    y = getattr(library, function)(inner, *args)
    assert y is inner
    (y * module.tensor(weights_like(POINTS))).sum().backward()
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("name", INPLACE)
def test_inplace(name):
    args = NEEDED.get(name, ())
    parameters = list(inspect.signature(getattr(functional, name)).parameters.values())
    full = (*args, *(p.default for p in parameters[1 + len(args) : -1]), True)
    ours = written(cf, functional, name, full)
    theirs = written(torch, torch.nn.functional, name, full)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=exactness(name), atol=1e-14)


@pytest.mark.parametrize("name", UNDERSCORE)
def test_underscore_forms(name):
    args = NEEDED.get(name, ())
    ours = written(cf, functional, name, args)
    theirs = written(torch, torch.nn.functional, name, args)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_on_a_leaf_is_refused(name):
    x = cf.ones(3, requires_grad=True)
    with pytest.raises(cf.GradError, match="leaf"):
        getattr(functional, name)(x, *NEEDED.get(name, ()), inplace=True)
    assert x.tolist() == [1.0, 1.0, 1.0]


NAMES = sorted({name for name, _ in CASES} | {"prelu", "normalize"})


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
@pytest.mark.parametrize("name", NAMES)
def test_integers_are_taken_and_refused_as_in_pytorch(name, dtype):
    value = np.array([[0, 1, 2, 3], [7, 9, 1, 0]]).astype(dtype)

    def call(module, library):
        args = NEEDED.get(name, ()) if name != "prelu" else (module.tensor([0.25]),)
        return getattr(library, name)(module.tensor(value), *args)

    try:
        expected = call(torch, torch.nn.functional)
    except (RuntimeError, NotImplementedError):
        with pytest.raises((DTypeError, ArgumentError), match=r"fix: .*(float|long)\(\)"):
            call(cf, functional)
        return
    close(call(cf, functional), expected, rtol=1e-6)


# ---- modules -----------------------------------------------------------------------------------

MODULES = [
    ("CELU", {}), ("CELU", {"alpha": 2.0}), ("CELU", {"alpha": 2.0, "inplace": True}), ("ELU", {}), ("ELU", {"alpha": 0.4}), ("ELU", {"inplace": True}),
    ("GELU", {}), ("GELU", {"approximate": "tanh"}), ("GLU", {}), ("GLU", {"dim": 0}),
    ("Hardshrink", {}), ("Hardshrink", {"lambd": 1.0}), ("Hardsigmoid", {}), ("Hardsigmoid", {"inplace": True}), ("Hardswish", {}), ("Hardswish", {"inplace": True}),
    ("Hardtanh", {}), ("Hardtanh", {"min_val": -2.0, "max_val": 0.5, "inplace": True}), ("LeakyReLU", {}), ("LeakyReLU", {"negative_slope": 0.2, "inplace": True}),
    ("LogSigmoid", {}), ("LogSoftmax", {"dim": 1}), ("Mish", {}), ("Mish", {"inplace": True}),
    ("PReLU", {}), ("PReLU", {"num_parameters": 12, "init": 0.1}), ("RReLU", {}), ("RReLU", {"lower": 0.3, "upper": 0.3, "inplace": True}),
    ("ReLU", {}), ("ReLU", {"inplace": True}), ("ReLU6", {}), ("ReLU6", {"inplace": True}), ("SELU", {}), ("SELU", {"inplace": True}),
    ("SiLU", {}), ("SiLU", {"inplace": True}), ("Sigmoid", {}), ("Softmax", {"dim": 0}), ("Softmin", {"dim": -1}),
    ("Softplus", {}), ("Softplus", {"beta": 2, "threshold": 3}), ("Softshrink", {}), ("Softshrink", {"lambd": 0.7}),
    ("Softsign", {}), ("Tanh", {}), ("Tanhshrink", {}), ("Threshold", {"threshold": 0.1, "value": 20}), ("Threshold", {"threshold": 0.1, "value": 20, "inplace": True}),
]  # fmt: skip


def test_every_activation_layer_has_a_case():
    assert {name for name, _ in MODULES} | {"Softmax2d"} == {*activation.__all__, *softmax.__all__}


@pytest.mark.parametrize(("name", "options"), MODULES)
def test_module(name, options):
    ours, theirs = getattr(nn, name)(**options), getattr(torch.nn, name)(**options)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours, theirs = ours.double().eval(), theirs.double().eval()
    x, tx = pair(POINTS)
    y, ty = ours(x * 1.0), theirs(tx * 1.0)
    close(y, ty, rtol=1e-12, atol=1e-14)
    y.sum().backward()
    ty.sum().backward()
    close(x.grad, tx.grad, rtol=exactness(name.lower()), atol=1e-14)
    for p, tp in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, tp.grad, rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 5)])
def test_softmax2d(shape):
    x, tx = pair(rng.normal(size=shape))
    close(nn.Softmax2d()(x), torch.nn.Softmax2d()(tx), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5), (6,), ()])
@pytest.mark.parametrize("slopes", [1, 3])
def test_prelu_shapes(shape, slopes):
    x, tx = pair(rng.normal(size=shape))
    w, tw = pair(rng.normal(size=slopes))
    if slopes == 3 and len(shape) < 2:
        with pytest.raises(RuntimeError):
            torch.nn.functional.prelu(tx, tw)
        with pytest.raises(ShapeError, match="one for each channel"):
            functional.prelu(x, w)
        return
    y, ty = functional.prelu(x, w), torch.nn.functional.prelu(tx, tw)
    close(y, ty, rtol=1e-12)
    y.sum().backward()
    ty.sum().backward()
    close(x.grad, tx.grad, rtol=1e-12)
    close(w.grad, tw.grad, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_softmax_without_dim_takes_pytorchs_and_warns(name, shape):
    x, tx = pair(rng.normal(size=shape))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = getattr(torch.nn.functional, name)(tx)
    with pytest.warns(UserWarning, match="say dim=-1"):
        y = getattr(functional, name)(x)
    close(y, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_softmax_converts_first(name):
    value = np.array([[1, 2], [3, 5]])
    ours = getattr(functional, name)(cf.tensor(value), 1, dtype=cf.float64)
    theirs = getattr(torch.nn.functional, name)(torch.tensor(value), 1, dtype=torch.float64)
    close(ours, theirs, rtol=1e-12)


def test_rrelu_in_training_takes_slopes_between_its_bounds():
    cf.manual_seed(3)
    x = cf.full((20000,), -1.0, requires_grad=True)
    y = functional.rrelu(x, 0.2, 0.6, training=True)
    slopes = -y.detach().numpy()
    assert slopes.min() >= 0.2
    assert slopes.max() <= 0.6
    np.testing.assert_allclose(slopes.mean(), 0.4, atol=0.005)
    np.testing.assert_allclose(slopes.std(), 0.4 / np.sqrt(12), atol=0.003)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), slopes, rtol=1e-6)
    positive = functional.rrelu(cf.ones(5), 0.2, 0.6, training=True)
    assert positive.tolist() == [1.0] * 5


def test_gumbel_softmax_draws_classes_by_their_probability():
    cf.manual_seed(5)
    p = np.array([0.5, 0.3, 0.15, 0.05])
    logits = cf.tensor(np.log(np.tile(p, (20000, 1))), requires_grad=True)
    hard = functional.gumbel_softmax(logits, tau=0.7, hard=True)
    drawn = hard.detach().numpy()
    np.testing.assert_array_equal(drawn.sum(1), 1.0)
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0), p, atol=0.012)
    (hard * hard).sum().backward()
    assert np.isfinite(logits.grad.numpy()).all()
    soft = functional.gumbel_softmax(logits.detach(), tau=0.7)
    np.testing.assert_allclose(soft.numpy().sum(1), 1.0, rtol=1e-12)
    # the greatest share is that of the class drawn: same law
    classes = np.bincount(soft.numpy().argmax(1), minlength=4) / 20000
    np.testing.assert_allclose(classes, p, atol=0.012)


@pytest.mark.parametrize(
    ("call", "theirs", "error"),
    [
        (lambda F, x: F.gelu(x, approximate="sigmoid"), RuntimeError, ArgumentError),
        (lambda F, x: F.softshrink(x, -1.0), RuntimeError, ArgumentError),
        (lambda F, x: F.glu(x[:, :3]), RuntimeError, ShapeError),
        (lambda F, x: F.glu(x.sum()), RuntimeError, ShapeError),
        (lambda F, x: F.celu(x, 0.0), RuntimeError, ArgumentError),
        (lambda F, x: F.softmax(x, 5), IndexError, IndexError),
        (lambda F, x: F.hardtanh(x, 2.0, 1.0), ValueError, ArgumentError),
        (lambda F, x: F.rrelu(x, 0.5, 0.1), RuntimeError, ArgumentError),
    ],
)
def test_errors(call, theirs, error):
    x, tx = pair(POINTS)
    with pytest.raises(theirs):
        call(torch.nn.functional, tx)
    with pytest.raises(error):
        call(functional, x)
