"""Datasets: what a sample is, how sets combine, and how they are split."""

import contextlib

import numpy as np
import pytest

import contraflow as cf
from contraflow.data import (
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)


class Squares(Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return i, i * i


class Stream(IterableDataset):
    def __init__(self, *values):
        self.values = values

    def __iter__(self):
        return iter(self.values)

    def __len__(self):
        return len(self.values)


def firsts(dataset):
    return [int(dataset[i][0]) for i in range(len(dataset))]


# ---- TensorDataset -------------------------------------------------------------------------


def test_tensor_dataset_gives_rows():
    x, y = cf.arange(6).reshape(3, 2), cf.tensor([10, 20, 30])
    data = TensorDataset(x, y)
    assert len(data) == 3
    assert [t.tolist() for t in data[1]] == [[2, 3], 20]
    assert [t.tolist() for t in data[-1]] == [[4, 5], 30]
    assert [t.tolist() for t in data[np.int64(0)]] == [[0, 1], 10]
    assert [t.tolist() for t in data[0:2]] == [[[0, 1], [2, 3]], [10, 20]]
    assert [t.tolist() for t in data[[2, 0]]] == [[[4, 5], [0, 1]], [30, 10]]


@pytest.mark.parametrize("index", [3, -4, 10**20])
def test_an_index_outside_is_an_index_error(index):
    for data in (
        TensorDataset(cf.arange(3)),
        Subset(range(3), [0, 1, 2]),
        ConcatDataset([range(3)]),
    ):
        with pytest.raises(IndexError, match="dataset of 3"):
            data[index]


def test_tensor_dataset_refuses_what_does_not_fit():
    with pytest.raises(cf.ShapeError, match="same number of rows") as caught:
        TensorDataset(cf.zeros(3, 2), cf.zeros(4))
    assert "float32[3, 2]" in str(caught.value)
    assert "float32[4]" in str(caught.value)
    with pytest.raises(cf.ShapeError):
        TensorDataset(cf.tensor(1.0))
    with pytest.raises(cf.DTypeError, match="ndarray"):
        TensorDataset(np.zeros(3))
    with pytest.raises(cf.ArgumentError):
        TensorDataset()


def test_a_dataset_that_does_not_say_what_its_samples_are():
    with pytest.raises(cf.DTypeError, match="__getitem__"):
        Dataset()[0]
    with pytest.raises(cf.DTypeError, match="__iter__"):
        iter(IterableDataset())


# ---- combinations ----------------------------------------------------------------------------


def test_subset():
    data = Subset(Squares(10), [7, 2, 2])
    assert len(data) == 3
    assert [data[i] for i in range(3)] == [(7, 49), (2, 4), (2, 4)]
    assert data[-1] == (2, 4)
    assert data[[0, 1]] == [(7, 49), (2, 4)]
    assert firsts(Subset(TensorDataset(cf.arange(5)), cf.tensor([4, 1]))) == [4, 1]
    assert firsts(Subset(Subset(Squares(10), [9, 8, 7]), [2, 0])) == [7, 9]
    assert len(Subset(Squares(3), [])) == 0


def test_subset_of_names():
    data = Subset({"a": 1, "b": 2}, ["b", "a"])
    assert [data[0], data[1]] == [2, 1]


def test_subset_uses_the_datasets_own_way_of_getting_many():
    class Many(Squares):
        def __getitems__(self, indices):
            return [("many", i) for i in indices]

    assert Subset(Many(5), [4, 3]).__getitems__([1, 0]) == [("many", 3), ("many", 4)]


@pytest.mark.parametrize("indices", [[0, 5], [-6, 0]])
def test_subset_of_tensors_is_checked_before_it_is_used(indices):
    with pytest.raises(cf.IndexOutOfRange, match="dataset of 5"):
        Subset(TensorDataset(cf.arange(5)), indices)


def test_concat():
    data = ConcatDataset([TensorDataset(cf.arange(2)), TensorDataset(cf.arange(0)), Squares(3)])
    assert len(data) == 5
    assert data.cumulative_sizes == [2, 2, 5]
    assert firsts(data) == [0, 1, 0, 1, 2]
    assert data[-1] == (2, 4)
    assert firsts(Squares(1) + Squares(2)) == [0, 0, 1]
    with pytest.raises(cf.ArgumentError):
        ConcatDataset([])
    with pytest.raises(cf.DTypeError, match="ChainDataset"):
        ConcatDataset([Stream(1)])


def test_chain():
    assert list(ChainDataset([Stream(1, 2), Stream(), Stream(3)])) == [1, 2, 3]
    assert len(ChainDataset([Stream(1, 2), Stream(3)])) == 3
    assert list(Stream(1) + Stream(2)) == [1, 2]


def test_stack():
    data = StackDataset(range(3), ["a", "b", "c"])
    assert data[1] == (1, "b")
    assert data[-1] == (2, "c")
    assert StackDataset(n=range(3), s="abc")[0] == {"n": 0, "s": "a"}
    assert len(data) == 3
    with pytest.raises(cf.ShapeError, match=r"\[3, 2\]"):
        StackDataset(range(3), "ab")
    for args, kwargs in (((), {}), ((range(2),), {"x": range(2)})):
        with pytest.raises(cf.ArgumentError):
            StackDataset(*args, **kwargs)


# ---- random_split -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "lengths", "expected"),
    [
        (10, [7, 3], [7, 3]),
        (10, [10, 0], [10, 0]),
        (10, [0.7, 0.3], [7, 3]),
        (10, [0.75, 0.25], [8, 2]),  # floor gives 7 and 2, the one left over goes to the first
        (10, [1 / 3, 1 / 3, 1 / 3], [4, 3, 3]),
        (11, [1 / 3, 1 / 3, 1 / 3], [4, 4, 3]),
        (3, [0.1] * 10, [1, 1, 1] + [0] * 7),
        (0, [0.5, 0.5], [0, 0]),
        (0, [0], [0]),
        (1, [1], [1]),
        (1, [0.5, 0.5], [1, 0]),
        (5, [1.0], [5]),
    ],
)
def test_split_counts(size, lengths, expected):
    empty = 0 in expected and any(n % 1 for n in lengths)
    with pytest.warns(UserWarning, match="empty") if empty else contextlib.nullcontext():
        parts = random_split(Squares(size), lengths)
    assert [len(p) for p in parts] == expected
    assert sorted(i for p in parts for i in p.indices) == list(range(size))


@pytest.mark.parametrize(
    "lengths", [[5, 4], [0.5, 0.4], [-1, 11], [1.5, 8.5], [0.5, 0.5, 0.5], [], [True, 9], [11]]
)
def test_lengths_that_do_not_fit(lengths):
    with pytest.raises(cf.ArgumentError, match="lengths"):
        random_split(Squares(10), lengths)


def test_splits_are_random_and_follow_the_seed():
    def split(**kw):
        return [p.indices for p in random_split(Squares(100), [60, 40], **kw)]

    a = split(generator=cf.Generator().manual_seed(1))
    assert a == split(generator=cf.Generator().manual_seed(1))
    assert a != split(generator=cf.Generator().manual_seed(2))
    assert a[0] != sorted(a[0])
    cf.manual_seed(3)
    b, c = split(), split()
    assert b != c
    cf.manual_seed(3)
    assert b == split()
    with pytest.raises(cf.DTypeError, match="manual_seed"):
        split(generator=5)


def test_split_of_tensors_is_still_in_memory():
    train, _ = random_split(TensorDataset(cf.arange(10)), [0.8, 0.2])
    (batch,) = next(iter(DataLoader(train, batch_size=8)))
    assert batch.tolist() == train.indices
