"""Every example runs as a program of its own, without arguments, and reaches what it claims."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def percent(printed, before):
    """The percentage that stands behind some words (the last time they occur)."""
    return float(re.findall(rf"{before}\s*([\d.]+)%", printed)[-1])


def article(printed):
    assert printed.startswith("Prediction: 0.6795\nLoss: 0.1027\n")
    losses = [float(v) for v in re.findall(r"Epoch \d+: Loss = ([\d.]+)", printed)]
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)
    assert float(re.findall(r"Prediction = ([\d.]+)", printed)[-1]) > 0.96


def adam(printed):
    first, last = map(float, re.search(r"Loss: ([\d.]+) -> ([\d.]+)", printed).groups())
    assert last < first / 2
    # the gradients differ by orders of magnitude, the steps do not: all about lr
    low, high = map(float, re.search(r"Steps\s+from (\S+) to (\S+)", printed).groups())
    assert low == pytest.approx(0.001, rel=0.06)
    assert high == pytest.approx(0.001, rel=0.06)


def autograd_step(printed):
    first, last = map(float, re.search(r"Loss: ([\d.]+) -> ([\d.]+)", printed).groups())
    assert last < first
    assert float(re.search(r"formula: (\S+)", printed)[1]) < 1e-6


def dropout(printed):
    assert "two passes of one picture differ: True" in printed
    assert re.search(r"In evaluation they are equal:\s+True", printed)
    assert percent(printed, "Test accuracy:") >= 95


def at_least_97(printed):
    assert percent(printed, "Test accuracy:") >= 97


def xor(printed):
    assert percent(printed, "Two hidden neurons: .* accuracy") == 100
    assert float(re.search(r"One layer:\s+loss ([\d.]+)", printed)[1]) == pytest.approx(0.6931)
    said = re.findall(r"(\d) xor (\d): .*->  (\d)", printed)
    assert [int(a) ^ int(b) == int(c) for a, b, c in said] == [True] * 4


def spirals(printed):
    assert percent(printed, "Test accuracy:") > 95
    assert {".", "#"} <= set(printed)


def table(printed):
    assert percent(printed, "Test accuracy:") >= 95
    assert "malignant" in printed
    assert "benign" in printed
    stopped, best = map(int, re.search(r"epoch (\d+); the best was (\d+)", printed).groups())
    assert stopped == best + 15


def vanishing(printed):
    ratios = dict(re.findall(r"^(.+?)\s+first/last\s+(\S+)", printed, re.M))
    accuracy = dict(re.findall(r"^(.+?)\s+first/last.*accuracy ([\d.]+)%", printed, re.M))
    assert float(ratios.pop("sigmoid")) < 1e-12
    assert float(accuracy.pop("sigmoid")) < 15
    assert len(ratios) == 3
    assert all(float(ratio) > 1e-3 for ratio in ratios.values())
    assert all(float(right) > 70 for right in accuracy.values())


def exploding(printed):
    ends = dict(re.findall(r"^(.+?)\s+gradient.*-> +(\S+)", printed, re.M))
    accuracy = dict(re.findall(r"^(.+?)\s+gradient.*accuracy ([\d.]+)%", printed, re.M))
    assert ends.pop("weights twice too large") == "nan"
    assert len(ends) == 3
    assert all(float(loss) < 2 for loss in ends.values())
    assert all(float(accuracy[name]) > 40 for name in ends)


def overfitting(printed):
    lines = re.findall(r"^(.+?)\s+training ([\d.]+)%, test ([\d.]+)%, loss ([\d.]+)", printed, re.M)
    found = {name: tuple(map(float, numbers)) for name, *numbers in lines}
    memory, right, loss = found.pop("nothing")
    assert memory == 100
    assert right < 92
    assert all(cured[2] < loss for cured in found.values())
    assert found["augmentation"][1] > right
    stopped = re.findall(r"stopped early, after\s+(\d+): ([\d.]+)%, ([\d.]+)", printed)
    assert float(stopped[0][2]) < loss


def responsibility(printed):
    assert printed.startswith("Loss: 0.102707\n")
    rows = re.findall(r"^(\S+)\s+(-\S+)\s+(-\S+)\s+(-\S+)\s+([\d.]+)%$", printed, re.M)
    assert len(rows) == 18
    assert all(float(off) < 6 for *_, off in rows[:9])  # a nudge of 0.1
    assert all(float(off) < 0.1 for *_, off in rows[9:])  # a nudge of 0.001


def descent(printed):
    ends = dict(re.findall(r"^  (too low|about right|too high) .*-> ([\d.]+)", printed, re.M))
    assert float(ends["about right"]) < 0.5
    assert min(float(ends["too low"]), float(ends["too high"])) > 3
    sizes = re.findall(r"^  (\S+)\s+(\d+) steps, loss .*-> ([\d.]+)", printed, re.M)
    names, steps, losses = zip(*sizes, strict=True)
    assert names == ("batch", "mini-batch", "stochastic")
    assert steps == ("2", "16", "512")
    assert float(losses[0]) > float(losses[1]) > float(losses[2])


def optimizers(printed):
    valley, digits = (
        dict(re.findall(r"^  (.+?)\s+loss .*-> ([\d.]+)", part, re.M))
        for part in printed.split("Digits")
    )
    assert all(float(loss) < 0.5 for loss in valley.values())
    plain = float(digits.pop("SGD"))
    assert len(digits) == 3
    assert all(float(loss) < plain / 2 for loss in digits.values())


CLAIMS = {
    "article_by_hand": article,
    "article_autograd": article,
    "article_adam": adam,
    "article_autograd_step": autograd_step,
    "article_dropout": dropout,
    "article_minibatch": at_least_97,
    "xor": xor,
    "descent": descent,
    "optimizers": optimizers,
    "spirals": spirals,
    "digits_cnn": at_least_97,
    "table": table,
    "vanishing": vanishing,
    "exploding": exploding,
    "overfitting": overfitting,
    "responsibility": responsibility,
}


def test_every_example_has_a_claim():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(CLAIMS)


def test_every_example_is_listed():
    listed = re.findall(r"\]\((\w+)\.py\)", (EXAMPLES / "README.md").read_text())
    assert sorted(listed) == sorted(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_example(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")],
        capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    CLAIMS[name](done.stdout)
    assert not list(tmp_path.iterdir())  # leaves nothing behind


@pytest.mark.parametrize("name", CLAIMS)
def test_examples_are_short(name):
    lines = (EXAMPLES / f"{name}.py").read_text().count("\n")
    assert 25 <= lines <= 120
