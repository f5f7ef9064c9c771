"""Schedules of the learning rate: as recurrences on the current rate, as in PyTorch.

A schedule changes ``lr`` of each parameter group when ``step()`` is called, usually once an epoch
after the optimiser's steps. Because it starts from the current rate, schedules compose, and a
rate that was set by hand is respected.
"""

from contraflow.optim.schedules.base import LRScheduler, ScheduleWarning
from contraflow.optim.schedules.combine import ChainedScheduler, SequentialLR
from contraflow.optim.schedules.cycle import CyclicLR, OneCycleLR
from contraflow.optim.schedules.decay import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from contraflow.optim.schedules.function import LambdaLR, MultiplicativeLR
from contraflow.optim.schedules.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts",
    "CyclicLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR",
    "MultiplicativeLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "ScheduleWarning",
    "SequentialLR", "StepLR",
]  # fmt: skip
