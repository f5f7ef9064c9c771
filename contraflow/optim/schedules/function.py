"""Schedules by a function of the epoch that the user writes."""

from __future__ import annotations

from collections.abc import Callable

from contraflow.base.errors import ArgumentError, lesson
from contraflow.optim.optimizer import Optimizer
from contraflow.optim.schedules.base import LRScheduler, each

__all__ = ["LambdaLR", "MultiplicativeLR"]


class _ByFunction(LRScheduler):
    """A schedule by a function of the epoch, one for all groups or one for each."""

    unsaved = ("optimizer", "lr_lambdas")

    def __init__(
        self, optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]], last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self._attach(optimizer)
        self.lr_lambdas: list[Callable[[int], float]] = each(
            self, "lr_lambda", lr_lambda, optimizer
        )
        for function in self.lr_lambdas:
            if not callable(function):
                raise ArgumentError(
                    lesson(
                        f"{type(self).__name__}: lr_lambda must be a function of the epoch",
                        [("received", repr(function))],
                        "lr_lambda=lambda epoch: 0.95**epoch",
                    )
                )
        super().__init__(optimizer, last_epoch)

    def _factors(self) -> list[float]:
        return [function(self.last_epoch) for function in self.lr_lambdas]


class LambdaLR(_ByFunction):
    """The initial rate times a function of the epoch. Functions are not saved: give them anew.

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def get_lr(self) -> list[float]:
        """The initial rates times the functions' values."""
        return [base * f for base, f in zip(self.base_lrs, self._factors(), strict=True)]


class MultiplicativeLR(_ByFunction):
    """Multiplies the rate by a function of the epoch, every epoch.

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.5)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def get_lr(self) -> list[float]:
        """The current rates times the functions' values."""
        if self._initial:
            return self._current()
        return [lr * f for lr, f in zip(self._current(), self._factors(), strict=True)]
