"""What a season cube is asked for, as one value, and the cube that is opened for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import dask.array as da
import rioxarray  # noqa: F401 (registers the .rio accessor)
import shapely
import xarray as xr

from cubecrop.aoi import Aoi, parse_aoi
from cubecrop.archive import (
    Archive,
    as_modalities,
    open_archive,
    open_weather,
    search,
    season_for,
)
from cubecrop.archive.weather import check_weather
from cubecrop.checks import check_number, check_whole, told
from cubecrop.cube import sentinel1, sentinel2
from cubecrop.cube.backend import meeting
from cubecrop.cube.clouds import Clouds, clouds_name
from cubecrop.cube.composites import Composite, composite_child
from cubecrop.cube.grid import (
    MEMORY,
    Chunks,
    check_crs,
    check_resolution,
    chunk_shape,
    cut,
    grid_for,
    pixel_centres,
    strips,
)
from cubecrop.cube.passes import group_passes
from cubecrop.cube.rasterio_backend import RasterioBackend
from cubecrop.cube.terrain import terrain_child
from cubecrop.cube.weather import weather_child
from cubecrop.errors import NoScenesError, SchemaError
from cubecrop.losses import OnError, check_on_error
from cubecrop.schema import MODALITIES, SERIES, Modality, Scene
from cubecrop.season import Season
from cubecrop.texts import place_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from odc.geo.geobox import GeoBox

    from cubecrop.archive import Scenes
    from cubecrop.cube.backend import Backend

__all__ = ["CubeRequest", "open_season"]

_MAIN_ASSET: dict[Modality, str] = {"sentinel2": "B02", "sentinel1": "vv", "terrain": "elevation"}
#: With less, chunks are so small that opening files takes most of the time.
_LEAST_MEMORY: Final = 50 * 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeRequest:
    """All that a season cube is asked for, but its area.

    A value that can be compared, and pickled where its archive, ``clouds`` and ``backend`` can
    be: a task of a cluster carries it, and opens what it names where it runs. Two requests are
    equal where all options are, an archive given as a name being another than one opened.

    Parameters
    ----------
    season, archive, modalities, resolution, crs, chunks, memory, composite, backend, on_error
    weather, clouds
        As for `open_season`.

    Raises
    ------
    SeasonError, ArchiveError, SchemaError
        An option is of another kind, or out of its range; the message names it. Whether an
        archive is there, `open` tells.
    """

    season: Season | int
    # Archives hold dicts, which have no hash.
    archive: str | Path | Archive = field(hash=False)
    modalities: tuple[Modality, ...] = MODALITIES
    resolution: float = 10
    crs: str | int | None = None
    chunks: int | None = None
    memory: float = MEMORY
    composite: Composite | None = None
    backend: Backend | None = None
    on_error: OnError = "raise"
    weather: str | Path | Archive | None = field(default=None, hash=False)
    clouds: Clouds = "scl"

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if not isinstance(self.season, Season):
            put("season", Season(self.season).year)
        if not isinstance(self.archive, str | Path):
            open_archive(self.archive)  # tells what is none
        put("modalities", as_modalities(self.modalities))
        put("resolution", check_resolution(self.resolution))
        if self.crs is not None:
            put("crs", check_crs(self.crs))
        if self.chunks is not None:
            name = "chunks, the side of a chunk in pixels,"
            put("chunks", check_whole(name, self.chunks, least=1, error=SchemaError))
        check_number(
            "memory, bytes a thread,", self.memory, least=_LEAST_MEMORY,
            what="50 MB or more, as in 2e9", error=SchemaError,
        )  # fmt: skip
        _check_composite(self.composite)
        _check_backend(self.backend)
        check_on_error(self.on_error)
        if self.weather is not None:
            check_weather(self.weather, self.modalities)
        clouds_name(self.clouds)

    def opened(self) -> CubeRequest:
        """The same request with archive and weather opened, where they are names.

        Raises
        ------
        ArchiveError
            Nothing is there, or what is there is not STAC.
        """
        weather = self.weather
        if weather is not None:
            weather = open_weather(weather, self.modalities)
        return replace(self, archive=open_archive(self.archive), weather=weather)

    def open(self, aoi: object) -> xr.DataTree:
        """Open the cube of an area, lazily: `open_season` with these options.

        Parameters
        ----------
        aoi : bbox, geometry, GeoDataFrame or path
            See `cubecrop.aoi.parse_aoi`.

        Returns
        -------
        xarray.DataTree
            As of `open_season`, whose errors it raises.
        """
        area = parse_aoi(aoi)
        grid = grid_for(area, resolution=self.resolution, crs=self.crs)
        request = replace(self.opened(), season=season_for(self.season, area))
        try:
            # The rectangle of the cube, not the area: its corners may reach further.
            found = request._search(_rectangle(grid))
        except NoScenesError:
            request._search(area)  # tells of the user's area
            raise
        return _build(found, grid, request)

    def _search(self, area: Aoi) -> Scenes:
        return search(
            area,
            self.season,
            archive=self.archive,
            modalities=self.modalities,
            weather=self.weather,
        )


def _rectangle(grid: GeoBox) -> Aoi:
    return Aoi(shapely.box(*grid.boundingbox), str(grid.crs))


def _check_composite(composite: object) -> None:
    known = get_args(Composite)
    if composite is not None and not (isinstance(composite, str) and composite in known):
        raise SchemaError(f"composite is {told(composite)}, expected None or one of {list(known)}.")


def _check_backend(backend: object) -> None:
    if backend is not None and (isinstance(backend, type) or not hasattr(backend, "stack")):
        raise SchemaError(
            f"backend is {told(backend)}, expected an object such as "
            "`cubecrop.cube.RasterioBackend()`, or None."
        )


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
    request = CubeRequest(
        season=season, archive=archive, modalities=as_modalities(modalities),
        resolution=resolution, crs=crs, chunks=chunks, memory=memory, composite=composite,
        backend=backend, on_error=on_error, weather=weather, clouds=clouds,
    )  # fmt: skip
    return request.open(aoi)


def _build(found: Scenes, grid: GeoBox, request: CubeRequest) -> xr.DataTree:
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
    chunks, rows = _chunks(scenes, grid, request)
    backend = request.backend or RasterioBackend(memory=request.memory)
    if found := scenes["sentinel2"]:
        children["sentinel2"] = sentinel2.sentinel2_child(
            found,
            grid,
            chunks=chunks,
            rows=rows,
            backend=backend,
            on_error=request.on_error,
            clouds=request.clouds,
        )
    if found := scenes["sentinel1"]:
        children["sentinel1"] = sentinel1.sentinel1_child(
            found, grid, chunks=chunks, rows=rows, backend=backend, on_error=request.on_error
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
    scenes: dict[Modality, list[Scene]], grid: GeoBox, request: CubeRequest
) -> tuple[Chunks, tuple[int, ...]]:
    """How the cube is cut: as the user says, or as the blocks of most files lie.

    What is read at a time, and the rows of the parts that its values are made in.
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
    # Files that are reprojected are read in blocks that count from the lattice's origin.
    corner = corners.most_common(1)[0][0] if corners else (0.0, 0.0)
    nested = {scene.crs for scene in scenes["sentinel2"]} <= {str(grid.crs)}
    nested = nested and grid.transform.a <= 10
    as_read = max(
        optical * (sentinel2.BYTES_AS_READ if nested else sentinel2.BYTES_REPROJECTED),
        radar * sentinel1.BYTES_AS_READ,
    )
    values = max(optical * sentinel2.BYTES_PER_STEP, radar * sentinel1.BYTES_PER_STEP)
    chunks = cut(grid, chunk_shape(as_read, memory=request.memory), corner)
    return chunks, strips(chunks, values, memory=request.memory)
