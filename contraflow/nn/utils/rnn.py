"""Sequences of different lengths as one batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from contraflow.base.errors import ArgumentError, ShapeError, lesson
from contraflow.ops.join import cat, stack
from contraflow.tensor.create import full
from contraflow.tensor.tensor import Tensor

__all__ = ["pad_sequence", "unpad_sequence"]


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0,
    padding_side: str = "right",
) -> Any:  # fmt: skip
    """Stack sequences [L_i, *] with padding up to the longest: [L, B, *], or [B, L, *].

    >>> import contraflow as cf
    >>> from contraflow.nn.utils.rnn import pad_sequence
    >>> pad_sequence([cf.tensor([1, 2, 3]), cf.tensor([4])], batch_first=True)
    tensor([[1, 2, 3],
            [4, 0, 0]])

    Raises:
        ArgumentError: for no sequence at all, or another side than left and right.
        ShapeError: if they differ in more than their length.
    """
    items = list(sequences)
    if not items:
        raise ArgumentError(lesson("pad_sequence got no sequences", fix="pad_sequence([x, y])"))
    if padding_side not in ("right", "left"):
        raise ArgumentError(
            lesson("padding_side is 'right' or 'left'", [("received", repr(padding_side))])
        )
    rest = tuple(items[0].shape[1:])
    for item in items:
        if not item.ndim or tuple(item.shape[1:]) != rest:
            raise ShapeError(
                lesson(
                    "pad_sequence: sequences may differ in their first dimension only",
                    [("first", items[0]), ("other", item)],
                )
            )
    longest = max(item.shape[0] for item in items)
    rows = []
    for item in items:
        gap = full((longest - item.shape[0], *rest), padding_value, dtype=item.dtype)
        rows.append(cat([item, gap] if padding_side == "right" else [gap, item], 0))
    return stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Any]:
    """The sequences of a padded batch, without their padding: what ``pad_sequence`` was given.

    >>> import contraflow as cf
    >>> from contraflow.nn.utils.rnn import unpad_sequence
    >>> unpad_sequence(cf.tensor([[1, 2, 3], [4, 0, 0]]), cf.tensor([3, 1]), batch_first=True)
    [tensor([1, 2, 3]), tensor([4])]
    """
    batch = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:length] for row, length in zip(batch, map(int, lengths), strict=True)]
