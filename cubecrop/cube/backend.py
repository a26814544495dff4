"""Backends: from scenes to lazy stacks of files on one grid.

A backend builds the graph; what a task reads is decided in `read` alone, so that every
backend gives the same pixels.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from rasterio.warp import transform_bounds

from cubecrop.cube.grid import Lattice, Window, lattice_of
from cubecrop.cube.read import Layer, Source, read_layer
from cubecrop.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dask.array as da
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from cubecrop.schema import Scene

__all__ = ["Backend", "StackstacBackend", "meeting", "sources_of"]


class Backend(Protocol):
    """Builds lazy stacks."""

    def stack(self, scenes: Sequence[Scene], layer: Layer, grid: GeoBox, *, side: int) -> da.Array:
        """Stack the layer's assets of every scene, lazily.

        Parameters
        ----------
        scenes : sequence of Scene
            At least one; each meets the grid (see `meeting`).
        layer : Layer
            Which assets, and how they are read.
        grid : odc.geo.geobox.GeoBox
            Where to.
        side : int
            Chunk side in pixels.

        Returns
        -------
        dask.array.Array
            (scene, band, y, x) of the layer's dtype, one chunk over scenes and bands.
        """


class StackstacBackend:
    """Stacks with stackstac, which keeps the graph of a large season small."""

    def stack(self, scenes: Sequence[Scene], layer: Layer, grid: GeoBox, *, side: int) -> da.Array:
        """Stack the layer's assets of every scene, lazily; see `Backend.stack`."""
        import stackstac

        lattice = lattice_of(grid)
        bounds = tuple(grid.boundingbox)
        items = [_plain_item(scene, layer, lattice, bounds) for scene in scenes]
        sources = {s.href: s for scene in scenes for s in sources_of(scene, layer.bands)}
        stack: da.Array = stackstac.stack(
            items,
            assets=list(layer.bands),
            epsg=_epsg(lattice),
            resolution=lattice.resolution,
            bounds=bounds,
            snap_bounds=False,
            chunksize=(-1, -1, side, side),
            dtype=np.dtype(layer.dtype),
            fill_value=np.dtype(layer.dtype).type(layer.fill),
            rescale=False,
            sortby_date=False,
            xy_coords=False,
            properties=False,
            band_coords=False,
            errors_as_nodata=(),
            reader=functools.partial(_LayerReader, sources=sources, layer=layer),
        ).data
        expected = (len(scenes), len(layer.bands), *grid.shape)
        if stack.shape != expected:
            # stackstac drops what it thinks lies outside, which would shift the scenes.
            raise SchemaError(f"stackstac gave shape {stack.shape}, expected {expected}.")
        return stack


class _LayerReader:
    """What stackstac asks of a reader, over `read_layer`."""

    def __init__(
        self,
        *,
        url: str,
        spec: Any,  # noqa: ANN401 (stackstac.raster_spec.RasterSpec, not imported at load time)
        sources: Mapping[str, Source],
        layer: Layer,
        **_: object,  # stackstac's own reading options, which `layer` replaces
    ) -> None:
        self.source = sources[url]
        self.layer = layer
        self.lattice = Lattice(f"EPSG:{spec.epsg}", float(spec.resolutions_xy[0]))
        self.row = round(-spec.bounds[3] / self.lattice.resolution)
        self.column = round(spec.bounds[0] / self.lattice.resolution)

    def read(self, window: Any, **_: object) -> NDArray[np.generic]:  # noqa: ANN401
        """Read a window given in pixels of the grid."""
        place = Window(
            self.row + int(window.row_off),
            self.column + int(window.col_off),
            int(window.height),
            int(window.width),
        )
        return read_layer(self.source, self.layer, self.lattice, place)

    def close(self) -> None:
        """Nothing stays open."""


def sources_of(scene: Scene, bands: Sequence[str]) -> list[Source]:
    """The files of a scene's bands."""
    return [
        Source(
            item=scene.id,
            asset=band,
            href=scene.assets[band].href,
            nodata=scene.assets[band].nodata,
        )
        for band in bands
    ]


def meeting(scenes: Sequence[Scene], band: str, grid: GeoBox) -> list[Scene]:
    """The scenes whose file of a band reaches into a grid, as far as metadata tells."""
    left, bottom, right, top = grid.boundingbox
    crs = str(grid.crs)
    kept = []
    for scene in scenes:
        west, south, east, north = _extent(scene, band, crs)
        if west < right and east > left and south < top and north > bottom:
            kept.append(scene)
    return kept


def _extent(scene: Scene, band: str, crs: str) -> tuple[float, float, float, float]:
    """Bounds of a file in a CRS, from the item's metadata, grown by two of its pixels."""
    bounds, source = scene.assets[band].bounds, scene.crs
    if bounds is None or source is None:
        bounds, source = scene.footprint.bounds, "EPSG:4326"
    left, bottom, right, top = _reproject(bounds, source, crs)
    margin = 0.0 if source == crs else 60.0
    return left - margin, bottom - margin, right + margin, top + margin


@functools.lru_cache(maxsize=4096)
def _reproject(
    bounds: tuple[float, float, float, float], source: str, target: str
) -> tuple[float, float, float, float]:
    if source == target:
        return bounds
    left, bottom, right, top = transform_bounds(source, target, *bounds, densify_pts=21)
    return left, bottom, right, top


def _epsg(lattice: Lattice) -> int:
    return int(lattice.crs.removeprefix("EPSG:"))


def _plain_item(
    scene: Scene, layer: Layer, lattice: Lattice, bounds: tuple[float, ...]
) -> dict[str, Any]:
    """A scene as the smallest item that stackstac takes, in the cube's own CRS.

    Its own reading of real items would shift grids and drop CRSs in silence.
    """
    assets = {}
    for band in layer.bands:
        left, bottom, right, top = _extent(scene, band, lattice.crs)
        # Cut to the grid: a window that does not meet the box is never read.
        box = (
            max(left, bounds[0]),
            max(bottom, bounds[1]),
            min(right, bounds[2]),
            min(top, bounds[3]),
        )
        assets[band] = {"href": scene.assets[band].href, "proj:bbox": box}
    return {
        "id": scene.id,
        "type": "Feature",
        "stac_version": "1.0.0",
        "bbox": list(scene.bbox),
        "geometry": None,
        "properties": {"datetime": scene.start.isoformat(), "proj:epsg": _epsg(lattice)},
        "assets": assets,
        "links": [],
    }
