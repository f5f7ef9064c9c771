"""Properties, memory and copies of tensors, against PyTorch and NumPy."""

import copy
import pickle

import numpy as np
import pytest

import contraflow as cf

torch = pytest.importorskip("torch")


def both(*shape, dtype=np.float32):
    x = np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)
    return cf.tensor(x), torch.tensor(x)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4)], ids=str)
def test_properties(shape):
    ours, theirs = both(*shape)
    for name in ("ndim", "itemsize", "nbytes", "is_cuda", "is_cpu", "is_leaf", "requires_grad"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert str(ours.shape) == str(theirs.shape).replace("torch", "contraflow")
    assert ours.shape.numel() == theirs.shape.numel()
    assert str(ours.device) == str(theirs.device)
    assert ours.pin_memory() is ours and not ours.is_sparse
    for name in ("T", "mT", "H", "mH"):
        if len(shape) == 2:
            np.testing.assert_array_equal(
                getattr(ours, name).numpy(), getattr(theirs, name).numpy()
            )
    if len(shape) == 3:
        np.testing.assert_array_equal(ours.mT.numpy(), theirs.mT.numpy())
        for lib in (ours, theirs):
            with pytest.raises(RuntimeError):
                lib.H  # noqa: B018
    if len(shape) == 1:
        for lib in (ours, theirs):
            for name in ("H", "mH", "mT"):
                with pytest.raises(RuntimeError):
                    getattr(lib, name)


def test_memory_of_views():
    ours, theirs = both(4, 5)
    for key in (slice(1, 3), (slice(None), 2), (3, slice(1, 4, 2))):
        a, b = ours[key], theirs[key]
        assert a.storage_offset() == b.storage_offset()
        assert a.stride() == b.stride()
        assert a.is_contiguous() == b.is_contiguous()
        assert a.data_ptr() - ours.data_ptr() == b.data_ptr() - theirs.data_ptr()


def test_there_is_no_gpu():
    with pytest.raises(cf.ContraflowError, match="CPU"):
        cf.ones(2).cuda()


def test_default_dtype():
    before = cf.get_default_dtype()
    try:
        for name in ("float64", "float16", "float32"):
            cf.set_default_dtype(getattr(cf, name))
            assert cf.tensor(1.5).dtype is cf.zeros(2).dtype is getattr(cf, name)
            assert (cf.tensor([1, 2]) / 2).dtype is cf.get_default_dtype()
    finally:
        cf.set_default_dtype(before)
    for lib in (cf, torch):
        with pytest.raises((TypeError, ValueError)):
            lib.set_default_dtype(lib.int64)


# ---- NumPy ---------------------------------------------------------------------------------------


def test_numpy_shares_memory_both_ways():
    a = np.zeros((2, 3))
    x = cf.from_numpy(a)
    x[0, 0] = 5
    assert a[0, 0] == 5 and x.numpy() is not None and np.shares_memory(x.numpy(), a)
    a[1, 1] = 7
    assert x[1, 1].item() == 7
    assert np.shares_memory(np.asarray(x), a)
    assert not np.shares_memory(np.array(x), a)


def test_array_protocol():
    x = cf.tensor([1.5, 2.5])
    assert np.asarray(x, dtype=np.int64).tolist() == [1, 2]
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert (np.asarray([1.0, 1.0], np.float32) + x).__class__ is cf.Tensor
    assert np.add(x.numpy(), 1).tolist() == [2.5, 3.5]
    for lib in (cf, torch):
        with pytest.raises(RuntimeError, match="detach"):
            np.asarray(lib.ones(2, requires_grad=True))
        with pytest.raises(RuntimeError, match="detach"):
            lib.ones(2, requires_grad=True).numpy()
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, dtype=np.float64, copy=False)
    assert np.shares_memory(np.asarray(x, copy=False), x.numpy())


def test_from_numpy_refuses_what_is_no_array():
    for lib in (cf, torch):
        with pytest.raises(TypeError):
            lib.from_numpy([1, 2])
        with pytest.raises(TypeError):
            lib.from_numpy(np.array(["a"]))


# ---- DLPack --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["float32", "float64", "float16", "int8", "uint8", "int64", "bool"]
)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (), (0, 2)], ids=str)
def test_dlpack_to_and_from_pytorch(name, shape):
    x = np.arange(int(np.prod(shape))).reshape(shape).astype(name)
    there = torch.from_dlpack(cf.tensor(x))
    assert there.numpy().tolist() == x.tolist() and str(there.dtype) == f"torch.{name}"
    back = cf.from_dlpack(torch.from_numpy(x.copy()))
    assert back.numpy().tolist() == x.tolist() and back.dtype is getattr(cf, name)


def test_dlpack_shares_memory():
    x = cf.zeros(3)
    for there in (torch.from_dlpack(x), np.from_dlpack(x)):
        x[0] += 1
        assert there[0] == x[0].item()
    theirs = torch.zeros(3)
    mine = cf.from_dlpack(theirs)
    theirs[1] = 4
    assert mine[1].item() == 4
    mine[2] = 6
    assert theirs[2] == 6
    strided = cf.arange(12.0).view(3, 4).t()
    assert torch.from_dlpack(strided).stride() == strided.stride()
    assert x.__dlpack_device__() == torch.zeros(1).__dlpack_device__()


def test_dlpack_keeps_the_memory_alive():
    there = torch.from_dlpack(cf.arange(1000.0) + 1)
    cf.zeros(1000)
    assert there.sum().item() == 500500


def test_dlpack_of_what_requires_a_gradient_is_refused():
    for lib in (cf, torch):
        with pytest.raises(BufferError, match="detach"):
            np.from_dlpack(lib.ones(2, requires_grad=True))


# ---- copies --------------------------------------------------------------------------------------


def test_copy_shares_memory_and_deepcopy_does_not():
    for lib in (cf, torch):
        x = lib.ones(2, requires_grad=True)
        shallow, deep = copy.copy(x), copy.deepcopy(x)
        assert shallow is not x and shallow.requires_grad and deep.requires_grad
        with lib.no_grad():
            x.add_(1)
        assert shallow.tolist() == [2.0, 2.0] and deep.tolist() == [1.0, 1.0]
        assert copy.copy(x * 2).is_leaf == copy.copy(torch.ones(1, requires_grad=True) * 2).is_leaf
        with pytest.raises(RuntimeError):
            copy.deepcopy(x * 2)


def test_deepcopy_of_a_structure_keeps_what_is_shared():
    x = cf.ones(2)
    a, b = copy.deepcopy([x, x])
    assert a is b and a is not x


def test_pickling_is_refused():
    with pytest.raises(TypeError, match=r"cf\.save"):
        pickle.dumps(cf.ones(2))


# ---- the handle ----------------------------------------------------------------------------------


def test_data_has_no_history_and_shares_memory():
    for lib in (cf, torch):
        x = lib.ones(2, requires_grad=True)
        x.data.mul_(3)
        assert x.tolist() == [3.0, 3.0] and not x.data.requires_grad
        x.data = lib.zeros(2)
        assert x.tolist() == [0.0, 0.0] and x.requires_grad


@pytest.mark.parametrize("name", ["t_", "squeeze_", "unsqueeze_", "transpose_"])
def test_views_in_place(name):
    args = {"t_": (), "squeeze_": (), "unsqueeze_": (0,), "transpose_": (0, 1)}[name]
    results = []
    for lib in (cf, torch):
        x = lib.arange(6.0).reshape(2, 3)
        row = x[1]
        assert getattr(x, name)(*args) is x
        with pytest.raises(RuntimeError):
            getattr(lib.ones(1, 2, requires_grad=True), name)(*args)
        x.mul_(2)  # the earlier view sees it
        row[0] = -1.0  # and the tensor sees what the view writes
        weight = lib.ones(2, 3, requires_grad=True)
        y = weight * 3
        part = y[0]
        getattr(y, name)(*args)
        y.mul_(2)
        part.add_(1)
        (y * y).sum().backward()
        results.append([x.tolist(), row.tolist(), y.tolist(), part.tolist(), weight.grad.tolist()])
    assert results[0] == results[1]


def test_what_backward_kept_is_not_turned_around():
    for lib in (cf, torch):
        x = lib.ones(2, 3, requires_grad=True) * 1
        y = x * x
        x.t_()
        with pytest.raises(RuntimeError, match=r"in.?place"):
            y.sum().backward()


def test_rows_and_membership():
    for lib in (cf, torch):
        x = lib.arange(6.0).reshape(3, 2)
        assert [row.tolist() for row in x] == [[0, 1], [2, 3], [4, 5]]
        assert 3.0 in x and 9.0 not in x
        a, b, c = x
        assert b.tolist() == [2, 3]
        with pytest.raises(TypeError):
            iter(lib.tensor(1.0))
        with pytest.raises((TypeError, RuntimeError)):
            "a" in x  # noqa: B015


def test_html():
    text = cf.tensor([[1.5, float("nan")]])._repr_html_()
    assert "<td>1.5000</td><td>nan</td>" in text and "tensor [1, 2] float32" in text
    wide = cf.zeros(100, 100, requires_grad=True)._repr_html_()
    assert wide.count("<tr>") == 21 and wide.count("...") == 21 + 20 and "requires_grad" in wide
    history = (cf.zeros(2, requires_grad=True) * 2)._repr_html_()
    assert "&lt;MulBackward0&gt;" in history and "<Mul" not in history
    assert "<pre>" in cf.tensor(1.0)._repr_html_() and "<pre>" in cf.zeros(2, 2, 2)._repr_html_()
