"""What the commands print: tables, pictures in characters, and the lines to copy."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contraflow.cli.inspection import FileInfo
from contraflow.data.bundled_sets import SETS, About
from contraflow.ops.record import Op
from contraflow.ops.softmax import softmax
from contraflow.tensor.tensor import make
from contraflow.train import Result, Source
from contraflow.train.whole import mistakes

__all__ = [
    "drawing", "errors", "file", "numbers", "ops", "predictions", "result", "sets", "source",
    "usage",
]  # fmt: skip

SHADES = " ░▒▓█"
MANY = 20  # classes or rows that still make a readable table
WRONG_SHOWN = 3  # mistakes that are drawn


def plain_table(*names: str, right: tuple[str, ...] = ()) -> Table:
    """A table with a line under its names."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="right" if name in right else "left")
    return table


def clean(text: Any) -> str:
    """A text from a file, without characters that could steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


# ---- results -----------------------------------------------------------------------------------


def numbers(screen: Console, found: dict[str, Any], count: int, what: str) -> None:
    """What was measured on data."""
    table = Table(box=None, pad_edge=False, show_header=False)
    if "accuracy" in found:
        right = round(found["accuracy"] * count)
        table.add_row("accuracy", f"[bold]{found['accuracy']:.2%}[/bold]",
                      f"{count - right} of {count} wrong on {what}")  # fmt: skip
        table.add_row("loss", f"{found['loss']:.4f}", "cross entropy")
    else:
        table.add_row("R2", f"[bold]{found['r2']:.4f}[/bold]", f"{count} samples, {what}")
        table.add_row("loss", f"{found['loss']:.4g}", "mean squared error")
        table.add_row("error", f"{found['mae']:.4g}", "mean absolute error")
    screen.print()
    screen.print(table)


def result(screen: Console, done: Result) -> None:
    """The end of a training run: how good the model is, what it gets wrong, how to use it."""
    numbers(screen, done.found, len(done.targets), "the test part")
    column = "validation_loss"
    screen.print(
        f"{column.replace('_', ' ')} {done.history.sparkline(column)}  "
        f"{done.history.epochs} epochs, best {done.history.best(column)[0]}, "
        f"{sum(done.history['seconds']):.1f} s"
    )
    errors(screen, done.about["classes"], done.found, done.outputs, done.inputs, done.targets)
    screen.print(f"\n[bold]saved[/bold] {escape(str(done.path))}\n")
    screen.print("[bold]use it[/bold]\n")
    screen.print(
        "\n".join(f"    {line}".rstrip() for line in usage(done).split("\n")), markup=False
    )
    sample = f"{done.about['data']}:0" if done.about["data"] in SETS else "INPUT"
    screen.print(f"\n    contraflow evaluate {done.path}", markup=False)
    screen.print(f"    contraflow predict {done.path} {sample}", markup=False)


def usage(done: Result) -> str:
    """Python lines that load the model and ask it about a sample."""
    name = done.about["data"]
    if name in SETS:
        lines = [f"x, y = cf.data.load_{name}()[0]"]
    else:
        lines = [f"source = cf.train.open_source({name!r})",
                 "x, y = cf.tensor(source.x[0]), cf.tensor(source.y[0])"]  # fmt: skip
    if done.about["classes"]:
        lines += [
            "chance = cf.softmax(model(x.unsqueeze(0)), dim=1)[0]",
            'print("true", about["classes"][y.item()], '
            '"model", about["classes"][chance.argmax().item()])',
        ]
    else:
        lines.append('print("true", y.tolist(), "model", model(x.unsqueeze(0))[0].tolist())')
    loading = f"model, about = cf.train.load_model({str(done.path)!r})"
    return "\n".join(["import contraflow as cf", "", loading, *lines])


def errors(
    screen: Console, classes: Any, found: dict[str, Any], outputs: Any, x: Any, y: Any
) -> None:
    """Which class was taken for which, and the surest mistakes."""
    if not classes or len(classes) > MANY:
        return
    screen.print(confusion(classes, found["confusion_matrix"]))
    if x.ndim != 4:
        return
    wrong = mistakes(outputs, y)
    shown = wrong[:WRONG_SHOWN] or least_sure(outputs)[:WRONG_SHOWN]
    screen.print("the surest mistakes\n" if wrong else "no mistakes; the least sure were\n")
    blocks = [
        f"{drawing(x[i])}\nsample {i}: {clean(classes[y[i]])}\n"
        f"taken for {clean(classes[said])} ({sure:.0%})"
        for i, said, sure in shown
    ]
    screen.print(beside(blocks), markup=False)


def least_sure(outputs: Any) -> list[tuple[int, int, float]]:
    """Samples, the classes they are taken for and their probabilities, the smallest first."""
    chance = softmax(make(outputs), dim=1).numpy()
    order = np.argsort(chance.max(1), kind="stable")
    return [(int(i), int(chance[i].argmax()), float(chance[i].max())) for i in order]


def confusion(classes: list[str], counts: list[list[int]]) -> Table:
    """True classes down, predicted ones across."""
    names = [escape(clean(name)) for name in classes]
    table = plain_table("true \\ taken for", *names, right=tuple(names))
    for i, (name, row) in enumerate(zip(names, counts, strict=False)):
        cells = ["·" if n == 0 else str(n) for n in row]
        cells = [f"[bold]{c}[/bold]" if i == j else f"[red]{c}[/red]" if c != "·" else c
                 for j, c in enumerate(cells)]  # fmt: skip
        table.add_row(name, *cells)
    return table


def drawing(picture: Any, widest: int = 28) -> str:
    """A picture ``[C, H, W]`` in characters, two for each pixel.

    >>> import numpy as np
    >>> from contraflow.cli.show import drawing
    >>> print(drawing(np.array([[[0.0, 1.0], [1.0, 0.5]]])))
      ██
    ██▒▒
    """
    grey = picture.mean(axis=0)
    step = -(-max(grey.shape) // widest)
    grey = grey[::step, ::step]
    low, high = float(grey.min()), float(grey.max())
    level = (grey - low) / ((high - low) or 1.0) * (len(SHADES) - 1)
    return "\n".join("".join(SHADES[n] * 2 for n in row) for row in np.rint(level).astype(int))


def beside(blocks: list[str], gap: str = "    ") -> str:
    """Blocks of text side by side."""
    columns = [block.split("\n") for block in blocks]
    height = max(map(len, columns))
    padded = []
    for lines in columns:
        width = max(map(len, lines))
        padded.append([line.ljust(width) for line in lines + [""] * (height - len(lines))])
    return "\n".join(gap.join(parts).rstrip() for parts in zip(*padded, strict=True))


def predictions(screen: Console, classes: Any, x: Any, outputs: Any) -> None:
    """What a model says about samples."""
    classes = [clean(name) for name in classes] if classes else None
    if classes is None:
        for row in outputs:
            screen.print(" ".join(f"{value:.6g}" for value in row), markup=False)
        return
    chance = softmax(make(outputs), dim=1).numpy()
    if len(chance) > 1:
        for row in chance:
            screen.print(f"{classes[int(row.argmax())]}  {row.max():.2%}", markup=False)
        return
    if x.ndim == 4:
        screen.print(drawing(x[0]) + "\n", markup=False)
    width = max(map(len, classes))
    for i in np.argsort(-chance[0], kind="stable")[:MANY]:
        bar = "█" * round(float(chance[0, i]) * 30)
        screen.print(f"{classes[i]:<{width}}  {chance[0, i]:7.2%}  {bar}".rstrip(), markup=False)


# ---- lists -------------------------------------------------------------------------------------


def file(screen: Console, about: FileInfo) -> None:
    """What stands in a file."""
    total = sum(prod(shape) for _, _, shape in about.tensors)
    digest = "none: not written by contraflow, damage in its numbers cannot be seen"
    if about.digest:
        digest = f"SHA-256 {about.digest[:16]}... fits the data"
    screen.print(f"{about.path}: {about.size:,} bytes, {len(about.tensors)} tensors, "
                 f"{total:,} numbers\ndigest: {digest}", markup=False)  # fmt: skip
    table = plain_table("tensor", "dtype", "shape")
    for name, dtype, shape in about.tensors:
        table.add_row(escape(clean(name)), dtype, str(shape))
    screen.print(table)
    if about.layers is not None:
        screen.print(about.layers + "\n", markup=False)
    for name, value in about.about.items():
        screen.print(clean(f"{name}: {value}"), markup=False)


def source(screen: Console, data: Source, about: About | None) -> None:
    """What a data set holds."""
    shape = "x".join(map(str, data.x.shape[1:]))
    screen.print(f"{data.name}: {len(data.x)} samples of {shape} numbers", markup=False)
    if data.test is not None:
        screen.print(f"{len(data.test[0])} more to test with")
    if about is not None:
        screen.print(f"{about.description}\n{about.source}\nlicence: {about.licence}", markup=False)
    table = plain_table("class", "samples", right=("samples",))
    if data.classes is None:
        low, high = data.y.min(axis=0), data.y.max(axis=0)
        screen.print(f"numbers to predict, from {low.tolist()} to {high.tolist()}", markup=False)
    elif len(data.classes) <= MANY:
        for name, count in zip(data.classes, np.bincount(data.y), strict=False):
            table.add_row(escape(clean(name)), str(count))
        screen.print(table)
    else:
        screen.print(f"{len(data.classes)} classes")
    if data.images:
        screen.print(beside([drawing(picture) for picture in data.x[:3]]), markup=False)


def sets(screen: Console, known: list[About]) -> None:
    """The bundled sets."""
    for about in known:
        screen.print(f"[bold]{about.name}[/bold]  {about.rows} samples")
        for text in (about.description, about.source, f"licence: {about.licence}"):
            screen.print(f"  {text}", markup=False)
        screen.print(f"  contraflow train {about.name}\n")


def ops(screen: Console, records: list[Op]) -> None:
    """The registry of ops."""
    table = plain_table("op", "operands", "gradient")
    for record in records:
        operands = ("*" if record.variadic else "") + " ".join(record.operands)
        table.add_row(record.name, operands, "yes" if record.differentiable else "no")
    screen.print(table)
    with_gradient = sum(record.differentiable for record in records)
    screen.print(f"{len(records)} ops, {with_gradient} with a gradient")
