"""Planted mistakes: each meets an error that says the rule, the operands and the fix, and that
comes before any work."""

import re
from pathlib import Path

import pytest

import contraflow as cf
from tests.errors.mistakes import MISTAKES, Mistake, meet, unchanged
from tools.error_page import render

# An error that programs ask for in silence (hasattr), and a warning as in PyTorch.
NO_FIX = {"an attribute that a module does not have", "softmax without a dimension"}
every = pytest.mark.parametrize("planted", MISTAKES, ids=lambda m: m.title.replace(" ", "_"))


def test_there_are_many_and_none_is_there_twice():
    titles = [m.title for m in MISTAKES]
    assert len(titles) == len(set(titles)) >= 80
    assert sum(m.page for m in MISTAKES) >= 12


@every
def test_the_mistake_meets_a_lesson(planted):
    meeting = meet(planted)
    error = meeting.error
    assert error is not None, "nothing was noticed"
    assert type(error).__name__ == planted.error
    text = str(error)
    for fragment in planted.says:
        assert fragment in text
    if planted.title not in NO_FIX:
        assert isinstance(error, cf.ContraflowError)
        assert "\n  fix: " in text, "there is no fix"
        assert re.search(rf"\n  at +{re.escape(planted.culprit)}\n", text), planted.culprit
        assert text.splitlines()[-1].startswith("  fix: ")


@every
def test_nothing_changed(planted):
    meeting = meet(planted)
    draws = ("rand", "nn.", "Net(")  # the line itself moves the random stream before it fails
    if any(word in planted.culprit for word in draws):
        meeting.before.pop("random", None)
    assert unchanged(meeting)
    assert cf.is_grad_enabled()
    assert (cf.ones(2) + 1).tolist() == [2.0, 2.0]  # no capture is left behind


def test_a_change_would_be_noticed():
    program = "w = cf.ones(2)\nw.add_(1), w[5]  # <--\n"
    assert not unchanged(meet(Mistake("", program, "IndexOutOfRange", ())))
    program = "model = nn.BatchNorm1d(2)\nmodel(cf.ones(4, 2)), w[5]  # <--\n"
    assert not unchanged(meet(Mistake("", program, "NameError", ())))


def test_the_page_of_errors_is_what_they_print():
    page = Path(__file__).parents[2] / "docs" / "errors.md"
    assert page.read_text(encoding="utf-8") == render(), "python tools/error_page.py"


@every
def test_the_columns_are_straight(planted):
    lines = str(meet(planted).error).splitlines()
    rows = [line for line in lines[1:] if re.match(r"  \S", line) and "  fix: " not in line]
    starts = {re.match(r"  \S+(?: \S+)* +", row).end() for row in rows}
    assert len(starts) <= 1, rows
