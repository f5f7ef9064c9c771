"""Functions of nn.functional that are no activation, loss, convolution, pooling or normalisation,
against PyTorch: value and gradients, on the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
import contraflow.nn.functional as F

torch = pytest.importorskip("torch")

rng = np.random.default_rng(5)
TIGHT = {"float64": {"rtol": 1e-10, "atol": 1e-12}, "float32": {"rtol": 3e-5, "atol": 3e-6}}


def x(*shape: int) -> np.ndarray:
    return rng.normal(size=shape)


def ints(high: int, *shape: int) -> np.ndarray:
    return rng.integers(0, high, shape)


def compare(name, operands, options, dtype="float64", twice=True):
    """Value and gradients (also the second ones, in float64) of a function in both libraries."""
    cast = [a.astype(dtype) if a.dtype.kind == "f" else a for a in map(np.asarray, operands)]
    tight = TIGHT[dtype]

    def run(module, library):
        tensors = [module.tensor(a, requires_grad=a.dtype.kind == "f") for a in cast]
        ready = {
            k: module.tensor(v.astype(dtype) if v.dtype.kind == "f" else v)
            if isinstance(v, np.ndarray)
            else v
            for k, v in options.items()
        }
        leaves = [t for t in tensors if t.requires_grad]
        out = getattr(library, name)(*tensors, **ready)
        if not leaves:
            return [out]
        g = np.random.default_rng(0).uniform(0.5, 1.5, tuple(out.shape)).astype(dtype)
        grads = module.autograd.grad(out, leaves, module.tensor(g), create_graph=True)
        found = [out, *grads]
        total = sum((h * h).sum() for h in grads)
        if twice and name in TWICE:
            # an op that is linear has a gradient that depends on nothing: as good as zero
            found += (
                module.autograd.grad(total, leaves, allow_unused=True)
                if total.requires_grad
                else [None] * len(leaves)
            )
        return found

    ours, theirs = run(cf, F), run(torch, torch.nn.functional)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if a is None or b is None:
            assert (a is None or not a.numpy().any()) and (b is None or not b.numpy().any())
            continue
        a, b = a.detach().numpy(), b.detach().numpy()
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, **tight)


TWICE = ("bilinear", "linear", "normalize", "cosine_similarity", "pad")

# (function, operands, options); options that are arrays become tensors
CASES = [
    ("linear", (x(5, 3), x(4, 3)), {}),
    ("linear", (x(2, 5, 3), x(4, 3), x(4)), {}),
    ("linear", (x(3), x(4, 3), x(4)), {}),
    ("linear", (x(5, 3), x(3)), {}),
    ("linear", (x(0, 3), x(4, 3), x(4)), {}),
    ("linear", (x(2, 0), x(4, 0), x(4)), {}),
    ("bilinear", (x(5, 3), x(5, 2), x(4, 3, 2)), {}),
    ("bilinear", (x(5, 3), x(5, 2), x(4, 3, 2), x(4)), {}),
    ("bilinear", (x(2, 6, 3), x(2, 6, 2), x(4, 3, 2), x(4)), {}),
    ("bilinear", (x(3), x(2), x(4, 3, 2), x(4)), {}),
    ("bilinear", (x(0, 3), x(0, 2), x(4, 3, 2), x(4)), {}),
    ("normalize", (x(4, 5),), {}),
    ("normalize", (x(4, 5, 2),), {"p": 1.0, "dim": 2}),
    ("normalize", (x(4, 5),), {"p": 3.0, "dim": -1}),
    ("normalize", (x(4, 5),), {"p": float("inf")}),
    ("normalize", (x(4, 5, 2),), {"dim": (1, 2)}),
    ("normalize", (x(4, 5),), {"eps": 10.0}),
    ("normalize", (x(4),), {"dim": 0}),
    ("pdist", (x(6, 3),), {}),
    ("pdist", (x(6, 3),), {"p": 1.0}),
    ("pdist", (x(6, 3),), {"p": 3.0}),
    ("pdist", (x(6, 3),), {"p": float("inf")}),
    ("pdist", (x(6, 3),), {"p": 0.0}),
    ("pdist", (x(1, 3),), {}),
    ("cosine_similarity", (x(5, 3), x(5, 3)), {}),
    ("cosine_similarity", (x(5, 3), x(5, 3)), {"dim": 0}),
    ("cosine_similarity", (x(2, 5, 3), x(5, 3)), {"dim": -1}),
    ("cosine_similarity", (x(4, 3), x(4, 3)), {"eps": 4.0}),
    ("cosine_similarity", (x(3), x(3)), {"dim": 0}),
    ("pairwise_distance", (x(5, 3), x(5, 3)), {}),
    ("pairwise_distance", (x(5, 3), x(5, 3)), {"p": 1.0, "keepdim": True}),
    ("pairwise_distance", (x(5, 3), x(3)), {"p": 4.0}),
    ("pairwise_distance", (x(3), x(3)), {"p": float("inf"), "eps": 1e-3}),
    ("one_hot", (ints(4, 3, 2),), {"num_classes": 5}),
    ("one_hot", (np.array([0, 2, 1]),), {}),
    ("pad", (x(2, 3),), {"pad": (1, 2)}),
    ("pad", (x(2, 3),), {"pad": (1, 2, 0, 3), "value": 4.5}),
    ("pad", (x(2, 3, 4),), {"pad": (-1, 2, 1, -1)}),
    ("pad", (x(2, 3, 7),), {"pad": (2, 3), "mode": "reflect"}),
    ("pad", (x(3, 7),), {"pad": (6, 0), "mode": "reflect"}),
    ("pad", (x(2, 3, 5, 6),), {"pad": (1, 2, 3, 4), "mode": "reflect"}),
    ("pad", (x(1, 2, 4, 4, 4),), {"pad": (1, 2, 3, 0, 2, 1), "mode": "reflect"}),
    ("pad", (x(2, 3, 5),), {"pad": (7, 9), "mode": "replicate"}),
    ("pad", (x(2, 3, 5, 6),), {"pad": (1, 2, 3, 4), "mode": "replicate"}),
    ("pad", (x(1, 2, 3, 4, 4),), {"pad": (1, 2, 3, 0, 2, 1), "mode": "replicate"}),
    ("pad", (x(2, 3, 5),), {"pad": (2, 5), "mode": "circular"}),
    ("pad", (x(2, 3, 5, 6),), {"pad": (1, 2, 3, 4), "mode": "circular"}),
    ("pad", (x(1, 2, 4, 4, 4),), {"pad": (1, 2, 3, 0, 2, 1), "mode": "circular"}),
    ("embedding", (ints(6, 4), x(6, 3)), {}),
    ("embedding", (ints(6, 4, 2), x(6, 3)), {"padding_idx": 2}),
    ("embedding", (np.array([[5, 5], [1, 0]]), x(6, 3)), {"padding_idx": -1}),
    ("embedding", (np.array([1, 1, 1, 4]), x(6, 3)), {"scale_grad_by_freq": True}),
    ("embedding", (np.array([1, 1, 2, 4]), x(6, 3)), {"scale_grad_by_freq": True, "padding_idx": 1}),
    ("embedding", (np.array(3), x(6, 3)), {}),
    ("embedding", (np.zeros((0,), np.int64), x(6, 3)), {}),
    ("embedding", (ints(6, 4).astype(np.int32), x(6, 3)), {}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("name", "operands", "options"), CASES, ids=lambda c: c if isinstance(c, str) else ""
)
def test_value_and_gradients(name, operands, options, dtype):
    compare(name, operands, options, dtype)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0])
def test_embedding_shortens_the_rows_it_looks_up_in_place(norm_type):
    table, at = x(6, 4) * 3, np.array([1, 4, 1])
    ours, theirs = cf.tensor(table), torch.tensor(table)
    y = F.embedding(cf.tensor(at), ours, max_norm=1.0, norm_type=norm_type)
    ty = torch.nn.functional.embedding(torch.tensor(at), theirs, max_norm=1.0, norm_type=norm_type)
    np.testing.assert_allclose(y.numpy(), ty.numpy(), rtol=1e-7)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-7)
    np.testing.assert_array_equal(ours.numpy()[[0, 2, 3, 5]], table[[0, 2, 3, 5]])


BAGS = [
    (np.array([[1, 2, 4], [4, 3, 4]]), None),
    (np.array([1, 2, 4, 5, 4, 3, 2, 0]), np.array([0, 4])),
    (np.array([1, 2, 4, 5, 4]), np.array([0, 0, 2, 5])),
    (np.array([3]), np.array([0])),
]


@pytest.mark.parametrize("padding", [None, 4])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize(("indices", "offsets"), BAGS)
def test_embedding_bag(indices, offsets, mode, padding):
    options = {"mode": mode, "padding_idx": padding}
    if offsets is not None:
        options["offsets"] = offsets
    compare("embedding_bag", (indices, x(6, 3)), options)


@pytest.mark.parametrize(("indices", "offsets"), BAGS)
def test_embedding_bag_with_weights(indices, offsets):
    """The weights are an operand here, so that their gradient is compared too."""
    table, weights = x(6, 3), x(*indices.shape)

    def run(module, library):
        w = module.tensor(table, requires_grad=True)
        s = module.tensor(weights, requires_grad=True)
        at = None if offsets is None else module.tensor(offsets)
        y = library.embedding_bag(module.tensor(indices), w, at, mode="sum", per_sample_weights=s)
        (y * y).sum().backward()
        return y.detach().numpy(), w.grad.numpy(), s.grad.numpy()

    for a, b in zip(run(cf, F), run(torch, torch.nn.functional), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag_with_the_last_offset(mode):
    options = {"offsets": np.array([0, 3, 5]), "include_last_offset": True, "mode": mode}
    compare("embedding_bag", (np.array([1, 2, 4, 5, 4]), x(6, 3)), options)


def test_embedding_bag_scales_by_frequency():
    """By definition: PyTorch 2.13 divides by the frequency of another row than the one it adds to
    (it numbers the different rows, and reads the indices at that number)."""
    indices, g = np.array([[1, 1, 2], [1, 0, 0]]), x(2, 3)
    table = cf.tensor(x(6, 3), requires_grad=True)
    F.embedding_bag(cf.tensor(indices), table, mode="sum", scale_grad_by_freq=True).backward(
        cf.tensor(g)
    )
    expected = np.zeros((6, 3))
    for bag, rows in enumerate(indices):
        for row in rows:
            expected[row] += g[bag] / (indices == row).sum()
    np.testing.assert_allclose(table.grad.numpy(), expected, rtol=1e-12)


def test_normalizing_zero():
    """Value and gradient as PyTorch's; its second derivative is NaN here, ours is 0."""
    compare("normalize", (np.zeros((2, 3)),), {}, twice=False)


# ---- errors: what PyTorch refuses is refused, with the same builtin behind it --------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda m, F: F.linear(m.ones(2, 3), m.ones(4, 5)),
        lambda m, F: F.linear(m.ones(2, 3), m.ones(4, 3), m.ones(5)),
        lambda m, F: F.linear(m.ones(2, 3), m.ones(4, 3).double()),
        lambda m, F: F.bilinear(m.ones(2, 3), m.ones(2, 4), m.ones(5, 4, 4)),
        lambda m, F: F.bilinear(m.ones(2, 3), m.ones(3, 4), m.ones(5, 3, 4)),
        lambda m, F: F.bilinear(m.ones(2, 3), m.ones(2, 4), m.ones(3, 4)),
        lambda m, F: F.bilinear(m.ones(2, 3), m.ones(2, 4), m.ones(5, 3, 4), m.ones(4)),
        lambda m, F: F.pdist(m.ones(2, 3, 4)),
        lambda m, F: F.pdist(m.ones(2, 3), p=-1.0),
        lambda m, F: F.embedding(m.ones(2), m.ones(4, 3)),
        lambda m, F: F.embedding(m.tensor([4]), m.ones(4, 3)),
        lambda m, F: F.embedding(m.tensor([-1]), m.ones(4, 3)),
        lambda m, F: F.embedding(m.tensor([1]), m.ones(4, 3), padding_idx=4),
        lambda m, F: F.embedding_bag(m.tensor([1, 2]), m.ones(4, 3)),
        lambda m, F: F.embedding_bag(m.tensor([[1, 2]]), m.ones(4, 3), m.tensor([0])),
        lambda m, F: F.embedding_bag(m.tensor([[1, 2]]), m.ones(4, 3), mode="median"),
        lambda m, F: F.embedding_bag(m.tensor([1, 2]), m.ones(4, 3), m.tensor([1])),
        lambda m, F: F.embedding_bag(m.tensor([1, 2]), m.ones(4, 3), m.tensor([0, 5])),
        lambda m, F: F.embedding_bag(
            m.tensor([[1, 2]]), m.ones(4, 3), mode="mean", per_sample_weights=m.ones(1, 2)
        ),
        lambda m, F: F.embedding_bag(
            m.tensor([[1, 2]]), m.ones(4, 3), mode="sum", per_sample_weights=m.ones(2)
        ),
        lambda m, F: F.pad(m.ones(2, 3, 4), (4, 0), mode="reflect"),
        lambda m, F: F.pad(m.ones(2, 3, 4), (5, 0), mode="circular"),
        lambda m, F: F.pad(m.ones(2, 3), (1,)),
        lambda m, F: F.pad(m.ones(2, 3), (1, 1, 1, 1, 1, 1)),
        lambda m, F: F.pad(m.ones(2, 3), (-2, -2)),
        lambda m, F: F.pad(m.ones(2, 3, 4), (1, 1), mode="mirror"),
        lambda m, F: F.one_hot(m.tensor([3]), 3),
        lambda m, F: F.one_hot(m.tensor([-1]), 3),
        lambda m, F: F.one_hot(m.tensor([1.0]), 3),
        lambda m, F: F.normalize(m.ones(2, 3), dim=2),
        lambda m, F: F.cosine_similarity(m.ones(2, 3), m.ones(2, 4)),
        lambda m, F: F.dropout(m.ones(2), p=1.5),
        lambda m, F: F.dropout(m.ones(2), p=-0.1),
        lambda m, F: F.alpha_dropout(m.ones(2), p=1.5),
        lambda m, F: F.gumbel_softmax(m.ones(2, dtype=m.int64)),
    ],
)
def test_refused_by_both(call):
    with pytest.raises(Exception) as theirs:
        call(torch, torch.nn.functional)
    assert not isinstance(theirs.value, AttributeError)
    with pytest.raises(cf.ContraflowError) as ours:
        call(cf, F)
    assert "\n" in str(ours.value), "the message shows no operand and no fix"


# ---- dropout: other random bits than PyTorch's, so by what is common to all draws ----------------


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_statistics(name, p):
    """The values that can occur are PyTorch's, and so is their share."""
    cf.manual_seed(1)
    torch.manual_seed(1)
    ours = getattr(F, name)(cf.ones(40000), p, training=True).numpy()
    theirs = getattr(torch.nn.functional, name)(torch.ones(40000), p, training=True).numpy()
    np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-5)
    dropped = np.isclose(ours, ours[np.abs(ours - np.unique(theirs)[0]) < 1e-4][0])
    assert abs(dropped.mean() - p) < 4 * np.sqrt(p * (1 - p) / 40000)


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance(name):
    cf.manual_seed(2)
    y = getattr(F, name)(cf.randn(200000), 0.3, training=True).numpy()
    assert abs(y.mean()) < 0.01
    if name == "alpha_dropout":
        assert abs(y.std() - 1) < 0.01


SHAPES = {
    "dropout1d": [(6, 5, 30), (5, 30)], "dropout2d": [(6, 5, 4, 4), (6, 5, 4)],
    "dropout3d": [(6, 5, 2, 2, 2), (5, 2, 2, 2)], "feature_alpha_dropout": [(6, 5, 4, 4), (6, 5)],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:dropout2d. Received a 3D")  # PyTorch's
@pytest.mark.parametrize(("name", "shape"), [(n, s) for n, all_ in SHAPES.items() for s in all_])
def test_whole_channels_are_dropped(name, shape):
    cf.manual_seed(0)
    y = getattr(F, name)(cf.ones(*shape), 0.5, training=True).numpy()
    torch.manual_seed(0)
    ty = getattr(torch.nn.functional, name)(torch.ones(*shape), 0.5, training=True).numpy()

    def shared_axes(values):
        """Dimensions along which all numbers are equal: those that one coin decides together."""
        return {d for d in range(values.ndim) if (values == values.take([0], d)).all()}

    assert shared_axes(y) == shared_axes(ty)
    np.testing.assert_allclose(np.unique(y), np.unique(ty), rtol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"],
)
@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_the_gradient_has_the_mask_of_the_value(name, p):
    cf.manual_seed(4)
    shape = SHAPES.get(name, [(50, 20)])[0]
    leaf = cf.randn(*shape, dtype=cf.float64, requires_grad=True)
    g = cf.randn(*shape, dtype=cf.float64)
    y = getattr(F, name)(leaf, p, training=True)
    (slope,) = cf.autograd.grad(y, leaf, g)
    # the same mask again: linear in x, so the slope is a difference of values
    cf.manual_seed(4)
    cf.randn(*shape, dtype=cf.float64)
    cf.randn(*shape, dtype=cf.float64)
    shifted = getattr(F, name)(leaf.detach() + 1.0, p, training=True)
    np.testing.assert_allclose(
        slope.numpy(), ((shifted - y.detach()) * g).numpy(), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    "name",
    ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"],
)
def test_evaluation_is_the_identity(name):
    value = x(*SHAPES.get(name, [(5, 4)])[0])
    y = getattr(F, name)(cf.tensor(value), 0.9, training=False)
    np.testing.assert_array_equal(y.numpy(), value)
