"""Resizing, shuffles, folding and padding layers against PyTorch, in both orders of gradient."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

from tests.parity.twins import (  # noqa: E402
    check_layer,
    compare,
    compare_captured,
    numbers,
    refused_by_both,
)

F, TF = cf.nn.functional, torch.nn.functional

LAYERS = [
    ("Upsample", (), {"scale_factor": 2}, [(2, 3, 4), (2, 3, 4, 5), (1, 2, 2, 3, 2)]),
    ("Upsample", (), {"scale_factor": (2, 1.5), "mode": "bilinear"}, [(2, 3, 4, 5)]),
    ("Upsample", ((6, 3),), {"mode": "bilinear", "align_corners": True}, [(2, 3, 4, 5)]),
    ("Upsample", (7,), {"mode": "linear"}, [(2, 3, 4)]),
    ("UpsamplingNearest2d", (), {"scale_factor": 3}, [(2, 3, 4, 5)]),
    ("UpsamplingBilinear2d", (), {"scale_factor": 2}, [(2, 3, 4, 5), (1, 1, 1, 1)]),
    ("PixelShuffle", (2,), {}, [(2, 8, 3, 2), (4, 3, 2), (2, 2, 4, 3, 2)]),
    ("PixelShuffle", (3,), {}, [(1, 9, 2, 2)]),
    ("PixelUnshuffle", (2,), {}, [(2, 3, 4, 6), (3, 4, 6)]),
    ("ChannelShuffle", (2,), {}, [(2, 4, 3), (2, 6, 3, 2)]),
    ("Unfold", (2,), {}, [(2, 3, 4, 5), (3, 4, 5)]),
    ("Unfold", ((2, 3),), {"dilation": (1, 2), "padding": (1, 2), "stride": (2, 1)},
     [(2, 3, 4, 5)]),
    ("Unfold", (2,), {"padding": 3}, [(1, 1, 1, 1), (0, 2, 3, 3)]),
    ("Fold", ((4, 5), 2), {}, [(2, 12, 12), (4, 12)]),
    ("Fold", ((4, 5), (2, 3)), {"dilation": (1, 2), "padding": (1, 2), "stride": (2, 1)},
     [(2, 6, 15)]),
    *[(f"ZeroPad{n}d", (tuple(range(1, 2 * n + 1)),), {}, [(2, 3, *(4,) * n)]) for n in (1, 2, 3)],
    ("ZeroPad2d", ((-1, 2, 0, -2),), {}, [(2, 3, 5, 4)]),
    *[(f"ConstantPad{n}d", (2, 1.5), {}, [(2, 3, *(4,) * n)]) for n in (1, 2, 3)],
    *[(f"{kind}Pad{n}d", ((1, 2) * n,), {}, [(2, 3, *(4,) * n), (3, *(4,) * n)])
      for kind in ("Reflection", "Replication", "Circular") for n in (1, 2, 3)],
    ("ReflectionPad2d", (3,), {}, [(2, 3, 4, 4)]),
    ("CircularPad2d", (4,), {}, [(2, 3, 4, 4)]),
    *[(f"{kind}Pad1d", (widths,), {}, [(2, 3, 6)]) for kind in ("Reflection", "Replication",
      "Circular") for widths in ((-1, 2), (2, -1), (-2, 3), (3, -3), (-1, -2))],
]  # fmt: skip
CASES = [(name, args, options, shape) for name, args, options, shapes in LAYERS for shape in shapes]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "args", "options", "shape"), CASES)
def test_layer(name, args, options, shape, dtype):
    check_layer(name, args, options, [numbers(shape)], dtype)


MODES = {
    3: ["nearest", "nearest-exact", "linear", "area"],
    4: ["nearest", "nearest-exact", "bilinear", "bicubic", "area"],
    5: ["nearest", "nearest-exact", "trilinear", "area"],
}
SMOOTH = ("linear", "bilinear", "trilinear", "bicubic")
RESIZES = [
    (dims, mode, corners, how)
    for dims, modes in MODES.items()
    for mode in modes
    for corners in ((None, False, True) if mode in SMOOTH else (None,))
    for how in (
        {"size": (7, 3, 4)[: dims - 2]},
        {"size": 1},
        {"scale_factor": (1.7, 0.6, 2.0)[: dims - 2]},
        {"scale_factor": (1.7, 0.6, 2.0)[: dims - 2], "recompute_scale_factor": True},
        {"scale_factor": 2.5, "recompute_scale_factor": False},
    )
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("dims", "mode", "corners", "how"), RESIZES)
def test_interpolate(dims, mode, corners, how, dtype):
    options = {"mode": mode, "align_corners": corners, **how}
    x = numbers((2, 3, 5, 6, 4)[:dims])
    compare(
        lambda x: F.interpolate(x, **options), lambda x: TF.interpolate(x, **options), [x], dtype
    )
    compare_captured(lambda x: F.interpolate(x, **options), [x])


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("size", [(3, 4), (9, 5), (2, 17)])
def test_antialias(mode, corners, size):
    options = {"size": size, "mode": mode, "align_corners": corners, "antialias": True}
    compare(
        lambda x: F.interpolate(x, **options),
        lambda x: TF.interpolate(x, **options),
        [numbers((2, 3, 8, 11))],
    )


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nearest_rounds_alike(mode, dtype):
    """Many pairs of sizes: which pixel is nearest hangs on the last bit. (PyTorch's kernels for
    factors and for sequences of float64 round in another way than its kernel for images.)"""
    for old in range(1, 60, 3):
        image = np.arange(old, dtype=dtype).reshape(1, 1, 1, old)
        for new in range(1, 60):
            pairs = [(image, {"size": (1, new)})]
            if dtype == "float32" and old * new >= 7:
                pairs.append((image[0], {"scale_factor": new / 7}))
                pairs.append((image, {"scale_factor": (1.0, new / 7)}))
            for x, how in pairs:
                ours = F.interpolate(cf.tensor(x), mode=mode, **how)
                theirs = TF.interpolate(torch.tensor(x), mode=mode, **how)
                np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=f"{old} {how}")


@pytest.mark.parametrize("dims", [3, 4, 5])
@pytest.mark.parametrize("factor", [1.05, 1.3, 2.1])
@pytest.mark.parametrize("align", [False, True])
def test_factors_that_leave_the_size_or_double_it(dims, factor, align):
    x = numbers((2, 3, 3, 4, 2)[:dims])
    options = {"scale_factor": factor, "mode": ("linear", "bilinear", "trilinear")[dims - 3]}
    compare(
        lambda x: F.interpolate(x, align_corners=align, **options),
        lambda x: TF.interpolate(x, align_corners=align, **options),
        [x],
    )


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_large_images(mode):
    """Beyond the size up to which a whole matrix of weights is used."""
    options = {"size": (300, 3), "mode": mode}
    x = numbers((1, 2, 270, 4))
    compare(
        lambda x: F.interpolate(x, **options),
        lambda x: TF.interpolate(x, **options),
        [x],
        second=False,
    )


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_infinities_stay_where_they_are(mode):
    x = numbers((1, 1, 6, 6))
    x[0, 0, 1, 1], x[0, 0, 4, 5] = np.inf, np.nan
    options = {"size": (9, 9), "mode": mode}
    ours, theirs = (
        F.interpolate(cf.tensor(x), **options),
        TF.interpolate(torch.tensor(x), **options),
    )
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9)
    assert np.isfinite(ours.numpy()).any()


def test_upsample_is_the_older_name():
    x = cf.tensor(numbers((1, 2, 4)))
    a, b = F.upsample(x, scale_factor=2, mode="linear"), F.interpolate(x, None, 2, "linear")
    np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_fold_undoes_unfold():
    x = cf.tensor(numbers((2, 3, 6, 6)))
    back = F.fold(F.unfold(x, 3, stride=3), (6, 6), 3, stride=3)
    np.testing.assert_array_equal(back.numpy(), x.numpy())


WRONG = [
    (lambda f, t: f.interpolate(t.ones(1, 1, 4)), "either size or scale_factor"),
    (lambda f, t: f.interpolate(t.ones(1, 1, 4), 3, 2.0), "either size or scale_factor"),
    (lambda f, t: f.interpolate(t.ones(1, 4), 3), "1 to 3 sizes"),
    (lambda f, t: f.interpolate(t.ones(1, 1, 4), 3, mode="bilinear"), "mode='linear'"),
    (lambda f, t: f.interpolate(t.ones(1, 1, 4), 3, mode="best"), "unknown mode"),
    (lambda f, t: f.interpolate(t.ones(1, 1, 4), 3, align_corners=True), "align_corners"),
    (lambda f, t: f.interpolate(t.ones(1, 1, 4), 0), "at least 1"),
    (lambda f, t: f.interpolate(t.ones(1, 1, 4), (3, 3)), "one integer or 1"),
    (lambda f, t: f.interpolate(t.ones(1, 1, 4), scale_factor=(2.0, 2.0)), "one positive"),
    (lambda f, t: f.interpolate(t.ones(1, 1, 4), 3, recompute_scale_factor=True), "recompute"),
    (lambda f, t: f.interpolate(t.ones(1, 1, 4), 3, mode="linear", antialias=True), "antialias"),
    (lambda f, t: f.interpolate(t.ones(1, 1, 4).long(), 3, mode="linear"), "floating"),
    (lambda f, t: f.pixel_shuffle(t.ones(1, 3, 2, 2), 2), "multiple of 2 * 2"),
    (lambda f, t: f.pixel_unshuffle(t.ones(1, 3, 3, 2), 2), "must divide height"),
    (lambda f, t: f.channel_shuffle(t.ones(1, 3, 2, 2), 2), "must divide the channels"),
    (lambda f, t: f.unfold(t.ones(1, 1, 2, 2), 3), "does not fit"),
    (lambda f, t: f.unfold(t.ones(2, 2), 2), "[batch, channels"),
    (lambda f, t: f.unfold(t.ones(1, 1, 2, 2), 2, stride=0), "stride must be at least 1"),
    (lambda f, t: f.fold(t.ones(1, 4, 5), (3, 3), 2), "4 places"),
    (lambda f, t: f.fold(t.ones(1, 3, 4), (3, 3), 2), "multiple of 4"),
    (lambda f, t: f.pad(t.ones(1, 1, 2), (2, 0), mode="reflect"), ""),
    (lambda f, t: f.pad(t.ones(1, 1, 2), (1, 1, 1)), ""),
]  # fmt: skip


@pytest.mark.parametrize(("call", "says"), WRONG)
def test_both_refuse(call, says):
    message = refused_by_both(lambda: call(F, cf), lambda: call(TF, torch))
    assert says in message
    assert "fix:" in message
