"""What ``fit`` is given, checked before any work."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.optim import Optimizer
from contraflow.tensor.tensor import Tensor
from contraflow.train.callbacks import Callback

__all__ = ["check_count", "check_data", "check_parts", "checked_callback"]


def check_parts(model: Any, loss: Any, optimizer: Any) -> None:
    """A model, a loss and an optimiser that belong together."""
    if not all(hasattr(model, name) for name in ("modules", "parameters", "state_dict")):
        raise DTypeError(
            lesson(
                f"model must be a module, not {type(model).__name__}",
                fix="fit(model, nn.CrossEntropyLoss(), optimizer, loader, epochs=10)",
            )
        )
    if not callable(loss) or isinstance(loss, type):
        raise DTypeError(
            lesson(
                "loss must be a function of prediction and target",
                [("received", f"{loss!r:.60}")],
                "nn.CrossEntropyLoss()",
            )
        )
    if not isinstance(optimizer, Optimizer):
        raise DTypeError(
            lesson(
                f"optimizer must be a cf.optim.Optimizer, not {optimizer!r:.60}",
                fix="cf.optim.Adam(model.parameters(), lr=1e-3)",
            )
        )
    owned = {id(p) for p in model.parameters()} | {id(p) for p in _parameters(loss)}
    if not any(id(p) in owned for group in optimizer.param_groups for p in group["params"]):
        raise ArgumentError(
            lesson(
                "the optimiser holds no parameter of this model: training would change nothing",
                fix="make it after the model: cf.optim.Adam(model.parameters(), lr=1e-3)",
            )
        )


def _parameters(part: Any) -> list[Any]:
    return list(part.parameters()) if hasattr(part, "parameters") else []


def check_count(name: str, value: Any) -> None:
    """A whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(
            lesson(f"{name} must be a whole number above 0, received {value!r}", fix=f"{name}=10")
        )


def check_data(name: str, data: Any) -> None:
    """Batches that can be read once an epoch."""
    problem = None
    if not hasattr(data, "__iter__"):
        problem = f"{name} must be a loader or a list of batches, not {type(data).__name__}"
    elif hasattr(data, "__next__"):
        problem = f"{name} is an iterator: it can be read once, every epoch reads it again"
    elif hasattr(data, "tensors") or isinstance(data, Tensor):
        problem = f"{name} is a {type(data).__name__}, whose samples are not in batches yet"
    if problem:
        raise DTypeError(lesson(problem, fix="cf.data.DataLoader(dataset, batch_size=32)"))


def checked_callback(given: Any) -> Callback:
    """An instance of Callback."""
    if isinstance(given, Callback):
        return given
    fix = "callbacks=[cf.train.EarlyStopping(patience=5)]"
    if hasattr(given, "get_last_lr"):
        fix = "callbacks=[cf.train.Schedule(scheduler)]"
    raise DTypeError(
        lesson("a callback is a cf.train.Callback", [("received", f"{given!r:.60}")], fix)
    )
