"""Tables of vectors, looked up by integers."""

from __future__ import annotations

from typing import Any

from contraflow.base.errors import ShapeError, lesson
from contraflow.nn import functional as F
from contraflow.nn.checks import check_choice, check_size
from contraflow.nn.init import normal_
from contraflow.nn.lookup import read_padding_idx
from contraflow.nn.module import Module
from contraflow.nn.parameter import Parameter
from contraflow.tensor.create import empty
from contraflow.tensor.grad_mode import no_grad

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """What both layers keep: the table and how it is looked up."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None,
        max_norm: float | None, norm_type: float, scale_grad_by_freq: bool, sparse: bool,
        weight: Any, freeze: bool, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        self.num_embeddings = check_size(name, "num_embeddings", num_embeddings)
        self.embedding_dim = check_size(name, "embedding_dim", embedding_dim)
        self.padding_idx = read_padding_idx(name, padding_idx, num_embeddings)
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        shape = (num_embeddings, embedding_dim)
        if weight is None:
            self.weight = Parameter(empty(shape, device=device, dtype=dtype), not freeze)
            self.reset_parameters()
            return
        if tuple(weight.shape) != shape:
            raise ShapeError(
                lesson(f"{name}: the given table is {list(weight.shape)}, not {list(shape)}",
                       fix=f"nn.{name}.from_pretrained(weight)")
            )  # fmt: skip
        self.weight = Parameter(weight, not freeze)

    def reset_parameters(self) -> None:
        """Draw the table from the standard normal; the padding row is 0."""
        normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].fill_(0)

    def extra_repr(self) -> str:
        """The sizes, and what is not the default."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return text


class Embedding(_Table):
    """A learned vector for each integer from 0 to ``num_embeddings - 1``.

    Shapes: integers ``[...]`` give ``[..., embedding_dim]``.

    >>> import contraflow as cf
    >>> cf.nn.Embedding(10, 4)(cf.tensor([[1, 2, 3]])).shape
    contraflow.Size([1, 3, 4])
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False, _weight: Any = None, _freeze: bool = False, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
                         scale_grad_by_freq, sparse, _weight, _freeze, device, dtype)  # fmt: skip

    def forward(self, input: Any) -> Any:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq, self.sparse)  # fmt: skip

    def extra_repr(self) -> str:
        """The sizes, and what is not the default."""
        return super().extra_repr() + (", sparse=True" if self.sparse else "")

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Any:  # fmt: skip
        """A layer on a given table, which does not learn unless ``freeze=False``."""
        rows, columns = table_shape(embeddings)
        return cls(rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
                   embeddings, freeze)  # fmt: skip


class EmbeddingBag(_Table):
    """Sums, means or maxima of the vectors of bags of integers.

    Shapes: ``[B, N]``, or ``[M]`` with ``offsets`` ``[B]``, gives ``[B, embedding_dim]``.

    >>> import contraflow as cf
    >>> bag = cf.nn.EmbeddingBag(10, 3, mode="sum")
    >>> bag(cf.tensor([1, 2, 3, 4]), cf.tensor([0, 3])).shape
    contraflow.Size([2, 3])
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
        sparse: bool = False, _weight: Any = None, include_last_offset: bool = False,
        padding_idx: int | None = None, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        check_choice("EmbeddingBag", "mode", mode, ("mean", "sum", "max"))
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
                         scale_grad_by_freq, sparse, _weight, False, device, dtype)  # fmt: skip
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The sizes, and what is not the default."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        text += f", mode={self.mode!r}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        return text

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
        sparse: bool = False, include_last_offset: bool = False, padding_idx: int | None = None,
    ) -> Any:  # fmt: skip
        """A layer on a given table, which does not learn unless ``freeze=False``."""
        rows, columns = table_shape(embeddings)
        made = cls(rows, columns, max_norm, norm_type, scale_grad_by_freq, mode, sparse,
                   embeddings, include_last_offset, padding_idx)  # fmt: skip
        made.weight.requires_grad_(not freeze)
        return made


def table_shape(embeddings: Any) -> tuple[int, int]:
    """Rows and columns of a given table."""
    if embeddings.ndim != 2:
        raise ShapeError(lesson("a table of embeddings is a matrix", [("given", embeddings.aval)]))
    rows, columns = embeddings.shape
    return rows, columns
