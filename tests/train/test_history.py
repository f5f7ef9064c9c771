"""The history as a mapping, a table, a line, and a file."""

import json
from math import isnan, nan

import pytest

import contraflow as cf


@pytest.fixture
def history():
    made = cf.train.History()
    for i, loss in enumerate([4.0, 2.0, nan, 1.0]):
        made.add({"loss": loss, "accuracy": i / 4, "confusion": [[i]], "seconds": i * 0.1})
    return made


def test_it_is_a_mapping_of_lists(history):
    assert list(history) == ["loss", "accuracy", "confusion", "seconds"]
    assert history["accuracy"] == [0.0, 0.25, 0.5, 0.75]
    assert history.epochs == 4 and len(history) == 4
    assert "loss" in history and "lr" not in history
    assert history.get("lr", "none") == "none"
    assert history.last()["loss"] == 1.0
    with pytest.raises(KeyError, match="loss accuracy"):
        history["acuracy"]


def test_best_leaves_out_what_is_not_finite(history):
    assert history.best("loss") == (4, 1.0)
    assert history.best("accuracy", "max") == (4, 0.75)
    with pytest.raises(cf.ArgumentError, match="mode"):
        history.best("loss", "least")


def test_names_that_come_later_are_nan_before(history):
    history.add({"loss": 0.5, "lr": 0.1})
    assert all(map(isnan, history["lr"][:4])) and history["lr"][4] == 0.1
    assert isnan(history["accuracy"][4])


def test_table_and_sparkline(history):
    lines = str(history).split("\n")
    assert lines[0].split() == ["epoch", "loss", "accuracy", "seconds"]
    assert lines[2].split() == ["2", "2.0000", "0.2500", "0.1000"]
    assert history.sparkline("loss") == "█▃ ▁"
    assert history.sparkline("accuracy") == "▁▃▆█"
    assert len(history.sparkline("loss", width=2)) == 2
    assert "4 epochs" in repr(history)


def test_saved_and_loaded(history, tmp_path):
    history.save(tmp_path / "history.json")
    again = cf.train.History.load(tmp_path / "history.json")
    assert again == history and again["seconds"] == history["seconds"]
    assert json.loads((tmp_path / "history.json").read_text())["loss"][2] is None


def test_equal_but_for_the_seconds(history):
    other = cf.train.History()
    other.load_state_dict(history.state_dict())
    other["seconds"][0] = 99.0
    assert other == history
    other["loss"][0] = 3.0
    assert other != history and history != 1


@pytest.mark.parametrize("text", ["", "[]", '{"a": [1], "b": [1, 2]}', '{"a": NaN}', '{"a": 3}'])
def test_files_that_are_no_history(text, tmp_path):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(cf.FileError):
        cf.train.History.load(tmp_path / "bad.json")
