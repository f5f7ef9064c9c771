"""Checkpoints of a run: complete, atomic, checked; the last few and the best are kept."""

from __future__ import annotations

import contextlib
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any

from contraflow.base.errors import ArgumentError, DTypeError, FileError, lesson
from contraflow.interop.files import load, save

__all__ = ["CheckpointWarning", "Checkpoints"]

NAME = re.compile(r"checkpoint-(\d{9})\.safetensors")
ORPHAN = re.compile(r"\.checkpoint-\d{9}\.safetensors\.[0-9a-f]{12}\.tmp")
ORPHAN_AGE = 60.0  # seconds: writing one checkpoint takes less


class CheckpointWarning(UserWarning):
    """The newest checkpoint could not be used."""


class Checkpoints:
    """Saves a run in a folder so that it can go on after anything, to the same bits.

    A file holds everything that decides the future: weights, optimiser, schedules, averages,
    random state, the loader's place in the epoch, the sums of the epoch so far, the history. It is
    written under another name, synced and renamed, and carries a digest of its content.

    Args:
        folder: where; it is made if it is not there.
        every_epochs: save after every so many epochs (the last and the best always).
        every_steps: save also after every so many optimiser steps.
        keep: how many of the newest to keep; the one of the best epoch stays besides.

    >>> import contraflow as cf
    >>> checkpoints = cf.train.Checkpoints("runs/digits", every_steps=1000, keep=2)
    """

    def __init__(
        self, folder: Any, every_epochs: int = 1, every_steps: int | None = None, keep: int = 3
    ) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise DTypeError(
                lesson(f"checkpoints takes a folder, not {folder!r:.60}",
                       fix='checkpoints="runs/digits"')
            )  # fmt: skip
        for name, value in (("every_epochs", every_epochs), ("every_steps", every_steps),
                            ("keep", keep)):  # fmt: skip
            good = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not good and not (name == "every_steps" and value is None):
                raise ArgumentError(
                    lesson(f"Checkpoints: {name} must be a whole number above 0, not {value!r}",
                           fix=f"{name}=1")
                )  # fmt: skip
        self.folder = Path(folder)
        self.every_epochs, self.every_steps, self.keep = every_epochs, every_steps, keep

    def paths(self) -> list[Path]:
        """The checkpoints in the folder, the newest last."""
        try:
            names = sorted(n for n in os.listdir(self.folder) if NAME.fullmatch(n))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._useless(error.strerror or str(error)) from None
        return [self.folder / name for name in names]

    def begin(self, run: Any, resume: bool) -> None:
        """Make the folder, and load the newest checkpoint into the run if it shall go on.

        Raises:
            FileError: if the folder cannot be used, holds another run that shall not go on, or
                holds no checkpoint that is intact.
            StateError: if the checkpoint is of another model, optimiser or kind of run.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._useless(error.strerror or str(error)) from None
        found = self.paths()
        if found and not resume:
            raise FileError(
                lesson(
                    f"the folder holds the checkpoints of another run ({len(found)} files)",
                    [("folder", self.folder), ("newest", found[-1].name)],
                    "resume=True to go on with it, or another folder",
                )
            )
        self._remove_orphans()
        if found:
            self._restore(run, found)

    def _useless(self, why: str) -> FileError:
        return FileError(
            lesson(f"the folder for checkpoints cannot be used: {why}",
                   [("folder", self.folder)], 'checkpoints="a/folder/that/can/be/written"')
        )  # fmt: skip

    def _restore(self, run: Any, found: list[Path]) -> None:
        """Load the newest checkpoint that is intact; say so if it is not the newest."""
        problems: list[str] = []
        for path in reversed(found):
            try:
                state = load(path)
            except FileError as error:
                problems.append(str(error).split("\n")[0])
                continue
            run.load_state_dict(state)
            if problems:
                warnings.warn(
                    lesson("; ".join(problems), [("instead", f"going on from {path.name}")]),
                    CheckpointWarning, stacklevel=4,
                )  # fmt: skip
            return
        raise FileError(
            lesson("no checkpoint in the folder is intact",
                   [("folder", self.folder), *((str(i + 1), p) for i, p in enumerate(problems))],
                   "begin anew in another folder")
        )  # fmt: skip

    # ---- saving --------------------------------------------------------------------------------

    def save(self, run: Any) -> Path:
        """Save the run as it stands; older files go away once the new one is safe."""
        path = self.folder / f"checkpoint-{run.steps:09d}.safetensors"
        save(run.state_dict(), path)
        self._prune(run)
        return path

    def batch_end(self, run: Any) -> None:
        """Save if it is time."""
        if self.every_steps is not None and run.steps % self.every_steps == 0:
            self.save(run)

    def epoch_end(self, run: Any) -> None:
        """Save if it is time, if the epoch was the best, or the last."""
        best = run.best is not None and run.best[0] == run.epoch
        if best or run.epoch % self.every_epochs == 0 or not run.goes_on():
            self.save(run)

    def _prune(self, run: Any) -> None:
        """Remove all but the newest and the one of the best epoch."""
        best = None if run.best is None else f"checkpoint-{run.best[2]:09d}.safetensors"
        for path in self.paths()[: -self.keep]:
            if path.name != best:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _remove_orphans(self) -> None:
        """Remove what a process that was killed while saving has left."""
        now = time.time()
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if ORPHAN.fullmatch(entry.name) and (
                    now - entry.stat(follow_symlinks=False).st_mtime > ORPHAN_AGE
                ):
                    os.unlink(entry.path)
