"""``fit(compile=True)``: steps as native calls, and pieces of epochs as native loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, lesson
from contraflow.base.tree import map_tree
from contraflow.compiler.epoch import Epoch, plan_of
from contraflow.compiler.step import Compiled
from contraflow.optim.lbfgs import LBFGS
from contraflow.tensor.tensor import Tensor, make
from contraflow.train.callbacks import Callback, ClipGradNorm, ClipGradValue, Schedule
from contraflow.train.run import unpack
from contraflow.train.step import losses

__all__ = ["NativeSteps", "obstacle"]

CLIPS = (ClipGradNorm, ClipGradValue)  # compute with tensors only: a part of the native step


class NativeSteps:
    """The step of a run: forward, loss, backward, clipping and update in one native call.

    Before each call the state is copied. If a loss is not finite the copy comes back, and the
    batches are gone through again with ``eager``, which says where and why.

    Args:
        run: the run; saver: its checkpoints, or None.
        eager: does a step of a group of batches without native code.

    Attributes:
        uneventful: nothing has to be done in Python between two batches of an epoch.

    Raises:
        ArgumentError: if something has to look at the gradients in the middle of a step.
    """

    def __init__(self, run: Any, saver: Any, eager: Callable[[list[Any]], None]) -> None:
        why = obstacle(run.optimizer, run.callbacks)
        if why is not None:
            rule = f"fit: {why}, and a native step does not stop for it"
            raise ArgumentError(lesson(rule, fix="leave out compile=True"))
        self.run, self.eager = run, eager
        self.uneventful = (
            hasattr(type(run.data), "gathering")
            and run.augment is None
            and run.accumulate == 1
            and (saver is None or saver.every_steps is None)
            and not any(map(wants_batches, run.callbacks))
        )
        self.width = 0  # items of a batch; 0: all
        self.step = Compiled(self.plain)

    # ---- what is compiled ----------------------------------------------------------------------

    def plain(self, *items: Any) -> list[tuple[Any, ...]]:
        """A step over the batches that the items form: for each its loss, the weight of that, and
        what the metrics look at."""
        run, width = self.run, self.width or len(items)
        parts = [items[k : k + width] for k in range(0, len(items), width)]
        found = []
        for _, value, weight, _, prediction, target in losses(run, list(map(unpack, parts))):
            seen = (map_tree(detached, prediction), target) if run.metrics else (None, None)
            found.append((value.detach(), weight, *seen))
        run.call("before_step")
        run.optimizer.step()
        return found

    # ---- running it ----------------------------------------------------------------------------

    def take(self, group: list[Any]) -> None:
        """A step over a group of batches."""
        items = [item for batch in group for item in batch]
        self.width = len(group[0])
        epoch = Epoch(self.step, 1, all_finite, lambda _: self.eager(group))
        epoch.single(items, "each is a step of its own")
        self.count(epoch.results, 1)

    def pieces(self) -> Iterator[int]:
        """What is left of the epoch, piece by piece; gives the number of steps of each."""
        run = self.run
        run.start_clock()
        plan = plan_of(run.data)
        epoch = Epoch(self.step, 1, all_finite, lambda batch: self.eager([batch]))
        self.width = 0 if isinstance(plan, str) else len(plan.arrays)
        for done in epoch.pieces(run.data, plan):
            self.count(epoch.results, done)
            epoch.results.clear()
            yield done
        self.step.last_epoch = epoch.report()

    def count(self, results: Any, steps: int) -> None:
        """Put the losses into the meter of the run, and show the metrics what they look at."""
        parts = results.stacked()
        if parts is None:  # eager steps have counted already
            return
        for k in range(steps):
            for losses_of, weight, prediction, target in parts:
                seen = map_tree(lambda leaf, k=k: row(leaf, k), (prediction, target))
                self.run.meter.take(float(losses_of._value[k]), weight, *seen)


def row(leaf: Any, k: int) -> Any:
    return make(leaf._value[k]) if isinstance(leaf, Tensor) else leaf


def detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def all_finite(results: Any) -> bool:
    """Whether the losses are."""
    return all(np.isfinite(part[0]._value).all() for part in results.stacked())


def obstacle(optimizer: Any, callbacks: list[Callback]) -> str | None:
    """What has to look at numbers in the middle of a step, so that it cannot be one native call."""
    if isinstance(optimizer, LBFGS):
        return "LBFGS calls the model again until a line search is content"
    looks = next((c for c in callbacks if changed(c, "before_step", CLIPS)), None)
    if looks is not None:
        return f"{type(looks).__name__}.before_step looks at the gradients of every step"
    return None


def wants_batches(callback: Callback) -> bool:
    """Whether a callback does something after each batch."""
    if isinstance(callback, Schedule) and callback.every == "epoch":
        return changed(callback, "batch_end", (Schedule,))
    return changed(callback, "batch_end", ())


def changed(callback: Callback, moment: str, known: tuple[type, ...]) -> bool:
    """Whether a callback has its own way at a moment, other than those that are known."""
    method = getattr(type(callback), moment)
    return all(method is not getattr(kind, moment) for kind in (Callback, *known))
