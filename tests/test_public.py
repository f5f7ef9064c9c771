"""The public names, one list for all: what is added or taken away shows in a diff of that list.

``python tests/test_public.py`` writes the list anew, for a change that is meant.
"""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import contraflow as cf

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_name("public_names.txt")
DOORS = (
    "contraflow",
    "contraflow.accelerator",
    "contraflow.amp",
    "contraflow.autograd",
    "contraflow.autograd.functional",
    "contraflow.backends.cuda",
    "contraflow.backends.cudnn",
    "contraflow.backends.mps",
    "contraflow.capture",
    "contraflow.cuda",
    "contraflow.cuda.amp",
    "contraflow.data",
    "contraflow.func",
    "contraflow.linalg",
    "contraflow.nn",
    "contraflow.nn.functional",
    "contraflow.nn.init",
    "contraflow.nn.utils",
    "contraflow.nn.utils.rnn",
    "contraflow.optim",
    "contraflow.optim.lr_scheduler",
    "contraflow.optim.swa_utils",
    "contraflow.train",
    "contraflow.utils",
    "contraflow.utils.checkpoint",
    "contraflow.utils.data.dataloader",
    "contraflow.utils.data.dataset",
    "contraflow.utils.data.sampler",
)
EXPECTED = [
    "Generator",
    "Size",
    "Tensor",
    "autograd",
    "bool",
    "device",
    "double",
    "dtype",
    "e",
    "float",
    "float32",
    "func",
    "half",
    "inf",
    "int",
    "load",
    "long",
    "manual_seed",
    "nan",
    "nn",
    "no_grad",
    "optim",
    "pi",
    "save",
    "short",
    "tensor",
    "utils",
    "zeros",
]


def public_names(door):
    """The names of a module for users: not private, no modules but doors, nothing of Python's."""
    module = importlib.import_module(door)
    for name in sorted(
        getattr(module, "__all__", dir(module)) if door != "contraflow" else dir(cf)
    ):
        value = getattr(module, name)
        foreign = getattr(value, "__module__", None) in ("typing", "collections.abc", "__future__")
        inner = isinstance(value, ModuleType) and value.__name__ not in (
            *DOORS,
            "contraflow.utils.data",
        )
        if not name.startswith("_") and not foreign and not inner:
            yield f"{door}.{name}"


def listing():
    return "".join(f"{name}\n" for door in DOORS for name in public_names(door))


def fresh(code):
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.strip()


def test_the_public_names_are_those_of_the_list():
    known, found = LIST.read_text().splitlines(), listing().splitlines()
    new, gone = sorted(set(found) - set(known)), sorted(set(known) - set(found))
    assert not new and not gone, (
        f"new: {new}, gone: {gone}; if that is meant: python tests/test_public.py"
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_names_that_users_of_pytorch_expect_at_the_root(name):
    assert name in dir(cf)
    assert hasattr(cf, name)


def test_names_that_mean_the_same_thing():
    assert isinstance(cf.float32, cf.dtype)
    assert cf.utils.data.__all__ == cf.data.__all__
    assert cf.utils.data.DataLoader is cf.data.DataLoader
    assert cf.float is cf.float32 and cf.long is cf.int64 and cf.short is cf.int16


def test_dir_shows_no_floors_and_nothing_private():
    assert not {"base", "ops", "interop", "methods", "lesson", "annotations"} & set(dir(cf))
    assert not [name for name in dir(cf) if name.startswith("_")]
    assert sorted(set(dir(cf))) == dir(cf)


@pytest.mark.parametrize(
    "use",
    [
        "cf.data.DataLoader",
        "cf.utils.checkpoint.checkpoint",
        "cf.save",
        "cf.capture.capture",
        "cf.train.fit",
    ],
)
def test_what_is_loaded_later_is_there_without_another_import(use):
    assert fresh(f"import contraflow as cf; print(callable({use}))") == "True"


def test_only_what_is_used_is_loaded():
    late = ["nn", "optim", "data", "interop", "train", "compiler"]
    others = ["safetensors", "llvmlite", "numpy.random", "pathlib"]
    code = f"""
import sys, contraflow as cf
dir(cf)
print([name for name in {others} if name in sys.modules])
print([name for name in {late} if "contraflow." + name in sys.modules])
cf.nn, cf.save
print([name for name in {late} if "contraflow." + name in sys.modules])
"""
    assert fresh(code).splitlines() == ["[]", "[]", "['nn', 'interop']"]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'sofmax'"):
        cf.sofmax  # noqa: B018
    with pytest.raises(ImportError, match="sofmax"):
        from contraflow import sofmax  # noqa: F401
    assert not hasattr(cf, "__path_of_nothing__")


def test_star_import_hides_no_builtin():
    assert fresh("from contraflow import *; print(sum, float, softmax is not None)") == (
        "<built-in function sum> <class 'float'> True"
    )


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert cf.__version__ == version("contraflow")


def test_a_checkout_that_is_not_installed_has_no_number():
    code = (
        "from importlib import metadata\n"
        "def missing(name):\n    raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = missing\n"
        "import contraflow\nprint(contraflow.__version__)"
    )
    assert fresh(code) == "0+unknown"


if __name__ == "__main__":
    LIST.write_text(listing())
