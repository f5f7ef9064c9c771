"""Scans, sorting, scattering, draws and float16 at their edges: compiled gives the bits of eager."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
from contraflow.nn import functional as F
from contraflow.ops import random as draws

NAN, INF = np.nan, np.inf
RNG = np.random.default_rng(0)
ROWS = {
    "ties": np.array([[2.0, 1, 2, 1, 2], [3, 3, 3, 3, 3], [0.0, -0.0, 0, -0.0, 1]]),
    "nan": np.array([[NAN, 1, NAN, 0], [1, NAN, -INF, NAN], [NAN] * 4, [INF, 1, -INF, 2]]),
    "one": RNG.normal(size=(3, 1)),
    "side by side": RNG.normal(size=(5, 3, 21)),
    "large": RNG.integers(-50, 50, (2, 3001)).astype(float),
    "integers": RNG.integers(-4, 4, (7, 9)),
    "bytes": RNG.integers(0, 255, (4, 33)).astype(np.uint8),
}
ORDERED = {
    "argmax": lambda x, d: x.argmax(d), "argmin": lambda x, d: x.argmin(d, keepdim=True),
    "sort": lambda x, d: x.sort(d), "descending": lambda x, d: x.sort(d, descending=True),
    "topk": lambda x, d: x.topk(1, d), "median": lambda x, d: x.median(d),
    "kth": lambda x, d: x.kthvalue(x.shape[d], d), "mode": lambda x, d: x.mode(d),
    "cumsum": lambda x, d: x.cumsum(d), "cumprod": lambda x, d: x.cumprod(d),
    "cummax": lambda x, d: x.cummax(d), "cummin": lambda x, d: x.cummin(d),
}  # fmt: skip


def listed(found):
    return list(found) if isinstance(found, tuple) else [found]


def same(step, *args):
    """Compiled and eager agree to the last bit (NaN is NaN)."""
    for ours, theirs in zip(listed(cf.compile(step)(*args)), listed(step(*args)), strict=True):
        assert ours.aval == theirs.aval
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("rows", ROWS)
def test_what_walks_in_order(rows):
    x = ROWS[rows]
    for dtype in ("d", "f") if rows == "nan" else ("f" if x.dtype.kind == "f" else x.dtype,):
        t = cf.from_numpy(x.astype(dtype))
        for dim in (0, -1):
            same(
                lambda x, dim=dim: tuple(o for f in ORDERED.values() for o in listed(f(x, dim))), t
            )
    turned = cf.from_numpy(x).mT  # not contiguous
    same(lambda x: (*x.sort(0), x.argmax(1), x.cumsum(-1), *x.cummax(-2)), turned)


def test_the_first_few_and_the_first_many_of_a_long_row():
    x = np.round(RNG.normal(size=(3, 300)), 1).astype(np.float32)
    x[0, 7] = x[0, 200] = x[1, 299] = NAN
    t = cf.from_numpy(x)
    for k in (1, 5, 16, 17, 300):
        same(lambda x, k=k: (*x.topk(k, 1), *x.topk(k, 1, largest=False), *x.kthvalue(k, 1)), t)
    same(lambda x: (x.argmax(1), x.argmin(1), x.argmax(), x.long().argmin(-1)), cf.nan_to_num(t))
    same(lambda x: (x.argmax(1), x.argmin(1, keepdim=True)), t)


def test_sorting_and_scans_of_nothing():
    x = cf.zeros(2, 0)
    same(lambda x: (*x.sort(1), x.cumsum(1), x.argmax(0), *x.topk(0), x.histc(3), x.sort(0)[1]), x)


def test_searching():
    rows = cf.from_numpy(np.sort(RNG.integers(0, 9, (3, 17)), axis=1).astype(float))
    values = cf.from_numpy(
        np.concatenate([RNG.integers(-1, 11, (3, 20)), np.full((3, 1), 4)], 1) + 0.0
    )
    for right in (False, True):
        same(lambda r, v, right=right: cf.searchsorted(r, v, right=right), rows, values)
    edges = cf.tensor([0.0, 1.0, NAN])
    same(
        lambda v: (cf.bucketize(v, edges), cf.isin(v, edges)), cf.tensor([NAN, -1.0, 0.0, 0.5, 2.0])
    )
    same(lambda v: cf.searchsorted(edges[:0], v), cf.tensor([1.0, NAN]))


SCATTERED = {
    "add": lambda x, i, s: x.scatter_add(1, i, s), "put": lambda x, i, s: x.scatter(1, i, s),
    "prod": lambda x, i, s: x.scatter_reduce(1, i, s, "prod"),
    "amax": lambda x, i, s: x.scatter_reduce(1, i, s, "amax"),
    "first dim": lambda x, i, s: x.scatter_add(0, i % 5, s),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int8"])
def test_scattering_in_the_order_of_the_source(dtype):
    dtype = getattr(cf, dtype)
    x, s = (cf.from_numpy(RNG.normal(size=(5, 11)) * 4).to(dtype) for _ in range(2))
    i = cf.from_numpy(RNG.integers(0, 11, (5, 11)))  # every place a few times
    for f in SCATTERED.values():
        same(f, x, i, s)
        same(f, x.mT.contiguous().mT, i[:, :4], s[:, :4])
    rows = cf.tensor([3, 0, 3, 3])
    same(lambda x, r, s: x.index_add(0, r, s), x, rows, s[:4])
    same(lambda x, r, s: x.index_add(1, r, s), x, rows, s[:, :4])
    same(lambda x, r: x.index_add(0, r[:0], x[:0]), x, rows)
    same(lambda x, r: cf.index_fill(x, 1, r, 7), x, rows)


def test_the_gradient_of_an_embedding_adds_what_comes_again():
    words = cf.tensor([[1, 4, 1], [1, 0, 9]])

    def step(weight, words):
        y = F.embedding(words, weight)
        return cf.autograd.grad((y * cf.arange(6.0).reshape(2, 3, 1)).sum(), [weight])[0]

    weight = cf.zeros(10, 17).requires_grad_()
    same(step, weight, words)
    assert cf.compile(step)(weight, words)[1].tolist() == [0.0 + 2.0 + 3.0] * 17


@pytest.mark.parametrize("n", [0, 1, 3, 7, 64, 1001])
def test_draws_have_the_bits_of_eager(n):
    seed, position = cf.tensor(7), cf.tensor(2**33 + 5)
    for dtype in (cf.float32, cf.float64, cf.float16):
        same(lambda s, p, d=dtype: draws.random_uniform(s, p, shape=(n,), dtype=d), seed, position)
        same(lambda s, p, d=dtype: draws.random_normal(s, p, shape=(n,), dtype=d), seed, position)
    same(lambda s, p: draws.random_bits(s, p, shape=(n,), dtype=cf.int64), seed, position)


def test_normal_numbers_are_those_of_the_formula():
    u = draws.random_uniform(
        cf.tensor(3), cf.tensor(0), shape=(50_000, 2), dtype=cf.float64
    ).numpy()
    x = draws.random_normal(cf.tensor(3), cf.tensor(0), shape=(50_000, 2), dtype=cf.float64).numpy()
    radius, angle = np.sqrt(-2 * np.log1p(-u[:, 0])), 2 * np.pi * u[:, 1]
    exact = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    np.testing.assert_allclose(x, exact, rtol=1e-12, atol=4e-15)
    assert abs(x.mean()) < 0.01
    assert abs(x.std() - 1) < 0.01


def test_a_permutation_drawn_in_a_step():
    step = cf.compile(lambda x: x[cf.randperm(40)])
    x = cf.arange(40)
    cf.manual_seed(1)
    eager = [x[cf.randperm(40)].tolist() for _ in range(3)]
    cf.manual_seed(1)
    assert [step(x).tolist() for _ in range(3)] == eager


def test_every_float16_number_and_back():
    half = np.arange(65536, dtype=np.uint16).view(np.float16)
    same(lambda x: (x.float(), x.double(), x.bool()), cf.from_numpy(half))
    between = half[:31743].astype(np.float64) + np.spacing(half[:31743]).astype(np.float64) / 2
    wide = np.concatenate(
        [between, between * (1 + 1e-9), -between * (1 - 1e-9), [INF, -INF, NAN, 1e9]]
    )
    for dtype in (np.float32, np.float64):
        same(lambda x: x.half(), cf.from_numpy(wide.astype(dtype)))


def test_float16_is_rounded_after_each_op():
    x, y = (cf.from_numpy(RNG.normal(size=(6, 33)).astype(np.float16)) for _ in range(2))
    same(
        lambda x, y: (x * y + x, (x - y) / 3, x * 0.1, cf.where(x > y, x, 0.3), x.sqrt(), -x), x, y
    )
    same(lambda x, y: (x.amax(1), x.sort(1)[0], cf.cat([x, y])[::2], x.cumsum(0), x.long()), x, y)
    same(lambda x: cf.nan_to_num(x / 0), x)
    big = cf.full((4000,), 20.0, dtype=cf.float16)
    assert cf.compile(lambda x: x.mean())(big).item() == 20.0
    assert cf.compile(lambda x: x.sum())(big).item() == INF


DIVISIONS = {
    "floor": lambda a, b: a // b, "trunc": lambda a, b: cf.div(a, b, rounding_mode="trunc"),
    "remainder": lambda a, b: a % b, "fmod": cf.fmod,
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int8", "uint8"])
def test_divisions_that_round(dtype):
    dtype = getattr(cf, dtype)
    a = cf.from_numpy(np.repeat(np.array([7, -7, 0, 5, -128, 127, 100, 3]), 8)).to(dtype)
    b = cf.from_numpy(np.tile(np.array([2, -2, 3, -1, 1, 127, -128, 5]), 8)).to(dtype)
    if dtype.is_floating_point:
        a, b = cf.cat([a * 0.3, cf.tensor([1.0, -1, 0, INF, NAN, 1, -0.0]).to(dtype)]), cf.cat(
            [b * 0.1, cf.tensor([0.0, INF, 0, 2, 1, -INF, 3]).to(dtype)])  # fmt: skip
    for f in DIVISIONS.values():
        same(f, a, b)
        same(lambda a, f=f: (f(a, 3), f(7, a + (a == 0).to(a.dtype))), a)


def test_bits_and_powers_of_integers():
    a = cf.from_numpy(np.repeat(np.array([5, -3, 127, -128, 0, 1, -1]), 6))
    b = cf.from_numpy(np.tile(np.array([0, 1, 3, 7, 70, -2]), 7))
    for dtype in (cf.int64, cf.int32, cf.int8):
        same(
            lambda a, b: (a << b, a >> b, a & b, a | b, a ^ b, ~a, a**b, a**3),
            a.to(dtype),
            b.to(dtype),
        )


def test_long_chains_from_memory_are_no_trouble():
    def step(x):
        for _ in range(60):
            x = x * 0.5 + x * x * 0.25
        return x

    x = cf.from_numpy(RNG.uniform(0, 1, 9))
    np.testing.assert_allclose(cf.compile(step)(x).numpy(), step(x).numpy(), rtol=1e-12)


WRONG = {
    "select": (lambda x, i: x[:, i], 9), "from the end": (lambda x, i: x[:, i], -10),
    "add": (lambda x, i: x.index_add(1, i, x[:, :2]), 9),
    "scatter": (lambda x, i: x.scatter(1, i.expand(4, 2), x[:, :2]), -1),
    "computed": (lambda x, i: x[:, (x[0, :2] * 0).sum().long() + i], 9),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_index_is_an_error_before_anything_changes(name):
    function, bad = WRONG[name]
    state = cf.zeros(1)

    @cf.compile
    def step(x, i):
        state.add_(1)
        return function(x, i)

    x = cf.ones(4, 9)
    step(x, cf.tensor([1, 2]))
    with pytest.raises(IndexError, match="nothing was changed"):
        step(x, cf.tensor([1, bad]))
    assert state.item() == 1


def test_an_integer_divided_by_nothing_is_an_error():
    step = cf.compile(lambda a, b: a // b)
    assert step(cf.tensor([7]), cf.tensor([2])).tolist() == [3]
    with pytest.raises(ValueError, match="divided by 0"):
        step(cf.tensor([7]), cf.tensor([0]))


def test_indices_that_are_known_to_be_right_are_not_looked_at():
    table, x = cf.ones(5, 3), cf.from_numpy(RNG.normal(size=(8, 5)))
    for step in (
        lambda x: table[x.argmax(1)], lambda x: x.sort(1), lambda x: x.median(1),
        lambda x: table[x.long().clamp(0, 4)], lambda x: x[cf.randint(0, 8, (3,))],
    ):  # fmt: skip
        compiled = cf.compile(step)
        compiled(x)
        ((version,),) = compiled.versions.values()
        assert version.watcher is None
