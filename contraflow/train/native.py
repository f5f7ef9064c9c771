"""``fit``'s steps as native calls, and pieces of epochs as native loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, ContraflowError, lesson
from contraflow.base.modes import current
from contraflow.base.tree import map_tree
from contraflow.compiler.epoch import Epoch, plan_of
from contraflow.compiler.llvm import binding
from contraflow.compiler.step import Compiled, signature
from contraflow.nn.parameter import is_lazy
from contraflow.nn.pure import code_of, ours
from contraflow.optim.lbfgs import LBFGS
from contraflow.tensor.anomaly import anomaly
from contraflow.tensor.tensor import Tensor, make
from contraflow.train.callbacks import Callback, ClipGradNorm, ClipGradValue, Schedule, changed
from contraflow.train.run import unpack
from contraflow.train.step import losses
from contraflow.train.together import Together
from contraflow.train.worth import PLAIN, facts_of

__all__ = ["NativeSteps", "objection", "obstacle"]

OWN = f"{__name__.partition('.')[0]}."
CLIPS = (ClipGradNorm, ClipGradValue)  # compute with tensors only: a part of the native step


class NativeSteps:
    """The step of a run: forward, loss, backward, clipping and update in one native call.

    Before each call the state is copied. If a loss is not finite the copy comes back, the steps
    before are made again, and this one is made with ``eager``, which says where and why.

    Args:
        run: the run; saver: its checkpoints, or None.
        eager: does a step of a group of batches without native code.

    Attributes:
        uneventful: nothing has to be done in Python between two batches of an epoch.

    Raises:
        ArgumentError: if something has to look at the gradients in the middle of a step.
    """

    def __init__(self, run: Any, saver: Any, eager: Callable[[list[Any]], None]) -> None:
        why = obstacle(run.optimizer, run.callbacks)
        if why is not None:
            rule = f"fit: {why}, and a native step does not stop for it"
            raise ArgumentError(lesson(rule, fix="leave out compile=True"))
        self.run, self.eager = run, eager
        self.uneventful = (
            hasattr(type(run.data), "gathering")
            and run.augment is None
            and run.accumulate == 1
            and (saver is None or saver.every_steps is None)
            and not any(map(wants_batches, run.callbacks))
            and all(metric.update.__module__.startswith(OWN) for metric in run.metrics)
        )
        # what the code of model and loss depends on: names with their values
        self.code = [] if run.choice.asked else code_of_parts(run)
        self.steps: dict[int, Compiled] = {}
        self.of_width(0)

    def of_width(self, width: int) -> None:
        """Steps over batches of so many items come next; 0: all items are of one batch."""
        self.width = width
        self.step = self.steps.setdefault(width, Compiled(self.plain))

    # ---- whether it is worth it ------------------------------------------------------------------

    def serves(self, batch: list[Any]) -> bool:
        """Whether the step over a batch is native; it is compiled then."""
        choice, step = self.run.choice, self.step
        if any(map(is_lazy, self.run.model.parameters())):
            choice.why = "a parameter had no shape yet"
            return False
        if choice.asked:
            return True
        if choice.over:
            return False
        given: list[Tensor] = []
        key = signature(tuple(batch), {}, given, current())
        if step.found(tuple(key), given) is not None:
            return True
        if not choice.counts(batch):
            return False
        why = objection(self.run)
        if why is not None:
            choice.why = why
            return False
        if not choice.takes(facts_of(self.run)):
            return False
        try:
            step.version_for(tuple(batch), {}, [])
        except ContraflowError as error:  # nothing has changed: eager does it, or says it better
            choice.never(batch, str(error).partition("\n")[0])
            return False
        return True

    def look_around(self, width: int) -> None:
        """Before steps over batches of ``width`` items: is everything as the code was read?"""
        for space, name, value in self.code:
            now = space.get(name)
            if now is not value and not (type(now) is type(value) in PLAIN and now == value):
                self.run.choice.end(f"{name}, which the model or the loss reads, was changed")
        self.of_width(width)

    # ---- what is compiled ----------------------------------------------------------------------

    def plain(self, *items: Any) -> list[tuple[Any, ...]]:
        """A step over the batches that the items form: for each its loss, the weight of that, and
        what the metrics look at."""
        run, width = self.run, self.width or len(items)
        parts = [items[k : k + width] for k in range(0, len(items), width)]
        found = []
        for _, value, weight, _, prediction, target in losses(run, list(map(unpack, parts))):
            seen = (map_tree(detached, prediction), target) if run.metrics else (None, None)
            found.append((value.detach(), weight, *seen))
        run.call("before_step")
        run.optimizer.step()
        return found

    # ---- running it ----------------------------------------------------------------------------

    def take(self, group: list[Any]) -> None:
        """A step over a group of batches."""
        widths = {len(unpack(batch)[0]) + 1 for batch in group}
        if len(widths) > 1:
            self.run.choice.why = "batches of several forms in one step"
            self.eager(group)
            return
        self.look_around(widths.pop())
        epoch = Epoch(self.step, 1, finite, lambda _: self.eager(group), self.serves)
        epoch.single([item for batch in group for item in batch], "each is a step of its own")
        self.count(epoch.results, 1)

    def pieces(self) -> Iterator[int]:
        """What is left of the epoch, piece by piece; gives the number of steps of each."""
        run = self.run
        run.start_clock()
        plan = plan_of(run.data)
        self.look_around(0 if isinstance(plan, str) else len(plan.arrays))
        epoch = Epoch(self.step, 1, finite, lambda batch: self.eager([batch]), self.serves)
        for done in epoch.pieces(run.data, plan):
            self.count(epoch.results, done)
            epoch.results.clear()
            yield done
        self.step.last_epoch = epoch.report()

    def count(self, results: Any, steps: int) -> None:
        """Put the losses into the meter of the run, and show the metrics what they look at."""
        parts = results.stacked()
        if parts is None:  # eager steps have counted already
            return
        self.run.choice.steps += steps
        meter = self.run.meter
        if not self.run.metrics:
            for losses_of, weight, _, _ in parts:
                meter.take_losses(losses_of._value.tolist(), weight)
            return
        for k in range(steps):
            for losses_of, weight, prediction, target in parts:
                seen = map_tree(lambda leaf, k=k: row(leaf, k), (prediction, target))
                meter.take(float(losses_of._value[k]), weight, *seen)


def row(leaf: Any, k: int) -> Any:
    return make(leaf._value[k]) if isinstance(leaf, Tensor) else leaf


def detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def finite(results: Any) -> int:
    """How many of the first steps have losses that are finite."""
    good = np.all([np.isfinite(part[0]._value) for part in results.stacked()], axis=0)
    return len(good) if good.all() else int(good.argmin())


def obstacle(optimizer: Any, callbacks: list[Callback]) -> str | None:
    """What has to look at numbers in the middle of a step, so that it cannot be one native call."""
    if isinstance(optimizer, LBFGS):
        return "LBFGS calls the model again until a line search is content"
    looks = next((c for c in callbacks if changed(c, "before_step", CLIPS)), None)
    if looks is not None:
        return f"{type(looks).__name__}.before_step looks at the gradients of every step"
    return None


def objection(run: Any) -> str | None:
    """Why the steps of a run had better stay in Python, when it was not said what they shall be."""
    if binding is None:
        return "llvmlite is not installed"
    why = obstacle(run.optimizer, run.callbacks)
    if why is not None:
        return why
    if run.choice.over:
        return run.choice.why
    if anomaly.on:
        return "anomaly detection looks at every op"
    if run.choice.short():
        return f"a run of {run.choice.planned} steps is too short to repay compiling"
    if not is_own(run.optimizer):
        return f"{type(run.optimizer).__name__}.step may do more than compute"
    for name in ("model", "loss"):
        part = getattr(run, name)
        if code_of(part) is None:
            shown = getattr(part, "__name__", type(part).__name__)
            return f"{shown}, the {name}, may do more than compute"
        if hasattr(part, "parameters") and any(p._hooks for p in part.parameters()):
            return f"a parameter of the {name} has a hook"
    return None


def is_own(optimizer: Any) -> bool:
    """Whether an optimiser's step is this package's own and nothing else."""
    if optimizer._step_pre_hooks or optimizer._step_post_hooks or "step" in vars(optimizer):
        return False
    parts = optimizer.optimizers if isinstance(optimizer, Together) else ()
    return ours(type(optimizer)) and all(map(is_own, parts))


def code_of_parts(run: Any) -> list[Any]:
    """What the code of model and loss depends on; attributes are seen by the step's guards."""
    parts = run.model, run.loss
    seen = {id(vars(m)) for part in parts if hasattr(part, "modules") for m in part.modules()}
    return [d for part in parts for d in code_of(part) or () if id(d[0]) not in seen]


def wants_batches(callback: Callback) -> bool:
    """Whether a callback does something after each batch."""
    if isinstance(callback, Schedule) and callback.every == "epoch":
        return changed(callback, "batch_end", (Schedule,))
    return changed(callback, "batch_end", ())
