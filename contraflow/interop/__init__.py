"""Files and other libraries: ``cf.save`` and ``cf.load`` in the safetensors format."""

from __future__ import annotations

from contraflow.interop.files import load, save

__all__ = ["load", "save"]
