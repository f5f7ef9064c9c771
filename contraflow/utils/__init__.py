"""Helpers under the names that PyTorch users look for: ``cf.utils.data``."""

from __future__ import annotations

from contraflow.utils import data

__all__ = ["data"]
