"""Write the tables of ``docs/optim.md`` anew from the records: ``python tools/optim_page.py``.

Formulas, papers and defaults stand in the code once; a test finds out when the page differs.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import contraflow as cf
from contraflow.optim import lr_scheduler as schedules

PAGE = Path(__file__).resolve().parent.parent / "docs" / "optim.md"
EPOCHS = 40
BARS = "▁▂▃▄▅▆▇█"
# What PyTorch takes for speed alone, and flags that are off: no part of a formula.
SILENT = ("params", "foreach", "fused", "capturable", "differentiable", "maximize")
EXAMPLES = {
    "StepLR": "step_size=10, gamma=0.5",
    "MultiStepLR": "milestones=[10, 30], gamma=0.4",
    "ConstantLR": "factor=0.3, total_iters=10",
    "LinearLR": "start_factor=0.1, total_iters=20",
    "ExponentialLR": "gamma=0.93",
    "PolynomialLR": "total_iters=40, power=2",
    "CosineAnnealingLR": "T_max=40",
    "CosineAnnealingWarmRestarts": "T_0=10, T_mult=2",
    "OneCycleLR": "max_lr=1.0, total_steps=40",
    "CyclicLR": "base_lr=0.1, max_lr=1.0, step_size_up=5",
    "LambdaLR": "lambda epoch: 1 / (1 + epoch / 5)",
    "MultiplicativeLR": "lambda epoch: 0.95",
    "SWALR": "swa_lr=0.2, anneal_epochs=20",
}
WHOLES = {
    "SequentialLR": (
        "[LinearLR(optimizer, 0.1, total_iters=8), CosineAnnealingLR(optimizer, T_max=32)], [8]"
    ),
    "ChainedScheduler": "[LinearLR(optimizer, 0.1, total_iters=8), ExponentialLR(optimizer, 0.95)]",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def code(text: str) -> str:
    """Text in the type of code, fit for a table."""
    return "`" + re.sub(r"\s+", " ", text).strip().replace("|", "\\|") + "`"


def sentence(thing: Any) -> str:
    """The first sentence of a docstring."""
    text = re.sub(r"\s+", " ", inspect.getdoc(thing) or "")
    return text.split(". ")[0].rstrip(".").replace("``", "`").replace("|", "\\|")


def defaults(cls: Any) -> str:
    """The options with their defaults."""
    found = inspect.signature(cls).parameters.values()
    return ", ".join(f"{p.name}={p.default!r}" for p in found if p.name not in SILENT)


def rules() -> str:
    """One row an update rule."""
    rows = [
        [f"**{name}**", code(cls.rule.update.__doc__ or ""), code(defaults(cls)), cls.rule.paper]
        for name, cls in sorted(cf.optim.RULES.items(), key=lambda item: item[0].lower())
    ]
    return table(["rule", "formula", "defaults", "source"], rows)


def curve(name: str, options: str) -> str:
    """The rates of 40 epochs, as bars; the base rate is 1."""
    optimizer = cf.optim.SGD([cf.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
    names = {**{n: getattr(schedules, n) for n in schedules.__all__}, "optimizer": optimizer,
             "SWALR": cf.optim.swa_utils.SWALR}  # fmt: skip
    first = "" if name == "ChainedScheduler" else "optimizer, "
    schedule = eval(f"{name}({first}{options})", names)  # noqa: S307 - the texts above
    rates = []
    for epoch in range(EPOCHS):
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
        if epoch < EPOCHS - 1:
            schedule.step()
    top = max(rates)
    return "".join(BARS[round(rate / top * (len(BARS) - 1))] for rate in rates)


def schedule_table() -> str:
    """One row a schedule, with its curve."""
    rows = []
    for name, options in {**EXAMPLES, **WHOLES}.items():
        cls = cf.optim.swa_utils.SWALR if name == "SWALR" else getattr(schedules, name)
        rows.append([f"**{name}**", sentence(cls), code(options), code(curve(name, options))])
    plateau = schedules.ReduceLROnPlateau
    rows.append(["**ReduceLROnPlateau**", sentence(plateau), code("patience=10, factor=0.1"),
                 "by the metric that `step` is given"])  # fmt: skip
    return table(["schedule", "what it does", "for example", "the rate over 40 epochs"], rows)


def filled(page: str) -> str:
    """The page with its tables made anew."""
    for mark, text in (("rules", rules()), ("schedules", schedule_table())):
        begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
        before, _, rest = page.partition(begin)
        after = rest.partition(end)[2]
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return page


def main() -> None:
    """Rewrite the page."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PAGE.write_text(filled(PAGE.read_text()))
    print(f"written: {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main()
