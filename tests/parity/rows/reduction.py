"""Reductions, scans, sorting and searching."""

import numpy as np

from tests.parity.compare import DTYPES, D, Row

inf, nan = float("inf"), float("nan")
FLOATS = ("float32", "float64", "float16")
TWO = ("float64", "int64")
NAN = np.array([[1.0, nan, 2.0], [-inf, 3.0, inf]])
TIED = np.array([[2.0, 1.0, 2.0, -1.0], [0.0, 0.0, 5.0, 5.0]])
ONE_DIM = ("prod", "argmax", "argmin", "median", "nanmedian", "max", "min")


def reductions():
    for name in ("sum", "nansum", "mean", "nanmean", "prod", "amax", "amin", "max", "min", "argmax", "argmin",
                 "all", "any", "count_nonzero", "median", "nanmedian", "var", "std", "norm", "logsumexp",
                 "var_mean", "std_mean", "aminmax"):  # fmt: skip
        smooth = name not in ("argmax", "argmin", "all", "any", "count_nonzero")
        many = name not in (*ONE_DIM, "aminmax")
        keeps = name != "count_nonzero"
        options = {"smooth": smooth, "loose": 5}

        def row(*args, name=name, options=options, **kwargs):
            return Row(name, *args, **(options | kwargs))

        if name != "logsumexp":
            for shape in ((2, 3, 4), (5,), (), (0,)):
                # PyTorch: any number as the median of no integers; a gradient of NaN = var of one
                few = name.endswith("median") and shape == (0,)
                one = shape == () and name.startswith("var")
                yield row(D(*shape), dtypes=FLOATS if few else DTYPES, smooth=smooth and not one)
            for array in (NAN, TIED):  # a NaN maximum: ours has NaN gradients, as amax in PyTorch
                stays = array is TIED or name not in ("max", "min", "median", "prod")
                yield row(array, dtypes=("float64",), twice=False, smooth=smooth and stays)
        words = {"dim": True} if name in ("norm", "aminmax") else {}
        for dim in (0, -1, 1, 3, -4):
            d = {"dim": dim} if words else {}
            p = () if words else (dim,)
            yield row(D(2, 3, 4), *p, **d, wrong=dim in (3, -4), dtypes=DTYPES if dim == 0 else TWO)
            if keeps:
                yield row(D(2, 3, 4), *p, **d, keepdim=True, dtypes=TWO, wrong=dim in (3, -4))
        for array in (NAN, TIED)[name == "prod" :]:
            yield row(array, dim=1, dtypes=("float64",), twice=False)
        yield row(D(), dim=0, dtypes=TWO, smooth=smooth and not name.startswith("var"))
        yield row(D(0, 3), dim=0, dtypes=TWO)
        yield row(D(0, 3), dim=1, dtypes=TWO)
        if many:
            for dims in ((0, 2), (1, -1), [0], (0, 0), ()):
                if dims == () and name in ("logsumexp", "var", "std", "var_mean", "std_mean"):
                    continue  # PyTorch: an error, or gradients of another function
                yield row(D(2, 3, 4), dim=dims, dtypes=TWO)
            if name != "norm":
                yield row(D(2, 3, 4), dim=(0, 1, 2), dtypes=TWO)
            if keeps:
                yield row(D(2, 3, 4), dim=(0, -1), keepdim=True, dtypes=TWO)
        if name in ("sum", "nansum", "mean", "nanmean", "prod", "norm"):
            for wanted in ("float64", "float32", "int64", "int32"):
                if name == "norm" and wanted == "float32":
                    continue  # PyTorch refuses what loses digits
                yield row(D(2, 3, low=-2, high=2), dtype=f"dtype:{wanted}", loose=1e5)


def options():
    for p in (0, 1, 2, 3, 1.5, inf, -inf, "fro", -1):
        yield Row("norm", D(3, 4, low=0.2, high=2), p, dtypes=FLOATS, loose=10)
        yield Row("norm", D(3, 4), p, dim=1, dtypes=("float64",), twice=False)
        if p == -1:
            continue  # PyTorch's gradient is 0 beside a 0
        yield Row(
            "norm", np.array([[0.0, 0.0], [0.0, 3.0]]), p, dim=1, dtypes=("float64",), twice=False
        )
    yield Row("norm", D(3, 4), "nuc", dtypes=("float64", "float32"), loose=50)
    for name in ("var", "std", "var_mean", "std_mean"):
        for correction in (0, 1, 2):
            yield Row(
                name, D(3, 4), dim=1, correction=correction, dtypes=("float64", "float32"), loose=5
            )
        yield Row(name, D(3, 4), dim=(0, 1), keepdim=True, dtypes=("float64",), loose=5)
        for unbiased in (True, False):
            yield Row(name, D(3, 4), unbiased, dtypes=("float64",))
            yield Row(name, D(3, 4), dim=0, unbiased=unbiased, dtypes=("float64",))
        yield Row(name, D(3, 4), 1, True, True, dtypes=("float64",))
        yield Row(name, np.full((2, 3), 2.0), dtypes=("float64",), twice=False)
        yield Row(name, D(1), dtypes=("float64",), twice=False)
    for name in ("max", "min"):
        yield Row(name, D(2, 3), D(3))
        yield Row(name, D(2, 3), D(2, 3, dtype="float32"), dtypes=TWO, smooth=False)
    yield Row(
        "logsumexp",
        np.array([[-inf, 1.0], [inf, 0.0], [1000.0, 1000.0]]),
        1,
        dtypes=("float64",),
        twice=False,
    )
    yield Row("logsumexp", D(2, 3, 4), (0, 2), keepdim=True, dtypes=("float64",))
    for name in ("quantile", "nanquantile"):
        for q in (0.0, 0.3, 0.5, 1.0):
            yield Row(name, D(3, 4), q, dtypes=("float64", "float32"), twice=False)
            yield Row(name, D(3, 4), q, dim=1, keepdim=True, dtypes=("float64",), twice=False)
        for how in ("linear", "lower", "higher", "midpoint", "nearest"):
            yield Row(
                name,
                D(3, 4),
                np.array([0.1, 0.5, 0.77]),
                dim=0,
                interpolation=how,
                dtypes=("float64",),
                twice=False,
            )
        yield Row(name, NAN, 0.5, dim=1, dtypes=("float64",), twice=False)
        yield Row(name, D(3), 1.5, dtypes=("float64",), wrong=True)
        yield Row(name, D(3), 0.5, interpolation="no", dtypes=("float64",), wrong=True)


def scans():
    for name in ("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"):
        for dim in (0, 1, -1, 2):
            yield Row(name, D(3, 4, low=-2, high=2), dim, wrong=dim == 2, loose=5)
        yield Row(name, D(), 0, dtypes=TWO)
        yield Row(name, D(0, 3), 0, dtypes=TWO)
        yield Row(name, TIED, 1, dtypes=("float64",), twice=False)
        yield Row(name, NAN, 1, dtypes=("float64",), smooth=False)
        yield Row(name, D(2, 3), wrong=True)
    for name in ("cumsum", "cumprod"):
        yield Row(name, D(2, 3, low=-2, high=2), 1, dtype="dtype:float64", in_place=False)
        yield Row(
            name, D(2, 3, low=-2, high=2), dim=0, dtype="dtype:int32", smooth=False, in_place=False
        )
    yield Row("cumprod", np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 2.0]]), 1, dtypes=("float64",))
    yield Row(
        "prod",
        np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 2.0], [2.0, 3.0, 4.0]]),
        1,
        dtypes=("float64",),
    )
    for n, dim in ((1, -1), (2, 0), (0, 0), (5, 1)):
        yield Row("diff", D(3, 4), n, dim)
    yield Row("diff", D(3, 4), dim=1, prepend=D(3, 1), append=D(3, 2), dtypes=TWO)


def sorts():
    shuffled = np.random.default_rng(0).permutation(24.0 + np.arange(24)).reshape(2, 3, 4)
    for name in ("sort", "argsort"):
        smooth = name == "sort"
        for dim in (-1, 0, 1, 3):
            for descending in (False, True):
                yield Row(
                    name,
                    shuffled,
                    dim,
                    descending,
                    dtypes=("float64",),
                    smooth=smooth,
                    wrong=dim == 3,
                )
        for array in (TIED, NAN):
            yield Row(name, array, dim=1, stable=True, dtypes=("float64",), smooth=smooth)
            yield Row(
                name, array, dim=1, descending=True, stable=True, dtypes=("float64",), smooth=smooth
            )
        yield Row(name, D(7), dim=0, stable=True, smooth=smooth)
        yield Row(name, D(), smooth=smooth, dtypes=TWO)
        yield Row(name, D(0, 3), dim=0, smooth=smooth, dtypes=TWO)
    yield Row("msort", shuffled, dtypes=("float64",))
    for k in (0, 1, 3, 5):
        for options in ({}, {"dim": 0}, {"largest": False}, {"dim": 1, "sorted": True}):
            yield Row("topk", shuffled, k, **options, dtypes=("float64",), note=str(options))
    yield Row("topk", np.array([3, 1, 2]), 2, dtypes=("int64",))
    for k in (1, 3, 4, 0, 5):
        yield Row("kthvalue", shuffled, k, dtypes=("float64",))
        yield Row("kthvalue", shuffled, k, 1, True, dtypes=("float64",))
    for array in (np.array([[1, 2, 2, 3], [4, 4, 1, 1]]), TIED):
        yield Row("mode", array, dtypes=("float64",), twice=False)
        yield Row("mode", array, 0, True, dtypes=("float64",), twice=False)
    yield Row("mode", D(), dtypes=TWO)
    yield Row("mode", D(0), dtypes=TWO, wrong=True)
    edges = np.array([-1.0, 0.0, 0.5, 2.0])
    for right in (False, True):
        yield Row(
            "searchsorted",
            edges,
            D(2, 3),
            right=right,
            dtypes=("float64",),
            smooth=False,
            method=False,
        )
        yield Row(
            "bucketize",
            D(2, 3),
            edges,
            right=right,
            dtypes=("float64",),
            smooth=False,
            method=False,
        )
        yield Row(
            "searchsorted",
            np.sort(D(2, 5).make("float64", np.random.default_rng(0))),
            D(2, 3),
            right=right,
            dtypes=("float64",),
            smooth=False,
            method=False,
        )
    yield Row("searchsorted", edges, 0.2, dtypes=("float64",), smooth=False, method=False)
    yield Row(
        "searchsorted",
        edges,
        edges,
        out_int32=True,
        side="right",
        dtypes=("float64",),
        smooth=False,
        method=False,
    )
    yield Row(
        "bucketize", D(3), edges, out_int32=True, dtypes=("float64",), smooth=False, method=False
    )
    for options in ({}, {"invert": True}, {"assume_unique": False}):
        yield Row(
            "isin",
            D(2, 3),
            D(4),
            **options,
            dtypes=("int64", "int8"),
            smooth=False,
            method=False,
            note=str(options),
        )
    yield Row("isin", D(2, 3), 2, dtypes=("int64",), smooth=False, method=False)
    yield Row("isin", 2, D(4), dtypes=("int64",), smooth=False, method=False)
    counts = np.array([[3, 1, 2], [1, 1, 3]])
    for name in ("unique", "unique_consecutive"):
        for options in ({}, {"return_inverse": True}, {"return_counts": True}, {"return_inverse": True, "return_counts": True},
                        {"dim": 0}, {"dim": 1, "return_counts": True, "return_inverse": True}):  # fmt: skip
            yield Row(name, counts, **options, dtypes=("int64",), smooth=False, note=str(options))
        yield Row(name, D(6), smooth=False)
        yield Row(name, D(0), dtypes=TWO, smooth=False)
    yield Row("bincount", np.array([0, 1, 1, 4]), dtypes=("int64",), smooth=False)
    yield Row("bincount", np.array([0, 1, 1, 4]), minlength=8, dtypes=("int64",), smooth=False)
    yield Row(
        "bincount",
        np.array([0, 1, 1, 4]),
        np.array([0.5, 1.0, 2.0, 3.0]),
        dtypes=("int64",),
        smooth=False,
    )
    yield Row("bincount", np.array([-1, 1]), dtypes=("int64",), wrong=True)
    yield Row("bincount", np.array([[1, 1]]), dtypes=("int64",), wrong=True)
    yield Row("histc", D(20), 5, -2, 2, dtypes=("float64", "float32"), smooth=False)
    yield Row("histc", D(20), bins=4, dtypes=("float64", "float32"), smooth=False)
    yield Row("nonzero", np.array([[0, 2], [3, 0]]), dtypes=("int64",), smooth=False)
    yield Row("nonzero", np.array([[0, 2], [3, 0]]), as_tuple=True, dtypes=("int64",), smooth=False)
    for shape in ((), (0, 3), (3,)):
        yield Row("nonzero", D(*shape), dtypes=TWO, smooth=False)
        yield Row("argwhere", D(*shape), dtypes=TWO, smooth=False)
    for dim in (0, -1, 2):
        for name in ("softmax", "log_softmax"):
            yield Row(name, D(3, 4), dim, dtypes=(*FLOATS, "int64"), wrong=dim == 2, loose=5)
    for name in ("softmax", "log_softmax"):
        yield Row(name, D(3, 4), 1, dtype="dtype:float64", loose=5)
        yield Row(name, D(), 0, dtypes=("float64",))
        yield Row(
            name,
            np.array([[inf, 1.0], [-inf, -inf], [1000.0, 0.0]]),
            1,
            dtypes=("float64",),
            twice=False,
        )


ROWS = [*reductions(), *options(), *scans(), *sorts()]
