"""Lazy layers: their number of inputs is that of the first batch they see.

A lazy layer is its layer, of some size, with parameters that wait for their shapes. The first call
makes the layer of the right size, moves its values into the waiting parameters (which an optimiser
may already know) and turns the lazy layer into the layer.
"""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import CaptureError, ShapeError, lesson
from contraflow.base.modes import capturing
from contraflow.nn import conv, normalization
from contraflow.nn.linear import Linear
from contraflow.nn.module import Module
from contraflow.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from contraflow.ops.checks import check_tensors
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.writing import write

__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d",
    "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d",
    "LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d", "LazyLinear",
]  # fmt: skip


class _Lazy(Module):
    """What all lazy layers do; stands before the layer among the base classes."""

    becomes: type[Any]
    size_name: str  # the layer's attribute that waits

    def _wait(self, size: int, *args: Any, **kwargs: Any) -> None:
        """Make the layer, of a size that fits the arguments, and let its tensors wait."""
        self._arguments = args, kwargs
        self.becomes.__init__(self, size, *args, **kwargs)
        setattr(self, self.size_name, 0)
        for name, p in self._parameters.items():
            if p is not None:
                self._parameters[name] = UninitializedParameter(dtype=p.dtype)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.ndim:
                self._buffers[name] = UninitializedBuffer(dtype=buffer.dtype)

    def _axis(self, input: Any) -> int:
        """The dimension of the input whose size the layer takes."""
        return 1

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.initialize_parameters(*args[:1] or [kwargs.get("input")])
        return self(*args, **kwargs)

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer still waits; not so after ``load_state_dict``."""
        return any(is_lazy(t) for t in (*self._parameters.values(), *self._buffers.values()))

    def initialize_parameters(self, input: Any) -> None:
        """Take the size of an input, and become the layer."""
        check_tensors(type(self).__name__, input=input)
        axis = self._axis(input)
        if not -input.ndim <= axis < input.ndim:
            raise ShapeError(
                lesson(f"{type(self).__name__} cannot read its size from this input",
                       [("input", input)], "an input with a batch and its channels")
            )  # fmt: skip
        if capturing():
            raise CaptureError(
                lesson(f"{type(self).__name__} meets its first input in a compiled step, where its "
                       "parameters would have no values",
                       [("input", input)], "call the model once before: model(x)")
            )  # fmt: skip
        size = input.shape[axis]
        args, kwargs = self._arguments
        if self.has_uninitialized_params():
            made = self.becomes(size, *args, **kwargs)
            for holder, values in (
                (self._parameters, made._parameters), (self._buffers, made._buffers)
            ):  # fmt: skip
                for name, t in holder.items():
                    if is_lazy(t):
                        t.materialize(values[name].shape)
                        with no_grad():
                            write(t, values[name])
        setattr(self, self.size_name, size)
        del self._arguments
        self.__class__ = self.becomes


class LazyLinear(_Lazy, Linear):
    """A ``Linear`` whose ``in_features`` is the last size of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyLinear(2)
    >>> _ = layer(cf.ones(5, 3))
    >>> layer
    Linear(in_features=3, out_features=2, bias=True)
    """

    becomes, size_name = Linear, "in_features"

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        self._wait(1, out_features, bias, device, dtype)

    def _axis(self, input: Any) -> int:
        return -1


class _LazyConv(_Lazy):
    size_name = "in_channels"

    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        self._wait(groups, out_channels, kernel_size, stride, padding, dilation, groups, bias,
                   padding_mode, device, dtype)  # fmt: skip

    def _axis(self, input: Any) -> int:
        return -self.n - 1


class _LazyConvTranspose(_Lazy):
    size_name = "in_channels"

    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        self._wait(groups, out_channels, kernel_size, stride, padding, output_padding, groups,
                   bias, dilation, padding_mode, device, dtype)  # fmt: skip

    def _axis(self, input: Any) -> int:
        return -self.n - 1


class _LazyNorm(_Lazy):
    size_name = "num_features"

    def __init__(
        self, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *,
        bias: bool = True,
    ) -> None:  # fmt: skip
        self._wait(1, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)


class _LazyInstanceNorm(_LazyNorm):
    def _axis(self, input: Any) -> int:
        return 0 if input.ndim == min(self.dims) else 1  # without or with a batch


class LazyConv1d(_LazyConv, conv.Conv1d):
    """A ``Conv1d`` whose ``in_channels`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyConv1d(4, 3)
    >>> _ = layer(cf.ones(2, 3, 5))
    >>> type(layer).__name__, layer.in_channels
    ('Conv1d', 3)
    """

    becomes = conv.Conv1d


class LazyConv2d(_LazyConv, conv.Conv2d):
    """A ``Conv2d`` whose ``in_channels`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyConv2d(4, 3)
    >>> _ = layer(cf.ones(2, 3, 5, 5))
    >>> type(layer).__name__, layer.in_channels
    ('Conv2d', 3)
    """

    becomes = conv.Conv2d


class LazyConv3d(_LazyConv, conv.Conv3d):
    """A ``Conv3d`` whose ``in_channels`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyConv3d(4, 3)
    >>> _ = layer(cf.ones(2, 3, 5, 5, 5))
    >>> type(layer).__name__, layer.in_channels
    ('Conv3d', 3)
    """

    becomes = conv.Conv3d


class LazyConvTranspose1d(_LazyConvTranspose, conv.ConvTranspose1d):
    """A ``ConvTranspose1d`` whose ``in_channels`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyConvTranspose1d(4, 3)
    >>> _ = layer(cf.ones(2, 3, 5))
    >>> type(layer).__name__, layer.in_channels
    ('ConvTranspose1d', 3)
    """

    becomes = conv.ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, conv.ConvTranspose2d):
    """A ``ConvTranspose2d`` whose ``in_channels`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyConvTranspose2d(4, 3)
    >>> _ = layer(cf.ones(2, 3, 5, 5))
    >>> type(layer).__name__, layer.in_channels
    ('ConvTranspose2d', 3)
    """

    becomes = conv.ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, conv.ConvTranspose3d):
    """A ``ConvTranspose3d`` whose ``in_channels`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyConvTranspose3d(4, 3)
    >>> _ = layer(cf.ones(2, 3, 5, 5, 5))
    >>> type(layer).__name__, layer.in_channels
    ('ConvTranspose3d', 3)
    """

    becomes = conv.ConvTranspose3d


class LazyBatchNorm1d(_LazyNorm, normalization.BatchNorm1d):
    """A ``BatchNorm1d`` whose ``num_features`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyBatchNorm1d()
    >>> _ = layer(cf.ones(2, 3, 5))
    >>> type(layer).__name__, layer.num_features
    ('BatchNorm1d', 3)
    """

    becomes = normalization.BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, normalization.BatchNorm2d):
    """A ``BatchNorm2d`` whose ``num_features`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyBatchNorm2d()
    >>> _ = layer(cf.ones(2, 3, 5, 5))
    >>> type(layer).__name__, layer.num_features
    ('BatchNorm2d', 3)
    """

    becomes = normalization.BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, normalization.BatchNorm3d):
    """A ``BatchNorm3d`` whose ``num_features`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyBatchNorm3d()
    >>> _ = layer(cf.ones(2, 3, 5, 5, 5))
    >>> type(layer).__name__, layer.num_features
    ('BatchNorm3d', 3)
    """

    becomes = normalization.BatchNorm3d


class LazyInstanceNorm1d(_LazyInstanceNorm, normalization.InstanceNorm1d):
    """A ``InstanceNorm1d`` whose ``num_features`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyInstanceNorm1d()
    >>> _ = layer(cf.ones(2, 3, 5))
    >>> type(layer).__name__, layer.num_features
    ('InstanceNorm1d', 3)
    """

    becomes = normalization.InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, normalization.InstanceNorm2d):
    """A ``InstanceNorm2d`` whose ``num_features`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyInstanceNorm2d()
    >>> _ = layer(cf.ones(2, 3, 5, 5))
    >>> type(layer).__name__, layer.num_features
    ('InstanceNorm2d', 3)
    """

    becomes = normalization.InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, normalization.InstanceNorm3d):
    """A ``InstanceNorm3d`` whose ``num_features`` is the number of channels of its first input.

    >>> import contraflow as cf
    >>> layer = cf.nn.LazyInstanceNorm3d()
    >>> _ = layer(cf.ones(2, 3, 5, 5, 5))
    >>> type(layer).__name__, layer.num_features
    ('InstanceNorm3d', 3)
    """

    becomes = normalization.InstanceNorm3d
