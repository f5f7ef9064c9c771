"""What the pages say about real runs is what was measured; and the network in the picture is right."""

import json
import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import contraflow as cf

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures"
TOLD = runpy.run_path(str(FIGURES / "runs.py"))
RESULTS = TOLD["load"]()


@pytest.mark.parametrize("page", TOLD["pages"](), ids=lambda page: page.name)
def test_tables_of_a_page_say_what_was_measured(page):
    assert TOLD["filled"](page.read_text(), RESULTS) == page.read_text()


def test_every_table_stands_on_a_page():
    shown = "".join(page.read_text() for page in TOLD["pages"]())
    assert all(f"<!-- table:{name} -->" in shown for name in TOLD["TABLES"])


def test_a_changed_number_is_noticed():
    (page,) = TOLD["pages"]()
    text = page.read_text()
    measured = f"{RESULTS['exploding']['gradient clipping']['accuracy']:.1%}"
    assert measured in text
    assert TOLD["filled"](text.replace(measured, "99.9%"), RESULTS) == text


def test_deep_sigmoids_do_not_learn_and_each_cure_does():
    runs = dict(RESULTS["vanishing"])
    sick = runs.pop("sigmoid")
    assert sick["norms"][0] < 1e-6 * sick["norms"][-1]
    assert sick["accuracy"] < 0.15
    assert len(runs) == 3
    for run in runs.values():
        assert run["norms"][0] > 1e-3 * run["norms"][-1]
        assert run["losses"][-1] < 0.2
        assert run["accuracy"] > 0.9


def test_large_weights_explode_and_each_cure_learns():
    runs = dict(RESULTS["exploding"])
    sick = runs.pop("weights twice too large")
    assert sick["losses"][-1] is None
    assert sick["layers"][0] > 100 * sick["layers"][-2]
    healthy = runs["He initialisation"]["layers"]
    assert 0.1 < healthy[0] / healthy[-2] < 10
    assert all(run["losses"][-1] < 1 and run["accuracy"] > 0.6 for run in runs.values())


def test_100_digits_are_learned_by_heart_and_the_cures_help():
    runs = RESULTS["overfitting"]
    train, memory, valid, _ = runs["nothing"]["curves"]
    assert memory[-1] == 1.0
    assert train[-1] < 1e-3
    assert valid[-1] > 1.3 * min(valid)  # grows again, while the training loss goes to zero
    for name in ("dropout", "weight decay", "augmentation", "all three"):
        assert runs[name]["test loss"] < runs["nothing"]["test loss"]
    assert runs["augmentation"]["test accuracy"] > runs["nothing"]["test accuracy"] + 0.03
    assert all(run["stopped loss"] <= run["test loss"] for run in runs.values())


@pytest.mark.parametrize(
    ("kind", "learns"), [("sigmoid", False), ("ReLU, He initialisation", True)]
)
def test_vanishing_again_in_small(kind, learns):
    study = TOLD["example"]("vanishing")["study"]
    found = study(kind, epochs=2, depth=10)
    ratio = found["norms"][0] / found["norms"][-1]
    assert (ratio > 1e-3) == learns
    assert (ratio < 1e-6) == (not learns)
    assert (found["losses"][-1] < 2.2) == learns


def test_the_picture_shows_the_gradients_of_the_network():
    kept, now = RESULTS["backflow"], TOLD["backflow"]()
    assert kept == TOLD["plain"](now)
    x, h = np.array(now["x"]["value"]), np.array(now["h"]["value"])
    W2 = np.array(now["W2"]["value"])
    (y,) = now["y"]["value"]
    output = 2 * (y - 1) * y * (1 - y)
    hidden = output * W2[:, 0] * h * (1 - h)
    np.testing.assert_allclose(now["z2"]["gradient"], [output], rtol=1e-12)
    np.testing.assert_allclose(now["z1"]["gradient"], hidden, rtol=1e-12)
    np.testing.assert_allclose(now["W1"]["gradient"], np.outer(x, hidden), rtol=1e-12)


def test_a_rate_that_is_too_high_overshoots_and_batches_trade_noise_for_steps():
    rates, sizes = RESULTS["descent"]["rates"], RESULTS["descent"]["sizes"]
    far = {name: abs(path[-1][0] - 2) + abs(path[-1][1] + 1) for name, path in rates.items()}
    assert far["about right"] < 0.5
    assert min(far["too low"], far["too high"]) > 2
    high = np.array(rates["too high"])
    assert (np.diff(high[:, 0])[:-1] * np.diff(high[:, 0])[1:] < 0).all()  # from side to side
    assert [len(sizes[name]) for name in ("batch", "mini-batch", "stochastic")] == [7, 49, 1537]
    rough = np.array(sizes["stochastic"])[500:, 1]
    smooth = np.array(sizes["batch"])[:, 1]
    assert (np.diff(smooth) < 0).all()
    assert (np.diff(rough) > 0).any()
    assert rough.mean() < smooth[-1]


def test_the_other_optimisers_are_quicker_than_plain_descent_on_digits():
    digits = RESULTS["optimizers"]["digits"]
    assert all(digits[name][-1] < digits["SGD"][-1] / 2 for name in digits if name != "SGD")


def test_results_hold_finite_numbers_only():
    text = (FIGURES / "results.json").read_text()
    json.loads(text, parse_constant=pytest.fail)
    assert TOLD["plain"]({"a": [float("nan"), 0.123456789, 3]}) == {"a": [None, 0.123457, 3]}


def test_every_figure_is_there_and_is_an_image():
    shown = sorted(FIGURES.glob("*.svg"))
    assert {path.stem for path in shown} == {
        "backflow", "convolution", "descent", "exploding", "optimizers", "overfitting", "vanishing",
    }  # fmt: skip
    for path in shown:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
        assert path.stat().st_size < 120_000


def test_the_experiments_are_repeatable():
    study = TOLD["example"]("exploding")["study"]
    first, second = (study(epochs=1, scale=1.0) for _ in range(2))
    assert first == second
    cf.manual_seed(123)
    assert study(epochs=1, scale=1.0) == first  # whatever was drawn before
