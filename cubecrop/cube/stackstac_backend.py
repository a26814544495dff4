"""Stacks with stackstac; each task reads its files one after another."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from cubecrop.cube.backend import as_readings, extent_of, only_raises, reach_of, sources_of
from cubecrop.cube.grid import Lattice, Window, lattice_of
from cubecrop.cube.read import Layer, read_layer
from cubecrop.errors import MissingExtraError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import dask.array as da
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from cubecrop.cube.grid import Chunks
    from cubecrop.cube.source import Source
    from cubecrop.lost_scenes import OnError
    from cubecrop.schema import Scene

__all__ = ["StackstacBackend"]


class StackstacBackend:
    """Stacks with stackstac; it reads every file of a chunk, and raises if a file fails.

    Needs the extra ``stackstac``.
    """

    def stack(
        self,
        scenes: Sequence[Scene],
        layers: Sequence[Layer],
        grid: GeoBox,
        *,
        chunks: Chunks,
        on_error: OnError = "raise",
        gate: int | None = None,  # noqa: ARG002 (a backend may read more)
    ) -> da.Array:
        """Stack assets of every scene, lazily; see `Backend.stack`."""
        only_raises("stackstac", on_error)
        return as_readings([self._stack(scenes, layer, grid, chunks) for layer in layers])

    @staticmethod
    def _stack(scenes: Sequence[Scene], layer: Layer, grid: GeoBox, chunks: Chunks) -> da.Array:
        try:
            import stackstac
        except ImportError as error:
            raise MissingExtraError(
                "StackstacBackend needs stackstac. Install it with `pip install "
                "'cubecrop[stackstac]'`, which keeps pandas below 3."
            ) from error
        lattice = lattice_of(grid)
        bounds = tuple(grid.boundingbox)
        items = [_plain_item(scene, layer, lattice, bounds) for scene in scenes]
        sources = {
            source.href: (source, reach_of(extent_of(scene, source.asset, lattice.crs), lattice))
            for scene in scenes
            for source in sources_of(scene, layer.bands)
        }
        stack: da.Array = stackstac.stack(
            items,
            assets=list(layer.bands),
            epsg=_epsg(lattice),
            resolution=lattice.resolution,
            bounds=bounds,
            snap_bounds=False,
            chunksize=(-1, -1, *chunks),
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
            # stackstac drops scenes that it takes to lie outside, which would shift the others.
            raise SchemaError(
                f"stackstac gave shape {stack.shape}, expected {expected}. Leave out `backend`."
            )
        return stack


class _LayerReader:
    """A reader for stackstac that calls `read_layer`."""

    def __init__(
        self,
        *,
        url: str,
        spec: Any,  # noqa: ANN401 (stackstac.raster_spec.RasterSpec, not imported at load time)
        sources: Mapping[str, tuple[Source, Window]],
        layer: Layer,
        **_: object,  # stackstac's reading options; `layer` replaces them
    ) -> None:
        self.source, self.reach = sources[url]
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
        return read_layer(self.source, self.layer, self.lattice, place, reach=self.reach)

    def close(self) -> None:
        """Nothing stays open."""


def _epsg(lattice: Lattice) -> int:
    return int(lattice.crs.removeprefix("EPSG:"))


def _plain_item(
    scene: Scene, layer: Layer, lattice: Lattice, bounds: tuple[float, ...]
) -> dict[str, Any]:
    """Make the smallest item of a scene that stackstac takes, in the cube's CRS.

    From real items, stackstac would shift grids and drop CRSs without an error.
    """
    assets = {}
    for band in layer.bands:
        left, bottom, right, top = extent_of(scene, band, lattice.crs)
        # Clip to the grid, since stackstac never reads windows outside of the box.
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
