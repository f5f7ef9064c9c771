"""How often a step goes to memory: what is computed once more instead of kept, loops that look at
the same rows one after the other, and sums in registers."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
from contraflow.capture import capture
from contraflow.compiler import schedule as scheduling
from contraflow.compiler.loops import Buffer, Place, Visits
from contraflow.compiler.lower import lower
from contraflow.compiler.schedule import schedule
from contraflow.compiler.visits import sliced
from contraflow.nn import functional as F


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def kernels_of(function, *arrays):
    return schedule(lower(capture(function, *map(cf.tensor, arrays)).graph)).kernels


def kept(kernels, size):
    """How many arrays of so many elements a step keeps for itself."""
    written = {p.buffer for kernel in kernels for p in kernel.writes()}
    return sum(b.kind == "arena" and b.size == size for b in written)


# ---- computed once more ------------------------------------------------------------------------


X, Y, W = numbers(200, 12), numbers(200, 12, seed=1), numbers(12, 8, seed=2)
ONE = len(X) * W.shape[1]  # elements of a product of the two


def normed(x):
    return F.batch_norm(x, None, None, training=True)


def standardised(x):
    centred = x - x.mean(0)
    return centred / np.sqrt((centred**2).mean(0) + 1e-5)


def agrees(function, exact, *arrays):
    found = cf.compile(function)(*map(cf.tensor, arrays)).numpy()
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=5e-6)


def test_a_difference_that_two_kernels_need_is_not_kept():
    def step(x, w):
        return normed(x @ w)

    assert kept(kernels_of(step, X, W), ONE) == 1  # the product
    agrees(step, standardised(X.astype(np.float64) @ W), X, W)


def test_what_follows_from_two_arrays_is_kept():
    def step(x, y, w):
        return normed(normed(x @ w) * (y @ w))

    assert kept(kernels_of(step, X, Y, W), ONE) == 2  # the first product, and that of both
    x, y = X.astype(np.float64), Y.astype(np.float64)
    agrees(step, standardised(standardised(x @ W) * (y @ W)), X, Y, W)


def test_what_is_dear_is_kept():
    def step(x, w):
        z = x @ w
        return normed(cf.exp(z - z.mean(0)))

    assert kept(kernels_of(step, X, W), ONE) == 2  # the product, and the exponential
    z = X.astype(np.float64) @ W
    agrees(step, standardised(np.exp(z - z.mean(0))), X, W)


def test_the_mask_of_a_rectifier_comes_from_what_backward_reads_anyway():
    x, w = cf.tensor(numbers(6, 8, 5, 5)), cf.tensor(numbers(8, 8, 3, 3), requires_grad=True)

    def step(x, w):
        w.grad = None
        y = F.relu(F.batch_norm(F.conv2d(x, w, padding=1), None, None, training=True))
        F.conv2d(y, w, padding=1).square().sum().backward()
        return w.grad

    expected = step(x, w).numpy()
    captured = capture(step, x, w)
    kernels = schedule(lower(captured.graph)).kernels
    (masked,) = [k for k in kernels if k.anchor is not None and "le" in k.ops]
    wide = {p.buffer for p in masked.reads() if p.points() == x.numel()}
    assert len(wide) == 1  # what batch norm was given; neither its result nor the mask
    found = cf.compile(step)(x, w).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * abs(expected).max())


def test_a_mask_without_anything_else_at_hand_comes_from_the_result():
    """A linear layer's sums are in registers only: what is compared is the rectified array."""
    x, w = numbers(16, 24), numbers(24, 24, seed=1)

    def step(x, w):
        h = F.relu(x @ w)
        return h, cf.where(h <= 0, 0.0, x)

    assert kept(kernels_of(step, x, w), x.size) == 0
    h, masked = cf.compile(step)(cf.tensor(x), cf.tensor(w))
    np.testing.assert_array_equal(masked.numpy(), np.where(h.numpy() <= 0, np.float32(0), x))


# ---- slice by slice ------------------------------------------------------------------------------

ROWS = numbers(64, 2048)
FAR = {
    "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, -1),
    "layer_norm": lambda x: F.layer_norm(x, (2048,)),
    "rms_norm": lambda x: F.rms_norm(x, (2048,)),
    "group_norm": lambda x: F.group_norm(x.reshape(4, 32, 1024), 16),
    "centred twice": lambda x: (x - x.mean(1, keepdim=True)).tanh() - x.tanh().sum(1, keepdim=True),
}


def with_gradient(function):
    def step(x):
        x.grad = None
        y = function(x)
        (y * y * y).sum().backward()
        return y.detach(), x.grad

    return step


def leaf():
    return cf.tensor(ROWS, requires_grad=True)


def bits(results):
    return [r.numpy().tobytes() for r in results]


@pytest.mark.parametrize("name", FAR)
def test_loops_over_the_same_rows_are_one(name, monkeypatch):
    """And give the bits that they give one after the other, and eager's numbers."""
    step = with_gradient(FAR[name])
    x = leaf()
    kernels = schedule(lower(capture(step, x).graph)).kernels
    assert any(isinstance(k.anchor, Visits) for k in kernels)
    found = cf.compile(step)(leaf())
    for result, expected in zip(found, step(leaf()), strict=True):
        scale = abs(expected.numpy()).max()
        np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=0, atol=2e-6 * scale)
    monkeypatch.setattr(scheduling, "together", lambda kernels: kernels)
    monkeypatch.setenv("CONTRAFLOW_CACHE", "0")
    apart = capture(step, leaf())
    assert not any(isinstance(k.anchor, Visits) for k in schedule(lower(apart.graph)).kernels)
    assert bits(cf.compile(step)(leaf())) == bits(found)


def test_rows_that_look_at_other_rows_wait_for_them():
    """The second loop reads the rows in reverse: the first one must be through with all."""

    def mirrored(x):
        centred = x - x.mean(1, keepdim=True)
        return centred * centred.flip(0)

    exact = ROWS - ROWS.mean(1, keepdims=True, dtype=np.float64)
    found = cf.compile(mirrored)(cf.tensor(ROWS)).numpy()
    np.testing.assert_allclose(found, exact * exact[::-1], rtol=0, atol=1e-5)


def test_what_stays_near_anyway_is_left_alone():
    kernels = kernels_of(FAR["softmax"], ROWS[:16])
    assert len(kernels) > 1 and not any(isinstance(k.anchor, Visits) for k in kernels)


@pytest.mark.parametrize("seed", range(40))
def test_slices_are_pieces_of_memory_by_themselves(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 5, 3))
    strides = tuple(int(s) for s in rng.choice([0, 1, 2, 3, 4, 6, 8, 12, 24, -4], 3))
    place = Place(Buffer("arena", np.dtype("f4"), 999), 0, shape, strides)
    for d in range(3):
        index = np.indices(shape).reshape(3, -1)
        at = np.tensordot(np.array(strides), index, 1)
        slices = [at[index[d] == k] for k in range(shape[d])]
        step = sliced(place, d)
        if step is not None:
            for k, own in enumerate(slices):
                assert (own // step == k).all()


# ---- sums ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 4, 7, 8, 15, 31, 32, 33, 40, 63, 64, 65, 100, 127, 128, 1000])
def test_sums_of_rows_of_every_length(n):
    """Of whole numbers, so that every order of adding them gives the same."""
    x = np.random.default_rng(n).integers(-50, 50, (3, n)).astype(np.float32)

    def sums(x):
        return x.sum(1), (x * x).sum(1), x.amax(1), x.sum()

    found = cf.compile(sums)(cf.tensor(x))
    for result, expected in zip(found, (x.sum(1), (x * x).sum(1), x.max(1), x.sum()), strict=True):
        np.testing.assert_array_equal(result.numpy(), expected)


@pytest.mark.parametrize("size", [(5, 7), (8, 8), (6, 11), (16, 16)])
def test_sums_of_what_a_convolution_makes(size):
    rng = np.random.default_rng(1)
    x = rng.integers(-3, 4, (3, 2, *size)).astype(np.float32)
    w = rng.integers(-2, 3, (5, 2, 3, 3)).astype(np.float32)

    def sums(x, w):
        y = F.conv2d(x, w, padding=1)
        return y, y.sum((2, 3)), y.square().sum((0, 2, 3))

    y, each, squares = (r.numpy() for r in cf.compile(sums)(cf.tensor(x), cf.tensor(w)))
    np.testing.assert_array_equal(y, F.conv2d(cf.tensor(x), cf.tensor(w), padding=1).numpy())
    np.testing.assert_array_equal(each, y.sum((2, 3)))
    np.testing.assert_array_equal(squares, np.square(y).sum((0, 2, 3)))
