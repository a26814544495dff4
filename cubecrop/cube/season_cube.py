"""Requests for season cubes, and opening the cubes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

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
from cubecrop.cube.assembling import cube_of, rectangle
from cubecrop.cube.clouds import Clouds, clouds_name
from cubecrop.cube.composites import Composite
from cubecrop.cube.grid import MEMORY, check_crs, check_resolution, grid_for
from cubecrop.errors import ArchiveError, NoScenesError, SchemaError
from cubecrop.lost_scenes import OnError, check_on_error
from cubecrop.schema import MODALITIES, Modality
from cubecrop.season import Season

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

    from cubecrop.archive import Scenes
    from cubecrop.cube.backend import Backend

__all__ = ["LEAST_MEMORY", "CubeRequest", "open_season"]

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
            scenes = request._search(rectangle(grid))
        except NoScenesError:
            request._search(area)  # again with the user's area, so that the error names it
            raise
        return cube_of(scenes, grid, request)

    def _search(self, area: Aoi) -> Scenes:
        return search(
            area,
            self.season,
            archive=self.archive,
            modalities=self.modalities,
            weather=self.weather,
        )


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
