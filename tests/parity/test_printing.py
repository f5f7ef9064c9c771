"""How tensors print, against PyTorch, character by character."""

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

VALUES = [
    [0.0, -0.5, 1.0],
    [1.0, 2.0, -3.0],
    [1e-9, 1.0],
    [1e9, 1.0],
    [1.0, 1001.5],
    [0.25],
    [5e-5, 2e-5],
    [float("nan"), float("inf"), 1.0],
    [float("nan"), -float("inf"), 0.5],
    [0.0, 0.0],
    [[0.657, 0.6479], [-2.0, 30.0]],
    [[]],
    [],
    0.5,
    3.0,
    1e-7,
    123456789.0,
    2e5,
]


@pytest.mark.parametrize("values", VALUES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_print_as_in_pytorch(values, dtype):
    ours = cf.tensor(values, dtype=getattr(cf, dtype))
    theirs = torch.tensor(values, dtype=getattr(torch, dtype))
    assert repr(ours).replace("contraflow.", "torch.") == repr(theirs)


@pytest.mark.parametrize("values", [[1, -20, 300], [[True, False]], 7, True, [[1], [22]]], ids=str)
def test_integers_and_truth_print_as_in_pytorch(values):
    assert repr(cf.tensor(values)) == repr(torch.tensor(values))


@pytest.mark.parametrize("shape", [(1200,), (40, 60), (20, 20, 20), (30,), (3, 12)], ids=str)
def test_long_ones_are_cut_as_in_pytorch(shape):
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert repr(cf.tensor(values)) == repr(torch.tensor(values))


def test_requires_grad_and_dtype_are_said():
    for lib in (cf, torch):
        assert repr(lib.ones(2, requires_grad=True)) == "tensor([1., 1.], requires_grad=True)"
        short = lib.tensor([1], dtype=lib.int32)
        assert repr(short) == f"tensor([1], dtype={lib.int32})"


@pytest.mark.parametrize(
    "options",
    [
        {"precision": 2},
        {"precision": 7, "linewidth": 40},
        {"threshold": 10, "edgeitems": 2},
        {"threshold": 10, "edgeitems": 1},
        {"sci_mode": True},
        {"sci_mode": False},
        {"profile": "short"},
        {"profile": "full"},
    ],
    ids=str,
)
def test_print_options(options):
    rng = np.random.default_rng(1)
    arrays = [
        rng.normal(size=shape).astype(np.float32) for shape in ((3,), (30,), (4, 20), (3, 4, 5))
    ]
    arrays += [np.array([1e-6, 1000.0], np.float32), np.arange(30), np.eye(4, dtype=bool)]
    try:
        for lib in (cf, torch):
            lib.set_printoptions(**options)
        for a in arrays:
            assert repr(cf.tensor(a)) == repr(torch.tensor(a))
    finally:
        for lib in (cf, torch):
            lib.set_printoptions(profile="default")


def test_print_options_refuse_nonsense():
    with pytest.raises(ValueError, match="profile"):
        cf.set_printoptions(profile="tiny")
    with pytest.raises(ValueError, match="negative"):
        cf.set_printoptions(precision=-1)
    assert repr(cf.tensor(1 / 3)) == "tensor(0.3333)"


@pytest.mark.parametrize(
    "make",
    [
        lambda lib: lib.ones(2, requires_grad=True) * 2,
        lambda lib: lib.ones(2, requires_grad=True).exp(),
        lambda lib: lib.ones(2, requires_grad=True).sum(),
        lambda lib: lib.zeros(2, 0, 3),
        lambda lib: lib.zeros(0, dtype=lib.int64),
        lambda lib: lib.tensor(2, dtype=lib.uint8),
        lambda lib: lib.tensor([float("inf"), -float("inf"), float("nan")]),
        lambda lib: lib.tensor([[1.0, float("nan")], [1e10, -2.0]]),
        lambda lib: lib.tensor([1.0, 2.0], dtype=lib.float16),
        lambda lib: lib.tensor([True, False]),
        lambda lib: lib.tensor([-1, 1000000]),
        lambda lib: lib.arange(1001),
        lambda lib: lib.arange(3000).view(30, 100),
        lambda lib: lib.ones(3, 400) * 1e-5,
    ],
)
def test_other_tensors_print_as_in_pytorch(make):
    ours, theirs = (repr(make(lib)) for lib in (cf, torch))
    assert ours.replace("contraflow.", "torch.") == theirs


def test_results_with_names_print_as_in_pytorch():
    x = np.array([[2.0, 1.0], [3.0, 5.0]], np.float32)
    for name in ("max", "sort", "topk", "cummax", "median", "mode", "kthvalue"):
        args = {"topk": (1,), "kthvalue": (1,), "sort": ()}.get(name, (0,))
        ours, theirs = (repr(getattr(lib.tensor(x), name)(*args)) for lib in (cf, torch))
        assert ours.replace("contraflow.", "torch.") == theirs
    ours, theirs = (
        repr(cf.linalg.slogdet(cf.tensor(x))),
        repr(torch.linalg.slogdet(torch.tensor(x))),
    )
    assert ours.replace("contraflow.", "torch.") == theirs
