"""Convolutions and pooling of every kind in native code: compiled is eager, nothing is opaque."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
from contraflow.base import threads
from contraflow.compiler import batched
from contraflow.compiler import native as compiler
from contraflow.compiler.batched import Batched
from contraflow.compiler.loops import Convolution, Opaque
from contraflow.compiler.plans import plan_of
from contraflow.compiler.targets import target
from contraflow.nn import functional as F


def native_of(step):
    """The native program of a compiled step, which holds nothing that NumPy computes."""
    (version,) = next(iter(step.versions.values()))
    opaque = [k.anchor.op.name for k in version.native.program.kernels
              if isinstance(k.anchor, Opaque)]  # fmt: skip
    assert not opaque, f"left to NumPy: {opaque}"
    return version.native


def compared(step, *operands, rtol=1e-5):
    """Compiled is eager, to a few ulp of the largest number."""
    compiled = cf.compile(step)
    for ours, theirs in zip(compiled(*operands), step(*operands), strict=True):
        theirs = theirs.numpy()
        wide = rtol if theirs.dtype == np.float32 else rtol * 1e-8
        scale = wide * (1 + np.abs(theirs).max(initial=0, where=np.isfinite(theirs)))
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=scale)
    return native_of(compiled)


def made(rng, *shape, dtype=np.float32):
    return cf.tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)


def with_gradients(rng, function, *operands):
    """The function and its gradients, each element of the result with a weight of its own."""

    def step(*operands):
        y = function(*operands)
        weights = cf.sin(cf.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
        return y.detach(), *cf.autograd.grad((y * weights).sum(), list(operands))

    return compared(step, *operands)


# ---- convolutions --------------------------------------------------------------------------------


def random_case(seed):
    """Sizes, stride, padding, dilation and groups of a convolution, all at random."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    groups = int(rng.choice([1, 1, 2, 3, 5]))
    channels = groups * int(rng.integers(1, 5))
    outputs = groups * int(rng.integers(1, 8 if n > 1 else 20))
    kernel = tuple(int(k) for k in rng.integers(1, 5 if n > 1 else 9, n))
    how = {
        "stride": tuple(int(s) for s in rng.integers(1, 4, n)),
        "padding": tuple(int(p) for p in rng.integers(0, 4, n)),
        "dilation": tuple(int(d) for d in rng.integers(1, 4, n)),
        "groups": groups,
    }
    reach = [d * (k - 1) + 1 for d, k in zip(how["dilation"], kernel, strict=True)]
    size = tuple(
        int(rng.integers(max(r - 2 * p, 1), r + (14 if n < 3 else 4)))
        for r, p in zip(reach, how["padding"], strict=True)
    )
    dtype = [np.float32, np.float64][seed % 2]
    return rng, n, (int(rng.integers(1, 4)), channels, *size), outputs, kernel, how, dtype


@pytest.mark.parametrize("seed", range(60))
def test_random_convolutions(seed):
    rng, n, shape, outputs, kernel, how, dtype = random_case(seed)
    conv = getattr(F, f"conv{n}d")
    x = made(rng, *shape, dtype=dtype)
    w = made(rng, outputs, shape[1] // how["groups"], *kernel, dtype=dtype)
    b = made(rng, outputs, dtype=dtype)
    with_gradients(rng, lambda x, w, b: F.relu(conv(x, w, b, **how)), x, w, b)


@pytest.mark.parametrize("seed", range(100, 130))
def test_random_transposed_convolutions(seed):
    rng, n, shape, outputs, kernel, how, dtype = random_case(seed)
    conv = getattr(F, f"conv_transpose{n}d")
    groups = how["groups"]
    how["padding"] = tuple(
        min(p, d * (k - 1)) for p, d, k in zip(how["padding"], how["dilation"], kernel, strict=True)
    )
    how["output_padding"] = tuple(int(rng.integers(0, s)) for s in how["stride"])
    x = made(rng, *shape, dtype=dtype)
    w = made(rng, shape[1], outputs // groups, *kernel, dtype=dtype)
    b = made(rng, outputs, dtype=dtype)
    with_gradients(rng, lambda x, w, b: conv(x, w, b, **how), x, w, b)


SPECIAL = {
    "large kernel": ((2, 3, 20, 19), (4, 3, 9, 8), {"padding": 4}),
    "large kernel, strided": ((2, 2, 20, 21), (3, 2, 8, 8), {"padding": 3, "stride": (2, 3)}),
    "large depthwise": ((2, 6, 14, 14), (6, 1, 9, 9), {"padding": 4, "groups": 6}),
    "a kernel of one long row": ((1, 2, 4, 80), (3, 2, 1, 70), {}),
    "large image": ((1, 2, 130, 300), (3, 2, 3, 3), {"padding": 1}),
    "large image, strided": ((1, 8, 131, 200), (9, 8, 3, 3), {"padding": 1, "stride": 2}),
    "long sequence": ((1, 4, 200_000), (5, 4, 5), {"padding": 2}),
    "large volume": ((1, 8, 9, 64, 70), (2, 8, 3, 3, 3), {"padding": 1}),
    "one image, many channels": ((1, 40, 6, 6), (50, 40, 3, 3), {"padding": 1}),
    "all channels at once": ((4, 33, 5, 7), (41, 33, 1, 1), {}),
    "pixels apart": ((4, 9, 8, 9), (17, 9, 1, 1), {"stride": 2}),
    "wider stride than kernel": ((2, 3, 11, 11), (8, 3, 2, 2), {"stride": 4}),
    "depth multiplier": ((2, 4, 9, 9), (12, 1, 3, 3), {"groups": 4, "padding": 1}),
    "images in lanes": ((48, 4, 7, 6), (8, 4, 3, 3), {"padding": 2}),
    "no images": ((0, 3, 6, 6), (4, 3, 3, 3), {}),
    "one of everything": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_convolutions_of_unusual_sizes(name):
    shape, weight, how = SPECIAL[name]
    rng = np.random.default_rng(3)
    conv = getattr(F, f"conv{len(shape) - 2}d")
    with_gradients(rng, lambda x, w: conv(x, w, **how), made(rng, *shape), made(rng, *weight))


def test_cropping_by_negative_padding():
    """Transposed convolutions whose output is padded crop on the way back."""
    rng = np.random.default_rng(5)
    x, w = made(rng, 2, 3, 5, 6), made(rng, 3, 4, 2, 3)

    def both(x, w):
        y = F.conv_transpose2d(x, w, stride=3, output_padding=2, dilation=(1, 2))
        gx, gw = cf.autograd.grad((y * y).sum(), [x, w], create_graph=True)
        return y.detach(), *cf.autograd.grad((gx * gx).sum() + gw.sum(), [x, w])

    compared(both, x, w, rtol=1e-4)


def test_gradients_of_gradients():
    rng = np.random.default_rng(6)
    x, w = made(rng, 2, 3, 7, 8), made(rng, 4, 3, 3, 3)

    def penalty(x, w):
        y = F.conv2d(x, w, stride=2, padding=1)
        (g,) = cf.autograd.grad((y * y).sum(), [x], create_graph=True)
        return g.detach(), *cf.autograd.grad((g * g).sum(), [x, w])

    compared(penalty, x, w, rtol=1e-4)


def test_what_follows_a_convolution_is_fused():
    """Bias, activation and the sums of each channel are computed where the products are."""
    rng = np.random.default_rng(7)
    x, w, b = made(rng, 3, 4, 9, 9), made(rng, 6, 4, 3, 3), made(rng, 6)
    scale = made(rng, 3, 6, 9, 9)

    def step(x, w, b, scale):
        y = cf.tanh(F.conv2d(x, w, b, padding=1)) * scale
        sums = y.sum((2, 3)), (y * y).sum((0, 2, 3)), y.amax((2, 3))
        return y.detach(), *(t.detach() for t in sums)

    native = compared(step, x, w, b, scale)
    (kernel,) = [k for k in native.program.kernels if isinstance(k.anchor, Convolution)]
    assert len(kernel.reductions) == 3


def test_infinity_stays_where_it_is():
    """Padding and what lies beside an image in memory meet no infinite number."""
    x = cf.zeros(2, 1, 5, 5)
    x[0, 0, 2, 2] = float("inf")
    w = cf.ones(1, 1, 3, 3)
    step = cf.compile(lambda x, w: F.conv2d(x, w, padding=1))
    y = step(x, w).numpy()
    assert np.isinf(y[0, 0, 1:4, 1:4]).all()
    assert np.isfinite(y).sum() == 50 - 9


# ---- images in lanes -----------------------------------------------------------------------------


def anchored(native):
    """The convolutions of a program, but for the gradients of weights."""
    found = [k for k in native.program.kernels if isinstance(k.anchor, Convolution)]
    return [k for k in found if not k.anchor.of_weight]


def in_lanes(kernel):
    return Batched(kernel, kernel.anchor, plan_of(kernel.anchor)).helps


@pytest.mark.parametrize("seed", range(12))
def test_random_convolutions_with_images_in_lanes(seed, monkeypatch):
    """Whatever can be done so gives what eager gives, for one and for two dimensions."""
    monkeypatch.setattr(batched, "EDGES", np.inf)
    monkeypatch.setattr(batched, "LEAST", 1)
    rng = np.random.default_rng(1000 + seed)
    n, groups, dtype = (
        1 + (seed % 4 > 0),
        int(rng.choice([1, 1, 2])),
        [np.float32, np.float64][seed % 2],
    )
    lanes = target().tile("f32" if dtype == np.float32 else "f64").lanes
    kernel, dilation, stride = (rng.integers(1, most, n) for most in (5, 3, 3))
    padding = [int(rng.integers(0, reach + 1)) for reach in (kernel - 1) * dilation]
    size = [int(rng.integers(r, r + 6)) for r in (kernel - 1) * dilation + lanes // n]
    how = {
        "stride": tuple(map(int, stride)), "padding": tuple(padding),
        "dilation": tuple(map(int, dilation)), "groups": groups,
    }  # fmt: skip
    channels, outputs = groups * int(rng.integers(1, 7)), groups * int(rng.integers(8, 12))
    x = made(rng, int(rng.integers(1, 4)) * lanes, channels, *size, dtype=dtype)
    w = made(rng, outputs, channels // groups, *map(int, kernel), dtype=dtype)
    conv = getattr(F, f"conv{n}d")

    def step(x, w):
        y = F.relu(conv(x, w, **how)) * x.sum()
        return (
            y.detach(), y.sum((0, *range(2, y.ndim))).detach(),
            *cf.autograd.grad((y * y).mean(), [x, w]),
        )  # fmt: skip

    assert any(map(in_lanes, anchored(compared(step, x, w, rtol=1e-4))))


def test_padding_is_not_multiplied():
    """The gradient of the input of a 5x5 kernel meets more padding than image; a large image
    without padding is left to lanes of positions."""
    rng = np.random.default_rng(5)
    whole = target().tile("f32").width
    x, w = made(rng, 2 * whole, 6, 14, 14), made(rng, 16, 6, 5, 5)
    native = with_gradients(rng, F.conv2d, x, w)
    assert [in_lanes(k) for k in anchored(native) if k.anchor.transposed] == [True]
    x, w = made(rng, 2 * whole, 2, 32, 32), made(rng, 16, 2, 3, 3)
    assert not any(map(in_lanes, anchored(with_gradients(rng, F.conv2d, x, w))))
    x, w = made(rng, whole + 1, 6, 14, 14), made(rng, 16, 6, 5, 5)  # a group is not full
    assert not any(map(in_lanes, anchored(with_gradients(rng, F.conv2d, x, w))))


# ---- any division gives the same bits ------------------------------------------------------------

DIVIDED = [f"random {seed}" for seed in (0, 1, 6, 7, 12, 15, 21, 33)] + [
    "large image", "large image, strided", "large volume", "large depthwise", "depth multiplier",
    "one image, many channels", "all channels at once", "images in lanes",
]  # fmt: skip


@pytest.fixture
def divided(monkeypatch):
    """Every kernel that can be divided is, and there is scratch memory for five threads."""
    monkeypatch.setattr(threads, "_chosen", 5)
    monkeypatch.setattr(compiler, "LEAST", 0.0)
    monkeypatch.setattr(compiler, "ALONE", 0.0)
    monkeypatch.setattr(compiler, "GAIN", np.inf)


def same_bits(compiled, *operands):
    """Kernels in 1, 2, 3 and 5 parts, each with scratch memory of its own; the native program."""
    results = compiled(*operands)
    native = native_of(compiled)
    assert any(native.teams)
    alone = [t.numpy().tobytes() for t in results]
    for count in (2, 3, 5):
        for buffer in native.program.outputs:
            native.arrays[buffer].fill(7)
        native.run(count)
        assert [native.arrays[b].tobytes() for b in native.program.outputs] == alone, count
    return native


@pytest.mark.parametrize("name", DIVIDED)
def test_any_division_gives_the_same_bits(name, divided):
    if name in SPECIAL:
        rng = np.random.default_rng(3)
        (shape, weight, how), dtype = SPECIAL[name], np.float32
    else:
        rng, _, shape, outputs, kernel, how, dtype = random_case(int(name.split()[1]))
        weight = (outputs, shape[1] // how["groups"], *kernel)
    conv = getattr(F, f"conv{len(shape) - 2}d")
    x, w = made(rng, *shape, dtype=dtype), made(rng, *weight, dtype=dtype)

    def step(x, w):
        y = F.relu(conv(x, w, **how))
        return (
            y.detach(),
            y.sum((0, *range(2, y.ndim))).detach(),
            *cf.autograd.grad((y * y).sum(), [x, w]),
        )

    same_bits(cf.compile(step), x, w)


# ---- what prepares the gradient of a weight ------------------------------------------------------

PREPARED = {
    "maxima": (2, lambda y: F.max_pool2d(F.relu(y), 2)),
    "means of tanh": (2, lambda y: F.avg_pool2d(cf.tanh(y), 2)),
    "a slope alone": (2, cf.tanh),
    "windows with a rest": (2, lambda y: F.max_pool2d(y, 2, stride=3)),
    "a sequence": (1, lambda y: F.avg_pool1d(cf.sigmoid(y), 2)),
    "a volume": (3, lambda y: F.max_pool3d(F.relu(y), 2)),
}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", PREPARED)
def test_what_prepares_a_gradient_of_a_weight_is_computed_there(name, groups, divided):
    """Nothing but the weight's gradient needs it: no kernel writes it to memory."""
    n, then = PREPARED[name]
    rng = np.random.default_rng(11)
    x, w = made(rng, 3, groups, *(12, 8, 6)[:n]), made(rng, 6, 1, *(3,) * n)
    b = [made(rng, 6)] * (n == 2)
    conv = getattr(F, f"conv{n}d")

    def step(x, w, *b):
        y = then(conv(x, w, *b, padding=1, groups=groups))
        weights = cf.sin(cf.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
        return y.detach(), *cf.autograd.grad((y * weights).sum(), [w, *b])

    native = compared(step, x, w, *b)
    (kernel,) = [k for k in native.program.kernels
                 if isinstance(k.anchor, Convolution) and k.anchor.of_weight]  # fmt: skip
    assert bool(kernel.anchor.before) == (n < 3 and name != "windows with a rest")
    same_bits(cf.compile(step), x, w, *b)


def test_what_others_need_as_well_is_kept():
    """The gradient of a convolution that leads to its input, too, or that is a result."""
    rng = np.random.default_rng(12)
    x, w = made(rng, 3, 2, 8, 8), made(rng, 4, 2, 3, 3)

    def step(x, w):
        y = F.conv2d(x, w)
        z = cf.tanh(y)
        return cf.autograd.grad((z * z).sum(), [x, w, y])

    native = compared(step, x, w)
    anchors = [k.anchor for k in native.program.kernels if isinstance(k.anchor, Convolution)]
    assert len(anchors) == 3
    assert not any(anchor.before for anchor in anchors)


# ---- what goes on with results -------------------------------------------------------------------


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("batch", [3, 32])
@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
def test_pooling_runs_where_its_image_is_made(pool, batch, kept, divided):
    """A channel at a time; the image is only written to memory if somebody else needs it."""
    rng = np.random.default_rng(13)
    x, w, b = made(rng, batch, 6, 8, 8), made(rng, 12, 6, 3, 3), made(rng, 12)

    def step(x, w, b):
        y = F.relu(F.conv2d(x, w, b, padding=1))
        return pool(y, 2).detach(), *([y.detach()] * kept)

    native = compared(step, x, w, b)
    (kernel,) = native.program.kernels
    assert len(kernel.anchor.after) == 1
    assert {p.buffer.kind for p, _ in kernel.stores} == ({"output"} if kept else {"inner"})
    same_bits(cf.compile(step), x, w, b)


def test_pooling_of_another_dtype():
    """Twice as wide as the scratch memory of the convolution: the image is written to memory."""
    rng = np.random.default_rng(15)
    x, w = made(rng, 3, 2, 9, 8), made(rng, 4, 2, 2, 3)

    def step(x, w):
        return (F.max_pool2d(F.relu(F.conv2d(x, w)).to(cf.float64), 2).detach(),)

    (kernel,) = compared(step, x, w, rtol=1e3).program.kernels
    assert [p.buffer.kind for p, _ in kernel.stores] == ["arena"]


def test_pooling_waits_for_what_it_needs():
    """Of whole images, or of another convolution as well: not until that is there."""
    rng = np.random.default_rng(14)
    x, v, w = made(rng, 4, 3, 8, 8), made(rng, 5, 3, 3, 3), made(rng, 5, 3, 3, 3)

    def step(x, v, w):
        y, z = F.relu(F.conv2d(x, v)), F.relu(F.conv2d(x, w))
        centred = y - y.mean((0, 2, 3), keepdim=True)
        both = F.max_pool2d(y, 2) + F.max_pool2d(z, 2), F.avg_pool2d(centred, 2)
        gradients = cf.autograd.grad((both[0] * both[1]).sum(), [x, v, w])
        return *(t.detach() for t in both), *gradients

    compared(step, x, v, w)


# ---- pooling -------------------------------------------------------------------------------------

WINDOWS = {
    "apart": {"kernel_size": 2},
    "apart, with a rest": {"kernel_size": 3, "stride": 4},
    "overlapping": {"kernel_size": 3, "stride": 2},
    "at every place": {"kernel_size": 3, "stride": 1, "padding": 1},
    "padded": {"kernel_size": 4, "stride": 3, "padding": 2},
    "hanging over": {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    "large": {"kernel_size": 9, "stride": 2, "padding": 4},
}
DILATED = {
    "dilated": {"kernel_size": 3, "stride": 2, "dilation": 2},
    "dilated and hanging over": {
        "kernel_size": 3, "stride": 2, "padding": 1, "dilation": 3, "ceil_mode": True},
}  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("name", [*WINDOWS, *DILATED])
def test_maxima_of_windows(name, n):
    rng = np.random.default_rng(n)
    size = (2, 3, *(10, 11, 9)[:n])
    values = rng.integers(0, 4, size).astype([np.float32, np.float64][n % 2])  # ties
    values[rng.random(size) < 0.02] = np.nan
    values[1, 1] = -np.inf  # the first element wins
    x = cf.tensor(values, requires_grad=True)
    how = {**WINDOWS, **DILATED}[name]
    pool = getattr(F, f"max_pool{n}d")

    def step(x):
        y, place = pool(x, return_indices=True, **how)
        weights = cf.sin(cf.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
        (g,) = cf.autograd.grad((pool(x, **how) * weights).sum(), [x])
        return y.detach(), place, g

    compiled = cf.compile(step)
    for ours, theirs in zip(compiled(x), step(x), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)
    native_of(compiled)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("counted", [{}, {"count_include_pad": False}, {"divisor_override": 3}])
def test_means_of_windows(name, n, counted):
    if n == 1 and "divisor_override" in counted:
        counted = {}
    rng = np.random.default_rng(n)
    pool = getattr(F, f"avg_pool{n}d")
    x = made(rng, 2, 3, *(10, 11, 9)[:n], dtype=[np.float32, np.float64][n % 2])
    with_gradients(rng, lambda x: pool(x, **WINDOWS[name], **counted), x)


@pytest.mark.parametrize("size", [1, 3, 4, (5, 2)], ids=str)
def test_adaptive_pooling(size):
    rng = np.random.default_rng(0)
    x = made(rng, 2, 3, 8, 10)
    with_gradients(rng, lambda x: F.adaptive_avg_pool2d(x, size), x)
    with_gradients(rng, lambda x: F.adaptive_max_pool2d(x, size), x)


def test_the_gradient_of_a_gradient_of_maxima():
    rng = np.random.default_rng(4)
    x = made(rng, 2, 3, 7, 8)

    def penalty(x):
        y = F.max_pool2d(x, 3, 2, 1)
        (g,) = cf.autograd.grad((y**3).sum(), [x], create_graph=True)
        return g.detach(), *cf.autograd.grad((g * g).sum(), [x])

    compared(penalty, x, rtol=1e-4)


def test_what_is_masked_or_summed_after_maxima_is_so_before():
    """ReLU before a pool: its gradient and the bias's are taken where there are fewer numbers."""
    rng = np.random.default_rng(8)
    x, w, b = made(rng, 3, 2, 8, 9), made(rng, 4, 2, 3, 3), made(rng, 4)
    with cf.no_grad():
        x[0, 0, 3, 3] = float("nan")

    def step(x, w, b):
        y = F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 2)
        weights = cf.sin(cf.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
        return y.detach(), *cf.autograd.grad((y * weights).sum(), [x, w, b])

    native = compared(step, x, w, b)
    carried = [k for k in native.program.kernels if "max_pool_spread" in k.ops]
    assert [k.dims for k in carried] == [(3, 4, 4, 4)]
    large = [k for k in native.program.kernels if k.dims == (3, 4, 8, 9)]
    assert all(k.anchor is not None or not k.reductions for k in large)
