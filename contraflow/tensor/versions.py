"""When memory was last written, and who else sees it.

The first tells backward that a value it kept was overwritten; the second tells what puts ops off
that somebody may look at any time, or write.

A tensor and its views share a ``Version``. One clock counts the writes in place and the ops that
are recorded, so that one comparison says which of two came first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from contraflow.base.source import Place, line_at

__all__ = ["Version", "Writer", "clock", "is_shared", "last_write", "version_of", "written_at"]

clock = count(1)


class Version:
    """When a piece of memory was last written; a tensor and its views share it.

    Attributes:
        n: when; place: by which line of the user's code.
        sharers: for each who sees the memory without being a tensor of this version (an array of
            NumPy, a tensor tied to it by ``.data``), a call that gives None once it is gone.
    """

    __slots__ = ("n", "place", "sharers", "writer")

    n: int
    place: Place | None
    sharers: tuple[Callable[[], Any], ...]
    writer: Writer

    def __init__(self) -> None:
        self.n = 0
        self.place = None
        self.sharers = ()

    def touch(self, place: Place | None = None) -> None:
        """The memory is written now, by the user's code at ``place``."""
        self.n = next(clock)
        self.place = place

    def share(self, sharer: Callable[[], Any]) -> None:
        """From now on somebody else sees the memory."""
        self.sharers = (*(s for s in self.sharers if s() is not None), sharer)


class Writer:
    """Writes many tensors at once, again and again: one number says when it did so last.

    Attributes:
        n: when it wrote last.
        lost: versions that another writer has claimed since.
    """

    __slots__ = ("lost", "n")

    def __init__(self) -> None:
        self.n = 0
        self.lost: list[Version] = []

    def claim(self, versions: Iterable[Version]) -> None:
        """From now on these are as new as the last ``touch``."""
        for version in versions:
            before = getattr(version, "writer", None)
            if before is not self:
                n = version.n
                version.writer = self
                version.__class__ = Written
                version.n = n
                if before is not None:
                    before.lost.append(version)

    def touch(self) -> None:
        """All of its tensors are written now."""
        if self.lost:
            lost, self.lost = self.lost, []
            self.claim(lost)
        self.n = next(clock)


_own_n: Any = Version.__dict__["n"]
_own_place: Any = Version.__dict__["place"]


class Written(Version):
    """A version that somebody touches for many tensors at once."""

    __slots__ = ()

    @property
    def n(self) -> int:
        own: int = _own_n.__get__(self)
        return max(own, self.writer.n)

    @n.setter
    def n(self, value: int) -> None:
        _own_n.__set__(self, value)

    @property
    def place(self) -> Place | None:
        by_user = _own_n.__get__(self) > self.writer.n
        return _own_place.__get__(self) if by_user else None

    @place.setter
    def place(self, value: Place | None) -> None:
        _own_place.__set__(self, value)


def version_of(t: Any) -> Version:
    """The version that the tensor shares with its views."""
    if t._version is None:
        t._version = Version()
    return t._version  # type: ignore[no-any-return]


def is_shared(t: Any) -> bool:
    """Whether the memory of a tensor can be seen, and written, by what is no tensor of its own."""
    version = t._version
    return version is not None and any(sharer() is not None for sharer in version.sharers)


def last_write(t: Any) -> int:
    """When a tensor was last written; 0 for what nobody writes to."""
    version = getattr(t, "_version", None)  # a Python number has none
    return 0 if version is None else version.n


def written_at(version: Version | None) -> list[tuple[str, Any]]:
    """The line of the user's code that wrote last, as a row of a message."""
    line = None if version is None else line_at(version.place)
    return [] if line is None else [("written at", line)]
