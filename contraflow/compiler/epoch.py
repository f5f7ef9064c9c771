"""Whole epochs: the loop over the batches of data in memory, in native code as well.

The loop (``looping``) copies the rows of each batch into the step's arguments, asks the guard
whether the labels are in range, says where the results go, and calls the step. It is called for as
many batches as take about ``PIECE`` seconds; in between Python looks for Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import length_hint
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from contraflow.base.errors import CaptureError, IndexOutOfRange, lesson
from contraflow.base.interrupts import interrupts_wait
from contraflow.base.modes import at_once, capturing
from contraflow.base.tree import map_tree
from contraflow.capture.step import Hole
from contraflow.compiler.address import address_of
from contraflow.compiler.driver import MEETING_BYTES, YIELD
from contraflow.compiler.looping import DONE, WORDS, looping
from contraflow.compiler.loops import Opaque
from contraflow.compiler.pool import pool, settle, yielding
from contraflow.compiler.results import HOLE, Results
from contraflow.tensor.anomaly import anomaly
from contraflow.tensor.tensor import Tensor, make

if TYPE_CHECKING:
    from contraflow.compiler.step import Compiled
    from contraflow.compiler.version import Version

__all__ = ["Epoch", "Loop", "plan_of", "run_epoch"]

Array = np.ndarray[Any, Any]
Progress = Callable[[int, Any], None]
PIECE = 0.03  # seconds between two looks at what Python has to do
COPIED = 8  # so many times longer are pieces that can be undone: the state is copied before each


def run_epoch(step: Compiled, batches: Any, progress: Progress | None) -> Any:
    """``step(*batch)`` for every batch; see ``Compiled.epoch``."""
    if capturing():
        raise CaptureError(
            lesson(
                "an epoch is many calls of a step: it cannot be a part of another compiled step",
                fix="call step.epoch(loader) from plain Python",
            )
        )
    plan = plan_of(batches)
    epoch = Epoch(step, length_hint(batches, 0) if isinstance(plan, str) else len(plan.sizes))
    results = epoch.results
    done, reported, since = 0, 0, perf_counter()
    for count in epoch.pieces(batches, plan):
        done += count
        if progress is not None and perf_counter() - since >= PIECE / 2:
            progress(done, results.stacked())
            reported, since = done, perf_counter()
    if progress is not None and reported < done:
        progress(done, results.stacked())
    step.last_epoch = epoch.report()
    return results.stacked()


def plan_of(batches: Any) -> Any:
    """Begin an epoch over data in memory (see ``DataLoader.gathering``); a text says why the
    batches have to be asked for one by one."""
    begin = getattr(type(batches), "gathering", None)
    return begin(batches) if begin else f"{type(batches).__name__} hands out batches one by one"


class Epoch:
    """One pass over the data; what happened is counted for ``explain``.

    Args:
        step: what is called for each batch; room: rows of results to make room for.
        accept: says how many of the first rows of a piece may stay. If not all, the piece is
            undone and goes only so far; the batch that comes then is given to ``instead``.
        serves: says whether the step shall be called for a batch at all, and for those like it
            that follow; otherwise it is given to ``instead``.
    """

    def __init__(
        self, step: Compiled, room: int, accept: Callable[[Results], int] | None = None,
        instead: Callable[[list[Any]], Any] | None = None,
        serves: Callable[[list[Any]], bool] | None = None,
    ) -> None:  # fmt: skip
        self.step, self.results = step, Results(room)
        self.accept, self.instead, self.serves = accept, instead, serves
        self.batches = self.calls = 0
        self.reasons: dict[str, int] = {}

    def pieces(self, batches: Any, plan: Any) -> Iterator[int]:
        """Go through the batches; gives the number of those that were done, piece by piece."""
        return self.one_by_one(batches, plan) if isinstance(plan, str) else self.gathered(plan)

    def report(self) -> str:
        """How the batches went through."""
        text = f"the last epoch: {self.batches} batches"
        if self.calls:
            text += f" in {self.calls} native loops"
        for why, count in self.reasons.items():
            text += f", {count} as calls of their own because {why}"
        return text

    # ---- one by one ------------------------------------------------------------------------------

    def one_by_one(self, batches: Any, why: str) -> Iterator[int]:
        """The loop as one writes it."""
        left = iter(batches)
        while True:
            with interrupts_wait(), at_once():
                try:
                    batch = next(left)
                except StopIteration:
                    return
                self.single(list(batch) if isinstance(batch, list | tuple) else [batch], why)
            yield 1

    def single(self, batch: list[Any], why: str) -> None:
        """One call of the step."""
        if self.serves is not None and not self.serves(batch):
            self.again(batch)
            return
        kept = None
        if self.accept is not None:
            kept = Kept(*self.step.version_for(tuple(batch), {}, []))
        self.results.add(self.step(*batch))
        self.batches += 1
        self.reasons[why] = self.reasons.get(why, 0) + 1
        if kept is not None and self.good(kept, 1) < 1:
            self.again(batch)

    # ---- undone ----------------------------------------------------------------------------------

    def good(self, kept: Kept, rows: int) -> int:
        """How many of the last rows may stay; if not all may, everything is as before them."""
        good = rows if self.accept is None else self.accept(self.results)
        if good < rows:
            kept.restore()
            self.results.drop(rows)
            self.batches -= rows
        return good

    def again(self, batch: list[Any]) -> None:
        """A batch of a piece that was undone, or that the step is not called for."""
        if self.instead is not None:
            self.instead(batch)

    # ---- from memory -----------------------------------------------------------------------------

    def gathered(self, plan: Any) -> Iterator[int]:
        """Batches that are rows of arrays; runs of equally large ones go through the same code."""
        source = Source(plan.arrays, plan.rows)
        changes = (plan.sizes[1:] != plan.sizes[:-1]).nonzero()[0] + 1
        ends = [*changes.tolist(), len(plan.sizes)] if len(plan.sizes) else []
        first = 0
        for end in ends:
            size = int(plan.sizes[first])
            while first < end:
                with interrupts_wait(), at_once():
                    count = self.piece(source, size, end - first, plan)
                first += count
                yield count
        plan.finish()

    def piece(self, source: Source, size: int, batches: int, plan: Any) -> int:
        """As many of the next batches as fit into a piece, at least one."""
        given = source.first(size)
        if self.serves is not None and not self.serves(given):
            return self.left(source, size, plan)
        version, held = self.step.version_for(tuple(given), {}, [])
        if version.loop is None:
            version.loop = Loop(version)
        loop, done = version.loop, 0
        why = loop.why or strided(version, held)
        if why is None:
            kept = None if self.accept is None else Kept(version, held)
            batches = loop.batches(batches, 1 if kept is None else COPIED)
            segment = self.results.segment(loop.tree, loop.avals, batches)
            try:
                loop.run(given, held, source, segment.next_rows(), batches)
            finally:
                done = loop.done
                plan.hand_out(done)
                segment.count += done
                self.batches += done
                self.calls += done > 0
            if kept is not None and done and (good := self.good(kept, done)) < done:
                plan.hand_out(-done)
                return (
                    self.piece(source, size, good, plan) if good else self.left(source, size, plan)
                )
            why = "a label or an index in them is out of range"
        if not done:  # a call of its own, which also says what is wrong
            plan.hand_out(1)
            self.single(given, why)
            done = 1
        source.at += done * size
        return done

    def left(self, source: Source, size: int, plan: Any) -> int:
        """The next batch, given to ``instead``."""
        plan.hand_out(1)
        self.again(source.first(size))
        source.at += size
        return 1


class Kept:
    """What a version writes, as it was before."""

    def __init__(self, version: Version, held: list[Any]) -> None:
        arrays = [t._value for t, written in zip(held, version.writes, strict=True) if written]
        self.pairs = [(array, array.copy()) for array in arrays]

    def restore(self) -> None:
        """Put it back."""
        for array, copy in self.pairs:
            np.copyto(array, copy)


class Source:
    """Arrays in memory, and the rows of them that are left."""

    def __init__(self, arrays: list[Array], rows: Array) -> None:
        self.arrays = [a if _has_whole_rows(a) else np.ascontiguousarray(a) for a in arrays]
        size = min(map(len, arrays), default=0)
        self.rows, self.at = np.ascontiguousarray(rows), 0
        if not len(rows) or self.rows.view(np.uint64).max() < size:
            return  # as unsigned numbers, negative ones are large
        first, last = int(rows.min()), int(rows.max())
        if -size <= first < 0:
            self.rows = np.where(rows < 0, rows + size, rows)
        if not (-size <= first and last < size):
            raise IndexOutOfRange(
                lesson(
                    f"the batches consist of rows {first}..{last}, the data have {size} rows",
                    fix="leave the data as they are while an epoch runs",
                )
            )

    def first(self, size: int) -> list[Tensor]:
        """The next batch, in memory of its own."""
        rows = self.rows[self.at : self.at + size]
        return [make(a.take(rows, axis=0)) for a in self.arrays]


def _has_whole_rows(a: Array) -> bool:
    """Whether each row is one piece of memory."""
    return bool(a[:1].flags.c_contiguous)


# ---- the loop around a version -------------------------------------------------------------------


class Loop:
    """The native loop over batches around one version of a step.

    Attributes:
        why: the reason why there can be none, or None.
        pace: batches that take about ``PIECE`` seconds; done: those of the last call.
        tree, avals: what the step returns.
    """

    def __init__(self, version: Version) -> None:
        self.version, self.pace, self.done = version, 1, 0
        self.why = obstacle(version)
        self.returned = version.returned
        self.tree = map_tree(
            lambda leaf: HOLE if isinstance(leaf, Hole) else leaf, version.captured.tree
        )
        self.avals = [(o.shape, np.dtype(o.dtype)) for o in self.returned]
        self.meeting = np.zeros(MEETING_BYTES // 8, np.int64)
        self.meeting[YIELD // 8] = yielding()

    def run(self, given: list[Tensor], held: list[Any], source: Source, rows: list[Array],
            batches: int) -> None:  # fmt: skip
        """Go through batches; ``done`` counts them, however it ends. It stays behind ``batches`` if
        a label is out of range in the next one.

        Args:
            given: the arguments, with the first batch in them; held: what the step reads besides.
            rows: where the results go, one row a batch.
        """
        version, self.done = self.version, 0
        with version.lock:
            version.place(given)
            block = self.block(given, source, rows, batches)
            try:
                self.call(block, batches)
            finally:
                self.done = int(block[DONE])
                for output in self.returned:
                    output.point()
                if self.done:
                    version.leave(given)

    def call(self, block: Array, batches: int) -> None:
        """Run the loop, on as many threads as are best for the step."""
        address, alone, _ = looping()
        words, start, pace = address_of(block), perf_counter(), self.version.native.pace

        def run(threads: int) -> None:
            if threads == 1:
                alone(words, 0, 1)
            else:
                pool().run(address, words, threads)
                settle(words)

        if pace is None:
            run(1)
        else:
            pace(run, batches)
        self.set_pace(int(block[DONE]), perf_counter() - start)

    def set_pace(self, done: int, seconds: float) -> None:
        """Do as many batches at a time as the last ones suggest, growing step by step."""
        fitting = int(done * PIECE / max(seconds, 1e-9))
        self.pace = max(1, min(fitting, 16 * done))

    def batches(self, left: int, times: int) -> int:
        """How many to do next, for so many times ``PIECE``: few, when it is tried what number of
        threads is best."""
        pace = self.version.native.pace
        trying = pace is not None and bool(pace.trials)
        return min(left, times * (max(1, self.pace // 16) if trying else self.pace))

    def block(self, given: list[Tensor], source: Source, rows: list[Array], batches: int) -> Array:
        """The words that the loop reads."""
        version = self.version
        native, watcher = version.native, version.watcher
        words: dict[str, int] = dict.fromkeys(WORDS, 0)
        words["batches"], words["size"] = batches, len(given[0]._value)
        words["rows.first"] = address_of(source.rows) + source.at * source.rows.itemsize
        words["step"], words["table"] = native.library["step"], native.address
        if watcher is not None:
            words["guard"], words["guard.table"] = watcher.library["step"], watcher.address
            words["alarm"] = address_of(version.alarm)
        words["meeting"] = address_of(self.meeting)
        words["argument.count"], words["result.count"] = len(given), len(rows)
        found = list(words.values())
        for t, array in zip(given, source.arrays, strict=True):
            value = t._value
            width = value.nbytes // len(value)
            found += [address_of(array), array.strides[0], width, address_of(value)]
        for output, array in zip(self.returned, rows, strict=True):
            slot = native.address + 8 * native.slots[output.buffer]
            found += [slot, address_of(array), output.array.nbytes]
        return np.array(found, np.int64)


def obstacle(version: Version) -> str | None:
    """Why a version cannot run many batches in one native call; None if it can."""
    for native in (version.native, version.watcher):
        opaque = [] if native is None else [p for p in native.parts if isinstance(p, Opaque)]
        if opaque:
            return f"{opaque[0].op.name} is left to NumPy"
        if native is not None and len(native.parts) != 1:
            return "it computes nothing"
    if not version.arguments:
        return "it takes nothing of a batch"
    captured = version.captured
    left = {id(tensor) for tensor, position in captured.grads if position is not None}
    if version.fixed is None or left & set(map(id, captured.without_grad)):
        return "it adds to the gradients of the call before"
    if not version.owned:
        return "it leaves gradients of its arguments"
    return None


def strided(version: Version, held: list[Any]) -> str | None:
    """Why state must be copied in and out for every call; None if it is used where it lies."""
    if version.check_finite or anomaly.on:
        return "each of them is looked at for NaN"
    for t, written in zip(held, version.writes, strict=True):
        flags = t._value.flags
        if not flags.c_contiguous or (written and not flags.writeable):
            return "a tensor that it writes or reads is not contiguous"
    return None
