"""Parametrisations that are ready to use: orthogonal weights, weight and spectral norms."""

from __future__ import annotations

from typing import Any

from contraflow.nn.module import Module
from contraflow.nn.utils import norms
from contraflow.nn.utils.computed import held, rule_of
from contraflow.nn.utils.orthogonal import orthogonal
from contraflow.nn.utils.parametrize import register_parametrization

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


class _WeightNorm(Module):
    """w = g v / |v|."""

    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, g: Any, v: Any) -> Any:
        return norms.scaled(g, v, self.dim)

    def right_inverse(self, weight: Any) -> tuple[Any, Any]:
        """Length and direction of a weight."""
        return norms.length(weight, self.dim), weight


class _SpectralNorm(Module):
    """w / σ(w); the buffers are the singular vectors, improved by a power step at each use."""

    def __init__(self, weight: Any, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__()
        self.dim = norms.read_power("spectral_norm", weight, n_power_iterations, dim)
        self.n_power_iterations, self.eps = n_power_iterations, eps
        if weight.ndim > 1:
            matrix = norms.as_matrix(weight.detach(), self.dim)
            u, v = norms.start(matrix, eps)
            norms.power_steps(matrix, u, v, 15, eps, left_first=True)
            self.register_buffer("_u", u)
            self.register_buffer("_v", v)

    def forward(self, weight: Any) -> Any:
        if weight.ndim == 1:  # a vector's only singular value is its length
            return norms.unit(weight, self.eps)
        matrix = norms.as_matrix(weight, self.dim)
        if self.training:
            norms.power_steps(matrix, self._u, self._v, self.n_power_iterations, self.eps,
                              left_first=True)  # fmt: skip
        return weight / norms.greatest(matrix, self._u, self._v)

    def right_inverse(self, value: Any) -> Any:
        """The value itself: normalised again, it is the same for a weight with σ = 1."""
        return value


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Learn the length and the direction of a weight apart, w = g v / |v|.

    Source: Salimans and Kingma, "Weight normalization" (2016).

    Args:
        dim: one length for each index of this dimension; None: one for all.

    >>> import contraflow as cf
    >>> layer = cf.nn.utils.parametrizations.weight_norm(cf.nn.Linear(3, 2))
    >>> list(layer.state_dict())
    ['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1']

    Raises:
        ArgumentError: if the module has no such parameter.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(owner: Any, state_dict: Any, prefix: str, *_: Any) -> None:
        """Take states that ``nn.utils.weight_norm`` saved."""
        for old, new in (("g", "original0"), ("v", "original1")):
            key = f"{prefix}{name}_{old}"
            if key in state_dict:
                state_dict[f"{prefix}parametrizations.{name}.{new}"] = state_dict.pop(key)

    module.register_load_state_dict_pre_hook(rename)
    return module


def spectral_norm(
    module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """Divide a weight by its greatest singular value, so that the layer's Lipschitz constant is 1.

    The value comes from power steps, one at each use of the weight in training.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks" (2018).

    Args:
        dim: the dimension of the weight that counts its outputs.

    >>> import contraflow as cf
    >>> layer = cf.nn.utils.parametrizations.spectral_norm(cf.nn.Linear(5, 1), n_power_iterations=9)
    >>> layer.weight.norm().detach()
    tensor(1.)

    Raises:
        ArgumentError: if the module has no such parameter.
    """
    weight = getattr(module, name) if rule_of(module, name) else held("spectral_norm", module, name)
    made = _SpectralNorm(weight, n_power_iterations, norms.dim_of(module, dim), eps)
    return register_parametrization(module, name, made)
