"""Everything of ``contraflow.data``, under PyTorch's name ``contraflow.utils.data``."""

from __future__ import annotations

from contraflow.data import *
from contraflow.data import __all__ as __all__
from contraflow.utils.data import dataloader, dataset, sampler
