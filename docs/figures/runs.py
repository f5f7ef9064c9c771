"""The runs behind the figures and tables of the documentation, and the file that keeps them.

``python docs/figures/runs.py`` runs all (two or three minutes), writes ``results.json`` and puts
the tables into the pages, between ``<!-- table:NAME -->`` and ``<!-- end -->``; with the argument
``tables`` it only does the latter. The experiments themselves stand in ``examples/``.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from math import isfinite
from pathlib import Path

import numpy as np

import contraflow as cf

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent
RESULTS = HERE / "results.json"
SEEDS = range(5)


def example(name):
    """What an example defines, without running its main part."""
    return runpy.run_path(str(DOCS.parent / "examples" / f"{name}.py"))


# ---- the runs -----------------------------------------------------------------------------------


def vanishing(epochs=30):
    """20 layers of sigmoids and the cures: gradients by layer, losses by epoch, accuracy."""
    told = example("vanishing")
    return {kind: told["study"](kind, epochs) for kind in told["BLOCKS"]}


def exploding(epochs=30):
    """Weights twice too large and the cures."""
    told = example("exploding")
    return {name: told["study"](epochs, **options) for name, options in told["RUNS"].items()}


def overfitting(epochs=300, seeds=SEEDS):
    """100 digits: curves (training loss, accuracy, validation loss, accuracy), means of seeds."""
    told = example("overfitting")
    found = {}
    for name, options in told["CURES"].items():
        runs = [told["study"](epochs, seed=seed, **options) for seed in seeds]
        accuracies = [run["test"][1] for run in runs]
        found[name] = {
            "curves": np.mean([run["curves"] for run in runs], axis=0).T.tolist(),
            "test loss": float(np.mean([run["test"][0] for run in runs])),
            "test accuracy": float(np.mean(accuracies)),
            "spread": float(np.std(accuracies, ddof=1)) if len(runs) > 1 else 0.0,
            "stopped after": float(np.mean([run["stopped"][0] for run in runs])),
            "stopped loss": float(np.mean([run["stopped"][1][0] for run in runs])),
            "stopped accuracy": float(np.mean([run["stopped"][1][1] for run in runs])),
        }
    return found


def backflow():
    """The article's network: every value of the forward pass, every gradient of the backward."""
    names = {
        "W1": [[0.3, 0.7], [0.5, 0.2]],
        "b1": [0.1, 0.1],
        "W2": [[0.4], [0.6]],
        "b2": [0.1],
        "x": [0.5, 0.8],
    }
    t = {name: cf.tensor(v, dtype=cf.float64, requires_grad=True) for name, v in names.items()}
    t["z1"] = t["x"] @ t["W1"] + t["b1"]
    t["h"] = cf.sigmoid(t["z1"])
    t["z2"] = t["h"] @ t["W2"] + t["b2"]
    t["y"] = cf.sigmoid(t["z2"])
    t["loss"] = ((t["y"] - 1.0) ** 2).sum()
    for inner in ("z1", "h", "z2", "y", "loss"):
        t[inner].retain_grad()
    t["loss"].backward()
    return {name: {"value": v.tolist(), "gradient": v.grad.tolist()} for name, v in t.items()}


def descent():
    """Paths by learning rate, and the loss by the number of samples seen, by size of the batch."""
    told = example("descent")
    descend = told["descend"]
    return {
        "rates": {
            name: [place[1:3] for place in descend(256, lr, 20 * 256)]
            for name, lr in told["RATES"].items()
        },
        "sizes": {
            name: [(place[0], place[3]) for place in descend(size, 0.03, 1536)]
            for name, size in told["SIZES"].items()
        },
    }


def optimizers():
    """Paths through a valley, and the loss of every epoch on digits."""
    told = example("optimizers")
    return {
        "valley": {name: told["walk"](make) for name, make in told["VALLEY"].items()},
        "digits": {name: told["train"](make) for name, make in told["DIGITS"].items()},
    }


RUNS = {run.__name__: run for run in (backflow, descent, optimizers, vanishing, exploding,
                                         overfitting)}  # fmt: skip


# ---- the file -----------------------------------------------------------------------------------


def plain(value):
    """Numbers with six significant digits; None for what is not finite (JSON has no NaN)."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if isfinite(value) else None
    return value


def load():
    return json.loads(RESULTS.read_text())


def save(results):
    lines = [
        f'"{name}": ' + json.dumps(part, allow_nan=False, separators=(",", ":"))
        for name, part in results.items()
    ]
    RESULTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


# ---- the tables ---------------------------------------------------------------------------------


def table(head, rows):
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value):
    """0.36, 331, 3e-17 or NaN, whichever can be read."""
    if value is None:
        return "NaN"
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.{0 if abs(value) >= 100 else 2 if abs(value) >= 0.1 else 3}f}"


def vanishing_table(results):
    rows = [
        [
            kind,
            number(run["norms"][0]),
            number(run["norms"][-1]),
            f"{run['losses'][0]:.2f}",
            f"{run['losses'][-1]:.2f}",
            f"{run['accuracy']:.1%}",
        ]
        for kind, run in results["vanishing"].items()
    ]
    head = ["20 hidden layers of", "gradient, first layer", "last layer", "loss, epoch 1",
            "epoch 30", "test accuracy"]  # fmt: skip
    return table(head, rows)


def exploding_table(results):
    rows = [
        [
            name,
            number(run["norms"][0]),
            number(run["losses"][0]),
            number(run["losses"][-1]),
            f"{run['accuracy']:.1%}",
        ]
        for name, run in results["exploding"].items()
    ]
    head = ["10 hidden layers", "gradient, step 1", "loss, step 1", "last step", "test accuracy"]
    return table(head, rows)


def overfitting_table(results):
    rows = [
        [
            name,
            f"{run['curves'][1][-1]:.1%}",
            f"{run['test accuracy']:.1%} ± {run['spread']:.1%}",
            f"{run['test loss']:.2f}",
            f"{run['stopped after']:.0f}",
            f"{run['stopped accuracy']:.1%}",
            f"{run['stopped loss']:.2f}",
        ]
        for name, run in results["overfitting"].items()
    ]
    head = ["100 training digits, and", "training accuracy", "test accuracy", "test loss",
            "stopped after", "accuracy then", "loss then"]  # fmt: skip
    return table(head, rows)


TABLES = {
    "vanishing": vanishing_table,
    "exploding": exploding_table,
    "overfitting": overfitting_table,
}
PLACE = re.compile(r"(<!-- table:(\w+) -->\n).*?(<!-- end -->)", re.S)


def filled(page, results):
    """The text of a page with its tables written anew."""
    return PLACE.sub(lambda m: f"{m[1]}\n{TABLES[m[2]](results)}\n\n{m[3]}", page)


def pages():
    return [page for page in DOCS.rglob("*.md") if PLACE.search(page.read_text())]


def main(*words):
    if "tables" not in words:
        save({name: plain(run()) for name, run in RUNS.items()})
    results = load()
    for page in pages():
        page.write_text(filled(page.read_text(), results))


if __name__ == "__main__":
    main(*sys.argv[1:])
