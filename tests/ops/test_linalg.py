"""Linear algebra where PyTorch is no measure: determinants of singular matrices, and lessons."""

import numpy as np
import pytest

import contraflow as cf


def cofactors(x):
    """By definition: signed determinants of what is left without a row and a column."""
    n = len(x)
    rest = [[np.delete(np.delete(x, i, 0), j, 1) for j in range(n)] for i in range(n)]
    return np.array(
        [[(-1) ** (i + j) * np.linalg.det(rest[i][j]) for j in range(n)] for i in range(n)]
    )


@pytest.mark.parametrize(
    "x",
    [
        [[1.0, 2.0], [2.0, 4.0]],
        np.arange(9.0).reshape(3, 3),
        [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        np.random.default_rng(0).normal(size=(4, 4)),
    ],
    ids=["rank 1 of 2", "rank 2 of 3", "rank 1 of 3", "regular"],
)
def test_the_gradient_of_a_determinant_are_its_cofactors(x):
    x = cf.tensor(np.array(x), requires_grad=True)
    cf.det(x).backward()
    np.testing.assert_allclose(x.grad.numpy(), cofactors(x.detach().numpy()), atol=1e-12)


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("name", ["qr", "svd", "eigh", "cholesky"])
def test_a_decomposition_gives_the_matrix_back(name, n):
    x = np.random.default_rng(n).normal(size=(2, n, n))
    x = x @ x.swapaxes(-1, -2) + np.eye(n)
    parts = getattr(cf.linalg, name)(cf.tensor(x))
    if name == "svd":
        again = parts.U @ cf.diag_embed(parts.S) @ parts.Vh
    elif name == "eigh":
        vectors = parts.eigenvectors
        again = vectors @ cf.diag_embed(parts.eigenvalues) @ vectors.mT
    else:
        again = parts @ parts.mT if name == "cholesky" else parts.Q @ parts.R
    np.testing.assert_allclose(again.numpy(), x, atol=1e-10)


@pytest.mark.parametrize(
    ("wrong", "lesson"),
    [
        (lambda: cf.inverse(cf.ones(2, 2)), "singular.*fix: cf.linalg.pinv"),
        (lambda: cf.linalg.solve(cf.ones(3, 2, 2), cf.ones(2)), r"singular.*\[0\]"),
        (lambda: cf.linalg.cholesky(-cf.eye(2)), "not positive definite.*eigvalsh"),
        (lambda: cf.linalg.cholesky(cf.tensor([[1.0, 5.0], [0.0, 1.0]])), "must be symmetric"),
        (lambda: cf.linalg.eigh(cf.tensor([[1.0, 5.0], [0.0, 1.0]])), "must be symmetric"),
        (lambda: cf.det(cf.ones(2, 3)), "square"),
        (lambda: cf.det(cf.ones(2, 2, dtype=cf.int64)), "floating"),
        (lambda: cf.linalg.solve(cf.eye(3), cf.ones(4)), "needs 3 rows"),
        (lambda: cf.linalg.solve(cf.eye(3), cf.ones(3, 1, dtype=cf.float64)), "one dtype"),
        (lambda: cf.linalg.qr(cf.ones(2, 2), "full"), "mode"),
        (lambda: cf.linalg.norm(cf.ones(2, 2, 2), 2), "dim=-1"),
        (lambda: cf.linalg.matrix_norm(cf.ones(2, 2), 7), "nuc"),
        (lambda: cf.linalg.matrix_power(cf.ones(2, 2), -1), "singular"),
    ],
)
def test_errors_say_what_to_do(wrong, lesson):
    with pytest.raises(cf.ContraflowError, match=f"(?s){lesson}"):
        wrong()


def test_a_singular_matrix_is_a_linalg_error():
    with pytest.raises(cf.linalg.LinAlgError):
        cf.inverse(cf.zeros(2, 2))


def test_full_singular_vectors_are_orthonormal_and_only_the_values_have_a_gradient():
    x = cf.tensor(np.random.default_rng(1).normal(size=(4, 2)), requires_grad=True)
    u, s, vh = cf.linalg.svd(x)
    np.testing.assert_allclose((u.mT @ u).numpy(), np.eye(4), atol=1e-12)
    assert s.requires_grad and not u.requires_grad and not vh.requires_grad
