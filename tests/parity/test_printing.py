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
