"""Keeps decoded parts of files that other chunks need, so that no block is decoded twice.

Chunks of a cube and blocks of files are not aligned: a block of 20 m pixels covers several
chunks, and the margin of a cloud mask reaches into the next chunk. The first task that needs a
block decodes it and puts the parts for other chunks on the shelf. Tasks that need the block
meanwhile wait. Each part is taken once.
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

#: Cell: row and column of a chunk. Key: layer, scene and band of a file, then its `stamp`. Unit:
#: row and column of a block in the file.
Cell = tuple[int, int]
Key = tuple[int, ...]
Unit = tuple[int, int]

#: Bytes of one temporary file; each is deleted when no part in it is needed any more.
_SEGMENT: Final = 256 * 10**6


_SHELVES: Final[weakref.WeakValueDictionary[str, Shelf]] = weakref.WeakValueDictionary()
_MAKING: Final = threading.Lock()


class Shelf:
    """Parts of blocks by the chunk that will take them; one shelf a satellite series and process.

    It is empty when all chunks are done. If only some chunks are computed, it keeps what the
    others would need for as long as the cube exists.

    Parameters
    ----------
    memory : int
        Bytes kept in memory; more goes to temporary files, compressed.
    chunks : int
        Chunks of the cube. When all are done, nothing is kept.
    name : str, optional
        Within a process, a name stands for one shelf; so all tasks that are sent to a worker
        share a shelf.
    """

    def __init__(self, memory: int, *, chunks: int, name: str | None = None) -> None:
        #: How the opened files nest in the lattice.
        self.nests: dict[Key, Any] = {}
        #: First bytes of files, if GDAL does not cache them; see `cubecrop.cube.access`.
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
        """Mark a chunk as being read; if it was done before, forget everything."""
        with self._changed:
            if cell not in self._done:
                return
            dropped = self._emptied()
        self._drop_all(dropped)

    def first(self, key: Key) -> bool:
        """Whether the caller must open an unknown file, and call `known` afterwards.

        Chunks that start at the same time start with the same files. All but one wait here, so
        that a header is requested once.
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
        """Say that a file was opened and is in `nests`, or that it could not be opened."""
        with self._changed:
            self._opening.discard(key)
            self._changed.notify_all()

    def claim(
        self, cell: Cell, key: Key, units: Sequence[Unit]
    ) -> tuple[list[tuple[Window, NDArray[Any]]], list[Unit], list[Unit]]:
        """Take the parts that are on the shelf, and claim blocks that nobody is decoding.

        Returns
        -------
        found : list
            Parts, each with its rows and columns in the file.
        mine : list
            Blocks that the caller must decode; it must call `release` afterwards.
        theirs : list
            Blocks that another thread is decoding; see `wait`.
        """
        ready, mine, theirs = [], [], []
        with self._changed:
            parts = self._parts.get(cell, {})
            for unit in units:
                if (part := parts.pop((key, unit), None)) is not None:
                    ready.append((unit, *part))
                elif not self._claim_block(key, unit):
                    theirs.append(unit)
                else:
                    mine.append(unit)
        found = []
        try:
            for unit, place, kept in ready:
                if (values := self._unpacked(kept)) is not None:
                    found.append((place, values))
                    continue
                with self._changed:
                    (mine if self._claim_block(key, unit) else theirs).append(unit)
        except BaseException:
            self.release(key, mine)
            raise
        return found, mine, theirs

    def _claim_block(self, key: Key, unit: Unit) -> bool:
        """Claim a block for decoding; False if another thread is decoding it."""
        if (key, unit) in self._busy:
            return False
        self._busy.add((key, unit))
        return True

    def is_done(self, cell: Cell) -> bool:
        """Whether a chunk is done, so that nothing must be kept for it."""
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
            return  # the disk is full too: the block will be decoded again
        with self._changed:
            if cell in self._done:  # it was finished meanwhile
                unneeded = [(place, kept)]
            else:
                parts = self._parts.setdefault(cell, {})
                old = parts.get((key, unit))
                unneeded = [] if old is None else [old]
                parts[key, unit] = (place, kept)
        self._drop_all(unneeded)

    def release(self, key: Key, units: Iterable[Unit]) -> None:
        """Say that claimed blocks were decoded, or that decoding failed."""
        with self._changed:
            self._busy.difference_update((key, unit) for unit in units)
            self._changed.notify_all()

    def wait(self, key: Key, units: Sequence[Unit]) -> None:
        """Wait until no thread is decoding any of these blocks."""
        with self._changed:
            self._changed.wait_for(lambda: not any((key, unit) in self._busy for unit in units))

    def end(self, cell: Cell) -> None:
        """Mark a chunk as done, and drop everything that was kept for it."""
        with self._changed:
            self._done.add(cell)
            dropped = list(self._parts.pop(cell, {}).values())
            if len(self._done) == self._chunks:
                dropped += self._emptied()
        self._drop_all(dropped)

    def _emptied(self) -> list[tuple[Window, Any]]:
        """Forget all files and chunks; returns the parts that were kept, to be dropped."""
        dropped = [part for parts in self._parts.values() for part in parts.values()]
        for record in (self._done, self._parts, self.nests, self.headers):
            record.clear()
        return dropped

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
    """A temporary file without a name, so that not even a killed process leaves it behind."""

    def __init__(self) -> None:
        folder = dask.config.get("temporary-directory", None)
        # Without a buffer, so that a write to a full disk fails at once.
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
        """Write an array; None if the disk is full."""
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

    def read(self, array: _Spooled) -> NDArray[Any] | None:
        """Read an array and remove it; None if it cannot be read."""
        out = np.empty(array.shape, array.dtype)
        try:
            with self._lock:
                array.segment.file.seek(array.start)
                packed = array.segment.file.read(array.length)
        except OSError:
            packed = b""
        self.drop(array)
        if len(packed) != array.length:
            return None
        _codec().decode(packed, out=out)
        return out

    def drop(self, array: _Spooled) -> None:
        segment = array.segment
        with self._lock:
            self.size -= array.length
            segment.left -= array.length
            if segment.left > 0:
                return
            if segment is not self._last:
                segment.close()
                return
            with suppress(OSError):
                segment.file.truncate(0)
                segment.size = 0


def shelf_of(name: str, memory: int, chunks: int) -> Shelf:
    """The shelf of a name in this process; it exists as long as something refers to it."""
    with _MAKING:
        shelf = _SHELVES.get(name)
        if shelf is None:
            shelf = _SHELVES[name] = Shelf(memory, chunks=chunks, name=name)
        return shelf
