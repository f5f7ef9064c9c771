"""Steps that are small enough become one function; it computes what the kernels one by one do."""

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.compiler import native

SIZES = {"2-2-1": (2, 2, 1), "3-5-2": (3, 5, 2), "1-9-1": (1, 9, 1)}


def trained(sizes, rows, optimizer, compiled):
    """What six steps leave: the losses, parameters, gradients and state."""
    cf.manual_seed(3)
    inputs, hidden, outputs = sizes
    model = nn.Sequential(nn.Linear(inputs, hidden), nn.Sigmoid(), nn.Linear(hidden, outputs))
    rule = optimizer(model.parameters(), lr=0.05)

    def step(x, y):
        rule.zero_grad()
        loss = nn.functional.mse_loss(nn.functional.dropout(model(x), 0.3), y)
        loss.backward()
        rule.step()
        return loss

    train = cf.compile(step) if compiled else step
    losses = [train(cf.randn(rows, inputs), cf.randn(rows, outputs)).item() for _ in range(6)]
    state = [v for of in rule.state.values() for v in of.values() if isinstance(v, cf.Tensor)]
    tensors = [t for p in model.parameters() for t in (p, p.grad)] + state
    return [np.array(losses), *(t.detach().numpy() for t in tensors)], train


def inlines(train):
    ((version,),) = train.versions.values()
    return version.native.module().inlines


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("optimizer", [cf.optim.SGD, cf.optim.Adam], ids=["SGD", "Adam"])
def test_one_function_leaves_what_eager_leaves(name, rows, optimizer, monkeypatch):
    monkeypatch.setenv("CONTRAFLOW_CACHE", "0")
    monkeypatch.setattr(native, "small", lambda texts: True)
    (found, train), (exact, _) = (
        trained(SIZES[name], rows, optimizer, compiled) for compiled in (True, False)
    )
    assert inlines(train)
    for ours, theirs in zip(found, exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


def test_only_what_is_small_becomes_one_function():
    assert inlines(trained((2, 2, 1), 1, cf.optim.SGD, True)[1])
    assert not inlines(trained((8, 64, 2), 32, cf.optim.SGD, True)[1])


def test_what_is_written_in_part_keeps_the_rest():
    table = cf.arange(6.0).reshape(3, 2)

    @cf.compile
    def step(row):
        table[1] = row
        return table.sum()

    assert step(cf.tensor([10.0, 20.0])).item() == 40.0
    assert table.tolist() == [[0.0, 1.0], [10.0, 20.0], [4.0, 5.0]]
    assert inlines(step)
