"""Whether the steps of a run are worth compiling: decided by counts that a checkpoint holds.

Never by a clock, by what is on the disk, or by what else ran before: the same run has the same
bits on another day, and a run that is resumed goes on as it would have gone on.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from contraflow.base.tree import flatten
from contraflow.tensor.tensor import Tensor

__all__ = ["PLAIN", "WORTH", "Choice", "facts_of"]

WORTH = 200  # steps over batches of one form that repay compiling
FORMS = 64  # forms that are counted
ONCE = 4  # values of what a step takes for granted (flags, numbers of modules) it is compiled for
NEVER = -1
PLAIN = (bool, int, float, str, type(None))


class Choice:
    """Which steps of a run are native.

    The form that comes first is native from its first batch on if the run is long enough. Another
    one (the shorter last batch of an epoch, say) is when it has come ``WORTH`` times; in a run of
    so many epochs the second one is at once.

    Args:
        asked: what ``fit`` was told; planned: the steps of all epochs, None if nobody knows.

    Attributes:
        asked: True or False if it was said; None: by counting.
        forms: how often batches of a form came, or NEVER; facts: what steps were compiled for.
        steps: how many native steps there were; why: what speaks against the others.
        over: no step will be native any more.
    """

    def __init__(self, asked: bool | None, epochs: int, planned: int | None) -> None:
        self.given = self.asked = asked
        self.epochs, self.planned = epochs, planned
        self.forms: dict[str, int] = {}
        self.facts: list[str] = []
        self.steps, self.why, self.over = 0, "", False

    def short(self) -> bool:
        """Whether it is known that the run ends before compiling is repaid."""
        return self.planned is not None and self.planned < WORTH

    def counts(self, batch: list[Any]) -> bool:
        """Count a batch; whether its form is worth compiling."""
        form = form_of(batch)
        usual = (max(self.epochs, self.planned or 0) >= WORTH) + (self.epochs >= WORTH)
        seen = self.forms.get(form, WORTH - 1 if len(self.forms) < usual else 0)
        if seen == NEVER:
            return False
        if seen < WORTH:
            self.forms.pop(form, None)  # the one that came last stands last
            self.forms[form] = seen = seen + 1
            self.forget()
        if seen < WORTH:
            self.why = f"batches of a form that came less than {WORTH} times"
        return seen >= WORTH

    def forget(self) -> None:
        """Forget the form that has not come for longest, if there are many."""
        if len(self.forms) > FORMS:
            rare = next((f for f, seen in self.forms.items() if seen != NEVER), None)
            if rare is not None:
                del self.forms[rare]

    def never(self, batch: list[Any], why: str) -> None:
        """Batches of this form go op by op from now on."""
        self.forms[form_of(batch)] = NEVER
        self.why = why

    def end(self, why: str) -> None:
        """All steps go op by op from now on."""
        self.over, self.why = True, why

    def takes(self, facts: str) -> bool:
        """Whether a step is compiled for what it would take for granted now."""
        if facts not in self.facts:
            if len(self.facts) >= ONCE:
                self.why = "a flag or a number of a module keeps changing"
                return False
            self.facts.append(facts)
        return True

    def report(self, steps: int) -> str:
        """What became of the steps, in words."""
        if self.steps == steps and steps:
            return "all steps native"
        why = f": {self.why}" if self.why else ""
        return f"{self.steps} of {steps} steps native{why}"

    # ---- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that decides how the run goes on."""
        return {
            "asked": self.asked, "forms": dict(self.forms), "facts": list(self.facts),
            "steps": self.steps, "why": self.why, "over": self.over,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; what was said now counts more than what was said then."""
        self.asked = state["asked"] if self.given is None else self.given
        self.forms, self.facts = dict(state["forms"]), list(state["facts"])
        self.steps, self.why, self.over = state["steps"], state["why"], state["over"]


def form_of(batch: list[Any]) -> str:
    """Shapes and dtypes of a batch; what is no tensor as it is."""
    return " ".join(
        str(leaf.aval) if isinstance(leaf, Tensor) else f"{leaf!r:.40}" for leaf in flatten(batch)
    )


def facts_of(run: Any) -> str:
    """A digest of the plain values that a step would take for granted."""
    found = []
    for part in (run.model, run.loss):
        if hasattr(part, "named_modules"):
            found += [(name, plain(module)) for name, module in part.named_modules()]
            found += [(name, p.requires_grad) for name, p in part.named_parameters()]
    found.append(("optimizer", plain(run.optimizer)))
    return sha256(repr(found).encode()).hexdigest()[:16]


def plain(holder: Any) -> list[tuple[str, Any]]:
    """The facts of a module or an optimiser that are plain values."""
    return [(name, value) for name, value in holder._facts().items() if isinstance(value, PLAIN)]
