"""ESA WorldCereal's public extraction tables as pixel sets of one pixel a parcel.

Two forms are in circulation. *Long*: a row a sample and date (``sample_id``, ``timestamp``,
``S2-L2A-B02`` …). *Wide*: a row a sample (``OPTICAL-B02-ts0-10m`` …, ``start_date``,
``end_date``). Both store unsigned 16-bit numbers, 65535 = missing:

=========================  ==============================================================
reflectance                DN / 10000
backscatter                20 log10(DN) - 83 dB, sigma0
mean temperature           DN / 100 K
precipitation              DN / 100 mm, summed over the step; here by the days of the step
=========================  ==============================================================

A number that cannot be a measurement is missing too: reflectance when all bands of a native
resolution are 0 (the no-data of Sentinel-2 itself, a third of the wide form's winter) or above
the 15 bits of a product; backscatter of 0 and of 1, to which the encoding clips no power at all;
temperature below 150 K and above 350 K (0 K in tables that end before their dates); precipitation
of 65534, to which the encoding clips more; elevation and slope that are none on Earth.
Backscatter of 2 to 44 is below -50 dB, and is raised to it as that of archives is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from cubecrop.checks import check_path
from cubecrop.errors import ReadError, SchemaError
from cubecrop.nomenclature import label_text
from cubecrop.sample.extraction_table import (
    TERRAIN_COLUMNS,
    ExtractionTable,
    days_of,
    periods,
    present,
    read_table,
)
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS, WEATHER_UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_worldcereal"]

_TERRAIN_UNITS: Final = {"elevation": "m", "slope": "degree"}
#: Least and greatest that can be measured; what lies without is a code for missing.
_TERRAIN_RANGE: Final = {"elevation": (-500, 9000), "slope": (0, 90)}
#: A product of Sentinel-2 has numbers of 15 bits.
_LARGEST_REFLECTANCE: Final = 2**15 - 1
#: The radar encoding clips to this, -83 dB, also where there was no power at all.
_NO_POWER: Final = 1
#: Backscatter below which nothing is told apart, dB, as in season cubes.
_RADAR_FLOOR: Final = -50
#: Air temperatures near the ground, K times 100: the records are 184 and 330 K.
_TEMPERATURES: Final = (15000, 35000)
#: The encoding of weather clips to this.
_HIGHEST: Final = 65534
#: Bands by native resolution: tiles are cut, and so lack data, a resolution at a time.
_RESOLUTIONS: Final = (
    ("B02", "B03", "B04", "B08"),
    ("B05", "B06", "B07", "B8A", "B11", "B12"),
)


def read_worldcereal(path: str | Path, *, label: str) -> xr.DataTree:
    """Read a WorldCereal extraction table, long or wide, into memory.

    All parcels share the table's steps; a parcel that lacks one is masked there. ``time`` is
    the middle day of a step, as in season cubes with ``composite="month"`` or ``"dekad"``.
    Stamps that are midnights of local time belong to the day that began then. Steps of the
    wide form are 30 (10) days from ``start_date``; starts that differ between samples are
    brought to the nearest step counted from the most frequent one, 15 (5) days at most.

    The season is of the year in which the crop stood (``valid_date``, ``valid_time``,
    ``year``, or the first digits of ``ref_id``), from the first of the table's months
    (dekads) to the last that begins in that year. Later steps are left out: they show the
    next crop, and tables of a year differ in how many they have.

    Parameters
    ----------
    path : path
        A Parquet file of one harvest year.
    label : str
        Column to learn, such as ``"ewoc_code"`` or ``"CROPTYPE_LABEL"``. A null is no label;
        0 is the class ``"0"``.

    Returns
    -------
    xarray.DataTree
        Pixel sets of one pixel (see `cubecrop.schema`), without ``geometry``:
        ``sentinel2/reflectance (parcel, time, band, pixel)`` float32, unit 1, and
        ``sentinel1/backscatter`` in dB, sigma0, NaN where missing, with ``valid (parcel,
        time, pixel)``, True where every band is there; ``weather/weather (parcel, time,
        variable)`` in K and mm d-1, with coord ``step_days (time)``; ``terrain/terrain
        (parcel, variable, pixel)`` elevation and slope (the aspect is unknown, so it has no
        variable). Bands and children without a single value are absent. Root: ``label
        (parcel)`` text or None; coords ``parcel`` (sample id, or row number where there is
        none), ``lon``, ``lat``, ``pixel_count``, and, from ``location_id``, ``group``: parcels
        of a group belong in the same fold.

    Raises
    ------
    ReadError
        There is no such file, or it is not Parquet.
    SchemaError
        Not such a table, a measurement that is not known, or several harvest years.
    LabelError
        The label column is not there.
    ParcelError
        A sample id is missing, repeated, or stands for two places or labels.

    References
    ----------
    Van Tricht et al. 2023, doi:10.5194/essd-15-5491-2023. That wide steps have 30 days, and
    that precipitation is a sum, was measured against daily AgERA5 in Flanders.
    """
    path = check_path("path", path, error=ReadError)
    table = read_table(path, label)
    year = _harvest_year(path.name, table)
    table = table.before(np.datetime64(f"{year + 1}-01-01"))
    if len(table.start) == 0:
        raise SchemaError(f"{path.name} has no date up to the end of its harvest year {year}.")
    nodes = {
        "sentinel2": _sentinel2(table),
        "sentinel1": _sentinel1(table),
        "weather": _weather(table),
        "terrain": _terrain(table),
    }
    if nodes["sentinel2"] is None and nodes["sentinel1"] is None:
        raise SchemaError(
            f"{path.name} has no satellite value up to the end of its harvest year {year}: "
            "all are missing."
        )
    tree: dict[str, xr.Dataset] = {k: node for k, node in nodes.items() if node is not None}
    tree["/"] = _root(path.name, table, label, year)
    return xr.DataTree.from_dict(tree, name="pixel_sets")


def _harvest_year(name: str, table: ExtractionTable) -> int:
    about = table.about
    if column := next((c for c in ("valid_date", "valid_time") if c in about), None):
        years = days_of(name, about[column]).astype("datetime64[Y]").astype(np.int64) + 1970
    elif "year" in about:
        column = "year"
        try:
            numbers = about["year"].to_numpy(dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise SchemaError(f"{name} has a column 'year' that is not whole: {error}.") from error
        # A cast would make some year of what is missing, and cut off a part of one.
        if odd := numbers[~(np.isfinite(numbers) & (numbers % 1 == 0))].tolist():
            raise SchemaError(f"{name} has a column 'year' that is not whole: {odd[0]}.")
        years = numbers.astype(np.int64)
    elif "ref_id" in about and about["ref_id"].astype(str).str.match(r"\d{4}_").all():
        column, years = "ref_id", about["ref_id"].astype(str).str[:4].to_numpy(dtype=np.int64)
    else:
        raise SchemaError(
            f"{name} does not say which year's harvest it shows: it has neither 'valid_date', "
            "'valid_time' nor 'year', nor a 'ref_id' that begins with it. Add it: "
            "`table.assign(year=2021)`."
        )
    seen = np.unique(years).tolist()
    if len(seen) > 1:
        raise SchemaError(
            f"{name} holds the harvest years {seen} by its column {column!r}, expected one. Write "
            "a file a year, read each, and give `cubecrop.fit` the list."
        )
    return int(seen[0])


def _sentinel2(table: ExtractionTable) -> xr.Dataset | None:
    numbers = {
        band: np.where(table.numbers[band] > _LARGEST_REFLECTANCE, np.nan, table.numbers[band])
        for band in SENTINEL2_BANDS
        if band in table.numbers
    }
    for group in _RESOLUTIONS:
        if here := [band for band in group if band in numbers]:
            empty = np.all([~(numbers[band] > 0) for band in here], axis=0)
            numbers.update({band: np.where(empty, np.nan, numbers[band]) for band in here})
    values: dict[str, NDArray[np.float64]] = {
        band: number / 10000 for band, number in numbers.items()
    }
    attrs = {"units": "1", "long_name": "surface reflectance"}
    return _satellite(table, "reflectance", values, attrs)


def _sentinel1(table: ExtractionTable) -> xr.Dataset | None:
    values = {}
    for band in SENTINEL1_BANDS:
        if band in table.numbers:
            number = np.where(table.numbers[band] > _NO_POWER, table.numbers[band], np.nan)
            values[band] = np.maximum(20 * np.log10(number) - 83, _RADAR_FLOOR)
    attrs = {"units": "dB", "long_name": "radar backscatter", "calibration": "sigma0"}
    return _satellite(table, "backscatter", values, attrs)


def _satellite(
    table: ExtractionTable,
    variable: str,
    values: Mapping[str, NDArray[np.float64]],
    attrs: Mapping[str, str],
) -> xr.Dataset | None:
    bands = [band for band, series in values.items() if np.isfinite(series).any()]
    if not bands:
        return None
    series = np.stack([values[band] for band in bands], axis=2)[..., None]
    series = series.astype(np.float32)  # (parcel, time, band, pixel)
    return xr.Dataset(
        {
            variable: (("parcel", "time", "band", "pixel"), series, dict(attrs)),
            "valid": (("parcel", "time", "pixel"), np.isfinite(series).all(axis=2)),
        },
        coords={"time": table.time.astype("datetime64[ns]"), "band": bands},
    )


def _weather(table: ExtractionTable) -> xr.Dataset | None:
    values = {}
    if (kelvin := table.numbers.get("temperature_mean")) is not None:
        values["temperature_mean"] = _within(kelvin, *_TEMPERATURES) / 100
    if (total := table.numbers.get("precipitation")) is not None:
        values["precipitation"] = _within(total, 0, _HIGHEST - 1) / 100 / table.days
    names = [name for name, series in values.items() if np.isfinite(series).any()]
    if not names:
        return None
    series = np.stack([values[name] for name in names], axis=2).astype(np.float32)
    return xr.Dataset(
        {
            "weather": (
                ("parcel", "time", "variable"),
                series,
                {"long_name": "mean weather of each step"},
            )
        },
        coords={
            "time": table.time.astype("datetime64[ns]"),
            "step_days": ("time", table.days, {"long_name": "days in the step"}),
            "variable": names,
            "units": ("variable", [WEATHER_UNITS[name] for name in names]),
        },
    )


def _terrain(table: ExtractionTable) -> xr.Dataset | None:
    values = {
        (name := TERRAIN_COLUMNS[str(column)]): _within(
            present(table.about[column]), *_TERRAIN_RANGE[name]
        )
        for column in table.about.columns
        if column in TERRAIN_COLUMNS
    }
    names = [n for n in _TERRAIN_UNITS if n in values and np.isfinite(values[n]).any()]
    if not names:
        return None
    terrain = np.stack([values[name] for name in names], axis=1)[..., None].astype(np.float32)
    return xr.Dataset(
        {"terrain": (("parcel", "variable", "pixel"), terrain, {"long_name": "terrain"})},
        coords={
            "variable": names,
            "units": ("variable", [_TERRAIN_UNITS[name] for name in names]),
        },
    )


def _within(numbers: NDArray[np.float64], least: float, greatest: float) -> NDArray[np.float64]:
    """Numbers from the least to the greatest, NaN elsewhere."""
    return np.where((numbers >= least) & (numbers <= greatest), numbers, np.nan)


def _root(name: str, table: ExtractionTable, label: str, year: int) -> xr.Dataset:
    about, n = table.about, len(table.ids)
    first, _ = periods(table.time[:1], table.step)
    _, end = periods(table.time[-1:], table.step)
    coords: dict[str, object] = {"parcel": table.ids}
    for axis, unit in (("lon", "degrees_east"), ("lat", "degrees_north")):
        if axis in about:
            place = about[axis].to_numpy(dtype=np.float64, na_value=np.nan)
            coords[axis] = ("parcel", place, {"units": unit})
    coords["pixel_count"] = ("parcel", np.ones(n, dtype=np.int64))
    if "location_id" in about:
        # A sample without location is a group of its own.
        known = about["location_id"].notna().to_numpy()
        group = np.where(known, about["location_id"].astype(str), table.ids.astype(str))
        coords["group"] = ("parcel", group.astype(object))
    text = np.array([label_text(value) for value in about[label]], dtype=object)
    return xr.Dataset(
        {"label": ("parcel", text, {"long_name": label})},
        coords=coords,
        attrs={
            "season_year": year,
            "season_start": str(first[0]),
            "season_end": str(end[0] - 1),
            "archive": name,
            "composite": table.step,
            "items": [],
            "item_hrefs": [],
            "n_pixels": 1,
            "seed": 0,
        },
    )
