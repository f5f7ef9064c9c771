"""Layers of every kind in a captured training step: the numbers of eager, step after step."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.capture import capture
from contraflow.nn.utils import parametrizations, parametrize

rng = np.random.default_rng(2)
ACTIVATIONS = [
    nn.CELU(1.5), nn.ELU(), nn.GELU(), nn.GELU("tanh"), nn.GLU(), nn.Hardshrink(), nn.Hardsigmoid(), nn.Hardswish(),
    nn.Hardtanh(), nn.LeakyReLU(0.2), nn.LogSigmoid(), nn.LogSoftmax(-1), nn.Mish(), nn.PReLU(), nn.PReLU(6), nn.RReLU(),
    nn.ReLU(), nn.ReLU6(), nn.SELU(), nn.SiLU(), nn.Sigmoid(), nn.Softmax(-1), nn.Softmin(-1), nn.Softplus(2.0, 3.0),
    nn.Softshrink(0.2), nn.Softsign(), nn.Tanh(), nn.Tanhshrink(), nn.Threshold(0.1, 0.3),
    nn.ReLU(inplace=True), nn.SiLU(inplace=True), nn.ELU(inplace=True), nn.Hardtanh(inplace=True), nn.RReLU(inplace=True),
    nn.Dropout(0.4), nn.Dropout(0.4, inplace=True), nn.AlphaDropout(0.4), nn.FeatureAlphaDropout(0.4),
]  # fmt: skip


class Squared(nn.Module):
    def forward(self, w):
        return w * w


class Gumbel(nn.Module):
    def forward(self, x):
        return nn.functional.gumbel_softmax(x, hard=True) * x


class Pair(nn.Module):
    """Two inputs from one, for layers that take two."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        y = self.layer(x, cf.cos(x))
        return y if y.ndim == 2 else y.unsqueeze(-1)


class Rows(nn.Module):
    """Looks rows up, scaled by the input so that it learns too."""

    def __init__(self, table):
        super().__init__()
        self.table = table
        self.register_buffer("at", cf.tensor([[0, 1, 2], [3, 1, 1], [4, 4, 0], [2, 3, 1]]))

    def forward(self, x):
        return self.table(self.at).reshape(4, -1)[:, :6] * x[:, :2].mean()


def hooked():
    layer = nn.Linear(6, 6)
    layer.register_forward_pre_hook(lambda m, args: args[0] * 2)
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 0.5,))
    return layer


PARTS = {
    **{repr(layer): layer for layer in ACTIVATIONS},
    "weight norm": nn.utils.weight_norm(nn.Linear(6, 6)),
    "spectral norm": nn.utils.spectral_norm(nn.Linear(6, 6)),
    "weight norm, new": parametrizations.weight_norm(nn.Linear(6, 6)),
    "spectral norm, new": parametrizations.spectral_norm(nn.Linear(6, 6)),
    "orthogonal": parametrizations.orthogonal(nn.Linear(6, 6)),
    "orthogonal by reflections": parametrizations.orthogonal(nn.Linear(6, 4)),
    "orthogonal by Cayley": parametrizations.orthogonal(nn.Linear(6, 6), orthogonal_map="cayley"),
    "parametrization": parametrize.register_parametrization(nn.Linear(6, 6), "weight", Squared()),
    "residual": nn.Residual(nn.Linear(6, 6), nn.Tanh()),
    "named": nn.Sequential(OrderedDict(a=nn.Linear(6, 5), b=nn.Tanh())),
    "flattened": nn.Sequential(nn.Unflatten(1, (2, -1)), nn.Flatten()),
    "padded": nn.Sequential(nn.Unflatten(1, (2, 3)), nn.ReflectionPad1d(2), nn.CircularPad1d(1), nn.ZeroPad1d((0, 1)), nn.Flatten()),
    "whole channels": nn.Sequential(nn.Unflatten(1, (3, 2)), nn.Dropout1d(0.4), nn.Flatten()),
    "bilinear": Pair(nn.Bilinear(6, 6, 3)),
    "cosine": Pair(nn.CosineSimilarity()),
    "distance": Pair(nn.PairwiseDistance()),
    "gumbel": Gumbel(),
    "embedding": Rows(nn.Embedding(5, 2, padding_idx=1)),
    "embedding by frequency": Rows(nn.Embedding(5, 2, scale_grad_by_freq=True)),
    "embedding of bounded rows": Rows(nn.Embedding(5, 2, max_norm=0.5)),
    "bags": Rows(nn.EmbeddingBag(5, 6, mode="mean", padding_idx=2)),
    "greatest of bags": Rows(nn.EmbeddingBag(5, 6, mode="max")),
    "hooks": hooked(),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_a_captured_step_gives_the_numbers_of_eager(name):
    cf.manual_seed(3)
    part = copy.deepcopy(PARTS[name])
    x, y = cf.tensor(rng.normal(size=(4, 8))), cf.tensor(rng.normal(size=4))
    width = part.double()(cf.ones(4, 6, dtype=cf.float64)).shape[-1]
    model = nn.Sequential(nn.Linear(8, 6), part, nn.Linear(width, 1)).double()
    twin = copy.deepcopy(model)

    def step_of(net):
        optimizer = cf.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

        def step(x, y):
            optimizer.zero_grad()
            loss = ((net(x)[:, 0] - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    captured, eager = capture(step_of(model), x, y), step_of(twin)
    for run in (captured, eager):
        cf.manual_seed(11)
        run.losses = [run(x, y).item() for _ in range(3)]
    np.testing.assert_allclose(captured.losses, eager.losses, rtol=1e-9)
    assert len(set(eager.losses)) == 3
    for key, value in twin.state_dict().items():
        np.testing.assert_allclose(
            model.state_dict()[key].numpy(), value.numpy(), rtol=1e-8, atol=1e-12
        )
