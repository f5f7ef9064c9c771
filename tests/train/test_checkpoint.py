"""Checkpoints: a run that was killed and resumed ends with the same bits as one that was not."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import contraflow as cf
from contraflow import nn
from contraflow import train as t
from contraflow.train import worth

ROOT = Path(__file__).resolve().parents[2]

# Dropout, batch statistics, augmentation, shuffling, a schedule, momentum, an average, metrics with
# a state: everything that has a memory.
RUN = """
import sys
import contraflow as cf
from contraflow import nn, train as t

def make(seed=0):
    cf.manual_seed(seed)
    x = cf.randn(60, 1, 4, 4)
    y = (x.sum((1, 2, 3)) > 0).long()
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Dropout(0.3),
                          nn.LayerNorm(12), nn.Linear(12, 2))
    optimizer = cf.optim.NAdam(model.parameters(), lr=0.01)
    loader = cf.data.DataLoader(cf.data.TensorDataset(x, y), batch_size=8, shuffle=True)
    held = cf.data.DataLoader(cf.data.TensorDataset(x, y), batch_size=60, shuffle=True)
    rate = cf.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=8 * 6)
    return dict(
        model=model, loss=nn.CrossEntropyLoss(), optimizer=optimizer, data=loader, epochs=6,
        validation=held, metrics=[t.accuracy, t.confusion_matrix, t.f1],
        augment=cf.data.GaussianNoise(0.1), monitor="validation_accuracy",
        callbacks=[t.Schedule(rate), t.ClipGradNorm(1.0), t.EMA(0.9), t.EarlyStopping(50)],
    )
"""
names = {}
exec(RUN, names)
make = names["make"]

MAIN = (
    RUN
    + """
import os, signal
from contraflow.train import worth

class Kill(t.Callback):
    def __init__(self, at):
        self.at = at
    def batch_end(self, run):
        if run.steps == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

folder, out, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
worth.WORTH = int(sys.argv[4])
parts = make()
if at:
    parts["callbacks"].append(Kill(at))
history = t.fit(**parts, checkpoints=t.Checkpoints(folder, every_steps=3), resume=True)
del history._columns["seconds"]
cf.save({"model": dict(parts["model"].state_dict()), "history": history.state_dict()}, out)
"""
)


def arguments(*args):
    return [sys.executable, "-c", MAIN, *map(str, (*args, worth.WORTH))]


def process(*args, **options):
    command = arguments(*args)
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {way: tmp_path_factory.mktemp(way) for way in ("eager", "native")}


@pytest.fixture
def uninterrupted(folders, steps):
    """The bytes that a run without interruption writes."""
    folder = folders[steps]
    if not (folder / "out").exists():
        done = process(folder / "checkpoints", folder / "out", 0)
        assert done.returncode == 0, done.stderr
    return (folder / "out").read_bytes()


@pytest.mark.parametrize("kills", [[1, 16], [3, 8, 20, 46]])
def test_killed_and_resumed_to_the_same_bytes(kills, uninterrupted, tmp_path):
    for at in kills:
        assert process(tmp_path / "c", tmp_path / "out", at).returncode == -signal.SIGKILL
    done = process(tmp_path / "c", tmp_path / "out", 0)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == uninterrupted


def test_killed_from_outside_at_any_moment(uninterrupted, tmp_path):
    """Not at a place that the code chose: also in the middle of writing a checkpoint."""
    for delay in (0.05, 0.15, 0.25):
        process_ = subprocess.Popen(
            arguments(tmp_path / "c", tmp_path / "out", 0),
            cwd=ROOT, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        until = time.monotonic() + 20
        while not list((tmp_path / "c").glob("*.safetensors")) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(delay)
        process_.kill()
        process_.wait()
        for path in (tmp_path / "c").glob("*.safetensors"):
            cf.load(path)  # whole, whatever happened
    done = process(tmp_path / "c", tmp_path / "out", 0)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == uninterrupted


# ---- in one process -----------------------------------------------------------------------------


def weights(parts):
    return {k: v.detach().numpy().copy() for k, v in parts["model"].state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


class StopAt(t.Callback):
    """Leaves the run by an error of its own."""

    def __init__(self, step):
        self.step = step

    def batch_end(self, run):
        if run.steps == self.step:
            raise RuntimeError("power failure")


def broken_run(folder, step, **options):
    parts = make()
    parts["callbacks"].append(StopAt(step))
    with pytest.raises(RuntimeError, match="power failure"):
        t.fit(**parts, checkpoints=t.Checkpoints(folder, **options))


def test_lists_of_batches_resume_in_the_middle_of_an_epoch(tmp_path):
    def parts():
        made = make()
        made["data"] = list(made["data"])
        return made

    whole = parts()
    history = t.fit(**whole)
    begun = parts()
    begun["callbacks"].append(StopAt(13))
    with pytest.raises(RuntimeError, match="power failure"):
        t.fit(**begun, checkpoints=t.Checkpoints(tmp_path, every_steps=5))
    rest = parts()
    assert t.fit(**rest, checkpoints=tmp_path, resume=True) == history
    assert same(weights(rest), weights(whole))


def test_the_newest_and_the_best_are_kept(tmp_path):
    parts = make()
    history = t.fit(**parts, checkpoints=t.Checkpoints(tmp_path, keep=2))
    best = history["validation_accuracy"].index(max(history["validation_accuracy"])) + 1
    steps = {best * 8, 5 * 8, 6 * 8}
    assert {p.name for p in tmp_path.iterdir()} == {
        f"checkpoint-{s:09d}.safetensors" for s in steps
    }


def test_a_finished_run_has_nothing_to_do(tmp_path):
    whole = make()
    history = t.fit(**whole, checkpoints=tmp_path)
    again = make()
    assert t.fit(**again, checkpoints=tmp_path, resume=True) == history
    assert same(weights(again), weights(whole))


def test_more_epochs_go_on_where_it_ended(tmp_path):
    def parts(epochs):
        made = {**make(), "epochs": epochs}
        made["callbacks"] = made["callbacks"][1:]  # no schedule: it depends on the length
        return made

    whole = parts(5)
    t.fit(**whole)
    t.fit(**parts(2), checkpoints=tmp_path)
    longer = parts(5)
    assert t.fit(**longer, checkpoints=tmp_path, resume=True).epochs == 5
    assert same(weights(longer), weights(whole))


def test_resume_begins_where_there_is_nothing_yet(tmp_path):
    assert t.fit(**make(), checkpoints=tmp_path / "new" / "folder", resume=True).epochs == 6


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "other"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(harm, tmp_path):
    whole = make()
    history = t.fit(**whole)
    broken_run(tmp_path, 21, every_steps=5)
    newest = max(tmp_path.iterdir())
    data = bytearray(newest.read_bytes())
    if harm == "flip":
        data[-100] ^= 1
    newest.write_bytes({"cut": data[:-50], "empty": b"", "other": b"PK\x03\x04"}.get(harm, data))
    rest = make()
    with pytest.warns(t.CheckpointWarning, match=f"{newest.name}(.|\n)*going on from checkpoint-"):
        found = t.fit(**rest, checkpoints=tmp_path, resume=True)
    assert found == history
    assert same(weights(rest), weights(whole))


def test_all_damaged_is_an_error_and_nothing_is_deleted(tmp_path):
    broken_run(tmp_path, 21)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    before = sorted(tmp_path.iterdir())
    parts = make()
    kept = weights(parts)
    with pytest.raises(cf.FileError, match="no checkpoint in the folder is intact"):
        t.fit(**parts, checkpoints=tmp_path, resume=True)
    assert sorted(tmp_path.iterdir()) == before and same(weights(parts), kept)


def test_another_runs_folder_is_refused(tmp_path):
    broken_run(tmp_path, 10)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(cf.FileError, match="resume=True"):
        t.fit(**make(), checkpoints=tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def other_model(parts):
    cf.manual_seed(0)
    parts["model"] = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    parts["optimizer"] = cf.optim.NAdam(parts["model"].parameters(), lr=0.01)
    parts["callbacks"] = [t.Schedule(cf.optim.lr_scheduler.OneCycleLR(
        parts["optimizer"], max_lr=0.02, total_steps=48)), *parts["callbacks"][1:]]  # fmt: skip


def other_optimizer(parts):
    parts["optimizer"] = cf.optim.SGD(parts["model"].parameters(), lr=0.01)
    parts["callbacks"] = [t.Schedule(cf.optim.lr_scheduler.OneCycleLR(
        parts["optimizer"], max_lr=0.02, total_steps=48)), *parts["callbacks"][1:]]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        other_model,
        other_optimizer,
        lambda parts: parts.update(callbacks=parts["callbacks"][1:]),
        lambda parts: parts.update(metrics=[t.accuracy]),
        lambda parts: parts.update(monitor="validation_loss"),
        lambda parts: parts.update(data=list(parts["data"])),
        lambda parts: parts.update(
            data=cf.data.DataLoader(cf.data.TensorDataset(cf.ones(9, 16), cf.zeros(9).long()), 3)
        ),
    ],
)
def test_a_checkpoint_of_another_run_changes_nothing(change, tmp_path):
    broken_run(tmp_path, 19, every_steps=6)
    parts = make()
    change(parts)
    before = weights(parts)
    random = cf.get_rng_state().tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(cf.StateError):
            t.fit(**parts, checkpoints=tmp_path, resume=True)
    assert same(weights(parts), before)
    assert cf.get_rng_state().tolist() == random
    assert all(not state for state in parts["optimizer"].state.values())


def test_a_safetensors_file_that_is_no_checkpoint(tmp_path):
    cf.save({"weight": cf.ones(2)}, tmp_path / "checkpoint-000000001.safetensors")
    with pytest.raises(cf.StateError, match="not the state of a training run"):
        t.fit(**make(), checkpoints=tmp_path, resume=True)


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(cf.FileError, match="cannot be used"):
            t.fit(**make(), checkpoints=folder)
    assert (tmp_path / "file").read_text() == ""


def test_orphans_of_killed_processes_are_removed(tmp_path):
    orphan = tmp_path / ".checkpoint-000000008.safetensors.0123456789ab.tmp"
    young = tmp_path / ".checkpoint-000000016.safetensors.0123456789ab.tmp"
    foreign = tmp_path / ".notes.tmp"
    for path in (orphan, young, foreign):
        path.write_text("half")
    os.utime(orphan, (0, 0))
    os.utime(foreign, (0, 0))
    t.fit(**make(), checkpoints=tmp_path)
    assert not orphan.exists() and young.exists() and foreign.exists()


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    class Press(t.Callback):
        def batch_end(self, run):
            if run.steps == 12:
                signal.raise_signal(signal.SIGINT)

    whole = make()
    history = t.fit(**whole)
    parts = make()
    parts["callbacks"].append(Press())
    with pytest.raises(t.Interrupted, match="saved as .*checkpoint-000000012(.|\n)*resume=True"):
        t.fit(**parts, checkpoints=tmp_path)
    rest = make()
    assert t.fit(**rest, checkpoints=tmp_path, resume=True) == history
    assert same(weights(rest), weights(whole))


def test_files_whose_header_begins_like_a_pickle(tmp_path):
    """A header of 640 bytes begins with 80 02, as a pickle does."""
    path = tmp_path / "model.safetensors"
    for n in range(1, 60):
        cf.save({"w": cf.ones(2), "note": "x" * (8 * n)}, path)
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert cf.load(path)["w"].tolist() == [1.0, 1.0]
