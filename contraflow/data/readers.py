"""Readers of data files: idx (MNIST) and NumPy's npy and npz.

A file is not trusted: what its header promises is checked against its size before memory is
taken, nothing in it is ever run (no pickle), and what does not fit is a ``FileError``.
"""

from __future__ import annotations

import gzip
import io
import warnings
import zipfile
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import DTypeError, FileError, lesson
from contraflow.base.files import damaged, opened
from contraflow.data.dataset import TensorDataset
from contraflow.tensor.create import from_numpy
from contraflow.tensor.tensor import make

__all__ = ["MNIST", "read_arrays", "read_idx", "read_npy", "read_npz"]

Array = np.ndarray[Any, Any]
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NPY_HEADERS: dict[tuple[int, int], tuple[int, Any]] = {  # bytes of the size, and the parser
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}
NPY_HEADER_BYTES = 10_000  # NumPy's own limit for files that are not trusted
DEFLATE = 1032  # deflate cannot pack better than 1032 : 1
GZIP_MAGIC = b"\x1f\x8b"


def read_exactly(file: IO[bytes], size: int, path: Any) -> bytes:
    """``size`` bytes and not one more must be left in the file."""
    data = file.read(size + 1)
    if len(data) != size:
        some = f"at least {len(data)}" if len(data) > size else str(len(data))
        raise damaged(path, f"its header promises {size} bytes of data, it holds {some}")
    return data


def read_idx(path: Any) -> Any:
    """Read an idx file (the format of MNIST), plain or gzip-compressed, as a tensor.

    Raises:
        FileError: for a file that is missing, damaged, truncated or not idx.
    """
    with opened(path) as (raw, size):
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        limit = size * DEFLATE if packed else size
        file: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in IDX_TYPES or head[3] == 0:
            raise damaged(path, "it does not start like an idx file", "use an MNIST-style idx file")
        dtype, ndim = np.dtype(IDX_TYPES[head[2]]), head[3]
        sizes = file.read(4 * ndim)
        if len(sizes) < 4 * ndim:
            raise damaged(path, "it ends within its header")
        shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
        wanted = prod(shape) * dtype.itemsize
        if wanted > limit or ndim > 32:
            raise damaged(
                path, f"its header promises an array {list(shape)}, far more than the file holds"
            )
        data = read_exactly(file, wanted, path)
        array = np.frombuffer(data, dtype).reshape(shape)
        return make(array.astype(dtype.newbyteorder("="), copy=True))


def read_header(file: IO[bytes], limit: int, path: Any) -> tuple[tuple[int, ...], bool, Any]:
    """The header of an npy stream, checked against the bytes that can follow."""
    version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
    if version not in NPY_HEADERS:
        raise damaged(path, f"npy version {version} is not known")
    width, read = NPY_HEADERS[version]
    start = file.read(width)
    size = int.from_bytes(start, "little")
    if size > NPY_HEADER_BYTES:  # NumPy would take the memory first
        raise damaged(path, f"its header of {size} bytes is too long")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers as Python 2 wrote them
        shape, fortran, dtype = read(io.BytesIO(start + file.read(size)))
    if dtype.hasobject:
        raise damaged(
            path,
            "it holds pickled Python objects, which could run code",
            "save plain numeric arrays: numpy.save(path, array, allow_pickle=False)",
        )
    if any(n < 0 for n in shape) or prod(shape) * max(dtype.itemsize, 1) > limit or len(shape) > 32:
        raise damaged(
            path, f"its header promises an array {list(shape)}, far more than the file holds"
        )
    return shape, fortran, dtype


def read_stream(file: IO[bytes], limit: int, path: Any) -> Array:
    """One npy stream, to its last byte."""
    shape, fortran, dtype = read_header(file, limit, path)
    if dtype.kind not in "fiubUS" or dtype.fields is not None or dtype.subdtype is not None:
        raise damaged(path, f"arrays of {dtype} are not data for tensors", "save numeric arrays")
    data = read_exactly(file, prod(shape) * dtype.itemsize, path)
    flat = np.frombuffer(data, dtype) if dtype.itemsize else np.zeros(prod(shape), dtype)
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C", copy=True)


def read_npy(path: Any) -> Any:
    """Read a ``.npy`` file as a tensor; never unpickles.

    Raises:
        FileError: for a file that is missing, damaged, truncated or holds objects.
        DTypeError: for a dtype that tensors do not have.
    """
    with opened(path) as (file, size):
        return from_numpy(read_stream(file, size, path))


def read_arrays(path: Any) -> dict[str, Array]:
    """The arrays of a ``.npz`` file, texts included, by name; never unpickles."""
    with opened(path) as (file, size):
        archive = zipfile.ZipFile(file)
        arrays: dict[str, Array] = {}
        if sum(info.compress_size for info in archive.infolist()) > size:
            raise damaged(path, "its parts overlap: together they are larger than the file")
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            limit = info.compress_size * DEFLATE
            if info.file_size > limit:
                raise damaged(path, f"{info.filename!r} claims {info.file_size} bytes, far more "
                              "than the file can hold")  # fmt: skip
            if name == info.filename or name in arrays:
                raise damaged(path, f"{info.filename!r} has no place in a .npz file")
            with archive.open(info) as member:
                arrays[name] = read_stream(io.BufferedReader(member), info.file_size, path)
        return arrays


def read_npz(path: Any) -> dict[str, Any]:
    """Read a ``.npz`` file as a dict of tensors; arrays of text stay NumPy arrays.

    Raises:
        FileError: for a file that is missing, damaged, truncated or holds objects.
        DTypeError: for a dtype that tensors do not have.

    >>> import contraflow as cf, numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "points.npz")
    >>> np.savez(path, x=np.zeros((2, 3)), y=np.arange(2))
    >>> cf.data.read_npz(path)["y"]
    tensor([0, 1])
    """
    arrays = read_arrays(path)
    return {k: a if a.dtype.kind in "US" else tensor_of(a, k, path) for k, a in arrays.items()}


def tensor_of(array: Array, name: str, path: Any) -> Any:
    """A tensor, or an error that names the array."""
    try:
        return from_numpy(array)
    except DTypeError as error:
        raise DTypeError(f"array {name!r} of {Path(path).name}: {error}") from None


class MNIST(TensorDataset):
    """The images and labels of an MNIST-style folder with idx files (``.gz`` or unpacked).

    ``root`` holds ``train-images-idx3-ubyte`` and its companions, as MNIST, Fashion-MNIST and
    KMNIST are distributed; nothing is downloaded. Features are float32 ``[N, 1, H, W]`` in
    [0, 1], targets int64 ``[N]``.

    Raises:
        FileError: for files that are missing, damaged or do not belong together.
    """

    def __init__(self, root: Any, train: bool = True) -> None:
        part = "train" if train else "t10k"
        images = read_idx(find(root, f"{part}-images", "idx3-ubyte"))
        labels = read_idx(find(root, f"{part}-labels", "idx1-ubyte"))
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise FileError(
                lesson(
                    "the images and labels do not belong together",
                    [("images", list(images.shape)), ("labels", list(labels.shape))],
                    "images [N, H, W] and labels [N] of one set",
                )
            )
        pixels = images.numpy()[:, None].astype(np.float32)
        pixels *= np.float32(1 / 255)
        super().__init__(make(pixels), make(labels.numpy().astype(int64.np)))

    @property
    def features(self) -> Any:
        """float32 [N, 1, H, W] in [0, 1]."""
        return self.tensors[0]

    @property
    def targets(self) -> Any:
        """int64 [N]."""
        return self.tensors[1]


def find(root: Any, stem: str, kind: str) -> Path:
    """The file of a set, under the names it is distributed with."""
    folder = Path(root)
    for mark in ("-", "."):
        for ending in ("", ".gz"):
            path = folder / f"{stem}{mark}{kind}{ending}"
            if path.is_file():
                return path
    raise FileError(
        lesson(
            f"there is no {stem}-{kind} (or .gz) in the folder",
            [("folder", folder)],
            "download the four files of the set into it",
        )
    )
