"""Schedules that lower the rate (or raise it, to warm up) by a formula of the epoch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from math import cos, floor, log, pi
from typing import Any

from contraflow.optim.optimizer import Optimizer
from contraflow.optim.rule import Domain, finite, nonnegative, real
from contraflow.optim.schedules.base import LRScheduler, check_outside, require

__all__ = [
    "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR", "LinearLR",
    "MultiStepLR", "PolynomialLR", "StepLR", "count",
]  # fmt: skip

count = Domain("a whole number > 0", lambda x: isinstance(x, int) and x > 0, 10)
whole = Domain("a whole number >= 0", lambda x: isinstance(x, int) and x >= 0, 5)
fraction = Domain("a number in [0, 1]", lambda x: real(x) and 0 <= x <= 1, 0.5)


class StepLR(LRScheduler):
    """Multiplies the rate by γ every ``step_size`` epochs.

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        require(self, "step_size", step_size, count)
        require(self, "gamma", gamma, finite)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """γ times the current rate where a step falls."""
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._current()
        return [lr * self.gamma for lr in self._current()]

    def _get_closed_form_lr(self) -> list[float]:
        return [lr * self.gamma ** (self.last_epoch // self.step_size) for lr in self.base_lrs]


class MultiStepLR(LRScheduler):
    """Multiplies the rate by γ at each of the ``milestones`` (epochs).

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        milestones = sorted(milestones)
        require(self, "milestones", milestones, Domain(
            "whole numbers", lambda x: all(isinstance(m, int) for m in x), [30, 80]
        ))  # fmt: skip
        require(self, "gamma", gamma, finite)
        self.milestones, self.gamma = milestones, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """γ times the current rate for each milestone at this epoch."""
        hits = self.milestones.count(self.last_epoch)
        return [lr * self.gamma**hits if hits else lr for lr in self._current()]

    def _get_closed_form_lr(self) -> list[float]:
        passed = bisect_right(self.milestones, self.last_epoch)
        return [lr * self.gamma**passed for lr in self.base_lrs]

    def _read(self, saved: Any) -> dict[str, Any]:
        if isinstance(saved, Mapping) and isinstance(saved.get("milestones"), Mapping):
            counted = saved["milestones"]  # PyTorch counts them: {epoch: times}
            listed = [int(m) for m, times in counted.items() for _ in range(times)]
            saved = {**saved, "milestones": sorted(listed)}
        return super()._read(saved)


class ConstantLR(LRScheduler):
    """The rate times ``factor`` until epoch ``total_iters``, then the rate itself.

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=3)
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        require(self, "factor", factor, fraction)
        require(self, "total_iters", total_iters, whole)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Lowered at the beginning, raised again at the end."""
        if self.last_epoch == 0:
            return [lr * self.factor for lr in self._current()]
        if self.last_epoch != self.total_iters:
            return self._current()
        if self.factor == 0:
            return list(self.base_lrs)
        return [lr * (1.0 / self.factor) for lr in self._current()]

    def _get_closed_form_lr(self) -> list[float]:
        factor = 1.0 if self.last_epoch >= self.total_iters else self.factor
        return [lr * factor for lr in self.base_lrs]


class LinearLR(LRScheduler):
    """The rate's factor goes in a straight line from ``start_factor`` to ``end_factor``.

    From below to 1 it is a warm-up:

    >>> import contraflow as cf
    >>> from contraflow.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> warmup = LinearLR(optimizer, start_factor=0.1, total_iters=10)
    >>> decay = CosineAnnealingLR(optimizer, T_max=90)
    >>> schedule = SequentialLR(optimizer, [warmup, decay], milestones=[10])
    >>> schedule.get_last_lr()
    [0.1]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0,
        total_iters: int = 5, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        require(self, "start_factor", start_factor, Domain(
            "a number in (0, 1]", lambda x: real(x) and 0 < x <= 1, 0.1
        ))  # fmt: skip
        require(self, "end_factor", end_factor, fraction)
        require(self, "total_iters", total_iters, whole)
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The current rate times the ratio of this epoch's factor to the last one's."""
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self._current()]
        if self._initial or self.last_epoch > self.total_iters:
            return self._current()
        rise = self.end_factor - self.start_factor
        last = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return [lr * (1.0 + rise / last) for lr in self._current()]

    def _get_closed_form_lr(self) -> list[float]:
        rise = self.end_factor - self.start_factor
        done = min(self.total_iters, self.last_epoch) / max(self.total_iters, 1)
        return [lr * (self.start_factor + rise * done) for lr in self.base_lrs]


class ExponentialLR(LRScheduler):
    """Multiplies the rate by γ every epoch.

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        require(self, "gamma", gamma, finite)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """γ times the current rate."""
        return [lr if self._initial else lr * self.gamma for lr in self._current()]

    def _get_closed_form_lr(self) -> list[float]:
        return [lr * self.gamma**self.last_epoch for lr in self.base_lrs]


class PolynomialLR(LRScheduler):
    """The rate times (1 - epoch / total_iters)^power, down to 0.

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=4)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.75]
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        require(self, "total_iters", total_iters, count)
        require(self, "power", power, finite)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The current rate times the ratio of this epoch's factor to the last one's."""
        if self._initial or self.last_epoch > self.total_iters:
            return self._current()
        now, before = (1.0 - e / self.total_iters for e in (self.last_epoch, self.last_epoch - 1))
        return [lr * (now / before) ** self.power for lr in self._current()]

    def _get_closed_form_lr(self) -> list[float]:
        left = 1.0 - min(self.total_iters, self.last_epoch) / self.total_iters
        return [lr * left**self.power for lr in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """The rate follows half a cosine from the initial one to ``eta_min`` in ``T_max`` epochs.

    η = η_min + ½ (η₀ - η_min)(1 + cos(π epoch / T_max)), and back up after that.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts"
    (ICLR 2017), without the restarts.

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> optimizer.step()
    >>> schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    0.5
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        require(self, "T_max", T_max, Domain("a number > 0", lambda x: real(x) and x > 0, 10))
        require(self, "eta_min", eta_min, finite)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The recurrence of the cosine, from the current rate."""
        low, now = self.eta_min, self.last_epoch
        if self._initial:
            return self._current()
        if self._step_count == 1 and now > 0:
            return self._get_closed_form_lr()
        if (now - 1 - self.T_max) % (2 * self.T_max) == 0:  # the recurrence would divide by 0
            rise = (1 - cos(pi / self.T_max)) / 2
            return [
                lr + (base - low) * rise
                for lr, base in zip(self._current(), self.base_lrs, strict=True)
            ]
        ratio = (1 + cos(pi * now / self.T_max)) / (1 + cos(pi * (now - 1) / self.T_max))
        return [ratio * (lr - low) + low for lr in self._current()]

    def _get_closed_form_lr(self) -> list[float]:
        height = (1 + cos(pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine over ``T_0`` epochs, then again from the top, each ``T_mult`` times longer.

    ``step(epoch)`` takes fractions of epochs too.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts"
    (ICLR 2017).

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [1.0]
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        require(self, "T_0", T_0, count)
        require(self, "T_mult", T_mult, count)
        require(self, "eta_min", eta_min, finite)
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        if last_epoch > 0:
            self._locate(last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The cosine at ``T_cur`` of ``T_i`` epochs."""
        height = (1 + cos(pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on by one epoch, or to ``epoch``, which may be a fraction."""
        check_outside()
        if epoch is not None:
            require(self, "epoch", epoch, nonnegative)
        elif self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        else:
            self._locate(epoch)
        self.last_epoch = floor(epoch)
        self._set(self.get_lr())

    def _locate(self, epoch: float) -> None:
        """Find the restart that an epoch belongs to, and the epochs since."""
        if self.T_mult == 1 or epoch < self.T_0:
            self.T_cur, self.T_i = epoch % self.T_0, self.T_0
            return
        n = int(log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
        begun = self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
        self.T_cur, self.T_i = epoch - begun, self.T_0 * self.T_mult**n
