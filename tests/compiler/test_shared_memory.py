"""Memory that NumPy, or another tensor, sees as well: what is put off can never be seen there."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.modes import RIPE
from contraflow.tensor.versions import is_shared


@pytest.fixture(autouse=True)
def _the_default_again():
    yield
    cf.set_default_mode("auto")


class Trained:
    """A model in the middle of its training, when ops are put off."""

    def __init__(self):
        cf.manual_seed(0)
        layers = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)
        self.model = nn.Sequential(*layers).to(cf.float64)
        self.optimizer = cf.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.x = np.random.default_rng(0).normal(size=(8, 3))
        for _ in range(RIPE + 6):
            self.step(cf.tensor(self.x))

    def step(self, x):
        loss = self.model(x).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


def in_each_mode(program):
    """What a program sees in each mode is what it sees in eager mode."""
    cf.set_default_mode("eager")
    expected = program(Trained())
    for mode in ("auto", "lazy"):
        cf.set_default_mode(mode)
        found = program(Trained())
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=mode)


def test_an_array_sees_what_is_written_to_its_tensor():
    def program(t):
        weight = t.model[0].weight
        array = weight.detach().numpy()
        part = np.asarray(weight.detach())[1:]
        found = []
        with cf.no_grad():
            weight.mul_(2.0)
            found.append(array.sum())
            weight[1:].fill_(0.5)
            found.append(part.sum())
        t.step(cf.tensor(t.x))
        return [*found, array.sum(), part.sum()]

    in_each_mode(program)


def test_a_tensor_on_an_array_writes_to_it_and_sees_what_is_written():
    def program(t):
        array = np.zeros((8, 3))
        x, other = cf.from_numpy(array), cf.as_tensor(array)
        x += 1
        found = [array.sum(), other.sum().item()]
        y = x * 2
        array[:] = 5
        found += [y.sum().item(), (x * 2).sum().item()]
        other.mul_(3)
        return [*found, array.sum(), x.sum().item()]

    in_each_mode(program)


@pytest.mark.parametrize("anew", [True, False], ids=["a tensor each time", "the same tensor"])
@pytest.mark.parametrize("grad", [True, False])
def test_an_array_that_is_filled_again_between_calls(anew, grad):
    def program(t):
        array = t.x.copy()
        x = cf.from_numpy(array)
        t.model.eval()
        outs = []
        with cf.set_grad_enabled(grad):
            for k in range(4):
                array[:] = t.x * k
                outs.append(t.model(cf.from_numpy(array) if anew else x).sum())
        return [out.item() for out in outs]

    in_each_mode(program)


def test_training_on_an_array_that_is_filled_again():
    def program(t):
        array = t.x.copy()
        x = cf.from_numpy(array)
        losses = []
        for k in range(12):
            array[:] = t.x * (1 + k % 3)
            loss = t.model(x).square().mean()
            array[:] = 0  # its gradient was taken of what it was, or is taken of what it is
            t.optimizer.zero_grad()
            array[:] = t.x * (1 + k % 3)
            loss.backward()
            t.optimizer.step()
            losses.append(loss.item())
        return losses

    in_each_mode(program)


def test_a_gradient_that_adds_up_where_an_array_sees_it():
    def program(t):
        x = cf.tensor(t.x)
        t.optimizer.zero_grad()
        t.model(x).square().mean().backward()
        seen = t.model[0].weight.grad.numpy()
        found = [seen.sum()]
        for _ in range(3):
            t.model(x).square().mean().backward()
            found.append(seen.sum())
        return found

    in_each_mode(program)


def test_a_running_mean_that_an_array_sees():
    def program(t):
        x, seen = cf.tensor(t.x), t.model[1].running_mean.numpy()
        found = []
        for _ in range(4):
            t.model(x)
            found.append(seen.sum())
        return found

    in_each_mode(program)


def test_tensors_that_are_tied_by_their_data():
    def program(t):
        a, b = cf.ones(3, dtype=cf.float64), cf.zeros(3, dtype=cf.float64)
        b.data = a.data
        a.mul_(4)
        found = [b.sum().item()]
        y = b + 1
        a.mul_(2)
        return [*found, y.sum().item(), b.sum().item()]

    in_each_mode(program)


def test_an_input_on_an_array_gets_its_gradient():
    def program(t):
        array = t.x.copy()
        x = cf.from_numpy(array).requires_grad_()
        found = []
        for k in range(3):
            array[:] = t.x + k
            x.grad = None
            t.model(x).square().sum().backward()
            found.append(x.grad.sum().item())
        return found

    in_each_mode(program)


def test_another_library_sees_what_is_written():
    def program(t):
        x = cf.ones(3, dtype=cf.float64)
        seen = np.from_dlpack(x)
        x.mul_(3)
        return [seen.sum()]

    in_each_mode(program)


def test_memory_is_shared_as_long_as_somebody_has_the_array():
    x = cf.zeros(4, 3)
    assert not is_shared(x)
    array = x.numpy()
    assert np.shares_memory(array, x.numpy())
    part = array[1:, 0]
    del array
    gc.collect()
    assert is_shared(x)
    assert is_shared(x[2])
    del part
    gc.collect()
    assert not is_shared(x)
    assert float(np.asarray(x).sum()) == 0.0
    gc.collect()
    assert not is_shared(x)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "bool"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_arrays_that_are_given_away_are_what_they_were(dtype, shape):
    source = np.ones(shape, dtype)
    x = cf.from_numpy(source)
    for t in (x, x.T, x[..., None].expand(*shape, 2)):
        array = t.numpy()
        assert type(array) is np.ndarray
        assert array.dtype == dtype
        assert array.shape == tuple(t.shape)
        assert np.array_equal(array, np.ones(array.shape, dtype))
    source[...] = 0
    assert not x.numpy().any()
