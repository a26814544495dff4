"""The data that stages exchange: scenes, season cubes and pixel sets.

This module defines their dims, bands, units and attrs, with cheap checks that read only metadata.

=========================  ====================================  ==========================
season cube (DataTree)     dims                                  dtype, unit
=========================  ====================================  ==========================
``sentinel2/reflectance``  time, band, y, x                      float32, 1
``sentinel2/status``       time, y, x                            uint8, see `Status`
``sentinel1/backscatter``  time, band, y, x                      float32, dB
``weather/weather``        time, variable, latitude, longitude   float32, by variable
``terrain/terrain``        variable, y, x                        float32, m, degree, 1
``landcover/landcover``    y, x                                  uint8, class code, 0 unknown
=========================  ====================================  ==========================

Pixel sets have the same children but ``landcover``, with ``(parcel, time, band, pixel)`` instead of
``(time, band, y, x)``. Each satellite child also has ``valid (parcel, time, pixel)``, and the root
has ``geometry (parcel, feature)``.

The coordinate ``acquisitions (time)`` of a satellite child counts the passes of a step: 1 for a
single date; for a composite the passes in the period, 0 if there are none. Tables of samples
without this information lack the coordinate.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
import xarray as xr

from cubecrop.circle import BBox, bbox_of
from cubecrop.errors import SchemaError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from shapely.geometry.base import BaseGeometry

__all__ = [
    "CLOUD_PROBABILITY",
    "GEOMETRY_FEATURES",
    "MODALITIES",
    "OPTIONAL_MODALITIES",
    "SENTINEL1_BANDS",
    "SENTINEL2_BANDS",
    "SERIES",
    "TERRAIN_VARIABLES",
    "WEATHER_UNITS",
    "Access",
    "Accumulation",
    "Asset",
    "Modality",
    "Scene",
    "Signer",
    "Status",
    "check_pixel_sets",
    "check_season_cube",
    "crs_of",
    "resolution_of",
]

#: Period that a weather amount covers, by the catalogue's documentation: the hour that ends at its
#: time stamp, or the time since 00 UTC; "" if only the store itself may state it.
Accumulation = Literal["", "hour", "midnight"]
Modality = Literal["sentinel2", "sentinel1", "weather", "terrain", "landcover"]
MODALITIES: Final[tuple[Modality, ...]] = ("sentinel2", "sentinel1", "weather", "terrain")
#: Modalities that are opened only if they are asked for: no model learns from them.
OPTIONAL_MODALITIES: Final[tuple[Modality, ...]] = ("landcover",)

SENTINEL2_BANDS: Final = (
    "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12",
)  # fmt: skip
#: ESA's name of the cloud probability, 0 to 100 %, which some catalogues have.
CLOUD_PROBABILITY: Final = "CLDPRB"
SENTINEL1_BANDS: Final = ("vv", "vh")
TERRAIN_VARIABLES: Final = ("elevation", "slope", "aspect_sine", "aspect_cosine")
TERRAIN_UNITS: Final = ("m", "degree", "1", "1")
WEATHER_UNITS: Final[Mapping[str, str]] = {
    "temperature_mean": "K",
    "temperature_min": "K",
    "temperature_max": "K",
    "precipitation": "mm d-1",
    "solar_radiation": "J m-2 d-1",
}
#: Features of a parcel's shape, as in Garnot et al. 2020: m, m2, 1/m, 1.
GEOMETRY_FEATURES: Final = ("perimeter", "area", "perimeter_to_area", "cover_ratio")
#: The variable that holds the satellite series of a child.
SERIES: Final[Mapping[str, str]] = {"sentinel2": "reflectance", "sentinel1": "backscatter"}

#: Pixels by which coordinates may be off the lattice, by rounding.
_OFF: Final = 1e-3

_CUBE_DIMS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "sentinel2": ("reflectance", ("time", "band", "y", "x")),
    "sentinel1": ("backscatter", ("time", "band", "y", "x")),
    "weather": ("weather", ("time", "variable", "latitude", "longitude")),
    "terrain": ("terrain", ("variable", "y", "x")),
    "landcover": ("landcover", ("y", "x")),
}
_SET_DIMS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "sentinel2": ("reflectance", ("parcel", "time", "band", "pixel")),
    "sentinel1": ("backscatter", ("parcel", "time", "band", "pixel")),
    "weather": ("weather", ("parcel", "time", "variable")),
    "terrain": ("terrain", ("parcel", "variable", "pixel")),
}


class Status(enum.IntEnum):
    """The state of a Sentinel-2 pixel on a date.

    ``LOST`` marks a scene that could not be read. Reading such a scene raises
    `cubecrop.errors.ReadError`, unless the cube was opened with ``on_error="lost"`` or is
    written as a map that may lose some scenes.
    """

    CLEAR = 0
    CLOUD = 1
    OUTSIDE = 2
    LOST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file of a scene. A value is ``DN * scale + offset`` if DN is not nodata.

    ``bounds`` are (left, bottom, right, top) in the scene's CRS, ``shape`` is (rows, columns)
    and ``pixel`` (width, height) in CRS units; each is None if the item does not state it. A
    reader compares them with the file.
    """

    href: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    bounds: tuple[float, float, float, float] | None = None
    shape: tuple[int, int] | None = None
    pixel: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to access the files of a catalogue; it has no secrets, so it may go into graphs.

    ``signer(href, renew=False)`` returns the address to open. It is called in the process that
    opens the file, with ``renew`` after a refusal, and must be importable, since workers get it by
    name. ``environment`` names variables that must be set there, ``cure`` says how to get their
    values, and ``options`` are options of GDAL.
    """

    signer: Signer | None = field(default=None, repr=False)
    options: tuple[tuple[str, str], ...] = ()
    environment: tuple[str, ...] = ()
    cure: str = ""


class Signer(Protocol):
    """Returns an address at which a file can be opened for a while."""

    def __call__(self, href: str, *, renew: bool) -> str:
        """Sign an address; with ``renew`` request a new signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A STAC item in a form that is the same for every catalogue.

    ``assets`` are keyed by ESA band names (``B02`` … ``SCL``, and ``CLDPRB`` where the item
    has it), ``vv`` and ``vh``, ``elevation``, ``landcover``, or ``weather`` or single variables of
    it.
    ``solar_day`` is the local date, UTC + longitude / 15 h.
    ``footprint`` is in lon/lat. ``start`` and ``end`` differ for items that span a period.
    ``datatake`` is the start of the pass, the same for all its tiles. ``provider`` is its
    catalogue. ``harmonisation`` is a sentence about the choice of scale and offset.
    ``offset_unverified`` is true if the offset rests only on a flag that is sometimes wrong, so
    that a reader should check dark pixels. ``access`` is how its files are opened.
    ``accumulation`` is the period that weather amounts cover. ``classes`` are the classes of a
    land-cover map by code, and ``product`` is its name.
    """

    id: str
    collection: str
    modality: Modality
    start: dt.datetime
    end: dt.datetime
    solar_day: dt.date
    footprint: BaseGeometry
    assets: Mapping[str, Asset]
    crs: str | None = None
    href: str | None = None
    platform: str = ""
    tile: str = ""
    baseline: str = ""
    datatake: str = ""
    generated: str = ""
    orbit_state: str = ""
    relative_orbit: int | None = None
    calibration: str = ""
    cloud_cover: float | None = None
    provider: str = ""
    harmonisation: str = ""
    offset_unverified: bool = False
    access: Access = field(default_factory=Access, repr=False)
    accumulation: Accumulation = ""
    classes: Mapping[int, str] = field(default_factory=dict)
    product: str = ""

    @property
    def datetime(self) -> dt.datetime:
        """Time of the acquisition, UTC."""
        return self.start

    @property
    def bbox(self) -> BBox:
        """(west, south, east, north) of the footprint, degrees; west > east across 180."""
        return bbox_of(self.footprint)

    @property
    def files(self) -> tuple[str, ...]:
        """Addresses of its assets, ordered by name; they differ between items with the same id."""
        return tuple(self.assets[name].href for name in sorted(self.assets))


def check_season_cube(season: xr.DataTree, *, needs: Iterable[str] = ()) -> None:
    """Raise unless a tree has the children, dims and CRS of a season cube.

    Parameters
    ----------
    season : xarray.DataTree
        The tree to check; no pixel is read.
    needs : iterable of str
        Children that must be present.

    Raises
    ------
    SchemaError
        The message names the problem, what was expected and the call that fixes it.
    """
    _check_tree(season, "season cube", _CUBE_DIMS, needs, "cubecrop.open_season(...)")
    if "spatial_ref" not in season.coords:
        raise SchemaError(
            "season cube has no coordinate 'spatial_ref', so its CRS is unknown. "
            "Write one with `dataset.rio.write_crs(...)` on root and children."
        )
    _check_grid(season)


def _check_grid(season: xr.DataTree) -> None:
    """Raise unless pixels are a part of the lattice: places of parcels are computed from it."""
    size = resolution_of(season)
    x, y = (season[axis].to_numpy() for axis in ("x", "y"))
    # Numbers of columns and rows, from the CRS's origin eastwards and southwards.
    for numbers in (x / size - 0.5, -y / size - 0.5):
        expected = round(float(numbers[0])) + np.arange(len(numbers))
        if size <= 0 or not np.allclose(numbers, expected, rtol=0, atol=_OFF):
            raise SchemaError(
                f"season cube has x from {x[0]} to {x[-1]} in {len(x)} pixels and y from {y[0]} to "
                f"{y[-1]} in {len(y)}, expected pixels of the lattice: squares in rows from west "
                "to east and from north to south, without gaps, with edges at whole multiples of "
                "their size. Take parts by slices without a step, as in `cube.isel(x=slice(0, "
                "100))`, and other pixels with `cubecrop.open_season(..., resolution=...)`."
            )


def crs_of(season: xr.DataTree) -> str:
    """CRS of a season cube, as WKT."""
    return str(season["spatial_ref"].attrs["crs_wkt"])


def resolution_of(season: xr.DataTree) -> float:
    """Pixel size of a season cube in metres."""
    x = season["x"].to_numpy()
    if len(x) > 1:
        return float(x[1] - x[0])
    return float(season["spatial_ref"].attrs["GeoTransform"].split()[1])


def check_pixel_sets(samples: xr.DataTree, *, needs: Iterable[str] = ()) -> None:
    """Raise unless a tree has the children and dims of pixel sets.

    Parameters
    ----------
    samples : xarray.DataTree
        The tree to check; no pixel is read.
    needs : iterable of str
        Children that must be present.

    Raises
    ------
    SchemaError
        The message names the problem, what was expected and the call that fixes it.
    """
    _check_tree(samples, "pixel sets", _SET_DIMS, needs, "cubecrop.sample_pixel_sets(...)")
    expected = ("parcel", "time", "pixel")
    for name in (name for name in SERIES if name in samples.children):
        node = samples[name]
        if "valid" not in node.data_vars or node["valid"].dims != expected:
            actual = node["valid"].dims if "valid" in node.data_vars else "not there"
            raise SchemaError(
                f"pixel sets variable {name}/valid is {actual}, expected {expected}; it marks "
                "pixels that are real and clear. Make them with `cubecrop.sample_pixel_sets(...)`."
            )
        if "time" not in node.coords:
            raise SchemaError(f"pixel sets child {name!r} has no coordinate 'time'. Assign it.")


def _check_tree(
    tree: xr.DataTree,
    what: str,
    expected: Mapping[str, tuple[str, tuple[str, ...]]],
    needs: Iterable[str],
    maker: str,
) -> None:
    if not isinstance(tree, xr.DataTree):
        raise SchemaError(
            f"{what} is a {type(tree).__name__}, expected an xarray.DataTree from `{maker}`."
        )
    if unknown := sorted(set(tree.children) - set(expected)):
        raise SchemaError(f"{what} has children {unknown}, expected only {sorted(expected)}.")
    if missing := sorted(set(needs) - set(tree.children)):
        raise SchemaError(
            f"{what} has children {sorted(tree.children)} but {missing} is needed. "
            f"Make it with `{maker}`."
        )
    for child, (variable, dims) in expected.items():
        if child not in tree.children:
            continue
        if variable not in tree[child].data_vars:
            raise SchemaError(f"{what} child {child!r} has no variable {variable!r}.")
        if (actual := tree[child][variable].dims) != dims:
            order = ", ".join(repr(dim) for dim in dims)
            raise SchemaError(
                f"{what} variable {child}/{variable} has dims {actual}, expected {dims}. "
                f"Reorder with `.transpose({order})`."
            )
