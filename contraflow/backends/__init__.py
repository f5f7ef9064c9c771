"""The libraries that PyTorch can be built with, which are not here: asked, each says so.

Settings such as ``backends.cudnn.deterministic = True`` are taken and change nothing.
"""

from __future__ import annotations

from contraflow.backends import cuda, cudnn, mps

__all__ = ["cuda", "cudnn", "mps"]
