"""Samplers: in which order the indices of a dataset are visited.

The samplers here also give a whole epoch at once, ``order(generator)``, as a pure function of the
generator's state: that is what makes an interrupted epoch resumable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.data.stream import generator_or_default, permutation, stream
from contraflow.tensor.tensor import Tensor

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
    "foreseen",
    "whole",
]

Order = np.ndarray[Any, Any]


def count(value: Any, name: str, fix: str) -> int:
    """A whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise DTypeError(lesson(f"{name} must be an integer, not {type(value).__name__}", fix=fix))
    if value <= 0:
        raise ArgumentError(lesson(f"{name} must be above 0, received {value}", fix=fix))
    return int(value)


def check_flag(value: Any, name: str) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise DTypeError(lesson(f"{name} must be True or False, not {value!r}", fix=f"{name}=True"))


class Sampler:
    """An order of indices: subclasses define ``__iter__`` (and ``__len__``, if it is known)."""

    def __init__(self, data_source: Any = None) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[Any]:
        raise DTypeError(
            lesson(
                f"{type(self).__name__} does not say which indices come next",
                fix="def __iter__(self): yield from indices",
            )
        )


class _Whole(Sampler):
    """A sampler that knows its whole epoch at once."""

    generator: Any = None

    def order(self, generator: Any) -> Order:
        """The indices of an epoch, int64; the generator moves on by one block."""
        return np.empty(0, np.int64)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.generator).tolist())


def whole(sampler: Any) -> bool:
    """Whether ``order`` tells what iterating gives (a subclass may iterate in another way)."""
    kind = type(sampler)
    return isinstance(sampler, _Whole) and kind.__iter__ is _Whole.__iter__


def foreseen(sampler: Any) -> bool:
    """Whether an epoch's indices can be had before its first batch without changing anything else:
    those of ``whole`` samplers and of plain lists of integers."""
    plain = type(sampler) in (list, tuple, range) and all(type(i) is int for i in sampler)
    return plain or whole(sampler)


class SequentialSampler(_Whole):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def order(self, generator: Any) -> Order:
        """0, 1, ..., n - 1; no randomness is used."""
        return np.arange(len(self.data_source))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(_Whole):
    """A fresh shuffle an epoch, or ``num_samples`` independent draws with ``replacement``.

    >>> import contraflow as cf
    >>> sampler = cf.data.RandomSampler(range(5), generator=cf.Generator().manual_seed(0))
    >>> sorted(sampler)
    [0, 1, 2, 3, 4]
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        check_flag(replacement, "replacement")
        generator_or_default(generator)
        self._samples = None if num_samples is None else count(num_samples, "num_samples", "100")

    @property
    def num_samples(self) -> int:
        """Indices an epoch."""
        return len(self.data_source) if self._samples is None else self._samples

    def order(self, generator: Any) -> Order:
        """Permutations of 0..n-1 one after the other, or independent draws."""
        draw, n, wanted = stream(generator), len(self.data_source), self.num_samples
        if n == 0:
            return np.empty(0, np.int64)
        if self.replacement:
            return draw.integers(0, n, size=wanted)
        if wanted <= n:
            return permutation(draw, n)[:wanted]
        return np.concatenate([permutation(draw, n) for _ in range(-(-wanted // n))])[:wanted]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(_Whole):
    """A fresh shuffle of the given indices an epoch."""

    def __init__(self, indices: Any, generator: Any = None) -> None:
        generator_or_default(generator)
        self.indices, self.generator = indices, generator
        self._indices = np.asarray(
            indices.tolist() if isinstance(indices, Tensor) else list(indices), np.int64
        )

    def order(self, generator: Any) -> Order:
        """The indices, shuffled."""
        return self._indices[permutation(stream(generator), len(self._indices))]

    def __len__(self) -> int:
        return len(self._indices)


class WeightedRandomSampler(_Whole):
    """Draws index i with a probability proportional to ``weights[i]``.

    Raises:
        ArgumentError: for weights that are negative, not finite or all 0, and for more samples
            without replacement than there are weights above 0.

    >>> import contraflow as cf
    >>> list(cf.data.WeightedRandomSampler([0.0, 1.0, 0.0], num_samples=3))
    [1, 1, 1]
    """

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None
    ) -> None:
        self.num_samples = count(num_samples, "num_samples", "num_samples=len(weights)")
        check_flag(replacement, "replacement")
        generator_or_default(generator)
        self.replacement, self.generator = replacement, generator
        self.weights = np.asarray(
            weights.tolist() if isinstance(weights, Tensor) else list(weights), np.float64
        )
        good = self.weights.ndim == 1 and np.isfinite(self.weights).all()
        if not good or (self.weights < 0).any() or not self.weights.sum() > 0:
            raise ArgumentError(
                lesson(
                    "weights must be a list of finite numbers >= 0 that are not all 0",
                    fix="weights = 1 / class_count[labels]",
                )
            )
        usable = np.count_nonzero(self.weights)
        if not replacement and self.num_samples > usable:
            raise ArgumentError(
                lesson(
                    f"{self.num_samples} samples without replacement, but only {usable} weights "
                    "are above 0",
                    fix=f"num_samples={usable}, or replacement=True",
                )
            )

    def order(self, generator: Any) -> Order:
        """Draws by the inverse of the distribution; without replacement after Efraimidis and
        Spirakis, "Weighted random sampling with a reservoir" (2006)."""
        draw = stream(generator)
        if self.replacement:
            ends = np.cumsum(self.weights)
            drawn = np.searchsorted(ends, draw.random(self.num_samples) * ends[-1], side="right")
            return np.minimum(drawn, np.flatnonzero(self.weights)[-1])
        with np.errstate(divide="ignore"):
            waiting = draw.standard_exponential(len(self.weights)) / self.weights
        return np.argsort(waiting, kind="stable")[: self.num_samples]

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Groups the indices of a sampler into lists of ``batch_size``.

    >>> import contraflow as cf
    >>> list(cf.data.BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        self.sampler = sampler
        self.batch_size = count(batch_size, "batch_size", "batch_size=32")
        check_flag(drop_last, "drop_last")
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[Any]]:
        batch = []
        for i in self.sampler:
            batch.append(i)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return full + (1 if rest and not self.drop_last else 0)
