"""Every public layer, function and initialiser is spelled as in PyTorch: the same parameters in the
same order with the same defaults, and a docstring with an example that runs."""

from __future__ import annotations

import inspect
import re

import pytest

import contraflow as cf
from contraflow import nn

torch = pytest.importorskip("torch")

# Parameters of PyTorch that are left out everywhere.
LEFT_OUT = {
    "size_average": "deprecated in favour of reduction; so reduction is keyword-only",
    "reduce": "deprecated in favour of reduction",
    "_stacklevel": "private",
    "out": "results are returned",
    "min_value": "deprecated in favour of min_val",
    "max_value": "deprecated in favour of max_val",
}
# Parameters that are only here or not here, or differ, with the reason.
DIFFERENT = {
    "F.cosine_embedding_loss.margin": "0.0, where PyTorch has 0",
    "F.margin_ranking_loss.margin": "0.0, where PyTorch has 0",
    "F.triplet_margin_loss.p": "2.0, where PyTorch has 2",
}
OWN = {"nn.Residual": "the skip connection is not in PyTorch"}
ABSTRACT = {"nn.Parameter", "nn.Buffer", "nn.UninitializedParameter", "nn.UninitializedBuffer"}


def public(module, prefix, wanted):
    """The public callables of a module for users, by name."""
    for name in sorted(vars(module)):
        value = getattr(module, name)
        if not name.startswith("_") and wanted(value) and "contraflow" in value.__module__:
            yield pytest.param(f"{prefix}.{name}", value, id=f"{prefix}.{name}")


LAYERS = list(public(nn, "nn", inspect.isclass))
FUNCTIONS = list(public(nn.functional, "F", callable))
INITIALISERS = [
    pytest.param(f"init.{name}", getattr(nn.init, name), id=f"init.{name}")
    for name in nn.init.__all__
]
UTILITIES = [
    pytest.param(f"{prefix}.{name}", getattr(module, name), id=f"{prefix}.{name}")
    for prefix, module in (
        ("utils", nn.utils), ("parametrize", nn.utils.parametrize),
        ("parametrizations", nn.utils.parametrizations),
    )
    for name in module.__all__
    if not inspect.ismodule(getattr(module, name))
]  # fmt: skip
PEERS = {
    "nn": torch.nn, "F": torch.nn.functional, "init": torch.nn.init, "utils": torch.nn.utils,
    "parametrize": torch.nn.utils.parametrize,
    "parametrizations": torch.nn.utils.parametrizations,
}  # fmt: skip


@pytest.mark.parametrize(("path", "value"), [*LAYERS, *FUNCTIONS, *INITIALISERS, *UTILITIES])
def test_docstring_has_an_example(path, value):
    text = value.__doc__ or ""
    assert ">>> " in text, f"{path} has no example in its docstring"
    assert re.match(r"[\"'`(A-Z0-9a-z|√±σ-]", text), f"{path}: the docstring begins with a sentence"
    if inspect.isclass(value):
        assert "__doc__" in vars(value), f"{path} shows the docstring of its base class"


def parameters(value):
    """The parameters of a function or class; of a builtin, those that its docstring shows."""
    if inspect.isclass(value):
        value = value.__init__ if "__new__" not in vars(value) else value.__new__
        found = list(inspect.signature(value).parameters.values())[1:]
    else:
        try:
            found = list(inspect.signature(value).parameters.values())
        except ValueError:
            return shown(value)
    if [p.name for p in found] == ["args", "kwargs"]:
        if value in (torch.nn.Module.__init__,):
            return {}
        if value.__name__ != "__init__":  # PyTorch chooses one of two by return_indices
            return shown(value)
    return {p.name: p.default for p in found}


def shown(value):
    """The parameters of a builtin, from the first line of its docstring."""
    line = (value.__doc__ or "").strip().split(" -> ")[0]
    inside = re.search(r"\((.*)\)$", line, re.S)
    if inside is None:
        return None
    found = {}
    for part in filter(None, (p.strip() for p in inside[1].split(","))):
        if part != "*":
            name, _, default = (s.strip() for s in part.partition("="))
            found[name] = literal(default) if default else inspect.Parameter.empty
    return found


def literal(text):
    known = {"None": None, "True": True, "False": False}
    if text in known:
        return known[text]
    if not re.match(r"[-\d.]", text):
        return text.strip("'\"")
    number, _, divisor = text.partition("/")
    return float(number) / float(divisor or 1)


@pytest.mark.parametrize(("path", "value"), [*LAYERS, *FUNCTIONS, *INITIALISERS, *UTILITIES])
def test_signature_is_pytorchs(path, value):
    prefix, name = path.split(".")
    theirs = getattr(PEERS[prefix], name, None)
    if theirs is None:
        assert path in OWN, f"{path} does not exist in PyTorch"
        return
    expected, found = parameters(theirs), parameters(value)
    if expected is None or path in ABSTRACT:
        return
    expected = {k: v for k, v in expected.items() if k not in LEFT_OUT}
    assert list(found) == list(expected)
    for key, default in expected.items():
        ours = found[key]
        assert ours == default, f"{path}: {key}={ours!r}, PyTorch has {default!r}"
        if f"{path}.{key}" not in DIFFERENT and not isinstance(default, str):
            same = isinstance(ours, type(default)) or isinstance(default, float)
            assert same or {type(ours), type(default)} <= {int, float}


METHODS_DIFFER = {
    "Module.forward": "*args and **kwargs, where PyTorch has one input that nobody may pass",
    "RMSNorm.forward": "input as in the other layers, where PyTorch has x",
    "_Lazy.initialize_parameters": "an input, where the bases of PyTorch take *args",
    "_Row.extend": "modules for both containers, where PyTorch's Sequential says sequential",
    "Stateful.state_dict": "PyTorch takes *args, to warn of a use that is no more",
}


@pytest.mark.parametrize(("path", "value"), LAYERS)
def test_methods_have_pytorchs_parameters(path, value):
    theirs = getattr(torch.nn, path.split(".")[1], None)
    if theirs is None or issubclass(value, cf.Tensor):
        return
    for name in dir(theirs):
        ours = getattr(value, name, None)
        if name.startswith("_") or not inspect.isfunction(getattr(theirs, name)):
            continue
        assert ours is not None or name in NO_METHODS, f"{path} has no method {name}"
        if ours is not None and ours.__qualname__ not in METHODS_DIFFER:
            assert parameters(ours) == parameters(getattr(theirs, name)), ours.__qualname__


NO_METHODS = {
    "cuda", "ipu", "mtia", "xpu",  # other devices
    "bfloat16",  # not a dtype of NumPy
    "share_memory", "to_empty", "register_backward_hook", "compile",
}  # fmt: skip


def test_the_lists_of_differences_are_needed():
    """Each entry of DIFFERENT still is one, so that the list cannot grow stale."""
    for path in DIFFERENT:
        prefix, name, key = path.split(".")
        ours = parameters(getattr({"nn": nn, "F": nn.functional}[prefix], name))
        theirs = parameters(getattr(PEERS[prefix], name))
        assert repr(ours[key]) != repr(theirs[key]), path
    for path in OWN:
        assert not hasattr(torch.nn, path.split(".")[1])


def test_the_comparison_sees_a_difference():
    def relu(input, in_place=False):
        """Rectify.

        >>> 1
        1
        """

    with pytest.raises(AssertionError):
        test_signature_is_pytorchs("F.relu", relu)


def test_what_pytorch_has_and_is_not_here():
    """One list, so that nothing is missing by accident."""
    missing = {
        name
        for name in vars(torch.nn)
        if inspect.isclass(getattr(torch.nn, name)) and not hasattr(cf.nn, name)
    }
    assert missing <= LATER, missing - LATER


LATER = {
    # recurrent layers and attention: a later release
    "GRU", "GRUCell", "LSTM", "LSTMCell", "MultiheadAttention", "RNN", "RNNBase", "RNNCell",
    "RNNCellBase", "Transformer", "TransformerDecoder", "TransformerDecoderLayer",
    "TransformerEncoder", "TransformerEncoderLayer",
    # several devices
    "DataParallel", "SyncBatchNorm",
    # rare or deprecated
    "AdaptiveLogSoftmaxWithLoss", "CTCLoss", "Container", "CrossMapLRN2d", "FractionalMaxPool2d",
    "FractionalMaxPool3d", "LinearCrossEntropyLoss", "LinearCrossEntropyOptions", "MaxUnpool1d",
    "MaxUnpool2d", "MaxUnpool3d", "NLLLoss2d",
}  # fmt: skip
