"""``step.epoch(loader)`` against the Python loop over the same loader: same bits everywhere."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow.base.interrupts import interrupts_wait
from contraflow.data import DataLoader, TensorDataset
from contraflow.nn import functional as F
from tests.compiler.training import TrainingStep, random_batch

ROWS, CLASSES = 50, 3


@pytest.fixture(autouse=True, scope="module")
def compiled_once(tmp_path_factory):
    """The loop and the epoch run the same code: the second one finds it on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTRAFLOW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def short_pieces(monkeypatch):
    """Python is asked every 2 milliseconds."""
    monkeypatch.setattr("contraflow.compiler.epoch.PIECE", 2e-3)


def data(rows=ROWS, dtype=np.float32):
    return TensorDataset(*random_batch(rows, 5, CLASSES, dtype))


class Training(TrainingStep):
    """With a choice of what its step returns."""

    def __init__(self, *extra, returns=lambda loss, output: loss, optimizer=cf.optim.Adam):
        cf.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 8), *extra, nn.Tanh(), nn.Linear(8, CLASSES))
        super().__init__(model, optimizer(model.parameters(), lr=0.01))
        self.returns = returns


def same(a, b):
    """Equal bits, also of NaN."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def assert_same_state(a, b):
    for x, y in zip(a.state(), b.state(), strict=True):
        assert same(x, y)


def array(t):
    return t.detach().numpy()


def compare(make, loader_of, epochs=2, native=True):
    """Train by the loop and by ``epoch``; gives what both returned in the last epoch."""
    found = []
    for by_epoch in (False, True):
        training = make()
        loader = loader_of()
        for _ in range(epochs):
            if by_epoch:
                rows = training.step.epoch(loader)
            else:
                rows = [training.step(*batch) for batch in loader]
        found.append((training, loader, rows, cf.get_rng_state().tolist()))
    (one, a, by_loop, random), (two, b, by_epoch, also) = found
    assert_same_state(one, two)
    assert random == also
    if hasattr(a, "state_dict"):
        assert a.state_dict() == b.state_dict()
    loops = "native loops" in two.step.explain(times=False)
    assert loops == native, two.step.last_epoch
    return by_loop, by_epoch, two.step


LOADERS = {
    "in order": lambda: DataLoader(data(), batch_size=10),
    "shuffled": lambda: DataLoader(data(), batch_size=10, shuffle=True),
    "short last batch": lambda: DataLoader(data(), batch_size=16, shuffle=True),
    "drop_last": lambda: DataLoader(data(), batch_size=16, shuffle=True, drop_last=True),
    "one batch": lambda: DataLoader(data(), batch_size=64),
    "batch of 1": lambda: DataLoader(data(12), shuffle=True),
    "own generator": lambda: DataLoader(
        data(), 8, shuffle=True, generator=cf.Generator().manual_seed(7)
    ),
    "replacement": lambda: DataLoader(
        data(), 8, sampler=cf.data.RandomSampler(data(), replacement=True, num_samples=70)
    ),
    "weighted": lambda: DataLoader(
        data(), 8, sampler=cf.data.WeightedRandomSampler(np.arange(ROWS) + 1.0, 40)
    ),
    "subset": lambda: DataLoader(cf.data.Subset(data(), list(range(40, 3, -1))), 8, shuffle=True),
    "part of a subset": lambda: DataLoader(
        cf.data.random_split(cf.data.Subset(data(), [*range(-20, 20)]), [0.5, 0.5])[1], 8
    ),
    "subset sampler": lambda: DataLoader(
        data(), 8, sampler=cf.data.SubsetRandomSampler([-1, *range(20)])
    ),
    "list as sampler": lambda: DataLoader(data(), 8, sampler=[3, 1, 4, 1, -5, 9, 2, 6, 5, 3]),
    "batch sampler": lambda: DataLoader(
        data(), batch_sampler=cf.data.BatchSampler(range(30), 8, False)
    ),
    "workers": lambda: DataLoader(data(), 8, shuffle=True, num_workers=2),
}


@pytest.mark.parametrize("name", LOADERS)
def test_same_bits_as_the_loop_over_any_loader(name):
    by_loop, by_epoch, step = compare(lambda: Training(nn.Dropout(0.3)), LOADERS[name])
    assert same(array(by_epoch), [array(row) for row in by_loop])
    assert "as calls of their own" not in step.explain(times=False)


@pytest.mark.parametrize("optimizer", ["SGD", "Lion", "NAdam"])
def test_same_bits_with_other_optimizers_and_batch_norm(optimizer):
    def make():
        return Training(nn.BatchNorm1d(8), optimizer=getattr(cf.optim, optimizer))

    by_loop, by_epoch, _ = compare(make, LOADERS["short last batch"])
    assert same(array(by_epoch), [array(row) for row in by_loop])


def test_many_batches_in_one_call():
    """More than the first few, which are measured to find the pace."""

    def loader():
        return DataLoader(data(1200), batch_size=2, shuffle=True)

    by_loop, by_epoch, _ = compare(Training, loader, epochs=1)
    assert same(array(by_epoch), [array(row) for row in by_loop])


def test_float64_and_rows_of_any_width():
    cf.manual_seed(0)
    parts = [
        cf.randn(21, 3, 2).double(), cf.randint(9, (21,)), cf.randn(21), cf.randint(2, (21, 3)).bool(),
        cf.randn(21, 7), cf.randn(21, 2), cf.randint(100, (21, 5)).to(cf.uint8), cf.randn(3, 21).t(),
        cf.randn(42, 4)[::2], cf.randn(5, 21)[2],
    ]  # fmt: skip
    step = cf.compile(lambda *given: [t * 1 for t in given])
    loader = DataLoader(TensorDataset(*parts), batch_size=7, shuffle=True)
    cf.manual_seed(3)
    by_loop = list(loader)
    cf.manual_seed(3)
    by_epoch = step.epoch(loader)
    for k, column in enumerate(by_epoch):
        expected = np.stack([batch[k].numpy() for batch in by_loop])
        np.testing.assert_array_equal(column.numpy(), expected)


def test_augmentation_inside_the_step():
    cf.manual_seed(0)
    images = TensorDataset(cf.randn(20, 1, 6, 6), cf.randint(CLASSES, (20,)))

    class Convolving(Training):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(
                nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)
            )
            self.optimizer = cf.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)

        def plain(self, x, y):
            return super().plain(x * (1 + 0.1 * cf.rand(len(x), 1, 1, 1)) + cf.rand(x.shape), y)

    by_loop, by_epoch, _ = compare(
        Convolving, lambda: DataLoader(images, batch_size=8, shuffle=True)
    )
    assert same(array(by_epoch), [array(row) for row in by_loop])


def test_threads_gather_and_step_together():
    class Always:
        """A team for every call."""

        trials = ()

        def __init__(self):
            self.calls = 0

        def __call__(self, run, calls=1):
            self.calls += calls
            run(2)

    def make():
        training = Training()
        training.model = nn.Sequential(
            nn.Linear(5, 256), nn.Tanh(), nn.Dropout(0.2), nn.Linear(256, 256), nn.Tanh(),
            nn.Linear(256, CLASSES),
        )  # fmt: skip
        training.optimizer = cf.optim.Adam(training.model.parameters())
        return training

    def loader():
        return DataLoader(data(300), batch_size=61, shuffle=True)

    def run(team):
        training, batches = make(), loader()
        cf.manual_seed(5)
        first = training.step.epoch(batches)
        if team is not None:
            for (version,) in training.step.versions.values():
                version.native.pace = team
        return training, [array(first), array(training.step.epoch(batches))]

    cf.set_num_threads(1)
    alone, expected = run(None)
    cf.set_num_threads(2)
    try:
        team = Always()
        together, found = run(team)
    finally:
        cf.set_num_threads(1)
    assert team.calls == 5
    assert same(found, expected)
    assert_same_state(alone, together)
    wrong = data(300)
    wrong.tensors[1][200] = CLASSES
    with pytest.raises(cf.IndexOutOfRange):
        together.step.epoch(DataLoader(wrong, batch_size=61))


# ---- what the step returns -----------------------------------------------------------------------


def test_several_values_in_any_structure():
    def returns(loss, output):
        return {"loss": loss, "more": (output.sum(0), output.argmax(1).sum()), "name": "a step"}

    by_loop, by_epoch, _ = compare(lambda: Training(returns=returns), LOADERS["short last batch"])
    assert by_epoch["name"] == "a step"
    assert same(array(by_epoch["loss"]), [array(row["loss"]) for row in by_loop])
    for k in range(2):
        expected = [array(row["more"][k]) for row in by_loop]
        assert same(array(by_epoch["more"][k]), expected)


def test_nothing_is_returned():
    _, by_epoch, _ = compare(lambda: Training(returns=lambda *_: None), LOADERS["shuffled"])
    assert by_epoch is None


def test_the_shapes_of_a_short_last_batch_make_a_list():
    by_loop, by_epoch, _ = compare(
        lambda: Training(returns=lambda loss, output: (loss, output, len(output))),
        LOADERS["short last batch"],
    )
    losses, outputs, sizes = by_epoch
    assert same(array(losses), [array(row[0]) for row in by_loop])
    assert sizes == [16, 16, 16, 2]
    assert [tuple(o.shape) for o in outputs] == [(16, 3), (16, 3), (16, 3), (2, 3)]
    for a, b in zip(outputs, by_loop, strict=True):
        assert same(array(a), array(b[1]))


def test_no_batch_at_all():
    training = Training()
    before = training.state()
    assert training.step.epoch(DataLoader(data(3), batch_size=4, drop_last=True)) is None
    assert training.step.epoch([]) is None
    assert all(map(same, training.state(), before))


# ---- what goes batch by batch --------------------------------------------------------------------


class Scaled(cf.data.Dataset):
    """Samples that are made one by one."""

    def __init__(self, base):
        self.base = base

    def __len__(self):
        return len(self.base)

    def __getitem__(self, i):
        x, y = self.base[i]
        return x * 2, y


class Backwards(DataLoader):
    """Another order than that of the loader."""

    def __iter__(self):
        return iter(list(super().__iter__())[::-1])


class Around:
    """Passes everything on to a loader but its batches."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        return ((x + 1, y) for x, y in self.loader)

    def __getattr__(self, name):
        return getattr(self.__dict__["loader"], name)


class Odd(cf.data.Sampler):
    """Decides on its way."""

    def __init__(self):
        pass

    def __iter__(self):
        for i in range(9):
            yield (i + int(cf.randint(40, ()).item())) % 50

    def __len__(self):
        return 9


class Stream(cf.data.IterableDataset):
    """Does not even say how long it is."""

    def __iter__(self):
        return iter(data(21))


FALLBACKS = {
    "stream": lambda: DataLoader(Stream(), 8),
    "made one by one": lambda: DataLoader(Scaled(data(20)), 8, shuffle=True),
    "own collate": lambda: DataLoader(data(20), 8, collate_fn=cf.data.default_collate),
    "own iter": lambda: Backwards(data(20), 8),
    "own sampler": lambda: DataLoader(data(), 4, sampler=Odd()),
    "around": lambda: Around(DataLoader(data(20), 8)),
    "list": lambda: list(DataLoader(data(20), 8)),
    "generator": lambda: list(DataLoader(data(20), 8)),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_loaders_that_decide_on_their_way_go_batch_by_batch(name):
    by_loop, by_epoch, step = compare(
        lambda: Training(nn.Dropout(0.3)), FALLBACKS[name], native=False
    )
    assert same(array(by_epoch), [array(row) for row in by_loop])
    assert f"{len(by_loop)} as calls of their own because" in step.explain(times=False)


class Accumulating(Training):
    """Adds to the gradients of the call before."""

    def plain(self, x, y):
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        return loss


class Saliency(Training):
    """Leaves gradients of its argument."""

    def plain(self, x, y):
        loss = F.cross_entropy(self.model(x.requires_grad_()), y)
        loss.backward()
        return loss, x.grad.abs().sum()


class Strided(Training):
    """A weight that does not lie in one piece."""

    def __init__(self):
        super().__init__()
        weight = self.model[0].weight
        weight.data = cf.tensor(np.ascontiguousarray(weight.detach().numpy().T)).t()


class Opaque(Training):
    """An op without a native form."""

    def plain(self, x, y):
        q, _ = cf.linalg.qr(x.t() @ x)
        return super().plain(x @ q.detach(), y)


@pytest.mark.parametrize("make", [Accumulating, Saliency, Strided, Opaque])
def test_steps_that_need_python_in_between_go_batch_by_batch(make):
    by_loop, by_epoch, step = compare(make, LOADERS["short last batch"], epochs=1, native=False)
    leaves = [row if isinstance(row, tuple) else (row,) for row in by_loop]
    columns = by_epoch if isinstance(by_epoch, tuple) else (by_epoch,)
    for k, column in enumerate(columns):
        assert same(array(column), [array(row[k]) for row in leaves])
    assert "4 as calls of their own because" in step.explain(times=False)


def test_only_the_first_batch_differs():
    """Gradients that are there or not when a call begins: another version, then the loop."""

    class Later(Training):
        def plain(self, x, y):
            loss = F.cross_entropy(self.model(x), y)
            if self.model[0].weight.grad is not None:
                self.optimizer.zero_grad(set_to_none=False)
            loss.backward()
            self.optimizer.step()
            return loss

    by_loop, by_epoch, _ = compare(Later, LOADERS["shuffled"], native=False)
    assert same(array(by_epoch), [array(row) for row in by_loop])


# ---- in the middle -------------------------------------------------------------------------------


def test_progress_sees_the_rows_so_far(short_pieces):
    seen = []
    training = Training()
    loader = DataLoader(data(4000), batch_size=2, shuffle=True)
    rows = training.step.epoch(loader, progress=lambda done, rows: seen.append((done, rows)))
    assert seen[-1][0] == 2000
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    for done, so_far in seen:
        assert same(array(so_far), array(rows)[:done])


def test_progress_may_change_the_learning_rate_or_use_the_step(short_pieces):
    """Whatever it does happens between two batches, as it would in the loop."""

    def run(by_epoch):
        training = Training()
        loader = DataLoader(data(600), batch_size=2, shuffle=True)
        extra = next(iter(DataLoader(data(), 2)))

        def look(done, rows):
            changes.append(done)
            training.optimizer.param_groups[0]["lr"] *= 0.5
            training.step(*extra)

        if by_epoch:
            training.step.epoch(loader, progress=look)
        else:
            for done, batch in enumerate(loader, 1):
                training.step(*batch)
                if done in changes:
                    changes.remove(done)
                    training.optimizer.param_groups[0]["lr"] *= 0.5
                    training.step(*extra)
        return training

    changes = []
    a = run(True)
    assert changes
    b = run(False)
    assert not changes
    assert_same_state(a, b)


def test_a_scheduler_between_epochs():
    def run(by_epoch):
        training = Training()
        schedule = cf.optim.lr_scheduler.ExponentialLR(training.optimizer, 0.5)
        loader = LOADERS["short last batch"]()
        for _ in range(3):
            if by_epoch:
                training.step.epoch(loader)
            else:
                for batch in loader:
                    training.step(*batch)
            schedule.step()
        assert sum(map(len, training.step.versions.values())) == 2
        return training

    assert_same_state(run(True), run(False))


def test_an_error_in_progress_leaves_the_loader_where_the_model_is(short_pieces):
    def stop(done, rows):
        counts.append(done)
        raise RuntimeError("enough")

    counts = []
    a, b = Training(), Training()
    cf.manual_seed(3)
    loader = DataLoader(data(4000), batch_size=2, shuffle=True)
    a.step.epoch(loader)
    with pytest.raises(RuntimeError, match="enough"):
        a.step.epoch(loader, progress=stop)
    assert loader.state_dict()["position"] == counts[0]
    again = DataLoader(data(4000), batch_size=2, shuffle=True)
    again.load_state_dict(loader.state_dict())
    a.step.epoch(again)  # the rest
    assert again.state_dict()["position"] is None
    cf.manual_seed(3)
    loader = DataLoader(data(4000), batch_size=2, shuffle=True)
    for _ in range(2):
        for batch in loader:
            b.step(*batch)
    assert_same_state(a, b)


@pytest.mark.parametrize("when", [0, 1, 3, 17])
def test_a_wrong_label_stops_before_its_batch(when):
    def run(by_epoch):
        training = Training()
        training.step(*next(iter(DataLoader(data(), 4))))
        bad = data(100)
        bad.tensors[1][4 * when + 2] = CLASSES
        loader = DataLoader(bad, batch_size=4)
        with pytest.raises(cf.IndexOutOfRange, match=r"outside 0\.\.size-1"):
            if by_epoch:
                training.step.epoch(loader)
            else:
                for batch in loader:
                    training.step(*batch)
        assert loader.state_dict()["position"] == when + 1
        return training

    assert_same_state(run(True), run(False))


def test_rows_that_are_not_there():
    """A dataset that was cut while its loader was in use."""
    loader = DataLoader(data(), batch_size=8, sampler=cf.data.SubsetRandomSampler(range(ROWS)))
    loader.dataset.tensors = (loader.dataset.tensors[0], loader.dataset.tensors[1][:20])
    training = Training()
    *before, _ = training.state()
    with pytest.raises(cf.IndexOutOfRange, match="the data have 20 rows"):
        training.step.epoch(loader)
    *after, _ = training.state()  # but for the random state: an order was drawn
    assert all(map(same, after, before))


# ---- Ctrl-C --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["native", "one by one"])
def test_ctrl_c_leaves_everything_as_after_the_last_finished_batch(kind, short_pieces):
    def loader():
        full = data(100_000)
        return DataLoader(full if kind == "native" else Scaled(full), batch_size=2, shuffle=True)

    pressed = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))

    def press(done, rows):
        if not pressed.ident:
            pressed.start()

    a, b = Training(), Training()
    cf.manual_seed(3)
    first = loader()
    try:
        with pytest.raises(KeyboardInterrupt):
            a.step.epoch(first, progress=press)
    finally:
        pressed.cancel()
    done = first.state_dict()["position"]
    assert 0 < done < len(first)
    cf.manual_seed(3)
    for _, batch in zip(range(done), loader(), strict=False):
        b.step(*batch)
    assert_same_state(a, b)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_waits_for_the_end_and_is_handled_as_it_would_have_been():
    heard = []
    usual = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with interrupts_wait():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            assert not heard
        assert heard == [signal.SIGINT]
        with interrupts_wait():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            assert len(heard) == 2  # the second one at once
        assert len(heard) == 3
    finally:
        signal.signal(signal.SIGINT, usual)


def test_ctrl_c_is_left_alone_elsewhere():
    other = threading.Thread(target=lambda: Training().step.epoch(LOADERS["shuffled"]()))
    other.start()
    other.join()
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_wait():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, ignored)


def test_an_epoch_cannot_be_a_part_of_a_step():
    inner = Training()
    outer = cf.compile(lambda x: inner.step.epoch(LOADERS["shuffled"]()))
    with pytest.raises(cf.CaptureError, match="many calls of a step"):
        outer(cf.ones(1))
