"""What is saved comes back: values, dtypes, shapes, nesting, keys, and the state of a training."""

import collections
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import contraflow as cf
from contraflow import nn

ROOT = Path(__file__).resolve().parent.parent.parent
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


def there_and_back(value, path):
    cf.save(value, path)
    return cf.load(path)


def same(a, b):
    """Equal in type, nesting and every bit."""
    if isinstance(a, cf.Tensor | np.ndarray):
        x, y = (v.detach().numpy() if isinstance(v, cf.Tensor) else v for v in (a, b))
        native = x.astype(x.dtype.newbyteorder("="))
        return native.dtype == y.dtype and x.shape == y.shape and native.tobytes() == y.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.safetensors"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)], ids=str)
def test_every_dtype_and_shape(dtype, shape, path):
    bits = np.random.default_rng(0).integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8)
    array = (bits & 1 if dtype == "bool" else bits).view(dtype).reshape(shape)  # NaNs included
    back = there_and_back({"x": cf.from_numpy(array)}, path)["x"]
    assert back.dtype is getattr(cf, dtype)
    assert same(array, back)


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -1, 2**63, -(10**100), 1.5, -0.0, 1e-320, math.inf, -math.inf,
        math.nan, "", "text\n\0", "Ünïcødé 漢字 🙂", "\ud800", [], (), {}, [[]], {"a": {}},
        {"dict": 1, "tensor": "x", "list": [1], "float": "nan"},
        {1: "int", "1": "text", -5: 0, 2**70: None, "": "empty"},
        {"__metadata__": [1], "contraflow.sha256": 2},
        [1, (2.0, ["three", None]), {"four": (True,)}],
    ],
    ids=repr,
)  # fmt: skip
def test_plain_values(value, path):
    assert same(value, there_and_back(value, path))


def test_a_lone_tensor(path):
    assert same(cf.arange(3), there_and_back(cf.arange(3), path))


def test_the_sign_of_zero_and_the_bits_of_nan_are_kept(path):
    array = np.array([-0.0, 0.0, np.nan, -np.nan, np.inf], np.float32)
    array.view(np.uint32)[2] = 0x7FC12345
    assert same(array, there_and_back(array, path))


def test_names_that_meet_do_not_mix_their_tensors(path):
    value = {
        "a": {"b": cf.tensor(1)},
        "a.b": cf.tensor(2),
        "a.b#2": cf.tensor(3),
        "__metadata__": cf.tensor(4),
        1: cf.tensor(5),
        "1": cf.tensor(6),
        "": cf.tensor(7),
        "Größe 漢字": cf.tensor(8),
        "x" * 5000: cf.tensor(9),
        "null\0": cf.tensor(10),
    }
    assert same(value, there_and_back(value, path))


def test_memory_that_is_strided_shared_or_foreign_is_written_as_values(path):
    base = cf.arange(24).reshape(4, 6)
    value = {
        "transposed": base.T,
        "every other": base[::2, ::3],
        "expanded": cf.tensor([1.0]).expand(3, 2),
        "flipped": np.arange(5)[::-1],
        "big endian": np.arange(5, dtype=">f8"),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "read only": np.broadcast_to(np.float32(2), (2, 2)),
    }
    back = there_and_back(value, path)
    assert same(value, back)
    # two names for the same memory come back as two tensors
    one = cf.zeros(3)
    back = there_and_back({"a": one, "b": one}, path)
    back["a"] += 1
    assert back["b"].tolist() == [0, 0, 0]


def test_equal_objects_give_equal_files_in_every_process(path):
    code = """
import sys, contraflow as cf
value = {"b": cf.ones(2), "a": [cf.zeros(3), {"n": 1, "ü": cf.tensor(True)}]}
cf.save(value, sys.argv[1])
"""
    contents = set()
    for seed in ("0", "1", "2"):  # of Python's hashes
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=ROOT, env=env)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_what_is_loaded_can_be_written_to_and_changes_no_file(path):
    back = there_and_back({"x": cf.zeros(3)}, path)
    back["x"] += 1
    assert cf.load(path)["x"].tolist() == [0, 0, 0]


def test_parameters_become_plain_tensors_and_numpy_numbers_python_ones(path):
    back = there_and_back(
        {"w": nn.Parameter(cf.ones(2)), "n": np.int64(3), "f": np.float32(0.5)}, path
    )
    assert type(back["w"]) is cf.Tensor
    assert not back["w"].requires_grad
    assert same({"n": 3, "f": 0.5}, {"n": back["n"], "f": back["f"]})


def test_other_containers_come_back_as_plain_ones(path):
    Pair = collections.namedtuple("Pair", "x y")
    value = {"ordered": collections.OrderedDict(b=1, a=2), "pair": Pair(1, 2)}
    assert there_and_back(value, path) == {"ordered": {"b": 1, "a": 2}, "pair": (1, 2)}


def test_file_objects(path):
    buffer = io.BytesIO()
    cf.save({"x": cf.arange(3)}, buffer)
    buffer.seek(0)
    assert same({"x": cf.arange(3)}, cf.load(buffer))
    with open(path, "wb") as file:
        cf.save([1], file)
    with open(path, "rb") as file:
        assert cf.load(file) == [1]
    assert cf.load(str(path)) == [1]
    with pytest.raises(cf.DTypeError, match="binary"):
        cf.load(io.StringIO("text"))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(
            st.integers() | st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(json_like)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_nesting_of_plain_values(value):
    buffer = io.BytesIO()
    cf.save(value, buffer)
    buffer.seek(0)
    assert same(value, cf.load(buffer))


# ---- what a file cannot hold ------------------------------------------------------------------

loop = []
loop.append(loop)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (nn.Linear(2, 2), "state_dict"),
        ({"a": [0, {"f": print}]}, r"found +obj\['a'\]\['1'\]\['f'\]"),
        ({"a": {1, 2}}, "set"),
        ({"z": 1j}, "complex"),
        ({"z": np.ones(2, complex)}, "array of complex128"),
        ({"t": np.array(["a"])}, "array of <U1"),
        ({"o": np.array([None])}, "array of object"),
        ({(1, 2): 0}, "key of type tuple"),
        ({True: 0}, "key of type bool"),
        ({1.0: 0}, "key of type float"),
        ({"\ud800": cf.ones(1)}, "Unicode"),
        ({"n": 10**2000}, "integer of"),
        (loop, "100 levels"),
        (b"bytes", "bytes"),
    ],
    ids=lambda v: repr(v)[:40],
)
def test_what_cannot_be_saved_says_so_and_writes_nothing(value, says, tmp_path):
    with pytest.raises((cf.DTypeError, cf.ArgumentError), match=says):
        cf.save(value, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [3, None, b"bytes.safetensors", ["a"]])
def test_a_path_is_a_text_or_a_path(path):
    with pytest.raises(cf.DTypeError, match="path"):
        cf.save({}, path)
    with pytest.raises(cf.DTypeError, match="path"):
        cf.load(path)


def test_arguments_of_load(path):
    cf.save([1], path)
    assert cf.load(path, "cpu") == cf.load(path, map_location="cpu:0") == [1]
    assert cf.load(path, weights_only=True) == [1]
    with pytest.raises(cf.ArgumentError, match="cuda"):
        cf.load(path, map_location="cuda")
    with pytest.raises(cf.ArgumentError, match="run code"):
        cf.load(path, weights_only=False)


# ---- the library ------------------------------------------------------------------------------


def test_other_programs_read_our_files_under_pytorchs_names(path):
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1, bias=False))
    cf.save(model.state_dict(), path)
    theirs = safetensors.numpy.load_file(path)
    assert set(theirs) == {"0.weight", "0.bias", "2.weight"}
    for name, value in model.state_dict().items():
        assert same(value, theirs[name])
    with safetensors.safe_open(path, "numpy") as file:
        assert set(file.metadata()) == {
            "contraflow.format", "contraflow.structure", "contraflow.sha256",
        }  # fmt: skip


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"a": "ü"}])
def test_we_read_files_of_other_programs(metadata, path):
    arrays = {dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in DTYPES}
    arrays |= {"empty": np.zeros((0, 3), np.float32), "number": np.array(5, np.int64)}
    safetensors.numpy.save_file(arrays, path, metadata)
    back = cf.load(path)
    assert set(back) == set(arrays)
    assert all(same(arrays[name], back[name]) for name in arrays)
    back["float32"] += 1  # their memory is ours


def by_hand(dtype, size, data):
    """A safetensors file of one tensor x."""
    header = {"x": {"dtype": dtype, "shape": [size], "data_offsets": [0, len(data)]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_bfloat16_of_other_programs_is_read_exactly(path):
    floats = np.array([1.0, -2.5, 3.140625, np.inf, 1e38], np.float32)
    halves = (floats.view(np.uint32) >> 16).astype("<u2")
    path.write_bytes(by_hand("BF16", 5, halves.tobytes()))
    exact = (halves.astype(np.uint32) << 16).view(np.float32)
    assert same(exact, cf.load(path)["x"])


def test_dtypes_that_we_do_not_have_are_named(path):
    path.write_bytes(by_hand("U32", 1, bytes(4)))
    with pytest.raises(cf.FileError, match="'x' has dtype U32"):
        cf.load(path)


# ---- the state of a training ------------------------------------------------------------------


def training(seed):
    """A model, an optimiser with state, a schedule, a loader, and one step."""
    cf.manual_seed(seed)
    data = cf.data.TensorDataset(cf.randn(24, 4), cf.randn(24, 2))
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
    optimizer = cf.optim.AdamW(model.parameters(), lr=0.01, amsgrad=True)
    schedule = cf.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100)
    generator = cf.Generator().manual_seed(seed)
    loader = cf.data.DataLoader(data, batch_size=4, shuffle=True, generator=generator)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "loader": loader}

    def step(batch):
        x, y = batch
        optimizer.zero_grad()
        loss = nn.MSELoss()(model(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.item()

    return parts, step


def test_a_training_continues_from_a_file_to_the_same_bits(path):
    parts, step = training(1)
    batches = iter(parts["loader"])
    for _ in range(3):
        step(next(batches))
    cf.save({name: p.state_dict() for name, p in parts.items()} | {"rng": cf.get_rng_state()}, path)
    rest = [step(batch) for batch in batches] + [step(batch) for batch in parts["loader"]]
    weights = parts["model"].state_dict()

    again, step = training(1)
    cf.manual_seed(99)  # nothing of this process may matter
    state = cf.load(path)
    for name, p in again.items():
        p.load_state_dict(state[name])
    cf.set_rng_state(state["rng"])
    resumed = [step(batch) for batch in again["loader"]] + [step(b) for b in again["loader"]]
    assert resumed == rest
    assert len(rest) == 3 + 6
    assert same(dict(weights), dict(again["model"].state_dict()))


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "RAdam", "Adagrad", "RMSprop", "Rprop", "ASGD", "Lion", "ScheduleFreeAdamW"])  # fmt: skip
def test_the_state_of_every_kind_of_optimizer_is_exact(name, path):
    cf.manual_seed(0)
    model = nn.Linear(3, 2)
    extra = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(cf.optim, name)(model.parameters(), lr=0.01, **extra)
    for _ in range(2):
        optimizer.zero_grad()
        model(cf.ones(4, 3)).square().sum().backward()
        optimizer.step()
    assert same(optimizer.state_dict(), there_and_back(optimizer.state_dict(), path))
