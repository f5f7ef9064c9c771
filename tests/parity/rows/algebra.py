"""Products and linear algebra."""

import numpy as np

from tests.parity.compare import D, Row

FEW = ("float64", "float32", "int64")
REAL = ("float64", "float32")
ONE = ("float64",)
inf = float("inf")


def row(name, *args, **options):
    return Row(name, *args, **({"dtypes": FEW, "loose": 10} | options))


def well(*shape, seed=0):
    """A matrix that has an inverse."""
    return np.random.default_rng(seed).uniform(-1, 1, shape) + 3 * np.eye(shape[-1])


def definite(*shape, seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, shape)
    return x @ x.swapaxes(-1, -2) + np.eye(shape[-1])


def products():
    for name in ("matmul", "linalg.matmul"):
        for a, b in (((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 1)),
                     ((5, 1, 2, 3), (4, 3, 2)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2)), ((2, 0), (0, 3)), ((0, 2), (2, 3)),
                     ((2, 3), (2, 3)), ((), (3,)), ((3,), (4,)), ((2, 2, 3), (3, 3, 1))):  # fmt: skip
            yield row(name, D(*a), D(*b))
    yield row("matmul", D(2, 3), D(3, 2, dtype="float16"), dtypes=("float32",))
    yield row("mm", D(2, 3), D(3, 4))
    yield row("mm", D(2, 3), D(3))
    yield row("bmm", D(2, 3, 4), D(2, 4, 1))
    yield row("bmm", D(2, 3, 4), D(1, 4, 1))
    yield row("bmm", D(3, 4), D(4, 1))
    yield row("mv", D(2, 3), D(3))
    yield row("mv", D(2, 3), D(2))
    for name in ("dot", "vdot", "inner", "outer", "ger"):
        yield row(name, D(3), D(3))
    yield row("dot", D(3), D(2))
    yield row("dot", D(2, 3), D(2, 3))
    yield row("inner", D(2, 3), D(4, 3))
    yield row("inner", D(2, 3), D())
    yield row("inner", D(2, 3), D(2))
    yield row("outer", D(2), D(3))
    yield row("outer", D(2, 2), D(3))
    yield row("kron", D(2, 2), D(1, 3))
    yield row("kron", D(2), D(2, 2))
    yield row("trace", D(3, 3))
    yield row("trace", D(2, 4))
    yield row("trace", D(3))
    for name, shapes in {"addmm": ((2, 4), (2, 3), (3, 4)), "addmv": ((2,), (2, 3), (3,)),
                         "addr": ((2, 3), (2,), (3,)), "baddbmm": ((2, 3, 1), (2, 3, 4), (2, 4, 1)),
                         "addbmm": ((3, 1), (2, 3, 4), (2, 4, 1))}.items():  # fmt: skip
        yield row(name, *(D(*s) for s in shapes))
        yield row(name, *(D(*s) for s in shapes), beta=2, alpha=3)
        yield row(name, *(D(*s) for s in shapes), beta=0.5, alpha=-1.5, dtypes=REAL)
        yield row(name, D(1), *(D(*s) for s in shapes[1:]), in_place=False)
        yield row(name, D(7), *(D(*s) for s in shapes[1:]))
    for dims in (1, 2, 0, ([1, 2], [1, 0]), ([0], [2]), 5):
        yield row(
            "tensordot", D(2, 3, 4), D(3, 4, 2) if dims == 2 else D(4, 3, 2), dims, method=False
        )
    for formula, shapes in (
        ("ij,jk->ik", ((2, 3), (3, 4))), ("ij->ji", ((2, 3),)), ("ii->i", ((3, 3),)), ("ii", ((3, 3),)), ("i,i->", ((3,), (3,))),
        ("i,j", ((2,), (3,))), ("bij,bjk->bik", ((2, 3, 4), (2, 4, 1))), ("...ij,jk->...ik", ((2, 3, 4), (4, 2))),
        ("ij,ij->j", ((2, 3), (2, 3))), ("abc,cd,de->abe", ((2, 2, 3), (3, 2), (2, 4))), ("ij->", ((2, 3),)),
        ("ij,jk", ((2, 3), (3, 4))), ("i...->...", ((2, 3),)), ("ij,kj->ik", ((2, 3), (3, 4))), ("ij->ik", ((2, 3),)),
        ("ij,jk->ik", ((2, 3),)), ("bhqd,bhkd->bhqk", ((1, 2, 3, 4), (1, 2, 2, 4))), ("ij,j->ij", ((2, 3), (3,))),
    ):  # fmt: skip
        yield row("einsum", formula, *(D(*s) for s in shapes), method=False)
    yield row("chain_matmul", D(2, 3), D(3, 4), D(4, 1), method=False)
    for tensors in (
        [D(2, 3), D(3, 4), D(4, 1)],
        [D(3), D(3, 2), D(2)],
        [D(2, 3), D(3, 2)],
        [D(2, 3), D(2, 3)],
    ):
        yield row("linalg.multi_dot", tensors, dtypes=REAL)
    for n in (0, 1, 2, 3, 5):
        yield row("matrix_power", D(3, 3), n, dtypes=REAL, loose=100, smooth=n > 0)
        yield row("linalg.matrix_power", well(2, 3, 3), n, dtypes=ONE, loose=100, smooth=n > 0)
        yield row("linalg.matrix_power", well(3, 3), -n, dtypes=ONE, loose=100, smooth=n > 0)
    yield row("matrix_power", D(2, 3), 2, dtypes=REAL)
    for args in ((), (1,), (-1,)):
        yield row("cross", D(2, 3), D(2, 3), *(args or (1,)))
    yield row("cross", D(3, 2), D(3, 2), dim=0)
    yield row("linalg.cross", D(2, 3), D(1, 3))
    yield row("linalg.cross", D(2, 4), D(2, 4))
    yield row("linalg.vecdot", D(2, 3), D(3))
    yield row("linalg.vecdot", D(2, 3), D(2, 3), dim=0)
    yield row("linalg.diagonal", D(2, 3, 4))
    yield row("linalg.diagonal", D(2, 3, 4), offset=1)


def equations():
    one = {"dtypes": ONE, "loose": 100}
    for x in (well(3, 3), well(2, 2, 2), well(1, 1), np.zeros((0, 0)), np.zeros((0, 2, 2))):
        smooth = bool(x.size)
        for name in (
            "det",
            "linalg.det",
            "slogdet",
            "linalg.slogdet",
            "logdet",
            "inverse",
            "linalg.inv",
        ):
            if smooth or name not in ("slogdet", "logdet", "linalg.slogdet"):
                yield row(name, x, smooth=smooth, **one)
    for name in (
        "det",
        "logdet",
        "slogdet",
        "inverse",
        "linalg.inv",
        "linalg.cholesky",
        "linalg.eigh",
        "cholesky",
    ):
        yield row(name, np.ones((2, 3)), wrong=True, **one)
        yield row(name, np.ones(3), wrong=True, **one)
        yield row(name, np.ones((2, 2), np.int64), wrong=True, **one)
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    # PyTorch's gradient of the determinant of a singular matrix is 0; tests/ops/test_linalg.py
    yield row("det", singular, smooth=False, **one)
    yield row("det", np.zeros((2, 2)), twice=False, **one)
    yield row("det", np.arange(9.0).reshape(3, 3), smooth=False, **one)
    yield row("logdet", np.diag([1.0, -1.0]), smooth=False, **one)
    yield row("slogdet", singular, smooth=False, **one)
    yield row("inverse", singular, wrong=True, **one)
    for a, b in ((well(3, 3), D(3)), (well(3, 3), D(3, 2)), (well(2, 3, 3), D(3, 2)), (well(2, 3, 3), D(2, 3)), (well(3, 3), D(2, 3, 1)),
                 (well(3, 3), D(4)), (singular, D(2))):  # fmt: skip
        yield row("linalg.solve", a, b, **one)
    yield row("linalg.solve", well(3, 3), D(2, 3), left=False, **one)
    for upper in (True, False):
        for left, b in ((True, D(3, 2)), (False, D(2, 3))):
            for unit in (False, True):
                yield row(
                    "linalg.solve_triangular",
                    well(3, 3),
                    b,
                    upper=upper,
                    left=left,
                    unitriangular=unit,
                    **one,
                )
        yield row("cholesky", definite(3, 3), upper, **one)
        yield row("linalg.cholesky", definite(2, 3, 3), upper=upper, **one)
        lower = np.linalg.cholesky(definite(3, 3))
        yield row(
            "cholesky_solve",
            D(3, 2),
            lower.T.copy() if upper else lower,
            upper,
            smooth=False,
            **one,
        )
    yield row("linalg.cholesky", np.diag([1.0, -1.0]), wrong=True, **one)
    yield row("linalg.cholesky", np.stack([np.eye(2), -np.eye(2)]), wrong=True, **one)
    for shape in ((3, 2), (2, 3), (3, 3), (2, 4, 2)):
        yield row("linalg.pinv", D(*shape), **one)
        yield row("pinverse", D(*shape), **one)
        yield row("linalg.matrix_rank", D(*shape), smooth=False, **one)
        yield row("linalg.svdvals", D(*shape), **one)
        for order in ("fro", "nuc", 1, -1, inf, -inf, 2, -2):
            yield row("linalg.matrix_norm", D(*shape), order, **one)
    yield row("linalg.matrix_norm", D(2, 3, 4), 1, dim=(0, 2), keepdim=True, **one)
    yield row("linalg.matrix_norm", D(2, 3, 4), "nuc", dim=(2, 0), **one)
    yield row("linalg.matrix_norm", D(3), wrong=True, **one)
    yield row("linalg.matrix_norm", D(3, 3), 3, wrong=True, **one)
    yield row("linalg.pinv", np.ones((3, 2)), smooth=False, **one)
    yield row("linalg.pinv", D(3, 2), rtol=0.3, smooth=False, **one)
    yield row("linalg.pinv", definite(3, 3), hermitian=True, smooth=False, **one)
    yield row("linalg.matrix_rank", np.ones((3, 3)), smooth=False, **one)
    yield row("linalg.matrix_rank", np.diag([3.0, 1.0, 0.1]), tol=0.5, smooth=False, **one)
    yield row("linalg.matrix_rank", np.diag([3.0, 1.0, 0.1]), rtol=0.1, smooth=False, **one)
    for order in (None, 2, 1, 0, 3, inf, -inf, -1, 1.5):
        x = D(3, 4, low=0.3, high=3)
        for name in ("linalg.vector_norm", "linalg.norm"):
            args = () if order is None else (order,)
            yield row(name, x, *args, dim=1, **one)
            yield row(name, x, *args, dim=-1, keepdim=True, **one)
            yield row(name, D(5, low=0.3, high=3), *args, **one)
    yield row("linalg.vector_norm", D(2, 3, 4), **one)
    yield row("linalg.vector_norm", D(2, 3, 4), 3, (0, 2), **one)
    yield row("linalg.vector_norm", D(2, 3), dtype="dtype:float64", dtypes=REAL, loose=1e5)
    for order in (None, "fro", "nuc", 1, 2, -2, inf):
        yield row("linalg.norm", D(3, 3), *(() if order is None else (order,)), **one)
    yield row("linalg.norm", D(2, 3, 3), "fro", dim=(1, 2), **one)
    yield row("linalg.norm", D(2, 3, 3), 2, wrong=True, **one)
    for p in (None, 2, -2, 1, inf, "fro", "nuc"):
        yield row(
            "linalg.cond",
            well(3, 3),
            *(() if p is None else (p,)),
            twice=False,
            smooth=p in (None, 2, -2, "nuc"),
            **one,
        )
    yield row("linalg.eigvalsh", definite(3, 3), **one)
    yield row("linalg.eigvalsh", np.eye(3), twice=False, **one)
    yield row("linalg.svdvals", np.eye(3), twice=False, **one)
    for x in (well(3, 3), well(2, 2, 2)):
        yield row("matrix_exp", x, **one)
        yield row("linalg.matrix_exp", x, **one)
        # Signs of vectors are free, and PyTorch's LAPACK chooses as NumPy's does
        yield row("linalg.qr", x, **one)
        yield row("linalg.svd", x, **one)
    for driver in ("gelsy", "gelsd"):
        yield row("linalg.lstsq", D(4, 2), D(4, 3), driver=driver, smooth=False, **one)
        yield row("linalg.lstsq", D(2, 4), D(2, 3), driver=driver, smooth=False, **one)


ROWS = [*products(), *equations()]
