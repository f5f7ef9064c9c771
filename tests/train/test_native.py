"""``fit(compile=True)``: the same training, whatever has to be done in Python between the steps."""

import os
import signal
import threading

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow import train as t

rng = np.random.default_rng(0)
X = rng.standard_normal((50, 4)).astype(np.float32)
Y = X[:, :3].argmax(1)


pytestmark = pytest.mark.usefixtures("compiled_once")


class Nothing(t.Callback):
    """Asks for every batch, and does nothing."""

    def __init__(self):
        self.batches = []

    def batch_end(self, run):
        self.batches.append((run.steps, run.batch))


def run(epochs=3, *, x=X, y=Y, size=16, model=None, optimizer=cf.optim.RMSprop, callbacks=lambda o: [],
        loss=None, dataset=None, **options):  # fmt: skip
    cf.manual_seed(0)
    model = model or nn.Sequential(
        nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3)
    )
    optimizer = optimizer(model.parameters(), lr=0.02)
    data = dataset or cf.data.TensorDataset(cf.tensor(x), cf.tensor(y))
    loader = cf.data.DataLoader(data, size, shuffle=True)
    history = t.fit(
        model, loss or nn.CrossEntropyLoss(), optimizer, loader, epochs,
        callbacks=callbacks(optimizer), **{"compile": True, **options},
    )  # fmt: skip
    return state(model, optimizer), rows(history)


def state(model, optimizer):
    moments = [t for s in optimizer.state.values() for t in s.values()]
    found = [*model.state_dict().values(), *moments, cf.get_rng_state()]
    return [v.detach().numpy().copy() for v in found]


def rows(history):
    return {name: history[name] for name in history if name != "seconds"}


def assert_same(a, b):
    assert all(x.tobytes() == y.tobytes() for x, y in zip(a[0], b[0], strict=True))
    assert a[1] == b[1]


def assert_close(a, b):
    for x, y in zip(a[0], b[0], strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-4)
    assert list(a[1]) == list(b[1])
    for name in a[1]:
        np.testing.assert_allclose(a[1][name], b[1][name], rtol=2e-3, atol=2e-4)


SETTINGS = {
    "plain": {},
    "metrics and validation": {
        "metrics": [t.accuracy, t.f1],
        "validation": [(cf.tensor(X[:20]), cf.tensor(Y[:20]))],
        "monitor": "validation_accuracy",
    },
    "stopping early": {"callbacks": lambda o: [t.EarlyStopping(2, 10.0)], "epochs": 9},
    "clipping": {"callbacks": lambda o: [t.ClipGradNorm(0.1)]},
    "a schedule": {
        "callbacks": lambda o: [t.Schedule(cf.optim.lr_scheduler.StepLR(o, 1, 0.5))]
    },
    "a sum": {"loss": nn.CrossEntropyLoss(reduction="sum"), "metrics": [t.accuracy]},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_training_as_without(name):
    """Whole epochs as native loops, native steps one by one, and eager steps."""
    options = SETTINGS[name]
    extra = options.get("callbacks", lambda o: [])
    by_epochs = run(**options)
    by_steps = run(**{**options, "callbacks": lambda o: [*extra(o), Nothing()]})
    assert_same(by_epochs, by_steps)
    assert_close(by_epochs, run(**options, compile=False))


def test_epochs_are_native_where_nothing_happens_in_between():
    reports = []

    class Look(t.Callback):
        def epoch_end(self, run):
            reports.append((run.native.step.last_epoch, run.steps, run.batch))

    run(2, callbacks=lambda o: [Look()], metrics=[t.accuracy])
    assert [steps for _, steps, _ in reports] == [4, 8]
    assert all("4 batches in" in text and batch == 4 for text, _, batch in reports)
    assert all("calls of their own" not in text for text, _, _ in reports)


EVENTFUL = {
    "a schedule of steps": {
        "callbacks": lambda o: [
            t.Schedule(cf.optim.lr_scheduler.OneCycleLR(o, max_lr=0.02, total_steps=12))
        ]
    },
    "averages": {"callbacks": lambda o: [t.EMA(0.9)]},
    "augmentation": {"augment": cf.data.GaussianNoise(0.3)},
    "accumulation": {"accumulate": 2, "metrics": [t.accuracy]},
    "a list of batches": {"metrics": [t.accuracy]},
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTFUL)
def test_what_happens_after_each_batch(name):
    assert_close(run(**EVENTFUL[name]), run(**EVENTFUL[name], compile=False))


def test_samples_that_are_made_one_by_one():
    class Made(cf.data.Dataset):
        def __len__(self):
            return len(X)

        def __getitem__(self, i):
            return cf.tensor(X[i]), int(Y[i])

    assert_same(run(), run(dataset=Made()))


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("callbacks", [[], [Nothing()]], ids=["epoch", "steps"])
def test_a_loss_that_is_not_finite_stops_before_it_changes_a_weight(callbacks):
    def broken(**options):
        x = X.copy()
        x[7, 2] = np.nan
        model = nn.Linear(4, 3, bias=False)
        cf.manual_seed(0)
        nn.init.normal_(model.weight)
        with pytest.raises(cf.NonFiniteError) as caught:
            run(x=x, model=model, size=4, **options)
        return model.weight.detach().numpy(), str(caught.value)

    weight, text = broken(callbacks=lambda o: callbacks)
    expected, said = broken(compile=False)
    np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-5)
    assert text == said
    assert "the loss is nan in epoch 1, batch" in text and "input" in text


def test_only_the_step_that_failed_is_made_again_op_by_op(monkeypatch):
    x = np.tile(X, (40, 1))
    x[1501, 2] = np.nan
    made, real = [], t.loop.eager_step
    monkeypatch.setattr(t.loop, "eager_step", lambda *args: made.append(args) or real(*args))

    def broken(callbacks):
        cf.manual_seed(0)
        model = nn.Linear(4, 3)
        data = cf.data.TensorDataset(cf.tensor(x), cf.tensor(np.tile(Y, 40)))
        optimizer = cf.optim.Adam(model.parameters())
        with pytest.raises(cf.NonFiniteError, match="batch 751"):
            t.fit(model, nn.CrossEntropyLoss(), optimizer, cf.data.DataLoader(data, 2), 1,
                  callbacks=callbacks, compile=True)  # fmt: skip
        return state(model, optimizer)

    assert_same((broken([]), 0), (broken([Nothing()]), 0))
    assert len(made) == 2


def test_what_looks_into_a_step_is_refused():
    class Look(t.Callback):
        def before_step(self, run):
            print([p.grad for p in run.model.parameters()])

    with pytest.raises(cf.ArgumentError, match="Look.before_step looks at the gradients"):
        run(callbacks=lambda o: [Look()])
    with pytest.raises(cf.ArgumentError, match="line search"):
        run(optimizer=cf.optim.LBFGS)


def test_a_model_that_looks_at_values_is_told():
    class Looking(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            y = self.layer(x)
            return y if y.sum() > 0 else -y

    with pytest.raises(cf.CaptureError, match="looks at a value"):
        run(model=Looking())


def test_no_batch_and_no_single_number():
    with pytest.raises(cf.ArgumentError, match="no batch"):
        run(x=X[:0], y=Y[:0])
    with pytest.raises(cf.ShapeError, match="one number"):
        run(loss=nn.CrossEntropyLoss(reduction="none"))


# ---- interrupted ---------------------------------------------------------------------------------


def test_ctrl_c_and_going_on_give_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("contraflow.compiler.epoch.PIECE", 2e-3)
    many = np.tile(X, (400, 1)), np.tile(Y, 400)
    whole = run(2, x=many[0], y=many[1], size=2)
    press = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))

    class Press(t.Callback):
        def epoch_begin(self, run):
            if not press.ident:
                press.start()

    options = {"x": many[0], "y": many[1], "size": 2, "checkpoints": tmp_path / "run"}
    try:
        with pytest.raises(t.Interrupted, match=r"in epoch 1, after \d+ batches; saved"):
            run(2, **options, callbacks=lambda o: [Press()])
    finally:
        press.cancel()
    assert_same(run(2, **options, resume=True, callbacks=lambda o: [Press()]), whole)


def test_checkpoints_of_steps_are_made_in_mid_epoch(tmp_path):
    folder = t.Checkpoints(tmp_path / "run", every_steps=3, keep=9)
    assert_same(run(2, checkpoints=folder), run(2))
    assert [p.name[-21:-12] for p in folder.paths()] == [f"{n:09d}" for n in (3, 4, 6, 8)]
