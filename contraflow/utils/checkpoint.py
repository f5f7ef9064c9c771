"""``checkpoint`` in PyTorch's place: forget, and compute again in backward."""

from contraflow.tensor.checkpointing import checkpoint, checkpoint_sequential

__all__ = ["checkpoint", "checkpoint_sequential"]
