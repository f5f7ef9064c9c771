"""The command line: each command parses, calls, and prints."""

from __future__ import annotations

import platform
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Any

import click
from click.core import ParameterSource

from contraflow.base.errors import ArgumentError, lesson
from contraflow.cli import show
from contraflow.cli.app import Commands, console, debug_option
from contraflow.cli.bar import Heading, ProgressBar
from contraflow.cli.inspection import describe_file, held_out, open_model
from contraflow.cli.threads import set_blas_threads
from contraflow.data.bundled_sets import SETS
from contraflow.ops.record import OPS
from contraflow.optim import RULES
from contraflow.train import Interrupted, Progress, predict
from contraflow.train.recipe import (
    MODELS,
    OPEN_ENDED,
    SCHEDULES,
    Recipe,
    differs,
    read_recipe,
)
from contraflow.train.sources import nearest, open_source, read_inputs
from contraflow.train.whole import judge, train_recipe

__all__ = ["main"]


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with:  contraflow train digits",
)
@debug_option
def main() -> None:
    """Neural networks trained by backpropagation."""


def widths(context: click.Context, parameter: Any, text: str | None) -> tuple[int, ...] | None:
    """``"64,32"`` as numbers."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of whole numbers; e.g. 64,32") from None


@main.command("train")
@click.argument("data")
@click.option("--model", metavar="NAME", help=f"{', '.join(MODELS)}. [cnn for pictures, or mlp]")
@click.option("--widths", metavar="N,N", callback=widths, help="Channels, or hidden units.")
@click.option("--dropout", type=float, metavar="P", help="Probability of dropping a unit.")
@click.option("--epochs", type=int, metavar="N", help="How often to go through the data.")
@click.option("--batch-size", type=int, metavar="N", help="Samples in a step.")
@click.option("--lr", type=float, metavar="X", help="Learning rate.")
@click.option(
    "--optimizer", default="AdamW", metavar="NAME", show_default=True, help=", ".join(RULES) + "."
)
@click.option("--weight-decay", type=float, metavar="X", help="[the optimiser's own]")
@click.option(
    "--schedule", default="onecycle", metavar="NAME", show_default=True,
    help=", ".join(SCHEDULES) + ".",
)  # fmt: skip
@click.option("--augment/--no-augment", default=None, help="Turn, move and scale the pictures.")
@click.option("--label-smoothing", type=float, metavar="X", help="[0.05 for pictures]")
@click.option("--clip", type=float, metavar="X", help="Largest norm of the gradient.")
@click.option("--ema", type=float, metavar="X", help="Decay of an average of the weights.")
@click.option("--patience", type=int, metavar="N", help="Stop after N epochs without progress.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same bits.")
@click.option("--test", type=float, default=0.2, show_default=True, help="Part for testing.")
@click.option(
    "--validation", type=float, default=0.1, show_default=True,
    help="Part of the rest by which epochs are compared.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(1), metavar="N",
    help="Threads of NumPy's matrix products; the last bits depend on it. [1]",
)  # fmt: skip
@click.option("--out", type=click.Path(), help="Folder of the run. [runs/DATA]")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@debug_option
@click.pass_context
def train_command(
    context: click.Context, threads: int | None, out: str | None, resume: bool, **options: Any
) -> None:
    """Train a network on DATA and save it.

    DATA is digits, iris, wine, breast_cancer, an .npz file with arrays x and y, or a folder of
    MNIST-style idx files. Whole-number targets are classes, other targets are numbers to predict.

    \b
    contraflow train digits
    contraflow train digits --model mlp --widths 256,128 --epochs 40
    contraflow train wine --optimizer SGD --lr 0.05 --patience 10
    contraflow train my.npz --out runs/mine --seed 1
    contraflow train digits --resume
    """
    folder = Path(out or Path("runs") / (Path(options["data"]).stem or "data"))
    recipe = Recipe(**options)
    if resume and (folder / "settings.json").exists():
        given = [f.name for f in fields(Recipe) if is_given(context, f.name)]
        recipe = resumed(read_recipe(folder), recipe, given)
    set_blas_threads(threads)
    screen = console()
    earlier = folder / "checkpoints" if not resume and (folder / "checkpoints").is_dir() else None
    progress = ProgressBar(screen) if screen.is_interactive else Progress()
    beside = [Heading(screen, earlier), progress]
    try:
        result = train_recipe(recipe, folder, resume=resume, callbacks=beside)
    except Interrupted as stop:
        words = ["contraflow", "train", recipe.data, "--resume", *(["--out", out] if out else [])]
        again = " ".join(map(quote, words))
        raise Interrupted(f"{str(stop).partition(';')[0]}; go on with: {again}") from None
    show.result(screen, result)


def is_given(context: click.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def resumed(saved: Recipe, asked: Recipe, given: list[str]) -> Recipe:
    """The recipe of the run that goes on; what was asked for besides must agree with it.

    Only the number of epochs may change, where the schedule does not depend on it.
    """
    if "epochs" in given and saved.schedule in OPEN_ENDED:
        saved = replace(saved, epochs=asked.epochs)
    if any(getattr(saved, name) != getattr(asked, name) for name in given):
        raise differs(saved, asked, given)
    return saved


@main.command()
@click.argument("model", type=click.Path())
@click.argument("data", required=False)
@debug_option
def evaluate(model: str, data: str | None) -> None:
    """Measure a saved MODEL on the part of its data that was held out, or on all of DATA.

    \b
    contraflow evaluate runs/digits/model.safetensors
    contraflow evaluate runs/mine/model.safetensors other.npz
    """
    network, about = open_model(model)
    part = held_out(about, data)
    found, outputs = judge(network, *part.arrays)
    show.numbers(console(), found, len(part.arrays[0]), part.name)
    show.errors(console(), about["classes"], found, outputs, *part.arrays)


@main.command("predict")
@click.argument("model", type=click.Path())
@click.argument("input")
@debug_option
def predict_command(model: str, input: str) -> None:
    """Ask a saved MODEL about an INPUT: numbers, a sample of a data set, or an .npy or .npz file.

    \b
    contraflow predict runs/iris/model.safetensors 5.1,3.5,1.4,0.2
    contraflow predict runs/digits/model.safetensors digits:17
    contraflow predict runs/digits/model.safetensors pictures.npy
    """
    network, about = open_model(model)
    x = read_inputs(input, about["shape"])
    show.predictions(console(), about["classes"], x.numpy(), predict(network, x).numpy())


@main.command()
@click.argument("thing")
@debug_option
def info(thing: str) -> None:
    """Say what is in a model file or a data set.

    \b
    contraflow info runs/digits/model.safetensors
    contraflow info digits
    contraflow info my.npz
    """
    if thing.endswith(".safetensors") or (Path(thing).is_file() and not thing.endswith(".npz")):
        show.file(console(), describe_file(thing))
    else:
        show.source(console(), open_source(thing), SETS.get(thing))


@main.command()
@debug_option
def data() -> None:
    """List the bundled data sets with their sources and licences."""
    show.sets(console(), list(SETS.values()))


@main.command()
@click.argument("name", required=False)
@debug_option
def ops(name: str | None) -> None:
    """List the ops: their operands, and whether they have a gradient.

    \b
    contraflow ops
    contraflow ops conv
    """
    chosen = [record for key, record in sorted(OPS.items()) if name is None or name in key]
    if not chosen:
        close = nearest(name or "", OPS)
        hint = f"; did you mean {close!r}?" if close else ""
        raise ArgumentError(lesson(f"there is no op with {name!r} in its name{hint}",
                                   fix="contraflow ops"))  # fmt: skip
    show.ops(console(), chosen)


@main.command("version")
@debug_option
def version_command() -> None:
    """Print the versions of contraflow and of what it stands on."""
    for name in ("contraflow", "numpy", "llvmlite", "safetensors"):
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "not installed"
        console().print(f"{name:<12} {found}")
    console().print(f"{'python':<12} {platform.python_version()} on {platform.platform()}")
