"""Datasets: what can be indexed (map style) or only iterated over, and how they combine.

In-memory sets also answer ``arrays()`` and ``rows(indices)``, by which the loader gathers whole
batches at once instead of row by row.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import floor, isclose
from operator import index as as_index
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, IndexOutOfRange, ShapeError, lesson
from contraflow.data.stream import permutation, stream
from contraflow.tensor.tensor import Tensor

__all__ = [
    "ChainDataset",
    "ConcatDataset",
    "Dataset",
    "IterableDataset",
    "StackDataset",
    "Subset",
    "TensorDataset",
    "in_memory",
    "random_split",
]


class Dataset:
    """A set of samples: subclasses define ``__getitem__(index)`` and ``__len__``.

    >>> import contraflow as cf
    >>> class Squares(cf.data.Dataset):
    ...     def __len__(self):
    ...         return 4
    ...
    ...     def __getitem__(self, i):
    ...         return i, i * i
    >>> [x, y] = next(iter(cf.data.DataLoader(Squares(), batch_size=4)))
    >>> y
    tensor([0, 1, 4, 9])
    """

    def __getitem__(self, index: Any) -> Any:
        raise DTypeError(
            lesson(
                f"{type(self).__name__} does not say what its samples are",
                fix="def __getitem__(self, index): return x, y",
            )
        )

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """A stream of samples: subclasses define ``__iter__``, and ``__len__`` if it is known."""

    def __iter__(self) -> Iterator[Any]:
        raise DTypeError(
            lesson(
                f"{type(self).__name__} does not say what its samples are",
                fix="def __iter__(self): yield x, y",
            )
        )

    def __add__(self, other: Dataset) -> Any:
        return ChainDataset([self, other])


class ChainDataset(IterableDataset):
    """Several streams, one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            yield from dataset

    def __len__(self) -> int:
        return sum(map(len, self.datasets))


class TensorDataset(Dataset):
    """Tensors with the same number of rows; sample i is the tuple of their rows i.

    Raises:
        ShapeError: if the numbers of rows differ, or a tensor has no rows to speak of (0-d).

    >>> import contraflow as cf
    >>> data = cf.data.TensorDataset(cf.arange(6).reshape(3, 2), cf.tensor([0, 1, 0]))
    >>> len(data), data[1]
    (3, (tensor([2, 3]), tensor(1)))
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ArgumentError(
                lesson("TensorDataset needs a tensor", fix="cf.data.TensorDataset(x, y)")
            )
        for t in tensors:
            if not isinstance(t, Tensor):
                raise DTypeError(
                    lesson(
                        f"TensorDataset takes tensors, not {type(t).__name__}",
                        fix="cf.data.TensorDataset(cf.as_tensor(x), cf.as_tensor(y))",
                    )
                )
        if any(t.ndim == 0 for t in tensors) or len({len(t) for t in tensors}) > 1:
            raise ShapeError(
                lesson(
                    "TensorDataset: all tensors need the same number of rows",
                    [(f"tensor {i}", t) for i, t in enumerate(tensors)],
                    "the first dimension counts the samples in each tensor",
                )
            )
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            index = position(index, len(self))
        return tuple(t[index] for t in self.tensors)

    def arrays(self) -> list[np.ndarray[Any, Any]]:
        """The memory of the tensors."""
        return [(t.detach() if t.requires_grad else t).numpy() for t in self.tensors]

    def rows(self, indices: Any) -> Any:
        """Where in the arrays the samples ``indices`` are."""
        return indices


def position(index: Any, length: int) -> int:
    """An index as 0..length-1; negative ones count from the end."""
    i = as_index(index)
    if not -length <= i < length:
        raise IndexOutOfRange(
            lesson(
                f"there is no sample {i} in a dataset of {length}",
                fix="0 <= index < len(dataset)",
            )
        )
    return i % length


class Subset(Dataset):
    """The samples of a dataset at ``indices``, in their order.

    >>> import contraflow as cf
    >>> data = cf.data.TensorDataset(cf.arange(5))
    >>> [int(x) for (x,) in cf.data.Subset(data, [4, 0])]
    [4, 0]
    """

    def __init__(self, dataset: Any, indices: Any) -> None:
        self.dataset = dataset
        self.indices = indices.tolist() if isinstance(indices, Tensor) else indices
        self._rows = np.asarray(self.indices)
        if self._rows.size == 0:
            self._rows = self._rows.astype(np.int64)
        if self._rows.ndim != 1 or self._rows.dtype.kind not in "iu":
            # keys that are no integers (a dataset of names) work sample by sample
            self._rows = np.empty(0, np.int64)
        if in_memory(dataset) is not None:
            for extreme in (self._rows.min(), self._rows.max()) if self._rows.size else ():
                position(extreme, len(dataset))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return [self[i] for i in index]
        return self.dataset[self.indices[position(index, len(self))]]

    def __getitems__(self, indices: list[int]) -> Any:
        """Several samples at once, by the dataset's own way when it has one."""
        chosen = [self.indices[i] for i in indices]
        many = getattr(self.dataset, "__getitems__", None)
        return many(chosen) if callable(many) else [self.dataset[i] for i in chosen]

    def arrays(self) -> list[np.ndarray[Any, Any]] | None:
        """The memory behind the samples, None when they are not in memory."""
        return in_memory(self.dataset) if len(self._rows) == len(self.indices) else None

    def rows(self, indices: Any) -> Any:
        """Where in the arrays the samples ``indices`` are."""
        return self.dataset.rows(self._rows[indices])


def in_memory(dataset: Any) -> list[np.ndarray[Any, Any]] | None:
    """The arrays that hold the samples of ``dataset``, or None when it must be asked for each.

    A subclass that changes what a sample is, and a tensor that gradients should reach, are asked.
    """
    kind = type(dataset)
    if isinstance(dataset, TensorDataset) and kind.__getitem__ is TensorDataset.__getitem__:
        return None if any(t.requires_grad for t in dataset.tensors) else dataset.arrays()
    if isinstance(dataset, Subset) and kind.__getitem__ is Subset.__getitem__:
        return dataset.arrays()
    return None


class ConcatDataset(Dataset):
    """Several datasets as one, one after the other.

    >>> import contraflow as cf
    >>> a = cf.data.TensorDataset(cf.arange(2))
    >>> len(a + a), (a + a)[3]
    (4, (tensor(1),))
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ArgumentError(lesson("ConcatDataset needs a dataset", fix="[train, extra]"))
        for d in self.datasets:
            if isinstance(d, IterableDataset):
                raise DTypeError(
                    lesson(
                        "ConcatDataset cannot index a stream",
                        fix="cf.data.ChainDataset(datasets)",
                    )
                )
        self.cumulative_sizes = list(accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: Any) -> Any:
        i = position(index, len(self))
        which = bisect_right(self.cumulative_sizes, i)
        before = self.cumulative_sizes[which - 1] if which else 0
        return self.datasets[which][i - before]


class StackDataset(Dataset):
    """Datasets side by side: a sample is the tuple (or dict) of their samples.

    >>> import contraflow as cf
    >>> cf.data.StackDataset(x=cf.arange(3), y=["a", "b", "c"])[2]
    {'x': tensor(2), 'y': 'c'}
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            raise ArgumentError(
                lesson(
                    "StackDataset takes datasets either in order or by name",
                    fix="StackDataset(x, y) or StackDataset(image=x, label=y)",
                )
            )
        self.datasets: Any = args or kwargs
        sizes = [len(d) for d in (args or kwargs.values())]
        if len(set(sizes)) > 1:
            raise ShapeError(lesson(f"StackDataset: the datasets have different lengths: {sizes}"))
        self._length = sizes[0]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        i = position(index, self._length)
        if isinstance(self.datasets, Mapping):
            return {name: d[i] for name, d in self.datasets.items()}
        return tuple(d[i] for d in self.datasets)


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset]:
    """Split a dataset at random into subsets of the given lengths, or fractions that sum to 1.

    Raises:
        ArgumentError: if the lengths do not sum to the size of the dataset (fractions: to 1).

    >>> import contraflow as cf
    >>> data = cf.data.TensorDataset(cf.arange(10))
    >>> [len(part) for part in cf.data.random_split(data, [0.75, 0.25])]
    [8, 2]
    """
    size = len(dataset)
    counts = split_counts(size, list(lengths))
    order = permutation(stream(generator), size)
    ends = list(accumulate(counts))
    return [
        Subset(dataset, order[end - count : end].tolist())
        for count, end in zip(counts, ends, strict=True)
    ]


def split_counts(size: int, lengths: list[float]) -> list[int]:
    """Whole numbers of samples; what rounding leaves over goes to the first parts."""
    if any(isinstance(n, bool) or n < 0 for n in lengths):
        raise ArgumentError(lesson(f"random_split: lengths must be >= 0, received {lengths}"))
    if lengths and isclose(sum(lengths), 1) and all(n <= 1 for n in lengths):
        counts = [floor(size * fraction) for fraction in lengths]
        for i in range(size - sum(counts)):
            counts[i % len(counts)] += 1
        if 0 in counts:
            warnings.warn(
                lesson(f"random_split: {size} samples in parts of {lengths} leave a part empty"),
                stacklevel=3,
            )
        return counts
    if any(n != int(n) for n in lengths) or sum(lengths) != size:
        raise ArgumentError(
            lesson(
                f"random_split: the lengths {lengths} sum to {sum(lengths)}, "
                f"the dataset has {size} samples",
                fix="lengths that sum to len(dataset), or fractions that sum to 1",
            )
        )
    return [int(n) for n in lengths]
