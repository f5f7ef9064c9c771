"""contraflow and PyTorch: one code for both, because they are spelled the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.workloads import Layer, Workload, flat

Step = Callable[[Any, Any], Any]


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


def network(lib: Any, w: Workload) -> Any:
    """The network with the weights that everybody starts from."""
    lib.manual_seed(0)
    model = build(lib.nn, w.layers)
    with lib.no_grad():
        for p, array in zip(model.parameters(), flat(w.weights()), strict=True):
            p.copy_(lib.tensor(array))
    return model


def training(
    lib: Any, w: Workload, model: Any, forward: Callable[[Any], Any] | None = None, **options: Any
) -> Step:
    """zero_grad, forward, loss, backward, step on a batch: what a user writes.

    Args:
        lib: the package.
        w: the workload.
        model: its network.
        forward: what is made of the function that gives the loss, such as ``torch.compile``.
        options: for the optimiser.
    """
    optimizer = {
        "adam": lambda: lib.optim.Adam(model.parameters(), lr=1e-3, **options),
        "sgd": lambda: lib.optim.SGD(model.parameters(), lr=0.1, **options),
        "momentum": lambda: lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, **options),
    }[w.optimizer]()
    criterion = lib.nn.MSELoss() if w.loss == "mse" else lib.nn.CrossEntropyLoss()

    def loss_of(x: Any, y: Any) -> Any:
        return criterion(model(x), y)

    loss_of = forward(loss_of) if forward else loss_of

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
