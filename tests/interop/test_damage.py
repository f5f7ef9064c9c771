"""Damaged and hostile files: an error that says so, never silently other values, never code."""

import contextlib
import io
import json
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import contraflow as cf
from contraflow.interop import files

SMALL = {"w": cf.tensor([1.5, -2.0]), "n": [1, 2.5, "a", None], "b": cf.tensor([True, False])}


def written(value):
    buffer = io.BytesIO()
    cf.save(value, buffer)
    return buffer.getvalue()


def read(data):
    return cf.load(io.BytesIO(data))


def text_of(value):
    """Everything about a loaded object, exactly, as text (repr of floats is exact)."""
    if isinstance(value, cf.Tensor):
        array = value.numpy()
        return f"{array.dtype}{array.shape}{array.tobytes().hex()}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k!r}:{text_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({','.join(map(text_of, value))})"
    return repr(value)


def with_header(header, data=b""):
    """A file with this header, a dict or the very bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


# ---- damage -----------------------------------------------------------------------------------


def test_every_flipped_bit_is_an_error_or_changes_nothing():
    data, whole = written(SMALL), text_of(SMALL)
    assert text_of(read(data)) == whole
    refused = 0
    for position in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        try:
            assert text_of(read(bytes(flipped))) == whole, position
        except cf.FileError:
            refused += 1
    assert refused > 0.95 * 8 * len(data)


def test_every_truncation_is_an_error():
    data = written(SMALL)
    for length in range(len(data)):
        with pytest.raises(cf.FileError):
            read(data[:length])


@pytest.mark.parametrize("extra", [b"\0", b" ", b"more", bytes(1000)])
def test_bytes_after_the_end_are_an_error(extra):
    with pytest.raises(cf.FileError):
        read(written(SMALL) + extra)


def test_every_byte_of_the_data_is_covered_by_the_digest():
    data = written({"x": cf.zeros(1000)})
    for position in range(len(data) - 4000, len(data), 97):
        changed = bytearray(data)
        changed[position] = 1
        with pytest.raises(cf.FileError, match="digest"):
            read(bytes(changed))


def test_the_error_names_the_file_and_what_to_do(tmp_path):
    path = tmp_path / "model.safetensors"
    data = bytearray(written(SMALL))
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(cf.FileError, match="digest") as caught:
        cf.load(path)
    assert "model.safetensors" in str(caught.value)
    assert "fix: a copy or an earlier checkpoint" in str(caught.value)
    assert "test_damage.py" in str(caught.value)  # the user's line, not one of ours
    assert isinstance(caught.value, OSError)


def parts_of(data):
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def test_tensors_that_change_places_are_noticed():
    header, body = parts_of(written({"a": cf.tensor([1.0]), "b": cf.tensor([2.0])}))
    header["a"], header["b"] = header["b"], header["a"]
    with pytest.raises(cf.FileError, match="digest"):
        read(with_header(header, body))


@pytest.mark.parametrize("change", [{"dtype": "I32"}, {"shape": [1, 2]}, {"shape": [2, 1]}])
def test_another_dtype_or_shape_over_the_same_bytes_is_noticed(change):
    header, body = parts_of(written({"a": cf.tensor([1.0, 2.0])}))
    header["a"] |= change
    with pytest.raises(cf.FileError, match="digest"):
        read(with_header(header, body))


def test_metadata_that_lies():
    header, body = parts_of(written(SMALL))
    good = header["__metadata__"]

    def says(metadata, match):
        with pytest.raises(cf.FileError, match=match):
            read(with_header(header | {"__metadata__": metadata}, body))

    for name in good:
        says({k: v for k, v in good.items() if k != name}, "metadata has the keys")
    says(good | {"contraflow.extra": "1"}, "metadata has the keys")
    says(good | {"contraflow.format": "2"}, "format 2 is newer")
    says(good | {"contraflow.format": "x"}, "metadata has the keys")
    says(good | {"contraflow.sha256": "0" * 64}, "digest")
    says(good | {"contraflow.structure": "null"}, "digest")
    says(good | {"contraflow.format": 1}, "not an intact")
    says(good | {"contraflow.structure": None}, "not an intact")
    says([], "not an intact")


# ---- hostile structures with a right digest -----------------------------------------------------


def forged(structure, arrays=None):
    """A file whose digest fits, made by someone who knows how it is computed."""
    arrays = {"t": np.ones(1, np.float32)} if arrays is None else arrays
    parts = {n: (files.NAMES[a.dtype.name], a.shape, files.octets(a)) for n, a in arrays.items()}
    metadata = {
        files.FORMAT: "1",
        files.STRUCTURE: structure,
        files.DIGEST: files.digest(parts, structure),
    }
    return safetensors.numpy.save(arrays, metadata)


def test_a_forged_file_is_read_if_it_is_right():
    assert text_of(read(forged('{"list":[{"tensor":"t"},1]}'))) == "list(float32(1,)0000803f,1)"


@pytest.mark.parametrize(
    "structure",
    [
        "", "nul", "[1]", "{}", '{"tensor":"t","list":[]}', '{"tensor":1}', '{"tensor":"other"}',
        '{"list":[{"tensor":"t"},{"tensor":"t"}]}', '{"list":[]}', '{"set":[{"tensor":"t"}]}',
        '{"dict":[["a",{"tensor":"t"}],["a",1]]}', '{"dict":[["a"]]}', '{"dict":[[null,1]]}',
        '{"dict":[[true,1]]}', '{"dict":[[1.0,1]]}', '{"dict":{"a":1}}', '{"dict":[["a",1,2]]}',
        '{"float":"1e5"}', '{"float":1.5}', '{"list":[{"tensor":"t"},NaN]}',
        '{"list":[{"tensor":"t"},Infinity]}', '{"list":[{"tensor":"t"},1e999]}',
        '{"list":[{"tensor":"t"}],"list":[]}', '{"tuple":"ab"}', '{"tensor":["t"]}',
        '{"__class__":"os.system"}', "1" * 5000, '{"list":[{"tensor":"t"},' + "9" * 5000 + "]}",
        "[" * 100_000, '{"list":[' * 500 + '{"tensor":"t"}' + "]}" * 500,
    ],
    ids=lambda s: s[:30],
)  # fmt: skip
def test_structures_outside_the_schema_are_refused(structure):
    with pytest.raises(cf.FileError):
        read(forged(structure))


@given(st.text(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["t", "nan", "tensor"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["tensor", "list", "dict", "tuple", "float", "other"]), inner, max_size=2),
    max_leaves=10,
).map(json.dumps))  # fmt: skip
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_structure_is_read_or_refused(structure):
    with contextlib.suppress(cf.FileError):
        read(forged(structure))


# ---- hostile headers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        b"\0" * 100,
        b"\xff" * 8,
        b"\xff" * 100,
        (2**63).to_bytes(8, "little") + b"{}",
        (10**8 + 1).to_bytes(8, "little") + b"{}",
        with_header(b""),
        with_header(b"null"),
        with_header(b"[]"),
        with_header(b"{"),
        with_header(b"\xff\xfe{}"),
        with_header(b'{"a":' * 100_000),
        with_header(b'{"a":' + b"[" * 100_000),
        with_header({"x": tensor(shape=(2**62,))}, bytes(8)),
        with_header({"x": tensor(shape=(2**32, 2**32, 2**32))}, bytes(8)),
        with_header({"x": tensor(shape=(-2,))}, bytes(8)),
        with_header({"x": tensor(shape=(-1, -2))}, bytes(8)),
        with_header({"x": tensor(shape=(1.5,))}, bytes(8)),
        with_header({"x": tensor(shape=("2",))}, bytes(8)),
        with_header({"x": tensor(shape=(3,))}, bytes(8)),
        with_header({"x": tensor(shape=(1,))}, bytes(8)),
        with_header({"x": tensor(offsets=(0, 2**64))}, bytes(8)),
        with_header({"x": tensor(offsets=(0, 16))}, bytes(8)),
        with_header({"x": tensor(offsets=(8, 0))}, bytes(8)),
        with_header({"x": tensor(offsets=(-8, 0))}, bytes(8)),
        with_header({"x": tensor(offsets=(4, 12))}, bytes(12)),
        with_header({"x": tensor(), "y": tensor()}, bytes(8)),
        with_header({"x": tensor(), "y": tensor(offsets=(4, 12))}, bytes(12)),
        with_header({"x": tensor(), "y": tensor(offsets=(12, 20))}, bytes(20)),
        with_header({"x": tensor()}, bytes(9)),
        with_header({"x": tensor("F33")}, bytes(8)),
        with_header({"x": tensor("")}, bytes(8)),
        with_header({"x": {"dtype": "F32"}}, bytes(8)),
        with_header({"x": 5}),
        with_header({"x": tensor(shape=[1] * 200, offsets=(0, 4))}, bytes(4)),
        with_header(b'{"x":%s,"x":%s}' % ((json.dumps(tensor()).encode(),) * 2), bytes(8)),
        with_header(b'{"__metadata__":{"a":"1","a":"2"}}'),
        with_header(b'{"__metadata__":{"a":"1"},"__metadata__":{"a":"2"}}'),
        with_header({"__metadata__": {"a": 1}}),
        with_header({"__metadata__": {"a": {"b": "c"}}}),
        with_header({"__metadata__": "text"}),
    ],
    ids=lambda d: repr(d[:70]),
)
def test_hostile_headers_are_refused_without_taking_memory(data):
    tracemalloc.start()
    try:
        with pytest.raises(cf.FileError):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_refused_or_a_file(data):
    for whole in (data, with_header(data), with_header({"x": tensor()}, data)):
        with contextlib.suppress(cf.FileError):
            read(whole)


# ---- other formats, and pickles -----------------------------------------------------------------


class Trap:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def trap(tmp_path):
    bomb = Trap()
    bomb.folder = tmp_path / "sprung"
    return bomb


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_never_opened(protocol, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(trap(tmp_path), protocol))
    with pytest.raises(cf.FileError) as caught:
        cf.load(path)
    if protocol >= 2:
        assert "pickle" in str(caught.value)
        assert "safetensors.torch.save_file" in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_a_zip_with_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:  # as torch.save lays it out
        archive.writestr("model/data.pkl", pickle.dumps(trap(tmp_path)))
        archive.writestr("model/version", "3")
    with pytest.raises(cf.FileError, match="can run code") as caught:
        cf.load(path)
    assert "fix: convert it once" in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_files_of_numpy_and_hdf5_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    np.save(tmp_path / "a.npy", np.ones(2))
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for name, fix in [("a.npz", "read_npz"), ("a.npy", "read_npy"), ("a.h5", "export it")]:
        with pytest.raises(cf.FileError, match=fix):
            cf.load(tmp_path / name)
