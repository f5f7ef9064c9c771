"""Same seed, same bits: in a fresh process, and with any number of threads for BLAS."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib
import contraflow as cf
from contraflow import nn
from contraflow.data import DataLoader, TensorDataset

cf.manual_seed(2024)
x = cf.randn(200, 1, 8, 8)
y = (x[:, 0, :4].mean((1, 2)) > 0).long() + 2 * (x[:, 0, 4:].mean((1, 2)) > 0).long()
model = nn.Sequential(
    nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(54, 64), nn.GELU(), nn.Dropout(0.4), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 4),
)
optimizer = cf.optim.AdamW(model.parameters(), lr=0.01)
schedule = cf.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
losses = []
for epoch in range(5):
    for a, b in DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(a), b, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    schedule.step()
digest = hashlib.sha256(repr(losses).encode())
for t in [*model.parameters(), *model.buffers(), cf.get_rng_state()]:
    digest.update(t.detach().numpy().tobytes())
print(digest.hexdigest(), sum(losses[:5]), sum(losses[-5:]))
"""
ROOT = Path(__file__).resolve().parent.parent
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run(threads="1", hash_seed="0"):
    environment = {**os.environ, **dict.fromkeys(THREADS, threads), "PYTHONHASHSEED": hash_seed}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def first():
    return run()


def test_a_training_run_gives_the_same_bits_in_a_fresh_process(first):
    digest, before, after = first
    assert len(digest) == hashlib.sha256().digest_size * 2
    assert float(after) < float(before)  # it did train
    assert run(hash_seed="1") == first  # nor does the order of sets matter


def test_the_bits_of_a_small_net_do_not_depend_on_the_threads(first):
    assert run(threads="4") == first
