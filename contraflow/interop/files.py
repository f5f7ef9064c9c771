"""``cf.save`` and ``cf.load``: safetensors with a digest; never pickle, never code.

A file is an ordinary safetensors file, so other programs read its tensors under PyTorch's names.
``__metadata__`` adds three texts: ``contraflow.format``, ``contraflow.structure`` (the nesting of
dicts, lists, numbers and texts around the tensors, as JSON) and ``contraflow.sha256`` of all of
it. Reading checks the digest, so one flipped bit is an error and not a silently wrong weight.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from contraflow.base.errors import ArgumentError, DTypeError, FileError, lesson
from contraflow.base.files import damaged, distrusted, opened, write_atomically
from contraflow.interop.structure import decode, encode, read_json
from contraflow.tensor.tensor import make

__all__ = ["load", "save"]

Array = np.ndarray[Any, Any]
FORMAT, STRUCTURE, DIGEST = "contraflow.format", "contraflow.structure", "contraflow.sha256"
KEYS = {FORMAT, STRUCTURE, DIGEST}
NAMES = {  # safetensors' name of each dtype
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "float16": "F16", "float32": "F32", "float64": "F64",
}  # fmt: skip
DTYPES = {name: np.dtype(dtype).newbyteorder("<") for dtype, name in NAMES.items()}


def save(obj: Any, f: Any) -> None:
    """Save tensors, a state dict, or nested dicts and lists of tensors, numbers and texts.

    The file is complete or not there: it is written under another name, synced and renamed, so a
    process that is killed while saving leaves the old file as it was.

    Args:
        obj: dicts (keys: text or integers), lists, tuples, tensors, arrays, numbers, texts, None.
        f: a path (by custom, ``model.safetensors``), or a binary file object to write to.

    Raises:
        DTypeError: for anything else, such as a module: save its ``state_dict()``.
        FileError: if the file cannot be written.

    >>> import contraflow as cf, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> cf.save({"weight": cf.ones(2), "epoch": 3}, path)
    >>> cf.load(path)
    {'weight': tensor([1., 1.]), 'epoch': 3}
    """
    tensors: dict[str, Array] = {}
    structure = json.dumps(encode(obj, tensors), allow_nan=False, separators=(",", ":"))
    arrays = {name: a.astype(a.dtype.newbyteorder("<"), order="C", copy=False)
              for name, a in tensors.items()}  # fmt: skip
    parts = {name: (NAMES[a.dtype.name], a.shape, octets(a)) for name, a in arrays.items()}
    metadata = {FORMAT: "1", STRUCTURE: structure, DIGEST: digest(parts, structure)}
    data = in_order(safetensors.numpy.save(arrays, metadata))
    if hasattr(f, "write"):
        f.write(data)
    else:
        write_atomically(checked_path(f), data)


def in_order(data: bytes) -> bytes:
    """The same file with sorted metadata: the library writes them in another order each time, and
    equal objects should give equal files."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(data)[8 + size :]))


def load(f: Any, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Read what ``cf.save`` wrote, or the tensors of any safetensors file as a dict.

    Files of ``cf.save`` carry a digest that is checked. Safetensors files from elsewhere have none:
    they are checked for their form only, damage within their numbers cannot be seen. Nothing in
    a file is ever run. bfloat16 tensors are read as float32, which holds them exactly.

    Args:
        f: a path, or a binary file object.
        map_location: ``"cpu"`` or None, there is no other device.
        weights_only: True; False, PyTorch's way of allowing code in files, does not exist.

    Raises:
        FileError: for a file that is missing, damaged, truncated, hostile, or of another format.
    """
    if not weights_only:
        raise ArgumentError(
            lesson("weights_only=False would let a file run code", fix="cf.load(path)")
        )
    if map_location is not None and str(map_location).split(":")[0] != "cpu":
        raise ArgumentError(
            lesson(f"there is no device {str(map_location)!r} here", fix="map_location='cpu'")
        )
    if hasattr(f, "read"):
        path, data = getattr(f, "name", "file object"), f.read()
        if not isinstance(data, bytes):
            raise DTypeError(
                lesson("the file must be opened in binary mode", fix="open(path, 'rb')")
            )
        with distrusted(path):
            return parse(data, path)
    with opened(checked_path(f)) as (file, _):
        return parse(file.read(), f)


def checked_path(f: Any) -> Any:
    """A path as the operating system takes it."""
    if not isinstance(f, str | os.PathLike):
        raise DTypeError(
            lesson(f"a path or a binary file is needed, not {type(f).__name__}",
                   fix="cf.save(model.state_dict(), 'model.safetensors')")
        )  # fmt: skip
    return f


def octets(array: Array) -> Array:
    """The bytes of an array, without a copy."""
    return array.reshape(-1).view(np.uint8)


def digest(parts: dict[str, tuple[str, Any, Any]], structure: str) -> str:
    """SHA-256 over every name, dtype, shape and byte of the tensors, and over the structure."""
    total = hashlib.sha256(structure.encode())
    for name in sorted(parts):
        dtype, shape, data = parts[name]
        total.update(json.dumps([name, dtype, list(shape)]).encode())
        total.update(data)
    return total.hexdigest()


def parse(data: bytes, path: Any) -> Any:
    """The object in the bytes of a safetensors file."""
    try:
        parts = {
            name: (about["dtype"], tuple(about["shape"]), about["data"])
            for name, about in safetensors.deserialize(data)
        }
        metadata = read_metadata(data, path, set(parts))
    except safetensors.SafetensorError as error:
        # not before: a header of 640 bytes begins as a pickle does
        explain_other_formats(data, path)
        raise damaged(path, f"it is not an intact safetensors file ({error})") from None
    if not any(key.startswith("contraflow") for key in metadata):
        return {name: tensor_of(*part, name, path) for name, part in parts.items()}
    if set(metadata) != KEYS or metadata[FORMAT] != "1":
        known = metadata.get(FORMAT)
        if set(metadata) >= KEYS and known is not None and known.isdigit() and known != "1":
            raise damaged(path, f"its format {known} is newer than this version", "update it")
        raise damaged(path, f"its metadata has the keys {sorted(metadata)}, not {sorted(KEYS)}")
    structure = metadata[STRUCTURE]
    if digest(parts, structure) != metadata[DIGEST]:
        raise damaged(
            path,
            "its digest does not fit its data: something changed after it was written",
            "a copy or an earlier checkpoint",
        )
    used: set[str] = set()

    def tensor_named(name: str) -> Any:
        if name not in parts or name in used:
            raise damaged(path, f"its structure names a tensor {name!r} that is not there once")
        used.add(name)
        return tensor_of(*parts[name], name, path)

    try:
        result = decode(read_json(structure), tensor_named)
    except FileError:
        raise
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its structure is not valid: {error}") from None
    if used != set(parts):
        raise damaged(path, f"tensors without a place: {sorted(set(parts) - used)[:5]}")
    return result


def read_metadata(data: bytes, path: Any, names: set[str]) -> dict[str, str]:
    """``__metadata__`` of a header that safetensors accepted; no name may come twice."""
    size = int.from_bytes(data[:8], "little")
    try:
        header = read_json(data[8 : 8 + size].decode())
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its header is not valid: {error}") from None
    metadata = header.pop("__metadata__", None) or {}
    if set(header) != names or not all(type(v) is str for v in metadata.values()):
        raise damaged(path, "its header is not valid")
    return metadata  # type: ignore[no-any-return]


def tensor_of(dtype: str, shape: tuple[int, ...], data: Any, name: str, path: Any) -> Any:
    """A tensor on its own memory."""
    if dtype == "BF16":
        wide = np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)
        return make(wide.view(np.float32).reshape(shape))
    if dtype not in DTYPES:
        raise damaged(
            path,
            f"tensor {name!r} has dtype {dtype}, which tensors here do not have",
            f"convert it to one of {' '.join(DTYPES)} BF16",
        )
    array = np.frombuffer(data, DTYPES[dtype]).reshape(shape)
    return make(array.astype(array.dtype.newbyteorder("="), copy=not array.flags.writeable))


def explain_other_formats(data: bytes, path: Any) -> None:
    """Name the formats that people try: PyTorch's pickles, NumPy's and HDF5 files."""
    if data[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or (
        data[:4] == b"PK\x03\x04" and b"data.pkl" in data[:1024]
    ):
        raise damaged(
            path,
            "it is a pickle (a .pt file of torch.save), which can run code when it is opened",
            "convert it once, where PyTorch is: safetensors.torch.save_file("
            "torch.load(path, weights_only=True), 'model.safetensors')",
        )
    if data[:4] == b"PK\x03\x04":
        raise damaged(path, "it is a zip archive, perhaps .npz", "cf.data.read_npz(path)")
    if data[:6] == b"\x93NUMPY":
        raise damaged(path, "it is a NumPy array file", "cf.data.read_npy(path)")
    if data[:4] == b"\x89HDF":
        raise damaged(path, "it is an HDF5 file", "export it as safetensors")
