"""From a list of samples to a batch: tensors are stacked, containers keep their form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contraflow.base.dtypes import float64
from contraflow.base.errors import DTypeError, ShapeError, lesson
from contraflow.ops import join
from contraflow.tensor.create import as_tensor, from_numpy, tensor
from contraflow.tensor.tensor import Tensor

__all__ = ["default_collate", "default_convert"]


def stack(parts: Sequence[Any]) -> Any:
    """Tensors or arrays of one shape, stacked along a new first dimension."""
    avals = [p.aval if isinstance(p, Tensor) else as_tensor(p).aval for p in parts]
    odd = next((i for i, aval in enumerate(avals) if aval.shape != avals[0].shape), None)
    if odd is not None:
        raise ShapeError(
            lesson(
                "samples of different shapes cannot form one batch",
                [("sample 0", avals[0]), (f"sample {odd}", avals[odd])],
                "pad or crop the samples to one shape, or pass collate_fn=",
            )
        )
    if any(isinstance(p, Tensor) and p.requires_grad for p in parts):
        return join.stack([as_tensor(p) for p in parts])  # gradients reach the samples
    arrays = [p.numpy() if isinstance(p, Tensor) else np.asarray(p) for p in parts]
    return from_numpy(np.stack(arrays))


def default_collate(batch: Any) -> Any:
    """Turn a list of samples into a batch, as the loader does unless told otherwise.

    Tensors, arrays and numbers become tensors with a new first dimension; tuples and lists become
    lists of batches, mappings mappings of them, texts stay texts.

    Raises:
        ShapeError: for samples whose shapes or lengths differ.
        DTypeError: for samples that are none of these.

    >>> import contraflow as cf
    >>> cf.data.default_collate([(1, "a"), (2, "b")])
    [tensor([1, 2]), ('a', 'b')]
    """
    if not len(batch):
        raise ShapeError(lesson("an empty list of samples cannot be collated"))
    first = batch[0]
    if isinstance(first, Tensor | np.ndarray | np.generic):
        return stack(batch)
    if isinstance(first, float):
        return tensor(np.asarray(batch, np.float64), dtype=float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        columns = {key: default_collate([sample[key] for sample in batch]) for key in first}
        return columns if type(first) is dict else _rebuilt(first, columns)
    if isinstance(first, Sequence):
        if len({len(sample) for sample in batch}) > 1:
            raise ShapeError(
                lesson(
                    "samples of different lengths cannot form one batch",
                    [("lengths", sorted({len(sample) for sample in batch}))],
                    "return the same number of parts from __getitem__, or pass collate_fn=",
                )
            )
        parts = [default_collate(part) for part in zip(*batch, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    raise DTypeError(
        lesson(
            f"samples of type {type(first).__name__} cannot form a batch",
            fix="return tensors, arrays, numbers, texts, tuples or dicts, or pass collate_fn=",
        )
    )


def _rebuilt(first: Any, columns: dict[Any, Any]) -> Any:
    try:
        return type(first)(columns)
    except TypeError:
        return columns


def default_convert(sample: Any) -> Any:
    """Turn the arrays of one sample into tensors (``batch_size=None``)."""
    if isinstance(sample, np.ndarray | np.generic):
        return as_tensor(sample)
    if isinstance(sample, Mapping):
        return {key: default_convert(value) for key, value in sample.items()}
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*map(default_convert, sample))
    if isinstance(sample, tuple):
        return [default_convert(value) for value in sample]
    if isinstance(sample, Sequence) and not isinstance(sample, str | bytes):
        return [default_convert(value) for value in sample]
    return sample
