"""What exists as a method only."""

import numpy as np

from tests.parity.compare import DTYPES, D, Row

TWO = ("float64", "int64")


def row(name, *args, **options):
    return Row(f"Tensor.{name}", *args, **({"dtypes": TWO, "method": False} | options))


def writing(name, *args, **options):
    return row(name, *args, writes=True, smooth=False, **options)


def rows():
    for name in ("bool", "byte", "char", "double", "float", "half", "int", "long", "short"):
        yield row(name, D(2, 3, low=0, high=3), dtypes=DTYPES, smooth=name == "double")
    for name in ("contiguous", "cpu", "detach", "share_memory_"):
        yield row(name, D(2, 3))
    for name in ("dim", "ndimension", "nelement", "element_size", "is_contiguous", "size", "stride", "tolist", "get_device",
                 "storage_offset"):  # fmt: skip
        yield row(name, D(2, 3), smooth=False)
    yield row("size", D(2, 3), -1, smooth=False)
    yield row("size", D(2, 3), 2, smooth=False)
    yield row("stride", D(2, 3), 0, smooth=False)
    yield row("item", D(1), smooth=False)
    yield row("item", D(2), smooth=False)
    for sizes in ((4, 2, 3), (-1, -1), (2, -1), (3,), (2, 4), (-1, 2, 3)):
        yield row("expand", D(2, 1) if sizes == (2, 4) else D(2, 3), *sizes)
        yield row("expand", D(2, 3), sizes)
    yield row("expand_as", D(1, 3), D(2, 3))
    yield row("expand_as", D(2, 3), D(3))
    for counts in ((2, 3), (1, 2, 3), (2,), (0, 1)):
        yield row("repeat", D(2, 3), *counts)
        yield row("repeat", D(2, 3), counts)
    yield row("reshape", D(2, 3), 3, 2)
    yield row("reshape", D(2, 3), -1)
    yield row("reshape_as", D(2, 3), D(3, 2))
    yield row("permute", D(2, 3, 4), 2, 0, 1)
    yield row("flip", D(2, 3), 0, 1)
    yield row("view", D(2, 3), 3, 2)
    yield row("view", D(2, 3), (-1,))
    yield row("view", D(2, 3), 4)
    yield row("view_as", D(2, 3), D(3, 2))
    for args in ((0, 2, 1), (1, 2, 2), (1, 4, 1), (0, 3, 1), (2, 1, 1), (0, 0, 1), (0, 1, 0)):
        yield row("unfold", D(2, 3), *args)
    yield row("where", D(3), np.array([True, False, True]), D(3))
    yield row("where", D(3), np.array([True, False, True]), 2.5)
    yield row("polygamma", D(3, low=0.5, high=2), 1, loose=50)
    for wanted in ("float32", "int64", "bool"):
        yield row("to", D(2, 3), f"dtype:{wanted}", smooth=False, dtypes=DTYPES)
        yield row("type", D(2, 3), f"dtype:{wanted}", smooth=False)
    yield row("to", D(2, 3), "cpu")
    yield row("to", D(2, 3), D(1, dtype="float32"), smooth=False)
    yield row("type_as", D(2, 3), D(1, dtype="int32"), smooth=False)
    for name in ("new_ones", "new_zeros"):
        yield row(name, D(2), 2, 3, dtypes=("float64", "int8"), smooth=False)
        yield row(name, D(2), (2, 3), dtype="dtype:float32", smooth=False)
    yield row("new_full", D(2), (2, 3), 4, dtypes=("float64", "int8"), smooth=False)
    yield row("new_empty", D(2), (0, 3), smooth=False)
    yield row("new_tensor", D(2), [1, 2], dtypes=("float64", "int8"), smooth=False)
    for value in (2, 2.5, True):
        yield writing("fill_", D(2, 3), value, dtypes=("float64", "float32"))
    yield writing("fill_", D(2, 3), 2, dtypes=DTYPES)
    yield writing("fill_", D(2, 3), D(), dtypes=DTYPES)
    yield writing("fill_", D(2, 3), D(3))
    yield writing("zero_", D(2, 3), dtypes=DTYPES)
    for source in (D(2, 3), D(3), D(1, 1), D(2), D(2, 2, 3)):
        yield writing("copy_", D(2, 3), source)
    yield writing("copy_", D(2, 3), D(3, dtype="int32"))
    yield writing("copy_", D(2, 3), D(3, dtype="float32"))
    for shape, wrap in (
        ((3, 3), False),
        ((4, 2), True),
        ((7, 2), True),
        ((2, 4), False),
        ((2, 2, 2), False),
        ((2, 3, 3), False),
        ((3,), False),
    ):
        yield writing("fill_diagonal_", D(*shape), 7, wrap)
    yield writing("detach_", D(2, 3))
    yield writing("squeeze_", D(1, 3))
    yield writing("squeeze_", D(2, 3))
    yield writing("squeeze_", D(1, 3), 0)
    yield writing("unsqueeze_", D(2, 3), 1)
    yield writing("unsqueeze_", D(2, 3), 5)
    yield writing("t_", D(2, 3))
    for name in ("transpose_", "swapaxes_", "swapdims_"):
        yield writing(name, D(2, 3, 4), 0, 2)
    for name in ("__and__", "__or__", "__xor__", "__lshift__", "__rshift__"):
        yield row(
            name, D(3, low=0, high=4), D(3, low=0, high=4), dtypes=("int64", "bool"), smooth=False
        )
    for name in ("__add__", "__sub__", "__mul__", "__truediv__", "__floordiv__", "__mod__", "__pow__", "__radd__", "__rsub__",
                 "__rmul__", "__rtruediv__", "__rpow__", "__rfloordiv__", "__rmod__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__",
                 "__ge__", "__iadd__", "__isub__", "__imul__", "__itruediv__"):  # fmt: skip
        options = {"writes": True, "smooth": False} if name[2] == "i" else {}
        smooth = {} if options else {"smooth": name not in ("__floordiv__", "__rfloordiv__")}
        for other in (D(3, low=1, high=3), 2, 2.5):
            yield row(
                name,
                D(2, 3, low=1, high=4),
                other,
                dtypes=("float64", "float32", "int64", "int8"),
                **options,
                **smooth,
            )
    for name in ("__neg__", "__pos__", "__abs__", "__invert__"):
        yield row(name, D(3), dtypes=DTYPES, smooth=False)
    yield row("__matmul__", D(2, 3), D(3))
    yield row("__rmatmul__", D(3), D(2, 3))
    for name in ("__float__", "__int__", "__bool__", "__index__", "__len__"):
        for shape in ((), (1,), (2,)):
            yield row(name, D(*shape), smooth=False)
    yield row("__contains__", D(3), 1.0, smooth=False)


ROWS = [*rows()]
