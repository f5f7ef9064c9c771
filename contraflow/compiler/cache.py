"""Machine code kept on disk, so that a second process need not compile again.

An entry is named by a digest of all that decides its code: the step's graph, this package's
compiler, LLVM's version, the CPU and its features. It begins with a digest of the code itself; a
damaged entry is compiled anew. The folder belongs to the user alone: one that others could write
to is not used. ``CONTRAFLOW_CACHE`` names another folder; ``CONTRAFLOW_CACHE=0`` switches it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from functools import cache
from pathlib import Path

from contraflow.base.errors import FileError
from contraflow.base.files import write_atomically

__all__ = ["folder", "key_of", "load", "store"]

MOST, KEPT = 512, 448  # entries; when there are more the oldest go, down to so many
DIGEST = 32  # bytes of SHA-256 at the beginning of an entry


@cache
def sources() -> list[Path]:
    """The compiler's own sources; none where they are no files, as in an archive."""
    return sorted(Path(__file__).parent.glob("*.py"))


@cache
def source_digest() -> str:
    """A digest of the compiler's own sources: another version writes other code."""
    total = hashlib.sha256()
    for path in sources():
        total.update(path.read_bytes())
    return total.hexdigest()


def key_of(*parts: str) -> str:
    """The name of an entry, from everything that decides its code."""
    text = "\0".join((source_digest(), *parts))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def folder() -> Path | None:
    """Where entries lie, made if need be; None if there is no safe place."""
    chosen = os.environ.get("CONTRAFLOW_CACHE", "")
    if chosen == "0" or not sources():
        return None
    if chosen:
        path = Path(chosen)
    else:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        path = Path(root) / "contraflow"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = path.stat()
    except (OSError, RuntimeError):  # no home, no space, no permission
        return None
    owned = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    shared = os.name == "posix" and about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return path if owned and not shared else None


def load(key: str) -> bytes | None:
    """The code of an entry; None if there is none that is whole."""
    where = folder()
    if where is None:
        return None
    try:
        data = (where / f"{key}.o").read_bytes()
    except OSError:
        return None
    code = data[DIGEST:]
    if hashlib.sha256(code).digest() != data[:DIGEST]:
        return None
    with contextlib.suppress(OSError):
        os.utime(where / f"{key}.o")  # used now: it goes last
    return code


def store(key: str, code: bytes) -> None:
    """Keep the code; a disk that is full or read-only is no reason to fail."""
    where = folder()
    if where is None:
        return
    with contextlib.suppress(FileError, OSError):
        write_atomically(where / f"{key}.o", hashlib.sha256(code).digest() + code, synced=False)
        prune(where)


def prune(where: Path) -> None:
    """Remove the entries that were not used for longest, beyond the limit."""
    entries = [entry for entry in os.scandir(where) if entry.name.endswith(".o")]
    if len(entries) > MOST:
        entries.sort(key=lambda entry: entry.stat().st_mtime)
        for entry in entries[: len(entries) - KEPT]:
            os.unlink(entry.path)
