"""``fit`` against the loop written by hand: same weights, bit by bit, and same numbers."""

import signal
import threading

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow import train as t


def problem(n=48, seed=0):
    """A small problem of three classes, a model for it, and its loader."""
    cf.manual_seed(seed)
    x = cf.randn(n, 4)
    y = x[:, :3].argmax(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 3))
    loader = cf.data.DataLoader(cf.data.TensorDataset(x, y), batch_size=10, shuffle=True)
    return model, loader


def weights(model):
    return [p.detach().numpy().copy() for p in model.parameters()]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def agree(a, b, steps):
    """Bit by bit op by op; native steps round in their own way."""
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6)
    return steps == "native" or same(a, b)


def by_hand(epochs=3, clip=None, augment=None):
    """The plain loop."""
    model, loader = problem()
    optimizer = cf.optim.Adam(model.parameters(), lr=0.01)
    loss_of, losses = nn.CrossEntropyLoss(), []
    for _ in range(epochs):
        model.train()
        total = count = 0
        for x, y in loader:
            if augment:
                x, y = augment(x, y)
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            total, count = total + loss.item() * len(y), count + len(y)
        losses.append(total / count)
    return weights(model), losses


def by_fit(epochs=3, **options):
    model, loader = problem()
    optimizer = cf.optim.Adam(model.parameters(), lr=0.01)
    history = t.fit(model, nn.CrossEntropyLoss(), optimizer, loader, epochs, **options)
    return model, history


def test_fit_is_the_loop_by_hand(steps):
    expected, losses = by_hand()
    model, history = by_fit()
    assert agree(weights(model), expected, steps)
    assert agree(history["loss"], losses, steps)
    assert history.compiled.startswith("0 of 15" if steps == "eager" else "all steps native")
    assert not model.training


def test_clipping_and_augmentation_are_in_the_right_places(steps):
    noise = cf.data.GaussianNoise(0.3)
    expected, _ = by_hand(clip=0.5, augment=noise)
    model, _ = by_fit(callbacks=[t.ClipGradNorm(0.5)], augment=noise)
    assert agree(weights(model), expected, steps)


def test_clip_by_value():
    seen = []

    class Look(t.Callback):
        def before_step(self, run):
            seen.extend(abs(p.grad.numpy()).max() for p in run.model.parameters())

    by_fit(epochs=1, callbacks=[t.ClipGradValue(1e-3), Look()])
    assert max(seen) == pytest.approx(1e-3)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_accumulated_batches_are_one_large_batch(reduction):
    def run(size, accumulate):
        cf.manual_seed(0)
        x, y = cf.randn(22, 4).double(), cf.randn(22, 2).double()
        model = nn.Linear(4, 2).double()
        data = cf.data.DataLoader(cf.data.TensorDataset(x, y), batch_size=size)
        optimizer = cf.optim.SGD(model.parameters(), lr=0.01)
        history = t.fit(
            model, nn.MSELoss(reduction=reduction), optimizer, data, 3, accumulate=accumulate
        )
        return weights(model), history["loss"]

    few, many = run(8, 1), run(2, 4)  # the last group is 3 batches, 6 samples
    for a, b in zip(few[0], many[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    if reduction == "mean":
        np.testing.assert_allclose(few[1], many[1], rtol=1e-12)


@pytest.mark.parametrize("name", [*cf.optim.RULES, "LBFGS"])
def test_every_optimizer_lowers_the_loss(name):
    cf.manual_seed(1)
    x = cf.randn(32, 3)
    y = x @ cf.tensor([[1.0], [-2.0], [0.5]])
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    kind = getattr(cf.optim, name)
    lr = {
        "LBFGS": 1.0,
        "Adadelta": 5.0,
        "Lion": 0.01,
        "Adagrad": 0.2,
        "LAMB": 0.1,
        "RAdam": 0.1,
    }.get(name, 0.05)
    params = list(model.parameters())
    if name == "Muon":
        matrices = [p for p in params if p.ndim == 2]
        optimizer = t.Together(kind(matrices, lr=lr), cf.optim.AdamW([params[1], params[3]]))
    else:
        optimizer = kind(params, lr=lr)
    loader = cf.data.DataLoader(cf.data.TensorDataset(x, y), batch_size=32)
    history = t.fit(model, nn.MSELoss(), optimizer, loader, 30, validation=loader)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    # what is handed out is what was measured last, also where training uses other weights
    final = t.evaluate(model, loader, nn.MSELoss())["loss"]
    assert final == history["validation_loss"][-1]


def test_lbfgs_is_the_loop_by_hand():
    def make():
        cf.manual_seed(2)
        x, y = cf.randn(20, 3), cf.randn(20, 1)
        model = nn.Linear(3, 1)
        return x, y, model, cf.optim.LBFGS(model.parameters(), lr=0.5)

    x, y, model, optimizer = make()
    for _ in range(3):

        def closure():
            optimizer.zero_grad()
            loss = nn.MSELoss()(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
    expected = weights(model)
    x, y, model, optimizer = make()
    t.fit(model, nn.MSELoss(), optimizer, [(x, y)], 3)
    for a, b in zip(weights(model), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_own_parts_several_inputs_and_lists_of_batches():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(cf.zeros(2))

        def forward(self, a, b):
            return a * self.w[0] + b * self.w[1]

    class Descent(cf.optim.Optimizer):
        @cf.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p -= group["lr"] * p.grad

    a, b = cf.randn(40), cf.randn(40)
    batches = [
        (a[i : i + 8], b[i : i + 8], 2 * a[i : i + 8] - b[i : i + 8]) for i in range(0, 40, 8)
    ]
    model = Pair()
    history = t.fit(
        model,
        lambda p, y: ((p - y) ** 2).mean(),
        Descent(model.parameters(), {"lr": 0.2}),
        batches,
        40,
        metrics=[t.mae, lambda p, y: (p - y).abs().max()],
    )
    np.testing.assert_allclose(model.w.detach().numpy(), [2, -1], atol=1e-3)
    assert list(history) == ["loss", "mae", "<lambda>", "lr", "seconds"]


def test_validation_is_measured_in_evaluation_mode():
    model, loader = problem()
    x, y = loader.dataset.tensors
    batch = [(x[:20], y[:20]), (x[20:], y[20:])]
    optimizer = cf.optim.Adam(model.parameters(), lr=0.01)
    history = t.fit(
        model,
        nn.CrossEntropyLoss(),
        optimizer,
        loader,
        4,
        validation=batch,
        metrics=[t.accuracy, t.confusion_matrix],
    )
    assert not model.training
    with cf.no_grad():
        scores = model(x)
    assert history["validation_loss"][-1] == pytest.approx(
        nn.CrossEntropyLoss()(scores, y).item(), rel=1e-6
    )
    said = scores.numpy().argmax(1)
    assert history["validation_accuracy"][-1] == np.mean(said == y.numpy())
    assert np.trace(history["validation_confusion_matrix"][-1]) == np.sum(said == y.numpy())


def test_evaluate_and_predict_leave_the_modes_alone():
    model, loader = problem()
    model.train()
    model[2].eval()
    modes = [m.training for m in model.modules()]
    found = t.evaluate(model, loader, nn.CrossEntropyLoss(), [t.accuracy])
    assert set(found) == {"loss", "accuracy"}
    x = loader.dataset.tensors[0]
    batches = cf.data.DataLoader(loader.dataset, batch_size=7)
    together = t.predict(model, batches)
    np.testing.assert_allclose(together.numpy(), t.predict(model, x).numpy(), rtol=1e-6)
    assert [m.training for m in model.modules()] == modes
    assert not together.requires_grad


# ---- a loss that is not finite ------------------------------------------------------------------


def test_a_loss_that_explodes_is_a_lesson_and_the_best_weights_are_kept():
    cf.manual_seed(0)
    x = cf.randn(64, 4)
    y = x.sum(1, keepdim=True)
    model = nn.Linear(4, 1)
    loader = cf.data.DataLoader(cf.data.TensorDataset(x, y), batch_size=8)
    optimizer = cf.optim.SGD(model.parameters(), lr=0.05)
    best = t.KeepBest()

    class Faster(t.Callback):
        def epoch_end(self, run):
            if run.epoch == 1:
                self.kept = weights(run.model)
                run.optimizer.param_groups[0]["lr"] = 1e6

    faster = Faster()
    with pytest.raises(cf.NonFiniteError) as caught:
        t.fit(model, nn.MSELoss(), optimizer, loader, 50, callbacks=[best, faster])
    text = str(caught.value)
    assert "in epoch 3, batch" in text and "lr=1e+06" in text
    assert "fix: a smaller learning rate (lr=100000)" in text and "ClipGradNorm" in text
    assert "weights of epoch 2, the best" in text
    assert isinstance(caught.value, ArithmeticError)
    assert same(weights(model), faster.kept)


def test_data_that_are_not_finite_are_named():
    model, loader = problem()
    before = weights(model)
    x, y = loader.dataset.tensors
    x = x.clone()
    x[3, 1] = float("nan")
    optimizer = cf.optim.Adam(model.parameters(), lr=0.01)
    batches = [(x, y)]
    with pytest.raises(cf.NonFiniteError, match="epoch 1, batch 1(.|\n)*nan_to_num"):
        t.fit(model, nn.CrossEntropyLoss(), optimizer, batches, 2)
    assert same(weights(model), before)


# ---- wrong use ----------------------------------------------------------------------------------


def parts():
    model, loader = problem()
    return {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": cf.optim.Adam(model.parameters()),
        "data": loader,
        "epochs": 1,
    }


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"epochs": 0}, cf.ArgumentError, "epochs"),
        ({"epochs": -1}, cf.ArgumentError, "epochs"),
        ({"epochs": 2.5}, cf.ArgumentError, "epochs"),
        ({"epochs": True}, cf.ArgumentError, "epochs"),
        ({"accumulate": 0}, cf.ArgumentError, "accumulate"),
        ({"model": "mlp"}, cf.DTypeError, "module"),
        ({"loss": nn.CrossEntropyLoss}, cf.DTypeError, "loss"),
        ({"optimizer": 0.1}, cf.DTypeError, "optimizer"),
        ({"optimizer": cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1)},
         cf.ArgumentError, "no parameter of this model"),
        ({"data": iter([])}, cf.DTypeError, "iterator"),
        ({"data": 3}, cf.DTypeError, "loader"),
        ({"data": cf.data.load_iris()}, cf.DTypeError, "DataLoader"),
        ({"data": []}, cf.ArgumentError, "no batch"),
        ({"data": [cf.ones(4, 4)]}, cf.DTypeError, "a batch is"),
        ({"validation": cf.ones(3)}, cf.DTypeError, "validation"),
        ({"metrics": ["accuracy"]}, cf.DTypeError, "metric"),
        ({"monitor": "acuracy"}, cf.ArgumentError, "measured"),
        ({"callbacks": ["stop"]}, cf.DTypeError, "callback"),
        ({"resume": True}, cf.ArgumentError, "checkpoints="),
        ({"checkpoints": 3}, cf.DTypeError, "folder"),
        ({"loss": lambda p, y: p.sum(1)}, cf.ShapeError, "one number"),
    ],
)  # fmt: skip
def test_wrong_use_is_a_lesson(change, error, words):
    given = parts()
    before = weights(given["model"])
    with pytest.raises(error, match=words):
        t.fit(**{**given, **change})
    assert same(weights(given["model"]), before)


def test_a_scheduler_among_the_callbacks_is_told_where_it_goes():
    given = parts()
    scheduler = cf.optim.lr_scheduler.StepLR(given["optimizer"], 1)
    with pytest.raises(cf.DTypeError, match=r"Schedule\(scheduler\)"):
        t.fit(**given, callbacks=[scheduler])


def test_evaluate_needs_a_batch():
    model, _ = problem()
    with pytest.raises(cf.ArgumentError, match="no batch"):
        t.evaluate(model, [])
    with pytest.raises(cf.ArgumentError, match="no batch"):
        t.predict(model, [])


# ---- Ctrl-C -------------------------------------------------------------------------------------


class PressCtrlC(t.Callback):
    """Sends this process SIGINT in the middle of a batch."""

    def __init__(self, at, times=1):
        self.at, self.times = at, times

    def before_step(self, run):
        if run.steps == self.at:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_the_run_after_the_batch(capfd):
    model, loader = problem()
    optimizer = cf.optim.Adam(model.parameters())
    steps = []

    class Count(t.Callback):
        def batch_end(self, run):
            steps.append(run.steps)

    with pytest.raises(t.Interrupted, match="epoch 2, after 2 batches") as caught:
        t.fit(
            model, nn.CrossEntropyLoss(), optimizer, loader, 5, callbacks=[PressCtrlC(6), Count()]
        )
    assert isinstance(caught.value, KeyboardInterrupt)
    assert steps[-1] == 7  # the batch in which it was pressed is complete
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "after this batch" in capfd.readouterr().err


def test_a_second_ctrl_c_ends_it_at_once():
    model, loader = problem()
    optimizer = cf.optim.Adam(model.parameters())
    with pytest.raises(KeyboardInterrupt) as caught:
        t.fit(model, nn.CrossEntropyLoss(), optimizer, loader, 5, callbacks=[PressCtrlC(6, 2)])
    assert not isinstance(caught.value, t.Interrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_fit_works_in_other_threads():
    done = []
    thread = threading.Thread(target=lambda: done.append(by_fit(epochs=1)))
    thread.start()
    thread.join()
    assert len(done) == 1
