"""Normalisation layers against PyTorch: values, gradients of both orders, running statistics."""

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

RUNNING = [
    ("BatchNorm1d", (3,), {}, [(5, 3), (4, 3, 6)]),
    ("BatchNorm1d", (3,), {"eps": 0.1, "momentum": 0.7}, [(5, 3)]),
    ("BatchNorm1d", (3,), {"momentum": None}, [(5, 3)]),
    ("BatchNorm1d", (3,), {"momentum": 0.0}, [(5, 3)]),
    ("BatchNorm1d", (3,), {"affine": False}, [(5, 3), (4, 3, 6)]),
    ("BatchNorm1d", (3,), {"track_running_stats": False}, [(5, 3)]),
    ("BatchNorm1d", (3,), {"affine": False, "track_running_stats": False}, [(5, 3)]),
    ("BatchNorm1d", (3,), {"bias": False}, [(5, 3)]),
    ("BatchNorm2d", (3,), {}, [(2, 3, 4, 5), (2, 3, 1, 1), (1, 3, 2, 2)]),
    ("BatchNorm2d", (3,), {"momentum": None, "affine": False}, [(2, 3, 4, 5)]),
    ("BatchNorm3d", (2,), {}, [(2, 2, 3, 4, 2)]),
    ("InstanceNorm1d", (3,), {}, [(2, 3, 6), (3, 6)]),
    ("InstanceNorm1d", (3,), {"affine": True, "track_running_stats": True}, [(2, 3, 6), (3, 6)]),
    ("InstanceNorm2d", (3,), {}, [(2, 3, 4, 5), (3, 4, 5)]),
    ("InstanceNorm2d", (3,), {"affine": True}, [(2, 3, 4, 5)]),
    ("InstanceNorm2d", (3,), {"affine": True, "bias": False, "track_running_stats": True},
     [(2, 3, 4, 5)]),
    ("InstanceNorm2d", (3,), {"track_running_stats": True, "momentum": 0.6}, [(2, 3, 4, 5)]),
    ("InstanceNorm3d", (2,), {"affine": True, "track_running_stats": True}, [(2, 2, 3, 4, 2)]),
]  # fmt: skip
STILL = [
    ("LayerNorm", (5,), {}, [(2, 3, 5), (5,), (4, 5), (0, 5)]),
    ("LayerNorm", ((4, 5),), {}, [(2, 3, 4, 5), (4, 5)]),
    ("LayerNorm", ((4, 5),), {"elementwise_affine": False, "eps": 0.1}, [(2, 4, 5)]),
    ("LayerNorm", (5,), {"bias": False}, [(3, 5)]),
    ("LayerNorm", (1,), {}, [(3, 1)]),
    ("GroupNorm", (2, 4), {}, [(2, 4), (2, 4, 3), (2, 4, 3, 5), (1, 4, 2, 2, 2), (0, 4, 3)]),
    ("GroupNorm", (1, 4), {"affine": False}, [(2, 4, 3)]),
    ("GroupNorm", (4, 4), {"eps": 0.1}, [(2, 4, 3)]),
    ("GroupNorm", (2, 4), {"bias": False}, [(2, 4, 3)]),
    ("RMSNorm", (5,), {}, [(2, 3, 5), (5,), (0, 5)]),
    ("RMSNorm", ((4, 5),), {"eps": 0.1}, [(2, 4, 5)]),
    ("RMSNorm", (5,), {"elementwise_affine": False}, [(2, 3, 5)]),
    ("LocalResponseNorm", (2,), {}, [(2, 5, 3), (2, 5, 3, 4)]),
    ("LocalResponseNorm", (5,), {"alpha": 0.9, "beta": 0.5, "k": 2.0},
     [(2, 6, 3), (2, 3, 4, 2), (1, 6, 2, 3, 2), (0, 4, 3)]),
]  # fmt: skip


def rows(table):
    return [(name, args, options, shape) for name, args, options, shapes in table
            for shape in shapes]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(("name", "args", "options", "shape"), rows(RUNNING))
def test_layer_with_channels(name, args, options, shape, mode, dtype):
    check_layer(name, args, options, [numbers(shape) * 2 + 1], dtype, mode)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "args", "options", "shape"), rows(STILL))
def test_layer_without_statistics(name, args, options, shape, dtype):
    check_layer(name, args, options, [numbers(shape) * 2 + 1], dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "args", "options", "shape"), rows(RUNNING))
def test_running_statistics(name, args, options, shape, dtype):
    """Three steps of training, then evaluation, then training again after a reset."""
    pair = twins(name, args, options, dtype)
    how = TIGHT if dtype == "float64" else LOOSE
    mine, other = (dict(layer.named_buffers()) for layer in pair)
    assert list(mine) == list(other)
    for step in range(3):
        x = (numbers(shape, step) * (step + 1) + step).astype(dtype)
        ours, theirs = pair[0](cf.tensor(x)), pair[1](torch.tensor(x))
        close(ours, theirs, how)
        for key, value in mine.items():
            close(value, other[key], how, f"{key} after step {step}")
            assert not value.requires_grad
    for layer in pair:
        layer.eval()
    x = numbers(shape, 9).astype(dtype)
    close(pair[0](cf.tensor(x)), pair[1](torch.tensor(x)), how)
    for key, value in mine.items():
        close(value, other[key], how, f"{key} after evaluation")
    for layer in pair:
        layer.reset_parameters()
    for key, value in pair[0].state_dict().items():
        np.testing.assert_array_equal(array(value), array(pair[1].state_dict()[key]))


@pytest.mark.parametrize("name", ["BatchNorm2d", "InstanceNorm2d", "LayerNorm", "GroupNorm"])
def test_a_large_mean_costs_no_digits(name):
    """Means a thousand times the deviation, float32: as exact as PyTorch against float64."""
    args = {"LayerNorm": ((4, 6),), "GroupNorm": (2, 4)}.get(name, (4,))
    x = (numbers((8, 4, 4, 6)) + 1000).astype(np.float32)
    pull = numbers(x.shape, 1).astype(np.float32)

    def run(library, dtype):
        layer = getattr(library.nn, name)(*args).to(dtype)
        t = library.tensor(x).to(dtype).requires_grad_()
        y = layer(t)
        y.backward(library.tensor(pull).to(dtype))
        return array(y), array(t.grad)

    exact = run(torch, torch.float64)
    theirs, ours = run(torch, torch.float32), run(cf, cf.float32)
    for e, t, o in zip(exact, theirs, ours, strict=True):
        assert np.abs(o - e).max() <= 2 * np.abs(t - e).max() + 1e-5


def test_batch_norm_takes_vectors_of_either_kind():
    """The function, with every combination of weight, bias and running statistics."""
    w, b, m, v = (np.abs(numbers((3,), seed)) + 0.1 for seed in range(4))
    for weight in (None, w):
        for bias in (None, b):
            for mean, var, training in ((None, None, True), (m, v, True), (m, v, False)):

                def run(module, make, vectors=(mean, var, weight, bias), training=training):
                    made = [None if a is None else make(a) for a in vectors]
                    return lambda x: module.batch_norm(x, *made, training, 0.3, 1e-3)

                compare(run(F, cf.tensor), run(TF, torch.tensor), [numbers((4, 3, 2))])


def test_instance_norm_as_a_function():
    m, v = np.zeros(3), np.ones(3)
    for stats in (True, False):

        def run(module, make, stats=stats):
            made = (make(m), make(v))
            return lambda x: module.instance_norm(x, *made, use_input_stats=stats, momentum=0.3)

        compare(run(F, cf.tensor), run(TF, torch.tensor), [numbers((2, 3, 4))])


@pytest.mark.parametrize("name", ["BatchNorm2d", "InstanceNorm2d"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_no_batch(name, mode):
    """An empty batch gives an empty result and leaves the statistics alone."""
    x = np.zeros((0, 3, 4, 4))
    ours, theirs = twins(name, (3,), {"track_running_stats": True})
    getattr(ours, mode)(), getattr(theirs, mode)()
    if (name, mode) != ("InstanceNorm2d", "train"):  # PyTorch's become NaN there
        compare(ours, theirs, [x], second=False)
        for key, value in ours.state_dict().items():
            np.testing.assert_array_equal(array(value), array(theirs.state_dict()[key]))
    before = array(ours.running_var)
    assert tuple(ours(cf.tensor(x)).shape) == x.shape
    np.testing.assert_array_equal(array(ours.running_var), before)


HALF = [
    ("layer_norm", ((4,),), (4,)), ("rms_norm", ((4,),), (4,)), ("group_norm", (2,), (4,)),
    ("batch_norm", (None, None), (4,)),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # PyTorch's, of rms_norm
@pytest.mark.parametrize(("name", "args", "shape"), HALF)
@pytest.mark.parametrize("weights", ["float16", "float32"])
def test_half_precision_is_computed_in_single(name, args, shape, weights):
    x, w = (numbers((3, 4)) * 3).astype(np.float16), numbers(shape).astype(weights)
    training = {"training": True} if name == "batch_norm" else {}
    ours = getattr(F, name)(cf.tensor(x), *args, weight=cf.tensor(w), **training)
    theirs = getattr(TF, name)(torch.tensor(x), *args, weight=torch.tensor(w), **training)
    assert ours.dtype is cf.float16
    assert theirs.dtype is torch.float16
    np.testing.assert_allclose(array(ours), array(theirs), rtol=2e-3, atol=1e-3)


def test_old_states_without_a_count_of_batches():
    state = torch.nn.BatchNorm1d(3).state_dict()
    del state["num_batches_tracked"]
    bare = dict(state)  # without metadata, as a file of weights has it
    ours = cf.nn.BatchNorm1d(3)
    ours.load_state_dict(bare)
    assert ours.num_batches_tracked.item() == 0


WRONG = [
    (lambda m, t: m.BatchNorm1d(3)(t.ones(1, 3)), "more than one value"),
    (lambda m, t: m.BatchNorm2d(3)(t.ones(1, 3, 1, 1)), "more than one value"),
    (lambda m, t: m.BatchNorm1d(3)(t.ones(4, 2)), "the input has 2 channels"),
    (lambda m, t: m.BatchNorm1d(3)(t.ones(4, 3, 2, 2)), "takes [N, C] or [N, C, L]"),
    (lambda m, t: m.BatchNorm2d(3)(t.ones(4, 3)), "takes [N, C, H, W]"),
    (lambda m, t: m.BatchNorm3d(3)(t.ones(4, 3, 2, 2)), "takes [N, C, D, H, W]"),
    (lambda m, t: m.InstanceNorm1d(3)(t.ones(4, 3, 1)), "more than one place"),
    (lambda m, t: m.LayerNorm(3)(t.ones(4, 2)), "last dimensions"),
    (lambda m, t: m.LayerNorm((4, 3))(t.ones(3)), "last dimensions"),
    (lambda m, t: m.GroupNorm(2, 3), "must divide"),
    (lambda m, t: m.GroupNorm(2, 4)(t.ones(2, 6)), "weight must be [6]"),
    (lambda m, t: m.GroupNorm(2, 4)(t.ones(4)), "must divide the channels"),
    (lambda m, t: m.RMSNorm(3)(t.ones(4, 2)), "last dimensions"),
    (lambda m, t: m.LocalResponseNorm(2)(t.ones(4, 2)), "at least 3 dimensions"),
    (lambda m, t: m.functional.batch_norm(t.ones(4, 2), None, None), "needs running_mean"),
    (lambda m, t: m.BatchNorm1d(3)(t.ones(4, 3).double()), "the input is float64, running_mean"),
    (lambda m, t: m.LayerNorm(3)(t.ones(4, 3).double()), "the input is float64, weight is float32"),
    (lambda m, t: m.GroupNorm(3, 3).double()(t.ones(4, 3)), "weight is float64"),
    (lambda m, t: m.BatchNorm1d(3)(t.ones(4, 3).long()), "floating"),
    (lambda m, t: m.RMSNorm(3)(t.ones(4, 3).long()), "floating"),
    (lambda m, t: m.functional.group_norm(t.ones(1, 1), 1), "no variance"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "says"), WRONG)
def test_both_refuse(call, says):
    message = refused_by_both(lambda: call(cf.nn, cf), lambda: call(torch.nn, torch))
    assert says in message
    assert "fix:" in message


def test_a_refused_batch_changes_nothing():
    layer = cf.nn.BatchNorm1d(3)
    with pytest.raises(cf.ArgumentError):
        layer(cf.ones(1, 3))
    with pytest.raises(cf.ShapeError):
        layer(cf.ones(4, 2))
    assert layer.num_batches_tracked.item() == 0
    assert layer.running_mean.tolist() == [0, 0, 0]
