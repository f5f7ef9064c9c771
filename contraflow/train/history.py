"""What was measured, epoch by epoch: lists by name, as JSON, as a table, as a line of blocks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isfinite, nan
from typing import Any

from contraflow.base.errors import ArgumentError, StateError, lesson
from contraflow.base.files import damaged, opened, write_atomically
from contraflow.interop.structure import read_json

__all__ = ["History"]

BLOCKS = "▁▂▃▄▅▆▇█"


class History(Mapping[str, list[Any]]):
    """A list for each name, with one entry for each epoch.

    Names are ``loss``, the metrics, the same with ``validation_`` before them, ``lr`` and
    ``seconds``. Two histories are equal if all but the seconds are.

    Attributes:
        epochs: how many there are.
        compiled: which steps of ``fit`` were native calls, in words, and why others were not.

    >>> import contraflow as cf
    >>> history = cf.train.History()
    >>> history.add({"loss": 0.9, "accuracy": 0.5})
    >>> history.add({"loss": 0.3, "accuracy": 0.8})
    >>> history["loss"], history.best("accuracy", "max")
    ([0.9, 0.3], (2, 0.8))
    >>> history.sparkline("loss")
    '█▁'
    >>> print(history)
    epoch    loss  accuracy
        1  0.9000    0.5000
        2  0.3000    0.8000
    """

    def __init__(self) -> None:
        self.epochs, self.compiled = 0, ""
        self._columns: dict[str, list[Any]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in the numbers of one more epoch; a name that is new gets NaN for the others."""
        for name in {**self._columns, **row}:
            column = self._columns.setdefault(name, [nan] * self.epochs)
            column.append(row.get(name, nan))
        self.epochs += 1

    def last(self) -> dict[str, Any]:
        """The numbers of the latest epoch."""
        return {name: column[-1] for name, column in self._columns.items() if column}

    def best(self, name: str, mode: str = "min") -> tuple[int, float]:
        """The epoch, counted from 1, with the best value of a name, and that value."""
        finite = [(i + 1, v) for i, v in enumerate(self[name]) if isfinite(v)]
        if not finite or mode not in ("min", "max"):
            raise ArgumentError(
                lesson(
                    f"history.best: {name!r} has {len(finite)} finite values, mode is {mode!r}",
                    fix='history.best("loss", "min")',
                )
            )
        return (min if mode == "min" else max)(finite, key=lambda pair: pair[1])

    # ---- as a mapping --------------------------------------------------------------------------

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._columns:
            raise StateError(
                lesson(
                    f"the history has no {name!r}",
                    [("names", " ".join(self._columns) or "none yet")],
                    'history["loss"]',
                )
            )
        return self._columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return self._comparable() == other._comparable()

    __hash__ = None  # type: ignore[assignment]

    def _comparable(self) -> str:
        return json.dumps({k: v for k, v in self._columns.items() if k != "seconds"})

    # ---- as text -------------------------------------------------------------------------------

    def table(self) -> str:
        """A line for each epoch; lists of numbers (a confusion matrix) are left out."""
        names = [n for n, c in self._columns.items() if all(isinstance(v, int | float) for v in c)]
        rows = [["epoch", *names]]
        for i in range(self.epochs):
            rows.append([str(i + 1), *(number(self._columns[name][i]) for name in names)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        )

    __str__ = table

    def __repr__(self) -> str:
        return f"<History: {self.epochs} epochs of {', '.join(self._columns) or 'nothing'}>"

    def sparkline(self, name: str, width: int = 40) -> str:
        """The course of a name as a line of blocks, from its lowest to its highest value."""
        values = self[name]
        count = min(width, len(values))
        shown = [values[i * len(values) // count] for i in range(count)]
        finite = [v for v in shown if isfinite(v)]
        low, high = min(finite, default=0.0), max(finite, default=0.0)
        scale = (len(BLOCKS) - 1) / ((high - low) or 1.0)
        return "".join(
            BLOCKS[round((v - low) * scale)] if isfinite(v) else " " for v in shown
        )  # fmt: skip

    # ---- as data -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The number of epochs and a copy of the lists."""
        return {
            "epochs": self.epochs,
            "columns": {name: list(column) for name, column in self._columns.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        columns = {name: list(column) for name, column in state["columns"].items()}
        if any(len(column) != state["epochs"] for column in columns.values()):
            raise ArgumentError(lesson("a history needs one entry of each name for each epoch"))
        self.epochs, self._columns = state["epochs"], columns

    def save(self, path: Any) -> None:
        """Write the lists as JSON; what is not finite becomes ``null``."""
        text = json.dumps(finite_or_none(self._columns), allow_nan=False, indent=1)
        write_atomically(path, text.encode() + b"\n")

    @classmethod
    def load(cls, path: Any) -> History:
        """Read what ``save`` wrote.

        Raises:
            FileError: for a file that is missing, or is no history.
        """
        with opened(path) as (file, _):
            columns = read_json(file.read().decode())
        good = isinstance(columns, dict) and all(isinstance(c, list) for c in columns.values())
        if not good or len({len(column) for column in columns.values()}) > 1:
            raise damaged(path, "it is no history: lists of one length by name")
        history = cls()
        history._columns = {k: [nan if v is None else v for v in c] for k, c in columns.items()}
        history.epochs = len(next(iter(columns.values()), []))
        return history


def finite_or_none(value: Any) -> Any:
    """Data for JSON: None in the place of what is not finite."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite_or_none(item) for item in value]
    return value if not isinstance(value, float) or isfinite(value) else None


def number(value: Any) -> str:
    """A number in a table: four digits that matter."""
    if isinstance(value, int) or not isfinite(value):
        return str(value)
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"
