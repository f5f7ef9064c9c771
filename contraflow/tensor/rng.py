"""Random tensors. A ``Generator`` is a seed and a position in a counter-based stream.

Every draw takes whole blocks of four 32-bit words (float64 and integers two words an element), so
``rand(4)`` twice gives the numbers of ``rand(8)``, and ``rand(3)`` twice does not: the rest of the
last block is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from operator import index
from typing import Any

import numpy as np

from contraflow.base.dtypes import DType, as_dtype, default_dtype, float64, int64
from contraflow.base.errors import ArgumentError, DTypeError, lesson
from contraflow.base.modes import at_once
from contraflow.base.philox import block
from contraflow.base.shapes import Shape, read_shape
from contraflow.ops.arith import add_op
from contraflow.ops.cast import convert
from contraflow.ops.checks import check_tensors
from contraflow.ops.random import blocks_for, random_bits, random_normal, random_uniform
from contraflow.ops.rounding import remainder
from contraflow.ops.sort import argsort_op
from contraflow.tensor.arrays import array_of
from contraflow.tensor.create import finish, read_device
from contraflow.tensor.tensor import make
from contraflow.tensor.versions import version_of
from contraflow.tensor.writing import write

__all__ = [
    "Generator", "default_generator", "get_rng_state", "initial_seed", "manual_seed", "rand",
    "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "seed",
    "set_rng_state",
]  # fmt: skip


class Generator:
    """A stream of random numbers: same seed, same numbers, on every machine.

    >>> import contraflow as cf
    >>> g = cf.Generator().manual_seed(1)
    >>> a = cf.rand(2, generator=g)
    >>> bool((cf.rand(2, generator=g.manual_seed(1)) == a).all())
    True
    """

    def __init__(self, device: Any = None) -> None:
        read_device(device)
        self.seed_value = make(np.array(0, np.int64))
        self.offset = make(np.array(0, np.int64))
        self.seed_value._label, self.offset._label = "seed", "random position"

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of ``seed`` from its beginning."""
        if not isinstance(seed, int) or not -(2**63) <= seed < 2**64:
            raise ArgumentError(
                lesson(f"a seed is a 64-bit integer, received {seed!r}", fix="cf.manual_seed(0)")
            )
        signed = seed - 2**64 if seed >= 2**63 else seed
        write(self.seed_value, make(np.array(signed, np.int64)))
        write(self.offset, make(np.array(0, np.int64)))
        return self

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return int(self.seed_value.item())

    def seed(self) -> int:
        """Seed from the operating system's entropy; returns the seed."""
        fresh = int(np.random.SeedSequence().entropy) & (2**62 - 1)  # type: ignore[arg-type]
        self.manual_seed(fresh)
        return fresh

    def get_state(self) -> Any:
        """The state, an int64 tensor: seed and position."""
        return make(np.array([self.seed_value.item(), self.offset.item()], np.int64))

    def set_state(self, state: Any) -> Generator:
        """Continue from a state that ``get_state`` gave."""
        if getattr(state, "dtype", None) is not int64 or tuple(state.shape) != (2,):
            raise DTypeError(
                lesson(
                    "a generator's state is an int64 tensor of shape [2]",
                    fix="g.set_state(g.get_state())",
                )
            )
        seed, offset = state.tolist()
        write(self.seed_value, make(np.array(seed, np.int64)))
        write(self.offset, make(np.array(offset, np.int64)))
        return self

    def draw(self, op: Any, shape: Shape, dtype: DType, *operands: Any) -> Any:
        """Draw with a random op and move on by the blocks that it used."""
        out = op(self.seed_value, self.offset, *operands, shape=shape, dtype=dtype)
        write(self.offset, add_op(self.offset, blocks_for(prod(shape), dtype)))
        return out

    def bits(self, shape: Shape) -> Any:
        """Non-negative int64 with 63 random bits each."""
        return self.draw(random_bits, shape, int64)

    def word(self) -> int:
        """What ``bits(())`` holds, as a Python number, at a third of the cost."""
        seed, position = self.seed_value.item(), self.offset.item()
        high, low, *_ = block(seed, position)
        with at_once():
            array_of(self.offset)[...] = position + 1
            version_of(self.offset).touch()
        return (high << 32 | low) >> 1

    def integers(self, low: int, high: int, shape: Shape) -> Any:
        """Evenly distributed int64 in low..high-1 (to within (high - low) / 2^53, or 2^63)."""
        span = high - low
        if span <= 2**53:
            u = self.draw(random_uniform, shape, float64)
            return convert(u * float(span), dtype=int64) + low
        return remainder(self.bits(shape), span) + low


default_generator = Generator()


def stream(generator: Any) -> Generator:
    """The generator to draw from: the default one unless one is given."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise DTypeError(
            lesson(
                f"generator must be a cf.Generator, not {type(generator).__name__}",
                fix="generator=cf.Generator().manual_seed(0)",
            )
        )
    return generator


def manual_seed(seed: int) -> Generator:
    """Seed the default generator; returns it.

    >>> import contraflow as cf
    >>> _ = cf.manual_seed(0)
    """
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The state of the default generator: int64 tensor of seed and position."""
    return default_generator.get_state()


def set_rng_state(state: Any) -> None:
    """Continue the default generator from a state of ``get_rng_state``."""
    default_generator.set_state(state)


def _floating(dtype: Any, name: str) -> DType:
    chosen = default_dtype() if dtype is None else as_dtype(dtype)
    if not chosen.is_floating_point:
        raise DTypeError(
            lesson(
                f"{name} makes floating-point numbers, not {chosen.name}",
                fix="cf.randint(high, size)",
            )
        )
    return chosen


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Uniform numbers in [0, 1) of the given sizes.

    >>> import contraflow as cf
    >>> cf.rand(2, 3).shape
    contraflow.Size([2, 3])
    """
    read_device(device)
    chosen = _floating(dtype, "rand")
    return finish(stream(generator).draw(random_uniform, read_shape(size), chosen), requires_grad)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Standard normal numbers of the given sizes (Box and Muller, 1958).

    >>> import contraflow as cf
    >>> cf.randn(2, 3).shape
    contraflow.Size([2, 3])
    """
    read_device(device)
    chosen = _floating(dtype, "randn")
    return finish(stream(generator).draw(random_normal, read_shape(size), chosen), requires_grad)


def rand_like(
    input: Any,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Uniform numbers in [0, 1) with the shape and dtype of ``input``.

    >>> import contraflow as cf
    >>> cf.rand_like(cf.zeros(2, 3)).shape
    contraflow.Size([2, 3])
    """
    check_tensors("rand_like", input=input)
    return rand(
        tuple(input.shape),
        generator=generator,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
    )


def randn_like(
    input: Any,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Standard normal numbers with the shape and dtype of ``input``.

    >>> import contraflow as cf
    >>> cf.randn_like(cf.zeros(2, 3)).shape
    contraflow.Size([2, 3])
    """
    check_tensors("randn_like", input=input)
    return randn(
        tuple(input.shape),
        generator=generator,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
    )


def read_range(what: str, low: Any, high: Any, dtype: DType) -> tuple[int, int]:
    """Integers low < high, with low..high-1 inside the dtype."""
    try:
        low, high = index(low), index(high)
    except TypeError:
        raise DTypeError(
            lesson(
                f"{what}: low and high must be integers, received {low!r} and {high!r}",
                fix=f"cf.{what}(0, 10, (3,))",
            )
        ) from None
    if low >= high:
        raise ArgumentError(
            lesson(
                f"{what}: there is no integer from {low} up to, not including, {high}",
                fix="low < high",
            )
        )
    least, most = -(2**63), 2**63 - 1
    if dtype.category == 0:
        least, most = 0, 1
    elif dtype.category == 1:
        least, most = int(np.iinfo(dtype.np).min), int(np.iinfo(dtype.np).max)
    if low < least or high - 1 > most or high - low > 2**63 - 1:
        raise ArgumentError(
            lesson(
                f"{what}: {low}..{high - 1} does not fit into {dtype.name}",
                fix=f"a range inside {least}..{most}, or another dtype",
            )
        )
    return low, high


def randint(
    low: Any = 0,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Integers from ``low`` (0 unless given) up to, not including, ``high``, all equally likely.

    Spelled ``randint(high, size)`` or ``randint(low, high, size)``; int64 unless a dtype is given.

    Raises:
        ArgumentError: if low >= high, or the range does not fit into the dtype.

    >>> import contraflow as cf
    >>> bool((cf.randint(10, (100,)) < 10).all())
    True
    """
    read_device(device)
    if isinstance(high, Iterable) and size is None:
        high, size = None, high
    if high is None:
        low, high = 0, low
    if size is None:
        raise DTypeError(lesson("randint: the size is missing", fix="cf.randint(10, (3,))"))
    chosen = int64 if dtype is None else as_dtype(dtype)
    low, high = read_range("randint", low, high, chosen)
    drawn = stream(generator).integers(low, high, read_shape((size,)))
    return finish(drawn if chosen is int64 else convert(drawn, dtype=chosen), requires_grad)


def randint_like(
    input: Any,
    low: int,
    high: int | None = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Integers as ``randint``, with the shape and dtype of ``input``: ``randint_like(x, high)`` or
    ``randint_like(x, low, high)``.

    >>> import contraflow as cf
    >>> cf.randint_like(cf.zeros(2, 3), 10).dtype
    contraflow.float32
    """
    check_tensors("randint_like", input=input)
    low, high = (0, low) if high is None else (low, high)
    return randint(
        low,
        high,
        tuple(input.shape),
        generator=generator,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
    )


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """The integers 0..n-1 in random order: the order of n random 63-bit numbers.

    Raises:
        ArgumentError: if n is negative.

    >>> import contraflow as cf
    >>> sorted(cf.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    read_device(device)
    if index(n) < 0:
        raise ArgumentError(lesson(f"randperm: n must be >= 0, received {n}"))
    order = argsort_op(stream(generator).bits((index(n),)), dim=0, descending=False)
    chosen = int64 if dtype is None else as_dtype(dtype)
    return finish(order if chosen is int64 else convert(order, dtype=chosen), requires_grad)
