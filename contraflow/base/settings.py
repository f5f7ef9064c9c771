"""Switches that PyTorch's programs set and that have one position here."""

from __future__ import annotations

from contraflow.base.errors import ArgumentError, lesson

__all__ = [
    "are_deterministic_algorithms_enabled", "get_float32_matmul_precision",
    "set_float32_matmul_precision", "use_deterministic_algorithms",
]  # fmt: skip


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted and without effect: the same program always gives the same bits here.

    >>> import contraflow as cf
    >>> cf.use_deterministic_algorithms(True)
    """


def are_deterministic_algorithms_enabled() -> bool:
    """True, always.

    >>> import contraflow as cf
    >>> cf.are_deterministic_algorithms_enabled()
    True
    """
    return True


def set_float32_matmul_precision(precision: str) -> None:
    """Allow products to be less precise; nothing here makes use of it.

    Raises:
        ArgumentError: for a name that is not one of ``highest``, ``high`` and ``medium``.

    >>> import contraflow as cf
    >>> cf.set_float32_matmul_precision("high")
    """
    if precision not in ("highest", "high", "medium"):
        rule = "the precision of products is 'highest', 'high' or 'medium'"
        raise ArgumentError(lesson(rule, [("received", repr(precision))], "'highest'"))


def get_float32_matmul_precision() -> str:
    """``highest``: products of float32 are computed in float32.

    >>> import contraflow as cf
    >>> cf.get_float32_matmul_precision()
    'highest'
    """
    return "highest"
