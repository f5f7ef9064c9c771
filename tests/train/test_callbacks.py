"""Callbacks: stopping, the best weights, schedules, averages, progress."""

import io

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow import train as t


class Course(nn.Module):
    """A model whose validation loss is what the test wants: its one weight is set by hand."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(cf.zeros(1))

    def forward(self, x):
        return x * self.weight


class Follow(t.Callback):
    """Sets the weight before each epoch is measured."""

    def __init__(self, values):
        self.values = values

    def settle(self, run):
        if run.epoch < len(self.values) and run.goes_on():
            run.model.load_state_dict({"weight": cf.tensor([self.values[run.epoch]])})


def run(values, *callbacks, epochs=None, monitor="validation_value", **options):
    """A run whose validation goes through these values."""
    model = Course()
    optimizer = cf.optim.SGD(model.parameters(), lr=0.0)
    better = options.pop("better", "min")
    value = t.Metric("value", 0.0, lambda s, p, y: p.sum().item(), float, better)
    history = t.fit(
        model, nn.MSELoss(), optimizer, [(cf.ones(1), cf.ones(1))], epochs or len(values),
        validation=[(cf.ones(1), cf.ones(1))], metrics=[value], monitor=monitor,
        callbacks=[Follow(values), *callbacks], **options,
    )  # fmt: skip
    return model, history


def test_early_stopping_waits_and_gives_the_best_weights_back():
    model, history = run([5.0, 3.0, 4.0, 3.5, 2.0], t.EarlyStopping(patience=2))
    assert history["validation_value"] == [5.0, 3.0, 4.0, 3.5]
    assert model.weight.item() == 3.0


def test_early_stopping_counts_anew_after_an_improvement():
    model, history = run([5.0, 6.0, 4.0, 4.5, 3.0, 9.0], t.EarlyStopping(patience=2))
    assert history.epochs == 6 and model.weight.item() == 3.0


def test_early_stopping_on_something_that_should_rise():
    model, history = run([0.1, 0.5, 0.4, 0.5, 0.9], t.EarlyStopping(2), better="max")
    assert history.epochs == 4 and model.weight.item() == pytest.approx(0.5)


def test_min_delta():
    _, history = run([5.0, 4.95, 4.9, 4.85], t.EarlyStopping(2, min_delta=0.1))
    assert history.epochs == 3


def test_keep_best_runs_to_the_end():
    model, history = run([3.0, 1.0, 2.0], t.KeepBest())
    assert history.epochs == 3 and model.weight.item() == 1.0


def test_a_value_that_is_not_a_number_is_never_the_best():
    model, _ = run([float("nan"), 2.0, float("nan")], t.KeepBest())
    assert model.weight.item() == 2.0


def test_without_validation_the_training_loss_decides():
    model = nn.Linear(1, 1)
    optimizer = cf.optim.SGD(model.parameters(), lr=0.1)
    best = t.KeepBest()
    history = t.fit(
        model, nn.MSELoss(), optimizer, [(cf.ones(2, 1), cf.ones(2, 1))], 5, callbacks=[best]
    )
    assert best.epoch == history.best("loss")[0] == 5


# ---- schedules ----------------------------------------------------------------------------------


def rates(make, epochs=4, batches=3, every=None):
    """The learning rate of each step under a schedule."""
    seen = []

    class Look(t.Callback):
        def before_step(self, run):
            seen.append(run.optimizer.param_groups[0]["lr"])

    model = nn.Linear(1, 1)
    optimizer = cf.optim.SGD(model.parameters(), lr=1.0)
    data = [(cf.ones(1, 1), cf.ones(1, 1) * 0)] * batches
    t.fit(
        model,
        nn.MSELoss(),
        optimizer,
        data,
        epochs,
        callbacks=[t.Schedule(make(optimizer), every), Look()],
    )
    return seen


def test_schedules_by_epoch_and_by_batch():
    lr = cf.optim.lr_scheduler
    assert rates(lambda o: lr.StepLR(o, 2, 0.1)) == pytest.approx([1.0] * 6 + [0.1] * 6)
    decay = rates(lambda o: lr.ExponentialLR(o, 0.5), epochs=1, every="batch")
    assert decay == [1.0, 0.5, 0.25]
    cycle = rates(lambda o: lr.OneCycleLR(o, max_lr=1.0, total_steps=12))
    assert np.argmax(cycle) == 3 and max(cycle) > 0.99 and cycle[-1] < 1e-3 and cycle[0] < 0.1


def test_plateau_looks_at_the_monitored_value():
    model = Course()
    optimizer = cf.optim.SGD(model.parameters(), lr=1.0)
    plateau = cf.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    metric = t.Metric("value", 0.0, lambda s, p, y: p.sum().item(), float, "min")
    history = t.fit(
        model, lambda p, y: (p * 0).sum(), optimizer, [(cf.ones(1), cf.ones(1))], 4,
        metrics=[metric], validation=[(cf.ones(1), cf.ones(1))], monitor="validation_value",
        callbacks=[Follow([3.0, 2.0, 2.0, 1.0]), t.Schedule(plateau)],
    )  # fmt: skip
    assert history["lr"] == [1.0, 1.0, 1.0, 0.5]


# ---- averages -----------------------------------------------------------------------------------


def test_ema_is_measured_and_handed_out_and_training_does_not_see_it():
    def train(*callbacks):
        cf.manual_seed(0)
        model = nn.Linear(2, 1)
        x = cf.randn(12, 2)
        data = [(x[i : i + 4], x[i : i + 4].sum(1, keepdim=True)) for i in (0, 4, 8)]
        optimizer = cf.optim.SGD(model.parameters(), lr=0.1)
        course = []

        class Look(t.Callback):
            def batch_end(self, run):
                course.append(run.model.weight.detach().numpy().copy())

        history = t.fit(
            model, nn.MSELoss(), optimizer, data, 3, validation=data, callbacks=[*callbacks, Look()]
        )
        return model, course, history

    _, plain, _ = train()
    model, course, history = train(t.EMA(0.8))
    assert np.array_equal(plain, course)  # the steps are the same, bit by bit
    average = course[0]
    for w in course[1:]:
        average = 0.8 * average + 0.2 * w
    np.testing.assert_allclose(model.weight.detach().numpy(), average, rtol=1e-5)


def test_measuring_does_not_move_schedule_free_training():
    def train(validation):
        cf.manual_seed(0)
        model = nn.Linear(2, 1)
        x = cf.randn(12, 2)
        data = [(x, x.sum(1, keepdim=True))]
        optimizer = cf.optim.ScheduleFreeAdamW(model.parameters(), lr=0.1)
        t.fit(model, nn.MSELoss(), optimizer, data, 10, validation=data if validation else None)
        return model.weight.detach().numpy()

    assert np.array_equal(train(True), train(False))


# ---- progress and wrong use ---------------------------------------------------------------------


def test_progress_prints_a_line_an_epoch():
    out = io.StringIO()
    run([3.0, 2.0, 2.5, 2.5, 9.0], t.EarlyStopping(2), t.Progress(file=out), epochs=20)
    lines = out.getvalue().strip().split("\n")
    assert len(lines) == 5
    assert lines[0].startswith("epoch  1/20   loss 1.0000   value 0")
    assert "validation_value 3.0000" in lines[0] and lines[0].endswith(" s")
    assert lines[-1] == "stopped after epoch 4: validation_value has not improved for 2 epochs"


@pytest.mark.parametrize(
    "make",
    [
        lambda: t.EarlyStopping(0),
        lambda: t.EarlyStopping(patience=2.5),
        lambda: t.EarlyStopping(min_delta=-1),
        lambda: t.ClipGradNorm(0),
        lambda: t.ClipGradNorm(float("nan")),
        lambda: t.ClipGradValue("1"),
        lambda: t.EMA(1.5),
        lambda: t.Schedule("cosine"),
        lambda: t.Schedule(
            cf.optim.lr_scheduler.StepLR(cf.optim.SGD(nn.Linear(1, 1).parameters(), 1), 1), "step"
        ),
        lambda: t.Checkpoints("x", keep=0),
        lambda: t.Checkpoints("x", every_steps=0),
    ],
)
def test_wrong_arguments(make):
    with pytest.raises((cf.ArgumentError, cf.DTypeError), match="fix: "):
        make()


def test_a_schedule_of_another_optimizer():
    model = nn.Linear(1, 1)
    mine, other = (cf.optim.SGD(model.parameters(), lr=1.0) for _ in range(2))
    schedule = t.Schedule(cf.optim.lr_scheduler.StepLR(other, 1))
    with pytest.raises(cf.ArgumentError, match="another optimiser"):
        t.fit(model, nn.MSELoss(), mine, [(cf.ones(1, 1), cf.ones(1, 1))], 1, callbacks=[schedule])


def test_a_plateau_that_watches_the_wrong_end():
    model = nn.Linear(1, 1)
    optimizer = cf.optim.SGD(model.parameters(), lr=1.0)
    plateau = cf.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max")
    with pytest.raises(cf.ArgumentError, match='mode="min"'):
        t.fit(
            model,
            nn.MSELoss(),
            optimizer,
            [(cf.ones(1, 1), cf.ones(1, 1))],
            1,
            callbacks=[t.Schedule(plateau)],
        )
