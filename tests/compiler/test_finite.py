"""``check_finite``: NaN and infinities change nothing, and the first op that made one is named."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh())
        self.head, self.drop = nn.Linear(4, 2), nn.Dropout(0.5)
        self.power = 1.0

    def forward(self, x):
        return self.drop(self.head(self.body(x)).exp()) ** self.power


class Training:
    def __init__(self, loss=None, **options):
        cf.manual_seed(0)
        self.model = Net()
        self.optimizer = cf.optim.Adam(self.model.parameters(), lr=0.01)
        self.loss = loss or (lambda out, x, y: F.cross_entropy(out, y))
        self.step = cf.compile(self.plain, **options)

    def plain(self, x, y):
        self.optimizer.zero_grad()
        loss = self.loss(self.model(x), x, y)
        loss.backward()
        self.optimizer.step()
        return loss

    def state(self):
        params = list(self.model.parameters())
        moments = [t for s in self.optimizer.state.values() for t in s.values()]
        found = [*params, *(p.grad for p in params), *moments, *self.model.buffers()]
        return [
            None if t is None else t.detach().numpy().copy() for t in (*found, cf.get_rng_state())
        ]


def data():
    rng = np.random.default_rng(0)
    x = cf.tensor(rng.uniform(0.1, 1.0, (6, 3)).astype(np.float32))
    return x, cf.tensor(rng.integers(0, 2, 6))


def assert_unchanged(before, after):
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_finite_steps_are_the_same_as_without_the_option():
    checked, plain = Training(check_finite=True), Training()
    for t in (checked, plain):
        cf.manual_seed(4)
        t.losses = [t.step(*data()).item() for _ in range(4)]
        t.found = t.state()
    assert checked.losses == plain.losses
    assert_unchanged(checked.found, plain.found)


def root(out, x, y):
    return F.cross_entropy(out, y) + cf.sqrt(x - 0.5).sum() * 0.0


@pytest.mark.parametrize("steps", [0, 2])
def test_an_op_of_forward_is_named_and_nothing_changes(steps):
    t = Training(root, check_finite=True)
    x, y = data()
    for _ in range(steps):
        t.step(x + 1.0, y)
    before = t.state()
    with pytest.raises(cf.NonFiniteError) as found:
        t.step(x, y)
    text = str(found.value)
    assert "plain: a result is not finite; nothing was changed" in text
    assert "first        sqrt" in text
    assert "from -0.3" in text
    assert "NaN" in text
    assert "test_finite.py" in text
    assert "cf.sqrt(x - 0.5)" in text
    if steps:
        assert_unchanged(before, t.state())
    else:
        assert all(p.grad is None for p in t.model.parameters())
    t.step(x + 1.0, y)


def test_the_module_is_named():
    t = Training(check_finite=True)
    t.model.head.bias.data = cf.tensor([1e6, 0.0])
    with pytest.raises(cf.NonFiniteError, match=r"(?s)first +exp.*in +Net"):
        t.step(*data())


def test_an_input_that_is_not_finite_is_named():
    t = Training(check_finite=True)
    x, y = data()
    with pytest.raises(cf.NonFiniteError, match="first  x was not finite before the call"):
        t.step(x * float("nan"), y)
    t.model.body[0].weight.data = cf.full((4, 3), float("inf"))
    with pytest.raises(cf.NonFiniteError, match="first  weight was not finite before the call"):
        t.step(x, y)


def test_an_op_of_backward_names_the_line_of_forward():
    w = cf.zeros(3, requires_grad=True)

    @cf.compile(check_finite=True)
    def step():
        w.grad = None
        cf.sqrt(w * 1.0).sum().backward()

    with pytest.raises(cf.NonFiniteError) as found:
        step()
    text = str(found.value)
    assert "the gradient of float32[3] is not finite" in text
    assert "div, in the gradient of sqrt" in text
    assert "cf.sqrt(w * 1.0)" in text
    assert w.grad is None


def test_what_is_chosen_away_is_nobodys_fault():
    @cf.compile(check_finite=True)
    def step(x):
        return cf.where(x > 0.0, cf.log(x), x).sum(), (x - 2.0).log().max()

    with pytest.raises(cf.NonFiniteError, match=r"cf\.where|x - 2\.0") as found:
        step(cf.tensor([0.0, 1.0]))
    assert "(x - 2.0).log()" in str(found.value)


def test_a_written_argument_and_its_gradient_are_left_alone():
    @cf.compile(check_finite=True)
    def step(x):
        x.mul_(2.0)
        return cf.log(x)

    x = cf.tensor([-1.0, 1.0])
    with pytest.raises(cf.NonFiniteError):
        step(x)
    assert x.tolist() == [-1.0, 1.0]
    x = cf.tensor([0.5, 1.0])
    step(x)
    assert x.tolist() == [1.0, 2.0]


def test_anomaly_detection_minds_nan_but_not_infinity():
    step = cf.compile(lambda x: cf.log(x))
    bad, infinite = cf.tensor([-1.0]), cf.tensor([0.0])
    step(bad)
    with cf.autograd.detect_anomaly():
        with pytest.raises(cf.NonFiniteError, match="a result is NaN"):
            step(bad)
        assert step(infinite).tolist() == [-float("inf")]
    assert np.isnan(step(bad).item())


def test_an_epoch_looks_at_each_batch():
    t = Training(root, check_finite=True)
    x, y = data()
    good, wrong = x + 1.0, x
    loader = cf.data.DataLoader(
        cf.data.TensorDataset(cf.cat([good, wrong]), cf.cat([y, y])), batch_size=6
    )
    with pytest.raises(cf.NonFiniteError):
        t.step.epoch(loader)
    other = Training(root)
    other.step(good, y)
    assert_unchanged(
        [p.detach().numpy() for p in t.model.parameters()],
        [p.detach().numpy() for p in other.model.parameters()],
    )
