"""Samplers: order, replacement, statistics, errors."""

import numpy as np
import pytest

import contraflow as cf
from contraflow.data import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from contraflow.data.stream import permutation


def seeded(n=0):
    return cf.Generator().manual_seed(n)


SHUFFLING = [
    lambda **kw: RandomSampler(range(50), **kw),
    lambda **kw: RandomSampler(range(50), replacement=True, **kw),
    lambda **kw: RandomSampler(range(50), num_samples=120, **kw),
    lambda **kw: SubsetRandomSampler(list(range(100, 150)), **kw),
    lambda **kw: WeightedRandomSampler([1.0] * 50, 50, **kw),
    lambda **kw: WeightedRandomSampler([1.0] * 50, 50, replacement=False, **kw),
]


@pytest.mark.parametrize("make", SHUFFLING)
def test_every_pass_is_another_order_and_the_seed_decides(make):
    sampler = make(generator=seeded())
    first, second = list(sampler), list(sampler)
    assert first != second
    assert len(first) == len(sampler)
    assert list(make(generator=seeded())) == first
    assert list(make(generator=seeded(1))) != first
    cf.manual_seed(0)
    assert list(make()) == first  # the default generator is a generator like any other
    assert all(type(i) is int for i in first)


def test_sequential():
    sampler = SequentialSampler("abcd")
    assert list(sampler) == [0, 1, 2, 3]
    assert len(sampler) == 4
    before = cf.get_rng_state().tolist()
    list(sampler)
    assert cf.get_rng_state().tolist() == before


def test_random_without_replacement_is_a_permutation():
    assert sorted(RandomSampler(range(100))) == list(range(100))
    assert list(RandomSampler([])) == []
    few = list(RandomSampler(range(100), num_samples=10))
    assert len(set(few)) == 10
    many = list(RandomSampler(range(10), num_samples=25))
    assert sorted(many[:10]) == sorted(many[10:20]) == list(range(10))
    assert len(set(many[20:])) == 5


def test_all_orders_are_equally_likely():
    sampler = RandomSampler(range(3), generator=seeded())
    found = [tuple(sampler) for _ in range(3000)]
    counts = [found.count(order) for order in set(found)]
    assert len(counts) == 6
    chi_square = sum((c - 500) ** 2 / 500 for c in counts)
    assert chi_square < 20.5  # 99.9 % of a chi square with 5 degrees of freedom


@pytest.mark.parametrize("n", [0, 1, 2, 3, 64, 65, 1000, 100_000])
def test_permutations_of_any_size(n):
    order = permutation(np.random.Generator(np.random.SFC64(n)), n)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    if n >= 1000:  # no trend: the correlation of place and number is normal with 1 / sqrt(n)
        assert abs(np.corrcoef(order, np.arange(n))[0, 1]) < 4 / np.sqrt(n)
        assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 4 / np.sqrt(n)


def test_random_with_replacement_draws_independently():
    draws = list(RandomSampler(range(4), True, num_samples=8000, generator=seeded()))
    counts = np.bincount(draws, minlength=4)
    assert ((counts - 2000) ** 2 / 2000).sum() < 16.3  # 99.9 %, 3 degrees of freedom
    assert len(list(RandomSampler(range(4), replacement=True))) == 4


def test_weights_are_probabilities():
    weights = [1.0, 0.0, 2.0, 5.0]
    draws = list(WeightedRandomSampler(weights, 8000, generator=seeded()))
    counts = np.bincount(draws, minlength=4)
    assert counts[1] == 0
    expected = np.array([1000, 2000, 5000])
    assert ((counts[[0, 2, 3]] - expected) ** 2 / expected).sum() < 13.8  # 99.9 %, 2 degrees


def test_weights_without_replacement():
    sampler = WeightedRandomSampler([1, 0, 3, 1], 3, replacement=False, generator=seeded())
    assert sorted(sampler) == [0, 2, 3]
    firsts = [list(sampler)[0] for _ in range(2000)]
    assert abs(firsts.count(2) / 2000 - 3 / 5) < 0.04  # the first draw has the probabilities


def test_weights_of_any_kind():
    for weights in ([1, 2], (1.0, 2.0), cf.tensor([1.0, 2.0]), np.array([1, 2]), iter([1, 2])):
        assert len(list(WeightedRandomSampler(weights, 5))) == 5
    tiny = WeightedRandomSampler([1e-300, 0.0], 100)
    assert set(tiny) == {0}


@pytest.mark.parametrize(
    "weights", [[], [0, 0], [-1, 2], [float("nan")], [float("inf")], [[1.0, 2.0]]]
)
def test_weights_that_are_no_probabilities(weights):
    with pytest.raises(cf.ArgumentError, match="weights"):
        WeightedRandomSampler(weights, 2)


def test_batches():
    def batches(*args):
        return list(BatchSampler(*args))

    assert batches(range(5), 2, False) == [[0, 1], [2, 3], [4]]
    assert batches(range(5), 2, True) == [[0, 1], [2, 3]]
    assert batches(range(4), 2, False) == batches(range(4), 2, True) == [[0, 1], [2, 3]]
    assert batches([], 2, False) == []
    assert batches("abc", 9, False) == [["a", "b", "c"]]
    for size in (1, 2, 3, 5, 6):
        for drop in (False, True):
            assert len(BatchSampler(range(5), size, drop)) == len(batches(range(5), size, drop))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: RandomSampler(range(3), num_samples=0), ValueError),
        (lambda: RandomSampler(range(3), num_samples=2.5), TypeError),
        (lambda: RandomSampler(range(3), num_samples=True), TypeError),
        (lambda: RandomSampler(range(3), replacement="yes"), TypeError),
        (lambda: RandomSampler(range(3), generator=0), TypeError),
        (lambda: SubsetRandomSampler(range(3), generator=0), TypeError),
        (lambda: WeightedRandomSampler([1], 1, generator=0), TypeError),
        (lambda: WeightedRandomSampler([1, 1, 0], 3, replacement=False), ValueError),
        (lambda: WeightedRandomSampler([1], -1), ValueError),
        (lambda: WeightedRandomSampler([1], 1, replacement=1), TypeError),
        (lambda: BatchSampler(range(3), 0, False), ValueError),
        (lambda: BatchSampler(range(3), 2.0, False), TypeError),
        (lambda: BatchSampler(range(3), 2, None), TypeError),
        (lambda: iter(Sampler()), TypeError),
    ],
)
def test_errors(make, kind):
    with pytest.raises(kind) as caught:
        make()
    assert isinstance(caught.value, cf.ContraflowError)
