"""Backends: from scenes to lazy stacks of files on one grid.

A backend builds the graph and decides how many tasks read. The module `read` turns files into
pixels, so that all backends that use it give the same values.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import shapely
from rasterio.warp import transform_bounds

from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.kinds import kind_of
from cubecrop.cube.planes import Plane, Reading
from cubecrop.cube.source import Source, Stated
from cubecrop.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from cubecrop.cube.grid import Chunks
    from cubecrop.cube.read import Layer
    from cubecrop.lost_scenes import OnError
    from cubecrop.schema import Scene

__all__ = [
    "Backend",
    "as_readings",
    "extent_of",
    "meeting",
    "only_raises",
    "reach_of",
    "sources_of",
]


class Backend(Protocol):
    """Builds lazy stacks."""

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
        """Stack assets of every scene, lazily.

        Parameters
        ----------
        scenes : sequence of Scene
            At least one; each meets the grid (see `meeting`).
        layers : sequence of Layer
            Which assets to read, and how.
        grid : odc.geo.geobox.GeoBox
            The grid of the stack.
        chunks : tuple
            Lengths of the chunks along y and along x.
        on_error : {"raise", "lost"}
            What to do about a scene that cannot be read. Some backends can only raise.
        gate : int, optional
            A value of the first layer. If a scene's first layer has no such value in a chunk,
            the backend may skip its other layers, which then hold their fill.

        Returns
        -------
        dask.array.Array
            (y, x), each chunk a `cubecrop.cube.planes.Reading` of all layers, scenes and bands.
        """


def as_readings(stacks: Sequence[da.Array]) -> da.Array:
    """Turn arrays (scene, band, y, x), one a layer, into readings."""
    import dask.array as da

    readings: da.Array = da.map_blocks(
        _as_reading, *stacks, drop_axis=(0, 1), dtype=object, meta=np.empty((0, 0), object)
    )
    return readings


def _as_reading(*values: NDArray[Any]) -> Reading:
    planes = [[[Plane(band) for band in scene] for scene in layer] for layer in values]
    return Reading(planes=planes, shape=values[0].shape[2:])


def only_raises(name: str, on_error: OnError) -> None:
    """Raise if ``on_error`` asks a backend to skip scenes, which it cannot do."""
    if on_error != "raise":
        raise SchemaError(
            f"on_error is {on_error!r}, but backend {name} cannot go on without a scene that it "
            "cannot read. Leave out `backend` or `on_error`."
        )


def sources_of(scene: Scene, bands: Sequence[str]) -> list[Source]:
    """The files of a scene's bands."""
    return [
        Source(
            item=scene.id,
            asset=band,
            href=scene.assets[band].href,
            nodata=scene.assets[band].nodata,
            access=scene.access,
            kind=kind_of(band),
            stated=_stated(scene, band),
        )
        for band in bands
    ]


def _stated(scene: Scene, band: str) -> Stated:
    asset = scene.assets[band]
    return Stated(
        crs=scene.crs,
        bounds=asset.bounds,
        shape=asset.shape,
        pixel=asset.pixel,
        footprint=scene.bbox if asset.bounds is None else None,
        scale=asset.scale,
        offset=asset.offset,
    )


def meeting(scenes: Sequence[Scene], band: str, grid: GeoBox) -> list[Scene]:
    """The scenes whose file of a band overlaps a grid, according to their metadata."""
    left, bottom, right, top = grid.boundingbox
    crs = str(grid.crs)
    kept = []
    for scene in scenes:
        west, south, east, north = extent_of(scene, band, crs)
        if west < right and east > left and south < top and north > bottom:
            kept.append(scene)
    return kept


def extent_of(scene: Scene, band: str, crs: str) -> tuple[float, float, float, float]:
    """Bounds of a file in a CRS, from the item's metadata, with a margin for reprojection."""
    bounds, source = scene.assets[band].bounds, scene.crs
    if bounds is None or source is None:
        source = "EPSG:4326"
        # Part by part: the parts on both sides of the 180th meridian touch in a UTM zone.
        parts = [part.bounds for part in shapely.get_parts(scene.footprint)]
        edges = np.array([_reproject(part, source, crs) for part in parts])
        left, bottom = edges[:, :2].min(axis=0).tolist()
        right, top = edges[:, 2:].max(axis=0).tolist()
    else:
        left, bottom, right, top = _reproject(bounds, source, crs)
    margin = 0.0 if source == crs else 60.0
    return left - margin, bottom - margin, right + margin, top + margin


def reach_of(bounds: tuple[float, float, float, float], lattice: Lattice) -> Window:
    """The pixels of the lattice that overlap with bounds in its CRS."""
    left, bottom, right, top = (edge / lattice.resolution for edge in bounds)
    row, column = math.floor(-top), math.floor(left)
    return Window(row, column, math.ceil(-bottom) - row, math.ceil(right) - column)


@functools.lru_cache(maxsize=4096)
def _reproject(
    bounds: tuple[float, float, float, float], source: str, target: str
) -> tuple[float, float, float, float]:
    if source == target:
        return bounds
    left, bottom, right, top = transform_bounds(source, target, *bounds, densify_pts=21)
    return left, bottom, right, top
