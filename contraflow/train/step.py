"""One training step, without its update: losses and gradients, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from contraflow.base.errors import ShapeError, lesson
from contraflow.tensor.tensor import Tensor

__all__ = ["losses", "one_number", "samples", "summed"]


def losses(run: Any, batches: list[tuple[list[Any], Any]]) -> Iterator[tuple[Any, ...]]:
    """The gradients of the mean loss over all samples of the batches.

    Gives each batch's loss before its gradients are computed: (inputs, loss, weight of the loss,
    share of the batch, prediction, target).
    """
    run.optimizer.zero_grad()
    sizes = [samples(target) for _, target in batches]
    for (inputs, target), size in zip(batches, sizes, strict=True):
        prediction = run.model(*inputs)
        value = one_number(run.loss(prediction, target))
        weight, share = (1, 1.0) if summed(run.loss) else (size, size / sum(sizes))
        yield inputs, value, weight, share, prediction, target
        (value if share == 1.0 else value * share).backward()


def samples(target: Any) -> int:
    """How many samples a batch has."""
    first = target[0] if isinstance(target, list | tuple) else target
    return len(first) if getattr(first, "ndim", 0) else 1


def summed(loss: Any) -> bool:
    """Whether a loss is the sum over its samples and not their mean."""
    return getattr(loss, "reduction", "mean") == "sum"


def one_number(value: Any) -> Any:
    """A loss that is one number.

    Raises:
        ShapeError: if it has several elements.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return value
    raise ShapeError(
        lesson(
            "the loss must be one number",
            [("received", value if isinstance(value, Tensor) else f"{value!r:.60}")],
            'reduction="mean", or loss.mean()',
        )
    )
