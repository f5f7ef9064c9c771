"""Normalisation layers."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ShapeError, lesson
from contraflow.base.shapes import read_shape
from contraflow.nn import functional as F
from contraflow.nn.checks import check_divides, check_size
from contraflow.nn.init import ones_, zeros_
from contraflow.nn.module import Module
from contraflow.nn.parameter import Parameter
from contraflow.ops.cast import convert
from contraflow.tensor.create import empty, ones, tensor, zeros

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d",
    "InstanceNorm3d", "LayerNorm", "LocalResponseNorm", "RMSNorm",
]  # fmt: skip


class _Norm(Module):
    """Channel statistics with running means; the base of batch and instance normalisation."""

    _version = 2
    dims: tuple[int, ...] = ()
    layout = ""
    others: dict[int, str] = {}

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, track_running_stats: bool = True, device: Any = None,
        dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features = check_size(type(self).__name__, "num_features", num_features)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        how = {"device": device, "dtype": dtype}
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            param = Parameter(empty(num_features, **how)) if wanted else None
            self.register_parameter(name, param)
        self.register_buffer("running_mean", zeros(num_features, **how) if self._tracks() else None)
        self.register_buffer("running_var", ones(num_features, **how) if self._tracks() else None)
        self.register_buffer("num_batches_tracked", tensor(0) if self._tracks() else None)
        self.reset_parameters()

    def _tracks(self) -> bool:
        return self.track_running_stats

    def reset_running_stats(self) -> None:
        """Running mean 0, variance 1, no batches seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and fresh running statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            ones_(self.weight)
        if self.bias is not None:
            zeros_(self.bias)

    def _check_input_dim(self, input: Any) -> None:
        if input.ndim not in self.dims:
            name = type(self).__name__
            other, fixes = self.others.get(input.ndim), []
            if input.ndim + 1 in self.dims:
                fixes.append("x.unsqueeze(0) for a single sample")
            if other:
                fixes.append(f"nn.{name[:-2]}{other}({self.num_features})")
            fix = ", or ".join(fixes) or f"x.reshape(...) to {self.layout}"
            raise ShapeError(
                lesson(f"{name} takes {self.layout}; the input has {input.ndim} dimensions",
                       [("input", input)], fix)
            )  # fmt: skip

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any
    ) -> None:  # fmt: skip
        # states from before num_batches_tracked was counted, and bare files of weights
        key = f"{prefix}num_batches_tracked"
        if (local_metadata.get("version") or 1) < 2 and self.track_running_stats:
            state_dict.setdefault(key, self.num_batches_tracked)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def extra_repr(self) -> str:
        """The arguments."""
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
                f"affine={self.affine}, bias={self.bias is not None}, "
                f"track_running_stats={self.track_running_stats}")  # fmt: skip


class _BatchNorm(_Norm):
    def forward(self, input: Any) -> Any:
        self._check_input_dim(input)
        momentum: Any = 0.0 if self.momentum is None else self.momentum
        seen = self.num_batches_tracked
        counts = self.training and self.track_running_stats and seen is not None
        if counts and self.momentum is None:  # the plain mean of all batches so far
            momentum = 1.0 / (convert(seen, dtype=self.running_mean.dtype) + 1.0)
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        follows = not self.training or self.track_running_stats
        y = F.batch_norm(
            input,
            self.running_mean if follows else None,
            self.running_var if follows else None,
            self.weight, self.bias, by_batch, momentum, self.eps,
        )  # fmt: skip
        if counts:  # last, because a batch that is refused does not count
            seen.add_(1)
        return y


class BatchNorm1d(_BatchNorm):
    """Normalises each of C features over the batch: ``[N, C]`` or ``[N, C, L]``.

    In training with the statistics of the batch, which running averages follow; in evaluation
    with the averages. Source: Ioffe and Szegedy (2015).

    >>> import contraflow as cf
    >>> y = cf.nn.BatchNorm1d(2)(cf.tensor([[0.0, 5.0], [2.0, 9.0]]))
    >>> y
    tensor([[-1.0000, -1.0000],
            [ 1.0000,  1.0000]], grad_fn=...)

    Raises:
        ArgumentError: in training, for a batch with one value for each feature.
    """

    dims, layout = (2, 3), "[N, C] or [N, C, L]"
    others = {4: "2d", 5: "3d"}


class BatchNorm2d(_BatchNorm):
    """Normalises each channel of ``[N, C, H, W]`` over the batch; see ``BatchNorm1d``.

    >>> import contraflow as cf
    >>> x = cf.randn(4, 2, 5, 5) * 3 + 7
    >>> y = cf.nn.BatchNorm2d(2)(x)
    >>> round(abs(float(y.mean())), 4), round(float(y.std(correction=0)), 3)
    (0.0, 1.0)
    """

    dims, layout = (4,), "[N, C, H, W]"
    others = {2: "1d", 3: "1d", 5: "3d"}


class BatchNorm3d(_BatchNorm):
    """Normalises each channel of ``[N, C, D, H, W]`` over the batch; see ``BatchNorm1d``.

    >>> import contraflow as cf
    >>> x = cf.randn(4, 2, 5, 5, 5) * 3 + 7
    >>> y = cf.nn.BatchNorm3d(2)(x)
    >>> round(abs(float(y.mean())), 4), round(float(y.std(correction=0)), 3)
    (0.0, 1.0)
    """

    dims, layout = (5,), "[N, C, D, H, W]"
    others = {2: "1d", 3: "1d", 4: "2d"}


class _InstanceNorm(_Norm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias=bias)  # fmt: skip

    def forward(self, input: Any) -> Any:
        self._check_input_dim(input)
        single = input.ndim == min(self.dims)  # no dimension for the batch
        channels = input.shape[0 if single else 1]
        if channels != self.num_features:
            raise ShapeError(
                lesson(f"{type(self).__name__}: the input has {channels} channels, the layer "
                       f"expects {self.num_features}", [("input", input)],
                       f"nn.{type(self).__name__}({channels})")
            )  # fmt: skip
        x = input.unsqueeze(0) if single else input
        y = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return y.squeeze(0) if single else y


class InstanceNorm1d(_InstanceNorm):
    """Normalises each channel of each sample by itself: ``[N, C, L]`` or ``[C, L]``.

    >>> import contraflow as cf
    >>> x = cf.randn(4, 2, 5) * 3 + 7
    >>> y = cf.nn.InstanceNorm1d(2)(x)
    >>> round(abs(float(y.mean())), 4), round(float(y.std(correction=0)), 3)
    (0.0, 1.0)
    """

    dims, layout = (2, 3), "[N, C, L] or [C, L]"
    others = {4: "2d", 5: "3d"}


class InstanceNorm2d(_InstanceNorm):
    """Normalises each channel of each sample by itself: ``[N, C, H, W]`` or ``[C, H, W]``.

    >>> import contraflow as cf
    >>> x = cf.randn(4, 2, 5, 5) * 3 + 7
    >>> y = cf.nn.InstanceNorm2d(2)(x)
    >>> round(abs(float(y.mean())), 4), round(float(y.std(correction=0)), 3)
    (0.0, 1.0)
    """

    dims, layout = (3, 4), "[N, C, H, W] or [C, H, W]"
    others = {2: "1d", 5: "3d"}


class InstanceNorm3d(_InstanceNorm):
    """Normalises each channel of each sample by itself: ``[N, C, D, H, W]`` or one sample.

    >>> import contraflow as cf
    >>> x = cf.randn(4, 2, 5, 5, 5) * 3 + 7
    >>> y = cf.nn.InstanceNorm3d(2)(x)
    >>> round(abs(float(y.mean())), 4), round(float(y.std(correction=0)), 3)
    (0.0, 1.0)
    """

    dims, layout = (4, 5), "[N, C, D, H, W] or [C, D, H, W]"
    others = {2: "1d", 3: "1d"}


class LayerNorm(Module):
    """Normalises over the last dimensions, given by their sizes. Source: Ba et al. (2016).

    >>> import contraflow as cf
    >>> cf.nn.LayerNorm(4)(cf.tensor([[1.0, 2.0, 3.0, 4.0]])).detach()
    tensor([[-1.3416, -0.4472,  0.4472,  1.3416]])
    """

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = read_shape((normalized_shape,))
        self.eps, self.elementwise_affine = eps, elementwise_affine
        for name, wanted in (("weight", True), ("bias", bias)):
            made = elementwise_affine and wanted
            self.register_parameter(
                name,
                Parameter(empty(self.normalized_shape, device=device, dtype=dtype))
                if made
                else None,
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            ones_(self.weight)
        if self.bias is not None:
            zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}, "
                f"bias={self.bias is not None}")  # fmt: skip


class GroupNorm(Module):
    """Normalises groups of channels of each sample: ``[N, C, ...]``. Source: Wu and He (2018).

    >>> import contraflow as cf
    >>> y = cf.nn.GroupNorm(2, 6)(cf.randn(4, 6, 5))
    >>> y[0, :3].std(correction=0).detach()
    tensor(1.0000)
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_groups = check_size("GroupNorm", "num_groups", num_groups)
        self.num_channels = check_size("GroupNorm", "num_channels", num_channels)
        check_divides("GroupNorm", "num_groups", num_groups, "num_channels", num_channels)
        self.eps, self.affine = eps, affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            made = Parameter(empty(num_channels, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            ones_(self.weight)
        if self.bias is not None:
            zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")  # fmt: skip


class RMSNorm(Module):
    """Divides by the root mean square over the last dimensions. Source: Zhang, Sennrich (2019).

    >>> import contraflow as cf
    >>> cf.nn.RMSNorm(2)(cf.tensor([[1.0, 7.0]])).detach()
    tensor([[0.2000, 1.4000]])
    """

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = read_shape((normalized_shape,))
        self.eps, self.elementwise_affine = eps, elementwise_affine
        if elementwise_affine:
            self.weight = Parameter(empty(self.normalized_shape, device=device, dtype=dtype))
        else:
            self.register_parameter("weight", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            ones_(self.weight)

    def forward(self, input: Any) -> Any:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}")  # fmt: skip


class LocalResponseNorm(Module):
    """Divides by the power of ``size`` neighbouring channels. Source: Krizhevsky et al. (2012).

    >>> import contraflow as cf
    >>> cf.nn.LocalResponseNorm(2, alpha=2.0)(cf.ones(1, 3, 1))
    tensor([[[0.5946],
             [0.4387],
             [0.4387]]])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = check_size("LocalResponseNorm", "size", size)
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, input: Any) -> Any:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
