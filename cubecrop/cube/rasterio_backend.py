"""The default backend: one task reads what a chunk needs of all files, many at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Final

import dask.array as da
import numpy as np
from dask.base import tokenize

from cubecrop.cube.access import FILES_AT_ONCE, Web, is_remote, many_files, stamp
from cubecrop.cube.backend import extent_of, reach_of, sources_of
from cubecrop.cube.blocks import Cells, Request
from cubecrop.cube.grid import MEMORY, Lattice, Window, lattice_of
from cubecrop.cube.planes import Plane, Reading
from cubecrop.cube.read import (
    Layer,
    WindowReader,
    margin_of,
    read_layer,
)
from cubecrop.cube.read_planes import read_plane
from cubecrop.cube.shelf import Cell, Shelf
from cubecrop.errors import ReadError
from cubecrop.losses import Loss, OnError, constant, switch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from odc.geo.geobox import GeoBox

    from cubecrop.cube.grid import Chunks
    from cubecrop.cube.source import Source
    from cubecrop.schema import Scene

__all__ = ["RasterioBackend"]

#: Share of a thread's memory that decoded parts of other chunks take, once in a process.
_KEPT: Final = 0.15


class RasterioBackend:
    """Reads with rasterio, all files of a chunk in one task, and each block of a file once.

    Files of another machine are read 16 at a time in each task, so that waiting for one does
    not keep the others waiting; those of a disk one after another, since Dask's threads
    already keep the cores busy. What is decoded and belongs to other chunks is kept for them,
    see `cubecrop.cube.shelf`.
    """

    def __init__(self, *, memory: float = MEMORY) -> None:
        """Keep up to 15 % of ``memory`` bytes for other chunks in memory, the rest on disk."""
        self._memory = memory

    #: What brings one file to the lattice, window by window; by default files are read block
    #: by block as they are.
    read: ClassVar[WindowReader | None] = None
    #: What opens files of an HTTP server; by default GDAL.
    web: ClassVar[Web | None] = None
    #: Files of other machines that one task reads at a time.
    at_once: ClassVar[int] = FILES_AT_ONCE

    def stack(
        self,
        scenes: Sequence[Scene],
        layers: Sequence[Layer],
        grid: GeoBox,
        *,
        chunks: Chunks,
        on_error: OnError = "raise",
        gate: int | None = None,
    ) -> da.Array:
        """Stack assets of every scene, lazily; see `Backend.stack`."""
        lattice = lattice_of(grid)
        origin = lattice.window(grid)
        plan = _Plan(
            lattice=lattice,
            cells=Cells(
                rows=tuple(accumulate(chunks[0], initial=origin.row)),
                columns=tuple(accumulate(chunks[1], initial=origin.column)),
            ),
            layers=tuple(layers),
            sources=tuple(_placed(scenes, layer, lattice) for layer in layers),
            gate=gate,
            read=type(self).read,
            web=type(self).web,
            at_once=self.at_once,
            shelf=Shelf(int(self._memory * _KEPT), chunks=len(chunks[0]) * len(chunks[1])),
        )
        functions = [layer.finish for layer in layers], plan.read, plan.web
        token = tokenize(plan.told(), functions, chunks, on_error)
        # The plan stands in the graph once: every task depends on it by name.
        readings: da.Array = da.map_blocks(
            _read_chunk,
            plan=constant(f"cubecrop-plan-{token}", plan),
            on_error=switch(on_error),
            chunks=chunks,
            dtype=object,
            meta=np.empty((0, 0), object),
            name=f"cubecrop-stack-{token}",
        )
        return readings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A file and the part of the lattice that it may reach."""

    source: Source
    reach: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What all tasks of a stack share. ``sources`` are by layer, scene and band."""

    lattice: Lattice
    cells: Cells
    layers: tuple[Layer, ...]
    sources: tuple[tuple[tuple[_Place, ...], ...], ...]
    gate: int | None
    read: WindowReader | None
    web: Web | None
    at_once: int
    shelf: Shelf

    def told(self) -> str:
        """All that decides the values but for the layers' functions, for a name."""
        layers = [(x.bands, x.dtype, x.fill, x.raw_fill, x.resampling, x.halo, x.replicate)
                  for x in self.layers]  # fmt: skip
        return repr((self.lattice, self.cells, layers, self.sources, self.gate))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """One chunk of a stack as it is read: ``planes`` by layer, scene and band."""

    plan: _Plan
    cell: Cell
    on_error: OnError
    planes: list[list[list[Plane | None]]]

    @property
    def window(self) -> Window:
        return self.plan.cells.window(self.cell)


def _placed(
    scenes: Sequence[Scene], layer: Layer, lattice: Lattice
) -> tuple[tuple[_Place, ...], ...]:
    placed = []
    for scene in scenes:
        reach = [reach_of(extent_of(scene, band, lattice.crs), lattice) for band in layer.bands]
        sources = sources_of(scene, layer.bands)
        placed.append(tuple(_Place(source=s, reach=r) for s, r in zip(sources, reach, strict=True)))
    return tuple(placed)


def _read_chunk(
    *,
    plan: _Plan,
    on_error: OnError,
    block_info: Mapping[object, Mapping[str, Sequence[int]]],
) -> Reading:
    """Read one chunk: the first layer of every scene, then the others where they are needed."""
    row, column = block_info[None]["chunk-location"]
    chunk = _Chunk(
        plan=plan,
        cell=(row, column),
        on_error=on_error,
        planes=[
            [[None] * len(layer.bands) for _ in placed]
            for layer, placed in zip(plan.layers, plan.sources, strict=True)
        ],
    )
    plan.shelf.begin(chunk.cell)
    try:
        with many_files():
            losses = _read_planes(chunk)
    finally:
        plan.shelf.end(chunk.cell)
    for scene in losses:
        _mark_lost(chunk, scene)
    window = chunk.window
    return Reading(
        planes=chunk.planes,
        shape=(window.height, window.width),
        losses=tuple(losses[scene] for scene in sorted(losses)),
    )


def _read_planes(chunk: _Chunk) -> dict[int, Loss]:
    """Read what is needed into a chunk's planes; a loss each of scenes that failed."""
    plan, window = chunk.plan, chunk.window
    scenes = range(len(plan.sources[0]))
    losses = _read_files(chunk, [(0, scene, window) for scene in scenes])
    needed: list[tuple[int, int, Window]] = []
    idle: list[tuple[int, int, Window]] = []
    for scene in scenes:
        part = _needed(chunk, scene)
        (idle if part is None else needed).extend(
            (k, scene, part or window) for k in range(1, len(plan.layers))
        )
    losses |= _read_files(chunk, needed)
    losses |= _read_files(chunk, idle, look=True)
    return losses


def _needed(chunk: _Chunk, scene: int) -> Window | None:
    """The rectangle of a chunk around the pixels that pass the gate; None if none does."""
    if chunk.plan.gate is None:
        return chunk.window
    mask = chunk.planes[0][scene][0]
    if mask is None:
        return None
    window = chunk.window
    passes = mask.spread((window.height, window.width)) == chunk.plan.gate
    rows, columns = np.flatnonzero(passes.any(axis=1)), np.flatnonzero(passes.any(axis=0))
    if not len(rows):
        return None
    return Window(
        window.row + int(rows[0]),
        window.column + int(columns[0]),
        int(rows[-1] - rows[0]) + 1,
        int(columns[-1] - columns[0]) + 1,
    )


def _read_files(
    chunk: _Chunk, wanted: Iterable[tuple[int, int, Window]], *, look: bool = False
) -> dict[int, Loss]:
    """Read files of layers and scenes into place; a loss each of scenes that failed.

    With ``look`` no value is needed, and files of this machine are only looked at, a pixel
    each: one that is missing or cut short is an error, though all is cloud.
    """
    plan = chunk.plan
    todo = [
        (layer, scene, band, place, need)
        for layer, scene, need in wanted
        for band, place in enumerate(plan.sources[layer][scene])
        if place.reach.meets(need) and not (look and is_remote(place.source.href))
    ]

    def read(one: tuple[int, int, int, _Place, Window]) -> tuple[int, Loss] | None:
        layer, scene, band, place, need = one
        try:
            part = _last_pixel(place.reach, need) if look else need
            found = _plane(chunk, (layer, scene, band), place, part, look=look)
            if not look:
                chunk.planes[layer][scene][band] = found
        except ReadError as error:
            if chunk.on_error == "raise":
                raise
            one_file = place.source
            return scene, Loss(
                item=one_file.item, asset=one_file.asset, error=str(error), file=one_file.href
            )
        return None

    remote = any(is_remote(place.source.href) for _, _, _, place, _ in todo)
    losses: dict[int, Loss] = {}
    for one in _each(read, todo, at_once=plan.at_once if remote else 1):
        if one is not None:
            losses.setdefault(*one)
    return losses


def _plane(
    chunk: _Chunk, key: tuple[int, int, int], place: _Place, need: Window, *, look: bool
) -> Plane | None:
    """What a chunk needs of one file."""
    plan, layer = chunk.plan, chunk.plan.layers[key[0]]
    if plan.read is not None:
        window = need if look else chunk.window
        values = read_layer(
            place.source, layer, plan.lattice, window, reach=place.reach, read=plan.read
        )
        return Plane(values)
    request = Request(
        cells=plan.cells,
        cell=chunk.cell,
        key=(*key, *stamp(place.source.href)),
        margin=margin_of(layer, plan.lattice),
        shelf=plan.shelf,
        web=plan.web,
    )
    return read_plane(place.source, layer, plan.lattice, need, request, reach=place.reach)


def _last_pixel(reach: Window, window: Window) -> Window:
    """The lower right pixel that a file has in a window: the first to go with a file's end."""
    row = min(reach.row + reach.height, window.row + window.height) - 1
    column = min(reach.column + reach.width, window.column + window.width) - 1
    return Window(row, column, 1, 1)


def _each(
    function: Callable[[Any], Any], arguments: Sequence[Any], *, at_once: int
) -> Iterable[Any]:
    """Call a function with each argument, in threads where some may run at once."""
    if at_once == 1 or len(arguments) < 2:
        return list(map(function, arguments))
    with ThreadPoolExecutor(min(at_once, len(arguments))) as pool:
        futures = [pool.submit(function, one) for one in arguments]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _mark_lost(chunk: _Chunk, scene: int) -> None:
    """Take a scene out of a chunk: what it would cover is lost, and no band of it is kept."""
    window = chunk.window
    for layer, placed, planes in zip(
        chunk.plan.layers, chunk.plan.sources, chunk.planes, strict=True
    ):
        for band, place in enumerate(placed[scene]):
            planes[scene][band] = None
            rows, columns = place.reach.within(window)
            if layer.lost is not None and place.reach.meets(window):
                values = np.full((window.height, window.width), layer.fill, layer.dtype)
                values[rows, columns] = layer.lost
                planes[scene][band] = Plane(values)
