"""Every layer of ``nn`` under capture: the same output, gradients, buffers as eager, bit for bit."""

import copy
import inspect

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.capture import capture

# (arguments, shape of the input, ...) of each layer; what is missing takes no arguments and [4, 6]
LAYERS = {
    "AdaptiveAvgPool1d": [(2,), (2, 3, 7)],
    "AdaptiveAvgPool2d": [((2, 3),), (2, 3, 5, 7)],
    "AdaptiveAvgPool3d": [(2,), (1, 2, 4, 5, 4)],
    "AdaptiveMaxPool1d": [(2,), (2, 3, 7)],
    "AdaptiveMaxPool2d": [((2, None),), (2, 3, 5, 7)],
    "AdaptiveMaxPool3d": [(2,), (1, 2, 4, 5, 4)],
    "AlphaDropout": [(0.3,), (4, 6)],
    "AvgPool1d": [(3, 2, 1), (2, 3, 7)],
    "AvgPool2d": [(2,), (2, 3, 5, 7)],
    "AvgPool3d": [(2,), (1, 2, 4, 5, 4)],
    "BatchNorm1d": [(6,), (4, 6)],
    "BatchNorm2d": [(3,), (4, 3, 2, 2)],
    "BatchNorm3d": [(3,), (2, 3, 2, 2, 2)],
    "Bilinear": [(6, 5, 3), (4, 6), (4, 5)],
    "ChannelShuffle": [(2,), (2, 4, 3, 3)],
    "CircularPad1d": [(2,), (2, 3, 7)],
    "CircularPad2d": [(2,), (2, 3, 5, 7)],
    "CircularPad3d": [(1,), (1, 2, 4, 5, 4)],
    "ConstantPad1d": [(2, 1.5), (2, 3, 7)],
    "ConstantPad2d": [(2, 1.5), (2, 3, 5, 7)],
    "ConstantPad3d": [(1, 1.5), (1, 2, 4, 5, 4)],
    "Conv1d": [(4, 6, 3, 2, 1, 1, 2), (2, 4, 9)],
    "Conv2d": [(4, 6, 3, 1, "same", 2), (2, 4, 6, 7)],
    "Conv3d": [(2, 3, 2), (1, 2, 4, 4, 3)],
    "ConvTranspose1d": [(4, 6, 3, 2, 1, 1), (2, 4, 5)],
    "ConvTranspose2d": [(4, 6, 3, 2), (2, 4, 3, 3)],
    "ConvTranspose3d": [(2, 3, 2), (1, 2, 3, 3, 3)],
    "CosineSimilarity": [(), (4, 6), (4, 6)],
    "Dropout1d": [(0.3,), (2, 3, 7)],
    "Dropout2d": [(0.3,), (2, 3, 5, 7)],
    "Dropout3d": [(0.3,), (1, 2, 4, 5, 4)],
    "FeatureAlphaDropout": [(0.3,), (2, 3, 5)],
    "Fold": [((4, 5), (2, 2)), (2, 12, 12)],
    "GroupNorm": [(2, 6), (4, 6)],
    "InstanceNorm1d": [(3,), (2, 3, 7)],
    "InstanceNorm2d": [(3, 1e-5, 0.1, True, True), (2, 3, 5, 7)],
    "InstanceNorm3d": [(2,), (1, 2, 4, 5, 4)],
    "LPPool1d": [(2, 3), (2, 3, 7)],
    "LPPool2d": [(2, 2), (2, 3, 5, 7)],
    "LPPool3d": [(2, 2), (1, 2, 4, 5, 4)],
    "LayerNorm": [(6,), (4, 6)],
    "Linear": [(6, 3), (4, 6)],
    "LocalResponseNorm": [(2,), (2, 4, 3, 3)],
    "LogSoftmax": [(-1,), (4, 6)],
    "MaxPool1d": [(3, 2), (2, 3, 7)],
    "MaxPool2d": [(2, 1, 1, 2), (2, 3, 5, 7)],
    "MaxPool3d": [(2,), (1, 2, 4, 5, 4)],
    "PairwiseDistance": [(), (4, 6), (4, 6)],
    "PixelShuffle": [(2,), (2, 8, 3, 3)],
    "PixelUnshuffle": [(2,), (2, 2, 4, 6)],
    "RMSNorm": [(6,), (4, 6)],
    "ReflectionPad1d": [(2,), (2, 3, 7)],
    "ReflectionPad2d": [(2,), (2, 3, 5, 7)],
    "ReflectionPad3d": [(1,), (1, 2, 4, 5, 4)],
    "ReplicationPad1d": [(2,), (2, 3, 7)],
    "ReplicationPad2d": [(2,), (2, 3, 5, 7)],
    "ReplicationPad3d": [(1,), (1, 2, 4, 5, 4)],
    "Residual": [(nn.Linear(6, 6), nn.Tanh()), (4, 6)],
    "Sequential": [(nn.Linear(6, 6), nn.Tanh()), (4, 6)],
    "Softmax": [(-1,), (4, 6)],
    "Softmax2d": [(), (2, 3, 5, 7)],
    "Softmin": [(-1,), (4, 6)],
    "Threshold": [(0.1, 20.0), (4, 6)],
    "Unflatten": [(1, (2, 3)), (4, 6)],
    "Unfold": [((2, 3),), (2, 3, 5, 7)],
    "Upsample": [(None, 2, "bilinear"), (2, 3, 5, 7)],
    "UpsamplingBilinear2d": [((4, 3),), (2, 3, 5, 7)],
    "UpsamplingNearest2d": [(None, 2), (2, 3, 5, 7)],
    "ZeroPad1d": [(2,), (2, 3, 7)],
    "ZeroPad2d": [((1, 0, -1, 2),), (2, 3, 5, 7)],
    "ZeroPad3d": [(1,), (1, 2, 4, 5, 4)],
}
# Containers of no forward, layers that take indices, and those that turn into others when called.
ELSEWHERE = {
    "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Embedding",
    "EmbeddingBag", *(n for n in dir(nn) if n.startswith("Lazy") or n.endswith("Loss")),
}  # fmt: skip
NAMES = sorted(
    name for name, cls in vars(nn).items()
    if inspect.isclass(cls) and issubclass(cls, nn.Module) and name not in ELSEWHERE
)  # fmt: skip


def numbers(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return cf.tensor(values, requires_grad=True)


def agree(layer, *inputs):
    """One call and its backward, eager and captured, in training and in evaluation."""
    for training in (True, False):
        twin = copy.deepcopy(layer.train(training))

        def run(model, *xs):
            model.zero_grad()
            y = model(*xs)
            if y.requires_grad:
                (y * cf.arange(1.0, y.numel() + 1).reshape(y.shape)).sum().backward()
            return y

        captured = capture(lambda *xs: run(layer, *xs), *inputs)
        seen = []
        for step in (captured, lambda *xs: run(twin, *xs)):
            cf.manual_seed(5)
            for x in inputs:
                x.grad = None
            y = step(*inputs)
            seen.append([y.detach().numpy(), cf.get_rng_state().numpy(),
                         *(x.grad.numpy().copy() for x in inputs if x.grad is not None)])  # fmt: skip
        for model, found in zip((layer, twin), seen, strict=True):
            found += [b.numpy() for b in model.buffers()]
            found += [p.grad.numpy() for p in model.parameters() if p.grad is not None]
        for ours, theirs in zip(*seen, strict=True):
            np.testing.assert_array_equal(ours, theirs, strict=True)


def test_the_table_names_layers_that_exist():
    assert set(LAYERS) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_captured_layer_is_the_eager_one(name):
    args, *shapes = LAYERS.get(name, [(), (4, 6)])
    layer = getattr(nn, name)(*args).double()
    agree(layer, *(numbers(*shape, seed=i) for i, shape in enumerate(shapes)))


@pytest.mark.parametrize(
    "options",
    [{}, {"padding_idx": 1}, {"max_norm": 0.5}, {"scale_grad_by_freq": True, "padding_idx": 0}],
)
@pytest.mark.parametrize("name", ["Embedding", "EmbeddingBag"])
def test_captured_lookups(name, options):
    agree(getattr(nn, name)(5, 3, **options).double(), cf.tensor([[1, 4], [0, 1], [1, 1]]))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_captured_bags(mode):
    layer = nn.EmbeddingBag(5, 3, mode=mode, padding_idx=2).double()
    agree(layer, cf.tensor([1, 4, 0, 2, 1]), cf.tensor([0, 2, 2]))
