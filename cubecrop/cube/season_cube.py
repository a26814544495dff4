"""Building a season cube from the scenes that were found for it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import dask.array as da
import rioxarray  # noqa: F401 (registers the .rio accessor)
import xarray as xr

from cubecrop.cube import sentinel1, sentinel2
from cubecrop.cube.backend import meeting
from cubecrop.cube.clouds import clouds_name
from cubecrop.cube.composites import composite_child
from cubecrop.cube.grid import Chunks, chunk_shape, cut, pixel_centres
from cubecrop.cube.passes import group_passes
from cubecrop.cube.rasterio_backend import RasterioBackend
from cubecrop.cube.terrain import terrain_child
from cubecrop.cube.weather import weather_child
from cubecrop.schema import SERIES, Modality, Scene
from cubecrop.texts import place_name

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from cubecrop.archive import Scenes
    from cubecrop.cube.request import CubeRequest

__all__ = ["build_season"]

_MAIN_ASSET: dict[Modality, str] = {"sentinel2": "B02", "sentinel1": "vv", "terrain": "elevation"}


def build_season(found: Scenes, grid: GeoBox, request: CubeRequest) -> xr.DataTree:
    """The cube of scenes on a grid, lazily, as a request asks for it."""
    scenes = {
        modality: meeting(found.of(modality), asset, grid)
        for modality, asset in _MAIN_ASSET.items()
    }
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
    chunks = _chunks(scenes, grid, request)
    backend = request.backend or RasterioBackend(memory=request.memory)
    if found := scenes["sentinel2"]:
        children["sentinel2"] = sentinel2.sentinel2_child(
            found,
            grid,
            chunks=chunks,
            backend=backend,
            on_error=request.on_error,
            clouds=request.clouds,
        )
    if found := scenes["sentinel1"]:
        children["sentinel1"] = sentinel1.sentinel1_child(
            found, grid, chunks=chunks, backend=backend, on_error=request.on_error
        )
    if found := scenes["terrain"]:
        children["terrain"] = terrain_child(found, grid, chunks=chunks)
    return children


def _place(grid: GeoBox) -> xr.Dataset:
    """Coordinates and CRS of a grid."""
    y, x = pixel_centres(grid)
    place: xr.Dataset = xr.Dataset(coords={"y": y, "x": x}).rio.write_crs(str(grid.crs))
    place = place.rio.write_transform(grid.transform)
    place["y"].attrs.update(units="m", standard_name="projection_y_coordinate")
    place["x"].attrs.update(units="m", standard_name="projection_x_coordinate")
    return place


def _chunks(scenes: dict[Modality, list[Scene]], grid: GeoBox, request: CubeRequest) -> Chunks:
    """How the cube is cut: as the user says, or as the blocks of most files lie."""
    if (side := request.chunks) is not None:
        rows, columns = da.core.normalize_chunks((side, side), grid.shape)
        return rows, columns
    per_pixel = max(
        len(group_passes(scenes["sentinel2"])) * sentinel2.BYTES_PER_STEP,
        len(group_passes(scenes["sentinel1"])) * sentinel1.BYTES_PER_STEP,
    )
    corners = Counter(
        (bounds[0], bounds[3])
        for scene in scenes["sentinel2"] or scenes["sentinel1"]
        if scene.crs == str(grid.crs)
        and (bounds := scene.assets[_MAIN_ASSET[scene.modality]].bounds)
    )
    # Files that are reprojected are read in blocks that count from the lattice's origin.
    corner = corners.most_common(1)[0][0] if corners else (0.0, 0.0)
    return cut(grid, chunk_shape(per_pixel, memory=request.memory), corner)
