"""Shapes, joining and splitting, indexing by functions."""

import numpy as np

from tests.parity.compare import D, Row

TWO = ("float64", "int64")
ONE = ("float64",)


def row(name, *args, **options):
    return Row(name, *args, **({"dtypes": TWO} | options))


def views():
    for shape in ((6, 4), (-1, 3), (2, -1, 2), (24,), (5, -1), (-1, -1), (7,), (2, 3, 4)):
        yield row("reshape", D(2, 3, 4), shape)
    yield row("reshape", D(), (1, 1))
    yield row("reshape", D(0, 3), (3, 0))
    yield row("reshape", D(0, 3), (-1,))
    for args in ((), (1,), (0, 1), (1, -1), (-2,), (2, 1), (3,)):
        yield row("flatten", D(2, 3, 4), *args)
    yield row("flatten", D())
    yield row("ravel", D(2, 3))
    for args in ((1, (3, 4)), (-1, (-1, 6)), (0, (2, 1)), (1, (5, 2)), (3, (2,))):
        yield row("unflatten", D(2, 12), *args)
    for args in ((), (0,), (1,), (-1,), ((0, 2),), (3,), ((0, 0),)):
        yield row("squeeze", D(1, 3, 1), *args)
    yield row("squeeze", D(), 0)
    for dim in (0, 1, 2, -1, -3, 3, -4):
        yield row("unsqueeze", D(2, 3), dim)
    for dims in ((2, 0, 1), (0, 1, 2), (-1, 0, 1), (0, 1), (0, 0, 1), (0, 1, 3)):
        yield row("permute", D(2, 3, 4), dims)
    for name in ("transpose", "swapaxes", "swapdims"):
        for dims in ((0, 1), (-1, 0), (1, 1), (0, 3)):
            yield row(name, D(2, 3, 4), *dims)
        yield row(name, D(), 0, 0)
    for shape in ((2, 3), (4,), (), (2, 3, 4)):
        yield row("t", D(*shape))
        yield row("adjoint", D(*shape), smooth=len(shape) > 1)
    for name in ("movedim", "moveaxis"):
        for dims in ((0, 2), ((0, 1), (1, 0)), (-1, 0), ((0, 0), (1, 2)), ((0,), (1, 2)), (3, 0)):
            yield row(name, D(2, 3, 4), *dims)
    for shape in ((4, 2, 3), (2, 3), (-1, 3), (3,), (2, 4), (0, 2, 3)):
        yield row("broadcast_to", D(2, 3), shape)
    yield row("broadcast_to", D(1, 3), (0, 3))
    yield row("broadcast_tensors", D(3, 1), D(4), method=False)
    yield row("broadcast_tensors", D(3, 2), D(4), method=False)
    yield Row("broadcast_shapes", (3, 1), (4,), (2, 1, 1), dtypes=ONE, smooth=False, method=False)
    for dims in ((2,), (2, 3), (1, 2, 3), (0, 1), (-1,)):
        yield row("tile", D(2, 3), dims)
    for dims in ((0,), (0, 1), (-1,), (2,), (0, 0)):
        yield row("flip", D(2, 3), dims)
    for name in ("fliplr", "flipud"):
        yield row(name, D(2, 3))
        yield row(name, D(3))
    for k in (0, 1, 2, 3, -1, 5):
        yield row("rot90", D(2, 3), k)
    yield row("rot90", D(2, 3, 4), 1, (2, 0))
    yield row("rot90", D(3))
    for args in ((1,), (-1, 0), ((1, 2), (0, 1)), (7, 1), ((1, 2), 0)):
        yield row("roll", D(3, 4), *args)
    for args in ((0, 1, 1), (1, 0, 0), (1, -2, 2), (0, 1, 3), (2, 0, 1)):
        yield row("narrow", D(2, 3), *args)
    for args in ((0, 1), (1, -1), (-1, 0), (0, 2), (2, 0)):
        yield row("select", D(2, 3), *args)
        yield row("select_scatter", D(2, 3), D(3 if args[0] == 0 else 2), *args)
    for args in ((0, 1), (1, 0, 2), (1, None, None, 2), (1, -2)):
        yield row("slice_scatter", D(2, 4), D(1, 4) if args[0] == 0 else D(2, 2), *args)
    for args in ((), (1,), (-1,), (3,), (0, 1, 0), (0, -1, -2), (0, 0, 0)):
        yield row("diagonal", D(3, 4), *args)
        yield row("diagonal", D(2, 3, 4), *args)
    yield row("diagonal_scatter", D(3, 3), D(3))
    yield row("diagonal_scatter", D(3, 4), D(2), 2)
    yield row("diagonal_scatter", D(3, 4), D(4))
    for args in ((), (1,), (-2,)):
        yield row("diag", D(3), *args)
        yield row("diag", D(3, 4), *args)
        yield row("diagflat", D(2, 2), *args)
        yield row("diag_embed", D(2, 3), *args)
        for name in ("tril", "triu"):
            yield row(name, D(3, 4), *args)
            yield row(name, D(2, 3, 3), *args)
    yield row("diag_embed", D(2, 3), 0, 0, 2)
    yield row("tril", D(3))
    yield row("triu", D(0, 3))
    for name in ("atleast_1d", "atleast_2d", "atleast_3d"):
        for shape in ((), (3,), (2, 3), (2, 3, 4)):
            yield row(name, D(*shape), method=False)
    yield row("atleast_2d", [D(3), D()], method=False)


def joining():
    for name in ("cat", "concat", "concatenate"):
        for parts, dim in (((D(2, 3), D(1, 3)), 0), ((D(2, 3), D(2, 1)), 1), ((D(2, 3), D(2, 2)), -1), ((D(2, 3),), 0),
                           ((D(2, 3), D(2, 2)), 0), ((D(2, 3), D(0)), 0), ((), 0), ((D(2, 3),), 2)):  # fmt: skip
            yield row(name, list(parts), dim, method=False)
        yield row(name, [D(2, dtype="int8"), D(3, dtype="float32")], method=False, smooth=False)
    for dim in (0, 1, -1, 2, 3):
        yield row("stack", [D(2, 3), D(2, 3)], dim, method=False)
    yield row("stack", [D(2, 3), D(2, 2)], method=False)
    yield row("stack", [], method=False)
    for name in ("hstack", "vstack", "dstack", "column_stack", "row_stack"):
        yield row(name, [D(3), D(3)], method=False)
        yield row(name, [D(2, 3), D(2, 3)], method=False)
        yield row(name, [D(), D()], method=False)
    for args in ((2,), (2, 1), ([1, 2],), ([1, 2, 0], 1), ([2, 2],), (0,), (-1,), (2, 3)):
        yield row("split", D(3, 4) if args != ([1, 2, 0], 1) else D(4, 3), *args)
    for args in ((2,), (5,), (2, 1), (3, -1), (0,)):
        yield row("chunk", D(4, 5), *args)
    for args in ((2,), (3, 1), ([1, 3],), ((2,), 1), ([5],), (0,)):
        yield row("tensor_split", D(4, 5), *args)
    for name in ("hsplit", "vsplit", "dsplit"):
        for args in ((2,), ([1],), (3,)):
            yield row(name, D(2, 2, 2), *args)
    yield row("hsplit", D(4), 2)
    yield row("vsplit", D(4), 2)
    for dim in (0, 1, -1, 2):
        yield row("unbind", D(2, 3), dim)
    for indexing in ("ij", "xy"):
        yield row("meshgrid", D(2), D(3), indexing=indexing, method=False)
    yield row("cartesian_prod", D(2), D(3), method=False)
    yield row("cartesian_prod", D(2), method=False)
    yield row("block_diag", D(2, 2), D(3), D(1, 2), method=False)
    for args in ((2,), (2, 0), (3, 1), (np.array([1, 0, 2]), 1), (np.array([2]),), (-1,)):
        yield row("repeat_interleave", D(2, 3), *args)
    yield row("repeat_interleave", np.array([1, 0, 2]), method=False)


INDEX = np.array([[0, 1, 1], [1, 0, 0]])


def indexing():
    yield row("gather", D(2, 3), 0, INDEX)
    yield row("gather", D(2, 3), 1, INDEX[:, :2])
    yield row("gather", D(2, 3), -1, INDEX)
    yield row("gather", D(2, 3), 0, INDEX + 1)
    yield row("gather", D(2, 3), 2, INDEX)
    yield row("gather", D(2, 3), 0, INDEX[0])
    yield row("gather", D(), 0, np.array(0))
    yield row("gather", D(2, 3), 0, np.zeros((0, 3), np.int64))
    yield row("gather", D(2, 3), 0, np.zeros((2, 3)), wrong=True)
    unique = np.array([[0, 1, 0], [1, 0, 1]])
    for name in ("scatter", "scatter_add"):
        yield row(name, D(2, 3), 0, unique, D(2, 3))
        yield row(name, D(2, 3), 0, unique[:1], D(2, 3), smooth=False)  # PyTorch: no gradient
        yield row(name, D(2, 3), 0, unique + 1, D(2, 3))
        yield row(name, D(2, 3), 2, unique, D(2, 3))
        yield row(name, D(2, 3), 1, np.array([[0, 2], [1, 0]]), D(2, 2))
    yield row("scatter_add", D(2, 3), 0, INDEX * 0, D(2, 3))
    yield row("scatter", D(2, 3), 0, unique, 5)
    yield row("scatter", D(2, 3), 0, unique, value=2)
    yield row("scatter", D(2, 3), 0, INDEX * 0, D(2, 3), reduce="add", smooth=False)
    yield row("scatter", D(2, 3), 0, unique, D(2, 3), reduce="multiply", smooth=False)
    for reduce in ("sum", "prod", "mean", "amax", "amin", "no"):
        for include in (True, False):
            yield row("scatter_reduce", D(2, 3), 0, INDEX, D(2, 3), reduce, include_self=include,
                      twice=reduce in ("sum", "mean"), smooth=include or reduce != "amin")  # fmt: skip
    for index in (
        np.array([1, 0, 1]),
        np.array([0]),
        np.array([], np.int64),
        np.array([3]),
        np.array([-1]),
    ):
        yield row("index_select", D(2, 3), 0, index)
        yield row("index_add", D(2, 3), 0, index, D(len(index), 3))
        if len(set(index.tolist())) == len(index):
            yield row("index_copy", D(2, 3), 0, index, D(len(index), 3))
        yield row("index_fill", D(2, 3), 0, index, 7)
    yield row("index_select", D(2, 3), -1, np.array([2, 0]))
    yield row("index_add", D(2, 3), 1, np.array([2, 0]), D(2, 2), alpha=2)
    yield row("index_add", D(2, 3), 0, np.array([0, 1]), D(2, 2))
    yield row("index_fill", D(2, 3), 1, np.array([0]), D())
    yield row("index_put", D(2, 3), (np.array([0, 1]), np.array([2, 0])), D(2), smooth=False)
    yield row("index_put", D(2, 3), (np.array([0, 0]), np.array([2, 2])), D(2), accumulate=True)
    yield row("index_put", D(2, 3), (np.array([0, 1]), np.array([2, 0])), D(2))
    mask = np.array([[True, False, True], [False, True, False]])
    for value in (7, 0.5, True):
        yield row("masked_fill", D(2, 3), mask, value)
    yield row("masked_fill", D(2, 3), mask[0], D())
    yield row("masked_fill", D(2, 3), mask, D(3))
    yield row("masked_fill", D(2, 3), mask.astype(np.int64), 1)
    yield row("masked_select", D(2, 3), mask)
    yield row("masked_select", D(2, 3), mask[0])
    yield row("masked_select", D(2, 3), mask[:, :2])
    yield row("masked_scatter", D(2, 3), mask, D(4))
    yield row("masked_scatter", D(2, 3), mask[0], D(5))
    yield row("masked_scatter", D(2, 3), mask, D(2))
    yield row("masked_scatter", D(2, 3), mask, D(4, dtype="float32"))
    for index in (np.array([0, 5, 2]), np.array([[-1, 1]]), np.array(3), np.array([6])):
        yield row("take", D(2, 3), index)
    order = np.array([[2, 0, 1], [0, 2, 1]])
    yield row("take_along_dim", D(2, 3), order, 1)
    yield row("take_along_dim", D(2, 3), order[:1], 1)
    yield row("take_along_dim", D(2, 3), np.array([5, 0]))
    yield row("clone", D(2, 3))
    yield row("positive", D(2, 3))
    yield row("result_type", D(2), D(dtype="float32"), smooth=False, method=False)
    yield row("result_type", D(2), 1.5, smooth=False, method=False)
    yield row("numel", D(2, 3), smooth=False)
    for name in ("is_floating_point", "is_complex", "is_signed"):
        yield Row(name, D(2), smooth=False)
    yield Row("is_nonzero", D(1), smooth=False)
    yield Row("is_nonzero", D(2), wrong=True)
    yield Row("is_same_size", D(2), D(3), smooth=False)
    yield Row("is_tensor", D(2), smooth=False, method=False)


ROWS = [*views(), *joining(), *indexing()]
