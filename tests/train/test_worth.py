"""``fit`` by itself: native where that is repaid and loses nothing, and decided by counts alone."""

import os
import signal
import threading

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow import train as t
from contraflow.train import worth
from contraflow.train.worth import Choice

rng = np.random.default_rng(0)
X = rng.standard_normal((50, 4)).astype(np.float32)
Y = X[:, :3].argmax(1)


pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A few steps repay compiling."""
    monkeypatch.setattr(worth, "WORTH", 6)


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))


def loader(size=10, n=50):
    return cf.data.DataLoader(
        cf.data.TensorDataset(cf.tensor(X[:n]), cf.tensor(Y[:n])), size, shuffle=True
    )


def run(epochs=3, *, model=mlp, loss=None, data=loader, optimizer=cf.optim.Adam,
        callbacks=lambda o: [], **options):  # fmt: skip
    """A run; gives its history and all that it leaves."""
    cf.manual_seed(0)
    model = model()
    optimizer = optimizer(model.parameters(), lr=0.02)
    history = t.fit(
        model, loss or nn.CrossEntropyLoss(), optimizer, data(), epochs,
        callbacks=callbacks(optimizer), **options,
    )  # fmt: skip
    left = [*model.state_dict().values(), cf.get_rng_state()]
    return history, [v.detach().numpy().copy() for v in left]


def assert_same(a, b):
    assert a[0] == b[0]
    assert all(x.tobytes() == y.tobytes() for x, y in zip(a[1], b[1], strict=True))


def assert_close(a, b):
    for x, y in zip(a[1], b[1], strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(a[0]["loss"], b[0]["loss"], rtol=2e-3, atol=2e-4)


# ---- when ----------------------------------------------------------------------------------------


def test_a_long_run_is_native_from_its_first_step_and_a_short_one_never():
    long, short = run(3), run(1)
    assert long[0].compiled == "all steps native"
    assert short[0].compiled == (
        "0 of 5 steps native: a run of 5 steps is too short to repay compiling"
    )
    assert_same(long, run(3, compile=True))
    assert_same(short, run(1, compile=False))
    assert_close(long, run(3, compile=False))


def test_the_shorter_last_batch_is_native_when_it_has_come_often_enough():
    history, left = run(5, data=lambda: loader(12))
    assert history.compiled.startswith("20 of 25 steps native: batches of a form that came less")
    assert_close((history, left), run(5, data=lambda: loader(12), compile=False))


def test_many_epochs_repay_both_forms_at_once():
    assert run(6, data=lambda: loader(12))[0].compiled == "all steps native"


class Maybe(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x, more=None):
        y = self.layer(x)
        return y if more is None else y + self.layer(more)


def test_batches_of_other_widths_keep_their_steps(monkeypatch):
    x, y = cf.tensor(X[:10]), cf.tensor(Y[:10])
    mixed = [(x, y), (x, x, y)] * 3
    captured = counted(monkeypatch)
    found = run(6, model=Maybe, data=lambda: mixed)
    assert found[0].compiled == "all steps native" and len(captured) == 2
    assert_close(found, run(6, model=Maybe, data=lambda: mixed, compile=False))
    assert_close(run(6, model=Maybe, data=lambda: mixed, accumulate=2),
                 run(6, model=Maybe, data=lambda: mixed, accumulate=2, compile=False))  # fmt: skip


class Stream(cf.data.IterableDataset):
    """Samples whose number nobody knows."""

    def __iter__(self):
        return iter(list(zip(map(cf.tensor, X), Y.tolist(), strict=True)))


def test_data_of_unknown_length_are_native_from_a_step_on():
    def stream():
        return cf.data.DataLoader(Stream(), 10)

    found = run(3, data=stream)
    assert found[0].compiled.startswith("10 of 15 steps native")
    assert_close(found, run(3, data=stream, compile=False))


def test_batches_of_many_shapes_are_not_compiled_one_by_one(monkeypatch):
    cuts = np.cumsum([3, 4, 5, 6, 7, 8])
    parts = [(cf.tensor(a), cf.tensor(b)) for a, b in zip(np.split(X, cuts), np.split(Y, cuts),
                                                          strict=True)]  # fmt: skip
    captured = counted(monkeypatch)
    history, _ = run(4, data=lambda: parts)
    assert history.compiled.startswith("4 of 28 steps native") and len(captured) == 1


def counted(monkeypatch):
    """What is compiled from now on."""
    found, real = [], cf.compiler.step.Compiled.new_version

    def new_version(self, *args):
        found.append(args)
        return real(self, *args)

    monkeypatch.setattr(cf.compiler.step.Compiled, "new_version", new_version)
    return found


def test_forms_are_forgotten_but_for_the_latest_and_those_that_cannot_be():
    choice = Choice(None, 1, None)
    choice.never(["odd"], "it cannot be")
    for k in range(200):
        assert not choice.counts([k])
    assert len(choice.forms) == worth.FORMS
    assert "'odd'" in choice.forms and "199" in choice.forms and "0" not in choice.forms
    assert not choice.counts(["odd"])


# ---- what stays in Python ------------------------------------------------------------------------


class Printing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        print("forward")
        return self.layer(x)


class Counting(Printing):
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return self.layer(x)


class Drawing(Printing):
    def forward(self, x):
        return self.layer(x) * np.random.rand()  # noqa: NPY002


def hooked():
    model = mlp()
    model[0].register_forward_hook(lambda module, inputs, output: output)
    return model


def watched():
    model = mlp()
    model[0].weight.register_hook(lambda grad: grad * 2)
    return model


class Own(cf.optim.Optimizer):
    @cf.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad


class Look(t.Callback):
    def before_step(self, run):
        assert all(p.grad is not None for p in run.model.parameters())


REASONS = {
    "a print": ({"model": Printing}, "Printing, the model, may do more than compute"),
    "a counter": ({"model": Counting}, "Counting, the model, may do more"),
    "NumPy's random numbers": ({"model": Drawing}, "Drawing, the model, may do more"),
    "a hook of a module": ({"model": hooked}, "Sequential, the model, may do more"),
    "a hook of a parameter": ({"model": watched}, "a parameter of the model has a hook"),
    "a loss that prints": (
        {"loss": lambda p, y: print(end="") or nn.functional.cross_entropy(p, y)},
        "<lambda>, the loss, may do more",
    ),
    "an optimiser of one's own": (
        {"optimizer": lambda params, lr: Own(params, {"lr": lr})}, "Own.step may do more"
    ),
    "LBFGS": ({"optimizer": cf.optim.LBFGS}, "line search"),
    "a look at gradients": ({"callbacks": lambda o: [Look()]}, "Look.before_step looks"),
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_what_would_be_lost_stays_in_python(name, capsys):
    options, why = REASONS[name]
    np.random.seed(0)  # noqa: NPY002
    found = run(3, **options)
    printed = capsys.readouterr().out
    assert found[0].compiled.startswith("0 of 15 steps native: ") and why in found[0].compiled
    np.random.seed(0)  # noqa: NPY002
    assert_same(found, run(3, **options, compile=False))
    assert printed == capsys.readouterr().out
    assert printed.count("forward") == 15 * (name == "a print")


class Looking(Printing):
    """Computes, but decides by a number."""

    def forward(self, x):
        y = self.layer(x)
        return y if y.sum() > 0 else -y


class LookingAtShort(Printing):
    def forward(self, x):
        y = self.layer(x)
        if len(x) < 10:
            y = y * y.sum().item()
        return y


def test_what_cannot_be_captured_goes_op_by_op_from_the_first_step(recwarn):
    found = run(3, model=Looking)
    assert found[0].compiled.startswith("0 of 15 steps native: ")
    assert "looks at a value" in found[0].compiled
    assert_same(found, run(3, model=Looking, compile=False))
    with pytest.raises(cf.CaptureError):
        run(3, model=Looking, compile=True)
    assert not recwarn.list


def test_only_some_batches_cannot_be_captured(tmp_path):
    options = {"model": LookingAtShort, "data": lambda: loader(12)}
    whole = run(9, **options)
    assert whole[0].compiled.startswith("36 of 45 steps native: item() looks at a value")
    assert_close(whole, run(9, **options, compile=False))
    broken = {**options, "callbacks": lambda o: [StopAfter(7)], "checkpoints": tmp_path}
    with pytest.raises(RuntimeError):
        run(9, **broken)
    options["callbacks"] = lambda o: [StopAfter(99)]
    assert_same(run(9, **options, checkpoints=tmp_path, resume=True), whole)


class StopAfter(t.Callback):
    """Leaves the run by an error after an epoch was saved."""

    def __init__(self, epochs):
        self.epochs = epochs

    def epoch_begin(self, run):
        if run.epoch == self.epochs:
            raise RuntimeError("power failure")


def test_errors_are_those_of_eager():
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x):
            return self.layer(x)

    said = []
    for way in (None, False):
        with pytest.raises(cf.ShapeError) as caught:
            run(3, model=Wrong, compile=way)
        said.append(str(caught.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("mode, native", [("auto", True), ("eager", False)])
def test_the_default_mode_decides(mode, native):
    cf.set_default_mode(mode)
    try:
        history, _ = run(3)
        assert cf.get_default_mode() == mode
    finally:
        cf.set_default_mode("auto")
    assert (history.compiled == "all steps native") is native


def test_without_llvm_nothing_is_compiled_and_nothing_is_said(monkeypatch, recwarn):
    monkeypatch.setattr("contraflow.train.native.binding", None)
    history, _ = run(3)
    assert history.compiled == "0 of 15 steps native: llvmlite is not installed"
    assert not recwarn.list


def test_parameters_without_a_shape_are_made_by_the_first_step():
    def lazy():
        return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3))

    for way, compiled in ((None, "14 of 15 steps native: a parameter"), (True, "14 of 15 steps")):
        found = run(3, model=lazy, compile=way)
        assert found[0].compiled.startswith(compiled)
        assert_close(found, run(3, model=lazy, compile=False))


def test_a_second_run_of_a_model_that_was_left_in_evaluation_mode():
    model = Cooled().eval()
    assert run(3, model=lambda: model)[0].compiled == "all steps native"
    assert not model.training
    assert run(3, model=lambda: model)[0].compiled == "all steps native"


def test_anomaly_detection_stays_in_python():
    with cf.autograd.detect_anomaly():
        assert run(3)[0].compiled.startswith("0 of 15 steps native: anomaly detection")


# ---- what changes on the way ---------------------------------------------------------------------

SCALE = 1.0


class Scaled(Printing):
    def forward(self, x):
        return self.layer(x) * SCALE


class Set(t.Callback):
    """Calls a function with the run before each epoch."""

    def __init__(self, function):
        self.function = function

    def epoch_begin(self, run):
        self.function(run)


def rescale(run):
    globals()["SCALE"] = 1.0 + run.epoch


def anneal(run):
    run.model[2].p = 0.1 * (run.epoch % 7)


class Cooled(Printing):
    def __init__(self):
        super().__init__()
        self.heat = 1.0

    def forward(self, x):
        return nn.functional.dropout(self.layer(x) * self.heat, 0.1, self.training)


def cool(run):
    run.model.heat = 0.9**run.epoch


def freeze(run):
    run.model[0].weight.requires_grad_(run.epoch % 2 == 0)


def hook_for_an_epoch(run):
    if run.epoch == 1:
        run.handle = run.model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    if run.epoch == 2:
        run.handle.remove()


CHANGES = {
    "a global": (rescale, Scaled, "5 of 40 steps native: SCALE, which the model"),
    "a number of a module": (anneal, mlp, "25 of 40 steps native: a flag or a number"),
    "what is frozen": (freeze, mlp, "all steps native"),
    "a number of a user's module": (cool, Cooled, "20 of 40 steps native: a flag or a number"),
    "a hook": (hook_for_an_epoch, mlp, "35 of 40 steps native: Sequential, the model"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_callbacks_change_is_seen(name, monkeypatch):
    change, model, compiled = CHANGES[name]
    monkeypatch.setitem(globals(), "SCALE", 1.0)
    options = {"model": model, "callbacks": lambda o: [Set(change)]}
    found = run(8, **options)
    assert_close(found, run(8, **options, compile=False))
    assert found[0].compiled.startswith(compiled)


@pytest.mark.parametrize("make", [cf.optim.SGD, cf.optim.Adam], ids=["momentum", "betas"])
def test_schedules_by_step_compile_nothing_anew(make, monkeypatch):
    def schedule(optimizer):
        rate = cf.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=15)
        return [t.Schedule(rate)]

    options = {"momentum": 0.9} if make is cf.optim.SGD else {}
    captured = counted(monkeypatch)
    found = run(3, optimizer=lambda p, lr: make(p, lr=lr, **options), callbacks=schedule)
    assert found[0].compiled == "all steps native" and len(captured) == 1


def test_several_optimisers_with_a_schedule_compile_nothing_anew(monkeypatch):
    def together(params, lr):
        a, b, c, d = params
        return t.Together(cf.optim.Muon([a, c], lr=lr), cf.optim.AdamW([b, d], lr=lr))

    def schedule(optimizer):
        return [t.Schedule(cf.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), every="batch")]

    captured = counted(monkeypatch)
    found = run(3, optimizer=together, callbacks=schedule)
    assert found[0].compiled == "all steps native" and len(captured) == 1
    assert_close(found, run(3, optimizer=together, callbacks=schedule, compile=False))


# ---- going on ------------------------------------------------------------------------------------


class Press(t.Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, after):
        self.after = after

    def batch_end(self, run):
        if run.steps == self.after:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("data", [loader, lambda: loader(12), lambda: cf.data.DataLoader(Stream(), 12)],
                         ids=["one form", "two forms", "a stream"])  # fmt: skip
@pytest.mark.parametrize("at", [2, 9, 22])
def test_stopped_anywhere_and_resumed_to_the_same_bits(data, at, tmp_path):
    whole = run(5, data=data)
    with pytest.raises(t.Interrupted):
        run(5, data=data, checkpoints=tmp_path, callbacks=lambda o: [Press(at)])
    rest = run(5, data=data, checkpoints=tmp_path, resume=True, callbacks=lambda o: [Press(0)])
    assert_same(rest, whole)
    assert rest[0].compiled == whole[0].compiled


def test_ctrl_c_between_native_pieces_and_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("contraflow.compiler.epoch.PIECE", 2e-3)
    x, y = np.tile(X, (400, 1)), np.tile(Y, 400)

    def data():
        return cf.data.DataLoader(
            cf.data.TensorDataset(cf.tensor(x), cf.tensor(y)), 3, shuffle=True
        )

    whole = run(2, data=data)
    press = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(t.Interrupted):
        run(
            2, data=data, checkpoints=tmp_path, callbacks=lambda o: [Set(lambda run: press.start())]
        )
    assert_same(run(2, data=data, checkpoints=tmp_path, resume=True), whole)


@pytest.mark.parametrize("before", [True, False])
def test_a_run_goes_on_as_it_was_told_to_begin(before, tmp_path):
    whole = run(4, compile=before)
    run(2, compile=before, checkpoints=tmp_path)
    rest = run(4, checkpoints=tmp_path, resume=True)
    assert_same(rest, whole)
    assert (rest[0].compiled == "all steps native") is before


@pytest.mark.parametrize("epochs", [1, 3])
def test_more_epochs_than_it_was_begun_with(epochs, tmp_path):
    """A run that was long enough has the bits of a longer one; a shorter one agrees to rounding."""
    whole = run(5)
    run(epochs, checkpoints=tmp_path)
    rest = run(5, checkpoints=tmp_path, resume=True)
    assert_close(rest, whole)
    if epochs > 1:
        assert_same(rest, whole)
    assert rest[0].compiled.startswith("20 of 25 steps" if epochs == 1 else "all steps native")


def test_what_is_said_now_counts_more(tmp_path):
    run(2, compile=True, checkpoints=tmp_path)
    history, _ = run(4, compile=False, checkpoints=tmp_path, resume=True)
    assert history.compiled == (
        "10 of 20 steps native: compile=False, or the default mode is not auto"
    )


def test_annealing_is_resumed_to_the_same_bits(tmp_path):
    callbacks = {"callbacks": lambda o: [Set(anneal), StopAfter(99)]}
    whole = run(8, **callbacks)
    for stop in (2, 5):
        with pytest.raises(RuntimeError):
            run(8, callbacks=lambda o: [Set(anneal), StopAfter(stop)],  # noqa: B023
                checkpoints=tmp_path, resume=True)  # fmt: skip
    assert_same(run(8, **callbacks, checkpoints=tmp_path, resume=True), whole)


# ---- kinds of runs -------------------------------------------------------------------------------


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, a, b):
        return self.a(a) + self.b(b)


class OfDict(Pair):
    def forward(self, batch):
        return self.a(batch["a"]) + self.b(batch["b"])


def pairs():
    return [(cf.tensor(X[k : k + 10]), cf.tensor(-X[k : k + 10]), cf.tensor(Y[k : k + 10]))
            for k in range(0, 50, 10)]  # fmt: skip


def dicts():
    return [({"a": a, "b": b}, y) for a, b, y in pairs()]


def settings(weights):
    def loss(prediction, target):
        return nn.functional.cross_entropy(prediction, target, weight=weights)

    return loss


def normed():
    return nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(),
                         nn.Dropout(0.3), nn.Linear(8, 3))  # fmt: skip


KINDS = {
    "statistics and dropout": {"model": normed},
    "two inputs": {"model": Pair, "data": pairs},
    "a dict": {"model": OfDict, "data": dicts},
    "a closure": {"loss": settings(cf.tensor([1.0, 2.0, 0.5]))},
    "a function of the package": {"loss": nn.functional.cross_entropy},
    "augmentation": {"augment": cf.data.GaussianNoise(0.1)},
    "accumulation": {"accumulate": 2, "epochs": 5},
    "validation": {"validation": [(cf.tensor(X), cf.tensor(Y))], "metrics": [t.accuracy, t.f1]},
    "a metric of one's own": {"metrics": [lambda p, y: (p.argmax(1) == y).float().mean()]},
    "early stopping": {"callbacks": lambda o: [t.EarlyStopping(2, 1.0)], "epochs": 9},
    "the best": {"callbacks": lambda o: [t.KeepBest(), t.EMA(0.9)]},
    "clipping": {"callbacks": lambda o: [t.ClipGradNorm(0.5), t.ClipGradValue(0.1)]},
    "a schedule of epochs": {
        "callbacks": lambda o: [t.Schedule(cf.optim.lr_scheduler.StepLR(o, 1, 0.5))]
    },
    "schedule-free": {"optimizer": cf.optim.ScheduleFreeAdamW},
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_same_training_by_itself_and_op_by_op(name):
    options = {"epochs": 3, **KINDS[name]}
    found = run(**options)
    assert_close(found, run(**options, compile=False))
    native, of = map(int, found[0].compiled.replace("all steps", "1 of 1 steps").split()[:3:2])
    assert native / of > 0.6
