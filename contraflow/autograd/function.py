"""Custom gradients, where PyTorch has them: ``autograd.function``."""

from contraflow.tensor.custom import Context as FunctionCtx
from contraflow.tensor.custom import Function, once_differentiable

__all__ = ["Function", "FunctionCtx", "once_differentiable"]
