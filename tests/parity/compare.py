"""Running the same call in contraflow and in PyTorch, and what must then be equal.

A ``Row`` is one call: the function's name, its arguments, and what is worth checking about it.
Arguments are made anew for each dtype from ``Data`` (numbers in a range) or taken as they are
(arrays keep their dtype, for index tensors and masks).
"""

from __future__ import annotations

import builtins
import warnings
import zlib
from operator import attrgetter

import numpy as np
import torch

import contraflow as cf

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool")
CLOSE = {"float16": (4e-3, 4e-3), "float32": (2e-5, 2e-6), "float64": (1e-10, 1e-12)}
BUILTINS = (IndexError, TypeError, ValueError, KeyError, AttributeError)
# What PyTorch says where it has no kernel for a dtype: there we may do more.
NO_KERNEL = (
    "not implemented for", "not supported", "not support", "expected scalar type", "does not support",
    "only supports", "not implemented", "must be either float or double", "to be floating point",
    "Expected floating point type", "floating point", "unsupported", "must have the same dtype", "to have the same dtype",
    "Unsupported", "not yet implemented",
    "source and destination dtypes match",
)  # fmt: skip


class Data:
    """An operand: numbers of any dtype between ``low`` and ``high``."""

    def __init__(self, *shape, low=-3.0, high=3.0, dtype=None):
        self.shape, self.low, self.high, self.dtype = shape, low, high, dtype

    def make(self, dtype, rng):
        dtype = self.dtype or dtype
        if dtype == "bool":
            return np.asarray(rng.random(self.shape) < 0.6)
        if dtype.startswith("f"):
            count = int(np.prod(self.shape))
            even = self.low + (self.high - self.low) * (np.arange(count) + 0.37) / max(count, 1)
            return rng.permutation(even).reshape(self.shape).astype(dtype)
        low = int(np.ceil(max(self.low, 0) if dtype == "uint8" else self.low))
        return rng.integers(low, max(int(self.high), low) + 1, self.shape).astype(dtype)

    def __repr__(self):
        return f"[{', '.join(map(str, self.shape))}]"


def D(*shape, **options):
    return Data(*shape, **options)


class Row:
    """One call: ``name(*args, **kwargs)``.

    dtypes: those to run with. smooth: gradients are compared (``twice``: second ones too).
    method, in_place: None: if both libraries have them. writes: it changes its first operand.
    loose: multiplies the tolerance. wrong: PyTorch raises an error.
    """

    def __init__(self, name, *args, dtypes=DTYPES, smooth=True, twice=True, method=None,
                 in_place=None, loose=1.0, wrong=False, note="", writes=False, **kwargs):  # fmt: skip
        self.name, self.args, self.kwargs = name, args, kwargs
        self.dtypes, self.smooth, self.twice = dtypes, smooth, twice
        self.method, self.in_place, self.loose, self.wrong = method, in_place, loose, wrong
        self.note, self.writes = note, writes

    def __repr__(self):
        parts = [*map(short, self.args), *(f"{k}={short(v)}" for k, v in self.kwargs.items())]
        return f"{self.name}({', '.join(parts)})"

    def operands(self, dtype, seed=0):
        rng = np.random.default_rng(zlib.crc32(repr(self).encode()) + seed)
        return map_tree(
            lambda a: a.make(dtype, rng) if isinstance(a, Data) else a, (self.args, self.kwargs)
        )

    def has_method(self):
        if self.method is not None:
            return self.method
        first = self.args[0] if self.args else None
        return isinstance(first, Data | np.ndarray) and both_have(self.name)

    def has_in_place(self):
        if self.in_place is not None:
            return self.in_place
        return self.has_method() and both_have(f"{self.name}_")


def both_have(name):
    return hasattr(cf.Tensor, name) and hasattr(torch.Tensor, name)


def short(value):
    text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) < 40 else f"{text[:37]}..."


def map_tree(function, tree):
    if isinstance(tree, list | tuple):
        items = [map_tree(function, item) for item in tree]
        return items if isinstance(tree, list) else tuple(items)
    if isinstance(tree, dict):
        return {key: map_tree(function, item) for key, item in tree.items()}
    return function(tree)


def tensors(lib, tree, track=False):
    """Arrays as tensors of one of the libraries, each with its own memory; dtypes by their name."""

    def convert(item):
        if isinstance(item, np.ndarray):
            t = lib.tensor(item.copy()) if lib is cf else lib.from_numpy(item.copy())
            return t.requires_grad_() if track and item.dtype.kind == "f" else t
        if isinstance(item, str) and item.startswith("dtype:"):
            return getattr(lib, item.removeprefix("dtype:"))
        return item

    return map_tree(convert, tree)


def leaves(tree):
    found = []
    map_tree(lambda item: found.append(item), tree if not isinstance(tree, dict) else [tree])
    return found


def outcome(call):
    """(result, None), or (None, error); PyTorch's warnings are no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call(), None
        except Exception as error:
            return None, error


def same_kind(ours, theirs):
    """Whether our error can be caught by who catches PyTorch's."""
    if "missing" in str(ours) and isinstance(ours, TypeError) and isinstance(theirs, TypeError):
        return True  # Python itself: an argument was left out
    if not isinstance(ours, cf.ContraflowError):
        return False
    kinds = [kind for kind in BUILTINS if isinstance(theirs, kind)]
    return not kinds or isinstance(ours, tuple(kinds)) or isinstance(theirs, TypeError)


def lacks_kernel(error):
    return isinstance(error, NotImplementedError) or any(w in str(error) for w in NO_KERNEL)


def array(t):
    return np.asarray(t.numpy(force=True) if isinstance(t, torch.Tensor) else t.detach().numpy())


def differs(ours, theirs, loose=1.0):
    """What is different between two results, or None."""
    mine, others = leaves([ours]), leaves([theirs])
    if len(mine) != len(others):
        return f"{len(mine)} results, PyTorch gives {len(others)}"
    for a, b in zip(mine, others, strict=True):
        if not isinstance(b, torch.Tensor):
            if isinstance(a, cf.Tensor) or str(a).replace("contraflow", "torch") != str(b):
                return f"{a!r} is not {b!r}"
            continue
        if not isinstance(a, cf.Tensor):
            return f"{type(a).__name__} is no tensor"
        if str(a.dtype).split(".")[1] != str(b.dtype).split(".")[1]:
            return f"{a.dtype} is not {b.dtype}"
        if tuple(a.shape) != tuple(b.shape):
            return f"shape {list(a.shape)} is not {list(b.shape)}"
        if a.requires_grad != b.requires_grad:
            return f"requires_grad is {a.requires_grad}"
        rtol, atol = CLOSE.get(array(a).dtype.name, (0, 0))
        x, y = array(a), array(b)
        if not np.allclose(x, y, rtol=rtol * loose, atol=atol * loose, equal_nan=True):
            return f"{x.tolist()!r:.300} is not {y.tolist()!r:.300}"
    return None


def compare(name, ours, theirs, loose=1.0):
    """What is wrong with (result, error) against PyTorch's, or None."""
    (mine, my_error), (other, their_error) = ours, theirs
    if their_error is not None:
        if my_error is None:
            return (
                None
                if lacks_kernel(their_error)
                else (
                    f"{name}: gives {mine!r:.100}, PyTorch raises {builtins.repr(their_error)[:200]}"
                )
            )
        if not same_kind(my_error, their_error):
            return f"{name}: raises {my_error!r:.200}, PyTorch {their_error!r:.200}"
        return None
    if "does not fit into" in str(my_error):  # a number that PyTorch would wrap: -1 as uint8 is 255
        return None
    if my_error is not None:
        return f"{name}: raises {my_error!r:.300}, PyTorch gives {other!r:.100}"
    found = differs(mine, other, loose)
    return None if found is None else f"{name}: {found}"


def call(lib, row, operands, track=False):
    """The function's result, and the tensors that it was given."""
    args, kwargs = tensors(lib, operands, track)
    function = attrgetter(row.name)(lib)
    return outcome(lambda: function(*args, **kwargs)), args, kwargs


def call_method(lib, name, operands, track=False):
    args, kwargs = tensors(lib, operands, track)
    return outcome(lambda: getattr(args[0], name)(*args[1:], **kwargs)), args


def weigh(lib, results, seed=5):
    """The floating results times fixed weights, summed."""
    rng = np.random.default_rng(seed)
    total = 0.0
    for t in leaves([results]):
        if (
            isinstance(t, cf.Tensor | torch.Tensor)
            and t.dtype.is_floating_point
            and t.requires_grad
        ):
            weights = np.asarray(rng.uniform(0.5, 1.5, tuple(t.shape)))
            total = (t * lib.tensor(weights, dtype=t.dtype)).sum() + total
    return total


def gradients(lib, row, operands, twice):
    """The gradients of the weighted results by all floating operands, and by them again."""
    (results, error), args, kwargs = call(lib, row, operands, track=True)
    if error is not None:
        raise error
    given = [t for t in leaves([list(args), *kwargs.values()])
             if isinstance(t, cf.Tensor | torch.Tensor) and t.requires_grad]  # fmt: skip
    total = weigh(lib, results)
    if isinstance(total, float):
        return []
    found = lib.autograd.grad(total, given, create_graph=twice, allow_unused=True)
    zero = [lib.zeros_like(t) for t in given]
    first = [z if g is None else g for g, z in zip(found, zero, strict=True)]
    if not twice:
        return first
    again = weigh(lib, first, seed=6)
    if isinstance(again, float):
        return [*map(detached, first), *zero]
    found = lib.autograd.grad(again, given, allow_unused=True)
    second = [z if g is None else g for g, z in zip(found, zero, strict=True)]
    return [*map(detached, first), *second]


def detached(t):
    return t.detach()
