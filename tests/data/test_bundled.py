"""The real sets that ship with the package: known numbers, terms, splits."""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import contraflow as cf
from contraflow.data import load_breast_cancer, load_digits, load_iris, load_wine
from contraflow.data.bundled_sets import FOLDER, SETS, load

ROOT = Path(__file__).resolve().parent.parent.parent
LOADERS = [load_digits, load_iris, load_wine, load_breast_cancer]
SOURCES = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("loader", "shape", "counts"),
    [
        (load_digits, (1797, 1, 8, 8), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
        (load_iris, (150, 4), [50, 50, 50]),
        (load_wine, (178, 13), [59, 71, 48]),
        (load_breast_cancer, (569, 30), [212, 357]),
    ],
)
def test_shapes_and_classes(loader, shape, counts):
    data = loader()
    assert data.features.shape == shape
    assert data.features.dtype is cf.float32
    assert data.targets.dtype is cf.int64
    assert np.bincount(data.targets.numpy()).tolist() == counts
    assert len(data) == shape[0] == data.about.rows
    assert len(data.class_names) == len(counts)
    assert len(data.feature_names) == int(np.prod(shape[1:]))
    assert np.isfinite(data.features.numpy()).all()
    x, y = data[0]
    assert x.shape == shape[1:]
    assert y.shape == ()


def test_iris_has_fishers_numbers():
    data = load_iris()
    x = data.features.numpy()
    # means and standard deviations (n - 1) as published in every textbook on this set
    np.testing.assert_allclose(x.mean(0), [5.843333, 3.057333, 3.758, 1.199333], atol=1e-5)
    np.testing.assert_allclose(
        x.std(0, ddof=1), [0.828066, 0.435866, 1.765298, 0.762238], atol=1e-5
    )
    setosa = x[data.targets.numpy() == 0]
    np.testing.assert_allclose(setosa.mean(0), [5.006, 3.428, 1.462, 0.246], atol=1e-5)
    assert x[0].tolist() == np.float32([5.1, 3.5, 1.4, 0.2]).tolist()
    # the two rows in which UCI's file differs from Fisher's paper
    assert x[34].tolist() == np.float32([4.9, 3.1, 1.5, 0.2]).tolist()
    assert x[37].tolist() == np.float32([4.9, 3.6, 1.4, 0.1]).tolist()
    assert data.class_names == ["setosa", "versicolor", "virginica"]


def test_wine_cancer_and_digits_have_known_numbers():
    wine = load_wine()
    assert wine.features[0].tolist()[:3] == np.float32([14.23, 1.71, 2.43]).tolist()
    assert wine.features[:, -1].max().item() == 1680  # proline
    assert wine.feature_names[0] == "alcohol"
    cancer = load_breast_cancer()
    assert cancer.features[0].tolist()[:2] == np.float32([17.99, 10.38]).tolist()
    assert cancer.class_names == ["malignant", "benign"]
    digits = load_digits()
    pixels = digits.features.numpy() * 16
    assert set(np.unique(pixels)) == set(range(17))
    assert pixels[0, 0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert digits.targets[:10].tolist() == list(range(10))
    assert digits.class_names == [str(n) for n in range(10)]
    np.testing.assert_allclose(pixels.mean(), 4.884165, atol=1e-5)


@pytest.mark.parametrize("name", SETS)
def test_source_and_terms_are_stated(name):
    data = load(name)
    assert data.name == name
    assert "creativecommons.org/licenses/by/4.0" in data.licence
    assert re.search(r"\(\d{4}\)\.", data.source)
    doi = re.search(r"https://doi\.org/\S+", data.source)[0]
    assert doi in SOURCES
    assert f"## {name}\n" in SOURCES
    digest = hashlib.sha256((FOLDER / f"{name}.npz").read_bytes()).hexdigest()
    assert digest in SOURCES  # the very bytes that are described there
    assert len(data.description) > 30
    assert data.name in repr(data)
    assert str(len(data)) in repr(data)


def test_what_is_left_out_is_explained():
    assert "diabetes" in SOURCES
    assert not (FOLDER / "diabetes.npz").exists()
    assert sorted(p.stem for p in FOLDER.glob("*.npz")) == sorted(SETS)


def test_the_files_and_their_terms_are_in_the_wheel(tmp_path):
    pytest.importorskip("hatchling")
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "contraflow", tmp_path / "contraflow", ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        terms = [name for name in names if name.endswith("SOURCES.md")]
        assert {archive.read(name).decode() for name in terms} == {SOURCES}
    assert {f"contraflow/data/bundled/{name}.npz" for name in SETS} <= names
    assert [name for name in terms if ".dist-info/licenses/" in name]
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    assert "contraflow/py.typed" in names


def test_a_set_that_is_not_there():
    with pytest.raises(cf.ArgumentError, match="digits iris wine"):
        load("diabetes")


def test_every_load_has_its_own_memory():
    first = load_iris()
    first.features.zero_()
    assert load_iris().features[0, 0].item() != 0


# ---- splits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("test", [0.2, 0.5, 0.1])
def test_splits_have_the_same_share_of_every_class(loader, test):
    data = loader()
    train, held = data.train_test_split(test=test, seed=3)
    whole = np.bincount(data.targets.numpy())
    counts = np.bincount(held.tensors[1].numpy())
    assert counts.tolist() == [round(test * n) for n in whole]
    assert (np.bincount(train.tensors[1].numpy()) + counts).tolist() == whole.tolist()
    rows = [
        tuple(map(tuple, x.reshape(len(x), -1).tolist()))
        for x in (train.tensors[0], held.tensors[0])
    ]
    everything = sorted(map(tuple, data.features.reshape(len(data), -1).tolist()))
    assert sorted(rows[0] + rows[1]) == everything


def test_splits_follow_the_seed_and_touch_no_other_randomness():
    before = cf.get_rng_state().tolist()
    a, b = load_wine().train_test_split(seed=1), load_wine().train_test_split(seed=1)
    c = load_wine().train_test_split(seed=2)
    assert a[1].tensors[0].tolist() == b[1].tensors[0].tolist()
    assert a[1].tensors[0].tolist() != c[1].tensors[0].tolist()
    assert cf.get_rng_state().tolist() == before


@pytest.mark.parametrize("loader", LOADERS)
def test_standardised_with_the_numbers_of_the_training_part(loader):
    train, held = loader().train_test_split(standardize=True)
    axes = (0, *range(2, train.tensors[0].ndim))
    x = train.tensors[0].numpy().astype(np.float64)
    np.testing.assert_allclose(x.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axes), 1, atol=1e-5)
    assert np.abs(held.tensors[0].numpy().mean(axes)).max() > 1e-4  # measured elsewhere
    assert held.tensors[0].dtype is cf.float32


@pytest.mark.parametrize("test", [0, 1, -0.1, 1.5, float("nan")])
def test_shares_outside(test):
    with pytest.raises(cf.ArgumentError, match="test must be in"):
        load_iris().train_test_split(test=test)
