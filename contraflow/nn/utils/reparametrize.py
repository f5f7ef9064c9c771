"""Weight and spectral normalisation under their first names, with their keys of the state dict:
``weight_g`` and ``weight_v``, ``weight_orig``, ``weight_u`` and ``weight_v``."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ArgumentError, lesson
from contraflow.nn.parameter import Parameter
from contraflow.nn.utils import norms
from contraflow.nn.utils.computed import compute, held, rule_of, stop_computing
from contraflow.tensor.grad_mode import no_grad
from contraflow.tensor.writing import write

__all__ = ["remove_spectral_norm", "remove_weight_norm", "spectral_norm", "weight_norm"]


class WeightNorm:
    """w = g v / |v|, from the parameters ``<name>_g`` and ``<name>_v``."""

    prefix = ""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, dim

    def value(self, module: Any) -> Any:
        g, v = (getattr(module, f"{self.name}_{part}") for part in "gv")
        return norms.scaled(g, v, self.dim)

    def assign(self, module: Any, value: Any) -> None:
        with no_grad():
            write(getattr(module, f"{self.name}_g"), norms.length(value, self.dim))
            write(getattr(module, f"{self.name}_v"), value)


class SpectralNorm:
    """w / σ(w), from ``<name>_orig`` and its singular vectors ``<name>_u`` and ``<name>_v``."""

    prefix = ""

    def __init__(self, name: str, dim: int, times: int, eps: float) -> None:
        self.name, self.dim, self.times, self.eps = name, dim, times, eps

    def parts(self, module: Any) -> tuple[Any, Any, Any]:
        """The weight as a matrix, and its singular vectors."""
        w, u, v = (getattr(module, f"{self.name}_{part}") for part in ("orig", "u", "v"))
        return norms.as_matrix(w, self.dim), u, v

    def before_forward(self, module: Any, args: Any) -> None:
        """A power step in training: the weights have moved since the last one."""
        if module.training:
            norms.power_steps(*self.parts(module), self.times, self.eps, left_first=False)

    def value(self, module: Any) -> Any:
        return getattr(module, f"{self.name}_orig") / norms.greatest(*self.parts(module))

    def assign(self, module: Any, value: Any) -> None:
        with no_grad():
            write(getattr(module, f"{self.name}_orig"), value)


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Learn the length and the direction of a weight apart, w = g v / |v|.

    The newer ``parametrizations.weight_norm`` does the same with other keys in the state dict.

    Source: Salimans and Kingma, "Weight normalization" (2016).

    Args:
        dim: one length for each index of this dimension; None: one for all.

    >>> import contraflow as cf
    >>> layer = cf.nn.utils.weight_norm(cf.nn.Linear(3, 2))
    >>> list(layer.state_dict())
    ['bias', 'weight_g', 'weight_v']

    Raises:
        ArgumentError: if there is no such parameter, or it is computed already.
    """
    weight = held("weight_norm", module, name)
    g = norms.length(weight.detach(), dim)
    compute(module, name, WeightNorm(name, dim))
    module.register_parameter(f"{name}_g", Parameter(g))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    return module


def spectral_norm(
    module: Any, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """Divide a weight by its greatest singular value, found by a power step a call in training.

    The newer ``parametrizations.spectral_norm`` does the same with other keys in the state dict.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks" (2018).

    Args:
        dim: the dimension of the weight that counts its outputs.

    >>> import contraflow as cf
    >>> layer = cf.nn.utils.spectral_norm(cf.nn.Linear(3, 2))
    >>> list(layer.state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']

    Raises:
        ArgumentError: if there is no such parameter, or it is computed already.
    """
    weight = held("spectral_norm", module, name)
    side = norms.read_power("spectral_norm", weight, n_power_iterations, norms.dim_of(module, dim))
    u, v = norms.start(norms.as_matrix(weight.detach(), side), eps)
    rule = SpectralNorm(name, side, n_power_iterations, eps)
    compute(module, name, rule)
    module.register_parameter(f"{name}_orig", weight)
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    module.register_forward_pre_hook(rule.before_forward)
    return module


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Make a weight under ``weight_norm`` a plain parameter again, with its present value.

    >>> import contraflow as cf
    >>> layer = cf.nn.utils.weight_norm(cf.nn.Linear(3, 2))
    >>> list(cf.nn.utils.remove_weight_norm(layer).state_dict())
    ['bias', 'weight']

    Raises:
        ArgumentError: if there is no weight normalisation of this name.
    """
    remove(module, name, "weight_norm", WeightNorm, ("g", "v"))
    return module


def remove_spectral_norm(module: Any, name: str = "weight") -> Any:
    """Make a weight under ``spectral_norm`` a plain parameter again, with its present value.

    >>> import contraflow as cf
    >>> layer = cf.nn.utils.spectral_norm(cf.nn.Linear(3, 2))
    >>> list(cf.nn.utils.remove_spectral_norm(layer).state_dict())
    ['bias', 'weight']

    Raises:
        ArgumentError: if there is no spectral normalisation of this name.
    """
    rule = remove(module, name, "spectral_norm", SpectralNorm, ("orig", "u", "v"))
    for key, (hook, _) in list(module._forward_pre_hooks.items()):
        if hook == rule.before_forward:
            del module._forward_pre_hooks[key]
    return module


def remove(module: Any, name: str, what: str, kind: type, parts: tuple[str, ...]) -> Any:
    """Put the present value in the place of what it was computed from; gives the rule."""
    rule = rule_of(module, name)
    if not isinstance(rule, kind):
        raise ArgumentError(
            lesson(f"{what} of {name!r} was not found on this module",
                   [("module", module._get_name())], f"nn.utils.{what}(module, {name!r}) first")
        )  # fmt: skip
    value = Parameter(getattr(module, name).detach())
    for part in parts:
        delattr(module, f"{name}_{part}")
    stop_computing(module, name, value)
    return rule
