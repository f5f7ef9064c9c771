"""The base of all schedules: stepping, the rates they last set, state dicts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from contraflow.base.errors import (
    ArgumentError,
    CaptureError,
    ContraflowError,
    DTypeError,
    StateError,
    lesson,
)
from contraflow.base.modes import capturing
from contraflow.optim.optimizer import Optimizer
from contraflow.optim.rule import Domain, check, concrete
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.tensor import Tensor
from contraflow.tensor.writing import write

__all__ = [
    "LRScheduler", "ScheduleWarning", "check_outside", "each", "plain", "require", "set_value",
]  # fmt: skip


class ScheduleWarning(UserWarning):
    """A schedule is used in a way that skips or repeats one of its rates."""


def require(owner: Any, key: str, value: Any, domain: Domain) -> None:
    """Refuse an argument of a schedule outside its domain.

    Raises:
        ArgumentError: with the domain in words and a value that is in it.
    """
    check(f"lr_scheduler.{type(owner).__name__}", key, value, domain)


def plain(value: Any) -> Any:
    """A learning rate as a Python number; it may be kept in a tensor."""
    return value.item() if isinstance(value, Tensor) else value


def set_value(group: dict[str, Any], key: str, value: float) -> None:
    """Set an option of a group; one that is kept in a tensor is filled in place."""
    held = group[key]
    if isinstance(held, Tensor):
        with no_grad(), concrete():
            write(held, held * 0.0 + float(value))
    else:
        group[key] = value


def check_outside() -> None:
    """Refuse to step within a compiled step: it would happen once, while that is captured."""
    if capturing():
        raise CaptureError(
            lesson(
                "scheduler.step() in a compiled step would run once, while that is captured",
                fix="call it after the step: step(x, y); scheduler.step(); every call of the step "
                "reads the learning rate anew",
            )
        )


def each(owner: Any, name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """One value for each parameter group: repeated, or given as a list of the right length."""
    count = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise ArgumentError(
            lesson(
                f"{type(owner).__name__}: {name} has {len(value)} values, the optimiser "
                f"has {count} parameter group{'s' * (count != 1)}",
                [("received", value)],
                "one value for each group, or a single number",
            )
        )
    return list(value)


class LRScheduler:
    """Base class of the schedules; a schedule of one's own overrides ``get_lr``.

    Args:
        optimizer: whose learning rates are changed.
        last_epoch: -1 to begin; otherwise the epoch to go on from, and the groups must hold the
            ``initial_lr`` that a schedule left in them.

    Raises:
        DTypeError: if ``optimizer`` is none.
        StateError: if ``last_epoch`` says to go on, but there is no ``initial_lr``.

    >>> import contraflow as cf
    >>> class Halving(cf.optim.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [base / 2**self.last_epoch for base in self.base_lrs]
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = Halving(optimizer)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    # What a state dict leaves out: the optimiser, other schedules, functions.
    unsaved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", plain(group["lr"]))
            elif "initial_lr" not in group:
                raise StateError(
                    lesson(
                        f"{type(self).__name__}: last_epoch={last_epoch} goes on from a "
                        f"schedule, but parameter group {i} has no initial_lr",
                        fix="load the optimiser's state dict first, or leave last_epoch out",
                    )
                )
        self.base_lrs: list[float] = [plain(g["initial_lr"]) for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._initial = False
        self._begin()

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise DTypeError(
                lesson(
                    f"{type(self).__name__} takes an optimiser, not {type(optimizer).__name__}",
                    fix="cf.optim.lr_scheduler.StepLR(optimizer, step_size=10)",
                )
            )
        self.optimizer = optimizer

    def _begin(self) -> None:
        """The first step, which sets the first rate."""
        self._step_count = 0
        self._initial = True
        try:
            self.step()
        finally:
            self._initial = False

    # ---- for users -----------------------------------------------------------------------------

    def get_last_lr(self) -> list[float]:
        """The rates that the schedule last set, one for each group."""
        return self._last_lr

    def get_lr(self) -> list[float]:
        """The next rates, from ``last_epoch`` and the current ones."""
        raise ContraflowError(
            lesson(f"{type(self).__name__} does not say its rates", fix="def get_lr(self): ...")
        )

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch (or to ``epoch``) and set its rates.

        Call it after the optimiser's ``step``: otherwise the first rate is never used, and a
        ``ScheduleWarning`` says so.
        """
        check_outside()
        if self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn(
                lesson("scheduler.step() before optimizer.step() skips the first learning rate",
                       fix="optimizer.step(), then scheduler.step()"),
                ScheduleWarning, stacklevel=2,
            )  # fmt: skip
        self._step_count += 1
        self._go_to(epoch)

    def _go_to(self, epoch: int | None) -> None:
        if epoch is None:
            self.last_epoch += 1
            rates = self.get_lr()
        else:
            self.last_epoch = epoch
            rates = self._get_closed_form_lr()
        self._set(rates)

    def _set(self, rates: Iterable[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_value(group, "lr", rate)
        self._last_lr = self._current()

    def _current(self) -> list[float]:
        return [plain(group["lr"]) for group in self.optimizer.param_groups]

    def _get_closed_form_lr(self) -> list[float]:
        """The rates of ``last_epoch`` from the initial ones, where a formula for them exists."""
        return self.get_lr()

    # ---- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser and functions: numbers, strings, lists and dicts."""
        return {
            key: list(value) if isinstance(value, list) else value
            for key, value in self.__dict__.items()
            if key not in self.unsaved
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state dict. The learning rates themselves are the optimiser's to load.

        Raises:
            StateError: if it is of another schedule, or holds what is no number, string or list
                of them. Nothing has changed then.
        """
        self.__dict__.update(self._read(state_dict))

    def _read(self, saved: Any) -> dict[str, Any]:
        own = self.state_dict()
        if not isinstance(saved, Mapping) or set(saved) != set(own):
            received = sorted(map(str, saved)) if isinstance(saved, Mapping) else saved
            raise StateError(
                lesson(
                    f"{type(self).__name__}: the state dict is of another schedule",
                    [("expected", sorted(own)), ("received", f"{received}")],
                )
            )
        for key, value in saved.items():
            if not _is_data(value):
                raise StateError(
                    lesson(
                        f"{type(self).__name__}: the state {key!r} is not plain data",
                        [("received", f"{value!r:.60}")],
                    )
                )
        return {k: list(v) if isinstance(v, list | tuple) else v for k, v in saved.items()}


def _is_data(value: Any) -> bool:
    """Whether a value is made of numbers, strings, lists and dicts only."""
    if isinstance(value, Mapping):
        return all(_is_data(k) and _is_data(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_data, value))
    return value is None or isinstance(value, bool | int | float | str)
