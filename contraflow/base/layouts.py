"""PyTorch's names for orders of memory; here tensors keep the one they have."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "channels_last", "channels_last_3d", "contiguous_format", "memory_format", "preserve_format",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class memory_format:
    """An order of memory that a PyTorch program may ask for. Shapes and values never depend on it,
    and the compiled convolution is fast on images as they are: whoever takes one ignores it.

    >>> import contraflow as cf
    >>> cf.ones(1, 2, 3, 3).to(memory_format=cf.channels_last).shape
    contraflow.Size([1, 2, 3, 3])
    >>> cf.channels_last
    contraflow.channels_last
    """

    name: str

    def __repr__(self) -> str:
        return f"contraflow.{self.name}"


channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
