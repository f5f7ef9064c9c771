"""What may happen beside the loop: stopping, schedules, clipping, averages.

A callback overrides the moments that it needs; each gets the ``Run``, which knows everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.nn.utils.clip import clip_grad_norm_, clip_grad_value_
from contraflow.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau
from contraflow.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from contraflow.tensor.tensor import Tensor

__all__ = [
    "EMA", "Callback", "ClipGradNorm", "ClipGradValue", "EarlyStopping", "KeepBest", "Schedule",
    "changed",
]  # fmt: skip


class Callback:
    """The moments of a run; the base class does nothing at any of them.

    >>> import contraflow as cf
    >>> class Watch(cf.train.Callback):
    ...     def epoch_end(self, run):
    ...         if run.history["loss"][-1] < 0.01:
    ...             run.stop("good enough")
    """

    def begin(self, run: Any) -> None:
        """Before the first epoch, and before a checkpoint is loaded."""

    def epoch_begin(self, run: Any) -> None:
        """Before the first batch of an epoch."""

    def before_step(self, run: Any) -> None:
        """The gradients are there, the optimiser has not used them yet."""

    def batch_end(self, run: Any) -> None:
        """The optimiser has stepped."""

    def settle(self, run: Any) -> None:
        """The model is about to be measured or handed out: put other weights into it, if any.
        Training gets its own back afterwards."""

    def measured(self, run: Any) -> None:
        """The epoch is in the history, and the model holds the weights it was measured with."""

    def epoch_end(self, run: Any) -> None:
        """The model holds its training weights again; the epoch is not counted yet."""

    def end(self, run: Any) -> None:
        """After the run, however it ended; ``run.error`` says why if it failed."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep of this callback: tensors, numbers, texts, dicts, lists."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of ``state_dict``."""

    def stateful(self) -> bool:
        """Whether it has a state for checkpoints."""
        return type(self).state_dict is not Callback.state_dict


def changed(callback: Callback, moment: str, known: tuple[type, ...] = ()) -> bool:
    """Whether a callback has its own way at a moment, other than those that are known."""
    method = getattr(type(callback), moment)
    return all(method is not getattr(kind, moment) for kind in (Callback, *known))


def whole(owner: str, name: str, value: Any, least: int) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ArgumentError(
            lesson(
                f"{owner}: {name} must be a whole number of at least {least}, not {value!r}",
                fix=f"{owner}({name}=5)",
            )
        )
    return value


def positive(owner: str, name: str, value: Any) -> float:
    """A number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ArgumentError(
            lesson(f"{owner}: {name} must be above 0, not {value!r}", fix=f"{owner}(1.0)")
        )
    return float(value)


class KeepBest(Callback):
    """Keeps a copy of the weights of the best epoch, and puts it into the model at the end.

    Which epoch is best is decided by ``fit(..., monitor=...)``. The copy also comes back when the
    loss stops being finite; after Ctrl-C the model is left as it is, so that training can go on.

    >>> import contraflow as cf
    >>> best = cf.train.KeepBest()
    """

    def __init__(self) -> None:
        self.weights: dict[str, Any] | None = None
        self.epoch = 0

    def measured(self, run: Any) -> None:
        """Copy the weights if this epoch is the best so far."""
        if run.best is not None and run.best[0] == run.epoch + 1:
            self.epoch = run.epoch + 1
            self.weights = {
                name: value.detach().clone() if isinstance(value, Tensor) else deepcopy(value)
                for name, value in run.model.state_dict().items()
            }

    def end(self, run: Any) -> None:
        """Put the best weights back, unless the run was interrupted or broken off."""
        if self.weights is not None and (
            run.error is None or isinstance(run.error, ArithmeticError)
        ):
            run.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """The copy."""
        return {"epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a copy back."""
        self.epoch, self.weights = state["epoch"], state["weights"]


class EarlyStopping(KeepBest):
    """Ends the run when the monitored number has not improved for ``patience`` epochs; the model
    gets the weights of the best epoch.

    Args:
        patience: epochs without improvement that are allowed.
        min_delta: what is less than this better than the best is no improvement.

    Source: Prechelt, "Early stopping - but when?" (1998).

    >>> import contraflow as cf
    >>> stopping = cf.train.EarlyStopping(patience=3)
    """

    def __init__(self, patience: int = 10, min_delta: float = 0.0) -> None:
        super().__init__()
        self.patience = whole("EarlyStopping", "patience", patience, 1)
        if not min_delta >= 0:
            raise ArgumentError(
                lesson(f"EarlyStopping: min_delta must be >= 0, not {min_delta!r}", fix="0.001")
            )
        self.min_delta = min_delta
        self.reference: float | None = None
        self.waited = 0

    def epoch_end(self, run: Any) -> None:
        """Count the epochs without improvement."""
        value = run.history[run.monitor][-1]
        margin = self.min_delta if run.mode == "min" else -self.min_delta
        if self.reference is None or run.is_better(value + margin, self.reference):
            self.reference, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            run.stop(f"{run.monitor} has not improved for {self.patience} epochs")

    def state_dict(self) -> dict[str, Any]:
        """The copy and the count."""
        return {**super().state_dict(), "reference": self.reference, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on waiting."""
        super().load_state_dict(state)
        self.reference, self.waited = state["reference"], state["waited"]


class Schedule(Callback):
    """Steps a learning-rate scheduler.

    Args:
        scheduler: any of ``cf.optim.lr_scheduler``, or an object with ``step()`` and a state.
            ``ReduceLROnPlateau`` is given the monitored number of each epoch.
        every: ``"batch"`` (after each optimiser step) or ``"epoch"``. None: each batch for
            ``OneCycleLR`` and ``CyclicLR``, which count steps, each epoch for the others.

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD(cf.nn.Linear(2, 1).parameters(), lr=0.1)
    >>> halving = cf.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
    >>> cf.train.Schedule(halving).every
    'epoch'
    """

    def __init__(self, scheduler: Any, every: str | None = None) -> None:
        if not hasattr(scheduler, "step") or not hasattr(scheduler, "state_dict"):
            raise DTypeError(
                lesson(
                    f"Schedule takes a scheduler, not {type(scheduler).__name__}",
                    fix="cf.train.Schedule(cf.optim.lr_scheduler.StepLR(optimizer, 10))",
                )
            )
        if every is None:
            every = "batch" if isinstance(scheduler, OneCycleLR | CyclicLR) else "epoch"
        plateau = isinstance(scheduler, ReduceLROnPlateau)
        if every not in ("batch", "epoch") or (plateau and every == "batch"):
            raise ArgumentError(
                lesson(f"Schedule: every={every!r} does not go with {type(scheduler).__name__}",
                       fix='every="epoch"')
            )  # fmt: skip
        self.scheduler, self.every, self.plateau = scheduler, every, plateau

    def begin(self, run: Any) -> None:
        """A schedule of another optimiser would change nothing."""
        if getattr(self.scheduler, "optimizer", run.optimizer) is not run.optimizer:
            raise ArgumentError(
                lesson("Schedule: the scheduler belongs to another optimiser than the run",
                       fix="one optimiser for both")
            )  # fmt: skip
        if self.plateau and self.scheduler.mode != run.mode:
            raise ArgumentError(
                lesson(
                    f"Schedule: the plateau is watched for {self.scheduler.mode!r}, but "
                    f"{run.monitor} is better at its {run.mode!r}",
                    fix=f'ReduceLROnPlateau(optimizer, mode="{run.mode}")',
                )
            )

    def batch_end(self, run: Any) -> None:
        """A schedule that counts optimiser steps."""
        if self.every == "batch":
            self.scheduler.step()

    def epoch_end(self, run: Any) -> None:
        """A schedule that counts epochs, or looks at what was measured."""
        if self.plateau:
            self.scheduler.step(run.history[run.monitor][-1])
        elif self.every == "epoch":
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's."""
        return dict(self.scheduler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give it to the scheduler."""
        self.scheduler.load_state_dict(state)


def gradients_of(run: Any) -> list[Any]:
    """The parameters that the optimiser changes."""
    return [p for group in run.optimizer.param_groups for p in group["params"]]


class ClipGradNorm(Callback):
    """Scales the gradients down when their norm, over all parameters, is above ``max_norm``.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks"
    (ICML 2013).

    >>> import contraflow as cf
    >>> clip = cf.train.ClipGradNorm(1.0)
    """

    def __init__(self, max_norm: float, norm_type: float = 2.0) -> None:
        self.max_norm = positive("ClipGradNorm", "max_norm", max_norm)
        self.norm_type = norm_type

    def before_step(self, run: Any) -> None:
        """Clip."""
        clip_grad_norm_(gradients_of(run), self.max_norm, self.norm_type)


class ClipGradValue(Callback):
    """Clips every element of the gradients to [-limit, limit]."""

    def __init__(self, limit: float) -> None:
        self.limit = positive("ClipGradValue", "limit", limit)

    def before_step(self, run: Any) -> None:
        """Clip."""
        clip_grad_value_(gradients_of(run), self.limit)


class EMA(Callback):
    """Keeps an exponential moving average of the weights; the model is measured with it after each
    epoch, and holds it at the end.

    Args:
        decay: how much of the average stays at each step.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992).

    >>> import contraflow as cf
    >>> averages = cf.train.EMA(0.99)
    """

    def __init__(self, decay: float = 0.999) -> None:
        self.update = get_ema_multi_avg_fn(decay)
        self.average: Any = None

    def begin(self, run: Any) -> None:
        """Copy the model."""
        self.average = AveragedModel(run.model, multi_avg_fn=self.update)

    def batch_end(self, run: Any) -> None:
        """Take in the new weights."""
        self.average.update_parameters(run.model)

    def settle(self, run: Any) -> None:
        """Put the averages into the model."""
        if int(self.average.n_averaged.item()):
            run.model.load_state_dict(self.average.module.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """The averages."""
        return dict(self.average.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on averaging."""
        self.average.load_state_dict(state)
