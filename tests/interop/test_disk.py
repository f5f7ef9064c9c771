"""Saving never harms what is on disk: the old file or the whole new one, whatever happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import contraflow as cf
from contraflow.base import files

ROOT = Path(__file__).resolve().parent.parent.parent
posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and limits of POSIX")


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "model.safetensors"
    cf.save({"old": cf.ones(2)}, path)
    return path


def untouched(path):
    """The old file is whole, and nothing else lies beside it."""
    return cf.load(path)["old"].tolist() == [1, 1] and [p.name for p in path.parent.iterdir()] == [
        path.name
    ]


def run(code, *args):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # one thread, so that fork is safe
    )


def test_saving_replaces_the_file_and_leaves_nothing_beside(old):
    cf.save([2], old)
    assert cf.load(old) == [2]
    assert [p.name for p in old.parent.iterdir()] == [old.name]


def test_what_cannot_be_saved_leaves_the_old_file(old):
    with pytest.raises(cf.DTypeError):
        cf.save({"new": [1, print]}, old)
    assert untouched(old)


@posix
def test_a_full_disk_leaves_the_old_file(old):
    code = """
import resource, signal, sys
import contraflow as cf
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that write() fails, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    cf.save({"new": cf.zeros(1_000_000)}, sys.argv[1])
except cf.FileError as error:
    print(error)
"""
    done = run(code, old)
    assert re.search("cannot be written: File too large", done.stdout), done
    assert untouched(old)


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_failure_at_any_point_leaves_the_old_file(failing, old, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    if failing == "write":
        monkeypatch.setattr(files.os, "fdopen", fail)
    else:
        monkeypatch.setattr(files.os, failing, fail)
    with pytest.raises(cf.FileError, match="No space left"):
        cf.save({"new": 1}, old)
    monkeypatch.undo()
    assert untouched(old)


KILLED = """
import os, signal, sys, time
import contraflow as cf
path = sys.argv[1]
for turn in range(25):
    child = os.fork()
    if child == 0:
        while True:
            cf.save({"old": cf.ones(2), "new": cf.full((500_000,), float(turn))}, path)
    time.sleep(0.02 + 0.0013 * turn)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    state = cf.load(path)
    assert state["old"].tolist() == [1, 1], turn
    assert "new" not in state or (state["new"] == state["new"][0]).all(), turn
print("whole")
"""


@posix
def test_a_process_that_is_killed_while_saving_leaves_a_whole_file(old):
    done = run(KILLED, old)
    assert done.stdout == "whole\n", done.stderr
    # what the killed ones left is cleaned by a later save, once it is old enough to be nobody's
    orphans = [p for p in old.parent.iterdir() if p != old]
    assert orphans  # some were killed in the middle
    assert all(re.fullmatch(r"\.model\.safetensors\.[0-9a-f]{12}\.tmp", p.name) for p in orphans)
    cf.save([1], old)
    assert all(p.exists() for p in orphans)
    for orphan in orphans:
        os.utime(orphan, (0, 0))
    cf.save([2], old)
    assert [p.name for p in old.parent.iterdir()] == [old.name]


def test_only_orphans_of_this_very_file_are_removed(old):
    ours = old.parent / ".model.safetensors.0123456789ab.tmp"
    others = [
        ".model.safetensors.tmp",
        ".model.safetensors.0123.tmp",
        ".other.safetensors.0123456789ab.tmp",
        "model.safetensors.0123456789ab.tmp",
        ".model.safetensors.0123456789ab.txt",
    ]
    for path in (ours, *(old.parent / name for name in others)):
        path.write_text("x")
        os.utime(path, (0, 0))
    cf.save([1], old)
    assert not ours.exists()
    assert all((old.parent / name).exists() for name in others)


# ---- places that are no ordinary files ----------------------------------------------------------


@posix
def test_links_folders_pipes_and_devices_are_not_replaced(old, tmp_path):
    link, pipe, folder = tmp_path / "link", tmp_path / "pipe", tmp_path / "folder"
    link.symlink_to(old)
    os.mkfifo(pipe)
    folder.mkdir()
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    for path in (link, pipe, folder, dangling):
        before = path.lstat().st_ino
        with pytest.raises(cf.FileError, match="symbolic link|not an ordinary file"):
            cf.save({"new": 1}, path)
        assert path.lstat().st_ino == before
    with pytest.raises(cf.FileError, match="not an ordinary file"):
        cf.save({"new": 1}, "/dev/null")
    assert not Path("/dev/null").is_file()
    assert cf.load(old)["old"].tolist() == [1, 1]
    assert cf.load(link)["old"].tolist() == [1, 1]  # reading through a link harms nobody
    assert not (tmp_path / "nowhere").exists()
    assert not list(tmp_path.glob(".*.tmp"))


@posix
@pytest.mark.parametrize("kind", ["pipe", "folder", "/dev/zero", "missing", "nowhere/x", "empty"])
def test_what_is_no_ordinary_file_is_not_read(kind, tmp_path):
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)  # nobody writes: opening it as usual would wait for ever
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    with pytest.raises(cf.FileError, match="cannot be read") as caught:
        cf.load(path)
    assert "test_disk.py" in str(caught.value)


@pytest.mark.parametrize("name", ["missing/model", "a\0b", "n" * 300, ""])
def test_paths_that_cannot_be_written(name, tmp_path):
    with pytest.raises(cf.FileError, match="cannot be written") as caught:
        cf.save({"new": 1}, f"{tmp_path}/{name}")
    assert "fix:" in str(caught.value)
    assert not list(tmp_path.iterdir())


@posix
def test_a_folder_that_may_not_be_written(old):
    if os.geteuid() == 0:
        # for root no folder is read-only; this one is, for everybody
        place, known = Path("/proc/model.safetensors"), None
    else:
        old.parent.chmod(0o555)
        place, known = old, old.read_bytes()
    try:
        with pytest.raises(cf.FileError, match="cannot be written"):
            cf.save({"new": 1}, place)
    finally:
        old.parent.chmod(0o755)
    assert known is None or untouched(old)


@posix
def test_the_permissions_of_the_old_file_are_kept(old):
    old.chmod(0o600)
    cf.save([1], old)
    assert old.stat().st_mode & 0o777 == 0o600


@posix
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    cf.save([1], tmp_path / "ours")
    (tmp_path / "usual").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode
