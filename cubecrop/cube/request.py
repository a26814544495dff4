"""What a season cube is asked for, as one value, and opening the cube."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import shapely

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
from cubecrop.cube.clouds import Clouds, clouds_name
from cubecrop.cube.composites import Composite
from cubecrop.cube.grid import MEMORY, check_crs, check_resolution, grid_for
from cubecrop.cube.season_cube import build_season
from cubecrop.errors import NoScenesError, SchemaError
from cubecrop.losses import OnError, check_on_error
from cubecrop.schema import MODALITIES, Modality
from cubecrop.season import Season

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr
    from odc.geo.geobox import GeoBox

    from cubecrop.archive import Scenes
    from cubecrop.cube.backend import Backend

__all__ = ["CubeRequest", "open_season"]

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
        return build_season(found, grid, request)

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
        Bytes that a thread may hold. A chunk's series takes at most three tenths of it, half
        as much again where it lies at an edge of the area. Another 15 %, once in a process and
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
