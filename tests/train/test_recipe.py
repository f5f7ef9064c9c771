"""From a name to a model: the data that can be named, and the run that a recipe describes."""

import gzip
import json
import struct

import numpy as np
import pytest

import contraflow as cf
from contraflow.train import recipe as r
from contraflow.train import sources

rng = np.random.default_rng(0)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


# ---- sources ------------------------------------------------------------------------------------


def test_bundled_sets_by_name():
    source = sources.open_source("digits")
    assert source.x.shape == (1797, 1, 8, 8) and source.images
    assert source.classes == [str(i) for i in range(10)]


def test_npz_of_a_table_with_names_of_classes(tmp_path):
    path = npz(tmp_path / "t.npz", x=rng.normal(size=(6, 3)), y=np.array(list("baabca")))
    source = sources.open_source(path)
    assert source.x.dtype == np.float32 and source.classes == ["a", "b", "c"]
    assert source.y.tolist() == [1, 0, 0, 1, 2, 0]


def test_npz_of_pictures(tmp_path):
    x = rng.integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
    source = sources.open_source(npz(tmp_path / "p.npz", images=x, labels=[0, 1, 2, 1, 0]))
    np.testing.assert_allclose(source.x, np.moveaxis(x, -1, 1) / np.float32(255))
    flat = sources.open_source(npz(tmp_path / "q.npz", x=x[..., 0], y=[0, 1, 2, 1, 0]))
    assert flat.x.shape == (5, 1, 6, 6)


def test_npz_with_its_own_test_part(tmp_path):
    path = npz(tmp_path / "m.npz", x_train=np.ones((6, 2)), y_train=[0, 1] * 3,
               x_test=np.zeros((2, 2)), y_test=[2, 1])  # fmt: skip
    source = sources.open_source(path)
    assert len(source.x) == 6 and source.test[1].tolist() == [2, 1]
    assert source.classes == ["0", "1", "2"]
    assert sources.split(source, 0.2, 0.5).test[0].shape == (2, 2)


def test_npz_with_numbers_to_predict(tmp_path):
    source = sources.open_source(npz(tmp_path / "n.npz", x=np.ones((4, 2)), y=np.arange(4.0)))
    assert source.classes is None and source.y.shape == (4, 1)


def idx(path, array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
        file.write(head + array.astype(np.uint8).tobytes())


def test_idx_folder(tmp_path):
    for part, n in (("train", 12), ("t10k", 4)):
        idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 5, 5)))
        idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(n) % 3)
    source = sources.open_source(str(tmp_path))
    assert source.x.shape == (12, 1, 5, 5) and len(source.test[0]) == 4
    assert source.classes == ["0", "1", "2"]


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"a": [1]}, "x \\(inputs\\) and y"),
        ({"x": np.ones((3, 2)), "y": [0, 1]}, "3 inputs"),
        ({"x": np.full((2, 2), np.nan), "y": [0, 1]}, "4 of its inputs are NaN"),
        ({"x": np.ones((2, 2)), "y": [0.0, np.inf]}, "finite"),
        ({"x": np.ones((2, 2)), "y": [-1, 1]}, "no classes"),
        ({"x": np.ones((2, 2)), "y": [0, 10**12]}, "no classes"),
        ({"x": np.ones((0, 2)), "y": []}, "inputs"),
        ({"x": np.array(["a", "b"]), "y": [0, 1]}, "inputs"),
        ({"x": np.ones((2, 2, 2, 2, 2)), "y": [0, 1]}, "inputs"),
        ({"x": np.ones((2, 2)), "y": np.ones((2, 2, 2))}, "targets"),
        ({"x_train": np.ones((2, 2)), "y_train": [0, 1], "x_test": np.ones((2, 3)),
          "y_test": [0, 1]}, "one shape"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_trained_on(arrays, words, tmp_path):
    with pytest.raises(cf.FileError, match=words):
        sources.open_source(npz(tmp_path / "bad.npz", **arrays))


def test_names_and_paths_that_are_no_data(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    (tmp_path / "b.npz").write_text("no zip")
    with pytest.raises(cf.ArgumentError, match="did you mean 'breast_cancer'"):
        sources.open_source("breastcancer")
    for path in (tmp_path / "a.csv", tmp_path / "b.npz", tmp_path / "none.npz", tmp_path):
        with pytest.raises(cf.FileError):
            sources.open_source(str(path))


def test_parts_do_not_overlap_and_keep_the_shares_of_the_classes():
    source = sources.open_source("wine")
    parts = sources.split(source, 0.2, 0.1)
    rows = [x.tobytes() for part in (parts.train, parts.validation, parts.test) for x in part[0]]
    assert len(rows) == len(set(rows)) == len(source.x)
    shares = np.bincount(source.y) / len(source.y)
    for part in (parts.train, parts.test):
        np.testing.assert_allclose(np.bincount(part[1]) / len(part[1]), shares, atol=0.03)
    again = sources.split(source, 0.2, 0.1)
    assert np.array_equal(again.test[0], parts.test[0])


def test_too_few_samples_to_hold_some_out(tmp_path):
    source = sources.open_source(npz(tmp_path / "f.npz", x=np.ones((3, 1)), y=[0, 1, 2]))
    with pytest.raises(cf.ArgumentError, match="too few"):
        sources.split(source, 0.2, 0.1)


# ---- inputs of a prediction ---------------------------------------------------------------------


def test_inputs_for_a_prediction(tmp_path):
    iris = sources.open_source("iris").x
    assert sources.read_inputs("5.1, 3.5,1.4 0.2", [4]).tolist() == [pytest.approx(iris[0])]
    assert sources.read_inputs("iris:7", [4]).tolist() == [pytest.approx(iris[7])]
    for array, expected in (
        (iris[:5], (5, 4)),
        (iris[0], (1, 4)),
    ):
        np.save(tmp_path / "x.npy", array)
        assert tuple(sources.read_inputs(str(tmp_path / "x.npy"), [4]).shape) == expected
    for shape in ((3, 1, 8, 8), (3, 8, 8), (8, 8), (1, 8, 8), (64,)):
        np.save(tmp_path / "p.npy", np.zeros(shape))
        count = int(np.prod(shape)) // 64
        found = sources.read_inputs(str(tmp_path / "p.npy"), [1, 8, 8])
        assert tuple(found.shape) == (count, 1, 8, 8)
    path = npz(tmp_path / "b.npz", x=iris)
    assert sources.read_inputs(path, [4]).shape == (150, 4)


@pytest.mark.parametrize(
    "text", ["", "1,2", "1,2,3,nan", "a,b", "iris:150", "iris:x", "iris:-1", "none:3", "digits:0",
             "none.npy", "1,2,3,4,5,6,7,8"],
)  # fmt: skip
def test_inputs_that_do_not_fit(text):
    with pytest.raises((cf.ArgumentError, cf.FileError), match="\n"):
        sources.read_inputs(text, [4])


# ---- recipes ------------------------------------------------------------------------------------


def small(**options):
    return r.Recipe(**{"data": "iris", "epochs": 4, **options})


def test_same_recipe_same_bytes_and_what_the_folder_holds(tmp_path):
    for name in "ab":
        cf.train.train_recipe(small(), tmp_path / name)
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert a == b
    cf.train.train_recipe(small(seed=1), tmp_path / "c")
    assert (tmp_path / "c" / "model.safetensors").read_bytes() != a
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "model.safetensors", "history.json", "settings.json", "checkpoints"
    }  # fmt: skip
    assert cf.train.History.load(tmp_path / "a" / "history.json").epochs == 4


def test_the_saved_model_is_the_one_that_was_measured(tmp_path):
    result = cf.train.train_recipe(small(epochs=30), tmp_path)
    model, about = cf.train.load_model(result.path)
    outputs = cf.train.predict(model, cf.tensor(result.inputs)).numpy()
    np.testing.assert_allclose(outputs, result.outputs, rtol=1e-5, atol=1e-6)
    right = np.mean(outputs.argmax(1) == result.targets)
    assert about["test"]["accuracy"] == result.found["accuracy"] == right
    assert np.trace(result.found["confusion_matrix"]) == round(right * len(result.targets))
    wrong = [i for i in range(30) if outputs[i].argmax() != result.targets[i]]
    assert sorted(i for i, _, _ in result.mistakes()) == wrong


@pytest.mark.parametrize("optimizer", cf.optim.RULES)
def test_every_optimizer_can_be_named(optimizer, tmp_path):
    result = cf.train.train_recipe(small(optimizer=optimizer, epochs=2), tmp_path)
    assert np.isfinite(result.history["loss"]).all()


@pytest.mark.parametrize("schedule", r.SCHEDULES)
@pytest.mark.parametrize("model", ["mlp", "linear"])
def test_models_schedules_and_callbacks(model, schedule, tmp_path):
    recipe = small(model=model, schedule=schedule, ema=0.9, clip=1.0, patience=1, epochs=3)
    assert cf.train.train_recipe(recipe, tmp_path).history.epochs >= 1


def test_numbers_to_predict(tmp_path):
    x = rng.normal(size=(300, 3)) * [1, 50, 0.01]
    y = 1000 + 20 * x[:, 0] - 3 * x[:, 1] + 500 * x[:, 2]
    path = npz(tmp_path / "n.npz", x=x, y=y)
    result = cf.train.train_recipe(r.Recipe(path, epochs=30), tmp_path / "out")
    assert result.found["r2"] > 0.95 and result.outputs.shape == (60, 1)
    model, about = cf.train.load_model(result.path)
    assert about["classes"] is None
    guess = model(cf.tensor([[0.0, 0.0, 0.0]])).item()
    assert guess == pytest.approx(1000, abs=30)


def test_pictures_by_a_cnn(tmp_path):
    x = rng.normal(0, 0.2, (120, 12, 12)).astype(np.float32)
    y = np.arange(120) % 2
    x[y == 1, :, 4:6] += 1
    x[y == 0, 4:6, :] += 1
    path = npz(tmp_path / "lines.npz", x=x, y=y)
    recipe = r.Recipe(path, model="cnn", widths=(4, 8), epochs=6, augment=True)
    assert cf.train.train_recipe(recipe, tmp_path / "out").found["accuracy"] > 0.9


class PowerFailure(cf.train.Callback):
    def batch_end(self, run):
        if run.steps == 10:
            raise RuntimeError("power failure")


def test_resume_gives_the_bytes_of_the_whole_run(tmp_path):
    whole = cf.train.train_recipe(small(), tmp_path / "a")
    with pytest.raises(RuntimeError):
        cf.train.train_recipe(small(), tmp_path / "b", callbacks=[PowerFailure()])
    rest = cf.train.train_recipe(small(), tmp_path / "b", resume=True)
    assert rest.path.read_bytes() == whole.path.read_bytes()
    assert rest.history == whole.history


def test_resume_with_other_settings_is_refused(tmp_path):
    cf.train.train_recipe(small(), tmp_path)
    with pytest.raises(cf.ArgumentError, match="seed  *0 in the run, 5 now"):
        cf.train.train_recipe(small(seed=5), tmp_path, resume=True)
    with pytest.raises(cf.ArgumentError, match="epochs"):
        cf.train.train_recipe(small(epochs=9), tmp_path, resume=True)


def test_more_epochs_where_the_schedule_allows_it(tmp_path):
    recipe = small(schedule="none")
    cf.train.train_recipe(recipe, tmp_path / "a")
    longer = small(schedule="none", epochs=6)
    rest = cf.train.train_recipe(longer, tmp_path / "a", resume=True)
    whole = cf.train.train_recipe(longer, tmp_path / "b")
    assert rest.history == whole.history
    assert cf.load(rest.path)["2.weight"].tolist() == cf.load(whole.path)["2.weight"].tolist()


def test_beginning_anew_sets_the_checkpoints_of_the_run_before_aside(tmp_path):
    cf.train.train_recipe(small(), tmp_path)
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    for _ in range(2):
        cf.train.train_recipe(small(epochs=2), tmp_path)
        before = sorted(p.name for p in (tmp_path / "checkpoints.before").iterdir())
        assert before == kept
        kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    "options, words",
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": -3}, "epochs"),
        ({"epochs": 1.5}, "epochs"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": float("inf")}, "lr"),
        ({"lr": 0}, "lr"),
        ({"batch_size": 0}, "batch_size"),
        ({"dropout": 1.0}, "dropout"),
        ({"widths": (8, 0)}, "widths"),
        ({"widths": "64"}, "widths"),
        ({"patience": 0}, "patience"),
        ({"clip": -1.0}, "clip"),
        ({"ema": 1.0}, "ema"),
        ({"test": 1.0}, "test"),
        ({"validation": 0.0}, "validation"),
        ({"seed": 2**64}, "seed"),
        ({"augment": 1}, "augment"),
        ({"augment": True}, "pictures"),
        ({"model": "cnn"}, "pictures"),
        ({"model": "mpl"}, "did you mean 'mlp'"),
        ({"optimizer": "adamw"}, "did you mean 'AdamW'"),
        ({"schedule": "1cycle"}, "did you mean 'onecycle'"),
        ({"optimizer": "Rprop", "weight_decay": 0.1}, "has no weight_decay"),
    ],
)
def test_recipes_that_cannot_be_cooked(options, words, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(cf.ArgumentError, match=words):
        cf.train.train_recipe(small(**options), out)
    assert not (out / "model.safetensors").exists()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"data": "iris"}'])
def test_settings_that_are_damaged(text, tmp_path):
    cf.train.train_recipe(small(), tmp_path)
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(cf.FileError):
        r.read_recipe(tmp_path)


def test_settings_of_the_wrong_kind(tmp_path):
    cf.train.train_recipe(small(), tmp_path)
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "epochs": "many"}))
    with pytest.raises(cf.ArgumentError, match="epochs"):
        cf.train.train_recipe(r.read_recipe(tmp_path), tmp_path, resume=True)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(cf.FileError, match="cannot be used"):
        cf.train.train_recipe(small(), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
