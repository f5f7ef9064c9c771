"""Anomaly detection: what went wrong in backward, told with the line of forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from contraflow.base.changes import changes
from contraflow.base.errors import GradError, lesson
from contraflow.tensor.node import Node

__all__ = ["anomaly", "check_nan", "detect_anomaly", "set_detect_anomaly"]


class Anomaly:
    """Whether the process looks for anomalies."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = False


anomaly = Anomaly()


class set_detect_anomaly:
    """Remember the user's line of every op, so that errors of backward can name it."""

    def __init__(self, mode: bool = True, check_nan: bool = True) -> None:
        self.before = anomaly.on
        anomaly.on = mode
        changes.tensors += 1  # compiled steps look for NaN from now on

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        anomaly.on = self.before
        changes.tensors += 1


class detect_anomaly(set_detect_anomaly):
    """``with cf.autograd.detect_anomaly():`` errors of backward name the line of forward, and a
    gradient that turns NaN raises there."""


def check_nan(node: Node, grads: Sequence[Any]) -> None:
    """The first gradient that is NaN names its op and the line of forward.

    Raises:
        GradError: if one of the gradients that a node gave is NaN somewhere.
    """
    for g in grads:
        value = None if g is None else g._value
        if type(value) is np.ndarray and value.dtype.kind == "f" and np.isnan(value).any():
            rows = [("gradient", str(g.aval))]
            if node.line is not None:
                rows.append(("computed at", node.line))
            raise GradError(
                lesson(
                    f"anomaly: {node.name()} returned a gradient with NaN",
                    rows,
                    "look at the operands of this line: 0/0, log(0), sqrt(0), inf - inf ...",
                )
            )
