"""A progress bar for terminals, with the loss and the accuracy of the epoch so far."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from contraflow.train import Callback
from contraflow.train.history import number

__all__ = ["ProgressBar"]

INTERVAL = 0.1  # seconds between two looks at the numbers


class Heading(Callback):
    """Says what is about to be trained, and where a resumed run stands.

    ``earlier`` is where an earlier run had its checkpoints, if there was one.
    """

    def __init__(self, console: Console, earlier: Path | None = None) -> None:
        self.console, self.earlier, self.said = console, earlier, False

    def epoch_begin(self, run: Any) -> None:
        """Once, before the first epoch."""
        if self.said:
            return
        self.said = True
        if self.earlier is not None:
            moved = f"{self.earlier}.before"
            self.console.print(
                f"the checkpoints of an earlier run are in {moved} now\n", markup=False
            )
        weights = sum(p.numel() for p in run.model.parameters())
        layers = " > ".join(type(layer).__name__ for layer in run.model)
        counts = [len(loader.dataset) for loader in (run.data, run.validation)]
        self.console.print(
            f"{counts[0]} samples to train on, {counts[1]} to validate with\n"
            f"{weights:,} weights in {layers}\n"
            f"{type(run.optimizer).__name__}, {run.epochs} epochs of "
            f"{run.steps_per_epoch()} steps\n",
            markup=False,
        )
        if run.steps:
            self.console.print(f"going on in epoch {run.epoch + 1}, after {run.steps} steps\n")


class ProgressBar(Callback):
    """One bar for the whole run."""

    def __init__(self, console: Console) -> None:
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}"), TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self.task: Any = None
        self.looked = 0.0
        self.validation = ""

    def epoch_begin(self, run: Any) -> None:
        """Begin the bar, where a resumed run left it."""
        if self.task is None:
            steps = run.steps_per_epoch()
            total = None if steps is None else steps * run.epochs
            self.task = self.bar.add_task("", total=total, epoch="", numbers="")
            self.bar.start()
        self.show(run, refresh=True)

    def batch_end(self, run: Any) -> None:
        """Look at the numbers, now and then."""
        if monotonic() - self.looked > INTERVAL:
            self.show(run)

    def measured(self, run: Any) -> None:
        """Keep what the validation data said in sight during the next epoch."""
        row = run.history.last()
        shown = {k.removeprefix("validation_"): v for k, v in row.items() if "validation" in k}
        self.validation = "   validation " + text(shown) if shown else ""
        self.show(run, refresh=True)

    def show(self, run: Any, refresh: bool = False) -> None:
        """Give the bar its numbers; it redraws now and then by itself, or at once."""
        self.looked = monotonic()
        epoch = f"{min(run.epoch + 1, run.epochs):{len(str(run.epochs))}}/{run.epochs}"
        numbers = text(run.meter.row()) + self.validation
        self.bar.update(
            self.task, completed=run.steps, epoch=epoch, numbers=numbers, refresh=refresh
        )

    def end(self, run: Any) -> None:
        """Leave the bar as it stands."""
        if self.task is not None:
            self.show(run)
            self.bar.stop()


def text(row: dict[str, Any]) -> str:
    """The numbers of a row, in a few words."""
    return " ".join(
        f"accuracy {value:.1%}" if name == "accuracy" else f"{name} {number(value)}"
        for name, value in row.items()
        if isinstance(value, float)
    )
