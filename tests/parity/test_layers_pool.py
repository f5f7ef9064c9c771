"""Pooling against PyTorch: values, places, first and second gradients, and captured."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

from tests.parity.twins import check_layer, compare, numbers, refused_by_both  # noqa: E402

F, TF = cf.nn.functional, torch.nn.functional

# (layer, arguments, options, shapes of inputs)
LAYERS = [
    ("MaxPool1d", (2,), {}, [(2, 3, 8), (3, 9), (0, 3, 8)]),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, [(2, 3, 8), (2, 3, 9), (2, 3, 1)]),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, [(2, 3, 8), (2, 3, 9)]),
    ("MaxPool1d", (2,), {"stride": 1, "dilation": 3}, [(2, 3, 8)]),
    ("MaxPool1d", (3,), {"return_indices": True}, [(2, 3, 8), (3, 9)]),
    ("MaxPool1d", (20,), {}, [(2, 3, 20), (2, 3, 45)]),
    ("MaxPool2d", (2,), {}, [(2, 3, 8, 6), (3, 5, 7), (0, 3, 4, 4), (1, 1, 2, 2)]),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1}, [(2, 3, 8, 6), (2, 3, 7, 5), (2, 1, 1, 1)]),
    ("MaxPool2d", ((3, 2),), {"stride": (2, 1), "padding": (1, 0)}, [(2, 3, 8, 6)]),
    ("MaxPool2d", (3,), {"stride": 1, "dilation": (2, 1)}, [(2, 3, 8, 6)]),
    ("MaxPool2d", (2,), {"stride": 3}, [(2, 3, 8, 7)]),
    ("MaxPool2d", (2,), {"ceil_mode": True}, [(2, 3, 7, 5), (3, 5, 5)]),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, [(2, 3, 8, 6)]),
    ("MaxPool2d", (3,), {"stride": 3, "padding": 1, "dilation": 2, "ceil_mode": True},
     [(2, 3, 10, 9)]),
    ("MaxPool2d", (2,), {"return_indices": True}, [(2, 3, 8, 6), (3, 5, 7)]),
    ("MaxPool2d", (3,), {"stride": 1, "padding": 1, "return_indices": True}, [(2, 3, 5, 6)]),
    ("MaxPool3d", (2,), {}, [(2, 3, 4, 6, 4), (3, 5, 4, 3), (0, 2, 4, 4, 4)]),
    ("MaxPool3d", ((2, 3, 1),), {"stride": 2, "padding": (1, 1, 0), "ceil_mode": True},
     [(2, 2, 5, 6, 4)]),
    ("MaxPool3d", (2,), {"stride": 1, "dilation": 2, "return_indices": True}, [(1, 2, 5, 4, 4)]),
    ("AvgPool1d", (2,), {}, [(2, 3, 8), (3, 9), (0, 3, 8)]),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1}, [(2, 3, 8), (2, 3, 9)]),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, [(2, 3, 8), (2, 3, 9)]),
    ("AvgPool1d", (3,), {"padding": 1, "count_include_pad": False}, [(2, 3, 8)]),
    ("AvgPool1d", (20,), {}, [(2, 3, 20), (2, 3, 45)]),
    ("AvgPool2d", (2,), {}, [(2, 3, 8, 6), (3, 5, 7), (0, 3, 4, 4)]),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1}, [(2, 3, 8, 6), (2, 3, 7, 5)]),
    ("AvgPool2d", ((3, 2),), {"stride": (2, 1), "padding": (1, 0)}, [(2, 3, 8, 6)]),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, [(2, 3, 8, 6), (3, 7, 5)]),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
     [(2, 3, 8, 6), (2, 3, 7, 5)]),
    ("AvgPool2d", (2,), {"ceil_mode": True, "divisor_override": 3}, [(2, 3, 7, 6)]),
    ("AvgPool2d", (2,), {"stride": 3}, [(2, 3, 8, 7)]),
    ("AvgPool2d", ((4, 6),), {}, [(2, 3, 4, 6)]),
    ("AvgPool2d", (20,), {}, [(1, 2, 20, 41)]),
    ("AvgPool3d", (2,), {}, [(2, 3, 4, 6, 4), (3, 5, 4, 3), (0, 2, 4, 4, 4)]),
    ("AvgPool3d", ((2, 3, 1),),
     {"stride": 2, "padding": (1, 1, 0), "ceil_mode": True, "count_include_pad": False},
     [(2, 2, 5, 6, 4)]),
    ("AvgPool3d", (2,), {"divisor_override": 5}, [(1, 2, 5, 4, 4)]),
    ("AdaptiveAvgPool1d", (3,), {}, [(2, 3, 9), (2, 3, 8), (3, 2)]),
    ("AdaptiveAvgPool2d", (1,), {}, [(2, 3, 8, 6), (3, 5, 7), (0, 3, 4, 4)]),
    ("AdaptiveAvgPool2d", ((3, 2),), {}, [(2, 3, 8, 6), (2, 3, 9, 4), (2, 3, 2, 5)]),
    ("AdaptiveAvgPool2d", ((None, 4),), {}, [(2, 3, 5, 6)]),
    ("AdaptiveAvgPool3d", ((2, 3, 4),), {}, [(2, 2, 5, 6, 7), (2, 4, 3, 4)]),
    ("AdaptiveMaxPool1d", (3,), {}, [(2, 3, 9), (2, 3, 8), (3, 2)]),
    ("AdaptiveMaxPool1d", (3,), {"return_indices": True}, [(2, 3, 9), (2, 3, 8), (3, 2)]),
    ("AdaptiveMaxPool2d", (2,), {}, [(2, 3, 8, 6), (3, 5, 7), (0, 3, 4, 4)]),
    ("AdaptiveMaxPool2d", ((3, 4),), {"return_indices": True},
     [(2, 3, 9, 8), (2, 3, 8, 7), (2, 3, 2, 9)]),
    ("AdaptiveMaxPool2d", ((None, 4),), {}, [(2, 3, 5, 6)]),
    ("AdaptiveMaxPool3d", ((2, 3, 4),), {"return_indices": True}, [(2, 2, 5, 6, 7)]),
    ("LPPool1d", (2, 3), {}, [(2, 3, 9)]),
    ("LPPool1d", (2, 3), {"stride": 2, "ceil_mode": True}, [(2, 3, 8), (3, 8)]),
    ("LPPool2d", (2, 2), {}, [(2, 3, 8, 6), (3, 5, 7)]),
    ("LPPool2d", (1.5, (2, 3)), {"stride": (1, 2), "ceil_mode": True}, [(2, 3, 8, 6)]),
    ("LPPool3d", (3, 2), {}, [(2, 3, 4, 6, 4)]),
]  # fmt: skip
CASES = [(name, args, options, shape) for name, args, options, shapes in LAYERS for shape in shapes]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "args", "options", "shape"), CASES)
def test_layer(name, args, options, shape, dtype):
    x = numbers(shape)
    if name.startswith("LP"):
        x = np.abs(x) + 0.1  # PyTorch's gradient of a power of negative sums is NaN
    check_layer(name, args, options, [x], dtype)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("indices", [False, True])
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 1, 1), (3, 2, 1)])
def test_equal_values_choose_the_same_place(n, window, indices):
    """Whole numbers have many ties, and the first place in the window gets the gradient."""
    x = np.random.default_rng(3).integers(0, 3, (2, 3, *(7,) * n)).astype(np.float64)
    ours, theirs = (getattr(module, f"max_pool{n}d") for module in (F, TF))
    compare(
        lambda x: ours(x, *window, return_indices=indices),
        lambda x: theirs(x, *window, return_indices=indices),
        [x],
    )


@pytest.mark.parametrize("pool", ["max_pool2d", "adaptive_max_pool2d"])
@pytest.mark.parametrize("indices", [False, True])
def test_nan_and_infinities(pool, indices):
    x = numbers((2, 3, 6, 6))
    x[0, 0, 1, 1] = x[0, 0, 0, 0] = x[1, 2, 3, 3] = x[1, 2, 3, 4] = np.nan
    x[0, 1, :2, :3] = -np.inf
    x[0, 2, 4, 4] = np.inf
    arguments = (2,) if pool == "max_pool2d" else (4,)

    def run(module, make):
        t = make(x).requires_grad_()
        y = getattr(module, pool)(t, *arguments, return_indices=indices)
        values, places = y if indices else (y, None)
        values.backward(make(numbers(values.shape)))
        return values.detach(), t.grad, places

    for a, b in zip(run(F, cf.tensor), run(TF, torch.tensor), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_an_infinite_gradient_stays_at_its_place():
    g = np.array([[[[np.inf, 1.0], [2.0, np.nan]]]])
    x = numbers((1, 1, 4, 4))
    ours, theirs = cf.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    F.max_pool2d(ours, 2).backward(cf.tensor(g))
    TF.max_pool2d(theirs, 2).backward(torch.tensor(g))
    np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())


def test_integers_are_pooled():
    x = np.arange(16).reshape(1, 1, 4, 4)
    ours, theirs = F.max_pool2d(cf.tensor(x), 2), TF.max_pool2d(torch.tensor(x), 2)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert ours.dtype is cf.int64


def test_half_precision_is_summed_in_single():
    x = (np.abs(numbers((1, 1, 64, 64))) * 60).astype(np.float16)
    ours, theirs = F.avg_pool2d(cf.tensor(x), 64), TF.avg_pool2d(torch.tensor(x), 64)
    assert ours.dtype is cf.float16
    assert ours.item() == pytest.approx(theirs.item(), rel=2e-3)


def test_lp_pool_of_nothing_has_no_gradient():
    x = np.zeros((1, 1, 4))
    compare(lambda x: F.lp_pool1d(x, 2.0, 2), lambda x: TF.lp_pool1d(x, 2.0, 2), [x], second=False)


WRONG = [
    ("max_pool2d", (4, 4), (2,), {}, "dimensions"),
    ("max_pool2d", (1, 1, 4, 4), (5,), {}, "do not fit"),
    ("max_pool2d", (1, 1, 4, 4), (2,), {"padding": 2}, "more than half"),
    ("max_pool2d", (1, 1, 4, 4), (2,), {"stride": 0}, "stride must be at least 1"),
    ("max_pool2d", (1, 1, 4, 4), (0,), {}, "kernel_size must be at least 1"),
    ("max_pool2d", (1, 0, 4, 4), (2,), {}, "only the batch may be empty"),
    ("max_pool2d", (1, 1, 4, 4), ((2, 2, 2),), {}, "one integer or 2"),
    ("max_pool1d", (1, 1, 4, 4), (2,), {}, "dimensions"),
    ("avg_pool2d", (1, 1, 4, 4), (2,), {"divisor_override": 0}, "divided by 0"),
    ("avg_pool2d", (1, 1, 4, 4), (2,), {"padding": -1}, "padding must be at least 0"),
    ("avg_pool1d", (4,), (2,), {}, "dimensions"),
    ("adaptive_avg_pool2d", (1, 1, 4, 4), ((2, 2, 2),), {}, "one integer or 2"),
    ("adaptive_avg_pool2d", (1, 1, 4, 4), (-1,), {}, "at least 0"),
    ("adaptive_max_pool2d", (4, 4), (2,), {}, "dimensions"),
]


@pytest.mark.parametrize(("name", "shape", "args", "options", "says"), WRONG)
def test_both_refuse(name, shape, args, options, says):
    message = refused_by_both(
        lambda: getattr(F, name)(cf.ones(*shape), *args, **options),
        lambda: getattr(TF, name)(torch.ones(*shape), *args, **options),
    )
    assert says in message
    assert "fix:" in message
