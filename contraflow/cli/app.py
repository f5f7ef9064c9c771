"""What all commands share: lessons instead of tracebacks, nearest names, exit codes."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from contraflow.base.errors import ContraflowError
from contraflow.train import CheckpointWarning, Interrupted, Recipe
from contraflow.train.sources import nearest

__all__ = ["Commands", "console", "debug_option", "problem"]

OPTIONS = {f.name for f in fields(Recipe)} | {"resume"}
USER_LINE = re.compile(r"^  at {2,}.*\n?", re.MULTILINE)  # a line of click's own code: no help
PYTHON_FIX = re.compile(r'^(  fix: )(\w+)=[\'"]?([^\'",\s]+)[\'"]?$', re.MULTILINE)


def console(stderr: bool = False) -> Console:
    """Where to print; made anew each time, because tests and pipes replace the streams."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def as_option(match: re.Match[str]) -> str:
    """A fix in the spelling of the command line: ``--batch-size 32`` for ``batch_size=32``."""
    lead, name, value = match.groups()
    if name not in OPTIONS:
        return match[0]
    flag = name.replace("_", "-")
    if value in ("True", "False"):
        return f"{lead}--{'' if value == 'True' else 'no-'}{flag}"
    return f"{lead}--{flag} {value}"


def lesson_text(error: BaseException) -> str:
    """An error of the library as the command line shows it."""
    text = USER_LINE.sub("", str(error)).rstrip()
    return PYTHON_FIX.sub(as_option, text)


def problem(text: str, title: str = "error", style: str = "bold red") -> None:
    """Print a problem to standard error."""
    console(stderr=True).print(Text.assemble((f"{title}: ", style), text))


def show_warning(message: Any, *_: Any, **__: Any) -> None:
    """A warning as one of our own notes."""
    problem(USER_LINE.sub("", str(message)).rstrip(), "note", "bold yellow")


def debug_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--debug``, which lets errors through with their traceback."""

    def remember(context: click.Context, parameter: Any, value: bool) -> None:
        if value:
            context.find_root().ensure_object(dict)["debug"] = True

    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=remember,
        help="Show the traceback of an error.",
    )(command)  # fmt: skip


class Commands(click.Group):
    """A group whose errors are lessons (exit code 2) and whose Ctrl-C is quiet (130)."""

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        """A command by its name, or the name that was probably meant."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            close = nearest(args[0], self.commands)
            known = f"did you mean {close!r}?" if close else "commands: " + " ".join(self.commands)
            context.fail(f"there is no command {args[0]!r}; {known}")
        return super().resolve_command(context, args)

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        for stream in (sys.stdout, sys.stderr):  # a log in ASCII is no reason to fail
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", CheckpointWarning)
                warnings.showwarning = show_warning
                return super().invoke(context)
        except Interrupted as stop:
            problem(str(stop), "interrupted", "bold yellow")
            context.exit(130)
        except KeyboardInterrupt:
            problem("stopped by Ctrl-C", "interrupted", "bold yellow")
            context.exit(130)
        except ContraflowError as error:
            if (context.find_object(dict) or {}).get("debug"):
                raise
            problem(lesson_text(error))
            context.exit(2)
