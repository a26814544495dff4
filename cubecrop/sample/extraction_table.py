"""Read WorldCereal's extraction tables, long or wide, and pivot them to one row a sample."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cubecrop.errors import LabelError, ParcelError, ReadError, SchemaError
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["TERRAIN_COLUMNS", "ExtractionTable", "days_of", "periods", "present", "read_table"]

_MISSING: Final = 65535
#: Codes that other tools write for "missing".
_MISSING_ELSEWHERE: Final = (-9999, -32768)
#: A column with fractions and without a larger number holds values, not their encoding. Encoded
#: reflectance and backscatter reach hundreds, temperatures 20,000; their means have fractions too.
_UNENCODED: Final[Mapping[str, float]] = {
    **dict.fromkeys((*SENTINEL2_BANDS, *SENTINEL1_BANDS), 10.0),
    "temperature_mean": 400.0,
}
_LONG: Final[Mapping[str, str]] = {
    **{f"S2-L2A-{band}": band for band in SENTINEL2_BANDS},
    **{f"S1-SIGMA0-{band.upper()}": band for band in SENTINEL1_BANDS},
    "AGERA5-TMEAN": "temperature_mean",
    "AGERA5-temperature-mean": "temperature_mean",
    "AGERA5-PRECIP": "precipitation",
    "AGERA5-precipitation-flux": "precipitation",
}
_WIDE: Final[Mapping[str, str]] = {
    **{f"OPTICAL-{band}": band for band in SENTINEL2_BANDS},
    **{f"SAR-{band.upper()}": band for band in SENTINEL1_BANDS},
    "METEO-temperature_mean": "temperature_mean",
    "METEO-precipitation_flux": "precipitation",
}
TERRAIN_COLUMNS: Final[Mapping[str, str]] = {
    "DEM-alt-20m": "elevation",
    "elevation": "elevation",
    "DEM-slo-20m": "slope",
    "slope": "slope",
}
_WIDE_COLUMN: Final = re.compile(r"((?:OPTICAL|SAR|METEO)-.+)-ts(\d+)-\d+m")
_MEASURED: Final = re.compile(r"(S2|S1|AGERA5|DEM)-.+")
#: Columns that are read if a table has them, besides measurements and label.
_ABOUT: Final = (
    "sample_id", "timestamp", "start_date", "end_date", "lon", "lat", "location_id",
    "valid_date", "valid_time", "year", "ref_id",
)  # fmt: skip
_MONTH: Final = np.timedelta64(1, "M")
_Step = Literal["month", "dekad"]
#: Steps of the wide form, by tens of days: length in days, and the composite they stand for.
_WIDE_STEPS: Final[Mapping[int, tuple[int, _Step]]] = {3: (30, "month"), 1: (10, "dekad")}


@dataclass(frozen=True, slots=True)
class ExtractionTable:
    """A table with one row a parcel.

    ``numbers`` are digital numbers by quantity, (parcel, time) float64, NaN = missing. ``start``
    (time,) datetime64[D] and ``days`` (time,) int64 are the first days and the lengths of the
    steps. ``about`` holds the other columns, one row a parcel.
    """

    numbers: Mapping[str, NDArray[np.float64]]
    start: NDArray[np.datetime64]
    days: NDArray[np.int64]
    step: _Step
    about: pd.DataFrame
    ids: NDArray[np.generic]

    @property
    def time(self) -> NDArray[np.datetime64]:
        """Middle day of each step, as in `cubecrop.open_season(..., composite=...)`."""
        return self.start + self.days // 2

    def before(self, day: np.datetime64) -> ExtractionTable:
        """The table with only the steps whose middle is before a day."""
        keep = self.time < day
        numbers = {name: values[:, keep] for name, values in self.numbers.items()}
        return ExtractionTable(
            numbers, self.start[keep], self.days[keep], self.step, self.about, self.ids
        )


def read_table(path: Path, label: str | None) -> ExtractionTable:
    """Read a table into memory and pivot it; see `cubecrop.sample.read_worldcereal`."""
    name, columns = path.name, _columns(path)
    wide = any(_WIDE_COLUMN.fullmatch(column) for column in columns)
    series = _series(name, columns, wide=wide)
    others = [c for c in columns if c not in {*series, *TERRAIN_COLUMNS, "timestamp"}]
    if label is not None and label not in others:
        raise LabelError(f"{name} has no label {label!r}; choose among the columns {others}.")
    about = [c for c in columns if c in {*_ABOUT, *TERRAIN_COLUMNS, label}]
    if twice := sorted({c for c in [*series, *about] if columns.count(c) > 1}):
        raise LabelError(
            f"{name} has the columns {twice} more than once, expected each name once. Write the "
            "table again without the copies."
        )
    table = _read(path, [*series, *about])
    if table.empty:
        raise SchemaError(f"{name} has no row; give a table with samples.")
    return _pivot_wide(name, table, series) if wide else _pivot_long(name, table, series, label)


def _columns(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise ReadError(
            f"{path} cannot be read as Parquet: {error}. Give the path of one file."
        ) from error


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        with pq.ParquetFile(path) as file:
            table: pd.DataFrame = file.read(columns=list(columns)).to_pandas(ignore_metadata=True)
            return table
    except (OSError, pa.ArrowException) as error:
        raise ReadError(f"{path} is damaged: {error}. Fetch it again.") from error


def _series(name: str, columns: Sequence[str], *, wide: bool) -> dict[str, tuple[str, int]]:
    """Quantity and step of each column with measurements (the step is 0 in the long form)."""
    needed = {"start_date", "end_date"} if wide else {"sample_id", "timestamp"}
    if absent := sorted(needed - set(columns)):
        raise SchemaError(
            f"{name} has the columns {_some(columns)} and lacks {absent}, so it is not a "
            "WorldCereal extraction table: the long form has 'sample_id', 'timestamp' and "
            "'S2-L2A-B02' …, the wide form 'start_date', 'end_date' and 'OPTICAL-B02-ts0-10m' …. "
            "To train with parcels that have no satellite data, give an archive: "
            "`cubecrop.train(parcels, label, year, archive=...)`, or `--year` and `--archive`."
        )
    series: dict[str, tuple[str, int]] = {}
    unknown = []
    for column in columns:
        match = _WIDE_COLUMN.fullmatch(column)
        if match and match[1] in _WIDE:
            series[column] = (_WIDE[match[1]], int(match[2]))
        elif column in _LONG and not wide:
            series[column] = (_LONG[column], 0)
        elif match or (_MEASURED.fullmatch(column) and column not in TERRAIN_COLUMNS):
            unknown.append(column)
    if unknown:
        known = sorted(_WIDE if wide else _LONG)
        raise SchemaError(
            f"{name} has columns whose encoding is unknown, expected only columns of {known}. "
            f"Leave them out: `table.drop(columns={unknown})`."
        )
    if not set(SENTINEL2_BANDS + SENTINEL1_BANDS) & {what for what, _ in series.values()}:
        raise SchemaError(
            f"{name} has the columns {_some(columns)}, none of them of Sentinel-2 or "
            "Sentinel-1; the long form has 'S2-L2A-B02' … and 'S1-SIGMA0-VV' …."
        )
    if len(set(series.values())) < len(series):
        raise SchemaError(
            f"{name} has the same measurement in two of the columns {_some(list(series))}; "
            "drop one of them."
        )
    return series


def _pivot_long(
    name: str, table: pd.DataFrame, series: Mapping[str, tuple[str, int]], label: str | None
) -> ExtractionTable:
    parcel, ids = pd.factorize(_ids(name, table))
    day = days_of(name, table["timestamp"])
    start, which = np.unique(day, return_inverse=True)
    step = _step_of(name, start)
    _, end = periods(start, step)
    cell = parcel * len(start) + which  # position of each row in (parcel, time)
    if repeated := _repeated(cell):
        samples = list(dict.fromkeys(str(ids[position // len(start)]) for position in repeated))
        raise ParcelError(
            f"{name} has two rows for the same {step} of the samples {samples}, expected one. "
            "Drop the copies with `table.drop_duplicates(['sample_id', 'timestamp'])`."
        )
    _, first = np.unique(parcel, return_index=True)
    _check_constant(name, table, parcel, first, (*([label] if label else []), "lon", "lat"))
    numbers = {}
    for column, (what, _) in series.items():
        numbers[what] = np.full((len(ids), len(start)), np.nan)
        numbers[what].flat[cell] = _measured(name, table[column], what)
    about = table.iloc[first].reset_index(drop=True)
    days = (end - start).astype(np.int64)
    return ExtractionTable(numbers, start, days, step, about, np.asarray(ids))


def _pivot_wide(
    name: str, table: pd.DataFrame, series: Mapping[str, tuple[str, int]]
) -> ExtractionTable:
    begins, ends = (days_of(name, table[column]) for column in ("start_date", "end_date"))
    n_steps = 1 + max(number for _, number in series.values())
    length = float(np.median((ends - begins).astype(np.int64) + 1)) / n_steps
    try:
        days, step = _WIDE_STEPS[round(length / 10)]
    except KeyError:
        raise SchemaError(
            f"{name} has {n_steps} steps of {length:.1f} days from 'start_date' to 'end_date', "
            "expected 30 (months) or 10 (dekads)."
        ) from None
    values, counts = np.unique(begins, return_counts=True)
    anchor = values[counts.argmax()]
    offset = np.round((begins - anchor).astype(np.int64) / days).astype(np.int64)
    offset, earliest = offset - offset.min(), int(offset.min())
    steps = np.arange(int(offset.max()) + n_steps)
    start = anchor + days * (earliest + steps)
    row = np.arange(len(table))
    numbers = {what: np.full((len(table), len(start)), np.nan) for what, _ in series.values()}
    for column, (what, number) in series.items():
        numbers[what][row, offset + number] = _measured(name, table[column], what)
    ids = _ids(name, table) if "sample_id" in table else row
    if repeated := _repeated(ids):
        raise ParcelError(
            f"{name} has the sample ids {repeated} more than once. Drop the copies with "
            "`table.drop_duplicates('sample_id')`."
        )
    return ExtractionTable(numbers, start, np.full(len(start), days), step, table, ids)


def _ids(name: str, table: pd.DataFrame) -> NDArray[np.object_]:
    ids = table["sample_id"]
    if ids.isna().any():
        raise ParcelError(
            f"{name} has {int(ids.isna().sum())} rows without sample_id; drop them with "
            "`table.dropna(subset='sample_id')`."
        )
    return ids.astype(str).to_numpy(dtype=object)


def _check_constant(
    name: str,
    table: pd.DataFrame,
    parcel: NDArray[np.intp],
    first: NDArray[np.intp],
    columns: Iterable[str],
) -> None:
    """Raise if the rows of a sample have different values in a column."""
    for column in columns:
        if column not in table:
            continue
        values, _ = pd.factorize(table[column])
        if (differs := values != values[first][parcel]).any():
            raise ParcelError(
                f"{name} has different values of {column!r} for the sample "
                f"{table['sample_id'][differs].iloc[0]!r}, expected one. Give each "
                "sample its own id."
            )


def _repeated(values: NDArray[Any]) -> list[Any]:
    """The first five values that occur more than once."""
    distinct, counts = np.unique(values, return_counts=True)
    repeated: list[Any] = distinct[counts > 1][:5].tolist()
    return repeated


def _some(names: Sequence[str]) -> str:
    """The first eight names as text, for a message."""
    return f"{list(names[:8])}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def present(column: pd.Series[int]) -> NDArray[np.float64]:
    """Digital numbers of a column, NaN where missing."""
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(values == _MISSING, np.nan, values)


def _measured(name: str, column: pd.Series[int], what: str) -> NDArray[np.float64]:
    """Digital numbers of a column of measurements, NaN where missing.

    Raises
    ------
    SchemaError
        The column holds values instead of their encoding: reflectance from 0 to 1, decibels, power,
        or temperatures in degrees.
    """
    try:
        values = present(column)
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"{name} has a column {column.name!r} that does not hold numbers: {error}."
        ) from error
    values[np.isin(values, _MISSING_ELSEWHERE)] = np.nan
    known = values[np.isfinite(values)]
    decoded = (known % 1 != 0).any() and known.max() < _UNENCODED.get(what, 0)
    if decoded or (what in SENTINEL1_BANDS and (known < 0).any()):
        raise SchemaError(
            f"{name} has a column {column.name!r} with values from {known.min():g} to "
            f"{known.max():g}, expected the numbers of WorldCereal's encoding, 0 to {_MISSING} "
            "(reflectance times 10,000, for example). Encode the values as the module "
            "`cubecrop.sample.worldcereal` says."
        )
    return values


def days_of(name: str, column: pd.Series[pd.Timestamp]) -> NDArray[np.datetime64]:
    """Turn time stamps into days.

    The tables were made in Brussels, and some stamps are local midnights in UTC: 2016-12-31 23:00
    means 1 January 2017. So stamps are rounded to the nearest midnight.
    """
    try:
        stamps = pd.to_datetime(column, utc=True, format="ISO8601").dt.tz_localize(None)
    except (ValueError, TypeError) as error:
        raise SchemaError(
            f"{name} has a column {column.name!r} that does not hold dates: {error}. Write dates "
            "as YYYY-MM-DD."
        ) from error
    if stamps.isna().any():
        raise SchemaError(
            f"{name} has {int(stamps.isna().sum())} rows without {column.name!r}; drop them with "
            f"`table.dropna(subset={column.name!r})`."
        )
    seconds = stamps.to_numpy().astype("datetime64[s]")
    return (seconds + np.timedelta64(12, "h")).astype("datetime64[D]")


def _step_of(name: str, start: NDArray[np.datetime64]) -> _Step:
    step: _Step
    for step in get_args(_Step):
        first, _ = periods(start, step)
        if (first == start).all():
            return step
    odd = start[first != start]
    raise SchemaError(
        f"{name} has dates such as {odd[0]}, expected first days of months throughout, or of "
        "dekads (days 1, 11 and 21). Extract the table as composites."
    )


def periods(
    days: NDArray[np.datetime64], step: _Step
) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
    """First day of each day's month or dekad, and first day of the next month or dekad."""
    month = days.astype("datetime64[M]")
    first, following = month.astype("datetime64[D]"), (month + _MONTH).astype("datetime64[D]")
    if step == "month":
        return first, following
    third = np.minimum((days - first).astype(np.int64) // 10, 2)
    return first + 10 * third, np.where(third == 2, following, first + 10 * (third + 1))
