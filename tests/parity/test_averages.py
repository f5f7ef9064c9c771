"""SWA and EMA of real models, and batch norm's statistics after them, against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")

U, V = cf.optim.swa_utils, torch.optim.swa_utils


def models():
    def make(nn):
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))

    theirs = make(torch.nn)
    ours = make(cf.nn)
    ours.load_state_dict({k: cf.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


def train(ours, theirs, steps, rng):
    """The same SGD steps for both."""
    mine = cf.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    other = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        x = rng.normal(size=(16, 4)).astype(np.float32)
        for model, optimizer, lib in ((ours, mine, cf), (theirs, other, torch)):
            optimizer.zero_grad()
            model(lib.tensor(x)).square().mean().backward()
            optimizer.step()
        yield


def agree(ours, theirs):
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for key, value in other.items():
        np.testing.assert_allclose(
            mine[key].numpy(), value.numpy(), rtol=1e-4, atol=1e-5, err_msg=key
        )


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("kind", ["swa", "ema"])
def test_averages_of_a_model_with_batch_norm(kind, use_buffers):
    ours, theirs = models()

    def averaged(module, model):
        # PyTorch's functions for lists cannot average batch norm's count, a whole number
        form = "avg_fn" if use_buffers else "multi_avg_fn"
        average = getattr(module, f"get_{kind}_{form}")(*([0.8] if kind == "ema" else []))
        return module.AveragedModel(model, use_buffers=use_buffers, **{form: average})

    a, b = averaged(U, ours), averaged(V, theirs)
    rng = np.random.default_rng(0)
    for _ in train(ours, theirs, 8, rng):
        a.update_parameters(ours)
        b.update_parameters(theirs)
        agree(a, b)
    batches = [rng.normal(size=(8, 4)).astype(np.float32) for _ in range(5)]
    U.update_bn([(cf.tensor(x), None) for x in batches], a)
    V.update_bn([(torch.tensor(x), None) for x in batches], b)
    agree(a, b)
    x = batches[0]
    np.testing.assert_allclose(
        a.eval()(cf.tensor(x)).detach().numpy(), b.eval()(torch.tensor(x)).detach().numpy(),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


def test_a_state_dict_of_pytorch_goes_on_here():
    ours, theirs = models()
    a, b = U.AveragedModel(ours), V.AveragedModel(theirs)
    steps = train(ours, theirs, 6, np.random.default_rng(1))
    for i, _ in enumerate(steps):
        b.update_parameters(theirs)
        if i == 2:
            a.load_state_dict(b.state_dict())
        elif i > 2:
            a.update_parameters(ours)
            agree(a, b)
