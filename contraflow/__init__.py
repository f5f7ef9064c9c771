"""contraflow: neural networks trained by backpropagation, in PyTorch's spelling.

>>> import contraflow as cf
>>> x = cf.tensor([0.5, 0.8])
>>> w = cf.tensor([0.4, 0.6], requires_grad=True)
>>> loss = (cf.sigmoid(x @ w) - 1) ** 2
>>> loss.backward()
>>> w.grad
tensor([-0.0751, -0.1201])
"""

import builtins as _builtins
import typing as _typing
from importlib import import_module as _import_module
from math import e, inf, nan, pi
from sys import modules as _modules
from types import FunctionType as _FunctionType

from contraflow import autograd, func, linalg
from contraflow.base.dtypes import DType as dtype
from contraflow.base.dtypes import bool_ as bool
from contraflow.base.dtypes import (
    float16,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    result_type,
    set_default_dtype,
    uint8,
)
from contraflow.base.errors import (
    ArgumentError,
    AttributeMissing,
    CaptureError,
    ContraflowError,
    DTypeError,
    FileError,
    GradError,
    IndexOutOfRange,
    NonFiniteError,
    ShapeError,
    StateError,
)
from contraflow.base.layouts import *
from contraflow.base.memory import collected_later as _collected_later
from contraflow.base.modes import policy as _policy
from contraflow.base.settings import *
from contraflow.func import vmap
from contraflow.ops import families as _families
from contraflow.ops.activation import *
from contraflow.ops.arith import *
from contraflow.ops.blend import *
from contraflow.ops.chains import *
from contraflow.ops.decompose import *
from contraflow.ops.distances import *
from contraflow.ops.einsum import *
from contraflow.ops.extrema import *
from contraflow.ops.index import *
from contraflow.ops.join import *
from contraflow.ops.logic import *
from contraflow.ops.matmul import *
from contraflow.ops.matrix_exp import *
from contraflow.ops.mode import *
from contraflow.ops.parts import *
from contraflow.ops.products import *
from contraflow.ops.quantile import *
from contraflow.ops.reduce import *
from contraflow.ops.repeats import *
from contraflow.ops.rounding import *
from contraflow.ops.scan import *
from contraflow.ops.shape import *
from contraflow.ops.softmax import *
from contraflow.ops.sort import *
from contraflow.ops.special import *
from contraflow.ops.spelling import spelled as _spelled
from contraflow.ops.statistics import *
from contraflow.ops.transcendental import *
from contraflow.tensor import create as _create
from contraflow.tensor import methods as _methods
from contraflow.tensor import rng as _rng
from contraflow.tensor.constructors import *
from contraflow.tensor.convert import *
from contraflow.tensor.create import *
from contraflow.tensor.fills import *
from contraflow.tensor.grad_mode import *
from contraflow.tensor.handles import *
from contraflow.tensor.histogram import *
from contraflow.tensor.indexing import *
from contraflow.tensor.printing import *
from contraflow.tensor.questions import *
from contraflow.tensor.rng import *
from contraflow.tensor.sampling import *
from contraflow.tensor.tensor import Size, Tensor
from contraflow.tensor.unique import *

# The functions as users call them: also with NumPy's names for their arguments, and with `out=`.
for _family in (*_families.ALL, _create, _rng):
    for _name in getattr(_family, "__all__", ()):
        _function = globals().get(_name)
        if type(_function) is _FunctionType and _function is getattr(_family, _name):
            globals()[_name] = _spelled(_function)

newaxis = None
float = float32
double = float64
half = float16
short = int16
int = int32
long = int64

# What `import contraflow` leaves out, because it costs time or needs more than NumPy: each name is
# loaded when it is first asked for. Type checkers and editors see plain imports.
_LATER = {
    "GradScaler": "contraflow.amp",
    "accelerator": "contraflow.accelerator",
    "amp": "contraflow.amp",
    "autocast": "contraflow.amp",
    "backends": "contraflow.backends",
    "capture": "contraflow.capture",
    "compile": "contraflow.compiler",
    "explain": "contraflow.compiler.auto",
    "get_default_mode": "contraflow.compiler.auto",
    "set_default_mode": "contraflow.compiler.auto",
    "cuda": "contraflow.cuda",
    "data": "contraflow.data",
    "get_num_threads": "contraflow.base.threads",
    "load": "contraflow.interop",
    "nn": "contraflow.nn",
    "optim": "contraflow.optim",
    "save": "contraflow.interop",
    "set_num_threads": "contraflow.base.threads",
    "train": "contraflow.train",
    "utils": "contraflow.utils",
}

if _typing.TYPE_CHECKING:
    from contraflow import accelerator as accelerator
    from contraflow import amp as amp
    from contraflow import backends as backends
    from contraflow import capture as capture
    from contraflow import cuda as cuda
    from contraflow import data as data
    from contraflow import nn as nn
    from contraflow import optim as optim
    from contraflow import train as train
    from contraflow import utils as utils
    from contraflow.amp import GradScaler as GradScaler
    from contraflow.amp import autocast as autocast
    from contraflow.base.threads import get_num_threads as get_num_threads
    from contraflow.base.threads import set_num_threads as set_num_threads
    from contraflow.compiler import compile as compile
    from contraflow.compiler.auto import explain as explain
    from contraflow.compiler.auto import get_default_mode as get_default_mode
    from contraflow.compiler.auto import set_default_mode as set_default_mode
    from contraflow.interop import load as load
    from contraflow.interop import save as save

    __version__: str
else:

    def __getattr__(name):
        """The names of `_LATER`, and the version of the package."""
        if name in _LATER:
            with _collected_later():
                module = _import_module(_LATER[name])
            value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
        elif name == "__version__":
            value = _version()
        else:
            raise AttributeError(
                f"module {__name__!r} has no attribute {name!r}", name=name, obj=_modules[__name__]
            )
        globals()[name] = value
        return value


def _version():
    """What is installed; a checkout that is only on the path has no number."""
    metadata = _import_module("importlib.metadata")
    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:
        return "0+unknown"


def _start(optimizer):
    """Put off the ops of a loop that trains (see `set_default_mode`)."""
    with _collected_later():
        compiler = _import_module("contraflow.compiler.auto")
    compiler.start(optimizer)


_policy.start = _start


def __dir__() -> list[str]:
    """The public names; the floors below (`base`, `ops`, `interop`) are reached by their path."""
    names = {name for name in globals() if not name.startswith("_")}
    return sorted((names | set(_LATER)) - {"base", "interop", "ops"})


# What `from contraflow import *` takes: it must not hide Python's own `sum` and `float`.
__all__ = [name for name in __dir__() if not hasattr(_builtins, name)]
