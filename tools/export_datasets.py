"""Export the bundled data sets from scikit-learn, bit for bit.

    python -m pip install scikit-learn==1.9.1
    python tools/export_datasets.py            # write contraflow/data/bundled/*.npz
    python tools/export_datasets.py --check    # compare with the committed files, write nothing

scikit-learn is needed only here; contraflow itself never imports it. Releases 1.5.2 and 1.9.1 give
the same bytes.

Every file holds four plain arrays, never a pickled object:

    features       uint8 [1797, 8, 8] for digits, float32 [rows, columns] otherwise
    targets        uint8 [rows], the index of the class in class_names
    feature_names  unicode, shaped like one row of features
    class_names    unicode [classes]

The bytes depend on the data alone: the archive is not compressed (zlib's output differs from build
to build), and its time stamps, attributes and order are fixed.
"""

import argparse
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from sklearn import datasets

FOLDER = Path(__file__).resolve().parent.parent / "contraflow" / "data" / "bundled"


def digits() -> dict[str, np.ndarray]:
    """The images as 8 x 8 integers 0..16."""
    bunch = datasets.load_digits()
    return arrays(bunch, exactly(bunch.images, np.uint8))


def table(load) -> dict[str, np.ndarray]:
    """A set of measurements: one float32 row per sample."""
    bunch = load()
    return arrays(bunch, same_decimals(bunch.data))


def arrays(bunch, features: np.ndarray) -> dict[str, np.ndarray]:
    """The four arrays of a file."""
    return {
        "features": features,
        "targets": exactly(bunch.target, np.uint8),
        "feature_names": np.array(bunch.feature_names, np.str_).reshape(features.shape[1:]),
        "class_names": np.array([str(name) for name in bunch.target_names], np.str_),
    }


def exactly(values: np.ndarray, dtype: type) -> np.ndarray:
    """`values` as `dtype`, refused if any value would change."""
    stored = values.astype(dtype)
    if not np.array_equal(stored, values):
        raise ValueError(f"the values do not fit {np.dtype(dtype)}")
    return stored


def same_decimals(values: np.ndarray) -> np.ndarray:
    """`values` as float32, refused unless each still prints as the decimal number it came from."""
    stored = values.astype(np.float32)
    for before, after in zip(values.flat, stored.flat, strict=True):
        if float(str(after)) != before:
            raise ValueError(f"{before} does not survive float32")
    return stored


def npz(content: dict[str, np.ndarray]) -> bytes:
    """The bytes of an .npz file, the same on every machine."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in content.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o644 << 16
            member = io.BytesIO()
            little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            np.lib.format.write_array(member, little_endian, version=(1, 0), allow_pickle=False)
            archive.writestr(entry, member.getvalue())
    return file.getvalue()


SETS = {
    "digits": digits,
    "iris": lambda: table(datasets.load_iris),
    "wine": lambda: table(datasets.load_wine),
    "breast_cancer": lambda: table(datasets.load_breast_cancer),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Export the bundled data sets from scikit-learn.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    sources = FOLDER / "SOURCES.md"
    known = sources.read_text(encoding="utf-8") if sources.exists() else ""
    wrong = 0
    for name, make in SETS.items():
        path, content = FOLDER / f"{name}.npz", npz(make())
        digest = hashlib.sha256(content).hexdigest()
        if not check:
            path.write_bytes(content)
        remarks = [] if path.is_file() and path.read_bytes() == content else ["the file differs"]
        remarks += [] if digest in known else ["SOURCES.md has another sha256"]
        wrong += bool(remarks)
        print(f"{digest}  {name}.npz  {len(content)} bytes  {', '.join(remarks) or 'ok'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
