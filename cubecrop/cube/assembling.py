"""Assemble a season cube from found scenes: chunks, children, coordinates and attributes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import dask.array as da
import rioxarray  # noqa: F401 (registers the .rio accessor)
import shapely
import xarray as xr

from cubecrop.aoi import Aoi
from cubecrop.cube import sentinel1, sentinel2
from cubecrop.cube.backend import meeting
from cubecrop.cube.clouds import clouds_name
from cubecrop.cube.composites import composite_child
from cubecrop.cube.grid import Chunks, chunk_shape, cut, pixel_centres, strips
from cubecrop.cube.landcover import landcover_child, nearest_year
from cubecrop.cube.passes import group_passes
from cubecrop.cube.rasterio_backend import RasterioBackend
from cubecrop.cube.terrain import terrain_child
from cubecrop.cube.weather import weather_child
from cubecrop.errors import NoScenesError
from cubecrop.schema import SERIES, Modality, Scene
from cubecrop.texts import place_name

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from cubecrop.archive import Scenes
    from cubecrop.cube.backend import Backend
    from cubecrop.cube.season_cube import CubeRequest

__all__ = ["cube_of", "rectangle"]

#: The asset whose bounds stand for those of a whole scene.
_MAIN_ASSET: dict[Modality, str] = {
    "sentinel2": "B02", "sentinel1": "vv", "terrain": "elevation", "landcover": "landcover",
}  # fmt: skip


def rectangle(grid: GeoBox) -> Aoi:
    """The area that a grid covers."""
    return Aoi(shapely.box(*grid.boundingbox), str(grid.crs))


def cube_of(found: Scenes, grid: GeoBox, request: CubeRequest) -> xr.DataTree:
    """Build the cube of found scenes on a grid, lazily."""
    scenes = {
        modality: meeting(found.of(modality), asset, grid)
        for modality, asset in _MAIN_ASSET.items()
    }
    if any(s.modality in SERIES for s in found) and not any(
        scenes[modality] for modality in scenes if modality in SERIES
    ):
        raise NoScenesError(
            f"archive {place_name(found.archive)} has Sentinel images that touch {found.aoi} in "
            f"season {found.season}, but none shares a pixel with it. Choose an area within them."
        )
    if scenes["landcover"]:
        scenes["landcover"] = nearest_year(
            scenes["landcover"], found.season.year, rectangle(grid).lonlat,
            preference=list(request.source.provider.collections),
        )  # fmt: skip
    children = _gridded(scenes, grid, request)
    if request.composite is not None:
        for name in set(children) & set(SERIES):
            children[name] = composite_child(name, children[name], found.season, request.composite)
    place = _place(grid)
    nodes = {name: child.assign_coords(place.coords) for name, child in children.items()}
    if weather := found.of("weather"):
        nodes["weather"] = weather_child(weather, found.season, found.aoi.bbox)
    used = sorted(
        (s for s in found if s.modality == "weather" or s in scenes[s.modality]),
        key=lambda scene: (scene.modality, scene.start, scene.id, scene.files),
    )
    root = place.assign_attrs(
        **found.season.attrs,
        archive=place_name(found.archive),
        composite=request.composite or "",
        resolution=abs(float(grid.transform.a)),
        clouds=clouds_name(request.clouds),
        items=[scene.id for scene in used],
        item_hrefs=[scene.href or "" for scene in used],
        harmonisation=[scene.harmonisation for scene in used],
    )
    return xr.DataTree.from_dict({"/": root, **nodes}, name="season")


def _gridded(
    scenes: dict[Modality, list[Scene]], grid: GeoBox, request: CubeRequest
) -> dict[str, xr.Dataset]:
    """The children on the cube's grid; a modality without scenes is absent."""
    children = {}
    chunks, rows = _chunks(scenes, grid, request)
    backend = request.backend or RasterioBackend(memory=request.memory)
    if optical := scenes["sentinel2"]:
        children["sentinel2"] = sentinel2.sentinel2_child(
            optical,
            grid,
            chunks=chunks,
            rows=rows,
            backend=backend,
            on_error=request.on_error,
            clouds=request.clouds,
        )
    if radar := scenes["sentinel1"]:
        children["sentinel1"] = sentinel1.sentinel1_child(
            radar, grid, chunks=chunks, rows=rows, backend=backend, on_error=request.on_error
        )
    if terrain := scenes["terrain"]:
        children["terrain"] = terrain_child(terrain, grid, chunks=(rows, chunks[1]))
    if landcover := scenes["landcover"]:
        children["landcover"] = landcover_child(landcover, grid, chunks=(rows, chunks[1]))
    return children


def _place(grid: GeoBox) -> xr.Dataset:
    """Coordinates and CRS of a grid."""
    y, x = pixel_centres(grid)
    place: xr.Dataset = xr.Dataset(coords={"y": y, "x": x}).rio.write_crs(str(grid.crs))
    place = place.rio.write_transform(grid.transform)
    place["y"].attrs.update(units="m", standard_name="projection_y_coordinate")
    place["x"].attrs.update(units="m", standard_name="projection_x_coordinate")
    return place


def _chunks(
    scenes: dict[Modality, list[Scene]], grid: GeoBox, request: CubeRequest
) -> tuple[Chunks, tuple[int, ...]]:
    """Cut the cube: as the user asks, or along the blocks of most files.

    Returns the chunks that are read, and the rows of the strips that values are computed in.
    """
    if (side := request.chunks) is not None:
        chunks: Chunks = da.core.normalize_chunks((side, side), grid.shape)
        return chunks, chunks[0]
    optical, radar = (len(group_passes(scenes[name])) for name in ("sentinel2", "sentinel1"))
    corners = Counter(
        (bounds[0], bounds[3])
        for scene in scenes["sentinel2"] or scenes["sentinel1"]
        if scene.crs == str(grid.crs)
        and (bounds := scene.assets[_MAIN_ASSET[scene.modality]].bounds)
    )
    # Without files on the grid, chunks are aligned with the lattice's origin.
    corner = corners.most_common(1)[0][0] if corners else (0.0, 0.0)
    as_stored = (
        _reads_as_stored(request.backend)
        and {scene.crs for scene in scenes["sentinel2"]} <= {str(grid.crs)}
        and grid.transform.a <= 10
    )
    as_read = max(
        optical * (sentinel2.BYTES_AS_READ if as_stored else sentinel2.BYTES_REPROJECTED),
        radar * sentinel1.BYTES_AS_READ,
    )
    values = max(optical * sentinel2.BYTES_PER_STEP, radar * sentinel1.BYTES_PER_STEP)
    chunks = cut(grid, chunk_shape(as_read, memory=request.memory), corner)
    return chunks, strips(chunks, values, memory=request.memory)


def _reads_as_stored(backend: Backend | None) -> bool:
    """Whether a backend keeps pixels of 20 m as they are; others put them on the cube's pixels."""
    return backend is None or (isinstance(backend, RasterioBackend) and backend.read is None)
