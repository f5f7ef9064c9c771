"""Layers in float32, with all gradients and what they keep: compiled is eager."""

from __future__ import annotations

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn

NORM = nn.utils.parametrizations
LAYERS = {
    "layer norm": (lambda: nn.LayerNorm([4, 5]), (3, 4, 5)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (3, 4, 5, 5)),
    "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), (3, 4, 5, 5)),
    "RMS norm": (lambda: nn.RMSNorm(5), (3, 4, 5)),
    "local response": (lambda: nn.LocalResponseNorm(3), (2, 6, 4, 4)),
    "batch norm 1d": (lambda: nn.BatchNorm1d(4), (6, 4)),
    "batch norm 2d": (lambda: nn.BatchNorm2d(3), (4, 3, 5, 5)),
    "batch norm 3d": (lambda: nn.BatchNorm3d(3), (2, 3, 3, 3, 3)),
    "conv 1d": (lambda: nn.Conv1d(3, 4, 3, padding=1), (2, 3, 9)),
    "conv 2d": (lambda: nn.Conv2d(3, 7, 3, stride=2, padding=1), (2, 3, 9, 8)),
    "conv 3d": (lambda: nn.Conv3d(2, 3, 2), (2, 2, 4, 4, 4)),
    "conv reflect": (lambda: nn.Conv2d(3, 4, 3, padding=2, padding_mode="reflect"), (2, 3, 6, 6)),
    "transposed 2d": (
        lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (2, 3, 5, 5)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(3, 4, 3, stride=2), (2, 3, 7)),
    "max pool": (lambda: nn.MaxPool2d(3, 2, 1), (2, 3, 9, 9)),
    "max pool to one": (lambda: nn.MaxPool2d(2), (4, 3, 2, 2)),
    "max pool 3d": (lambda: nn.MaxPool3d(2), (2, 2, 4, 4, 4)),
    "average pool 1d": (lambda: nn.AvgPool1d(3, 2), (2, 3, 9)),
    "norm pool": (lambda: nn.LPPool2d(2, 2), (2, 3, 6, 6)),
    "adaptive average": (lambda: nn.AdaptiveAvgPool2d((2, 3)), (2, 3, 5, 7)),
    "global average": (lambda: nn.AdaptiveAvgPool2d(1), (2, 3, 4, 4)),
    "adaptive max": (lambda: nn.AdaptiveMaxPool1d(3), (2, 3, 8)),
    "bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (2, 3, 4, 4)),
    "nearest": (lambda: nn.Upsample(scale_factor=2), (2, 3, 4, 4)),
    "pixel shuffle": (lambda: nn.PixelShuffle(2), (2, 8, 3, 3)),
    "unfold": (lambda: nn.Unfold(2), (2, 3, 5, 5)),
    "reflection": (lambda: nn.ReflectionPad2d(2), (2, 3, 5, 5)),
    "replication": (lambda: nn.ReplicationPad2d((1, 2, 3, 0)), (2, 3, 5, 5)),
    "crop and pad": (lambda: nn.ZeroPad2d((1, -1, 2, 0)), (2, 3, 5, 5)),
    "channel dropout": (lambda: nn.Dropout2d(0.4), (3, 4, 5, 5)),
    "alpha dropout": (lambda: nn.AlphaDropout(0.3), (6, 5)),
    "GLU": (lambda: nn.GLU(1), (2, 6, 4)),
    "PReLU": (lambda: nn.PReLU(4), (3, 4, 5)),
    "GELU": (nn.GELU, (3, 7)),
    "softmax": (lambda: nn.Softmax(dim=1), (3, 7, 2)),
    "weight norm": (lambda: NORM.weight_norm(nn.Conv2d(3, 4, 3)), (2, 3, 5, 5)),
    "spectral norm": (lambda: nn.utils.spectral_norm(nn.Linear(5, 4)), (3, 5)),
    "orthogonal": (lambda: NORM.orthogonal(nn.Linear(4, 4)), (3, 4)),
    "residual": (
        lambda: nn.Residual(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))),
        (4, 3, 6, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_compiled_layers_are_eager(name):
    make, shape = LAYERS[name]
    cf.manual_seed(3)
    layer = make()
    x = cf.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    x.requires_grad_()

    def step(x):
        y = layer(x)
        weights = cf.arange(y.numel(), dtype=cf.float32).reshape(y.shape) / y.numel() + 0.1
        inputs = [x, *layer.parameters()]
        return y.detach(), *cf.autograd.grad((y * weights).sum(), inputs)

    before = {key: t.clone() for key, t in layer.state_dict().items()}
    cf.manual_seed(1)
    eager, kept = step(x), {key: t.clone() for key, t in layer.state_dict().items()}
    layer.load_state_dict(before)
    cf.manual_seed(1)
    compiled = cf.compile(step)(x)
    pairs = [*zip(compiled, eager, strict=True)]
    pairs += [(t, kept[key]) for key, t in layer.state_dict().items()]
    for a, b in pairs:
        scale = 1 + np.abs(b.numpy()).max(initial=0)
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-3, atol=1e-4 * scale)
