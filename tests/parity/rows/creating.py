"""Making tensors, and asking about dtypes."""

import numpy as np

from tests.parity.compare import D, Row

ONE = ("float64",)


def row(name, *args, **options):
    return Row(name, *args, **({"dtypes": ONE, "smooth": False, "method": False} | options))


def rows():
    for name in ("zeros", "ones"):
        for args in ((2, 3), ((2, 3),), ([2, 3],), ((),), (0,), (-1,), (2.5,)):
            yield row(name, *args)
        yield row(name, 2, dtype="dtype:int8")
    yield row("empty", 0, 3)
    yield row("full", (2, 3), 1.5)
    yield row("full", (2,), 7)
    yield row("full", (), True)
    yield row("full", (2,), 7, dtype="dtype:float16")
    for name in ("zeros_like", "ones_like"):
        yield row(name, D(2, 3), dtypes=("float64", "int8", "bool"))
        yield row(name, D(2, 3), dtype="dtype:int64")
    yield row("empty_like", D(0, 3))
    yield row("full_like", D(2, 3), 5, dtypes=("float64", "int8", "bool"))
    for args in ((5,), (2, 7), (0, 1, 0.3), (5, 0, -2), (0,), (2.5,), (1, 0), (0, 5, 0), (0.0, 3)):
        yield row("arange", *args)
    yield row("arange", 5, dtype="dtype:float64")
    yield row("arange", 0, 5, 2, dtype="dtype:int8")
    for args in ((0, 1, 5), (3, -2, 4), (0, 1, 1), (0, 1, 0), (0, 1, -1), (-1.5, 2.5, 7)):
        yield row("linspace", *args)
        yield row("logspace", *args, loose=3)
    yield row("linspace", 0, 10, 4, dtype="dtype:int64")
    yield row("logspace", 0, 3, 4, dtype="dtype:int64")
    yield row("logspace", 0, 3, 4, base=2.0)
    for args in ((3,), (2, 3), (0,), (3, 0), (-1,)):
        yield row("eye", *args)
    yield row("eye", 2, dtype="dtype:int32")
    for args in ((3, 4), (3, 4, -1), (4, 2, 1), (0, 3), (3, 3, 5), (-1, 3)):
        yield row("tril_indices", *args)
        yield row("triu_indices", *args)
    yield row("tril_indices", 3, 3, dtype="dtype:int32")
    for data in (
        1,
        2.5,
        True,
        [1, 2],
        [[1.0], [2.0]],
        [],
        [[]],
        [True, 2],
        [1, 2.5],
        np.arange(3, dtype=np.int16),
        [[1], [1, 2]],
        "text",
    ):
        yield row("tensor", data, note=str(data))
        if not isinstance(data, str):
            yield row("as_tensor", data, note=str(data))
            yield row("asarray", data, note=str(data))
    yield row("tensor", [1, 2], dtype="dtype:float16")
    yield row("tensor", 300, dtype="dtype:float64")
    yield row("scalar_tensor", 3)
    yield row("scalar_tensor", 3, dtype="dtype:int64")
    kinds = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
    for a in kinds:
        for b in kinds:
            yield row("promote_types", f"dtype:{a}", f"dtype:{b}")
            yield row("can_cast", f"dtype:{a}", f"dtype:{b}")
    for a in kinds[:3]:
        yield row("finfo", f"dtype:{a}")
    for a in ("uint8", "int8", "int16"):  # PyTorch rounds the others when it prints them
        yield row("iinfo", f"dtype:{a}")
    yield row("finfo", "dtype:int8", wrong=True)
    yield row("iinfo", "dtype:float32", wrong=True)


ROWS = [*rows()]
