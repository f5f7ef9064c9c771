"""``torch.utils.data.dataloader``'s names for what ``contraflow.data`` holds."""

from __future__ import annotations

from contraflow.data import DataLoader, default_collate, default_convert

__all__ = ["DataLoader", "default_collate", "default_convert"]
