"""The loop: ``fit``, ``evaluate`` and ``predict``, each the few lines that one writes by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, NonFiniteError, lesson
from contraflow.base.modes import at_once, policy
from contraflow.compiler.llvm import available
from contraflow.ops.join import cat
from contraflow.optim.lbfgs import LBFGS
from contraflow.tensor.tensor import Tensor
from contraflow.train.callbacks import KeepBest
from contraflow.train.checkpoint import Checkpoints
from contraflow.train.checks import check_data
from contraflow.train.history import History
from contraflow.train.interrupt import Interrupted, ctrl_c_waits
from contraflow.train.metrics import as_metric
from contraflow.train.native import NativeSteps, objection
from contraflow.train.run import Meter, Run, evaluating, unpack
from contraflow.train.step import losses, one_number, samples, summed

__all__ = ["evaluate", "fit", "predict"]


def fit(
    model: Any, loss: Any, optimizer: Any, data: Any, epochs: int, *, validation: Any = None,
    metrics: Iterable[Any] = (), callbacks: Iterable[Any] = (), monitor: str | None = None,
    augment: Any = None, accumulate: int = 1, checkpoints: Any = None, resume: bool = False,
    compile: bool | None = None,
) -> History:  # fmt: skip
    """Train a model: the loop that one writes by hand, with what belongs around it.

    Afterwards the model is in evaluation mode. Ctrl-C ends the run after the batch, a second one
    at once.

    Args:
        model: any module; it is called with all of a batch but the last.
        loss: ``loss(prediction, target)``, a module or a function that gives one number.
        optimizer: any optimiser over the model's parameters; LBFGS gets its closure.
        data: a loader, or any collection of batches ``(input, ..., target)``.
        epochs: how often the data are gone through, over all resumed runs.
        validation: batches that the model is measured with after each epoch.
        metrics: ``cf.train.Metric`` records or functions ``(prediction, target) -> number``.
        callbacks: called in this order (see ``cf.train.Callback``).
        monitor: the name in the history by which epochs are compared; the (validation) loss.
        augment: ``augment(input, ..., target)`` gives the batch that is trained on instead.
        accumulate: batches whose gradients are averaged for one step: as one batch of all their
            samples, with the memory of one of them.
        checkpoints: a folder, or ``cf.train.Checkpoints``, to save the run in.
        resume: go on from the newest checkpoint there; begin if there is none yet.
        compile: True makes each step one native call, as ``cf.compile`` does, and whole pieces of
            an epoch where the data are in memory and nothing has to be done after each batch; the
            last digits differ from those without, and side effects of the model happen once.
            False runs op by op. None makes native what is worth it and loses nothing (in runs
            of 200 steps or more): ``history.compiled`` says which steps that were, and why others
            were not.

    Returns:
        The history: ``history["loss"]`` is a list with one number an epoch.

    Raises:
        NonFiniteError: when the loss is NaN or infinite, before that changes a weight.
        ArgumentError: with ``compile``, for what has to look at gradients in every step.
        Interrupted: a KeyboardInterrupt, after Ctrl-C.

    >>> import contraflow as cf
    >>> x = cf.linspace(-1, 1, 32).reshape(32, 1)
    >>> model = cf.nn.Linear(1, 1)
    >>> loader = cf.data.DataLoader(cf.data.TensorDataset(x, 3 * x - 1), 8, shuffle=True)
    >>> optimizer = cf.optim.SGD(model.parameters(), lr=0.3)
    >>> history = cf.train.fit(model, cf.nn.MSELoss(), optimizer, loader, epochs=30)
    >>> history["loss"][-1] < 1e-4
    True
    """
    run = Run(
        model, loss, optimizer, data, epochs, validation=validation, metrics=metrics,
        callbacks=callbacks, monitor=monitor, augment=augment, accumulate=accumulate,
        compile=False if compile is None and policy.mode != "auto" else compile,
    )  # fmt: skip
    saver = read_checkpoints(checkpoints, resume)
    run.native = native_steps(run, saver)
    with ctrl_c_waits(run), alike_from_the_start():
        try:
            begin(run, saver, resume)
            run.native = native_steps(run, saver)
            while run.goes_on():
                train_epoch(run, saver)
                measure_epoch(run)
                run.finish_epoch()
                if saver is not None:
                    saver.epoch_end(run)
                leave_if_interrupted(run, saver)
            run.settle()
        except BaseException as error:
            run.error = error
            raise
        finally:
            run.history.compiled = run.choice.report(run.steps)
            run.call("end")
            model.eval()
    return run.history


def native_steps(run: Run, saver: Checkpoints | None) -> NativeSteps | None:
    """The steps as native calls, if it was asked for that or nothing speaks against it."""
    choice, why = run.choice, None
    if choice.asked is None:
        why = objection(run)
    elif not choice.asked:
        why = "compile=False, or the default mode is not auto"
    elif not available():
        why = "llvmlite is not installed"
    if why is not None:
        choice.why = why
        return None
    return NativeSteps(run, saver, lambda group: eager_step(run, group))


@contextmanager
def alike_from_the_start() -> Iterator[None]:
    """By default it depends on the steps before which ones are native: how many there were, and how
    often each of their pieces came (here the forward pass is a piece of its own, because every loss
    is looked at). A checkpoint holds the first but not the second, so a run that goes on from it
    would begin with other pieces in NumPy, and its last digits would differ."""
    before = policy.mode
    if before != "auto":
        yield
        return
    policy.mode = "eager"
    try:
        with at_once():
            yield
    finally:
        policy.mode = before


def begin(run: Run, saver: Checkpoints | None, resume: bool) -> None:
    """Tell the callbacks, and take up a run that was saved."""
    if hasattr(run.optimizer, "train"):
        run.optimizer.train()
    run.call("begin")
    if saver is not None:
        saver.begin(run, resume)


def train_epoch(run: Run, saver: Checkpoints | None) -> None:
    """Go through the data once, or through what is left of them in an epoch that was resumed."""
    run.model.train()
    run.call("epoch_begin")
    if run.native is not None and run.native.uneventful:
        for done in run.native.pieces():
            run.count(done, done)
            leave_if_interrupted(run, saver)
        run.check_batches()
        return
    for group in run.batches():
        train_step(run, [run.augment(*batch) if run.augment else batch for batch in group])
        run.count(1, len(group))
        run.call("batch_end")
        if saver is not None:
            saver.batch_end(run)
        leave_if_interrupted(run, saver)


def train_step(run: Run, group: list[Any]) -> None:
    """Forward, loss, backward, update; as one native call, if the run is compiled."""
    if run.native is not None:
        run.native.take(group)
    else:
        eager_step(run, group)


def eager_step(run: Run, group: list[Any]) -> None:
    """Forward, loss, backward, update, with a look at each loss before it has an effect."""
    batches = [unpack(batch) for batch in group]
    if isinstance(run.optimizer, LBFGS):
        again = iter([True])  # its line search asks more than once, the first time counts
        run.optimizer.step(lambda: backward(run, batches, count=next(again, False)))
    else:
        backward(run, batches, count=True)
        run.optimizer.step()


def backward(run: Run, batches: list[tuple[list[Any], Any]], count: bool) -> float:
    """The gradients of the mean loss over all samples of the batches; gives that loss."""
    total = 0.0
    for inputs, value, weight, share, prediction, target in losses(run, batches):
        number = read_loss(value)
        if count and not isfinite(number):
            raise not_finite(run, number, inputs)
        total += number * share
        if count:
            run.meter.take(number, weight, prediction, target)
    run.call("before_step")
    return total


def measure_epoch(run: Run) -> None:
    """Put the numbers of the epoch into the history, with those of the validation data."""
    row = run.meter.row()
    with run.settled():
        if run.validation is not None:
            found = evaluate(run.model, run.validation, run.loss, run.metrics)
            row |= {f"validation_{name}": value for name, value in found.items()}
        row["lr"] = float(run.optimizer.param_groups[0].get("lr", float("nan")))
        row["seconds"] = run.elapsed()
        run.history.add(row)
        run.take_best(row[run.monitor])
        run.call("measured")
    run.call("epoch_end")


def evaluate(
    model: Any, data: Any, loss: Any = None, metrics: Iterable[Any] = ()
) -> dict[str, Any]:
    """Measure a model: in evaluation mode, without gradients; the model's modes stay as they are.

    Args:
        model: any module.
        data: a loader, or any collection of batches ``(input, ..., target)``.
        loss: ``loss(prediction, target)``; its mean over all samples is measured.
        metrics: records or functions, as for ``fit``.

    Returns:
        The numbers by name.

    >>> import contraflow as cf
    >>> batch = (cf.eye(3), cf.tensor([0, 1, 1]))
    >>> found = cf.train.evaluate(cf.nn.Identity(), [batch], metrics=[cf.train.accuracy])
    >>> round(found["accuracy"], 3)
    0.667
    """
    check_data("data", data)
    meter = Meter([as_metric(metric) for metric in metrics])
    count = 0
    with evaluating(model):
        for batch in data:
            inputs, target = unpack(batch)
            prediction = model(*inputs)
            value = None if loss is None else read_loss(loss(prediction, target))
            weight = 1 if summed(loss) else samples(target)
            meter.take(value, weight, prediction, target)
            count += 1
    if not count:
        raise ArgumentError(lesson("data: there is no batch in it", fix="at least one batch"))
    return meter.row()


def predict(model: Any, data: Any) -> Any:
    """The model's outputs for a tensor, or for all batches of a loader, joined.

    In evaluation mode, without gradients. Of a batch that is a list the first item is the input.

    >>> import contraflow as cf
    >>> cf.train.predict(cf.nn.ReLU(), cf.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    with evaluating(model):
        if isinstance(data, Tensor):
            return model(data)
        check_data("data", data)
        parts = [model(b[0] if isinstance(b, list | tuple) else b) for b in data]
    if not parts:
        raise ArgumentError(lesson("data: there is no batch in it", fix="at least one batch"))
    return cat(parts, 0)


# ---- parts -------------------------------------------------------------------------------------


def read_loss(value: Any) -> float:
    """The loss as a number.

    Raises:
        ShapeError: if it has several elements.
    """
    return float(one_number(value).item())


def not_finite(run: Run, number: float, inputs: list[Any]) -> NonFiniteError:
    """The lesson for a loss that is NaN or infinite: where, since when, and what to do."""
    bad_input = any(isinstance(x, Tensor) and not finite(x) for x in inputs)
    broken = next((n for n, p in run.model.named_parameters() if not finite(p)), None)
    lr = float(run.optimizer.param_groups[0].get("lr", float("nan")))
    losses = " ".join(f"{value:.4g}" for value in run.history.get("loss", [])[-5:])
    kept = next((c for c in run.callbacks if isinstance(c, KeepBest) and c.weights), None)
    rows = [
        ("optimizer", f"{type(run.optimizer).__name__}, lr={lr:g}"),
        ("loss of the epochs before", losses or "none is complete"),
    ]
    if bad_input:
        rows.append(("input", "holds NaN or infinity"))
        fix = "clean the data: x = cf.nan_to_num(x), or leave these rows out"
    else:
        if broken is not None:
            rows.append(("weights", f"{broken} holds NaN or infinity since the step before"))
        fix = f"a smaller learning rate (lr={lr / 10:g}), or " \
              "callbacks=[cf.train.ClipGradNorm(1.0)]"  # fmt: skip
    if kept is not None:
        rows.append(("model", f"has the weights of epoch {kept.epoch}, the best, back"))
    else:
        rows.append(("model", "is as it was before this batch; cf.train.KeepBest() keeps the best"))
    return NonFiniteError(
        lesson(
            f"the loss is {number} in epoch {run.epoch + 1}, batch {run.batch + 1}; "
            "training stopped before it changed a weight",
            rows,
            fix,
        )
    )


def finite(x: Any) -> bool:
    """Whether a tensor holds finite numbers only."""
    return bool(np.isfinite(x.detach().numpy()).all())


def read_checkpoints(given: Any, resume: bool) -> Checkpoints | None:
    """A folder, or Checkpoints, or nothing."""
    if given is None and resume:
        raise ArgumentError(
            lesson("resume needs the folder of the checkpoints",
                   fix='checkpoints="runs/digits", resume=True')
        )  # fmt: skip
    return given if given is None or isinstance(given, Checkpoints) else Checkpoints(given)


def leave_if_interrupted(run: Run, saver: Checkpoints | None) -> None:
    """After Ctrl-C: save, and leave with a word on how to go on."""
    if not run.interrupted or not run.goes_on():
        return
    where = f"epoch {run.epoch + 1}, after {run.batch} batches" if run.batch else \
            f"after epoch {run.epoch}"  # fmt: skip
    text = f"stopped by Ctrl-C in {where}"
    if saver is not None:
        text += f"; saved as {saver.save(run)}; go on with resume=True"
    raise Interrupted(text)
