"""No public function or method is left out of the tables, and each takes PyTorch's arguments."""

import inspect

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.overrides import get_testing_overrides  # noqa: E402

import contraflow as cf  # noqa: E402
from contraflow.ops.record import Op  # noqa: E402
from tests.parity import compare as c  # noqa: E402
from tests.parity.rows import ROWS  # noqa: E402

NAMES = {row.name for row in ROWS}
# Covered elsewhere, because a table of values does not fit them.
RANDOM = {
    "bernoulli", "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "randperm", "Generator", "get_rng_state", "set_rng_state", "initial_seed", "manual_seed", "seed",
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_",
}  # fmt: skip # tests/tensor/test_random.py
ELSEWHERE = {
    "tests/tensor/test_autograd.py": {"enable_grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled",
                                      "backward", "grad", "grad_fn", "is_leaf", "register_hook", "requires_grad",
                                      "requires_grad_", "retain_grad", "retains_grad", "_version", "_base", "_grad"},
    "tests/tensor/test_func.py": {"vmap"},
    "tests/interop": {"load", "save"},
    "tests/compiler": {"compile"},
    "tests/parity/test_tensor.py": {
        "H", "T", "mH", "mT", "cuda", "data", "data_ptr", "device", "dtype", "from_dlpack", "from_numpy",
        "get_default_dtype", "is_cpu", "is_cuda", "is_sparse", "itemsize", "nbytes", "ndim", "numpy",
        "pin_memory", "set_default_dtype", "shape", "Size", "Tensor"},
    "tests/parity/test_distances.py": {"cdist", "corrcoef", "cov", "cumulative_trapezoid", "dist", "histogram",
                                       "trapezoid", "trapz"},
    "tests/parity/test_scripts.py": {
        "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "GradScaler", "HalfTensor", "IntTensor",
        "LongTensor", "ShortTensor", "are_deterministic_algorithms_enabled", "autocast", "get_default_device",
        "get_float32_matmul_precision", "get_num_threads", "memory_format", "set_default_device", "set_float32_matmul_precision",
        "set_num_threads", "typename", "use_deterministic_algorithms"},
    "tests/parity/test_printing.py": {"set_printoptions"},
}  # fmt: skip
EXCEPT = RANDOM.union(*ELSEWHERE.values())


def test_every_function_is_in_a_table():
    shared = {name for name in dir(cf) if hasattr(torch, name) and callable(getattr(cf, name))}
    left_out = shared - NAMES - EXCEPT
    assert not left_out, f"add rows for {sorted(left_out)}"


def test_every_function_of_linalg_is_in_a_table():
    left_out = {f"linalg.{name}" for name in cf.linalg.__all__} - NAMES
    # an exception class, and an alias that PyTorch has elsewhere
    assert left_out <= {"linalg.LinAlgError", "linalg.logdet"}, sorted(left_out)


def test_every_method_is_in_a_table():
    called = {row.name for row in ROWS if row.has_method()}
    called |= {f"{row.name}_" for row in ROWS if row.has_in_place()}
    called |= {name.removeprefix("Tensor.") for name in NAMES}
    shared = {n for n in dir(cf.Tensor) if hasattr(torch.Tensor, n) and not n.startswith("__")}
    left_out = shared - called - EXCEPT
    assert not left_out, f"add rows for {sorted(left_out)}"


def test_a_function_with_a_method_in_pytorch_has_one_here():
    """And so with in-place forms."""
    own = {n for n in dir(cf) if not n.startswith("_") and hasattr(torch, n)} | {
        n for n in dir(cf.Tensor) if not n.startswith("_")
    }
    missing = {n for n in own if hasattr(torch.Tensor, n)} - set(dir(cf.Tensor))
    in_place = {f"{n}_" for n in own if hasattr(torch.Tensor, f"{n}_")} - set(dir(cf.Tensor))
    assert not missing and in_place <= {"polygamma_"}, (missing, in_place)


# ---- arguments ---------------------------------------------------------------------------------

# What PyTorch's list of signatures says otherwise than its documentation, or leaves out.
OTHERWISE = {
    "isin", "searchsorted", "einsum", "meshgrid", "dot", "cholesky_solve", "repeat_interleave", "logsumexp",
    "swapaxes", "swapdims", "diag_embed", "polygamma", "where", "msort", "permute", "broadcast_to", "tensordot",
    "bucketize", "chain_matmul", "addmm", "addbmm", "baddbmm", "celu", "selu", "rrelu", "threshold", "clone",
    "full_like", "ones_like", "zeros_like", "empty_like", "scatter", "gather", "topk", "bmm", "mm", "moveaxis",
    "bernoulli", "linspace", "unique", "matrix_exp", "kthvalue", "histogram",
}  # fmt: skip


def shared_functions():
    known = get_testing_overrides()
    for name in dir(cf):
        theirs = known.get(getattr(torch, name, None)) if hasattr(torch, name) else None
        if theirs is not None and callable(getattr(cf, name)) and name not in OTHERWISE:
            yield name, theirs


@pytest.mark.parametrize(
    ("name", "theirs"), [pytest.param(*p, id=p[0]) for p in shared_functions()]
)
def test_arguments_have_pytorchs_names_and_order(name, theirs):
    wanted = [p.name for p in inspect.signature(theirs).parameters.values() if p.name != "out"]
    ours = getattr(cf, name)
    if isinstance(ours, Op):
        assert len(wanted) >= ours.arity
        return
    have = inspect.signature(ours).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in have):
        return
    names = [p.name for p in have]
    assert names[: len(wanted)] == wanted or set(wanted) <= set(names), f"{names}, PyTorch {wanted}"
    assert names[0] == wanted[0]


@pytest.mark.parametrize("name", ["exp", "abs", "neg", "sigmoid", "sqrt", "isnan"])
def test_plain_ops_take_pytorchs_keyword(name):
    x = np.array([0.5, 1.5])
    assert np.allclose(
        getattr(cf, name)(input=cf.tensor(x)).numpy(),
        getattr(torch, name)(input=torch.tensor(x)).numpy(),
    )


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("maximum", "other"),
        ("atan2", "other"),
        ("mul", "other"),
        ("pow", "exponent"),
        ("eq", "other"),
    ],
)
def test_plain_ops_of_two_operands_take_pytorchs_keywords(name, word):
    x, y = np.array([0.5, 1.5]), np.array([2.0, 1.0])
    ours = getattr(cf, name)(input=cf.tensor(x), **{word: cf.tensor(y)})
    also = getattr(cf.tensor(x), name)(**{word: cf.tensor(y)})
    theirs = getattr(torch, name)(torch.tensor(x), torch.tensor(y))
    assert np.allclose(ours.numpy(), theirs.numpy()) and np.allclose(also.numpy(), theirs.numpy())


def test_a_wrong_keyword_is_explained():
    with pytest.raises(TypeError, match="exp takes 1 operand"):
        cf.exp(inputs=cf.ones(2))


# ---- these tests can fail ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: cf.ones(2), lambda: torch.zeros(2)),
        (lambda: cf.ones(2), lambda: torch.ones(1, 2)),
        (lambda: cf.ones(2), lambda: torch.ones(2, dtype=torch.float64)),
        (lambda: cf.ones(2), lambda: torch.ones(2, requires_grad=True)),
        (lambda: (cf.ones(2), cf.ones(2)), lambda: torch.ones(2)),
        (lambda: cf.ones(2), lambda: torch.ones(2) + torch.ones(3)),
        (lambda: cf.ones(2) + cf.ones(3), lambda: torch.ones(2)),
        (lambda: 1, lambda: 2),
    ],
)
def test_the_comparison_finds_what_differs(ours, theirs):
    found = c.compare("", c.outcome(ours), c.outcome(theirs))
    assert found is not None
