"""ESA WorldCereal's public extraction tables as pixel sets of one pixel a parcel.

There are two forms. *Long* tables have one row per sample and date (``sample_id``, ``timestamp``,
``S2-L2A-B02`` …). *Wide* tables have one row per sample (``OPTICAL-B02-ts0-10m`` …,
``start_date``, ``end_date``). Both store unsigned 16-bit numbers, 65535 = missing:

=========================  ==============================================================
reflectance                DN / 10000
backscatter                20 log10(DN) - 83 dB, sigma0
mean temperature           DN / 100 K
precipitation              DN / 100 mm, summed over the step; divided by its days when read
=========================  ==============================================================

Numbers that cannot be measurements are missing too:

- reflectance, if all bands of a native resolution are 0 (the no-data of Sentinel-2, in a third of
  the wide form's winter steps), or if it exceeds the 15 bits of a product;
- backscatter of 0, and of 1, which the encoding writes for no power at all;
- temperature below 150 K or above 350 K (0 K in tables that end before their dates);
- precipitation of 65534, which the encoding writes for larger numbers;
- elevation and slope that do not exist on Earth.

Backscatter of 2 to 44 is below -50 dB, and is raised to -50 dB as in season cubes. A column that
holds values instead of their encoding, such as reflectance from 0 to 1 or decibels, is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from cubecrop.checks import check_path
from cubecrop.errors import ReadError, SchemaError
from cubecrop.sample.extraction_table import (
    TERRAIN_COLUMNS,
    ExtractionTable,
    days_of,
    periods,
    present,
    read_table,
)
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS, WEATHER_UNITS
from cubecrop.texts import label_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_worldcereal"]

_TERRAIN_UNITS: Final = {"elevation": "m", "slope": "degree"}
#: Smallest and largest possible values; other numbers are codes for missing.
_TERRAIN_RANGE: Final = {"elevation": (-500, 9000), "slope": (0, 90)}
#: Numbers of Sentinel-2 products have 15 bits.
_LARGEST_REFLECTANCE: Final = 2**15 - 1
#: The radar encoding clips to this number, -83 dB, even if there was no power at all.
_NO_POWER: Final = 1
#: Lower backscatter is raised to this, dB, as in season cubes.
_RADAR_FLOOR: Final = -50
#: Possible air temperatures near the ground, K times 100; the records are 184 and 330 K.
_TEMPERATURES: Final = (15000, 35000)
#: The encoding of weather clips to this number.
_HIGHEST: Final = 65534
#: Bands by native resolution: at the edges of tiles, all bands of a resolution lack data together.
_RESOLUTIONS: Final = (
    ("B02", "B03", "B04", "B08"),
    ("B05", "B06", "B07", "B8A", "B11", "B12"),
)


def read_worldcereal(path: str | Path, *, label: str | None) -> xr.DataTree:
    """Read a WorldCereal extraction table, long or wide, into memory.

    All parcels share the table's steps; steps that a parcel lacks are masked. ``time`` is the
    middle day of a step, as in season cubes with ``composite="month"`` or ``"dekad"``. Stamps at
    midnight of local time belong to the day that begins then. Steps of the wide form are 30 (10)
    days from ``start_date``. If start dates differ between samples, they are shifted by up to 15
    (5) days to the nearest step, counted from the most frequent start date.

    The season's year is the year of the crop (``valid_date``, ``valid_time``, ``year``, or the
    first digits of ``ref_id``). The season lasts from the table's first month (dekad) to the
    last one that begins in that year. Later steps are dropped: they show the next crop, and
    their number differs between tables of the same year.

    Parameters
    ----------
    path : path
        A Parquet file of one harvest year.
    label : str or None
        The label column, such as ``"ewoc_code"`` or ``"CROPTYPE_LABEL"``. Null means no label;
        0 is the class ``"0"``. With None no labels are read.

    Returns
    -------
    xarray.DataTree
        Pixel sets of one pixel (see `cubecrop.schema`), without ``geometry``:
        ``sentinel2/reflectance (parcel, time, band, pixel)`` float32, unit 1, and
        ``sentinel1/backscatter`` in dB, sigma0, NaN where missing, with ``valid (parcel,
        time, pixel)``, True where all bands have values; ``weather/weather (parcel, time,
        variable)`` in K and mm d-1, with coord ``step_days (time)``; ``terrain/terrain
        (parcel, variable, pixel)`` elevation and slope (no aspect, which is unknown). Bands and
        children without any value are absent. Root: ``label (parcel)`` text or None, if
        labels are read; coords ``parcel`` (the sample id, or the row number in tables without
        ids), ``lon``, ``lat``, ``pixel_count``, and ``group`` from ``location_id``: parcels of a
        group belong in the same fold.

    Raises
    ------
    ReadError
        The file does not exist, or is not Parquet.
    SchemaError
        The file is not such a table, has an unknown measurement, values that are not encoded, or
        several harvest years.
    LabelError
        The label column does not exist.
    ParcelError
        A sample id is missing, repeated, or has two places or labels.

    References
    ----------
    Van Tricht et al. 2023, doi:10.5194/essd-15-5491-2023. A comparison with daily AgERA5 in
    Flanders showed that wide steps have 30 days and that precipitation is a sum.
    """
    path = check_path("path", path, error=ReadError)
    table = read_table(path, label)
    year = _harvest_year(path.name, table)
    table = table.before(np.datetime64(f"{year + 1}-01-01"))
    if len(table.start) == 0:
        raise SchemaError(
            f"{path.name} has no date up to the end of its harvest year {year}. Correct the column "
            "that gives the year."
        )
    nodes = {
        "sentinel2": _sentinel2(table),
        "sentinel1": _sentinel1(table),
        "weather": _weather(table),
        "terrain": _terrain(table),
    }
    if nodes["sentinel2"] is None and nodes["sentinel1"] is None:
        raise SchemaError(
            f"{path.name} has no satellite value up to the end of its harvest year {year}: "
            "all are missing. Extract the table again."
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
        # A cast would turn missing numbers into years, and cut off fractions.
        if odd := numbers[~(np.isfinite(numbers) & (numbers % 1 == 0))].tolist():
            raise SchemaError(f"{name} has a column 'year' that is not whole: {odd[0]}.")
        years = numbers.astype(np.int64)
    elif "ref_id" in about and about["ref_id"].astype(str).str.match(r"\d{4}_").all():
        column, years = "ref_id", about["ref_id"].astype(str).str[:4].to_numpy(dtype=np.int64)
    else:
        raise SchemaError(
            f"{name} does not give its harvest year: it has none of the columns 'valid_date', "
            "'valid_time' and 'year', and no 'ref_id' that begins with a year. Add it: "
            "`table.assign(year=2021)`."
        )
    distinct = np.unique(years).tolist()
    if len(distinct) > 1:
        raise SchemaError(
            f"{name} has the harvest years {distinct} in its column {column!r}, expected one. "
            "Write a file for each year, read each file, and pass the list to `cubecrop.fit`."
        )
    return int(distinct[0])


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


def _within(numbers: NDArray[np.float64], minimum: float, maximum: float) -> NDArray[np.float64]:
    """Numbers from minimum to maximum, NaN elsewhere."""
    return np.where((numbers >= minimum) & (numbers <= maximum), numbers, np.nan)


def _root(name: str, table: ExtractionTable, label: str | None, year: int) -> xr.Dataset:
    about, n = table.about, len(table.ids)
    first, _ = periods(table.time[:1], table.step)
    _, end = periods(table.time[-1:], table.step)
    coords: dict[str, object] = {"parcel": table.ids}
    for axis, unit in (("lon", "degrees_east"), ("lat", "degrees_north")):
        if axis in about:
            place = about[axis].to_numpy(dtype=np.float64, na_value=np.nan)
            most = 360 if axis == "lon" else 90
            if (far := place[np.abs(place) > most]).size:
                raise SchemaError(
                    f"{name} has a column {axis!r} with {far[0]:g}, expected degrees up to {most}. "
                    "Reproject the places to EPSG:4326, or drop the columns lon and lat."
                )
            coords[axis] = ("parcel", place, {"units": unit})
    coords["pixel_count"] = ("parcel", np.ones(n, dtype=np.int64))
    if "location_id" in about:
        # A sample without location is a group of its own.
        known = about["location_id"].notna().to_numpy()
        group = np.where(known, about["location_id"].astype(str), table.ids.astype(str))
        coords["group"] = ("parcel", group.astype(object))
    labels = {}
    if label is not None:
        text = np.array([label_text(value) for value in about[label]], dtype=object)
        labels["label"] = ("parcel", text, {"long_name": label})
    return xr.Dataset(
        labels,
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
