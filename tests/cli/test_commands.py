"""The commands: what they print, what they leave behind, and how they fail."""

import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import contraflow as cf
from contraflow.cli.main import main
from contraflow.cli.show import beside, drawing

ROOT = Path(__file__).resolve().parents[2]


def run(*args, **options):
    return CliRunner().invoke(main, [str(a) for a in args], **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which two small models were trained."""
    made = tmp_path_factory.mktemp("cli")
    for data, extra in (("iris", []), ("digits", ["--model", "mlp", "--widths", "32"])):
        done = run("train", data, "--epochs", 3, "--out", made / data, *extra)
        assert done.exit_code == 0, done.output
        (made / f"{data}.txt").write_text(done.output)
    return made


# ---- train --------------------------------------------------------------------------------------


def test_train_prints_a_line_an_epoch_and_the_result(folder):
    text = (folder / "digits.txt").read_text()
    lines = text.split("\n")
    epochs = [line for line in lines if re.match(r"epoch \d/3   loss \d", line)]
    assert len(epochs) == 3 and "validation_accuracy" in epochs[0]
    assert re.search(r"accuracy +\d+\.\d\d% +\d+ of 359 wrong on the test part", text)
    assert "true \\ taken for" in text and "the surest mistakes" in text and "█" in text
    assert str(folder / "digits" / "model.safetensors") in text
    assert "\x1b" not in text  # no colours where nobody sees them


def test_the_lines_to_copy_run(folder, tmp_path):
    for name in ("iris", "digits"):
        text = (folder / f"{name}.txt").read_text()
        block = re.search(r"    import contraflow as cf\n(?:.*\n)*?(?=\n    contraflow)", text)
        code = "\n".join(line[4:] for line in block[0].split("\n"))
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            text=True,
            capture_output=True,
            env={"PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        true, said = re.fullmatch(r"true (\w+) model (\w+)\n", done.stdout).groups()
        first = cf.data.load_iris() if name == "iris" else cf.data.load_digits()
        assert true == first.class_names[first.targets[0].item()] and said in first.class_names


def test_the_lines_to_copy_run_for_numbers_too(tmp_path):
    x = np.linspace(-1, 1, 60)[:, None]
    np.savez(tmp_path / "line.npz", x=x, y=3 * x[:, 0] + 1)
    done = run("train", tmp_path / "line.npz", "--epochs", 2, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    block = re.search(r"    import contraflow as cf\n(?:.*\n)*?(?=\n    contraflow)", done.output)
    code = "\n".join(line[4:] for line in block[0].split("\n"))
    names = {}
    exec(code, names)
    assert names["y"].tolist() == [-2.0]
    assert "R2" in done.output and "mean squared error" in done.output


def test_the_default_folder_and_same_seed_same_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = []
    for _ in range(2):
        done = run("train", "iris", "--epochs", 2)
        assert done.exit_code == 0
        files.append((tmp_path / "runs" / "iris" / "model.safetensors").read_bytes())
    assert files[0] == files[1]
    assert "checkpoints.before" in done.output


def test_a_model_without_mistakes_shows_what_it_was_least_sure_of(tmp_path):
    x = np.zeros((60, 6, 6), np.float32)
    y = np.arange(60) % 2
    x[y == 1, 2:4] = 1.0
    x += np.random.default_rng(0).normal(0, 0.01, x.shape)
    np.savez(tmp_path / "two.npz", x=x, y=y)
    done = run("train", tmp_path / "two.npz", "--model", "linear", "--epochs", 20,
               "--no-augment", "--out", tmp_path / "out")  # fmt: skip
    assert "0 of 12 wrong" in done.output and "no mistakes; the least sure were" in done.output


def test_every_option_reaches_the_recipe(tmp_path):
    done = run(
        "train", "wine", "--model", "mlp", "--widths", "8,4", "--dropout", 0.2, "--epochs", 2,
        "--batch-size", 20, "--lr", 0.01, "--optimizer", "SGD", "--weight-decay", 0.001,
        "--schedule", "cosine", "--no-augment", "--label-smoothing", 0.1, "--clip", 2, "--ema",
        0.9, "--patience", 3, "--seed", 7, "--test", 0.3, "--validation", 0.2, "--out", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    _, about = cf.train.load_model(tmp_path / "model.safetensors")
    assert about["recipe"] == {
        "data": "wine", "model": "mlp", "widths": [8, 4], "dropout": 0.2, "epochs": 2,
        "batch_size": 20, "lr": 0.01, "optimizer": "SGD", "weight_decay": 0.001,
        "schedule": "cosine", "augment": False, "label_smoothing": 0.1, "clip": 2.0, "ema": 0.9,
        "patience": 3, "seed": 7, "test": 0.3, "validation": 0.2,
    }  # fmt: skip


def test_resume_takes_the_settings_of_the_run(tmp_path):
    done = run("train", "iris", "--epochs", 2, "--schedule", "none", "--seed", 3, "--out", tmp_path)
    assert done.exit_code == 0
    longer = run("train", "iris", "--resume", "--epochs", 4, "--out", tmp_path)
    assert longer.exit_code == 0, longer.output
    assert "going on in epoch 3" in longer.output
    assert re.findall(r"^epoch (\d)/4", longer.output, re.M) == ["3", "4"]
    other = run("train", "iris", "--resume", "--seed", 4, "--out", tmp_path)
    assert other.exit_code == 2 and "seed  3 in the run, 4 now" in other.output


def test_a_damaged_checkpoint_is_a_note(tmp_path):
    args = ("train", "iris", "--epochs", 3, "--out", tmp_path)
    assert run(*args).exit_code == 0
    model = (tmp_path / "model.safetensors").read_bytes()
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-3])
    done = run(*args, "--resume")
    assert done.exit_code == 0
    assert f"note: {newest.name} cannot be read" in done.output
    assert (tmp_path / "model.safetensors").read_bytes() == model


# ---- the other commands -------------------------------------------------------------------------


def test_evaluate(folder):
    done = run("evaluate", folder / "digits" / "model.safetensors")
    assert done.exit_code == 0
    line = r"accuracy +\d+\.\d\d% +\d+ of 359 wrong on the test part"
    trained = re.search(line, (folder / "digits.txt").read_text())[0]
    assert re.search(line, done.output)[0] == trained


def test_evaluate_on_other_data(folder, tmp_path):
    iris = cf.data.load_iris()
    np.savez(tmp_path / "same.npz", x=iris.features.numpy(), y=iris.targets.numpy())
    done = run("evaluate", folder / "iris" / "model.safetensors", tmp_path / "same.npz")
    assert done.exit_code == 0 and "of 150 wrong on all of" in done.output


def test_predict_numbers_samples_and_files(folder, tmp_path):
    model = folder / "iris" / "model.safetensors"
    network, _ = cf.train.load_model(model)
    for text, x in (("5.1,3.5,1.4,0.2", [5.1, 3.5, 1.4, 0.2]), ("iris:149", [5.9, 3.0, 5.1, 1.8])):
        done = run("predict", model, text)
        assert done.exit_code == 0
        chance = cf.softmax(network(cf.tensor([x])), dim=1)[0]
        name, share = done.output.split("\n")[0].split()[:2]
        assert name == cf.data.load_iris().class_names[chance.argmax().item()]
        assert float(share.rstrip("%")) == pytest.approx(100 * chance.max().item(), abs=0.01)
    np.save(tmp_path / "x.npy", cf.data.load_iris().features.numpy()[:3])
    assert len(run("predict", model, tmp_path / "x.npy").output.strip().split("\n")) == 3
    assert "██" in run("predict", folder / "digits" / "model.safetensors", "digits:3").output


def test_info_of_files(folder, tmp_path):
    done = run("info", folder / "digits" / "model.safetensors")
    assert done.exit_code == 0
    for words in ("SHA-256", "fits the data", "2.weight", "[32, 64]", "Linear(in_features=64"):
        assert words in done.output
    newest = max((folder / "iris" / "checkpoints").iterdir())
    assert "optimizer.state" in run("info", newest).output
    cf.save({"a": cf.ones(2)}, tmp_path / "w.safetensors")
    assert "a " in run("info", tmp_path / "w.safetensors").output


def test_info_of_data(tmp_path):
    done = run("info", "digits")
    assert "1797 samples of 1x8x8" in done.output and "CC BY 4.0" in done.output
    np.savez(tmp_path / "t.npz", x=np.ones((3, 2)), y=np.arange(3.0))
    assert "numbers to predict" in run("info", tmp_path / "t.npz").output


def test_lists():
    for name in cf.data.bundled_sets.SETS:
        assert name in run("data").output
    listed = run("ops").output
    for name, operands, gradient in (("tanh", "x", "yes"), ("matmul", "a b", "yes")):
        assert re.search(rf"^ *{name} +{operands} +{gradient}", listed, re.M)
    assert "tanh" not in run("ops", "conv").output
    assert re.search(r"^contraflow +\d", run("version").output, re.M)


def test_help_of_every_command_has_an_example_or_is_plain():
    assert "contraflow train digits" in run("--help").output
    for name, command in main.commands.items():
        done = run(name, "--help")
        assert done.exit_code == 0 and command.help
        if any(isinstance(p, click.Argument) for p in command.params):
            assert f"contraflow {name} " in done.output.split("Options:")[0].split("\n", 1)[1]


# ---- how they fail ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, words",
    [
        (["trian", "digits"], "did you mean 'train'"),
        (["train"], "Missing argument"),
        (["train", "digit"], "did you mean 'digits'"),
        (["train", "none.npz"], "cannot be read"),
        (["train", "iris", "--optimizer", "AdmW"], "--optimizer AdamW"),
        (["train", "iris", "--model", "cnn"], "--model mlp"),
        (["train", "iris", "--epochs", "0"], "epochs must be"),
        (["train", "iris", "--epochs", "-1"], "epochs must be"),
        (["train", "iris", "--epochs", "x"], "not a valid integer"),
        (["train", "iris", "--lr", "nan"], "lr must be"),
        (["train", "iris", "--widths", "a,b"], "whole numbers"),
        (["train", "iris", "--augment"], "--no-augment"),
        (["train", "iris", "--epoch", "3"], "--epochs"),
        (["evaluate", "none.safetensors"], "No such file"),
        (["predict", "none.safetensors", "1,2"], "No such file"),
        (["info", "nothing"], "no data set 'nothing'"),
        (["info", "nothing.safetensors"], "No such file"),
        (["ops", "cnov"], "did you mean 'conv'"),
    ],
)
def test_lessons_without_a_traceback(args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*args)
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output and "\n  at " not in done.output


def test_debug_lets_the_error_through():
    for args in (["train", "digit", "--debug"], ["--debug", "train", "digit"]):
        assert isinstance(run(*args).exception, cf.ArgumentError)


def test_wrong_data_for_a_model(folder):
    done = run("evaluate", folder / "digits" / "model.safetensors", "iris")
    assert done.exit_code == 2 and "inputs [1, 8, 8], 10 classes" in done.output
    done = run("predict", folder / "digits" / "model.safetensors", "1,2,3")
    assert done.exit_code == 2 and "shape [1, 8, 8]" in done.output


def test_files_that_are_no_models(folder, tmp_path):
    good = (folder / "iris" / "model.safetensors").read_bytes()
    for i, data in enumerate((good[:-1], good[:99], b"", b"\x80\x02}q\x00.", b"PK\x03\x04")):
        path = tmp_path / f"{i}.safetensors"
        path.write_bytes(data)
        for command in (["evaluate", path], ["predict", path, "1,2,3,4"], ["info", path]):
            done = run(*command)
            assert done.exit_code == 2 and "cannot be read" in done.output
    model = cf.nn.Sequential(cf.nn.Linear(4, 3))
    for about in ({}, {"data": "iris", "shape": [4], "classes": ["a"], "recipe": {}},
                  {"data": "iris", "shape": [4], "classes": ["a"], "recipe":
                   {"test": 0.2, "validation": 0.1}}):  # fmt: skip
        cf.train.save_model(model, tmp_path / "m.safetensors", about)
        done = run("evaluate", tmp_path / "m.safetensors")
        assert done.exit_code == 2 and "inputs and outputs" in done.output


def test_names_from_files_cannot_steer_the_terminal(tmp_path):
    names = np.array(["[red]a[/red]", "\x1b[31mb", "c\x07"])
    x = np.arange(60.0)[:, None]
    np.savez(tmp_path / "n.npz", x=x, y=names[np.arange(60) % 3])
    done = run("train", tmp_path / "n.npz", "--epochs", 1, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    model = tmp_path / "out" / "model.safetensors"
    shown = done.output + run("predict", model, "3").output + run("info", model).output
    shown += run("info", tmp_path / "n.npz").output
    assert "\x1b" not in shown and "\x07" not in shown and "[red]a[/red]" in shown


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("train", "iris", "--out", tmp_path / "file" / "below")
    assert done.exit_code == 2 and "folder" in done.output


# ---- pictures -----------------------------------------------------------------------------------


def test_drawing():
    assert drawing(np.zeros((1, 2, 2))) == "    \n    "
    assert drawing(np.array([[[0, 1], [0.25, 0.5]]])) == "  ██\n░░▒▒"
    large = drawing(np.random.default_rng(0).random((3, 100, 60))).split("\n")
    assert len(large) <= 28 and len(large[0]) <= 56
    assert beside(["a\nbb", "c"]) == "a     c\nbb"
