"""Where a training run stands: what callbacks look at and what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, StateError, lesson
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.rng import get_rng_state, set_rng_state
from contraflow.tensor.tensor import Tensor
from contraflow.train.callbacks import Callback, KeepBest, changed
from contraflow.train.checks import check_count, check_data, check_parts, checked_callback
from contraflow.train.history import History
from contraflow.train.metrics import Metric, as_metric
from contraflow.train.worth import Choice

__all__ = ["Meter", "Run", "evaluating", "unpack"]

FORMAT = 1


class Meter:
    """The mean loss and the metrics of the batches so far."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = metrics
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self.loss, self.weight = 0.0, 0
        self.states: list[Any] = [metric.start for metric in self.metrics]

    def take(self, loss: float | None, weight: int, prediction: Any, target: Any) -> None:
        """Take in a batch: its loss counts ``weight`` times."""
        if loss is not None:
            self.loss, self.weight = self.loss + loss * weight, self.weight + weight
        with no_grad():
            bare = prediction.detach() if isinstance(prediction, Tensor) else prediction
            self.states = [
                metric.update(state, bare, target)
                for metric, state in zip(self.metrics, self.states, strict=True)
            ]

    def take_losses(self, losses: list[float], weight: int) -> None:
        """Take in batches of which only the loss is wanted."""
        for loss in losses:
            self.loss += loss * weight
        self.weight += weight * len(losses)

    def row(self, prefix: str = "") -> dict[str, Any]:
        """The numbers so far, by name."""
        row = {f"{prefix}loss": self.loss / self.weight} if self.weight else {}
        for metric, state in zip(self.metrics, self.states, strict=True):
            row[prefix + metric.name] = metric.result(state)
        return row

    def state_dict(self) -> dict[str, Any]:
        """The sums, as numbers and arrays."""
        return {"loss": self.loss, "weight": self.weight, "states": list(self.states)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from sums of ``state_dict``."""
        self.loss, self.weight = state["loss"], state["weight"]
        self.states = [arrays(part) for part in state["states"]]


def arrays(value: Any) -> Any:
    """A metric's state with arrays where a file gave tensors."""
    if isinstance(value, tuple):
        return tuple(map(arrays, value))
    return value.numpy() if isinstance(value, Tensor) else value


class Run:
    """One training run.

    Attributes:
        model, loss, optimizer, data, validation: what ``fit`` was given.
        epochs: how many epochs the run shall have; ``epoch``: how many are complete.
        steps: optimiser steps so far; ``batch``: batches of the present epoch that are done.
        history: the complete epochs; ``meter``: the numbers of the present one.
        monitor: the name in the history by which epochs are compared; ``mode``: min or max.
        best: the epoch with the best monitored value, that value and its step, or None.
        choice: which steps are native (see ``History.compiled``).
        stopped: why the run ends early, or None; ``error``: what ended it, or None.
    """

    def __init__(
        self, model: Any, loss: Any, optimizer: Any, data: Any, epochs: int, *, validation: Any,
        metrics: Iterable[Any], callbacks: Iterable[Any], monitor: str | None, augment: Any,
        accumulate: int, compile: bool | None,
    ) -> None:  # fmt: skip
        check_parts(model, loss, optimizer)
        check_count("epochs", epochs)
        check_count("accumulate", accumulate)
        check_data("data", data)
        if validation is not None:
            check_data("validation", validation)
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.data, self.validation, self.epochs = data, validation, epochs
        self.augment, self.accumulate = augment, accumulate
        self.metrics = [as_metric(metric) for metric in metrics]
        self.callbacks: list[Callback] = [checked_callback(c) for c in callbacks]
        self.history, self.meter = History(), Meter(self.metrics)
        self.epoch = self.steps = self.batch = 0
        self.seconds, self._since = 0.0, perf_counter()
        self.best: tuple[int, float, int] | None = None
        self.stopped: str | None = None
        self.error: BaseException | None = None
        self.interrupted = False
        self.native: Any = None  # the steps as native calls, if there may be any
        self.choice = Choice(compile, epochs, self.planned())
        self.monitor, self.mode = self._read_monitor(monitor)

    def _read_monitor(self, monitor: str | None) -> tuple[str, str]:
        """The name to compare epochs by, and which end is good."""
        prefix = "validation_" if self.validation is not None else ""
        better = {"loss": "min", **{metric.name: metric.better for metric in self.metrics}}
        if self.validation is not None:
            better |= {f"validation_{name}": mode for name, mode in better.items()}
        name = f"{prefix}loss" if monitor is None else monitor
        if name not in better:
            raise ArgumentError(
                lesson(
                    f"monitor: nothing is measured under the name {monitor!r}",
                    [("measured", " ".join(better))],
                    f"monitor={prefix + 'loss'!r}",
                )
            )
        return name, better[name]

    # ---- the epoch -----------------------------------------------------------------------------

    def goes_on(self) -> bool:
        """Whether another epoch comes."""
        return self.epoch < self.epochs and self.stopped is None

    def stop(self, why: str) -> None:
        """End the run after this epoch."""
        self.stopped = why

    def call(self, event: str) -> None:
        """Tell all callbacks, in their order."""
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def steps_per_epoch(self) -> int | None:
        """Optimiser steps an epoch, None where the data do not say how many batches they have."""
        try:
            return -(-len(self.data) // self.accumulate)
        except TypeError:
            return None

    def planned(self) -> int | None:
        """Optimiser steps of all epochs, None where the data do not say it."""
        steps = self.steps_per_epoch()
        return None if steps is None else self.epochs * steps

    def batches(self) -> Iterator[list[Any]]:
        """The batches of this epoch that are left, ``accumulate`` at a time."""
        self.start_clock()
        left = iter(self.data)
        if self.batch and not hasattr(self.data, "load_state_dict"):
            left = islice(left, self.batch, None)
        while group := list(islice(left, self.accumulate)):
            yield group
        self.check_batches()

    def check_batches(self) -> None:
        """At the end of an epoch: there was something to learn from."""
        if not self.batch:
            raise ArgumentError(
                lesson("data: there is no batch in it", fix="a loader over at least one batch")
            )

    def count(self, steps: int, batches: int) -> None:
        """Count steps and their batches."""
        self.steps, self.batch = self.steps + steps, self.batch + batches

    def take_best(self, value: float) -> None:
        """Compare the epoch that was just measured with the best so far."""
        if np.isfinite(value) and (self.best is None or self.is_better(value, self.best[1])):
            self.best = (self.epoch + 1, float(value), self.steps)

    def is_better(self, value: float, other: float) -> bool:
        """Whether a monitored value is better than another one."""
        return value < other if self.mode == "min" else value > other

    def start_clock(self) -> None:
        """The epoch is worked on from now on."""
        self._since = perf_counter()

    def elapsed(self) -> float:
        """Seconds that the present epoch took so far, over all processes that worked on it."""
        return self.seconds + perf_counter() - self._since

    def finish_epoch(self) -> None:
        """Count the epoch and begin the next."""
        self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
        self._since = perf_counter()
        self.meter.reset()

    # ---- weights -------------------------------------------------------------------------------

    def settle(self) -> None:
        """Put the weights to use into the model: averages, where something keeps them."""
        if hasattr(self.optimizer, "eval"):
            self.optimizer.eval()
        self.call("settle")

    @contextmanager
    def settled(self) -> Iterator[None]:
        """The model with the weights to use; afterwards training has its own back, bit by bit."""
        if not self.unsettling():
            yield
            return
        kept = weights_of(self.model)
        try:
            self.settle()
            yield
        finally:
            if hasattr(self.optimizer, "train"):
                self.optimizer.train()
            self.model.load_state_dict(kept)

    def unsettling(self) -> bool:
        """Whether anything may change the model when an epoch is measured."""
        return (
            self.validation is not None
            or hasattr(self.optimizer, "eval")
            or any(changed(c, "settle") or changed(c, "measured", (KeepBest,))
                   for c in self.callbacks)
        )  # fmt: skip

    # ---- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that decides how the run goes on."""
        return {
            "format": FORMAT,
            "epoch": self.epoch, "steps": self.steps, "batch": self.batch,
            "seconds": self.elapsed(), "best": self.best, "stopped": self.stopped,
            "monitor": self.monitor,
            "model": dict(self.model.state_dict()),
            "loss": state_of(self.loss),
            "optimizer": self.optimizer.state_dict(),
            "random": get_rng_state(),
            "data": state_of(self.data), "validation": state_of(self.validation),
            "history": self.history.state_dict(), "meter": self.meter.state_dict(),
            "callbacks": [[name_of(c), c.state_dict()] for c in self.callbacks if c.stateful()],
            "native": self.choice.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            StateError: if it is of another kind of run. Nothing has changed then.
        """
        mine = self.state_dict()
        check_state(state, mine)
        before = deepcopy(mine)
        try:
            self._load(state)
        except BaseException:
            self._load(before)
            raise

    def _load(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("loss", "data", "validation"):
            if state[name] is not None:
                getattr(self, name).load_state_dict(state[name])
        stateful = [c for c in self.callbacks if c.stateful()]
        for callback, (_, saved) in zip(stateful, state["callbacks"], strict=True):
            callback.load_state_dict(saved)
        self.history.load_state_dict(state["history"])
        self.meter.load_state_dict(state["meter"])
        self.choice.load_state_dict(state["native"])
        for name in ("epoch", "steps", "batch", "seconds", "best", "stopped"):
            setattr(self, name, state[name])
        set_rng_state(state["random"])
        self._since = perf_counter()


# ---- parts -------------------------------------------------------------------------------------


def name_of(callback: Any) -> str:
    return type(callback).__name__


def state_of(part: Any) -> Any:
    """The state of a part that has one, None otherwise."""
    has = hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
    return part.state_dict() if has else None


def weights_of(model: Any) -> dict[str, Any]:
    """A copy of a model's state."""
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else deepcopy(value)
        for name, value in model.state_dict().items()
    }


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model in evaluation mode and without gradients; each module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def unpack(batch: Any) -> tuple[list[Any], Any]:
    """The inputs of a batch and its target, which comes last.

    Raises:
        DTypeError: for a batch of another form.
    """
    if isinstance(batch, list | tuple) and len(batch) >= 2:
        return list(batch[:-1]), batch[-1]
    shown = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else repr(batch)
    raise DTypeError(
        lesson(
            "a batch is (input, target), or (input, ..., target)",
            [("received", f"{shown:.80}")],
            "cf.data.DataLoader(cf.data.TensorDataset(x, y), batch_size=32)",
        )
    )


def check_state(state: Any, mine: Mapping[str, Any]) -> None:
    """A state with the parts that this run has."""
    if not isinstance(state, Mapping) or set(state) != set(mine) or state["format"] != FORMAT:
        found = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise StateError(lesson("this is not the state of a training run", [("received", found)]))
    here = [name for name, _ in mine["callbacks"]]
    there = [name for name, _ in state["callbacks"]]
    if here != there:
        raise StateError(
            lesson(
                "the run that was saved has other callbacks",
                [("saved", " ".join(there) or "none"), ("here", " ".join(here) or "none")],
                "the same callbacks in the same order",
            )
        )
    for name in ("loss", "data", "validation"):
        if (state[name] is None) != (mine[name] is None):
            raise StateError(
                lesson(f"the run that was saved has another kind of {name}",
                       fix="resume with the parts that the run began with")
            )  # fmt: skip
    if (state["monitor"], len(state["meter"]["states"])) != (
        mine["monitor"], len(mine["meter"]["states"])
    ):  # fmt: skip
        raise StateError(
            lesson(
                "the run that was saved measures something else",
                [("saved", state["monitor"]), ("here", mine["monitor"])],
                "the same metrics and monitor as when the run began",
            )
        )
