"""The default backend: one task reads what a chunk needs of all files, many at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import dask.array as da
import numpy as np
from dask.base import tokenize

from cubecrop.cube.access import FILES_AT_ONCE, is_remote
from cubecrop.cube.backend import extent_of, reach_of, sources_of
from cubecrop.cube.grid import Lattice, Window, lattice_of
from cubecrop.cube.read import Layer, Source, WindowReader, read_layer, read_window
from cubecrop.errors import ReadError
from cubecrop.losses import READING, Loss, OnError, Reading, constant, switch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from cubecrop.cube.grid import Chunks
    from cubecrop.schema import Scene

__all__ = ["RasterioBackend"]


class RasterioBackend:
    """Reads with rasterio, all files of a chunk in one task.

    Files of another machine are read 16 at a time in each task, so that waiting for one does
    not keep the others waiting; those of a disk one after another, since Dask's threads
    already keep the cores busy.
    """

    #: What brings one file to the lattice.
    read: ClassVar[WindowReader] = staticmethod(read_window)

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
        plan = _Plan(
            lattice=lattice,
            origin=lattice.window(grid),
            layers=tuple(layers),
            sources=tuple(_placed(scenes, layer, lattice) for layer in layers),
            gate=gate,
            read=self.read,
        )
        token = tokenize(
            plan.told(), [layer.finish for layer in layers], self.read, chunks, on_error
        )
        # The plan stands in the graph once: every task depends on it by name.
        readings: da.Array = da.map_blocks(
            _read_chunk,
            plan=constant(f"cubecrop-plan-{token}", plan),
            on_error=switch(on_error),
            chunks=chunks,
            dtype=object,
            meta=np.empty((0, 0), object),
            name=f"{READING}{token}",
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
    origin: Window
    layers: tuple[Layer, ...]
    sources: tuple[tuple[tuple[_Place, ...], ...], ...]
    gate: int | None
    read: WindowReader

    def told(self) -> str:
        """All that decides the values but for the layers' functions, for a name."""
        layers = [(x.bands, x.dtype, x.fill, x.raw_fill, x.resampling, x.halo, x.replicate)
                  for x in self.layers]  # fmt: skip
        return repr((self.lattice, self.origin, layers, self.sources, self.gate))


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
    block_info: Mapping[object, Mapping[str, Sequence[tuple[int, int]]]],
) -> Reading:
    """Read one chunk: the first layer of every scene, then the others where they are needed."""
    (r0, r1), (c0, c1) = block_info[None]["array-location"]
    window = Window(plan.origin.row + r0, plan.origin.column + c0, r1 - r0, c1 - c0)
    shape = (window.height, window.width)
    values = tuple(
        _filled((len(placed), len(layer.bands), *shape), layer.fill, layer.dtype)
        for layer, placed in zip(plan.layers, plan.sources, strict=True)
    )
    losses = _read_files(
        plan, values, [(0, scene) for scene in range(len(plan.sources[0]))], window, on_error
    )
    needed: list[tuple[int, int]] = []
    idle: list[tuple[int, int]] = []
    for scene in range(len(plan.sources[0])):
        needs = plan.gate is None or (values[0][scene] == plan.gate).any()
        (needed if needs else idle).extend((k, scene) for k in range(1, len(plan.layers)))
    losses |= _read_files(plan, values, needed, window, on_error)
    losses |= _read_files(plan, None, idle, window, on_error)
    for scene in losses:
        _mark_lost(plan, values, scene, window)
    return Reading(values=values, losses=tuple(losses[scene] for scene in sorted(losses)))


def _filled(shape: tuple[int, ...], fill: float, dtype: str) -> NDArray[Any]:
    """`numpy.full`, which for zeros would touch memory that is written again in a moment."""
    return np.full(shape, fill, dtype) if fill else np.zeros(shape, dtype)


def _read_files(
    plan: _Plan,
    values: tuple[NDArray[Any], ...] | None,
    wanted: Iterable[tuple[int, int]],
    window: Window,
    on_error: OnError,
) -> dict[int, Loss]:
    """Read files of layers and scenes into place; a loss each of scenes that failed.

    Without ``values`` no value is needed, and files of this machine are only looked at, a
    pixel each: one that is missing or cut short is an error, whatever the clouds.
    """
    todo = [
        (layer, scene, band, place)
        for layer, scene in wanted
        for band, place in enumerate(plan.sources[layer][scene])
        if place.reach.meets(window) and (values or not is_remote(place.source.href))
    ]

    def read(one: tuple[int, int, int, _Place]) -> tuple[int, Loss] | None:
        layer, scene, band, place = one
        part = window if values else _last_pixel(place.reach, window)
        try:
            found = read_layer(
                place.source,
                plan.layers[layer],
                plan.lattice,
                part,
                reach=place.reach,
                read=plan.read,
            )
            if values:
                values[layer][scene, band] = found
        except ReadError as error:
            if on_error == "raise":
                raise
            one_file = place.source
            return scene, Loss(
                item=one_file.item, asset=one_file.asset, error=str(error), file=one_file.href
            )
        return None

    found = _each(read, todo, at_once=FILES_AT_ONCE if _any_remote(todo) else 1)
    losses: dict[int, Loss] = {}
    for one in found:
        if one is not None:
            losses.setdefault(*one)
    return losses


def _last_pixel(reach: Window, window: Window) -> Window:
    """The lower right pixel that a file has in a window: the first to go with a file's end."""
    row = min(reach.row + reach.height, window.row + window.height) - 1
    column = min(reach.column + reach.width, window.column + window.width) - 1
    return Window(row, column, 1, 1)


def _any_remote(todo: Iterable[tuple[int, int, int, _Place]]) -> bool:
    return any(is_remote(place.source.href) for *_, place in todo)


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


def _mark_lost(plan: _Plan, values: tuple[NDArray[Any], ...], scene: int, window: Window) -> None:
    """Take a scene out of a chunk: what it would cover is lost, and no band of it is kept."""
    for layer, placed, block in zip(plan.layers, plan.sources, values, strict=True):
        block[scene] = layer.fill
        if layer.lost is not None:
            for band, place in enumerate(placed[scene]):
                rows, columns = place.reach.within(window)
                block[scene, band, rows, columns] = layer.lost
