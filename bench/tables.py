"""Numbers and tables as Markdown."""

from __future__ import annotations

Timing = list[float]  # quartile, median, quartile


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        padded = (c.ljust(n) if not i else c.rjust(n)
                  for i, (c, n) in enumerate(zip(cells, widths, strict=True)))  # fmt: skip
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (n + 1) + ("-" if not i else ":") for i, n in enumerate(widths))
    return "\n".join([line(head), rule + "|", *map(line, rows)])


def time(seconds: float) -> str:
    """A time with three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * 0.9995:
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds / 1e-9)} ns"


def digits(x: float) -> str:
    """Three significant digits, never as a power of ten."""
    return f"{x:,.0f}" if x >= 99.95 else f"{x:.1f}" if x >= 9.995 else f"{x:.2f}"


def spread(t: Timing) -> str:
    """The median, and how far the quartiles lie from it."""
    low, median, high = t
    return f"{time(median)} ±{(high - low) / 2 / median:.0%}"


def listed(names: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
