"""Plain loops as people write them, put off and run as native code: what eager gives, every time."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.modes import RIPE
from contraflow.nn import functional as F

STEPS = RIPE + 14


@pytest.fixture(autouse=True)
def _the_default_again():
    yield
    cf.set_default_mode("auto")


def small():
    cf.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).to(cf.float64)


def batch(k):
    rng = np.random.default_rng(k)
    return cf.tensor(rng.normal(size=(6, 4))), cf.tensor(rng.integers(0, 3, 6))


def in_each_mode(loop):
    """What a loop gives in each mode is what it gives in eager mode."""
    cf.set_default_mode("eager")
    expected = loop()
    for mode in ("auto", "lazy"):
        cf.set_default_mode(mode)
        np.testing.assert_allclose(loop(), expected, rtol=1e-9, atol=1e-12, err_msg=mode)


def test_a_buffer_that_is_filled_again_for_every_batch():
    def loop():
        model = small()
        optimizer = cf.optim.Adam(model.parameters())
        x, y = cf.zeros(6, 4, dtype=cf.float64), cf.zeros(6, dtype=cf.int64)
        losses = []
        for k in range(STEPS):
            for buffer, new in zip((x, y), batch(k), strict=True):
                buffer.copy_(new)
            loss = F.cross_entropy(model(x), y)  # looks at the labels, which computes both copies
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    in_each_mode(loop)


def test_labels_that_are_filled_between_two_losses():
    def loop():
        w = cf.ones(3, dtype=cf.float64, requires_grad=True)
        optimizer = cf.optim.SGD([w], lr=0.1)
        label = cf.zeros(3, dtype=cf.float64)
        losses = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            label.fill_(2.0)
            (w - label).square().sum().backward()
            label.fill_(0.5)
            loss = (w - label).abs().sum()
            loss.backward()
            label.zero_()
            optimizer.step()
            losses += [loss.item(), *label.tolist()]
        return losses

    in_each_mode(loop)


@pytest.mark.parametrize("mode", ["eager", "auto", "lazy"])
def test_backward_through_what_an_update_wrote_is_refused(mode):
    cf.set_default_mode(mode)
    w = cf.ones(3, dtype=cf.float64, requires_grad=True)
    optimizer = cf.optim.SGD([w], lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        kept = (w * w).sum()
        (w * w * w).sum().backward()
        optimizer.step()
        with pytest.raises(cf.GradError, match="overwritten in place"):
            kept.backward()


def test_data_that_takes_what_depends_on_parameters():
    """A low-rank update is merged into the frozen weight, without its history."""

    def loop():
        frozen = cf.eye(3, dtype=cf.float64)
        a = cf.full((3, 1), 0.5, dtype=cf.float64, requires_grad=True)
        optimizer = cf.optim.SGD([a], lr=0.1)
        losses = []
        for k in range(STEPS):
            if k in (RIPE + 3, RIPE + 6):
                frozen.data += a @ a.t()
            loss = ((frozen + a @ a.t()).square()).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += [loss.item(), float(frozen.requires_grad)]
        return losses

    in_each_mode(loop)


@pytest.mark.parametrize("mode", ["eager", "auto", "lazy"])
def test_what_is_frozen_between_forward_and_backward_gets_no_gradient(mode):
    cf.set_default_mode(mode)
    model = small()
    optimizer = cf.optim.SGD(model.parameters(), lr=0.1)
    for k in range(STEPS):
        x, y = batch(k)
        loss = F.cross_entropy(model(x), y)
        model[0].weight.requires_grad = k % 2 == 0
        optimizer.zero_grad()
        loss.backward()
        assert (model[0].weight.grad is None) == bool(k % 2)
        assert model[2].weight.grad is not None
        model[0].weight.requires_grad = True
        optimizer.step()


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.scale = nn.Linear(4, 3), 1.0

    def forward(self, x):
        return self.fc(x) * self.scale


def test_an_attribute_that_is_set_behind_the_modules_back():
    def loop():
        cf.manual_seed(0)
        model = Scaled().to(cf.float64)
        optimizer = cf.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for k in range(STEPS):
            if k == RIPE + 4:
                model.__dict__["scale"] = 3.0
            if k == RIPE + 8:
                object.__setattr__(model, "scale", 0.5)
            x, y = batch(k)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    in_each_mode(loop)


def tied():
    """Two layers that share the memory of their weight, but not the parameter."""
    cf.manual_seed(0)
    first, second = nn.Linear(4, 4, dtype=cf.float64), nn.Linear(4, 4, dtype=cf.float64)
    second.weight.data = first.weight.data.t()
    return nn.Sequential(first, nn.Tanh(), second)


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_parameters_that_share_memory_are_updated_one_after_the_other(rule):
    def loop():
        model = tied()
        weight, other = model[0].weight, model[2].weight
        found = []
        optimizer = getattr(cf.optim, rule)(model.parameters(), lr=0.05)
        for k in range(STEPS):
            if k == RIPE + 4:
                other.data = other.data.clone()
            if k == RIPE + 8:
                other.data = weight.data
            x, _ = batch(k)
            loss = F.mse_loss(model(x), x)
            optimizer.zero_grad()
            loss.backward()
            if rule == "SGD" and k < RIPE:  # by hand: each takes its step, on the same memory
                expected = weight - 0.05 * (weight.grad + other.grad.t())
                optimizer.step()
                np.testing.assert_allclose(weight.tolist(), expected.tolist(), rtol=1e-12)
            else:
                optimizer.step()
            found.append(weight.tolist() + other.tolist())
        return found

    in_each_mode(loop)


def test_a_compiled_step_refuses_parameters_that_share_memory():
    model = tied()
    optimizer = cf.optim.SGD(model.parameters(), lr=0.05)

    @cf.compile
    def step(x):
        optimizer.zero_grad()
        F.mse_loss(model(x), x).backward()
        optimizer.step()

    before = model[0].weight.tolist()
    with pytest.raises(cf.StateError, match="share memory"):
        step(batch(0)[0])
    assert model[0].weight.tolist() == before


def test_a_parameter_of_what_is_pending_shares_its_memory():
    cf.set_default_mode("lazy")
    base = cf.zeros(3) + 1.0
    shown = nn.Parameter(base.detach()[1:])
    base.mul_(5.0)
    base.sum().item()
    assert shown.tolist() == [5.0, 5.0]


def test_a_reshaped_slice_is_written_through():
    def change(flat, k):
        flat[6:] = float(k)
        flat[:6].view(2, 3)[0].mul_(0.5)
        flat[:6].view(3, 2).t().reshape(-1)[0] = 100.0  # a copy
        flat.view(4, 2).t()[1].unsqueeze(0).reshape(2, 2).add_(1.0)

    def loop():
        flat = cf.arange(8.0, dtype=cf.float64).requires_grad_()
        optimizer = cf.optim.SGD([flat], lr=0.1)
        found = []
        for k in range(STEPS):
            optimizer.zero_grad()
            flat.square().sum().backward()
            optimizer.step()
            with cf.no_grad():
                change(flat, k)
            found.append(flat.tolist())
        return found

    in_each_mode(loop)

    expected, given = np.arange(8.0), cf.arange(8.0)
    cf.set_default_mode("eager")
    cf.compile(change)(given, 3)
    expected[6:] = 3.0
    expected[:3] *= 0.5
    expected[1::2] += 1.0
    np.testing.assert_allclose(given.numpy(), expected)
