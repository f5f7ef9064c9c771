"""Models in one file: the layers as data beside the weights, so that a file rebuilds its model.

A layer is saved as its name and its arguments. Only names of the table below are read back, and
the shapes that the arguments call for are compared with the tensors of the file before anything is
built: a file can neither run code nor ask for memory that it does not fill itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from contraflow import nn
from contraflow.base.dtypes import float32
from contraflow.base.errors import ContraflowError, DTypeError, FileError, ShapeError, lesson
from contraflow.base.files import damaged
from contraflow.interop.files import load, save
from contraflow.tensor.create import as_tensor
from contraflow.tensor.rng import get_rng_state, set_rng_state
from contraflow.tensor.tensor import Tensor

__all__ = ["Scale", "load_model", "save_model"]

KEY = "contraflow"  # where a file keeps all that is no weight
FORMAT = 1
Shapes = dict[str, tuple[int, ...]]


class Scale(nn.Module):
    """y = weight · x + bias with fixed numbers for each channel (dimension 1): brings raw features
    to mean 0 and variance 1 inside the model, so that it can be given raw ones.

    >>> import contraflow as cf
    >>> x = cf.tensor([[1.0, 10.0], [3.0, 30.0]])
    >>> cf.train.Scale.standardizing(x)(x)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.register_buffer("weight", as_tensor([1.0] * num_features))
        self.register_buffer("bias", as_tensor([0.0] * num_features))

    @classmethod
    def of(cls, weight: Any, bias: Any) -> Scale:
        """The layer with these numbers."""
        scale = cls(len(weight))
        scale.weight.copy_(as_tensor(weight, dtype=float32))
        scale.bias.copy_(as_tensor(bias, dtype=float32))
        return scale

    @classmethod
    def standardizing(cls, x: Any) -> Scale:
        """The layer that gives each channel of x mean 0 and variance 1 (a constant one mean 0)."""
        mean, std = moments(x)
        return cls.of(1 / std, -mean / std)

    @classmethod
    def restoring(cls, x: Any) -> Scale:
        """The layer that gives what has mean 0 and variance 1 the mean and variance of x."""
        mean, std = moments(x)
        return cls.of(std, mean)

    def forward(self, input: Any) -> Any:
        if input.ndim < 2 or input.shape[1] != self.num_features:
            raise ShapeError(
                lesson(
                    f"the model was made for {self.num_features} features or channels",
                    [("input", input)],
                    "a batch [N, features] or [N, channels, H, W]; x.unsqueeze(0) for one sample",
                )
            )
        shape = (1, -1, *[1] * (input.ndim - 2))  # bool and integers become float32 here
        return input * self.weight.reshape(shape) + self.bias.reshape(shape)

    def extra_repr(self) -> str:
        """The number of channels."""
        return f"{self.num_features}"


def moments(x: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of each channel, in float64; 1 where nothing varies."""
    array = x.numpy().astype("float64")
    axes = (0, *range(2, array.ndim))
    mean, std = array.mean(axis=axes), array.std(axis=axes)
    std[~(std > 0)] = 1.0
    return mean, std


# ---- layers as data ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """How one kind of layer is saved: the arguments that rebuild it, and the shapes of its state
    that follow from them."""

    kind: type
    options: tuple[str, ...] = ()
    shapes: Callable[[Any], Shapes] = lambda o: {}


def linear(o: Mapping[str, Any]) -> Shapes:
    return {"weight": (o["out_features"], o["in_features"]), **bias(o, "out_features")}


def convolution(o: Mapping[str, Any]) -> Shapes:
    inner = o["in_channels"] // o["groups"]
    return {"weight": (o["out_channels"], inner, *o["kernel_size"]), **bias(o, "out_channels")}


def batch_norm(o: Mapping[str, Any]) -> Shapes:
    n = (o["num_features"],)
    return {"weight": n, "bias": n, "running_mean": n, "running_var": n, "num_batches_tracked": ()}


def bias(o: Mapping[str, Any], size: str) -> Shapes:
    return {"bias": (o[size],)} if o["bias"] else {}


def scale(o: Mapping[str, Any]) -> Shapes:
    return {"weight": (o["num_features"],), "bias": (o["num_features"],)}


CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
        "bias", "padding_mode")  # fmt: skip
POOL = ("kernel_size", "stride", "padding")
NORM = ("num_features", "eps", "momentum")
LAYERS = {
    layer.kind.__name__: layer
    for layer in (
        Layer(Scale, ("num_features",), scale),
        Layer(nn.Linear, ("in_features", "out_features", "bias"), linear),
        Layer(nn.Conv1d, CONV, convolution),
        Layer(nn.Conv2d, CONV, convolution),
        Layer(nn.BatchNorm1d, NORM, batch_norm),
        Layer(nn.BatchNorm2d, NORM, batch_norm),
        Layer(nn.MaxPool2d, POOL),
        Layer(nn.AvgPool2d, POOL),
        Layer(nn.Flatten, ("start_dim", "end_dim")),
        Layer(nn.Dropout, ("p",)),
        Layer(nn.LeakyReLU, ("negative_slope",)),
        Layer(nn.GELU, ("approximate",)),
        *(Layer(k) for k in (nn.Identity, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Tanh)),
    )
}


def describe(model: Any) -> list[list[Any]]:
    """The layers of a Sequential as names and arguments.

    Raises:
        DTypeError: for a model that cannot be rebuilt from such a list.
    """
    if type(model) is not nn.Sequential or list(model._modules) != [
        str(i) for i in range(len(model))
    ]:
        raise unknown(model)
    described = []
    for module in model:
        layer = LAYERS.get(type(module).__name__)
        if layer is None or layer.kind is not type(module):
            raise unknown(module)
        options = {name: getattr(module, name) for name in layer.options}
        if "bias" in options:
            options["bias"] = options["bias"] is not None
        if repr(make_layers([(layer, options)])[0]) != repr(module):
            raise unknown(module)  # it has an argument that is not in the table
        described.append([type(module).__name__, options])
    return described


def make_layers(layers: Iterable[tuple[Layer, Mapping[str, Any]]]) -> list[Any]:
    """Layers with any weights; making them draws no random numbers, as seen from outside."""
    before = get_rng_state()
    try:
        return [layer.kind(**options) for layer, options in layers]
    finally:
        set_rng_state(before)


def unknown(part: Any) -> DTypeError:
    """The error for a model or layer that is not in the table."""
    return DTypeError(
        lesson(
            f"save_model cannot describe {part!r:.80}",
            [("it knows", "an nn.Sequential of " + " ".join(LAYERS))],
            "save the weights alone, cf.save(model.state_dict(), path), and keep the class as code",
        )
    )


def build(described: Any, state: Mapping[str, Any], path: Any) -> Any:
    """The model of a description, after comparing it with the tensors that it must hold.

    Raises:
        FileError: for a description that is not of the schema, or does not fit the tensors.
    """
    wanted: Shapes = {}
    try:
        for i, (name, options) in enumerate(described):
            layer = LAYERS[name]
            if set(options) != set(layer.options) or not all(map(harmless, options.items())):
                raise damaged(path, f"layer {i} ({name}) has other options than {layer.options}")
            wanted |= {f"{i}.{key}": shape for key, shape in layer.shapes(options).items()}
        there = {key: tuple(value.shape) for key, value in state.items()}
        if there != wanted:
            odd = sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))
            raise damaged(path, f"its layers do not fit its tensors at {odd[:5]}")
        made = make_layers((LAYERS[name], options) for name, options in described)
    except FileError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        ContraflowError,
    ) as e:
        why = str(e).split("\n")[0] or type(e).__name__
        raise damaged(path, f"its layers are not valid ({why})") from None
    return nn.Sequential(*made)


# What arguments of the wrong type or size make the table's functions and the layers raise.
WRONG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, ContraflowError)
SIZES = ("in_features", "out_features", "in_channels", "out_channels", "num_features", "groups")


def harmless(option: tuple[str, Any]) -> bool:
    """Whether an option is plain data; windows are small, sizes are compared with the tensors."""
    name, value = option
    if isinstance(value, tuple):
        return len(value) <= 3 and all(harmless((name, v)) for v in value)
    if name not in SIZES and isinstance(value, int):
        return abs(value) <= 64
    return value is None or isinstance(value, int | float | str)


# ---- files -------------------------------------------------------------------------------------


def save_model(model: Any, path: Any, about: Mapping[str, Any] | None = None) -> None:
    """Save an ``nn.Sequential`` with what is needed to build it again: safetensors, with a digest.

    The weights stand in the file under PyTorch's names.

    Args:
        model: an ``nn.Sequential`` of common layers.
        path: by custom, ``model.safetensors``.
        about: anything to keep beside it: numbers, texts, lists and dicts of them.

    Raises:
        DTypeError: for a model of another kind.
        FileError: if the file cannot be written.

    >>> import contraflow as cf
    >>> model = cf.nn.Sequential(cf.nn.Linear(4, 3), cf.nn.ReLU())
    >>> cf.train.save_model(model, "model.safetensors", {"classes": ["a", "b", "c"]})
    >>> model, about = cf.train.load_model("model.safetensors")
    >>> model(cf.ones(2, 4)).shape, about["classes"]
    (contraflow.Size([2, 3]), ['a', 'b', 'c'])
    """
    note = {"format": FORMAT, "layers": describe(model), "about": dict(about or {})}
    save({**model.state_dict(), KEY: note}, path)


def load_model(path: Any) -> tuple[Any, dict[str, Any]]:
    """Build the model of a file of ``save_model``, in evaluation mode, and what is said about it.

    Raises:
        FileError: for a file that is missing, damaged, hostile, or holds weights only.
    """
    found = load(path)
    note = found.pop(KEY, None) if isinstance(found, dict) else None
    if not isinstance(note, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise damaged(
            path,
            "it holds no model of save_model",
            "build the model in code, then model.load_state_dict(cf.load(path))",
        )
    if set(note) != {"format", "layers", "about"} or not isinstance(note["about"], dict):
        raise damaged(path, "its description of the model is not of the schema")
    if note["format"] != FORMAT:
        raise damaged(path, f"it is of format {note['format']}, this version knows {FORMAT}",
                      "update contraflow")  # fmt: skip
    model = build(note["layers"], found, path)
    try:
        model.load_state_dict(found)
    except ContraflowError as error:
        raise damaged(path, str(error).split("\n")[0]) from None
    return model.eval(), note["about"]
