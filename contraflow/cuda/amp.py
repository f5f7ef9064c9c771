"""``torch.cuda.amp``'s names for ``contraflow.amp``."""

from __future__ import annotations

from typing import Any

from contraflow import amp
from contraflow.amp import GradScaler

__all__ = ["GradScaler", "autocast"]


class autocast(amp.autocast):
    """``cf.amp.autocast("cuda", ...)``: no effect."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)
