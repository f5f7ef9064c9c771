"""The loader: batches of a dataset, gathered many at a time, and resumable in mid-epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, StateError, lesson
from contraflow.data.collate import default_collate, default_convert
from contraflow.data.dataset import IterableDataset, in_memory
from contraflow.data.sampler import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    check_flag,
    count,
    foreseen,
    whole,
)
from contraflow.data.stream import generator_or_default
from contraflow.tensor.create import tensor
from contraflow.tensor.rng import Generator
from contraflow.tensor.tensor import make

__all__ = ["DataLoader", "Gathering"]

BLOCK_BYTES = 1 << 20  # gathered at once: enough rows to hide Python, few enough for a cache
STATE_KEYS = {"batch_size", "generator", "position", "samples", "start"}


@dataclass
class Epoch:
    """Where one pass over the data stands."""

    position: int  # batches handed out
    start: list[int] | None = None  # the generator's state before the order was drawn
    samples: int | None = None  # of a sampler that knows its whole order


class Gathering:
    """What is left of an epoch over data in memory: batch ``i`` is the next ``sizes[i]`` of the
    ``rows`` of each array.

    Whoever gathers the batches says so with ``hand_out`` and ``finish``; the loader then stands
    where iterating would have brought it.
    """

    def __init__(
        self, loader: DataLoader, epoch: Epoch, arrays: list[Any], rows: Any, sizes: Any
    ) -> None:
        self.arrays, self.rows, self.sizes = arrays, rows, sizes
        self._loader, self._epoch = loader, epoch

    def hand_out(self, batches: int) -> None:
        """So many more batches were used."""
        self._epoch.position += batches
        self._loader._epoch = self._epoch

    def finish(self) -> None:
        """The epoch has ended."""
        self._loader._epoch = None


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
        num_workers: as ``prefetch_factor``, ``persistent_workers``, ``timeout``,
            ``worker_init_fn`` and ``multiprocessing_context``: accepted, checked and kept, so that
            PyTorch code runs. Batches are made in the training process and thread all the same:
            no process is started, and ``worker_init_fn`` is not called.
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
        self._epoch: Epoch | None = None  # the one that gave the last batch; None between epochs
        self._resume: Epoch | None = None  # loaded, and not yet continued

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
        epoch = resume or Epoch(0)
        self._epoch = epoch
        skip = epoch.position
        batches = self._streamed(skip) if self._streams else self._mapped(epoch, skip)
        return self._counted(epoch, batches)

    def gathering(self) -> Gathering | str:
        """Begin an epoch as ``iter`` does, for one who gathers the batches from memory himself;
        a text says why that cannot be, and then nothing has begun.

        >>> import contraflow as cf
        >>> data = cf.data.TensorDataset(cf.arange(5))
        >>> found = cf.data.DataLoader(data, batch_size=2).gathering()
        >>> found.rows.tolist(), found.sizes.tolist()
        ([0, 1, 2, 3, 4], [2, 2, 1])
        """
        groups = self.batch_sampler
        arrays = in_memory(self.dataset) if self._plain and not self._streams else None
        why = None
        if type(self).__iter__ is not DataLoader.__iter__:
            why = f"{type(self).__name__} has its own __iter__"
        elif not self._plain:
            why = "the loader has its own collate_fn"
        elif arrays is None:
            why = f"the samples of {type(self.dataset).__name__} are made one by one"
        elif type(groups) is not BatchSampler or not foreseen(self._indices()):
            why = f"{type(self._indices() or groups).__name__} says the order as it goes"
        if why is not None:
            return why
        epoch, self._resume = self._resume or Epoch(0), None
        self._epoch = epoch
        order = self._order(epoch)
        if not isinstance(order, np.ndarray):  # a list: nobody has looked at it yet
            order = check_order(np.asarray(order, np.int64), self.dataset)
        rows = np.asarray(self.dataset.rows(order), np.int64)
        size, skip = groups.batch_size, epoch.position
        full, rest = divmod(len(rows), size)
        sizes = np.full(full + (rest > 0 and not groups.drop_last), size)
        sizes[full:] = rest
        return Gathering(self, epoch, arrays or [], rows[skip * size :], sizes[skip:])

    def _counted(self, epoch: Epoch, batches: Iterator[Any]) -> Iterator[Any]:
        """Count what is handed out; the epoch ends when nothing is left."""
        for batch in batches:
            epoch.position += 1
            self._epoch = epoch
            yield batch
        self._epoch = None

    def _streamed(self, skip: int) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            return map(self.collate_fn, islice(samples, skip, None))
        return self._grouped(islice(samples, skip * self.batch_size, None), self.batch_size)

    def _grouped(self, samples: Iterator[Any], size: int) -> Iterator[Any]:
        while batch := list(islice(samples, size)):
            if len(batch) == size or not self.drop_last:
                yield self.collate_fn(batch)

    def _mapped(self, epoch: Epoch, skip: int) -> Iterator[Any]:
        arrays = in_memory(self.dataset) if self._plain else None
        groups = self.batch_sampler
        if groups is None or type(groups) is BatchSampler:
            order = self._order(epoch)
            known = isinstance(order, np.ndarray)
            if known and arrays is not None and groups is not None:
                return self._gathered(arrays, self.dataset.rows(order), groups, skip)
            order = order.tolist() if known else order
            if groups is None:
                return (self.collate_fn(self.dataset[i]) for i in islice(order, skip, None))
            groups = BatchSampler(order, groups.batch_size, groups.drop_last)
        lists = islice(iter(groups), skip, None)
        if arrays is not None:
            return (self._taken(arrays, indices) for indices in lists)
        return (self.collate_fn(self._fetch(list(i))) for i in lists)

    def _order(self, epoch: Epoch) -> Any:
        """The epoch's indices: drawn now, or drawn again as the interrupted epoch drew them."""
        sampler = self._indices()
        if not whole(sampler):
            return sampler
        if epoch.start is not None:
            order = sampler.order(Generator().set_state(tensor(epoch.start)))
        else:
            own = sampler.generator
            epoch.start = generator_or_default(own).get_state().tolist()
            order = sampler.order(own)
        epoch.samples = len(order)
        ours = type(sampler) in (RandomSampler, SequentialSampler)
        if ours and sampler.data_source is self.dataset:
            return order
        return check_order(order, self.dataset)

    def _taken(self, arrays: list[Any], indices: Any) -> list[Any]:
        """One batch at the indices of a batch sampler."""
        order = np.asarray(indices)
        if order.dtype.kind not in "iu":
            return self.collate_fn(self._fetch(list(indices)))
        rows = self.dataset.rows(check_order(order, self.dataset))
        return [make(a.take(rows, axis=0)) for a in arrays]

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
            shaped = [t.reshape(len(t) // size, size, *t.shape[1:]) for t in taken]
            yield from map(list, zip(*(map(make, t) for t in shaped), strict=True))
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
        epoch, own = self._resume or self._epoch, self._own_generator()
        return {
            "position": None if epoch is None else epoch.position,
            "start": None if epoch is None else epoch.start,
            "samples": None if epoch is None else epoch.samples,
            "batch_size": self._batch_size(),
            "generator": None if own is None else own.get_state().tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state: the next epoch yields the batches that were left.

        Raises:
            StateError: if the state belongs to another kind of loader or number of samples.
        """
        check_state(state)
        here = {"samples": self._epoch_samples(), "batch_size": self._batch_size()}
        for what, known in here.items():
            found = state[what]
            if known is not None and found is not None and known != found:
                raise StateError(
                    lesson(
                        f"the state is of an epoch with {what} {found}, this loader has {known}",
                        fix="make the loader over the same dataset with the same arguments",
                    )
                )
        own = self._own_generator()
        if state["generator"] is not None and own is not None:
            own.set_state(tensor(state["generator"]))
        self._epoch, self._resume = None, None
        if state["position"] is not None:
            self._resume = Epoch(state["position"], state["start"], state["samples"])

    def _indices(self) -> Any:
        """Where single indices come from (a custom batch sampler has no such thing)."""
        if type(self.batch_sampler) is BatchSampler:
            return self.batch_sampler.sampler
        return self.sampler if self.batch_sampler is None else None

    def _own_generator(self) -> Generator | None:
        own = getattr(self._indices(), "generator", None)
        return own if isinstance(own, Generator) else None

    def _epoch_samples(self) -> int | None:
        return len(self._indices()) if whole(self._indices()) else None

    def _batch_size(self) -> int | None:
        size = getattr(self.batch_sampler, "batch_size", self.batch_size)
        return size if type(size) is int else None


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
    if shuffle is not None:
        check_flag(shuffle, "shuffle")
    check_flag(drop_last, "drop_last")


def check_order(order: Any, dataset: Any) -> Any:
    """Indices that the dataset has, checked once an epoch (negative ones count from the end)."""
    size = len(dataset)
    if order.dtype == np.int64 and len(order) and order.view(np.uint64).max() < size:
        return order  # as unsigned numbers, negative ones are large
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
        counts = (state[name] for name in ("position", "samples", "batch_size"))
        good = all(n is None or (type(n) is int and n >= 0) for n in counts)
        for pair in (state["start"], state["generator"]):
            good = good and (pair is None or generator_state(pair))
    if not good:
        raise StateError(
            lesson(
                "this is not the state of a DataLoader",
                [("keys", sorted(state, key=str) if isinstance(state, dict) else type(state))],
                "loader.load_state_dict(other_loader.state_dict())",
            )
        )


def generator_state(pair: Any) -> bool:
    """Whether this is the state of a generator: a seed and a position, 64 bits each."""
    return (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(type(n) is int and -(2**63) <= n < 2**63 for n in pair)
    )
