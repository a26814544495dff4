"""Requests for season cubes, and opening the cubes."""

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
    chosen,
    open_archive,
    open_weather,
    search,
    season_for,
)
from cubecrop.archive.weather import check_weather
from cubecrop.checks import brief, check_number, check_whole
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
from cubecrop.cube.landcover import landcover_child, nearest_year
from cubecrop.cube.passes import group_passes
from cubecrop.cube.rasterio_backend import RasterioBackend
from cubecrop.cube.terrain import terrain_child
from cubecrop.cube.weather import weather_child
from cubecrop.errors import ArchiveError, NoScenesError, SchemaError
from cubecrop.lost_scenes import OnError, check_on_error
from cubecrop.schema import MODALITIES, SERIES, Modality, Scene
from cubecrop.season import Season
from cubecrop.texts import place_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from odc.geo.geobox import GeoBox

    from cubecrop.archive import Scenes
    from cubecrop.cube.backend import Backend

__all__ = ["LEAST_MEMORY", "CubeRequest", "open_season"]

#: The asset whose bounds stand for those of a whole scene.
_MAIN_ASSET: dict[Modality, str] = {
    "sentinel2": "B02", "sentinel1": "vv", "terrain": "elevation", "landcover": "landcover",
}  # fmt: skip
#: With less memory, chunks are so small that opening files takes most of the time.
LEAST_MEMORY: Final = 50 * 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeRequest:
    """All options of a season cube except its area.

    Requests can be compared. They can be pickled if their archive, ``clouds`` and ``backend``
    can be, so that a task of a cluster can hold a request and open the cube where it runs. Two
    requests are equal if all options are equal; an archive's name and the opened archive differ,
    and a backend equals only itself.

    Parameters
    ----------
    season, archive, modalities, resolution, crs, chunks, memory, composite, backend, on_error
    weather, clouds
        As for `open_season`.
    needed : tuple of str
        Modalities without which a cube is of no use. They decide which archive is chosen if none
        is named.

    Raises
    ------
    SeasonError, ArchiveError, SchemaError
        An option has a wrong type or is out of its range; the message names it. Whether the
        archive exists is checked by `open`.
    """

    season: Season | int
    # Archives hold dicts, which have no hash.
    archive: str | Path | Archive | None = field(default=None, hash=False)
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
    needed: tuple[Modality, ...] = ()

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if not isinstance(self.season, Season):
            put("season", Season(self.season).year)
        if self.archive is not None and not isinstance(self.archive, str | Path):
            open_archive(self.archive)  # raises if it is not an archive
        put("modalities", as_modalities(self.modalities))
        put("resolution", check_resolution(self.resolution))
        if self.crs is not None:
            put("crs", check_crs(self.crs))
        if self.chunks is not None:
            name = "chunks, the side of a chunk in pixels,"
            put("chunks", check_whole(name, self.chunks, minimum=1, error=SchemaError))
        check_number(
            "memory, bytes a thread,", self.memory, minimum=LEAST_MEMORY,
            what="50 MB or more, as in 2e9", error=SchemaError,
        )  # fmt: skip
        _check_composite(self.composite)
        _check_backend(self.backend)
        check_on_error(self.on_error)
        if self.weather is not None:
            check_weather(self.weather, self.modalities)
        clouds_name(self.clouds)

    def opened(self, area: Aoi | None = None) -> CubeRequest:
        """The same request with archive and weather opened, if they are names or not named.

        Parameters
        ----------
        area : Aoi, optional
            An archive that is not named must have images of this area in the season.

        Raises
        ------
        ArchiveError
            The archive does not exist, or is not STAC; or none is named, and no public one
            answers.
        NoScenesError
            None is named, and no public one has the season.
        """
        if self.archive is not None:
            weather = self.weather
            if weather is not None:
                weather = open_weather(weather, self.modalities)
            return replace(self, archive=open_archive(self.archive), weather=weather)
        if area is None:
            raise ArchiveError(
                "no archive is named, and there is no area to choose one for. Name one with "
                "`archive=...` (`--archive`)."
            )
        archive, weather = chosen(
            self.archive, self.weather, area=area, season=season_for(self.season, area),
            modalities=self.modalities, needed=self.needed,
        )  # fmt: skip
        return replace(self, archive=archive, weather=weather)

    @property
    def source(self) -> Archive:
        """The archive of an opened request."""
        if self.archive is None:
            raise ArchiveError("no archive is chosen: call `opened(area)` first.")
        return open_archive(self.archive)

    def open(self, aoi: object) -> xr.DataTree:
        """Open the cube of an area, lazily: `open_season` with these options.

        Parameters
        ----------
        aoi : bbox, geometry, GeoDataFrame or path
            See `cubecrop.aoi.parse_aoi`.

        Returns
        -------
        xarray.DataTree
            The cube, as from `open_season`; it raises the same errors.
        """
        area = parse_aoi(aoi)
        grid = grid_for(area, resolution=self.resolution, crs=self.crs)
        request = replace(self, season=season_for(self.season, area)).opened(area)
        try:
            # Search with the cube's rectangle, whose corners may lie outside of the area.
            scenes = request._search(_rectangle(grid))
        except NoScenesError:
            request._search(area)  # again with the user's area, so that the error names it
            raise
        return _build(scenes, grid, request)

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
        raise SchemaError(
            f"composite is {brief(composite)}, expected None or one of {list(known)}."
        )


def _check_backend(backend: object) -> None:
    if backend is not None and (isinstance(backend, type) or not hasattr(backend, "stack")):
        raise SchemaError(
            f"backend is {brief(backend)}, expected an object such as "
            "`cubecrop.cube.RasterioBackend()`, or None."
        )


def open_season(
    aoi: object,
    season: Season | int,
    *,
    archive: str | Path | Archive | None = None,
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
    """Open all data of an archive for an area and a season as one lazy cube.

    This searches the archive and builds graphs; pixels are read by ``.compute()``.

    Parameters
    ----------
    aoi : bbox, geometry, GeoDataFrame or path
        See `cubecrop.aoi.parse_aoi`. The cube covers its bounding rectangle.
    season : Season or int
        A season, or a harvest year.
    archive : str, Path or Archive, optional
        As for `search`. The attribute ``archive`` names the one that was taken.
    modalities : iterable of str
        Children to open: ``sentinel2``, ``sentinel1``, ``weather``, ``terrain``, and
        ``landcover``, which is not opened by default. A modality that the archive lacks is absent
        from the cube. If the archive has no satellite image at all, that is an error.
    resolution : float, default 10
        Pixel size in metres.
    crs : str or int, optional
        A projected CRS in metres, or its EPSG code; by default the UTM zone of the area's centre.
    chunks : int, optional
        Chunk side in pixels; by default as large as ``memory`` allows, and aligned with the
        blocks of most files.
    memory : float, default 2e9
        Bytes of memory for each thread. What is read at a time takes at most three tenths of
        it, or half as much again at an edge of the area. The values of a chunk, which is a strip
        of that, take at most three tenths too. Decoded parts that other chunks need take another
        15 %, once per process and sensor; more of them go to a temporary file.
    composite : {"dekad", "month"}, optional
        Reduce each satellite series to one step a period; by default every date is kept.
    backend : Backend, optional
        Reads the files, such as ``OdcBackend()``; ``RasterioBackend(memory=memory)`` by
        default. A backend that you pass uses its own ``memory``.
    on_error : {"raise", "lost"}
        What to do about a satellite scene that cannot be read: raise an error, or give its
        pixels the status "lost" (radar: NaN). `write_map` lists the lost scenes.
    weather : str, Path or Archive, optional
        Where the weather is, if not in the archive; see `search`.
    clouds : {"scl", "probability"}, callable or CloudMask
        How clouds are masked. "scl" uses the scene classification (SCL): saturated pixels,
        shadow, cloud, cirrus and snow are masked, and 60 m around them. "probability" masks a
        cloud probability of 35 % and more instead of the classes of cloud and cirrus (Earth
        Search ``c1-l2a``). Or pass your own function, see `CloudMask`. The attribute ``clouds``
        records the choice.

    Returns
    -------
    xarray.DataTree
        Children ``sentinel2``, ``sentinel1``, ``weather``, ``terrain``, ``landcover``; see
        `cubecrop.schema`. Of a map of several years, each place has the one nearest to the harvest
        year.
        The attribute ``items`` names the items of the cube; ``harmonisation`` says for each
        item how its reflectance offset was decided ("" if it has none).

    Raises
    ------
    ArchiveError
        The archive cannot be opened, or none was named and no public one answers.
    NoScenesError
        The archive has no Sentinel image of the area in the season.
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
            scenes["landcover"], found.season.year, _rectangle(grid).lonlat,
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
