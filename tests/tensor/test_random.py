"""Random tensors: shapes, dtypes, ranges, statistics, generators, states."""

import numpy as np
import pytest

import contraflow as cf

N = 40_000


@pytest.fixture(autouse=True)
def seeded():
    before = cf.get_rng_state()
    cf.manual_seed(20)
    yield
    cf.set_rng_state(before)


DRAWS = {  # name: (draw n numbers, mean, standard deviation, least, greatest)
    "rand": (lambda n: cf.rand(n), 0.5, 12**-0.5, 0, 1),
    "randn": (lambda n: cf.randn(n), 0, 1, -6, 6),
    "rand float64": (lambda n: cf.rand(n, dtype=cf.float64), 0.5, 12**-0.5, 0, 1),
    "randint": (lambda n: cf.randint(2, 7, (n,)).float(), 4, 2**0.5, 2, 6),
    "normal": (lambda n: cf.normal(3.0, 2.0, (n,)), 3, 2, -10, 16),
    "normal of tensors": (lambda n: cf.normal(cf.full((n,), 1.0), cf.full((n,), 0.5)), 1, 0.5, -3, 5),
    "bernoulli": (lambda n: cf.bernoulli(cf.full((n,), 0.3)), 0.3, 0.21**0.5, 0, 1),
    "poisson": (lambda n: cf.poisson(cf.full((n,), 4.0)), 4, 2, 0, 30),
    "uniform_": (lambda n: cf.empty(n).uniform_(-1, 3), 1, 4 / 12**0.5, -1, 3),
    "normal_": (lambda n: cf.empty(n).normal_(1, 2), 1, 2, -12, 14),
    "exponential_": (lambda n: cf.empty(n).exponential_(2.0), 0.5, 0.5, 0, 20),
    "geometric_": (lambda n: cf.empty(n).geometric_(0.5), 2, 2**0.5, 1, 60),
    "bernoulli_": (lambda n: cf.empty(n).bernoulli_(0.25), 0.25, 0.1875**0.5, 0, 1),
    "log_normal_": (lambda n: cf.empty(n).log_normal_(0, 0.5).log(), 0, 0.5, -4, 4),
    "random_": (lambda n: cf.empty(n).random_(0, 10), 4.5, 8.25**0.5, 0, 9),
    "multinomial": (lambda n: cf.multinomial(cf.tensor([1.0, 0.0, 3.0]), n, True).float(), 1.5, 0.75**0.5, 0, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWS)
def test_statistics(name):
    draw, mean, deviation, low, high = DRAWS[name]
    x = draw(N)
    values = x.numpy().astype(np.float64)
    error = deviation / N**0.5
    assert x.shape == (N,) and low <= values.min() and values.max() <= high
    assert abs(values.mean() - mean) < 5 * error
    assert abs(values.std() - deviation) < 0.05 * deviation


@pytest.mark.parametrize("name", DRAWS)
def test_the_seed_decides_and_the_state_continues(name):
    draw = DRAWS[name][0]
    cf.manual_seed(1)
    first = draw(50).tolist()
    state = cf.get_rng_state()
    second = draw(50).tolist()
    cf.manual_seed(1)
    assert draw(50).tolist() == first != second
    cf.set_rng_state(state)
    assert draw(50).tolist() == second
    cf.manual_seed(2)
    assert draw(50).tolist() != first


def test_cauchy_has_its_quartiles():
    x = cf.empty(N).cauchy_(1.0, 2.0).numpy()
    assert np.allclose(np.quantile(x, [0.25, 0.5, 0.75]), [-1, 1, 3], atol=0.1)


def test_dtypes_and_shapes():
    assert cf.rand(2, 3).dtype is cf.float32 and cf.rand((2, 3)).shape == (2, 3)
    assert cf.randint(3, (2,)).dtype is cf.int64 and cf.randperm(4).dtype is cf.int64
    assert cf.randn(2, dtype=cf.float64).dtype is cf.float64
    assert cf.randint(0, 5, (2,), dtype=cf.int8).dtype is cf.int8
    x = cf.zeros(0, 3, dtype=cf.float64)
    for like in (cf.rand_like(x), cf.randn_like(x), cf.randint_like(x, 3)):
        assert like.shape == (0, 3) and like.dtype is cf.float64
    assert cf.rand(()).shape == () and cf.rand(2, requires_grad=True).requires_grad


def test_a_generator_is_a_stream_of_its_own():
    g = cf.Generator().manual_seed(5)
    assert g.initial_seed() == 5
    before = cf.get_rng_state().tolist()
    first = [cf.rand(3, generator=g), cf.randperm(5, generator=g), cf.empty(2).normal_(generator=g)]
    assert cf.get_rng_state().tolist() == before, "the default generator moved"
    g.manual_seed(5)
    again = [cf.rand(3, generator=g), cf.randperm(5, generator=g), cf.empty(2).normal_(generator=g)]
    assert [t.tolist() for t in first] == [t.tolist() for t in again]
    other = cf.Generator()
    other.set_state(g.get_state())
    assert cf.rand(4, generator=other).tolist() == cf.rand(4, generator=g).tolist()
    assert cf.seed() != cf.seed()


def test_a_word_is_a_draw_of_bits():
    a, b = (cf.Generator().manual_seed(-5) for _ in range(2))
    for _ in range(20):
        assert a.word() == b.bits(()).item()
    assert a.get_state().tolist() == b.get_state().tolist()


def test_permutations():
    p = cf.randperm(1000)
    assert sorted(p.tolist()) == list(range(1000)) and p.tolist() != list(range(1000))
    firsts = np.array([int(cf.randperm(4)[0]) for _ in range(800)])
    assert (np.bincount(firsts, minlength=4) > 140).all()
    assert cf.randperm(0).tolist() == []


def test_multinomial_without_replacement():
    weights = cf.tensor([[0.0, 1.0, 2.0, 1.0], [5.0, 1.0, 0.0, 1.0]])
    drawn = cf.multinomial(weights, 3)
    assert drawn.shape == (2, 3) and drawn.dtype is cf.int64
    assert sorted(drawn[0].tolist()) == [1, 2, 3] and sorted(drawn[1].tolist()) == [0, 1, 3]
    first = np.array([int(cf.multinomial(weights[0], 2)[0]) for _ in range(1500)])
    assert abs((first == 2).mean() - 0.5) < 0.06


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: cf.rand(2, dtype=cf.int64),
        lambda: cf.randint(5, 5, (2,)),
        lambda: cf.randint(300, (2,), dtype=cf.int8),
        lambda: cf.randint(5),
        lambda: cf.normal(0.0, -1.0, (2,)),
        lambda: cf.normal(0.0, 1.0),
        lambda: cf.bernoulli(cf.tensor([1.5])),
        lambda: cf.bernoulli(cf.tensor([1])),
        lambda: cf.poisson(cf.tensor([-1.0])),
        lambda: cf.multinomial(cf.tensor([1.0, 1.0]), 3),
        lambda: cf.multinomial(cf.tensor([-1.0, 1.0]), 1),
        lambda: cf.multinomial(cf.tensor([0.0, 0.0]), 1, True),
        lambda: cf.randperm(-1),
        lambda: cf.empty(2).uniform_(2, 1),
        lambda: cf.empty(2).exponential_(-1),
        lambda: cf.empty(2).geometric_(1.5),
        lambda: cf.empty(2, dtype=cf.int64).normal_(),
        lambda: cf.rand(2, generator=7),
        lambda: cf.manual_seed("a"),
        lambda: cf.set_rng_state(cf.zeros(2)),
    ],
)
def test_wrong_arguments_draw_nothing(wrong):
    before = cf.get_rng_state().tolist()
    with pytest.raises(cf.ContraflowError):
        wrong()
    assert cf.get_rng_state().tolist() == before
