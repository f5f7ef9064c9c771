"""Every op family, in the order of their imports. A new family is added here and nowhere else.

Each family module says what it offers: ``__all__`` are the names of the ``cf`` namespace,
``METHODS`` those that are also methods of Tensor, ``INPLACE`` those with a form ``name_``.
"""

from __future__ import annotations

from contraflow.ops import (
    accumulate,
    activation,
    arith,
    blend,
    cast,
    chains,
    conv,
    conv_records,
    creation,
    cross_entropy,
    decompose,
    distances,
    einsum,
    extrema,
    fold,
    fused_loss,
    gelu,
    index,
    index_records,
    join,
    linalg,
    logic,
    matmul,
    matrix_exp,
    mode,
    normalize_records,
    parts,
    poisson,
    pool_records,
    products,
    quantile,
    random,
    reduce,
    repeats,
    resample,
    rounding,
    scan,
    shape,
    softmax,
    sort,
    special,
    statistics,
    transcendental,
    view,
)

__all__ = ["ALL"]

ALL = (
    accumulate, activation, arith, blend, cast, chains, conv, conv_records, creation,
    cross_entropy, decompose, distances, einsum, extrema, fold, fused_loss, gelu, index,
    index_records, join, linalg, logic, matmul, matrix_exp, mode, normalize_records, parts,
    poisson, pool_records, products, quantile, random, reduce, repeats, resample, rounding, scan,
    shape, softmax, sort, special, statistics, transcendental, view,
)  # fmt: skip
