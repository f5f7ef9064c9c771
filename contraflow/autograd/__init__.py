"""Automatic differentiation: ``cf.autograd.grad``, ``backward``, ``Function``, ``gradcheck``."""

from __future__ import annotations

from contraflow.autograd import function, functional
from contraflow.tensor.anomaly import detect_anomaly, set_detect_anomaly
from contraflow.tensor.constructors import Variable
from contraflow.tensor.custom import Function
from contraflow.tensor.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from contraflow.tensor.gradcheck import GradcheckError, gradcheck, gradgradcheck
from contraflow.tensor.gradients import backward, grad

__all__ = [
    "Function",
    "GradcheckError",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
