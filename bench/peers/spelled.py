"""contraflow and PyTorch: one code for both, because they are spelled the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.workloads import Layer, Workload, flat


def build(nn: Any, layers: tuple[Layer, ...]) -> Any:
    """The layers as a Sequential of the given ``nn``."""

    class Residual(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, body: Any, short: Any) -> None:
            super().__init__()
            self.body, self.short = body, short

        def forward(self, x: Any) -> Any:
            return self.body(x) + self.short(x)

    makers: dict[str, Callable[..., Any]] = {
        "linear": nn.Linear,
        "conv": lambda a, b, k, s, p, bias: nn.Conv2d(a, b, k, stride=s, padding=p, bias=bias),
        "batch_norm": nn.BatchNorm2d,
        "relu": nn.ReLU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
        "dropout": nn.Dropout,
        "max_pool": nn.MaxPool2d,
        "avg_pool": nn.AvgPool2d,
        "global_avg_pool": lambda: nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten,
        "residual": lambda body, short: Residual(build(nn, body), build(nn, short)),
    }
    return nn.Sequential(*(makers[kind](*args) for kind, *args in layers))


def train_step(
    lib: Any, w: Workload, fused: bool = False, compiled: bool = False
) -> Callable[[], Any]:
    """zero_grad, forward, loss, backward, step: what a user writes.

    Args:
        lib: the package.
        fused: PyTorch's fused optimisers, and images with the channels last.
        compiled: forward with loss, and the optimiser's step, through ``torch.compile``.
    """
    x, y = w.data()
    lib.manual_seed(0)
    model = build(lib.nn, w.layers)
    with lib.no_grad():
        for p, array in zip(model.parameters(), flat(w.weights()), strict=True):
            p.copy_(lib.tensor(array))
    inputs, targets = lib.tensor(x), lib.tensor(y)
    if fused and len(w.shape) == 3:
        model = model.to(memory_format=lib.channels_last)
        inputs = inputs.to(memory_format=lib.channels_last)
    extra = {"fused": True} if fused else {}
    optimizer = {
        "adam": lambda: lib.optim.Adam(model.parameters(), lr=1e-3, **extra),
        "sgd": lambda: lib.optim.SGD(model.parameters(), lr=0.1, **extra),
        "momentum": lambda: lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, **extra),
    }[w.optimizer]()
    criterion = lib.nn.MSELoss() if w.loss == "mse" else lib.nn.CrossEntropyLoss()

    def loss_of(inputs: Any, targets: Any) -> Any:
        return criterion(model(inputs), targets)

    update = optimizer.step
    if compiled:
        loss_of, update = lib.compile(loss_of), lib.compile(update)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(inputs, targets)
        loss.backward()
        update()
        return loss

    return step
