"""Areas of crops from a map and reference points, with their uncertainty."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import rasterio
from rasterio.windows import Window

from cubecrop.checks import brief, check_path
from cubecrop.errors import LabelError, ParcelError, ReadError
from cubecrop.metrics import Z_95, AreaEstimates, area_estimates
from cubecrop.nomenclature import MAX_CLASSES, NODATA, WITHOUT_CLASS
from cubecrop.sample.parcels import labels_of
from cubecrop.texts import plain_label
from cubecrop.vector import check_active_geometry, read_vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

__all__ = ["MapAreas", "map_areas"]

_HECTARE: Final = 10_000
#: Pixels of a side that are read at a time, where the map has no smaller blocks.
_BLOCK: Final = 2048
_OUTSIDE: Final = "outside of the map"
_UNLABELLED: Final = "without a label"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapAreas:
    """Estimates of areas and accuracies by crop.

    Parameters
    ----------
    crops : tuple of str
        The map's classes that it has pixels of or that points have, then labels of points that
        the map has no class for.
    estimates : AreaEstimates
        By crop, in hectares.
    pixels : tuple of int
        Pixels of each crop.
    unknown : tuple of str
        Labels that the map has no class for; each is a crop with a mapped area of 0.
    left_out : mapping
        Reason to the number of points that are not counted, since the map has no class there, or
        the points have no label.
    unmapped : mapping
        Reason to hectares of the map without a class. The estimates do not cover them.
    """

    crops: tuple[str, ...]
    estimates: AreaEstimates
    pixels: tuple[int, ...]
    unknown: tuple[str, ...]
    left_out: dict[str, int]
    unmapped: dict[str, float]

    def table(self) -> pd.DataFrame:
        """One row for each crop.

        Returns
        -------
        pandas.DataFrame
            ``crop``; ``points`` and ``pixels`` on the crop as mapped; ``mapped_ha``; adjusted
            area ``area_ha`` with its 95 % interval ``area_low_ha``, ``area_high_ha``; user's and
            producer's accuracy ``users`` and ``producers`` with their standard errors
            ``users_se`` and ``producers_se``.
        """
        made, interval = self.estimates, self.estimates.area_interval
        return pd.DataFrame(
            {
                "crop": list(self.crops),
                "points": made.n,
                "pixels": list(self.pixels),
                "mapped_ha": made.mapped_area,
                "area_ha": made.area,
                "area_low_ha": interval[:, 0],
                "area_high_ha": interval[:, 1],
                "users": made.users,
                "users_se": made.users_se,
                "producers": made.producers,
                "producers_se": made.producers_se,
            }
        )

    def lines(self) -> list[str]:
        """Overall accuracy, and what is not counted, as sentences."""
        made = self.estimates
        half = Z_95 * made.accuracy_se
        lines = [
            f"Overall accuracy {made.accuracy:.3f} ± {half:.3f} (95 % interval) of "
            f"{made.mapped_area.sum():,.1f} mapped hectares, from {made.n.sum():,} points."
        ]
        if self.unknown:
            lines.append(f"The map has no class for the labels {', '.join(self.unknown)}.")
        lines += [f"{n:,} points are not counted: {why}." for why, n in self.left_out.items()]
        lines += [
            f"{area:,.1f} ha are not mapped, and in no estimate: {why}."
            for why, area in self.unmapped.items()
        ]
        return lines


def map_areas(
    crop_map: str | Path, reference: gpd.GeoDataFrame | str | Path, label: str
) -> MapAreas:
    """Estimate the area of each crop from a map and reference points; reads the map's pixels.

    Hectares are those on the ellipsoid: pixels of a UTM zone differ in size by up to 0.3 %. The
    points must be a random sample, or one that is random within each mapped class, and must not
    have been used in training.

    Parameters
    ----------
    crop_map : path
        ``crop_type.tif``, the folder that `cubecrop.write_map` wrote, or that of `map_region`.
    reference : geopandas.GeoDataFrame or path
        Points with a CRS.
    label : str
        Column of the true crop: a name or a code of the map's classes.

    Raises
    ------
    ReadError
        The map cannot be read, or was not written by cubecrop.
    ParcelError
        The reference has no CRS, or geometries that are not points.
    LabelError
        The column does not exist; no label is a class of the map; no point is on a class of the
        map; or a mapped class has fewer than two points (the message names it).

    References
    ----------
    Olofsson et al. 2014, doi:10.1016/j.rse.2014.02.015.
    """
    path = _raster_of(check_path("crop_map", crop_map))
    names, codes = _classes(path)
    points = _points(reference)
    labels = labels_of(points, label)
    try:
        with rasterio.open(path) as raster:
            pixels, hectares = _count(raster)
            mapped = _at(raster, points)
    except rasterio.errors.RasterioIOError as error:
        raise ReadError(f"{path} cannot be read: {error}.") from error
    unmapped = {
        _why(value): float(hectares[value])
        for value in range(len(names), len(pixels))
        if pixels[value]
    }
    truth, unknown = _true_classes(labels, names, codes)
    counted = (truth >= 0) & (mapped >= 0) & (mapped < len(names))
    left_out = Counter(
        _UNLABELLED if true < 0 else _OUTSIDE if found < 0 else f"on pixels of {_why(found)}"
        for true, found in zip(truth[~counted].tolist(), mapped[~counted].tolist(), strict=True)
    )
    if not counted.any():
        raise LabelError(
            f"none of {len(points)} reference points is counted: {dict(left_out)}. Check the "
            "points' CRS and coordinates, and their labels."
        )
    everything = [*names, *unknown]
    pixels = np.append(pixels[: len(names)], np.zeros(len(unknown), dtype=np.int64))
    hectares = np.append(hectares[: len(names)], np.zeros(len(unknown)))
    present = np.bincount(truth[counted], minlength=len(everything)) + pixels > 0
    crops = [name for name, there in zip(everything, present, strict=True) if there]
    number = np.cumsum(present) - 1
    estimates = _estimates(
        number[truth[counted]], number[mapped[counted]], hectares[present], crops
    )
    return MapAreas(
        crops=tuple(crops),
        estimates=estimates,
        pixels=tuple(pixels[present].tolist()),
        unknown=tuple(unknown),
        left_out=dict(left_out),
        unmapped=unmapped,
    )


def _raster_of(path: Path) -> Path:
    """The raster of classes, in the folder of a map or of a region's run."""
    found = (
        [path / name for name in ("crop_type.tif", "crop_type.vrt")] if path.is_dir() else [path]
    )
    for one in found:
        if one.is_file():
            return one
    raise ReadError(
        f"{path} is not a crop map, expected crop_type.tif or a folder that `write_map` or "
        "`map_region` wrote."
    )


def _classes(path: Path) -> tuple[list[str], list[str]]:
    """Names and codes of the classes, from the tags of the map or of one of its tiles."""
    tiles = [path] if path.suffix != ".vrt" else sorted(path.parent.glob("tiles/*/crop_type.tif"))
    try:
        with rasterio.open(tiles[0]) as raster:
            tags = raster.tags()
            kind = raster.dtypes[0]
        names, codes = (json.loads(tags[f"CLASS_{what}"]) for what in ("NAMES", "CODES"))
    except (rasterio.errors.RasterioIOError, KeyError, ValueError, IndexError) as error:
        raise ReadError(
            f"{path} is not a crop map that cubecrop wrote: {error!r}. Expected crop_type.tif with "
            "the tags CLASS_NAMES and CLASS_CODES."
        ) from error
    if kind != "uint8" or len(names) != len(codes) or len(names) > MAX_CLASSES:
        raise ReadError(
            f"{path} has {len(names)} names of classes, {len(codes)} codes and values of type "
            f"{kind}, expected as many, at most {MAX_CLASSES}, and uint8."
        )
    return [str(name) for name in names], [str(code) for code in codes]


def _points(reference: gpd.GeoDataFrame | str | Path) -> gpd.GeoDataFrame:
    points = read_vector(reference) if isinstance(reference, str | Path) else reference
    if not isinstance(points, gpd.GeoDataFrame):
        raise ParcelError(
            f"reference is {brief(points)}, expected a geopandas.GeoDataFrame or the path of a "
            "vector file."
        )
    check_active_geometry(points)
    if points.crs is None:
        raise ParcelError(
            "reference points have no CRS; set it with `reference.set_crs('EPSG:…')`."
        )
    odd = int((points.geom_type != "Point").sum() + points.geometry.is_empty.sum())
    if odd or len(points) == 0:
        raise ParcelError(
            f"the reference has {len(points)} rows, of which {odd} are not points. Expected one "
            "point or more; an area estimate from polygons would need their sampling design."
        )
    return points


def _count(raster: DatasetReader) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pixels and hectares of each value (256,)."""
    pixels, hectares = np.zeros(256, dtype=np.int64), np.zeros(256)
    crs = pyproj.CRS.from_user_input(raster.crs)
    if not crs.is_projected:
        raise ReadError(f"{raster.name} has the CRS {crs.name}, expected a projected one.")
    projection = pyproj.Proj(crs)
    degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    size = abs(raster.transform.determinant) * crs.axis_info[0].unit_conversion_factor ** 2
    for row in range(0, raster.height, _BLOCK):
        for column in range(0, raster.width, _BLOCK):
            window = Window(
                column, row, min(_BLOCK, raster.width - column), min(_BLOCK, raster.height - row)
            )  # fmt: skip
            values = raster.read(1, window=window)
            # The scale changes so slowly that it is taken at the middle of strips of a block.
            for part, (x, y) in _strips(values, window, raster):
                counts = np.bincount(part.ravel(), minlength=256)
                scale = projection.get_factors(*degrees.transform(x, y)).areal_scale
                pixels += counts
                hectares += counts * (size / scale / _HECTARE)
    return pixels, hectares


def _strips(
    values: NDArray[np.uint8], window: Window, raster: DatasetReader, width: int = 256
) -> list[tuple[NDArray[np.uint8], tuple[float, float]]]:
    """Squares of a block, with the map coordinates of their middles."""
    out = []
    for top in range(0, values.shape[0], width):
        for left in range(0, values.shape[1], width):
            part = values[top : top + width, left : left + width]
            column = window.col_off + left + part.shape[1] / 2
            row = window.row_off + top + part.shape[0] / 2
            out.append((part, raster.transform * (column, row)))
    return out


def _at(raster: DatasetReader, points: gpd.GeoDataFrame) -> NDArray[np.int64]:
    """Value of the pixel that each point (point,) is in; -1 outside of the map."""
    placed = points.geometry.to_crs(pyproj.CRS.from_user_input(raster.crs))
    x, y = placed.x.to_numpy(), placed.y.to_numpy()
    known = np.isfinite(x + y)
    inverse = ~raster.transform
    columns, rows = np.full(len(x), -1.0), np.full(len(x), -1.0)
    columns[known] = np.floor(inverse.a * x[known] + inverse.b * y[known] + inverse.c)
    rows[known] = np.floor(inverse.d * x[known] + inverse.e * y[known] + inverse.f)
    inside = (columns >= 0) & (columns < raster.width) & (rows >= 0) & (rows < raster.height)
    values = np.full(len(x), -1, dtype=np.int64)
    for i in np.flatnonzero(inside):
        values[i] = raster.read(1, window=Window(int(columns[i]), int(rows[i]), 1, 1))[0, 0]
    return values


def _true_classes(
    labels: Sequence[str | None], names: list[str], codes: list[str]
) -> tuple[NDArray[np.int64], list[str]]:
    """Class (point,) of each label, -1 without; labels without a class follow the map's."""
    places = {plain_label(name): i for i, name in enumerate(names)}
    places |= {plain_label(code): i for i, code in enumerate(codes)}
    unknown = sorted({text for text in labels if text is not None and text not in places})
    if unknown and not any(text in places for text in labels if text is not None):
        raise LabelError(
            f"no label is a name or a code of the map's classes {names}; the labels are "
            f"{unknown[:5]}{' and others' if len(unknown) > 5 else ''}. Name another column."
        )
    places |= {text: len(names) + i for i, text in enumerate(unknown)}
    return np.array([-1 if text is None else places[text] for text in labels]), unknown


def _why(value: int) -> str:
    """Why a pixel has no class."""
    if value == NODATA:
        return "no data"
    mark = WITHOUT_CLASS.get(value)
    return mark.title.lower() if mark else f"code {value}, which is no class"


def _estimates(
    truth: NDArray[np.int64],
    mapped: NDArray[np.int64],
    hectares: NDArray[np.float64],
    crops: Sequence[str],
) -> AreaEstimates:
    n = np.bincount(mapped, minlength=len(crops)).tolist()
    if few := [
        f"{crop} ({points})"
        for crop, points, area in zip(crops, n, hectares, strict=True)
        if points < 2 and area > 0
    ]:
        raise LabelError(
            f"mapped classes have fewer than two reference points (in brackets): "
            f"{', '.join(few)}. Their errors are unknown, so no area can be estimated. Add points "
            "on them, at least 20 or so on each."
        )
    return area_estimates(truth, mapped, hectares)
