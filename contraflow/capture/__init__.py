"""F3, capture: the interpreter that records a step instead of computing it."""

from contraflow.capture.recorder import Recorder
from contraflow.capture.step import CapturedStep, capture

__all__ = ["CapturedStep", "Recorder", "capture"]
