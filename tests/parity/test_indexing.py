"""``x[key]`` and ``x[key] = value`` for every kind of key, against PyTorch: values, gradients, errors."""

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

from tests.parity.compare import compare, map_tree, outcome  # noqa: E402

X = np.arange(60.0).reshape(3, 4, 5)
MASK = (np.arange(12).reshape(3, 4) % 3) == 0
KEYS = [
    0, -1, 3, -4, 1.0, "a", None, ..., True, False, slice(None), slice(1, 3), slice(-2, None), slice(None, None, 2), slice(3, 1),
    slice(0, 100), slice(None, None, -1), slice(None, None, 0), (0, 1), (0, 1, 2), (0, 1, 2, 3), (..., 0), (0, ...), (..., 1, 2),
    (..., ...), (slice(None), 1), (None, 0, None), (0, None, slice(1, 2), ..., None), (slice(1, 2), ..., slice(0, 4, 3)),
    [0, 2], ([[0, 1], [2, 0]],), [-1, 0], [3], [], np.array([0, 2]), np.array([[1], [0]]), np.array(1), np.array([0.0]),
    (slice(None), [0, 3]), ([0, 1], [1, 2]), ([0, 1], slice(None), [1, 2]), (..., [4, 0]), ([0, 1], ..., [1, 0]), (None, [0, 1]),
    ([[0], [1]], [1, 2]), ([0, 1, 2], [1, 2]), (0, [1, 2]), ([1, 2], 0), (0, slice(None), [1, 2]), ([1, 0], None, [1, 2]),
    (slice(0, 2), [0, 1], [2, 3]), (slice(0, 2), [0, 1], 3), (np.array([0, 1]), 2, slice(None)), ([0, 1], [2]), (np.array(0), [1, 2]),
    MASK, MASK[:, 0], X % 2 == 0, (MASK, 0), (MASK, [0, 1, 2, 3]), (slice(None), MASK[0]), (slice(None), MASK[0], 1), (MASK[:, 1], [1]),
    (0, MASK[0]), MASK[:2], (..., X[0, 0] > 1), np.zeros((3, 4), bool), (np.array(True), 0), [True, False, True], ([[True]],),
    np.array([0, 1], np.int32), np.array([0, 1], np.uint8), np.int64(1), (np.int64(1), slice(None)), (1, True), (True, 1),
    (None, None), (slice(None), None, [0, 1]), ((0, 1), slice(None)), ([0, 1], MASK[0]), range(2), (slice(None), slice(1, 2), slice(2, 3)),
]  # fmt: skip


def key_for(lib, key):
    return map_tree(lambda k: lib.tensor(k) if isinstance(k, np.ndarray) else k, key)


IDS = [str(key).replace("\n", "")[:60] for key in KEYS]
each_key = pytest.mark.parametrize("key", KEYS, ids=[f"{i}: {t}" for i, t in enumerate(IDS)])


def get(lib, key, dtype="float64"):
    x = lib.tensor(X.astype(dtype), requires_grad=dtype == "float64")
    y = x[key_for(lib, key)]
    if dtype != "float64":
        return y
    weight = lib.tensor(np.cos(np.arange(int(np.prod(tuple(y.shape))))).reshape(tuple(y.shape)))
    (grad,) = lib.autograd.grad((y * y * weight).sum(), x)
    return y.detach(), grad


@each_key
def test_reading(key):
    problem = compare("x[key]", outcome(lambda: get(cf, key)), outcome(lambda: get(torch, key)))
    assert problem is None
    problem = compare(
        "int", outcome(lambda: get(cf, key, "int8")), outcome(lambda: get(torch, key, "int8"))
    )
    assert problem is None


@each_key
def test_a_view_is_a_view(key):
    found = []
    for lib in (cf, torch):
        x = lib.tensor(X)
        y, error = outcome(lambda: x[key_for(lib, key)])  # noqa: B023
        if error is None:
            y.zero_()
            found.append(x.tolist())
    assert len(found) != 2 or found[0] == found[1]


def put(lib, key, value, tracked):
    x = lib.tensor(X, requires_grad=True)
    v = lib.tensor(value, requires_grad=tracked) if isinstance(value, np.ndarray) else value
    y = x * 1
    y[key_for(lib, key)] = v
    given = [x, v] if tracked else [x]
    grads = lib.autograd.grad((y * y).sum(), given, allow_unused=True)
    return y.detach(), *(
        lib.zeros_like(t) if g is None else g for t, g in zip(given, grads, strict=True)
    )


@each_key
@pytest.mark.parametrize(
    "value", [7.5, True, np.array(2.5), np.array([[1.5]]), "own", "wide", "float32"], ids=str
)
def test_writing(key, value):
    if key is False and value == "wide":
        return  # nothing is written; PyTorch does not look whether it would fit
    if isinstance(value, str):
        shown, error = outcome(lambda: torch.tensor(X)[key_for(torch, key)])
        if error is not None:
            shown = torch.zeros(2)
        shape = tuple(shown.shape) if value != "wide" else (*shown.shape, 2)
        dtype = np.float32 if value == "float32" else np.float64
        value = np.sin(np.arange(int(np.prod(shape))), dtype=dtype).reshape(shape)
    tracked = isinstance(value, np.ndarray)
    problem = compare(
        "x[key] = v",
        outcome(lambda: put(cf, key, value, tracked)),
        outcome(lambda: put(torch, key, value, tracked)),
    )
    assert problem is None


@pytest.mark.parametrize(
    "value", [2, 2.7, True, np.array(3), np.array([1, 2, 3, 4, 5], np.int8)], ids=str
)
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float16"])
def test_writing_into_other_dtypes(dtype, value):
    results = []
    for lib in (cf, torch):
        x = lib.tensor((X % 3).astype(dtype))

        def write(lib=lib, x=x):
            x[1] = lib.tensor(value) if isinstance(value, np.ndarray) else value
            x[lib.tensor([0, 2]), 1] = lib.tensor(value) if isinstance(value, np.ndarray) else value
            return x

        results.append(outcome(write))
    problem = compare("x[key] = v", *results)
    assert problem is None


def test_repeated_indices_add_up_in_the_gradient_and_the_last_write_stays():
    for lib in (cf, torch):
        x = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
        (x[[0, 0, 2]] * lib.tensor([1.0, 10.0, 100.0])).sum().backward()
        assert x.grad.tolist() == [11.0, 0.0, 100.0]


def test_zero_dimensional_tensors():
    for lib in (cf, torch):
        x = lib.tensor(3.0)
        assert x[...].tolist() == 3.0 and x[None].tolist() == [3.0] and x[()].tolist() == 3.0
        assert x[True].tolist() == [3.0] and x[False].tolist() == []
        with pytest.raises(IndexError):
            x[0]
        x[...] = 4.0
        x[()] = x + 1
        assert x.item() == 5.0
