"""Pixel sets in the folder layout of the code published with Garnot et al. 2020.

- ``DATA/ID.npy`` holds a parcel's satellite series (dates, channels, pixels).
- ``META/labels.json`` holds, for each of several nomenclatures, the label of each id.
- ``META/dates.json`` holds the dates as YYYYMMDD or YYYY-MM-DD, in one list for all parcels or in
  one list a parcel.
- ``META/geomfeat.json``, which is optional, holds numbers for each id.

If a parcel lies on two tiles, its file holds the dates of one tile after those of the other, and
common days twice. The reader sorts dates; on a common day, each pixel gets its first observation
in the file. With several channels, a pixel that is 0 in all of them has no observation, since 0
is the no-data of Sentinel-2.
"""

from __future__ import annotations

import calendar
import datetime as dt
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from cubecrop.checks import brief, check_number, check_path, check_whole
from cubecrop.errors import LabelError, ReadError, SchemaError, SeasonError
from cubecrop.sample.draw import draw_positions, hash_ids
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS, SERIES
from cubecrop.season import Season
from cubecrop.texts import label_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

__all__ = ["read_pixel_set_folder"]

_BANDS = {"sentinel2": SENTINEL2_BANDS, "sentinel1": SENTINEL1_BANDS}
_ATTRS = {
    "sentinel2": {"long_name": "surface reflectance"},
    "sentinel1": {"long_name": "radar backscatter"},
}
#: Parcels that an error lists.
_LISTED = 3
_Days = dict[str, "NDArray[np.datetime64]"]


def read_pixel_set_folder(
    path: str | Path,
    *,
    label: str | None,
    sensor: Literal["sentinel2", "sentinel1"] = "sentinel2",
    bands: Sequence[str] | None = None,
    season: Season | None = None,
    normalisation: tuple[ArrayLike, ArrayLike] | None = None,
    scale: float = 1.0,
    n_pixels: int = 256,
) -> xr.DataTree:
    """Read a folder of pixel sets into memory.

    Parameters
    ----------
    path : path
        Folder with ``DATA`` and ``META``. Files outside of it and pickles are not read; pass
        normalisation values that are stored as a pickle as ``normalisation``.
    label : str or None
        A nomenclature of ``META/labels.json``; None reads no labels.
    sensor : {"sentinel2", "sentinel1"}
        The sensor of the channels.
    bands : sequence of str, optional
        The channels, in order; by default all of the sensor, B02 to B12 or vv and vh.
    season : Season, optional
        The season of the dates. By default its year is the one with most dates, and it lasts
        from the first date's month to the last date's month.
    normalisation : (mean, deviation), optional
        Values become (value - mean) / deviation; by default they are not changed. Mean and
        deviation are numbers, (channel,) or (date, channel). Dates are those of the parcel's
        file, in the file's order, or else the parcel's distinct days, in the order of time.
    scale : float, default 1
        Values are multiplied by it before normalisation; 1e-4 turns Sentinel-2's numbers into
        reflectance.
    n_pixels : int, default 256
        Pixels that are drawn from larger parcels; the draw depends on the id.

    Returns
    -------
    xarray.DataTree
        Pixel sets (see `cubecrop.schema`): ``SENSOR/… (parcel, time, band, pixel)`` float32 on
        all dates of all parcels. ``valid`` is False on dates that a parcel lacks, where a number
        is not finite or all channels are 0, and for padding. Root: ``label (parcel)`` text or
        None, if labels are read; ``geometry (parcel, feature)``, if ``geomfeat.json`` exists; coord
        ``pixel_count``.

    Raises
    ------
    ReadError
        A file is missing or damaged, or links to a place outside of the folder.
    SchemaError
        Shapes, bands, dates and season do not match.
    LabelError
        The nomenclature does not exist.

    References
    ----------
    Garnot et al. 2020, arXiv:1911.07757.
    """
    folder = check_path("path", path, error=ReadError)
    if not isinstance(sensor, str) or sensor not in _BANDS:
        raise SchemaError(f"sensor is {brief(sensor)}, expected one of {sorted(_BANDS)}.")
    n_pixels = check_whole("n_pixels", n_pixels, minimum=1, error=SchemaError)
    scale = check_number("scale", scale, what="a number", error=SchemaError)
    if season is not None and not isinstance(season, Season):
        raise SeasonError(f"season is {brief(season)}, expected a Season, as in `Season(2018)`.")
    files = _files(folder)
    ids = list(files)
    labels = None if label is None else _labels(folder, label, ids)
    dates = _dates(folder, ids)
    names = _BANDS[sensor] if bands is None else _names(bands)
    counts = _pixel_counts(files, dates, names)
    time = np.unique(np.concatenate(list(dates.values())))
    season = season or _season_of(time)
    _check_inside(time, season, folder)
    drawn = draw_positions(counts, hash_ids(ids, 0), min(n_pixels, max(1, int(counts.max()))))
    # (parcel, time, band, pixel)
    values = np.full((len(ids), len(time), len(names), drawn.shape[1]), np.nan, np.float32)
    for row, key in enumerate(ids):
        days, series = _series(files[key], dates[key], normalisation, scale)
        series = series[:, :, drawn[row][drawn[row] >= 0]]
        values[row, np.searchsorted(time, days), :, : series.shape[2]] = series
    node = xr.Dataset(
        {
            SERIES[sensor]: (("parcel", "time", "band", "pixel"), values, _ATTRS[sensor]),
            "valid": (("parcel", "time", "pixel"), np.isfinite(values).all(axis=2)),
        },
        coords={"time": time.astype("datetime64[ns]"), "band": list(names)},
    )
    root = xr.Dataset(
        coords={"parcel": np.array(ids, dtype=object), "pixel_count": ("parcel", counts)},
        attrs={
            **season.attrs,
            "archive": folder.name,
            "items": [],
            "item_hrefs": [],
            "n_pixels": n_pixels,
            "seed": 0,
        },
    )
    if labels is not None:
        text = np.array(labels, dtype=object)
        root = root.assign(label=("parcel", text, {"long_name": label}))
    if (features := _features(folder, ids)) is not None:
        root = root.assign(geometry=features)
    return xr.DataTree.from_dict({"/": root, sensor: node}, name="pixel_sets")


def _names(bands: Sequence[str]) -> tuple[str, ...]:
    if isinstance(bands, str) or not isinstance(bands, Iterable):
        raise SchemaError(f"bands is {brief(bands)}, expected a list of names.")
    names = tuple(bands)
    if len(set(map(str, names))) < len(names) or not all(isinstance(n, str) for n in names):
        raise SchemaError(f"bands are {list(names)}, expected different names.")
    return names


def _files(folder: Path) -> dict[str, Path]:
    """The files by id, sorted by id: as numbers if all ids are numbers."""
    data = folder / "DATA"
    if not data.is_dir():
        raise ReadError(
            f"{folder} has no folder DATA, so it is not a folder of pixel sets. Give the folder "
            "that holds DATA and META."
        )
    # File systems add files whose names begin with a point; they are not parcels.
    files = [_inside(folder, file) for file in data.glob("[!.]*.npy")]
    if not files:
        raise ReadError(f"{data} has no .npy file, expected one a parcel.")
    by_number = all(file.stem.isdecimal() for file in files)
    files.sort(key=lambda file: (int(file.stem), file.stem) if by_number else (0, file.stem))
    return {file.stem: file for file in files}


def _labels(folder: Path, label: str, ids: Sequence[str]) -> list[str | None]:
    """Labels of a nomenclature, one a parcel; None for parcels without a label."""
    nomenclatures = _json(folder, "labels.json")
    if not isinstance(label, str) or not isinstance(nomenclatures.get(label), dict):
        raise LabelError(
            f"{folder}/META/labels.json has no nomenclature {label!r}; choose among "
            f"{sorted(nomenclatures)}."
        )
    return [label_text(nomenclatures[label].get(key)) for key in ids]


def _inside(folder: Path, file: Path) -> Path:
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ReadError(f"{file} links to a place outside of {folder}; copy the file there.")
    return file


def _json(folder: Path, name: str) -> dict[str, Any]:
    file = _inside(folder, folder / "META" / name)
    try:
        raw = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{file} cannot be read as JSON: {error}.") from error
    if isinstance(raw, list):
        raw = {str(i): value for i, value in enumerate(raw)}
    if not isinstance(raw, dict) or not raw:
        raise ReadError(f"{file} holds {type(raw).__name__}, expected an object with members.")
    return raw


def _dates(folder: Path, ids: Sequence[str]) -> _Days:
    raw = _json(folder, "dates.json")
    if not any(isinstance(value, dict | list) for value in raw.values()):
        days = _days(raw, "META/dates.json")
        return dict.fromkeys(ids, days)
    if missing := [key for key in ids if key not in raw]:
        raise SchemaError(
            f"{folder}/META/dates.json has no dates of the parcels {missing[:5]}. Add them, or "
            "remove the parcels' files from DATA."
        )
    return {key: _days(raw[key], f"META/dates.json, parcel {key}") for key in ids}


def _days(raw: object, where: str) -> NDArray[np.datetime64]:
    """Dates from a list, or from an object with numbers as keys."""
    try:
        if isinstance(raw, dict):
            raw = [raw[key] for key in sorted(raw, key=int)]
        days = [dt.datetime.fromisoformat(str(day)).date() for day in raw]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"{where} does not hold dates as YYYYMMDD or YYYY-MM-DD: {error}."
        ) from error
    if not days:
        raise SchemaError(f"{where} has no date, expected one or more as YYYYMMDD.")
    return np.array(days, dtype="datetime64[D]")


def _load(file: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise ReadError(f"{file} cannot be read as an array of numbers: {error}.") from error


def _pixel_counts(
    files: Mapping[str, Path], dates: _Days, bands: Sequence[str]
) -> NDArray[np.int64]:
    """Number of pixels of each parcel; raises one error for all files with faults."""
    counts, faults = [], []
    for key, file in files.items():
        try:
            counts.append(_shape(file, len(dates[key]), bands)[2])
        except (ReadError, SchemaError) as error:
            faults.append(error)
    if not faults:
        return np.array(counts, dtype=np.int64)
    listed = "\n".join(f"  {error}" for error in faults[:_LISTED])
    more = f"\n  and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
    raise type(faults[0])(
        f"{len(faults)} of {len(files)} parcels cannot be read:\n{listed}{more}\nRepair their "
        "files, or remove them from DATA to continue with the others."
    )


def _shape(file: Path, n_dates: int, bands: Sequence[str]) -> tuple[int, int, int]:
    array = _load(file)
    expected = (n_dates, len(bands))
    if array.ndim != 3 or array.shape[:2] != expected or array.dtype.kind not in "iuf":
        raise SchemaError(
            f"{file} holds {array.dtype} {array.shape}, expected numbers of {expected[0]} dates "
            f"(META/dates.json), {expected[1]} channels ({', '.join(bands)}), pixels. Name other "
            "channels with `bands=`."
        )
    return array.shape


def _series(
    file: Path,
    dates: NDArray[np.datetime64],
    normalisation: tuple[ArrayLike, ArrayLike] | None,
    scale: float,
) -> tuple[NDArray[np.datetime64], NDArray[np.float64]]:
    """Days of a parcel, and its scaled and normalised values (day, channel, pixel)."""
    raw = _load(file).astype(np.float64)
    days, which = np.unique(dates, return_inverse=True)
    observed = np.asarray(np.isfinite(raw).all(axis=1))  # (date, pixel)
    if raw.shape[1] > 1:
        observed &= (raw != 0).any(axis=1)
    values = raw * scale
    if normalisation is None:
        return days, _by_day(values, observed, which, len(days))
    mean, deviation, by_day = _normalisation(file, normalisation, values.shape, len(days))
    if by_day:
        return days, (_by_day(values, observed, which, len(days)) - mean) / deviation
    return days, _by_day((values - mean) / deviation, observed, which, len(days))


def _by_day(
    values: NDArray[np.float64], observed: NDArray[np.bool_], which: NDArray[np.intp], n_days: int
) -> NDArray[np.float64]:
    """Merge dates into days (day, channel, pixel): each pixel's first observation of the day."""
    out = np.full((n_days, *values.shape[1:]), np.nan)
    for date in reversed(range(len(values))):  # reversed, so that the first observation stays
        day = out[which[date]]
        out[which[date]] = np.where(observed[date], values[date], day)
    return out


def _normalisation(
    file: Path, given: tuple[ArrayLike, ArrayLike], shape: tuple[int, ...], n_days: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Mean, deviation, and whether they are per day of the parcel, not per date of its file."""
    try:
        mean, deviation = (np.asarray(value, dtype=np.float64)[..., None] for value in given)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"normalisation is not a mean and a deviation: {error}.") from error
    for n in (shape[0], n_days):
        target = (n, *shape[1:])
        with suppress(ValueError):
            if (
                np.broadcast_shapes(mean.shape, deviation.shape, target) == target
                and (deviation > 0).all()
            ):
                return mean, deviation, n != shape[0]
    raise SchemaError(
        f"normalisation has shapes {mean.shape[:-1]} and {deviation.shape[:-1]}, expected (), "
        f"{shape[1:2]} or {shape[:2]}, the dates and channels of {file.name}, and deviations above "
        "0."
    )


def _features(folder: Path, ids: Sequence[str]) -> xr.DataArray | None:
    """The numbers of each parcel in ``geomfeat.json``; NaN for parcels that it lacks."""
    if not (folder / "META" / "geomfeat.json").exists():
        return None
    raw = _json(folder, "geomfeat.json")
    rows = {key: _numbers(raw[key], key) for key in ids if key in raw}
    lengths = {len(row) for row in rows.values()}
    if len(lengths) != 1:
        raise SchemaError(
            f"{folder}/META/geomfeat.json has {sorted(lengths)} numbers for the parcels in DATA, "
            "expected the same number of them for each parcel."
        )
    unknown = [float("nan")] * lengths.pop()
    values = np.array([rows.get(key, unknown) for key in ids], dtype=np.float32)
    names = [f"geomfeat_{i}" for i in range(values.shape[1])]
    return xr.DataArray(values, dims=("parcel", "feature"), coords={"feature": names})


def _numbers(raw: Any, key: str) -> list[float]:  # noqa: ANN401 (JSON)
    try:
        rows = raw if isinstance(raw, list) else [raw]
        return [float("nan") if number is None else float(number) for number in rows]
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"META/geomfeat.json, parcel {key}, holds no numbers: {error}."
        ) from error


def _season_of(time: NDArray[np.datetime64]) -> Season:
    years, counts = np.unique(time.astype("datetime64[Y]").astype(np.int64), return_counts=True)
    first, last = time[0].item(), time[-1].item()
    end = last.replace(day=calendar.monthrange(last.year, last.month)[1])
    return Season(1970 + int(years[counts.argmax()]), start=first.replace(day=1), end=end)


def _check_inside(time: NDArray[np.datetime64], season: Season, folder: Path) -> None:
    outside = time[(time < np.datetime64(season.start)) | (time > np.datetime64(season.end))]
    if len(outside):
        raise SchemaError(
            f"{folder} has the dates {outside[:3].astype(str).tolist()} outside of the season "
            f"{season}. Give a longer season: `season=Season(year, start=…, end=…)`."
        )
