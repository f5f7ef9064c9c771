"""The update rules: one record each, beside the class that users call.

``RULES`` holds the classes by name; each has its record as ``.rule``.
"""

from contraflow.optim.optimizer import RuleOptimizer
from contraflow.optim.rules import adam, adaptive, descent, layerwise, schedule_free

__all__ = ["RULES"]

RULES: dict[str, type[RuleOptimizer]] = {
    cls.rule.name: cls
    for family in (descent, adaptive, adam, layerwise, schedule_free)
    for cls in vars(family).values()
    if isinstance(cls, type) and issubclass(cls, RuleOptimizer) and "rule" in cls.__dict__
}
