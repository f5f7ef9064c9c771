"""Opening files that are not trusted, and replacing files without ever leaving half of one."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from contraflow.base.errors import ContraflowError, FileError, lesson

__all__ = ["damaged", "distrusted", "opened", "write_atomically"]

# What readers of damaged data raise.
DAMAGE = (
    ArithmeticError, EOFError, KeyError, MemoryError, NotImplementedError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
ORPHAN_AGE = 3600.0  # seconds: a temporary file this old was left by a process that was killed


def damaged(path: Any, why: str, fix: str = "get the file again from its source") -> FileError:
    """The error for a file that is not what it claims to be."""
    name = Path(path).name if isinstance(path, str | os.PathLike) else "the file"
    return FileError(lesson(f"{name} cannot be read: {why}", [("file", path)], fix))


@contextmanager
def opened(path: Any) -> Iterator[tuple[IO[bytes], int]]:
    """An ordinary file and its size; whatever goes wrong inside is a FileError."""
    # without O_NONBLOCK a pipe would make us wait for ever
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise damaged(path, why, "check the path") from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise damaged(path, "it is not an ordinary file", "check the path")
    with os.fdopen(descriptor, "rb") as file, distrusted(path):
        yield file, about.st_size


@contextmanager
def distrusted(path: Any) -> Iterator[None]:
    """Whatever the data makes go wrong inside is a FileError."""
    try:
        yield
    except ContraflowError:
        raise  # said on purpose
    except DAMAGE as error:
        raise damaged(path, str(error) or type(error).__name__) from None


def write_atomically(path: Any, data: bytes, synced: bool = True) -> None:
    """Write a file so that its name always shows the whole old or the whole new content.

    The data goes to a temporary name in the same folder, is synced to disk, and renamed. What a
    killed process left there under such a name is removed after an hour.

    Args:
        synced: not for what can be made again and is checked when it is read: a power failure may
            leave it damaged, and the disk need not be waited for.

    Raises:
        FileError: if the folder does not exist, cannot be written or is full, or the path is that
            of a link, a folder, a pipe or a device. The old file is untouched then.
    """
    target = Path(path)
    temporary = target.parent / f".{target.name}.{secrets.token_hex(6)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        old = mode_of(target)
        with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
            if old is not None:
                os.chmod(temporary, stat.S_IMODE(old))  # who could not read it still cannot
            file.write(data)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        fix = "a path in a folder that exists, may be written and has room"
        raise unwritable(target, why, fix) from None
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()
    with contextlib.suppress(OSError):
        if synced:
            sync_folder(target.parent)
        remove_orphans(target)


def mode_of(target: Path) -> int | None:
    """The mode of the file that will be replaced, None if there is none yet."""
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "not an ordinary file"
        raise unwritable(target, f"the path is {what}", "the path of the file itself")
    return mode


def unwritable(target: Path, why: str, fix: str) -> FileError:
    return FileError(lesson(f"{target.name} cannot be written: {why}", [("file", target)], fix))


def sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power failure (where folders can be synced)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_orphans(target: Path) -> None:
    """Remove old temporary files of this very target."""
    begin, now = f".{target.name}.", time.time()
    with os.scandir(target.parent) as entries:
        for entry in entries:
            tag = entry.name.removeprefix(begin).removesuffix(".tmp")
            ours = entry.name == f"{begin}{tag}.tmp" and len(tag) == 12 and tag.isalnum()
            if ours and now - entry.stat(follow_symlinks=False).st_mtime > ORPHAN_AGE:
                os.unlink(entry.path)
