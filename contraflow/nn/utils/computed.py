"""Attributes of a module that are computed at every read: what all reparametrisations stand on.

A module with computed attributes gets a class of its own, below its class, with a property for
each of them. The rules behind the properties are kept on the module, so copies have their own.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

from contraflow.base.errors import ArgumentError, lesson
from contraflow.nn.parameter import Parameter

__all__ = ["Rule", "class_before", "compute", "held", "rule_of", "stop_computing"]


class Rule(Protocol):
    """How an attribute is computed, and what assigning to it does."""

    prefix: str  # of the class's name, in the module's text

    def value(self, module: Any) -> Any:
        """The attribute's value."""

    def assign(self, module: Any, value: Any) -> None:
        """Change what the value is computed from, so that it becomes this."""


def computed_property(name: str) -> property:
    """A property that asks the module's rule."""
    return property(
        lambda module: module._computed[name].value(module),
        lambda module, value: module._computed[name].assign(module, value),
    )


@cache
def computed_class(base: type, names: tuple[str, ...], title: str) -> type:
    """The class of modules of class ``base`` that compute these attributes."""
    properties = {name: computed_property(name) for name in names}
    return type(title, (base,), {**properties, "__module__": base.__module__, "_before": base})


def class_before(module: Any) -> type:
    """The module's class, as it was before attributes were computed."""
    return getattr(type(module), "_before", type(module))


def rule_of(module: Any, name: str) -> Any:
    """The rule that computes an attribute, or None."""
    return module.__dict__.get("_computed", {}).get(name)


def follow(module: Any, rules: dict[str, Any]) -> None:
    """Give the module the class that its rules ask for."""
    base = class_before(module)
    if not rules:
        del module._computed
        module.__class__ = base
        return
    module._computed = rules
    title = next((r.prefix for r in rules.values() if r.prefix), "") + base.__name__
    module.__class__ = computed_class(base, tuple(sorted(rules)), title)


def compute(module: Any, name: str, rule: Any) -> None:
    """Let a rule compute an attribute, which is no parameter or buffer any more."""
    module._parameters.pop(name, None)
    module._buffers.pop(name, None)
    follow(module, {**module.__dict__.get("_computed", {}), name: rule})


def stop_computing(module: Any, name: str, value: Any) -> None:
    """Make a computed attribute a parameter (or buffer) again."""
    rules = dict(module._computed)
    del rules[name]
    follow(module, rules)
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def held(what: str, module: Any, name: str) -> Any:
    """The parameter or buffer that is to be computed from now on."""
    if rule_of(module, name) is not None:
        raise ArgumentError(
            lesson(f"{what}: {name!r} of this module is computed already",
                   [("module", module._get_name())],
                   "remove the other reparametrisation first")
        )  # fmt: skip
    found = module._parameters.get(name, module._buffers.get(name))
    if found is None:
        names = [n for n, p in module._parameters.items() if p is not None]
        raise ArgumentError(
            lesson(f"{what}: {module._get_name()} has no parameter {name!r}",
                   [("parameters", " ".join(names) or "none")],
                   f"name={names[0]!r}" if names else "a layer with weights")
        )  # fmt: skip
    return found
