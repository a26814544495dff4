"""Metadata of a crop map, checked before a pixel is read."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rioxarray  # noqa: F401 (registers `.rio`)
import xarray as xr
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import array_bounds

from cubecrop.errors import LabelError, SchemaError
from cubecrop.nomenclature import NODATA, TOO_FEW, WITHOUT_CLASS, Mark, Nomenclature
from cubecrop.season import Season
from cubecrop.texts import one_line, place_name, slug
from cubecrop.write.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["UNREADABLE", "MapFacts", "read_coverage"]

_MAKER = "cubecrop.classify(...)"
_DTYPES = {"crop_type": np.dtype("uint8"), "confidence": np.dtype("float32")}
_FILLS = {"crop_type": "255", "confidence": "float('nan')"}
_ATTRS = (
    "season_year", "season_start", "season_end", "archive", "items", "item_hrefs",
    "model_digest", "model_name", "nomenclature",
)  # fmt: skip
# Pixel centres written as float32, or rounded to a centimetre, still make a regular 10 m grid.
_STEP_TOLERANCE = 1e-3
#: Longest text of a mask, characters.
_MASK: Final = 200
#: Colour of a code that only the map's flags name.
_OTHER_MARK: Final = "#CCCCCC"
#: Exceptions of Python for JSON with unexpected content.
UNREADABLE: Final = (
    ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
#: Keys of a sensor's coverage.
_DAYS: Final = ("first", "last", "gap_start")
_NUMBERS: Final = ("longest_gap_days", "dates")
_MEDIAN: Final = "median_clear_dates"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFacts(Provenance):
    """Grid, classes and provenance of a crop map.

    ``shape`` is (rows, columns); ``transform`` goes from (column, row) of a pixel's corner to
    metres. ``item_hrefs`` has one address for each of ``items``, "" if it is not known.
    ``coverage`` holds the first and last image, the longest gap and the dates of each sensor; it
    is empty if the map does not state them.
    """

    crs: CRS
    transform: Affine
    shape: tuple[int, int]
    items: tuple[str, ...]
    item_hrefs: tuple[str, ...]
    coverage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: xr.Dataset) -> MapFacts:
        """Read and check the metadata of a crop map; no pixel is read.

        Raises
        ------
        SchemaError
            The message names the problem, what was expected and the call that fixes it.
        """
        if not isinstance(dataset, xr.Dataset):
            raise SchemaError(
                f"crop map is a {type(dataset).__name__}, expected the xarray.Dataset "
                f"that `{_MAKER}` returns."
            )
        _check_variables(dataset)
        attrs = dataset.attrs
        if missing := [name for name in _ATTRS if name not in attrs]:
            raise SchemaError(
                f"crop map has attrs {sorted(map(str, attrs))}, expected {missing} too. Some "
                "operations drop attrs: use `xr.set_options(keep_attrs=True)`, or take them "
                f"from `{_MAKER}` with `dataset.assign_attrs(...)`."
            )
        items, hrefs = _texts(attrs["items"]), _texts(attrs["item_hrefs"])
        if len(items) != len(hrefs):
            raise SchemaError(
                f"crop map has {len(items)} items and {len(hrefs)} item_hrefs in attrs, "
                "expected one href for each item, '' if it is not known."
            )
        nomenclature = _nomenclature(attrs["nomenclature"])
        return cls(
            nomenclature=nomenclature,
            season=Season.from_attrs(attrs),
            crs=_crs(dataset),
            transform=_transform(dataset),
            shape=(dataset.sizes["y"], dataset.sizes["x"]),
            archive=place_name(attrs["archive"]),
            model_name=str(attrs["model_name"]),
            model_digest=str(attrs["model_digest"]),
            items=items,
            item_hrefs=hrefs,
            calibration=str(attrs.get("model_calibration", "")),
            mask=one_line(str(attrs.get("mask", "")), length=_MASK),
            marks=_marks(dataset["crop_type"].attrs, len(nomenclature)),
            coverage=read_coverage(attrs.get("coverage", "{}")),
            gaps=str(attrs.get("season_gaps", "")),
            unreliable=str(attrs.get("unreliable", "")),
        )

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the pixels' outer edges, metres."""
        left, bottom, right, top = array_bounds(*self.shape, self.transform)
        return float(left), float(bottom), float(right), float(top)


def _check_variables(dataset: xr.Dataset) -> None:
    for name, dtype in _DTYPES.items():
        if name not in dataset.data_vars:
            raise SchemaError(
                f"crop map has variables {sorted(map(str, dataset.data_vars))}, expected "
                f"'crop_type' and 'confidence'. Make it with `{_MAKER}`."
            )
        variable = dataset[name]
        if variable.dims != ("y", "x"):
            raise SchemaError(
                f"{name} has dims {variable.dims}, expected ('y', 'x'). "
                "Reorder with `dataset.transpose(..., 'y', 'x')`."
            )
        if not variable.size:
            raise SchemaError(
                f"{name} has shape {variable.shape}, expected at least one pixel. "
                f"Make it with `{_MAKER}` for an area that is not empty."
            )
        if variable.dtype != dtype:
            raise SchemaError(
                f"{name} has dtype {variable.dtype}, expected {dtype}. Convert it with "
                f"`dataset[{name!r}].fillna({_FILLS[name]}).astype('{dtype}')`."
            )
    for axis in ("y", "x"):
        if axis not in dataset.coords:
            raise SchemaError(
                f"crop map has no coordinate {axis!r}, so its place is unknown. "
                f"Make it with `{_MAKER}`."
            )


def _texts(value: object) -> tuple[str, ...]:
    # A netCDF file returns a list of one text as a bare string.
    if isinstance(value, str):
        return (value,)
    return tuple(str(text) for text in np.atleast_1d(np.asarray(value, dtype=object)))


def _nomenclature(text: object) -> Nomenclature:
    try:
        return Nomenclature.from_json(str(text))
    except LabelError as error:
        raise SchemaError(
            f"crop map's attr 'nomenclature' cannot be read: {error} "
            "Set it with `dataset.assign_attrs(nomenclature=nomenclature.to_json())`."
        ) from error


def _marks(attrs: dict[Any, Any], n_classes: int) -> tuple[Mark, ...]:
    """Codes of a flag table that are neither classes nor nodata, and "too few observations"."""
    values = np.atleast_1d(np.asarray(attrs.get("flag_values", ()), dtype=object)).tolist()
    meanings = str(attrs.get("flag_meanings", "")).split()
    if len(values) != len(meanings):  # a name with other blanks than spaces
        meanings = meanings[len(meanings) - len(values) :]
    named = {TOO_FEW: WITHOUT_CLASS[TOO_FEW].slug}
    named |= {int(value): meaning for value, meaning in zip(values, meanings, strict=False)}
    marks: dict[str, Mark] = {}
    for value, meaning in sorted(named.items()):
        if n_classes <= value < NODATA:
            name = slug(meaning)
            if not name or name in marks or name == WITHOUT_CLASS[NODATA].slug:
                name = f"code_{value}"
            known = WITHOUT_CLASS.get(value)
            marks[name] = Mark(
                value=value,
                slug=name,
                title=meaning.replace("_", " ").capitalize(),
                colour=known.colour if known else _OTHER_MARK,
            )
    return tuple(marks.values())


def read_coverage(text: object) -> Mapping[str, Mapping[str, Any]]:
    """Read the coverage of a map's images by sensor from JSON.

    Raises
    ------
    SchemaError
        The text is not the coverage of a map.
    """
    try:
        return {str(name): _sensor_coverage(one) for name, one in json.loads(str(text)).items()}
    except UNREADABLE as error:
        raise SchemaError(
            f"crop map's attr 'coverage' is {str(text)[:80]!r}, expected the JSON that `{_MAKER}` "
            "writes. Leave it out: `del dataset.attrs['coverage']`."
        ) from error


def _sensor_coverage(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Dates of a sensor, the median of its clear dates, or both."""
    dates: dict[str, Any] = {}
    if _MEDIAN not in raw or any(key in raw for key in (*_DAYS, *_NUMBERS)):
        dates |= {key: dt.date.fromisoformat(str(raw[key])).isoformat() for key in _DAYS}
        dates |= {key: int(raw[key]) for key in _NUMBERS}
    if _MEDIAN in raw:
        dates[_MEDIAN] = float(raw[_MEDIAN])
        if not math.isfinite(dates[_MEDIAN]):
            raise ValueError(f"{_MEDIAN} is {dates[_MEDIAN]}")
    return dates


def _crs(dataset: xr.Dataset) -> CRS:
    crs = dataset.rio.crs
    if crs is None:
        raise SchemaError(
            "crop map has no CRS, expected a projected one in 'spatial_ref'. "
            "Write it with `dataset.rio.write_crs('EPSG:32631')`, with your own code."
        )
    if not crs.is_projected:
        raise SchemaError(
            f"crop map has CRS {crs.to_string()}, expected a projected one in metres. "
            "Classify with `cubecrop.classify(..., crs=...)`."
        )
    return CRS.from_user_input(crs)


def _transform(dataset: xr.Dataset) -> Affine:
    # Use the coordinates: the stored GeoTransform is out of date after `isel`.
    x, y = (np.asarray(dataset[axis].values, dtype="float64") for axis in ("x", "y"))
    step_x, step_y = _step("x", x, rising=True), _step("y", y, rising=False)
    if step_x is None and step_y is None:
        size = _stored_size(dataset)
        if size is None:
            raise SchemaError(
                "crop map has one pixel, whose size is unknown, expected a GeoTransform in "
                "'spatial_ref', or two pixels or more in x or y. Classify a larger area."
            )
        step_x, step_y = size
    width = step_x if step_x is not None else abs(step_y or 0)
    height = step_y if step_y is not None else -width
    return Affine(width, 0, float(x[0]) - width / 2, 0, height, float(y[0]) - height / 2)


def _stored_size(dataset: xr.Dataset) -> tuple[float, float] | None:
    """Pixel size of the stored GeoTransform, which stays right when its position does not."""
    try:
        text = str(dataset[dataset.rio.grid_mapping].attrs["GeoTransform"])
        _, width, _, _, _, height = map(float, text.split())
    except (KeyError, ValueError):
        return None
    return (width, height) if width > 0 > height else None


def _step(axis: str, centres: NDArray[np.float64], *, rising: bool) -> float | None:
    """Signed distance between neighbours; None if there is only one pixel."""
    if centres.size == 1:
        return None
    step = float(centres[-1] - centres[0]) / (centres.size - 1)
    if (step > 0) is not rising:
        order = "ascending" if rising else "descending"
        raise SchemaError(
            f"coordinate {axis!r} goes from {centres[0]} to {centres[-1]}, expected {order}. "
            f"Reorder with `dataset.sortby({axis!r}, ascending={rising})`."
        )
    if not np.allclose(np.diff(centres), step, rtol=0, atol=abs(step) * _STEP_TOLERANCE):
        raise SchemaError(
            f"coordinate {axis!r} has steps from {np.diff(centres).min()} to "
            f"{np.diff(centres).max()}, expected equal ones. "
            f"Put it on a grid with `dataset.reindex({axis}=..., method='nearest')`."
        )
    return step
