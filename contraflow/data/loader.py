"""The loader: batches of a dataset, gathered many at a time, and resumable in mid-epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, DTypeError, StateError, lesson
from contraflow.data.collate import default_collate, default_convert
from contraflow.data.dataset import IterableDataset, in_memory
from contraflow.data.sampler import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    count,
)
from contraflow.data.stream import generator_or_default
from contraflow.tensor.create import tensor
from contraflow.tensor.rng import Generator
from contraflow.tensor.tensor import make

__all__ = ["DataLoader"]

BLOCK_BYTES = 1 << 20  # gathered at once: enough rows to hide Python, few enough for a cache
STATE_KEYS = {"generator", "position", "samples", "start"}


class DataLoader:
    """Iterates over a dataset in batches.

    In-memory data (a ``TensorDataset``, also behind ``Subset`` and ``random_split``) is gathered
    many batches at a time with one ``take`` a tensor; a batch is a piece of that copy.

    Args:
        dataset: map style (``__getitem__``, ``__len__``) or an ``IterableDataset``.
        batch_size: samples a batch: 1 is stochastic gradient descent, ``len(dataset)`` batch
            gradient descent. None yields the samples themselves.
        shuffle: visit the samples in a fresh random order every epoch.
        sampler: an order of indices, instead of ``shuffle``.
        batch_sampler: an order of lists of indices, instead of batch_size, shuffle and drop_last.
        collate_fn: makes a batch from a list of samples.
        drop_last: leave out a last batch that is not full.
        generator: draws the order; None is the generator that ``cf.manual_seed`` seeds.
        num_workers, prefetch_factor, persistent_workers, timeout, worker_init_fn,
        multiprocessing_context: accepted, checked and kept, so that PyTorch code runs. Batches
            are made in the training process and thread all the same: no process is started, and
            ``worker_init_fn`` is not called.
        pin_memory, pin_memory_device, in_order: accepted; there is no other memory to pin for.

    Raises:
        ArgumentError: for arguments that exclude each other.

    >>> import contraflow as cf
    >>> data = cf.data.TensorDataset(cf.arange(5), cf.arange(5) * 10)
    >>> for x, y in cf.data.DataLoader(data, batch_size=2):
    ...     print(x.tolist(), y.tolist())
    [0, 1] [0, 10]
    [2, 3] [20, 30]
    [4] [40]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 0:
            raise ArgumentError(lesson(f"num_workers must be >= 0, received {num_workers!r}"))
        if timeout < 0:
            raise ArgumentError(lesson(f"timeout must be >= 0, received {timeout!r}"))
        if generator is not None:
            generator_or_default(generator)
        self.dataset, self.generator, self.drop_last = dataset, generator, drop_last
        self.num_workers, self.prefetch_factor, self.timeout = num_workers, prefetch_factor, timeout
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.persistent_workers, self.worker_init_fn = persistent_workers, worker_init_fn
        self.multiprocessing_context, self.in_order = multiprocessing_context, in_order
        self._streams = isinstance(dataset, IterableDataset)
        check_arguments(self._streams, batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.batch_size = None if batch_sampler is not None else batch_size
        if sampler is None and not self._streams:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else None
            sampler = SequentialSampler(dataset) if sampler is None else sampler
        if batch_size is not None and batch_sampler is None:
            count(batch_size, "batch_size", "batch_size=32")
            if not self._streams:
                batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self._plain = collate_fn is None
        batched = batch_sampler is not None or batch_size is not None
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)
        self._start: list[int] | None = None  # the generator's state before the epoch's draw
        self._position: int | None = None  # batches handed out; None between epochs
        self._samples: int | None = None
        self._resume: dict[str, Any] | None = None

    # ---- one epoch -------------------------------------------------------------------------

    def __len__(self) -> int:
        """Batches an epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        if not self._streams:
            return len(self.sampler)
        if self.batch_size is None:
            return len(self.dataset)
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[Any]:
        resume, self._resume = self._resume, None
        skip = 0 if resume is None else resume["position"]
        self._position, self._samples = skip, None
        batches = self._streamed(skip) if self._streams else self._mapped(resume, skip)
        return self._counted(batches)

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Count what is handed out; the epoch ends when nothing is left."""
        for batch in batches:
            self._position += 1  # type: ignore[operator]
            yield batch
        self._position = None

    def _streamed(self, skip: int) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            return map(self.collate_fn, islice(samples, skip, None))
        return self._grouped(islice(samples, skip * self.batch_size, None), self.batch_size)

    def _grouped(self, samples: Iterator[Any], size: int) -> Iterator[Any]:
        while batch := list(islice(samples, size)):
            if len(batch) == size or not self.drop_last:
                yield self.collate_fn(batch)

    def _mapped(self, resume: dict[str, Any] | None, skip: int) -> Iterator[Any]:
        arrays = in_memory(self.dataset) if self._plain else None
        groups = self.batch_sampler
        whole = groups.sampler if type(groups) is BatchSampler else self.sampler
        if groups is None or type(groups) is BatchSampler:
            order = self._order(whole, resume)
            known = isinstance(order, np.ndarray)
            if known and arrays is not None and groups is not None:
                return self._gathered(arrays, self.dataset.rows(order), groups, skip)
            order = order.tolist() if known else order
            if groups is None:
                return (self.collate_fn(self.dataset[i]) for i in islice(order, skip, None))
            groups = BatchSampler(order, groups.batch_size, groups.drop_last)
        lists = islice(iter(groups), skip, None)
        if arrays is not None:
            rows = self.dataset.rows
            return ([make(a.take(rows(np.asarray(i)), axis=0)) for a in arrays] for i in lists)
        return (self.collate_fn(self._fetch(list(i))) for i in lists)

    def _order(self, sampler: Any, resume: dict[str, Any] | None) -> Any:
        """The epoch's indices: drawn now, or drawn again as the interrupted epoch drew them."""
        if not hasattr(sampler, "order"):
            self._start = None
            return sampler
        own = getattr(sampler, "generator", None)
        if resume is not None and resume["start"] is not None:
            self._start = list(resume["start"])
            order = sampler.order(Generator().set_state(tensor(self._start)))
        else:
            self._start = generator_or_default(own).get_state().tolist()
            order = sampler.order(own)
        self._samples = len(order)
        return check_order(order, self.dataset)

    def _gathered(
        self, arrays: list[Any], rows: Any, groups: BatchSampler, skip: int
    ) -> Iterator[Any]:
        """Batches as views of blocks: one ``take`` a tensor for many batches."""
        size = groups.batch_size
        row_bytes = sum(a.nbytes // max(len(a), 1) for a in arrays)
        block = size * max(1, BLOCK_BYTES // max(row_bytes * size, 1))
        full = len(rows) // size * size
        for begin in range(skip * size, full, block):
            chosen = rows[begin : min(begin + block, full)]
            taken = [a.take(chosen, axis=0) for a in arrays]
            shaped = [t.reshape(-1, size, *t.shape[1:]) for t in taken]
            for parts in zip(*shaped, strict=True):
                yield [make(part) for part in parts]
        if full < len(rows) and not groups.drop_last and skip * size < len(rows):
            yield [make(a.take(rows[full:], axis=0)) for a in arrays]

    def _fetch(self, indices: list[Any]) -> Any:
        many = getattr(self.dataset, "__getitems__", None)
        return many(indices) if callable(many) else [self.dataset[i] for i in indices]

    # ---- state -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: what follows is exactly the rest of the epoch.

        ``start`` is the generator's state from which the epoch's order was drawn, ``position`` the
        number of batches handed out. ``generator`` is the loader's own generator, for the epochs
        after this one; a loader on the default generator relies on ``cf.get_rng_state()`` there.
        A sampler or a stream of your own is asked again, and the batches already seen are skipped.

        >>> import contraflow as cf
        >>> data = cf.data.TensorDataset(cf.arange(6))
        >>> loader = cf.data.DataLoader(data, batch_size=2, shuffle=True)
        >>> epoch = iter(loader)
        >>> _ = next(epoch)
        >>> again = cf.data.DataLoader(data, batch_size=2, shuffle=True)
        >>> again.load_state_dict(loader.state_dict())
        >>> [x.tolist() for (x,) in again] == [x.tolist() for (x,) in epoch]
        True
        """
        if self._resume is not None:
            return dict(self._resume)
        own = self._own_generator()
        return {
            "position": self._position,
            "start": None if self._position is None else self._start,
            "samples": None if self._position is None else self._samples,
            "generator": None if own is None else own.get_state().tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state: the next epoch yields the batches that were left.

        Raises:
            StateError: if the state belongs to another kind of loader or number of samples.
        """
        check_state(state)
        samples, position = state["samples"], state["position"]
        here = self._epoch_samples()
        if samples is not None and here is not None and samples != here:
            raise StateError(
                lesson(
                    f"the state is of an epoch of {samples} samples, this loader has {here}",
                    fix="make the loader over the same dataset first",
                )
            )
        own = self._own_generator()
        if state["generator"] is not None and own is not None:
            own.set_state(tensor(state["generator"]))
        self._resume = None if position is None else dict(state)
        self._position = None

    def _own_generator(self) -> Any:
        whole = self.batch_sampler.sampler if type(self.batch_sampler) is BatchSampler else None
        return getattr(whole if whole is not None else self.sampler, "generator", None)

    def _epoch_samples(self) -> int | None:
        whole = self.batch_sampler.sampler if type(self.batch_sampler) is BatchSampler else None
        whole = self.sampler if whole is None else whole
        return len(whole) if hasattr(whole, "order") else None


def check_arguments(
    streams: bool, batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: Any
) -> None:
    """Arguments that exclude each other, as in PyTorch."""
    clash = None
    if streams and (shuffle or sampler is not None or batch_sampler is not None):
        clash = "a stream (IterableDataset) has its own order: no shuffle, sampler, batch_sampler"
    elif sampler is not None and shuffle:
        clash = "sampler and shuffle=True exclude each other"
    elif batch_sampler is not None and (
        batch_size != 1 or shuffle or sampler is not None or drop_last
    ):
        clash = "batch_sampler excludes batch_size, shuffle, sampler and drop_last"
    elif batch_size is None and drop_last:
        clash = "batch_size=None yields single samples: there is no last batch to drop"
    if clash:
        raise ArgumentError(lesson(f"DataLoader: {clash}", fix="leave one of them out"))
    if shuffle is not None and not isinstance(shuffle, bool):
        raise DTypeError(lesson(f"shuffle must be True or False, not {shuffle!r}"))


def check_order(order: Any, dataset: Any) -> Any:
    """Indices that the dataset has, checked once an epoch (negative ones count from the end)."""
    size = len(dataset)
    if len(order) and not (-size <= int(order.min()) and int(order.max()) < size):
        raise ArgumentError(
            lesson(
                f"the sampler gives indices {int(order.min())}..{int(order.max())}, "
                f"the dataset has {size} samples",
                fix="0 <= index < len(dataset)",
            )
        )
    return order


def check_state(state: Any) -> None:
    """A state that ``state_dict`` could have given."""
    good = isinstance(state, dict) and set(state) == STATE_KEYS
    if good:
        position, samples = state["position"], state["samples"]
        good = all(n is None or (type(n) is int and n >= 0) for n in (position, samples))
        for pair in (state["start"], state["generator"]):
            good = good and (pair is None or (len(pair) == 2 and all(type(n) is int for n in pair)))
    if not good:
        raise StateError(
            lesson(
                "this is not the state of a DataLoader",
                [("keys", sorted(state) if isinstance(state, dict) else type(state).__name__)],
                "loader.load_state_dict(other_loader.state_dict())",
            )
        )
