"""Schedules made of schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, StateError, lesson
from contraflow.optim.optimizer import Optimizer
from contraflow.optim.schedules.base import LRScheduler, check_outside, set_value
from contraflow.optim.schedules.plateau import ReduceLROnPlateau

__all__ = ["ChainedScheduler", "SequentialLR"]


class _Combined(LRScheduler):
    """What both have: parts of the same optimiser, saved within one state dict."""

    unsaved = ("optimizer", "_schedulers")

    def _take(self, optimizer: Optimizer | None, schedulers: Sequence[LRScheduler]) -> None:
        name = type(self).__name__
        if not schedulers:
            raise ArgumentError(
                lesson(
                    f"{name} needs at least one schedule",
                    fix="[LinearLR(optimizer), CosineAnnealingLR(optimizer, T_max=90)]",
                )
            )
        for i, part in enumerate(schedulers):
            if not isinstance(part, LRScheduler):
                raise DTypeError(
                    lesson(f"{name}: part {i} is a {type(part).__name__}, no schedule")
                )
            if isinstance(part, ReduceLROnPlateau):
                raise ArgumentError(
                    lesson(
                        f"{name} cannot hold ReduceLROnPlateau: its step needs a metric",
                        fix="call plateau.step(loss) beside it",
                    )
                )
        self._attach(schedulers[0].optimizer if optimizer is None else optimizer)
        if any(part.optimizer is not self.optimizer for part in schedulers):
            raise ArgumentError(
                lesson(
                    f"{name}: its parts belong to different optimisers",
                    fix="make each part with the optimiser of the whole",
                )
            )
        self._schedulers = list(schedulers)

    def _reset_rates(self) -> None:
        for group in self.optimizer.param_groups:
            set_value(group, "lr", group["initial_lr"])

    def _go_to(self, epoch: int | None) -> None:
        """The turn of this whole within another has come: it begins anew."""
        self._reset_rates()
        self._begin()

    def state_dict(self) -> dict[str, Any]:
        """The own state, and the parts' under ``_schedulers``."""
        return {
            **super().state_dict(),
            "_schedulers": [part.state_dict() for part in self._schedulers],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state dict of a whole made of the same parts."""
        own = self._read(state_dict)
        parts = own.pop("_schedulers")
        if not isinstance(parts, list) or len(parts) != len(self._schedulers):
            raise StateError(
                lesson(
                    f"{type(self).__name__}: the state dict has other parts",
                    [("parts here", len(self._schedulers))],
                )
            )
        read = [part._read(saved) for part, saved in zip(self._schedulers, parts, strict=True)]
        for part, saved, checked in zip(self._schedulers, parts, read, strict=True):
            if isinstance(part, _Combined):
                part.load_state_dict(saved)
            else:
                part.__dict__.update(checked)
        self.__dict__.update(own)


class SequentialLR(_Combined):
    """One schedule after the other: part i + 1 begins at epoch ``milestones[i]``.

    >>> import contraflow as cf
    >>> from contraflow.optim.lr_scheduler import ConstantLR, ExponentialLR, SequentialLR
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> first = ConstantLR(optimizer, factor=0.1, total_iters=2)
    >>> then = ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = SequentialLR(optimizer, [first, then], milestones=[2])
    >>> rates = []
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.1, 0.1, 1.0, 0.5]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int],
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self._take(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1 or sorted(milestones) != list(milestones):
            raise ArgumentError(
                lesson(
                    "SequentialLR: between two parts there is one milestone, in rising order",
                    [("parts", len(schedulers)), ("milestones", milestones)],
                    "SequentialLR(optimizer, [warmup, decay], milestones=[5])",
                )
            )
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # each part took its first step when it was made
        self._reset_rates()
        _rewind(self)
        self._begin_first()

    def _begin(self) -> None:
        self.last_epoch = 0
        self._begin_first()

    def _begin_first(self) -> None:
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._begin()
        self._last_lr = first.get_last_lr()

    def step(self, epoch: None = None) -> None:
        """Go on to the next epoch, with the schedule whose turn it is."""
        check_outside()
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        part = self._schedulers[turn]
        if turn and self._milestones[turn - 1] == self.last_epoch:
            part._go_to(0)
        else:
            part.step()
        self._last_lr = part.get_last_lr()


def _rewind(whole: _Combined) -> None:
    """Take the first step of every part back."""
    for part in whole._schedulers:
        if isinstance(part, _Combined):
            _rewind(part)
        else:
            part.last_epoch -= 1


class ChainedScheduler(_Combined):
    """All schedules at once: each goes on from the rate that the one before it left.

    >>> import contraflow as cf
    >>> from contraflow.optim.lr_scheduler import ChainedScheduler, ConstantLR, ExponentialLR
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> parts = [ConstantLR(optimizer, factor=0.1), ExponentialLR(optimizer, gamma=0.5)]
    >>> schedule = ChainedScheduler(parts)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.05]
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self._take(optimizer, schedulers)
        self._last_lr = self._current()

    def _begin(self) -> None:
        for part in self._schedulers:
            part.last_epoch = -1
            part._begin()
        self._last_lr = self._current()

    def step(self, epoch: None = None) -> None:
        """Step every schedule."""
        check_outside()
        for part in self._schedulers:
            part.step()
        self._last_lr = self._current()
