"""Opening a season cube."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import dask.array as da
import rioxarray  # noqa: F401 (registers the .rio accessor)
import shapely
import xarray as xr

from cubecrop.aoi import Aoi, parse_aoi
from cubecrop.archive import (
    Archive,
    Scenes,
    as_modalities,
    open_archive,
    open_weather,
    search,
    season_for,
)
from cubecrop.cube import sentinel1, sentinel2
from cubecrop.cube.backend import Backend, meeting
from cubecrop.cube.clouds import Clouds, clouds_name
from cubecrop.cube.composites import Composite, composite_child
from cubecrop.cube.grid import MEMORY, Chunks, chunk_shape, cut, grid_for, pixel_centres, strips
from cubecrop.cube.options import check_cube_options
from cubecrop.cube.passes import group_passes
from cubecrop.cube.rasterio_backend import RasterioBackend
from cubecrop.cube.terrain import terrain_child
from cubecrop.cube.weather import weather_child
from cubecrop.errors import NoScenesError
from cubecrop.schema import MODALITIES, SERIES, Modality, Scene
from cubecrop.texts import place_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from odc.geo.geobox import GeoBox

    from cubecrop.losses import OnError
    from cubecrop.season import Season

__all__ = ["open_season"]

_MAIN_ASSET: dict[Modality, str] = {"sentinel2": "B02", "sentinel1": "vv", "terrain": "elevation"}


def open_season(
    aoi: object,
    season: Season | int,
    *,
    archive: str | Path | Archive,
    modalities: Iterable[Modality] = MODALITIES,
    resolution: float = 10,
    crs: str | int | None = None,
    chunks: int | None = None,
    memory: float = MEMORY,
    composite: Composite | None = None,
    backend: Backend | None = None,
    on_error: OnError = "raise",
    weather: str | Path | Archive | None = None,
    clouds: Clouds = "scl",
) -> xr.DataTree:
    """Open everything an archive has of an area and a season as one lazy cube.

    Searches the archive and builds graphs; no pixel is read before ``.compute()``.

    Parameters
    ----------
    aoi : bbox, geometry, GeoDataFrame or path
        See `cubecrop.aoi.parse_aoi`. The cube covers its bounding rectangle.
    season : Season or int
        A season, or a harvest year.
    archive : str, Path or Archive
        See `open_archive`.
    modalities : iterable of str
        Children wanted. One that the archive lacks is absent, unless no satellite image
        at all is found.
    resolution : float, default 10
        Pixel size in metres.
    crs : str or int, optional
        A projected CRS in metres, or its EPSG code; by default the UTM zone of the area's centre.
    chunks : int, optional
        Chunk side in pixels; by default as large as ``memory`` allows, cut as the blocks of
        most files lie.
    memory : float, default 2e9
        Bytes that a thread may hold. What is read at a time takes at most three tenths of it,
        half as much again where it lies at an edge of the area, and the values of a chunk, which
        is a strip of that, as much at most. Another 15 %, once in a process and
        sensor, is what was decoded and belongs to other chunks; what is beyond goes to a
        temporary file.
    composite : {"dekad", "month"}, optional
        Reduce each satellite series to one step a period; by default every date is kept.
    backend : Backend, optional
        What builds the stacks, such as ``OdcBackend()``; ``RasterioBackend(memory=memory)`` by
        default. One that is given keeps to its own ``memory``.
    on_error : {"raise", "lost"}
        What becomes of a satellite scene that cannot be read: an error, or status "lost" in
        its pixels (of radar, NaN). What is lost is listed by `write_map`.
    weather : str, Path or Archive, optional
        Where the weather is, if not in the archive; see `search`.
    clouds : {"scl", "probability"}, callable or CloudMask
        What masks clouds: the scene classification (SCL), of which saturated pixels, shadow,
        cloud, cirrus and snow are masked with 60 m around them; a probability of cloud of 35 %
        and more in place of its classes of cloud and cirrus (Earth Search ``c1-l2a``); or a
        function of your own, see `CloudMask`. The attribute ``clouds`` says which.

    Returns
    -------
    xarray.DataTree
        Children ``sentinel2``, ``sentinel1``, ``weather``, ``terrain``; see `cubecrop.schema`.
        The attribute ``items`` names what went in, ``harmonisation`` beside it says how the
        offset of each item's reflectance was decided ("" where there is none to decide).

    Raises
    ------
    NoScenesError
        The archive has no Sentinel image of the area and the season.
    ReadError
        When computed: a file cannot be read; the message names the item and the asset.
    """
    check_cube_options(
        resolution=resolution, crs=crs, chunks=chunks, memory=memory, composite=composite,
        clouds=clouds, backend=backend, on_error=on_error,
    )  # fmt: skip
    modalities = as_modalities(modalities)
    if weather is not None:
        weather = open_weather(weather, modalities)
    area = parse_aoi(aoi)
    season = season_for(season, area)
    grid = grid_for(area, resolution=resolution, crs=crs)
    source = open_archive(archive)
    try:
        # The rectangle of the cube, not the area: its corners may reach further.
        found = search(
            _rectangle(grid), season, archive=source, modalities=modalities, weather=weather
        )
    except NoScenesError:
        # Tells of the user's area.
        search(area, season, archive=source, modalities=modalities, weather=weather)
        raise
    return _build(
        found,
        grid,
        _Chunking(None if chunks is None else int(chunks), memory),
        composite,
        _Stacking(backend or RasterioBackend(memory=memory), on_error, clouds),
    )


class _Stacking(NamedTuple):
    """What builds the stacks, what becomes of a scene that cannot be read, what masks clouds."""

    backend: Backend
    on_error: OnError
    clouds: Clouds


class _Chunking(NamedTuple):
    """Side of a chunk in pixels, where the user says, and the bytes that a thread may hold."""

    side: int | None
    memory: float


def _rectangle(grid: GeoBox) -> Aoi:
    return Aoi(shapely.box(*grid.boundingbox), str(grid.crs))


def _build(
    found: Scenes,
    grid: GeoBox,
    chunking: _Chunking,
    composite: Composite | None,
    stacking: _Stacking,
) -> xr.DataTree:
    scenes = {
        modality: meeting(found.of(modality), asset, grid)
        for modality, asset in _MAIN_ASSET.items()
    }
    children = _gridded(scenes, grid, *_chunks(scenes, grid, chunking), stacking)
    if composite is not None:
        for name in set(children) & set(SERIES):
            children[name] = composite_child(name, children[name], found.season, composite)
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
        composite=composite or "",
        clouds=clouds_name(stacking.clouds),
        items=[scene.id for scene in used],
        item_hrefs=[scene.href or "" for scene in used],
        harmonisation=[scene.harmonisation for scene in used],
    )
    return xr.DataTree.from_dict({"/": root, **nodes}, name="season")


def _gridded(
    scenes: dict[Modality, list[Scene]],
    grid: GeoBox,
    chunks: Chunks,
    rows: tuple[int, ...],
    stacking: _Stacking,
) -> dict[str, xr.Dataset]:
    """The children on the cube's grid; a modality without scenes is absent."""
    children = {}
    if found := scenes["sentinel2"]:
        children["sentinel2"] = sentinel2.sentinel2_child(
            found,
            grid,
            chunks=chunks,
            rows=rows,
            backend=stacking.backend,
            on_error=stacking.on_error,
            clouds=stacking.clouds,
        )
    if found := scenes["sentinel1"]:
        children["sentinel1"] = sentinel1.sentinel1_child(
            found,
            grid,
            chunks=chunks,
            rows=rows,
            backend=stacking.backend,
            on_error=stacking.on_error,
        )
    if found := scenes["terrain"]:
        children["terrain"] = terrain_child(found, grid, chunks=(rows, chunks[1]))
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
    scenes: dict[Modality, list[Scene]], grid: GeoBox, chunking: _Chunking
) -> tuple[Chunks, tuple[int, ...]]:
    """How the cube is cut: as the user says, or as the blocks of most files lie.

    What is read at a time, and the rows of the parts that its values are made in.
    """
    if (side := chunking.side) is not None:
        chunks: Chunks = da.core.normalize_chunks((side, side), grid.shape)
        return chunks, chunks[0]
    optical, radar = (len(group_passes(scenes[name])) for name in ("sentinel2", "sentinel1"))
    corners = Counter(
        (bounds[0], bounds[3])
        for scene in scenes["sentinel2"] or scenes["sentinel1"]
        if scene.crs == str(grid.crs)
        and (bounds := scene.assets[_MAIN_ASSET[scene.modality]].bounds)
    )
    # Files that are reprojected are read in blocks that count from the lattice's origin.
    corner = corners.most_common(1)[0][0] if corners else (0.0, 0.0)
    nested = {scene.crs for scene in scenes["sentinel2"]} <= {str(grid.crs)}
    nested = nested and grid.transform.a <= 10
    as_read = max(
        optical * (sentinel2.BYTES_AS_READ if nested else sentinel2.BYTES_REPROJECTED),
        radar * sentinel1.BYTES_AS_READ,
    )
    values = max(optical * sentinel2.BYTES_PER_STEP, radar * sentinel1.BYTES_PER_STEP)
    chunks = cut(grid, chunk_shape(as_read, memory=chunking.memory), corner)
    return chunks, strips(chunks, values, memory=chunking.memory)
