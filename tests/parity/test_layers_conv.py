"""Convolutions and embeddings against PyTorch: values, gradients of both orders, how they start."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

from tests.parity.twins import (  # noqa: E402
    LOOSE,
    TIGHT,
    array,
    check_layer,
    close,
    compare,
    numbers,
    refused_by_both,
    twins,
)

F, TF = cf.nn.functional, torch.nn.functional

CONVOLUTIONS = [
    ("Conv1d", (3, 4, 3), {}, [(2, 3, 8), (3, 8), (0, 3, 8), (2, 3, 3)]),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}, [(2, 4, 9)]),
    ("Conv1d", (3, 4, 1), {"bias": False}, [(2, 3, 5)]),
    ("Conv1d", (3, 4, 4), {"padding": "same"}, [(2, 3, 8)]),
    *[("Conv1d", (3, 4, 3), {"padding": 2, "padding_mode": mode}, [(2, 3, 8), (3, 8)])
      for mode in ("reflect", "replicate", "circular")],
    ("Conv2d", (3, 4, 3), {}, [(2, 3, 6, 5), (3, 6, 5), (0, 3, 6, 5), (1, 3, 3, 3)]),
    ("Conv2d", (1, 2, 3), {"padding": 1}, [(2, 1, 4, 4)]),
    ("Conv2d", (3, 4, (2, 3)), {"stride": (2, 1), "padding": (1, 0)}, [(2, 3, 6, 5)]),
    ("Conv2d", (3, 4, 3), {"stride": 2, "padding": 1}, [(2, 3, 6, 5), (2, 3, 1, 1)]),
    ("Conv2d", (3, 4, 2), {"stride": 3}, [(2, 3, 8, 7)]),
    ("Conv2d", (3, 4, 3), {"dilation": (1, 2), "padding": (0, 2)}, [(2, 3, 6, 5)]),
    ("Conv2d", (4, 6, 3), {"groups": 2, "padding": 1}, [(2, 4, 6, 5)]),
    ("Conv2d", (4, 4, 3), {"groups": 4, "bias": False}, [(2, 4, 6, 5)]),
    ("Conv2d", (4, 8, 3), {"groups": 4, "stride": 2, "padding": 1}, [(2, 4, 6, 5)]),
    ("Conv2d", (3, 4, 1), {}, [(2, 3, 6, 5)]),
    ("Conv2d", (4, 4, 1), {"groups": 2, "stride": 2}, [(2, 4, 6, 5)]),
    ("Conv2d", (2, 20, 2), {"padding": 1}, [(2, 2, 4, 4)]),
    ("Conv2d", (3, 4, 3), {"padding": "same"}, [(2, 3, 6, 5)]),
    ("Conv2d", (3, 4, (2, 4)), {"padding": "same", "dilation": (2, 1)}, [(2, 3, 6, 5)]),
    ("Conv2d", (3, 4, 3), {"padding": "valid"}, [(2, 3, 6, 5)]),
    *[("Conv2d", (3, 4, 3), {"padding": (1, 2), "padding_mode": mode, "stride": 2},
       [(2, 3, 6, 5)]) for mode in ("reflect", "replicate", "circular")],
    *[("Conv2d", (3, 4, (2, 3)), {"padding": "same", "padding_mode": mode}, [(2, 3, 6, 5)])
      for mode in ("reflect", "replicate", "circular")],
    ("Conv3d", (2, 3, 2), {}, [(2, 2, 4, 3, 5), (2, 4, 3, 5)]),
    ("Conv3d", (2, 4, (1, 2, 3)), {"stride": (2, 1, 1), "padding": 1, "groups": 2},
     [(2, 2, 4, 3, 5)]),
    ("Conv3d", (2, 3, 3), {"padding": "same", "padding_mode": "circular"}, [(1, 2, 4, 3, 5)]),
    ("ConvTranspose1d", (3, 4, 3), {}, [(2, 3, 5), (3, 5), (0, 3, 5)]),
    ("ConvTranspose1d", (4, 6, 3),
     {"stride": 3, "padding": 1, "output_padding": 2, "dilation": 2, "groups": 2}, [(2, 4, 5)]),
    ("ConvTranspose2d", (3, 4, 2), {"stride": 2}, [(2, 3, 3, 4), (3, 3, 4)]),
    ("ConvTranspose2d", (3, 4, 3), {"padding": 1, "bias": False}, [(2, 3, 3, 4)]),
    ("ConvTranspose2d", (4, 6, (2, 3)), {"stride": (2, 3), "padding": (0, 1),
     "output_padding": (1, 0), "groups": 2, "dilation": (2, 1)}, [(2, 4, 3, 4)]),
    ("ConvTranspose2d", (2, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1},
     [(2, 2, 1, 1)]),
    ("ConvTranspose2d", (20, 2, 2), {}, [(2, 20, 3, 3)]),
    ("ConvTranspose3d", (2, 3, 2), {"stride": 2, "padding": 1, "output_padding": 1},
     [(2, 2, 3, 2, 3), (2, 3, 2, 3)]),
]  # fmt: skip
CASES = [
    (name, args, options, shape) for name, args, options, shapes in CONVOLUTIONS for shape in shapes
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # PyTorch's copy
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "args", "options", "shape"), CASES)
def test_convolution(name, args, options, shape, dtype):
    check_layer(name, args, options, [numbers(shape)], dtype)


@pytest.mark.parametrize(("n", "size"), [(1, (10,)), (1, (11,)), (2, (8, 10)), (2, (9, 9))])
def test_transposed_to_a_wanted_size(n, size):
    ours, theirs = twins(f"ConvTranspose{n}d", (2, 3, 3), {"stride": 2, "padding": 1})
    x = numbers((2, 2, *(-(-s // 2) for s in size)))
    for wanted in (size, (2, 3, *size)):
        close(ours(cf.tensor(x), wanted), theirs(torch.tensor(x), list(wanted)), TIGHT)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_functions_without_bias(n):
    w, x = numbers((4, 3, *(2,) * n), 5), numbers((2, 3, *(5,) * n))
    for name in (f"conv{n}d", f"conv_transpose{n}d"):
        x_here = x if "transpose" not in name else numbers((2, 4, *(5,) * n))
        compare(
            getattr(F, name), getattr(TF, name), [x_here, w],
        )  # fmt: skip


def test_many_images_in_chunks():
    """More unfolded bytes than are worked on at a time, and a rest in the last chunk."""
    compare(F.conv2d, TF.conv2d, [numbers((7, 8, 40, 40)), numbers((5, 8, 5, 5), 1)], second=False)
    x = numbers((23, 3, 30, 30)).astype(np.float32)
    compare(F.conv2d, TF.conv2d, [x, numbers((9, 3, 3, 3), 1)], "float32", second=False,
            how={"rtol": 1e-3, "atol": 2e-3})  # fmt: skip


STARTS = [
    ("Conv1d", (20, 500, 5), {}),
    ("Conv2d", (8, 64, 3), {"groups": 4}),
    ("ConvTranspose2d", (64, 32, 3), {}),
    ("Conv3d", (4, 32, 3), {}),
    ("Embedding", (500, 40), {}),
    ("EmbeddingBag", (500, 40), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), STARTS)
def test_initial_values_are_drawn_alike(name, args, options):
    cf.manual_seed(1)
    torch.manual_seed(1)
    ours = dict(getattr(cf.nn, name)(*args, **options).named_parameters())
    theirs = dict(getattr(torch.nn, name)(*args, **options).named_parameters())
    assert list(ours) == list(theirs)
    for key, mine in ours.items():
        a, b = array(mine).ravel(), array(theirs[key]).ravel()
        assert mine.dtype is cf.float32
        assert mine.requires_grad
        noise = 4 / np.sqrt(a.size)  # of a mean or a deviation, in deviations
        assert abs(a.mean() - b.mean()) < 1.5 * noise * b.std()
        assert a.std() == pytest.approx(b.std(), rel=1.5 * noise)
        if not name.startswith("Embedding"):  # uniform, within the same bounds
            fan_in = np.prod(theirs["weight"].shape[1:])
            bound = 1 / np.sqrt(fan_in)
            assert np.abs(a).max() <= bound * (1 + 1e-6)
            assert np.abs(b).max() <= bound * (1 + 1e-6)
            assert np.abs(a).max() > bound * (1 - 30 / a.size)


TABLES = [
    ("Embedding", (7, 3), {}, "train"),
    ("Embedding", (7, 3), {"padding_idx": 2}, "train"),
    ("Embedding", (7, 3), {"padding_idx": -1}, "train"),
    ("Embedding", (7, 3), {"scale_grad_by_freq": True}, "train"),
    ("EmbeddingBag", (7, 3), {}, "train"),
    ("EmbeddingBag", (7, 3), {"mode": "sum"}, "train"),
    ("EmbeddingBag", (7, 3), {"mode": "max"}, "train"),
    ("EmbeddingBag", (7, 3), {"mode": "mean", "padding_idx": 1}, "train"),
    ("EmbeddingBag", (7, 3), {"mode": "sum", "padding_idx": 1}, "train"),
    ("EmbeddingBag", (7, 3), {"mode": "max", "padding_idx": 1}, "train"),
]
INDICES = np.array([[1, 2, 4, 1], [6, 6, 0, 2]])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "args", "options", "mode"), TABLES)
def test_table(name, args, options, mode, dtype):
    bags = name == "EmbeddingBag" or "scale_grad_by_freq" in options  # once differentiable there
    check_layer(name, args, options, [INDICES], dtype, mode, second=not bags)
    if name == "Embedding":
        check_layer(name, args, options, [INDICES[0]], dtype, mode, second=not bags)
        check_layer(name, args, options, [np.array(3)], dtype, mode, second=not bags)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("include", [False, True])
def test_bags_by_offsets(mode, include):
    """Bags of several lengths, one of them empty, and the last offset given or not."""
    offsets = np.array([0, 3, 3, 8] if include else [0, 3, 3])
    options = {"mode": mode, "include_last_offset": include}
    ours, theirs = twins("EmbeddingBag", (7, 3), options)
    inputs = [INDICES.reshape(-1), offsets]
    compare(ours, theirs, inputs, second=False)


def test_weighted_bags():
    weights = numbers((2, 4), 3)
    ours, theirs = twins("EmbeddingBag", (7, 3), {"mode": "sum"})
    for layer, library in ((ours, cf), (theirs, torch)):
        layer.made = library.tensor(weights).requires_grad_()
    compare(
        lambda i: ours(i, per_sample_weights=ours.made),
        lambda i: theirs(i, per_sample_weights=theirs.made),
        [INDICES], second=False,
    )  # fmt: skip
    for layer, library in ((ours, cf), (theirs, torch)):
        y = layer(library.tensor(INDICES), per_sample_weights=layer.made)
        y.backward(library.tensor(numbers((2, 3), 4)))
    close(ours.made.grad, theirs.made.grad, TIGHT)
    close(ours.weight.grad, theirs.weight.grad, TIGHT)


@pytest.mark.parametrize("name", ["Embedding", "EmbeddingBag"])
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_long_rows_are_shortened_in_place(name, p):
    ours, theirs = twins(name, (7, 3), {"max_norm": 0.8, "norm_type": p})
    close(ours(cf.tensor(INDICES)), theirs(torch.tensor(INDICES)), {"rtol": 1e-6, "atol": 1e-8})
    close(ours.weight, theirs.weight, {"rtol": 1e-6, "atol": 1e-8})


def test_tables_that_are_given():
    table = numbers((5, 3))
    for name in ("Embedding", "EmbeddingBag"):
        for freeze in (True, False):
            ours = getattr(cf.nn, name).from_pretrained(cf.tensor(table), freeze=freeze)
            theirs = getattr(torch.nn, name).from_pretrained(torch.tensor(table), freeze=freeze)
            assert repr(ours) == repr(theirs)
            assert ours.weight.requires_grad == theirs.weight.requires_grad
            close(ours.weight, theirs.weight, TIGHT)


def test_the_padding_row_starts_at_zero():
    layer = cf.nn.Embedding(4, 3, padding_idx=1)
    assert layer.weight[1].tolist() == [0, 0, 0]
    assert (array(layer.weight)[[0, 2, 3]] != 0).all()


WRONG = [
    (lambda m, t: m.Conv2d(3, 4, 3)(t.ones(1, 2, 5, 5)), "channels"),
    (lambda m, t: m.Conv2d(3, 4, 3)(t.ones(1, 3, 2, 5)), ""),
    (lambda m, t: m.Conv2d(3, 4, 3)(t.ones(5, 5)), "dimensions"),
    (lambda m, t: m.Conv2d(3, 4, 3)(t.ones(1, 3, 5, 5).double()), "float64"),
    (lambda m, t: m.Conv2d(3, 4, 3, groups=2), "must divide"),
    (lambda m, t: m.Conv2d(3, 4, 3, padding="full"), "unknown padding"),
    (lambda m, t: m.Conv2d(3, 4, 3, padding="same", stride=2), "cannot keep the size"),
    (lambda m, t: m.Conv2d(3, 4, 3, padding_mode="mirror"), "padding_mode"),
    (lambda m, t: m.Conv2d(3, 4, 3, padding=4, padding_mode="reflect")(t.ones(1, 3, 4, 4)), ""),
    (lambda m, t: m.ConvTranspose2d(3, 4, 3, output_padding=1)(t.ones(1, 3, 4, 4)), "smaller"),
    (lambda m, t: m.ConvTranspose2d(3, 4, 3)(t.ones(1, 2, 4, 4)), "channels"),
    (lambda m, t: m.ConvTranspose2d(3, 4, 3, padding=3)(t.ones(1, 3, 2, 2)), "size"),
    (lambda m, t: m.ConvTranspose2d(3, 4, 3, stride=2)(t.ones(1, 3, 2, 2), (9, 9)), "reached"),
    (lambda m, t: m.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), "zeros"),
    (lambda m, t: m.functional.conv2d(t.ones(1, 3, 4, 4), t.ones(2, 3, 3, 3), t.ones(3)), "bias"),
    (lambda m, t: m.functional.conv2d(t.ones(1, 3, 4, 4), t.ones(2, 3, 3)), "weight"),
    (lambda m, t: m.Embedding(4, 2)(t.tensor([4])), "4 does not exist"),
    (lambda m, t: m.Embedding(4, 2)(t.tensor([-1])), "-1 does not exist"),
    (lambda m, t: m.Embedding(4, 2)(t.tensor([1.0])), "integers"),
    (lambda m, t: m.Embedding(4, 2, padding_idx=4), "padding_idx"),
    (lambda m, t: m.EmbeddingBag(4, 2)(t.tensor([1, 2])), "offsets"),
    (lambda m, t: m.EmbeddingBag(4, 2)(t.tensor([[1, 2]]), t.tensor([0])), "offsets"),
    (lambda m, t: m.EmbeddingBag(4, 2)(t.tensor([[1]]), per_sample_weights=t.ones(1, 1)), "sum"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "says"), WRONG)
def test_both_refuse(call, says):
    message = refused_by_both(lambda: call(cf.nn, cf), lambda: call(torch.nn, torch))
    assert says in message


def test_weights_of_a_torch_network_give_its_results():
    """A whole network: state loaded across, both modes, float32."""

    def build(nn):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding="same", groups=4), nn.GroupNorm(4, 16),
            nn.GELU(), nn.Upsample(scale_factor=2, mode="bilinear"), nn.AdaptiveAvgPool2d(3),
            nn.Flatten(), nn.LayerNorm(144), nn.Linear(144, 10),
        )  # fmt: skip

    ours, theirs = build(cf.nn), build(torch.nn)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict({k: cf.tensor(array(v)) for k, v in theirs.state_dict().items()})
    x = numbers((4, 1, 8, 8)).astype(np.float32)
    for _ in range(2):
        close(ours(cf.tensor(x)), theirs(torch.tensor(x)), LOOSE)
    ours.eval(), theirs.eval()
    close(ours(cf.tensor(x)), theirs(torch.tensor(x)), LOOSE)
