"""Everything of ``contraflow.data``, under PyTorch's name ``contraflow.utils.data``."""

from __future__ import annotations

from contraflow.data import *  # noqa: F403
from contraflow.data import __all__ as __all__
