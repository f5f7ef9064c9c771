"""Loaders, datasets and collate beside PyTorch's: the same batches, types, lengths and refusals."""

from collections import namedtuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.utils.data as theirs  # noqa: E402

import contraflow as cf  # noqa: E402
from contraflow import data as ours  # noqa: E402

Pair = namedtuple("Pair", "x y")
RNG = np.random.default_rng(0)
X, Y = RNG.random((11, 3), np.float32), RNG.integers(0, 3, 11)


def plain(value):
    """Types, dtypes and values, whichever library they are from."""
    if isinstance(value, torch.Tensor | cf.Tensor):
        array = value.detach().numpy()
        return str(array.dtype), array.shape, array.tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [plain(v) for v in value]
    return value


def tables():
    return (
        ours.TensorDataset(cf.from_numpy(X.copy()), cf.from_numpy(Y.copy())),
        theirs.TensorDataset(torch.from_numpy(X.copy()), torch.from_numpy(Y.copy())),
    )


@pytest.mark.parametrize(
    "samples",
    [
        [1, 2],
        [True, False],
        [1.5, 2.5],
        [np.float32(1), np.float32(2)],
        [np.int16(1), np.int16(2)],
        [np.ones(2), np.zeros(2)],
        ["a", "b"],
        [b"a", b"b"],
        [(1, 2.0), (3, 4.0)],
        [[1, 2], [3, 4]],
        [Pair(1, "a"), Pair(2, "b")],
        [{"a": 1, "b": (2, "x")}, {"a": 3, "b": (4, "y")}],
        [((1, (2,)), [3]), ((4, (5,)), [6])],
    ],
    ids=repr,
)
def test_collate(samples):
    assert plain(ours.default_collate(samples)) == plain(theirs.default_collate(samples))


@pytest.mark.parametrize("samples", [[None], [object()], [(1,), (1, 2)], [np.ones(2), np.ones(3)]])
def test_collate_refuses_what_pytorch_refuses(samples):
    for library in (ours, theirs):
        with pytest.raises((RuntimeError, TypeError)):
            library.default_collate(samples)


@pytest.mark.parametrize(
    "sample",
    [np.ones(2), {"a": np.ones(1)}, (np.ones(1), 2), [1, "a"], Pair(np.ones(1), 1), "a", 5],
)
def test_convert(sample):
    assert plain(ours.default_convert(sample)) == plain(
        theirs._utils.collate.default_convert(sample)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"batch_size": 4},
        {"batch_size": 4, "drop_last": True},
        {"batch_size": 20},
        {"batch_size": None},
        {"batch_size": 3, "sampler": [5, 5, 0, 10]},
        {"batch_sampler": [[1, 2], [3], [10, 0]]},
    ],
    ids=str,
)
def test_batches_and_lengths(arguments):
    here, there = (
        library.DataLoader(table, **arguments)
        for library, table in zip((ours, theirs), tables(), strict=True)
    )
    assert len(here) == len(there)
    assert [plain(list(b)) for b in here] == [plain(list(b)) for b in there]


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 11, 12])
@pytest.mark.parametrize("wanted", [None, 1, 5, 30])
def test_lengths_with_samplers(size, drop, wanted):
    lengths = []
    for library, table in zip((ours, theirs), tables(), strict=True):
        sampler = library.RandomSampler(table, num_samples=wanted)
        loader = library.DataLoader(table, size, sampler=sampler, drop_last=drop)
        assert len(list(loader)) == len(loader)
        lengths.append((len(sampler), len(loader)))
    assert lengths[0] == lengths[1]


@pytest.mark.parametrize(
    ("size", "lengths"),
    [
        (10, [7, 3]),
        (10, [10, 0]),
        (10, [0.7, 0.3]),
        (10, [0.75, 0.25]),
        (11, [1 / 3] * 3),
        (3, [0.1] * 10),
        (1, [0.5, 0.5]),
    ],
)
@pytest.mark.filterwarnings("ignore:.*mpty:UserWarning")
def test_split_lengths(size, lengths):
    found = [[len(p) for p in lib.random_split(range(size), lengths)] for lib in (ours, theirs)]
    assert found[0] == found[1]


@pytest.mark.parametrize("lengths", [[5, 4], [0.5, 0.4]])
def test_split_refusals(lengths):
    for library in (ours, theirs):
        with pytest.raises(ValueError):
            library.random_split(range(10), lengths)


@pytest.mark.parametrize(
    "arguments",
    [
        {"sampler": [0], "shuffle": True},
        {"batch_sampler": [[0]], "batch_size": 2},
        {"batch_sampler": [[0]], "shuffle": True},
        {"batch_size": None, "drop_last": True},
        {"batch_size": 0},
        {"num_workers": -1},
        {"timeout": -1},
    ],
    ids=str,
)
def test_arguments_that_both_refuse(arguments):
    for library, table in zip((ours, theirs), tables(), strict=True):
        with pytest.raises(ValueError):
            library.DataLoader(table, **arguments)


def test_combinations():
    def values(lib, make):
        table = lib.TensorDataset(make(X.copy()))
        both = lib.ConcatDataset([table, lib.Subset(table, [3, 1])])
        stacked = lib.StackDataset(a=table, b=range(11))
        return (
            plain([both[i] for i in (0, 11, 12, -1)]),
            plain([stacked[i] for i in (0, 5)]),
            len(both),
        )

    assert values(ours, cf.from_numpy) == values(theirs, torch.from_numpy)
