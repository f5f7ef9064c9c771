"""Whether a loop's steps are worth compiling."""

from __future__ import annotations

from typing import Any
from weakref import ref

from contraflow.compiler.piece import Piece

__all__ = ["PATIENCE", "Habit"]

PATIENCE = 64  # steps in a row that are unlike any before


class Habit:
    """What an optimiser's steps have been like: is it worth compiling them?

    That depends on its own steps alone, never on what else ran before, nor on what is compiled
    already: the same program gives the same bits.
    """

    # So many different steps are compiled at once; others, and what was looked at in the middle,
    # when they have come so often.
    FIRST, USUAL = 8, 4

    def __init__(self, optimizer: ref[Any]) -> None:
        self.optimizer = optimizer
        self.counts: dict[Piece, int] = {}
        self.steps = 0  # different ones
        self.misses = 0
        self.native = False

    def allows(self, piece: Piece, looked: bool) -> bool:
        """Whether a piece runs as native code this time."""
        count = self.counts[piece] = self.counts.get(piece, 0) + 1
        self.steps += count == 1 and not looked
        self.native = (self.steps <= self.FIRST and not looked) or count >= self.USUAL
        self.misses = 0 if self.native or looked else self.misses + 1
        if self.misses > PATIENCE:
            optimizer = self.optimizer()
            if optimizer is not None:
                optimizer._plain = True
        return self.native
