"""Averages of weights over training: stochastic weight averaging (SWA) and EMA.

Models are known here by what they have (``parameters()``, ``buffers()``), not by their class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from math import cos, pi
from typing import Any

from contraflow.base.dtypes import int64
from contraflow.base.errors import ArgumentError, DTypeError, StateError, lesson
from contraflow.base.modes import capturing
from contraflow.ops.cast import convert
from contraflow.ops.creation import full
from contraflow.optim.maths import lerp, where
from contraflow.optim.optimizer import Optimizer
from contraflow.optim.rule import Domain, one_of, real
from contraflow.optim.schedules.base import LRScheduler, each, require
from contraflow.optim.state import read_array
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.tensor import make
from contraflow.tensor.writing import write

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn",
    "get_swa_multi_avg_fn", "update_bn",
]  # fmt: skip

Average = Callable[[Any, Any, Any], Any]


def check_decay(decay: Any) -> None:
    """A decay lies in [0, 1]."""
    if not (real(decay) and 0 <= decay <= 1):
        raise ArgumentError(
            lesson(
                "the decay of an average must be a number in [0, 1]",
                [("received", repr(decay))],
                "get_ema_multi_avg_fn(decay=0.999)",
            )
        )


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """The exponential moving average of one tensor: decay · average + (1 - decay) · new.

    >>> import contraflow as cf
    >>> average = cf.optim.swa_utils.get_ema_avg_fn(0.9)
    >>> average(cf.tensor([1.0]), cf.tensor([2.0]), 1)
    tensor([1.1000])
    """
    check_decay(decay)
    return lambda average, new, n: lerp(average, new, 1 - decay)


def get_swa_avg_fn() -> Average:
    """The mean of all so far, of one tensor: average + (new - average) / (n + 1).

    >>> import contraflow as cf
    >>> average = cf.optim.swa_utils.get_swa_avg_fn()
    >>> average(cf.tensor([1.0]), cf.tensor([2.0]), 1)
    tensor([1.5000])
    """
    return lambda average, new, n: average + (new - average) / (n + 1)


def _in_place(average: Average) -> Callable[[Iterable[Any], Iterable[Any], Any], None]:
    @no_grad()
    def update(averages: Iterable[Any], news: Iterable[Any], n: Any) -> None:
        for a, new in zip(averages, news, strict=True):
            write(a, _kept(average(a, new, n), a))

    return update


def _kept(value: Any, like: Any) -> Any:
    """An average in the dtype of what is averaged: whole numbers are cut off."""
    return value if value.dtype is like.dtype else convert(value, dtype=like.dtype)


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], None]:
    """``get_ema_avg_fn`` for lists of tensors, in place."""
    return _in_place(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[[Any, Any, Any], None]:
    """``get_swa_avg_fn`` for lists of tensors, in place."""
    return _in_place(get_swa_avg_fn())


class AveragedModel:
    """A copy of a model whose weights are averages of the model's.

    Args:
        model: anything with ``parameters()`` and ``buffers()`` that can be copied.
        avg_fn: ``(average, new, n) -> average`` for one tensor; the mean if not given.
        multi_avg_fn: the same for lists of tensors, in place.
        use_buffers: average the buffers too, instead of copying them.

    Raises:
        ArgumentError: for both functions at once.

    Sources: Izmailov et al., "Averaging weights leads to wider optima and better generalization"
    (UAI 2018); for EMA, Polyak and Juditsky (1992).

    >>> import contraflow as cf
    >>> model = cf.nn.Linear(2, 1)
    >>> ema = cf.optim.swa_utils.AveragedModel(
    ...     model, multi_avg_fn=cf.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    ... )
    >>> ema.update_parameters(model)  # after every optimiser step
    >>> ema(cf.ones(3, 2)).shape
    contraflow.Size([3, 1])
    """

    def __init__(
        self, model: Any, device: Any = None, avg_fn: Average | None = None,
        multi_avg_fn: Callable[[Any, Any, Any], None] | None = None, use_buffers: bool = False,
    ) -> None:  # fmt: skip
        if avg_fn is not None and multi_avg_fn is not None:
            raise ArgumentError(
                lesson(
                    "AveragedModel takes avg_fn or multi_avg_fn, not both",
                    fix="multi_avg_fn=cf.optim.swa_utils.get_ema_multi_avg_fn(0.999)",
                )
            )
        if not hasattr(model, "parameters"):
            raise DTypeError(
                lesson(
                    f"AveragedModel takes a model, not {type(model).__name__}",
                    fix="AveragedModel(model)",
                )
            )
        self.module = deepcopy(model)
        self.n_averaged = full(shape=(), value=0, dtype=int64)
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    @no_grad()
    def update_parameters(self, model: Any) -> None:
        """Take the model's present weights into the average; the first time they are copied."""
        own, new = list(self.module.parameters()), list(model.parameters())
        if self.use_buffers:
            own, new = own + list(self.module.buffers()), new + list(model.buffers())
        n = self.n_averaged
        first = n == 0  # a number in an eager step, a symbol in a captured one
        first = first if capturing() else first.item()
        if first is not True:
            self._average(own, new, n)
        if first is not False:
            for a, p in zip(own, new, strict=True):
                write(a, where(first, p, a))
        if not self.use_buffers:
            for a, b in zip(self.module.buffers(), model.buffers(), strict=True):
                write(a, b)
        write(n, n + 1)

    def _average(self, own: list[Any], new: list[Any], n: Any) -> None:
        if self.multi_avg_fn is not None:
            self.multi_avg_fn(own, new, n)
        else:
            _in_place(self.avg_fn or get_swa_avg_fn())(own, new, n)

    # ---- what a model has ----------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the averaged model."""
        return self.module(*args, **kwargs)

    __call__ = forward

    def parameters(self) -> Iterator[Any]:
        """The averages of the parameters."""
        return iter(self.module.parameters())

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """The averages of the parameters, with their names."""
        return ((f"module.{name}", p) for name, p in self.module.named_parameters())

    def buffers(self) -> Iterator[Any]:
        """The count of averaged models, and the model's buffers."""
        yield self.n_averaged
        yield from self.module.buffers()

    def modules(self) -> Iterator[Any]:
        """The modules of the averaged model."""
        return iter(self.module.modules())

    @property
    def training(self) -> bool:
        """Whether the averaged model is in training mode."""
        return bool(self.module.training)

    def train(self, mode: bool = True) -> AveragedModel:
        """Put the averaged model into training mode."""
        self.module.train(mode)
        return self

    def eval(self) -> AveragedModel:
        """Put the averaged model into evaluation mode."""
        return self.train(False)

    def state_dict(self) -> dict[str, Any]:
        """``n_averaged`` and the averaged model's state under ``module.``, as PyTorch's."""
        inner = self.module.state_dict().items()
        return {"n_averaged": self.n_averaged, **{f"module.{k}": v for k, v in inner}}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Go on from a state dict; returns what the model's ``load_state_dict`` returns."""
        prefix, given = "module.", dict(state_dict)
        count = read_array("AveragedModel", "n_averaged", given.pop("n_averaged", None))
        foreign = sorted(key for key in given if not key.startswith(prefix))
        if count.size != 1 or (strict and foreign):
            raise StateError(
                lesson(
                    "AveragedModel: the state dict is of another model",
                    [("expected", "n_averaged and module.*"), ("also found", foreign)],
                    "averaged.load_state_dict(other_averaged.state_dict())",
                )
            )
        inner = {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
        result = self.module.load_state_dict(inner, strict)
        write(self.n_averaged, make(count.reshape(()).astype(int64.np)))
        return result

    def __repr__(self) -> str:
        inner = repr(self.module).replace("\n", "\n  ")
        return f"AveragedModel(\n  (module): {inner}\n)"


@no_grad()
def update_bn(loader: Iterable[Any], model: Any, device: Any = None) -> None:
    """Compute the running statistics of the model's batch norms anew, over a data set.

    Averaged weights have never seen data; call this once after averaging.

    Args:
        loader: batches; of a list or tuple the first item is the input.
        model: a model with ``modules()``, ``train()`` and ``training``.
        device: accepted for PyTorch's sake.

    >>> import contraflow as cf
    >>> model = cf.nn.Sequential(cf.nn.Linear(2, 3), cf.nn.BatchNorm1d(3))
    >>> cf.optim.swa_utils.update_bn([cf.ones(4, 2), cf.zeros(4, 2)], model)
    >>> int(model[1].num_batches_tracked)
    2
    """
    norms = [
        m for m in model.modules()
        if hasattr(m, "reset_running_stats") and getattr(m, "running_mean", None) is not None
        and hasattr(m, "momentum")
    ]  # fmt: skip
    if not norms:
        return
    before, training = [m.momentum for m in norms], model.training
    model.train()
    try:
        for m in norms:
            m.reset_running_stats()
            m.momentum = None  # None averages all batches alike
        for batch in loader:
            model(batch[0] if isinstance(batch, list | tuple) else batch)
    finally:
        for m, momentum in zip(norms, before, strict=True):
            m.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """Takes the rate to a constant ``swa_lr`` in ``anneal_epochs`` epochs, and stays there.

    Args:
        optimizer: whose learning rates are changed.
        swa_lr: the rate at the end, for all groups or for each.
        anneal_epochs: the epochs that it takes.
        anneal_strategy: ``"cos"`` or ``"linear"``.

    >>> import contraflow as cf
    >>> optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = cf.optim.swa_utils.SWALR(optimizer, swa_lr=0.5, anneal_epochs=1)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, swa_lr: float | list[float], anneal_epochs: int = 10,
        anneal_strategy: str = "cos", last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self._attach(optimizer)
        require(self, "anneal_strategy", anneal_strategy, one_of("cos", "linear"))
        require(self, "anneal_epochs", anneal_epochs, Domain(
            "a whole number >= 0", lambda x: isinstance(x, int) and x >= 0, 10
        ))  # fmt: skip
        rates = each(self, "swa_lr", swa_lr, optimizer)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        self.anneal_epochs, self._anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _part(self, step: int) -> float:
        """How far the rate has come by a step, from 0 to 1."""
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return (1 - cos(pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def get_lr(self) -> list[float]:
        """The start is read back from the current rate, which others may have changed."""
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._part(step - 1), self._part(step)
        rates = []
        for group, lr in zip(self.optimizer.param_groups, self._current(), strict=True):
            end = group["swa_lr"]
            start = end if before == 1 else (lr - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates
