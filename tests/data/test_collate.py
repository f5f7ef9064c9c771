"""From samples to a batch."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import contraflow as cf
from contraflow.data import default_collate, default_convert

Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    ("samples", "dtype", "values"),
    [
        ([1, 2], cf.int64, [1, 2]),
        ([True, False], cf.bool, [True, False]),
        ([0.5, 2], cf.float64, [0.5, 2.0]),
        ([np.float32(1), np.float32(2)], cf.float32, [1.0, 2.0]),
        ([np.int8(1), np.int8(2)], cf.int8, [1, 2]),
        ([np.array([1, 2], np.int16)] * 2, cf.int16, [[1, 2], [1, 2]]),
        ([cf.tensor([1.0]), cf.tensor([2.0])], cf.float32, [[1.0], [2.0]]),
        ([cf.tensor(3), cf.tensor(4)], cf.int64, [3, 4]),
        ([cf.zeros(0), cf.zeros(0)], cf.float32, [[], []]),
        ([cf.tensor([1, 2]).T, np.array([3, 4])], cf.int64, [[1, 2], [3, 4]]),
    ],
)
def test_numbers_and_arrays_are_stacked(samples, dtype, values):
    batch = default_collate(samples)
    assert batch.dtype is dtype
    assert batch.tolist() == values


def test_containers_keep_their_form():
    batch = default_collate(
        [{"x": cf.ones(2), "n": 1, "s": "a"}, {"x": cf.ones(2), "n": 2, "s": "b"}]
    )
    assert batch["x"].shape == (2, 2)
    assert batch["n"].tolist() == [1, 2]
    assert batch["s"] == ["a", "b"]
    assert [t.tolist() for t in default_collate([(1, 2.0), (3, 4.0)])] == [[1, 3], [2.0, 4.0]]
    assert [t.tolist() for t in default_collate([[1, 2], [3, 4]])] == [[1, 3], [2, 4]]
    named = default_collate([Pair(1, "a"), Pair(2, "b")])
    assert type(named) is Pair
    assert named.x.tolist() == [1, 2]
    ordered = default_collate([OrderedDict(b=1, a=2)] * 2)
    assert type(ordered) is OrderedDict
    assert list(ordered) == ["b", "a"]
    deep = default_collate([{"a": [(1, {"b": 2})]}] * 3)
    assert deep["a"][0][1]["b"].tolist() == [2, 2, 2]
    assert default_collate([b"x", b"y"]) == [b"x", b"y"]
    assert default_collate([("x", 1), ("y", 2)])[0] == ("x", "y")  # as in PyTorch


def test_a_batch_is_a_copy():
    x = cf.zeros(2)
    batch = default_collate([x, x])
    batch += 1
    assert x.tolist() == [0, 0]


def test_gradients_reach_samples_that_want_them():
    x = cf.ones(2, requires_grad=True)
    default_collate([x * 2, cf.zeros(2)]).sum().backward()
    assert x.grad.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("samples", "kind", "says"),
    [
        ([], cf.ShapeError, "empty"),
        ([cf.ones(2), cf.ones(3)], cf.ShapeError, r"(?s)sample 0 +float32\[2\].*sample 1 +float32\[3\]"),
        ([np.ones(2), np.ones((1, 2))], cf.ShapeError, "different shapes"),
        ([(1, 2), (3,)], cf.ShapeError, r"lengths +\[1, 2\]"),
        ([None, None], cf.DTypeError, "NoneType"),
        ([object()], cf.DTypeError, "collate_fn"),
        ([{1, 2}], cf.DTypeError, "set"),
    ],
)  # fmt: skip
def test_samples_that_do_not_form_a_batch(samples, kind, says):
    with pytest.raises(kind, match=says):
        default_collate(samples)


def test_convert_keeps_the_sample():
    sample = default_convert({"a": np.ones(2, np.float32), "b": (np.int64(3), "text"), "c": [None]})
    assert sample["a"].dtype is cf.float32
    assert sample["b"][0].tolist() == 3
    assert sample["b"][1] == "text"
    assert sample["c"] == [None]
    assert type(default_convert(Pair(np.ones(1), 2))) is Pair
    x = cf.ones(2)
    assert default_convert(x) is x
