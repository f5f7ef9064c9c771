"""Readers of idx, npy and npz: files made here byte by byte, and what must be refused."""

import contextlib
import gzip
import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import contraflow as cf
from contraflow.data import MNIST, read_idx, read_npy, read_npz
from contraflow.data.readers import read_arrays

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx(array, code):
    """The bytes of an idx file, after Yann LeCun's description of the format."""
    head = bytes([0, 0, code, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.tobytes()


def written(tmp_path, data, name="file"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@contextlib.contextmanager
def little_memory(limit=20_000_000):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


# ---- idx --------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0,), (0, 28, 28), (1,) * 6])
@pytest.mark.parametrize("dtype", CODES)
def test_idx_of_every_dtype(dtype, shape, packed, tmp_path):
    array = (np.arange(np.prod(shape)) - 3).reshape(shape).astype(dtype)
    data = idx(array, CODES[dtype])
    path = written(tmp_path, gzip.compress(data) if packed else data)
    result = read_idx(path).numpy()
    assert result.dtype == np.dtype(dtype).newbyteorder("=")
    assert result.shape == shape
    np.testing.assert_array_equal(result, array)


GOOD = idx(np.arange(6, dtype="u1").reshape(2, 3), 0x08)


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_every_truncation_of_an_idx_file(length, tmp_path):
    with pytest.raises(cf.FileError):
        read_idx(written(tmp_path, GOOD[:length]))
    with pytest.raises(cf.FileError):
        read_idx(written(tmp_path, gzip.compress(GOOD[:length])))


def test_every_truncation_and_every_flipped_bit_of_a_packed_file(tmp_path):
    packed = gzip.compress(GOOD, mtime=0)
    for length in range(len(packed)):
        with pytest.raises(cf.FileError):
            read_idx(written(tmp_path, packed[:length]))
    for position in range(8 * len(packed)):
        flipped = bytearray(packed)
        flipped[position // 8] ^= 1 << position % 8
        with contextlib.suppress(cf.FileError):  # times and names in the header are not covered
            assert read_idx(written(tmp_path, flipped)).tolist() == [[0, 1, 2], [3, 4, 5]]


def header(code, *sizes, ndim=None):
    return bytes([0, 0, code, len(sizes) if ndim is None else ndim]) + struct.pack(
        f">{len(sizes)}I", *sizes
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not start like an idx file"),
        (b"\0\0\x08", "does not start like an idx file"),
        (b"\1\0\x08\1" + bytes(8), "does not start like an idx file"),
        (b"\0\0\x07\1" + bytes(8), "does not start like an idx file"),
        (b"\0\0\x0a\1" + bytes(8), "does not start like an idx file"),
        (b"\0\0\x08\0" + bytes(8), "does not start like an idx file"),
        (header(0x08, 1, ndim=3), "ends within its header"),
        (GOOD + b"\0", "promises 6 bytes of data, it holds at least 7"),
        (GOOD[:-1], "promises 6 bytes of data, it holds 5"),
        (header(0x08, 2**32 - 1) + bytes(10), "far more than the file holds"),
        (header(0x0E, *[2**32 - 1] * 4) + bytes(100), "far more than the file holds"),
        (header(0x08, *[2**32 - 1] * 255) + bytes(100), "far more than the file holds"),
        (header(0x08, *[1] * 40) + b"\0", "far more than the file holds"),
        (header(0x08, 0, *[2**32 - 1] * 20), "cannot be read"),
        (b"PK\x03\x04" + bytes(100), "does not start like an idx file"),
    ],
    ids=lambda v: repr(v[:20]),
)
def test_idx_files_that_lie(data, says, tmp_path):
    for content in (data, gzip.compress(data)):
        with little_memory(), pytest.raises(cf.FileError, match=says):
            read_idx(written(tmp_path, content))


def test_a_packed_file_that_is_a_bomb(tmp_path):
    """Ten megabytes of zeros behind a header that promises six bytes, and the other way round."""
    bomb = gzip.compress(GOOD + bytes(10**8))
    assert len(bomb) < 200_000
    with little_memory(1_000_000), pytest.raises(cf.FileError, match="at least 7"):
        read_idx(written(tmp_path, bomb))
    with little_memory(1_000_000), pytest.raises(cf.FileError, match="far more"):
        read_idx(written(tmp_path, gzip.compress(header(0x08, 2**31))))


# ---- npy and npz --------------------------------------------------------------------------------


def npy(array, **kwargs):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **kwargs)
    return file.getvalue()


def raw_npy(text, data=b"", version=(1, 0)):
    """An npy file with this header text."""
    padded = text.encode("latin1")
    size = struct.pack("<H" if version == (1, 0) else "<I", len(padded))
    return b"\x93NUMPY" + bytes(version) + size + padded + data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
def test_npy_of_every_dtype_and_byte_order(dtype, order, tmp_path):
    array = (np.arange(12).reshape(3, 4) % 7).astype(f"{order}{dtype}")
    for layout in (array, np.asfortranarray(array), array[:, ::2], array[0, 0], array[:0]):
        result = read_npy(written(tmp_path, npy(np.asarray(layout)))).numpy()
        assert result.dtype == array.dtype.newbyteorder("=")
        assert result.dtype.isnative
        np.testing.assert_array_equal(result, layout)
    np.testing.assert_array_equal(read_npy(written(tmp_path, npy(array, version=(2, 0)))), array)


def test_npz(tmp_path):
    x, names = np.arange(6.0).reshape(2, 3), np.array(["a", "ß"])
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", x=x, names=names, empty=x[:0])
        result = read_npz(tmp_path / "a.npz")
        assert list(result) == ["x", "names", "empty"]
        assert result["x"].dtype is cf.float64
        assert result["x"].tolist() == x.tolist()
        assert result["names"].tolist() == ["a", "ß"]
        assert result["empty"].shape == (0, 3)


class Trap:
    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_nothing_is_unpickled(tmp_path):
    bomb = Trap()
    bomb.folder = str(tmp_path / "sprung")
    array = np.empty(1, object)
    array[0] = bomb
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=array)
    written(tmp_path, pickle.dumps(bomb), "a.pkl")
    for name in ("a.npy", "a.npz", "a.pkl"):
        for read in (read_npy, read_npz, read_idx):
            with pytest.raises(cf.FileError):
                read(tmp_path / name)
    with pytest.raises(cf.FileError, match="pickled Python objects, which could run code"):
        read_npy(tmp_path / "a.npy")
    with pytest.raises(cf.FileError, match="allow_pickle=False"):
        read_npz(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_dtypes_that_tensors_do_not_have(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(2, np.uint32))
    np.savez(tmp_path / "a.npz", good=np.ones(2), bad=np.ones(2, np.uint64))
    with pytest.raises(cf.DTypeError, match="uint32"):
        read_npy(tmp_path / "a.npy")
    with pytest.raises(cf.DTypeError, match="'bad' of a.npz.*uint64"):
        read_npz(tmp_path / "a.npz")
    for array in (np.ones(2, complex), np.zeros(2, "M8[s]"), np.zeros(2, [("a", "f4")])):
        np.save(tmp_path / "b.npy", array)
        with pytest.raises(cf.FileError, match="not data for tensors"):
            read_npy(tmp_path / "b.npy")


FINE = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPX\1\0",
        raw_npy(FINE, bytes(7)),
        raw_npy(FINE, bytes(9)),
        raw_npy(FINE, bytes(8), version=(3, 0)),
        raw_npy(FINE, bytes(8), version=(9, 9)),
        raw_npy(FINE)[:20],
        raw_npy(FINE.replace("(2,)", "(-2,)"), bytes(8)),
        raw_npy(FINE.replace("(2,)", "(-1, -2)"), bytes(8)),
        raw_npy(FINE.replace("(2,)", "(2.0,)"), bytes(8)),
        raw_npy(FINE.replace("(2,)", "(True,)"), bytes(4)),
        raw_npy(FINE.replace("(2,)", "2"), bytes(8)),
        raw_npy(FINE.replace("(2,)", "None"), bytes(8)),
        raw_npy(FINE.replace("(2,)", f"({2**62},)"), bytes(8)),
        raw_npy(FINE.replace("(2,)", f"({2**40}, {2**40})"), bytes(8)),
        raw_npy(FINE.replace("(2,)", f"(0, {2**63})")),
        raw_npy(FINE.replace("(2,)", f"({'1,' * 50})"), bytes(4)),
        raw_npy(FINE.replace("<f4", "<f5"), bytes(8)),
        raw_npy(FINE.replace("<f4", "O"), bytes(16)),
        raw_npy(FINE.replace("<f4", "|V4"), bytes(8)),
        raw_npy(FINE.replace("'<f4'", "[('a', 'O')]"), bytes(16)),
        raw_npy(FINE.replace("'<f4'", "('<f4', (2,))"), bytes(16)),
        raw_npy(FINE.replace("'<f4'", "5"), bytes(8)),
        raw_npy(FINE.replace("False", "'no'"), bytes(8)),
        raw_npy(FINE.replace("'shape'", "1"), bytes(8)),
        raw_npy(FINE.replace("'shape': (2,)", "'shape': (2,), 'more': 1"), bytes(8)),
        raw_npy("[1, 2]", bytes(8)),
        raw_npy("__import__('os').getcwd()", bytes(8)),
        raw_npy("1is 2", bytes(8)),
        raw_npy("'\\d'", bytes(8)),
        raw_npy("(" * 5000, bytes(8)),
        raw_npy("-" * 9000 + "1", bytes(8)),
        raw_npy("\0" * 100, bytes(8)),
        raw_npy("\xff" * 100, bytes(8)),
        raw_npy("{" * 60000, bytes(8)),
        b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + b"{}",
    ],
    ids=lambda d: repr(d[:60]),
)
def test_hostile_npy_files(data, tmp_path):
    with little_memory(), pytest.raises(cf.FileError):
        read_npy(written(tmp_path, data))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", data)
    with little_memory(), pytest.raises(cf.FileError):
        read_npz(tmp_path / "a.npz")


def test_a_flipped_bit_in_any_byte_of_an_npz_is_found(tmp_path):
    """zip holds a checksum of each member; names and times are not covered by it."""
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(4.0))
    data = (tmp_path / "a.npz").read_bytes()
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        with contextlib.suppress(cf.FileError, cf.DTypeError):
            for value in read_npz(written(tmp_path, flipped)).values():
                assert value.tolist() == [0, 1, 2, 3], position
    for length in range(len(data)):
        with pytest.raises(cf.FileError):
            read_npz(written(tmp_path, data[:length]))


def archive_of(tmp_path, **members):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_bomb_in_an_archive(tmp_path):
    lying = npy(np.zeros(2, np.uint8)) + bytes(10**8)
    path = archive_of(tmp_path, **{"x.npy": lying})
    with little_memory(1_000_000), pytest.raises(cf.FileError, match="promises 2 bytes"):
        read_npz(path)
    # a directory that claims more than deflate could ever pack
    data = bytearray(archive_of(tmp_path, **{"x.npy": npy(np.zeros(2))}).read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 2**31)
    with little_memory(1_000_000), pytest.raises(cf.FileError, match="far more"):
        read_npz(written(tmp_path, data))


def test_parts_that_overlap(tmp_path):
    """Many entries of the directory that lead to the same bytes, as zip bombs without nesting do."""
    data = archive_of(
        tmp_path, **{"x.npy": npy(np.random.default_rng(0).random(1000))}
    ).read_bytes()
    begin, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    entry, tail = data[begin:end], bytearray(data[end:])
    entries = b"".join(entry.replace(b"x.npy", b"%c.npy" % c) for c in b"abcdefghij")
    tail[8:10] = tail[10:12] = struct.pack("<H", 10)
    tail[12:16] = struct.pack("<I", len(entries))
    with pytest.raises(cf.FileError):
        read_npz(written(tmp_path, data[:begin] + entries + bytes(tail)))


def test_members_that_have_no_place(tmp_path):
    for name in ("readme.txt", "data.pkl", "x"):
        with pytest.raises(cf.FileError, match="no place"):
            read_npz(archive_of(tmp_path, **{name: npy(np.zeros(2))}))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive, pytest.warns(UserWarning):
        archive.writestr("x.npy", npy(np.zeros(2)))
        archive.writestr("x.npy", npy(np.ones(2)))
    with pytest.raises(cf.FileError, match="no place"):
        read_npz(tmp_path / "b.npz")
    # a name is only a key: nothing is written anywhere
    outside = read_arrays(archive_of(tmp_path, **{"../../x.npy": npy(np.zeros(2))}))
    assert list(outside) == ["../../x"]


@given(st.binary(max_size=80))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_refused_or_data(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    for head in (b"", b"\0\0\x08\1", b"\x93NUMPY\1\0", b"\x1f\x8b\x08", b"PK\x03\x04"):
        path = written(folder, head + data)
        for read in (read_idx, read_npy, read_npz):
            with contextlib.suppress(cf.FileError, cf.DTypeError):
                read(path)


@pytest.mark.parametrize("read", [read_idx, read_npy, read_npz])
@pytest.mark.parametrize("path", ["missing", "folder", "/dev/zero"])
def test_what_is_no_file(read, path, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(cf.FileError, match="cannot be read"):
        read(tmp_path / path)


# ---- folders of MNIST ---------------------------------------------------------------------------


def mnist(tmp_path, images, labels, part="train", mark="-", packed=True):
    for stem, kind, array in (("images", "idx3", images), ("labels", "idx1", labels)):
        data = idx(array, 0x08)
        name = f"{part}-{stem}{mark}{kind}-ubyte"
        written(tmp_path, gzip.compress(data) if packed else data, name + ".gz" * packed)


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist(mark, packed, tmp_path):
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    mnist(tmp_path, images, np.array([7, 3], np.uint8), "train", mark, packed)
    mnist(tmp_path, images[:1], np.array([9], np.uint8), "t10k", mark, packed)
    train, test = MNIST(tmp_path), MNIST(str(tmp_path), train=False)
    assert (len(train), len(test)) == (2, 1)
    assert train.features.shape == (2, 1, 28, 28)
    assert train.features.dtype is cf.float32
    np.testing.assert_allclose(train.features.numpy()[:, 0], images / 255, rtol=1e-6)
    assert train.targets.dtype is cf.int64
    assert train.targets.tolist() == [7, 3]
    assert test.targets.tolist() == [9]


def test_mnist_folders_that_are_wrong(tmp_path):
    with pytest.raises(cf.FileError, match="no train-images-idx3-ubyte"):
        MNIST(tmp_path)
    mnist(tmp_path, np.zeros((3, 4, 4), np.uint8), np.zeros(2, np.uint8))
    with pytest.raises(cf.FileError, match="do not belong together"):
        MNIST(tmp_path)
