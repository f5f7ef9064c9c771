"""Helpers where PyTorch users look for them: ``cf.utils.data``, ``cf.utils.checkpoint``."""

from __future__ import annotations

from contraflow.utils import checkpoint, data

__all__ = ["checkpoint", "data"]
