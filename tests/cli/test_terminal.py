"""What needs a real process: Ctrl-C, and a terminal with its progress bar."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import contraflow as cf

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "120"}
TRAIN = [sys.executable, "-c", "from contraflow.cli.main import main; main()", "train", "digits",
         "--model", "mlp", "--widths", "16", "--seed", "5"]  # fmt: skip


def start(folder, *args, **options):
    return subprocess.Popen(
        [*TRAIN, "--out", str(folder), *args], env=ENV, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def wait_for_checkpoint(folder):
    until = time.monotonic() + 30
    while not list((folder / "checkpoints").glob("*.safetensors")):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_ctrl_c_saves_and_resume_ends_with_the_same_bytes(tmp_path):
    whole = start(tmp_path / "whole", "--epochs", "12")
    whole.communicate(timeout=60)
    stopped = start(tmp_path / "b", "--epochs", "12")
    wait_for_checkpoint(tmp_path / "b")
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=30)
    assert stopped.returncode == 130
    again = re.search(r"interrupted: stopped by Ctrl-C.*go on with: contraflow (train .*)\n", err)
    assert "Traceback" not in err and not (tmp_path / "b" / "model.safetensors").exists()
    assert again[1] == f"train digits --resume --out {tmp_path / 'b'}"
    resumed = start(tmp_path / "b", "--resume")
    out, err = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, err
    assert "going on in epoch" in out
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "b"))
    assert a == b


def test_a_second_ctrl_c_leaves_at_once_and_files_stay_whole(tmp_path):
    process = start(tmp_path, "--epochs", "500", "--batch-size", "1000")
    wait_for_checkpoint(tmp_path)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in err
    for path in (tmp_path / "checkpoints").glob("*.safetensors"):
        cf.load(path)


def in_terminal(args, env=()):
    """Run in a pseudo-terminal; what it printed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        args,
        env={**ENV, "TERM": "xterm-256color", **dict(env)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    printed = b""
    while True:
        try:
            printed += os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
    os.close(ours)
    assert process.wait(30) == 0
    return printed.decode()


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_gets_a_bar(colour, tmp_path):
    env = {} if colour else {"NO_COLOR": "1"}
    text = in_terminal([*TRAIN, "--epochs", "4", "--out", str(tmp_path)], env)
    bars = re.findall(r"epoch (\d)/4", text)
    assert bars[0] == "1" and bars[-1] == "4"
    assert re.search(r"loss \d\.\d{4} accuracy \d+\.\d%   validation loss", text)
    assert "━" in text and "epoch 1/4   loss" not in text
    assert ("\x1b[3" in text or "\x1b[1;3" in text) == colour  # a foreground colour
    assert (tmp_path / "model.safetensors").exists()


def test_output_in_ascii_does_not_fail(tmp_path):
    env = {**ENV, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*TRAIN, "--epochs", "1", "--out", str(tmp_path)], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_train_needs_no_rich():
    code = """
import sys
import contraflow.train
print(sorted({"rich", "click"} & {name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_bits_do_not_depend_on_the_cores(tmp_path):
    files = []
    for name, threads in (("one", {"OPENBLAS_NUM_THREADS": "1"}), ("default", {})):
        env = {k: v for k, v in ENV.items() if not k.endswith("NUM_THREADS")}
        args = [*TRAIN, "--widths", "256,256", "--batch-size", "512", "--epochs", "2"]
        done = subprocess.run(
            [*args, "--out", str(tmp_path / name)],
            env={**env, **threads},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1]
