"""The default backend: one task reads all files that a chunk needs, many at a time."""

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
from cubecrop.lost_scenes import Loss, OnError, constant, switch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from odc.geo.geobox import GeoBox

    from cubecrop.cube.grid import Chunks
    from cubecrop.cube.source import Source
    from cubecrop.schema import Scene

__all__ = ["RasterioBackend"]

#: Share of one thread's memory for decoded parts of other chunks; used once per process.
_KEPT: Final = 0.15


class RasterioBackend:
    """Reads with rasterio: all files of a chunk in one task, and each block of a file once.

    A task reads 16 remote files at a time, so that a slow one does not delay the others. It reads
    local files one after another, since Dask's threads already keep the cores busy. Decoded parts
    that other chunks need are kept for them, see `cubecrop.cube.shelf`.
    """

    def __init__(self, *, memory: float = MEMORY) -> None:
        """Use 15 % of ``memory`` bytes for parts that other chunks need, and the disk beyond."""
        self._memory = memory

    #: Reads one file onto the lattice, window by window; by default files are read block by
    #: block, in their own resolution.
    read: ClassVar[WindowReader | None] = None
    #: Opens files of an HTTP server; by default GDAL does.
    web: ClassVar[Web | None] = None
    #: Remote files that one task reads at a time.
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
        token = tokenize(plan.description(), functions, chunks, on_error)
        # The graph holds the plan once, and every task refers to it by name.
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
    """A file and the part of the lattice that it may cover."""

    source: Source
    reach: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What all tasks of a stack share; ``sources`` are by layer, scene and band."""

    lattice: Lattice
    cells: Cells
    layers: tuple[Layer, ...]
    sources: tuple[tuple[tuple[_Place, ...], ...], ...]
    gate: int | None
    read: WindowReader | None
    web: Web | None
    at_once: int
    shelf: Shelf

    def description(self) -> str:
        """Everything that decides the values, except the layers' functions, as text."""
        layers = [(x.bands, x.dtype, x.fill, x.raw_fill, x.resampling, x.halo, x.replicate)
                  for x in self.layers]  # fmt: skip
        return repr((self.lattice, self.cells, layers, self.sources, self.gate))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """One chunk of a stack while it is read; ``planes`` are by layer, scene and band."""

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
    """Read one chunk: first the first layer of every scene, then the other layers if needed."""
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
    """Read what is needed into a chunk's planes; returns a loss for each scene that failed."""
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
    losses |= _read_files(chunk, idle, probe=True)
    return losses


def _needed(chunk: _Chunk, scene: int) -> Window | None:
    """The rectangle around the pixels of a chunk that pass the gate; None if none does."""
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
    chunk: _Chunk, wanted: Iterable[tuple[int, int, Window]], *, probe: bool = False
) -> dict[int, Loss]:
    """Read files into a chunk's planes; returns a loss for each scene that failed.

    ``wanted`` are layer, scene and the window that is needed. With ``probe`` no value is needed,
    and one pixel of each local file is read: a missing or truncated file is an error, even if
    clouds cover all of it.
    """
    plan = chunk.plan
    todo = [
        (layer, scene, band, place, need)
        for layer, scene, need in wanted
        for band, place in enumerate(plan.sources[layer][scene])
        if place.reach.meets(need) and not (probe and is_remote(place.source.href))
    ]

    def read(wanted_file: tuple[int, int, int, _Place, Window]) -> tuple[int, Loss] | None:
        layer, scene, band, place, need = wanted_file
        try:
            part = _last_pixel(place.reach, need) if probe else need
            plane = _plane(chunk, (layer, scene, band), place, part, probe=probe)
            if not probe:
                chunk.planes[layer][scene][band] = plane
        except ReadError as error:
            if chunk.on_error == "raise":
                raise
            source = place.source
            return scene, Loss(
                item=source.item, asset=source.asset, error=str(error), file=source.href
            )
        return None

    remote = any(is_remote(place.source.href) for _, _, _, place, _ in todo)
    losses: dict[int, Loss] = {}
    for loss in _each(read, todo, at_once=plan.at_once if remote else 1):
        if loss is not None:
            losses.setdefault(*loss)
    return losses


def _plane(
    chunk: _Chunk, key: tuple[int, int, int], place: _Place, need: Window, *, probe: bool
) -> Plane | None:
    """Read what a chunk needs of one file."""
    plan, layer = chunk.plan, chunk.plan.layers[key[0]]
    if plan.read is not None:
        window = need if probe else chunk.window
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
    """A file's lower right pixel in a window: the first to be missing in a truncated file."""
    row = min(reach.row + reach.height, window.row + window.height) - 1
    column = min(reach.column + reach.width, window.column + window.width) - 1
    return Window(row, column, 1, 1)


def _each(
    function: Callable[[Any], Any], arguments: Sequence[Any], *, at_once: int
) -> Iterable[Any]:
    """Call a function with each argument, up to ``at_once`` at a time in threads."""
    if at_once == 1 or len(arguments) < 2:
        return list(map(function, arguments))
    with ThreadPoolExecutor(min(at_once, len(arguments))) as pool:
        futures = [pool.submit(function, argument) for argument in arguments]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _mark_lost(chunk: _Chunk, scene: int) -> None:
    """Drop all bands of a scene from a chunk, and mark the pixels that it may cover as lost."""
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
