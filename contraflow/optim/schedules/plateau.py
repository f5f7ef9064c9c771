"""A schedule by what is measured: lower the rate when the loss stops falling."""

from __future__ import annotations

from math import inf
from typing import Any

from contraflow.base.errors import ArgumentError, lesson
from contraflow.optim.optimizer import Optimizer
from contraflow.optim.rule import Domain, nonnegative, one_of, real
from contraflow.optim.schedules.base import (
    LRScheduler,
    check_outside,
    each,
    plain,
    require,
    set_value,
)

__all__ = ["ReduceLROnPlateau"]

whole = Domain("a whole number >= 0", lambda x: isinstance(x, int) and x >= 0, 10)


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rate by ``factor`` when a metric has not improved for ``patience`` epochs.

    Args:
        optimizer: whose learning rates are changed.
        mode: ``"min"`` for a metric that should fall, ``"max"`` for one that should rise.
        factor: what the rate is multiplied by.
        patience: epochs without improvement that are allowed.
        threshold: what counts as an improvement, ``"rel"`` to the best or ``"abs"``.
        threshold_mode: ``"rel"`` or ``"abs"``.
        cooldown: epochs to wait after a reduction.
        min_lr: the lowest rate, for all groups or for each.
        eps: a smaller change is not made.

    Raises:
        ArgumentError: for a factor of 1 or more, an unknown mode, ...

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    >>> for loss in (0.5, 0.5, 0.5):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.1]
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
        min_lr: float | list[float] = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        require(self, "mode", mode, one_of("min", "max"))
        require(self, "threshold_mode", threshold_mode, one_of("rel", "abs"))
        below = Domain("a number in [0, 1)", lambda x: real(x) and 0 <= x < 1, 0.1)
        require(self, "factor", factor, below)
        require(self, "patience", patience, whole)
        require(self, "cooldown", cooldown, whole)
        require(self, "threshold", threshold, nonnegative)
        require(self, "eps", eps, nonnegative)
        self._attach(optimizer)
        self.mode, self.factor, self.patience, self.cooldown = mode, factor, patience, cooldown
        self.threshold, self.threshold_mode, self.eps = threshold, threshold_mode, eps
        self.min_lrs = each(self, "min_lr", min_lr, optimizer)
        self.default_min_lr = None if isinstance(min_lr, list | tuple) else min_lr
        self.best = inf if mode == "min" else -inf
        self.cooldown_counter = self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = self._current()

    def step(self, metrics: Any = None, epoch: int | None = None) -> None:
        """Take in the metric of an epoch (a number, or a tensor of one element)."""
        check_outside()
        if metrics is None:
            raise ArgumentError(
                lesson(
                    "ReduceLROnPlateau.step needs the metric that it watches",
                    fix="scheduler.step(validation_loss)",
                )
            )
        metric = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._improves(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._current()

    @property
    def in_cooldown(self) -> bool:
        """Whether a reduction is so recent that bad epochs do not count."""
        return self.cooldown_counter > 0

    def _improves(self, metric: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * metric > sign * self.best * (1 + sign * self.threshold)
        return sign * metric > sign * self.best + self.threshold

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):  # groups were added
            if self.default_min_lr is None:
                raise ArgumentError(
                    lesson(
                        f"ReduceLROnPlateau: min_lr has {len(self.min_lrs)} values, the "
                        f"optimiser has {len(groups)} parameter groups now",
                        fix="scheduler.min_lrs = [...], one for each group",
                    )
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, low in zip(groups, self.min_lrs, strict=True):
            old = float(plain(group["lr"]))
            new = max(old * self.factor, low)
            if old - new > self.eps:
                set_value(group, "lr", new)

    def _read(self, saved: Any) -> dict[str, Any]:
        if isinstance(saved, dict):  # PyTorch also saves the worst value of the mode
            saved = {key: value for key, value in saved.items() if key != "mode_worse"}
        return super()._read(saved)
