"""Models in a file: what comes back is the same model, and a hostile file builds nothing."""

import json
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

import contraflow as cf
from contraflow import nn
from contraflow.train.models import KEY, LAYERS, describe

SAMPLES = {
    "Scale": (lambda: cf.train.Scale.standardizing(cf.randn(9, 3) * 4 + 2), (2, 3)),
    "Linear": (lambda: nn.Linear(3, 2, bias=False), (2, 3)),
    "Conv1d": (lambda: nn.Conv1d(2, 4, 3, padding="same", groups=2), (2, 2, 7)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, (3, 2), stride=2, padding=1, bias=False), (2, 2, 6, 6)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(3, eps=1e-3, momentum=None), (4, 3)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(2), (4, 2, 3, 3)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2, stride=1), (2, 2, 4, 4)),
    "AvgPool2d": (lambda: nn.AvgPool2d((2, 1)), (2, 2, 4, 4)),
    "Flatten": (lambda: nn.Flatten(2), (2, 2, 4, 4)),
    "Dropout": (lambda: nn.Dropout(0.3), (2, 3)),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.3), (2, 3)),
    "GELU": (lambda: nn.GELU("tanh"), (2, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_comes_back(name, tmp_path):
    make, shape = SAMPLES.get(name, (lambda: getattr(nn, name)(), (2, 3)))
    cf.manual_seed(0)
    model = nn.Sequential(make(), nn.Identity())
    x = cf.randn(*shape)
    model(x)  # batch norm learns something
    random = cf.get_rng_state().tolist()
    cf.train.save_model(model, tmp_path / "m.safetensors", {"note": [1, "a", None]})
    again, about = cf.train.load_model(tmp_path / "m.safetensors")
    assert cf.get_rng_state().tolist() == random  # neither draws random numbers
    assert repr(again) == repr(model) and about == {"note": [1, "a", None]}
    assert not again.training
    assert np.array_equal(again(x).detach().numpy(), model.eval()(x).detach().numpy())


def test_weights_have_pytorchs_names(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    cf.train.save_model(model, tmp_path / "m.safetensors")
    found = safetensors.numpy.load_file(tmp_path / "m.safetensors")
    assert set(found) == {"0.weight", "0.bias"}
    assert np.array_equal(found["0.weight"], model[0].weight.detach().numpy())


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in "ab":
        cf.manual_seed(0)
        cf.train.save_model(nn.Sequential(nn.Linear(3, 2)), tmp_path / name, {"b": 1, "a": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_scale_against_numpy():
    x = (cf.randn(50, 3, 4, 4) * 5 + 7).double()
    y = cf.train.Scale.standardizing(x)(x).numpy()
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), 1, atol=1e-5)
    back = cf.train.Scale.restoring(x)(cf.tensor(y)).numpy()
    np.testing.assert_allclose(back, x.numpy(), rtol=1e-4, atol=1e-4)
    constant = cf.train.Scale.standardizing(cf.full((4, 1), 3.0))
    assert constant(cf.full((2, 1), 3.0)).tolist() == [[0.0], [0.0]]
    with pytest.raises(cf.ShapeError, match="made for 3 features"):
        cf.train.Scale.standardizing(x)(cf.zeros(3))


class Own(nn.Module):
    def forward(self, x):
        return x


@pytest.mark.parametrize(
    "make",
    [
        Own,
        lambda: nn.Sequential(Own()),
        lambda: nn.Linear(2, 2),
        lambda: nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)),
        lambda: nn.Sequential(nn.BatchNorm1d(2, affine=False)),
        lambda: nn.Sequential(nn.Sequential(nn.ReLU())),
    ],
)
def test_models_that_cannot_be_described(make, tmp_path):
    with pytest.raises(cf.DTypeError, match="state_dict"):
        cf.train.save_model(make(), tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def write(path, layers, state, **note):
    cf.save({**state, KEY: {"format": 1, "layers": layers, "about": {}, **note}}, path)


LINEAR = {"0.weight": cf.ones(2, 3), "0.bias": cf.ones(2)}
SIZES = {"in_features": 3, "out_features": 2, "bias": True}
CONV = describe(nn.Sequential(nn.Conv2d(1, 1, 3)))[0][1]


def test_the_hostile_files_differ_from_a_good_one(tmp_path):
    write(tmp_path / "m", [["Linear", SIZES]], LINEAR)
    model, _ = cf.train.load_model(tmp_path / "m")
    assert model[0].weight.tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(
    "layers, state, note",
    [
        ([["Linear", {**SIZES, "out_features": 10**9}]], LINEAR, {}),  # memory
        ([["Linear", {**SIZES, "bias": False}]], LINEAR, {}),
        ([["Linear", {**SIZES, "dtype": "float64"}]], LINEAR, {}),
        ([["Linear", {**SIZES, "in_features": "3"}]], LINEAR, {}),
        ([["Linear", {"in_features": 3}]], LINEAR, {}),
        ([["Linear", None]], LINEAR, {}),
        ([["Linear"]], LINEAR, {}),
        ([["os.system", {}]], {}, {}),
        ([["Module", {}]], {}, {}),
        ([[["Linear"], SIZES]], LINEAR, {}),
        (None, LINEAR, {}),
        ("Linear", LINEAR, {}),
        ([["ReLU", {}]], LINEAR, {}),  # tensors without a layer
        ([["Dropout", {"p": 2.0}]], {}, {}),
        ([["MaxPool2d", {"kernel_size": 10**12, "stride": 1, "padding": 0}]], {}, {}),
        ([["Conv2d", {**CONV, "padding": (10**9, 0)}]],
         {"0.weight": cf.ones(1, 1, 3, 3), "0.bias": cf.ones(1)}, {}),
        ([["Conv2d", {**CONV, "groups": 0}]],
         {"0.weight": cf.ones(1, 1, 3, 3), "0.bias": cf.ones(1)}, {}),
        ([["Linear", SIZES]], LINEAR, {"format": 2}),
        ([["Linear", SIZES]], LINEAR, {"code": "print(1)"}),
        ([["Linear", SIZES]], LINEAR, {"about": 3}),
        ([["Linear", SIZES]], {**LINEAR, "1.weight": cf.ones(1)}, {}),
        ([["Linear", SIZES]], {"0.weight": cf.ones(2, 3), "0.bias": [1, 2]}, {}),
    ],
)  # fmt: skip
def test_hostile_files_build_nothing(layers, state, note, tmp_path):
    path = tmp_path / "m.safetensors"
    write(path, layers, state, **note)
    tracemalloc.start()
    with pytest.raises(cf.FileError, match="m.safetensors cannot be read"):
        cf.train.load_model(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


def test_weights_alone_are_no_model(tmp_path):
    cf.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(cf.FileError, match="load_state_dict"):
        cf.train.load_model(tmp_path / "w.safetensors")


def test_every_flipped_bit_of_the_description_is_seen(tmp_path):
    path = tmp_path / "m.safetensors"
    cf.train.save_model(nn.Sequential(nn.Linear(3, 2)), path, {"classes": ["a", "b"]})
    data = path.read_bytes()
    begin = data.index(b"out_features")
    for at in range(begin, begin + 40):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(cf.FileError):
            cf.train.load_model(path)
    assert json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["0.bias"]["shape"] == [2]
