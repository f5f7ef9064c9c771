"""Random programs over a few tensors, run by contraflow and by PyTorch side by side.

Views, indexing, pointwise functions, reductions and writes in place in any order: after it every
tensor has the same values, backward gives the same gradients, or both refuse for the same reason.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import contraflow as cf

torch = pytest.importorskip("torch")

from tests.parity.compare import outcome  # noqa: E402

SHAPES = ((3, 4), (4,), (2, 3, 4), (1, 4), (3, 1))
# PyTorch refuses to write where reading and writing overlap; we compute first and then write.
OVERLAP = "single memory location"
KEYS = (
    (0,), (-1,), (slice(1, None),), (slice(None, None, 2),), (Ellipsis, 0), (None,), (slice(0, 2), None), (Ellipsis, slice(1, 3)),
    (slice(0, 1), Ellipsis, None), ([0, 1],), (Ellipsis, [1, 0]), ([[0, 1], [1, 0]],), (slice(None), [0, 0]), (True,),
    (slice(2, 1),), (0, 1), (7,), ([0, 1], [1, 0]), (None, [1], Ellipsis),
)  # fmt: skip


def key_of(k):
    return KEYS[k % len(KEYS)]


def mask_of(lib, x, k):
    """Some of the elements, the same for both libraries, by their place."""
    count = int(np.prod(tuple(x.shape)))
    return lib.tensor(((np.arange(count) * 7 + k) % 3 == 0).reshape(tuple(x.shape)))


def setitem(x, key, value):
    x[key] = value
    return x


NEW = {
    "sin": lambda lib, a, b, k: a.sin(),
    "tanh": lambda lib, a, b, k: a.tanh(),
    "sigmoid": lambda lib, a, b, k: lib.sigmoid(a),
    "exp": lambda lib, a, b, k: (a * 0.1).exp(),
    "sqrt": lambda lib, a, b, k: (a * a + 1).sqrt(),
    "add": lambda lib, a, b, k: a + b,
    "sub": lambda lib, a, b, k: a - b * 0.5,
    "mul": lambda lib, a, b, k: a * b * 0.5,
    "div": lambda lib, a, b, k: a / (b * b + 1),
    "maximum": lambda lib, a, b, k: lib.maximum(a, b),
    "where": lambda lib, a, b, k: lib.where(mask_of(lib, a, k), a, b),
    "matmul": lambda lib, a, b, k: (a @ b) * 0.2,
    "cat": lambda lib, a, b, k: lib.cat([a, b], k % 2),
    "sum": lambda lib, a, b, k: a.sum(k % 4 - 2, keepdim=bool(k & 4)),
    "mean": lambda lib, a, b, k: a.mean(),
    "amax": lambda lib, a, b, k: a.amax(k % 3 - 1),
    "softmax": lambda lib, a, b, k: a.softmax(k % 3 - 1),
    "cumsum": lambda lib, a, b, k: a.cumsum(k % 3 - 1) * 0.5,
    "var": lambda lib, a, b, k: a.var(k % 3 - 1, correction=0),
    "clone": lambda lib, a, b, k: a.clone(),
    "detach": lambda lib, a, b, k: a.detach(),
    "transpose": lambda lib, a, b, k: a.transpose(k % 3 - 1, 0),
    "reshape": lambda lib, a, b, k: a.reshape(((-1,), (2, -1), (4, -1))[k % 3]),
    "view": lambda lib, a, b, k: a.view(((-1,), (2, -1), (4, -1))[k % 3]),
    "unsqueeze": lambda lib, a, b, k: a.unsqueeze(k % 4 - 1),
    "squeeze": lambda lib, a, b, k: a.squeeze(),
    "expand": lambda lib, a, b, k: a.expand(2, *a.shape),
    "narrow": lambda lib, a, b, k: a.narrow(k % 3 - 1, k % 2, 1),
    "diagonal": lambda lib, a, b, k: a.diagonal(k % 3 - 1),
    "flip": lambda lib, a, b, k: a.flip(0),
    "roll": lambda lib, a, b, k: a.roll(k, 0),
    "getitem": lambda lib, a, b, k: a[key_of(k)],
    "select": lambda lib, a, b, k: a[mask_of(lib, a, k)],
    "index_select": lambda lib, a, b, k: a.index_select(0, lib.tensor([0, k % 3, 0])),
}
IN_PLACE = {
    "add_": lambda lib, a, b, k: a.add_(b),
    "mul_": lambda lib, a, b, k: a.mul_(b * 0.5),
    "sub_": lambda lib, a, b, k: a.sub_(1.5),
    "div_": lambda lib, a, b, k: a.div_(b * b + 1),
    "sin_": lambda lib, a, b, k: a.sin_(),
    "zero_": lambda lib, a, b, k: a.zero_(),
    "fill_": lambda lib, a, b, k: a.fill_(0.25),
    "copy_": lambda lib, a, b, k: a.copy_(b),
    "clamp_": lambda lib, a, b, k: a.clamp_(-1, 1),
    "addcmul_": lambda lib, a, b, k: a.addcmul_(b, b, value=0.1),
    "masked_fill_": lambda lib, a, b, k: a.masked_fill_(mask_of(lib, a, k), 0.5),
    "index_add_": lambda lib, a, b, k: a.index_add_(0, lib.tensor([0, 0]), b[:2]),
    "setitem": lambda lib, a, b, k: setitem(a, key_of(k), b),
    "set number": lambda lib, a, b, k: setitem(a, key_of(k), 0.75),
    "set mask": lambda lib, a, b, k: setitem(a, mask_of(lib, a, k), 0.5),
    "add slice": lambda lib, a, b, k: a[key_of(k)].add_(1.0),
    "t_": lambda lib, a, b, k: a.t_(),
    "unsqueeze_": lambda lib, a, b, k: a.unsqueeze_(0),
}  # fmt: skip
STEPS = NEW | IN_PLACE


def start(lib):
    """Leaves of several shapes, most of which require a gradient, and copies to write to."""
    rng = np.random.default_rng(3)
    arrays = [rng.uniform(-1.5, 1.5, shape) for shape in SHAPES]
    leaves = [lib.tensor(a, requires_grad=i != 1) for i, a in enumerate(arrays)]
    return leaves, [*leaves, *(leaf * 1 for leaf in leaves[:3])]


def run(program):
    """Both libraries step by step; returns the leaves and all tensors of each."""
    (ours, mine), (theirs, others) = start(cf), start(torch)
    for name, i, j, k in program:
        step = STEPS[name]
        a, b = i % len(others), j % len(others)
        result, error = outcome(lambda: step(torch, others[a], others[b], k))  # noqa: B023
        if error is not None and OVERLAP in str(error):
            continue
        found, mistake = outcome(lambda: step(cf, mine[a], mine[b], k))  # noqa: B023
        where = f"{name}({i}, {j}, {k}) in {program}"
        assert (error is None) == (mistake is None), f"{where}: {mistake!r}, PyTorch {error!r}"
        if mistake is not None:
            assert isinstance(mistake, cf.ContraflowError), f"{where}: {mistake!r}"
            continue
        if name in NEW:
            mine.append(found)
            others.append(result)
        same(mine, others, where)
    return ours, mine, theirs, others


def same(mine, others, where):
    for number, (x, y) in enumerate(zip(mine, others, strict=True)):
        a, b = x.detach().numpy(), y.detach().numpy()
        assert a.shape == b.shape, f"{where}: tensor {number} is {a.shape}, PyTorch {b.shape}"
        close = np.allclose(a, b, rtol=1e-9, atol=1e-11, equal_nan=True)
        assert close, f"{where}: tensor {number} is {a}, PyTorch {b}"
        assert x.requires_grad == y.requires_grad, f"{where}: requires_grad of tensor {number}"
        assert x.is_leaf == y.is_leaf, f"{where}: is_leaf of tensor {number}"


def total(lib, tensors):
    return sum(((t * (1 + 0.1 * n)).sum() for n, t in enumerate(tensors)), lib.zeros(()))


step = st.tuples(
    st.sampled_from(sorted(STEPS)), st.integers(0, 15), st.integers(0, 15), st.integers(0, 40)
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(st.lists(step, min_size=1, max_size=12))
def test_random_programs(program):
    ours, mine, theirs, others = run(program)
    _, error = outcome(lambda: total(torch, others).backward())
    _, mistake = outcome(lambda: total(cf, mine).backward())
    assert (error is None) == (mistake is None), f"{program}: {mistake!r}, PyTorch {error!r}"
    if error is not None:
        assert isinstance(mistake, cf.GradError)
        assert "in place" in str(mistake) and "inplace" in str(error)
        return
    for x, y in zip(ours, theirs, strict=True):
        assert (x.grad is None) == (y.grad is None), program
        if y.grad is not None:
            np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-8, atol=1e-10)
