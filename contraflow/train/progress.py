"""Progress as plain lines, one an epoch: for logs, and wherever nothing can be redrawn."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO

from contraflow.train.callbacks import Callback
from contraflow.train.history import number

__all__ = ["Progress", "line"]


def line(row: Mapping[str, Any]) -> str:
    """The numbers of an epoch in one line; lists of numbers are left out.

    >>> from contraflow.train.progress import line
    >>> line({"loss": 0.25, "confusion_matrix": [[1]], "seconds": 2.0})
    'loss 0.2500   2.0 s'
    """
    shown = {k: v for k, v in row.items() if isinstance(v, int | float) and k != "seconds"}
    parts = [f"{name} {number(value)}" for name, value in shown.items()]
    if "seconds" in row:
        parts.append(f"{row['seconds']:.1f} s")
    return "   ".join(parts)


class Progress(Callback):
    """Prints a line after each epoch.

    Args:
        every: only after every so many epochs, and after the last.
        file: where to; standard output.

    >>> import contraflow as cf
    >>> show = cf.train.Progress(every=10)
    """

    def __init__(self, every: int = 1, file: TextIO | None = None) -> None:
        self.every, self.file = max(1, int(every)), file

    def epoch_end(self, run: Any) -> None:
        """Print the line."""
        epoch = run.epoch + 1
        if epoch % self.every and epoch != run.epochs and run.stopped is None:
            return
        self.say(f"epoch {epoch:{len(str(run.epochs))}}/{run.epochs}   {line(run.history.last())}")

    def end(self, run: Any) -> None:
        """Say why the run ended early."""
        if run.error is None and run.stopped is not None:
            self.say(f"stopped after epoch {run.epoch}: {run.stopped}")

    def say(self, text: str) -> None:
        """Print at once, also into a pipe."""
        print(text, file=self.file or sys.stdout, flush=True)
