"""Mixed precision, where there is none: everything is computed in the dtype of its operands.

Loops written for ``autocast`` and ``GradScaler`` on a GPU run as PyTorch runs them without one:
both do nothing.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import Any

from contraflow.base.errors import ArgumentError, lesson

__all__ = ["GradScaler", "autocast"]


class autocast(ContextDecorator):
    """Mixed precision for a GPU, which is not here: no effect.

    >>> import contraflow as cf
    >>> with cf.amp.autocast("cuda", dtype=cf.float16):
    ...     y = cf.ones(2, 2) @ cf.ones(2, 2)
    >>> y.dtype
    contraflow.float32

    Raises:
        ArgumentError: if it is switched on for the CPU, where it would have to do something.
    """

    def __init__(
        self,
        device_type: str,
        dtype: Any = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if enabled and device_type == "cpu":
            rule = "autocast: there is no mixed precision on the CPU here"
            raise ArgumentError(lesson(rule, fix="autocast('cpu', enabled=False)"))

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class GradScaler:
    """Scaling of the loss against underflow in float16, which is not needed here: disabled.

    >>> import contraflow as cf
    >>> scaler = cf.amp.GradScaler("cuda")
    >>> scaler.is_enabled(), scaler.scale(cf.tensor(2.0))
    (False, tensor(2.))
    """

    def __init__(self, device: str = "cuda", *_: Any, **__: Any) -> None:
        pass

    def scale(self, outputs: Any) -> Any:
        """The loss as it is."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """The gradients are not scaled."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step()``."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """There is no scale to update."""

    def get_scale(self) -> float:
        """1."""
        return 1.0

    def is_enabled(self) -> bool:
        """False."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Empty: nothing to keep."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore."""
