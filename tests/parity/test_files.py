"""Files that PyTorch writes and reads through safetensors: same names, same bits."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

import contraflow as cf  # noqa: E402

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def model(library):
    nn = library.nn
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5, bias=False), nn.PReLU()
    )


def test_a_model_of_pytorch_is_loaded_here_and_gives_the_same_outputs(path):
    torch.manual_seed(0)
    theirs, ours = model(torch), model(cf)
    safetensors_torch.save_file(theirs.state_dict(), path)
    ours.load_state_dict(cf.load(path))
    x = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(
        ours(cf.from_numpy(x)).detach().numpy(), expected, rtol=1e-5, atol=1e-6
    )


def test_a_model_of_ours_is_loaded_by_pytorch(path):
    ours, theirs = model(cf), model(torch)
    cf.save(ours.state_dict(), path)
    theirs.load_state_dict(safetensors_torch.load_file(path))
    for name, value in theirs.state_dict().items():
        assert value.numpy().tobytes() == ours.state_dict()[name].numpy().tobytes()


def test_whole_modules_by_their_own_functions(path):
    torch.manual_seed(0)
    theirs, ours = model(torch), model(cf)
    safetensors_torch.save_model(theirs, path)
    ours.load_state_dict(cf.load(path))
    cf.save(ours.state_dict(), path)
    safetensors_torch.load_model(theirs, path)  # strict: it has every name, and no other


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_both_ways(dtype, path):
    values = torch.arange(-3, 3).reshape(2, 3).to(getattr(torch, dtype))
    more = {"empty": values[:0].clone(), "zero": values[0, 0].clone()}
    safetensors_torch.save_file({"x": values, **more}, path)
    here = cf.load(path)
    assert {name: tuple(v.shape) for name, v in here.items()} == {
        "x": (2, 3), "empty": (0, 3), "zero": (),
    }  # fmt: skip
    assert here["x"].dtype is getattr(cf, dtype)
    assert here["x"].numpy().tobytes() == values.numpy().tobytes()
    cf.save(here, path)
    back = safetensors_torch.load_file(path)
    assert torch.equal(back["x"], values)
    assert back["x"].dtype is values.dtype


def test_bfloat16_is_read_exactly(path):
    values = torch.randn(100, dtype=torch.bfloat16)
    safetensors_torch.save_file({"x": values}, path)
    assert cf.load(path)["x"].tolist() == values.float().tolist()


@pytest.mark.parametrize("old_format", [False, True])
def test_a_file_of_torch_save_gets_the_lesson_and_the_lesson_works(old_format, tmp_path):
    state = model(torch).state_dict()
    path = tmp_path / "model.pt"
    torch.save(state, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(cf.FileError, match="can run code") as caught:
        cf.load(path)
    fix = str(caught.value).partition("fix: ")[2]
    line = fix.partition(": ")[2].replace("'model.safetensors'", "target")
    target = tmp_path / "model.safetensors"
    eval(
        line,
        {
            "safetensors": __import__("safetensors.torch"),
            "torch": torch,
            "path": path,
            "target": target,
        },
    )
    assert set(cf.load(target)) == set(state)
