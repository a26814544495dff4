"""What was decoded of files and is needed again, so that nothing is decoded twice.

Chunks of a cube and blocks of files do not lie alike: a block of 20 m covers several chunks, and
a cloud's margin reaches into the next. Whoever needs a block first decodes it and puts what other
chunks will need of it on the shelf; whoever needs it meanwhile waits. A part is taken once.
"""

from __future__ import annotations

import tempfile
import threading
import uuid
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import dask
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from cubecrop.cube.grid import Window

__all__ = ["Cell", "Key", "Shelf", "Unit"]

#: Row and column of a chunk; layer, scene and band of a file, and what tells it from another that
#: has its name later; row and column of a block in it.
Cell = tuple[int, int]
Key = tuple[int, ...]
Unit = tuple[int, int]

#: Bytes of one temporary file; one that nobody needs any more is gone.
_SEGMENT: Final = 256 * 10**6


_SHELVES: Final[weakref.WeakValueDictionary[str, Shelf]] = weakref.WeakValueDictionary()
_MAKING: Final = threading.Lock()


class Shelf:
    """Parts of blocks, by the chunk that will take them; one to a cube's series and process.

    When all chunks are done it is empty. Where only some are computed it keeps, as long as the
    cube lives, what the others would need.

    Parameters
    ----------
    memory : int
        Bytes held in memory; what is beyond goes to a temporary file, compressed.
    chunks : int
        Chunks of the cube. When all are done, nothing is kept.
    name : str, optional
        Shelves of one name in one process are one: so it is found where a task was sent to.
    """

    def __init__(self, memory: int, *, chunks: int, name: str | None = None) -> None:
        #: How files lie on the grid, of those that were opened.
        self.nests: dict[Key, Any] = {}
        #: What is kept of their first bytes, where GDAL does not; see `cubecrop.cube.access`.
        self.headers: dict[Key, dict[Any, Any]] = {}
        self._name = name or uuid.uuid4().hex
        self._memory = memory
        self._chunks = chunks
        self._done: set[Cell] = set()
        self._held = 0
        self._parts: dict[Cell, dict[tuple[Key, Unit], tuple[Window, Any]]] = {}
        self._busy: set[tuple[Key, Unit]] = set()
        self._opening: set[Key] = set()
        self._changed = threading.Condition()
        self._spool = _Spool()
        if name is None:
            _SHELVES[self._name] = self

    def __reduce__(self) -> tuple[object, ...]:
        return shelf_of, (self._name, self._memory, self._chunks)

    def begin(self, cell: Cell) -> None:
        """Say that a chunk is read; one that was read before begins a further round."""
        with self._changed:
            if cell not in self._done:
                return
            left = self._emptied()
        self._drop_all(left)

    def first(self, key: Key) -> bool:
        """Whether the caller is to open a file that nobody knows, and to call `known` then.

        Chunks that begin together begin with the same files: the others wait, so that a server
        is asked for a header once.
        """
        if key in self.nests:
            return False
        with self._changed:
            self._changed.wait_for(lambda: key in self.nests or key not in self._opening)
            if key in self.nests:
                return False
            self._opening.add(key)
            return True

    def known(self, key: Key) -> None:
        """Say that it is known how a file lies, or that it could not be opened."""
        with self._changed:
            self._opening.discard(key)
            self._changed.notify_all()

    def claim(
        self, cell: Cell, key: Key, units: Sequence[Unit]
    ) -> tuple[list[tuple[Window, NDArray[Any]]], list[Unit], list[Unit]]:
        """Take what there is of blocks; the rest is the caller's to decode, or another's.

        Returns
        -------
        found : list
            Parts, each with its rows and columns in the file.
        mine : list
            Blocks that nobody has: the caller must decode them, and call `release`.
        theirs : list
            Blocks that another thread is decoding; see `wait`.
        """
        taken, mine, theirs = [], [], []
        with self._changed:
            parts = self._parts.get(cell, {})
            for unit in units:
                if (part := parts.pop((key, unit), None)) is not None:
                    taken.append((unit, *part))
                elif not self._is_mine(key, unit):
                    theirs.append(unit)
                else:
                    mine.append(unit)
        found = []
        try:
            for unit, place, kept in taken:
                if (values := self._unpacked(kept)) is not None:
                    found.append((place, values))
                    continue
                with self._changed:
                    (mine if self._is_mine(key, unit) else theirs).append(unit)
        except BaseException:
            self.release(key, mine)
            raise
        return found, mine, theirs

    def _is_mine(self, key: Key, unit: Unit) -> bool:
        """Whether the caller is to decode a block, since nobody else does."""
        if (key, unit) in self._busy:
            return False
        self._busy.add((key, unit))
        return True

    def is_done(self, cell: Cell) -> bool:
        """Whether nothing is to be kept for a chunk."""
        return cell in self._done

    def put(self, cell: Cell, key: Key, unit: Unit, place: Window, values: NDArray[Any]) -> None:
        """Keep a part of a block for a chunk that is not done."""
        kept: NDArray[Any] | _Spooled | None = values
        with self._changed:
            if cell in self._done:
                return
            fits = self._held + values.nbytes <= self._memory
            self._held += values.nbytes if fits else 0
        if not fits and (kept := self._spool.write(values)) is None:
            return  # no room on the disk either: it will be decoded again
        with self._changed:
            if cell in self._done:  # meanwhile
                unneeded = [(place, kept)]
            else:
                parts = self._parts.setdefault(cell, {})
                old = parts.get((key, unit))
                unneeded = [] if old is None else [old]
                parts[key, unit] = (place, kept)
        self._drop_all(unneeded)

    def release(self, key: Key, units: Iterable[Unit]) -> None:
        """Say that blocks are decoded, or failed to be."""
        with self._changed:
            self._busy.difference_update((key, unit) for unit in units)
            self._changed.notify_all()

    def wait(self, key: Key, units: Sequence[Unit]) -> None:
        """Return when no other thread decodes any of these blocks."""
        with self._changed:
            self._changed.wait_for(lambda: not any((key, unit) in self._busy for unit in units))

    def end(self, cell: Cell) -> None:
        """Say that a chunk is done: nothing is kept for it any more."""
        with self._changed:
            self._done.add(cell)
            left = list(self._parts.pop(cell, {}).values())
            if len(self._done) == self._chunks:
                left += self._emptied()
        self._drop_all(left)

    def _emptied(self) -> list[tuple[Window, Any]]:
        """Forget all files and chunks; gives the parts that were kept."""
        left = [part for parts in self._parts.values() for part in parts.values()]
        for known in (self._done, self._parts, self.nests, self.headers):
            known.clear()
        return left

    def _drop_all(self, parts: Iterable[tuple[Window, Any]]) -> None:
        for _, kept in parts:
            self._drop(kept)

    @property
    def held(self) -> tuple[int, int]:
        """Bytes in memory, and in temporary files."""
        return self._held, self._spool.size

    def _unpacked(self, values: NDArray[Any] | _Spooled) -> NDArray[Any] | None:
        if isinstance(values, _Spooled):
            return self._spool.read(values)
        self._drop(values)
        return values

    def _drop(self, values: NDArray[Any] | _Spooled) -> None:
        if isinstance(values, _Spooled):
            self._spool.drop(values)
            return
        with self._changed:
            self._held -= values.nbytes


@dataclass(frozen=True, slots=True)
class _Spooled:
    """Where an array is in the temporary files."""

    segment: _Segment
    start: int
    length: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class _Segment:
    """A temporary file; it has no name, so that not even a kill leaves it behind."""

    def __init__(self) -> None:
        folder = dask.config.get("temporary-directory", None)
        # Without a buffer, so that a full disk is told when something is written.
        self.file: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115
            prefix="cubecrop-", dir=folder, buffering=0
        )
        self.size = 0
        self.left = 0
        self.close = weakref.finalize(self, self.file.close)


def _codec() -> Any:  # noqa: ANN401
    from numcodecs import Blosc

    return Blosc(cname="lz4", clevel=1, shuffle=Blosc.SHUFFLE)


class _Spool:
    """Arrays in temporary files, compressed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: _Segment | None = None
        self.size = 0

    def write(self, values: NDArray[Any]) -> _Spooled | None:
        """Keep an array; None where the disk does not take it."""
        packed = _codec().encode(np.ascontiguousarray(values))
        with self._lock:
            try:
                if self._last is None or self._last.size > _SEGMENT:
                    self._last = _Segment()
                segment = self._last
                segment.file.seek(segment.size)
                if segment.file.write(packed) != len(packed):
                    return None
            except OSError:
                return None
            start = segment.size
            segment.size += len(packed)
            segment.left += len(packed)
            self.size += len(packed)
        return _Spooled(segment, start, len(packed), values.dtype, values.shape)

    def read(self, one: _Spooled) -> NDArray[Any] | None:
        """Take an array out; None where the disk does not give it."""
        out = np.empty(one.shape, one.dtype)
        try:
            with self._lock:
                one.segment.file.seek(one.start)
                packed = one.segment.file.read(one.length)
        except OSError:
            packed = b""
        self.drop(one)
        if len(packed) != one.length:
            return None
        _codec().decode(packed, out=out)
        return out

    def drop(self, one: _Spooled) -> None:
        segment = one.segment
        with self._lock:
            self.size -= one.length
            segment.left -= one.length
            if segment.left > 0:
                return
            if segment is not self._last:
                segment.close()
                return
            with suppress(OSError):
                segment.file.truncate(0)
                segment.size = 0


def shelf_of(name: str, memory: int, chunks: int) -> Shelf:
    """The shelf of a name in this process; it lasts as long as somebody holds it."""
    with _MAKING:
        shelf = _SHELVES.get(name)
        if shelf is None:
            shelf = _SHELVES[name] = Shelf(memory, chunks=chunks, name=name)
        return shelf
