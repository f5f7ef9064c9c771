"""Initialisers against PyTorch: fans, gains, what is not random, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

SHAPES = [(3, 4), (5, 1), (6, 4, 3), (6, 4, 3, 2), (2, 3, 2, 2, 2), (0, 3), (3, 0)]
ours, theirs = cf.nn.init, torch.nn.init


@pytest.mark.parametrize("shape", SHAPES)
def test_fans(shape):
    assert ours._calculate_fan_in_and_fan_out(
        cf.empty(*shape)
    ) == theirs._calculate_fan_in_and_fan_out(torch.empty(*shape))
    for mode in ("fan_in", "FAN_OUT"):
        assert ours._calculate_correct_fan(cf.empty(*shape), mode) == theirs._calculate_correct_fan(
            torch.empty(*shape), mode
        )


@pytest.mark.parametrize("name", [*ours.GAINS, "leaky_relu"])
def test_gains(name):
    assert ours.calculate_gain(name) == theirs.calculate_gain(name)
    assert ours.calculate_gain(name, 0.3) == theirs.calculate_gain(name, 0.3)


@pytest.mark.parametrize(
    ("name", "shape", "args"),
    [
        ("eye_", (3, 5), ()), ("eye_", (5, 3), ()), ("dirac_", (4, 3, 3), ()), ("dirac_", (3, 4, 2), ()),
        ("dirac_", (4, 2, 4, 3), (2,)), ("dirac_", (6, 2, 1, 2, 3), (3,)), ("ones_", (2,), ()),
        ("zeros_", (2, 0), ()), ("constant_", (2, 2), (0.7,)),
    ],
)  # fmt: skip
def test_fixed_values(name, shape, args):
    a = getattr(ours, name)(cf.full(shape, 9.0), *args)
    b = getattr(theirs, name)(torch.full(shape, 9.0), *args)
    np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    "call",
    [
        lambda m, i: i.xavier_normal_(m.empty(3)), lambda m, i: i.kaiming_normal_(m.empty(())),
        lambda m, i: i.kaiming_normal_(m.empty(3, 3), mode="in"), lambda m, i: i.orthogonal_(m.empty(3)),
        lambda m, i: i.sparse_(m.empty(2, 2, 2), 0.1), lambda m, i: i.eye_(m.empty(2, 2, 2)),
        lambda m, i: i.dirac_(m.empty(3, 3)), lambda m, i: i.dirac_(m.empty(3, 3, 3), 2),
        lambda m, i: i.calculate_gain("gelu"), lambda m, i: i.calculate_gain("leaky_relu", True),
        lambda m, i: i.normal_(m.empty(3), std=-1.0), lambda m, i: i.uniform_(m.empty(3), 2.0, 1.0),
    ],
)  # fmt: skip
def test_refused_by_both(call):
    with pytest.raises((ValueError, RuntimeError, AssertionError)):
        call(torch, theirs)
    with pytest.raises(cf.ContraflowError):
        call(cf, ours)


@pytest.mark.parametrize(
    ("name", "args"),
    [("uniform_", (-1.0, 3.0)), ("normal_", (1.0, 2.0)), ("trunc_normal_", (0.5, 1.0, -1.0, 1.0)), ("xavier_uniform_", (2.0,)),
     ("xavier_normal_", (2.0,)), ("kaiming_uniform_", (0.2, "fan_out")), ("kaiming_normal_", (0.2,)), ("orthogonal_", (1.5,))],
)  # fmt: skip
def test_the_same_distribution(name, args):
    """The sorted draws of both lie on one curve (Kolmogorov-Smirnov at 1 in 1,000)."""
    cf.manual_seed(0)
    torch.manual_seed(0)
    a = np.sort(getattr(ours, name)(cf.empty(100, 60), *args).numpy().ravel())
    b = np.sort(getattr(theirs, name)(torch.empty(100, 60), *args).numpy().ravel())
    both = np.concatenate([a, b])
    distance = (
        np.abs(np.searchsorted(a, both, "right") - np.searchsorted(b, both, "right")).max() / a.size
    )
    assert distance < 1.95 * np.sqrt(2 / a.size)
