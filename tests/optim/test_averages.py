"""Averages of weights (SWA and EMA) against NumPy's, and batch norm's statistics after them."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
from contraflow.interop import load, save

U = cf.optim.swa_utils


def network():
    cf.manual_seed(3)
    return cf.nn.Sequential(cf.nn.Linear(4, 3), cf.nn.BatchNorm1d(3), cf.nn.Linear(3, 1))


def walk(model, steps):
    """Change the weights; the path of the first weight as arrays."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        with cf.no_grad():
            for p in model.parameters():
                p += cf.tensor(rng.normal(size=p.shape).astype(np.float32))
        yield model[0].weight.detach().numpy().astype(float)


def test_swa_is_the_mean_of_all():
    model = network()
    averaged = U.AveragedModel(model)
    path = []
    for weights in walk(model, 7):
        path.append(weights.copy())
        averaged.update_parameters(model)
    got = next(iter(averaged.parameters())).detach().numpy()
    np.testing.assert_allclose(got, np.mean(path, 0), rtol=1e-5, atol=1e-6)
    assert averaged.n_averaged.item() == 7


def test_ema_forgets_exponentially():
    model = network()
    averaged = U.AveragedModel(model, multi_avg_fn=U.get_ema_multi_avg_fn(0.8))
    expected = None
    for weights in walk(model, 7):
        expected = weights.copy() if expected is None else 0.8 * expected + 0.2 * weights
        averaged.update_parameters(model)
    got = next(iter(averaged.parameters())).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_model_itself_is_left_alone_and_the_average_is_a_copy():
    model = network()
    averaged = U.AveragedModel(model)
    averaged.update_parameters(model)
    before = model[0].weight.detach().numpy().copy()
    list(walk(averaged.module, 2))
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), before)


@pytest.mark.parametrize("use_buffers", [False, True])
def test_buffers_are_copied_or_averaged(use_buffers):
    model = network()
    averaged = U.AveragedModel(model, use_buffers=use_buffers)
    means = []
    for i in range(3):
        model(cf.full((8, 4), float(i)) + cf.randn(8, 4))
        means.append(model[1].running_mean.numpy().copy())
        averaged.update_parameters(model)
    expected = np.mean(means, 0) if use_buffers else means[-1]
    got = averaged.module[1].running_mean.numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pairs", [False, True])
def test_update_bn_makes_the_statistics_of_the_data(pairs):
    model = network().eval()
    x = cf.randn(40, 4)
    batches = [x[i : i + 8] for i in range(0, 40, 8)]
    U.update_bn([(b, None) for b in batches] if pairs else batches, model)
    hidden = model[0](x).detach().numpy().reshape(5, 8, 3)
    np.testing.assert_allclose(
        model[1].running_mean.numpy(), hidden.mean((0, 1)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        model[1].running_var.numpy(), hidden.var(1, ddof=1).mean(0), rtol=1e-5
    )
    assert model[1].momentum == 0.1
    assert not model.training


def test_averages_survive_a_file(tmp_path):
    model = network()
    averaged = U.AveragedModel(model)
    for _ in walk(model, 3):
        averaged.update_parameters(model)
    save(averaged.state_dict(), tmp_path / "averaged")
    other = U.AveragedModel(network())
    other.load_state_dict(load(tmp_path / "averaged"))
    assert other.n_averaged.item() == 3
    for a, b in zip(averaged.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
    with pytest.raises(cf.ContraflowError):
        other.load_state_dict({"n_averaged": 1, "weight": cf.ones(1)})


def test_mistakes_are_explained():
    with pytest.raises(cf.ArgumentError, match="not both"):
        U.AveragedModel(network(), avg_fn=U.get_swa_avg_fn(), multi_avg_fn=U.get_swa_multi_avg_fn())
    with pytest.raises(cf.DTypeError, match="takes a model"):
        U.AveragedModel([cf.ones(1)])
    for decay in (-0.1, 1.5, "x", None):
        with pytest.raises(cf.ArgumentError, match="in \\[0, 1\\]"):
            U.get_ema_multi_avg_fn(decay)
    o = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    with pytest.raises(cf.ArgumentError, match="anneal_strategy"):
        U.SWALR(o, 0.1, anneal_strategy="sine")
