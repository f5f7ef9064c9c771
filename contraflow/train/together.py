"""Several optimisers as one, each for its own parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from contraflow.base.errors import ArgumentError, StateError, lesson
from contraflow.optim import Optimizer

__all__ = ["Together"]


class Together(Optimizer):
    """Steps several optimisers at once: Muon for the matrices, AdamW for all else.

    Raises:
        ArgumentError: for none, or if a parameter is in two of them.

    >>> import contraflow as cf
    >>> model = cf.nn.Linear(4, 2)
    >>> optimizer = cf.train.Together(
    ...     cf.optim.Muon([model.weight], lr=0.02), cf.optim.AdamW([model.bias], lr=0.01)
    ... )
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.02, 0.01]
    """

    def __init__(self, *optimizers: Optimizer) -> None:
        groups = [group for one in optimizers for group in one.param_groups]
        params = [p for group in groups for p in group["params"]]
        if not optimizers or len({id(p) for p in params}) != len(params):
            raise ArgumentError(
                lesson("Together takes optimisers, each with parameters of its own",
                       fix="cf.train.Together(cf.optim.Muon(...), cf.optim.AdamW(...))")
            )  # fmt: skip
        super().__init__(params, {})
        self.optimizers = optimizers
        self.param_groups = groups  # the very same groups: a schedule reaches all of them

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step each of them; ``closure`` is called once, before."""
        loss = None if closure is None else closure()
        for one in self.optimizers:
            one.step()
        return loss

    def eval(self) -> None:
        """Evaluation mode, where an optimiser has one (``ScheduleFreeAdamW``)."""
        for one in self.optimizers:
            if hasattr(one, "eval"):
                one.eval()

    def train(self) -> None:
        """Training mode, where an optimiser has one."""
        for one in self.optimizers:
            if hasattr(one, "train"):
                one.train()

    def _fixed_options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        return {}  # each of them says what it takes for granted

    def state_dict(self) -> dict[str, Any]:
        """The state of each."""
        return {"together": [one.state_dict() for one in self.optimizers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Give each its state.

        Raises:
            StateError: if it is of other optimisers. Nothing has changed then.
        """
        saved = state_dict.get("together")
        if not isinstance(saved, list) or len(saved) != len(self.optimizers):
            raise StateError(lesson(f"the state is not of {len(self.optimizers)} optimisers",
                                    fix="make the same optimisers first"))  # fmt: skip
        before = deepcopy([one.state_dict() for one in self.optimizers])
        try:
            for one, state in zip(self.optimizers, saved, strict=True):
                one.load_state_dict(state)
        except BaseException:
            for one, state in zip(self.optimizers, before, strict=True):
                one.load_state_dict(state)
            raise
